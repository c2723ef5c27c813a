/* From what there is to what is wanted, in steps: what is too much goes, what has ended is replaced or stays,
 * what may begin begins, what is of an older version is rolled over. Each step looks at the tasks as they
 * are; what it orders shows when it is asked again. */
#include "deploy/reconcile_priv.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/timeutil.h"

void deploy_plan_done(struct deploy_plan *p)
{
    free(p->actions);
    *p = (struct deploy_plan){0};
}

void deploy__act(struct work *w, struct deploy_action action)
{
    struct deploy_plan *p = w->plan;
    GROW(p->actions, p->count, p->capacity);
    p->actions[p->count++] = action;
}

void deploy__ask_again_at(struct work *w, int64_t at_ns)
{
    if (!w->plan->next_ns || at_ns < w->plan->next_ns)
        w->plan->next_ns = at_ns;
}

void deploy__desire(struct work *w, struct deploy_task *t, enum task_state desired)
{
    if (t->desired != desired || t->settled)
        deploy__act(w, (struct deploy_action){.kind = DEPLOY_DESIRE, .task = t, .desired = desired});
}

/* What a task is to reach that runs as long as it should. */
enum task_state deploy__goal(const struct work *w)
{
    return deploy_is_job(w->v->spec->mode) ? TASK_COMPLETE : TASK_RUNNING;
}

/* In the place of others, of which so many failed in a row. */
static void create_after(struct work *w, const struct group *g, enum task_state desired, int64_t start_at_ns,
                         int64_t failures)
{
    deploy__act(w, (struct deploy_action){.kind = DEPLOY_CREATE,
                                          .slot = g->slot,
                                          .node = g->node,
                                          .desired = g->leaving ? MIN(desired, TASK_READY) : desired,
                                          .start_at_ns = start_at_ns,
                                          .failures = failures});
}

void deploy__create(struct work *w, const struct group *g, enum task_state desired)
{
    create_after(w, g, desired, 0, 0);
}

static bool stands(const struct work *w, const struct deploy_task *t)
{
    return t->settled || t->desired <= deploy__goal(w);
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
        if (stands(w, t) && t->version == v->version && !t->moves) {
            if (g->now && !g->old)
                g->old = g->now;
            g->now = t;
        } else if (stands(w, t))
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
        deploy__desire(w, g->tasks[i], TASK_REMOVE);
}

static void forget_ended(struct work *w, const struct group *g)
{
    size_t keep = (size_t)MAX(MAX(w->v->history, 1), (int)MIN(w->v->spec->max_attempts + 1, 1000));
    size_t ended = 0;
    for (size_t i = g->count; i-- > 0;) {
        struct deploy_task *t = g->tasks[i];
        bool done = task_ended(t->state) && t->desired > deploy__goal(w) && !t->settled;
        if (done && (t->desired == TASK_REMOVE || ++ended >= keep))
            deploy__act(w, (struct deploy_action){.kind = DEPLOY_FORGET, .task = t});
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
        deploy__create(w, g, deploy__goal(w));
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
            deploy__create(w, g ? g : &fresh, deploy__goal(w));
    }
}

bool deploy__is_to_come(const struct work *w, int64_t at_ns, int64_t length)
{
    return at_ns > w->v->now_ns && at_ns - w->v->now_ns <= length;
}

/* --- What has ended --- */

static void replace_ended(struct work *w, const struct group *g, struct deploy_task *t)
{
    if (!t || t->settled || !task_ended(t->state) ||
        (deploy__goal(w) == TASK_COMPLETE && t->state == TASK_COMPLETE))
        return;
    if (t == g->now && deploy__only_moves(w, g->old) && g->old->state == TASK_RUNNING) {
        deploy__stay(w, g);
        return;
    }
    if (!deploy__restarts(w, g, t)) {
        deploy__act(w, (struct deploy_action){.kind = DEPLOY_SETTLE, .task = t});
        return;
    }
    deploy__desire(w, t, TASK_SHUTDOWN);
    if (t == g->old && g->now)
        return; /* its successor is on its way */
    int64_t failures = deploy__failures_after(t);
    int64_t at = t->ended_ns + deploy_restart_delay_ns(w->v->spec, failures);
    create_after(w, g, TASK_READY, at, failures);
    deploy__ask_again_at(w, at);
}

/* From a node that is drained or lost. */
static void move_away(struct work *w, const struct group *g, struct deploy_task *t)
{
    if (!t || t->settled || task_ended(t->state) || !t->node)
        return;
    const struct deploy_node *node = node_of(w, t->node);
    if (node && node->stays)
        return;
    deploy__desire(w, t, TASK_SHUTDOWN);
    if (!(t == g->old && g->now))
        create_after(w, g, TASK_READY, t->start_at_ns, t->failures); /* it waits on as the other did */
}

static void promote(struct work *w, const struct group *g, struct deploy_task *t)
{
    if (!t || t->desired != TASK_READY)
        return;
    if (deploy__is_to_come(w, t->start_at_ns, deploy_restart_delay_ns(w->v->spec, t->failures)))
        deploy__ask_again_at(w, t->start_at_ns);
    else if (!g->leaving)
        deploy__desire(w, t, deploy__goal(w));
}

/* --- Jobs: to run to their end --- */

/* A run of a slot or a node; after one that failed, in a while. */
static void start_run(struct work *w, const struct group *g)
{
    const struct deploy_task *last = g->count ? g->tasks[g->count - 1] : NULL;
    int64_t failures = last && last->version == w->v->version ? deploy__failures_after(last) : 0;
    int64_t delay = deploy_restart_delay_ns(w->v->spec, failures);
    int64_t at = last && last->version == w->v->version ? last->ended_ns + delay : 0;
    bool waits = deploy__is_to_come(w, at, delay);
    create_after(w, g, waits ? TASK_READY : TASK_COMPLETE, at, failures);
    if (waits)
        deploy__ask_again_at(w, at);
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
                deploy__desire(w, g->tasks[j], TASK_REMOVE);
        g->old = NULL;
        const struct deploy_node *node = g->now ? node_of(w, g->now->node) : NULL;
        bool lost = g->now && g->now->node && (!node || !node->stays) && !task_ended(g->now->state);
        if (g->now && g->now->state == TASK_COMPLETE)
            done++;
        else if (g->now && g->now->settled)
            done++; /* given up */
        else if (g->now && (lost || task_ended(g->now->state))) {
            if (!lost && !deploy__restarts(w, g, g->now)) {
                deploy__act(w, (struct deploy_action){.kind = DEPLOY_SETTLE, .task = g->now});
                done++;
            } else {
                deploy__desire(w, g->now, TASK_SHUTDOWN);
                deploy__ask_again_at(w, w->v->now_ns);
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
        deploy__retire(w, g);
        if (!w->plan->count)
            deploy__move(w, g);
    }
    if (!w->plan->count)
        deploy__roll(w);
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
