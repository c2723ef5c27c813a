/* What the two processes of a member share. */
#ifndef STORE_NODE_PRIV_H
#define STORE_NODE_PRIV_H

#include "store/node.h"

struct node_marker {
    uint64_t id;
    char address[STORE_ADDRESS_BYTES];
    bool begun; /* cowsql has written to the data */
};

int node__marker_read(const char *directory, struct node_marker *ret, struct err *err);
int node__marker_write(const char *directory, const struct node_marker *m, struct err *err);
int64_t node__free_bytes(const char *directory);

/* How the child ends, when not by a signal. */
enum { NODE_STOPPED = 0, NODE_FAILED = 1, NODE_FULL = 75, NODE_ROOM = 76 };

/* The child: cowsql, or while the disk is full, one that only says so. SIGTERM is blocked. */
int node__serve(const struct store_node *n, struct node_marker *marker);
int node__say_full(const struct store_node *n);
/* Makes the member the only one. */
int node__recover(const char *directory, const struct node_marker *marker, struct err *err);

/* Takes connections on the member's port until the process ends: `serve` gets each, with its TLS done, on a
 * thread of its own. */
int node__listen(const struct store_node *n, void (*serve)(struct tls_link *l, void *context), void *context,
                 struct err *err);

#endif
