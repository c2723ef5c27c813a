/* Containers of our networks that run on other machines of the same link: the way there, and the way in.
 *
 * Three things make one reachable, and nothing is encapsulated:
 *   - a route "ADDRESS/32 via its machine", as host-gw of flannel has them;
 *   - the bridge answers for its address (a proxied neighbour of that bridge and address alone: with
 * proxy_arp the machine would answer for whatever it has a route to);
 *   - rules (firewall.c): from the bridge of its network alone packets go there, unchanged; from there
 * packets come in to that bridge alone, with the machine's own link address as the sender.
 *
 * The attacker is a neighbour on the link, or one who can have packets with any source sent to us. A packet
 * whose source is a far container's must come from the link address that its machine has told (over the
 * cluster's port, with its certificate): what a router forwards has the router's. Who forges both still gets
 * no answers, since those go to the machine's own address; against a link that lets its members do so only
 * encryption helps, which is not done here. */
#include "net/priv.h"

#include "base/file.h"
#include "net/rtnl.h"

#include <arpa/inet.h>
#include <errno.h>

enum { FAR_MAX = 16384 }; /* of all bridges */

static char *key_of(const char *bridge, uint32_t address)
{
    char text[16];
    net__address_format(address, text);
    return str_printf("%s %s", bridge, text);
}

static void mac_format(const uint8_t mac[6], char out[18])
{
    snprintf(out, 18, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

/* --- rules --- */

void net__far_add(const struct net *n, struct str *to, const char *verb, const struct net__far *f)
{
    char address[16], via[16], mac[18];
    net__address_format(f->address, address);
    net__address_format(f->via, via);
    mac_format(f->mac, mac);
    str_addf(to, "%s element inet %s far { \"%s\" . %s", verb, n->table, f->bridge, address);
    if (str_eq(verb, "add"))
        str_addf(to, " comment \"%s %s\"", via, mac);
    str_addf(to, " }\n%s element inet %s far_from { \"%s\" . %s . %s }\n", verb, n->table, f->bridge, address,
             mac);
    str_addf(to, "%s element inet %s far_all { %s }\n", verb, n->table, address);
}

static bool parse(const char *bridge, const char *address, const char *via, const char *mac,
                  struct net__far *ret)
{
    struct net__far f = {0};
    if (!net__address_parse(address, &f.address) || !net__address_parse(via, &f.via) ||
        net__mac_parse(mac, f.mac) < 0 || strlen(bridge) >= sizeof(f.bridge))
        return false;
    snprintf(f.bridge, sizeof(f.bridge), "%s", bridge);
    *ret = f;
    return true;
}

void net__far_load(struct net *n, const char *bridge, const char *address, const char *comment)
{
    _cleanup_strv_ char **words = strv_split(comment, ' ');
    struct net__far f;
    if (strv_len(words) == 2 && parse(bridge, address, words[0], words[1], &f)) {
        _cleanup_free_ char *key = key_of(bridge, f.address);
        map_put(&n->far, key, mem_dup(&f, sizeof(f)));
    }
}

/* --- the kernel's routes and neighbours --- */

static int put_way(struct mnl_socket *nl, int bridge_index, const struct net__far *f)
{
    int r = rtnl_route_set(nl, htonl(f->address), htonl(f->via), true);
    return r < 0 ? r : rtnl_proxy_set(nl, bridge_index, htonl(f->address), true);
}

/* What is gone already is no error: the kernel drops routes with the interface they lead through. */
static void drop_way(struct mnl_socket *nl, int bridge_index, const struct net__far *f)
{
    rtnl_route_set(nl, htonl(f->address), htonl(f->via), false);
    if (bridge_index)
        rtnl_proxy_set(nl, bridge_index, htonl(f->address), false);
    net__conntrack_forget_target((struct net__ip){AF_INET, f->address});
}

/* A proxied answer is otherwise held back up to 0.8 s, for a machine that has the address itself. */
static void answer_at_once(const char *bridge)
{
    _cleanup_free_ char *path = str_printf("/proc/sys/net/ipv4/neigh/%s/proxy_delay", bridge);
    file_poke(path, "0", NULL);
}

/* --- setting --- */

/* What cannot be is left out and said: one bad machine does not cut the others off. */
static int read_list(const struct net__bridge *b, const struct net_far *list, size_t count, struct map *ret,
                     struct err *err)
{
    int r = 0;
    struct net__cidr subnet;
    uint32_t gateway;
    must(net__cidr_parse(b->subnet, &subnet) && net__address_parse(b->gateway, &gateway));
    for (size_t i = 0; i < count; i++) {
        struct net__far f;
        if (!parse(b->name, list[i].address, list[i].via, list[i].mac, &f) ||
            !net__cidr_has(subnet, f.address) || f.address == gateway || net__cidr_has(subnet, f.via)) {
            r = err_set(err, ERR_INVALID,
                        "container %.50s on machine %.50s (%.50s): it must be an address of %s, of a machine "
                        "outside of it with its link address",
                        list[i].address, list[i].via, list[i].mac, b->subnet);
            continue;
        }
        _cleanup_free_ char *key = key_of(b->name, f.address);
        map_put(ret, key, mem_dup(&f, sizeof(f)));
    }
    return r;
}

static size_t count_of(struct net *n, const char *bridge)
{
    size_t count = 0;
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&n->far, &i));)
        count += str_eq(((struct net__far *)e->value)->bridge, bridge);
    return count;
}

static bool same(const struct net__far *a, const struct net__far *b)
{
    return a && b && str_eq(a->bridge, b->bridge) && a->address == b->address && a->via == b->via &&
           memcmp(a->mac, b->mac, sizeof(a->mac)) == 0;
}

/* Rules of what goes, then of what comes, in one transaction; the mirror follows. */
static int change_rules(struct net *n, const char *bridge, struct map *wanted, struct mnl_socket *nl,
                        int bridge_index, struct err *err)
{
    _cleanup_str_ struct str commands = STR_INIT;
    struct map gone = MAP_INIT(free);
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&n->far, &i));) {
        const struct net__far *f = e->value;
        if (str_eq(f->bridge, bridge) && !same(map_get(wanted, e->key), f)) {
            net__far_add(n, &commands, "delete", f);
            map_put(&gone, e->key, mem_dup(f, sizeof(*f)));
        }
    }
    for (size_t i = 0; (e = map_next(wanted, &i));)
        if (!same(map_get(&n->far, e->key), e->value))
            net__far_add(n, &commands, "add", e->value);
    for (size_t i = 0; (e = map_next(&gone, &i));)
        map_remove(&n->far, e->key);
    for (size_t i = 0; (e = map_next(wanted, &i));)
        map_put(&n->far, e->key, mem_dup(e->value, sizeof(struct net__far)));
    int r = commands.len ? net__firewall_run(n, str_get(&commands), err) : 0;
    for (size_t i = 0; (e = map_next(&gone, &i));)
        drop_way(nl, bridge_index, e->value);
    map_done(&gone);
    return r;
}

/* Those that no way leads to are taken out of the rules again. */
static int put_ways(struct net *n, struct map *wanted, struct mnl_socket *nl, int bridge_index,
                    struct err *err)
{
    _cleanup_str_ struct str commands = STR_INIT;
    struct map_entry *e;
    int r = 0;
    for (size_t i = 0; (e = map_next(wanted, &i));) {
        const struct net__far *f = e->value;
        char address[16], via[16];
        int failed = put_way(nl, bridge_index, f);
        if (failed == 0)
            continue;
        net__address_format(f->address, address);
        net__address_format(f->via, via);
        if (r == 0)
            r = failed == -ENETUNREACH || failed == -EINVAL || failed == -EHOSTUNREACH
                    ? err_set(err, ERR_UNAVAILABLE,
                              "containers of machine %s (%s) are not reached by their addresses: it is on no "
                              "link of this machine",
                              via, address)
                    : err_sys(err, -failed, "route %s via %s", address, via);
        net__far_add(n, &commands, "delete", f);
        drop_way(nl, bridge_index, f);
        map_remove(&n->far, e->key);
    }
    if (commands.len)
        net__firewall_run(n, str_get(&commands), NULL);
    return r;
}

static int put_list(struct net *n, const char *bridge, struct map *wanted, struct err *err)
{
    _cleanup_netlink_ struct mnl_socket *nl = NULL;
    struct rtnl_link link;
    int r = rtnl_open(&nl, err);
    if (r == 0 && (r = rtnl_link_get(nl, bridge, &link)) < 0)
        r = err_sys(err, -r, "find bridge %s", bridge);
    if (r == 0 && wanted->count)
        answer_at_once(bridge);
    if (r == 0)
        r = change_rules(n, bridge, wanted, nl, link.index, err);
    return r == 0 ? put_ways(n, wanted, nl, link.index, err) : r;
}

static int set_locked(struct net *n, const char *bridge, const struct net_far *list, size_t count,
                      struct err *err)
{
    struct map wanted = MAP_INIT(free);
    int r = net__firewall_load(n, err);
    const struct net__bridge *b = map_get(&n->bridges, bridge);
    if (r == 0 && !b)
        r = err_set(err, ERR_NOT_FOUND, "there is no bridge %s", bridge);
    if (r == 0 && !b->icc && count)
        r = err_set(err, ERR_INVALID, "containers of bridge %s do not reach each other", bridge);
    if (r == 0 && n->far.count - count_of(n, bridge) + count > FAR_MAX)
        r = err_set(err, ERR_LIMIT, "more than %d containers of other machines", FAR_MAX);
    int listed = r == 0 ? read_list(b, list, count, &wanted, err) : 0;
    if (r == 0 && (wanted.count || count_of(n, bridge)))
        r = put_list(n, bridge, &wanted, err);
    map_done(&wanted);
    return r < 0 ? r : listed;
}

int net_far_set(struct net *n, const char *bridge, const struct net_far *list, size_t count, struct err *err)
{
    pthread_mutex_lock(&n->lock);
    int r = set_locked(n, bridge, list, count, err);
    pthread_mutex_unlock(&n->lock);
    return r;
}

bool net_far_has(struct net *n, const char *bridge, const char *address)
{
    _cleanup_free_ char *key = str_printf("%s %s", bridge, address);
    pthread_mutex_lock(&n->lock);
    bool has = net__firewall_load(n, NULL) == 0 && map_has(&n->far, key);
    pthread_mutex_unlock(&n->lock);
    return has;
}

/* The bridge, with its neighbours, may be gone. */
void net__far_drop(struct net *n, const char *bridge, struct str *to)
{
    _cleanup_netlink_ struct mnl_socket *nl = NULL;
    _cleanup_strv_ char **keys = NULL;
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&n->far, &i));)
        if (!bridge || str_eq(((struct net__far *)e->value)->bridge, bridge))
            strv_add(&keys, e->key);
    if (!keys || rtnl_open(&nl, NULL) < 0)
        return;
    STRV_FOREACH (key, keys) {
        const struct net__far *f = map_get(&n->far, *key);
        if (to)
            net__far_add(n, to, "delete", f);
        drop_way(nl, 0, f);
        map_remove(&n->far, *key);
    }
}
