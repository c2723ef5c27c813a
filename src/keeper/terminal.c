#include "keeper/daemon.h"

#include "base/failpoint.h"
#include "base/timeutil.h"
#include "keeper/foreign.h"
#include "keeper/park.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

/* One descriptor for both ends, so that a copy of it keeps what is in there readable and writable. */
static int open_relay(struct err *err)
{
    int ends[2];
    char path[40];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_sys(err, errno, "pipe");
    snprintf(path, sizeof(path), "/proc/self/fd/%d", ends[0]);
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC), sys = errno;
    close_fd(ends[0]);
    close_fd(ends[1]);
    return fd < 0 ? err_sys(err, sys, "open a pipe for both directions") : park_fd(fd);
}

int terminal_need_relay(struct process *p, struct err *err)
{
    if (!p->tty || p->relay_fd >= 0 || !proc_keeps_log(p))
        return 0;
    int fd = open_relay(err);
    if (fd < 0)
        return fd;
    p->relay_fd = fd;
    return 0;
}

int terminal_take(struct process *p, int *fd, struct err *err)
{
    struct winsize size = {.ws_row = p->rows, .ws_col = p->columns};
    if (fcntl(*fd, F_SETFL, O_NONBLOCK) < 0)
        return err_sys(err, errno, "use the container's terminal");
    if (size.ws_row && size.ws_col)
        ioctl(*fd, TIOCSWINSZ, &size);
    int r = terminal_need_relay(p, err);
    if (r < 0)
        return r;
    int in = p->open_stdin ? fcntl(*fd, F_DUPFD_CLOEXEC, 3) : -EBADF;
    p->out[0].fd = take_fd(fd);
    if (in >= 0)
        stdin_start(p, in);
    return 0;
}

static ssize_t read_unkept(struct process *p, struct err *err)
{
    char *burst = p->c->d->burst;
    ssize_t n = read(p->out[0].fd, burst, BURST_BYTES);
    if (n > 0 && proc_keeps_log(p))
        log_file_write(p->c->log, 1, time_now_ns(), burst, (size_t)n, err);
    return n;
}

ssize_t terminal_read(struct process *p, struct err *err)
{
    if (p->relay_fd < 0)
        return read_unkept(p, err);
    char *burst = p->c->d->burst;
    /* First what a keeper that was killed has left there. */
    size_t n = log_file_move(p->c->log, 1, time_now_ns(), p->relay_fd, burst, BURST_BYTES, err);
    if (n)
        return (ssize_t)n;
    ssize_t moved = splice(p->out[0].fd, NULL, p->relay_fd, NULL, BURST_BYTES, SPLICE_F_NONBLOCK);
    if (moved < 0 && errno == EINVAL)
        return read_unkept(p, err);
    if (moved <= 0)
        return moved;
    FAILPOINT("keeper-terminal-moved");
    n = log_file_move(p->c->log, 1, time_now_ns(), p->relay_fd, burst, BURST_BYTES, err);
    errno = EAGAIN;
    return n ? (ssize_t)n : -1;
}
