/* Groups in the real hierarchies of the machine; the v2 code also on a hybrid machine's unified tree. */
#include "runtime_box.h"

#include "base/timeutil.h"
#include "runtime/cgroup_priv.h"

#include <sys/prctl.h>

struct group {
    char name[64];
    struct cgroup *g;
};

static void group_name(struct group *t)
{
    static int number;
    box_need_root();
    snprintf(t->name, sizeof(t->name), "unit-cg-%d-%d", (int)getpid(), number++);
}

static int group_make(struct group *t, const char *resources, struct err *err)
{
    _cleanup_json_ json_t *json = NULL;
    group_name(t);
    if (resources)
        assert_ok(json_parse(resources, strlen(resources), "resources", &json, err), err);
    return cgroup_create(t->name, json, &t->g, err);
}

static void group_done(struct group *t)
{
    struct err err;
    assert_ok(cgroup_remove(t->g, &err), &err);
    cgroup_free(t->g);
    assert_int_equal(cgroup_open(t->name, &t->g, NULL), -ERR_NOT_FOUND);
}

static const char *content(const struct cgroup *g, unsigned controller, const char *file)
{
    static struct str text;
    struct err err;
    _cleanup_free_ char *path = str_printf("%s/%s", cgroup__dir_of(g, controller), file);
    str_clear(&text);
    assert_ok(file_read(path, 65536, &text, &err), &err);
    return str_get(&text);
}

static pid_t spawn_in(struct group *t)
{
    struct err err;
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves nobody */
        for (;;)
            pause();
    }
    assert_ok(cgroup_add_pid(t->g, pid, &err), &err);
    return pid;
}

static void need_v1(void)
{
    if (cgroup_host_version() != 1) {
        print_message("skipped: needs cgroup v1\n");
        skip();
    }
}

static void limits_arrive_in_the_kernel(void **state)
{
    struct group t;
    struct err err = {0};
    need_v1();
    assert_ok(group_make(&t,
                         "{\"memory\":{\"limit\":33554432,\"swap\":67108864,\"reservation\":16777216},"
                         "\"cpu\":{\"shares\":512,\"quota\":50000,\"period\":100000,\"cpus\":\"0\"},"
                         "\"pids\":{\"limit\":33}}",
                         &err),
              &err);
    assert_string_equal(content(t.g, CG_MEMORY, "memory.limit_in_bytes"), "33554432\n");
    assert_string_equal(content(t.g, CG_MEMORY, "memory.memsw.limit_in_bytes"), "67108864\n");
    assert_string_equal(content(t.g, CG_MEMORY, "memory.soft_limit_in_bytes"), "16777216\n");
    assert_string_equal(content(t.g, CG_CPU, "cpu.shares"), "512\n");
    assert_string_equal(content(t.g, CG_CPU, "cpu.cfs_quota_us"), "50000\n");
    assert_string_equal(content(t.g, CG_CPUSET, "cpuset.cpus"), "0\n");
    assert_string_equal(content(t.g, CG_PIDS, "pids.max"), "33\n");
    struct cgroup_usage usage;
    assert_ok(cgroup_usage(t.g, &usage, &err), &err);
    assert_int_equal(usage.memory_limit_bytes, 33554432);
    assert_int_equal(usage.pids_limit, 33);
    group_done(&t);
}

static void an_update_grows_and_shrinks(void **state)
{
    struct group t;
    struct err err = {0};
    need_v1();
    assert_ok(group_make(&t, "{\"memory\":{\"limit\":33554432,\"swap\":33554432}}", &err), &err);
    static const int64_t sizes[] = {67108864, 16777216, 268435456};
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        _cleanup_json_ json_t *more =
            json_pack("{s:{s:I,s:I},s:{s:i}}", "memory", "limit", (json_int_t)sizes[i], "swap",
                      (json_int_t)sizes[i], "pids", "limit", -1);
        assert_ok(cgroup_update(t.g, more, &err), &err);
        int64_t now = 0;
        cgroup__read_i64(cgroup__dir_of(t.g, CG_MEMORY), "memory.limit_in_bytes", &now);
        assert_int_equal(now, sizes[i]);
    }
    assert_string_equal(content(t.g, CG_PIDS, "pids.max"), "max\n");
    group_done(&t);
}

static void a_refused_limit_is_named_and_leaves_no_group(void **state)
{
    struct group t;
    struct err err = {0};
    need_v1();
    assert_true(group_make(&t, "{\"cpu\":{\"shares\":1024,\"cpus\":\"4000\"}}", &err) < 0);
    assert_contains(err.msg, "linux.resources.cpu.cpus to \"4000\"");
    assert_int_equal(cgroup_open(t.name, &t.g, NULL), -ERR_NOT_FOUND);
    assert_true(group_make(&t, "{\"memory\":{\"limit\":\"much\"}}", &err) < 0);
    assert_int_equal(err.code, ERR_INVALID);
    assert_int_equal(cgroup_open(t.name, &t.g, NULL), -ERR_NOT_FOUND);
    assert_true(group_make(&t, "{\"unified\":{\"memory.high\":\"1\"}}", &err) < 0);
    assert_int_equal(err.code, ERR_UNSUPPORTED);
}

static void paths_stay_below_drover(void **state)
{
    static const char *const bad[] = {
        "", "/", "../x", "a/../../x", "a//b", ".hidden", "system.slice:drover:x"};
    struct err err;
    struct cgroup *g;
    box_need_root();
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_true(cgroup_create(bad[i], NULL, &g, &err) < 0);
    static const char *const same[] = {"unit-x", "/unit-x", "drover/unit-x", "/drover/unit-x"};
    for (size_t i = 0; i < ARRAY_SIZE(same); i++) {
        assert_ok(cgroup_create(same[i], NULL, &g, &err), &err);
        assert_string_equal(cgroup_path(g), "drover/unit-x");
        assert_ok(cgroup_remove(g, &err), &err);
        cgroup_free(g);
    }
}

static char process_state(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    _cleanup_str_ struct str text = STR_INIT;
    struct err err;
    assert_ok(file_read(path, 4096, &text, &err), &err);
    const char *paren = strrchr(str_get(&text), ')');
    return paren ? paren[2] : '?';
}

static void freeze_and_kill(void)
{
    struct group t;
    struct err err = {0};
    assert_ok(group_make(&t, NULL, &err), &err);
    pid_t pids[3];
    for (size_t i = 0; i < ARRAY_SIZE(pids); i++)
        pids[i] = spawn_in(&t);
    _cleanup_free_ pid_t *list = NULL;
    size_t count;
    assert_ok(cgroup_pids(t.g, &list, &count, &err), &err);
    assert_int_equal(count, ARRAY_SIZE(pids));
    assert_ok(cgroup_freeze(t.g, true, &err), &err);
    /* On v1 a frozen process does not act on a signal until it thaws; on v2 a fatal one ends it at once. */
    kill(pids[0], SIGTERM);
    if (!cgroup_is_v2(t.g))
        assert_true(process_state(pids[0]) != 'Z');
    assert_ok(cgroup_freeze(t.g, false, &err), &err);
    assert_int_equal(box_wait(pids[0]), 128 + SIGTERM);
    assert_ok(cgroup_kill(t.g, SIGUSR1, &err), &err);
    assert_int_equal(box_wait(pids[1]), 128 + SIGUSR1);
    assert_int_equal(box_wait(pids[2]), 128 + SIGUSR1);
    /* A paused group can be killed. */
    pids[0] = spawn_in(&t);
    assert_ok(cgroup_freeze(t.g, true, &err), &err);
    assert_ok(cgroup_kill(t.g, SIGKILL, &err), &err);
    assert_int_equal(box_wait(pids[0]), 128 + SIGKILL);
    group_done(&t);
}

static void processes_are_listed_frozen_thawed_and_killed(void **state)
{
    freeze_and_kill();
}

static void a_group_in_use_is_a_conflict_and_an_empty_leftover_is_replaced(void **state)
{
    struct group t;
    struct err err = {0};
    assert_ok(group_make(&t, NULL, &err), &err);
    pid_t pid = spawn_in(&t);
    struct cgroup *second;
    assert_int_equal(cgroup_create(t.name, NULL, &second, &err), -ERR_CONFLICT);
    assert_ok(cgroup_kill(t.g, SIGKILL, &err), &err);
    box_wait(pid);
    assert_ok(cgroup_create(t.name, NULL, &second, &err), &err);
    cgroup_free(second);
    group_done(&t);
}

/* --- v2 on the unified tree of a hybrid machine --- */

static void use_unified(void)
{
    box_need_root();
    if (cgroup_host_version() == 2)
        return;
    if (!file_exists("/sys/fs/cgroup/unified/cgroup.procs")) {
        print_message("skipped: needs a mounted cgroup v2 tree\n");
        skip();
    }
    cgroup__use_v2("/sys/fs/cgroup/unified");
}

static void v2_processes_are_listed_frozen_thawed_and_killed(void **state)
{
    use_unified();
    freeze_and_kill();
    cgroup__use_v2(NULL);
}

static void v2_names_a_limit_whose_controller_is_missing(void **state)
{
    struct group t;
    struct err err = {0};
    use_unified();
    if (cgroup_host_version() == 2 && strstr(cgroup__host()->dirs[0].root, "unified")) {
        assert_int_equal(group_make(&t, "{\"memory\":{\"limit\":33554432}}", &err), -ERR_UNSUPPORTED);
        assert_contains(err.msg, "memory.max");
        assert_int_equal(cgroup_open(t.name, &t.g, NULL), -ERR_NOT_FOUND);
    }
    cgroup__use_v2(NULL);
}

static int try_open_in(struct group *t, const char *path, int flags)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct err err;
        if (cgroup__join(t->g, &err) < 0)
            _exit(200);
        int fd = open(path, flags | O_CLOEXEC);
        _exit(fd < 0 ? errno : 0);
    }
    return box_wait(pid);
}

static void v2_device_rules_hold(void **state)
{
    struct group t;
    struct err err = {0};
    use_unified();
    int r = group_make(&t,
                       "{\"devices\":[{\"allow\":false,\"access\":\"rwm\"},"
                       "{\"allow\":true,\"type\":\"c\",\"major\":1,\"minor\":3,\"access\":\"rwm\"},"
                       "{\"allow\":true,\"type\":\"c\",\"major\":1,\"minor\":5,\"access\":\"r\"},"
                       "{\"allow\":true,\"type\":\"c\",\"major\":1,\"access\":\"m\"}]}",
                       &err);
    if (r == -ERR_DENIED || err.sys == ENOSYS || err.sys == EINVAL) {
        print_message("skipped: this kernel does not let us load a device program: %s\n", err.msg);
        cgroup__use_v2(NULL);
        skip();
    }
    assert_ok(r, &err);
    assert_int_equal(try_open_in(&t, "/dev/null", O_RDWR), 0);
    assert_int_equal(try_open_in(&t, "/dev/zero", O_RDONLY), 0);
    assert_int_equal(try_open_in(&t, "/dev/zero", O_RDWR), EPERM);
    assert_int_equal(try_open_in(&t, "/dev/full", O_RDONLY), EPERM);
    /* Replacing the rules takes the old program away. */
    _cleanup_json_ json_t *all = json_pack("{s:[{s:b,s:s}]}", "devices", "allow", 1, "access", "rwm");
    assert_ok(cgroup_update(t.g, all, &err), &err);
    assert_int_equal(try_open_in(&t, "/dev/full", O_RDONLY), 0);
    group_done(&t);
    cgroup__use_v2(NULL);
}

/* A whole container in a v2 group: born in it, with its namespace and a cgroup2 mount. */
static void v2_a_container_runs_in_its_group(void **state)
{
    use_unified();
    struct box b;
    box_init(&b);
    assert_contains(
        box_sh(&b,
               "grep '^0::' /proc/self/cgroup; cat /sys/fs/cgroup/cgroup.procs; grep cgroup2 /proc/mounts"),
        "0::/\n1\n");
    assert_contains(str_get(&b.output), "/sys/fs/cgroup cgroup2 ro,");
    box_done(&b);
    cgroup__use_v2(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits_arrive_in_the_kernel),
        cmocka_unit_test(an_update_grows_and_shrinks),
        cmocka_unit_test(a_refused_limit_is_named_and_leaves_no_group),
        cmocka_unit_test(paths_stay_below_drover),
        cmocka_unit_test(processes_are_listed_frozen_thawed_and_killed),
        cmocka_unit_test(a_group_in_use_is_a_conflict_and_an_empty_leftover_is_replaced),
        cmocka_unit_test(v2_processes_are_listed_frozen_thawed_and_killed),
        cmocka_unit_test(v2_names_a_limit_whose_controller_is_missing),
        cmocka_unit_test(v2_device_rules_hold),
        cmocka_unit_test(v2_a_container_runs_in_its_group),
    };
    return cmocka_run_group_tests_name("cgroup", tests, NULL, NULL);
}
