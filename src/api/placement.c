/* /drover/services: a service's kept versions. /drover/explain, /drover/plan, /drover/strategies: where tasks
 * go and why (src/cluster); `drover explain`, `drover plan` and `drover strategy` are their clients.
 * /drover/rebalance: how many of them move when nodes have come; /drover/health: which nodes are well. */
#include "api/api_priv.h"

static int answer(struct http_request *q, int r, json_t *out)
{
    if (r == 0)
        http_reply_json(q, 200, out);
    return r;
}

int api_explain(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    json_t *out = NULL;
    int r = cluster_explain(a->cluster, http_param(q, "ref"), &out, err);
    return answer(q, r, out);
}

int api_plan(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    json_t *out = NULL;
    _cleanup_json_ json_t *body = NULL;
    int r = api__body(q, false, &body, err);
    if (r == 0)
        r = cluster_plan(a->cluster, body, &out, err);
    return answer(q, r, out);
}

int api_strategy_list(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    json_t *out = NULL;
    int r = cluster_strategy_list(a->cluster, &out, err);
    return answer(q, r, out);
}

int api_strategy_get(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_str_ struct str text = STR_INIT;
    int r = cluster_strategy_get(a->cluster, http_param(q, "name"), &text, err);
    return answer(q, r,
                  r == 0 ? json_pack("{s:s, s:s}", "Name", http_param(q, "name"), "Script", str_get(&text))
                         : NULL);
}

int api_strategy_put(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_json_ json_t *body = NULL;
    const char *text = "";
    int r = api__body(q, false, &body, err);
    if (r == 0)
        r = json_get_string(body, "", "Script", &text, err);
    if (r == 0)
        r = cluster_strategy_put(a->cluster, http_param(q, "name"), text, strlen(text), err);
    if (r == 0)
        http_reply_empty(q, 204);
    return r;
}

int api_strategy_remove(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    int r = cluster_strategy_remove(a->cluster, http_param(q, "name"), err);
    if (r == 0)
        http_reply_empty(q, 204);
    return r;
}

int api_strategy_choose(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_json_ json_t *body = NULL;
    const char *name = "";
    int r = api__body(q, false, &body, err);
    if (r == 0)
        r = json_get_string(body, "", "Default", &name, err);
    if (r == 0)
        r = cluster_strategy_choose(a->cluster, name, err);
    if (r == 0)
        http_reply_empty(q, 204);
    return r;
}

int api_rebalance_get(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    int64_t budget = 0;
    int r = cluster_rebalance_get(a->cluster, &budget, err);
    return answer(q, r, r == 0 ? json_pack("{s:I}", "Budget", (json_int_t)budget) : NULL);
}

int api_rebalance_set(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_json_ json_t *body = NULL;
    int64_t budget = -1;
    int r = api__body(q, false, &body, err);
    if (r == 0)
        r = json_get_i64(body, "", "Budget", &budget, err);
    if (r == 0)
        r = cluster_rebalance_set(a->cluster, budget, err);
    if (r == 0)
        http_reply_empty(q, 204);
    return r;
}

int api_health_get(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    json_t *out = NULL;
    int r = cluster_health_get(a->cluster, &out, err);
    return answer(q, r, out);
}

int api_health_set(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_json_ json_t *body = NULL;
    const char *limits = "";
    int r = api__body(q, false, &body, err);
    if (r == 0)
        r = json_get_string(body, "", "Limits", &limits, err);
    if (r == 0)
        r = cluster_health_set(a->cluster, limits, err);
    if (r == 0)
        http_reply_empty(q, 204);
    return r;
}

int api_service_versions(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    json_t *out = NULL;
    int r = cluster_service_versions(a->cluster, http_param(q, "id"), &out, err);
    return answer(q, r, out);
}

int api_service_rollback(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_json_ json_t *body = NULL;
    int64_t version = 0;
    int r = api__body(q, false, &body, err);
    if (r == 0)
        r = json_get_i64(body, "", "Version", &version, err);
    if (r == 0 && version < 1)
        r = err_set(err, ERR_INVALID, "\"Version\" must be the number of a kept version");
    if (r == 0)
        r = cluster_service_rollback(a->cluster, http_param(q, "id"), version, err);
    if (r == 0)
        http_reply_empty(q, 204);
    return r;
}
