#include "keeper/daemon.h"

#include "base/failpoint.h"
#include "base/log.h"
#include "base/process.h"
#include "base/timeutil.h"
#include "keeper/foreign.h"
#include "keeper/holder.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BURSTS_AT_ONCE = 4, BURSTS_AT_END = 32 };

struct container *container_new(struct daemon *d, const char *id)
{
    struct container *c = NEW(struct container);
    c->d = d;
    snprintf(c->id, sizeof(c->id), "%s", id);
    map_put(&d->containers, id, c);
    return c;
}

void container_open_log(struct container *c)
{
    struct err err;
    if (c->log_path && !c->log &&
        log_file_open(c->log_path, c->log_max_bytes, c->log_max_files, true, &c->log, &err) < 0)
        log_error("%s: its output is not kept: %s", c->id, err.msg);
}

void container_free(struct container *c)
{
    if (!c)
        return;
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&c->execs, &i));)
        proc_free(e->value);
    proc_free(c->first);
    map_done(&c->execs);
    map_remove(&c->d->containers, c->id);
    c->d->loop.tick_wanted = true; /* it may have been the last: see end_if_idle() */
    log_file_close(c->log);
    cgroup_free(c->cgroup);
    foreign_free(c->foreign);
    free(c->log_path);
    free(c);
}

struct process *proc_new(struct container *c, const char *exec_id)
{
    struct process *p = NEW(struct process);
    p->c = c;
    p->exec_id = mem_strdup(exec_id);
    p->pidfd = p->status = p->stdin_w = p->out[0] = p->out[1] = p->console = WATCH_NONE;
    p->relay_fd = -EBADF;
    if (*exec_id)
        map_put(&c->execs, exec_id, p);
    else
        c->first = p;
    return p;
}

/* Its exit is recorded, or nobody wants it. */
static void reap(struct process *p)
{
    siginfo_t info;
    if (p->pidfd.fd >= 0 && waitid((idtype_t)P_PIDFD, (id_t)p->pidfd.fd, &info, WEXITED | WNOHANG) < 0)
        holder_release(p);
    watch_close(&p->c->d->loop, &p->pidfd);
}

void proc_free(struct process *p)
{
    if (!p)
        return;
    struct loop *l = &p->c->d->loop;
    attach_drop_all(p);
    reap(p);
    starter_done(p, false);
    watch_close(l, &p->status);
    watch_close(l, &p->stdin_w);
    watch_close(l, &p->out[0]);
    watch_close(l, &p->out[1]);
    watch_close(l, &p->console);
    close_fd(p->relay_fd);
    str_free(&p->stdin_buffer);
    if (*p->exec_id)
        map_remove(&p->c->execs, p->exec_id);
    else
        p->c->first = NULL;
    foreign_launch_free(p->launching);
    free(p->launch_err);
    free(p->exec_id);
    loop_bury(l, p);
}

struct process *proc_find(struct daemon *d, const char *id, const char *exec_id, struct err *err)
{
    struct container *c = map_get(&d->containers, id);
    struct process *p = !c ? NULL : *exec_id ? map_get(&c->execs, exec_id) : c->first;
    if (!p)
        err_set(err, ERR_NOT_FOUND, "the keeper knows no process %.128s%s%.128s", id,
                *exec_id ? " exec " : "", exec_id);
    return p;
}

void daemon_each_process(struct daemon *d, void (*each)(struct process *p, void *context), void *context)
{
    struct map_entry *e, *x;
    for (size_t i = 0; (e = map_next(&d->containers, &i));) {
        struct container *c = e->value;
        /* Execs first: freeing the first process is what ends a container. */
        for (size_t j = 0; (x = map_next(&c->execs, &j));)
            each(x->value, context);
        if (c->first)
            each(c->first, context);
    }
}

/* --- output --- */

bool proc_keeps_log(const struct process *p)
{
    return p->c->log && (!*p->exec_id || p->keep_output);
}

static void warn_once(struct process *p, const struct err *err)
{
    if (!p->warned)
        log_error("%s: output is lost to the log: %s", p->c->id, err->msg);
    p->warned = true;
}

/* Bytes of a stream, as they come from its pipe: 0 at the end of file, negative with errno. Those of a
 * container's first process are in the log when it returns. */
static ssize_t take_output(struct process *p, int i)
{
    char *burst = p->c->d->burst;
    int fd = p->out[i].fd;
    struct err err = {0};
    if (p->tty) {
        ssize_t n = terminal_read(p, &err);
        int sys = errno;
        if (err.code)
            warn_once(p, &err);
        errno = sys;
        return n;
    }
    if (!proc_keeps_log(p))
        return read(fd, burst, BURST_BYTES);
    size_t n = log_file_move(p->c->log, i + 1, time_now_ns(), fd, burst, BURST_BYTES, &err);
    if (err.code)
        warn_once(p, &err);
    if (n)
        return (ssize_t)n;
    struct pollfd poll_one = {.fd = fd, .events = POLLIN};
    if (poll(&poll_one, 1, 0) == 1 && poll_one.revents && !(poll_one.revents & POLLIN))
        return 0;
    errno = EAGAIN;
    return -1;
}

static void output_closed(struct process *p, int i)
{
    watch_close(&p->c->d->loop, &p->out[i]);
    if (i == 0)
        p->relay_fd = close_fd(p->relay_fd);
}

/* Reads until nothing is there, up to a number of bursts, so that one process cannot keep the others waiting.
 * True when the end was reached. */
static bool read_output(struct process *p, int i, int bursts)
{
    while (bursts-- > 0 && !p->held) {
        ssize_t n = take_output(p, i);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return false;
        if (n <= 0) /* a terminal without a slave says EIO */
            return true;
        attach_output(p, i + 1, p->c->d->burst, (size_t)n);
    }
    return false;
}

static void out_ready(struct process *p, int i)
{
    if (read_output(p, i, BURSTS_AT_ONCE))
        output_closed(p, i);
    proc_conclude_if_done(p);
}

static void out0_ready(struct watch *w, uint32_t events)
{
    out_ready(OWNER(w, struct process, out[0]), 0);
}

static void out1_ready(struct watch *w, uint32_t events)
{
    out_ready(OWNER(w, struct process, out[1]), 1);
}

void proc_hold_if_full(struct process *p)
{
    bool full = attach_any_full(p);
    if (full == p->held)
        return;
    p->held = full;
    for (int i = 0; i < 2; i++)
        watch_set(&p->c->d->loop, &p->out[i], full ? 0 : EPOLLIN);
}

void proc_run(struct process *p)
{
    p->state = PROCESS_RUNNING;
    for (int i = 0; i < 2; i++)
        if (p->out[i].fd >= 0)
            watch_start(&p->c->d->loop, &p->out[i], p->out[i].fd, EPOLLIN, i ? out1_ready : out0_ready);
}

void proc_close_stdin(struct process *p)
{
    p->stdin_ending = true;
    if (p->stdin_w.fd < 0 || p->stdin_buffer.len)
        return;
    watch_close(&p->c->d->loop, &p->stdin_w);
    _cleanup_str_ struct str m = STR_INIT;
    protocol_begin(&m, PROTOCOL_RELEASE, 0);
    protocol_put_text(&m, p->c->id);
    protocol_put_text(&m, p->exec_id);
    keeper__clients_tell(p->c->d, &m, NULL, 0);
    stdin_resume_readers(p);
}

/* --- the end --- */

/* What the kernel keeps for a pidfd of a process that was another's child (Linux 6.15); the layout is its
 * ABI. */
struct pidfd_exit_info {
    uint64_t mask, cgroup_id;
    uint32_t pid, tgid, ppid, ids[8];
    int32_t exit_code;
};
enum { PIDFD_INFO_EXIT_ = 1 << 3 };
#define PIDFD_GET_INFO_ _IOWR(0xFF, 11, struct pidfd_exit_info)

int pidfd_exit_code(int pidfd, int *ret_wait_status)
{
    struct pidfd_exit_info info = {.mask = PIDFD_INFO_EXIT_};
    if (FAILPOINT_SET("no-exit-codes") || ioctl(pidfd, PIDFD_GET_INFO_, &info) < 0)
        return -1;
    if (!(info.mask & PIDFD_INFO_EXIT_))
        return 0;
    *ret_wait_status = info.exit_code;
    return 1;
}

static void set_exit(struct process *p, int wait_status)
{
    bool signalled = WIFSIGNALED(wait_status);
    p->exit.signal = signalled ? WTERMSIG(wait_status) : 0;
    p->exit.status = signalled ? 128 + p->exit.signal : WEXITSTATUS(wait_status);
}

/* How our child ended, or one that was another keeper's. It is not reaped: whoever comes after us would see
 * nothing of what is not recorded yet. False: not known yet. */
static bool see_status(struct process *p, uint32_t events)
{
    siginfo_t info = {0};
    if (waitid((idtype_t)P_PIDFD, (id_t)p->pidfd.fd, &info, WEXITED | WNOHANG | WNOWAIT) == 0) {
        if (!info.si_pid)
            return false;
        p->exit.signal = info.si_code == CLD_EXITED ? 0 : info.si_status;
        p->exit.status = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
        return true;
    }
    int code, told = holder_exit_code(p, &code) ? 1 : pidfd_exit_code(p->pidfd.fd, &code);
    if (told > 0) {
        set_exit(p, code);
        return true;
    }
    FAILPOINT_STOP("keeper-asked-for-exit");
    /* It was not reaped when we asked: the hang-up tells when, also when that was since then. */
    if (told == 0 && !(events & EPOLLHUP)) {
        watch_set(&p->c->d->loop, &p->pidfd, EPOLLHUP);
        holder_release(p); /* where we may not look at its children, the kernel tells our pidfd then */
        return false;
    }
    proc_exit_unknown(p);
    return true;
}

void proc_exit_unknown(struct process *p)
{
    p->exit.status = 128 + SIGKILL;
    p->exit.signal = KEEPER_SIGNAL_UNKNOWN;
}

void proc_launch_failed(struct process *p)
{
    struct daemon *d = p->c->d;
    struct client *cl = keeper__client_find(d, p->reply_client);
    if (!cl && p->state == PROCESS_LAUNCHING) {
        /* Whoever asked has gone, and may have been told that it is there: it ends like any other. */
        struct err err;
        int code = p->launch_err->code;
        if (!p->started_ns && record_write(p, &err) < 0) /* a record of an end stands after that of a start */
            log_error("%s: %s", p->c->id, err.msg);
        log_error("%s: its launch failed when nobody waited for it any more: %s", p->c->id,
                  p->launch_err->msg);
        p->exit.signal = 0;
        p->exit.status = code == ERR_NOT_FOUND ? 127 : code == ERR_DENIED ? 126 : 128;
        proc_ended(p);
        return;
    }
    if (cl)
        keeper__client_send_error(cl, p->reply_request, p->launch_err);
    proc_launch_undo(p);
}

void proc_launch_undo(struct process *p)
{
    record_remove(p);
    if (*p->exec_id) {
        proc_free(p);
        return;
    }
    struct container *c = p->c;
    if (c->cgroup)
        cgroup_remove(c->cgroup, NULL);
    container_free(c);
}

static void note_oom(struct process *p)
{
    struct cgroup_usage usage = {0};
    if ((p->exit.status || p->c->memory_limited) && p->c->cgroup &&
        cgroup_usage(p->c->cgroup, &usage, NULL) == 0 && usage.oom_kills > 0)
        p->exit.oom_killed = !*p->exec_id || p->exit.signal == SIGKILL;
}

static void pidfd_ready(struct watch *w, uint32_t events)
{
    struct process *p = OWNER(w, struct process, pidfd);
    if (p->found)
        return;
    if (p->state == PROCESS_LAUNCHING && p->status.fd >= 0)
        p->status.ready(&p->status, EPOLLIN);
    if (!see_status(p, events))
        return;
    FAILPOINT("keeper-exit-seen");
    watch_set(&p->c->d->loop, w, 0);
    if (p->launching) {
        siginfo_t info;
        waitid((idtype_t)P_PIDFD, (id_t)w->fd, &info, WEXITED | WNOHANG); /* the helper */
        if (launch_helper_ended(p))
            return;
    }
    if (p->state == PROCESS_LAUNCHING)
        proc_launch_failed(p);
    else
        proc_ended(p);
}

void proc_watch_pidfd(struct process *p, int pidfd)
{
    watch_start(&p->c->d->loop, &p->pidfd, pidfd, EPOLLIN, pidfd_ready);
}

static void wait_for_end_of_output(struct process *p)
{
    p->linger_until_ns = time_monotonic_ns() + LINGER_SECONDS * NS_PER_S;
    p->c->d->loop.tick_wanted = true;
}

/* Processes that stay when the first one ends (they share a pid namespace) go with it, as its container does.
 */
static void end_rest(struct process *p)
{
    if (*p->exec_id || p->c->own_pid_namespace || !p->c->cgroup)
        return;
    struct err err;
    if (cgroup_kill(p->c->cgroup, SIGKILL, &err) < 0)
        log_warning("%s: %s", p->c->id, err.msg);
    wait_for_end_of_output(p);
}

/* Until it succeeds the process stays to be seen. */
static void record_exit(struct process *p)
{
    struct err err;
    if (record_write_exit(p, &err) < 0) {
        log_error("%s: %s", p->c->id, err.msg);
        return;
    }
    FAILPOINT("keeper-exit-recorded");
    reap(p);
}

static void take_last_output(struct process *p)
{
    p->state = PROCESS_ENDING;
    end_rest(p);
    /* A terminal's last output passes through a queue of the kernel; when it was all read, the end is told.
     */
    if (p->tty)
        wait_for_end_of_output(p);
    proc_conclude_if_done(p);
}

void proc_ended(struct process *p)
{
    p->exit.at_ns = time_now_ns();
    note_oom(p);
    take_last_output(p);
    if (p->state == PROCESS_ENDING)
        record_exit(p);
}

void proc_ended_before(struct process *p)
{
    reap(p);
    take_last_output(p);
}

/* Takes what is in the pipes. Who still holds a pipe's other end after that (a background child of an exec)
 * loses its reader; in a pid namespace of its own, nobody can. */
static void drain(struct process *p)
{
    bool wait = time_monotonic_ns() < p->linger_until_ns;
    for (int i = 0; i < 2; i++) {
        if (p->out[i].fd < 0 || p->held)
            continue;
        bool end = read_output(p, i, BURSTS_AT_END);
        if (!p->held && (end || !wait))
            output_closed(p, i);
    }
}

void proc_conclude_if_done(struct process *p)
{
    if (p->state != PROCESS_ENDING)
        return;
    bool gone = *p->exec_id || foreign_gone(p->c);
    drain(p);
    if (p->state != PROCESS_ENDING || p->out[0].fd >= 0 || p->out[1].fd >= 0 || attach_any_pending(p) ||
        !gone)
        return;
    p->state = PROCESS_EXITED;
    struct daemon *d = p->c->d;
    record_exit(p);
    watch_close(&d->loop, &p->stdin_w);
    str_free(&p->stdin_buffer);
    attach_end(p);
    attach_drop_all(p);
    if (!*p->exec_id) {
        if (p->c->log && log_file_dropped(p->c->log))
            log_error("%s: %llu bytes of its output are not in its log", p->c->id,
                      (unsigned long long)log_file_dropped(p->c->log));
        log_file_close(p->c->log);
        p->c->log = NULL;
    }
    _cleanup_str_ struct str m = STR_INIT;
    proc_put_exit(p, &m);
    keeper__clients_tell(d, &m, NULL, 0);
    FAILPOINT("keeper-exit-told");
}

void proc_put_exit(struct process *p, struct str *m)
{
    struct keeper_exit exit = p->exit;
    exit.id = p->c->id;
    exit.exec_id = p->exec_id;
    protocol_begin(m, PROTOCOL_EXIT, 0);
    protocol_put_exit(m, &exit);
}

void proc_put_hold(struct process *p, struct str *m, int fds[HELD_MAX], size_t *ret_count)
{
    const int all[HELD_MAX] = {p->pidfd.fd, p->stdin_w.fd, p->out[0].fd, p->tty ? p->relay_fd : p->out[1].fd,
                               p->status.fd};
    uint32_t mask = 0;
    *ret_count = 0;
    for (int i = 0; i < HELD_MAX; i++) {
        if (all[i] < 0)
            continue;
        mask |= 1u << i;
        fds[(*ret_count)++] = all[i];
    }
    protocol_begin(m, PROTOCOL_HOLD, 0);
    protocol_put_text(m, p->c->id);
    protocol_put_text(m, p->exec_id);
    protocol_put_u32(m, mask);
}
