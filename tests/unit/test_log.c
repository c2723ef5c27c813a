/* Container logs: the writer and the reader against each other, torn files, rotation under a follower. */
#include "unit.h"

#include "keeper/log_file.h"
#include "keeper/log_reader.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/stat.h>

struct fixture {
    char *dir, *path;
    struct log_file *f;
    struct log_carry carry[2];
    struct str scratch;
};

static int set_up(void **state)
{
    struct fixture *t = NEW(struct fixture);
    t->dir = scratch_new();
    t->path = str_printf("%s/log", t->dir);
    *state = t;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *t = *state;
    log_file_close(t->f);
    free(t->carry[0].bytes);
    free(t->carry[1].bytes);
    str_free(&t->scratch);
    scratch_remove(t->dir);
    free(t->path);
    free(t);
    return 0;
}

static void open_log(struct fixture *t, int64_t max_bytes, int max_files)
{
    struct err err;
    log_file_close(t->f);
    t->f = NULL;
    assert_ok(log_file_open(t->path, max_bytes, max_files, &t->f, &err), &err);
}

static void put_at(struct fixture *t, int stream, int64_t time_ns, const char *text)
{
    struct err err;
    assert_ok(
        log_file_write(t->f, &t->carry[stream - 1], stream, time_ns, text, strlen(text), &t->scratch, &err),
        &err);
}

static void put(struct fixture *t, const char *text)
{
    put_at(t, 1, 1, text);
}

/* All entries as "stream:bytes|". */
static char *read_all(const struct log_reader_options *o)
{
    struct err err;
    struct log_reader *r = NULL;
    struct log_entry e;
    struct str all = STR_INIT;
    assert_ok(log_reader_open(o, &r, &err), &err);
    int more;
    while ((more = log_reader_next(r, &e, &err)) > 0) {
        str_addf(&all, "%d%s:", e.stream, e.partial ? "p" : "");
        str_addn(&all, e.bytes, e.size);
        str_add(&all, "|");
    }
    assert_ok(more, &err);
    log_reader_close(r);
    return str_take(&all);
}

static void lines_come_back_as_they_were_written_whatever_the_pieces(void **state)
{
    struct fixture *t = *state;
    struct err err;
    open_log(t, 0, 0);
    put(t, "one\ntw");
    put_at(t, 2, 2, "err\n");
    put(t, "o\n\nlast");
    assert_ok(log_file_finish(t->f, &t->carry[0], 1, 3, &t->scratch, &err), &err);
    _cleanup_free_ char *got = read_all(&(struct log_reader_options){.path = t->path, .tail = -1});
    assert_string_equal(got, "1:one\n|2:err\n|1:two\n|1:\n|1:last|");
}

static void a_long_line_is_cut_into_marked_pieces_that_join_to_the_line(void **state)
{
    struct fixture *t = *state;
    open_log(t, 0, 0);
    _cleanup_free_ char *line = mem_new(40002);
    memset(line, 'x', 40000);
    line[40000] = '\n';
    put(t, line);
    struct err err;
    struct log_reader *r;
    struct log_entry e;
    assert_ok(log_reader_open(&(struct log_reader_options){.path = t->path, .tail = 1}, &r, &err), &err);
    const size_t sizes[] = {16384, 16384, 7233};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(log_reader_next(r, &e, &err), 1);
        assert_int_equal(e.size, sizes[i]);
        assert_int_equal(e.partial, i < 2);
    }
    assert_int_equal(log_reader_next(r, &e, &err), 0);
    log_reader_close(r);
}

static void the_tail_reaches_back_across_rotated_files(void **state)
{
    struct fixture *t = *state;
    open_log(t, 200, 5);
    for (int i = 0; i < 20; i++) {
        char line[32];
        snprintf(line, sizeof(line), "line-%02d\n", i);
        put_at(t, 1, 100 + i, line);
    }
    for (int n = 0; n <= 12; n++) {
        struct str want = STR_INIT;
        for (int i = 20 - n; i < 20; i++)
            str_addf(&want, "1:line-%02d\n|", i);
        _cleanup_free_ char *got = read_all(&(struct log_reader_options){.path = t->path, .tail = n});
        assert_string_equal(got, str_get(&want));
        str_free(&want);
    }
    _cleanup_free_ char *some =
        read_all(&(struct log_reader_options){.path = t->path, .tail = -1, .since_ns = 117, .until_ns = 118});
    assert_string_equal(some, "1:line-17\n|1:line-18\n|");
}

static void only_so_many_files_are_kept_each_within_its_bound(void **state)
{
    struct fixture *t = *state;
    open_log(t, 4096, 3);
    for (int i = 0; i < 2000; i++)
        put(t, "some text that is a line\n");
    for (int i = 0; i < 5; i++) {
        _cleanup_free_ char *name = i ? str_printf("%s.%d", t->path, i) : mem_strdup(t->path);
        struct stat st;
        assert_int_equal(stat(name, &st) == 0, i < 3);
        if (i < 3)
            assert_true(st.st_size <= 4096);
    }
}

static void a_torn_record_is_cut_off_and_writing_goes_on(void **state)
{
    struct fixture *t = *state;
    for (int cut = 1; cut < 30; cut++) {
        open_log(t, 0, 0);
        put(t, "kept\n");
        put(t, "torn\n");
        struct stat st;
        assert_int_equal(stat(t->path, &st), 0);
        log_file_close(take_ptr(t->f));
        assert_int_equal(truncate(t->path, st.st_size - MIN(cut, 28)), 0);
        _cleanup_free_ char *torn = read_all(&(struct log_reader_options){.path = t->path, .tail = 5});
        assert_string_equal(torn, "1:kept\n|");
        open_log(t, 0, 0);
        put(t, "new\n");
        _cleanup_free_ char *got = read_all(&(struct log_reader_options){.path = t->path, .tail = -1});
        assert_string_equal(got, "1:kept\n|1:new\n|");
        log_file_close(take_ptr(t->f));
        log_file_remove(t->path);
    }
}

static void a_flipped_bit_hides_no_earlier_line(void **state)
{
    struct fixture *t = *state;
    open_log(t, 0, 0);
    put(t, "good\n");
    put(t, "bad\n");
    int fd = open(t->path, O_RDWR | O_CLOEXEC);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(pwrite(fd, "X", 1, st.st_size - 10), 1);
    close(fd);
    _cleanup_free_ char *got = read_all(&(struct log_reader_options){.path = t->path, .tail = 9});
    assert_string_equal(got, "1:good\n|");
}

enum { FOLLOWED = 200000 };

struct writer {
    struct fixture *t;
    atomic_bool done;
    atomic_int read; /* by the slowest reader: the writer stays within what the files hold */
};

static void *write_many(void *context)
{
    struct writer *w = context;
    for (int i = 0; i < FOLLOWED; i++) {
        char line[32];
        snprintf(line, sizeof(line), "%d\n", i);
        put(w->t, line);
        while (i - atomic_load(&w->read) > 2000)
            sched_yield();
    }
    atomic_store(&w->done, true);
    return NULL;
}

static bool writer_done(void *context)
{
    return atomic_load(&((struct writer *)context)->done);
}

static void a_follower_sees_every_line_once_through_rotations(void **state)
{
    struct fixture *t = *state;
    struct err err;
    open_log(t, 32 * 1024, 6);
    struct writer w = {.t = t};
    struct log_reader *r;
    struct log_reader_options o = {
        .path = t->path, .tail = -1, .follow = true, .ended = writer_done, .context = &w};
    assert_ok(log_reader_open(&o, &r, &err), &err);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, write_many, &w), 0);
    struct log_entry e;
    int next = 0, more;
    while ((more = log_reader_next(r, &e, &err)) > 0) {
        char want[32];
        int n = snprintf(want, sizeof(want), "%d\n", next++);
        if (e.size != (size_t)n || memcmp(e.bytes, want, e.size) != 0)
            fail_msg("wanted %s, got %.*s", want, (int)e.size, e.bytes);
        atomic_store(&w.read, next);
    }
    assert_ok(more, &err);
    assert_int_equal(next, FOLLOWED);
    pthread_join(thread, NULL);
    log_reader_close(r);
}

static void a_full_disk_costs_lines_but_no_file_and_no_half_line(void **state)
{
    struct fixture *t = *state;
    struct err err;
    if (geteuid() != 0 || mount("drover-unit", t->dir, "tmpfs", 0, "size=128k") < 0) {
        print_message("skipped: needs root to mount a small tmpfs\n");
        skip();
    }
    open_log(t, 40000, 9);
    int failed = 0;
    for (int i = 0; i < 6000; i++)
        failed += log_file_write(t->f, &t->carry[0], 1, 1, "a line that has its place\n", 26, &t->scratch,
                                 &err) < 0;
    assert_true(failed > 0);
    assert_int_equal(err.code, ERR_NO_SPACE);
    assert_true(log_file_dropped(t->f) > 0);
    _cleanup_free_ char *oldest = str_printf("%s.1", t->path);
    assert_int_equal(unlink(oldest), 0); /* somebody makes room */
    put(t, "after\n");
    struct log_reader *r;
    struct log_entry e;
    int lines = 0, more;
    assert_ok(log_reader_open(&(struct log_reader_options){.path = t->path, .tail = -1}, &r, &err), &err);
    while ((more = log_reader_next(r, &e, &err)) > 0 && ++lines)
        assert_true(e.size == 26 || (e.size == 6 && memcmp(e.bytes, "after\n", 6) == 0));
    assert_ok(more, &err);
    assert_true(lines > 1000);
    assert_int_equal(e.size, 6);
    log_reader_close(r);
    log_file_close(take_ptr(t->f));
    assert_int_equal(umount2(t->dir, MNT_DETACH), 0);
}

static void a_log_that_is_not_there_is_empty(void **state)
{
    struct fixture *t = *state;
    _cleanup_free_ char *got = read_all(&(struct log_reader_options){.path = t->path, .tail = -1});
    assert_string_equal(got, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        T(lines_come_back_as_they_were_written_whatever_the_pieces),
        T(a_long_line_is_cut_into_marked_pieces_that_join_to_the_line),
        T(the_tail_reaches_back_across_rotated_files),
        T(only_so_many_files_are_kept_each_within_its_bound),
        T(a_torn_record_is_cut_off_and_writing_goes_on),
        T(a_flipped_bit_hides_no_earlier_line),
        T(a_follower_sees_every_line_once_through_rotations),
        T(a_full_disk_costs_lines_but_no_file_and_no_half_line),
        T(a_log_that_is_not_there_is_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
