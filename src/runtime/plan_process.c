/* "process" of the config (config.md, "Process"). */
#include "base/json.h"
#include "base/str.h"
#include "runtime/caps.h"
#include "runtime/plan.h"

enum { MAX_ARGS = 65536, MAX_GIDS = 65536 };

static const struct {
    const char *name;
    int resource;
} rlimit_names[] = {
    {"RLIMIT_AS", RLIMIT_AS},           {"RLIMIT_CORE", RLIMIT_CORE},
    {"RLIMIT_CPU", RLIMIT_CPU},         {"RLIMIT_DATA", RLIMIT_DATA},
    {"RLIMIT_FSIZE", RLIMIT_FSIZE},     {"RLIMIT_LOCKS", RLIMIT_LOCKS},
    {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK}, {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE},
    {"RLIMIT_NICE", RLIMIT_NICE},       {"RLIMIT_NOFILE", RLIMIT_NOFILE},
    {"RLIMIT_NPROC", RLIMIT_NPROC},     {"RLIMIT_RSS", RLIMIT_RSS},
    {"RLIMIT_RTPRIO", RLIMIT_RTPRIO},   {"RLIMIT_RTTIME", RLIMIT_RTTIME},
    {"RLIMIT_STACK", RLIMIT_STACK},     {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
};

/* JSON has no unsigned 64-bit type with us; -1 is how "unlimited" (2^64-1) is written and read. */
static rlim64_t limit_value(int64_t value)
{
    return value < 0 ? RLIM64_INFINITY : (rlim64_t)value;
}

/* runc's users also write 18446744073709551615, which jansson reads as a real. */
static int get_limit(const json_t *entry, const char *key, rlim64_t *ret, struct err *err)
{
    const json_t *value = json_object_get(entry, key);
    if (json_is_real(value) && json_real_value(value) >= 9.2e18) {
        *ret = RLIM64_INFINITY;
        return 0;
    }
    if (!value || json_is_null(value))
        return err_set(err, ERR_INVALID, "\"process.rlimits\" has an entry without \"%s\"", key);
    int64_t n = 0;
    int r = json_get_i64(entry, "process.rlimits", key, &n, err);
    if (r == 0)
        *ret = limit_value(n);
    return r;
}

static int parse_rlimit(const json_t *entry, struct plan_rlimit *ret, struct err *err)
{
    const char *type = "";
    if (!json_is_object(entry))
        return err_set(err, ERR_INVALID, "\"process.rlimits\" has an entry that is not an object");
    int r = json_get_string(entry, "process.rlimits", "type", &type, err);
    if (r == 0)
        r = get_limit(entry, "soft", &ret->limit.rlim_cur, err);
    if (r == 0)
        r = get_limit(entry, "hard", &ret->limit.rlim_max, err);
    if (r < 0)
        return r;
    if (ret->limit.rlim_cur > ret->limit.rlim_max)
        return err_set(err, ERR_INVALID, "%s: the soft limit is above the hard limit", type);
    for (size_t i = 0; i < ARRAY_SIZE(rlimit_names); i++)
        if (str_eq(type, rlimit_names[i].name)) {
            ret->name = rlimit_names[i].name;
            ret->resource = rlimit_names[i].resource;
            return 0;
        }
    return err_set(err, ERR_INVALID, "\"process.rlimits.type\": unknown resource limit \"%s\"", type);
}

static int parse_rlimits(const json_t *process, struct plan_process *ret, struct err *err)
{
    json_t *list = NULL, *entry;
    int r = json_get_array(process, "process", "rlimits", &list, err);
    if (r < 0 || !list)
        return r;
    if (json_array_size(list) > 64)
        return err_set(err, ERR_LIMIT, "\"process.rlimits\" has more than 64 entries");
    ret->rlimits = NEW_N(struct plan_rlimit, json_array_size(list) + 1);
    size_t i;
    json_array_foreach (list, i, entry) {
        if ((r = parse_rlimit(entry, &ret->rlimits[i], err)) < 0)
            return r;
        for (size_t k = 0; k < ret->rlimit_count; k++)
            if (ret->rlimits[k].resource == ret->rlimits[i].resource)
                return err_set(err, ERR_INVALID, "\"process.rlimits\" has %s twice", ret->rlimits[i].name);
        ret->rlimit_count++;
    }
    return 0;
}

static int get_id(const json_t *object, const char *key, uint32_t *ret, struct err *err)
{
    int64_t value = *ret;
    int r = json_get_i64(object, "process.user", key, &value, err);
    if (r < 0)
        return r;
    /* 2^32-1 means "leave it" to the kernel's calls, so it is not an id. */
    if (value < 0 || value >= UINT32_MAX)
        return err_set(err, ERR_INVALID, "\"process.user.%s\": %lld is not a user or group id", key,
                       (long long)value);
    *ret = (uint32_t)value;
    return 0;
}

static int parse_user(const json_t *process, struct plan_process *ret, struct err *err)
{
    json_t *user = NULL, *gids = NULL, *entry;
    int64_t mask = -1;
    int r = json_get_object(process, "process", "user", &user, err);
    if (r == 0)
        r = get_id(user, "uid", &ret->uid, err);
    if (r == 0)
        r = get_id(user, "gid", &ret->gid, err);
    if (r == 0)
        r = json_get_i64(user, "process.user", "umask", &mask, err);
    if (r == 0)
        r = json_get_array(user, "process.user", "additionalGids", &gids, err);
    if (r < 0)
        return r;
    if (mask < -1 || mask > 0777)
        return err_set(err, ERR_INVALID, "\"process.user.umask\": %lld is not between 0 and 0777",
                       (long long)mask);
    ret->umask = (int)mask;
    if (json_array_size(gids) > MAX_GIDS)
        return err_set(err, ERR_LIMIT, "more than %d additional groups", MAX_GIDS);
    ret->gids = NEW_N(gid_t, json_array_size(gids) + 1);
    size_t i;
    json_array_foreach (gids, i, entry) {
        json_int_t value = json_is_integer(entry) ? json_integer_value(entry) : -1;
        if (value < 0 || value >= UINT32_MAX)
            return err_set(err, ERR_INVALID,
                           "\"process.user.additionalGids\" has an entry that is no group id");
        ret->gids[ret->gid_count++] = (gid_t)value;
    }
    return 0;
}

/* Warned of, not refused, as config.md has it for those that are unknown or cannot be given. */
static void ignore_capability(const struct runtime_launch *launch, const struct err *why)
{
    if (!launch->warn)
        return;
    char text[ERR_MESSAGE_BYTES + 64];
    snprintf(text, sizeof(text), "%s; it is left out", why->msg);
    launch->warn(text);
}

/* An ambient capability is one that is permitted and inheritable (capabilities(7)). Configs ask for more, the
 * template that older runcs write among them, and always got just these. */
static void leave_out_ambient(const struct runtime_launch *launch, uint64_t sets[CAPS_SETS_])
{
    uint64_t possible = sets[CAPS_PERMITTED] & sets[CAPS_INHERITABLE];
    for (unsigned i = 0; i < 64; i++)
        if (sets[CAPS_AMBIENT] & ~possible & UINT64_C(1) << i) {
            struct err why;
            err_set(&why, ERR_INVALID,
                    "can't raise ambient capability %s: it is not both permitted and inheritable",
                    caps_name(i));
            ignore_capability(launch, &why);
        }
    sets[CAPS_AMBIENT] &= possible;
}

static int parse_capabilities(const json_t *process, const struct runtime_launch *launch, bool mapped,
                              struct plan_process *ret, struct err *err)
{
    static const char *const sets[CAPS_SETS_] = {
        [CAPS_BOUNDING] = "bounding",   [CAPS_EFFECTIVE] = "effective", [CAPS_INHERITABLE] = "inheritable",
        [CAPS_PERMITTED] = "permitted", [CAPS_AMBIENT] = "ambient",
    };
    json_t *capabilities = NULL;
    int r = json_get_object(process, "process", "capabilities", &capabilities, err);
    if (r < 0 || !capabilities)
        return r;
    ret->has_capabilities = true;
    for (int i = 0; i < CAPS_SETS_; i++) {
        _cleanup_strv_ char **names = NULL;
        if ((r = json_get_strv(capabilities, "process.capabilities", sets[i], &names, err)) < 0)
            return r;
        struct err why;
        STRV_FOREACH (name, names)
            if (caps_parse(*name, mapped, &ret->capabilities[i], &why) < 0)
                ignore_capability(launch, &why);
    }
    leave_out_ambient(launch, ret->capabilities);
    return 0;
}

static int parse_oom_score(const json_t *process, struct plan_process *ret, struct err *err)
{
    const json_t *value = json_object_get(process, "oomScoreAdj");
    if (!value || json_is_null(value))
        return 0;
    int64_t adj = 0;
    int r = json_get_i64(process, "process", "oomScoreAdj", &adj, err);
    if (r < 0)
        return r;
    if (adj < -1000 || adj > 1000)
        return err_set(err, ERR_INVALID, "\"process.oomScoreAdj\": %lld is not between -1000 and 1000",
                       (long long)adj);
    ret->has_oom_score_adj = true;
    ret->oom_score_adj = (int)adj;
    return 0;
}

static int parse_console_size(const json_t *process, struct plan_process *ret, struct err *err)
{
    json_t *size = NULL;
    int64_t rows = 0, columns = 0;
    int r = json_get_object(process, "process", "consoleSize", &size, err);
    if (r == 0)
        r = json_get_i64(size, "process.consoleSize", "height", &rows, err);
    if (r == 0)
        r = json_get_i64(size, "process.consoleSize", "width", &columns, err);
    if (r < 0)
        return r;
    if (rows < 0 || rows > UINT16_MAX || columns < 0 || columns > UINT16_MAX)
        return err_set(err, ERR_INVALID, "\"process.consoleSize\" is not between 0 and %d", UINT16_MAX);
    ret->console_rows = (uint16_t)rows;
    ret->console_columns = (uint16_t)columns;
    return 0;
}

int plan__parse_process(const json_t *process, const struct runtime_launch *launch, bool mapped,
                        struct plan_process *ret, struct err *err)
{
    if (!json_is_object(process))
        return err_set(err, ERR_INVALID, "the container's config has no \"process\"");
    ret->umask = -1;
    int r = json_get_strv(process, "process", "args", &ret->args, err);
    if (r == 0)
        r = json_get_strv(process, "process", "env", &ret->env, err);
    if (r == 0)
        r = json_get_string(process, "process", "cwd", &ret->cwd, err);
    if (r == 0)
        r = json_get_bool(process, "process", "terminal", &ret->terminal, err);
    if (r == 0)
        r = json_get_bool(process, "process", "noNewPrivileges", &ret->no_new_privileges, err);
    if (r == 0)
        r = parse_user(process, ret, err);
    if (r == 0)
        r = parse_capabilities(process, launch, mapped, ret, err);
    if (r == 0)
        r = json_get_string(process, "process", "apparmorProfile", &ret->apparmor_profile, err);
    if (r == 0)
        r = json_get_string(process, "process", "selinuxLabel", &ret->selinux_label, err);
    if (r == 0)
        r = scheduling_parse(process, &ret->scheduling, err);
    if (r == 0)
        r = parse_rlimits(process, ret, err);
    if (r == 0)
        r = parse_oom_score(process, ret, err);
    if (r == 0 && (ret->terminal || launch->tty))
        r = parse_console_size(process, ret, err);
    if (r < 0)
        return r;
    if (strv_len(ret->args) == 0 || strv_len(ret->args) > MAX_ARGS)
        return err_set(err, ERR_INVALID, "no command specified");
    if (str_empty(ret->cwd))
        ret->cwd = "/";
    if (*ret->cwd != '/')
        return err_set(err, ERR_INVALID,
                       "the working directory '%s' is invalid, it needs to be an absolute path", ret->cwd);
    return 0;
}
