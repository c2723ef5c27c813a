#include "runtime/filter.h"

#include "base/json.h"
#include "base/str.h"

#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SECCOMP_FILTER_FLAG_NEW_LISTENER
#define SECCOMP_FILTER_FLAG_NEW_LISTENER (1UL << 3)
#endif
#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

enum { CACHE_SLOTS = 8, DEFAULT_ERRNO = EPERM, MAX_RULES = 65536 };

struct compiled {
    json_t *policy;
    struct sock_fprog program;
    unsigned flags;
};

static struct compiled cache[CACHE_SLOTS];
static size_t cache_next;

/* --- reading --- */

enum value { NO_VALUE, ERROR_NUMBER, ANY_NUMBER };

static const struct {
    const char *name;
    uint32_t action;
    enum value value; /* what errnoRet may be */
} actions[] = {
    {"SCMP_ACT_ALLOW", SCMP_ACT_ALLOW, NO_VALUE},
    {"SCMP_ACT_ERRNO", SCMP_ACT_ERRNO(0), ERROR_NUMBER},
    {"SCMP_ACT_KILL", SCMP_ACT_KILL_THREAD, NO_VALUE},
    {"SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD, NO_VALUE},
    {"SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS, NO_VALUE},
    {"SCMP_ACT_TRAP", SCMP_ACT_TRAP, NO_VALUE},
    {"SCMP_ACT_TRACE", SCMP_ACT_TRACE(0), ANY_NUMBER},
    {"SCMP_ACT_LOG", SCMP_ACT_LOG, NO_VALUE},
    {"SCMP_ACT_NOTIFY", SCMP_ACT_NOTIFY, NO_VALUE},
};

static int parse_action(const json_t *object, const char *where, const char *key, const char *value_key,
                        uint32_t *ret, struct err *err)
{
    const char *name = "";
    int64_t number = DEFAULT_ERRNO;
    const json_t *given = json_object_get(object, value_key);
    int r = json_get_string(object, where, key, &name, err);
    if (r == 0)
        r = json_get_i64(object, where, value_key, &number, err);
    if (r < 0)
        return r;
    if (!*name)
        return err_set(err, ERR_INVALID, "\"%s.%s\" is missing", where, key);
    for (size_t i = 0; i < ARRAY_SIZE(actions); i++) {
        if (!str_eq(name, actions[i].name))
            continue;
        if (actions[i].value == NO_VALUE && given && !json_is_null(given))
            return err_set(err, ERR_INVALID, "\"%s.%s\": %s takes no number", where, value_key, name);
        if (number < 0 || number > (actions[i].value == ANY_NUMBER ? 0xffff : 4095))
            return err_set(err, ERR_INVALID, "\"%s.%s\": %lld is not an error number", where, value_key,
                           (long long)number);
        *ret = actions[i].action | (actions[i].value == NO_VALUE ? 0 : (uint32_t)number);
        return 0;
    }
    return err_set(err, ERR_INVALID, "\"%s.%s\": unknown seccomp action \"%s\"", where, key, name);
}

static const struct {
    const char *name;
    enum scmp_compare op;
} operators[] = {
    {"SCMP_CMP_NE", SCMP_CMP_NE},
    {"SCMP_CMP_LT", SCMP_CMP_LT},
    {"SCMP_CMP_LE", SCMP_CMP_LE},
    {"SCMP_CMP_EQ", SCMP_CMP_EQ},
    {"SCMP_CMP_GE", SCMP_CMP_GE},
    {"SCMP_CMP_GT", SCMP_CMP_GT},
    {"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ},
};

static int parse_arg(const json_t *arg, struct scmp_arg_cmp *ret, struct err *err)
{
    static const char where[] = "linux.seccomp.syscalls.args";
    int64_t index = -1, value = 0, second = 0;
    const char *op = "";
    int r = json_get_i64(arg, where, "index", &index, err);
    if (r == 0)
        r = json_get_i64(arg, where, "value", &value, err);
    if (r == 0)
        r = json_get_i64(arg, where, "valueTwo", &second, err);
    if (r == 0)
        r = json_get_string(arg, where, "op", &op, err);
    if (r < 0)
        return r;
    if (index < 0 || index >= FILTER_MAX_ARGS)
        return err_set(err, ERR_INVALID, "\"%s.index\": %lld is not between 0 and 5", where,
                       (long long)index);
    for (size_t i = 0; i < ARRAY_SIZE(operators); i++) {
        if (!str_eq(op, operators[i].name))
            continue;
        *ret = (struct scmp_arg_cmp){.arg = (unsigned)index,
                                     .op = operators[i].op,
                                     .datum_a = (uint64_t)value,
                                     .datum_b = (uint64_t)second};
        return 0;
    }
    return err_set(err, ERR_INVALID, "unknown seccomp operator \"%s\"", op);
}

static int parse_args(const json_t *entry, struct filter_rule *rule, struct err *err)
{
    static const char where[] = "linux.seccomp.syscalls";
    json_t *list = NULL, *value;
    int r = json_get_array(entry, where, "args", &list, err);
    if (r < 0)
        return r;
    if (json_array_size(list) > FILTER_MAX_ARGS)
        return err_set(err, ERR_INVALID, "\"%s.args\" has more than 6 entries", where);
    unsigned seen = 0;
    size_t i;
    json_array_foreach (list, i, value) {
        if ((r = parse_arg(value, &rule->args[i], err)) < 0)
            return r;
        /* Several conditions on one argument are alternatives: what the specification's reference makes of
         * them, and so what policies are written for. */
        rule->alternatives |= (seen & 1U << rule->args[i].arg) != 0;
        seen |= 1U << rule->args[i].arg;
        rule->arg_count++;
    }
    return 0;
}

static int check_names(const json_t *names, uint32_t action, struct err *err)
{
    static const char where[] = "linux.seccomp.syscalls.names";
    size_t i;
    json_t *name;
    if (!json_array_size(names))
        return err_set(err, ERR_INVALID, "\"%s\" must name at least one system call", where);
    json_array_foreach (names, i, name) {
        if (!json_is_string(name))
            return err_set(err, ERR_INVALID, "\"%s\" must be strings", where);
        /* We tell the listener of the container over a socket, under the filter. */
        if (action == SCMP_ACT_NOTIFY && str_eq(json_string_value(name), "write"))
            return err_set(err, ERR_INVALID, "SCMP_ACT_NOTIFY cannot be used for the write syscall");
    }
    return 0;
}

static int parse_rule(const json_t *entry, struct filter_policy *p, struct err *err)
{
    static const char where[] = "linux.seccomp.syscalls";
    struct filter_rule *rule = &p->rules[p->rule_count];
    json_t *names = NULL;
    int r = parse_action(entry, where, "action", "errnoRet", &rule->action, err);
    if (r == 0)
        r = json_get_array(entry, where, "names", &names, err);
    if (r == 0)
        r = check_names(names, rule->action, err);
    if (r == 0)
        r = parse_args(entry, rule, err);
    if (r < 0)
        return r;
    rule->names = names;
    p->notifies |= rule->action == SCMP_ACT_NOTIFY;
    if (rule->action == p->default_action) /* would change nothing */
        *rule = (struct filter_rule){0};
    else
        p->rule_count++;
    return 0;
}

/* Architectures of the specification that an older library has no word for; no program of them runs here. */
static bool is_foreign(const char *name)
{
    static const char *const names[] = {"loongarch64", "m68k", "sh", "sheb"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (str_eq(name, names[i]))
            return true;
    return false;
}

static int parse_architectures(const json_t *policy, struct filter_policy *p, struct err *err)
{
    _cleanup_strv_ char **list = NULL;
    int r = json_get_strv(policy, "linux.seccomp", "architectures", &list, err);
    if (r < 0)
        return r;
    p->arches[p->arch_count++] = seccomp_arch_native();
    STRV_FOREACH (name, list) {
        const char *short_name = str_after(*name, "SCMP_ARCH_");
        _cleanup_free_ char *lower = str_lower(short_name ? short_name : "");
        uint32_t arch = seccomp_arch_resolve_name(lower);
        bool known = !arch && is_foreign(lower);
        if (!arch && !known)
            return err_set(err, ERR_INVALID, "unknown seccomp architecture \"%s\"", *name);
        for (size_t i = 0; i < p->arch_count; i++)
            known |= p->arches[i] == arch;
        if (known)
            continue;
        if (p->arch_count == FILTER_MAX_ARCHES)
            return err_set(err, ERR_LIMIT, "more than %d seccomp architectures", FILTER_MAX_ARCHES);
        p->arches[p->arch_count++] = arch;
    }
    return 0;
}

static const struct {
    const char *name;
    unsigned flag;
} flags[] = {
    {"SECCOMP_FILTER_FLAG_TSYNC", 0}, /* nothing to do: the child has one thread */
    {"SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG},
    {"SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW},
    {"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV},
};

static int parse_flags(const json_t *policy, struct filter_policy *p, struct err *err)
{
    _cleanup_strv_ char **list = NULL;
    int r = json_get_strv(policy, "linux.seccomp", "flags", &list, err);
    if (r < 0)
        return r;
    STRV_FOREACH (flag, list) {
        size_t i = 0;
        while (i < ARRAY_SIZE(flags) && !str_eq(*flag, flags[i].name))
            i++;
        if (i == ARRAY_SIZE(flags))
            return err_set(err, ERR_UNSUPPORTED, "seccomp flag \"%s\" is not supported", *flag);
        p->flags |= flags[i].flag;
    }
    return 0;
}

static int check_listener(const json_t *policy, struct filter_policy *p, struct err *err)
{
    const char *path = NULL, *metadata = NULL;
    int r = json_get_string(policy, "linux.seccomp", "listenerPath", &path, err);
    if (r == 0)
        r = json_get_string(policy, "linux.seccomp", "listenerMetadata", &metadata, err);
    if (r < 0)
        return r;
    if (p->notifies && str_empty(path))
        return err_set(err, ERR_INVALID,
                       "\"linux.seccomp.listenerPath\" is needed for SCMP_ACT_NOTIFY: who would answer?");
    if (!str_empty(metadata) && str_empty(path))
        return err_set(err, ERR_INVALID, "\"linux.seccomp.listenerMetadata\" needs a listenerPath");
    if (p->notifies)
        p->flags |= SECCOMP_FILTER_FLAG_NEW_LISTENER;
    else if (p->flags & SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)
        return err_set(err, ERR_INVALID,
                       "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV needs a call with SCMP_ACT_NOTIFY");
    return 0;
}

int filter__parse(const json_t *policy, struct filter_policy *ret, struct err *err)
{
    static const char where[] = "linux.seccomp";
    struct filter_policy p = {0};
    json_t *syscalls = NULL, *entry;
    int r = parse_action(policy, where, "defaultAction", "defaultErrnoRet", &p.default_action, err);
    if (r == 0 && p.default_action == SCMP_ACT_NOTIFY)
        r = err_set(err, ERR_INVALID, "SCMP_ACT_NOTIFY cannot be used as default action");
    if (r == 0)
        r = parse_architectures(policy, &p, err);
    if (r == 0)
        r = parse_flags(policy, &p, err);
    if (r == 0)
        r = json_get_array(policy, where, "syscalls", &syscalls, err);
    if (r < 0)
        return r;
    if (json_array_size(syscalls) > MAX_RULES)
        return err_set(err, ERR_LIMIT, "\"%s.syscalls\" has more than %d entries", where, MAX_RULES);
    p.syscalls = syscalls;
    p.rules = NEW_N(struct filter_rule, json_array_size(syscalls) + 1);
    size_t i;
    json_array_foreach (syscalls, i, entry)
        if ((r = parse_rule(entry, &p, err)) < 0)
            break;
    if (r == 0)
        r = check_listener(policy, &p, err);
    if (r < 0) {
        filter__done(&p);
        return r;
    }
    *ret = p;
    return 0;
}

void filter__done(struct filter_policy *p)
{
    free(p->rules);
}

bool filter__hides_new_calls(const struct filter_policy *p)
{
    return p->default_action != SCMP_ACT_ALLOW && p->default_action != SCMP_ACT_LOG &&
           p->default_action != SCMP_ACT_ERRNO(ENOSYS) && json_array_size(p->syscalls);
}

int filter__newest(const struct filter_policy *p, uint32_t arch)
{
    int newest = -1;
    size_t i, k;
    json_t *entry, *name;
    json_array_foreach (p->syscalls, i, entry)
        json_array_foreach (json_object_get(entry, "names"), k, name)
            newest = MAX(newest, seccomp_syscall_resolve_name_arch(arch, json_string_value(name)));
    return newest;
}

/* --- compiling, with a memory --- */

static int compile(const json_t *policy, struct compiled *ret, struct err *err)
{
    struct filter_policy p;
    int r = filter__parse(policy, &p, err);
    if (r < 0)
        return r;
    ret->flags = p.flags;
    r = filter__compile(&p, &ret->program, err);
    if (r == -ERR_UNSUPPORTED)
        r = filter__compile_with_library(&p, &ret->program, err);
    filter__done(&p);
    return r;
}

int seccomp_compile(const json_t *policy, const struct sock_fprog **ret, unsigned *ret_flags, struct err *err)
{
    struct compiled *slot = NULL;
    for (size_t i = 0; i < CACHE_SLOTS && !slot; i++)
        if (cache[i].policy && json_equal(cache[i].policy, policy))
            slot = &cache[i];
    if (!slot) {
        struct compiled fresh = {0};
        int r = compile(policy, &fresh, err);
        if (r < 0)
            return r;
        fresh.policy = json_incref((json_t *)policy); /* a config is not changed once it is launched */
        must(fresh.policy);
        slot = &cache[cache_next++ % CACHE_SLOTS];
        json_decref(slot->policy);
        free(slot->program.filter);
        *slot = fresh;
    }
    *ret = &slot->program;
    *ret_flags = slot->flags;
    return 0;
}

int seccomp_apply(const struct sock_fprog *program, unsigned load_flags, struct err *err)
{
    if (load_flags & SECCOMP_FILTER_FLAG_NEW_LISTENER)
        return err_set(err, ERR_UNSUPPORTED, "seccomp action SCMP_ACT_NOTIFY is not supported here");
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, load_flags, program) < 0)
        return err_sys(err, errno, "load the seccomp filter");
    return 0;
}
