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
    if (r == 0 && api__version(q) < 1052)
        json_object_del(doc, "Status");
    if (r == 0)
        http_reply_json(q, 200, doc);
    return r;
}

static void reply_created(struct http_request *q, const char *id, const json_t *warning)
{
    http_reply_json(q, 201,
                    json_pack("{s:s, s:s}", "Id", id, "Warning",
                              json_is_string(warning) ? json_string_value(warning) : ""));
}

static int create_of_swarm(struct http_request *q, struct api *a, const json_t *body, struct err *err)
{
    _cleanup_json_ json_t *warning = NULL;
    _cleanup_free_ char *id = NULL;
    int r = cluster_network_create(a->cluster, body, &id, &warning, err);
    if (r == 0)
        reply_created(q, id, warning);
    return r;
}

int api_swarm_network_create(struct http_request *q, void *context, struct err *err)
{
    _cleanup_json_ json_t *body = NULL;
    int r = api__docker_body(q, false, &body, err);
    return r == 0 ? create_of_swarm(q, context, body, err) : r;
}

int api_network_create(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_json_ json_t *body = NULL, *warning = NULL;
    _cleanup_free_ char *id = NULL;
    int r = api__docker_body(q, false, &body, err);
    if (r < 0)
        return r;
    /* From 1.44 on a name is always taken only once. */
    if (api__version(q) >= 1044 && json_is_object(body))
        json_object_set_new(body, "CheckDuplicate", json_true());
    bool of_swarm = str_eq(json_str(body, "Driver"), "overlay") || str_eq(json_str(body, "Scope"), "swarm");
    if (of_swarm && cluster_elsewhere(a->cluster))
        return api__pass_on(q, a, "POST", "/drover/networks", body, err);
    if (of_swarm && cluster_active(a->cluster))
        return create_of_swarm(q, a, body, err);
    r = engine_network_create(a->engine, body, &id, &warning, err);
    if (r == 0)
        reply_created(q, id, warning);
    return r;
}

static int remove_any(struct http_request *q, struct api *a, struct err *err)
{
    int r = cluster_network_remove(a->cluster, http_param(q, "id"), api__gone, q, err);
    if (r == 0)
        http_reply_empty(q, 204);
    return r;
}

static bool is_of_swarm(struct api *a, const char *ref, char **ret_id)
{
    _cleanup_json_ json_t *shown = NULL;
    if (engine_network_inspect(a->engine, ref, &shown, &(struct err){0}) < 0 ||
        !str_eq(json_str(shown, "Scope"), "swarm"))
        return false;
    *ret_id = mem_strdup(json_str(shown, "Id"));
    return true;
}

/* This machine's own networks are nothing that another may remove. */
int api_swarm_network_remove(struct http_request *q, void *context, struct err *err)
{
    _cleanup_free_ char *id = NULL;
    if (!is_of_swarm(context, http_param(q, "id"), &id))
        return err_set(err, ERR_NOT_FOUND, "network %s not found", http_param(q, "id"));
    return remove_any(q, context, err);
}

int api_network_remove(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_free_ char *id = NULL;
    if (!cluster_elsewhere(a->cluster) || !is_of_swarm(a, http_param(q, "id"), &id))
        return remove_any(q, a, err);
    _cleanup_free_ char *target = str_printf("/drover/networks/%s", id);
    return api__pass_on(q, a, "DELETE", target, NULL, err);
}

static int change_connection(struct http_request *q, struct api *a,
                             int (*change)(struct engine *, const char *, const json_t *, struct err *),
                             struct err *err)
{
    _cleanup_json_ json_t *body = NULL;
    int r = api__docker_body(q, false, &body, err);
    if (r == 0 && api__version(q) < 1048)
        json_object_del(json_object_get(body, "EndpointConfig"), "GwPriority");
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
