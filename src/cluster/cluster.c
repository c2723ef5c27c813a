/* The swarm itself: made, shown, changed, left. And the calls for objects of every kind. */
#include "cluster/cluster_priv.h"

#include "base/file.h"
#include "base/log.h"
#include "engine/spread.h"

#include <unistd.h>

/* --- The document of the swarm --- */

static json_t *default_spec(void)
{
    json_t *spec = json_pack(
        "{s:s, s:{}, s:{s:i}, s:{s:i, s:i, s:i, s:i, s:i}, s:{s:I}, s:{s:I}, s:{}, s:{s:b}}", "Name",
        "default", "Labels", "Orchestration", "TaskHistoryRetentionLimit", 5, "Raft", "SnapshotInterval",
        10000, "KeepOldSnapshots", 0, "LogEntriesForSlowFollowers", 500, "ElectionTick", 10, "HeartbeatTick",
        1, "Dispatcher", "HeartbeatPeriod", (json_int_t)5 * 1000000000, "CAConfig", "NodeCertExpiry",
        (json_int_t)90 * 86400 * 1000000000, "TaskDefaults", "EncryptionConfig", "AutoLockManagers", 0);
    must(spec);
    return spec;
}

/* What is given, over what is there. */
static void merge(json_t *into, const json_t *given)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)given, key, value) {
        json_t *present = json_object_get(into, key);
        if (json_is_object(value) && json_is_object(present) && !str_eq(key, "Labels"))
            merge(present, value);
        else if (!json_is_null(value))
            json_object_set(into, key, value);
    }
}

static int check_spec(const json_t *spec, struct err *err)
{
    json_t *part = NULL;
    const char *name = "";
    bool lock = false;
    int64_t number = 0;
    int r = cluster__check_labels(spec, err);
    if (r == 0)
        r = json_get_string(spec, "", "Name", &name, err);
    if (r == 0 && !str_empty(name) && !str_eq(name, "default"))
        r = err_set(err, ERR_INVALID,
                    "rpc error: code = InvalidArgument desc = swarm spec must be named \"default\"");
    if (r == 0)
        r = json_get_object(spec, "", "EncryptionConfig", &part, err);
    if (r == 0)
        r = json_get_bool(part, "EncryptionConfig", "AutoLockManagers", &lock, err);
    if (r == 0 && lock)
        r = err_set(err, ERR_UNSUPPORTED,
                    "AutoLockManagers: not supported by Drover; secrets are encrypted with a key in its own "
                    "directory");
    part = NULL;
    if (r == 0)
        r = json_get_object(spec, "", "Orchestration", &part, err);
    if (r == 0)
        r = json_get_i64(part, "Orchestration", "TaskHistoryRetentionLimit", &number, err);
    part = NULL;
    number = INT64_MAX;
    if (r == 0)
        r = json_get_object(spec, "", "CAConfig", &part, err);
    if (r == 0)
        r = json_get_i64(part, "CAConfig", "NodeCertExpiry", &number, err);
    if (r == 0 && number && number < 3600 * NS_PER_S)
        r = err_set(err, ERR_INVALID,
                    "rpc error: code = InvalidArgument desc = minimum certificate expiry time is 1h0m0s");
    return r;
}

static json_t *make_tokens(const char *fingerprint)
{
    _cleanup_free_ char *worker = keys__token(fingerprint), *manager = keys__token(fingerprint);
    return json_pack("{s:s, s:s}", "Worker", worker, "Manager", manager);
}

static int make_swarm(struct cluster *c, const json_t *body, const json_t *spec, struct err *err)
{
    _cleanup_free_ char *pem = NULL, *key = NULL, *path = str_printf("%s/ca.key", c->dir);
    char id[ID_BYTES], when[TIME_RFC3339_BYTES];
    int r = keys__make_authority(&pem, &key, err);
    if (r == 0)
        r = file_replace(path, key, strlen(key), 0600, true, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *fingerprint = keys__fingerprint(pem);
    json_t *pools = json_object_get(body, "DefaultAddrPool");
    int64_t size = json_int(body, "SubnetSize");
    cluster__new_id(id);
    time_format_rfc3339(time_now_ns(), when);
    c->swarm = json_pack("{s:s, s:{s:I}, s:s, s:s, s:O, s:o, s:b, s:o, s:I, s:i, s:o}", "ID", id, "Version",
                         "Index", (json_int_t)++c->index, "CreatedAt", when, "UpdatedAt", when, "Spec", spec,
                         "TLSInfo", keys__tls_info(pem), "RootRotationInProgress", 0, "DefaultAddrPool",
                         json_array_size(pools) ? json_incref(pools) : json_pack("[s]", "10.0.0.0/8"),
                         "SubnetSize", (json_int_t)(size ? size : 24), "DataPathPort", 4789, "JoinTokens",
                         make_tokens(fingerprint));
    must(c->swarm);
    return 0;
}

static int make_ingress(struct cluster *c, struct err *err)
{
    _cleanup_json_ json_t *body = json_pack("{s:s, s:s, s:b, s:s}", "Name", "ingress", "Driver", "overlay",
                                            "Ingress", 1, "Scope", "swarm"),
                          *warning = NULL, *present = NULL;
    _cleanup_free_ char *id = NULL;
    if (engine_network_inspect(c->engine, "ingress", &present, &(struct err){0}) == 0)
        return 0;
    return engine_network_create_swarm(c->engine, body, &id, &warning, err);
}

static void forget_swarm(struct cluster *c)
{
    json_decref(c->swarm);
    c->swarm = NULL;
    free(c->self);
    c->self = NULL;
}

static int check_init(const json_t *body, struct err *err)
{
    static const char *const states[] = {"", "active", "pause", "drain", NULL};
    const char *text = "";
    bool lock = false;
    int64_t size = 0;
    _cleanup_strv_ char **pools = NULL;
    int r = json_get_string(body, "", "ListenAddr", &text, err);
    if (r == 0 && str_empty(text))
        r = err_set(err, ERR_INVALID, "invalid ListenAddr \"\": invalid empty address");
    if (r == 0)
        r = json_get_string(body, "", "AdvertiseAddr", &text, err);
    text = "";
    if (r == 0)
        r = json_get_string(body, "", "Availability", &text, err);
    if (r == 0 && !strv_has((char *const *)states, text))
        r = err_set(err, ERR_INVALID, "invalid Availability: \"%.50s\"", text);
    if (r == 0)
        r = json_get_bool(body, "", "AutoLockManagers", &lock, err);
    if (r == 0)
        r = json_get_strv(body, "", "DefaultAddrPool", &pools, err);
    if (r == 0 && pools && *pools && (pools[1] || !str_eq(*pools, "10.0.0.0/8")))
        r = err_set(
            err, ERR_UNSUPPORTED,
            "DefaultAddrPool: not supported by Drover: networks without a subnet get one of 10.0.0.0/8");
    if (r == 0)
        r = json_get_i64(body, "", "SubnetSize", &size, err);
    if (r == 0 && size && size != 24)
        r = err_set(err, ERR_UNSUPPORTED, "SubnetSize: not supported by Drover other than 24");
    return r;
}

static int init(struct cluster *c, const json_t *body, struct err *err)
{
    json_t *given = NULL;
    struct node *self = NULL;
    _cleanup_json_ json_t *spec = default_spec();
    if (c->swarm)
        return err_set(
            err, ERR_UNAVAILABLE,
            "This node is already part of a swarm. Use \"docker swarm leave\" to leave this swarm and "
            "join another one.");
    int r = check_init(body, err);
    if (r == 0)
        r = json_get_object(body, "", "Spec", &given, err);
    if (r == 0)
        r = check_spec(given, err);
    if (r < 0)
        return r;
    merge(spec, given);
    const char *address = json_str(body, "AdvertiseAddr"), *listen = json_str(body, "ListenAddr");
    bool anywhere = str_after(listen, "0.0.0.0") || str_after(listen, "[::]");
    r = make_swarm(c, body, spec, err);
    if (r == 0)
        r = node__make_self(c,
                            *address   ? address
                            : anywhere ? ""
                                       : listen,
                            json_str(body, "Availability"), &self, err);
    if (r == 0)
        r = make_ingress(c, err);
    if (r == 0) {
        struct change ch = {0};
        json_set_str(c->swarm, "Self", self->o.id);
        c->self = mem_strdup(self->o.id);
        change_put(&ch, &self->o);
        change_put_swarm(&ch, c);
        r = change_commit(c, &ch, true, err);
    }
    if (r < 0) {
        if (self)
            node__free(self);
        forget_swarm(c);
        return r;
    }
    cluster__add(c, &self->o);
    cluster__event(c, &self->o, "create", NULL);
    return loop__start(c, err);
}

int cluster_init(struct cluster *c, const json_t *body, char **ret_node, struct err *err)
{
    SCOPED_LOCK(change, &c->change_lock);
    SCOPED_LOCK(locked, &c->lock);
    int r = init(c, body, err);
    if (r == 0)
        *ret_node = mem_strdup(c->self);
    return r;
}

/* --- Leaving: its containers, networks and files go --- */

static void free_object(struct object *o)
{
    switch (o->kind) {
    case CLUSTER_NODE:
        node__free((struct node *)o);
        break;
    case CLUSTER_SERVICE:
        service__free((struct service *)o);
        break;
    case CLUSTER_TASK:
        task__free((struct task *)o);
        break;
    default:
        secret__free((struct secret *)o);
    }
}

static void free_all(struct cluster *c)
{
    struct map_entry *e;
    for (size_t i = 0; i < c->queue_count; i++) /* forgotten ones are in no map any more */
        if (c->queue[i]->gone)
            task__free(c->queue[i]);
    c->queue_count = 0;
    for (int kind = CLUSTER_KINDS; kind-- > 0;) {
        for (size_t i = 0; (e = map_next(&c->objects[kind], &i));)
            free_object(e->value);
        map_done(&c->objects[kind]);
        map_done(&c->names[kind]);
        c->objects[kind] = c->names[kind] = MAP_INIT(NULL);
    }
    for (size_t i = 0; (e = map_next(&c->leaving, &i));)
        service__free(e->value);
    map_done(&c->leaving);
    map_done(&c->containers);
    c->leaving = c->containers = MAP_INIT(NULL);
    place__forget(c);
    forget_swarm(c);
}

static void remove_traces(struct cluster *c)
{
    _cleanup_json_ json_t *containers = NULL, *networks = NULL,
                          *filters = json_pack("{s:[s]}", "label", "com.docker.swarm.task.id"),
                          *swarm = json_pack("{s:[s]}", "scope", "swarm");
    struct map *both[] = {&c->objects[CLUSTER_SERVICE], &c->leaving};
    struct map_entry *e;
    json_t *one;
    size_t i;
    for (size_t b = 0; b < ARRAY_SIZE(both); b++)
        for (i = 0; (e = map_next(both[b], &i));)
            service__leave_networks(c, e->value);
    if (engine_container_list(c->engine, true, 0, false, filters, &containers, &(struct err){0}) == 0)
        json_array_foreach (containers, i, one)
            engine_container_remove(c->engine, json_str(one, "Id"), true, true, &(struct err){0});
    if (engine_network_list(c->engine, swarm, &networks, &(struct err){0}) == 0)
        json_array_foreach (networks, i, one)
            engine_network_remove(c->engine, json_str(one, "Id"), &(struct err){0});
}

int cluster_leave(struct cluster *c, bool force, struct err *err)
{
    SCOPED_LOCK(change, &c->change_lock);
    pthread_mutex_lock(&c->lock);
    bool active = c->swarm;
    pthread_mutex_unlock(&c->lock);
    if (!active)
        return err_set(err, ERR_UNAVAILABLE, "This node is not part of a swarm");
    if (!force)
        return err_set(
            err, ERR_UNAVAILABLE,
            "You are attempting to leave the swarm on a node that is participating as a manager. Removing "
            "the last manager erases all current state of the swarm. Use `--force` to ignore this message. ");
    loop__stop(c, -1);
    SCOPED_LOCK(locked, &c->lock);
    const struct store_statement erase = {.sql = "DELETE FROM objects", .expect_changes = -1};
    int r = store_batch(c->store, &erase, 1, STORE_DURABLE, err);
    if (r < 0) {
        loop__start(c, NULL);
        return r;
    }
    remove_traces(c);
    free_all(c);
    return 0;
}

/* --- Shown and changed --- */

int cluster_inspect(struct cluster *c, json_t **ret, struct err *err)
{
    SCOPED_LOCK(locked, &c->lock);
    int r = cluster__no_swarm(c, err);
    if (r < 0)
        return r;
    *ret = json_copy_tree(c->swarm);
    json_object_del(*ret, "Self");
    return 0;
}

int cluster_update(struct cluster *c, int64_t version, const struct cluster_rotate *rotate,
                   const json_t *given, struct err *err)
{
    SCOPED_LOCK(locked, &c->lock);
    int r = cluster__no_swarm(c, err);
    if (r == 0)
        r = check_spec(given, err);
    if (r == 0 && version != json_int(json_object_get(c->swarm, "Version"), "Index"))
        r = err_set(err, ERR_SYSTEM, "rpc error: code = Unknown desc = update out of sequence");
    if (r < 0)
        return r;
    json_t *before = c->swarm, *after = json_copy_tree(before),
           *tokens = json_object_get(after, "JoinTokens");
    char when[TIME_RFC3339_BYTES];
    _cleanup_free_ char *fingerprint =
        keys__fingerprint(json_str(json_object_get(after, "TLSInfo"), "TrustRoot"));
    _cleanup_json_ json_t *fresh = make_tokens(fingerprint);
    merge(json_object_get(after, "Spec"), given);
    if (rotate->worker_token)
        json_object_set(tokens, "Worker", json_object_get(fresh, "Worker"));
    if (rotate->manager_token)
        json_object_set(tokens, "Manager", json_object_get(fresh, "Manager"));
    json_object_set_new(json_object_get(after, "Version"), "Index", json_integer(++c->index));
    json_set_str(after, "UpdatedAt", time_format_rfc3339(time_now_ns(), when));
    c->swarm = after;
    struct change ch = {0};
    change_put_swarm(&ch, c);
    r = change_commit(c, &ch, true, err);
    c->swarm = r < 0 ? before : after;
    json_decref(r < 0 ? after : before);
    c->all_dirty = true;
    pthread_cond_signal(&c->decide);
    return r;
}

json_t *cluster_info(struct cluster *c)
{
    SCOPED_LOCK(locked, &c->lock);
    if (!c->swarm)
        return json_pack("{s:s, s:s, s:s, s:b, s:s, s:n}", "NodeID", "", "NodeAddr", "", "LocalNodeState",
                         "inactive", "ControlAvailable", 0, "Error", "", "RemoteManagers");
    const struct node *self = map_get(&c->objects[CLUSTER_NODE], c->self);
    json_t *cluster = json_copy_tree(c->swarm);
    _cleanup_free_ char *door = str_printf("%s:2377", self->address);
    json_object_del(cluster, "Self");
    json_object_del(cluster, "JoinTokens");
    json_t *out = json_pack("{s:s, s:s, s:s, s:b, s:s, s:[{s:s, s:s}], s:i, s:i, s:o}", "NodeID", c->self,
                            "NodeAddr", self->address, "LocalNodeState", "active", "ControlAvailable", 1,
                            "Error", "", "RemoteManagers", "NodeID", c->self, "Addr", door, "Nodes", 1,
                            "Managers", 1, "Cluster", cluster);
    must(out);
    return out;
}

bool cluster_active(struct cluster *c)
{
    SCOPED_LOCK(locked, &c->lock);
    return c->swarm != NULL;
}

/* --- Objects of every kind --- */

json_t *cluster__show(struct cluster *c, const struct object *o)
{
    switch (o->kind) {
    case CLUSTER_NODE:
        return node__show((const struct node *)o);
    case CLUSTER_SERVICE:
        return service__show(c, (const struct service *)o);
    case CLUSTER_TASK:
        return task__show(c, (const struct task *)o);
    default:
        return secret__show((const struct secret *)o);
    }
}

static bool has_id(const void *object, const char *value)
{
    return str_after(((const struct object *)object)->id, value) != NULL;
}

static bool has_name(const void *object, const char *value)
{
    const struct object *o = object;
    return strstr(o->name ? o->name : "", value) != NULL;
}

/* A service's name may be its beginning. */
static bool name_begins(const void *object, const char *value)
{
    return str_after(((const struct object *)object)->name, value) != NULL;
}

static bool labelled(const json_t *labels, const char *value)
{
    const char *equals = strchr(value, '=');
    _cleanup_free_ char *key = mem_strndup(value, equals ? (size_t)(equals - value) : strlen(value));
    const json_t *present = json_object_get(labels, key);
    return present && (!equals || str_eq(json_string_value(present), equals + 1));
}

static bool has_label(const void *object, const char *value)
{
    return labelled(json_object_get(((const struct object *)object)->spec, "Labels"), value);
}

/* A task has its service's. */
static bool task_has_label(const void *object, const char *value)
{
    return has_label(&((const struct task *)object)->service->o, value);
}

static bool has_mode(const void *object, const char *value)
{
    static const char *const names[] = {"replicated", "global", "replicated-job", "global-job"};
    return str_eq(names[((const struct service *)object)->parsed.mode], value);
}

static bool is_member(const void *object, const char *value)
{
    return str_eq(value, "accepted");
}

static bool has_role(const void *object, const char *value)
{
    return str_eq(json_str(((const struct object *)object)->spec, "Role"), value);
}

static bool matches(struct cluster *c, const struct object *o, const json_t *filters)
{
    if (!cluster__filter(filters, "id", has_id, o))
        return false;
    switch (o->kind) {
    case CLUSTER_TASK:
        return cluster__filter(filters, "label", task_has_label, o) &&
               task__matches((const struct task *)o, filters);
    case CLUSTER_SERVICE:
        return cluster__filter(filters, "name", name_begins, o) &&
               cluster__filter(filters, "label", has_label, o) &&
               cluster__filter(filters, "mode", has_mode, o);
    case CLUSTER_NODE:
        return cluster__filter(filters, "name", has_name, o) &&
               cluster__filter(filters, "node.label", has_label, o) &&
               cluster__filter(filters, "membership", is_member, o) &&
               cluster__filter(filters, "role", has_role, o);
    default:
        return cluster__filter(filters, "name", has_name, o) &&
               cluster__filter(filters, "names", has_name, o) &&
               cluster__filter(filters, "label", has_label, o);
    }
}

/* The values of one filter, which may be names and beginnings, as ids. */
static int filter_by_id(struct cluster *c, json_t *filters, const char *key, enum cluster_kind kind,
                        struct err *err)
{
    json_t *values = json_object_get(filters, key), *ids, *value;
    const char *name;
    size_t i;
    if (!values)
        return 0;
    ids = json_array();
    _cleanup_strv_ char **refs = NULL;
    if (json_is_object(values))
        json_object_foreach (values, name, value)
            strv_add(&refs, name);
    json_array_foreach (values, i, value)
        strv_add(&refs, json_string_value(value) ? json_string_value(value) : "");
    json_object_set_new(filters, key, ids);
    STRV_FOREACH (ref, refs) {
        const struct object *o = cluster__lookup(c, kind, *ref, err);
        if (!o)
            return -err->code;
        json_array_append_new(ids, json_string(o->id));
    }
    return 0;
}

int cluster_list(struct cluster *c, enum cluster_kind kind, const json_t *given, bool status, json_t **ret,
                 struct err *err)
{
    _cleanup_json_ json_t *filters = given ? json_copy((json_t *)given) : NULL;
    SCOPED_LOCK(locked, &c->lock);
    int r = cluster__no_swarm(c, err);
    if (r == 0 && kind == CLUSTER_TASK)
        r = filter_by_id(c, filters, "service", CLUSTER_SERVICE, err);
    if (r == 0 && kind == CLUSTER_TASK)
        r = filter_by_id(c, filters, "node", CLUSTER_NODE, err);
    if (r < 0)
        return r;
    json_t *out = json_array();
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&c->objects[kind], &i));) {
        const struct object *o = e->value;
        if (!matches(c, o, filters))
            continue;
        json_t *shown = cluster__show(c, o);
        if (status && kind == CLUSTER_SERVICE)
            service__add_status(c, (const struct service *)o, shown);
        json_array_append_new(out, shown);
    }
    *ret = out;
    return 0;
}

int cluster_get(struct cluster *c, enum cluster_kind kind, const char *ref, json_t **ret, struct err *err)
{
    SCOPED_LOCK(locked, &c->lock);
    int r = cluster__no_swarm(c, err);
    if (r < 0)
        return r;
    const struct object *o = cluster__lookup(c, kind, ref, err);
    if (!o)
        return -err->code;
    *ret = cluster__show(c, o);
    return 0;
}

static int check_room(struct cluster *c, enum cluster_kind kind, struct err *err)
{
    return c->objects[kind].count >= OBJECTS_MAX
               ? err_set(err, ERR_LIMIT, "there are %d %ss, which is the most there may be", OBJECTS_MAX,
                         cluster__kind_name(kind))
               : 0;
}

int cluster_create(struct cluster *c, enum cluster_kind kind, const json_t *spec, const char *auth,
                   char **ret_id, struct err *err)
{
    SCOPED_LOCK(locked, &c->lock);
    struct object *o = NULL;
    int r = cluster__no_swarm(c, err);
    if (r == 0)
        r = check_room(c, kind, err);
    if (r == 0)
        r = kind == CLUSTER_SERVICE ? service__create(c, spec, auth, (struct service **)&o, err)
                                    : secret__create(c, kind, spec, (struct secret **)&o, err);
    if (r < 0)
        return r;
    struct change ch = {0};
    change_put(&ch, o);
    r = change_commit(c, &ch, true, err);
    if (r < 0) {
        if (kind == CLUSTER_SERVICE)
            service__leave_networks(c, (struct service *)o);
        free_object(o);
        return r;
    }
    cluster__add(c, o);
    cluster__event(c, o, "create", NULL);
    *ret_id = mem_strdup(o->id);
    if (kind == CLUSTER_SERVICE)
        service__wake(c, (struct service *)o);
    return 0;
}

static int find_version(struct cluster *c, enum cluster_kind kind, const char *ref, int64_t version,
                        struct object **ret, struct err *err)
{
    int r = cluster__no_swarm(c, err);
    if (r < 0)
        return r;
    *ret = cluster__lookup(c, kind, ref, err);
    if (!*ret)
        return -err->code;
    return (*ret)->index == version
               ? 0
               : err_set(err, ERR_SYSTEM, "rpc error: code = Unknown desc = update out of sequence");
}

int cluster_change(struct cluster *c, enum cluster_kind kind, const char *ref, int64_t version,
                   const json_t *spec, struct err *err)
{
    SCOPED_LOCK(locked, &c->lock);
    struct object *o;
    int r = find_version(c, kind, ref, version, &o, err);
    if (r == 0)
        r = kind == CLUSTER_NODE ? node__change(c, (struct node *)o, spec, err)
                                 : secret__change(c, (struct secret *)o, spec, err);
    if (r == 0)
        cluster__event(c, o, "update", NULL);
    return r;
}

int cluster_service_update(struct cluster *c, const char *ref, const struct cluster_service_update *u,
                           struct err *err)
{
    SCOPED_LOCK(locked, &c->lock);
    struct object *o;
    int r = find_version(c, CLUSTER_SERVICE, ref, u->version, &o, err);
    if (r == 0)
        r = service__update(c, (struct service *)o, u, err);
    if (r == 0)
        cluster__event(c, o, "update", NULL);
    return r;
}

int cluster_remove(struct cluster *c, enum cluster_kind kind, const char *ref, bool force, struct err *err)
{
    SCOPED_LOCK(locked, &c->lock);
    int r = cluster__no_swarm(c, err);
    struct object *o = r == 0 ? cluster__lookup(c, kind, ref, err) : NULL;
    if (!o)
        return -err->code;
    if (kind == CLUSTER_NODE)
        return node__remove(c, (struct node *)o, force, err);
    r = kind == CLUSTER_SERVICE ? service__remove(c, (struct service *)o, err)
                                : secret__remove(c, (struct secret *)o, err);
    if (r < 0)
        return r;
    cluster__event(c, o, "remove", NULL);
    if (kind != CLUSTER_SERVICE) {
        cluster__drop(c, o);
        free_object(o);
    }
    return 0;
}

/* --- Open and close --- */

int cluster_open(struct engine *e, struct cluster **ret, struct err *err)
{
    struct cluster *c = NEW(struct cluster);
    c->engine = e;
    c->dir = str_printf("%s/cluster", engine_root(e));
    pthread_mutex_init(&c->lock, NULL);
    pthread_mutex_init(&c->change_lock, NULL);
    pthread_cond_init(&c->decide, NULL);
    pthread_cond_init(&c->work, NULL);
    int r = file_mkdirs(c->dir, 0711, err);
    if (r == 0)
        r = keys__load(c, err);
    if (r == 0)
        r = cluster__load(c, err);
    if (r == 0 && c->swarm) {
        SCOPED_LOCK(locked, &c->lock);
        r = loop__start(c, err);
    }
    if (r < 0) {
        cluster_close(c, -1);
        return r;
    }
    *ret = c;
    return 0;
}

bool cluster_close(struct cluster *c, int grace_ms)
{
    if (!c)
        return true;
    if (!loop__stop(c, grace_ms))
        return false;
    free_all(c);
    if (c->store)
        store_close(c->store);
    free(c->queue);
    free(c->dir);
    memset(c->key, 0, sizeof(c->key));
    pthread_mutex_destroy(&c->lock);
    pthread_mutex_destroy(&c->change_lock);
    pthread_cond_destroy(&c->decide);
    pthread_cond_destroy(&c->work);
    free(c);
    return true;
}
