/* Directories of containers that are no more, kept for the next ones. A file system that makes and deletes
 * thousands of inodes a second pays for it: ext4 without a journal, for one, searches past every inode that
 * was deleted within the last minute. A directory comes back as it was made, or not at all: nothing in the
 * layer, no attribute, flag or owner that a container could have left on its root. */
#include "engine/engine_priv.h"

#include "base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

enum {
    FLAGS_OF_OWNERS = FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL | FS_NOATIME_FL | FS_SYNC_FL |
                      FS_DIRSYNC_FL | FS_SECRM_FL | FS_UNRM_FL | FS_COMPR_FL | FS_NOCOMP_FL |
                      FS_JOURNAL_DATA_FL | FS_TOPDIR_FL | FS_PROJINHERIT_FL | FS_CASEFOLD_FL
};

/* Calls `one` for the entries of a directory just opened, until it returns false; false then, and when it
 * cannot be read. On the stack: opendir(3) takes 32 KB from the heap, for directories of two names. */
static bool each_entry(int fd, bool (*one)(int fd, const char *name, unsigned char type))
{
    char buffer[2048] __attribute__((aligned(__alignof__(struct dirent64))));
    ssize_t n;
    while ((n = getdents64(fd, buffer, sizeof(buffer))) > 0)
        for (ssize_t at = 0; at < n;) {
            const struct dirent64 *e = (const struct dirent64 *)(buffer + at);
            at += e->d_reclen;
            if (!str_eq(e->d_name, ".") && !str_eq(e->d_name, "..") && !one(fd, e->d_name, e->d_type))
                return false;
        }
    return n == 0;
}

static bool none(int fd, const char *name, unsigned char type)
{
    return false;
}

/* Those of overlayfs itself (its uuid) go; any other is the container's. */
static bool clear_attributes(int fd)
{
    char names[1024];
    ssize_t n = flistxattr(fd, names, sizeof(names));
    for (char *name = names; n > 0 && name < names + n; name += strlen(name) + 1) {
        if (!str_after(name, "trusted.overlay.") && !str_after(name, "user.overlay."))
            return false;
        if (fremovexattr(fd, name) < 0)
            return false;
    }
    return n >= 0 || errno == ENOTSUP;
}

static bool is_pristine(int dir, const char *name)
{
    _cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    int flags = 0;
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_uid || st.st_gid || !clear_attributes(fd))
        return false;
    if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0 && errno != ENOTTY && errno != EOPNOTSUPP)
        return false;
    return !(flags & FLAGS_OF_OWNERS) && each_entry(fd, none);
}

/* Logs, of whatever driver, and what goes with them. */
static bool remove_file(int fd, const char *name, unsigned char type)
{
    if (type != DT_DIR)
        unlinkat(fd, name, 0);
    return true;
}

bool spare__put(struct engine *e, const char *dir)
{
    /* "work/work" is the kernel's, and goes only when it is empty, too. */
    _cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || !is_pristine(fd, CONTAINER_UPPER))
        return false;
    each_entry(
        fd,
        remove_file); /* the log's cursor among them: the next container's lines would be taken for sent */
    int r = unlinkat(fd, "work/work", AT_REMOVEDIR);
    if (r < 0 && errno == ENOTEMPTY) {
        _cleanup_free_ char *work = str_printf("%s/work", dir);
        file_overlay_forget_volatile(work);
        r = unlinkat(fd, "work/work", AT_REMOVEDIR);
    }
    if (r < 0 && errno != ENOENT)
        return false;
    if (!is_pristine(fd, "work"))
        return false;
    char name[32];
    SCOPED_LOCK(lock, &e->spare_lock);
    if (e->spare_count == SPARES_MAX)
        return false;
    snprintf(name, sizeof(name), "%llu", (unsigned long long)e->spare_next);
    _cleanup_free_ char *path = str_printf("%s/spare/%s", e->root, name);
    /* Should more be in it, it is found when it is taken. */
    if (rename(dir, path) < 0)
        return false;
    e->spares[e->spare_count++] = e->spare_next++;
    return true;
}

static bool is_layer(int fd, const char *name, unsigned char type)
{
    return str_eq(name, CONTAINER_UPPER) || str_eq(name, "work");
}

static bool only_layers(const char *path)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 && each_entry(fd, is_layer);
}

bool spare__take(struct engine *e, const char *dir)
{
    pthread_mutex_lock(&e->spare_lock);
    bool any = e->spare_count > 0;
    uint64_t number = any ? e->spares[--e->spare_count] : 0;
    pthread_mutex_unlock(&e->spare_lock);
    if (!any)
        return false;
    _cleanup_free_ char *path = str_printf("%s/spare/%llu", e->root, (unsigned long long)number);
    if (only_layers(path) && rename(path, dir) == 0)
        return true;
    struct err err;
    if (file_remove_tree(path, &err) < 0)
        log_warning("%s", err.msg);
    return false;
}

/* Those of another time are not known any more. */
void spare__clear(const char *root)
{
    _cleanup_free_ char *path = str_printf("%s/spare", root);
    struct err err;
    if (file_remove_tree(path, &err) < 0 || file_mkdirs(path, 0710, &err) < 0)
        log_warning("%s", err.msg);
}
