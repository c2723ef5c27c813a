/* What is to be told to others, once they can hear: a durable queue, with a thread of its own.
 *
 * An entry is a row (registry_notice), written in the same batch as what it comes from: what was acknowledged
 * is delivered, also when the process is killed in between, and what was not is not. The thread takes the
 * entries that are due, one at a time, and either takes them off or has them wait: 1, 2, 4, ... seconds, the
 * kind's longest at most. What became of the last QUEUE_LOG_MAX of a kind is kept (registry_delivery).
 *
 * The kinds are webhooks (notify.c) and replication (replicate.c); each has a queue, so that a long copy
 * keeps no webhook waiting. */
#ifndef REGISTRY_QUEUE_H
#define REGISTRY_QUEUE_H

#include "http/client.h"
#include "registry/registry_priv.h"

enum { QUEUE_LOG_MAX = 1000 };

struct queue_entry {
    int64_t id, attempts, due; /* attempts: before this one */
    char *receiver, *body;     /* a webhook's or a rule's name, and what for */
};

struct queue_outcome {
    bool off;      /* it waits no longer */
    bool all_wait; /* its receiver is away: nothing of it is tried before this one is again */
    char text[300];
};

struct queue_kind {
    const char *name; /* as the rows have it */
    const char *next; /* SQL: id, webhook, body, attempts, due of the one row that is to be next */
    int longest_s;
    void (*deliver)(struct registry *r, struct http_client *client, const struct queue_entry *e,
                    const _Atomic bool *closing, struct queue_outcome *ret);
};

struct registry_queue;
int registry__queue_start(struct registry *r, const struct queue_kind *kind, struct registry_queue **ret,
                          struct err *err);
/* What waits is looked at. */
void registry__queue_wake(struct registry_queue *q);
/* A delivery that is under way is ended, where its kind can, and made again after the next start. */
void registry__queue_stop(struct registry_queue *q);

#endif
