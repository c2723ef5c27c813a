/* Docker's engine takes the names of a body's fields in any case, and clients rely on it: docker-py sends
 * "detachKeys". */
#include "engine/engine_priv.h"

#include <stdlib.h>
#include <strings.h>

/* Every name that a body of ours has at some depth, in the order of strcasecmp. */
static const char *const names[] = {
    "Address",
    "AdvertiseAddr",
    "Aliases",
    "Annotations",
    "Args",
    "ArgsEscaped",
    "Attachable",
    "AttachStderr",
    "AttachStdin",
    "AttachStdout",
    "AutoLockManagers",
    "AutoRemove",
    "AuxiliaryAddresses",
    "Availability",
    "BindOptions",
    "Binds",
    "BlkioDeviceReadBps",
    "BlkioDeviceReadIOps",
    "BlkioDeviceWriteBps",
    "BlkioDeviceWriteIOps",
    "BlkioWeight",
    "BlkioWeightDevice",
    "CAConfig",
    "CapabilityAdd",
    "CapabilityDrop",
    "CapAdd",
    "CapDrop",
    "CgroupnsMode",
    "CgroupParent",
    "CgroupPermissions",
    "CheckDuplicate",
    "Cmd",
    "Command",
    "Condition",
    "Config",
    "ConfigFrom",
    "ConfigID",
    "ConfigName",
    "ConfigOnly",
    "Configs",
    "Consistency",
    "ConsoleSize",
    "Constraints",
    "Container",
    "ContainerSpec",
    "CpuPeriod",
    "CpuQuota",
    "CpuRealtimePeriod",
    "CpuRealtimeRuntime",
    "CpusetCpus",
    "CpusetMems",
    "CpuShares",
    "CreateMountpoint",
    "Data",
    "DataPathAddr",
    "DataPathPort",
    "DefaultAddrPool",
    "Delay",
    "Detach",
    "DetachKeys",
    "DeviceCgroupRules",
    "DeviceRequests",
    "Devices",
    "Dir",
    "DiscreteResourceSpec",
    "Dispatcher",
    "Dns",
    "DNSConfig",
    "DnsOptions",
    "DnsSearch",
    "Domainname",
    "Driver",
    "DriverConfig",
    "DriverOpts",
    "EnableIPv4",
    "EnableIPv6",
    "EncryptionConfig",
    "EndpointConfig",
    "EndpointsConfig",
    "EndpointSpec",
    "Entrypoint",
    "Env",
    "ExposedPorts",
    "ExtraHosts",
    "FailureAction",
    "File",
    "Force",
    "ForceNewCluster",
    "ForceUpdate",
    "Gateway",
    "GenericResources",
    "GID",
    "Global",
    "GlobalJob",
    "GroupAdd",
    "Groups",
    "GwPriority",
    "Hard",
    "Healthcheck",
    "HeartbeatPeriod",
    "HostConfig",
    "HostIp",
    "Hostname",
    "HostPort",
    "Hosts",
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
    "JoinToken",
    "Kind",
    "Labels",
    "Limits",
    "LinkLocalIPs",
    "Links",
    "ListenAddr",
    "LogConfig",
    "LogDriver",
    "MacAddress",
    "MaskedPaths",
    "MaxAttempts",
    "MaxConcurrent",
    "MaxFailureRatio",
    "MaximumRetryCount",
    "MaxReplicas",
    "Memory",
    "MemoryBytes",
    "MemoryReservation",
    "MemorySwap",
    "MemorySwappiness",
    "Mode",
    "Monitor",
    "Mounts",
    "Name",
    "NamedResourceSpec",
    "Nameservers",
    "NanoCpus",
    "NetworkDisabled",
    "NetworkingConfig",
    "NetworkMode",
    "Networks",
    "NoCopy",
    "NodeCertExpiry",
    "NonRecursive",
    "OnBuild",
    "OomKillDisable",
    "OomScoreAdj",
    "OpenStdin",
    "Options",
    "Orchestration",
    "Order",
    "Parallelism",
    "PathInContainer",
    "PathOnHost",
    "PidMode",
    "Pids",
    "PidsLimit",
    "Placement",
    "Platforms",
    "PortBindings",
    "Ports",
    "Preferences",
    "Privileged",
    "Privileges",
    "Propagation",
    "Protocol",
    "PublishAllPorts",
    "PublishedPort",
    "PublishMode",
    "Raft",
    "ReadOnly",
    "ReadOnlyForceRecursive",
    "ReadOnlyNonRecursive",
    "ReadonlyPaths",
    "ReadonlyRootfs",
    "RemoteAddrs",
    "Replicas",
    "Replicated",
    "ReplicatedJob",
    "Reservations",
    "Resources",
    "RestartPolicy",
    "Retries",
    "Role",
    "RollbackConfig",
    "Runtime",
    "Search",
    "SecretID",
    "SecretName",
    "Secrets",
    "SecurityOpt",
    "Shell",
    "ShmSize",
    "SizeBytes",
    "SnapshotInterval",
    "Soft",
    "Source",
    "Spec",
    "Spread",
    "SpreadDescriptor",
    "StartInterval",
    "StartPeriod",
    "StdinOnce",
    "StopGracePeriod",
    "StopSignal",
    "StopTimeout",
    "StorageOpt",
    "Subnet",
    "SubnetSize",
    "Subpath",
    "SwapBytes",
    "Sysctls",
    "Target",
    "TargetPort",
    "TaskDefaults",
    "TaskHistoryRetentionLimit",
    "TaskTemplate",
    "Templating",
    "Test",
    "Timeout",
    "Tmpfs",
    "TmpfsOptions",
    "TotalCompletions",
    "Tty",
    "Type",
    "Ulimits",
    "UnlockKey",
    "UpdateConfig",
    "User",
    "UsernsMode",
    "UTSMode",
    "Value",
    "VolumeDriver",
    "VolumeOptions",
    "Volumes",
    "VolumesFrom",
    "Window",
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
