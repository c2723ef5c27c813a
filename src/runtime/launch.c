#include "runtime/runtime.h"

#include "base/file.h"
#include "base/process.h"
#include "base/str.h"
#include "runtime/cgroup_priv.h"
#include "runtime/child.h"
#include "runtime/rootfs.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* clone3 without sharing memory: fork with the extras. Returns as fork does. */
static pid_t clone_child(uint64_t flags, int cgroup_fd, int *ret_pidfd)
{
    struct clone_args args = {
        .flags = flags | CLONE_PIDFD,
        .pidfd = (uint64_t)(uintptr_t)ret_pidfd,
        .exit_signal = flags & CLONE_PARENT ? 0 : SIGCHLD, /* else inherited */
    };
    if (cgroup_fd >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)cgroup_fd;
    }
    return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

struct middle_report {
    pid_t pid;
    int sys;
};

static _Noreturn void middle_run(struct child *c, uint64_t flags, int target, int cgroup_fd, int report)
{
    struct middle_report result = {-1, 0};
    int pidfd = -EBADF;
    if (setns(target, CLONE_NEWPID) == 0)
        result.pid = clone_child(flags | CLONE_PARENT, cgroup_fd, &pidfd);
    if (result.pid == 0)
        child_run(c);
    result.sys = errno;
    (void)!write(report, &result, sizeof(result));
    _exit(0);
}

/* Root of a user namespace may not come back to the pid namespace of the machine. A process in the middle
 * enters instead of us, and its child is made ours. */
static pid_t clone_through_middle(struct child *c, uint64_t flags, int target, int cgroup_fd, int *ret_pidfd,
                                  struct err *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_sys(err, errno, "pipe");
    pid_t middle = fork();
    if (middle == 0)
        middle_run(c, flags, target, cgroup_fd, ends[1]);
    int sys = errno;
    close(ends[1]);
    _cleanup_close_ int report = ends[0];
    if (middle < 0)
        return err_sys(err, sys, "fork");
    struct middle_report result = {-1, EIO};
    while (waitpid(middle, NULL, 0) < 0 && errno == EINTR)
        ;
    /* What it said is in the pipe now. End of file may be far: its child has the other end too. */
    if (read(report, &result, sizeof(result)) != sizeof(result))
        result = (struct middle_report){-1, EIO};
    if (result.pid < 0 && result.sys == ESRCH)
        return err_set(err, ERR_CONFLICT, "the container is not running");
    if (result.pid < 0)
        return err_sys(err, result.sys, "enter the pid namespace");
    *ret_pidfd = (int)syscall(SYS_pidfd_open, result.pid, 0); /* ours to reap: the number is its own */
    return *ret_pidfd < 0 ? err_sys(err, errno, "watch the process") : result.pid;
}

/* A pid namespace is entered by children only: the parent chooses it for the moment of the clone. `target` is
 * a namespace or a pidfd, or negative. Failing to come back would put every later container into this one. */
static pid_t clone_in_pid_namespace(struct child *c, uint64_t flags, int target, int cgroup_fd,
                                    int *ret_pidfd, struct err *err)
{
    _cleanup_close_ int home = -EBADF;
    if (target >= 0 && process_in_user_namespace())
        return clone_through_middle(c, flags, target, cgroup_fd, ret_pidfd, err);
    if (target >= 0) {
        home = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
        if (home < 0)
            return err_sys(err, errno, "open /proc/self/ns/pid");
        if (setns(target, CLONE_NEWPID) < 0) {
            if (errno == ESRCH)
                return err_set(err, ERR_CONFLICT, "the container is not running");
            return err_sys(err, errno, "enter the pid namespace");
        }
    }
    pid_t pid = clone_child(flags, cgroup_fd, ret_pidfd);
    if (pid == 0)
        child_run(c);
    int sys = errno;
    if (home >= 0)
        must(setns(home, CLONE_NEWPID) == 0);
    return pid < 0 ? err_sys(err, sys, "clone") : pid;
}

/* On v2 the child is born in its group where the kernel can (5.7), which spares it the move. */
static int start(struct child *c, uint64_t flags, int pid_namespace, struct runtime_child *ret,
                 struct err *err)
{
    int pipe_fds[2];
    if (pipe2(pipe_fds, O_CLOEXEC) < 0)
        return err_sys(err, errno, "pipe");
    _cleanup_close_ int read_end = pipe_fds[0], write_end = pipe_fds[1];
    _cleanup_close_ int cgroup_fd = -EBADF;
    c->status_fd = write_end;
    if (cgroup_is_v2(c->cgroup))
        cgroup_fd = open(c->cgroup->dirs[0].root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    c->in_cgroup = cgroup_fd >= 0;
    int pidfd = -EBADF;
    pid_t pid = clone_in_pid_namespace(c, flags, pid_namespace, cgroup_fd, &pidfd, err);
    if (pid < 0)
        return pid;
    *ret = (struct runtime_child){.pid = pid, .pidfd = pidfd, .status_fd = take_fd(&read_end)};
    return 0;
}

static int check_stdio(const struct runtime_launch *launch, struct err *err)
{
    if (launch->own_console)
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
        .stdio = {launch->stdio[0], launch->stdio[1], launch->stdio[2]},
        .tty = launch->tty && !launch->own_console,
        .container_fd = -EBADF,
        .start_fd = launch->two_phase ? launch->start_fd : -EBADF,
        .console_fd = launch->own_console ? launch->console_fd : -EBADF,
        .preserve_fds = launch->preserve_fds,
    };
}

int runtime_launch(const struct runtime_launch *launch, struct cgroup **ret_cgroup, struct runtime_child *ret,
                   struct err *err)
{
    _cleanup_plan_ struct plan plan = {0};
    struct cgroup *cgroup = NULL;
    int r = check_stdio(launch, err);
    if (r == 0)
        r = plan_parse(launch, &plan, err);
    if (r == 0)
        r = rootfs_prepare(&plan, err);
    if (r == 0)
        r = cgroup_create(plan.cgroups_path ? plan.cgroups_path : launch->id, plan.resources, &cgroup, err);
    if (r < 0)
        return r;
    int pid_namespace = -EBADF;
    for (size_t i = 0; i < plan.join_count; i++)
        if (plan.joins[i].flag == CLONE_NEWPID)
            pid_namespace = plan.joins[i].fd;
    struct child child = child_of(launch, &plan, cgroup);
    r = start(&child, plan.new_namespaces, pid_namespace, ret, err);
    if (r < 0) {
        cgroup_remove(cgroup, NULL);
        cgroup_free(cgroup);
        return r;
    }
    *ret_cgroup = cgroup;
    return 0;
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
    struct child child = child_of(launch, &plan, cgroup);
    child.container_fd = pidfd;
    return start(&child, 0, plan.namespaces & CLONE_NEWPID ? pidfd : -EBADF, ret, err);
}

int runtime_launch_result(int status_fd, struct err *err)
{
    struct {
        char ready;
        struct err err;
    } message;
    char buffer[sizeof(message.err) + 1];
    ssize_t n = file_read_full(status_fd, buffer, sizeof(buffer), err);
    if (n < 0)
        return (int)n;
    if (n == 1 && buffer[0] == CHILD_READY)
        return 0;
    size_t skip = n > 0 && (size_t)n == sizeof(message.err) + 1 ? 1 : 0;
    if ((size_t)n != sizeof(message.err) + skip)
        return err_set(
            err, ERR_SYSTEM,
            "the container's process died while it was set up (killed, or out of its memory limit)");
    memcpy(&message.err, buffer + skip, sizeof(message.err));
    message.err.msg[sizeof(message.err.msg) - 1] = '\0';
    return err_copy(err, &message.err);
}
