/* /dev of the container (config-linux.md, "Devices", "Default Devices", "Dev symbolic links"). */
#include "runtime/rootfs.h"

#include "base/file.h"
#include "base/str.h"
#include "runtime/idmaps.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_NODES = 512 };

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
        if (plan->mounts[i].bind && !plan->mounts[i].remount && rootfs__is_dev(plan->mounts[i].destination))
            return true;
    return false;
}

/* The directory that holds `path`, made when missing, as `*ret_dir`; what must be closed of it as `*ret_own`.
 */
static int open_parent(int root_fd, int dev_fd, const char *path, int *ret_dir, int *ret_own,
                       const char **ret_name, struct err *err)
{
    const char *slash = strrchr(path, '/');
    *ret_name = slash + 1;
    if (!**ret_name || str_eq(*ret_name, ".") || str_eq(*ret_name, ".."))
        return err_set(err, ERR_INVALID, "device path %s does not name a file", path);
    if (str_after(path, "/dev/") == *ret_name) {
        *ret_dir = dev_fd;
        return 0;
    }
    _cleanup_free_ char *above = mem_strndup(path, (size_t)(slash - path));
    *ret_dir = *ret_own = rootfs__target(root_fd, *above ? above : "/", true, err);
    return *ret_dir < 0 ? *ret_dir : 0;
}

static bool is_same(const struct stat *st, const struct plan_device *device)
{
    return (st->st_mode & S_IFMT) == (device->mode & S_IFMT) &&
           (S_ISFIFO(device->mode) || st->st_rdev == device->number);
}

/* The host's node of that number: by the same name, or as udev lists it. */
static int open_host_node(const struct plan_device *device, struct err *err)
{
    char by_number[64];
    snprintf(by_number, sizeof(by_number), "/dev/%s/%u:%u", S_ISBLK(device->mode) ? "block" : "char",
             major(device->number), minor(device->number));
    const char *const paths[] = {device->path, by_number};
    struct stat st = {0};
    int sys = ENOENT;
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
        _cleanup_close_ int tree = open_tree(AT_FDCWD, paths[i], OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        if (tree >= 0 && fstat(tree, &st) == 0 && is_same(&st, device))
            return take_fd(&tree);
        sys = tree < 0 ? errno : EPERM;
    }
    if (st.st_mode)
        return err_set(err, ERR_DENIED, "device %s cannot be made, and the host's is another one",
                       device->path);
    return err_sys(err, sys, "device %s cannot be made, nor bound from the host", device->path);
}

/* --- nodes made by the parent --- */

static const struct plan_device *device_at(const struct plan *plan, size_t i)
{
    return i < plan->device_count ? &plan->devices[i] : &default_devices[i - plan->device_count];
}

static size_t all_devices(const struct plan *plan)
{
    return plan->device_count + ARRAY_SIZE(default_devices);
}

static int prepare_node(const struct plan *plan, int dir, size_t i, struct err *err)
{
    const struct plan_device *device = device_at(plan, i);
    char name[32];
    snprintf(name, sizeof(name), "%zu", i);
    if (mknodat(dir, name, device->mode, device->number) < 0 ||
        fchmodat(dir, name, device->mode & 07777, 0) < 0 ||
        fchownat(dir, name, idmaps_outside(plan->id_maps.uids, plan->id_maps.uid_count, device->uid),
                 idmaps_outside(plan->id_maps.gids, plan->id_maps.gid_count, device->gid),
                 AT_SYMLINK_NOFOLLOW) < 0)
        return err_sys(err, errno, "make device %s", device->path);
    return 0;
}

/* Before Linux 6.15 only what is mounted in the caller's namespace can be cloned: a process with a namespace
 * of its own, but with our descriptors, mounts the nodes and clones them for us. */
static _Noreturn void clone_nodes(int dir, size_t count, int report)
{
    bool ok = mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) == 0 &&
              move_mount(dir, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) == 0;
    for (size_t i = 0; ok && i < count; i++) {
        char name[32];
        snprintf(name, sizeof(name), "%zu", i);
        int fd = open_tree(dir, name, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        ok = write(report, &fd, sizeof(fd)) == sizeof(fd);
    }
    _exit(0);
}

static int clone_nodes_apart(int dir, int *fds, size_t count, struct err *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_sys(err, errno, "pipe");
    struct clone_args args = {.flags = CLONE_NEWNS | CLONE_FILES};
    pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
    if (pid == 0)
        clone_nodes(dir, count, ends[1]);
    int sys = errno;
    while (pid > 0 && waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
        ;
    close(ends[1]);
    _cleanup_close_ int report = ends[0];
    if (pid < 0)
        return err_sys(err, sys, "make device nodes");
    ssize_t n = file_read_full(report, fds, count * sizeof(*fds), err);
    return n < 0 ? (int)n : 0;
}

int rootfs__prepare_nodes(struct plan *plan, struct err *err)
{
    char data[] = "size=64k,mode=555";
    const struct plan_mount nodes = {.destination = "/dev",
                                     .type = "tmpfs",
                                     .source = "tmpfs",
                                     .data = data,
                                     .attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC};
    size_t count = all_devices(plan);
    if (count > MAX_NODES)
        return err_set(err, ERR_LIMIT, "more than %d devices in a container with a user namespace",
                       MAX_NODES);
    _cleanup_close_ int dir = rootfs__new_filesystem(&nodes, NULL, NULL);
    if (dir < 0)
        return 0; /* who may not do that finds the host's nodes */
    for (size_t i = 0; i < count; i++) {
        int r = S_ISFIFO(device_at(plan, i)->mode) ? 0 : prepare_node(plan, dir, i, err);
        if (r < 0)
            return err->sys == EPERM ? 0 : r;
    }
    plan->node_fds = NEW_N(int, count);
    for (size_t i = 0; i < count; i++)
        plan->node_fds[plan->node_count++] = -EBADF;
    for (size_t i = 0; i < count; i++) {
        char name[32];
        snprintf(name, sizeof(name), "%zu", i);
        plan->node_fds[i] = open_tree(dir, name, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        if (plan->node_fds[i] < 0 && errno == EINVAL)
            return clone_nodes_apart(dir, plan->node_fds, count, err);
    }
    return 0;
}

static int prepared_node(const struct plan *plan, const struct plan_device *device)
{
    for (size_t i = 0; i < plan->node_count; i++)
        if (device_at(plan, i) == device)
            return plan->node_fds[i];
    return -EBADF;
}

/* Where nodes may not be made (a user namespace, a nodev file system) one that was made outside is bound, or
 * the host's. */
static int bind_node(const struct plan *plan, int dir, const char *name, const struct plan_device *device,
                     struct err *err)
{
    int tree = prepared_node(plan, device);
    _cleanup_close_ int own = tree < 0 ? open_host_node(device, err) : -EBADF;
    if (tree < 0 && (tree = own) < 0)
        return own;
    int made = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (made < 0)
        return err_sys(err, errno, "make device %s", device->path);
    close_fd(made);
    return rootfs__attach_at(tree, dir, name, "the place of a device", err);
}

/* --- */

static int set_owner(int dir, const char *name, const struct plan_device *device, struct err *err)
{
    if ((device->uid || device->gid) &&
        fchownat(dir, name, device->uid, device->gid, AT_SYMLINK_NOFOLLOW) < 0)
        return err_sys(err, errno, "set the owner of device %s", device->path);
    return 0;
}

/* "If a file already exists at path that does not match the requested device, the runtime MUST generate an
 * error." */
static int take_existing(int dir, const char *name, const struct plan_device *device, struct err *err)
{
    char path[64];
    struct stat st;
    _cleanup_close_ int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, errno, "device %s", device->path);
    if (!is_same(&st, device))
        return err_set(err, ERR_CONFLICT, "cannot make device %s: the image has another file there",
                       device->path);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if ((st.st_mode & 07777) != (device->mode & 07777) && chmod(path, device->mode & 07777) < 0 &&
        errno != EPERM && errno != EROFS)
        return err_sys(err, errno, "set the mode of device %s", device->path);
    if ((st.st_uid != device->uid || st.st_gid != device->gid) &&
        fchownat(fd, "", device->uid, device->gid, AT_EMPTY_PATH) < 0 && errno != EPERM && errno != EROFS)
        return err_sys(err, errno, "set the owner of device %s", device->path);
    return 0;
}

static int make_device(const struct plan *plan, int root_fd, int dev_fd, const struct plan_device *device,
                       struct err *err)
{
    const char *name;
    int dir;
    _cleanup_close_ int own = -EBADF;
    int r = open_parent(root_fd, dev_fd, device->path, &dir, &own, &name, err);
    if (r < 0)
        return r;
    if (mknodat(dir, name, device->mode, device->number) == 0)
        return set_owner(dir, name, device, err);
    if (errno == EEXIST)
        return take_existing(dir, name, device, err);
    if (errno == EPERM)
        return bind_node(plan, dir, name, device, err);
    return err_sys(err, errno, "make device %s", device->path);
}

static bool config_has(const struct plan *plan, const char *path)
{
    for (size_t i = 0; i < plan->device_count; i++)
        if (str_eq(plan->devices[i].path, path))
            return true;
    return false;
}

/* An image without a /dev of the config's may have brought a symlink to anywhere. */
int rootfs__console_target(int dev, struct err *err)
{
    struct stat st;
    close_fd(openat(dev, "console", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    _cleanup_close_ int target = openat(dev, "console", O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (target < 0 || fstat(target, &st) < 0)
        return err_sys(err, errno, "make /dev/console");
    if (!S_ISREG(st.st_mode) && !S_ISCHR(st.st_mode))
        return err_set(err, ERR_INVALID, "/dev/console is neither a device nor a file in the image");
    return take_fd(&target);
}

int rootfs_make_devices(const struct plan *plan, int root_fd, struct err *err)
{
    bool bound = config_binds_dev(plan);
    _cleanup_close_ int dev = rootfs__target(root_fd, "/dev", true, err);
    if (dev < 0)
        return dev;
    int r = 0;
    for (size_t i = 0; i < plan->device_count && r == 0; i++)
        if (!bound || !str_after(plan->devices[i].path, "/dev/"))
            r = make_device(plan, root_fd, dev, &plan->devices[i], err);
    if (bound)
        return r;
    for (size_t i = 0; i < ARRAY_SIZE(default_devices) && r == 0; i++)
        if (!config_has(plan, default_devices[i].path))
            r = make_device(plan, root_fd, dev, &default_devices[i], err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < ARRAY_SIZE(links); i++)
        if (symlinkat(links[i].target, dev, links[i].name) < 0 && errno != EEXIST)
            return err_sys(err, errno, "make the link /dev/%s", links[i].name);
    return 0;
}
