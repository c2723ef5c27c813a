#include "store/store_priv.h"

#include "base/log.h"
#include "base/timeutil.h"

#include <time.h>

/* How long a lazy batch may stay in the page cache only. */
enum { LAZY_SYNC_S = 1 };

static int run_statement(struct store_connection *c, const struct store_statement *s, struct err *err)
{
    sqlite3_stmt *st;
    int r = store__prepare(c, s->sql, s->params, s->param_count, &st, err);
    if (r < 0)
        return r;
    if (sqlite3_column_count(st)) {
        store__release(st);
        return err_set(err, ERR_INVALID, "store: a batch takes no query and no RETURNING: %s", s->sql);
    }
    sqlite3_int64 total = sqlite3_total_changes64(c->db);
    int rc = sqlite3_step(st);
    if (rc != SQLITE_DONE) {
        r = store__error(c, rc, "store", err);
        store__release(st);
        return r;
    }
    /* Not every statement sets the count of changes: a CREATE leaves the one before. */
    int64_t changes = sqlite3_total_changes64(c->db) == total ? 0 : sqlite3_changes64(c->db);
    store__release(st);
    if (s->expect_changes >= 0 && changes != s->expect_changes)
        return err_set(err, ERR_CONFLICT, "store: %lld rows changed where %lld were expected: %s",
                       (long long)changes, (long long)s->expect_changes, s->sql);
    return 0;
}

static int run_statements(struct store_connection *c, struct store_request *q)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < q->count; i++)
        r = run_statement(c, &q->statements[i], &q->err);
    return r;
}

static void rollback(struct store_connection *c)
{
    if (!sqlite3_get_autocommit(c->db))
        store__exec(c, "ROLLBACK", NULL);
}

/* One batch in a transaction of its own. */
static void run_alone(struct store_connection *c, struct store_request *q)
{
    q->result = store__exec(c, "BEGIN IMMEDIATE", &q->err);
    if (q->result == 0)
        q->result = run_statements(c, q);
    if (q->result == 0)
        q->result = store__exec(c, "COMMIT", &q->err);
    rollback(c);
}

/* All batches in one transaction, each in its savepoint. False: something undid all of them (full disk, a
 * deferred constraint), and nothing of any batch remains. */
static bool run_together(struct store_connection *c, struct store_request *group)
{
    if (store__exec(c, "BEGIN IMMEDIATE", NULL) < 0)
        return false;
    for (struct store_request *q = group; q; q = q->next) {
        if (store__exec(c, "SAVEPOINT batch", NULL) < 0)
            goto undone;
        q->result = run_statements(c, q);
        if (sqlite3_get_autocommit(c->db))
            goto undone;
        if (q->result < 0 && store__exec(c, "ROLLBACK TO batch", NULL) < 0)
            goto undone;
        if (store__exec(c, "RELEASE batch", NULL) < 0)
            goto undone;
    }
    if (store__exec(c, "COMMIT", NULL) == 0)
        return true;
undone:
    rollback(c);
    return false;
}

static void run_group(struct store *s, struct store_request *group)
{
    bool durable = false;
    for (struct store_request *q = group; q; q = q->next)
        durable |= q->durability == STORE_DURABLE;
    /* With FULL, a commit syncs the write-ahead log and so all that was written lazily before it. */
    struct err err;
    int r =
        durable == s->full
            ? 0
            : store__exec(s->writer, durable ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL", &err);
    for (struct store_request *q = group; r < 0 && q; q = q->next)
        q->result = err_copy(&q->err, &err);
    if (r < 0)
        return;
    s->full = durable;
    atomic_fetch_add(&s->version, 1); /* before, for who reads meanwhile, and after */
    if (!group->next || !run_together(s->writer, group))
        for (struct store_request *q = group; q; q = q->next)
            run_alone(s->writer, q);
    atomic_fetch_add(&s->version, 1);
    s->unsynced |= !durable; /* a durable group may have failed, or changed nothing: sync_log takes it back */
}

/* Brings lazily committed batches to the disk. What fails here is found by the next durable commit. */
static void sync_log(struct store *s)
{
    sqlite3_file *log = NULL;
    int rc = sqlite3_file_control(s->writer->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log);
    if (rc == SQLITE_OK && log && log->pMethods)
        log->pMethods->xSync(log, SQLITE_SYNC_NORMAL);
    s->unsynced = false;
}

static bool work_due(const struct store *s)
{
    return s->waited_count || s->behind_count >= STORE_BEHIND_MAX / 4 || (s->stopping && s->queue);
}

static struct timespec after_ms(int64_t ms)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    int64_t ns = t.tv_nsec + ms * NS_PER_MS;
    return (struct timespec){t.tv_sec + ns / NS_PER_S, ns % NS_PER_S};
}

/* Lock held. Returns when there is work, when the time for what nobody waits for has come, or when it is time
 * to sync. */
static void wait_for_work(struct store *s)
{
    while (!work_due(s) && !s->stopping) {
        bool behind = s->behind_count > 0;
        struct timespec until = after_ms(behind ? STORE_BEHIND_MS : LAZY_SYNC_S * 1000);
        int late = 0;
        /* A first statement that comes while we wait for ever or for the sync starts another, shorter wait.
         */
        while (late == 0 && !work_due(s) && !s->stopping && (behind || !s->behind_count))
            late = behind || s->unsynced ? pthread_cond_timedwait(&s->work, &s->lock, &until)
                                         : pthread_cond_wait(&s->work, &s->lock);
        if (late)
            return;
    }
}

/* Waits for work; takes up to STORE_GROUP_BATCHES off the queue. NULL: stop, or time to sync. */
static struct store_request *next_group(struct store *s, bool *ret_stop)
{
    pthread_mutex_lock(&s->lock);
    wait_for_work(s);
    struct store_request *group = s->queue;
    struct store_request **end = &group;
    for (size_t n = 0; *end && n < STORE_GROUP_BATCHES; n++) {
        *((*end)->behind ? &s->behind_count : &s->waited_count) -= 1;
        end = &(*end)->next;
    }
    s->queue = *end;
    *end = NULL;
    if (!s->queue)
        s->queue_end = &s->queue;
    *ret_stop = !group && s->stopping;
    pthread_cond_broadcast(&s->behind_room);
    pthread_mutex_unlock(&s->lock);
    return group;
}

/* Returns those that nobody waited for. */
static struct store_request *answer(struct store *s, struct store_request *group)
{
    struct store_request *behind = NULL;
    pthread_mutex_lock(&s->lock);
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
    pthread_mutex_unlock(&s->lock);
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

void *store__writer_main(void *context)
{
    struct store *s = context;
    for (bool stop = false; !stop;) {
        struct store_request *group = next_group(s, &stop);
        if (group) {
            run_group(s, group);
            end_behind(answer(s, group));
        } else if (s->unsynced) {
            sync_log(s);
        }
    }
    return NULL;
}
