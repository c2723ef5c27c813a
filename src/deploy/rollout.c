/* Tasks of an older version, and those that are to move to another node, are replaced: some at a time, as the
 * update's settings say, until all hold or too many do not. */
#include "deploy/reconcile_priv.h"

#include "base/mem.h"
#include "base/timeutil.h"

static void set_status(struct work *w, enum rollout_state state, const char *format, const char *task)
{
    struct deploy_rollout_status *s = &w->plan->status;
    bool begins = state == ROLLOUT_UPDATING || state == ROLLOUT_ROLLBACK_STARTED;
    s->state = state;
    if (begins)
        s->started_ns = w->v->now_ns;
    s->completed_ns = state == ROLLOUT_COMPLETED || state == ROLLOUT_ROLLBACK_COMPLETED ? w->v->now_ns : 0;
    snprintf(s->message, sizeof(s->message), format, task);
}

static bool of_this_rollout(const struct work *w, const struct deploy_task *t)
{
    return t->version == w->v->version && t->created_ns >= w->v->status.started_ns;
}

/* The last of the tasks that did not hold, and how many. */
static const char *count_failures(const struct work *w, const struct deploy_rollout *how, int64_t *ret)
{
    const char *last = NULL;
    *ret = 0;
    for (size_t i = 0; i < w->v->task_count; i++) {
        const struct deploy_task *t = w->sorted[i];
        bool early = !t->running_ns || t->ended_ns - t->running_ns <= how->monitor_ns;
        if (of_this_rollout(w, t) && early && (task_ended(t->state) && t->state != TASK_SHUTDOWN)) {
            ++*ret;
            last = t->id;
        }
    }
    return last;
}

/* The rollout ends here, as its failure action says. */
static void give_up(struct work *w, const struct deploy_rollout *how, const char *because)
{
    bool back = w->v->status.state == ROLLOUT_ROLLBACK_STARTED;
    if (how->on_failure == FAILURE_ROLLBACK && w->v->can_revert && !back) {
        set_status(w, ROLLOUT_ROLLBACK_STARTED, "update rolled back due to %s", because);
        deploy__act(w, (struct deploy_action){.kind = DEPLOY_REVERT});
    } else if (back)
        set_status(w, ROLLOUT_ROLLBACK_PAUSED, "rollback paused due to %s", because);
    else
        set_status(w, ROLLOUT_PAUSED, "update paused due to %s", because);
}

static bool fails(struct work *w, const struct deploy_rollout *how, int64_t slots)
{
    int64_t failures;
    char because[100];
    const char *task = count_failures(w, how, &failures);
    if (!failures || (double)failures <= how->max_failure_ratio * (double)slots ||
        how->on_failure == FAILURE_CONTINUE)
        return false;
    snprintf(because, sizeof(because), "failure or early termination of task %s", task);
    give_up(w, how, because);
    return true;
}

/* Tasks are on their way to run, and for too long no more of them do. What waits for the delay between slots
 * does not count. */
static bool stalls(struct work *w, const struct deploy_rollout *how)
{
    const struct deploy_task *late = NULL;
    int64_t last = w->v->status.started_ns, limit = w->v->spec->progress_ns;
    char because[120], time[TIME_RFC3339_BYTES];
    if (!limit || how->on_failure == FAILURE_CONTINUE)
        return false;
    for (size_t i = 0; i < w->count; i++) {
        const struct deploy_task *t = w->groups[i].now;
        if (!t || !w->groups[i].wanted || !of_this_rollout(w, t))
            continue;
        if (t->state == TASK_RUNNING)
            last = MAX(last, t->running_ns + how->delay_ns);
        else if (!late)
            late = t;
    }
    if (!late)
        return false;
    if (last + limit > w->v->now_ns) { /* also when the clock was set back: then it is given its time anew */
        deploy__ask_again_at(w, MIN(last, w->v->now_ns) + limit);
        return false;
    }
    snprintf(because, sizeof(because), "no progress within %s: task %s is %s",
             time_format_duration(limit, time), late->id, task_state_name(late->state));
    give_up(w, how, because);
    return true;
}

void deploy__roll_slot(struct work *w, const struct group *g, const struct deploy_rollout *how)
{
    bool runs = !task_ended(g->old->state) && g->old->state == TASK_RUNNING;
    if (runs && how->start_first) {
        deploy__create(w, g, deploy__goal(w));
        return;
    }
    deploy__desire(w, g->old, TASK_SHUTDOWN);
    deploy__create(w, g, task_ended(g->old->state) ? deploy__goal(w) : TASK_READY);
}

/* How far a slot that has been rolled over is: 0 when it holds, else when to look again (INT64_MAX: when
 * something changes). */
static int64_t still_on_its_way(const struct work *w, const struct deploy_task *t, int64_t wait_ns)
{
    if (!of_this_rollout(w, t) || task_ended(t->state))
        return 0;
    if (t->state != TASK_RUNNING)
        return INT64_MAX;
    return deploy__is_to_come(w, t->running_ns + wait_ns, wait_ns) ? t->running_ns + wait_ns : 0;
}

static bool is_dirty(const struct work *w, const struct group *g)
{
    return g->wanted && g->old && !g->now && !deploy__only_moves(w, g->old);
}

void deploy__roll(struct work *w)
{
    enum rollout_state state = w->plan->status.state;
    int64_t slots = 0, dirty = 0, moving = 0, monitored = 0;
    bool back = state == ROLLOUT_ROLLBACK_STARTED;
    const struct deploy_rollout *how = back ? &w->v->spec->rollback : &w->v->spec->update;
    for (size_t i = 0; i < w->count; i++) {
        const struct group *g = &w->groups[i];
        slots += g->wanted;
        dirty += is_dirty(w, g);
    }
    if (state != ROLLOUT_UPDATING && !back) {
        bool paused = state == ROLLOUT_PAUSED || state == ROLLOUT_ROLLBACK_PAUSED;
        if (dirty && !paused) {
            set_status(w, ROLLOUT_UPDATING, "update in progress%s", "");
            deploy__ask_again_at(w, w->v->now_ns);
        }
        return;
    }
    if (fails(w, how, slots) || stalls(w, how))
        return;
    for (size_t i = 0; i < w->count; i++) {
        const struct group *g = &w->groups[i];
        if (!g->wanted || !g->now)
            continue;
        int64_t look = still_on_its_way(w, g->now, how->delay_ns);
        int64_t watch = still_on_its_way(w, g->now, how->monitor_ns);
        moving += look != 0;
        monitored += watch != 0;
        if (look && look != INT64_MAX)
            deploy__ask_again_at(w, look);
        if (watch && watch != INT64_MAX)
            deploy__ask_again_at(w, watch);
    }
    for (size_t i = 0; i < w->count && (!how->parallelism || moving < how->parallelism); i++) {
        const struct group *g = &w->groups[i];
        if (is_dirty(w, g)) {
            deploy__roll_slot(w, g, how);
            moving++;
        }
    }
    if (!dirty && !moving && !monitored)
        set_status(w, back ? ROLLOUT_ROLLBACK_COMPLETED : ROLLOUT_COMPLETED,
                   back ? "rollback completed%s" : "update completed%s", "");
}

/* Of a slot that was started first: the old one goes when the new one runs. */
void deploy__retire(struct work *w, const struct group *g)
{
    if (g->old && g->now && g->now->state == TASK_RUNNING)
        deploy__desire(w, g->old, TASK_SHUTDOWN);
}
