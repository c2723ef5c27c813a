#include "oci/wait.h"

#include "base/file.h"
#include "base/mem.h"
#include "oci/notify.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

struct relay {
    int master;      /* negative: no terminal */
    bool input_open; /* our stdin has not ended */
    bool raw;
    struct termios before;
    char buffer[8192]; /* from our stdin, not yet taken by the terminal */
    size_t begin, end;
};

void foreground_done(struct foreground *f)
{
    f->signal_fd = close_fd(f->signal_fd);
}

int foreground_begin(struct foreground *f, bool subreaper, struct err *err)
{
    sigset_t all;
    sigfillset(&all);
    /* Faults of our own end us at once. */
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGILL);
    sigdelset(&all, SIGFPE);
    sigdelset(&all, SIGABRT);
    if (sigprocmask(SIG_BLOCK, &all, NULL) < 0)
        return err_sys(err, errno, "block signals");
    f->signal_fd = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
    if (f->signal_fd < 0)
        return err_sys(err, errno, "signalfd");
    if (subreaper && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
        return err_sys(err, errno, "become the subreaper");
    return 0;
}

static void copy_size(int master)
{
    struct winsize size;
    if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0)
        ioctl(master, TIOCSWINSZ, &size);
}

static void begin_relay(struct relay *r, int master)
{
    *r = (struct relay){.master = master, .input_open = true};
    if (master < 0)
        return;
    fcntl(master, F_SETFL, fcntl(master, F_GETFL) | O_NONBLOCK);
    if (tcgetattr(STDIN_FILENO, &r->before) < 0)
        return; /* a pipe: nothing to set */
    copy_size(master);
    struct termios raw = r->before;
    cfmakeraw(&raw);
    raw.c_oflag |= OPOST;
    r->raw = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
}

static void end_relay(struct relay *r)
{
    if (r->raw)
        tcsetattr(STDIN_FILENO, TCSANOW, &r->before);
    r->master = close_fd(r->master);
}

/* Everything the terminal has now. A terminal whose last user is gone says EIO. */
static void relay_output(struct relay *r)
{
    char buffer[8192];
    while (r->master >= 0) {
        ssize_t n = read(r->master, buffer, sizeof(buffer));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0 || file_write_all(STDOUT_FILENO, buffer, (size_t)n, NULL) < 0) {
            r->master = close_fd(r->master);
            return;
        }
    }
}

static void relay_input(struct relay *r)
{
    ssize_t n = read(STDIN_FILENO, r->buffer, sizeof(r->buffer));
    r->begin = 0;
    r->end = n > 0 ? (size_t)n : 0;
    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) {
        /* The end of a file is ^D to who reads a terminal. */
        r->input_open = false;
        r->buffer[0] = 4;
        r->end = 1;
    }
}

static void pass_input(struct relay *r)
{
    ssize_t n = write(r->master, r->buffer + r->begin, r->end - r->begin);
    if (n > 0)
        r->begin += (size_t)n;
    else if (errno != EAGAIN && errno != EINTR)
        r->begin = r->end; /* nobody reads any more */
}

/* Takes every child that ended; true when `pid` was among them. */
static bool reap(pid_t pid, int *ret_status)
{
    bool ended = false;
    int status;
    for (pid_t child; (child = waitpid(-1, &status, WNOHANG)) > 0;) {
        if (child != pid)
            continue;
        ended = true;
        *ret_status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    }
    return ended;
}

/* True when the process has ended. */
static bool take_signals(struct foreground *f, pid_t pid, const struct relay *r, int *ret_status)
{
    struct signalfd_siginfo info;
    bool ended = false;
    while (read(f->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        int signal = (int)info.ssi_signo;
        if (signal == SIGCHLD)
            ended |= reap(pid, ret_status);
        else if (signal == SIGWINCH && r->master >= 0)
            copy_size(r->master);
        else if (signal != SIGPIPE && signal != SIGURG && signal != SIGWINCH && !ended)
            kill(pid, signal);
    }
    return ended;
}

int foreground_wait(struct foreground *f, pid_t pid, int master, int notify_fd, int *ret_status,
                    struct err *err)
{
    struct relay relay;
    begin_relay(&relay, master);
    bool ended = reap(pid, ret_status); /* before the signals were looked at */
    while (!ended) {
        bool waiting = relay.begin < relay.end;
        struct pollfd fds[] = {
            {.fd = f->signal_fd, .events = POLLIN},
            {.fd = relay.master, .events = (short)(POLLIN | (waiting ? POLLOUT : 0))},
            {.fd = relay.master >= 0 && relay.input_open && !waiting ? STDIN_FILENO : -1, .events = POLLIN},
            {.fd = notify_fd, .events = POLLIN},
        };
        if (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno != EINTR)
            return err_sys(err, errno, "poll");
        if (fds[1].revents & (POLLIN | POLLHUP | POLLERR))
            relay_output(&relay);
        if (fds[1].revents & POLLOUT && relay.master >= 0)
            pass_input(&relay);
        if (fds[2].revents)
            relay_input(&relay);
        if (fds[3].revents && notify_forward(notify_fd))
            notify_fd = -EBADF; /* once is enough */
        if (fds[0].revents)
            ended = take_signals(f, pid, &relay, ret_status);
    }
    if (notify_fd >= 0)
        notify_forward(notify_fd);
    relay_output(&relay);
    end_relay(&relay);
    return 0;
}
