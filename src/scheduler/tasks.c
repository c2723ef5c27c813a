/* The model as a whole, and the tasks in it. */
#include "scheduler/scheduler_priv.h"
#include "scheduler/strategy.h"

static void strategy_drop(void *p)
{
    struct named_strategy *named = p;
    sched_strategy_free(named->strategy);
    free(named);
}

struct sched *sched_new(uint64_t seed)
{
    struct sched *s = NEW(struct sched);
    s->random = seed;
    s->by_id = s->by_signature = s->services = s->symbols = MAP_INIT(NULL);
    s->strategies = MAP_INIT(strategy_drop);
    s->pool_strategies = MAP_INIT(free);
    s->default_strategy = mem_strdup("spread");
    s->free_task = INDEX_NONE;
    s->order_on[ORDER_SPREAD] = true;
    return s;
}

void sched_free(struct sched *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; i < s->node_top; i++)
        if (s->nodes[i])
            sched_node_remove(s, s->nodes[i]->id, NULL);
    sched__batch_end(s);
    free(s->batch.walks);
    sched__classes_done(s);
    for (int i = 0; i < ORDER_COUNT; i++)
        index_done(&s->index[i]);
    struct map *maps[] = {&s->by_id, &s->services, &s->symbols, &s->strategies, &s->pool_strategies};
    for (size_t i = 0; i < ARRAY_SIZE(maps); i++)
        map_done(maps[i]);
    table_done(&s->ties);
    void *owned[] = {s->nodes, s->glances, s->free_nodes, s->tasks, s->default_strategy, s};
    for (size_t i = 0; i < ARRAY_SIZE(owned); i++)
        free(owned[i]);
}

uint64_t sched__random(struct sched *s)
{
    s->random += UINT64_C(0x9e3779b97f4a7c15);
    return mix64(s->random);
}

static void band_charge(struct node *n, const struct sched_shape *shape, int sign)
{
    size_t at = 0;
    while (at < n->band_count && n->bands[at].priority < shape->priority)
        at++;
    if (at == n->band_count || n->bands[at].priority != shape->priority) {
        GROW(n->bands, n->band_count, n->band_cap);
        memmove(n->bands + at + 1, n->bands + at, (n->band_count++ - at) * sizeof(*n->bands));
        n->bands[at] = (struct band){.priority = shape->priority};
    }
    struct band *b = &n->bands[at];
    b->tasks += (uint32_t)sign;
    b->cpu += sign * shape->cpu;
    b->memory += sign * shape->memory;
    if (b->tasks == 0)
        memmove(b, b + 1, (--n->band_count - at) * sizeof(*b));
}

/* Gives (1) or takes back (-1) what a task of the shape has on the node. */
static void node_charge(struct sched *s, const struct sched_shape *shape, uint32_t node, int sign)
{
    struct node *n = s->nodes[node];
    n->free_cpu -= sign * shape->cpu;
    n->free_memory -= sign * shape->memory;
    for (size_t i = 0; i < shape->generic_count; i++)
        for (size_t k = 0; k < n->generic_count; k++)
            if (strcmp(n->generic[k].kind, shape->generic[i].kind) == 0)
                n->generic[k].free -= sign * shape->generic[i].total;
    for (size_t i = 0; i < shape->port_count; i++)
        table_add(&n->ports, (uint64_t)shape->ports[i].protocol << 16 | shape->ports[i].port, sign);
    for (size_t i = 0; i < shape->volume_count; i++) {
        struct symbol *volume = shape->volumes[i].symbol;
        (sign > 0 ? sched__hold : sched__unhold)(s, node, volume);
        if (shape->volumes[i].exclusive)
            volume->writers += (uint32_t)sign;
    }
    if (shape->image)
        table_add(&shape->image->running, node, sign);
    table_add(&shape->service->counts, node, sign);
    shape->service->tasks += (uint32_t)sign;
    n->tasks += (uint32_t)sign;
    band_charge(n, shape, sign);
}

void sched__task_link(struct sched *s, struct sched_shape *shape, uint32_t node, sched_task *ret)
{
    uint32_t at = s->free_task;
    if (at != INDEX_NONE) {
        s->free_task = s->tasks[at].next;
    } else {
        GROW(s->tasks, s->task_top, s->task_cap);
        at = s->task_top++;
    }
    struct node *n = s->nodes[node];
    s->tasks[at] = (struct task){sched_shape_ref(shape), node, INDEX_NONE, n->first_task};
    if (n->first_task != INDEX_NONE)
        s->tasks[n->first_task].previous = at;
    n->first_task = at;
    s->task_count++;
    sched__node_unlink(s, node);
    node_charge(s, shape, node, 1);
    sched__node_link(s, node);
    *ret = (sched_task)at;
}

int sched_task_add(struct sched *s, struct sched_shape *shape, const char *node, sched_task *ret,
                   struct err *err)
{
    uint32_t index = sched__node_index(s, node);
    if (index == INDEX_NONE)
        return err_set(err, ERR_NOT_FOUND, "no node has the id \"%.100s\"", node ? node : "");
    if (s->task_count >= SCHED_TASKS_MAX)
        return err_set(err, ERR_LIMIT, "a cluster has at most %d tasks", SCHED_TASKS_MAX);
    s->generation++;
    sched__task_link(s, shape, index, ret);
    return 0;
}

static struct task *task_get(const struct sched *s, sched_task task)
{
    return task >= 0 && (uint32_t)task < s->task_top && s->tasks[task].shape ? &s->tasks[task] : NULL;
}

void sched_task_remove(struct sched *s, sched_task task)
{
    struct task *t = task_get(s, task);
    if (!t)
        return;
    s->generation++;
    struct node *n = s->nodes[t->node];
    if (t->previous != INDEX_NONE)
        s->tasks[t->previous].next = t->next;
    else
        n->first_task = t->next;
    if (t->next != INDEX_NONE)
        s->tasks[t->next].previous = t->previous;
    struct sched_shape *shape = t->shape;
    sched__node_unlink(s, t->node);
    node_charge(s, shape, t->node, -1);
    sched__node_link(s, t->node);
    *t = (struct task){.next = s->free_task};
    s->free_task = (uint32_t)task;
    s->task_count--;
    sched_shape_unref(shape);
}

const char *sched_task_node(const struct sched *s, sched_task task)
{
    const struct task *t = task_get(s, task);
    return t ? s->nodes[t->node]->id : "";
}

struct sched_shape *sched_task_shape(const struct sched *s, sched_task task)
{
    const struct task *t = task_get(s, task);
    return t ? t->shape : NULL;
}

size_t sched_task_count(const struct sched *s)
{
    return s->task_count;
}

uint32_t sched_service_tasks(const struct sched *s, const char *service, const char *node)
{
    const struct service *found = map_get(&s->services, service);
    if (!found)
        return 0;
    return node ? table_get(&found->counts, sched__node_index(s, node)) : found->tasks;
}

int sched_failure(struct sched *s, const char *service, const char *node, int64_t now_ns, struct err *err)
{
    struct service *found = map_get(&s->services, service);
    uint32_t index = sched__node_index(s, node);
    if (!found || index == INDEX_NONE)
        return err_set(err, ERR_NOT_FOUND, "no %s is called \"%.100s\"", found ? "node" : "service",
                       found ? node : service);
    s->generation++;
    struct failure *f = NULL;
    for (size_t i = 0; i < found->failure_count && !f; i++)
        if (found->failures[i].node == index)
            f = &found->failures[i];
    if (!f) {
        GROW(found->failures, found->failure_count, found->failure_cap);
        f = &found->failures[found->failure_count++];
        *f = (struct failure){.node = index, .last_ns = now_ns};
        s->some_failed = true;
    }
    int64_t windows = now_ns > f->last_ns ? (now_ns - f->last_ns) / SCHED_FAILURE_WINDOW_NS : 0;
    f->count = (windows > 31 ? 0 : f->count >> windows) + 1;
    f->last_ns = now_ns;
    return 0;
}

void sched_forgive(struct sched *s, const char *service)
{
    struct service *found = map_get(&s->services, service);
    if (!found)
        return;
    s->generation++;
    found->failure_count = 0;
}
