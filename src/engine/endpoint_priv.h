/* What the files about containers on networks share: endpoint_plan.c (what a container asks for), endpoint.c
 * (a run's addresses and interfaces), ports.c (a run's published ports), connect.c (changes by request).
 *
 * A container's net document is {"Networks": {name: Docker's EndpointSettings}, "Ports": {"80/tcp":
 * [{"HostIp","HostPort"}]}, "Host": {name: {"ifname","host_if","routed"}}}. Names, wishes (IPAMConfig,
 * Aliases, Links, DriverOpts, WishedMac) and network ids stay; addresses, Ports and Host are of the present
 * run. "routed": the default route leaves this way, and published ports lead here. */
#ifndef ENGINE_ENDPOINT_PRIV_H
#define ENGINE_ENDPOINT_PRIV_H

#include "engine/engine_priv.h"

/* Adds one network to a plan; engine.lock held. `wished` may be NULL; `mac` is used when it names none.
 * `task`: of a service. */
int endpoint__plan_one(struct engine *e, const char *ref, const json_t *wished, const char *mac, bool task,
                       json_t *networks, struct err *err);

/* --- network_attach.c: the swarm gives the address --- */
bool attach__is(const struct network *n, const json_t *settings);
/* Of a container that has taken its place; NULL: it has none. */
json_t *attach__request(struct engine *e, const char *network, const struct container *c,
                        const json_t *settings);
int attach__ask(struct engine *e, const json_t *attachment, bool wait, char **ret, struct err *err);

/* Connects one network; fills settings and the Host part. `gateway` says whether the default route goes this
 * way. */
int endpoint__connect_one(struct container *c, const char *name, json_t *settings, json_t *host, int netns_fd,
                          int index, bool gateway, struct err *err);
void endpoint__forget(struct container *c, const char *network_id); /* out of the network's table */
void endpoint__event(struct container *c, const char *action, const char *network_id, const char *name,
                     const char *driver);

/* Has names answered at 127.0.0.11 by the first network that answers for them. */
int endpoint__resolver(struct container *c, const json_t *net, int netns_fd, bool fresh, struct err *err);
void endpoint__clear(json_t *settings);          /* what is of a run goes */
const char *endpoint__routed(const json_t *net); /* the network whose interface is the way out, or NULL */
/* The network that is to be the way out: of those that lead out the one of the highest GwPriority, the first
 * of equals. `wired`: of those that have a gateway in the present run. NULL: none leads out. */
const char *endpoint__way_out(struct engine *e, const json_t *net, bool wired);
bool endpoint__internal(struct engine *e, const json_t *settings);

/* Publishes what the container's document asks for at its routed network's addresses; fills net's Ports. */
int ports__publish(struct container *c, const json_t *doc, json_t *net, struct err *err);
/* Says a container's name where src/net could only know its id. */
int ports__name_the_owner(struct engine *e, struct err *err);
/* Publishes again what net's Ports tell. */
int ports__restore(struct container *c, const json_t *net, struct err *err);

#endif
