/* The handler's view of the request: parameters, headers, its peer. */
#include "http/server_priv.h"

#include "base/timeutil.h"

#include <netdb.h>
#include <poll.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

struct http_request *http__request_new(struct http_server *s)
{
    struct http_request *q = NEW(struct http_request);
    q->server = s;
    q->wake_fd = -EBADF;
    q->method = q->target = "";
    pthread_mutex_init(&q->lock, NULL);
    return q;
}

void http__request_free(struct http_request *q)
{
    if (!q)
        return;
    for (size_t i = 0; i < q->param_count; i++)
        free(q->params[i].value);
    strv_free(q->query_names);
    strv_free(q->query_values);
    strv_free(q->reply_headers);
    str_free(&q->out);
    free(q->head_text);
    if (q->head)
        free(q->head->fields);
    free(q->head);
    free(q->path);
    free(q->decoded_path);
    free(q->version_text);
    close_fd(q->wake_fd);
    pthread_mutex_destroy(&q->lock);
    free(q);
}

const char *http_method(struct http_request *q)
{
    return q->method;
}

const char *http_path(struct http_request *q)
{
    return q->decoded_path;
}

const char *http_raw_path(struct http_request *q)
{
    return q->path;
}

const char *http_raw_query(struct http_request *q)
{
    const char *query = strchr(q->target, '?');
    return query ? query + 1 : "";
}

int http_api_version(struct http_request *q)
{
    return q->api_version;
}

const char *http_api_version_text(struct http_request *q)
{
    return q->version_text ? q->version_text : "";
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

const char *http_route_query(const struct http_request *q)
{
    return q->route && q->route->query ? q->route->query : "";
}

const char *http_route_needs(const struct http_request *q)
{
    return q->route && q->route->needs ? q->route->needs : "";
}

enum http_kind http_route_kind(const struct http_request *q)
{
    return q->route ? q->route->kind : HTTP_BRIEF;
}

void http_peer_address(struct http_request *q, char ret[HTTP_PEER_BYTES])
{
    struct sockaddr_storage at;
    socklen_t n = sizeof(at);
    *ret = '\0';
    if (!q->conn->is_unix && getpeername(q->conn->fd, (struct sockaddr *)&at, &n) == 0)
        getnameinfo((struct sockaddr *)&at, n, ret, HTTP_PEER_BYTES, NULL, 0, NI_NUMERICHOST);
}

void http_peer_certificate(struct http_request *q, struct http_certificate *ret)
{
    *ret = (struct http_certificate){.why = "shows no certificate"};
    if (q->conn->tls)
        http__tls_peer(q->conn->tls, ret);
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
    for (size_t i = 0; q->head && i < q->head->field_count; i++)
        if (strcasecmp(q->head->fields[i].name, name) == 0)
            return q->head->fields[i].value;
    return NULL;
}

bool http_wants_upgrade(struct http_request *q, const char *protocol)
{
    const char *have = http_header(q, "Upgrade");
    return have && (!protocol || strcasecmp(have, protocol) == 0);
}

bool http_has_body(struct http_request *q)
{
    return q->head && (q->head->chunked || q->head->content_length > 0);
}

/* A unix socket reports a peer that only closed its sending side (POLLRDHUP) apart from one that is gone
 * (POLLHUP). TCP cannot tell them apart; there the end of its sending counts as gone, as it does for other
 * servers. */
static bool gone_within(struct http_request *q, int timeout_ms)
{
    http_stream_flush(q);
    struct pollfd p = {.fd = q->conn->fd, .events = q->conn->is_unix ? 0 : POLLRDHUP};
    return q->broken || (poll(&p, 1, timeout_ms) > 0 && p.revents);
}

bool http_peer_gone(struct http_request *q)
{
    return gone_within(q, 0);
}

bool http_sleep(struct http_request *q, int ms)
{
    int64_t until = time_monotonic_ns() + ms * NS_PER_MS;
    for (;;) {
        int64_t left = until - time_monotonic_ns();
        if (gone_within(q, left > 0 ? (int)((left + NS_PER_MS - 1) / NS_PER_MS) : 0))
            return true;
        if (left <= 0)
            return false;
    }
}

bool http_answered(struct http_request *q)
{
    return q->answered;
}
