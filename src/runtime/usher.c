#include "runtime/usher.h"

#include "runtime/rootfs.h"

#include <linux/close_range.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_UNPOISON_MEMORY_REGION(at, n) ((void)0)
#endif
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

static int clone_failed(uint64_t flags, struct err *err)
{
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

pid_t usher_clone_plain(struct child *c, uint64_t flags, int cgroup_fd, int *ret_pidfd, struct err *err)
{
    pid_t pid = clone_child(flags, cgroup_fd, ret_pidfd);
    if (pid == 0)
        child_run(c);
    return pid < 0 ? clone_failed(flags, err) : pid;
}

/* --- in our memory --- */

enum { SHARED_STACK_BYTES = 8 << 20, GUARD_BYTES = 64 << 10 };

#ifdef __x86_64__

bool usher_can_share(void)
{
    return true;
}

/* clone3(2) has no function for this in the C library: a child that came back from syscall(2) would do so
 * over its parent's stack. It begins with an empty one, and never returns. */
static long clone_on_stack(struct clone_args *args, void (*run)(struct child *c), struct child *c)
{
    long r = SYS_clone3;
    register void (*run_)(struct child * c) __asm__("r8") = run;
    register struct child *c_ __asm__("r9") = c;
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "mov %%r9, %%rdi\n\t"
                     "call *%%r8\n\t"
                     "ud2\n"
                     "1:"
                     : "+a"(r)
                     : "D"(args), "S"(sizeof(*args)), "r"(run_), "r"(c_)
                     : "rcx", "r11", "memory", "cc");
    return r;
}

#else

bool usher_can_share(void)
{
    return false;
}

static long clone_on_stack(struct clone_args *args, void (*run)(struct child *c), struct child *c)
{
    return -ENOSYS;
}

#endif

int usher_clone_sharing(struct child *c, uint64_t flags, int cgroup_fd, struct err *err)
{
    static char *stack;
    if (!stack) {
        stack = mmap(NULL, SHARED_STACK_BYTES, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
        must(stack != MAP_FAILED && mprotect(stack, GUARD_BYTES, PROT_NONE) == 0);
    }
    ASAN_UNPOISON_MEMORY_REGION(stack + GUARD_BYTES, SHARED_STACK_BYTES - GUARD_BYTES);
    struct clone_args args = {
        .flags = flags | CLONE_VM | CLONE_VFORK | CLONE_PARENT | CLONE_PARENT_SETTID,
        .parent_tid = (uint64_t)(uintptr_t)&c->outer_pid,
        .stack = (uint64_t)(uintptr_t)(stack + GUARD_BYTES),
        .stack_size = SHARED_STACK_BYTES - GUARD_BYTES,
    };
    if (cgroup_fd >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)cgroup_fd;
    }
    long pid = clone_on_stack(&args, child_run, c);
    if (pid > 0)
        return 0;
    errno = (int)-pid;
    return clone_failed(flags, err);
}

/* --- ushers --- */

/* The rest is a copy, and this process's own. */
static int leave_parked(const struct child *c, struct err *err)
{
    if (c->parked_from && syscall(SYS_close_range, c->parked_from, ~0U, CLOSE_RANGE_UNSHARE) < 0)
        return err_sys(err, errno, "leave the descriptors of others");
    return 0;
}

static void wait_for(pid_t pid)
{
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

struct light {
    struct child *c;
    uint64_t flags;
    int cgroup_fd;
    pid_t pid;
    struct err *err;
};

static int clone_lightly(void *argument)
{
    struct light *l = argument;
    l->pid = leave_parked(l->c, l->err);
    if (l->pid == 0)
        l->pid = usher_clone_plain(l->c, l->flags | CLONE_PARENT, l->cgroup_fd, NULL, l->err);
    return 0;
}

/* As vfork(2), it has our memory and we stand still. Its stack is our own, below all that is in use there. */
static pid_t send_light_usher(struct light *l)
{
    enum { IN_USE = 16 * 1024, ALIGNMENT = 64 };
    uintptr_t below = (uintptr_t)__builtin_frame_address(0) - IN_USE;
    return clone(clone_lightly, (void *)(below & ~(uintptr_t)(ALIGNMENT - 1)),
                 CLONE_VM | CLONE_VFORK | CLONE_FILES | SIGCHLD, l);
}

pid_t usher_clone_lightly(struct child *c, uint64_t flags, int cgroup_fd, int *ret_pidfd, struct err *err)
{
    struct light light = {c, flags, cgroup_fd, 0, err};
    pid_t usher = send_light_usher(&light);
    if (usher < 0)
        return err_sys(err, errno, "clone");
    wait_for(usher);
    if (light.pid == 0)
        return err_set(err, ERR_SYSTEM, "the process that makes the container died");
    if (light.pid < 0)
        return light.pid;
    /* It is our child and not waited for: the number is its own. */
    int pidfd = (int)syscall(SYS_pidfd_open, light.pid, 0);
    if (pidfd < 0) {
        int sys = errno;
        kill(light.pid, SIGKILL);
        wait_for(light.pid);
        return err_sys(err, sys, "pidfd_open");
    }
    *ret_pidfd = pidfd;
    return light.pid;
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

/* What an usher does, in its own process: gives the child's pid, or a negative code. */
struct task {
    struct child *c;
    const struct usher_join *joins; /* NULL: inside */
    size_t join_count;
    uint64_t flags;
    int cgroup_fd;
    bool usher_in_cgroup;
};

static pid_t clone_outside(const struct task *t, struct report *report)
{
    if (enter_all(t->joins, t->join_count, &report->err) < 0)
        return -1;
    /* Ours alone: we are a process of our own with a copy of the plan. */
    if (t->flags & CLONE_NEWUSER)
        rootfs_prepare_joined((struct plan *)t->c->plan);
    return usher_clone_plain(t->c, t->flags | CLONE_PARENT, t->usher_in_cgroup ? -EBADF : t->cgroup_fd,
                             &report->pidfd, &report->err);
}

static pid_t clone_inside(const struct task *t, struct report *report)
{
    if (leave_parked(t->c, &report->err) < 0 || child__go_ahead(t->c, &report->err) < 0)
        return -1;
    return usher_clone_plain(t->c, CLONE_PARENT, -EBADF, NULL, &report->err);
}

static pid_t send_usher(const struct task *t, int *ret_pidfd, struct err *err)
{
    struct report *report =
        mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (report == MAP_FAILED)
        return err_sys(err, errno, "mmap");
    *report = (struct report){.pid = -1, .pidfd = -EBADF};
    /* With our descriptors shared, the child's pidfd is made in our table. One that goes inside closes them:
     * first of all it makes the table its own. */
    pid_t usher = t->joins ? clone_child(CLONE_FILES, t->usher_in_cgroup ? t->cgroup_fd : -EBADF, NULL)
                           : clone_child(t->c->parked_from ? CLONE_FILES : 0, -EBADF, NULL);
    if (usher == 0) {
        report->pid = t->joins ? clone_outside(t, report) : clone_inside(t, report);
        _exit(0);
    }
    pid_t pid = usher < 0 ? err_sys(err, errno, "clone") : 0;
    if (pid == 0)
        wait_for(usher);
    if (pid == 0 && report->pid > 0) {
        /* It is our child and not waited for: the number is its own. */
        *ret_pidfd = t->joins ? report->pidfd : (int)syscall(SYS_pidfd_open, report->pid, 0);
        pid = report->pid;
    } else if (pid == 0) {
        pid = report->err.code ? err_copy(err, &report->err)
                               : err_set(err, ERR_SYSTEM, "the process that enters the namespaces died");
    }
    munmap(report, sizeof(*report));
    return pid;
}

pid_t usher_clone(struct child *c, const struct usher_join *joins, size_t join_count, uint64_t flags,
                  int cgroup_fd, int *ret_pidfd, struct err *err)
{
    must(join_count < 64);
    struct task task = {c, joins, join_count, flags, cgroup_fd, false};
    /* From a cgroup namespace that we joined, the kernel lets nobody into a group that came from outside. */
    for (size_t i = 0; i < join_count; i++)
        task.usher_in_cgroup |= (joins[i].flags & CLONE_NEWCGROUP) != 0;
    return send_usher(&task, ret_pidfd, err);
}

pid_t usher_clone_inside(struct child *c, int *ret_pidfd, struct err *err)
{
    const struct task task = {.c = c, .cgroup_fd = -EBADF};
    return send_usher(&task, ret_pidfd, err);
}
