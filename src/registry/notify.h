/* Notifications: whoever a policy's webhooks name hears of what was pushed and deleted.
 *
 * They wait in the registry's queue (queue.h), for each webhook in their order, until an answer of 2xx has
 * come: again after 1, 2, 4, ... seconds, an hour at most, and no more after NOTIFY_TRIES. Who takes one
 * twice (its answer was lost) knows it by its id. When there are NOTIFY_QUEUE_MAX, the oldest go.
 *
 * The body is that of the distribution project's notifications (application/vnd.docker.distribution.events
 * .v2+json): {"events": [{"id", "timestamp", "action", "target": {...}}]}, an event for each tag. Headers:
 * X-Drover-Delivery is the id, X-Hub-Signature-256 is "sha256=" and the HMAC of the body in hex, where the
 * webhook has a secret.
 *
 * The same statements write what is to be replicated (replicate.h). */
#ifndef REGISTRY_NOTIFY_H
#define REGISTRY_NOTIFY_H

#include "registry/queue.h"

enum {
    NOTIFY_QUEUE_MAX = 10000,
    NOTIFY_TRIES = 30,
    NOTIFY_LONGEST_S = 3600,
    NOTIFY_STATEMENTS_MAX = REGISTRY_MAX_WEBHOOKS + 1 + REGISTRY_MAX_REPLICATIONS + 1,
};

extern const struct queue_kind registry__webhooks;

/* The statements that write what is to be told of one thing that happens; they go into its batch. */
struct notices {
    struct store_statement statements[NOTIFY_STATEMENTS_MAX];
    struct store_value values[NOTIFY_STATEMENTS_MAX][4];
    size_t count;
    char *body;
    char **names;                   /* of replications */
    struct registry_policy *policy; /* whose names the values point to */
};
struct notice {
    const char *action; /* "push", "delete"; "sync": to be replicated, and no news */
    const char *repository, *digest, *media_type;
    int64_t size;
    const char *tag; /* or NULL */
    char *const *tags;
    bool mirrored; /* came from upstream (mirror.h), and is not replicated */
};
void registry__notices_make(struct registry *r, const struct notice *what, struct notices *ret);
void registry__notices_done(struct notices *n);
/* Once the batch is in: what waits is looked at. */
void registry__notify_wake(struct registry *r);

#endif
