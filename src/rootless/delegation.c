/* The part of the cgroup v2 tree that a service manager has delegated to the user (systemd: Delegate=yes in
 * the unit, then every file of the unit's own group belongs to the user; kernel, "Delegation" in
 * cgroup-v2.rst).
 *
 *   /sys/fs/cgroup/user.slice/.../drover.service     where we were put; bound over /sys/fs/cgroup inside
 *                                  |-- engine        our own processes: a group with limits holds none itself
 *                                  \-- drover        the containers, as everywhere
 *
 * DelegateSubgroup=engine (systemd 254) starts the unit in the subgroup at once. */
#include "rootless/rootless_priv.h"

#include "base/file.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <unistd.h>

#define TREE   "/sys/fs/cgroup"
#define ENGINE "/engine"

enum { PROCS_MAX = 1 << 20 };

/* The directory of our own group on v2, or, when that is one made for the engine, the one above; NULL when
 * there is no v2 tree or it is not ours. */
static char *find_delegated(void)
{
    struct statfs fs;
    _cleanup_str_ struct str text = STR_INIT;
    if (statfs(TREE, &fs) < 0 || fs.f_type != CGROUP2_SUPER_MAGIC ||
        file_read("/proc/self/cgroup", 64 << 10, &text, NULL) < 0)
        return NULL;
    const char *path = NULL;
    for (const char *line = str_get(&text); line && !path; line = strchr(line, '\n')) {
        line += *line == '\n';
        path = str_after(line, "0::");
    }
    if (!path)
        return NULL;
    _cleanup_free_ char *dir = str_printf(TREE "%.*s", (int)strcspn(path, "\n"), path);
    if (str_ends_with(dir, ENGINE))
        dir[strlen(dir) - strlen(ENGINE)] = '\0';
    _cleanup_free_ char *procs = str_printf("%s/cgroup.procs", dir);
    _cleanup_free_ char *control = str_printf("%s/cgroup.subtree_control", dir);
    if (access(dir, W_OK) < 0 || access(procs, W_OK) < 0 || access(control, W_OK) < 0)
        return NULL;
    return take_ptr(dir);
}

/* Everybody in the delegated group itself is ours: drover serve, this process, what starts them. */
static int move_down(const char *dir, struct err *err)
{
    _cleanup_free_ char *from = str_printf("%s/cgroup.procs", dir);
    _cleanup_free_ char *engine = str_printf("%s" ENGINE, dir), *to = str_printf("%s/cgroup.procs", engine);
    _cleanup_str_ struct str text = STR_INIT;
    if (mkdir(engine, 0755) < 0 && errno != EEXIST)
        return err_sys(err, errno, "make cgroup %s", engine);
    int r = file_read(from, PROCS_MAX, &text, err);
    if (r < 0)
        return r;
    _cleanup_strv_ char **pids = strv_split(str_get(&text), '\n');
    STRV_FOREACH (pid, pids) {
        struct err why = {0};
        if (**pid && file_poke(to, *pid, &why) < 0 && why.sys != ESRCH)
            return err_copy(err, &why);
    }
    return 0;
}

int rootless__own_cgroup(struct err *err)
{
    _cleanup_free_ char *dir = find_delegated();
    if (!dir)
        return 0;
    int r = move_down(dir, err);
    if (r == 0 && mount(dir, TREE, NULL, MS_BIND, NULL) < 0)
        r = err_sys(err, errno, "show %s as " TREE, dir);
    return r < 0 ? err_wrap(err, "use the delegated cgroup") : 0;
}

void rootless__join_cgroup(void)
{
    (void)file_poke(TREE ENGINE "/cgroup.procs", "0", NULL);
}
