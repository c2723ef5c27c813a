#include "runtime/rootfs.h"

#include "base/file.h"
#include "base/str.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { OVERLAY_DATA_MAX = 4095 };

static int set_initial_propagation(const struct plan *plan, struct err *err)
{
    /* Slave: an unmount on the host still reaches our copy of its mounts and is not held up by it, but
     * nothing of ours goes back. A shared root is the config's express wish. */
    unsigned long flags = plan->root_propagation & MS_SHARED    ? MS_SHARED
                          : plan->root_propagation & MS_PRIVATE ? MS_PRIVATE
                                                                : MS_SLAVE;
    if (mount(NULL, "/", NULL, flags | MS_REC, NULL) < 0)
        return err_sys(err, errno, "change the propagation of mounts");
    return 0;
}

/* A comma, a colon and a backslash have a meaning in overlay's options. */
static void add_escaped(struct str *data, const char *path)
{
    for (; *path; path++) {
        if (strchr("\\,:", *path))
            str_addc(data, '\\');
        str_addc(data, *path);
    }
}

static int overlay_data(const struct runtime_overlay *overlay, struct str *data, struct err *err)
{
    str_add(data, "lowerdir=");
    for (const char *const *lower = overlay->lowers; *lower; lower++) {
        if (lower != overlay->lowers)
            str_addc(data, ':');
        add_escaped(data, *lower);
    }
    if (overlay->upper) {
        str_add(data, ",upperdir=");
        add_escaped(data, overlay->upper);
        str_add(data, ",workdir=");
        add_escaped(data, overlay->work);
    }
    /* Each layer stays readable on its own: no redirects, no metadata-only copies, no index. */
    str_add(data, ",index=off,metacopy=off,redirect_dir=off");
    if (data->len > OVERLAY_DATA_MAX)
        return err_set(err, ERR_LIMIT, "the image has too many layers: their names take %zu bytes of %d",
                       data->len, OVERLAY_DATA_MAX);
    return 0;
}

static int mount_overlay(const struct plan *plan, struct err *err)
{
    const struct runtime_overlay *overlay = plan->overlay;
    if (chdir(overlay->layers_dir) < 0)
        return err_sys(err, errno, "enter %s", overlay->layers_dir);
    if (!overlay->lowers[0])
        return err_set(err, ERR_INVALID, "an overlay root needs at least one layer");
    /* One layer and nothing to write to: overlayfs refuses that, and a read-only bind is the same thing. */
    if (!overlay->upper && !overlay->lowers[1]) {
        if (mount(overlay->lowers[0], plan->root, NULL, MS_BIND, NULL) < 0 ||
            mount(NULL, plan->root, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) < 0)
            return err_sys(err, errno, "mount layer %s at %s", overlay->lowers[0], plan->root);
        return 0;
    }
    _cleanup_str_ struct str data = STR_INIT;
    int r = overlay_data(overlay, &data, err);
    if (r < 0)
        return r;
    if (mount("overlay", plan->root, "overlay", 0, str_get(&data)) < 0)
        return err_sys(err, errno, "mount the overlay at %s (%s)", plan->root, str_get(&data));
    return 0;
}

/* pivot_root refuses when the mount that holds the new root is shared (pivot_root(2)). It is the first
 * directory, going up, that is a mount. */
static int make_parent_private(const char *root, struct err *err)
{
    _cleanup_free_ char *path = mem_strdup(root);
    for (;;) {
        if (mount(NULL, path, NULL, MS_PRIVATE, NULL) == 0)
            return 0;
        if (errno != EINVAL || !path[1])
            return err_sys(err, errno, "make %s private", path);
        char *slash = strrchr(path, '/');
        slash[slash == path] = '\0';
    }
}

int rootfs_mount_root(const struct plan *plan, int *ret_root_fd, struct err *err)
{
    int r = set_initial_propagation(plan, err);
    if (r == 0 && plan->root_propagation & MS_SHARED)
        r = make_parent_private(plan->root, err);
    if (r < 0)
        return r;
    if (plan->overlay)
        r = mount_overlay(plan, err);
    else if (mount(plan->root, plan->root, NULL, MS_BIND | MS_REC, NULL) < 0)
        r = err_sys(err, errno, "bind the root %s", plan->root);
    if (r < 0)
        return r;
    if (plan->root_propagation & MS_SHARED && mount(NULL, plan->root, NULL, MS_PRIVATE, NULL) < 0)
        return err_sys(err, errno, "make %s private", plan->root);
    int fd = open(plan->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "open the root %s", plan->root);
    *ret_root_fd = fd;
    return 0;
}

int rootfs_enter(const struct plan *plan, int root_fd, struct err *err)
{
    _cleanup_close_ int old = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (old < 0)
        return err_sys(err, errno, "open /");
    /* pivot_root(".", "."), pivot_root(2): the old root lies on the new one and is taken off from there. */
    if (fchdir(root_fd) < 0 || syscall(SYS_pivot_root, ".", ".") < 0)
        return err_sys(err, errno, "pivot_root to %s", plan->root);
    if (fchdir(old) < 0)
        return err_sys(err, errno, "enter the old root");
    /* Taking off a shared tree would take it off the host. */
    if (plan->root_propagation & MS_SHARED && mount(NULL, ".", NULL, MS_SLAVE | MS_REC, NULL) < 0)
        return err_sys(err, errno, "detach the old root from the host");
    if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return err_sys(err, errno, "leave the old root");
    return 0;
}

/* --- inside --- */

/* What lies over a masked file and over a masked directory. */
struct covers {
    int null_fd, empty_fd;
    bool empty_used;
};

static int mask_path(const char *path, struct covers *covers, struct err *err)
{
    _cleanup_close_ int target = open(path, O_PATH | O_CLOEXEC);
    if (target < 0) {
        if (errno == ENOENT || errno == ENOTDIR || errno == EACCES || errno == ELOOP)
            return 0;
        return err_sys(err, errno, "mask %s", path);
    }
    struct stat st;
    if (fstat(target, &st) < 0)
        return err_sys(err, errno, "mask %s", path);
    /* A kernel before 6.15 clones only what is mounted in our namespace: the first one is the original. */
    if (S_ISDIR(st.st_mode) && !covers->empty_used) {
        covers->empty_used = true;
        return rootfs__attach(covers->empty_fd, target, path, err);
    }
    int cover = S_ISDIR(st.st_mode) ? covers->empty_fd : covers->null_fd;
    _cleanup_close_ int tree = open_tree(cover, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    if (tree < 0)
        return err_sys(err, errno, "mask %s", path);
    return rootfs__attach(tree, target, path, err);
}

/* What lies over masked files. The container's /dev/null could be anything when the image brought its own,
 * so it is only used when it is the real one. */
static int open_null(struct err *err)
{
    _cleanup_close_ int fd = open("/dev/null", O_PATH | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, errno, "masking paths needs /dev/null");
    if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3))
        return err_set(err, ERR_INVALID, "the container's /dev/null is not the null device");
    return take_fd(&fd);
}

/* One empty read-only tmpfs, not mounted anywhere, of which every masked directory gets a clone. */
static int open_empty(struct err *err)
{
    _cleanup_close_ int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
    if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "size", "0k", 0) < 0 ||
        fsconfig(fs, FSCONFIG_SET_STRING, "nr_inodes", "1", 0) < 0 ||
        fsconfig(fs, FSCONFIG_SET_STRING, "mode", "555", 0) < 0 ||
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return err_sys(err, errno, "make an empty tmpfs");
    int fd = fsmount(fs, FSMOUNT_CLOEXEC,
                     MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    return fd < 0 ? err_sys(err, errno, "make an empty tmpfs") : fd;
}

static int mask_all(const struct plan *plan, struct err *err)
{
    if (!strv_len(plan->masked_paths))
        return 0;
    _cleanup_close_ int null_fd = open_null(err);
    if (null_fd < 0)
        return null_fd;
    _cleanup_close_ int empty_fd = open_empty(err);
    if (empty_fd < 0)
        return empty_fd;
    struct covers covers = {null_fd, empty_fd, false};
    STRV_FOREACH (path, plan->masked_paths) {
        int r = mask_path(*path, &covers, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int protect_path(const char *path, struct err *err)
{
    _cleanup_close_ int tree = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
    if (tree < 0) {
        if (errno == ENOENT || errno == ENOTDIR || errno == EACCES || errno == ELOOP)
            return 0;
        return err_sys(err, errno, "make %s read-only", path);
    }
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
    if (mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0)
        return err_sys(err, errno, "make %s read-only", path);
    _cleanup_close_ int target = open(path, O_PATH | O_CLOEXEC);
    if (target < 0)
        return err_sys(err, errno, "make %s read-only", path);
    return rootfs__attach(tree, target, path, err);
}

int rootfs_protect(const struct plan *plan, struct err *err)
{
    STRV_FOREACH (path, plan->readonly_paths) {
        int r = protect_path(*path, err);
        if (r < 0)
            return r;
    }
    int r = mask_all(plan, err);
    if (r < 0)
        return r;
    struct mount_attr attr = {.attr_set = plan->root_readonly ? MOUNT_ATTR_RDONLY : 0};
    if (attr.attr_set && mount_setattr(AT_FDCWD, "/", 0, &attr, sizeof(attr)) < 0)
        return err_sys(err, errno, "make the root read-only");
    unsigned long propagation = plan->root_propagation ? plan->root_propagation : MS_PRIVATE;
    if (mount(NULL, "/", NULL, propagation, NULL) < 0)
        return err_sys(err, errno, "set the propagation of the root");
    return 0;
}
