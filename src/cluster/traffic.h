/* Where connections go: the networks of a swarm on each of its machines, the names, virtual addresses and
 * published ports of services on them, and the ways to containers of other machines (engine/spread.h does it
 * in one machine).
 *
 * Who leads knows all of it. For each node it says what that node needs; the node makes it so and takes away
 * what is not listed. The leader's own machine is told the same way, a service at a time.
 *
 * A published port is open on every node and leads to tasks here and to other nodes' published ports. A
 * virtual address leads to tasks here and, by their own addresses, to those of other nodes that are on a link
 * of this one.
 *
 * The lock is held for all of it. What a leader says is bounded by what the engine takes; one part that
 * cannot be done does not keep the others from being done. */
#ifndef CLUSTER_TRAFFIC_H
#define CLUSTER_TRAFFIC_H

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>

struct cluster;
struct node;
struct service;
struct task;

/* --- traffic.c: on who leads --- */
/* What a node needs: {"networks", "traffic"}, for traffic__apply() there.
 *
 *   networks: [{"Body": as POST /networks/create takes it, with its "Id",
 *               "Far": [{"Address", "Via", "Mac", "Names"}]: what other nodes have on it}]
 *
 *   traffic:  [{"Service": id, "Network": id, "Name", "Aliases": [], "Address": "10.0.1.2/24" or "",
 *               "Ports": [{"Protocol", "PublishedPort", "TargetPort"}],
 *               "Containers": [id], "Far": [address of a task], "Nodes": [address of a node, once a task]}]
 */
json_t *traffic__describe(struct cluster *c, struct node *n);
/* The facts (facts.h) that concern a node and have changed after a stamp, or with "whole": true all of them.
 */
json_t *traffic__news(struct cluster *c, struct node *n, int64_t since);
/* {task: its container} of a node, as far as this one knows them. */
json_t *traffic__containers(struct cluster *c, const char *node);
/* The facts of a service, when it or its tasks have changed, and this machine's part of it. */
void traffic__tell(struct cluster *c, struct service *s);
/* Tells nodes that there is news for them, and this machine what concerns other nodes' tasks, when it is due.
 * What only adds to where connections go is told together after a while that grows with the nodes; what takes
 * away, at once. */
void traffic__tell_far(struct cluster *c);
int64_t traffic__due(const struct cluster *c); /* of the monotonic clock; 0: not before something changes */
void traffic__gone(struct cluster *c, const struct task *t); /* it is forgotten */
void traffic__drop(struct cluster *c, const struct service *s);
void traffic__sweep(struct cluster *c); /* all of it, and nothing else: what another that led has left */
/* Networks have changed: every node is told, and the loop woken. */
void traffic__changed(struct cluster *c);
void traffic__forget(struct cluster *c); /* with the objects; the engine keeps what it was told */

/* --- traffic_apply.c: on any node --- */
/* Makes it so and removes what is not listed (NULL: nothing is). Called again with the same it does what
 * could not be done before. On failure: the first, the rest is done. */
int traffic__apply(struct cluster *c, const json_t *networks, const json_t *traffic, struct err *err);
/* The same of a leader's answer, which has both or facts; what cannot be done is logged once, and done when
 * it can be.
 */
void traffic__follow(struct cluster *c, const json_t *answer);
void traffic__again(struct cluster *c); /* now and then: an interface that was down has lost its routes */
/* One element of `traffic`; and of what `network` has in "Far". */
int traffic__apply_one(struct cluster *c, const json_t *entry, struct err *err);
int traffic__apply_far(struct cluster *c, const json_t *network, struct err *err);
/* The link address of the interface that has an address, "02:42:ac:11:00:02"; NULL when none has it. The
 * caller frees. A node's description has that of its own address as "LinkAddress". */
char *traffic__link_address(const char *address);
bool traffic__is_link_address(const char *text);

/* --- networks.c: the swarm's networks, in its document; on who leads --- */
json_t *networks__find(struct cluster *c, const char *ref); /* by id or name: its "Body", borrowed; or NULL */
json_t *networks__all(struct cluster *c);                   /* {id: body}, borrowed */
/* With the lock, before one is made: where its subnet is taken from. */
void networks__use_pools(struct cluster *c);
/* At the start: this machine has them. Those of an earlier version, which only the engine knew, are taken in.
 */
int networks__settle(struct cluster *c, struct err *err);

/* --- addresses.c: one address of a network is one task's or service's on all nodes; on who leads --- */
/* *ret: "10.0.1.5/24". The one that was given back longest ago comes last. */
int addresses__take(struct cluster *c, const char *network, char **ret, struct err *err);
/* The one that is wished for. ERR_DENIED, in Docker's words, when somebody has it. */
int addresses__take_one(struct cluster *c, const char *network, const char *wished, char **ret,
                        struct err *err);
void addresses__give_back(struct cluster *c, const char *network, const char *address);
/* On each of the task's networks that are the swarm's: t->addresses. */
int addresses__give(struct cluster *c, struct task *t, struct err *err);
void addresses__left(struct cluster *c, const struct task *t); /* it has ended */
void addresses__forget(struct cluster *c);                     /* what is known; it is found out again */

#endif
