#include "store/store_priv.h"

#include "base/file.h"
#include "base/log.h"
#include "base/timeutil.h"

#include <fcntl.h>
#include <unistd.h>

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
    q->result = store__verb(c, "BEGIN IMMEDIATE", &q->err);
    if (q->result == 0)
        q->result = run_statements(c, q);
    if (q->result == 0)
        q->result = store__verb(c, "COMMIT", &q->err);
    rollback(c);
}

/* All batches in one transaction, each in its savepoint. False: something undid all of them (full disk, a
 * deferred constraint), and nothing of any batch remains. */
static bool run_together(struct store_connection *c, struct store_request *group)
{
    if (store__verb(c, "BEGIN IMMEDIATE", NULL) < 0)
        return false;
    for (struct store_request *q = group; q; q = q->next) {
        if (store__verb(c, "SAVEPOINT batch", NULL) < 0)
            goto undone;
        q->result = run_statements(c, q);
        if (sqlite3_get_autocommit(c->db))
            goto undone;
        if (q->result < 0 && store__exec(c, "ROLLBACK TO batch", NULL) < 0)
            goto undone;
        if (store__verb(c, "RELEASE batch", NULL) < 0)
            goto undone;
    }
    if (store__verb(c, "COMMIT", NULL) == 0)
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
    /* A durable group may have failed, or changed nothing: sync_log takes it back. */
    if (!durable && !s->unsynced) {
        s->unsynced = true;
        s->unsynced_since_ns = time_monotonic_ns();
    }
}

/* Brings lazily committed batches to the disk, beside whoever writes: what comes meanwhile has its own turn.
 * What fails here is found by the next durable commit. */
static void sync_log(const struct store *s)
{
    _cleanup_free_ char *path = str_printf("%s-wal", s->path);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        fdatasync(fd);
}

/* Lock held. Takes up to STORE_GROUP_BATCHES off the queue. */
static struct store_request *take_group(struct store *s)
{
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
        run_group(s, group);
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
            sync_log(s);
            pthread_mutex_lock(&s->lock);
        } else {
            wait_for_work(s);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}
