/* The networks of a swarm: its document has them, as bodies that make the same network on every machine. */
#include "cluster/traffic.h"

#include "base/log.h"
#include "cluster/attach.h"
#include "cluster/cluster_priv.h"

enum { NETWORKS_MAX = 1024 };

json_t *networks__all(struct cluster *c)
{
    return json_object_get(c->swarm, "Networks");
}

json_t *networks__find(struct cluster *c, const char *ref)
{
    const char *id;
    json_t *body = json_object_get(networks__all(c), ref);
    if (body)
        return body;
    json_object_foreach (networks__all(c), id, body)
        if (str_eq(json_str(body, "Name"), ref))
            return body;
    return NULL;
}

/* As the engine shows a network, to what makes it again with the same id and subnets. */
static json_t *body_of(const json_t *shown)
{
    static const char *const same[] = {"Name",    "Id",         "Driver",  "Scope",  "Internal", "Attachable",
                                       "Ingress", "EnableIPv6", "Options", "Labels", "IPAM"};
    json_t *body = json_object();
    for (size_t i = 0; i < ARRAY_SIZE(same); i++) {
        json_t *value = json_object_get(shown, same[i]);
        if (value && !json_is_null(value))
            json_object_set_new(body, same[i], json_deep_copy(value));
    }
    json_t *ipam = json_object_get(body, "IPAM");
    if (json_is_null(json_object_get(ipam, "Options")))
        json_object_del(ipam, "Options");
    return body;
}

static int write_swarm(struct cluster *c, struct err *err)
{
    struct change ch = {0};
    change_put_swarm(&ch, c);
    return change_commit(c, &ch, true, err);
}

/* Puts `body` (NULL: nothing) where the network's was; what cannot be written is not kept. */
static int record(struct cluster *c, const char *id, json_t *body, struct err *err)
{
    json_t *before = json_incref(networks__all(c)), *after = before ? json_copy(before) : json_object();
    if (body)
        json_object_set(after, id, body);
    else
        json_object_del(after, id);
    json_object_set_new(c->swarm, "Networks", after);
    int r = write_swarm(c, err);
    if (r < 0 && before)
        json_object_set(c->swarm, "Networks", before);
    else if (r < 0)
        json_object_del(c->swarm, "Networks");
    json_decref(before);
    return r;
}

void networks__use_pools(struct cluster *c)
{
    engine_swarm_pools(c->engine, json_object_get(c->swarm, "DefaultAddrPool"),
                       (int)json_int(c->swarm, "SubnetSize"));
}

static int create(struct cluster *c, const json_t *body, char **ret_id, json_t **ret_warning, struct err *err)
{
    _cleanup_json_ json_t *shown = NULL, *warning = NULL, *kept = NULL;
    _cleanup_free_ char *id = NULL;
    int r = cluster__no_swarm(c, err);
    if (r == 0 && json_object_size(networks__all(c)) >= NETWORKS_MAX)
        r = err_set(err, ERR_LIMIT, "the swarm has %d networks: remove one first", NETWORKS_MAX);
    if (r < 0)
        return r;
    networks__use_pools(c);
    r = engine_network_create_swarm(c->engine, body, &id, &warning, err);
    if (r < 0)
        return r;
    r = engine_network_inspect(c->engine, id, &shown, err);
    if (r == 0) {
        kept = body_of(shown);
        r = record(c, id, kept, err);
    }
    if (r < 0) {
        engine_network_remove(c->engine, id, &(struct err){0});
        return r;
    }
    *ret_id = take_ptr(id);
    *ret_warning = take_ptr(warning);
    traffic__changed(c);
    return 0;
}

int cluster_network_create(struct cluster *c, const json_t *body, char **ret_id, json_t **ret_warning,
                           struct err *err)
{
    SCOPED_LOCK(locked, &c->lock);
    return create(c, body, ret_id, ret_warning, err);
}

/* The engine is asked first: it says who uses it. */
static int remove_locked(struct cluster *c, const char *ref, struct err *err)
{
    _cleanup_json_ json_t *shown = NULL;
    int there = engine_network_inspect(c->engine, ref, &shown, &(struct err){0});
    bool swarm = there == 0 ? str_eq(json_str(shown, "Scope"), "swarm") : networks__find(c, ref) != NULL;
    if (!swarm || c->self == NULL)
        return engine_network_remove(c->engine, ref, err);
    int r = cluster__no_swarm(c, err);
    _cleanup_free_ char *id = mem_strdup(json_str(there == 0 ? shown : networks__find(c, ref), "Id"));
    if (r == 0 && there == 0)
        r = engine_network_remove(c->engine, id, err);
    if (r == 0)
        r = record(c, id, NULL, err);
    if (r == 0) {
        map_remove(&c->pools, id);
        traffic__changed(c);
    }
    return r;
}

int cluster_network_remove(struct cluster *c, const char *ref, bool (*gone)(void *), void *context,
                           struct err *err)
{
    int r = cluster_free_network(c, ref, gone, context, err);
    if (r < 0)
        return r;
    SCOPED_LOCK(locked, &c->lock);
    return remove_locked(c, ref, err);
}

/* Those that only the engine knows: of a swarm that was made by an earlier version, or just now. */
static int take_in(struct cluster *c, struct err *err)
{
    _cleanup_json_ json_t *list = NULL, *filters = json_pack("{s:[s]}", "scope", "swarm");
    json_t *shown, *all = json_object();
    size_t i;
    int r = engine_network_list(c->engine, filters, &list, err);
    json_array_foreach (list, i, shown)
        json_object_set_new(all, json_str(shown, "Id"), body_of(shown));
    if (r == 0) {
        json_object_set(c->swarm, "Networks", all);
        r = write_swarm(c, err);
    }
    json_decref(all);
    return r;
}

static bool is_used(struct cluster *c, const char *id)
{
    struct map *both[] = {&c->objects[CLUSTER_SERVICE], &c->leaving};
    struct map_entry *e;
    json_t *one;
    size_t k;
    for (size_t b = 0; b < ARRAY_SIZE(both); b++)
        for (size_t i = 0; (e = map_next(both[b], &i));)
            json_array_foreach ((json_t *)service__networks(((struct service *)e->value)->o.spec), k, one)
                if (str_eq(json_str(one, "Target"), id))
                    return true;
    return attach__user(c, id, &(const char *){NULL}) ||
           json_bool(json_object_get(networks__all(c), id), "Ingress");
}

int networks__settle(struct cluster *c, struct err *err)
{
    const char *id;
    json_t *body;
    int r = networks__all(c) ? 0 : take_in(c, err);
    json_object_foreach (networks__all(c), id, body) {
        _cleanup_json_ json_t *shown = NULL, *warning = NULL;
        _cleanup_free_ char *made = NULL;
        struct err why;
        if (engine_network_inspect(c->engine, id, &shown, &(struct err){0}) < 0 &&
            engine_network_create_swarm(c->engine, body, &made, &warning, &why) < 0)
            log_error("network %s of the swarm: %s", json_str(body, "Name"), why.msg);
    }
    return r;
}

void cluster_networks_pruned(struct cluster *c)
{
    SCOPED_LOCK(locked, &c->lock);
    _cleanup_strv_ char **gone = NULL;
    const char *id;
    json_t *body;
    struct err err;
    if (cluster__no_swarm(c, &err) < 0)
        return;
    json_object_foreach (networks__all(c), id, body) {
        _cleanup_json_ json_t *shown = NULL;
        if (engine_network_inspect(c->engine, id, &shown, &(struct err){0}) < 0 && !is_used(c, id))
            strv_add(&gone, id);
    }
    STRV_FOREACH (one, gone) {
        map_remove(&c->pools, *one);
        if (record(c, *one, NULL, &err) < 0)
            log_error("network %s: %s", *one, err.msg);
    }
    networks__settle(c, &(struct err){0}); /* what services have on other nodes stays */
    if (gone)
        traffic__changed(c);
}
