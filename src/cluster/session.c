/* The node's side of session.h. */
#include "cluster/session.h"

#include "base/base64.h"
#include "base/file.h"
#include "base/log.h"
#include "cluster/attach.h"
#include "cluster/authority.h"
#include "cluster/autolock.h"
#include "cluster/identity.h"
#include "cluster/join.h"
#include "cluster/peer.h"
#include "cluster/revoke.h"
#include "cluster/roles.h"
#include "cluster/traffic.h"

enum {
    RETRY_MS = 1000,
    REPLACED_MS = 100,
    CALL_TIMEOUT_MS = 15000,
    ASSIGNED_MAX = 64 << 20,
    REPORT_MAX = 1000, /* tasks of one call */
};

/* --- What is assigned, as objects --- */

static char *seal_auth(struct cluster *c, const char *plain)
{
    _cleanup_str_ struct str sealed = STR_INIT;
    if (str_empty(plain) || keys__seal(c, "auth", plain, strlen(plain), &sealed, &(struct err){0}) < 0)
        return NULL;
    return base64_encode(sealed.data, sealed.len);
}

static void put_service(struct cluster *c, const json_t *row)
{
    struct err err;
    struct service *s = map_get(&c->objects[CLUSTER_SERVICE], json_str(row, "id"));
    _cleanup_json_ json_t *own = json_copy((json_t *)row);
    _cleanup_free_ char *auth = seal_auth(c, json_str(row, "auth"));
    json_object_set_new(own, "removed",
                        json_false()); /* a service that goes has tasks to stop here, no more */
    json_object_set_new(own, "auth", auth ? json_string(auth) : json_null());
    struct service *fresh = (struct service *)cluster__restore(c, CLUSTER_SERVICE, own, &err);
    if (!fresh) {
        log_error("cluster: an assigned service: %s", err.msg);
        return;
    }
    if (!s) {
        cluster__add(c, &fresh->o);
        return;
    }
    /* Its tasks point to it: what it says changes, not what it is. */
    json_t *spec = s->o.spec;
    char *before = s->auth;
    s->o.spec = fresh->o.spec, fresh->o.spec = spec;
    s->auth = fresh->auth, fresh->auth = before;
    s->parsed = fresh->parsed;
    s->labels = fresh->labels;
    service__free(fresh);
}

static void put_secrets(struct cluster *c, enum cluster_kind kind, const json_t *list)
{
    struct map_entry *e;
    json_t *row;
    size_t i;
    for (i = 0; (e = map_next(&c->objects[kind], &i));)
        cluster__free_object(e->value);
    map_done(&c->objects[kind]);
    map_done(&c->names[kind]);
    c->objects[kind] = c->names[kind] = MAP_INIT(NULL);
    json_array_foreach ((json_t *)list, i, row) {
        struct err err;
        struct secret *s = (struct secret *)cluster__restore(c, kind, row, &err);
        if (!s)
            continue;
        struct str plain = s->data, sealed = STR_INIT;
        if (kind == CLUSTER_SECRET && keys__seal(c, s->o.id, plain.data, plain.len, &sealed, &err) == 0) {
            s->data = sealed;
            str_free(&plain);
        }
        cluster__add(c, &s->o);
    }
}

/* New to this process: what its container does is told by the engine, never by the row. */
static void put_task(struct cluster *c, const json_t *row)
{
    struct err err;
    struct task *t = map_get(&c->objects[CLUSTER_TASK], json_str(row, "id"));
    if (t) {
        enum task_state desired;
        if (task_state_parse(json_str(row, "desired"), &desired) == 0)
            t->desired = desired;
        return;
    }
    t = (struct task *)cluster__restore(c, CLUSTER_TASK, row, &err);
    if (!t) {
        log_error("cluster: an assigned task: %s", err.msg);
        return;
    }
    if (t->state == TASK_ORPHANED) /* not by this node: whatever runs is to be stopped */
        t->state = TASK_ASSIGNED;
    cluster__add(c, &t->o);
    t->unknown = true;
}

static void put_node(struct cluster *c, const json_t *row)
{
    struct err err;
    struct node *before = map_get(&c->objects[CLUSTER_NODE], c->self);
    struct object *fresh = row ? cluster__restore(c, CLUSTER_NODE, row, &err) : NULL;
    if (!fresh || !str_eq(fresh->id, c->self)) {
        if (fresh)
            cluster__free_object(fresh);
        return;
    }
    if (before) {
        cluster__drop(c, &before->o);
        node__free(before);
    }
    cluster__add(c, fresh);
}

/* What runs here and is assigned no more. */
static void drop_tasks(struct cluster *c, const json_t *tasks)
{
    struct map listed = MAP_INIT(NULL);
    _cleanup_strv_ char **gone = NULL;
    struct map_entry *e;
    json_t *row;
    size_t i;
    json_array_foreach ((json_t *)tasks, i, row)
        map_put(&listed, json_str(row, "id"), c);
    for (i = 0; (e = map_next(&c->objects[CLUSTER_TASK], &i));)
        if (!map_has(&listed, e->key))
            strv_add(&gone, e->key);
    map_done(&listed);
    STRV_FOREACH (id, gone)
        agent__forget(c, map_get(&c->objects[CLUSTER_TASK], *id));
}

static void drop_services(struct cluster *c)
{
    _cleanup_strv_ char **gone = NULL;
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_SERVICE], &i));) {
        const struct service *s = e->value;
        if (!s->tasks.count && !s->pending_frees)
            strv_add(&gone, e->key);
    }
    STRV_FOREACH (id, gone) {
        struct service *s = map_get(&c->objects[CLUSTER_SERVICE], *id);
        cluster__drop(c, &s->o);
        service__free(s);
    }
}

static void put_all(struct cluster *c, const json_t *assigned)
{
    json_t *row;
    size_t i;
    put_node(c, json_object_get(assigned, "node"));
    json_array_foreach (json_object_get(assigned, "services"), i, row)
        put_service(c, row);
    json_array_foreach (json_object_get(assigned, "tasks"), i, row)
        put_task(c, row);
    drop_tasks(c, json_object_get(assigned, "tasks"));
    drop_services(c);
}

/* The new ones of a node that runs: what their containers do, if they have any. */
static void look_at_new(struct cluster *c)
{
    struct map_entry *e;
    bool any = false;
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_TASK], &i));) {
        const struct task *t = e->value;
        any = any || (t->unknown && t->state > TASK_ASSIGNED);
    }
    if (any)
        agent__find_containers(c);
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_TASK], &i));) {
        struct task *t = e->value;
        if (t->unknown && t->state > TASK_ASSIGNED)
            agent__recover_task(c, t);
        t->unknown = false;
    }
}

/* --- On disk --- */

static int keep(struct cluster *c, const json_t *answer, struct err *err)
{
    static const char *const parts[] = {"node", "tasks", "services"};
    _cleanup_free_ char *path = identity__path(c, "assigned.json");
    _cleanup_json_ json_t *doc = json_object();
    json_t *one;
    size_t i;
    for (i = 0; i < ARRAY_SIZE(parts); i++)
        json_object_set_new(doc, parts[i], json_copy_tree(json_object_get(answer, parts[i])));
    json_array_foreach (json_object_get(doc, "services"), i, one)
        json_object_del(one, "auth");
    _cleanup_free_ char *text = json_format(doc);
    return file_replace(path, text, strlen(text), 0600, true, err);
}

int session__load(struct cluster *c, struct err *err)
{
    _cleanup_free_ char *path = identity__path(c, "assigned.json");
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_json_ json_t *doc = NULL;
    c->assignment_known = c->assignment_fresh = false;
    int r = file_read(path, ASSIGNED_MAX, &text, err);
    if (r == -ERR_NOT_FOUND)
        return 0;
    if (r == 0)
        r = json_parse(str_get(&text), text.len, path, &doc, err);
    if (r < 0)
        return r;
    put_all(c, doc);
    c->assignment_known = true;
    return 0;
}

/* --- Asking the leader --- */

static void give_all(struct cluster *c)
{
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_TASK], &i));)
        agent__give(c, e->value);
}

/* After another leader, or a start: it may not have heard the last reports. */
static void report_all(struct cluster *c)
{
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_TASK], &i));) {
        struct task *t = e->value;
        t->dirty = t->dirty || t->state > TASK_ASSIGNED;
    }
    pthread_cond_signal(&c->decide);
}

static void know_managers(struct cluster *c, const json_t *answer)
{
    json_t *managers = json_object_get(answer, "managers");
    struct err err;
    if (!json_array_size(managers) || json_equal(managers, c->managers))
        return;
    json_decref(c->managers);
    c->managers = json_copy_tree(managers);
    c->manager_at = 0;
    if (identity__save(c, &err) < 0)
        log_error("cluster: %s", err.msg);
}

/* With the lock: whether it is another's than before. */
static bool note_lead(struct cluster *c, const json_t *answer)
{
    const char *lead = json_str(answer, "lead");
    bool other = !*lead || !str_eq(lead, c->heard_lead);
    snprintf(c->heard_lead, sizeof(c->heard_lead), "%s", lead);
    c->heard_epoch = json_int(answer, "epoch");
    c->heard_ns = time_monotonic_ns();
    return other;
}

/* Another has led since, and who answers does not know it yet. */
static bool is_replaced(struct cluster *c, const json_t *answer)
{
    const json_t *epoch = json_object_get(answer, "epoch");
    SCOPED_LOCK(locked, &c->lock);
    bool replaced = epoch && json_integer_value(epoch) < c->heard_epoch &&
                    time_monotonic_ns() - c->heard_ns < STALE_LEAD_MS * NS_PER_MS;
    c->manager_at += replaced; /* another manager may know better */
    return replaced;
}

static void apply(struct cluster *c, const json_t *answer, char **version)
{
    const char *now = json_str(answer, "version");
    struct err err;
    bool changed = json_is_array(json_object_get(answer, "tasks"));
    if (changed && keep(c, answer, &err) < 0) {
        log_error("cluster: keep what is assigned to this node: %s", err.msg);
        return; /* and so it is asked for again */
    }
    SCOPED_LOCK(locked, &c->lock);
    if (c->trouble || !c->assignment_fresh)
        c->swept_ns = 0; /* what has ended meanwhile is the leader's to replace */
    free(c->trouble);
    c->trouble = NULL;
    know_managers(c, answer);
    free(c->leader);
    c->leader = mem_strdup(json_string_value(json_object_get(answer, "leader")));
    json_decref(c->summary);
    c->summary = json_incref(json_object_get(answer, "summary"));
    const json_t *node = json_object_get(answer, "node");
    if (node)
        roles__follow(c, json_bool(node, "manager"));
    traffic__follow(c, answer);
    if (changed) {
        revoke__follow(c, answer);
        authority__follow(c, answer);
        if (c->role == ROLE_FOLLOWS && autolock__follow(c, answer, &err) < 0)
            log_error("cluster: %s", err.msg);
        put_secrets(c, CLUSTER_SECRET, json_object_get(answer, "secrets"));
        put_secrets(c, CLUSTER_CONFIG, json_object_get(answer, "configs"));
        put_all(c, answer);
        look_at_new(c);
        if (!c->assignment_known)
            agent__remove_strays(c);
        c->assignment_known = c->assignment_fresh = true;
        give_all(c);
    }
    if (note_lead(c, answer) || !*version)
        report_all(c);
    free(*version);
    *version = mem_strdup(now);
}

/* The managers do not count this node among theirs any more. */
static void removed(struct cluster *c, const struct err *why)
{
    SCOPED_LOCK(locked, &c->lock);
    _cleanup_json_ json_t *nothing = json_array();
    if (!str_eq(c->trouble, why->msg))
        log_error("cluster: %s", why->msg);
    free(c->trouble);
    c->trouble = mem_strdup(why->msg);
    drop_tasks(c, nothing);
}

static void failed(struct cluster *c, const struct err *why)
{
    SCOPED_LOCK(locked, &c->lock);
    if (!c->trouble)
        log_warning("cluster: %s; what runs here goes on", why->msg);
    free(c->trouble);
    c->trouble = mem_strdup(why->msg);
}

static bool stopping(struct cluster *c)
{
    SCOPED_LOCK(locked, &c->lock);
    return c->stopping;
}

static void pause_ms(struct cluster *c, int ms)
{
    for (int i = 0; i < ms && !stopping(c); i += 50)
        time_sleep_ns(50 * NS_PER_MS);
}

void *session__follow(void *context)
{
    struct cluster *c = context;
    _cleanup_free_ char *version = NULL;
    struct peer_kept kept = {0};
    struct err err;
    while (!stopping(c)) {
        _cleanup_json_ json_t *answer = NULL;
        _cleanup_json_ json_t *body =
            json_pack("{s:s, s:i, s:b}", "version", version ? version : "", "protocol", CLUSTER_PROTOCOL,
                      "facts", !join__speaks_before());
        json_t *description = version && !c->describes ? NULL : node__describe(c, &err);
        c->describes = false;
        if (description)
            json_object_set_new(body, "description", description);
        json_object_set_new(body, "vitals", condition__report(c));
        int r =
            peer_call_leader_over(c, &kept, "POST", "/cluster/session", body, c->session_ms, &answer, &err);
        if (r == 0 && is_replaced(c, answer)) {
            pause_ms(c, REPLACED_MS);
            continue;
        }
        if (r == 0) {
            condition__answered(c, answer);
            apply(c, answer, &version);
            int64_t beat = json_int(answer, "heartbeat_ns");
            /* Soon enough to be heard by another leader before that one counts this node as lost. */
            beat = MIN(MAX(beat, 0) / NS_PER_MS, 600000);
            c->session_ms = (int)(beat + MAX(beat / 2, 1000));
            identity__renew_when_due(c, json_int(answer, "certificate_ns"));
            continue;
        }
        c->describes = true;
        if (r == -ERR_CANCELLED)
            continue;
        if (r == -ERR_DENIED)
            removed(c, &err);
        else
            failed(c, &err);
        pause_ms(c, RETRY_MS);
    }
    peer_kept_done(&kept);
    return NULL;
}

/* --- Telling it --- */

static json_t *report_of(const struct task *t)
{
    json_t *row = json_pack("{s:s, s:s, s:s, s:I, s:I}", "id", t->o.id, "state", task_state_name(t->state),
                            "message", t->message ? t->message : "", "pid", (json_int_t)t->pid, "exit_code",
                            (json_int_t)t->exit_code);
    if (t->error)
        json_set_str(row, "error", t->error);
    if (t->container)
        json_set_str(row, "container", t->container);
    return row;
}

/* Of tasks that the leader has not heard of as they are; NULL: there is none. */
static json_t *collect(struct cluster *c)
{
    json_t *list = json_array();
    struct map_entry *e;
    for (size_t i = 0; json_array_size(list) < REPORT_MAX && (e = map_next(&c->objects[CLUSTER_TASK], &i));) {
        struct task *t = e->value;
        if (!t->dirty || t->state <= TASK_ASSIGNED)
            continue;
        t->dirty = false;
        json_array_append_new(list, report_of(t));
    }
    if (json_array_size(list))
        return list;
    json_decref(list);
    return NULL;
}

static void again(struct cluster *c, const json_t *list)
{
    SCOPED_LOCK(locked, &c->lock);
    json_t *row;
    size_t i;
    json_array_foreach ((json_t *)list, i, row) {
        struct task *t = map_get(&c->objects[CLUSTER_TASK], json_str(row, "id"));
        if (t)
            t->dirty = true;
    }
}

/* What is refused is asked for again now and then. */
static void settle(struct cluster *c, struct peer_kept *kept)
{
    struct err err;
    int r = attach__settle_over(c, kept, &err);
    if (r == -ERR_UNAVAILABLE || r == -ERR_TIMEOUT || r == -ERR_NO_MAJORITY) {
        pthread_mutex_lock(&c->lock);
        c->attach_dirty = true;
        pthread_mutex_unlock(&c->lock);
        pause_ms(c, RETRY_MS);
    } else if (r < 0)
        log_warning("this node's containers on networks of the swarm: %s", err.msg);
}

void *session__report(void *context)
{
    struct cluster *c = context;
    struct peer_kept kept = {0};
    for (;;) {
        pthread_mutex_lock(&c->lock);
        json_t *list = NULL;
        while (!c->stopping && !(list = collect(c)) && !c->attach_dirty)
            pthread_cond_wait(&c->decide, &c->lock);
        bool ends = c->stopping, settles = c->attach_dirty;
        c->attach_dirty = false;
        char lead[sizeof(c->heard_lead)];
        snprintf(lead, sizeof(lead), "%s", c->heard_lead);
        drop_services(c);
        pthread_mutex_unlock(&c->lock);
        _cleanup_json_ json_t *body = list ? json_pack("{s:s, s:o}", "lead", lead, "tasks", list) : NULL;
        if (ends)
            break;
        if (settles)
            settle(c, &kept);
        if (!list)
            continue;
        if (peer_call_leader_over(c, &kept, "POST", "/cluster/report", body, CALL_TIMEOUT_MS, NULL,
                                  &(struct err){0}) == 0)
            continue;
        again(c, list);
        pause_ms(c, RETRY_MS);
    }
    peer_kept_done(&kept);
    return NULL;
}
