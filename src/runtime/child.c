#include "runtime/child.h"

#include "base/file.h"
#include "base/str.h"
#include "runtime/cgroup_priv.h"
#include "runtime/filter.h"
#include "runtime/labels.h"
#include "runtime/listener.h"
#include "runtime/privileges.h"
#include "runtime/rootfs.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The parent's ignored signals and its mask are its own affair; execve would hand them on. (It resets
 * handlers itself.) Asking for all of them each time would be one in six of a launch's calls: what the parent
 * ignored at its first launch is known, and others than these are not ignored later. */
static uint64_t ignored_at_first(void)
{
    static uint64_t ignored;
    static bool known;
    for (int i = 1; i < _NSIG && !known; i++) {
        unsigned long action[4] = {0};
        if (syscall(SYS_rt_sigaction, i, NULL, action, _NSIG / 8) == 0 &&
            action[0] == (unsigned long)(uintptr_t)SIG_IGN)
            ignored |= UINT64_C(1) << (i - 1);
    }
    known = true;
    return ignored;
}

void child__know_signals(void)
{
    ignored_at_first();
}

static void reset_signals(void)
{
    static const int often[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGPIPE, SIGALRM, SIGTERM, SIGUSR1,
                                SIGUSR2, SIGCHLD, SIGTSTP, SIGTTIN, SIGTTOU, SIGXFSZ, SIGWINCH};
    /* All zeros is the default action in the kernel's form, which has no more than these words. The C
     * library's function would refuse its own two signals, which a parent can have ignored all the same. */
    const unsigned long usual[4] = {0};
    uint64_t set = ignored_at_first();
    for (size_t i = 0; i < ARRAY_SIZE(often); i++)
        set |= UINT64_C(1) << (often[i] - 1);
    for (int i = 1; i < _NSIG; i++)
        if (set & UINT64_C(1) << (i - 1))
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

/* What has to happen while both file systems can be seen: hooks of the host with the container's mounts in
 * place (config.md, "createRuntime", "createContainer"), and labels, which are set through the host's /proc.
 */
static int between_two_roots(struct child *c, int root_fd, struct err *err)
{
    const struct plan *plan = c->plan;
    if (plan->hooks.counts[HOOK_PRESTART] || plan->hooks.counts[HOOK_CREATE_RUNTIME] || plan->maps_within) {
        int mounted = CHILD_MOUNTED;
        char byte;
        if (send(c->sync_fd, &mounted, sizeof(mounted), MSG_NOSIGNAL) < 0 || read(c->sync_fd, &byte, 1) != 1)
            return err_set(err, ERR_CANCELLED, "who makes the container went away");
    }
    if (plan->hooks.counts[HOOK_CREATE_CONTAINER]) {
        _cleanup_free_ char *state = hooks_state_of(&c->hook_state, getpid());
        if (fchdir(root_fd) < 0) /* where other runtimes run them, and what hooks count on */
            return err_sys(err, errno, "enter the container's root");
        int r = hooks_run(&plan->hooks, HOOK_CREATE_CONTAINER, state, environ, err);
        if (r < 0)
            return r;
    }
    int r = set_names(plan, err);
    if (r == 0)
        r = set_sysctls(plan, err);
    return r < 0 ? r : labels_apply(plan->process.apparmor_profile, plan->process.selinux_label, err);
}

/* Whether it worked shows when it is entered. */
static void make_cwd(const char *cwd)
{
    struct stat st;
    if (stat(cwd, &st) == 0)
        return;
    _cleanup_close_ int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    close_fd(file_mkdirs_in_root(root, cwd, 0755, NULL));
}

static int build_container(struct child *c, struct err *err)
{
    const struct plan *plan = c->plan;
    _cleanup_close_ int root_fd = -EBADF;
    umask(0);
    int r = c->in_cgroup || c->mapped ? 0 : cgroup__join(c->cgroup, err);
    if (r == 0)
        r = child__enter_namespaces(c, err);
    if (r == 0)
        r = set_stdio(c, err);
    if (r == 0 && !c->mapped)
        r = privileges_set_oom_score(&plan->process, 0, err);
    if (r == 0)
        r = c->mapped ? privileges_become_root(&plan->process, err)
                      : scheduling_apply(&plan->process.scheduling, 0, err);
    if (r == 0)
        r = rootfs_mount_root(plan, &root_fd, err);
    if (r == 0)
        r = rootfs_mount_all(plan, c->cgroup, c->sync_fd, &root_fd, err);
    if (r == 0)
        r = rootfs_make_devices(plan, root_fd, err);
    if (r == 0)
        r = between_two_roots(c, root_fd, err);
    if (r == 0)
        r = rootfs_enter(plan, root_fd, err);
    if (r == 0 && c->console_fd >= 0) {
        r = child__open_console(c, err);
        if (r == 0)
            r = child__bind_console(c, err);
    }
    if (r == 0 && c->make_cwd)
        make_cwd(plan->process.cwd);
    return r < 0 ? r : rootfs_protect(plan, err);
}

int child__close_others(int first, const int *keep, size_t count, struct err *err)
{
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

static int highest(const int *fds, size_t count, int so_far)
{
    for (size_t i = 0; i < count; i++)
        so_far = fds[i] > so_far ? fds[i] : so_far;
    return so_far;
}

int child__highest_descriptor(const struct child *c)
{
    const struct plan *plan = c->plan;
    const int own[] = {c->stdio[0],
                       c->stdio[1],
                       c->stdio[2],
                       c->status_fd,
                       c->container_fd,
                       c->container_root_fd,
                       c->start_fd,
                       c->console_fd,
                       c->sync_fd,
                       c->sync_other_fd,
                       plan->listener.path ? plan->listener.fd : -1,
                       plan->root_prepared ? plan->root_fd : -1,
                       plan->late_namespaces ? rootfs__late_descriptor() : -1,
                       rootfs__cover_null(),
                       rootfs__cover_empty(),
                       2 + (int)c->preserve_fds};
    int max = highest(own, ARRAY_SIZE(own), 2);
    max = highest(plan->node_fds, plan->node_count, max);
    for (size_t i = 0; i < plan->join_count; i++)
        max = highest(&plan->joins[i].fd, 1, max);
    for (size_t i = 0; i < plan->mount_count; i++) {
        const int of_mount[] = {plan->mounts[i].tree_fd, plan->mounts[i].userns_fd,
                                plan->mounts[i].given - 1};
        max = highest(of_mount, ARRAY_SIZE(of_mount), max);
    }
    for (size_t i = 0; c->cgroup && i < c->cgroup->count; i++)
        max = highest(&c->cgroup->dirs[i].join_fd, 1, max);
    return max;
}

/* Out of the way of 0, 1 and 2, and of each other. */
static int raise_all(struct child *c, struct err *err)
{
    int *const fds[] = {&c->status_fd, &c->start_fd, &c->console_fd, &c->sync_fd};
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        int r = *fds[i] >= 0 ? raise_fd(fds[i], err) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

/* Until there is a terminal, in the place of what the parent has there. */
static int set_no_stdio(struct err *err)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int i = 0; i < 3 && fd >= 0; i++)
        if (fd != i && dup2(fd, i) < 0)
            return err_sys(err, errno, "set descriptor %d", i);
    if (fd > 2)
        close_fd(fd);
    return fd < 0 ? err_sys(err, errno, "open /dev/null") : 0;
}

/* What is the host's to do, and its descriptors to close: processes of the container will see this one. */
static int leave_host(struct child *c, struct err *err)
{
    const struct plan_process *p = &c->plan->process;
    int r = raise_fd(&c->container_fd, err);
    for (int i = 0; i < 3 && r == 0 && c->console_fd < 0; i++)
        r = raise_fd(&c->stdio[i], err);
    if (r == 0 && c->console_fd >= 0)
        r = set_no_stdio(err);
    if (r == 0 && p->scheduling.has_initial)
        r = scheduling_set_affinity(&p->scheduling.initial, err);
    if (r == 0)
        r = privileges_set_oom_score(p, 0, err);
    if (r == 0)
        r = privileges_raise_limits(p, 0, err);
    if (r == 0)
        r = scheduling_apply(&p->scheduling, 0, err);
    if (r == 0)
        r = labels_apply(p->apparmor_profile, p->selinux_label, err);
    if (r < 0)
        return r;
    bool given = c->console_fd < 0;
    int keep[] = {c->status_fd,
                  c->container_fd,
                  c->console_fd,
                  c->container_root_fd,
                  c->sync_fd,
                  c->plan->listener.fd,
                  given ? c->stdio[0] : -1,
                  given ? c->stdio[1] : -1,
                  given ? c->stdio[2] : -1};
    c->sync_other_fd = -EBADF;
    return child__close_others(3 + (int)c->preserve_fds, keep, ARRAY_SIZE(keep), err);
}

static int join_container(struct child *c, struct err *err)
{
    /* One call for all, so that the container's root is not entered with half of its namespaces. */
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return err_sys(err, errno, "hide the process");
    if (c->plan->namespaces && setns(c->container_fd, (int)c->plan->namespaces) < 0) {
        if (errno == ESRCH)
            return err_set(err, ERR_CONFLICT, "the container is not running");
        return err_sys(err, errno, "enter the container");
    }
    c->container_fd = close_fd(c->container_fd);
    if (c->container_root_fd >= 0 && (fchdir(c->container_root_fd) < 0 || chroot(".") < 0))
        return err_sys(err, errno, "enter the container's root");
    c->container_root_fd = close_fd(c->container_root_fd);
    if (chdir("/") < 0)
        return err_sys(err, errno, "enter the container's root");
    return c->mapped ? privileges_become_root(&c->plan->process, err) : 0;
}

int child__go_ahead(struct child *c, struct err *err)
{
    int r = raise_all(c, err);
    reset_signals();
    if (r == 0)
        r = leave_host(c, err);
    return r < 0 ? r : join_container(c, err);
}

void child__report(int fd, const void *bytes, size_t n)
{
    while (write(fd, bytes, n) < 0 && errno == EINTR)
        ;
}

void child__report_ready(const struct child *c)
{
    char ready = CHILD_READY;
    child__report(c->status_fd, &ready, 1);
}

static void end_for(int signal)
{
    _exit(128 + signal);
}

/* As the first process of its PID namespace it would not notice them; but who created it may have thought
 * better of it. The program finds the default actions: execve sees to that. */
static void end_for_signals(void)
{
    static const int signals[] = {SIGHUP, SIGINT, SIGTERM};
    const struct sigaction action = {.sa_handler = end_for};
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        sigaction(signals[i], &action, NULL);
}

/* What a start would fail for is an error of the creation, as far as it can be seen by then. */
static int await_start(struct child *c, char **env, struct err *err)
{
    const struct plan_process *process = &c->plan->process;
    if (process->args) {
        int r = privileges_check_cwd(process, err);
        if (r == 0)
            r = child__check_program(process, env, err);
        if (r < 0)
            return r;
    }
    /* It may wait for days, beside what an exec brings into the container, and holds nothing meanwhile. */
    int keep[] = {c->status_fd, c->start_fd, c->plan->listener.fd};
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return err_sys(err, errno, "hide the process");
    int r = child__close_others(3 + (int)c->preserve_fds, keep, ARRAY_SIZE(keep), err);
    end_for_signals();
    if (r == 0)
        r = child__await_start(c, err);
    if (r == 0 && !process->args)
        r = err_set(err, ERR_INVALID, "the container's config has no \"process\" to start");
    return r;
}

static int load_filter(void *context, struct err *err)
{
    const struct child *c = context;
    const struct plan *plan = c->plan;
    if (plan->listener.path)
        return listener_apply(&plan->listener, plan->seccomp, plan->seccomp_flags, c->outer_pid, err);
    return plan->seccomp ? seccomp_apply(plan->seccomp, plan->seccomp_flags, err) : 0;
}

/* The parent has written the maps, and done what a mapped user may not. */
static int await_parent(struct child *c, struct err *err)
{
    if (c->sync_fd < 0)
        return 0;
    c->sync_other_fd = close_fd(c->sync_other_fd);
    int pid = 0;
    if (read(c->sync_fd, &pid, sizeof(pid)) != sizeof(pid))
        return err_set(err, ERR_CANCELLED, "who makes the container went away");
    c->outer_pid = pid;
    return 0;
}

/* What is set up and can fail, before a starter is awaited. */
static int set_up(struct child *c, struct err *err)
{
    const struct scheduling *s = &c->plan->process.scheduling;
    int r = 0;
    if (!c->is_exec) {
        r = raise_all(c, err);
        reset_signals();
    }
    if (r == 0)
        r = await_parent(c, err);
    if (r == 0 && c->is_exec && s->has_final)
        r = scheduling_set_affinity(&s->final, err);
    if (r == 0)
        r = c->is_exec ? set_stdio(c, err) : build_container(c, err);
    if (r == 0 && c->console_fd >= 0)
        r = child__open_console(c, err);
    if (r == 0)
        r = give_stdio(c->plan->process.uid, err);
    if (c->reset_affinity &&
        !(c->is_exec && (s->has_initial || s->has_final))) /* now that it is in its cgroup */
        scheduling_reset_affinity();
    if (r == 0 && !c->no_new_keyring)
        r = privileges_join_keyring(c->plan->id, err);
    return r;
}

static int run_start_hooks(struct child *c, char **env, struct err *err)
{
    const struct hooks *hooks = &c->plan->hooks;
    if (!hooks->counts[HOOK_START_CONTAINER])
        return 0;
    _cleanup_free_ char *state = hooks_state_of(&c->hook_state, getpid()); /* as the container sees it */
    return hooks_run(hooks, HOOK_START_CONTAINER, state, env, err);
}

/* Ends in silence when nobody is left to be told. Copies of the caller's descriptors would keep its socket
 * and its lock in use, and the other end of this very one. */
static int await_confirmation(const struct child *c, struct err *err)
{
    int keep[] = {c->status_fd, c->start_fd, c->plan->listener.fd};
    char byte;
    ssize_t n;
    int r = child__close_others(3 + (int)c->preserve_fds, keep, ARRAY_SIZE(keep), err);
    if (r < 0)
        return r;
    while ((n = read(c->status_fd, &byte, 1)) < 0 && errno == EINTR)
        ;
    if (n != 1)
        _exit(126);
    return 0;
}

static int run(struct child *c, struct err *err)
{
    const struct plan_process *process = &c->plan->process;
    int r = set_up(c, err);
    if (r < 0)
        return r;
    char **env = child__environment(process);
    if (c->confirmed)
        r = await_confirmation(c, err);
    if (r == 0 && c->start_fd >= 0)
        r = await_start(c, env, err);
    /* Before the filter, which may know of no such call; what is opened later is CLOEXEC from birth. */
    if (r == 0 && syscall(SYS_close_range, 3 + c->preserve_fds, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
        r = err_sys(err, errno, "mark descriptors to be closed");
    if (r == 0)
        r = privileges_drop(c->plan, load_filter, c, err);
    /* They may be the image's own programs, so they get no more rights than it does. */
    bool late_filter = process->no_new_privileges;
    if (r == 0 && late_filter && c->plan->hooks.counts[HOOK_START_CONTAINER]) {
        late_filter = false;
        r = load_filter(c, err);
    }
    if (r == 0)
        r = run_start_hooks(c, env, err);
    if (r < 0)
        return r;
    child__report_ready(c);
    if (late_filter && (r = load_filter(c, err)) < 0)
        return r;
    c->executing = true;
    return child__execute(process, env, err);
}

_Noreturn void child_run(struct child *c)
{
    struct err err = {0};
    if (c->by_starter) {
        struct child_born born = {.tag = CHILD_BORN, .pid = c->outer_pid};
        child__report(c->status_fd, &born, sizeof(born));
    }
    run(c, &err);
    c->executing = false;
    child__report(c->status_fd, &err, sizeof(err));
    _exit(err.code == ERR_NOT_FOUND ? 127 : 126);
}
