/* A container's control group, the same to its user on cgroup v1, hybrid and v2.
 *
 * The engine's groups live below "drover/": whatever its callers say, groups of others stay out of reach. An
 * OCI command line takes "linux.cgroupsPath" as it is given (struct cgroup_place). On v1 a group is a
 * directory in every mounted hierarchy that matters (memory, cpu, cpuacct, cpuset, pids, blkio, devices,
 * freezer; hugetlb, net_cls, net_prio and rdma when a limit asks for them); on v2 one directory, with
 * controllers enabled on the way down. Where the engine's containers need nothing of their own in v1's
 * devices and cpuset hierarchies, they share a group there with all that have the same rules; and a memory
 * group that is as it was made is used again by a later container (cgroup_spare.c).
 *
 * Nothing outside of our groups is changed, no hierarchy is mounted. In a user namespace whose user may write
 * none, a group is a name only: its limits are refused, cgroup_kill() and cgroup_freeze() are
 * ERR_UNSUPPORTED.
 *
 * A limit whose controller this machine lacks is an error that names the controller. */
#ifndef RUNTIME_CGROUP_H
#define RUNTIME_CGROUP_H

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct cgroup;

struct cgroup_usage {
    int64_t cpu_ns, cpu_user_ns, cpu_system_ns;
    int64_t throttled_periods, periods, throttled_ns;
    int64_t memory_bytes, memory_limit_bytes, memory_max_bytes, memory_cache_bytes; /* limit <0: none */
    int64_t pids, pids_limit;
    int64_t io_read_bytes, io_write_bytes;
    int64_t oom_kills;
};

/* Where a group goes. */
struct cgroup_place {
    const char *path; /* linux.cgroupsPath, or NULL: after the id */
    const char *id;
    bool as_given;  /* an OCI command line's: "/a/b" is just that; the usual devices are always allowed */
    bool systemd;   /* ask systemd for a scope; the path is "slice:prefix:name" */
    bool exclusive; /* share nothing: the container can write its own groups */
};

/* `resources` is "linux.resources" of a config, or NULL. A limit that the kernel refuses is an error naming
 * it, and nothing is left. ERR_CONFLICT: there is such a group with processes in it. */
int cgroup_create_in(const struct cgroup_place *place, const json_t *resources, struct cgroup **ret,
                     struct err *err);
/* Below drover/. */
int cgroup_create(const char *path, const json_t *resources, struct cgroup **ret, struct err *err);
/* One that exists: after a restart, or in another process. Takes a path below drover/, or what cgroup_path()
 * said. */
int cgroup_open(const char *path, struct cgroup **ret, struct err *err);
const char *cgroup_path(const struct cgroup *g);
/* Where the group lies below its hierarchies' mounts: "/drover/x". */
const char *cgroup_fs_path(const struct cgroup *g);

/* Any part of linux.resources; what is not said stays as it is. */
int cgroup_update(struct cgroup *g, const json_t *resources, struct err *err);
/* For who is to be added: a group below this one, that is there already, in the hierarchies of `controllers`
 * ("cpu,memory"; NULL: in all). */
int cgroup_descend(struct cgroup *g, const char *controllers, const char *below, struct err *err);
int cgroup_add_pid(struct cgroup *g, pid_t pid, struct err *err);
/* A process of an exec. On v2 a group whose container passes controllers on to groups of its own takes no
 * processes (an init system inside does that): then it goes to where `first`, the container's first process,
 * has gone below the group. */
int cgroup_add_beside(struct cgroup *g, pid_t pid, pid_t first, struct err *err);
/* A process that forks, or sits in the kernel, while the group freezes can keep it from getting there. Then
 * it is thawed, and freezing again after CGROUP_FREEZE_PAUSE_NS mostly succeeds: cgroup_freeze() does that
 * for CGROUP_FREEZE_NS. One try lasts some tens of milliseconds, for who must not wait longer; ERR_TIMEOUT:
 * try again. */
#define CGROUP_FREEZE_NS       (10 * NS_PER_S)
#define CGROUP_FREEZE_PAUSE_NS (5 * NS_PER_MS)
int cgroup_freeze(struct cgroup *g, bool frozen, struct err *err);
int cgroup_try_freeze(struct cgroup *g, bool frozen, struct err *err);
bool cgroup_is_frozen(const struct cgroup *g);
int cgroup_kill(struct cgroup *g, int signal, struct err *err); /* every process in it and below */
int cgroup_pids(struct cgroup *g, pid_t **ret, size_t *ret_count, struct err *err);
int cgroup_remove(struct cgroup *g, struct err *err); /* waits briefly for the last process to leave */
bool cgroup_is_v2(const struct cgroup *g);
void cgroup_free(struct cgroup *g);

int cgroup_usage(struct cgroup *g, struct cgroup_usage *ret, struct err *err);
/* How often the kernel killed in it for want of memory: of cgroup_usage() that one number, read alone. */
int64_t cgroup_oom_kills(const struct cgroup *g);
/* "data" of what `runc events --stats` prints. */
int cgroup_stats_json(struct cgroup *g, json_t **ret, struct err *err);
/* A descriptor that becomes readable when the group ran out of memory (and when it goes): read and drop what
 * is in it, then look at cgroup_oom_kills(). */
int cgroup_watch_oom(struct cgroup *g, int *ret_fd, struct err *err);

/* Removes the groups that containers shared, or that were kept for later ones, whose maker is gone and where
 * nobody is in them any more. */
void cgroup_sweep(void);

/* 1 or 2: what a container made now would use; hybrid with controllers on v1 is 1. */
int cgroup_host_version(void);

#endif
