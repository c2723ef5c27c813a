/* Mutual TLS 1.3 between members of a store, and between a member and who uses it.
 *
 * The attacker is whoever reaches the port, and a worker of the same cluster, whose certificate has the same
 * issuer: both sides ask that the other's certificate leads to the cluster's authority and that its subject
 * has the organizational unit "manager". Files are read for every connection, so that a certificate can be
 * renewed while a member runs.
 *
 * Sockets are non-blocking, CLOEXEC and TCP_NODELAY, and give up on a peer that does not acknowledge for 5 s
 * (TCP_USER_TIMEOUT). Deadlines are times of the monotonic clock in nanoseconds. A link is used by one thread
 * at a time. */
#ifndef STORE_TLS_H
#define STORE_TLS_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define STORE_TLS_ROLE "manager"

struct tls_files {
    const char *authority, *certificate, *key; /* PEM */
    const char *revoked; /* PEM: the authority's list of certificates taken back; NULL, or not there: none */
    const char *peer;    /* whose name (CN) the other side must have, whatever its unit; NULL: any manager */
};

struct tls_link;

/* `address` is HOST:PORT with a numeric host ("[::1]:9000"): names are not looked up, because looking up
 * blocks. */
int tls_connect(const char *address, const struct tls_files *files, int64_t deadline_ns,
                struct tls_link **ret, struct err *err);
/* Takes the descriptor, also on failure. */
int tls_accept(int fd, const struct tls_files *files, int64_t deadline_ns, struct tls_link **ret,
               struct err *err);
void tls_close(struct tls_link *l); /* NULL is fine */

int tls_send(struct tls_link *l, const void *bytes, size_t n, int64_t deadline_ns, struct err *err);
/* Exactly `n` bytes. */
int tls_recv(struct tls_link *l, void *buffer, size_t n, int64_t deadline_ns, struct err *err);

/* Also of links that are open: while one is relayed, a list that has changed is looked at within
 * TLS_LOOK_MS, and who is on it is cut off. */
enum { TLS_LOOK_MS = 1000 };

/* Copies in both directions between the link and a stream socket until either ends. Closes neither. */
void tls_relay(struct tls_link *l, int fd);
/* The same, but each direction ends for itself: the other goes on until it ends too. */
void tls_relay_halves(struct tls_link *l, int fd);

/* A listening socket on `address`. */
int tls_listen(const char *address, int *ret_fd, struct err *err);

#endif
