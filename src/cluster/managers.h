/* What makes a manager one: a member of the replicated store, and the lead.
 *
 * A swarm with one manager keeps its state in a file. Before a second one is let in, the first becomes a
 * member of a store of members (managers__replicate); who joins as a manager becomes another
 * (managers__join). From then on a manager has a `drover store run` as its child, and a thread that starts it
 * again when it ends, asks it who leads the store, and acts on that:
 *
 *            the own member leads: take the next epoch, load the state
 *      FOLLOWS ------------------------------------------------------> LEADS
 *              <------------------------------------------------------
 *            another one leads; nobody has for NO_LEADER_MS; a commit failed
 *
 * Two may think that they lead, for the time of an election. Only one can write: every change carries the
 * fence of its epoch (change_commit). Only one answers what is asked, too: cluster_confirm().
 *
 * The child dies with this process (PR_SET_PDEATHSIG), handing the lead over: a store that leads where nobody
 * decides would leave the swarm without a manager.
 *
 *     <root>/cluster/store.json  what this manager's member is; while there is none, the state is in the file
 *     <root>/cluster/store/      the member (store/node.h)
 *
 * The store's port is the one above the cluster's. Addresses here are HOST:PORT of the cluster's port. */
#ifndef CLUSTER_MANAGERS_H
#define CLUSTER_MANAGERS_H

#include "base/err.h"
#include "store/members.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct cluster;
struct managers;

enum { MANAGER_STORE_MS = 3000 }; /* until a majority must have answered */

/* At the start: goes on as store.json says, as one that follows. It may come to lead after managers__start().
 */
int managers__open(struct cluster *c, struct err *err);
void managers__start(struct cluster *c);
/* Ends the thread and the child. Before the loop is stopped, without the cluster's lock. */
void managers__close(struct cluster *c);
void managers__done(struct cluster *c); /* the same, when nobody uses the cluster any more */

/* On the only manager, which is at `address`. 0 when it has been done already. Neither lock is held. */
int managers__replicate(struct cluster *c, const char *address, struct err *err);
/* On who has its manager's certificate and has not begun to follow: joins the managers of a leader's answer
 * ({managers, secrets_key}, join.h). It may come to lead after managers__start(). With the lock. */
int managers__begin(struct cluster *c, const json_t *answer, struct err *err);
/* Waits until the own member votes, or for a time that is long for that. Without the lock. */
void managers__wait(struct cluster *c);
/* Those whose members vote, as the leading one has them; NULL: `err`, or there are none. The caller frees. */
char **managers__voters(struct cluster *c, struct err *err);
/* On the leader: the manager at `address` votes no more. Not for itself: see managers__hand_over. */
int managers__remove(struct cluster *c, const char *address, struct err *err);
/* Has another manager lead. */
int managers__hand_over(struct cluster *c, struct err *err);
/* On who is no manager any more: the member's data go too. */
void managers__forget(struct cluster *c);
/* The same of one that was never opened, because it is locked; its file is empty afterwards. */
void managers__discard(struct cluster *c);

/* A batch with the fence of this epoch was committed, and was begun at that time of managers__now(): lead.c
 * says what follows from that. Any lock. */
void managers__committed(struct cluster *c, int64_t epoch, int64_t begin_ns);
int64_t managers__now(void);

/* Whether the state is with members. */
bool managers__replicated(const struct cluster *c);
/* Where the leader is; false, and "", when nobody knows. */
bool managers__leader(struct cluster *c, char ret[STORE_ADDRESS_BYTES]);
/* What is said while nobody leads. */
int managers__no_leader(struct err *err);
/* The state in memory may differ from that of the store: it is loaded anew. Any lock. */
void managers__doubt(struct cluster *c);

#endif
