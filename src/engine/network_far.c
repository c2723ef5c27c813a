/* Containers of a swarm's network that other machines have. */
#include "engine/spread_priv.h"

#include "net/net.h"

static bool is_here(const struct network *n, const char *address)
{
    struct map_entry *entry;
    for (size_t i = 0; (entry = map_next(&n->endpoints, &i));)
        if (str_eq(((struct endpoint *)entry->value)->address, address))
            return true;
    return false;
}

int engine_network_far(struct engine *e, const char *network, const struct net_far *list, size_t count,
                       struct err *err)
{
    _cleanup_free_ struct net_far *others = NEW_N(struct net_far, count + 1);
    size_t kept = 0;
    SCOPED_LOCK(locked, &e->lock);
    const struct network *n = network__find(e, network, err);
    if (!n)
        return -err->code;
    if (!n->swarm)
        return err_set(err, ERR_INVALID, "network %s is this machine's alone: it is of the driver \"%s\"",
                       n->name, n->driver);
    for (size_t i = 0; i < count; i++)
        if (!is_here(n, list[i].address))
            others[kept++] = list[i];
    int r = net_far_set(e->net, n->bridge, others, kept, err);
    return r < 0 ? err_wrap(err, "network %s", n->name) : 0;
}
