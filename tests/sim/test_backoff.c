/* What fails again and again is tried less and less often, whatever its policy: in virtual time, with seeds.
 */
#include "swarm.h"

#include "base/mem.h"
#include "base/timeutil.h"
#include "unit.h"

enum { SLOTS = 4, SLACK_S = 30 /* until a node has begun what it may begin */ };

/* What is to happen, and what did. */
struct course {
    int64_t tries[SLOTS], failed_ns[SLOTS], gap_ns[SLOTS]; /* of a slot: so far; last; between the last two */
    int64_t delay_ns;
    int runs_s;       /* each runs that long and fails */
    int64_t well_try; /* this one runs well: for a minute; 0: none does */
};

static int64_t doubled(int64_t delay_ns, int64_t failures)
{
    int64_t most = MAX(delay_ns, 300 * NS_PER_S),
            ns = failures > 1 ? MAX(delay_ns, 100 * NS_PER_MS) : delay_ns;
    for (; failures > 1 && ns < most; failures--)
        ns *= 2;
    return MIN(ns, most);
}

static bool fails_after_a_while(struct swarm *w, const struct swarm_task *t)
{
    struct course *c = w->own;
    int64_t ran = t->t.state == TASK_RUNNING ? w->now_ns - t->t.running_ns : 0, slot = t->t.slot - 1;
    int runs_s = c->well_try && c->tries[slot] == c->well_try ? 61 : c->runs_s;
    bool fails = ran >= runs_s * NS_PER_S;
    if (fails)
        c->failed_ns[slot] = w->now_ns;
    return fails;
}

static void note_begin(struct swarm *w, const struct swarm_task *t)
{
    struct course *c = w->own;
    int64_t slot = t->t.slot - 1, before = c->tries[slot]++;
    if (!before)
        return;
    bool anew = c->well_try && before >= c->well_try;
    int64_t failures = anew ? before - c->well_try + 1 : before, gap = w->now_ns - c->failed_ns[slot];
    int64_t wanted = doubled(c->delay_ns, failures);
    if (gap < wanted || gap > wanted + SLACK_S * NS_PER_S)
        swarm_fail(w, "after %lld failures in a row the next try came after %.1f s, not %.1f s",
                   (long long)failures, (double)gap / 1e9, (double)wanted / 1e9);
    c->gap_ns[slot] = gap;
}

static struct swarm *swarm_of(uint64_t seed, const char *policy, int replicas, struct course *c)
{
    char spec[400];
    struct swarm *w = swarm_new(seed, 3, 100);
    snprintf(spec, sizeof(spec),
             "{\"Name\":\"x\",\"Mode\":{\"Replicated\":{\"Replicas\":%d}},\"TaskTemplate\":{"
             "\"RestartPolicy\":{%s}}}",
             replicas, policy);
    swarm_service_add(w, spec, 1, 0);
    c->delay_ns = w->services[0].spec.restart_delay_ns;
    w->own = c;
    w->fails = fails_after_a_while;
    w->begins = note_begin;
    return w;
}

static void tries_come_at_growing_intervals(void **unused)
{
    static const struct {
        const char *policy;
        int64_t least, most; /* tries in an hour */
    } cases[] = {
        {"\"Delay\":0", 20, 24},
        {"\"Delay\":100000000", 20, 24},
        {"\"Delay\":1000000000,\"Condition\":\"on-failure\"", 16, 20},
        {"", 12, 18},                                             /* 5 s */
        {"\"Delay\":30000000000,\"Window\":10000000000", 12, 16}, /* a window without a most says nothing */
        {"\"Delay\":600000000000", 5, 7}, /* longer than the bound: what was promised */
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        for (uint64_t seed = 1; seed <= 20; seed++) {
            struct course c = {0};
            struct swarm *w = swarm_of(seed, cases[i].policy, SLOTS, &c);
            swarm_pass(w, 3600);
            for (int slot = 0; slot < SLOTS; slot++)
                if (c.tries[slot] < cases[i].least || c.tries[slot] > cases[i].most)
                    swarm_fail(w, "{%s}: %lld tries in an hour", cases[i].policy, (long long)c.tries[slot]);
            swarm_free(w);
        }
}

static void a_minute_that_went_well_begins_it_anew(void **unused)
{
    for (uint64_t seed = 1; seed <= 40; seed++)
        for (int runs_s = 0; runs_s <= 40; runs_s += 20) { /* 40 s are not a minute */
            struct course c = {.runs_s = runs_s, .well_try = 4};
            struct swarm *w = swarm_of(seed, "\"Delay\":2000000000", SLOTS, &c);
            swarm_pass(w, 900);
            for (int slot = 0; slot < SLOTS; slot++)
                assert_true(c.tries[slot] > 6);
            swarm_free(w);
        }
}

static bool ends_well(struct swarm *w, const struct swarm_task *t)
{
    if (t->t.state == TASK_RUNNING) { /* a program that is run once a minute */
        swarm_end(w, t->t.owner, TASK_COMPLETE);
        ((struct course *)w->own)->failed_ns[t->t.slot - 1] = w->now_ns;
    }
    return false;
}

static void note_period(struct swarm *w, const struct swarm_task *t)
{
    struct course *c = w->own;
    int64_t slot = t->t.slot - 1, gap = w->now_ns - c->failed_ns[slot];
    if (c->tries[slot]++ && (gap < c->delay_ns || gap > c->delay_ns + SLACK_S * NS_PER_S))
        swarm_fail(w, "what ended well is run again after %.1f s", (double)gap / 1e9);
}

static void what_ends_well_keeps_its_period(void **unused)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct course c = {0};
        struct swarm *w = swarm_of(seed, "\"Delay\":60000000000", SLOTS, &c);
        w->fails = ends_well;
        w->begins = note_period;
        swarm_pass(w, 3600);
        for (int slot = 0; slot < SLOTS; slot++)
            assert_in_range(c.tries[slot], 50, 60);
        swarm_free(w);
    }
}

/* Docker counts the ends in the window: what it gives up is given up, after as many. */
static void attempts_are_counted_as_docker_counts(void **unused)
{
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct course c = {.runs_s = (int)(seed % 7)};
        char policy[200];
        int64_t attempts = 1 + (int64_t)seed % 5, delay_s = (int64_t)seed % 4;
        int64_t window_s = seed % 3 ? (attempts + 1) * (delay_s + c.runs_s + SLACK_S) : 0;
        snprintf(policy, sizeof(policy), "\"Delay\":%lld,\"MaxAttempts\":%lld,\"Window\":%lld",
                 (long long)(delay_s * NS_PER_S), (long long)attempts, (long long)(window_s * NS_PER_S));
        struct swarm *w = swarm_of(seed, policy, SLOTS, &c);
        w->begins = NULL;
        swarm_pass(w, 1200);
        int64_t failed = 0, settled = 0;
        for (size_t i = 0; i < w->task_count; i++) {
            failed += w->tasks[i]->t.state == TASK_FAILED;
            settled += w->tasks[i]->t.settled;
        }
        if (failed != SLOTS * (attempts + 1) || settled != SLOTS)
            swarm_fail(w, "{%s}: %lld failed, %lld of %d slots given up", policy, (long long)failed,
                       (long long)settled, SLOTS);
        swarm_free(w);
    }
}

static bool first_version_fails(struct swarm *w, const struct swarm_task *t)
{
    return t->t.version == 1;
}

static void a_new_version_is_tried_at_once(void **unused)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct course c = {0};
        struct swarm *w = swarm_of(seed, "\"Delay\":1000000000", SLOTS, &c);
        w->fails = first_version_fails;
        w->begins = NULL;
        swarm_pass(w, 1800);
        assert_int_equal(swarm_running(w, 0), 0);
        w->services[0].version = 2;
        w->services[0].spec.update.parallelism = 0;
        swarm_pass(w, SLACK_S);
        assert_int_equal(swarm_running(w, 0), SLOTS);
        swarm_free(w);
    }
}

/* One that waits for its next try, and whose node is drained, waits on elsewhere. */
static void a_drained_node_hurries_nobody(void **unused)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct course c = {0};
        struct swarm *w = swarm_of(seed, "\"Delay\":1000000000", SLOTS, &c);
        for (int i = 0; i < 60; i++) {
            swarm_pass(w, 1 + (int64_t)swarm_draw(w, 30));
            swarm_node_set(w, 1 + i % 2, false, swarm_draw(w, 2)); /* one stays */
        }
        swarm_free(w);
    }
}

static void the_longest_delay_there_is_still_lies_ahead(void **unused)
{
    struct course c = {0};
    struct swarm *w = swarm_of(1, "\"Delay\":9223372036854775807", 1, &c);
    swarm_pass(w, 86400);
    assert_int_equal(c.tries[0], 1);
    swarm_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tries_come_at_growing_intervals),
        cmocka_unit_test(a_minute_that_went_well_begins_it_anew),
        cmocka_unit_test(what_ends_well_keeps_its_period),
        cmocka_unit_test(attempts_are_counted_as_docker_counts),
        cmocka_unit_test(a_new_version_is_tried_at_once),
        cmocka_unit_test(a_drained_node_hurries_nobody),
        cmocka_unit_test(the_longest_delay_there_is_still_lies_ahead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
