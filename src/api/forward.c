/* Requests about the swarm that came to a node that does not lead it. */
#include "api/api_priv.h"

#include "http/client.h"

struct passing {
    struct http_request *q;
    bool begun;
};

static void on_head(void *context, int status, const char *type)
{
    struct passing *p = context;
    if (status >= 300)
        return;
    p->begun = true;
    http_stream_begin(p->q, status, *type ? type : "application/octet-stream");
}

static int on_bytes(void *context, const void *bytes, size_t n, struct err *err)
{
    struct passing *p = context;
    return http_stream_write(p->q, bytes, n, err);
}

static bool on_gone(void *context)
{
    struct passing *p = context;
    return http_peer_gone(p->q);
}

static int read_body(struct http_request *q, struct str *ret, struct err *err)
{
    while (http_has_body(q)) {
        char buffer[16 << 10];
        ssize_t n = http_body_read(q, buffer, sizeof(buffer), err);
        if (n <= 0)
            return (int)n;
        if (ret->len + (size_t)n > API_BODY_MAX)
            return err_set(err, ERR_LIMIT, "the body is larger than %d bytes", API_BODY_MAX);
        str_addn(ret, buffer, (size_t)n);
    }
    return 0;
}

static void add_header(struct http_request *q, char ***headers, const char *name)
{
    const char *value = http_header(q, name);
    if (value)
        strv_take(headers, str_printf("%s: %s", name, value));
}

static void answer(struct http_request *q, const struct http_response *r)
{
    const char *type = http_response_header(r, "content-type");
    if (r->body.len)
        http_reply_bytes(q, r->status, type ? type : "application/json", r->body.data, r->body.len);
    else
        http_reply_empty(q, r->status);
}

static int forward(struct http_request *q, struct api *a, struct err *err)
{
    const char *version = http_api_version_text(q), *query = http_raw_query(q);
    _cleanup_free_ char *target =
        str_printf("%s%s%s%s%s", *version ? "/v" : "", version, http_raw_path(q), *query ? "?" : "", query);
    _cleanup_str_ struct str body = STR_INIT;
    _cleanup_strv_ char **headers = NULL;
    struct passing p = {.q = q};
    struct http_response response = {0};
    add_header(q, &headers, "Content-Type");
    add_header(q, &headers, "X-Registry-Auth");
    int r = read_body(q, &body, err);
    if (r < 0)
        return r;
    struct cluster_forward f = {.method = http_method(q),
                                .target = target,
                                .headers = headers,
                                .body = body.len ? body.data : NULL,
                                .body_bytes = body.len,
                                .waits = http_route_kind(q) == HTTP_WAIT,
                                .context = &p,
                                .gone = on_gone};
    if (http_route_kind(q) == HTTP_FOLLOW) {
        f.head = on_head;
        f.bytes = on_bytes;
    }
    r = cluster_forward(a->cluster, &f, &response, err);
    if (r == 0 && !p.begun)
        answer(q, &response);
    else if (r == 0)
        http_stream_end(q);
    http_response_done(&response);
    return r;
}

int api__pass_on(struct http_request *q, struct api *a, const char *method, const char *target,
                 const json_t *body, struct err *err)
{
    _cleanup_free_ char *text = body ? json_format(body) : NULL;
    struct passing p = {.q = q};
    struct http_response response = {0};
    static char type[] = "Content-Type: application/json", *const headers[] = {type, NULL};
    const struct cluster_forward f = {.method = method,
                                      .target = target,
                                      .headers = headers,
                                      .body = text,
                                      .body_bytes = text ? strlen(text) : 0,
                                      .waits = http_route_kind(q) == HTTP_WAIT,
                                      .context = &p,
                                      .gone = on_gone};
    int r = cluster_forward(a->cluster, &f, &response, err);
    if (r == 0)
        answer(q, &response);
    http_response_done(&response);
    return r;
}

bool api__forward(struct http_request *q, struct api *a)
{
    struct err err = {0};
    if (!str_eq(http_route_needs(q), API_NEEDS_LEADER))
        return false;
    if (!cluster_elsewhere(a->cluster)) {
        if (!str_eq(http_method(q), "GET") || cluster_confirm(a->cluster, &err) == 0)
            return false;
        http_reply_err(q, &err);
        return true;
    }
    if (forward(q, a, &err) == 0 || err.code == ERR_CANCELLED)
        return true;
    if (http_answered(q))
        http_stream_abort(q);
    else
        http_reply_err(q, &err);
    return true;
}
