/* A container for the runtime's tests: a root directory with a static busybox, a config to change, and what
 * came out of a run. */
#ifndef TESTS_RUNTIME_BOX_H
#define TESTS_RUNTIME_BOX_H

#include "unit.h"

#include "base/json.h"
#include "runtime/cgroup.h"
#include "runtime/runtime.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define BOX_BUSYBOX "/bin/busybox"

struct box {
    char *dir;  /* scratch */
    char *root; /* dir/root */
    json_t *spec;
    struct runtime_overlay overlay;
    const int *fds;
    size_t fd_count;
    char id[64];
    const char *bundle;
    bool no_pivot;
    int parked_from;
    /* of the last run */
    int status; /* exit status, 128 + signal, or -1 when it was not started */
    struct err err;
    struct str output; /* stdout and stderr */
    bool oom;
};

static inline void box_need_root(void)
{
    if (geteuid() != 0) {
        print_message("skipped: needs root (CAP_SYS_ADMIN)\n");
        skip();
    }
    if (access(BOX_BUSYBOX, X_OK) != 0) {
        print_message("skipped: needs a static busybox at %s\n", BOX_BUSYBOX);
        skip();
    }
}

static inline void box_file(const char *base, const char *path, const char *text, mode_t mode)
{
    _cleanup_free_ char *whole = str_printf("%s/%s", base, path);
    struct err err;
    assert_ok(file_replace(whole, text, strlen(text), mode, false, &err), &err);
}

static inline void box_tree(const char *root)
{
    static const char *const dirs[] = {"bin", "etc", "tmp", "proc", "sys", "dev"};
    static const char *const applets[] = {
        "sh",       "true",   "cat",    "ls",  "grep", "mount",    "id",    "env",    "sleep",   "touch",
        "echo",     "stat",   "mknod",  "dd",  "wc",   "readlink", "tail",  "chroot", "unshare", "ps",
        "hostname", "ulimit", "umount", "tty", "kill", "mkdir",    "rmdir", "head"};
    struct err err;
    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
        _cleanup_free_ char *dir = str_printf("%s/%s", root, dirs[i]);
        assert_ok(file_mkdirs(dir, 0755, &err), &err);
    }
    _cleanup_str_ struct str bytes = STR_INIT;
    assert_ok(file_read(BOX_BUSYBOX, 16 << 20, &bytes, &err), &err);
    _cleanup_free_ char *busybox = str_printf("%s/bin/busybox", root);
    assert_ok(file_replace(busybox, bytes.data, bytes.len, 0755, false, &err), &err);
    for (size_t i = 0; i < ARRAY_SIZE(applets); i++) {
        _cleanup_free_ char *link_ = str_printf("%s/bin/%s", root, applets[i]);
        assert_int_equal(symlink("busybox", link_), 0);
    }
}

static inline void box_init(struct box *b)
{
    box_need_root();
    static int number;
    *b = (struct box){.dir = scratch_new(), .status = -1};
    b->root = str_printf("%s/root", b->dir);
    box_tree(b->root);
    b->spec = runtime_default_spec();
    json_object_set_new(b->spec, "hostname", json_string("box"));
    snprintf(b->id, sizeof(b->id), "unit-%d-%d", (int)getpid(), number++);
}

static inline json_t *box_process(struct box *b)
{
    return json_object_get(b->spec, "process");
}

static inline json_t *box_linux(struct box *b)
{
    return json_object_get(b->spec, "linux");
}

static inline void box_args(struct box *b, const char *const *args)
{
    json_object_set_new(box_process(b), "args", json_of_strv((char *const *)args));
}

static inline struct runtime_launch box_launch(struct box *b, int in, int out)
{
    return (struct runtime_launch){.id = b->id,
                                   .spec = b->spec,
                                   .root = b->root,
                                   .overlay = b->overlay,
                                   .stdio = {in, out, out},
                                   .fds = b->fds,
                                   .fd_count = b->fd_count,
                                   .bundle = b->bundle,
                                   .no_pivot = b->no_pivot,
                                   .parked_from = b->parked_from};
}

static inline int box_wait(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Whether a cgroup of this box is left in any hierarchy. */
static inline bool box_has_cgroup(const struct box *b)
{
    struct cgroup *g;
    if (cgroup_open(b->id, &g, NULL) < 0)
        return false;
    cgroup_free(g);
    return true;
}

/* Runs to the end and removes the cgroup. */
static inline void box_run(struct box *b)
{
    int pipe_fds[2];
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct runtime_launch launch = box_launch(b, null, pipe_fds[1]);
    struct cgroup *cgroup = NULL;
    struct runtime_child child;
    str_clear(&b->output);
    b->err = (struct err){0};
    b->status = -1;
    b->oom = false;
    int r = runtime_launch(&launch, &cgroup, &child, &b->err);
    close(pipe_fds[1]);
    close(null);
    if (r == 0) {
        r = runtime_launch_result(child.status_fd, &b->err);
        struct err err;
        assert_ok(file_read_fd(pipe_fds[0], 1 << 20, &b->output, &err), &err);
        int status = box_wait(child.pid);
        if (r == 0)
            b->status = status;
        struct cgroup_usage usage;
        assert_ok(cgroup_usage(cgroup, &usage, &err), &err);
        b->oom = usage.oom_kills > 0;
        close(child.status_fd);
        close(child.pidfd);
        assert_ok(cgroup_remove(cgroup, &err), &err);
        cgroup_free(cgroup);
    }
    close(pipe_fds[0]);
    assert_false(box_has_cgroup(b));
}

static inline const char *box_sh(struct box *b, const char *script)
{
    const char *args[] = {"sh", "-c", script, NULL};
    box_args(b, args);
    box_run(b);
    if (b->status < 0)
        fail_msg("not started: %s", b->err.msg);
    return str_get(&b->output);
}

static inline void box_done(struct box *b)
{
    json_decref(b->spec);
    str_free(&b->output);
    free(b->root);
    scratch_remove(b->dir);
}

#define assert_contains(text, part)                                                                          \
    do {                                                                                                     \
        if (!strstr((text), (part)))                                                                         \
            fail_msg("\"%s\" is not in: %s", (part), (text));                                                \
    } while (0)

#define assert_lacks(text, part)                                                                             \
    do {                                                                                                     \
        if (strstr((text), (part)))                                                                          \
            fail_msg("\"%s\" is in: %s", (part), (text));                                                    \
    } while (0)

#endif
