#include "store/store_priv.h"

#include "base/log.h"
#include "base/str.h"
#include "base/timeutil.h"

#include <signal.h>

/* SQLite's deepest paths take under 64 KiB; only touched pages cost memory. */
enum { THREAD_STACK_BYTES = 512 << 10 };

struct store_value store_text(const char *s)
{
    if (!s)
        return (struct store_value){.type = STORE_NULL};
    return (struct store_value){.type = STORE_TEXT, .bytes = s, .size = strlen(s)};
}

int store__thread(pthread_t *ret, void *(*main)(void *), void *context, const char *what, struct err *err)
{
    sigset_t all, before;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, THREAD_STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int sys = pthread_create(ret, &attr, main, context);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return sys ? err_sys(err, sys, "start a thread for %s", what) : 0;
}

static struct store *store_new(void)
{
    struct store *s = NEW(struct store);
    s->queue_end = &s->queue;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->work, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_cond_init(&s->behind_room, NULL);
    store__watch_init(s);
    return s;
}

static void store_free(struct store *s)
{
    store__watch_done(s);
    if (s->cowsql)
        store__cowsql.close(s);
    if (s->sqlite)
        store__sqlite.close(s);
    pthread_cond_destroy(&s->work);
    pthread_cond_destroy(&s->behind_room);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* `opened`: what opening the backend came to. */
static int begin(struct store *s, int opened, struct store **ret, struct err *err)
{
    int r = opened < 0 ? opened : store__watch_begin(s, err);
    if (r == 0)
        r = store__thread(&s->thread, store__writer_main, s, "the store's writer", err);
    if (r < 0) {
        store_free(s);
        return r;
    }
    *ret = s;
    return 0;
}

int store_open(const char *path, const char *const *migrations, struct store **ret, struct err *err)
{
    struct store *s = store_new();
    return begin(s, store__sqlite_open(path, migrations, s, err), ret, err);
}

int store_open_members(const struct store_members *members, const char *const *migrations, struct store **ret,
                       struct err *err)
{
    struct store *s = store_new();
    return begin(s, store__cowsql_open(members, migrations, s, err), ret, err);
}

void store_close(struct store *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    store_free(s);
}

/* Also holds the texts against the bounds of the backend. */
static int measure(struct store *s, struct store_request *q, struct err *err)
{
    for (size_t i = 0; i < q->count; i++) {
        q->bytes += strlen(q->statements[i].sql);
        for (size_t p = 0; p < q->statements[i].param_count; p++)
            q->bytes += q->statements[i].params[p].size + sizeof(int64_t);
    }
    if (q->bytes > s->backend->batch_bytes)
        return err_set(err, ERR_LIMIT, "store: a batch of %zu bytes is larger than %zu: write it in parts",
                       q->bytes, s->backend->batch_bytes);
    if (q->request_id && (!*q->request_id || strlen(q->request_id) >= STORE_REQUEST_ID_BYTES))
        return err_set(err, ERR_INVALID, "store: a request id has 1 to %d bytes", STORE_REQUEST_ID_BYTES - 1);
    return 0;
}

static int submit(struct store *s, struct store_request *q, struct err *err)
{
    int r = measure(s, q, err);
    if (r < 0)
        return r;
    pthread_mutex_lock(&s->lock);
    must(!s->stopping);
    if (s->waited_count >= STORE_WAITED_MAX) {
        pthread_mutex_unlock(&s->lock);
        return err_set(err, ERR_BUSY, "store: %d batches are waiting: try again later", STORE_WAITED_MAX);
    }
    pthread_cond_init(&q->finished, NULL);
    *s->queue_end = q;
    s->queue_end = &q->next;
    s->waited_count++;
    /* Who finds nobody at work does it himself, together with what came meanwhile: no thread has to be woken
     * for a batch alone. */
    if (!s->busy)
        store__work(s, q);
    while (!q->done)
        pthread_cond_wait(&q->finished, &s->lock);
    pthread_mutex_unlock(&s->lock);
    pthread_cond_destroy(&q->finished);
    return q->result < 0 ? err_copy(err, &q->err) : 0;
}

int store_batch(struct store *s, const struct store_statement *statements, size_t count,
                enum store_durability durability, struct err *err)
{
    struct store_request q = {.statements = statements, .count = count, .durability = durability};
    return submit(s, &q, err);
}

int store_batch_once(struct store *s, const char *request_id, const struct store_statement *statements,
                     size_t count, struct err *err)
{
    struct store_request q = {.statements = statements, .count = count, .request_id = request_id};
    return submit(s, &q, err);
}

uint64_t store_version(struct store *s)
{
    return atomic_load(&s->version);
}

static void *copy_bytes(const void *bytes, size_t n)
{
    char *copy = mem_new(n + 1);
    memcpy(copy, bytes, n);
    copy[n] = '\0';
    return copy;
}

static void copy_values(struct store_request *q, const struct store_statement *from)
{
    struct store_value *values = NEW_N(struct store_value, from->param_count + 1);
    for (size_t i = 0; i < from->param_count; i++) {
        values[i] = from->params[i];
        if (values[i].type == STORE_TEXT || values[i].type == STORE_BLOB)
            values[i].bytes = copy_bytes(from->params[i].bytes, from->params[i].size);
    }
    q->own = *from;
    q->own.params = values;
    q->statements = &q->own;
    q->count = 1;
}

void store__behind_free(struct store_request *q)
{
    for (size_t i = 0; i < q->own.param_count; i++)
        if (q->own.params[i].type == STORE_TEXT || q->own.params[i].type == STORE_BLOB)
            free((void *)q->own.params[i].bytes);
    free((void *)q->own.params);
    free(q);
}

void store_behind(struct store *s, const struct store_statement *statement, void (*done)(void *context),
                  void *context)
{
    struct store_request *q = NEW(struct store_request);
    q->behind = true;
    q->durability = STORE_LAZY;
    q->call = done;
    q->context = context;
    copy_values(q, statement);
    if (measure(s, q, &q->err) < 0) {
        log_error("%s", q->err.msg);
        if (done)
            done(context);
        store__behind_free(q);
        return;
    }
    pthread_mutex_lock(&s->lock);
    must(!s->stopping);
    while (s->behind_count >= STORE_BEHIND_MAX)
        pthread_cond_wait(&s->behind_room, &s->lock);
    *s->queue_end = q;
    s->queue_end = &q->next;
    /* The first one starts the thread's clock; when they are many, there is no company to wait for. */
    if (++s->behind_count == 1)
        s->behind_since_ns = time_monotonic_ns();
    if (s->sleeping || s->behind_count == STORE_BEHIND_MANY)
        pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
}

int store_query(struct store *s, const char *sql, const struct store_value *params, size_t param_count,
                store_row_fn row, void *context, struct err *err)
{
    return s->backend->query(s, sql, params, param_count, row, context, err);
}

int store_leader(struct store *s, char ret_address[STORE_ADDRESS_BYTES], struct err *err)
{
    return s->backend->leader(s, ret_address, err);
}

/* --- who decides --- */

static const char FENCE_SQL[] = "UPDATE store_state SET id = id WHERE name = 'epoch' AND number = ?";

struct store_statement store_fence(const struct store_value *epoch)
{
    return (struct store_statement){FENCE_SQL, epoch, 1, 1};
}

static int epoch_row(void *context, const struct store_value *columns, size_t n, struct err *err)
{
    *(int64_t *)context = columns[0].integer;
    return 0;
}

int store_lead(struct store *s, const char *holder, int64_t *ret_epoch, struct err *err)
{
    int64_t before = 0;
    int r = store_query(s, "SELECT number FROM store_state WHERE name = 'epoch'", NULL, 0, epoch_row, &before,
                        err);
    if (r < 0)
        return r;
    struct store_value v[] = {STORE_I64(before + 1), STORE_STR(holder), STORE_I64(before)};
    struct store_statement st = {"INSERT INTO store_state(name, number, text) VALUES ('epoch', ?1, ?2) "
                                 "ON CONFLICT(name) DO UPDATE SET number = ?1, text = ?2 WHERE number = ?3",
                                 v, 3, 1};
    r = store_batch(s, &st, 1, STORE_DURABLE, err);
    if (r == -ERR_CONFLICT)
        return err_set(err, ERR_NOT_LEADER, "store: another has taken the lead meanwhile");
    if (r == 0)
        *ret_epoch = before + 1;
    return r;
}

struct holder {
    char name[STORE_ADDRESS_BYTES];
};

static int holder_row(void *context, const struct store_value *columns, size_t n, struct err *err)
{
    struct holder *h = context;
    if (columns[0].type == STORE_TEXT)
        snprintf(h->name, sizeof(h->name), "%s", (const char *)columns[0].bytes);
    return 0;
}

int store__check_changes(struct store *s, const struct store_statement *st, int64_t changes, struct err *err)
{
    if (st->expect_changes < 0 || changes == st->expect_changes)
        return 0;
    if (strcmp(st->sql, FENCE_SQL) != 0)
        return err_set(err, ERR_CONFLICT, "store: %lld rows changed where %lld were expected: %s",
                       (long long)changes, (long long)st->expect_changes, st->sql);
    struct holder h = {"nobody"};
    store_query(s, "SELECT text FROM store_state WHERE name = 'epoch'", NULL, 0, holder_row, &h, NULL);
    return err_set(err, ERR_NOT_LEADER, "not leader: the epoch %lld is over; the leader is %s",
                   (long long)(st->param_count ? st->params[0].integer : 0), h.name);
}
