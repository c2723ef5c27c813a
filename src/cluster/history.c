/* The versions that a service had: kept with it, to go back to. Each is {"Version", "TaskVersion", "At" (ns),
 * "Stable", "Spec",
 * ["Auth" (encrypted)]}, the oldest first; among them the present one, and the previous one that docker
 * service rollback goes to. A version is stable when all its tasks once ran as long as the update's monitor
 * asks. */
#include "cluster/cluster_priv.h"

#include "deploy/changes.h"

#define HISTORY_LABEL "sh.drover.history"
enum { VERSIONS_DEFAULT = 10, VERSIONS_MAX = 100, VERSIONS_BYTES = 4 << 20 };

static json_t *find(const struct service *s, int64_t revision)
{
    json_t *one;
    size_t i;
    json_array_foreach (s->history, i, one)
        if (json_int(one, "Version") == revision)
            return one;
    return NULL;
}

static const json_t *last_stable(const struct service *s, const json_t *but)
{
    for (size_t i = json_array_size(s->history); i-- > 0;) {
        const json_t *one = json_array_get(s->history, i);
        if (one != but && json_bool(one, "Stable"))
            return one;
    }
    return NULL;
}

int history__check(const json_t *labels, struct err *err)
{
    const char *text = json_str(labels, HISTORY_LABEL);
    int64_t n;
    return *text && parse_i64(text, 1, VERSIONS_MAX, &n, NULL) < 0
               ? err_set(err, ERR_INVALID, "label " HISTORY_LABEL " must be 1 to %d versions, not \"%.50s\"",
                         VERSIONS_MAX, text)
               : 0;
}

static int64_t most_versions(const struct service *s)
{
    int64_t n = VERSIONS_DEFAULT;
    (void)parse_i64(json_str(json_object_get(s->o.spec, "Labels"), HISTORY_LABEL), 1, VERSIONS_MAX, &n, NULL);
    return n;
}

/* The oldest that nothing needs: neither now, nor to go back to. */
static bool drop_one(struct service *s)
{
    const json_t *stable = last_stable(s, NULL), *present = find(s, s->revision);
    for (size_t i = 0; i < json_array_size(s->history); i++) {
        const json_t *one = json_array_get(s->history, i);
        if (one == stable || one == present || json_int(one, "Version") == s->previous_revision)
            continue;
        json_array_remove(s->history, i);
        return true;
    }
    return false;
}

static size_t size_of(const struct service *s)
{
    return json_dumpb(s->history, NULL, 0, JSON_COMPACT);
}

void history__note(struct service *s)
{
    if (!s->history)
        s->history = json_array();
    if (s->revision && find(s, s->revision))
        return;
    s->revision = ++s->next_revision;
    json_t *one =
        json_pack("{s:I, s:I, s:I, s:b, s:O}", "Version", (json_int_t)s->revision, "TaskVersion",
                  (json_int_t)s->version, "At", (json_int_t)time_now_ns(), "Stable", 0, "Spec", s->o.spec);
    must(one);
    if (s->auth)
        json_set_str(one, "Auth", s->auth);
    json_array_append_new(s->history, one);
    while (((int64_t)json_array_size(s->history) > most_versions(s) || size_of(s) > VERSIONS_BYTES) &&
           drop_one(s))
        continue;
}

void history__stable(struct service *s)
{
    json_t *one = find(s, s->revision);
    if (one)
        json_object_set_new(one, "Stable", json_true());
}

/* Of a version that no rollout has brought, such as the first. */
static bool holds(const struct service *s)
{
    int64_t running = 0, others = 0, long_ago = time_now_ns() - s->parsed.update.monitor_ns;
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&s->tasks, &i));) {
        const struct task *t = e->value;
        if (t->desired > TASK_RUNNING)
            continue;
        bool good = t->state == TASK_RUNNING && t->version == s->version && t->running_ns <= long_ago;
        running += good;
        others += !good;
    }
    int64_t wanted = s->parsed.mode == DEPLOY_REPLICATED ? s->parsed.replicas : running;
    return s->status.state == ROLLOUT_NONE && running && !others && running == wanted;
}

void history__leave(struct service *s)
{
    history__note(s);
    if (holds(s))
        history__stable(s);
    s->previous_revision = s->revision;
}

static void aim_at(struct service *s, const json_t *one)
{
    json_decref(s->previous);
    s->previous = json_incref(json_object_get(one, "Spec"));
    s->previous_version = json_int(one, "TaskVersion");
    s->previous_revision = json_int(one, "Version");
    free(s->previous_auth);
    s->previous_auth = mem_strdup(json_string_value(json_object_get(one, "Auth")));
}

void history__aim_at_stable(struct service *s)
{
    const json_t *previous = find(s, s->previous_revision), *stable = last_stable(s, find(s, s->revision));
    if (stable && !json_bool(previous, "Stable"))
        aim_at(s, stable);
}

/* --- Calls --- */

static int look_up(struct cluster *c, const char *ref, struct service **ret, struct err *err)
{
    int r = cluster__no_swarm(c, err);
    if (r < 0)
        return r;
    *ret = cluster__lookup(c, CLUSTER_SERVICE, ref, err);
    if (!*ret)
        return -err->code;
    history__note(*ret);
    return 0;
}

int cluster_service_versions(struct cluster *c, const char *ref, json_t **ret, struct err *err)
{
    SCOPED_LOCK(locked, &c->lock);
    struct service *s;
    int r = look_up(c, ref, &s, err);
    if (r < 0)
        return r;
    json_t *list = json_array(), *one;
    const json_t *before = NULL;
    size_t i;
    json_array_foreach (s->history, i, one) {
        int64_t version = json_int(one, "Version");
        bool present = version == s->revision;
        const json_t *spec = json_object_get(one, "Spec");
        json_t *shown =
            json_pack("{s:I, s:b, s:b, s:b, s:O}", "Version", (json_int_t)version, "Stable",
                      (int)(json_bool(one, "Stable") || (present && holds(s))), "Present", (int)present,
                      "Previous", (int)(s->previous && version == s->previous_revision), "Spec", spec);
        must(shown);
        cluster__set_time(shown, "CreatedAt", json_int(one, "At"));
        if (before)
            json_object_set_new(shown, "Changes", deploy_changes(before, spec));
        before = spec;
        json_array_append_new(list, shown);
    }
    *ret = list;
    return 0;
}

/* What it needs may be gone meanwhile. */
static int check_again(struct cluster *c, const struct service *s, const json_t *one, struct err *err)
{
    _cleanup_json_ json_t *spec = NULL, *ports = NULL;
    int r = service__foresee(c, s, json_object_get(one, "Spec"), &spec, &ports, err);
    return r < 0 ? err_wrap(err, "version %lld of service %s", (long long)json_int(one, "Version"), s->o.name)
                 : 0;
}

int cluster_service_rollback(struct cluster *c, const char *ref, int64_t version, struct err *err)
{
    SCOPED_LOCK(locked, &c->lock);
    struct service *s;
    int r = look_up(c, ref, &s, err);
    if (r < 0)
        return r;
    const json_t *one = find(s, version);
    if (!one)
        return err_set(err, ERR_NOT_FOUND,
                       "service %s has no version %lld: \"drover history %s\" lists those that are kept",
                       s->o.name, (long long)version, s->o.name);
    if (version == s->revision)
        return err_set(err, ERR_CONFLICT, "service %s is of version %lld already", s->o.name,
                       (long long)version);
    r = check_again(c, s, one, err);
    if (r < 0)
        return r;
    if (holds(s))
        history__stable(s);
    aim_at(s, one);
    const struct cluster_service_update back = {.rollback = true};
    r = service__update(c, s, &back, err);
    if (r == 0)
        cluster__event(c, &s->o, "update", NULL);
    return r;
}
