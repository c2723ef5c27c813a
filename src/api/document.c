/* What of Docker's API is there, from the tables that the code runs by (routes.c, engine/schema.c). */
#include "api/api_priv.h"

#include <string.h>

/* Endpoints that answer as an engine without managed plug-ins does, and what only other machines need. */
static bool is_outside(const struct http_route *r)
{
    static int (*const handlers[])(struct http_request *, void *, struct err *) = {
        api_plugin_install, api_plugin_missing, api_buildkit_session, api_buildkit_grpc};
    for (size_t i = 0; i < ARRAY_SIZE(handlers); i++)
        if (r->attempt == handlers[i])
            return true;
    return false;
}

static void add_parameters(struct str *out, const char *query)
{
    _cleanup_strv_ char **names = query ? strv_split(query, ' ') : NULL;
    const char *between = "";
    STRV_FOREACH (name, names) {
        const char *mark = strchr("!~", **name) ? " (refused)" : **name == '-' ? " (passed over)" : "";
        str_addf(out, "%s`%s`%s", between, *name + (*mark != '\0'), mark);
        between = ", ";
    }
}

/* What Docker's API versions from 1.42 on change of what is served here. */
static const struct {
    const char *version, *change, *state;
} changes[] = {
    {"1.42", "`signal` of stop and restart, `shared-size` of a list of images, `type` of `/system/df`",
     "done"},
    {"1.42", "`BuilderSize` is no longer in `/system/df`; `Parents` instead of `Parent` of a build's cache",
     "done"},
    {"1.42", "a `condition` of wait that is none is a 400", "done, at every version"},
    {"1.42", "`KernelMemory` is passed over, and no longer in `/info`", "done"},
    {"1.42", "the content type of attach, exec and logs tells whether streams are multiplexed", "done"},
    {"1.42", "`/containers/{id}/attach/ws` takes `stdin`, `stdout`, `stderr`", "done"},
    {"1.42", "`ConsoleSize` at create and exec", "done"},
    {"1.42", "an exec whose program is not there ends with 127", "done; before, with 126"},
    {"1.42", "`CreateMountpoint` of a bind", "done"},
    {"1.42", "`BindOptions` and the like with another type of mount are refused", "done, at every version"},
    {"1.42", "`/volumes/prune` takes anonymous volumes alone, without the filter `all`", "done"},
    {"1.42", "cluster volumes", "refused"},
    {"1.43", "`Annotations`", "done"},
    {"1.43", "the list of images has no `<none>`", "done"},
    {"1.44", "the filter `until` of a list of images", "done, at every version"},
    {"1.44", "`StartInterval` of a health check", "done"},
    {"1.44", "several endpoints at create, and `MacAddress` of each", "done"},
    {"1.44", "a container's own `MacAddress` moves to its endpoint: warned of, or refused when they differ",
     "done"},
    {"1.44", "a second network of the same name is always refused", "done; before, by `CheckDuplicate`"},
    {"1.44", "`ReadOnlyNonRecursive`, `ReadOnlyForceRecursive` of a bind", "done"},
    {"1.44", "a read-only bind makes what is mounted below it read-only, too, where the runtime can", "done"},
    {"1.44", "`VirtualSize` is no longer shown, nor a `Created` that an image has not", "done"},
    {"1.44", "`DNSNames` of an endpoint", "done, at every version"},
    {"1.44", "`status` of each runtime in `/info`; `CDISpecDirs`", "done; always empty, CDI is not there"},
    {"1.45", "`Subpath` of a volume", "done"},
    {"1.45", "`Aliases` without the short id; no `Container` of an image", "done"},
    {"1.45", "no `ContainerConfig` of an image", "still there: docker-compose 1.29 needs it"},
    {"1.45", "the filter `is-automated` of a search finds nothing", "as the registry answers"},
    {"1.46", "`Options` of a tmpfs mount", "done, at every version"},
    {"1.46", "`com.docker.network.endpoint.sysctls` of an endpoint", "done, at every version"},
    {"1.46", "`Annotations` in the list of containers", "done, at every version"},
    {"1.46", "`platform` of a push", "done"},
    {"1.46", "the event `create` of an image that was built", "done, at every version"},
    {"1.46", "`Containerd` in `/info`", "absent: there is no containerd"},
    {"1.47", "`Manifests` in the list of images", "absent, as with dockerd's own store of images"},
    {"1.48", "a mount of type `image`", "done; read-only, as there"},
    {"1.48", "`GwPriority` of an endpoint", "done; shown at every version"},
    {"1.48", "`EnableIPv4` of a network", "shown; `false` is refused"},
    {"1.48", "`platform` of history, save and load", "done: an image here is of one platform"},
    {"1.48", "`reserved-space`, `max-used-space`, `min-free-space` of `/build/prune`",
     "done; `keep-storage` stays, too"},
    {"1.48", "a warning of a `VolumeDriver` that `Mounts` do not have", "done"},
    {"1.48", "`Descriptor`, `Manifests`, `ImageManifestDescriptor`",
     "absent, as with dockerd's own store of images"},
    {"1.48", "`--sysctl` of `eth0` is no longer moved to the endpoint",
     "never was: the interface is there before the sysctls are set"},
    {"1.48", "`AllowNondistributableArtifacts...` of `/info` are null, and gone in 1.49", "done"},
    {"1.49", "`platform` of an image's inspect", "done"},
    {"1.49", "`FirewallBackend` in `/info`; no `Expected` of commits", "done"},
    {"1.50", "`platforms` of the removal of an image", "done"},
    {"1.50", "`DiscoveredDevices` in `/info`; no `BridgeNfIptables`, `BridgeNfIp6tables`",
     "done; always empty, CDI is not there"},
    {"1.50", "an image's `Config` has no fields of containers", "done"},
    {"1.51", "`Containers` in the list of images", "done; before, -1"},
    {"1.52", "several `platform` of save and load", "refused: an image here is of one platform"},
    {"1.52", "no `status`, `id` and `from` of events", "still there: docker-compose 1.29 needs them"},
    {"1.52", "events as `application/x-ndjson` or `application/json-seq`", "done"},
    {"1.52", "`Status` of a network: how many addresses are in use, and how many are free",
     "done; no number is above 2^63-1"},
    {"1.52", "a warning of a port without a binding", "done"},
    {"1.52", "no empty `Config`, `Parent`, `Comment`, `DockerVersion` and `Author` of an image", "done"},
    {"1.52",
     "a container without `OnBuild` that is empty, and `NetworkSettings` without what `Networks` says",
     "done"},
    {"1.52", "`KernelMemoryTCP` is passed over, and no longer shown", "done"},
    {"1.52", "a container's own `MacAddress` is passed over", "done"},
    {"1.52", "`SwapBytes` and `MemorySwappiness` of a service", "done"},
    {"1.52", "`os_type` of stats", "done"},
    {"1.52", "`ImageUsage`, `ContainerUsage`, `VolumeUsage` and `BuildCacheUsage` of `/system/df`; `verbose`",
     "done"},
};

static void add_versions(struct str *out)
{
    str_add(out, "\n### Versions from 1.42 on\n\n| | changes | |\n|---|---|---|\n");
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++)
        str_addf(out, "| %s | %s | %s |\n", changes[i].version, changes[i].change, changes[i].state);
}

void api_document(struct str *out)
{
    add_versions(out);
    str_add(out, "\n### Endpoints\n\n| | | query parameters |\n|---|---|---|\n");
    for (const struct http_route *r = api_routes(); r->method; r++) {
        if (strncmp(r->pattern, "/drover/", 8) == 0)
            continue;
        str_addf(out, "| `%s %s` | %s | ", r->method, r->pattern, is_outside(r) ? "refused" : "done");
        add_parameters(out, r->query);
        str_add(out, " |\n");
    }
    str_add(out, "| `/containers/{id}/checkpoints` | refused | |\n");
    engine_schema_document(out);
}
