#include "unit.h"

#include "base/digest.h"
#include "base/file.h"
#include "base/json.h"
#include "base/map.h"
#include "base/process.h"
#include "base/timeutil.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void error_keeps_code_and_gathers_context(void **state)
{
    struct err err = {0};
    assert_int_equal(err_sys(&err, 28, "write %s", "x"), -ERR_NO_SPACE);
    assert_int_equal(err_wrap(&err, "load %d", 7), -ERR_NO_SPACE);
    assert_string_equal(err.msg, "load 7: write x: no space left on device");
    assert_int_equal(err_http_status(-ERR_CONFLICT), 409);
}

static void sizes_and_durations_are_read_as_docker_and_go_write_them(void **state)
{
    struct err err;
    int64_t v;
    assert_ok(parse_bytes("512m", &v, &err), &err);
    assert_int_equal(v, 512 << 20);
    assert_ok(parse_bytes("1.5GiB", &v, &err), &err);
    assert_int_equal(v, 3LL << 29);
    assert_int_equal(parse_bytes("12x", &v, &err), -ERR_INVALID);
    assert_int_equal(parse_bytes("", &v, &err), -ERR_INVALID);
    assert_ok(parse_duration("1m30s", &v, &err), &err);
    assert_int_equal(v, 90 * NS_PER_S);
    assert_ok(parse_duration("1.5ms", &v, &err), &err);
    assert_int_equal(v, 1500000);
    assert_int_equal(parse_duration("10", &v, &err), -ERR_INVALID);
    assert_int_equal(parse_i64("12 ", 0, 100, &v, &err), -ERR_INVALID);
    assert_int_equal(parse_i64("101", 0, 100, &v, &err), -ERR_INVALID);
}

static void a_map_finds_what_was_put_after_many_removals(void **state)
{
    struct map m = MAP_INIT(free);
    char key[32];
    for (int i = 0; i < 5000; i++) {
        snprintf(key, sizeof(key), "key-%d", i);
        map_put(&m, key, mem_strdup(key));
        if (i % 3 == 0)
            assert_true(map_remove(&m, key));
    }
    for (int i = 0; i < 5000; i++) {
        snprintf(key, sizeof(key), "key-%d", i);
        const char *got = map_get(&m, key);
        if (i % 3 == 0)
            assert_null(got);
        else
            assert_string_equal(got, key);
    }
    size_t seen = 0;
    for (size_t at = 0; map_next(&m, &at);)
        seen++;
    assert_int_equal(seen, m.count);
    map_done(&m);
}

static void a_path_in_a_root_cannot_lead_out_of_it(void **state)
{
    struct err err;
    char *dir = scratch_new();
    _cleanup_free_ char *link = str_printf("%s/link", dir);
    _cleanup_free_ char *inside = str_printf("%s/etc", dir);
    assert_int_equal(symlink("../../../../etc", link), 0);
    assert_int_equal(mkdir(inside, 0755), 0);
    int root = open(dir, O_PATH | O_DIRECTORY);
    int fd = file_open_in_root(root, "/link", O_RDONLY | O_DIRECTORY, 0, &err);
    assert_ok(fd, &err);
    struct stat a, b;
    assert_int_equal(fstat(fd, &a), 0);
    assert_int_equal(stat(inside, &b), 0);
    assert_int_equal(a.st_ino, b.st_ino);
    assert_int_equal(file_open_in_root(root, "/link/passwd", O_RDONLY, 0, &err), -ERR_NOT_FOUND);
    close(fd);
    close(root);
    scratch_remove(dir);
}

static void a_replaced_file_is_whole_and_leaves_nothing_beside_it(void **state)
{
    struct err err;
    char *dir = scratch_new();
    _cleanup_free_ char *path = str_printf("%s/f", dir);
    assert_ok(file_replace(path, "one", 3, 0600, true, &err), &err);
    assert_ok(file_replace(path, "two!", 4, 0600, false, &err), &err);
    _cleanup_str_ struct str s = STR_INIT;
    assert_ok(file_read(path, 100, &s, &err), &err);
    assert_string_equal(str_get(&s), "two!");
    assert_int_equal(file_read(path, 3, &s, &err), -ERR_LIMIT);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
    free(dir);
}

static void digests_are_those_of_the_specification(void **state)
{
    char d[DIGEST_BYTES];
    digest_of("abc", 3, d);
    assert_string_equal(d, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_true(digest_valid(d));
    assert_false(digest_valid("sha256:../../etc/passwd"));
    assert_false(digest_valid("sha256:BA7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
    _cleanup_hasher_ struct digest_hasher *h = digest_hasher_new("sha512");
    digest_hasher_add(h, "abc", 3);
    digest_hasher_format(h, d);
    assert_int_equal(strlen(d), 7 + 128);
    assert_true(digest_valid(d));
}

static void a_copied_tree_changes_alone(void **state)
{
    json_t *tree = json_pack("{s:{s:[i,s],s:n},s:b}", "a", "list", 1, "two", "none", "yes", 1);
    char *before = json_format(tree);
    json_t *copy = json_copy_tree(tree);
    assert_true(json_equal(copy, tree));
    json_t *inner = json_object_get(copy, "a");
    json_array_clear(json_object_get(inner, "list"));
    json_object_set_new(inner, "more", json_true());
    json_object_del(copy, "yes");
    char *after = json_format(tree);
    assert_string_equal(after, before);
    json_decref(copy);
    json_decref(tree);
    free(before);
    free(after);
    assert_null(json_copy_tree(NULL));
}

static void a_text_is_added_as_it_is_printed_in_a_document(void **state)
{
    static const char *const texts[] = {"",
                                        "plain words, 1-2_3 ~",
                                        "a \"quote\"",
                                        "back\\slash",
                                        "line\nend\x01",
                                        "gr\xc3\xbc\xc3\x9f",
                                        "\xff broken",
                                        NULL};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        json_t *o = json_object();
        json_set_str(o, "k", texts[i]);
        char *whole = json_format(o);
        struct str s = STR_INIT;
        str_add(&s, "{\"k\":");
        json_add_text(&s, texts[i]);
        str_addc(&s, '}');
        assert_string_equal(str_get(&s), whole);
        str_free(&s);
        free(whole);
        json_decref(o);
    }
}

static void json_errors_name_the_field_and_the_line(void **state)
{
    struct err err;
    json_t *doc = NULL;
    assert_ok(json_parse("{\"Memory\":\"x\",\"No\":null}", 24, "body", &doc, &err), &err);
    int64_t n = 7;
    assert_int_equal(json_get_i64(doc, "HostConfig", "Memory", &n, &err), -ERR_INVALID);
    assert_string_equal(err.msg, "\"HostConfig.Memory\" must be a whole number, not a string");
    assert_ok(json_get_i64(doc, "", "No", &n, &err), &err);
    assert_int_equal(n, 7);
    json_decref(doc);
    assert_int_equal(json_parse("{\"a\":1,\"a\":2}", 13, "body", &doc, &err), -ERR_INVALID);
    char deep[200];
    memset(deep, '[', sizeof(deep));
    assert_int_equal(json_parse(deep, sizeof(deep), "body", &doc, &err), -ERR_INVALID);
}

static void times_survive_printing_and_reading(void **state)
{
    struct err err;
    char text[TIME_RFC3339_BYTES];
    int64_t back;
    time_format_rfc3339(1767323045006000000, text);
    assert_string_equal(text, "2026-01-02T03:04:05.006Z");
    assert_ok(time_parse_rfc3339(text, &back, &err), &err);
    assert_int_equal(back, 1767323045006000000);
    assert_ok(time_parse_rfc3339("2026-01-02T04:04:05+01:00", &back, &err), &err);
    assert_int_equal(back, 1767323045000000000);
}

static void a_program_that_fails_is_told_with_its_last_line(void **state)
{
    struct err err;
    _cleanup_str_ struct str out = STR_INIT;
    assert_ok(process_run((const char *[]){"cat", NULL}, "hello", &out, &err), &err);
    assert_string_equal(str_get(&out), "hello");
    assert_true(
        process_run((const char *[]){"sh", "-c", "echo a; echo b >&2; exit 3", NULL}, NULL, NULL, &err) < 0);
    assert_string_equal(err.msg, "sh exited with 3: b");
    assert_int_equal(process_run((const char *[]){"/no/such/program", NULL}, NULL, NULL, &err),
                     -ERR_NOT_FOUND);
}

static void a_number_and_a_start_time_name_one_process(void **state)
{
    uint64_t own = process_start_time(getpid());
    assert_int_not_equal(own, 0);
    assert_int_equal(process_start_time(getpid()), own);
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        char c;
        close(ends[1]);
        (void)!read(ends[0], &c, 1);
        _exit(0);
    }
    close(ends[0]);
    assert_true(process_start_time(child) >= own);
    close(ends[1]);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(process_start_time(child), 0);
}

/* What a user namespace without a range of ids has: one user, one group. */
static void a_user_namespace_is_told_with_its_last_group(void **state)
{
    pid_t child = fork();
    if (child == 0) {
        if (unshare(CLONE_NEWUSER) < 0)
            _exit(77);
        bool wrong = file_poke("/proc/self/setgroups", "deny", NULL) < 0 ||
                     file_poke("/proc/self/gid_map", "0 0 1", NULL) < 0 ||
                     file_poke("/proc/self/uid_map", "0 0 1", NULL) < 0 || !process_in_user_namespace() ||
                     process_last_group() != 0;
        _exit(wrong);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        print_message("skipped: user namespaces may not be made here\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void what_a_peer_sent_before_it_died_is_received(void **state)
{
    int ends[2];
    char byte;
    struct err err = {0};
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
    assert_int_equal(write(ends[1], "1", 1), 1);
    assert_int_equal(write(ends[1], "2", 1), 1);
    assert_int_equal(write(ends[0], "never read", 10), 10); /* the kernel tells a reset for it */
    close(ends[1]);
    for (char want = '1'; want <= '2'; want++) {
        assert_int_equal(file_recv_fds(ends[0], &byte, 1, NULL, 0, NULL, &err), 1);
        assert_int_equal(byte, want);
    }
    assert_int_equal(file_recv_fds(ends[0], &byte, 1, NULL, 0, NULL, &err), 0);
    close(ends[0]);
}

static void durations_are_written_as_go_writes_them(void **state)
{
    static const struct {
        int64_t ns;
        const char *text;
    } cases[] = {
        {0, "0s"},
        {999, "999ns"},
        {1500, "1.5\xc2\xb5s"},
        {300 * NS_PER_MS, "300ms"},
        {1500 * NS_PER_MS, "1.5s"},
        {30 * NS_PER_S, "30s"},
        {90 * NS_PER_S, "1m30s"},
        {7200 * NS_PER_S, "2h0m0s"},
        {NS_PER_S + 1, "1.000000001s"},
    };
    char text[TIME_RFC3339_BYTES];
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_string_equal(time_format_duration(cases[i].ns, text), cases[i].text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_are_written_as_go_writes_them),
        cmocka_unit_test(what_a_peer_sent_before_it_died_is_received),
        cmocka_unit_test(error_keeps_code_and_gathers_context),
        cmocka_unit_test(sizes_and_durations_are_read_as_docker_and_go_write_them),
        cmocka_unit_test(a_map_finds_what_was_put_after_many_removals),
        cmocka_unit_test(a_path_in_a_root_cannot_lead_out_of_it),
        cmocka_unit_test(a_replaced_file_is_whole_and_leaves_nothing_beside_it),
        cmocka_unit_test(digests_are_those_of_the_specification),
        cmocka_unit_test(json_errors_name_the_field_and_the_line),
        cmocka_unit_test(a_copied_tree_changes_alone),
        cmocka_unit_test(a_text_is_added_as_it_is_printed_in_a_document),
        cmocka_unit_test(times_survive_printing_and_reading),
        cmocka_unit_test(a_program_that_fails_is_told_with_its_last_line),
        cmocka_unit_test(a_number_and_a_start_time_name_one_process),
        cmocka_unit_test(a_user_namespace_is_told_with_its_last_group),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
