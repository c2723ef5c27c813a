/* What a change would do: tried on the scheduler's model, which is as it was afterwards. */
#include "cluster/cluster_priv.h"

#include "deploy/changes.h"
#include "scheduler/rebalance.h"

enum { SERVICES_MAX = 1000, MOVES_MAX = 1000 };

/* --- Tasks by node --- */

static void count_on(struct cluster *c, json_t *counts, const char *node)
{
    const char *name = node__name(c, node);
    json_object_set_new(counts, name, json_integer(json_int(counts, name) + 1));
}

static bool stands(const struct task *t)
{
    return !task_ended(t->state) && t->desired <= TASK_COMPLETE;
}

/* --- One service --- */

struct trial {
    struct cluster *c;
    json_t *out;
    struct sched_shape *shape;
};

/* Places `count` tasks, tells where, and why no more. */
static void try_starts(struct trial *t, size_t count)
{
    struct sched *s = t->c->model;
    sched_task *tasks = NEW_N(sched_task, count + 1);
    json_t *starts = json_object();
    size_t placed = sched_place(s, t->shape, count, time_now_ns(), tasks);
    for (size_t i = 0; i < placed; i++)
        count_on(t->c, starts, sched_task_node(s, tasks[i]));
    if (placed < count)
        json_object_set_new(t->out, "Why", explain__shape(t->c, t->shape));
    while (placed > 0)
        sched_task_remove(s, tasks[--placed]);
    int64_t found = 0;
    const char *key;
    json_t *value;
    json_object_foreach (starts, key, value)
        found += json_integer_value(value);
    json_object_set_new(t->out, "Starts", starts);
    json_object_set_new(t->out, "Unplaced", json_integer((json_int_t)count - found));
    free(tasks);
}

/* A global service's: one on each node that would do. */
static void try_everywhere(struct trial *t)
{
    json_t *starts = json_object();
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&t->c->objects[CLUSTER_NODE], &i));)
        if (sched_node_possible(t->c->model, t->shape, e->key, time_now_ns()))
            count_on(t->c, starts, e->key);
    if (!json_object_size(starts))
        json_object_set_new(t->out, "Why", explain__shape(t->c, t->shape));
    json_object_set_new(t->out, "Starts", starts);
    json_object_set_new(t->out, "Unplaced", json_integer(0));
}

static size_t wanted_of(const struct deploy_spec *p)
{
    if (p->mode == DEPLOY_REPLICATED)
        return (size_t)p->replicas;
    int64_t most = p->max_concurrent ? MIN(p->max_concurrent, p->completions) : p->completions;
    return (size_t)MIN(most, DEPLOY_REPLICAS_MAX);
}

static void try_all(struct trial *t, const struct deploy_spec *parsed)
{
    if (deploy_is_global(parsed->mode))
        try_everywhere(t);
    else
        try_starts(t, wanted_of(parsed));
}

/* The tasks that a smaller number leaves without a slot: the highest numbers. */
static json_t *stops_of(struct cluster *c, const struct service *s, int64_t keep)
{
    json_t *stops = json_object();
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&s->tasks, &i));) {
        const struct task *t = e->value;
        if (stands(t) && t->slot > keep)
            count_on(c, stops, t->node ? t->node : "");
    }
    return stops;
}

/* The same template: only their number may change. */
static void plan_scale(struct trial *t, const struct service *s, const struct deploy_spec *parsed)
{
    size_t have = 0, want = wanted_of(parsed);
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&s->tasks, &i));)
        have += stands(e->value);
    json_object_set_new(t->out, "Replaces", json_integer(0));
    if (deploy_is_global(parsed->mode) || deploy_is_job(parsed->mode))
        return;
    if (want > have)
        try_starts(t, want - have);
    else if (want < have)
        json_object_set_new(t->out, "Stops", stops_of(t->c, s, (int64_t)want));
}

/* Another template: each task is made anew. They are out of the model while the new ones are tried. */
static void plan_replace(struct trial *t, const struct service *s, const struct deploy_spec *parsed)
{
    struct map_entry *e;
    int64_t replaces = 0;
    struct lifted {
        struct task *task;
        struct sched_shape *shape;
    } *lifted = NEW_N(struct lifted, s->tasks.count + 1);
    size_t n = 0;
    for (size_t i = 0; (e = map_next(&s->tasks, &i));) {
        struct task *one = e->value;
        replaces += stands(one);
        if (one->placed == SCHED_NONE)
            continue;
        lifted[n++] = (struct lifted){one, sched_shape_ref(sched_task_shape(t->c->model, one->placed))};
        sched_task_remove(t->c->model, one->placed);
    }
    json_object_set_new(t->out, "Replaces", json_integer(replaces));
    json_object_set_new(t->out, "Parallelism", json_integer(parsed->update.parallelism));
    json_set_str(t->out, "Order", parsed->update.start_first ? "start-first" : "stop-first");
    try_all(t, parsed);
    bool whole = true;
    for (size_t i = 0; i < n; i++) {
        struct task *one = lifted[i].task;
        one->placed = SCHED_NONE;
        whole = whole && sched_task_add(t->c->model, lifted[i].shape, one->node, &one->placed, NULL) == 0;
        sched_shape_unref(lifted[i].shape);
    }
    must(whole); /* they were there a moment ago */
    free(lifted);
}

static int plan_service(struct cluster *c, const json_t *given, json_t **ret, struct err *err)
{
    const char *name = json_str(given, "Name");
    const struct service *s = map_get(&c->names[CLUSTER_SERVICE], name);
    _cleanup_json_ json_t *out = json_pack("{s:s}", "Name", name), *spec = NULL, *ports = NULL;
    struct deploy_spec parsed;
    struct trial t = {.c = c, .out = out};
    struct err why;
    int r = place__model(c, err);
    if (r < 0)
        return r;
    r = service__foresee(c, s, given, &spec, &ports, &why);
    if (r == 0)
        r = deploy_spec_parse(spec, &parsed, &why);
    if (r == 0)
        r = place__shape(c, s, spec, ports, &t.shape, &why);
    if (r < 0) {
        json_set_str(out, "Action", "refuse");
        json_set_str(out, "Problem", why.msg);
        *ret = json_incref(out);
        return 0;
    }
    json_object_set_new(out, "Changes", deploy_changes(s ? s->o.spec : NULL, s ? spec : NULL));
    if (!s) {
        json_set_str(out, "Action", "create");
        try_all(&t, &parsed);
    } else if (json_equal(spec, s->o.spec))
        json_set_str(out, "Action", "none");
    else if (service__same_tasks(s->o.spec, spec)) {
        json_set_str(out, "Action", "change");
        plan_scale(&t, s, &parsed);
    } else {
        json_set_str(out, "Action", "update");
        plan_replace(&t, s, &parsed);
    }
    sched_shape_unref(t.shape);
    *ret = json_incref(out);
    return 0;
}

static int plan_services(struct cluster *c, json_t *specs, json_t **ret, struct err *err)
{
    _cleanup_json_ json_t *list = json_array();
    json_t *one, *planned;
    size_t i;
    if (json_array_size(specs) > SERVICES_MAX)
        return err_set(err, ERR_LIMIT, "\"Services\" has more than %d entries", SERVICES_MAX);
    json_array_foreach (specs, i, one) {
        if (!json_is_object(one) || str_empty(json_str(one, "Name")))
            return err_set(err, ERR_INVALID, "\"Services[%zu]\" must be a service's spec with a \"Name\"", i);
        int r = plan_service(c, one, &planned, err);
        if (r < 0)
            return r;
        json_array_append_new(list, planned);
    }
    *ret = json_pack("{s:O}", "Services", list);
    return 0;
}

/* --- A node --- */

static json_t *show_moves(struct cluster *c, const struct sched_action *actions, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        const struct sched_action *a = &actions[i];
        const struct service *s = map_get(&c->objects[CLUSTER_SERVICE], sched_shape_service(a->shape));
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:s, s:b}", "Service", s ? s->o.name : "", "From",
                                        node__name(c, a->from), "To", *a->to ? node__name(c, a->to) : "",
                                        "Refused", (int)(a->kind == SCHED_ACTION_REFUSE)));
    }
    return list;
}

static int plan_node(struct cluster *c, const json_t *body, json_t **ret, struct err *err)
{
    static const char *const states[] = {"active", "pause", "drain", NULL};
    const char *ref = "", *availability = "";
    int r = json_get_string(body, "", "Node", &ref, err);
    if (r == 0)
        r = json_get_string(body, "", "Availability", &availability, err);
    if (r == 0 && !strv_has((char *const *)states, availability))
        r = err_set(err, ERR_INVALID, "\"Availability\" must be active, pause or drain, not \"%.50s\"",
                    availability);
    if (r == 0)
        r = place__model(c, err);
    const struct node *n = r == 0 ? cluster__lookup(c, CLUSTER_NODE, ref, err) : NULL;
    if (!n)
        return -err->code;
    _cleanup_json_ json_t *spec = json_copy(n->o.spec);
    json_set_str(spec, "Availability", availability);
    struct sched_action *actions = NEW_N(struct sched_action, MOVES_MAX);
    size_t count = 0;
    r = place__node_change(c, n, spec, actions, MOVES_MAX, &count, err);
    if (r == 0) {
        *ret = json_pack("{s:o, s:I}", "Moves", show_moves(c, actions, MIN(count, (size_t)MOVES_MAX)),
                         "Tasks", (json_int_t)count);
        must(*ret);
    }
    free(actions);
    return r;
}

int cluster_plan(struct cluster *c, const json_t *body, json_t **ret, struct err *err)
{
    SCOPED_LOCK(locked, &c->lock);
    json_t *specs = NULL;
    int r = cluster__no_swarm(c, err);
    if (r == 0)
        r = json_get_array(body, "", "Services", &specs, err);
    if (r < 0)
        return r;
    return specs ? plan_services(c, specs, ret, err) : plan_node(c, body, ret, err);
}
