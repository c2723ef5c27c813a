/* The keeper with real containers of busybox. This program is its own keeper: started again with "keeper". */
#include "unit.h"

#include "base/json.h"
#include "base/log.h"
#include "base/process.h"
#include "keeper/keeper.h"
#include "keeper/log_reader.h"
#include "keeper/park.h"
#include "keeper/policy.h"
#include "keeper/protocol.h"
#include "runtime/runtime.h"
#include "runtime/usher.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

struct exits {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct seen {
        char key[300];
        int status, signal;
        bool oom;
    } * seen;
    size_t count, capacity;
    int restarts;
};

struct fixture {
    char *dir, *rootfs;
    struct keeper *k;
    struct exits exits;
};

static void on_exit_event(void *context, const struct keeper_exit *e)
{
    struct exits *x = context;
    pthread_mutex_lock(&x->lock);
    GROW(x->seen, x->count, x->capacity);
    struct seen *s = &x->seen[x->count++];
    snprintf(s->key, sizeof(s->key), "%s/%s", e->id, e->exec_id);
    s->status = e->status;
    s->signal = e->signal;
    s->oom = e->oom_killed;
    pthread_cond_broadcast(&x->changed);
    pthread_mutex_unlock(&x->lock);
}

static void on_restart_event(void *context)
{
    struct exits *x = context;
    pthread_mutex_lock(&x->lock);
    x->restarts++;
    pthread_cond_broadcast(&x->changed);
    pthread_mutex_unlock(&x->lock);
}

static struct seen wait_exit(struct fixture *f, const char *id, const char *exec_id)
{
    _cleanup_free_ char *key = str_printf("%s/%s", id, exec_id);
    struct exits *x = &f->exits;
    pthread_mutex_lock(&x->lock);
    for (;;) {
        for (size_t i = 0; i < x->count; i++)
            if (str_eq(x->seen[i].key, key)) {
                struct seen s = x->seen[i];
                pthread_mutex_unlock(&x->lock);
                return s;
            }
        pthread_cond_wait(&x->changed, &x->lock);
    }
}

static int try_open_keeper(struct fixture *f, struct err *err)
{
    struct keeper_callbacks callbacks = {&f->exits, on_exit_event, on_restart_event};
    return keeper_open(f->dir, &callbacks, &f->k, err);
}

static void open_keeper(struct fixture *f)
{
    struct err err;
    assert_ok(try_open_keeper(f, &err), &err);
}

static void copy_busybox(const char *rootfs)
{
    struct err err;
    static const char *const names[] = {"sh",  "cat", "echo", "sleep", "true",  "seq", "yes", "head", "stty",
                                        "tty", "dd",  "kill", "id",    "mkdir", "ls",  "wc",  "tr"};
    _cleanup_str_ struct str bytes = STR_INIT;
    assert_ok(file_read("/bin/busybox", 64 << 20, &bytes, &err), &err);
    _cleanup_free_ char *bin = str_printf("%s/bin", rootfs), *busybox = str_printf("%s/busybox", bin);
    assert_ok(file_mkdirs(bin, 0755, &err), &err);
    assert_ok(file_replace(busybox, bytes.data, bytes.len, 0755, false, &err), &err);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        _cleanup_free_ char *link = str_printf("%s/%s", bin, names[i]);
        assert_int_equal(symlink("busybox", link), 0);
    }
}

static int set_up(void **state)
{
    struct fixture *f = NEW(struct fixture);
    *state = f;
    if (geteuid() != 0 || !file_exists("/bin/busybox"))
        return 0;
    pthread_mutex_init(&f->exits.lock, NULL);
    pthread_cond_init(&f->exits.changed, NULL);
    f->dir = scratch_new();
    f->rootfs = str_printf("%s/rootfs", f->dir);
    copy_busybox(f->rootfs);
    open_keeper(f);
    return 0;
}

/* Ends and forgets all, and the keeper itself: nothing may stay. */
static int tear_down(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    if (f->k) {
        struct keeper_process *list = NULL;
        size_t count = 0;
        assert_ok(keeper_list(f->k, &list, &count, &err), &err);
        for (size_t i = 0; i < count; i++)
            if (!*list[i].exec_id && list[i].state == KEEPER_RUNNING)
                keeper_kill(f->k, list[i].id, "", SIGKILL, false, &err);
        for (size_t i = 0; i < count; i++)
            if (!*list[i].exec_id) {
                wait_exit(f, list[i].id, "");
                assert_ok(keeper_forget(f->k, list[i].id, "", &err), &err);
            }
        free(list);
        assert_ok(keeper_shutdown(f->k, &err), &err);
        keeper_close(f->k);
    }
    if (f->dir)
        scratch_remove(f->dir);
    free(f->rootfs);
    free(f->exits.seen);
    free(f);
    return 0;
}

static void arm(const char *point)
{
    struct err err = {0};
    _cleanup_free_ char *path = str_printf("%s/%s", getenv("DROVER_FAILPOINTS"), point);
    assert_ok(file_replace(path, "", 0, 0600, false, &err), &err);
}

static int set_up_with_failpoints(void **state)
{
    _cleanup_free_ char *dir = scratch_new();
    setenv("DROVER_FAILPOINTS", dir, 1);
    return set_up(state);
}

/* As on kernels before 6.15. */
static int set_up_without_exit_codes(void **state)
{
    _cleanup_free_ char *dir = scratch_new();
    setenv("DROVER_FAILPOINTS", dir, 1);
    arm("no-exit-codes");
    return set_up(state);
}

/* Whoever loses its parent becomes a child of ours, and stays to be waited for until we do. */
static int set_up_among_orphans(void **state)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    return set_up_with_failpoints(state);
}

static int set_up_among_orphans_without_exit_codes(void **state)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    return set_up_without_exit_codes(state);
}

static int tear_down_with_failpoints(void **state)
{
    char *dir = mem_strdup(getenv("DROVER_FAILPOINTS"));
    int r = tear_down(state);
    unsetenv("DROVER_FAILPOINTS");
    scratch_remove(dir);
    return r;
}

static int tear_down_among_orphans(void **state)
{
    int r = tear_down_with_failpoints(state);
    prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    return r;
}

static void need_root(void **state)
{
    if (geteuid() != 0 || !file_exists("/bin/busybox")) {
        print_message("skipped: needs root and /bin/busybox (busybox-static)\n");
        skip();
    }
}

/* For what arms one: else it would wait for ever for what the point does. */
static void need_failpoints(void **state)
{
    need_root(state);
#ifndef DROVER_FAILPOINTS
    print_message("skipped: needs a build with failpoints\n");
    skip();
#endif
}

static json_t *spec_of(struct fixture *f, const char *id, const char *script)
{
    json_t *spec = runtime_default_spec();
    json_object_set_new(json_object_get(spec, "root"), "path", json_string(f->rootfs));
    json_object_set_new(json_object_get(spec, "process"), "args",
                        json_pack("[sss]", "/bin/sh", "-c", script));
    _cleanup_free_ char *cgroup = str_printf("/drover-unit-%d-%s", getpid(), id);
    json_object_set_new(json_object_get(spec, "linux"), "cgroupsPath", json_string(cgroup));
    return spec;
}

static char *log_path(struct fixture *f, const char *id)
{
    return str_printf("%s/%s.log", f->dir, id);
}

struct options {
    bool tty, open_stdin, stdin_once;
    const int *attach_fds;
    size_t attach_count;
    int64_t max_bytes;
    int max_files;
};

static int try_start(struct fixture *f, const char *id, json_t *spec, struct options o, struct err *err)
{
    _cleanup_free_ char *log = log_path(f, id);
    struct keeper_start s = {.id = id,
                             .spec = spec,
                             .root = f->rootfs,
                             .log = {log, o.max_bytes, o.max_files},
                             .tty = o.tty,
                             .rows = o.tty ? 33 : 0,
                             .columns = o.tty ? 77 : 0,
                             .open_stdin = o.open_stdin,
                             .stdin_once = o.stdin_once,
                             .attach_fds = o.attach_fds,
                             .attach_count = o.attach_count};
    json_object_set_new(json_object_get(spec, "process"), "terminal", json_boolean(o.tty));
    pid_t pid = 0;
    int r = keeper_start(f->k, &s, &pid, err);
    if (r == 0)
        assert_true(pid > 1);
    json_decref(spec);
    return r;
}

static void start(struct fixture *f, const char *id, const char *script, struct options o)
{
    struct err err = {0};
    assert_ok(try_start(f, id, spec_of(f, id, script), o, &err), &err);
}

/* What one stream has in the log, or both (0). */
static void read_log(struct fixture *f, const char *id, int stream, struct str *ret)
{
    struct err err;
    struct log_reader *r;
    struct log_entry e;
    _cleanup_free_ char *path = log_path(f, id);
    assert_ok(log_reader_open(&(struct log_reader_options){.path = path, .tail = -1}, &r, &err), &err);
    int more;
    while ((more = log_reader_next(r, &e, &err)) > 0)
        if (!stream || e.stream == stream)
            str_addn(ret, e.bytes, e.size);
    assert_ok(more, &err);
    log_reader_close(r);
}

static void assert_log(struct fixture *f, const char *id, int stream, const char *want)
{
    _cleanup_str_ struct str got = STR_INIT;
    read_log(f, id, stream, &got);
    size_t same = 0;
    while (same < got.len && str_get(&got)[same] == want[same])
        same++;
    if (!str_eq(str_get(&got), want))
        fail_msg("log of %s, at byte %zu: \"%.60s\" instead of \"%.60s\"", id, same, str_get(&got) + same,
                 want + same);
}

/* Reads frames until `until` was seen in one stream's bytes, or to the end when NULL. */
static void read_frames(int fd, int stream, const char *until, struct str *ret)
{
    struct err err;
    uint8_t head[8];
    while (!until || !strstr(str_get(ret), until)) {
        ssize_t n = file_read_full(fd, head, 8, &err);
        if (n == 0 && !until)
            return;
        assert_int_equal(n, 8);
        size_t size = (size_t)head[4] << 24 | (size_t)head[5] << 16 | (size_t)head[6] << 8 | head[7];
        _cleanup_free_ char *bytes = mem_new(size + 1);
        assert_int_equal(file_read_full(fd, bytes, size, &err), size);
        if (head[0] == stream)
            str_addn(ret, bytes, size);
    }
}

static void stream_pair(int fds[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
}

static void an_exit_code_arrives_and_the_output_is_in_the_log(void **state)
{
    need_root(state);
    struct fixture *f = *state;
    start(f, "one", "echo hello; echo oops >&2; printf rest; exit 7", (struct options){0});
    struct seen s = wait_exit(f, "one", "");
    assert_int_equal(s.status, 7);
    assert_int_equal(s.signal, 0);
    assert_log(f, "one", 1, "hello\nrest");
    assert_log(f, "one", 2, "oops\n");
}

static void a_program_that_is_not_there_is_told_and_leaves_nothing(void **state)
{
    need_root(state);
    struct fixture *f = *state;
    struct err err = {0};
    json_t *spec = spec_of(f, "none", "");
    json_object_set_new(json_object_get(spec, "process"), "args", json_pack("[s]", "/no/such"));
    assert_int_equal(try_start(f, "none", spec, (struct options){0}, &err), -ERR_NOT_FOUND);
    assert_non_null(strstr(err.msg, "/no/such"));
    struct keeper_process *list;
    size_t count;
    assert_ok(keeper_list(f->k, &list, &count, &err), &err);
    assert_int_equal(count, 0);
    free(list);
    _cleanup_free_ char *dir = str_printf("%s/keeper/none:container", f->dir);
    assert_false(file_exists(dir));
    start(f, "none", "exit 0", (struct options){0}); /* the name is free again */
    assert_int_equal(wait_exit(f, "none", "").status, 0);
}

static void output_of_fifty_megabytes_is_whole_over_rotated_files(void **state)
{
    need_root(state);
    struct fixture *f = *state;
    enum { LINES = 800000 };
    start(f, "much",
          "yes 'a line of sixty-eight bytes with its newline, as many as are asked.' | head -n 800000",
          (struct options){.max_bytes = 10 << 20, .max_files = 10});
    struct seen s = wait_exit(f, "much", "");
    assert_int_equal(s.status, 0);
    struct err err;
    struct log_reader *r;
    struct log_entry e;
    _cleanup_free_ char *path = log_path(f, "much");
    _cleanup_free_ char *rotated = str_printf("%s.3", path);
    assert_true(file_exists(rotated));
    assert_ok(log_reader_open(&(struct log_reader_options){.path = path, .tail = LINES}, &r, &err), &err);
    int lines = 0;
    while (log_reader_next(r, &e, &err) > 0) {
        assert_int_equal(e.size, 68);
        lines++;
    }
    log_reader_close(r);
    assert_int_equal(lines, LINES);
}

static void attached_streams_carry_both_directions(void **state)
{
    need_root(state);
    struct fixture *f = *state;
    int s[2];
    stream_pair(s);
    start(f, "cat", "cat; echo done >&2; exit 3",
          (struct options){.open_stdin = true, .stdin_once = true, .attach_fds = &s[1], .attach_count = 1});
    close(s[1]);
    _cleanup_str_ struct str out = STR_INIT;
    struct err err;
    assert_ok(file_write_all(s[0], "ping\n", 5, &err), &err);
    read_frames(s[0], 1, "ping\n", &out);
    assert_int_equal(shutdown(s[0], SHUT_WR), 0);
    str_clear(&out);
    read_frames(s[0], 2, NULL, &out);
    assert_string_equal(str_get(&out), "done\n");
    assert_int_equal(wait_exit(f, "cat", "").status, 3);
    assert_log(f, "cat", 1, "ping\n");
    close(s[0]);
}

static void stdin_larger_than_all_buffers_arrives_whole(void **state)
{
    need_root(state);
    struct fixture *f = *state;
    int s[2];
    stream_pair(s);
    start(f, "wc", "sleep 0.2; wc -c",
          (struct options){.open_stdin = true, .stdin_once = true, .attach_fds = &s[1], .attach_count = 1});
    close(s[1]);
    struct err err;
    _cleanup_free_ char *bytes = mem_new(3000000);
    memset(bytes, 'x', 3000000);
    assert_ok(file_write_all(s[0], bytes, 3000000, &err), &err);
    close(s[0]); /* also a close, not only a shutdown, delivers what was sent before */
    assert_int_equal(wait_exit(f, "wc", "").status, 0);
    assert_log(f, "wc", 1, "3000000\n");
}

static void without_stdin_a_program_reads_the_end_at_once(void **state)
{
    need_root(state);
    struct fixture *f = *state;
    start(f, "null", "wc -c", (struct options){0});
    wait_exit(f, "null", "");
    assert_log(f, "null", 1, "0\n");
}

static void a_terminal_has_its_size_and_echoes(void **state)
{
    need_root(state);
    struct fixture *f = *state;
    struct err err;
    int s[2];
    stream_pair(s);
    start(f, "tty", "stty size; tty; read x; stty size; echo got $x",
          (struct options){.tty = true, .open_stdin = true, .attach_fds = &s[1], .attach_count = 1});
    close(s[1]);
    _cleanup_str_ struct str out = STR_INIT;
    read_frames(s[0], 1, "/dev/pts/0\r\n", &out); /* of the container's own devpts */
    assert_non_null(strstr(str_get(&out), "33 77\r\n"));
    assert_ok(keeper_resize(f->k, "tty", "", 44, 99, &err), &err);
    assert_ok(file_write_all(s[0], "word\n", 5, &err), &err);
    read_frames(s[0], 1, NULL, &out);
    assert_non_null(strstr(str_get(&out), "44 99\r\n"));
    assert_non_null(strstr(str_get(&out), "got word\r\n"));
    assert_int_equal(wait_exit(f, "tty", "").status, 0);
    close(s[0]);
}

static void the_last_output_of_a_terminal_is_kept(void **state)
{
    need_root(state);
    struct fixture *f = *state;
    start(f, "lasttty", "seq 1 20000", (struct options){.tty = true});
    assert_int_equal(wait_exit(f, "lasttty", "").status, 0);
    _cleanup_str_ struct str want = STR_INIT;
    for (int i = 1; i <= 20000; i++)
        str_addf(&want, "%d\r\n", i);
    assert_log(f, "lasttty", 1, str_get(&want));
}

static void a_stream_that_is_not_read_does_not_stop_the_process_for_ever(void **state)
{
    need_root(state);
    struct fixture *f = *state;
    int s[2];
    stream_pair(s);
    start(f, "deaf", "yes | head -c 4000000; echo; echo end",
          (struct options){.attach_fds = &s[1], .attach_count = 1, .max_files = 9});
    close(s[1]);
    assert_int_equal(wait_exit(f, "deaf", "").status, 0); /* after the bounded time, without a read */
    _cleanup_str_ struct str log = STR_INIT;
    read_log(f, "deaf", 1, &log);
    assert_int_equal(log.len, 4000000 + 5);
    close(s[0]);
}

static void a_slow_reader_gets_every_byte(void **state)
{
    need_root(state);
    struct fixture *f = *state;
    int s[2];
    stream_pair(s);
    start(f, "slow", "yes 0123456 | head -n 250000",
          (struct options){.attach_fds = &s[1], .attach_count = 1});
    close(s[1]);
    _cleanup_str_ struct str out = STR_INIT;
    read_frames(s[0], 1, NULL, &out);
    assert_int_equal(out.len, 2000000);
    wait_exit(f, "slow", "");
    close(s[0]);
}

static json_t *process_of(const char *script)
{
    json_t *spec = runtime_default_spec();
    json_t *process = json_incref(json_object_get(spec, "process"));
    json_decref(spec);
    json_object_set_new(process, "args", json_pack("[sss]", "/bin/sh", "-c", script));
    return process;
}

static void more_processes_run_in_a_container_each_with_its_own_exit(void **state)
{
    need_root(state);
    struct fixture *f = *state;
    struct err err = {0};
    start(f, "host", "sleep 1000", (struct options){0});
    int s[2];
    stream_pair(s);
    _cleanup_json_ json_t *process = process_of("cat; echo $$; exit 9");
    struct keeper_exec e = {.id = "host",
                            .exec_id = "x1",
                            .process = process,
                            .open_stdin = true,
                            .attach_fds = &s[1],
                            .attach_count = 1};
    pid_t pid;
    assert_ok(keeper_exec(f->k, &e, &pid, &err), &err);
    close(s[1]);
    assert_ok(file_write_all(s[0], "in\n", 3, &err), &err);
    assert_int_equal(shutdown(s[0], SHUT_WR), 0);
    _cleanup_str_ struct str out = STR_INIT;
    read_frames(s[0], 1, NULL, &out);
    assert_memory_equal(str_get(&out), "in\n", 3);
    close(s[0]);
    assert_int_equal(wait_exit(f, "host", "x1").status, 9);
    assert_log(f, "host", 0, ""); /* its output was not kept */

    _cleanup_json_ json_t *bad = process_of("");
    json_object_set_new(bad, "args", json_pack("[s]", "/no/such"));
    e = (struct keeper_exec){.id = "host", .exec_id = "x2", .process = bad};
    assert_int_equal(keeper_exec(f->k, &e, &pid, &err), -ERR_NOT_FOUND);
    assert_int_equal(
        keeper_exec(f->k, &(struct keeper_exec){.id = "none", .exec_id = "x", .process = bad}, &pid, &err),
        -ERR_NOT_FOUND);
    assert_ok(keeper_forget(f->k, "host", "x1", &err), &err);
    assert_ok(keeper_kill(f->k, "host", "", SIGKILL, false, &err), &err);
    assert_int_equal(wait_exit(f, "host", "").signal, SIGKILL);
}

static void a_background_child_does_not_hold_back_an_exit(void **state)
{
    need_root(state);
    struct fixture *f = *state;
    struct err err = {0};
    start(f, "base", "sleep 1000", (struct options){0});
    _cleanup_json_ json_t *process = process_of("sleep 1000 & echo started");
    assert_ok(keeper_exec(f->k,
                          &(struct keeper_exec){
                              .id = "base", .exec_id = "bg", .process = process, .keep_output = true},
                          NULL, &err),
              &err);
    assert_int_equal(wait_exit(f, "base", "bg").status, 0);
    assert_log(f, "base", 1, "started\n");
}

static json_t *in_our_pid_namespace(json_t *spec)
{
    json_t *namespaces = json_object_get(json_object_get(spec, "linux"), "namespaces"), *one;
    size_t i;
    json_array_foreach (namespaces, i, one)
        if (str_eq(json_str(one, "type"), "pid")) {
            json_array_remove(namespaces, i);
            break;
        }
    return spec;
}

static void processes_of_a_shared_pid_namespace_end_with_their_container(void **state)
{
    need_root(state);
    struct fixture *f = *state;
    struct err err = {0};
    json_t *spec = in_our_pid_namespace(spec_of(f, "shared", "sleep 1000 & echo up; exit 2"));
    assert_ok(try_start(f, "shared", spec, (struct options){0}, &err), &err);
    assert_int_equal(wait_exit(f, "shared", "").status, 2);
    assert_log(f, "shared", 1, "up\n");
    assert_ok(keeper_forget(f->k, "shared", "", &err), &err); /* refused while the group has processes */
}

static void signals_arrive_and_a_paused_container_can_be_killed(void **state)
{
    need_root(state);
    struct fixture *f = *state;
    struct err err = {0};
    start(f, "term", "trap 'echo caught; exit 5' TERM; echo up; while :; do sleep 0.05; done",
          (struct options){0});
    _cleanup_str_ struct str log = STR_INIT;
    while (!strstr(str_get(&log), "up\n")) {
        str_clear(&log);
        read_log(f, "term", 1, &log);
    }
    assert_ok(keeper_kill(f->k, "term", "", SIGTERM, false, &err), &err);
    assert_int_equal(wait_exit(f, "term", "").status, 5);
    assert_int_equal(keeper_kill(f->k, "term", "", SIGTERM, false, &err), -ERR_CONFLICT);
    assert_int_equal(keeper_kill(f->k, "nobody", "", SIGTERM, false, &err), -ERR_NOT_FOUND);

    start(f, "frozen", "sleep 1000", (struct options){0});
    assert_ok(keeper_pause(f->k, "frozen", true, &err), &err);
    assert_int_equal(keeper_forget(f->k, "frozen", "", &err), -ERR_CONFLICT);
    assert_ok(keeper_kill(f->k, "frozen", "", SIGKILL, true, &err), &err);
    struct seen s = wait_exit(f, "frozen", "");
    assert_int_equal(s.status, 137);
    assert_int_equal(s.signal, SIGKILL);
}

static void too_much_memory_is_reported_as_such(void **state)
{
    need_root(state);
    struct fixture *f = *state;
    struct err err = {0};
    json_t *spec = spec_of(f, "oom", "x=0123456789; while :; do x=$x$x; done");
    json_object_set_new(json_object_get(spec, "linux"), "resources",
                        json_pack("{s:{s:i,s:i}}", "memory", "limit", 16 << 20, "swap", 16 << 20));
    int r = try_start(f, "oom", spec, (struct options){0}, &err);
    if (r < 0 && strstr(err.msg, "memory")) {
        print_message("skipped: no memory controller: %s\n", err.msg);
        skip();
    }
    assert_ok(r, &err);
    struct seen s = wait_exit(f, "oom", "");
    assert_true(s.oom);
    assert_int_equal(s.status, 137);
}

static void exits_while_no_client_is_there_are_told_to_the_next(void **state)
{
    need_root(state);
    struct fixture *f = *state;
    start(f, "short", "exit 4", (struct options){0});
    start(f, "long", "sleep 1000", (struct options){0});
    wait_exit(f, "short", "");
    pid_t before = keeper_pid(f->k);
    keeper_close(f->k);
    f->exits.count = 0;
    open_keeper(f);
    assert_int_equal(keeper_pid(f->k), before);
    assert_int_equal(wait_exit(f, "short", "").status, 4);
    struct err err;
    assert_ok(keeper_kill(f->k, "long", "", SIGTERM, true, &err), &err);
    keeper_kill(f->k, "long", "", SIGKILL, false, &err);
    assert_int_equal(wait_exit(f, "long", "").status, 137);
}

static void a_client_that_is_killed_takes_nothing_with_it(void **state)
{
    need_root(state);
    struct fixture *f = *state;
    int started[2];
    assert_int_equal(pipe(started), 0);
    pid_t pid = fork();
    if (pid == 0) { /* another client, in a process of its own */
        struct err err;
        struct fixture other = {
            .dir = f->dir,
            .rootfs = f->rootfs,
            .exits = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER}};
        json_t *spec = spec_of(&other, "orphan", "sleep 0.3; echo survived; exit 6");
        if (try_open_keeper(&other, &err) < 0 ||
            try_start(&other, "orphan", spec, (struct options){0}, &err) < 0)
            _exit(1); /* a failed assertion would go on with the tests, here too */
        ssize_t ignored _unused_ = write(started[1], "x", 1);
        pause();
    }
    char c;
    close(started[1]);
    assert_int_equal(read(started[0], &c, 1), 1);
    close(started[0]);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(wait_exit(f, "orphan", "").status, 6);
    assert_log(f, "orphan", 1, "survived\n");
}

static void wait_restart(struct fixture *f, int restarts)
{
    pthread_mutex_lock(&f->exits.lock);
    while (f->exits.restarts < restarts)
        pthread_cond_wait(&f->exits.changed, &f->exits.lock);
    pthread_mutex_unlock(&f->exits.lock);
}

static pid_t pid_of(struct fixture *f, const char *id)
{
    struct err err;
    struct keeper_process *list = NULL;
    size_t count;
    pid_t pid = 0;
    assert_ok(keeper_list(f->k, &list, &count, &err), &err);
    for (size_t i = 0; i < count; i++)
        if (str_eq(list[i].id, id) && !*list[i].exec_id)
            pid = list[i].pid;
    free(list);
    assert_true(pid > 1);
    return pid;
}

static void wait_log(struct fixture *f, const char *id, const char *text)
{
    _cleanup_str_ struct str log = STR_INIT;
    while (!strstr(str_get(&log), text)) {
        str_clear(&log);
        read_log(f, id, 1, &log);
        sched_yield();
    }
}

static void a_keeper_that_is_killed_takes_no_container_and_no_later_output_with_it(void **state)
{
    need_root(state);
    struct fixture *f = *state;
    struct err err = {0};
    start(f, "ended", "exit 8", (struct options){0});
    wait_exit(f, "ended", "");
    start(f, "lives",
          "trap 'n=$((n+1)); seq 1 500; echo end $n; [ $n = 3 ] && exit 11' USR1; n=0; echo up; "
          "while :; do sleep 0.01; done",
          (struct options){0});
    start(f, "reads", "cat; exit 12", (struct options){.open_stdin = true, .stdin_once = true});
    wait_log(f, "lives", "up\n");
    pid_t lives = pid_of(f, "lives");
    f->exits.count = 0;
    _cleanup_str_ struct str want = STR_INIT;
    str_add(&want, "up\n");
    for (int i = 1; i <= 3; i++) {
        pid_t pid = keeper_pid(f->k);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(kill(lives, SIGUSR1),
                         0); /* it writes, and the third time ends, with no keeper there */
        wait_restart(f, i);
        assert_int_not_equal(keeper_pid(f->k), pid);
        char end[32];
        snprintf(end, sizeof(end), "end %d\n", i);
        wait_log(f, "lives", end);
        for (int n = 1; n <= 500; n++)
            str_addf(&want, "%d\n", n);
        str_add(&want, end);
    }
    assert_int_equal(wait_exit(f, "ended", "").status, 8);
    int s[2];
    stream_pair(s);
    assert_ok(keeper_attach(f->k, "reads", "", s[1], 7, &err), &err);
    close(s[1]);
    assert_ok(file_write_all(s[0], "late\n", 5, &err), &err);
    close(s[0]);
    struct seen reads_end = wait_exit(f, "reads", ""), lives_end = wait_exit(f, "lives", "");
    assert_log(f, "lives", 1, str_get(&want));
    assert_log(f, "reads", 1, "late\n");
    assert_int_equal(lives_end.status, 11);
    assert_int_equal(reads_end.status, 12);
}

/* Its rows differ from a line to the next, so that a byte lost, doubled or out of its place shows. */
static void a_terminal_whose_keeper_is_killed_amid_its_output_loses_and_doubles_no_byte(void **state)
{
    need_root(state);
    struct fixture *f = *state;
    start(f, "ttykill", "seq 1 150000; tty; exit 14", (struct options){.tty = true});
    size_t seen = 0;
    int kills = 0;
    while (kills < 12) {
        _cleanup_str_ struct str log = STR_INIT;
        bool over = false;
        for (; !over && log.len <= seen + (size_t)(kills + 1) * 1777; sched_yield()) {
            str_clear(&log);
            read_log(f, "ttykill", 1, &log);
            over = str_ends_with(str_get(&log), "/dev/pts/0\r\n"); /* it was faster than this */
        }
        seen = log.len;
        if (over)
            break;
        assert_int_equal(kill(keeper_pid(f->k), SIGKILL), 0);
        wait_restart(f, ++kills);
    }
    assert_true(kills > 0);
    struct seen end = wait_exit(f, "ttykill", "");
    _cleanup_str_ struct str want = STR_INIT;
    for (int i = 1; i <= 150000; i++)
        str_addf(&want, "%d\r\n", i);
    str_add(&want, "/dev/pts/0\r\n");
    assert_log(f, "ttykill", 1, str_get(&want));
    assert_int_equal(end.status, 14);
}

/* With an orphan that it has from the container's life, and one that comes after the keeper's. */
static void who_holds_the_exit_codes_of_a_killed_keepers_containers_goes_with_the_last(void **state)
{
    need_root(state);
    struct fixture *f = *state;
    struct err err = {0};
    json_t *spec = in_our_pid_namespace(
        spec_of(f, "left",
                "(sleep 1000 &); trap '(sleep 0.01 &); echo more' USR1; trap 'exit 15' USR2; "
                "echo up; while :; do sleep 0.01; done"));
    assert_ok(try_start(f, "left", spec, (struct options){0}, &err), &err);
    wait_log(f, "left", "up\n");
    pid_t pid = pid_of(f, "left");
    assert_int_equal(kill(keeper_pid(f->k), SIGKILL), 0);
    wait_restart(f, 1);
    struct process_stat held, holder;
    assert_true(process_stat(pid, &held));
    assert_true(held.parent > 1 && process_stat(held.parent, &holder));
    assert_int_equal(kill(pid, SIGUSR1), 0);
    wait_log(f, "left", "more\n");
    assert_int_equal(kill(pid, SIGUSR2), 0);
    assert_int_equal(wait_exit(f, "left", "").status, 15);
    struct process_stat now;
    while (process_stat(held.parent, &now) && now.start == holder.start && now.state != 'Z')
        sched_yield();
}

#define ENDS_WHEN_TOLD "trap 'exit 155' USR1; echo up; while :; do sleep 0.01; done"

static void start_one(struct fixture *f, const char *id, pid_t *ret)
{
    start(f, id, ENDS_WHEN_TOLD, (struct options){0});
    wait_log(f, id, "up\n");
    *ret = pid_of(f, id);
}

static void wait_gone(pid_t pid)
{
    struct process_stat now;
    while (process_stat(pid, &now) && now.state != 'Z')
        sched_yield();
}

/* Kills who holds it for a keeper that has been killed, so that it becomes ours. */
static void kill_holder(pid_t pid)
{
    struct process_stat held;
    assert_true(process_stat(pid, &held) && held.parent > 1);
    if (held.parent != getpid())
        assert_int_equal(kill(held.parent, SIGKILL), 0);
    while (process_stat(pid, &held) && held.parent != getpid())
        sched_yield();
}

/* Between "has not been waited for" and the look whether it is still there. */
static void an_exit_that_is_reaped_while_the_keeper_asks_for_it_is_known(void **state)
{
    need_failpoints(state);
    struct fixture *f = *state;
    pid_t pid;
    int status;
    struct process_stat keeper;
    start_one(f, "raced", &pid);
    assert_int_equal(kill(keeper_pid(f->k), SIGKILL), 0);
    wait_restart(f, 1);
    kill_holder(pid);
    arm("no-zombies"); /* as in the instant in which one is reaped */
    arm("keeper-asked-for-exit");
    assert_int_equal(kill(pid, SIGUSR1), 0);
    do
        assert_true(process_stat(keeper_pid(f->k), &keeper));
    while (keeper.state != 'T');
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), 155);
    assert_int_equal(kill(keeper_pid(f->k), SIGCONT), 0);
    struct seen end = wait_exit(f, "raced", "");
    assert_int_equal(end.status, 155);
    assert_int_equal(end.signal, 0);
}

static void an_exit_that_a_keeper_saw_and_did_not_record_is_seen_by_the_next(void **state)
{
    need_failpoints(state);
    struct fixture *f = *state;
    start(f, "seen", ENDS_WHEN_TOLD, (struct options){0});
    wait_log(f, "seen", "up\n");
    pid_t pid = pid_of(f, "seen");
    arm("keeper-exit-seen");
    assert_int_equal(kill(pid, SIGUSR1), 0);
    wait_restart(f, 1);
    assert_int_equal(wait_exit(f, "seen", "").status, 155);
}

static void an_exit_that_only_a_killed_keeper_saw_is_seen_by_the_next(void **state)
{
    need_failpoints(state);
    struct fixture *f = *state;
    start(f, "alone", ENDS_WHEN_TOLD, (struct options){0});
    wait_log(f, "alone", "up\n");
    pid_t pid = pid_of(f, "alone"), keeper = keeper_pid(f->k);
    keeper_close(f->k);
    f->k = NULL;
    arm("keeper-exit-seen");
    assert_int_equal(kill(pid, SIGUSR1), 0);
    wait_gone(keeper);
    open_keeper(f);
    assert_int_equal(wait_exit(f, "alone", "").status, 155);
}

static void an_exit_when_neither_keeper_nor_client_is_there_is_known(void **state)
{
    need_root(state);
    struct fixture *f = *state;
    start(f, "nobody", ENDS_WHEN_TOLD, (struct options){0});
    wait_log(f, "nobody", "up\n");
    pid_t pid = pid_of(f, "nobody");
    for (int i = 0; i < 2; i++) { /* the second keeper dies as soon as it has greeted */
        pid_t keeper = keeper_pid(f->k);
        keeper_close(f->k);
        f->k = NULL;
        assert_int_equal(kill(keeper, SIGKILL), 0);
        wait_gone(keeper);
        if (i == 1) {
            assert_int_equal(kill(pid, SIGUSR1), 0);
            wait_gone(pid);
            waitpid(pid, NULL, WNOHANG); /* nobody else's: as init does */
        }
        open_keeper(f);
    }
    assert_int_equal(wait_exit(f, "nobody", "").status, 155);
}

/* A client of its own asks for the launch; keeper and client are killed at that point of it. */
static void kill_both_amid_a_launch(struct fixture *f, const char *id, const char *script, const char *point)
{
    struct process_stat stat;
    pid_t keeper = keeper_pid(f->k);
    keeper_close(f->k);
    f->k = NULL;
    arm(point);
    pid_t client = fork();
    if (client == 0) {
        struct err err;
        if (try_open_keeper(f, &err) == 0)
            try_start(f, id, spec_of(f, id, script), (struct options){0}, &err);
        _exit(1); /* it has been killed before that */
    }
    do {
        assert_true(process_stat(keeper, &stat));
        assert_int_equal(waitpid(client, NULL, WNOHANG), 0);
    } while (stat.state != 'T');
    assert_int_equal(kill(client, SIGKILL), 0);
    assert_int_equal(waitpid(client, NULL, 0), client);
    assert_int_equal(kill(keeper, SIGKILL), 0);
    wait_gone(keeper);
    open_keeper(f);
}

static size_t count_known(struct fixture *f)
{
    struct err err = {0};
    struct keeper_process *list = NULL;
    size_t count = 0;
    assert_ok(keeper_list(f->k, &list, &count, &err), &err);
    free(list);
    return count;
}

static void a_launch_that_was_not_let_go_when_both_were_killed_never_was(void **state)
{
    need_failpoints(state);
    struct fixture *f = *state;
    kill_both_amid_a_launch(f, "undone", "exit 1", "keeper-stop-before-confirming");
    assert_int_equal(count_known(f), 0);
    start(f, "undone", "exit 155", (struct options){0});
    assert_int_equal(wait_exit(f, "undone", "").status, 155);
}

static void a_launch_that_was_let_go_when_both_were_killed_runs_once(void **state)
{
    need_failpoints(state);
    struct fixture *f = *state;
    kill_both_amid_a_launch(f, "done", "sleep 0.1; exit 155", "keeper-stop-after-confirming");
    assert_int_equal(count_known(f), 1);
    assert_int_equal(wait_exit(f, "done", "").status, 155);
}

static void an_exit_when_keeper_client_and_holder_are_gone_is_told_as_unknown(void **state)
{
    need_root(state);
    struct fixture *f = *state;
    pid_t pid, keeper;
    start_one(f, "lost", &pid);
    keeper = keeper_pid(f->k);
    keeper_close(f->k);
    f->k = NULL;
    assert_int_equal(kill(keeper, SIGKILL), 0);
    wait_gone(keeper);
    kill_holder(pid);
    assert_int_equal(kill(pid, SIGUSR1), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    open_keeper(f);
    struct seen end = wait_exit(f, "lost", "");
    assert_int_equal(end.status, 137);
    assert_int_equal(end.signal, KEEPER_SIGNAL_UNKNOWN);
}

enum { MANY = 200 };

struct starter {
    struct fixture *f;
    int from;
};

static void *start_some(void *context)
{
    struct starter *s = context;
    for (int i = s->from; i < MANY; i += 4) {
        char id[32], script[64];
        snprintf(id, sizeof(id), "many-%d", i);
        snprintf(script, sizeof(script), "echo %d; exit %d", i, i % 100);
        start(s->f, id, script, (struct options){0});
    }
    return NULL;
}

static int launched[MANY];

static void *try_some(void *context)
{
    struct starter *s = context;
    for (int i = s->from; i < MANY; i += 4) {
        char id[32], script[64];
        struct err err = {0};
        snprintf(id, sizeof(id), "many-%d", i);
        snprintf(script, sizeof(script), "echo %d; exit %d", i, i % 100);
        launched[i] = try_start(s->f, id, spec_of(s->f, id, script), (struct options){0}, &err);
        if (launched[i] < 0)
            print_message("%s: %s\n", id, err.msg);
    }
    return NULL;
}

static void a_keeper_killed_amid_launches_loses_none_and_starts_none_twice(void **state)
{
    need_root(state);
    struct fixture *f = *state;
    pthread_t threads[4];
    struct starter starters[4];
    for (int i = 0; i < 4; i++) {
        starters[i] = (struct starter){f, i};
        assert_int_equal(pthread_create(&threads[i], NULL, try_some, &starters[i]), 0);
    }
    for (int kills = 1; kills <= 8; kills++) {
        /* The next kill comes when some more have ended. */
        pthread_mutex_lock(&f->exits.lock);
        size_t seen = f->exits.count;
        while (f->exits.count < seen + 5)
            pthread_cond_wait(&f->exits.changed, &f->exits.lock);
        pthread_mutex_unlock(&f->exits.lock);
        assert_int_equal(kill(keeper_pid(f->k), SIGKILL), 0);
        wait_restart(f, kills);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < MANY; i++) {
        char id[32], said[32];
        snprintf(id, sizeof(id), "many-%d", i);
        snprintf(said, sizeof(said), "%d\n", i);
        assert_int_equal(launched[i], 0);
        struct seen s = wait_exit(f, id, "");
        assert_log(f, id, 1, said);
        assert_int_equal(s.status, i % 100);
    }
}

/* Those of this test: the machine's others come and go. */
static size_t count_mounts(const struct fixture *f)
{
    _cleanup_str_ struct str text = STR_INIT;
    size_t count = 0;
    assert_int_equal(file_read("/proc/self/mountinfo", 64 << 20, &text, NULL), 0);
    for (const char *c = str_get(&text); (c = strstr(c, f->dir)); c++)
        count++;
    return count;
}

static size_t count_fds(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/fd", pid);
    DIR *dir = opendir(path);
    size_t count = 0;
    while (dir && readdir(dir))
        count++;
    if (dir)
        closedir(dir);
    return count;
}

/* Of the keeper: those below which a launch's own stand, and the others. */
static void count_descriptors(pid_t pid, int *ret_low, int *ret_parked)
{
    char path[32];
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    DIR *d = opendir(path);
    assert_non_null(d);
    *ret_low = *ret_parked = 0;
    for (struct dirent *e; (e = readdir(d));)
        if (*e->d_name != '.')
            ++*(strtol(e->d_name, NULL, 10) < PARKED_FROM ? ret_low : ret_parked);
    closedir(d);
}

static void assert_parked(struct fixture *f, int low_before, int containers)
{
    int low, parked;
    count_descriptors(keeper_pid(f->k), &low, &parked);
    assert_int_equal(low, low_before);
    assert_true(parked >= 4 * containers); /* pidfd, two pipes or terminal and relay, log */
}

static void run_three(struct fixture *f, const char *name)
{
    char id[16];
    for (int i = 0; i < 3; i++) {
        snprintf(id, sizeof(id), "%s%d", name, i);
        start(f, id, "ls /proc/$$/fd; true", (struct options){0});
        wait_exit(f, id, "");
    }
}

static void what_it_holds_of_containers_stands_apart_and_their_launches_do_without(void **state)
{
    enum { COUNT = 12 };
    need_failpoints(state);
    struct fixture *f = *state;
    struct err err = {0};
    char id[16];
    int low, parked;
    run_three(f, "first"); /* what the runtime keeps open, is */
    count_descriptors(keeper_pid(f->k), &low, &parked);
    arm("park-always");
    for (int i = 0; i < COUNT; i++) {
        snprintf(id, sizeof(id), "apart%d", i);
        start(f, id, "trap 'exit 21' TERM; echo up; while :; do sleep 0.01; done",
              (struct options){.tty = i % 3 == 0});
        wait_log(f, id, "up");
    }
    assert_parked(f, low, COUNT);
    assert_int_equal(kill(keeper_pid(f->k), SIGKILL), 0);
    wait_restart(f, 1);
    run_three(f, "later");
    assert_log(f, "later0", 1, "0\n1\n2\n");
    assert_parked(f, low, COUNT);
    for (int i = 0; i < COUNT; i++) {
        snprintf(id, sizeof(id), "apart%d", i);
        pid_t pid;
        _cleanup_json_ json_t *process = process_of("exit 3");
        struct keeper_exec e = {.id = id, .exec_id = "x", .process = process};
        assert_ok(keeper_exec(f->k, &e, &pid, &err), &err);
        assert_int_equal(wait_exit(f, id, "x").status, 3);
        assert_ok(keeper_kill(f->k, id, "", SIGTERM, false, &err), &err);
        assert_int_equal(wait_exit(f, id, "").status, 21);
    }
}

/* The keeper's children that make containers: their number, and one of them. */
static int count_starters(const struct fixture *f, pid_t *ret_one)
{
    char path[128];
    int count = 0;
    struct err err = {0};
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", keeper_pid(f->k), keeper_pid(f->k));
    _cleanup_str_ struct str children = STR_INIT;
    assert_ok(file_read(path, 4096, &children, &err), &err);
    _cleanup_strv_ char **pids = strv_split(str_get(&children), ' ');
    STRV_FOREACH (pid, pids) {
        _cleanup_str_ struct str name = STR_INIT;
        snprintf(path, sizeof(path), "/proc/%s/comm", *pid);
        if (!**pid || file_read(path, 64, &name, NULL) < 0 || !str_eq(str_get(&name), "drover-starter\n"))
            continue;
        *ret_one = (pid_t)strtol(*pid, NULL, 10);
        count++;
    }
    return count;
}

static void wait_no_starters(const struct fixture *f)
{
    pid_t one;
    for (int tries = 0; count_starters(f, &one); tries++) {
        if (tries == 60000)
            fail_msg("a starter has not ended");
        usleep(1000);
    }
}

static void starters_make_containers_and_are_replaced(void **state)
{
    need_root(state);
    struct fixture *f = *state;
    struct err err = {0};
    pid_t first = 0, second = 0;
    if (!usher_can_share())
        skip();
    run_three(f, "before");
    assert_int_equal(count_starters(f, &first), 1);
    run_three(f, "by");
    assert_log(f, "by2", 1, "0\n1\n2\n"); /* nothing of the starter's is handed on */
    assert_int_equal(count_starters(f, &second), 1);
    assert_int_equal(second, first);
    /* One whose child did not get to its program has what that left behind. */
    json_t *spec = spec_of(f, "no-program", "");
    json_object_set_new(json_object_get(spec, "process"), "args", json_pack("[s]", "/no/such"));
    assert_int_equal(try_start(f, "no-program", spec, (struct options){0}, &err), -ERR_NOT_FOUND);
    wait_no_starters(f); /* the child has its name, until it has been waited for */
    run_three(f, "again");
    assert_int_equal(count_starters(f, &second), 1);
    /* A killed one leaves its container alone, and the next launches. */
    start(f, "lives", "trap 'exit 21' TERM; echo up; while :; do sleep 0.01; done",
          (struct options){.tty = true});
    wait_log(f, "lives", "up");
    assert_int_equal(kill(second, SIGKILL), 0);
    wait_no_starters(f);
    run_three(f, "after");
    assert_ok(keeper_kill(f->k, "lives", "", SIGTERM, false, &err), &err);
    assert_int_equal(wait_exit(f, "lives", "").status, 21);
}

static void many_at_once_all_end_right_and_leave_nothing(void **state)
{
    need_root(state);
    struct fixture *f = *state;
    struct err err = {0};
    /* What the runtime keeps open for all launches is there after the first few. */
    static const char *const early[] = {"first", "second", "third"};
    for (int i = 0; i < 3; i++) {
        start(f, early[i], "exit 0", (struct options){0});
        assert_int_equal(wait_exit(f, early[i], "").status, 0);
        assert_ok(keeper_forget(f->k, early[i], "", &err), &err);
    }
    size_t mounts = count_mounts(f), keeper_fds = count_fds(keeper_pid(f->k));
    pthread_t threads[4];
    struct starter starters[4];
    for (int i = 0; i < 4; i++) {
        starters[i] = (struct starter){f, i};
        assert_int_equal(pthread_create(&threads[i], NULL, start_some, &starters[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < MANY; i++) {
        char id[32], want[32];
        snprintf(id, sizeof(id), "many-%d", i);
        snprintf(want, sizeof(want), "%d\n", i);
        assert_int_equal(wait_exit(f, id, "").status, i % 100);
        assert_log(f, id, 1, want);
        assert_ok(keeper_forget(f->k, id, "", &err), &err);
    }
    assert_int_equal(count_mounts(f), mounts);
    /* A few come and go with what the keeper is just doing; of each launch none stays. */
    assert_in_range(count_fds(keeper_pid(f->k)), 0, keeper_fds + MANY / 10);
    char path[128];
    pid_t one;
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", keeper_pid(f->k), keeper_pid(f->k));
    _cleanup_str_ struct str children = STR_INIT;
    assert_ok(file_read(path, 4096, &children, &err), &err);
    int left = 0, makers = count_starters(f, &one);
    for (const char *at = str_get(&children); *at; at++)
        left += *at == ' ';
    assert_int_equal(left, makers); /* who are for the next launches */
    assert_in_range(makers, 0, 4);
}

static void the_keeper_does_not_end_while_containers_run(void **state)
{
    need_root(state);
    struct fixture *f = *state;
    struct err err;
    start(f, "on", "sleep 1000", (struct options){0});
    assert_int_equal(keeper_shutdown(f->k, &err), -ERR_CONFLICT);
    assert_int_equal(kill(keeper_pid(f->k), SIGTERM), 0);
    assert_ok(keeper_kill(f->k, "on", "", SIGKILL, false, &err), &err);
    wait_exit(f, "on", "");
}

static void spawn_keeper(const char *root, int wanted, const char *log)
{
    struct err err;
    _cleanup_free_ char *self = NULL;
    assert_ok(process_self_path(&self, &err), &err);
    assert_ok(process_spawn_daemon((const char *[]){self, "keeper", "--root", root, NULL}, wanted, log, &err),
              &err);
}

static void wait_for_file(const char *path, bool there)
{
    for (int i = 0; file_exists(path) != there; i++) {
        if (i == 12000)
            fail_msg("%s %s", path, there ? "does not come" : "does not go");
        nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
    }
}

static void wait_for_text(const char *path, const char *word, struct str *ret)
{
    struct err err;
    for (int i = 0; !strstr(str_get(ret), word); i++) {
        if (i == 12000)
            fail_msg("%s does not say %s", path, word);
        nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
        str_clear(ret);
        assert_ok(file_read(path, 4096, ret, &err), &err);
    }
}

/* The second of two that were started on a slow machine, when who started them has found the first, and that
 * one has ended. */
static void a_keeper_whose_starter_has_found_another_is_none(void **state)
{
    need_root(state);
    char *late = scratch_new();
    int wanted[2];
    _cleanup_free_ char *log = str_printf("%s/log", late),
                        *socket = str_printf("%s/keeper/keeper.sock", late);
    _cleanup_str_ struct str text = STR_INIT;
    assert_int_equal(pipe2(wanted, O_CLOEXEC), 0);
    close(wanted[1]);
    spawn_keeper(late, wanted[0], log);
    close(wanted[0]);
    wait_for_text(log, "ends: ", &text);
    assert_non_null(strstr(str_get(&text), "has found another"));
    assert_false(file_exists(socket));
    scratch_remove(late);
}

/* As the second of two does that were started on a slow machine, when the first has already ended. */
static void a_keeper_that_nobody_comes_for_ends_and_one_that_holds_a_container_does_not(void **state)
{
    need_root(state);
    struct fixture *f = *state;
    struct err err;
    start(f, "held", "sleep 1000", (struct options){0});
    pid_t pid = keeper_pid(f->k);
    keeper_close(f->k);
    char *late = scratch_new();
    _cleanup_free_ char *log = str_printf("%s/log", late),
                        *socket = str_printf("%s/keeper/keeper.sock", late);
    spawn_keeper(late, -EBADF, log);
    wait_for_file(socket, true);
    wait_for_file(socket, false);
    scratch_remove(late);
    open_keeper(f);
    assert_int_equal(keeper_pid(f->k), pid);
    assert_ok(keeper_kill(f->k, "held", "", SIGKILL, false, &err), &err);
    wait_exit(f, "held", "");
}

static void a_keeper_that_comes_up_when_its_root_has_been_removed_makes_none(void **state)
{
    need_root(state);
    char *dir = scratch_new();
    _cleanup_free_ char *root = str_printf("%s/gone", dir), *log = str_printf("%s/log", dir);
    _cleanup_str_ struct str text = STR_INIT;
    spawn_keeper(root, -EBADF, log);
    wait_for_text(log, "make ", &text);
    assert_non_null(strstr(str_get(&text), root));
    assert_false(file_exists(root));
    scratch_remove(dir);
}

/* A message of each type, with every length cut off, and with bytes changed by a fixed sequence. */
static void a_client_that_talks_nonsense_harms_nobody_else(void **state)
{
    need_root(state);
    struct fixture *f = *state;
    struct err err;
    start(f, "safe", "sleep 1000", (struct options){0});
    pid_t pid = keeper_pid(f->k);
    _cleanup_free_ char *path = str_printf("%s/keeper/keeper.sock", f->dir);
    uint32_t seed = 1;
    for (int type = 0; type < 70; type++) {
        int fd;
        assert_ok(file_connect_unix(path, SOCK_SEQPACKET, &fd, &err), &err);
        fcntl(fd, F_SETFL, O_NONBLOCK);
        for (int round = 0; round < 60; round++) {
            _cleanup_str_ struct str m = STR_INIT;
            char answer[4096];
            protocol_begin(&m, round ? (enum protocol_type)type : PROTOCOL_HELLO, 1);
            if (round) {
                protocol_put_text(&m, round % 2 ? "other" : "../..");
                protocol_put_text(&m, "x");
                for (int i = 0; i < 6; i++)
                    protocol_put_u32(&m, (seed = seed * 1664525 + 1013904223) >> (round % 32));
                if (round > 30)
                    m.data[(seed >> 8) % m.len] ^= (char)(1 + round);
            }
            size_t n = round > 1 ? m.len - (size_t)round % 30 : m.len;
            int null = open("/dev/null", O_RDWR | O_CLOEXEC);
            file_send_fds(fd, m.data, n, &null, (size_t)round % 2, NULL);
            close(null);
            while (recv(fd, answer, sizeof(answer), 0) > 0)
                ;
        }
        close(fd);
        if (type + 1 == PROTOCOL_SHUTDOWN) /* well formed, that one would be obeyed when nothing ran */
            assert_int_equal(keeper_shutdown(f->k, &err), -ERR_CONFLICT);
    }
    struct keeper_process *list;
    size_t count;
    assert_ok(keeper_list(f->k, &list, &count, &err), &err);
    free(list);
    assert_int_equal(count, 1);
    assert_int_equal(keeper_pid(f->k), pid);
}

static void assert_same_after_names(json_t *spec, bool shorter)
{
    json_object_set_new(json_object_get(spec, "linux"), "seccomp", json_string(KEEPER_SECCOMP_DEFAULT));
    _cleanup_json_ json_t *named = policy_shorten(spec);
    _cleanup_free_ char *whole = json_format(spec), *text = json_format(named);
    if (shorter)
        assert_true(strlen(text) * 3 < strlen(whole));
    /* As it comes to the keeper. */
    _cleanup_json_ json_t *read = json_loads(text, 0, NULL);
    policy_expand(read);
    policy_expand(spec);
    assert_true(json_equal(read, spec));
    assert_true(json_is_object(json_object_get(json_object_get(read, "linux"), "seccomp")));
}

static void a_config_with_names_for_defaults_means_the_same(void **state)
{
    _cleanup_json_ json_t *spec = json_deep_copy(runtime_shared_defaults());
    assert_same_after_names(spec, true);
    /* Nothing of it is the default. */
    _cleanup_json_ json_t *other = json_deep_copy(runtime_shared_defaults());
    json_t *linux_ = json_object_get(other, "linux"), *m;
    json_array_remove(json_object_get(linux_, "maskedPaths"), 0);
    json_array_clear(json_object_get(linux_, "readonlyPaths"));
    json_array_remove(json_object_get(json_object_get(linux_, "resources"), "devices"), 3);
    json_array_remove(
        json_object_get(json_object_get(json_object_get(other, "process"), "capabilities"), "bounding"), 0);
    size_t i;
    json_array_foreach (json_object_get(other, "mounts"), i, m)
        json_array_append_new(json_object_get(m, "options"), json_string("noatime"));
    assert_same_after_names(other, false);
    /* The defaults have stayed what they are. */
    _cleanup_json_ json_t *fresh = runtime_default_spec();
    json_object_del(json_object_get(fresh, "linux"), "seccomp");
    assert_true(json_equal(fresh, runtime_shared_defaults()));
    /* Half a config is one, too. */
    _cleanup_json_ json_t *none = json_object();
    _cleanup_json_ json_t *named = policy_shorten(none);
    assert_true(json_equal(named, none));
    policy_expand(named);
    assert_true(json_equal(named, none));
}

int main(int argc, char **argv)
{
    if (argc > 1 && str_eq(argv[1], "keeper"))
        return keeper_main(argc - 1, argv + 1);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        T(an_exit_code_arrives_and_the_output_is_in_the_log),
        T(a_program_that_is_not_there_is_told_and_leaves_nothing),
        T(output_of_fifty_megabytes_is_whole_over_rotated_files),
        T(attached_streams_carry_both_directions),
        T(stdin_larger_than_all_buffers_arrives_whole),
        T(without_stdin_a_program_reads_the_end_at_once),
        T(a_terminal_has_its_size_and_echoes),
        T(the_last_output_of_a_terminal_is_kept),
        T(a_stream_that_is_not_read_does_not_stop_the_process_for_ever),
        T(a_slow_reader_gets_every_byte),
        T(more_processes_run_in_a_container_each_with_its_own_exit),
        T(a_background_child_does_not_hold_back_an_exit),
        T(processes_of_a_shared_pid_namespace_end_with_their_container),
        T(signals_arrive_and_a_paused_container_can_be_killed),
        T(too_much_memory_is_reported_as_such),
        T(exits_while_no_client_is_there_are_told_to_the_next),
        T(a_client_that_is_killed_takes_nothing_with_it),
        T(a_keeper_that_is_killed_takes_no_container_and_no_later_output_with_it),
        T(a_terminal_whose_keeper_is_killed_amid_its_output_loses_and_doubles_no_byte),
#define HELD(name)                                                                                           \
    {#name "_on_a_kernel_that_keeps_no_exit_codes", name, set_up_without_exit_codes,                         \
     tear_down_with_failpoints, NULL}
        HELD(a_keeper_that_is_killed_takes_no_container_and_no_later_output_with_it),
        HELD(a_keeper_killed_amid_launches_loses_none_and_starts_none_twice),
        HELD(who_holds_the_exit_codes_of_a_killed_keepers_containers_goes_with_the_last),
#define ORPHAN(name) cmocka_unit_test_setup_teardown(name, set_up_among_orphans, tear_down_among_orphans)
#define ORPHAN_HELD(name)                                                                                    \
    {#name "_on_a_kernel_that_keeps_no_exit_codes", name, set_up_among_orphans_without_exit_codes,           \
     tear_down_among_orphans, NULL}
        ORPHAN(an_exit_that_is_reaped_while_the_keeper_asks_for_it_is_known),
        ORPHAN(an_exit_that_a_keeper_saw_and_did_not_record_is_seen_by_the_next),
        ORPHAN_HELD(an_exit_that_a_keeper_saw_and_did_not_record_is_seen_by_the_next),
        ORPHAN(an_exit_that_only_a_killed_keeper_saw_is_seen_by_the_next),
        ORPHAN_HELD(an_exit_that_only_a_killed_keeper_saw_is_seen_by_the_next),
        ORPHAN(an_exit_when_neither_keeper_nor_client_is_there_is_known),
        ORPHAN_HELD(an_exit_when_neither_keeper_nor_client_is_there_is_known),
        ORPHAN(an_exit_when_keeper_client_and_holder_are_gone_is_told_as_unknown),
#define ARMED(name) cmocka_unit_test_setup_teardown(name, set_up_with_failpoints, tear_down_with_failpoints)
        ARMED(a_launch_that_was_not_let_go_when_both_were_killed_never_was),
        ARMED(a_launch_that_was_let_go_when_both_were_killed_runs_once),
        ARMED(what_it_holds_of_containers_stands_apart_and_their_launches_do_without),
        T(starters_make_containers_and_are_replaced),
        T(many_at_once_all_end_right_and_leave_nothing),
        T(a_keeper_killed_amid_launches_loses_none_and_starts_none_twice),
        cmocka_unit_test(a_config_with_names_for_defaults_means_the_same),
        T(the_keeper_does_not_end_while_containers_run),
        T(a_keeper_whose_starter_has_found_another_is_none),
        T(a_keeper_that_nobody_comes_for_ends_and_one_that_holds_a_container_does_not),
        T(a_keeper_that_comes_up_when_its_root_has_been_removed_makes_none),
        T(a_client_that_talks_nonsense_harms_nobody_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
