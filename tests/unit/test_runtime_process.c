/* What a process is started with: scheduling, labels, its home, its agent. */
#include "runtime_box.h"

#include "runtime/labels.h"
#include "runtime/passwd.h"

#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static void scheduler_and_io_priority_are_set(void **state)
{
    struct box b;
    box_init(&b);
    _cleanup_free_ char *cut = str_printf("%s/bin/cut", b.root),
                        *ionice = str_printf("%s/bin/ionice", b.root);
    assert_int_equal(symlink("busybox", cut), 0);
    assert_int_equal(symlink("busybox", ionice), 0);
    json_object_set_new(box_process(&b), "scheduler",
                        json_pack("{s:s,s:i,s:[s]}", "policy", "SCHED_BATCH", "nice", 7, "flags",
                                  "SCHED_FLAG_RESET_ON_FORK"));
    json_object_set_new(box_process(&b), "ioPriority",
                        json_pack("{s:s,s:i}", "class", "IOPRIO_CLASS_BE", "priority", 6));
    /* proc_pid_stat(5): nice is field 19, the policy field 41. */
    assert_contains(box_sh(&b, "cut -d' ' -f 19,41 /proc/1/stat; ionice -p 1"), "7 3\nbest-effort: prio 6\n");
    json_object_set_new(box_process(&b), "scheduler",
                        json_pack("{s:s,s:i}", "policy", "SCHED_FIFO", "priority", 5));
    json_object_del(box_process(&b), "ioPriority");
    const char *args[] = {"cut", "-d ", "-f", "40,41", "/proc/self/stat", NULL};
    box_args(&b, args);
    box_run(&b);
    if (b.status == 0)
        assert_string_equal(str_get(&b.output), "5 1\n");
    else /* this machine's groups have no real-time budget */
        assert_contains(b.err.msg, "process.scheduler");
    box_done(&b);
}

static void nonsense_is_refused_by_its_name(void **state)
{
    static const struct {
        const char *key, *value, *message;
    } cases[] = {
        {"scheduler", "{}", "process.scheduler.policy"},
        {"scheduler", "{\"policy\":\"SCHED_NONE\"}", "\"SCHED_NONE\""},
        {"scheduler", "{\"policy\":\"SCHED_OTHER\",\"nice\":-30}", "process.scheduler.nice"},
        {"scheduler", "{\"policy\":\"SCHED_OTHER\",\"priority\":3}", "process.scheduler.priority"},
        {"scheduler", "{\"policy\":\"SCHED_OTHER\",\"priority\":-3}", "process.scheduler.priority"},
        {"scheduler", "{\"policy\":\"SCHED_OTHER\",\"runtime\":3}", "SCHED_DEADLINE"},
        {"scheduler", "{\"policy\":\"SCHED_OTHER\",\"flags\":[\"X\"]}", "\"X\""},
        {"scheduler", "[]", "process.scheduler"},
        {"ioPriority", "{\"class\":\"IOPRIO_CLASS_X\"}", "process.ioPriority.class"},
        {"ioPriority", "{\"class\":\"IOPRIO_CLASS_RT\",\"priority\":8}", "process.ioPriority.priority"},
        {"execCPUAffinity", "{\"initial\":\"a\"}", "process.execCPUAffinity.initial"},
        {"execCPUAffinity", "{\"final\":\"3-1\"}", "process.execCPUAffinity.final"},
        {"oomScoreAdj", "1001", "process.oomScoreAdj"},
        {"consoleSize", "{\"height\":70000}", "process.consoleSize"},
        {"cwd", "\"relative\"", "relative"},
        {"args", "[]", "command"},
        {"args", "\"sh\"", "process.args"},
        {"args", "[1]", "process.args"},
        {"env", "{}", "process.env"},
        {"user", "{\"uid\":-1}", "process.user.uid"},
        {"user", "{\"uid\":4294967296}", "process.user.uid"},
        {"user", "{\"umask\":512}", "process.user.umask"},
        {"user", "{\"umask\":-4294967295}", "process.user.umask"},
        {"user", "{\"additionalGids\":[-1]}", "process.user.additionalGids"},
        {"rlimits", "[{\"type\":\"RLIMIT_X\",\"soft\":1,\"hard\":1}]", "RLIMIT_X"},
        {"rlimits", "[{\"type\":\"RLIMIT_CPU\",\"soft\":2,\"hard\":1}]", "RLIMIT_CPU"},
        {"rlimits", "[{\"type\":\"RLIMIT_CPU\",\"soft\":0}]", "without \"hard\""},
        {"rlimits", "[{\"type\":\"RLIMIT_CPU\",\"hard\":2}]", "without \"soft\""},
        {"rlimits", "[7]", "process.rlimits"},
        {"rlimits",
         "[{\"type\":\"RLIMIT_CPU\",\"soft\":1,\"hard\":1},{\"type\":\"RLIMIT_CPU\",\"soft\":1,\"hard\":1}]",
         "RLIMIT_CPU"},
        {"capabilities", "[]", "process.capabilities"},
        {"terminal", "1", "process.terminal"},
    };
    struct box b;
    box_init(&b);
    _cleanup_json_ json_t *good = json_deep_copy(b.spec);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        json_decref(b.spec);
        b.spec = json_deep_copy(good);
        const char *args[] = {"true", NULL};
        box_args(&b, args);
        json_object_set_new(box_process(&b), "terminal", json_true()); /* else a size of it does not count */
        json_object_set_new(box_process(&b), cases[i].key, json_loads(cases[i].value, JSON_DECODE_ANY, NULL));
        box_run(&b);
        if (b.status != -1)
            fail_msg("%s %s was taken", cases[i].key, cases[i].value);
        assert_contains(b.err.msg, cases[i].message);
    }
    box_done(&b);
}

static void a_console_size_without_a_terminal_is_passed_over(void **state)
{
    struct box b;
    box_init(&b);
    json_object_set_new(box_process(&b), "consoleSize", json_pack("{s:i,s:i}", "height", 70000, "width", -1));
    assert_contains(box_sh(&b, "echo well"), "well\n");
    box_done(&b);
}

static void the_cpus_of_an_exec_are_not_the_first_processs(void **state)
{
    static const char show[] = "grep Cpus_allowed_list /proc/self/status";
    struct box b;
    box_init(&b);
    if (sysconf(_SC_NPROCESSORS_ONLN) < 2) {
        box_done(&b);
        print_message("skipped: there is one CPU\n");
        skip();
    }
    _cleanup_free_ char *without = mem_strdup(box_sh(&b, show));
    json_object_set_new(box_process(&b), "execCPUAffinity",
                        json_pack("{s:s,s:s}", "initial", "0", "final", "0"));
    assert_string_equal(box_sh(&b, show), without);
    box_done(&b);
}

/* How Go's programs write "unlimited". */
static void the_largest_number_of_64_bits_is_no_limit(void **state)
{
    struct box b;
    box_init(&b);
    static const char text[] = "[{\"type\":\"RLIMIT_CPU\",\"soft\":18446744073709551615,"
                               "\"hard\":18446744073709551615}]";
    json_t *limits;
    assert_ok(json_parse(text, strlen(text), "limits", &limits, &b.err), &b.err);
    json_object_set_new(box_process(&b), "rlimits", limits);
    assert_string_equal(box_sh(&b, "ulimit -t; ulimit -Ht"), "unlimited\nunlimited\n");
    static const char mixed[] =
        "{\"9223372036854775808\":\"\\\"18446744073709551615\",\"a\":9223372036854775807,"
        "\"b\":-9223372036854775809,\"c\":[9223372036854775808]}";
    json_t *value;
    assert_ok(json_parse(mixed, strlen(mixed), "mixed", &value, &b.err), &b.err);
    assert_string_equal(json_str(value, "9223372036854775808"), "\"18446744073709551615");
    assert_true(json_int(value, "a") == INT64_MAX);
    assert_true(json_is_real(json_object_get(value, "b")));
    assert_true(json_real_value(json_array_get(json_object_get(value, "c"), 0)) > 9.2e18);
    json_decref(value);
    box_done(&b);
}

static void labels_of_a_machine_without_them_are_refused(void **state)
{
    struct box b;
    box_init(&b);
    const char *args[] = {"true", NULL};
    box_args(&b, args);
    json_object_set_new(box_process(&b), "apparmorProfile", json_string("no-such-profile"));
    box_run(&b);
    assert_int_equal(b.status, -1);
    assert_contains(b.err.msg, labels_have_apparmor() ? "no-such-profile" : "AppArmor is not enabled");
    json_object_set_new(box_process(&b), "apparmorProfile", json_string("unconfined"));
    box_run(&b);
    assert_int_equal(b.status, 0);
    if (!labels_have_selinux()) {
        json_object_set_new(box_process(&b), "selinuxLabel", json_string("system_u:system_r:x_t:s0"));
        box_run(&b);
        assert_contains(b.err.msg, "SELinux is not enabled");
        json_object_del(box_process(&b), "selinuxLabel");
        json_object_set_new(box_linux(&b), "mountLabel", json_string("system_u:object_r:x_t:s0"));
        box_run(&b);
        assert_contains(b.err.msg, "linux.mountLabel");
    }
    box_done(&b);
}

static void home_comes_from_the_containers_passwd(void **state)
{
    struct box b;
    box_init(&b);
    box_file(b.root, "etc/passwd", "nonsense\nroot:x:0:0:r:/root:/bin/sh\n\nx:x:7:7:x:/home/x:/bin/sh\n",
             0644);
    assert_string_equal(box_sh(&b, "echo $HOME"), "/root\n");
    json_object_set_new(box_process(&b), "user", json_pack("{s:i,s:i}", "uid", 7, "gid", 0));
    assert_string_equal(box_sh(&b, "echo $HOME"), "/home/x\n");
    json_object_set_new(box_process(&b), "user", json_pack("{s:i,s:i}", "uid", 8, "gid", 0));
    assert_string_equal(box_sh(&b, "echo $HOME"), "/\n");
    json_object_set_new(box_process(&b), "env", json_pack("[s,s]", "PATH=/bin", "HOME=/mine"));
    assert_string_equal(box_sh(&b, "echo $HOME"), "/mine\n");
    box_done(&b);
}

/* A FIFO would hold the launch up for ever; a link leads to the container's own files at most. */
static void a_hostile_passwd_does_no_harm(void **state)
{
    struct box b;
    box_init(&b);
    _cleanup_free_ char *path = str_printf("%s/etc/passwd", b.root);
    assert_int_equal(mkfifo(path, 0644), 0);
    assert_string_equal(box_sh(&b, "echo $HOME"), "/\n");
    static const char *const links[] = {"/proc/self/fd/0", "/dev/zero", "/dev/full", "passwd", "/etc"};
    for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
        assert_int_equal(unlink(path), 0);
        assert_int_equal(symlink(links[i], path), 0);
        assert_string_equal(box_sh(&b, "echo $HOME"), "/\n");
    }
    box_done(&b);
}

static void passwd_lines_are_read_within_their_bounds(void **state)
{
    static const struct {
        const char *text;
        uid_t uid;
        const char *home;
    } cases[] = {
        {"", 0, NULL},
        {":::::::", 0, NULL},
        {"a:b:0:d:e:/h:g", 0, "/h"},
        {"a:b:0:d:e:/h:", 0, "/h"},
        {"a:b:0:d:e:/h", 0, NULL},
        {"a:b:00000000000000000000:d:e:/h:g", 0, NULL},
        {"a:b:-1:d:e:/h:g", 0, NULL},
        {"a:b:4294967297:d:e:/h:g", 1, NULL},
        {"a:b:1:d:e::g", 1, ""},
        {"a:b:1:d:e:/h\na:b:1:d:e:/i:g", 1, "/i"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const char *home = NULL;
        size_t n = 0;
        /* In memory of just its size, so that a read beyond it is seen. */
        size_t length = strlen(cases[i].text);
        char *text = malloc(length + 1);
        memcpy(text, cases[i].text, length);
        bool found = passwd_home(text, length, cases[i].uid, &home, &n);
        assert_int_equal(found, cases[i].home != NULL);
        if (found) {
            assert_int_equal(n, strlen(cases[i].home));
            assert_memory_equal(home, cases[i].home, n);
        }
        free(text);
    }
}

static void a_missing_directory_is_made_for_a_bundle(void **state)
{
    struct box b;
    box_init(&b);
    const char *args[] = {"sh", "-c", "[ $(pwd) = /made/here ]", NULL};
    box_args(&b, args);
    json_object_set_new(box_process(&b), "cwd", json_string("/made/here"));
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct runtime_launch launch = box_launch(&b, null, null);
    launch.bundle = b.dir;
    struct runtime_child child;
    struct cgroup *cgroup;
    assert_ok(runtime_launch(&launch, &cgroup, &child, &b.err), &b.err);
    assert_ok(runtime_launch_result(child.status_fd, &b.err), &b.err);
    assert_int_equal(box_wait(child.pid), 0);
    close(child.pidfd);
    close(child.status_fd);
    close(null);
    assert_ok(cgroup_remove(cgroup, &b.err), &b.err);
    cgroup_free(cgroup);
    box_done(&b);
}

static struct str warnings;

static void take_warning(const char *message)
{
    str_addf(&warnings, "%s\n", message);
}

static void a_capability_that_cannot_be_given_is_warned_of(void **state)
{
    struct box b;
    box_init(&b);
    json_object_set_new(box_process(&b), "capabilities",
                        json_pack("{s:[s,s],s:[s,s],s:[s]}", "bounding", "CAP_KILL", "CAP_NONSENSE",
                                  "effective", "CAP_KILL", "CAP_NONSENSE", "permitted", "CAP_KILL"));
    const char *args[] = {"grep", "-q", "CapEff:.*0000000000000020", "/proc/self/status", NULL};
    box_args(&b, args);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct runtime_launch launch = box_launch(&b, null, null);
    launch.warn = take_warning;
    struct runtime_child child;
    struct cgroup *cgroup;
    assert_ok(runtime_launch(&launch, &cgroup, &child, &b.err), &b.err);
    assert_ok(runtime_launch_result(child.status_fd, &b.err), &b.err);
    assert_int_equal(box_wait(child.pid), 0);
    assert_contains(str_get(&warnings), "unknown capability \"CAP_NONSENSE\"; it is left out");
    str_free(&warnings);
    close(child.pidfd);
    close(child.status_fd);
    close(null);
    assert_ok(cgroup_remove(cgroup, &b.err), &b.err);
    cgroup_free(cgroup);
    box_done(&b);
}

/* An agent that answers every call it is asked about with "no medium", and says what state it was given. */
static _Noreturn void be_agent(int listener, int report)
{
    char state[8192];
    size_t count = 0;
    int connection = accept(listener, NULL, NULL), fd = -1;
    ssize_t n = file_recv_fds(connection, state, sizeof(state), &fd, 1, &count, NULL);
    if (n <= 0 || count != 1 || write(report, state, (size_t)n) != n)
        _exit(1);
    close(report);
    for (;;) {
        /* Before Linux 6.13 asking waits for ever when nobody is left who could be asked about. */
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        if (poll(&wait, 1, -1) == 1 && !(wait.revents & POLLIN))
            _exit(0);
        struct seccomp_notif ask = {0};
        if (ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &ask) < 0) {
            if (errno == EINTR)
                continue;
            _exit(0);
        }
        struct seccomp_notif_resp answer = {.id = ask.id, .error = -ENOMEDIUM};
        ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &answer);
    }
}

static void an_agent_gets_the_listener_and_the_state(void **state)
{
    struct box b;
    box_init(&b);
    _cleanup_free_ char *path = str_printf("%s/agent.sock", b.dir),
                        *mkdir_ = str_printf("%s/bin/mkdir", b.root);
    unlink(mkdir_);
    assert_int_equal(symlink("busybox", mkdir_), 0);
    json_object_set_new(box_linux(&b), "seccomp",
                        json_pack("{s:s,s:s,s:s,s:[{s:[s,s,s],s:s}]}", "defaultAction", "SCMP_ACT_ALLOW",
                                  "listenerPath", path, "listenerMetadata", "meta \"data\"", "syscalls",
                                  "names", "mkdir", "mkdirat", "sendmsg", "action", "SCMP_ACT_NOTIFY"));
    for (int nnp = 0; nnp < 2; nnp++) {
        int listener, report[2];
        assert_ok(file_listen_unix(path, SOCK_STREAM, 0600, &listener, &b.err), &b.err);
        assert_int_equal(pipe2(report, O_CLOEXEC), 0);
        pid_t agent = fork();
        if (agent == 0)
            be_agent(listener, report[1]);
        close(report[1]);
        close(listener);
        json_object_set_new(box_process(&b), "noNewPrivileges", json_boolean(nnp));
        assert_contains(box_sh(&b, "mkdir /tmp/x; ls /proc/self/fd | wc -l"), "No medium found\n4\n");
        _cleanup_str_ struct str text = STR_INIT;
        assert_ok(file_read_fd(report[0], 8192, &text, &b.err), &b.err);
        close(report[0]);
        json_t *given;
        assert_ok(json_parse(str_get(&text), text.len, "state", &given, &b.err), &b.err);
        assert_string_equal(json_str(given, "ociVersion"), RUNTIME_SPEC_VERSION);
        assert_string_equal(json_str(given, "metadata"), "meta \"data\"");
        assert_string_equal(json_string_value(json_array_get(json_object_get(given, "fds"), 0)), "seccompFd");
        assert_true(json_int(given, "pid") > 1);
        assert_int_equal(json_int(given, "pid"), json_int(json_object_get(given, "state"), "pid"));
        assert_string_equal(json_str(json_object_get(given, "state"), "id"), b.id);
        json_decref(given);
        assert_int_equal(box_wait(agent), 0);
        unlink(path);
    }
    box_run(&b);
    assert_int_equal(b.status, -1);
    assert_contains(b.err.msg, "failed to connect with seccomp agent");
    json_object_del(json_object_get(box_linux(&b), "seccomp"), "listenerPath");
    box_run(&b);
    assert_contains(b.err.msg, "listenerMetadata");
    json_object_del(json_object_get(box_linux(&b), "seccomp"), "listenerMetadata");
    box_run(&b);
    assert_contains(b.err.msg, "listenerPath");
    box_done(&b);
}

/* "If the SCMP_ACT_NOTIFY action is not used this value is ignored." */
static void an_agent_that_nothing_is_asked_of_need_not_be_there(void **state)
{
    struct box b;
    box_init(&b);
    json_object_set_new(
        box_linux(&b), "seccomp",
        json_pack("{s:s,s:s}", "defaultAction", "SCMP_ACT_ALLOW", "listenerPath", "/no/agent"));
    assert_string_equal(box_sh(&b, "echo well"), "well\n");
    box_done(&b);
}

static void the_personality_is_the_configs(void **state)
{
    struct box b;
    box_init(&b);
    _cleanup_free_ char *uname = str_printf("%s/bin/uname", b.root);
    assert_int_equal(symlink("busybox", uname), 0);
    json_object_set_new(box_linux(&b), "personality", json_pack("{s:s}", "domain", "LINUX32"));
    const char *machine = box_sh(&b, "uname -m");
#ifdef __x86_64__
    assert_string_equal(machine, "i686\n");
#endif
    assert_int_equal(b.status, 0);
    json_object_set_new(box_linux(&b), "personality", json_pack("{s:s}", "domain", "LINUX64"));
    box_run(&b);
    assert_contains(b.err.msg, "LINUX64");
    json_object_set_new(box_linux(&b), "personality",
                        json_pack("{s:s,s:[s]}", "domain", "LINUX", "flags", "ADDR_NO_RANDOMIZE"));
    box_run(&b);
    assert_contains(b.err.msg, "linux.personality.flags");
    box_done(&b);
}

static void set_policy(struct box *b, const char *text)
{
    json_object_set_new(box_linux(b), "memoryPolicy", json_loads(text, 0, NULL));
}

/* numa_maps(5): the second word of a line is the policy. */
static void memory_lies_where_the_policy_says(void **state)
{
    static const char show[] = "read a policy rest < /proc/self/numa_maps; echo $policy";
    static const struct {
        const char *policy, *message;
    } wrong[] = {
        {"{}", "linux.memoryPolicy.mode"},
        {"{\"mode\":\"MPOL_X\"}", "MPOL_X"},
        {"{\"mode\":\"MPOL_BIND\",\"nodes\":\"0-\"}", "linux.memoryPolicy.nodes"},
        {"{\"mode\":\"MPOL_BIND\",\"nodes\":\"0\",\"flags\":[\"MPOL_F_X\"]}", "MPOL_F_X"},
        {"{\"mode\":\"MPOL_BIND\",\"nodes\":\"1000\"}", "linux.memoryPolicy"},
        {"{\"mode\":\"MPOL_BIND\"}", "linux.memoryPolicy"},
    };
    struct box b;
    box_init(&b);
    if (!file_exists("/proc/self/numa_maps")) {
        box_done(&b);
        print_message("skipped: a kernel without NUMA\n");
        skip();
    }
    assert_contains(box_sh(&b, show), "default\n");
    set_policy(&b, "{\"mode\":\"MPOL_BIND\",\"nodes\":\"0\",\"flags\":[\"MPOL_F_STATIC_NODES\"]}");
    assert_contains(box_sh(&b, show), "bind=static:0\n");
    set_policy(&b, "{\"mode\":\"MPOL_INTERLEAVE\",\"nodes\":\"0\"}");
    assert_contains(box_sh(&b, show), "interleave:0\n");
    set_policy(&b, "{\"mode\":\"MPOL_LOCAL\"}");
    assert_contains(box_sh(&b, show), "local\n");
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        set_policy(&b, wrong[i].policy);
        box_run(&b);
        assert_int_equal(b.status, -1);
        assert_contains(b.err.msg, wrong[i].message);
    }
    box_done(&b);
}

static void a_filter_that_refuses_close_range_lets_the_program_start(void **state)
{
    struct box b;
    box_init(&b);
    json_object_set_new(json_object_get(b.spec, "process"), "noNewPrivileges", json_false());
    json_object_set_new(box_linux(&b), "seccomp",
                        json_pack("{s:s,s:[{s:[s],s:s}]}", "defaultAction", "SCMP_ACT_ALLOW", "syscalls",
                                  "names", "close_range", "action", "SCMP_ACT_ERRNO"));
    assert_non_null(strstr(box_sh(&b, "echo started"), "started\n"));
    box_done(&b);
}

/* "The runtime MUST recognize the elements in this array", whatever the machine is. */
static void what_features_name_is_taken(void **state)
{
    struct box b;
    box_init(&b);
    _cleanup_json_ json_t *features = runtime_features();
    json_t *linux_ = json_object_get(features, "linux"), *seccomp = json_object_get(linux_, "seccomp"), *name;
    size_t i;
    assert_true(json_bool(json_object_get(linux_, "apparmor"), "enabled"));
    assert_true(json_bool(json_object_get(linux_, "selinux"), "enabled"));
    json_array_foreach (json_object_get(seccomp, "archs"), i, name) {
        json_object_set_new(
            box_linux(&b), "seccomp",
            json_pack("{s:s,s:[O]}", "defaultAction", "SCMP_ACT_ALLOW", "architectures", name));
        if (!strstr(box_sh(&b, "echo taken"), "taken\n"))
            fail_msg("%s", json_string_value(name));
    }
    box_done(&b);
}

static void features_name_what_is_there(void **state)
{
    _cleanup_json_ json_t *features = runtime_features();
    assert_string_equal(json_str(features, "ociVersionMax"), RUNTIME_SPEC_VERSION);
    assert_int_equal(json_array_size(json_object_get(features, "hooks")), 6);
    json_t *linux_ = json_object_get(features, "linux");
    assert_int_equal(json_array_size(json_object_get(linux_, "namespaces")), 8);
    assert_true(json_array_size(json_object_get(linux_, "capabilities")) > 40);
    assert_true(json_array_size(json_object_get(features, "mountOptions")) > 40);
    assert_true(json_array_size(json_object_get(features, "potentiallyUnsafeConfigAnnotations")) >= 3);
    assert_true(json_bool(json_object_get(linux_, "intelRdt"), "monitoring"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scheduler_and_io_priority_are_set),
        cmocka_unit_test(nonsense_is_refused_by_its_name),
        cmocka_unit_test(a_console_size_without_a_terminal_is_passed_over),
        cmocka_unit_test(the_cpus_of_an_exec_are_not_the_first_processs),
        cmocka_unit_test(the_largest_number_of_64_bits_is_no_limit),
        cmocka_unit_test(labels_of_a_machine_without_them_are_refused),
        cmocka_unit_test(home_comes_from_the_containers_passwd),
        cmocka_unit_test(a_hostile_passwd_does_no_harm),
        cmocka_unit_test(passwd_lines_are_read_within_their_bounds),
        cmocka_unit_test(a_missing_directory_is_made_for_a_bundle),
        cmocka_unit_test(a_capability_that_cannot_be_given_is_warned_of),
        cmocka_unit_test(an_agent_gets_the_listener_and_the_state),
        cmocka_unit_test(an_agent_that_nothing_is_asked_of_need_not_be_there),
        cmocka_unit_test(the_personality_is_the_configs),
        cmocka_unit_test(memory_lies_where_the_policy_says),
        cmocka_unit_test(a_filter_that_refuses_close_range_lets_the_program_start),
        cmocka_unit_test(what_features_name_is_taken),
        cmocka_unit_test(features_name_what_is_there),
    };
    return cmocka_run_group_tests_name("runtime_process", tests, NULL, NULL);
}
