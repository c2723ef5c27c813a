/* A connection's bytes, in and out. */
#include "http/server_priv.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    SMALL_BUFFER = 4 << 10,
    /* What the buffers of all unfinished requests may hold beyond the small ones. */
    BUFFERED_MAX = 64 << 20,
};

struct http_conn *http__conn_new(struct http_server *s, int fd)
{
    struct http_conn *c = NEW(struct http_conn);
    struct sockaddr_storage local;
    socklen_t n = sizeof(local);
    c->server = s;
    c->fd = fd;
    c->is_unix = getsockname(fd, (struct sockaddr *)&local, &n) == 0 && local.ss_family == AF_UNIX;
    if (!c->is_unix) {
        int on = 1;
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    }
    if (s->config.tls)
        c->tls = http__tls_begin(s->config.tls, fd);
    return c;
}

static void drop_buffer(struct http_conn *c)
{
    if (c->capacity > SMALL_BUFFER)
        c->server->buffered -= c->capacity;
    free(c->in);
    c->in = NULL;
    c->start = c->len = c->capacity = 0;
}

void http__conn_free(struct http_conn *c)
{
    drop_buffer(c);
    http__tls_free(c->tls);
    close(c->fd);
    free(c);
}

/* Room behind what is held; false when `max` or the server's bound is reached. */
static bool make_room(struct http_conn *c, size_t max)
{
    if (c->start + c->len < c->capacity)
        return true;
    if (c->start > 0) {
        memmove(c->in, c->in + c->start, c->len);
        c->start = 0;
        return true;
    }
    if (c->capacity >= max)
        return false;
    size_t capacity = c->capacity ? c->capacity * 4 : SMALL_BUFFER;
    if (capacity > SMALL_BUFFER) {
        if ((c->server->buffered += capacity) > BUFFERED_MAX) {
            c->server->buffered -= capacity;
            return false;
        }
        if (c->capacity > SMALL_BUFFER)
            c->server->buffered -= c->capacity;
    }
    c->in = mem_grow(c->in, capacity, 1);
    c->capacity = capacity;
    return true;
}

ssize_t http__conn_recv(struct http_conn *c, void *buffer, size_t n)
{
    return c->tls ? http__tls_recv(c->tls, buffer, n) : recv(c->fd, buffer, n, MSG_DONTWAIT);
}

int http__conn_receive(struct http_conn *c, size_t max)
{
    if (!make_room(c, max))
        return -2;
    ssize_t n;
    do
        n = http__conn_recv(c, c->in + c->start + c->len, c->capacity - c->start - c->len);
    while (n < 0 && errno == EINTR);
    if (n > 0)
        c->len += (size_t)n;
    else if (c->len == 0)
        drop_buffer(c);
    return n > 0 ? 1 : n < 0 && errno == EAGAIN ? 0 : -1;
}

void http__conn_consume(struct http_conn *c, size_t n)
{
    must(n <= c->len);
    c->start += n;
    c->len -= n;
    c->scanned = 0;
    if (c->len == 0)
        drop_buffer(c);
}

size_t http__conn_take(struct http_conn *c, void *buffer, size_t n)
{
    size_t taken = MIN(n, c->len);
    if (taken > 0) {
        memcpy(buffer, c->in + c->start, taken);
        http__conn_consume(c, taken);
    }
    return taken;
}

/* Takes `n` sent bytes off the parts; how many parts are done. */
static int advance(struct iovec *parts, int count, size_t n)
{
    int done = 0;
    while (done < count && n >= parts[done].iov_len)
        n -= parts[done++].iov_len;
    if (done < count) {
        parts[done].iov_base = (char *)parts[done].iov_base + n;
        parts[done].iov_len -= n;
    }
    return done;
}

/* A client that does not read is waited for where another thread serves the others meanwhile. */
static bool wait_writable(struct http_conn *c, int timeout_ms)
{
    struct pollfd p = {.fd = c->fd, .events = POLLOUT};
    if (!http__hand_over(c))
        return false;
    int r = poll(&p, 1, timeout_ms);
    return r > 0 || (r < 0 && errno == EINTR);
}

static ssize_t send_parts(struct http_conn *c, struct iovec *parts, int count, int flags)
{
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)count};
    return c->tls ? http__tls_send_some(c->tls, parts->iov_base, parts->iov_len)
                  : sendmsg(c->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL | flags);
}

static bool send_all(struct http_conn *c, struct iovec *parts, int count, int flags, int timeout_ms)
{
    while (count > 0) {
        ssize_t n = send_parts(c, parts, count, flags);
        if (n >= 0) {
            int done = advance(parts, count, (size_t)n);
            parts += done;
            count -= done;
        } else if (errno == EAGAIN) {
            if (!wait_writable(c, timeout_ms))
                return false;
        } else if (errno != EINTR) {
            return false;
        }
    }
    return true;
}

bool http__conn_send(struct http_conn *c, struct iovec *parts, int count, int timeout_ms)
{
    return send_all(c, parts, count, 0, timeout_ms);
}

bool http__conn_send_file(struct http_conn *c, struct iovec head, int fd, int64_t offset, int64_t n,
                          int timeout_ms)
{
    enum { PIECE = 1 << 20 };
    off_t at = offset;
    if (!send_all(c, &head, 1, MSG_MORE, timeout_ms))
        return false;
    while (n > 0) {
        ssize_t sent = sendfile(c->fd, fd, &at, (size_t)MIN(n, PIECE));
        if (sent > 0)
            n -= sent;
        else if (sent == 0 || (errno != EAGAIN && errno != EINTR)) /* the file is shorter than was promised */
            return false;
        else if (errno == EAGAIN && !wait_writable(c, timeout_ms))
            return false;
    }
    return true;
}

ssize_t http__conn_send_some(struct http_conn *c, const void *bytes, size_t n)
{
    return c->tls ? http__tls_send_some(c->tls, bytes, n)
                  : send(c->fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
}
