#include "keeper/holder.h"

#include "base/failpoint.h"
#include "base/file.h"
#include "base/log.h"
#include "base/process.h"
#include "keeper/daemon.h"

#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define HOLDER_NAME "drover-holder"

/* --- the holder --- */

struct holder {
    char *records; /* the keeper's directory of them */
    pid_t keeper;  /* 0: it has ended */
    pid_t *held;   /* those of its children whose end somebody will ask for */
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

/* A process of a record is its keeper's child, and nobody else adds one later: what has none now, or one that
 * says how it ended, is nobody's any more. A container whose pid namespace it is in could not end before it.
 */
static void find_held(struct holder *h)
{
    _cleanup_free_ struct record_open *records = NULL;
    size_t open = record_open_processes(h->records, &records);
    free(h->held);
    size_t count = children_of(getpid(), &h->held);
    h->count = 0;
    for (size_t i = 0; i < count; i++) {
        struct process_stat stat = {0};
        process_stat(h->held[i], &stat);
        for (size_t j = 0; j < open; j++)
            if (records[j].pid == h->held[i] && records[j].start == stat.start) {
                h->held[h->count++] = h->held[i];
                break;
            }
    }
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
            find_held(h);
            return;
        }
        wait_for(info.si_pid);
        info.si_pid = 0;
    }
}

static bool any_has_ended(void)
{
    siginfo_t info = {0};
    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid;
}

static void wait_for_unheld(const struct holder *h)
{
    _cleanup_free_ pid_t *pids = NULL;
    if (!any_has_ended())
        return;
    size_t count = children_of(getpid(), &pids);
    for (size_t i = 0; i < count; i++)
        if (!is_held(h, pids[i]))
            wait_for(pids[i]);
}

/* A keeper that is killed between forgetting a process and letting us know leaves us one that nobody asks
 * for: what has ended is looked up again after a while. */
static const struct timespec recheck_after = {.tv_sec = 60};

_Noreturn static void holder_main(const char *records, pid_t keeper, const sigset_t *signals)
{
    struct holder h = {.records = mem_strdup(records), .keeper = keeper};
    siginfo_t info;
    prctl(PR_SET_NAME, HOLDER_NAME);
    syscall(SYS_close_range, 3, ~0U, 0);
    file_poke("/proc/self/oom_score_adj", "-999", NULL);
    do {
        int signal = sigtimedwait(signals, &info, &recheck_after);
        if (signal == release_signal() && info.si_code == SI_QUEUE)
            wait_for(info.si_value.sival_int);
        if (h.keeper)
            wait_for_strays(&h);
        else if (signal < 0 && any_has_ended())
            find_held(&h);
        if (!h.keeper)
            wait_for_unheld(&h);
    } while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 || errno != ECHILD);
    _exit(0);
}

int holder_start(const char *records, struct err *err)
{
    sigset_t signals, before;
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigaddset(&signals, release_signal());
    sigprocmask(SIG_BLOCK, &signals, &before);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
        return err_sys(err, errno, "become a child subreaper");
    pid_t pid = fork();
    if (pid > 0)
        holder_main(records, pid, &signals);
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
        !may_see_exit_codes() || FAILPOINT_SET("no-zombies"))
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
    _cleanup_close_ int fd = open_holder(p, &holder);
    if (fd >= 0)
        release(fd, p->pid);
}
