/* Notifications: whoever a policy's webhooks name hears of what was pushed and deleted.
 *
 * A notification is a row, written in the same batch as what it tells of: what was acknowledged is told, also
 * when the process is killed in between, and what was not is not. A thread of the registry's own sends them,
 * for each webhook in their order, until an answer of 2xx has come: again after 1, 2, 4, ... seconds, an hour
 * at most, and no more after NOTIFY_TRIES. Who takes one twice (its answer was lost) knows it by its id. The
 * rows are bounded: when there are NOTIFY_QUEUE_MAX, the oldest go. What became of the last NOTIFY_LOG_MAX is
 * kept.
 *
 * The body is that of the distribution project's notifications (application/vnd.docker.distribution.events
 * .v2+json): {"events": [{"id", "timestamp", "action", "target": {...}}]}, an event for each tag. Headers:
 * X-Drover-Delivery is the id, X-Hub-Signature-256 is "sha256=" and the HMAC of the body in hex, where the
 * webhook has a secret. */
#ifndef REGISTRY_NOTIFY_H
#define REGISTRY_NOTIFY_H

#include "registry/registry_priv.h"

enum {
    NOTIFY_QUEUE_MAX = 10000,
    NOTIFY_LOG_MAX = 1000,
    NOTIFY_TRIES = 30,
    NOTIFY_LONGEST_S = 3600,
    NOTIFY_HOOKS_MAX = REGISTRY_MAX_WEBHOOKS,
};

/* The statements that write the notifications of one thing that happens; they go into its batch. */
struct notices {
    struct store_statement statements[NOTIFY_HOOKS_MAX + 1];
    struct store_value values[NOTIFY_HOOKS_MAX + 1][4];
    size_t count;
    char *body;
    struct registry_policy *policy; /* whose names the values point to */
};
struct notice {
    const char *action; /* "push", "delete" */
    const char *repository, *digest, *media_type;
    int64_t size;
    const char *tag; /* or NULL */
    char *const *tags;
};
void registry__notices_make(struct registry *r, const struct notice *what, struct notices *ret);
void registry__notices_done(struct notices *n);
/* Once the batch is in: what waits is looked at. */
void registry__notify_wake(struct registry *r);

struct notifier;
int registry__notifier_start(struct registry *r, struct notifier **ret, struct err *err);
void registry__notifier_stop(struct notifier *n);

#endif
