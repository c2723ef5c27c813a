/* The command line of drover-oci: its options as callers of runc write them. */
#include "oci/commands.h"
#include "unit.h"

static int parse(struct oci_args *args, int *at, const char *const *words, struct err *err)
{
    const char *argv[16] = {"drover-oci"};
    int n = 1;
    for (; words[n - 1]; n++)
        argv[n] = words[n - 1];
    *args = (struct oci_args){0};
    *at = 1;
    for (const struct oci_command *c = oci_commands; c->name; c++)
        if (str_eq(c->name, argv[1])) {
            *at = 2;
            return oci_options_parse(c->options, n, (char **)argv, at, args, err);
        }
    return oci_options_parse(oci_global_options, n, (char **)argv, at, args, err);
}

#define PARSE(...) parse(&args, &at, (const char *const[]){__VA_ARGS__, NULL}, &err)

static void options_are_taken_in_every_spelling(void **state)
{
    struct oci_args args;
    struct err err = {0};
    int at;
    assert_int_equal(PARSE("--root", "/a", "--log=/b", "-debug", "--systemd-cgroup=false", "state"), 0);
    assert_string_equal(args.root, "/a");
    assert_string_equal(args.log, "/b");
    assert_true(args.debug);
    assert_false(args.systemd_cgroup);
    assert_int_equal(at, 6);
    assert_int_equal(PARSE("create", "-b", "/c", "--preserve-fds", "3", "--no-pivot", "id", "--pid-file"), 0);
    assert_string_equal(args.bundle, "/c");
    assert_int_equal(args.preserve_fds, 3);
    assert_true(args.no_pivot);
    assert_int_equal(at, 7);
}

static void lists_grow_and_the_last_text_counts(void **state)
{
    struct oci_args args;
    struct err err = {0};
    int at;
    assert_int_equal(PARSE("exec", "-e", "A=1", "--env=B=2", "--cwd", "/a", "--cwd", "/b", "id"), 0);
    assert_int_equal(strv_len(args.env), 2);
    assert_string_equal(args.env[1], "B=2");
    assert_string_equal(args.cwd, "/b");
    oci_args_done(&args);
}

static void words_behind_the_first_belong_to_the_program(void **state)
{
    struct oci_args args;
    struct err err = {0};
    int at;
    assert_int_equal(PARSE("exec", "id", "ls", "--tty"), 0);
    assert_false(args.tty);
    assert_int_equal(at, 2);
    assert_int_equal(PARSE("exec", "--tty", "--", "-id"), 0);
    assert_true(args.tty);
    assert_int_equal(at, 4);
}

static void what_is_wrong_is_named(void **state)
{
    struct oci_args args;
    struct err err = {0};
    int at;
    assert_int_equal(PARSE("create", "--nonsense", "id"), -ERR_INVALID);
    assert_non_null(strstr(err.msg, "--nonsense"));
    assert_int_equal(PARSE("create", "--bundle"), -ERR_INVALID);
    assert_non_null(strstr(err.msg, "needs a value"));
    assert_int_equal(PARSE("create", "--preserve-fds", "many", "id"), -ERR_INVALID);
    assert_non_null(strstr(err.msg, "many"));
    assert_int_equal(PARSE("create", "--no-pivot=perhaps", "id"), -ERR_INVALID);
    assert_non_null(strstr(err.msg, "perhaps"));
}

static void every_command_has_a_text_and_no_letter_twice(void **state)
{
    for (const struct oci_command *c = oci_commands; c->name; c++) {
        assert_non_null(c->run);
        assert_true(*c->summary != '\0');
        for (const struct oci_option *o = c->options; o->name; o++) {
            assert_true(*o->help != '\0');
            for (const struct oci_option *p = c->options; p < o; p++) {
                assert_string_not_equal(o->name, p->name);
                assert_true(!o->letter || o->letter != p->letter);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_taken_in_every_spelling),
        cmocka_unit_test(lists_grow_and_the_last_text_counts),
        cmocka_unit_test(words_behind_the_first_belong_to_the_program),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(every_command_has_a_text_and_no_letter_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
