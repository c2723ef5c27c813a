#include "api/registry_guesses.h"
#include "api/registry_token.h"
#include "base/json.h"
#include "base/timeutil.h"
#include "registry/policy.h"
#include "unit.h"

static void patterns_tell_parts_apart(void **state)
{
    static const char *const fit[][2] = {
        {"web", "web"},  {"*", "web"},      {"team/*", "team/a"},  {"team/**", "team/a/b"},
        {"**", "a/b/c"}, {"**/x", "a/b/x"}, {"v?.*", "v1.2"},      {"a*b*c", "a1b2c"},
        {"", ""},        {"a**", "a"},      {"*/cache", "a/cache"}};
    static const char *const not [][2] = {{"web", "web2"},     {"*", "a/b"},  {"team/*", "team/a/b"},
                                          {"team/**", "team"}, {"**/x", "x"}, {"v?", "v/"},
                                          {"a*b*c", "a1b2c3"}, {"", "a"},     {"?", ""}};
    for (size_t i = 0; i < ARRAY_SIZE(fit); i++)
        if (!name_pattern_match(fit[i][0], fit[i][1]))
            fail_msg("%s fits %s", fit[i][0], fit[i][1]);
    for (size_t i = 0; i < ARRAY_SIZE(not ); i++)
        if (name_pattern_match(not [i][0], not [i][1]))
            fail_msg("%s does not fit %s", not [i][0], not [i][1]);
    char stars[401] = {0}, text[256] = {0};
    memset(stars, '*', 400);
    for (int i = 1; i < 400; i += 2)
        stars[i] = 'a';
    memset(text, 'a', 255);
    assert_false(name_pattern_match(stars, "b"));
    name_pattern_match(stars, text); /* and it comes back */
}

static struct registry_policy *policy(void)
{
    struct registry_policy *p = registry_policy_new();
    static const char *const users[] = {"dev", "lead", "root", "other"};
    for (size_t i = 0; i < ARRAY_SIZE(users); i++)
        map_put(&p->users, users[i], mem_strdup("$2y$"));
    char **members = NULL;
    strv_add(&members, "dev");
    map_put(&p->groups, "team", members);
    strv_add(&p->admins, "root");
    p->rules = NEW_N(struct registry_rule, 2);
    p->rule_count = 2;
    strv_add(&p->rules[0].match, "team/**");
    strv_add(&p->rules[0].pull, "anonymous");
    strv_add(&p->rules[0].push, "@team");
    strv_add(&p->rules[1].match, "**");
    strv_add(&p->rules[1].delete, "lead");
    return p;
}

static void the_first_rule_that_fits_decides_alone(void **state)
{
    struct registry_policy *p = policy();
    assert_int_equal(registry_policy_rights(p, NULL, "team/a"), REGISTRY_PULL);
    assert_int_equal(registry_policy_rights(p, "dev", "team/a"), REGISTRY_PULL | REGISTRY_PUSH);
    assert_int_equal(registry_policy_rights(p, "lead", "team/a"), REGISTRY_PULL);
    assert_int_equal(registry_policy_rights(p, "lead", "other"), REGISTRY_DELETE | REGISTRY_PULL);
    assert_int_equal(registry_policy_rights(p, NULL, "other"), 0);
    assert_int_equal(registry_policy_rights(p, "dev", "other"), 0);
    assert_int_equal(registry_policy_rights(p, "root", "other"), REGISTRY_ALL);
    registry_policy_unref(p);
    /* Without rules every user may do everything, and nobody else anything. */
    p = registry_policy_new();
    assert_int_equal(registry_policy_rights(p, "x", "other"), REGISTRY_ALL);
    assert_int_equal(registry_policy_rights(p, NULL, "other"), 0);
    registry_policy_unref(p);
}

static void a_token_is_read_by_whoever_made_it_while_it_holds(void **state)
{
    struct registry_token_key key = {{1, 2, 3}}, other = {{1, 2, 4}};
    struct registry_token made = {.subject = mem_strdup("dev"),
                                  .access = json_pack("[{s:s, s:s, s:[s,s]}]", "type", "repository", "name",
                                                      "team/a", "actions", "pull", "push")};
    char *text = registry_token_make(&key, "here", &made, 1000, 60);
    registry_token_done(&made);
    struct registry_token got = {0};
    assert_true(registry_token_read(&key, "here", text, 1059, &got));
    assert_string_equal(got.subject, "dev");
    assert_int_equal(registry_token_rights(&got, "team/a"), REGISTRY_PULL | REGISTRY_PUSH);
    assert_int_equal(registry_token_rights(&got, "team/b"), 0);
    registry_token_done(&got);
    assert_false(registry_token_read(&key, "here", text, 1060, &got));
    assert_false(registry_token_read(&key, "here", text, 900, &got));
    assert_false(registry_token_read(&key, "there", text, 1010, &got));
    assert_false(registry_token_read(&other, "here", text, 1010, &got));
    /* Whatever byte is changed: it is none any more. (The last character has bits that say nothing.) */
    size_t n = strlen(text);
    for (size_t i = 0; i + 1 < n; i++) {
        char was = text[i];
        text[i] = was == 'A' ? 'B' : 'A';
        if (registry_token_read(&key, "here", text, 1010, &got))
            fail_msg("changed at %zu it is taken", i);
        text[i] = was;
    }
    free(text);
}

static void a_key_is_made_once(void **state)
{
    struct err err = {0};
    char *dir = scratch_new(), *path = str_printf("%s/key", dir);
    struct registry_token_key one, two;
    assert_ok(registry_token_key_load(path, &one, &err), &err);
    assert_ok(registry_token_key_load(path, &two, &err), &err);
    assert_memory_equal(one.bytes, two.bytes, sizeof(one.bytes));
    free(path);
    scratch_remove(dir);
}

static void guessing_is_slowed_by_address(void **state)
{
    struct guesses g;
    guesses_init(&g);
    int64_t now = 1000 * NS_PER_S;
    for (int i = 0; i < GUESSES_MAX; i++) {
        assert_int_equal(guesses_wait_s(&g, "10.0.0.1", now), 0);
        guesses_wrong(&g, "10.0.0.1", now);
    }
    assert_true(guesses_wait_s(&g, "10.0.0.1", now) > 0);
    assert_int_equal(guesses_wait_s(&g, "10.0.0.2", now), 0);
    now += (GUESSES_MELT_S + 1) * NS_PER_S;
    assert_int_equal(guesses_wait_s(&g, "10.0.0.1", now), 0);
    guesses_wrong(&g, "10.0.0.1", now);
    assert_true(guesses_wait_s(&g, "10.0.0.1", now) > 0);
    /* A machine has all addresses of its 64 bits. */
    for (int i = 0; i < GUESSES_MAX; i++) {
        char *address = str_printf("2001:db8::%x", i);
        guesses_wrong(&g, address, now);
        free(address);
    }
    assert_true(guesses_wait_s(&g, "2001:db8::ffff", now) > 0);
    assert_int_equal(guesses_wait_s(&g, "2001:db8:0:1::1", now), 0);
    for (int i = 0; i < 2 * GUESSES_ADDRESSES; i++) {
        char *address = str_printf("10.1.%d.%d", i / 256, i % 256);
        guesses_wrong(&g, address, now);
        free(address);
    }
    assert_true(g.debts.count <= GUESSES_ADDRESSES);
    guesses_done(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_tell_parts_apart),
        cmocka_unit_test(the_first_rule_that_fits_decides_alone),
        cmocka_unit_test(a_token_is_read_by_whoever_made_it_while_it_holds),
        cmocka_unit_test(a_key_is_made_once),
        cmocka_unit_test(guessing_is_slowed_by_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
