/* docker stats: a running container's use of the machine, from its control group and its interfaces. */
#include "engine/engine_priv.h"

#include "base/err.h"
#include "base/file.h"
#include "runtime/cgroup.h"

#include <ctype.h>
#include <unistd.h>

static json_t *number(int64_t value)
{
    return json_integer(MAX(value, 0));
}

static json_t *cpu_json(const struct cgroup_usage *u)
{
    json_t *usage = json_object();
    json_object_set_new(usage, "total_usage", number(u->cpu_ns));
    json_object_set_new(usage, "usage_in_usermode", number(u->cpu_user_ns));
    json_object_set_new(usage, "usage_in_kernelmode", number(u->cpu_system_ns));
    json_t *throttling = json_object();
    json_object_set_new(throttling, "periods", number(u->periods));
    json_object_set_new(throttling, "throttled_periods", number(u->throttled_periods));
    json_object_set_new(throttling, "throttled_time", number(u->throttled_ns));
    json_t *cpu = json_object();
    json_object_set_new(cpu, "cpu_usage", usage);
    json_object_set_new(cpu, "throttling_data", throttling);
    return cpu;
}

/* The whole machine's CPU time in nanoseconds, from the first line of /proc/stat: what docker's percentages
 * are taken of. */
static int64_t system_cpu_ns(void)
{
    _cleanup_str_ struct str text = STR_INIT;
    long long t[7] = {0};
    if (file_read("/proc/stat", 1 << 20, &text, NULL) < 0 ||
        sscanf(str_get(&text), "cpu %lld %lld %lld %lld %lld %lld %lld", &t[0], &t[1], &t[2], &t[3], &t[4],
               &t[5], &t[6]) != 7)
        return 0;
    return (t[0] + t[1] + t[2] + t[3] + t[4] + t[5] + t[6]) * (NS_PER_S / sysconf(_SC_CLK_TCK));
}

static int64_t memory_total(void)
{
    return (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
}

/* `raw`: the group's own table, from which docker takes the page cache off the use. */
static json_t *memory_json(const struct cgroup_usage *u, const json_t *raw, bool v2)
{
    json_t *stats = json_is_object(raw) ? json_copy((json_t *)raw) : json_object(), *memory = json_object();
    const char *cache = v2 ? "inactive_file" : "total_inactive_file";
    int64_t limit = u->memory_limit_bytes, total = memory_total();
    if (!json_object_get(stats, cache))
        json_object_set_new(stats, cache, number(u->memory_cache_bytes));
    json_object_set_new(memory, "usage", number(u->memory_bytes));
    if (!v2)
        json_object_set_new(memory, "max_usage", number(u->memory_max_bytes));
    json_object_set_new(memory, "limit", json_integer(limit > 0 && limit < total ? limit : total));
    json_object_set_new(memory, "stats", stats);
    return memory;
}

/* With v2 the words are in lower case, and the counters that only v1 had are null. */
static json_t *io_list(const json_t *detail, const char *key, bool v2)
{
    json_t *list = json_array(), *entry;
    size_t i;
    json_array_foreach (json_object_get(detail, key), i, entry) {
        json_t *copy = json_copy(entry);
        const char *op = json_str(entry, "op");
        _cleanup_free_ char *lower = mem_strdup(op);
        *lower = (char)tolower((unsigned char)*lower);
        json_set_str(copy, "op", v2 ? lower : op);
        json_array_append_new(list, copy);
    }
    return list;
}

static json_t *io_json(const json_t *detail, bool running, bool v2)
{
    static const char *const others[] = {"io_queue_recursive",     "io_service_time_recursive",
                                         "io_wait_time_recursive", "io_merged_recursive",
                                         "io_time_recursive",      "sectors_recursive"};
    json_t *io = json_object();
    json_object_set_new(io, "io_service_bytes_recursive",
                        running ? io_list(detail, "ioServiceBytesRecursive", v2) : json_null());
    json_object_set_new(io, "io_serviced_recursive",
                        running && !v2 ? io_list(detail, "ioServicedRecursive", v2) : json_null());
    for (size_t i = 0; i < ARRAY_SIZE(others); i++)
        json_object_set_new(io, others[i], running && !v2 ? json_array() : json_null());
    return io;
}

static json_t *interface_json(const struct net_stats *s)
{
    json_t *o = json_object();
    json_object_set_new(o, "rx_bytes", json_integer((json_int_t)s->rx_bytes));
    json_object_set_new(o, "rx_packets", json_integer((json_int_t)s->rx_packets));
    json_object_set_new(o, "rx_errors", json_integer((json_int_t)s->rx_errors));
    json_object_set_new(o, "rx_dropped", json_integer((json_int_t)s->rx_dropped));
    json_object_set_new(o, "tx_bytes", json_integer((json_int_t)s->tx_bytes));
    json_object_set_new(o, "tx_packets", json_integer((json_int_t)s->tx_packets));
    json_object_set_new(o, "tx_errors", json_integer((json_int_t)s->tx_errors));
    json_object_set_new(o, "tx_dropped", json_integer((json_int_t)s->tx_dropped));
    return o;
}

static json_t *networks_json(struct container *c)
{
    struct engine *e = c->engine;
    json_t *networks = json_object();
    SCOPED_LOCK(lock, &e->lock);
    struct map_entry *n;
    for (size_t i = 0; (n = map_next(&e->networks, &i));) {
        const struct network *network = n->value;
        const struct endpoint *endpoint = map_get(&network->endpoints, c->id);
        struct net_stats stats;
        if (endpoint && *endpoint->host_if &&
            net_endpoint_stats(e->net, endpoint->host_if, &stats, NULL) == 0)
            json_object_set_new(networks, endpoint->ifname, interface_json(&stats));
    }
    return networks;
}

struct sample {
    struct cgroup_usage usage;
    json_t *detail; /* see cgroup_stats_json() */
    bool running, v2;
};

static void sample_done(struct sample *s)
{
    json_decref(s->detail);
}

/* A container that does not run has the same document with nothing in it, as dockerd answers. */
static int take_sample(struct container *c, struct sample *ret, struct err *err)
{
    *ret = (struct sample){.running = container__running(c), .v2 = cgroup_host_version() == 2};
    if (!ret->running)
        return 0;
    _cleanup_free_ char *path = container__cgroup(c, NULL);
    struct cgroup *group;
    int r = cgroup_open(path, &group, err);
    if (r < 0)
        return r;
    r = cgroup_usage(group, &ret->usage, err);
    if (r == 0)
        r = cgroup_stats_json(group, &ret->detail, err);
    cgroup_free(group);
    return r;
}

static json_t *pids_json(const struct sample *s)
{
    json_t *pids = json_object();
    if (s->running)
        json_object_set_new(pids, "current", number(s->usage.pids));
    if (s->usage.pids_limit > 0)
        json_object_set_new(pids, "limit", number(s->usage.pids_limit));
    return pids;
}

static json_t *cpu_now(const struct sample *s)
{
    json_t *cpu = cpu_json(&s->usage);
    if (!s->running)
        return cpu;
    json_t *percpu = json_object_get(json_object_get(json_object_get(s->detail, "cpu"), "usage"), "percpu");
    if (percpu)
        json_object_set(json_object_get(cpu, "cpu_usage"), "percpu_usage", percpu);
    json_object_set_new(cpu, "online_cpus", json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
    json_object_set_new(cpu, "system_cpu_usage", json_integer(system_cpu_ns()));
    return cpu;
}

/* Pressure stall information, where the kernel tells: {"some": {avg10, avg60, avg300: %, total: us}, "full":
 * ...}. */
static void add_pressure(json_t *stats, const json_t *detail)
{
    static const char *const keys[][2] = {
        {"cpu_stats", "cpu"}, {"memory_stats", "memory"}, {"blkio_stats", "blkio"}};
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        json_t *psi = json_object_get(json_object_get(detail, keys[i][1]), "psi");
        if (psi)
            json_object_set(json_object_get(stats, keys[i][0]), "psi", psi);
    }
}

int engine_container_stats(struct engine *e, const char *ref, const json_t *previous, json_t **ret,
                           struct err *err)
{
    static const char never[] = "0001-01-01T00:00:00Z";
    _cleanup_container_ struct container *c = NULL;
    _cleanup_(sample_done) struct sample s = {0};
    int r = container__find(e, ref, &c, err);
    if (r == 0)
        r = take_sample(c, &s, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *name = container__name(c), *slashed = str_printf("/%s", name);
    const json_t *before = s.running ? previous : NULL, *memory = json_object_get(s.detail, "memory");
    const json_t *cpu_before = json_object_get(before, "cpu_stats");
    json_t *o = json_object();
    inspect__set_time(o, "read", s.running ? time_now_ns() : 0);
    json_set_str(o, "preread", before ? json_str(before, "read") : never);
    json_object_set_new(o, "pids_stats", pids_json(&s));
    json_object_set_new(o, "blkio_stats", io_json(json_object_get(s.detail, "blkio"), s.running, s.v2));
    json_object_set_new(o, "num_procs", json_integer(0));
    json_object_set_new(o, "storage_stats", json_object());
    json_object_set_new(o, "cpu_stats", cpu_now(&s));
    json_object_set_new(o, "precpu_stats",
                        cpu_before ? json_incref((json_t *)cpu_before) : cpu_json(&(struct cgroup_usage){0}));
    json_object_set_new(o, "memory_stats",
                        s.running ? memory_json(&s.usage, json_object_get(memory, "raw"), s.v2)
                                  : json_object());
    json_set_str(o, "name", slashed);
    json_set_str(o, "id", c->id);
    if (s.running)
        json_object_set_new(o, "networks", networks_json(c));
    add_pressure(o, s.detail);
    *ret = o;
    return 0;
}
