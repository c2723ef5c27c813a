#include "runtime/filter.h"

#include "base/file.h"
#include "base/json.h"
#include "base/str.h"

#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Linux 5.19; younger than some C libraries' headers. */
enum { WAIT_KILLABLE_RECV = 1 << 5 };
enum { CACHE_SLOTS = 8, DEFAULT_ERRNO = EPERM, PROGRAM_MAX = BPF_MAXINSNS * sizeof(struct sock_filter) };

struct compiled {
    json_t *policy; /* a copy of ours */
    struct sock_fprog program;
    unsigned flags;
};

static struct compiled cache[CACHE_SLOTS];
static size_t cache_next;

static void release_p(scmp_filter_ctx *context)
{
    if (*context)
        seccomp_release(*context);
}

static int action_of(const char *name, const json_t *errno_ret, uint32_t *ret, struct err *err)
{
    int64_t number = json_is_integer(errno_ret) ? json_integer_value(errno_ret) : DEFAULT_ERRNO;
    if (number < 0 || number > 4095)
        return err_set(err, ERR_INVALID, "\"linux.seccomp\": %lld is not an error number", (long long)number);
    if (str_eq(name, "SCMP_ACT_ALLOW"))
        *ret = SCMP_ACT_ALLOW;
    else if (str_eq(name, "SCMP_ACT_ERRNO"))
        *ret = SCMP_ACT_ERRNO((uint32_t)number);
    else if (str_eq(name, "SCMP_ACT_KILL") || str_eq(name, "SCMP_ACT_KILL_THREAD"))
        *ret = SCMP_ACT_KILL_THREAD;
    else if (str_eq(name, "SCMP_ACT_KILL_PROCESS"))
        *ret = SCMP_ACT_KILL_PROCESS;
    else if (str_eq(name, "SCMP_ACT_TRAP"))
        *ret = SCMP_ACT_TRAP;
    else if (str_eq(name, "SCMP_ACT_TRACE"))
        *ret = SCMP_ACT_TRACE((uint32_t)number);
    else if (str_eq(name, "SCMP_ACT_LOG"))
        *ret = SCMP_ACT_LOG;
    else if (str_eq(name, "SCMP_ACT_NOTIFY"))
        *ret = SCMP_ACT_NOTIFY;
    else
        return err_set(err, ERR_INVALID, "unknown seccomp action \"%s\"", name);
    return 0;
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
    int64_t index = 0, value = 0, second = 0;
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
    if (index < 0 || index > 5)
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

/* libseccomp takes one condition an argument in a rule; several on the same one become a rule each, which is
 * what the specification's reference does (they are then alternatives). */
static int add_rule(scmp_filter_ctx context, uint32_t action, int number, const struct scmp_arg_cmp *args,
                    unsigned count)
{
    unsigned seen = 0;
    bool repeated = false;
    for (unsigned i = 0; i < count; i++) {
        repeated |= (seen & 1U << args[i].arg) != 0;
        seen |= 1U << args[i].arg;
    }
    if (!repeated)
        return seccomp_rule_add_array(context, action, number, count, args);
    for (unsigned i = 0; i < count; i++) {
        int r = seccomp_rule_add_array(context, action, number, 1, &args[i]);
        if (r < 0)
            return r;
    }
    return 0;
}

static int add_syscalls(scmp_filter_ctx context, uint32_t default_action, const json_t *entry, int *newest,
                        struct err *err)
{
    static const char where[] = "linux.seccomp.syscalls";
    const char *action_name = "";
    json_t *list = NULL, *value;
    _cleanup_strv_ char **names = NULL;
    uint32_t action;
    struct scmp_arg_cmp args[6];
    int r = json_get_string(entry, where, "action", &action_name, err);
    if (r == 0)
        r = json_get_strv(entry, where, "names", &names, err);
    if (r == 0)
        r = json_get_array(entry, where, "args", &list, err);
    if (r == 0)
        r = action_of(action_name, json_object_get(entry, "errnoRet"), &action, err);
    if (r < 0)
        return r;
    if (json_array_size(list) > ARRAY_SIZE(args))
        return err_set(err, ERR_INVALID, "\"%s.args\" has more than 6 entries", where);
    size_t i;
    json_array_foreach (list, i, value)
        if ((r = parse_arg(value, &args[i], err)) < 0)
            return r;
    if (action == default_action) /* libseccomp refuses what would change nothing */
        return 0;
    STRV_FOREACH (name, names) {
        /* The outcome of the launch is written after the filter is loaded, before anybody answers. */
        if (action == SCMP_ACT_NOTIFY && str_eq(*name, "write"))
            return err_set(err, ERR_INVALID, "SCMP_ACT_NOTIFY cannot be used for the write syscall");
        int number = seccomp_syscall_resolve_name(*name);
        if (number == __NR_SCMP_ERROR) /* newer than the library, or another machine's */
            continue;
        *newest = MAX(*newest, number);
        r = add_rule(context, action, number, args, (unsigned)json_array_size(list));
        if (r < 0 && r != -EEXIST)
            return err_sys(err, -r, "seccomp rule for %s", *name);
    }
    return 0;
}

static int add_architectures(scmp_filter_ctx context, const json_t *policy, struct err *err)
{
    _cleanup_strv_ char **list = NULL;
    int r = json_get_strv(policy, "linux.seccomp", "architectures", &list, err);
    if (r < 0)
        return r;
    STRV_FOREACH (name, list) {
        const char *short_name = str_after(*name, "SCMP_ARCH_");
        _cleanup_free_ char *lower = str_lower(short_name ? short_name : "");
        uint32_t arch = seccomp_arch_resolve_name(lower);
        if (!arch)
            return err_set(err, ERR_INVALID, "unknown seccomp architecture \"%s\"", *name);
        r = seccomp_arch_add(context, arch);
        if (r < 0 && r != -EEXIST)
            return err_sys(err, -r, "seccomp architecture %s", *name);
    }
    return 0;
}

static int parse_flags(const json_t *policy, unsigned *ret, struct err *err)
{
    _cleanup_strv_ char **list = NULL;
    int r = json_get_strv(policy, "linux.seccomp", "flags", &list, err);
    if (r < 0)
        return r;
    *ret = 0;
    STRV_FOREACH (flag, list) {
        if (str_eq(*flag, "SECCOMP_FILTER_FLAG_TSYNC")) /* nothing to do: the child has one thread */
            continue;
        else if (str_eq(*flag, "SECCOMP_FILTER_FLAG_LOG"))
            *ret |= SECCOMP_FILTER_FLAG_LOG;
        else if (str_eq(*flag, "SECCOMP_FILTER_FLAG_SPEC_ALLOW"))
            *ret |= SECCOMP_FILTER_FLAG_SPEC_ALLOW;
        else if (str_eq(*flag, "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"))
            *ret |= WAIT_KILLABLE_RECV;
        else
            return err_set(err, ERR_UNSUPPORTED, "seccomp flag \"%s\" is not supported", *flag);
    }
    return 0;
}

static int build(scmp_filter_ctx context, uint32_t default_action, const json_t *policy, int *newest,
                 struct err *err)
{
    json_t *syscalls = NULL, *entry;
    int r = seccomp_attr_set(context, SCMP_FLTATR_CTL_NNP, 0);
    /* A search tree instead of a list: the kernel runs every call number through the filter when it is
     * loaded, which at the default policy's size takes longer than the rest of a launch. */
    if (r == 0)
        r = seccomp_attr_set(context, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (r < 0)
        return err_sys(err, -r, "seccomp filter");
    r = add_architectures(context, policy, err);
    if (r == 0)
        r = json_get_array(policy, "linux.seccomp", "syscalls", &syscalls, err);
    if (r < 0)
        return r;
    size_t i;
    json_array_foreach (syscalls, i, entry)
        if ((r = add_syscalls(context, default_action, entry, newest, err)) < 0)
            return r;
    return 0;
}

/* A policy that refuses with an errno what it does not list would refuse a call that is younger than itself
 * just so, where a library expects ENOSYS to take the older call. So calls above the newest one listed do not
 * exist. Other architectures, and x32 with its bit in the number, are left to the filter. */
static void add_prologue(struct str *bytes, int newest)
{
    const uint32_t x32 = 0x40000000;
    const struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, seccomp_arch_native(), 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, x32, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, (uint32_t)newest, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
    };
    str_addn(bytes, code, sizeof(code));
}

static int export_program(scmp_filter_ctx context, uint32_t default_action, int newest,
                          struct sock_fprog *ret, struct err *err)
{
    _cleanup_close_ int fd = memfd_create("seccomp", MFD_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "memfd_create");
    int r = seccomp_export_bpf(context, fd);
    if (r < 0)
        return err_sys(err, -r, "export seccomp filter");
    if (lseek(fd, 0, SEEK_SET) < 0)
        return err_sys(err, errno, "seek");
    _cleanup_str_ struct str bytes = STR_INIT, filter = STR_INIT;
    if ((r = file_read_fd(fd, PROGRAM_MAX, &filter, err)) < 0)
        return err_wrap(err, "the seccomp policy is too large for the kernel");
    if ((default_action & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_ERRNO && newest > 0)
        add_prologue(&bytes, newest);
    str_addn(&bytes, filter.data, filter.len);
    if (bytes.len > PROGRAM_MAX)
        return err_set(err, ERR_LIMIT, "the seccomp policy is too large for the kernel");
    ret->len = (unsigned short)(bytes.len / sizeof(struct sock_filter));
    ret->filter = (struct sock_filter *)str_take(&bytes);
    return 0;
}

static bool uses_notify(const json_t *policy)
{
    size_t i;
    json_t *entry;
    json_array_foreach (json_object_get(policy, "syscalls"), i, entry)
        if (str_eq(json_str(entry, "action"), "SCMP_ACT_NOTIFY"))
            return true;
    return false;
}

static int compile(const json_t *policy, struct compiled *ret, struct err *err)
{
    static const char where[] = "linux.seccomp";
    const char *name = "";
    uint32_t action;
    int r = json_get_string(policy, where, "defaultAction", &name, err);
    if (r == 0)
        r = action_of(name, json_object_get(policy, "defaultErrnoRet"), &action, err);
    if (r == 0)
        r = parse_flags(policy, &ret->flags, err);
    if (r < 0)
        return r;
    if (action == SCMP_ACT_NOTIFY)
        return err_set(err, ERR_INVALID, "SCMP_ACT_NOTIFY cannot be used as default action");
    if (uses_notify(policy))
        ret->flags |= SECCOMP_FILTER_FLAG_NEW_LISTENER;
    else if (ret->flags & WAIT_KILLABLE_RECV)
        return err_set(err, ERR_INVALID,
                       "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV needs a call with SCMP_ACT_NOTIFY");
    scmp_filter_ctx context _cleanup_(release_p) = seccomp_init(action);
    if (!context)
        return err_set(err, ERR_INVALID, "\"linux.seccomp.defaultAction\": the kernel does not know %s",
                       name);
    int newest = 0;
    if ((r = build(context, action, policy, &newest, err)) < 0)
        return r;
    return export_program(context, action, newest, &ret->program, err);
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

int seccomp_apply(const struct sock_fprog *program, unsigned flags, struct err *err)
{
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, program) < 0)
        return err_sys(err, errno, "load the seccomp filter");
    return 0;
}
