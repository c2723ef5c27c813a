/* libmicrohttpd's side: its callbacks, and the life of the server. */
#include "http/server_priv.h"

#include "base/deferred.h"
#include "base/log.h"
#include "base/timeutil.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    DEFAULT_MAX_REQUESTS = 1024,
    DEFAULT_IDLE_TIMEOUT_S = 120,
    /* A head (request line and headers) must fit in half of it. Beyond 32 KiB libmicrohttpd maps it instead
     * of taking it from the heap, so that it goes back to the system when the connection ends. */
    CONNECTION_MEMORY_BYTES = 64 << 10,
    CUT_WAIT_MS = 5000,
    /* A body may come from a slow program's pipe; a dead client must not keep its connection for ever. */
    BODY_TIMEOUT_S = 3600,
};

static void list_add(struct http_server *s, struct http_request *q)
{
    pthread_mutex_lock(&s->lock);
    q->next = s->requests;
    if (q->next)
        q->next->prev = q;
    s->requests = q;
    q->cut = s->cut;
    pthread_mutex_unlock(&s->lock);
}

static void list_remove(struct http_server *s, struct http_request *q)
{
    pthread_mutex_lock(&s->lock);
    *(q->prev ? &q->prev->next : &s->requests) = q->next;
    if (q->next)
        q->next->prev = q->prev;
    if (!s->requests)
        pthread_cond_broadcast(&s->idle);
    pthread_mutex_unlock(&s->lock);
}

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

/* The handler's thread. */
static void run_request(void *argument)
{
    struct http_request *q = argument;
    struct http_server *s = q->server;
    void *context = s->config.context;
    if (!q->route)
        s->config.fallback(q, context);
    else if (s->config.admit && !s->config.admit(q, context))
        ;
    else if (q->route->handler)
        q->route->handler(q, context);
    else
        attempt(q, context);
    http__finish(q);
    list_remove(s, q);
    http__request_unref(q);
}

static void not_found(struct http_request *q, void *context)
{
    http_reply_err(q, &(struct err){.code = ERR_NOT_FOUND, .msg = "page not found"});
}

/* Every target starts a request, before its headers are known. */
static void *on_target(void *context, const char *target, struct MHD_Connection *connection)
{
    return http__request_new(context, target);
}

static enum MHD_Result refuse(struct http_request *q, unsigned status, const char *message)
{
    struct MHD_Response *r = http__response_of_message(q, message);
    enum MHD_Result result = MHD_queue_response(q->connection, status, r);
    MHD_destroy_response(r);
    return result;
}

static const char too_many[] = "too many requests in progress; try again later";

static bool body_announced(struct MHD_Connection *connection)
{
    const char *length = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Length");
    return length ? strcmp(length, "0") != 0
                  : MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Transfer-Encoding") != NULL;
}

/* A body that the ring holds is waited for here, without a thread; the handler of a larger or endless one
 * reads while it comes. */
static bool body_fits(struct http_request *q)
{
    const char *length = MHD_lookup_connection_value(q->connection, MHD_HEADER_KIND, "Content-Length");
    int64_t n = 0;
    if (!length || parse_i64(length, 1, HTTP_RING_BYTES, &n, NULL) < 0)
        return false;
    q->body.capacity = (size_t)n;
    return true;
}

static enum MHD_Result start_handler(struct http_server *s, struct http_request *q)
{
    q->refs++;
    list_add(s, q);
    if (workers_start(s->workers, run_request, q))
        return MHD_YES;
    list_remove(s, q);
    q->refs--;
    return MHD_NO;
}

static enum MHD_Result first_call(struct http_server *s, struct http_request *q,
                                  struct MHD_Connection *connection, const char *method)
{
    q->started = true;
    q->connection = connection;
    q->method = mem_strdup(method);
    q->socket = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    const struct sockaddr *peer =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr;
    q->is_unix = peer && peer->sa_family == AF_UNIX;
    q->has_body = body_announced(connection);
    MHD_set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT, (unsigned)BODY_TIMEOUT_S);
    if (!http__target_parse(q))
        return refuse(q, 400, "malformed request target");
    q->route = http__route_find(s->config.routes, q);
    if (!q->has_body || body_fits(q)) {
        q->late = true;
        return MHD_YES;
    }
    return start_handler(s, q) == MHD_YES ? MHD_YES : refuse(q, 503, too_many);
}

static void take_body(struct http_request *q, const char *bytes, size_t *n)
{
    int64_t max = q->server->config.max_body_bytes;
    if (max > 0 && q->body_bytes + (int64_t)*n > max && !q->body_too_large) {
        q->body_too_large = true;
        q->body_discard = true;
    }
    size_t taken = q->body_discard ? *n : http__ring_put(&q->body, bytes, *n);
    q->body_bytes += (int64_t)taken;
    *n -= taken;
    if (*n > 0) {
        q->suspended = true;
        MHD_suspend_connection(q->connection);
    }
    pthread_cond_broadcast(&q->changed);
}

/* The body is in. True when there is an answer to queue; else the connection is suspended until there is. */
static bool last_call(struct http_request *q)
{
    pthread_mutex_lock(&q->lock);
    q->body_end = true;
    pthread_cond_broadcast(&q->changed);
    q->queued = q->response != NULL;
    if (!q->queued) {
        q->suspended = true;
        MHD_suspend_connection(q->connection);
    }
    pthread_mutex_unlock(&q->lock);
    return q->queued;
}

/* The same for a request whose handler starts now: it finds everything there, and the connection at rest. */
static enum MHD_Result last_call_late(struct http_server *s, struct http_request *q)
{
    q->body_end = true;
    q->suspended = true;
    MHD_suspend_connection(q->connection);
    if (start_handler(s, q) == MHD_YES)
        return MHD_YES;
    q->response = http__response_of_message(q, too_many);
    q->status = 503;
    q->suspended = false;
    MHD_resume_connection(q->connection);
    return MHD_YES;
}

static enum MHD_Result on_access(void *context, struct MHD_Connection *connection, const char *url,
                                 const char *method, const char *version, const char *bytes, size_t *n,
                                 void **request)
{
    struct http_request *q = *request;
    if (!q)
        return MHD_NO;
    if (!q->started)
        return first_call(context, q, connection, method);
    if (*n > 0) {
        pthread_mutex_lock(&q->lock);
        take_body(q, bytes, n);
        pthread_mutex_unlock(&q->lock);
        return MHD_YES;
    }
    /* From here on silence is no fault: logs -f, wait, a reader who pages. */
    if (!q->body_end)
        MHD_set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT, 0u);
    if (q->late) {
        q->late = false;
        return last_call_late(context, q);
    }
    return last_call(q) ? MHD_queue_response(connection, q->status, q->response) : MHD_YES;
}

static void on_completed(void *context, struct MHD_Connection *connection, void **request,
                         enum MHD_RequestTerminationCode how)
{
    struct http_server *s = context;
    struct http_request *q = *request;
    if (!q)
        return;
    *request = NULL;
    pthread_mutex_lock(&q->lock);
    q->detached = true;
    bool reusable = how == MHD_REQUEST_TERMINATED_COMPLETED_OK && q->started && !q->upgraded;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
    if (reusable)
        MHD_set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT,
                                  (unsigned)s->config.idle_timeout_s);
    http__request_unref(q);
}

/* Bad heads and broken connections are the client's doing, and common. */
static void on_log(void *context, const char *format, va_list ap)
{
    char text[512];
    vsnprintf(text, sizeof(text), format, ap);
    text[strcspn(text, "\n")] = '\0';
    log_debug("http: %s", text);
}

/* The raw target is taken apart by route.c; what libmicrohttpd decodes is not looked at. */
static size_t keep_escapes(void *context, struct MHD_Connection *connection, char *text)
{
    return strlen(text);
}

static unsigned connection_limit(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur == RLIM_INFINITY)
        return 65536;
    /* The rest is for what handlers open. */
    return (unsigned)MAX(MIN(files.rlim_cur / 4 * 3, (rlim_t)65536), (rlim_t)16);
}

static struct MHD_Daemon *start_daemon(struct http_server *s, int listen_fd)
{
    /* It inherits the mask: signals are for the process's main thread. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    deferred_need(DEFERRED_MICROHTTPD);
    struct MHD_Daemon *d = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_ALLOW_UPGRADE | MHD_USE_ERROR_LOG, 0,
        NULL, NULL, on_access, s, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_LISTEN_SOCKET,
        listen_fd, MHD_OPTION_URI_LOG_CALLBACK, on_target, s, MHD_OPTION_NOTIFY_COMPLETED, on_completed, s,
        MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_MEMORY_BYTES, MHD_OPTION_CONNECTION_LIMIT, connection_limit(),
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)s->config.idle_timeout_s, MHD_OPTION_THREAD_STACK_SIZE,
        (size_t)(512 << 10), MHD_OPTION_END);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return d;
}

static void server_free(struct http_server *s)
{
    workers_free(s->workers);
    pthread_cond_destroy(&s->idle);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

int http_server_start(const struct http_server_config *config, int listen_fd, struct http_server **ret,
                      struct err *err)
{
    struct http_server *s = NEW(struct http_server);
    s->config = *config;
    if (!s->config.fallback)
        s->config.fallback = not_found;
    if (s->config.idle_timeout_s <= 0)
        s->config.idle_timeout_s = DEFAULT_IDLE_TIMEOUT_S;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&s->idle, &attributes);
    pthread_condattr_destroy(&attributes);
    s->workers =
        workers_new((size_t)(config->max_requests > 0 ? config->max_requests : DEFAULT_MAX_REQUESTS));
    s->daemon = start_daemon(s, listen_fd);
    if (!s->daemon) {
        server_free(s);
        close(listen_fd);
        return err_set(err, ERR_SYSTEM,
                       "start the HTTP server: libmicrohttpd refused (out of threads or descriptors?)");
    }
    *ret = s;
    return 0;
}

/* True when no request is in progress any more. */
static bool wait_idle(struct http_server *s, int ms)
{
    int64_t until = time_monotonic_ns() + ms * NS_PER_MS;
    struct timespec at = {.tv_sec = until / NS_PER_S, .tv_nsec = until % NS_PER_S};
    pthread_mutex_lock(&s->lock);
    int r = 0;
    while (s->requests && r == 0)
        r = pthread_cond_timedwait(&s->idle, &s->lock, &at);
    bool idle = !s->requests;
    pthread_mutex_unlock(&s->lock);
    return idle;
}

static void cut_requests(struct http_server *s)
{
    pthread_mutex_lock(&s->lock);
    s->cut = true;
    for (struct http_request *q = s->requests; q; q = q->next) {
        pthread_mutex_lock(&q->lock);
        q->cut = true;
        if (!q->detached)
            shutdown(q->socket, SHUT_RDWR);
        pthread_cond_broadcast(&q->changed);
        pthread_mutex_unlock(&q->lock);
    }
    pthread_mutex_unlock(&s->lock);
}

bool http_server_stop(struct http_server *s, int grace_ms)
{
    if (!s)
        return true;
    int listen_fd = MHD_quiesce_daemon(s->daemon);
    close_fd(listen_fd);
    if (!wait_idle(s, grace_ms)) {
        cut_requests(s);
        if (!wait_idle(s, CUT_WAIT_MS)) {
            /* Its thread still uses the server, which must therefore stay. */
            log_warning("http: a request in progress does not end; leaving it behind");
            return false;
        }
    }
    MHD_stop_daemon(s->daemon);
    server_free(s);
    return true;
}
