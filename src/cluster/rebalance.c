/* When nodes have come, some tasks move to them: chosen by the scheduler, a few at a time, and none that its
 * service cannot spare. How a task moves is src/deploy's: as in an update. */
#include "cluster/cluster_priv.h"

#include "base/log.h"
#include "cluster/session.h"
#include "scheduler/rebalance.h"

enum {
    BUDGET_DEFAULT = 2,
    BUDGET_MAX = 100,
    SETTLE_BEATS = 3, /* a node that comes and goes gets nothing */
    AGAIN_S = 1,
};

static int read_budget(const char *text, int64_t *ret, struct err *err)
{
    *ret = str_eq(text, "off") ? 0 : BUDGET_DEFAULT;
    if (*text && !str_eq(text, "on") && !str_eq(text, "off") && parse_i64(text, 1, BUDGET_MAX, ret, NULL) < 0)
        return err_set(err, ERR_INVALID,
                       CLUSTER_REBALANCE_LABEL " must be on, off or a number from 1 to %d, not \"%.50s\"",
                       BUDGET_MAX, text);
    return 0;
}

static int64_t budget_of(const struct cluster *c)
{
    const json_t *labels = json_object_get(json_object_get(c->swarm, "Spec"), "Labels");
    int64_t n = BUDGET_DEFAULT;
    (void)read_budget(json_str(labels, CLUSTER_REBALANCE_LABEL), &n, NULL);
    return n;
}

/* A service whose tasks may move at all. */
static bool may_move(const struct service *s)
{
    return s && s->parsed.mode == DEPLOY_REPLICATED && !s->removed && !s->labels.stays &&
           !labels__has_data(json_object_get(s->o.spec, "TaskTemplate"));
}

static bool is_moving(const struct task *t)
{
    return t->moves && !task_ended(t->state);
}

/* Runs as long as a task must to count as good; the clock may have been set back. */
static bool holds(const struct task *t, int64_t now_ns)
{
    int64_t monitor = t->service->parsed.update.monitor_ns;
    return t->state == TASK_RUNNING && t->desired == TASK_RUNNING && !t->moves &&
           t->version == t->service->version && (now_ns < t->running_ns || now_ns - t->running_ns >= monitor);
}

static int64_t any_number(void *context, const char *service)
{
    struct cluster *c = context;
    return may_move(map_get(&c->objects[CLUSTER_SERVICE], service)) ? DEPLOY_REPLICAS_MAX : 0;
}

/* Of a service that is whole: as many at once as in an update, and where the old one goes first never the
 * last. */
static int64_t spare_of(void *context, const char *service)
{
    struct cluster *c = context;
    const struct service *s = map_get(&c->objects[CLUSTER_SERVICE], service);
    int64_t good = 0, moving = 0, now = time_now_ns();
    struct map_entry *e;
    if (!may_move(s) || s->status.state == ROLLOUT_UPDATING || s->status.state == ROLLOUT_ROLLBACK_STARTED)
        return 0;
    for (size_t i = 0; (e = map_next(&s->tasks, &i));) {
        good += holds(e->value, now);
        moving += is_moving(e->value);
    }
    const struct deploy_rollout *how = &s->parsed.update;
    int64_t at_once = how->parallelism ? how->parallelism : 1;
    if (good + moving < s->parsed.replicas)
        return 0;
    return (how->start_first ? at_once : MIN(at_once, s->parsed.replicas - 1)) - moving;
}

/* --- What is under way counts where it goes --- */

struct lifted {
    struct task *task;
    struct sched_shape *shape;
};

static size_t lift(struct cluster *c, struct lifted **ret)
{
    struct map_entry *e;
    size_t n = 0;
    *ret = NEW_N(struct lifted, c->objects[CLUSTER_TASK].count + 1);
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_TASK], &i));) {
        struct task *t = e->value;
        if (!is_moving(t) || t->placed == SCHED_NONE)
            continue;
        (*ret)[n++] = (struct lifted){t, sched_shape_ref(sched_task_shape(c->model, t->placed))};
        sched_task_remove(c->model, t->placed);
    }
    return n;
}

static void put_back(struct cluster *c, struct lifted *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct task *t = list[i].task;
        must(sched_task_add(c->model, list[i].shape, t->node, &t->placed, NULL) == 0); /* it was there */
        sched_shape_unref(list[i].shape);
    }
    free(list);
}

/* --- Moves --- */

void balance__stay(struct task *t)
{
    t->moves = false;
    free(take_ptr(t->why));
    t->dirty = true;
}

static void begin(struct cluster *c, struct task *t, const char *to)
{
    t->moves = true;
    t->dirty = true;
    free(t->why);
    t->why = str_printf("moved: node %s has room for it", node__name(c, to));
    log_info("cluster: task %s of service %s leaves node %s: %s has room", t->o.id, t->service->o.name,
             node__name(c, t->node), node__name(c, to));
    service__wake(c, t->service);
}

/* True while there is something left to move. */
static bool look(struct cluster *c, int64_t budget)
{
    struct sched_move *moves = NEW_N(struct sched_move, (size_t)budget + 1);
    struct task *tasks[BUDGET_MAX];
    char *to[BUDGET_MAX];
    struct lifted *lifted;
    size_t under_way = lift(c, &lifted), n = 0;
    int64_t now = time_now_ns();
    if ((int64_t)under_way < budget)
        n = sched_rebalance(c->model, (size_t)budget - under_way, now, spare_of, c, moves);
    for (size_t i = 0; i < n; i++) { /* the texts are the model's */
        tasks[i] = place__task_at(c, moves[i].task);
        to[i] = mem_strdup(moves[i].to);
    }
    bool more = n || under_way || sched_rebalance(c->model, 1, now, any_number, c, moves);
    put_back(c, lifted, under_way);
    for (size_t i = 0; i < n; i++) {
        if (tasks[i] && holds(tasks[i], now))
            begin(c, tasks[i], to[i]);
        free(to[i]);
    }
    free(moves);
    return more;
}

static bool has_newcomer(struct cluster *c)
{
    struct map_entry *e;
    bool any = false, stays;
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_NODE], &i));) {
        struct node *n = e->value;
        bool available = node__available(n, &stays);
        any = any || (available && !n->welcomed);
        n->welcomed = available;
    }
    return any;
}

int64_t balance__tick(struct cluster *c)
{
    struct err err;
    int64_t now = time_monotonic_ns(), budget = budget_of(c);
    if (has_newcomer(c))
        c->balance_ns = now + SETTLE_BEATS * assign__heartbeat(c);
    if (!budget || !c->balance_ns)
        return 0;
    if (now < c->balance_ns)
        return c->balance_ns;
    if (place__model(c, &err) < 0) {
        log_error("cluster: %s", err.msg);
        return 0;
    }
    c->balance_ns = look(c, budget) ? now + AGAIN_S * NS_PER_S : 0;
    return c->balance_ns;
}

/* --- Calls --- */

int balance__check(const json_t *labels, struct err *err)
{
    int64_t n;
    return read_budget(json_str(labels, CLUSTER_REBALANCE_LABEL), &n, err);
}

int cluster_rebalance_get(struct cluster *c, int64_t *ret, struct err *err)
{
    SCOPED_LOCK(locked, &c->lock);
    int r = cluster__no_swarm(c, err);
    if (r == 0)
        *ret = budget_of(c);
    return r;
}

int cluster_rebalance_set(struct cluster *c, int64_t budget, struct err *err)
{
    if (budget < 0 || budget > BUDGET_MAX)
        return err_set(err, ERR_INVALID, "\"Budget\" must be from 0 (off) to %d tasks at once", BUDGET_MAX);
    _cleanup_free_ char *text = budget ? str_printf("%lld", (long long)budget) : mem_strdup("off");
    int r = swarm__set_label(c, CLUSTER_REBALANCE_LABEL, text, err);
    if (r < 0)
        return r;
    SCOPED_LOCK(locked, &c->lock);
    c->balance_ns = time_monotonic_ns(); /* what could not move before may do so now */
    pthread_cond_signal(&c->decide);
    return 0;
}
