#include "runtime/cgroup_priv.h"

int cgroup__systemd_scope(const struct cgroup_place *place, const struct cgroup_limits *l, char **ret_fs_path,
                          pid_t *ret_stand_in, struct err *err)
{
    return err_set(err, ERR_UNSUPPORTED, "--systemd-cgroup: this machine is not run by systemd");
}

void cgroup__systemd_release(struct cgroup *g)
{
}
