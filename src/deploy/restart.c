/* The restart policy: whether what has ended is replaced, and how soon. What fails again and again is tried
 * less and less often, since it would fail as often otherwise, at the cost of its neighbours. */
#include "deploy/reconcile_priv.h"

#include "base/mem.h"
#include "base/timeutil.h"

/* What is doubled where a policy has no delay; the first restart is at once all the same. */
#define LEAST_DOUBLED_NS (100 * NS_PER_MS)
/* Longer than anybody waits, and no sum of it and a time is too large for a number. */
#define FOREVER_NS (INT64_MAX / 4)

/* Where a most of attempts within a window is given, that says how often is too often. With longer delays
 * there could never be as many, and what is to be given up would be tried for ever. */
static int64_t longest(const struct deploy_spec *s)
{
    bool counted = s->max_attempts && s->restart_window_ns;
    int64_t most = counted ? s->restart_delay_ns : MAX(DEPLOY_BACKOFF_MAX_S * NS_PER_S, s->restart_delay_ns);
    return MIN(most, FOREVER_NS);
}

int64_t deploy_restart_delay_ns(const struct deploy_spec *s, int64_t failures)
{
    int64_t most = longest(s), delay = MAX(s->restart_delay_ns, LEAST_DOUBLED_NS);
    if (failures <= 1)
        return MIN(s->restart_delay_ns, most);
    while (--failures > 0 && delay < most)
        delay = delay > most / 2 ? most : 2 * delay;
    return MIN(delay, most);
}

/* One that ended well, or was told to end, is no failure: a service may well run its program once an hour. */
int64_t deploy__failures_after(const struct deploy_task *t)
{
    if (t->state == TASK_COMPLETE)
        return 0;
    if (t->state != TASK_FAILED && t->state != TASK_REJECTED)
        return t->failures;
    return (t->running_ns && deploy_ran_well(t->ended_ns - t->running_ns) ? 0 : t->failures) + 1;
}

bool deploy__restarts(const struct work *w, const struct group *g, const struct deploy_task *t)
{
    const struct deploy_spec *s = w->v->spec;
    if (s->condition == RESTART_NONE || (s->condition == RESTART_ON_FAILURE && t->state == TASK_COMPLETE))
        return false;
    if (!s->max_attempts)
        return true;
    int64_t ended = 0;
    for (size_t i = 0; i < g->count; i++) {
        const struct deploy_task *one = g->tasks[i];
        ended += task_ended(one->state) && one->state != TASK_SHUTDOWN && one->version == t->version &&
                 (!s->restart_window_ns || one->ended_ns >= w->v->now_ns - s->restart_window_ns);
    }
    return ended <= s->max_attempts;
}
