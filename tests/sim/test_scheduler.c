/* Random small clusters, in which every single choice of the scheduler is held against a reference that looks
 * at every node. A failure prints its seed: DROVER_SIM_SEED=n repeats it. */
#include "unit.h"

#include "reference.h"
#include "scheduler/rebalance.h"
#include "scheduler/table.h"

enum { RUNS = 150, STEPS = 90, SERVICES = 12 };

static uint64_t state;

static uint32_t chance(uint32_t n)
{
    state += UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(mix64(state) >> 33) % n;
}

struct pair {
    struct sched *sched;
    struct sched_shape *shapes[SERVICES];
    sched_task tasks[REF_TASKS]; /* by the world's index */
};

static const char *const zones[] = {"a", "b", "c"}, *const disks[] = {"ssd", "HDD"};
static const char *const images[REF_IMAGES] = {"nginx:1", "redis:7", "busybox", "app:2"};
static const char *const volumes[REF_VOLUMES] = {"data", "logs", "spool"};
static const char *const strategies[] = {NULL, "spread", "binpack", "random"};

static void node_random(struct ref_node *n, int i)
{
    *n = (struct ref_node){
        .used = true,
        .state = chance(12) ? SCHED_READY : SCHED_DOWN,
        .availability = chance(12) ? SCHED_ACTIVE : (enum sched_availability)(1 + chance(2)),
        .health = chance(10) ? SCHED_HEALTHY : (enum sched_health)chance(3),
        .zone = chance(6) ? zones[chance(3)] : NULL,
        .disk = chance(4) ? disks[chance(2)] : NULL,
        .os = chance(8) ? "linux" : "windows",
        .pool = chance(8) ? NULL : "batch",
        .tenant = chance(10) ? NULL : "acme",
        .cpu = (1 + chance(4)) * INT64_C(1000000000),
        .memory = (1 + chance(4)) * (INT64_C(1) << 30),
        .gpu = chance(3) ? 0 : chance(5),
        .own_port = chance(5) ? 0 : 80,
    };
    snprintf(n->id, sizeof(n->id), "node-%d", i);
    for (int k = 0; k < REF_IMAGES; k++)
        n->images[k] = chance(4) == 0;
    for (int k = 0; k < REF_VOLUMES; k++)
        n->volumes[k] = chance(16) == 0;
}

static void node_put(struct sched *s, const struct ref_node *n)
{
    struct sched_label labels[2];
    size_t label_count = 0;
    if (n->zone)
        labels[label_count++] = (struct sched_label){"zone", n->zone};
    if (n->disk)
        labels[label_count++] = (struct sched_label){"disk", n->disk};
    const struct sched_amount gpu = {"gpu", n->gpu};
    const struct sched_port port = {(uint16_t)n->own_port, SCHED_TCP};
    char *held[REF_IMAGES + 1] = {NULL}, *kept[REF_VOLUMES + 1] = {NULL};
    for (int i = 0, at = 0; i < REF_IMAGES; i++)
        if (n->images[i])
            held[at++] = (char *)images[i];
    for (int i = 0, at = 0; i < REF_VOLUMES; i++)
        if (n->volumes[i])
            kept[at++] = (char *)volumes[i];
    struct sched_node node = {.id = n->id,
                              .name = n->id,
                              .state = n->state,
                              .availability = n->availability,
                              .health = n->health,
                              .platform = {n->os, "x86_64"},
                              .labels = labels,
                              .label_count = label_count,
                              .cpu_nano = n->cpu,
                              .memory_bytes = n->memory,
                              .generic = &gpu,
                              .generic_count = n->gpu > 0,
                              .ports = &port,
                              .port_count = n->own_port > 0,
                              .images = held,
                              .volumes = kept,
                              .pool = n->pool,
                              .tenant = n->tenant};
    struct err err;
    assert_ok(sched_node_put(s, &node, &err), &err);
}

static void service_random(struct ref_service *s, int i, bool chosen)
{
    *s = (struct ref_service){.cpu = chance(4) ? chance(8) * INT64_C(125000000) : 0,
                              .memory = chance(4) ? chance(6) * (INT64_C(1) << 27) : 0,
                              .gpu = chance(8) ? 0 : 1 + chance(2),
                              .near = chance(6) ? -1 : (int)chance(SERVICES),
                              .away = chance(6) ? -1 : (int)chance(SERVICES),
                              .near_soft = chance(2),
                              .away_soft = chance(2),
                              .port = chance(6)   ? 0
                                      : chance(2) ? 80
                                                  : 443,
                              .image = chance(3) ? (int)chance(REF_IMAGES) : -1,
                              .volume = chance(10) ? -1 : (int)chance(REF_VOLUMES),
                              .exclusive = chance(2),
                              .max_per_node = chance(5) ? 0 : 1 + chance(3),
                              .priority = (int32_t)chance(4),
                              .os = chance(4) ? NULL : "linux",
                              .pool = chance(12) ? NULL : "batch",
                              .tenant = chance(3) ? NULL : "acme",
                              .strategy = strategies[chance(chosen ? 4 : 3)]};
    snprintf(s->name, sizeof(s->name), "service-%d", i);
    if (chance(3) == 0) {
        s->constraint_key = chance(2) ? "zone" : "disk";
        s->constraint_value = s->constraint_key[0] == 'z' ? zones[chance(3)] : "hdd";
        s->negate = chance(2);
        s->soft = chance(2);
    }
    if (chance(20) == 0)
        s->host = "node-1";
    if (chance(3) == 0)
        s->preferences[0] = "zone", s->preferences[1] = chance(2) ? "disk" : NULL;
}

static struct sched_shape *shape_make(struct sched *s, const struct ref_world *w, int service)
{
    const struct ref_service *r = &w->services[service];
    char constraint[64], host[64], near[64], away[64], preference[2][64];
    char *constraints[3] = {NULL}, *affinities[3] = {NULL}, *preferences[3] = {NULL};
    int at = 0;
    if (r->constraint_key) {
        snprintf(constraint, sizeof(constraint), "node.labels.%s %s%s %s", r->constraint_key,
                 r->negate ? "!=" : "==", r->soft ? "~" : "", r->constraint_value);
        constraints[at++] = constraint;
    }
    if (r->host) {
        snprintf(host, sizeof(host), "node.hostname==%s", r->host);
        constraints[at++] = host;
    }
    at = 0;
    if (r->near >= 0) {
        snprintf(near, sizeof(near), "affinity:service==%s%s", r->near_soft ? "~" : "",
                 w->services[r->near].name);
        affinities[at++] = near;
    }
    if (r->away >= 0) {
        snprintf(away, sizeof(away), "service!=%s%s", r->away_soft ? "~" : "", w->services[r->away].name);
        affinities[at++] = away;
    }
    for (int i = 0; i < 2 && r->preferences[i]; i++) {
        snprintf(preference[i], sizeof(preference[i]), "spread=node.labels.%s", r->preferences[i]);
        preferences[i] = preference[i];
    }
    const struct sched_amount gpu = {"gpu", r->gpu};
    const struct sched_platform platform = {r->os, "amd64"};
    const struct sched_port port = {(uint16_t)r->port, SCHED_TCP};
    const struct sched_volume volume = {r->volume >= 0 ? volumes[r->volume] : NULL, r->exclusive};
    struct sched_request request = {.service = r->name,
                                    .cpu_nano = r->cpu,
                                    .memory_bytes = r->memory,
                                    .generic = &gpu,
                                    .generic_count = r->gpu > 0,
                                    .constraints = constraints,
                                    .affinities = affinities,
                                    .preferences = preferences,
                                    .platforms = &platform,
                                    .platform_count = r->os != NULL,
                                    .ports = &port,
                                    .port_count = r->port > 0,
                                    .volumes = &volume,
                                    .volume_count = r->volume >= 0,
                                    .image = r->image >= 0 ? images[r->image] : NULL,
                                    .max_per_node = r->max_per_node,
                                    .priority = r->priority,
                                    .pool = r->pool,
                                    .tenant = r->tenant,
                                    .strategy = r->strategy};
    struct sched_shape *shape = NULL;
    struct err err;
    assert_ok(sched_shape_new(s, &request, &shape, &err), &err);
    return shape;
}

static int world_task_add(struct ref_world *w, int service, int node)
{
    int at = 0;
    while (at < w->task_top && w->tasks[at].service >= 0)
        at++;
    assert_true(at < REF_TASKS);
    w->task_top += at == w->task_top;
    w->tasks[at] = (struct ref_task){service, node};
    return at;
}

static void world_task_remove(struct ref_world *w, struct pair *pairs, int pair_count, int at)
{
    w->tasks[at].service = -1;
    for (int p = 0; p < pair_count; p++)
        sched_task_remove(pairs[p].sched, pairs[p].tasks[at]);
}

static int node_number(const char *id)
{
    int64_t n = -1;
    parse_i64(id + 5, 0, REF_NODES - 1, &n, NULL);
    return (int)n;
}

/* What the numbers of the filters come to must be what the reference counts. */
static void check_explanation(const struct ref_world *w, struct pair *p, int service, uint64_t seed)
{
    struct sched_explanation e;
    sched_explain(p->sched, p->shapes[service], 0, &e);
    uint32_t nodes = 0, possible = 0, refused = 0;
    for (int i = 0; i < REF_NODES; i++) {
        nodes += w->nodes[i].used;
        possible += ref_possible(w, service, i);
    }
    for (int i = 0; i < SCHED_FILTER_COUNT; i++)
        refused += e.refused[i];
    if (e.nodes != nodes || e.possible != possible || refused != nodes - possible)
        fail_msg("seed %llu: %u of %u nodes possible and %u refused, the reference says %u of %u",
                 (unsigned long long)seed, e.possible, e.nodes, refused, possible, nodes);
    bool best[REF_NODES];
    const char *strategy = w->services[service].strategy;
    if (ref_best(w, service, best) && !(strategy && strcmp(strategy, "random") == 0) &&
        !best[node_number(e.best[0].node)])
        fail_msg("seed %llu: %s is explained as the best for %s, and is not", (unsigned long long)seed,
                 e.best[0].node, w->services[service].name);
}

/* The lowest priority up to which the tasks of some node must go, and the fewest of them (3 stands for more
 * than two). */
static bool ref_preempt(struct ref_world *w, int service, int *ret_highest, int *ret_fewest)
{
    const int none = 1 << 20;
    *ret_highest = none;
    for (int node = 0; node < REF_NODES; node++) {
        if (!ref_lasting(w, service, node))
            continue;
        for (int highest = 0; highest < w->services[service].priority; highest++) {
            struct ref_world *copy = mem_dup(w, sizeof(*w));
            int list[REF_TASKS], count = 0, fewest = 3;
            for (int i = 0; i < w->task_top; i++)
                if (w->tasks[i].service >= 0 && w->tasks[i].node == node &&
                    w->services[w->tasks[i].service].priority <= highest) {
                    list[count++] = i;
                    copy->tasks[i].service = -1;
                }
            bool fits = count && ref_fits(copy, service, node);
            memcpy(copy->tasks, w->tasks, sizeof(w->tasks));
            for (int a = 0; fits && a < count; a++) {
                copy->tasks[list[a]].service = -1;
                if (ref_fits(copy, service, node))
                    fewest = 1;
                for (int b = a + 1; fewest > 2 && b < count; b++) {
                    copy->tasks[list[b]].service = -1;
                    fewest = ref_fits(copy, service, node) ? 2 : fewest;
                    copy->tasks[list[b]] = w->tasks[list[b]];
                }
                copy->tasks[list[a]] = w->tasks[list[a]];
            }
            free(copy);
            if (!fits)
                continue;
            if (highest < *ret_highest || (highest == *ret_highest && fewest < *ret_fewest)) {
                *ret_highest = highest;
                *ret_fewest = fewest;
            }
            break;
        }
    }
    return *ret_highest != none;
}

static void check_preemption(struct ref_world *w, struct pair *p, int service, uint64_t seed)
{
    struct sched_preemption found;
    sched_preempt(p->sched, p->shapes[service], 0, &found);
    int highest, fewest;
    bool wanted = ref_preempt(w, service, &highest, &fewest);
    if (wanted != (found.node != NULL))
        fail_msg("seed %llu: preemption for %s %s, the reference says otherwise", (unsigned long long)seed,
                 w->services[service].name, found.node ? "was found" : "was not found");
    if (!found.node)
        return;
    int node = node_number(found.node), list[SCHED_VICTIMS_MAX], reached = -1;
    struct ref_world *copy = mem_dup(w, sizeof(*w));
    for (size_t v = 0; v < found.count; v++) {
        for (list[v] = 0; p->tasks[list[v]] != found.victims[v] || w->tasks[list[v]].service < 0;)
            list[v]++;
        assert_int_equal(w->tasks[list[v]].node, node);
        int priority = w->services[w->tasks[list[v]].service].priority;
        assert_true(priority < w->services[service].priority);
        reached = MAX(reached, priority);
        copy->tasks[list[v]].service = -1;
    }
    if (!ref_fits(copy, service, node))
        fail_msg("seed %llu: the victims for %s are not enough", (unsigned long long)seed,
                 w->services[service].name);
    for (size_t v = 0; v < found.count; v++) {
        copy->tasks[list[v]] = w->tasks[list[v]];
        if (ref_fits(copy, service, node))
            fail_msg("seed %llu: a victim for %s need not go", (unsigned long long)seed,
                     w->services[service].name);
        copy->tasks[list[v]].service = -1;
    }
    free(copy);
    if (reached != highest || MIN((int)found.count, 3) != fewest)
        fail_msg("seed %llu: %zu victims up to priority %d for %s; %d up to %d are enough",
                 (unsigned long long)seed, found.count, reached, w->services[service].name, fewest, highest);
}

static void place(struct ref_world *w, struct pair *pairs, int pair_count, int service, size_t count,
                  uint64_t seed)
{
    sched_task tasks[2][64];
    size_t placed[2];
    for (int p = 0; p < pair_count; p++)
        placed[p] = sched_place(pairs[p].sched, pairs[p].shapes[service], count, 0, tasks[p]);
    bool best[REF_NODES];
    for (size_t i = 0; i < placed[0]; i++) {
        int node = node_number(sched_task_node(pairs[0].sched, tasks[0][i]));
        int equals = ref_best(w, service, best);
        if (!best[node])
            fail_msg("seed %llu: task %zu of %s (%s) went to node-%d, which %s; %d nodes are best",
                     (unsigned long long)seed, i, w->services[service].name,
                     w->services[service].strategy ? w->services[service].strategy : "default", node,
                     ref_possible(w, service, node) ? "is not the best" : "is not possible", equals);
        if (pair_count > 1 &&
            (i >= placed[1] || node_number(sched_task_node(pairs[1].sched, tasks[1][i])) != node))
            fail_msg("seed %llu: nodes added in another order gave another choice", (unsigned long long)seed);
        int at = world_task_add(w, service, node);
        for (int p = 0; p < pair_count; p++)
            pairs[p].tasks[at] = tasks[p][i];
    }
    if (placed[0] < count && ref_best(w, service, best) > 0)
        fail_msg("seed %llu: %s was refused, and a node is possible", (unsigned long long)seed,
                 w->services[service].name);
    if (placed[0] < count) {
        check_preemption(w, &pairs[0], service, seed);
        check_explanation(w, &pairs[0], service, seed);
    }
}

static void node_change(struct ref_world *w, struct pair *pairs, int pair_count)
{
    int i = (int)chance(REF_NODES);
    struct err err;
    if (w->nodes[i].used && chance(3) == 0) {
        for (int t = 0; t < w->task_top; t++)
            if (w->tasks[t].service >= 0 && w->tasks[t].node == i)
                w->tasks[t].service = -1;
        for (int p = 0; p < pair_count; p++)
            assert_ok(sched_node_remove(pairs[p].sched, w->nodes[i].id, &err), &err);
        w->nodes[i].used = false;
        return;
    }
    node_random(&w->nodes[i], i);
    for (int p = 0; p < pair_count; p++)
        node_put(pairs[p].sched, &w->nodes[i]);
}

/* `random` differs with the order of nodes, and is left to runs of one scheduler. */
static void run_seed(uint64_t seed)
{
    state = seed;
    bool chosen = chance(2);
    int pair_count = chosen ? 1 : 2, nodes = 1 + (int)chance(REF_NODES);
    struct ref_world *w = NEW(struct ref_world);
    struct pair *pairs = NEW_N(struct pair, 2);
    for (int i = 0; i < nodes; i++)
        node_random(&w->nodes[i], i);
    for (int p = 0; p < pair_count; p++) {
        pairs[p].sched = sched_new(seed);
        for (int i = 0; i < nodes; i++)
            node_put(pairs[p].sched, &w->nodes[p ? nodes - 1 - i : i]);
    }
    w->service_count = SERVICES;
    for (int i = 0; i < SERVICES; i++)
        service_random(&w->services[i], i, chosen);
    for (int step = 0; step < STEPS; step++) {
        int service = (int)chance(SERVICES);
        for (int p = 0; p < pair_count; p++)
            if (!pairs[p].shapes[service])
                pairs[p].shapes[service] = shape_make(pairs[p].sched, w, service);
        uint32_t what = chance(10);
        if (what < 6)
            place(w, pairs, pair_count, service, 1 + chance(chance(4) ? 3 : 40), seed);
        else if (what < 8 && w->task_top)
            for (uint32_t n = chance(6); n > 0; n--) {
                int at = (int)chance((uint32_t)w->task_top);
                if (w->tasks[at].service >= 0)
                    world_task_remove(w, pairs, pair_count, at);
            }
        else if (what == 8)
            node_change(w, pairs, pair_count);
        else
            check_explanation(w, &pairs[0], service, seed);
    }
    for (int p = 0; p < pair_count; p++) {
        for (int i = 0; i < SERVICES; i++)
            sched_shape_unref(pairs[p].shapes[i]);
        sched_free(pairs[p].sched);
    }
    free(pairs);
    free(w);
}

static void every_choice_is_the_references_best(void **unused)
{
    const char *one = getenv("DROVER_SIM_SEED"), *many = getenv("DROVER_SIM_RUNS");
    int64_t first = 1, runs = RUNS;
    if (one) {
        parse_i64(one, 0, INT64_MAX, &first, NULL);
        runs = 1;
    }
    if (many)
        parse_i64(many, 1, INT64_MAX, &runs, NULL);
    print_message("seeds %lld to %lld\n", (long long)first, (long long)(first + runs - 1));
    for (int64_t seed = first; seed < first + runs; seed++)
        run_seed((uint64_t)seed);
}

/* ---- moves and plans: random clusters, and what is asked for by name ---- */

static int64_t spares[SERVICES];

static int64_t spare_of(void *context, const char *service)
{
    int64_t i = 0;
    parse_i64(service + strlen("service-"), 0, SERVICES - 1, &i, NULL);
    return spares[i];
}

static struct sched *calm_cluster(struct ref_world *w, int nodes, int services, struct sched_shape **shapes)
{
    struct sched *s = sched_new(1);
    for (int i = 0; i < nodes; i++) {
        w->nodes[i] = (struct ref_node){
            .used = true, .os = "linux", .cpu = INT64_C(64000000000), .memory = INT64_C(1) << 36};
        snprintf(w->nodes[i].id, sizeof(w->nodes[i].id), "node-%d", i);
        node_put(s, &w->nodes[i]);
    }
    for (int i = 0; i < services; i++) {
        w->services[i] =
            (struct ref_service){.cpu = 1000000, .near = -1, .away = -1, .image = -1, .volume = -1};
        snprintf(w->services[i].name, sizeof(w->services[i].name), "service-%d", i);
        shapes[i] = shape_make(s, w, i);
    }
    return s;
}

static void counts_of(struct sched *s, uint32_t counts[REF_NODES], uint32_t *ret_least, uint32_t *ret_most)
{
    struct sched_node_use use;
    *ret_least = UINT32_MAX;
    *ret_most = 0;
    memset(counts, 0, sizeof(uint32_t) * REF_NODES);
    for (size_t at = 0; sched_node_next(s, &at, &use);) {
        counts[node_number(use.id)] = use.tasks;
        *ret_least = MIN(*ret_least, use.tasks);
        *ret_most = MAX(*ret_most, use.tasks);
    }
}

static void moves_keep_to_the_budget_and_to_each_services_spare(void **unused)
{
    enum { NODES = 8, MOVES = 16 };
    for (uint64_t seed = 1; seed <= 60; seed++) {
        state = seed;
        struct ref_world *w = NEW(struct ref_world);
        struct sched_shape *shapes[SERVICES];
        struct sched *s = calm_cluster(w, NODES, SERVICES, shapes);
        sched_task tasks[64];
        for (int i = 0; i < SERVICES; i++) {
            size_t count = 1 + chance(30);
            assert_int_equal(sched_place(s, shapes[i], count, 0, tasks), count);
            spares[i] = (int64_t)chance(4);
        }
        for (int i = NODES; i < NODES + 3; i++) { /* three new ones */
            w->nodes[i] = w->nodes[0];
            snprintf(w->nodes[i].id, sizeof(w->nodes[i].id), "node-%d", i);
            node_put(s, &w->nodes[i]);
        }
        uint32_t before[REF_NODES], after[REF_NODES], least, most, least_after, most_after;
        size_t made = 1;
        for (int round = 0; made && round < 200; round++) {
            struct sched_move moves[MOVES];
            counts_of(s, before, &least, &most);
            size_t budget = 1 + chance(MOVES);
            made = sched_rebalance(s, NULL, 0, budget, 0, spare_of, NULL, moves);
            counts_of(s, after, &least_after, &most_after);
            assert_memory_equal(before, after, sizeof(before)); /* it only says */
            assert_true(made <= budget);
            int64_t moved[SERVICES] = {0};
            for (size_t i = 0; i < made; i++) {
                struct sched_shape *shape = sched_shape_ref(sched_task_shape(s, moves[i].task));
                int64_t service = 0;
                parse_i64(sched_shape_service(shape) + strlen("service-"), 0, SERVICES - 1, &service, NULL);
                if (++moved[service] > spares[service])
                    fail_msg("seed %llu: more of service-%lld moves than it can spare",
                             (unsigned long long)seed, (long long)service);
                assert_string_equal(sched_task_node(s, moves[i].task), moves[i].from);
                _cleanup_free_ char *to = mem_strdup(moves[i].to);
                struct err err;
                sched_task_remove(s, moves[i].task);
                sched_task put;
                assert_ok(sched_task_add(s, shape, to, &put, &err), &err);
                sched_shape_unref(shape);
            }
            counts_of(s, after, &least_after, &most_after);
            if (made && (most_after > most || least_after < least))
                fail_msg("seed %llu: moves made it worse: %u to %u, then %u to %u", (unsigned long long)seed,
                         least, most, least_after, most_after);
        }
        if (made)
            fail_msg("seed %llu: the moves do not end", (unsigned long long)seed);
        bool all_spare = true;
        for (int i = 0; i < SERVICES; i++)
            all_spare &= spares[i] > 0;
        if (all_spare && least_after == 0)
            fail_msg("seed %llu: a new node stayed empty", (unsigned long long)seed);
        for (int i = 0; i < SERVICES; i++)
            sched_shape_unref(shapes[i]);
        sched_free(s);
        free(w);
    }
}

static void a_plan_says_what_then_happens_and_changes_nothing(void **unused)
{
    struct ref_world *w = NEW(struct ref_world);
    struct sched_shape *shapes[2];
    struct sched *s = calm_cluster(w, 4, 2, shapes);
    sched_task tasks[16];
    assert_int_equal(sched_place(s, shapes[0], 10, 0, tasks), 10);
    struct sched_action *actions = NEW_N(struct sched_action, 16);
    struct err err;
    size_t count;
    struct sched_change scale = {.kind = SCHED_CHANGE_SCALE, .shape = shapes[0], .count = 16};
    assert_ok(sched_plan(s, &scale, 0, actions, 16, &count, &err), &err);
    assert_int_equal(count, 6);
    assert_int_equal(sched_task_count(s), 10);
    assert_int_equal(sched_place(s, shapes[0], 6, 0, tasks + 10), 6);
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(actions[i].kind, SCHED_ACTION_START);
        assert_string_equal(actions[i].to, sched_task_node(s, tasks[10 + i]));
    }
    scale.count = 2;
    assert_ok(sched_plan(s, &scale, 0, actions, 16, &count, &err), &err);
    assert_int_equal(count, 14);
    assert_int_equal(sched_task_count(s), 16);
    for (size_t i = 0; i < 16; i++) /* every task has its number still */
        assert_ptr_equal(sched_task_shape(s, tasks[i]), shapes[0]);
    struct sched_node drained = {.id = "node-1",
                                 .availability = SCHED_DRAIN,
                                 .cpu_nano = w->nodes[1].cpu,
                                 .memory_bytes = w->nodes[1].memory},
                      before = drained;
    before.availability = SCHED_ACTIVE;
    struct sched_change drain = {.kind = SCHED_CHANGE_NODE, .node = &drained, .before = &before};
    assert_ok(sched_plan(s, &drain, 0, actions, 16, &count, &err), &err);
    assert_int_equal(count, 4);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(actions[i].kind, SCHED_ACTION_MOVE);
        assert_string_equal(actions[i].from, "node-1");
        assert_string_not_equal(actions[i].to, "node-1");
    }
    assert_int_equal(sched_service_tasks(s, "service-0", "node-1"), 4);
    struct sched_node joins = before;
    joins.id = "node-9";
    struct sched_change join = {.kind = SCHED_CHANGE_NODE, .node = &joins};
    assert_ok(sched_plan(s, &join, 0, actions, 16, &count, &err), &err);
    assert_int_equal(count, 0);
    assert_int_equal(sched_node_count(s), 4);
    free(actions);
    for (int i = 0; i < 2; i++)
        sched_shape_unref(shapes[i]);
    sched_free(s);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_choice_is_the_references_best),
        cmocka_unit_test(moves_keep_to_the_budget_and_to_each_services_spare),
        cmocka_unit_test(a_plan_says_what_then_happens_and_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
