/* What the files about networks share: network.c (the table), network_ipam.c (subnets), network_options.c
 * (drivers and their options), network_api.c (requests). */
#ifndef ENGINE_NETWORK_PRIV_H
#define ENGINE_NETWORK_PRIV_H

#include "engine/engine_priv.h"

struct network *network__by_name(struct engine *e, const char *name); /* the first of that name */
/* A new network of a checked document, made in the kernel and kept; engine.lock held. Takes `doc`. */
int network__add(struct engine *e, json_t *doc, struct network **ret, struct err *err);
int network__delete(struct engine *e, struct network *n, struct err *err); /* engine.lock held */
/* Whether a container, running or not, has the network; engine.lock held. */
bool network__used(struct engine *e, const struct network *n);

/* Names for the DNS process, as they are gathered. */
struct network__names {
    struct net_name *list; /* `names` of each is the list's own, the rest is borrowed */
    size_t count, capacity;
};
enum { NETWORK_NAME_BYTES_MAX = 253 };
bool network__can_be_asked_for(const char *name); /* in a query */
char **network__endpoint_names(struct engine *e, const char *container_id, const struct endpoint *ep);
/* Each alone, and with the network's name behind it, for those on several networks. Takes `names`. */
char **network__with_its_name(const struct network *n, char **names);

/* --- endpoint.c --- */
char **network__taken_addresses(const struct network *n, bool ipv6); /* engine.lock held; the caller frees */
/* An address of one family: the one asked for (""), or the first that is free in any of the subnets. NULL
 * when the network has none of the family. engine.lock held. */
int network__free_address(const struct network *n, bool ipv6, const char *wished, char **ret,
                          struct err *err);

/* --- network_far.c; engine.lock held --- */
void network__add_far_names(struct engine *e, struct network__names *to);

/* --- spread.c, network_reserve.c; engine.lock held --- */
void spread__add_names(struct engine *e, struct network__names *to);
/* The name of a service that has this virtual address on the network, or (address NULL) is on it; or NULL. */
const char *spread__user(struct engine *e, const struct network *n, const char *address);
int reserve__load_all(struct engine *e, struct err *err);
void reserve__free(void *reservation);
void reserve__add_taken(const struct network *n, bool ipv6, char ***taken);

/* --- network_ipam.c --- */
/* Fills "Subnets" of a document: what its IPAM asks for, and what is missing from the default pools.
 * engine.lock held. */
int ipam__assign(struct engine *e, json_t *doc, struct err *err);
void ipam__load(struct network *n, const json_t *doc); /* the struct's from the document's */
/* IPAM as Docker shows it: as asked for, and what was picked. */
json_t *ipam__shown(const struct network *n, const json_t *doc);

/* --- network_options.c --- */
/* ERR_NOT_FOUND and ERR_DENIED in Docker's words for drivers that are not done. `swarm`: see
 * engine_network_create_swarm(). */
int network__check_driver(const char *driver, bool swarm, struct err *err);
int network__check_options(const json_t *doc, struct err *err);
void network__load_options(struct network *n, const json_t *doc);
/* Copies what a network takes over from a configuration network. engine.lock held. */
int network__apply_config(struct engine *e, json_t *doc, struct err *err);
int network__check_parent(struct engine *e, const json_t *doc, struct err *err);

#endif
