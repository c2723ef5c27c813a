/* Classes of service, in a directory that stands in for the kernel's file system: what is written where, what
 * is compared, what is left. */
#include "unit.h"

#include "base/json.h"
#include "runtime/resctrl.h"

#include <sys/stat.h>

static char *top;

static int set_up(void **state)
{
    top = scratch_new();
    resctrl__use(top);
    return 0;
}

static int tear_down(void **state)
{
    resctrl__use(NULL);
    scratch_remove(top);
    return 0;
}

static void make(const char *path)
{
    _cleanup_free_ char *whole = str_printf("%s/%s", top, path);
    struct err err;
    assert_ok(file_mkdirs(whole, 0755, &err), &err);
}

static void put(const char *path, const char *text)
{
    _cleanup_free_ char *whole = str_printf("%s/%s", top, path);
    struct err err;
    assert_ok(file_replace(whole, text, strlen(text), 0644, false, &err), &err);
}

static void assert_content(const char *path, const char *text)
{
    _cleanup_free_ char *whole = str_printf("%s/%s", top, path);
    _cleanup_str_ struct str found = STR_INIT;
    struct err err;
    assert_ok(file_read(whole, 4096, &found, &err), &err);
    assert_string_equal(str_get(&found), text);
}

static bool is_there(const char *path)
{
    _cleanup_free_ char *whole = str_printf("%s/%s", top, path);
    return file_exists(whole);
}

static json_t *config(const char *rdt)
{
    json_t *value = json_loads(rdt, 0, NULL);
    assert_non_null(value);
    return json_pack("{s:{s:o}}", "linux", "intelRdt", value);
}

static int enter(const char *rdt, struct err *err)
{
    _cleanup_json_ json_t *spec = config(rdt);
    int r = resctrl_check(spec, err);
    return r < 0 ? r : resctrl_enter(spec, "box", 77, err);
}

static void a_class_of_its_own_is_made_written_joined_and_removed(void **state)
{
    struct err err;
    _cleanup_json_ json_t *spec = config("{\"l3CacheSchema\":\"L3:0=f\",\"memBwSchema\":\"MB:0=20\","
                                         "\"schemata\":[\"L2:0=3\",\"L3:0=7\"]}");
    assert_ok(resctrl_enter(spec, "box", 77, &err), &err);
    assert_content("box/schemata", "L3:0=f\nMB:0=20\nL2:0=3\nL3:0=7\n");
    assert_content("box/tasks", "77");
    assert_ok(resctrl_join(spec, "box", 88, &err), &err);
    assert_content("box/tasks", "88");
    assert_int_equal(resctrl_enter(spec, "box", 77, &err), -ERR_CONFLICT); /* somebody's already */
    assert_non_null(strstr(err.msg, "make "));
    _cleanup_free_ char *tasks = str_printf("%s/box/tasks", top),
                        *schemata = str_printf("%s/box/schemata", top);
    unlink(tasks); /* the kernel's go with the directory */
    unlink(schemata);
    _cleanup_json_ json_t *dirs = resctrl_dirs(spec, "box");
    resctrl_remove(dirs);
    assert_false(is_there("box"));
}

static void without_a_schema_nothing_is_written_but_the_process(void **state)
{
    struct err err;
    assert_ok(enter("{}", &err), &err);
    assert_content("box/tasks", "77");
    assert_false(is_there("box/schemata"));
    make("gold");
    assert_ok(enter("{\"closID\":\"gold\"}", &err), &err);
    assert_content("gold/tasks", "77");
    assert_false(is_there("gold/schemata"));
    assert_ok(enter("{\"closID\":\"/\"}", &err), &err);
    assert_content("tasks", "77");
    assert_int_equal(enter("{\"closID\":\"none\"}", &err), -ERR_NOT_FOUND);
    assert_non_null(strstr(err.msg, "there is no class \"none\""));
    assert_false(is_there("none"));
}

static void a_class_that_is_there_must_say_the_same_and_stays(void **state)
{
    static const struct {
        const char *rdt;
        bool taken;
    } cases[] = {
        {"{\"closID\":\"gold\",\"l3CacheSchema\":\"L3:0=0f;1=1f\"}", true},
        {"{\"closID\":\"gold\",\"l3CacheSchema\":\"L3:1=1F\",\"memBwSchema\":\"MB:0=20\"}", true},
        {"{\"closID\":\"gold\",\"l3CacheSchema\":\"L3:0=7\"}", false},
        {"{\"closID\":\"gold\",\"l3CacheSchema\":\"L3:2=f\"}", false},
        {"{\"closID\":\"gold\",\"l3CacheSchema\":\"L2:0=f\"}", false},
        {"{\"closID\":\"gold\",\"memBwSchema\":\"MB:0=30\"}", false},
        {"{\"closID\":\"gold\",\"schemata\":[\"L3:0=7\"]}", true},
    };
    make("gold");
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct err err = {0};
        put("gold/schemata", "    L3:0=f;1=1f\n    MB:0=20;1=100\n");
        int r = enter(cases[i].rdt, &err);
        if (r != (cases[i].taken ? 0 : -ERR_CONFLICT))
            fail_msg("%s: %d %s", cases[i].rdt, r, err.msg);
        _cleanup_json_ json_t *spec = config(cases[i].rdt), *dirs = resctrl_dirs(spec, "box");
        assert_int_equal(json_array_size(dirs), 0);
    }
}

static void a_new_class_by_name_is_made_and_stays(void **state)
{
    struct err err;
    _cleanup_json_ json_t *spec = config("{\"closID\":\"silver\",\"schemata\":[\"L3:0=7\"]}");
    assert_ok(resctrl_enter(spec, "box", 77, &err), &err);
    assert_content("silver/schemata", "L3:0=7\n");
    _cleanup_json_ json_t *dirs = resctrl_dirs(spec, "box");
    assert_int_equal(json_array_size(dirs), 0);
}

static void a_monitoring_group_has_the_containers_name_and_goes_with_it(void **state)
{
    struct err err;
    make("gold/mon_groups");
    _cleanup_json_ json_t *spec = config("{\"closID\":\"gold\",\"enableMonitoring\":true}");
    assert_ok(resctrl_enter(spec, "box", 77, &err), &err);
    assert_content("gold/mon_groups/box/tasks", "77");
    assert_content("gold/tasks", "77");
    _cleanup_free_ char *tasks = str_printf("%s/gold/mon_groups/box/tasks", top);
    unlink(tasks);
    _cleanup_json_ json_t *dirs = resctrl_dirs(spec, "box");
    resctrl_remove(dirs);
    assert_false(is_there("gold/mon_groups/box"));
    assert_true(is_there("gold"));
    /* There is no more room, or no monitoring: nothing is left of the try. */
    assert_true(enter("{\"enableMonitoring\":true}", &err) < 0);
    assert_non_null(strstr(err.msg, "mon_groups/box"));
    assert_false(is_there("box"));
}

static void what_makes_no_sense_is_refused_by_name(void **state)
{
    static const char *const cases[][2] = {
        {"{\"closID\":\"../x\"}", "closID"},
        {"{\"closID\":\"a/b\"}", "closID"},
        {"{\"closID\":\"..\"}", "closID"},
        {"{\"closID\":7}", "closID"},
        {"{\"l3CacheSchema\":\"L3:0=f\\nMB:0=10\"}", "l3CacheSchema"},
        {"{\"memBwSchema\":\"L3:0=f\"}", "memBwSchema"},
        {"{\"memBwSchema\":\"MB:0=10\\n\"}", "memBwSchema"},
        {"{\"schemata\":[\"L3:0=f\\n\"]}", "schemata"},
        {"{\"schemata\":\"L3:0=f\"}", "schemata"},
        {"{\"enableMonitoring\":1}", "enableMonitoring"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct err err = {0};
        int r = enter(cases[i][0], &err);
        if (r != -ERR_INVALID || !strstr(err.msg, cases[i][1]))
            fail_msg("%s: %d %s", cases[i][0], r, err.msg);
    }
    assert_false(is_there("box"));
}

static void a_config_without_it_touches_nothing(void **state)
{
    struct err err;
    _cleanup_json_ json_t *spec = json_pack("{s:{}}", "linux"), *dirs = resctrl_dirs(spec, "box");
    assert_ok(resctrl_check(spec, &err), &err);
    assert_ok(resctrl_enter(spec, "box", 77, &err), &err);
    assert_ok(resctrl_join(spec, "box", 77, &err), &err);
    assert_int_equal(json_array_size(dirs), 0);
    assert_false(is_there("tasks") || is_there("box"));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_class_of_its_own_is_made_written_joined_and_removed),
        T(without_a_schema_nothing_is_written_but_the_process),
        T(a_class_that_is_there_must_say_the_same_and_stays),
        T(a_new_class_by_name_is_made_and_stays),
        T(a_monitoring_group_has_the_containers_name_and_goes_with_it),
        T(what_makes_no_sense_is_refused_by_name),
        T(a_config_without_it_touches_nothing),
    };
    return cmocka_run_group_tests_name("resctrl", tests, NULL, NULL);
}
