/* /dev of the container (config-linux.md, "Devices", "Default Devices", "Dev symbolic links"). */
#include "runtime/rootfs.h"

#include "base/file.h"
#include "base/str.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

/* makedev() of small numbers, as a constant. */
#define SMALL_DEVICE(major_, minor_) ((dev_t)(major_) << 8 | (minor_))

static const struct plan_device default_devices[] = {
    {"/dev/null", S_IFCHR | 0666, SMALL_DEVICE(1, 3), 0, 0},
    {"/dev/zero", S_IFCHR | 0666, SMALL_DEVICE(1, 5), 0, 0},
    {"/dev/full", S_IFCHR | 0666, SMALL_DEVICE(1, 7), 0, 0},
    {"/dev/random", S_IFCHR | 0666, SMALL_DEVICE(1, 8), 0, 0},
    {"/dev/urandom", S_IFCHR | 0666, SMALL_DEVICE(1, 9), 0, 0},
    {"/dev/tty", S_IFCHR | 0666, SMALL_DEVICE(5, 0), 0, 0},
};

static const struct {
    const char *name, *target;
} links[] = {
    {"fd", "/proc/self/fd"},       {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"},
    {"stderr", "/proc/self/fd/2"}, {"ptmx", "pts/ptmx"},         {"core", "/proc/kcore"},
};

static bool config_binds_dev(const struct plan *plan)
{
    for (size_t i = 0; i < plan->mount_count; i++)
        if (plan->mounts[i].bind &&
            (str_eq(plan->mounts[i].destination, "/dev") || str_eq(plan->mounts[i].destination, "/dev/")))
            return true;
    return false;
}

/* Opens the directory that holds `path`, made when missing, and gives the last part of the name. */
static int open_parent(int root_fd, int dev_fd, const char *path, const char **ret_name, struct err *err)
{
    const char *slash = strrchr(path, '/');
    *ret_name = slash + 1;
    if (!**ret_name || str_eq(*ret_name, ".") || str_eq(*ret_name, ".."))
        return err_set(err, ERR_INVALID, "device path %s does not name a file", path);
    const char *below = str_after(path, "/dev/");
    if (below == *ret_name && dev_fd >= 0) {
        int fd = fcntl(dev_fd, F_DUPFD_CLOEXEC, 3);
        return fd < 0 ? err_sys(err, errno, "dup") : fd;
    }
    _cleanup_free_ char *above = mem_strndup(path, (size_t)(slash - path));
    return file_mkdirs_in_root(root_fd, above, 0755, err);
}

/* Where nodes may not be made (a user namespace, a nodev file system) the host's node is bound instead. */
static int bind_node(int root_fd, const struct plan_device *device, struct err *err)
{
    _cleanup_close_ int tree = open_tree(AT_FDCWD, device->path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    struct stat st;
    if (tree < 0 || fstat(tree, &st) < 0)
        return err_sys(err, errno, "device %s cannot be made, nor bound from the host", device->path);
    if ((st.st_mode & S_IFMT) != (device->mode & S_IFMT) || st.st_rdev != device->number)
        return err_set(err, ERR_DENIED, "device %s cannot be made, and the host's is another one",
                       device->path);
    _cleanup_close_ int target = rootfs__target(root_fd, device->path, false, err);
    return target < 0 ? target : rootfs__attach(tree, target, device->path, err);
}

static int existing_is_same(int dir, const char *name, const struct plan_device *device, struct err *err)
{
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return err_sys(err, errno, "device %s", device->path);
    if ((st.st_mode & S_IFMT) != (device->mode & S_IFMT) || st.st_rdev != device->number)
        return err_set(err, ERR_CONFLICT, "cannot make device %s: the image has another file there",
                       device->path);
    return 0;
}

static int make_device(int root_fd, int dev_fd, const struct plan_device *device, struct err *err)
{
    const char *name;
    _cleanup_close_ int dir = open_parent(root_fd, dev_fd, device->path, &name, err);
    if (dir < 0)
        return dir;
    if (mknodat(dir, name, device->mode, device->number) < 0) {
        if (errno == EEXIST)
            return existing_is_same(dir, name, device, err);
        if (errno == EPERM)
            return bind_node(root_fd, device, err);
        return err_sys(err, errno, "make device %s", device->path);
    }
    if ((device->uid || device->gid) &&
        fchownat(dir, name, device->uid, device->gid, AT_SYMLINK_NOFOLLOW) < 0)
        return err_sys(err, errno, "set the owner of device %s", device->path);
    return 0;
}

/* The terminal is one of the host's; its own path leads there, and nothing of the container is looked at. */
static int make_console(int root_fd, int tty_fd, struct err *err)
{
    char link[64], path[128];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", tty_fd);
    ssize_t n = readlink(link, path, sizeof(path) - 1);
    if (n < 0)
        return err_sys(err, errno, "find the terminal");
    path[n] = '\0';
    struct stat here, there;
    _cleanup_close_ int tree = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (tree < 0)
        return errno == ENOENT ? 0 : err_sys(err, errno, "open the terminal %s", path);
    if (fstat(tree, &there) < 0 || fstat(tty_fd, &here) < 0 || here.st_rdev != there.st_rdev)
        return 0; /* of another devpts instance: /dev/console stays absent, as without a terminal */
    _cleanup_close_ int target = rootfs__target(root_fd, "/dev/console", false, err);
    return target < 0 ? target : rootfs__attach(tree, target, "/dev/console", err);
}

int rootfs_make_devices(const struct plan *plan, int root_fd, int tty_fd, struct err *err)
{
    if (config_binds_dev(plan))
        return 0;
    _cleanup_close_ int dev = file_mkdirs_in_root(root_fd, "/dev", 0755, err);
    if (dev < 0)
        return dev;
    int r = 0;
    for (size_t i = 0; i < ARRAY_SIZE(default_devices) && r == 0; i++)
        r = make_device(root_fd, dev, &default_devices[i], err);
    for (size_t i = 0; i < plan->device_count && r == 0; i++)
        r = make_device(root_fd, dev, &plan->devices[i], err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < ARRAY_SIZE(links); i++)
        if (symlinkat(links[i].target, dev, links[i].name) < 0 && errno != EEXIST)
            return err_sys(err, errno, "make the link /dev/%s", links[i].name);
    return tty_fd >= 0 ? make_console(root_fd, tty_fd, err) : 0;
}
