/* v1 groups without an owner. Making a directory in a hierarchy, writing a dozen device rules into it and
 * removing it again is a good part of what a launch costs there, while nearly all containers have the same
 * rules, and no cpuset of their own. So they share: a group for each set of rules, made by the first
 * container that needs it, kept while this process lives.
 *
 * Its name is of no meaning but starts with a dot, where no container's group can be. Its maker holds a lock
 * on its "tasks" file, so that the next process can tell the empty leftovers of a dead one from groups that
 * are only empty now. A container that can write its groups never gets a shared one. */
#include "runtime/cgroup_priv.h"

#include "base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_SHARED = 32, TEXT_MAX_RULES = 64 };

static struct shared {
    char *mount, *dir;
    struct cgroup_device_rule *rules; /* NULL: no devices in that hierarchy */
    size_t rule_count;
    int tasks_fd;
} shared[MAX_SHARED];
static size_t shared_count;
static pid_t owner; /* who made them: not a child of ours that exits */

static void remove_all(void)
{
    for (size_t i = 0; owner == getpid() && i < shared_count; i++)
        rmdir(shared[i].dir); /* containers that live on keep theirs */
}

/* --- cpusets --- */

static bool is_unset(const char *dir, const char *file)
{
    _cleanup_str_ struct str text = STR_INIT;
    return cgroup__read_text(dir, file, &text) && text.len <= 1;
}

static int copy_file(const char *from, const char *to, const char *file, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    if (!cgroup__read_text(from, file, &text))
        return err_sys(err, errno, "read %s/%s", from, file);
    return cgroup__write(to, file, str_get(&text), err);
}

int cgroup__inherit_cpuset(const char *mount, const char *path, struct err *err)
{
    static const char *const files[] = {"cpuset.cpus", "cpuset.mems"};
    char dir[PATH_MAX], parent[PATH_MAX];
    if ((size_t)snprintf(dir, sizeof(dir), "%s%s", mount, path) >= sizeof(dir))
        return err_set(err, ERR_LIMIT, "cgroup path %s is too long", path);
    snprintf(parent, sizeof(parent), "%s", dir);
    char *slash = strrchr(parent, '/');
    *slash = '\0';
    size_t mount_length = strlen(mount);
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        if (!is_unset(dir, files[i]))
            continue;
        if (strlen(parent) > mount_length && is_unset(parent, files[i])) {
            int r = cgroup__inherit_cpuset(mount, parent + mount_length, err);
            if (r < 0)
                return r;
        }
        int r = copy_file(parent, dir, files[i], err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* --- finding and making --- */

static bool same_rules(const struct shared *s, const struct cgroup_limits *l)
{
    if (s->rule_count != l->device_count)
        return false;
    for (size_t i = 0; i < s->rule_count; i++) {
        const struct cgroup_device_rule *a = &s->rules[i], *b = &l->devices[i];
        if (a->allow != b->allow || a->type != b->type || a->major != b->major || a->minor != b->minor ||
            a->read != b->read || a->write != b->write || a->mknod != b->mknod)
            return false;
    }
    return true;
}

/* Empty groups of processes that are gone. */
static void sweep(const char *mount)
{
    _cleanup_free_ char *top = str_printf("%s/drover", mount);
    DIR *d = opendir(top);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (!str_after(e->d_name, ".shared-"))
            continue;
        char dir[PATH_MAX], tasks[PATH_MAX + 8];
        snprintf(dir, sizeof(dir), "%s/%s", top, e->d_name);
        snprintf(tasks, sizeof(tasks), "%s/tasks", dir);
        _cleanup_close_ int fd = open(tasks, O_RDONLY | O_CLOEXEC);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
            rmdir(dir); /* refused while somebody is in it */
    }
    if (d)
        closedir(d);
}

void cgroup_sweep(void)
{
    const struct cgroup_host *h = cgroup__host();
    for (size_t i = 0; h->version == 1 && i < h->count; i++)
        if (h->dirs[i].controllers & CG_SHARABLE)
            sweep(h->dirs[i].root);
    cgroup__sweep_spares();
}

static int make_shared(const char *mount, char **ret_dir, int *ret_tasks_fd, struct err *err)
{
    static unsigned number;
    for (int tries = 0; tries < 100; tries++) {
        _cleanup_free_ char *dir = str_printf("%s/drover/.shared-%d-%u", mount, (int)getpid(), number++);
        char tasks[PATH_MAX];
        snprintf(tasks, sizeof(tasks), "%s/tasks", dir);
        if (mkdir(dir, 0755) < 0) {
            if (errno == EEXIST)
                continue;
            _cleanup_free_ char *top = str_printf("%s/drover", mount);
            if (errno != ENOENT || (mkdir(top, 0755) < 0 && errno != EEXIST))
                return err_sys(err, errno, "make cgroup %s", dir);
            continue;
        }
        /* Between the two calls another process may sweep it away. */
        _cleanup_close_ int fd = open(tasks, O_WRONLY | O_CLOEXEC);
        if (fd < 0 || flock(fd, LOCK_SH | LOCK_NB) < 0)
            continue;
        *ret_dir = take_ptr(dir);
        *ret_tasks_fd = take_fd(&fd);
        return 0;
    }
    return err_set(err, ERR_SYSTEM, "make a group in %s/drover", mount);
}

static int prepare(const char *mount, unsigned controllers, const char *dir, const struct cgroup_limits *l,
                   struct err *err)
{
    int r = 0;
    if (controllers & CG_CPUSET)
        r = cgroup__inherit_cpuset(mount, dir + strlen(mount), err);
    if (r == 0 && controllers & CG_DEVICES)
        r = cgroup__write_devices(dir, l->devices, l->device_count, err);
    if (r < 0)
        rmdir(dir);
    return r;
}

static int find(const char *mount, unsigned controllers, const struct cgroup_limits *l, struct shared **ret,
                struct err *err)
{
    for (size_t i = 0; i < shared_count; i++)
        if (str_eq(shared[i].mount, mount) && (!(controllers & CG_DEVICES) || same_rules(&shared[i], l))) {
            *ret = &shared[i];
            return 0;
        }
    *ret = NULL;
    if (shared_count == MAX_SHARED)
        return 0;
    if (!shared_count) {
        owner = getpid();
        atexit(remove_all);
    }
    sweep(mount);
    struct shared s = {.tasks_fd = -EBADF};
    int r = make_shared(mount, &s.dir, &s.tasks_fd, err);
    if (r == 0)
        r = prepare(mount, controllers, s.dir, l, err);
    if (r < 0) {
        free(s.dir);
        close_fd(s.tasks_fd);
        return r;
    }
    s.mount = mem_strdup(mount);
    s.rules = NEW_N(struct cgroup_device_rule, l->device_count + 1);
    s.rule_count = l->device_count;
    memcpy(s.rules, l->devices, l->device_count * sizeof(*s.rules));
    shared[shared_count] = s;
    *ret = &shared[shared_count++];
    return 0;
}

int cgroup__share(struct cgroup *g, size_t i, const struct cgroup_limits *l, struct err *err)
{
    struct cgroup_dir *d = &g->dirs[i];
    struct shared *s = NULL;
    size_t length = strlen(d->root) - strlen(g->fs_path);
    _cleanup_free_ char *mount = mem_strdup(d->root);
    mount[length] = '\0';
    if (d->controllers & CG_DEVICES && !l->device_count) /* everything, as its parent; mostly a test */
        return 0;
    int r = find(mount, d->controllers, l, &s, err);
    if (r < 0 || !s) /* so many kinds of rules: this one is on its own */
        return r;
    free(d->root);
    d->root = mem_strdup(s->dir);
    d->shared = true;
    d->join_fd = s->tasks_fd;
    return 0;
}
