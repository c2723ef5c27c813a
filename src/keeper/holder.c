#include "keeper/holder.h"

#include "base/failpoint.h"
#include "base/file.h"
#include "base/log.h"
#include "base/process.h"
#include "keeper/daemon.h"

#include <linux/capability.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define HOLDER_NAME "drover-holder"

/* --- the holder --- */

struct holder {
    pid_t keeper; /* 0: it has ended */
    pid_t *held;  /* its children when it did, and strays of then */
    size_t count;
};

static int release_signal(void)
{
    return SIGRTMIN;
}

static size_t children_of(pid_t parent, pid_t **ret)
{
    enum { CHILDREN_BYTES_MAX = 64 << 20 };
    char path[64];
    size_t count = 0, capacity = 0;
    _cleanup_str_ struct str text = STR_INIT;
    *ret = NULL;
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)parent, (int)parent);
    if (file_read(path, CHILDREN_BYTES_MAX, &text, NULL) < 0)
        return 0;
    char *end;
    for (const char *at = str_get(&text);; at = end) {
        long pid = strtol(at, &end, 10);
        if (end == at)
            return count;
        GROW(*ret, count, capacity);
        (*ret)[count++] = (pid_t)pid;
    }
}

static bool is_held(const struct holder *h, pid_t pid)
{
    for (size_t i = 0; i < h->count; i++)
        if (h->held[i] == pid)
            return true;
    return false;
}

static bool wait_for(pid_t pid)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG) == 0 && info.si_pid;
}

/* While the keeper lives, what ends here is an orphan of some container's. To die and to leave its children
 * to us is one step for the keeper, and its own end stays to be seen until it is waited for: if it lives
 * after we have met a child, that was never one of its own. */
static void wait_for_strays(struct holder *h)
{
    siginfo_t info = {0};
    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid) {
        if (wait_for(h->keeper)) {
            h->keeper = 0;
            h->count = children_of(getpid(), &h->held);
            return;
        }
        wait_for(info.si_pid);
        info.si_pid = 0;
    }
}

static void wait_for_later_strays(const struct holder *h)
{
    _cleanup_free_ pid_t *pids = NULL;
    size_t count = children_of(getpid(), &pids);
    for (size_t i = 0; i < count; i++)
        if (!is_held(h, pids[i]))
            wait_for(pids[i]);
}

_Noreturn static void holder_main(pid_t keeper, const sigset_t *signals)
{
    struct holder h = {.keeper = keeper};
    siginfo_t info;
    prctl(PR_SET_NAME, HOLDER_NAME);
    syscall(SYS_close_range, 3, ~0U, 0);
    file_poke("/proc/self/oom_score_adj", "-999", NULL);
    do {
        int signal = sigwaitinfo(signals, &info);
        if (signal == release_signal() && info.si_code == SI_QUEUE)
            wait_for(info.si_value.sival_int);
        else if (signal == SIGCHLD && h.keeper)
            wait_for_strays(&h);
        else if (signal == SIGCHLD)
            wait_for_later_strays(&h);
    } while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 || errno != ECHILD);
    _exit(0);
}

/* --- whether one is needed --- */

/* Tried on a child of our own, which is waited for. */
static bool kernel_keeps_exit_codes(void)
{
    enum { CODE = 7 };
    int pidfd = -EBADF, status = 0;
    struct clone_args args = {
        .flags = CLONE_PIDFD, .pidfd = (uint64_t)(uintptr_t)&pidfd, .exit_signal = SIGCHLD};
    pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
    if (pid == 0)
        _exit(CODE);
    if (pid < 0)
        return false;
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    bool kept = pidfd_exit_code(pidfd, &status) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == CODE;
    close_fd(pidfd);
    return kept && !FAILPOINT_SET("no-exit-codes");
}

int holder_start(struct err *err)
{
    if (kernel_keeps_exit_codes())
        return 0;
    sigset_t signals, before;
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigaddset(&signals, release_signal());
    sigprocmask(SIG_BLOCK, &signals, &before);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
        return err_sys(err, errno, "become a child subreaper");
    pid_t pid = fork();
    if (pid > 0)
        holder_main(pid, &signals);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return pid < 0 ? err_sys(err, errno, "fork") : 0;
}

/* --- the next keeper --- */

/* Without it the kernel says 0 of a process of another user. */
static bool may_see_exit_codes(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    return syscall(SYS_capget, &head, data) == 0 && data[0].effective & 1u << CAP_SYS_PTRACE;
}

bool holder_exit_code(const struct process *p, int *ret_wait_status)
{
    struct process_stat stat;
    if (!process_stat(p->pid, &stat) || stat.start != p->pid_start || stat.state != 'Z' ||
        !may_see_exit_codes())
        return false;
    *ret_wait_status = stat.exit_code;
    return true;
}

/* Its descriptor, of a process that is its child: the number cannot have become another's then. */
static int open_holder(const struct process *p, pid_t *ret)
{
    struct process_stat stat;
    char path[40];
    _cleanup_str_ struct str name = STR_INIT;
    if (!process_stat(p->pid, &stat) || stat.start != p->pid_start || stat.state != 'Z')
        return -EBADF;
    *ret = stat.parent;
    _cleanup_close_ int fd = (int)syscall(SYS_pidfd_open, stat.parent, 0);
    snprintf(path, sizeof(path), "/proc/%d/comm", (int)stat.parent);
    if (fd < 0 || file_read(path, 64, &name, NULL) < 0 || !str_eq(str_get(&name), HOLDER_NAME "\n") ||
        !process_stat(p->pid, &stat) || stat.parent != *ret)
        return -EBADF;
    return take_fd(&fd);
}

static void release(int holder_fd, pid_t pid)
{
    siginfo_t info = {.si_signo = release_signal(), .si_code = SI_QUEUE};
    info.si_pid = getpid();
    info.si_uid = getuid();
    info.si_value.sival_int = pid;
    if (syscall(SYS_pidfd_send_signal, holder_fd, info.si_signo, &info, 0) < 0)
        log_warning("a process that has ended is left behind: %s", strerror(errno));
}

void holder_release(const struct process *p)
{
    pid_t holder;
    _cleanup_free_ pid_t *pids = NULL;
    _cleanup_close_ int fd = open_holder(p, &holder);
    if (fd < 0)
        return;
    size_t count = children_of(holder, &pids);
    for (size_t i = 0; i < count; i++) {
        struct process_stat stat;
        if (process_stat(pids[i], &stat) && stat.state == 'Z' && !daemon_knows(p->c->d, pids[i]))
            release(fd, pids[i]);
    }
}
