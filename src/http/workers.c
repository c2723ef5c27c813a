#include "http/workers.h"

#include "base/mem.h"
#include "base/timeutil.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

enum { IDLE_S = 10, STACK_BYTES = 512 << 10 };

struct job {
    struct job *next;
    void (*run)(void *);
    void *argument;
};

struct workers {
    pthread_mutex_t lock;
    pthread_cond_t work, ended;
    struct job *first, **last;
    size_t queued, idle, threads, max;
    bool stopping;
};

struct workers *workers_new(size_t max_threads)
{
    struct workers *w = NEW(struct workers);
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&w->work, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_cond_init(&w->ended, NULL);
    w->last = &w->first;
    w->max = max_threads;
    return w;
}

void workers_free(struct workers *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->stopping = true;
    pthread_cond_broadcast(&w->work);
    while (w->threads)
        pthread_cond_wait(&w->ended, &w->lock);
    pthread_mutex_unlock(&w->lock);
    must(!w->first);
    pthread_cond_destroy(&w->work);
    pthread_cond_destroy(&w->ended);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

/* The next job, or NULL when the thread should end; with the lock held. */
static struct job *next_job(struct workers *w)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += IDLE_S;
    int r = 0;
    while (!w->first && !w->stopping && r == 0) {
        w->idle++;
        r = pthread_cond_timedwait(&w->work, &w->lock, &until);
        w->idle--;
    }
    struct job *job = w->first;
    if (job) {
        w->first = job->next;
        if (!w->first)
            w->last = &w->first;
        w->queued--;
    }
    return job;
}

static void *work(void *argument)
{
    struct workers *w = argument;
    pthread_mutex_lock(&w->lock);
    for (struct job *job; (job = next_job(w));) {
        pthread_mutex_unlock(&w->lock);
        job->run(job->argument);
        free(job);
        pthread_mutex_lock(&w->lock);
    }
    w->threads--;
    pthread_cond_signal(&w->ended);
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* Signals belong to the process's main thread. */
static bool spawn(struct workers *w)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    int r = pthread_create(&thread, &attributes, work, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return r == 0;
}

bool workers_start(struct workers *w, void (*run)(void *), void *argument)
{
    pthread_mutex_lock(&w->lock);
    bool room = w->queued < w->idle;
    if (!room && w->threads < w->max && spawn(w)) {
        w->threads++;
        room = true;
    }
    if (room) {
        struct job *job = NEW(struct job);
        job->run = run;
        job->argument = argument;
        *w->last = job;
        w->last = &job->next;
        w->queued++;
    }
    pthread_mutex_unlock(&w->lock);
    if (room) /* outside of the lock, which the thread that wakes takes first */
        pthread_cond_signal(&w->work);
    return room;
}
