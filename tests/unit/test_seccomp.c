/* The default policy against its reference, and what filters do to a process. */
#include "unit.h"

#include "base/file.h"
#include "base/json.h"
#include "runtime/filter.h"
#include "runtime/runtime.h"

#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static bool any_in(const json_t *list, char *const *words)
{
    size_t i;
    json_t *entry;
    json_array_foreach (list, i, entry)
        if (strv_has(words, json_string_value(entry)))
            return true;
    return false;
}

/* Whether an entry of the reference holds for this architecture and these capabilities. */
static bool applies(const json_t *entry, char *const *capabilities, char *const *arches)
{
    const json_t *includes = json_object_get(entry, "includes"),
                 *excludes = json_object_get(entry, "excludes");
    const json_t *caps = json_object_get(includes, "caps"), *arch = json_object_get(includes, "arches");
    size_t i;
    json_t *cap;
    json_array_foreach (caps, i, cap)
        if (!strv_has(capabilities, json_string_value(cap)))
            return false;
    if (json_array_size(arch) && !any_in(arch, arches))
        return false;
    return !any_in(json_object_get(excludes, "caps"), capabilities) &&
           !any_in(json_object_get(excludes, "arches"), arches);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A policy as a sorted set of lines "call action errno index op value two". */
static char **lines_of(const json_t *syscalls, char *const *capabilities, char *const *arches)
{
    char **lines = NULL;
    size_t i, k;
    json_t *entry, *name;
    json_array_foreach (syscalls, i, entry) {
        if (capabilities && !applies(entry, capabilities, arches))
            continue;
        const json_t *arg = json_array_get(json_object_get(entry, "args"), 0);
        json_array_foreach (json_object_get(entry, "names"), k, name)
            strv_take(&lines,
                      str_printf("%s %s %lld %lld %s %lld %lld", json_string_value(name),
                                 json_str(entry, "action"), (long long)json_int(entry, "errnoRet"),
                                 (long long)json_int(arg, "index"), json_str(arg, "op"),
                                 (long long)json_int(arg, "value"), (long long)json_int(arg, "valueTwo")));
    }
    qsort(lines, strv_len(lines), sizeof(*lines), by_text);
    char **unique = NULL;
    STRV_FOREACH (line, lines)
        if (!unique || !str_eq(*line, unique[strv_len(unique) - 1]))
            strv_add(&unique, *line);
    strv_free(lines);
    return unique;
}

static void default_policy_is_the_reference_for_every_capability_set(void **state)
{
    const char *path = getenv("DROVER_SECCOMP_REFERENCE");
    _cleanup_free_ char *found =
        mem_strdup(path ? path : "../shared/data/schemas/docker-seccomp-default.json");
    if (!file_exists(found)) {
        free(found);
        found = mem_strdup("../../shared/data/schemas/docker-seccomp-default.json");
    }
    if (!file_exists(found)) {
        print_message(
            "skipped: needs the reference docker-seccomp-default.json (set DROVER_SECCOMP_REFERENCE)\n");
        free(take_ptr(found));
        skip();
    }
    static const char *const sets[] = {
        "",
        "CAP_CHOWN CAP_SYS_CHROOT CAP_AUDIT_WRITE",
        "CAP_SYS_ADMIN",
        "CAP_SYS_PTRACE CAP_SYS_MODULE CAP_SYS_TIME CAP_SYS_NICE",
        "CAP_DAC_READ_SEARCH CAP_SYS_BOOT CAP_SYS_PACCT CAP_SYS_RAWIO CAP_SYS_TTY_CONFIG",
        "CAP_SYSLOG CAP_BPF CAP_PERFMON",
    };
#if defined(__x86_64__)
    _cleanup_strv_ char **arches = strv_split("amd64 x86 x32", ' ');
#elif defined(__aarch64__)
    _cleanup_strv_ char **arches = strv_split("arm64 arm", ' ');
#else
    _cleanup_strv_ char **arches = NULL;
    print_message("skipped: the comparison knows amd64 and arm64\n");
    skip();
#endif
    _cleanup_json_ json_t *reference = NULL;
    struct err err;
    assert_ok(json_parse_file(found, &reference, &err), &err);
    for (size_t i = 0; i < ARRAY_SIZE(sets); i++) {
        _cleanup_strv_ char **capabilities = strv_split(sets[i], ' ');
        _cleanup_json_ json_t *ours = runtime_default_seccomp(capabilities);
        _cleanup_strv_ char **want = lines_of(json_object_get(reference, "syscalls"), capabilities, arches);
        _cleanup_strv_ char **have = lines_of(json_object_get(ours, "syscalls"), NULL, NULL);
        _cleanup_free_ char *want_text = strv_join(want, "\n"), *have_text = strv_join(have, "\n");
        assert_string_equal(have_text, want_text);
        assert_string_equal(json_str(ours, "defaultAction"), json_str(reference, "defaultAction"));
        assert_int_equal(json_int(ours, "defaultErrnoRet"), json_int(reference, "defaultErrnoRet"));
    }
}

static const struct sock_fprog *compile(const json_t *policy)
{
    const struct sock_fprog *program;
    unsigned flags;
    struct err err;
    assert_ok(seccomp_compile(policy, &program, &flags, &err), &err);
    return program;
}

/* Runs `probe` in a child under `policy` and returns its exit status, or 128 + signal. */
static int under(const json_t *policy, int (*probe)(void))
{
    const struct sock_fprog *program = compile(policy);
    pid_t pid = fork();
    if (pid == 0) {
        struct err err;
        signal(SIGSYS, SIG_DFL); /* cmocka has a handler */
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || seccomp_apply(program, 0, &err) < 0)
            _exit(99);
        /* exit_group by itself: a sanitizer's own exit path may use calls that are refused */
        syscall(SYS_exit_group, probe());
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int refused(long r, int sys)
{
    return r == -1 && errno == sys;
}

static int probe_default(void)
{
    if (syscall(SYS_getpid) <= 0)
        return 1;
    if (!refused(syscall(SYS_unshare, 0x10000000), EPERM))
        return 2;
    if (!refused(syscall(SYS_clone3, NULL, 0), ENOSYS))
        return 3;
    if (!refused(syscall(SYS_mount, "a", "b", "c", 0, NULL), EPERM))
        return 4;
    if (!refused(syscall(SYS_socket, 40, SOCK_STREAM, 0), EPERM))
        return 5;
    if (syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0) < 0)
        return 6;
    if (syscall(SYS_personality, 0xffffffff) < 0)
        return 7;
    if (!refused(syscall(SYS_personality, 0x40000), EPERM))
        return 8;
    if (!refused(syscall(SYS_clone, 0x10000000 | SIGCHLD, 0, 0, 0, 0), EPERM))
        return 9;
    if (!refused(syscall(SYS_add_key, "user", "x", "y", 1, 0), EPERM))
        return 10;
    long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        syscall(SYS_exit_group, 0);
    if (pid < 0)
        return 11;
    return 0;
}

static void default_policy_refuses_and_allows(void **state)
{
    char *const none[] = {NULL};
    _cleanup_json_ json_t *policy = runtime_default_seccomp(none);
    assert_int_equal(under(policy, probe_default), 0);
}

static int probe_newest(void)
{
    return refused(syscall(1000), ENOSYS) ? 0 : errno;
}

/* A library that tries a call the policy is older than must see that it is missing, and take the old one. */
static void a_call_newer_than_the_policy_does_not_exist(void **state)
{
    char *const none[] = {NULL};
    _cleanup_json_ json_t *policy = runtime_default_seccomp(none);
    assert_int_equal(under(policy, probe_newest), 0);
}

static int probe_kill(void)
{
    syscall(SYS_getppid);
    return 0;
}

static int probe_args(void)
{
    if (!refused(syscall(SYS_kill, 0, 0), 77))
        return 1;
    return syscall(SYS_kill, getpid(), 0) == 0 ? 0 : 2;
}

static void every_action_acts(void **state)
{
    static const struct {
        const char *action;
        int status;
    } cases[] = {{"SCMP_ACT_KILL_PROCESS", 128 + SIGSYS},
                 {"SCMP_ACT_KILL", 128 + SIGSYS},
                 {"SCMP_ACT_TRAP", 128 + SIGSYS},
                 {"SCMP_ACT_ERRNO", 0},
                 {"SCMP_ACT_LOG", 0}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_json_ json_t *policy = json_pack("{s:s,s:[{s:[s],s:s}]}", "defaultAction", "SCMP_ACT_ALLOW",
                                                  "syscalls", "names", "getppid", "action", cases[i].action);
        assert_int_equal(under(policy, probe_kill), cases[i].status);
    }
    _cleanup_json_ json_t *policy =
        json_pack("{s:s,s:[{s:[s],s:s,s:i,s:[{s:i,s:i,s:s}]}]}", "defaultAction", "SCMP_ACT_ALLOW",
                  "syscalls", "names", "kill", "action", "SCMP_ACT_ERRNO", "errnoRet", 77, "args", "index", 0,
                  "value", 0, "op", "SCMP_CMP_EQ");
    assert_int_equal(under(policy, probe_args), 0);
}

static void an_equal_policy_is_compiled_once(void **state)
{
    char *const none[] = {NULL};
    _cleanup_json_ json_t *one = runtime_default_seccomp(none), *two = runtime_default_seccomp(none);
    assert_ptr_equal(compile(one), compile(two));
}

static void a_policy_that_is_not_understood_is_refused_by_name(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"{\"defaultAction\":\"SCMP_ACT_MAYBE\"}", "SCMP_ACT_MAYBE"},
        {"{}", "defaultAction\" is missing"},
        {"{\"defaultAction\":\"SCMP_ACT_NOTIFY\"}", "cannot be used as default"},
        {"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"defaultErrnoRet\":1}", "takes no number"},
        {"{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":4096}", "4096"},
        {"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"mkdir\"],\"action\":\"SCMP_ACT_"
         "NOTIFY\"}]}",
         "listenerPath"},
        {"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"listenerPath\":\"/x\",\"syscalls\":[{\"names\":[\"write\"],"
         "\"action\":\"SCMP_ACT_NOTIFY\"}]}",
         "write"},
        {"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"listenerMetadata\":\"x\"}", "listenerPath"},
        {"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[],\"action\":\"SCMP_ACT_KILL\"}]}",
         "at least one"},
        {"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"flags\":[\"SECCOMP_FILTER_FLAG_SOON\"]}", "FLAG_SOON"},
        {"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"architectures\":[\"SCMP_ARCH_PDP11\"]}", "PDP11"},
        {"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],\"action\":\"SCMP_ACT_"
         "ERRNO\","
         "\"args\":[{\"index\":9,\"value\":0,\"op\":\"SCMP_CMP_EQ\"}]}]}",
         "between 0 and 5"},
        {"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],\"action\":\"SCMP_ACT_"
         "ERRNO\","
         "\"args\":[{\"index\":1,\"value\":0,\"op\":\"LIKE\"}]}]}",
         "LIKE"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_json_ json_t *policy = NULL;
        struct err err = {0};
        assert_ok(json_parse(cases[i].text, strlen(cases[i].text), "policy", &policy, &err), &err);
        const struct sock_fprog *program;
        unsigned flags;
        assert_true(seccomp_compile(policy, &program, &flags, &err) < 0);
        if (!strstr(err.msg, cases[i].message))
            fail_msg("\"%s\" is not in: %s", cases[i].message, err.msg);
    }
}

/* --- our programs against libseccomp's --- */

/* What the kernel does with a filter (Documentation/networking/filter.rst). */
static uint32_t interpret(const struct sock_fprog *program, const struct seccomp_data *data)
{
    uint32_t a = 0, scratch[BPF_MEMWORDS] = {0};
    for (size_t pc = 0; pc < program->len; pc++) {
        const struct sock_filter *i = &program->filter[pc];
        switch (i->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            assert_true(i->k % 4 == 0 && i->k < sizeof(*data));
            memcpy(&a, (const char *)data + i->k, sizeof(a));
            break;
        case BPF_ALU | BPF_AND | BPF_K:
            a &= i->k;
            break;
        case BPF_ST:
            scratch[i->k] = a;
            break;
        case BPF_LD | BPF_W | BPF_MEM:
            a = scratch[i->k];
            break;
        case BPF_JMP | BPF_JA:
            pc += i->k;
            break;
        case BPF_JMP | BPF_JEQ | BPF_K:
            pc += a == i->k ? i->jt : i->jf;
            break;
        case BPF_JMP | BPF_JGT | BPF_K:
            pc += a > i->k ? i->jt : i->jf;
            break;
        case BPF_JMP | BPF_JGE | BPF_K:
            pc += a >= i->k ? i->jt : i->jf;
            break;
        case BPF_RET | BPF_K:
            return i->k;
        default:
            fail_msg("an instruction that no filter here has: %x", i->code);
        }
    }
    fail_msg("the program runs off its end");
    return 0;
}

static json_t *parse(const char *text)
{
    json_t *policy = NULL;
    struct err err;
    assert_ok(json_parse(text, strlen(text), "policy", &policy, &err), &err);
    return policy;
}

struct pair {
    struct sock_fprog ours, theirs;
    struct filter_policy policy;
};

static void pair_init(struct pair *p, const json_t *policy)
{
    struct err err;
    *p = (struct pair){0};
    assert_ok(filter__parse(policy, &p->policy, &err), &err);
    assert_ok(filter__compile(&p->policy, &p->ours, &err), &err);
    assert_ok(filter__compile_with_library(&p->policy, &p->theirs, &err), &err);
}

static void pair_done(struct pair *p)
{
    free(p->ours.filter);
    free(p->theirs.filter);
    filter__done(&p->policy);
}

/* Values around everything that the policy compares with. */
static size_t boundary_values(const struct filter_policy *p, uint64_t *ret, size_t capacity)
{
    size_t n = 0;
    ret[n++] = 0;
    ret[n++] = UINT64_MAX;
    ret[n++] = UINT32_MAX;
    ret[n++] = (uint64_t)UINT32_MAX + 1;
    for (size_t i = 0; i < p->rule_count; i++)
        for (unsigned k = 0; k < p->rules[i].arg_count; k++) {
            const uint64_t datums[] = {p->rules[i].args[k].datum_a, p->rules[i].args[k].datum_b};
            for (size_t d = 0; d < ARRAY_SIZE(datums) && n + 6 < capacity; d++) {
                ret[n++] = datums[d];
                ret[n++] = datums[d] - 1;
                ret[n++] = datums[d] + 1;
                ret[n++] = datums[d] ^ (UINT64_C(1) << 32);
                ret[n++] = ~datums[d];
                ret[n++] = datums[d] | UINT64_C(0xf0000000f0);
            }
        }
    return n;
}

static void same_answer(const struct pair *p, const struct seccomp_data *data, bool hidden)
{
    uint32_t ours = interpret(&p->ours, data), library = interpret(&p->theirs, data);
    if (hidden)
        library = SECCOMP_RET_ERRNO | ENOSYS;
    if (ours != library)
        fail_msg("call %x on %x with arguments %llx %llx %llx: %x, not %x", (unsigned)data->nr, data->arch,
                 (unsigned long long)data->args[0], (unsigned long long)data->args[1],
                 (unsigned long long)data->args[2], ours, library);
}

static void same_call(const struct pair *p, uint32_t arch, uint32_t nr, const uint64_t *values, size_t count)
{
    bool x32 = arch == SCMP_ARCH_X86_64 && nr >= 0x40000000 && nr != UINT32_MAX;
    int newest = filter__newest(&p->policy, x32 ? SCMP_ARCH_X32 : arch);
    bool has_x32 = false;
    for (size_t i = 0; i < p->policy.arch_count; i++)
        has_x32 |= p->policy.arches[i] == SCMP_ARCH_X32;
    bool hidden = filter__hides_new_calls(&p->policy) && newest >= 0 && nr > (uint32_t)newest &&
                  nr != UINT32_MAX && (!x32 || has_x32);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < 3; k++) {
            struct seccomp_data data = {.nr = (int)nr, .arch = arch};
            /* One at a time, all alike, and the next beside it. */
            for (size_t a = 0; a < 6; a++)
                data.args[a] = k == 0 ? values[i] : k == 1 && a ? values[(i + a) % count] : values[i];
            if (k == 2)
                data.args[0] = 0;
            if (arch == SCMP_ARCH_X86)
                for (size_t a = 0; a < 6; a++)
                    data.args[a] &= UINT32_MAX;
            same_answer(p, &data, hidden);
        }
}

static void same_program(const json_t *policy)
{
    struct pair p;
    static uint64_t values[4096];
    pair_init(&p, policy);
    size_t count = MIN(boundary_values(&p.policy, values, ARRAY_SIZE(values)), 200);
    static const uint32_t more[] = {0x3fffffff, 0x40000000 - 1, 0x80000000, UINT32_MAX, UINT32_MAX - 1};
    for (size_t i = 0; i < p.policy.arch_count; i++) {
        if (p.policy.arches[i] == SCMP_ARCH_X32)
            continue;
        for (uint32_t nr = 0; nr < 600; nr++) {
            same_call(&p, p.policy.arches[i], nr, values, count);
            if (p.policy.arches[i] == SCMP_ARCH_X86_64)
                same_call(&p, p.policy.arches[i], nr | 0x40000000, values, count);
        }
        for (size_t k = 0; k < ARRAY_SIZE(more); k++)
            same_call(&p, p.policy.arches[i], more[k], values, count);
    }
    const struct seccomp_data foreign = {.nr = 1, .arch = SCMP_ARCH_PPC64LE};
    same_answer(&p, &foreign, false);
    pair_done(&p);
}

static void the_default_policy_decides_as_libseccomps_program_does(void **state)
{
    static const char *const sets[] = {"", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE CAP_BPF CAP_SYSLOG"};
    for (size_t i = 0; i < ARRAY_SIZE(sets); i++) {
        _cleanup_strv_ char **capabilities = strv_split(sets[i], ' ');
        _cleanup_json_ json_t *policy = runtime_default_seccomp(capabilities);
        same_program(policy);
    }
}

#define ARCHES "\"architectures\":[\"SCMP_ARCH_X86_64\",\"SCMP_ARCH_X86\",\"SCMP_ARCH_X32\"]"

static void every_kind_of_rule_decides_as_libseccomps_program_does(void **state)
{
#if !defined(__x86_64__)
    print_message("skipped: the policies are x86's\n");
    skip();
#endif
    static const char *const policies[] = {
        "{\"defaultAction\":\"SCMP_ACT_ALLOW\"}",
        "{\"defaultAction\":\"SCMP_ACT_ALLOW\"," ARCHES "}",
        "{\"defaultAction\":\"SCMP_ACT_KILL_PROCESS\",\"syscalls\":[{\"names\":[\"read\",\"nosuchcall\"],"
        "\"action\":\"SCMP_ACT_LOG\"}]}",
        "{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":38," ARCHES
        ",\"syscalls\":[{\"names\":[\"socket\",\"accept\",\"semop\",\"msgget\",\"recvmmsg\",\"bind\"],"
        "\"action\":"
        "\"SCMP_ACT_TRACE\",\"errnoRet\":65535}]}",
        /* A condition on what i386 passes through socketcall. */
        "{\"defaultAction\":\"SCMP_ACT_TRAP\"," ARCHES ",\"syscalls\":[{\"names\":[\"socket\",\"shmat\"],"
        "\"action\":\"SCMP_ACT_ALLOW\",\"args\":[{\"index\":0,"
        "\"value\":10,\"op\":\"SCMP_CMP_EQ\"},{\"index\":1,\"value\":3,\"op\":\"SCMP_CMP_LE\"}]}]}",
        /* Unconditional beside conditional, before and after. */
        "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"kill\"],\"action\":\"SCMP_ACT_"
        "KILL\"},"
        "{\"names\":[\"kill\"],\"action\":\"SCMP_ACT_KILL\",\"args\":[{\"index\":0,\"value\":1,\"op\":"
        "\"SCMP_CMP_EQ\"}]},{\"names\":[\"dup2\"],\"action\":\"SCMP_ACT_KILL\",\"args\":[{\"index\":0,"
        "\"value\":1,"
        "\"op\":\"SCMP_CMP_EQ\"}]},{\"names\":[\"dup2\"],\"action\":\"SCMP_ACT_KILL\"}]}",
        /* Masks with a value outside of them, and of the upper half. */
        "{\"defaultAction\":\"SCMP_ACT_ALLOW\"," ARCHES ",\"syscalls\":[{\"names\":[\"clone\"],\"action\":"
        "\"SCMP_ACT_ERRNO\",\"args\":[{\"index\":0,\"value\":"
        "240,\"valueTwo\":32,\"op\":\"SCMP_CMP_MASKED_EQ\"}]},{\"names\":[\"mmap\"],\"action\":\"SCMP_ACT_"
        "ERRNO\","
        "\"args\":[{\"index\":5,\"value\":1095216660480,\"valueTwo\":4294967296,\"op\":\"SCMP_CMP_MASKED_"
        "EQ\"}]},"
        "{\"names\":[\"prctl\"],\"action\":\"SCMP_ACT_ERRNO\",\"args\":[{\"index\":1,\"value\":15,"
        "\"valueTwo\":"
        "31,\"op\":\"SCMP_CMP_MASKED_EQ\"}]}]}",
        /* Two conditions on one argument are alternatives. */
        "{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"syscalls\":[{\"names\":[\"personality\"],\"action\":"
        "\"SCMP_ACT_ALLOW\",\"args\":[{\"index\":0,\"value\":0,\"op\":\"SCMP_CMP_EQ\"},{\"index\":0,"
        "\"value\":8,"
        "\"op\":\"SCMP_CMP_EQ\"}]}]}",
    };
    for (size_t i = 0; i < ARRAY_SIZE(policies); i++) {
        _cleanup_json_ json_t *policy = parse(policies[i]);
        same_program(policy);
    }
}

/* All operators, also two at once, on values of both halves. */
static void every_operator_decides_as_libseccomps_program_does(void **state)
{
    static const char *const ops[] = {"SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE",       "SCMP_CMP_EQ",
                                      "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ"};
    static const int64_t values[] = {0, 1, 5, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, 0x500000005};
    for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
        for (size_t k = 0; k < ARRAY_SIZE(values); k++) {
            _cleanup_json_ json_t *policy = json_pack(
                "{s:s,s:[s],s:[{s:[s,s],s:s,s:[{s:i,s:I,s:I,s:s}]},{s:[s],s:s,s:[{s:i,s:I,s:I,s:s},"
                "{s:i,s:I,s:s}]}]}",
                "defaultAction", "SCMP_ACT_ERRNO", "architectures", "SCMP_ARCH_X86", "syscalls", "names",
                "kill", "getpid", "action", "SCMP_ACT_ALLOW", "args", "index", 2, "value",
                (json_int_t)values[k], "valueTwo", (json_int_t)values[(k + 3) % ARRAY_SIZE(values)], "op",
                ops[i], "names", "dup3", "action", "SCMP_ACT_ALLOW", "args", "index", 0, "value",
                (json_int_t)values[k], "valueTwo", (json_int_t)values[k], "op", ops[i], "index", 1, "value",
                (json_int_t)values[(k + 1) % ARRAY_SIZE(values)], "op", ops[(i + 1) % 6]);
            assert_non_null(policy);
            same_program(policy);
        }
}

static void what_only_the_library_does_is_left_to_it(void **state)
{
    static const char *const policies[] = {
        "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"architectures\":[\"SCMP_ARCH_PPC64LE\"]}",
        "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"kill\"],\"action\":\"SCMP_ACT_"
        "KILL\","
        "\"args\":[{\"index\":0,\"value\":1,\"op\":\"SCMP_CMP_EQ\"}]},{\"names\":[\"kill\"],\"action\":"
        "\"SCMP_ACT_TRAP\",\"args\":[{\"index\":0,\"value\":2,\"op\":\"SCMP_CMP_EQ\"}]}]}",
    };
    for (size_t i = 0; i < ARRAY_SIZE(policies); i++) {
        struct filter_policy p;
        struct sock_fprog program;
        struct err err;
        _cleanup_json_ json_t *policy = parse(policies[i]);
        assert_ok(filter__parse(policy, &p, &err), &err);
        assert_int_equal(filter__compile(&p, &program, &err), -ERR_UNSUPPORTED);
        filter__done(&p);
        assert_true(compile(policy)->len > 0);
    }
}

static void a_program_is_short_and_quick_to_answer(void **state)
{
    char *const none[] = {NULL};
    struct pair p;
    _cleanup_json_ json_t *policy = runtime_default_seccomp(none);
    pair_init(&p, policy);
    print_message("%u instructions, libseccomp %u\n", p.ours.len, p.theirs.len);
    assert_true(p.ours.len < p.theirs.len);
    pair_done(&p);
}

static void a_listener_hears_of_a_call(void **state)
{
    struct err err;
    const struct sock_fprog *program;
    unsigned flags;
    int listener = -1, ends[2];
    _cleanup_json_ json_t *policy =
        parse("{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"listenerPath\":\"/x\",\"flags\":["
              "\"SECCOMP_FILTER_FLAG_TSYNC\"],\"syscalls\":[{\"names\":[\"getppid\"],\"action\":"
              "\"SCMP_ACT_NOTIFY\"}]}");
    assert_ok(seccomp_compile(policy, &program, &flags, &err), &err);
    assert_int_equal(seccomp_apply(program, flags, &err), -ERR_UNSUPPORTED);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
            (listener = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, program)) < 0 ||
            file_send_fds(ends[1], "x", 1, &listener, 1, &err) < 0)
            syscall(SYS_exit_group, 99);
        syscall(SYS_exit_group, syscall(SYS_getppid) == 4242 ? 0 : 1);
    }
    close(ends[1]);
    char byte;
    size_t count = 0;
    if (file_recv_fds(ends[0], &byte, 1, &listener, 1, &count, &err) <= 0 || !count) {
        print_message("skipped: this kernel gives no listener\n");
        waitpid(pid, NULL, 0);
        close(ends[0]);
        skip();
    }
    struct seccomp_notif heard = {0};
    assert_int_equal(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &heard), 0);
    assert_int_equal(heard.data.nr, SYS_getppid);
    struct seccomp_notif_resp answer = {.id = heard.id, .val = 4242};
    assert_int_equal(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer), 0);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    close(listener);
    close(ends[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(default_policy_is_the_reference_for_every_capability_set),
        cmocka_unit_test(default_policy_refuses_and_allows),
        cmocka_unit_test(a_call_newer_than_the_policy_does_not_exist),
        cmocka_unit_test(every_action_acts),
        cmocka_unit_test(an_equal_policy_is_compiled_once),
        cmocka_unit_test(a_policy_that_is_not_understood_is_refused_by_name),
        cmocka_unit_test(the_default_policy_decides_as_libseccomps_program_does),
        cmocka_unit_test(every_kind_of_rule_decides_as_libseccomps_program_does),
        cmocka_unit_test(every_operator_decides_as_libseccomps_program_does),
        cmocka_unit_test(what_only_the_library_does_is_left_to_it),
        cmocka_unit_test(a_program_is_short_and_quick_to_answer),
        cmocka_unit_test(a_listener_hears_of_a_call),
    };
    return cmocka_run_group_tests_name("seccomp", tests, NULL, NULL);
}
