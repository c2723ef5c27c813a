/* A swarm whose managers are locked when they start (docker swarm update --autolock).
 *
 * The swarm has an unlock key, SWMKEY-1-..., which a person keeps. Its document has that key too, encrypted
 * with the key of secrets ("UnlockKey"), and managers are told it with what they are assigned; each seals its
 * files with it (seal.h), and so do those that become managers before they write the first. A manager that
 * starts has then nothing that it could read:
 *
 *      start, files are sealed        docker swarm unlock
 *      ----------------------> LOCKED --------------------> follows, or leads
 *                                 |
 *                                 | docker swarm leave --force
 *                                 +-------------------------> in no swarm
 *
 * While it is locked (c->locked, with no role), containers go on, and calls about the swarm are refused in
 * Docker's words. One that was away while the key was replaced takes the key of before, and learns the new
 * one from the leader. Workers are never locked: they have nothing that is the swarm's.
 *
 * With the cluster's lock, but for what is said otherwise. */
#ifndef CLUSTER_AUTOLOCK_H
#define CLUSTER_AUTOLOCK_H

#include "cluster/cluster_priv.h"

/* --- The leader --- */
/* Brings the document's key after its spec: made, taken away, or (`rotate`) replaced. */
int autolock__choose(struct cluster *c, json_t *document, bool rotate, struct err *err);
/* This node's files after the document. */
int autolock__obey(struct cluster *c, const json_t *document, struct err *err);
/* The key for a manager; and taken from such an answer, which says nothing to others. The latter with or
 * without the lock. */
void autolock__add(struct cluster *c, json_t *answer);
int autolock__follow(struct cluster *c, const json_t *answer, struct err *err);

/* The document as it is kept: what lets machines in is encrypted there. */
json_t *autolock__store_form(const struct cluster *c);
void autolock__restore(struct cluster *c, json_t *document);

/* --- Any node --- */
/* Refuses in Docker's words. */
int autolock__locked(struct err *err);

#endif
