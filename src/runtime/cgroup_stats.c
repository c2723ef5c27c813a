/* What a group uses in the words of `runc events --stats`, and word of its running out of memory. */
#include "runtime/cgroup_priv.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

enum { MAX_LINES = 4096 };

static json_t *number_of(const char *dir, const char *file)
{
    int64_t n = 0;
    cgroup__read_i64(dir, file, &n);
    return json_integer(n);
}

/* "key value" lines as an object. */
static json_t *table_of(const char *dir, const char *file)
{
    json_t *table = json_object();
    _cleanup_str_ struct str text = STR_INIT;
    if (!cgroup__read_text(dir, file, &text))
        return table;
    _cleanup_strv_ char **lines = strv_split(str_get(&text), '\n');
    STRV_FOREACH (line, lines) {
        char *space = strchr(*line, ' ');
        if (!space)
            continue;
        *space = '\0';
        json_object_set_new(table, *line, json_integer((json_int_t)strtoull(space + 1, NULL, 10)));
    }
    return table;
}

static json_t *cpu_of(const struct cgroup *g, const struct cgroup_usage *u)
{
    json_t *usage = json_pack("{s:I,s:I,s:I}", "total", (json_int_t)u->cpu_ns, "kernel",
                              (json_int_t)u->cpu_system_ns, "user", (json_int_t)u->cpu_user_ns);
    _cleanup_str_ struct str text = STR_INIT;
    if (g->version == 1 && cgroup__read_text(cgroup__dir_of(g, CG_CPUACCT), "cpuacct.usage_percpu", &text)) {
        json_t *list = json_array();
        _cleanup_strv_ char **words = strv_split(str_get(&text), ' ');
        STRV_FOREACH (word, words)
            if (**word >= '0' && **word <= '9')
                json_array_append_new(list, json_integer((json_int_t)strtoull(*word, NULL, 10)));
        json_object_set_new(usage, "percpu", list);
    }
    return json_pack("{s:o,s:{s:I,s:I,s:I}}", "usage", usage, "throttling", "periods", (json_int_t)u->periods,
                     "throttledPeriods", (json_int_t)u->throttled_periods, "throttledTime",
                     (json_int_t)u->throttled_ns);
}

/* One kind of memory: its files on v1 start with `prefix`. */
static json_t *memory_v1(const char *dir, const char *prefix)
{
    static const struct {
        const char *key, *leaf;
    } parts[] = {{"limit", "limit_in_bytes"},
                 {"usage", "usage_in_bytes"},
                 {"max", "max_usage_in_bytes"},
                 {"failcnt", "failcnt"}};
    json_t *o = json_object();
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        char file[64];
        snprintf(file, sizeof(file), "memory.%s%s", prefix, parts[i].leaf);
        json_object_set_new(o, parts[i].key, number_of(dir, file));
    }
    return o;
}

static json_t *memory_v2(const char *dir, const char *prefix)
{
    int64_t limit = -1, failures = 0;
    char file[64];
    snprintf(file, sizeof(file), "memory.%smax", prefix);
    cgroup__read_i64(dir, file, &limit);
    json_t *o = json_object();
    /* "max" is written as the largest number. */
    json_object_set_new(o, "limit", limit < 0 ? json_real(18446744073709551615.0) : json_integer(limit));
    snprintf(file, sizeof(file), "memory.%scurrent", prefix);
    json_object_set_new(o, "usage", number_of(dir, file));
    snprintf(file, sizeof(file), "memory.%speak", prefix);
    json_object_set_new(o, "max", number_of(dir, file));
    snprintf(file, sizeof(file), "memory.%sevents", prefix);
    cgroup__read_key(dir, file, "max", &failures);
    json_object_set_new(o, "failcnt", json_integer(failures));
    return o;
}

static json_t *memory_of(const struct cgroup *g)
{
    const char *dir = cgroup__dir_of(g, CG_MEMORY);
    bool v2 = g->version == 2;
    json_t *raw = table_of(dir, "memory.stat"), *memory = json_object();
    const json_t *cache = json_object_get(raw, v2 ? "file" : "cache");
    json_object_set_new(memory, "cache", json_integer(json_integer_value(cache)));
    json_object_set_new(memory, "usage", v2 ? memory_v2(dir, "") : memory_v1(dir, ""));
    json_object_set_new(memory, "swap", v2 ? memory_v2(dir, "swap.") : memory_v1(dir, "memsw."));
    if (!v2) {
        json_object_set_new(memory, "kernel", memory_v1(dir, "kmem."));
        json_object_set_new(memory, "kernelTCP", memory_v1(dir, "kmem.tcp."));
    }
    json_object_set_new(memory, "raw", raw);
    return memory;
}

static void add_io(json_t *list, unsigned major_, unsigned minor_, const char *op, uint64_t value)
{
    json_array_append_new(list, json_pack("{s:i,s:i,s:s,s:I}", "major", (int)major_, "minor", (int)minor_,
                                          "op", op, "value", (json_int_t)value));
}

/* v1: "8:0 Read 4096". */
static json_t *io_v1(const char *dir, const char *file)
{
    json_t *list = json_array();
    _cleanup_str_ struct str text = STR_INIT;
    if (!cgroup__read_text(dir, file, &text))
        return list;
    _cleanup_strv_ char **lines = strv_split(str_get(&text), '\n');
    STRV_FOREACH (line, lines) {
        unsigned major_, minor_;
        unsigned long long value;
        char op[16];
        if (sscanf(*line, "%u:%u %15s %llu", &major_, &minor_, op, &value) == 4 &&
            json_array_size(list) < MAX_LINES)
            add_io(list, major_, minor_, op, value);
    }
    return list;
}

/* v2: "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6". */
static json_t *io_v2(const char *dir, bool bytes)
{
    static const struct {
        const char *key, *op;
        bool bytes;
    } words[] = {{"rbytes=", "Read", true},
                 {"wbytes=", "Write", true},
                 {"rios=", "Read", false},
                 {"wios=", "Write", false}};
    json_t *list = json_array();
    _cleanup_str_ struct str text = STR_INIT;
    if (!cgroup__read_text(dir, "io.stat", &text))
        return list;
    _cleanup_strv_ char **lines = strv_split(str_get(&text), '\n');
    STRV_FOREACH (line, lines) {
        unsigned major_, minor_;
        if (sscanf(*line, "%u:%u", &major_, &minor_) != 2 || json_array_size(list) >= MAX_LINES)
            continue;
        for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
            const char *at = words[i].bytes == bytes ? strstr(*line, words[i].key) : NULL;
            if (at)
                add_io(list, major_, minor_, words[i].op, strtoull(at + strlen(words[i].key), NULL, 10));
        }
    }
    return list;
}

static json_t *io_of(const struct cgroup *g)
{
    const char *dir = cgroup__dir_of(g, CG_BLKIO);
    bool v2 = g->version == 2;
    return json_pack("{s:o,s:o}", "ioServiceBytesRecursive",
                     v2 ? io_v2(dir, true) : io_v1(dir, "blkio.throttle.io_service_bytes_recursive"),
                     "ioServicedRecursive",
                     v2 ? io_v2(dir, false) : io_v1(dir, "blkio.throttle.io_serviced_recursive"));
}

/* "some avg10=0.00 avg60=0.00 avg300=0.00 total=0", then "full ..." (accounting/psi.rst), in runc's form. */
static json_t *pressure_of(const char *dir, const char *file)
{
    _cleanup_str_ struct str text = STR_INIT;
    if (!dir || !cgroup__has(dir, file) || !cgroup__read_text(dir, file, &text))
        return NULL; /* the kernel was built or booted without it */
    json_t *pressure = json_object();
    _cleanup_strv_ char **lines = strv_split(str_get(&text), '\n');
    STRV_FOREACH (line, lines) {
        char kind[8];
        double avg10, avg60, avg300;
        unsigned long long total;
        if (sscanf(*line, "%7s avg10=%lf avg60=%lf avg300=%lf total=%llu", kind, &avg10, &avg60, &avg300,
                   &total) == 5)
            json_object_set_new(pressure, kind,
                                json_pack("{s:f,s:f,s:f,s:I}", "avg10", avg10, "avg60", avg60, "avg300",
                                          avg300, "total", (json_int_t)total));
    }
    return pressure;
}

/* Pressure stall information, which only v2 has for a group. */
static void add_pressure(const struct cgroup *g, json_t *stats)
{
    static const struct {
        const char *key, *file;
        unsigned controller;
    } kinds[] = {{"cpu", "cpu.pressure", CG_CPU},
                 {"memory", "memory.pressure", CG_MEMORY},
                 {"blkio", "io.pressure", CG_BLKIO}};
    for (size_t i = 0; g->version == 2 && i < ARRAY_SIZE(kinds); i++) {
        json_t *pressure = pressure_of(cgroup__dir_of(g, kinds[i].controller), kinds[i].file);
        if (pressure)
            json_object_set_new(json_object_get(stats, kinds[i].key), "psi", pressure);
    }
}

static json_t *hugetlb_of(const struct cgroup *g)
{
    static const char *const sizes[] = {"64KB", "2MB", "32MB", "512MB", "1GB", "16GB"};
    const char *dir = cgroup__dir_of(g, CG_HUGETLB);
    json_t *all = json_object();
    for (size_t i = 0; dir && i < ARRAY_SIZE(sizes); i++) {
        char usage[64], most[64], failures[64];
        bool v2 = g->version == 2;
        snprintf(usage, sizeof(usage), "hugetlb.%s.%s", sizes[i], v2 ? "current" : "usage_in_bytes");
        snprintf(most, sizeof(most), "hugetlb.%s.max_usage_in_bytes", sizes[i]);
        snprintf(failures, sizeof(failures), "hugetlb.%s.%s", sizes[i], v2 ? "events" : "failcnt");
        if (!cgroup__has(dir, usage))
            continue;
        int64_t failed = 0;
        if (v2)
            cgroup__read_key(dir, failures, "max", &failed);
        else
            cgroup__read_i64(dir, failures, &failed);
        json_object_set_new(all, sizes[i],
                            json_pack("{s:o,s:o,s:I}", "usage", number_of(dir, usage), "max",
                                      number_of(dir, v2 ? usage : most), "failcnt", (json_int_t)failed));
    }
    return all;
}

int cgroup_stats_json(struct cgroup *g, json_t **ret, struct err *err)
{
    struct cgroup_usage u;
    int r = cgroup_usage(g, &u, err);
    if (r < 0)
        return r;
    json_t *pids = json_pack("{s:I}", "current", (json_int_t)u.pids);
    if (u.pids_limit >= 0)
        json_object_set_new(pids, "limit", json_integer(u.pids_limit));
    *ret = json_pack("{s:o,s:o,s:o,s:o,s:o}", "cpu", cpu_of(g, &u), "memory", memory_of(g), "pids", pids,
                     "blkio", io_of(g), "hugetlb", hugetlb_of(g));
    add_pressure(g, *ret);
    return 0;
}

int64_t cgroup_oom_kills(const struct cgroup *g)
{
    int64_t n = 0;
    if (g->version)
        cgroup__read_key(cgroup__dir_of(g, CG_MEMORY),
                         g->version == 2 ? "memory.events" : "memory.oom_control", "oom_kill", &n);
    return n;
}

/* v1: an eventfd registered with the controller (cgroup-v1/memory.rst, "OOM Control"). */
static int watch_v1(const char *dir, int *ret_fd, struct err *err)
{
    _cleanup_free_ char *path = str_printf("%s/memory.oom_control", dir);
    _cleanup_close_ int control = open(path, O_RDONLY | O_CLOEXEC);
    if (control < 0)
        return err_sys(err, errno, "open %s", path);
    _cleanup_close_ int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (event < 0)
        return err_sys(err, errno, "eventfd");
    char text[32];
    snprintf(text, sizeof(text), "%d %d", event, control);
    int r = cgroup__write(dir, "cgroup.event_control", text, err);
    if (r == 0)
        *ret_fd = take_fd(&event);
    return r;
}

static int watch_v2(const char *dir, int *ret_fd, struct err *err)
{
    _cleanup_free_ char *path = str_printf("%s/memory.events", dir);
    _cleanup_close_ int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (fd < 0)
        return err_sys(err, errno, "inotify");
    if (inotify_add_watch(fd, path, IN_MODIFY) < 0)
        return err_sys(err, errno, "watch %s", path);
    *ret_fd = take_fd(&fd);
    return 0;
}

int cgroup_watch_oom(struct cgroup *g, int *ret_fd, struct err *err)
{
    const char *dir = cgroup__dir_of(g, CG_MEMORY);
    if (!dir)
        return err_set(
            err, ERR_UNSUPPORTED,
            "cgroup %s: this machine has no cgroup controller \"memory\" to tell when memory runs out",
            g->path);
    return g->version == 2 ? watch_v2(dir, ret_fd, err) : watch_v1(dir, ret_fd, err);
}
