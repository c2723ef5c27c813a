/* How nodes and the leader keep in touch.
 *
 * A node asks with POST /cluster/session {version, protocol, description}. The leader waits until what is
 * assigned to the node differs from `version`, or for a heartbeat, and answers {version, heartbeat_ns,
 * leader, managers}, and when it differs also {node, tasks, services, secrets, configs}. How its tasks are,
 * the node tells with POST /cluster/report {tasks}. Either call says that it is alive.
 *
 * A node keeps the last assignment in <root>/cluster/assigned.json (without what is secret), and so has its
 * containers also when it starts while no manager can be reached. What it is not assigned any more, it stops
 * and removes. A node that was not heard for LOST_AFTER heartbeats is down: its tasks are orphaned and
 * replaced. */
#ifndef CLUSTER_SESSION_H
#define CLUSTER_SESSION_H

#include "cluster/cluster_priv.h"

enum { LOST_AFTER = 3 };

/* --- The leader: assign.c --- */
struct http_request;
int assign__session(struct http_request *q, void *cluster, struct err *err);
int assign__report(struct http_request *q, void *cluster, struct err *err);
int assign__leave(struct http_request *q, void *cluster, struct err *err);
/* What the node has to do has changed, or (NULL) what all have. */
void assign__changed(struct cluster *c, const char *node);
/* Looks for nodes that were not heard. When it is to be called again, or 0. */
int64_t assign__tick(struct cluster *c);
/* Every node is given its time anew: this one begins to lead. */
void assign__begin(struct cluster *c);
/* What another node says about its machine, without what does not belong there. NULL: `err`. */
json_t *assign__description(const json_t *given, struct err *err);

/* --- The node: session.c --- */
/* assigned.json, as objects. With the lock. */
int session__load(struct cluster *c, struct err *err);
void *session__follow(void *cluster); /* a thread each */
void *session__report(void *cluster);

#endif
