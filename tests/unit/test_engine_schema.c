#include "unit.h"

#include "engine/engine_priv.h"

static int check(const char *text, struct err *err)
{
    _cleanup_json_ json_t *body = NULL;
    assert_ok(json_parse(text, strlen(text), "body", &body, err), err);
    return schema__check_container(body, err);
}

static void a_field_that_is_not_done_is_refused_by_its_name(void **state)
{
    struct err err;
    assert_int_equal(check("{\"HostConfig\":{\"Cgroup\":\"x\"}}", &err), -ERR_UNSUPPORTED);
    assert_string_equal(err.msg, "\"HostConfig.Cgroup\" is not supported");
    assert_int_equal(check("{\"HostConfig\":{\"Capabilities\":[\"CHOWN\"]}}", &err), -ERR_UNSUPPORTED);
}

static void what_is_not_done_may_have_its_empty_value(void **state)
{
    struct err err;
    assert_ok(check("{\"HostConfig\":{\"StorageOpt\":null,\"Links\":[],\"CpuCount\":0,\"Cgroup\":\"\","
                    "\"DeviceRequests\":null,\"ConsoleSize\":[0,0]}}",
                    &err),
              &err);
}

static void a_field_that_docker_does_not_have_is_passed_over(void **state)
{
    struct err err;
    assert_ok(check("{\"name\":\"x\",\"Surprise\":[1],\"HostConfig\":{\"Surprise\":1}}", &err), &err);
}

static void a_wrong_type_is_named_with_its_path(void **state)
{
    struct err err;
    assert_int_equal(check("{\"HostConfig\":{\"Memory\":\"1g\"}}", &err), -ERR_INVALID);
    assert_string_equal(err.msg, "\"HostConfig.Memory\" must be a whole number, not a string");
    assert_int_equal(check("{\"Labels\":{\"a\":1}}", &err), -ERR_INVALID);
    assert_int_equal(check("{\"Env\":\"A=1\"}", &err), -ERR_INVALID);
    assert_int_equal(check("[]", &err), -ERR_INVALID);
}

static void names_have_dockers_form(void **state)
{
    struct err err;
    assert_ok(names__check("web-1.a_b", &err), &err);
    assert_int_equal(names__check("a", &err), -ERR_INVALID);
    assert_int_equal(names__check("-web", &err), -ERR_INVALID);
    assert_int_equal(names__check("we/b", &err), -ERR_INVALID);
    for (unsigned i = 0; i < 200; i++) {
        _cleanup_free_ char *name = names__random(i % 10);
        assert_ok(names__check(name, &err), &err);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_field_that_is_not_done_is_refused_by_its_name),
        cmocka_unit_test(what_is_not_done_may_have_its_empty_value),
        cmocka_unit_test(a_field_that_docker_does_not_have_is_passed_over),
        cmocka_unit_test(a_wrong_type_is_named_with_its_path),
        cmocka_unit_test(names_have_dockers_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
