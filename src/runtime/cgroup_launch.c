/* Which kind of group a launch gets. */
#include "runtime/cgroup_priv.h"
#include "runtime/plan.h"

#include <linux/mount.h>

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
    return r;
}
