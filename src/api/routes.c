/* Which path is whose, and the paths of Docker's API that are not there. */
#include "api/api_priv.h"

#include <stdio.h>
#include <string.h>

static const struct http_route routes[] = {
    {"HEAD", "/_ping", .attempt = api_ping},
    {"GET", "/_ping", .attempt = api_ping},
    {"GET", "/version", .attempt = api_version},
    {"GET", "/info", .attempt = api_info},
    {"GET", "/events", .attempt = api_events},
    {"GET", "/system/df", .attempt = api_disk_usage},
    {"POST", "/auth", .attempt = api_login},
    {"POST", "/drover/upgrade", .attempt = api_upgrade},

    {"GET", "/containers/json", .attempt = api_container_list},
    {"POST", "/containers/create", .attempt = api_container_create},
    {"POST", "/containers/prune", .attempt = api_container_prune},
    {"GET", "/containers/{id}/json", .attempt = api_container_inspect},
    {"POST", "/containers/{id}/start", .attempt = api_container_start},
    {"POST", "/containers/{id}/stop", .attempt = api_container_stop},
    {"POST", "/containers/{id}/restart", .attempt = api_container_restart},
    {"POST", "/containers/{id}/kill", .attempt = api_container_kill},
    {"POST", "/containers/{id}/pause", .attempt = api_container_pause},
    {"POST", "/containers/{id}/unpause", .attempt = api_container_unpause},
    {"POST", "/containers/{id}/rename", .attempt = api_container_rename},
    {"POST", "/containers/{id}/update", .attempt = api_container_update},
    {"DELETE", "/containers/{id...}", .attempt = api_container_remove},
    {"GET", "/containers/{id}/top", .attempt = api_container_top},
    {"GET", "/containers/{id}/changes", .attempt = api_container_changes},
    {"POST", "/containers/{id}/wait", .attempt = api_container_wait},
    {"POST", "/containers/{id}/attach", .attempt = api_container_attach},
    {"GET", "/containers/{id}/logs", .attempt = api_container_logs},
    {"POST", "/containers/{id}/resize", .attempt = api_container_resize},
    {"GET", "/containers/{id}/stats", .attempt = api_container_stats},
    {"GET", "/containers/{id}/export", .attempt = api_container_export},
    {"HEAD", "/containers/{id}/archive", .attempt = api_archive_stat},
    {"GET", "/containers/{id}/archive", .attempt = api_archive_get},
    {"PUT", "/containers/{id}/archive", .attempt = api_archive_put},
    {"POST", "/commit", .attempt = api_container_commit},

    {"POST", "/containers/{id}/exec", .attempt = api_exec_create},
    {"POST", "/exec/{id}/start", .attempt = api_exec_start},
    {"POST", "/exec/{id}/resize", .attempt = api_exec_resize},
    {"GET", "/exec/{id}/json", .attempt = api_exec_inspect},

    {"GET", "/images/json", .attempt = api_image_list},
    {"POST", "/images/create", .attempt = api_image_create},
    {"POST", "/images/load", .attempt = api_image_load},
    {"POST", "/images/prune", .attempt = api_image_prune},
    {"GET", "/images/get", .attempt = api_image_save},
    {"GET", "/images/{name...}/get", .attempt = api_image_save},
    {"GET", "/images/{name...}/json", .attempt = api_image_inspect},
    {"GET", "/images/{name...}/history", .attempt = api_image_history},
    {"POST", "/images/{name...}/push", .attempt = api_image_push},
    {"POST", "/images/{name...}/tag", .attempt = api_image_tag},
    {"DELETE", "/images/{name...}", .attempt = api_image_remove},

    {"GET", "/distribution/{name...}/json", .attempt = api_distribution},
    {"POST", "/build", .attempt = api_build},
    {"POST", "/build/prune", .attempt = api_build_prune},

    {"GET", "/networks", .attempt = api_network_list},
    {"POST", "/networks/create", .attempt = api_network_create},
    {"POST", "/networks/prune", .attempt = api_network_prune},
    {"GET", "/networks/{id}", .attempt = api_network_inspect},
    {"DELETE", "/networks/{id}", .attempt = api_network_remove},
    {"POST", "/networks/{id}/connect", .attempt = api_network_connect},
    {"POST", "/networks/{id}/disconnect", .attempt = api_network_disconnect},

    {"GET", "/volumes", .attempt = api_volume_list},
    {"POST", "/volumes/create", .attempt = api_volume_create},
    {"POST", "/volumes/prune", .attempt = api_volume_prune},
    {"GET", "/volumes/{name}", .attempt = api_volume_inspect},
    {"DELETE", "/volumes/{name}", .attempt = api_volume_remove},
    {NULL, NULL},
};

/* Beginnings of paths that Docker's API has and Drover has not, with what they are. */
static const struct {
    const char *prefix;
    const char *what;
} absent[] = {
    {"/session", "BuildKit sessions (build with DOCKER_BUILDKIT=0)"},
    {"/grpc", "BuildKit (build with DOCKER_BUILDKIT=0)"},
    {"/build/cancel", "BuildKit builds (build with DOCKER_BUILDKIT=0)"},
    {"/images/search", "searching a registry"},
    {"/swarm", "swarm mode"},
    {"/nodes", "swarm nodes"},
    {"/services", "swarm services"},
    {"/tasks", "swarm tasks"},
    {"/secrets", "swarm secrets"},
    {"/configs", "swarm configs"},
    {"/plugins", "managing plug-ins"},
};

static const char *what_is_absent(const char *path)
{
    for (size_t i = 0; i < ARRAY_SIZE(absent); i++) {
        size_t n = strlen(absent[i].prefix);
        if (strncmp(path, absent[i].prefix, n) == 0 &&
            (path[n] == '\0' || path[n] == '/' || path[n - 1] == '/'))
            return absent[i].what;
    }
    if (str_after(path, "/containers/")) {
        if (str_ends_with(path, "/attach/ws"))
            return "attaching by WebSocket";
        if (strstr(path, "/checkpoints"))
            return "checkpoints";
    }
    return NULL;
}

static void fallback(struct http_request *q, void *context)
{
    struct err err = {0};
    const char *what = what_is_absent(http_path(q));
    if (what)
        err_set(&err, ERR_UNSUPPORTED, "%s: not supported by Drover", what);
    else
        err_set(&err, ERR_NOT_FOUND, "page not found");
    http_reply_err(q, &err);
}

static bool admit(struct http_request *q, void *context)
{
    int version = http_api_version(q);
    struct err err = {0};
    if (version > 1043)
        err_set(&err, ERR_INVALID,
                "client version %d.%d is too new. Maximum supported API version is " API_VERSION,
                version / 1000, version % 1000);
    else if (version != 0 && version < 1024)
        err_set(&err, ERR_INVALID,
                "client version %d.%d is too old. Minimum supported API version is " API_MIN_VERSION
                ", please upgrade your client to a newer version",
                version / 1000, version % 1000);
    if (err.code)
        http_reply_err(q, &err);
    return !err.code;
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

struct api *api_new(struct engine *e)
{
    struct api *a = NEW(struct api);
    a->engine = e;
    a->images = engine_images(e);
    return a;
}

void api_free(struct api *a)
{
    free(a);
}

int api_serve(struct api *a, int listen_fd, struct http_server **ret, struct err *err)
{
    struct http_server_config config = {
        .routes = routes, .context = a, .fallback = fallback, .admit = admit, .headers = headers};
    return http_server_start(&config, listen_fd, ret, err);
}
