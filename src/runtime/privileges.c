#include "runtime/privileges.h"

#include "base/file.h"
#include "base/str.h"
#include "runtime/caps.h"

#include <grp.h>
#include <limits.h>
#include <linux/keyctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool has_oom_score(const char *path, int wanted)
{
    _cleanup_str_ struct str text = STR_INIT;
    int64_t now;
    if (file_read(path, 64, &text, NULL) < 0)
        return false;
    _cleanup_free_ char *number = str_strip(str_get(&text));
    return parse_i64(number, -1000, 1000, &now, NULL) == 0 && now == wanted;
}

int privileges_set_oom_score(const struct plan_process *process, pid_t pid, struct err *err)
{
    if (!process->has_oom_score_adj)
        return 0;
    char text[16], path[48] = "/proc/self/oom_score_adj";
    if (pid)
        snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)pid);
    snprintf(text, sizeof(text), "%d", process->oom_score_adj);
    int r = file_poke(path, text, err);
    if (r != -ERR_DENIED || has_oom_score(path, process->oom_score_adj))
        return r == -ERR_DENIED ? 0 : r;
    return err_set(err, ERR_DENIED,
                   "set oomScoreAdj to %d: the engine lacks CAP_SYS_RESOURCE, which lowering it needs",
                   process->oom_score_adj);
}

static int limit_refused(const struct plan_rlimit *wanted, const struct rlimit64 *now, struct err *err)
{
    return err_set(err, ERR_DENIED,
                   "raise %s from %llu to %llu: operation not permitted (the engine lacks CAP_SYS_RESOURCE; "
                   "raise its own hard limit)",
                   wanted->name, (unsigned long long)now->rlim_max,
                   (unsigned long long)wanted->limit.rlim_max);
}

int privileges_set_limits(const struct plan_process *process, struct err *err)
{
    for (size_t i = 0; i < process->rlimit_count; i++) {
        const struct plan_rlimit *wanted = &process->rlimits[i];
        struct rlimit64 now;
        if (prlimit64(0, (enum __rlimit_resource)wanted->resource, &wanted->limit, &now) == 0)
            continue;
        int sys = errno;
        if (sys == EPERM && prlimit64(0, (enum __rlimit_resource)wanted->resource, NULL, &now) == 0)
            return limit_refused(wanted, &now, err);
        return err_sys(err, sys, "set %s to %llu", wanted->name, (unsigned long long)wanted->limit.rlim_max);
    }
    return 0;
}

int privileges_raise_limits(const struct plan_process *process, pid_t pid, struct err *err)
{
    for (size_t i = 0; i < process->rlimit_count; i++) {
        const struct plan_rlimit *wanted = &process->rlimits[i];
        struct rlimit64 limit;
        if (prlimit64(pid, (enum __rlimit_resource)wanted->resource, NULL, &limit) < 0)
            return err_sys(err, errno, "read %s", wanted->name);
        if (limit.rlim_max >= wanted->limit.rlim_max)
            continue;
        struct rlimit64 now = limit;
        limit.rlim_max = wanted->limit.rlim_max;
        if (prlimit64(pid, (enum __rlimit_resource)wanted->resource, &limit, NULL) < 0)
            return errno == EPERM ? limit_refused(wanted, &now, err)
                                  : err_sys(err, errno, "set %s", wanted->name);
    }
    return 0;
}

/* getcwd says "(unreachable)" when a descriptor of the host led us outside of the root, such as a cwd of
 * /proc/self/fd/7 (CVE-2024-21626). */
static int check_cwd(const char *cwd, struct err *err)
{
    char path[PATH_MAX];
    if (syscall(SYS_getcwd, path, sizeof(path)) < 0)
        return err_sys(err, errno, "the working directory \"%s\" is not inside the container", cwd);
    if (*path != '/')
        return err_set(err, ERR_DENIED, "the working directory \"%s\" is not inside the container", cwd);
    return 0;
}

/* With all rights first, as Docker does: WORKDIR /root serves a plain user too. Where root itself is kept out
 * (a network file system) the user tries again. */
static int enter_cwd(const char *cwd, bool as_user, bool *entered, struct err *err)
{
    if (*entered)
        return 0;
    if (chdir(cwd) < 0) {
        if (!as_user && errno == EACCES)
            return 0;
        return err_sys(err, errno, "chdir to cwd (\"%s\") set in config.json failed", cwd);
    }
    *entered = true;
    return check_cwd(cwd, err);
}

/* A user namespace made by an ordinary user without a range of ids may not drop the groups of that user,
 * since a group can also take rights away (user_namespaces(7), "/proc/pid/setgroups"). Nothing is lost where
 * no group was asked for that is not the process's own. */
static bool groups_are_fixed(size_t count, const gid_t *gids, gid_t own)
{
    for (size_t i = 0; i < count; i++)
        if (gids[i] != own)
            return false;
    _cleanup_str_ struct str text = STR_INIT;
    return file_read("/proc/self/setgroups", 16, &text, NULL) == 0 && str_after(str_get(&text), "deny");
}

static int set_groups(size_t count, const gid_t *gids, gid_t own, struct err *err)
{
    if (setgroups(count, gids) == 0)
        return 0;
    int sys = errno;
    if (sys == EPERM && groups_are_fixed(count, gids, own))
        return 0;
    if (sys == EINVAL)
        return err_set(err, ERR_INVALID,
                       "\"process.user.additionalGids\" has a group that the user namespace does not map");
    return err_sys(err, sys, "set the additional groups");
}

static int set_ids(uid_t uid, gid_t gid, struct err *err)
{
    if (setresgid(gid, gid, gid) < 0)
        return errno == EINVAL
                   ? err_set(err, ERR_INVALID, "group %u is not mapped in the user namespace", gid)
                   : err_sys(err, errno, "set group %u", gid);
    if (setresuid(uid, uid, uid) < 0)
        return errno == EINVAL ? err_set(err, ERR_INVALID, "user %u is not mapped in the user namespace", uid)
                               : err_sys(err, errno, "set user %u", uid);
    return 0;
}

int privileges_become_root(const struct plan_process *process, struct err *err)
{
    int r = process->keep_groups ? 0 : set_groups(0, NULL, 0, err);
    if (r == 0 && set_ids(0, 0, NULL) < 0)
        r = set_ids(process->uid, process->gid, err);
    return r;
}

static int set_user(const struct plan_process *process, struct err *err)
{
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
        return err_sys(err, errno, "keep capabilities");
    int r = process->keep_groups ? 0 : set_groups(process->gid_count, process->gids, process->gid, err);
    if (r == 0)
        r = set_ids(process->uid, process->gid, err);
    if (r < 0)
        return r;
    if (prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0)
        return err_sys(err, errno, "keep capabilities");
    return 0;
}

int privileges_join_keyring(const char *container_id, struct err *err)
{
    char name[160];
    snprintf(name, sizeof(name), "_ses.%s", container_id ? container_id : "");
    if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name) < 0 && errno != ENOSYS)
        return err_sys(err, errno, "make a session keyring");
    return 0;
}

int privileges_check_cwd(const struct plan_process *process, struct err *err)
{
    bool entered = false;
    return enter_cwd(process->cwd, false, &entered, err);
}

int privileges_drop(const struct plan *plan, int (*load_filter)(void *context, struct err *err),
                    void *context, struct err *err)
{
    const struct plan_process *p = &plan->process;
    bool entered = false;
    int r = privileges_set_limits(p, err);
    if (r == 0)
        r = enter_cwd(p->cwd, false, &entered, err);
    if (r == 0)
        r = caps_drop_bounding(p, plan->namespaces & CLONE_NEWUSER, err);
    if (r == 0 && plan->personality >= 0 && personality((unsigned long)plan->personality) < 0)
        r = err_sys(err, errno, "set the personality");
    if (r == 0)
        r = memory_policy_apply(&plan->memory_policy, err);
    if (r == 0 && p->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        r = err_sys(err, errno, "set no_new_privs");
    if (r == 0 && !p->no_new_privileges)
        r = load_filter(context, err);
    if (r == 0)
        r = set_user(p, err);
    if (r == 0)
        r = caps_apply(p, err);
    if (r == 0)
        r = enter_cwd(p->cwd, true, &entered, err);
    if (r < 0)
        return r;
    umask(p->umask < 0 ? 0022 : (mode_t)p->umask);
    return 0;
}
