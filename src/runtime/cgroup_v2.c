/* cgroup v2: one directory (the kernel's admin-guide/cgroup-v2). */
#include "runtime/cgroup_priv.h"

#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "base/timeutil.h"

#include <sys/stat.h>
#include <unistd.h>

enum { FREEZE_TRIES = 1000 };

/* Which controllers the group's parents pass down. All that exist are asked for one by one, since a single
 * write is all or nothing. */
static void enable_controllers(const char *dir)
{
    static const char *const wanted[] = {"memory", "cpu", "pids", "io", "cpuset", "hugetlb", "rdma"};
    _cleanup_free_ char *offered = str_printf("%s/cgroup.controllers", dir);
    _cleanup_free_ char *enabled = str_printf("%s/cgroup.subtree_control", dir);
    _cleanup_str_ struct str have = STR_INIT, on = STR_INIT;
    if (file_read(offered, 4096, &have, NULL) < 0 || file_read(enabled, 4096, &on, NULL) < 0)
        return;
    _cleanup_free_ char *have_line = str_strip(str_get(&have));
    _cleanup_free_ char *on_line = str_strip(str_get(&on));
    _cleanup_strv_ char **have_list = strv_split(have_line, ' ');
    _cleanup_strv_ char **on_list = strv_split(on_line, ' ');
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
        if (!strv_has(have_list, wanted[i]) || strv_has(on_list, wanted[i]))
            continue;
        char word[32];
        snprintf(word, sizeof(word), "+%s", wanted[i]);
        cgroup__write(dir, "cgroup.subtree_control", word, NULL); /* its lack is said when it is needed */
    }
}

static int v2_make(struct cgroup *g, struct err *err)
{
    _cleanup_strv_ char **parts = strv_split(g->path, '/');
    _cleanup_free_ char *dir = mem_strdup(cgroup__host()->dirs[0].root);
    STRV_FOREACH (part, parts) {
        enable_controllers(dir);
        char *below = str_printf("%s/%s", dir, *part);
        free(dir);
        dir = below;
        bool last = !part[1];
        if (mkdir(dir, 0755) == 0 || (errno == EEXIST && !last))
            continue;
        /* Left by a run that was cut off; nobody is in it (cgroup_create has looked). */
        if (errno == EEXIST && rmdir(dir) == 0 && mkdir(dir, 0755) == 0)
            continue;
        return err_sys(err, errno, "make cgroup %s", dir);
    }
    return 0;
}

static int set_text(const struct cgroup *g, const char *file, const char *text, const char *what,
                    struct err *err)
{
    int r = cgroup__write(g->dirs[0].root, file, text, err);
    if (r == -ERR_NOT_FOUND)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s cannot be limited: the controller of %s is not available to cgroup %s", what, file,
                       g->path);
    return r < 0 ? err_wrap(err, "set %s", what) : 0;
}

static int set_i64(const struct cgroup *g, const char *file, int64_t value, const char *what, struct err *err)
{
    char text[32] = "max";
    if (value >= 0)
        snprintf(text, sizeof(text), "%lld", (long long)value);
    return set_text(g, file, text, what, err);
}

static int apply_memory(const struct cgroup *g, const json_t *memory, struct err *err)
{
    static const char where[] = "linux.resources.memory";
    int64_t limit = 0, swap = 0, reservation = 0, kernel = 0, swappiness = -1;
    bool no_oom = false;
    int r = json_get_i64(memory, where, "limit", &limit, err);
    if (r == 0)
        r = json_get_i64(memory, where, "swap", &swap, err);
    if (r == 0)
        r = json_get_i64(memory, where, "reservation", &reservation, err);
    if (r == 0)
        r = json_get_i64(memory, where, "kernel", &kernel, err);
    if (r == 0)
        r = json_get_i64(memory, where, "swappiness", &swappiness, err);
    if (r == 0)
        r = json_get_bool(memory, where, "disableOOMKiller", &no_oom, err);
    if (r < 0)
        return r;
    if (kernel > 0 || swappiness >= 0 || no_oom)
        return err_set(err, ERR_UNSUPPORTED, "\"%s.%s\" does not exist on cgroup v2", where,
                       kernel > 0 ? "kernel"
                       : no_oom   ? "disableOOMKiller"
                                  : "swappiness");
    if (limit && (r = set_i64(g, "memory.max", limit, "the memory limit", err)) < 0)
        return r;
    /* The config counts memory and swap together, v2 counts swap alone. */
    if (swap > 0 && limit <= 0)
        return err_set(err, ERR_INVALID, "\"%s.swap\" needs a memory limit beside it", where);
    if (swap > 0 && swap < limit)
        return err_set(err, ERR_INVALID, "\"%s.swap\" (memory and swap together) is below the memory limit",
                       where);
    if (swap)
        r = set_i64(g, "memory.swap.max", swap < 0 ? -1 : swap - limit, "the swap limit", err);
    if (r == 0 && reservation)
        r = set_i64(g, "memory.low", reservation, "the memory reservation", err);
    return r;
}

/* Shares of 2..262144 (1024 usual) onto weights of 1..10000 (100 usual): the linear map that the
 * specification's reference uses (config-linux.md, "cgroup v1 to v2"). */
static int64_t weight_of_shares(int64_t shares)
{
    shares = MAX(2, MIN(shares, 262144));
    return 1 + (shares - 2) * 9999 / 262142;
}

static int apply_cpu_max(const struct cgroup *g, int64_t quota, int64_t period, struct err *err)
{
    char text[64];
    if (!period)
        period = 100000;
    if (quota > 0)
        snprintf(text, sizeof(text), "%lld %lld", (long long)quota, (long long)period);
    else
        snprintf(text, sizeof(text), "max %lld", (long long)period);
    return set_text(g, "cpu.max", text, "the cpu quota", err);
}

static int apply_cpu(const struct cgroup *g, const json_t *cpu, struct err *err)
{
    static const char where[] = "linux.resources.cpu";
    int64_t shares = 0, quota = 0, period = 0, burst = 0, idle = 0, runtime = 0;
    const char *cpus = NULL, *mems = NULL;
    int r = json_get_i64(cpu, where, "shares", &shares, err);
    if (r == 0)
        r = json_get_i64(cpu, where, "quota", &quota, err);
    if (r == 0)
        r = json_get_i64(cpu, where, "period", &period, err);
    if (r == 0)
        r = json_get_i64(cpu, where, "burst", &burst, err);
    if (r == 0)
        r = json_get_i64(cpu, where, "idle", &idle, err);
    if (r == 0)
        r = json_get_i64(cpu, where, "realtimeRuntime", &runtime, err);
    if (r == 0)
        r = json_get_string(cpu, where, "cpus", &cpus, err);
    if (r == 0)
        r = json_get_string(cpu, where, "mems", &mems, err);
    if (r == 0 && runtime)
        r = err_set(err, ERR_UNSUPPORTED, "\"%s.realtimeRuntime\" does not exist on cgroup v2", where);
    if (r == 0 && shares)
        r = set_i64(g, "cpu.weight", weight_of_shares(shares), "the cpu weight", err);
    if (r == 0 && idle)
        r = set_i64(g, "cpu.idle", idle, "cpu idle", err);
    if (r == 0 && (quota || period))
        r = apply_cpu_max(g, quota, period, err);
    if (r == 0 && burst)
        r = set_i64(g, "cpu.max.burst", burst, "the cpu burst", err);
    if (r == 0 && !str_empty(cpus))
        r = set_text(g, "cpuset.cpus", cpus, "the cpus", err);
    if (r == 0 && !str_empty(mems))
        r = set_text(g, "cpuset.mems", mems, "the memory nodes", err);
    return r;
}

static int apply_throttle(const struct cgroup *g, const json_t *io, const char *key, const char *word,
                          struct err *err)
{
    json_t *list = NULL, *entry;
    int r = json_get_array(io, "linux.resources.blockIO", key, &list, err);
    size_t i;
    json_array_foreach (list, i, entry) {
        char text[96];
        snprintf(text, sizeof(text), "%lld:%lld %s=%lld", (long long)json_int(entry, "major"),
                 (long long)json_int(entry, "minor"), word, (long long)json_int(entry, "rate"));
        if ((r = set_text(g, "io.max", text, key, err)) < 0)
            return r;
    }
    return r;
}

static int apply_io(const struct cgroup *g, const json_t *io, struct err *err)
{
    static const struct {
        const char *key, *word;
    } throttles[] = {
        {"throttleReadBpsDevice", "rbps"},
        {"throttleWriteBpsDevice", "wbps"},
        {"throttleReadIOPSDevice", "riops"},
        {"throttleWriteIOPSDevice", "wiops"},
    };
    int64_t weight = 0;
    int r = json_get_i64(io, "linux.resources.blockIO", "weight", &weight, err);
    if (r == 0 && json_array_size(json_object_get(io, "weightDevice")))
        r = err_set(err, ERR_UNSUPPORTED,
                    "\"linux.resources.blockIO.weightDevice\" is not supported on cgroup v2");
    /* 10..1000 onto 1..10000 when the disk's scheduler is not bfq, which takes the number as it is. */
    if (r == 0 && weight && cgroup__write_i64(g->dirs[0].root, "io.bfq.weight", weight, NULL) < 0)
        r = set_i64(g, "io.weight", 1 + (weight - 10) * 9999 / 990, "the I/O weight", err);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(throttles); i++)
        r = apply_throttle(g, io, throttles[i].key, throttles[i].word, err);
    return r;
}

static int apply_unified(const struct cgroup *g, const json_t *unified, struct err *err)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)unified, key, value) {
        if (!json_is_string(value) || strchr(key, '/') || *key == '.' || str_after(key, "cgroup."))
            return err_set(err, ERR_INVALID, "\"linux.resources.unified\": \"%s\" is not a setting", key);
        int r = set_text(g, key, json_string_value(value), key, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int apply_pids(const struct cgroup *g, const json_t *pids, struct err *err)
{
    int64_t limit = 0;
    int r = json_get_i64(pids, "linux.resources.pids", "limit", &limit, err);
    if (r < 0 || !json_object_get(pids, "limit"))
        return r;
    /* Without the controller there is no limit, which is what is asked for. */
    if (limit <= 0)
        return cgroup__write(g->dirs[0].root, "pids.max", "max", err) == -ERR_NOT_FOUND ? 0 : r;
    return set_i64(g, "pids.max", limit, "the number of processes", err);
}

static int apply_devices(const struct cgroup *g, const json_t *resources, struct err *err)
{
    _cleanup_free_ struct cgroup_device_rule *rules = NULL;
    size_t count;
    int r = cgroup__device_rules(resources, &rules, &count, err);
    if (r < 0 || !count)
        return r;
    return cgroup__attach_devices(g->dirs[0].root, rules, count, err);
}

static int v2_apply(struct cgroup *g, const json_t *resources, struct err *err)
{
    static const char where[] = "linux.resources";
    json_t *memory = NULL, *cpu = NULL, *pids = NULL, *io = NULL, *unified = NULL;
    int r = json_get_object(resources, where, "memory", &memory, err);
    if (r == 0)
        r = json_get_object(resources, where, "cpu", &cpu, err);
    if (r == 0)
        r = json_get_object(resources, where, "pids", &pids, err);
    if (r == 0)
        r = json_get_object(resources, where, "blockIO", &io, err);
    if (r == 0)
        r = json_get_object(resources, where, "unified", &unified, err);
    if (r < 0)
        return r;
    static const char *const others[] = {"network", "rdma", "hugepageLimits"};
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        const json_t *value = json_object_get(resources, others[i]);
        if (json_object_size(value) || json_array_size(value))
            return err_set(err, ERR_UNSUPPORTED, "\"%s.%s\" is not supported", where, others[i]);
    }
    r = apply_memory(g, memory, err);
    if (r == 0)
        r = apply_cpu(g, cpu, err);
    if (r == 0)
        r = apply_pids(g, pids, err);
    if (r == 0)
        r = apply_io(g, io, err);
    if (r == 0)
        r = apply_unified(g, unified, err);
    return r < 0 ? r : apply_devices(g, resources, err);
}

static bool v2_is_frozen(const struct cgroup *g)
{
    int64_t frozen = 0;
    cgroup__read_i64(g->dirs[0].root, "cgroup.freeze", &frozen);
    return frozen == 1;
}

static int v2_freeze(struct cgroup *g, bool frozen, struct err *err)
{
    const char *dir = g->dirs[0].root;
    int r = cgroup__write(dir, "cgroup.freeze", frozen ? "1" : "0", err);
    for (int tries = 0; r == 0 && tries < FREEZE_TRIES; tries++) {
        int64_t now = -1;
        cgroup__read_key(dir, "cgroup.events", "frozen", &now);
        if (now == frozen)
            return 0;
        time_sleep_ns(tries < 20 ? NS_PER_MS / 20 : NS_PER_MS);
    }
    if (r < 0)
        return r;
    cgroup__write(dir, "cgroup.freeze", "0", NULL);
    return err_set(err, ERR_TIMEOUT, "cgroup %s did not become %s", g->path, frozen ? "frozen" : "thawed");
}

static int v2_usage(struct cgroup *g, struct cgroup_usage *u, struct err *err)
{
    const char *dir = g->dirs[0].root;
    struct {
        const char *key;
        int64_t *ret;
    } times[] = {{"usage_usec", &u->cpu_ns},
                 {"user_usec", &u->cpu_user_ns},
                 {"system_usec", &u->cpu_system_ns},
                 {"throttled_usec", &u->throttled_ns}};
    for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
        cgroup__read_key(dir, "cpu.stat", times[i].key, times[i].ret);
        *times[i].ret *= 1000;
    }
    cgroup__read_key(dir, "cpu.stat", "nr_periods", &u->periods);
    cgroup__read_key(dir, "cpu.stat", "nr_throttled", &u->throttled_periods);
    cgroup__read_i64(dir, "memory.current", &u->memory_bytes);
    cgroup__read_i64(dir, "memory.peak", &u->memory_max_bytes);
    cgroup__read_i64(dir, "memory.max", &u->memory_limit_bytes);
    cgroup__read_key(dir, "memory.stat", "inactive_file", &u->memory_cache_bytes);
    cgroup__read_key(dir, "memory.events", "oom_kill", &u->oom_kills);
    cgroup__read_i64(dir, "pids.current", &u->pids);
    cgroup__read_i64(dir, "pids.max", &u->pids_limit);
    u->io_read_bytes = cgroup__sum_key(dir, "io.stat", "rbytes");
    u->io_write_bytes = cgroup__sum_key(dir, "io.stat", "wbytes");
    return 0;
}

const struct cgroup_ops cgroup__v2 = {
    .make = v2_make,
    .apply = v2_apply,
    .freeze = v2_freeze,
    .is_frozen = v2_is_frozen,
    .usage = v2_usage,
};
