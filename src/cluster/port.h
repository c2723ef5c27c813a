/* The cluster's port: TLS 1.3 on <ListenAddr>, JSON over HTTP, what nodes ask managers (the table in port.c).
 *
 * The attacker is whoever reaches the port, and a node that was taken over. A call is only heard from a
 * certificate of the cluster's authority and of this swarm, but for the two calls that make one. Bodies are
 * bounded; what a node says is taken for what it says about itself, and no more. */
#ifndef CLUSTER_PORT_H
#define CLUSTER_PORT_H

#include "cluster/cluster_priv.h"
#include "http/server.h"

/* One more than the largest body of a call, and of an answer: the assignment of a full node. */
enum { PORT_BODY_MAX = 8 << 20, PORT_ANSWER_MAX = 64 << 20 };

struct port_peer {
    char node[ID_BYTES];
    bool manager;
};

/* c->listen, with the files of identity.h. Neither c->lock nor a handler's is held. */
int port__open(struct cluster *c, struct err *err);
/* The same now and then, when it could not be had at the start: its address may have come, or been left. */
void port__open_late(struct cluster *c);
bool port__close(struct cluster *c, int grace_ms);
/* Its certificate was renewed. */
void port__renewed(struct cluster *c);

/* Who calls, by its certificate. ERR_UNAUTHORIZED. */
int port__peer(struct cluster *c, struct http_request *q, struct port_peer *ret, struct err *err);
/* It must be a node of the swarm still. The leader, with the lock. ERR_DENIED. */
int port__node(struct cluster *c, const struct port_peer *peer, struct node **ret, struct err *err);
/* Answers 421 with where the leader is, when this node does not lead: true. As any answer, without the lock:
 * who does not read it would hold up the swarm. */
bool port__elsewhere(struct cluster *c, struct http_request *q);

/* Below it the API of the leader, for other nodes' clients (forward.c). */
#define PORT_API_PREFIX "/cluster/api"
/* The cluster as one engine, for who has a client's certificate (gateway.c). */
void gateway__take(struct http_request *q, struct cluster *c);
void gateway__forget(struct cluster *c); /* what it knows of nodes, when nobody uses it any more */
void forward__take(struct http_request *q, void *cluster);
/* Connections to a leader that are kept for the next request: when this node's certificate has changed. */
void forward__drop_clients(struct cluster *c);

#endif
