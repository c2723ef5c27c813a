/* What the cgroup files share. A group is a set of directories: on v1 one for each mounted hierarchy with a
 * controller of interest, on v2 a single one. Everything that differs is in a table of functions. */
#ifndef RUNTIME_CGROUP_PRIV_H
#define RUNTIME_CGROUP_PRIV_H

#include "runtime/cgroup.h"

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
};

enum { CGROUP_MAX_DIRS = 12 };

struct cgroup_dir {
    char *root; /* the mount, or the whole directory in a group */
    char *name; /* last part of the mount's path: "memory", "cpu,cpuacct" */
    unsigned controllers;
};

struct cgroup_host {
    int version;
    struct cgroup_dir dirs[CGROUP_MAX_DIRS];
    size_t count;
};

struct cgroup_ops {
    int (*make)(struct cgroup *g, struct err *err);
    int (*apply)(struct cgroup *g, const json_t *resources, struct err *err);
    int (*freeze)(struct cgroup *g, bool frozen, struct err *err);
    bool (*is_frozen)(const struct cgroup *g);
    int (*usage)(struct cgroup *g, struct cgroup_usage *ret, struct err *err);
};

struct cgroup {
    char *path; /* "drover/..." */
    const struct cgroup_ops *ops;
    int version;
    struct cgroup_dir dirs[CGROUP_MAX_DIRS];
    size_t count;
};

extern const struct cgroup_ops cgroup__v1, cgroup__v2, cgroup__none;
/* No hierarchy is ours to write, and we are an ordinary user: groups are of version 0, without directories.
 */
bool cgroup__may_be_none(const struct cgroup_host *h);

/* The machine's hierarchies, found once. */
const struct cgroup_host *cgroup__host(void);
/* For tests on a hybrid machine: use the v2 tree mounted at `mount` from now on; NULL: the real state. */
void cgroup__use_v2(const char *mount);

/* The i-th directory with the name of its hierarchy; false when there are no more. */
bool cgroup__directory(const struct cgroup *g, size_t i, const char **ret_name, const char **ret_dir);
/* In the child: moves the calling process in. */
int cgroup__join(const struct cgroup *g, struct err *err);

const char *cgroup__dir_of(const struct cgroup *g, unsigned controller); /* NULL: not on this machine */
int cgroup__mkdirs(const char *root, const char *path, struct err *err);
int cgroup__write(const char *dir, const char *file, const char *text, struct err *err);
int cgroup__write_i64(const char *dir, const char *file, int64_t value, struct err *err);
/* A file's number, or that of the line starting with `key`; "max" is -1. Leaves the value when it cannot be
 * read. */
void cgroup__read_i64(const char *dir, const char *file, int64_t *ret);
void cgroup__read_key(const char *dir, const char *file, const char *key, int64_t *ret);
/* Sums the numbers behind `key` over a file of one line a device: "8:0 Read 4096", "8:0 rbytes=4096". */
int64_t cgroup__sum_key(const char *dir, const char *file, const char *key);

/* Devices: the config's rules, read once for both versions (config-linux.md, "Allowed Device list"). */
struct cgroup_device_rule {
    bool allow;
    char type;            /* 'a', 'b', 'c' */
    int64_t major, minor; /* <0: any */
    bool read, write, mknod;
};
int cgroup__device_rules(const json_t *resources, struct cgroup_device_rule **ret, size_t *ret_count,
                         struct err *err);
/* v2: attaches a program to the group's directory that does the same as v1's devices controller. */
int cgroup__attach_devices(const char *dir, const struct cgroup_device_rule *rules, size_t count,
                           struct err *err);

#endif
