/* cgroup v2: one directory (the kernel's admin-guide/cgroup-v2). */
#include "runtime/cgroup_priv.h"

#include "base/process.h"
#include "base/timeutil.h"

#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FREEZE_LOOKS = 60 };

/* --- making --- */

static bool has_word(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = list; (at = strstr(at, word)); at += n)
        if ((at == list || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\n' || !at[n]))
            return true;
    return false;
}

/* Which controllers the group's parents pass down. All are asked for in one write; since that is all or
 * nothing, one by one when it fails. What cannot be had is said when a limit needs it. */
static void enable_controllers(const char *dir)
{
    static const char *const wanted[] = {"memory", "cpu", "pids", "io", "cpuset", "hugetlb", "rdma", "misc"};
    _cleanup_str_ struct str have = STR_INIT, on = STR_INIT, all = STR_INIT;
    if (!cgroup__read_text(dir, "cgroup.controllers", &have) ||
        !cgroup__read_text(dir, "cgroup.subtree_control", &on))
        return;
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
        if (has_word(str_get(&have), wanted[i]) && !has_word(str_get(&on), wanted[i]))
            str_addf(&all, "%s+%s", all.len ? " " : "", wanted[i]);
    if (!all.len || cgroup__write(dir, "cgroup.subtree_control", str_get(&all), NULL) == 0)
        return;
    _cleanup_strv_ char **each = strv_split(str_get(&all), ' ');
    STRV_FOREACH (word, each)
        cgroup__write(dir, "cgroup.subtree_control", *word, NULL);
}

/* Parents, from the mount down, with their controllers passed on. */
static int make_parents(const char *root, const char *fs_path, struct err *err)
{
    char dir[PATH_MAX];
    size_t start = strlen(root) - strlen(fs_path);
    if (strlen(root) >= sizeof(dir))
        return err_set(err, ERR_LIMIT, "cgroup path %s is too long", fs_path);
    for (const char *slash = root + start; slash; slash = strchr(slash + 1, '/')) {
        snprintf(dir, sizeof(dir), "%.*s", (int)(slash - root), root);
        if (slash > root + start && mkdir(dir, 0755) < 0 && errno != EEXIST)
            return err_sys(err, errno, "make cgroup %s", dir);
        enable_controllers(dir);
    }
    return 0;
}

/* A threaded group, and one below it, takes threads, not the processes that a container needs. */
static int check_type(const char *dir, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    if (!cgroup__read_text(dir, "cgroup.type", &text) || str_after(str_get(&text), "domain\n") ||
        str_after(str_get(&text), "domain threaded\n"))
        return 0;
    _cleanup_free_ char *type = str_strip(str_get(&text));
    return err_set(err, ERR_CONFLICT,
                   "cgroup %s is of type \"%s\", which takes no processes: choose one that is not below a "
                   "threaded cgroup",
                   dir, type);
}

/* One that was there. Of ours, it was left by a run that was cut off, with its limits, and is replaced. */
static int take_over(struct cgroup *g, struct err *err)
{
    struct cgroup_dir *d = &g->dirs[0];
    _cleanup_free_ pid_t *pids = NULL;
    size_t count = cgroup__pids_below(g, d->root, &pids);
    if (count && !g->as_given)
        return err_set(err, ERR_CONFLICT, "cgroup %s has running processes (such as %d)", g->path,
                       (int)pids[0]);
    g->occupied = count;
    if (g->as_given && g->ops->is_frozen(g))
        return err_set(err, ERR_CONFLICT, "the container's cgroup unexpectedly frozen: %s", g->path);
    if (g->as_given)
        return 0;
    if (rmdir(d->root) < 0 || mkdir(d->root, 0755) < 0)
        return err_sys(err, errno, "replace cgroup %s", d->root);
    d->made = true;
    return 0;
}

static int v2_make(struct cgroup *g, struct err *err)
{
    /* The parent of the last group: its controllers were passed on, and stay so as long as it exists. */
    static char *ready;
    struct cgroup_dir *d = &g->dirs[0];
    _cleanup_free_ char *parent = mem_strdup(d->root);
    *strrchr(parent, '/') = '\0';
    int r = 0, made = -1;
    errno = ENOENT;
    if (str_eq(ready, parent))
        made = mkdir(d->root, 0755);
    if (made < 0 && errno == ENOENT) {
        if ((r = make_parents(d->root, g->fs_path, err)) < 0)
            return r;
        free(ready);
        ready = take_ptr(parent);
        made = mkdir(d->root, 0755);
    }
    if (made < 0 && errno != EEXIST)
        return err_sys(err, errno, "make cgroup %s", d->root);
    d->made = made == 0;
    if (made < 0 && (r = take_over(g, err)) < 0)
        return r;
    return check_type(d->root, err);
}

/* --- limits --- */

/* Whether the group has the controller that a file belongs to by its name. */
static bool has_controller_of(const struct cgroup *g, const char *file)
{
    _cleanup_str_ struct str text = STR_INIT;
    if (!cgroup__read_text(g->dirs[0].root, "cgroup.controllers", &text))
        return false;
    _cleanup_free_ char *names = str_strip(str_get(&text)), *name = mem_strndup(file, strcspn(file, "."));
    _cleanup_strv_ char **list = strv_split(names, ' ');
    return strv_has(list, name);
}

static int set_text(const struct cgroup *g, const char *file, const char *text, const char *what,
                    struct err *err)
{
    int r = cgroup__write(g->dirs[0].root, file, text, err);
    if (r == -ERR_NOT_FOUND && !has_controller_of(g, file))
        return err_set(
            err, ERR_UNSUPPORTED,
            "%s cannot be set: the requested cgroup controller `%.*s` is not available to cgroup %s (of %s)",
            what, (int)strcspn(file, "."), file, g->path, file);
    if (r < 0)
        err_wrap(err, "set %s to \"%s\"", what, text);
    if (r != -ERR_NOT_FOUND)
        return r;
    if (err) /* the controller is there, and has not this: a size of pages, say */
        err->code = ERR_UNSUPPORTED;
    return -ERR_UNSUPPORTED;
}

static int set_i64(const struct cgroup *g, const char *file, int64_t value, const char *what, struct err *err)
{
    char text[32] = "max";
    if (value >= 0)
        snprintf(text, sizeof(text), "%lld", (long long)value);
    return set_text(g, file, text, what, err);
}

/* A limit, or none: then a controller that is not there limits nothing just as well. */
static int set_limit(const struct cgroup *g, const char *file, const struct cgroup_number *limit,
                     const char *what, struct err *err)
{
    if (!limit->set || (limit->n < 0 && (g->fresh || !cgroup__has(g->dirs[0].root, file))))
        return 0;
    return set_i64(g, file, limit->n, what, err);
}

/* The config counts memory and swap together, v2 counts swap alone. */
static int apply_swap(const struct cgroup *g, const struct cgroup_limits *l, struct err *err)
{
    int64_t memory = l->memory.n;
    if (!l->memory.set)
        cgroup__read_i64(g->dirs[0].root, "memory.max", &memory);
    if (l->swap.n > 0 && memory <= 0)
        return err_set(err, ERR_INVALID, "\"linux.resources.memory.swap\" needs a memory limit beside it");
    if (l->swap.n > 0 && l->swap.n < memory)
        return err_set(
            err, ERR_INVALID,
            "\"linux.resources.memory.swap\" (memory and swap together) is below the memory limit");
    struct cgroup_number alone = {true, l->swap.n < 0 ? -1 : l->swap.n - memory};
    /* A kernel without swap keeps that limit by itself. */
    if (alone.n == 0 && !cgroup__has(g->dirs[0].root, "memory.swap.max"))
        return 0;
    return set_limit(g, "memory.swap.max", &alone, "linux.resources.memory.swap", err);
}

static int apply_memory(const struct cgroup *g, const struct cgroup_limits *l, struct err *err)
{
    static const char where[] = "linux.resources.memory";
    int64_t usage = 0;
    if (l->swappiness.set || l->no_oom_killer)
        return err_set(err, ERR_UNSUPPORTED, "\"%s.%s\" does not exist on cgroup v2", where,
                       l->no_oom_killer ? "disableOOMKiller" : "swappiness");
    if (l->check_before_update && l->memory.set && l->memory.n > 0) {
        cgroup__read_i64(g->dirs[0].root, "memory.current", &usage);
        if (usage > l->memory.n)
            return err_set(err, ERR_CONFLICT,
                           "unable to set memory limit to %lld (current usage: %lld, checkBeforeUpdate)",
                           (long long)l->memory.n, (long long)usage);
    }
    int r = l->swap.set ? apply_swap(g, l, err) : 0;
    if (r == 0)
        r = set_limit(g, "memory.max", &l->memory, "linux.resources.memory.limit", err);
    if (r == 0)
        r = set_limit(g, "memory.low", &l->reservation, "linux.resources.memory.reservation", err);
    return r;
}

/* Shares of 2..262144 (1024 usual) onto weights of 1..10000 (100 usual): the linear map that the
 * specification's reference uses (config-linux.md, "cgroup v1 to v2"). */
static int64_t weight_of_shares(int64_t shares)
{
    shares = MAX(2, MIN(shares, 262144));
    return 1 + (shares - 2) * 9999 / 262142;
}

static int apply_cpu_max(const struct cgroup *g, const struct cgroup_limits *l, struct err *err)
{
    char quota[24] = "max", text[64];
    _cleanup_str_ struct str now = STR_INIT;
    long long period = l->period.n;
    if (l->quota.set && l->quota.n > 0)
        snprintf(quota, sizeof(quota), "%lld", (long long)l->quota.n);
    /* What is not said stays as it is. */
    if ((!l->quota.set || !l->period.set) && !g->fresh &&
        cgroup__read_text(g->dirs[0].root, "cpu.max", &now)) {
        _cleanup_strv_ char **words = strv_split(str_get(&now), ' ');
        if (strv_len(words) == 2 && !l->quota.set)
            snprintf(quota, sizeof(quota), "%s", words[0]);
        if (strv_len(words) == 2 && !l->period.set)
            period = strtoll(words[1], NULL, 10);
    }
    snprintf(text, sizeof(text), "%s %lld", quota, period > 0 ? period : 100000);
    return set_text(g, "cpu.max", text, "linux.resources.cpu.quota", err);
}

/* The burst is checked against the quota at each write, whichever comes first. */
static int apply_bandwidth(const struct cgroup *g, const struct cgroup_limits *l, struct err *err)
{
    static const char what[] = "linux.resources.cpu.burst";
    bool quota = l->quota.set || l->period.set, burst = l->burst.set && !(g->fresh && !l->burst.n);
    struct err why = {0};
    if (g->fresh && l->quota.n <= 0 && (!l->period.set || l->period.n == 100000))
        quota = false;
    int r = quota ? apply_cpu_max(g, l, &why) : 0;
    if (r < 0 && (why.sys != EINVAL || !burst)) {
        err_copy(err, &why);
        return r;
    }
    bool again = r < 0;
    r = burst ? set_i64(g, "cpu.max.burst", l->burst.n, what, err) : 0;
    return r == 0 && again ? apply_cpu_max(g, l, err) : r;
}

static int apply_cpu(const struct cgroup *g, const struct cgroup_limits *l, struct err *err)
{
    int r = 0;
    if ((l->rt_runtime.set && l->rt_runtime.n) || (l->rt_period.set && l->rt_period.n))
        return err_set(err, ERR_UNSUPPORTED, "\"linux.resources.cpu.realtime%s\" does not exist on cgroup v2",
                       l->rt_runtime.set ? "Runtime" : "Period");
    if (l->idle.set && !(g->fresh && !l->idle.n))
        r = set_i64(g, "cpu.idle", l->idle.n, "linux.resources.cpu.idle", err);
    /* An idle group's weight is that of idleness. */
    if (r == 0 && l->shares.set && !(l->idle.set && l->idle.n))
        r = set_i64(g, "cpu.weight", weight_of_shares(l->shares.n), "linux.resources.cpu.shares", err);
    if (r == 0)
        r = apply_bandwidth(g, l, err);
    if (r == 0 && l->cpus)
        r = set_text(g, "cpuset.cpus", l->cpus, "linux.resources.cpu.cpus", err);
    if (r == 0 && l->mems)
        r = set_text(g, "cpuset.mems", l->mems, "linux.resources.cpu.mems", err);
    return r;
}

/* Weights of 10..1000 onto 1..10000, unless the disk's scheduler is bfq, which takes the number as it is. */
static int set_io_weight(const struct cgroup *g, const char *device, int64_t weight, struct err *err)
{
    static const char what[] = "linux.resources.blockIO.weight";
    char text[64];
    snprintf(text, sizeof(text), "%s%lld", device, (long long)weight);
    if (cgroup__has(g->dirs[0].root, "io.bfq.weight"))
        return set_text(g, "io.bfq.weight", text, what, err);
    snprintf(text, sizeof(text), "%s%lld", device, (long long)(1 + (MAX(weight, 10) - 10) * 9999 / 990));
    return set_text(g, "io.weight", text, what, err);
}

static int apply_io_device(const struct cgroup *g, const struct cgroup_io_device *io, struct err *err)
{
    static const char *const words[] = {
        [IO_READ_BPS] = "rbps",
        [IO_WRITE_BPS] = "wbps",
        [IO_READ_IOPS] = "riops",
        [IO_WRITE_IOPS] = "wiops",
    };
    char text[96], value[24] = "max";
    if (io->kind == IO_LEAF_WEIGHT)
        return err_set(err, ERR_UNSUPPORTED,
                       "\"linux.resources.blockIO.weightDevice.leafWeight\" does not exist on cgroup v2");
    snprintf(text, sizeof(text), "%lld:%lld ", (long long)io->major, (long long)io->minor);
    if (io->kind == IO_WEIGHT)
        return set_io_weight(g, text, io->value, err);
    if (io->value > 0)
        snprintf(value, sizeof(value), "%lld", (long long)io->value);
    size_t n = strlen(text);
    snprintf(text + n, sizeof(text) - n, "%s=%s", words[io->kind], value);
    return set_text(g, "io.max", text, "the throttle of linux.resources.blockIO", err);
}

static int apply_io(const struct cgroup *g, const struct cgroup_limits *l, struct err *err)
{
    int r = 0;
    if (l->io_leaf_weight.set)
        return err_set(err, ERR_UNSUPPORTED,
                       "\"linux.resources.blockIO.leafWeight\" does not exist on cgroup v2");
    if (l->io_weight.set)
        r = set_io_weight(g, "", l->io_weight.n, err);
    for (size_t i = 0; r == 0 && i < l->io_count; i++)
        r = apply_io_device(g, &l->io[i], err);
    return r;
}

static int apply_hugepages(const struct cgroup *g, const struct cgroup_limits *l, struct err *err)
{
    for (size_t i = 0; i < l->hugepage_count; i++) {
        char file[64];
        snprintf(file, sizeof(file), "hugetlb.%s.max", l->hugepages[i].size);
        int r = set_i64(g, file, l->hugepages[i].limit, "linux.resources.hugepageLimits", err);
        snprintf(file, sizeof(file), "hugetlb.%s.rsvd.max", l->hugepages[i].size);
        if (r == 0 && cgroup__has(g->dirs[0].root, file))
            r = set_i64(g, file, l->hugepages[i].limit, "linux.resources.hugepageLimits", err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int apply_rdma(const struct cgroup *g, const struct cgroup_limits *l, struct err *err)
{
    for (size_t i = 0; i < l->rdma_count; i++) {
        int r = cgroup__write_rdma(g->dirs[0].root, &l->rdma[i], err);
        if (r == -ERR_NOT_FOUND)
            return err_set(err, ERR_UNSUPPORTED,
                           "linux.resources.rdma cannot be set: the controller \"rdma\" is not available to "
                           "cgroup %s",
                           g->path);
        if (r < 0)
            return r;
    }
    return 0;
}

static int apply_unified(const struct cgroup *g, const json_t *unified, struct err *err)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)unified, key, value) {
        char what[128];
        snprintf(what, sizeof(what), "linux.resources.unified.%.90s", key);
        /* Several lines are several writes: "8:0 rbps=1\n8:16 rbps=2". */
        _cleanup_strv_ char **lines = strv_split(json_string_value(value), '\n');
        STRV_FOREACH (line, lines) {
            if (!**line && strv_len(lines) > 1)
                continue;
            int r = set_text(g, key, *line, what, err);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

static int apply_pids(const struct cgroup *g, const struct cgroup_limits *l, struct err *err)
{
    struct cgroup_number limit = {l->pids.set, l->pids.n > 0 ? l->pids.n : -1};
    return set_limit(g, "pids.max", &limit, "linux.resources.pids.limit", err);
}

static int apply_devices(const struct cgroup *g, const struct cgroup_limits *l, struct err *err)
{
    if (!l->device_count)
        return 0;
    if (l->device_count == 1 && l->devices[0].type == 'a' && l->devices[0].allow && g->fresh)
        return 0;
    int r = cgroup__attach_devices(g->dirs[0].root, l->devices, l->device_count, err);
    /* A user namespace's root may not load programs; the kernel keeps such a user from devices by itself. */
    return r == -ERR_DENIED && (geteuid() != 0 || process_in_user_namespace()) ? 0 : r;
}

static int v2_apply(struct cgroup *g, const struct cgroup_limits *l, struct err *err)
{
    if (l->class_id.set || l->priority_count)
        return err_set(err, ERR_UNSUPPORTED, "\"linux.resources.network.%s\" does not exist on cgroup v2",
                       l->class_id.set ? "classID" : "priorities");
    int r = apply_memory(g, l, err);
    if (r == 0 && l->kernel_tcp.set && l->kernel_tcp.n > 0)
        r = err_set(err, ERR_UNSUPPORTED, "\"linux.resources.memory.kernelTCP\" does not exist on cgroup v2");
    if (r == 0)
        r = apply_cpu(g, l, err);
    if (r == 0)
        r = apply_pids(g, l, err);
    if (r == 0)
        r = apply_io(g, l, err);
    if (r == 0)
        r = apply_hugepages(g, l, err);
    if (r == 0)
        r = apply_rdma(g, l, err);
    if (r == 0 && l->unified)
        r = apply_unified(g, l->unified, err);
    return r < 0 ? r : apply_devices(g, l, err);
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
    for (int looks = 0; r == 0 && looks < FREEZE_LOOKS; looks++) {
        int64_t now = -1;
        cgroup__read_key(dir, "cgroup.events", "frozen", &now);
        if (now == frozen)
            return 0;
        time_sleep_ns(looks < 20 ? NS_PER_MS / 20 : NS_PER_MS);
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
