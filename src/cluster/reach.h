/* The engine of any node, as its own socket has it, reached from a manager: by this node's socket, or through
 * the cluster's port of the other one (below REACH_PREFIX, for managers alone). What comes and goes is HTTP,
 * one request a connection. Without the lock. */
#ifndef CLUSTER_REACH_H
#define CLUSTER_REACH_H

#include "cluster/cluster_priv.h"
#include "http/server.h"

#define REACH_PREFIX "/cluster/engine"

enum { REACH_ANSWER_MAX = 64 << 20 };

/* The swarm's nodes as GET /nodes shows them, each with "Door", where its port is. */
int reach__nodes(struct cluster *c, json_t **ret, struct err *err);

struct reach;
/* A connection to the engine of `node`, one of those. */
int reach__open(struct cluster *c, const json_t *node, struct reach **ret, struct err *err);
void reach__close(struct reach *r); /* NULL is fine */
/* The same, and a request without a body (in HTTP/1.0: what comes ends with the connection) is said on it. */
int reach__begin(struct cluster *c, const json_t *node, const char *method, const char *target,
                 struct reach **ret, struct err *err);
int reach__fd(const struct reach *r); /* a stream socket, of the connection as long as that is open */
/* Gives the request to the engine, and its answer to the client. `target`: with version and query. */
void reach__pass(struct cluster *c, const json_t *node, struct http_request *q, const char *target);
/* One request of our own, with more lines for its head (or NULL) and a JSON body (or NULL): its answer,
 * whatever it says; at most REACH_ANSWER_MAX. */
int reach__ask(struct cluster *c, const json_t *node, const char *method, const char *target,
               const char *head, const json_t *body, int *ret_status, struct str *ret, struct err *err);

/* The port's side, from another manager. */
void reach__take(struct http_request *q, struct cluster *c);
int reach__list(struct http_request *q, void *cluster, struct err *err); /* GET /cluster/nodes */

#endif
