/* What the body of POST /containers/create means in the version of the API that its client speaks: newer
 * fields are nothing to older clients, and what older ones say in one place newer ones say in another. */
#include "api/api_priv.h"

#include "engine/engine.h"

#include <string.h>

/* The mode's own name among the networks. */
static const char *main_network(const json_t *host)
{
    const char *mode = json_str(host, "NetworkMode");
    return str_empty(mode) || str_eq(mode, "default") ? "bridge" : mode;
}

/* Whether the container has an interface of its own on a network that the mode names. */
static bool has_interface(const char *mode)
{
    return !str_eq(mode, "host") && !str_eq(mode, "none") && !str_after(mode, "container:");
}

/* NULL when the body has none, or has something else there, which the engine refuses. */
static json_t *endpoints_of(const json_t *body)
{
    json_t *endpoints = json_object_get(json_object_get(body, "NetworkingConfig"), "EndpointsConfig");
    return json_is_object(endpoints) ? endpoints : NULL;
}

/* --- mounts --- */

/* Fields of HostConfig.Mounts that came with a version: before it they are passed over, or refused where
 * passing over would give less than what was asked for. */
static int fit_mounts(json_t *host, int version, struct err *err)
{
    json_t *mount;
    size_t i;
    json_array_foreach (json_object_get(host, "Mounts"), i, mount) {
        if (version < 1048 && str_eq(json_str(mount, "Type"), "image"))
            return err_set(err, ERR_INVALID, "a mount of type \"image\" needs API v1.48 or newer");
        json_t *bind = json_object_get(mount, "BindOptions");
        if (version < 1044 && json_bool(bind, "ReadOnlyForceRecursive"))
            return err_set(err, ERR_INVALID, "BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer");
        if (version < 1045 && *json_str(json_object_get(mount, "VolumeOptions"), "Subpath"))
            return err_set(err, ERR_INVALID, "VolumeOptions.Subpath needs API v1.45 or newer");
        if (version < 1040)
            json_object_del(bind, "NonRecursive");
        if (version < 1042)
            json_object_del(bind, "CreateMountpoint");
    }
    return 0;
}

/* The driver of all volumes is not that of mounts that are objects. */
static void warn_of_driver(const json_t *host, json_t *warnings)
{
    const json_t *mount;
    size_t i;
    json_array_foreach (json_object_get(host, "Mounts"), i, mount) {
        const json_t *config = json_object_get(json_object_get(mount, "VolumeOptions"), "DriverConfig");
        if (!str_eq(json_str(mount, "Type"), "volume") || *json_str(config, "Name"))
            continue;
        json_array_append_new(
            warnings,
            json_string("WARNING: the container-wide volume-driver configuration is ignored for "
                        "volumes specified via 'mount'. Use '--mount type=volume,volume-driver=...' "
                        "instead"));
        return;
    }
}

/* --- networks --- */

static int refuse_several(const json_t *endpoints, struct err *err)
{
    if (json_object_size(endpoints) <= 1)
        return 0;
    _cleanup_strv_ char **names = NULL;
    const char *name;
    json_t *settings;
    json_object_foreach ((json_t *)endpoints, name, settings)
        strv_add(&names, name);
    _cleanup_free_ char *list = strv_join(names, ", ");
    return err_set(err, ERR_INVALID, "Container cannot be created with multiple network endpoints: %.500s",
                   list);
}

/* From 1.44 on an address is an endpoint's; the container's own field is moved there, with a warning. */
static int move_mac(json_t *body, const char *mac, struct err *err)
{
    const char *network = main_network(json_object_get(body, "HostConfig"));
    json_t *endpoints = endpoints_of(body), *one = NULL;
    if (json_object_size(endpoints)) {
        one = json_object_get(endpoints, network);
        if (!one && str_eq(network, "bridge"))
            one = json_object_get(endpoints, "default");
        if (!one)
            return err_set(err, ERR_INVALID,
                           "if a container-wide MAC address is supplied, HostConfig.NetworkMode must match "
                           "the identity of a network in NetworkSettings.Networks");
        const char *own = json_str(one, "MacAddress");
        if (*own && !str_eq(own, mac))
            return err_set(err, ERR_INVALID,
                           "the container-wide MAC address must match the endpoint-specific MAC address for "
                           "the main network, or be left empty");
        if (json_is_object(one)) {
            json_set_str(one, "MacAddress", mac);
            return 0;
        }
    }
    json_object_set_new(body, "NetworkingConfig",
                        json_pack("{s:{s:{s:s}}}", "EndpointsConfig", network, "MacAddress", mac));
    return 0;
}

static int fit_networks(json_t *body, int version, json_t *warnings, struct err *err)
{
    json_t *endpoints = endpoints_of(body), *one;
    if (version >= 1052)
        json_object_del(body, "MacAddress");
    const char *mac = json_str(body, "MacAddress"), *name;
    bool movable = has_interface(main_network(json_object_get(body, "HostConfig")));
    json_object_foreach (endpoints, name, one)
        if (version < 1048)
            json_object_del(one, "GwPriority");
    if (version < 1044) {
        /* The field was an endpoint's answer alone; clients sent it back as they had got it. */
        json_object_foreach (endpoints, name, one)
            json_object_del(one, "MacAddress");
        return refuse_several(endpoints, err);
    }
    if (!*mac)
        return 0;
    _cleanup_free_ char *copy = mem_strdup(mac);
    int r = movable ? move_mac(body, copy, err) : 0;
    if (r == 0) {
        json_object_del(body, "MacAddress");
        json_array_append_new(
            warnings, json_string("The container-wide MacAddress field is now deprecated. It should be "
                                  "specified in EndpointsConfig instead."));
    }
    return r;
}

/* A port without a binding gets one, and from 1.53 on it will not. */
static void warn_of_empty_bindings(const json_t *host, json_t *warnings)
{
    _cleanup_strv_ char **ports = NULL;
    const char *port;
    json_t *bindings;
    json_object_foreach (json_object_get(host, "PortBindings"), port, bindings)
        if (!json_array_size(bindings))
            strv_add(&ports, port);
    if (!ports)
        return;
    _cleanup_free_ char *list = strv_join(ports, ", ");
    _cleanup_free_ char *text = str_printf("Following container port(s) have an empty list of port-bindings: "
                                           "%s. Starting with API 1.53, such bindings will be discarded.",
                                           list);
    json_array_append_new(warnings, json_string(text));
}

/* --- the rest --- */

static void fit_host(json_t *host, int version)
{
    if (version >= 1052)
        json_object_del(host, "KernelMemoryTCP");
    if (version < 1025) /* the client removes it */
        json_object_del(host, "AutoRemove");
    if (version >= 1042)
        json_object_del(host, "KernelMemory");
    else
        json_object_del(host, "ConsoleSize");
    if (version < 1043)
        json_object_del(host, "Annotations");
    if (version >= 1040)
        return;
    json_object_del(host, "KernelMemoryTCP");
    json_object_del(host, "CgroupnsMode");
    if (!*json_str(host, "IpcMode"))
        json_set_str(host, "IpcMode", "shareable");
}

/* Clients of before API 1.18 set limits beside the image's name, and docker-py the runtime; what HostConfig
 * says wins. */
static void move_old_limits(json_t *body)
{
    static const char *const fields[][2] = {
        {"Memory", "Memory"},         {"MemorySwap", "MemorySwap"},     {"CpuShares", "CpuShares"},
        {"CpusetCpus", "CpusetCpus"}, {"VolumeDriver", "VolumeDriver"}, {"Cpuset", "CpusetCpus"},
        {"Runtime", "Runtime"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        _cleanup_json_ json_t *value = json_incref(json_object_get(body, fields[i][0]));
        if (!value)
            continue;
        json_object_del(body, fields[i][0]);
        json_t *host = json_object_get(body, "HostConfig");
        if (!host || json_is_null(host)) {
            host = json_object();
            json_object_set_new(body, "HostConfig", host);
        }
        const json_t *own = json_object_get(host, fields[i][1]);
        bool unset = !own || json_is_null(own) || (json_is_integer(own) && !json_integer_value(own)) ||
                     (json_is_string(own) && !json_string_length(own));
        if (json_is_object(host) && unset)
            json_object_set(host, fields[i][1], value);
    }
}

int api__fit_create(json_t *body, int version, unsigned *ret_flags, json_t *warnings, struct err *err)
{
    move_old_limits(body);
    json_t *host = json_object_get(body, "HostConfig");
    /* A read-only bind was so at its top alone. */
    *ret_flags = version < 1044 ? ENGINE_CREATE_SHALLOW_READ_ONLY : 0;
    if (json_is_object(host))
        fit_host(host, version);
    if (version < 1044)
        json_object_del(json_object_get(body, "Healthcheck"), "StartInterval");
    int r = fit_mounts(host, version, err);
    if (r == 0 && version >= 1048 && *json_str(host, "VolumeDriver"))
        warn_of_driver(host, warnings);
    if (r == 0 && version >= 1052)
        warn_of_empty_bindings(host, warnings);
    return r < 0 ? r : fit_networks(body, version, warnings, err);
}
