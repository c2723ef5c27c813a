/* A container's control group, the same to its user on cgroup v1, hybrid and v2.
 *
 * Groups live below "drover/" (a parent may be given as spec linux.cgroupsPath: "/drover/<id>"). On v1 a
 * group is made in every mounted controller that matters (memory, cpu, cpuacct, cpuset, pids, blkio, devices,
 * freezer); on v2 in the one tree, with controllers enabled on the way down. Nothing outside of our groups is
 * changed, no hierarchy is mounted. In a user namespace whose user may write none, a group is a name only:
 * its limits are refused, cgroup_kill() and cgroup_freeze() are ERR_UNSUPPORTED. */
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

/* `resources` is "linux.resources" of a config, or NULL. A limit that the kernel refuses is an error naming
 * it. */
int cgroup_create(const char *path, const json_t *resources, struct cgroup **ret, struct err *err);
int cgroup_open(const char *path, struct cgroup **ret,
                struct err *err); /* one that exists: after a restart */
int cgroup_update(struct cgroup *g, const json_t *resources, struct err *err);
int cgroup_add_pid(struct cgroup *g, pid_t pid, struct err *err);
int cgroup_freeze(struct cgroup *g, bool frozen, struct err *err);
bool cgroup_is_frozen(const struct cgroup *g);
int cgroup_kill(struct cgroup *g, int signal, struct err *err); /* every process in it and below */
int cgroup_pids(struct cgroup *g, pid_t **ret, size_t *ret_count, struct err *err);
int cgroup_usage(struct cgroup *g, struct cgroup_usage *ret, struct err *err);
int cgroup_remove(struct cgroup *g, struct err *err); /* waits briefly for the last process to leave */
const char *cgroup_path(const struct cgroup *g);
bool cgroup_is_v2(const struct cgroup *g);
void cgroup_free(struct cgroup *g);

/* 1 or 2: what a container made now would use; hybrid with controllers on v1 is 1. */
int cgroup_host_version(void);

#endif
