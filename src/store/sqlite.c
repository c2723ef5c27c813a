/* The backend for one machine: a file, one writing connection, and as many readers as queries at a time. */
#include "store/store_priv.h"

#include "base/file.h"
#include "base/str.h"
#include "base/timeutil.h"

#include <fcntl.h>
#include <unistd.h>

struct sqlite_state {
    char *path;
    struct store_connection *writer;
    bool full;                             /* commits sync (PRAGMA synchronous) */
    bool moved;                            /* its content is another store's */
    struct store_connection *idle_readers; /* under the store's lock */
    size_t idle_reader_count;
};

#define MOVED_TEXT                                                                                           \
    "store: the content of %s is being moved to a replicated store, or has been: it takes no writes. Use "   \
    "that store, "                                                                                           \
    "or end the move with drover store restore"

static int run_statement(struct store *s, const struct store_statement *statement, char ***tables,
                         struct err *err)
{
    struct store_connection *c = s->sqlite->writer;
    sqlite3_stmt *st;
    char *const *changed;
    int r = store__prepare_change(c, statement, &st, &changed, err);
    if (r < 0)
        return r;
    for (char *const *t = changed; tables && t && *t; t++)
        if (!strv_has(*tables, *t))
            strv_add(tables, *t);
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
    return store__check_changes(s, statement, changes, err);
}

/* Whether the batch is still to be done. */
static int remember(struct store *s, const char *request_id, bool *ret_new, struct err *err)
{
    struct store_value id = STORE_STR(request_id), kept = STORE_I64(STORE_REQUESTS_KEPT);
    sqlite3 *db = s->sqlite->writer->db;
    sqlite3_int64 total = sqlite3_total_changes64(db);
    int r = run_statement(s, &(struct store_statement){STORE_REMEMBER_SQL, &id, 1, -1}, NULL, err);
    *ret_new = sqlite3_total_changes64(db) != total;
    if (r < 0 || !*ret_new)
        return r;
    return run_statement(s, &(struct store_statement){STORE_FORGET_SQL, &kept, 1, -1}, NULL, err);
}

static int run_statements(struct store *s, struct store_request *q, char ***tables)
{
    int r = 0;
    bool fresh = true;
    if (q->request_id)
        r = remember(s, q->request_id, &fresh, &q->err);
    for (size_t i = 0; r == 0 && fresh && i < q->count; i++)
        r = run_statement(s, &q->statements[i], tables, &q->err);
    return r;
}

static void rollback(struct store_connection *c)
{
    if (!sqlite3_get_autocommit(c->db))
        store__exec(c, "ROLLBACK", NULL);
}

/* One batch in a transaction of its own. */
static void run_alone(struct store *s, struct store_request *q, char ***tables)
{
    struct store_connection *c = s->sqlite->writer;
    q->result = store__verb(c, "BEGIN IMMEDIATE", &q->err);
    if (q->result == 0)
        q->result = run_statements(s, q, tables);
    if (q->result == 0)
        q->result = store__verb(c, "COMMIT", &q->err);
    rollback(c);
}

/* All batches in one transaction, each in its savepoint. False: something undid all of them (full disk, a
 * deferred constraint), and nothing of any batch remains. */
static bool run_together(struct store *s, struct store_request *group, char ***tables)
{
    struct store_connection *c = s->sqlite->writer;
    if (store__verb(c, "BEGIN IMMEDIATE", NULL) < 0)
        return false;
    for (struct store_request *q = group; q; q = q->next) {
        if (store__verb(c, "SAVEPOINT batch", NULL) < 0)
            goto undone;
        q->result = run_statements(s, q, tables);
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
    struct sqlite_state *q3 = s->sqlite;
    bool durable = false;
    for (struct store_request *q = group; q; q = q->next)
        durable |= q->durability == STORE_DURABLE;
    /* With FULL, a commit syncs the write-ahead log and so all that was written lazily before it. */
    struct err err;
    int r = durable == q3->full
                ? 0
                : store__exec(q3->writer, durable ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL",
                              &err);
    for (struct store_request *q = group; r < 0 && q; q = q->next)
        q->result = err_copy(&q->err, &err);
    if (r < 0)
        return;
    q3->full = durable;
    _cleanup_strv_ char **tables = NULL;
    atomic_fetch_add(&s->version, 1); /* before, for who reads meanwhile, and after */
    if (!group->next || !run_together(s, group, &tables))
        for (struct store_request *q = group; q; q = q->next)
            run_alone(s, q, &tables);
    atomic_fetch_add(&s->version, 1);
    store__tell(s, tables);
    /* A durable group may have failed, or changed nothing: store__sqlite_sync takes it back. */
    if (!durable && !s->unsynced) {
        s->unsynced = true;
        s->unsynced_since_ns = time_monotonic_ns();
    }
}

/* Beside whoever writes: what comes meanwhile has its own turn. What fails here is found by the next durable
 * commit. */
void store__sqlite_sync(struct store *s)
{
    _cleanup_free_ char *path = str_printf("%s-wal", s->sqlite->path);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        fdatasync(fd);
}

/* A row's callback may query again; a few readers are kept. */
static int reader_get(struct store *s, struct store_connection **ret, struct err *err)
{
    struct sqlite_state *q3 = s->sqlite;
    pthread_mutex_lock(&s->lock);
    struct store_connection *c = q3->idle_readers;
    if (c) {
        q3->idle_readers = c->next;
        q3->idle_reader_count--;
    }
    pthread_mutex_unlock(&s->lock);
    if (!c)
        return store__connect(q3->path, true, ret, err);
    *ret = c;
    return 0;
}

static void reader_put(struct store *s, struct store_connection *c)
{
    struct sqlite_state *q3 = s->sqlite;
    pthread_mutex_lock(&s->lock);
    bool keep = q3->idle_reader_count < STORE_IDLE_READERS;
    if (keep) {
        c->next = q3->idle_readers;
        q3->idle_readers = c;
        q3->idle_reader_count++;
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

static int query(struct store *s, const char *sql, const struct store_value *params, size_t param_count,
                 store_row_fn row, void *context, struct err *err)
{
    struct store_connection *c;
    int r = reader_get(s, &c, err);
    if (r < 0)
        return r;
    sqlite3_stmt *st;
    r = store__prepare_query(c, sql, params, param_count, &st, err);
    if (r == 0) {
        r = run_query(c, st, row, context, err);
        store__release(st);
    }
    reader_put(s, c);
    return r;
}

static int leader(struct store *s, char ret_address[STORE_ADDRESS_BYTES], struct err *err)
{
    ret_address[0] = '\0';
    return 0;
}

static void close_file(struct store *s)
{
    struct sqlite_state *q3 = s->sqlite;
    while (q3->idle_readers) {
        struct store_connection *c = q3->idle_readers;
        q3->idle_readers = c->next;
        store__disconnect(c);
    }
    store__disconnect(q3->writer); /* last: it folds the write-ahead log into the file */
    free(q3->path);
    free(q3);
}

const struct store_backend store__sqlite = {
    .run_group = run_group,
    .query = query,
    .leader = leader,
    .close = close_file,
    .batch_bytes = STORE_FILE_BATCH_BYTES,
    .group_bytes = STORE_FILE_BATCH_BYTES,
};

const char *store__sqlite_path(const struct store *s)
{
    return s->sqlite->path;
}

int store__sqlite_mark(struct store *s, bool moved, struct err *err)
{
    struct sqlite_state *q3 = s->sqlite;
    int r = store__exec(q3->writer,
                        moved ? "PRAGMA synchronous=FULL;"
                                "INSERT OR REPLACE INTO store_state(name, number) VALUES ('moved', 1)"
                              : "DELETE FROM store_state WHERE name = 'moved'",
                        err);
    if (r == 0) {
        q3->moved = moved;
        q3->full = true;
    }
    return r;
}

static int check_mark(struct sqlite_state *q3, struct err *err)
{
    sqlite3_stmt *st;
    int r = store__prepare(q3->writer, "SELECT 1 FROM store_state WHERE name = 'moved'", NULL, 0, &st, err);
    if (r < 0)
        return r;
    if (sqlite3_step(st) == SQLITE_ROW)
        r = err_set(err, ERR_CONFLICT, MOVED_TEXT, q3->path);
    store__release(st);
    return r;
}

int store__sqlite_open(const char *path, const char *const *migrations, struct store *s, struct err *err)
{
    struct sqlite_state *q3 = NEW(struct sqlite_state);
    q3->path = mem_strdup(path);
    q3->full = true; /* as store__connect leaves it */
    s->sqlite = q3;
    s->backend = &store__sqlite;
    int r = store__connect(path, false, &q3->writer, err);
    if (r < 0)
        return r;
    r = store__migrate(q3->writer, migrations, err);
    if (r == 0)
        r = check_mark(q3, err);
    return r < 0 ? err_wrap(err, "database %s", path) : 0;
}
