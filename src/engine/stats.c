/* docker stats and docker top: a running container's use of the machine, from its control group and its
 * interfaces. */
#include "engine/engine_priv.h"

#include "base/err.h"
#include "base/file.h"
#include "runtime/cgroup.h"

#include <dirent.h>
#include <pwd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { TOP_MAX_PROCESSES = 4096, PROC_FILE_MAX = 64 << 10 };

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

/* --- top --- */

struct process {
    pid_t pid, ppid;
    uid_t uid;
    int64_t start_ticks, cpu_ticks;
    char tty[32];
    char *command;
};

static int64_t boot_ns(void)
{
    struct timespec up;
    clock_gettime(CLOCK_BOOTTIME, &up);
    return time_now_ns() - (up.tv_sec * NS_PER_S + up.tv_nsec);
}

static void format_tty(int device, char out[32])
{
    int major = (device >> 8) & 0xfff, minor = (device & 0xff) | ((device >> 12) & 0xfff00);
    if (!device)
        snprintf(out, 32, "?");
    else if (major >= 136 && major < 144)
        snprintf(out, 32, "pts/%d", (major - 136) * 256 + minor);
    else
        snprintf(out, 32, "tty%d", minor);
}

/* A process that ends while it is looked at is left out. */
static bool process_read(pid_t pid, struct process *ret)
{
    char path[64];
    _cleanup_str_ struct str text = STR_INIT, command = STR_INIT;
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    if (file_read(path, PROC_FILE_MAX, &text, NULL) < 0)
        return false;
    const char *open = strchr(str_get(&text), '('), *close = strrchr(str_get(&text), ')');
    long long utime, stime, start;
    int ppid, tty;
    if (!open || !close ||
        sscanf(close + 2, "%*c %d %*d %*d %d %*d %*u %*u %*u %*u %*u %lld %lld %*d %*d %*d %*d %*d %*d %lld",
               &ppid, &tty, &utime, &stime, &start) != 5)
        return false;
    struct stat owner;
    snprintf(path, sizeof(path), "/proc/%d", pid);
    if (lstat(path, &owner) < 0)
        return false;
    *ret = (struct process){
        .pid = pid, .ppid = ppid, .uid = owner.st_uid, .start_ticks = start, .cpu_ticks = utime + stime};
    format_tty(tty, ret->tty);
    snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
    if (file_read(path, PROC_FILE_MAX, &command, NULL) == 0 && command.len) {
        while (command.len && !command.data[command.len - 1])
            str_truncate(&command, command.len - 1);
        for (size_t i = 0; i < command.len; i++)
            if (!command.data[i])
                command.data[i] = ' ';
        ret->command = str_take(&command);
    } else
        ret->command = str_printf("[%.*s]", (int)(close - open - 1), open + 1);
    return true;
}

static char *user_name(uid_t uid)
{
    char buffer[4096];
    struct passwd entry, *found = NULL;
    if (getpwuid_r(uid, &entry, buffer, sizeof(buffer), &found) == 0 && found)
        return mem_strdup(found->pw_name);
    return str_printf("%u", uid);
}

/* ps -ef's columns: UID PID PPID C STIME TTY TIME CMD */
static json_t *process_row(const struct process *p, int64_t booted_ns)
{
    long ticks = sysconf(_SC_CLK_TCK);
    time_t started = (time_t)((booted_ns + p->start_ticks * (NS_PER_S / ticks)) / NS_PER_S);
    int64_t cpu_s = p->cpu_ticks / ticks, alive_s = MAX(time_now_ns() / NS_PER_S - started, 1);
    struct tm tm;
    char stime[16], time_text[32], number_text[16];
    localtime_r(&started, &tm);
    strftime(stime, sizeof(stime), alive_s < 24 * 3600 ? "%H:%M" : "%b%d", &tm);
    snprintf(time_text, sizeof(time_text), "%02lld:%02lld:%02lld", (long long)cpu_s / 3600,
             (long long)cpu_s / 60 % 60, (long long)cpu_s % 60);
    _cleanup_free_ char *user = user_name(p->uid);
    json_t *row = json_array();
    json_array_append_new(row, json_string(user));
    snprintf(number_text, sizeof(number_text), "%d", p->pid);
    json_array_append_new(row, json_string(number_text));
    snprintf(number_text, sizeof(number_text), "%d", p->ppid);
    json_array_append_new(row, json_string(number_text));
    snprintf(number_text, sizeof(number_text), "%lld", (long long)MIN(cpu_s * 100 / alive_s, 99));
    json_array_append_new(row, json_string(number_text));
    json_array_append_new(row, json_string(stime));
    json_array_append_new(row, json_string(p->tty));
    json_array_append_new(row, json_string(time_text));
    json_t *command = json_string(p->command);
    json_array_append_new(row, command ? command : json_string("?"));
    return row;
}

static bool namespace_of(const char *pid, ino_t *ret)
{
    _cleanup_free_ char *path = str_printf("/proc/%s/ns/pid", pid);
    struct stat st;
    if (stat(path, &st) < 0)
        return false;
    *ret = st.st_ino;
    return true;
}

/* For a container without a cgroup: who shares the pid namespace of its first process, or that one alone when
 * it has none of its own. */
static void pids_by_namespace(pid_t first, pid_t **ret, size_t *ret_count)
{
    size_t capacity = 0;
    ino_t ours, theirs, other;
    _cleanup_free_ char *first_text = str_printf("%d", (int)first);
    bool own = namespace_of("self", &ours) && namespace_of(first_text, &theirs) && ours != theirs;
    DIR *d = opendir("/proc");
    for (struct dirent *e; d && (e = readdir(d));) {
        int64_t pid;
        if (parse_i64(e->d_name, 1, INT32_MAX, &pid, NULL) < 0 ||
            (pid != first && (!own || !namespace_of(e->d_name, &other) || other != theirs)))
            continue;
        GROW(*ret, *ret_count, capacity);
        (*ret)[(*ret_count)++] = (pid_t)pid;
    }
    if (d)
        closedir(d);
}

int engine_container_top(struct engine *e, const char *ref, const char *ps_args, json_t **ret,
                         struct err *err)
{
    _cleanup_container_ struct container *c = NULL;
    int r = container__find(e, ref, &c, err);
    if (r < 0)
        return r;
    if (!str_empty(ps_args) && strcmp(ps_args, "-ef") != 0)
        return err_set(err, ERR_UNSUPPORTED, "ps options \"%s\" are not supported; only -ef is", ps_args);
    if (!container__running(c))
        return err_set(err, ERR_CONFLICT, "Container %s is not running", c->id);
    container__event(c, "top", NULL, NULL);
    _cleanup_free_ char *path = container__cgroup(c, NULL);
    struct cgroup *group;
    _cleanup_free_ pid_t *pids = NULL;
    size_t count = 0;
    r = cgroup_open(path, &group, err);
    if (r < 0)
        return r;
    r = cgroup_pids(group, &pids, &count, err);
    cgroup_free(group);
    if (r < 0)
        return r;
    if (!count) {
        free(take_ptr(pids));
        pids_by_namespace(container__state(c).pid, &pids, &count);
    }
    json_t *rows = json_array();
    int64_t booted = boot_ns();
    for (size_t i = 0; i < MIN(count, (size_t)TOP_MAX_PROCESSES); i++) {
        struct process p;
        if (!process_read(pids[i], &p))
            continue;
        json_array_append_new(rows, process_row(&p, booted));
        free(p.command);
    }
    *ret = json_object();
    json_object_set_new(*ret, "Titles",
                        json_pack("[ssssssss]", "UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"));
    json_object_set_new(*ret, "Processes", rows);
    return 0;
}
