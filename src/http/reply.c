/* Answers: whole ones, streams, and connections taken over. */
#include "http/server_priv.h"

#include "base/json.h"
#include "base/log.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

static void add_headers(struct http_request *q, struct MHD_Response *response, const char *content_type)
{
    for (const char *const *h = q->server->config.headers; h && h[0]; h += 2)
        MHD_add_response_header(response, h[0], h[1]);
    if (content_type)
        MHD_add_response_header(response, "Content-Type", content_type);
    for (char **h = q->reply_headers; h && h[0]; h += 2)
        MHD_add_response_header(response, h[0], h[1]);
}

/* Hands the answer to libmicrohttpd's thread, which sends it when the request's body is in. */
static void answer(struct http_request *q, unsigned status, struct MHD_Response *response)
{
    pthread_mutex_lock(&q->lock);
    must(!q->answered);
    q->answered = true;
    q->status = status;
    q->response = response;
    http__resume(q);
    pthread_mutex_unlock(&q->lock);
}

void http_set_header(struct http_request *q, const char *name, const char *value)
{
    must(!q->answered);
    strv_add(&q->reply_headers, name);
    strv_add(&q->reply_headers, value);
}

static void reply_bytes(struct http_request *q, int status, const char *content_type, char *bytes, size_t n)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(n, bytes, MHD_RESPMEM_MUST_FREE);
    must(r);
    add_headers(q, r, content_type);
    answer(q, (unsigned)status, r);
}

void http_reply_text(struct http_request *q, int status, const char *content_type, const char *text)
{
    reply_bytes(q, status, content_type, mem_strdup(text), strlen(text));
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
    char *text = json_line(body, &n);
    reply_bytes(q, status, "application/json", text, n);
}

void http_reply_empty(struct http_request *q, int status)
{
    reply_bytes(q, status, NULL, mem_strdup(""), 0);
}

static json_t *message_json(const char *message)
{
    json_t *body = json_object();
    json_set_str(body, "message", message);
    return body;
}

struct MHD_Response *http__response_of_message(struct http_request *q, const char *message)
{
    size_t n;
    char *text = json_line(message_json(message), &n);
    struct MHD_Response *r = MHD_create_response_from_buffer(n, text, MHD_RESPMEM_MUST_FREE);
    must(r);
    add_headers(q, r, "application/json");
    return r;
}

void http_reply_err(struct http_request *q, const struct err *err)
{
    int status = err_http_status(err->code);
    if (err->code == ERR_NOT_MODIFIED)
        http_reply_empty(q, status);
    else
        http_reply_json(q, status, message_json(err->msg));
}

/* --- streams --- */

/* Called by libmicrohttpd's thread when it can send more. */
static ssize_t read_stream(void *context, uint64_t position, char *buffer, size_t n)
{
    struct http_request *q = context;
    pthread_mutex_lock(&q->lock);
    ssize_t r = (ssize_t)http__ring_get(&q->out, buffer, n);
    if (r > 0) {
        pthread_cond_broadcast(&q->changed);
    } else if (q->out_end) {
        r = q->out_abort ? MHD_CONTENT_READER_END_WITH_ERROR : MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        q->suspended = true;
        MHD_suspend_connection(q->connection);
    }
    pthread_mutex_unlock(&q->lock);
    return r;
}

void http_stream_begin(struct http_request *q, int status, const char *content_type)
{
    struct MHD_Response *r =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 32 << 10, read_stream, q, NULL);
    must(r);
    add_headers(q, r, content_type);
    q->streaming = true;
    if (content_type && strcmp(content_type, "application/json") == 0)
        q->out.capacity = SMALL_RING_BYTES; /* a message now and then, not bulk */
    answer(q, (unsigned)status, r);
}

int http_stream_write(struct http_request *q, const void *bytes, size_t n, struct err *err)
{
    must(q->streaming);
    if (strcmp(q->method, "HEAD") == 0)
        return 0;
    const char *at = bytes;
    pthread_mutex_lock(&q->lock);
    while (n > 0 && !q->detached && !q->cut) {
        size_t put = http__ring_put(&q->out, at, n);
        at += put;
        n -= put;
        if (q->queued)
            http__resume(q);
        else if (n > 0)
            http__discard_body(q);
        if (n > 0)
            pthread_cond_wait(&q->changed, &q->lock);
    }
    pthread_mutex_unlock(&q->lock);
    return n ? err_set(err, ERR_CANCELLED, "the client went away") : 0;
}

int http_stream_json(struct http_request *q, json_t *line, struct err *err)
{
    size_t n;
    _cleanup_free_ char *text = json_line(line, &n);
    return http_stream_write(q, text, n, err);
}

static void end_stream(struct http_request *q, bool abort)
{
    pthread_mutex_lock(&q->lock);
    if (!q->out_end) {
        q->out_end = true;
        q->out_abort = abort;
        http__resume(q);
    }
    pthread_mutex_unlock(&q->lock);
}

void http_stream_end(struct http_request *q)
{
    end_stream(q, false);
}

void http_stream_abort(struct http_request *q)
{
    end_stream(q, true);
}

/* --- taking the connection over --- */

/* Called by libmicrohttpd's thread after it has sent the 101. Its descriptor stays its own, since it may
 * close it only through MHD_upgrade_action; the handler gets a duplicate. */
static void upgraded(void *context, struct MHD_Connection *connection, void *request, const char *extra,
                     size_t n, MHD_socket sock, struct MHD_UpgradeResponseHandle *handle)
{
    struct http_request *q = context;
    pthread_mutex_lock(&q->lock);
    q->upgraded = true;
    q->upgrade = handle;
    q->hijacked_fd = fcntl(sock, F_DUPFD_CLOEXEC, 3);
    int flags = fcntl(sock, F_GETFL);
    fcntl(sock, F_SETFL, flags & ~O_NONBLOCK);
    str_addn(&q->early, extra, n);
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
}

static int hijack_upgrade(struct http_request *q, const char *content_type, int *ret_fd,
                          struct str *ret_early, struct err *err)
{
    struct MHD_Response *r = MHD_create_response_for_upgrade(upgraded, q);
    must(r);
    add_headers(q, r, content_type);
    MHD_add_response_header(r, "Upgrade", "tcp");
    answer(q, MHD_HTTP_SWITCHING_PROTOCOLS, r);
    pthread_mutex_lock(&q->lock);
    http__discard_body(q);
    while (!q->upgraded && !q->detached && !q->cut)
        pthread_cond_wait(&q->changed, &q->lock);
    int fd = take_fd(&q->hijacked_fd);
    if (fd >= 0) {
        *ret_early = q->early;
        q->early = (struct str)STR_INIT;
    }
    pthread_mutex_unlock(&q->lock);
    if (fd < 0)
        return err_set(err, ERR_CANCELLED, "the client went away");
    *ret_fd = fd;
    return 0;
}

struct pump {
    struct http_request *request;
    int fd;
};

/* A client without an upgrade: its body goes into the handler's socket, then the handler's bytes out as a
 * stream. One after the other, because an answer starts only when the body is in. */
static void *pump(void *argument)
{
    struct pump *p = argument;
    char buffer[16384];
    ssize_t n;
    while ((n = http_body_read(p->request, buffer, sizeof(buffer), NULL)) > 0)
        if (send(p->fd, buffer, (size_t)n, MSG_NOSIGNAL) != n)
            break;
    shutdown(p->fd, SHUT_WR);
    while ((n = read(p->fd, buffer, sizeof(buffer))) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 || http_stream_write(p->request, buffer, (size_t)n, NULL) < 0)
            break;
    }
    close(p->fd);
    free(p);
    return NULL;
}

static int hijack_plain(struct http_request *q, const char *content_type, int *ret_fd, struct err *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_sys(err, errno, "make a socket pair");
    struct pump *p = NEW(struct pump);
    *p = (struct pump){q, pair[1]};
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 << 10);
    http_stream_begin(q, 200, content_type);
    int r = pthread_create(&q->pump, &attributes, pump, p);
    pthread_attr_destroy(&attributes);
    if (r != 0) {
        close(pair[0]);
        close(pair[1]);
        free(p);
        return err_sys(err, r, "start a thread");
    }
    q->pumping = true;
    *ret_fd = pair[0];
    return 0;
}

/* RFC 9110, section 7.8: an upgrade needs both headers, and the body must not matter any more. */
static bool wants_upgrade(struct http_request *q)
{
    const char *connection = http_header(q, "Connection");
    return connection && strcasestr(connection, "upgrade") && http_header(q, "Upgrade");
}

int http_hijack(struct http_request *q, const char *content_type, int *ret_fd, struct str *ret_early,
                struct err *err)
{
    *ret_early = (struct str)STR_INIT;
    if (wants_upgrade(q))
        return hijack_upgrade(q, content_type, ret_fd, ret_early, err);
    return hijack_plain(q, content_type, ret_fd, err);
}

void http__finish(struct http_request *q)
{
    if (q->pumping)
        pthread_join(q->pump, NULL);
    if (!q->answered) {
        log_error("%s %s: the handler did not answer", q->method, q->decoded_path);
        http_reply_err(q,
                       &(struct err){.code = ERR_SYSTEM, .msg = "no answer was made; see the server's log"});
    }
    if (q->streaming)
        http_stream_end(q);
    pthread_mutex_lock(&q->lock);
    http__discard_body(q);
    q->hijacked_fd = close_fd(q->hijacked_fd);
    bool close_upgraded = q->upgraded;
    pthread_mutex_unlock(&q->lock);
    /* Not under our lock: libmicrohttpd tells of an upgraded connection's end (on_completed) under its own.
     */
    if (close_upgraded)
        MHD_upgrade_action(q->upgrade, MHD_UPGRADE_ACTION_CLOSE);
}
