/* Where a task goes: the scheduler (src/scheduler), filled from what the cluster knows. */
#include "cluster/cluster_priv.h"

#include "scheduler/constraint.h"
#include "scheduler/rebalance.h"

/* --- The model --- */

struct labels {
    struct sched_label *list;
    size_t count;
};

/* With room for `more` of them. */
static struct labels labels_of(const json_t *object, size_t more)
{
    struct labels l = {.list = NEW_N(struct sched_label, json_object_size(object) + more + 1)};
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)object, key, value)
        if (json_is_string(value))
            l.list[l.count++] = (struct sched_label){key, json_string_value(value)};
    return l;
}

/* What the scheduler is told of a node. It borrows from the node, and from the labels, which the caller
 * frees. */
static struct sched_node node_form(const struct node *n, struct labels *own, struct labels *engine)
{
    const json_t *d = n->description, *platform = json_object_get(d, "Platform");
    const char *availability = json_str(n->o.spec, "Availability");
    *own = labels_of(json_object_get(n->o.spec, "Labels"), 0);
    *engine = labels_of(json_object_get(json_object_get(d, "Engine"), "Labels"), 0);
    return (struct sched_node){
        .id = n->o.id,
        .name = json_str(d, "Hostname"),
        .address = n->address,
        .manager = n->manager,
        .availability = n->lost || str_eq(availability, "drain") ? SCHED_DRAIN
                        : str_eq(availability, "pause")          ? SCHED_PAUSE
                                                                 : SCHED_ACTIVE,
        .health = n->health.level,
        .health_cause = n->health.cause,
        .health_text = n->ails,
        .platform = {json_str(platform, "OS"), json_str(platform, "Architecture")},
        .labels = own->list,
        .label_count = own->count,
        .engine_labels = engine->list,
        .engine_label_count = engine->count,
        .cpu_nano = json_int(json_object_get(d, "Resources"), "NanoCPUs"),
        .memory_bytes = json_int(json_object_get(d, "Resources"), "MemoryBytes"),
    };
}

static int put_node(struct sched *s, const struct node *n, struct err *err)
{
    struct labels own, engine;
    const struct sched_node node = node_form(n, &own, &engine);
    int r = sched_node_put(s, &node, err);
    free(own.list);
    free(engine.list);
    return r;
}

int place__look_at(struct cluster *c, const struct node *n, const struct place_sight *sight, struct err *err)
{
    struct labels own, engine, all = labels_of(json_object_get(n->o.spec, "Labels"), sight->label_count);
    struct sched_node node = node_form(n, &own, &engine);
    memcpy(all.list + all.count, sight->labels, sight->label_count * sizeof(*all.list));
    node.labels = all.list;
    node.label_count = all.count + sight->label_count;
    node.used_cpu_nano = sight->cpu_nano;
    node.used_memory_bytes = sight->memory_bytes;
    node.ports = sight->ports;
    node.port_count = sight->port_count;
    node.images = sight->images;
    node.volumes = sight->volumes;
    if (sight->hidden)
        node.availability = SCHED_DRAIN;
    int r = sched_node_put(c->model, &node, err);
    free(own.list);
    free(engine.list);
    free(all.list);
    return r;
}

int place__look_away(struct cluster *c, const struct node *n, struct err *err)
{
    return put_node(c->model, n, err);
}

struct asked {
    char **constraints, **preferences;
    struct sched_platform *platforms;
    struct sched_port *ports;
    size_t platform_count, port_count;
    struct sched_request request;
};

static void asked_done(struct asked *a)
{
    strv_free(a->constraints);
    strv_free(a->preferences);
    free(a->platforms);
    free(a->ports);
}

/* As Docker does, passes over what no machines are told apart by: the service shows it, and it spreads
 * nothing. */
static int add_preference(const char *descriptor, struct asked *a, struct err *err)
{
    struct constraint parsed;
    struct err unknown;
    int r = preference_parse(descriptor, &parsed, &unknown);
    if (r == -ERR_INVALID)
        return 0;
    if (r < 0)
        return err_copy(err, &unknown);
    constraint_done(&parsed);
    strv_add(&a->preferences, descriptor);
    return 0;
}

static int read_placement(const json_t *placement, const char *only_node, struct asked *a, struct err *err)
{
    json_t *list = NULL, *one;
    int64_t most = 0;
    size_t i;
    int r = json_get_strv(placement, "Placement", "Constraints", &a->constraints, err);
    if (only_node) {
        _cleanup_free_ char *there = str_printf("node.id==%s", only_node);
        strv_add(&a->constraints, there);
    }
    if (r == 0)
        r = json_get_array(placement, "Placement", "Preferences", &list, err);
    json_array_foreach (list, i, one) {
        const char *descriptor = json_str(json_object_get(one, "Spread"), "SpreadDescriptor");
        if (r == 0 && str_empty(descriptor))
            r = err_set(err, ERR_INVALID,
                        "Placement.Preferences: only Spread with a SpreadDescriptor is known");
        if (r == 0)
            r = add_preference(descriptor, a, err);
    }
    list = NULL;
    if (r == 0)
        r = json_get_array(placement, "Placement", "Platforms", &list, err);
    a->platforms = NEW_N(struct sched_platform, json_array_size(list) + 1);
    json_array_foreach (list, i, one)
        a->platforms[a->platform_count++] =
            (struct sched_platform){json_str(one, "OS"), json_str(one, "Architecture")};
    if (r == 0)
        r = json_get_i64(placement, "Placement", "MaxReplicas", &most, err);
    if (r == 0 && (most < 0 || most > UINT32_MAX))
        r = err_set(err, ERR_INVALID, "Placement.MaxReplicas is out of range");
    a->request.max_per_node = (uint32_t)most;
    return r;
}

static int read_request(const struct service *s, const json_t *labels, const json_t *template,
                        const json_t *ports, const char *only_node, struct asked *a, struct err *err)
{
    const json_t *reserved = json_object_get(json_object_get(template, "Resources"), "Reservations");
    json_t *one;
    size_t i;
    *a = (struct asked){.request = {.service = s ? s->o.id : "-"}};
    struct service_labels own;
    int r = read_placement(json_object_get(template, "Placement"), only_node, a, err);
    if (r == 0)
        r = labels__read(labels, &own, err);
    a->request.priority = own.priority;
    a->ports = NEW_N(struct sched_port, json_array_size(ports) + 1);
    json_array_foreach ((json_t *)ports, i, one)
        if (str_eq(json_str(one, "PublishMode"), "host") && json_int(one, "PublishedPort"))
            a->ports[a->port_count++] =
                (struct sched_port){(uint16_t)json_int(one, "PublishedPort"),
                                    str_eq(json_str(one, "Protocol"), "udp")    ? SCHED_UDP
                                    : str_eq(json_str(one, "Protocol"), "sctp") ? SCHED_SCTP
                                                                                : SCHED_TCP};
    a->request.cpu_nano = json_int(reserved, "NanoCPUs");
    a->request.memory_bytes = json_int(reserved, "MemoryBytes");
    a->request.constraints = a->constraints;
    a->request.preferences = a->preferences;
    a->request.platforms = a->platforms;
    a->request.platform_count = a->platform_count;
    a->request.ports = a->ports;
    a->request.port_count = a->port_count;
    a->request.strategy = json_str(labels, CLUSTER_STRATEGY_LABEL);
    a->request.options = json_str(labels, CLUSTER_STRATEGY_LABEL ".options");
    return r;
}

/* `only_node`: an id; NULL: any. */
static int make_shape(struct sched *model, const struct service *s, const json_t *labels,
                      const json_t *template, const json_t *ports, const char *only_node,
                      struct sched_shape **ret, struct err *err)
{
    struct asked a;
    int r = read_request(s, labels, template, ports, only_node, &a, err);
    if (r == 0)
        r = sched_shape_new(model, &a.request, ret, err);
    asked_done(&a);
    return r;
}

int place__check(const json_t *placement, struct err *err)
{
    struct sched *model = sched_new(1);
    struct sched_shape *shape = NULL;
    struct err why;
    _cleanup_json_ json_t *template = json_object();
    if (placement)
        json_object_set(template, "Placement", (json_t *)placement);
    int r = make_shape(model, NULL, NULL, template, NULL, NULL, &shape, &why);
    if (r < 0)
        r = err_set(err, ERR_INVALID, "rpc error: code = InvalidArgument desc = %s", why.msg);
    sched_shape_unref(shape);
    sched_free(model);
    return r;
}

/* --- The model, as long as nodes and reservations are few: made when it is needed, and again when nodes
 * changed --- */

void place__forget(struct cluster *c)
{
    struct map *both[] = {&c->objects[CLUSTER_SERVICE], &c->leaving};
    struct map_entry *e;
    for (size_t b = 0; b < ARRAY_SIZE(both); b++)
        for (size_t i = 0; (e = map_next(both[b], &i));)
            failures__unkeep(e->value);
    sched_free(c->model);
    c->model = NULL;
}

void place__node_changed(struct cluster *c, const struct node *n)
{
    if (c->model && put_node(c->model, n, &(struct err){0}) < 0)
        place__forget(c);
}

void place__forgive(struct cluster *c, const struct service *s)
{
    if (c->model)
        sched_forgive(c->model, s->o.id);
}

static const json_t *labels_for(const struct service *s)
{
    return json_object_get(s->o.spec, "Labels");
}

/* A global service's task has a node from its beginning. */
static const char *bound_to(const struct task *t)
{
    return deploy_is_global(t->service->parsed.mode) ? t->node : NULL;
}

static int task_shape(struct cluster *c, const struct task *t, struct sched_shape **ret, struct err *err)
{
    return make_shape(c->model, t->service, labels_for(t->service), t->o.spec, t->ports, bound_to(t), ret,
                      err);
}

static int add_task(struct cluster *c, struct task *t, struct err *err)
{
    struct sched_shape *shape = NULL;
    int r = task_shape(c, t, &shape, err);
    if (r == 0)
        r = sched_task_add(c->model, shape, t->node, &t->placed, err);
    sched_shape_unref(shape);
    return r;
}

int place__model(struct cluster *c, struct err *err)
{
    struct map_entry *e;
    int r = 0;
    if (c->model)
        return 0;
    unsigned char seed[8];
    keys__random(seed, sizeof(seed));
    uint64_t number;
    memcpy(&number, seed, sizeof(number));
    c->model = sched_new(number);
    strategy__fill(c, c->model);
    for (size_t i = 0; r == 0 && (e = map_next(&c->objects[CLUSTER_NODE], &i));)
        r = put_node(c->model, e->value, err);
    for (size_t i = 0; r == 0 && (e = map_next(&c->objects[CLUSTER_TASK], &i));) {
        struct task *t = e->value;
        t->placed = SCHED_NONE;
        if (t->node && !task_ended(t->state))
            r = add_task(c, t, err);
    }
    if (r < 0)
        place__forget(c);
    else
        failures__fill(c);
    return r;
}

struct task *place__task_at(struct cluster *c, sched_task placed)
{
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_TASK], &i));)
        if (((struct task *)e->value)->placed == placed)
            return e->value;
    return NULL;
}

/* Whoever found no node may find one now. */
static void retry_waiting(struct cluster *c)
{
    if (!c->tasks_wait)
        return;
    c->tasks_wait = false;
    c->all_dirty = true;
    pthread_cond_signal(&c->decide);
}

void place__left(struct cluster *c, struct task *t)
{
    if (c->model && t->placed != SCHED_NONE) {
        sched_task_remove(c->model, t->placed);
        retry_waiting(c);
    }
    t->placed = SCHED_NONE;
}

int place__shape(struct cluster *c, const struct service *s, const json_t *spec, const json_t *ports,
                 struct sched_shape **ret, struct err *err)
{
    return make_shape(c->model, s, json_object_get(spec, "Labels"), json_object_get(spec, "TaskTemplate"),
                      ports, NULL, ret, err);
}

int place__without(struct cluster *c, struct task *t, void (*look)(void *context, struct sched_shape *shape),
                   void *context, struct err *err)
{
    struct sched_shape *shape = NULL;
    int r = task_shape(c, t, &shape, err);
    bool had = t->placed != SCHED_NONE;
    if (r < 0)
        return r;
    if (had)
        sched_task_remove(c->model, t->placed);
    look(context, shape);
    if (had)
        must(sched_task_add(c->model, shape, t->node, &t->placed, NULL) == 0); /* it was there a moment ago */
    sched_shape_unref(shape);
    return 0;
}

int place__node_change(struct cluster *c, const struct node *n, json_t *spec, struct sched_action *actions,
                       size_t capacity, size_t *ret_count, struct err *err)
{
    struct node changed = *n;
    struct labels own, engine, own_after, engine_after;
    changed.o.spec = spec;
    const struct sched_node before = node_form(n, &own, &engine),
                            after = node_form(&changed, &own_after, &engine_after);
    const struct sched_change change = {.kind = SCHED_CHANGE_NODE, .node = &after, .before = &before};
    int r = sched_plan(c->model, &change, time_now_ns(), actions, capacity, ret_count, err);
    free(own.list);
    free(engine.list);
    free(own_after.list);
    free(engine_after.list);
    return r;
}

/* swarmkit's words for each filter; %u nodes. */
static const char *words_of(enum sched_filter filter)
{
    switch (filter) {
    case SCHED_FILTER_STATE:
        return "%u node%s not available for new tasks";
    case SCHED_FILTER_HEALTH:
        return "%u node%s not well: docker node inspect says why";
    case SCHED_FILTER_RESOURCES:
        return "insufficient resources on %u node%s";
    case SCHED_FILTER_CONSTRAINT:
        return "scheduling constraints not satisfied on %u node%s";
    case SCHED_FILTER_PLATFORM:
        return "unsupported platform on %u node%s";
    case SCHED_FILTER_PORTS:
        return "host-mode port already in use on %u node%s";
    case SCHED_FILTER_MAX_PER_NODE:
        return "max replicas per node limit exceed on %u node%s";
    default:
        return NULL;
    }
}

static void explain(struct cluster *c, struct sched_shape *shape, struct err *why)
{
    struct sched_explanation *x = NEW(struct sched_explanation);
    _cleanup_str_ struct str text = STR_INIT;
    sched_explain(c->model, shape, time_now_ns(), x);
    for (int i = 0; i < SCHED_FILTER_COUNT; i++) {
        const char *words = words_of((enum sched_filter)i);
        if (!x->refused[i])
            continue;
        str_add(&text, text.len ? "; " : "");
        if (words)
            str_addf(&text, words, x->refused[i], x->refused[i] == 1 ? "" : "s");
        else
            str_addf(&text, "refused by %s on %u node%s", sched_filter_name((enum sched_filter)i),
                     x->refused[i], x->refused[i] == 1 ? "" : "s");
    }
    free(x);
    err_set(why, ERR_UNAVAILABLE, "no suitable node (%s)", text.len ? str_get(&text) : "there is none");
}

static int choose(struct cluster *c, struct task *t, struct sched_shape *shape, struct err *why)
{
    if (!sched_place_one(c->model, shape, time_now_ns(), &t->placed)) {
        if (preempt__make_room(c, t, shape, why) == 0)
            return 0;
        explain(c, shape, why);
        return -ERR_UNAVAILABLE;
    }
    t->node = mem_strdup(sched_task_node(c->model, t->placed));
    return 0;
}

/* A node that rests after failures is better than none. */
#define ALL_RESTED_NS (INT64_MAX / 2)

/* Whatever filters say: the service is to be there. */
static int put_on_its_node(struct cluster *c, struct task *t, struct sched_shape *shape, struct err *why)
{
    if (!sched_node_possible(c->model, shape, t->node, ALL_RESTED_NS) &&
        preempt__make_room(c, t, shape, why) == 0)
        return 0;
    return sched_task_add(c->model, shape, t->node, &t->placed, why);
}

int place__task(struct cluster *c, struct task *t, struct err *why)
{
    struct sched_shape *shape = NULL;
    int r = place__model(c, why);
    if (r == 0 && t->placed == SCHED_NONE) {
        r = task_shape(c, t, &shape, why);
        if (r == 0)
            r = t->node ? put_on_its_node(c, t, shape, why) : choose(c, t, shape, why);
        sched_shape_unref(shape);
    }
    return r == 0 ? preempt__wait(c, t, why) : r;
}

static bool has_task_on(const struct service *s, const char *node)
{
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&s->tasks, &i));) {
        const struct task *t = e->value;
        if (str_eq(t->node, node) && !task_ended(t->state))
            return true;
    }
    return false;
}

static bool could_have_room(struct cluster *c, const struct service *s, struct sched_shape *shape)
{
    struct sched_preemption *p = NEW(struct sched_preemption);
    bool found = preempt__find(c, s, shape, p);
    free(p);
    return found;
}

bool place__fits(struct cluster *c, const struct service *s, const struct node *n, bool *ret_stays)
{
    struct sched_shape *shape = NULL;
    struct err err;
    bool usable = node__available(n, ret_stays);
    if (!usable || place__model(c, &err) < 0)
        return false;
    if (make_shape(c->model, s, labels_for(s), json_object_get(s->o.spec, "TaskTemplate"), s->ports, n->o.id,
                   &shape, &err) < 0)
        return false;
    usable = sched_node_possible(c->model, shape, n->o.id, ALL_RESTED_NS) ||
             (!has_task_on(s, n->o.id) && could_have_room(c, s, shape));
    sched_shape_unref(shape);
    return usable;
}
