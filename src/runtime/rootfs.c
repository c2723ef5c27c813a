#include "runtime/rootfs.h"

#include "base/file.h"
#include "base/process.h"
#include "base/str.h"

#include <fcntl.h>
#include <sched.h>
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

static int overlay_data(const struct plan *plan, struct str *data, struct err *err)
{
    const struct runtime_overlay *overlay = plan->overlay;
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
    /* Each layer stays readable on its own: no redirects, no metadata-only copies, no index. In a user
     * namespace the marks are user.*, which rules out redirects by itself. */
    bool mapped = plan->namespaces & CLONE_NEWUSER || process_in_user_namespace();
    str_add(data, mapped ? ",index=off,userxattr" : ",index=off,metacopy=off,redirect_dir=off");
    if (overlay->upper && overlay->is_volatile)
        str_add(data, ",volatile");
    if (!str_empty(plan->mount_label))
        str_addf(data, ",context=\"%s\"", plan->mount_label);
    if (data->len > OVERLAY_DATA_MAX)
        return err_set(err, ERR_LIMIT, "the image has too many layers: their names take %zu bytes of %d",
                       data->len, OVERLAY_DATA_MAX);
    return 0;
}

int rootfs__mount_overlay(const struct plan *plan, struct err *err)
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
    if (overlay->upper && overlay->is_volatile)
        file_overlay_forget_volatile(overlay->work);
    _cleanup_str_ struct str data = STR_INIT;
    int r = overlay_data(plan, &data, err);
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

/* Over "/", which hides nothing from a process whose root lies below: so that the place of the root need not
 * be one that a mapped root could reach. */
static int attach_prepared(const struct plan *plan, int *ret_root_fd, struct err *err)
{
    struct mount_attr attr = {.propagation = MS_SLAVE};
    if (!(plan->root_propagation & MS_SHARED) &&
        mount_setattr(plan->root_fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0)
        return err_sys(err, errno, "set the propagation of the root");
    if (move_mount(plan->root_fd, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return err_sys(err, errno, "mount the root %s", plan->root);
    int fd = fcntl(plan->root_fd, F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        return err_sys(err, errno, "dup");
    *ret_root_fd = fd;
    return 0;
}

static int open_root(const char *path, int *ret_root_fd, struct err *err)
{
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "open the root %s", path);
    *ret_root_fd = fd;
    return 0;
}

int rootfs_mount_root(const struct plan *plan, int *ret_root_fd, struct err *err)
{
    /* In somebody else's mount namespace nothing is changed but what the config says. */
    if (!(plan->new_namespaces & CLONE_NEWNS))
        return open_root(plan->root, ret_root_fd, err);
    if (plan->late_namespaces & CLONE_NEWNS) {
        int fd = rootfs__open_late_root(plan, err);
        if (fd >= 0)
            *ret_root_fd = fd;
        return MIN(fd, 0);
    }
    int r = set_initial_propagation(plan, err);
    if (r == 0 && plan->root_propagation & MS_SHARED)
        r = make_parent_private(plan->root_prepared ? "/" : plan->root, err);
    if (r < 0)
        return r;
    if (plan->root_prepared)
        return attach_prepared(plan, ret_root_fd, err);
    if (plan->overlay)
        r = rootfs__mount_overlay(plan, err);
    else if (mount(plan->root, plan->root, NULL, MS_BIND | MS_REC, NULL) < 0)
        r = err_sys(err, errno, "bind the root %s", plan->root);
    if (r < 0)
        return r;
    if (plan->root_propagation & MS_SHARED && mount(NULL, plan->root, NULL, MS_PRIVATE, NULL) < 0)
        return err_sys(err, errno, "make %s private", plan->root);
    return open_root(plan->root, ret_root_fd, err);
}

/* --- entering --- */

static int change_root(int root_fd, struct err *err)
{
    if (fchdir(root_fd) < 0 || chroot(".") < 0 || chdir("/") < 0)
        return err_sys(err, errno, "change the root");
    return 0;
}

/* What shows the whole machine is taken off first: it would stay mounted below, where a process that breaks
 * out of its chroot finds it. */
static void drop_kernel_filesystems(const char *root)
{
    _cleanup_str_ struct str text = STR_INIT;
    if (file_read("/proc/self/mountinfo", 16 << 20, &text, NULL) < 0)
        return;
    _cleanup_strv_ char **lines = strv_split(str_get(&text), '\n');
    STRV_FOREACH (line, lines) {
        _cleanup_strv_ char **fields = strv_split(*line, ' ');
        const char *type = strstr(*line, " - ");
        if (strv_len(fields) < 7 || !type || (!str_after(type, " - proc ") && !str_after(type, " - sysfs ")))
            continue;
        const char *path = fields[4], *below = str_after(path, root);
        if (!below || (*below && *below != '/'))
            umount2(path, MNT_DETACH);
    }
}

/* For a root that pivot_root refuses, such as an initramfs. */
static int move_root(const struct plan *plan, int root_fd, struct err *err)
{
    if (!plan->root_prepared)
        drop_kernel_filesystems(plan->root);
    if (fchdir(root_fd) < 0 || (!plan->root_prepared && mount(".", "/", NULL, MS_MOVE, NULL) < 0))
        return err_sys(err, errno, "move the root %s", plan->root);
    return change_root(root_fd, err);
}

enum { MAX_LATER = 256 };

static struct {
    int fds[MAX_LATER];
    size_t count;
} read_only_later;

int rootfs__read_only_later(int fd, struct err *err)
{
    int own = read_only_later.count < MAX_LATER ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
    if (own < 0)
        return err_set(err, ERR_LIMIT, "more than %d read-only mounts of tmpfs", MAX_LATER);
    read_only_later.fds[read_only_later.count++] = own;
    return 0;
}

int rootfs__make_read_only(struct err *err)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
    for (size_t i = 0; i < read_only_later.count; i++)
        if (mount_setattr(read_only_later.fds[i], "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
            return err_sys(err, errno, "make a tmpfs read-only");
    for (size_t i = 0; i < read_only_later.count; i++)
        close_fd(read_only_later.fds[i]);
    read_only_later.count = 0;
    return 0;
}

int rootfs_enter(const struct plan *plan, int root_fd, struct err *err)
{
    if (!(plan->new_namespaces & CLONE_NEWNS))
        return change_root(root_fd, err);
    if (plan->late_namespaces & CLONE_NEWNS)
        return rootfs__enter_late(root_fd, err);
    if (plan->no_pivot)
        return move_root(plan, root_fd, err);
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
