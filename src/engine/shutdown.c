/* Ending everything of a root for good: the keeper, the DNS process, bridges and rules. */
#include "engine/engine_priv.h"

#include "base/file.h"
#include "base/timeutil.h"
#include "runtime/cgroup.h"

#include <unistd.h>

enum { END_SECONDS = 5 };

/* An exit that serve could not record, on a full disk: it stays in the keeper's files for the next start. */
static void leave_exit(void *context, const struct keeper_exit *exit)
{
}

/* The keeper ends only when nothing runs. One that was killed has a successor for this: what it held may run,
 * and what has ended has left groups. What has ended may be some time about its last output. */
static int end_keeper(const char *root, struct err *err)
{
    struct keeper_callbacks none = {.on_exit = leave_exit};
    struct keeper *keeper;
    if (!keeper_may_hold(root))
        return 0;
    int r = keeper_open(root, &none, &keeper, err);
    if (r < 0)
        return r;
    int64_t deadline = time_monotonic_ns() + END_SECONDS * NS_PER_S;
    while ((r = keeper_shutdown(keeper, err)) == -ERR_CONFLICT && time_monotonic_ns() < deadline)
        nanosleep(&(struct timespec){.tv_nsec = 20 * NS_PER_MS}, NULL);
    keeper_close(keeper);
    return r;
}

int engine_shutdown(const char *root, struct err *err)
{
    _cleanup_free_ char *path = str_printf("%s/serve.lock", root);
    _cleanup_close_ int lock = -EBADF;
    if (!file_exists(root))
        return 0;
    int r = file_lock(path, &lock, err);
    if (r == -ERR_CONFLICT)
        return err_set(err, ERR_CONFLICT, "drover serve runs on %s; end it first", root);
    if (r == 0)
        r = end_keeper(root, err);
    if (r < 0)
        return err_wrap(err, "end the keeper of %s", root);
    cgroup_sweep();
    files__clear(root);
    spare__clear(root);
    memory__clear(root);
    _cleanup_free_ char *state = str_printf("%s/net", root), *prefix = engine__instance_prefix(root);
    struct net *net;
    r = net_open(state, prefix, &net, err);
    if (r < 0)
        return r;
    r = net_teardown(net, err);
    net_close(net);
    return r;
}
