/* No cgroup at all: what is left to an ordinary user whom nobody gave a part of the tree. Containers run as
 * they do elsewhere; a limit that was asked for is refused by its name, and devices are kept from a container
 * by what its user namespace may open. */
#include "runtime/cgroup_priv.h"

#include "base/process.h"
#include "base/str.h"

#include <unistd.h>

static int refuse(struct err *err, const char *what)
{
    return err_set(err, ERR_UNSUPPORTED,
                   "%s needs a cgroup that this user may write: on cgroup v2, one that the service manager "
                   "delegated (systemd: Delegate=yes)",
                   what);
}

static int make(struct cgroup *g, struct err *err)
{
    return 0;
}

static int apply(struct cgroup *g, const struct cgroup_limits *l, struct err *err)
{
    /* Device rules are part of every config, and so is "no limit". */
    const struct {
        bool set;
        const char *name;
    } asked[] = {
        {l->memory.set && l->memory.n > 0, "memory.limit"},
        {l->swap.set && l->swap.n > 0, "memory.swap"},
        {l->reservation.set && l->reservation.n > 0, "memory.reservation"},
        {l->kernel_tcp.set && l->kernel_tcp.n > 0, "memory.kernelTCP"},
        {l->swappiness.set, "memory.swappiness"},
        {l->no_oom_killer, "memory.disableOOMKiller"},
        {l->shares.set, "cpu.shares"},
        {l->quota.set && l->quota.n > 0, "cpu.quota"},
        {l->period.set, "cpu.period"},
        {l->burst.set && l->burst.n > 0, "cpu.burst"},
        {l->rt_runtime.set, "cpu.realtimeRuntime"},
        {l->rt_period.set, "cpu.realtimePeriod"},
        {l->idle.set && l->idle.n, "cpu.idle"},
        {l->cpus, "cpu.cpus"},
        {l->mems, "cpu.mems"},
        {l->pids.set && l->pids.n > 0, "pids.limit"},
        {l->io_weight.set, "blockIO.weight"},
        {l->io_leaf_weight.set, "blockIO.leafWeight"},
        {l->io_count, "blockIO"},
        {l->hugepage_count, "hugepageLimits"},
        {l->class_id.set, "network.classID"},
        {l->priority_count, "network.priorities"},
        {l->rdma_count, "rdma"},
        {l->unified, "unified"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(asked); i++) {
        _cleanup_free_ char *name = str_printf("resources.%s", asked[i].name);
        if (asked[i].set)
            return refuse(err, name);
    }
    return 0;
}

static int freeze(struct cgroup *g, bool frozen, struct err *err)
{
    return refuse(err, "pausing a container");
}

static bool is_frozen(const struct cgroup *g)
{
    return false;
}

static int usage(struct cgroup *g, struct cgroup_usage *ret, struct err *err)
{
    return 0;
}

const struct cgroup_ops cgroup__none = {make, apply, freeze, is_frozen, usage};

bool cgroup__may_be_none(const struct cgroup_host *h)
{
    if (geteuid() == 0 && !process_in_user_namespace())
        return false;
    for (size_t i = 0; i < h->count; i++) {
        _cleanup_free_ char *ours = str_printf("%s%s/drover", h->dirs[i].root, h->base);
        _cleanup_free_ char *top = str_printf("%s%s", h->dirs[i].root, h->base);
        if (access(top, W_OK) < 0 && access(ours, W_OK) < 0)
            return true;
    }
    return !h->count;
}
