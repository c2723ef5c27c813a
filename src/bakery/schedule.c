#include "bakery/build_priv.h"

#include "base/machine.h"

#include <unistd.h>

/* Which stage is built when.
 *
 * Threads take the stages in the order of the file. A stage names only earlier ones, and waits for one at the
 * instruction that needs it; an earlier one has been taken before, so the first that is not done never waits
 * and all come to their end. `slots` bounds how many work at the same time: whoever waits for another stage
 * gives his back. The first failure cancels all others. */

enum { THREADS_MAX = 64, SLOTS_PER_CORE = 2, MEMORY_PER_SLOT = 256 << 20 };

/* Two for each core, since a step often waits for a network or a disk; fewer when memory is short. */
static int slots_of_machine(void)
{
    int64_t cores = MAX(sysconf(_SC_NPROCESSORS_ONLN), 1L);
    int64_t fit = machine_memory_available() / MEMORY_PER_SLOT;
    return (int)MAX(MIN(MIN(cores * SLOTS_PER_CORE, fit), (int64_t)THREADS_MAX), (int64_t)1);
}

void build__take_slot(struct builder *b)
{
    while (!b->slots && !build__cancelled(b))
        pthread_cond_wait(&b->changed, &b->lock);
    b->slots--;
}

void build__give_slot(struct builder *b)
{
    b->slots++;
    pthread_cond_broadcast(&b->changed);
}

void build__stage_failed(struct builder *b, size_t index, const struct err *why)
{
    SCOPED_LOCK(locked, &b->lock);
    if (!b->failed.code) {
        err_copy(&b->failed, why);
        b->failed_stage = (ssize_t)index;
    }
    __atomic_store_n(&b->cancelled, true, __ATOMIC_RELAXED);
    pthread_cond_broadcast(&b->changed);
}

/* A stage that this thread has claimed, with its slot. */
static int build_claimed(struct builder *b, size_t index, struct err *err)
{
    struct stage *stage = &b->stages[index];
    struct err why = {0};
    int r = build__stage(b, index, &why);
    if (r == 0)
        build__said_all(b, stage);
    if (r < 0)
        return err_copy(err, &why);
    SCOPED_LOCK(locked, &b->lock);
    stage->done = true;
    pthread_cond_broadcast(&b->changed);
    return 0;
}

int build__need(struct build *s, size_t index, struct err *err)
{
    struct builder *b = s->b;
    struct stage *stage = &b->stages[index];
    pthread_mutex_lock(&b->lock);
    if (!stage->done && !stage->claimed) {
        /* A trigger may name a stage that nothing in the file asked for. */
        stage->claimed = true;
        pthread_mutex_unlock(&b->lock);
        return build_claimed(b, index, err);
    }
    if (!stage->done) {
        if (!s->helps) /* a helper has no slot */
            build__give_slot(b);
        while (!stage->done && !build__stopped(s))
            pthread_cond_wait(&b->changed, &b->lock);
        if (!s->helps)
            build__take_slot(b);
    }
    bool done = stage->done;
    pthread_mutex_unlock(&b->lock);
    return done ? 0 : err_set(err, ERR_CANCELLED, "build cancelled");
}

static void *work(void *context)
{
    struct builder *b = context;
    pthread_mutex_lock(&b->lock);
    while (b->next_stage <= b->target && !build__cancelled(b)) {
        size_t index = b->next_stage++;
        struct stage *stage = &b->stages[index];
        if (!stage->needed || stage->claimed)
            continue;
        stage->claimed = true;
        build__take_slot(b);
        pthread_mutex_unlock(&b->lock);
        build_claimed(b, index, NULL);
        pthread_mutex_lock(&b->lock);
        build__give_slot(b);
    }
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

int build__stages(struct builder *b, struct err *err)
{
    pthread_t threads[THREADS_MAX];
    size_t started = 0, wanted = 0;
    for (size_t i = 0; i <= b->target; i++)
        wanted += b->stages[i].needed;
    b->slots = b->o->parallel > 0 ? b->o->parallel : wanted > 1 ? slots_of_machine() : 1;
    build__first_turn(b);
    /* This thread works too, so that it goes on when no other can be had. */
    while (started + 1 < MIN(wanted, (size_t)THREADS_MAX) &&
           pthread_create(&threads[started], NULL, work, b) == 0)
        started++;
    work(b);
    for (size_t i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    if (b->failed.code) {
        if (b->failed_stage >= 0)
            build__say_held(b, &b->stages[b->failed_stage]);
        return err_copy(err, &b->failed);
    }
    return build__cancelled(b) ? err_set(err, ERR_CANCELLED, "build cancelled") : 0;
}
