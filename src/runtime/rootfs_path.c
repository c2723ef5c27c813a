/* Places to mount on, found and made inside a root that its owner controls and may be changing meanwhile. */
#include "runtime/rootfs.h"

#include "base/file.h"
#include "base/str.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAX_LINKS = 40 }; /* as the kernel's */

/* A walk that makes what is missing. Every step is one name from a descriptor, never followed by the kernel;
 * symlinks are read and walked here, so that a dangling one can be made to lead somewhere. */
struct walk {
    int root_fd;
    int dir;          /* where we are */
    struct str below; /* the same as names from the root, without links */
    char *rest;
    unsigned links;
    const char *path; /* for messages */
};

static void walk_done(struct walk *w)
{
    close_fd(w->dir);
    str_free(&w->below);
    free(w->rest);
}

static int reopen(struct walk *w, struct err *err)
{
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                           .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS};
    int fd =
        (int)syscall(SYS_openat2, w->root_fd, w->below.len ? str_get(&w->below) : ".", &how, sizeof(how));
    if (fd < 0)
        return err_sys(err, errno, "open %s", w->path);
    close_fd(w->dir);
    w->dir = fd;
    return 0;
}

static int go_up(struct walk *w, struct err *err)
{
    while (w->below.len && w->below.data[w->below.len - 1] != '/')
        str_truncate(&w->below, w->below.len - 1);
    if (w->below.len)
        str_truncate(&w->below, w->below.len - 1);
    return reopen(w, err);
}

static int follow(struct walk *w, int link, const char *after, struct err *err)
{
    char target[PATH_MAX];
    ssize_t n = readlinkat(link, "", target, sizeof(target) - 1);
    if (n <= 0)
        return err_sys(err, n ? errno : ENOENT, "read a symlink on the way to %s", w->path);
    target[n] = '\0';
    if (++w->links > MAX_LINKS)
        return err_sys(err, ELOOP, "open %s", w->path);
    char *rest = str_printf("%s/%s", target, after);
    free(w->rest);
    w->rest = rest;
    if (*target != '/')
        return 0;
    str_clear(&w->below);
    return reopen(w, err);
}

/* Opens `name` in the present directory, or makes it. Others may be at work there too. */
static int open_or_make(struct walk *w, const char *name, bool directory, struct err *err)
{
    for (int tries = 0; tries < 16; tries++) {
        int fd = openat(w->dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0)
            return fd;
        if (errno != ENOENT)
            return err_sys(err, errno, "open %s", w->path);
        if (directory && mkdirat(w->dir, name, 0755) < 0 && errno != EEXIST)
            return err_sys(err, errno, "create directory %s", w->path);
        if (directory)
            continue;
        int made = openat(w->dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
        if (made < 0 && errno != EEXIST)
            return err_sys(err, errno, "create %s", w->path);
        close_fd(made);
    }
    return err_set(err, ERR_CONFLICT, "open %s: it keeps vanishing", w->path);
}

/* One name of the rest. `*ret_fd` is set when it was the last. */
static int step(struct walk *w, bool directory, int *ret_fd, struct err *err)
{
    char *name = w->rest + strspn(w->rest, "/");
    size_t n = strcspn(name, "/");
    const char *after = name + n + strspn(name + n, "/");
    _cleanup_free_ char *part = mem_strndup(name, n);
    if (n == 0 || str_eq(part, ".")) {
        memmove(w->rest, after, strlen(after) + 1);
        return 0;
    }
    if (str_eq(part, "..")) {
        memmove(w->rest, after, strlen(after) + 1);
        return go_up(w, err);
    }
    bool last = !*after;
    _cleanup_close_ int fd = open_or_make(w, part, directory || !last, err);
    struct stat st;
    if (fd < 0)
        return fd;
    if (fstat(fd, &st) < 0)
        return err_sys(err, errno, "look at %s", w->path);
    if (S_ISLNK(st.st_mode))
        return follow(w, fd, after, err);
    if (!S_ISDIR(st.st_mode)) {
        if (!last)
            return err_sys(err, ENOTDIR, "open %s", w->path);
        *ret_fd = take_fd(&fd);
        return 0;
    }
    str_addf(&w->below, "%s%s", w->below.len ? "/" : "", part);
    memmove(w->rest, after, strlen(after) + 1);
    close_fd(w->dir);
    w->dir = take_fd(&fd);
    return 0;
}

static int make_target(int root_fd, const char *path, bool directory, struct err *err)
{
    _cleanup_(walk_done) struct walk w = {.root_fd = root_fd, .dir = -EBADF, .path = path};
    w.rest = mem_strdup(path);
    int found = -EBADF, r = reopen(&w, err);
    while (r == 0 && found < 0 && w.rest[strspn(w.rest, "/")])
        r = step(&w, directory, &found, err);
    if (r < 0)
        return r;
    return found >= 0 ? found : take_fd(&w.dir);
}

int rootfs__target(int root_fd, const char *path, bool directory, struct err *err)
{
    int fd = file_open_in_root(root_fd, path, O_PATH, 0, err);
    return fd == -ERR_NOT_FOUND ? make_target(root_fd, path, directory, err) : fd;
}

/* The directory of a path's last name, made when missing; *ret_name is that name, in the path. */
static int open_parent(int root_fd, const char *path, const char **ret_name, struct err *err)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    if (!*name || str_eq(name, ".") || str_eq(name, ".."))
        return err_set(err, ERR_INVALID, "%s has no last name", path);
    _cleanup_free_ char *above = str_printf("/%.*s", slash ? (int)(slash - path) : 0, path);
    *ret_name = name;
    return rootfs__target(root_fd, above, true, err);
}

int rootfs__target_itself(int root_fd, const char *path, bool directory, struct err *err)
{
    const char *name;
    _cleanup_close_ int dir = open_parent(root_fd, path, &name, err);
    struct walk w = {.dir = dir, .path = path};
    return dir < 0 ? dir : open_or_make(&w, name, directory, err);
}

int rootfs__make_symlink(int root_fd, const char *path, const char *text, struct err *err)
{
    const char *name;
    char there[PATH_MAX];
    _cleanup_close_ int dir = open_parent(root_fd, path, &name, err);
    if (dir < 0)
        return dir;
    if (symlinkat(text, dir, name) == 0)
        return 0;
    int sys = errno;
    ssize_t n = sys == EEXIST ? readlinkat(dir, name, there, sizeof(there) - 1) : -1;
    there[MAX(n, (ssize_t)0)] = '\0';
    return n >= 0 && str_eq(there, text) ? 0 : err_sys(err, sys, "make the symlink %s", path);
}

int rootfs__plain_directory(int root_fd, const char *path, struct err *err)
{
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                           .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS};
    int fd = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
    if (fd < 0 && errno == ENOENT) {
        close_fd(make_target(root_fd, path, true, err));
        fd = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
    }
    if (fd >= 0)
        return fd;
    if (errno == ELOOP || errno == ENOTDIR)
        return err_set(err, ERR_INVALID, "%s is %s in the image; it must be mounted on ordinary directory",
                       path, errno == ELOOP ? "a symbolic link" : "a file");
    return err_sys(err, errno, "open %s", path);
}

bool rootfs__is_root(const char *path)
{
    while (*path == '/' || (*path == '.' && (path[1] == '/' || !path[1])))
        path++;
    return !*path;
}

static bool names(const char *path, const char *name)
{
    const char *after = str_after(path + strspn(path, "/"), name);
    return after && !after[strspn(after, "/")];
}

bool rootfs__is_dev(const char *path)
{
    return names(path, "dev");
}

/* --- /proc --- */

bool rootfs__is_proc(int fd)
{
    struct statfs fs;
    return fstatfs(fd, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
}

/* Where a descriptor of the root's tree lies, seen from there. */
static int path_in_root(int root_fd, int fd, struct str *ret, struct err *err)
{
    char link[64], root[PATH_MAX], path[PATH_MAX];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", root_fd);
    ssize_t n = readlink(link, root, sizeof(root) - 1);
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t m = n < 0 ? n : readlink(link, path, sizeof(path) - 1);
    if (m < 0)
        return err_sys(err, errno, "find the path of a mount");
    root[n] = path[m] = '\0';
    const char *below = str_eq(root, "/") ? path : str_after(path, root);
    if (!below)
        return err_set(err, ERR_DENIED, "a mount's destination has left the root");
    str_add(ret, below);
    return 0;
}

int rootfs__check_proc(int root_fd, int target_fd, const char *destination, bool brings_proc, struct err *err)
{
    /* What tools such as lxcfs give a container its own view of. */
    static const char *const allowed[] = {
        "/proc/cpuinfo",
        "/proc/diskstats",
        "/proc/meminfo",
        "/proc/stat",
        "/proc/swaps",
        "/proc/uptime",
        "/proc/loadavg",
        "/proc/slabinfo",
        "/proc/net/dev",
        "/proc/version",
        "/proc/sys/kernel/ns_last_pid",
        "/proc/sys/crypto/fips_enabled",
    };
    if (brings_proc)
        return 0;
    if (names(destination, "proc"))
        return err_set(err, ERR_DENIED, "mount of %s: only a proc filesystem can be mounted at /proc",
                       destination);
    if (!rootfs__is_proc(target_fd))
        return 0;
    _cleanup_str_ struct str path = STR_INIT;
    int r = path_in_root(root_fd, target_fd, &path, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < ARRAY_SIZE(allowed); i++)
        if (str_eq(str_get(&path), allowed[i]))
            return 0;
    return err_set(err, ERR_DENIED, "mount of %s: it leads to %s, and nothing may be mounted inside /proc",
                   destination, str_get(&path));
}
