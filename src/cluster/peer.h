/* Calls to another node's port. */
#ifndef CLUSTER_PEER_H
#define CLUSTER_PEER_H

#include "base/err.h"

#include <jansson.h>
#include <time.h>

struct cluster;
struct http_client;

/* Calls the manager at `address` (HOST:PORT), or where that one says the leader is. This side shows its
 * certificate, and who answers must be a manager of the swarm. `timeout_ms`: for the connection, and then
 * for as long as nothing comes. `body` and `ret` may be NULL. The error is the other's, or ERR_UNAVAILABLE,
 * ERR_TIMEOUT; ERR_CANCELLED when the cluster closes. Without the lock. */
int peer_call(struct cluster *c, const char *address, const char *method, const char *path,
              const json_t *body, int timeout_ms, json_t **ret, struct err *err);
/* The leader, by way of the managers that are known: the one that answered last comes first. */
int peer_call_leader(struct cluster *c, const char *method, const char *path, const json_t *body,
                     int timeout_ms, json_t **ret, struct err *err);

/* The same for a thread that calls often, over a connection that it keeps: `kept` begins as {0}. What this
 * node shows of itself, and who is refused, is read anew when it has changed. */
struct peer_kept {
    struct http_client *client;              /* or NULL */
    struct timespec shown, revoked, trusted; /* when these files were written */
};
int peer_call_leader_over(struct cluster *c, struct peer_kept *kept, const char *method, const char *path,
                          const json_t *body, int timeout_ms, json_t **ret, struct err *err);
void peer_kept_done(struct peer_kept *kept);

/* Before there is a certificate: the text of the authority at `address`, from whoever answers there; its
 * fingerprint is to be compared with a token's. The caller frees. */
int peer_fetch_authority(const char *address, char **ret_pem, struct err *err);
/* A call of who has no certificate yet; the manager's is of the authority in the file. */
int peer_call_stranger(struct cluster *c, const char *address, const char *authority_file, const char *path,
                       const json_t *body, json_t **ret, struct err *err);

#endif
