#include "runtime/usher.h"

#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* clone3 without sharing memory: fork with the extras. Returns as fork does. */
static pid_t clone_child(uint64_t flags, int cgroup_fd, int *ret_pidfd)
{
    struct clone_args args = {
        .flags = flags,
        .pidfd = (uint64_t)(uintptr_t)ret_pidfd,
        .exit_signal = flags & CLONE_PARENT ? 0 : SIGCHLD, /* a parent's child has its usher's */
    };
    if (ret_pidfd)
        args.flags |= CLONE_PIDFD;
    if (cgroup_fd >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)cgroup_fd;
    }
    return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

pid_t usher_clone_plain(struct child *c, uint64_t flags, int cgroup_fd, int *ret_pidfd, struct err *err)
{
    pid_t pid = clone_child(flags, cgroup_fd, ret_pidfd);
    if (pid == 0)
        child_run(c);
    if (pid >= 0)
        return pid;
    if (errno == ENOSPC)
        return err_set(
            err, ERR_LIMIT,
            "clone: the limit of namespaces is reached (user.max_*_namespaces, or too many nested)");
    if (errno == EPERM && flags & CLONE_NEWUSER)
        return err_set(err, ERR_DENIED,
                       "clone: this machine does not let us make a user namespace "
                       "(user.max_user_namespaces, kernel.unprivileged_userns_clone, "
                       "kernel.apparmor_restrict_unprivileged_userns)");
    return err_sys(err, errno, "clone");
}

/* In memory that both see. */
struct report {
    pid_t pid;
    int pidfd;
    struct err err;
};

const char *usher_name_of(int flag)
{
    switch (flag) {
    case CLONE_NEWPID:
        return "pid";
    case CLONE_NEWNS:
        return "mount";
    case CLONE_NEWUTS:
        return "uts";
    case CLONE_NEWIPC:
        return "ipc";
    case CLONE_NEWNET:
        return "network";
    case CLONE_NEWCGROUP:
        return "cgroup";
    case CLONE_NEWUSER:
        return "user";
    case CLONE_NEWTIME:
        return "time";
    default:
        return "container's";
    }
}

/* Those that can be entered with the rights we have come first; then the user namespace, where we are root,
 * and what that opens. The mount namespace is last: it takes away the host's paths. */
static int enter_all(const struct usher_join *joins, size_t count, struct err *err)
{
    uint64_t done = 0;
    for (int round = 0; round < 4; round++)
        for (size_t i = 0; i < count; i++) {
            bool user = joins[i].flags & CLONE_NEWUSER, mount = joins[i].flags == CLONE_NEWNS;
            int wanted_round = user ? 1 : mount ? 3 : round == 0 ? 0 : 2;
            if (done & UINT64_C(1) << i || round != wanted_round)
                continue;
            if (setns(joins[i].fd, joins[i].flags) == 0)
                done |= UINT64_C(1) << i;
            else if (errno == ESRCH)
                return err_set(err, ERR_CONFLICT, "the container is not running");
            else if (round > 0)
                return err_sys(err, errno, "join the %s namespace", usher_name_of(joins[i].flags));
        }
    return 0;
}

pid_t usher_clone(struct child *c, const struct usher_join *joins, size_t join_count, uint64_t flags,
                  int cgroup_fd, int *ret_pidfd, struct err *err)
{
    must(join_count < 64);
    struct report *report =
        mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (report == MAP_FAILED)
        return err_sys(err, errno, "mmap");
    *report = (struct report){.pid = -1, .pidfd = -EBADF};
    /* With our descriptors shared, the child's pidfd is made in our table. */
    pid_t usher = clone_child(CLONE_FILES, -EBADF, NULL);
    if (usher == 0) {
        if (enter_all(joins, join_count, &report->err) == 0) {
            /* Not shared any more: the child gets a copy of the table. */
            pid_t pid = usher_clone_plain(c, flags | CLONE_PARENT, cgroup_fd, &report->pidfd, &report->err);
            report->pid = pid;
        }
        _exit(0);
    }
    pid_t pid = usher < 0 ? err_sys(err, errno, "clone") : 0;
    while (pid == 0 && waitpid(usher, NULL, 0) < 0 && errno == EINTR)
        ;
    if (pid == 0 && report->pid > 0) {
        *ret_pidfd = report->pidfd;
        pid = report->pid;
    } else if (pid == 0) {
        pid = report->err.code ? err_copy(err, &report->err)
                               : err_set(err, ERR_SYSTEM, "the process that enters the namespaces died");
    }
    munmap(report, sizeof(*report));
    return pid;
}
