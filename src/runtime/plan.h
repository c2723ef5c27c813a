/* What a launch will do: the OCI config read once in the parent, so that the child between clone and execve
 * only walks plain structures.
 *
 * Strings are borrowed from the config, which must outlive the plan; arrays are the plan's own. A property of
 * the specification that is not done here is refused with ERR_UNSUPPORTED by its name; properties the
 * specification does not know are ignored, as it demands (config.md, "Extensibility"). */
#ifndef RUNTIME_PLAN_H
#define RUNTIME_PLAN_H

#include "runtime/hooks.h"
#include "runtime/memory_policy.h"
#include "runtime/net_devices.h"
#include "runtime/runtime.h"
#include "runtime/scheduling.h"

#include <linux/filter.h>
#include <sched.h>
#include <stdint.h>
#include <sys/resource.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

enum { PLAN_MAX_ITEMS = 4096, PLAN_MAX_JOINS = 8, PLAN_CLOCKS = 2 };

enum plan_cap_set {
    CAPS_BOUNDING,
    CAPS_EFFECTIVE,
    CAPS_INHERITABLE,
    CAPS_PERMITTED,
    CAPS_AMBIENT,
    CAPS_SETS_
};

struct plan_rlimit {
    int resource;
    const char *name;
    struct rlimit64 limit;
};

struct plan_process {
    char **args, **env;
    const char *cwd;
    bool terminal, no_new_privileges;
    bool has_capabilities; /* absent: the process keeps none (config.md: all sets empty) */
    uint64_t capabilities[CAPS_SETS_];
    uid_t uid;
    gid_t gid;
    gid_t *gids;
    size_t gid_count;
    bool keep_groups; /* those of the runtime's caller */
    bool block_signals;
    int umask; /* <0: 0022 */
    struct plan_rlimit *rlimits;
    size_t rlimit_count;
    bool has_oom_score_adj;
    int oom_score_adj;
    uint16_t console_rows, console_columns; /* 0: as it is */
    const char *apparmor_profile, *selinux_label;
    struct scheduling scheduling;
};

/* One line of a uid_map or gid_map. */
struct plan_id_map {
    uint32_t inside, outside, count;
};

struct plan_id_maps {
    struct plan_id_map *uids, *gids;
    size_t uid_count, gid_count; /* both 0: none given */
};

enum { PLAN_MAX_PROPAGATIONS = 8 };

enum plan_idmap { IDMAP_NONE, IDMAP_TOP, IDMAP_TREE };

struct plan_mount {
    const char *destination, *type, *source;
    const char *source_within; /* of a source below the container's root: its path there; else NULL */
    char *own_source, *own_destination; /* what the two above point to when the config's needed changes */
    char *data;                         /* what the filesystem itself gets; NULL: nothing */
    unsigned long flags;                /* MS_ of a new filesystem */
    bool bind, recursive;               /* a bind, and with the mounts below its source */
    bool remount, copy_up;
    bool copy_symlink;                  /* a source that is a symlink is one in the container, too */
    bool keep_source, keep_destination; /* a symlink there is not followed: it is what is bound, or covered */
    uint64_t attr_set, attr_clear;
    uint64_t tree_set, tree_clear; /* the same for the mount and all below it: "rro" and kin */
    unsigned long propagations[PLAN_MAX_PROPAGATIONS]; /* in order: MS_SHARED, ... maybe | MS_REC */
    size_t propagation_count;                          /* 0: rprivate for a bind */
    enum plan_idmap idmap;
    const char *idmap_option;    /* what is behind "idmap=" */
    struct plan_id_maps id_maps; /* none given: the container's */
    int tree_fd;                 /* detached and dressed by the parent; negative: up to the child */
    int userns_fd;               /* whose maps a source within the root gets; else negative */
    int given;                   /* n > 0: the source is the launch's fds[n - 1], a detached tree ("fd:N") */
};

struct plan_device {
    const char *path;
    mode_t mode; /* with its type */
    dev_t number;
    uid_t uid;
    gid_t gid;
    char *own_path; /* what `path` points to when the config's ends with a slash */
};

struct plan_join {
    int flag; /* CLONE_NEWNET, ... */
    int fd;
    bool owned;
};

struct plan_time_offset {
    int clock;
    int64_t seconds;
    uint32_t nanoseconds;
};

struct plan_sysctl {
    char *path; /* below /proc/sys */
    const char *name, *value;
};

/* Who is told of what the seccomp filter holds up; private to listener.c. */
struct plan_listener {
    const char *path, *metadata; /* path NULL: nobody */
    int fd;
    char *before, *between, *after;
    pid_t container_pid;
};

struct plan {
    const char *id;
    struct plan_process process;
    uint64_t new_namespaces;                       /* CLONE_NEW... for the clone */
    bool new_cgroup_namespace, new_time_namespace; /* which the child makes itself */
    uint64_t late_namespaces;                      /* of them, what rootfs_enter() makes instead */
    uint64_t namespaces;                           /* new or joined: what an exec must enter */
    uint64_t seen_namespaces;                      /* in the config */
    struct plan_join joins[PLAN_MAX_JOINS];
    size_t join_count;
    struct plan_time_offset time_offsets[PLAN_CLOCKS];
    size_t time_offset_count;
    struct hooks hooks;

    /* What ids of a new user namespace mean outside (linux.uidMappings, gidMappings). */
    struct plan_id_maps id_maps;

    bool root_is_first_process; /* exec: the container's root is not that of its mount namespace */
    const char *bundle;         /* what relative bind sources are relative to; may be NULL */
    const char *root;
    bool root_prepared; /* rootfs_prepare() made it, detached: */
    int root_fd;
    int *node_fds; /* and device nodes, detached: those of the config, then the default ones */
    size_t node_count;
    const struct runtime_overlay *overlay;
    bool no_pivot, mounts_in_place;
    const char *mount_label; /* SELinux context of new filesystems; NULL: none */
    bool root_readonly;
    unsigned long root_propagation; /* 0: private */
    struct plan_mount *mounts;
    size_t mount_count;
    bool maps_within; /* the parent is to map ids of trees that the child will bind */
    struct plan_device *devices;
    size_t device_count;
    struct plan_sysctl *sysctls;
    size_t sysctl_count;
    char **masked_paths, **readonly_paths;
    const char *hostname, *domainname;
    int64_t personality; /* <0: as it is */
    struct memory_policy memory_policy;
    struct net_devices net_devices;

    char *cgroups_path; /* NULL: drover/<id> */
    const json_t *resources;
    const struct sock_fprog *seccomp; /* the cache's; NULL: none */
    unsigned seccomp_flags;
    struct plan_listener listener;
};

/* The whole config of a container. */
int plan_parse(const struct runtime_launch *launch, struct plan *ret, struct err *err);
/* A further process: `launch->spec` is a config or only its "process" object. Namespaces and seccomp are the
 * container's. */
int plan_parse_exec(const struct runtime_launch *launch, const json_t *container_spec, struct plan *ret,
                    struct err *err);
void plan_done(struct plan *plan);
#define _cleanup_plan_ _cleanup_(plan_done)

/* Parts, each in the file of its concern. */
int plan__parse_process(const json_t *process, const struct runtime_launch *launch, bool mapped,
                        struct plan_process *ret, struct err *err);
int plan__parse_mounts(const json_t *list, const struct runtime_launch *launch, struct plan *plan,
                       struct err *err);
void plan__mounts_done(struct plan *plan); /* mounts, devices, id maps, the prepared root */
/* "uidMappings" and "gidMappings" of `object`. */
int plan__parse_id_maps(const json_t *object, const char *where, struct plan_id_maps *ret, struct err *err);
/* "uids=0-100-10#20-200-1;gids=@0-3-10", as crun has it: an id of the file system, the one it is shown as,
 * how many. With "@" that one is a number in the container. */
int plan__parse_id_map_option(struct plan_mount *mount, const struct plan_id_maps *container,
                              struct err *err);
int plan__parse_devices(const json_t *list, struct plan *plan, struct err *err);
int plan__parse_sysctls(const json_t *sysctls, struct plan *plan, struct err *err);
int plan__parse_namespaces(const json_t *list, const struct runtime_launch *launch, struct plan *plan,
                           struct err *err);
const char *plan__namespace_type(size_t i); /* "pid", ...; NULL beyond the last */
uint64_t plan__namespace_flag(const char *type);
int plan__parse_time_offsets(const json_t *offsets, struct plan *plan, struct err *err);
int plan__check_namespaces(const struct plan *plan, struct err *err);
json_t *plan__mount_option_names(void);
/* ERR_UNSUPPORTED naming the first of `keys` (NULL-terminated) that is present and not empty. */
int plan__refuse(const json_t *object, const char *where, const char *const *keys, struct err *err);
unsigned long plan__propagation(const char *option); /* MS_..., or 0 */

#endif
