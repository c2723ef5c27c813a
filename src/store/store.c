#include "store/store_priv.h"

#include "base/str.h"
#include "base/timeutil.h"

#include <signal.h>

/* SQLite's deepest paths take under 64 KiB; only touched pages cost memory. */
enum { WRITER_STACK_BYTES = 512 << 10 };

struct store_value store_text(const char *s)
{
    if (!s)
        return (struct store_value){.type = STORE_NULL};
    return (struct store_value){.type = STORE_TEXT, .bytes = s, .size = strlen(s)};
}

/* Signals belong to the program's own threads. */
static int start_writer(struct store *s, struct err *err)
{
    sigset_t all, before;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, WRITER_STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int sys = pthread_create(&s->thread, &attr, store__writer_main, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return sys ? err_sys(err, sys, "start the store's writer thread") : 0;
}

static void store_free(struct store *s)
{
    while (s->idle_readers) {
        struct store_connection *c = s->idle_readers;
        s->idle_readers = c->next;
        store__disconnect(c);
    }
    store__disconnect(s->writer); /* last: it folds the write-ahead log into the file */
    pthread_cond_destroy(&s->work);
    pthread_cond_destroy(&s->behind_room);
    pthread_mutex_destroy(&s->lock);
    free(s->path);
    free(s);
}

int store_open(const char *path, const char *const *migrations, struct store **ret, struct err *err)
{
    struct store *s = NEW(struct store);
    s->path = mem_strdup(path);
    s->queue_end = &s->queue;
    s->full = true; /* as store__connect leaves it */
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->work, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_cond_init(&s->behind_room, NULL);
    int r = store__connect(path, false, &s->writer, err);
    if (r == 0) {
        r = store__migrate(s->writer, migrations, err);
        if (r < 0)
            err_wrap(err, "database %s", path);
    }
    if (r == 0)
        r = start_writer(s, err);
    if (r < 0) {
        store_free(s);
        return r;
    }
    *ret = s;
    return 0;
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

int store_batch(struct store *s, const struct store_statement *statements, size_t count,
                enum store_durability durability, struct err *err)
{
    struct store_request q = {.statements = statements, .count = count, .durability = durability};
    pthread_cond_init(&q.finished, NULL);
    pthread_mutex_lock(&s->lock);
    must(!s->stopping);
    *s->queue_end = &q;
    s->queue_end = &q.next;
    s->waited_count++;
    /* Who finds nobody at work does it himself, together with what came meanwhile: no thread has to be woken
     * for a batch alone. */
    if (!s->busy)
        store__work(s, &q);
    while (!q.done)
        pthread_cond_wait(&q.finished, &s->lock);
    pthread_mutex_unlock(&s->lock);
    pthread_cond_destroy(&q.finished);
    return q.result < 0 ? err_copy(err, &q.err) : 0;
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

/* There are as many readers as queries at a time (a row's callback may query again); a few are kept. */
static int reader_get(struct store *s, struct store_connection **ret, struct err *err)
{
    pthread_mutex_lock(&s->lock);
    struct store_connection *c = s->idle_readers;
    if (c) {
        s->idle_readers = c->next;
        s->idle_reader_count--;
    }
    pthread_mutex_unlock(&s->lock);
    if (!c)
        return store__connect(s->path, true, ret, err);
    *ret = c;
    return 0;
}

static void reader_put(struct store *s, struct store_connection *c)
{
    pthread_mutex_lock(&s->lock);
    bool keep = s->idle_reader_count < STORE_IDLE_READERS;
    if (keep) {
        c->next = s->idle_readers;
        s->idle_readers = c;
        s->idle_reader_count++;
    }
    pthread_mutex_unlock(&s->lock);
    if (!keep)
        store__disconnect(c);
}

static struct store_value column_value(sqlite3_stmt *st, int i)
{
    struct store_value v = {0};
    switch (sqlite3_column_type(st, i)) {
    case SQLITE_INTEGER:
        v.type = STORE_INTEGER;
        v.integer = sqlite3_column_int64(st, i);
        break;
    case SQLITE_FLOAT:
        v.type = STORE_REAL;
        v.real = sqlite3_column_double(st, i);
        break;
    case SQLITE_TEXT:
        v.type = STORE_TEXT;
        v.bytes = sqlite3_column_text(st, i);
        v.size = (size_t)sqlite3_column_bytes(st, i);
        break;
    case SQLITE_BLOB:
        v.type = STORE_BLOB;
        v.bytes = sqlite3_column_blob(st, i);
        v.size = (size_t)sqlite3_column_bytes(st, i);
        break;
    default:
        break;
    }
    return v;
}

static int run_query(struct store_connection *c, sqlite3_stmt *st, store_row_fn row, void *context,
                     struct err *err)
{
    int columns = sqlite3_column_count(st);
    _cleanup_free_ struct store_value *values = NEW_N(struct store_value, (size_t)columns);
    for (;;) {
        int rc = sqlite3_step(st);
        if (rc == SQLITE_DONE)
            return 0;
        if (rc != SQLITE_ROW)
            return store__error(c, rc, "store", err);
        for (int i = 0; i < columns; i++)
            values[i] = column_value(st, i);
        int r = row(context, values, (size_t)columns, err);
        if (r)
            return r;
    }
}

int store_query(struct store *s, const char *sql, const struct store_value *params, size_t param_count,
                store_row_fn row, void *context, struct err *err)
{
    struct store_connection *c;
    int r = reader_get(s, &c, err);
    if (r < 0)
        return r;
    sqlite3_stmt *st;
    r = store__prepare(c, sql, params, param_count, &st, err);
    if (r == 0) {
        if (!sqlite3_column_count(st) || !sqlite3_stmt_readonly(st))
            r = err_set(err, ERR_INVALID, "store: a query only reads: %s", sql);
        else
            r = run_query(c, st, row, context, err);
        store__release(st);
    }
    reader_put(s, c);
    return r;
}
