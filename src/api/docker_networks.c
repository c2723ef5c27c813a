#include "api/api_priv.h"

int api_network_list(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_json_ json_t *filters = NULL;
    json_t *list;
    int r = api__filters(q, &filters, err);
    if (r == 0)
        r = engine_network_list(a->engine, filters, &list, err);
    if (r == 0)
        http_reply_json(q, 200, list);
    return r;
}

/* Changes nothing here, and is a boolean as Go has it. */
static int check_verbose(const char *text, struct err *err)
{
    static const char *const words[] = {"1", "t", "T",     "TRUE",  "true",  "True", "0",
                                        "f", "F", "FALSE", "false", "False", NULL};
    return str_empty(text) || strv_has((char *const *)words, text)
               ? 0
               : err_set(err, ERR_INVALID, "invalid value for verbose: \"%.50s\"", text);
}

int api_network_inspect(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    const char *scope = http_query(q, "scope");
    if (!str_empty(scope) && !str_eq(scope, "local") && !str_eq(scope, "swarm"))
        return err_set(err, ERR_NOT_FOUND, "network %s not found", http_param(q, "id"));
    json_t *doc;
    int r = check_verbose(http_query(q, "verbose"), err);
    if (r < 0)
        return r;
    r = engine_network_inspect(a->engine, http_param(q, "id"), &doc, err);
    if (r == 0 && !str_empty(scope) && !str_eq(scope, json_str(doc, "Scope"))) {
        json_decref(doc);
        r = err_set(err, ERR_NOT_FOUND, "network %s not found", http_param(q, "id"));
    }
    if (r == 0)
        http_reply_json(q, 200, doc);
    return r;
}

int api_network_create(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_json_ json_t *body = NULL, *warning = NULL;
    _cleanup_free_ char *id = NULL;
    int r = api__docker_body(q, false, &body, err);
    /* From 1.44 on a name is always taken only once. */
    if (r == 0 && api__version(q) >= 1044 && json_is_object(body))
        json_object_set_new(body, "CheckDuplicate", json_true());
    bool of_swarm = str_eq(json_str(body, "Driver"), "overlay") || str_eq(json_str(body, "Scope"), "swarm");
    if (r == 0)
        r = of_swarm && cluster_active(a->cluster)
                ? cluster_network_create(a->cluster, body, &id, &warning, err)
                : engine_network_create(a->engine, body, &id, &warning, err);
    if (r == 0)
        http_reply_json(q, 201,
                        json_pack("{s:s, s:s}", "Id", id, "Warning",
                                  json_is_string(warning) ? json_string_value(warning) : ""));
    return r;
}

int api_network_remove(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    int r = cluster_network_remove(a->cluster, http_param(q, "id"), api__gone, q, err);
    if (r == 0)
        http_reply_empty(q, 204);
    return r;
}

static int change_connection(struct http_request *q, struct api *a,
                             int (*change)(struct engine *, const char *, const json_t *, struct err *),
                             struct err *err)
{
    _cleanup_json_ json_t *body = NULL;
    int r = api__docker_body(q, false, &body, err);
    if (r == 0)
        r = change(a->engine, http_param(q, "id"), body, err);
    if (r == 0)
        http_reply_empty(q, 200);
    return r;
}

int api_network_connect(struct http_request *q, void *context, struct err *err)
{
    return change_connection(q, context, engine_network_connect, err);
}

int api_network_disconnect(struct http_request *q, void *context, struct err *err)
{
    return change_connection(q, context, engine_network_disconnect, err);
}

int api_network_prune(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_json_ json_t *filters = NULL;
    json_t *out;
    int r = api__filters(q, &filters, err);
    if (r == 0)
        r = engine_network_prune(a->engine, filters, &out, err);
    if (r == 0)
        cluster_networks_pruned(a->cluster);
    if (r == 0)
        http_reply_json(q, 200, out);
    return r;
}
