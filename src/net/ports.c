/* Published ports: a bound socket that reserves each on the host, and an element of an nftables map that
 * sends what arrives there into the container. */
#include "net/priv.h"

#include "base/log.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct {
    const char *name;
    int protocol, type;
} protocols[] = {
    {"tcp", IPPROTO_TCP, SOCK_STREAM},
    {"udp", IPPROTO_UDP, SOCK_DGRAM},
    {"sctp", IPPROTO_SCTP, SOCK_STREAM},
};

const char *net__protocol_name(int protocol)
{
    for (size_t i = 0; i < ARRAY_SIZE(protocols); i++)
        if (protocols[i].protocol == protocol)
            return protocols[i].name;
    return "?";
}

int net__protocol_of(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(protocols); i++)
        if (str_eq(name, protocols[i].name))
            return protocols[i].protocol;
    return 0;
}

int net__ports_add(struct net *n, const struct net__port *p)
{
    GROW(n->ports, n->port_count, n->port_capacity);
    n->ports[n->port_count++] = *p;
    return 0;
}

void net__ports_done(struct net *n)
{
    for (size_t i = 0; i < n->port_count; i++)
        close_fd(n->ports[i].fd);
    free(n->ports);
    n->ports = NULL;
    n->port_count = n->port_capacity = 0;
}

static int port_addresses(const struct net_port *from, struct net__port *ret, struct err *err)
{
    if (!from->container_port || !net__ip_parse(from->container_ip, &ret->container_ip))
        return err_set(err, ERR_INVALID, "port %u/%s has no container address to go to", from->host_port,
                       from->protocol);
    ret->host_ip = (struct net__ip){.family = ret->container_ip.family};
    if (!str_empty(from->host_ip) && !net__ip_parse(from->host_ip, &ret->host_ip))
        return err_set(err, ERR_INVALID, "host address \"%s\" of a port is not an IP address", from->host_ip);
    if (ret->host_ip.family != ret->container_ip.family)
        return err_set(err, ERR_INVALID,
                       "port %u/%s cannot be published on %s: the container's address %s is of the other "
                       "family",
                       from->host_port, from->protocol, from->host_ip, from->container_ip);
    return 0;
}

static int port_parse(const char *owner, const struct net_port *from, struct net__port *ret, struct err *err)
{
    *ret = (struct net__port){
        .fd = -EBADF, .host_port = from->host_port, .container_port = from->container_port};
    if (!(ret->protocol = net__protocol_of(from->protocol)))
        return err_set(err, ERR_INVALID, "protocol \"%s\" of a port must be tcp, udp or sctp",
                       from->protocol ? from->protocol : "");
    int r = port_addresses(from, ret, err);
    if (r < 0)
        return r;
    if (strlen(owner) >= sizeof(ret->owner) || strpbrk(owner, "\"\\\n") || !*owner)
        return err_set(err, ERR_INVALID, "\"%s\" cannot own a port", owner);
    snprintf(ret->owner, sizeof(ret->owner), "%s", owner);
    return 0;
}

static bool same_ip(struct net__ip a, struct net__ip b)
{
    return a.family == b.family && a.value == b.value;
}

/* Same protocol and port on an address that both cover. */
static bool collide(const struct net__port *a, const struct net__port *b)
{
    return a->protocol == b->protocol && a->host_port == b->host_port &&
           a->host_ip.family == b->host_ip.family &&
           (a->host_ip.value == b->host_ip.value || !a->host_ip.value || !b->host_ip.value);
}

static bool same(const struct net__port *a, const struct net__port *b)
{
    return a->protocol == b->protocol && a->host_port == b->host_port && same_ip(a->host_ip, b->host_ip) &&
           same_ip(a->container_ip, b->container_ip) && a->container_port == b->container_port &&
           str_eq(a->owner, b->owner);
}

/* A socket without SO_REUSEADDR, bound and never listening: nobody else gets the port, and connections never
 * reach it because they are mapped before. Sets host_port when it was 0. */
static int reserve(struct net__port *p, bool reuse)
{
    int type = p->protocol == IPPROTO_UDP ? SOCK_DGRAM : SOCK_STREAM;
    _cleanup_close_ int fd = socket(p->host_ip.family, type | SOCK_CLOEXEC, p->protocol);
    bool v6 = p->host_ip.family == AF_INET6;
    if (fd < 0)
        return -errno;
    if ((reuse && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) < 0) ||
        (v6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){1}, sizeof(int)) < 0))
        return -errno;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } a = {0};
    socklen_t length = v6 ? sizeof(a.v6) : sizeof(a.v4);
    a.any.sa_family = (sa_family_t)p->host_ip.family;
    a.v4.sin_port = htons(p->host_port); /* at the same place in both */
    net__ip_bytes(p->host_ip, v6 ? a.v6.sin6_addr.s6_addr : (uint8_t *)&a.v4.sin_addr);
    if (bind(fd, &a.any, length) < 0 || getsockname(fd, &a.any, &length) < 0)
        return -errno;
    p->host_port = ntohs(a.v4.sin_port);
    p->fd = take_fd(&fd);
    return 0;
}

static int port_conflict(struct net *n, const struct net__port *p, struct err *err)
{
    char host[NET__IP_BYTES];
    net__ip_format(p->host_ip, host);
    const char *protocol = net__protocol_name(p->protocol);
    for (size_t i = 0; i < n->port_count; i++) {
        const struct net__port *other = &n->ports[i];
        const struct net__spread *s = other->spread ? map_get(&n->spreads, other->owner) : NULL;
        if (collide(other, p))
            return err_set(err, ERR_CONFLICT,
                           "Bind for %s:%u failed: port is already allocated: port %u/%s "
                           "is published by %s %.*s",
                           host, p->host_port, p->host_port, protocol, s ? "service" : "container",
                           s ? 64 : 12, s ? json_str(s->doc, "Name") : other->owner);
    }
    _cleanup_str_ struct str owner = STR_INIT;
    if (net__port_owner(p->protocol, p->host_ip, p->host_port, &owner))
        return err_set(err, ERR_CONFLICT,
                       "Bind for %s:%u failed: address already in use: port %u/%s is in use "
                       "by %s",
                       host, p->host_port, p->host_port, protocol, str_get(&owner));
    return err_set(
        err, ERR_CONFLICT,
        "Bind for %s:%u failed: address already in use: port %u/%s is reserved by a program that is not "
        "listening, as another Drover or a container engine does",
        host, p->host_port, p->host_port, protocol);
}

static bool collides(const struct net *n, const struct net__port *p)
{
    for (size_t i = 0; i < n->port_count; i++)
        if (collide(&n->ports[i], p))
            return true;
    return false;
}

/* The kernel has no SCTP sockets here: our own list is what keeps these ports apart. */
static int reserve_by_list(struct net *n, struct net__port *p, struct err *err)
{
    for (int attempt = 0; attempt < 1000 && !p->host_port; attempt++) {
        uint16_t random;
        must(getrandom(&random, sizeof(random), 0) == sizeof(random));
        p->host_port = (uint16_t)(32768 + random % (60999 - 32768 + 1));
        if (collides(n, p))
            p->host_port = 0;
    }
    return p->host_port ? 0 : err_set(err, ERR_LIMIT, "no sctp port is free");
}

/* A port of the kernel's choice, but none whose rule is there while its reservation is not: of a container
 * that an earlier process published, and whose turn to be adopted is yet to come. */
static int reserve_any(const struct net *n, struct net__port *p)
{
    for (int attempt = 0; attempt < 100; attempt++) {
        p->host_port = 0;
        int r = reserve(p, false);
        if (r < 0 || !collides(n, p))
            return r;
        p->fd = close_fd(p->fd);
    }
    return -EADDRINUSE;
}

static int port_reserve(struct net *n, struct net__port *p, struct err *err)
{
    if (p->host_port && collides(n, p))
        return port_conflict(n, p, err);
    bool any = !p->host_port;
    int r = any ? reserve_any(n, p) : reserve(p, false);
    /* Closed connections of a program that has gone hold a port for a minute: that is no owner. */
    _cleanup_str_ struct str owner = STR_INIT;
    if (r == -EADDRINUSE && !any && p->protocol == IPPROTO_TCP &&
        !net__port_owner(p->protocol, p->host_ip, p->host_port, &owner))
        r = reserve(p, true);
    if (r == -EPROTONOSUPPORT || r == -ESOCKTNOSUPPORT)
        return reserve_by_list(n, p, err);
    char host[NET__IP_BYTES];
    net__ip_format(p->host_ip, host);
    switch (r) {
    case 0:
        return 0;
    case -EADDRINUSE:
        if (!any)
            return port_conflict(n, p, err);
        return err_set(err, ERR_LIMIT, "no %s port is free on %s: see net.ipv4.ip_local_port_range",
                       net__protocol_name(p->protocol), host);
    case -EADDRNOTAVAIL:
        return err_set(err, ERR_INVALID, "cannot publish on %s: it is not an address of this machine", host);
    default:
        return err_sys(err, -r, "reserve port %u/%s on %s", p->host_port, net__protocol_name(p->protocol),
                       host);
    }
}

void net_set_forwarder(struct net *n, const struct net_forwarder *forwarder)
{
    n->forwarder = *forwarder;
}

static int forward(struct net *n, const struct net__port *p, const char *host_ip, struct err *err)
{
    return n->forwarder.add ? n->forwarder.add(n->forwarder.context, net__protocol_name(p->protocol), host_ip,
                                               p->host_port, err)
                            : 0;
}

static void unforward(struct net *n, const struct net__port *p)
{
    struct err err = {0};
    if (n->forwarder.remove &&
        n->forwarder.remove(n->forwarder.context, net__protocol_name(p->protocol), p->host_port, &err) < 0)
        log_warning("port %u/%s stays forwarded: %s", p->host_port, net__protocol_name(p->protocol), err.msg);
}

/* A port that was free to choose is chosen again when it is taken at the forwarder. */
int net__port_reserve(struct net *n, struct net__port *p, const char *host_ip, struct err *err)
{
    uint16_t asked = p->host_port;
    for (int attempt = 0;; attempt++) {
        p->host_port = asked;
        int r = port_reserve(n, p, err);
        if (r < 0)
            return r;
        r = forward(n, p, host_ip, err);
        if (r == 0)
            return 0;
        p->fd = close_fd(p->fd);
        if (asked || r != -ERR_CONFLICT || attempt == 100)
            return r;
    }
}

/* A port of the kernel's choice that is free for the entry before `p`, which is of the other family and
 * already in the mirror, as well: both move to another one until there is one. */
static int reserve_twin(struct net *n, struct net__port *p, const char *host_ip, bool chosen, struct err *err)
{
    for (int attempt = 0;; attempt++) {
        struct net__port *first = &n->ports[n->port_count - 1];
        p->host_port = first->host_port;
        int r = net__port_reserve(n, p, host_ip, err);
        if (r != -ERR_CONFLICT || !chosen || attempt == 100)
            return r;
        struct net__port again = *first;
        n->port_count--;
        again.host_port = 0;
        again.fd = -EBADF;
        r = net__port_reserve(n, &again, host_ip, err); /* while the old one is still held: another one */
        net__port_release(n, first);
        if (r < 0)
            return r;
        net__ports_add(n, &again);
    }
}

/* One that is published already (by us, or by the process before us). */
static struct net__port *find_same(struct net *n, const struct net__port *p)
{
    for (size_t i = 0; i < n->port_count; i++)
        if (same(&n->ports[i], p))
            return &n->ports[i];
    return NULL;
}

void net__port_release(struct net *n, const struct net__port *p)
{
    unforward(n, p);
    close_fd(p->fd);
}

/* A rule that outlived its process: the reservation is taken anew. */
static int adopt(struct net__port *p, struct err *err)
{
    if (p->fd >= 0)
        return 0;
    struct net__port copy = *p;
    int r = reserve(&copy, false);
    if (r == -EADDRINUSE && copy.protocol == IPPROTO_TCP)
        r = reserve(&copy, true);
    if (r == -EPROTONOSUPPORT || r == -ESOCKTNOSUPPORT)
        return 0;
    if (r < 0) {

        char host[NET__IP_BYTES];
        net__ip_format(p->host_ip, host);
        return err_sys(err, -r, "port %u/%s on %s was taken while Drover was away", p->host_port,
                       net__protocol_name(p->protocol), host);
    }
    p->fd = copy.fd;
    return 0;
}

int net__port_adopt(struct net *n, struct net__port *p, const char *host_ip, struct err *err)
{
    int r = adopt(p, err);
    return r == 0 ? forward(n, p, host_ip, err) : r;
}

static void drop_from(struct net *n, size_t first)
{
    for (size_t i = first; i < n->port_count; i++)
        net__port_release(n, &n->ports[i]);
    n->port_count = first;
}

static int withdraw_locked(struct net *n, const char *owner, struct err *err);

/* A container that was published with another address before (a crash lost the withdrawal). */
static bool outdated(struct net *n, const char *owner, const struct net_port *ports, size_t count)
{
    for (size_t k = 0; k < count; k++) {
        struct net__port p;
        if (port_parse(owner, &ports[k], &p, NULL) < 0)
            continue;
        if (n->forwarder.add)
            p.host_ip.value = 0;
        for (size_t i = 0; i < n->port_count; i++)
            if (str_eq(n->ports[i].owner, owner) && collide(&n->ports[i], &p) &&
                !same_ip(n->ports[i].container_ip, p.container_ip))
                return true;
    }
    return false;
}

static int publish_locked(struct net *n, const char *owner, struct net_port *ports, size_t count,
                          struct err *err)
{
    int r = net__firewall_load(n, err);
    if (r < 0)
        return r;
    if (outdated(n, owner, ports, count) && (r = withdraw_locked(n, owner, err)) < 0)
        return r;
    size_t first = n->port_count;
    _cleanup_str_ struct str commands = STR_INIT;
    _cleanup_free_ uint16_t *chosen = NEW_N(uint16_t, count + 1);
    for (size_t i = 0; r == 0 && i < count; i++) {
        struct net__port p, *old;
        if ((r = port_parse(owner, &ports[i], &p, err)) < 0)
            break;
        if (n->forwarder.add)
            p.host_ip.value = 0;
        if ((old = find_same(n, &p))) {
            chosen[i] = p.host_port;
            r = net__port_adopt(n, old, ports[i].host_ip, err);
            continue;
        }
        if (ports[i].twin && n->port_count > first) {
            r = reserve_twin(n, &p, ports[i].host_ip, !ports[i - 1].host_port, err);
            chosen[i - 1] = p.host_port;
        } else
            r = net__port_reserve(n, &p, ports[i].host_ip, err);
        if (r < 0)
            break;
        chosen[i] = p.host_port;
        net__ports_add(n, &p);
    }
    for (size_t i = first; i < n->port_count; i++)
        net__firewall_add_port(n, &commands, "add", &n->ports[i]);
    if (r == 0 && commands.len)
        r = net__firewall_run(n, str_get(&commands), err);
    if (r < 0) {
        drop_from(n, first);
        return r;
    }
    for (size_t i = first; i < n->port_count; i++)
        net__conntrack_forget(&n->ports[i]);
    for (size_t i = 0; i < count; i++)
        ports[i].host_port = chosen[i];
    return 0;
}

int net_ports_publish(struct net *n, const char *owner, struct net_port *ports, size_t count, struct err *err)
{
    if (!count)
        return 0;
    pthread_mutex_lock(&n->lock);
    int r = publish_locked(n, owner, ports, count, err);
    pthread_mutex_unlock(&n->lock);
    return r;
}

static int withdraw_locked(struct net *n, const char *owner, struct err *err)
{
    int r = net__firewall_load(n, err);
    if (r < 0)
        return r;
    _cleanup_str_ struct str commands = STR_INIT;
    size_t kept = 0, count = n->port_count;
    _cleanup_free_ struct net__port *gone = NEW_N(struct net__port, count + 1);
    size_t gone_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (!str_eq(n->ports[i].owner, owner)) {
            n->ports[kept++] = n->ports[i];
            continue;
        }
        net__firewall_add_port(n, &commands, "delete", &n->ports[i]);
        gone[gone_count++] = n->ports[i];
    }
    n->port_count = kept;
    if (gone_count && (r = net__firewall_run(n, str_get(&commands), err)) < 0) {
        for (size_t i = 0; i < gone_count; i++)
            net__ports_add(n, &gone[i]);
        return r;
    }
    for (size_t i = 0; i < gone_count; i++) {
        net__conntrack_forget(&gone[i]);
        net__port_release(n, &gone[i]);
    }
    return 0;
}

int net_ports_withdraw(struct net *n, const char *owner, struct err *err)
{
    pthread_mutex_lock(&n->lock);
    int r = withdraw_locked(n, owner, err);
    pthread_mutex_unlock(&n->lock);
    return r;
}
