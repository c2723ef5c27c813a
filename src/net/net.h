/* One machine's networks: bridges, container interfaces, addresses, published ports (nftables), names (DNS).
 *
 * Everything an instance makes carries its `prefix` (derived from the root directory), so that several can
 * run side by side: bridges "<prefix>xxxxxxxx" (15 bytes at most), one nftables table "inet drover_<prefix>".
 * Everything here is idempotent: it is called again after a restart with the same values, and net_reconcile()
 * removes what is no longer wanted.
 *
 * What the kernel is told: a veth pair a container, whose host end is a port of the bridge; IPv4, and IPv6 on
 * those networks that have a subnet of it (elsewhere it is off, but for ::1). Networks do not reach each
 * other but through published ports; an internal one reaches nothing else, in no direction, and resolves only
 * its own names. From outside only published ports come in; 127.0.0.0/8 is never reachable from another
 * interface, although bridges have route_localnet set. Outgoing packets are masqueraded. Rules are in
 * firewall.c; elements of sets and maps are what changes, and their comments tell a new process what an
 * earlier one published.
 *
 * Another firewall on the machine that drops forwarded packets (Docker's, ufw's) has to let the bridges
 * through, since no table can accept what another drops: a warning tells how. One that drops incoming packets
 * must let containers reach the DNS process: bridges "<prefix>+", the port in <state_dir>/dns.table, udp and
 * tcp.
 *
 * Containers ask for names at their gateway, port 53, which nftables redirects to the DNS process's own port:
 * so a published port 53 or a resolver of the host is never in its way.
 *
 * Thread-safe. Errors name the cause: the missing kernel part, the port's owner, the overlapping subnet. */
#ifndef NET_NET_H
#define NET_NET_H

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct net;

/* `prefix`: 1 to 6 lower-case letters and digits, a letter first. `state_dir` holds the DNS process's table,
 * socket, lock and log. The binary started for it, and for the process that speaks to nftables, is the
 * running one when it is named drover, or the one that the environment's DROVER_BINARY names. */
int net_open(const char *state_dir, const char *prefix, struct net **ret, struct err *err);
void net_close(struct net *n); /* kernel state stays: containers live on */
/* Removes every bridge, table and the DNS process of this instance: after all its containers have gone. */
int net_teardown(struct net *n, struct err *err);

struct net_bridge {
    const char
        *name; /* interface name, from net_bridge_name() or the user's com.docker.network.bridge.name */
    const char *subnet;             /* "172.20.0.0/16" */
    const char *gateway;            /* "172.20.0.1" */
    const char *subnet6, *gateway6; /* NULL: no IPv6 */
    bool internal;                  /* no way out, no masquerade */
    bool routed;                    /* a way out with the containers' own addresses: no masquerade */
    bool icc;                       /* containers reach each other; normally true */
    int mtu;                        /* 0: 1500 */
};
void net_bridge_name(struct net *n, const char *network_id, char out[16]);
int net_bridge_ensure(struct net *n, const struct net_bridge *b, struct err *err);
int net_bridge_remove(struct net *n, const char *name, struct err *err);

/* Where subnets come from that nobody chose: `base` is cut into subnets of `size` bits. */
struct net_pool {
    const char *base; /* "172.17.0.0/16", "fd12:3456:789a::/48" */
    int size;
};
int net_pool_check(const struct net_pool *p, struct err *err);
/* Picks the first subnet of the pools that is free of `taken` (NULL-terminated CIDRs), of the host's routes
 * and addresses. The caller frees *ret. */
int net_subnet_pick(bool ipv6, const struct net_pool *pools, size_t count, char *const *taken, char **ret,
                    struct err *err);
/* "10.0.1.5/24" as "10.0.1.0/24". */
int net_subnet_canonical(const char *subnet, char **ret, struct err *err);
/* "172.20.0.0/16" valid, canonical, of use, and (ERR_DENIED) not overlapping `taken`. */
int net_subnet_check(const char *subnet, char *const *taken, struct err *err);
/* First free host address of `subnet` (or of `range` within it), not in `taken`. "172.20.0.2". None free is
 * ERR_UNAVAILABLE. */
int net_address_pick(const char *subnet, const char *range, char *const *taken, char **ret, struct err *err);
/* How many addresses of `subnet` are in use, with those that no host can have, and how many of `range` (NULL:
 * of all) are not; at most INT64_MAX. `taken` may have others, and some twice. */
void net_subnet_usage(const char *subnet, const char *range, char *const *taken, int64_t *ret_used,
                      int64_t *ret_free);
char *net_address_canonical(const char *address); /* NULL: it is none */
bool net_address_is_ipv6(const char *address);
bool net_address_in_subnet(const char *address, const char *subnet);

/* A new network namespace with `lo` up, known only by its descriptor. */
int net_namespace_new(int *ret_fd, struct err *err);
/* The same for one that somebody else has made. */
int net_namespace_prepare(int fd, struct err *err);
/* As net_namespace_new(), from a few that were made in advance (or made now, when none is left): a start does
 * not wait for the kernel to build one. A background thread makes the next ones: 4 after the first was taken,
 * twice as many whenever there were too few, 32 at most; halved after each half minute in which half were not
 * needed. After two minutes without use there are none, and no thread (a namespace takes some hundred
 * kilobytes of the kernel's memory). Known only by descriptors of this process they go with it, however it
 * ends. None is used twice. What a namespace inherits from the machine (net.ipv4.conf) is of when it was
 * made; the oldest goes first. */
int net_namespace_take(struct net *n, int *ret_fd, struct err *err);

/* What the interfaces of a macvlan or ipvlan network hang below: an interface of the machine's; "eth0.10" is
 * made when there is eth0; NULL or "": a dummy of our own, which leads nowhere. *ret_made: to be removed with
 * the network. */
int net_parent_ensure(struct net *n, const char *network_id, const char *parent, char ret_name[16],
                      bool *ret_made, struct err *err);
int net_parent_remove(struct net *n, const char *name, struct err *err);

struct net_endpoint {
    const char *kind, *mode, *flag; /* "macvlan" or "ipvlan" below `bridge`; NULL: a port of that bridge */
    bool link_route;                /* the default route goes out by the link, without a gateway */
    const char *bridge;
    const char *ifname;              /* inside: "eth0" */
    const char *address;             /* with prefix length: "172.20.0.2/16" */
    const char *address6, *gateway6; /* the same of IPv6; NULL: none */
    char *const *sysctls;            /* "ipv4/conf/eth0/log_martians=1", below /proc/sys/net; or NULL */
    char *const *more;               /* further addresses with their lengths: link-local ones; or NULL */
    const char *mac;                 /* NULL: derived from the address, as Docker does: 02:42:ac:14:00:02 */
    const char *gateway;             /* default route through it; NULL: none */
};
/* Adds the interface to a namespace (new or of a running container); *ret_host_if (16 bytes) is the host's
 * end. */
int net_endpoint_add(struct net *n, int namespace_fd, const struct net_endpoint *e, char ret_host_if[16],
                     struct err *err);
/* Names are answered at 127.0.0.11 too, as programs made for Docker expect: by `gateway`. `fresh`: a
 * namespace that has no resolver yet. */
int net_resolver_set(int namespace_fd, const char *gateway, bool fresh, struct err *err);
/* The default routes through an interface that is there, instead of those there may be; "" leaves one out. */
int net_endpoint_route(struct net *n, int namespace_fd, const char *ifname, const char *gateway,
                       const char *gateway6, struct err *err);
int net_endpoint_remove(struct net *n, int namespace_fd, const char *ifname, struct err *err);

struct net_stats {
    uint64_t rx_bytes, rx_packets, rx_errors, rx_dropped, tx_bytes, tx_packets, tx_errors, tx_dropped;
};
int net_endpoint_stats(struct net *n, const char *host_if, struct net_stats *ret,
                       struct err *err); /* as seen from inside */

/* Published ports, mapped by the kernel. The host port is reserved by a bound socket, so that no other
 * program takes it and a conflict is found here: ERR_CONFLICT "port 8080/tcp is in use by nginx (pid 812)".
 * Reach from outside, from this machine's own addresses, from 127.0.0.1 and from other containers. */
struct net_port {
    const char *owner;        /* container id */
    const char *protocol;     /* tcp, udp, sctp */
    const char *host_ip;      /* "", 0.0.0.0 or ::: all of the container address's family */
    uint16_t host_port;       /* 0: choose; filled in */
    const char *container_ip; /* of the host address's family */
    uint16_t container_port;
    bool twin; /* the same host port as the one before it in the list, which is of the other family */
};
/* All of one owner at once: all or none. host_port is filled where it was 0 (from 32768-60999, outside
 * reserved). */
int net_ports_publish(struct net *n, const char *owner, struct net_port *ports, size_t count,
                      struct err *err);
int net_ports_withdraw(struct net *n, const char *owner, struct err *err);

/* Where the machine's ports are somebody else's (a Drover without root: our namespace is not the machine's),
 * a forwarder brings each published port to the same port of this namespace. Host addresses are then its
 * affair: here a port is published on all. Both calls are idempotent. Before the first publication. */
struct net_forwarder {
    void *context; /* borrowed */
    int (*add)(void *context, const char *protocol, const char *host_ip, uint16_t port, struct err *err);
    int (*remove)(void *context, const char *protocol, uint16_t port, struct err *err);
};
void net_set_forwarder(struct net *n, const struct net_forwarder *forwarder);

/* Connections that the kernel spreads over targets: those of containers on `bridge` to a virtual address, and
 * those from anywhere to published ports of this machine. Each connection gets the next target in turn and
 * keeps it, whatever is set later. What no target takes is refused at once, and a program of the machine that
 * listens on all its addresses is not reached at the virtual one.
 *
 * A listed port of the virtual address leads to `target` of a container, and to `published` of another
 * machine (not at all when that is 0); any other port to the same port of a container. Those that are `far`
 * are behind the virtual address alone, and published ports lead to their machines. A connection that
 * comes from one of the other machines goes to a target here while there is any: it is not sent on in
 * circles.
 *
 * Published ports are reserved as those of net_ports_publish() are, with the same conflicts. */
struct net_spread_port {
    const char *protocol; /* tcp, udp, sctp */
    uint16_t published;   /* 0: not */
    uint16_t target;
};
struct net_spread_target {
    const char *address, *address6; /* either may be NULL; of another machine exactly one is given */
    bool remote;                    /* another machine, where ports are the published ones */
    bool far;                       /* a container that net_far_set() leads to */
};
struct net_spread {
    const char *key;                /* unique */
    const char *name;               /* for messages */
    const char *bridge;             /* where the virtual address is; it exists */
    const char *address, *address6; /* the virtual one, without prefix length; or NULL */
    bool ipv6;                      /* published on IPv6 as well */
    const struct net_spread_port *ports;
    size_t port_count;
    const struct net_spread_target *targets;
    size_t target_count;
};
/* Replaces what the key had, in one step; on failure that stays. */
int net_spread_set(struct net *n, const struct net_spread *s, struct err *err);
int net_spread_remove(struct net *n, const char *key, struct err *err); /* nothing there is no error */
/* Ends what the kernel remembers of datagrams to an address that no container has any more. */
void net_spread_forget_target(struct net *n, const char *address);

/* Containers of a bridge's network that run on other machines of a link of this one (IPv4): with the bridge's
 * own containers they reach each other by their addresses, unchanged and without encapsulation, and nothing
 * else reaches them or comes from them. The other machine has to have the same set. */
struct net_far {
    const char *address; /* "10.0.1.9", within the bridge's subnet */
    const char *via;     /* its machine's, on a link of this one */
    const char *mac;     /* of that machine on that link: no other sends packets of the container */
};
/* Replaces the bridge's, in one step; to be called again after an interface was down. They go with the
 * bridge. ERR_UNAVAILABLE: some machines are on no link of this one. ERR_INVALID: some cannot be what is said
 * of them. The others' containers are in force. */
int net_far_set(struct net *n, const char *bridge, const struct net_far *list, size_t count, struct err *err);
bool net_far_has(struct net *n, const char *bridge, const char *address); /* in force */

/* Names. The table is replaced whole; the DNS process (`drover dns`, restarted when it dies, alive when serve
 * is not) reads it and answers on each bridge's gateway address, port 53: A, AAAA, PTR for what it
 * knows; the rest goes to the host's resolvers. A client sees the names of the networks it is on; which those
 * are follows from its source address. */
struct net_name {
    const char *network; /* id */
    const char *bridge;
    const char *address;  /* without prefix length */
    const char *address6; /* or NULL */
    char *const *names;   /* container name, short id, service, aliases */
    char *const *links;   /* "NAME:ALIAS": names that the owner alone knows for others; or NULL */
    const char *owner;    /* container id, so that one on several networks sees the names of all; or NULL */
};
int net_names_set(struct net *n, const struct net_name *names, size_t count, struct err *err);
/* `drover dns STATE_DIR`: the process itself; returns its exit status. */
int net_dns_main(int argc, char **argv);
/* `drover nft`: the process that libnftables runs in, asked over its stdin; returns its exit status. */
int net_nft_main(void);

/* Removes bridges, port rules and spreads of this instance that are not listed (after a crash).
 * NULL-terminated lists. */
int net_reconcile(struct net *n, char *const *bridges, char *const *port_owners, char *const *spreads,
                  struct err *err);

#endif
