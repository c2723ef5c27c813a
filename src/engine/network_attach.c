/* Containers that are no tasks on networks of a swarm: their addresses are the swarm's to give (engine.h). */
#include "engine/endpoint_priv.h"
#include "engine/network_priv.h"

bool attach__is(const struct network *n, const json_t *settings)
{
    const json_t *ipam = json_object_get(settings, "IPAMConfig");
    /* One of an earlier version does not say so, but a task's endpoint always names its address. */
    return n->swarm && (json_bool(settings, "Attached") || !*json_str(ipam, "IPv4Address"));
}

/* `p`: NULL for one that has no endpoint now. */
static json_t *document(struct engine *e, const struct network *n, const char *container,
                        const struct endpoint *p, const char *wished)
{
    _cleanup_strv_ char **names = p ? network__endpoint_names(e, container, p) : NULL;
    return json_pack("{s:s, s:s, s:s, s:o, s:s}", "Network", n->id, "Container", container, "Run",
                     p ? p->id : "", "Names", names ? json_of_strv(names) : json_array(), "Address",
                     p && p->address ? p->address : wished);
}

int attach__ask(struct engine *e, const json_t *attachment, bool wait, char **ret, struct err *err)
{
    pthread_rwlock_rdlock(&e->attacher.lock);
    int r = e->attacher.ask ? e->attacher.ask(e->attacher.context, attachment, wait, ret, err)
                            : err_set(err, ERR_UNAVAILABLE, "the swarm is not known yet: try again");
    pthread_rwlock_unlock(&e->attacher.lock);
    return r;
}

void engine_set_attach(struct engine *e, engine_attach_fn *ask, void *context)
{
    pthread_rwlock_wrlock(&e->attacher.lock);
    e->attacher.ask = ask;
    e->attacher.context = context;
    pthread_rwlock_unlock(&e->attacher.lock);
}

json_t *attach__request(struct engine *e, const char *network, const struct container *c,
                        const json_t *settings)
{
    SCOPED_LOCK(lock, &e->lock);
    const struct network *n = map_get(&e->networks, network);
    const struct endpoint *p = n ? map_get(&n->endpoints, c->id) : NULL;
    return p ? document(e, n, c->id, p, json_str(json_object_get(settings, "IPAMConfig"), "IPv4Address"))
             : NULL;
}

/* Those of a container that waits for its restart, which has no endpoints. engine.lock held. */
static void add_waiting(struct engine *e, struct container *c, json_t *list)
{
    const char *name;
    json_t *settings;
    pthread_mutex_lock(&c->lock);
    _cleanup_json_ json_t *net = c->state.status == STATUS_RESTARTING ? json_loads(c->net, 0, NULL) : NULL;
    pthread_mutex_unlock(&c->lock);
    json_object_foreach (json_object_get(net, "Networks"), name, settings) {
        const struct network *n = map_get(&e->networks, json_str(settings, "NetworkID"));
        if (n && attach__is(n, settings) && !map_has(&n->endpoints, c->id))
            json_array_append_new(list,
                                  document(e, n, c->id, NULL,
                                           json_str(json_object_get(settings, "IPAMConfig"), "IPv4Address")));
    }
}

json_t *engine_attachments(struct engine *e)
{
    json_t *list = json_array();
    struct map_entry *entry, *one;
    bool any = false;
    SCOPED_LOCK(lock, &e->lock);
    for (size_t i = 0; (entry = map_next(&e->networks, &i));) {
        const struct network *n = entry->value;
        any = any || n->swarm;
        for (size_t k = 0; n->swarm && (one = map_next(&n->endpoints, &k));)
            if (((const struct endpoint *)one->value)->attached)
                json_array_append_new(list, document(e, n, one->key, one->value, ""));
    }
    for (size_t i = 0; any && (entry = map_next(&e->containers, &i));)
        add_waiting(e, entry->value, list);
    return list;
}

bool attach__is_awaited(struct container *c)
{
    struct engine *e = c->engine;
    _cleanup_json_ json_t *list = json_array();
    const json_t *one;
    size_t i;
    bool awaited = false;
    pthread_mutex_lock(&e->lock);
    add_waiting(e, c, list);
    pthread_mutex_unlock(&e->lock);
    json_array_foreach (list, i, one) {
        _cleanup_free_ char *address = NULL;
        awaited = awaited || attach__ask(e, one, false, &address, &(struct err){0}) == -ERR_UNAVAILABLE;
    }
    return awaited;
}
