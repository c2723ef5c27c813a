/* Devices, masked and read-only paths, propagation and cgroups of containers that are really launched. */
#include "runtime_mounts.h"

/* --- devices --- */

static void devices_of_every_type_are_made_with_mode_and_owner(void **state)
{
    struct box b;
    box_init(&b);
    json_t *devices = json_object_get(box_linux(&b), "devices");
    static const struct {
        const char *path, *type;
        int major, minor, mode;
    } cases[] = {
        {"/dev/c", "c", 1, 3, 0640},   {"/dev/deep/b", "b", 7, 250, 0600},  {"/dev/u/", "u", 1, 8, 0444},
        {"/dev/p", "p", -1, -1, 0622}, {"/opt/outside", "c", 1, 7, 020666}, {"/dev/null", "c", 1, 3, 0606},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        json_t *d = json_pack("{s:s,s:s,s:i,s:i,s:i}", "path", cases[i].path, "type", cases[i].type,
                              "fileMode", cases[i].mode, "uid", 11, "gid", 12);
        if (cases[i].major >= 0) {
            json_object_set_new(d, "major", json_integer(cases[i].major));
            json_object_set_new(d, "minor", json_integer(cases[i].minor));
        }
        json_array_append_new(devices, d);
    }
    const char *text = box_sh(&b, "stat -c '%F %t:%T %a %u:%g' /dev/c /dev/deep/b /dev/u /dev/p /opt/outside "
                                  "/dev/null /dev/zero; for l in fd stdin stdout stderr ptmx core; do "
                                  "readlink /dev/$l; done; echo x > /dev/null");
    assert_contains(text, "character special file 1:3 640 11:12\nblock special file 7:fa 600 11:12\n"
                          "character special file 1:8 444 11:12\nfifo 0:0 622 11:12\n"
                          "character special file 1:7 666 11:12\ncharacter special file 1:3 606 11:12\n"
                          "character special file 1:5 666 0:0\n");
    assert_contains(text, "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\n"
                          "/proc/kcore\n");
    box_done(&b);
}

static void a_device_that_cannot_be_is_refused_by_its_path(void **state)
{
    static const struct {
        const char *json, *message;
    } cases[] = {
        {"{\"path\":\"dev/x\",\"type\":\"c\",\"major\":1,\"minor\":3}", "must be absolute"},
        {"{\"path\":\"/dev/x\",\"type\":\"z\",\"major\":1,\"minor\":3}", "unknown type \"z\""},
        {"{\"path\":\"/dev/x\",\"type\":\"c\",\"major\":1}", "major and minor"},
        {"{\"path\":\"/dev/x\",\"type\":\"c\",\"major\":70000,\"minor\":3}", "major and minor"},
        {"{\"path\":\"/dev/x\",\"type\":\"c\",\"major\":1,\"minor\":3,\"uid\":-5}", "out of range"},
        {"{\"path\":\"//\",\"type\":\"c\",\"major\":1,\"minor\":3}", "does not name a file"},
        {"{\"path\":\"/etc/plain\",\"type\":\"c\",\"major\":1,\"minor\":3}", "another file there"},
        {"{\"path\":\"/etc/other\",\"type\":\"c\",\"major\":1,\"minor\":3}", "another file there"},
        {"[]", "must be an object"},
    };
    struct box b;
    box_init(&b);
    box_file(b.root, "etc/plain", "x", 0644);
    put_link(b.root, "etc/other", "/dev/null");
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        json_t *devices = json_array(), *device;
        struct err err;
        assert_ok(json_parse(cases[i].json, strlen(cases[i].json), "device", &device, &err), &err);
        json_array_append_new(devices, device);
        json_object_set_new(box_linux(&b), "devices", devices);
        assert_refused(&b, cases[i].message);
    }
    box_done(&b);
}

static void a_node_that_the_image_has_already_is_taken_when_it_is_the_same(void **state)
{
    struct box b;
    box_init(&b);
    forget_mount(&b, "/dev");
    _cleanup_free_ char *node = str_printf("%s/dev/zero", b.root);
    assert_int_equal(mknod(node, S_IFCHR | 0600, makedev(1, 5)), 0);
    assert_contains(box_sh(&b, "stat -c '%t:%T %a' /dev/zero /dev/full"), "1:5 666\n1:7 666\n");
    assert_int_equal(unlink(node), 0);
    box_file(b.root, "dev/zero", "x", 0666);
    assert_refused(&b, "cannot make device /dev/zero");
    box_done(&b);
}

static void a_bound_dev_is_left_alone(void **state)
{
    struct box b;
    box_init(&b);
    _cleanup_free_ char *dev = make_dir(&b, "own-dev");
    static const char *const gone[] = {"/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"};
    for (size_t i = 0; i < ARRAY_SIZE(gone); i++)
        forget_mount(&b, gone[i]);
    json_object_del(box_linux(&b), "maskedPaths");
    add_mount(&b, "/dev", "bind", dev, "rbind");
    json_object_set_new(box_linux(&b), "devices",
                        json_pack("[{s:s,s:s,s:i,s:i},{s:s,s:s,s:i,s:i}]", "path", "/opt/outside", "type",
                                  "c", "major", 1, "minor", 7, "path", "/dev/inside", "type", "c", "major", 1,
                                  "minor", 7));
    assert_string_equal(box_sh(&b, "ls /dev; stat -c %t:%T /opt/outside"), "1:7\n");
    box_done(&b);
}

/* --- the root, masked and read-only paths --- */

static void masked_and_read_only_paths_may_be_anywhere_or_missing(void **state)
{
    struct box b;
    box_init(&b);
    _cleanup_free_ char *secret = str_printf("%s/opt/secret", b.root);
    struct err err;
    assert_ok(file_mkdirs(secret, 0755, &err), &err);
    box_file(b.root, "opt/secret/file", "x", 0644);
    box_file(b.root, "etc/key", "key", 0644);
    box_file(b.root, "etc/fixed", "fixed", 0644);
    put_link(b.root, "etc/link", "fixed");
    json_t *masked = json_object_get(box_linux(&b), "maskedPaths");
    json_t *fixed = json_object_get(box_linux(&b), "readonlyPaths");
    json_array_append_new(masked, json_string("/opt/secret"));
    json_array_append_new(masked, json_string("/etc/key"));
    json_array_append_new(masked, json_string("/no/such"));
    json_array_append_new(fixed, json_string("/etc/link"));
    json_array_append_new(fixed, json_string("/no/such"));
    json_array_append_new(fixed, json_string("/tmp"));
    const char *text = box_sh(&b, "ls /opt/secret; touch /opt/secret/x; cat /etc/key; echo x > /etc/fixed;"
                                  "touch /tmp/x; touch /y && echo y; umount /etc/key; mount -o remount,rw "
                                  "/opt/secret; cat /sys/firmware/* /proc/keys; echo end");
    assert_contains(text, "touch: /opt/secret/x: Read-only file system\n");
    assert_contains(text, "can't create /etc/fixed: Read-only file system\n");
    assert_contains(text, "touch: /tmp/x: Read-only file system\ny\n");
    assert_contains(text, "end\n");
    assert_lacks(text, "key\n");
    json_array_append_new(fixed, json_string("etc/fixed"));
    assert_refused(&b, "\"linux.readonlyPaths\": \"etc/fixed\" is not an absolute path");
    json_array_append_new(masked, json_string("../etc"));
    assert_refused(&b, "\"linux.maskedPaths\": \"../etc\" is not an absolute path");
    box_done(&b);
}

/* Also for a container that may do anything: what covers is shared with others. */
static void a_masked_directory_cannot_be_written_by_anybody(void **state)
{
    struct box b;
    box_init(&b);
    json_t *all = json_of_strv(runtime_all_capabilities());
    static const char *const sets[] = {"bounding", "effective", "permitted"};
    for (size_t i = 0; i < ARRAY_SIZE(sets); i++)
        json_object_set(json_object_get(box_process(&b), "capabilities"), sets[i], all);
    json_decref(all);
    json_object_del(box_linux(&b), "seccomp");
    const char *text = box_sh(&b, "touch /sys/firmware/x; mount -o remount,bind,rw /sys/firmware; "
                                  "touch /sys/firmware/x; ls /sys/firmware; echo end");
    assert_contains(text, "Read-only file system\n");
    assert_contains(text, "touch: /sys/firmware/x: ");
    assert_lacks(text, "\nx\n");
    box_done(&b);
}

static void the_roots_propagation_is_the_configs(void **state)
{
    static const struct {
        const char *value, *shown;
    } cases[] = {
        {"private", " - "}, {"rprivate", " - "}, {"shared", "shared:"},        {"rshared", "shared:"},
        {"slave", ""},      {"rslave", ""},      {"unbindable", "unbindable"}, {"runbindable", "unbindable"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct box b;
        box_init(&b);
        json_object_set_new(box_linux(&b), "rootfsPropagation", json_string(cases[i].value));
        const char *text =
            box_sh(&b, "grep ' / / ' /proc/self/mountinfo || grep '/root / ' /proc/self/mountinfo");
        assert_contains(text, cases[i].shown);
        box_done(&b);
    }
    struct box b;
    box_init(&b);
    json_object_set_new(box_linux(&b), "rootfsPropagation", json_string("sideways"));
    assert_refused(&b, "\"sideways\"");
    box_done(&b);
}

static void without_pivot_root_the_host_is_out_of_sight_too(void **state)
{
    struct box b;
    box_init(&b);
    b.no_pivot = true;
    const char *text = box_sh(&b, "ls /; ls /root /proc/1/root/root 2>&1; cat /proc/1/comm");
    assert_contains(text, "bin\ndev\netc\nproc\nsys\ntmp\n");
    assert_contains(text, "/root: No such file");
    box_done(&b);
}

static void a_volatile_overlay_can_be_mounted_again(void **state)
{
    struct box b;
    box_init(&b);
    static const char *const dirs[] = {"layers/base", "upper", "work", "merged"};
    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
        free(make_dir(&b, dirs[i]));
    _cleanup_free_ char *base = str_printf("%s/layers/base", b.dir);
    _cleanup_free_ char *layers = str_printf("%s/layers", b.dir);
    _cleanup_free_ char *upper = str_printf("%s/upper", b.dir);
    _cleanup_free_ char *work = str_printf("%s/work", b.dir);
    box_tree(base);
    const char *lowers[] = {"base", NULL};
    b.overlay = (struct runtime_overlay){
        .layers_dir = layers, .lowers = lowers, .upper = upper, .work = work, .is_volatile = true};
    free(b.root);
    b.root = str_printf("%s/merged", b.dir);
    assert_contains(box_sh(&b, "echo one > /written; grep -o volatile /proc/mounts"), "volatile\n");
    assert_contains(box_sh(&b, "cat /written"), "one\n");
    b.overlay.is_volatile = false;
    box_done(&b);
}

/* --- cgroups --- */

static void the_cgroup_mount_shows_the_containers_own_part(void **state)
{
    struct box b;
    box_init(&b);
    const char *text = box_sh(&b, "ls /sys/fs/cgroup | wc -l; grep -c . /sys/fs/cgroup/pids/tasks "
                                  "/sys/fs/cgroup/cgroup.procs 2>/dev/null; touch /sys/fs/cgroup/x 2>&1;"
                                  "grep ' /sys/fs/cgroup' /proc/mounts | grep -c ' rw,'");
    assert_contains(text, "Read-only file system");
    assert_contains(text, "\n0\n");
    /* Without a cgroup namespace just the same. */
    json_t *namespaces = json_object_get(box_linux(&b), "namespaces");
    for (size_t i = json_array_size(namespaces); i-- > 0;)
        if (str_eq(json_str(json_array_get(namespaces, i), "type"), "cgroup"))
            json_array_remove(namespaces, i);
    text = box_sh(&b, "cat /sys/fs/cgroup/pids/tasks /sys/fs/cgroup/cgroup.procs 2>/dev/null | head -1");
    assert_contains(text, "1\n");
    /* And writable when the config says so. */
    forget_mount(&b, "/sys/fs/cgroup");
    add_mount(&b, "/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,rw");
    text = box_sh(&b, "mkdir -p /sys/fs/cgroup/pids/below 2>/dev/null || mkdir /sys/fs/cgroup/below; echo $?;"
                      "rmdir /sys/fs/cgroup/pids/below 2>/dev/null || rmdir /sys/fs/cgroup/below");
    assert_contains(text, "0\n");
    box_done(&b);
}

static void no_mount_of_a_container_is_left_on_the_host(void **state)
{
    struct box b;
    box_init(&b);
    struct err err;
    _cleanup_str_ struct str before = STR_INIT, after = STR_INIT;
    assert_ok(file_read("/proc/self/mountinfo", 1 << 20, &before, &err), &err);
    add_mount(&b, "/t", "tmpfs", "tmpfs", "tmpcopyup");
    box_sh(&b, "true");
    add_mount(&b, "/x", "bind", "/no/such", "bind");
    run_true(&b);
    assert_ok(file_read("/proc/self/mountinfo", 1 << 20, &after, &err), &err);
    assert_string_equal(str_get(&before), str_get(&after));
    box_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices_of_every_type_are_made_with_mode_and_owner),
        cmocka_unit_test(a_device_that_cannot_be_is_refused_by_its_path),
        cmocka_unit_test(a_node_that_the_image_has_already_is_taken_when_it_is_the_same),
        cmocka_unit_test(a_bound_dev_is_left_alone),
        cmocka_unit_test(masked_and_read_only_paths_may_be_anywhere_or_missing),
        cmocka_unit_test(a_masked_directory_cannot_be_written_by_anybody),
        cmocka_unit_test(the_roots_propagation_is_the_configs),
        cmocka_unit_test(without_pivot_root_the_host_is_out_of_sight_too),
        cmocka_unit_test(a_volatile_overlay_can_be_mounted_again),
        cmocka_unit_test(the_cgroup_mount_shows_the_containers_own_part),
        cmocka_unit_test(no_mount_of_a_container_is_left_on_the_host),
    };
    return cmocka_run_group_tests_name("runtime_root", tests, NULL, NULL);
}
