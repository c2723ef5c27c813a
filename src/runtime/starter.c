#include "runtime/starter_priv.h"

#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "runtime/cgroup_priv.h"
#include "runtime/rootfs.h"
#include "runtime/usher.h"

#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of a launch: what else is sent are the config, the status, stdio, the root, and the shared groups of v1. */
enum { MAX_BYTES = 48 * 1024, MAX_GIVEN = FILE_MAX_FDS - 2 - 3 - 1 - CGROUP_MAX_SHARED };

/* --- a launch as one message --- */

/* The numbers of a launch. Behind them come its texts, each with its zero: those of text_of() in order, the
 * layers, then root and name of each directory of the cgroup. Its descriptors: the config, the status, then
 * what `has` says. */
struct message {
    bool tty, confirmed, root_ready, overlay, is_volatile, upper;
    bool has_stdio[3];
    uint32_t fd_count, lower_count, dir_count;
    int cgroup_version;
    struct {
        unsigned controllers;
        bool shared, has_fd;
    } dirs[CGROUP_MAX_DIRS];
};

static void put_text(struct str *m, const char *text)
{
    str_addn(m, text ? text : "", text ? strlen(text) + 1 : 1);
}

static bool has_id_map(const struct plan *plan)
{
    for (size_t i = 0; i < plan->mount_count; i++)
        if (plan->mounts[i].idmap)
            return true;
    return false;
}

bool starter__fits(const struct runtime_launch *launch, const struct plan *plan)
{
    if (!launch->starter || launch->bundle || launch->two_phase || !launch->confirmed || launch->preserve_fds)
        return false;
    /* With a pid namespace of its own nobody of the container sees it before its execve. */
    if (!(plan->new_namespaces & CLONE_NEWPID) || plan->namespaces & (CLONE_NEWUSER | CLONE_NEWTIME))
        return false;
    for (size_t i = 0; i < plan->join_count; i++)
        if (plan->joins[i].flag & (CLONE_NEWPID | CLONE_NEWNS))
            return false;
    return !plan->new_time_namespace && !plan->hooks.any && !plan->listener.path &&
           !plan->net_devices.count && !has_id_map(plan) && launch->fd_count <= MAX_GIVEN;
}

int starter__send(const struct runtime_launch *launch, const struct cgroup *cgroup, int status_fd,
                  struct err *err)
{
    const struct runtime_overlay *overlay = &launch->overlay;
    struct message m = {.tty = launch->tty,
                        .confirmed = launch->confirmed,
                        .root_ready = launch->root_ready,
                        .overlay = overlay->lowers != NULL,
                        .is_volatile = overlay->is_volatile,
                        .upper = overlay->upper != NULL,
                        .fd_count = (uint32_t)launch->fd_count,
                        .dir_count = (uint32_t)cgroup->count,
                        .cgroup_version = cgroup->version};
    int fds[FILE_MAX_FDS] = {launch->config_fd, status_fd};
    size_t count = 2;
    for (int i = 0; i < 3; i++) {
        int fd = launch->tty ? i ? -EBADF : launch->console_fd : launch->stdio[i];
        if ((m.has_stdio[i] = fd >= 0))
            fds[count++] = fd;
    }
    if (launch->root_ready)
        fds[count++] = launch->root_fd;
    for (size_t i = 0; i < launch->fd_count; i++)
        fds[count++] = launch->fds[i];
    _cleanup_str_ struct str texts = STR_INIT;
    const char *const all[] = {launch->id,    launch->root, overlay->layers_dir, overlay->upper,
                               overlay->work, cgroup->path, cgroup->fs_path};
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        put_text(&texts, all[i]);
    for (const char *const *lower = overlay->lowers; lower && *lower; lower++, m.lower_count++)
        put_text(&texts, *lower);
    for (size_t i = 0; i < cgroup->count; i++) {
        const struct cgroup_dir *d = &cgroup->dirs[i];
        m.dirs[i].controllers = d->controllers;
        m.dirs[i].shared = d->shared;
        if ((m.dirs[i].has_fd = d->join_fd >= 0))
            fds[count++] = d->join_fd;
        put_text(&texts, d->root);
        put_text(&texts, d->name);
    }
    _cleanup_str_ struct str bytes = STR_INIT;
    str_addn(&bytes, &m, sizeof(m));
    str_addn(&bytes, str_get(&texts), texts.len);
    if (bytes.len > MAX_BYTES)
        return err_set(err, ERR_LIMIT, "the launch is larger than %d bytes", MAX_BYTES);
    ssize_t n = file_send_fds(launch->starter->fd, str_get(&bytes), bytes.len, fds, count, err);
    return n < 0 ? (int)n : 0;
}

/* --- the starter --- */

struct starter {
    int fd;
    runtime_read_spec_fn read_spec;
    void *context;
};

/* One launch as it came in: borrowed from the message. */
struct received {
    struct runtime_launch launch;
    struct cgroup cgroup;
    int status_fd;
    const char **lowers;
};

static const char *next_text(const char **at)
{
    const char *text = *at;
    *at += strlen(text) + 1;
    return text;
}

/* The sender is our own caller: what it says is true. */
static void unpack(const char *bytes, const int *fds, struct received *ret)
{
    struct message m;
    memcpy(&m, bytes, sizeof(m));
    const char *at = bytes + sizeof(m);
    struct runtime_launch *l = &ret->launch;
    *l = (struct runtime_launch){.tty = m.tty,
                                 .confirmed = m.confirmed,
                                 .root_ready = m.root_ready,
                                 .fd_count = m.fd_count,
                                 .config_fd = *fds++};
    ret->status_fd = *fds++;
    for (int i = 0; i < 3; i++)
        l->stdio[i] = m.has_stdio[i] ? *fds++ : -EBADF;
    l->console_fd = m.tty ? l->stdio[0] : -EBADF;
    l->root_fd = m.root_ready ? *fds++ : -EBADF;
    l->fds = fds;
    fds += m.fd_count;
    l->id = next_text(&at);
    l->root = next_text(&at);
    l->overlay.layers_dir = next_text(&at);
    l->overlay.upper = next_text(&at);
    l->overlay.work = next_text(&at);
    if (!m.upper)
        l->overlay.upper = l->overlay.work = NULL;
    struct cgroup *g = &ret->cgroup;
    *g = (struct cgroup){.version = m.cgroup_version, .count = m.dir_count};
    g->path = (char *)next_text(&at);
    g->fs_path = (char *)next_text(&at);
    ret->lowers = NEW_N(const char *, m.lower_count + 1);
    for (size_t i = 0; i < m.lower_count; i++)
        ret->lowers[i] = next_text(&at);
    l->overlay.lowers = m.overlay ? ret->lowers : NULL;
    l->overlay.is_volatile = m.is_volatile;
    for (size_t i = 0; i < g->count; i++) {
        struct cgroup_dir *d = &g->dirs[i];
        *d = (struct cgroup_dir){.controllers = m.dirs[i].controllers,
                                 .shared = m.dirs[i].shared,
                                 .join_fd = m.dirs[i].has_fd ? *fds++ : -EBADF};
        d->root = (char *)next_text(&at);
        d->name = (char *)next_text(&at);
    }
}

/* What a starter keeps open. All else is a launch's, of which the child may have left anything. */
static int close_rest(const struct starter *s)
{
    int keep[] = {s->fd, rootfs__cover_top(), rootfs__cover_null(), rootfs__cover_empty(),
                  rootfs__late_descriptor()};
    return child__close_others(3, keep, ARRAY_SIZE(keep), NULL);
}

static bool start_one(const struct starter *s, const char *bytes, const int *fds)
{
    struct received r;
    struct err err = {0};
    _cleanup_json_ json_t *spec = NULL;
    unpack(bytes, fds, &r);
    bool executed = false;
    if (s->read_spec(r.launch.config_fd, s->context, &spec, &err) == 0) {
        r.launch.spec = spec;
        executed = launch__in_starter(&r.launch, &r.cgroup, r.status_fd, &err);
    }
    if (err.code)
        child__report(r.status_fd, &err, sizeof(err));
    free(r.lowers);
    return executed;
}

/* A child that ended on its way has left our memory as it was then: the caller gets another starter. */
static _Noreturn void serve(const struct starter *s)
{
    static char bytes[MAX_BYTES];
    int fds[FILE_MAX_FDS];
    size_t count;
    ssize_t n;
    do
        n = file_recv_fds(s->fd, bytes, sizeof(bytes), fds, ARRAY_SIZE(fds), &count, NULL);
    while (n > 0 && start_one(s, bytes, fds) && close_rest(s) == 0);
    _exit(0);
}

int runtime_starter_begin(runtime_read_spec_fn read_spec, void *context, struct runtime_starter *ret,
                          struct err *err)
{
    int pair[2];
    if (!usher_can_share())
        return err_set(err, ERR_UNSUPPORTED,
                       "children that share their parent's memory are made on x86-64 only");
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_sys(err, errno, "socketpair");
    _cleanup_close_ int ours = pair[0], theirs = pair[1];
    child__know_signals();
    rootfs__make_covers(); /* one for all */
    pid_t parent = getpid(), pid = fork();
    if (pid < 0)
        return err_sys(err, errno, "fork");
    if (pid == 0) {
        struct starter s = {theirs, read_spec, context};
        prctl(PR_SET_NAME, "drover-starter");
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent && close_rest(&s) == 0)
            serve(&s);
        _exit(1);
    }
    *ret = (struct runtime_starter){.pid = pid, .fd = take_fd(&ours)};
    return 0;
}

void runtime_starter_end(struct runtime_starter *s)
{
    kill(s->pid, SIGKILL);
    while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    s->fd = close_fd(s->fd);
}
