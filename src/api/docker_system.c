/* _ping, version, info, events, disk usage, login. */
#include "api/api_priv.h"

#include <sys/utsname.h>

int api_ping(struct http_request *q, void *context, struct err *err)
{
    /* "1": Docker's CLI builds through POST /build, without BuildKit. */
    http_set_header(q, "Builder-Version", "1");
    struct cluster *c = ((struct api *)context)->cluster;
    http_set_header(q, "Swarm",
                    cluster_locked(c)      ? "locked"
                    : !cluster_active(c)   ? "inactive"
                    : cluster_is_worker(c) ? "active/worker"
                                           : "active/manager");
    http_set_header(q, "Cache-Control", "no-cache, no-store, must-revalidate");
    http_set_header(q, "Pragma", "no-cache");
    http_reply_text(q, 200, "text/plain; charset=utf-8", "OK");
    return 0;
}

/* Go's name of the architecture, which clients compare. */
static const char *go_architecture(const char *machine)
{
    static const char *const names[][2] = {
        {"x86_64", "amd64"}, {"aarch64", "arm64"}, {"armv7l", "arm"},      {"armv6l", "arm"},
        {"i686", "386"},     {"i386", "386"},      {"ppc64le", "ppc64le"}, {"riscv64", "riscv64"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (str_eq(names[i][0], machine))
            return names[i][1];
    return machine;
}

int api_version(struct http_request *q, void *context, struct err *err)
{
    struct utsname host;
    uname(&host);
    const char *arch = go_architecture(host.machine);
    json_t *details =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "ApiVersion", API_VERSION, "Arch", arch,
                  "BuildTime", "", "Experimental", "false", "GitCommit", "", "GoVersion", "", "KernelVersion",
                  host.release, "MinAPIVersion", API_MIN_VERSION, "Os", "linux");
    json_t *body = json_pack("{s:{s:s}, s:[{s:s, s:s, s:o}], s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}",
                             "Platform", "Name", "Drover", "Components", "Name", "Engine", "Version",
                             DROVER_VERSION, "Details", details, "Version", DROVER_VERSION, "ApiVersion",
                             API_VERSION, "MinAPIVersion", API_MIN_VERSION, "GitCommit", "", "GoVersion", "",
                             "Os", "linux", "Arch", arch, "KernelVersion", host.release, "BuildTime", "");
    must(body);
    http_reply_json(q, 200, body);
    return 0;
}

/* What newer versions of the API have left out, and what came with one. */
static void fit_info(json_t *info, int version)
{
    static const char *const commits[] = {"ContainerdCommit", "RuncCommit", "InitCommit"};
    static const char *const artifacts[] = {"AllowNondistributableArtifactsCIDRs",
                                            "AllowNondistributableArtifactsHostnames"};
    json_t *registries = json_object_get(info, "RegistryConfig");
    if (version >= 1042) /* the kernel has no such limit any more */
        json_object_del(info, "KernelMemory");
    for (size_t i = 0; i < ARRAY_SIZE(commits) && version >= 1049; i++)
        json_object_del(json_object_get(info, commits[i]), "Expected");
    for (size_t i = 0; i < ARRAY_SIZE(artifacts); i++) {
        if (version >= 1049)
            json_object_del(registries, artifacts[i]);
        else if (version >= 1048)
            json_object_set_new(registries, artifacts[i], json_null());
    }
    if (version >= 1049)
        json_object_set_new(info, "FirewallBackend", json_pack("{s:s}", "Driver", "nftables"));
    if (version >= 1050) {
        json_object_del(info, "BridgeNfIptables");
        json_object_del(info, "BridgeNfIp6tables");
        json_object_set_new(info, "DiscoveredDevices", json_array());
    }
    if (version >= 1052)
        json_object_del(info, "KernelMemoryTCP");
    if (version < 1025)
        json_set_str(info, "ExecutionDriver", "<not supported>");
}

int api_info(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    json_t *info;
    int version = api__version(q);
    int r = engine_info(a->engine, version >= 1044, &info, err);
    if (r < 0)
        return r;
    fit_info(info, api__shown_version(q));
    json_object_set_new(info, "Swarm", cluster_info(a->cluster));
    http_reply_json(q, 200, info);
    return 0;
}

/* Whether Accept has the type, or any. */
static bool accepts(const char *accept, const char *type)
{
    _cleanup_strv_ char **ranges = strv_split(accept, ',');
    STRV_FOREACH (range, ranges) {
        char *name = *range + strspn(*range, " ");
        name[strcspn(name, "; ")] = '\0';
        if (str_eq(name, type) || str_eq(name, "*/*"))
            return true;
    }
    return false;
}

#define JSON_SEQUENCE "application/json-seq"

/* Before 1.52 it was called JSON, which it is not. */
static const char *type_of_events(struct http_request *q)
{
    static const char *const types[] = {"application/x-ndjson", JSON_SEQUENCE};
    const char *accept = http_header(q, "Accept");
    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        if (api__shown_version(q) >= 1052 && accept && accepts(accept, types[i]))
            return types[i];
    return "application/json";
}

struct event_reader {
    struct http_request *request;
    bool sequence; /* RFC 7464: a record separator before each */
};

static int send_event(void *context, const json_t *event)
{
    struct event_reader *reader = context;
    int r = reader->sequence ? http_stream_write(reader->request, "\x1e", 1, NULL) : 0;
    return r < 0 ? r : http_stream_json(reader->request, json_incref((json_t *)event), NULL);
}

static bool reader_gone(void *context)
{
    return http_peer_gone(((struct event_reader *)context)->request);
}

int api_events(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    int64_t since = 0, until = 0;
    _cleanup_json_ json_t *filters = NULL;
    int r = api__query_time(q, "since", &since, err);
    if (r == 0)
        r = api__query_time(q, "until", &until, err);
    if (r == 0)
        r = api__filters(q, &filters, err);
    if (r == 0)
        r = engine_events_check(filters, err);
    if (r == 0 && until > 0 && since > until)
        r = err_set(err, ERR_INVALID, "`since` time (%s) cannot be after `until` time (%s)",
                    http_query(q, "since"), http_query(q, "until"));
    if (r < 0)
        return r;
    const char *type = type_of_events(q);
    struct event_reader reader = {q, str_eq(type, JSON_SEQUENCE)};
    http_stream_begin(q, 200, type);
    r = engine_events(a->engine, since, until, filters, &reader, send_event, reader_gone, err);
    return r == -ERR_CANCELLED ? 0 : r;
}

int api_login(struct http_request *q, void *context, struct err *err)
{
    _cleanup_json_ json_t *body = NULL;
    int r = api__body(q, false, &body, err);
    if (r < 0)
        return r;
    struct image_auth auth = {json_str(body, "username"), json_str(body, "password"),
                              json_str(body, "identitytoken"), json_str(body, "registrytoken")};
    _cleanup_free_ char *status = NULL;
    r = image_login(((struct api *)context)->images, json_str(body, "serveraddress"), &auth, &status, err);
    if (r < 0)
        return r;
    json_t *out = json_object();
    json_set_str(out, "Status", str_empty(status) ? "Login Succeeded" : status);
    json_set_str(out, "IdentityToken", "");
    http_reply_json(q, 200, out);
    return 0;
}
