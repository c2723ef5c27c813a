/* The authority whose certificates a swarm's nodes believe, and how another takes its place while everything
 * goes on (docker swarm ca --rotate).
 *
 * The swarm's document says which it is: "Authority" {certificate, key}, or the files ca.pem and ca.key of a
 * swarm whose first it still is; and while it is replaced "Rotation" {certificate, key, cross, issues}. Keys
 * are encrypted there with that of secrets. Each phase lasts until every node of the swarm has told, with its
 * description, that it is there:
 *
 *      TRUST    all are assigned both roots to believe, and believe the new one too
 *      ISSUE    certificates are of the new one; all fetch another
 *      (end)    all are assigned the new root alone; join tokens name it
 *
 * So at any time everybody believes whatever anybody shows. A node that is away keeps the phase it is missed
 * in from ending, until it is back or removed. With the certificates of ISSUE goes the new root as the old
 * one has signed it (`cross`): for who joins with a token of before, and for clients that know the old root
 * alone.
 *
 * A node has in ca.pem the roots that it believes, the present one first. A later rotation takes the place of
 * one that is under way; what that one has issued is good as long as the old root is.
 *
 * With the cluster's lock. */
#ifndef CLUSTER_AUTHORITY_H
#define CLUSTER_AUTHORITY_H

#include "cluster/cluster_priv.h"

/* Who signs: PEM texts. */
struct authority {
    char *certificate, *key;
    char *cross; /* goes with what is signed; or NULL */
};
void authority__done(struct authority *a);
#define _cleanup_authority_ _cleanup_(authority__done)

/* --- The leader --- */
int authority__present(struct cluster *c, struct authority *ret, struct err *err);
/* The new one; ERR_NOT_FOUND: it is not replaced. */
int authority__next(struct cluster *c, struct authority *ret, struct err *err);
int authority__issuer(struct cluster *c, struct authority *ret, struct err *err);
/* Whether ca.key, and not the document, has the present one's key. */
bool authority__in_files(const struct cluster *c);

/* Checks what a change of the swarm's spec asks for. */
int authority__check(const json_t *config, struct err *err);
/* Begins, in `after`, what the change from c->swarm asks for, if it does. `config`: CAConfig as given. */
int authority__choose(struct cluster *c, json_t *after, const json_t *config, struct err *err);
void authority__tick(struct cluster *c);  /* the next phase, when all are there */
void authority__begin(struct cluster *c); /* this node begins to lead */
void authority__add(struct cluster *c, json_t *answer);

/* --- A node --- */
void authority__follow(struct cluster *c, const json_t *answer);
/* "TLSInfo" and "Trust" of this node's description. */
void authority__describe(struct cluster *c, json_t *description);

#endif
