#include "scheduler/scheduler_priv.h"

enum {
    CONSIDERED_MAX = 512, /* lower tasks of a node that are weighed, the lowest first */
    PAIRS_MAX = 128,      /* of which all pairs are tried */
};

/* A task that may go, and what its end gives. */
struct victim {
    uint32_t task;
    int32_t priority;
    double weight; /* the share of what is missing that it gives */
};

/* The node with some of its tasks taken away, for asking the filter. */
struct trial {
    struct sched *s;
    const struct sched_shape *shape;
    uint32_t node;
};

static void trial_free(const struct trial *t, uint32_t task, int sign)
{
    struct node *n = t->s->nodes[t->node];
    const struct sched_shape *of = t->s->tasks[task].shape;
    n->free_cpu += sign * of->cpu;
    n->free_memory += sign * of->memory;
    for (size_t i = 0; i < of->generic_count; i++)
        for (size_t k = 0; k < n->generic_count; k++)
            if (strcmp(n->generic[k].kind, of->generic[i].kind) == 0)
                n->generic[k].free += sign * of->generic[i].total;
    for (size_t i = 0; i < of->port_count; i++)
        table_add(&n->ports, (uint64_t)of->ports[i].protocol << 16 | of->ports[i].port, -sign);
}

static bool trial_fits(const struct trial *t)
{
    return sched__resource_refusal(t->s, t->shape, t->s->nodes[t->node]).filter == SCHED_FILTER_COUNT;
}

static bool fits_without(const struct trial *t, uint32_t a, uint32_t b)
{
    trial_free(t, a, 1);
    if (b != INDEX_NONE)
        trial_free(t, b, 1);
    bool fits = trial_fits(t);
    trial_free(t, a, -1);
    if (b != INDEX_NONE)
        trial_free(t, b, -1);
    return fits;
}

static int lower_first(const void *a, const void *b)
{
    const struct victim *x = a, *y = b;
    if (x->priority != y->priority)
        return x->priority < y->priority ? -1 : 1;
    if (x->weight != y->weight)
        return x->weight > y->weight ? -1 : 1;
    return x->task < y->task ? -1 : x->task > y->task;
}

static double weight_of(const struct trial *t, const struct sched_shape *of)
{
    const struct node *n = t->s->nodes[t->node];
    double weight = 0;
    if (t->shape->cpu > n->free_cpu)
        weight += (double)of->cpu / (double)(t->shape->cpu - n->free_cpu);
    if (t->shape->memory > n->free_memory)
        weight += (double)of->memory / (double)(t->shape->memory - n->free_memory);
    for (size_t i = 0; i < of->generic_count; i++)
        for (size_t k = 0; k < t->shape->generic_count; k++)
            weight += strcmp(of->generic[i].kind, t->shape->generic[k].kind) == 0;
    for (size_t i = 0; i < of->port_count; i++)
        for (size_t k = 0; k < t->shape->port_count; k++)
            weight += of->ports[i].port == t->shape->ports[k].port &&
                      of->ports[i].protocol == t->shape->ports[k].protocol;
    return weight;
}

static size_t victims_list(const struct trial *t, struct victim *list)
{
    size_t count = 0;
    for (uint32_t at = t->s->nodes[t->node]->first_task; at != INDEX_NONE; at = t->s->tasks[at].next) {
        const struct sched_shape *of = t->s->tasks[at].shape;
        if (of->priority >= t->shape->priority)
            continue;
        double weight = weight_of(t, of);
        if (weight <= 0)
            continue;
        struct victim v = {at, of->priority, weight};
        if (count < CONSIDERED_MAX) {
            list[count++] = v;
            continue;
        }
        size_t worst = 0;
        for (size_t i = 1; i < count; i++)
            if (lower_first(&list[i], &list[worst]) > 0)
                worst = i;
        if (lower_first(&v, &list[worst]) < 0)
            list[worst] = v;
    }
    qsort(list, count, sizeof(*list), lower_first);
    return count;
}

/* The lowest priority that must be reached into: the first `*ret_end` of the list are enough together. */
static bool enough_up_to(const struct trial *t, const struct victim *list, size_t count, size_t *ret_end)
{
    size_t end = 0;
    bool fits = false;
    while (end < count && !fits) {
        trial_free(t, list[end++].task, 1);
        fits = trial_fits(t);
    }
    for (size_t i = 0; i < end; i++)
        trial_free(t, list[i].task, -1);
    while (fits && end < count && list[end].priority == list[end - 1].priority)
        end++;
    *ret_end = end;
    return fits;
}

static bool one_or_two(const struct trial *t, const struct victim *list, size_t count,
                       struct sched_preemption *ret)
{
    for (size_t i = 0; i < count; i++)
        if (fits_without(t, list[i].task, INDEX_NONE)) {
            ret->victims[0] = (sched_task)list[i].task;
            ret->count = 1;
            return true;
        }
    if (count > PAIRS_MAX)
        return false;
    for (size_t i = 0; i < count; i++)
        for (size_t k = i + 1; k < count; k++)
            if (fits_without(t, list[i].task, list[k].task)) {
                ret->victims[0] = (sched_task)list[i].task;
                ret->victims[1] = (sched_task)list[k].task;
                ret->count = 2;
                return true;
            }
    return false;
}

static int heavier_first(const void *a, const void *b)
{
    const struct victim *x = a, *y = b;
    return x->weight != y->weight ? (x->weight > y->weight ? -1 : 1) : lower_first(a, b);
}

/* Takes the heaviest until it fits, then gives back each that was not needed, the heaviest of the highest
 * first. */
static bool many(const struct trial *t, struct victim *list, size_t count, struct sched_preemption *ret)
{
    qsort(list, count, sizeof(*list), heavier_first);
    size_t end = 0;
    bool fits = false;
    while (end < count && !fits) {
        trial_free(t, list[end++].task, 1);
        fits = trial_fits(t);
    }
    qsort(list, end, sizeof(*list), lower_first);
    bool kept[CONSIDERED_MAX];
    for (size_t i = end; i-- > 0;) {
        trial_free(t, list[i].task, -1);
        kept[i] = !trial_fits(t);
        if (kept[i])
            trial_free(t, list[i].task, 1);
    }
    ret->count = 0;
    for (size_t i = 0; i < end; i++) {
        if (!kept[i])
            continue;
        trial_free(t, list[i].task, -1);
        if (ret->count < SCHED_VICTIMS_MAX)
            ret->victims[ret->count] = (sched_task)list[i].task;
        ret->count++;
    }
    return fits && ret->count <= SCHED_VICTIMS_MAX;
}

/* The cheapest set on one node, and the highest priority in it. */
static bool node_preempt(const struct trial *t, struct sched_preemption *ret, int32_t *ret_highest)
{
    struct victim list[CONSIDERED_MAX];
    size_t count = victims_list(t, list), end;
    if (!enough_up_to(t, list, count, &end))
        return false;
    *ret_highest = list[end - 1].priority;
    if (!one_or_two(t, list, end, ret) && !many(t, list, end, ret))
        return false;
    ret->node = t->s->nodes[t->node]->id;
    return true;
}

/* The lowest priority below the request's whose tasks, with all lower ones, have enough processors and
 * memory; a bound, as ports and other resources may ask for more. */
static bool bound_of(const struct node *n, const struct sched_shape *shape, int32_t *ret)
{
    int64_t cpu = n->free_cpu, memory = n->free_memory;
    for (size_t i = 0; i < n->band_count && n->bands[i].priority < shape->priority; i++) {
        cpu += n->bands[i].cpu;
        memory += n->bands[i].memory;
        *ret = n->bands[i].priority;
        if ((shape->cpu <= 0 || cpu >= shape->cpu) && (shape->memory <= 0 || memory >= shape->memory))
            return true;
    }
    return false;
}

struct cost {
    int32_t bound, highest; /* the highest is the bound, until the node is weighed */
    size_t count;
    uint64_t level, key;
    uint32_t node;
};

static int cost_compare(const void *x, const void *y)
{
    const struct cost *a = x, *b = y;
    if (a->highest != b->highest)
        return a->highest < b->highest ? -1 : 1;
    if (a->count != b->count)
        return a->count < b->count ? -1 : 1;
    if (a->level != b->level)
        return a->level < b->level ? -1 : 1;
    return a->key < b->key ? -1 : a->key > b->key;
}

/* Fills in what weighing the node by the bound needs; false when it is not worth weighing. */
static bool cost_of(struct sched *s, struct sched_shape *shape, int64_t now_ns, enum order order,
                    struct cost *ret)
{
    const struct node *n = s->nodes[ret->node];
    if (!bound_of(n, shape, &ret->bound) || !sched__class_answer(s, shape, n->class)->possible ||
        sched__lasting_refusal(s, shape, ret->node, now_ns).filter != SCHED_FILTER_COUNT ||
        sched__resource_refusal(s, shape, n).filter == SCHED_FILTER_COUNT)
        return false;
    ret->highest = ret->bound;
    ret->level = sched__level(shape, ret->node, n, order == ORDER_SPREAD);
    return true;
}

/* The nodes worth weighing, the cheapest by the bound first. Of thousands most are told at a glance to be
 * behind those that were found. */
static size_t nodes_list(struct sched *s, struct sched_shape *shape, int64_t now_ns, enum order order,
                         struct cost *list)
{
    size_t count = 0;
    sched__order_on(s, order);
    for (uint32_t i = 0; i < s->node_top; i++) {
        const struct glance *g = &s->glances[i];
        if (!g->tasks || g->lowest >= shape->priority)
            continue;
        struct cost c = {.node = i, .highest = g->lowest, .key = s->index[order].links[i].key};
        bool full = count == SCHED_PREEMPT_NODES;
        if ((full && cost_compare(&c, &list[count - 1]) > 0) || !cost_of(s, shape, now_ns, order, &c) ||
            (full && cost_compare(&c, &list[count - 1]) > 0))
            continue;
        size_t at = full ? count - 1 : count++;
        for (; at > 0 && cost_compare(&c, &list[at - 1]) < 0; at--)
            list[at] = list[at - 1];
        list[at] = c;
    }
    return count;
}

/* No node from `next` on in the list is cheaper than the best: what it takes is higher, or no fewer than one
 * task and behind in rank. (A best that had to take more than its bound says may be behind in rank itself.)
 */
static bool is_settled(const struct cost *best, const struct cost *next)
{
    return next->bound > best->highest ||
           (next->bound == best->highest && best->bound == best->highest && best->count == 1);
}

void sched_preempt(struct sched *s, struct sched_shape *shape, int64_t now_ns, struct sched_preemption *ret)
{
    ret->node = NULL;
    ret->count = 0;
    struct named_strategy *own;
    const char *name;
    enum order order =
        sched__strategy_of(s, shape, &own, &name) == BUILTIN_BINPACK ? ORDER_BINPACK : ORDER_SPREAD;
    sched__classes_refresh(s);
    sched__targets_refresh(s, shape);
    struct cost list[SCHED_PREEMPT_NODES], best = {0};
    size_t count = nodes_list(s, shape, now_ns, order, list);
    for (size_t i = 0; i < count && !(ret->node && is_settled(&best, &list[i])); i++) {
        struct sched_preemption found = {0};
        struct trial trial = {s, shape, list[i].node};
        if (!node_preempt(&trial, &found, &list[i].highest))
            continue;
        list[i].count = found.count;
        if (!ret->node || cost_compare(&list[i], &best) < 0) {
            best = list[i];
            *ret = found;
        }
    }
}
