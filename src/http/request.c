/* The handler's view of the request: parameters, headers, body. */
#include "http/server_priv.h"

#include "base/json.h"
#include "base/timeutil.h"

#include <poll.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

size_t http__ring_put(struct http_ring *r, const void *bytes, size_t n)
{
    if (!r->data)
        r->data = mem_new(r->capacity ? r->capacity : HTTP_RING_BYTES);
    size_t capacity = r->capacity ? r->capacity : HTTP_RING_BYTES;
    size_t put = MIN(n, capacity - r->len);
    size_t end = (r->start + r->len) % capacity;
    size_t first = MIN(put, capacity - end);
    memcpy(r->data + end, bytes, first);
    memcpy(r->data, (const char *)bytes + first, put - first);
    r->len += put;
    return put;
}

size_t http__ring_get(struct http_ring *r, void *buffer, size_t n)
{
    size_t got = MIN(n, r->len);
    if (got == 0)
        return 0;
    size_t capacity = r->capacity ? r->capacity : HTTP_RING_BYTES;
    size_t first = MIN(got, capacity - r->start);
    memcpy(buffer, r->data + r->start, first);
    memcpy((char *)buffer + first, r->data, got - first);
    r->len -= got;
    r->start = r->len ? (r->start + got) % capacity : 0;
    return got;
}

struct http_request *http__request_new(struct http_server *s, const char *target)
{
    struct http_request *q = NEW(struct http_request);
    q->server = s;
    q->refs = 1;
    q->socket = -EBADF;
    q->hijacked_fd = -EBADF;
    q->target = mem_strdup(target);
    pthread_mutex_init(&q->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&q->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    return q;
}

void http__request_unref(struct http_request *q)
{
    pthread_mutex_lock(&q->lock);
    int left = --q->refs;
    pthread_mutex_unlock(&q->lock);
    if (left)
        return;
    if (q->response)
        MHD_destroy_response(q->response);
    for (size_t i = 0; i < q->param_count; i++)
        free(q->params[i].value);
    strv_free(q->query_names);
    strv_free(q->query_values);
    strv_free(q->reply_headers);
    free(q->body.data);
    free(q->out.data);
    str_free(&q->early);
    free(q->method);
    free(q->target);
    free(q->path);
    free(q->decoded_path);
    pthread_cond_destroy(&q->changed);
    pthread_mutex_destroy(&q->lock);
    free(q);
}

void http__resume(struct http_request *q)
{
    if (q->suspended && !q->detached) {
        q->suspended = false;
        MHD_resume_connection(q->connection);
    }
}

void http__discard_body(struct http_request *q)
{
    if (q->body_end || q->body_discard)
        return;
    q->body_discard = true;
    q->body.len = 0;
    http__resume(q);
}

const char *http_method(struct http_request *q)
{
    return q->method;
}

const char *http_path(struct http_request *q)
{
    return q->decoded_path;
}

int http_api_version(struct http_request *q)
{
    return q->api_version;
}

const char *http_param(struct http_request *q, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < q->param_count; i++) {
        const char *have = q->params[i].name;
        if (strncmp(have, name, n) == 0 && (have[n] == '}' || have[n] == '.'))
            return q->params[i].value;
    }
    must(!"a parameter that the route's pattern does not have");
    return "";
}

const char *http_query(struct http_request *q, const char *name)
{
    for (size_t i = 0; q->query_names && q->query_names[i]; i++)
        if (strcmp(q->query_names[i], name) == 0)
            return q->query_values[i];
    return NULL;
}

bool http_query_bool(struct http_request *q, const char *name, bool fallback)
{
    const char *v = http_query(q, name);
    if (!v)
        return fallback;
    static const char *const negative[] = {"", "0", "no", "false", "none"};
    for (size_t i = 0; i < ARRAY_SIZE(negative); i++)
        if (strcasecmp(v, negative[i]) == 0)
            return false;
    return true;
}

char **http_query_all(struct http_request *q, const char *name)
{
    char **list = NULL;
    for (size_t i = 0; q->query_names && q->query_names[i]; i++)
        if (strcmp(q->query_names[i], name) == 0)
            strv_add(&list, q->query_values[i]);
    return list;
}

const char *http_header(struct http_request *q, const char *name)
{
    pthread_mutex_lock(&q->lock);
    const char *v = q->detached ? NULL : MHD_lookup_connection_value(q->connection, MHD_HEADER_KIND, name);
    pthread_mutex_unlock(&q->lock);
    return v;
}

bool http_has_body(struct http_request *q)
{
    return q->has_body;
}

static int body_failure(struct http_request *q, struct err *err)
{
    if (q->body_too_large)
        return err_set(err, ERR_LIMIT, "request body is larger than the %lld bytes allowed",
                       (long long)q->server->config.max_body_bytes);
    if (!q->body_end)
        return err_set(err, ERR_CANCELLED, "the client went away before its request was complete");
    return 0;
}

/* libmicrohttpd 0.9.75 waits for the rest of a body even when the client has closed its sending side. Whoever
 * waits for that body looks once a second, and makes it end. With the lock held. */
static void wait_for_body(struct http_request *q)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec++;
    if (pthread_cond_timedwait(&q->changed, &q->lock, &until) == 0 || q->detached || q->body_end)
        return;
    struct pollfd p = {.fd = q->socket, .events = POLLRDHUP};
    int unread = 0;
    if (q->body.len == 0 && poll(&p, 1, 0) > 0 && ioctl(q->socket, FIONREAD, &unread) == 0 && unread == 0) {
        q->body_discard = true;
        shutdown(q->socket, SHUT_RDWR);
    }
}

ssize_t http_body_read(struct http_request *q, void *buffer, size_t n, struct err *err)
{
    pthread_mutex_lock(&q->lock);
    while (q->body.len == 0 && !q->body_end && !q->body_discard && !q->detached && !q->cut)
        wait_for_body(q);
    ssize_t got = (ssize_t)http__ring_get(&q->body, buffer, n);
    if (got == 0 && n > 0)
        got = body_failure(q, err);
    /* Below half, so that the two threads do not take turns at every few bytes. */
    else if (!q->body_end && q->body.len < HTTP_RING_BYTES / 2)
        http__resume(q);
    pthread_mutex_unlock(&q->lock);
    return got;
}

bool http_body_complete(struct http_request *q)
{
    pthread_mutex_lock(&q->lock);
    bool complete = q->body_end;
    pthread_mutex_unlock(&q->lock);
    return complete;
}

void http_body_discard(struct http_request *q)
{
    pthread_mutex_lock(&q->lock);
    http__discard_body(q);
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
}

int http_body_json(struct http_request *q, size_t max, json_t **ret, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    for (;;) {
        char *room = str_reserve(&text, 16384);
        ssize_t got = http_body_read(q, room, 16384, err);
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

/* A unix socket reports a peer that only closed its sending side (POLLRDHUP) apart from one that is gone
 * (POLLHUP). TCP cannot tell them apart; there the end of its sending counts as gone, as it does for other
 * servers. */
bool http_peer_gone(struct http_request *q)
{
    pthread_mutex_lock(&q->lock);
    bool gone = q->detached || q->cut;
    if (!gone) {
        struct pollfd p = {.fd = q->socket, .events = POLLRDHUP};
        int want = POLLHUP | POLLERR | POLLNVAL | (q->is_unix ? 0 : POLLRDHUP);
        gone = poll(&p, 1, 0) > 0 && (p.revents & want);
    }
    pthread_mutex_unlock(&q->lock);
    return gone;
}

enum { GONE_POLL_MS = 250 };

bool http_sleep(struct http_request *q, int ms)
{
    int64_t until = time_monotonic_ns() + ms * NS_PER_MS;
    for (;;) {
        if (http_peer_gone(q))
            return true;
        int64_t now = time_monotonic_ns();
        if (now >= until)
            return false;
        int64_t next = MIN(until, now + GONE_POLL_MS * NS_PER_MS);
        struct timespec at = {.tv_sec = next / NS_PER_S, .tv_nsec = next % NS_PER_S};
        pthread_mutex_lock(&q->lock);
        while (!q->detached && !q->cut && pthread_cond_timedwait(&q->changed, &q->lock, &at) == 0)
            ;
        pthread_mutex_unlock(&q->lock);
    }
}

bool http_answered(struct http_request *q)
{
    return q->answered;
}
