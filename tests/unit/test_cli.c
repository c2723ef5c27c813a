#include "unit.h"

#include "cli/call.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/stream.h"

struct parsed {
    bool interactive, tty, detach;
    const char *name;
    char **env;
    int timeout;
    char **rest;
};

/* Splits `line` at blanks and parses it; the words live until the next call. */
static int parse(const char *line, bool options_first, struct parsed *p)
{
    static char **words;
    strv_free(words);
    words = strv_split(line, ' ');
    strv_free(p->env);
    *p = (struct parsed){.timeout = -1};
    const struct cli_option options[] = {
        {'i', "interactive", CLI_FLAG, &p->interactive, NULL, ""},
        {'t', "tty", CLI_FLAG, &p->tty, NULL, ""},
        {'d', "detach", CLI_FLAG, &p->detach, NULL, ""},
        {'n', "name", CLI_TEXT, &p->name, "NAME", ""},
        {'e', "env", CLI_LIST, &p->env, "ENV", ""},
        {0, "timeout", CLI_INT, &p->timeout, "SECONDS", ""},
        {0},
    };
    const struct cli_command command = {"run [OPTIONS] WORD...", "", options, options_first, 0, 3};
    int words_taken = (int)strv_len(words);
    /* What is cut off the list by parsing is freed here. */
    char **copy = NEW_N(char *, (size_t)words_taken + 1);
    memcpy(copy, words, ((size_t)words_taken + 1) * sizeof(*copy));
    static char **last_copy;
    free(last_copy);
    last_copy = copy;
    return cli_parse(&command, words_taken, copy, &p->rest);
}

static void options_come_long_short_clustered_and_with_values(void **state)
{
    struct parsed p = {0};
    assert_int_equal(parse("run -it --name=web -e A=1 -eB=2 --env C=3 one --detach two", false, &p), -1);
    assert_true(p.interactive && p.tty && p.detach);
    assert_string_equal(p.name, "web");
    assert_int_equal(strv_len(p.env), 3);
    assert_string_equal(p.env[1], "B=2");
    assert_string_equal(p.rest[0], "one");
    assert_string_equal(p.rest[1], "two");
    assert_null(p.rest[2]);
    assert_int_equal(parse("run --detach=false --timeout 5 -nweb", false, &p), -1);
    assert_false(p.detach);
    assert_int_equal(p.timeout, 5);
    assert_string_equal(p.name, "web");
    strv_free(p.env);
}

static void what_follows_a_command_or_two_dashes_is_left_alone(void **state)
{
    struct parsed p = {0};
    assert_int_equal(parse("run -i image -t --foo", true, &p), -1);
    assert_true(p.interactive && !p.tty);
    assert_string_equal(p.rest[1], "-t");
    assert_string_equal(p.rest[2], "--foo");
    assert_int_equal(parse("run -i -- -t", false, &p), -1);
    assert_false(p.tty);
    assert_string_equal(p.rest[0], "-t");
    strv_free(p.env);
}

static void wrong_options_end_with_status_two(void **state)
{
    static const char *const wrong[] = {"run --nam x",        "run -x",          "run --name",
                                        "run --timeout soon", "run --tty=maybe", "run a b c d"};
    struct parsed p = {0};
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_int_equal(parse(wrong[i], false, &p), 2);
    strv_free(p.env);
}

static int collect(void *context, int stream, const void *bytes, size_t n, struct err *err)
{
    str_addf(context, "%d[%.*s]", stream, (int)n, (const char *)bytes);
    return 0;
}

static void frames_are_taken_apart_wherever_they_are_cut(void **state)
{
    static const char bytes[] = "\1\0\0\0\0\0\0\3abc\2\0\0\0\0\0\0\1d\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\2ef";
    struct err err;
    for (size_t cut = 1; cut < sizeof(bytes) - 1; cut++) {
        struct demux d = {0};
        _cleanup_str_ struct str got = STR_INIT, plain = STR_INIT;
        assert_ok(demux_feed(&d, bytes, cut, collect, &got, &err), &err);
        assert_ok(demux_feed(&d, bytes + cut, sizeof(bytes) - 1 - cut, collect, &got, &err), &err);
        for (const char *c = str_get(&got); *c; c++)
            if (*c >= 'a' && *c <= 'f')
                str_addc(&plain, *c);
        assert_string_equal(str_get(&plain), "abcdef");
    }
    struct demux d = {0};
    _cleanup_str_ struct str got = STR_INIT;
    assert_int_equal(demux_feed(&d, "hello, world", 12, collect, &got, &err), -ERR_PROTOCOL);
}

static void control_characters_never_reach_the_terminal(void **state)
{
    _cleanup_free_ char *safe = output_safe("a\033[31mb\nc");
    assert_string_equal(safe, "a.[31mb.c");
}

static void only_unix_hosts_are_taken(void **state)
{
    struct err err;
    const char *socket;
    assert_int_equal(cli_set_host("tcp://1.2.3.4:2375", &err), -ERR_UNSUPPORTED);
    assert_int_equal(cli_set_host("unix://", &err), -ERR_UNSUPPORTED);
    assert_ok(cli_set_host("unix:///run/x.sock", &err), &err);
    assert_ok(cli_socket(&socket, &err), &err);
    assert_string_equal(socket, "/run/x.sock");
}

static void names_are_escaped_for_a_query(void **state)
{
    _cleanup_free_ char *escaped = cli_escape("a b&c=d?é%");
    assert_string_equal(escaped, "a%20b%26c%3Dd%3F%C3%A9%25");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_come_long_short_clustered_and_with_values),
        cmocka_unit_test(what_follows_a_command_or_two_dashes_is_left_alone),
        cmocka_unit_test(wrong_options_end_with_status_two),
        cmocka_unit_test(frames_are_taken_apart_wherever_they_are_cut),
        cmocka_unit_test(control_characters_never_reach_the_terminal),
        cmocka_unit_test(only_unix_hosts_are_taken),
        cmocka_unit_test(names_are_escaped_for_a_query),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
