/* Health checks: probes run as exec processes of the keeper, by one thread for all containers.
 *
 *     starting --success--> healthy <--success-- unhealthy
 *         \                    \                    ^
 *          +-- `retries` failures in a row ---------+
 * Failures within the start period count only once a probe has succeeded (Docker's HEALTHCHECK
 * --start-period).
 *
 * The list and all fields are guarded by the thread's lock; a struct health is freed by the thread alone, so
 * that it may let the lock go while it talks to the keeper. */
#include "engine/engine_priv.h"

#include "base/digest.h"
#include "base/err.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LOST_PROBE_S = 10 }; /* after its kill, an exit that never came is given up */
enum { LOG_ENTRIES = 5, OUTPUT_MAX = 4096, DEFAULT_RETRIES = 3 };
#define DEFAULT_INTERVAL_NS (30 * NS_PER_S)
#define EXEC_PREFIX         "health-"

struct log_entry {
    int64_t start_ns, end_ns;
    int exit_code;
    char *output;
};

struct health {
    struct container *container;
    json_t *body; /* of the exec */
    int64_t interval_ns, timeout_ns, start_period_ns, start_interval_ns;
    int retries;
    const char *status; /* a literal */
    int failing_streak;
    bool ever_healthy, dead;
    int64_t began_at, next_at; /* monotonic */
    struct log_entry log[LOG_ENTRIES];
    size_t log_count;
    /* The probe under way: */
    char exec_id[80]; /* "" when there is none */
    int fd;
    struct str output; /* frames as they came */
    int64_t probe_start_ns, probe_deadline;
    pid_t probe_pid;
    bool timed_out, exited;
    int exit_code;
};

struct health_thread {
    struct engine *engine;
    pthread_t thread;
    pthread_mutex_t lock; /* below, and every struct health */
    int wake_fd;
    bool stopping;
    struct health **list;
    size_t count, capacity;
};

static void wake(struct health_thread *t)
{
    ssize_t ignored _unused_ = write(t->wake_fd, &(uint64_t){1}, sizeof(uint64_t));
}

static void health_free(struct health *h)
{
    for (size_t i = 0; i < h->log_count; i++)
        free(h->log[i].output);
    close_fd(h->fd);
    str_free(&h->output);
    json_decref(h->body);
    container__unref(h->container);
    free(h);
}

/* --- results --- */

/* The text in Docker's frames, without their heads, at most OUTPUT_MAX bytes. */
static char *text_of(const struct str *frames)
{
    struct str text = STR_INIT;
    bool all = true;
    for (size_t at = 0; at + 8 <= frames->len && all;) {
        uint32_t n;
        memcpy(&n, frames->data + at + 4, sizeof(n));
        size_t size = MIN((size_t)ntohl(n), frames->len - at - 8);
        all = size <= OUTPUT_MAX - text.len;
        str_addn(&text, frames->data + at + 8, MIN(size, OUTPUT_MAX - text.len));
        at += 8 + size;
    }
    if (!all)
        str_add(&text, "...");
    return str_take(&text);
}

static char *timeout_text(const struct health *h)
{
    char limit[TIME_RFC3339_BYTES];
    _cleanup_free_ char *said = text_of(&h->output);
    return str_printf("Health check exceeded timeout (%s)%s%s", time_format_duration(h->timeout_ns, limit),
                      *said ? ": " : "", said);
}

static void remember(struct health *h, int exit_code, char *output)
{
    if (h->log_count == LOG_ENTRIES) {
        free(h->log[0].output);
        memmove(h->log, h->log + 1, sizeof(h->log[0]) * (LOG_ENTRIES - 1));
        h->log_count--;
    }
    h->log[h->log_count++] = (struct log_entry){
        .start_ns = h->probe_start_ns, .end_ns = time_now_ns(), .exit_code = exit_code, .output = output};
}

/* Counts one result; returns the new status when it has changed, else NULL. Lock held. */
static const char *count_result(struct health *h, bool success, int64_t now)
{
    const char *before = h->status;
    if (success) {
        h->failing_streak = 0;
        h->ever_healthy = true;
        h->status = "healthy";
    } else if (h->ever_healthy || now >= h->began_at + h->start_period_ns) {
        h->failing_streak++;
        if (h->failing_streak >= h->retries)
            h->status = "unhealthy";
    }
    return strcmp(before, h->status) == 0 ? NULL : h->status;
}

static int64_t pause_of(const struct health *h, int64_t now)
{
    bool starting = !h->ever_healthy && now < h->began_at + h->start_period_ns;
    return starting && h->start_interval_ns ? h->start_interval_ns : h->interval_ns;
}

static void drain(struct health *h)
{
    char buffer[4096];
    for (;;) {
        ssize_t n = h->fd >= 0 ? recv(h->fd, buffer, sizeof(buffer), MSG_DONTWAIT) : 0;
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            h->fd = close_fd(h->fd);
            return;
        }
        if (h->output.len < 4 * OUTPUT_MAX)
            str_addn(&h->output, buffer, (size_t)n);
    }
}

static void finish_probe(struct health_thread *t, struct health *h, int exit_code, char *output)
{
    int64_t now = time_monotonic_ns();
    remember(h, exit_code, output);
    h->fd = close_fd(h->fd);
    str_clear(&h->output);
    h->exec_id[0] = '\0';
    h->next_at = now + pause_of(h, now);
    const char *changed = count_result(h, exit_code == 0, now);
    if (!changed || h->dead)
        return;
    _cleanup_free_ char *action = str_printf("health_status: %s", changed);
    struct container *c = container__ref(h->container);
    pthread_mutex_unlock(&t->lock);
    container__event(c, action, NULL, NULL);
    container__unref(c);
    pthread_mutex_lock(&t->lock);
}

/* --- probing --- */

/* Starts the exec; called without the lock. */
static int launch(struct engine *e, struct container *c, const json_t *body, const char *exec_id, int *ret_fd,
                  pid_t *ret_pid, struct err *err)
{
    _cleanup_json_ json_t *doc = container__doc(c), *process = NULL;
    int r = exec__process(c, doc, body, &process, err);
    int pair[2];
    if (r == 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        r = err_sys(err, errno, "socketpair");
    if (r < 0)
        return r;
    struct keeper_exec exec = {
        .id = c->id, .exec_id = exec_id, .process = process, .attach_fds = &pair[1], .attach_count = 1};
    exec__event(c, "exec_create", body, exec_id);
    exec__event(c, "exec_start", body, exec_id);
    r = keeper_exec(e->keeper, &exec, ret_pid, err);
    close(pair[1]);
    if (r < 0) {
        close(pair[0]);
        return r;
    }
    *ret_fd = pair[0];
    return 0;
}

static void start_probe(struct health_thread *t, struct health *h)
{
    char random[65], exec_id[80];
    digest_random_id(random);
    snprintf(exec_id, sizeof(exec_id), EXEC_PREFIX "%.32s", random);
    memcpy(h->exec_id, exec_id, sizeof(exec_id));
    h->exited = h->timed_out = false;
    h->probe_start_ns = time_now_ns();
    h->probe_deadline = time_monotonic_ns() + h->timeout_ns;
    struct err err = {0};
    int fd = -EBADF;
    pid_t pid = 0;
    pthread_mutex_unlock(&t->lock);
    int r = launch(t->engine, h->container, h->body, exec_id, &fd, &pid, &err);
    pthread_mutex_lock(&t->lock);
    if (r < 0) {
        finish_probe(t, h, -1, mem_strdup(err.msg));
        return;
    }
    h->fd = fd;
    h->probe_pid = pid;
}

static void kill_probe(struct health_thread *t, struct health *h)
{
    char exec_id[80];
    pid_t pid = h->probe_pid;
    memcpy(exec_id, h->exec_id, sizeof(exec_id));
    h->timed_out = true;
    pthread_mutex_unlock(&t->lock);
    keeper_kill(t->engine->keeper, h->container->id, exec_id, SIGKILL, false, NULL);
    session__kill(h->container, pid);
    pthread_mutex_lock(&t->lock);
}

/* One look at a container: does what is due, and returns when to look again (monotonic). */
static int64_t tend(struct health_thread *t, struct health *h)
{
    int64_t now = time_monotonic_ns();
    if (!*h->exec_id && now >= h->next_at && container__state(h->container).status == STATUS_PAUSED)
        h->next_at = now + pause_of(h, now); /* a frozen probe could only time out */
    if (!*h->exec_id && now >= h->next_at)
        start_probe(t, h);
    if (!*h->exec_id)
        return h->next_at;
    drain(h);
    if (h->exited || (h->timed_out && now >= h->probe_deadline + LOST_PROBE_S * NS_PER_S)) {
        char *output = h->timed_out ? timeout_text(h) : text_of(&h->output);
        finish_probe(t, h, h->timed_out ? -1 : h->exit_code, output);
        return h->next_at;
    }
    if (!h->timed_out && now >= h->probe_deadline)
        kill_probe(t, h);
    return h->timed_out ? now + NS_PER_S : h->probe_deadline;
}

static void bury(struct health_thread *t, size_t i)
{
    struct health *h = t->list[i];
    t->list[i] = t->list[--t->count];
    pthread_mutex_unlock(&t->lock);
    health_free(h);
    pthread_mutex_lock(&t->lock);
}

/* Waits for the next deadline, for output of a probe, or for a wake-up. */
static void wait_for_work(struct health_thread *t, int64_t until)
{
    size_t n = 0, capacity = t->count + 1;
    _cleanup_free_ struct pollfd *fds = NEW_N(struct pollfd, capacity);
    fds[n++] = (struct pollfd){.fd = t->wake_fd, .events = POLLIN};
    for (size_t i = 0; i < t->count; i++)
        if (t->list[i]->fd >= 0)
            fds[n++] = (struct pollfd){.fd = t->list[i]->fd, .events = POLLIN};
    int64_t ms = until == INT64_MAX ? -1 : MAX(until - time_monotonic_ns(), 0) / NS_PER_MS + 1;
    pthread_mutex_unlock(&t->lock);
    poll(fds, n, (int)MIN(ms, 3600 * 1000));
    uint64_t count;
    ssize_t ignored _unused_ = read(t->wake_fd, &count, sizeof(count)); /* does not block */
    pthread_mutex_lock(&t->lock);
}

static void *health_main(void *context)
{
    struct health_thread *t = context;
    pthread_mutex_lock(&t->lock);
    while (!t->stopping) {
        int64_t until = INT64_MAX;
        for (size_t i = 0; i < t->count;) {
            if (t->list[i]->dead) {
                bury(t, i);
                continue;
            }
            int64_t next = tend(t, t->list[i]);
            until = MIN(until, next);
            i++;
        }
        wait_for_work(t, until);
    }
    while (t->count)
        bury(t, t->count - 1);
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

int health__thread_start(struct engine *e, struct err *err)
{
    struct health_thread *t = NEW(struct health_thread);
    t->engine = e;
    pthread_mutex_init(&t->lock, NULL);
    t->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 << 10);
    int sys = t->wake_fd < 0 ? errno : pthread_create(&t->thread, &attributes, health_main, t);
    pthread_attr_destroy(&attributes);
    if (sys) {
        close_fd(t->wake_fd);
        free(t);
        return err_sys(err, sys, "start the health thread");
    }
    e->health = t;
    return 0;
}

void health__thread_stop(struct engine *e)
{
    struct health_thread *t = e->health;
    if (!t)
        return;
    pthread_mutex_lock(&t->lock);
    t->stopping = true;
    wake(t);
    pthread_mutex_unlock(&t->lock);
    pthread_join(t->thread, NULL);
    e->health = NULL;
    close_fd(t->wake_fd);
    pthread_mutex_destroy(&t->lock);
    free(t->list);
    free(t);
}

/* --- a container's health --- */

/* The command of a health check's Test, or NULL when there is none. */
static json_t *command_of(const json_t *config)
{
    const json_t *test = json_object_get(json_object_get(config, "Healthcheck"), "Test");
    const char *kind = json_string_value(json_array_get(test, 0));
    if (!kind || strcmp(kind, "NONE") == 0 || json_array_size(test) < 2)
        return NULL;
    json_t *command = json_array();
    if (strcmp(kind, "CMD-SHELL") == 0) {
        const json_t *shell = json_object_get(config, "Shell");
        if (json_array_size(shell))
            json_array_extend(command, (json_t *)shell);
        else {
            json_array_append_new(command, json_string("/bin/sh"));
            json_array_append_new(command, json_string("-c"));
        }
    }
    for (size_t i = 1; i < json_array_size(test); i++)
        json_array_append(command, json_array_get(test, i));
    return command;
}

static int64_t or_default(int64_t value, int64_t otherwise)
{
    return value > 0 ? value : otherwise;
}

void health__begin(struct container *c, const json_t *doc)
{
    struct health_thread *t = c->engine->health;
    const json_t *config = json_object_get(doc, "Config"), *check = json_object_get(config, "Healthcheck");
    json_t *command = command_of(config);
    if (!t || !command)
        return;
    health__end(c);
    struct health *h = NEW(struct health);
    h->container = container__ref(c);
    h->body = json_object();
    json_object_set_new(h->body, "Cmd", command);
    h->interval_ns = or_default(json_int(check, "Interval"), DEFAULT_INTERVAL_NS);
    h->timeout_ns = or_default(json_int(check, "Timeout"), DEFAULT_INTERVAL_NS);
    h->start_period_ns = json_int(check, "StartPeriod");
    h->start_interval_ns = json_int(check, "StartInterval");
    h->retries = (int)MIN(or_default(json_int(check, "Retries"), DEFAULT_RETRIES), INT32_MAX);
    h->status = "starting";
    h->fd = -EBADF;
    h->began_at = time_monotonic_ns();
    h->next_at = h->began_at + pause_of(h, h->began_at);
    pthread_mutex_lock(&t->lock);
    GROW(t->list, t->count, t->capacity);
    t->list[t->count++] = h;
    c->health = h;
    wake(t);
    pthread_mutex_unlock(&t->lock);
}

static json_t *shown(const struct health *h, const char *status) /* lock held */
{
    json_t *log = json_array();
    for (size_t i = 0; i < h->log_count; i++) {
        json_t *entry = json_object();
        inspect__set_time(entry, "Start", h->log[i].start_ns);
        inspect__set_time(entry, "End", h->log[i].end_ns);
        json_object_set_new(entry, "ExitCode", json_integer(h->log[i].exit_code));
        json_set_str(entry, "Output", h->log[i].output);
        json_array_append_new(log, entry);
    }
    json_t *o = json_object();
    json_set_str(o, "Status", status);
    json_object_set_new(o, "FailingStreak", json_integer(h->failing_streak));
    json_object_set_new(o, "Log", log);
    return o;
}

/* What the probes said stays to be read. Nothing tells of its health now: dockerd calls that unhealthy. */
void health__end(struct container *c)
{
    struct health_thread *t = c->engine->health;
    if (!t)
        return;
    pthread_mutex_lock(&t->lock);
    if (c->health) {
        _cleanup_json_ json_t *last = shown(c->health, "unhealthy");
        free(c->last_health);
        c->last_health = json_format(last);
        c->health->dead = true;
        c->health = NULL;
        wake(t);
    }
    pthread_mutex_unlock(&t->lock);
}

bool health__exited(struct engine *e, const struct keeper_exit *exit)
{
    if (!str_after(exit->exec_id, EXEC_PREFIX))
        return false;
    struct health_thread *t = e->health;
    _cleanup_container_ struct container *c = NULL;
    if (container__find(e, exit->id, &c, NULL) == 0)
        exec__die_event(c, exit);
    if (t) {
        pthread_mutex_lock(&t->lock);
        for (size_t i = 0; i < t->count; i++) {
            struct health *h = t->list[i];
            if (strcmp(h->exec_id, exit->exec_id) == 0) {
                h->exited = true;
                h->exit_code = exit->status;
                wake(t);
            }
        }
        pthread_mutex_unlock(&t->lock);
    }
    keeper_forget(e->keeper, exit->id, exit->exec_id, NULL);
    return true;
}

json_t *health__json(struct container *c)
{
    struct health_thread *t = c->engine->health;
    if (!t)
        return NULL;
    SCOPED_LOCK(lock, &t->lock);
    if (c->health)
        return shown(c->health, c->health->status);
    return c->last_health ? json_loads(c->last_health, JSON_ALLOW_NUL, NULL) : NULL;
}

const char *health__status(struct container *c)
{
    struct health_thread *t = c->engine->health;
    if (!t)
        return "";
    SCOPED_LOCK(lock, &t->lock);
    return c->health ? c->health->status : "";
}
