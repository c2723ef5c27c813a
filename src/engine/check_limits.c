/* Limits of HostConfig, as `POST /containers/create` and `/update` take them: ranges and what must go
 * together, with the sentences Docker's clients know. */
#include "engine/engine_priv.h"

#include "base/file.h"
#include "runtime/cgroup.h"

#include <unistd.h>

enum {
    STOP_TIMEOUT_MAX = 1 << 30,
    MEMORY_MIN = 6 << 20,
    CPU_PERIOD_MIN_US = 1000,
    CPU_PERIOD_MAX_US = 1000000,
    CPU_QUOTA_MIN_US = 1000,
    OOM_SCORE_MAX = 1000,
    SET_MAX = 8192, /* CPUs or memory nodes */
};

static int check_memory(const json_t *host, struct err *err)
{
    int64_t memory = json_int(host, "Memory"), swap = json_int(host, "MemorySwap");
    int64_t reservation = json_int(host, "MemoryReservation"), kernel = json_int(host, "KernelMemory");
    int64_t swappiness = json_int(host, "MemorySwappiness");
    if (memory && memory < MEMORY_MIN)
        return err_set(err, ERR_INVALID, "Minimum memory limit allowed is 6MB");
    if (memory > 0 && swap > 0 && swap < memory)
        return err_set(err, ERR_INVALID,
                       "Minimum memoryswap limit should be larger than memory limit, see usage");
    if (!memory && swap > 0)
        return err_set(err, ERR_INVALID,
                       "You should always set the Memory limit when using Memoryswap limit, see usage");
    if (swappiness < -1 || swappiness > 100)
        return err_set(err, ERR_INVALID, "Invalid value: %lld, valid memory swappiness range is 0-100",
                       (long long)swappiness);
    if (reservation > 0 && reservation < MEMORY_MIN)
        return err_set(err, ERR_INVALID, "Minimum memory reservation allowed is 6MB");
    if (reservation > 0 && memory && reservation > memory)
        return err_set(err, ERR_INVALID,
                       "Minimum memory limit can not be less than memory reservation limit, see usage");
    if (kernel && kernel < MEMORY_MIN)
        return err_set(err, ERR_INVALID, "Minimum kernel memory limit allowed is 6MB");
    if (json_int(host, "ShmSize") < 0)
        return err_set(err, ERR_INVALID, "SHM size can not be less than 0");
    return 0;
}

static int check_cpu(const json_t *host, struct err *err)
{
    int64_t nano = json_int(host, "NanoCpus"), period = json_int(host, "CpuPeriod");
    int64_t quota = json_int(host, "CpuQuota"), oom = json_int(host, "OomScoreAdj");
    int cpus = nano ? (int)sysconf(_SC_NPROCESSORS_ONLN) : 0; /* a file of sysfs */
    if (nano && period)
        return err_set(err, ERR_INVALID, "Conflicting options: Nano CPUs and CPU Period cannot both be set");
    if (nano && quota)
        return err_set(err, ERR_INVALID, "Conflicting options: Nano CPUs and CPU Quota cannot both be set");
    if (nano < 0 || nano > cpus * NS_PER_S)
        return err_set(err, ERR_INVALID,
                       "Range of CPUs is from 0.01 to %d.00, as there are only %d CPUs available", cpus,
                       cpus);
    if (period && (period < CPU_PERIOD_MIN_US || period > CPU_PERIOD_MAX_US))
        return err_set(err, ERR_INVALID,
                       "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. "
                       "1000000)");
    if (quota > 0 && quota < CPU_QUOTA_MIN_US)
        return err_set(err, ERR_INVALID, "CPU cfs quota can not be less than 1ms (i.e. 1000)");
    if (oom < -OOM_SCORE_MAX || oom > OOM_SCORE_MAX)
        return err_set(err, ERR_INVALID, "Invalid value %lld, range for oom score adj is [-1000, 1000]",
                       (long long)oom);
    return 0;
}

/* --- sets: "0-2,7" --- */

/* Marks the numbers of the list in `set`. */
static int read_set(const char *text, bool set[SET_MAX], struct err *err)
{
    _cleanup_strv_ char **parts = strv_split(text, ',');
    STRV_FOREACH (part, parts) {
        char *dash = strchr(*part, '-');
        int64_t first, last;
        if (dash)
            *dash = '\0';
        if (parse_i64(*part, 0, SET_MAX - 1, &first, NULL) < 0 ||
            parse_i64(dash ? dash + 1 : *part, first, SET_MAX - 1, &last, NULL) < 0)
            return err_set(err, ERR_INVALID, "invalid format: %.100s", text);
        for (int64_t i = first; i <= last; i++)
            set[i] = true;
    }
    return 0;
}

/* What the machine has, from the first file that is there. */
static char *available(const char *const *files)
{
    for (; *files; files++) {
        _cleanup_str_ struct str text = STR_INIT;
        if (file_read(*files, 1 << 16, &text, NULL) < 0)
            continue;
        char *line = mem_strndup(str_get(&text), strcspn(str_get(&text), "\n"));
        if (*line)
            return line;
        free(line);
    }
    return mem_strdup("0");
}

static int check_set(const json_t *host, const char *field, const char *what, const char *things,
                     const char *const *files, struct err *err)
{
    const char *text = json_str(host, field);
    struct err why = {0};
    bool wanted[SET_MAX] = {false}, there[SET_MAX] = {false};
    if (!*text)
        return 0;
    if (read_set(text, wanted, &why) < 0)
        return err_set(err, ERR_INVALID, "Invalid value %.100s for cpuset %s: %s", text, what, why.msg);
    _cleanup_free_ char *have = available(files);
    _cleanup_free_ char *copy = mem_strdup(have);
    if (read_set(copy, there, NULL) < 0)
        return 0; /* what the kernel prints in another form it will judge itself */
    for (int i = 0; i < SET_MAX; i++)
        if (wanted[i] && !there[i])
            return err_set(err, ERR_INVALID,
                           "Requested %s are not available - requested %.100s, available: %s", things, text,
                           have);
    return 0;
}

static int check_sets(const json_t *host, struct err *err)
{
    static const char *const cpus[] = {"/sys/fs/cgroup/cpuset.cpus.effective",
                                       "/sys/fs/cgroup/cpuset/cpuset.cpus", "/sys/devices/system/cpu/online",
                                       NULL};
    static const char *const nodes[] = {"/sys/fs/cgroup/cpuset.mems.effective",
                                        "/sys/fs/cgroup/cpuset/cpuset.mems",
                                        "/sys/devices/system/node/online", NULL};
    int r = check_set(host, "CpusetCpus", "cpus", "CPUs", cpus, err);
    return r < 0 ? r : check_set(host, "CpusetMems", "mems", "memory nodes", nodes, err);
}

static int check_io(const json_t *host, struct err *err)
{
    int64_t weight = json_int(host, "BlkioWeight");
    return weight && (weight < IO_WEIGHT_MIN || weight > IO_WEIGHT_MAX)
               ? err_set(err, ERR_INVALID, "Range of blkio weight is from %d to %d", IO_WEIGHT_MIN,
                         IO_WEIGHT_MAX)
               : 0;
}

int check__limits(const json_t *config, const json_t *host, struct err *err)
{
    int r = check_memory(host, err);
    if (r == 0)
        r = check_cpu(host, err);
    if (r == 0)
        r = check_sets(host, err);
    if (r == 0)
        r = check_io(host, err);
    if (r == 0 && json_int(config, "StopTimeout") > STOP_TIMEOUT_MAX)
        r = err_set(err, ERR_INVALID, "StopTimeout is too long");
    return r;
}

/* --- what is left out, and told --- */

static void warn(json_t *warnings, const char *text)
{
    if (warnings)
        json_array_append_new(warnings, json_string(text));
}

static void forget_zero(json_t *host, const char *field, bool negative_only)
{
    const json_t *v = json_object_get(host, field);
    if (json_is_integer(v) && (json_integer_value(v) < 0 || (!negative_only && !json_integer_value(v))))
        json_object_set_new(host, field, json_null());
}

void check__adjust_limits(json_t *host, json_t *warnings)
{
    forget_zero(host, "PidsLimit", false); /* both ways to say "unlimited" */
    forget_zero(host, "MemorySwappiness", true);
    int64_t memory = json_int(host, "Memory");
    if (memory > 0 && memory < INT64_MAX / 2 && !json_int(host, "MemorySwap") && spec__swap_can_be_limited())
        json_object_set_new(host, "MemorySwap", json_integer(memory * 2)); /* as much swap again */
    if (json_int(host, "KernelMemory"))
        warn(warnings, "Specifying a kernel memory limit is deprecated and will be removed in a future "
                       "release.");
    if (json_int(host, "CpuPercent")) {
        warn(warnings, "linux does not support CPU percent. Percent discarded.");
        json_object_set_new(host, "CpuPercent", json_integer(0));
    }
    if (!json_bool(host, "OomKillDisable"))
        return;
    if (cgroup_host_version() == 2) {
        warn(warnings, "Your kernel does not support OomKillDisable. OomKillDisable discarded.");
        json_object_set_new(host, "OomKillDisable", json_null());
    } else if (!json_int(host, "Memory"))
        warn(warnings, "OOM killer is disabled for the container, but no memory limit is set, this can "
                       "result in the system running out of resources.");
}
