#include "api/api_priv.h"

int api_volume_list(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_json_ json_t *filters = NULL;
    json_t *list;
    int r = api__filters(q, &filters, err);
    if (r == 0)
        r = engine_volume_list(a->engine, filters, &list, err);
    if (r == 0)
        http_reply_json(q, 200, list);
    return r;
}

int api_volume_inspect(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    json_t *doc;
    int r = engine_volume_inspect(a->engine, http_param(q, "name"), &doc, err);
    if (r == 0)
        http_reply_json(q, 200, doc);
    return r;
}

int api_volume_create(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_json_ json_t *body = NULL;
    json_t *doc;
    int r = api__docker_body(q, false, &body, err);
    if (r == 0 && !body)
        body = json_object(); /* an anonymous volume */
    if (r == 0)
        r = engine_volume_create(a->engine, body, &doc, err);
    if (r == 0)
        http_reply_json(q, 201, doc);
    return r;
}

int api_volume_remove(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    int r = engine_volume_remove(a->engine, http_param(q, "name"), http_query_bool(q, "force", false), err);
    if (r == 0)
        http_reply_empty(q, 204);
    return r;
}

int api_volume_prune(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_json_ json_t *filters = NULL;
    json_t *out;
    int r = api__filters(q, &filters, err);
    /* Before 1.42 named volumes went too. */
    if (r == 0 && api__version(q) < 1042) {
        if (!filters)
            filters = json_object();
        json_object_set_new(filters, "all", json_pack("[s]", "true"));
    }
    if (r == 0)
        r = engine_volume_prune(a->engine, filters, &out, err);
    if (r == 0)
        http_reply_json(q, 200, out);
    return r;
}
