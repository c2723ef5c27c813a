#include "runtime/scheduling.h"

#include "base/json.h"
#include "base/str.h"

#include <sys/syscall.h>
#include <unistd.h>

/* The kernel's own form (sched_setattr(2)); the C library has it only since 2.41. */
struct attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
    uint32_t util_min, util_max;
};

struct name {
    const char *name;
    uint64_t value;
};

static const struct name policies[] = {
    {"SCHED_OTHER", 0}, {"SCHED_FIFO", 1}, {"SCHED_RR", 2},
    {"SCHED_BATCH", 3}, {"SCHED_IDLE", 5}, {"SCHED_DEADLINE", 6},
};
enum { POLICY_OTHER = 0, POLICY_FIFO = 1, POLICY_RR = 2, POLICY_BATCH = 3, POLICY_DEADLINE = 6 };

static const struct name flag_names[] = {
    {"SCHED_FLAG_RESET_ON_FORK", 0x01},  {"SCHED_FLAG_RECLAIM", 0x02},
    {"SCHED_FLAG_DL_OVERRUN", 0x04},     {"SCHED_FLAG_KEEP_POLICY", 0x08},
    {"SCHED_FLAG_KEEP_PARAMS", 0x10},    {"SCHED_FLAG_UTIL_CLAMP_MIN", 0x20},
    {"SCHED_FLAG_UTIL_CLAMP_MAX", 0x40},
};

static const struct name io_classes[] = {
    {"IOPRIO_CLASS_RT", 1},
    {"IOPRIO_CLASS_BE", 2},
    {"IOPRIO_CLASS_IDLE", 3},
};

static bool find(const struct name *table, size_t count, const char *name, uint64_t *ret)
{
    for (size_t i = 0; i < count; i++)
        if (str_eq(name, table[i].name)) {
            *ret = table[i].value;
            return true;
        }
    return false;
}

static int get_u64(const json_t *object, const char *key, uint64_t *ret, struct err *err)
{
    int64_t value = 0;
    int r = json_get_i64(object, "process.scheduler", key, &value, err);
    if (r == 0 && value < 0)
        return err_set(err, ERR_INVALID, "\"process.scheduler.%s\": %lld is below 0", key, (long long)value);
    *ret = (uint64_t)value;
    return r;
}

static int parse_flags(const json_t *object, uint64_t *ret, struct err *err)
{
    _cleanup_strv_ char **names = NULL;
    int r = json_get_strv(object, "process.scheduler", "flags", &names, err);
    if (r < 0)
        return r;
    STRV_FOREACH (name, names) {
        uint64_t flag = 0;
        if (!find(flag_names, ARRAY_SIZE(flag_names), *name, &flag))
            return err_set(err, ERR_INVALID, "\"process.scheduler.flags\": unknown flag \"%s\"", *name);
        *ret |= flag;
    }
    return 0;
}

static int check_scheduler(const struct scheduling *s, const char *policy, struct err *err)
{
    bool realtime = s->policy == POLICY_FIFO || s->policy == POLICY_RR;
    if (s->nice < -20 || s->nice > 19)
        return err_set(err, ERR_INVALID, "\"process.scheduler.nice\": %d is not between -20 and 19", s->nice);
    if (s->priority && !realtime)
        return err_set(err, ERR_INVALID,
                       "\"process.scheduler.priority\" can only be given with SCHED_FIFO or SCHED_RR, not %s",
                       policy);
    if (s->priority > 99)
        return err_set(err, ERR_INVALID, "\"process.scheduler.priority\" is not between 0 and 99");
    if ((s->runtime || s->deadline || s->period) && s->policy != POLICY_DEADLINE)
        return err_set(err, ERR_INVALID,
                       "\"process.scheduler\": runtime, deadline and period can only be given with "
                       "SCHED_DEADLINE, not %s",
                       policy);
    return 0;
}

static int parse_scheduler(const json_t *process, struct scheduling *ret, struct err *err)
{
    json_t *object = NULL;
    const char *policy = "";
    int64_t nice = 0, priority = 0;
    uint64_t number = 0;
    int r = json_get_object(process, "process", "scheduler", &object, err);
    if (r < 0 || !object)
        return r;
    r = json_get_string(object, "process.scheduler", "policy", &policy, err);
    if (r == 0)
        r = json_get_i64(object, "process.scheduler", "nice", &nice, err);
    if (r == 0)
        r = json_get_i64(object, "process.scheduler", "priority", &priority, err);
    if (r == 0)
        r = get_u64(object, "runtime", &ret->runtime, err);
    if (r == 0)
        r = get_u64(object, "deadline", &ret->deadline, err);
    if (r == 0)
        r = get_u64(object, "period", &ret->period, err);
    if (r == 0)
        r = parse_flags(object, &ret->flags, err);
    if (r < 0)
        return r;
    if (!find(policies, ARRAY_SIZE(policies), policy, &number))
        return err_set(err, ERR_INVALID, "\"process.scheduler.policy\": unknown policy \"%s\"", policy);
    ret->has_scheduler = true;
    ret->policy = (uint32_t)number;
    ret->nice = (int32_t)MAX(INT64_C(-21), MIN(INT64_C(20), nice));
    ret->priority = priority < 0 || priority > 99 ? 100 : (uint32_t)priority;
    return check_scheduler(ret, policy, err);
}

static int parse_io_priority(const json_t *process, struct scheduling *ret, struct err *err)
{
    json_t *object = NULL;
    const char *class = "";
    int64_t level = 0;
    uint64_t number = 0;
    int r = json_get_object(process, "process", "ioPriority", &object, err);
    if (r < 0 || !object)
        return r;
    r = json_get_string(object, "process.ioPriority", "class", &class, err);
    if (r == 0)
        r = json_get_i64(object, "process.ioPriority", "priority", &level, err);
    if (r < 0)
        return r;
    if (!find(io_classes, ARRAY_SIZE(io_classes), class, &number))
        return err_set(err, ERR_INVALID, "\"process.ioPriority.class\": unknown class \"%s\"", class);
    if (level < 0 || level > 7)
        return err_set(err, ERR_INVALID, "\"process.ioPriority.priority\": %lld is not between 0 and 7",
                       (long long)level);
    ret->has_io_priority = true;
    ret->io_priority = (int)number << 13 | (int)level;
    return 0;
}

int scheduling_parse_set(const char *where, const char *text, cpu_set_t *ret, struct err *err)
{
    _cleanup_strv_ char **parts = strv_split(text, ',');
    CPU_ZERO(ret);
    STRV_FOREACH (part, parts) {
        _cleanup_strv_ char **ends = strv_split(*part, '-');
        int64_t first, last;
        size_t count = strv_len(ends);
        if (count < 1 || count > 2 || parse_i64(ends[0], 0, CPU_SETSIZE - 1, &first, NULL) < 0 ||
            parse_i64(ends[count - 1], first, CPU_SETSIZE - 1, &last, NULL) < 0)
            return err_set(err, ERR_INVALID, "\"%s\": \"%.200s\" is not a list of numbers such as 0-3,7",
                           where, text);
        for (int64_t number = first; number <= last; number++)
            CPU_SET((size_t)number, ret);
    }
    return 0;
}

static int parse_affinity(const json_t *process, struct scheduling *ret, struct err *err)
{
    json_t *object = NULL;
    const char *initial = NULL, *final = NULL;
    int r = json_get_object(process, "process", "execCPUAffinity", &object, err);
    if (r == 0)
        r = json_get_string(object, "process.execCPUAffinity", "initial", &initial, err);
    if (r == 0)
        r = json_get_string(object, "process.execCPUAffinity", "final", &final, err);
    if (r == 0 && !str_empty(initial) &&
        (r = scheduling_parse_set("process.execCPUAffinity.initial", initial, &ret->initial, err)) == 0)
        ret->has_initial = true;
    if (r == 0 && !str_empty(final) &&
        (r = scheduling_parse_set("process.execCPUAffinity.final", final, &ret->final, err)) == 0)
        ret->has_final = true;
    return r;
}

int scheduling_parse(const json_t *process, struct scheduling *ret, struct err *err)
{
    int r = parse_scheduler(process, ret, err);
    if (r == 0)
        r = parse_io_priority(process, ret, err);
    return r < 0 ? r : parse_affinity(process, ret, err);
}

int scheduling_apply(const struct scheduling *s, pid_t pid, struct err *err)
{
    struct attributes attributes = {.size = sizeof(attributes),
                                    .policy = s->policy,
                                    .flags = s->flags,
                                    .nice = s->nice,
                                    .priority = s->priority,
                                    .runtime = s->runtime,
                                    .deadline = s->deadline,
                                    .period = s->period};
    if (s->has_scheduler && syscall(SYS_sched_setattr, pid, &attributes, 0) < 0)
        return err_sys(err, errno, "set the scheduler (\"process.scheduler\")");
    enum { WHO_PROCESS = 1 };
    if (s->has_io_priority && syscall(SYS_ioprio_set, WHO_PROCESS, pid, s->io_priority) < 0)
        return err_sys(err, errno, "set the I/O priority (\"process.ioPriority\")");
    return 0;
}

void scheduling_reset_affinity(void)
{
    unsigned char all[1024]; /* 8192 CPUs, the most that x86-64 has */
    memset(all, 0xff, sizeof(all));
    syscall(SYS_sched_setaffinity, 0, sizeof(all), all);
}

int scheduling_set_affinity(const cpu_set_t *cpus, struct err *err)
{
    if (sched_setaffinity(0, sizeof(*cpus), cpus) < 0)
        return err_sys(err, errno, "set the CPUs (\"process.execCPUAffinity\")");
    return 0;
}
