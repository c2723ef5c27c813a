/* Containers: what is asked and answered at once. Streams are in docker_streams.c. */
#include "api/api_priv.h"

static int reply(struct http_request *q, int r, int status, json_t *body)
{
    if (r < 0)
        return r;
    if (body)
        http_reply_json(q, status, body);
    else
        http_reply_empty(q, status);
    return 0;
}

int api_container_list(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    int64_t limit = 0;
    _cleanup_json_ json_t *filters = NULL;
    int r = api__query_i64(q, "limit", -1, INT32_MAX, &limit, err);
    if (r == 0)
        r = api__filters(q, &filters, err);
    if (r < 0)
        return r;
    /* A limit counts containers in any state. */
    bool all = http_query_bool(q, "all", false) || limit > 0;
    bool size = http_query_bool(q, "size", false);
    _cleanup_str_ struct str text = STR_INIT;
    if (!size && json_object_size(filters) == 0 &&
        engine_container_list_text(a->engine, all, (int)MAX(limit, 0), &text)) {
        http_reply_bytes(q, 200, "application/json", text.data, text.len);
        return 0;
    }
    json_t *list = NULL;
    r = engine_container_list(a->engine, all, (int)MAX(limit, 0), size, filters, &list, err);
    return reply(q, r, 200, list);
}

int api_container_create(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_json_ json_t *body = NULL;
    int r = api__docker_body(q, false, &body, err);
    if (r < 0)
        return r;
    unsigned flags;
    const char *name = http_query(q, "name"), *platform = http_query(q, "platform");
    _cleanup_free_ char *id = NULL;
    _cleanup_json_ json_t *warnings = NULL, *own = json_array();
    r = api__fit_create(body, api__shown_version(q), &flags, own, err);
    if (r == 0)
        r = engine_container_create(a->engine, str_empty(name) ? NULL : name, body,
                                    str_empty(platform) ? NULL : platform, flags, &id, &warnings, err);
    if (r < 0)
        return r;
    if (!warnings)
        warnings = json_array();
    json_array_extend(warnings, own);
    http_reply_json(q, 201, json_pack("{s:s, s:O}", "Id", id, "Warnings", warnings));
    return 0;
}

/* Before 1.20 a container's limits were fields of Config too, and before 1.21 its volume driver. */
static void add_old_fields(json_t *doc, int version)
{
    static const struct {
        const char *name, *from;
    } fields[] = {
        {"VolumeDriver", "VolumeDriver"}, {"Memory", "Memory"},     {"MemorySwap", "MemorySwap"},
        {"CpuShares", "CpuShares"},       {"Cpuset", "CpusetCpus"},
    };
    const json_t *host = json_object_get(doc, "HostConfig");
    _cleanup_json_ json_t *config = json_copy(json_object_get(doc, "Config"));
    for (size_t i = 0; i < (version < 1020 ? ARRAY_SIZE(fields) : 1); i++)
        json_object_set(config, fields[i].name, json_object_get(host, fields[i].from));
    json_object_set(doc, "Config", config);
}

int api_container_inspect(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    const char *ref = http_param(q, "id");
    int version = api__shown_version(q), r;
    bool sizes = http_query_bool(q, "size", false), old = version < 1021;
    unsigned flags =
        (version < 1045 ? ENGINE_INSPECT_ALIAS_IDS : 0) | (version < 1052 ? ENGINE_INSPECT_REPEATED : 0);
    if (sizes || old) {
        json_t *doc = NULL;
        r = engine_container_inspect(a->engine, ref, flags | (sizes ? ENGINE_INSPECT_SIZES : 0), &doc, err);
        if (r == 0 && old)
            add_old_fields(doc, version);
        return reply(q, r, 200, doc);
    }
    _cleanup_str_ struct str text = STR_INIT;
    r = engine_container_inspect_text(a->engine, ref, flags, &text, err);
    if (r == 0)
        http_reply_bytes(q, 200, "application/json", text.data, text.len);
    return r;
}

/* "{}" and "null" are nothing, of whatever content type. */
static int refuse_start_body(struct http_request *q, struct err *err)
{
    char bytes[8];
    size_t have = 0;
    ssize_t n;
    while (have < sizeof(bytes) && (n = http_body_read(q, bytes + have, sizeof(bytes) - have, err)) != 0) {
        if (n < 0)
            return (int)n;
        have += (size_t)n;
    }
    if (have < sizeof(bytes))
        return 0;
    return err_set(
        err, ERR_INVALID,
        "starting container with non-empty request body was deprecated since API v1.22 and removed "
        "in v1.24");
}

int api_container_start(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    int r = refuse_start_body(q, err);
    if (r < 0)
        return r;
    r = engine_container_start(a->engine, http_param(q, "id"), err);
    if (r == 0)
        engine_container_await_port(a->engine, http_param(q, "id"));
    return reply(q, r, 204, NULL);
}

static int stop_arguments(struct http_request *q, int *ret_timeout_s, const char **ret_signal,
                          struct err *err)
{
    /* Docker's -1 waits for ever. */
    int64_t t = INT64_MIN;
    int r = api__query_i64(q, "t", -1, INT32_MAX, &t, err);
    const char *signal = http_query(q, "signal");
    *ret_timeout_s = t == INT64_MIN ? -1 : t < 0 ? INT32_MAX : (int)t;
    *ret_signal = str_empty(signal) ? NULL : signal;
    return r;
}

int api_container_stop(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    int timeout_s;
    const char *signal;
    int r = stop_arguments(q, &timeout_s, &signal, err);
    if (r == 0)
        r = engine_container_stop(a->engine, http_param(q, "id"), timeout_s, signal, err);
    return reply(q, r, 204, NULL);
}

int api_container_restart(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    int timeout_s;
    const char *signal;
    int r = stop_arguments(q, &timeout_s, &signal, err);
    if (r == 0)
        r = engine_container_restart(a->engine, http_param(q, "id"), timeout_s, signal, err);
    return reply(q, r, 204, NULL);
}

int api_container_kill(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    const char *signal = http_query(q, "signal");
    int r = engine_container_kill(a->engine, http_param(q, "id"), str_empty(signal) ? "KILL" : signal, err);
    if (r == -ERR_CONFLICT && api__version(q) < 1020) /* it has ended, as was wanted */
        r = 0;
    return reply(q, r, 204, NULL);
}

int api_container_pause(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    return reply(q, engine_container_pause(a->engine, http_param(q, "id"), true, err), 204, NULL);
}

int api_container_unpause(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    return reply(q, engine_container_pause(a->engine, http_param(q, "id"), false, err), 204, NULL);
}

int api_container_rename(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    const char *name = http_query(q, "name");
    if (str_empty(name))
        return err_set(err, ERR_INVALID, "Neither old nor new names may be empty");
    return reply(q, engine_container_rename(a->engine, http_param(q, "id"), name, err), 204, NULL);
}

int api_container_update(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_json_ json_t *body = NULL;
    json_t *out = NULL;
    int r = api__docker_body(q, false, &body, err);
    if (r == 0 && api__version(q) < 1040)
        json_object_del(body, "PidsLimit");
    if (r == 0 && api__shown_version(q) >= 1052)
        json_object_del(body, "KernelMemoryTCP");
    if (r == 0)
        r = engine_container_update(a->engine, http_param(q, "id"), body, &out, err);
    return reply(q, r, 200, out);
}

int api_container_remove(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    int r = http_query_bool(q, "link", false)
                ? engine_container_unlink(a->engine, http_param(q, "id"), err)
                : engine_container_remove(a->engine, http_param(q, "id"), http_query_bool(q, "force", false),
                                          http_query_bool(q, "v", false), err);
    return reply(q, r, 204, NULL);
}

int api_container_prune(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_json_ json_t *filters = NULL;
    json_t *out = NULL;
    int r = api__filters(q, &filters, err);
    if (r == 0)
        r = engine_container_prune(a->engine, filters, &out, err);
    return reply(q, r, 200, out);
}

int api_container_top(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    json_t *out = NULL;
    int r = engine_container_top(a->engine, http_param(q, "id"), http_query(q, "ps_args"), &out, err);
    return reply(q, r, 200, out);
}

int api_container_changes(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    json_t *out = NULL;
    engine_container_settle(a->engine, http_param(q, "id"));
    int r = engine_container_changes(a->engine, http_param(q, "id"), &out, err);
    return reply(q, r, 200, out);
}

int api_container_resize(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    int h, w, r = api__query_size(q, &h, &w, err);
    if (r == 0)
        r = engine_container_resize(a->engine, http_param(q, "id"), h, w, err);
    return reply(q, r, 200, NULL);
}

/* What `changes` are made to: the body, or else the container's configuration. */
static int base_of_changes(struct engine *e, const char *container, json_t **config, struct err *err)
{
    _cleanup_json_ json_t *shown = NULL;
    int r = *config ? 0 : engine_container_inspect(e, container, 0, &shown, err);
    if (shown)
        *config = json_deep_copy(json_object_get(shown, "Config"));
    return r;
}

int api_container_commit(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    const char *container = http_query(q, "container"), *repo = http_query(q, "repo"),
               *tag = http_query(q, "tag");
    if (str_empty(container))
        return err_set(err, ERR_INVALID, "no container was given: query parameter \"container\"");
    _cleanup_json_ json_t *config = NULL;
    int r = api__docker_body(q, true, &config, err);
    if (r == 0 && http_query(q, "changes"))
        r = base_of_changes(a->engine, container, &config, err);
    if (r == 0)
        r = api__apply_changes(q, &config, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *reference = NULL, *id = NULL;
    if (!str_empty(repo))
        reference = str_empty(tag) ? mem_strdup(repo) : str_printf("%s:%s", repo, tag);
    r = engine_container_commit(a->engine, container, reference, http_query(q, "comment"),
                                http_query(q, "author"), config, http_query_bool(q, "pause", true), &id, err);
    return reply(q, r, 201, r < 0 ? NULL : json_pack("{s:s}", "Id", id));
}
