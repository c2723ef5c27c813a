#include "unit.h"

#include "net/net.h"

static void a_subnet_must_be_canonical_and_free(void **state)
{
    (void)state;
    struct err err = {0};
    char *taken[] = {(char[]){"172.17.0.0/16"}, (char[]){"10.1.0.0/24"}, NULL};
    assert_ok(net_subnet_check("172.18.0.0/16", taken, &err), &err);
    assert_int_equal(net_subnet_check("172.17.4.0/24", taken, &err), -ERR_CONFLICT);
    assert_string_equal(err.msg, "subnet 172.17.4.0/24 overlaps 172.17.0.0/16 of another network");
    assert_int_equal(net_subnet_check("10.0.0.0/8", taken, &err), -ERR_CONFLICT);
    assert_int_equal(net_subnet_check("172.18.0.1/16", NULL, &err), -ERR_INVALID);
    assert_string_equal(err.msg, "subnet 172.18.0.1/16 has host bits set: did you mean 172.18.0.0/16?");
    assert_int_equal(net_subnet_check("fd00::/64", NULL, &err), -ERR_UNSUPPORTED);
    static const char *const wrong[] = {
        "",           "172.18.0.0",    "172.18.0.0/33", "172.18.0.0/", "1.2.3/24",
        "0.0.0.0/16", "127.0.0.0/16",  "224.0.0.0/16",  "/16",         "x/16",
        "1.2.3.4/31", "172.18.0.0/-1", "172.18.0.0/+1", NULL};
    for (size_t i = 0; wrong[i]; i++)
        assert_int_equal(net_subnet_check(wrong[i], NULL, &err), -ERR_INVALID);
}

static char *pick(const char *subnet, const char *range, char *const *taken)
{
    struct err err = {0};
    char *address = NULL;
    assert_ok(net_address_pick(subnet, range, taken, &address, &err), &err);
    return address;
}

static void an_address_is_the_first_free_one(void **state)
{
    (void)state;
    struct err err = {0};
    char *taken[] = {(char[]){"172.20.0.3"}, (char[]){"172.20.0.2/16"}, (char[]){"172.20.0.1"},
                     (char[]){"172.20.0.2"}, NULL};
    _cleanup_free_ char *first = pick("172.20.0.0/16", NULL, NULL);
    assert_string_equal(first, "172.20.0.2");
    _cleanup_free_ char *next = pick("172.20.0.0/16", "", taken);
    assert_string_equal(next, "172.20.0.4");
    _cleanup_free_ char *ranged = pick("172.20.0.0/16", "172.20.5.0/24", taken);
    assert_string_equal(ranged, "172.20.5.0");
    char *all[] = {(char[]){"10.0.0.2"}, NULL};
    char *none = NULL;
    assert_int_equal(net_address_pick("10.0.0.0/30", NULL, all, &none, &err), -ERR_LIMIT);
    assert_int_equal(net_address_pick("10.0.0.0/24", "10.1.0.0/24", NULL, &none, &err), -ERR_INVALID);
    assert_null(none);
    assert_true(net_address_in_subnet("10.0.0.77", "10.0.0.0/24"));
    assert_false(net_address_in_subnet("10.0.1.77", "10.0.0.0/24"));
    assert_false(net_address_in_subnet("nonsense", "10.0.0.0/24"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_subnet_must_be_canonical_and_free),
        cmocka_unit_test(an_address_is_the_first_free_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
