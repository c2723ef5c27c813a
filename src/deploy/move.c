/* Tasks that are to run on another node: how many a service can spare, and how one goes. */
#include "deploy/reconcile_priv.h"

#include "base/mem.h"
#include "base/timeutil.h"

static bool is_rolling(enum rollout_state state)
{
    return state == ROLLOUT_UPDATING || state == ROLLOUT_ROLLBACK_STARTED;
}

/* The clock may have been set back. */
bool deploy_holds(const struct deploy_view *v, const struct deploy_task *t)
{
    return t->state == TASK_RUNNING && t->desired == TASK_RUNNING && !t->moves && t->version == v->version &&
           (v->now_ns < t->running_ns || v->now_ns - t->running_ns >= v->spec->update.monitor_ns);
}

int64_t deploy_spare(const struct deploy_view *v)
{
    const struct deploy_rollout *how = &v->spec->update;
    int64_t good = 0, moving = 0, at_once = how->parallelism ? how->parallelism : 1;
    if (v->spec->mode != DEPLOY_REPLICATED || v->removed || is_rolling(v->status.state))
        return 0;
    for (size_t i = 0; i < v->task_count; i++) {
        good += deploy_holds(v, &v->tasks[i]);
        moving += v->tasks[i].moves && !task_ended(v->tasks[i].state);
    }
    if (good + moving < v->spec->replicas)
        return 0;
    return (how->start_first ? at_once : MIN(at_once, v->spec->replicas - 1)) - moving;
}

bool deploy__only_moves(const struct work *w, const struct deploy_task *t)
{
    return t && t->moves && t->version == w->v->version;
}

void deploy__stay(struct work *w, const struct group *g)
{
    deploy__desire(w, g->now, TASK_SHUTDOWN);
    deploy__act(w, (struct deploy_action){.kind = DEPLOY_STAY, .task = g->old});
}

/* To another node. The old one goes as in an update: when the new one runs, or first. */
void deploy__move(struct work *w, const struct group *g)
{
    if (!deploy__only_moves(w, g->old) || g->old->state != TASK_RUNNING)
        return;
    int64_t patience = (g->now ? g->now->created_ns : 0) + DEPLOY_MOVE_WAIT_S * NS_PER_S;
    if (!g->now && !is_rolling(w->v->status.state))
        deploy__roll_slot(w, g, &w->v->spec->update);
    else if (g->now && g->now->state <= TASK_PENDING &&
             !deploy__is_to_come(w, patience, DEPLOY_MOVE_WAIT_S * NS_PER_S))
        deploy__stay(w, g);
    else if (g->now && g->now->state <= TASK_PENDING)
        deploy__ask_again_at(w, patience);
}
