/* What hierarchies this machine has, and which part of them is ours to write. */
#include "runtime/cgroup_priv.h"

#include "base/file.h"
#include "base/process.h"

#include <unistd.h>

static const struct {
    const char *name;
    unsigned bit;
} controllers[] = {
    {"memory", CG_MEMORY},        {"cpu", CG_CPU},           {"cpuacct", CG_CPUACCT},
    {"cpuset", CG_CPUSET},        {"pids", CG_PIDS},         {"blkio", CG_BLKIO},
    {"devices", CG_DEVICES},      {"freezer", CG_FREEZER},   {"hugetlb", CG_HUGETLB},
    {"net_cls", CG_NET_CLS},      {"net_prio", CG_NET_PRIO}, {"rdma", CG_RDMA},
    {"name=systemd", CG_SYSTEMD},
};

static struct cgroup_host host, test_host;

const char *cgroup__controller_name(unsigned controller)
{
    for (size_t i = 0; i < ARRAY_SIZE(controllers); i++)
        if (controllers[i].bit & controller)
            return controllers[i].name;
    return "cgroup";
}

unsigned cgroup__controller_of(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(controllers); i++)
        if (str_eq(controllers[i].name, name))
            return controllers[i].bit;
    return 0;
}

static void host_add(struct cgroup_host *h, const char *mount, unsigned mask)
{
    if (h->count == CGROUP_MAX_DIRS)
        return;
    const char *slash = strrchr(mount, '/');
    h->dirs[h->count++] = (struct cgroup_dir){.root = mem_strdup(mount),
                                              .name = mem_strdup(slash ? slash + 1 : mount),
                                              .controllers = mask,
                                              .join_fd = -EBADF};
}

/* One line of /proc/self/mountinfo (proc_pid_mountinfo(5)): "... ID PARENT DEV ROOT MOUNT OPTS [tags] - TYPE
 * SOURCE SUPER". */
static void host_read_line(struct cgroup_host *v1, char **unified, const char *line)
{
    const char *dash = strstr(line, " - cgroup");
    if (!dash)
        return;
    _cleanup_strv_ char **left = strv_split(line, ' ');
    _cleanup_strv_ char **right = strv_split(dash + 3, ' ');
    if (strv_len(left) < 6 || strv_len(right) < 3)
        return;
    if (str_eq(right[0], "cgroup2") && !*unified)
        *unified = mem_strdup(left[4]);
    if (!str_eq(right[0], "cgroup"))
        return;
    _cleanup_strv_ char **words = strv_split(right[2], ',');
    unsigned mask = 0;
    for (size_t i = 0; i < ARRAY_SIZE(controllers); i++)
        if (strv_has(words, controllers[i].name))
            mask |= controllers[i].bit;
    for (size_t i = 0; i < v1->count; i++) /* mounted in two places */
        mask &= ~v1->dirs[i].controllers;
    if (mask)
        host_add(v1, left[4], mask);
}

/* The v2 group of this process, from "0::/user.slice/..." (cgroups(7), "/proc/pid/cgroup"). */
static char *own_group(void)
{
    _cleanup_str_ struct str text = STR_INIT;
    if (file_read("/proc/self/cgroup", 65536, &text, NULL) < 0)
        return NULL;
    _cleanup_strv_ char **lines = strv_split(str_get(&text), '\n');
    STRV_FOREACH (line, lines) {
        const char *path = str_after(*line, "0::/");
        if (path && !strstr(path, ".."))
            return mem_strdup(path - 1);
    }
    return NULL;
}

static bool is_ours(const char *mount, const char *group)
{
    _cleanup_free_ char *procs = str_printf("%s%s/cgroup.procs", mount, group);
    _cleanup_free_ char *dir = str_printf("%s%s", mount, group);
    return access(dir, W_OK) == 0 && access(procs, W_OK) == 0;
}

/* An ordinary user gets part of the tree from the service manager (cgroup-v2, "Delegation"): the highest
 * group above our own that may be written. It has no process of its own, where the one that we run in has. */
static char *delegated(const char *mount)
{
    char *group = own_group(), *best = NULL;
    while (group && is_ours(mount, group)) {
        free(best);
        best = mem_strdup(str_eq(group, "/") ? "" : group);
        char *slash = strrchr(group, '/');
        if (!slash || str_eq(group, "/"))
            break;
        slash[slash == group] = '\0';
    }
    free(group);
    return best;
}

static char *find_base(const struct cgroup_host *h)
{
    if (h->version == 2 && (geteuid() != 0 || process_in_user_namespace())) {
        char *base = delegated(h->dirs[0].root);
        if (base)
            return base;
    }
    return mem_strdup("");
}

const struct cgroup_host *cgroup__host(void)
{
    if (test_host.version)
        return &test_host;
    if (host.version)
        return &host;
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_free_ char *unified = NULL;
    if (file_read("/proc/self/mountinfo", 8 << 20, &text, NULL) < 0)
        return &host;
    host.count = 0;
    _cleanup_strv_ char **lines = strv_split(str_get(&text), '\n');
    STRV_FOREACH (line, lines)
        host_read_line(&host, &unified, *line);
    unsigned all = 0;
    for (size_t i = 0; i < host.count; i++)
        all |= host.dirs[i].controllers;
    /* A machine of v2 may keep one v1 hierarchy for an old program; what matters is who has the memory. */
    if (unified && !(all & (CG_MEMORY | CG_CPU | CG_PIDS))) {
        host.count = 0;
        host_add(&host, unified, ~0U);
        host.version = 2;
    } else if (host.count) {
        host.version = 1;
        if (unified)
            host_add(&host, unified, CG_UNIFIED);
    }
    host.base = find_base(&host);
    return &host;
}

void cgroup__use_v2(const char *mount)
{
    for (size_t i = 0; i < test_host.count; i++) {
        free(test_host.dirs[i].root);
        free(test_host.dirs[i].name);
    }
    free(test_host.base);
    test_host = (struct cgroup_host){0};
    if (mount) {
        host_add(&test_host, mount, ~0U);
        test_host.version = 2;
        test_host.base = mem_strdup("");
    }
}

int cgroup_host_version(void)
{
    const struct cgroup_host *h = cgroup__host();
    return h->version ? h->version : 2;
}
