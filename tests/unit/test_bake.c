#include "unit.h"

#include "bake/base.h"
#include "bake/packages.h"
#include "base/json.h"

static void installed_packages_are_read_and_others_are_not(void **state)
{
    static const char text[] =
        "Package: zlib1g\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:1.2\n"
        "Description: x\n Package: not-this\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n"
        "Package: half\nStatus: install ok half-installed\nVersion: 1\n\n\n"
        "Version: 2\nStatus: install ok installed\n\n"
        "Package: apt\nVersion: 2.6\nStatus: install ok installed";
    struct packages p;
    struct err err;
    assert_ok(packages_parse(text, &p, &err), &err);
    _cleanup_free_ char *line = packages_line(&p);
    assert_string_equal(line, "apt=2.6 zlib1g=1:1.2");
    _cleanup_json_ json_t *a = packages_spdx(&p, "debian:x", "debian-x", 0),
                          *b = packages_spdx(&p, "debian:x", "debian-x", 0);
    assert_true(json_equal(a, b));
    const json_t *zlib = json_array_get(json_object_get(a, "packages"), 2);
    assert_string_equal(json_str(zlib, "SPDXID"), "SPDXRef-Package-zlib1g-amd64");
    assert_string_equal(
        json_str(json_array_get(json_object_get(zlib, "externalRefs"), 0), "referenceLocator"),
        "pkg:deb/debian/zlib1g@1%3A1.2?arch=amd64&distro=debian-x");
    packages_done(&p);
}

static void a_request_is_checked_before_anything_is_made(void **state)
{
    static const char *const good[] = {"debian:bookworm", "debian:trixie", "busybox", "busybox:trixie"};
    static const char *const bad[] = {"debian",        "debian:",  "debian:-x", "debian:a b",
                                      "debian:a/../b", "alpine:3", ""};
    struct err err;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        const struct base_request q = {.spec = good[i]};
        assert_ok(base_request_check(&q, &err), &err);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        const struct base_request q = {.spec = bad[i]};
        assert_int_equal(base_request_check(&q, &err), -ERR_INVALID);
    }
    static char option[] = "--hook=x", line[] = "deb http://a b c\nd";
    char *const options[] = {option, NULL}, *const lines[] = {line, NULL};
    const struct base_request q = {.spec = "debian:x", .include = options},
                              m = {.spec = "debian:x", .mirrors = options},
                              n = {.spec = "debian:x", .mirrors = lines};
    assert_int_equal(base_request_check(&q, &err), -ERR_INVALID);
    assert_int_equal(base_request_check(&m, &err), -ERR_INVALID);
    assert_int_equal(base_request_check(&n, &err), -ERR_INVALID);
}

static void a_snapshot_is_a_time(void **state)
{
    int64_t epoch = 0;
    struct err err;
    assert_ok(base_snapshot_epoch("20240229T010203Z", &epoch, &err), &err);
    assert_int_equal(epoch, 1709168523);
    assert_int_equal(base_snapshot_epoch("20240229T010203", &epoch, &err), -ERR_INVALID);
    assert_int_equal(base_snapshot_epoch("20241329T010203Z", &epoch, &err), -ERR_INVALID);
    assert_int_equal(base_snapshot_epoch("20240229T010203Z/x", &epoch, &err), -ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(installed_packages_are_read_and_others_are_not),
        cmocka_unit_test(a_request_is_checked_before_anything_is_made),
        cmocka_unit_test(a_snapshot_is_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
