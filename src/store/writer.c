#include "store/store_priv.h"

#include "base/log.h"
#include "base/timeutil.h"

/* How long a lazy batch may stay in the page cache only. */
enum { LAZY_SYNC_S = 1 };

/* Lock held. Takes off the queue what one transaction is to hold: STORE_GROUP_BATCHES, or as many as the
 * backend's bytes allow, but at least one. */
static struct store_request *take_group(struct store *s)
{
    struct store_request *group = s->queue;
    struct store_request **end = &group;
    size_t bytes = 0;
    for (size_t n = 0; *end && n < STORE_GROUP_BATCHES; n++) {
        bytes += (*end)->bytes;
        if (n && bytes > s->backend->group_bytes)
            break;
        *((*end)->behind ? &s->behind_count : &s->waited_count) -= 1;
        end = &(*end)->next;
    }
    s->queue = *end;
    *end = NULL;
    if (!s->queue)
        s->queue_end = &s->queue;
    pthread_cond_broadcast(&s->behind_room);
    return group;
}

/* Lock held. Returns those that nobody waited for. */
static struct store_request *answer(struct store_request *group)
{
    struct store_request *behind = NULL;
    while (group) {
        struct store_request *q = group;
        group = q->next; /* q is its caller's again once it is done */
        if (q->behind) {
            q->next = behind;
            behind = q;
            continue;
        }
        q->done = true;
        pthread_cond_signal(&q->finished);
    }
    return behind;
}

/* Newest first: `done` says only that it is over. */
static void end_behind(struct store_request *behind)
{
    while (behind) {
        struct store_request *q = behind;
        behind = q->next;
        if (q->result < 0)
            log_error("%s (%s)", q->err.msg, q->own.sql);
        if (q->call)
            q->call(q->context);
        store__behind_free(q);
    }
}

void store__work(struct store *s, const struct store_request *until)
{
    s->busy = true;
    while (s->queue && !(until && until->done)) {
        struct store_request *group = take_group(s);
        pthread_mutex_unlock(&s->lock);
        s->backend->run_group(s, group);
        pthread_mutex_lock(&s->lock);
        struct store_request *behind = answer(group);
        if (behind) {
            pthread_mutex_unlock(&s->lock);
            end_behind(behind);
            pthread_mutex_lock(&s->lock);
        }
    }
    s->busy = false;
    if (s->queue || (s->unsynced && s->sleeping) || s->stopping)
        pthread_cond_signal(&s->work);
}

/* Lock held, nobody busy. */
static bool work_due(const struct store *s)
{
    return s->waited_count || s->behind_count >= STORE_BEHIND_MANY || (s->queue && s->stopping) ||
           (s->behind_count && time_monotonic_ns() >= s->behind_since_ns + STORE_BEHIND_MS * NS_PER_MS);
}

static void wait_for_work(struct store *s)
{
    int64_t due = INT64_MAX;
    if (!s->busy && s->behind_count)
        due = s->behind_since_ns + STORE_BEHIND_MS * NS_PER_MS;
    if (!s->busy && s->unsynced)
        due = MIN(due, s->unsynced_since_ns + LAZY_SYNC_S * NS_PER_S);
    if (due == INT64_MAX) {
        s->sleeping = true;
        pthread_cond_wait(&s->work, &s->lock);
        s->sleeping = false;
    } else {
        struct timespec at = {.tv_sec = due / NS_PER_S, .tv_nsec = due % NS_PER_S};
        pthread_cond_timedwait(&s->work, &s->lock, &at);
    }
}

/* What callers do not do themselves: what is behind, what came while another was busy, and syncing. */
void *store__writer_main(void *context)
{
    struct store *s = context;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        if (!s->busy && work_due(s)) {
            store__work(s, NULL);
        } else if (!s->busy && s->stopping) {
            break;
        } else if (!s->busy && s->unsynced &&
                   time_monotonic_ns() >= s->unsynced_since_ns + LAZY_SYNC_S * NS_PER_S) {
            s->unsynced = false;
            pthread_mutex_unlock(&s->lock);
            store__sqlite_sync(s);
            pthread_mutex_lock(&s->lock);
        } else {
            wait_for_work(s);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}
