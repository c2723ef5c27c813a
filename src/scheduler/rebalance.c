#include "scheduler/rebalance.h"

#include "scheduler/scheduler_priv.h"

/* Takes tasks out of the model and puts them back as they were, with their numbers: what is taken last comes
 * back first. */
static void task_lift(struct sched *s, sched_task task, struct sched_shape **ret_shape, uint32_t *ret_node)
{
    *ret_shape = sched_shape_ref(s->tasks[task].shape);
    *ret_node = s->tasks[task].node;
    sched_task_remove(s, task);
}

static void task_return(struct sched *s, sched_task task, struct sched_shape *shape, uint32_t node)
{
    sched_task again;
    s->generation++;
    sched__task_link(s, shape, node, &again);
    must(again == task);
    sched_shape_unref(shape);
}

/* ---- the rebalancer ---- */

enum { TRIES_LEAST = 1024, TRIES_A_MOVE = 64 };

struct loaded {
    uint32_t node, tasks;
    uint64_t tie;
};
struct moved {
    sched_task task;
    struct sched_shape *shape;
    uint32_t from;
    sched_task at; /* where it is now */
};

static int most_first(const void *a, const void *b)
{
    const struct loaded *x = a, *y = b;
    if (x->tasks != y->tasks)
        return x->tasks > y->tasks ? -1 : 1;
    return x->tie < y->tie ? -1 : x->tie > y->tie;
}

static bool may_move(struct sched *s, const struct sched_shape *shape)
{
    struct named_strategy *own;
    const char *name;
    return sched__strategy_of(s, shape, &own, &name) == BUILTIN_SPREAD && !own && !shape->volume_count &&
           !shape->port_count;
}

static int64_t moved_of(const struct moved *done, size_t count, const struct service *service)
{
    int64_t n = 0;
    for (size_t i = 0; i < count; i++)
        n += done[i].shape->service == service;
    return n;
}

/* Places the task as if it were new, and keeps it there when the nodes come closer. */
static bool try_move(struct sched *s, sched_task task, int64_t now_ns, struct moved *ret)
{
    struct sched_shape *shape;
    uint32_t from;
    task_lift(s, task, &shape, &from);
    sched_task at;
    if (sched_place(s, shape, 1, now_ns, &at) == 1) {
        const struct node *to = s->nodes[s->tasks[at].node], *old = s->nodes[from];
        if (s->tasks[at].node != from && to->tasks <= old->tasks) {
            *ret = (struct moved){task, shape, from, at};
            return true;
        }
        sched_task_remove(s, at);
    }
    task_return(s, task, shape, from);
    return false;
}

/* One task of the node whose service can spare it. `tries` bounds what is tried in all. */
static bool node_relieve(struct sched *s, uint32_t node, int64_t now_ns, sched_spare_fn *spare, void *context,
                         struct moved *done, size_t count, size_t *tries)
{
    size_t n = sched_node_tasks(s, s->nodes[node]->id, NULL, 0);
    sched_task *tasks = NEW_N(sched_task, n + 1);
    sched_node_tasks(s, s->nodes[node]->id, tasks, n);
    bool moved = false;
    const struct sched_shape *failed = NULL; /* another of the same would fail too */
    for (size_t i = 0; i < n && !moved && *tries; i++) {
        const struct sched_shape *shape = s->tasks[tasks[i]].shape;
        if (shape == failed)
            continue;
        bool is_moved = false; /* once is enough */
        for (size_t k = 0; k < count; k++)
            is_moved |= done[k].at == tasks[i];
        if (!is_moved && may_move(s, shape) &&
            spare(context, shape->service->name) > moved_of(done, count, shape->service)) {
            (*tries)--;
            moved = try_move(s, tasks[i], now_ns, &done[count]);
            failed = shape;
        }
    }
    free(tasks);
    return moved;
}

/* The model has none that is leaving. */
static size_t find_moves(struct sched *s, size_t budget, int64_t now_ns, sched_spare_fn *spare, void *context,
                         struct sched_move *moves)
{
    struct loaded *nodes = NEW_N(struct loaded, s->node_count + 1);
    struct moved *done = NEW_N(struct moved, budget + 1);
    size_t count = 0, n = 0, tries = TRIES_LEAST + TRIES_A_MOVE * budget;
    for (uint32_t i = 0; i < s->node_top; i++)
        if (s->nodes[i])
            nodes[n++] = (struct loaded){i, s->nodes[i]->tasks, s->nodes[i]->tie};
    qsort(nodes, n, sizeof(*nodes), most_first);
    /* Each round takes at most one from a node, so that the fullest ones give alike. */
    for (bool any = true; any && count < budget;) {
        any = false;
        for (size_t i = 0; i < n && count < budget && nodes[i].tasks > nodes[n - 1].tasks + 1; i++)
            if (node_relieve(s, nodes[i].node, now_ns, spare, context, done, count, &tries)) {
                any = true;
                count++;
            }
    }
    for (size_t i = count; i-- > 0;) {
        moves[i] =
            (struct sched_move){done[i].task, s->nodes[done[i].from]->id, sched_task_node(s, done[i].at)};
        sched_task_remove(s, done[i].at);
        task_return(s, done[i].task, done[i].shape, done[i].from);
    }
    free(done);
    free(nodes);
    return count;
}

size_t sched_rebalance(struct sched *s, const sched_task *leaving, size_t leaving_count, size_t budget,
                       int64_t now_ns, sched_spare_fn *spare, void *context, struct sched_move *moves)
{
    if (leaving_count >= budget)
        return 0;
    struct moved *gone = NEW_N(struct moved, leaving_count + 1);
    for (size_t i = 0; i < leaving_count; i++) {
        gone[i].task = leaving[i];
        task_lift(s, leaving[i], &gone[i].shape, &gone[i].from);
    }
    size_t n = find_moves(s, budget - leaving_count, now_ns, spare, context, moves);
    for (size_t i = leaving_count; i-- > 0;)
        task_return(s, gone[i].task, gone[i].shape, gone[i].from);
    free(gone);
    return n;
}

/* ---- plan ---- */

struct plan {
    struct sched *s;
    struct sched_action *actions;
    size_t capacity, count;
};

static void action_add(struct plan *p, enum sched_action_kind kind, struct sched_shape *shape,
                       const char *from, const char *to)
{
    if (p->count < p->capacity) {
        struct sched_action *a = &p->actions[p->count];
        a->kind = kind;
        a->shape = shape;
        snprintf(a->from, sizeof(a->from), "%s", from);
        snprintf(a->to, sizeof(a->to), "%s", to);
    }
    p->count++;
}

static void plan_start(struct plan *p, struct sched_shape *shape, size_t count, int64_t now_ns)
{
    sched_task *tasks = NEW_N(sched_task, count);
    size_t placed = sched_place(p->s, shape, count, now_ns, tasks);
    for (size_t i = 0; i < count; i++)
        if (i < placed)
            action_add(p, SCHED_ACTION_START, shape, "", sched_task_node(p->s, tasks[i]));
        else
            action_add(p, SCHED_ACTION_REFUSE, shape, "", "");
    while (placed > 0)
        sched_task_remove(p->s, tasks[--placed]);
    free(tasks);
}

static void plan_stop(struct plan *p, struct sched_shape *shape, size_t count)
{
    struct sched *s = p->s;
    struct moved *gone = NEW_N(struct moved, count);
    for (size_t i = 0; i < count; i++) {
        uint32_t worst = INDEX_NONE;
        uint64_t most = 0;
        const struct table *counts = &shape->service->counts;
        for (uint32_t k = 0; k < counts->cap; k++) {
            if (!counts->entries[k].count)
                continue;
            uint32_t node = (uint32_t)counts->entries[k].key;
            uint64_t load = (uint64_t)counts->entries[k].count << 32 | s->nodes[node]->tasks;
            if (worst == INDEX_NONE || load > most ||
                (load == most && s->nodes[node]->tie < s->nodes[worst]->tie)) {
                worst = node;
                most = load;
            }
        }
        uint32_t task = s->nodes[worst]->first_task;
        while (s->tasks[task].shape->service != shape->service)
            task = s->tasks[task].next;
        action_add(p, SCHED_ACTION_STOP, s->tasks[task].shape, s->nodes[worst]->id, "");
        gone[i].task = (sched_task)task;
        task_lift(s, gone[i].task, &gone[i].shape, &gone[i].from);
    }
    for (size_t i = count; i-- > 0;)
        task_return(s, gone[i].task, gone[i].shape, gone[i].from);
    free(gone);
}

/* Whether a node keeps a task: a paused one does, a drained one does not. */
static bool node_keeps(struct sched *s, struct sched_shape *shape, uint32_t node)
{
    const struct node *n = s->nodes[node];
    uint16_t soft;
    if (n->state != SCHED_READY || n->availability == SCHED_DRAIN)
        return false;
    enum sched_filter f = sched__static_refusal(s, shape, n, &soft).filter;
    return f == SCHED_FILTER_COUNT || f == SCHED_FILTER_STATE || f == SCHED_FILTER_HEALTH;
}

static void plan_moves(struct plan *p, const char *id, int64_t now_ns)
{
    struct sched *s = p->s;
    uint32_t node = sched__node_index(s, id);
    size_t n = sched_node_tasks(s, id, NULL, 0), count = 0;
    sched_task *tasks = NEW_N(sched_task, n + 1);
    struct moved *done = NEW_N(struct moved, n + 1);
    sched_node_tasks(s, id, tasks, n);
    for (size_t i = 0; i < n; i++) {
        if (node_keeps(s, s->tasks[tasks[i]].shape, node))
            continue;
        struct moved *m = &done[count++];
        m->task = tasks[i];
        task_lift(s, m->task, &m->shape, &m->from);
        bool found = sched_place(s, m->shape, 1, now_ns, &m->at) == 1;
        action_add(p, found ? SCHED_ACTION_MOVE : SCHED_ACTION_REFUSE, m->shape, id,
                   found ? sched_task_node(s, m->at) : "");
        m->at = found ? m->at : SCHED_NONE;
    }
    for (size_t i = count; i-- > 0;) {
        sched_task_remove(s, done[i].at);
        task_return(s, done[i].task, done[i].shape, done[i].from);
    }
    free(done);
    free(tasks);
}

int sched_plan(struct sched *s, const struct sched_change *change, int64_t now_ns,
               struct sched_action *actions, size_t capacity, size_t *ret_count, struct err *err)
{
    struct plan p = {.s = s, .actions = actions, .capacity = capacity};
    if (change->kind == SCHED_CHANGE_SCALE) {
        size_t have = change->shape->service->tasks;
        if (change->count > SCHED_TASKS_MAX)
            return err_set(err, ERR_LIMIT, "%zu tasks: a cluster has at most %d", change->count,
                           SCHED_TASKS_MAX);
        if (change->count > have)
            plan_start(&p, change->shape, change->count - have, now_ns);
        else if (change->count < have)
            plan_stop(&p, change->shape, have - change->count);
    } else {
        int r = sched_node_put(s, change->node, err);
        if (r < 0)
            return r;
        plan_moves(&p, change->node->id, now_ns);
        r = change->before ? sched_node_put(s, change->before, err)
                           : sched_node_remove(s, change->node->id, err);
        if (r < 0)
            return r;
    }
    *ret_count = p.count;
    return 0;
}
