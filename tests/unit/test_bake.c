#include "unit.h"

#include "bake/bakery.h"
#include "bake/base.h"
#include "bakery/packages.h"
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

/* What one header says, "" where it is left out. */
static char *rpm_line(const void *header, size_t n)
{
    struct packages p = {.kind = PACKAGES_RPM};
    struct err err;
    if (packages_add_rpm(&p, header, n, &err) < 0)
        return mem_strdup(err.msg);
    char *line = packages_line(&p);
    packages_done(&p);
    return line;
}

#define ENTRY(tag, type, offset) "\0\0" tag "\0\0\0" type "\0\0\0" offset "\0\0\0\1"

static void packages_of_rpm_are_read_as_far_as_they_are_there(void **state)
{
    static const char whole[] = "\0\0\0\4\0\0\0\15" ENTRY("\3\350", "\6", "\0") ENTRY("\3\351", "\6", "\2")
        ENTRY("\3\352", "\6", "\6") ENTRY("\3\353", "\4", "\11") "x\0001.2\0003a\0\0\0\0\7";
    _cleanup_free_ char *line = rpm_line(whole, sizeof(whole) - 1);
    assert_string_equal(line, "x=7:1.2-3a");
    for (size_t n = 0; n < sizeof(whole) - 1; n++) {
        /* Of its own, so that a byte more is seen to be read. */
        _cleanup_free_ char *part = mem_new(n + !n);
        memcpy(part, whole, n);
        _cleanup_free_ char *told = rpm_line(part, n);
        assert_non_null(strstr(told, "is cut"));
    }
    struct packages p = {.kind = PACKAGES_RPM};
    struct err err;
    assert_ok(packages_add_rpm(&p, whole, sizeof(whole) - 1, &err), &err);
    _cleanup_json_ json_t *spdx = packages_spdx(&p, "x", "fedora-41", 0);
    const json_t *one = json_array_get(json_object_get(spdx, "packages"), 1);
    assert_string_equal(json_str(json_array_get(json_object_get(one, "externalRefs"), 0), "referenceLocator"),
                        "pkg:rpm/fedora/x@1.2-3a?arch=all&epoch=7&distro=fedora-41");
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

static struct bakery *bakery_of(const char *text)
{
    struct bakery *b = NULL;
    struct err err;
    assert_ok(bakery_parse("bakery.yaml", text, strlen(text), &b, &err), &err);
    return b;
}

static void images_come_behind_all_that_they_stand_on(void **state)
{
    _cleanup_bakery_ struct bakery *b = bakery_of("images:\n  d: {build: x, on: [b, c]}\n  c: {build: x, on: "
                                                  "[a, 'elsewhere:1']}\n  b: {build: x, on: [a]}\n"
                                                  "  a: {base: busybox}\n  e: {build: x}\n");
    _cleanup_str_ struct str order = STR_INIT;
    for (size_t i = 0; i < b->count; i++)
        str_add(&order, b->images[i].name);
    assert_string_equal(str_get(&order), "abcde");
    assert_true(bakery_stands_on(bakery_find(b, "c"), 0));
    assert_int_equal(bakery_find(b, "c")->stands_on_count, 1);
    assert_false(bakery_stands_on(bakery_find(b, "d"), 0));
    assert_string_equal(bakery_find(b, "e")->tags[0], "latest");
}

static void a_circle_of_any_length_is_told(void **state)
{
    static const char *const circles[] = {
        "images: {a: {build: x, on: [a]}}",
        "images: {a: {build: x, on: [b]}, b: {build: x, on: [c]}, c: {build: x, on: [a]}}"};
    for (size_t i = 0; i < ARRAY_SIZE(circles); i++) {
        struct bakery *b = NULL;
        struct err err;
        assert_int_equal(bakery_parse("f", circles[i], strlen(circles[i]), &b, &err), -ERR_INVALID);
        assert_non_null(strstr(err.msg, "images.a: stands on itself"));
    }
}

static void state_survives_and_tells_what_is_outdated(void **state)
{
    char *dir = scratch_new();
    _cleanup_free_ char *path = str_printf("%s/state", dir);
    _cleanup_json_ json_t *s = NULL, *again = NULL;
    struct err err;
    assert_ok(bakery_state_load(path, &s, &err), &err);
    json_object_set_new(bakery_state_of(s, "base"), "id", json_string("sha256:2"));
    json_object_set_new(bakery_state_of(s, "mid"), "id", json_string("sha256:5"));
    assert_ok(bakery_state_save(path, s, &err), &err);
    assert_ok(bakery_state_load(path, &again, &err), &err);
    assert_true(json_equal(s, again));
    _cleanup_free_ char *old = bakery_outdated(again, "mid@sha256:5 base@sha256:1"),
                        *new = bakery_outdated(again, "base@sha256:2 mid@sha256:5 other@sha256:9"),
                        *odd = bakery_outdated(again, "@ base @@");
    assert_string_equal(old, "base");
    assert_null(new);
    assert_null(odd);
    assert_ok(file_replace(path, "[]", 2, 0644, false, &err), &err);
    json_t *bad = NULL;
    assert_int_equal(bakery_state_load(path, &bad, &err), -ERR_CORRUPT);
    scratch_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(installed_packages_are_read_and_others_are_not),
        cmocka_unit_test(packages_of_rpm_are_read_as_far_as_they_are_there),
        cmocka_unit_test(a_request_is_checked_before_anything_is_made),
        cmocka_unit_test(a_snapshot_is_a_time),
        cmocka_unit_test(images_come_behind_all_that_they_stand_on),
        cmocka_unit_test(a_circle_of_any_length_is_told),
        cmocka_unit_test(state_survives_and_tells_what_is_outdated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
