/* Answers: whole ones, streams, and connections taken over. */
#include "http/server_priv.h"

#include "base/json.h"
#include "base/log.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

const char *http__reason(int status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {
        {101, "UPGRADED"},
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {413, "Request Entity Too Large"},
        {415, "Unsupported Media Type"},
        {416, "Range Not Satisfiable"},
        {417, "Expectation Failed"},
        {426, "Upgrade Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {499, "Client Closed Request"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {507, "Insufficient Storage"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(reasons); i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Status";
}

/* RFC 9110, section 5.6.7; made once a second. */
static void add_date(struct str *out)
{
    static __thread time_t made;
    static __thread char text[40];
    time_t now = time(NULL);
    if (now != made) {
        struct tm t;
        gmtime_r(&now, &t);
        strftime(text, sizeof(text), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &t);
        made = now;
    }
    str_add(out, text);
}

static void add_field(struct str *out, const char *name, const char *value)
{
    str_add(out, name);
    str_add(out, ": ");
    for (; *value; value++) /* no value of ours begins a line of its own */
        str_addc(out, *value == '\r' || *value == '\n' ? ' ' : *value);
    str_add(out, "\r\n");
}

static void begin_head(struct http_request *q, int status, const char *content_type, struct str *out)
{
    must(!q->answered);
    q->answered = true;
    str_addf(out, "HTTP/1.%d %d %s\r\n", q->head->minor, status, http__reason(status));
    str_addn(out, str_get(&q->server->fixed), q->server->fixed.len);
    if (content_type)
        add_field(out, "Content-Type", content_type);
    for (char **h = q->reply_headers; h && h[0]; h += 2)
        add_field(out, h[0], h[1]);
}

/* The connection serves another request when the body of this one is in, and the peer and the server agree.
 */
static void end_head(struct http_request *q, struct str *out)
{
    q->close = q->close || !q->body_end || !q->head->keep_alive || q->server->stopping;
    add_date(out);
    if (q->close)
        str_add(out, "Connection: close\r\n");
    else if (q->head->minor == 0)
        str_add(out, "Connection: keep-alive\r\n");
    str_add(out, "\r\n");
}

static bool is_head(const struct http_request *q)
{
    return strcmp(q->method, "HEAD") == 0;
}

static void send_parts(struct http_request *q, struct iovec *parts, int count, int timeout_ms)
{
    if (!q->broken && !http__conn_send(q->conn, parts, count, timeout_ms))
        q->broken = true;
}

void http_set_header(struct http_request *q, const char *name, const char *value)
{
    must(!q->answered);
    strv_add(&q->reply_headers, name);
    strv_add(&q->reply_headers, value);
}

void http_reply_bytes(struct http_request *q, int status, const char *content_type, const void *bytes,
                      size_t n)
{
    _cleanup_str_ struct str head = STR_INIT;
    char *room = str_reserve(&head, 512);
    *room = '\0';
    http__body_drop_held(q);
    begin_head(q, status, content_type, &head);
    if (status != 204 && status != 304)
        str_addf(&head, "Content-Length: %zu\r\n", n);
    end_head(q, &head);
    struct iovec parts[2] = {{head.data, head.len}, {(void *)bytes, n}};
    send_parts(q, parts, is_head(q) || n == 0 ? 1 : 2, HTTP_ANSWER_TIMEOUT_MS);
}

/* TLS has to see the bytes. */
static void send_file_encrypted(struct http_request *q, int fd, int64_t offset, int64_t n)
{
    enum { PIECE = 128 << 10 };
    _cleanup_free_ char *buffer = mem_new(PIECE);
    while (n > 0 && !q->broken) {
        ssize_t got = pread(fd, buffer, (size_t)MIN(n, PIECE), offset);
        if (got <= 0) {
            q->broken = true;
            return;
        }
        send_parts(q, &(struct iovec){buffer, (size_t)got}, 1, HTTP_ANSWER_TIMEOUT_MS);
        offset += got;
        n -= got;
    }
}

void http_reply_file(struct http_request *q, int status, const char *content_type, int fd, int64_t offset,
                     int64_t n)
{
    enum { SMALL_BYTES = 64 << 10 };
    static const struct err busy = {.code = ERR_UNAVAILABLE, .msg = "no thread is free; try again later"};
    _cleanup_str_ struct str head = STR_INIT;
    if (!is_head(q) && n > SMALL_BYTES && !http__hand_over(q->conn))
        return http_reply_err(q, &busy);
    http__body_drop_held(q);
    begin_head(q, status, content_type, &head);
    str_addf(&head, "Content-Length: %lld\r\n", (long long)n);
    end_head(q, &head);
    struct iovec part = {head.data, head.len};
    if (!is_head(q) && !q->conn->tls && n > 0) {
        if (!http__conn_send_file(q->conn, part, fd, offset, n, HTTP_ANSWER_TIMEOUT_MS))
            q->broken = true;
        return;
    }
    send_parts(q, &part, 1, HTTP_ANSWER_TIMEOUT_MS);
    if (!is_head(q))
        send_file_encrypted(q, fd, offset, n);
}

void http_reply_text(struct http_request *q, int status, const char *content_type, const char *text)
{
    http_reply_bytes(q, status, content_type, text, strlen(text));
}

void http_reply_empty(struct http_request *q, int status)
{
    http_reply_bytes(q, status, NULL, "", 0);
}

static char *json_line(json_t *value, size_t *ret_n)
{
    char *text = json_format(value);
    size_t n = strlen(text);
    text = mem_grow(text, n + 2, 1);
    text[n++] = '\n';
    text[n] = '\0';
    json_decref(value);
    *ret_n = n;
    return text;
}

void http_reply_json(struct http_request *q, int status, json_t *body)
{
    size_t n;
    _cleanup_free_ char *text = json_line(body, &n);
    http_reply_bytes(q, status, "application/json", text, n);
}

static json_t *message_json(const char *message)
{
    json_t *body = json_object();
    json_set_str(body, "message", message);
    return body;
}

/* The version of Docker's API whose errors became JSON. */
enum { JSON_ERRORS_SINCE = 1024 };

void http_reply_err(struct http_request *q, const struct err *given)
{
    struct err own = *given;
    const struct err *err = &own;
    int status = err_http_status(err->code);
    if (q->server->config.reword)
        q->server->config.reword(q, &own);
    if (err->code == ERR_NOT_MODIFIED)
        http_reply_empty(q, status);
    else if (q->api_version && q->api_version < JSON_ERRORS_SINCE) {
        _cleanup_free_ char *line = str_printf("%s\n", err->msg);
        http_reply_bytes(q, status, "text/plain; charset=utf-8", line, strlen(line));
    } else
        http_reply_json(q, status, message_json(err->msg));
}

void http__refuse(struct http_conn *c, int status, const char *message)
{
    struct http_head head = {.method = "GET", .minor = 1};
    struct http_request *q = http__request_new(c->server);
    q->conn = c;
    q->method = "GET";
    q->head = &head;
    q->close = true;
    http_reply_json(q, status, message_json(message));
    q->head = NULL;
    http__request_free(q);
}

/* --- streams --- */

void http_stream_begin(struct http_request *q, int status, const char *content_type)
{
    _cleanup_str_ struct str head = STR_INIT;
    begin_head(q, status, content_type, &head);
    q->streaming = true;
    q->chunked = q->head->minor > 0 && !is_head(q);
    if (q->chunked)
        str_add(&head, "Transfer-Encoding: chunked\r\n");
    else if (!is_head(q))
        q->close = true; /* its end is the stream's */
    end_head(q, &head);
    send_parts(q, &(struct iovec){head.data, head.len}, 1, HTTP_ANSWER_TIMEOUT_MS);
}

static void send_chunk(struct http_request *q, const void *bytes, size_t n, bool last)
{
    char size[20];
    int digits = snprintf(size, sizeof(size), "%zx\r\n", n);
    struct iovec parts[3] = {
        {size, (size_t)digits}, {(void *)bytes, n}, {(void *)"\r\n0\r\n\r\n", last ? 7 : 2}};
    if (n == 0 || is_head(q))
        return;
    /* A reader may take as long as it likes: a pager, a slow disk. */
    if (q->chunked)
        send_parts(q, parts, 3, -1);
    else
        send_parts(q, &parts[1], 1, -1);
}

void http_stream_gather(struct http_request *q)
{
    q->gather = true;
}

void http_stream_flush(struct http_request *q)
{
    if (q->out.len == 0)
        return;
    send_chunk(q, q->out.data, q->out.len, false);
    str_clear(&q->out);
}

int http_stream_write(struct http_request *q, const void *bytes, size_t n, struct err *err)
{
    must(q->streaming && !q->out_end);
    if (q->gather && n < HTTP_GATHER_BYTES) {
        str_addn(&q->out, bytes, n);
        if (q->out.len >= HTTP_GATHER_BYTES)
            http_stream_flush(q);
    } else {
        http_stream_flush(q);
        send_chunk(q, bytes, n, false);
    }
    return q->broken ? err_set(err, ERR_CANCELLED, "the client went away") : 0;
}

int http_stream_json(struct http_request *q, json_t *line, struct err *err)
{
    size_t n;
    _cleanup_free_ char *text = json_line(line, &n);
    return http_stream_write(q, text, n, err);
}

void http_stream_end(struct http_request *q)
{
    if (q->out_end)
        return;
    q->out_end = true;
    if (q->out.len) {
        send_chunk(q, q->out.data, q->out.len, true);
        str_clear(&q->out);
    } else if (q->chunked)
        send_parts(q, &(struct iovec){(void *)"0\r\n\r\n", 5}, 1, HTTP_ANSWER_TIMEOUT_MS);
}

void http_stream_abort(struct http_request *q)
{
    http_stream_flush(q);
    q->out_end = q->broken = true;
}

/* --- taking the connection over --- */

/* What was announced as the request's body is not the stream's. */
static int skip_body(struct http_request *q, struct err *err)
{
    char buffer[4096];
    ssize_t n;
    while ((n = http_body_read(q, buffer, sizeof(buffer), err)) > 0)
        ;
    return (int)n;
}

static void hijack_head(struct http_request *q, bool upgrade, const char *content_type, struct str *out)
{
    begin_head(q, upgrade ? 101 : 200, content_type, out);
    q->close = true;
    if (upgrade) {
        str_add(out, "Connection: Upgrade\r\n");
        add_field(out, "Upgrade",
                  http_wants_upgrade(q, "websocket") ? "websocket"
                  : http_wants_upgrade(q, "h2c")     ? "h2c"
                                                     : "tcp");
    }
    str_add(out, "\r\n");
}

enum { HEAD_READ_MS = 100, HEAD_LOOK_US = 100 };

/* Some clients (docker-py) read the head through a buffer, and lose what of the stream came along with it:
 * the stream begins when the head has been read, or after a moment. */
static void let_head_be_read(int fd)
{
    int unread = 0;
    for (int i = 0; i < HEAD_READ_MS * 1000 / HEAD_LOOK_US; i++) {
        if (ioctl(fd, SIOCOUTQ, &unread) < 0 || unread == 0)
            return;
        usleep(HEAD_LOOK_US);
    }
}

int http_hijack(struct http_request *q, const char *content_type, int *ret_fd, struct str *ret_early,
                struct err *err)
{
    if (q->conn->tls)
        return err_set(err, ERR_UNSUPPORTED, "a connection with TLS cannot be taken over");
    bool upgrade = http_wants_upgrade(q, NULL);
    int r = upgrade ? skip_body(q, err) : 0;
    if (r < 0)
        return r;
    _cleanup_close_ int fd = fcntl(q->conn->fd, F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        return err_sys(err, errno, "duplicate a connection's descriptor");
    _cleanup_str_ struct str head = STR_INIT;
    hijack_head(q, upgrade, content_type, &head);
    q->hijacked = true;
    send_parts(q, &(struct iovec){head.data, head.len}, 1, HTTP_ANSWER_TIMEOUT_MS);
    if (q->broken)
        return err_set(err, ERR_CANCELLED, "the client went away");
    let_head_be_read(fd);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK); /* whoever gets it waits in read(2) */
    *ret_early = (struct str)STR_INIT;
    if (q->conn->len > 0) {
        str_addn(ret_early, q->conn->in + q->conn->start, q->conn->len);
        http__conn_consume(q->conn, q->conn->len);
    }
    *ret_fd = take_fd(&fd);
    return 0;
}

void http__finish(struct http_request *q)
{
    if (!q->answered) {
        log_error("%s %s: the handler did not answer", q->method, q->decoded_path);
        http_reply_err(q,
                       &(struct err){.code = ERR_SYSTEM, .msg = "no answer was made; see the server's log"});
    }
    if (q->streaming)
        http_stream_end(q);
}
