/* cgroup v1: a directory in each hierarchy (the kernel's admin-guide/cgroup-v1). */
#include "runtime/cgroup_priv.h"

#include "base/file.h"
#include "base/process.h"
#include "base/timeutil.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FREEZE_LOOKS = 60, MOVE_TRIES = 1000 };

/* --- directories --- */

/* A directory that was there: with processes in it, it is somebody's. One of ours that is empty was left by a
 * run that was cut off, with its limits, and is replaced; another's is taken as it is. */
static int take_over(struct cgroup *g, struct cgroup_dir *d, struct err *err)
{
    _cleanup_free_ pid_t *pids = NULL;
    size_t count = cgroup__pids_below(g, d->root, &pids);
    if (count && !g->as_given)
        return err_set(err, ERR_CONFLICT, "cgroup %s has running processes (such as %d)", g->path,
                       (int)pids[0]);
    g->occupied = MAX(g->occupied, count);
    /* Whoever joined it would stop for ever. */
    if (g->as_given && d->controllers & CG_FREEZER && g->ops->is_frozen(g))
        return err_set(err, ERR_CONFLICT, "the container's cgroup unexpectedly frozen: %s", g->path);
    if (g->as_given)
        return 0;
    if (rmdir(d->root) < 0 || mkdir(d->root, 0755) < 0)
        return err_sys(err, errno, "replace cgroup %s", d->root);
    d->made = true;
    return 0;
}

static int make_dir(struct cgroup *g, struct cgroup_dir *d, struct err *err)
{
    int r = 0;
    if (cgroup__spare_take(d))
        return 0;
    if (mkdir(d->root, 0755) == 0) {
        d->made = true;
    } else if (errno == ENOENT) {
        _cleanup_free_ char *parent = mem_strdup(d->root);
        *strrchr(parent, '/') = '\0';
        if ((r = file_mkdirs(parent, 0755, err)) < 0)
            return r;
        if (mkdir(d->root, 0755) < 0)
            return err_sys(err, errno, "make cgroup %s", d->root);
        d->made = true;
    } else if (errno == EEXIST) {
        r = take_over(g, d, err);
    } else {
        return err_sys(err, errno, "make cgroup %s", d->root);
    }
    if (r == 0)
        cgroup__spare_learn(d);
    if (r < 0 || !(d->controllers & CG_CPUSET))
        return r;
    /* A new cpuset has neither cpus nor memory nodes and takes no process. */
    _cleanup_free_ char *mount = mem_strdup(d->root);
    mount[strlen(d->root) - strlen(g->fs_path)] = '\0';
    return cgroup__inherit_cpuset(mount, g->fs_path, err);
}

static int v1_make(struct cgroup *g, struct err *err)
{
    for (size_t i = 0; i < g->count; i++) {
        int r = g->dirs[i].shared ? 0 : make_dir(g, &g->dirs[i], err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Moves who is in the group into one more directory of it; who forks meanwhile is found in the next round. */
static int move_all(struct cgroup *g, const char *dir, struct err *err)
{
    for (int tries = 0; tries < MOVE_TRIES; tries++) {
        _cleanup_free_ pid_t *pids = NULL;
        size_t count, moved = 0;
        int r = cgroup_pids(g, &pids, &count, err);
        _cleanup_str_ struct str there = STR_INIT;
        cgroup__read_text(dir, "cgroup.procs", &there);
        _cleanup_strv_ char **lines = strv_split(str_get(&there), '\n');
        for (size_t i = 0; r == 0 && i < count; i++) {
            char text[16];
            snprintf(text, sizeof(text), "%d", (int)pids[i]);
            if (strv_has(lines, text))
                continue;
            moved++;
            struct err why = {0};
            if ((r = cgroup__write(dir, "cgroup.procs", text, &why)) == -ERR_NOT_FOUND || why.sys == ESRCH)
                r = 0;
            else if (r < 0)
                err_copy(err, &why);
        }
        if (r < 0 || !moved)
            return r;
    }
    return err_set(err, ERR_TIMEOUT, "cgroup %s: its processes fork faster than they can be moved", g->path);
}

/* The directory to set a limit in. A hierarchy that the group had no need of, or shared, gets one now. */
static int need(struct cgroup *g, unsigned controller, const char *what, const char **ret, struct err *err)
{
    const struct cgroup_host *h = cgroup__host();
    for (size_t i = 0; i < g->count; i++)
        if (g->dirs[i].controllers & controller && !g->dirs[i].shared) {
            *ret = g->dirs[i].root;
            return 0;
        }
    for (size_t i = 0; i < h->count; i++) {
        if (!(h->dirs[i].controllers & controller))
            continue;
        struct cgroup_dir *d = NULL;
        for (size_t k = 0; k < g->count; k++)
            if (g->dirs[k].controllers & controller)
                d = &g->dirs[k];
        if (!d)
            d = &g->dirs[g->count++];
        struct cgroup_dir old = *d;
        *d = (struct cgroup_dir){.root = str_printf("%s%s", h->dirs[i].root, g->fs_path),
                                 .name = mem_strdup(h->dirs[i].name),
                                 .controllers = h->dirs[i].controllers,
                                 .join_fd = -EBADF};
        free(old.root);
        free(old.name);
        int r = make_dir(g, d, err);
        if (r == 0)
            r = move_all(g, d->root, err);
        *ret = d->root;
        return r;
    }
    return err_set(err, ERR_UNSUPPORTED, "%s cannot be limited: this machine has no cgroup controller \"%s\"",
                   what, cgroup__controller_name(controller));
}

/* --- limits --- */

static int set(struct cgroup *g, unsigned controller, const char *file, const char *what, int64_t value,
               struct err *err)
{
    const char *dir;
    int r = need(g, controller, what, &dir, err);
    if (r < 0)
        return r;
    r = cgroup__write_i64(dir, file, value, err);
    if (r == -ERR_NOT_FOUND)
        return err_set(err, ERR_UNSUPPORTED, "\"linux.resources.%s\": this kernel has no %s", what, file);
    return r < 0 ? err_wrap(err, "set linux.resources.%s to %lld", what, (long long)value) : 0;
}

static int set_number(struct cgroup *g, unsigned controller, const char *file, const char *what,
                      const struct cgroup_number *number, int64_t initial, struct err *err)
{
    if (!number->set || (g->fresh && number->n == initial))
        return 0;
    return set(g, controller, file, what, number->n, err);
}

/* The limit of memory may not be above that of memory and swap at any moment, so their order depends on
 * whether they grow. */
static int apply_memory_and_swap(struct cgroup *g, const struct cgroup_limits *l, struct err *err)
{
    static const char memory[] = "memory.limit_in_bytes", both[] = "memory.memsw.limit_in_bytes";
    const char *dir = cgroup__dir_of(g, CG_MEMORY);
    struct cgroup_number swap = l->swap;
    if (swap.set && swap.n < 0 && dir && !cgroup__has(dir, both)) /* none to limit */
        swap.set = false;
    int64_t now = 0;
    bool grows = true;
    if (swap.set && !g->fresh) {
        cgroup__read_i64(dir, both, &now);
        grows = swap.n < 0 || swap.n >= now;
    }
    /* A fresh group has no limit, which none can be above. */
    bool first = swap.set && grows && !g->fresh;
    int r = first ? set(g, CG_MEMORY, both, "memory.swap", swap.n, err) : 0;
    if (r == 0)
        r = set_number(g, CG_MEMORY, memory, "memory.limit", &l->memory, -1, err);
    if (r == 0 && swap.set && !first)
        r = set_number(g, CG_MEMORY, both, "memory.swap", &swap, -1, err);
    return r;
}

static int check_usage(struct cgroup *g, const struct cgroup_limits *l, struct err *err)
{
    int64_t usage = 0;
    if (!l->check_before_update || !l->memory.set || l->memory.n <= 0)
        return 0;
    cgroup__read_i64(cgroup__dir_of(g, CG_MEMORY), "memory.usage_in_bytes", &usage);
    if (usage > l->memory.n)
        return err_set(err, ERR_CONFLICT,
                       "unable to set memory limit to %lld (current usage: %lld, checkBeforeUpdate)",
                       (long long)l->memory.n, (long long)usage);
    return 0;
}

static int apply_memory(struct cgroup *g, const struct cgroup_limits *l, struct err *err)
{
    const char *dir = cgroup__dir_of(g, CG_MEMORY);
    int r = check_usage(g, l, err);
    if (r < 0)
        return r;
    if (l->use_hierarchy && dir)
        cgroup__write(dir, "memory.use_hierarchy", "1", NULL); /* since 5.11 there is nothing else */
    if (l->memory.set || l->swap.set)
        r = apply_memory_and_swap(g, l, err);
    if (r == 0 && l->no_oom_killer)
        r = set(g, CG_MEMORY, "memory.oom_control", "memory.disableOOMKiller", 1, err);
    if (r == 0)
        r = set_number(g, CG_MEMORY, "memory.soft_limit_in_bytes", "memory.reservation", &l->reservation, -1,
                       err);
    if (r == 0)
        r = set_number(g, CG_MEMORY, "memory.kmem.tcp.limit_in_bytes", "memory.kernelTCP", &l->kernel_tcp, -1,
                       err);
    if (r == 0)
        r = set_number(g, CG_MEMORY, "memory.swappiness", "memory.swappiness", &l->swappiness, -1, err);
    return r;
}

/* The kernel checks quota, period and burst against each other at each write, so that what is right together
 * may be refused in one order and not in the other. */
static int apply_bandwidth(struct cgroup *g, const struct cgroup_limits *l, struct err *err)
{
    struct {
        const struct cgroup_number *number;
        const char *file, *what;
        int64_t initial;
    } order[] = {{&l->period, "cpu.cfs_period_us", "cpu.period", 100000},
                 {&l->quota, "cpu.cfs_quota_us", "cpu.quota", -1},
                 {&l->burst, "cpu.cfs_burst_us", "cpu.burst", 0}};
    bool done[3] = {false};
    for (int round = 0;; round++) {
        bool again = false, moved = false;
        for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
            if (done[i])
                continue;
            struct err why = {0};
            int r =
                set_number(g, CG_CPU, order[i].file, order[i].what, order[i].number, order[i].initial, &why);
            if (r < 0 && (why.sys != EINVAL || round == 2)) {
                err_copy(err, &why);
                return r;
            }
            done[i] = r == 0;
            again |= r < 0;
            moved |= r == 0;
        }
        if (!again)
            return 0;
        if (!moved)
            round = 1; /* once more, for the message */
    }
}

static int set_list(struct cgroup *g, const char *file, const char *what, const char *list, struct err *err)
{
    const char *dir;
    if (!list)
        return 0;
    int r = need(g, CG_CPUSET, what, &dir, err);
    if (r == 0)
        r = cgroup__write(dir, file, list, err);
    return r < 0 ? err_wrap(err, "set linux.resources.%s to \"%s\"", what, list) : 0;
}

static int apply_cpu(struct cgroup *g, const struct cgroup_limits *l, struct err *err)
{
    int r = set_number(g, CG_CPU, "cpu.idle", "cpu.idle", &l->idle, 0, err);
    /* An idle group's weight is that of idleness. */
    if (r == 0 && !(l->idle.set && l->idle.n))
        r = set_number(g, CG_CPU, "cpu.shares", "cpu.shares", &l->shares, 1024, err);
    if (r == 0)
        r = apply_bandwidth(g, l, err);
    if (r == 0)
        r = set_number(g, CG_CPU, "cpu.rt_period_us", "cpu.realtimePeriod", &l->rt_period, 1000000, err);
    if (r == 0)
        r = set_number(g, CG_CPU, "cpu.rt_runtime_us", "cpu.realtimeRuntime", &l->rt_runtime, 0, err);
    if (r == 0)
        r = set_list(g, "cpuset.cpus", "cpu.cpus", l->cpus, err);
    if (r == 0)
        r = set_list(g, "cpuset.mems", "cpu.mems", l->mems, err);
    return r;
}

static int apply_pids(struct cgroup *g, const struct cgroup_limits *l, struct err *err)
{
    if (!l->pids.set || (l->pids.n <= 0 && g->fresh))
        return 0;
    if (l->pids.n > 0)
        return set(g, CG_PIDS, "pids.max", "pids.limit", l->pids.n, err);
    const char *dir = cgroup__dir_of(g, CG_PIDS);
    return dir ? cgroup__write(dir, "pids.max", "max", err) : 0;
}

/* Weights are of the scheduler that a kernel has: bfq's, or that of old. */
static int set_weight(struct cgroup *g, const char *leaf, const char *what, const char *text, struct err *err)
{
    char file[64];
    const char *dir;
    int r = need(g, CG_BLKIO, what, &dir, err);
    if (r < 0)
        return r;
    snprintf(file, sizeof(file), "blkio.%s", leaf);
    if (!cgroup__has(dir, file))
        snprintf(file, sizeof(file), "blkio.bfq.%s", leaf);
    r = cgroup__write(dir, file, text, err);
    if (r == -ERR_NOT_FOUND)
        return err_set(err, ERR_UNSUPPORTED, "\"linux.resources.%s\": this kernel has no blkio.%s", what,
                       leaf);
    return r < 0 ? err_wrap(err, "set linux.resources.%s", what) : 0;
}

static int apply_io_device(struct cgroup *g, const struct cgroup_io_device *io, struct err *err)
{
    static const struct {
        const char *file, *what;
    } kinds[] = {
        [IO_READ_BPS] = {"blkio.throttle.read_bps_device", "throttleReadBpsDevice"},
        [IO_WRITE_BPS] = {"blkio.throttle.write_bps_device", "throttleWriteBpsDevice"},
        [IO_READ_IOPS] = {"blkio.throttle.read_iops_device", "throttleReadIOPSDevice"},
        [IO_WRITE_IOPS] = {"blkio.throttle.write_iops_device", "throttleWriteIOPSDevice"},
    };
    char text[96];
    const char *dir;
    snprintf(text, sizeof(text), "%lld:%lld %lld", (long long)io->major, (long long)io->minor,
             (long long)io->value);
    if (io->kind == IO_WEIGHT)
        return set_weight(g, "weight_device", "blockIO.weightDevice.weight", text, err);
    if (io->kind == IO_LEAF_WEIGHT)
        return set_weight(g, "leaf_weight_device", "blockIO.weightDevice.leafWeight", text, err);
    int r = need(g, CG_BLKIO, "block I/O", &dir, err);
    if (r == 0)
        r = cgroup__write(dir, kinds[io->kind].file, text, err);
    return r < 0 ? err_wrap(err, "set linux.resources.blockIO.%s to \"%s\"", kinds[io->kind].what, text) : 0;
}

static int apply_io(struct cgroup *g, const struct cgroup_limits *l, struct err *err)
{
    char text[24];
    int r = 0;
    snprintf(text, sizeof(text), "%lld", (long long)l->io_weight.n);
    if (l->io_weight.set)
        r = set_weight(g, "weight", "blockIO.weight", text, err);
    snprintf(text, sizeof(text), "%lld", (long long)l->io_leaf_weight.n);
    if (r == 0 && l->io_leaf_weight.set)
        r = set_weight(g, "leaf_weight", "blockIO.leafWeight", text, err);
    for (size_t i = 0; r == 0 && i < l->io_count; i++)
        r = apply_io_device(g, &l->io[i], err);
    return r;
}

static int apply_hugepages(struct cgroup *g, const struct cgroup_limits *l, struct err *err)
{
    for (size_t i = 0; i < l->hugepage_count; i++) {
        char file[64];
        const char *dir;
        snprintf(file, sizeof(file), "hugetlb.%s.limit_in_bytes", l->hugepages[i].size);
        int r = set(g, CG_HUGETLB, file, "hugepageLimits", l->hugepages[i].limit, err);
        if (r == 0)
            r = need(g, CG_HUGETLB, "hugepageLimits", &dir, err);
        if (r < 0)
            return r;
        snprintf(file, sizeof(file), "hugetlb.%s.rsvd.limit_in_bytes", l->hugepages[i].size);
        if (cgroup__has(dir, file) && (r = cgroup__write_i64(dir, file, l->hugepages[i].limit, err)) < 0)
            return r;
    }
    return 0;
}

static int apply_network(struct cgroup *g, const struct cgroup_limits *l, struct err *err)
{
    int r = set_number(g, CG_NET_CLS, "net_cls.classid", "network.classID", &l->class_id, 0, err);
    for (size_t i = 0; r == 0 && i < l->priority_count; i++) {
        char text[64];
        const char *dir;
        snprintf(text, sizeof(text), "%s %lld", l->priorities[i].interface,
                 (long long)l->priorities[i].priority);
        r = need(g, CG_NET_PRIO, "network.priorities", &dir, err);
        if (r == 0 && (r = cgroup__write(dir, "net_prio.ifpriomap", text, err)) < 0)
            return err_wrap(err, "set linux.resources.network.priorities");
    }
    return r;
}

static int apply_rdma(struct cgroup *g, const struct cgroup_limits *l, struct err *err)
{
    for (size_t i = 0; i < l->rdma_count; i++) {
        const char *dir;
        int r = need(g, CG_RDMA, "rdma", &dir, err);
        if (r == 0)
            r = cgroup__write_rdma(dir, &l->rdma[i], err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int apply_devices(struct cgroup *g, const struct cgroup_limits *l, struct err *err)
{
    const char *dir;
    for (size_t i = 0; i < g->count; i++)
        if (g->dirs[i].controllers & CG_DEVICES && g->dirs[i].shared && g->creating)
            return 0; /* they are why it was chosen */
    if (!l->device_count)
        return 0;
    int r = need(g, CG_DEVICES, "access to devices", &dir, err);
    if (r == 0)
        r = cgroup__write_devices(dir, l->devices, l->device_count, err);
    return r;
}

static int v1_apply(struct cgroup *g, const struct cgroup_limits *l, struct err *err)
{
    if (l->unified)
        return err_set(
            err, ERR_UNSUPPORTED,
            "invalid configuration: \"linux.resources.unified\" is for cgroup v2, and this machine has v1");
    int r = apply_memory(g, l, err);
    if (r == 0)
        r = apply_cpu(g, l, err);
    if (r == 0)
        r = apply_pids(g, l, err);
    if (r == 0)
        r = apply_io(g, l, err);
    if (r == 0)
        r = apply_hugepages(g, l, err);
    if (r == 0)
        r = apply_network(g, l, err);
    if (r == 0)
        r = apply_rdma(g, l, err);
    return r < 0 ? r : apply_devices(g, l, err);
}

static bool in_state(const char *dir, const char *state)
{
    _cleanup_str_ struct str text = STR_INIT;
    return cgroup__read_text(dir, "freezer.state", &text) && str_after(str_get(&text), state);
}

static bool v1_is_frozen(const struct cgroup *g)
{
    const char *dir = cgroup__dir_of(g, CG_FREEZER);
    return dir && (in_state(dir, "FROZEN") || in_state(dir, "FREEZING"));
}

static int v1_freeze(struct cgroup *g, bool frozen, struct err *err)
{
    const char *dir;
    int r = need(g, CG_FREEZER, "pausing", &dir, err);
    const char *state = frozen ? "FROZEN" : "THAWED";
    /* A process that forks while the group freezes can leave it FREEZING until it is asked again
     * (freezer-subsystem.rst). */
    for (int looks = 0; r == 0 && looks < FREEZE_LOOKS; looks++) {
        if ((r = cgroup__write(dir, "freezer.state", state, err)) < 0 || in_state(dir, state))
            return r;
        time_sleep_ns(looks < 20 ? NS_PER_MS / 20 : NS_PER_MS);
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
