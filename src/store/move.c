/* A store of one machine becomes a replicated one while it is used: readers go on, batches wait.
 *
 * The file is marked before anything is copied: from then on nobody opens it, so that no two stores take
 * writes after a crash in the middle. `drover store restore FILE` then ends what was begun. Only when it is
 * known that the copy was not completed is the mark taken away again. */
#include "store/store_priv.h"

#include "base/timeutil.h"

enum { DECIDE_MS = 60000, PAUSE_MS = 100 };

static void take_writer(struct store *s)
{
    pthread_mutex_lock(&s->lock);
    while (s->busy) {
        pthread_mutex_unlock(&s->lock);
        time_sleep_ns(NS_PER_MS);
        pthread_mutex_lock(&s->lock);
    }
    s->busy = true;
    s->unsynced = false; /* the mark is a durable commit, and brings all to the disk that was before it */
    pthread_mutex_unlock(&s->lock);
}

static void release_writer(struct store *s)
{
    pthread_mutex_lock(&s->lock);
    s->busy = false;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
}

/* Whether the copy is complete, asked until the members say so or not. */
static int decide(const struct store_members *m, bool *ret_complete, struct err *err)
{
    int64_t deadline_ns = time_monotonic_ns() + DECIDE_MS * NS_PER_MS;
    int r;
    while ((r = store__is_restored(m, ret_complete, err)) < 0 && time_monotonic_ns() < deadline_ns)
        time_sleep_ns(PAUSE_MS * NS_PER_MS);
    return r;
}

static int copy(struct store *s, const struct store_members *m, struct err *err)
{
    bool complete = false;
    struct err later;
    int r = store_members_restore(m, store__sqlite_path(s), err);
    if (r == 0)
        return 0;
    if (r == -ERR_CONFLICT) /* it was not empty: nothing was copied */
        return store__sqlite_mark(s, false, &later) < 0 ? err_copy(err, &later) : r;
    if (decide(m, &complete, &later) < 0)
        return err_wrap(
            err, "it is not known whether the move ended, and the file takes no writes; run drover store "
                 "restore when the members answer");
    if (complete)
        return 0;
    return store__sqlite_mark(s, false, &later) < 0 ? err_copy(err, &later) : r;
}

int store_move(struct store *s, const struct store_members *m, const char *const *migrations, struct err *err)
{
    if (s->backend != &store__sqlite)
        return err_set(err, ERR_CONFLICT, "store: it is replicated already");
    struct store opened = {0};
    take_writer(s);
    int r = store__sqlite_mark(s, true, err);
    if (r == 0)
        r = copy(s, m, err);
    if (r == 0)
        r = store__cowsql_open(m, migrations, &opened, err);
    if (r == 0) {
        s->cowsql = opened.cowsql;
        atomic_fetch_add(&s->version, 1);
        s->backend = &store__cowsql;
        r = store__watch_begin(s, err);
    } else if (opened.cowsql) {
        opened.backend->close(&opened);
    }
    release_writer(s);
    return r;
}
