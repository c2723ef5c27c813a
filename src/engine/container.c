/* Containers in memory and in the database. */
#include "engine/links.h"
#include "engine/mounts_priv.h"
#include "engine/userns.h"

#include "base/digest.h"
#include "base/failpoint.h"

#include <unistd.h>

const char *container__status_name(enum container_status s)
{
    static const char *const names[] = {
        [STATUS_CREATED] = "created",   [STATUS_RUNNING] = "running",
        [STATUS_PAUSED] = "paused",     [STATUS_RESTARTING] = "restarting",
        [STATUS_REMOVING] = "removing", [STATUS_EXITED] = "exited",
        [STATUS_DEAD] = "dead",
    };
    return names[s];
}

struct container *container__ref(struct container *c)
{
    atomic_fetch_add(&c->refs, 1);
    return c;
}

static json_t *take_parsed(struct container *c)
{
    json_t *doc = take_ptr(c->parsed);
    if (doc)
        atomic_fetch_sub(&c->engine->kept_parsed, 1);
    return doc;
}

static void forget_parsed(struct container *c)
{
    json_decref(take_parsed(c));
}

/* A start mostly follows at once. More that wait for theirs would be memory. */
void container__keep_parsed(struct container *c, json_t *doc)
{
    enum { PARSED_MAX = 64 };
    SCOPED_LOCK(locked, &c->lock);
    if (atomic_fetch_add(&c->engine->kept_parsed, 1) < PARSED_MAX)
        c->parsed = json_incref(doc);
    else
        atomic_fetch_sub(&c->engine->kept_parsed, 1);
}

void container__unref(struct container *c)
{
    if (!c || atomic_fetch_sub(&c->refs, 1) != 1)
        return;
    for (size_t i = 0; i < c->pending_count; i++)
        close_fd(c->pending[i].fd);
    pthread_mutex_destroy(&c->op);
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->changed);
    free(c->line);
    free(c->line_key);
    inspect__forget_answers(c);
    free(c->name);
    forget_parsed(c);
    free(c->doc);
    free(c->net);
    free(c->image_id);
    free(c->image_name);
    free(c->hostname);
    json_decref(c->labels);
    free(c->state.error);
    strv_free(c->volumes);
    strv_free(c->images);
    strv_free(c->execs);
    strv_free(c->links);
    free(c->last_health);
    free(c);
}

static void read_facts(struct container *c, const json_t *doc)
{
    const json_t *host = json_object_get(doc, "HostConfig"), *config = json_object_get(doc, "Config");
    const char *policy = json_str(json_object_get(host, "RestartPolicy"), "Name");
    c->tty = json_bool(config, "Tty");
    c->log_driver = LOGDRIVER_LOCAL;
    logs__driver(doc, &c->log_driver, NULL);
    c->auto_remove = json_bool(host, "AutoRemove");
    c->restarts = *policy && !str_eq(policy, "no");
    c->is_volatile = c->auto_remove && !c->restarts;
    json_decref(c->labels);
    c->labels = json_object_size(json_object_get(config, "Labels"))
                    ? json_deep_copy(json_object_get(config, "Labels"))
                    : NULL;
    free(c->image_name);
    c->image_name = mem_strdup(json_str(config, "Image"));
    /* Neither changes, and both are read without a lock. */
    if (!c->image_id)
        c->image_id = mem_strdup(json_str(doc, "Image"));
    if (!c->hostname)
        c->hostname = mem_strdup(json_str(config, "Hostname"));
    strv_free(c->links);
    c->links = links__read(doc);
    c->volumes = strv_free(c->volumes);
    c->images = strv_free(c->images);
    size_t i;
    const json_t *point;
    json_array_foreach (json_object_get(doc, "MountPoints"), i, point) {
        if (str_eq(json_str(point, "Type"), "volume"))
            strv_add(&c->volumes, json_str(point, "Name"));
        if (str_eq(json_str(point, "Type"), "image"))
            strv_add(&c->images, json_str(point, "Image"));
    }
}

static void note_net(struct container *c, const json_t *net)
{
    links__note(c, net);
    c->net_has_run = endpoint__has_run(net);
}

struct container *container__new(struct engine *e, const char *id, const char *name, json_t *doc, json_t *net)
{
    struct container *c = NEW(struct container);
    c->refs = 1;
    c->engine = e;
    snprintf(c->id, sizeof(c->id), "%s", id);
    c->name = mem_strdup(name);
    pthread_mutex_init(&c->op, NULL);
    pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&c->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    read_facts(c, doc);
    note_net(c, net);
    c->doc = json_format(doc);
    c->net = json_format(net);
    json_decref(doc);
    json_decref(net);
    return c;
}

int container__register(struct container *c, struct err *err)
{
    struct engine *e = c->engine;
    SCOPED_LOCK(locked, &e->lock);
    struct container *other = map_get(&e->names, c->name);
    if (other)
        return err_set(
            err, ERR_CONFLICT,
            "Conflict. The container name \"/%s\" is already in use by container \"%s\". You have to "
            "remove (or rename) that container to be able to reuse that name.",
            c->name, other->id);
    map_put(&e->names, c->name, c);
    map_put(&e->containers, c->id, container__ref(c));
    return 0;
}

void container__unregister(struct container *c)
{
    struct engine *e = c->engine;
    pthread_mutex_lock(&e->lock);
    if (map_get(&e->names, c->name) == c)
        map_remove(&e->names, c->name);
    struct container *held = map_steal(&e->containers, c->id);
    map_remove(&e->id_ranges, c->id);
    pthread_mutex_unlock(&e->lock);
    container__unref(held);
}

int container__find(struct engine *e, const char *ref, struct container **ret, struct err *err)
{
    SCOPED_LOCK(locked, &e->lock);
    const char *name = *ref == '/' ? ref + 1 : ref;
    struct container *c = map_get(&e->containers, ref);
    if (!c)
        c = map_get(&e->names, name);
    size_t n = strlen(ref);
    if (!c && n < sizeof(c->id) - 1 && str_is_hex(ref)) { /* a whole id begins no other */
        struct map_entry *entry;
        for (size_t i = 0; (entry = map_next(&e->containers, &i));)
            if (strncmp(entry->key, ref, n) == 0) {
                if (c)
                    return err_set(err, ERR_INVALID, "multiple IDs found with provided prefix: %s", ref);
                c = entry->value;
            }
    }
    if (!c)
        c = links__find(e, name);
    if (!c)
        return err_set(err, ERR_NOT_FOUND, "No such container: %s", ref);
    *ret = container__ref(c);
    return 0;
}

struct container **container__all(struct engine *e)
{
    SCOPED_LOCK(locked, &e->lock);
    struct container **list = NEW_N(struct container *, e->containers.count + 1);
    struct map_entry *entry;
    size_t n = 0;
    for (size_t i = 0; (entry = map_next(&e->containers, &i));)
        list[n++] = container__ref(entry->value);
    return list;
}

void container__all_free(struct container **list)
{
    for (size_t i = 0; list && list[i]; i++)
        container__unref(list[i]);
    free(list);
}

char *container__name(struct container *c)
{
    SCOPED_LOCK(locked, &c->engine->lock);
    return mem_strdup(c->name);
}

static json_t *parsed(struct container *c, char *const *text)
{
    pthread_mutex_lock(&c->lock);
    _cleanup_free_ char *copy = mem_strdup(*text);
    pthread_mutex_unlock(&c->lock);
    json_t *value = json_loads(copy, JSON_ALLOW_NUL, NULL);
    must(value); /* we printed it ourselves */
    return value;
}

json_t *container__doc(struct container *c)
{
    pthread_mutex_lock(&c->lock);
    json_t *doc = take_parsed(c);
    pthread_mutex_unlock(&c->lock);
    return doc ? doc : parsed(c, &c->doc);
}

json_t *container__labels(struct container *c)
{
    SCOPED_LOCK(locked, &c->lock);
    return json_incref(c->labels);
}

json_t *container__net(struct container *c)
{
    return parsed(c, &c->net);
}

void container__set_doc(struct container *c, json_t *doc)
{
    char *text = json_format(doc);
    SCOPED_LOCK(locked, &c->lock);
    read_facts(c, doc);
    forget_parsed(c);
    free(c->doc);
    c->doc = text;
    c->revision++;
    json_decref(doc);
}

void container__set_net(struct container *c, json_t *net)
{
    char *text = json_format(net);
    SCOPED_LOCK(locked, &c->lock);
    note_net(c, net);
    free(c->net);
    c->net = text;
    c->revision++;
    json_decref(net);
}

struct container_state container__state(struct container *c)
{
    SCOPED_LOCK(locked, &c->lock);
    struct container_state s = c->state;
    s.error = NULL;
    return s;
}

bool container__running(struct container *c)
{
    struct container_state s = container__state(c);
    return s.status == STATUS_RUNNING || s.status == STATUS_PAUSED;
}

char *container__dir(struct container *c)
{
    return str_printf("%s/containers/%s", c->engine->root, c->id);
}

char *container__cgroup(struct container *c, const json_t *doc)
{
    _cleanup_json_ json_t *own = doc ? NULL : container__doc(c);
    const char *parent = json_str(json_object_get(doc ? doc : own, "HostConfig"), "CgroupParent");
    /* ".." leads no higher than the engine's own groups. */
    _cleanup_free_ char *rooted = str_printf("/%s", parent), *clean = NULL;
    if (mounts__clean_path(rooted, &clean, NULL) < 0 || str_eq(clean, "/"))
        return str_printf("/drover/%s", c->id);
    return str_printf("%s/%s", clean, c->id);
}

void container__event_with(struct container *c, const char *action, const json_t *more)
{
    _cleanup_json_ json_t *attributes = json_object();
    _cleanup_free_ char *name = container__name(c);
    pthread_mutex_lock(&c->lock);
    if (c->labels)
        json_object_update(attributes, c->labels);
    json_set_str(attributes, "image", c->image_name);
    pthread_mutex_unlock(&c->lock);
    json_set_str(attributes, "name", name);
    json_object_update(attributes, (json_t *)more);
    engine_event(c->engine, "container", action, c->id, attributes);
}

void container__event(struct container *c, const char *action, const char *key, const char *value)
{
    _cleanup_json_ json_t *more = json_object();
    if (key)
        json_set_str(more, key, value);
    container__event_with(c, action, more);
}

/* --- the database --- */

static char *state_text(struct container *c)
{
    const struct container_state *s = &c->state;
    _cleanup_json_ json_t *j =
        json_pack("{s:i,s:i,s:i,s:i,s:b,s:b,s:I,s:I}", "status", (int)s->status, "pid", (int)s->pid,
                  "exit_code", s->exit_code, "restart_count", s->restart_count, "oom_killed", s->oom_killed,
                  "stopped_by_user", s->stopped_by_user, "started_ns", (json_int_t)s->started_ns,
                  "finished_ns", (json_int_t)s->finished_ns);
    if (s->error)
        json_set_str(j, "error", s->error);
    return json_format(j);
}

int container__insert(struct container *c, struct err *err)
{
    _cleanup_free_ char *state = state_text(c);
    struct store_value values[] = {STORE_STR(c->id),  STORE_STR(c->name), STORE_I64(c->created_ns),
                                   STORE_STR(c->doc), STORE_STR(c->net),  STORE_STR(state)};
    struct store_statement s = {
        "INSERT INTO containers (id, name, created_ns, doc, net, state) VALUES (?, ?, ?, ?, ?, ?)", values,
        ARRAY_SIZE(values), 1};
    return store_batch(c->engine->store, &s, 1, STORE_LAZY, err);
}

/* The id by which the supervisor lets the keeper forget. */
static void saved(void *context)
{
    struct container *c = context;
    FAILPOINT("serve-exit-saved");
    supervisor__forget_due(c->engine, c->id);
    container__unref(c);
}

void container__save_behind(struct container *c, bool then_forget)
{
    pthread_mutex_lock(&c->lock);
    _cleanup_free_ char *state = state_text(c);
    _cleanup_free_ char *net = mem_strdup(c->net);
    pthread_mutex_unlock(&c->lock);
    struct store_value values[] = {STORE_STR(state), STORE_STR(net), STORE_STR(c->id)};
    struct store_statement s = {"UPDATE containers SET state = ?, net = ? WHERE id = ?", values,
                                ARRAY_SIZE(values), -1};
    store_behind(c->engine->store, &s, then_forget ? saved : NULL, then_forget ? container__ref(c) : NULL);
}

static void save(struct container *c, bool whole)
{
    _cleanup_free_ char *name = container__name(c);
    pthread_mutex_lock(&c->lock);
    _cleanup_free_ char *state = state_text(c);
    _cleanup_free_ char *doc = whole ? mem_strdup(c->doc) : NULL;
    _cleanup_free_ char *net = mem_strdup(c->net);
    pthread_mutex_unlock(&c->lock);
    struct store_value all[] = {STORE_STR(state), STORE_STR(net), STORE_STR(doc), STORE_STR(name),
                                STORE_STR(c->id)};
    struct store_value some[] = {STORE_STR(state), STORE_STR(net), STORE_STR(c->id)};
    struct store_statement s =
        whole ? (struct store_statement){"UPDATE containers SET state = ?, net = ?, doc = ?, name = ? WHERE "
                                         "id = ?",
                                         all, ARRAY_SIZE(all), -1}
              : (struct store_statement){"UPDATE containers SET state = ?, net = ? WHERE id = ?", some,
                                         ARRAY_SIZE(some), -1};
    struct err err;
    if (store_batch(c->engine->store, &s, 1, STORE_LAZY, &err) < 0)
        log_error("save container %.12s: %s", c->id, err.msg);
}

void container__save(struct container *c)
{
    save(c, true);
}

void container__save_state(struct container *c)
{
    save(c, false);
}

static void read_state(struct container *c, const char *text)
{
    _cleanup_json_ json_t *j = json_loads(text, 0, NULL);
    struct container_state *s = &c->state;
    s->status = (enum container_status)json_int(j, "status");
    if (s->status > STATUS_DEAD)
        s->status = STATUS_DEAD;
    s->pid = (pid_t)json_int(j, "pid");
    s->exit_code = (int)json_int(j, "exit_code");
    s->restart_count = (int)json_int(j, "restart_count");
    s->oom_killed = json_bool(j, "oom_killed");
    s->stopped_by_user = json_bool(j, "stopped_by_user");
    s->started_ns = json_int(j, "started_ns");
    s->finished_ns = json_int(j, "finished_ns");
    s->error = json_object_get(j, "error") ? mem_strdup(json_str(j, "error")) : NULL;
}

static int load_row(void *context, const struct store_value *v, size_t n, struct err *err)
{
    json_t *doc = NULL, *net = NULL;
    int r = json_parse(v[3].bytes, v[3].size, "a container's document", &doc, err);
    if (r == 0)
        r = json_parse(v[4].bytes, v[4].size, "a container's networks", &net, err);
    if (r < 0) {
        json_decref(doc);
        return err_wrap(err, "container %s in engine.db", (const char *)v[0].bytes);
    }
    userns__restore(context, v[0].bytes, doc);
    _cleanup_container_ struct container *c = container__new(context, v[0].bytes, v[1].bytes, doc, net);
    c->created_ns = v[2].integer;
    read_state(c, v[5].bytes);
    return container__register(c, err);
}

int container__load_all(struct engine *e, struct err *err)
{
    return store_query(e->store,
                       "SELECT id, name, created_ns, doc, net, state FROM containers ORDER BY created_ns, id",
                       NULL, 0, load_row, e, err);
}
