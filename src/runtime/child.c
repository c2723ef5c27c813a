#include "runtime/child.h"

#include "base/file.h"
#include "base/str.h"
#include "runtime/caps.h"
#include "runtime/cgroup_priv.h"
#include "runtime/filter.h"
#include "runtime/rootfs.h"

#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/close_range.h>
#include <linux/keyctl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The parent's handlers, ignored signals and mask are its own affair; execve would hand the last two on. */
static void reset_signals(void)
{
    /* All zeros is the default action in the kernel's form, which has no more than these words. The C
     * library's function would refuse its own two signals, which a parent can have ignored all the same. */
    const unsigned long usual[4] = {0};
    for (int i = 1; i < _NSIG; i++)
        syscall(SYS_rt_sigaction, i, usual, NULL, _NSIG / 8);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Out of the way of 0, 1 and 2, which get new meanings later. */
static int raise_fd(int *fd, struct err *err)
{
    if (*fd > 2)
        return 0;
    int high = fcntl(*fd, F_DUPFD_CLOEXEC, 3);
    if (high < 0)
        return err_sys(err, errno, "duplicate descriptor %d", *fd);
    *fd = high;
    return 0;
}

static int set_stdio(struct child *c, struct err *err)
{
    if (setsid() < 0)
        return err_sys(err, errno, "setsid");
    if (c->console_fd >= 0)
        return 0;
    for (int i = 0; i < 3; i++) {
        int r = raise_fd(&c->stdio[i], err);
        if (r < 0)
            return r;
    }
    for (int i = 0; i < 3; i++)
        if (dup2(c->stdio[i], i) < 0)
            return err_sys(err, errno, "set descriptor %d", i);
    if (c->tty && ioctl(0, TIOCSCTTY, 0) < 0)
        return err_sys(err, errno, "make the terminal the controlling one");
    return 0;
}

/* A pipe or a terminal belongs to who made it; a program of another user opens /dev/stdout by its path. */
static int give_stdio(uid_t uid, struct err *err)
{
    for (int i = 0; i < 3; i++) {
        struct stat st;
        if (fstat(i, &st) < 0)
            return err_sys(err, errno, "look at descriptor %d", i);
        bool pipe = S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode);
        bool terminal = S_ISCHR(st.st_mode) && isatty(i); /* /dev/null is the whole machine's */
        if (st.st_uid == uid || (!pipe && !terminal))
            continue;
        if (fchown(i, uid, (gid_t)-1) < 0 && errno != EINVAL && errno != EPERM && errno != EROFS)
            return err_sys(err, errno, "give descriptor %d to user %u", i, uid);
    }
    return 0;
}

static int raise_loopback(struct err *err)
{
    _cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) < 0)
        return err_sys(err, errno, "bring up the loopback interface");
    return 0;
}

static int join_namespaces(const struct plan *plan, struct err *err)
{
    for (size_t i = 0; i < plan->join_count; i++) {
        const struct plan_join *join = &plan->joins[i];
        if (join->flag != CLONE_NEWPID && setns(join->fd, join->flag) < 0)
            return err_sys(err, errno, "join a namespace");
    }
    if (plan->new_cgroup_namespace && unshare(CLONE_NEWCGROUP) < 0)
        return err_sys(err, errno, "make a cgroup namespace");
    return plan->new_namespaces & CLONE_NEWNET ? raise_loopback(err) : 0;
}

static int set_names(const struct plan *plan, struct err *err)
{
    if (!str_empty(plan->hostname) && sethostname(plan->hostname, strlen(plan->hostname)) < 0)
        return err_sys(err, errno, "set the hostname \"%s\"", plan->hostname);
    if (!str_empty(plan->domainname) && setdomainname(plan->domainname, strlen(plan->domainname)) < 0)
        return err_sys(err, errno, "set the domain name \"%s\"", plan->domainname);
    return 0;
}

/* Through the host's /proc, whose content follows the namespaces of who writes. */
static int set_sysctls(const struct plan *plan, struct err *err)
{
    for (size_t i = 0; i < plan->sysctl_count; i++) {
        int r = file_poke(plan->sysctls[i].path, plan->sysctls[i].value, err);
        if (r < 0)
            return err_wrap(err, "set sysctl %s to \"%s\"", plan->sysctls[i].name, plan->sysctls[i].value);
    }
    return 0;
}

static int set_oom_score(const struct plan_process *process, struct err *err)
{
    if (!process->has_oom_score_adj)
        return 0;
    char text[16];
    snprintf(text, sizeof(text), "%d", process->oom_score_adj);
    int r = file_poke("/proc/self/oom_score_adj", text, err);
    if (r == -ERR_DENIED)
        return err_set(err, ERR_DENIED,
                       "set oomScoreAdj to %d: the engine lacks CAP_SYS_RESOURCE, which lowering it needs",
                       process->oom_score_adj);
    return r;
}

static int set_rlimits(const struct plan_process *process, struct err *err)
{
    for (size_t i = 0; i < process->rlimit_count; i++) {
        const struct plan_rlimit *wanted = &process->rlimits[i];
        struct rlimit64 now;
        if (prlimit64(0, (enum __rlimit_resource)wanted->resource, &wanted->limit, &now) == 0)
            continue;
        int sys = errno;
        if (sys == EPERM && prlimit64(0, (enum __rlimit_resource)wanted->resource, NULL, &now) == 0)
            return err_set(err, ERR_DENIED,
                           "raise %s from %llu to %llu: operation not permitted (the engine lacks "
                           "CAP_SYS_RESOURCE; raise its own hard limit)",
                           wanted->name, (unsigned long long)now.rlim_max,
                           (unsigned long long)wanted->limit.rlim_max);
        return err_sys(err, sys, "set %s to %llu", wanted->name, (unsigned long long)wanted->limit.rlim_max);
    }
    return 0;
}

/* A session keyring of its own, so that the engine's keys cannot be read and the container's not by others.
 */
static int join_keyring(const struct plan *plan, struct err *err)
{
    char name[160];
    snprintf(name, sizeof(name), "_ses.%s", plan->id ? plan->id : "");
    if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name) < 0 && errno != ENOSYS)
        return err_sys(err, errno, "make a session keyring");
    return 0;
}

/* getcwd says "(unreachable)" when a descriptor of the host led us outside of the root, such as a cwd of
 * /proc/self/fd/7 (CVE-2024-21626). */
static int check_cwd(const char *cwd, struct err *err)
{
    char path[PATH_MAX];
    if (syscall(SYS_getcwd, path, sizeof(path)) < 0)
        return err_sys(err, errno, "the working directory \"%s\" is not inside the container", cwd);
    if (*path != '/')
        return err_set(err, ERR_DENIED, "the working directory \"%s\" is not inside the container", cwd);
    return 0;
}

/* With all rights first, as Docker does: WORKDIR /root serves a plain user too. Where root itself is kept out
 * (a network file system) the user tries again. */
static int enter_cwd(const char *cwd, bool as_user, bool *entered, struct err *err)
{
    if (*entered)
        return 0;
    if (chdir(cwd) < 0) {
        if (!as_user && errno == EACCES)
            return 0;
        return err_sys(err, errno, "chdir to cwd (\"%s\") set in config.json failed", cwd);
    }
    *entered = true;
    return check_cwd(cwd, err);
}

/* A user namespace made by an ordinary user without a range of ids may not drop the groups of that user,
 * since a group can also take rights away (user_namespaces(7), "/proc/pid/setgroups"). Nothing is lost where
 * no group was asked for that is not the process's own. */
static bool groups_are_fixed(const struct plan_process *process)
{
    _cleanup_str_ struct str text = STR_INIT;
    if (file_read("/proc/self/setgroups", 16, &text, NULL) < 0 || !str_after(str_get(&text), "deny"))
        return false;
    for (size_t i = 0; i < process->gid_count; i++)
        if (process->gids[i] != process->gid)
            return false;
    return true;
}

static int set_groups(const struct plan_process *process, struct err *err)
{
    if (setgroups(process->gid_count, process->gids) == 0)
        return 0;
    int sys = errno;
    return sys == EPERM && groups_are_fixed(process) ? 0 : err_sys(err, sys, "set the additional groups");
}

static int set_user(const struct plan_process *process, struct err *err)
{
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
        return err_sys(err, errno, "keep capabilities");
    int r = set_groups(process, err);
    if (r < 0)
        return r;
    if (setresgid(process->gid, process->gid, process->gid) < 0)
        return err_sys(err, errno, "set group %u", process->gid);
    if (setresuid(process->uid, process->uid, process->uid) < 0)
        return err_sys(err, errno, "set user %u", process->uid);
    if (prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0)
        return err_sys(err, errno, "keep capabilities");
    return 0;
}

/* From the engine's rights to the container's. Without no_new_privs a filter can only be loaded while
 * CAP_SYS_ADMIN is there, so it must allow what comes after; with it, it is loaded as late as can be. */
static int drop_privileges(const struct plan *plan, struct err *err)
{
    const struct plan_process *p = &plan->process;
    bool entered = false;
    int r = set_rlimits(p, err);
    if (r == 0)
        r = enter_cwd(p->cwd, false, &entered, err);
    if (r == 0)
        r = caps_drop_bounding(p, err);
    if (r == 0 && plan->personality >= 0 && personality((unsigned long)plan->personality) < 0)
        r = err_sys(err, errno, "set the personality");
    if (r == 0 && p->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        r = err_sys(err, errno, "set no_new_privs");
    if (r == 0 && plan->seccomp && !p->no_new_privileges)
        r = seccomp_apply(plan->seccomp, plan->seccomp_flags, err);
    if (r == 0)
        r = set_user(p, err);
    if (r == 0)
        r = caps_apply(p, err);
    if (r == 0)
        r = enter_cwd(p->cwd, true, &entered, err);
    if (r < 0)
        return r;
    umask(p->umask < 0 ? 0022 : (mode_t)p->umask);
    return 0;
}

static int build_container(struct child *c, struct err *err)
{
    const struct plan *plan = c->plan;
    _cleanup_close_ int root_fd = -EBADF;
    umask(0);
    int r = c->in_cgroup ? 0 : cgroup__join(c->cgroup, err);
    if (r == 0)
        r = join_namespaces(plan, err);
    if (r == 0)
        r = set_stdio(c, err);
    if (r == 0)
        r = set_oom_score(&plan->process, err);
    if (r == 0)
        r = rootfs_mount_root(plan, &root_fd, err);
    if (r == 0)
        r = rootfs_mount_all(plan, c->cgroup, &root_fd, err);
    if (r == 0)
        r = rootfs_make_devices(plan, root_fd, c->tty ? 0 : -EBADF, err);
    if (r == 0)
        r = set_names(plan, err);
    if (r == 0)
        r = set_sysctls(plan, err);
    if (r == 0)
        r = rootfs_enter(plan, root_fd, err);
    if (r == 0 && c->console_fd >= 0) {
        r = child__open_console(c, err);
        if (r == 0)
            r = child__bind_console(c, err);
    }
    return r < 0 ? r : rootfs_protect(plan, err);
}

/* Closes all but stdio, what the program is to have, and `keep` (negative ones count for nothing). */
static int close_others(const struct child *c, int *keep, size_t count, struct err *err)
{
    int first = 3 + (int)c->preserve_fds;
    for (;;) {
        int next = -1;
        for (size_t i = 0; i < count; i++)
            if (keep[i] >= first && (next < 0 || keep[i] < next))
                next = keep[i];
        unsigned last = next < 0 ? ~0U : (unsigned)next - 1;
        if ((unsigned)first <= last && syscall(SYS_close_range, first, last, 0) < 0)
            return err_sys(err, errno, "close descriptors");
        if (next < 0)
            return 0;
        first = next + 1;
    }
}

/* From here on processes of the container can see this one: nothing of the engine may be left in it that a
 * descriptor in /proc could give away, and no debugger may attach (CVE-2016-9962). */
static int enter_container(struct child *c, struct err *err)
{
    int r = raise_fd(&c->container_fd, err);
    if (r == 0 && !c->in_cgroup)
        r = cgroup__join(c->cgroup, err);
    if (r == 0)
        r = set_stdio(c, err);
    if (r == 0)
        r = set_oom_score(&c->plan->process, err);
    if (r < 0)
        return r;
    int keep[] = {c->status_fd, c->container_fd, c->console_fd};
    return close_others(c, keep, ARRAY_SIZE(keep), err);
}

static int join_container(struct child *c, struct err *err)
{
    /* One call for all, so that the container's root is not entered with half of its namespaces. The pid
     * namespace was chosen by the parent before the clone. */
    int flags = (int)(c->plan->namespaces & ~(uint64_t)CLONE_NEWPID);
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return err_sys(err, errno, "hide the process");
    if (setns(c->container_fd, flags) < 0) {
        if (errno == ESRCH)
            return err_set(err, ERR_CONFLICT, "the container is not running");
        return err_sys(err, errno, "enter the container");
    }
    c->container_fd = close_fd(c->container_fd);
    if (chdir("/") < 0)
        return err_sys(err, errno, "enter the container's root");
    return 0;
}

static void report(int fd, const void *bytes, size_t n)
{
    while (write(fd, bytes, n) < 0 && errno == EINTR)
        ;
}

void child__report_ready(const struct child *c)
{
    char ready = CHILD_READY;
    report(c->status_fd, &ready, 1);
}

static int await_start(struct child *c, struct err *err)
{
    /* It may wait for days, beside what an exec brings into the container, and holds nothing meanwhile. */
    int keep[] = {c->status_fd, c->start_fd};
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return err_sys(err, errno, "hide the process");
    int r = close_others(c, keep, ARRAY_SIZE(keep), err);
    if (r == 0)
        r = child__await_start(c, err);
    if (r == 0 && !c->plan->process.args)
        r = err_set(err, ERR_INVALID, "the container's config has no \"process\" to start");
    return r;
}

static int run(struct child *c, struct err *err)
{
    const struct plan *plan = c->plan;
    int r = raise_fd(&c->status_fd, err);
    if (r == 0 && c->start_fd >= 0)
        r = raise_fd(&c->start_fd, err);
    if (r == 0 && c->console_fd >= 0)
        r = raise_fd(&c->console_fd, err);
    reset_signals();
    if (r == 0)
        r = c->container_fd < 0 ? build_container(c, err) : enter_container(c, err);
    if (r == 0 && c->container_fd >= 0)
        r = join_container(c, err);
    if (r == 0 && c->console_fd >= 0)
        r = child__open_console(c, err);
    if (r == 0)
        r = give_stdio(plan->process.uid, err);
    if (r == 0)
        r = join_keyring(plan, err);
    if (r == 0 && c->start_fd >= 0)
        r = await_start(c, err);
    if (r == 0)
        r = drop_privileges(plan, err);
    if (r < 0)
        return r;
    if (syscall(SYS_close_range, 3 + c->preserve_fds, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
        return err_sys(err, errno, "mark descriptors to be closed");
    child__report_ready(c);
    if (plan->seccomp && plan->process.no_new_privileges &&
        (r = seccomp_apply(plan->seccomp, plan->seccomp_flags, err)) < 0)
        return r;
    return child__execute(&plan->process, err);
}

_Noreturn void child_run(struct child *c)
{
    struct err err = {0};
    run(c, &err);
    report(c->status_fd, &err, sizeof(err));
    _exit(err.code == ERR_NOT_FOUND ? 127 : 126);
}
