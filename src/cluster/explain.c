/* Why a task is where it is, or nowhere: what the scheduler says of each node, by the numbers. */
#include "cluster/cluster_priv.h"

#include "scheduler/scheduler.h"

static json_t *reasons_of(const struct sched_explanation *x)
{
    json_t *out = json_array();
    for (size_t i = 0; i < x->reason_count; i++) {
        const struct sched_reason *r = &x->reasons[i];
        json_t *names = json_array();
        for (size_t j = 0; j < r->name_count; j++)
            json_array_append_new(names, json_string(r->names[j]));
        json_array_append_new(out, json_pack("{s:s, s:I, s:o, s:s}", "Filter", sched_filter_name(r->filter),
                                             "Nodes", (json_int_t)r->nodes, "Names", names, "Text", r->text));
    }
    return out;
}

static json_t *best_of(const struct sched_explanation *x)
{
    json_t *out = json_array();
    for (size_t i = 0; i < x->best_count; i++) {
        const struct sched_candidate *b = &x->best[i];
        json_array_append_new(out, json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:b}", "Node", b->node, "Soft",
                                             (json_int_t)b->soft, "ServiceTasks",
                                             (json_int_t)b->service_tasks, "Tasks", (json_int_t)b->tasks,
                                             "FreeNanoCPUs", (json_int_t)b->free_cpu_nano, "FreeMemoryBytes",
                                             (json_int_t)b->free_memory_bytes, "Image", (int)b->image));
    }
    return out;
}

json_t *explain__shape(struct cluster *c, struct sched_shape *shape)
{
    struct sched_explanation *x = NEW(struct sched_explanation);
    sched_explain(c->model, shape, time_now_ns(), x);
    json_t *out = json_pack("{s:s, s:s, s:I, s:I, s:o, s:o}", "Strategy", x->strategy, "Problem", x->problem,
                            "Nodes", (json_int_t)x->nodes, "Possible", (json_int_t)x->possible, "Refused",
                            reasons_of(x), "Best", best_of(x));
    must(out);
    free(x);
    return out;
}

/* The newest task of "web.3". */
static struct task *task_of_slot(struct cluster *c, const char *ref)
{
    const char *dot = strrchr(ref, '.');
    int64_t slot = 0;
    if (!dot || parse_i64(dot + 1, 1, DEPLOY_REPLICAS_MAX, &slot, NULL) < 0)
        return NULL;
    _cleanup_free_ char *name = mem_strndup(ref, (size_t)(dot - ref));
    struct service *s = cluster__lookup(c, CLUSTER_SERVICE, name, &(struct err){0});
    struct map_entry *e;
    struct task *found = NULL;
    for (size_t i = 0; s && (e = map_next(&s->tasks, &i));) {
        struct task *t = e->value;
        if (t->slot == slot)
            found = t;
    }
    return found;
}

static json_t *describe_task(struct cluster *c, const struct task *t)
{
    json_t *out = json_pack("{s:s, s:I, s:s, s:s, s:s, s:s, s:s}", "ID", t->o.id, "Slot", (json_int_t)t->slot,
                            "Node", node__name(c, t->node), "State", task_state_name(t->state),
                            "DesiredState", task_state_name(t->desired), "Message",
                            t->message ? t->message : "", "Err", t->error ? t->error : "");
    must(out);
    return out;
}

static json_t *describe_service(const struct service *s)
{
    const json_t *template = json_object_get(s->o.spec, "TaskTemplate"),
                 *placement = json_object_get(template, "Placement"),
                 *asked = json_object_get(json_object_get(template, "Resources"), "Reservations");
    int64_t waiting = 0, running = 0;
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&s->tasks, &i));) {
        const struct task *t = e->value;
        waiting += t->state == TASK_PENDING && t->desired < TASK_SHUTDOWN;
        running += t->state == TASK_RUNNING && t->desired <= TASK_COMPLETE;
    }
    json_t *out = json_pack("{s:s, s:s, s:i, s:I, s:I, s:I, s:I}", "ID", s->o.id, "Name", s->o.name,
                            "Priority", (int)s->labels.priority, "Running", (json_int_t)running, "Waiting",
                            (json_int_t)waiting, "NanoCPUs", (json_int_t)json_int(asked, "NanoCPUs"),
                            "MemoryBytes", (json_int_t)json_int(asked, "MemoryBytes"));
    must(out);
    if (json_object_size(placement))
        json_object_set(out, "Placement", (json_t *)placement);
    return out;
}

struct looking {
    struct cluster *c;
    const struct service *service;
    json_t *found;
};

static void look(void *context, struct sched_shape *shape)
{
    struct looking *l = context;
    l->found = explain__shape(l->c, shape);
    if (!json_int(l->found, "Possible"))
        json_object_set_new(l->found, "PushedAside", preempt__describe(l->c, l->service, shape));
}

static int explain_service(struct looking *l, struct err *err)
{
    struct sched_shape *shape = NULL;
    int r = place__shape(l->c, l->service, l->service->o.spec, l->service->ports, &shape, err);
    if (r < 0)
        return r;
    look(l, shape);
    sched_shape_unref(shape);
    return 0;
}

int cluster_explain(struct cluster *c, const char *ref, json_t **ret, struct err *err)
{
    SCOPED_LOCK(locked, &c->lock);
    struct err why;
    int r = cluster__no_swarm(c, err);
    if (r < 0)
        return r;
    const struct service *s = cluster__lookup(c, CLUSTER_SERVICE, ref, &why);
    struct task *t = s ? NULL : task_of_slot(c, ref);
    if (!s && !t)
        t = cluster__lookup(c, CLUSTER_TASK, ref, &why);
    if (!s && !t)
        return err_set(err, ERR_NOT_FOUND,
                       "no service or task is \"%.200s\": \"docker service ls\" and "
                       "\"docker service ps SERVICE\" list them",
                       ref);
    struct looking l = {.c = c, .service = t ? t->service : s};
    condition__refresh(c);
    r = place__model(c, err);
    if (r == 0)
        r = t ? place__without(c, t, look, &l, err) : explain_service(&l, err);
    if (r < 0)
        return r;
    json_object_set_new(l.found, "Service", describe_service(l.service));
    if (t)
        json_object_set_new(l.found, "Task", describe_task(c, t));
    *ret = l.found;
    return 0;
}
