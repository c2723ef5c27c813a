/* Masked and read-only paths (config-linux.md), from inside the new root. */
#include "runtime/rootfs.h"

#include "base/file.h"
#include "base/str.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* What lies over a masked file and over a masked directory. Both are made at the first use. */
struct covers {
    int null_fd, empty_fd;
    bool null_shared, empty_shared; /* the process's, to be cloned */
    bool empty_used;
};

static void covers_done(struct covers *covers)
{
    if (!covers->null_shared)
        close_fd(covers->null_fd);
    if (!covers->empty_shared)
        close_fd(covers->empty_fd);
}

/* The container's /dev/null could be anything when the image brought its own, so it is only used when it is
 * the real one. */
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

/* One empty read-only tmpfs, of which every masked directory gets a clone. */
static int open_empty(struct err *err)
{
    char data[] = "size=0k,nr_inodes=1,mode=555";
    const struct plan_mount empty = {
        .destination = "masked paths",
        .type = "tmpfs",
        .source = "tmpfs",
        .data = data,
        .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
    };
    return rootfs__new_filesystem(&empty, NULL, err);
}

static int open_cover(struct covers *covers, bool directory, struct err *err)
{
    int *fd = directory ? &covers->empty_fd : &covers->null_fd;
    bool *shared = directory ? &covers->empty_shared : &covers->null_shared;
    if (*fd >= 0)
        return 0;
    *fd = directory ? rootfs__cover_empty() : rootfs__cover_null();
    *shared = *fd >= 0;
    if (*fd < 0)
        *fd = directory ? open_empty(err) : open_null(err);
    return *fd < 0 ? *fd : 0;
}

static bool is_absent(int sys)
{
    return sys == ENOENT || sys == ENOTDIR || sys == EACCES || sys == ELOOP;
}

static int mask_path(const char *path, struct covers *covers, struct err *err)
{
    _cleanup_close_ int target = open(path, O_PATH | O_CLOEXEC);
    struct stat st;
    if (target < 0)
        return is_absent(errno) ? 0 : err_sys(err, errno, "mask %s", path);
    if (fstat(target, &st) < 0)
        return err_sys(err, errno, "mask %s", path);
    bool directory = S_ISDIR(st.st_mode);
    int r = open_cover(covers, directory, err);
    if (r < 0)
        return r;
    /* A kernel before 6.15 clones only what is mounted in our namespace: the first one is the original. */
    if (directory && !covers->empty_shared && !covers->empty_used) {
        covers->empty_used = true;
        return rootfs__attach(covers->empty_fd, target, path, err);
    }
    _cleanup_close_ int tree = open_tree(directory ? covers->empty_fd : covers->null_fd, "",
                                         OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    if (tree < 0)
        return err_sys(err, errno, "mask %s", path);
    return rootfs__attach(tree, target, path, err);
}

static int mask_all(const struct plan *plan, struct err *err)
{
    _cleanup_(covers_done) struct covers covers = {.null_fd = -EBADF, .empty_fd = -EBADF};
    STRV_FOREACH (path, plan->masked_paths) {
        int r = mask_path(*path, &covers, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Looked up once: where the image or a volume has a directory that is exchanged meanwhile, what is made
 * read-only is what gets covered. */
static int protect_path(const char *path, struct err *err)
{
    _cleanup_close_ int target = open(path, O_PATH | O_CLOEXEC);
    if (target < 0)
        return is_absent(errno) ? 0 : err_sys(err, errno, "make %s read-only", path);
    _cleanup_close_ int tree =
        open_tree(target, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE | AT_EMPTY_PATH);
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
    if (tree < 0 || mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0)
        return err_sys(err, errno, "make %s read-only", path);
    return rootfs__attach(tree, target, path, err);
}

int rootfs_protect(const struct plan *plan, struct err *err)
{
    int r = rootfs__make_read_only(err);
    if (r < 0)
        return r;
    STRV_FOREACH (path, plan->readonly_paths) {
        if ((r = protect_path(*path, err)) < 0)
            return r;
    }
    if ((r = mask_all(plan, err)) < 0)
        return r;
    if (!(plan->new_namespaces & CLONE_NEWNS) && !plan->mounts_in_place)
        return 0;
    struct mount_attr attr = {.attr_set = plan->root_readonly ? MOUNT_ATTR_RDONLY : 0};
    if (attr.attr_set && mount_setattr(AT_FDCWD, "/", 0, &attr, sizeof(attr)) < 0)
        return err_sys(err, errno, "make the root read-only");
    if (plan->mounts_in_place)
        return 0;
    unsigned long propagation = plan->root_propagation ? plan->root_propagation : MS_PRIVATE;
    if (mount(NULL, "/", NULL, propagation, NULL) < 0)
        return err_sys(err, errno, "set the propagation of the root");
    return 0;
}
