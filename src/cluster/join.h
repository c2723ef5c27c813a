/* How a machine becomes a node: it holds a token, which names the authority and proves that an operator wants
 * it.
 *
 *     GET  /cluster/authority   from whoever answers; believed only if its digest is the token's
 *     POST /cluster/join        to a manager of that authority: {protocol, token, csr, description, address,
 * port, availability} -> {node, swarm, role, certificate, managers}, and for a manager {authority_key,
 * secrets_key, unlock_key} POST /cluster/renew       {csr} -> {certificate}; a node, for itself, before its
 * certificate's end */
#ifndef CLUSTER_JOIN_H
#define CLUSTER_JOIN_H

#include "cluster/cluster_priv.h"

/* What two nodes must speak alike; counted up when an older one could not. */
enum { CLUSTER_PROTOCOL = 1, NODES_MAX = 1000 };

struct http_request;
/* Of a body's "protocol". */
int join__check_protocol(const json_t *body, struct err *err);
/* Whether this process asks nodes and tells them in the form of one version before (without "facts"), as
 * DROVER_CLUSTER_FORM=before in its environment says: so that tests need no older binary. */
bool join__speaks_before(void);
int join__take(struct http_request *q, void *cluster, struct err *err);
int join__renew(struct http_request *q, void *cluster, struct err *err);

#endif
