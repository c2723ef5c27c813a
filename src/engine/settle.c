/* The moment after a start. dockerd answers a start some tens of milliseconds after the program has begun;
 * what is asked for next was written with that in mind. */
#include "engine/engine_priv.h"

#include "base/file.h"

/* Who starts a program that does not listen is not to wait for long. */
enum { SETTLE_MS = 200, LISTEN_MS = 100, LOOK_MS = 3, TABLE_MAX = 1 << 20 };

/* One more wait of a container that runs, at most `ms` and until `within_ms` after its start; false: it is
 * over. */
static bool wait_for_end(struct container *c, int64_t ms, int64_t within_ms)
{
    SCOPED_LOCK(locked, &c->lock);
    int64_t since =
        time_now_ns() - c->state.started_ns; /* below 0: the clock was set, and nothing is known */
    int64_t left = since < 0 ? 0 : MIN(within_ms * NS_PER_MS - since, ms * NS_PER_MS);
    int64_t at = time_monotonic_ns() + left;
    struct timespec until = {.tv_sec = at / NS_PER_S, .tv_nsec = at % NS_PER_S};
    for (int r = 0; r == 0 && left > 0 && c->state.status == STATUS_RUNNING;)
        r = pthread_cond_timedwait(&c->changed, &c->lock, &until);
    return left > 0 && c->state.status == STATUS_RUNNING;
}

void engine_container_settle(struct engine *e, const char *ref)
{
    _cleanup_container_ struct container *c = NULL;
    if (container__find(e, ref, &c, NULL) == 0)
        wait_for_end(c, SETTLE_MS, SETTLE_MS);
}

/* Whether a line of /proc/PID/net/tcp is of a socket that listens on one of the ports that are published. */
static bool listens(const char *line, const json_t *ports)
{
    unsigned port, state;
    char name[16];
    if (sscanf(line, " %*u: %*[0-9A-F]:%x %*[0-9A-F]:%*x %x", &port, &state) != 2 || state != 0x0a)
        return false;
    snprintf(name, sizeof(name), "%u/tcp", port);
    return json_array_size(json_object_get(ports, name)) > 0;
}

static bool any_listens(pid_t pid, const json_t *ports)
{
    static const char *const tables[] = {"tcp", "tcp6"};
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
        char path[64];
        _cleanup_str_ struct str text = STR_INIT;
        snprintf(path, sizeof(path), "/proc/%d/net/%s", (int)pid, tables[i]);
        if (file_read(path, TABLE_MAX, &text, NULL) < 0)
            continue;
        _cleanup_strv_ char **lines = strv_split(str_get(&text), '\n');
        STRV_FOREACH (line, lines)
            if (listens(*line, ports))
                return true;
    }
    return false;
}

static bool publishes_tcp(const json_t *ports)
{
    const char *name;
    json_t *bindings;
    json_object_foreach ((json_t *)ports, name, bindings)
        if (json_array_size(bindings) && strstr(name, "/tcp"))
            return true;
    return false;
}

void engine_container_await_port(struct engine *e, const char *ref)
{
    _cleanup_container_ struct container *c = NULL;
    if (container__find(e, ref, &c, NULL) < 0)
        return;
    _cleanup_json_ json_t *net = container__net(c);
    const json_t *ports = json_object_get(net, "Ports");
    pid_t pid = container__state(c).pid;
    if (publishes_tcp(ports) && pid > 0)
        while (!any_listens(pid, ports) && wait_for_end(c, LOOK_MS, LISTEN_MS))
            ;
}
