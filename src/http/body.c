/* The request's body, read by the handler's thread, or one of its helpers. */
#include "http/server_priv.h"

#include "base/json.h"
#include "base/timeutil.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

static void tell_to_go_on(struct http_request *q)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    q->continue_due = false;
    if (!q->answered)
        http__conn_send(q->conn, &(struct iovec){(void *)text, sizeof(text) - 1}, 1, HTTP_ANSWER_TIMEOUT_MS);
}

static int wake_fd(struct http_request *q)
{
    pthread_mutex_lock(&q->lock);
    if (q->wake_fd < 0)
        q->wake_fd = eventfd(q->discard, EFD_CLOEXEC | EFD_NONBLOCK);
    int fd = q->wake_fd;
    pthread_mutex_unlock(&q->lock);
    return fd;
}

void http_body_discard(struct http_request *q)
{
    pthread_mutex_lock(&q->lock);
    q->discard = true;
    uint64_t one = 1;
    if (q->wake_fd >= 0 && write(q->wake_fd, &one, sizeof(one)) < 0)
        must(errno == EAGAIN); /* told already */
    pthread_mutex_unlock(&q->lock);
}

/* False when nothing will come any more. */
static bool wait_readable(struct http_request *q)
{
    int timeout_ms = HTTP_BODY_TIMEOUT_MS;
    if (q->body_deadline) {
        int64_t left_ns = q->body_deadline - time_monotonic_ns();
        timeout_ms = left_ns > 0 ? (int)(left_ns / NS_PER_MS) + 1 : 0;
    }
    if (q->continue_due)
        tell_to_go_on(q);
    struct pollfd p[2] = {{.fd = q->conn->fd, .events = POLLIN}, {.fd = wake_fd(q), .events = POLLIN}};
    int r = poll(p, 2, timeout_ms);
    if (r == 0)
        q->body_late = true;
    return r > 0 || (r < 0 && errno == EINTR);
}

/* Up to `n` bytes of what is left of the body's present piece: 0 at a torn end. */
static ssize_t take_bytes(struct http_request *q, void *buffer, size_t n)
{
    size_t held = http__conn_take(q->conn, buffer, n);
    while (held == 0 && !q->discard) {
        ssize_t r = http__conn_recv(q->conn, buffer, n);
        if (r > 0)
            return r;
        if (r == 0 || (errno != EAGAIN && errno != EINTR) || !wait_readable(q)) {
            q->body_torn = !q->discard;
            return 0;
        }
    }
    return (ssize_t)held;
}

/* Comes to the next data of a chunked body, or to its end. */
static void skip_framing(struct http_request *q)
{
    struct http_conn *c = q->conn;
    struct http_chunks *k = &q->chunks;
    while (k->state != CHUNK_DATA && k->state != CHUNK_DONE && !q->discard) {
        if (c->len == 0) {
            int r = http__conn_receive(c, HTTP_SMALL_BODY);
            if (r < 0 || (r == 0 && !wait_readable(q))) {
                q->body_torn = !q->discard;
                return;
            }
            continue;
        }
        ssize_t n = http__chunk_framing(k, c->in + c->start, c->len);
        if (n < 0) {
            q->body_malformed = true;
            return;
        }
        http__conn_consume(c, (size_t)n);
    }
}

static int failure(struct http_request *q, struct err *err)
{
    if (q->body_too_large)
        return err_set(err, ERR_LIMIT, "request body is larger than the %lld bytes allowed",
                       (long long)q->server->config.max_body_bytes);
    if (q->body_malformed)
        return err_set(err, ERR_INVALID, "malformed chunked encoding of the request body");
    if (q->body_late)
        return err_set(err, ERR_TIMEOUT, "the request body did not come in time");
    if (q->body_torn)
        return err_set(err, ERR_INVALID, "unexpected EOF: the request body ended before it was complete");
    return 0;
}

static ssize_t read_counted(struct http_request *q, void *buffer, size_t n)
{
    ssize_t got = take_bytes(q, buffer, (size_t)MIN((int64_t)n, q->body_left));
    q->body_left -= got;
    q->body_end = q->body_left == 0;
    return got;
}

static ssize_t read_chunked(struct http_request *q, void *buffer, size_t n)
{
    skip_framing(q);
    if (q->chunks.state != CHUNK_DATA || q->discard) {
        q->body_end = q->chunks.state == CHUNK_DONE;
        return 0;
    }
    ssize_t got = take_bytes(q, buffer, MIN(n, q->chunks.left));
    http__chunk_took(&q->chunks, (size_t)got);
    return got;
}

ssize_t http_body_read(struct http_request *q, void *buffer, size_t n, struct err *err)
{
    int64_t max = q->server->config.max_body_bytes;
    int r = failure(q, err);
    if (r < 0)
        return r;
    if (q->body_end || q->discard || n == 0)
        return 0;
    ssize_t got = q->chunks.state == CHUNK_DONE ? read_counted(q, buffer, n) : read_chunked(q, buffer, n);
    q->body_bytes += got;
    if (max > 0 && q->body_bytes > max)
        q->body_too_large = true;
    r = failure(q, err);
    return r < 0 ? r : got;
}

void http__body_drop_held(struct http_request *q)
{
    struct http_conn *c = q->conn;
    struct http_chunks *k = &q->chunks;
    while (!q->body_end && c->len > 0 && failure(q, NULL) == 0) {
        if (k->state == CHUNK_DONE) {
            size_t n = (size_t)MIN((int64_t)c->len, q->body_left);
            http__conn_consume(c, n);
            q->body_left -= (int64_t)n;
            q->body_end = q->body_left == 0;
        } else if (k->state == CHUNK_DATA) {
            size_t n = MIN(c->len, k->left);
            http__conn_consume(c, n);
            http__chunk_took(k, n);
        } else {
            ssize_t n = http__chunk_framing(k, c->in + c->start, c->len);
            q->body_malformed = n < 0;
            if (n > 0)
                http__conn_consume(c, (size_t)n);
            q->body_end = k->state == CHUNK_DONE;
        }
    }
}

int http_body_json(struct http_request *q, size_t max, json_t **ret, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    q->body_deadline = time_monotonic_ns() + q->server->config.head_timeout_s * NS_PER_S;
    for (;;) {
        char *room = str_reserve(&text, 4096);
        ssize_t got = http_body_read(q, room, 4096, err);
        if (got < 0)
            return (int)got;
        if (got == 0)
            break;
        text.len += (size_t)got;
        text.data[text.len] = '\0';
        if (text.len > max)
            return err_set(err, ERR_LIMIT, "request body is larger than the %zu bytes allowed", max);
    }
    /* Go's clients send "null" for an object that they do not have. */
    _cleanup_free_ char *bare = text.len <= 64 ? str_strip(str_get(&text)) : NULL;
    if (bare && (!*bare || strcmp(bare, "null") == 0)) {
        *ret = NULL;
        return 0;
    }
    return json_parse(text.data, text.len, "request body", ret, err);
}
