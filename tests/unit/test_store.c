#include "unit.h"

#include "store/store.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>

static const char *const MIGRATIONS[] = {
    "CREATE TABLE item(name TEXT PRIMARY KEY, n INTEGER NOT NULL) STRICT;"
    "CREATE TABLE part(id INTEGER PRIMARY KEY, item TEXT NOT NULL REFERENCES item(name)) STRICT;",
    "CREATE TABLE bytes(id INTEGER PRIMARY KEY, b BLOB, r REAL, t TEXT) STRICT;",
    NULL,
};

struct fixture {
    char *dir, *path;
    struct store *store;
};

static int setup(void **state)
{
    struct fixture *f = NEW(struct fixture);
    struct err err;
    f->dir = scratch_new();
    f->path = str_printf("%s/test.db", f->dir);
    assert_ok(store_open(f->path, MIGRATIONS, &f->store, &err), &err);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    store_close(f->store);
    free(f->path);
    scratch_remove(f->dir);
    free(f);
    return 0;
}

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
    struct fixture *f = *state;
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
    struct fixture *f = *state;
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
    struct fixture *f = *state;
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
    struct fixture *f = *state;
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
    struct fixture *f = *state;
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
    assert_ok(store_open(f->path, MIGRATIONS, &f->store, &err), &err);
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
    struct fixture *f = *state;
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
    struct fixture *f = *state;
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
    struct fixture *f = *state;
    struct err err;
    _cleanup_free_ char *path = str_printf("%s/versions.db", f->dir);
    const char *const one[] = {MIGRATIONS[0], NULL};
    struct store *s;
    assert_ok(store_open(path, one, &s, &err), &err);
    assert_ok(insert(s, "kept", 1, STORE_LAZY, &err), &err);
    store_close(s);
    assert_ok(store_open(path, MIGRATIONS, &s, &err), &err);
    assert_int_equal(number(s, "SELECT count(*) FROM item"), 1);
    assert_int_equal(number(s, "SELECT count(*) FROM bytes"), 0);
    store_close(s);
    assert_int_equal(store_open(path, one, &s, &err), -ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "version 2"));
    assert_non_null(strstr(err.msg, path));
}

static void a_failing_migration_leaves_the_version_before_it(void **state)
{
    struct fixture *f = *state;
    struct err err;
    _cleanup_free_ char *path = str_printf("%s/migration.db", f->dir);
    const char *const broken[] = {MIGRATIONS[0], "CREATE TABLE good(x TEXT) STRICT; CREATE nonsense", NULL};
    struct store *s;
    assert_true(store_open(path, broken, &s, &err) < 0);
    assert_non_null(strstr(err.msg, "migration from version 1"));
    const char *const mended[] = {MIGRATIONS[0], "CREATE TABLE good(x TEXT) STRICT", NULL};
    assert_ok(store_open(path, mended, &s, &err), &err);
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
#define WITH_STORE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_STORE(values_come_back_with_their_types),
        WITH_STORE(a_failed_batch_leaves_no_trace),
        WITH_STORE(a_broken_reference_is_refused),
        WITH_STORE(statements_that_would_break_the_rules_are_refused),
        WITH_STORE(what_is_written_behind_keeps_its_order_and_is_there_after_closing),
        WITH_STORE(concurrent_batches_each_commit_whole_or_not_at_all),
        WITH_STORE(a_row_callback_may_query_and_may_end_the_query),
        WITH_STORE(acknowledged_durable_rows_survive_kill_nine),
        WITH_STORE(a_newer_database_is_refused_and_an_older_one_migrated),
        WITH_STORE(a_failing_migration_leaves_the_version_before_it),
        WITH_STORE(a_damaged_file_is_named),
        WITH_STORE(a_full_disk_is_a_clear_error_and_later_writes_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
