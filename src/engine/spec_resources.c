/* Limits and devices of HostConfig as "linux.resources" and "linux.devices". */
#include "engine/engine_priv.h"

#include "runtime/cgroup.h"
#include "runtime/runtime.h"

#include <dirent.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { CPU_PERIOD_US = 100000, DEVICES_MAX = 1024 };
enum { SHARES_MIN = 2, SHARES_MAX = 262144 };

bool spec__swap_can_be_limited(void)
{
    return cgroup_host_version() == 2 ||
           access("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes", F_OK) == 0;
}

static void set_int(json_t *object, const char *key, int64_t value)
{
    if (value)
        json_object_set_new(object, key, json_integer(value));
}

static json_t *memory_of(const json_t *host)
{
    json_t *m = json_object();
    int64_t limit = json_int(host, "Memory"), swap = json_int(host, "MemorySwap");
    if (limit && !swap && spec__swap_can_be_limited())
        swap = limit > INT64_MAX / 2 ? -1 : limit * 2; /* Docker's default: as much swap again */
    set_int(m, "limit", limit);
    set_int(m, "reservation", json_int(host, "MemoryReservation"));
    set_int(m, "swap", swap);
    const json_t *swappiness = json_object_get(host, "MemorySwappiness");
    if (json_is_integer(swappiness) && json_integer_value(swappiness) >= 0)
        json_object_set(m, "swappiness", (json_t *)swappiness);
    if (json_bool(host, "OomKillDisable"))
        json_object_set_new(m, "disableOOMKiller", json_true());
    return m;
}

/* As Docker's runtime judges it, when a container starts. */
static int check_shares(const json_t *host, struct err *err)
{
    int64_t shares = json_int(host, "CpuShares");
    if (shares < 0)
        return err_set(err, ERR_INVALID, "\"HostConfig.CpuShares\": cpu.shares: invalid argument: %lld",
                       (long long)shares);
    if (shares && shares < SHARES_MIN)
        return err_set(err, ERR_INVALID, "the minimum allowed cpu-shares is %d", SHARES_MIN);
    if (shares > SHARES_MAX)
        return err_set(err, ERR_INVALID, "the maximum allowed cpu-shares is %d", SHARES_MAX);
    return 0;
}

static json_t *cpu_of(const json_t *host)
{
    json_t *c = json_object();
    int64_t nano = json_int(host, "NanoCpus");
    set_int(c, "shares", json_int(host, "CpuShares"));
    set_int(c, "quota", nano ? MAX(nano / (NS_PER_S / CPU_PERIOD_US), 1000) : json_int(host, "CpuQuota"));
    set_int(c, "period", nano ? CPU_PERIOD_US : json_int(host, "CpuPeriod"));
    set_int(c, "realtimePeriod", json_int(host, "CpuRealtimePeriod"));
    set_int(c, "realtimeRuntime", json_int(host, "CpuRealtimeRuntime"));
    if (*json_str(host, "CpusetCpus"))
        json_set_str(c, "cpus", json_str(host, "CpusetCpus"));
    if (*json_str(host, "CpusetMems"))
        json_set_str(c, "mems", json_str(host, "CpusetMems"));
    return c;
}

/* HostConfig's lists of limits for one device each: {"Path": ..., "Rate" or "Weight": ...}. */
static const struct io_list {
    const char *name, *value, *to, *to_value;
    int64_t min, max;
} io_lists[] = {
    {"BlkioWeightDevice", "Weight", "weightDevice", "weight", IO_WEIGHT_MIN, IO_WEIGHT_MAX},
    {"BlkioDeviceReadBps", "Rate", "throttleReadBpsDevice", "rate", 0, INT64_MAX},
    {"BlkioDeviceWriteBps", "Rate", "throttleWriteBpsDevice", "rate", 0, INT64_MAX},
    {"BlkioDeviceReadIOps", "Rate", "throttleReadIOPSDevice", "rate", 0, INT64_MAX},
    {"BlkioDeviceWriteIOps", "Rate", "throttleWriteIOPSDevice", "rate", 0, INT64_MAX},
};

static int add_io_device(const struct io_list *list, const json_t *entry, json_t *to, struct err *err)
{
    const char *path = "";
    int64_t value = 0;
    struct stat st;
    _cleanup_free_ char *where = str_printf("HostConfig.%s", list->name);
    int r = json_get_string(entry, where, "Path", &path, err);
    if (r == 0)
        r = json_get_i64(entry, where, list->value, &value, err);
    if (r < 0)
        return r;
    if (value < list->min || value > list->max)
        return err_set(err, ERR_INVALID, "\"%s\": the %s of %.200s is not between %lld and %lld", where,
                       list->value, path, (long long)list->min, (long long)list->max);
    if (stat(path, &st) < 0)
        return err_sys(err, errno, "\"%s\": stat %.200s", where, path);
    if (!S_ISBLK(st.st_mode))
        return err_set(err, ERR_INVALID, "\"%s\": %.200s is not a block device", where, path);
    if (json_array_size(to) >= DEVICES_MAX)
        return err_set(err, ERR_LIMIT, "\"%s\": more than %d devices", where, DEVICES_MAX);
    json_array_append_new(to, json_pack("{s:I,s:I,s:I}", "major", (json_int_t)major(st.st_rdev), "minor",
                                        (json_int_t)minor(st.st_rdev), list->to_value, (json_int_t)value));
    return 0;
}

static int io_of(const json_t *host, json_t *io, struct err *err)
{
    set_int(io, "weight", json_int(host, "BlkioWeight"));
    for (size_t i = 0; i < ARRAY_SIZE(io_lists); i++) {
        const json_t *entry, *entries = json_object_get(host, io_lists[i].name);
        size_t n;
        if (!json_array_size(entries))
            continue;
        json_t *to = json_array();
        json_object_set_new(io, io_lists[i].to, to);
        json_array_foreach (entries, n, entry) {
            int r = add_io_device(&io_lists[i], entry, to, err);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

static void set_object(json_t *resources, const char *key, json_t *value)
{
    if (json_object_size(value))
        json_object_set(resources, key, value);
    json_decref(value);
}

int spec__resources_object(const json_t *host, json_t *resources, struct err *err)
{
    set_object(resources, "memory", memory_of(host));
    set_object(resources, "cpu", cpu_of(host));
    int64_t pids = json_int(host, "PidsLimit");
    if (pids > 0)
        json_object_set_new(resources, "pids", json_pack("{s:I}", "limit", (json_int_t)pids));
    json_t *io = json_object();
    int r = io_of(host, io, err);
    set_object(resources, "blockIO", io);
    return r;
}

static int check_access(const char *access, const char *what, struct err *err)
{
    if (!*access || access[strspn(access, "rwm")])
        return err_set(err, ERR_INVALID,
                       "invalid device permissions \"%.20s\" for %.200s; use letters of rwm", access, what);
    return 0;
}

static int add_node(const char *host_path, const char *path, const char *access, json_t *devices,
                    json_t *rules, struct err *err)
{
    struct stat st;
    if (*host_path != '/' || *path != '/')
        return err_set(err, ERR_INVALID, "\"%.200s\" is not an absolute path",
                       *host_path == '/' ? path : host_path);
    if (stat(host_path, &st) < 0)
        return err_sys(err, errno, "error gathering device information while adding custom device \"%s\"",
                       host_path);
    if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode))
        return err_set(
            err, ERR_INVALID,
            "error gathering device information while adding custom device \"%s\": not a device node",
            host_path);
    if (json_array_size(devices) >= DEVICES_MAX)
        return err_set(err, ERR_LIMIT, "more than %d devices", DEVICES_MAX);
    const char *type = S_ISCHR(st.st_mode) ? "c" : "b";
    json_int_t major_ = major(st.st_rdev), minor_ = minor(st.st_rdev);
    json_array_append_new(devices,
                          json_pack("{s:s,s:s,s:I,s:I,s:I,s:I,s:I}", "path", path, "type", type, "major",
                                    major_, "minor", minor_, "fileMode", (json_int_t)(st.st_mode & 0777),
                                    "uid", (json_int_t)st.st_uid, "gid", (json_int_t)st.st_gid));
    json_array_append_new(rules, json_pack("{s:b,s:s,s:I,s:I,s:s}", "allow", 1, "type", type, "major", major_,
                                           "minor", minor_, "access", access));
    return 0;
}

/* Every device in a directory and below, at the same places in the container; but those named in `without`,
 * in the directory itself. Links are not followed. What goes away meanwhile is left out. */
static int add_directory(const char *on_host, const char *inside, const char *access, char *const *without,
                         json_t *devices, json_t *rules, struct err *err)
{
    DIR *d = opendir(on_host);
    int r = d ? 0 : err_sys(err, errno, "read the devices in %s", on_host);
    for (struct dirent *entry; r == 0 && (entry = readdir(d));) {
        _cleanup_free_ char *from = str_printf("%s/%s", on_host, entry->d_name),
                            *to = str_printf("%s/%s", inside, entry->d_name);
        struct stat st;
        if (str_eq(entry->d_name, ".") || str_eq(entry->d_name, "..") || strv_has(without, entry->d_name) ||
            lstat(from, &st) < 0)
            continue;
        if (S_ISDIR(st.st_mode))
            r = add_directory(from, to, access, NULL, devices, rules, err);
        else if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
            r = add_node(from, to, access, devices, rules, err);
    }
    if (d)
        closedir(d);
    return r;
}

static int add_device(const char *on_host, const char *inside, const char *access, json_t *devices,
                      json_t *rules, struct err *err)
{
    struct stat st;
    size_t before = json_array_size(devices);
    if (*on_host != '/' || *inside != '/' || stat(on_host, &st) < 0 || !S_ISDIR(st.st_mode))
        return add_node(on_host, inside, access, devices, rules, err);
    int r = add_directory(on_host, inside, access, NULL, devices, rules, err);
    if (r == 0 && json_array_size(devices) == before)
        r = err_set(err, ERR_INVALID,
                    "error gathering device information while adding custom device \"%s\": not a device node",
                    on_host);
    return r;
}

/* The host's /dev, as --privileged asks; what the container makes for itself is left out. */
static int all_devices(json_t *devices, struct err *err)
{
    static const char *const own[] = {"console", "ptmx", "null", "zero", "full",   "random", "urandom",
                                      "tty",     "pts",  "shm",  "fd",   "mqueue", NULL};
    _cleanup_json_ json_t *unused = json_array();
    return add_directory("/dev", "/dev", "rwm", (char *const *)own, devices, unused, err);
}

static int named_devices(const json_t *host, json_t *devices, json_t *rules, struct err *err)
{
    size_t i;
    const json_t *d;
    json_array_foreach (json_object_get(host, "Devices"), i, d) {
        const char *on_host = "", *inside = "", *access = "";
        static const char where[] = "HostConfig.Devices";
        int r = json_get_string(d, where, "PathOnHost", &on_host, err);
        if (r == 0)
            r = json_get_string(d, where, "PathInContainer", &inside, err);
        if (r == 0)
            r = json_get_string(d, where, "CgroupPermissions", &access, err);
        if (r == 0 && *access)
            r = check_access(access, on_host, err);
        if (r == 0)
            r = add_device(on_host, *inside ? inside : on_host, *access ? access : "rwm", devices, rules,
                           err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int number_or_any(const char *text, int64_t *ret, struct err *err)
{
    if (str_eq(text, "*")) {
        *ret = -1;
        return 0;
    }
    return parse_i64(text, 0, 1 << 20, ret, err);
}

/* "c 1:3 rwm", "a *:* rwm" */
static int device_rule(const char *text, json_t *rules, struct err *err)
{
    _cleanup_strv_ char **parts = strv_split(text, ' ');
    char *colon = strv_len(parts) == 3 ? strchr(parts[1], ':') : NULL;
    int64_t major_ = -1, minor_ = -1;
    if (!colon || strlen(parts[0]) != 1 || !strchr("abc", *parts[0]))
        return err_set(err, ERR_INVALID, "invalid device cgroup rule format: '%.100s'", text);
    *colon = '\0';
    int r = number_or_any(parts[1], &major_, err);
    if (r == 0)
        r = number_or_any(colon + 1, &minor_, err);
    if (r == 0)
        r = check_access(parts[2], text, err);
    if (r < 0)
        return err_wrap(err, "invalid device cgroup rule format: '%.100s'", text);
    json_t *rule = json_pack("{s:b,s:s,s:s}", "allow", 1, "type", parts[0], "access", parts[2]);
    if (major_ >= 0)
        json_object_set_new(rule, "major", json_integer(major_));
    if (minor_ >= 0)
        json_object_set_new(rule, "minor", json_integer(minor_));
    json_array_append_new(rules, rule);
    return 0;
}

int spec__resources(const json_t *host, json_t *spec, struct err *err)
{
    json_t *linux_ = json_object_get(spec, "linux"), *resources = json_object_get(linux_, "resources");
    json_t *rules = json_object_get(resources, "devices"), *devices = json_object_get(linux_, "devices");
    size_t i;
    const json_t *text;
    int r = 0;
    if (json_bool(host, "Privileged")) {
        json_array_clear(rules);
        json_array_append_new(rules, json_pack("{s:b,s:s}", "allow", 1, "access", "rwm"));
        r = all_devices(devices, err);
    }
    if (r == 0)
        r = check_shares(host, err);
    if (r == 0)
        r = named_devices(host, devices, rules, err);
    json_array_foreach (json_object_get(host, "DeviceCgroupRules"), i, text)
        if (r == 0)
            r = device_rule(json_string_value(text), rules, err);
    return r < 0 ? r : spec__resources_object(host, resources, err);
}
