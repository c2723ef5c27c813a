/* The threads that wait for connections and run handlers, and the clock of those that are parked.
 *
 *     woken by an event --> works --> waits again, when few do
 *                  ^                   |
 *                  |                   +--> rests, until one that works for long calls it; ends after a while
 *                  +------------------------+
 *
 * Few wait at the same time, as each event wakes one that does: where a hundred do, a hundred requests that
 * two could answer one after the other cost a hundred changes of threads. */
#include "http/server_priv.h"

#include "base/log.h"
#include "base/timeutil.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
    /* Threads that stay when there is nothing to do: one to answer, and one to wait meanwhile. */
    SPARE_THREADS = 2,
    LISTENERS_MAX = 16,
    SPARE_MS = 10 * 1000,
    /* A handler's own, and libraries'. */
    STACK_BYTES = 512 << 10,
    LINGER_MS = 2000,
};

static void unlink_conn(struct http_server *s, struct http_conn *c)
{
    *(c->prev ? &c->prev->next : &s->first[c->place]) = c->next;
    *(c->next ? &c->next->prev : &s->last[c->place]) = c->prev;
    c->next = c->prev = NULL;
}

static void move_conn(struct http_server *s, struct http_conn *c, enum http_place to)
{
    unlink_conn(s, c);
    c->place = to;
    c->prev = s->last[to];
    *(c->prev ? &c->prev->next : &s->first[to]) = c;
    s->last[to] = c;
}

void http__conn_enter(struct http_conn *c)
{
    struct http_server *s = c->server;
    pthread_mutex_lock(&s->lock);
    c->place = CONN_BUSY;
    c->prev = s->last[CONN_BUSY];
    *(c->prev ? &c->prev->next : &s->first[CONN_BUSY]) = c;
    s->last[CONN_BUSY] = c;
    s->conns++;
    pthread_mutex_unlock(&s->lock);
}

void http__conn_close(struct http_conn *c)
{
    struct http_server *s = c->server;
    pthread_mutex_lock(&s->lock);
    unlink_conn(s, c);
    s->conns--;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    http__conn_free(c);
}

static void set_timer(struct http_server *s, int64_t at)
{
    s->timer_at = at;
    struct itimerspec when = {.it_value = {.tv_sec = at / NS_PER_S, .tv_nsec = at % NS_PER_S}};
    timerfd_settime(s->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void rearm(struct http_server *s, int fd, void *what)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLONESHOT, .data.ptr = what};
    if (epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, fd, &event) < 0)
        log_error("http: watch a descriptor: %m");
}

static int64_t timeout_ns(const struct http_server *s, enum http_place place)
{
    return place == CONN_LINGER ? LINGER_MS * NS_PER_MS
           : place == CONN_HEAD ? s->config.head_timeout_s * NS_PER_S
                                : s->config.idle_timeout_s * NS_PER_S;
}

/* A head's time runs from its first byte, so that one that trickles in does not last; lingering has one end.
 * Else the deadlines in each list are in order, since every place has one length of time. */
void http__conn_park(struct http_conn *c, enum http_place place)
{
    struct http_server *s = c->server;
    int64_t began = place == CONN_HEAD && c->began ? c->began : time_monotonic_ns();
    if (place != CONN_LINGER || !c->lingers)
        c->deadline = began + timeout_ns(s, place);
    c->lingers = place == CONN_LINGER;
    pthread_mutex_lock(&s->lock);
    move_conn(s, c, place);
    if (!s->timer_at || c->deadline < s->timer_at)
        set_timer(s, c->deadline);
    bool stopping = s->stopping;
    pthread_mutex_unlock(&s->lock);
    /* From here on another thread may have it. */
    int fd = c->fd;
    if (stopping)
        shutdown(fd, SHUT_RDWR);
    if (c->registered)
        return rearm(s, fd, c);
    c->registered = true;
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLONESHOT, .data.ptr = c};
    if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        log_error("http: watch a connection: %m");
        http__conn_close(c);
    }
}

void http__conn_unpark(struct http_conn *c)
{
    struct http_server *s = c->server;
    pthread_mutex_lock(&s->lock);
    move_conn(s, c, CONN_BUSY);
    pthread_mutex_unlock(&s->lock);
}

/* With the lock held: its owner to be finds it ended. */
static void doom(struct http_server *s, struct http_conn *c)
{
    if (c->doomed)
        return;
    c->doomed = true;
    shutdown(c->fd, SHUT_RDWR);
}

bool http__evict_one(struct http_server *s)
{
    static const enum http_place order[] = {CONN_LINGER, CONN_IDLE, CONN_HEAD};
    for (size_t i = 0; i < ARRAY_SIZE(order); i++)
        for (struct http_conn *c = s->first[order[i]]; c; c = c->next)
            if (!c->doomed) {
                doom(s, c);
                /* The next one to go must not be looked for behind all that are going. */
                move_conn(s, c, c->place);
                return true;
            }
    return false;
}

void http__doom_parked(struct http_server *s)
{
    for (int place = CONN_IDLE; place < CONN_PLACES; place++)
        for (struct http_conn *c = s->first[place]; c; c = c->next)
            doom(s, c);
}

/* The timer: ends what has been parked for too long. */
static void sweep(struct http_server *s)
{
    uint64_t expirations;
    (void)!read(s->timer_fd, &expirations, sizeof(expirations));
    pthread_mutex_lock(&s->lock);
    int64_t now = time_monotonic_ns(), next = 0;
    for (int place = CONN_IDLE; place < CONN_PLACES; place++)
        for (struct http_conn *c = s->first[place]; c; c = c->next) {
            if (c->doomed)
                continue;
            if (c->deadline > now) {
                next = !next || c->deadline < next ? c->deadline : next;
                if (place != CONN_LINGER)
                    break;
                continue;
            }
            doom(s, c);
        }
    s->timer_at = 0;
    if (next)
        set_timer(s, next);
    bool resume = s->accept_paused && !s->stopping;
    s->accept_paused = false;
    pthread_mutex_unlock(&s->lock);
    rearm(s, s->timer_fd, &s->timer_fd);
    if (resume)
        rearm(s, s->listen_fd, &s->listen_fd);
}

/* --- threads --- */

static void *run_thread(void *argument);

/* Signals belong to the process's main thread. */
static bool spawn(struct http_server *s)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    int r = pthread_create(&thread, &attributes, run_thread, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (r == 0) {
        s->threads++;
        s->waiting++;
    }
    return r == 0;
}

int http__threads_start(struct http_server *s, struct err *err)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    s->listeners_max = (size_t)MAX(MIN(cores, (long)LISTENERS_MAX), (long)SPARE_THREADS);
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < SPARE_THREADS; i++)
        spawn(s);
    bool any = s->threads > 0;
    pthread_mutex_unlock(&s->lock);
    return any ? 0 : err_set(err, ERR_SYSTEM, "start the HTTP server: the system gives no threads");
}

/* With the lock held: one that rests waits again. */
static bool call_rested(struct http_server *s)
{
    if (s->called == s->resting)
        return false;
    s->called++;
    s->waiting++;
    pthread_cond_signal(&s->call);
    return true;
}

/* Late, since most that a thread is woken for is done by the time that another one would have come to its
 * place: a thread that is prompt counts as one that waits. */
bool http__hand_over(struct http_conn *c)
{
    struct http_server *s = c->server;
    struct http_worker *w = c->worker;
    if (w->handed_over)
        return w->relieved;
    w->handed_over = true;
    pthread_mutex_lock(&s->lock);
    s->waiting--;
    w->relieved = s->waiting > 0 || call_rested(s) || spawn(s);
    pthread_mutex_unlock(&s->lock);
    return w->relieved;
}

/* How long the next wait is; -1: for ever; 0: only for what is there already. */
static int enter_waiting(struct http_server *s)
{
    pthread_mutex_lock(&s->lock);
    s->waiting++;
    int timeout_ms = s->waiting > s->listeners_max ? 0 : s->waiting > SPARE_THREADS ? SPARE_MS : -1;
    pthread_mutex_unlock(&s->lock);
    return timeout_ms;
}

/* When more than enough wait, this one does not: false when it is to end. */
static bool rest(struct http_server *s)
{
    int64_t until = time_monotonic_ns() + SPARE_MS * NS_PER_MS;
    struct timespec at = {.tv_sec = until / NS_PER_S, .tv_nsec = until % NS_PER_S};
    bool called = true;
    pthread_mutex_lock(&s->lock);
    if (s->waiting > s->listeners_max && !s->ended) {
        s->waiting--;
        s->resting++;
        while (!s->called && !s->ended && pthread_cond_timedwait(&s->call, &s->lock, &at) == 0)
            ;
        called = s->called > 0;
        s->called -= called;
        s->resting--;
    }
    pthread_mutex_unlock(&s->lock);
    return called;
}

void http__threads_end(struct http_server *s)
{
    uint64_t one = 1;
    (void)!write(s->stop_fd, &one, sizeof(one)); /* its first: it cannot be full */
    s->ended = true;
    pthread_cond_broadcast(&s->call);
}

/* After a wait in vain: false when the thread is to end. */
static bool stay(struct http_server *s)
{
    pthread_mutex_lock(&s->lock);
    bool wanted = s->waiting <= SPARE_THREADS;
    if (!wanted)
        s->waiting--;
    pthread_mutex_unlock(&s->lock);
    return wanted;
}

static void end_thread(struct http_server *s)
{
    pthread_mutex_lock(&s->lock);
    s->threads--;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

static void *run_thread(void *argument)
{
    struct http_server *s = argument;
    int timeout_ms = -1;
    for (;;) {
        struct epoll_event event;
        int n = epoll_wait(s->epoll_fd, &event, 1, timeout_ms);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            if (n == 0 && (timeout_ms == 0 ? rest(s) : stay(s))) {
                timeout_ms = timeout_ms == 0 ? SPARE_MS : -1;
                continue;
            }
            break;
        }
        if (event.data.ptr == &s->stop_fd)
            break; /* stays readable: for all */
        struct http_worker worker = {0};
        if (event.data.ptr == &s->timer_fd)
            sweep(s);
        else if (event.data.ptr == &s->listen_fd)
            http__accept(s, &worker);
        else
            http__conn_ready(event.data.ptr, &worker);
        if (worker.handed_over)
            timeout_ms = enter_waiting(s);
    }
    end_thread(s);
    return NULL;
}

/* --- accepting --- */

/* Out of descriptors: until one is free, or a moment has gone. */
static void pause_accepting(struct http_server *s)
{
    pthread_mutex_lock(&s->lock);
    bool evicted = http__evict_one(s);
    if (!evicted && !s->stopping) {
        s->accept_paused = true;
        set_timer(s, time_monotonic_ns() + 100 * NS_PER_MS);
    }
    bool paused = s->accept_paused;
    pthread_mutex_unlock(&s->lock);
    if (!paused)
        rearm(s, s->listen_fd, &s->listen_fd);
}

void http__accept(struct http_server *s, struct http_worker *w)
{
    int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    int why = errno;
    if (fd < 0 && (why == EMFILE || why == ENFILE || why == ENOMEM || why == ENOBUFS)) {
        log_warning("http: accept a connection: %s", strerror(why));
        return pause_accepting(s);
    }
    if (fd < 0 && why != EAGAIN && why != EINTR && why != ECONNABORTED)
        return; /* shut: the server stops */
    rearm(s, s->listen_fd, &s->listen_fd);
    if (fd < 0)
        return;
    struct http_conn *c = http__conn_new(s, fd);
    http__conn_enter(c);
    pthread_mutex_lock(&s->lock);
    if (s->conns > s->conns_max)
        http__evict_one(s);
    pthread_mutex_unlock(&s->lock);
    http__conn_serve(c, w);
}
