/* Where a service's tasks of the present version have failed: told to the scheduler, which gives such a node
 * a rest. The scheduler's model is made anew now and then; what it is told then are the ended tasks that are
 * kept. */
#include "cluster/cluster_priv.h"

#include "scheduler/scheduler.h"

static bool is_failure(const struct task *t)
{
    return t->node && (t->state == TASK_FAILED || t->state == TASK_REJECTED) &&
           t->version == t->service->version && !deploy_is_job(t->service->parsed.mode);
}

/* The model forgets a service that has neither a task nor a shape in it. */
static bool keep_known(struct cluster *c, struct service *s)
{
    if (!s->known && place__shape(c, s, s->o.spec, s->ports, &s->known, &(struct err){0}) < 0)
        return false;
    return true;
}

void failures__unkeep(struct service *s)
{
    sched_shape_unref(take_ptr(s->known));
}

void failures__note(struct cluster *c, const struct task *t)
{
    if (c->model && is_failure(t) && keep_known(c, t->service))
        (void)sched_failure(c->model, t->service->o.id, t->node, t->ended_ns, &(struct err){0});
}

static int earlier(const void *a, const void *b)
{
    const struct task *x = *(struct task *const *)a, *y = *(struct task *const *)b;
    return x->ended_ns < y->ended_ns ? -1 : x->ended_ns > y->ended_ns;
}

void failures__fill(struct cluster *c)
{
    const struct task **list = NEW_N(const struct task *, c->objects[CLUSTER_TASK].count + 1);
    struct map_entry *e;
    size_t n = 0;
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_TASK], &i));)
        if (is_failure(e->value))
            list[n++] = e->value;
    qsort(list, n, sizeof(*list), earlier);
    for (size_t i = 0; i < n; i++)
        failures__note(c, list[i]);
    free(list);
}
