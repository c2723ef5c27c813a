/* Worker processes that launch, one table of times they share. */
#include "launch.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TIMES_MAX = 200000 };

struct table {
    atomic_int ready, go, failed;
    atomic_uint next;
    unsigned end;
    double until, began, ended[WORKERS_MAX];
    float ms[TIMES_MAX];
    char used[TIMES_MAX];
};

double bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int work(const struct contestant *c, int worker, struct table *t)
{
    if (c->begin && c->begin(c, worker))
        return 1;
    atomic_fetch_add(&t->ready, 1);
    while (!atomic_load(&t->go))
        usleep(500);
    int failed = 0;
    while (!failed && !atomic_load(&t->failed)) {
        double began = bench_now();
        unsigned turn = atomic_fetch_add(&t->next, 1);
        if (turn >= t->end || began > t->until)
            break;
        failed = c->launch(c, worker, turn);
        t->ended[worker] = bench_now();
        t->ms[turn] = (float)((t->ended[worker] - began) * 1000);
        t->used[turn] = 1;
    }
    if (c->end)
        c->end(c, worker);
    return failed;
}

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void sum_up(struct table *t, int depth, struct rate *ret)
{
    unsigned n = 0;
    double last = t->began;
    for (unsigned i = 0; i < t->end; i++)
        if (t->used[i])
            t->ms[n++] = t->ms[i];
    for (int i = 0; i < depth; i++)
        last = t->ended[i] > last ? t->ended[i] : last;
    qsort(t->ms, n, sizeof(t->ms[0]), by_size);
    *ret = (struct rate){.depth = depth, .launches = n};
    if (!n || last <= t->began)
        return;
    ret->per_s = n / (last - t->began);
    ret->p50_ms = t->ms[n / 2];
    ret->p99_ms = t->ms[(size_t)n * 99 / 100];
}

int bench_rate(const struct contestant *c, int depth, const struct limits *limits, struct rate *ret)
{
    struct table *t = mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (t == MAP_FAILED) {
        perror("mmap");
        return -1;
    }
    t->end = limits->launches < TIMES_MAX ? limits->launches : TIMES_MAX;
    t->until = bench_now() + 3600;
    pid_t workers[WORKERS_MAX];
    struct spent before, after;
    spent_now(c->root, &before);
    int failed = 0;
    for (int i = 0; i < depth; i++) {
        workers[i] = fork();
        if (workers[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            int r = work(c, i, t);
            if (r)
                atomic_store(&t->failed, 1);
            _exit(r ? 1 : 0);
        }
    }
    while (atomic_load(&t->ready) < depth && !atomic_load(&t->failed))
        usleep(1000);
    t->began = bench_now();
    t->until = t->began + limits->seconds;
    atomic_store(&t->go, 1);
    for (int i = 0; i < depth; i++) {
        int status;
        if (waitpid(workers[i], &status, 0) == workers[i] && status)
            failed = 1;
    }
    sum_up(t, depth, ret);
    spent_now(c->root, &after);
    spent_of_launches(&before, &after, ret);
    munmap(t, sizeof(*t));
    return failed ? -1 : 0;
}
