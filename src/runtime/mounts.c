/* The mounts of the config (config.md, "Mounts"). */
#include "runtime/rootfs.h"

#include "base/file.h"
#include "base/str.h"
#include "runtime/cgroup_priv.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

struct mounter {
    const struct plan *plan;
    const struct cgroup *cgroup;
    int root_fd, parent_fd;
    /* The last tmpfs, which nobody else has been in yet: mounts right below it need no walk. */
    int recent_fd;
    const char *recent;
    struct stat recent_root;
};

static int attach(struct mounter *mr, int tree, int target, const struct plan_mount *m, struct err *err)
{
    struct stat st;
    int r = rootfs__attach(tree, target, m->destination, err);
    /* What covers the recent tmpfs, by whatever name, takes its place. */
    if (mr->recent && (fstat(target, &st) < 0 ||
                       (st.st_dev == mr->recent_root.st_dev && st.st_ino == mr->recent_root.st_ino)))
        mr->recent = NULL;
    if (r < 0 || !rootfs__is_root(m->destination))
        return r;
    int top = fcntl(tree, F_DUPFD_CLOEXEC, 3);
    if (top < 0)
        return err_sys(err, errno, "dup");
    close_fd(mr->root_fd);
    mr->root_fd = top;
    return 0;
}

/* --- filesystems --- */

/* An option as `key` in a list such as "mode=755,size=64k". */
static const char *find_option(const char *data, const char *key)
{
    for (; data && *data; data += strcspn(data, ","), data += *data == ',') {
        const char *value = str_after(data, key);
        if (value && *value == '=')
            return value + 1;
    }
    return NULL;
}

static char *without_option(const char *data, const char *key)
{
    _cleanup_str_ struct str kept = STR_INIT;
    for (; *data; data += strcspn(data, ","), data += *data == ',') {
        const char *value = str_after(data, key);
        if (value && *value == '=')
            continue;
        if (kept.len)
            str_addc(&kept, ',');
        str_addn(&kept, data, strcspn(data, ","));
    }
    return str_take(&kept);
}

static bool in_user_namespace(const struct plan *plan)
{
    return plan->namespaces & CLONE_NEWUSER;
}

static bool gid_is_mapped(const struct plan *plan, const char *text)
{
    int64_t gid;
    if (!in_user_namespace(plan) || !plan->id_maps.gid_count ||
        parse_i64(text, 0, UINT32_MAX, &gid, NULL) < 0)
        return true;
    for (size_t i = 0; i < plan->id_maps.gid_count; i++) {
        const struct plan_id_map *map = &plan->id_maps.gids[i];
        if (gid >= map->inside && gid - map->inside < map->count)
            return true;
    }
    return false;
}

/* What the kernel would not give in this namespace is bound from the host when that shows nothing more. */
static int bind_instead(const struct mounter *mr, const struct plan_mount *m, struct err *err)
{
    static const struct {
        const char *type, *source;
        uint64_t needs; /* only where the container shares this namespace with the host */
        uint64_t attr;
    } table[] = {
        /* sysfs shows the devices of a network namespace to who owns that. */
        {"sysfs", "/sys", CLONE_NEWNET, MOUNT_ATTR_RDONLY},
        {"proc", "/proc", CLONE_NEWPID, 0},
        {"mqueue", "/dev/mqueue", CLONE_NEWIPC, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        if (!str_eq(m->type, table[i].type) || mr->plan->namespaces & table[i].needs)
            continue;
        struct plan_mount bind = *m;
        bind.bind = bind.recursive = true;
        bind.source = table[i].source;
        bind.tree_set |=
            m->attr_set | table[i].attr | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
        bind.tree_clear |= m->attr_clear & MOUNT_ATTR__ATIME;
        bind.attr_set = bind.attr_clear = 0;
        return rootfs__open_bind(&bind, err);
    }
    if (str_eq(m->type, "proc"))
        return err_wrap(err, "the host's own /proc is partly covered, so the kernel gives no new one");
    return err->code ? -err->code : -ERR_DENIED;
}

enum { MAX_VALUE = 255, MAX_PAGE = 4000 };

static bool has_long_value(const char *data)
{
    for (size_t n; *data; data += n + (data[n] == ',')) {
        n = strcspn(data, ",");
        if (n > MAX_VALUE)
            return true;
    }
    return false;
}

/* mount(2) for what fsopen(2) has no word for: a subtype ("fuse.sshfs"), i_version, quoted options, a long
 * value. It takes one page of options and ignores what is behind. */
bool rootfs__needs_old_mount(const struct plan_mount *m)
{
    if (m->bind || !m->type)
        return false;
    if (m->flags & MS_I_VERSION || strchr(m->type, '.'))
        return true;
    return m->data && (strpbrk(m->data, "\\\"") || (strlen(m->data) <= MAX_PAGE && has_long_value(m->data)));
}

static int old_mount(struct mounter *mr, const struct plan_mount *m, int target, struct err *err)
{
    char path[64];
    if (m->data && strlen(m->data) > MAX_PAGE)
        return err_set(err, ERR_LIMIT, "mount of %s: more than %d bytes of options", m->destination,
                       MAX_PAGE);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", target);
    if (mount(m->source ? m->source : m->type, path, m->type, m->flags, m->data) < 0)
        return err_sys(err, errno, "mount %s at %s%s%s", m->type, m->destination, m->data ? " with " : "",
                       m->data ? m->data : "");
    _cleanup_close_ int top = file_open_in_root(mr->root_fd, m->destination, O_PATH, 0, err);
    if (top < 0)
        return top;
    int r = rootfs__dress(top, m, err);
    if (r < 0 || !rootfs__is_root(m->destination))
        return r;
    return err_set(err, ERR_UNSUPPORTED, "a filesystem of type \"%s\" cannot be the root", m->type);
}

/* One that is mounted elsewhere too has the label that it was given there, and takes no other. */
static bool is_the_machines(const char *type)
{
    return str_eq(type, "proc") || str_eq(type, "sysfs") || str_eq(type, "mqueue") ||
           str_eq(type, "cgroup") || str_eq(type, "cgroup2");
}

static int open_filesystem(const struct mounter *mr, const struct plan_mount *m, struct err *err)
{
    const char *label = is_the_machines(m->type) ? NULL : mr->plan->mount_label;
    const char *gid = str_eq(m->type, "devpts") ? find_option(m->data, "gid") : NULL;
    struct plan_mount changed = *m;
    _cleanup_free_ char *data = NULL;
    if (gid && !gid_is_mapped(mr->plan, gid)) {
        /* The terminals' group then is that of who opens them. */
        changed.data = data = without_option(m->data, "gid");
        gid = NULL;
    }
    int tree = m->tree_fd >= 0 ? fcntl(m->tree_fd, F_DUPFD_CLOEXEC, 3) : -1;
    if (tree < 0)
        tree = rootfs__new_filesystem(&changed, label, err);
    if (tree >= 0)
        return tree;
    if (gid && err->sys == EINVAL && in_user_namespace(mr->plan)) {
        changed.data = data = without_option(m->data, "gid");
        return rootfs__new_filesystem(&changed, label, err);
    }
    return err->sys == EPERM || err->sys == EACCES ? bind_instead(mr, m, err) : tree;
}

/* Takes a tmpfs that has just been attached. */
static int remember(struct mounter *mr, int *tree, const struct plan_mount *m, struct err *err)
{
    int r = m->attr_set & MOUNT_ATTR_RDONLY ? rootfs__read_only_later(*tree, err) : 0;
    if (r < 0)
        return r;
    if (mr->recent && str_after(m->destination, mr->recent))
        return 0;
    if (fstat(*tree, &mr->recent_root) < 0)
        return err_sys(err, errno, "look at %s", m->destination);
    close_fd(mr->recent_fd);
    mr->recent_fd = take_fd(tree);
    mr->recent = m->destination;
    return 0;
}

/* The name of `destination` right below the recent tmpfs, or NULL. */
static const char *below_recent(const struct mounter *mr, const char *destination)
{
    const char *name = mr->recent ? str_after(destination, mr->recent) : NULL;
    if (!name || *name != '/' || !name[1] || strchr(name + 1, '/') || str_eq(name, "/.") ||
        str_eq(name, "/.."))
        return NULL;
    return name + 1;
}

/* A tmpfs over a directory of the image looks like it, unless the config says otherwise. */
static char *data_like(const struct plan_mount *m, int target)
{
    struct stat st;
    if (!str_eq(m->type, "tmpfs") || find_option(m->data, "mode") || fstat(target, &st) < 0)
        return NULL;
    return str_printf("mode=%o%s%s", st.st_mode & 07777, m->data ? "," : "", m->data ? m->data : "");
}

static int copy_up(const struct mounter *mr, const struct plan_mount *m, int tree, struct err *err)
{
    _cleanup_close_ int from = file_open_in_root(mr->root_fd, m->destination, O_RDONLY | O_DIRECTORY, 0, err);
    return from < 0 ? from : rootfs__copy_up(from, tree, m->destination, err);
}

/* `name` is a directory just made in the recent tmpfs. */
static int mount_below_recent(struct mounter *mr, const struct plan_mount *m, const char *name,
                              struct err *err)
{
    struct plan_mount changed = *m;
    bool tmpfs = str_eq(m->type, "tmpfs");
    if (tmpfs)
        changed.attr_set &= ~(uint64_t)MOUNT_ATTR_RDONLY;
    _cleanup_close_ int tree = open_filesystem(mr, &changed, err);
    if (tree < 0)
        return tree;
    int r = rootfs__dress(tree, m, err);
    if (r == 0)
        r = rootfs__attach_at(tree, mr->recent_fd, name, mr->recent, err);
    return r == 0 && tmpfs ? remember(mr, &tree, m, err) : r;
}

static int find_target(struct mounter *mr, struct plan_mount *m, char **ret_data, struct err *err)
{
    if (str_eq(m->type, "proc") || str_eq(m->type, "sysfs"))
        return rootfs__plain_directory(mr->root_fd, m->destination, err);
    int target = file_open_in_root(mr->root_fd, m->destination, O_PATH, 0, err);
    if (target >= 0 && (*ret_data = data_like(m, target)))
        m->data = *ret_data;
    if (target == -ERR_NOT_FOUND)
        target = rootfs__target(mr->root_fd, m->destination, true, err);
    return target;
}

static int mount_filesystem(struct mounter *mr, const struct plan_mount *m, struct err *err)
{
    bool tmpfs = str_eq(m->type, "tmpfs"), proc = str_eq(m->type, "proc");
    const char *name = below_recent(mr, m->destination);
    if (name && !proc && !rootfs__needs_old_mount(m) && mkdirat(mr->recent_fd, name, 0755) == 0)
        return mount_below_recent(mr, m, name, err);
    struct plan_mount changed = *m;
    _cleanup_free_ char *data = NULL;
    _cleanup_close_ int target = find_target(mr, &changed, &data, err);
    if (target < 0)
        return target;
    int r = proc ? 0 : rootfs__check_proc(mr->root_fd, target, m->destination, false, err);
    if (r < 0)
        return r;
    if (rootfs__needs_old_mount(m))
        return old_mount(mr, &changed, target, err);
    if (tmpfs)
        changed.attr_set &= ~(uint64_t)MOUNT_ATTR_RDONLY;
    _cleanup_close_ int tree = open_filesystem(mr, &changed, err);
    if (tree < 0)
        return tree;
    r = m->copy_up ? copy_up(mr, m, tree, err) : 0;
    if (r == 0)
        r = rootfs__dress(tree, m, err);
    if (r == 0)
        r = attach(mr, tree, target, m, err);
    return r == 0 && tmpfs ? remember(mr, &tree, m, err) : r;
}

/* --- binds --- */

static int have_mapped(const struct mounter *mr, const struct plan_mount *m, int tree, struct err *err)
{
    int index = (int)(m - mr->plan->mounts);
    struct err why = {0};
    ssize_t n = file_send_fds(mr->parent_fd, &index, sizeof(index), &tree, 1, err);
    if (n >= 0)
        n = file_read_full(mr->parent_fd, &why, sizeof(why), err);
    if (n < 0)
        return (int)n;
    if (n != sizeof(why))
        return err_set(err, ERR_CANCELLED, "who makes the container went away");
    return why.code ? err_copy(err, &why) : 0;
}

static int bind_within(const struct mounter *mr, const struct plan_mount *m, struct err *err)
{
    _cleanup_close_ int tree = rootfs__open_bind_within(mr->root_fd, m, err);
    int r = MIN(tree, 0);
    if (r == 0 && m->userns_fd >= 0)
        r = in_user_namespace(mr->plan) ? have_mapped(mr, m, tree, err)
                                        : rootfs__map_tree(tree, m->userns_fd, m, err);
    return r < 0 ? r : take_fd(&tree);
}

static int mount_bind(struct mounter *mr, const struct plan_mount *m, struct err *err)
{
    char text[PATH_MAX];
    ssize_t n = m->copy_symlink ? readlink(m->source, text, sizeof(text) - 1) : -1;
    if (n >= 0) {
        text[n] = '\0';
        return rootfs__make_symlink(mr->root_fd, m->destination, text, err);
    }
    _cleanup_close_ int own = m->tree_fd >= 0    ? -EBADF
                              : m->source_within ? bind_within(mr, m, err)
                                                 : rootfs__open_bind(m, err);
    int tree = m->tree_fd < 0 ? own : m->tree_fd;
    struct stat st, there;
    if (tree < 0)
        return tree;
    if (fstat(tree, &st) < 0)
        return err_sys(err, errno, "bind source path %s", m->source);
    _cleanup_close_ int target = (m->keep_destination ? rootfs__target_itself : rootfs__target)(
        mr->root_fd, m->destination, S_ISDIR(st.st_mode), err);
    if (target < 0)
        return err_wrap(err, "bind %s", m->source);
    if (fstat(target, &there) < 0)
        return err_sys(err, errno, "bind %s", m->source);
    if (S_ISDIR(st.st_mode) != S_ISDIR(there.st_mode))
        return err_set(err, ERR_INVALID,
                       "cannot mount %s over %s: one is a directory and the other a file: not a directory",
                       m->source, m->destination);
    int r = rootfs__check_proc(mr->root_fd, target, m->destination,
                               S_ISDIR(st.st_mode) && rootfs__is_proc(tree), err);
    return r < 0 ? r : attach(mr, tree, target, m, err);
}

static int remount(struct mounter *mr, const struct plan_mount *m, struct err *err)
{
    _cleanup_close_ int target = file_open_in_root(mr->root_fd, m->destination, O_PATH, 0, err);
    if (target < 0)
        return target;
    if (m->bind) {
        struct mount_attr attr = {.attr_set = m->attr_set, .attr_clr = m->attr_clear};
        if (mount_setattr(target, "", AT_EMPTY_PATH | (m->recursive ? AT_RECURSIVE : 0), &attr,
                          sizeof(attr)) < 0)
            return err_sys(err, errno, "remount %s", m->destination);
        return rootfs__dress(target, m, err);
    }
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", target);
    if (mount(NULL, path, NULL, MS_REMOUNT | m->flags, m->data) < 0)
        return err_sys(err, errno, "remount %s", m->destination);
    return rootfs__dress(target, m, err);
}

/* --- cgroups --- */

/* One hierarchy below the small tmpfs, by the names that hosts use: "cpu,cpuacct", and a link for each. */
static int mount_hierarchy(const struct plan_mount *m, int top, const char *name, const char *dir,
                           struct err *err)
{
    struct plan_mount bind = {
        .destination = m->destination,
        .source = dir,
        .attr_set = m->attr_set | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
    };
    _cleanup_close_ int tree = rootfs__open_bind(&bind, err);
    if (tree < 0)
        return tree;
    if (mkdirat(top, name, 0755) < 0 && errno != EEXIST)
        return err_sys(err, errno, "create %s/%s", m->destination, name);
    int r = rootfs__attach_at(tree, top, name, m->destination, err);
    if (r < 0 || !strchr(name, ','))
        return r;
    _cleanup_strv_ char **parts = strv_split(name, ',');
    STRV_FOREACH (part, parts)
        if (symlinkat(name, top, *part) < 0 && errno != EEXIST)
            return err_sys(err, errno, "link %s/%s", m->destination, *part);
    return 0;
}

/* cgroup v1: a small tmpfs with the container's own group of each hierarchy below its usual name. It is
 * filled while it is visible, as mounts cannot be made in a detached one, and read-only afterwards. */
static int mount_cgroup_v1(struct mounter *mr, const struct plan_mount *m, struct err *err)
{
    char data[] = "mode=755";
    struct plan_mount base = *m;
    base.type = "tmpfs";
    base.source = "cgroup";
    base.data = data;
    base.attr_set &= ~(uint64_t)MOUNT_ATTR_RDONLY;
    base.flags &= ~(unsigned long)MS_RDONLY;
    _cleanup_close_ int target = rootfs__target(mr->root_fd, m->destination, true, err);
    if (target < 0)
        return target;
    _cleanup_close_ int top = rootfs__new_filesystem(&base, mr->plan->mount_label, err);
    if (top < 0)
        return top;
    int r = rootfs__dress(top, m, err);
    if (r == 0)
        r = attach(mr, top, target, m, err);
    const char *name, *dir;
    for (size_t i = 0; r == 0 && cgroup__directory(mr->cgroup, i, &name, &dir); i++)
        r = mount_hierarchy(m, top, name, dir, err);
    return r == 0 && m->attr_set & MOUNT_ATTR_RDONLY ? rootfs__read_only_later(top, err) : r;
}

/* Without a namespace of its own the container would see the whole machine's tree: it gets its own part. */
static int mount_cgroup(struct mounter *mr, const struct plan_mount *m, struct err *err)
{
    if (!cgroup_is_v2(mr->cgroup))
        return mount_cgroup_v1(mr, m, err);
    const char *name, *dir = NULL;
    cgroup__directory(mr->cgroup, 0, &name, &dir);
    struct plan_mount bind = *m, tree = *m;
    bind.bind = true;
    bind.source = dir;
    if (!(mr->plan->namespaces & CLONE_NEWCGROUP) && dir)
        return mount_bind(mr, &bind, err);
    tree.type = "cgroup2";
    tree.source = "cgroup";
    tree.data = NULL;
    int r = mount_filesystem(mr, &tree, err);
    /* A cgroup namespace that another user namespace owns. */
    return r < 0 && (err->sys == EPERM || err->sys == EBUSY) && dir ? mount_bind(mr, &bind, err) : r;
}

int rootfs_mount_all(const struct plan *plan, const struct cgroup *cgroup, int parent_fd, int *root_fd,
                     struct err *err)
{
    struct mounter mr = {
        .plan = plan, .cgroup = cgroup, .root_fd = *root_fd, .parent_fd = parent_fd, .recent_fd = -EBADF};
    int r = 0;
    for (size_t i = 0; i < plan->mount_count && r == 0; i++) {
        const struct plan_mount *m = &plan->mounts[i];
        if (m->remount)
            r = remount(&mr, m, err);
        else if (m->bind)
            r = mount_bind(&mr, m, err);
        else if (str_eq(m->type, "cgroup") || str_eq(m->type, "cgroup2"))
            r = mount_cgroup(&mr, m, err);
        else
            r = mount_filesystem(&mr, m, err);
    }
    *root_fd = mr.root_fd;
    close_fd(mr.recent_fd);
    return r;
}
