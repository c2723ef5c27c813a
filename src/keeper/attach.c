#include "keeper/daemon.h"

#include "base/log.h"
#include "base/timeutil.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

static struct loop *loop_of(struct process *p)
{
    return &p->c->d->loop;
}

static size_t pending_bytes(const struct attach *a)
{
    return a->pending.len - a->sent;
}

/* What to wait for. Full stdin: nothing at all, because a hang-up would be told again and again while bytes
 * sent before it are still to be read. */
static void set_events(struct attach *a)
{
    bool room = a->p->stdin_w.fd < 0 || !(a->flags & KEEPER_ATTACH_STDIN) ||
                a->p->stdin_buffer.len < STDIN_BUFFER_BYTES;
    uint32_t events = a->read_ended ? (uint32_t)EPOLLHUP : room ? (uint32_t)EPOLLIN : 0;
    if (pending_bytes(a)) {
        events |= EPOLLOUT;
        loop_of(a->p)->tick_wanted = true;
    }
    watch_set(loop_of(a->p), &a->w, events);
}

static void unlink_attach(struct attach *a)
{
    struct attach **at = &a->p->attached;
    while (*at != a)
        at = &(*at)->next;
    *at = a->next;
    a->p->attached_count--;
}

/* The first attached stream that closes its side ends stdin where the process was started so. A terminal's
 * stdin never ends: a detached user comes back. */
static void reading_ended(struct attach *a)
{
    struct process *p = a->p;
    if (a->read_ended)
        return;
    a->read_ended = true;
    if ((a->flags & KEEPER_ATTACH_STDIN) && p->stdin_once && !p->tty)
        proc_close_stdin(p);
}

static void drop_quietly(struct attach *a)
{
    struct loop *l = loop_of(a->p);
    reading_ended(a);
    unlink_attach(a);
    watch_close(l, &a->w);
    str_free(&a->pending);
    loop_bury(l, a);
}

void attach_drop(struct attach *a)
{
    struct process *p = a->p;
    drop_quietly(a);
    proc_hold_if_full(p);
    proc_conclude_if_done(p);
}

void attach_drop_all(struct process *p)
{
    while (p->attached)
        drop_quietly(p->attached);
}

/* False when the stream is dead. */
static bool send_pending(struct attach *a)
{
    while (pending_bytes(a)) {
        ssize_t n = send(a->w.fd, a->pending.data + a->sent, pending_bytes(a), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        a->sent += (size_t)n;
        a->progress_ns = time_monotonic_ns();
    }
    str_free(&a->pending);
    a->sent = 0;
    return true;
}

static void write_stdin(struct process *p)
{
    while (p->stdin_buffer.len && p->stdin_w.fd >= 0) {
        ssize_t n = write(p->stdin_w.fd, p->stdin_buffer.data, p->stdin_buffer.len);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n < 0) { /* nobody reads it any more */
            str_free(&p->stdin_buffer);
            p->stdin_ending = true;
            break;
        }
        memmove(p->stdin_buffer.data, p->stdin_buffer.data + n, p->stdin_buffer.len - (size_t)n);
        str_truncate(&p->stdin_buffer, p->stdin_buffer.len - (size_t)n);
    }
    if (!p->stdin_buffer.len) {
        str_free(&p->stdin_buffer);
        if (p->stdin_ending)
            proc_close_stdin(p);
    }
    watch_set(loop_of(p), &p->stdin_w, p->stdin_buffer.len ? EPOLLOUT : 0);
    stdin_resume_readers(p);
}

static void stdin_ready(struct watch *w, uint32_t events)
{
    write_stdin(OWNER(w, struct process, stdin_w));
}

void stdin_start(struct process *p, int fd)
{
    watch_start(loop_of(p), &p->stdin_w, fd, 0, stdin_ready);
}

void stdin_resume_readers(struct process *p)
{
    for (struct attach *a = p->attached; a; a = a->next)
        set_events(a);
}

/* False when the stream is dead. */
static bool read_stdin(struct attach *a)
{
    struct process *p = a->p;
    bool wanted = (a->flags & KEEPER_ATTACH_STDIN) && p->stdin_w.fd >= 0 && !p->stdin_ending;
    size_t room =
        wanted ? STDIN_BUFFER_BYTES - MIN(p->stdin_buffer.len, (size_t)STDIN_BUFFER_BYTES) : BURST_BYTES;
    if (!room)
        return true;
    char *to = p->c->d->burst;
    ssize_t n = recv(a->w.fd, to, MIN(room, (size_t)BURST_BYTES), MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    if (n == 0) {
        reading_ended(a);
    } else if (wanted) {
        str_addn(&p->stdin_buffer, to, (size_t)n);
        write_stdin(p);
    }
    return true;
}

static void attach_ready(struct watch *w, uint32_t events)
{
    struct attach *a = OWNER(w, struct attach, w);
    struct process *p = a->p;
    bool alive = true;
    if (events & EPOLLOUT)
        alive = send_pending(a);
    if (alive && !a->read_ended && (events & (EPOLLIN | EPOLLHUP)))
        alive = read_stdin(a);
    else if (events & (EPOLLHUP | EPOLLERR))
        alive = false;
    if (!alive) {
        attach_drop(a);
        return;
    }
    set_events(a);
    proc_hold_if_full(p);
    proc_conclude_if_done(p);
}

int attach_new(struct process *p, int *fd, int flags, struct err *err)
{
    if (p->attached_count >= MAX_ATTACHED)
        return err_set(err, ERR_LIMIT, "%d streams are attached to this process already", MAX_ATTACHED);
    int type = 0;
    socklen_t n = sizeof(type);
    if (getsockopt(*fd, SOL_SOCKET, SO_TYPE, &type, &n) < 0 || type != SOCK_STREAM)
        return err_set(err, ERR_INVALID, "an attached stream must be a stream socket");
    struct attach *a = NEW(struct attach);
    a->p = p;
    a->flags = flags;
    a->next = p->attached;
    a->progress_ns = time_monotonic_ns();
    p->attached = a;
    p->attached_count++;
    watch_start(loop_of(p), &a->w, take_fd(fd), EPOLLIN, attach_ready);
    return 0;
}

static bool output_one(struct attach *a, const void *head, const char *bytes, size_t n)
{
    size_t done = 0;
    if (!pending_bytes(a)) {
        struct iovec iov[2] = {{(void *)head, 8}, {(void *)bytes, n}};
        struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2};
        ssize_t sent = sendmsg(a->w.fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != EINTR)
            return false;
        done = sent > 0 ? (size_t)sent : 0;
        a->progress_ns = time_monotonic_ns();
    }
    if (done < 8)
        str_addn(&a->pending, (const char *)head + done, 8 - done);
    size_t body = done > 8 ? done - 8 : 0;
    if (body < n)
        str_addn(&a->pending, bytes + body, n - body);
    set_events(a);
    return true;
}

void attach_output(struct process *p, int stream, const char *bytes, size_t n)
{
    uint8_t head[8] = {(uint8_t)stream,   0,         0, 0, (uint8_t)(n >> 24), (uint8_t)(n >> 16),
                       (uint8_t)(n >> 8), (uint8_t)n};
    int flag = stream == 2 ? KEEPER_ATTACH_STDERR : KEEPER_ATTACH_STDOUT;
    for (struct attach *a = p->attached, *next; a; a = next) {
        next = a->next;
        if ((a->flags & flag) && !output_one(a, head, bytes, n))
            drop_quietly(a);
    }
    proc_hold_if_full(p);
}

void attach_end(struct process *p)
{
    static const uint8_t end[8];
    for (struct attach *a = p->attached; a; a = a->next)
        if (send(a->w.fd, end, sizeof(end), MSG_DONTWAIT | MSG_NOSIGNAL) != sizeof(end))
            log_debug("%s: a reader misses the end", p->c->id);
}

bool attach_any_pending(const struct process *p)
{
    for (const struct attach *a = p->attached; a; a = a->next)
        if (pending_bytes(a))
            return true;
    return false;
}

bool attach_any_full(const struct process *p)
{
    for (const struct attach *a = p->attached; a; a = a->next)
        if (pending_bytes(a) >= ATTACH_BUFFER_BYTES)
            return true;
    return false;
}

void attach_check_stalls(struct process *p, int64_t now_ns)
{
    bool dropped = false;
    for (struct attach *a = p->attached, *next; a; a = next) {
        next = a->next;
        if (!pending_bytes(a))
            continue;
        loop_of(p)->tick_wanted = true;
        if (now_ns - a->progress_ns < STALL_SECONDS * NS_PER_S)
            continue;
        log_warning("%s: an attached stream was not read for %d s: dropped", p->c->id, STALL_SECONDS);
        drop_quietly(a);
        p->c->readers_dropped++;
        dropped = true;
    }
    if (dropped) {
        proc_hold_if_full(p);
        proc_conclude_if_done(p);
    }
}
