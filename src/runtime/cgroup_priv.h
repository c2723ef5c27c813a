/* What the cgroup files share. A group is a set of directories: on v1 one for each mounted hierarchy with a
 * controller of interest, on v2 a single one. Everything that differs is in a table of functions. */
#ifndef RUNTIME_CGROUP_PRIV_H
#define RUNTIME_CGROUP_PRIV_H

#include "runtime/cgroup.h"

#include "base/str.h"

enum cgroup_controller {
    CG_MEMORY = 1 << 0,
    CG_CPU = 1 << 1,
    CG_CPUACCT = 1 << 2,
    CG_CPUSET = 1 << 3,
    CG_PIDS = 1 << 4,
    CG_BLKIO = 1 << 5, /* "io" on v2 */
    CG_DEVICES = 1 << 6,
    CG_FREEZER = 1 << 7,
    CG_HUGETLB = 1 << 8,
    CG_NET_CLS = 1 << 9,
    CG_NET_PRIO = 1 << 10,
    CG_RDMA = 1 << 11,
    CG_SYSTEMD = 1 << 12, /* v1's named hierarchy in which systemd keeps its units */

    CG_UNIFIED = 1 << 13, /* a hybrid machine's v2 tree, without controllers */

    /* v1: joined only when asked for. */
    CG_ON_DEMAND = CG_HUGETLB | CG_NET_CLS | CG_NET_PRIO | CG_RDMA,
    /* v1: a group of which containers may have none of their own. */
    CG_SHARABLE = CG_DEVICES | CG_CPUSET,
};

enum { CGROUP_MAX_DIRS = 16, CGROUP_MAX_SHARED = 2 /* directories of one group: CG_SHARABLE */ };

/* Of a host a mounted hierarchy, of a group its directory in there. */
struct cgroup_dir {
    char *root; /* the mount, or the whole directory in a group */
    char *name; /* last part of the mount's path: "memory", "cpu,cpuacct" */
    unsigned controllers;
    bool made;         /* by this cgroup_create() */
    bool shared;       /* with other groups: never changed or removed as this group's */
    int join_fd;       /* shared: opened already; else negative */
    bool may_be_spare; /* see cgroup_spare.c */
    unsigned uses;     /* containers that had it before */
};

struct cgroup_host {
    int version;
    struct cgroup_dir dirs[CGROUP_MAX_DIRS];
    size_t count;
    char *base; /* "" or the delegated group that an ordinary user's groups are made below: "/user.slice/x" */
};

struct cgroup_limits;
struct cgroup_rdma;

struct cgroup_ops {
    int (*make)(struct cgroup *g, struct err *err);
    int (*apply)(struct cgroup *g, const struct cgroup_limits *l, struct err *err);
    int (*freeze)(struct cgroup *g, bool frozen, struct err *err);
    bool (*is_frozen)(const struct cgroup *g);
    int (*usage)(struct cgroup *g, struct cgroup_usage *ret, struct err *err);
};

struct cgroup {
    char *path;    /* what cgroup_open() takes: "drover/..." or "host:/..." */
    char *fs_path; /* "/drover/..." */
    const struct cgroup_ops *ops;
    int version;
    struct cgroup_dir dirs[CGROUP_MAX_DIRS];
    size_t count;
    bool as_given;
    bool creating;    /* cgroup_create() is at work */
    bool fresh;       /* all directories were made by this cgroup_create(), so nothing is set yet */
    size_t occupied;  /* as_given: how many processes were in it before */
    pid_t stand_in;   /* systemd's scopes must not be empty: who is in it until the container is; 0: nobody */
    unsigned missing; /* on-demand controllers this group has not joined */
};

extern const struct cgroup_ops cgroup__v1, cgroup__v2, cgroup__none;
/* No hierarchy is ours to write, and we are an ordinary user: groups are of version 0, without directories.
 */
bool cgroup__may_be_none(const struct cgroup_host *h);

/* --- cgroup_launch.c --- */

struct plan;
struct runtime_launch;
int cgroup__for_launch(const struct runtime_launch *launch, const struct plan *plan, struct cgroup **ret,
                       struct err *err);

/* --- cgroup_host.c --- */

/* The machine's hierarchies, found once. */
const struct cgroup_host *cgroup__host(void);
/* For tests on a hybrid machine: use the v2 tree mounted at `mount` from now on; NULL: the real state. */
void cgroup__use_v2(const char *mount);
const char *cgroup__controller_name(unsigned controller);
unsigned cgroup__controller_of(const char *name); /* 0: there is none of that name */

/* --- cgroup_path.c --- */

/* The path below the mounts, and the name cgroup_open() takes. */
int cgroup__place(const struct cgroup_place *place, char **ret_path, char **ret_fs_path, struct err *err);
int cgroup__place_open(const char *path, char **ret_fs_path, bool *ret_as_given, struct err *err);

/* --- cgroup.c --- */

/* The i-th directory with the name of its hierarchy; false when there are no more. */
bool cgroup__directory(const struct cgroup *g, size_t i, const char **ret_name, const char **ret_dir);
/* In the child: moves the calling process in. */
int cgroup__join(const struct cgroup *g, struct err *err);
/* NULL: not on this machine. One that is shared is for reading. */
const char *cgroup__dir_of(const struct cgroup *g, unsigned controller);
/* Processes of a directory of the group and all below. */
size_t cgroup__pids_below(const struct cgroup *g, const char *dir, pid_t **ret);
/* The path of a process in a controller's hierarchy (/proc/pid/cgroup), or NULL. */
char *cgroup__place_of(pid_t pid, unsigned controller);
void cgroup__drop_dir(struct cgroup *g, size_t i);

/* --- cgroup_file.c --- */

int cgroup__write(const char *dir, const char *file, const char *text, struct err *err);
int cgroup__write_i64(const char *dir, const char *file, int64_t value, struct err *err);
bool cgroup__read_text(const char *dir, const char *file, struct str *ret);
bool cgroup__has(const char *dir, const char *file);
/* A file's number, or that of the line starting with `key`; "max" is -1. Leaves the value when it cannot be
 * read. */
void cgroup__read_i64(const char *dir, const char *file, int64_t *ret);
void cgroup__read_key(const char *dir, const char *file, const char *key, int64_t *ret);
/* Sums the numbers behind `key` over a file of one line a device: "8:0 Read 4096", "8:0 rbytes=4096". */
int cgroup__write_rdma(const char *dir, const struct cgroup_rdma *rdma, struct err *err);
int64_t cgroup__sum_key(const char *dir, const char *file, const char *key);
/* Depth first; a container may make groups of its own below its group. */
void cgroup__walk(const char *dir, void (*visit)(const char *dir, void *context), void *context);

/* --- cgroup_limits.c: linux.resources, read once for all versions (config-linux.md, "Control groups") --- */

struct cgroup_number {
    bool set;
    int64_t n;
};

struct cgroup_device_rule {
    bool allow;
    char type;            /* 'a', 'b', 'c' */
    int64_t major, minor; /* <0: any */
    bool read, write, mknod;
};

enum cgroup_io_kind { IO_READ_BPS, IO_WRITE_BPS, IO_READ_IOPS, IO_WRITE_IOPS, IO_WEIGHT, IO_LEAF_WEIGHT };

struct cgroup_io_device {
    enum cgroup_io_kind kind;
    int64_t major, minor;
    int64_t value;
};

struct cgroup_hugepages {
    const char *size; /* "2MB" */
    int64_t limit;
};

struct cgroup_priority {
    const char *interface;
    int64_t priority;
};

struct cgroup_rdma {
    const char *device;
    struct cgroup_number handles, objects;
};

struct cgroup_limits {
    struct cgroup_number memory, swap, reservation, kernel_tcp, swappiness;
    bool no_oom_killer, check_before_update, use_hierarchy;
    struct cgroup_number shares, quota, burst, period, rt_runtime, rt_period, idle;
    const char *cpus, *mems; /* NULL: not said */
    struct cgroup_number pids;
    struct cgroup_number io_weight, io_leaf_weight;
    struct cgroup_io_device *io;
    size_t io_count;
    struct cgroup_hugepages *hugepages;
    size_t hugepage_count;
    struct cgroup_number class_id;
    struct cgroup_priority *priorities;
    size_t priority_count;
    struct cgroup_rdma *rdma;
    size_t rdma_count;
    const json_t *unified; /* checked: strings by file names */
    struct cgroup_device_rule *devices;
    size_t device_count;
};

/* Strings are borrowed from `resources`. With `add_usual`, device rules start from "nothing" and end with
 * those every container needs, as other OCI runtimes do. */
int cgroup__limits_parse(const json_t *resources, bool add_usual, struct cgroup_limits *ret, struct err *err);
void cgroup__limits_done(struct cgroup_limits *l);
#define _cleanup_limits_ _cleanup_(cgroup__limits_done)
/* v1's controllers of CG_ON_DEMAND that are needed. */
unsigned cgroup__limits_demand(const struct cgroup_limits *l);

/* --- cgroup_devices.c --- */

/* v2: attaches a program to the group's directory that does the same as v1's devices controller. */
int cgroup__attach_devices(const char *dir, const struct cgroup_device_rule *rules, size_t count,
                           struct err *err);
/* v1: writes the rules into a group's list. `fresh`: it still has its parent's. */
int cgroup__write_devices(const char *dir, const struct cgroup_device_rule *rules, size_t count,
                          struct err *err);

/* --- cgroup_shared.c: v1 groups without an owner --- */

/* Makes the i-th directory of `g` the shared one for these rules (devices) or the one without limits
 * (cpuset). */
int cgroup__share(struct cgroup *g, size_t i, const struct cgroup_limits *l, struct err *err);
/* v1: what a new cpuset lacks, from the parent; from the top when that has nothing either. */
int cgroup__inherit_cpuset(const char *mount, const char *path, struct err *err);

/* --- cgroup_spare.c: v1 memory groups that are used again --- */

/* Marks the directories of `g`, whose making is ahead, that need not be new ones nor be removed at the end.
 */
void cgroup__may_be_spare(struct cgroup *g, const struct cgroup_place *place, const struct cgroup_limits *l);
/* Makes the directory out of one that was put by; false: there is none. */
bool cgroup__spare_take(struct cgroup_dir *d);
/* To be told of each that was made anew. */
void cgroup__spare_learn(const struct cgroup_dir *d);
/* Puts it by; false: it is to be removed. */
bool cgroup__spare_put(struct cgroup_dir *d);
/* Removes those of processes that are gone. */
void cgroup__sweep_spares(void);

/* --- cgroup_systemd.c --- */

/* Makes the scope with a process of ours in it, and says where: "/system.slice/drover-x.scope". */
int cgroup__systemd_scope(const struct cgroup_place *place, const struct cgroup_limits *l, char **ret_fs_path,
                          pid_t *ret_stand_in, struct err *err);
/* Tells systemd of changed limits, if the group is a scope of it. */
int cgroup__systemd_update(const struct cgroup *g, const struct cgroup_limits *l, struct err *err);
/* Lets the scope's first process go. */
void cgroup__systemd_release(struct cgroup *g);

#endif
