#include "unit.h"

#include "base/timeutil.h"
#include "store/store.h"
#include "store_member.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/wait.h>

static const char *const MIGRATIONS[] = {
    "CREATE TABLE item(name TEXT PRIMARY KEY, n INTEGER NOT NULL) STRICT;"
    "CREATE TABLE part(id INTEGER PRIMARY KEY, item TEXT NOT NULL REFERENCES item(name)) STRICT;",
    "CREATE TABLE bytes(id INTEGER PRIMARY KEY, b BLOB, r REAL, t TEXT) STRICT;",
    NULL,
};

/* With a member, the databases of its store stand for a file: a test's first one is empty. */
struct fixture {
    char *dir, *path;
    struct store *store;
    struct store_member_process *member; /* NULL: a file */
};

static int open_store(struct fixture *f, const char *const *migrations, struct store **ret, struct err *err)
{
    struct store_members m;
    if (!f->member)
        return store_open(f->path, migrations, ret, err);
    m = store_member_of(f->member);
    return store_open_members(&m, migrations, ret, err);
}

static int setup(void **state)
{
    struct fixture *f = NEW(struct fixture);
    f->dir = scratch_new();
    f->path = str_printf("%s/test.db", f->dir);
    *state = f;
    return 0;
}

static int setup_file(void **state)
{
    struct err err;
    setup(state);
    struct fixture *f = *state;
    assert_ok(open_store(f, MIGRATIONS, &f->store, &err), &err);
    return 0;
}

static int setup_members(void **state)
{
    struct err err;
    setup(state);
    struct fixture *f = *state;
    f->member = store_member_start(f->dir);
    if (f->member)
        assert_ok(open_store(f, MIGRATIONS, &f->store, &err), &err);
    return 0;
}

/* A file, and a member whose store is still empty. */
static int setup_move(void **state)
{
    struct err err;
    setup(state);
    struct fixture *f = *state;
    f->member = store_member_start(f->dir);
    if (f->member)
        assert_ok(store_open(f->path, MIGRATIONS, &f->store, &err), &err);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    store_close(f->store);
    store_member_end(f->member);
    free(f->path);
    scratch_remove(f->dir);
    free(f);
    return 0;
}

/* Skips where there is no cowsql. */
#define FIXTURE(state)                                                                                       \
    ({                                                                                                       \
        struct fixture *f_ = *(state);                                                                       \
        if (!f_->store) {                                                                                    \
            print_message("skipped: needs build/drover, openssl and libcowsql0\n");                          \
            skip();                                                                                          \
        }                                                                                                    \
        f_;                                                                                                  \
    })

static int first_integer(void *context, const struct store_value *columns, size_t n, struct err *err)
{
    *(int64_t *)context = columns[0].integer;
    return 0;
}

static int64_t number(struct store *s, const char *sql)
{
    struct err err;
    int64_t n = -1;
    assert_ok(store_query(s, sql, NULL, 0, first_integer, &n, &err), &err);
    return n;
}

static int insert(struct store *s, const char *name, int64_t n, enum store_durability d, struct err *err)
{
    struct store_value v[] = {STORE_STR(name), STORE_I64(n)};
    struct store_statement st = {"INSERT INTO item(name, n) VALUES (?, ?)", v, 2, 1};
    return store_batch(s, &st, 1, d, err);
}

static int check_types(void *context, const struct store_value *c, size_t n, struct err *err)
{
    assert_int_equal(n, 4);
    assert_int_equal(c[0].type, STORE_INTEGER);
    assert_int_equal(c[1].type, STORE_BLOB);
    assert_int_equal(c[1].size, 3);
    assert_memory_equal(c[1].bytes, "a\0b", 3);
    assert_int_equal(c[2].type, STORE_REAL);
    assert_true(c[2].real > 1.49 && c[2].real < 1.51);
    assert_int_equal(c[3].type, STORE_NULL);
    (*(int *)context)++;
    return 0;
}

static void values_come_back_with_their_types(void **state)
{
    struct fixture *f = FIXTURE(state);
    struct err err;
    struct store_value v[] = {
        {.type = STORE_BLOB, .bytes = "a\0b", .size = 3}, {.type = STORE_REAL, .real = 1.5}, STORE_STR(NULL)};
    struct store_statement st = {"INSERT INTO bytes(b, r, t) VALUES (?, ?, ?)", v, 3, 1};
    assert_ok(store_batch(f->store, &st, 1, STORE_LAZY, &err), &err);
    int rows = 0;
    assert_ok(store_query(f->store, "SELECT id, b, r, t FROM bytes", NULL, 0, check_types, &rows, &err),
              &err);
    assert_int_equal(rows, 1);
}

static void a_failed_batch_leaves_no_trace(void **state)
{
    struct fixture *f = FIXTURE(state);
    struct err err;
    struct store_statement duplicate[] = {{"INSERT INTO item(name, n) VALUES ('a', 1)", NULL, 0, 1},
                                          {"INSERT INTO item(name, n) VALUES ('a', 2)", NULL, 0, 1}};
    assert_int_equal(store_batch(f->store, duplicate, 2, STORE_DURABLE, &err), -ERR_CONFLICT);
    struct store_statement expectation[] = {{"INSERT INTO item(name, n) VALUES ('b', 1)", NULL, 0, 1},
                                            {"UPDATE item SET n = 2 WHERE name = 'nobody'", NULL, 0, 1}};
    assert_int_equal(store_batch(f->store, expectation, 2, STORE_DURABLE, &err), -ERR_CONFLICT);
    assert_non_null(strstr(err.msg, "0 rows changed where 1 were expected"));
    assert_int_equal(number(f->store, "SELECT count(*) FROM item"), 0);
}

static void a_broken_reference_is_refused(void **state)
{
    struct fixture *f = FIXTURE(state);
    struct err err;
    struct store_statement st = {"INSERT INTO part(item) VALUES ('none')", NULL, 0, -1};
    assert_int_equal(store_batch(f->store, &st, 1, STORE_LAZY, &err), -ERR_CONFLICT);
}

static void statements_that_would_break_the_rules_are_refused(void **state)
{
    static const char *const batch[] = {
        "BEGIN",
        "COMMIT",
        "SAVEPOINT x",
        "PRAGMA foreign_keys = 0",
        "ATTACH ':memory:' AS x",
        "VACUUM",
        "CREATE TEMP TABLE t(x)",
        "SELECT 1",
        "INSERT INTO item(name, n) VALUES ('x', 1) RETURNING n",
        "INSERT INTO item(name, n) VALUES ('x', 1); DELETE FROM item",
        "nonsense",
        "",
    };
    struct fixture *f = FIXTURE(state);
    struct err err;
    for (size_t i = 0; i < ARRAY_SIZE(batch); i++) {
        struct store_statement st = {batch[i], NULL, 0, -1};
        if (store_batch(f->store, &st, 1, STORE_LAZY, &err) >= 0)
            fail_msg("accepted: %s", batch[i]);
    }
    int64_t n;
    assert_int_equal(store_query(f->store, "DELETE FROM item", NULL, 0, first_integer, &n, &err),
                     -ERR_INVALID);
    struct store_value zero = {.type = STORE_TEXT, .bytes = "a\0b", .size = 3};
    struct store_statement st = {"INSERT INTO item(name, n) VALUES (?, 1)", &zero, 1, -1};
    assert_int_equal(store_batch(f->store, &st, 1, STORE_LAZY, &err), -ERR_INVALID);
    assert_int_equal(
        store_batch(f->store, &(struct store_statement){st.sql, NULL, 0, -1}, 1, STORE_LAZY, &err),
        -ERR_INVALID);
    assert_int_equal(number(f->store, "SELECT count(*) FROM item"), 0);
}

enum { THREADS = 8, EACH = 100 };

struct worker {
    struct store *store;
    int id;
    int good, refused;
};

/* Every tenth batch must fail in its second statement. */
static void count_done(void *context)
{
    ++*(int *)context;
}

static void what_is_written_behind_keeps_its_order_and_is_there_after_closing(void **state)
{
    struct fixture *f = FIXTURE(state);
    struct err err;
    int done = 0;
    char name[16] = "later";
    struct store_value values[] = {STORE_STR(name), STORE_I64(1)};
    struct store_statement first = {"INSERT INTO item(name, n) VALUES (?, ?)", values, 2, 1};
    uint64_t before = store_version(f->store);
    store_behind(f->store, &first, count_done, &done);
    memcpy(name, "other", 6); /* the value was copied */
    struct store_value again[] = {STORE_STR("later"), STORE_I64(2)};
    struct store_statement replace = {"UPDATE item SET n = ?2 WHERE name = ?1", again, 2, 1};
    assert_ok(store_batch(f->store, &replace, 1, STORE_LAZY, &err), &err);
    assert_int_equal(number(f->store, "SELECT n FROM item WHERE name = 'later'"), 2);
    assert_true(store_version(f->store) != before);
    struct store_statement wrong = {"INSERT INTO item(name, n) VALUES ('later', 3)", NULL, 0, 1};
    store_behind(f->store, &wrong, count_done, &done); /* fails, is logged, and is done */
    struct store_statement last = {"INSERT INTO item(name, n) VALUES ('last', 4)", NULL, 0, 1};
    store_behind(f->store, &last, count_done, &done);
    store_close(f->store);
    assert_int_equal(done, 3);
    assert_ok(open_store(f, MIGRATIONS, &f->store, &err), &err);
    assert_int_equal(number(f->store, "SELECT n FROM item WHERE name = 'last'"), 4);
    assert_int_equal(number(f->store, "SELECT count(*) FROM item"), 2);
}

static void *work(void *context)
{
    struct worker *w = context;
    for (int i = 0; i < EACH; i++) {
        char name[32];
        snprintf(name, sizeof(name), "%d-%d", w->id, i);
        struct store_value v[] = {STORE_STR(name), STORE_I64(i)};
        struct store_statement st[] = {
            {"INSERT INTO item(name, n) VALUES (?, ?)", v, 2, 1},
            {"UPDATE item SET n = n + 1 WHERE name = ? AND ? >= 0", v, 2, i % 10 == 9 ? 5 : 1}};
        int r = store_batch(w->store, st, 2, i % 2 ? STORE_DURABLE : STORE_LAZY, NULL);
        if (r == 0)
            w->good++;
        else if (r == -ERR_CONFLICT)
            w->refused++;
        struct err err;
        int64_t seen = -1;
        if (store_query(w->store, "SELECT count(*) FROM item WHERE name = ?", v, 1, first_integer, &seen,
                        &err) < 0 ||
            seen != (r == 0))
            w->good = -1000000;
    }
    return NULL;
}

static void concurrent_batches_each_commit_whole_or_not_at_all(void **state)
{
    struct fixture *f = FIXTURE(state);
    struct worker workers[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.store = f->store, .id = i};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(workers[i].good, EACH * 9 / 10);
        assert_int_equal(workers[i].refused, EACH / 10);
    }
    assert_int_equal(number(f->store, "SELECT count(*) FROM item"), THREADS * EACH * 9 / 10);
}

static int nested(void *context, const struct store_value *columns, size_t n, struct err *err)
{
    *(int64_t *)context += number(((void **)context)[1], "SELECT count(*) FROM item");
    return *(int64_t *)context >= 6 ? 17 : 0;
}

static void a_row_callback_may_query_and_may_end_the_query(void **state)
{
    struct fixture *f = FIXTURE(state);
    struct err err;
    assert_ok(insert(f->store, "a", 1, STORE_LAZY, &err), &err);
    assert_ok(insert(f->store, "b", 1, STORE_LAZY, &err), &err);
    assert_ok(insert(f->store, "c", 1, STORE_LAZY, &err), &err);
    struct {
        int64_t sum;
        struct store *store;
    } c = {0, f->store};
    assert_int_equal(store_query(f->store, "SELECT name FROM item", NULL, 0, nested, &c, &err), 17);
    assert_int_equal(c.sum, 6);
}

static void a_request_id_makes_a_repeated_batch_take_effect_once(void **state)
{
    struct fixture *f = FIXTURE(state);
    struct err err;
    assert_ok(insert(f->store, "a", 0, STORE_DURABLE, &err), &err);
    struct store_statement add = {"UPDATE item SET n = n + 1 WHERE name = 'a'", NULL, 0, 1};
    for (int i = 0; i < 3; i++)
        assert_ok(store_batch_once(f->store, "request-1", &add, 1, &err), &err);
    assert_int_equal(number(f->store, "SELECT n FROM item"), 1);
    assert_ok(store_batch_once(f->store, "request-2", &add, 1, &err), &err);
    assert_int_equal(number(f->store, "SELECT n FROM item"), 2);
    /* One that failed was not done, and its id is free. */
    struct store_statement none = {"UPDATE item SET n = 9 WHERE name = 'b'", NULL, 0, 1};
    assert_int_equal(store_batch_once(f->store, "request-3", &none, 1, &err), -ERR_CONFLICT);
    assert_ok(store_batch_once(f->store, "request-3", &add, 1, &err), &err);
    assert_int_equal(number(f->store, "SELECT n FROM item"), 3);
    assert_int_equal(store_batch_once(f->store, "", &add, 1, &err), -ERR_INVALID);
}

static void count_call(void *context)
{
    atomic_fetch_add((atomic_int *)context, 1);
}

static bool comes_to(atomic_int *n, int least)
{
    for (int i = 0; i < 1000 && atomic_load(n) < least; i++)
        time_sleep_ns(10 * NS_PER_MS);
    return atomic_load(n) >= least;
}

static void watchers_hear_of_their_tables_whoever_changed_them(void **state)
{
    struct fixture *f = FIXTURE(state);
    struct err err;
    static const char *const items[] = {"item", NULL}, *const others[] = {"part", NULL};
    atomic_int heard = 0, not_mine = 0;
    struct store_watch *w, *other;
    assert_ok(store_watch(f->store, items, count_call, &heard, &w, &err), &err);
    assert_ok(store_watch(f->store, others, count_call, &not_mine, &other, &err), &err);
    assert_ok(insert(f->store, "a", 1, STORE_DURABLE, &err), &err);
    assert_true(comes_to(&heard, 1));
    if (f->member) {
        struct store *another;
        int before = atomic_load(&heard) + 1; /* the asking thread may tell of the first once more */
        assert_ok(open_store(f, MIGRATIONS, &another, &err), &err);
        for (int i = 0; i < 100 && atomic_load(&heard) <= before; i++) {
            char name[16];
            snprintf(name, sizeof(name), "b%d", i);
            assert_ok(insert(another, name, 1, STORE_DURABLE, &err), &err);
            time_sleep_ns(50 * NS_PER_MS);
        }
        assert_true(atomic_load(&heard) > before);
        store_close(another);
    }
    assert_int_equal(atomic_load(&not_mine), 0);
    store_unwatch(w);
    int after = atomic_load(&heard);
    assert_ok(insert(f->store, "z", 1, STORE_DURABLE, &err), &err);
    assert_int_equal(atomic_load(&heard), after);
    store_unwatch(other);
}

static void an_epoch_that_is_over_can_decide_nothing(void **state)
{
    struct fixture *f = FIXTURE(state);
    struct err err;
    int64_t first, second;
    assert_ok(store_lead(f->store, "10.0.0.1:9000", &first, &err), &err);
    struct store_value epoch = STORE_I64(first);
    struct store_statement decide[] = {store_fence(&epoch),
                                       {"INSERT INTO item(name, n) VALUES ('x', 1)", NULL, 0, 1}};
    assert_ok(store_batch(f->store, decide, 2, STORE_DURABLE, &err), &err);
    assert_ok(store_lead(f->store, "10.0.0.2:9000", &second, &err), &err);
    assert_true(second > first);
    decide[1].sql = "INSERT INTO item(name, n) VALUES ('y', 1)";
    assert_int_equal(store_batch(f->store, decide, 2, STORE_DURABLE, &err), -ERR_NOT_LEADER);
    assert_non_null(strstr(err.msg, "the leader is 10.0.0.2:9000"));
    assert_int_equal(number(f->store, "SELECT count(*) FROM item"), 1);
}

static void bounds_are_clear_errors(void **state)
{
    struct fixture *f = FIXTURE(state);
    struct err err;
    struct store_value many[STORE_PARAMS_MAX + 1];
    _cleanup_str_ struct str sql = STR_INIT;
    str_add(&sql, "INSERT INTO item(name, n) SELECT 'x', count(*) FROM item WHERE n IN (");
    for (size_t i = 0; i < ARRAY_SIZE(many); i++) {
        many[i] = STORE_I64(1);
        str_add(&sql, i ? ",?" : "?");
    }
    str_addc(&sql, ')');
    struct store_statement st = {str_get(&sql), many, ARRAY_SIZE(many), 1};
    assert_int_equal(store_batch(f->store, &st, 1, STORE_DURABLE, &err), -ERR_INVALID);
    assert_non_null(strstr(err.msg, "255"));
    size_t n = f->member ? STORE_BATCH_BYTES : STORE_FILE_BATCH_BYTES;
    _cleanup_free_ char *large = mem_new(n + 1);
    memset(large, 'x', n);
    struct store_value v = {.type = STORE_TEXT, .bytes = large, .size = n};
    struct store_statement big = {"INSERT INTO bytes(t) VALUES (?)", &v, 1, 1};
    assert_int_equal(store_batch(f->store, &big, 1, STORE_DURABLE, &err), -ERR_LIMIT);
    assert_non_null(strstr(err.msg, "write it in parts"));
    v.size = 900 << 10;
    large[v.size] = '\0';
    assert_ok(store_batch(f->store, &big, 1, STORE_DURABLE, &err), &err);
    assert_int_equal(number(f->store, "SELECT length(t) FROM bytes"), 900 << 10);
}

static void a_table_that_is_not_strict_is_refused(void **state)
{
    struct fixture *f = FIXTURE(state);
    struct err err;
    struct store *s;
    const char *const loose[] = {MIGRATIONS[0], MIGRATIONS[1], "CREATE TABLE loose(at DATETIME)", NULL};
    assert_int_equal(open_store(f, loose, &s, &err), -ERR_INVALID);
    assert_non_null(strstr(err.msg, "loose is not STRICT"));
}

struct order {
    int64_t next, wrong;
};

static int in_order(void *context, const struct store_value *columns, size_t n, struct err *err)
{
    struct order *o = context;
    o->wrong += columns[0].integer != o->next++ || columns[1].size != 5;
    return 0;
}

static void many_rows_come_back_in_order(void **state)
{
    struct fixture *f = FIXTURE(state);
    struct err err;
    struct store_statement st = {
        "WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < 4999) "
        "INSERT INTO item(name, n) SELECT printf('%05d', i), i FROM c",
        NULL, 0, 5000};
    assert_ok(store_batch(f->store, &st, 1, STORE_DURABLE, &err), &err);
    struct order o = {0, 0};
    assert_ok(store_query(f->store, "SELECT n, name FROM item ORDER BY n", NULL, 0, in_order, &o, &err),
              &err);
    assert_int_equal(o.next, 5000);
    assert_int_equal(o.wrong, 0);
}

struct mover {
    struct store *store;
    atomic_bool stop;
    atomic_int written, read, troubles;
};

static void *write_on(void *context)
{
    struct mover *m = context;
    while (!atomic_load(&m->stop)) {
        char name[16];
        snprintf(name, sizeof(name), "w%d", atomic_load(&m->written));
        struct err err;
        if (insert(m->store, name, 1, STORE_DURABLE, &err) < 0) {
            print_message("write: %s\n", err.msg);
            atomic_fetch_add(&m->troubles, 1);
        }
        atomic_fetch_add(&m->written, 1);
    }
    return NULL;
}

static void *read_on(void *context)
{
    struct mover *m = context;
    int64_t before = 0, n;
    while (!atomic_load(&m->stop)) {
        struct err err;
        if (store_query(m->store, "SELECT count(*) FROM item", NULL, 0, first_integer, &n, &err) < 0 ||
            n < before) {
            print_message("read: %s, %lld after %lld\n", err.msg, (long long)n, (long long)before);
            atomic_fetch_add(&m->troubles, 1);
        }
        before = n;
        atomic_fetch_add(&m->read, 1);
    }
    return NULL;
}

static void a_file_becomes_a_replicated_store_under_its_users(void **state)
{
    struct fixture *f = FIXTURE(state);
    struct err err;
    struct store_members members = store_member_of(f->member);
    struct mover m = {.store = f->store};
    pthread_t writer, reader;
    struct store_value blob = {.type = STORE_BLOB, .bytes = "a\0b", .size = 3};
    struct store_statement st[] = {
        {"INSERT INTO bytes(b, r, t) VALUES (?, 1.5, NULL)", &blob, 1, 1},
        {"WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < 9999) "
         "INSERT INTO item(name, n) SELECT printf('%05d', i), i FROM c",
         NULL, 0, 10000}};
    int64_t epoch;
    assert_ok(store_batch(f->store, st, 2, STORE_DURABLE, &err), &err);
    assert_ok(store_lead(f->store, "here", &epoch, &err), &err);
    assert_int_equal(pthread_create(&writer, NULL, write_on, &m), 0);
    assert_int_equal(pthread_create(&reader, NULL, read_on, &m), 0);
    assert_true(comes_to(&m.written, 10) && comes_to(&m.read, 10));
    assert_ok(store_move(f->store, &members, MIGRATIONS, &err), &err);
    int written = atomic_load(&m.written), read = atomic_load(&m.read);
    assert_true(comes_to(&m.written, written + 10) && comes_to(&m.read, read + 10));
    atomic_store(&m.stop, true);
    pthread_join(writer, NULL);
    pthread_join(reader, NULL);
    assert_int_equal(atomic_load(&m.troubles), 0);
    /* Everything is with the members, and the file is not taken for the store any more. */
    struct store *other;
    assert_int_equal(number(f->store, "SELECT count(*) FROM item"), 10000 + atomic_load(&m.written));
    assert_ok(open_store(f, MIGRATIONS, &other, &err), &err);
    assert_int_equal(number(other, "SELECT count(*) FROM item"), 10000 + atomic_load(&m.written));
    assert_int_equal(number(other, "SELECT length(b) FROM bytes"), 3);
    store_close(other);
    struct store_value v = STORE_I64(epoch);
    struct store_statement decide[] = {store_fence(&v),
                                       {"INSERT INTO item(name, n) VALUES ('x', 1)", NULL, 0, 1}};
    assert_ok(store_batch(f->store, decide, 2, STORE_DURABLE, &err), &err);
    assert_int_equal(store_open(f->path, MIGRATIONS, &other, &err), -ERR_CONFLICT);
    assert_non_null(strstr(err.msg, "moved to a replicated store"));
    assert_int_equal(store_move(f->store, &members, MIGRATIONS, &err), -ERR_CONFLICT);
}

static void a_move_that_is_refused_leaves_the_file_as_it_was(void **state)
{
    struct fixture *f = FIXTURE(state);
    struct err err;
    struct store *other;
    assert_ok(insert(f->store, "a", 1, STORE_DURABLE, &err), &err);
    struct store_members members = store_member_of(f->member);
    assert_ok(store_open_members(&members, MIGRATIONS, &other, &err), &err); /* it is not empty any more */
    store_close(other);
    assert_int_equal(store_move(f->store, &members, MIGRATIONS, &err), -ERR_CONFLICT);
    assert_non_null(strstr(err.msg, "not empty"));
    assert_ok(insert(f->store, "b", 1, STORE_DURABLE, &err), &err);
    store_close(take_ptr(f->store));
    assert_ok(store_open(f->path, MIGRATIONS, &f->store, &err), &err);
    assert_int_equal(number(f->store, "SELECT count(*) FROM item"), 2);
}

/* The child writes each acknowledged number into the pipe; what the pipe holds must be in the database. */
static void acknowledged_durable_rows_survive_kill_nine(void **state)
{
    _cleanup_free_ char *path = NULL;
    struct fixture *f = *state;
    path = str_printf("%s/killed.db", f->dir);
    int pipe_fds[2];
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    pid_t child = fork();
    if (child == 0) {
        struct store *s;
        if (store_open(path, MIGRATIONS, &s, NULL) < 0)
            _exit(1);
        for (int32_t i = 0;; i++) {
            char name[16];
            snprintf(name, sizeof(name), "%d", i);
            if (insert(s, name, i, i % 3 ? STORE_DURABLE : STORE_LAZY, NULL) < 0 ||
                write(pipe_fds[1], &i, sizeof(i)) < 0)
                _exit(1);
        }
    }
    close(pipe_fds[1]);
    int32_t last = -1;
    while (last < 200 && read(pipe_fds[0], &last, sizeof(last)) == sizeof(last)) {
    }
    kill(child, SIGKILL);
    while (read(pipe_fds[0], &last, sizeof(last)) == sizeof(last)) {
    }
    close(pipe_fds[0]);
    waitpid(child, NULL, 0);
    assert_true(last >= 200);
    struct store *s;
    struct err err;
    assert_ok(store_open(path, MIGRATIONS, &s, &err), &err);
    assert_in_range(number(s, "SELECT count(*) FROM item"), (uintmax_t)last + 1, (uintmax_t)last + 2);
    store_close(s);
}

static void a_newer_database_is_refused_and_an_older_one_migrated(void **state)
{
    struct fixture *f = FIXTURE(state);
    struct err err;
    const char *const three[] = {MIGRATIONS[0], MIGRATIONS[1], "CREATE TABLE more(x TEXT) STRICT", NULL};
    struct store *s;
    assert_ok(insert(f->store, "kept", 1, STORE_LAZY, &err), &err);
    assert_ok(open_store(f, three, &s, &err), &err);
    assert_int_equal(number(s, "SELECT count(*) FROM item"), 1);
    assert_int_equal(number(s, "SELECT count(*) FROM more"), 0);
    store_close(s);
    assert_int_equal(open_store(f, MIGRATIONS, &s, &err), -ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "version 3"));
    assert_non_null(f->member ? err.msg : strstr(err.msg, f->path));
}

static void a_failing_migration_leaves_the_version_before_it(void **state)
{
    struct fixture *f = FIXTURE(state);
    struct err err;
    const char *const broken[] = {MIGRATIONS[0], MIGRATIONS[1],
                                  "CREATE TABLE good(x TEXT) STRICT; CREATE nonsense", NULL};
    struct store *s;
    assert_true(open_store(f, broken, &s, &err) < 0);
    assert_non_null(strstr(err.msg, "migration from version 2"));
    const char *const mended[] = {MIGRATIONS[0], MIGRATIONS[1], "CREATE TABLE good(x TEXT) STRICT", NULL};
    assert_ok(open_store(f, mended, &s, &err), &err);
    store_close(s);
}

static void a_damaged_file_is_named(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct store *s;
    _cleanup_free_ char *path = str_printf("%s/damaged.db", f->dir);
    char junk[8192];
    memset(junk, 'x', sizeof(junk));
    assert_ok(file_replace(path, junk, sizeof(junk), 0600, false, &err), &err);
    assert_int_equal(store_open(path, MIGRATIONS, &s, &err), -ERR_CORRUPT);
    assert_non_null(strstr(err.msg, "damaged.db"));
}

static void a_full_disk_is_a_clear_error_and_later_writes_work(void **state)
{
    struct fixture *f = *state;
    struct err err;
    _cleanup_free_ char *mount_point = str_printf("%s/small", f->dir);
    assert_int_equal(mkdir(mount_point, 0700), 0);
    if (mount("tmpfs", mount_point, "tmpfs", 0, "size=1m") < 0) {
        print_message("skipped: needs CAP_SYS_ADMIN to mount a small file system\n");
        free(take_ptr(mount_point)); /* skip() leaves without unwinding */
        skip();
    }
    _cleanup_free_ char *path = str_printf("%s/full.db", mount_point);
    struct store *s = NULL;
    char *big = mem_new(65537);
    memset(big, 'b', 65536);
    int r = store_open(path, MIGRATIONS, &s, &err);
    int64_t written = 0, after = 0, rows = 0;
    int full = 0;
    for (; r == 0 && !full && written < 100; written++) {
        struct store_value v = STORE_STR(big);
        struct store_statement st = {"INSERT INTO bytes(t) VALUES (?)", &v, 1, 1};
        full = store_batch(s, &st, 1, STORE_DURABLE, &err);
    }
    struct store_statement clean = {"DELETE FROM bytes WHERE id > 2", NULL, 0, -1};
    _cleanup_free_ char *room = str_printf("%s/room", mount_point);
    if (r == 0) {
        rows = number(s, "SELECT count(*) FROM bytes");
        r = mount("tmpfs", mount_point, "tmpfs", MS_REMOUNT, "size=4m");
        after = store_batch(s, &clean, 1, STORE_DURABLE, &err);
    }
    store_close(s);
    umount2(mount_point, MNT_DETACH);
    free(big);
    assert_int_equal(r, 0);
    assert_int_equal(full, -ERR_NO_SPACE);
    assert_int_equal(rows, written - 1);
    assert_int_equal(after, 0);
}

int main(void)
{
#define WITH_FILE(f) cmocka_unit_test_setup_teardown(f, setup_file, teardown)
#define WITH_MEMBERS(f)                                                                                      \
    {                                                                                                        \
#f "_with_members", f, setup_members, teardown, NULL                                                 \
    }
#define WITH_MOVE(f) cmocka_unit_test_setup_teardown(f, setup_move, teardown)
#define BOTH(f)      WITH_FILE(f), WITH_MEMBERS(f)
    const struct CMUnitTest tests[] = {
        BOTH(values_come_back_with_their_types),
        BOTH(a_failed_batch_leaves_no_trace),
        BOTH(a_broken_reference_is_refused),
        BOTH(statements_that_would_break_the_rules_are_refused),
        BOTH(what_is_written_behind_keeps_its_order_and_is_there_after_closing),
        BOTH(concurrent_batches_each_commit_whole_or_not_at_all),
        BOTH(a_row_callback_may_query_and_may_end_the_query),
        BOTH(a_request_id_makes_a_repeated_batch_take_effect_once),
        BOTH(watchers_hear_of_their_tables_whoever_changed_them),
        BOTH(an_epoch_that_is_over_can_decide_nothing),
        BOTH(bounds_are_clear_errors),
        BOTH(a_table_that_is_not_strict_is_refused),
        BOTH(many_rows_come_back_in_order),
        BOTH(a_newer_database_is_refused_and_an_older_one_migrated),
        BOTH(a_failing_migration_leaves_the_version_before_it),
        WITH_MOVE(a_file_becomes_a_replicated_store_under_its_users),
        WITH_MOVE(a_move_that_is_refused_leaves_the_file_as_it_was),
        WITH_FILE(acknowledged_durable_rows_survive_kill_nine),
        WITH_FILE(a_damaged_file_is_named),
        WITH_FILE(a_full_disk_is_a_clear_error_and_later_writes_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
