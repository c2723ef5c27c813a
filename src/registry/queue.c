#include "registry/queue.h"

#include "base/failpoint.h"
#include "base/log.h"

#include <time.h>

struct registry_queue {
    struct registry *registry;
    const struct queue_kind *kind;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool started, woken;
    _Atomic bool closing; /* changes under lock */
};

static int take_entry(void *context, const struct store_value *c, size_t count, struct err *err)
{
    *(struct queue_entry *)context = (struct queue_entry){c[0].integer, c[3].integer, c[4].integer,
                                                          mem_strdup(c[1].bytes), mem_strdup(c[2].bytes)};
    return 0;
}

static void entry_done(struct queue_entry *e)
{
    free(e->receiver);
    free(e->body);
}

/* What became of one: off the queue, or again later; and a line of the log. */
static void settle(struct registry_queue *q, const struct queue_entry *e, const struct queue_outcome *o)
{
    int64_t now = time_now_ns(), longest = q->kind->longest_s,
            wait_s = e->attempts < 12 ? MIN(INT64_C(1) << e->attempts, longest) : longest;
    const struct store_value id = STORE_I64(e->id), kind = STORE_STR(q->kind->name);
    const struct store_value later[] = {STORE_I64(now + wait_s * NS_PER_S), id, kind, STORE_STR(e->receiver),
                                        STORE_I64(e->attempts + 1)};
    const struct store_value line[] = {
        id, STORE_STR(e->receiver), STORE_I64(now), STORE_I64(e->attempts + 1), STORE_STR(o->text), kind};
    const struct store_value bound[] = {kind, STORE_I64(QUEUE_LOG_MAX)};
    const struct store_statement s[] = {
        o->off ? (struct store_statement){"DELETE FROM registry_notice WHERE id = ?", &id, 1, -1}
        : o->all_wait
            ? (struct store_statement){"UPDATE registry_notice SET attempts = ?5, due = ?1 WHERE id = ?2 OR"
                                       " (kind = ?3 AND webhook = ?4)",
                                       later, 5, -1}
            : (struct store_statement){"UPDATE registry_notice SET attempts = attempts + 1, due = ? WHERE id "
                                       "= ?",
                                       later, 2, -1},
        {"INSERT INTO registry_delivery (notice, webhook, at, attempt, outcome, kind)"
         " VALUES (?, ?, ?, ?, ?, ?)",
         line, 6, -1},
        {"DELETE FROM registry_delivery WHERE kind = ?1 AND id <= (SELECT id FROM registry_delivery"
         " WHERE kind = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
         bound, 2, -1}};
    struct err err = {0};
    FAILPOINT("registry-delivery-made");
    if (store_batch(q->registry->store, s, ARRAY_SIZE(s), STORE_DURABLE, &err) < 0)
        log_warning("registry: %s %s: %s", q->kind->name, e->receiver, err.msg);
}

/* The next entry, when it is due. The time until it is in *ret_due. */
static bool next_due(struct registry_queue *q, struct queue_entry *ret, int64_t *ret_due)
{
    struct queue_entry first = {.due = INT64_MAX};
    if (store_query(q->registry->store, q->kind->next, NULL, 0, take_entry, &first, NULL) < 0)
        first.due = time_now_ns() + 10 * NS_PER_S;
    *ret_due = first.due;
    *ret = first;
    return first.body && first.due <= time_now_ns();
}

static void sleep_until(struct registry_queue *q, int64_t due)
{
    struct timespec until = {.tv_sec = (time_t)(due / NS_PER_S) + 1};
    pthread_mutex_lock(&q->lock);
    if (!q->woken && !q->closing) {
        if (due == INT64_MAX)
            pthread_cond_wait(&q->wake, &q->lock);
        else
            pthread_cond_timedwait(&q->wake, &q->lock, &until);
    }
    q->woken = false;
    pthread_mutex_unlock(&q->lock);
}

static void *run(void *argument)
{
    struct registry_queue *q = argument;
    struct http_client *client = NULL;
    struct err err = {0};
    if (http_client_new(NULL, &client, &err) < 0) {
        log_warning("registry: %s: %s", q->kind->name, err.msg);
        return NULL;
    }
    while (!q->closing) {
        struct queue_entry e;
        struct queue_outcome o = {0};
        int64_t due;
        if (next_due(q, &e, &due)) {
            q->kind->deliver(q->registry, client, &e, &q->closing, &o);
            if (o.off || !q->closing)
                settle(q, &e, &o);
        } else {
            sleep_until(q, due);
        }
        entry_done(&e);
    }
    http_client_free(client);
    return NULL;
}

void registry__queue_wake(struct registry_queue *q)
{
    if (!q)
        return;
    pthread_mutex_lock(&q->lock);
    q->woken = true;
    pthread_cond_signal(&q->wake);
    pthread_mutex_unlock(&q->lock);
}

int registry__queue_start(struct registry *r, const struct queue_kind *kind, struct registry_queue **ret,
                          struct err *err)
{
    struct registry_queue *q = NEW(struct registry_queue);
    q->registry = r;
    q->kind = kind;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->wake, NULL);
    int sys = pthread_create(&q->thread, NULL, run, q);
    if (sys != 0) {
        registry__queue_stop(q);
        return err_sys(err, sys, "start the thread of %s", kind->name);
    }
    q->started = true;
    *ret = q;
    return 0;
}

void registry__queue_stop(struct registry_queue *q)
{
    if (!q)
        return;
    if (q->started) {
        pthread_mutex_lock(&q->lock);
        q->closing = true;
        pthread_cond_signal(&q->wake);
        pthread_mutex_unlock(&q->lock);
        pthread_join(q->thread, NULL);
    }
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->wake);
    free(q);
}
