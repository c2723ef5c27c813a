/* A mutex held to the end of a scope: SCOPED_LOCK(locked, &x->lock);
 *
 * And conditions that are waited for until a time of the monotonic clock: until one of the wall clock, a wait
 * lasts an hour more when that clock is set back by an hour. */
#ifndef BASE_LOCK_H
#define BASE_LOCK_H

#include "base/mem.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

static inline pthread_mutex_t *lock_of(pthread_mutex_t *m)
{
    pthread_mutex_lock(m);
    return m;
}
static inline void unlock_p(pthread_mutex_t **m)
{
    if (*m)
        pthread_mutex_unlock(*m);
}

static inline void cond_init(pthread_cond_t *c)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(c, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

/* Until time_monotonic_ns() is that. False: it is; true: it was signalled, or for no reason. */
static inline bool cond_wait_until(pthread_cond_t *c, pthread_mutex_t *m, int64_t monotonic_ns)
{
    const struct timespec at = {.tv_sec = monotonic_ns / 1000000000, .tv_nsec = monotonic_ns % 1000000000};
    return pthread_cond_timedwait(c, m, &at) == 0;
}

#define SCOPED_LOCK(name, m) _cleanup_(unlock_p) _unused_ pthread_mutex_t *name = lock_of(m)

#endif
