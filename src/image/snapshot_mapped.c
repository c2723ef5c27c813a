/* A snapshot for a container in a user namespace: the same files, with owners that are ordinary users of the
 * machine, and nothing copied or changed on disk.
 *
 * One id-mapped clone of the whole root directory of ours is the base: layers, upper and work directory are
 * named through it, so that 0 on disk is the mapped root in the overlay, for reading and for writing
 * (overlayfs takes id-mapped layers from Linux 5.19 on). Overlayfs makes its work with the file system
 * identity of who mounts, which must be one that the map has; and with rights over the marks in "trusted."
 * attributes, which only the machine's root has: hence the mapped root's fsuid with our own capabilities. */
#include "base/file.h"
#include "image/image_priv.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <pthread.h>
#include <sched.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/* <sys/mount.h> and <linux/mount.h> cannot be included together in glibc before 2.37. */
int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data);
enum { REC_PRIVATE = 16384 | (1 << 18) }; /* MS_REC | MS_PRIVATE */

#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif

struct mapped_work {
    struct images *im;
    const struct image_mapping *mapping;
    char *options;
    bool is_volatile;
    int fd;
    struct err *err;
    int r;
};

/* Without ours, so that it is found through the clone. */
static int below_root(const char *root, const char *path, char **ret, struct err *err)
{
    _cleanup_free_ char *real_root = realpath(root, NULL), *real = realpath(path, NULL);
    const char *below = real && real_root ? str_after(real, real_root) : NULL;
    if (!below || *below != '/')
        return err_set(err, ERR_INVALID, "%s is not below %s", path, root);
    *ret = mem_strdup(below + 1);
    return 0;
}

static void add_escaped(struct str *s, const char *path)
{
    for (; *path; path++) {
        if (strchr("\\,:", *path))
            str_addc(s, '\\');
        str_addc(s, *path);
    }
}

static int make_options(struct images *im, const struct image_snapshot *s, bool is_volatile, char **ret,
                        struct err *err)
{
    _cleanup_free_ char *upper = NULL, *work = NULL, *layers = NULL;
    _cleanup_str_ struct str text = STR_INIT;
    int r = below_root(im->root, s->upper, &upper, err);
    if (r == 0)
        r = below_root(im->root, s->work, &work, err);
    if (r == 0)
        r = below_root(im->root, im->layers_dir, &layers, err);
    if (r < 0)
        return r;
    /* Relative to the layers, as everywhere: a page is all that mount(2) takes. */
    str_add(&text, "lowerdir=");
    for (char *const *lower = s->lowers; lower && *lower; lower++) {
        str_add(&text, lower == s->lowers ? "" : ":");
        add_escaped(&text, *lower);
    }
    if (!s->lowers || !*s->lowers)
        str_add(&text, "empty");
    str_add(&text, ",index=off,metacopy=off,redirect_dir=off,upperdir=../");
    add_escaped(&text, upper);
    str_add(&text, ",workdir=../");
    add_escaped(&text, work);
    if (is_volatile)
        str_add(&text, ",volatile");
    if (strchr(layers, '/'))
        return err_set(err, ERR_SYSTEM, "the layers are not where they are looked for: %s", layers);
    if ((long)text.len >= sysconf(_SC_PAGESIZE))
        return err_set(err, ERR_LIMIT, "the image has too many layers: their names take %zu bytes", text.len);
    *ret = str_take(&text);
    return 0;
}

static int mapped_clone(const struct mapped_work *w, struct err *err)
{
    _cleanup_close_ int tree =
        (int)syscall(SYS_open_tree, AT_FDCWD, w->im->root, OPEN_TREE_CLONE | O_CLOEXEC);
    if (tree < 0)
        return err_sys(err, errno, "clone %s", w->im->root);
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)w->mapping->user_ns};
    if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0) {
        int sys = errno;
        return err_sys(err, sys,
                       "map the owners of files in %s (its file system must take id-mapped mounts, "
                       "as ext4, xfs and btrfs do; Linux 5.19 or newer)",
                       w->im->root);
    }
    return take_fd(&tree);
}

/* This thread's alone. Leaving user 0 drops capabilities that come back from the permitted set. */
static int become_mapped_root(const struct image_mapping *m, struct err *err)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    setfsgid(m->gid);
    setfsuid(m->uid);
    if (syscall(SYS_capget, &head, data) < 0)
        return err_sys(err, errno, "read capabilities");
    for (int i = 0; i < 2; i++)
        data[i].effective = data[i].permitted;
    if (syscall(SYS_capset, &head, data) < 0)
        return err_sys(err, errno, "keep capabilities");
    return 0;
}

static int mount_in_thread(struct mapped_work *w, struct err *err)
{
    const char *place = w->im->tmp_dir;
    _cleanup_close_ int tree = mapped_clone(w, err);
    if (tree < 0)
        return tree;
    if (unshare(CLONE_FS | CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, REC_PRIVATE, NULL) < 0)
        return err_sys(err, errno, "make a mount namespace");
    /* Layers must lie in a mount of the namespace (before 6.15). */
    if (syscall(SYS_move_mount, tree, "", AT_FDCWD, place, MOVE_MOUNT_F_EMPTY_PATH) < 0 || chdir(place) < 0 ||
        chdir("layers") < 0)
        return err_sys(err, errno, "mount %s at %s", w->im->root, place);
    int r = become_mapped_root(w->mapping, err);
    if (r < 0)
        return r;
    if (mount("overlay", place, "overlay", 0, w->options) < 0)
        return err_sys(err, errno, "mount the overlay for a user namespace (Linux 5.19 or newer): %s",
                       w->options);
    w->fd = (int)syscall(SYS_open_tree, AT_FDCWD, place, OPEN_TREE_CLONE | O_CLOEXEC);
    return w->fd < 0 ? err_sys(err, errno, "detach the overlay") : 0;
}

static void *mapped_main(void *context)
{
    struct mapped_work *w = context;
    w->r = mount_in_thread(w, w->err);
    return NULL;
}

int image_snapshot_mount_mapped(struct images *im, const struct image_snapshot *s,
                                const struct image_mapping *mapping, bool is_volatile, int *ret_root_fd,
                                struct err *err)
{
    struct mapped_work w = {
        .im = im, .mapping = mapping, .is_volatile = is_volatile, .fd = -EBADF, .err = err};
    _cleanup_free_ char *options = NULL;
    int r = make_options(im, s, is_volatile, &options, err);
    if (r < 0)
        return r;
    w.options = options;
    pthread_t thread;
    int sys = pthread_create(&thread, NULL, mapped_main, &w);
    if (sys)
        return err_sys(err, sys, "start a thread");
    pthread_join(thread, NULL);
    if (w.r < 0)
        return w.r;
    *ret_root_fd = w.fd;
    return 0;
}
