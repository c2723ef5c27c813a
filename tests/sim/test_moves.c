/* What the scheduler does to tasks that run: moves to nodes that have come, room that lower priorities make,
 * and nodes that are left alone where a service failed. Random swarms in virtual time; DROVER_SIM_SEED=n
 * repeats one. */
#include "swarm.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/timeutil.h"
#include "unit.h"

enum { SEEDS = 60, SLOTS_MAX = 32, BAD = 3 /* the node where things fail */ };

struct notes {
    int moves, joined;
    int moved[SWARM_SERVICES][SLOTS_MAX];
    char left[SWARM_SERVICES][SLOTS_MAX][8]; /* the node that a slot's task moved away from */
    int64_t tries_on_bad, failures_on_bad[SWARM_SERVICES];
    int64_t last_failure_ns, before_last_ns, third_last_ns;
    int64_t waits_since[SWARM_TASKS]; /* by task made: since when it waits for room that it was given */
    bool kept_health;
};

static void each_seed(void (*run)(uint64_t seed))
{
    const char *one = getenv("DROVER_SIM_SEED");
    int64_t seed = 0;
    if (one && parse_i64(one, 1, INT64_MAX, &seed, NULL) == 0)
        run((uint64_t)seed);
    else
        for (uint64_t i = 1; i <= SEEDS; i++)
            run(i);
}

static int add_service(struct swarm *w, int64_t replicas, int64_t cpu, int32_t priority)
{
    char spec[400];
    snprintf(
        spec, sizeof(spec),
        "{\"Name\":\"x\",\"Mode\":{\"Replicated\":{\"Replicas\":%lld}},\"TaskTemplate\":{\"RestartPolicy\":"
        "{\"Delay\":1000000000}},\"UpdateConfig\":{\"Parallelism\":%d,\"Monitor\":%d000000000,\"Order\":\"%"
        "s\"}}",
        (long long)replicas, (int)swarm_draw(w, 4), 1 + (int)swarm_draw(w, 5),
        swarm_draw(w, 2) ? "start-first" : "stop-first");
    return swarm_service_add(w, spec, cpu, priority);
}

/* --- What must hold at each instant --- */

/* How many of a service run at least while it is moved about and nothing else happens. */
static int64_t least_of(const struct deploy_spec *s)
{
    return s->update.start_first ? s->replicas
                                 : s->replicas - MIN(MAX(s->update.parallelism, 1), s->replicas - 1);
}

static void check_health(struct swarm *w)
{
    for (int i = 0; i < w->service_count; i++)
        if (swarm_running(w, i) < least_of(&w->services[i].spec))
            swarm_fail(w, "%lld of service %d run, and it must have %lld of %lld",
                       (long long)swarm_running(w, i), i, (long long)least_of(&w->services[i].spec),
                       (long long)w->services[i].spec.replicas);
}

static void check_budget(struct swarm *w)
{
    size_t moving = 0;
    for (size_t i = 0; i < w->task_count; i++)
        moving += w->tasks[i]->t.moves && !task_ended(w->tasks[i]->t.state);
    if (moving > w->budget)
        swarm_fail(w, "%zu tasks move at once", moving);
}

/* The model has just those tasks that have a place. */
static void check_model(struct swarm *w)
{
    size_t placed = 0;
    for (size_t i = 0; i < w->task_count; i++) {
        const struct swarm_task *t = w->tasks[i];
        placed += t->placed != SCHED_NONE;
        if (t->placed != SCHED_NONE && strcmp(sched_task_node(w->model, t->placed), t->t.node) != 0)
            swarm_fail(w, "task %s is on %s, and the scheduler has it on %s", t->id, t->t.node,
                       sched_task_node(w->model, t->placed));
    }
    if (placed != sched_task_count(w->model))
        swarm_fail(w, "%zu tasks have a place, the scheduler has %zu", placed, sched_task_count(w->model));
}

static void check_whole(struct swarm *w)
{
    for (int i = 0; i < w->service_count; i++)
        if (swarm_running(w, i) != w->services[i].spec.replicas)
            swarm_fail(w, "%lld of service %d run, not %lld", (long long)swarm_running(w, i), i,
                       (long long)w->services[i].spec.replicas);
}

/* --- Moves --- */

static void note_move(struct swarm *w, const struct swarm_task *t, const char *to)
{
    struct notes *n = w->own;
    int64_t slot = t->t.slot;
    n->moves++;
    if (strcmp(n->left[t->service][slot], to) == 0)
        swarm_fail(w, "service %d's task %lld moves back to %s", t->service, (long long)slot, to);
    snprintf(n->left[t->service][slot], sizeof(n->left[0][0]), "%s", t->t.node);
    if (++n->moved[t->service][slot] > n->joined)
        swarm_fail(w, "service %d's task %lld moves once more than nodes have come", t->service,
                   (long long)slot);
}

static void check_moves(struct swarm *w)
{
    check_health(w);
    check_budget(w);
    check_model(w);
}

static void moves_of(uint64_t seed)
{
    struct swarm *w = swarm_new(seed, 2 + (int)(seed % 4), 1000);
    struct notes *n = w->own = NEW(struct notes);
    w->budget = 1 + swarm_draw(w, 4);
    int services = 1 + (int)swarm_draw(w, 5);
    int64_t tasks = 0;
    for (int i = 0; i < services; i++) {
        int64_t replicas = 1 + (int64_t)swarm_draw(w, 16);
        add_service(w, replicas, 1 + (int64_t)swarm_draw(w, 3), 0);
        tasks += replicas;
    }
    swarm_pass(w, 120);
    check_whole(w);
    w->check = check_moves;
    w->moved = note_move;
    for (n->joined = 1; n->joined <= 3; n->joined++) {
        swarm_node_add(w, 1000);
        int before = n->moves;
        swarm_pass(w, 30 + (int64_t)swarm_draw(w, 900));
        if (n->moves - before > tasks)
            swarm_fail(w, "%d moves of %lld tasks", n->moves - before, (long long)tasks);
    }
    n->joined--;
    swarm_pass(w, 1200);
    check_whole(w);
    int64_t made = w->made;
    swarm_pass(w, 600);
    if (w->made != made || w->balance_ns)
        swarm_fail(w, "it has not come to rest: %lld more tasks", (long long)(w->made - made));
    free(n);
    swarm_free(w);
}

static void through_moves_each_service_keeps_its_health_and_they_end(void **unused)
{
    each_seed(moves_of);
}

/* --- Where a service fails --- */

static bool fails_on_bad(struct swarm *w, const struct swarm_task *t)
{
    return t->service == 0 && strcmp(t->t.node, w->nodes[BAD].id) == 0 && t->t.state != TASK_RUNNING;
}

/* Three failures within five minutes, and another try within half a minute. */
static void note_try(struct swarm *w, const struct swarm_task *t)
{
    struct notes *n = w->own;
    if (!fails_on_bad(w, t))
        return;
    n->tries_on_bad++;
    if (n->third_last_ns && n->last_failure_ns - n->third_last_ns < 250 * NS_PER_S &&
        t->t.created_ns > n->last_failure_ns && t->t.created_ns - n->last_failure_ns < 30 * NS_PER_S)
        swarm_fail(w, "task %s goes where the service has failed just now", t->id);
    n->third_last_ns = n->before_last_ns;
    n->before_last_ns = n->last_failure_ns;
    n->last_failure_ns = w->now_ns;
}

static void newcomer_of(uint64_t seed)
{
    struct swarm *w = swarm_new(seed, BAD, 1000);
    struct notes *n = w->own = NEW(struct notes);
    for (int i = 0; i < 3; i++)
        add_service(w, (i ? 2 : 12) + (int64_t)swarm_draw(w, 8), 1, 0);
    swarm_pass(w, 120);
    w->check = check_moves;
    w->fails = fails_on_bad;
    w->begins = note_try;
    must(swarm_node_add(w, 1000) == BAD);
    swarm_pass(w, 3600);
    if (n->tries_on_bad > 40)
        swarm_fail(w, "%lld tries in an hour where each fails", (long long)n->tries_on_bad);
    size_t others = sched_node_tasks(w->model, w->nodes[BAD].id, NULL, 0);
    if (!n->tries_on_bad || !others)
        swarm_fail(w, "the new node was tried %lld times, and has %zu tasks of other services",
                   (long long)n->tries_on_bad, others);
    free(n);
    swarm_free(w);
}

static void a_new_node_that_fails_one_service_takes_the_others(void **unused)
{
    each_seed(newcomer_of);
}

/* Elsewhere its program ends now and then, as it may. */
static bool fails_on_bad_or_ends(struct swarm *w, const struct swarm_task *t)
{
    if (t->t.state == TASK_RUNNING && swarm_draw(w, 400) == 0)
        swarm_end(w, t->t.owner, TASK_COMPLETE);
    return fails_on_bad(w, t);
}

/* Nodes come and go meanwhile: nothing of what is remembered is lost by that. */
static void remembered_of(uint64_t seed)
{
    struct swarm *w = swarm_new(seed, 5, 1000);
    struct notes *n = w->own = NEW(struct notes);
    for (int i = 0; i < 3; i++)
        add_service(w, 1 + (int64_t)swarm_draw(w, 6), 1, 0);
    w->check = check_model;
    w->fails = fails_on_bad_or_ends;
    w->begins = note_try;
    for (int i = 0; i < 120; i++) {
        swarm_pass(w, 15 + (int64_t)swarm_draw(w, 30));
        swarm_node_set(w, (int)swarm_draw(w, BAD), swarm_draw(w, 8) == 0, swarm_draw(w, 8) == 0);
    }
    if (n->tries_on_bad > 60)
        swarm_fail(w, "%lld tries in an hour where each fails", (long long)n->tries_on_bad);
    for (int i = 0; i < BAD; i++)
        swarm_node_set(w, i, false, false);
    w->fails = fails_on_bad;
    swarm_pass(w, 900);
    check_whole(w);
    free(n);
    swarm_free(w);
}

static void where_a_service_fails_it_is_tried_ever_less(void **unused)
{
    each_seed(remembered_of);
}

/* --- Priorities --- */

static int64_t free_for(const struct swarm *w, const struct swarm_node *n, int32_t priority)
{
    int64_t left = n->cpu;
    for (size_t i = 0; i < w->task_count; i++) {
        const struct swarm_task *t = w->tasks[i];
        if (t->placed != SCHED_NONE && strcmp(t->t.node, n->id) == 0 &&
            w->services[t->service].priority >= priority)
            left -= w->services[t->service].cpu;
    }
    return left;
}

/* At rest nobody waits for what a lower one holds, and who was given room has it soon. */
static void check_priorities(struct swarm *w)
{
    struct notes *n = w->own;
    check_model(w);
    for (size_t i = 0; i < w->task_count; i++) {
        const struct swarm_task *t = w->tasks[i];
        const struct swarm_service *s = &w->services[t->service];
        int64_t number = 0;
        if (t->t.state != TASK_PENDING || t->t.desired >= TASK_SHUTDOWN)
            continue;
        for (int k = 0; t->placed == SCHED_NONE && k < w->node_count; k++)
            if (!w->nodes[k].lost && !w->nodes[k].drained && free_for(w, &w->nodes[k], s->priority) >= s->cpu)
                swarm_fail(w, "task %s of priority %d waits for room that lower ones have on %s", t->id,
                           s->priority, w->nodes[k].id);
        parse_i64(t->id + 1, 0, INT64_MAX, &number, NULL);
        if (t->placed == SCHED_NONE || number >= SWARM_TASKS)
            continue;
        if (!n->waits_since[number])
            n->waits_since[number] = w->now_ns;
        if (w->now_ns - n->waits_since[number] > 60 * NS_PER_S)
            swarm_fail(w, "task %s waits for a minute for room that it was given", t->id);
    }
}

static void check_fits(struct swarm *w)
{
    for (int i = 0; i < w->node_count; i++) {
        int64_t used = 0;
        for (size_t k = 0; k < w->task_count; k++) {
            const struct swarm_task *t = w->tasks[k];
            bool runs = t->t.state >= TASK_ASSIGNED && !task_ended(t->t.state);
            used += runs && strcmp(t->t.node, w->nodes[i].id) == 0 ? w->services[t->service].cpu : 0;
        }
        if (used > w->nodes[i].cpu)
            swarm_fail(w, "%lld of %lld are in use on %s", (long long)used, (long long)w->nodes[i].cpu,
                       w->nodes[i].id);
    }
}

static void check_tight(struct swarm *w)
{
    check_priorities(w);
    check_fits(w);
}

static void priorities_of(uint64_t seed)
{
    enum { CPU = 12, NODES = 5 };
    struct swarm *w = swarm_new(seed, NODES, CPU);
    struct notes *n = w->own = NEW(struct notes);
    for (int i = 0; i < 6; i++)
        add_service(w, 1, 1 + (int64_t)swarm_draw(w, 5), (int32_t)swarm_draw(w, 4) - 1);
    w->check = check_tight;
    for (int i = 0; i < 60; i++) {
        if (swarm_draw(w, 4))
            w->services[swarm_draw(w, 6)].spec.replicas = (int64_t)swarm_draw(w, 8);
        else
            swarm_node_set(w, 1 + (int)swarm_draw(w, NODES - 1), swarm_draw(w, 3) == 0,
                           swarm_draw(w, 6) == 0);
        swarm_pass(w, 1 + (int64_t)swarm_draw(w, 20));
    }
    /* When it is left alone, it comes to rest; and when there is room, nothing is missing. */
    swarm_pass(w, 120);
    int64_t made = w->made;
    swarm_pass(w, 600);
    if (w->made != made)
        swarm_fail(w, "%lld more tasks though nothing happens", (long long)(w->made - made));
    for (int i = 0; i < NODES; i++)
        swarm_node_set(w, i, false, false);
    for (int i = 0; i < w->service_count; i++)
        w->services[i].spec.replicas = 1 + (int64_t)swarm_draw(w, 2);
    swarm_pass(w, 300);
    check_whole(w);
    free(n);
    swarm_free(w);
}

static void no_task_waits_for_what_a_lower_one_holds(void **unused)
{
    each_seed(priorities_of);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(through_moves_each_service_keeps_its_health_and_they_end),
        cmocka_unit_test(a_new_node_that_fails_one_service_takes_the_others),
        cmocka_unit_test(where_a_service_fails_it_is_tried_ever_less),
        cmocka_unit_test(no_task_waits_for_what_a_lower_one_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
