/* Network namespaces and the interfaces in them.
 *
 * A thread's network namespace is its own: where something has to be done inside another one, the calling
 * thread steps in, opens a socket and steps out again. */
#include "net/priv.h"
#include "net/rtnl.h"

#include "base/file.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/random.h>
#include <unistd.h>

static int own_namespace(int *ret_fd, struct err *err)
{
    int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "open /proc/thread-self/ns/net");
    *ret_fd = fd;
    return 0;
}

static void step_back(int fd)
{
    /* A thread left in a container's namespace would do everything later in the wrong place. */
    must(setns(fd, CLONE_NEWNET) == 0);
}

static int loopback_up(struct err *err)
{
    _cleanup_netlink_ struct mnl_socket *nl = NULL;
    int r = rtnl_open(&nl, err);
    if (r < 0)
        return r;
    r = rtnl_link_set(nl, 1, true, 0); /* the kernel gives lo index 1 */
    return r < 0 ? err_sys(err, -r, "bring lo up") : 0;
}

int net_namespace_new(int *ret_fd, struct err *err)
{
    _cleanup_close_ int before = -EBADF, fd = -EBADF;
    int r = own_namespace(&before, err);
    if (r < 0)
        return r;
    if (unshare(CLONE_NEWNET) < 0)
        return err_sys(err, errno, "create a network namespace");
    r = own_namespace(&fd, err);
    if (r == 0)
        r = loopback_up(err);
    /* Interfaces to come get no IPv6 addresses of their own; ::1 on lo stays. */
    if (r == 0)
        file_poke("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1", NULL);
    step_back(before);
    if (r == 0)
        *ret_fd = take_fd(&fd);
    return r;
}

int net_namespace_prepare(int fd, struct err *err)
{
    _cleanup_close_ int before = -EBADF;
    int r = own_namespace(&before, err);
    if (r < 0)
        return r;
    if (setns(fd, CLONE_NEWNET) < 0)
        return err_sys(err, errno, "enter a network namespace");
    r = loopback_up(err);
    if (r == 0)
        file_poke("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1", NULL);
    step_back(before);
    return r;
}

int net__in_namespace(int namespace_fd, int (*fn)(void *, struct err *), void *context, struct err *err)
{
    _cleanup_close_ int before = -EBADF;
    int r = own_namespace(&before, err);
    if (r < 0)
        return r;
    if (setns(namespace_fd, CLONE_NEWNET) < 0)
        return err_sys(err, errno, "enter the container's network namespace");
    r = fn(context, err);
    step_back(before);
    return r;
}

/* A netlink socket of another namespace. */
static int rtnl_open_in(int namespace_fd, struct mnl_socket **ret, struct err *err)
{
    _cleanup_close_ int before = -EBADF;
    int r = own_namespace(&before, err);
    if (r < 0)
        return r;
    if (setns(namespace_fd, CLONE_NEWNET) < 0)
        return err_sys(err, errno, "enter the container's network namespace");
    r = rtnl_open(ret, err);
    step_back(before);
    return r;
}

struct endpoint {
    uint32_t address, gateway; /* host order; gateway 0: none */
    int bits;
    struct net__range address6; /* family 0: none */
    struct net__ip gateway6;
    uint8_t mac[6];
};

int net__mac_parse(const char *text, uint8_t mac[6])
{
    unsigned b[6];
    char rest;
    if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%c", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5], &rest) != 6)
        return -1;
    for (int i = 0; i < 6; i++)
        mac[i] = (uint8_t)b[i];
    return mac[0] & 1 ? -1 : 0; /* a group's address is no host's */
}

static int endpoint_parse_v6(const struct net_endpoint *e, struct endpoint *ret, struct err *err)
{
    if (!strchr(e->address6, '/') || !net__range_parse(e->address6, &ret->address6) ||
        ret->address6.address.family != AF_INET6)
        return err_set(err, ERR_INVALID, "address %s must be of the form fd00::2/64", e->address6);
    if (!str_empty(e->gateway6) &&
        (!net__ip_parse(e->gateway6, &ret->gateway6) || ret->gateway6.family != AF_INET6))
        return err_set(err, ERR_INVALID, "gateway %s is not an IPv6 address", e->gateway6);
    return 0;
}

static int endpoint_parse(const struct net_endpoint *e, struct endpoint *ret, struct err *err)
{
    struct net__cidr c;
    if (!strchr(e->address, '/') || !net__cidr_parse(e->address, &c))
        return err_set(err, ERR_INVALID, "address %s must be of the form 172.20.0.2/16", e->address);
    *ret = (struct endpoint){.address = c.address, .bits = c.bits};
    if (!str_empty(e->gateway) && !net__address_parse(e->gateway, &ret->gateway))
        return err_set(err, ERR_INVALID, "gateway %s is not an IPv4 address", e->gateway);
    int r = str_empty(e->address6) ? 0 : endpoint_parse_v6(e, ret, err);
    if (r < 0)
        return r;
    if (strlen(e->ifname) >= 16 || !*e->ifname || strchr(e->ifname, '/'))
        return err_set(err, ERR_INVALID, "interface name \"%s\" must be 1 to 15 characters", e->ifname);
    if (!str_empty(e->mac)) {
        if (net__mac_parse(e->mac, ret->mac) < 0)
            return err_set(err, ERR_INVALID, "MAC address %s must be of the form 02:42:ac:14:00:02", e->mac);
        return 0;
    }
    ret->mac[0] = 0x02;
    ret->mac[1] = 0x42;
    for (int i = 0; i < 4; i++)
        ret->mac[2 + i] = (uint8_t)(c.address >> (24 - 8 * i));
    return 0;
}

/* IPv6 is off in a container's namespace until an interface is to have it. The file is that of the thread's
 * namespace: the caller has stepped in. */
static void ipv6_on(const char *ifname)
{
    char path[80];
    snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", ifname);
    file_poke(path, "0", NULL);
    snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/accept_ra", ifname);
    file_poke(path, "0", NULL); /* its routes are ours to give */
}

static int enable_ipv6(void *context, struct err *err)
{
    (void)err;
    ipv6_on(context);
    return 0;
}

static int apply_sysctls(void *context, struct err *err)
{
    const struct net_endpoint *e = context;
    STRV_FOREACH (text, (char **)e->sysctls) {
        _cleanup_free_ char *name = mem_strndup(*text, strcspn(*text, "="));
        const char *value = strchr(*text, '=') ? strchr(*text, '=') + 1 : "";
        _cleanup_free_ char *path = str_printf("/proc/sys/net/%s", name);
        int r = file_poke(path, value, err);
        if (r < 0)
            return err_wrap(err, "set the sysctl %s of %s", name, e->ifname);
    }
    return 0;
}

/* More addresses of an interface: link-local ones that were asked for. */
static int inner_more(struct mnl_socket *inside, int index, const struct net_endpoint *e, struct err *err)
{
    STRV_FOREACH (text, (char **)e->more) {
        struct net__range a;
        uint8_t bytes[16];
        if (!net__range_parse(*text, &a))
            return err_set(err, ERR_INVALID, "invalid address %s", *text);
        net__ip_bytes(a.address, bytes);
        int r = a.address.family == AF_INET6
                    ? rtnl_address6_add(inside, index, bytes, a.bits)
                    : rtnl_address_add(inside, index, htonl((uint32_t)a.address.value), a.bits);
        if (r < 0 && r != -EEXIST)
            return err_sys(err, -r, "give %s the address %s", e->ifname, *text);
    }
    return 0;
}

static int inner_configure_v6(struct mnl_socket *inside, int index, const struct net_endpoint *e,
                              const struct endpoint *p, struct err *err)
{
    uint8_t bytes[16];
    net__ip_bytes(p->address6.address, bytes);
    int r = rtnl_address6_add(inside, index, bytes, p->address6.bits);
    if (r < 0 && r != -EEXIST)
        return err_sys(err, -r, "give %s the address %s", e->ifname, e->address6);
    if (!p->gateway6.family)
        return 0;
    net__ip_bytes(p->gateway6, bytes);
    r = rtnl_route6_add_default(inside, index, bytes, false);
    return r < 0 && r != -EEXIST ? err_sys(err, -r, "set the default route through %s", e->gateway6) : 0;
}

/* Inside: address, up, default route. */
static int inner_configure(struct mnl_socket *inside, const struct net_endpoint *e, const struct endpoint *p,
                           struct err *err)
{
    struct rtnl_link link;
    int r = rtnl_link_get(inside, e->ifname, &link);
    if (r < 0)
        return err_sys(err, -r, "find %s in the container", e->ifname);
    r = rtnl_address_add(inside, link.index, htonl(p->address), p->bits);
    if (r < 0 && r != -EEXIST)
        return err_sys(err, -r, "give %s the address %s", e->ifname, e->address);
    r = rtnl_link_set(inside, link.index, true, 0);
    if (r < 0)
        return err_sys(err, -r, "bring %s up", e->ifname);
    r = inner_more(inside, link.index, e, err);
    if (r == 0 && p->address6.address.family)
        r = inner_configure_v6(inside, link.index, e, p, err);
    if (r < 0 || (!p->gateway && !e->link_route))
        return r;
    /* A second network's endpoint does not replace the first one's way out. */
    r = rtnl_route_add_default(inside, link.index, htonl(p->gateway), false);
    return r < 0 && r != -EEXIST
               ? err_sys(err, -r, "set the default route through %s", e->gateway ? e->gateway : e->ifname)
               : 0;
}

/* Called again for an interface that is there: the host's end of it. */
static int find_existing(struct mnl_socket *outside, struct mnl_socket *inside, const struct net_endpoint *e,
                         int master, struct rtnl_link *ret, struct err *err)
{
    struct rtnl_link inner;
    if (rtnl_link_get(inside, e->ifname, &inner) < 0 || !str_eq(inner.kind, "veth") ||
        rtnl_link_get_index(outside, inner.peer, ret) < 0 || ret->master != master)
        return err_set(err, ERR_CONFLICT, "the container has an interface %s already", e->ifname);
    return 0;
}

static void veth_name(const struct net *n, char out[16])
{
    uint8_t random[4];
    char hex[9];
    must(getrandom(random, sizeof(random), 0) == sizeof(random));
    str_hex(random, sizeof(random), hex);
    snprintf(out, 16, "%sv%.7s", n->prefix, hex);
}

static bool bridge_has_icc(struct net *n, const char *name)
{
    pthread_mutex_lock(&n->lock);
    const struct net__bridge *b = map_get(&n->bridges, name);
    bool icc = !b || b->icc;
    pthread_mutex_unlock(&n->lock);
    return icc;
}

/* The host's end: no IPv6 on it, isolated when the network is to be, up. */
static int outer_configure(struct net *n, struct mnl_socket *outside, const struct rtnl_link *link,
                           const char *bridge, struct err *err)
{
    char path[80];
    snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", link->name);
    file_poke(path, "1", NULL);
    /* Hairpin: where br_netfilter is on (other engines turn it on), a container that connects to its own
     * published port is answered by the bridge itself, back through the same port. */
    int r = rtnl_port_set(outside, link->index, true, !bridge_has_icc(n, bridge));
    if (r == 0)
        r = rtnl_link_set(outside, link->index, true, 0);
    return r < 0 ? err_sys(err, -r, "bring %s up", link->name) : 0;
}

static int endpoint_make(struct net *n, struct mnl_socket *outside, struct mnl_socket *inside,
                         int namespace_fd, const struct net_endpoint *e, const struct endpoint *p,
                         struct rtnl_link *ret_host, bool *ret_created, struct err *err)
{
    struct rtnl_link bridge;
    *ret_created = false;
    char host[16];
    int r = rtnl_link_get(outside, e->bridge, &bridge);
    if (r < 0)
        return err_sys(err, -r, "bridge %s", e->bridge);
    for (int attempt = 0;; attempt++) {
        veth_name(n, host);
        r = rtnl_veth_add(outside, host, bridge.index, bridge.mtu, namespace_fd, e->ifname, p->mac);
        if (r != -EEXIST)
            break;
        if (find_existing(outside, inside, e, bridge.index, ret_host, err) == 0)
            return 0;
        struct rtnl_link taken;
        if (attempt == 3 || rtnl_link_get(outside, host, &taken) < 0)
            return err_set(err, ERR_CONFLICT, "the container has an interface %s already", e->ifname);
    }
    if (r < 0)
        return err_sys(err, -r, "create a veth pair");
    *ret_created = true;
    r = rtnl_link_get(outside, host, ret_host);
    return r < 0 ? err_sys(err, -r, "find %s", host) : 0;
}

/* An interface below one of the machine's: it has no end here. */
static int child_make(struct mnl_socket *outside, int namespace_fd, const struct net_endpoint *e,
                      const struct endpoint *p, struct err *err)
{
    struct rtnl_link parent;
    struct rtnl_child child = {.kind = e->kind, .name = e->ifname, .namespace_fd = namespace_fd};
    int r = net__child_mode(e->kind, e->mode, &child.mode, err);
    if (r == 0 && (r = rtnl_link_get(outside, e->bridge, &parent)) < 0)
        r = err_sys(err, -r, "parent interface %s", e->bridge);
    if (r < 0)
        return r;
    child.parent = parent.index;
    child.flags = net__child_flags(e->flag);
    /* All interfaces of an ipvlan have the parent's address; one that passes through takes it over. */
    if (str_eq(e->kind, "macvlan") && !str_eq(e->mode, "passthru"))
        child.mac = p->mac;
    r = rtnl_child_add(outside, &child);
    if (r == -EOPNOTSUPP)
        return err_set(err, ERR_UNSUPPORTED, "this kernel has no %s interfaces: load the module \"%s\"",
                       e->kind, e->kind);
    if (r == -EEXIST) /* called again */
        return 0;
    return r < 0 ? err_sys(err, -r, "create a %s interface below %s", e->kind, e->bridge) : 0;
}

int net_endpoint_add(struct net *n, int namespace_fd, const struct net_endpoint *e, char ret_host_if[16],
                     struct err *err)
{
    _cleanup_netlink_ struct mnl_socket *outside = NULL, *inside = NULL;
    struct endpoint p;
    struct rtnl_link host = {0};
    int r = endpoint_parse(e, &p, err);
    if (r < 0 || (r = rtnl_open(&outside, err)) < 0 || (r = rtnl_open_in(namespace_fd, &inside, err)) < 0)
        return r;
    bool created = false;
    if (e->kind)
        r = child_make(outside, namespace_fd, e, &p, err);
    else
        r = endpoint_make(n, outside, inside, namespace_fd, e, &p, &host, &created, err);
    if (r < 0)
        return err_wrap(err, "connect %s to %s", e->ifname, e->bridge);
    if (!e->kind)
        r = outer_configure(n, outside, &host, e->bridge, err);
    if (r == 0 && p.address6.address.family)
        r = net__in_namespace(namespace_fd, enable_ipv6, (void *)e->ifname, err);
    if (r == 0)
        r = inner_configure(inside, e, &p, err);
    if (r == 0 && e->sysctls)
        r = net__in_namespace(namespace_fd, apply_sysctls, (void *)e, err);
    if (r < 0) {
        if (created)
            rtnl_link_delete(outside, host.index);
        else if (e->kind)
            net_endpoint_remove(n, namespace_fd, e->ifname, NULL);
        return err_wrap(err, "connect %s to %s", e->ifname, e->bridge);
    }
    snprintf(ret_host_if, 16, "%s", host.name);
    return 0;
}

int net_endpoint_route(struct net *n, int namespace_fd, const char *ifname, const char *gateway,
                       const char *gateway6, struct err *err)
{
    (void)n;
    _cleanup_netlink_ struct mnl_socket *inside = NULL;
    struct rtnl_link link;
    uint32_t v4;
    struct net__ip v6;
    uint8_t bytes[16];
    int r = rtnl_open_in(namespace_fd, &inside, err);
    if (r < 0)
        return r;
    r = rtnl_link_get(inside, ifname, &link);
    if (r == 0 && net__address_parse(gateway, &v4))
        r = rtnl_route_add_default(inside, link.index, htonl(v4), true);
    if (r == 0 && net__ip_parse(gateway6, &v6) && v6.family == AF_INET6) {
        net__ip_bytes(v6, bytes);
        r = rtnl_route6_add_default(inside, link.index, bytes, true);
    }
    return r < 0 ? err_sys(err, -r, "set the default route through %s", ifname) : 0;
}

int net_endpoint_remove(struct net *n, int namespace_fd, const char *ifname, struct err *err)
{
    (void)n;
    _cleanup_netlink_ struct mnl_socket *inside = NULL;
    struct rtnl_link link;
    int r = rtnl_open_in(namespace_fd, &inside, err);
    if (r < 0)
        return r;
    r = rtnl_link_get(inside, ifname, &link);
    if (r == 0)
        r = rtnl_link_delete(inside, link.index);
    return r < 0 && r != -ENODEV ? err_sys(err, -r, "remove %s from the container", ifname) : 0;
}

int net_endpoint_stats(struct net *n, const char *host_if, struct net_stats *ret, struct err *err)
{
    (void)n;
    _cleanup_netlink_ struct mnl_socket *outside = NULL;
    struct rtnl_link link;
    int r = rtnl_open(&outside, err);
    if (r < 0)
        return r;
    r = rtnl_link_get(outside, host_if, &link);
    if (r == -ENODEV)
        return err_set(err, ERR_NOT_FOUND, "there is no interface %s", host_if);
    if (r < 0)
        return err_sys(err, -r, "interface %s", host_if);
    /* What the host's end receives is what the container sent. */
    const struct net_stats *s = &link.stats;
    *ret = (struct net_stats){.rx_bytes = s->tx_bytes,
                              .rx_packets = s->tx_packets,
                              .rx_errors = s->tx_errors,
                              .rx_dropped = s->tx_dropped,
                              .tx_bytes = s->rx_bytes,
                              .tx_packets = s->rx_packets,
                              .tx_errors = s->rx_errors,
                              .tx_dropped = s->rx_dropped};
    return 0;
}
