/* create, start and run. */
#include "oci/commands.h"
#include "oci/launch.h"
#include "oci/notify.h"
#include "oci/wait.h"
#include "runtime/runtime.h"

#include <unistd.h>

int command_create(const struct oci_args *args, int *ret_status, struct err *err)
{
    _cleanup_container_ struct container c = CONTAINER_INIT;
    _cleanup_(launched_done) struct launched launched = LAUNCHED_INIT;
    return launch_container(args, args->words[0], true, true, &c, &launched, err);
}

static int check_startable(struct container *c, struct err *err)
{
    const char *status = container_status(c);
    const json_t *config;
    if (str_eq(status, "stopped"))
        return err_set(err, ERR_CONFLICT, "cannot start a container that has stopped");
    if (!str_eq(status, "created"))
        return err_set(err, ERR_CONFLICT, "cannot start an already running container");
    int r = container_config(c, &config, err);
    if (r == 0 && !json_is_object(json_object_get(config, "process")))
        r = err_set(err, ERR_INVALID, "cannot start: config.json has no \"process\"");
    return r;
}

int command_start(const struct oci_args *args, int *ret_status, struct err *err)
{
    _cleanup_container_ struct container c = CONTAINER_INIT;
    int r = container_open(args, args->words[0], true, &c, err);
    if (r == 0)
        r = check_startable(&c, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *socket = container_start_socket(&c);
    _cleanup_close_ int notify_fd = -EBADF;
    r = notify_listen(&c, &notify_fd, err);
    if (r == 0)
        r = runtime_start(socket, err);
    if (r < 0)
        return r;
    unlink(socket);
    container_unlock(&c); /* a hook may want to look at the container */
    r = launch_run_poststart(&c, err);
    if (r < 0)
        launch_end(&c);
    else
        notify_wait(notify_fd, c.pidfd);
    return r;
}

/* The hooks of a container that `run` has launched, unlocked meanwhile; one whose hook fails is gone. */
static int run_poststart(struct container *c, struct err *err)
{
    struct err ignored;
    container_unlock(c);
    int r = launch_run_poststart(c, err);
    if (r < 0 && container_lock(c, &ignored) == 0)
        launch_destroy(c, true, &ignored);
    return r;
}

static int stay(const struct oci_args *args, struct container *c, struct foreground *f,
                const struct launched *launched, int *ret_status, struct err *err)
{
    int r = run_poststart(c, err);
    if (r == 0)
        r = foreground_wait(f, c->pid, launched->master, launched->notify_fd, ret_status, err);
    if (r < 0 || args->keep)
        return r;
    c->pid = 0;
    c->pidfd = close_fd(c->pidfd);
    r = container_lock(c, err);
    if (r == -ERR_NOT_FOUND) /* somebody deleted it meanwhile */
        return 0;
    return r < 0 ? r : launch_destroy(c, false, err);
}

int command_run(const struct oci_args *args, int *ret_status, struct err *err)
{
    _cleanup_container_ struct container c = CONTAINER_INIT;
    _cleanup_foreground_ struct foreground f = FOREGROUND_INIT;
    _cleanup_(launched_done) struct launched launched = LAUNCHED_INIT;
    int r = 0;
    if (!args->detach)
        r = foreground_begin(&f, !args->no_subreaper, err);
    if (r == 0)
        r = launch_container(args, args->words[0], false, args->detach, &c, &launched, err);
    if (r < 0)
        return r;
    if (!args->detach)
        return stay(args, &c, &f, &launched, ret_status, err);
    r = run_poststart(&c, err);
    if (r == 0)
        notify_wait(launched.notify_fd, c.pidfd);
    return r;
}
