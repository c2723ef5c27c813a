#include "swarm.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/timeutil.h"
#include "unit.h"

enum { PASSES = 200, HISTORY = 5 };

uint64_t swarm_draw(struct swarm *w, uint64_t below)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->random % below;
}

/* --- What there is --- */

static void put_node(struct swarm *w, const struct swarm_node *n)
{
    struct err err;
    const struct sched_node node = {.id = n->id,
                                    .name = n->id,
                                    .availability = n->lost || n->drained ? SCHED_DRAIN : SCHED_ACTIVE,
                                    .cpu_nano = n->cpu,
                                    .memory_bytes = 1 << 30};
    assert_ok(sched_node_put(w->model, &node, &err), &err);
}

int swarm_node_add(struct swarm *w, int64_t cpu)
{
    must(w->node_count < SWARM_NODES);
    struct swarm_node *n = &w->nodes[w->node_count];
    *n = (struct swarm_node){.cpu = cpu};
    snprintf(n->id, sizeof(n->id), "n%d", w->node_count);
    put_node(w, n);
    w->balance_ns = w->now_ns + SWARM_SETTLE_S * NS_PER_S;
    return w->node_count++;
}

void swarm_node_set(struct swarm *w, int node, bool lost, bool drained)
{
    struct swarm_node *n = &w->nodes[node];
    bool was = n->lost || n->drained;
    n->lost = lost;
    n->drained = drained;
    put_node(w, n);
    if (was && !lost && !drained)
        w->balance_ns = w->now_ns + SWARM_SETTLE_S * NS_PER_S;
}

static struct swarm_node *node_of(struct swarm *w, const char *id)
{
    for (int i = 0; id && i < w->node_count; i++)
        if (str_eq(w->nodes[i].id, id))
            return &w->nodes[i];
    return NULL;
}

struct swarm *swarm_new(uint64_t seed, int nodes, int64_t cpu)
{
    struct swarm *w = NEW(struct swarm);
    w->seed = seed;
    w->random = seed * UINT64_C(2654435761) + UINT64_C(88172645463325252);
    w->now_ns = 1000 * NS_PER_S;
    w->model = sched_new(seed);
    w->budget = 2;
    for (int i = 0; i < nodes; i++)
        swarm_node_add(w, cpu);
    w->balance_ns = 0;
    return w;
}

void swarm_free(struct swarm *w)
{
    for (size_t i = 0; i < w->task_count; i++)
        free(w->tasks[i]);
    for (int i = 0; i < w->service_count; i++)
        sched_shape_unref(w->services[i].shape);
    sched_free(w->model);
    free(w);
}

int swarm_service_add(struct swarm *w, const char *spec, int64_t cpu, int32_t priority)
{
    struct err err;
    _cleanup_json_ json_t *doc = NULL;
    must(w->service_count < SWARM_SERVICES);
    struct swarm_service *s = &w->services[w->service_count];
    *s = (struct swarm_service){.cpu = cpu, .priority = priority, .version = 1};
    snprintf(s->name, sizeof(s->name), "s%d", w->service_count);
    assert_ok(json_parse(spec, strlen(spec), "spec", &doc, &err), &err);
    assert_ok(deploy_spec_parse(doc, &s->spec, &err), &err);
    const struct sched_request request = {.service = s->name, .cpu_nano = cpu, .priority = priority};
    assert_ok(sched_shape_new(w->model, &request, &s->shape, &err), &err);
    return w->service_count++;
}

int64_t swarm_running(const struct swarm *w, int service)
{
    int64_t n = 0;
    for (size_t i = 0; i < w->task_count; i++)
        n += w->tasks[i]->service == service && w->tasks[i]->t.state == TASK_RUNNING;
    return n;
}

/* --- Tasks --- */

void swarm_end(struct swarm *w, struct swarm_task *t, enum task_state state)
{
    t->t.state = state;
    t->t.ended_ns = w->now_ns;
    if (t->placed != SCHED_NONE)
        sched_task_remove(w->model, t->placed);
    t->placed = SCHED_NONE;
    if (state == TASK_FAILED && t->t.version == w->services[t->service].version)
        (void)sched_failure(w->model, w->services[t->service].name, t->t.node, w->now_ns, &(struct err){0});
}

static void desire(struct swarm *w, struct swarm_task *t, enum task_state desired)
{
    const struct swarm_node *n = node_of(w, t->t.node);
    t->t.desired = desired;
    t->t.settled = false;
    if (desired >= TASK_SHUTDOWN && t->t.state <= TASK_ASSIGNED)
        swarm_end(w, t, TASK_SHUTDOWN);
    if (desired >= TASK_SHUTDOWN && n && n->lost && !task_ended(t->t.state))
        swarm_end(w, t, TASK_ORPHANED);
}

static void create(struct swarm *w, int service, const struct deploy_action *a)
{
    must(w->task_count < SWARM_TASKS);
    struct swarm_task *t = NEW(struct swarm_task);
    *t = (struct swarm_task){.service = service, .placed = SCHED_NONE};
    snprintf(t->id, sizeof(t->id), "t%06lld", (long long)w->made++);
    t->t = (struct deploy_task){.id = t->id,
                                .slot = a->slot,
                                .state = TASK_PENDING,
                                .desired = a->desired,
                                .start_at_ns = a->start_at_ns,
                                .failures = a->failures,
                                .version = w->services[service].version,
                                .created_ns = MAX(w->now_ns, w->services[service].status.started_ns),
                                .owner = t};
    w->tasks[w->task_count++] = t;
}

static void forget(struct swarm *w, struct swarm_task *t)
{
    size_t i = 0;
    while (w->tasks[i] != t)
        i++;
    memmove(&w->tasks[i], &w->tasks[i + 1], (--w->task_count - i) * sizeof(*w->tasks));
    free(t);
}

/* As src/deploy is shown them; the caller frees. */
static struct deploy_task *view_of(struct swarm *w, int service, struct deploy_view *ret)
{
    struct swarm_service *s = &w->services[service];
    struct deploy_task *list = NEW_N(struct deploy_task, w->task_count + 1);
    *ret = (struct deploy_view){.spec = &s->spec,
                                .version = s->version,
                                .history = HISTORY,
                                .tasks = list,
                                .now_ns = w->now_ns,
                                .status = s->status};
    for (size_t i = 0; i < w->task_count; i++)
        if (w->tasks[i]->service == service)
            list[ret->task_count++] = w->tasks[i]->t;
    return list;
}

static void apply(struct swarm *w, int service, const struct deploy_action *a)
{
    struct swarm_task *t = a->task ? a->task->owner : NULL;
    if (a->kind == DEPLOY_CREATE)
        create(w, service, a);
    else if (a->kind == DEPLOY_FORGET)
        forget(w, t);
    else if (a->kind == DEPLOY_STAY)
        t->t.moves = false;
    else {
        must(a->kind != DEPLOY_REVERT);
        desire(w, t, a->kind == DEPLOY_SETTLE ? TASK_SHUTDOWN : a->desired);
        t->t.settled = a->kind == DEPLOY_SETTLE;
    }
}

static bool decide_once(struct swarm *w, int service)
{
    struct deploy_node nodes[SWARM_NODES];
    struct deploy_view view;
    struct deploy_plan plan;
    struct deploy_task *list = view_of(w, service, &view);
    for (int i = 0; i < w->node_count; i++) {
        bool there = !w->nodes[i].lost && !w->nodes[i].drained;
        nodes[i] = (struct deploy_node){w->nodes[i].id, there, there};
    }
    view.nodes = nodes;
    view.node_count = (size_t)w->node_count;
    deploy_reconcile(&view, &plan);
    bool acted = plan.count || plan.status.state != w->services[service].status.state;
    w->services[service].status = plan.status;
    for (size_t i = 0; i < plan.count; i++)
        apply(w, service, &plan.actions[i]);
    deploy_plan_done(&plan);
    free(list);
    return acted;
}

/* --- Places --- */

static struct swarm_task *task_at(struct swarm *w, sched_task placed)
{
    for (size_t i = 0; i < w->task_count; i++)
        if (w->tasks[i]->placed == placed)
            return w->tasks[i];
    return NULL;
}

static bool make_room(struct swarm *w, struct swarm_task *t)
{
    struct sched_preemption p;
    struct swarm_task *victims[SCHED_VICTIMS_MAX];
    struct sched_shape *shape = w->services[t->service].shape;
    struct err err;
    sched_preempt(w->model, shape, w->now_ns, &p);
    if (!p.node)
        return false;
    t->t.node = node_of(w, p.node)->id;
    for (size_t i = 0; i < p.count; i++)
        victims[i] = task_at(w, p.victims[i]);
    assert_ok(sched_task_add(w->model, shape, t->t.node, &t->placed, &err), &err);
    t->made_room = true;
    for (size_t i = 0; i < p.count; i++) {
        victims[i]->gives_way = true;
        if (victims[i]->t.desired < TASK_SHUTDOWN)
            desire(w, victims[i], TASK_SHUTDOWN);
    }
    return true;
}

static bool others_leave(const struct swarm *w, const struct swarm_task *t)
{
    for (size_t i = 0; i < w->task_count; i++)
        if (t->made_room && w->tasks[i]->gives_way && str_eq(w->tasks[i]->t.node, t->t.node) &&
            !task_ended(w->tasks[i]->t.state))
            return true;
    return false;
}

static bool place(struct swarm *w, struct swarm_task *t)
{
    struct sched_shape *shape = w->services[t->service].shape;
    if (t->placed == SCHED_NONE) {
        if (sched_place_one(w->model, shape, w->now_ns, &t->placed))
            t->t.node = node_of(w, sched_task_node(w->model, t->placed))->id;
        else if (!make_room(w, t))
            return false;
    }
    if (others_leave(w, t))
        return false;
    t->t.state = TASK_ASSIGNED;
    return true;
}

static bool decide(struct swarm *w, int service)
{
    bool any = false;
    int passes = 0;
    for (size_t i = 0; i < w->task_count; i++) {
        const struct swarm_node *n = node_of(w, w->tasks[i]->t.node);
        if (w->tasks[i]->service == service && n && n->lost && !task_ended(w->tasks[i]->t.state) &&
            w->tasks[i]->t.desired >= TASK_SHUTDOWN)
            swarm_end(w, w->tasks[i], TASK_ORPHANED);
    }
    while (decide_once(w, service)) {
        any = true;
        if (++passes > PASSES)
            swarm_fail(w, "service %d does not come to rest", service);
    }
    for (size_t i = 0; i < w->task_count; i++) {
        struct swarm_task *t = w->tasks[i];
        if (t->service == service && t->t.state == TASK_PENDING && t->t.desired < TASK_SHUTDOWN)
            any = place(w, t) || any;
    }
    return any;
}

static void decide_all(struct swarm *w)
{
    int order[SWARM_SERVICES], passes = 0;
    for (int i = 0; i < w->service_count; i++) {
        int at = i;
        for (; at > 0 && w->services[order[at - 1]].priority < w->services[i].priority; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
    for (bool any = true; any;) {
        any = false;
        for (int i = 0; i < w->service_count; i++)
            any = decide(w, order[i]) || any;
        if (++passes > PASSES)
            swarm_fail(w, "the services do not come to rest");
    }
    if (w->check)
        w->check(w);
}

/* --- Moves --- */

static int number_of(const char *service)
{
    int64_t n = 0;
    parse_i64(service + 1, 0, SWARM_SERVICES - 1, &n, NULL);
    return (int)n;
}

static int64_t spare_of(void *context, const char *service)
{
    struct deploy_view view;
    struct deploy_task *list = view_of(context, number_of(service), &view);
    int64_t spare = deploy_spare(&view);
    free(list);
    return spare;
}

static int64_t any_number(void *context, const char *service)
{
    return DEPLOY_REPLICAS_MAX;
}

static void balance(struct swarm *w)
{
    sched_task leaving[SWARM_TASKS];
    struct sched_move moves[16], any;
    size_t leaving_count = 0;
    if (!w->balance_ns || w->now_ns < w->balance_ns)
        return;
    for (size_t i = 0; i < w->task_count; i++)
        if (w->tasks[i]->t.moves && w->tasks[i]->placed != SCHED_NONE)
            leaving[leaving_count++] = w->tasks[i]->placed;
    size_t n = sched_rebalance(w->model, leaving, leaving_count, w->budget, w->now_ns, spare_of, w, moves);
    w->balance_ns =
        n || leaving_count || sched_rebalance(w->model, NULL, 0, 1, w->now_ns, any_number, w, &any)
            ? w->now_ns + NS_PER_S
            : 0;
    for (size_t i = 0; i < n; i++) {
        struct swarm_task *t = task_at(w, moves[i].task);
        struct deploy_view view;
        struct deploy_task *list = view_of(w, t->service, &view);
        t->t.moves = deploy_holds(&view, &t->t);
        free(list);
        if (t->t.moves && w->moved)
            w->moved(w, t, moves[i].to);
    }
}

/* --- Time --- */

static void go_on(struct swarm *w, struct swarm_task *t)
{
    bool may_begin = t->t.state == TASK_READY && t->t.desired >= TASK_RUNNING;
    if (t->t.desired >= TASK_SHUTDOWN) {
        swarm_end(w, t, TASK_SHUTDOWN);
        return;
    }
    if (may_begin && w->begins)
        w->begins(w, t);
    if ((may_begin || t->t.state == TASK_RUNNING) && w->fails && w->fails(w, t))
        swarm_end(w, t, TASK_FAILED);
    else if (may_begin) {
        t->t.state = TASK_RUNNING;
        t->t.running_ns = w->now_ns;
    } else if (t->t.state < TASK_READY)
        t->t.state = TASK_READY;
}

static void nodes_work(struct swarm *w)
{
    for (size_t i = 0; i < w->task_count; i++) {
        struct swarm_task *t = w->tasks[i];
        const struct swarm_node *n = node_of(w, t->t.node);
        if (n && !n->lost && t->t.state >= TASK_ASSIGNED && !task_ended(t->t.state) && swarm_draw(w, 3))
            go_on(w, t);
    }
}

void swarm_pass(struct swarm *w, int64_t seconds)
{
    int64_t until = w->now_ns + seconds * NS_PER_S;
    decide_all(w);
    while (w->now_ns < until) {
        w->now_ns += (int64_t)(1 + swarm_draw(w, 1000)) * NS_PER_MS;
        nodes_work(w);
        decide_all(w);
        balance(w);
    }
}
