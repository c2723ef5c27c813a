/* The mounts of the config (config.md, "Mounts"). */
#include "runtime/rootfs.h"

#include "base/file.h"
#include "base/str.h"
#include "runtime/cgroup_priv.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int make_file(int root_fd, const char *path, struct err *err)
{
    const char *slash = strrchr(path, '/');
    _cleanup_free_ char *above = mem_strndup(path, slash ? (size_t)(slash - path) : 0);
    _cleanup_close_ int dir = file_mkdirs_in_root(root_fd, above, 0755, err);
    if (dir < 0)
        return dir;
    const char *name = slash ? slash + 1 : path;
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0 && errno != EEXIST)
        return err_sys(err, errno, "create %s", path);
    close_fd(fd);
    return file_open_in_root(root_fd, path, O_PATH, 0, err);
}

int rootfs__target(int root_fd, const char *path, bool directory, struct err *err)
{
    int fd = file_open_in_root(root_fd, path, O_PATH, 0, err);
    if (fd == -ERR_NOT_FOUND)
        fd = directory ? file_mkdirs_in_root(root_fd, path, 0755, err) : make_file(root_fd, path, err);
    return fd;
}

int rootfs__attach(int tree_fd, int target_fd, const char *what, struct err *err)
{
    if (move_mount(tree_fd, "", target_fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
        return err_sys(err, errno, "mount over %s", what);
    return 0;
}

/* proc and sysfs are what later checks rely on. An image whose /proc is a symlink would put it elsewhere and
 * leave paths below /proc under its own control. */
static int plain_directory(int root_fd, const char *path, struct err *err)
{
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                           .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS};
    int fd = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
    if (fd < 0 && errno == ELOOP)
        return err_set(err, ERR_INVALID, "%s is a symbolic link in the image; it must be a directory", path);
    if (fd < 0 && errno == ENOENT)
        return file_mkdirs_in_root(root_fd, path, 0755, err);
    return fd < 0 ? err_sys(err, errno, "open %s", path) : fd;
}

static int mount_filesystem(const struct plan_mount *m, int root_fd, struct err *err)
{
    bool strict = str_eq(m->type, "proc") || str_eq(m->type, "sysfs");
    _cleanup_close_ int target = strict ? plain_directory(root_fd, m->destination, err)
                                        : rootfs__target(root_fd, m->destination, true, err);
    if (target < 0)
        return target;
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", target);
    if (mount(m->source ? m->source : m->type, path, m->type, m->flags, m->data) < 0)
        return err_sys(err, errno, "mount %s at %s%s%s", m->type, m->destination, m->data ? " with " : "",
                       m->data ? m->data : "");
    if (m->propagation || m->tree_set || m->tree_clear) {
        _cleanup_close_ int top = file_open_in_root(root_fd, m->destination, O_PATH, 0, err);
        if (top < 0)
            return top;
        struct mount_attr attr = {.attr_set = m->tree_set,
                                  .attr_clr = m->tree_clear,
                                  .propagation = m->propagation & ~(unsigned long)MS_REC};
        if (mount_setattr(top, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
            return err_sys(err, errno, "set the options of %s", m->destination);
    }
    return 0;
}

/* The tree is dressed while it is attached nowhere, so that there is no moment in which it could be written.
 */
static int dress(int tree, const struct plan_mount *m, struct err *err)
{
    unsigned long propagation = m->propagation ? m->propagation : MS_PRIVATE | MS_REC;
    struct mount_attr spread = {.propagation = propagation & ~(unsigned long)MS_REC};
    unsigned deep = propagation & MS_REC ? AT_RECURSIVE : 0;
    struct mount_attr tree_attr = {.attr_set = m->tree_set, .attr_clr = m->tree_clear};
    struct mount_attr top = {.attr_set = m->attr_set, .attr_clr = m->attr_clear};
    if (mount_setattr(tree, "", AT_EMPTY_PATH | deep, &spread, sizeof(spread)) < 0)
        return err_sys(err, errno, "set the propagation of %s", m->destination);
    if ((m->tree_set || m->tree_clear) &&
        mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &tree_attr, sizeof(tree_attr)) < 0)
        return err_sys(err, errno, "set the recursive options of %s", m->destination);
    if ((m->attr_set || m->attr_clear) && mount_setattr(tree, "", AT_EMPTY_PATH, &top, sizeof(top)) < 0)
        return err_sys(err, errno, "set the options of %s", m->destination);
    return 0;
}

static int mount_bind(const struct plan_mount *m, int root_fd, struct err *err)
{
    unsigned deep = m->recursive ? AT_RECURSIVE : 0;
    _cleanup_close_ int tree = open_tree(AT_FDCWD, m->source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | deep);
    struct stat st;
    if (tree < 0 || fstat(tree, &st) < 0)
        return err_sys(err, errno, "bind source path %s", m->source);
    _cleanup_close_ int target = rootfs__target(root_fd, m->destination, S_ISDIR(st.st_mode), err);
    if (target < 0)
        return err_wrap(err, "bind %s", m->source);
    struct stat there;
    if (fstat(target, &there) < 0)
        return err_sys(err, errno, "bind %s", m->source);
    if (S_ISDIR(st.st_mode) != S_ISDIR(there.st_mode))
        return err_set(err, ERR_INVALID,
                       "cannot mount %s over %s: one is a directory and the other a file: not a directory",
                       m->source, m->destination);
    int r = dress(tree, m, err);
    return r < 0 ? r : rootfs__attach(tree, target, m->destination, err);
}

/* cgroup v1: a small tmpfs with the container's own group of each hierarchy below its usual name. */
static int mount_cgroup_v1(const struct plan_mount *m, const struct cgroup *cgroup, int root_fd,
                           struct err *err)
{
    struct plan_mount base = {.destination = m->destination,
                              .type = "tmpfs",
                              .source = "cgroup",
                              .flags = m->flags & ~(unsigned long)MS_RDONLY,
                              .data = (char *)"mode=755"};
    int r = mount_filesystem(&base, root_fd, err);
    if (r < 0)
        return r;
    const char *name, *dir;
    for (size_t i = 0; cgroup__directory(cgroup, i, &name, &dir); i++) {
        _cleanup_free_ char *destination = str_printf("%s/%s", m->destination, name);
        struct plan_mount bind = {.destination = destination,
                                  .source = dir,
                                  .bind = true,
                                  .attr_set =
                                      m->attr_set | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC};
        if ((r = mount_bind(&bind, root_fd, err)) < 0)
            return r;
    }
    if (!(m->flags & MS_RDONLY))
        return 0;
    _cleanup_close_ int top = file_open_in_root(root_fd, m->destination, O_PATH, 0, err);
    if (top < 0)
        return top;
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
    if (mount_setattr(top, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
        return err_sys(err, errno, "make %s read-only", m->destination);
    return 0;
}

static int mount_cgroup(const struct plan_mount *m, const struct plan *plan, const struct cgroup *cgroup,
                        int root_fd, struct err *err)
{
    if (!cgroup_is_v2(cgroup))
        return mount_cgroup_v1(m, cgroup, root_fd, err);
    /* Without a namespace of its own the container would see the whole machine's tree. */
    const char *name, *dir = NULL;
    if (!(plan->namespaces & CLONE_NEWCGROUP) && cgroup__directory(cgroup, 0, &name, &dir)) {
        struct plan_mount bind = *m;
        bind.bind = true;
        bind.source = dir;
        return mount_bind(&bind, root_fd, err);
    }
    struct plan_mount tree = *m;
    tree.type = "cgroup2";
    tree.source = "cgroup";
    tree.data = NULL;
    return mount_filesystem(&tree, root_fd, err);
}

int rootfs_mount_all(const struct plan *plan, const struct cgroup *cgroup, int root_fd, struct err *err)
{
    for (size_t i = 0; i < plan->mount_count; i++) {
        const struct plan_mount *m = &plan->mounts[i];
        int r;
        if (m->bind)
            r = mount_bind(m, root_fd, err);
        else if (str_eq(m->type, "cgroup") || str_eq(m->type, "cgroup2"))
            r = mount_cgroup(m, plan, cgroup, root_fd, err);
        else
            r = mount_filesystem(m, root_fd, err);
        if (r < 0)
            return r;
    }
    return 0;
}
