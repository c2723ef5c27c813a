/* Placing by a user's strategy. It is not asked for every node: it is offered candidates that all filters let
 * pass, in turn the emptiest and the fullest of each class, and goes on with the best scores until half of
 * them are used; only the node that has just got a task is scored again. */
#include "scheduler/scheduler_priv.h"
#include "scheduler/strategy_priv.h"

#include <math.h>

enum { LEAST_CANDIDATES = 32 };

struct offer {
    uint32_t nodes[SCHED_CANDIDATES];
    struct drover_strategy_node facts[SCHED_CANDIDATES];
    double scores[SCHED_CANDIDATES];
    size_t count;
};

static const char *label_of(const struct drover_strategy_node *node, const char *key)
{
    const struct node *n = node->internal;
    const struct label *lists[] = {n->labels, n->engine_labels};
    const size_t counts[] = {n->label_count, n->engine_label_count};
    for (int l = 0; l < 2; l++)
        for (size_t i = 0; i < counts[l]; i++)
            if (strcmp(lists[l][i].key, key) == 0)
                return lists[l][i].value;
    return NULL;
}

static struct drover_strategy_node facts_of(const struct sched *s, const struct sched_shape *shape,
                                            uint32_t node)
{
    const struct node *n = s->nodes[node];
    return (struct drover_strategy_node){
        .id = n->id,
        .name = n->name,
        .cpu_nano = n->cpu,
        .memory_bytes = n->memory,
        .free_cpu_nano = n->free_cpu,
        .free_memory_bytes = n->free_memory,
        .tasks = n->tasks,
        .service_tasks = table_get(&shape->service->counts, node),
        .has_image = shape->image && sched__holds(n, shape->image),
        .degraded = n->health == SCHED_DEGRADED,
        .label = label_of,
        .internal = n,
    };
}

/* The next possible node of a class from one end, NULL at its end. */
static struct node *next_of(struct sched *s, struct walk *w, enum order order, uint64_t *cursor,
                            uint32_t *ret_node)
{
    const struct batch *b = &s->batch;
    const struct index *x = &s->index[order];
    for (;;) {
        uint32_t node = index_find(x, s->classes[w->class].roots[order], *cursor, &b->shape->asked);
        if (node == INDEX_NONE)
            return NULL;
        *cursor = x->links[node].key + 1;
        struct node *n = s->nodes[node];
        if (n->batch == b->id ||
            sched__node_refusal(s, b->shape, node, b->now_ns).filter != SCHED_FILTER_COUNT)
            continue;
        *ret_node = node;
        return n;
    }
}

/* Fills the offer from a tier, going on where it stopped; nothing is left when the count stays 0. */
static void offer_fill(struct sched *s, struct offer *o, const struct walk *tier, size_t most)
{
    struct batch *b = &s->batch;
    o->count = 0;
    for (bool more = true; more && o->count < most;) {
        more = false;
        for (size_t i = 0; i < b->walk_count && o->count < most; i++) {
            struct walk *w = &b->walks[(i + b->id) % b->walk_count];
            if (w->tried || sched__tier_compare(b, w, tier) != 0)
                continue;
            uint64_t *cursors[ORDER_COUNT] = {&w->cursor, &w->fullest};
            for (int order = 0; order < ORDER_COUNT && o->count < most; order++) {
                uint32_t node;
                struct node *n = next_of(s, w, (enum order)order, cursors[order], &node);
                if (!n)
                    continue;
                more = true;
                n->batch = b->id;
                o->nodes[o->count] = node;
                o->facts[o->count++] = facts_of(s, b->shape, node);
            }
        }
    }
}

static int offer_score(struct sched *s, struct named_strategy *own, struct offer *o, size_t first,
                       size_t count, struct err *err)
{
    const struct sched_shape *shape = s->batch.shape;
    const struct drover_strategy_task task = {
        .service = shape->service->name,
        .image = shape->image ? shape->image->text : "",
        .options = shape->options,
        .cpu_nano = shape->cpu,
        .memory_bytes = shape->memory,
        .priority = shape->priority,
    };
    return own->strategy->score(own->strategy, &task, o->facts + first, count, o->scores + first, err);
}

static bool better(const struct sched *s, const struct offer *o, size_t a, size_t b)
{
    if (o->scores[a] != o->scores[b])
        return o->scores[a] > o->scores[b];
    return sched__key(s->nodes[o->nodes[a]], ORDER_SPREAD) < sched__key(s->nodes[o->nodes[b]], ORDER_SPREAD);
}

/* The best of the offer that is still possible; its count when there is none. */
static size_t offer_best(const struct sched *s, struct offer *o)
{
    for (;;) {
        size_t best = o->count;
        for (size_t i = 0; i < o->count; i++)
            if (!isnan(o->scores[i]) && (best == o->count || better(s, o, i, best)))
                best = i;
        if (best == o->count ||
            sched__node_refusal(s, s->batch.shape, o->nodes[best], s->batch.now_ns).filter ==
                SCHED_FILTER_COUNT)
            return best;
        o->scores[best] = NAN;
    }
}

/* An offer with at least one score that is a number; false when every possible node was left out. */
static int offer_make(struct sched *s, struct named_strategy *own, struct offer *o, size_t most,
                      bool *ret_any, struct err *err)
{
    struct batch *b = &s->batch;
    const struct walk *tier;
    *ret_any = false;
    while ((tier = sched__tier_first(b))) {
        offer_fill(s, o, tier, most);
        if (o->count == 0) {
            struct walk same = *tier;
            for (size_t i = 0; i < b->walk_count; i++)
                b->walks[i].tried |= sched__tier_compare(b, &b->walks[i], &same) == 0;
            continue;
        }
        int r = offer_score(s, own, o, 0, o->count, err);
        if (r < 0)
            return r;
        for (size_t i = 0; i < o->count; i++)
            if (!isnan(o->scores[i])) {
                *ret_any = true;
                return 0;
            }
    }
    return 0;
}

/* Places up to `count` from one offer. */
static int round_place(struct sched *s, struct named_strategy *own, size_t count, sched_task *tasks,
                       size_t *placed, bool *ret_any, struct err *err)
{
    struct offer o;
    struct sched_shape *shape = s->batch.shape;
    size_t most = MAX((size_t)LEAST_CANDIDATES, MIN(2 * count, (size_t)SCHED_CANDIDATES));
    int r = offer_make(s, own, &o, most, ret_any, err);
    if (r < 0 || !*ret_any)
        return r;
    count = MIN(count, MAX(o.count / 2, (size_t)1));
    if (shape->preference_count)
        count = 1; /* the branches are others now */
    for (size_t i = 0; i < count; i++) {
        size_t best = offer_best(s, &o);
        if (best == o.count)
            break;
        sched__task_link(s, shape, o.nodes[best], &tasks[(*placed)++]);
        if (sched__batch_breaks(shape))
            break;
        o.facts[best] = facts_of(s, shape, o.nodes[best]);
        if (i + 1 < count && (r = offer_score(s, own, &o, best, 1, err)) < 0)
            return r;
    }
    return 0;
}

size_t sched__place_own(struct sched *s, struct sched_shape *shape, struct named_strategy *own, size_t count,
                        int64_t now_ns, sched_task *tasks, bool *ret_failed)
{
    size_t placed = 0;
    *ret_failed = true;
    if (own->in_row >= SCHED_STRATEGY_STRIKES)
        return 0;
    sched__order_on(s, ORDER_BINPACK);
    while (placed < count) {
        struct err err = {0};
        bool any;
        sched__batch_begin(s, shape, BUILTIN_SPREAD, now_ns);
        for (size_t i = 0; i < s->batch.walk_count;
             i++) /* holders of the image have no rank of their own here */
            s->batch.walks[i].heap_count = 0;
        s->batch.id = ++s->batches;
        int r = round_place(s, own, count - placed, tasks, &placed, &any, &err);
        s->generation++;
        if (r < 0) {
            own->problems++;
            own->in_row++;
            snprintf(own->last, sizeof(own->last), "%s", err.msg);
            return placed;
        }
        if (!any)
            break;
    }
    own->in_row = 0;
    *ret_failed = false;
    return placed;
}
