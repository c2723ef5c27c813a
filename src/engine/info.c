/* docker info and docker system df. */
#include "engine/apparmor.h"
#include "engine/engine_priv.h"

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/tree_bytes.h"
#include "image/insecure.h"
#include "runtime/cgroup.h"

#include <dirent.h>
#include <sys/statfs.h>
#include <sys/utsname.h>
#include <unistd.h>

/* --- info --- */

static void count_containers(struct engine *e, json_t *info)
{
    int running = 0, paused = 0, stopped = 0;
    struct container **all = container__all(e);
    for (struct container **c = all; *c; c++) {
        switch (container__state(*c).status) {
        case STATUS_RUNNING:
        case STATUS_RESTARTING:
            running++;
            break;
        case STATUS_PAUSED:
            paused++;
            break;
        default:
            stopped++;
        }
    }
    container__all_free(all);
    json_object_set_new(info, "Containers", json_integer(running + paused + stopped));
    json_object_set_new(info, "ContainersRunning", json_integer(running));
    json_object_set_new(info, "ContainersPaused", json_integer(paused));
    json_object_set_new(info, "ContainersStopped", json_integer(stopped));
}

static int count_images(struct engine *e, json_t *info, struct err *err)
{
    struct image_info *list;
    size_t count;
    int r = image_list(e->images, &list, &count, err);
    if (r < 0)
        return r;
    image_list_free(list, count);
    json_object_set_new(info, "Images", json_integer((json_int_t)count));
    return 0;
}

static char *os_release(const char *key)
{
    _cleanup_str_ struct str text = STR_INIT;
    if (file_read("/etc/os-release", 64 << 10, &text, NULL) < 0)
        return NULL;
    _cleanup_strv_ char **lines = strv_split(str_get(&text), '\n');
    STRV_FOREACH (line, lines) {
        const char *value = str_after(*line, key);
        if (!value || *value++ != '=')
            continue;
        size_t n = strlen(value);
        bool quoted = n >= 2 && (*value == '"' || *value == '\'') && value[n - 1] == *value;
        return quoted ? mem_strndup(value + 1, n - 2) : mem_strdup(value);
    }
    return NULL;
}

static void machine_facts(json_t *info)
{
    struct utsname u;
    uname(&u);
    _cleanup_free_ char *os = os_release("PRETTY_NAME"), *version = os_release("VERSION_ID");
    char now[TIME_RFC3339_BYTES];
    json_set_str(info, "KernelVersion", u.release);
    json_set_str(info, "OperatingSystem", os ? os : "Linux");
    json_set_str(info, "OSVersion", version ? version : "");
    json_set_str(info, "OSType", "linux");
    json_set_str(info, "Architecture", u.machine);
    json_set_str(info, "Name", u.nodename);
    json_object_set_new(info, "NCPU", json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
    json_object_set_new(info, "MemTotal",
                        json_integer((json_int_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE)));
    json_set_str(info, "SystemTime", time_format_rfc3339(time_now_ns(), now));
}

/* --- what the kernel lets one limit --- */

static bool is_one(const char *path)
{
    _cleanup_str_ struct str text = STR_INIT;
    return file_read(path, 64, &text, NULL) == 0 && *str_get(&text) == '1';
}

static bool controller(const char *name)
{
    if (cgroup_host_version() == 2) {
        _cleanup_str_ struct str text = STR_INIT;
        if (file_read("/sys/fs/cgroup/cgroup.controllers", 4096, &text, NULL) < 0)
            return false;
        _cleanup_free_ char *line = str_strip(str_get(&text));
        _cleanup_strv_ char **all = strv_split(line, ' ');
        return strv_has(all, name);
    }
    _cleanup_free_ char *path = str_printf("/sys/fs/cgroup/%s", name);
    return file_exists(path);
}

static bool v1_file(const char *path)
{
    return cgroup_host_version() != 2 && file_exists(path);
}

/* Each with the warning that Docker's clients show when it is not there. */
static void kernel_abilities(json_t *info)
{
    bool v2 = cgroup_host_version() == 2, memory = controller("memory"), cpu = controller("cpu"),
         cpuset = controller("cpuset");
    const struct {
        const char *field;
        bool there;
        const char *warning;
    } abilities[] = {
        {"MemoryLimit", memory, "WARNING: No memory limit support"},
        {"SwapLimit", memory && (v2 || v1_file("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes")),
         "WARNING: No swap limit support"},
        {"CpuCfsPeriod", cpu, "WARNING: No cpu cfs period support"},
        {"CpuCfsQuota", cpu, "WARNING: No cpu cfs quota support"},
        {"CPUShares", cpu, "WARNING: No cpu shares support"},
        {"CPUSet", cpuset, "WARNING: No cpuset support"},
        {"PidsLimit", controller("pids"), NULL},
        {"OomKillDisable", v1_file("/sys/fs/cgroup/memory/memory.oom_control"), NULL},
        {"KernelMemory", false, NULL},
        {"KernelMemoryTCP", false, NULL},
        {"IPv4Forwarding", is_one("/proc/sys/net/ipv4/ip_forward"), "WARNING: IPv4 forwarding is disabled"},
        {"BridgeNfIptables", is_one("/proc/sys/net/bridge/bridge-nf-call-iptables"), NULL},
        {"BridgeNfIp6tables", is_one("/proc/sys/net/bridge/bridge-nf-call-ip6tables"), NULL},
    };
    json_t *warnings = json_array();
    for (size_t i = 0; i < ARRAY_SIZE(abilities); i++) {
        json_object_set_new(info, abilities[i].field, json_boolean(abilities[i].there));
        if (!abilities[i].there && abilities[i].warning)
            json_array_append_new(warnings, json_string(abilities[i].warning));
    }
    json_object_set(info, "Warnings", json_array_size(warnings) ? warnings : json_null());
    json_decref(warnings);
    json_set_str(info, "CgroupDriver", "cgroupfs");
    json_set_str(info, "CgroupVersion", v2 ? "2" : "1");
}

/* --- what serve itself is --- */

static int count_entries(const char *path)
{
    DIR *dir = opendir(path);
    int n = 0;
    for (struct dirent *d; dir && (d = readdir(dir));)
        n += *d->d_name != '.';
    if (dir)
        closedir(dir);
    return n;
}

static void proxy(json_t *info, const char *field, const char *upper, const char *lower)
{
    const char *value = getenv(upper);
    value = value ? value : getenv(lower);
    _cleanup_free_ char *shown = mem_strdup(value ? value : "");
    /* Credentials in a proxy's address are nobody's business. */
    char *host = strstr(shown, "://"), *at = strrchr(shown, '@');
    if (host && at && at > host) {
        _cleanup_free_ char *masked = str_printf("%.*sxxxxx:xxxxx%s", (int)(host + 3 - shown), shown, at);
        json_set_str(info, field, masked);
        return;
    }
    json_set_str(info, field, shown);
}

static void process_facts(struct engine *e, json_t *info)
{
    json_object_set_new(info, "Debug", json_boolean(log_tells(LOG_LEVEL_DEBUG)));
    json_object_set_new(info, "NFd", json_integer(count_entries("/proc/self/fd")));
    json_object_set_new(info, "NGoroutines", json_integer(count_entries("/proc/self/task")));
    json_object_set_new(info, "NEventsListener", json_integer(events__listeners(e->events)));
    proxy(info, "HttpProxy", "HTTP_PROXY", "http_proxy");
    proxy(info, "HttpsProxy", "HTTPS_PROXY", "https_proxy");
    proxy(info, "NoProxy", "NO_PROXY", "no_proxy");
    json_set_str(info, "ServerVersion", DROVER_VERSION);
    json_object_set_new(info, "ExperimentalBuild", json_false());
    json_object_set_new(info, "LiveRestoreEnabled",
                        json_true()); /* always so: the keeper holds the containers */
    json_set_str(info, "DockerRootDir", e->root);
}

static const char *filesystem_name(const char *path)
{
    static const struct {
        long magic;
        const char *name;
    } names[] = {{0xef53, "extfs"},     {0x58465342, "xfs"},       {0x9123683e, "btrfs"},
                 {0x01021994, "tmpfs"}, {0x794c7630, "overlayfs"}, {0x2fc12fc1, "zfs"},
                 {0x6969, "nfs"},       {(long)0xf2f52010, "f2fs"}};
    struct statfs fs;
    if (statfs(path, &fs) == 0)
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
            if (fs.f_type == names[i].magic)
                return names[i].name;
    return "<unknown>";
}

static void storage_facts(struct engine *e, json_t *info)
{
    json_set_str(info, "Driver", "overlay2");
    json_object_set_new(info, "DriverStatus",
                        json_pack("[[s,s],[s,s],[s,s],[s,s]]", "Backing Filesystem", filesystem_name(e->root),
                                  "Supports d_type", "true", "Native Overlay Diff", "true", "userxattr",
                                  str_after(file_overlay_opaque(), "user.") ? "true" : "false"));
}

/* Loopback registries, and those that serve was told of, may be spoken to without TLS. */
static json_t *registry_config(char *const *insecure)
{
    json_t *indexes = json_pack("{s:{s:s, s:[], s:b, s:b}}", "docker.io", "Name", "docker.io", "Mirrors",
                                "Secure", 1, "Official", 1);
    json_t *ranges = json_pack("[s]", "127.0.0.0/8");
    for (char *const *r = insecure; r && *r; r++)
        if (insecure_is_range(*r))
            json_array_append_new(ranges, json_string(*r));
        else
            json_object_set_new(
                indexes, *r,
                json_pack("{s:s, s:[], s:b, s:b}", "Name", *r, "Mirrors", "Secure", 0, "Official", 0));
    return json_pack("{s:[], s:[], s:o, s:o, s:[]}", "AllowNondistributableArtifactsCIDRs",
                     "AllowNondistributableArtifactsHostnames", "InsecureRegistryCIDRs", ranges,
                     "IndexConfigs", indexes, "Mirrors");
}

static json_t *address_pools(const struct engine *e)
{
    json_t *pools = json_array();
    for (size_t i = 0; i < e->pools_shown; i++)
        json_array_append_new(pools,
                              json_pack("{s:s, s:i}", "Base", e->pools[i].base, "Size", e->pools[i].size));
    return pools;
}

/* Those of Docker's fields that are about programs which Drover has not. */
static void absent_parts(json_t *info)
{
    static const char *const commits[] = {"ContainerdCommit", "RuncCommit", "InitCommit"};
    for (size_t i = 0; i < ARRAY_SIZE(commits); i++)
        json_object_set_new(info, commits[i], json_pack("{s:s, s:s}", "ID", "", "Expected", ""));
    json_object_set_new(info, "Swarm",
                        json_pack("{s:s, s:s, s:s, s:b, s:s, s:n}", "NodeID", "", "NodeAddr", "",
                                  "LocalNodeState", "inactive", "ControlAvailable", 0, "Error", "",
                                  "RemoteManagers"));
    json_object_set_new(info, "GenericResources", json_null());
    json_set_str(info, "Isolation", "");
}

/* A random name of this root's own, kept with it. */
static char *engine_id(struct engine *e)
{
    _cleanup_free_ char *path = str_printf("%s/id", e->root);
    _cleanup_str_ struct str text = STR_INIT;
    if (file_read(path, 128, &text, NULL) == 0 && text.len == 36)
        return str_take(&text);
    if (file_read("/proc/sys/kernel/random/uuid", 128, &text, NULL) < 0)
        return mem_strdup("");
    char *id = str_strip(str_get(&text));
    file_replace(path, id, strlen(id), 0600, false, NULL);
    return id;
}

static json_t *log_drivers(void)
{
    json_t *list = json_array();
    for (const char *const *name = logdriver_names(); *name; name++)
        json_array_append_new(list, json_string(*name));
    return list;
}

int engine_info(struct engine *e, bool features, json_t **ret, struct err *err)
{
    _cleanup_json_ json_t *info = json_object();
    _cleanup_free_ char *id = engine_id(e);
    json_set_str(info, "ID", id);
    count_containers(e, info);
    int r = count_images(e, info, err);
    if (r < 0)
        return r;
    machine_facts(info);
    kernel_abilities(info);
    process_facts(e, info);
    storage_facts(e, info);
    absent_parts(info);
    json_object_set_new(info, "Plugins",
                        json_pack("{s:[s],s:[sssss],s:n,s:o}", "Volume", "local", "Network", "bridge", "host",
                                  "ipvlan", "macvlan", "null", "Authorization", "Log", log_drivers()));
    json_set_str(info, "LoggingDriver", e->log_driver);
    json_set_str(info, "IndexServerAddress", "https://index.docker.io/v1/");
    runtimes__show(e, features, info);
    json_t *security = json_pack("[s]", "name=seccomp,profile=default");
    if (apparmor_default())
        json_array_append_new(security, json_string("name=apparmor"));
    if (e->remap_count)
        json_array_append_new(security, json_string("name=userns"));
    json_object_set_new(info, "SecurityOptions", security);
    json_object_set_new(info, "Labels", json_array());
    json_set_str(info, "InitBinary", "docker-init");
    json_object_set_new(info, "CDISpecDirs", json_array());
    json_object_set_new(info, "DefaultAddressPools", address_pools(e));
    json_object_set_new(info, "RegistryConfig", registry_config(images_insecure(e->images)));
    *ret = take_ptr(info);
    return 0;
}

/* --- disk usage --- */

/* Adds {"UsageData":{"Size","RefCount"}} to each volume. */
static void volumes_usage(json_t *volumes, const json_t *containers)
{
    size_t i, j, k;
    json_t *volume;
    json_array_foreach (volumes, i, volume) {
        int64_t users = 0;
        const json_t *container, *mount;
        json_array_foreach (containers, j, container)
            json_array_foreach (json_object_get(container, "Mounts"), k, mount)
                users += strcmp(json_str(mount, "Name"), json_str(volume, "Name")) == 0;
        /* What is mounted from elsewhere is not counted: it may be large, and far away. */
        bool own = str_eq(json_str(volume, "Driver"), "local") &&
                   !json_object_size(json_object_get(volume, "Options"));
        int64_t size = own ? tree_bytes_below(json_str(volume, "Mountpoint")) : -1;
        json_object_set_new(volume, "UsageData",
                            json_pack("{s:I,s:I}", "Size", (json_int_t)size, "RefCount", (json_int_t)users));
    }
}

static int volume_usage(struct engine *e, json_t **ret, struct err *err)
{
    _cleanup_json_ json_t *containers = NULL, *answer = NULL;
    int r = engine_container_list(e, true, 0, false, NULL, &containers, err);
    if (r == 0)
        r = engine_volume_list(e, NULL, &answer, err);
    if (r < 0)
        return r;
    json_t *volumes = json_object_get(answer, "Volumes");
    *ret = json_is_array(volumes) ? json_incref(volumes) : json_array();
    volumes_usage(*ret, containers);
    return 0;
}

int engine_disk_usage(struct engine *e, bool containers, bool volumes, json_t **ret, struct err *err)
{
    _cleanup_json_ json_t *usage = json_object();
    json_t *list = NULL;
    int r = containers ? engine_container_list(e, true, 0, true, NULL, &list, err) : 0;
    if (r < 0)
        return r;
    json_object_set_new(usage, "Containers", containers ? list : json_null());
    r = volumes ? volume_usage(e, &list, err) : 0;
    if (r < 0)
        return r;
    json_object_set_new(usage, "Volumes", volumes ? list : json_null());
    *ret = take_ptr(usage);
    return 0;
}
