/* A request that another server of HTTP answers: its bytes and that one's go through as they are. */
#include "http/server_priv.h"

#include <poll.h>
#include <strings.h>
#include <sys/socket.h>

enum { RELAY_BYTES = 32 << 10 };

void http_request_head(struct http_request *q, const char *target, struct str *out)
{
    static const char *const own[] = {"Connection", "Keep-Alive", "Proxy-Connection", "TE", "Upgrade"};
    bool upgrade = http_wants_upgrade(q, NULL);
    str_addf(out, "%s %s HTTP/1.1\r\n", q->method, target);
    for (size_t i = 0; i < q->head->field_count; i++) {
        const struct http_field *f = &q->head->fields[i];
        bool skip = false;
        for (size_t k = 0; k < ARRAY_SIZE(own) - upgrade; k++)
            skip = skip || strcasecmp(f->name, own[k]) == 0;
        if (!skip)
            str_addf(out, "%s: %s\r\n", f->name, f->value);
    }
    str_addf(out, "Connection: %s\r\n\r\n", upgrade ? "Upgrade" : "close");
}

/* One direction: what has been read and not yet written. */
struct flow {
    size_t at, end;
    bool ended, told; /* nothing more comes; the other side knows */
    char bytes[RELAY_BYTES];
};

static ssize_t recv_conn(struct http_conn *c, struct flow *f)
{
    size_t held = http__conn_take(c, f->bytes, sizeof(f->bytes));
    return held ? (ssize_t)held : http__conn_recv(c, f->bytes, sizeof(f->bytes));
}

/* True: something came, or the end. */
static bool came(struct flow *f, ssize_t n)
{
    if (n > 0) {
        f->at = 0;
        f->end = (size_t)n;
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        f->ended = true;
    return n > 0 || f->ended;
}

/* False: who is written to is gone. */
static bool went(struct flow *f, ssize_t n)
{
    if (n >= 0)
        f->at += (size_t)n;
    return n >= 0 || errno == EAGAIN || errno == EINTR;
}

/* Moves what can be moved without waiting; false: the end. */
static bool move(struct http_conn *c, int fd, struct flow *in, struct flow *out)
{
    for (bool moved = true; moved;) {
        moved = false;
        if (in->at == in->end && !in->ended)
            moved = came(in, recv_conn(c, in));
        if (in->at < in->end &&
            !went(in, send(fd, in->bytes + in->at, in->end - in->at, MSG_DONTWAIT | MSG_NOSIGNAL))) {
            in->at = in->end; /* an answer may have come all the same */
            in->ended = in->told = true;
        }
        if (in->at == in->end && in->ended && !in->told) {
            shutdown(fd, SHUT_WR);
            in->told = true;
        }
        if (out->at == out->end && !out->ended)
            moved |= came(out, recv(fd, out->bytes, sizeof(out->bytes), MSG_DONTWAIT));
        if (out->at < out->end &&
            !went(out, http__conn_send_some(c, out->bytes + out->at, out->end - out->at)))
            return false;
        if (out->at == out->end && out->ended)
            return false;
    }
    return true;
}

void http_relay(struct http_request *q, int fd)
{
    struct flow *in = NEW(struct flow), *out = NEW(struct flow);
    q->answered = q->hijacked = q->close = true;
    while (move(q->conn, fd, in, out)) {
        bool in_full = in->at < in->end, out_full = out->at < out->end;
        struct pollfd p[2] = {
            {.fd = q->conn->fd,
             .events = (short)((in_full || in->ended ? 0 : POLLIN) | (out_full ? POLLOUT : 0))},
            {.fd = fd, .events = (short)((out_full ? 0 : POLLIN) | (in_full ? POLLOUT : 0))}};
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            break;
        if (p[0].revents & POLLERR || (p[0].revents & POLLHUP && in->ended))
            break;
    }
    free(in);
    free(out);
}

bool http_send_raw(struct http_request *q, const void *bytes, size_t n)
{
    q->answered = true;
    return http__conn_send(q->conn, &(struct iovec){(void *)bytes, n}, 1, HTTP_ANSWER_TIMEOUT_MS);
}
