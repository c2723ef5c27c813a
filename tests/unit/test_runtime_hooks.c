/* Hooks of all six kinds: when they run, where, with what, and what their failure means. */
#include "runtime_box.h"

/* A hook that writes "<kind> <what it sees>" into a file of the host. */
static void add_hook(struct box *b, const char *kind, const char *script)
{
    json_t *hooks = json_object_get(b->spec, "hooks");
    if (!hooks)
        json_object_set_new(b->spec, "hooks", hooks = json_object());
    if (!json_object_get(hooks, kind))
        json_object_set_new(hooks, kind, json_array());
    json_array_append_new(json_object_get(hooks, kind),
                          json_pack("{s:s,s:[s,s,s],s:[s,s]}", "path", "/bin/sh", "args", "sh", "-c", script,
                                    "env", "PATH=/bin:/usr/bin", "A=b"));
}

static char *log_path(const struct box *b)
{
    return str_printf("%s/log", b->dir);
}

static const char *hook_log(struct box *b, struct str *text)
{
    _cleanup_free_ char *path = log_path(b);
    str_clear(text);
    file_read(path, 1 << 20, text, NULL);
    return str_get(text);
}

static void hooks_run_in_order_in_their_namespaces_with_the_state(void **state)
{
    struct box b;
    box_init(&b);
    _cleanup_str_ struct str text = STR_INIT;
    static const char *const kinds[] = {"createContainer", "createRuntime", "prestart"};
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        _cleanup_free_ char *script =
            str_printf("echo %s $(readlink /proc/self/ns/uts) $A >> %s/log; cat >> %s/log; echo >> %s/log",
                       kinds[i], b.dir, b.dir, b.dir);
        add_hook(&b, kinds[i], script);
    }
    json_object_set_new(b.spec, "annotations", json_pack("{s:s}", "org.example", "yes"));
    add_hook(&b, "startContainer", "cat > /tmp/state; readlink /proc/self/ns/uts >> /tmp/state");
    const char *inside = box_sh(&b, "cat /tmp/state; readlink /proc/self/ns/uts");
    assert_contains(inside, "\"status\":\"created\"");
    assert_contains(inside, "\"org.example\":\"yes\"");
    assert_contains(inside, "\"pid\":1,"); /* as the container sees it */
    const char *log = hook_log(&b, &text);
    char own[64] = {0};
    assert_true(readlink("/proc/self/ns/uts", own, sizeof(own) - 1) > 0);
    _cleanup_free_ char *first = str_printf("prestart %s b\n", own);
    _cleanup_free_ char *second = str_printf("createRuntime %s b\n", own);
    const char *a = strstr(log, first), *c = strstr(log, second), *d = strstr(log, "createContainer uts:[");
    assert_true(a && c && d && a < c && c < d);
    _cleanup_free_ char *not_third = str_printf("createContainer %s", own);
    assert_lacks(log, not_third);
    assert_contains(log, "\"status\":\"created\",\"pid\":");
    assert_contains(d, "\"pid\":1,");
    assert_true(strstr(log, "\"pid\":1,") > d); /* the others see it from outside */
    assert_contains(log, b.id);
    box_done(&b);
}

static void a_hook_that_fails_fails_the_container_and_leaves_nothing(void **state)
{
    static const char *const kinds[] = {"prestart", "createRuntime", "createContainer", "startContainer"};
    struct box b;
    box_init(&b);
    const char *args[] = {"true", NULL};
    box_args(&b, args);
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        json_object_del(b.spec, "hooks");
        add_hook(&b, kinds[i], "echo the cause >&2; exit 7");
        box_run(&b); /* checks the cgroup */
        assert_int_equal(b.status, -1);
        assert_contains(b.err.msg, kinds[i]);
        assert_contains(b.err.msg, "exit status 7: the cause");
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    }
    box_done(&b);
}

static void a_hook_that_takes_too_long_is_killed_with_all_it_started(void **state)
{
    struct box b;
    box_init(&b);
    const char *args[] = {"true", NULL};
    box_args(&b, args);
    _cleanup_free_ char *script = str_printf("sleep 1000 & echo $! > %s/log; wait", b.dir);
    add_hook(&b, "prestart", script);
    json_object_set_new(json_array_get(json_object_get(json_object_get(b.spec, "hooks"), "prestart"), 0),
                        "timeout", json_integer(1));
    box_run(&b);
    assert_int_equal(b.status, -1);
    assert_contains(b.err.msg, "did not end within 1 s");
    _cleanup_str_ struct str text = STR_INIT;
    pid_t sleeper = (pid_t)strtol(hook_log(&b, &text), NULL, 10);
    assert_true(sleeper > 1);
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)sleeper);
    _cleanup_str_ struct str line = STR_INIT;
    while (file_read(path, 4096, &line, NULL) == 0 && strstr(str_get(&line), "sleep"))
        str_clear(&line), usleep(1000);
    box_done(&b);
}

static void hooks_that_make_no_sense_are_refused_by_name(void **state)
{
    static const struct {
        const char *hook, *message;
    } cases[] = {
        {"{\"path\":\"relative\"}", "\"hooks.prestart.path\" must be an absolute path"},
        {"{\"args\":[\"x\"]}", "\"hooks.prestart.path\" must be an absolute path"},
        {"{\"path\":\"/bin/true\",\"timeout\":0}", "\"hooks.prestart.timeout\""},
        {"{\"path\":\"/bin/true\",\"timeout\":-1}", "\"hooks.prestart.timeout\""},
        {"{\"path\":\"/bin/true\",\"env\":\"A=b\"}", "\"hooks.prestart.env\""},
        {"[]", "hooks.prestart"},
        {"{\"path\":\"/no/such/hook\"}", "/no/such/hook"},
    };
    struct box b;
    box_init(&b);
    const char *args[] = {"true", NULL};
    box_args(&b, args);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        json_t *hook;
        assert_ok(json_parse(cases[i].hook, strlen(cases[i].hook), "hook", &hook, &b.err), &b.err);
        json_object_set_new(b.spec, "hooks", json_pack("{s:[o]}", "prestart", hook));
        box_run(&b);
        assert_int_equal(b.status, -1);
        assert_contains(b.err.msg, cases[i].message);
    }
    box_done(&b);
}

static void hooks_after_the_launch_are_run_by_their_name(void **state)
{
    struct box b;
    box_init(&b);
    _cleanup_free_ char *script = str_printf("cat > %s/log", b.dir);
    add_hook(&b, "poststop", script);
    _cleanup_json_ json_t *container = json_pack("{s:s,s:s}", "id", "x", "status", "stopped");
    assert_ok(runtime_run_hooks(b.spec, "poststop", container, &b.err), &b.err);
    _cleanup_str_ struct str text = STR_INIT;
    assert_string_equal(hook_log(&b, &text), "{\"id\":\"x\",\"status\":\"stopped\"}");
    assert_ok(runtime_run_hooks(b.spec, "poststart", container, &b.err), &b.err);
    assert_int_equal(runtime_run_hooks(b.spec, "never", container, &b.err), -ERR_INVALID);
    box_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hooks_run_in_order_in_their_namespaces_with_the_state),
        cmocka_unit_test(a_hook_that_fails_fails_the_container_and_leaves_nothing),
        cmocka_unit_test(a_hook_that_takes_too_long_is_killed_with_all_it_started),
        cmocka_unit_test(hooks_that_make_no_sense_are_refused_by_name),
        cmocka_unit_test(hooks_after_the_launch_are_run_by_their_name),
    };
    return cmocka_run_group_tests_name("runtime_hooks", tests, NULL, NULL);
}
