#include "base/err.h"
#include "image/image_ref.h"
#include "unit.h"

static void expect(const char *text, const char *normal, const char *familiar)
{
    struct image_ref ref = {0};
    struct err err = {0};
    assert_ok(image_ref_parse(text, &ref, &err), &err);
    char *full = image_ref_format(&ref), *short_form = image_ref_familiar(&ref);
    assert_string_equal(full, normal);
    assert_string_equal(short_form, familiar);
    free(full);
    free(short_form);
    image_ref_done(&ref);
}

static void refuse(const char *text, const char *words)
{
    struct image_ref ref = {0};
    struct err err = {0};
    if (image_ref_parse(text, &ref, &err) != -ERR_INVALID)
        fail_msg("\"%s\" was taken", text);
    if (!strstr(err.msg, words))
        fail_msg("\"%s\": \"%s\" does not say \"%s\"", text, err.msg, words);
}

#define HEX "7a3ebe5bfd1a4a19797d20b0c0bb39d44393e9a03fd852c0865b0f540d868df0"

static void names_are_normalised_and_shown_as_docker_does(void **state)
{
    expect("busybox", "docker.io/library/busybox:latest", "busybox:latest");
    expect("busybox:1.37", "docker.io/library/busybox:1.37", "busybox:1.37");
    expect("user/app", "docker.io/user/app:latest", "user/app:latest");
    expect("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest");
    expect("index.docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest");
    expect("localhost/app", "localhost/app:latest", "localhost/app:latest");
    expect("localhost:5000/app:v1", "localhost:5000/app:v1", "localhost:5000/app:v1");
    expect("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest");
    expect("registry.example.com/a/b/c:x_1.2-3", "registry.example.com/a/b/c:x_1.2-3",
           "registry.example.com/a/b/c:x_1.2-3");
    expect("Upper/app", "Upper/app:latest", "Upper/app:latest");
    expect("a__b/c---d.e", "docker.io/a__b/c---d.e:latest", "a__b/c---d.e:latest");
    expect("busybox@sha256:" HEX, "docker.io/library/busybox@sha256:" HEX, "busybox@sha256:" HEX);
    expect("busybox:1@sha256:" HEX, "docker.io/library/busybox:1@sha256:" HEX, "busybox:1@sha256:" HEX);
}

static void names_that_are_none_are_refused_in_dockers_words(void **state)
{
    refuse("", "invalid reference format");
    refuse("Busybox", "repository name (library/Busybox) must be lowercase");
    refuse(HEX, "cannot specify 64-byte hexadecimal strings");
    static const char *const bad[] = {"-app",
                                      "a/",
                                      "/a",
                                      "a//b",
                                      "a..b",
                                      "a___b",
                                      "app:",
                                      "app:-x",
                                      "app:a/b",
                                      "a b",
                                      "app@",
                                      "x.com:port/app",
                                      "x.com:/app",
                                      "../up",
                                      "app:t t",
                                      "a/../b",
                                      "http://x.com/app"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        refuse(bad[i], "invalid reference format");
    refuse("app@sha256:abc", "is not a digest");
    refuse("app@md5:" HEX, "is not a digest");
    char *tag = str_printf("app:%0129d", 1), *name = str_printf("%0256d", 1);
    refuse(tag, "invalid reference format");
    refuse(name, "more than 255");
    free(tag);
    free(name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_normalised_and_shown_as_docker_does),
        cmocka_unit_test(names_that_are_none_are_refused_in_dockers_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
