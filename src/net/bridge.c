#include "net/priv.h"
#include "net/rtnl.h"

#include "base/digest.h"
#include "base/file.h"

#include <arpa/inet.h>

void net_bridge_name(struct net *n, const char *network_id, char out[16])
{
    /* Ids are random hex; what else a caller may use is hashed, so that the name stays one. */
    char digest[DIGEST_BYTES];
    if (!str_is_hex(network_id) || strlen(network_id) < 8) {
        digest_of(network_id, strlen(network_id), digest);
        network_id = digest_hex(digest);
    }
    snprintf(out, 16, "%s%.8s", n->prefix, network_id);
}

static int sysctl_write(const char *name, const char *value, struct err *err)
{
    _cleanup_free_ char *path = str_printf("/proc/sys/net/%s", name);
    _cleanup_str_ struct str now = STR_INIT;
    size_t length = strlen(value);
    if (file_read(path, 64, &now, NULL) == 0 && strncmp(str_get(&now), value, length) == 0 &&
        now.len == length + 1)
        return 0;
    return file_poke(path, value, err);
}

static int bridge_sysctls_v6(const char *name, struct err *err)
{
    char path[80];
    snprintf(path, sizeof(path), "ipv6/conf/%s/disable_ipv6", name);
    int r = sysctl_write(path, "0", err);
    if (r < 0)
        return err_wrap(err, "this kernel has no IPv6, which the network asks for");
    /* Nothing on a container's network tells the machine its routes. */
    snprintf(path, sizeof(path), "ipv6/conf/%s/accept_ra", name);
    sysctl_write(path, "0", NULL);
    if ((r = sysctl_write("ipv6/conf/all/forwarding", "1", err)) < 0)
        return err_wrap(err, "containers need packet forwarding: set net.ipv6.conf.all.forwarding=1");
    return 0;
}

/* What a bridge needs of the host. IPv6 is turned off on it when nothing there has such addresses:
 * half-working ones only slow connections down. */
static int bridge_sysctls(const char *name, bool ipv6, struct err *err)
{
    char path[80];
    int r = sysctl_write("ipv4/ip_forward", "1", err);
    if (r < 0)
        return err_wrap(err, "containers need packet forwarding: set net.ipv4.ip_forward=1");
    snprintf(path, sizeof(path), "ipv4/conf/%s/route_localnet", name);
    if ((r = sysctl_write(path, "1", err)) < 0)
        return err_wrap(err, "make published ports reachable from 127.0.0.1");
    if (ipv6)
        return bridge_sysctls_v6(name, err);
    snprintf(path, sizeof(path), "ipv6/conf/%s/disable_ipv6", name);
    sysctl_write(path, "1", NULL); /* absent where the kernel has no IPv6 */
    return 0;
}

struct address_fix {
    struct net *net;
    const char *bridge;
    uint32_t wanted; /* network order */
    int bits;
    bool present;
    struct {
        uint32_t address;
        int bits;
    } stale[8];
    size_t stale_count;
};

static void on_address(void *context, int index, uint32_t address, int bits)
{
    (void)index;
    struct address_fix *f = context;
    if (address == f->wanted && bits == f->bits)
        f->present = true;
    else if (bits == 32 && net__spread_has_address(f->net, f->bridge, ntohl(address)))
        return;
    else if (f->stale_count < ARRAY_SIZE(f->stale)) {
        f->stale[f->stale_count].address = address;
        f->stale[f->stale_count++].bits = bits;
    }
}

static int bridge_address(struct net *n, const char *name, struct mnl_socket *nl, int index, uint32_t gateway,
                          int bits, struct err *err)
{
    struct address_fix f = {.net = n, .bridge = name, .wanted = htonl(gateway), .bits = bits};
    int r = rtnl_address_list(nl, index, on_address, &f);
    for (size_t i = 0; r == 0 && i < f.stale_count; i++) {
        r = rtnl_address_delete(nl, index, f.stale[i].address, f.stale[i].bits);
        r = r == -EADDRNOTAVAIL ? 0 : r; /* seen twice */
    }
    if (r == 0 && !f.present)
        r = rtnl_address_add(nl, index, f.wanted, bits);
    return r < 0 ? err_sys(err, -r, "set the bridge's address") : 0;
}

static int bridge_address6(struct mnl_socket *nl, int index, const struct net_bridge *b, struct err *err)
{
    struct net__ip gateway;
    struct net__range subnet;
    uint8_t bytes[16];
    if (!b->gateway6 || !net__ip_parse(b->gateway6, &gateway) || !net__range_parse(b->subnet6, &subnet))
        return 0;
    net__ip_bytes(gateway, bytes);
    int r = rtnl_address6_add(nl, index, bytes, subnet.bits);
    return r < 0 && r != -EEXIST ? err_sys(err, -r, "set the bridge's address %s", b->gateway6) : 0;
}

static int bridge_link(struct mnl_socket *nl, const char *name, uint32_t gateway, int mtu,
                       struct rtnl_link *ret, struct err *err)
{
    const uint8_t mac[6] = {0x02,
                            0x42,
                            (uint8_t)(gateway >> 24),
                            (uint8_t)(gateway >> 16),
                            (uint8_t)(gateway >> 8),
                            (uint8_t)gateway};
    int r = rtnl_bridge_add(nl, name, mac, mtu);
    if (r == -EPERM)
        return err_set(err, ERR_DENIED, "the capability CAP_NET_ADMIN is needed");
    if (r == -EOPNOTSUPP)
        return err_set(err, ERR_UNAVAILABLE, "this kernel has no bridges: load the module \"bridge\"");
    if (r < 0 && r != -EEXIST)
        return err_sys(err, -r, "create it");
    r = rtnl_link_get(nl, name, ret);
    if (r < 0)
        return err_sys(err, -r, "find it");
    if (!str_eq(ret->kind, "bridge"))
        return err_set(err, ERR_CONFLICT, "an interface of that name exists and is no bridge");
    return 0;
}

static int bridge_make(struct net *n, const struct net_bridge *b, uint32_t gateway, int bits, struct err *err)
{
    _cleanup_netlink_ struct mnl_socket *nl = NULL;
    struct rtnl_link link;
    int mtu = b->mtu ? b->mtu : 1500;
    int r = rtnl_open(&nl, err);
    if (r < 0 || (r = bridge_link(nl, b->name, gateway, mtu, &link, err)) < 0 ||
        (r = bridge_sysctls(b->name, b->gateway6 != NULL, err)) < 0 ||
        (r = bridge_address(n, b->name, nl, link.index, gateway, bits, err)) < 0 ||
        (r = bridge_address6(nl, link.index, b, err)) < 0)
        return r;
    r = rtnl_link_set(nl, link.index, true, mtu);
    return r < 0 ? err_sys(err, -r, "bring it up") : 0;
}

static bool same(const struct net__bridge *a, const struct net__bridge *b)
{
    return a && str_eq(a->name, b->name) && str_eq(a->gateway, b->gateway) && a->internal == b->internal &&
           a->icc == b->icc && a->routed == b->routed && str_eq(a->subnet, b->subnet) &&
           str_eq(a->gateway6, b->gateway6) && str_eq(a->subnet6, b->subnet6);
}

/* The rules know the bridge before it can carry a packet. */
static int bridge_register(struct net *n, const struct net__bridge *b, struct err *err)
{
    int r = net__firewall_load(n, err);
    if (r < 0)
        return r;
    struct net__bridge *old = map_steal(&n->bridges, b->name);
    bool known = same(old, b);
    _cleanup_str_ struct str commands = STR_INIT;
    if (old && !known)
        net__firewall_add_bridge(n, &commands, "delete", old);
    if (!known)
        net__firewall_add_bridge(n, &commands, "add", b);
    map_put(&n->bridges, b->name, mem_dup(b, sizeof(*b)));
    if (commands.len && (r = net__firewall_run(n, str_get(&commands), err)) < 0) {
        map_remove(&n->bridges, b->name);
        if (old)
            map_put(&n->bridges, b->name, mem_dup(old, sizeof(*old)));
    }
    free(old);
    return r;
}

static int bridge_forget(struct net *n, const char *name, struct err *err)
{
    struct net__bridge *b = map_steal(&n->bridges, name);
    if (!b)
        return 0;
    _cleanup_str_ struct str commands = STR_INIT;
    net__far_drop(n, b->name, &commands);
    net__firewall_add_bridge(n, &commands, "delete", b);
    free(b);
    return net__firewall_run(n, str_get(&commands), err);
}

static int bridge_parse_v6(const struct net_bridge *b, struct net__bridge *ret, struct err *err)
{
    struct net__ip gateway;
    int r = net_subnet_check(b->subnet6, NULL, err);
    if (r < 0)
        return r;
    if (!net_address_in_subnet(b->gateway6, b->subnet6) || !net__ip_parse(b->gateway6, &gateway))
        return err_set(err, ERR_INVALID, "gateway %s is not an address of subnet %s", b->gateway6,
                       b->subnet6);
    net__ip_format(gateway, ret->gateway6);
    snprintf(ret->subnet6, sizeof(ret->subnet6), "%s", b->subnet6);
    return 0;
}

static int bridge_parse(const struct net_bridge *b, struct net__bridge *ret, uint32_t *ret_gateway,
                        int *ret_bits, struct err *err)
{
    struct net__cidr subnet;
    size_t length = strlen(b->name);
    if (length == 0 || length > 15 || strpbrk(b->name, "/: \t\n\"\\*") || str_eq(b->name, ".") ||
        str_eq(b->name, ".."))
        return err_set(err, ERR_INVALID, "bridge name \"%s\" must be 1 to 15 letters, digits, - or _",
                       b->name);
    int r = net_subnet_check(b->subnet, NULL, err);
    if (r < 0)
        return r;
    if (!net__cidr_parse(b->subnet, &subnet))
        return err_set(err, ERR_INVALID, "subnet %s is not of IPv4", b->subnet);
    if (!net__address_parse(b->gateway, ret_gateway) || !net__cidr_has(subnet, *ret_gateway))
        return err_set(err, ERR_INVALID, "gateway %s is not an address of subnet %s", b->gateway, b->subnet);
    *ret = (struct net__bridge){.internal = b->internal, .icc = b->icc, .routed = b->routed};
    snprintf(ret->name, sizeof(ret->name), "%s", b->name);
    net__address_format(*ret_gateway, ret->gateway);
    snprintf(ret->subnet, sizeof(ret->subnet), "%s", b->subnet);
    *ret_bits = subnet.bits;
    return b->gateway6 ? bridge_parse_v6(b, ret, err) : 0;
}

int net_bridge_ensure(struct net *n, const struct net_bridge *b, struct err *err)
{
    struct net__bridge bridge;
    uint32_t gateway;
    int bits;
    int r = bridge_parse(b, &bridge, &gateway, &bits, err);
    if (r < 0)
        return r;
    pthread_mutex_lock(&n->lock);
    bool had = map_has(&n->bridges, b->name);
    r = bridge_register(n, &bridge, err);
    if (r == 0) {
        r = bridge_make(n, b, gateway, bits, err);
        if (r == 0)
            r = net__spread_addresses(n, b->name, err);
        if (r < 0 && !had)
            bridge_forget(n, b->name, NULL);
    }
    if (r == 0)
        r = net__names_publish(n, err);
    pthread_mutex_unlock(&n->lock);
    return r < 0 ? err_wrap(err, "bridge %s", b->name) : 0;
}

int net_bridge_remove(struct net *n, const char *name, struct err *err)
{
    _cleanup_netlink_ struct mnl_socket *nl = NULL;
    struct rtnl_link link;
    int r = rtnl_open(&nl, err);
    if (r < 0)
        return r;
    pthread_mutex_lock(&n->lock);
    r = net__firewall_load(n, err);
    if (r == 0) {
        r = rtnl_link_get(nl, name, &link);
        if (r == 0)
            r = str_eq(link.kind, "bridge") ? rtnl_link_delete(nl, link.index) : 0;
        r = r < 0 && r != -ENODEV ? err_sys(err, -r, "remove it") : 0;
    }
    if (r == 0)
        r = bridge_forget(n, name, err);
    if (r == 0)
        r = net__names_publish(n, err);
    pthread_mutex_unlock(&n->lock);
    return r < 0 ? err_wrap(err, "bridge %s", name) : 0;
}
