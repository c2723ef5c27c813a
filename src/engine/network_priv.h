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

/* --- network_ipam.c --- */
/* Fills "Subnets" of a document: what its IPAM asks for, and what is missing from the default pools.
 * engine.lock held. */
int ipam__assign(struct engine *e, json_t *doc, struct err *err);
void ipam__load(struct network *n, const json_t *doc); /* the struct's from the document's */
/* IPAM as Docker shows it: as asked for, and what was picked. */
json_t *ipam__shown(const struct network *n, const json_t *doc);

/* --- network_options.c --- */
/* ERR_NOT_FOUND and ERR_DENIED in Docker's words for drivers that are not done. */
int network__check_driver(const char *driver, struct err *err);
int network__check_options(const json_t *doc, struct err *err);
void network__load_options(struct network *n, const json_t *doc);
/* Copies what a network takes over from a configuration network. engine.lock held. */
int network__apply_config(struct engine *e, json_t *doc, struct err *err);
int network__check_parent(struct engine *e, const json_t *doc, struct err *err);

#endif
