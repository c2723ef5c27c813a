/* What a node is in its swarm, and how that changes (roles.c). */
#ifndef CLUSTER_ROLES_H
#define CLUSTER_ROLES_H

#include "cluster/cluster_priv.h"

/* On the leader, again and again, by the managers' thread: one node whose role is not what its spec says. */
void roles__reconcile(struct cluster *c);
/* How many are to manage. With the lock. */
size_t roles__count(struct cluster *c);
/* A manager that leaves votes no more when this returns. Without the lock. */
int roles__left(struct cluster *c, const char *id, struct err *err);

/* On a node, for what it is assigned; with the lock. */
void roles__follow(struct cluster *c, bool manager);
/* What is assigned changes no role from now on, nor does a change go on. Without the lock. */
void roles__keep(struct cluster *c, bool kept);
void roles__wait(struct cluster *c); /* until no change is under way; the thread may need the lock */
/* On a manager that leaves, while it still votes. Without the lock. */
void roles__leave(struct cluster *c);

#endif
