/* The calls for objects of every kind, and what all of them are opened and closed with. */
#include "cluster/cluster_priv.h"

#include "base/file.h"
#include "base/log.h"
#include "cluster/attach.h"
#include "cluster/autolock.h"
#include "cluster/identity.h"
#include "cluster/images.h"
#include "cluster/managers.h"
#include "cluster/place_alone.h"
#include "cluster/port.h"
#include "cluster/roles.h"
#include "cluster/session.h"
#include "cluster/traffic.h"

/* --- Objects of every kind --- */

json_t *cluster__show(struct cluster *c, const struct object *o)
{
    switch (o->kind) {
    case CLUSTER_NODE:
        return node__show(c, (const struct node *)o);
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
        cluster__free_object(o);
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

/* The first worker that is to be a manager needs a store that can have two. */
static int make_room_for_manager(struct cluster *c, const char *ref, int64_t version, const json_t *spec,
                                 struct err *err)
{
    struct object *o;
    if (!str_eq(json_str(spec, "Role"), "manager") || managers__replicated(c))
        return 0;
    pthread_mutex_lock(&c->lock);
    int r = find_version(c, CLUSTER_NODE, ref, version, &o, err);
    bool due = r == 0 && !((const struct node *)o)->manager;
    _cleanup_free_ char *address = mem_strdup(c->address);
    pthread_mutex_unlock(&c->lock);
    return due ? managers__replicate(c, address, err) : r;
}

int cluster_change(struct cluster *c, enum cluster_kind kind, const char *ref, int64_t version,
                   const json_t *spec, struct err *err)
{
    struct object *o;
    int r = kind == CLUSTER_NODE ? make_room_for_manager(c, ref, version, spec, err) : 0;
    if (r < 0)
        return r;
    SCOPED_LOCK(locked, &c->lock);
    r = find_version(c, kind, ref, version, &o, err);
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
    r = kind == CLUSTER_NODE      ? node__remove(c, (struct node *)o, force, err)
        : kind == CLUSTER_SERVICE ? service__remove(c, (struct service *)o, err)
                                  : secret__remove(c, (struct secret *)o, err);
    if (r < 0)
        return r;
    cluster__event(c, o, "remove", NULL);
    if (kind != CLUSTER_SERVICE) {
        cluster__drop(c, o);
        cluster__free_object(o);
    }
    return 0;
}

/* --- Open and close --- */

void cluster__free_object(struct object *o)
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

/* Workers go on with what they have. */
static void leave_held(struct cluster *c)
{
    for (struct task *t = c->held; t; t = t->next_held) {
        if (t->left)
            continue;
        t->left = true;
        t->placed = -1; /* in the model that comes */
        t->service->held++;
    }
}

static void free_or_leave(struct object *o)
{
    struct service *s = (struct service *)o;
    if (o->kind == CLUSTER_TASK && ((struct task *)o)->left)
        return;
    if (o->kind != CLUSTER_SERVICE || !s->held) {
        cluster__free_object(o);
        return;
    }
    map_done(&s->tasks);
    s->tasks = MAP_INIT(NULL);
    failures__unkeep(s);
    s->left = true;
}

void cluster__free_all(struct cluster *c)
{
    struct map_entry *e;
    leave_held(c);
    for (size_t i = 0; i < c->queue_count; i++) /* forgotten ones are in no map any more */
        if (c->queue[i]->gone)
            task__free(c->queue[i]);
    c->queue_count = 0;
    for (int kind = CLUSTER_KINDS; kind-- > 0;) {
        for (size_t i = 0; (e = map_next(&c->objects[kind], &i));)
            free_or_leave(e->value);
        map_done(&c->objects[kind]);
        map_done(&c->names[kind]);
        c->objects[kind] = c->names[kind] = MAP_INIT(NULL);
    }
    for (size_t i = 0; (e = map_next(&c->leaving, &i));)
        free_or_leave(e->value);
    map_done(&c->leaving);
    map_done(&c->containers);
    c->leaving = c->containers = MAP_INIT(NULL);
    place__forget(c);
    place_alone__forget(c);
    traffic__forget(c);
    json_decref(c->swarm);
    c->swarm = NULL;
}

/* A swarm of before nodes had certificates. */
static int become_known(struct cluster *c, struct err *err)
{
    c->self = mem_strdup(json_str(c->swarm, "Self"));
    c->swarm_id = mem_strdup(json_str(c->swarm, "ID"));
    struct node *n = map_get(&c->objects[CLUSTER_NODE], c->self);
    if (!n)
        return err_set(err, ERR_CORRUPT, "cluster.db does not hold this node: put it back from a backup");
    c->listen = identity__door("0.0.0.0", CLUSTER_PORT);
    c->address = identity__door(n->address, CLUSTER_PORT);
    c->managers = json_pack("[{s:s, s:s}]", "node", c->self, "address", c->address);
    c->role = ROLE_LEADS;
    n->door = mem_strdup(c->address);
    int r = identity__write(c, json_str(json_object_get(c->swarm, "TLSInfo"), "TrustRoot"), NULL, NULL, NULL,
                            err);
    if (r == 0)
        r = identity__issue_own(c, err);
    return r == 0 ? identity__save(c, err) : r;
}

static int open_role(struct cluster *c, struct err *err)
{
    struct err why;
    int r = c->role == ROLE_NONE && c->swarm ? become_known(c, err) : 0;
    if (r < 0 || c->role == ROLE_NONE)
        return r;
    /* What runs here goes on without other nodes. */
    if (port__open(c, &why) < 0)
        log_error("cluster: other nodes cannot call this one: %s", why.msg);
    SCOPED_LOCK(locked, &c->lock);
    if (c->role != ROLE_LEADS)
        r = session__load(c, err);
    if (r == 0)
        r = loop__start(c, err);
    c->locked = c->locked && r < 0;
    return r;
}

int cluster__take_up(struct cluster *c, struct err *err)
{
    int r = keys__load(c, err);
    if (r == 0) {
        SCOPED_LOCK(locked, &c->lock);
        r = identity__load(c, err);
    }
    if (r == 0)
        r = managers__open(c, err);
    if (r == 0 && !managers__replicated(c)) {
        r = c->store ? 0 : cluster__open_file(c, err);
        if (r == 0)
            r = cluster__load(c, err);
    }
    return r == 0 ? open_role(c, err) : r;
}

void cluster__put_down(struct cluster *c)
{
    managers__close(c);
    port__close(c, 0);
    SCOPED_LOCK(locked, &c->lock);
    cluster__free_all(c);
    if (c->store)
        store_close(c->store);
    c->store = NULL;
    c->role = ROLE_NONE;
}

/* Who is locked is asked nothing but who it is. */
static int open_locked(struct cluster *c, struct err *err)
{
    int r = identity__load(c, err);
    c->role = ROLE_NONE;
    log_warning(
        "cluster: this node is locked, and its containers go on without the swarm: docker swarm unlock");
    return r;
}

int cluster_open(struct engine *e, struct cluster **ret, struct err *err)
{
    struct cluster *c = NEW(struct cluster);
    bool locked = false;
    c->engine = e;
    c->seal.key_fd = -EBADF;
    c->dir = str_printf("%s/cluster", engine_root(e));
    pthread_mutex_init(&c->lock, NULL);
    pthread_mutex_init(&c->change_lock, NULL);
    pthread_mutex_init(&c->port_lock, NULL);
    pthread_mutex_init(&c->clients_lock, NULL);
    cond_init(&c->decide);
    cond_init(&c->work);
    for (int i = 0; i < BELLS; i++)
        cond_init(&c->bells[i]);
    cond_init(&c->idle);
    images__begin(c);
    int r = file_mkdirs(c->dir, 0711, err);
    if (r == 0)
        r = seal__begin(c, &locked, err);
    c->locked = locked;
    pthread_mutex_lock(&c->change_lock);
    if (r == 0)
        r = locked ? open_locked(c, err) : cluster__take_up(c, err);
    pthread_mutex_unlock(&c->change_lock);
    if (r < 0) {
        cluster_close(c, -1);
        return r;
    }
    managers__start(c);
    engine_set_attach(e, attach__give, c);
    *ret = c;
    return 0;
}

static void free_identity(struct cluster *c)
{
    free(c->self);
    free(c->swarm_id);
    free(c->listen);
    free(c->address);
    free(c->leader);
    free(c->trouble);
    json_decref(c->managers);
    json_decref(c->summary);
}

bool cluster_close(struct cluster *c, int grace_ms)
{
    if (!c)
        return true;
    c->cancel = true;
    engine_set_attach(c->engine, NULL, NULL);
    roles__wait(c);
    managers__done(c);
    if (!loop__stop(c, grace_ms) || !port__close(c, 0))
        return false;
    images__end(c);
    cluster__free_all(c);
    free_identity(c);
    forward__drop_clients(c);
    gateway__forget(c);
    if (c->store)
        store_close(c->store);
    free(c->queue);
    free(c->dir);
    free(c->limits_text);
    free(c->socket);
    explicit_bzero(c->key, sizeof(c->key));
    seal__done(c);
    pthread_mutex_destroy(&c->lock);
    pthread_mutex_destroy(&c->change_lock);
    pthread_mutex_destroy(&c->port_lock);
    pthread_mutex_destroy(&c->clients_lock);
    pthread_cond_destroy(&c->decide);
    pthread_cond_destroy(&c->work);
    for (int i = 0; i < BELLS; i++)
        pthread_cond_destroy(&c->bells[i]);
    pthread_cond_destroy(&c->idle);
    free(c);
    return true;
}
