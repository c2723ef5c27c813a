/* What a file has besides its bytes, from one place to another. */
#include "base/err.h"
#include "image/tar_priv.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { XATTR_NAMES_BYTES = 64 * 1024, XATTR_VALUE_BYTES = 64 * 1024 };

static int copy_xattrs(int from_fd, int to_fd, struct err *err)
{
    ssize_t n = flistxattr(from_fd, NULL, 0);
    if (n <= 0)
        return 0; /* none, or a file system without them */
    _cleanup_free_ char *names = mem_new(XATTR_NAMES_BYTES), *value = NULL;
    n = flistxattr(from_fd, names, XATTR_NAMES_BYTES);
    for (const char *name = names; n > 0 && name < names + n; name += strlen(name) + 1) {
        if (!tar__xattr_travels(name))
            continue;
        if (!value)
            value = mem_new(XATTR_VALUE_BYTES);
        ssize_t size = fgetxattr(from_fd, name, value, XATTR_VALUE_BYTES);
        if (size >= 0 && fsetxattr(to_fd, name, value, (size_t)size, 0) < 0 &&
            !(errno == EOPNOTSUPP && str_after(name, "user.")))
            return err_sys(err, errno, "set extended attribute %s", name);
    }
    return 0;
}

int tar__copy_attributes(int from_fd, int to_fd, const struct stat *st, struct err *err)
{
    const struct timespec times[2] = {st->st_atim, st->st_mtim};
    if (fchown(to_fd, st->st_uid, st->st_gid) < 0 || fchmod(to_fd, st->st_mode & 07777) < 0)
        return err_sys(err, errno, "set owner and mode");
    int r = copy_xattrs(from_fd, to_fd, err);
    if (r == 0 && futimens(to_fd, times) < 0)
        return err_sys(err, errno, "set time");
    return r;
}

int tar__copy_data(int from_fd, int to_fd, int64_t size, struct err *err)
{
    enum { CHUNK = 128 * 1024, KERNEL_CHUNK = 1 << 30 };
    /* The kernel copies best (and shares blocks where the file system can). */
    for (;;) {
        ssize_t n = copy_file_range(from_fd, NULL, to_fd, NULL, KERNEL_CHUNK, 0);
        if (n == 0)
            return 0;
        if (n < 0 && errno != EINTR)
            break;
    }
    if (errno == ENOSPC || errno == EDQUOT || errno == EIO)
        return err_sys(err, errno, "copy");
    _cleanup_free_ char *buffer = mem_new(CHUNK);
    for (;;) {
        ssize_t n = read(from_fd, buffer, CHUNK), done = 0;
        if (n == 0)
            return 0;
        if (n < 0)
            return err_sys(err, errno, "copy");
        while (done < n) {
            ssize_t w = write(to_fd, buffer + done, (size_t)(n - done));
            if (w < 0 && errno != EINTR)
                return err_sys(err, errno, "copy");
            done += MAX(w, 0);
        }
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int tar__list_dir(int dir_fd, char ***ret, struct err *err)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        close_fd(fd);
        return err_sys(err, errno, "read directory");
    }
    char **names = NULL;
    size_t count = 0, capacity = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        if (str_eq(e->d_name, ".") || str_eq(e->d_name, ".."))
            continue;
        GROW(names, count, capacity);
        names[count++] = mem_strdup(e->d_name);
    }
    closedir(dir);
    GROW(names, count, capacity);
    names[count] = NULL;
    qsort(names, count, sizeof(*names), by_name);
    *ret = names;
    return 0;
}
