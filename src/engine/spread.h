/* Service addresses: names, virtual addresses and published ports behind which several containers stand.
 *
 * A *spread* is what one service has on one network. The kernel gives each new connection to one of its
 * targets in turn, and a connection that goes on keeps its target: there is no copying process, and nothing
 * of ours needs to run. These are spread:
 *   - connections of containers of the network (a target's own as well) to the virtual address: of a listed
 *     port to the targets' `target`; of any other tcp, udp or sctp port to the same port of the targets that
 *     are on this machine. The targets see the network's gateway as the peer.
 *   - connections from anywhere to a `published` port of this machine, except from networks that are
 * internal. What no target takes is refused at once, as at a closed port.
 *
 * A target counts while its container runs and is on the network: one that ends, or is disconnected, goes out
 * of the rules before its address can be another's, and comes back when it is started again, with no call.
 * One that does not exist is none; the caller need not race with ends and removals.
 *
 * Spreads and reserved addresses are kept in engine.db and in force for as long as they are not removed: over
 * a restart of serve, during which the kernel's rules stay as they are; after a reboot as soon as the targets
 * run. Setting again what is there changes nothing. engine_spread_list() tells a caller what it may have
 * forgotten. A network with spreads cannot be removed; reserved addresses go with their network.
 *
 * Thread-safe, as engine.h is. */
#ifndef ENGINE_SPREAD_H
#define ENGINE_SPREAD_H

#include "engine/engine.h"

struct engine_spread_port {
    const char *protocol; /* "tcp", "udp", "sctp" */
    uint16_t published;   /* of this machine; 0: none, the port is only behind the virtual address */
    uint16_t target;      /* of the container */
};
struct engine_spread_target { /* one of them: */
    const char *container;    /* full id of a container of this machine that is on `network` */
    const char *address;      /* address of another machine, where each port is at its `published` number */
    const char *far;          /* address on `network` of another machine's container, to which
                                 engine_network_far() leads: for the names and the virtual address alone */
};
struct engine_spread {
    const char *id;       /* the service's, of [a-zA-Z0-9_.-]: with the network, the key */
    const char *network;  /* id or name: what the names and the virtual address are for */
    const char *name;     /* DNS on that network: the virtual address, or all targets when there is none;
                             "tasks.NAME": all targets */
    char *const *aliases; /* further names like `name`; may be NULL */
    const char *address;  /* virtual address, reserved by engine_network_reserve(); NULL: none */
    const struct engine_spread_port *ports;
    size_t port_count;
    const struct engine_spread_target *targets;
    size_t target_count;
};
/* Makes it so, whole: what was set before under the same id and network is replaced in one step; connections
 * that go on keep their target. ERR_NOT_FOUND: the network. ERR_CONFLICT: a published port is "already
 * allocated" to another service or a container, or is a program's. On failure what was set before stays. */
int engine_spread_set(struct engine *e, const struct engine_spread *s, struct err *err);
int engine_spread_remove(struct engine *e, const char *id, const char *network,
                         struct err *err); /* ERR_NOT_FOUND */
/* All that are set: [{"Id", "Network" (its id), "Name", "Address" ("" for none)}]. */
int engine_spread_list(struct engine *e, json_t **ret, struct err *err);

/* A free address of the network that no container gets, kept (also over restarts) under `key` until released.
 * The same key gives the same address again. *ret: "10.0.1.2/24". On a network with IPv6 an address of that
 * is kept with it, and is a spread's virtual address too. */
int engine_network_reserve(struct engine *e, const char *network, const char *key, char **ret,
                           struct err *err);
/* The same with an address that somebody else has chosen, for all machines of a swarm. Another one under the
 * key is given back. ERR_CONFLICT: a container or another key has it, or a spread the former one. */
int engine_network_hold(struct engine *e, const char *network, const char *key, const char *address,
                        struct err *err);
/* The keys under which addresses of the network are kept. */
int engine_network_held(struct engine *e, const char *network, char ***ret, struct err *err);
/* ERR_NOT_FOUND; ERR_CONFLICT while a spread has it. */
int engine_network_release(struct engine *e, const char *network, const char *key, struct err *err);

/* Containers of the network that other machines have (net_far in net/net.h): those of this machine on it and
 * they reach each other by their addresses. The list replaces what was there. An address that a container of
 * this machine has is left out. `names`: [{"Address", "Names": []}] of those of them that are no targets of a
 * spread. Not kept over a reboot, and names not over a restart of serve. ERR_UNAVAILABLE: some machines are
 * on no link of this one. */
struct net_far;
int engine_network_far(struct engine *e, const char *network, const struct net_far *list, size_t count,
                       const json_t *names, struct err *err);

#endif
