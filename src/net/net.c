#include "net/net.h"

#include "net/priv.h"
#include "net/rtnl.h"

#include "base/file.h"

#include <ctype.h>
#include <limits.h>
#include <stdlib.h>

static bool prefix_valid(const char *prefix)
{
    size_t n = strlen(prefix);
    for (size_t i = 0; i < n; i++)
        if (!islower((unsigned char)prefix[i]) && !isdigit((unsigned char)prefix[i]))
            return false;
    return n > 0 && n <= 6 && islower((unsigned char)prefix[0]);
}

int net_open(const char *state_dir, const char *prefix, struct net **ret, struct err *err)
{
    if (!prefix_valid(prefix))
        return err_set(err, ERR_INVALID,
                       "network prefix %s must be 1 to 6 lower-case letters and digits, a letter first",
                       prefix);
    int r = file_mkdirs(state_dir, 0700, err);
    if (r < 0)
        return r;
    char absolute[PATH_MAX]; /* for the DNS process, whose working directory is another */
    if (!realpath(state_dir, absolute))
        return err_sys(err, errno, "%s", state_dir);
    struct net *n = NEW(struct net);
    n->state_dir = mem_strdup(absolute);
    snprintf(n->prefix, sizeof(n->prefix), "%s", prefix);
    snprintf(n->table, sizeof(n->table), "drover_%s", prefix);
    pthread_mutex_init(&n->lock, NULL);
    n->bridges = MAP_INIT(free);
    n->spreads = MAP_INIT(net__spread_free);
    n->far = MAP_INIT(free);
    n->nft = -EBADF;
    n->pool = net__pool_new();
    r = net__names_open(n, err);
    if (r < 0) {
        net_close(n);
        return r;
    }
    *ret = n;
    return 0;
}

void net_close(struct net *n)
{
    if (!n)
        return;
    net__names_done(n);
    net__pool_free(n->pool);
    net__ports_done(n);
    net__firewall_done(n);
    map_done(&n->bridges);
    map_done(&n->spreads);
    map_done(&n->far);
    pthread_mutex_destroy(&n->lock);
    free(n->state_dir);
    free(n);
}

struct sweep {
    const struct net *n;
    int *indexes;
    size_t count, capacity;
};

/* Names that only this instance makes: its prefix and exactly eight characters, so that "dr1" never sweeps
 * what belongs to "dr1a2b". */
static void on_link(void *context, const struct rtnl_link *l)
{
    struct sweep *s = context;
    const char *rest = str_after(l->name, s->n->prefix);
    bool ours = rest && strlen(rest) == 8 &&
                (str_eq(l->kind, "bridge") || str_eq(l->kind, "veth") || str_eq(l->kind, "dummy"));
    if (!ours && !(str_eq(l->kind, "bridge") && map_has(&s->n->bridges, l->name)))
        return;
    GROW(s->indexes, s->count, s->capacity);
    s->indexes[s->count++] = l->index;
}

int net_teardown(struct net *n, struct err *err)
{
    _cleanup_netlink_ struct mnl_socket *nl = NULL;
    int r = rtnl_open(&nl, err);
    if (r < 0)
        return r;
    net__names_stop(n);
    pthread_mutex_lock(&n->lock);
    r = net__firewall_load(n, err);
    struct sweep s = {.n = n};
    if (r == 0 && (r = rtnl_link_list(nl, on_link, &s)) < 0)
        r = err_sys(err, -r, "list network links");
    for (size_t i = 0; r == 0 && i < s.count; i++) {
        r = rtnl_link_delete(nl, s.indexes[i]);
        r = r < 0 && r != -ENODEV ? err_sys(err, -r, "remove network link %d", s.indexes[i]) : 0;
    }
    free(s.indexes);
    net__far_drop(n, NULL, NULL);
    if (r == 0)
        r = net__firewall_delete(n, err);
    if (r == 0) {
        net__ports_done(n);
        map_done(&n->bridges);
        n->bridges = MAP_INIT(free);
        map_done(&n->spreads);
        n->spreads = MAP_INIT(net__spread_free);
        net__spreads_save(n, NULL);
    }
    pthread_mutex_unlock(&n->lock);
    return r;
}

int net_reconcile(struct net *n, char *const *bridges, char *const *port_owners, char *const *spreads,
                  struct err *err)
{
    _cleanup_strv_ char **stale_bridges = NULL, **stale_owners = NULL, **stale_spreads = NULL;
    pthread_mutex_lock(&n->lock);
    int r = net__firewall_load(n, err);
    struct map_entry *e;
    for (size_t i = 0; r == 0 && (e = map_next(&n->bridges, &i));)
        if (!strv_has(bridges, e->key))
            strv_add(&stale_bridges, e->key);
    for (size_t i = 0; r == 0 && i < n->port_count; i++)
        if (!n->ports[i].spread && !strv_has(port_owners, n->ports[i].owner) &&
            !strv_has(stale_owners, n->ports[i].owner))
            strv_add(&stale_owners, n->ports[i].owner);
    for (size_t i = 0; r == 0 && (e = map_next(&n->spreads, &i));)
        if (!strv_has(spreads, e->key))
            strv_add(&stale_spreads, e->key);
    pthread_mutex_unlock(&n->lock);
    STRV_FOREACH (i, stale_owners)
        if (r == 0)
            r = net_ports_withdraw(n, *i, err);
    STRV_FOREACH (i, stale_spreads)
        if (r == 0)
            r = net_spread_remove(n, *i, err);
    STRV_FOREACH (i, stale_bridges)
        if (r == 0)
            r = net_bridge_remove(n, *i, err);
    return r;
}
