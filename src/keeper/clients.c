#include "keeper/daemon.h"

#include "base/file.h"
#include "base/log.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

/* A client that does not read loses its connection; reconnecting it learns all it missed. */
enum { MAX_QUEUED_BYTES = 16 << 20 };

struct outgoing {
    struct outgoing *next;
    struct str bytes;
    int fds[FILE_MAX_FDS];
    size_t fd_count;
};

static void outgoing_free(struct outgoing *o)
{
    for (size_t i = 0; i < o->fd_count; i++)
        close_fd(o->fds[i]);
    str_free(&o->bytes);
    free(o);
}

static void client_drop(struct client *cl)
{
    struct daemon *d = cl->d;
    struct client **at = &d->clients;
    while (*at != cl)
        at = &(*at)->next;
    *at = cl->next;
    d->client_count--;
    d->loop.tick_wanted = true; /* it may have been the last: see end_if_idle() */
    while (cl->first) {
        struct outgoing *o = cl->first;
        cl->first = o->next;
        outgoing_free(o);
    }
    watch_close(&d->loop, &cl->w);
    loop_bury(&d->loop, cl);
    watch_set(&d->loop, &d->listener, EPOLLIN);
}

void keeper__clients_drop_all(struct daemon *d)
{
    while (d->clients)
        client_drop(d->clients);
}

struct client *keeper__client_find(struct daemon *d, uint64_t number)
{
    struct client *cl = d->clients;
    while (cl && cl->number != number)
        cl = cl->next;
    return cl;
}

static void queue(struct client *cl, const struct str *m, const int *fds, size_t fd_count)
{
    struct outgoing *o = NEW(struct outgoing);
    str_addn(&o->bytes, m->data, m->len);
    for (size_t i = 0; i < fd_count; i++) {
        o->fds[o->fd_count] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
        if (o->fds[o->fd_count] >= 0)
            o->fd_count++;
    }
    if (cl->last && cl->first)
        cl->last->next = o;
    else
        cl->first = o;
    cl->last = o;
    cl->queued += m->len;
    watch_set(&cl->d->loop, &cl->w, EPOLLIN | EPOLLOUT);
}

/* 1 sent, 0 later, negative: the connection is dead. Dropping is left to the connection's own event, so that
 * senders need not expect it. */
static int try_send(struct client *cl, const struct str *m, const int *fds, size_t fd_count)
{
    struct err err;
    ssize_t n = file_send_fds(cl->w.fd, m->data, m->len, fds, fd_count, &err);
    if (n >= 0)
        return 1;
    return err.sys == EAGAIN || err.sys == ETOOMANYREFS || err.sys == ENOBUFS ? 0 : -1;
}

void keeper__client_send(struct client *cl, const struct str *m, const int *fds, size_t fd_count)
{
    if (!cl->first && try_send(cl, m, fds, fd_count) != 0)
        return;
    if (cl->queued + m->len > MAX_QUEUED_BYTES) {
        shutdown(cl->w.fd, SHUT_RDWR);
        return;
    }
    queue(cl, m, fds, fd_count);
}

void keeper__clients_tell(struct daemon *d, const struct str *m, const int *fds, size_t fd_count)
{
    for (struct client *cl = d->clients; cl; cl = cl->next)
        if (cl->ready)
            keeper__client_send(cl, m, fds, fd_count);
}

static void send_reply(struct client *cl, uint64_t request, int code, int sys, const char *text)
{
    _cleanup_str_ struct str m = STR_INIT;
    protocol_begin(&m, PROTOCOL_REPLY, request);
    protocol_put_u32(&m, (uint32_t)code);
    protocol_put_u32(&m, (uint32_t)sys);
    protocol_put_text(&m, text);
    keeper__client_send(cl, &m, NULL, 0);
}

void keeper__client_send_error(struct client *cl, uint64_t request, const struct err *err)
{
    send_reply(cl, request, err->code, err->sys, err->msg);
}

void keeper__client_send_ok(struct client *cl, uint64_t request)
{
    send_reply(cl, request, 0, 0, "");
}

static bool send_queued(struct client *cl)
{
    while (cl->first) {
        struct outgoing *o = cl->first;
        int r = try_send(cl, &o->bytes, o->fds, o->fd_count);
        if (r <= 0)
            return r == 0;
        cl->first = o->next;
        cl->queued -= o->bytes.len;
        outgoing_free(o);
    }
    watch_set(&cl->d->loop, &cl->w, EPOLLIN);
    return true;
}

static bool receive(struct client *cl)
{
    int fds[FILE_MAX_FDS];
    size_t fd_count = 0;
    struct err err;
    /* Not the burst buffer: handling a request may read output with it. */
    static char message[PROTOCOL_MAX_BYTES];
    ssize_t n = file_recv_fds(cl->w.fd, message, sizeof(message), fds, FILE_MAX_FDS, &fd_count, &err);
    if (n < 0)
        return err.sys == EAGAIN;
    if (n > 0)
        keeper__handle_request(cl, message, (size_t)n, fds, fd_count);
    for (size_t i = 0; i < fd_count; i++)
        close_fd(fds[i]);
    return n > 0;
}

void keeper__clients_catch_up(struct client *cl)
{
    struct daemon *d = cl->d;
    if (d->catching_up)
        return;
    d->catching_up = true;
    for (struct client *other = d->clients, *next; other; other = next) {
        next = other->next;
        bool alive = true;
        char byte;
        /* A reset stands before what was sent, see file_recv_fds(). */
        while (other != cl && alive &&
               (recv(other->w.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno == ECONNRESET))
            alive = receive(other);
        if (!alive)
            client_drop(other);
    }
    d->catching_up = false;
}

static void client_ready(struct watch *w, uint32_t events)
{
    struct client *cl = OWNER(w, struct client, w);
    bool alive = true;
    if (events & EPOLLOUT)
        alive = send_queued(cl);
    if (alive && events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        alive = receive(cl);
    if (!alive)
        client_drop(cl);
}

void keeper__clients_accept(struct daemon *d)
{
    if (d->client_count >= MAX_CLIENTS) {
        watch_set(&d->loop, &d->listener, 0);
        return;
    }
    int fd = accept4(d->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
            log_warning("accept: %s", strerror(errno));
        return;
    }
    struct client *cl = NEW(struct client);
    cl->d = d;
    cl->number = ++d->next_client;
    cl->next = d->clients;
    d->clients = cl;
    d->client_count++;
    watch_start(&d->loop, &cl->w, fd, EPOLLIN, client_ready);
}
