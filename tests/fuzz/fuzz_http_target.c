/* A request's target, as any client may send it: taken apart, and matched with routes of every form. */
#include "http/server_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct http_route routes[] = {
    {"GET", "/plain"},
    {"GET", "/containers/{id}/json"},
    {"GET", "/images/{name...}/json"},
    {"GET", "/a/{x}/b/{y...}/c/{z}"},
    {"GET", "/images/{name...}"},
    {NULL, NULL},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_free_ char *target = mem_strndup((const char *)data, size);
    struct http_server server = {.fixed = STR_INIT};
    struct http_request *q = http__request_new(&server);
    q->target = target;
    q->method = "HEAD";
    if (http__target_parse(q, NULL) == 0) {
        const struct http_route *r = http__route_find(routes, q);
        for (size_t i = 0; i < q->param_count; i++)
            must(q->params[i].value[0]);
        must(r || q->param_count == 0);
        if (r && r == &routes[1])
            must(*http_param(q, "id"));
        must(strlen(http_path(q)) <= size);
        char **all = http_query_all(q, "a");
        must(!all == !http_query(q, "a"));
        strv_free(all);
        http_query_bool(q, "a", true);
    }
    http__request_free(q);
    return 0;
}
