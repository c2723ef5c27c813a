/* Who this node is in its cluster, as files of <root>/cluster:
 *
 *   ca.pem               the authority whose certificates are believed
 *   node.pem, node.key   this node's certificate (pki.h) and key
 *   node.json            its id, role and addresses, and the managers that it knows
 *   ca.key               on managers: the authority's key
 *
 * node.json is written last and taken away first: while it is there, so are the others. */
#ifndef CLUSTER_IDENTITY_H
#define CLUSTER_IDENTITY_H

#include "base/err.h"

#include <jansson.h>

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
int identity__issue(struct cluster *c, const char *csr, const char *node, bool manager,
                    char **ret_certificate, struct err *err);
/* The text of ca.pem; NULL when there is none. The caller frees. */
char *identity__authority(struct cluster *c);
char *identity__path(struct cluster *c, const char *name);

/* "HOST:PORT", of an address with or without its port. The caller frees. */
char *identity__door(const char *address, int port);
/* The port of "HOST:PORT", or the cluster's usual one. */
int identity__port_of(const char *address);
/* Puts a manager among those known, or takes it away with a NULL address. True when that changed something.
 */
bool identity__know_manager(struct cluster *c, const char *node, const char *address);

#endif
