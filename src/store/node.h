/* One member of a replicated store: the process `drover store run`, which is two. The one that was started
 * keeps the lock of the directory and starts the other again when that dies; the other is cowsql, with a
 * thread a connection that carries cowsql's protocol, which knows no authentication and can be ended by 8 bad
 * bytes, in mutual TLS between the member's port and an abstract socket that only the same process may
 * connect to.
 *
 * DIRECTORY/lock          an exclusive flock: cowsql would start twice on the same data
 * DIRECTORY/member.json   which member this is, and whether it has begun: data that are gone are found out,
 * and not taken for a new member's, which would vote again on what it has forgotten DIRECTORY/data/ cowsql's
 * own; best a file system of its own
 *
 * A member stops, and says why to whoever asks, while its file system has less than `min_free_bytes` left:
 * Raft's log on a full disk is what ends processes. */
#ifndef STORE_NODE_H
#define STORE_NODE_H

#include "store/members.h"

struct store_node {
    const char *directory;
    const char *address; /* HOST:PORT that the others reach it at; it stays the same for the member's life */
    const char *listen;  /* NULL: `address` */
    bool bootstrap;      /* the first member of a new store */
    char *const *join;   /* addresses of members to join, or NULL */
    struct tls_files tls;
    int latency_ms;         /* between members, one way; 0: STORE_LATENCY_MS */
    int64_t min_free_bytes; /* 0: STORE_MIN_FREE */
};

enum { STORE_LATENCY_MS = 20, STORE_MIN_FREE = 256 << 20 };

/* Runs until SIGTERM or SIGINT, which hand the lead over first. */
int store_node_run(const struct store_node *n, struct err *err);

/* After the loss of a majority, on the survivor whose log is the longest, while no member runs: makes this
 * member the only one. */
int store_node_recover(const char *directory, struct err *err);

#endif
