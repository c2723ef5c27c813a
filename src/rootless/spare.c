/* The spare of the uplink: a process that waits for the uplink's end and then takes its place. Nobody else
 * could: serve is inside of the namespaces, and the uplink's work is outside. Each of the two starts the
 * other again. */
#include "rootless/rootless_priv.h"

#include "base/log.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* It holds nothing of the uplink's: its lock, or the pipe whose end tells slirp4netns to go. */
static _Noreturn void spare_main(const char *root, int uplink)
{
    prctl(PR_SET_NAME, "drover-spare");
    if (uplink != ROOTLESS_REPORT_FD && dup2(uplink, ROOTLESS_REPORT_FD) < 0)
        _exit(1);
    syscall(SYS_close_range, ROOTLESS_REPORT_FD + 1, ~0U, 0);
    struct pollfd p = {.fd = ROOTLESS_REPORT_FD, .events = POLLIN};
    while (poll(&p, 1, -1) < 0 && errno == EINTR)
        ;
    /* Where the uplink reports to who started it: nobody is there this time. */
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null < 0 || dup2(null, ROOTLESS_REPORT_FD) < 0)
        _exit(1);
    log_warning("the uplink died; its spare takes its place");
    execl("/proc/self/exe", "drover", "rootless", "--root", root, (char *)NULL);
    _exit(1);
}

void rootless__spare_start(struct spare *s, const char *root)
{
    /* Opened here, so that it is surely ours, however soon we end. */
    _cleanup_close_ int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
    s->pid = self < 0 ? -1 : fork();
    if (s->pid == 0)
        spare_main(root, self);
    if (s->pid > 0)
        s->pidfd = (int)syscall(SYS_pidfd_open, s->pid, 0);
    if (s->pid < 0 || s->pidfd < 0)
        log_error("nobody will take the uplink's place when it dies: %s", strerror(errno));
}

void rootless__spare_stop(struct spare *s)
{
    if (s->pid > 0) {
        kill(s->pid, SIGKILL);
        while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    s->pid = 0;
    s->pidfd = close_fd(s->pidfd);
}
