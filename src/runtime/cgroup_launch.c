/* Which kind of group a launch gets, and whose it is. */
#include "runtime/cgroup_priv.h"
#include "runtime/idmaps.h"
#include "runtime/plan.h"

#include "base/file.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/stat.h>
#include <unistd.h>

/* Its own groups can be written from inside, so it gets none that others are in. */
static bool can_write_groups(const struct plan *plan)
{
    for (size_t i = 0; i < plan->mount_count; i++) {
        const struct plan_mount *m = &plan->mounts[i];
        if ((str_eq(m->type, "cgroup") || str_eq(m->type, "cgroup2")) && !(m->attr_set & MOUNT_ATTR_RDONLY))
            return true;
    }
    return false;
}

static bool is_delegated(const struct plan *plan)
{
    bool writable = false;
    for (size_t i = 0; i < plan->mount_count; i++) /* the last one there is what is seen */
        if (str_eq(plan->mounts[i].destination, "/sys/fs/cgroup"))
            writable =
                str_eq(plan->mounts[i].source, "cgroup") && !(plan->mounts[i].attr_set & MOUNT_ATTR_RDONLY);
    return writable && plan->new_cgroup_namespace;
}

/* config-linux.md, "Cgroup ownership": on v2 a container with a cgroup namespace of its own and a group that
 * it sees writable gets that group, and of its files those that delegate it and no limit. */
static int delegate(const struct cgroup *g, const struct plan *plan, struct err *err)
{
    static const char usual[] = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";
    _cleanup_str_ struct str listed = STR_INIT;
    if (g->version != 2 || !is_delegated(plan))
        return 0;
    bool mapped = plan->namespaces & CLONE_NEWUSER;
    uid_t owner = mapped ? idmaps_outside(plan->id_maps.uids, plan->id_maps.uid_count, plan->process.uid)
                         : plan->process.uid;
    if (owner == (uid_t)-1) /* of a user namespace that is joined */
        return 0;
    if (file_read("/sys/kernel/cgroup/delegate", 4096, &listed, NULL) < 0)
        str_add(&listed, usual);
    _cleanup_strv_ char **files = strv_split(str_get(&listed), '\n');
    _cleanup_close_ int dir = open(g->dirs[0].root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || fchown(dir, owner, (gid_t)-1) < 0)
        return errno == EPERM ? 0 : err_sys(err, errno, "give %s to user %u", g->dirs[0].root, owner);
    STRV_FOREACH (file, files)
        if (**file && fchownat(dir, *file, owner, (gid_t)-1, AT_SYMLINK_NOFOLLOW) < 0 && errno != ENOENT)
            return err_sys(err, errno, "give %s/%s to user %u", g->dirs[0].root, *file, owner);
    return 0;
}

int cgroup__for_launch(const struct runtime_launch *launch, const struct plan *plan, struct cgroup **ret,
                       struct err *err)
{
    const struct cgroup_place place = {
        .path = plan->cgroups_path,
        .id = launch->id,
        .as_given = launch->bundle != NULL,
        .systemd = launch->systemd_cgroup,
        .exclusive = can_write_groups(plan),
    };
    int r = cgroup_create_in(&place, plan->resources, ret, err);
    if (r == 0 && (*ret)->occupied && launch->warn) {
        _cleanup_free_ char *text =
            str_printf("container's cgroup is not empty: %zu process(es) found", (*ret)->occupied);
        launch->warn(text);
    }
    if (r == 0 && (r = delegate(*ret, plan, err)) < 0) {
        cgroup_remove(*ret, NULL);
        cgroup_free(*ret);
    }
    return r;
}
