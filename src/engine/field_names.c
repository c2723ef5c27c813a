/* Docker's engine takes the names of a body's fields in any case, and clients rely on it: docker-py sends
 * "detachKeys". */
#include "engine/engine_priv.h"

#include <stdlib.h>
#include <strings.h>

/* Every name that a body of ours has at some depth, in the order of strcasecmp. */
static const char *const names[] = {
    "Address",
    "Aliases",
    "Annotations",
    "ArgsEscaped",
    "Attachable",
    "AttachStderr",
    "AttachStdin",
    "AttachStdout",
    "AutoRemove",
    "AuxiliaryAddresses",
    "BindOptions",
    "Binds",
    "BlkioDeviceReadBps",
    "BlkioDeviceReadIOps",
    "BlkioDeviceWriteBps",
    "BlkioDeviceWriteIOps",
    "BlkioWeight",
    "BlkioWeightDevice",
    "CapAdd",
    "CapDrop",
    "CgroupnsMode",
    "CgroupParent",
    "CgroupPermissions",
    "CheckDuplicate",
    "Cmd",
    "Config",
    "ConfigFrom",
    "ConfigOnly",
    "Consistency",
    "ConsoleSize",
    "Container",
    "CpuPeriod",
    "CpuQuota",
    "CpuRealtimePeriod",
    "CpuRealtimeRuntime",
    "CpusetCpus",
    "CpusetMems",
    "CpuShares",
    "CreateMountpoint",
    "Detach",
    "DetachKeys",
    "DeviceCgroupRules",
    "DeviceRequests",
    "Devices",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "Domainname",
    "Driver",
    "DriverConfig",
    "DriverOpts",
    "EnableIPv4",
    "EnableIPv6",
    "EndpointConfig",
    "EndpointsConfig",
    "Entrypoint",
    "Env",
    "ExposedPorts",
    "ExtraHosts",
    "Force",
    "Gateway",
    "GroupAdd",
    "GwPriority",
    "Hard",
    "Healthcheck",
    "HostConfig",
    "HostIp",
    "Hostname",
    "HostPort",
    "Image",
    "ImageOptions",
    "Init",
    "Internal",
    "Interval",
    "IPAM",
    "IPAMConfig",
    "IpcMode",
    "IPRange",
    "IPv4Address",
    "IPv6Address",
    "Isolation",
    "Labels",
    "LinkLocalIPs",
    "Links",
    "LogConfig",
    "MacAddress",
    "MaskedPaths",
    "MaximumRetryCount",
    "Memory",
    "MemoryReservation",
    "MemorySwap",
    "MemorySwappiness",
    "Mode",
    "Mounts",
    "Name",
    "NanoCpus",
    "NetworkDisabled",
    "NetworkingConfig",
    "NetworkMode",
    "NoCopy",
    "NonRecursive",
    "OnBuild",
    "OomKillDisable",
    "OomScoreAdj",
    "OpenStdin",
    "Options",
    "PathInContainer",
    "PathOnHost",
    "PidMode",
    "PidsLimit",
    "PortBindings",
    "Privileged",
    "Propagation",
    "PublishAllPorts",
    "ReadOnly",
    "ReadOnlyForceRecursive",
    "ReadOnlyNonRecursive",
    "ReadonlyPaths",
    "ReadonlyRootfs",
    "RestartPolicy",
    "Retries",
    "Runtime",
    "SecurityOpt",
    "Shell",
    "ShmSize",
    "SizeBytes",
    "Soft",
    "Source",
    "StartInterval",
    "StartPeriod",
    "StdinOnce",
    "StopSignal",
    "StopTimeout",
    "StorageOpt",
    "Subnet",
    "Subpath",
    "Sysctls",
    "Target",
    "Test",
    "Timeout",
    "Tmpfs",
    "TmpfsOptions",
    "Tty",
    "Type",
    "Ulimits",
    "User",
    "UsernsMode",
    "UTSMode",
    "VolumeDriver",
    "VolumeOptions",
    "Volumes",
    "VolumesFrom",
    "WorkingDir",
};

/* Objects whose keys are the user's own; what is in them is Docker's again where the second word is "deep".
 */
static const struct {
    const char *name;
    bool deep;
} users_own[] = {
    {"Annotations"},
    {"AuxiliaryAddresses"},
    {"DriverOpts"},
    {"EndpointsConfig", true},
    {"ExposedPorts"},
    {"Labels"},
    {"Options"},
    {"StorageOpt"},
    {"PortBindings", true},
    {"Sysctls"},
    {"Tmpfs"},
    {"Volumes"},
};

static int compare(const void *key, const void *entry)
{
    return strcasecmp(key, *(const char *const *)entry);
}

static void fit(json_t *value, bool own_keys);

static void fit_value(const char *name, json_t *value)
{
    for (size_t i = 0; i < ARRAY_SIZE(users_own); i++) {
        if (str_eq(users_own[i].name, name)) {
            if (users_own[i].deep)
                fit(value, true);
            return;
        }
    }
    /* A log driver's options; an IPAM's configuration is a list. */
    if (!str_eq(name, "Config") || json_is_array(value))
        fit(value, false);
}

static void fit(json_t *value, bool own_keys)
{
    size_t i;
    const char *key;
    json_t *one;
    void *next;
    json_array_foreach (value, i, one)
        fit(one, false);
    json_object_foreach_safe (value, next, key, one) {
        if (own_keys) {
            fit(one, false);
            continue;
        }
        /* The usual spelling costs nothing: all names begin with a capital. */
        const char *const *name = NULL;
        if (*key >= 'a' && *key <= 'z')
            name = bsearch(key, names, ARRAY_SIZE(names), sizeof(*names), compare);
        if (name && !json_object_get(value, *name)) {
            json_object_set(value, *name, one);
            json_object_del(value, key);
        }
        fit_value(name ? *name : key, one);
    }
}

void engine_fit_names(json_t *body)
{
    fit(body, false);
}
