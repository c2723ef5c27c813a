#include "scheduler/simulate.h"

#include "base/map.h"
#include "base/str.h"

#include <math.h>

enum { SAMPLES = 64 };

/* When a task ends. A task number may be given again: the serial tells. */
struct departure {
    int64_t time_ns;
    uint64_t serial;
    sched_task task;
};
/* Tasks of one line of the trace that wait. */
struct wait {
    struct sched_shape *shape;
    int64_t since_ns, duration_ns;
    int64_t cpu_nano, memory_bytes; /* what one asks for */
    uint32_t count;
    int32_t priority;
    bool again; /* they had run before */
};
struct running {
    uint64_t serial; /* 0: none */
    int64_t duration_ns;
};

struct simulation {
    const struct simulate_options *o;
    struct simulate_result *r;
    struct sched *sched;
    int64_t now_ns;
    struct departure *departures; /* a heap */
    size_t departure_count, departure_cap;
    struct wait *waits; /* the highest priority first, then the longest */
    size_t wait_count, wait_cap;
    struct running *running;
    size_t running_cap;
    uint64_t serial;
    sched_task *placed; /* room for the largest line */
    size_t placed_cap;
    struct map nodes; /* of the trace: name -> struct trace_event */
    struct map down;  /* names of those that have failed */
    /* The last line's, for those that say the same. */
    const struct trace_event *last;
    struct sched_shape *last_shape;
    int64_t busiest_cpu;
};

static void departure_push(struct simulation *m, struct departure d)
{
    GROW(m->departures, m->departure_count, m->departure_cap);
    size_t at = m->departure_count++;
    for (; at > 0 && d.time_ns < m->departures[(at - 1) / 2].time_ns; at = (at - 1) / 2)
        m->departures[at] = m->departures[(at - 1) / 2];
    m->departures[at] = d;
}

static struct departure departure_pop(struct simulation *m)
{
    struct departure first = m->departures[0], last = m->departures[--m->departure_count];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < m->departure_count; at = child) {
        if (child + 1 < m->departure_count && m->departures[child + 1].time_ns < m->departures[child].time_ns)
            child++;
        if (m->departures[child].time_ns >= last.time_ns)
            break;
        m->departures[at] = m->departures[child];
    }
    if (m->departure_count)
        m->departures[at] = last;
    return first;
}

/* ---- the scheduler, with what it takes counted ---- */

static size_t timed_place(struct simulation *m, struct sched_shape *shape, size_t count)
{
    if (count > m->placed_cap) {
        m->placed_cap = count;
        m->placed = mem_grow(m->placed, count, sizeof(*m->placed));
    }
    int64_t began = m->o->clock_ns();
    size_t placed = sched_place(m->sched, shape, count, m->now_ns, m->placed);
    int64_t took = m->o->clock_ns() - began;
    m->r->scheduler_ns += took;
    m->r->place_worst_ns = MAX(m->r->place_worst_ns, took);
    m->r->placed += placed;
    return placed;
}

static void timed_remove(struct simulation *m, sched_task task)
{
    int64_t began = m->o->clock_ns();
    sched_task_remove(m->sched, task);
    m->r->scheduler_ns += m->o->clock_ns() - began;
    m->running[task].serial = 0;
}

static size_t run_tasks(struct simulation *m, struct sched_shape *shape, size_t count, int64_t duration_ns)
{
    size_t placed = timed_place(m, shape, count);
    for (size_t i = 0; i < placed; i++) {
        size_t task = (size_t)m->placed[i];
        if (task >= m->running_cap) {
            size_t cap = MAX(task + 1, m->running_cap * 2);
            m->running = mem_grow(m->running, cap, sizeof(*m->running));
            memset(m->running + m->running_cap, 0, (cap - m->running_cap) * sizeof(*m->running));
            m->running_cap = cap;
        }
        m->running[task] = (struct running){++m->serial, duration_ns};
        if (duration_ns >= 0 && m->now_ns <= INT64_MAX - duration_ns)
            departure_push(m, (struct departure){m->now_ns + duration_ns, m->serial, (sched_task)task});
    }
    m->r->peak = MAX(m->r->peak, (uint64_t)sched_task_count(m->sched));
    return placed;
}

/* ---- waiting ---- */

static void wait_add(struct simulation *m, struct wait w)
{
    w.priority = sched_shape_priority(w.shape);
    sched_shape_asks(w.shape, &w.cpu_nano, &w.memory_bytes);
    size_t at = m->wait_count;
    while (at > 0 && m->waits[at - 1].priority < w.priority)
        at--;
    struct wait *before = at > 0 ? &m->waits[at - 1] : NULL;
    if (before && before->shape == w.shape && before->duration_ns == w.duration_ns &&
        before->again == w.again) {
        before->count += w.count;
        return;
    }
    GROW(m->waits, m->wait_count, m->wait_cap);
    memmove(m->waits + at + 1, m->waits + at, (m->wait_count++ - at) * sizeof(w));
    m->waits[at] = w;
    sched_shape_ref(w.shape);
}

static void waits_settle(struct simulation *m)
{
    size_t kept = 0;
    for (size_t i = 0; i < m->wait_count; i++)
        if (m->waits[i].count)
            m->waits[kept++] = m->waits[i];
        else
            sched_shape_unref(m->waits[i].shape);
    m->wait_count = kept;
}

static void wait_place(struct simulation *m, struct wait *w, size_t count)
{
    size_t placed = run_tasks(m, w->shape, count, w->duration_ns);
    if (placed && !w->again)
        m->r->waited_most_ns = MAX(m->r->waited_most_ns, m->now_ns - w->since_ns);
    w->count -= (uint32_t)placed;
}

static bool wait_fits(const struct wait *w, const struct sched_node_use *use)
{
    return (w->cpu_nano <= 0 || w->cpu_nano <= use->free_cpu_nano) &&
           (w->memory_bytes <= 0 || w->memory_bytes <= use->free_memory_bytes);
}

/* Something became free on this node only, so that whom it would not do for finds none elsewhere either. Most
 * are told by what is free, without a look at their requests. */
static void waits_try_on(struct simulation *m, const char *node)
{
    bool done = false;
    struct sched_node_use use;
    int64_t began = m->o->clock_ns();
    if (sched_node_find(m->sched, node, &use, NULL) < 0)
        return;
    for (size_t i = 0; i < m->wait_count; i++) {
        struct wait *w = &m->waits[i];
        while (w->count && wait_fits(w, &use) && sched_node_possible(m->sched, w->shape, node, m->now_ns)) {
            uint32_t before = w->count;
            m->r->scheduler_ns += m->o->clock_ns() - began;
            wait_place(m, w, 1);
            began = m->o->clock_ns();
            if (w->count == before || sched_node_find(m->sched, node, &use, NULL) < 0)
                break;
        }
        done |= w->count == 0;
    }
    m->r->scheduler_ns += m->o->clock_ns() - began;
    if (done)
        waits_settle(m);
}

static void waits_try_all(struct simulation *m)
{
    for (size_t i = 0; i < m->wait_count; i++)
        wait_place(m, &m->waits[i], m->waits[i].count);
    waits_settle(m);
}

/* Takes a running task away; it waits for a place again. */
static void send_back(struct simulation *m, sched_task task)
{
    int64_t duration_ns = m->running[task].duration_ns;
    struct sched_shape *shape = sched_shape_ref(sched_task_shape(m->sched, task));
    timed_remove(m, task);
    wait_add(
        m, (struct wait){
               .shape = shape, .since_ns = m->now_ns, .duration_ns = duration_ns, .count = 1, .again = true});
    sched_shape_unref(shape);
}

static bool push_aside(struct simulation *m, struct sched_shape *shape)
{
    struct sched_preemption p;
    int64_t began = m->o->clock_ns();
    sched_preempt(m->sched, shape, m->now_ns, &p);
    m->r->scheduler_ns += m->o->clock_ns() - began;
    for (size_t i = 0; i < p.count; i++)
        send_back(m, p.victims[i]);
    m->r->preempted += p.count;
    return p.node != NULL;
}

/* ---- events ---- */

static bool same_request(const struct trace_event *a, const struct trace_event *b)
{
    return a && a->cpu_nano == b->cpu_nano && a->memory_bytes == b->memory_bytes && a->gpu == b->gpu &&
           a->priority == b->priority && a->max_per_node == b->max_per_node && a->port == b->port &&
           strcmp(a->name, b->name) == 0 && strcmp(a->constraints, b->constraints) == 0 &&
           strcmp(a->affinities, b->affinities) == 0 && strcmp(a->preferences, b->preferences) == 0 &&
           strcmp(a->image, b->image) == 0 && strcmp(a->pool, b->pool) == 0 &&
           strcmp(a->tenant, b->tenant) == 0 && strcmp(a->options, b->options) == 0;
}

static char **list_of(const char *text)
{
    return *text ? strv_split(text, ';') : NULL;
}

static int shape_of(struct simulation *m, const struct trace_event *e, struct err *err)
{
    if (same_request(m->last, e))
        return 0;
    _cleanup_strv_ char **constraints = list_of(e->constraints), **affinities = list_of(e->affinities),
                        **preferences = list_of(e->preferences);
    const struct sched_amount gpu = {"gpu", e->gpu};
    const struct sched_port port = {e->port, SCHED_TCP};
    struct sched_request q = {.service = e->name,
                              .cpu_nano = e->cpu_nano,
                              .memory_bytes = e->memory_bytes,
                              .generic = &gpu,
                              .generic_count = e->gpu > 0,
                              .constraints = constraints,
                              .affinities = affinities,
                              .preferences = preferences,
                              .ports = &port,
                              .port_count = e->port > 0,
                              .image = e->image,
                              .max_per_node = e->max_per_node,
                              .priority = e->priority,
                              .pool = e->pool,
                              .tenant = e->tenant,
                              .strategy = m->o->strategy,
                              .options = e->options};
    struct sched_shape *made;
    int r = sched_shape_new(m->sched, &q, &made, err);
    if (r < 0)
        return r;
    sched_shape_unref(m->last_shape);
    m->last_shape = made;
    m->last = e;
    return 0;
}

static int task_event(struct simulation *m, const struct trace_event *e, struct err *err)
{
    int r = shape_of(m, e, err);
    if (r < 0)
        return err_wrap(err, "task %s", e->name);
    struct sched_shape *shape = m->last_shape;
    m->r->tasks += e->count;
    size_t left = e->count - run_tasks(m, shape, e->count, e->duration_ns);
    while (left && m->o->preempt && push_aside(m, shape)) {
        size_t placed = run_tasks(m, shape, 1, e->duration_ns);
        left -= placed;
        if (!placed)
            break;
    }
    if (left) {
        m->r->waited += left;
        wait_add(m, (struct wait){.shape = shape,
                                  .since_ns = m->now_ns,
                                  .duration_ns = e->duration_ns,
                                  .count = (uint32_t)left});
    }
    return 0;
}

static int node_put(struct simulation *m, const char *id, const struct trace_event *e, enum sched_state state,
                    enum sched_health health, struct err *err)
{
    _cleanup_strv_ char **pairs = list_of(e->labels);
    struct sched_label labels[64];
    size_t count = 0;
    STRV_FOREACH (pair, pairs) {
        char *equal = strchr(*pair, '=');
        if (!equal || equal == *pair || count == ARRAY_SIZE(labels))
            return err_set(err, ERR_INVALID, "node %s: labels are KEY=VALUE;..., at most %zu", id,
                           ARRAY_SIZE(labels));
        *equal = '\0';
        labels[count++] = (struct sched_label){*pair, equal + 1};
    }
    const struct sched_amount gpu = {"gpu", e->gpu};
    struct sched_node n = {.id = id,
                           .state = state,
                           .health = health,
                           .cpu_nano = e->cpu_nano,
                           .memory_bytes = e->memory_bytes,
                           .generic = &gpu,
                           .generic_count = e->gpu > 0,
                           .labels = labels,
                           .label_count = count,
                           .pool = e->pool,
                           .tenant = e->tenant};
    return sched_node_put(m->sched, &n, err);
}

static int fail_node(struct simulation *m, const struct trace_event *e, struct err *err)
{
    const struct trace_event *node = map_get(&m->nodes, e->name);
    int r = node_put(m, e->name, node, SCHED_DOWN, SCHED_HEALTHY, err);
    if (r < 0)
        return r;
    map_put(&m->down, e->name, m);
    size_t count = sched_node_tasks(m->sched, e->name, NULL, 0);
    sched_task *tasks = NEW_N(sched_task, count + 1);
    sched_node_tasks(m->sched, e->name, tasks, count);
    for (size_t i = 0; i < count; i++)
        send_back(m, tasks[i]);
    free(tasks);
    m->r->lost += count;
    waits_try_all(m);
    return 0;
}

static int node_event(struct simulation *m, const struct trace_event *e, struct err *err)
{
    bool known = map_has(&m->nodes, e->name), sick = e->kind == TRACE_SICK;
    if (known != (e->kind != TRACE_NODE))
        return err_set(err, known ? ERR_CONFLICT : ERR_NOT_FOUND, "node %s %s", e->name,
                       known ? "joins a second time" : "is not known: an event \"node\" comes first");
    if ((sick || e->kind == TRACE_WELL) && map_has(&m->down, e->name))
        return err_set(err, ERR_CONFLICT, "node %s is down: an event \"return\" comes first", e->name);
    map_remove(&m->down, e->name);
    if (e->kind == TRACE_FAIL)
        return fail_node(m, e, err);
    if (e->kind == TRACE_NODE)
        map_put(&m->nodes, e->name, (void *)e);
    int r = node_put(m, e->name, map_get(&m->nodes, e->name), SCHED_READY,
                     sick ? SCHED_UNHEALTHY : SCHED_HEALTHY, err);
    if (r == 0 && !sick)
        waits_try_all(m);
    return r;
}

static void departures_until(struct simulation *m, int64_t time_ns)
{
    while (m->departure_count && m->departures[0].time_ns <= time_ns) {
        struct departure d = departure_pop(m);
        if (m->running[d.task].serial != d.serial)
            continue;
        m->now_ns = d.time_ns;
        _cleanup_free_ char *node = m->wait_count ? mem_strdup(sched_task_node(m->sched, d.task)) : NULL;
        timed_remove(m, d.task);
        if (node)
            waits_try_on(m, node);
    }
}

/* ---- how well it went ---- */

static int larger_first(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x > y ? -1 : x < y;
}

/* The fewest nodes whose capacities together are enough: no packing needs fewer. */
static uint32_t fewest(int64_t *capacities, size_t count, double wanted)
{
    qsort(capacities, count, sizeof(*capacities), larger_first);
    uint32_t nodes = 0;
    for (double sum = 0; sum < wanted && nodes < count; nodes++)
        sum += (double)capacities[nodes];
    return nodes;
}

static void sample(struct simulation *m)
{
    struct simulate_result *r = m->r;
    r->memory_bytes = MAX(r->memory_bytes, m->o->memory_bytes());
    size_t count = sched_node_count(m->sched), nodes = 0;
    int64_t *cpus = NEW_N(int64_t, count + 1), *memories = NEW_N(int64_t, count + 1);
    double cpu = 0, memory = 0, all_cpu = 0, all_memory = 0, sum = 0, squares = 0;
    uint32_t used = 0;
    struct sched_node_use use;
    for (size_t at = 0; sched_node_next(m->sched, &at, &use);) {
        cpus[nodes] = use.cpu_nano;
        memories[nodes++] = use.memory_bytes;
        cpu += (double)(use.cpu_nano - use.free_cpu_nano);
        memory += (double)(use.memory_bytes - use.free_memory_bytes);
        all_cpu += (double)use.cpu_nano;
        all_memory += (double)use.memory_bytes;
        used += use.tasks > 0;
        sum += use.tasks;
        squares += (double)use.tasks * use.tasks;
    }
    if (nodes && (int64_t)(cpu / 1000) >= m->busiest_cpu) {
        m->busiest_cpu = (int64_t)(cpu / 1000);
        uint32_t by_cpu = fewest(cpus, nodes, cpu), by_memory = fewest(memories, nodes, memory);
        r->nodes = (uint32_t)nodes;
        r->nodes_used = used;
        r->nodes_bound = MAX(by_cpu, by_memory);
        r->tasks_mean = sum / (double)nodes;
        r->tasks_deviation = sqrt(MAX(squares / (double)nodes - r->tasks_mean * r->tasks_mean, 0.0));
        r->cpu_share = all_cpu > 0 ? cpu / all_cpu : 0;
        r->memory_share = all_memory > 0 ? memory / all_memory : 0;
    }
    free(cpus);
    free(memories);
}

/* ---- the run ---- */

static int start(struct simulation *m, struct err *err)
{
    int r = 0;
    if (m->o->own && (r = sched_strategy_put(m->sched, m->o->strategy, m->o->own, err)) < 0)
        return r;
    for (uint32_t i = 0; r == 0 && i < m->o->nodes; i++) {
        char id[32], labels[64];
        snprintf(id, sizeof(id), "node-%u", i);
        snprintf(labels, sizeof(labels), "zone=z%u;rack=r%u", i % 3, i % 24);
        const struct trace_event e = {
            .cpu_nano = m->o->node_cpu_nano, .memory_bytes = m->o->node_memory_bytes, .labels = labels};
        r = node_put(m, id, &e, SCHED_READY, SCHED_HEALTHY, err);
    }
    return r;
}

static int play(struct simulation *m, const struct trace *t, struct err *err)
{
    size_t done = 0, next = 0;
    for (size_t i = 0; i < t->count; i++) {
        const struct trace_event *e = &t->events[i];
        departures_until(m, e->time_ns);
        m->now_ns = e->time_ns;
        int r = e->kind == TRACE_TASK ? task_event(m, e, err) : node_event(m, e, err);
        if (r < 0)
            return err_wrap(err, "event %lld of the trace", (long long)(i + 1));
        if (++done > next || i + 1 == t->count) {
            sample(m);
            next += t->count / SAMPLES;
        }
    }
    departures_until(m, INT64_MAX);
    return 0;
}

static void finish(struct simulation *m)
{
    struct simulate_result *r = m->r;
    for (size_t i = 0; i < m->wait_count; i++) {
        r->waiting += m->waits[i].count;
        m->waits[i].count = 0;
    }
    waits_settle(m);
    r->virtual_ns = m->now_ns;
    r->placements_per_s = r->scheduler_ns ? (double)r->placed * 1e9 / (double)r->scheduler_ns : 0;
    const char *last;
    r->problems = sched_strategy_problems(m->sched, m->o->strategy, &last);
    snprintf(r->problem, sizeof(r->problem), "%s", last);
    sched_shape_unref(m->last_shape);
    sched_free(m->sched);
    map_done(&m->nodes);
    map_done(&m->down);
    free(m->departures);
    free(m->waits);
    free(m->running);
    free(m->placed);
}

int simulate_run(const struct trace *trace, const struct simulate_options *options,
                 struct simulate_result *ret, struct err *err)
{
    memset(ret, 0, sizeof(*ret));
    struct simulation m = {.o = options,
                           .r = ret,
                           .sched = sched_new(options->seed),
                           .nodes = MAP_INIT(NULL),
                           .down = MAP_INIT(NULL)};
    int r = start(&m, err);
    if (r == 0)
        r = play(&m, trace, err);
    finish(&m);
    return r;
}
