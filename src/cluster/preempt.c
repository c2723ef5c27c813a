/* Tasks make room for one of a higher priority (label sh.drover.priority) that finds no node otherwise: they
 * are told to end, their successors look for another node, and it has their room from now on. It begins when
 * they have ended. */
#include "cluster/cluster_priv.h"

#include "base/log.h"
#include "scheduler/scheduler.h"

/* Most clusters have one priority: nothing is searched there. */
static bool is_above_another(struct cluster *c, const struct service *s)
{
    struct map *both[] = {&c->objects[CLUSTER_SERVICE], &c->leaving};
    struct map_entry *e;
    for (size_t b = 0; b < ARRAY_SIZE(both); b++)
        for (size_t i = 0; (e = map_next(both[b], &i));)
            if (((const struct service *)e->value)->labels.priority < s->labels.priority)
                return true;
    return false;
}

bool preempt__find(struct cluster *c, const struct service *s, struct sched_shape *shape,
                   struct sched_preemption *ret)
{
    ret->node = NULL;
    if (is_above_another(c, s))
        sched_preempt(c->model, shape, time_now_ns(), ret);
    return ret->node != NULL;
}

static char *name_of(const struct task *t)
{
    return t->slot ? str_printf("%s.%lld", t->service->o.name, (long long)t->slot)
                   : mem_strdup(t->service->o.name);
}

static void make_way(struct cluster *c, struct task *t, const struct task *to)
{
    _cleanup_free_ char *name = name_of(to);
    if (!t->gives_way)
        t->gives_way = mem_strdup(to->o.id);
    if (t->desired >= TASK_SHUTDOWN)
        return; /* on its way already */
    free(t->why);
    t->why = str_printf("made room for %s of priority %d (its own: %d)", name, to->service->labels.priority,
                        t->service->labels.priority);
    log_info("cluster: task %s of service %s %s", t->o.id, t->service->o.name, t->why);
    task__set(c, t, t->state, t->message, t->why);
    loop__desire(c, t, TASK_SHUTDOWN);
    service__wake(c, t->service);
}

int preempt__make_room(struct cluster *c, struct task *t, struct sched_shape *shape, struct err *err)
{
    struct sched_preemption *p = NEW(struct sched_preemption);
    struct task *victims[SCHED_VICTIMS_MAX];
    int r = -ERR_NOT_FOUND;
    if (preempt__find(c, t->service, shape, p)) {
        char *node = mem_strdup(p->node);
        for (size_t i = 0; i < p->count; i++) /* ending one may change the model */
            victims[i] = place__task_at(c, p->victims[i]);
        r = sched_task_add(c->model, shape, node, &t->placed, err);
        free(t->node);
        t->node = node;
        t->made_room = true;
        for (size_t i = 0; r == 0 && i < p->count; i++)
            if (victims[i])
                make_way(c, victims[i], t);
    }
    free(p);
    return r;
}

int preempt__wait(struct cluster *c, const struct task *t, struct err *why)
{
    int64_t left = 0;
    struct map_entry *e;
    for (size_t i = 0; t->made_room && (e = map_next(&c->objects[CLUSTER_TASK], &i));) {
        const struct task *other = e->value;
        left += other->gives_way && str_eq(other->node, t->node) && !task_ended(other->state);
    }
    if (!left)
        return 0;
    return err_set(why, ERR_UNAVAILABLE, "waits until %lld task%s of a lower priority %s ended on its node",
                   (long long)left, left == 1 ? "" : "s", left == 1 ? "has" : "have");
}

json_t *preempt__describe(struct cluster *c, const struct service *s, struct sched_shape *shape)
{
    struct sched_preemption *p = NEW(struct sched_preemption);
    json_t *list = json_array();
    if (preempt__find(c, s, shape, p))
        for (size_t i = 0; i < p->count; i++) {
            const struct task *t = place__task_at(c, p->victims[i]);
            _cleanup_free_ char *name = t ? name_of(t) : NULL;
            if (t)
                json_array_append_new(list, json_pack("{s:s, s:s, s:i}", "ID", t->o.id, "Name", name,
                                                      "Priority", (int)t->service->labels.priority));
        }
    free(p);
    return list;
}
