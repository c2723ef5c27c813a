/* Plug-ins as an engine that manages none answers: they are started by others and found by their sockets. */
#include "api/api_priv.h"

int api_plugin_list(struct http_request *q, void *context, struct err *err)
{
    static const char *const known[] = {"capability", "enabled", NULL};
    _cleanup_json_ json_t *filters = NULL;
    int r = api__filters(q, &filters, err);
    if (r == 0)
        r = api__filters_known(filters, known, err);
    if (r == 0)
        http_reply_json(q, 200, json_array());
    return r;
}

int api_plugin_missing(struct http_request *q, void *context, struct err *err)
{
    return err_set(err, ERR_NOT_FOUND, "plugin \"%s\" not found", http_param(q, "name"));
}

int api_plugin_set(struct http_request *q, void *context, struct err *err)
{
    _cleanup_json_ json_t *body = NULL;
    int r = http_body_json(q, API_BODY_MAX, &body, err);
    if (r == 0 && !body)
        r = err_set(err, ERR_INVALID, "invalid JSON: got EOF while reading request body");
    return r < 0 ? r : api_plugin_missing(q, context, err);
}

int api_plugin_install(struct http_request *q, void *context, struct err *err)
{
    return err_set(err, ERR_UNSUPPORTED, "managing plug-ins: not supported by Drover");
}

/* No build here has an id, since only BuildKit's have. */
int api_build_cancel(struct http_request *q, void *context, struct err *err)
{
    if (str_empty(http_query(q, "id")))
        return err_set(err, ERR_INVALID, "build ID not provided");
    http_reply_empty(q, 200);
    return 0;
}
