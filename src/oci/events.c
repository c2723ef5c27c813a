/* events: usage of a container once or at intervals, and a line when it ran out of memory. */
#include "base/timeutil.h"
#include "oci/commands.h"
#include "oci/container.h"
#include "runtime/cgroup.h"

#include <poll.h>

enum { OOM_CHECK_MS = 200 };

static void print_event(const struct container *c, const char *type, json_t *data)
{
    _cleanup_json_ json_t *event = json_object();
    json_set_str(event, "type", type);
    json_set_str(event, "id", c->id);
    if (data)
        json_object_set_new(event, "data", data);
    json_dumpf(event, stdout, JSON_COMPACT);
    putchar('\n');
    fflush(stdout);
}

/* The form that runc gives it, and its readers expect. */
static json_t *stats_json(const struct cgroup_usage *u)
{
    json_t *memory_usage =
        json_pack("{s:I, s:I, s:I, s:I}", "limit",
                  (json_int_t)(u->memory_limit_bytes < 0 ? INT64_MAX : u->memory_limit_bytes), "usage",
                  (json_int_t)u->memory_bytes, "max", (json_int_t)u->memory_max_bytes, "failcnt",
                  (json_int_t)u->oom_kills);
    json_t *blkio = json_pack("[{s:i, s:i, s:s, s:I}, {s:i, s:i, s:s, s:I}]", "major", 0, "minor", 0, "op",
                              "Read", "value", (json_int_t)u->io_read_bytes, "major", 0, "minor", 0, "op",
                              "Write", "value", (json_int_t)u->io_write_bytes);
    return json_pack("{s:{s:{s:I, s:I, s:I}, s:{s:I, s:I, s:I}}, s:{s:I, s:o}, s:{s:I, s:I}, s:{s:o}}", "cpu",
                     "usage", "total", (json_int_t)u->cpu_ns, "kernel", (json_int_t)u->cpu_system_ns, "user",
                     (json_int_t)u->cpu_user_ns, "throttling", "periods", (json_int_t)u->periods,
                     "throttledPeriods", (json_int_t)u->throttled_periods, "throttledTime",
                     (json_int_t)u->throttled_ns, "memory", "cache", (json_int_t)u->memory_cache_bytes,
                     "usage", memory_usage, "pids", "current", (json_int_t)u->pids, "limit",
                     (json_int_t)MAX(u->pids_limit, 0), "blkio", "ioServiceBytesRecursive", blkio);
}

static int print_stats(const struct container *c, struct cgroup *cgroup, struct err *err)
{
    struct cgroup_usage usage;
    int r = cgroup_usage(cgroup, &usage, err);
    if (r == 0)
        print_event(c, "stats", stats_json(&usage));
    return r;
}

/* Until the container ends. */
static int watch(const struct container *c, struct cgroup *cgroup, int64_t interval_ns, struct err *err)
{
    struct cgroup_usage usage = {0};
    struct pollfd end = {.fd = c->pidfd, .events = POLLIN};
    int64_t next = time_monotonic_ns() + interval_ns, seen;
    int r = cgroup_usage(cgroup, &usage, err);
    if (r < 0)
        return r;
    for (seen = usage.oom_kills; poll(&end, 1, OOM_CHECK_MS) == 0;) {
        r = cgroup_usage(cgroup, &usage, err);
        if (r < 0)
            return r;
        for (; seen < usage.oom_kills; seen++)
            print_event(c, "oom", NULL);
        if (time_monotonic_ns() < next)
            continue;
        next += interval_ns;
        print_event(c, "stats", stats_json(&usage));
    }
    if (cgroup_usage(cgroup, &usage, NULL) == 0)
        for (; seen < usage.oom_kills; seen++)
            print_event(c, "oom", NULL);
    return 0;
}

int command_events(const struct oci_args *args, int *ret_status, struct err *err)
{
    _cleanup_container_ struct container c = CONTAINER_INIT;
    int64_t interval_ns = 5 * NS_PER_S;
    int r = args->interval ? parse_duration(args->interval, &interval_ns, err) : 0;
    if (r == 0 && interval_ns <= 0)
        r = err_set(err, ERR_INVALID, "duration interval must be greater than 0");
    if (r == 0)
        r = container_open(args, args->words[0], false, &c, err);
    if (r < 0)
        return r;
    struct cgroup *cgroup = c.pidfd >= 0 ? container_cgroup(&c) : NULL;
    if (!cgroup)
        return err_set(err, ERR_CONFLICT, "container with id %s is not running", c.id);
    r = args->stats ? print_stats(&c, cgroup, err) : watch(&c, cgroup, interval_ns, err);
    cgroup_free(cgroup);
    return r;
}
