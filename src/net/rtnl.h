/* The kernel's links, addresses and routes through rtnetlink (libmnl): what `ip` would do, without the
 * program.
 *
 * A socket belongs to the network namespace of the thread that opened it and may be used from another; one
 * thread at a time. Lists may show a thing twice (netlink_talk). Calls return 0 or a negative errno, so that
 * callers can tell "exists already" from a failure; they turn it into a struct err with their own words.
 * Addresses are in network byte order. */
#ifndef NET_RTNL_H
#define NET_RTNL_H

#include "base/netlink.h"

#include "net/net.h"

#include <linux/netlink.h>
#include <stdbool.h>
#include <stdint.h>

/* What ends with netlink_close(). */
static inline int rtnl_open(struct mnl_socket **ret, struct err *err)
{
    return netlink_open(NETLINK_ROUTE, ret, err);
}

struct rtnl_link {
    int index, master, peer; /* peer: IFLA_LINK, for a veth the index of its other end */
    char name[16], kind[16];
    int mtu;
    uint8_t mac[6];
    bool up;
    struct net_stats stats; /* as counted by the link itself */
};
int rtnl_link_get(struct mnl_socket *s, const char *name, struct rtnl_link *ret);
int rtnl_link_get_index(struct mnl_socket *s, int index, struct rtnl_link *ret);
typedef void (*rtnl_link_fn)(void *context, const struct rtnl_link *link);
int rtnl_link_list(struct mnl_socket *s, rtnl_link_fn fn, void *context);
int rtnl_link_delete(struct mnl_socket *s, int index);
/* mtu 0: leave. */
int rtnl_link_set(struct mnl_socket *s, int index, bool up, int mtu);
/* A bridge port's flags. hairpin: frames may go back where they came from. isolated: it cannot talk to other
 * isolated ports, only to the bridge itself. */
int rtnl_port_set(struct mnl_socket *s, int index, bool hairpin, bool isolated);

int rtnl_bridge_add(struct mnl_socket *s, const char *name, const uint8_t mac[6], int mtu);
/* Both ends at once: `host` here, a port of `master`; `peer` down in the namespace. */
int rtnl_veth_add(struct mnl_socket *s, const char *host, int master, int mtu, int peer_namespace_fd,
                  const char *peer, const uint8_t peer_mac[6]);

/* An interface of another kind: "macvlan", "ipvlan" (below `parent`), "vlan" (mode: its number), "dummy". */
struct rtnl_child {
    const char *kind, *name;
    int parent;         /* 0: none */
    int namespace_fd;   /* where it is to be; negative: here */
    const uint8_t *mac; /* NULL: the kernel's choice */
    int mtu;            /* 0: the kernel's choice */
    uint32_t mode;
    uint16_t flags;
};
int rtnl_child_add(struct mnl_socket *s, const struct rtnl_child *c);

int rtnl_address_add(struct mnl_socket *s, int index, uint32_t address, int bits);
int rtnl_address_delete(struct mnl_socket *s, int index, uint32_t address, int bits);
/* "ADDRESS/32 via GATEWAY", in the place of another way there; or none any more. -ENETUNREACH: the gateway is
 * on no link. */
int rtnl_route_set(struct mnl_socket *s, uint32_t address, uint32_t gateway, bool there);
/* Whether the link answers for an address that is reached through another one. */
int rtnl_proxy_set(struct mnl_socket *s, int index, uint32_t address, bool there);
/* gateway 0: by the link alone. `replace`: in the place of another default route; else -EEXIST when there is
 * one. */
int rtnl_route_add_default(struct mnl_socket *s, int index, uint32_t gateway, bool replace);
/* IPv6: usable at once, without asking the neighbours whether it is taken (we know). */
int rtnl_address6_add(struct mnl_socket *s, int index, const uint8_t address[16], int bits);
int rtnl_address6_delete(struct mnl_socket *s, int index, const uint8_t address[16], int bits);
int rtnl_route6_add_default(struct mnl_socket *s, int index, const uint8_t gateway[16], bool replace);
/* IPv4 addresses (index > 0 only those of that link; 0 all), and destinations of the main table's routes. */
typedef void (*rtnl_net_fn)(void *context, int index, uint32_t address, int bits);
int rtnl_address_list(struct mnl_socket *s, int index, rtnl_net_fn fn, void *context);
int rtnl_route_list(struct mnl_socket *s, rtnl_net_fn fn, void *context);

#endif
