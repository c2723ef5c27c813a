/* Network namespaces made before somebody needs them. See net_namespace_take(). */
#include "net/priv.h"

#include "base/file.h"
#include "base/log.h"
#include "base/timeutil.h"

#include <sys/resource.h>
#include <unistd.h>

enum {
    FIRST_TARGET = 4,
    STACK_BYTES = 128 << 10,
    PERIOD_MS = 30 * 1000,
    NICER = 5, /* not idle priority: the kernel's lock of all network configuration is held meanwhile */
};

struct net__pool {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int fds[NET__POOL_MAX]; /* oldest first */
    size_t count, target;
    size_t lowest; /* what takings left at least, in this period: so many were not needed */
    int64_t period_ns, period_end_ns;
    pthread_t thread;
    bool joinable, running; /* a thread that has nothing to keep ends, and is joined by the next */
    bool failed;            /* the kernel makes no more: not tried again before the next one is taken */
    bool closing;
};

struct net__pool *net__pool_new(void)
{
    struct net__pool *p = NEW(struct net__pool);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    p->period_ns = (int64_t)PERIOD_MS * 1000000;
    return p;
}

static int oldest(struct net__pool *p)
{
    int fd = p->fds[0];
    memmove(p->fds, p->fds + 1, --p->count * sizeof(p->fds[0]));
    return fd;
}

static void shrink(struct net__pool *p, size_t target)
{
    p->target = target;
    while (p->count > target)
        close(oldest(p));
}

/* The lock is held, but not while the kernel works. */
static void add_one(struct net__pool *p)
{
    int fd = -EBADF;
    struct err err;
    pthread_mutex_unlock(&p->lock);
    int r = net_namespace_new(&fd, &err);
    pthread_mutex_lock(&p->lock);
    if (r < 0) {
        p->failed = true;
        log_debug("no network namespace in advance: %s", err.msg);
    } else
        p->fds[p->count++] = fd;
}

static void end_period(struct net__pool *p, int64_t now)
{
    if (p->failed || (p->lowest && 2 * p->lowest >= p->target))
        shrink(p, p->target / 2);
    p->lowest = p->count;
    p->period_end_ns = now + p->period_ns;
}

static void *work(void *context)
{
    struct net__pool *p = context;
    setpriority(PRIO_PROCESS, (id_t)gettid(), NICER);
    pthread_mutex_lock(&p->lock);
    while (!p->closing && p->target) {
        int64_t now = time_monotonic_ns(), until = p->period_end_ns;
        struct timespec deadline = {until / 1000000000, until % 1000000000};
        if (p->count < p->target && !p->failed)
            add_one(p);
        else if (now >= until)
            end_period(p, now);
        else
            pthread_cond_timedwait(&p->changed, &p->lock, &deadline);
    }
    p->running = false;
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static void start_thread(struct net__pool *p)
{
    if (p->joinable)
        pthread_join(p->thread, NULL); /* it has given the lock away for the last time */
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    p->period_end_ns = time_monotonic_ns() + p->period_ns;
    p->running = p->joinable = pthread_create(&p->thread, &attributes, work, p) == 0;
    pthread_attr_destroy(&attributes);
}

int net_namespace_take(struct net *n, int *ret_fd, struct err *err)
{
    struct net__pool *p = n->pool;
    int fd = -EBADF;
    pthread_mutex_lock(&p->lock);
    p->failed = false;
    if (p->count)
        fd = oldest(p);
    else /* asked for faster than they were made */
        p->target = p->target ? MIN(2 * p->target, NET__POOL_MAX) : FIRST_TARGET;
    p->lowest = MIN(p->lowest, p->count);
    if (p->running)
        pthread_cond_signal(&p->changed);
    else
        start_thread(p);
    pthread_mutex_unlock(&p->lock);
    if (fd < 0)
        return net_namespace_new(ret_fd, err);
    *ret_fd = fd;
    return 0;
}

void net__pool_set_period(struct net *n, int64_t ms)
{
    struct net__pool *p = n->pool;
    pthread_mutex_lock(&p->lock);
    p->period_ns = ms * 1000000;
    p->period_end_ns = time_monotonic_ns() + p->period_ns;
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

size_t net__pool_count(struct net *n, bool *ret_running)
{
    struct net__pool *p = n->pool;
    pthread_mutex_lock(&p->lock);
    size_t count = p->count;
    *ret_running = p->running;
    pthread_mutex_unlock(&p->lock);
    return count;
}

void net__pool_free(struct net__pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->closing = true;
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->lock);
    if (p->joinable)
        pthread_join(p->thread, NULL);
    shrink(p, 0);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->changed);
    free(p);
}
