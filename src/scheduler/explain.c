#include "scheduler/scheduler_priv.h"
#include "scheduler/strategy.h"

static double whole(int64_t nano)
{
    return (double)nano / 1e9;
}

static void amount_text(char *out, size_t n, int64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes;
    size_t unit = 0;
    for (; (value >= 1024 || value <= -1024) && unit + 1 < ARRAY_SIZE(units); unit++)
        value /= 1024;
    snprintf(out, n, "%.4g %s", value, units[unit]);
}

/* Reasons of one filter that are told apart: by the constraint, the port, the resource; with the best of the
 * refused. */
struct group {
    struct refusal refusal;
    uint32_t nodes;
    int64_t most; /* free of a resource */
    const struct node *example;
    const char *names[SCHED_NAMES];
};
struct groups {
    struct group *list;
    size_t count, cap;
};

static int64_t generic_free(const struct node *n, const char *kind)
{
    for (size_t i = 0; i < n->generic_count; i++)
        if (strcmp(n->generic[i].kind, kind) == 0)
            return n->generic[i].free;
    return 0;
}

static void group_add(struct groups *g, const struct sched_shape *shape, const struct node *n,
                      struct refusal r)
{
    int64_t have = 0;
    if (r.filter == SCHED_FILTER_RESOURCES)
        have = r.which == 0   ? n->free_cpu
               : r.which == 1 ? n->free_memory
                              : generic_free(n, shape->generic[r.which - 2].kind);
    for (size_t i = 0; i < g->count; i++) {
        struct group *known = &g->list[i];
        if (known->refusal.filter != r.filter || known->refusal.which != r.which)
            continue;
        if (known->nodes < SCHED_NAMES)
            known->names[known->nodes] = n->name;
        known->nodes++;
        if (have > known->most) {
            known->most = have;
            known->example = n;
        }
        return;
    }
    GROW(g->list, g->count, g->cap);
    g->list[g->count++] = (struct group){r, 1, have, n, {n->name}};
}

static void resource_text(const struct group *g, const struct sched_shape *shape, char *out, size_t n)
{
    const char *on = g->example->name;
    if (g->refusal.which == 0) {
        snprintf(out, n, "%g processors asked; the most free is %g, on %.64s", whole(shape->cpu),
                 whole(g->most), on);
    } else if (g->refusal.which == 1) {
        char asked[32], most[32];
        amount_text(asked, sizeof(asked), shape->memory);
        amount_text(most, sizeof(most), g->most);
        snprintf(out, n, "%s of memory asked; the most free is %s, on %.64s", asked, most, on);
    } else {
        const struct amount *a = &shape->generic[g->refusal.which - 2];
        snprintf(out, n, "%lld of %.64s asked; the most free is %lld, on %.64s", (long long)a->total, a->kind,
                 (long long)g->most, on);
    }
}

static void volume_text(const struct group *g, const struct sched_shape *shape, char *out, size_t n)
{
    const struct volume_wish *v = &shape->volumes[g->refusal.which];
    if (v->exclusive && v->symbol->writers)
        snprintf(out, n, "volume %.128s is written by another task", v->symbol->text);
    else
        snprintf(out, n, "volume %.128s is on %u other nodes", v->symbol->text, v->symbol->holders);
}

static void platforms_text(const struct sched_shape *shape, char *out, size_t n)
{
    _cleanup_str_ struct str list = STR_INIT;
    for (size_t i = 0; i < shape->platform_count; i++)
        str_addf(&list, "%s%s/%s", i ? ", " : "", *shape->oses[i] ? shape->oses[i] : "*",
                 *shape->architectures[i] ? shape->architectures[i] : "*");
    snprintf(out, n, "the image is for %.200s", str_get(&list));
}

static void group_text(const struct group *g, const struct sched_shape *shape, char *out, size_t n)
{
    static const char *const protocols[] = {"tcp", "udp", "sctp"};
    size_t which = g->refusal.which;
    switch (g->refusal.filter) {
    case SCHED_FILTER_STATE:
        snprintf(out, n, "%s", which ? "down, or not heard of" : "paused or drained");
        break;
    case SCHED_FILTER_HEALTH:
        snprintf(out, n, "%.220s, on %.64s", *g->example->health_text ? g->example->health_text : "unhealthy",
                 g->example->name);
        break;
    case SCHED_FILTER_POOL:
        snprintf(out, n, *shape->pool ? "not of pool %.128s" : "of a pool, and the task is of none",
                 shape->pool);
        break;
    case SCHED_FILTER_TENANT:
        snprintf(out, n, "for another tenant");
        break;
    case SCHED_FILTER_PLATFORM:
        platforms_text(shape, out, n);
        break;
    case SCHED_FILTER_CONSTRAINT:
        snprintf(out, n, "%.256s", shape->constraints[which].text);
        break;
    case SCHED_FILTER_FAILURES:
        snprintf(out, n, "the service failed there at least %d times, the last time not long ago",
                 SCHED_FAILURES_LEAST);
        break;
    case SCHED_FILTER_VOLUMES:
        volume_text(g, shape, out, n);
        break;
    case SCHED_FILTER_AFFINITY:
        snprintf(out, n, "%.256s", shape->affinities[which].text);
        break;
    case SCHED_FILTER_MAX_PER_NODE:
        snprintf(out, n, "%u of the service already", shape->max_per_node);
        break;
    case SCHED_FILTER_PORTS:
        snprintf(out, n, "port %u/%s is in use", shape->ports[which].port,
                 protocols[shape->ports[which].protocol]);
        break;
    default:
        resource_text(g, shape, out, n);
    }
}

static int by_filter(const void *a, const void *b)
{
    const struct group *x = a, *y = b;
    if (x->refusal.filter != y->refusal.filter)
        return x->refusal.filter < y->refusal.filter ? -1 : 1;
    return x->refusal.which < y->refusal.which ? -1 : x->refusal.which > y->refusal.which;
}

static void reasons_fill(struct sched_explanation *e, struct groups *g, const struct sched_shape *shape)
{
    if (g->count)
        qsort(g->list, g->count, sizeof(*g->list), by_filter);
    for (size_t i = 0; i < g->count; i++) {
        struct sched_reason *r = &e->reasons[MIN(i, (size_t)SCHED_REASONS - 1)];
        if (i < SCHED_REASONS) {
            r->filter = g->list[i].refusal.filter;
            group_text(&g->list[i], shape, r->text, sizeof(r->text));
            r->name_count = MIN(g->list[i].nodes, (uint32_t)SCHED_NAMES);
            memcpy(r->names, g->list[i].names, sizeof(r->names));
            e->reason_count++;
        } else {
            snprintf(r->text, sizeof(r->text), "other reasons");
        }
        r->nodes += g->list[i].nodes;
    }
}

/* The whole rank of a possible node. */
struct rank {
    uint32_t branches[PREFERENCES_MAX + 1]; /* before them, soft constraints */
    uint64_t level, key;
    uint32_t node;
};

static bool rank_less(const struct rank *a, const struct rank *b, size_t parts)
{
    for (size_t i = 0; i < parts; i++)
        if (a->branches[i] != b->branches[i])
            return a->branches[i] < b->branches[i];
    return a->level != b->level ? a->level < b->level : a->key < b->key;
}

struct ranking {
    struct rank best[SCHED_BEST];
    size_t count;
};

static void ranking_add(struct ranking *to, const struct rank *r, size_t parts)
{
    size_t at = to->count;
    while (at > 0 && rank_less(r, &to->best[at - 1], parts))
        at--;
    if (at == SCHED_BEST)
        return;
    if (to->count < SCHED_BEST)
        to->count++;
    memmove(to->best + at + 1, to->best + at, (to->count - 1 - at) * sizeof(*r));
    to->best[at] = *r;
}

static struct rank rank_of(struct sched *s, const struct sched_shape *shape, const struct walk *w,
                           uint32_t node, bool few_hold)
{
    const struct batch *b = &s->batch;
    const struct node *n = s->nodes[node];
    struct rank r = {.branches = {w->soft}, .node = node};
    for (size_t l = 0; l < shape->preference_count; l++)
        r.branches[l + 1] = b->branch_counts[w->branches[l]];
    r.level = sched__level(shape, node, n, b->order == ORDER_SPREAD);
    r.key = sched__key(n, b->order);
    if (few_hold && sched__holds(n, shape->image))
        r.key = sched__key_with_image(r.key, b->order);
    return r;
}

static void best_fill(struct sched *s, const struct sched_shape *shape, const struct ranking *ranking,
                      struct sched_explanation *e)
{
    for (size_t i = 0; i < ranking->count; i++) {
        const struct rank *r = &ranking->best[i];
        const struct node *n = s->nodes[r->node];
        e->best[e->best_count++] = (struct sched_candidate){
            .node = n->name,
            .soft = r->branches[0] + sched__node_soft(shape, r->node, n),
            .service_tasks = table_get(&shape->service->counts, r->node),
            .tasks = n->tasks,
            .free_cpu_nano = n->free_cpu,
            .free_memory_bytes = n->free_memory,
            .image = shape->image && sched__holds(n, shape->image),
        };
    }
}

static void strategy_fill(struct sched *s, const struct sched_shape *shape, const struct named_strategy *own,
                          struct sched_explanation *e)
{
    if (own && own->in_row)
        snprintf(e->problem, sizeof(e->problem), "%s%s", own->last,
                 own->in_row >= SCHED_STRATEGY_STRIKES ? "; it is not asked again until it is replaced" : "");
    else if (!own && sched_strategy_builtin(e->strategy) < 0)
        snprintf(e->problem, sizeof(e->problem), "no strategy is called \"%.64s\": spread is used",
                 e->strategy);
}

void sched_explain(struct sched *s, struct sched_shape *shape, int64_t now_ns, struct sched_explanation *ret)
{
    memset(ret, 0, sizeof(*ret));
    struct named_strategy *own;
    enum builtin strategy = sched__strategy_of(s, shape, &own, &ret->strategy);
    strategy_fill(s, shape, own, ret);
    sched__order_on(s, strategy == BUILTIN_BINPACK ? ORDER_BINPACK : ORDER_SPREAD);
    sched__classes_refresh(s);
    sched__targets_refresh(s, shape);
    sched__batch_begin(s, shape, strategy, now_ns);
    uint32_t *walk_of = NEW_N(uint32_t, s->class_count + 1);
    for (size_t i = 0; i < s->batch.walk_count; i++)
        walk_of[s->batch.walks[i].class] = (uint32_t)i;
    bool few_hold = shape->image && sched__holders(s, shape->image);
    struct groups groups = {0};
    struct ranking ranking = {0};
    for (uint32_t i = 0; i < s->node_top; i++) {
        const struct node *n = s->nodes[i];
        if (!n)
            continue;
        uint16_t soft;
        struct refusal r = sched__static_refusal(s, shape, n, &soft);
        if (r.filter == SCHED_FILTER_COUNT)
            r = sched__node_refusal(s, shape, i, now_ns);
        ret->nodes++;
        if (r.filter != SCHED_FILTER_COUNT) {
            ret->refused[r.filter]++;
            group_add(&groups, shape, n, r);
            continue;
        }
        ret->possible++;
        struct rank rank = rank_of(s, shape, &s->batch.walks[walk_of[n->class]], i, few_hold);
        ranking_add(&ranking, &rank, shape->preference_count + 1);
    }
    reasons_fill(ret, &groups, shape);
    best_fill(s, shape, &ranking, ret);
    sched__batch_end(s);
    free(walk_of);
    free(groups.list);
}

char *sched_explanation_format(const struct sched_explanation *e, const struct sched_shape *shape)
{
    struct str out = STR_INIT;
    char memory[32];
    amount_text(memory, sizeof(memory), shape->memory);
    str_addf(&out, "service %s: %g processors, %s of memory, priority %d; strategy %s\n",
             shape->service->name, whole(shape->cpu), memory, shape->priority, e->strategy);
    if (*e->problem)
        str_addf(&out, "  %s\n", e->problem);
    str_addf(&out, "  %u of %u nodes are possible\n", e->possible, e->nodes);
    for (size_t i = 0; i < e->reason_count; i++)
        str_addf(&out, "  %u refused by %s: %s\n", e->reasons[i].nodes,
                 sched_filter_name(e->reasons[i].filter), e->reasons[i].text);
    for (size_t i = 0; i < e->best_count; i++) {
        const struct sched_candidate *c = &e->best[i];
        amount_text(memory, sizeof(memory), c->free_memory_bytes);
        str_addf(&out, "  %zu. %s: %u of the service, %u tasks, %g processors and %s free", i + 1, c->node,
                 c->service_tasks, c->tasks, whole(c->free_cpu_nano), memory);
        if (c->soft)
            str_addf(&out, ", %u soft wishes not met", c->soft);
        str_add(&out, c->image ? ", has the image\n" : "\n");
    }
    return str_take(&out);
}
