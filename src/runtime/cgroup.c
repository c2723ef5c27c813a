#include "runtime/cgroup_priv.h"

#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "base/timeutil.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

enum { REMOVE_TRIES = 200, FILE_MAX = 1 << 20, MAX_DEPTH = 32 };

static const struct {
    const char *name;
    unsigned bit;
} controllers[] = {
    {"memory", CG_MEMORY},   {"cpu", CG_CPU},         {"cpuacct", CG_CPUACCT},
    {"cpuset", CG_CPUSET},   {"pids", CG_PIDS},       {"blkio", CG_BLKIO},
    {"devices", CG_DEVICES}, {"freezer", CG_FREEZER}, {"hugetlb", CG_HUGETLB},
};

static struct cgroup_host host, test_host;

static void host_add(struct cgroup_host *h, const char *mount, unsigned mask)
{
    if (h->count == CGROUP_MAX_DIRS)
        return;
    const char *slash = strrchr(mount, '/');
    h->dirs[h->count++] = (struct cgroup_dir){
        .root = mem_strdup(mount), .name = mem_strdup(slash ? slash + 1 : mount), .controllers = mask};
}

/* One line of /proc/self/mountinfo (proc_pid_mountinfo(5)): "... ID PARENT DEV ROOT MOUNT OPTS [tags] - TYPE
 * SOURCE SUPER". */
static void host_read_line(struct cgroup_host *v1, char **unified, const char *line)
{
    const char *dash = strstr(line, " - ");
    _cleanup_strv_ char **left = strv_split(line, ' ');
    if (!dash || strv_len(left) < 6)
        return;
    _cleanup_strv_ char **right = strv_split(dash + 3, ' ');
    if (strv_len(right) < 3)
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
    }
    return &host;
}

void cgroup__use_v2(const char *mount)
{
    for (size_t i = 0; i < test_host.count; i++) {
        free(test_host.dirs[i].root);
        free(test_host.dirs[i].name);
    }
    test_host = (struct cgroup_host){0};
    if (mount) {
        host_add(&test_host, mount, ~0U);
        test_host.version = 2;
    }
}

int cgroup_host_version(void)
{
    const struct cgroup_host *h = cgroup__host();
    return h->version ? h->version : 2;
}

/* --- files --- */

const char *cgroup__dir_of(const struct cgroup *g, unsigned controller)
{
    for (size_t i = 0; i < g->count; i++)
        if (g->dirs[i].controllers & controller)
            return g->dirs[i].root;
    return NULL;
}

int cgroup__write(const char *dir, const char *file, const char *text, struct err *err)
{
    _cleanup_free_ char *path = str_printf("%s/%s", dir, file);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "open %s", path);
    if (write(fd, text, strlen(text)) < 0)
        return err_sys(err, errno, "write \"%s\" to %s", text, path);
    return 0;
}

int cgroup__write_i64(const char *dir, const char *file, int64_t value, struct err *err)
{
    char text[32];
    snprintf(text, sizeof(text), "%lld", (long long)value);
    return cgroup__write(dir, file, text, err);
}

static bool read_text(const char *dir, const char *file, struct str *ret)
{
    _cleanup_free_ char *path = str_printf("%s/%s", dir, file);
    return file_read(path, FILE_MAX, ret, NULL) >= 0;
}

static bool number(const char *text, int64_t *ret)
{
    if (str_after(text, "max")) {
        *ret = -1;
        return true;
    }
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (end == text || errno)
        return false;
    *ret = value > INT64_MAX ? INT64_MAX : (int64_t)value;
    return true;
}

void cgroup__read_i64(const char *dir, const char *file, int64_t *ret)
{
    _cleanup_str_ struct str text = STR_INIT;
    if (dir && read_text(dir, file, &text))
        number(str_get(&text), ret);
}

void cgroup__read_key(const char *dir, const char *file, const char *key, int64_t *ret)
{
    _cleanup_str_ struct str text = STR_INIT;
    if (!dir || !read_text(dir, file, &text))
        return;
    size_t n = strlen(key);
    for (const char *line = str_get(&text); line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, n) == 0 && line[n] == ' ') {
            number(line + n + 1, ret);
            return;
        }
    }
}

int64_t cgroup__sum_key(const char *dir, const char *file, const char *key)
{
    _cleanup_str_ struct str text = STR_INIT;
    int64_t sum = 0, value;
    if (!dir || !read_text(dir, file, &text))
        return 0;
    for (const char *at = str_get(&text); (at = strstr(at, key));) {
        at += strlen(key);
        if ((*at == ' ' || *at == '=') && number(at + 1, &value) && value > 0)
            sum += value;
    }
    return sum;
}

int cgroup__mkdirs(const char *root, const char *path, struct err *err)
{
    _cleanup_free_ char *whole = str_printf("%s/%s", root, path);
    return file_mkdirs(whole, 0755, err);
}

/* --- a group --- */

/* "/drover/x", "drover/x" and "x" are drover/x: whatever the config says, groups of others stay out of reach.
 */
static int normal_path(const char *path, char **ret, struct err *err)
{
    while (*path == '/')
        path++;
    const char *below = str_after(path, "drover/");
    if (below)
        path = below;
    _cleanup_strv_ char **parts = strv_split(path, '/');
    if (strchr(path, ':'))
        return err_set(err, ERR_UNSUPPORTED,
                       "cgroup path \"%s\": systemd's slice:prefix:name form is not supported", path);
    STRV_FOREACH (part, parts)
        if (!**part || **part == '.' || strlen(*part) > 255)
            return err_set(err, ERR_INVALID, "cgroup path \"%s\" is not well-formed", path);
    if (strv_len(parts) > 16)
        return err_set(err, ERR_LIMIT, "cgroup path \"%s\" is too deep", path);
    *ret = str_printf("drover/%s", path);
    return 0;
}

static int group_new(const char *path, struct cgroup **ret, struct err *err)
{
    const struct cgroup_host *h = cgroup__host();
    static const struct cgroup_host none;
    if (cgroup__may_be_none(h))
        h = &none;
    else if (!h->version)
        return err_set(err, ERR_UNSUPPORTED, "no cgroup hierarchy is mounted below /sys/fs/cgroup");
    char *normal = NULL;
    int r = normal_path(path, &normal, err);
    if (r < 0)
        return r;
    struct cgroup *g = NEW(struct cgroup);
    g->path = normal;
    g->version = h->version;
    g->ops = h->version == 2 ? &cgroup__v2 : h->version == 1 ? &cgroup__v1 : &cgroup__none;
    for (size_t i = 0; i < h->count; i++)
        g->dirs[g->count++] = (struct cgroup_dir){
            .root = str_printf("%s/%s", h->dirs[i].root, normal),
            .name = mem_strdup(h->dirs[i].name),
            .controllers = h->dirs[i].controllers,
        };
    *ret = g;
    return 0;
}

void cgroup_free(struct cgroup *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < g->count; i++) {
        free(g->dirs[i].root);
        free(g->dirs[i].name);
    }
    free(g->path);
    free(g);
}

static int refuse_living(struct cgroup *g, struct err *err)
{
    _cleanup_free_ pid_t *pids = NULL;
    size_t count;
    int r = cgroup_pids(g, &pids, &count, err);
    if (r == 0 && count)
        return err_set(err, ERR_CONFLICT, "cgroup %s has running processes (such as %d)", g->path,
                       (int)pids[0]);
    return r;
}

int cgroup_create(const char *path, const json_t *resources, struct cgroup **ret, struct err *err)
{
    struct cgroup *g;
    int r = group_new(path, &g, err);
    if (r < 0)
        return r;
    bool made = false;
    r = refuse_living(g, err);
    if (r == 0) {
        made = true;
        r = g->ops->make(g, err);
    }
    if (r == 0)
        r = g->ops->apply(g, resources, err);
    if (r < 0) {
        if (made)
            cgroup_remove(g, NULL);
        cgroup_free(g);
        return r;
    }
    *ret = g;
    return 0;
}

int cgroup_open(const char *path, struct cgroup **ret, struct err *err)
{
    struct cgroup *g;
    int r = group_new(path, &g, err);
    if (r < 0)
        return r;
    bool found = g->version == 0;
    for (size_t i = 0; i < g->count; i++)
        found |= file_exists(g->dirs[i].root);
    if (!found) {
        r = err_set(err, ERR_NOT_FOUND, "cgroup %s does not exist", g->path);
        cgroup_free(g);
        return r;
    }
    *ret = g;
    return 0;
}

int cgroup_update(struct cgroup *g, const json_t *resources, struct err *err)
{
    return g->ops->apply(g, resources, err);
}

static int add(const struct cgroup *g, const char *file, const char *pid, struct err *err)
{
    for (size_t i = 0; i < g->count; i++) {
        int r = cgroup__write(g->dirs[i].root, file, pid, err);
        if (r < 0)
            return r;
    }
    return 0;
}

int cgroup_add_pid(struct cgroup *g, pid_t pid, struct err *err)
{
    char text[16];
    snprintf(text, sizeof(text), "%d", (int)pid);
    return add(g, "cgroup.procs", text, err);
}

int cgroup__join(const struct cgroup *g, struct err *err)
{
    /* The child is one thread. On v1 "tasks" moves just that, without the lock against all forks of the
     * machine that "cgroup.procs" takes, whose wait is several milliseconds. */
    return add(g, g->version == 1 ? "tasks" : "cgroup.procs", "0", err);
}

int cgroup_freeze(struct cgroup *g, bool frozen, struct err *err)
{
    return g->ops->freeze(g, frozen, err);
}

bool cgroup_is_frozen(const struct cgroup *g)
{
    return g->ops->is_frozen(g);
}

/* --- all below a group --- */

struct pid_list {
    pid_t *pids;
    size_t count, capacity;
};

static void read_pids(const char *dir, struct pid_list *list)
{
    _cleanup_free_ char *path = str_printf("%s/cgroup.procs", dir);
    _cleanup_file_ FILE *f = fopen(path, "re");
    int pid;
    while (f && fscanf(f, "%d", &pid) == 1) {
        GROW(list->pids, list->count, list->capacity);
        list->pids[list->count++] = pid;
    }
}

/* Depth first; a container may make groups of its own below its group. */
static void walk(const char *dir, int depth, void (*visit)(const char *dir, void *context), void *context)
{
    DIR *d = depth < MAX_DEPTH ? opendir(dir) : NULL;
    if (d) {
        for (struct dirent *e; (e = readdir(d));) {
            if (e->d_type != DT_DIR || *e->d_name == '.')
                continue;
            _cleanup_free_ char *below = str_printf("%s/%s", dir, e->d_name);
            walk(below, depth + 1, visit, context);
        }
        closedir(d);
    }
    visit(dir, context);
}

static void visit_pids(const char *dir, void *context)
{
    read_pids(dir, context);
}

int cgroup_pids(struct cgroup *g, pid_t **ret, size_t *ret_count, struct err *err)
{
    const char *dir = cgroup__dir_of(g, CG_PIDS);
    struct pid_list list = {0};
    if (g->count)
        walk(dir ? dir : g->dirs[0].root, 0, visit_pids, &list);
    *ret = list.pids;
    *ret_count = list.count;
    return 0;
}

/* A frozen group cannot fork, so one pass finds everybody; the signal works when they thaw. */
int cgroup_kill(struct cgroup *g, int signal, struct err *err)
{
    if (!g->version) /* who can be found is who the caller knows: the first process */
        return err_set(err, ERR_UNSUPPORTED, "there is no cgroup to find the processes of %s by", g->path);
    if (g->version == 2 && signal == SIGKILL && cgroup__write(g->dirs[0].root, "cgroup.kill", "1", NULL) == 0)
        return 0;
    bool was_frozen = g->ops->is_frozen(g);
    if (!was_frozen)
        g->ops->freeze(g, true, NULL); /* if it cannot be frozen, kill what is seen */
    _cleanup_free_ pid_t *pids = NULL;
    size_t count;
    int r = cgroup_pids(g, &pids, &count, err);
    for (size_t i = 0; r == 0 && i < count; i++)
        if (pids[i] > 0 && kill(pids[i], signal) < 0 && errno != ESRCH)
            r = err_sys(err, errno, "signal process %d", (int)pids[i]);
    if (!was_frozen || signal == SIGKILL) {
        int thawed = g->ops->freeze(g, false, r < 0 ? NULL : err);
        /* Gone already is what was wanted. */
        if (r == 0 && thawed < 0 && thawed != -ERR_NOT_FOUND)
            r = thawed;
    }
    return r;
}

static void visit_remove(const char *dir, void *context)
{
    if (rmdir(dir) < 0 && errno != ENOENT)
        *(int *)context = errno;
}

int cgroup_remove(struct cgroup *g, struct err *err)
{
    int sys = 0;
    for (int tries = 0; tries < REMOVE_TRIES; tries++) {
        sys = 0;
        for (size_t i = 0; i < g->count; i++)
            walk(g->dirs[i].root, 0, visit_remove, &sys);
        if (sys != EBUSY)
            break;
        time_sleep_ns(NS_PER_MS / 2); /* a killed process leaves its group a moment after its exit */
    }
    return sys ? err_sys(err, sys, "remove cgroup %s", g->path) : 0;
}

int cgroup_usage(struct cgroup *g, struct cgroup_usage *ret, struct err *err)
{
    struct cgroup_usage usage = {.memory_limit_bytes = -1, .pids_limit = -1};
    int r = g->ops->usage(g, &usage, err);
    if (r == 0)
        *ret = usage;
    return r;
}

const char *cgroup_path(const struct cgroup *g)
{
    return g->path;
}

bool cgroup_is_v2(const struct cgroup *g)
{
    return g->version == 2;
}

bool cgroup__directory(const struct cgroup *g, size_t i, const char **ret_name, const char **ret_dir)
{
    if (i >= g->count)
        return false;
    *ret_name = g->dirs[i].name;
    *ret_dir = g->dirs[i].root;
    return true;
}
