/* How nodes and the leader keep in touch.
 *
 * A node asks with POST /cluster/session {version, protocol, vitals, description}. The leader waits until
 * what is assigned to the node differs from `version`, or for a heartbeat, and answers {version, lead, epoch,
 * heartbeat_ns, leader, managers}; when it differs also {node, tasks, services, secrets, configs}; and when
 * what it needs to know of other nodes' tasks differs, {facts: {whole, networks, nodes, services, tasks}}:
 * the rows (facts.h) that have changed since that version, or with `whole` all. A node that asks without
 * `facts` is of a version that is told {networks, traffic} instead, with all of the above each time. How its
 * tasks are, the node tells with POST /cluster/report {lead, tasks}. Either call says that it is alive.
 *
 * `vitals` are numbers (health.h); of its clock's difference to the leader's the node knows by the answer's
 * `clock`, [when the question was taken, when it was answered] in milliseconds.
 *
 * `lead` is one manager's leading, from its beginning to its end. After another's begin the node tells again
 * how all its tasks are, because what the one before was told last may be lost with it. A report is meant for
 * the leading that its node heard last, and any other refuses it: one that was taken by a leader that has
 * been replaced and does not know it would be lost. Likewise a node does not take what it has to do from a
 * lower epoch than it has heard, as long as such a leader may go on (STALE_LEAD_MS).
 *
 * A node keeps the last assignment in <root>/cluster/assigned.json (without what is secret), and so has its
 * containers also when it starts while no manager can be reached. What it is not assigned any more, it stops
 * and removes. A node that was not heard for LOST_AFTER heartbeats is down: its tasks are orphaned and
 * replaced. */
#ifndef CLUSTER_SESSION_H
#define CLUSTER_SESSION_H

#include "cluster/cluster_priv.h"

enum {
    LOST_AFTER = 3,
    /* An epoch that is lower for longer is no leader's that was replaced: the state is that of a backup. */
    STALE_LEAD_MS = 30000,
};

/* --- The leader: assign.c --- */
struct http_request;
int assign__session(struct http_request *q, void *cluster, struct err *err);
int assign__report(struct http_request *q, void *cluster, struct err *err);
int assign__leave(struct http_request *q, void *cluster, struct err *err);
/* What the node has to do has changed, or (NULL) what all have. */
void assign__changed(struct cluster *c, const char *node);
void assign__ring(struct cluster *c, const char *node); /* there is news for it */
void assign__ring_all(struct cluster *c);
/* Looks for nodes that were not heard. When it is to be called again, of the monotonic clock, or 0. */
int64_t assign__tick(struct cluster *c);
/* Every node is given its time anew: this one begins to lead. */
void assign__begin(struct cluster *c);
int64_t assign__heartbeat(const struct cluster *c); /* ns */
/* What another node says about its machine, without what does not belong there. NULL: `err`. */
json_t *assign__description(const json_t *given, struct err *err);

/* --- The node: session.c --- */
/* assigned.json, as objects. With the lock. */
int session__load(struct cluster *c, struct err *err);
void *session__follow(void *cluster); /* a thread each */
void *session__report(void *cluster);

#endif
