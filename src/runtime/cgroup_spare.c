/* v1 memory groups of containers that are no more, kept for the next ones. To make one and to let it go is a
 * twentieth of a launch, and beside others by far the most of what they cost it: at a group's end the kernel
 * walks two lists of every mounted filesystem of the machine (memcg_reparent_list_lrus), with the lock in its
 * hand that each group's making and removing in every hierarchy needs. 2,000 containers have 14,000
 * filesystems.
 *
 * A group comes back as it was made, or not at all: no process or group in it, no limit, no failure, nothing
 * killed, next to nothing charged, and its peaks set back. The counts of pages in "memory.stat" cannot be;
 * they go on for MAX_USES containers. (Each sees those of the whole machine in /proc/vmstat.) One that had
 * limits of memory, or could write its groups, leaves none.
 *
 * What lies here under a name of this module's is nobody's: whoever removes it does no harm. */
#include "runtime/cgroup_priv.h"

#include "base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_SPARES = 16, MAX_USES = 32, MAX_LEFT_BYTES = 1 << 20, MAX_TEXT = 128 };

static const char prefix[] = ".spare-";

static struct spare {
    char *dir;
    unsigned uses;
} spares[MAX_SPARES];
static size_t spare_count;
static unsigned made; /* groups in this process */
static pid_t owner;   /* who keeps them: not a child of ours that exits */

/* What a new group says. Files that a kernel lacks say nothing, always. */
static struct {
    const char *file;
    char *first;
} settings[] = {
    {"memory.limit_in_bytes", NULL},
    {"memory.memsw.limit_in_bytes", NULL},
    {"memory.soft_limit_in_bytes", NULL},
    {"memory.swappiness", NULL},
    {"memory.kmem.tcp.limit_in_bytes", NULL},
    {"memory.oom_control", NULL},
    {"memory.failcnt", NULL},
};

/* One read, from the group's own directory: a dozen of them are made for each container that ends. */
static const char *read_setting(int group, const char *file, char *text, size_t size)
{
    _cleanup_close_ int fd = openat(group, file, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, size - 1);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void learn(const char *dir)
{
    char text[MAX_TEXT];
    _cleanup_close_ int group = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
        settings[i].first = mem_strdup(read_setting(group, settings[i].file, text, sizeof(text)));
}

static bool is_as_made(int group)
{
    char text[MAX_TEXT];
    for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
        if (!str_eq(read_setting(group, settings[i].file, text, sizeof(text)), settings[i].first))
            return false;
    return true;
}

static bool is_empty(int group)
{
    char text[MAX_TEXT];
    struct stat st;
    int64_t left;
    if (fstat(group, &st) < 0 || st.st_nlink != 2)
        return false;
    _cleanup_close_ int tasks = openat(group, "tasks", O_RDONLY | O_CLOEXEC);
    if (tasks < 0 || read(tasks, text, sizeof(text)) != 0)
        return false;
    read_setting(group, "memory.usage_in_bytes", text, sizeof(text));
    text[strcspn(text, "\n")] = '\0';
    return parse_i64(text, 0, MAX_LEFT_BYTES, &left, NULL) == 0;
}

static bool set_peaks_back(int group)
{
    static const char *const peaks[] = {"memory.max_usage_in_bytes", "memory.memsw.max_usage_in_bytes",
                                        "memory.kmem.max_usage_in_bytes"};
    for (size_t i = 0; i < ARRAY_SIZE(peaks); i++) {
        _cleanup_close_ int fd = openat(group, peaks[i], O_WRONLY | O_CLOEXEC);
        if (fd < 0 ? errno != ENOENT : write(fd, "0", 1) != 1)
            return false;
    }
    return true;
}

static bool can_be_used_again(const char *dir)
{
    _cleanup_close_ int group = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return group >= 0 && is_empty(group) && is_as_made(group) && set_peaks_back(group);
}

/* --- leftovers --- */

static void remove_all(void)
{
    for (size_t i = 0; owner == getpid() && i < spare_count; i++)
        rmdir(spares[i].dir);
}

static bool is_left_over(const char *name)
{
    const char *number = str_after(name, prefix);
    pid_t pid = number ? (pid_t)strtol(number, NULL, 10) : 0;
    return pid > 0 && pid != getpid() && kill(pid, 0) < 0 && errno == ESRCH;
}

static void sweep(const char *top)
{
    DIR *d = opendir(top);
    for (struct dirent *e; d && (e = readdir(d));) {
        char dir[PATH_MAX];
        if (is_left_over(e->d_name) &&
            (size_t)snprintf(dir, sizeof(dir), "%s/%s", top, e->d_name) < sizeof(dir))
            rmdir(dir);
    }
    if (d)
        closedir(d);
}

void cgroup__sweep_spares(void)
{
    const struct cgroup_host *h = cgroup__host();
    for (size_t i = 0; h->version == 1 && i < h->count; i++) {
        if (h->dirs[i].controllers != CG_MEMORY)
            continue;
        _cleanup_free_ char *top = str_printf("%s%s/drover", h->dirs[i].root, h->base);
        sweep(top);
    }
}

/* --- taking and putting by --- */

static bool has_limits(const struct cgroup_limits *l)
{
    return l->memory.set || l->swap.set || l->reservation.set || l->kernel_tcp.set || l->swappiness.set ||
           l->no_oom_killer;
}

/* A group can be renamed where it is, and nowhere else. */
static bool is_right_below_drover(const struct cgroup *g)
{
    const char *name = str_after(g->path, "drover/");
    return name && !strchr(name, '/');
}

void cgroup__may_be_spare(struct cgroup *g, const struct cgroup_place *place, const struct cgroup_limits *l)
{
    if (g->version != 1 || place->as_given || place->exclusive || has_limits(l) || !is_right_below_drover(g))
        return;
    for (size_t i = 0; i < g->count; i++)
        g->dirs[i].may_be_spare = g->dirs[i].controllers == CG_MEMORY;
}

bool cgroup__spare_take(struct cgroup_dir *d)
{
    while (d->may_be_spare && owner == getpid() && spare_count) {
        struct spare s = spares[--spare_count];
        d->made = rename(s.dir, d->root) == 0;
        d->uses = s.uses;
        bool is_gone = !d->made && errno == ENOENT;
        if (!d->made && !is_gone)
            rmdir(s.dir);
        free(s.dir);
        if (!is_gone)
            return d->made;
    }
    return false;
}

void cgroup__spare_learn(const struct cgroup_dir *d)
{
    if (d->may_be_spare && ++made == 2) /* who launches once keeps nothing */
        learn(d->root);
}

bool cgroup__spare_put(struct cgroup_dir *d)
{
    static unsigned number;
    if (!d->may_be_spare || !d->made || made < 2 || d->uses + 1 >= MAX_USES || spare_count == MAX_SPARES ||
        !can_be_used_again(d->root))
        return false;
    if (!owner) {
        owner = getpid();
        atexit(remove_all);
        cgroup__sweep_spares();
    }
    const char *name = strrchr(d->root, '/');
    char *dir = str_printf("%.*s/%s%d-%u", (int)(name - d->root), d->root, prefix, (int)owner, number++);
    if (owner != getpid() || rename(d->root, dir) < 0) {
        free(dir);
        return false;
    }
    spares[spare_count++] = (struct spare){dir, d->uses + 1};
    return true;
}
