/* The scheduler's words, its strategies of the user's, and what it remembers. Its choices: tests/sim. */
#include "unit.h"

#include "base/timeutil.h"
#include "scheduler/constraint.h"
#include "scheduler/scheduler.h"
#include "scheduler/strategy.h"

static const int64_t cpu = INT64_C(1000000000), gib = INT64_C(1) << 30;

static void patterns(void **unused)
{
    static const struct {
        const char *pattern, *text;
        bool fits;
    } cases[] = {
        {"web-*", "web-1", true},
        {"web-*", "db-1", false},
        {"*", "", true},
        {"w?b", "wxb", true},
        {"w?b", "wb", false},
        {"*a*b*c", "xaybzc", true},
        {"/^web-[0-9]+$/", "web-17", true},
        {"/^web-[0-9]+$/", "web-x", false},
        {"/b|c/", "xcx", true},
        {"/^(a|b)*$/", "abba", true},
        {"/^(a|b)*$/", "abca", false},
        {"/^a{2,3}$/", "aaa", true},
        {"/^a{2,3}$/", "aaaa", false},
        {"/^a{2,}b$/", "aaaaab", true},
        {"/^(ab){2}$/", "abab", true},
        {"/^(ab){2}$/", "ab", false},
        {"/^a{0}b$/", "b", true},
        {"/(?i)^SSD$/", "ssd", true},
        {"/^[^a-c]+$/", "xyz", true},
        {"/^[^a-c]+$/", "xbz", false},
        {"/\\d\\.\\w/", "v1.x", true},
        {"/^$/", "", true},
        {"/a?b/", "b", true},
        {"/^(a?){30}a{30}$/", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", true},
        {"/(a*)*b/", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", false},
        {"/[]x]/", "]", true},
        {"/a|/", "b", true},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct value_pattern *p = NULL;
        struct err err;
        assert_ok(value_pattern_new(cases[i].pattern, &p, &err), &err);
        if (value_pattern_match(p, cases[i].text) != cases[i].fits)
            fail_msg("%s and \"%s\": %d was expected", cases[i].pattern, cases[i].text, cases[i].fits);
        value_pattern_free(p);
    }
    static const char *const bad[] = {"/(/",      "/)/",
                                      "/[/",      "/*/",
                                      "/a{3,2}/", "/a{999}/",
                                      "/\\q/",    "/\\/",
                                      "/[z-a]/",  "/((a{200}){200}){200}/",
                                      "/a{/",     "/(((((((((((((((((((((((((((((((((((((((((/"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct value_pattern *p = NULL;
        struct err err = {0};
        if (value_pattern_new(bad[i], &p, &err) == 0)
            fail_msg("%s was taken", bad[i]);
        assert_non_null(strstr(err.msg, bad[i]));
    }
    struct value_pattern *empty = NULL;
    assert_int_equal(value_pattern_new("/(((((((){255}){255}){255}){255}){255}){255})/", &empty, NULL), 0);
    value_pattern_free(empty);
}

static void constraints(void **unused)
{
    struct err err = {0};
    struct constraint c;
    assert_ok(constraint_parse("node.labels.zone == A", &c, &err), &err);
    assert_int_equal(c.attribute, ATTRIBUTE_NODE_LABEL);
    assert_string_equal(c.key, "zone");
    assert_true(constraint_value_fits(&c, "a") && !c.negate && !c.soft);
    constraint_done(&c);
    assert_ok(constraint_parse("constraint:storage!=~/ssd|nvme/", &c, &err), &err);
    assert_true(c.negate && c.soft && c.attribute == ATTRIBUTE_LABEL && constraint_value_fits(&c, "nvme"));
    constraint_done(&c);
    assert_ok(constraint_parse("node.ip==10.1.0.0/16", &c, &err), &err);
    assert_true(constraint_value_fits(&c, "10.1.200.3") && !constraint_value_fits(&c, "10.2.0.1"));
    constraint_done(&c);
    assert_ok(constraint_parse("node.ip!=fd00::/8", &c, &err), &err);
    assert_true(constraint_value_fits(&c, "fd12::1") && !constraint_value_fits(&c, "10.2.0.1"));
    constraint_done(&c);
    assert_ok(constraint_parse("node.platform.arch==x86_64", &c, &err), &err);
    assert_true(constraint_value_fits(&c, "amd64"));
    constraint_done(&c);
    static const char *const bad[] = {"",
                                      "zone",
                                      "zone=a",
                                      "node.colour==red",
                                      "==a",
                                      "node.id==",
                                      "node.labels.==a",
                                      "node.ip==10.0.0.0/33",
                                      "constraint:x==/(/"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (constraint_parse(bad[i], &c, &err) == 0)
            fail_msg("\"%s\" was taken", bad[i]);
    assert_ok(affinity_parse("affinity:service!=~web-*", &c, &err), &err);
    assert_true(c.soft && c.negate && constraint_value_fits(&c, "web-2"));
    constraint_done(&c);
    assert_int_equal(affinity_parse("affinity:colour==red", &c, &err), -ERR_INVALID);
    assert_int_equal(preference_parse("spread=node.ip", &c, &err), -ERR_INVALID);
}

static struct sched *cluster(int nodes)
{
    struct sched *s = sched_new(1);
    for (int i = 0; i < nodes; i++) {
        char id[16];
        snprintf(id, sizeof(id), "n%d", i);
        const struct sched_label zone = {"zone", i % 2 ? "core" : "edge"};
        struct sched_node n = {
            .id = id, .cpu_nano = 4 * cpu, .memory_bytes = 8 * gib, .labels = &zone, .label_count = 1};
        struct err err;
        assert_ok(sched_node_put(s, &n, &err), &err);
    }
    return s;
}

static struct sched_shape *shape(struct sched *s, struct sched_request q)
{
    struct sched_shape *made = NULL;
    struct err err;
    q.service = q.service ? q.service : "web";
    assert_ok(sched_shape_new(s, &q, &made, &err), &err);
    return made;
}

static void a_node_that_fails_a_service_rests_and_comes_back(void **unused)
{
    struct sched *s = cluster(2);
    struct sched_shape *web = shape(s, (struct sched_request){0}),
                       *db = shape(s, (struct sched_request){.service = "db"});
    struct err err;
    for (int i = 0; i < SCHED_FAILURES_LEAST; i++) {
        assert_true(sched_node_possible(s, web, "n0", 1000));
        assert_ok(sched_failure(s, "web", "n0", 1000, &err), &err);
    }
    assert_false(sched_node_possible(s, web, "n0", 1000));
    assert_true(sched_node_possible(s, web, "n1", 1000) && sched_node_possible(s, db, "n0", 1000));
    assert_true(sched_node_possible(s, web, "n0", 1000 + SCHED_BACKOFF_NS));
    assert_ok(sched_failure(s, "web", "n0", 1000 + SCHED_BACKOFF_NS, &err), &err);
    assert_false(sched_node_possible(s, web, "n0", 1000 + 2 * SCHED_BACKOFF_NS)); /* twice as long */
    struct sched_explanation e;
    sched_explain(s, web, 1000 + 2 * SCHED_BACKOFF_NS, &e);
    assert_int_equal(e.refused[SCHED_FILTER_FAILURES], 1);
    int64_t later = 1000 + SCHED_BACKOFF_NS + 4 * SCHED_FAILURE_WINDOW_NS;
    assert_ok(sched_failure(s, "web", "n0", later, &err), &err);
    assert_true(sched_node_possible(s, web, "n0", later)); /* what was long ago is forgotten */
    sched_task tasks[4];
    assert_int_equal(sched_place(s, web, 4, later, tasks), 4);
    sched_shape_unref(web);
    sched_shape_unref(db);
    sched_free(s);
}

static void a_refusal_is_explained_by_numbers(void **unused)
{
    struct sched *s = cluster(5);
    char *zone[] = {(char *)"node.labels.zone==core", NULL};
    struct sched_shape *web = shape(s, (struct sched_request){.cpu_nano = 3 * cpu, .constraints = zone});
    sched_task tasks[3];
    assert_int_equal(sched_place(s, web, 3, 0, tasks), 2);
    struct sched_explanation e;
    sched_explain(s, web, 0, &e);
    assert_int_equal(e.possible, 0);
    assert_int_equal(e.refused[SCHED_FILTER_CONSTRAINT], 3);
    assert_int_equal(e.refused[SCHED_FILTER_RESOURCES], 2);
    _cleanup_free_ char *text = sched_explanation_format(&e, web);
    if (!strstr(text, "3 refused by constraint: node.labels.zone==core\n") ||
        !strstr(text, "2 refused by resources: 3 processors asked; the most free is 1, on n"))
        fail_msg("%s", text);
    sched_shape_unref(web);
    sched_free(s);
}

static void who_is_sick_gets_no_new_task_and_keeps_what_it_has(void **unused)
{
    struct sched *s = cluster(3);
    struct sched_shape *web = shape(s, (struct sched_request){.cpu_nano = cpu});
    struct sched_node n0 = {.id = "n0", .name = "n0", .cpu_nano = 4 * cpu, .memory_bytes = 8 * gib};
    struct sched_explanation e;
    struct err err;
    sched_task tasks[16];
    assert_int_equal(sched_place(s, web, 3, 0, tasks), 3);
    n0.health = SCHED_UNHEALTHY;
    n0.health_cause = 4;
    n0.health_text = "keeper: no answer for 12s";
    assert_ok(sched_node_put(s, &n0, &err), &err);
    assert_int_equal(sched_place(s, web, 16, 0, tasks), 6);
    assert_int_equal(sched_service_tasks(s, sched_shape_service(web), "n0"), 1);
    sched_explain(s, web, 0, &e);
    assert_int_equal(e.refused[SCHED_FILTER_HEALTH], 1);
    _cleanup_free_ char *text = sched_explanation_format(&e, web);
    if (!strstr(text, "1 refused by health: keeper: no answer for 12s, on n0"))
        fail_msg("%s", text);
    for (int i = 0; i < 6; i++)
        sched_task_remove(s, tasks[i]);
    n0.health = SCHED_DEGRADED; /* behind all others, whatever they have to do */
    assert_ok(sched_node_put(s, &n0, &err), &err);
    assert_int_equal(sched_place(s, web, 6, 0, tasks), 6);
    assert_int_equal(sched_service_tasks(s, sched_shape_service(web), "n0"), 1);
    assert_int_equal(sched_place(s, web, 16, 0, tasks), 3);
    assert_int_equal(sched_service_tasks(s, sched_shape_service(web), "n0"), 4);
    sched_shape_unref(web);
    sched_free(s);
}

/* ---- strategies of the user's ---- */

static int lua(const char *text, struct sched_strategy **ret, struct err *err)
{
    const struct sched_lua_limits limits = {.clock_ns = time_monotonic_ns};
    return sched_strategy_lua("test", text, strlen(text), &limits, ret, err);
}

static void a_script_sees_who_is_degraded(void **unused)
{
    struct sched *s = sched_new(1);
    const struct sched_node n = {.id = "n", .cpu_nano = cpu, .health = SCHED_DEGRADED};
    struct sched_strategy *strategy = NULL;
    struct err err;
    sched_task task;
    assert_ok(sched_node_put(s, &n, &err), &err);
    assert_ok(lua("function score(task, node) assert(node.degraded == true, 'it is not') return 1 end",
                  &strategy, &err),
              &err);
    assert_ok(sched_strategy_put(s, "mine", strategy, &err), &err);
    struct sched_shape *web = shape(s, (struct sched_request){.strategy = "mine"});
    const char *last;
    assert_int_equal(sched_place(s, web, 1, 0, &task), 1);
    assert_int_equal(sched_strategy_problems(s, "mine", &last), 0);
    sched_shape_unref(web);
    sched_free(s);
}

static void a_script_decides_and_is_replaced_while_it_is_used(void **unused)
{
    struct sched *s = cluster(4);
    struct sched_strategy *strategy = NULL;
    struct err err;
    assert_ok(
        lua("function score(task, node) return node.name == task.options and 1 or 0 end", &strategy, &err),
        &err);
    assert_ok(sched_strategy_put(s, "mine", strategy, &err), &err);
    struct sched_shape *web =
        shape(s, (struct sched_request){.strategy = "mine", .options = "n2", .cpu_nano = cpu});
    sched_task tasks[8];
    assert_int_equal(sched_place(s, web, 4, 0, tasks), 4);
    for (int i = 0; i < 4; i++)
        assert_string_equal(sched_task_node(s, tasks[i]), "n2");
    assert_ok(lua("function score(task, node) if node.name == 'n1' then return 1 end end", &strategy, &err),
              &err);
    assert_ok(sched_strategy_put(s, "mine", strategy, &err), &err);
    assert_int_equal(sched_place(s, web, 8, 0, tasks), 4); /* it leaves all others out, and n1 is full then */
    for (int i = 0; i < 4; i++)
        assert_string_equal(sched_task_node(s, tasks[i]), "n1");
    sched_shape_unref(web);
    sched_free(s);
}

static void the_example_script_keeps_its_reserve(void **unused)
{
    struct sched *s = cluster(8);
    _cleanup_free_ char *path = str_printf("%s/examples/strategies/zones.lua", SOURCE_ROOT);
    _cleanup_str_ struct str text = STR_INIT;
    struct err err;
    assert_ok(file_read(path, 1 << 20, &text, &err), &err);
    struct sched_strategy *strategy = NULL;
    assert_ok(sched_strategy_lua("zones", text.data, text.len, NULL, &strategy, &err), &err);
    assert_ok(sched_strategy_put(s, "zones", strategy, &err), &err);
    assert_ok(sched_default_strategy(s, "zones", &err), &err);
    struct sched_shape *web = shape(s, (struct sched_request){.cpu_nano = cpu}),
                       *core = shape(
                           s, (struct sched_request){.service = "core", .cpu_nano = cpu, .options = "core"});
    sched_task tasks[64];
    assert_int_equal(sched_place(s, web, 64, 0, tasks), 4 * 4 + 4 * 3);
    assert_int_equal(sched_place(s, core, 64, 0, tasks), 4);
    for (int i = 0; i < 8; i++) {
        char id[16];
        snprintf(id, sizeof(id), "n%d", i);
        assert_int_equal(sched_service_tasks(s, "web", id), i % 2 ? 3 : 4);
    }
    sched_shape_unref(web);
    sched_shape_unref(core);
    sched_free(s);
}

/* Each script is loaded (or refused), asked until it is given up, and every task is placed. */
static void hostile_scripts_fall_back_and_say_so(void **unused)
{
    static const char *const scripts[] = {
        "function score() while true do end end",
        "function score() while true do pcall(function() while true do end end) end end",
        "function score() repeat until pcall(pcall, error) and false end",
        "local t = {} function score() while true do t[#t + 1] = {} end end",
        "function score() while true do pcall(string.rep, 'x', 1 << 40) end end",
        "function score() local s = 'x' while true do s = s .. s end end",
        "function score() return ('x'):rep(1 << 30):len() end",
        "function score() local function f() return 1 + f() end return f() end",
        "function score() local function f() return f() + pcall(f) end return f() end",
        "function score() error({}) end",
        "function score() error(nil) end",
        "function score() error(('x'):rep(100000)) end",
        "function score(task, node) node.id = 'x' return 1 end",
        "function score(task, node) return node.nothing end",
        "function score(task, node) return node[{}] end",
        "function score(task, node) return 'many' end",
        "function score(task, node) return {} end",
        "function score(task, node) return setmetatable({}, {}) end",
        "function score(task, node) return getmetatable(node).__index end",
        "function score(task, node) return io.open('/etc/passwd') end",
        "function score(task, node) return os.exit(0) end",
        "function score(task, node) return debug.getregistry() end",
        "function score(task, node) return load('return 1')() end",
        "function score(task, node) return require('os') end",
        "function score(task, node) return coroutine.wrap(score)(task, node) end",
        "function score(task, node) return ('a'):rep(30):match(('a-'):rep(30) .. 'b') end",
        "function score(task, node) return string.dump(score) end",
        "function score(task, node) return label({}, 'x') end",
        "function score(task, node) return label() end",
        "local kept function score(task, node) local r = kept and kept.tasks or 1 kept = node return r .. {} "
        "end",
        "function score() score = nil error('gone') end",
        "function score() string.rep = nil tostring = nil error('spoilt') end",
        "function score() return table.concat({1, {}, 3}) end",
        "function score() return table.unpack({}, 1, 1 << 30) end",
        "function score() return select(-1) end",
    };
    for (size_t i = 0; i < ARRAY_SIZE(scripts); i++) {
        struct sched *s = cluster(4);
        struct sched_strategy *strategy = NULL;
        struct err err = {0};
        if (lua(scripts[i], &strategy, &err) < 0)
            fail_msg("%s: %s", scripts[i], err.msg);
        assert_ok(sched_strategy_put(s, "mine", strategy, &err), &err);
        struct sched_shape *web = shape(s, (struct sched_request){.strategy = "mine"});
        sched_task tasks[4];
        for (int k = 0; k < SCHED_STRATEGY_STRIKES + 1; k++)
            if (sched_place(s, web, 4, 0, tasks) != 4)
                fail_msg("%s: a task was not placed", scripts[i]);
        const char *last;
        uint64_t problems = sched_strategy_problems(s, "mine", &last);
        if (problems != SCHED_STRATEGY_STRIKES || !*last)
            fail_msg("%s: %llu problems, the last \"%s\"", scripts[i], (unsigned long long)problems, last);
        struct sched_explanation e;
        sched_explain(s, web, 0, &e);
        assert_non_null(strstr(e.problem, "it is not asked again until it is replaced"));
        sched_shape_unref(web);
        sched_free(s);
    }
    static const char *const refused[] = {"",
                                          "score = 1",
                                          "function score( end",
                                          "while true do end",
                                          "\x1bLua",
                                          "local s = 'x' while true do s = s .. s end",
                                          "error({})",
                                          "return",
                                          "for i = 1, 1e9 do pcall(string.rep, 'x', 1 << 20) end"};
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
        struct sched_strategy *strategy = NULL;
        struct err err = {0};
        if (lua(refused[i], &strategy, &err) == 0)
            fail_msg("\"%s\" was taken", refused[i]);
        assert_non_null(strstr(err.msg, "strategy test"));
    }
}

static void a_shared_object_decides(void **unused)
{
    struct sched *s = cluster(4);
    struct sched_strategy *strategy = NULL;
    struct err err = {0};
    assert_ok(sched_strategy_object(PACKED_OBJECT, &strategy, &err), &err);
    assert_ok(sched_strategy_put(s, "packed", strategy, &err), &err);
    assert_ok(sched_pool_strategy(s, "", "packed", &err), &err);
    struct sched_shape *web = shape(s, (struct sched_request){.cpu_nano = cpu, .memory_bytes = gib});
    sched_task tasks[8];
    assert_int_equal(sched_place(s, web, 8, 0, tasks), 8);
    for (int i = 0; i < 8; i++)
        assert_string_equal(sched_task_node(s, tasks[i]), sched_task_node(s, tasks[i - i % 4]));
    assert_int_equal(sched_strategy_object("/nonexistent.so", &strategy, &err), -ERR_INVALID);
    assert_int_equal(sched_strategy_put(s, "spread", NULL, &err), -ERR_CONFLICT);
    assert_int_equal(sched_default_strategy(s, "nothing", &err), -ERR_NOT_FOUND);
    sched_shape_unref(web);
    sched_free(s);
}

static void bad_requests_name_the_cause(void **unused)
{
    struct sched *s = cluster(1);
    struct sched_port twice[] = {{80, SCHED_TCP}, {80, SCHED_TCP}}, none[] = {{0, SCHED_TCP}};
    char *wrong[] = {(char *)"zone=a", NULL};
    struct {
        struct sched_request q;
        const char *says;
    } cases[] = {
        {{.service = ""}, "service's name"},
        {{.service = "a", .cpu_nano = -1}, "processors"},
        {{.service = "a", .ports = twice, .port_count = 2}, "80"},
        {{.service = "a", .ports = none, .port_count = 1}, "port 0"},
        {{.service = "a", .constraints = wrong}, "zone=a"},
        {{.service = "a", .affinities = wrong}, "zone=a"},
        {{.service = "a", .preferences = wrong}, "zone=a"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct sched_shape *made = NULL;
        struct err err = {0};
        if (sched_shape_new(s, &cases[i].q, &made, &err) == 0 || !strstr(err.msg, cases[i].says))
            fail_msg("\"%s\" does not say \"%s\"", err.msg, cases[i].says);
    }
    struct err err;
    assert_int_equal(sched_node_put(s, &(struct sched_node){.id = ""}, &err), -ERR_INVALID);
    assert_int_equal(sched_node_put(s, &(struct sched_node){.id = "x", .cpu_nano = -1}, &err), -ERR_INVALID);
    assert_int_equal(sched_node_remove(s, "nobody", &err), -ERR_NOT_FOUND);
    sched_task_remove(s, 12345);
    assert_string_equal(sched_task_node(s, -1), "");
    sched_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns),
        cmocka_unit_test(constraints),
        cmocka_unit_test(a_node_that_fails_a_service_rests_and_comes_back),
        cmocka_unit_test(a_refusal_is_explained_by_numbers),
        cmocka_unit_test(who_is_sick_gets_no_new_task_and_keeps_what_it_has),
        cmocka_unit_test(a_script_sees_who_is_degraded),
        cmocka_unit_test(a_script_decides_and_is_replaced_while_it_is_used),
        cmocka_unit_test(the_example_script_keeps_its_reserve),
        cmocka_unit_test(hostile_scripts_fall_back_and_say_so),
        cmocka_unit_test(a_shared_object_decides),
        cmocka_unit_test(bad_requests_name_the_cause),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
