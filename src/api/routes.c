/* Which path is whose, and the paths of Docker's API that are not there. */
#include "api/build_limit.h"
#include "api/build_session.h"

#include <string.h>

static const char build_query[] =
    "t dockerfile remote target q nocache pull rm forcerm memory memswap cpushares cpuperiod cpuquota "
    "cpusetcpus cpusetmems cgroupparent shmsize ulimits networkmode buildargs labels extrahosts platform "
    "cachefrom ~securityopt ~squash isolation version ~outputs -session -buildid";

static const struct http_route routes[] = {
    {"HEAD", "/_ping", .attempt = api_ping},
    {"GET", "/_ping", .attempt = api_ping},
    {"GET", "/version", .attempt = api_version},
    {"GET", "/info", .attempt = api_info},
    {"GET", "/events", .query = "since until filters", .attempt = api_events, .kind = HTTP_WAIT},
    {"GET", "/system/df", .query = "type verbose", .attempt = api_disk_usage},
    {"POST", "/auth", .attempt = api_login},
    {"GET", "/drover/occupied", .query = "image network volume", .attempt = api_occupied},
    {"POST", "/drover/upgrade", .attempt = api_upgrade},
    {"GET", "/drover/registry/tokens", .attempt = api_robot_list},
    {"POST", "/drover/registry/tokens", .attempt = api_robot_create},
    {"DELETE", "/drover/registry/tokens/{name}", .attempt = api_robot_revoke},
    {"GET", "/drover/registry/usage", .attempt = api_registry_usage, .query = "repository"},
    {"GET", "/drover/registry/deliveries", .attempt = api_registry_deliveries},
    {"GET", "/drover/registry/replication", .attempt = api_registry_replication},
    {"POST", "/drover/registry/replication", .attempt = api_registry_replicate_all},
    {"POST", "/drover/registry/gc", .attempt = api_registry_gc},
    {"POST", "/drover/registry/retention", .attempt = api_registry_retention, .query = "dry_run"},
    {"POST", "/drover/builds", .attempt = api_builds_open, .kind = HTTP_TRANSFER},
    {"DELETE", "/drover/builds/{id}", .attempt = api_builds_close},
    {"PUT", "/drover/builds/{id}/contexts/{name}", .query = "layout remote", .attempt = api_builds_context,
     .kind = HTTP_TRANSFER},
    {"PUT", "/drover/builds/{id}/caches/{n}", .attempt = api_builds_cache_in, .kind = HTTP_TRANSFER},
    {"GET", "/drover/builds/{id}/caches/{n}", .attempt = api_builds_cache_out, .kind = HTTP_TRANSFER},
    {"POST", "/drover/builds/{id}/agents/{name}", .attempt = api_builds_agent, .kind = HTTP_ATTACH},
    {"POST", "/drover/images/verify", .attempt = api_image_verify, .kind = HTTP_TRANSFER},
    {"GET", "/drover/index", .query = "names name", .attempt = api_index_get, .kind = HTTP_TRANSFER},
    {"POST", "/drover/index", .query = "names name tag", .attempt = api_index_push, .kind = HTTP_TRANSFER},
    {"GET", "/drover/images/{name...}/tree", .attempt = api_image_tree, .kind = HTTP_TRANSFER},
    {"POST", "/drover/images/{name...}/sbom", .attempt = api_image_sbom, .kind = HTTP_TRANSFER},
    {"GET", "/drover/images/{name...}/content", .attempt = api_content_image},
    {"GET", "/drover/content/{digest}", .query = "offset", .attempt = api_content_get, .kind = HTTP_TRANSFER},
    {"PUT", "/drover/content/{digest}", .query = "offset size", .attempt = api_content_put,
     .kind = HTTP_TRANSFER},
    {"POST", "/drover/content/missing", .attempt = api_content_missing},
    {"POST", "/drover/content/install", .attempt = api_content_install, .kind = HTTP_TRANSFER},

    {"GET", "/containers/json", .query = "all limit size filters -since -before",
     .attempt = api_container_list},
    {"POST", "/containers/create", .query = "name platform", .attempt = api_container_create},
    {"POST", "/containers/prune", .query = "filters", .attempt = api_container_prune},
    {"GET", "/containers/{id...}/json", .query = "size", .attempt = api_container_inspect},
    {"POST", "/containers/{id...}/start", .query = "!checkpoint -checkpoint-dir -detachKeys",
     .attempt = api_container_start},
    {"POST", "/containers/{id...}/stop", .query = "t signal", .attempt = api_container_stop},
    {"POST", "/containers/{id...}/restart", .query = "t signal", .attempt = api_container_restart},
    {"POST", "/containers/{id...}/kill", .query = "signal", .attempt = api_container_kill},
    {"POST", "/containers/{id...}/pause", .attempt = api_container_pause},
    {"POST", "/containers/{id...}/unpause", .attempt = api_container_unpause},
    {"POST", "/containers/{id...}/rename", .query = "name", .attempt = api_container_rename},
    {"POST", "/containers/{id...}/update", .attempt = api_container_update},
    {"DELETE", "/containers/{id...}", .query = "force v link", .attempt = api_container_remove},
    {"GET", "/containers/{id...}/top", .query = "ps_args", .attempt = api_container_top},
    {"GET", "/containers/{id...}/changes", .attempt = api_container_changes},
    {"POST", "/containers/{id...}/wait", .query = "condition", .attempt = api_container_wait,
     .kind = HTTP_WAIT},
    {"POST", "/containers/{id...}/attach", .query = "stream logs stdin stdout stderr detachKeys",
     .attempt = api_container_attach, .kind = HTTP_ATTACH},
    {"GET", "/containers/{id...}/attach/ws", .query = "stream logs stdin stdout stderr detachKeys",
     .attempt = api_container_attach_ws, .kind = HTTP_ATTACH},
    {"GET", "/containers/{id...}/logs", .query = "follow stdout stderr since until timestamps tail details",
     .attempt = api_container_logs, .kind = HTTP_FOLLOW},
    {"POST", "/containers/{id...}/resize", .query = "h w", .attempt = api_container_resize},
    {"GET", "/containers/{id...}/stats", .query = "stream one-shot", .attempt = api_container_stats,
     .kind = HTTP_WAIT},
    {"GET", "/containers/{id...}/export", .attempt = api_container_export, .kind = HTTP_TRANSFER},
    {"HEAD", "/containers/{id...}/archive", .query = "path", .attempt = api_archive_stat},
    {"GET", "/containers/{id...}/archive", .query = "path", .attempt = api_archive_get,
     .kind = HTTP_TRANSFER},
    {"PUT", "/containers/{id...}/archive", .query = "path noOverwriteDirNonDir copyUIDGID",
     .attempt = api_archive_put, .kind = HTTP_TRANSFER},
    {"POST", "/containers/{id...}/copy", .attempt = api_container_copy, .kind = HTTP_TRANSFER},
    {"POST", "/commit", .query = "container repo tag comment author pause changes",
     .attempt = api_container_commit, .kind = HTTP_TRANSFER},

    {"POST", "/containers/{id...}/exec", .attempt = api_exec_create},
    {"POST", "/exec/{id}/start", .attempt = api_exec_start, .kind = HTTP_ATTACH},
    {"POST", "/exec/{id}/resize", .query = "h w", .attempt = api_exec_resize},
    {"GET", "/exec/{id}/json", .attempt = api_exec_inspect},

    {"GET", "/images/json", .query = "all filters shared-size -digests -manifests filter",
     .attempt = api_image_list},
    {"POST", "/images/create", .query = "fromImage fromSrc repo tag platform message changes",
     .attempt = api_image_create, .kind = HTTP_TRANSFER},
    {"POST", "/images/load", .query = "quiet platform", .attempt = api_image_load, .kind = HTTP_TRANSFER},
    {"POST", "/images/prune", .query = "filters", .attempt = api_image_prune},
    {"GET", "/images/search", .query = "term limit filters", .attempt = api_image_search},
    {"GET", "/images/get", .query = "names platform", .attempt = api_image_save, .kind = HTTP_TRANSFER},
    {"GET", "/images/{name...}/get", .query = "platform", .attempt = api_image_save, .kind = HTTP_TRANSFER},
    {"GET", "/images/{name...}/json", .query = "platform -manifests", .attempt = api_image_inspect},
    {"GET", "/images/{name...}/history", .query = "platform", .attempt = api_image_history},
    {"POST", "/images/{name...}/push", .query = "tag platform", .attempt = api_image_push,
     .kind = HTTP_TRANSFER},
    {"POST", "/images/{name...}/tag", .query = "repo tag", .attempt = api_image_tag},
    {"DELETE", "/images/{name...}", .query = "force noprune platforms", .attempt = api_image_remove},

    {"GET", "/distribution/{name...}/json", .attempt = api_distribution},
    {"POST", "/build", .query = build_query, .attempt = api_build, .kind = HTTP_TRANSFER},
    {"POST", "/build/prune", .query = "all filters keep-storage reserved-space max-used-space min-free-space",
     .attempt = api_build_prune},
    {"POST", "/build/cancel", .query = "id", .attempt = api_build_cancel},
    {"POST", "/session", .attempt = api_buildkit_session, .kind = HTTP_ATTACH},
    {"POST", "/grpc", .attempt = api_buildkit_grpc, .kind = HTTP_ATTACH},

    {"GET", "/networks", .query = "filters", .attempt = api_network_list},
    {"GET", "/networks/", .query = "filters", .attempt = api_network_list},
    {"POST", "/networks/create", .attempt = api_network_create},
    {"POST", "/networks/prune", .query = "filters", .attempt = api_network_prune},
    {"GET", "/networks/{id}", .query = "scope -verbose", .attempt = api_network_inspect},
    {"DELETE", "/networks/{id}", .attempt = api_network_remove, .kind = HTTP_WAIT},
    /* As above, of the swarm's networks alone: what managers pass on to the leader. */
    {"POST", "/drover/clients", .attempt = api_swarm_client, .needs = API_NEEDS_LEADER},
    {"GET", "/drover/clients", .attempt = api_swarm_client_list, .needs = API_NEEDS_LEADER},
    {"DELETE", "/drover/clients/{name}", .attempt = api_swarm_client_revoke, .needs = API_NEEDS_LEADER},
    {"POST", "/drover/networks", .attempt = api_swarm_network_create, .needs = API_NEEDS_LEADER},
    {"DELETE", "/drover/networks/{id}", .attempt = api_swarm_network_remove, .kind = HTTP_WAIT,
     .needs = API_NEEDS_LEADER},
    {"POST", "/networks/{id}/connect", .attempt = api_network_connect},
    {"POST", "/networks/{id}/disconnect", .attempt = api_network_disconnect},

    {"GET", "/volumes", .query = "filters", .attempt = api_volume_list},
    {"POST", "/volumes/create", .attempt = api_volume_create},
    {"POST", "/volumes/prune", .query = "filters", .attempt = api_volume_prune},
    {"GET", "/volumes/{name}", .attempt = api_volume_inspect},
    {"DELETE", "/volumes/{name}", .query = "force", .attempt = api_volume_remove},

    {"GET", "/swarm", .attempt = api_swarm_inspect, .needs = API_NEEDS_LEADER},
    {"GET", "/swarm/unlockkey", .attempt = api_swarm_unlock_key, .needs = API_NEEDS_LEADER},
    {"POST", "/swarm/init", .attempt = api_swarm_init},
    {"POST", "/swarm/join", .attempt = api_swarm_join},
    {"POST", "/swarm/leave", .query = "force", .attempt = api_swarm_leave},
    {"POST", "/swarm/update", .query = "version rotateWorkerToken rotateManagerToken rotateManagerUnlockKey",
     .attempt = api_swarm_update, .needs = API_NEEDS_LEADER},
    {"POST", "/swarm/unlock", .attempt = api_swarm_unlock},
    {"GET", "/drover/services/{id}/versions", .attempt = api_service_versions, .needs = API_NEEDS_LEADER},
    {"POST", "/drover/services/{id}/rollback", .attempt = api_service_rollback, .needs = API_NEEDS_LEADER},
    {"GET", "/drover/explain/{ref}", .attempt = api_explain, .needs = API_NEEDS_LEADER},
    {"POST", "/drover/plan", .attempt = api_plan, .needs = API_NEEDS_LEADER},
    {"GET", "/drover/rebalance", .attempt = api_rebalance_get, .needs = API_NEEDS_LEADER},
    {"POST", "/drover/rebalance", .attempt = api_rebalance_set, .needs = API_NEEDS_LEADER},
    {"GET", "/drover/health", .attempt = api_health_get, .needs = API_NEEDS_LEADER},
    {"POST", "/drover/health", .attempt = api_health_set, .needs = API_NEEDS_LEADER},
    {"GET", "/drover/strategies", .attempt = api_strategy_list, .needs = API_NEEDS_LEADER},
    {"POST", "/drover/strategies", .attempt = api_strategy_choose, .needs = API_NEEDS_LEADER},
    {"GET", "/drover/strategies/{name}", .attempt = api_strategy_get, .needs = API_NEEDS_LEADER},
    {"PUT", "/drover/strategies/{name}", .attempt = api_strategy_put, .needs = API_NEEDS_LEADER},
    {"DELETE", "/drover/strategies/{name}", .attempt = api_strategy_remove, .needs = API_NEEDS_LEADER},
    {"GET", "/nodes", .query = "filters", .attempt = api_node_list, .needs = API_NEEDS_LEADER},
    {"GET", "/nodes/{id}", .attempt = api_node_inspect, .needs = API_NEEDS_LEADER},
    {"DELETE", "/nodes/{id}", .query = "force", .attempt = api_node_remove, .needs = API_NEEDS_LEADER},
    {"POST", "/nodes/{id}/update", .query = "version", .attempt = api_node_update, .needs = API_NEEDS_LEADER},
    {"GET", "/services", .query = "filters status", .attempt = api_service_list, .needs = API_NEEDS_LEADER},
    {"POST", "/services/create", .attempt = api_service_create, .needs = API_NEEDS_LEADER},
    {"GET", "/services/{id}", .query = "-insertDefaults", .attempt = api_service_inspect,
     .needs = API_NEEDS_LEADER},
    {"DELETE", "/services/{id}", .attempt = api_service_remove, .needs = API_NEEDS_LEADER},
    {"POST", "/services/{id}/update", .query = "version -registryAuthFrom rollback",
     .attempt = api_service_update, .needs = API_NEEDS_LEADER},
    {"GET", "/services/{id}/logs", .query = "details follow stdout stderr since until timestamps tail",
     .attempt = api_service_logs, .kind = HTTP_FOLLOW, .needs = API_NEEDS_LEADER},
    {"GET", "/tasks", .query = "filters", .attempt = api_task_list, .needs = API_NEEDS_LEADER},
    {"GET", "/tasks/{id}", .attempt = api_task_inspect, .needs = API_NEEDS_LEADER},
    {"GET", "/tasks/{id}/logs", .query = "details follow stdout stderr since until timestamps tail",
     .attempt = api_task_logs, .kind = HTTP_FOLLOW, .needs = API_NEEDS_LEADER},
    {"GET", "/secrets", .query = "filters", .attempt = api_secret_list, .needs = API_NEEDS_LEADER},
    {"POST", "/secrets/create", .attempt = api_secret_create, .needs = API_NEEDS_LEADER},
    {"GET", "/secrets/{id}", .attempt = api_secret_inspect, .needs = API_NEEDS_LEADER},
    {"DELETE", "/secrets/{id}", .attempt = api_secret_remove, .needs = API_NEEDS_LEADER},
    {"POST", "/secrets/{id}/update", .query = "version", .attempt = api_secret_update,
     .needs = API_NEEDS_LEADER},
    {"GET", "/configs", .query = "filters", .attempt = api_config_list, .needs = API_NEEDS_LEADER},
    {"POST", "/configs/create", .attempt = api_config_create, .needs = API_NEEDS_LEADER},
    {"GET", "/configs/{id}", .attempt = api_config_inspect, .needs = API_NEEDS_LEADER},
    {"DELETE", "/configs/{id}", .attempt = api_config_remove, .needs = API_NEEDS_LEADER},
    {"POST", "/configs/{id}/update", .query = "version", .attempt = api_config_update,
     .needs = API_NEEDS_LEADER},

    {"GET", "/plugins", .attempt = api_plugin_list},
    {"GET", "/plugins/privileges", .attempt = api_plugin_install},
    {"POST", "/plugins/pull", .attempt = api_plugin_install},
    {"POST", "/plugins/create", .attempt = api_plugin_install},
    {"GET", "/plugins/{name...}/json", .attempt = api_plugin_missing},
    {"DELETE", "/plugins/{name...}", .attempt = api_plugin_missing},
    {"POST", "/plugins/{name...}/enable", .attempt = api_plugin_missing},
    {"POST", "/plugins/{name...}/disable", .attempt = api_plugin_missing},
    {"POST", "/plugins/{name...}/push", .attempt = api_plugin_missing},
    {"POST", "/plugins/{name...}/set", .attempt = api_plugin_set},
    {"POST", "/plugins/{name...}/upgrade", .attempt = api_plugin_missing},
    {NULL, NULL},
};

static const char *what_is_absent(const char *path)
{
    if (str_after(path, "/containers/") && strstr(path, "/checkpoints"))
        return "checkpoints";
    return NULL;
}

/* `path` without empty, "." and ".." segments; a slash at its end stays. */
static char *clean_path(const char *path)
{
    _cleanup_strv_ char **parts = strv_split(path, '/'), **kept = NULL;
    size_t count = 0;
    STRV_FOREACH (p, parts) {
        if (str_eq(*p, "..") && count > 0)
            free(kept[--count]), kept[count] = NULL;
        else if (!str_empty(*p) && !str_eq(*p, ".") && !str_eq(*p, ".."))
            strv_add(&kept, *p), count++;
    }
    _cleanup_free_ char *joined = strv_join(kept, "/");
    return str_printf("/%s%s", joined, count > 0 && str_ends_with(path, "/") ? "/" : "");
}

/* Where the same path is in its clean form, for clients that join an address and a path with a slash each. */
static bool redirect(struct http_request *q)
{
    const char *path = http_raw_path(q), *version = http_api_version_text(q), *query = http_raw_query(q);
    _cleanup_free_ char *clean = clean_path(path);
    if (str_eq(path, clean))
        return false;
    _cleanup_free_ char *to =
        str_printf("%s%s%s%s%s", *version ? "/v" : "", version, clean, *query ? "?" : "", query);
    http_set_header(q, "Location", to);
    http_reply_empty(q, 301);
    return true;
}

static void fallback(struct http_request *q, void *context)
{
    struct err err = {0};
    const char *what = what_is_absent(http_path(q));
    if (str_eq(http_method(q), "OPTIONS"))
        return http_reply_empty(q, 200);
    if (redirect(q))
        return;
    if (what)
        err_set(&err, ERR_UNSUPPORTED, "%s: not supported by Drover", what);
    else
        err_set(&err, ERR_NOT_FOUND, "page not found");
    http_reply_err(q, &err);
}

/* Those that the route's table marks as refused. */
static void refuse_parameters(struct http_request *q, struct err *err)
{
    _cleanup_strv_ char **names = strv_split(http_route_query(q), ' ');
    STRV_FOREACH (name, names)
        if (**name == '!' && api__refuse_query(q, *name + 1, err) < 0)
            return;
}

static bool admit_here(struct http_request *q, void *context)
{
    int version = http_api_version(q);
    const char *text = http_api_version_text(q);
    struct err err = {0};
    if (version > API_VERSION_NUMBER)
        err_set(&err, ERR_INVALID,
                "client version %s is too new. Maximum supported API version is " API_VERSION, text);
    else if (*text && version < API_MIN_VERSION_NUMBER)
        err_set(&err, ERR_INVALID,
                "client version %s is too old. Minimum supported API version is " API_MIN_VERSION
                ", please upgrade your client to a newer version",
                text);
    if (!err.code)
        refuse_parameters(q, &err);
    if (err.code)
        http_reply_err(q, &err);
    return !err.code;
}

/* Of what another node passes on: nothing but what is the leader's, and that is not passed on again. */
static bool admit_passed(struct http_request *q, void *context)
{
    if (str_eq(http_route_needs(q), API_NEEDS_LEADER))
        return admit_here(q, context);
    http_reply_err(q, &(struct err){.code = ERR_NOT_FOUND, .msg = "page not found"});
    return false;
}

static bool admit(struct http_request *q, void *context)
{
    return admit_here(q, context) && !api__forward(q, context);
}

/* Clients of before 1.42 look for dockerd's words of their time, which began with a capital letter. */
static void reword(struct http_request *q, struct err *err)
{
    int version = http_api_version(q);
    if (version && version < 1042 && str_after(err->msg, "invalid filter '"))
        err->msg[0] = 'I';
}

static const char *const headers[] = {"Api-Version",
                                      API_VERSION,
                                      "Docker-Experimental",
                                      "false",
                                      "Ostype",
                                      "linux",
                                      "Server",
                                      "Drover/" DROVER_VERSION " (linux)",
                                      NULL};

const struct http_route *api_routes(void)
{
    return routes;
}

struct api *api_new(struct engine *e, struct cluster *c)
{
    struct api *a = NEW(struct api);
    a->engine = e;
    a->cluster = c;
    a->images = engine_images(e);
    a->builds = build_sessions_new();
    a->limit = build_limit_new(a);
    a->of_nodes = (struct http_server_config){.routes = routes, .context = a, .admit = admit_passed};
    cluster_set_api(c, &a->of_nodes);
    return a;
}

void api_set_registry(struct api *a, struct registry *r)
{
    a->registry = r;
}

void api_limit_build_cache(struct api *a, int64_t max_bytes, int64_t max_age_ns)
{
    build_limit_set(a->limit, max_bytes, max_age_ns);
}

void api_free(struct api *a)
{
    if (a) {
        build_limit_free(a->limit);
        build_sessions_free(a->builds);
    }
    free(a);
}

int api_serve(struct api *a, int listen_fd, struct http_server **ret, struct err *err)
{
    struct http_server_config config = {
        .routes = routes,
        .context = a,
        .fallback = fallback,
        .admit = admit,
        .reword = reword,
        .headers = headers,
        .max_requests = {[HTTP_WAIT] = 4096, [HTTP_FOLLOW] = 4096, [HTTP_ATTACH] = 4096}};
    return http_server_start(&config, listen_fd, ret, err);
}
