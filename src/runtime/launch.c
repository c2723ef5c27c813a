#include "runtime/runtime.h"

#include "base/file.h"
#include "base/process.h"
#include "base/str.h"
#include "runtime/cgroup_priv.h"
#include "runtime/child.h"
#include "runtime/idmaps.h"
#include "runtime/listener.h"
#include "runtime/privileges.h"
#include "runtime/rootfs.h"
#include "runtime/starter_priv.h"
#include "runtime/usher.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- the clone --- */

/* Chooses the pid namespace for the moment of the clone, which is quicker than an usher. Failing to come back
 * would put every later container into this one. */
static pid_t clone_in_pid_namespace(struct child *c, uint64_t flags, int target, int cgroup_fd,
                                    int *ret_pidfd, struct err *err)
{
    _cleanup_close_ int home = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
    if (home < 0)
        return err_sys(err, errno, "open /proc/self/ns/pid");
    if (setns(target, CLONE_NEWPID) < 0) {
        if (errno == ESRCH)
            return err_set(err, ERR_CONFLICT, "the container is not running");
        return err_sys(err, errno, "join the pid namespace");
    }
    pid_t pid = usher_clone_plain(c, flags, cgroup_fd, ret_pidfd, err);
    must(setns(home, CLONE_NEWPID) == 0);
    return pid;
}

/* What a child needs to be born with. */
struct birth {
    uint64_t flags;
    struct usher_join joins[PLAN_MAX_JOINS];
    size_t join_count;
    bool by_usher; /* joins all; else the pid namespace alone, the rest is the child's to join */
};

static pid_t clone_child(struct child *c, const struct birth *birth, int cgroup_fd, int *ret_pidfd,
                         struct err *err)
{
    c->joined = birth->by_usher;
    if (c->is_exec)
        return usher_clone_inside(c, ret_pidfd, err);
    if (birth->by_usher)
        return usher_clone(c, birth->joins, birth->join_count, birth->flags, cgroup_fd, ret_pidfd, err);
    for (size_t i = 0; i < birth->join_count; i++)
        if (birth->joins[i].flags & CLONE_NEWPID)
            return clone_in_pid_namespace(c, birth->flags, birth->joins[i].fd, cgroup_fd, ret_pidfd, err);
    if (c->parked_from)
        return usher_clone_lightly(c, birth->flags, cgroup_fd, ret_pidfd, err);
    return usher_clone_plain(c, birth->flags, cgroup_fd, ret_pidfd, err);
}

/* --- what only the parent can do --- */

/* True when the child's mounts are there; false: it failed before, and its status says why. */
static bool attend_mounts(const struct plan *plan, int sync_fd)
{
    for (;;) {
        int asked;
        size_t count;
        struct err why = {0};
        _cleanup_close_ int tree = -EBADF;
        if (file_recv_fds(sync_fd, &asked, sizeof(asked), &tree, 1, &count, NULL) != sizeof(asked))
            return false;
        if (asked == CHILD_MOUNTED)
            return true;
        if (asked < 0 || (size_t)asked >= plan->mount_count)
            return false;
        const struct plan_mount *m = &plan->mounts[asked];
        rootfs__map_tree(tree, m->userns_fd, m, &why);
        send(sync_fd, &why, sizeof(why), MSG_NOSIGNAL);
    }
}

static int run_host_hooks(const struct child *c, int sync_fd, pid_t pid, struct err *err)
{
    const struct hooks *hooks = &c->plan->hooks;
    if (!hooks->counts[HOOK_PRESTART] && !hooks->counts[HOOK_CREATE_RUNTIME] && !c->plan->maps_within)
        return 0;
    if (!attend_mounts(c->plan, sync_fd))
        return 0;
    _cleanup_free_ char *state = hooks_state_of(&c->hook_state, pid);
    int r = hooks_run(hooks, HOOK_PRESTART, state, environ, err);
    if (r == 0)
        r = hooks_run(hooks, HOOK_CREATE_RUNTIME, state, environ, err);
    const char byte = CHILD_GO_ON;
    if (r == 0)
        send(sync_fd, &byte, 1, MSG_NOSIGNAL);
    return r;
}

static int move_devices(const struct plan *plan, pid_t pid, struct err *err)
{
    char path[48];
    int namespace_fd = -EBADF;
    if (!plan->net_devices.count)
        return 0;
    for (size_t i = 0; i < plan->join_count; i++)
        if (plan->joins[i].flag == CLONE_NEWNET)
            namespace_fd = plan->joins[i].fd;
    snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
    _cleanup_close_ int of_child = namespace_fd < 0 ? open(path, O_RDONLY | O_CLOEXEC) : -EBADF;
    if (namespace_fd < 0 && of_child < 0)
        return err_sys(err, errno, "open %s", path);
    return net_devices_move(&plan->net_devices, namespace_fd < 0 ? of_child : namespace_fd, err);
}

/* The child of a user namespace is nobody outside: it may not enter its cgroup, raise a limit or take a
 * better place for itself. One that is inside of a container already enters its cgroup last, by our hand: a
 * frozen group would hold the usher, and with it us. */
static int attend(const struct child *c, int sync_fd, pid_t pid, struct err *err)
{
    const struct plan *plan = c->plan;
    int r = 0;
    if (plan->new_namespaces & CLONE_NEWUSER)
        r = idmaps_write(pid, &plan->id_maps, err);
    if (r == 0)
        r = move_devices(plan, pid, err);
    if (r == 0 && c->is_exec)
        r = cgroup_add_beside((struct cgroup *)c->cgroup, pid, c->container_pid, err);
    else if (r == 0 && c->mapped && !c->in_cgroup)
        r = cgroup_add_pid((struct cgroup *)c->cgroup, pid, err);
    if (r == 0 && c->mapped && !c->is_exec) {
        r = privileges_set_oom_score(&plan->process, pid, err);
        if (r == 0)
            r = privileges_raise_limits(&plan->process, pid, err);
        if (r == 0)
            r = scheduling_apply(&plan->process.scheduling, pid, err);
    }
    int number = (int)pid;
    if (r == 0)
        send(sync_fd, &number, sizeof(number), MSG_NOSIGNAL);
    return r < 0 ? r : run_host_hooks(c, sync_fd, pid, err);
}

/* --- both --- */

static void discard(pid_t pid, int pidfd)
{
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    close_fd(pidfd);
}

static int start(struct child *c, const struct birth *birth, struct runtime_child *ret, struct err *err)
{
    int pipe_fds[2], pair[2] = {-EBADF, -EBADF};
    if ((c->confirmed ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pipe_fds)
                      : pipe2(pipe_fds, O_CLOEXEC)) < 0)
        return err_sys(err, errno, "make a channel for the status");
    _cleanup_close_ int read_end = pipe_fds[0], write_end = pipe_fds[1];
    bool attended =
        c->mapped || c->is_exec || c->plan->hooks.any || c->plan->listener.path || c->plan->net_devices.count;
    if (attended && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_sys(err, errno, "socketpair");
    _cleanup_close_ int ours = pair[0], theirs = pair[1];
    _cleanup_close_ int cgroup_fd = -EBADF;
    /* On v2 the child is born in its group, which spares it the move. */
    if (cgroup_is_v2(c->cgroup) && !c->is_exec)
        cgroup_fd = open(c->cgroup->dirs[0].root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    c->in_cgroup = cgroup_fd >= 0;
    c->status_fd = write_end;
    c->sync_fd = theirs;
    c->sync_other_fd = ours;
    if (c->parked_from && child__highest_descriptor(c) >= c->parked_from)
        c->parked_from = 0;
    child__know_signals();
    int pidfd = -EBADF;
    pid_t pid = clone_child(c, birth, cgroup_fd, &pidfd, err);
    if (pid < 0)
        return pid;
    theirs = close_fd(theirs);
    int r = attended ? attend(c, ours, pid, err) : 0;
    if (r < 0) {
        discard(pid, pidfd);
        return r;
    }
    *ret = (struct runtime_child){.pid = pid, .pidfd = pidfd, .status_fd = take_fd(&read_end)};
    return 0;
}

static int check_stdio(const struct runtime_launch *launch, struct err *err)
{
    if (launch->tty)
        return 0;
    for (int i = 0; i < 3; i++)
        if (launch->stdio[i] < 0)
            return err_set(err, ERR_INVALID, "descriptor %d of the process was not given", i);
    return 0;
}

static struct child child_of(const struct runtime_launch *launch, const struct plan *plan,
                             const struct cgroup *cgroup)
{
    return (struct child){
        .plan = plan,
        .cgroup = cgroup,
        .mapped = plan->namespaces & CLONE_NEWUSER,
        .no_new_keyring = launch->no_new_keyring,
        .make_cwd = launch->bundle != NULL,
        .reset_affinity = launch->bundle != NULL,
        .plain_newlines = launch->plain_newlines,
        .stdio = {launch->stdio[0], launch->stdio[1], launch->stdio[2]},
        .container_fd = -EBADF,
        .container_root_fd = -EBADF,
        .start_fd = launch->two_phase ? launch->start_fd : -EBADF,
        .console_fd = launch->tty ? launch->console_fd : -EBADF,
        .preserve_fds = launch->preserve_fds,
        .confirmed = launch->confirmed,
        .parked_from = launch->parked_from,
    };
}

/* New namespaces belong to the user namespace they are made in, and one that is to be joined may only be
 * open to us outside of a new user namespace: then somebody has to go ahead. */
static struct birth birth_of(const struct plan *plan)
{
    struct birth birth = {.flags = plan->new_namespaces & ~plan->late_namespaces,
                          .join_count = plan->join_count};
    bool pid = false;
    for (size_t i = 0; i < plan->join_count; i++) {
        birth.joins[i] = (struct usher_join){.flags = plan->joins[i].flag, .fd = plan->joins[i].fd};
        pid |= plan->joins[i].flag == CLONE_NEWPID;
    }
    birth.by_usher =
        plan->join_count && (plan->namespaces & CLONE_NEWUSER || (pid && process_in_user_namespace()));
    return birth;
}

static int connect_listener(struct plan *plan, const struct runtime_launch *launch, const json_t *spec,
                            const char *status, pid_t container_pid, struct err *err)
{
    if (!plan->listener.path)
        return 0;
    struct hook_state state = hooks_state(launch->id, launch->bundle, status, spec);
    int r = listener_connect(&plan->listener, &state, container_pid, err);
    hooks_state_done(&state);
    return r;
}

static int hand_over(const struct runtime_launch *launch, const struct cgroup *cgroup,
                     struct runtime_child *ret, struct err *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_sys(err, errno, "make a channel for the status");
    _cleanup_close_ int ours = pair[0], theirs = pair[1];
    int r = starter__send(launch, cgroup, theirs, err);
    if (r == 0)
        *ret = (struct runtime_child){.pidfd = -EBADF, .status_fd = take_fd(&ours)};
    return r;
}

bool launch__in_starter(const struct runtime_launch *launch, const struct cgroup *cgroup, int status_fd,
                        struct err *err)
{
    _cleanup_plan_ struct plan plan = {0};
    int r = plan_parse(launch, &plan, err);
    if (r == 0)
        r = rootfs_prepare(&plan, err);
    if (r < 0)
        return false;
    struct child child = child_of(launch, &plan, cgroup);
    child.by_starter = true;
    child.status_fd = status_fd;
    child.sync_fd = child.sync_other_fd = -EBADF;
    _cleanup_close_ int cgroup_fd =
        cgroup_is_v2(cgroup) ? open(cgroup->dirs[0].root, O_PATH | O_DIRECTORY | O_CLOEXEC) : -EBADF;
    child.in_cgroup = cgroup_fd >= 0;
    usher_clone_sharing(&child, birth_of(&plan).flags, cgroup_fd, err);
    return child.executing;
}

static int launch_by_ourselves(const struct runtime_launch *launch, struct plan *plan, struct cgroup *cgroup,
                               struct runtime_child *ret, struct err *err)
{
    struct child child = child_of(launch, plan, cgroup);
    struct birth birth = birth_of(plan);
    /* The environment is there when the first of them runs (runtime.md, "Lifecycle", step 2). */
    if (plan->hooks.any)
        child.hook_state = hooks_state(launch->id, launch->bundle, "created", launch->spec);
    int r = connect_listener(plan, launch, launch->spec, "creating", 0, err);
    if (r == 0)
        r = start(&child, &birth, ret, err);
    hooks_state_done(&child.hook_state);
    return r;
}

int runtime_launch(const struct runtime_launch *launch, struct cgroup **ret_cgroup, struct runtime_child *ret,
                   struct err *err)
{
    _cleanup_plan_ struct plan plan = {0};
    struct cgroup *cgroup = NULL;
    int r = check_stdio(launch, err);
    if (r == 0)
        r = plan_parse(launch, &plan, err);
    bool fits = r == 0 && starter__fits(launch, &plan);
    if (r == 0 && !fits)
        r = rootfs_prepare(&plan, err);
    if (r == 0)
        r = cgroup__for_launch(launch, &plan, &cgroup, err);
    if (r < 0)
        return r;
    bool handed = fits && hand_over(launch, cgroup, ret, NULL) == 0;
    if (fits && !handed) /* the starter has just ended, or the launch is too large for a message */
        r = rootfs_prepare(&plan, err);
    if (r == 0 && !handed)
        r = launch_by_ourselves(launch, &plan, cgroup, ret, err);
    if (r < 0) {
        cgroup_remove(cgroup, NULL);
        cgroup_free(cgroup);
        return r;
    }
    *ret_cgroup = cgroup;
    return 0;
}

/* Joining the user namespace we are in is an error to the kernel. */
static bool in_our_user_namespace(pid_t pid)
{
    char path[48];
    struct stat ours, theirs;
    snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
    return stat(path, &theirs) == 0 && stat("/proc/self/ns/user", &ours) == 0 &&
           ours.st_ino == theirs.st_ino && ours.st_dev == theirs.st_dev;
}

int runtime_exec(const struct runtime_launch *launch, const json_t *container_spec, pid_t pid, int pidfd,
                 struct cgroup *cgroup, struct runtime_child *ret, struct err *err)
{
    _cleanup_plan_ struct plan plan = {0};
    int r = check_stdio(launch, err);
    if (r == 0)
        r = plan_parse_exec(launch, container_spec, &plan, err);
    if (r < 0)
        return r;
    if (plan.namespaces & CLONE_NEWUSER && in_our_user_namespace(pid))
        plan.namespaces &= ~(uint64_t)CLONE_NEWUSER;
    struct child child = child_of(launch, &plan, cgroup);
    _cleanup_close_ int unparked = -EBADF, root = -EBADF;
    if (launch->parked_from && pidfd >= launch->parked_from)
        unparked = fcntl(pidfd, F_DUPFD_CLOEXEC, 3);
    child.container_fd = unparked >= 0 ? unparked : pidfd;
    child.container_pid = pid;
    if (plan.root_is_first_process) {
        char path[48];
        snprintf(path, sizeof(path), "/proc/%d/root", (int)pid);
        root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (root < 0)
            return errno == ENOENT ? err_set(err, ERR_CONFLICT, "the container is not running")
                                   : err_sys(err, errno, "open the container's root");
        child.container_root_fd = root;
    }
    r = connect_listener(&plan, launch, container_spec, "running", pid, err);
    if (r < 0)
        return r;
    child.is_exec = true;
    const struct birth birth = {0};
    r = start(&child, &birth, ret, err);
    struct pollfd ended = {.fd = pidfd, .events = POLLIN};
    if (r < 0 && poll(&ended, 1, 0) > 0)
        return err_set(err, ERR_CONFLICT, "the container is not running");
    return r;
}

int runtime_launch_result(int status_fd, struct err *err)
{
    struct {
        char ready;
        struct err err;
    } message;
    char buffer[sizeof(message.err) + 1];
    size_t n = 0;
    /* A child that fails leaves the caller's word unread, and its socket says so after its report. */
    for (ssize_t got; n < sizeof(buffer); n += (size_t)got) {
        got = read(status_fd, buffer + n, sizeof(buffer) - n);
        if (got == 0 || (got < 0 && errno == ECONNRESET))
            break;
        if (got < 0 && errno != EINTR)
            return err_sys(err, errno, "read what the container's process says");
        if (got < 0)
            got = 0;
    }
    if (n == 1 && buffer[0] == CHILD_READY)
        return 0;
    size_t skip = n == sizeof(message.err) + 1 ? 1 : 0;
    if (n != sizeof(message.err) + skip)
        return err_set(
            err, ERR_SYSTEM,
            "the container's process died while it was set up (killed, or out of its memory limit)");
    memcpy(&message.err, buffer + skip, sizeof(message.err));
    message.err.msg[sizeof(message.err.msg) - 1] = '\0';
    return err_copy(err, &message.err);
}

int runtime_launch_born(int status_fd, struct runtime_child *ret, struct err *err)
{
    _Static_assert(ERR_MAX_ < (int)CHILD_BORN, "an err could pass for a birth");
    struct child_born born;
    ssize_t n = recv(status_fd, &born, sizeof(born), MSG_PEEK | MSG_DONTWAIT);
    if (n != sizeof(born) || born.tag != CHILD_BORN) {
        int r = runtime_launch_result(status_fd, err);
        return r < 0 ? r : err_set(err, ERR_SYSTEM, "the container's process did not say who it is");
    }
    recv(status_fd, &born, sizeof(born), 0);
    int pidfd = (int)syscall(SYS_pidfd_open, born.pid, 0);
    if (pidfd < 0) {
        int sys = errno;
        discard(born.pid, -EBADF);
        return err_sys(err, sys, "pidfd_open");
    }
    ret->pid = born.pid;
    ret->pidfd = pidfd;
    return 0;
}

void runtime_launch_confirm(int status_fd)
{
    char byte = CHILD_CONFIRMED;
    send(status_fd, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

bool runtime_launch_executed(int status_fd)
{
    char bytes[2];
    return recv(status_fd, bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT) == 1 && bytes[0] == CHILD_READY;
}
