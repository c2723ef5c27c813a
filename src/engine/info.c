/* docker info and docker system df. */
#include "engine/engine_priv.h"

#include "base/err.h"
#include "base/file.h"
#include "runtime/cgroup.h"

#include <sys/utsname.h>
#include <unistd.h>

/* --- info --- */

static char *operating_system(void)
{
    _cleanup_str_ struct str text = STR_INIT;
    if (file_read("/etc/os-release", 64 << 10, &text, NULL) < 0)
        return mem_strdup("Linux");
    _cleanup_strv_ char **lines = strv_split(str_get(&text), '\n');
    STRV_FOREACH (line, lines) {
        const char *value = str_after(*line, "PRETTY_NAME=");
        if (!value)
            continue;
        size_t n = strlen(value);
        if (n >= 2 && *value == '"')
            return mem_strndup(value + 1, n - 2);
        return mem_strdup(value);
    }
    return mem_strdup("Linux");
}

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

static void machine_facts(json_t *info)
{
    struct utsname u;
    uname(&u);
    _cleanup_free_ char *os = operating_system();
    char now[TIME_RFC3339_BYTES];
    json_set_str(info, "KernelVersion", u.release);
    json_set_str(info, "OperatingSystem", os);
    json_set_str(info, "OSType", "linux");
    json_set_str(info, "Architecture", u.machine);
    json_set_str(info, "Name", u.nodename);
    json_object_set_new(info, "NCPU", json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
    json_object_set_new(info, "MemTotal",
                        json_integer((json_int_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE)));
    json_set_str(info, "SystemTime", time_format_rfc3339(time_now_ns(), now));
    json_set_str(info, "CgroupDriver", "cgroupfs");
    json_set_str(info, "CgroupVersion", cgroup_host_version() == 2 ? "2" : "1");
}

static const char *const yes[] = {"MemoryLimit", "SwapLimit", "CpuCfsPeriod",   "CpuCfsQuota",   "CPUShares",
                                  "CPUSet",      "PidsLimit", "IPv4Forwarding", "OomKillDisable"};
static const char *const no[] = {"KernelMemory",      "KernelMemoryTCP", "BridgeNfIptables",
                                 "BridgeNfIp6tables", "Debug",           "ExperimentalBuild"};

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

int engine_info(struct engine *e, json_t **ret, struct err *err)
{
    _cleanup_json_ json_t *info = json_object();
    _cleanup_free_ char *id = engine_id(e);
    json_set_str(info, "ID", id);
    count_containers(e, info);
    int r = count_images(e, info, err);
    if (r < 0)
        return r;
    machine_facts(info);
    for (size_t i = 0; i < ARRAY_SIZE(yes); i++)
        json_object_set_new(info, yes[i], json_true());
    for (size_t i = 0; i < ARRAY_SIZE(no); i++)
        json_object_set_new(info, no[i], json_false());
    json_object_set_new(info, "LiveRestoreEnabled",
                        json_true()); /* always so: the keeper holds the containers */
    json_set_str(info, "Driver", "overlay2");
    json_object_set_new(info, "DriverStatus", json_array());
    json_object_set_new(info, "Plugins",
                        json_pack("{s:[s],s:[sss],s:n,s:[sss]}", "Volume", "local", "Network", "bridge",
                                  "host", "null", "Authorization", "Log", "local", "json-file", "none"));
    json_set_str(info, "LoggingDriver", "json-file");
    json_set_str(info, "DockerRootDir", e->root);
    json_set_str(info, "ServerVersion", DROVER_VERSION);
    json_set_str(info, "IndexServerAddress", "https://index.docker.io/v1/");
    runtimes__show(e, info);
    json_object_set_new(info, "Swarm",
                        json_pack("{s:s,s:b}", "LocalNodeState", "inactive", "ControlAvailable", 0));
    json_t *security = json_pack("[s]", "name=seccomp,profile=default");
    if (e->remap_count)
        json_array_append_new(security, json_string("name=userns"));
    json_object_set_new(info, "SecurityOptions", security);
    json_object_set_new(info, "Labels", json_array());
    json_object_set_new(info, "Warnings", json_array());
    json_object_set_new(
        info, "RegistryConfig",
        json_pack("{s:[s],s:{},s:[]}", "InsecureRegistryCIDRs", "127.0.0.0/8", "IndexConfigs", "Mirrors"));
    *ret = take_ptr(info);
    return 0;
}

/* --- disk usage --- */

static bool image_matches(const json_t *container, const char *id)
{
    return strcmp(json_str(container, "ImageID"), id) == 0;
}

static int images_usage_json(struct engine *e, const json_t *containers, json_t **ret, struct err *err)
{
    struct image_info *list;
    size_t count;
    int r = image_list(e->images, &list, &count, err);
    if (r < 0)
        return r;
    json_t *images = json_array();
    for (size_t i = 0; i < count; i++) {
        const struct image_info *im = &list[i];
        int64_t users = 0;
        size_t at;
        const json_t *container;
        json_array_foreach (containers, at, container)
            users += image_matches(container, im->id);
        json_t *o = json_object();
        json_set_str(o, "Id", im->id);
        json_set_str(o, "ParentId", im->parent_id ? im->parent_id : "");
        json_object_set_new(o, "RepoTags", json_of_strv(im->references));
        json_object_set_new(o, "RepoDigests", json_of_strv(im->digests));
        json_object_set_new(o, "Created", json_integer(im->created_ns / NS_PER_S));
        json_object_set_new(o, "Size", json_integer(im->size_bytes));
        json_object_set_new(o, "SharedSize", json_integer(0));
        json_object_set_new(o, "Containers", json_integer(users));
        json_array_append_new(images, o);
    }
    image_list_free(list, count);
    *ret = images;
    return 0;
}

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
        json_object_set_new(volume, "UsageData",
                            json_pack("{s:I,s:I}", "Size",
                                      (json_int_t)usage__tree_bytes(json_str(volume, "Mountpoint")),
                                      "RefCount", (json_int_t)users));
    }
}

int engine_disk_usage(struct engine *e, json_t **ret, struct err *err)
{
    _cleanup_json_ json_t *containers = NULL, *volumes = NULL, *images = NULL;
    int64_t layers = 0;
    int r = engine_container_list(e, true, 0, true, NULL, &containers, err);
    if (r == 0)
        r = engine_volume_list(e, NULL, &volumes, err);
    if (r == 0)
        r = images_usage_json(e, containers, &images, err);
    if (r == 0)
        r = images_usage(e->images, &layers, err);
    if (r < 0)
        return r;
    json_t *volume_list = json_object_get(volumes, "Volumes");
    if (!json_is_array(volume_list))
        volume_list = json_array();
    else
        json_incref(volume_list);
    volumes_usage(volume_list, containers);
    *ret = json_object();
    json_object_set_new(*ret, "LayersSize", json_integer(layers));
    json_object_set_new(*ret, "Images", take_ptr(images));
    json_object_set_new(*ret, "Containers", take_ptr(containers));
    json_object_set_new(*ret, "Volumes", volume_list);
    json_object_set_new(*ret, "BuildCache", json_array());
    json_object_set_new(*ret, "BuilderSize", json_integer(0));
    return 0;
}
