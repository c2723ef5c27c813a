/* Groups in the real hierarchies of the machine; the v2 code also on a hybrid machine's unified tree. */
#include "runtime_box.h"

#include "base/timeutil.h"
#include "runtime/cgroup_priv.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

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

static void v2_pressure_is_told_where_the_kernel_counts_it(void **state)
{
    static const char *const resources[] = {"cpu", "memory", "blkio"};
    struct group t;
    struct err err;
    _cleanup_json_ json_t *stats = NULL;
    use_unified();
    assert_ok(group_make(&t, NULL, &err), &err);
    assert_ok(cgroup_stats_json(t.g, &stats, &err), &err);
    const char *dir = cgroup__dir_of(t.g, CG_CPU);
    bool counted = dir && cgroup__has(dir, "cpu.pressure");
    for (size_t i = 0; i < ARRAY_SIZE(resources); i++) {
        const json_t *psi = json_object_get(json_object_get(stats, resources[i]), "psi");
        assert_int_equal(json_is_object(psi), counted);
        if (counted)
            assert_true(json_is_real(json_object_get(json_object_get(psi, "some"), "avg10")) &&
                        json_is_integer(json_object_get(json_object_get(psi, "full"), "total")));
    }
    group_done(&t);
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

static void v2_files_of_the_core_are_written_but_for_those_that_move_or_end_processes(void **state)
{
    struct group t;
    struct err err = {0};
    use_unified();
    assert_ok(group_make(&t, "{\"unified\":{\"cgroup.max.descendants\":\"7\"}}", &err), &err);
    assert_string_equal(content(t.g, CG_CPU, "cgroup.max.descendants"), "7\n");
    group_done(&t);
    static const char *const refused[] = {"procs", "threads", "type", "subtree_control", "kill", "freeze"};
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
        _cleanup_free_ char *text = str_printf("{\"unified\":{\"cgroup.%s\":\"1\"}}", refused[i]);
        assert_int_equal(group_make(&t, text, &err), -ERR_INVALID);
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

/* Sets the options of the cgroup mount, and the program's user. */
static const char *owners_in_container(struct box *b, const char *options)
{
    json_t *mounts = json_object_get(b->spec, "mounts"), *mount;
    size_t i;
    json_array_foreach (mounts, i, mount)
        if (str_eq(json_str(mount, "destination"), "/sys/fs/cgroup"))
            json_object_set_new(mount, "options", json_pack("[s,s]", options, "nosuid"));
    json_object_set_new(box_process(b), "user", json_pack("{s:i,s:i}", "uid", 5, "gid", 6));
    return box_sh(
        b, "cd /sys/fs/cgroup; stat -c '%u:%g %n' . cgroup.procs cgroup.subtree_control cgroup.freeze");
}

/* config-linux.md, "Cgroup ownership". */
static void v2_a_group_that_is_seen_writable_belongs_to_the_containers_user(void **state)
{
    use_unified();
    struct box b;
    box_init(&b);
    assert_contains(owners_in_container(&b, "ro"),
                    "0:0 .\n0:0 cgroup.procs\n0:0 cgroup.subtree_control\n0:0 cgroup.freeze\n");
    assert_contains(owners_in_container(&b, "rw"),
                    "5:0 .\n5:0 cgroup.procs\n5:0 cgroup.subtree_control\n0:0 cgroup.freeze\n");
    json_t *namespaces = json_object_get(box_linux(&b), "namespaces"), *one;
    size_t i;
    json_array_foreach (namespaces, i, one)
        if (str_eq(json_str(one, "type"), "cgroup")) {
            json_array_remove(namespaces, i);
            break;
        }
    if (strstr(owners_in_container(&b, "rw"), "5:0 "))
        fail_msg("without a namespace of its own: %s", str_get(&b.output));
    box_done(&b);
    cgroup__use_v2(NULL);
}

/* --- as an OCI command line has it --- */

static struct cgroup *create_given(const char *path, const char *resources, struct err *err)
{
    _cleanup_json_ json_t *json = NULL;
    struct cgroup *g = NULL;
    const struct cgroup_place place = {.path = path, .id = "unit", .as_given = true};
    if (resources)
        assert_ok(json_parse(resources, strlen(resources), "resources", &json, err), err);
    cgroup_create_in(&place, json, &g, err);
    return g;
}

static void given_done(struct cgroup *g)
{
    struct err err;
    _cleanup_free_ char *path = mem_strdup(cgroup_path(g));
    struct cgroup *again;
    assert_ok(cgroup_open(path, &again, &err), &err);
    assert_string_equal(cgroup_fs_path(again), cgroup_fs_path(g));
    cgroup_free(again);
    assert_ok(cgroup_remove(g, &err), &err);
    cgroup_free(g);
    assert_int_equal(cgroup_open(path, &again, &err), -ERR_NOT_FOUND);
}

static void remove_parents(const char *path)
{
    for (size_t i = 0; i < cgroup__host()->count; i++) {
        _cleanup_free_ char *dir = str_printf("%s%s", cgroup__host()->dirs[i].root, path);
        rmdir(dir);
    }
}

static void a_given_path_is_taken_as_it_is(void **state)
{
    struct err err = {0};
    char name[64], path[128];
    box_need_root();
    snprintf(name, sizeof(name), "/unit-given-%d", (int)getpid());
    snprintf(path, sizeof(path), "%s/a//../b/", name);
    struct cgroup *g = create_given(path, NULL, &err);
    if (!g)
        fail_msg("%s", err.msg);
    snprintf(path, sizeof(path), "%s/b", name);
    assert_string_equal(cgroup_fs_path(g), path);
    given_done(g);
    remove_parents(name);
    assert_null(create_given("a:b:c", NULL, &err));
    assert_contains(err.msg, "--systemd-cgroup");
    assert_null(create_given("/", NULL, &err));
    assert_int_equal(err.code, ERR_INVALID);
}

/* The engine's own callers cannot reach out of drover/ by the name of a given path. */
static void the_name_of_a_given_path_opens_and_does_not_make(void **state)
{
    struct err err = {0};
    struct cgroup *g;
    box_need_root();
    assert_true(cgroup_create("host:/unit-x", NULL, &g, &err) < 0);
    assert_int_equal(cgroup_open("host:/../x", &g, &err), -ERR_INVALID);
    assert_int_equal(cgroup_open("host:/unit-not-there", &g, &err), -ERR_NOT_FOUND);
}

static void a_given_group_with_processes_is_shared_and_an_engines_is_a_conflict(void **state)
{
    struct err err = {0};
    char path[64];
    box_need_root();
    snprintf(path, sizeof(path), "/unit-given-%d", (int)getpid());
    struct group t = {.g = create_given(path, NULL, &err)};
    assert_non_null(t.g);
    pid_t pid = spawn_in(&t);
    struct cgroup *second = create_given(path, NULL, &err);
    if (!second)
        fail_msg("%s", err.msg);
    assert_int_equal(second->occupied, 1);
    assert_ok(cgroup_kill(t.g, SIGKILL, &err), &err);
    box_wait(pid);
    cgroup_free(second);
    given_done(t.g);
}

/* Another process may have removed a part of it, or still be at it. */
static void a_group_that_is_half_gone_is_opened_emptied_and_removed(void **state)
{
    struct err err = {0};
    char path[64];
    need_v1();
    box_need_root();
    snprintf(path, sizeof(path), "/unit-given-%d", (int)getpid());
    for (unsigned gone = 0; gone < 1024; gone += 73) {
        struct group t = {.g = create_given(path, NULL, &err)};
        struct cgroup *again;
        const char *pids = cgroup__dir_of(t.g, CG_PIDS);
        pid_t pid = fork();
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (;;)
                pause();
        }
        assert_ok(cgroup__write_i64(pids, "cgroup.procs", pid, &err), &err);
        for (size_t i = 0; i < t.g->count; i++)
            if (gone >> i & 1 && t.g->dirs[i].root != pids)
                rmdir(t.g->dirs[i].root);
        assert_ok(cgroup_open(cgroup_path(t.g), &again, &err), &err);
        struct cgroup_usage usage;
        assert_ok(cgroup_usage(again, &usage, &err), &err);
        assert_ok(cgroup_kill(again, SIGKILL, &err), &err);
        box_wait(pid);
        assert_ok(cgroup_remove(again, &err), &err);
        cgroup_free(again);
        assert_ok(cgroup_remove(t.g, &err), &err);
        cgroup_free(t.g);
    }
}

static int probe_open(const struct cgroup *g, const char *path, int flags)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct err err;
        if (cgroup__join(g, &err) < 0)
            _exit(200);
        int fd = open(path, flags | O_CLOEXEC);
        _exit(fd < 0 ? errno : 0);
    }
    return box_wait(pid);
}

static void a_given_group_has_the_usual_devices_and_no_others(void **state)
{
    struct err err = {0};
    char path[64];
    box_need_root();
    snprintf(path, sizeof(path), "/unit-given-%d", (int)getpid());
    struct cgroup *g = create_given(path, NULL, &err);
    if (!g)
        fail_msg("%s", err.msg);
    assert_int_equal(probe_open(g, "/dev/null", O_RDWR), 0);
    assert_int_equal(probe_open(g, "/dev/urandom", O_RDONLY), 0);
    assert_int_equal(probe_open(g, "/dev/kmsg", O_RDONLY), EPERM);
    _cleanup_json_ json_t *more = json_pack("{s:[{s:b,s:s,s:i,s:i,s:s}]}", "devices", "allow", 1, "type", "c",
                                            "major", 1, "minor", 11, "access", "r");
    assert_ok(cgroup_update(g, more, &err), &err);
    assert_int_equal(probe_open(g, "/dev/kmsg", O_RDONLY), 0);
    assert_int_equal(probe_open(g, "/dev/kmsg", O_WRONLY), EPERM);
    _cleanup_json_ json_t *pids = json_pack("{s:{s:i}}", "pids", "limit", 30);
    assert_ok(cgroup_update(g, pids, &err), &err);
    assert_int_equal(probe_open(g, "/dev/kmsg", O_RDONLY), 0);
    given_done(g);
}

/* --- every part of linux.resources --- */

static void nonsense_is_refused_by_name(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"{\"memory\":{\"limit\":-2}}", "linux.resources.memory.limit"},
        {"{\"memory\":{\"limit\":1048576,\"swap\":4096}}", "linux.resources.memory.swap"},
        {"{\"memory\":{\"swappiness\":201}}", "swappiness"},
        {"{\"memory\":{\"disableOOMKiller\":1}}", "disableOOMKiller"},
        {"{\"memory\":[]}", "linux.resources.memory"},
        {"{\"cpu\":{\"shares\":\"many\"}}", "shares"},
        {"{\"cpu\":{\"idle\":2}}", "idle"},
        {"{\"blockIO\":{\"weight\":1001}}", "weight"},
        {"{\"blockIO\":{\"throttleReadBpsDevice\":[{\"major\":-1,\"minor\":0,\"rate\":1}]}}", "major"},
        {"{\"blockIO\":{\"throttleReadBpsDevice\":[{\"major\":8,\"minor\":0}]}}", "without \"rate\""},
        {"{\"blockIO\":{\"weightDevice\":[{\"major\":8,\"weight\":10}]}}", "without \"minor\""},
        {"{\"hugepageLimits\":[{\"pageSize\":\"2MB/../x\",\"limit\":1}]}", "pageSize"},
        {"{\"hugepageLimits\":[{\"pageSize\":\"2MB\"}]}", "without \"limit\""},
        {"{\"network\":{\"classID\":4294967296}}", "classID"},
        {"{\"network\":{\"priorities\":[{\"name\":\"a b\",\"priority\":1}]}}", "priorities"},
        {"{\"network\":{\"priorities\":[{\"name\":\"a\"}]}}", "without \"priority\""},
        {"{\"rdma\":{\"x\":7}}", "rdma"},
        {"{\"rdma\":{\"x\":{\"hcaHandles\":-1}}}", "hcaHandles"},
        {"{\"rdma\":{\"x\":{}}}", "hcaHandles or hcaObjects"},
        {"{\"unified\":{\"cgroup.procs\":\"1\"}}", "cgroup.procs"},
        {"{\"unified\":{\"../memory.max\":\"1\"}}", "unified"},
        {"{\"unified\":{\"memory.max\":1}}", "memory.max"},
        {"{\"devices\":[{\"allow\":true,\"type\":\"q\"}]}", "type"},
        {"{\"devices\":[{\"allow\":true,\"access\":\"rx\"}]}", "access"},
        {"{\"pids\":{\"limit\":true}}", "linux.resources.pids.limit"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct group t;
        struct err err = {0};
        int r = group_make(&t, cases[i].text, &err);
        if (r != -ERR_INVALID || !strstr(err.msg, cases[i].message))
            fail_msg("%s: %d %s", cases[i].text, r, err.msg);
        assert_int_equal(cgroup_open(t.name, &t.g, NULL), -ERR_NOT_FOUND);
    }
}

static void v1_containers_share_the_groups_they_need_nothing_of_their_own_in(void **state)
{
    struct group one, two, three;
    struct err err = {0};
    static const char rules[] = "{\"devices\":[{\"allow\":false,\"access\":\"rwm\"},{\"allow\":true,\"type\":"
                                "\"c\",\"major\":1,\"minor\":3,\"access\":\"rw\"}]}";
    need_v1();
    assert_ok(group_make(&one, rules, &err), &err);
    assert_ok(group_make(&two, rules, &err), &err);
    assert_ok(group_make(&three,
                         "{\"cpu\":{\"cpus\":\"0\"},\"devices\":[{\"allow\":false,\"access\":\"rwm\"}]}",
                         &err),
              &err);
    const char *devices = cgroup__dir_of(one.g, CG_DEVICES), *cpuset = cgroup__dir_of(one.g, CG_CPUSET);
    assert_string_equal(cgroup__dir_of(two.g, CG_DEVICES), devices);
    assert_string_equal(cgroup__dir_of(two.g, CG_CPUSET), cpuset);
    assert_string_not_equal(cgroup__dir_of(three.g, CG_DEVICES), devices);
    assert_string_not_equal(cgroup__dir_of(three.g, CG_CPUSET), cpuset);
    assert_string_not_equal(cgroup__dir_of(one.g, CG_MEMORY), cgroup__dir_of(two.g, CG_MEMORY));
    assert_int_equal(probe_open(one.g, "/dev/null", O_RDWR), 0);
    assert_int_equal(probe_open(two.g, "/dev/zero", O_RDONLY), EPERM);
    /* Another process finds the group again by who is in it. */
    pid_t pid = spawn_in(&one);
    struct cgroup *found;
    assert_ok(cgroup_open(one.name, &found, &err), &err);
    assert_string_equal(cgroup__dir_of(found, CG_DEVICES), devices);
    /* What is set later is set for this one alone, and those in it go along. */
    _cleanup_json_ json_t *more = json_pack("{s:{s:s}}", "cpu", "cpus", "0");
    assert_ok(cgroup_update(found, more, &err), &err);
    assert_string_equal(content(found, CG_CPUSET, "cpuset.cpus"), "0\n");
    char text[16];
    snprintf(text, sizeof(text), "%d\n", (int)pid);
    assert_string_equal(content(found, CG_CPUSET, "cgroup.procs"), text);
    assert_string_not_equal(content(two.g, CG_CPUSET, "cpuset.cpus"), "");
    assert_ok(cgroup_kill(found, SIGKILL, &err), &err);
    box_wait(pid);
    assert_ok(cgroup_remove(found, &err), &err);
    cgroup_free(found);
    cgroup_free(one.g);
    group_done(&two);
    group_done(&three);
}

static void a_container_that_writes_its_groups_shares_none(void **state)
{
    struct err err = {0};
    struct cgroup *g;
    need_v1();
    box_need_root();
    const struct cgroup_place place = {.path = "unit-exclusive", .id = "x", .exclusive = true};
    assert_ok(cgroup_create_in(&place, NULL, &g, &err), &err);
    assert_true(str_ends_with(cgroup__dir_of(g, CG_DEVICES), "/drover/unit-exclusive"));
    assert_true(str_ends_with(cgroup__dir_of(g, CG_CPUSET), "/drover/unit-exclusive"));
    assert_ok(cgroup_remove(g, &err), &err);
    cgroup_free(g);
}

static ino_t memory_group_of(const struct group *t)
{
    struct stat st;
    assert_int_equal(stat(cgroup__dir_of(t->g, CG_MEMORY), &st), 0);
    return st.st_ino;
}

/* Makes a group, has `use` done to it, removes it; true: the next one is the same again. */
static bool comes_back(const char *resources, void (*use)(struct group *t))
{
    struct err err = {0};
    struct group t, next;
    assert_ok(group_make(&t, resources, &err), &err);
    ino_t first = memory_group_of(&t);
    if (use)
        use(&t);
    group_done(&t);
    assert_ok(group_make(&next, NULL, &err), &err);
    ino_t second = memory_group_of(&next);
    assert_string_not_equal(content(next.g, CG_MEMORY, "memory.swappiness"), "10\n");
    assert_string_equal(content(next.g, CG_MEMORY, "tasks"), "");
    group_done(&next);
    return first == second;
}

static void set_swappiness(struct group *t)
{
    struct err err;
    assert_ok(cgroup__write(cgroup__dir_of(t->g, CG_MEMORY), "memory.swappiness", "10", &err), &err);
}

static void set_and_lift_a_limit(struct group *t)
{
    struct err err = {0};
    _cleanup_json_ json_t *limit = json_pack("{s:{s:i}}", "memory", "limit", 64 << 20),
                          *none = json_pack("{s:{s:i}}", "memory", "limit", -1);
    assert_ok(cgroup_update(t->g, limit, &err), &err);
    assert_ok(cgroup_update(t->g, none, &err), &err);
}

/* A process that ends, and a file of memory that stays. */
static void leave_charges(struct group *t)
{
    static char block[4 << 20];
    struct err err = {0};
    char path[64];
    snprintf(path, sizeof(path), "/dev/shm/unit-cg-%d", (int)getpid());
    int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    unlink(path);
    assert_true(fd >= 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(cgroup_add_pid(t->g, getpid(), &err) < 0 || write(fd, block, sizeof(block)) < 0);
    assert_int_equal(box_wait(pid), 0);
}

static void make_a_group_below(struct group *t)
{
    _cleanup_free_ char *below = str_printf("%s/below", cgroup__dir_of(t->g, CG_MEMORY));
    assert_int_equal(mkdir(below, 0755), 0);
}

static void reach_a_peak(struct group *t)
{
    struct err err = {0};
    pid_t pid = fork();
    if (pid == 0) {
        char *memory =
            mmap(NULL, 8 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        _exit(memory == MAP_FAILED || cgroup_add_pid(t->g, getpid(), &err) < 0 ||
              mmap(NULL, 8 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1,
                   0) == MAP_FAILED);
    }
    assert_int_equal(box_wait(pid), 0);
    int64_t peak = 0;
    cgroup__read_i64(cgroup__dir_of(t->g, CG_MEMORY), "memory.max_usage_in_bytes", &peak);
    assert_true(peak >= 8 << 20);
}

static void a_memory_group_is_used_again_as_it_was_made_or_not_at_all(void **state)
{
    struct err err = {0};
    struct group t;
    need_v1();
    for (int i = 0; i < 2; i++) { /* who launches once keeps nothing */
        assert_ok(group_make(&t, NULL, &err), &err);
        group_done(&t);
    }
    bool again = false;
    for (int i = 0; i < 3; i++) /* the uses of one may be over at any time */
        again |= comes_back(NULL, NULL);
    assert_true(again);
    assert_false(comes_back(NULL, set_swappiness));
    assert_false(comes_back(NULL, leave_charges));
    assert_false(comes_back(NULL, make_a_group_below));
    assert_false(comes_back("{\"memory\":{\"limit\":67108864}}", NULL));
    assert_true(comes_back(NULL, set_and_lift_a_limit) || comes_back(NULL, set_and_lift_a_limit));
    assert_true(comes_back(NULL, reach_a_peak) || comes_back(NULL, reach_a_peak));
    assert_ok(group_make(&t, NULL, &err), &err);
    int64_t peak = INT64_MAX;
    cgroup__read_i64(cgroup__dir_of(t.g, CG_MEMORY), "memory.max_usage_in_bytes", &peak);
    assert_true(peak <= 1 << 20);
    group_done(&t);
}

static void a_memory_group_is_not_used_for_ever(void **state)
{
    enum { MANY = 100 };
    struct err err = {0};
    struct group t;
    int changes = 0;
    ino_t last = 0;
    need_v1();
    for (int i = 0; i < MANY; i++) {
        assert_ok(group_make(&t, NULL, &err), &err);
        ino_t now = memory_group_of(&t);
        changes += i && now != last;
        last = now;
        group_done(&t);
    }
    assert_in_range(changes, 2, 10);
}

/* --- with every controller of v2 (a booted host) --- */

static void need_all_of_v2(void)
{
    box_need_root();
    _cleanup_str_ struct str text = STR_INIT;
    if (cgroup_host_version() != 2 ||
        !cgroup__read_text(cgroup__host()->dirs[0].root, "cgroup.controllers", &text) ||
        !strstr(str_get(&text), "memory")) {
        print_message("skipped: needs cgroup v2 with its controllers\n");
        skip();
    }
}

static void v2_limits_arrive_in_the_kernel(void **state)
{
    struct group t;
    struct err err = {0};
    need_all_of_v2();
    assert_ok(
        group_make(&t,
                   "{\"memory\":{\"limit\":33554432,\"swap\":67108864,\"reservation\":16777216},"
                   "\"cpu\":{\"shares\":512,\"quota\":50000,\"period\":100000,\"burst\":20000,\"cpus\":\"0\","
                   "\"mems\":\"0\"},\"pids\":{\"limit\":33},"
                   "\"hugepageLimits\":[{\"pageSize\":\"2MB\",\"limit\":4194304}],"
                   "\"unified\":{\"memory.high\":\"30000000\"}}",
                   &err),
        &err);
    static const struct {
        const char *file, *value;
    } want[] = {
        {"memory.max", "33554432\n"},
        {"memory.low", "16777216\n"},
        {"memory.high", "29999104\n"},
        {"cpu.weight", "20\n"},
        {"cpu.max", "50000 100000\n"},
        {"cpu.max.burst", "20000\n"},
        {"cpuset.cpus", "0\n"},
        {"cpuset.mems", "0\n"},
        {"pids.max", "33\n"},
        {"hugetlb.2MB.max", "4194304\n"},
        {"hugetlb.2MB.rsvd.max", "4194304\n"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(want); i++)
        assert_string_equal(content(t.g, CG_MEMORY, want[i].file), want[i].value);
    if (cgroup__has(cgroup__dir_of(t.g, CG_MEMORY), "memory.swap.max"))
        assert_string_equal(content(t.g, CG_MEMORY, "memory.swap.max"), "33554432\n");
    group_done(&t);
}

static void v2_an_update_changes_only_what_it_says(void **state)
{
    struct group t;
    struct err err = {0};
    need_all_of_v2();
    assert_ok(group_make(&t, "{\"cpu\":{\"quota\":50000,\"period\":200000},\"pids\":{\"limit\":9}}", &err),
              &err);
    static const struct {
        const char *text, *file, *value;
    } steps[] = {
        {"{\"cpu\":{\"period\":100000}}", "cpu.max", "50000 100000\n"},
        {"{\"cpu\":{\"quota\":70000}}", "cpu.max", "70000 100000\n"},
        {"{\"cpu\":{\"quota\":-1}}", "cpu.max", "max 100000\n"},
        {"{\"cpu\":{\"idle\":1}}", "cpu.idle", "1\n"},
        {"{\"cpu\":{\"idle\":0,\"shares\":2048}}", "cpu.weight", "79\n"},
        {"{\"memory\":{\"limit\":67108864}}", "memory.max", "67108864\n"},
        {"{\"memory\":{\"limit\":-1}}", "memory.max", "max\n"},
        {"{\"pids\":{\"limit\":-1}}", "pids.max", "max\n"},
        {"{\"unified\":{\"cpu.weight\":\"42\"}}", "cpu.weight", "42\n"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        _cleanup_json_ json_t *more = NULL;
        assert_ok(json_parse(steps[i].text, strlen(steps[i].text), "update", &more, &err), &err);
        assert_ok(cgroup_update(t.g, more, &err), &err);
        assert_string_equal(content(t.g, CG_CPU, steps[i].file), steps[i].value);
    }
    group_done(&t);
}

static void v2_what_it_has_not_is_refused_by_name(void **state)
{
    static const char *const cases[][2] = {
        {"{\"memory\":{\"swappiness\":10}}", "swappiness"},
        {"{\"memory\":{\"disableOOMKiller\":true}}", "disableOOMKiller"},
        {"{\"cpu\":{\"realtimeRuntime\":1000}}", "realtimeRuntime"},
        {"{\"network\":{\"classID\":1}}", "classID"},
        {"{\"blockIO\":{\"leafWeight\":10}}", "leafWeight"},
        {"{\"unified\":{\"nosuch.max\":\"1\"}}", "cgroup controller `nosuch` is not available"},
        {"{\"hugepageLimits\":[{\"pageSize\":\"3MB\",\"limit\":1}]}", "hugetlb.3MB.max"},
    };
    need_all_of_v2();
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct group t;
        struct err err = {0};
        if (group_make(&t, cases[i][0], &err) != -ERR_UNSUPPORTED || !strstr(err.msg, cases[i][1]))
            fail_msg("%s: %s", cases[i][0], err.msg);
        assert_int_equal(cgroup_open(t.name, &t.g, NULL), -ERR_NOT_FOUND);
    }
}

static void v2_block_io_is_limited_by_device(void **state)
{
    struct group t;
    struct err err = {0};
    struct stat st;
    need_all_of_v2();
    if (stat("/dev/nullb0", &st) < 0) {
        print_message("skipped: needs the block device /dev/nullb0 (null_blk)\n");
        skip();
    }
    _cleanup_free_ char *text =
        str_printf("{\"blockIO\":{\"weight\":500,\"throttleReadBpsDevice\":[{\"major\":%u,\"minor\":%u,"
                   "\"rate\":1048576}],"
                   "\"throttleWriteIOPSDevice\":[{\"major\":%u,\"minor\":%u,\"rate\":77}]}}",
                   major(st.st_rdev), minor(st.st_rdev), major(st.st_rdev), minor(st.st_rdev));
    assert_ok(group_make(&t, text, &err), &err);
    assert_contains(content(t.g, CG_BLKIO, "io.max"), "rbps=1048576 wbps=max riops=max wiops=77");
    group_done(&t);
}

static void v2_a_threaded_group_is_refused_by_its_type(void **state)
{
    struct err err = {0};
    char path[64], below[80];
    need_all_of_v2();
    snprintf(path, sizeof(path), "/unit-given-%d", (int)getpid());
    snprintf(below, sizeof(below), "%s/x", path);
    struct cgroup *g = create_given(path, NULL, &err);
    assert_non_null(g);
    assert_ok(cgroup__write(cgroup__dir_of(g, CG_CPU), "cgroup.type", "threaded", &err), &err);
    assert_null(create_given(below, NULL, &err));
    assert_contains(err.msg, "threaded");
    given_done(g);
}

/* --- usage and events --- */

static void what_a_group_uses_is_told_in_numbers_and_as_json(void **state)
{
    struct group t;
    struct err err = {0};
    json_t *stats = NULL;
    box_need_root();
    assert_ok(group_make(&t, NULL, &err), &err);
    pid_t pid = spawn_in(&t);
    assert_ok(cgroup_stats_json(t.g, &stats, &err), &err);
    assert_int_equal(json_int(json_object_get(stats, "pids"), "current"), 1);
    const json_t *memory = json_object_get(stats, "memory");
    assert_true(json_is_integer(json_object_get(json_object_get(memory, "usage"), "usage")));
    assert_true(json_object_size(json_object_get(memory, "raw")) > 5);
    assert_true(json_is_array(json_object_get(json_object_get(stats, "blkio"), "ioServiceBytesRecursive")));
    json_decref(stats);
    assert_int_equal(cgroup_oom_kills(t.g), 0);
    assert_ok(cgroup_kill(t.g, SIGKILL, &err), &err);
    box_wait(pid);
    group_done(&t);
}

static void running_out_of_memory_is_an_event(void **state)
{
    struct group t;
    struct err err = {0};
    int fd = -EBADF;
    box_need_root();
    assert_ok(group_make(&t, "{\"memory\":{\"limit\":8388608}}", &err), &err);
    int r = cgroup_watch_oom(t.g, &fd, &err);
    assert_ok(r, &err);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 0), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (cgroup__join(t.g, &err) < 0)
            _exit(1);
        volatile char *much =
            mmap(NULL, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        for (size_t i = 0; i < 64 << 20; i += 4096)
            much[i] = 1;
        _exit(0);
    }
    assert_int_equal(box_wait(pid), 128 + SIGKILL);
    assert_int_equal(poll(&p, 1, -1), 1);
    assert_true(cgroup_oom_kills(t.g) >= 1);
    close(fd);
    group_done(&t);
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
        cmocka_unit_test(a_given_path_is_taken_as_it_is),
        cmocka_unit_test(the_name_of_a_given_path_opens_and_does_not_make),
        cmocka_unit_test(a_given_group_with_processes_is_shared_and_an_engines_is_a_conflict),
        cmocka_unit_test(a_group_that_is_half_gone_is_opened_emptied_and_removed),
        cmocka_unit_test(a_given_group_has_the_usual_devices_and_no_others),
        cmocka_unit_test(nonsense_is_refused_by_name),
        cmocka_unit_test(v1_containers_share_the_groups_they_need_nothing_of_their_own_in),
        cmocka_unit_test(a_container_that_writes_its_groups_shares_none),
        cmocka_unit_test(a_memory_group_is_used_again_as_it_was_made_or_not_at_all),
        cmocka_unit_test(a_memory_group_is_not_used_for_ever),
        cmocka_unit_test(v2_limits_arrive_in_the_kernel),
        cmocka_unit_test(v2_an_update_changes_only_what_it_says),
        cmocka_unit_test(v2_what_it_has_not_is_refused_by_name),
        cmocka_unit_test(v2_block_io_is_limited_by_device),
        cmocka_unit_test(v2_a_threaded_group_is_refused_by_its_type),
        cmocka_unit_test(what_a_group_uses_is_told_in_numbers_and_as_json),
        cmocka_unit_test(running_out_of_memory_is_an_event),
        cmocka_unit_test(v2_processes_are_listed_frozen_thawed_and_killed),
        cmocka_unit_test(v2_pressure_is_told_where_the_kernel_counts_it),
        cmocka_unit_test(v2_names_a_limit_whose_controller_is_missing),
        cmocka_unit_test(v2_files_of_the_core_are_written_but_for_those_that_move_or_end_processes),
        cmocka_unit_test(v2_device_rules_hold),
        cmocka_unit_test(v2_a_container_runs_in_its_group),
        cmocka_unit_test(v2_a_group_that_is_seen_writable_belongs_to_the_containers_user),
    };
    return cmocka_run_group_tests_name("cgroup", tests, NULL, NULL);
}
