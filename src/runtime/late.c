/* The quick way into a container's root, for who launches many.
 *
 * A new mount namespace is a copy of the present one, whose mounts are then taken off again, and pivot_root
 * looks at every process of the machine: both grow with the host. Here the root is built as a detached tree
 * while the child is in the host's namespace still, where a detached tree changes nothing; then the child
 * enters a copy of a namespace that holds one empty directory, and puts its root over that. What is left
 * below is what a pivot_root leaves: an empty root that nobody can reach.
 *
 * Needs mounts inside of detached mounts (Linux 6.15), and the rights of who made the empty namespace. */
#include "runtime/rootfs.h"

#include "base/file.h"
#include "base/process.h"
#include "base/str.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_VALUE = 255, MAX_LAYERS = 500 }; /* fsconfig(2); overlayfs */

/* Made at the first use. */
static struct {
    bool tried;
    int fd;
} base = {false, -EBADF};

static int new_tmpfs(const char *options)
{
    const struct plan_mount tmpfs = {
        .destination = "/",
        .type = "tmpfs",
        .source = "none",
        .data = (char *)options,
        .attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
    };
    return rootfs__new_filesystem(&tmpfs, NULL, NULL);
}

static bool kernel_can(void)
{
    _cleanup_close_ int outer = new_tmpfs("size=4k,nr_inodes=4"), inner = new_tmpfs("size=4k,nr_inodes=4");
    return outer >= 0 && inner >= 0 && mkdirat(outer, "x", 0700) == 0 &&
           move_mount(inner, "", outer, "x", MOVE_MOUNT_F_EMPTY_PATH) == 0;
}

/* Takes everything off and leaves `empty` as the root. */
static int strip(int empty)
{
    int old = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (old < 0 || mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0 ||
        move_mount(empty, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0 || fchdir(empty) < 0 ||
        syscall(SYS_pivot_root, ".", ".") < 0 || fchdir(old) < 0 || umount2(".", MNT_DETACH) < 0)
        return -1;
    return mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
}

static _Noreturn void hold_base(pid_t parent, int empty, int ready)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) /* it died before it could be noticed */
        _exit(1);
    if (strip(empty) == 0 && write(ready, "r", 1) == 1)
        for (;;)
            pause();
    _exit(1);
}

static int make_base(void)
{
    int ends[2];
    _cleanup_close_ int empty = kernel_can() ? new_tmpfs("size=4k,nr_inodes=1,mode=555") : -EBADF;
    if (empty < 0 || pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    struct clone_args args = {.flags = CLONE_NEWNS};
    pid_t parent = getpid();
    pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
    if (pid == 0)
        hold_base(parent, empty, ends[1]);
    close(ends[1]);
    _cleanup_close_ int ready = ends[0];
    if (pid < 0)
        return -1;
    char byte, path[64];
    int fd = -1;
    snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)pid);
    if (read(ready, &byte, 1) == 1)
        fd = open(path, O_RDONLY | O_CLOEXEC);
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
        ;
    return fd;
}

static bool overlay_fits(const struct runtime_overlay *overlay)
{
    size_t count = 0;
    for (const char *const *lower = overlay->lowers; *lower; lower++)
        if (strlen(*lower) > MAX_VALUE || ++count > MAX_LAYERS)
            return false;
    return count &&
           (!overlay->upper || (strlen(overlay->upper) <= MAX_VALUE && strlen(overlay->work) <= MAX_VALUE));
}

static bool mounts_fit(const struct plan *plan)
{
    for (size_t i = 0; i < plan->mount_count; i++) {
        const struct plan_mount *m = &plan->mounts[i];
        if (m->remount || m->source_within || rootfs__is_root(m->destination) || rootfs__needs_old_mount(m))
            return false;
    }
    return true;
}

bool rootfs__can_be_late(const struct plan *plan)
{
    if (!(plan->new_namespaces & CLONE_NEWNS) || plan->namespaces & CLONE_NEWUSER || plan->no_pivot ||
        plan->root_propagation & MS_SHARED || plan->root_prepared || plan->hooks.any ||
        (plan->overlay && !overlay_fits(plan->overlay)) || !mounts_fit(plan))
        return false;
    if (!base.tried) {
        base.tried = true;
        base.fd = make_base();
    }
    return base.fd >= 0;
}

int rootfs__late_descriptor(void)
{
    return base.fd;
}

/* --- in the child --- */

static int set(int fs, const char *key, const char *value)
{
    return value ? fsconfig(fs, FSCONFIG_SET_STRING, key, value, 0)
                 : fsconfig(fs, FSCONFIG_SET_FLAG, key, NULL, 0);
}

static int set_overlay(int fs, const struct plan *plan)
{
    const struct runtime_overlay *overlay = plan->overlay;
    int r = set(fs, "source", "overlay");
    for (const char *const *lower = overlay->lowers; *lower && r == 0; lower++)
        r = set(fs, "lowerdir+", *lower);
    if (r == 0 && overlay->upper)
        r = set(fs, "upperdir", overlay->upper) < 0 ? -1 : set(fs, "workdir", overlay->work);
    if (r == 0 && overlay->upper && overlay->is_volatile)
        r = set(fs, "volatile", NULL);
    /* Else it writes an attribute to each upper layer, by which statfs(2) would know it again. */
    if (r == 0 && overlay->upper)
        r = set(fs, "uuid", "null");
    if (r == 0)
        r = set(fs, "index", "off");
    if (r == 0 && process_in_user_namespace())
        r = set(fs, "userxattr", NULL);
    else if (r == 0)
        r = set(fs, "metacopy", "off") < 0 ? -1 : set(fs, "redirect_dir", "off");
    if (r == 0 && !str_empty(plan->mount_label))
        r = set(fs, "context", plan->mount_label);
    return r < 0 ? r : fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
}

static int open_overlay(const struct plan *plan, struct err *err)
{
    _cleanup_close_ int fs = fsopen("overlay", FSOPEN_CLOEXEC);
    int tree = fs < 0 || set_overlay(fs, plan) < 0 ? -1 : fsmount(fs, FSMOUNT_CLOEXEC, 0);
    if (tree >= 0)
        return tree;
    char words[256];
    int sys = errno;
    ssize_t n = fs < 0 ? 0 : read(fs, words, sizeof(words) - 1);
    words[n > 0 ? n : 0] = '\0';
    words[strcspn(words, "\n")] = '\0';
    return err_sys(err, sys, "mount the overlay (upperdir %s) %s",
                   plan->overlay->upper ? plan->overlay->upper : "none", words);
}

static int open_bound_root(const struct plan *plan, struct err *err)
{
    bool layer = plan->overlay;
    const char *path = layer ? plan->overlay->lowers[0] : plan->root;
    _cleanup_close_ int tree =
        open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (layer ? 0 : AT_RECURSIVE));
    struct mount_attr attr = {.attr_set = layer ? MOUNT_ATTR_RDONLY : 0, .propagation = MS_SLAVE};
    if (tree < 0 || mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0)
        return err_sys(err, errno, "bind the root %s", path);
    return take_fd(&tree);
}

int rootfs__open_late_root(const struct plan *plan, struct err *err)
{
    const struct runtime_overlay *overlay = plan->overlay;
    if (!overlay)
        return open_bound_root(plan, err);
    if (chdir(overlay->layers_dir) < 0)
        return err_sys(err, errno, "enter %s", overlay->layers_dir);
    /* One layer and nothing to write to: overlayfs refuses that, and a read-only bind is the same thing. */
    if (!overlay->upper && !overlay->lowers[1])
        return open_bound_root(plan, err);
    if (overlay->upper && overlay->is_volatile)
        file_overlay_forget_volatile(overlay->work);
    return open_overlay(plan, err);
}

int rootfs__enter_late(int root_fd, struct err *err)
{
    if (setns(base.fd, CLONE_NEWNS) < 0 || unshare(CLONE_NEWNS) < 0)
        return err_sys(err, errno, "make a mount namespace");
    if (move_mount(root_fd, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0 || fchdir(root_fd) < 0 ||
        chroot(".") < 0)
        return err_sys(err, errno, "enter the root");
    return 0;
}
