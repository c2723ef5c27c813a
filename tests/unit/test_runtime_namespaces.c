/* Namespaces of every type, new and joined, alone and together. */
#include "runtime_box.h"

#include <sys/syscall.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

static void add_namespace(struct box *b, const char *type, const char *path)
{
    json_t *list = json_object_get(box_linux(b), "namespaces"), *one;
    size_t i;
    json_array_foreach (list, i, one)
        if (str_eq(json_str(one, "type"), type)) {
            json_array_remove(list, i);
            break;
        }
    json_t *entry = json_pack("{s:s}", "type", type);
    if (path)
        json_object_set_new(entry, "path", json_string(path));
    json_array_append_new(list, entry);
}

static void remove_namespace(struct box *b, const char *type)
{
    add_namespace(b, type, NULL);
    json_t *list = json_object_get(box_linux(b), "namespaces");
    json_array_remove(list, json_array_size(list) - 1);
}

static void map_ids(struct box *b)
{
    static const char *const keys[] = {"uidMappings", "gidMappings"};
    for (size_t i = 0; i < 2; i++)
        json_object_set_new(box_linux(b), keys[i],
                            json_pack("[{s:i,s:i,s:i},{s:i,s:i,s:i}]", "containerID", 0, "hostID", 100000,
                                      "size", 1000, "containerID", 1000, "hostID", 300000, "size", 64536));
    add_namespace(b, "user", NULL);
}

/* The root of a mapped container belongs to its own root, as an engine would have it. */
static void own_root(struct box *b)
{
    _cleanup_free_ char *command = str_printf("chown -R 100000:100000 %s && chmod 711 %s", b->root, b->dir);
    assert_int_equal(system(command), 0);
}

static void a_user_namespace_has_its_maps_and_everything_works_in_it(void **state)
{
    struct box b;
    box_init(&b);
    own_root(&b);
    map_ids(&b);
    add_namespace(&b, "network", NULL);
    json_object_set_new(box_process(&b), "oomScoreAdj", json_integer(200));
    const char *text =
        box_sh(&b, "cat /proc/self/uid_map /proc/self/gid_map; id -u; id -g; cat /proc/self/oom_score_adj;"
                   "echo x > /dev/null && echo null-works; mount | grep -c ' /proc '; hostname;"
                   "touch /tmp/mine && stat -c '%u %g' /tmp/mine; cat /sys/class/net/lo/flags;"
                   "grep -c . /proc/self/cgroup; grep CapEff /proc/self/status; ls /sys/fs/cgroup | wc -l");
    assert_contains(text, "         0     100000       1000\n      1000     300000      64536\n"
                          "         0     100000       1000\n      1000     300000      64536\n0\n0\n200\n");
    assert_contains(text, "null-works\n");
    assert_contains(text, "box\n0 0\n0x9\n");
    assert_contains(text, "CapEff:\t00000000a80425fb");
    _cleanup_free_ char *made = str_printf("%s/tmp/mine", b.root);
    struct stat st;
    assert_int_equal(stat(made, &st), 0);
    assert_int_equal(st.st_uid, 100000);
    box_done(&b);
}

static void ids_of_the_process_are_mapped_and_unmapped_ones_refused(void **state)
{
    struct box b;
    box_init(&b);
    own_root(&b);
    map_ids(&b);
    json_object_set_new(box_process(&b), "user",
                        json_pack("{s:i,s:i,s:[i]}", "uid", 1000, "gid", 1001, "additionalGids", 5));
    assert_contains(box_sh(&b, "grep -E '^Uid|^Gid|^Groups' /proc/self/status"),
                    "Uid:\t1000\t1000\t1000\t1000\nGid:\t1001\t1001\t1001\t1001\nGroups:\t5 \n");
    json_object_set_new(box_process(&b), "user", json_pack("{s:i,s:i}", "uid", 700000, "gid", 0));
    box_run(&b);
    assert_int_equal(b.status, -1);
    assert_contains(b.err.msg, "user 700000 is not mapped");
    box_done(&b);
}

static void a_map_of_many_extents_is_written(void **state)
{
    struct box b;
    box_init(&b);
    own_root(&b);
    map_ids(&b);
    json_t *list = json_array();
    for (int i = 0; i < 100; i++)
        json_array_append_new(
            list, json_pack("{s:i,s:i,s:i}", "containerID", i, "hostID", 100000 + 2 * i, "size", 1));
    json_object_set_new(box_linux(&b), "uidMappings", list);
    assert_contains(box_sh(&b, "wc -l < /proc/self/uid_map"), "100\n");
    json_array_append_new(list, json_pack("{s:i,s:i,s:i}", "containerID", 5, "hostID", 7, "size", 1));
    box_run(&b);
    assert_int_equal(b.status, -1);
    assert_contains(b.err.msg, "uidMappings");
    box_done(&b);
}

/* Starts a sleeper that others join. */
static void hold(struct box *b, struct runtime_child *child, struct cgroup **cgroup)
{
    const char *args[] = {"sleep", "1000", NULL};
    box_args(b, args);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct runtime_launch launch = box_launch(b, null, null);
    assert_ok(runtime_launch(&launch, cgroup, child, &b->err), &b->err);
    assert_ok(runtime_launch_result(child->status_fd, &b->err), &b->err);
    close(null);
}

static void let_go(struct runtime_child *child, struct cgroup *cgroup)
{
    struct err err;
    assert_ok(cgroup_kill(cgroup, SIGKILL, &err), &err);
    assert_int_equal(box_wait(child->pid), 137);
    close(child->pidfd);
    close(child->status_fd);
    assert_ok(cgroup_remove(cgroup, &err), &err);
    cgroup_free(cgroup);
}

static void join(struct box *b, const char *type, const char *file, pid_t pid)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, file);
    add_namespace(b, type, path);
}

static const char *link_of(pid_t pid, const char *file)
{
    static char text[64];
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, file);
    ssize_t n = readlink(path, text, sizeof(text) - 1);
    assert_true(n > 0);
    text[n] = '\0';
    return text;
}

static const struct {
    const char *type, *file;
} joinable[] = {{"pid", "pid"},     {"ipc", "ipc"},       {"uts", "uts"},
                {"network", "net"}, {"cgroup", "cgroup"}, {"time", "time"}};

static const char show[] = "for n in pid ipc uts net cgroup time user; do readlink /proc/self/ns/$n; done";

static void namespaces_of_another_container_are_joined(void **state)
{
    struct box holder, b;
    struct runtime_child child;
    struct cgroup *cgroup;
    box_init(&holder);
    box_init(&b);
    add_namespace(&holder, "network", NULL);
    add_namespace(&holder, "time", NULL);
    hold(&holder, &child, &cgroup);
    for (size_t i = 0; i < ARRAY_SIZE(joinable); i++)
        join(&b, joinable[i].type, joinable[i].file, child.pid);
    const char *text = box_sh(&b, show);
    for (size_t i = 0; i < ARRAY_SIZE(joinable); i++)
        assert_contains(text, link_of(child.pid, joinable[i].file));
    /* And with a user namespace of its own, to which they do not belong. The kernel gives that no /proc of
     * another one's processes. */
    own_root(&b);
    map_ids(&b);
    remove_namespace(&b, "time");
    add_namespace(&b, "pid", NULL);
    add_namespace(&b, "uts", NULL); /* nor may it name another one's machine */
    text = box_sh(&b, "for n in ipc uts net cgroup user; do readlink /proc/self/ns/$n; done;"
                      "ls /sys/class/net; touch /sys/x");
    static const char *const still[] = {"ipc", "net", "cgroup"};
    for (size_t i = 0; i < ARRAY_SIZE(still); i++)
        assert_contains(text, link_of(child.pid, still[i]));
    assert_lacks(text, link_of(getpid(), "user"));
    assert_contains(text, "\nlo\ntouch: /sys/x: ");
    let_go(&child, cgroup);
    box_done(&b);
    box_done(&holder);
}

static void a_user_namespace_is_joined_with_what_belongs_to_it(void **state)
{
    struct box holder, b;
    struct runtime_child child;
    struct cgroup *cgroup;
    box_init(&holder);
    box_init(&b);
    own_root(&holder);
    own_root(&b);
    map_ids(&holder);
    add_namespace(&holder, "network", NULL);
    hold(&holder, &child, &cgroup);
    join(&b, "user", "user", child.pid);
    join(&b, "network", "net", child.pid);
    join(&b, "ipc", "ipc", child.pid);
    const char *text = box_sh(&b, show);
    assert_contains(text, link_of(child.pid, "user"));
    assert_contains(text, link_of(child.pid, "net"));
    assert_contains(text, link_of(child.pid, "ipc"));
    assert_lacks(text, link_of(child.pid, "pid"));
    assert_contains(box_sh(&b, "cat /proc/self/uid_map; echo $$"), "300000      64536\n1\n");
    let_go(&child, cgroup);
    box_done(&b);
    box_done(&holder);
}

static void exec_enters_a_user_namespace_and_a_time_namespace(void **state)
{
    struct box b;
    struct runtime_child child, extra;
    struct cgroup *cgroup;
    box_init(&b);
    own_root(&b);
    map_ids(&b);
    add_namespace(&b, "time", NULL);
    json_object_set_new(box_linux(&b), "timeOffsets",
                        json_pack("{s:{s:i,s:i}}", "boottime", "secs", 1000000, "nanosecs", 5));
    hold(&b, &child, &cgroup);
    int pipe_fds[2];
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    _cleanup_json_ json_t *process = json_deep_copy(box_process(&b));
    json_object_set_new(process, "args",
                        json_pack("[s,s,s]", "sh", "-c",
                                  "for n in pid mnt user time cgroup; do readlink "
                                  "/proc/self/ns/$n; done; id -u; cut -d. -f1 /proc/uptime;"
                                  "grep -E 'CapEff|Seccomp:' /proc/self/status"));
    struct runtime_launch launch = {.id = b.id, .spec = process, .stdio = {null, pipe_fds[1], pipe_fds[1]}};
    assert_ok(runtime_exec(&launch, b.spec, child.pid, child.pidfd, cgroup, &extra, &b.err), &b.err);
    close(pipe_fds[1]);
    close(null);
    assert_ok(runtime_launch_result(extra.status_fd, &b.err), &b.err);
    assert_ok(file_read_fd(pipe_fds[0], 1 << 20, &b.output, &b.err), &b.err);
    assert_int_equal(box_wait(extra.pid), 0);
    close(pipe_fds[0]);
    close(extra.status_fd);
    close(extra.pidfd);
    static const char *const files[] = {"pid", "mnt", "user", "time", "cgroup"};
    for (size_t i = 0; i < ARRAY_SIZE(files); i++)
        assert_contains(str_get(&b.output), link_of(child.pid, files[i]));
    assert_contains(str_get(&b.output), "\n0\n");
    assert_contains(str_get(&b.output), "CapEff:\t00000000a80425fb\nSeccomp:\t2\n");
    let_go(&child, cgroup);
    box_done(&b);
}

static void clocks_of_a_time_namespace_are_set_off(void **state)
{
    struct box b;
    box_init(&b);
    add_namespace(&b, "time", NULL);
    json_object_set_new(box_linux(&b), "timeOffsets",
                        json_pack("{s:{s:i,s:i},s:{s:i}}", "boottime", "secs", 7000000, "nanosecs", 1,
                                  "monotonic", "secs", 100));
    _cleanup_free_ char *cut = str_printf("%s/bin/cut", b.root);
    assert_int_equal(symlink("busybox", cut), 0);
    const char *text = box_sh(&b, "cat /proc/self/timens_offsets; cut -d. -f1 /proc/uptime");
    assert_contains(text, "monotonic         100         0\nboottime      7000000         1\n");
    assert_true(strtol(strrchr(text, '\0') - 8, NULL, 10) > 7000000);
    remove_namespace(&b, "time");
    box_run(&b);
    assert_contains(b.err.msg, "timeOffsets");
    box_done(&b);
}

static void a_mount_namespace_is_joined(void **state)
{
    struct box holder, b;
    struct runtime_child child;
    struct cgroup *cgroup;
    box_init(&holder);
    box_init(&b);
    hold(&holder, &child, &cgroup);
    pid_t pid = fork();
    if (pid == 0) {
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0)
            _exit(1);
        raise(SIGSTOP);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    join(&b, "mount", "mnt", pid);
    static const char *const gone[] = {"maskedPaths", "readonlyPaths"};
    for (size_t i = 0; i < ARRAY_SIZE(gone); i++)
        json_object_del(box_linux(&b), gone[i]);
    assert_contains(box_sh(&b, "readlink /proc/self/ns/mnt; ls /"), link_of(pid, "mnt"));
    assert_lacks(str_get(&b.output), "usr");
    kill(pid, SIGKILL);
    box_wait(pid);
    let_go(&child, cgroup);
    box_done(&b);
    box_done(&holder);
}

static void without_a_mount_namespace_nothing_is_mounted_and_the_root_is_changed(void **state)
{
    struct box b;
    box_init(&b);
    remove_namespace(&b, "mount");
    const char *args[] = {"ls", "/", NULL};
    box_args(&b, args);
    box_run(&b);
    assert_int_equal(b.status, -1);
    assert_contains(b.err.msg, "mount namespace");
    json_object_del(b.spec, "mounts");
    static const char *const gone[] = {"maskedPaths", "readonlyPaths", "devices"};
    for (size_t i = 0; i < ARRAY_SIZE(gone); i++)
        json_object_del(box_linux(&b), gone[i]);
    box_run(&b);
    assert_int_equal(b.status, 0);
    assert_string_equal(str_get(&b.output), "bin\ndev\netc\nproc\nsys\ntmp\n");
    box_done(&b);
}

static void namespaces_that_make_no_sense_are_refused_by_name(void **state)
{
    static const struct {
        const char *entry, *message;
    } cases[] = {
        {"{\"type\":\"pid\"}", "\"pid\" is listed twice"},
        {"{\"type\":\"nonsense\"}", "\"nonsense\""},
        {"{\"type\":7}", "linux.namespaces.type"},
        {"{}", "unknown namespace type \"\""},
        {"7", "linux.namespaces"},
        {"{\"type\":\"network\",\"path\":\"relative\"}", "relative"},
        {"{\"type\":\"network\",\"path\":\"/no/such\"}", "/no/such"},
        {"{\"type\":\"network\",\"path\":\"/etc/passwd\"}", "is not a namespace"},
        {"{\"type\":\"network\",\"path\":\"/proc/self/ns/uts\"}", "is not a namespace of type"},
        {"{\"type\":\"user\"}", "uidMappings"},
        {"{\"type\":\"user\",\"path\":\"/proc/self/ns/pid\"}", "is not a namespace of type"},
    };
    struct box b;
    box_init(&b);
    const char *args[] = {"true", NULL};
    box_args(&b, args);
    json_t *list = json_object_get(box_linux(&b), "namespaces");
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        json_t *entry = json_loads(cases[i].entry, JSON_DECODE_ANY, NULL);
        json_array_append_new(list, entry);
        box_run(&b);
        assert_int_equal(b.status, -1);
        assert_contains(b.err.msg, cases[i].message);
        json_array_remove(list, json_array_size(list) - 1);
    }
    map_ids(&b);
    remove_namespace(&b, "user");
    box_run(&b);
    assert_contains(b.err.msg, "no user namespace");
    json_object_del(box_linux(&b), "uidMappings");
    json_object_del(box_linux(&b), "gidMappings");
    remove_namespace(&b, "uts");
    box_run(&b);
    assert_contains(b.err.msg, "\"hostname\"");
    box_done(&b);
}

/* The test's own network namespace, with a veth in it whose end "v0" is to be moved. False: no `ip` here. */
static bool wire_v0(void)
{
    static const char setup[] =
        "ip link add v0 mtu 1400 type veth peer name v1 && ip addr add 10.99.0.2/24 dev v0 &&"
        "ip addr add 169.254.7.7/16 scope link dev v0 &&"
        "{ [ ! -e /proc/net/if_inet6 ] || ip addr add fd99::2/64 dev v0; }";
    assert_int_equal(unshare(CLONE_NEWNET), 0);
    return system("ip -V >/dev/null 2>&1") == 0 && system(setup) == 0;
}

static void set_device(struct box *b, const char *from, const char *to)
{
    json_object_set_new(box_linux(b), "netDevices", json_pack("{s:{s:s*}}", from, "name", to));
}

static void assert_refused(struct box *b, const char *message)
{
    box_run(b);
    assert_int_equal(b->status, -1);
    assert_contains(b->err.msg, message);
    assert_int_equal(system("ip link show v0 >/dev/null"), 0);
}

static void network_devices_are_moved_with_their_addresses_and_up(void **state)
{
    struct box b;
    box_init(&b);
    _cleanup_close_ int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (!wire_v0()) {
        assert_int_equal(setns(home, CLONE_NEWNET), 0);
        box_done(&b);
        print_message("skipped: needs ip(8) and veth\n");
        skip();
    }
    box_args(&b, (const char *const[]){"true", NULL});
    bool six = file_exists("/proc/net/if_inet6");
    remove_namespace(&b, "network");
    set_device(&b, "v0", NULL);
    assert_refused(&b, "without a NET namespace");
    add_namespace(&b, "network", NULL);
    set_device(&b, "nowhere", "v0");
    assert_refused(&b, "no network device nowhere");
    set_device(&b, "v0", "lo");
    assert_refused(&b, "lo in the container already");
    set_device(&b, "v0", "not/a name");
    assert_refused(&b, "no name of a network device");
    set_device(&b, "v0", "lo%d");
    const char *shown = box_sh(&b, "busybox ip addr show lo0");
    assert_contains(shown, "inet 10.99.0.2/24");
    assert_contains(shown, ",UP");
    assert_contains(shown, "mtu 1400");
    if (six)
        assert_contains(shown, "inet6 fd99::2/64");
    assert_null(strstr(shown, "169.254"));
    /* Into one that is joined, and keeping its name. */
    assert_int_equal(unshare(CLONE_NEWNET), 0);
    _cleanup_close_ int joined = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    assert_true(wire_v0());
    _cleanup_free_ char *path = str_printf("/proc/%d/fd/%d", (int)getpid(), joined);
    add_namespace(&b, "network", path);
    set_device(&b, "v0", NULL);
    assert_contains(box_sh(&b, "busybox ip addr show v0"), "inet 10.99.0.2/24");
    assert_int_not_equal(system("ip link show v0 2>/dev/null"), 0);
    assert_int_equal(setns(home, CLONE_NEWNET), 0);
    box_done(&b);
}

static void one_that_is_our_own_counts_as_none(void **state)
{
    struct box b;
    box_init(&b);
    add_namespace(&b, "ipc", "/proc/self/ns/ipc");
    add_namespace(&b, "user", "/proc/self/ns/user");
    assert_contains(box_sh(&b, show), link_of(getpid(), "ipc"));
    json_object_set_new(box_linux(&b), "sysctl", json_pack("{s:s}", "kernel.shmmni", "777"));
    box_run(&b);
    assert_int_equal(b.status, -1);
    assert_contains(b.err.msg, "kernel.shmmni");
    box_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_user_namespace_has_its_maps_and_everything_works_in_it),
        cmocka_unit_test(ids_of_the_process_are_mapped_and_unmapped_ones_refused),
        cmocka_unit_test(a_map_of_many_extents_is_written),
        cmocka_unit_test(namespaces_of_another_container_are_joined),
        cmocka_unit_test(a_user_namespace_is_joined_with_what_belongs_to_it),
        cmocka_unit_test(exec_enters_a_user_namespace_and_a_time_namespace),
        cmocka_unit_test(clocks_of_a_time_namespace_are_set_off),
        cmocka_unit_test(a_mount_namespace_is_joined),
        cmocka_unit_test(without_a_mount_namespace_nothing_is_mounted_and_the_root_is_changed),
        cmocka_unit_test(namespaces_that_make_no_sense_are_refused_by_name),
        cmocka_unit_test(network_devices_are_moved_with_their_addresses_and_up),
        cmocka_unit_test(one_that_is_our_own_counts_as_none),
    };
    return cmocka_run_group_tests_name("runtime_namespaces", tests, NULL, NULL);
}
