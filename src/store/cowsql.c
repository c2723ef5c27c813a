/* The backend for several machines: one connection that writes to the leader, others that read from it.
 *
 * A group is one transaction on the leader, and a commit whose answer does not come may have been done. So
 * the transaction also writes, into this writer's row of store_state, the group's number and which of its
 * batches it holds; the next try reads that row inside its own transaction, and either finds the group done,
 * or does it. A leader that was replaced finds no row, but commits nothing either.
 *
 * Inside the transaction requests are sent many at a time. An error may have ended the transaction before the
 * statements behind it ran, and these must not commit by themselves: each has a savepoint before it, which
 * then begins another transaction that nobody commits, and COMMIT is sent only when all went well. */
#include "store/store_priv.h"

#include "base/lock.h"
#include "base/str.h"
#include "base/timeutil.h"
#include "store/cowsql_rows.h"
#include "store/member.h"

enum {
    PIPELINE = 64,      /* statements sent at a time */
    RETRY_PAUSE_MS = 5, /* after BUSY, or a leader that no longer is one */
    READERS_MAX = 64,
    WRITERS_KEPT =
        256, /* rows of writers, the latest; a writer's retry ends long before so many others began */
};

struct cowsql_state {
    struct cluster cluster;
    pthread_mutex_t twin_lock;
    struct store_connection
        *twin;             /* an empty database of the same tables: holds statements against the rules */
    struct member *writer; /* who is busy */
    int64_t writer_id, group_number;
    pthread_mutex_t readers_lock;
    pthread_cond_t reader_free;
    struct member *idle_readers;
    size_t reader_count, idle_count;
};

/* --- the leader --- */

static int connect_leader(struct cowsql_state *c, int64_t deadline_ns, struct member **ret, struct err *err)
{
    struct member *m;
    int r = cluster__find(&c->cluster, deadline_ns, &m, err);
    if (r < 0)
        return r;
    r = member__open(m, err);
    if (r < 0) {
        cluster__suspect(&c->cluster, m->address);
        member__close(m);
        return r;
    }
    *ret = m;
    return 0;
}

/* Not the statement's fault: another leader may do it. (SQLITE_NOMEM is also what Raft's "not leader" comes
 * out as.) */
static bool is_of_member(const struct member *m)
{
    uint64_t f = m->failure;
    return m->broken || f == WIRE_NOT_LEADER || f == WIRE_LEADERSHIP_LOST || (f & 0xff) == SQLITE_IOERR ||
           f == SQLITE_NOTFOUND || f == SQLITE_ABORT || f == SQLITE_NOMEM;
}

static void drop_writer(struct cowsql_state *c)
{
    if (c->writer)
        cluster__suspect(&c->cluster, c->writer->address);
    member__close(take_ptr(c->writer));
}

/* --- a group's transaction --- */

struct step {
    const char *sql;
    const struct store_value *params;
    size_t count;
};

enum outcome {
    DONE,    /* committed, or found committed; results are set */
    AGAIN,   /* nothing was done */
    UNKNOWN, /* the commit may have been done */
    CAREFUL, /* a statement failed: one batch after the other, to see whose */
    FAILED,  /* for all */
};

/* Runs up to PIPELINE statements. Returns 0 with their row counts, or the first error. */
static int run_steps(struct member *m, const struct step *steps, size_t n, int64_t *changes, struct err *err)
{
    struct err ignored;
    int result = 0;
    uint64_t failure = 0;
    wire_put_sql(&m->out, WIRE_EXEC_SQL, "SAVEPOINT steps", NULL, 0);
    for (size_t i = 0; i < n; i++) {
        wire_put_sql(&m->out, WIRE_EXEC_SQL, "SAVEPOINT step", NULL, 0);
        wire_put_sql(&m->out, WIRE_EXEC_SQL, steps[i].sql, steps[i].params, steps[i].count);
    }
    /* There is no such savepoint any more when an error has ended the transaction. */
    wire_put_sql(&m->out, WIRE_EXEC_SQL, "RELEASE steps", NULL, 0);
    int64_t deadline_ns = time_monotonic_ns() + MEMBER_ANSWER_MS * NS_PER_MS;
    int r = member__send(m, deadline_ns, err);
    for (size_t i = 0; i < 2 * n + 2 && !m->broken; i++) {
        struct wire_body body;
        uint64_t last, count = 0;
        r = member__receive(m, WIRE_RESULT, MEMBER_BODY_MAX, deadline_ns, &body, result ? &ignored : err);
        if (r == 0)
            r = wire_get_result(body, &last, &count, result ? &ignored : err);
        if (r < 0 && !result) {
            result = r;
            failure = m->failure;
        }
        if (i && i % 2 == 0)
            changes[i / 2 - 1] = (int64_t)count;
    }
    if (m->broken)
        return r < 0 ? r : -ERR_UNAVAILABLE;
    m->failure = failure;
    return result;
}

/* What failed before the commit was sent. */
static enum outcome not_done(struct cowsql_state *c, struct err *err)
{
    struct member *m = c->writer;
    uint64_t failure = m->failure;
    bool of_member = is_of_member(m);
    if (!of_member && member__exec(m, "ROLLBACK", NULL, 0, NULL, NULL) < 0 && m->broken)
        of_member = true;
    if (of_member) {
        drop_writer(c);
        return AGAIN;
    }
    if (failure == SQLITE_BUSY)
        return AGAIN;
    return failure == SQLITE_FULL ? FAILED : CAREFUL;
}

static int mark(struct cowsql_state *c, const char *outcomes, struct err *err)
{
    struct store_value v[] = {STORE_I64(c->writer_id), STORE_I64(c->group_number), STORE_STR(outcomes)};
    struct step s = {"INSERT INTO store_state(id, number, text) VALUES (?1, ?2, ?3) "
                     "ON CONFLICT(id) DO UPDATE SET number = ?2, text = ?3",
                     v, 3};
    int64_t changes;
    return run_steps(c->writer, &s, 1, &changes, err);
}

static enum outcome commit(struct cowsql_state *c, struct err *err)
{
    struct member *m = c->writer;
    if (member__exec(m, "COMMIT", NULL, 0, NULL, err) == 0)
        return DONE;
    uint64_t failure = m->failure;
    if (!m->broken && failure == SQLITE_FULL) { /* it was refused before it was given to the members */
        member__exec(m, "ROLLBACK", NULL, 0, NULL, NULL);
        return FAILED;
    }
    if (!m->broken && (failure == SQLITE_BUSY || failure == WIRE_NOT_LEADER))
        return not_done(c, err);
    drop_writer(c);
    return UNKNOWN;
}

struct found {
    bool done;
    struct str outcomes; /* '1' or '0' for each batch that was tried; empty: all are in */
};

static int found_row(void *context, const struct store_value *columns, size_t n, struct err *err)
{
    struct found *f = context;
    f->done = true;
    if (n == 1 && columns[0].type == STORE_TEXT)
        str_addn(&f->outcomes, columns[0].bytes, columns[0].size);
    return 0;
}

/* An earlier try of the group has been committed: the batches that it holds are done, the others failed as
 * they say, or as a try says that was not committed. */
static int find_done(struct cowsql_state *c, struct store_request **tried, size_t n, bool *ret_done,
                     struct err *err)
{
    struct found f = {false, STR_INIT};
    struct store_value v[] = {STORE_I64(c->writer_id), STORE_I64(c->group_number)};
    int r = member__query(c->writer, "SELECT text FROM store_state WHERE id = ? AND number = ?", v, 2,
                          found_row, &f, err);
    for (size_t i = 0; r == 0 && f.done && i < n; i++) {
        bool in = i >= f.outcomes.len || f.outcomes.data[i] == '1';
        if (in)
            tried[i]->result = 0;
        else if (tried[i]->result == 0)
            tried[i]->result =
                err_set(&tried[i]->err, ERR_CONFLICT, "store: it was in conflict with another batch");
    }
    str_free(&f.outcomes);
    *ret_done = f.done;
    return r;
}

/* The numbers of changes of the tables, for the watchers of other members. */
static int count_changes(struct cowsql_state *c, char *const *tables, struct err *err)
{
    for (char *const *t = tables; t && *t;) {
        struct store_value names[16];
        char *texts[16];
        size_t n = 0;
        _cleanup_str_ struct str sql = STR_INIT;
        str_add(&sql, "UPDATE store_state SET number = number + 1 WHERE name IN (");
        for (; *t && n < ARRAY_SIZE(names); t++, n++) {
            texts[n] = str_printf("table:%s", *t);
            names[n] = STORE_STR(texts[n]);
            str_add(&sql, n ? ",?" : "?");
        }
        str_addc(&sql, ')');
        struct step s = {str_get(&sql), names, n};
        int64_t changes;
        int r = run_steps(c->writer, &s, 1, &changes, err);
        for (size_t i = 0; i < n; i++)
            free(texts[i]);
        if (r < 0)
            return r;
    }
    return 0;
}

/* A batch's statements, from `*from` on; with a request id two steps of its own come first. */
static size_t batch_steps(const struct store_request *q, const struct store_value own[2], struct step *steps)
{
    size_t n = 0;
    if (q->request_id) {
        steps[n++] = (struct step){STORE_REMEMBER_SQL, &own[0], 1};
        steps[n++] = (struct step){STORE_FORGET_SQL, &own[1], 1};
    }
    for (size_t i = 0; i < q->count; i++)
        steps[n++] =
            (struct step){q->statements[i].sql, q->statements[i].params, q->statements[i].param_count};
    return n;
}

/* Of the row counts of batch_steps. */
static int batch_result(struct store *s, struct store_request *q, const int64_t *changes, bool *ret_repeated)
{
    *ret_repeated = q->request_id && changes[0] == 0;
    if (*ret_repeated)
        return 0;
    if (q->request_id)
        changes += 2;
    for (size_t i = 0; i < q->count; i++) {
        int r = store__check_changes(s, &q->statements[i], changes[i], &q->err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* All batches without looking: the common case. */
static enum outcome try_together(struct store *s, struct store_request **tried, size_t n, char *const *tables,
                                 struct err *err)
{
    struct cowsql_state *c = s->cowsql;
    size_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += tried[i]->count + (tried[i]->request_id ? 2 : 0);
    _cleanup_free_ struct step *steps = NEW_N(struct step, total + 1);
    _cleanup_free_ int64_t *changes = NEW_N(int64_t, total + 1);
    _cleanup_free_ struct store_value *own = NEW_N(struct store_value, 2 * n + 1);
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        own[2 * i] = STORE_STR(tried[i]->request_id);
        own[2 * i + 1] = STORE_I64(STORE_REQUESTS_KEPT);
        at += batch_steps(tried[i], &own[2 * i], steps + at);
    }
    if (mark(c, NULL, err) < 0 || count_changes(c, tables, err) < 0)
        return not_done(c, err);
    for (size_t i = 0; i < total; i += PIPELINE)
        if (run_steps(c->writer, steps + i, MIN(total - i, PIPELINE), changes + i, err) < 0)
            return not_done(c, err);
    at = 0;
    for (size_t i = 0; i < n; i++) {
        bool repeated;
        tried[i]->result = batch_result(s, tried[i], changes + at, &repeated);
        if (tried[i]->result < 0 || repeated) { /* it must leave no trace, and the others theirs */
            c->writer->failure = 0;
            return not_done(c, err);
        }
        at += tried[i]->count + (tried[i]->request_id ? 2 : 0);
    }
    return commit(c, err);
}

/* One batch in its savepoint, which is undone when it fails. A non-zero result is of the transaction. */
static int try_one(struct store *s, struct store_request *q, struct err *err)
{
    struct member *m = s->cowsql->writer;
    struct store_value own[2] = {STORE_STR(q->request_id), STORE_I64(STORE_REQUESTS_KEPT)};
    size_t total = q->count + 2;
    _cleanup_free_ struct step *steps = NEW_N(struct step, total);
    _cleanup_free_ int64_t *changes = NEW_N(int64_t, total);
    total = batch_steps(q, own, steps);
    int r = member__exec(m, "SAVEPOINT batch", NULL, 0, NULL, err);
    if (r < 0)
        return r;
    q->result = 0;
    bool repeated = false;
    for (size_t i = 0; i < total && q->result == 0; i += PIPELINE) {
        q->result = run_steps(m, steps + i, MIN(total - i, PIPELINE), changes + i, &q->err);
        if (q->result < 0 && (is_of_member(m) || m->failure == SQLITE_BUSY || m->failure == SQLITE_FULL))
            return err_copy(err, &q->err);
    }
    if (q->result == 0)
        q->result = batch_result(s, q, changes, &repeated);
    if (q->result < 0 || repeated)
        r = member__exec(m, "ROLLBACK TO batch", NULL, 0, NULL, err);
    return r < 0 ? r : member__exec(m, "RELEASE batch", NULL, 0, NULL, err);
}

static enum outcome try_each(struct store *s, struct store_request **tried, size_t n, char *const *tables,
                             struct err *err)
{
    struct cowsql_state *c = s->cowsql;
    _cleanup_str_ struct str outcomes = STR_INIT;
    for (size_t i = 0; i < n; i++) {
        if (try_one(s, tried[i], err) < 0)
            goto broken;
        str_addc(&outcomes, tried[i]->result == 0 ? '1' : '0');
    }
    if (mark(c, str_get(&outcomes), err) < 0 || count_changes(c, tables, err) < 0)
        goto broken;
    return commit(c, err);
broken:;
    enum outcome o = not_done(c, err);
    return o == CAREFUL ? FAILED : o;
}

static enum outcome try_group(struct store *s, struct store_request **tried, size_t n, char *const *tables,
                              bool doubt, bool careful, struct err *err)
{
    struct cowsql_state *c = s->cowsql;
    bool done = false;
    if (member__exec(c->writer, "BEGIN IMMEDIATE", NULL, 0, NULL, err) < 0)
        return not_done(c, err);
    if (doubt && find_done(c, tried, n, &done, err) < 0)
        return not_done(c, err);
    if (done) {
        member__exec(c->writer, "ROLLBACK", NULL, 0, NULL, NULL);
        return DONE;
    }
    return careful ? try_each(s, tried, n, tables, err) : try_together(s, tried, n, tables, err);
}

/* Held against the rules on the twin; those that break them do not come before the leader. */
static int check(struct cowsql_state *c, struct store_request *q, char ***tables)
{
    /* It came while the store was a file, and waited for the move. */
    if (q->bytes > STORE_BATCH_BYTES)
        return err_set(&q->err, ERR_LIMIT, "store: a batch of %zu bytes is larger than %d: write it in parts",
                       q->bytes, STORE_BATCH_BYTES);
    SCOPED_LOCK(locked, &c->twin_lock);
    for (size_t i = 0; i < q->count; i++) {
        sqlite3_stmt *st;
        char *const *changed;
        int r = store__prepare_change(c->twin, &q->statements[i], &st, &changed, &q->err);
        if (r < 0)
            return r;
        store__release(st);
        for (char *const *t = changed; t && *t; t++)
            if (!strv_has(*tables, *t))
                strv_add(tables, *t);
    }
    return 0;
}

static void fail_all(struct store_request **tried, size_t n, bool doubt, const struct err *err)
{
    for (size_t i = 0; i < n; i++)
        if (doubt)
            tried[i]->result =
                err_set(&tried[i]->err, ERR_TIMEOUT,
                        "it is not known whether this was done; a retry with the same request id is "
                        "safe: %.600s",
                        err->msg);
        else
            tried[i]->result = err_copy(&tried[i]->err, err);
}

static void run_tried(struct store *s, struct store_request **tried, size_t n, char *const *tables)
{
    struct cowsql_state *c = s->cowsql;
    int64_t deadline_ns = cluster__deadline(&c->cluster);
    bool doubt = false, careful = false;
    struct err err = {0};
    c->group_number++;
    for (;;) {
        enum outcome o = AGAIN;
        if (!c->writer && connect_leader(c, deadline_ns, &c->writer, &err) < 0) {
            if (err.code == ERR_NO_MAJORITY || err.code == ERR_INVALID || err.code == ERR_NO_SPACE)
                o = FAILED;
        } else {
            o = try_group(s, tried, n, tables, doubt, careful, &err);
        }
        if (o == DONE)
            return;
        doubt |= o == UNKNOWN;
        careful |= o == CAREFUL;
        if (o == FAILED || time_monotonic_ns() >= deadline_ns) {
            fail_all(tried, n, doubt, &err);
            return;
        }
        if (o == AGAIN)
            time_sleep_ns(RETRY_PAUSE_MS * NS_PER_MS);
    }
}

static void run_group(struct store *s, struct store_request *group)
{
    struct store_request *tried[STORE_GROUP_BATCHES];
    _cleanup_strv_ char **tables = NULL;
    size_t n = 0;
    for (struct store_request *q = group; q; q = q->next) {
        q->result = check(s->cowsql, q, &tables);
        if (q->result == 0)
            tried[n++] = q;
    }
    if (!n)
        return;
    atomic_fetch_add(&s->version, 1);
    run_tried(s, tried, n, tables);
    atomic_fetch_add(&s->version, 1);
    store__tell(s, tables);
}

/* --- queries --- */

static int reader_get(struct cowsql_state *c, int64_t deadline_ns, struct member **ret, struct err *err)
{
    pthread_mutex_lock(&c->readers_lock);
    struct timespec at = {.tv_sec = deadline_ns / NS_PER_S, .tv_nsec = deadline_ns % NS_PER_S};
    while (!c->idle_readers && c->reader_count >= READERS_MAX)
        if (pthread_cond_timedwait(&c->reader_free, &c->readers_lock, &at) != 0) {
            pthread_mutex_unlock(&c->readers_lock);
            return err_set(err, ERR_BUSY, "store: %d queries run already: try again later", READERS_MAX);
        }
    struct member *m = c->idle_readers;
    if (m) {
        c->idle_readers = m->next;
        c->idle_count--;
    } else {
        c->reader_count++;
    }
    pthread_mutex_unlock(&c->readers_lock);
    if (m) {
        *ret = m;
        return 0;
    }
    int r = connect_leader(c, deadline_ns, ret, err);
    if (r < 0) {
        pthread_mutex_lock(&c->readers_lock);
        c->reader_count--;
        pthread_cond_signal(&c->reader_free);
        pthread_mutex_unlock(&c->readers_lock);
    }
    return r;
}

static void reader_put(struct cowsql_state *c, struct member *m, bool good)
{
    pthread_mutex_lock(&c->readers_lock);
    bool keep = good && c->idle_count < STORE_IDLE_READERS;
    if (keep) {
        m->next = c->idle_readers;
        c->idle_readers = m;
        c->idle_count++;
    } else {
        c->reader_count--;
    }
    pthread_cond_signal(&c->reader_free);
    pthread_mutex_unlock(&c->readers_lock);
    if (!keep)
        member__close(m);
}

/* All rows are taken before the first is given away: the leader keeps no query open for a slow caller, and
 * one that went away meanwhile is nothing that a caller notices. */
static int fetch(struct cowsql_state *c, const char *sql, const struct store_value *params, size_t n,
                 struct cowsql_rows *rows, struct err *err)
{
    int64_t deadline_ns = cluster__deadline(&c->cluster);
    for (;;) {
        struct member *m;
        cowsql_rows_done(rows);
        int r = reader_get(c, deadline_ns, &m, err);
        bool again =
            r < 0 && r != -ERR_NO_MAJORITY && r != -ERR_NO_SPACE && r != -ERR_INVALID && r != -ERR_BUSY;
        if (r == 0) {
            r = member__query(m, sql, params, n, cowsql_rows_add, rows, err);
            again = r < 0 && r != -ERR_LIMIT && (is_of_member(m) || m->failure == SQLITE_BUSY);
            if (r < 0 && is_of_member(m))
                cluster__suspect(&c->cluster, m->address);
            reader_put(c, m, r == 0 || (!is_of_member(m) && !m->broken));
        }
        if (!again || time_monotonic_ns() >= deadline_ns)
            return r;
        time_sleep_ns(RETRY_PAUSE_MS * NS_PER_MS);
    }
}

static int query(struct store *s, const char *sql, const struct store_value *params, size_t param_count,
                 store_row_fn row, void *context, struct err *err)
{
    struct cowsql_state *c = s->cowsql;
    sqlite3_stmt *st;
    pthread_mutex_lock(&c->twin_lock);
    int r = store__prepare_query(c->twin, sql, params, param_count, &st, err);
    if (r == 0)
        store__release(st);
    pthread_mutex_unlock(&c->twin_lock);
    if (r < 0)
        return r;
    struct cowsql_rows rows = {0};
    r = fetch(c, sql, params, param_count, &rows, err);
    if (r == 0)
        r = cowsql_rows_give(&rows, row, context, err);
    cowsql_rows_done(&rows);
    return r;
}

static int leader(struct store *s, char ret_address[STORE_ADDRESS_BYTES], struct err *err)
{
    struct member *m;
    int r = cluster__find(&s->cowsql->cluster, cluster__deadline(&s->cowsql->cluster), &m, err);
    if (r < 0)
        return r;
    snprintf(ret_address, STORE_ADDRESS_BYTES, "%s", m->address);
    member__close(m);
    return 0;
}

/* --- opening --- */

static void close_cowsql(struct store *s)
{
    struct cowsql_state *c = s->cowsql;
    member__close(c->writer);
    while (c->idle_readers) {
        struct member *m = c->idle_readers;
        c->idle_readers = m->next;
        member__close(m);
    }
    store__disconnect(c->twin);
    cluster__done(&c->cluster);
    pthread_mutex_destroy(&c->twin_lock);
    pthread_mutex_destroy(&c->readers_lock);
    pthread_cond_destroy(&c->reader_free);
    free(c);
}

static int number_row(void *context, const struct store_value *columns, size_t n, struct err *err)
{
    *(int64_t *)context = columns[0].integer;
    return 0;
}

/* One version's script, when the store is at the version before; false: it is further. */
static int migrate_step(struct member *m, int64_t version, size_t known, char *const *statements,
                        struct err *err)
{
    int64_t at = 0;
    int r = member__exec(m, "BEGIN IMMEDIATE", NULL, 0, NULL, err);
    if (r == 0)
        r = member__query(m, "SELECT version FROM schema_version WHERE id = 1", NULL, 0, number_row, &at,
                          err);
    if (r == 0 && at > (int64_t)known)
        r = store__newer(at, known, err);
    bool due = r == 0 && at == version;
    struct store_value next = STORE_I64(version + 1);
    for (char *const *sql = statements; r == 0 && due && *sql; sql++) {
        r = member__exec(m, *sql, NULL, 0, NULL, err);
        if (r < 0)
            err_wrap(err, "migration from version %lld", (long long)version);
    }
    if (r == 0 && due)
        r = member__exec(m, "INSERT OR REPLACE INTO schema_version(id, version) VALUES (1, ?)", &next, 1,
                         NULL, err);
    if (r == 0 && due)
        r = member__exec(
            m,
            "INSERT OR IGNORE INTO store_state(name, number) SELECT 'table:' || name, 0 FROM sqlite_master "
            "WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'store_%'",
            NULL, 0, NULL, err);
    if (r == 0 && due)
        r = member__exec(m, "COMMIT", NULL, 0, NULL, err);
    /* After an error in it a transaction is open, and would block every writer. */
    if ((r < 0 || !due) && !m->broken) {
        uint64_t failure = m->failure;
        member__exec(m, "ROLLBACK", NULL, 0, NULL, NULL);
        m->failure = failure;
    }
    return r;
}

static int prepare_database(struct cowsql_state *c, struct member *m, char ***scripts, size_t known,
                            struct err *err)
{
    int r = 0;
    for (const char *const *sql = store__own_tables; r == 0 && *sql; sql++)
        r = member__exec(m, *sql, NULL, 0, NULL, err);
    int64_t loading = 0;
    if (r == 0)
        r = member__query(m, "SELECT count(*) FROM store_state WHERE name = 'loading'", NULL, 0, number_row,
                          &loading, err);
    if (r == 0 && loading)
        return err_set(err, ERR_UNAVAILABLE, "store: a restore into it has not ended: begin it again");
    if (!known && r == 0)
        r = migrate_step(m, -1, 0, NULL, err);
    for (size_t i = 0; r == 0 && i < known; i++)
        r = migrate_step(m, (int64_t)i, known, scripts[i], err);
    uint64_t id = 0;
    if (r == 0)
        r = member__exec(m, "INSERT INTO store_state(number) VALUES (0)", NULL, 0, &id, err);
    c->writer_id = (int64_t)id;
    struct store_value oldest = STORE_I64((int64_t)id - WRITERS_KEPT);
    if (r == 0)
        r = member__exec(m, "DELETE FROM store_state WHERE name IS NULL AND id < ?", &oldest, 1, NULL, err);
    return r;
}

/* Everything here may be repeated after an error. */
static int prepare(struct cowsql_state *c, char ***scripts, size_t known, struct err *err)
{
    int64_t deadline_ns = cluster__deadline(&c->cluster);
    for (;;) {
        int r = connect_leader(c, deadline_ns, &c->writer, err);
        bool again = r < 0 && r != -ERR_NO_MAJORITY && r != -ERR_NO_SPACE && r != -ERR_INVALID;
        if (r == 0) {
            r = prepare_database(c, c->writer, scripts, known, err);
            again = r < 0 && (is_of_member(c->writer) || c->writer->failure == SQLITE_BUSY);
            if (r < 0)
                member__close(take_ptr(c->writer));
        }
        if (!again || time_monotonic_ns() >= deadline_ns)
            return r;
        time_sleep_ns(RETRY_PAUSE_MS * NS_PER_MS);
    }
}

/* The twin gets the tables by the same scripts, which come apart into statements on the way. */
static int make_twin(struct cowsql_state *c, const char *const *migrations, char ***scripts, struct err *err)
{
    int r = store__connect(":memory:", false, &c->twin, err);
    for (const char *const *sql = store__own_tables; r == 0 && *sql; sql++)
        r = store__exec(c->twin, *sql, err);
    for (size_t i = 0; r == 0 && migrations && migrations[i]; i++) {
        r = store__run_script(c->twin, migrations[i], &scripts[i], err);
        if (r < 0)
            err_wrap(err, "migration from version %zu", i);
    }
    return r < 0 ? r : store__check_tables(c->twin, err);
}

const struct store_backend store__cowsql = {
    .run_group = run_group,
    .query = query,
    .leader = leader,
    .close = close_cowsql,
    .batch_bytes = STORE_BATCH_BYTES,
    .group_bytes = STORE_BATCH_BYTES,
    .polled = true,
};

int store__cowsql_open(const struct store_members *members, const char *const *migrations, struct store *s,
                       struct err *err)
{
    struct cowsql_state *c = NEW(struct cowsql_state);
    size_t known = store__known_version(migrations);
    char ***scripts = NEW_N(char **, known + 1);
    cluster__init(&c->cluster, members);
    pthread_mutex_init(&c->twin_lock, NULL);
    pthread_mutex_init(&c->readers_lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&c->reader_free, &monotonic);
    pthread_condattr_destroy(&monotonic);
    s->cowsql = c;
    s->backend = &store__cowsql;
    int r = make_twin(c, migrations, scripts, err);
    if (r == 0)
        r = prepare(c, scripts, known, err);
    for (size_t i = 0; i < known; i++)
        strv_free(scripts[i]);
    free(scripts);
    return r;
}
