/* Who this node is in its cluster, as files of <root>/cluster:
 *
 *   ca.pem               the authority whose certificates are believed
 *   node.pem, node.key   this node's certificate (pki.h) and key
 *   node.json            its id, role and addresses, and the managers that it knows
 *   ca.key               on managers: the authority's key
 *
 * The keys may be encrypted there (seal.h), and are read and written by way of that.
 * node.json is written last and taken away first: while it is there, so are the others. */
#ifndef CLUSTER_IDENTITY_H
#define CLUSTER_IDENTITY_H

#include "base/err.h"
#include "cluster/pki.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct cluster;

/* Sets the role, and with one everything below; ROLE_NONE when there is no node.json. */
int identity__load(struct cluster *c, struct err *err);
/* What has changed of c->role, c->self, c->swarm_id, c->listen, c->address, c->managers. */
int identity__save(struct cluster *c, struct err *err);
/* The files, and what is known of them. */
void identity__forget(struct cluster *c);

/* PEM texts, written durably. NULL: left as it is. */
int identity__write(struct cluster *c, const char *authority, const char *certificate, const char *key,
                    const char *authority_key, struct err *err);
/* A manager's own: it has the authority's key, and c->self and c->swarm_id are set. */
int identity__issue_own(struct cluster *c, struct err *err);
/* A certificate for another's key. Managers only. */
int identity__issue(struct cluster *c, const char *csr, const struct pki_subject *subject,
                    char **ret_certificate, struct err *err);
/* How long a certificate is good for, from when it is issued. */
int64_t identity__life(const struct cluster *c);
/* This node's certificate, when a quarter of its life is left or it goes on for longer than `life_ns`, which
 * is how long the swarm's are to live now: by its own means, or the leader's. Without the lock. */
void identity__renew_when_due(struct cluster *c, int64_t life_ns);
char *identity__authority_key(struct cluster *c,
                              struct err *err); /* NULL: not a manager's; the caller frees */
/* The text of ca.pem; NULL when there is none. The caller frees. */
char *identity__authority(struct cluster *c);
char *identity__certificate(struct cluster *c); /* the same of node.pem */
char *identity__path(struct cluster *c, const char *name);
/* What a connection to or from another node needs: paths of PEM files. */
struct identity_files {
    char *authority, *certificate, *revoked;
    const char *key;
};
void identity__files(struct cluster *c, struct identity_files *ret);
void identity__files_done(struct identity_files *f);
#define _cleanup_identity_files_ _cleanup_(identity__files_done)

/* "HOST:PORT", of an address with or without its port. The caller frees. */
char *identity__door(const char *address, int port);
/* The port of "HOST:PORT", or the cluster's usual one. */
int identity__port_of(const char *address);
/* Puts a manager among those known, or takes it away with a NULL address. */
void identity__know_manager(struct cluster *c, const char *node, const char *address);

#endif
