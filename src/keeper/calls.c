#include "base/file.h"
#include "base/json.h"
#include "base/timeutil.h"
#include "keeper/client.h"
#include "keeper/policy.h"
#include "runtime/cgroup.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { RECONNECT_PATIENCE_SECONDS = 20, MAX_TRIES = 100 };

/* Locked. Requests wait for a reconnect under way: it is short, and the caller has nothing better to do. */
static int wait_connected(struct keeper *k, struct err *err)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += RECONNECT_PATIENCE_SECONDS;
    while (k->fd < 0) {
        if (k->gone)
            return err_set(err, ERR_UNAVAILABLE, "the keeper was shut down");
        if (pthread_cond_timedwait(&k->changed, &k->lock, &until) == ETIMEDOUT)
            return err_set(err, ERR_UNAVAILABLE, "no keeper could be reached for %d s, see %s/keeper.log",
                           RECONNECT_PATIENCE_SECONDS, k->dir);
    }
    return 0;
}

static void unlink_pending(struct keeper *k, const struct client_pending *p)
{
    struct client_pending **at = &k->pending;
    while (*at && *at != p)
        at = &(*at)->next;
    if (*at)
        *at = p->next;
}

/* Sends and waits; p->lost when the connection broke before the answer. */
static int try_once(struct keeper *k, struct client_pending *p, const struct str *m, const int *fds,
                    size_t fd_count, struct err *err)
{
    struct err own = {0};
    uint64_t connection = k->connection;
    p->done = p->lost = false;
    p->next = k->pending;
    k->pending = p;
    if (file_send_fds(k->fd, m->data, m->len, fds, fd_count, &own) < 0) {
        unlink_pending(k, p);
        if (own.sys != EPIPE && own.sys != ECONNRESET && own.sys != ENOTCONN) {
            err_copy(err, &own);
            return err_wrap(err, "ask the keeper");
        }
        /* The reader notices by itself. */
        while (k->connection == connection && k->fd >= 0)
            pthread_cond_wait(&k->changed, &k->lock);
        p->lost = true;
        return 0;
    }
    while (!p->done)
        pthread_cond_wait(&p->cond, &k->lock);
    return 0;
}

/* When the keeper dies before it answers, the next one is asked again, and told so: what the first had begun,
 * it finds and goes on with. A signal may be sent twice that way. */
static int send_and_wait(struct keeper *k, struct client_pending *p, struct str *m, const int *fds,
                         size_t fd_count, struct err *err)
{
    struct protocol_head head;
    if (m->len > PROTOCOL_MAX_BYTES)
        return err_set(err, ERR_LIMIT, "the request to the keeper is too large: %zu bytes", m->len);
    memcpy(&head, m->data, sizeof(head));
    head.request = ++k->next_number;
    p->number = head.request;
    for (int tries = 0; tries < MAX_TRIES; tries++) {
        int r = wait_connected(k, err);
        if (r < 0)
            return r;
        memcpy(m->data, &head, sizeof(head));
        r = try_once(k, p, m, fds, fd_count, err);
        if (r < 0 || !p->lost)
            return r;
        if (head.type == PROTOCOL_SHUTDOWN || k->ending)
            break;
        head.type |= PROTOCOL_AGAIN;
    }
    return err_set(err, ERR_UNAVAILABLE, "the keeper ended before it answered");
}

static int read_answer(struct client_pending *p, struct str *ret, struct err *err)
{
    struct protocol_reader r = {p->reply.data, p->reply.data + p->reply.len, false};
    uint32_t code = protocol_get_u32(&r), sys = protocol_get_u32(&r);
    const char *text = protocol_get_text(&r);
    if (r.bad || code >= ERR_MAX_)
        return err_set(err, ERR_PROTOCOL, "malformed answer of the keeper");
    if (code) {
        err_set(err, (enum err_code)code, "%s", text);
        if (err)
            err->sys = (int)sys;
        return -(int)code;
    }
    if (ret)
        str_addn(ret, r.at, (size_t)(r.end - r.at));
    return 0;
}

int client__call(struct keeper *k, struct str *m, const int *fds, size_t fd_count, struct str *ret,
                 int *ret_fd, struct err *err)
{
    struct client_pending p = {.fd = -EBADF, .cond = PTHREAD_COND_INITIALIZER};
    pthread_mutex_lock(&k->lock);
    int r = send_and_wait(k, &p, m, fds, fd_count, err);
    pthread_mutex_unlock(&k->lock);
    if (r == 0)
        r = read_answer(&p, ret, err);
    str_free(&p.reply);
    if (r == 0 && ret_fd)
        *ret_fd = take_fd(&p.fd);
    close_fd(p.fd);
    return r;
}

static void begin(struct str *m, enum protocol_type type, const char *id, const char *exec_id)
{
    protocol_begin(m, type, 0);
    protocol_put_text(m, id);
    protocol_put_text(m, exec_id);
}

static int call_for_pid(struct keeper *k, struct str *m, const int *fds, size_t fd_count, pid_t *ret_pid,
                        struct err *err)
{
    _cleanup_str_ struct str answer = STR_INIT;
    int r = client__call(k, m, fds, fd_count, &answer, NULL, err);
    if (r < 0)
        return r;
    struct protocol_reader reader = {answer.data, answer.data + answer.len, false};
    pid_t pid = (pid_t)protocol_get_u32(&reader);
    if (ret_pid)
        *ret_pid = pid;
    return 0;
}

static int json_memfd(const json_t *value, int *ret_fd, struct err *err)
{
    _cleanup_free_ char *text = json_format(value);
    size_t n = strlen(text);
    if (n > PROTOCOL_MAX_SPEC_BYTES)
        return err_set(err, ERR_LIMIT, "the container's config is larger than %d bytes",
                       PROTOCOL_MAX_SPEC_BYTES);
    return protocol_memfd(text, n, ret_fd, err);
}

static bool keeper_can(struct keeper *k, enum protocol_feature feature)
{
    pthread_mutex_lock(&k->lock);
    bool can = k->features & feature;
    pthread_mutex_unlock(&k->lock);
    return can;
}

int keeper_start(struct keeper *k, const struct keeper_start *start, pid_t *ret_pid, struct err *err)
{
    _cleanup_close_ int spec = -EBADF;
    _cleanup_str_ struct str m = STR_INIT;
    int fds[1 + PROTOCOL_MAX_PASSED + PROTOCOL_MAX_ATTACHED];
    size_t n = 0;
    if (start->fd_count > PROTOCOL_MAX_PASSED || start->attach_count > PROTOCOL_MAX_ATTACHED)
        return err_set(err, ERR_LIMIT, "at most %d descriptors and %d streams can be given",
                       PROTOCOL_MAX_PASSED, PROTOCOL_MAX_ATTACHED);
    _cleanup_json_ json_t *shortened = keeper_can(k, PROTOCOL_DEFAULTS) ? policy_shorten(start->spec) : NULL;
    int r = json_memfd(shortened ? shortened : start->spec, &spec, err);
    if (r < 0)
        return r;
    fds[n++] = spec;
    for (size_t i = 0; i < start->fd_count; i++)
        fds[n++] = start->fds[i];
    for (size_t i = 0; i < start->attach_count; i++)
        fds[n++] = start->attach_fds[i];
    protocol_begin(&m, PROTOCOL_START, 0);
    protocol_put_start(&m, start);
    r = call_for_pid(k, &m, fds, n, ret_pid, err);
    client__launched(k, start->id, "", r == 0);
    return r;
}

int keeper_exec(struct keeper *k, const struct keeper_exec *exec, pid_t *ret_pid, struct err *err)
{
    _cleanup_close_ int process = -EBADF;
    _cleanup_str_ struct str m = STR_INIT;
    int fds[1 + PROTOCOL_MAX_ATTACHED];
    size_t n = 0;
    if (exec->attach_count > PROTOCOL_MAX_ATTACHED)
        return err_set(err, ERR_LIMIT, "at most %d streams can be given", PROTOCOL_MAX_ATTACHED);
    int r = json_memfd(exec->process, &process, err);
    if (r < 0)
        return r;
    fds[n++] = process;
    for (size_t i = 0; i < exec->attach_count; i++)
        fds[n++] = exec->attach_fds[i];
    protocol_begin(&m, PROTOCOL_EXEC, 0);
    protocol_put_exec(&m, exec);
    r = call_for_pid(k, &m, fds, n, ret_pid, err);
    client__launched(k, exec->id, exec->exec_id, r == 0);
    return r;
}

int keeper_attach(struct keeper *k, const char *id, const char *exec_id, int fd, int flags, struct err *err)
{
    _cleanup_str_ struct str m = STR_INIT;
    begin(&m, PROTOCOL_ATTACH, id, exec_id);
    protocol_put_u32(&m, (uint32_t)flags);
    return client__call(k, &m, &fd, 1, NULL, NULL, err);
}

int keeper_kill(struct keeper *k, const char *id, const char *exec_id, int signal, bool all, struct err *err)
{
    _cleanup_str_ struct str m = STR_INIT;
    begin(&m, PROTOCOL_KILL, id, exec_id);
    protocol_put_u32(&m, (uint32_t)signal);
    protocol_put_u32(&m, all);
    return client__call(k, &m, NULL, 0, NULL, NULL, err);
}

int keeper_resize(struct keeper *k, const char *id, const char *exec_id, int rows, int columns,
                  struct err *err)
{
    _cleanup_str_ struct str m = STR_INIT;
    begin(&m, PROTOCOL_RESIZE, id, exec_id);
    protocol_put_u32(&m, (uint32_t)rows);
    protocol_put_u32(&m, (uint32_t)columns);
    return client__call(k, &m, NULL, 0, NULL, NULL, err);
}

static int try_pause(struct keeper *k, const char *id, bool paused, struct err *err)
{
    _cleanup_str_ struct str m = STR_INIT;
    begin(&m, PROTOCOL_PAUSE, id, "");
    protocol_put_u32(&m, paused);
    return client__call(k, &m, NULL, 0, NULL, NULL, err);
}

int keeper_pause(struct keeper *k, const char *id, bool paused, struct err *err)
{
    int64_t deadline = time_monotonic_ns() + CGROUP_FREEZE_NS;
    int r;
    while ((r = try_pause(k, id, paused, err)) == -ERR_TIMEOUT && time_monotonic_ns() < deadline)
        time_sleep_ns(CGROUP_FREEZE_PAUSE_NS);
    return r;
}

int keeper_close_stdin(struct keeper *k, const char *id, const char *exec_id, struct err *err)
{
    _cleanup_str_ struct str m = STR_INIT;
    begin(&m, PROTOCOL_CLOSE_STDIN, id, exec_id);
    return client__call(k, &m, NULL, 0, NULL, NULL, err);
}

int keeper_forget(struct keeper *k, const char *id, const char *exec_id, struct err *err)
{
    _cleanup_str_ struct str m = STR_INIT;
    begin(&m, PROTOCOL_FORGET, id, exec_id);
    return client__call(k, &m, NULL, 0, NULL, NULL, err);
}

void keeper_forget_later(struct keeper *k, const char *id)
{
    _cleanup_str_ struct str m = STR_INIT;
    begin(&m, PROTOCOL_FORGET, id, ""); /* request 0: nobody takes the answer */
    pthread_mutex_lock(&k->lock);
    if (k->fd >= 0)
        file_send_fds(k->fd, m.data, m.len, NULL, 0, NULL);
    pthread_mutex_unlock(&k->lock);
}

int keeper_counters(struct keeper *k, const char *id, struct keeper_counters *ret, struct err *err)
{
    _cleanup_str_ struct str m = STR_INIT;
    _cleanup_str_ struct str answer = STR_INIT;
    pthread_mutex_lock(&k->lock);
    bool can = k->fd >= 0 && k->features & PROTOCOL_COUNTS;
    pthread_mutex_unlock(&k->lock);
    *ret = (struct keeper_counters){0};
    if (!can)
        return 0;
    begin(&m, PROTOCOL_COUNTERS, id, "");
    int r = client__call(k, &m, NULL, 0, &answer, NULL, err);
    if (r < 0)
        return r;
    struct protocol_reader reader = {answer.data, answer.data + answer.len, false};
    ret->log_dropped_bytes = protocol_get_i64(&reader);
    ret->readers_dropped = protocol_get_i64(&reader);
    return reader.bad ? err_set(err, ERR_PROTOCOL, "malformed counters of the keeper") : 0;
}

/* Locked. */
static void probe(struct keeper *k)
{
    _cleanup_str_ struct str m = STR_INIT;
    struct client_pending *p = &k->probe;
    if (k->probes && !p->done)
        return;
    if (k->probes && (!p->lost || k->fd >= 0)) /* a keeper that has taken another's place begins anew */
        k->silent_since = 0;
    k->probes = false;
    if (!k->silent_since)
        k->silent_since = time_monotonic_ns();
    str_clear(&p->reply);
    if (k->fd < 0)
        return;
    *p = (struct client_pending){.next = k->pending,
                                 .number = ++k->next_number,
                                 .cond = PTHREAD_COND_INITIALIZER,
                                 .reply = p->reply,
                                 .fd = -EBADF};
    begin(&m, PROTOCOL_COUNTERS, "-", ""); /* of nobody: an answer all the same */
    struct protocol_head head;
    memcpy(&head, m.data, sizeof(head));
    head.request = p->number;
    memcpy(m.data, &head, sizeof(head));
    k->pending = p;
    k->probes = true;
    if (file_send_fds(k->fd, m.data, m.len, NULL, 0, NULL) < 0) {
        unlink_pending(k, p);
        p->done = p->lost = true;
    }
}

int64_t keeper_silence_ns(struct keeper *k)
{
    /* Who has the lock may be sending to a keeper that reads no more. */
    if (pthread_mutex_trylock(&k->lock) == 0) {
        probe(k);
        pthread_mutex_unlock(&k->lock);
    }
    int64_t since = k->silent_since, now = time_monotonic_ns();
    return since ? MAX(now - since, INT64_C(0)) : 0;
}

int keeper_upgrade(struct keeper *k, const char *path, struct err *err)
{
    _cleanup_str_ struct str m = STR_INIT;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "open %s", path);
    if (!keeper_can(k, PROTOCOL_CAN_UPGRADE))
        return err_set(err, ERR_UNSUPPORTED,
                       "the running keeper is of a version that cannot be replaced: stop all "
                       "containers, then run drover shutdown");
    protocol_begin(&m, PROTOCOL_UPGRADE, 0);
    return client__call(k, &m, &fd, 1, NULL, NULL, err);
}

static bool get_process(struct protocol_reader *r, struct keeper_process *p)
{
    p->state = protocol_get_u32(r) ? KEEPER_EXITED : KEEPER_RUNNING;
    p->pid = (pid_t)protocol_get_u32(r);
    p->started_ns = protocol_get_i64(r);
    protocol_get_exit(r, &p->exit);
    snprintf(p->id, sizeof(p->id), "%s", p->exit.id);
    snprintf(p->exec_id, sizeof(p->exec_id), "%s", p->exit.exec_id);
    p->exit.id = p->id;
    p->exit.exec_id = p->exec_id;
    return !r->bad;
}

int keeper_list(struct keeper *k, struct keeper_process **ret, size_t *ret_count, struct err *err)
{
    _cleanup_str_ struct str m = STR_INIT;
    _cleanup_str_ struct str answer = STR_INIT;
    _cleanup_str_ struct str items = STR_INIT;
    _cleanup_close_ int fd = -EBADF;
    protocol_begin(&m, PROTOCOL_LIST, 0);
    int r = client__call(k, &m, NULL, 0, &answer, &fd, err);
    if (r == 0)
        r = file_read_fd(fd, SIZE_MAX / 4, &items, err);
    if (r < 0)
        return r;
    struct protocol_reader head = {answer.data, answer.data + answer.len, false};
    struct protocol_reader body = {items.data, items.data + items.len, false};
    uint32_t count = protocol_get_u32(&head);
    struct keeper_process *list = NEW_N(struct keeper_process, (size_t)count + 1);
    for (uint32_t i = 0; i < count; i++) {
        if (!get_process(&body, &list[i])) {
            free(list);
            return err_set(err, ERR_PROTOCOL, "malformed list of the keeper");
        }
    }
    *ret = list;
    *ret_count = count;
    return 0;
}
