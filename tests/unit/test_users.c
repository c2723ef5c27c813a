#include "unit.h"

#include "engine/users.h"

static const char passwd[] = "root:x:0:0:root:/root:/bin/sh\n"
                             "broken\n"
                             "far:x:99999999999:1::/far:\n"
                             "web:x:100:101:Web:/srv/web:/bin/sh\n"
                             "web:x:0:0:second entry:/root:/bin/sh\n"
                             "5000:x:7:8::/named-like-a-number:\n"
                             "rel:x:300:300::relative:\n"
                             "last:x:400:401::/last";
static const char group[] =
    "root:x:0:root\nadm:x:4:root,web\nwww:x:33:other,web,more\n:x:9:web\nnear:x:50:webx,xweb\n"
    "docker:x:999:";

static struct users_identity resolve(const char *spec)
{
    struct users_identity u;
    struct err err;
    assert_ok(users_resolve(passwd, group, spec, NULL, &u, &err), &err);
    return u;
}

static void a_name_gives_its_first_entry_and_the_groups_that_list_it(void **state)
{
    struct users_identity u = resolve("web");
    assert_int_equal(u.uid, 100);
    assert_int_equal(u.gid, 101);
    assert_string_equal(u.home, "/srv/web");
    assert_int_equal(u.group_count, 4);
    assert_int_equal(u.groups[0], 101);
    assert_int_equal(u.groups[1], 4);
    assert_int_equal(u.groups[2], 33);
}

static void nothing_given_is_root(void **state)
{
    struct users_identity u = resolve("");
    assert_int_equal(u.uid, 0);
    assert_string_equal(u.home, "/root");
    assert_int_equal(u.groups[1], 4);
}

static void a_number_needs_no_entry(void **state)
{
    struct users_identity u = resolve("1234");
    assert_int_equal(u.uid, 1234);
    assert_int_equal(u.gid, 0);
    assert_string_equal(u.home, "/");
    assert_int_equal(resolve("100").gid, 101);
    /* A number is never a name (CVE-2016-3697). */
    assert_int_equal(resolve("5000").uid, 5000);
}

static void a_group_given_takes_the_place_of_memberships(void **state)
{
    struct users_identity u = resolve("web:docker");
    assert_int_equal(u.gid, 999);
    assert_int_equal(u.group_count, 1);
    assert_int_equal(resolve("7:8").gid, 8);
    assert_int_equal(resolve(":33").gid, 33);
}

static void a_home_that_is_no_absolute_path_is_not_taken(void **state)
{
    assert_string_equal(resolve("rel").home, "/");
    assert_string_equal(resolve("last").home, "/last");
}

static void an_unknown_name_is_refused_by_name(void **state)
{
    struct users_identity u;
    struct err err;
    assert_int_equal(users_resolve(passwd, group, "nobody", NULL, &u, &err), -ERR_INVALID);
    assert_string_equal(err.msg, "unable to find user nobody: no matching entries in passwd file");
    assert_int_equal(users_resolve(passwd, group, "web:none", NULL, &u, &err), -ERR_INVALID);
    assert_string_equal(err.msg, "unable to find group none: no matching entries in group file");
    assert_int_equal(users_resolve(passwd, group, "far", NULL, &u, &err), -ERR_INVALID);
    assert_int_equal(users_resolve("", "", "4294967296", NULL, &u, &err), -ERR_INVALID);
}

static void added_groups_are_names_or_numbers(void **state)
{
    struct users_identity u;
    struct err err;
    char docker[] = "docker", number[] = "33", other[] = "77", *add[] = {docker, number, other, NULL};
    assert_ok(users_resolve(passwd, group, "7", add, &u, &err), &err);
    assert_int_equal(u.group_count, 4);
    assert_int_equal(u.groups[1], 999);
    assert_int_equal(u.groups[3], 77);
}

static void a_user_in_too_many_groups_gets_a_bounded_number(void **state)
{
    _cleanup_str_ struct str many = STR_INIT;
    struct users_identity u;
    struct err err;
    for (int i = 1; i < 3000; i++)
        str_addf(&many, "g%d:x:%d:web\n", i, 1000 + i);
    assert_ok(users_resolve(passwd, str_get(&many), "web", NULL, &u, &err), &err);
    assert_int_equal(u.group_count, USERS_GROUPS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_gives_its_first_entry_and_the_groups_that_list_it),
        cmocka_unit_test(nothing_given_is_root),
        cmocka_unit_test(a_number_needs_no_entry),
        cmocka_unit_test(a_group_given_takes_the_place_of_memberships),
        cmocka_unit_test(a_home_that_is_no_absolute_path_is_not_taken),
        cmocka_unit_test(an_unknown_name_is_refused_by_name),
        cmocka_unit_test(added_groups_are_names_or_numbers),
        cmocka_unit_test(a_user_in_too_many_groups_gets_a_bounded_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
