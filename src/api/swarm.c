/* What belongs to swarm mode and to plug-ins, as an engine answers that is in no swarm and has no plug-in:
 * clients ask, and go by the answer. What would make a swarm or a plug-in says that it is not done here. */
#include "api/api_priv.h"

int api_swarm_no_manager(struct http_request *q, void *context, struct err *err)
{
    _cleanup_json_ json_t *body = NULL;
    int r = str_eq(http_method(q), "POST") ? api__body(q, false, &body, err) : 0;
    return r < 0 ? r
                 : err_set(err, ERR_UNAVAILABLE,
                           "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm "
                           "join\" to "
                           "connect this node to swarm and try again.");
}

int api_swarm_logs(struct http_request *q, void *context, struct err *err)
{
    if (!http_query_bool(q, "stdout", false) && !http_query_bool(q, "stderr", false))
        return err_set(err, ERR_INVALID, "Bad parameters: you must choose at least one stream");
    return api_swarm_no_manager(q, context, err);
}

int api_swarm_leave(struct http_request *q, void *context, struct err *err)
{
    return err_set(err, ERR_UNAVAILABLE, "This node is not part of a swarm");
}

int api_swarm_join(struct http_request *q, void *context, struct err *err)
{
    _cleanup_json_ json_t *body = NULL;
    int r = api__body(q, false, &body, err);
    return r < 0 ? r : err_set(err, ERR_UNSUPPORTED, "swarm mode: not supported by Drover");
}

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
