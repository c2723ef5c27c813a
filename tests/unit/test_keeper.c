/* The keeper with real containers of busybox. This program is its own keeper: started again with "keeper". */
#include "unit.h"

#include "base/json.h"
#include "base/log.h"
#include "keeper/keeper.h"
#include "runtime/runtime.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
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

static void open_keeper(struct fixture *f)
{
    struct err err = {0};
    struct keeper_callbacks callbacks = {&f->exits, on_exit_event, on_restart_event};
    assert_ok(keeper_open(f->dir, &callbacks, &f->k, &err), &err);
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

static void need_root(void **state)
{
    if (geteuid() != 0 || !file_exists("/bin/busybox")) {
        print_message("skipped: needs root and /bin/busybox (busybox-static)\n");
        skip();
    }
}

static json_t *spec_of(struct fixture *f, const char *id, const char *script)
{
    json_t *spec = runtime_default_spec();
    json_object_set_new(json_object_get(spec, "root"), "path", json_string(f->rootfs));
    json_object_set_new(json_object_get(spec, "process"), "args",
                        json_pack("[sss]", "/bin/sh", "-c", script));
    _cleanup_free_ char *cgroup = str_printf("/drover-unit-%d/%s", getpid(), id);
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

static void an_exit_code_arrives_and_the_output_is_in_the_log(void **state)
{
    need_root(state);
    struct fixture *f = *state;
    start(f, "one", "echo hello; echo oops >&2; exit 7", (struct options){0});
    struct seen s = wait_exit(f, "one", "");
    assert_int_equal(s.status, 7);
    assert_int_equal(s.signal, 0);
    _cleanup_free_ char *path = log_path(f, "one");
    _cleanup_str_ struct str text = STR_INIT;
    struct err err;
    assert_ok(file_read(path, 1 << 20, &text, &err), &err);
    assert_non_null(memmem(text.data, text.len, "hello\n", 6));
    assert_non_null(memmem(text.data, text.len, "oops\n", 5));
}

int main(int argc, char **argv)
{
    if (argc > 1 && str_eq(argv[1], "keeper"))
        return keeper_main(argc - 1, argv + 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_exit_code_arrives_and_the_output_is_in_the_log, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
