/* docker stats: a running container's use of the machine, from its control group and its interfaces. */
#include "engine/engine_priv.h"

#include "base/err.h"
#include "base/file.h"
#include "runtime/cgroup.h"

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
    json_object_set_new(cpu, "online_cpus", json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
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

static json_t *memory_json(const struct cgroup_usage *u, bool v2)
{
    json_t *detail = json_object();
    /* docker takes the page cache off the use under these names */
    json_object_set_new(detail, v2 ? "inactive_file" : "total_inactive_file", number(u->memory_cache_bytes));
    json_t *memory = json_object();
    int64_t limit = u->memory_limit_bytes, total = memory_total();
    json_object_set_new(memory, "usage", number(u->memory_bytes));
    if (!v2)
        json_object_set_new(memory, "max_usage", number(u->memory_max_bytes));
    json_object_set_new(memory, "limit", json_integer(limit > 0 && limit < total ? limit : total));
    json_object_set_new(memory, "stats", detail);
    return memory;
}

static json_t *io_entry(const char *op, int64_t value)
{
    json_t *entry = json_object();
    json_object_set_new(entry, "major", json_integer(0));
    json_object_set_new(entry, "minor", json_integer(0));
    json_set_str(entry, "op", op);
    json_object_set_new(entry, "value", number(value));
    return entry;
}

static json_t *io_json(const struct cgroup_usage *u)
{
    json_t *bytes = json_array();
    json_array_append_new(bytes, io_entry("read", u->io_read_bytes));
    json_array_append_new(bytes, io_entry("write", u->io_write_bytes));
    json_t *io = json_object();
    json_object_set_new(io, "io_service_bytes_recursive", bytes);
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

/* A container that does not run has the same document with nothing in it, as dockerd answers. */
static int usage_of(struct container *c, struct cgroup_usage *ret, bool *ret_v2, struct err *err)
{
    *ret = (struct cgroup_usage){0};
    *ret_v2 = cgroup_host_version() == 2;
    if (!container__running(c))
        return 0;
    _cleanup_free_ char *path = container__cgroup(c, NULL);
    struct cgroup *group;
    int r = cgroup_open(path, &group, err);
    if (r < 0)
        return r;
    r = cgroup_usage(group, ret, err);
    cgroup_free(group);
    return r;
}

int engine_container_stats(struct engine *e, const char *ref, const json_t *previous, json_t **ret,
                           struct err *err)
{
    _cleanup_container_ struct container *c = NULL;
    struct cgroup_usage usage;
    bool v2;
    int r = container__find(e, ref, &c, err);
    if (r == 0)
        r = usage_of(c, &usage, &v2, err);
    if (r < 0)
        return r;
    bool running = container__running(c);
    _cleanup_free_ char *name = container__name(c), *slashed = str_printf("/%s", name);
    json_t *o = json_object(), *cpu = cpu_json(&usage), *pids = json_object();
    json_object_set_new(cpu, "system_cpu_usage", json_integer(system_cpu_ns()));
    inspect__set_time(o, "read", time_now_ns());
    const json_t *read_before = previous ? json_object_get(previous, "read") : NULL;
    json_set_str(o, "preread", read_before ? json_string_value(read_before) : "0001-01-01T00:00:00Z");
    if (running)
        json_object_set_new(pids, "current", number(usage.pids));
    if (usage.pids_limit > 0)
        json_object_set_new(pids, "limit", number(usage.pids_limit));
    json_object_set_new(o, "pids_stats", pids);
    json_object_set_new(o, "blkio_stats", io_json(&usage));
    json_object_set_new(o, "num_procs", json_integer(0));
    json_object_set_new(o, "storage_stats", json_object());
    json_object_set_new(o, "cpu_stats", cpu);
    const json_t *cpu_before = previous ? json_object_get(previous, "cpu_stats") : NULL;
    json_object_set_new(o, "precpu_stats",
                        cpu_before ? json_incref((json_t *)cpu_before) : cpu_json(&(struct cgroup_usage){0}));
    json_object_set_new(o, "memory_stats", running ? memory_json(&usage, v2) : json_object());
    json_set_str(o, "name", slashed);
    json_set_str(o, "id", c->id);
    if (running)
        json_object_set_new(o, "networks", networks_json(c));
    *ret = o;
    return 0;
}
