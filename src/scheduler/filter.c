#include "scheduler/scheduler_priv.h"

static const char *const filter_names[] = {
#define X(name, text) text,
    SCHED_FILTERS(X)
#undef X
};

const char *sched_filter_name(enum sched_filter filter)
{
    return filter_names[filter];
}

static const struct refusal possible = {SCHED_FILTER_COUNT, 0};

static struct refusal refused(enum sched_filter filter, size_t which)
{
    return (struct refusal){filter, which};
}

static bool platform_fits(const struct sched_shape *shape, const struct node *n)
{
    for (size_t i = 0; i < shape->platform_count; i++)
        if ((str_empty(shape->oses[i]) || strcasecmp(shape->oses[i], n->os) == 0) &&
            (str_empty(shape->architectures[i]) || strcasecmp(shape->architectures[i], n->architecture) == 0))
            return true;
    return shape->platform_count == 0;
}

static bool constraint_met(const struct constraint *c, const struct node *n)
{
    bool fits = c->attribute == ATTRIBUTE_NODE
                    ? constraint_value_fits(c, n->id) || constraint_value_fits(c, n->name)
                    : constraint_value_fits(c, sched__attribute(n, c->attribute, c->key));
    return fits != c->negate;
}

struct refusal sched__static_refusal(const struct sched *s, const struct sched_shape *shape,
                                     const struct node *n, uint16_t *ret_soft)
{
    *ret_soft = n->health == SCHED_DEGRADED;
    if (n->state != SCHED_READY || n->availability != SCHED_ACTIVE)
        return refused(SCHED_FILTER_STATE, n->state != SCHED_READY);
    if (n->health == SCHED_UNHEALTHY)
        return refused(SCHED_FILTER_HEALTH, n->health_cause);
    if (strcmp(shape->pool, n->pool) != 0)
        return refused(SCHED_FILTER_POOL, 0);
    if (*n->tenant && strcmp(shape->tenant, n->tenant) != 0)
        return refused(SCHED_FILTER_TENANT, 0);
    if (!platform_fits(shape, n))
        return refused(SCHED_FILTER_PLATFORM, 0);
    for (size_t i = 0; i < shape->constraint_count; i++) {
        const struct constraint *c = &shape->constraints[i];
        if (sched__left_out(s, c) || constraint_met(c, n))
            continue;
        if (!c->soft)
            return refused(SCHED_FILTER_CONSTRAINT, i);
        (*ret_soft)++;
    }
    return possible;
}

const struct class_answer *sched__class_answer(struct sched *s, struct sched_shape *shape, size_t class)
{
    if (shape->answers_version != s->classes_version) {
        shape->answers_version = s->classes_version;
        shape->answer_count = 0;
    }
    if (class >= shape->answer_count) {
        shape->answers = mem_grow(shape->answers, s->class_count, sizeof(*shape->answers));
        for (; shape->answer_count < s->class_count; shape->answer_count++) {
            struct class_answer *a = &shape->answers[shape->answer_count];
            /* A class is made with its first node, and without nodes nobody asks. */
            const struct node *example = sched__node(s, s->classes[shape->answer_count].example);
            a->soft = 0;
            a->possible =
                example && sched__static_refusal(s, shape, example, &a->soft).filter == SCHED_FILTER_COUNT;
        }
    }
    return &shape->answers[class];
}

int64_t sched__backoff_until(const struct service *service, uint32_t node, uint32_t *ret_count)
{
    for (size_t i = 0; i < service->failure_count; i++) {
        const struct failure *f = &service->failures[i];
        if (f->node != node)
            continue;
        *ret_count = f->count;
        if (f->count < SCHED_FAILURES_LEAST)
            return INT64_MIN;
        uint32_t doubled = MIN(f->count - SCHED_FAILURES_LEAST, 16u);
        return f->last_ns + MIN(SCHED_BACKOFF_NS << doubled, SCHED_BACKOFF_MAX_NS);
    }
    return INT64_MIN;
}

static struct refusal volume_refusal(const struct sched_shape *shape, const struct node *n)
{
    for (size_t i = 0; i < shape->volume_count; i++) {
        const struct volume_wish *v = &shape->volumes[i];
        if ((v->exclusive && v->symbol->writers) || (v->symbol->holders && !sched__holds(n, v->symbol)))
            return refused(SCHED_FILTER_VOLUMES, i);
    }
    return possible;
}

static bool runs_any(const struct sched_shape *shape, size_t affinity, uint32_t node)
{
    for (size_t t = shape->target_begin[affinity]; t < shape->target_begin[affinity + 1]; t++)
        if (table_get(shape->targets[t], node))
            return true;
    return false;
}

/* The first task of a service that wants to be near itself. */
static bool is_first_of_itself(const struct sched_shape *shape, const struct constraint *a)
{
    return a->attribute == ATTRIBUTE_SERVICE && shape->service->tasks == 0 &&
           constraint_value_fits(a, shape->service->name);
}

static bool affinity_met(const struct sched_shape *shape, size_t i, uint32_t node)
{
    const struct constraint *a = &shape->affinities[i];
    return runs_any(shape, i, node) != a->negate || (!a->negate && is_first_of_itself(shape, a));
}

struct refusal sched__lasting_refusal(const struct sched *s, const struct sched_shape *shape, uint32_t node,
                                      int64_t now_ns)
{
    const struct node *n = s->nodes[node];
    for (size_t i = 0; i < shape->constraint_count; i++) {
        const struct constraint *c = &shape->constraints[i];
        if (!c->soft && sched__left_out(s, c) && !constraint_met(c, n))
            return refused(SCHED_FILTER_CONSTRAINT, i);
    }
    uint32_t failures;
    if (shape->service->failure_count && sched__backoff_until(shape->service, node, &failures) > now_ns)
        return refused(SCHED_FILTER_FAILURES, 0);
    struct refusal r = volume_refusal(shape, n);
    if (r.filter != SCHED_FILTER_COUNT)
        return r;
    for (size_t i = 0; i < shape->affinity_count; i++)
        if (!shape->affinities[i].soft && !affinity_met(shape, i, node))
            return refused(SCHED_FILTER_AFFINITY, i);
    if (shape->max_per_node && table_get(&shape->service->counts, node) >= shape->max_per_node)
        return refused(SCHED_FILTER_MAX_PER_NODE, 0);
    return possible;
}

struct refusal sched__resource_refusal(const struct sched *s, const struct sched_shape *shape,
                                       const struct node *n)
{
    for (size_t i = 0; i < shape->port_count; i++)
        if (table_get(&n->ports, (uint64_t)shape->ports[i].protocol << 16 | shape->ports[i].port))
            return refused(SCHED_FILTER_PORTS, i);
    /* Who asks for nothing fits on a node that promised too much. */
    if (shape->cpu > 0 && shape->cpu > n->free_cpu)
        return refused(SCHED_FILTER_RESOURCES, 0);
    if (shape->memory > 0 && shape->memory > n->free_memory)
        return refused(SCHED_FILTER_RESOURCES, 1);
    for (size_t i = 0; i < shape->generic_count; i++) {
        size_t k = 0;
        while (k < n->generic_count && strcmp(n->generic[k].kind, shape->generic[i].kind) != 0)
            k++;
        if (k == n->generic_count || n->generic[k].free < shape->generic[i].total)
            return refused(SCHED_FILTER_RESOURCES, 2 + i);
    }
    return possible;
}

struct refusal sched__node_refusal(const struct sched *s, const struct sched_shape *shape, uint32_t node,
                                   int64_t now_ns)
{
    struct refusal r = sched__lasting_refusal(s, shape, node, now_ns);
    return r.filter != SCHED_FILTER_COUNT ? r : sched__resource_refusal(s, shape, s->nodes[node]);
}

uint32_t sched__node_soft(const struct sched_shape *shape, uint32_t node, const struct node *n)
{
    uint32_t soft = 0;
    for (size_t i = 0; i < shape->constraint_count; i++) {
        const struct constraint *c = &shape->constraints[i];
        soft += c->soft && sched__own_fact(c->attribute) && !constraint_met(c, n);
    }
    for (size_t i = 0; i < shape->affinity_count; i++)
        soft += shape->affinities[i].soft && !affinity_met(shape, i, node);
    return soft;
}

static void targets_add(struct sched_shape *shape, size_t *count, size_t *cap, const struct table *t)
{
    GROW(shape->targets, *count, *cap);
    shape->targets[(*count)++] = t;
}

void sched__targets_refresh(struct sched *s, struct sched_shape *shape)
{
    if (!shape->affinity_count || (shape->targets && shape->targets_version == s->names_version))
        return;
    shape->targets_version = s->names_version;
    free(take_ptr(shape->targets));
    size_t count = 0, cap = 0;
    for (size_t i = 0; i < shape->affinity_count; i++) {
        const struct constraint *a = &shape->affinities[i];
        bool of_service = a->attribute == ATTRIBUTE_SERVICE;
        struct map *names = of_service ? &s->services : &s->symbols;
        shape->target_begin[i] = count;
        struct map_entry *e;
        for (size_t at = 0; (e = map_next(names, &at));) {
            if (!a->pattern) {
                void *only = map_get(names, a->value);
                if (only)
                    targets_add(shape, &count, &cap,
                                of_service ? &((struct service *)only)->counts
                                           : &((struct symbol *)only)->running);
                break;
            }
            if (constraint_value_fits(a, e->key))
                targets_add(shape, &count, &cap,
                            of_service ? &((struct service *)e->value)->counts
                                       : &((struct symbol *)e->value)->running);
        }
    }
    shape->target_begin[shape->affinity_count] = count;
    if (!shape->targets)
        shape->targets = NEW_N(const struct table *, 1);
}
