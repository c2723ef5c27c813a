#include "keeper/keeper.h"

#include "base/file.h"
#include "base/log.h"
#include "base/process.h"
#include "base/timeutil.h"
#include "keeper/client.h"
#include "keeper/daemon.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Small: a store of each is one page until it is used. The sanitizers need more than the code. */
enum { READER_STACK_BYTES = 256 * 1024, CONNECT_SECONDS = 30 };

static char *binary;

void keeper_set_binary(const char *path)
{
    free(binary);
    binary = mem_strdup(path);
}

/* It ends by itself when the other end of `wanted` is closed before it is the keeper. */
static int spawn(struct keeper *k, int wanted, struct err *err)
{
    const char *from_environment = getenv("DROVER_BINARY");
    _cleanup_free_ char *path = NULL;
    if (binary || !str_empty(from_environment)) {
        path = mem_strdup(binary ? binary : from_environment);
    } else {
        int r = process_self_path(&path, err);
        if (r < 0)
            return r;
        /* After an upgrade the name leads to another version, or nowhere; what runs can still be executed. */
        if (!file_exists(path)) {
            free(path);
            path = mem_strdup("/proc/self/exe");
        }
    }
    _cleanup_free_ char *log = str_printf("%s/keeper.log", k->dir);
    return process_spawn_daemon((const char *[]){path, "keeper", "--root", k->root, NULL}, wanted, log, err);
}

/* --- connecting --- */

struct greeting {
    pid_t pid;
    int64_t instance;
    uint32_t features;
    char version[64];
};

static int greet(int fd, struct greeting *ret, struct err *err)
{
    _cleanup_str_ struct str m = STR_INIT;
    char answer[4096];
    struct protocol_head head;
    struct protocol_reader r;
    struct timeval patience = {.tv_sec = CONNECT_SECONDS}, none = {0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    protocol_begin(&m, PROTOCOL_HELLO, 0);
    ssize_t n = file_send_fds(fd, m.data, m.len, NULL, 0, err);
    if (n >= 0)
        n = file_recv_fds(fd, answer, sizeof(answer), NULL, 0, NULL, err);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof(none));
    if (n == 0)
        return err_set(err, ERR_UNAVAILABLE, "the keeper closed the connection");
    if (n < 0)
        return err && err->sys == EAGAIN ? err_set(err, ERR_TIMEOUT, "the keeper does not answer")
                                         : err_set(err, ERR_UNAVAILABLE, "the keeper went away");
    if (!protocol_open(answer, (size_t)n, &head, &r) || head.type != PROTOCOL_REPLY)
        return err_set(err, ERR_PROTOCOL, "what listens on the keeper's socket is no keeper");
    int code = (int)protocol_get_u32(&r), sys = (int)protocol_get_u32(&r);
    const char *text = protocol_get_text(&r);
    if (code) {
        int result =
            err_set(err, code > 0 && code < ERR_MAX_ ? (enum err_code)code : ERR_PROTOCOL, "%s", text);
        if (err)
            err->sys = sys;
        return result;
    }
    *ret = (struct greeting){.pid = (pid_t)protocol_get_u32(&r)};
    if (r.bad)
        return err_set(err, ERR_PROTOCOL, "malformed greeting of the keeper");
    /* An older one stops here. */
    int64_t instance = protocol_get_i64(&r);
    uint32_t features = protocol_get_u32(&r);
    const char *version = protocol_get_text(&r);
    if (!r.bad) {
        ret->instance = instance;
        ret->features = features;
        snprintf(ret->version, sizeof(ret->version), "%s", version);
    }
    return 0;
}

static bool pause_before_retry(struct keeper *k, int ms)
{
    struct pollfd p = {.fd = k->wake_fd, .events = POLLIN};
    return poll(&p, 1, ms) == 0;
}

/* Reaches the keeper, starting one when none listens. Another's start may win; ours then ends by itself, also
 * when it comes up so late that the other has ended again. */
static int reach(struct keeper *k, int *ret_fd, struct greeting *ret, struct err *err)
{
    int wanted[2];
    if (pipe2(wanted, O_CLOEXEC) < 0)
        return err_sys(err, errno, "pipe");
    _cleanup_close_ int theirs = wanted[0], ours _unused_ = wanted[1];
    int64_t deadline = time_monotonic_ns() + CONNECT_SECONDS * NS_PER_S, next_spawn = 0,
            patience = NS_PER_S / 4;
    int r;
    for (int pause_ms = 1;; pause_ms = MIN(pause_ms * 2, 50)) {
        _cleanup_close_ int fd = -EBADF;
        int64_t now = time_monotonic_ns();
        r = file_connect_unix(k->socket, SOCK_SEQPACKET, &fd, err);
        if (r < 0 && now >= next_spawn) {
            struct err spawn_err;
            if (spawn(k, theirs, &spawn_err) < 0) {
                err_copy(err, &spawn_err);
                return err_wrap(err, "start the keeper");
            }
            /* A slow machine is not made faster by more of them. */
            next_spawn = now + patience;
            patience *= 2;
        }
        if (r == 0) {
            r = greet(fd, ret, err);
            if (r == 0) {
                *ret_fd = take_fd(&fd);
                return 0;
            }
            if (r != -ERR_UNAVAILABLE)
                return r;
        }
        if (now > deadline)
            return err_wrap(err, "the keeper cannot be reached, see %s/keeper.log", k->dir);
        if (!pause_before_retry(k, pause_ms))
            return err_set(err, ERR_CANCELLED, "closing");
    }
}

static void hand_back(struct keeper *k, int fd)
{
    struct map_entry *e;
    _cleanup_str_ struct str m = STR_INIT;
    for (size_t i = 0; (e = map_next(&k->held, &i));) {
        struct client_held *h = e->value;
        int fds[HELD_MAX];
        size_t count = 0;
        uint32_t mask = 0;
        for (int j = 0; j < HELD_MAX; j++) {
            if (h->fds[j] < 0)
                continue;
            mask |= 1u << j;
            fds[count++] = h->fds[j];
        }
        protocol_begin(&m, PROTOCOL_ADOPT, 0);
        protocol_put_text(&m, h->id);
        protocol_put_text(&m, h->exec_id);
        protocol_put_u32(&m, mask);
        if (file_send_fds(fd, m.data, m.len, fds, count, NULL) < 0)
            return; /* it has gone again: the next one gets them */
    }
}

/* Locked by the caller, or not yet shared. */
static void join_keeper(struct keeper *k, int fd, const struct greeting *g)
{
    _cleanup_str_ struct str m = STR_INIT;
    if (k->pid && (k->pid != g->pid || k->instance != g->instance)) {
        hand_back(k, fd);
        client__push_event(k, NULL);
    }
    protocol_begin(&m, PROTOCOL_READY, 0);
    file_send_fds(fd, m.data, m.len, NULL, 0, NULL);
    k->fd = fd;
    k->connection++;
    k->pid = g->pid;
    k->instance = g->instance;
    k->features = g->features;
    snprintf(k->version, sizeof(k->version), "%s", g->version);
    pthread_cond_broadcast(&k->changed);
}

/* --- the reader thread --- */

static void fail_pending(struct keeper *k)
{
    for (struct client_pending *p = k->pending; p; p = p->next) {
        p->done = true;
        p->lost = true;
        pthread_cond_signal(&p->cond);
    }
    k->pending = NULL;
}

static void take_reply(struct keeper *k, uint64_t number, const struct protocol_reader *r, int *fds,
                       size_t fd_count)
{
    for (struct client_pending **at = &k->pending; *at; at = &(*at)->next) {
        struct client_pending *p = *at;
        if (p->number != number)
            continue;
        *at = p->next;
        str_addn(&p->reply, r->at, (size_t)(r->end - r->at));
        if (fd_count)
            p->fd = take_fd(&fds[0]);
        p->done = true;
        pthread_cond_signal(&p->cond);
        return;
    }
}

static char *held_key(const char *id, const char *exec_id)
{
    return str_printf("%s/%s", id, exec_id);
}

static void take_hold(struct keeper *k, struct protocol_reader *r, int *fds, size_t fd_count)
{
    const char *id = protocol_get_text(r), *exec_id = protocol_get_text(r);
    uint32_t mask = protocol_get_u32(r);
    if (!protocol_end(r))
        return;
    struct client_held *h = NEW(struct client_held);
    h->id = mem_strdup(id);
    h->exec_id = mem_strdup(exec_id);
    for (size_t i = 0, at = 0; i < HELD_MAX; i++)
        h->fds[i] = mask & 1u << i && at < fd_count ? take_fd(&fds[at++]) : -EBADF;
    _cleanup_free_ char *key = held_key(id, exec_id);
    map_put(&k->held, key, h);
}

static void take_release(struct keeper *k, struct protocol_reader *r)
{
    const char *id = protocol_get_text(r), *exec_id = protocol_get_text(r);
    _cleanup_free_ char *key = held_key(id, exec_id);
    struct client_held *h = map_get(&k->held, key);
    if (h)
        h->fds[HELD_STDIN] = close_fd(h->fds[HELD_STDIN]);
}

void client__launched(struct keeper *k, const char *id, const char *exec_id, bool ok)
{
    _cleanup_free_ char *key = held_key(id, exec_id);
    pthread_mutex_lock(&k->lock);
    struct client_held *h = map_get(&k->held, key);
    /* Without a status it is another process of that name, which was there before. */
    if (h && h->fds[HELD_STATUS] >= 0) {
        h->fds[HELD_STATUS] = close_fd(h->fds[HELD_STATUS]);
        if (!ok)
            map_remove(&k->held, key);
    }
    pthread_mutex_unlock(&k->lock);
}

static void take_exit(struct keeper *k, struct protocol_reader *r)
{
    struct keeper_exit exit;
    protocol_get_exit(r, &exit);
    if (!protocol_end(r))
        return;
    _cleanup_free_ char *key = held_key(exit.id, exit.exec_id);
    map_remove(&k->held, key);
    client__push_event(k, &exit);
}

static void take_message(struct keeper *k, const void *bytes, size_t n, int *fds, size_t fd_count)
{
    struct protocol_head head;
    struct protocol_reader r;
    if (!protocol_open(bytes, n, &head, &r))
        return;
    pthread_mutex_lock(&k->lock);
    if (head.type == PROTOCOL_REPLY)
        take_reply(k, head.request, &r, fds, fd_count);
    else if (head.type == PROTOCOL_HOLD)
        take_hold(k, &r, fds, fd_count);
    else if (head.type == PROTOCOL_RELEASE)
        take_release(k, &r);
    else if (head.type == PROTOCOL_EXIT)
        take_exit(k, &r);
    pthread_mutex_unlock(&k->lock);
}

static void read_until_lost(struct keeper *k, char *buffer)
{
    for (;;) {
        int fds[FILE_MAX_FDS];
        size_t fd_count = 0;
        ssize_t n = file_recv_fds(k->fd, buffer, PROTOCOL_MAX_BYTES, fds, FILE_MAX_FDS, &fd_count, NULL);
        if (n <= 0)
            return;
        take_message(k, buffer, (size_t)n, fds, fd_count);
        for (size_t i = 0; i < fd_count; i++)
            close_fd(fds[i]);
    }
}

static bool reconnect(struct keeper *k)
{
    struct err err = {0};
    int fd;
    struct greeting greeting;
    for (;;) {
        int r = reach(k, &fd, &greeting, &err);
        if (r == 0)
            break;
        if (k->ending)
            return false;
        log_error("%s; trying again", err.msg);
        if (!pause_before_retry(k, 1000))
            return false;
    }
    pthread_mutex_lock(&k->lock);
    join_keeper(k, fd, &greeting);
    pthread_mutex_unlock(&k->lock);
    return true;
}

static void *reader_main(void *context)
{
    struct keeper *k = context;
    _cleanup_free_ char *buffer = mem_new(PROTOCOL_MAX_BYTES);
    for (;;) {
        read_until_lost(k, buffer);
        pthread_mutex_lock(&k->lock);
        k->fd = close_fd(k->fd);
        fail_pending(k);
        bool ending = k->ending;
        if (ending)
            k->gone = true;
        pthread_cond_broadcast(&k->changed);
        pthread_mutex_unlock(&k->lock);
        if (ending || !reconnect(k))
            return NULL;
    }
}

/* --- life --- */

static void held_free(void *p)
{
    struct client_held *h = p;
    for (int i = 0; i < HELD_MAX; i++)
        close_fd(h->fds[i]);
    free(h->id);
    free(h->exec_id);
    free(h);
}

static int start_threads(struct keeper *k, struct err *err)
{
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, READER_STACK_BYTES);
    int sys = pthread_create(&k->dispatcher, NULL, client__dispatcher_main, k);
    if (sys == 0) {
        sys = pthread_create(&k->reader, &attr, reader_main, k);
        if (sys) {
            client__stop_dispatcher(k);
            pthread_join(k->dispatcher, NULL);
        }
    }
    pthread_attr_destroy(&attr);
    return sys ? err_sys(err, sys, "start a thread") : 0;
}

static void keeper_free(struct keeper *k)
{
    client__drop_events(k);
    map_done(&k->held);
    close_fd(k->fd);
    close_fd(k->wake_fd);
    pthread_mutex_destroy(&k->lock);
    pthread_cond_destroy(&k->changed);
    free(k->root);
    free(k->dir);
    free(k->socket);
    str_free(&k->probe.reply);
    free(k);
}

/* Copies of the descriptors of all processes are held: several for each. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int keeper_open(const char *root, const struct keeper_callbacks *callbacks, struct keeper **ret,
                struct err *err)
{
    struct keeper *k = NEW(struct keeper);
    struct err local;
    err = err ? err : &local;
    k->root = mem_strdup(root);
    k->dir = str_printf("%s/keeper", root);
    k->socket = str_printf("%s/keeper.sock", k->dir);
    k->callbacks = *callbacks;
    k->held = MAP_INIT(held_free);
    k->fd = -EBADF;
    k->wake_fd = eventfd(0, EFD_CLOEXEC);
    pthread_mutex_init(&k->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&k->changed, &attr);
    pthread_condattr_destroy(&attr);
    raise_descriptor_limit();
    int fd = -EBADF;
    struct greeting greeting = {0};
    int r = k->wake_fd < 0 ? err_sys(err, errno, "eventfd") : file_mkdirs(k->dir, 0700, err);
    if (r == 0)
        r = reach(k, &fd, &greeting, err);
    if (r == 0) {
        join_keeper(k, fd, &greeting);
        r = start_threads(k, err);
    }
    if (r < 0) {
        keeper_free(k);
        return r;
    }
    *ret = k;
    return 0;
}

void keeper_close(struct keeper *k)
{
    if (!k)
        return;
    uint64_t one = 1;
    pthread_mutex_lock(&k->lock);
    k->ending = true;
    if (k->fd >= 0)
        shutdown(k->fd, SHUT_RDWR);
    pthread_mutex_unlock(&k->lock);
    ssize_t ignored _unused_ = write(k->wake_fd, &one, sizeof(one));
    pthread_join(k->reader, NULL);
    client__stop_dispatcher(k);
    pthread_join(k->dispatcher, NULL);
    keeper_free(k);
}

bool keeper_may_hold(const char *root)
{
    _cleanup_free_ char *path = str_printf("%s/keeper", root), *socket = str_printf("%s/keeper.sock", path);
    int fd;
    if (file_connect_unix(socket, SOCK_SEQPACKET, &fd, NULL) == 0) {
        close(fd);
        return true;
    }
    return record_any(path);
}

pid_t keeper_pid(struct keeper *k)
{
    pthread_mutex_lock(&k->lock);
    pid_t pid = k->pid;
    pthread_mutex_unlock(&k->lock);
    return pid;
}

int keeper_shutdown(struct keeper *k, struct err *err)
{
    _cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, keeper_pid(k), 0);
    pthread_mutex_lock(&k->lock);
    k->ending = true; /* its end is no reason to start another */
    pthread_mutex_unlock(&k->lock);
    _cleanup_str_ struct str m = STR_INIT;
    protocol_begin(&m, PROTOCOL_SHUTDOWN, 0);
    int r = client__call(k, &m, NULL, 0, NULL, NULL, err);
    if (r < 0) {
        pthread_mutex_lock(&k->lock);
        k->ending = k->gone;
        pthread_mutex_unlock(&k->lock);
        return r;
    }
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    if (pidfd >= 0 && poll(&p, 1, CONNECT_SECONDS * 1000) == 0)
        return err_set(err, ERR_TIMEOUT, "the keeper (pid %d) has agreed to end, and does not", k->pid);
    return 0;
}
