#include "cli/stream.h"

#include "base/file.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

int demux_feed(struct demux *d, const void *bytes, size_t n,
               int (*out)(void *context, int stream, const void *bytes, size_t n, struct err *err),
               void *context, struct err *err)
{
    const unsigned char *at = bytes;
    while (n) {
        if (!d->left) {
            d->head[d->head_bytes++] = *at++;
            n--;
            if (d->head_bytes < sizeof(d->head))
                continue;
            d->head_bytes = 0;
            d->stream = d->head[0];
            if (d->stream > 3)
                return err_set(err, ERR_PROTOCOL, "the server's stream has no frames");
            d->left =
                (size_t)d->head[4] << 24 | (size_t)d->head[5] << 16 | (size_t)d->head[6] << 8 | d->head[7];
            continue;
        }
        size_t part = MIN(n, d->left);
        int r = out(context, d->stream >= 2 ? 2 : 1, at, part, err);
        if (r < 0)
            return r;
        at += part;
        n -= part;
        d->left -= part;
    }
    return 0;
}

/* --- The terminal --- */

static struct termios saved;
static bool is_raw;

static void restore_terminal(void)
{
    if (is_raw)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &saved);
    is_raw = false;
}

static void make_raw(void)
{
    static bool registered;
    if (tcgetattr(STDIN_FILENO, &saved) < 0)
        return;
    struct termios raw = saved;
    cfmakeraw(&raw);
    is_raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0;
    if (!registered)
        atexit(restore_terminal);
    registered = true;
}

static void send_size(const struct stream *s)
{
    struct winsize size;
    if (s->tty && s->resize && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row && size.ws_col)
        s->resize(s->context, size.ws_row, size.ws_col);
}

/* --- The loop --- */

struct loop {
    const struct stream *s;
    struct demux demux;
    int signal_fd;
    bool input_open, output_open, detached;
    bool after_ctrl_p;
};

static int write_out(void *context, int stream, const void *bytes, size_t n, struct err *err)
{
    (void)context;
    return file_write_all(stream == 2 ? STDERR_FILENO : STDOUT_FILENO, bytes, n, err);
}

static int take_output(struct loop *l, const void *bytes, size_t n, struct err *err)
{
    if (l->s->tty)
        return write_out(NULL, 1, bytes, n, err);
    return demux_feed(&l->demux, bytes, n, write_out, NULL, err);
}

/* Finds ctrl-p ctrl-q, which may come in two reads. */
static bool wants_to_leave(struct loop *l, const unsigned char *bytes, size_t n)
{
    enum { CTRL_P = 16, CTRL_Q = 17 };
    for (size_t i = 0; i < n; i++) {
        if (l->after_ctrl_p && bytes[i] == CTRL_Q)
            return true;
        l->after_ctrl_p = bytes[i] == CTRL_P;
    }
    return false;
}

static int take_input(struct loop *l, struct err *err)
{
    unsigned char buffer[16384];
    ssize_t n = read(STDIN_FILENO, buffer, sizeof(buffer));
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (n <= 0) {
        l->input_open = false;
        shutdown(l->s->fd, SHUT_WR);
        return 0;
    }
    if (l->s->tty && is_raw && wants_to_leave(l, buffer, (size_t)n)) {
        l->detached = true;
        return 0;
    }
    struct err ignored;
    (void)err;
    /* The process may end before it has read all: its output tells how, not our broken pipe. */
    if (file_write_all(l->s->fd, buffer, (size_t)n, &ignored) < 0)
        l->input_open = false;
    return 0;
}

static void take_signal(struct loop *l)
{
    struct signalfd_siginfo info;
    if (read(l->signal_fd, &info, sizeof(info)) != sizeof(info))
        return;
    if (info.ssi_signo == SIGWINCH)
        send_size(l->s);
    else if (l->s->signal)
        l->s->signal(l->s->context, (int)info.ssi_signo);
}

static int step(struct loop *l, struct err *err)
{
    struct pollfd fds[] = {{.fd = l->s->fd, .events = POLLIN},
                           {.fd = l->input_open ? STDIN_FILENO : -1, .events = POLLIN},
                           {.fd = l->signal_fd, .events = POLLIN}};
    if (poll(fds, ARRAY_SIZE(fds), -1) < 0)
        return errno == EINTR ? 0 : err_sys(err, errno, "poll");
    int r = 0;
    if (fds[2].revents)
        take_signal(l);
    if (fds[1].revents)
        r = take_input(l, err);
    if (r == 0 && fds[0].revents) {
        char buffer[32768];
        ssize_t n = read(l->s->fd, buffer, sizeof(buffer));
        if (n > 0)
            r = take_output(l, buffer, (size_t)n, err);
        else if (n == 0 || (errno != EINTR && errno != EAGAIN))
            l->output_open = false;
    }
    return r;
}

int stream_run(const struct stream *s, bool *ret_detached, struct err *err)
{
    struct loop l = {.s = s, .input_open = s->input, .output_open = true};
    sigset_t set, before;
    sigemptyset(&set);
    sigaddset(&set, SIGWINCH);
    if (s->keep_signals) {
        sigaddset(&set, SIGINT);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGHUP);
        sigaddset(&set, SIGQUIT);
    }
    pthread_sigmask(SIG_BLOCK, &set, &before);
    l.signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->tty && s->input && isatty(STDIN_FILENO))
        make_raw();
    send_size(s);
    int r = s->early ? take_output(&l, s->early->data, s->early->len, err) : 0;
    while (r == 0 && l.output_open && !l.detached)
        r = step(&l, err);
    restore_terminal();
    close_fd(l.signal_fd);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (ret_detached)
        *ret_detached = l.detached;
    return r;
}
