/* Containers are really launched here, from a busybox root in a scratch directory. */
#include "runtime_box.h"

#include "base/timeutil.h"
#include "runtime/starter.h"

#include <limits.h>
#include <sys/socket.h>

static void exit_status_and_output_come_back(void **state)
{
    struct box b;
    box_init(&b);
    assert_string_equal(box_sh(&b, "echo out; echo err >&2; exit 7"), "out\nerr\n");
    assert_int_equal(b.status, 7);
    box_sh(&b, "kill -9 $$");
    /* The first process of a pid namespace does not get its own signals. */
    assert_int_equal(b.status, 0);
    box_done(&b);
}

static void namespaces_are_its_own(void **state)
{
    struct box b;
    box_init(&b);
    static const char *const types[] = {"pid", "mnt", "uts", "ipc", "cgroup"};
    const char *inside = box_sh(&b, "echo pid=$$ host=$(hostname); for n in pid mnt uts ipc cgroup net; do "
                                    "readlink /proc/self/ns/$n; done");
    assert_contains(inside, "pid=1 host=box\n");
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        char path[64], own[64];
        snprintf(path, sizeof(path), "/proc/self/ns/%s", types[i]);
        ssize_t n = readlink(path, own, sizeof(own) - 1);
        assert_true(n > 0);
        own[n] = '\0';
        assert_lacks(inside, own);
    }
    /* The network namespace was not asked for. */
    char own[64];
    ssize_t n = readlink("/proc/self/ns/net", own, sizeof(own) - 1);
    own[n > 0 ? n : 0] = '\0';
    assert_contains(inside, own);
    box_done(&b);
}

static void a_new_network_namespace_has_loopback_up(void **state)
{
    struct box b;
    box_init(&b);
    json_array_append_new(json_object_get(box_linux(&b), "namespaces"),
                          json_pack("{s:s}", "type", "network"));
    assert_contains(box_sh(&b, "cat /proc/net/dev | wc -l; cat /sys/class/net/lo/flags"), "3\n0x9");
    box_done(&b);
}

static void a_passed_network_namespace_is_joined(void **state)
{
    struct box b;
    box_init(&b);
    pid_t holder = fork();
    if (holder == 0) {
        if (unshare(CLONE_NEWNET) < 0)
            _exit(1);
        raise(SIGSTOP);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(holder, &status, WUNTRACED), holder);
    char path[64], name[64];
    snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)holder);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = readlink(path, name, sizeof(name) - 1);
    assert_true(fd >= 0 && n > 0);
    name[n] = '\0';
    kill(holder, SIGCONT);
    box_wait(holder);
    b.fds = &fd;
    b.fd_count = 1;
    json_array_append_new(json_object_get(box_linux(&b), "namespaces"),
                          json_pack("{s:s,s:s}", "type", "network", "path", "fd:0"));
    assert_contains(box_sh(&b, "readlink /proc/self/ns/net"), name);
    close(fd);
    box_done(&b);
}

static void host_mounts_and_files_are_out_of_sight(void **state)
{
    struct box b;
    box_init(&b);
    const char *text =
        box_sh(&b, "cat /proc/self/mountinfo | wc -l; ls /; ls /root 2>&1; ls -d /proc/1/root/work 2>&1");
    assert_contains(text, "bin\ndev\netc\nproc\nsys\ntmp\n");
    assert_contains(text, "/root: No such file");
    assert_contains(text, "/proc/1/root/work: No such file");
    box_done(&b);
}

static void masked_paths_are_empty_and_readonly_ones_refuse(void **state)
{
    struct box b;
    box_init(&b);
    const char *text = box_sh(
        &b,
        "wc -c < /proc/keys; ls /sys/firmware | wc -l; wc -c < /proc/timer_list;"
        "echo 1 > /proc/sys/vm/swappiness; echo x > /proc/irq/default_smp_affinity; touch /sys/x; echo end");
    assert_contains(text, "0\n0\n0\n");
    assert_contains(text, "can't create /proc/sys/vm/swappiness: Read-only file system");
    assert_contains(text, "can't create /proc/irq/default_smp_affinity: Read-only file system");
    assert_contains(text, "/sys/x: Read-only file system");
    box_done(&b);
}

static void capabilities_are_dockers_fourteen_and_go_with_another_user(void **state)
{
    struct box b;
    box_init(&b);
    const char *text = box_sh(&b, "grep -E 'Cap|NoNew|Seccomp:' /proc/self/status");
    assert_contains(text,
                    "CapInh:\t0000000000000000\nCapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\n"
                    "CapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\nNoNewPrivs:\t0\nSeccomp:\t2\n");
    json_object_set_new(box_process(&b), "user",
                        json_pack("{s:i,s:i,s:[i,i]}", "uid", 1000, "gid", 1001, "additionalGids", 7, 8));
    json_object_set_new(box_process(&b), "noNewPrivileges", json_true());
    text = box_sh(&b, "grep -E 'Cap|NoNew|Seccomp:|^Uid|^Gid|Groups' /proc/self/status");
    assert_contains(text, "Uid:\t1000\t1000\t1000\t1000\nGid:\t1001\t1001\t1001\t1001\nGroups:\t7 8 \n");
    assert_contains(text,
                    "CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t00000000a80425fb\n");
    assert_contains(text, "NoNewPrivs:\t1\nSeccomp:\t2\n");
    box_done(&b);
}

static void an_ambient_capability_reaches_a_plain_user(void **state)
{
    struct box b;
    box_init(&b);
    json_object_set_new(box_process(&b), "user", json_pack("{s:i,s:i}", "uid", 1000, "gid", 1000));
    static const char *const sets[] = {"bounding", "effective", "permitted", "inheritable", "ambient"};
    for (size_t i = 0; i < ARRAY_SIZE(sets); i++)
        json_object_set_new(json_object_get(box_process(&b), "capabilities"), sets[i],
                            json_pack("[s]", "CAP_NET_BIND_SERVICE"));
    assert_contains(box_sh(&b, "grep Cap /proc/self/status"),
                    "CapEff:\t0000000000000400\nCapBnd:\t0000000000000400\n"
                    "CapAmb:\t0000000000000400\n");
    box_done(&b);
}

static void an_ambient_capability_that_is_not_inheritable_is_left_out(void **state)
{
    struct box b;
    box_init(&b);
    json_t *capabilities = json_object_get(box_process(&b), "capabilities");
    json_object_del(capabilities, "inheritable");
    json_object_set_new(capabilities, "ambient", json_pack("[s]", "CAP_KILL"));
    assert_contains(box_sh(&b, "grep CapAmb /proc/self/status"), "CapAmb:\t0000000000000000\n");
    box_done(&b);
}

static void descriptors_and_environment_of_the_engine_stay_outside(void **state)
{
    struct box b;
    box_init(&b);
    int leak = open("/etc/hostname", O_RDONLY); /* on purpose without CLOEXEC */
    assert_true(leak > 2);
    setenv("DROVER_TEST_SECRET", "swordfish", 1);
    json_object_set_new(box_process(&b), "env", json_pack("[s,s]", "PATH=/bin", "A=b"));
    const char *text =
        box_sh(&b, "cat /proc/self/environ | grep -c swordfish; ls /proc/$$/fd; echo end; env");
    assert_lacks(text, "swordfish");
    assert_contains(text, "0\n0\n1\n2\nend\n");
    assert_contains(text, "A=b\n");
    unsetenv("DROVER_TEST_SECRET");
    close(leak);
    box_done(&b);
}

static void ignored_and_blocked_signals_are_not_inherited(void **state)
{
    struct box b;
    box_init(&b);
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, &old);
    void (*before)(int) = signal(SIGPIPE, SIG_IGN);
    assert_contains(box_sh(&b, "exec grep -E 'SigBlk|SigIgn' /proc/self/status"),
                    "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
    signal(SIGPIPE, before);
    sigprocmask(SIG_SETMASK, &old, NULL);
    box_done(&b);
}

static void a_missing_program_and_one_that_cannot_run_are_told_apart(void **state)
{
    static const struct {
        const char *program;
        int code;
        const char *message;
    } cases[] = {
        {"foo", ERR_NOT_FOUND, "exec: \"foo\": executable file not found in $PATH"},
        {"/bin/foo", ERR_NOT_FOUND, "exec: \"/bin/foo\": stat /bin/foo: no such file or directory"},
        {"/etc", ERR_DENIED, "permission denied"},
        {"/etc/plain", ERR_DENIED, "exec: \"/etc/plain\": permission denied"},
        {"plain", ERR_DENIED, "exec: \"plain\": permission denied"},
        {"/bin/garbage", ERR_DENIED, "exec /bin/garbage: exec format error"},
        {"/bin/script", ERR_NOT_FOUND, "its interpreter or loader is missing in the image"},
    };
    struct box b;
    box_init(&b);
    box_file(b.root, "etc/plain", "x", 0644);
    box_file(b.root, "bin/plain", "x", 0644);
    box_file(b.root, "bin/garbage", "garbage", 0755);
    box_file(b.root, "bin/script", "#!/no/such\n", 0755);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const char *args[] = {cases[i].program, NULL};
        box_args(&b, args);
        box_run(&b);
        assert_int_equal(b.status, -1);
        assert_contains(b.err.msg, cases[i].message);
        assert_int_equal(b.err.code, cases[i].code);
    }
    box_done(&b);
}

/* The image says that /etc is wherever the host's files are; a mount at /etc/x must land inside. */
static void a_symlink_in_the_image_does_not_lead_a_mount_outside(void **state)
{
    struct box b;
    box_init(&b);
    _cleanup_free_ char *victim = str_printf("%s/victim", b.dir);
    _cleanup_free_ char *evil = str_printf("%s/evil", b.root);
    _cleanup_free_ char *up = str_printf("%s/up", b.root);
    _cleanup_free_ char *source = str_printf("%s/source", b.dir);
    assert_int_equal(mkdir(victim, 0755), 0);
    assert_int_equal(mkdir(source, 0755), 0);
    assert_int_equal(symlink(victim, evil), 0);
    assert_int_equal(symlink("../../../../../../tmp", up), 0);
    box_file(b.dir, "source/here", "hello", 0644);
    json_t *mounts = json_object_get(b.spec, "mounts");
    json_array_append_new(mounts, json_pack("{s:s,s:s,s:s,s:[s]}", "destination", "/up/deep/dir", "type",
                                            "bind", "source", source, "options", "rbind"));
    assert_contains(box_sh(&b, "cat /tmp/deep/dir/here"), "hello");
    assert_false(file_exists("/tmp/deep/dir"));
    json_array_append_new(mounts, json_pack("{s:s,s:s,s:s,s:[s]}", "destination", "/evil/dir", "type", "bind",
                                            "source", source, "options", "rbind"));
    const char *args[] = {"true", NULL};
    box_args(&b, args);
    box_run(&b);
    _cleanup_free_ char *landed = str_printf("%s/dir", victim);
    assert_false(file_exists(landed));
    box_done(&b);
}

static void proc_as_a_symlink_is_refused(void **state)
{
    struct box b;
    box_init(&b);
    _cleanup_free_ char *proc = str_printf("%s/proc", b.root);
    assert_int_equal(rmdir(proc), 0);
    assert_int_equal(symlink("/tmp", proc), 0);
    const char *args[] = {"true", NULL};
    box_args(&b, args);
    box_run(&b);
    assert_int_equal(b.status, -1);
    assert_contains(b.err.msg, "/proc is a symbolic link");
    box_done(&b);
}

static void a_working_directory_outside_is_refused(void **state)
{
    struct box b;
    box_init(&b);
    int leak = open("/", O_RDONLY | O_DIRECTORY);
    for (int fd = 3; fd < 12; fd++) {
        _cleanup_free_ char *cwd = str_printf("/proc/self/fd/%d", fd);
        json_object_set_new(box_process(&b), "cwd", json_string(cwd));
        const char *args[] = {"ls", "-d", "work", NULL};
        box_args(&b, args);
        box_run(&b);
        assert_int_equal(b.status, -1);
    }
    close(leak);
    json_object_set_new(box_process(&b), "cwd", json_string("/nowhere"));
    box_run(&b);
    assert_int_equal(b.status, -1);
    assert_contains(b.err.msg, "chdir to cwd (\"/nowhere\")");
    json_object_set_new(box_process(&b), "cwd", json_string("/tmp"));
    assert_contains(box_sh(&b, "pwd"), "/tmp\n");
    box_done(&b);
}

static void binds_follow_their_options(void **state)
{
    struct box b;
    box_init(&b);
    _cleanup_free_ char *data = str_printf("%s/data", b.dir);
    assert_int_equal(mkdir(data, 0755), 0);
    box_file(b.dir, "data/file", "content\n", 0644);
    box_file(b.dir, "one", "one\n", 0644);
    _cleanup_free_ char *one = str_printf("%s/one", b.dir);
    json_t *mounts = json_object_get(b.spec, "mounts");
    json_array_append_new(mounts, json_pack("{s:s,s:s,s:s,s:[s,s,s,s]}", "destination", "/ro", "type", "bind",
                                            "source", data, "options", "rbind", "ro", "noexec", "nosuid"));
    json_array_append_new(mounts, json_pack("{s:s,s:s,s:s,s:[s,s]}", "destination", "/rw/below", "type",
                                            "bind", "source", data, "options", "rbind", "rslave"));
    json_array_append_new(mounts, json_pack("{s:s,s:s,s:s,s:[s]}", "destination", "/etc/one", "type", "bind",
                                            "source", one, "options", "bind"));
    json_array_append_new(mounts, json_pack("{s:s,s:s,s:s,s:[s,s]}", "destination", "/scratch", "type",
                                            "tmpfs", "source", "tmpfs", "options", "size=64k", "mode=1777"));
    const char *text =
        box_sh(&b, "cat /ro/file /etc/one; touch /ro/x; echo new > /rw/below/new; grep ' /ro ' /proc/mounts;"
                   "stat -c %a /scratch; dd if=/dev/zero of=/scratch/x bs=1k count=100 2>&1 | grep space");
    assert_contains(text, "content\none\ntouch: /ro/x: Read-only file system\n");
    assert_contains(text, " ro,nosuid,noexec,");
    assert_contains(text, "1777\n");
    assert_contains(text, "No space left");
    _cleanup_free_ char *made = str_printf("%s/new", data);
    assert_true(file_exists(made));
    box_done(&b);
}

static void a_recursive_read_only_bind_covers_the_mounts_below(void **state)
{
    struct box b;
    box_init(&b);
    _cleanup_free_ char *below = str_printf("%s/data/below", b.dir);
    _cleanup_free_ char *data = str_printf("%s/data", b.dir);
    struct err err;
    assert_ok(file_mkdirs(below, 0755, &err), &err);
    assert_int_equal(mount("tmpfs", below, "tmpfs", 0, NULL), 0);
    json_t *mounts = json_object_get(b.spec, "mounts");
    json_array_append_new(mounts, json_pack("{s:s,s:s,s:s,s:[s,s]}", "destination", "/a", "type", "bind",
                                            "source", data, "options", "rbind", "ro"));
    json_array_append_new(mounts, json_pack("{s:s,s:s,s:s,s:[s,s]}", "destination", "/b", "type", "bind",
                                            "source", data, "options", "rbind", "rro"));
    box_sh(&b, "touch /a/below/x && echo a-written; touch /b/below/x 2>&1 && echo b-written");
    umount2(below, MNT_DETACH);
    assert_contains(str_get(&b.output), "a-written\n");
    assert_contains(str_get(&b.output), "touch: /b/below/x: Read-only file system");
    box_done(&b);
}

static void a_read_only_root_refuses_writes_but_not_in_dev(void **state)
{
    struct box b;
    box_init(&b);
    json_object_set_new(json_object_get(b.spec, "root"), "readonly", json_true());
    const char *text = box_sh(&b, "touch /x; touch /dev/shm/y && echo shm; echo z > /dev/null && echo null");
    assert_contains(text, "touch: /x: Read-only file system\nshm\nnull\n");
    box_done(&b);
}

static void an_overlay_root_takes_writes_into_the_upper_layer(void **state)
{
    struct box b;
    box_init(&b);
    static const char *const dirs[] = {"layers/top", "layers/base", "upper", "work", "merged"};
    struct err err;
    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
        _cleanup_free_ char *dir = str_printf("%s/%s", b.dir, dirs[i]);
        assert_ok(file_mkdirs(dir, 0755, &err), &err);
    }
    _cleanup_free_ char *base = str_printf("%s/layers/base", b.dir);
    _cleanup_free_ char *layers = str_printf("%s/layers", b.dir);
    _cleanup_free_ char *upper = str_printf("%s/upper", b.dir);
    _cleanup_free_ char *work = str_printf("%s/work", b.dir);
    box_tree(base);
    box_file(b.dir, "layers/top/word", "top\n", 0644);
    box_file(b.dir, "layers/base/word", "base\n", 0644);
    const char *lowers[] = {"top", "base", NULL};
    b.overlay =
        (struct runtime_overlay){.layers_dir = layers, .lowers = lowers, .upper = upper, .work = work};
    free(b.root);
    b.root = str_printf("%s/merged", b.dir);
    assert_contains(box_sh(&b, "cat /word; echo new > /written; cat /written"), "top\nnew\n");
    _cleanup_free_ char *written = str_printf("%s/upper/written", b.dir);
    _cleanup_free_ char *merged = str_printf("%s/merged/word", b.dir);
    assert_true(file_exists(written));
    assert_false(file_exists(merged)); /* the mount went with the container */
    /* Without an upper layer it is read-only, also with a single lower one. */
    b.overlay.upper = b.overlay.work = NULL;
    _cleanup_free_ char *ready = str_printf("%s/proc", base);
    assert_contains(box_sh(&b, "cat /word; touch /x"), "top\ntouch: /x: Read-only file system");
    const char *one[] = {"base", NULL};
    b.overlay.lowers = one;
    assert_contains(box_sh(&b, "cat /word; touch /x"), "base\ntouch: /x: Read-only file system");
    box_done(&b);
}

static void devices_work_and_others_are_refused(void **state)
{
    struct box b;
    box_init(&b);
    json_array_append_new(json_object_get(box_linux(&b), "devices"),
                          json_pack("{s:s,s:s,s:i,s:i,s:i,s:i,s:i}", "path", "/dev/extra", "type", "c",
                                    "major", 1, "minor", 5, "fileMode", 0640, "uid", 3, "gid", 4));
    const char *text =
        box_sh(&b, "echo x > /dev/null; dd if=/dev/zero bs=1 count=1 2>/dev/null | wc -c;"
                   "stat -c '%a %u %g' /dev/extra; readlink /dev/fd; readlink /dev/ptmx;"
                   "mknod /tmp/mem c 1 1 && cat /tmp/mem; mknod /tmp/vda b 254 0 && dd if=/tmp/vda count=1");
    assert_contains(text, "1\n640 3 4\n/proc/self/fd\npts/ptmx\n");
    assert_contains(text, "can't open '/tmp/mem': Operation not permitted");
    assert_contains(text, "can't open '/tmp/vda': Operation not permitted");
    box_done(&b);
}

static void a_plain_user_may_start_in_a_directory_of_root(void **state)
{
    struct box b;
    box_init(&b);
    _cleanup_free_ char *dir = str_printf("%s/private", b.root);
    assert_int_equal(mkdir(dir, 0700), 0);
    json_object_set_new(box_process(&b), "user", json_pack("{s:i,s:i}", "uid", 1000, "gid", 1000));
    json_object_set_new(box_process(&b), "cwd", json_string("/private"));
    assert_contains(box_sh(&b, "pwd; ls 2>&1"), "/private\n");
    assert_contains(str_get(&b.output), "Permission denied");
    box_done(&b);
}

static void resource_limits_hold_and_one_that_cannot_be_raised_is_named(void **state)
{
    struct box b;
    box_init(&b);
    json_object_set_new(box_process(&b), "rlimits",
                        json_pack("[{s:s,s:i,s:i}]", "type", "RLIMIT_NOFILE", "soft", 64, "hard", 128));
    assert_contains(box_sh(&b, "ulimit -n; ulimit -Hn"), "64\n128\n");
    struct rlimit now;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &now), 0);
    json_object_set_new(box_process(&b), "rlimits",
                        json_pack("[{s:s,s:I,s:I}]", "type", "RLIMIT_NOFILE", "soft",
                                  (json_int_t)now.rlim_max + 1, "hard", (json_int_t)now.rlim_max + 1));
    const char *args[] = {"true", NULL};
    box_args(&b, args);
    box_run(&b);
    if (b.status < 0) {
        assert_int_equal(b.err.code, ERR_DENIED);
        assert_contains(b.err.msg, "raise RLIMIT_NOFILE from");
    }
    box_done(&b);
}

static void names_sysctls_and_oom_score_are_set(void **state)
{
    struct box b;
    box_init(&b);
    json_object_set_new(b.spec, "domainname", json_string("example"));
    json_object_set_new(box_process(&b), "oomScoreAdj", json_integer(300));
    json_object_set_new(box_linux(&b), "sysctl", json_pack("{s:s}", "kernel.shmmni", "777"));
    assert_contains(
        box_sh(&b,
               "hostname; cat /proc/sys/kernel/domainname /proc/sys/kernel/shmmni /proc/self/oom_score_adj"),
        "box\nexample\n777\n300\n");
    _cleanup_str_ struct str ours = STR_INIT;
    struct err err;
    assert_ok(file_read("/proc/self/oom_score_adj", 64, &ours, &err), &err);
    json_object_del(box_process(&b), "oomScoreAdj");
    assert_string_equal(box_sh(&b, "cat /proc/self/oom_score_adj"), str_get(&ours));
    static const char *const refused[] = {"vm.swappiness", "net.ipv4.ip_forward",
                                          "kernel.msgmax/../../vm/swappiness"};
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
        json_object_set_new(box_linux(&b), "sysctl", json_pack("{s:s}", refused[i], "1"));
        box_run(&b);
        assert_int_equal(b.status, -1);
        assert_contains(b.err.msg, refused[i]);
    }
    box_done(&b);
}

static void what_is_not_supported_is_refused_by_name(void **state)
{
    struct box b;
    box_init(&b);
    const char *args[] = {"true", NULL};
    box_args(&b, args);
    static const char *const refused[] = {"windows", "solaris", "vm", "zos", "freebsd"};
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
        json_object_set_new(b.spec, refused[i], json_pack("{s:s}", "a", "b"));
        box_run(&b);
        assert_int_equal(b.err.code, ERR_UNSUPPORTED);
        assert_contains(b.err.msg, refused[i]);
        json_object_del(b.spec, refused[i]);
    }
    box_done(&b);
}

static void a_memory_limit_kills_and_is_counted(void **state)
{
    struct box b;
    box_init(&b);
    json_object_set_new(json_object_get(box_linux(&b), "resources"), "memory",
                        json_pack("{s:i,s:i}", "limit", 16 << 20, "swap", 16 << 20));
    box_sh(&b, "tail /dev/zero & wait $!; echo $?");
    assert_contains(str_get(&b.output), "137\n");
    assert_true(b.oom);
    box_done(&b);
}

static void a_pids_limit_stops_a_fork_bomb(void **state)
{
    struct box b;
    box_init(&b);
    json_object_set_new(json_object_get(box_linux(&b), "resources"), "pids", json_pack("{s:i}", "limit", 8));
    box_sh(&b, "i=0; while [ $i -lt 20 ]; do sleep 100 & i=$((i+1)); done; echo all");
    assert_contains(str_get(&b.output), "can't fork");
    assert_lacks(str_get(&b.output), "all");
    box_done(&b);
}

static void a_pids_limit_of_zero_lets_nobody_be_born(void **state)
{
    struct box b;
    box_init(&b);
    json_object_set_new(json_object_get(box_linux(&b), "resources"), "pids", json_pack("{s:i}", "limit", 0));
    assert_contains(box_sh(&b, "echo alone; sleep 0; echo not"), "alone\n");
    assert_contains(str_get(&b.output), "can't fork");
    box_done(&b);
}

static size_t count_lines(const char *path)
{
    _cleanup_str_ struct str text = STR_INIT;
    size_t n = 0;
    struct err err;
    assert_ok(file_read(path, 8 << 20, &text, &err), &err);
    for (size_t i = 0; i < text.len; i++)
        n += text.data[i] == '\n';
    return n;
}

static void a_failure_leaves_no_cgroup_mount_or_process(void **state)
{
    struct box b;
    box_init(&b);
    size_t mounts_before = count_lines("/proc/self/mountinfo");
    json_array_append_new(json_object_get(b.spec, "mounts"),
                          json_pack("{s:s,s:s,s:s,s:[s]}", "destination", "/x", "type", "bind", "source",
                                    "/no/such/source", "options", "rbind"));
    const char *args[] = {"true", NULL};
    box_args(&b, args);
    box_run(&b); /* also checks the cgroup */
    assert_int_equal(b.status, -1);
    assert_contains(b.err.msg, "/no/such/source: no such file or directory");
    assert_int_equal(count_lines("/proc/self/mountinfo"), mounts_before);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    box_done(&b);
}

/* --- exec --- */

struct running {
    struct runtime_child child;
    struct cgroup *cgroup;
};

static void start_sleeper(struct box *b, struct running *r)
{
    const char *args[] = {"sleep", "1000", NULL};
    box_args(b, args);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct runtime_launch launch = box_launch(b, null, null);
    struct err err;
    assert_ok(runtime_launch(&launch, &r->cgroup, &r->child, &err), &err);
    assert_ok(runtime_launch_result(r->child.status_fd, &err), &err);
    close(null);
}

static void stop_sleeper(struct running *r)
{
    struct err err;
    assert_ok(cgroup_kill(r->cgroup, SIGKILL, &err), &err);
    assert_int_equal(box_wait(r->child.pid), 137);
    close(r->child.pidfd);
    close(r->child.status_fd);
    assert_ok(cgroup_remove(r->cgroup, &err), &err);
    cgroup_free(r->cgroup);
}

static int exec_in(struct box *b, struct running *run, const json_t *process)
{
    int pipe_fds[2];
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct runtime_launch launch = {.id = b->id, .spec = process, .stdio = {null, pipe_fds[1], pipe_fds[1]}};
    struct runtime_child child;
    int r = runtime_exec(&launch, b->spec, run->child.pid, run->child.pidfd, run->cgroup, &child, &b->err);
    close(pipe_fds[1]);
    close(null);
    str_clear(&b->output);
    int status = -1;
    if (r == 0) {
        r = runtime_launch_result(child.status_fd, &b->err);
        struct err err;
        assert_ok(file_read_fd(pipe_fds[0], 1 << 20, &b->output, &err), &err);
        int exited = box_wait(child.pid);
        status = r == 0 ? exited : -1;
        close(child.status_fd);
        close(child.pidfd);
    }
    close(pipe_fds[0]);
    return status;
}

static void exec_joins_the_container(void **state)
{
    struct box b;
    box_init(&b);
    struct running run;
    start_sleeper(&b, &run);
    _cleanup_json_ json_t *process = json_deep_copy(box_process(&b));
    json_object_set_new(process, "cwd", json_string("/etc"));
    json_object_set_new(
        process, "args",
        json_pack("[s,s,s]", "sh", "-c",
                  "hostname; pwd; for n in pid mnt uts ipc cgroup; do [ $(readlink /proc/1/ns/$n) = "
                  "$(readlink /proc/self/ns/$n) ] && echo same; done; ls /proc/self/fd | wc -l;"
                  "grep -E 'CapEff|CapBnd|Seccomp:' /proc/self/status; ls /; exit 5"));
    assert_int_equal(exec_in(&b, &run, process), 5);
    assert_contains(str_get(&b.output), "box\n/etc\nsame\nsame\nsame\nsame\nsame\n");
    assert_contains(str_get(&b.output),
                    "CapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\nSeccomp:\t2\n");
    assert_lacks(str_get(&b.output), "work");
    json_object_set_new(process, "args", json_pack("[s]", "nothere"));
    assert_int_equal(exec_in(&b, &run, process), -1);
    assert_int_equal(b.err.code, ERR_NOT_FOUND);
    /* A later container is not caught in this one's pid namespace. */
    stop_sleeper(&run);
    assert_contains(box_sh(&b, "echo $$"), "1\n");
    box_done(&b);
}

static void exec_into_a_dead_container_is_a_conflict(void **state)
{
    struct box b;
    box_init(&b);
    struct running run;
    start_sleeper(&b, &run);
    kill(run.child.pid, SIGKILL);
    struct pollfd dead = {.fd = run.child.pidfd, .events = POLLIN};
    assert_int_equal(poll(&dead, 1, -1), 1);
    _cleanup_json_ json_t *process = json_deep_copy(box_process(&b));
    assert_int_equal(exec_in(&b, &run, process), -1);
    assert_int_equal(b.err.code, ERR_CONFLICT);
    stop_sleeper(&run);
    box_done(&b);
}

static void a_starter_that_a_launch_does_not_reach_is_done_without(void **state)
{
    struct box b;
    int pair[2];
    struct running run;
    struct err err;
    box_init(&b);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    close(pair[1]); /* it has ended */
    const struct runtime_starter starter = {.pid = -1, .fd = pair[0]};
    const char *args[] = {"sh", "-c", "exit 7", NULL};
    box_args(&b, args);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct runtime_launch launch = box_launch(&b, null, null);
    launch.starter = &starter;
    launch.config_fd = null;
    launch.confirmed = true;
    assert_ok(runtime_launch(&launch, &run.cgroup, &run.child, &err), &err);
    assert_in_range(run.child.pid, 2, INT_MAX);
    runtime_launch_confirm(run.child.status_fd);
    assert_int_equal(box_wait(run.child.pid), 7);
    close(run.child.pidfd);
    close(run.child.status_fd);
    close(pair[0]);
    close(null);
    assert_ok(cgroup_remove(run.cgroup, &err), &err);
    cgroup_free(run.cgroup);
    box_done(&b);
}

static void a_second_container_of_the_same_name_is_a_conflict(void **state)
{
    struct box b;
    box_init(&b);
    struct running run;
    start_sleeper(&b, &run);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct runtime_launch launch = box_launch(&b, null, null);
    struct cgroup *cgroup;
    struct runtime_child child;
    assert_int_equal(runtime_launch(&launch, &cgroup, &child, &b.err), -ERR_CONFLICT);
    close(null);
    stop_sleeper(&run);
    box_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exit_status_and_output_come_back),
        cmocka_unit_test(namespaces_are_its_own),
        cmocka_unit_test(a_new_network_namespace_has_loopback_up),
        cmocka_unit_test(a_passed_network_namespace_is_joined),
        cmocka_unit_test(host_mounts_and_files_are_out_of_sight),
        cmocka_unit_test(masked_paths_are_empty_and_readonly_ones_refuse),
        cmocka_unit_test(capabilities_are_dockers_fourteen_and_go_with_another_user),
        cmocka_unit_test(an_ambient_capability_reaches_a_plain_user),
        cmocka_unit_test(an_ambient_capability_that_is_not_inheritable_is_left_out),
        cmocka_unit_test(descriptors_and_environment_of_the_engine_stay_outside),
        cmocka_unit_test(ignored_and_blocked_signals_are_not_inherited),
        cmocka_unit_test(a_missing_program_and_one_that_cannot_run_are_told_apart),
        cmocka_unit_test(a_symlink_in_the_image_does_not_lead_a_mount_outside),
        cmocka_unit_test(proc_as_a_symlink_is_refused),
        cmocka_unit_test(a_working_directory_outside_is_refused),
        cmocka_unit_test(binds_follow_their_options),
        cmocka_unit_test(a_recursive_read_only_bind_covers_the_mounts_below),
        cmocka_unit_test(a_read_only_root_refuses_writes_but_not_in_dev),
        cmocka_unit_test(an_overlay_root_takes_writes_into_the_upper_layer),
        cmocka_unit_test(devices_work_and_others_are_refused),
        cmocka_unit_test(a_plain_user_may_start_in_a_directory_of_root),
        cmocka_unit_test(resource_limits_hold_and_one_that_cannot_be_raised_is_named),
        cmocka_unit_test(names_sysctls_and_oom_score_are_set),
        cmocka_unit_test(what_is_not_supported_is_refused_by_name),
        cmocka_unit_test(a_memory_limit_kills_and_is_counted),
        cmocka_unit_test(a_pids_limit_stops_a_fork_bomb),
        cmocka_unit_test(a_pids_limit_of_zero_lets_nobody_be_born),
        cmocka_unit_test(a_failure_leaves_no_cgroup_mount_or_process),
        cmocka_unit_test(exec_joins_the_container),
        cmocka_unit_test(exec_into_a_dead_container_is_a_conflict),
        cmocka_unit_test(a_starter_that_a_launch_does_not_reach_is_done_without),
        cmocka_unit_test(a_second_container_of_the_same_name_is_a_conflict),
    };
    return cmocka_run_group_tests_name("runtime", tests, NULL, NULL);
}
