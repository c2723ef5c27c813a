/* Ending what runs: stop, kill, restart.
 *
 * None of these holds container.op while it waits for the exit, since the exit itself is handled under it:
 * the callers must not hold it either. */
#include "engine/engine_priv.h"

#include "base/failpoint.h"
#include "base/file.h"

#include <signal.h>
#include <strings.h>
#include <time.h>

enum {
    DEFAULT_TIMEOUT_S = 10,
    KILL_WAIT_S = 30, /* SIGKILL works at once, unless the kernel is stuck in a device */
};

int signal__parse(const char *text, int *ret, struct err *err)
{
    int64_t n;
    if (parse_i64(text, 1, SIGRTMAX, &n, NULL) == 0) {
        *ret = (int)n;
        return 0;
    }
    const char *name = strncasecmp(text, "SIG", 3) == 0 ? text + 3 : text;
    for (int i = 1; i < 32; i++) {
        const char *known = sigabbrev_np(i);
        if (known && strcasecmp(known, name) == 0) {
            *ret = i;
            return 0;
        }
    }
    bool from_least = strncasecmp(name, "RTMIN", 5) == 0, from_most = strncasecmp(name, "RTMAX", 5) == 0;
    n = 0;
    if ((from_least &&
         (!name[5] || (name[5] == '+' && parse_i64(name + 6, 0, SIGRTMAX - SIGRTMIN, &n, NULL) == 0))) ||
        (from_most &&
         (!name[5] || (name[5] == '-' && parse_i64(name + 6, 0, SIGRTMAX - SIGRTMIN, &n, NULL) == 0)))) {
        *ret = from_least ? SIGRTMIN + (int)n : SIGRTMAX - (int)n;
        return 0;
    }
    return err_set(err, ERR_INVALID, "Invalid signal: %s", text);
}

/* --- pieces --- */

static bool is_up(const struct container *c) /* container.lock held */
{
    return c->state.status == STATUS_RUNNING || c->state.status == STATUS_PAUSED;
}

/* False when it was not running. */
static bool mark_stopped(struct container *c, uint64_t *ret_exits)
{
    SCOPED_LOCK(locked, &c->lock);
    *ret_exits = c->exits;
    if (!is_up(c))
        return false;
    c->state.stopped_by_user = true;
    return true;
}

/* Monotonic; timeout_s of INT32_MAX: however long it takes. */
static int64_t deadline_in(int timeout_s)
{
    return timeout_s == INT32_MAX ? INT64_MAX : time_monotonic_ns() + timeout_s * NS_PER_S;
}

/* True when it has ended. */
static bool wait_end(struct container *c, uint64_t exits, int64_t deadline_ns)
{
    struct timespec until = {.tv_sec = deadline_ns / NS_PER_S, .tv_nsec = deadline_ns % NS_PER_S};
    SCOPED_LOCK(locked, &c->lock);
    int r = 0;
    while (c->exits == exits && is_up(c) && !c->removed && r == 0)
        r = deadline_ns == INT64_MAX ? pthread_cond_wait(&c->changed, &c->lock)
                                     : pthread_cond_timedwait(&c->changed, &c->lock, &until);
    return c->exits != exits || !is_up(c) || c->removed;
}

uint64_t container__exits(struct container *c)
{
    SCOPED_LOCK(locked, &c->lock);
    return c->exits;
}

int container__await_end(struct container *c, uint64_t exits, struct err *err)
{
    return wait_end(c, exits, deadline_in(KILL_WAIT_S))
               ? 0
               : err_set(err, ERR_TIMEOUT, "container %.12s has ended, and its exit was not told within %d s",
                         c->id, KILL_WAIT_S);
}

static int send(struct container *c, int signal, struct err *err)
{
    char number[16];
    snprintf(number, sizeof(number), "%d", signal);
    int r = keeper_kill(c->engine->keeper, c->id, "", signal, signal == SIGKILL, err);
    /* Gone, perhaps by this very signal, when the keeper died before it could say so: its exit is on the way.
     */
    if (r < 0 && r != -ERR_NOT_FOUND && r != -ERR_CONFLICT)
        return err_wrap(err, "signal container %.12s", c->id);
    FAILPOINT("serve-signal-sent");
    container__event(c, "kill", "signal", number);
    /* A frozen process takes a signal when it thaws. */
    if (container__state(c).status == STATUS_PAUSED && (signal == SIGKILL || signal == SIGTERM))
        engine_container_pause(c->engine, c->id, false, NULL);
    return 0;
}

static int kill_and_wait(struct container *c, uint64_t exits, struct err *err)
{
    int r = send(c, SIGKILL, err);
    if (r < 0)
        return r;
    if (wait_end(c, exits, deadline_in(KILL_WAIT_S)))
        return 0;
    return err_set(err, ERR_TIMEOUT, "container %.12s did not end within %d s after SIGKILL", c->id,
                   KILL_WAIT_S);
}

/* One that waits for its next automatic restart will not get it. */
static bool cancel_restart(struct container *c)
{
    SCOPED_LOCK(op, &c->op);
    {
        SCOPED_LOCK(locked, &c->lock);
        if (c->state.status != STATUS_RESTARTING)
            return false;
        c->state.status = STATUS_EXITED;
        c->state.stopped_by_user = true;
        c->restart_at_ns = 0;
        pthread_cond_broadcast(&c->changed);
    }
    container__save_state(c);
    return true;
}

static int own_signal(const json_t *config)
{
    const char *text = json_str(config, "StopSignal");
    int n;
    return *text && signal__parse(text, &n, NULL) == 0 ? n : SIGTERM;
}

/* --- a process that has only just begun --- */

static uint64_t signal_set(const char *status, const char *name)
{
    const char *at = strstr(status, name);
    return at ? strtoull(at + strlen(name), NULL, 16) : 0;
}

/* Whether it is the first of its pid namespace, and not of one that is the machine's or another container's.
 */
static bool is_first(const char *status)
{
    const char *ids = strstr(status, "\nNSpid:"), *end = ids ? strchr(ids + 1, '\n') : NULL;
    return end && end[-1] == '1' && end[-2] == '\t';
}

/* Whether that signal does to the process what is meant: it catches, blocks (to wait for it) or ignores it,
 * or the kernel ends it. */
static bool expects(pid_t pid, int number)
{
    _cleanup_free_ char *path = str_printf("/proc/%d/status", (int)pid);
    _cleanup_str_ struct str status = STR_INIT;
    if (file_read(path, 16 << 10, &status, NULL) < 0)
        return true; /* it is gone */
    const char *text = str_get(&status);
    if (!is_first(text))
        return true;
    uint64_t sets =
        signal_set(text, "\nSigBlk:") | signal_set(text, "\nSigIgn:") | signal_set(text, "\nSigCgt:");
    return sets >> (number - 1) & 1;
}

/* The kernel drops a signal to the first process of a pid namespace that has no handler for it: one that
 * comes before the program could set its handler would be lost, and a stop would wait out its whole time.
 * Within the first moments of a process, such a signal waits for the handler. */
static void await_handler(struct container *c, int number)
{
    enum { YOUNG_NS = 500000000, STEP_NS = 1000000 };
    static const int ending[] = {SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGTERM};
    bool ends = false;
    for (size_t i = 0; i < ARRAY_SIZE(ending); i++)
        ends |= number == ending[i];
    for (;;) {
        struct container_state s = container__state(c);
        int64_t age = time_now_ns() - s.started_ns;
        if (!ends || s.status != STATUS_RUNNING || s.pid <= 0 || age < 0 || age > YOUNG_NS ||
            expects((pid_t)s.pid, number))
            return;
        nanosleep(&(struct timespec){.tv_nsec = STEP_NS}, NULL);
    }
}

/* --- stop --- */

int container__stop(struct container *c, int timeout_s, const char *signal, struct err *err)
{
    _cleanup_json_ json_t *doc = container__doc(c);
    const json_t *config = json_object_get(doc, "Config"), *own = json_object_get(config, "StopTimeout");
    int number = own_signal(config);
    uint64_t exits;
    int r = signal ? signal__parse(signal, &number, err) : 0;
    if (r < 0)
        return r;
    if (timeout_s < 0)
        timeout_s = json_is_integer(own) ? (int)json_integer_value(own) : DEFAULT_TIMEOUT_S;
    if (timeout_s < 0)
        timeout_s = INT32_MAX;
    if (!mark_stopped(c, &exits))
        return cancel_restart(c) ? 0
                                 : err_set(err, ERR_NOT_MODIFIED, "container %.12s is not running", c->id);
    int64_t deadline_ns = deadline_in(timeout_s);
    if (number != SIGKILL) {
        if (timeout_s)
            await_handler(c, number);
        r = send(c, number, err);
        if (r < 0)
            return r;
    }
    if (number == SIGKILL || !wait_end(c, exits, deadline_ns))
        r = kill_and_wait(c, exits, err);
    if (r == 0)
        container__event(c, "stop", NULL, NULL);
    return r;
}

int container__end(struct container *c, struct err *err)
{
    uint64_t exits;
    if (mark_stopped(c, &exits))
        return kill_and_wait(c, exits, err);
    cancel_restart(c);
    return 0;
}

int engine_container_stop(struct engine *e, const char *ref, int timeout_s, const char *signal,
                          struct err *err)
{
    _cleanup_container_ struct container *c = NULL;
    int r = container__find(e, ref, &c, err);
    if (r == 0)
        r = container__stop(c, timeout_s, signal, err);
    if (r == 0) /* a user's wish: not to be forgotten by whatever happens next */
        container__save_state(c);
    return r;
}

/* --- kill --- */

/* A signal that means the end also ends the restart policy, as Docker has it: SIGKILL, the container's own
 * stop signal, or any where none was set. */
static bool means_end(const json_t *config, int number)
{
    return number == SIGKILL || !*json_str(config, "StopSignal") || number == own_signal(config);
}

int engine_container_kill(struct engine *e, const char *ref, const char *signal, struct err *err)
{
    _cleanup_container_ struct container *c = NULL;
    int number = SIGKILL;
    int r = container__find(e, ref, &c, err);
    if (r < 0)
        return err_wrap(err, "Cannot kill container: %.100s", ref);
    if (!str_empty(signal))
        r = signal__parse(signal, &number, err);
    if (r < 0)
        return r;
    if (!container__running(c) && cancel_restart(c))
        return 0;
    if (!container__running(c))
        return err_set(err, ERR_CONFLICT, "Cannot kill container: %s: Container %s is not running", ref,
                       c->id);
    _cleanup_json_ json_t *doc = container__doc(c);
    uint64_t exits;
    await_handler(c, number);
    if (!means_end(json_object_get(doc, "Config"), number))
        return send(c, number, err);
    mark_stopped(c, &exits);
    r = number == SIGKILL ? kill_and_wait(c, exits, err) : send(c, number, err);
    if (r == 0)
        container__save_state(c);
    return r;
}

/* --- restart --- */

static bool set_auto_remove(struct container *c, bool on)
{
    SCOPED_LOCK(locked, &c->lock);
    bool before = c->auto_remove;
    c->auto_remove = on;
    return before;
}

int engine_container_restart(struct engine *e, const char *ref, int timeout_s, const char *signal,
                             struct err *err)
{
    _cleanup_container_ struct container *c = NULL;
    int r = container__find(e, ref, &c, err);
    if (r < 0)
        return r;
    /* With --rm, this end is not the last. */
    bool auto_remove = set_auto_remove(c, false);
    r = container__stop(c, timeout_s, signal, err);
    if (r == 0 || r == -ERR_NOT_MODIFIED) {
        SCOPED_LOCK(op, &c->op);
        r = container__start(c, false, err);
        if (r == -ERR_NOT_MODIFIED) /* by somebody else, who has asked at the same time */
            r = 0;
    }
    set_auto_remove(c, auto_remove);
    if (r == 0)
        container__event(c, "restart", NULL, NULL);
    return r;
}
