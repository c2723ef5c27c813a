/* Containers that are no tasks, on the swarm's attachable networks ("attachments"): `docker run --network`.
 *
 * Each node says which it has; who leads gives their addresses, for all machines, and tells the others of
 * them. A node's object has its attachments, on disk before an address is used: {"CONTAINER.NETWORK":
 * {"Container", "Network", "Run", "Names", "Address": "10.0.1.5/24"}}, as the engine asks for them
 * (engine_attach_fn). The node knows its own with what it is assigned, and so has their addresses again after
 * a reboot while nobody leads.
 *
 * A run's end gives its address back, but not before its container is past all restarts: whatever the engine
 * has and the object has not is asked for, what the object has and the engine has not is given back
 * (attach__settle()), whenever either changes and now and then. `Run` tells a late call of an earlier run
 * from this one's.
 *
 * POST /cluster/attach: an attachment; {"Address"}. POST /cluster/detach {"Attachments": {key: its run}}. */
#ifndef CLUSTER_ATTACH_H
#define CLUSTER_ATTACH_H

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>

struct cluster;
struct node;
struct peer_kept;
struct http_request;

/* An engine_attach_fn of the cluster. */
int attach__give(void *cluster, const json_t *attachment, bool wait, char **ret_address, struct err *err);
/* Something of this node's has changed; with the lock. */
void attach__changed(struct cluster *c);
/* Makes what the leader has that of the engine. On who leads with the lock, else without it. */
int attach__settle(struct cluster *c, struct err *err);
int attach__settle_over(struct cluster *c, struct peer_kept *kept, struct err *err);

/* --- On who leads, with the lock --- */
int attach__take(struct http_request *q, void *cluster, struct err *err);
int attach__leave(struct http_request *q, void *cluster, struct err *err);
void attach__know(struct cluster *c, const struct node *n); /* its facts */
/* The node goes: so do its containers' addresses. */
void attach__drop_all(struct cluster *c, struct node *n);
/* Whose container is on the network; NULL: nobody's. */
const struct node *attach__user(struct cluster *c, const char *network, const char **ret_container);

#endif
