/* A mutex held to the end of a scope: SCOPED_LOCK(locked, &x->lock); */
#ifndef BASE_LOCK_H
#define BASE_LOCK_H

#include "base/mem.h"

#include <pthread.h>

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
#define SCOPED_LOCK(name, m) _cleanup_(unlock_p) _unused_ pthread_mutex_t *name = lock_of(m)

#endif
