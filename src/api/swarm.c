/* Swarm mode: the swarm, its nodes, services, tasks, secrets and configs (src/cluster). */
#include "api/api_priv.h"

/* --- The swarm --- */

int api_swarm_init(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_json_ json_t *body = NULL;
    _cleanup_free_ char *node = NULL;
    int r = api__docker_body(q, false, &body, err);
    if (r == 0)
        r = cluster_init(a->cluster, body, &node, err);
    if (r == 0)
        http_reply_json(q, 200, json_string(node));
    return r;
}

int api_swarm_join(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_json_ json_t *body = NULL;
    int r = api__docker_body(q, false, &body, err);
    if (r == 0)
        r = cluster_join(a->cluster, body, err);
    if (r == 0)
        http_reply_empty(q, 200);
    return r;
}

int api_swarm_leave(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    int r = cluster_leave(a->cluster, http_query_bool(q, "force", false), err);
    if (r == 0)
        http_reply_empty(q, 200);
    return r;
}

int api_swarm_inspect(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    json_t *out;
    int r = cluster_inspect(a->cluster, &out, err);
    if (r == 0)
        http_reply_json(q, 200, out);
    return r;
}

/* The version that a change is of, as Docker words its absence. */
static int get_version(struct http_request *q, const char *what, int64_t *ret, struct err *err)
{
    const char *text = http_query(q, "version");
    if (parse_i64(text ? text : "", 0, INT64_MAX, ret, NULL) < 0)
        return err_set(err, ERR_INVALID,
                       "invalid %s version '%.50s': strconv.ParseUint: parsing \"%.50s\": invalid syntax",
                       what, text ? text : "", text ? text : "");
    return 0;
}

int api_swarm_update(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_json_ json_t *body = NULL;
    int64_t version = 0;
    const struct cluster_rotate rotate = {.worker_token = http_query_bool(q, "rotateWorkerToken", false),
                                          .manager_token = http_query_bool(q, "rotateManagerToken", false),
                                          .unlock_key = http_query_bool(q, "rotateManagerUnlockKey", false)};
    int r = api__docker_body(q, false, &body, err);
    if (r == 0)
        r = get_version(q, "swarm", &version, err);
    if (r == 0)
        r = cluster_update(a->cluster, version, &rotate, body, err);
    if (r == 0)
        http_reply_empty(q, 200);
    return r;
}

int api_swarm_unlock_key(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_free_ char *key = NULL;
    int r = cluster_unlock_key(a->cluster, &key, err);
    if (r == 0)
        http_reply_json(q, 200, json_pack("{s:s}", "UnlockKey", key));
    return r;
}

int api_swarm_unlock(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_json_ json_t *body = NULL;
    const char *key = "";
    int r = api__docker_body(q, false, &body, err);
    if (r == 0)
        r = json_get_string(body, "", "UnlockKey", &key, err);
    if (r == 0)
        r = cluster_unlock(a->cluster, key, err);
    if (r == 0)
        http_reply_empty(q, 200);
    return r;
}

/* A certificate for who uses the cluster as one engine; the key stays with who asks. */
int api_swarm_client(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_json_ json_t *body = NULL;
    _cleanup_free_ char *certificate = NULL, *authority = NULL;
    const char *name = "", *csr = "";
    int r = api__docker_body(q, false, &body, err);
    if (r == 0)
        r = json_get_string(body, "", "Name", &name, err);
    if (r == 0)
        r = json_get_string(body, "", "CSR", &csr, err);
    if (r == 0)
        r = cluster_client(a->cluster, name, csr, &certificate, &authority, err);
    if (r == 0)
        http_reply_json(q, 201, json_pack("{s:s, s:s}", "Certificate", certificate, "Authority", authority));
    return r;
}

int api_swarm_client_list(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    json_t *out;
    int r = cluster_client_list(a->cluster, &out, err);
    if (r == 0)
        http_reply_json(q, 200, out);
    return r;
}

int api_swarm_client_revoke(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    int r = cluster_client_revoke(a->cluster, http_param(q, "name"), err);
    if (r == 0)
        http_reply_empty(q, 204);
    return r;
}

/* --- What all kinds of objects share --- */

struct kind {
    enum cluster_kind kind;
    const char *name;
    const char *filters[12]; /* those that a list knows */
};
static const struct kind kinds[] = {
    [CLUSTER_NODE] = {CLUSTER_NODE, "node", {"id", "label", "membership", "name", "node.label", "role"}},
    [CLUSTER_SERVICE] = {CLUSTER_SERVICE, "service", {"id", "label", "mode", "name", "runtime"}},
    [CLUSTER_TASK] = {CLUSTER_TASK,
                      "task",
                      {"desired-state", "id", "label", "name", "node", "runtime", "service", "_up-to-date"}},
    [CLUSTER_SECRET] = {CLUSTER_SECRET, "secret", {"id", "label", "name", "names"}},
    [CLUSTER_CONFIG] = {CLUSTER_CONFIG, "config", {"id", "label", "name", "names"}},
};

static int list(struct http_request *q, struct api *a, enum cluster_kind kind, struct err *err)
{
    _cleanup_json_ json_t *filters = NULL;
    json_t *out;
    int r = api__filters(q, &filters, err);
    if (r == 0)
        r = api__filters_known(filters, kinds[kind].filters, err);
    if (r == 0)
        r = cluster_list(a->cluster, kind, filters, http_query_bool(q, "status", false), &out, err);
    if (r == 0)
        http_reply_json(q, 200, out);
    return r;
}

static int inspect(struct http_request *q, struct api *a, enum cluster_kind kind, struct err *err)
{
    json_t *out;
    int r = cluster_get(a->cluster, kind, http_param(q, "id"), &out, err);
    if (r == 0)
        http_reply_json(q, 200, out);
    return r;
}

/* Fields that came with a version are nothing before it. */
static int service_body(struct http_request *q, json_t **ret, struct err *err)
{
    int r = api__docker_body(q, false, ret, err);
    if (r < 0 || api__version(q) >= 1052)
        return r;
    json_t *resources = json_object_get(json_object_get(*ret, "TaskTemplate"), "Resources");
    json_object_del(resources, "SwapBytes");
    json_object_del(resources, "MemorySwappiness");
    return 0;
}

static int create(struct http_request *q, struct api *a, enum cluster_kind kind, struct err *err)
{
    _cleanup_json_ json_t *body = NULL;
    _cleanup_free_ char *id = NULL;
    int r = kind == CLUSTER_SERVICE ? service_body(q, &body, err) : api__docker_body(q, false, &body, err);
    if (r == 0)
        r = cluster_create(a->cluster, kind, body, http_header(q, "X-Registry-Auth"), &id, err);
    if (r == 0)
        http_reply_json(q, 201, json_pack("{s:s}", "ID", id));
    return r;
}

static int change(struct http_request *q, struct api *a, enum cluster_kind kind, struct err *err)
{
    _cleanup_json_ json_t *body = NULL;
    int64_t version = 0;
    int r = api__docker_body(q, false, &body, err);
    if (r == 0)
        r = get_version(q, kinds[kind].name, &version, err);
    if (r == 0)
        r = cluster_change(a->cluster, kind, http_param(q, "id"), version, body, err);
    if (r == 0)
        http_reply_empty(q, 200);
    return r;
}

static int remove_object(struct http_request *q, struct api *a, enum cluster_kind kind, int status,
                         struct err *err)
{
    int r = cluster_remove(a->cluster, kind, http_param(q, "id"), http_query_bool(q, "force", false), err);
    if (r == 0)
        http_reply_empty(q, status);
    return r;
}

#define OBJECT_HANDLER(name, call)                                                                           \
    int name(struct http_request *q, void *context, struct err *err)                                         \
    {                                                                                                        \
        return call;                                                                                         \
    }
OBJECT_HANDLER(api_node_list, list(q, context, CLUSTER_NODE, err))
OBJECT_HANDLER(api_node_inspect, inspect(q, context, CLUSTER_NODE, err))
OBJECT_HANDLER(api_node_update, change(q, context, CLUSTER_NODE, err))
OBJECT_HANDLER(api_node_remove, remove_object(q, context, CLUSTER_NODE, 200, err))
OBJECT_HANDLER(api_service_list, list(q, context, CLUSTER_SERVICE, err))
OBJECT_HANDLER(api_service_inspect, inspect(q, context, CLUSTER_SERVICE, err))
OBJECT_HANDLER(api_service_create, create(q, context, CLUSTER_SERVICE, err))
OBJECT_HANDLER(api_service_remove, remove_object(q, context, CLUSTER_SERVICE, 200, err))
OBJECT_HANDLER(api_task_list, list(q, context, CLUSTER_TASK, err))
OBJECT_HANDLER(api_task_inspect, inspect(q, context, CLUSTER_TASK, err))
OBJECT_HANDLER(api_secret_list, list(q, context, CLUSTER_SECRET, err))
OBJECT_HANDLER(api_secret_inspect, inspect(q, context, CLUSTER_SECRET, err))
OBJECT_HANDLER(api_secret_create, create(q, context, CLUSTER_SECRET, err))
OBJECT_HANDLER(api_secret_update, change(q, context, CLUSTER_SECRET, err))
OBJECT_HANDLER(api_secret_remove, remove_object(q, context, CLUSTER_SECRET, 204, err))
OBJECT_HANDLER(api_config_list, list(q, context, CLUSTER_CONFIG, err))
OBJECT_HANDLER(api_config_inspect, inspect(q, context, CLUSTER_CONFIG, err))
OBJECT_HANDLER(api_config_create, create(q, context, CLUSTER_CONFIG, err))
OBJECT_HANDLER(api_config_update, change(q, context, CLUSTER_CONFIG, err))
OBJECT_HANDLER(api_config_remove, remove_object(q, context, CLUSTER_CONFIG, 204, err))

/* --- What is a service's own --- */

int api_service_update(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_json_ json_t *body = NULL;
    const char *rollback = http_query(q, "rollback");
    struct cluster_service_update u = {.auth = http_header(q, "X-Registry-Auth")};
    int r = service_body(q, &body, err);
    if (r == 0)
        r = get_version(q, "service", &u.version, err);
    if (r == 0 && !str_empty(rollback) && !str_eq(rollback, "previous") && !str_eq(rollback, "none"))
        r = err_set(err, ERR_INVALID, "unrecognized rollback option %.50s", rollback);
    u.spec = body;
    u.rollback = str_eq(rollback, "previous");
    if (r == 0)
        r = cluster_service_update(a->cluster, http_param(q, "id"), &u, err);
    if (r == 0)
        http_reply_json(q, 200, json_pack("{s:n}", "Warnings"));
    return r;
}
