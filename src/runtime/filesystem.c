/* New filesystems and binds as detached trees (fsopen(2), open_tree(2)). */
#include "runtime/rootfs.h"

#include "base/file.h"
#include "base/str.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_VALUE = 255 }; /* fsconfig(2) */

/* Flags of the filesystem as a whole; those of a mount are in attr_set. */
static const struct {
    unsigned long flag;
    const char *name;
} super_flags[] = {
    {MS_SYNCHRONOUS, "sync"},
    {MS_DIRSYNC, "dirsync"},
    {MS_MANDLOCK, "mand"},
    {MS_LAZYTIME, "lazytime"},
};

/* Filesystems that are the kernel's own state, or empty at first: read-only is a property of their mount. */
static bool is_virtual(const char *type)
{
    static const char *const types[] = {"tmpfs",   "proc",   "sysfs",      "devpts", "mqueue",
                                        "cgroup2", "cgroup", "securityfs", "ramfs",  "debugfs"};
    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        if (str_eq(type, types[i]))
            return true;
    return false;
}

/* The kernel's own words about what it refused, when it has any, come before the errno's text. */
static int refuse(int fs, int sys, const struct plan_mount *m, struct err *err)
{
    char text[256];
    ssize_t n = read(fs, text, sizeof(text) - 1);
    text[n > 0 ? n : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    const char *words = n > 2 && text[1] == ' ' ? text + 2 : "";
    return err_sys(err, sys, "mount %s at %s%s%s%s%s", m->type, m->destination, m->data ? " with " : "",
                   m->data ? m->data : "", *words ? ": " : "", words);
}

/* Layers of an overlay are the one value that grows beyond what one call takes; the newer form takes them one
 * by one (Linux 6.8). */
static int set_layers(int fs, char *value)
{
    for (char *next = value; next; value = next) {
        next = strchr(value, ':');
        if (next)
            *next++ = '\0';
        if (fsconfig(fs, FSCONFIG_SET_STRING, "lowerdir+", value, 0) < 0)
            return -1;
    }
    return 0;
}

static int set_option(int fs, char *option, const struct plan_mount *m, struct err *err)
{
    char *value = strchr(option, '=');
    if (value)
        *value++ = '\0';
    int r;
    if (!value)
        r = fsconfig(fs, FSCONFIG_SET_FLAG, option, NULL, 0);
    else if (strlen(value) <= MAX_VALUE)
        r = fsconfig(fs, FSCONFIG_SET_STRING, option, value, 0);
    else if (str_eq(option, "lowerdir"))
        r = set_layers(fs, value);
    else
        return err_set(err, ERR_LIMIT, "mount of %s: the value of \"%s\" is longer than %d bytes",
                       m->destination, option, MAX_VALUE);
    return r < 0 ? refuse(fs, errno, m, err) : 0;
}

static int set_options(int fs, const struct plan_mount *m, const char *label, struct err *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(super_flags); i++)
        if (m->flags & super_flags[i].flag &&
            fsconfig(fs, FSCONFIG_SET_FLAG, super_flags[i].name, NULL, 0) < 0)
            return refuse(fs, errno, m, err);
    if (m->flags & MS_RDONLY && !is_virtual(m->type) && fsconfig(fs, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0)
        return refuse(fs, errno, m, err);
    if (label && fsconfig(fs, FSCONFIG_SET_STRING, "context", label, 0) < 0)
        return refuse(fs, errno, m, err);
    if (fsconfig(fs, FSCONFIG_SET_STRING, "source", str_empty(m->source) ? m->type : m->source, 0) < 0)
        return refuse(fs, errno, m, err);
    _cleanup_free_ char *data = mem_strdup(m->data ? m->data : "");
    char *rest = data;
    for (char *option; (option = strsep(&rest, ","));) {
        int r = *option ? set_option(fs, option, m, err) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

static int new_filesystem(const struct plan_mount *m, const char *label, struct err *err)
{
    _cleanup_close_ int fs = fsopen(m->type, FSOPEN_CLOEXEC);
    if (fs < 0)
        return err_sys(err, errno, "mount %s at %s%s", m->type, m->destination,
                       errno == ENODEV ? ": this kernel has no such filesystem" : "");
    int r = set_options(fs, m, label, err);
    if (r < 0)
        return r;
    if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return refuse(fs, errno, m, err);
    int tree = fsmount(fs, FSMOUNT_CLOEXEC, (unsigned)m->attr_set);
    return tree < 0 ? refuse(fs, errno, m, err) : tree;
}

int rootfs__new_filesystem(const struct plan_mount *m, const char *label, struct err *err)
{
    int tree = new_filesystem(m, label, err);
    return tree == -ERR_INVALID && label ? err_wrap(err, "\"linux.mountLabel\" is \"%s\"", label) : tree;
}

/* The tree is dressed while it is attached nowhere, so that there is no moment in which it could be used
 * without its options. */
int rootfs__dress(int tree, const struct plan_mount *m, struct err *err)
{
    for (size_t i = 0; i < m->propagation_count; i++) {
        struct mount_attr spread = {.propagation = m->propagations[i] & ~(unsigned long)MS_REC};
        unsigned deep = m->propagations[i] & MS_REC ? AT_RECURSIVE : 0;
        if (mount_setattr(tree, "", AT_EMPTY_PATH | deep, &spread, sizeof(spread)) < 0)
            return err_sys(err, errno, "set the propagation of %s", m->destination);
    }
    struct mount_attr all = {.attr_set = m->tree_set, .attr_clr = m->tree_clear};
    if ((all.attr_set || all.attr_clr) &&
        mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &all, sizeof(all)) < 0)
        return err_sys(err, errno, "set the recursive options of %s", m->destination);
    return 0;
}

static int dress_bind(int tree, const struct plan_mount *m, struct err *err)
{
    /* One call for the usual case: private, with options of its own. */
    bool alone = !m->recursive && !m->propagation_count;
    struct mount_attr top = {
        .attr_set = m->attr_set, .attr_clr = m->attr_clear, .propagation = alone ? MS_PRIVATE : 0};
    struct mount_attr spread = {.propagation = MS_PRIVATE};
    if (!alone && !m->propagation_count &&
        mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &spread, sizeof(spread)) < 0)
        return err_sys(err, errno, "set the propagation of %s", m->destination);
    int r = rootfs__dress(tree, m, err);
    if (r < 0)
        return r;
    if ((top.attr_set || top.attr_clr || top.propagation) &&
        mount_setattr(tree, "", AT_EMPTY_PATH, &top, sizeof(top)) < 0)
        return err_sys(err, errno, "set the options of %s", m->destination);
    return 0;
}

int rootfs__open_bind(const struct plan_mount *m, struct err *err)
{
    unsigned deep = (m->recursive ? AT_RECURSIVE : 0) | (m->keep_source ? AT_SYMLINK_NOFOLLOW : 0);
    _cleanup_close_ int tree =
        m->given ? fcntl(m->given - 1, F_DUPFD_CLOEXEC, 3)
                 : open_tree(AT_FDCWD, m->source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | deep);
    if (tree < 0)
        return err_sys(err, errno, "bind source path %s", m->source);
    int r = dress_bind(tree, m, err);
    return r < 0 ? r : take_fd(&tree);
}

int rootfs__map_tree(int tree, int userns_fd, const struct plan_mount *m, struct err *err)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)userns_fd};
    unsigned deep = m->idmap == IDMAP_TREE ? AT_RECURSIVE : 0;
    if (mount_setattr(tree, "", AT_EMPTY_PATH | deep, &attr, sizeof(attr)) < 0)
        return err_sys(err, errno, "map the ids of %s at %s%s", m->source, m->destination,
                       errno == EINVAL ? ": its filesystem does not support that (or is mapped already)"
                                       : "");
    return 0;
}

int rootfs__open_bind_within(int root_fd, const struct plan_mount *m, struct err *err)
{
    _cleanup_close_ int source =
        file_open_in_root(root_fd, m->source_within, O_PATH | (m->keep_source ? O_NOFOLLOW : 0), 0, err);
    if (source < 0)
        return err_wrap(err, "bind source path %s", m->source);
    unsigned deep = m->recursive ? AT_RECURSIVE : 0;
    _cleanup_close_ int tree =
        open_tree(source, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | deep);
    if (tree < 0)
        return err_sys(err, errno, "bind source path %s", m->source);
    int r = dress_bind(tree, m, err);
    return r < 0 ? r : take_fd(&tree);
}

int rootfs__attach(int tree_fd, int target_fd, const char *what, struct err *err)
{
    if (move_mount(tree_fd, "", target_fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
        return err_sys(err, errno, "mount over %s", what);
    return 0;
}

int rootfs__attach_at(int tree_fd, int dir_fd, const char *name, const char *what, struct err *err)
{
    if (move_mount(tree_fd, "", dir_fd, name, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return err_sys(err, errno, "mount over %s/%s", what, name);
    return 0;
}
