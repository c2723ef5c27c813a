/* What the files about containers on networks share: endpoint_plan.c (what a container asks for), endpoint.c
 * (a run's addresses and interfaces), ports.c (a run's published ports), connect.c (changes by request).
 *
 * A container's net document is {"Networks": {name: Docker's EndpointSettings}, "Ports": {"80/tcp":
 * [{"HostIp","HostPort"}]}, "Host": {name: {"ifname","host_if"}}}. Names, wishes (IPAMConfig, Aliases) and
 * network ids stay; addresses, Ports and Host are of the present run. */
#ifndef ENGINE_ENDPOINT_PRIV_H
#define ENGINE_ENDPOINT_PRIV_H

#include "engine/engine_priv.h"

/* Adds one network to a plan; engine.lock held. `wished` may be NULL. */
int endpoint__plan_one(struct engine *e, const char *ref, const json_t *wished, const char *id,
                       json_t *networks, struct err *err);

/* Connects one network; fills settings and the Host part. `gateway` says whether the default route goes this
 * way. */
int endpoint__connect_one(struct container *c, const char *name, json_t *settings, json_t *host, int netns_fd,
                          int index, bool gateway, struct err *err);
void endpoint__forget(struct container *c, const char *network_id); /* out of the network's table */
void endpoint__event(struct container *c, const char *action, const char *network_id, const char *name,
                     const char *driver);

/* Publishes what the container's document asks for on `address` and fills net's Ports. */
int ports__publish(struct container *c, const json_t *doc, json_t *net, const char *address, struct err *err);
/* Publishes again what net's Ports tell. */
int ports__restore(struct container *c, const json_t *net, const char *address, struct err *err);

#endif
