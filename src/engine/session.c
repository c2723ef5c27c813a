/* Ending everything that one exec has started: it leads a session, and whatever its program leaves behind is
 * of that session, unless it left it on purpose. */
#include "engine/engine_priv.h"

#include "base/file.h"
#include "runtime/cgroup.h"

#include <signal.h>
#include <sys/pidfd.h>
#include <unistd.h>

enum { ROUNDS_MAX = 16 }; /* against a program that goes on forking */

static pid_t session_of(pid_t pid)
{
    _cleanup_free_ char *path = str_printf("/proc/%d/stat", (int)pid);
    _cleanup_str_ struct str text = STR_INIT;
    int session = 0;
    if (file_read(path, 4096, &text, NULL) < 0)
        return 0;
    const char *close = strrchr(str_get(&text), ')');
    return close && sscanf(close + 1, " %*c %*d %*d %d", &session) == 1 ? (pid_t)session : 0;
}

/* Through a descriptor, so that a number that is used again meanwhile is nobody else's. */
static bool kill_member(pid_t pid, pid_t leader)
{
    _cleanup_close_ int fd = pidfd_open(pid, 0);
    return fd >= 0 && session_of(pid) == leader && pidfd_send_signal(fd, SIGKILL, NULL, 0) == 0;
}

static size_t kill_members(struct cgroup *group, pid_t leader)
{
    _cleanup_free_ pid_t *pids = NULL;
    size_t count = 0, killed = 0;
    if (cgroup_pids(group, &pids, &count, NULL) < 0)
        return 0;
    for (size_t i = 0; i < count; i++)
        if (session_of(pids[i]) == leader && kill_member(pids[i], leader))
            killed++;
    return killed;
}

void session__kill(struct container *c, pid_t leader)
{
    _cleanup_free_ char *path = container__cgroup(c, NULL);
    struct cgroup *group;
    if (leader <= 0 || cgroup_open(path, &group, NULL) < 0)
        return;
    for (int i = 0; i < ROUNDS_MAX && kill_members(group, leader); i++)
        ;
    cgroup_free(group);
}
