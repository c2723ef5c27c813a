#include "unit.h"

#include "engine/userns_ranges.h"

static const char subuid[] = "alice:100000:65536\n"
                             "bad line\n"
                             "bob:200000:1000\n"
                             "bob:300000:65536\n"
                             "1000:400000:65536\n"
                             "zero:0:65536\n"
                             "over:4294967290:65536\n"
                             "none:5:0\n"
                             "last:500000:7";

static void the_largest_range_of_a_user_is_found_by_name_or_number(void **state)
{
    struct id_range r;
    assert_true(userns_ranges_find(subuid, "bob", -1, &r));
    assert_int_equal(r.first, 300000);
    assert_int_equal(r.count, 65536);
    assert_true(userns_ranges_find(subuid, "carol", 1000, &r));
    assert_int_equal(r.first, 400000);
    assert_true(userns_ranges_find(subuid, "last", -1, &r));
    assert_int_equal(r.count, 7);
    assert_false(userns_ranges_find(subuid, "carol", -1, &r));
}

static void ranges_with_root_in_them_or_beyond_all_ids_are_passed_over(void **state)
{
    struct id_range r, *all = NULL;
    assert_false(userns_ranges_find(subuid, "zero", -1, &r));
    assert_false(userns_ranges_find(subuid, "over", -1, &r));
    assert_false(userns_ranges_find(subuid, "none", -1, &r));
    assert_int_equal(userns_ranges_all(subuid, &all), 5);
    free(all);
}

static void a_place_is_the_first_that_overlaps_nothing(void **state)
{
    const struct id_range pool = {1000000, 5 * 65536};
    const struct id_range taken[] = {{1000000 + 65536, 1}, {1000000 + 3 * 65536 - 1, 1}, {5, 10}};
    struct err err;
    uint32_t first;
    assert_ok(userns_ranges_place(pool, 65536, 65536, taken, 3, &first, &err), &err);
    assert_int_equal(first, 1000000);
    assert_ok(userns_ranges_place(pool, 2 * 65536, 65536, taken, 3, &first, &err), &err);
    assert_int_equal(first, 1000000 + 3 * 65536);
    assert_int_equal(userns_ranges_place(pool, 3 * 65536, 65536, taken, 3, &first, &err), -ERR_LIMIT);
}

static void a_pool_is_given_out_to_its_end_and_never_twice(void **state)
{
    const struct id_range pool = {4294967295u - 10 * 65536, 10 * 65536};
    struct id_range taken[11];
    struct err err;
    for (size_t n = 0; n < 10; n++) {
        uint32_t first;
        assert_ok(userns_ranges_place(pool, 65536, 65536, taken, n, &first, &err), &err);
        for (size_t i = 0; i < n; i++)
            assert_true(first >= taken[i].first + 65536 || first + 65536 <= taken[i].first);
        taken[n] = (struct id_range){first, 65536};
    }
    uint32_t none;
    assert_int_equal(userns_ranges_place(pool, 65536, 65536, taken, 10, &none, &err), -ERR_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_largest_range_of_a_user_is_found_by_name_or_number),
        cmocka_unit_test(ranges_with_root_in_them_or_beyond_all_ids_are_passed_over),
        cmocka_unit_test(a_place_is_the_first_that_overlaps_nothing),
        cmocka_unit_test(a_pool_is_given_out_to_its_end_and_never_twice),
    };
    return cmocka_run_group_tests_name("userns_ranges", tests, NULL, NULL);
}
