/* Services in virtual time: whatever happens to tasks, with a seed that is printed, the rules of rollouts
 * hold at every instant, and in the end there is what was asked for. */
#include "deploy/changes.h"
#include "deploy/deploy.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/timeutil.h"
#include "unit.h"

enum { TASKS = 4096, PASSES = 64, NODES = 3 };

struct world {
    struct deploy_spec spec;
    struct deploy_task tasks[TASKS];
    char ids[TASKS][8];
    size_t count;
    int64_t version, previous, now_ns;
    struct deploy_rollout_status status;
    struct deploy_node nodes[NODES];
    uint64_t random;
    bool removed;
    int64_t next_ns;
    int64_t made;
    int64_t bad_version;  /* tasks of it fail */
    int64_t bad_since_ns; /* and those made from then on; 0: none */
};

static uint64_t draw(struct world *w, uint64_t below)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->random % below;
}

static void spec_of(struct world *w, const char *text)
{
    struct err err;
    _cleanup_json_ json_t *doc = NULL;
    assert_ok(json_parse(text, strlen(text), "spec", &doc, &err), &err);
    assert_ok(deploy_spec_parse(doc, &w->spec, &err), &err);
}

static struct world *world_new(uint64_t seed, const char *spec)
{
    static const char *const names[NODES] = {"a", "b", "c"};
    struct world *w = NEW(struct world);
    w->version = 1;
    w->now_ns = 1000 * NS_PER_S;
    w->random = seed * 2654435761u + 88172645463325252u;
    for (int i = 0; i < NODES; i++)
        w->nodes[i] = (struct deploy_node){names[i], true, true};
    spec_of(w, spec);
    return w;
}

static void forget(struct world *w, size_t i)
{
    w->tasks[i] = w->tasks[--w->count];
    memcpy(w->ids[i], w->ids[w->count], sizeof(w->ids[i]));
    w->tasks[i].id = w->ids[i];
}

static void create(struct world *w, const struct deploy_action *a)
{
    must(w->count < TASKS);
    snprintf(w->ids[w->count], sizeof(w->ids[0]), "t%06lld", (long long)w->made++);
    w->tasks[w->count] = (struct deploy_task){.id = w->ids[w->count],
                                              .slot = a->slot,
                                              .node = a->node,
                                              .state = TASK_PENDING,
                                              .desired = a->desired,
                                              .start_at_ns = a->start_at_ns,
                                              .version = w->version,
                                              .created_ns = MAX(w->now_ns, w->status.started_ns)};
    w->count++;
}

/* Carries a plan out; true when there was something to do. */
static bool decide_once(struct world *w)
{
    const struct deploy_view view = {.spec = &w->spec,
                                     .version = w->version,
                                     .can_revert = w->previous != 0,
                                     .removed = w->removed,
                                     .history = 5,
                                     .tasks = w->tasks,
                                     .task_count = w->count,
                                     .nodes = w->nodes,
                                     .node_count = NODES,
                                     .now_ns = w->now_ns,
                                     .status = w->status};
    struct deploy_plan p;
    deploy_reconcile(&view, &p);
    bool acted = p.count || p.status.state != w->status.state;
    w->status = p.status;
    w->next_ns = p.next_ns;
    size_t had = w->count;
    bool gone[TASKS] = {false};
    for (size_t i = 0; i < p.count; i++) {
        const struct deploy_action *a = &p.actions[i];
        if (a->kind == DEPLOY_CREATE)
            create(w, a);
        else if (a->kind == DEPLOY_REVERT) {
            int64_t version = w->version;
            w->version = w->previous;
            w->previous = version;
        } else if (a->kind == DEPLOY_STAY) {
            a->task->moves = false;
        } else if (a->kind == DEPLOY_FORGET) {
            assert_true(task_ended(a->task->state));
            gone[a->task - w->tasks] = true;
        } else {
            a->task->desired = a->kind == DEPLOY_SETTLE ? TASK_SHUTDOWN : a->desired;
            a->task->settled = a->kind == DEPLOY_SETTLE;
        }
    }
    for (size_t i = had; i-- > 0;)
        if (gone[i])
            forget(w, i);
    deploy_plan_done(&p);
    return acted;
}

static int running(const struct world *w)
{
    int n = 0;
    for (size_t i = 0; i < w->count; i++)
        n += w->tasks[i].state == TASK_RUNNING;
    return n;
}

static void decide(struct world *w)
{
    int passes = 0;
    while (decide_once(w))
        if (++passes > PASSES)
            fail_msg("it does not come to rest");
    for (size_t i = 0; i < w->count; i++)
        for (size_t j = 0; j < i && !w->spec.update.start_first; j++)
            if (w->tasks[i].slot && w->tasks[i].slot == w->tasks[j].slot &&
                w->tasks[i].state == TASK_RUNNING && w->tasks[j].state == TASK_RUNNING)
                fail_msg("two tasks run in slot %lld", (long long)w->tasks[i].slot);
}

static void end(struct world *w, struct deploy_task *t, enum task_state state)
{
    t->state = state;
    t->ended_ns = w->now_ns;
}

/* What the nodes do in a while: each task goes on by one step, or not yet; now and then one dies. */
static void nodes_work(struct world *w, int per_mille_dying)
{
    for (size_t i = 0; i < w->count; i++) {
        struct deploy_task *t = &w->tasks[i];
        if (task_ended(t->state) || draw(w, 3) == 0)
            continue;
        if (!t->node && w->nodes[0].usable)
            t->node = w->nodes[0].id;
        if (t->desired >= TASK_SHUTDOWN)
            end(w, t, TASK_SHUTDOWN);
        else if (!t->node)
            continue;
        else if (t->state < TASK_READY)
            t->state = TASK_READY;
        else if ((t->version == w->bad_version || (w->bad_since_ns && t->created_ns >= w->bad_since_ns)) &&
                 t->desired > TASK_READY)
            end(w, t, TASK_FAILED);
        else if (t->state == TASK_READY && t->desired >= TASK_RUNNING) {
            t->state = TASK_RUNNING;
            t->running_ns = w->now_ns;
        } else if (t->state == TASK_RUNNING && t->desired == TASK_COMPLETE)
            end(w, t, draw(w, 4) ? TASK_COMPLETE : TASK_FAILED);
        else if (t->state == TASK_RUNNING && (int)draw(w, 1000) < per_mille_dying)
            end(w, t, TASK_FAILED);
    }
}

static void pass_time(struct world *w, int steps, int per_mille_dying, int least_running)
{
    for (int i = 0; i < steps; i++) {
        w->now_ns += (int64_t)draw(w, 900) * NS_PER_MS;
        nodes_work(w, per_mille_dying);
        decide(w);
        if (running(w) < least_running)
            fail_msg("%d run, fewer than %d", running(w), least_running);
    }
}

static int of_version(const struct world *w, int64_t version)
{
    int n = 0;
    for (size_t i = 0; i < w->count; i++)
        n += w->tasks[i].state == TASK_RUNNING && w->tasks[i].version == version &&
             w->tasks[i].desired == TASK_RUNNING;
    return n;
}

static void update(struct world *w)
{
    w->previous = w->version;
    w->version = w->made + 100;
    w->status = (struct deploy_rollout_status){0};
}

#define SPEC(mode, more)                                                                                     \
    "{\"Name\":\"x\",\"Mode\":" mode ",\"TaskTemplate\":{\"RestartPolicy\":{\"Delay\":1000000000}}" more "}"
#define REPLICATED(n) "{\"Replicated\":{\"Replicas\":" #n "}}"

static void replicas_are_what_was_asked_for_whatever_dies(void **state)
{
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct world *w = world_new(seed, SPEC(REPLICATED(7), ""));
        print_message("seed %llu\n", (unsigned long long)seed);
        decide(w);
        for (int round = 0; round < 40; round++) { /* often before what is too much has ended */
            pass_time(w, (int)draw(w, 20), 100, 0);
            w->spec.replicas = (int64_t)draw(w, 12);
        }
        pass_time(w, 60, 0, 0);
        assert_int_equal(running(w), w->spec.replicas);
        w->removed = true;
        pass_time(w, 20, 0, 0);
        assert_int_equal(w->count, 0);
        free(w);
    }
}

static void a_rollout_takes_no_more_slots_at_once_than_it_may(void **state)
{
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct world *w =
            world_new(seed, SPEC(REPLICATED(8), ",\"UpdateConfig\":{\"Parallelism\":2,\"Monitor\":1000000}"));
        pass_time(w, 40, 0, 0);
        assert_int_equal(running(w), 8);
        update(w);
        pass_time(w, 120, 0, 6);
        assert_int_equal(of_version(w, w->version), 8);
        assert_int_equal(w->status.state, ROLLOUT_COMPLETED);
        free(w);
    }
}

static void a_rollout_waits_between_slots_and_bears_what_it_may(void **state)
{
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct world *w =
            world_new(seed, SPEC(REPLICATED(4), ",\"UpdateConfig\":{\"Parallelism\":1,\"Delay\":20000000000,"
                                                "\"Monitor\":1000000,\"MaxFailureRatio\":0.5}"));
        pass_time(w, 40, 0, 0);
        update(w);
        int64_t began = w->now_ns;
        pass_time(w, 400, 0, 3);
        assert_int_equal(w->status.state, ROLLOUT_COMPLETED);
        if (w->status.completed_ns - began < 4 * 20 * NS_PER_S)
            fail_msg("four slots took %lld ns", (long long)(w->status.completed_ns - began));
        update(w);
        w->bad_version = w->version;
        pass_time(w, 400, 0, 0);
        assert_int_equal(w->status.state, ROLLOUT_PAUSED);
        int failed = 0;
        for (size_t i = 0; i < w->count; i++)
            failed += w->tasks[i].version == w->version && w->tasks[i].state == TASK_FAILED;
        if (failed < 3)
            fail_msg("paused after %d failures of four slots, of which two are borne", failed);
        assert_int_equal(of_version(w, w->version), 0);
        free(w);
    }
}

static void started_first_never_fewer_run(void **state)
{
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct world *w = world_new(
            seed,
            SPEC(REPLICATED(5),
                 ",\"UpdateConfig\":{\"Parallelism\":0,\"Monitor\":1000000,\"Order\":\"start-first\"}"));
        pass_time(w, 40, 0, 0);
        update(w);
        pass_time(w, 60, 0, 5);
        assert_int_equal(of_version(w, w->version), 5);
        assert_int_equal(running(w), 5);
        assert_int_equal(w->status.state, ROLLOUT_COMPLETED);
        free(w);
    }
}

static void a_bad_version_pauses_or_goes_back(void **state)
{
    for (uint64_t seed = 1; seed <= 100; seed++) {
        for (int back = 0; back < 2; back++) {
            struct world *w = world_new(
                seed,
                back ? SPEC(REPLICATED(6),
                            ",\"UpdateConfig\":{\"Parallelism\":1,\"Monitor\":5000000000,"
                            "\"FailureAction\":\"rollback\"},\"RollbackConfig\":{\"Monitor\":1000000}")
                     : SPEC(REPLICATED(6), ",\"UpdateConfig\":{\"Parallelism\":1,\"Monitor\":5000000000}"));
            pass_time(w, 40, 0, 0);
            update(w);
            w->bad_version = w->version;
            pass_time(w, 100, 0, 5);
            assert_int_equal(w->status.state, back ? ROLLOUT_ROLLBACK_COMPLETED : ROLLOUT_PAUSED);
            assert_int_equal(of_version(w, 1), back ? 6 : 5);
            free(w);
        }
    }
}

/* Or another leads, whose clock is behind. */
static void a_clock_that_is_set_back_delays_nothing(void **state)
{
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct world *w = world_new(
            seed, SPEC(REPLICATED(4), ",\"UpdateConfig\":{\"Parallelism\":1,\"Monitor\":2000000000}"));
        w->now_ns = 100000 * NS_PER_S;
        pass_time(w, 40, 200, 0); /* some wait for their restart */
        w->now_ns -= 3600 * NS_PER_S;
        pass_time(w, 40, 0, 0);
        assert_int_equal(running(w), 4);
        update(w);
        pass_time(w, (int)draw(w, 30), 0, 3);
        w->now_ns -= 3600 * NS_PER_S;
        pass_time(w, 200, 0, 3);
        assert_int_equal(of_version(w, w->version), 4);
        assert_int_equal(w->status.state, ROLLOUT_COMPLETED);
        free(w);
    }
}

static int moving(const struct world *w)
{
    int n = 0;
    for (size_t i = 0; i < w->count; i++)
        n += w->tasks[i].moves && !task_ended(w->tasks[i].state);
    return n;
}

/* Orders up to `most` tasks that run to move. */
static void order_moves(struct world *w, int most)
{
    for (size_t i = 0; i < w->count && most; i++)
        if (w->tasks[i].state == TASK_RUNNING && w->tasks[i].desired == TASK_RUNNING && !w->tasks[i].moves) {
            w->tasks[i].moves = true;
            most--;
        }
}

static void tasks_move_as_in_an_update_and_no_others_are_touched(void **state)
{
    for (uint64_t seed = 1; seed <= 200; seed++)
        for (int first = 0; first < 2; first++) {
            struct world *w =
                world_new(seed, first ? SPEC(REPLICATED(6), ",\"UpdateConfig\":{\"Parallelism\":1,"
                                                            "\"Monitor\":1000000,\"Order\":\"start-first\"}")
                                      : SPEC(REPLICATED(6),
                                             ",\"UpdateConfig\":{\"Parallelism\":1,\"Monitor\":1000000}"));
            pass_time(w, 40, 0, 0);
            int64_t made = w->made;
            for (int round = 0; round < 5; round++) {
                order_moves(w, 2);
                assert_int_equal(moving(w), 2);
                pass_time(w, 60, 0, first ? 6 : 4);
                assert_int_equal(moving(w), 0);
                assert_int_equal(running(w), 6);
                assert_int_equal(w->made, made + 2 * (round + 1));
                assert_int_equal(w->status.state, ROLLOUT_NONE); /* an update it is not */
            }
            order_moves(w, 2); /* and an update in the midst of it */
            update(w);
            pass_time(w, 200, 0, first ? 6 : 3);
            assert_int_equal(of_version(w, w->version), 6);
            assert_int_equal(running(w), 6);
            free(w);
        }
}

static void a_task_whose_successor_fails_or_finds_no_node_stays(void **state)
{
    for (uint64_t seed = 1; seed <= 100; seed++)
        for (int lost = 0; lost < 2; lost++) {
            struct world *w =
                world_new(seed, SPEC(REPLICATED(3), ",\"UpdateConfig\":{\"Order\":\"start-first\"}"));
            pass_time(w, 40, 0, 0);
            assert_int_equal(running(w), 3);
            char before[8];
            order_moves(w, 1);
            snprintf(before, sizeof(before), "%s", w->tasks[0].id);
            if (lost)
                w->nodes[0].usable = false;
            else
                w->bad_since_ns = w->now_ns;
            pass_time(w, 200, 0, 3);
            assert_int_equal(moving(w), 0);
            assert_int_equal(running(w), 3);
            assert_string_equal(w->tasks[0].id, before);
            assert_int_equal(w->tasks[0].state, TASK_RUNNING);
            free(w);
        }
}

static void a_rollout_without_progress_ends_as_its_failure_action_says(void **state)
{
    static const char *const specs[] = {
        SPEC(REPLICATED(4), ",\"Labels\":{\"sh.drover.progress-deadline\":\"60s\"}"),
        SPEC(REPLICATED(4), ",\"Labels\":{\"sh.drover.progress-deadline\":\"60s\"},\"UpdateConfig\":{"
                            "\"Parallelism\":1,\"Monitor\":1000000,\"FailureAction\":\"rollback\"},"
                            "\"RollbackConfig\":{\"Monitor\":1000000}"),
        SPEC(REPLICATED(4), ",\"Labels\":{\"sh.drover.progress-deadline\":\"60s\"},\"UpdateConfig\":{"
                            "\"Parallelism\":1,\"FailureAction\":\"continue\"}"),
        SPEC(REPLICATED(4), ""),
    };
    static const enum rollout_state ends[] = {ROLLOUT_PAUSED, ROLLOUT_ROLLBACK_COMPLETED, ROLLOUT_UPDATING,
                                              ROLLOUT_UPDATING};
    for (uint64_t seed = 1; seed <= 50; seed++)
        for (size_t kind = 0; kind < ARRAY_SIZE(ends); kind++) {
            struct world *w = world_new(seed, specs[kind]);
            pass_time(w, 60, 0, 0);
            update(w);
            int64_t began = w->now_ns;
            w->nodes[0].usable = false;
            while (w->now_ns + 2 * NS_PER_S < began + 60 * NS_PER_S) {
                pass_time(w, 1, 0, 3);
                assert_int_equal(w->status.state, ROLLOUT_UPDATING);
            }
            pass_time(w, 100, 0, 3);
            if (kind == 1) {
                w->nodes[0].usable = true; /* what went first comes back */
                pass_time(w, 100, 0, 3);
                assert_int_equal(of_version(w, 1), 4);
            }
            if (w->status.state != ends[kind])
                fail_msg("kind %zu: %s (%s)", kind, rollout_state_name(w->status.state), w->status.message);
            if (kind == 0)
                assert_non_null(
                    strstr(w->status.message, "update paused due to no progress within 1m0s: task "));
            free(w);
        }
}

static void a_slow_rollout_that_goes_on_is_left_alone(void **state)
{
    struct world *w =
        world_new(5, SPEC(REPLICATED(4), ",\"Labels\":{\"sh.drover.progress-deadline\":\"10s\"},"
                                         "\"UpdateConfig\":{\"Parallelism\":1,\"Delay\":60000000000}"));
    pass_time(w, 60, 0, 0);
    update(w);
    pass_time(w, 900, 0, 3);
    assert_int_equal(w->status.state, ROLLOUT_COMPLETED);
    free(w);
}

static void a_job_completes_as_often_as_asked_and_no_more(void **state)
{
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct world *w =
            world_new(seed, SPEC("{\"ReplicatedJob\":{\"MaxConcurrent\":3,\"TotalCompletions\":10}}", ""));
        decide(w);
        for (int i = 0; i < 300; i++) {
            pass_time(w, 1, 0, 0);
            if (running(w) > 3)
                fail_msg("%d run at once", running(w));
        }
        int done = 0;
        for (size_t i = 0; i < w->count; i++)
            done += w->tasks[i].state == TASK_COMPLETE;
        assert_int_equal(done, 10);
        assert_int_equal(running(w), 0);
        free(w);
    }
}

static void a_global_service_is_on_each_node_that_takes_it(void **state)
{
    struct world *w = world_new(7, SPEC("{\"Global\":{}}", ""));
    pass_time(w, 20, 0, 0);
    assert_int_equal(running(w), NODES);
    w->nodes[1].usable = w->nodes[1].stays = false;
    pass_time(w, 20, 0, 0);
    assert_int_equal(running(w), NODES - 1);
    w->nodes[2].usable = false; /* paused: what is there stays */
    pass_time(w, 20, 0, 0);
    assert_int_equal(running(w), NODES - 1);
    w->nodes[1].usable = w->nodes[1].stays = true;
    pass_time(w, 20, 0, 0);
    assert_int_equal(running(w), NODES);
    free(w);
}

static void a_drained_node_gives_its_tasks_away(void **state)
{
    struct world *w = world_new(3, SPEC(REPLICATED(4), ""));
    pass_time(w, 30, 0, 0);
    assert_int_equal(running(w), 4);
    w->nodes[0].stays = w->nodes[0].usable = false;
    pass_time(w, 30, 0, 0);
    assert_int_equal(running(w), 0);
    w->nodes[0].stays = w->nodes[0].usable = true;
    pass_time(w, 30, 0, 0);
    assert_int_equal(running(w), 4);
    free(w);
}

static void nonsense_is_refused_by_its_name(void **state)
{
    static const char *const cases[][2] = {
        {"{\"Mode\":{\"Replicated\":{},\"Global\":{}}}", "only one"},
        {"{\"Mode\":{\"Replicated\":{\"Replicas\":-1}}}", "negative"},
        {"{\"Mode\":{\"Replicated\":{\"Replicas\":\"x\"}}}", "Replicas"},
        {"{\"Mode\":{\"Replicated\":{\"Replicas\":1000000000}}}", "more than 10000"},
        {"{\"Mode\":{\"ReplicatedJob\":{\"TotalCompletions\":1000000000}}}", "more than 10000"},
        {"{\"Mode\":[]}", "Mode"},
        {"{\"Labels\":{\"sh.drover.progress-deadline\":\"soon\"}}", "1s to 24h"},
        {"{\"Labels\":{\"sh.drover.progress-deadline\":\"-2s\"}}", "1s to 24h"},
        {"{\"Labels\":{\"sh.drover.progress-deadline\":\"1ms\"}}", "1s to 24h"},
        {"{\"UpdateConfig\":{\"Order\":\"sideways\"}}", "update order sideways"},
        {"{\"UpdateConfig\":{\"Delay\":-1}}", "delay"},
        {"{\"RollbackConfig\":{\"FailureAction\":\"rollback\"}}", "rollback"},
        {"{\"TaskTemplate\":{\"RestartPolicy\":{\"Condition\":\"maybe\"}}}", "maybe"},
        {"{\"Mode\":{\"GlobalJob\":{}},\"UpdateConfig\":{}}", "job-mode"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct err err = {0};
        struct deploy_spec spec;
        _cleanup_json_ json_t *doc = json_loads(cases[i][0], 0, NULL);
        if (deploy_spec_parse(doc, &spec, &err) != -ERR_INVALID || !strstr(err.msg, cases[i][1]))
            fail_msg("%s: %s", cases[i][0], err.msg);
    }
}

static void changes_are_told_by_path(void **state)
{
    _cleanup_json_ json_t *a = NULL, *b = NULL;
    const char before[] = "{\"A\":{\"X\":1,\"Gone\":\"t\",\"E\":[]},\"L\":[1,2],\"Same\":true}";
    const char after[] =
        "{\"A\":{\"X\":2,\"E\":null},\"L\":[1],\"New\":{\"D\":\"d\"},\"Same\":true,\"O\":{}}";
    assert_int_equal(json_parse(before, strlen(before), "a", &a, NULL), 0);
    assert_int_equal(json_parse(after, strlen(after), "b", &b, NULL), 0);
    _cleanup_json_ json_t *found = deploy_changes(a, b);
    _cleanup_free_ char *text = json_format(found);
    assert_string_equal(
        text, "[{\"Path\":\"A.Gone\",\"Before\":\"t\"},{\"Path\":\"A.X\",\"Before\":1,\"After\":2},"
              "{\"Path\":\"L\",\"Before\":[1,2],\"After\":[1]},{\"Path\":\"New.D\",\"After\":\"d\"}]");
    json_t *deep = json_object(), *at = deep;
    for (int i = 0; i < 2 * DEPLOY_CHANGES_DEPTH; i++) {
        json_object_set_new(at, "d", json_object());
        at = json_object_get(at, "d");
    }
    json_object_set_new(at, "d", json_true());
    _cleanup_json_ json_t *whole = deploy_changes(NULL, deep);
    assert_int_equal(json_array_size(whole), 1);
    json_decref(deep);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replicas_are_what_was_asked_for_whatever_dies),
        cmocka_unit_test(a_rollout_takes_no_more_slots_at_once_than_it_may),
        cmocka_unit_test(a_rollout_waits_between_slots_and_bears_what_it_may),
        cmocka_unit_test(started_first_never_fewer_run),
        cmocka_unit_test(a_bad_version_pauses_or_goes_back),
        cmocka_unit_test(a_clock_that_is_set_back_delays_nothing),
        cmocka_unit_test(tasks_move_as_in_an_update_and_no_others_are_touched),
        cmocka_unit_test(a_task_whose_successor_fails_or_finds_no_node_stays),
        cmocka_unit_test(a_rollout_without_progress_ends_as_its_failure_action_says),
        cmocka_unit_test(a_slow_rollout_that_goes_on_is_left_alone),
        cmocka_unit_test(a_job_completes_as_often_as_asked_and_no_more),
        cmocka_unit_test(a_global_service_is_on_each_node_that_takes_it),
        cmocka_unit_test(a_drained_node_gives_its_tasks_away),
        cmocka_unit_test(changes_are_told_by_path),
        cmocka_unit_test(nonsense_is_refused_by_its_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
