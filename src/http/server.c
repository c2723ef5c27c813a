/* From bytes to requests, and the life of the server. */
#include "http/server_priv.h"

#include "base/lock.h"
#include "base/log.h"
#include "base/timeutil.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
    DEFAULT_MAX_REQUESTS = 1024,
    DEFAULT_IDLE_TIMEOUT_S = 120,
    DEFAULT_HEAD_TIMEOUT_S = 30,
    CUT_WAIT_MS = 5000,
};

/* --- one request --- */

static void attempt(struct http_request *q, void *context)
{
    struct err err = {0};
    if (q->route->attempt(q, context, &err) >= 0)
        return;
    if (err_http_status(err.code) >= 500 && err.code != ERR_UNSUPPORTED)
        log_warning("%s %s: %s", q->method, q->decoded_path, err.msg);
    if (!q->answered)
        http_reply_err(q, &err);
    else if (q->streaming)
        http_stream_abort(q);
}

static void not_found(struct http_request *q, void *context)
{
    http_reply_err(q, &(struct err){.code = ERR_NOT_FOUND, .msg = "page not found"});
}

static void take_route(struct http_request *q, bool (*admit)(struct http_request *q, void *context),
                       void *context)
{
    if (admit && !admit(q, context))
        return;
    if (q->route->handler)
        q->route->handler(q, context);
    else
        attempt(q, context);
}

static void handle(struct http_request *q)
{
    struct http_server *s = q->server;
    if (!q->route)
        s->config.fallback(q, s->config.context);
    else
        take_route(q, s->config.admit, s->config.context);
    http__finish(q);
}

bool http_lasts(struct http_request *q)
{
    return http__hand_over(q->conn);
}

bool http_pass(struct http_request *q, const char *prefix, const struct http_server_config *as)
{
    if (!http__target_behind(q, prefix, as->routes))
        return false;
    take_route(q, as->admit, as->context);
    return true;
}

/* False: there are as many of its kind as may be. */
static bool enter_kind(struct http_request *q)
{
    struct http_server *s = q->server;
    pthread_mutex_lock(&s->lock);
    bool room = s->of_kind[q->kind] < (size_t)s->config.max_requests[q->kind];
    if (room) {
        s->of_kind[q->kind]++;
        s->requests++;
        q->conn->request = q;
        if (s->cut)
            shutdown(q->conn->fd, SHUT_RDWR);
    }
    pthread_mutex_unlock(&s->lock);
    return room;
}

static void leave_kind(struct http_request *q)
{
    struct http_server *s = q->server;
    pthread_mutex_lock(&s->lock);
    s->of_kind[q->kind]--;
    q->conn->request = NULL;
    if (--s->requests == 0)
        pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

/* Whether the handler may be run. */
static bool has_relief(struct http_request *q)
{
    return (q->route && q->route->prompt && q->body_end) || http__hand_over(q->conn);
}

static void run_request(struct http_request *q)
{
    static const struct err busy = {.code = ERR_UNAVAILABLE,
                                    .msg = "too many requests of this kind in progress; try again later"};
    struct err err = {0};
    if (http__target_parse(q, &err) < 0)
        return http_reply_err(q, &err);
    q->route = http__route_find(q->server->config.routes, q);
    q->kind = q->route ? q->route->kind : HTTP_BRIEF;
    /* A body that is still to come may be long in coming. */
    if (q->kind == HTTP_BRIEF && !q->body_end && !(q->body_left > 0 && (int64_t)q->conn->len >= q->body_left))
        q->kind = HTTP_TRANSFER;
    if (!has_relief(q) || !enter_kind(q))
        return http_reply_err(q, &busy);
    handle(q);
    leave_kind(q);
}

/* --- one connection --- */

static struct http_request *new_request(struct http_conn *c, size_t head_len, int *ret_status,
                                        const char **why)
{
    struct http_request *q = http__request_new(c->server);
    q->conn = c;
    q->head = mem_new(sizeof(*q->head));
    q->head_text = mem_dup(c->in + c->start, head_len);
    *ret_status = http__head_parse(q->head_text, head_len, q->head, why);
    if (*ret_status) {
        http__request_free(q);
        return NULL;
    }
    q->method = q->head->method;
    q->target = q->head->target;
    q->body_left = q->head->content_length;
    q->chunks.state = q->head->chunked ? CHUNK_SIZE : CHUNK_DONE;
    q->body_end = !q->head->chunked && q->body_left == 0;
    q->continue_due = q->head->expects_continue && !q->body_end;
    return q;
}

/* The request at the start of what has come. NULL: *ret_status is that of a refusal, or 0 when more must come
 * first: of its head, or of a small body. */
static struct http_request *take_request(struct http_conn *c, int *ret_status, const char **why)
{
    *ret_status = 0;
    while (c->len > 0 && !c->began && (c->in[c->start] == '\r' || c->in[c->start] == '\n'))
        http__conn_consume(c, 1);
    if (c->len == 0)
        return NULL;
    /* Said at once: a client that tries TLS first waits for this answer before it tries without. */
    if (!c->began && (c->in[c->start] < ' ' || c->in[c->start] > '~')) {
        *why = "the client speaks another protocol than HTTP, perhaps TLS: this port has no TLS";
        *ret_status = 400;
        return NULL;
    }
    if (!c->began)
        c->began = time_monotonic_ns();
    if (c->want > 0 && c->len < c->want)
        return NULL;
    c->want = 0;
    size_t n = http__head_end(c->in + c->start, c->len, &c->scanned);
    if (n == 0)
        return NULL;
    struct http_request *q = new_request(c, n, ret_status, why);
    if (!q)
        return NULL;
    if (!q->body_end && !q->head->chunked && !q->continue_due && q->body_left <= HTTP_SMALL_BODY &&
        (int64_t)(c->len - n) < q->body_left) {
        c->want = n + (size_t)q->body_left;
        http__request_free(q);
        return NULL;
    }
    c->began = 0;
    http__conn_consume(c, n);
    return q;
}

/* A peer that still sends would take the close for a reset, and miss the answer. */
static void linger(struct http_conn *c)
{
    http__conn_consume(c, c->len);
    if (c->tls)
        http__tls_end(c->tls);
    if (c->doomed || shutdown(c->fd, SHUT_WR) < 0)
        return http__conn_close(c);
    http__conn_park(c, CONN_LINGER);
}

/* Throws away what a connection that is being closed still gets. */
static void drain(struct http_conn *c)
{
    char buffer[16384];
    /* Not for ever at one go: others wait too. */
    for (int i = 0; i < 64; i++) {
        ssize_t n = recv(c->fd, buffer, sizeof(buffer), MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return http__conn_close(c);
        if (n < 0)
            break;
    }
    /* Its deadline stands. */
    http__conn_park(c, CONN_LINGER);
}

/* Whether the connection goes on. */
static bool serve_request(struct http_conn *c, struct http_request *q)
{
    run_request(q);
    bool hijacked = q->hijacked, broken = q->broken, more = !q->close && !broken && q->body_end;
    http__request_free(q);
    if (more)
        return true;
    if (hijacked && c->registered)
        epoll_ctl(c->server->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
    if (hijacked || broken) {
        shutdown(c->fd, SHUT_RDWR);
        http__conn_close(c);
    } else {
        linger(c);
    }
    return false;
}

static void refuse(struct http_conn *c, int status, const char *why)
{
    http__refuse(c, status, why);
    linger(c);
}

void http__conn_serve(struct http_conn *c, struct http_worker *w)
{
    c->worker = w;
    for (bool received = false;;) {
        int status;
        const char *why = NULL;
        struct http_request *q = c->len > 0 ? take_request(c, &status, &why) : NULL;
        if (q) {
            if (!serve_request(c, q))
                return;
            received = true; /* the next one has hardly come yet */
            continue;
        }
        if (c->len > 0 && status)
            return refuse(c, status, why);
        if (received && !(c->tls && http__tls_pending(c->tls)))
            return http__conn_park(c, c->began ? CONN_HEAD : CONN_IDLE);
        int r = http__conn_receive(c, c->want ? c->want + HTTP_HEAD_MAX : HTTP_HEAD_MAX);
        if (r == -2)
            return refuse(c, c->want ? 503 : 431, "the request's head is too large");
        if (r < 0)
            return http__conn_close(c);
        received = r == 0;
    }
}

void http__conn_ready(struct http_conn *c, struct http_worker *w)
{
    bool lingers = c->place == CONN_LINGER;
    http__conn_unpark(c);
    if (lingers)
        drain(c);
    else
        http__conn_serve(c, w);
}

/* --- the server --- */

static size_t connection_limit(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur == RLIM_INFINITY)
        return 65536;
    /* The rest is for what handlers open. */
    return (size_t)MAX(MIN(files.rlim_cur / 4 * 3, (rlim_t)65536), (rlim_t)16);
}

static void server_free(struct http_server *s)
{
    /* One may have been accepted while the server stopped, and then nobody was left to serve it. */
    for (int place = 0; place < CONN_PLACES; place++)
        for (struct http_conn *c; (c = s->first[place]);)
            http__conn_close(c);
    close_fd(s->listen_fd);
    close_fd(s->epoll_fd);
    close_fd(s->timer_fd);
    close_fd(s->stop_fd);
    str_free(&s->fixed);
    pthread_cond_destroy(&s->changed);
    pthread_cond_destroy(&s->call);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static struct http_server *server_new(const struct http_server_config *config, int listen_fd)
{
    struct http_server *s = NEW(struct http_server);
    s->config = *config;
    if (!s->config.fallback)
        s->config.fallback = not_found;
    if (s->config.idle_timeout_s <= 0)
        s->config.idle_timeout_s = DEFAULT_IDLE_TIMEOUT_S;
    if (s->config.head_timeout_s <= 0)
        s->config.head_timeout_s = MIN(s->config.idle_timeout_s, DEFAULT_HEAD_TIMEOUT_S);
    for (int i = 0; i < HTTP_KINDS; i++)
        if (s->config.max_requests[i] <= 0)
            s->config.max_requests[i] = DEFAULT_MAX_REQUESTS;
    for (const char *const *h = config->headers; h && h[0]; h += 2)
        str_addf(&s->fixed, "%s: %s\r\n", h[0], h[1]);
    s->conns_max = connection_limit();
    s->listen_fd = listen_fd;
    s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    s->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    s->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &attributes);
    pthread_cond_init(&s->call, &attributes);
    pthread_condattr_destroy(&attributes);
    return s;
}

static int watch(struct http_server *s, int fd, void *what, uint32_t flags, struct err *err)
{
    struct epoll_event event = {.events = EPOLLIN | flags, .data.ptr = what};
    if (fd < 0 || epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        return err_sys(err, errno, "start the HTTP server: watch a descriptor");
    return 0;
}

int http_server_start(const struct http_server_config *config, int listen_fd, struct http_server **ret,
                      struct err *err)
{
    struct http_server *s = server_new(config, listen_fd);
    fcntl(listen_fd, F_SETFL, O_NONBLOCK);
    int r = watch(s, s->stop_fd, &s->stop_fd, 0, err);
    if (r == 0)
        r = watch(s, s->timer_fd, &s->timer_fd, EPOLLONESHOT, err);
    if (r == 0)
        r = watch(s, s->listen_fd, &s->listen_fd, EPOLLONESHOT, err);
    if (r == 0)
        r = http__threads_start(s, err);
    if (r < 0) {
        server_free(s);
        return r;
    }
    *ret = s;
    return 0;
}

/* With the lock held: until nothing of `*count` is left, for at most `ms`. */
static bool wait_none(struct http_server *s, const size_t *count, int ms)
{
    int64_t until = time_monotonic_ns() + ms * NS_PER_MS;
    struct timespec at = {.tv_sec = until / NS_PER_S, .tv_nsec = until % NS_PER_S};
    int r = 0;
    while (*count > 0 && r == 0)
        r = pthread_cond_timedwait(&s->changed, &s->lock, &at);
    return *count == 0;
}

void http_bind_to_certificate(struct http_request *q)
{
    struct http_certificate shown;
    http_peer_certificate(q, &shown);
    SCOPED_LOCK(locked, &q->server->lock);
    snprintf(q->bound, sizeof(q->bound), "%s", shown.serial);
}

int http_server_end_revoked(struct http_server *s, struct err *err)
{
    struct map revoked = MAP_INIT(NULL);
    int r = s->config.tls ? http__tls_revoked(s->config.tls, &revoked, err) : 0;
    pthread_mutex_lock(&s->lock);
    for (struct http_conn *c = s->first[CONN_BUSY]; r == 0 && c; c = c->next)
        if (c->request && *c->request->bound && map_has(&revoked, c->request->bound))
            shutdown(c->fd, SHUT_RDWR);
    pthread_mutex_unlock(&s->lock);
    map_done(&revoked);
    return r;
}

static void cut_requests(struct http_server *s)
{
    s->cut = true;
    for (struct http_conn *c = s->first[CONN_BUSY]; c; c = c->next)
        if (c->request)
            shutdown(c->fd, SHUT_RDWR);
}

/* With the lock held. */
static bool wind_up(struct http_server *s, int grace_ms)
{
    s->stopping = true;
    http__doom_parked(s);
    if (!wait_none(s, &s->requests, grace_ms)) {
        cut_requests(s);
        if (!wait_none(s, &s->requests, CUT_WAIT_MS))
            return false;
    }
    http__doom_parked(s);
    if (!wait_none(s, &s->conns, CUT_WAIT_MS))
        return false;
    http__threads_end(s);
    return wait_none(s, &s->threads, CUT_WAIT_MS);
}

bool http_server_stop(struct http_server *s, int grace_ms)
{
    if (!s)
        return true;
    /* Another process may go on listening on the same socket: it is let go, not shut. */
    epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, s->listen_fd, NULL);
    pthread_mutex_lock(&s->lock);
    bool ended = wind_up(s, grace_ms);
    pthread_mutex_unlock(&s->lock);
    if (ended)
        server_free(s);
    else /* Its thread still uses the server, which must therefore stay. */
        log_warning("http: a request in progress does not end; leaving it behind");
    return ended;
}
