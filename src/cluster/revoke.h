/* Certificates that are taken back before they end: those of a node that was removed, a manager's own of one
 * that became a worker, and those of clients.
 *
 * The leader keeps which ones it has issued (struct node's `certificates`, the swarm's "Clients") and which
 * of them were taken back ("Revoked", until they would have ended). From that it makes the authority's list,
 * which is assigned to every node: <root>/cluster/ca.crl, which the cluster's port, the managers' store and
 * whoever calls another node hold certificates against, open connections too.
 *
 * Everything with the lock. */
#ifndef CLUSTER_REVOKE_H
#define CLUSTER_REVOKE_H

#include "cluster/cluster_priv.h"

enum { REVOKED_MAX = 10000, CLIENTS_MAX = 1000 };

/* A certificate was issued to the node: its row is to be written. */
void revoke__note(struct node *n, const char *pem);
/* A client's: as a line of the swarm's document, which is to be written. ERR_LIMIT. */
int revoke__note_client(struct cluster *c, const char *name, const char *pem, struct err *err);

/* Takes back what was issued to the node, or only what says that it manages: the swarm's document and (if it
 * stays) the node's row are to be written, and then revoke__publish() is to be called. False: there is
 * nothing to do. */
bool revoke__node(struct cluster *c, struct node *n, bool managers_only);
int revoke__client(struct cluster *c, const char *name, struct err *err); /* the same; ERR_NOT_FOUND */

/* The list anew: on this node, and to all. On the leader, when it begins to lead too. */
void revoke__publish(struct cluster *c);
/* What is said of it in an assignment, and taken from one. */
void revoke__add(struct cluster *c, json_t *answer);
void revoke__follow(struct cluster *c, const json_t *answer);

#endif
