/* The namespaces of an instance, and the process that keeps them. */
#include "rootless/rootless_priv.h"

#include "base/file.h"
#include "base/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <net/if.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SUBID_FILE_MAX = 1 << 20, RANGES_MAX = 32 };

/* --- ids --- */

struct range {
    uint32_t first, count;
};

/* The user's lines of subuid(5): "NAME:FIRST:COUNT", or the number in the name's place. */
static size_t read_ranges(const char *path, struct range ret[RANGES_MAX])
{
    _cleanup_str_ struct str text = STR_INIT;
    if (file_read(path, SUBID_FILE_MAX, &text, NULL) < 0)
        return 0;
    const struct passwd *user = getpwuid(getuid());
    char number[16];
    snprintf(number, sizeof(number), "%u", getuid());
    _cleanup_strv_ char **lines = strv_split(str_get(&text), '\n');
    size_t n = 0;
    STRV_FOREACH (line, lines) {
        _cleanup_strv_ char **parts = strv_split(*line, ':');
        int64_t first, count;
        if (n == RANGES_MAX || strv_len(parts) != 3 ||
            (!str_eq(parts[0], number) && !(user && str_eq(parts[0], user->pw_name))) ||
            parse_i64(parts[1], 1, UINT32_MAX - 1, &first, NULL) < 0 ||
            parse_i64(parts[2], 1, UINT32_MAX - first, &count, NULL) < 0)
            continue;
        ret[n++] = (struct range){(uint32_t)first, (uint32_t)count};
    }
    return n;
}

/* Our own id is 0 inside; the ranges follow one after the other. */
static int map_many(const char *tool, const char *file, pid_t pid, uint32_t own, struct err *err)
{
    struct range ranges[RANGES_MAX];
    size_t n = read_ranges(file, ranges);
    const struct passwd *user = getpwuid(getuid());
    if (!n)
        return err_set(err, ERR_NOT_FOUND,
                       "%s has no line for %s (such as \"%s:100000:65536\"; usermod --add-subuids "
                       "100000-165535 --add-subgids 100000-165535 makes one)",
                       file, user ? user->pw_name : "this user", user ? user->pw_name : "1000");
    _cleanup_strv_ char **argv = NULL;
    strv_add(&argv, tool);
    strv_take(&argv, str_printf("%d", (int)pid));
    strv_add(&argv, "0");
    strv_take(&argv, str_printf("%u", own));
    strv_add(&argv, "1");
    uint64_t next = 1;
    for (size_t i = 0; i < n && next + ranges[i].count < UINT32_MAX; i++) {
        strv_take(&argv, str_printf("%llu", (unsigned long long)next));
        strv_take(&argv, str_printf("%u", ranges[i].first));
        strv_take(&argv, str_printf("%u", ranges[i].count));
        next += ranges[i].count;
    }
    return process_run((const char *const *)argv, NULL, NULL, err);
}

/* What the kernel lets anybody do: one id of each kind, and setgroups(2) never. */
static int map_one(pid_t pid, struct err *err)
{
    const struct {
        const char *file;
        uint32_t id;
    } maps[] = {{"uid_map", getuid()}, {"gid_map", getgid()}};
    _cleanup_free_ char *groups = str_printf("/proc/%d/setgroups", (int)pid);
    int r = file_poke(groups, "deny", err);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(maps); i++) {
        _cleanup_free_ char *path = str_printf("/proc/%d/%s", (int)pid, maps[i].file);
        _cleanup_free_ char *line = str_printf("0 %u 1", maps[i].id);
        r = file_poke(path, line, err);
    }
    return r;
}

static int map_ids(pid_t pid, char **ret_one_id, struct err *err)
{
    struct err why = {0};
    int r = map_many("newuidmap", "/etc/subuid", pid, getuid(), &why);
    if (r == 0)
        return map_many("newgidmap", "/etc/subgid", pid, getgid(), err);
    r = map_one(pid, err);
    if (r == 0)
        *ret_one_id = mem_strdup(why.msg);
    return r;
}

/* --- inside --- */

static int loopback_up(struct err *err)
{
    _cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &lo) < 0)
        return err_sys(err, errno, "set up lo");
    return 0;
}

static int show_entry(int etc, const char *name, unsigned char type, struct err *err)
{
    _cleanup_free_ char *to = str_printf(".host/%s", name), *path = str_printf("/etc/%s", name);
    char target[4096];
    const char *link = to;
    if (type == DT_LNK) { /* relative ones would lead elsewhere from .host */
        ssize_t n = readlinkat(etc, to, target, sizeof(target) - 1);
        if (n < 0)
            return 0;
        target[n] = '\0';
        link = target;
    }
    return symlink(link, path) < 0 && errno != EEXIST ? err_sys(err, errno, "link %s", path) : 0;
}

/* The host's /etc, but for resolv.conf: the host's resolver may listen where no packet of ours arrives, on
 * its loopback. A mount over that one file would be lost when a network manager replaces it, so everything
 * else is a link into the host's directory. */
static int own_etc(struct err *err)
{
    static const char resolv[] = "# of drover's uplink: slirp4netns asks the host's resolvers\n"
                                 "nameserver " ROOTLESS_DNS "\n";
    _cleanup_close_ int host =
        (int)syscall(SYS_open_tree, AT_FDCWD, "/etc", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
    if (host < 0 || mount("tmpfs", "/etc", "tmpfs", 0, "mode=755,size=1m") < 0 ||
        mkdir("/etc/.host", 0755) < 0 ||
        syscall(SYS_move_mount, host, "", AT_FDCWD, "/etc/.host", MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return err_sys(err, errno, "make /etc anew");
    int r = file_replace("/etc/resolv.conf", resolv, sizeof(resolv) - 1, 0644, false, err);
    _cleanup_close_ int etc = open("/etc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    DIR *d = opendir("/etc/.host");
    if (r == 0 && (!d || etc < 0))
        r = err_sys(err, errno, "read /etc");
    for (struct dirent *e; r == 0 && (e = readdir(d));)
        if (!str_eq(e->d_name, ".") && !str_eq(e->d_name, "..") && !str_eq(e->d_name, "resolv.conf"))
            r = show_entry(etc, e->d_name, e->d_type, err);
    if (d)
        closedir(d);
    return r;
}

static int furnish(struct err *err)
{
    if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
        return err_sys(err, errno, "become root of the user namespace");
    if (unshare(CLONE_NEWNS | CLONE_NEWNET) < 0)
        return err_sys(err, errno, "make a mount and a network namespace");
    /* What the host mounts and unmounts shows here; nothing of ours shows there. */
    if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
        return err_sys(err, errno, "part from the host's mounts");
    int r = loopback_up(err);
    if (r == 0)
        r = own_etc(err);
    return r < 0 ? r : rootless__own_cgroup(err);
}

static _Noreturn void hold_exec(const char *root)
{
    _cleanup_free_ char *binary = NULL;
    if (process_self_path(&binary, NULL) < 0 || !file_exists(binary))
        binary = mem_strdup("/proc/self/exe");
    execl(binary, "drover", "rootless", "hold", "--root", root, (char *)NULL);
    _exit(127);
}

/* The child's side of the conversation: "user namespace made", "ids are mapped", then a struct err or, with
 * the execve, the end. */
static _Noreturn void world_child(const char *root, int talk)
{
    struct err err = {0};
    char c = 0;
    int r = 0;
    prctl(PR_SET_NAME, "drover-hold");
    if (unshare(CLONE_NEWUSER) < 0)
        r = err_sys(&err, errno,
                    "make a user namespace (sysctls that may forbid it: user.max_user_namespaces, "
                    "kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)");
    else if (write(talk, "u", 1) != 1 || read(talk, &c, 1) != 1)
        _exit(1);
    else
        r = furnish(&err);
    if (r == 0)
        hold_exec(root);
    ssize_t ignored _unused_ = write(talk, &err, sizeof(err));
    _exit(1);
}

static int world_parent(int talk, pid_t pid, char **ret_one_id, struct err *err)
{
    struct err said;
    ssize_t n = file_read_full(talk, &said, 1, err);
    if (n == 1 && *(char *)&said == 'u') {
        int r = map_ids(pid, ret_one_id, err);
        if (r < 0)
            return r;
        r = file_write_all(talk, "m", 1, err);
        n = r < 0 ? r : file_read_full(talk, &said, sizeof(said), err);
        if (n == 0)
            return 0;
    } else if (n == 1) {
        n += MAX(file_read_full(talk, (char *)&said + 1, sizeof(said) - 1, err), 0);
    }
    if (n == (ssize_t)sizeof(said))
        return err_copy(err, &said);
    return n < 0 ? (int)n : err_set(err, ERR_SYSTEM, "the process that was to make the namespaces ended");
}

int rootless__world_make(const char *root, pid_t *ret_pid, char **ret_one_id, struct err *err)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return err_sys(err, errno, "make a socket pair");
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        world_child(root, ends[1]);
    }
    close(ends[1]);
    _cleanup_close_ int talk = ends[0];
    if (pid < 0)
        return err_sys(err, errno, "fork");
    int r = world_parent(talk, pid, ret_one_id, err);
    if (r < 0) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        return r;
    }
    *ret_pid = pid;
    return 0;
}

int rootless__world_hold(const char *root, const int *namespaces, size_t count, pid_t *ret_pid,
                         struct err *err)
{
    pid_t pid = fork();
    if (pid == 0) {
        for (size_t i = 0; i < count; i++)
            if (namespaces[i] >= 0 && setns(namespaces[i], 0) < 0)
                _exit(1);
        hold_exec(root);
    }
    if (pid < 0)
        return err_sys(err, errno, "fork");
    *ret_pid = pid;
    return 0;
}

_Noreturn void rootless__hold(void)
{
    prctl(PR_SET_NAME, "drover-hold");
    /* Nothing of whoever started us is held up. */
    syscall(SYS_close_range, 3, ~0U, 0);
    for (;;)
        pause();
}
