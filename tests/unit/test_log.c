/* Container logs: the writer and the reader against each other, torn files, rotation under a follower. */
#include "unit.h"

#include "base/timeutil.h"
#include "keeper/log_file.h"
#include "keeper/log_reader.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

struct fixture {
    char *dir, *path;
    struct log_file *f;
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
    assert_ok(log_file_open(t->path, max_bytes, max_files, false, &t->f, &err), &err);
}

static void put_at(struct fixture *t, int stream, int64_t time_ns, const char *text)
{
    struct err err;
    assert_ok(log_file_write(t->f, stream, time_ns, text, strlen(text), &err), &err);
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

    open_log(t, 0, 0);
    put(t, "one\ntw");
    put_at(t, 2, 2, "err\n");
    put(t, "o\n\nlast");
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

/* As many lines in files of which all rotated ones but the newest are compressed. */
static void put_compressed(struct fixture *t, int lines)
{
    struct err err;
    open_log(t, 200, 9);
    for (int i = 0; i < lines; i++) {
        char line[32];
        snprintf(line, sizeof(line), "line-%02d\n", i);
        put_at(t, 1, 100 + i, line);
        assert_ok(log_compress(t->path, NULL, &err), &err);
    }
}

static size_t compressed_files(const struct fixture *t)
{
    size_t n = 0;
    for (int i = 0; i < 9; i++) {
        struct log_header h;
        _cleanup_free_ char *name = log_file_name(t->path, i);
        _cleanup_close_ int fd = open(name, O_RDONLY | O_CLOEXEC);
        n += fd >= 0 && log_header_read(fd, &h) && h.compressed;
    }
    return n;
}

static void compressed_files_are_read_like_plain_ones(void **state)
{
    struct fixture *t = *state;
    put_compressed(t, 30);
    assert_int_equal(compressed_files(t), 4);
    for (int n = 0; n <= 30; n++) {
        struct str want = STR_INIT;
        for (int i = 30 - n; i < 30; i++)
            str_addf(&want, "1:line-%02d\n|", i);
        _cleanup_free_ char *got = read_all(&(struct log_reader_options){.path = t->path, .tail = n});
        assert_string_equal(got, str_get(&want));
        if (n == 30) {
            _cleanup_free_ char *all = read_all(&(struct log_reader_options){.path = t->path, .tail = -1});
            assert_string_equal(all, str_get(&want));
        }
        str_free(&want);
    }
    _cleanup_free_ char *some =
        read_all(&(struct log_reader_options){.path = t->path, .tail = -1, .since_ns = 107, .until_ns = 108});
    assert_string_equal(some, "1:line-07\n|1:line-08\n|");
}

/* A place taken in a plain file holds when that file has been compressed. */
static void a_reader_goes_on_at_its_place_in_a_file_that_was_compressed(void **state)
{
    struct fixture *t = *state;
    struct err err;
    struct log_reader *r;
    struct log_entry e;
    static struct log_place place;
    open_log(t, 200, 9);
    put(t, "one\n");
    put(t, "two\n");
    assert_ok(log_reader_open(&(struct log_reader_options){.path = t->path, .tail = -1}, &r, &err), &err);
    assert_int_equal(log_reader_next(r, &e, &err), 1);
    log_reader_place(r, &place);
    log_reader_close(r);
    log_file_close(take_ptr(t->f));
    put_compressed(t, 30);
    assert_ok(log_reader_open(&(struct log_reader_options){.path = t->path, .place = &place}, &r, &err),
              &err);
    assert_true(log_reader_backlog(r) > 30 * 9);
    assert_int_equal(log_reader_next(r, &e, &err), 1);
    assert_memory_equal(e.bytes, "two\n", 4);
    assert_int_equal(log_reader_next(r, &e, &err), 1);
    assert_memory_equal(e.bytes, "line-00\n", 8);
    assert_int_equal(log_reader_missed(r), 0);
    log_reader_close(r);
}

static void a_line_goes_on_behind_a_compressed_file(void **state)
{
    struct fixture *t = *state;
    struct err err;
    open_log(t, 200, 9);
    put(t, "begun, ");
    log_file_close(take_ptr(t->f));
    _cleanup_free_ char *first = log_file_name(t->path, 1), *z = str_printf("%s.z", t->path);
    assert_int_equal(rename(t->path, first), 0);
    assert_ok(log_compress(t->path, NULL, &err), &err);
    assert_int_equal(access(z, F_OK), 0);
    assert_ok(log_file_open(t->path, 200, 9, true, &t->f, &err), &err);
    assert_int_equal(compressed_files(t), 1);
    assert_int_equal(access(z, F_OK), -1);
    put(t, "ended\n");
    _cleanup_free_ char *got = read_all(&(struct log_reader_options){.path = t->path, .tail = -1});
    assert_string_equal(got, "1:begun, ended\n|");
}

static void a_damaged_compressed_file_costs_its_own_lines_only(void **state)
{
    struct fixture *t = *state;
    put_compressed(t, 30);
    _cleanup_free_ char *name = log_file_name(t->path, 3);
    struct stat st;
    assert_int_equal(stat(name, &st), 0);
    _cleanup_free_ char *before = read_all(&(struct log_reader_options){.path = t->path, .tail = -1});
    for (off_t at = LOG_COMPRESSED_HEADER_BYTES; at < st.st_size; at += 7) {
        _cleanup_close_ int fd = open(name, O_RDWR | O_CLOEXEC);
        uint8_t byte;
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= 0x10;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        _cleanup_free_ char *got = read_all(&(struct log_reader_options){.path = t->path, .tail = -1});
        assert_true(strncmp(got, before, 40) == 0);
        size_t end = strlen(before), got_end = strlen(got);
        assert_true(got_end <= end);
        assert_string_equal(got + got_end - 40, before + end - 40);
        byte ^= 0x10;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    }
}

/* What was made of a file that has been rotated out of existence meanwhile. */
static void a_compressed_file_that_came_too_late_is_removed(void **state)
{
    struct fixture *t = *state;
    struct err err;
    open_log(t, 200, 2);
    for (int i = 0; i < 12; i++)
        put(t, "some text\n");
    _cleanup_free_ char *z = str_printf("%s.z", t->path);
    assert_ok(log_compress(t->path, NULL, &err), &err);
    _cleanup_free_ char *first = log_file_name(t->path, 1);
    assert_int_equal(unlink(first), 0);
    for (int i = 0; i < 12; i++)
        put(t, "some text\n");
    assert_int_equal(access(z, F_OK), -1);
    assert_int_equal(compressed_files(t), 0);
}

static void a_line_whose_beginning_was_rotated_away_is_not_told(void **state)
{
    struct fixture *t = *state;
    open_log(t, 200, 2);
    for (int i = 0; i < 40; i++)
        put(t, "part, ");
    put(t, "end\nnext\n");
    _cleanup_free_ char *got = read_all(&(struct log_reader_options){.path = t->path, .tail = -1});
    assert_string_equal(got, "1:next\n|");
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

static void of_a_torn_record_the_bytes_that_came_are_kept_and_writing_goes_on(void **state)
{
    struct fixture *t = *state;
    static const char text[] = "torn\n";
    for (int cut = 1; cut <= 29; cut++) {
        open_log(t, 0, 0);
        put(t, "kept\n");
        put(t, text);
        struct stat st;
        assert_int_equal(stat(t->path, &st), 0);
        log_file_close(take_ptr(t->f));
        assert_int_equal(truncate(t->path, st.st_size - cut), 0);
        _cleanup_free_ char *torn = read_all(&(struct log_reader_options){.path = t->path, .tail = 5});
        assert_string_equal(torn, "1:kept\n|");
        open_log(t, 0, 0);
        put(t, "new\n");
        int came = cut <= 8 ? 5 : cut >= 13 ? 0 : 13 - cut;
        _cleanup_free_ char *want =
            str_printf("1:kept\n|%s%.*s%s1:new\n|", came ? "1:" : "", came, text, came ? "|" : "");
        _cleanup_free_ char *got = read_all(&(struct log_reader_options){.path = t->path, .tail = -1});
        assert_string_equal(got, want);
        log_file_close(take_ptr(t->f));
        log_file_remove(t->path);
    }
}

/* Numbered lines of many lengths, written in pieces that end anywhere. */
static _Noreturn void talk(int fd, unsigned seed, int lines)
{
    _cleanup_str_ struct str text = STR_INIT;
    for (int i = 0; i < lines; i++) {
        str_addf(&text, "%d:", i);
        for (unsigned n = (seed * 31 + (unsigned)i * 7919) % 300; n; n--)
            str_addc(&text, (char)('a' + n % 26));
        str_addc(&text, '\n');
    }
    for (size_t at = 0, n; at < text.len; at += n) {
        n = MIN(1 + (at * 31 + seed) % 9000, text.len - at);
        if (file_write_all(fd, text.data + at, n, NULL) < 0)
            _exit(1);
    }
    _exit(0);
}

/* A writer that lives until it is killed, or the pipe ends. */
static _Noreturn void keep_log(const struct fixture *t, int pipe_fd)
{
    struct err err;
    struct log_file *f;
    char buffer[LOG_PAYLOAD_BYTES], end;
    if (log_file_open(t->path, 100000, 400, true, &f, &err) < 0)
        _exit(1);
    for (;;) {
        struct pollfd p = {.fd = pipe_fd, .events = POLLIN};
        poll(&p, 1, -1);
        if (log_file_move(f, 1, 1, pipe_fd, buffer, sizeof(buffer), &err) == 0 && !(p.revents & POLLIN))
            _exit(read(pipe_fd, &end, 1) == 0 ? 0 : 2);
        if (err.code)
            _exit(3);
    }
}

static void assert_numbered(const struct fixture *t, unsigned seed, int lines)
{
    struct err err;
    struct log_reader *r;
    struct log_entry e;
    int next = 0, more;
    assert_ok(log_reader_open(&(struct log_reader_options){.path = t->path, .tail = -1}, &r, &err), &err);
    while ((more = log_reader_next(r, &e, &err)) > 0) {
        char head[16];
        int n = snprintf(head, sizeof(head), "%d:", next);
        size_t want = (size_t)n + (seed * 31 + (unsigned)next * 7919) % 300 + 1;
        if (e.size != want || memcmp(e.bytes, head, (size_t)n) != 0 || e.bytes[want - 1] != '\n')
            fail_msg("seed %u: line %d of %zu bytes is \"%.*s\"", seed, next, want, (int)e.size, e.bytes);
        next++;
    }
    assert_ok(more, &err);
    assert_int_equal(next, lines);
    log_reader_close(r);
}

static void a_writer_killed_at_any_instant_loses_and_doubles_no_byte(void **state)
{
    struct fixture *t = *state;
    enum { LINES = 20000 };
    unsigned seed = (unsigned)time_now_ns(), kills = 0;
    int ends[2], status = 0;
    print_message("seed %u\n", seed);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t talker = fork();
    if (talker == 0)
        talk(ends[1], seed, LINES);
    close(ends[1]);
    struct timespec pause = {.tv_nsec = 0};
    for (;; kills++) {
        pid_t writer = fork();
        if (writer == 0)
            keep_log(t, ends[0]);
        /* Not to wait for anything, but to kill at an instant that nobody chose. */
        pause.tv_nsec = 100000 + (long)((seed + kills * 7919) % 997) * 1500;
        nanosleep(&pause, NULL);
        kill(writer, SIGKILL);
        assert_int_equal(waitpid(writer, &status, 0), writer);
        if (WIFEXITED(status))
            break;
    }
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(waitpid(talker, &status, 0), talker);
    assert_int_equal(status, 0);
    close(ends[0]);
    assert_true(kills > 0);
    assert_numbered(t, seed, LINES);
}

static void a_line_goes_on_behind_a_rotation_that_was_cut_off_before_the_new_file_had_its_name(void **state)
{
    struct fixture *t = *state;
    static const struct {
        const char *first, *second, *want;
    } cases[] = {
        {"whole\n", "ha", "1:whole\n|1:half\n|"},
        {"o", "ne\n", "1:one\n|1:lf\n|"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct err err;
        open_log(t, 64, 5); /* each record has a file */
        put(t, cases[i].first);
        put(t, cases[i].second);
        log_file_close(take_ptr(t->f));
        _cleanup_free_ char *previous = str_printf("%s.1", t->path), *older = str_printf("%s.2", t->path);
        assert_int_equal(rename(previous, older), 0);
        assert_int_equal(rename(t->path, previous), 0);
        assert_ok(log_file_open(t->path, 0, 5, true, &t->f, &err), &err);
        put(t, "lf\n");
        _cleanup_free_ char *got = read_all(&(struct log_reader_options){.path = t->path, .tail = -1});
        assert_string_equal(got, cases[i].want);
        log_file_remove(t->path);
    }
}

static void what_a_container_says_cannot_look_like_a_record(void **state)
{
    struct fixture *t = *state;
    _cleanup_str_ struct str fake = STR_INIT;
    struct log_record r = {.stream = 1, .bytes = "forged\n", .size = 7};
    log_record_add(&fake, &r, 0);
    open_log(t, 0, 0);
    struct err err;
    put(t, "true\n");
    assert_ok(log_file_write(t->f, 1, 1, fake.data, fake.len, &err), &err);
    struct stat st;
    assert_int_equal(stat(t->path, &st), 0);
    log_file_close(take_ptr(t->f));
    /* As if its writer had been killed before the tail: the end of the file looks like a whole record. */
    assert_int_equal(truncate(t->path, st.st_size - LOG_RECORD_TAIL_BYTES), 0);
    open_log(t, 0, 0);
    struct stat repaired;
    assert_int_equal(stat(t->path, &repaired), 0);
    assert_int_equal(repaired.st_size, st.st_size);
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

struct listener {
    int asked, leaves_at;
};

static bool listener_gone(void *context)
{
    struct listener *l = context;
    return ++l->asked == l->leaves_at;
}

/* The answer costs a call of the kernel, and what was gathered for the client. */
static void a_reader_asks_seldom_whether_anybody_listens_but_does(void **state)
{
    struct fixture *t = *state;
    static const char line[] = "something that a container says\n";
    enum { LINES = 20000, SELDOM = LINES / 500 };
    struct listener stays = {0}, leaves = {.leaves_at = 2};
    open_log(t, 0, 0);
    for (int i = 0; i < LINES; i++)
        put(t, line);
    struct log_reader_options o = {.path = t->path, .tail = -1, .gone = listener_gone, .context = &stays};
    _cleanup_free_ char *all = read_all(&o);
    assert_int_equal(strlen(all), LINES * (strlen("1:|") + strlen(line)));
    assert_in_range(stays.asked, 1, SELDOM);
    o.context = &leaves;
    _cleanup_free_ char *some = read_all(&o);
    assert_true(strlen(some) < strlen(all));
    assert_int_equal(leaves.asked, leaves.leaves_at);
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
        failed += log_file_write(t->f, 1, 1, "a line that has its place\n", 26, &err) < 0;
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

static void a_log_that_is_just_being_made_is_empty_and_another_file_is_refused(void **state)
{
    struct fixture *t = *state;
    struct err err = {0};
    struct log_reader_options options = {.path = t->path, .tail = -1};
    struct log_reader *r;
    assert_int_equal(close(open(t->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)), 0);
    _cleanup_free_ char *got = read_all(&options);
    assert_string_equal(got, "");
    static const char other[100] = "something else";
    assert_ok(file_replace(t->path, other, sizeof(other), 0600, false, &err), &err);
    assert_int_equal(log_reader_open(&options, &r, &err), -ERR_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        T(lines_come_back_as_they_were_written_whatever_the_pieces),
        T(a_long_line_is_cut_into_marked_pieces_that_join_to_the_line),
        T(the_tail_reaches_back_across_rotated_files),
        T(compressed_files_are_read_like_plain_ones),
        T(a_reader_goes_on_at_its_place_in_a_file_that_was_compressed),
        T(a_line_goes_on_behind_a_compressed_file),
        T(a_damaged_compressed_file_costs_its_own_lines_only),
        T(a_compressed_file_that_came_too_late_is_removed),
        T(a_line_whose_beginning_was_rotated_away_is_not_told),
        T(only_so_many_files_are_kept_each_within_its_bound),
        T(of_a_torn_record_the_bytes_that_came_are_kept_and_writing_goes_on),
        T(a_writer_killed_at_any_instant_loses_and_doubles_no_byte),
        T(a_line_goes_on_behind_a_rotation_that_was_cut_off_before_the_new_file_had_its_name),
        T(what_a_container_says_cannot_look_like_a_record),
        T(a_flipped_bit_hides_no_earlier_line),
        T(a_reader_asks_seldom_whether_anybody_listens_but_does),
        T(a_follower_sees_every_line_once_through_rotations),
        T(a_full_disk_costs_lines_but_no_file_and_no_half_line),
        T(a_log_that_is_not_there_is_empty),
        T(a_log_that_is_just_being_made_is_empty_and_another_file_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
