/* Mounts and id maps of containers that are really launched, some from hostile images. */
#include "runtime_mounts.h"

#include <sys/socket.h>
#include <sys/un.h>

/* --- options --- */

static void every_option_of_the_specification_is_taken_by_a_bind_and_a_tmpfs(void **state)
{
    static const struct {
        const char *option, *shown; /* in /proc/mounts, with a comma on both sides; "!" in front: not shown */
    } cases[] = {
        {"ro", ",ro,"},
        {"rw", ",rw,"},
        {"nosuid", ",nosuid,"},
        {"suid", "!,nosuid,"},
        {"nodev", ",nodev,"},
        {"dev", "!,nodev,"},
        {"noexec", ",noexec,"},
        {"exec", "!,noexec,"},
        {"noatime", ",noatime,"},
        {"atime", "!,noatime,"},
        {"nodiratime", ",nodiratime,"},
        {"diratime", "!,nodiratime,"},
        {"relatime", ",relatime,"},
        {"norelatime", ",relatime,"}, /* the kernel's default */
        {"strictatime", "!,relatime,"},
        {"nostrictatime", ",relatime,"},
        {"nosymfollow", ",nosymfollow,"},
        {"symfollow", "!,nosymfollow,"},
        {"rro", ",ro,"},
        {"rrw", ",rw,"},
        {"rnosuid", ",nosuid,"},
        {"rsuid", "!,nosuid,"},
        {"rnodev", ",nodev,"},
        {"rdev", "!,nodev,"},
        {"rnoexec", ",noexec,"},
        {"rexec", "!,noexec,"},
        {"rnoatime", ",noatime,"},
        {"ratime", "!,noatime,"},
        {"rnodiratime", ",nodiratime,"},
        {"rdiratime", "!,nodiratime,"},
        {"rrelatime", ",relatime,"},
        {"rnorelatime", ",relatime,"},
        {"rstrictatime", "!,relatime,"},
        {"rnostrictatime", ",relatime,"},
        {"rnosymfollow", ",nosymfollow,"},
        {"rsymfollow", "!,nosymfollow,"},
        {"defaults", ",rw,"},
        {"async", ",rw,"},
        {"nomand", ",rw,"},
        {"noiversion", ",rw,"},
        {"nolazytime", ",rw,"},
        {"silent", ",rw,"},
        {"loud", ",rw,"},
    };
    struct box b;
    box_init(&b);
    _cleanup_free_ char *data = make_dir(&b, "data");
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_free_ char *tmpfs = str_printf("/t%zu", i);
        _cleanup_free_ char *bind = str_printf("/b%zu", i);
        _cleanup_free_ char *options = str_printf("bind,%s", cases[i].option);
        add_mount(&b, tmpfs, "tmpfs", "tmpfs", cases[i].option);
        add_mount(&b, bind, "bind", data, options);
    }
    _cleanup_free_ char *text = mem_strdup(box_sh(&b, "cat /proc/mounts"));
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        for (size_t kind = 0; kind < 2; kind++) {
            char place[32], found[256], options[300];
            snprintf(place, sizeof(place), " /%c%zu ", "tb"[kind], i);
            const char *line = strstr(text, place);
            if (!line || sscanf(line + strlen(place), "%*s %240s", found) != 1)
                fail_msg("no mount at%s", place);
            snprintf(options, sizeof(options), ",%s,", found);
            bool absent = *cases[i].shown == '!';
            if (!strstr(options, cases[i].shown + absent) != absent)
                fail_msg("\"%s\" at%s gives %s", cases[i].option, place, options);
        }
    box_done(&b);
}

static void options_of_a_filesystem_reach_it(void **state)
{
    struct box b;
    box_init(&b);
    add_mount(&b, "/a", "tmpfs", "tmpfs", "sync,dirsync,lazytime,size=32k,uid=7,gid=8,mode=711");
    add_mount(&b, "/b", "tmpfs", "", "iversion,mand");
    const char *text = box_sh(&b, "grep -E ' /[ab] ' /proc/mounts; stat -c '%a %u %g' /a; ls -d /b");
    assert_contains(text, "sync");
    assert_contains(text, "dirsync");
    assert_contains(text, "lazytime");
    assert_contains(text, "size=32k");
    assert_contains(text, "711 7 8\n/b\n");
    box_done(&b);
}

/* As many layers as it takes, also when their names fill more than the page that mount(2) reads. */
static void an_overlay_among_the_mounts_may_have_long_options(void **state)
{
    static const size_t sizes[] = {20, 200};
    for (size_t k = 0; k < ARRAY_SIZE(sizes); k++) {
        struct box b;
        box_init(&b);
        _cleanup_str_ struct str options = STR_INIT;
        str_add(&options, "lowerdir=");
        for (size_t i = 0; i < sizes[k]; i++) {
            _cleanup_free_ char *name = str_printf("layer-%zu", i);
            _cleanup_free_ char *layer = make_dir(&b, name);
            str_addf(&options, "%s%s", i ? ":" : "", layer);
        }
        box_file(b.dir, "layer-0/top", "top\n", 0644);
        _cleanup_free_ char *lowest = str_printf("layer-%zu/lowest", sizes[k] - 1);
        box_file(b.dir, lowest, "lowest\n", 0644);
        add_mount(&b, "/o", "overlay", "overlay", str_get(&options));
        run_true(&b);
        if (b.status < 0 && k == 1 && strstr(b.err.msg, "lowerdir")) {
            box_done(&b);
            print_message("skipped: this kernel takes no layers one by one (Linux 6.8)\n");
            skip();
        }
        assert_string_equal(box_sh(&b, "cat /o/top /o/lowest"), "top\nlowest\n");
        box_done(&b);
    }
}

static void what_a_mount_cannot_take_is_refused_by_its_name(void **state)
{
    static const struct {
        const char *type, *options, *message;
    } cases[] = {
        {"tmpfs", "frobnicate", "frobnicate"},
        {"tmpfs", "size=lots", "size"},
        {"bind", "bind,sync", "\"sync\""},
        {"bind", "bind,mode=755", "\"mode=755\""},
        {"bind", "bind,tmpcopyup", "tmpcopyup"},
        {"bind", "bind,idmap", "idmap"},
        {"tmpfs", "idmap", "id-mapped"},
        {"nosuchfs", "ro", "no such filesystem"},
        {"bind", "private,shared,slave,private,shared,slave,private,shared,slave", "propagation"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct box b;
        box_init(&b);
        add_mount(&b, "/x", cases[i].type, b.dir, cases[i].options);
        assert_refused(&b, cases[i].message);
        assert_contains(b.err.msg, "/x");
        box_done(&b);
    }
    struct box b;
    box_init(&b);
    _cleanup_str_ struct str lots = STR_INIT;
    str_add(&lots, "mode=755,gid=");
    for (int i = 0; i < 300; i++)
        str_addc(&lots, '1');
    add_mount(&b, "/x", "tmpfs", "tmpfs", str_get(&lots));
    assert_refused(&b, "gid=111");
    forget_mount(&b, "/x");
    add_mount(&b, "/x", "bind", "/no/such/source", "bind");
    assert_refused(&b, "bind source path /no/such/source");
    box_done(&b);
}

static void all_eight_propagations_are_what_the_mount_has(void **state)
{
    static const struct {
        const char *option, *top, *below; /* optional fields in mountinfo */
    } cases[] = {
        {"private", "-", NULL},
        {"rprivate", "-", "-"},
        {"shared", "shared:", NULL},
        {"rshared", "shared:", "shared:"},
        {"slave", "master:", NULL},
        {"rslave", "master:", "master:"},
        {"unbindable", "unbindable", NULL},
        {"runbindable", "unbindable", "unbindable"},
    };
    struct box b;
    box_init(&b);
    _cleanup_free_ char *data = make_dir(&b, "data");
    assert_int_equal(mount("tmpfs", data, "tmpfs", 0, NULL), 0);
    assert_int_equal(mount(NULL, data, NULL, MS_SHARED, NULL), 0);
    _cleanup_free_ char *below = make_dir(&b, "data/below");
    assert_int_equal(mount("tmpfs", below, "tmpfs", 0, NULL), 0);
    assert_int_equal(mount(NULL, below, NULL, MS_SHARED, NULL), 0);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_free_ char *options = str_printf("rbind,%s", cases[i].option);
        _cleanup_free_ char *place = str_printf("/m%zu", i);
        add_mount(&b, place, NULL, data, options);
    }
    box_sh(&b, "cat /proc/self/mountinfo");
    umount2(below, MNT_DETACH);
    umount2(data, MNT_DETACH);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const char *const want[] = {cases[i].top, cases[i].below};
        for (size_t k = 0; k < 2; k++) {
            char place[32], fields[128];
            snprintf(place, sizeof(place), " /m%zu%s ", i, k ? "/below" : "");
            const char *line = strstr(str_get(&b.output), place);
            assert_non_null(line);
            assert_int_equal(sscanf(line + strlen(place), "%*s %120s", fields), 1);
            if (want[k] && !str_after(fields, want[k]))
                fail_msg("%s: at%s is %s", cases[i].option, place, fields);
        }
    }
    box_done(&b);
}

static void a_relative_source_is_the_bundles_and_a_relative_destination_the_roots(void **state)
{
    struct box b;
    box_init(&b);
    _cleanup_free_ char *data = make_dir(&b, "data");
    box_file(b.dir, "data/word", "relative\n", 0644);
    add_mount(&b, "here", "bind", "data", "rbind");
    assert_refused(&b, "must be an absolute path");
    b.bundle = b.dir;
    assert_contains(box_sh(&b, "cat /here/word"), "relative\n");
    box_done(&b);
}

static void a_remount_changes_what_is_there(void **state)
{
    struct box b;
    box_init(&b);
    add_mount(&b, "/t", "tmpfs", "tmpfs", "size=64k,nosuid");
    add_mount(&b, "/t", NULL, NULL, "bind,remount,ro");
    add_mount(&b, "/u", "tmpfs", "tmpfs", "size=64k");
    add_mount(&b, "/u", "tmpfs", "tmpfs", "remount,size=128k");
    const char *text = box_sh(&b, "grep -E ' /[tu] ' /proc/mounts; touch /t/x; touch /u/x && echo u");
    assert_contains(text, "/t tmpfs ro,nosuid");
    assert_contains(text, "size=128k");
    assert_contains(text, "touch: /t/x: Read-only file system");
    box_done(&b);
}

/* --- sources and destinations --- */

static void files_sockets_and_devices_can_be_bound(void **state)
{
    struct box b;
    box_init(&b);
    _cleanup_free_ char *path = str_printf("%s/socket", b.dir);
    _cleanup_free_ char *node = str_printf("%s/node", b.dir);
    _cleanup_free_ char *fifo = str_printf("%s/fifo", b.dir);
    int fd;
    struct err err;
    assert_ok(file_listen_unix(path, SOCK_STREAM, 0666, &fd, &err), &err);
    assert_int_equal(mknod(node, S_IFCHR | 0666, makedev(1, 5)), 0);
    assert_int_equal(mkfifo(fifo, 0666), 0);
    box_file(b.root, "etc/there", "image\n", 0644);
    box_file(b.dir, "file", "bound\n", 0644);
    _cleanup_free_ char *file = str_printf("%s/file", b.dir);
    add_mount(&b, "/run/deep/socket", "bind", path, "bind");
    add_mount(&b, "/node", "bind", node, "bind");
    add_mount(&b, "/fifo", "bind", fifo, "bind");
    add_mount(&b, "/etc/there", "bind", file, "bind,ro");
    const char *text = box_sh(&b, "stat -c %F /run/deep/socket /node /fifo; cat /etc/there");
    assert_contains(text, "socket\ncharacter special file\nfifo\nbound\n");
    add_mount(&b, "/tmp", "bind", file, "bind");
    assert_refused(&b, "one is a directory and the other a file");
    close(fd);
    box_done(&b);
}

static void a_dangling_symlink_is_made_to_lead_to_the_mount(void **state)
{
    struct box b;
    box_init(&b);
    box_file(b.dir, "file", "bound\n", 0644);
    _cleanup_free_ char *file = str_printf("%s/file", b.dir);
    _cleanup_free_ char *data = make_dir(&b, "data");
    box_file(b.dir, "data/word", "word\n", 0644);
    put_link(b.root, "etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf");
    put_link(b.root, "srv", "/var/lib/srv/../data");
    put_link(b.root, "etc/up", "../../../../../../../../../tmp/drover-unit-up");
    add_mount(&b, "/etc/resolv.conf", "bind", file, "bind");
    add_mount(&b, "/srv/one", "bind", data, "rbind");
    add_mount(&b, "/etc/up", "bind", file, "bind");
    const char *text = box_sh(&b, "cat /run/systemd/resolve/stub-resolv.conf /etc/resolv.conf"
                                  " /var/lib/data/one/word /tmp/drover-unit-up");
    assert_string_equal(text, "bound\nbound\nword\nbound\n");
    assert_false(file_exists("/tmp/drover-unit-up"));
    put_link(b.root, "etc/loop", "loop2");
    put_link(b.root, "etc/loop2", "loop");
    add_mount(&b, "/etc/loop", "bind", file, "bind");
    assert_refused(&b, "too many levels of symbolic links");
    box_done(&b);
}

static void symlinks_are_copied_bound_and_covered_when_that_is_asked_for(void **state)
{
    struct box b;
    box_init(&b);
    _cleanup_free_ char *link = str_printf("%s/link", b.dir), *file = str_printf("%s/file", b.dir),
                        *inside = str_printf("%s/etc/inside", b.root);
    box_file(b.dir, "file", "of the host\n", 0644);
    assert_int_equal(symlink("file", link), 0);
    assert_int_equal(symlink("/etc/elsewhere", inside), 0);
    add_mount(&b, "/deep/copied", NULL, link, "bind,copy-symlink");
    add_mount(&b, "/deep/copied", NULL, link, "bind,copy-symlink"); /* once more does no harm */
    add_mount(&b, "/plain", NULL, file, "bind,copy-symlink");
    add_mount(&b, "/etc/bound", NULL, link, "bind,src-nofollow");
    add_mount(&b, "/etc/inside", NULL, file, "bind,dest-nofollow");
    assert_contains(box_sh(&b, "readlink /deep/copied; cat /plain; readlink /etc/bound; ls /etc/elsewhere "
                               "2>&1; cat /etc/inside"),
                    "file\nof the host\nfile\n");
    assert_contains(str_get(&b.output), "elsewhere: No such file or directory\nof the host\n");
    /* Not over something else. */
    add_mount(&b, "/plain", NULL, link, "bind,copy-symlink");
    box_run(&b);
    assert_int_equal(b.status, -1);
    assert_contains(b.err.msg, "/plain");
    add_mount(&b, "/dev/shm", "tmpfs", "tmpfs", "src-nofollow");
    box_run(&b);
    assert_contains(b.err.msg, "only a bind mount");
    box_done(&b);
}

static void a_mount_over_the_root_becomes_the_root(void **state)
{
    struct box b;
    box_init(&b);
    _cleanup_free_ char *other = make_dir(&b, "other");
    box_tree(other);
    box_file(b.dir, "other/etc/which", "the other\n", 0644);
    json_t *mounts = json_object_get(b.spec, "mounts");
    json_array_insert_new(mounts, 0,
                          json_pack("{s:s,s:s,s:s,s:[s]}", "destination", "/", "type", "bind", "source",
                                    other, "options", "rbind"));
    assert_contains(box_sh(&b, "cat /etc/which; ls -d /proc/self"), "the other\n/proc/self\n");
    box_done(&b);
}

static void a_tmpfs_looks_like_the_directory_it_covers(void **state)
{
    struct box b;
    box_init(&b);
    _cleanup_free_ char *tmp = str_printf("%s/tmp", b.root);
    assert_int_equal(chmod(tmp, 01773), 0);
    add_mount(&b, "/tmp", "tmpfs", "tmpfs", "nosuid");
    add_mount(&b, "/new", "tmpfs", "tmpfs", "nosuid");
    add_mount(&b, "/etc", "tmpfs", "tmpfs", "mode=700");
    assert_contains(box_sh(&b, "stat -c %a /tmp /new /etc"), "1773\n1777\n700\n");
    box_done(&b);
}

static void a_read_only_tmpfs_holds_the_mounts_below_it(void **state)
{
    struct box b;
    box_init(&b);
    _cleanup_free_ char *data = make_dir(&b, "data");
    box_file(b.dir, "data/word", "word\n", 0644);
    json_object_set_new(json_array_get(json_object_get(b.spec, "mounts"), 1), "options",
                        json_pack("[s,s,s]", "ro", "nosuid", "mode=755"));
    add_mount(&b, "/t", "tmpfs", "tmpfs", "ro,mode=755");
    add_mount(&b, "/t/a", "tmpfs", "tmpfs", "size=4k");
    add_mount(&b, "/t/a/deep", "bind", data, "rbind");
    add_mount(&b, "/t/a/ro", "tmpfs", "tmpfs", "ro");
    const char *text = box_sh(&b, "touch /dev/x; echo y > /dev/null && touch /dev/shm/y && touch /t/x;"
                                  "touch /t/a/x && cat /t/a/deep/word; touch /t/a/ro/x; ls /t/a");
    assert_contains(text, "touch: /dev/x: Read-only file system\ntouch: /t/x: Read-only file system\nword\n"
                          "touch: /t/a/ro/x: Read-only file system\ndeep\nro\nx\n");
    box_done(&b);
}

static void a_mount_that_covers_another_is_what_later_ones_lie_in(void **state)
{
    struct box b;
    box_init(&b);
    _cleanup_free_ char *data = make_dir(&b, "data");
    put_link(b.root, "alias", "/t");
    add_mount(&b, "/t", "tmpfs", "tmpfs", "size=4k");
    add_mount(&b, "/alias", "bind", data, "rbind");
    add_mount(&b, "/t/below", "mqueue", "mqueue", "ro");
    assert_contains(box_sh(&b, "ls /t; grep -c ' /t/below mqueue' /proc/mounts"), "below\n1\n");
    _cleanup_free_ char *made = str_printf("%s/below", data);
    assert_true(file_exists(made));
    box_done(&b);
}

static void tmpcopyup_begins_with_what_the_image_has(void **state)
{
    struct box b;
    box_init(&b);
    _cleanup_free_ char *deep = str_printf("%s/var/deep/er", b.root);
    _cleanup_free_ char *file = str_printf("%s/var/file", b.root);
    struct err err;
    assert_ok(file_mkdirs(deep, 0750, &err), &err);
    box_file(b.root, "var/file", "content\n", 0640);
    box_file(b.root, "var/deep/er/x", "deep\n", 0600);
    assert_int_equal(chown(file, 5, 6), 0);
    assert_int_equal(chmod(file, 04751), 0);
    put_link(b.root, "var/host", "/etc/hostname");
    put_link(b.root, "var/out", "../../../../../../etc");
    add_mount(&b, "/var", "tmpfs", "tmpfs", "tmpcopyup,nosuid");
    const char *text =
        box_sh(&b, "stat -c '%a %u %g' /var/file; cat /var/file /var/deep/er/x; stat -c '%a %F' /var/deep "
                   "/var/out; readlink /var/host; touch /var/new; grep -c ' /var ' /proc/mounts");
    assert_contains(text, "4751 5 6\ncontent\ndeep\n");
    assert_contains(text, "750 directory\n777 symbolic link\n/etc/hostname\n1\n");
    _cleanup_free_ char *escaped = str_printf("%s/var/new", b.root);
    assert_false(file_exists(escaped));
    json_object_set_new(last_mount(&b), "options", json_pack("[s,s,s]", "tmpcopyup", "ro", "size=1m"));
    assert_contains(box_sh(&b, "cat /var/file; touch /var/new"), "content\ntouch: /var/new: Read-only");
    json_object_set_new(last_mount(&b), "options", json_pack("[s,s]", "tmpcopyup", "nr_inodes=4"));
    assert_refused(&b, "no space left on device");
    box_done(&b);
}

/* --- /proc --- */

static void nothing_is_mounted_inside_proc_but_what_informs(void **state)
{
    struct box b;
    box_init(&b);
    box_file(b.dir, "file", "4 CPUs\n", 0644);
    _cleanup_free_ char *file = str_printf("%s/file", b.dir);
    _cleanup_free_ char *data = make_dir(&b, "data");
    add_mount(&b, "/proc/cpuinfo", "bind", file, "bind,ro");
    assert_string_equal(box_sh(&b, "cat /proc/cpuinfo"), "4 CPUs\n");
    static const char *const forbidden[] = {"/proc/self/attr/exec", "/proc/self/exe",
                                            "/proc/sys/kernel/core_pattern", "/proc/1/status",
                                            "/proc/sysrq-trigger"};
    for (size_t i = 0; i < ARRAY_SIZE(forbidden); i++) {
        forget_mount(&b, i ? forbidden[i - 1] : "");
        add_mount(&b, forbidden[i], "bind", file, "bind");
        assert_refused(&b, "/proc");
    }
    forget_mount(&b, "/proc/sysrq-trigger");
    put_link(b.root, "alias", "/proc/sys/kernel/core_pattern");
    add_mount(&b, "/alias", "bind", file, "bind");
    assert_refused(&b, "leads to /proc/sys/kernel/core_pattern");
    forget_mount(&b, "/alias");
    add_mount(&b, "/proc/sys", "tmpfs", "tmpfs", "ro");
    assert_refused(&b, "nothing may be mounted inside /proc");
    forget_mount(&b, "/proc/sys");
    add_mount(&b, "/proc/", "bind", data, "rbind");
    assert_refused(&b, "only a proc filesystem");
    forget_mount(&b, "/proc/");
    add_mount(&b, "//proc", "tmpfs", "tmpfs", "ro");
    assert_refused(&b, "only a proc filesystem");
    forget_mount(&b, "//proc");
    add_mount(&b, "/proc", "bind", "/proc", "rbind");
    assert_contains(box_sh(&b, "ls -d /proc/self"), "/proc/self\n");
    box_done(&b);
}

static void proc_and_sys_must_be_plain_directories_of_the_image(void **state)
{
    static const char *const places[] = {"proc", "sys"};
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        struct box b;
        box_init(&b);
        put_link(b.root, places[i], "/tmp");
        assert_refused(&b, "is a symbolic link in the image");
        box_done(&b);
        box_init(&b);
        _cleanup_free_ char *path = str_printf("%s/%s", b.root, places[i]);
        assert_int_equal(rmdir(path), 0);
        put_link(b.root, places[i], "nowhere");
        assert_refused(&b, "is a symbolic link in the image");
        box_done(&b);
        box_init(&b);
        _cleanup_free_ char *file = str_printf("%s/%s", b.root, places[i]);
        assert_int_equal(rmdir(file), 0);
        box_file(b.root, places[i], "x", 0644);
        assert_refused(&b, "ordinary directory");
        assert_int_equal(unlink(file), 0);
        assert_contains(box_sh(&b, "ls /proc/self/exe"), "/proc/self/exe\n"); /* made when missing */
        box_done(&b);
    }
}

/* CVE-2021-30465: another container exchanges a directory of a shared volume with a symlink to the host's
 * root while our mounts are made in it. */
static pid_t exchange(const struct box *b)
{
    _cleanup_free_ char *a = str_printf("%s/volume/target", b->dir);
    _cleanup_free_ char *c = str_printf("%s/volume/link", b->dir);
    pid_t pid = fork();
    assert_true(pid >= 0);
    while (pid == 0)
        renameat2(AT_FDCWD, a, AT_FDCWD, c, RENAME_EXCHANGE);
    return pid;
}

static void a_racing_symlink_exchange_never_leads_a_mount_outside(void **state)
{
    struct box b;
    box_init(&b);
    _cleanup_free_ char *volume = make_dir(&b, "volume");
    _cleanup_free_ char *target = make_dir(&b, "volume/target");
    _cleanup_free_ char *victim = make_dir(&b, "victim/sub");
    _cleanup_free_ char *outside = str_printf("%s/victim", b.dir);
    _cleanup_free_ char *data = make_dir(&b, "data");
    box_file(b.dir, "data/mark", "mark\n", 0644);
    put_link(volume, "link", outside);
    add_mount(&b, "/volume", "bind", volume, "rbind");
    add_mount(&b, "/volume/target/sub", "bind", data, "rbind");
    add_mount(&b, "/volume/target/made/deep", "tmpfs", "tmpfs", "size=4k");
    pid_t racer = exchange(&b);
    int started = 0;
    for (int i = 0; i < 60; i++) {
        const char *args[] = {"sh", "-c", "grep -c mark /proc/1/mountinfo", NULL};
        box_args(&b, args);
        box_run(&b);
        started += b.status >= 0;
        _cleanup_free_ char *made = str_printf("%s/made", outside);
        _cleanup_free_ char *mark = str_printf("%s/mark", victim);
        assert_false(file_exists(made));
        assert_false(file_exists(mark));
    }
    kill(racer, SIGKILL);
    box_wait(racer);
    assert_true(started > 0);
    box_done(&b);
}

/* --- id maps --- */

/* The scratch directory's filesystem has to be one that can be mapped: a tmpfs can since Linux 6.3. */
static void need_id_maps(struct box *b)
{
    _cleanup_free_ char *probe = make_dir(b, "probe");
    add_mount(b, "/probe", "bind", probe, "bind");
    json_object_set_new(last_mount(b), "uidMappings", id_map(0, 1, 1));
    json_object_set_new(last_mount(b), "gidMappings", id_map(0, 1, 1));
    run_true(b);
    if (b->status < 0 && strstr(b->err.msg, "does not support")) {
        box_done(b);
        print_message("skipped: this kernel cannot map the ids of the filesystem below TMPDIR\n");
        skip();
    }
    forget_mount(b, "/probe");
}

static void an_id_mapped_bind_shows_other_owners(void **state)
{
    struct box b;
    box_init(&b);
    need_id_maps(&b);
    _cleanup_free_ char *data = make_dir(&b, "data");
    _cleanup_free_ char *inside = make_dir(&b, "data/below");
    box_file(b.dir, "data/file", "x", 0644);
    _cleanup_free_ char *file = str_printf("%s/data/file", b.dir);
    assert_int_equal(chown(file, 1000, 1001), 0);
    add_mount(&b, "/plain", "bind", data, "rbind");
    add_mount(&b, "/mapped", "bind", data, "rbind,idmap");
    json_object_set_new(last_mount(&b), "uidMappings", id_map(1000, 2000, 10));
    json_object_set_new(last_mount(&b), "gidMappings", id_map(1000, 3000, 10));
    const char *text = box_sh(&b, "stat -c '%u %g' /plain/file /mapped/file");
    assert_string_equal(text, "1000 1001\n2000 3001\n");
    json_object_del(last_mount(&b), "uidMappings");
    json_object_del(last_mount(&b), "gidMappings");
    json_object_set_new(last_mount(&b), "options",
                        json_pack("[s,s]", "rbind", "idmap=uids=1000-2000-10;gids=1000-3000-10"));
    assert_string_equal(box_sh(&b, "stat -c '%u %g' /plain/file /mapped/file"), "1000 1001\n2000 3001\n");
    json_object_set_new(last_mount(&b), "uidMappings", id_map(1000, 2000, 10));
    json_object_set_new(last_mount(&b), "gidMappings", id_map(1000, 3000, 10));
    /* Mappings without the word mean the same; one without the other is a mistake. */
    json_object_set_new(last_mount(&b), "options", json_pack("[s]", "bind"));
    assert_string_equal(box_sh(&b, "stat -c '%u %g' /plain/file /mapped/file"), "1000 1001\n2000 3001\n");
    json_object_del(last_mount(&b), "gidMappings");
    assert_refused(&b, "must be given together");
    json_object_set_new(last_mount(&b), "gidMappings", id_map(1000, -3, 10));
    assert_refused(&b, "no such range of ids");
    box_done(&b);
}

static void ridmap_maps_the_mounts_below_too(void **state)
{
    struct box b;
    box_init(&b);
    _cleanup_free_ char *data = make_dir(&b, "data");
    _cleanup_free_ char *below = make_dir(&b, "data/below");
    assert_int_equal(mount("tmpfs", below, "tmpfs", 0, "uid=1000,gid=1000"), 0);
    add_mount(&b, "/top", "bind", data, "rbind,idmap");
    json_object_set_new(last_mount(&b), "uidMappings", id_map(1000, 2000, 10));
    json_object_set_new(last_mount(&b), "gidMappings", id_map(1000, 2000, 10));
    add_mount(&b, "/tree", "bind", data, "rbind,ridmap");
    json_object_set_new(last_mount(&b), "uidMappings", id_map(1000, 2000, 10));
    json_object_set_new(last_mount(&b), "gidMappings", id_map(1000, 2000, 10));
    run_true(&b);
    bool supported = b.status == 0;
    if (supported)
        box_sh(&b, "stat -c %u /top/below /tree/below");
    umount2(below, MNT_DETACH);
    if (!supported) /* tmpfs: Linux 6.3 */
        assert_contains(b.err.msg, "does not support");
    else
        assert_string_equal(str_get(&b.output), "1000\n2000\n");
    box_done(&b);
}

/* --- user namespaces --- */

/* Ids 0 to 65535 inside are 100000 and up outside, and the image belongs to them. */
static void box_map(struct box *b, bool network)
{
    json_t *namespaces = json_object_get(box_linux(b), "namespaces");
    json_array_append_new(namespaces, json_pack("{s:s}", "type", "user"));
    if (network)
        json_array_append_new(namespaces, json_pack("{s:s}", "type", "network"));
    json_object_set_new(box_linux(b), "uidMappings", id_map(0, 100000, 65536));
    json_object_set_new(box_linux(b), "gidMappings", id_map(0, 100000, 65536));
    static const char *const dirs[] = {"", "/bin", "/etc", "/tmp", "/proc", "/sys", "/dev"};
    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
        _cleanup_free_ char *path = str_printf("%s%s", b->root, dirs[i]);
        assert_int_equal(chown(path, 100000, 100000), 0);
    }
}

static void a_user_namespace_has_all_its_mounts_and_devices(void **state)
{
    for (int network = 0; network < 2; network++) {
        struct box b;
        box_init(&b);
        box_map(&b, network);
        json_array_append_new(json_object_get(box_linux(&b), "devices"),
                              json_pack("{s:s,s:s,s:i,s:i,s:i,s:i,s:i}", "path", "/dev/extra", "type", "b",
                                        "major", 7, "minor", 251, "fileMode", 0640, "uid", 10, "gid", 11));
        const char *text = box_sh(
            &b,
            "head -1 /proc/self/uid_map; stat -c '%F %t:%T %a %u:%g' /dev/null /dev/extra; echo x > "
            "/dev/null && echo null; grep -cE ' (/proc|/sys|/dev|/dev/pts|/dev/shm|/dev/mqueue) ' "
            "/proc/mounts; ls -d /sys/class/net/lo /sys/kernel; touch /sys/x /proc/sys/x; wc -c < "
            "/proc/keys; ls /sys/firmware | wc -l; touch /dev/shm/x && echo shm; ls /sys/fs/cgroup | head "
            "-1");
        assert_contains(text, "         0     100000      65536\ncharacter special file 1:3 666 0:0\n"
                              "block special file 7:fb 640 10:11\nnull\n6\n/sys/class/net/lo\n/sys/kernel\n");
        assert_contains(text, "touch: /sys/x: ");
        assert_contains(text, "0\n0\nshm\n");
        box_done(&b);
    }
}

static void a_mapped_root_gets_sources_and_a_root_that_it_could_not_reach(void **state)
{
    struct box b;
    box_init(&b);
    box_map(&b, false);
    _cleanup_free_ char *closed = make_dir(&b, "closed");
    _cleanup_free_ char *data = make_dir(&b, "closed/data");
    box_file(b.dir, "closed/data/file", "behind a closed door\n", 0644);
    assert_int_equal(chmod(closed, 0700), 0);
    assert_int_equal(chmod(b.dir, 0700), 0);
    add_mount(&b, "/plain", "bind", data, "rbind,ro");
    const char *text = box_sh(&b, "cat /plain/file; stat -c '%u %g' /plain/file; touch /plain/x");
    assert_contains(text, "behind a closed door\n65534 65534\ntouch: /plain/x: Read-only file system\n");
    box_done(&b);
}

static void an_id_map_without_numbers_is_the_containers(void **state)
{
    struct box b;
    box_init(&b);
    need_id_maps(&b);
    box_map(&b, false);
    _cleanup_free_ char *data = make_dir(&b, "data");
    box_file(b.dir, "data/file", "x", 0644);
    add_mount(&b, "/mapped", "bind", data, "rbind,idmap");
    const char *text =
        box_sh(&b, "stat -c '%u %g' /mapped/file; touch /mapped/made; stat -c %u /mapped/made");
    assert_string_equal(text, "0 0\n0\n");
    struct stat st;
    _cleanup_free_ char *made = str_printf("%s/made", data);
    assert_int_equal(stat(made, &st), 0);
    assert_int_equal(st.st_uid, 0); /* stored as the image's ids */
    box_done(&b);
}

/* As runc has it: both ends of a bind may be named by their place below the root on the machine, and a source
 * there is what the mounts before it have made of it. */
static void a_source_within_the_root_is_what_was_mounted_there(void **state)
{
    for (int mapped = 0; mapped < 2; mapped++) {
        struct box b;
        box_init(&b);
        if (mapped)
            box_map(&b, false);
        _cleanup_free_ char *data = make_dir(&b, "data");
        _cleanup_free_ char *source = str_printf("%s/mnt/below", b.root);
        _cleanup_free_ char *link = str_printf("%s/link", b.root);
        _cleanup_free_ char *target = str_printf("%s/final", b.root);
        _cleanup_free_ char *beside = str_printf("%s-beside", b.root);
        box_file(b.dir, "data/file", "mounted\n", 0644);
        put_link(b.root, "link", "/mnt");
        add_mount(&b, "/mnt", "tmpfs", "tmpfs", "mode=755");
        add_mount(&b, "/mnt/below", "bind", data, "rbind");
        add_mount(&b, target, "bind", source, "rbind");
        add_mount(&b, "/through", "bind", link, "rbind");
        add_mount(&b, beside, "tmpfs", "tmpfs", "mode=755");
        _cleanup_free_ char *script =
            str_printf("cat /final/file /through/below/file; grep -c ' %s ' /proc/mounts", beside);
        assert_string_equal(box_sh(&b, script), "mounted\nmounted\n1\n");
        box_done(&b);
    }
}

/* A link in the image that leads to the machine's files leads to the image's. */
static void a_source_within_the_root_follows_no_link_out_of_it(void **state)
{
    struct box b;
    box_init(&b);
    _cleanup_free_ char *data = make_dir(&b, "data");
    _cleanup_free_ char *source = str_printf("%s/out", b.root);
    box_file(b.dir, "data/secret", "of the machine\n", 0644);
    put_link(b.root, "out", data);
    add_mount(&b, "/shown", "bind", source, "rbind");
    assert_refused(&b, "bind source path");
    put_link(b.root, "dots", "../../../../../../etc");
    _cleanup_free_ char *dots = str_printf("%s/dots", b.root);
    json_object_set_new(last_mount(&b), "source", json_string(dots));
    box_file(b.root, "etc/own", "of the image\n", 0644);
    assert_string_equal(box_sh(&b, "cat /shown/own"), "of the image\n");
    box_done(&b);
}

static void a_source_within_the_root_can_have_an_id_map(void **state)
{
    struct box b;
    box_init(&b);
    need_id_maps(&b);
    _cleanup_free_ char *data = make_dir(&b, "data");
    _cleanup_free_ char *source = str_printf("%s/mnt", b.root);
    box_file(b.dir, "data/file", "x", 0644);
    _cleanup_free_ char *file = str_printf("%s/data/file", b.dir);
    assert_int_equal(chown(file, 1000, 1001), 0);
    add_mount(&b, "/mnt", "bind", data, "rbind");
    add_mount(&b, "/mapped", "bind", source, "rbind");
    json_object_set_new(last_mount(&b), "options",
                        json_pack("[s,s]", "rbind", "idmap=uids=+1000-2000-10;gids=1000-3000-10"));
    assert_string_equal(box_sh(&b, "stat -c '%u %g' /mnt/file /mapped/file"), "1000 1001\n2000 3001\n");
    box_map(&b, false);
    json_object_set_new(last_mount(&b), "options",
                        json_pack("[s,s]", "rbind", "idmap=uids=@1000-2000-10;gids=@1000-3000-10"));
    assert_string_equal(box_sh(&b, "stat -c '%u %g' /mnt/file /mapped/file"), "65534 65534\n2000 3001\n");
    box_done(&b);
}

static void tmpcopyup_works_for_a_mapped_root(void **state)
{
    struct box b;
    box_init(&b);
    box_map(&b, false);
    box_file(b.root, "etc/hosts-own", "unmapped owner\n", 0644);
    box_file(b.root, "etc/mapped", "mapped owner\n", 0600);
    _cleanup_free_ char *mapped = str_printf("%s/etc/mapped", b.root);
    assert_int_equal(chown(mapped, 100007, 100008), 0);
    add_mount(&b, "/etc", "tmpfs", "tmpfs", "tmpcopyup");
    assert_string_equal(box_sh(&b, "cat /etc/hosts-own /etc/mapped; stat -c '%u %g' /etc/mapped"),
                        "unmapped owner\nmapped owner\n7 8\n");
    box_done(&b);
}

static void a_terminal_group_that_is_not_mapped_is_left_out(void **state)
{
    struct box b;
    box_init(&b);
    box_map(&b, false);
    json_object_set_new(box_linux(&b), "gidMappings", id_map(0, 100000, 1));
    assert_contains(box_sh(&b, "grep ' /dev/pts ' /proc/mounts"), "ptmxmode=666");
    assert_lacks(str_get(&b.output), "gid=");
    box_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_option_of_the_specification_is_taken_by_a_bind_and_a_tmpfs),
        cmocka_unit_test(options_of_a_filesystem_reach_it),
        cmocka_unit_test(an_overlay_among_the_mounts_may_have_long_options),
        cmocka_unit_test(what_a_mount_cannot_take_is_refused_by_its_name),
        cmocka_unit_test(all_eight_propagations_are_what_the_mount_has),
        cmocka_unit_test(a_relative_source_is_the_bundles_and_a_relative_destination_the_roots),
        cmocka_unit_test(a_remount_changes_what_is_there),
        cmocka_unit_test(files_sockets_and_devices_can_be_bound),
        cmocka_unit_test(a_dangling_symlink_is_made_to_lead_to_the_mount),
        cmocka_unit_test(symlinks_are_copied_bound_and_covered_when_that_is_asked_for),
        cmocka_unit_test(a_mount_over_the_root_becomes_the_root),
        cmocka_unit_test(a_tmpfs_looks_like_the_directory_it_covers),
        cmocka_unit_test(a_read_only_tmpfs_holds_the_mounts_below_it),
        cmocka_unit_test(a_mount_that_covers_another_is_what_later_ones_lie_in),
        cmocka_unit_test(a_source_within_the_root_is_what_was_mounted_there),
        cmocka_unit_test(a_source_within_the_root_follows_no_link_out_of_it),
        cmocka_unit_test(a_source_within_the_root_can_have_an_id_map),
        cmocka_unit_test(tmpcopyup_begins_with_what_the_image_has),
        cmocka_unit_test(nothing_is_mounted_inside_proc_but_what_informs),
        cmocka_unit_test(proc_and_sys_must_be_plain_directories_of_the_image),
        cmocka_unit_test(a_racing_symlink_exchange_never_leads_a_mount_outside),
        cmocka_unit_test(an_id_mapped_bind_shows_other_owners),
        cmocka_unit_test(ridmap_maps_the_mounts_below_too),
        cmocka_unit_test(a_user_namespace_has_all_its_mounts_and_devices),
        cmocka_unit_test(a_mapped_root_gets_sources_and_a_root_that_it_could_not_reach),
        cmocka_unit_test(an_id_map_without_numbers_is_the_containers),
        cmocka_unit_test(tmpcopyup_works_for_a_mapped_root),
        cmocka_unit_test(a_terminal_group_that_is_not_mapped_is_left_out),
    };
    return cmocka_run_group_tests_name("runtime_mounts", tests, NULL, NULL);
}
