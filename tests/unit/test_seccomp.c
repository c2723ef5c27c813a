/* The default policy against its reference, and what filters do to a process. */
#include "unit.h"

#include "base/json.h"
#include "runtime/filter.h"
#include "runtime/runtime.h"

#include <sched.h>
#include <seccomp.h>
#include <signal.h>
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
        {"{\"defaultAction\":\"SCMP_ACT_NOTIFY\"}", "SCMP_ACT_NOTIFY cannot be used as default action"},
        {"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"write\"],\"action\":"
         "\"SCMP_ACT_NOTIFY\"}]}",
         "cannot be used for the write syscall"},
        {"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"flags\":[\"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV\"]}",
         "WAIT_KILLABLE"},
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(default_policy_is_the_reference_for_every_capability_set),
        cmocka_unit_test(default_policy_refuses_and_allows),
        cmocka_unit_test(a_call_newer_than_the_policy_does_not_exist),
        cmocka_unit_test(every_action_acts),
        cmocka_unit_test(an_equal_policy_is_compiled_once),
        cmocka_unit_test(a_policy_that_is_not_understood_is_refused_by_name),
    };
    return cmocka_run_group_tests_name("seccomp", tests, NULL, NULL);
}
