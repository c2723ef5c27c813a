/* The floor: what a container with Docker's defaults needs of the kernel, asked for with bare system calls by
 * a small process that shares its memory with the child until the execve, so that not even a fork is paid
 * for. Same namespaces, overlay root, mounts, device nodes, masked and read-only paths, system call filter
 * and cgroups as Drover's default; nothing is recorded, checked or reported. On cgroup v1 the child enters
 * through "tasks", which does not take the kernel's lock over all processes. */
#include "launch.h"

#include "runtime/filter.h"
#include "runtime/runtime.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

enum { GROUPS_MAX_ = 16, STACK_BYTES = 64 << 10 };

struct group {
    char mount[128], base[192], dir[256], name[32];
    bool cpuset, devices;
};

struct floor_worker {
    const struct contestant *c;
    struct group groups[GROUPS_MAX_];
    size_t group_count;
    bool unified;
    int unified_fd;
    char dir[512], overlay[2048];
    struct sock_fprog filter;
    char cpus[256], mems[256];
};

static struct floor_worker w; /* a worker is a process of its own */
static char stack[STACK_BYTES] __attribute__((aligned(64)));

static int complain(const char *what)
{
    dprintf(2, "floor: %s: %s\n", what, strerror(errno));
    return -1;
}

#define TRY(call)                                                                                            \
    do {                                                                                                     \
        if ((call) < 0)                                                                                      \
            return complain(#call);                                                                          \
    } while (0)

static int put(const char *dir, const char *file, const char *text)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", dir, file);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) < 0) {
        complain(path);
        close(fd);
        return -1;
    }
    return close(fd);
}

static void get(const char *dir, const char *file, char *text, size_t size)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", dir, file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, size - 1);
    text[n > 0 ? n : 0] = '\0';
    close(fd);
}

/* --- once a worker --- */

/* The hierarchies that Drover uses: those of v1 with a resource controller, else v2. */
static void find_groups(void)
{
    static const char *const known[] = {"memory", "cpu",     "cpuacct", "cpuset", "pids",
                                        "blkio",  "devices", "freezer", "hugetlb"};
    FILE *f = fopen("/proc/self/mounts", "re");
    char line[1024], device[128], path[128], type[64], options[512], v2[128] = "";
    while (f && fgets(line, sizeof(line), f)) {
        if (sscanf(line, "%127s %127s %63s %511s", device, path, type, options) != 4)
            continue;
        if (strcmp(type, "cgroup2") == 0)
            snprintf(v2, sizeof(v2), "%s", path);
        if (strcmp(type, "cgroup") != 0 || w.group_count == GROUPS_MAX_)
            continue;
        struct group g = {0};
        bool wanted = false;
        char *rest = NULL;
        for (char *o = strtok_r(options, ",", &rest); o; o = strtok_r(NULL, ",", &rest)) {
            for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
                wanted |= strcmp(o, known[i]) == 0;
            g.cpuset |= strcmp(o, "cpuset") == 0;
            g.devices |= strcmp(o, "devices") == 0;
        }
        snprintf(g.mount, sizeof(g.mount), "%s", path);
        snprintf(g.name, sizeof(g.name), "%.31s", strrchr(path, '/') + 1);
        if (wanted)
            w.groups[w.group_count++] = g;
    }
    if (f)
        fclose(f);
    if (!w.group_count && *v2) {
        w.unified = true;
        snprintf(w.groups[0].mount, sizeof(w.groups[0].mount), "%s", v2);
        w.group_count = 1;
    }
}

static int make_bases(int worker)
{
    for (size_t i = 0; i < w.group_count; i++) {
        struct group *g = &w.groups[i];
        snprintf(g->base, sizeof(g->base), "%s/drover-floor-%d", g->mount, worker);
        snprintf(g->dir, sizeof(g->dir), "%s/c", g->base);
        if (mkdir(g->base, 0755) < 0 && errno != EEXIST)
            return complain(g->base);
        if (!g->cpuset)
            continue;
        get(g->mount, "cpuset.cpus", w.cpus, sizeof(w.cpus));
        get(g->mount, "cpuset.mems", w.mems, sizeof(w.mems));
        if (put(g->base, "cpuset.cpus", w.cpus) < 0 || put(g->base, "cpuset.mems", w.mems) < 0)
            return -1;
    }
    return 0;
}

int floor_begin(const struct contestant *c, int worker)
{
    w.c = c;
    json_t *spec = runtime_default_spec();
    const struct sock_fprog *program;
    unsigned flags;
    struct err err;
    if (seccomp_compile(json_object_get(json_object_get(spec, "linux"), "seccomp"), &program, &flags, &err) <
        0) {
        fprintf(stderr, "floor: %s\n", err.msg);
        return 1;
    }
    w.filter = *program;
    find_groups();
    snprintf(w.dir, sizeof(w.dir), "%s/floor-%d", c->folder, worker);
    snprintf(w.overlay, sizeof(w.overlay),
             "lowerdir=%s:%s/init,upperdir=%s/upper,workdir=%s/work,index=off,metacopy=off,redirect_dir=off",
             c->rootfs, c->folder, w.dir, w.dir);
    return make_bases(worker) < 0;
}

void floor_end(const struct contestant *c, int worker)
{
    for (size_t i = 0; i < w.group_count; i++)
        rmdir(w.groups[i].base);
}

/* --- the child --- */

static int join_groups(void)
{
    for (size_t i = 0; i < w.group_count && !w.unified; i++)
        if (put(w.groups[i].dir, "tasks", "0") < 0)
            return -1;
    TRY(unshare(CLONE_NEWCGROUP));
    return 0;
}

static int mount_root(void)
{
    char root[600];
    snprintf(root, sizeof(root), "%s/root", w.dir);
    TRY(mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL));
    TRY(mount("overlay", root, "overlay", 0, w.overlay));
    TRY(chdir(root));
    return 0;
}

static int mount_cgroups(void)
{
    unsigned long flags = MS_NOSUID | MS_NOEXEC | MS_NODEV;
    if (w.unified) {
        TRY(mount("cgroup", "sys/fs/cgroup", "cgroup2", flags | MS_RDONLY, NULL));
        return 0;
    }
    TRY(mount("cgroup", "sys/fs/cgroup", "tmpfs", flags, "mode=755"));
    for (size_t i = 0; i < w.group_count; i++) {
        char target[128];
        snprintf(target, sizeof(target), "sys/fs/cgroup/%s", w.groups[i].name);
        struct mount_attr attr = {.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NODEV |
                                              MOUNT_ATTR_RDONLY};
        int tree = open_tree(AT_FDCWD, w.groups[i].dir, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        TRY(tree);
        TRY(mkdir(target, 0755));
        TRY(mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)));
        TRY(move_mount(tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH));
        close(tree);
    }
    TRY(mount(NULL, "sys/fs/cgroup", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | flags, NULL));
    return 0;
}

static int mount_all(void)
{
    static const char *const files[] = {"resolv.conf", "hosts", "hostname"};
    unsigned long flags = MS_NOSUID | MS_NOEXEC | MS_NODEV;
    TRY(mount("proc", "proc", "proc", flags, NULL));
    TRY(mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k"));
    TRY(mkdir("dev/pts", 0755));
    TRY(mkdir("dev/mqueue", 0755));
    TRY(mkdir("dev/shm", 01777));
    TRY(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
              "newinstance,ptmxmode=0666,mode=0620,gid=5"));
    TRY(mount("sysfs", "sys", "sysfs", flags | MS_RDONLY, NULL));
    if (mount_cgroups() < 0)
        return -1;
    TRY(mount("mqueue", "dev/mqueue", "mqueue", flags, NULL));
    TRY(mount("shm", "dev/shm", "tmpfs", flags, "mode=1777,size=67108864"));
    for (size_t i = 0; i < 3; i++) {
        char source[600], target[64];
        snprintf(source, sizeof(source), "%s/%s", w.c->folder, files[i]);
        snprintf(target, sizeof(target), "etc/%s", files[i]);
        TRY(mount(source, target, NULL, MS_BIND, NULL));
    }
    return 0;
}

static int make_devices(void)
{
    static const struct {
        const char *name;
        unsigned major, minor;
    } nodes[] = {{"dev/null", 1, 3},   {"dev/zero", 1, 5},    {"dev/full", 1, 7},
                 {"dev/random", 1, 8}, {"dev/urandom", 1, 9}, {"dev/tty", 5, 0}};
    static const char *const links[][2] = {
        {"/proc/self/fd", "dev/fd"},       {"/proc/self/fd/0", "dev/stdin"},
        {"/proc/self/fd/1", "dev/stdout"}, {"/proc/self/fd/2", "dev/stderr"},
        {"pts/ptmx", "dev/ptmx"},          {"/proc/kcore", "dev/core"}};
    for (size_t i = 0; i < 6; i++) {
        TRY(mknod(nodes[i].name, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)));
        TRY(symlink(links[i][0], links[i][1]));
    }
    return 0;
}

static int enter_root(void)
{
    TRY(syscall(SYS_pivot_root, ".", "."));
    TRY(umount2(".", MNT_DETACH));
    TRY(chdir("/"));
    return 0;
}

static int cover(const char *const *paths, bool read_only, int empty)
{
    for (; *paths; paths++) {
        struct stat st;
        if (stat(*paths, &st) < 0)
            continue;
        int tree = read_only             ? open_tree(AT_FDCWD, *paths, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)
                   : S_ISDIR(st.st_mode) ? open_tree(empty, "", OPEN_TREE_CLONE | AT_EMPTY_PATH)
                                         : open_tree(AT_FDCWD, "/dev/null", OPEN_TREE_CLONE);
        TRY(tree);
        struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
        if (read_only)
            TRY(mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)));
        TRY(move_mount(tree, "", AT_FDCWD, *paths, MOVE_MOUNT_F_EMPTY_PATH));
        close(tree);
    }
    return 0;
}

static int protect(void)
{
    static const char *const masked[] = {"/proc/asound",
                                         "/proc/acpi",
                                         "/proc/interrupts",
                                         "/proc/kcore",
                                         "/proc/keys",
                                         "/proc/latency_stats",
                                         "/proc/timer_list",
                                         "/proc/timer_stats",
                                         "/proc/sched_debug",
                                         "/proc/scsi",
                                         "/sys/firmware",
                                         "/sys/devices/virtual/powercap",
                                         NULL};
    static const char *const locked[] = {"/proc/bus",           "/proc/fs", "/proc/irq", "/proc/sys",
                                         "/proc/sysrq-trigger", NULL};
    int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
    TRY(fs);
    TRY(fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
    int empty = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY);
    TRY(empty);
    close(fs);
    if (cover(locked, true, -1) < 0 || cover(masked, false, empty) < 0)
        return -1;
    close(empty);
    return 0;
}

static int raise_loopback(void)
{
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    TRY(fd);
    TRY(ioctl(fd, SIOCSIFFLAGS, &lo));
    return close(fd);
}

static int child(void *nothing)
{
    char *argv[] = {(char *)"/bin/true", NULL}, *envp[] = {(char *)"PATH=/bin", NULL};
    umask(0);
    if (join_groups() < 0 || (w.c->own_network && raise_loopback() < 0) || mount_root() < 0 ||
        mount_all() < 0 || make_devices() < 0 || sethostname("floor", 5) < 0 || enter_root() < 0 ||
        protect() < 0)
        _exit(120);
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &w.filter) < 0)
        _exit(121);
    execve(argv[0], argv, envp);
    _exit(122);
}

/* --- one launch --- */

static int make_groups(void)
{
    static const char *const rules[] = {"c *:* m",   "b *:* m",   "c 1:3 rwm",  "c 1:5 rwm",
                                        "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm",  "c 5:0 rwm",
                                        "c 5:1 rwm", "c 5:2 rwm", "c 136:* rwm"};
    for (size_t i = 0; i < w.group_count; i++) {
        struct group *g = &w.groups[i];
        if (mkdir(g->dir, 0755) < 0)
            return complain(g->dir);
        if (g->cpuset && (put(g->dir, "cpuset.cpus", w.cpus) < 0 || put(g->dir, "cpuset.mems", w.mems) < 0))
            return -1;
        if (!g->devices)
            continue;
        if (put(g->dir, "devices.deny", "a") < 0)
            return -1;
        for (size_t k = 0; k < sizeof(rules) / sizeof(*rules); k++)
            if (put(g->dir, "devices.allow", rules[k]) < 0)
                return -1;
    }
    return 0;
}

static int make_folder(void)
{
    static const char *const parts[] = {"", "/upper", "/work", "/root"};
    char path[600];
    for (size_t i = 0; i < 4; i++) {
        snprintf(path, sizeof(path), "%s%s", w.dir, parts[i]);
        TRY(mkdir(path, 0755));
    }
    return 0;
}

static int remove_all(void)
{
    static const char *const parts[] = {"/work/work", "/work", "/upper", "/root", ""};
    char path[600];
    for (size_t i = 0; i < w.group_count; i++)
        TRY(rmdir(w.groups[i].dir));
    for (size_t i = 0; i < 5; i++) {
        snprintf(path, sizeof(path), "%s%s", w.dir, parts[i]);
        TRY(rmdir(path));
    }
    return 0;
}

int floor_launch(const struct contestant *c, int worker, unsigned turn)
{
    int flags = CLONE_VM | CLONE_VFORK | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | SIGCHLD;
    int status = 0;
    if (c->own_network)
        flags |= CLONE_NEWNET;
    if (make_folder() < 0 || make_groups() < 0)
        return 1;
    pid_t pid = clone(child, stack + sizeof(stack), flags, NULL);
    if (pid < 0)
        return complain("clone"), 1;
    if (waitpid(pid, &status, __WALL) != pid || status) {
        dprintf(2, "floor: the child ended with wait status 0x%x\n", (unsigned)status);
        return 1;
    }
    return remove_all() < 0;
}
