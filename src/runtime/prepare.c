/* What the parent does for a container's mounts before it is born: trees that the root of a user namespace
 * could not open, id maps, and covers that all containers share. */
#include "runtime/rootfs.h"

#include "base/file.h"
#include "base/str.h"
#include "runtime/idmaps.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- covers --- */

/* One small read-only tmpfs with a null device and an empty directory. Nobody can write to it, so it may be
 * in all containers; it lives as long as the process and a container that has it. */
static struct {
    bool tried;
    int top_fd; /* a detached mount goes with the descriptor that made it, in whichever process that is still
                   open */
    int null_fd, empty_fd;
} covers = {false, -EBADF, -EBADF, -EBADF};

/* A process that launches once would pay more for what can be shared than it gets back. */
static unsigned launches;

int rootfs__cover_top(void)
{
    return covers.top_fd;
}

int rootfs__cover_null(void)
{
    return covers.null_fd;
}

int rootfs__cover_empty(void)
{
    return covers.empty_fd;
}

/* A clone of a clone works from Linux 6.15 on, and in another mount namespace only when what is cloned came
 * from fsmount(2). Whoever cannot make a node (rootless) does without. */
static int fill_covers(int top)
{
    if (mknodat(top, "null", S_IFCHR | 0666, makedev(1, 3)) < 0 || mkdirat(top, "empty", 0555) < 0)
        return -1;
    _cleanup_close_ int test = open_tree(top, "empty", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (test < 0)
        return -1;
    _cleanup_close_ int fs = fspick(top, "", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH);
    if (fs < 0 || fsconfig(fs, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0)
        return -1;
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
    return fsconfig(fs, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0) < 0
               ? -1
               : mount_setattr(top, "", AT_EMPTY_PATH, &attr, sizeof(attr));
}

void rootfs__make_covers(void)
{
    if (covers.tried)
        return;
    covers.tried = true;
    char data[] = "size=16k,nr_inodes=4,mode=555";
    const struct plan_mount cover = {
        .destination = "masked paths",
        .type = "tmpfs",
        .source = "tmpfs",
        .data = data,
        .attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
    };
    mode_t mask = umask(0);
    _cleanup_close_ int top = rootfs__new_filesystem(&cover, NULL, NULL);
    int r = top < 0 ? -1 : fill_covers(top);
    umask(mask);
    if (r < 0)
        return;
    covers.null_fd = openat(top, "null", O_PATH | O_NOFOLLOW | O_CLOEXEC);
    covers.empty_fd = openat(top, "empty", O_PATH | O_DIRECTORY | O_CLOEXEC);
    covers.top_fd = take_fd(&top);
}

/* --- id maps --- */

/* A user namespace needs a process for its maps to be written; then its descriptor is enough. The exit signal
 * is none, so that a waiting parent does not take it for a container's. */
static int new_user_namespace(const struct plan_id_maps *maps, struct err *err)
{
    struct clone_args args = {.flags = CLONE_NEWUSER};
    pid_t parent = getpid();
    pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (getppid() == parent) /* else it died before it could be noticed */
            pause();
        _exit(1);
    }
    if (pid < 0)
        return err_sys(err, errno, "make a user namespace for an id-mapped mount");
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
    int r = idmaps_write(pid, maps, err);
    int fd = r < 0 ? r : open(path, O_RDONLY | O_CLOEXEC);
    if (r == 0 && fd < 0)
        fd = err_sys(err, errno, "open %s", path);
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
        ;
    return fd;
}

static bool same_map(const struct plan_id_map *a, size_t n, const struct plan_id_map *b, size_t m)
{
    return n == m && memcmp(a, b, n * sizeof(*a)) == 0;
}

/* Containers of one engine mostly have the same map: the last namespace is kept. */
static int user_namespace_of(const struct plan_id_maps *maps, struct err *err)
{
    static struct plan_id_maps last;
    static int last_fd = -EBADF;
    if (last_fd >= 0 && same_map(last.uids, last.uid_count, maps->uids, maps->uid_count) &&
        same_map(last.gids, last.gid_count, maps->gids, maps->gid_count))
        return last_fd;
    int fd = new_user_namespace(maps, err);
    if (fd < 0)
        return fd;
    close_fd(last_fd);
    free(last.uids);
    free(last.gids);
    last = *maps;
    last.uids = mem_dup(maps->uids, maps->uid_count * sizeof(*maps->uids));
    last.gids = mem_dup(maps->gids, maps->gid_count * sizeof(*maps->gids));
    return last_fd = fd;
}

static int find_maps(const struct plan *plan, const struct plan_mount *m, int *ret_fd, struct err *err)
{
    int userns = -EBADF;
    if (m->id_maps.uid_count)
        userns = user_namespace_of(&m->id_maps, err);
    else if (plan->id_maps.uid_count)
        userns = user_namespace_of(&plan->id_maps, err);
    else
        for (size_t i = 0; i < plan->join_count; i++)
            if (plan->joins[i].flag == CLONE_NEWUSER)
                userns = plan->joins[i].fd;
    if (userns == -EBADF)
        return err_set(err, ERR_INVALID,
                       "mount of %s: \"idmap\" needs uidMappings and gidMappings, since the container has no "
                       "user namespace",
                       m->destination);
    if (userns < 0)
        return userns;
    *ret_fd = userns;
    return 0;
}

/* --- trees --- */

static int prepare_mount(const struct plan *plan, struct plan_mount *m, struct err *err)
{
    int tree = rootfs__open_bind(m, err);
    /* Who has no right to that here has it in the user namespace, over what can be reached there. */
    if (tree == -ERR_DENIED && err->sys == EPERM && !m->idmap)
        return 0;
    if (tree < 0)
        return tree;
    m->tree_fd = tree;
    int userns, r = m->idmap ? find_maps(plan, m, &userns, err) : 0;
    return r == 0 && m->idmap ? rootfs__map_tree(tree, userns, m, err) : r;
}

/* What lies below the root may be a mount of this same config: the child binds it when its turn comes. Its
 * ids are mapped by who has CAP_SYS_ADMIN over its file system (mount_setattr(2)), which a child in a user
 * namespace has not: it hands us the tree then. */
static int prepare_within(const struct plan *plan, struct plan_mount *m, struct err *err)
{
    if (!m->idmap)
        return 0;
    int userns, r = find_maps(plan, m, &userns, err);
    if (r == 0 && (m->userns_fd = fcntl(userns, F_DUPFD_CLOEXEC, 3)) < 0)
        return err_sys(err, errno, "dup");
    return r;
}

/* Its propagation is left for the child to decide, who may be asked to share it. */
static int prepare_root(struct plan *plan, struct err *err)
{
    int fd = open_tree(AT_FDCWD, plan->root, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
    if (fd < 0 && errno == EPERM)
        return 0;
    if (fd < 0)
        return err_sys(err, errno, "bind the root %s", plan->root);
    plan->root_fd = fd;
    plan->root_prepared = true;
    return 0;
}

/* "The values MUST be absolute paths in the container namespace." */
static int check_absolute(char **paths, const char *field, struct err *err)
{
    STRV_FOREACH (path, paths)
        if (**path != '/')
            return err_set(err, ERR_INVALID, "\"linux.%s\": \"%s\" is not an absolute path", field, *path);
    return 0;
}

int rootfs_prepare(struct plan *plan, struct err *err)
{
    bool mapped = plan->namespaces & CLONE_NEWUSER;
    launches++;
    int r = check_absolute(plan->masked_paths, "maskedPaths", err);
    if (r == 0)
        r = check_absolute(plan->readonly_paths, "readonlyPaths", err);
    if (strv_len(plan->masked_paths) && launches > 1)
        rootfs__make_covers();
    for (size_t i = 0; i < plan->mount_count && r == 0; i++) {
        struct plan_mount *m = &plan->mounts[i];
        if (m->bind && !m->remount && (mapped || m->idmap))
            r = (m->source_within ? prepare_within : prepare_mount)(plan, m, err);
        plan->maps_within |= mapped && m->userns_fd >= 0;
    }
    if (r == 0 && mapped && !plan->overlay && !plan->root_prepared)
        r = prepare_root(plan, err);
    if (r == 0 && mapped)
        r = rootfs__prepare_nodes(plan, err);
    if (r == 0 && launches > 1 && rootfs__can_be_late(plan))
        plan->late_namespaces |= CLONE_NEWNS;
    return r;
}

void rootfs_prepare_joined(struct plan *plan)
{
    uint64_t joined = 0;
    for (size_t i = 0; i < plan->join_count; i++)
        joined |= (uint64_t)plan->joins[i].flag;
    for (size_t i = 0; i < plan->mount_count; i++) {
        struct plan_mount *m = &plan->mounts[i];
        uint64_t of = str_eq(m->type, "sysfs") ? CLONE_NEWNET : str_eq(m->type, "mqueue") ? CLONE_NEWIPC : 0;
        if (m->bind || m->tree_fd >= 0 || !(joined & of))
            continue;
        m->tree_fd = rootfs__new_filesystem(m, NULL, NULL);
        if (m->tree_fd < 0) /* then the child has its own try, and its error */
            m->tree_fd = -EBADF;
    }
}
