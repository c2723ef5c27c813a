/* Ending everything of a root for good: the keeper, the DNS process, bridges and rules. */
#include "engine/engine_priv.h"

#include "base/file.h"

#include <sys/socket.h>
#include <unistd.h>

/* An exit that serve could not record, on a full disk: it stays in the keeper's files for the next start. */
static void leave_exit(void *context, const struct keeper_exit *exit)
{
}

/* The keeper ends only when it holds nothing; one that does not run is not started for this. */
static int end_keeper(const char *root, struct err *err)
{
    _cleanup_free_ char *socket_path = str_printf("%s/keeper/keeper.sock", root);
    struct keeper_callbacks none = {.on_exit = leave_exit};
    struct keeper *keeper;
    int fd;
    if (file_connect_unix(socket_path, SOCK_SEQPACKET, &fd, NULL) < 0)
        return 0;
    close(fd);
    int r = keeper_open(root, &none, &keeper, err);
    if (r < 0)
        return r;
    r = keeper_shutdown(keeper, err);
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
