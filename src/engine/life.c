/* The small calls of a container's life: start, rename, pause, resize, attach, wait. */
#include "engine/engine_priv.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { WAIT_LOOK_MS = 500 };

static int not_there(const struct container *c, struct err *err)
{
    return err_set(err, ERR_NOT_FOUND, "No such container: %s", c->id);
}

static bool going(struct container *c)
{
    SCOPED_LOCK(locked, &c->lock);
    return c->removing || c->removed;
}

static int start(struct container *c, bool *ret_tried, struct err *err)
{
    SCOPED_LOCK(op, &c->op);
    if (going(c))
        return err_set(err, ERR_CONFLICT, "container is marked for removal and cannot be started");
    if (container__state(c).status == STATUS_PAUSED)
        return err_set(err, ERR_CONFLICT, "cannot start a paused container, try unpause instead");
    if (container__state(c).status == STATUS_RESTARTING)
        return err_set(err, ERR_NOT_MODIFIED, "the container is about to be started by its policy");
    uint64_t before = c->exits;
    int r = container__start(c, false, err);
    *ret_tried = c->exits != before; /* a start that fails counts as an end */
    return r;
}

int engine_container_start(struct engine *e, const char *ref, struct err *err)
{
    _cleanup_container_ struct container *c = NULL;
    bool tried = false;
    int r = container__find(e, ref, &c, err);
    if (r < 0)
        return r;
    r = start(c, &tried, err);
    /* With --rm the client waits for the removal, also when there was no run. */
    if (r < 0 && tried && c->auto_remove)
        container__remove(c, true, true, NULL);
    return r;
}

/* --- rename --- */

static int swap_name(struct container *c, const char *name, char **ret_old, struct err *err)
{
    struct engine *e = c->engine;
    SCOPED_LOCK(locked, &e->lock);
    const struct container *other = map_get(&e->names, name);
    if (other == c)
        return err_set(err, ERR_INVALID, "Renaming a container with the same name as its current name");
    if (other)
        return err_set(err, ERR_CONFLICT,
                       "Error when allocating new name: Conflict. The container name \"/%s\" is already in "
                       "use by container \"%s\". You have to "
                       "remove (or rename) that container to be able to reuse that name.",
                       name, other->id);
    map_remove(&e->names, c->name);
    map_put(&e->names, name, c);
    *ret_old = c->name;
    c->name = mem_strdup(name);
    return 0;
}

int engine_container_rename(struct engine *e, const char *ref, const char *name, struct err *err)
{
    _cleanup_container_ struct container *c = NULL;
    _cleanup_free_ char *old = NULL;
    if (*name == '/')
        name++;
    int r = container__find(e, ref, &c, err);
    if (r < 0)
        return r;
    if ((r = names__check(name, err)) < 0)
        return err_wrap(err, "Error when allocating new name");
    SCOPED_LOCK(op, &c->op);
    if (going(c))
        return not_there(c, err);
    r = swap_name(c, name, &old, err);
    if (r < 0)
        return r;
    container__save(c);
    supervisor__names_due(e);
    _cleanup_free_ char *shown = str_printf("/%s", old);
    container__event(c, "rename", "oldName", shown);
    return 0;
}

/* --- pause --- */

static int check_pause(struct container *c, bool paused, struct err *err)
{
    enum container_status s = container__state(c).status;
    if (s == STATUS_RESTARTING)
        return err_set(err, ERR_CONFLICT, "Container %s is restarting, wait until the container is running",
                       c->id);
    if (paused && s == STATUS_PAUSED)
        return err_set(err, ERR_CONFLICT, "Container %s is already paused", c->id);
    if (paused && s != STATUS_RUNNING)
        return err_set(err, ERR_CONFLICT, "Container %s is not running", c->id);
    if (!paused && s != STATUS_PAUSED)
        return err_set(err, ERR_CONFLICT, "Container %s is not paused", c->id);
    return 0;
}

int engine_container_pause(struct engine *e, const char *ref, bool paused, struct err *err)
{
    _cleanup_container_ struct container *c = NULL;
    int r = container__find(e, ref, &c, err);
    if (r < 0)
        return r;
    SCOPED_LOCK(op, &c->op);
    if ((r = check_pause(c, paused, err)) < 0)
        return r;
    r = keeper_pause(e->keeper, c->id, paused, err);
    if (r == -ERR_CONFLICT) /* it has just ended */
        return err_set(err, ERR_CONFLICT, "Container %s is not running", c->id);
    if (r < 0)
        return r;
    pthread_mutex_lock(&c->lock);
    c->state.status = paused ? STATUS_PAUSED : STATUS_RUNNING;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
    container__save_state(c);
    container__event(c, paused ? "pause" : "unpause", NULL, NULL);
    return 0;
}

/* --- resize --- */

int engine_container_resize(struct engine *e, const char *ref, int rows, int columns, struct err *err)
{
    _cleanup_container_ struct container *c = NULL;
    char height[16], width[16];
    int r = container__find(e, ref, &c, err);
    if (r < 0)
        return r;
    if (!container__running(c))
        return err_set(err, ERR_CONFLICT, "Container %s is not running", c->id);
    r = c->tty ? keeper_resize(e->keeper, c->id, "", rows, columns, err) : 0;
    if (r < 0)
        return r;
    snprintf(height, sizeof(height), "%d", rows);
    snprintf(width, sizeof(width), "%d", columns);
    _cleanup_json_ json_t *more = json_pack("{s:s,s:s}", "height", height, "width", width);
    container__event_with(c, "resize", more);
    return 0;
}

/* --- attach --- */

/* Drops streams whose other side has left before the start. container.lock is held. */
static void drop_left(struct container *c)
{
    size_t kept = 0;
    for (size_t i = 0; i < c->pending_count; i++) {
        struct pollfd p = {.fd = c->pending[i].fd};
        if (poll(&p, 1, 0) == 1 && (p.revents & (POLLHUP | POLLERR | POLLNVAL)))
            close(c->pending[i].fd);
        else
            c->pending[kept++] = c->pending[i];
    }
    c->pending_count = kept;
}

/* Keeps the keeper's end for the next start. container.op is held, so that no start can slip between. */
static int leave_for_start(struct container *c, int fd, int flags, struct err *err)
{
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (own < 0)
        return err_sys(err, errno, "keep a stream for the start");
    SCOPED_LOCK(locked, &c->lock);
    drop_left(c);
    if (c->pending_count >= PENDING_ATTACH_MAX) {
        close(own);
        return err_set(err, ERR_LIMIT, "%d streams wait already for the start of container %.12s",
                       PENDING_ATTACH_MAX, c->id);
    }
    c->pending[c->pending_count].fd = own;
    c->pending[c->pending_count++].flags = flags;
    return 0;
}

static int attach_running(struct container *c, int fd, int flags, struct err *err)
{
    int r = keeper_attach(c->engine->keeper, c->id, "", fd, flags, err);
    /* It has just ended: the stream is at its end, which is no error. */
    return r == -ERR_NOT_FOUND || r == -ERR_CONFLICT ? 0 : r;
}

static int attach_end(struct container *c, int fd, int flags, struct err *err)
{
    if (container__state(c).status == STATUS_RUNNING)
        return attach_running(c, fd, flags, err);
    SCOPED_LOCK(op, &c->op);
    switch (container__state(c).status) {
    case STATUS_RUNNING: /* started while we waited */
        return attach_running(c, fd, flags, err);
    case STATUS_PAUSED:
        return err_set(err, ERR_CONFLICT, "Container %s is paused, unpause the container before attach.",
                       c->id);
    case STATUS_RESTARTING:
        return err_set(err, ERR_CONFLICT, "Container %s is restarting, wait until the container is running",
                       c->id);
    default:
        return going(c) ? not_there(c, err) : leave_for_start(c, fd, flags, err);
    }
}

int engine_container_attach(struct engine *e, const char *ref, int keeper_attach_flags, int *ret_fd,
                            bool *ret_tty, struct err *err)
{
    _cleanup_container_ struct container *c = NULL;
    int r = container__find(e, ref, &c, err), pair[2];
    if (r < 0)
        return r;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_sys(err, errno, "make a stream to container %.12s", c->id);
    r = attach_end(c, pair[1], keeper_attach_flags, err);
    close(pair[1]);
    if (r < 0) {
        close(pair[0]);
        return r;
    }
    container__event(c, "attach", NULL, NULL);
    *ret_fd = pair[0];
    *ret_tty = c->tty;
    return 0;
}

void engine_container_detached(struct engine *e, const char *ref, const char *exec_id)
{
    _cleanup_container_ struct container *c = NULL;
    if (container__find(e, ref, &c, NULL) == 0)
        container__event(c, exec_id ? "exec_detach" : "detach", exec_id ? "execID" : NULL, exec_id);
}

/* --- wait --- */

enum condition { WAIT_NOT_RUNNING, WAIT_NEXT_EXIT, WAIT_REMOVED };

static int parse_condition(const char *text, enum condition *ret, struct err *err)
{
    static const char *const names[] = {"not-running", "next-exit", "removed"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (str_eq(text, names[i])) {
            *ret = (enum condition)i;
            return 0;
        }
    return err_set(err, ERR_INVALID, "invalid condition: \"%.100s\"", text);
}

/* container.lock is held. */
static bool fulfilled(const struct container *c, enum condition condition, uint64_t exits)
{
    enum container_status s = c->state.status;
    if (c->removed)
        return true;
    switch (condition) {
    case WAIT_NEXT_EXIT:
        return c->exits != exits;
    case WAIT_REMOVED:
        return false;
    case WAIT_NOT_RUNNING:
        break;
    }
    if (c->exits != exits) /* its policy may have started it again already */
        return true;
    return s != STATUS_RUNNING && s != STATUS_PAUSED && s != STATUS_RESTARTING;
}

static bool closing(struct engine *e)
{
    SCOPED_LOCK(locked, &e->queue_lock);
    return e->closing;
}

/* One turn: until the condition holds (true), or for a moment. */
static bool wait_a_moment(struct container *c, enum condition condition, uint64_t exits, int *ret_status)
{
    int64_t at = time_monotonic_ns() + WAIT_LOOK_MS * NS_PER_MS;
    struct timespec until = {.tv_sec = at / NS_PER_S, .tv_nsec = at % NS_PER_S};
    SCOPED_LOCK(locked, &c->lock);
    int r = 0;
    while (!fulfilled(c, condition, exits) && r == 0)
        r = pthread_cond_timedwait(&c->changed, &c->lock, &until);
    *ret_status = c->state.exit_code;
    return fulfilled(c, condition, exits);
}

int engine_container_wait(struct engine *e, const char *ref, const char *condition, bool (*gone)(void *),
                          void *gone_context, void (*ready)(void *), int *ret_status, struct err *err)
{
    _cleanup_container_ struct container *c = NULL;
    enum condition wanted;
    int r = parse_condition(condition, &wanted, err), status;
    if (r == 0)
        r = container__find(e, ref, &c, err);
    if (r < 0)
        return r;
    pthread_mutex_lock(&c->lock);
    uint64_t exits = c->exits;
    pthread_mutex_unlock(&c->lock);
    if (ready)
        ready(gone_context);
    while (!wait_a_moment(c, wanted, exits, &status)) {
        if (gone && gone(gone_context))
            return err_set(err, ERR_CANCELLED, "whoever waited for container %.12s has left", c->id);
        if (closing(e))
            return err_set(err, ERR_UNAVAILABLE, "the engine is shutting down");
    }
    *ret_status = status;
    return 0;
}
