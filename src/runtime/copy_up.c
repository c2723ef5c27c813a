/* "tmpcopyup": a tmpfs that begins with what the image has at its place. */
#include "runtime/rootfs.h"

#include "base/file.h"
#include "base/str.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { MAX_DEPTH = 128, MAX_ENTRIES = 1 << 20, MAX_XATTRS = 65536 };

struct copy {
    const char *what;
    unsigned entries;
};

static int copy_directory(struct copy *c, int from, int to, unsigned depth, struct err *err);

static int open_below(int dir, const char *name, int flags)
{
    struct open_how how = {.flags = (unsigned)flags | O_NOFOLLOW | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV};
    return (int)syscall(SYS_openat2, dir, name, &how, sizeof(how));
}

static int copy_bytes(struct copy *c, int from, int to, const char *name, struct err *err)
{
    for (;;) {
        ssize_t n = sendfile(to, from, NULL, 1 << 20);
        if (n == 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return err_sys(err, errno, "copy %s to %s", name, c->what);
    }
}

/* What a tmpfs cannot hold (user.* before Linux 6.6) is left out: the attributes of an image are no promise
 * of this option. */
static void copy_xattrs(int from, int to)
{
    char names[4096], value[MAX_XATTRS];
    ssize_t n = flistxattr(from, names, sizeof(names));
    for (char *name = names; n > 0 && name < names + n; name += strlen(name) + 1) {
        ssize_t size = fgetxattr(from, name, value, sizeof(value));
        if (size >= 0 && fsetxattr(to, name, value, (size_t)size, 0) < 0)
            continue;
    }
}

/* An owner whom a user namespace does not know cannot be given; the file then is that of who copies. */
static int give(int fd, const struct stat *st)
{
    return fchown(fd, st->st_uid, st->st_gid) < 0 && errno != EINVAL ? -1 : 0;
}

/* The owner first, which takes away set-user-id bits. */
static int copy_attributes(struct copy *c, int from, int to, const struct stat *st, const char *name,
                           struct err *err)
{
    const struct timespec times[2] = {st->st_atim, st->st_mtim};
    if (give(to, st) < 0 || fchmod(to, st->st_mode & 07777) < 0)
        return err_sys(err, errno, "copy the attributes of %s to %s", name, c->what);
    copy_xattrs(from, to);
    return futimens(to, times) < 0 ? err_sys(err, errno, "copy the times of %s to %s", name, c->what) : 0;
}

static int copy_open(struct copy *c, int from, int to, const char *name, const struct stat *seen,
                     unsigned depth, struct err *err)
{
    bool directory = S_ISDIR(seen->st_mode);
    _cleanup_close_ int in = open_below(from, name, O_RDONLY | O_NONBLOCK | (directory ? O_DIRECTORY : 0));
    if (in < 0 && errno == EXDEV)
        return 0; /* a mount of its own */
    struct stat st;
    if (in < 0 || fstat(in, &st) < 0)
        return err_sys(err, errno, "read %s for %s", name, c->what);
    if ((st.st_mode & S_IFMT) != (seen->st_mode & S_IFMT))
        return err_set(err, ERR_CONFLICT, "%s changed while it was copied to %s", name, c->what);
    if (directory && mkdirat(to, name, 0700) < 0)
        return err_sys(err, errno, "make %s in %s", name, c->what);
    _cleanup_close_ int out =
        directory ? openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                  : openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (out < 0)
        return err_sys(err, errno, "make %s in %s", name, c->what);
    int r = directory ? copy_directory(c, in, out, depth + 1, err) : copy_bytes(c, in, out, name, err);
    return r < 0 ? r : copy_attributes(c, in, out, &st, name, err);
}

static int copy_entry(struct copy *c, int from, int to, const char *name, unsigned depth, struct err *err)
{
    struct stat st;
    char target[4096];
    if (++c->entries > MAX_ENTRIES)
        return err_set(err, ERR_LIMIT, "%s holds more than %d files to copy up", c->what, MAX_ENTRIES);
    if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return err_sys(err, errno, "read %s for %s", name, c->what);
    if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))
        return copy_open(c, from, to, name, &st, depth, err);
    int r;
    if (S_ISLNK(st.st_mode)) {
        ssize_t n = readlinkat(from, name, target, sizeof(target) - 1);
        if (n < 0)
            return err_sys(err, errno, "read %s for %s", name, c->what);
        target[n] = '\0';
        r = symlinkat(target, to, name);
    } else {
        r = mknodat(to, name, st.st_mode, st.st_rdev);
        if (r == 0)
            r = fchmodat(to, name, st.st_mode & 07777, 0);
    }
    if (r == 0 && fchownat(to, name, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) < 0 && errno != EINVAL)
        r = -1;
    return r < 0 ? err_sys(err, errno, "make %s in %s", name, c->what) : 0;
}

static void close_dir_p(DIR **dir)
{
    if (*dir)
        closedir(*dir);
}

static int copy_directory(struct copy *c, int from, int to, unsigned depth, struct err *err)
{
    if (depth > MAX_DEPTH)
        return err_set(err, ERR_LIMIT, "%s holds more than %d levels of directories to copy up", c->what,
                       MAX_DEPTH);
    int own = fcntl(from, F_DUPFD_CLOEXEC, 3);
    _cleanup_(close_dir_p) DIR *dir = own < 0 ? NULL : fdopendir(own);
    if (!dir) {
        close_fd(own);
        return err_sys(err, errno, "read the directory for %s", c->what);
    }
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(dir);
        if (!entry)
            return errno ? err_sys(err, errno, "read the directory for %s", c->what) : 0;
        if (str_eq(entry->d_name, ".") || str_eq(entry->d_name, ".."))
            continue;
        int r = copy_entry(c, from, to, entry->d_name, depth, err);
        if (r < 0)
            return r;
    }
}

int rootfs__copy_up(int from_fd, int to_fd, const char *what, struct err *err)
{
    struct copy c = {.what = what};
    struct stat st;
    _cleanup_close_ int to = openat(to_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (to < 0 || fstat(from_fd, &st) < 0)
        return err_sys(err, errno, "copy up to %s", what);
    int r = copy_directory(&c, from_fd, to, 0, err);
    if (r == 0 && give(to, &st) < 0)
        return err_sys(err, errno, "give %s its owner", what);
    return r;
}
