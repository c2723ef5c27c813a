/* Placing by the built-in strategies. A batch places equal tasks; while nothing else changes, it has these
 * invariants:
 *   1. What refuses a node goes on refusing it (only this batch takes anything), so that no node is asked
 * again.
 *   2. A walk has passed every node of its class with a key below `cursor`: it was refused for good, or is in
 * the heap.
 *   3. A node in the heap has the batch's id as its mark; the walk passes it when its new key comes.
 * What breaks 1 or 2 ends the batch: see sched__batch_breaks(). */
#include "scheduler/scheduler_priv.h"
#include "scheduler/strategy.h"

enum { RANDOM_TRIES = 64 };

static bool entry_less(const struct entry *a, const struct entry *b)
{
    return a->level != b->level ? a->level < b->level : a->key < b->key;
}

static void heap_push(struct walk *w, struct entry e)
{
    GROW(w->heap, w->heap_count, w->heap_cap);
    size_t at = w->heap_count++;
    for (; at > 0 && entry_less(&e, &w->heap[(at - 1) / 2]); at = (at - 1) / 2)
        w->heap[at] = w->heap[(at - 1) / 2];
    w->heap[at] = e;
}

static void heap_pop(struct walk *w)
{
    struct entry last = w->heap[--w->heap_count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= w->heap_count)
            break;
        if (child + 1 < w->heap_count && entry_less(&w->heap[child + 1], &w->heap[child]))
            child++;
        if (!entry_less(&w->heap[child], &last))
            break;
        w->heap[at] = w->heap[child];
        at = child;
    }
    w->heap[at] = last;
}

uint64_t sched__level(const struct sched_shape *shape, uint32_t node, const struct node *n, bool spread)
{
    uint64_t soft = sched__node_soft(shape, node, n);
    if (!spread && !shape->spread_nodes)
        return soft << 32;
    uint64_t count = table_get(&shape->service->counts, node);
    return shape->spread_nodes ? count << 32 | soft : soft << 32 | count;
}

static struct entry entry_of(const struct sched *s, const struct batch *b, uint32_t node)
{
    const struct node *n = s->nodes[node];
    return (struct entry){sched__level(b->shape, node, n, b->order == ORDER_SPREAD), sched__key(n, b->order),
                          node};
}

static bool batch_refuses(const struct sched *s, const struct batch *b, uint32_t node)
{
    return sched__node_refusal(s, b->shape, node, b->now_ns).filter != SCHED_FILTER_COUNT;
}

static void walk_on(struct sched *s, struct walk *w)
{
    const struct batch *b = &s->batch;
    const struct index *x = &s->index[b->order];
    while (!w->has_next && !w->exhausted) {
        uint32_t node = index_find(x, s->classes[w->class].roots[b->order], w->cursor, &b->shape->asked);
        if (node == INDEX_NONE) {
            w->exhausted = true;
            break;
        }
        w->cursor = x->links[node].key + 1;
        struct node *n = s->nodes[node];
        if (n->batch == b->id || batch_refuses(s, b, node))
            continue;
        struct entry e = entry_of(s, b, node);
        if (e.level == 0) {
            w->next = e;
            w->has_next = true;
        } else {
            n->batch = b->id;
            heap_push(w, e);
        }
    }
}

static bool walk_best(struct sched *s, struct walk *w)
{
    if (w->known)
        return w->has_best;
    walk_on(s, w);
    while (w->heap_count && batch_refuses(s, &s->batch, w->heap[0].node))
        heap_pop(w);
    w->known = true;
    w->has_best = w->has_next || w->heap_count;
    w->next_is_best = w->has_next && (!w->heap_count || entry_less(&w->next, &w->heap[0]));
    if (w->has_best)
        w->best = w->next_is_best ? w->next : w->heap[0];
    return w->has_best;
}

/* ---- the batch ---- */

void sched__batch_end(struct sched *s)
{
    struct batch *b = &s->batch;
    for (size_t i = 0; i < b->walk_count; i++)
        free(b->walks[i].heap);
    free(b->branch_counts);
    *b = (struct batch){.walks = b->walks};
}

/* The node's branch on each level, from the values of its labels down to there. */
static void branches_of(struct sched *s, const struct sched_shape *shape, const struct node *n,
                        struct map *names, uint32_t *branches)
{
    _cleanup_str_ struct str path = STR_INIT;
    for (size_t i = 0; i < shape->preference_count; i++) {
        const struct constraint *p = &shape->preferences[i];
        str_addf(&path, "%zu\n%s\n", i, sched__attribute(n, p->attribute, p->key));
        uintptr_t at = (uintptr_t)map_get(names, str_get(&path));
        if (!at) {
            at = names->count + 1;
            map_put(names, str_get(&path), (void *)at);
        }
        branches[i] = (uint32_t)at - 1;
    }
}

/* Counts the service's tasks by branch, wherever they are. */
static void branches_count(struct sched *s, struct batch *b, struct map *names)
{
    const struct table *counts = &b->shape->service->counts;
    size_t levels = b->shape->preference_count;
    uint32_t(*by_class)[PREFERENCES_MAX] = mem_new(mem_mul(s->class_count + 1, sizeof(*by_class)));
    for (size_t c = 0; c < s->class_count; c++)
        if (sched__node(s, s->classes[c].example))
            branches_of(s, b->shape, s->nodes[s->classes[c].example], names, by_class[c]);
    b->branch_counts = NEW_N(uint32_t, names->count + 1);
    b->branch_count = names->count;
    for (uint32_t i = 0; i < counts->cap; i++)
        for (size_t l = 0; counts->entries[i].count && l < levels; l++)
            b->branch_counts[by_class[s->nodes[counts->entries[i].key]->class][l]] +=
                counts->entries[i].count;
    for (size_t i = 0; i < b->walk_count; i++)
        memcpy(b->walks[i].branches, by_class[b->walks[i].class], sizeof(b->walks[i].branches));
    free(by_class);
}

/* The few nodes that hold the image stand in the heap, lighter than they are. */
static void batch_add_holders(struct sched *s, struct batch *b)
{
    const uint32_t *holders = b->shape->image ? sched__holders(s, b->shape->image) : NULL;
    for (uint32_t h = 0; holders && h < b->shape->image->holders; h++) {
        struct node *n = s->nodes[holders[h]];
        for (size_t i = 0; i < b->walk_count; i++) {
            if (b->walks[i].class != n->class)
                continue;
            struct entry e = entry_of(s, b, holders[h]);
            e.key = sched__key_with_image(e.key, b->order);
            n->batch = b->id;
            heap_push(&b->walks[i], e);
        }
    }
}

void sched__batch_begin(struct sched *s, struct sched_shape *shape, enum builtin strategy, int64_t now_ns)
{
    struct batch *b = &s->batch;
    sched__batch_end(s);
    b->shape = shape;
    b->id = ++s->batches;
    b->strategy = (int)strategy;
    b->order = strategy == BUILTIN_BINPACK ? ORDER_BINPACK : ORDER_SPREAD;
    b->generation = s->generation;
    b->now_ns = now_ns;
    b->walks = mem_grow(b->walks, s->class_count + 1, sizeof(*b->walks));
    for (size_t c = 0; c < s->class_count; c++) {
        const struct class_answer *a = sched__class_answer(s, shape, c);
        if (a->possible && s->classes[c].roots[b->order] != INDEX_NONE)
            b->walks[b->walk_count++] = (struct walk){.class = (uint32_t)c, .soft = a->soft};
    }
    if (shape->preference_count) {
        struct map names = MAP_INIT(NULL);
        branches_count(s, b, &names);
        map_done(&names);
    }
    if (strategy != BUILTIN_RANDOM)
        batch_add_holders(s, b);
}

/* Parts 1 and 2 of the rank: below, equal, above. */
int sched__tier_compare(const struct batch *b, const struct walk *x, const struct walk *y)
{
    if (x->soft != y->soft)
        return x->soft < y->soft ? -1 : 1;
    for (size_t l = 0; l < b->shape->preference_count; l++) {
        uint32_t nx = b->branch_counts[x->branches[l]], ny = b->branch_counts[y->branches[l]];
        if (nx != ny)
            return nx < ny ? -1 : 1;
    }
    return 0;
}

/* The best tier among walks that were not tried; NULL when none is left. */
const struct walk *sched__tier_first(const struct batch *b)
{
    const struct walk *first = NULL;
    for (size_t i = 0; i < b->walk_count; i++)
        if (!b->walks[i].tried && (!first || sched__tier_compare(b, &b->walks[i], first) < 0))
            first = &b->walks[i];
    return first;
}

/* The walk whose best node is the best of the tier, by order of load. */
static struct walk *tier_by_load(struct sched *s, const struct walk *tier)
{
    struct batch *b = &s->batch;
    struct walk *best = NULL;
    for (size_t i = 0; i < b->walk_count; i++) {
        struct walk *w = &b->walks[i];
        if (w->tried || sched__tier_compare(b, w, tier) != 0)
            continue;
        if (walk_best(s, w) && (!best || entry_less(&w->best, &best->best)))
            best = w;
    }
    return best;
}

/* Any possible node of the tier, each as likely. A few guesses find one unless possible nodes are rare; then
 * all are looked at. */
static struct walk *tier_by_chance(struct sched *s, const struct walk *tier)
{
    struct batch *b = &s->batch;
    const struct index *x = &s->index[ORDER_SPREAD];
    uint64_t nodes = 0, seen = 0;
    for (size_t i = 0; i < b->walk_count; i++)
        if (!b->walks[i].tried && sched__tier_compare(b, &b->walks[i], tier) == 0)
            nodes += index_size(x, s->classes[b->walks[i].class].roots[ORDER_SPREAD]);
    struct walk *best = NULL;
    for (int tries = nodes ? RANDOM_TRIES : 0; tries > 0; tries--) {
        uint64_t rank = sched__random(s) % nodes;
        for (size_t i = 0; i < b->walk_count; i++) {
            struct walk *w = &b->walks[i];
            if (w->tried || sched__tier_compare(b, w, tier) != 0)
                continue;
            uint32_t root = s->classes[w->class].roots[ORDER_SPREAD], size = index_size(x, root);
            if (rank >= size) {
                rank -= size;
                continue;
            }
            w->best.node = index_at(x, root, (uint32_t)rank);
            if (!batch_refuses(s, b, w->best.node))
                return w;
            break;
        }
    }
    for (size_t i = 0; i < b->walk_count; i++) {
        struct walk *w = &b->walks[i];
        if (w->tried || sched__tier_compare(b, w, tier) != 0)
            continue;
        uint32_t root = s->classes[w->class].roots[ORDER_SPREAD];
        for (uint64_t from = 0;;) {
            uint32_t node = index_find(x, root, from, &b->shape->asked);
            if (node == INDEX_NONE)
                break;
            from = x->links[node].key + 1;
            if (!batch_refuses(s, b, node) && sched__random(s) % ++seen == 0) {
                w->best.node = node;
                best = w;
            }
        }
    }
    return best;
}

/* The walk with the next node as its best; NULL when no node is possible. */
static struct walk *batch_pick(struct sched *s)
{
    struct batch *b = &s->batch;
    for (size_t i = 0; i < b->walk_count; i++)
        b->walks[i].tried = false;
    const struct walk *tier;
    while ((tier = sched__tier_first(b))) {
        struct walk *found = b->strategy == BUILTIN_RANDOM ? tier_by_chance(s, tier) : tier_by_load(s, tier);
        if (found)
            return found;
        struct walk same = *tier;
        for (size_t i = 0; i < b->walk_count; i++)
            b->walks[i].tried |= sched__tier_compare(b, &b->walks[i], &same) == 0;
    }
    return NULL;
}

static void batch_take(struct sched *s, struct walk *w, sched_task *ret)
{
    struct batch *b = &s->batch;
    uint32_t node = w->best.node;
    bool as_holder =
        !w->next_is_best && b->shape->image && w->best.key != sched__key(s->nodes[node], b->order);
    if (b->strategy != BUILTIN_RANDOM) {
        if (w->next_is_best)
            w->has_next = false;
        else
            heap_pop(w);
        w->known = false;
    }
    sched__task_link(s, b->shape, node, ret);
    for (size_t l = 0; l < b->shape->preference_count; l++)
        b->branch_counts[w->branches[l]]++;
    if (b->strategy != BUILTIN_RANDOM) {
        struct entry e = entry_of(s, b, node);
        if (as_holder)
            e.key = sched__key_with_image(e.key, b->order);
        s->nodes[node]->batch = b->id;
        heap_push(w, e);
    }
}

/* A task that was placed may make nodes impossible that the batch has seen as possible: volumes are now where
 * it is, and a service that wants to be near itself now is somewhere. */
bool sched__batch_breaks(const struct sched_shape *shape)
{
    return shape->volume_count || (shape->affinity_count && shape->service->tasks == 1);
}

enum builtin sched__strategy_of(struct sched *s, const struct sched_shape *shape,
                                struct named_strategy **ret_own, const char **ret_name)
{
    const char *name = shape->strategy, *of_pool = map_get(&s->pool_strategies, shape->pool);
    if (!*name)
        name = of_pool ? of_pool : s->default_strategy;
    *ret_name = name;
    *ret_own = map_get(&s->strategies, name);
    int builtin = sched_strategy_builtin(name);
    return builtin < 0 ? BUILTIN_SPREAD : (enum builtin)builtin;
}

size_t sched_place(struct sched *s, struct sched_shape *shape, size_t count, int64_t now_ns,
                   sched_task *tasks)
{
    struct named_strategy *own;
    const char *name;
    enum builtin strategy = sched__strategy_of(s, shape, &own, &name);
    sched__order_on(s, strategy == BUILTIN_BINPACK ? ORDER_BINPACK : ORDER_SPREAD);
    sched__classes_refresh(s);
    sched__targets_refresh(s, shape);
    count = MIN(count, (size_t)(SCHED_TASKS_MAX - s->task_count));
    bool failed = true;
    size_t placed = own ? sched__place_own(s, shape, own, count, now_ns, tasks, &failed) : 0;
    if (!failed)
        return placed;
    bool resumes = s->batch.shape == shape && s->batch.generation == s->generation &&
                   s->batch.strategy == (int)strategy && !shape->service->failure_count;
    if (!resumes)
        sched__batch_begin(s, shape, strategy, now_ns);
    for (; placed < count; placed++) {
        struct walk *w = batch_pick(s);
        if (!w)
            break;
        batch_take(s, w, &tasks[placed]);
        if (sched__batch_breaks(shape))
            sched__batch_begin(s, shape, strategy, now_ns);
    }
    return placed;
}

bool sched_node_possible(struct sched *s, struct sched_shape *shape, const char *node, int64_t now_ns)
{
    uint32_t index = sched__node_index(s, node);
    if (index == INDEX_NONE)
        return false;
    sched__classes_refresh(s);
    sched__targets_refresh(s, shape);
    return sched__class_answer(s, shape, s->nodes[index]->class)->possible &&
           sched__node_refusal(s, shape, index, now_ns).filter == SCHED_FILTER_COUNT;
}

bool sched_place_one(struct sched *s, struct sched_shape *shape, int64_t now_ns, sched_task *ret)
{
    int64_t later_ns = 0;
    while (sched_place(s, shape, 1, now_ns + later_ns, ret) == 0) {
        if (later_ns > SCHED_BACKOFF_MAX_NS || !shape->service->failure_count) {
            *ret = SCHED_NONE;
            return false;
        }
        later_ns += SCHED_BACKOFF_NS;
    }
    return true;
}
