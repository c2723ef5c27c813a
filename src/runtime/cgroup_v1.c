/* cgroup v1: a directory in each hierarchy (the kernel's admin-guide/cgroup-v1). */
#include "runtime/cgroup_priv.h"

#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "base/timeutil.h"

#include <sys/stat.h>
#include <unistd.h>

enum { FREEZE_TRIES = 1000 };

/* A new cpuset has neither cpus nor memory nodes and takes no process; it gets its parent's, from the top
 * down to ours. */
static int inherit_cpuset(const char *root, const char *path, struct err *err)
{
    static const char *const files[] = {"cpuset.cpus", "cpuset.mems"};
    _cleanup_strv_ char **parts = strv_split(path, '/');
    _cleanup_free_ char *parent = mem_strdup(root);
    STRV_FOREACH (part, parts) {
        char *dir = str_printf("%s/%s", parent, *part);
        for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
            _cleanup_free_ char *from = str_printf("%s/%s", parent, files[i]);
            _cleanup_free_ char *to = str_printf("%s/%s", dir, files[i]);
            _cleanup_str_ struct str there = STR_INIT, here = STR_INIT;
            int r = file_read(to, 65536, &here, err);
            if (r >= 0 && here.len <= 1) {
                r = file_read(from, 65536, &there, err);
                if (r >= 0)
                    r = cgroup__write(dir, files[i], str_get(&there), err);
            }
            if (r < 0) {
                free(dir);
                return r;
            }
        }
        free(parent);
        parent = dir;
    }
    return 0;
}

static int make_dir(const struct cgroup *g, size_t i, struct err *err)
{
    const char *dir = g->dirs[i].root;
    if (mkdir(dir, 0755) < 0) {
        const char *root = cgroup__host()->dirs[i].root;
        int r = 0;
        /* Left by a run that was cut off, with its limits; nobody is in it (cgroup_create has looked). */
        if (errno == EEXIST && rmdir(dir) < 0)
            return err_sys(err, errno, "replace cgroup %s", dir);
        if ((r = cgroup__mkdirs(root, g->path, err)) < 0)
            return r;
    }
    if (g->dirs[i].controllers & CG_CPUSET)
        return inherit_cpuset(cgroup__host()->dirs[i].root, g->path, err);
    return 0;
}

static int v1_make(struct cgroup *g, struct err *err)
{
    for (size_t i = 0; i < g->count; i++) {
        int r = make_dir(g, i, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int need(const struct cgroup *g, unsigned controller, const char *what, const char **ret,
                struct err *err)
{
    *ret = cgroup__dir_of(g, controller);
    return *ret ? 0
                : err_set(err, ERR_UNSUPPORTED,
                          "%s cannot be limited: this machine has no such cgroup controller", what);
}

/* A setting that is a number in the config and a file of the group. */
struct setting {
    const char *key;
    const char *file;
};

static int apply_settings(const struct cgroup *g, unsigned controller, const json_t *object,
                          const char *where, const struct setting *settings, size_t count, struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        const json_t *present = json_object_get(object, settings[i].key);
        int64_t value = 0;
        const char *dir;
        if (!present || json_is_null(present))
            continue;
        int r = json_get_i64(object, where, settings[i].key, &value, err);
        if (r == 0)
            r = need(g, controller, where, &dir, err);
        if (r == 0)
            r = cgroup__write_i64(dir, settings[i].file, value, err);
        if (r < 0)
            return err_wrap(err, "set %s.%s to %lld", where, settings[i].key, (long long)value);
    }
    return 0;
}

/* The limit of memory may not be above that of memory and swap at any moment, so their order depends on
 * whether they grow. */
static int apply_memory_limit(const char *dir, int64_t limit, int64_t swap, struct err *err)
{
    static const char memory[] = "memory.limit_in_bytes", both[] = "memory.memsw.limit_in_bytes";
    int64_t now = 0;
    if (!swap)
        return limit ? cgroup__write_i64(dir, memory, limit, err) : 0;
    cgroup__read_i64(dir, both, &now);
    bool grows = swap < 0 || swap >= now;
    int r = grows ? cgroup__write_i64(dir, both, swap, err) : 0;
    if (r == 0 && limit)
        r = cgroup__write_i64(dir, memory, limit, err);
    if (r == 0 && !grows)
        r = cgroup__write_i64(dir, both, swap, err);
    return r;
}

static int apply_memory(const struct cgroup *g, const json_t *memory, struct err *err)
{
    static const struct setting settings[] = {
        {"reservation", "memory.soft_limit_in_bytes"},
        {"kernelTCP", "memory.kmem.tcp.limit_in_bytes"},
        {"swappiness", "memory.swappiness"},
    };
    static const char where[] = "linux.resources.memory";
    int64_t limit = 0, swap = 0, kernel = 0;
    bool no_oom = false;
    const char *dir;
    int r = json_get_i64(memory, where, "limit", &limit, err);
    if (r == 0)
        r = json_get_i64(memory, where, "swap", &swap, err);
    if (r == 0)
        r = json_get_i64(memory, where, "kernel", &kernel, err);
    if (r == 0)
        r = json_get_bool(memory, where, "disableOOMKiller", &no_oom, err);
    if (r < 0)
        return r;
    if (kernel > 0)
        return err_set(err, ERR_UNSUPPORTED,
                       "\"%s.kernel\": the kernel has no limit of kernel memory any more", where);
    if (limit || swap || no_oom) {
        if ((r = need(g, CG_MEMORY, "memory", &dir, err)) < 0)
            return r;
        r = apply_memory_limit(dir, limit, swap, err);
        if (r == 0 && no_oom)
            r = cgroup__write(dir, "memory.oom_control", "1", err);
        if (r < 0)
            return err_wrap(err, "set the memory limit to %lld bytes", (long long)limit);
    }
    return apply_settings(g, CG_MEMORY, memory, where, settings, ARRAY_SIZE(settings), err);
}

static int apply_cpuset(const struct cgroup *g, const json_t *cpu, struct err *err)
{
    static const struct setting settings[] = {{"cpus", "cpuset.cpus"}, {"mems", "cpuset.mems"}};
    for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
        const char *list = NULL, *dir;
        int r = json_get_string(cpu, "linux.resources.cpu", settings[i].key, &list, err);
        if (r < 0)
            return r;
        if (str_empty(list))
            continue;
        if ((r = need(g, CG_CPUSET, "cpuset", &dir, err)) < 0 ||
            (r = cgroup__write(dir, settings[i].file, list, err)) < 0)
            return err_wrap(err, "set linux.resources.cpu.%s to \"%s\"", settings[i].key, list);
    }
    return 0;
}

static int apply_cpu(const struct cgroup *g, const json_t *cpu, struct err *err)
{
    /* The period before the quota and the burst, which are checked against it. */
    static const struct setting settings[] = {
        {"shares", "cpu.shares"},
        {"period", "cpu.cfs_period_us"},
        {"quota", "cpu.cfs_quota_us"},
        {"burst", "cpu.cfs_burst_us"},
        {"realtimePeriod", "cpu.rt_period_us"},
        {"realtimeRuntime", "cpu.rt_runtime_us"},
        {"idle", "cpu.idle"},
    };
    int r = apply_settings(g, CG_CPU, cpu, "linux.resources.cpu", settings, ARRAY_SIZE(settings), err);
    return r < 0 ? r : apply_cpuset(g, cpu, err);
}

static int apply_pids(const struct cgroup *g, const json_t *pids, struct err *err)
{
    int64_t limit = 0;
    const char *dir;
    int r = json_get_i64(pids, "linux.resources.pids", "limit", &limit, err);
    if (r < 0 || !json_object_get(pids, "limit"))
        return r;
    if ((r = need(g, CG_PIDS, "the number of processes", &dir, err)) < 0)
        return r;
    return limit > 0 ? cgroup__write_i64(dir, "pids.max", limit, err)
                     : cgroup__write(dir, "pids.max", "max", err);
}

static int apply_throttle(const struct cgroup *g, const json_t *io, const struct setting *setting,
                          struct err *err)
{
    json_t *list = NULL, *entry;
    int r = json_get_array(io, "linux.resources.blockIO", setting->key, &list, err);
    size_t i;
    json_array_foreach (list, i, entry) {
        const char *dir;
        char text[96];
        if ((r = need(g, CG_BLKIO, "block I/O", &dir, err)) < 0)
            return r;
        snprintf(text, sizeof(text), "%lld:%lld %lld", (long long)json_int(entry, "major"),
                 (long long)json_int(entry, "minor"),
                 (long long)json_int(entry, json_object_get(entry, "rate") ? "rate" : "weight"));
        if ((r = cgroup__write(dir, setting->file, text, err)) < 0)
            return err_wrap(err, "set linux.resources.blockIO.%s", setting->key);
    }
    return r;
}

static int apply_weight(const struct cgroup *g, const json_t *io, struct err *err)
{
    int64_t weight = 0;
    const char *dir;
    int r = json_get_i64(io, "linux.resources.blockIO", "weight", &weight, err);
    if (r < 0 || !weight)
        return r;
    if ((r = need(g, CG_BLKIO, "block I/O", &dir, err)) < 0)
        return r;
    if (cgroup__write_i64(dir, "blkio.weight", weight, NULL) == 0)
        return 0;
    return cgroup__write_i64(dir, "blkio.bfq.weight", weight, err);
}

static int apply_io(const struct cgroup *g, const json_t *io, struct err *err)
{
    static const struct setting settings[] = {
        {"weightDevice", "blkio.bfq.weight_device"},
        {"throttleReadBpsDevice", "blkio.throttle.read_bps_device"},
        {"throttleWriteBpsDevice", "blkio.throttle.write_bps_device"},
        {"throttleReadIOPSDevice", "blkio.throttle.read_iops_device"},
        {"throttleWriteIOPSDevice", "blkio.throttle.write_iops_device"},
    };
    int r = apply_weight(g, io, err);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(settings); i++)
        r = apply_throttle(g, io, &settings[i], err);
    return r;
}

static int apply_devices(const struct cgroup *g, const json_t *resources, struct err *err)
{
    _cleanup_free_ struct cgroup_device_rule *rules = NULL;
    size_t count;
    int r = cgroup__device_rules(resources, &rules, &count, err);
    for (size_t i = 0; r == 0 && i < count; i++) {
        const struct cgroup_device_rule *rule = &rules[i];
        const char *dir;
        char major_[24] = "*", minor_[24] = "*", text[96];
        if ((r = need(g, CG_DEVICES, "access to devices", &dir, err)) < 0)
            return r;
        if (rule->major >= 0)
            snprintf(major_, sizeof(major_), "%lld", (long long)rule->major);
        if (rule->minor >= 0)
            snprintf(minor_, sizeof(minor_), "%lld", (long long)rule->minor);
        snprintf(text, sizeof(text), "%c %s:%s %s%s%s", rule->type, major_, minor_, rule->read ? "r" : "",
                 rule->write ? "w" : "", rule->mknod ? "m" : "");
        /* "a" with anything behind it means everything to the kernel. */
        r = cgroup__write(dir, rule->allow ? "devices.allow" : "devices.deny", rule->type == 'a' ? "a" : text,
                          err);
    }
    return r;
}

static int v1_apply(struct cgroup *g, const json_t *resources, struct err *err)
{
    static const char where[] = "linux.resources";
    json_t *memory = NULL, *cpu = NULL, *pids = NULL, *io = NULL;
    int r = json_get_object(resources, where, "memory", &memory, err);
    if (r == 0)
        r = json_get_object(resources, where, "cpu", &cpu, err);
    if (r == 0)
        r = json_get_object(resources, where, "pids", &pids, err);
    if (r == 0)
        r = json_get_object(resources, where, "blockIO", &io, err);
    if (r < 0)
        return r;
    static const char *const others[] = {"unified", "network", "rdma", "hugepageLimits"};
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        const json_t *value = json_object_get(resources, others[i]);
        if (json_object_size(value) || json_array_size(value))
            return err_set(err, ERR_UNSUPPORTED, "\"%s.%s\" is not supported on cgroup v1", where, others[i]);
    }
    r = apply_memory(g, memory, err);
    if (r == 0)
        r = apply_cpu(g, cpu, err);
    if (r == 0)
        r = apply_pids(g, pids, err);
    if (r == 0)
        r = apply_io(g, io, err);
    return r < 0 ? r : apply_devices(g, resources, err);
}

static bool in_state(const char *dir, const char *state)
{
    _cleanup_free_ char *path = str_printf("%s/freezer.state", dir);
    _cleanup_str_ struct str text = STR_INIT;
    return file_read(path, 64, &text, NULL) >= 0 && str_after(str_get(&text), state);
}

static bool v1_is_frozen(const struct cgroup *g)
{
    const char *dir = cgroup__dir_of(g, CG_FREEZER);
    return dir && (in_state(dir, "FROZEN") || in_state(dir, "FREEZING"));
}

static int v1_freeze(struct cgroup *g, bool frozen, struct err *err)
{
    const char *dir;
    int r = need(g, CG_FREEZER, "running", &dir, err);
    const char *state = frozen ? "FROZEN" : "THAWED";
    /* A process that forks while the group freezes can leave it FREEZING until it is asked again
     * (freezer-subsystem.rst). */
    for (int tries = 0; r == 0 && tries < FREEZE_TRIES; tries++) {
        if ((r = cgroup__write(dir, "freezer.state", state, err)) < 0 || in_state(dir, state))
            return r;
        time_sleep_ns(tries < 20 ? NS_PER_MS / 20 : NS_PER_MS);
    }
    if (r < 0)
        return r;
    cgroup__write(dir, "freezer.state", "THAWED", NULL);
    return err_set(err, ERR_TIMEOUT, "cgroup %s did not become %s", g->path, frozen ? "frozen" : "thawed");
}

static int v1_usage(struct cgroup *g, struct cgroup_usage *u, struct err *err)
{
    const char *acct = cgroup__dir_of(g, CG_CPUACCT), *memory = cgroup__dir_of(g, CG_MEMORY);
    const char *cpu = cgroup__dir_of(g, CG_CPU), *pids = cgroup__dir_of(g, CG_PIDS);
    const char *io = cgroup__dir_of(g, CG_BLKIO);
    cgroup__read_i64(acct, "cpuacct.usage", &u->cpu_ns);
    cgroup__read_i64(acct, "cpuacct.usage_user", &u->cpu_user_ns);
    cgroup__read_i64(acct, "cpuacct.usage_sys", &u->cpu_system_ns);
    cgroup__read_key(cpu, "cpu.stat", "nr_periods", &u->periods);
    cgroup__read_key(cpu, "cpu.stat", "nr_throttled", &u->throttled_periods);
    cgroup__read_key(cpu, "cpu.stat", "throttled_time", &u->throttled_ns);
    cgroup__read_i64(memory, "memory.usage_in_bytes", &u->memory_bytes);
    cgroup__read_i64(memory, "memory.max_usage_in_bytes", &u->memory_max_bytes);
    cgroup__read_i64(memory, "memory.limit_in_bytes", &u->memory_limit_bytes);
    cgroup__read_key(memory, "memory.stat", "total_inactive_file", &u->memory_cache_bytes);
    cgroup__read_key(memory, "memory.oom_control", "oom_kill", &u->oom_kills);
    cgroup__read_i64(pids, "pids.current", &u->pids);
    cgroup__read_i64(pids, "pids.max", &u->pids_limit);
    u->io_read_bytes = cgroup__sum_key(io, "blkio.throttle.io_service_bytes", " Read");
    u->io_write_bytes = cgroup__sum_key(io, "blkio.throttle.io_service_bytes", " Write");
    /* "No limit" is the largest number of whole pages. */
    if (u->memory_limit_bytes >= INT64_C(1) << 62)
        u->memory_limit_bytes = -1;
    return 0;
}

const struct cgroup_ops cgroup__v1 = {
    .make = v1_make,
    .apply = v1_apply,
    .freeze = v1_freeze,
    .is_frozen = v1_is_frozen,
    .usage = v1_usage,
};
