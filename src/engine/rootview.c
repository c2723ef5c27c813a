/* The files of a container, running or not. The container's owner decides what is in there: every path is
 * resolved inside its root. */
#include "engine/engine_priv.h"

#include "base/file.h"
#include "engine/userns.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

static int open_plain(int dir, const char *path, int flags)
{
    struct open_how how = {.flags = (uint64_t)flags | O_CLOEXEC,
                           .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    return (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));
}

/* Whether reading it is only that: what else may stand there, opening alone can set off (a watchdog's device
 * that a container made, the kernel's log in /proc, a FIFO). A file of /proc or /sys has no size. */
static bool is_plain(int path_fd, struct stat *ret)
{
    return fstat(path_fd, ret) == 0 && S_ISREG(ret->st_mode) && ret->st_size > 0;
}

/* An O_PATH descriptor that was looked at, for reading. */
static int open_to_read(int path_fd)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", path_fd);
    return open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

enum found { FOUND_HERE, FOUND_BELOW, FOUND_NOWHERE, FOUND_UNCLEAR };

/* Whether one layer decides what <directory>/<name> is. */
static enum found look(int layer, const char *directory, const char *name, int *ret_fd)
{
    struct stat st;
    char value;
    _cleanup_close_ int dir = open_plain(layer, directory, O_RDONLY | O_DIRECTORY);
    if (dir < 0)
        return errno == ENOENT ? FOUND_BELOW : FOUND_UNCLEAR;
    _cleanup_close_ int fd = open_plain(dir, name, O_PATH);
    if (fd >= 0) {
        *ret_fd = is_plain(fd, &st) ? open_to_read(fd) : -EBADF;
        return *ret_fd >= 0 ? FOUND_HERE : FOUND_UNCLEAR;
    }
    if (errno != ENOENT)
        return FOUND_UNCLEAR;
    return fgetxattr(dir, file_overlay_opaque(), &value, 1) == 1 && value == 'y' ? FOUND_NOWHERE
                                                                                 : FOUND_BELOW;
}

/* The common case without a mount: a plain file of the topmost layer that has it. Anything unusual is left to
 * the kernel's overlayfs. */
static enum found look_in_layers(struct container *c, char *const *lowers, const char *directory,
                                 const char *name, int *ret_fd)
{
    _cleanup_free_ char *dir = container__dir(c), *upper = str_printf("%s/upper", dir);
    const char *layers = images_layers_dir(c->engine->images);
    for (size_t i = 0; i == 0 || (lowers && lowers[i - 1]); i++) {
        _cleanup_free_ char *path = i ? str_printf("%s/%s", layers, lowers[i - 1]) : mem_strdup(upper);
        _cleanup_close_ int layer = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (layer < 0)
            return FOUND_UNCLEAR;
        enum found f = look(layer, directory, name, ret_fd);
        if (f != FOUND_BELOW)
            return f;
    }
    return FOUND_NOWHERE;
}

int rootview__read(struct container *c, char *const *lowers, const char *path, size_t max, struct str *ret,
                   struct err *err)
{
    const char *slash = strrchr(path, '/');
    _cleanup_free_ char *directory = mem_strndup(path, (size_t)(slash - path));
    _cleanup_close_ int fd = -EBADF;
    switch (lowers ? look_in_layers(c, lowers, directory, slash + 1, &fd) : FOUND_UNCLEAR) {
    case FOUND_HERE:
        return file_read_fd(fd, max, ret, err);
    case FOUND_NOWHERE:
        return err_set(err, ERR_NOT_FOUND, "%s: no such file", path);
    default:
        break;
    }
    _cleanup_close_ int root = -EBADF;
    int r = rootview__open(c, true, &root, err);
    if (r < 0)
        return r;
    struct stat st;
    _cleanup_close_ int place = file_open_in_root(root, path, O_PATH, 0, err);
    if (place < 0)
        return place;
    if (!is_plain(place, &st) || (fd = open_to_read(place)) < 0)
        return err_set(err, ERR_NOT_FOUND, "%s: not a regular file with something in it", path);
    return file_read_fd(fd, max, ret, err);
}

/* The root of process `pid`, sure to be the container's: its cgroup names the id even if the number was
 * reused. */
static int open_running(struct container *c, pid_t pid, int *ret_fd, struct err *err)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/root", (int)pid);
    _cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && (errno == ENOENT || errno == ESRCH))
        return err_set(err, ERR_BUSY, "container %.12s has just ended", c->id);
    if (fd < 0)
        return err_sys(err, errno, "open the root of container %.12s", c->id);
    struct container_state s = container__state(c);
    /* A security module may keep even us from signalling it; that it is there can be seen all the same. */
    bool same = s.pid == pid && pidfd >= 0 &&
                (syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) == 0 || errno != ESRCH);
    if (!same) {
        close(fd);
        return err_set(err, ERR_BUSY, "container %.12s has just ended", c->id);
    }
    *ret_fd = fd;
    return 0;
}

/* `places`: with what a run has below the image, for things to be mounted over. */
static int open_stopped(struct container *c, bool read_only, bool places, int *ret_fd, struct err *err)
{
    _cleanup_free_ char *dir = container__dir(c);
    struct image_snapshot snapshot = {0};
    if (c->is_volatile && !read_only) { /* and has just ended, or failed to start */
        _cleanup_free_ char *work = str_printf("%s/work", dir);
        file_overlay_forget_volatile(work);
    }
    int r = image_snapshot_open(c->engine->images, *c->image_id ? c->image_id : NULL, dir, &snapshot, err);
    if (r == 0 && places)
        strv_add(&snapshot.lowers, "../init");
    if (r == 0)
        r = image_snapshot_mount(c->engine->images, &snapshot, read_only, ret_fd, err);
    image_snapshot_done(&snapshot);
    return r;
}

int rootview__open_with_places(struct container *c, int *ret_fd, struct err *err)
{
    return open_stopped(c, false, true, ret_fd, err);
}

int rootview__open_over(struct container *c, char *scratch, int *ret_fd, struct err *err)
{
    _cleanup_free_ char *dir = container__dir(c), *own = str_printf("%s/upper", dir);
    struct images *images = c->engine->images;
    struct image_snapshot below = {0}, over = {0};
    int r = mkdtemp(scratch) ? 0 : err_sys(err, errno, "make %s", scratch);
    if (r == 0)
        r = image_snapshot_open(images, *c->image_id ? c->image_id : NULL, dir, &below, err);
    if (r == 0)
        r = image_snapshot_over(images, own, scratch, &over, err);
    if (r == 0) {
        STRV_FOREACH (id, below.lowers)
            strv_add(&over.lowers, *id);
        strv_add(&over.lowers, "../init");
        r = image_snapshot_mount(images, &over, false, ret_fd, err);
    }
    image_snapshot_done(&below);
    image_snapshot_done(&over);
    return r;
}

int rootview__open_ids(struct container *c, bool read_only, int *ret_fd, struct tar_ids *ret_ids,
                       struct err *err)
{
    struct container_state s = container__state(c);
    *ret_ids = (struct tar_ids){0};
    if (s.status == STATUS_RUNNING || s.status == STATUS_PAUSED) {
        _cleanup_json_ json_t *doc = container__doc(c);
        struct userns u = userns__of(doc);
        *ret_ids = (struct tar_ids){u.uid, u.gid, u.count};
        return open_running(c, s.pid, ret_fd, err);
    }
    return open_stopped(c, read_only, false, ret_fd, err);
}

int rootview__open(struct container *c, bool read_only, int *ret_fd, struct err *err)
{
    struct tar_ids ids;
    return rootview__open_ids(c, read_only, ret_fd, &ids, err);
}
