/* A group's life: made, joined, looked into, emptied, removed. */
#include "runtime/cgroup_priv.h"

#include "base/timeutil.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

enum { REMOVE_TRIES = 400 };

const char *cgroup__dir_of(const struct cgroup *g, unsigned controller)
{
    for (size_t i = 0; i < g->count; i++)
        if (g->dirs[i].controllers & controller)
            return g->dirs[i].root;
    return NULL;
}

void cgroup__drop_dir(struct cgroup *g, size_t i)
{
    free(g->dirs[i].root);
    free(g->dirs[i].name);
    g->dirs[i] = g->dirs[--g->count];
    g->dirs[g->count] = (struct cgroup_dir){.join_fd = -EBADF}; /* a slot that is taken again owns nothing */
}

static int group_new(const char *path, const char *fs_path, bool as_given, struct cgroup **ret,
                     struct err *err)
{
    static const struct cgroup_host none;
    const struct cgroup_host *h = cgroup__host();
    if (cgroup__may_be_none(h))
        h = &none;
    else if (!h->version)
        return err_set(err, ERR_UNSUPPORTED, "no cgroup hierarchy is mounted below /sys/fs/cgroup");
    struct cgroup *g = NEW(struct cgroup);
    g->path = mem_strdup(path);
    g->fs_path = mem_strdup(fs_path);
    g->as_given = as_given;
    g->version = h->version;
    g->ops = h->version == 2 ? &cgroup__v2 : h->version == 1 ? &cgroup__v1 : &cgroup__none;
    for (size_t i = 0; i < h->count; i++)
        g->dirs[g->count++] = (struct cgroup_dir){
            .root = str_printf("%s%s", h->dirs[i].root, fs_path),
            .name = mem_strdup(h->dirs[i].name),
            .controllers = h->dirs[i].controllers,
            .join_fd = -EBADF,
        };
    *ret = g;
    return 0;
}

void cgroup_free(struct cgroup *g)
{
    if (!g)
        return;
    cgroup__systemd_release(g);
    while (g->count)
        cgroup__drop_dir(g, g->count - 1);
    free(g->path);
    free(g->fs_path);
    free(g);
}

/* Takes back what this cgroup_create() made, and nothing that was there. */
static void undo(struct cgroup *g)
{
    cgroup__systemd_release(g);
    for (size_t i = 0; i < g->count; i++)
        if (g->dirs[i].made)
            rmdir(g->dirs[i].root);
}

/* Hierarchies that a v1 group needs no directory in. */
static void leave_out(struct cgroup *g, unsigned controllers)
{
    for (size_t i = g->count; g->version == 1 && i-- > 0;)
        if (!(g->dirs[i].controllers & ~controllers))
            cgroup__drop_dir(g, i);
    g->missing |= controllers;
}

static int share(struct cgroup *g, const struct cgroup_place *place, const struct cgroup_limits *l,
                 struct err *err)
{
    if (g->version != 1 || place->as_given || place->exclusive)
        return 0;
    for (size_t i = 0; i < g->count; i++) {
        unsigned c = g->dirs[i].controllers;
        if (c & ~(unsigned)CG_SHARABLE || (c & CG_CPUSET && (l->cpus || l->mems)))
            continue;
        int r = cgroup__share(g, i, l, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int find_place(const struct cgroup_place *place, const struct cgroup_limits *l, char **ret_path,
                      char **ret_fs_path, pid_t *ret_stand_in, struct err *err)
{
    if (!place->systemd)
        return cgroup__place(place, ret_path, ret_fs_path, err);
    int r = cgroup__systemd_scope(place, l, ret_fs_path, ret_stand_in, err);
    if (r == 0)
        *ret_path = str_printf("host:%s", *ret_fs_path);
    return r;
}

int cgroup_create_in(const struct cgroup_place *place, const json_t *resources, struct cgroup **ret,
                     struct err *err)
{
    _cleanup_limits_ struct cgroup_limits l = {0};
    _cleanup_free_ char *path = NULL, *fs_path = NULL;
    pid_t stand_in = 0;
    struct cgroup *g;
    int r = cgroup__limits_parse(resources, place->as_given, &l, err);
    if (r == 0)
        r = find_place(place, &l, &path, &fs_path, &stand_in, err);
    if (r == 0)
        r = group_new(path, fs_path, place->as_given, &g, err);
    if (r < 0)
        return r;
    g->stand_in = stand_in;
    g->creating = true;
    leave_out(g, (CG_ON_DEMAND & ~cgroup__limits_demand(&l)) |
                     (place->as_given || place->systemd ? 0 : CG_SYSTEMD | CG_UNIFIED));
    cgroup__may_be_spare(g, place, &l);
    r = share(g, place, &l, err);
    if (r == 0)
        r = g->ops->make(g, err);
    g->fresh = true;
    for (size_t i = 0; i < g->count; i++)
        g->fresh &= g->dirs[i].made || g->dirs[i].shared;
    if (r == 0)
        r = g->ops->apply(g, &l, err);
    if (r < 0) {
        undo(g);
        cgroup_free(g);
        return r;
    }
    g->fresh = g->creating = false;
    *ret = g;
    return 0;
}

int cgroup_create(const char *path, const json_t *resources, struct cgroup **ret, struct err *err)
{
    const struct cgroup_place place = {.path = path, .id = ""};
    return cgroup_create_in(&place, resources, ret, err);
}

char *cgroup__place_of(pid_t pid, unsigned controller)
{
    char path[64];
    bool unified = cgroup__host()->version == 2;
    snprintf(path, sizeof(path), "/proc/%d", (int)pid);
    _cleanup_str_ struct str text = STR_INIT;
    if (!cgroup__read_text(path, "cgroup", &text))
        return NULL;
    _cleanup_strv_ char **lines = strv_split(str_get(&text), '\n');
    STRV_FOREACH (line, lines) { /* "4:devices:/drover/.shared-1-2", v2 "0::/drover/x" */
        char *names = strchr(*line, ':'), *dir = names ? strchr(names + 1, ':') : NULL;
        if (!dir)
            continue;
        *dir++ = '\0';
        _cleanup_strv_ char **list = strv_split(names + 1, ',');
        if (unified ? !names[1] : strv_has(list, cgroup__controller_name(controller)))
            return mem_strdup(dir);
    }
    return NULL;
}

static void find_shared(struct cgroup *g)
{
    const struct cgroup_host *h = cgroup__host();
    _cleanup_free_ pid_t *pids = NULL;
    size_t count = 0;
    cgroup_pids(g, &pids, &count, NULL);
    for (size_t i = g->count; i-- > 0;) {
        struct cgroup_dir *d = &g->dirs[i];
        if (access(d->root, F_OK) == 0)
            continue;
        _cleanup_free_ char *path =
            count ? cgroup__place_of(pids[0], d->controllers & -d->controllers) : NULL;
        const char *mount = NULL;
        for (size_t k = 0; k < h->count; k++)
            if (h->dirs[k].controllers == d->controllers)
                mount = h->dirs[k].root;
        if (!path || !mount || !str_after(path, "/drover/.")) {
            g->missing |= d->controllers;
            cgroup__drop_dir(g, i);
            continue;
        }
        free(d->root);
        d->root = str_printf("%s%s", mount, path);
        d->shared = true;
    }
}

int cgroup_open(const char *path, struct cgroup **ret, struct err *err)
{
    _cleanup_free_ char *fs_path = NULL;
    bool as_given;
    struct cgroup *g;
    int r = cgroup__place_open(path, &fs_path, &as_given, err);
    if (r == 0 && as_given)
        r = group_new(path, fs_path, true, &g, err);
    else if (r == 0)
        r = group_new(fs_path + strlen(cgroup__host()->base) + 1, fs_path, false, &g, err);
    if (r < 0)
        return r;
    bool found = g->version == 0;
    for (size_t i = 0; i < g->count; i++)
        found |= access(g->dirs[i].root, F_OK) == 0;
    if (!found) {
        r = err_set(err, ERR_NOT_FOUND, "cgroup %s does not exist", g->path);
        cgroup_free(g);
        return r;
    }
    if (g->version == 1)
        find_shared(g);
    *ret = g;
    return 0;
}

int cgroup_update(struct cgroup *g, const json_t *resources, struct err *err)
{
    _cleanup_limits_ struct cgroup_limits l = {0};
    bool devices = json_array_size(json_object_get(resources, "devices")) > 0;
    int r = cgroup__limits_parse(resources, g->as_given && devices, &l, err);
    if (r == 0)
        r = cgroup__systemd_update(g, &l, err);
    return r < 0 ? r : g->ops->apply(g, &l, err);
}

static int descend_in(struct cgroup_dir *d, const char *below, struct err *err)
{
    _cleanup_free_ char *dir = str_printf("%s/%s", d->root, below + strspn(below, "/"));
    bool there = access(dir, F_OK) == 0;
    if (!there && d->controllers & CG_UNIFIED) /* a hybrid machine's v2 tree may be without it */
        return 0;
    if (!there)
        return err_sys(err, errno, "adding pid to %s/cgroup.procs", dir);
    free(d->root);
    d->root = take_ptr(dir);
    d->join_fd = close_fd(d->join_fd);
    return 0;
}

int cgroup_descend(struct cgroup *g, const char *controllers, const char *below, struct err *err)
{
    unsigned wanted = 0, found = 0;
    _cleanup_strv_ char **names = controllers ? strv_split(controllers, ',') : NULL;
    STRV_FOREACH (name, names) {
        unsigned one = g->version == 1 ? cgroup__controller_of(*name) : 0;
        if (!one || !cgroup__dir_of(g, one))
            return err_set(err, ERR_INVALID, "unknown controller %s", *name);
        wanted |= one;
    }
    for (size_t i = 0; i < g->count; i++) {
        if (controllers && !(g->dirs[i].controllers & wanted & ~found))
            continue;
        found |= g->dirs[i].controllers;
        int r = descend_in(&g->dirs[i], below, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int add(const struct cgroup *g, const char *file, const char *text, struct err *err)
{
    for (size_t i = 0; i < g->count; i++) {
        const struct cgroup_dir *d = &g->dirs[i];
        if (d->shared && d->join_fd >= 0 && *file == 't' && write(d->join_fd, text, strlen(text)) >= 0)
            continue;
        /* A v2 tree's groups have no file "tasks". */
        int r = cgroup__write(d->root, d->controllers & CG_UNIFIED ? "cgroup.procs" : file, text, err);
        if (r < 0)
            return err_wrap(err, "join cgroup %s", g->path);
    }
    return 0;
}

int cgroup_add_pid(struct cgroup *g, pid_t pid, struct err *err)
{
    char text[16];
    snprintf(text, sizeof(text), "%d", (int)pid);
    return add(g, "cgroup.procs", text, err);
}

int cgroup_add_beside(struct cgroup *g, pid_t pid, pid_t first, struct err *err)
{
    struct err refused = {0};
    int r = cgroup_add_pid(g, pid, &refused);
    if (r == 0 || g->version != 2 || refused.sys != EBUSY)
        return r < 0 ? err_copy(err, &refused) : 0;
    _cleanup_free_ char *place = cgroup__place_of(first, 0);
    const char *below = place ? str_after(place, g->fs_path) : NULL;
    if (!below || *below != '/')
        return err_copy(err, &refused);
    char text[16];
    snprintf(text, sizeof(text), "%d", (int)pid);
    _cleanup_free_ char *dir = str_printf("%s%s", g->dirs[0].root, below);
    return cgroup__write(dir, "cgroup.procs", text, err);
}

int cgroup__join(const struct cgroup *g, struct err *err)
{
    /* The child is one thread. On v1 "tasks" moves just that, without the lock against all forks of the
     * machine that "cgroup.procs" takes, whose wait is several milliseconds. */
    return add(g, g->version == 1 ? "tasks" : "cgroup.procs", "0", err);
}

int cgroup_try_freeze(struct cgroup *g, bool frozen, struct err *err)
{
    return g->ops->freeze(g, frozen, err);
}

int cgroup_freeze(struct cgroup *g, bool frozen, struct err *err)
{
    int64_t deadline = time_monotonic_ns() + CGROUP_FREEZE_NS;
    int r;
    while ((r = cgroup_try_freeze(g, frozen, err)) == -ERR_TIMEOUT && time_monotonic_ns() < deadline)
        time_sleep_ns(CGROUP_FREEZE_PAUSE_NS);
    return r;
}

bool cgroup_is_frozen(const struct cgroup *g)
{
    return g->ops->is_frozen(g);
}

/* --- all below a group --- */

struct pid_list {
    pid_t *pids;
    size_t count, capacity;
    pid_t but;
};

static void visit_pids(const char *dir, void *context)
{
    struct pid_list *list = context;
    _cleanup_str_ struct str text = STR_INIT;
    if (!cgroup__read_text(dir, "cgroup.procs", &text) && !cgroup__read_text(dir, "cgroup.threads", &text))
        return;
    for (char *at = text.data; at && *at; at += strspn(at, "\n")) {
        pid_t pid = (pid_t)strtol(at, &at, 10);
        if (pid == list->but && pid)
            continue;
        GROW(list->pids, list->count, list->capacity);
        list->pids[list->count++] = pid;
    }
}

/* The directory in which all processes of the group are, and none of another. */
static const char *own_dir(const struct cgroup *g)
{
    static const unsigned order[] = {CG_PIDS, CG_FREEZER, CG_MEMORY, CG_CPU, CG_CPUACCT, CG_BLKIO};
    for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
        const char *dir = cgroup__dir_of(g, order[i]);
        if (dir)
            return dir;
    }
    return g->count ? g->dirs[0].root : NULL;
}

size_t cgroup__pids_below(const struct cgroup *g, const char *dir, pid_t **ret)
{
    struct pid_list list = {.but = g->stand_in};
    cgroup__walk(dir, visit_pids, &list);
    *ret = list.pids;
    return list.count;
}

int cgroup_pids(struct cgroup *g, pid_t **ret, size_t *ret_count, struct err *err)
{
    const char *dir = own_dir(g);
    *ret = NULL;
    *ret_count = dir ? cgroup__pids_below(g, dir, ret) : 0;
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

/* A directory goes with one call as a rule. When it does not, it has groups below it that the container made,
 * or a killed process has yet to leave it. */
static int remove_dir(const char *dir)
{
    int sys = 0;
    for (int tries = 0; tries < REMOVE_TRIES; tries++) {
        if (rmdir(dir) == 0 || errno == ENOENT)
            return 0;
        if (errno != EBUSY)
            return errno;
        sys = 0;
        cgroup__walk(dir, visit_remove, &sys);
        if (sys != EBUSY)
            return sys;
        time_sleep_ns(tries < 20 ? NS_PER_MS / 20 : NS_PER_MS / 2);
    }
    return sys;
}

/* An update by another process may have made a directory in a hierarchy that the group had no need of, or
 * shared. */
static int remove_later_ones(const struct cgroup *g)
{
    const struct cgroup_host *h = cgroup__host();
    unsigned done = CG_SYSTEMD | CG_UNIFIED; /* nothing is limited there */
    int sys = 0;
    for (size_t i = 0; i < g->count; i++)
        done |= g->dirs[i].shared ? 0 : g->dirs[i].controllers;
    for (size_t i = 0; g->version == 1 && i < h->count; i++) {
        if (h->dirs[i].controllers & done)
            continue;
        _cleanup_free_ char *dir = str_printf("%s%s", h->dirs[i].root, g->fs_path);
        int one = remove_dir(dir);
        sys = sys ? sys : one;
    }
    return sys;
}

int cgroup_remove(struct cgroup *g, struct err *err)
{
    cgroup__systemd_release(g);
    int sys = g->as_given ? 0 : remove_later_ones(g);
    for (size_t i = 0; i < g->count; i++) {
        struct cgroup_dir *d = &g->dirs[i];
        int one = d->shared || cgroup__spare_put(d) ? 0 : remove_dir(d->root);
        sys = sys ? sys : one;
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

const char *cgroup_fs_path(const struct cgroup *g)
{
    return g->fs_path;
}

bool cgroup_is_v2(const struct cgroup *g)
{
    return g->version == 2;
}

bool cgroup__directory(const struct cgroup *g, size_t i, const char **ret_name, const char **ret_dir)
{
    for (size_t k = 0; k <= i && k < g->count; k++) /* what a v1 host shows has no v2 tree in it */
        i += g->version == 1 && g->dirs[k].controllers == CG_UNIFIED;
    if (i >= g->count)
        return false;
    *ret_name = g->dirs[i].name;
    *ret_dir = g->dirs[i].root;
    return true;
}
