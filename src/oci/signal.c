/* kill, delete, pause and resume. */
#include "oci/commands.h"
#include "oci/in_place.h"
#include "oci/launch.h"
#include "runtime/cgroup.h"

#include <regex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

/* "9", "KILL", "SIGKILL", "kill", "RTMIN+3". */
static int parse_signal(const char *text, int *ret, struct err *err)
{
    int64_t number;
    if (parse_i64(text, 0, SIGRTMAX, &number, NULL) == 0) {
        *ret = (int)number;
        return 0;
    }
    const char *name = strncasecmp(text, "SIG", 3) == 0 ? text + 3 : text;
    for (int i = 1; i < SIGRTMIN; i++) {
        const char *known = sigabbrev_np(i);
        if (known && strcasecmp(known, name) == 0) {
            *ret = i;
            return 0;
        }
    }
    bool from_top = strncasecmp(name, "RTMAX", 5) == 0;
    if (from_top || strncasecmp(name, "RTMIN", 5) == 0) {
        int64_t offset = 0;
        int range = SIGRTMAX - SIGRTMIN;
        bool exact = !name[5] || parse_i64(name + 5 + (name[5] == '+'), -range, range, &offset, NULL) == 0;
        if (exact && (from_top ? offset <= 0 : offset >= 0)) {
            *ret = (from_top ? SIGRTMAX : SIGRTMIN) + (int)offset;
            return 0;
        }
    }
    return err_set(err, ERR_INVALID, "unknown signal \"%s\"", text);
}

static bool has_pid_namespace(struct container *c)
{
    const json_t *config;
    size_t i;
    json_t *entry;
    if (container_config(c, &config, NULL) < 0)
        return false;
    json_array_foreach (json_object_get(json_object_get(config, "linux"), "namespaces"), i, entry)
        if (str_eq(json_str(entry, "type"), "pid") && !*json_str(entry, "path"))
            return true;
    return false;
}

/* Also when its first process is gone: without a pid namespace the others live on. */
static int kill_all(struct container *c, int signal, struct err *err)
{
    struct cgroup *cgroup = container_cgroup(c);
    if (!cgroup)
        return err_set(err, ERR_CONFLICT, "container not running");
    int r = cgroup_kill(cgroup, signal, err);
    cgroup_free(cgroup);
    return r;
}

static int kill_first(struct container *c, int signal, struct err *err)
{
    if (c->pidfd < 0)
        return err_set(err, ERR_CONFLICT, "container not running");
    bool paused = signal == SIGKILL && str_eq(container_status(c), "paused");
    if (syscall(SYS_pidfd_send_signal, c->pidfd, signal, NULL, 0) < 0) {
        if (errno == ESRCH)
            return err_set(err, ERR_CONFLICT, "container not running");
        return err_sys(err, errno, "send signal %d to process %d", signal, (int)c->pid);
    }
    struct cgroup *cgroup = paused ? container_cgroup(c) : NULL;
    if (cgroup) /* cgroup v1: a frozen process does not die */
        cgroup_freeze(cgroup, false, NULL);
    cgroup_free(cgroup);
    return 0;
}

/* Its first process is gone, and others of it live on, without a pid namespace that would have ended them. */
static bool has_survivors(const struct container *c)
{
    struct cgroup *cgroup = container_cgroup(c);
    pid_t *pids = NULL;
    size_t count = 0;
    bool some = cgroup && cgroup_pids(cgroup, &pids, &count, NULL) == 0 && count > 0;
    free(pids);
    cgroup_free(cgroup);
    return some;
}

int command_kill(const struct oci_args *args, int *ret_status, struct err *err)
{
    _cleanup_container_ struct container c = CONTAINER_INIT;
    int signal = SIGTERM;
    int r = container_open(args, args->words[0], false, &c, err);
    if (r == 0 && args->word_count > 1)
        r = parse_signal(args->words[1], &signal, err);
    if (r < 0)
        return r;
    if (args->all || (signal == SIGKILL && !has_pid_namespace(&c) && (c.pidfd >= 0 || has_survivors(&c))))
        return kill_all(&c, signal, err);
    return kill_first(&c, signal, err);
}

/* What a creation that was cut off left: no state, only a directory, and a cgroup of the usual name. */
static int delete_remnant(const struct oci_args *args, const char *id, struct err *err)
{
    _cleanup_container_ struct container c = CONTAINER_INIT;
    _cleanup_free_ char *root = container_root(args), *dir = str_printf("%s/%s", root, id);
    if (access(dir, F_OK) < 0)
        return 0;
    int r = container_make(args, id, &c, err);
    if (r < 0)
        return r;
    struct cgroup *cgroup = NULL;
    _cleanup_free_ char *path = str_printf("drover/%s", id);
    if (cgroup_open(path, &cgroup, NULL) == 0)
        cgroup_remove(cgroup, NULL);
    cgroup_free(cgroup);
    in_place_undo(&c);
    return container_forget(&c, err);
}

static int delete_one(const struct oci_args *args, const char *id, struct err *err)
{
    _cleanup_container_ struct container c = CONTAINER_INIT;
    int r = container_open(args, id, true, &c, err);
    if (r == -ERR_NOT_FOUND && args->force)
        return delete_remnant(args, id, err);
    if (r < 0)
        return r;
    const char *status = container_status(&c);
    if (!args->force && !str_eq(status, "stopped"))
        return err_set(err, ERR_CONFLICT,
                       "cannot delete container %s that is not stopped: %s (--force kills it first)", c.id,
                       status);
    return launch_destroy(&c, args->force, err);
}

struct matching {
    regex_t expression;
    char **ids;
};

static void note_match(struct container *c, void *arg)
{
    struct matching *m = arg;
    if (regexec(&m->expression, c->id, 0, NULL, 0) == 0)
        strv_add(&m->ids, c->id);
}

/* All are tried; the first error is told. */
static int delete_matching(const struct oci_args *args, struct err *err)
{
    struct matching m = {0};
    struct err later;
    if (regcomp(&m.expression, args->words[0], REG_EXTENDED | REG_NOSUB) != 0)
        return err_set(err, ERR_INVALID, "\"%s\" is not a regular expression", args->words[0]);
    int r = container_each(args, note_match, &m, err);
    STRV_FOREACH (id, m.ids) {
        int one = delete_one(args, *id, r == 0 ? err : &later);
        r = r == 0 ? one : r;
    }
    regfree(&m.expression);
    strv_free(m.ids);
    return r;
}

int command_delete(const struct oci_args *args, int *ret_status, struct err *err)
{
    return args->regex ? delete_matching(args, err) : delete_one(args, args->words[0], err);
}

static int freeze(const struct oci_args *args, bool frozen, struct err *err)
{
    _cleanup_container_ struct container c = CONTAINER_INIT;
    int r = container_open(args, args->words[0], true, &c, err);
    if (r < 0)
        return r;
    const char *status = container_status(&c);
    if (str_eq(status, "stopped"))
        return err_set(err, ERR_CONFLICT, "container not running: it is %s", status);
    if (str_eq(status, "paused") == frozen)
        return err_set(err, ERR_CONFLICT, frozen ? "container is already paused" : "container not paused");
    struct cgroup *cgroup = container_cgroup(&c);
    if (!cgroup)
        return err_set(err, ERR_CONFLICT, "the container's cgroup is gone");
    r = cgroup_freeze(cgroup, frozen, err);
    cgroup_free(cgroup);
    return r;
}

int command_pause(const struct oci_args *args, int *ret_status, struct err *err)
{
    return freeze(args, true, err);
}

int command_resume(const struct oci_args *args, int *ret_status, struct err *err)
{
    return freeze(args, false, err);
}
