/* From what there is to what is wanted, in steps: what is too much goes, what has ended is replaced or stays,
 * what may begin begins, what is of an older version is rolled over. Each step looks at the tasks as they
 * are; what it orders shows when it is asked again. */
#include "deploy/deploy.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/timeutil.h"

/* The tasks of a slot, oldest first. */
struct group {
    int64_t slot;
    const char *node; /* of a global service */
    struct deploy_task **tasks;
    size_t count;
    struct deploy_task *now, *old; /* the newest that stand for it: of the present version, of another */
    bool leaving;                  /* one that was told to end has not yet */
    bool wanted;
};

struct work {
    const struct deploy_view *v;
    struct deploy_plan *plan;
    struct deploy_task **sorted;
    struct group *groups;
    size_t count, capacity;
};

void deploy_plan_done(struct deploy_plan *p)
{
    free(p->actions);
    *p = (struct deploy_plan){0};
}

static void act(struct work *w, struct deploy_action action)
{
    struct deploy_plan *p = w->plan;
    GROW(p->actions, p->count, p->capacity);
    p->actions[p->count++] = action;
}

static void ask_again_at(struct work *w, int64_t at_ns)
{
    if (!w->plan->next_ns || at_ns < w->plan->next_ns)
        w->plan->next_ns = at_ns;
}

static void desire(struct work *w, struct deploy_task *t, enum task_state desired)
{
    if (t->desired != desired || t->settled)
        act(w, (struct deploy_action){.kind = DEPLOY_DESIRE, .task = t, .desired = desired});
}

/* What a task is to reach that runs as long as it should. */
static enum task_state goal(const struct work *w)
{
    return deploy_is_job(w->v->spec->mode) ? TASK_COMPLETE : TASK_RUNNING;
}

/* One that is to run at once waits where another of its slot has yet to end. */
static void create(struct work *w, const struct group *g, enum task_state desired, int64_t start_at_ns)
{
    if (g->leaving && desired == goal(w))
        desired = TASK_READY;
    act(w, (struct deploy_action){.kind = DEPLOY_CREATE,
                                  .slot = g->slot,
                                  .node = g->node,
                                  .desired = desired,
                                  .start_at_ns = start_at_ns});
}

static bool stands(const struct work *w, const struct deploy_task *t)
{
    return t->settled || t->desired <= goal(w);
}

/* --- Tasks by slot --- */

static int compare_tasks(const void *a, const void *b)
{
    const struct deploy_task *x = *(struct deploy_task *const *)a, *y = *(struct deploy_task *const *)b;
    if (x->slot != y->slot)
        return x->slot < y->slot ? -1 : 1;
    int by_node = x->slot == 0 ? strcmp(x->node ? x->node : "", y->node ? y->node : "") : 0;
    if (by_node)
        return by_node;
    if (x->created_ns != y->created_ns)
        return x->created_ns < y->created_ns ? -1 : 1;
    return strcmp(x->id, y->id);
}

static bool same_group(const struct group *g, const struct deploy_task *t, bool global)
{
    return global ? str_eq(g->node, t->node) : g->slot == t->slot;
}

static void group_tasks(struct work *w)
{
    const struct deploy_view *v = w->v;
    bool global = deploy_is_global(v->spec->mode);
    w->sorted = NEW_N(struct deploy_task *, v->task_count + 1);
    for (size_t i = 0; i < v->task_count; i++)
        w->sorted[i] = &v->tasks[i];
    qsort(w->sorted, v->task_count, sizeof(*w->sorted), compare_tasks);
    for (size_t i = 0; i < v->task_count; i++) {
        struct deploy_task *t = w->sorted[i];
        if (!w->count || !same_group(&w->groups[w->count - 1], t, global)) {
            GROW(w->groups, w->count, w->capacity);
            w->groups[w->count++] =
                (struct group){.slot = t->slot, .node = global ? t->node : NULL, .tasks = &w->sorted[i]};
        }
        struct group *g = &w->groups[w->count - 1];
        g->count++;
        if (stands(w, t) && t->version == v->version)
            g->now = t;
        else if (stands(w, t))
            g->old = t;
        if (!stands(w, t) && !task_ended(t->state))
            g->leaving = true;
    }
}

static struct deploy_task *standing(const struct group *g)
{
    return g->now ? g->now : g->old;
}

/* --- What is no longer wanted --- */

static void remove_group(struct work *w, const struct group *g)
{
    for (size_t i = 0; i < g->count; i++)
        desire(w, g->tasks[i], TASK_REMOVE);
}

static void forget_ended(struct work *w, const struct group *g)
{
    size_t keep = (size_t)MAX(MAX(w->v->history, 1), (int)MIN(w->v->spec->max_attempts + 1, 1000));
    size_t ended = 0;
    for (size_t i = g->count; i-- > 0;) {
        struct deploy_task *t = g->tasks[i];
        bool done = task_ended(t->state) && t->desired > goal(w) && !t->settled;
        if (done && (t->desired == TASK_REMOVE || ++ended >= keep))
            act(w, (struct deploy_action){.kind = DEPLOY_FORGET, .task = t});
    }
}

/* Which goes first when there are too many: what does not run, then the highest number. */
static int compare_worth(const void *a, const void *b)
{
    const struct group *x = *(struct group *const *)a, *y = *(struct group *const *)b;
    const struct deploy_task *s = standing(x), *t = standing(y);
    bool x_runs = s->state == TASK_RUNNING, y_runs = t->state == TASK_RUNNING;
    if (x_runs != y_runs)
        return x_runs ? -1 : 1;
    return x->slot < y->slot ? -1 : 1;
}

static struct group *group_of_slot(struct work *w, int64_t slot)
{
    for (size_t i = 0; i < w->count; i++)
        if (w->groups[i].slot == slot)
            return &w->groups[i];
    return NULL;
}

static void want_replicas(struct work *w)
{
    size_t n = 0, want = (size_t)w->v->spec->replicas;
    struct group **kept = NEW_N(struct group *, w->count + 1);
    for (size_t i = 0; i < w->count; i++)
        if (standing(&w->groups[i]))
            kept[n++] = &w->groups[i];
    qsort(kept, n, sizeof(*kept), compare_worth);
    for (size_t i = 0; i < MIN(n, want); i++)
        kept[i]->wanted = true;
    for (size_t i = 0; i < w->count; i++)
        if (!w->groups[i].wanted && w->groups[i].slot > (int64_t)want)
            remove_group(w, &w->groups[i]);
        else if (!w->groups[i].wanted && standing(&w->groups[i]))
            remove_group(w, &w->groups[i]);
    size_t missing = want > n ? want - n : 0;
    struct group **by_slot = NEW_N(struct group *, want + n + 2);
    for (size_t i = 0; i < w->count; i++)
        if (w->groups[i].slot >= 0 && (size_t)w->groups[i].slot < want + n + 2)
            by_slot[w->groups[i].slot] = &w->groups[i];
    for (int64_t slot = 1; missing; slot++) {
        const struct group fresh = {.slot = slot}, *g = by_slot[slot] ? by_slot[slot] : &fresh;
        if (standing(g))
            continue;
        create(w, g, goal(w), 0);
        missing--;
    }
    free(by_slot);
    free(kept);
}

static const struct deploy_node *node_of(const struct work *w, const char *id)
{
    for (size_t i = 0; id && i < w->v->node_count; i++)
        if (str_eq(w->v->nodes[i].id, id))
            return &w->v->nodes[i];
    return NULL;
}

static struct group *group_of_node(const struct work *w, const char *node)
{
    for (size_t i = 0; i < w->count; i++)
        if (str_eq(w->groups[i].node, node))
            return &w->groups[i];
    return NULL;
}

static void want_nodes(struct work *w)
{
    for (size_t i = 0; i < w->count; i++) {
        struct group *g = &w->groups[i];
        const struct deploy_node *node = node_of(w, g->node);
        g->wanted = node && node->stays && standing(g);
        if (!node || !node->stays)
            remove_group(w, g);
    }
    for (size_t i = 0; i < w->v->node_count; i++) {
        const struct deploy_node *node = &w->v->nodes[i];
        const struct group fresh = {.node = node->id}, *g = group_of_node(w, node->id);
        if (node->usable && !(g && g->wanted))
            create(w, g ? g : &fresh, goal(w), 0);
    }
}

/* Whether a time that lies at most `length` ahead is still to come. Times are of the wall clock, which may be
 * set back, and which on another machine that comes to lead may be behind: what lies further ahead is
 * measured from a moment that by this clock has not been yet, and nobody waits an hour for that. */
static bool is_to_come(const struct work *w, int64_t at_ns, int64_t length)
{
    return at_ns > w->v->now_ns && at_ns - w->v->now_ns <= length;
}

/* --- What has ended --- */

static bool restarts(const struct work *w, const struct group *g, const struct deploy_task *t)
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

static void replace_ended(struct work *w, const struct group *g, struct deploy_task *t)
{
    if (!t || t->settled || !task_ended(t->state) || (goal(w) == TASK_COMPLETE && t->state == TASK_COMPLETE))
        return;
    if (!restarts(w, g, t)) {
        act(w, (struct deploy_action){.kind = DEPLOY_SETTLE, .task = t});
        return;
    }
    desire(w, t, TASK_SHUTDOWN);
    if (t == g->old && g->now)
        return; /* its successor is on its way */
    int64_t at = t->ended_ns + w->v->spec->restart_delay_ns;
    create(w, g, TASK_READY, at);
    ask_again_at(w, at);
}

/* From a node that is drained or lost. */
static void move_away(struct work *w, const struct group *g, struct deploy_task *t)
{
    if (!t || t->settled || task_ended(t->state) || !t->node)
        return;
    const struct deploy_node *node = node_of(w, t->node);
    if (node && node->stays)
        return;
    desire(w, t, TASK_SHUTDOWN);
    if (!(t == g->old && g->now))
        create(w, g, TASK_READY, 0);
}

static void promote(struct work *w, const struct group *g, struct deploy_task *t)
{
    if (!t || t->desired != TASK_READY)
        return;
    if (is_to_come(w, t->start_at_ns, w->v->spec->restart_delay_ns))
        ask_again_at(w, t->start_at_ns);
    else if (!g->leaving)
        desire(w, t, goal(w));
}

/* --- Rolling over to the present version --- */

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

/* Whether the rollout ends here. */
static bool fails(struct work *w, const struct deploy_rollout *how, int64_t slots)
{
    int64_t failures;
    bool back = w->v->status.state == ROLLOUT_ROLLBACK_STARTED;
    const char *task = count_failures(w, how, &failures);
    if (!failures || (double)failures <= how->max_failure_ratio * (double)slots ||
        how->on_failure == FAILURE_CONTINUE)
        return false;
    if (how->on_failure == FAILURE_ROLLBACK && w->v->can_revert && !back) {
        set_status(w, ROLLOUT_ROLLBACK_STARTED,
                   "update rolled back due to failure or early termination of task %s", task);
        act(w, (struct deploy_action){.kind = DEPLOY_REVERT});
    } else if (back)
        set_status(w, ROLLOUT_ROLLBACK_PAUSED,
                   "rollback paused due to failure or early termination of task %s", task);
    else
        set_status(w, ROLLOUT_PAUSED, "update paused due to failure or early termination of task %s", task);
    return true;
}

static void roll_slot(struct work *w, const struct group *g, const struct deploy_rollout *how)
{
    bool runs = !task_ended(g->old->state) && g->old->state == TASK_RUNNING;
    if (runs && how->start_first) {
        create(w, g, goal(w), 0);
        return;
    }
    desire(w, g->old, TASK_SHUTDOWN);
    create(w, g, task_ended(g->old->state) ? goal(w) : TASK_READY, 0);
}

/* How far a slot that has been rolled over is: 0 when it holds, else when to look again (INT64_MAX: when
 * something changes). */
static int64_t still_on_its_way(const struct work *w, const struct deploy_task *t, int64_t wait_ns)
{
    if (!of_this_rollout(w, t) || task_ended(t->state))
        return 0;
    if (t->state != TASK_RUNNING)
        return INT64_MAX;
    return is_to_come(w, t->running_ns + wait_ns, wait_ns) ? t->running_ns + wait_ns : 0;
}

static void roll(struct work *w)
{
    enum rollout_state state = w->plan->status.state;
    int64_t slots = 0, dirty = 0, moving = 0, monitored = 0;
    bool back = state == ROLLOUT_ROLLBACK_STARTED;
    const struct deploy_rollout *how = back ? &w->v->spec->rollback : &w->v->spec->update;
    for (size_t i = 0; i < w->count; i++) {
        const struct group *g = &w->groups[i];
        slots += g->wanted;
        dirty += g->wanted && g->old && !g->now;
    }
    if (state != ROLLOUT_UPDATING && !back) {
        bool paused = state == ROLLOUT_PAUSED || state == ROLLOUT_ROLLBACK_PAUSED;
        if (dirty && !paused) {
            set_status(w, ROLLOUT_UPDATING, "update in progress%s", "");
            ask_again_at(w, w->v->now_ns);
        }
        return;
    }
    if (fails(w, how, slots))
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
            ask_again_at(w, look);
        if (watch && watch != INT64_MAX)
            ask_again_at(w, watch);
    }
    for (size_t i = 0; i < w->count && (!how->parallelism || moving < how->parallelism); i++) {
        const struct group *g = &w->groups[i];
        if (g->wanted && g->old && !g->now) {
            roll_slot(w, g, how);
            moving++;
        }
    }
    if (!dirty && !moving && !monitored)
        set_status(w, back ? ROLLOUT_ROLLBACK_COMPLETED : ROLLOUT_COMPLETED,
                   back ? "rollback completed%s" : "update completed%s", "");
}

/* Of a slot that was started first: the old one goes when the new one runs. */
static void retire(struct work *w, const struct group *g)
{
    if (g->old && g->now && g->now->state == TASK_RUNNING)
        desire(w, g->old, TASK_SHUTDOWN);
}

/* --- Jobs: to run to their end --- */

/* A run of a slot or a node; after one that failed, in a while. */
static void start_run(struct work *w, const struct group *g)
{
    const struct deploy_task *last = g->count ? g->tasks[g->count - 1] : NULL;
    int64_t at = last && last->version == w->v->version ? last->ended_ns + w->v->spec->restart_delay_ns : 0;
    bool waits = is_to_come(w, at, w->v->spec->restart_delay_ns);
    create(w, g, waits ? TASK_READY : TASK_COMPLETE, at);
    if (waits)
        ask_again_at(w, at);
}

static void start_runs(struct work *w, int64_t open)
{
    for (int64_t slot = 1; open > 0; slot++) {
        const struct group fresh = {.slot = slot}, *g = group_of_slot(w, slot);
        if (g && standing(g))
            continue;
        start_run(w, g ? g : &fresh);
        open--;
    }
}

static void reconcile_job(struct work *w)
{
    int64_t done = 0, live = 0;
    for (size_t i = 0; i < w->count; i++) {
        struct group *g = &w->groups[i];
        for (size_t j = 0; j < g->count; j++)
            if (g->tasks[j]->version != w->v->version)
                desire(w, g->tasks[j], TASK_REMOVE);
        g->old = NULL;
        const struct deploy_node *node = g->now ? node_of(w, g->now->node) : NULL;
        bool lost = g->now && g->now->node && (!node || !node->stays) && !task_ended(g->now->state);
        if (g->now && g->now->state == TASK_COMPLETE)
            done++;
        else if (g->now && g->now->settled)
            done++; /* given up */
        else if (g->now && (lost || task_ended(g->now->state))) {
            if (!lost && !restarts(w, g, g->now)) {
                act(w, (struct deploy_action){.kind = DEPLOY_SETTLE, .task = g->now});
                done++;
            } else {
                desire(w, g->now, TASK_SHUTDOWN);
                ask_again_at(w, w->v->now_ns);
                live += w->v->spec->mode == DEPLOY_REPLICATED_JOB; /* its slot is filled next time */
            }
        } else if (g->now) {
            live++;
            promote(w, g, g->now);
        }
    }
    if (w->v->spec->mode == DEPLOY_REPLICATED_JOB) {
        int64_t room = w->v->spec->max_concurrent ? w->v->spec->max_concurrent - live : INT64_MAX;
        start_runs(w, MIN(room, w->v->spec->completions - done - live));
        return;
    }
    for (size_t i = 0; i < w->v->node_count; i++) {
        const struct deploy_node *node = &w->v->nodes[i];
        const struct group fresh = {.node = node->id}, *g = group_of_node(w, node->id);
        if (node->usable && !(g && g->now))
            start_run(w, g ? g : &fresh);
    }
}

static void reconcile_service(struct work *w)
{
    if (deploy_is_global(w->v->spec->mode))
        want_nodes(w);
    else
        want_replicas(w);
    for (size_t i = 0; i < w->count; i++) {
        struct group *g = &w->groups[i];
        if (!g->wanted)
            continue;
        replace_ended(w, g, g->old);
        replace_ended(w, g, g->now);
        move_away(w, g, g->old);
        move_away(w, g, g->now);
        promote(w, g, g->now);
        promote(w, g, g->old);
        retire(w, g);
    }
    if (!w->plan->count)
        roll(w);
}

void deploy_reconcile(const struct deploy_view *view, struct deploy_plan *ret)
{
    *ret = (struct deploy_plan){.status = view->status};
    struct work w = {.v = view, .plan = ret};
    group_tasks(&w);
    for (size_t i = 0; i < w.count; i++)
        forget_ended(&w, &w.groups[i]);
    if (view->removed)
        for (size_t i = 0; i < w.count; i++)
            remove_group(&w, &w.groups[i]);
    else if (deploy_is_job(view->spec->mode))
        reconcile_job(&w);
    else
        reconcile_service(&w);
    free(w.groups);
    free(w.sorted);
}
