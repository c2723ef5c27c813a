#include "registry/warm.h"

#include "base/lock.h"
#include "base/machine.h"
#include "base/mem.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

enum {
    WAITING_MAX = 64,
    STEP_BYTES = 2 << 20,
    SHARE = 8, /* of the memory that is free, for one blob */
};

struct registry_warmer {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool closing;
    size_t count;
    struct {
        int fd;
        int64_t size;
    } waiting[WAITING_MAX];
};

static bool is_closing(struct registry_warmer *w)
{
    SCOPED_LOCK(locked, &w->lock);
    return w->closing;
}

static void warm(struct registry_warmer *w, int fd, int64_t size)
{
    if (size > machine_memory_available() / SHARE)
        return;
    for (int64_t at = 0; at < size && !is_closing(w); at += STEP_BYTES)
        if (readahead(fd, at, STEP_BYTES) < 0)
            return;
}

static void *work(void *argument)
{
    struct registry_warmer *w = argument;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (!w->count && !w->closing)
            pthread_cond_wait(&w->wake, &w->lock);
        if (w->closing)
            break;
        /* The latest first: it is the likeliest to be asked for. */
        w->count--;
        _cleanup_close_ int fd = w->waiting[w->count].fd;
        int64_t size = w->waiting[w->count].size;
        pthread_mutex_unlock(&w->lock);
        warm(w, fd, size);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

int registry__warmer_start(struct registry_warmer **ret, struct err *err)
{
    struct registry_warmer *w = NEW(struct registry_warmer);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, NULL);
    int sys = pthread_create(&w->thread, NULL, work, w);
    if (sys != 0) {
        pthread_mutex_destroy(&w->lock);
        pthread_cond_destroy(&w->wake);
        free(w);
        return err_sys(err, sys, "start the registry's thread");
    }
    *ret = w;
    return 0;
}

void registry__warm(struct registry_warmer *w, int fd, int64_t size)
{
    _cleanup_close_ int own = fd;
    SCOPED_LOCK(locked, &w->lock);
    if (w->count == WAITING_MAX)
        return;
    w->waiting[w->count].fd = take_fd(&own);
    w->waiting[w->count++].size = size;
    pthread_cond_signal(&w->wake);
}

void registry__warmer_stop(struct registry_warmer *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->closing = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    while (w->count)
        close(w->waiting[--w->count].fd);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->wake);
    free(w);
}
