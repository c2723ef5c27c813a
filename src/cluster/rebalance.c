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

static int64_t any_number(void *context, const char *service)
{
    struct cluster *c = context;
    return may_move(map_get(&c->objects[CLUSTER_SERVICE], service)) ? DEPLOY_REPLICAS_MAX : 0;
}

static int64_t spare_of(void *context, const char *service)
{
    struct cluster *c = context;
    const struct service *s = map_get(&c->objects[CLUSTER_SERVICE], service);
    struct deploy_view view;
    if (!may_move(s))
        return 0;
    struct deploy_task *tasks = loop__view(s, &view);
    int64_t spare = deploy_spare(&view);
    free(tasks);
    return spare;
}

/* Those on their way; the caller frees. */
static sched_task *under_way(struct cluster *c, size_t *ret_count)
{
    sched_task *list = NEW_N(sched_task, c->objects[CLUSTER_TASK].count + 1);
    struct map_entry *e;
    *ret_count = 0;
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_TASK], &i));) {
        const struct task *t = e->value;
        if (is_moving(t) && t->placed != SCHED_NONE)
            list[(*ret_count)++] = t->placed;
    }
    return list;
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

static bool holds(struct task *t, int64_t now_ns)
{
    const struct deploy_view view = {
        .spec = &t->service->parsed, .version = t->service->version, .now_ns = now_ns};
    const struct deploy_task as_told = loop__task_view(t);
    return deploy_holds(&view, &as_told);
}

/* True while there is something left to move. */
static bool look(struct cluster *c, int64_t budget)
{
    struct sched_move *moves = NEW_N(struct sched_move, (size_t)budget + 1), any;
    int64_t now = time_now_ns();
    size_t leaving_count;
    sched_task *leaving = under_way(c, &leaving_count);
    size_t n = sched_rebalance(c->model, leaving, leaving_count, (size_t)budget, now, spare_of, c, moves);
    bool more = n || leaving_count || sched_rebalance(c->model, NULL, 0, 1, now, any_number, c, &any);
    for (size_t i = 0; i < n; i++) {
        struct task *t = place__task_at(c, moves[i].task);
        if (t && holds(t, now))
            begin(c, t, moves[i].to);
    }
    free(leaving);
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
