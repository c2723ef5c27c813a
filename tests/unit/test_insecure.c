#include "base/address_range.h"
#include "base/err.h"
#include "image/insecure.h"
#include "unit.h"

static void expect_in(const char *range, const char *address, bool inside)
{
    struct address_range r;
    uint8_t bytes[ADDRESS_BYTES];
    assert_true(address_range_parse(range, &r));
    assert_true(address_parse(address, bytes));
    if (address_range_has(&r, bytes) != inside)
        fail_msg("%s is%s told to be in %s", address, inside ? " not" : "", range);
}

static void an_address_is_in_a_range_by_its_first_bits(void **state)
{
    expect_in("10.0.0.0/8", "10.255.0.1", true);
    expect_in("10.0.0.0/8", "11.0.0.0", false);
    expect_in("10.1.2.3/8", "10.200.0.1", true);
    expect_in("192.168.4.0/22", "192.168.7.255", true);
    expect_in("192.168.4.0/22", "192.168.8.0", false);
    expect_in("192.0.2.7/32", "192.0.2.7", true);
    expect_in("192.0.2.7/32", "192.0.2.6", false);
    expect_in("0.0.0.0/0", "255.1.2.3", true);
    expect_in("0.0.0.0/0", "2001:db8::1", false);
    expect_in("2001:db8::/33", "2001:db8:7fff::1", true);
    expect_in("2001:db8::/33", "2001:db8:8000::1", false);
    expect_in("::/0", "2001:db8::1", true);
}

static void what_is_no_range_is_told_apart(void **state)
{
    static const char *const wrong[] = {"10.0.0.0", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "/8",
                                        "10.0.0/8", "a/8",         "::/129",      "::1/8/8",   ""};
    struct address_range r;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        if (address_range_parse(wrong[i], &r))
            fail_msg("\"%s\" was taken for a range", wrong[i]);
}

static void expect_entry(const char *text, const char *entry)
{
    struct err err = {0};
    char *parsed;
    assert_ok(insecure_entry_parse(text, &parsed, &err), &err);
    assert_string_equal(parsed, entry);
    free(parsed);
}

static void an_entry_is_a_host_or_a_range(void **state)
{
    expect_entry("registry.lan:5000", "registry.lan:5000");
    expect_entry("HTTP://registry.lan", "registry.lan");
    expect_entry("https://10.0.0.0/8", "10.0.0.0/8");
    static const char *const wrong[] = {"", "http://", "registry.lan/team", "10.0.0.0/40"};
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        struct err err = {0};
        char *parsed;
        assert_int_equal(insecure_entry_parse(wrong[i], &parsed, &err), -ERR_INVALID);
        assert_non_null(strstr(err.msg, "10.0.0.0/8"));
    }
}

static void a_registry_is_insecure_by_name_by_range_or_on_this_machine(void **state)
{
    static char name[] = "registry.lan:5000", v4[] = "10.0.0.0/8", v6[] = "fd00::/8";
    char *const entries[] = {name, v4, v6, NULL};
    char *const none[] = {NULL};
    static const char *const allowed[] = {"registry.lan:5000", "10.1.2.3", "10.1.2.3:5000", "[fd00::1]:5000",
                                          "[fd00::1]"};
    static const char *const refused[] = {"registry.lan:5001", "11.1.2.3:5000", "[fe00::1]:5000",
                                          "192.0.2.1"};
    static const char *const own[] = {"localhost", "localhost:5000", "127.1.2.3:5000", "[::1]:5000"};
    for (size_t i = 0; i < ARRAY_SIZE(allowed); i++)
        if (!insecure_allows(entries, allowed[i]) || insecure_allows(none, allowed[i]))
            fail_msg("%s is not told apart", allowed[i]);
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
        if (insecure_allows(entries, refused[i]))
            fail_msg("%s is allowed", refused[i]);
    for (size_t i = 0; i < ARRAY_SIZE(own); i++)
        if (!insecure_allows(NULL, own[i]))
            fail_msg("%s is not this machine's", own[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_is_in_a_range_by_its_first_bits),
        cmocka_unit_test(what_is_no_range_is_told_apart),
        cmocka_unit_test(an_entry_is_a_host_or_a_range),
        cmocka_unit_test(a_registry_is_insecure_by_name_by_range_or_on_this_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
