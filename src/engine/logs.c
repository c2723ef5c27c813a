/* docker logs: the keeper's log files, read forward and followed to the container's end. */
#include "engine/engine_priv.h"

#include "base/err.h"
#include "keeper/log_reader.h"

char *logs__path(struct container *c)
{
    _cleanup_free_ char *dir = container__dir(c);
    return str_printf("%s/log", dir);
}

struct follower {
    struct container *container;
    const struct engine_logs *logs;
};

static bool follower_ended(void *context)
{
    struct follower *f = context;
    struct container_state s = container__state(f->container);
    /* A container that is about to be restarted is not at its end. */
    return s.status != STATUS_RUNNING && s.status != STATUS_PAUSED && s.status != STATUS_RESTARTING;
}

static bool follower_gone(void *context)
{
    struct follower *f = context;
    return f->logs->gone && f->logs->gone(f->logs->context);
}

static int tell(struct log_reader *reader, const struct engine_logs *logs, struct err *err)
{
    struct log_entry entry;
    int r;
    while ((r = log_reader_next(reader, &entry, err)) > 0) {
        if ((entry.stream == 1 && !logs->out) || (entry.stream == 2 && !logs->err_stream))
            continue;
        if (logs->line(logs->context, entry.stream, entry.time_ns, entry.bytes, entry.size) != 0)
            return 0;
    }
    return r;
}

static int log_driver_keeps(struct container *c, struct err *err)
{
    _cleanup_json_ json_t *doc = container__doc(c);
    const json_t *log = json_object_get(json_object_get(doc, "HostConfig"), "LogConfig");
    struct logdriver_local local = logdriver_local(c->log_driver, json_object_get(log, "Config"));
    if (!local.kept || !local.readable)
        return err_set(err, ERR_UNSUPPORTED, "configured logging driver does not support reading");
    return 0;
}

static void tell_details(struct container *c, const struct engine_logs *logs)
{
    if (!logs->details)
        return;
    _cleanup_json_ json_t *attributes = logs__attributes(c);
    logs->details(logs->context, attributes);
}

static void count_reader(struct container *c, int step)
{
    SCOPED_LOCK(locked, &c->lock);
    c->log_readers += (unsigned)step;
    pthread_cond_broadcast(&c->changed);
}

static int read_log(struct container *c, const struct log_reader_options *options,
                    const struct engine_logs *logs, struct err *err)
{
    struct log_reader *reader;
    int r = log_reader_open(options, &reader, err);
    if (r < 0)
        return r;
    tell_details(c, logs);
    if (logs->begin)
        logs->begin(logs->context, c->tty);
    r = tell(reader, logs, err);
    log_reader_close(reader);
    return r;
}

int engine_container_logs(struct engine *e, const char *ref, const struct engine_logs *logs, bool *ret_tty,
                          struct err *err)
{
    _cleanup_container_ struct container *c = NULL;
    int r = container__find(e, ref, &c, err);
    if (r == 0)
        r = log_driver_keeps(c, err);
    if (r < 0)
        return r;
    if (ret_tty)
        *ret_tty = c->tty;
    _cleanup_free_ char *path = logs__path(c);
    struct follower f = {.container = c, .logs = logs};
    struct log_reader_options options = {.path = path,
                                         .tail = logs->tail,
                                         .since_ns = logs->since_ns,
                                         .until_ns = logs->until_ns,
                                         .follow = logs->follow,
                                         .ended = follower_ended,
                                         .gone = follower_gone,
                                         .context = &f};
    count_reader(c, +1);
    r = read_log(c, &options, logs, err);
    count_reader(c, -1);
    return r;
}

int engine_container_tty(struct engine *e, const char *ref, bool *ret_tty, struct err *err)
{
    _cleanup_container_ struct container *c = NULL;
    int r = container__find(e, ref, &c, err);
    if (r == 0)
        *ret_tty = c->tty;
    return r;
}
