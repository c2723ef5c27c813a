#include "unit.h"

#include "imagetest/hostrefs.h"
#include "imagetest/imagetest.h"
#include "imagetest/secrets.h"
#include "imagetest/tree.h"
#include "imagetest/utilities.h"

#include <sys/stat.h>

/* --- Secrets --- */

struct caught {
    size_t count;
    char rule[64], fingerprint[SECRET_FINGERPRINT_BYTES];
};

static void catch_secret(void *context, const struct secret_hit *hit)
{
    struct caught *c = context;
    c->count++;
    snprintf(c->rule, sizeof(c->rule), "%s", hit->rule);
    memcpy(c->fingerprint, hit->fingerprint, sizeof(c->fingerprint));
}

static struct caught scan(const char *bytes, size_t n, size_t step, unsigned flags)
{
    struct caught c = {0};
    struct secret_scanner *s = secret_scanner_new(catch_secret, &c);
    secret_scanner_begin(s, flags);
    for (size_t at = 0; at < n; at += step)
        secret_scanner_feed(s, bytes + at, MIN(step, n - at));
    secret_scanner_end(s);
    secret_scanner_free(s);
    return c;
}

/* Put together here, so that no scanner of a repository takes them for somebody's. */
#define NOISE                                                                                                \
    "c3Rh"                                                                                                   \
    "bGxpb24"                                                                                                \
    "MTIzNDU2Nzg5MGFiY2RlZmdoaWprbG1ub3BxcnN0dXZ3eHl6QUJDREVGR0hJSktMTU5PUA"

static void shapes_of_tokens_are_known_and_their_likes_are_not(void **state)
{
    static const struct {
        const char *text, *rule; /* NULL: nothing */
        unsigned flags;
    } cases[] = {
        {"x AKIA"
         "Q3EGVLX7KD2WMNPZ y",
         "aws-access-key"},
        {"AKIA"
         "IOSFODNN7EXAMPLE",
         NULL},
        {"xAKIA"
         "Q3EGVLX7KD2WMNPZ",
         NULL},
        {"AKIA"
         "Q3EGVLX7KD2WMNPZA",
         NULL},
        {"AKIA"
         "AAAAAAAAAAAAAAAA",
         NULL},
        {"ghp_"
         "k7Jq2Lx8Vb4Zt9Wm3Rn6Yp5Hc1Dg0Fs8Aa2B",
         "github-token"},
        {"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
         ".eyJzdWIiOiIxMjM0NTY3ODkwIn0"
         ".dBjftJeZ4CVPmB92K27uhbUJU1p1rwW1gFWFOEjXk",
         "jwt"},
        {"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0", NULL},
        {"-----BEGIN "
         "RSA PRIVATE KEY-----\n" NOISE NOISE "\n",
         "private-key"},
        {"\"-----BEGIN "
         "PRIVATE KEY-----\\n" NOISE "\\n",
         "private-key"},
        {"if (strstr(text, \"-----BEGIN "
         "PRIVATE KEY-----\")) /* a long comment about keys in files */",
         NULL},
        {"-----BEGIN "
         "PUBLIC KEY-----\n" NOISE NOISE,
         NULL},
        {"postgres://app:k7Jq2Lx8@db/x", "url-credentials"},
        {"postgres://app:${PASSWORD}@db/x", NULL},
        {"https://example.com/a:b@c", NULL},
        {"api_key = \"k7Jq2Lx8Vb4Zt9Wm\"", "entropy", SECRET_GUESS},
        {"api_key = \"k7Jq2Lx8Vb4Zt9Wm\"", NULL},
        {"api_key = get_key_from(12)", NULL, SECRET_GUESS},
        {"secret: my-little-secret-word", NULL, SECRET_GUESS},
        {"\"auth\": \"dXNlcjpwYXNzd29yZDEyMw==\"", "entropy", SECRET_GUESS},
        {"root:$6$abcdefgh$0123456789abcdefABCDEF:1:0", "password-hash", SECRET_HASHES},
        {"root:$6$abcdefgh$0123456789abcdefABCDEF:1:0", NULL},
        {"root:*:1:0", NULL, SECRET_HASHES},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct caught c = scan(cases[i].text, strlen(cases[i].text), 4096, cases[i].flags);
        if (c.count != (cases[i].rule ? 1u : 0u) || (cases[i].rule && strcmp(c.rule, cases[i].rule) != 0))
            fail_msg("case %zu: %zu hits, \"%s\" instead of \"%s\"", i, c.count, c.rule,
                     cases[i].rule ? cases[i].rule : "none");
    }
}

static void a_secret_is_found_wherever_the_stream_is_cut(void **state)
{
    static const char token[] = "ghp_"
                                "k7Jq2Lx8Vb4Zt9Wm3Rn6Yp5Hc1Dg0Fs8Aa2B";
    enum { BYTES = 600 * 1024 };
    _cleanup_free_ char *bytes = mem_new(BYTES);
    memset(bytes, ' ', BYTES);
    static const size_t places[] = {
        0, 65536 - 20, 128 * 1024 - 30, 128 * 1024 - 4096, 128 * 1024 - 4097, 256 * 1024, BYTES - 41};
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        memcpy(bytes + places[i], token, strlen(token));
        static const size_t steps[] = {1021, 65536, BYTES};
        for (size_t k = 0; k < ARRAY_SIZE(steps); k++) {
            struct caught c = scan(bytes, BYTES, steps[k], 0);
            if (c.count != 1)
                fail_msg("at %zu in pieces of %zu: %zu hits", places[i], steps[k], c.count);
        }
        memset(bytes + places[i], ' ', strlen(token));
    }
}

static void names_of_variables_tell_what_they_hold(void **state)
{
    assert_true(secret_name("DB_PASSWORD", 11));
    assert_true(secret_name("ApiKey", 6));
    assert_false(secret_name("DB_PASSWORD_FILE", 16));
    assert_false(secret_name("KEYBOARD", 8));
    assert_true(secret_placeholder("", 0));
    assert_true(secret_placeholder("${X}", 4));
    assert_false(secret_placeholder("hunter2", 7));
    assert_true(secret_file_name("root/.netrc"));
    assert_false(secret_file_name("root/netrc"));
}

/* --- Hosts --- */

static void list_hosts(void *context, const struct hostref *ref)
{
    str_addf(context, "%s %s %d;", ref->rule, ref->text, ref->line);
}

static void what_assumes_a_host_is_told_from_what_does_not(void **state)
{
    static const struct {
        bool config;
        const char *text, *wanted;
    } cases[] = {
        {true, "10.1.2.3 8.8.8.8 127.0.0.1 0.0.0.0 255.255.255.0 192.0.2.7",
         "address 10.1.2.3 1;address 8.8.8.8 1;"},
        {true, "v1.2.3.4 1.2.3 1.2.3.4.5 300.1.1.1 10.0.0.0/8", ""},
        {false, "8.8.8.8\nserver 172.16.0.9;", "address 172.16.0.9 2;"},
        {true, "fd00::1 fe80::1 fc00::/7 face", "address fd00::1 1;address fe80::1 1;"},
        {true, "db.internal a.local. local", "host-name db.internal 1;host-name a.local 1;"},
        {false, "import a.internal\nx = http://b.internal:80/ y@c.lan d.lan:25",
         "host-name b.internal 2;host-name c.lan 2;host-name d.lan 2;"},
        {true, "my-builder", "host-name my-builder 1;"},
        {true, "/home/ana/x C:\\data a/home/b /home/ https://x.com/home/y",
         "host-path /home/ana 1;host-path C:\\data 1;"},
        {true, "/lib/modules/x", "host-os /lib/modules/x 1;"},
        {false, "/lib/modules/x\n/lib/modules/6.1.0-9", "host-os /lib/modules/6.1.0-9 2;"},
        {false, "# 10.1.1.1\n  ; 10.1.1.2\nx 10.1.1.3", "address 10.1.1.3 3;"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_str_ struct str found = STR_INIT;
        hostrefs_find(cases[i].text, strlen(cases[i].text), cases[i].config, "my-builder", list_hosts,
                      &found);
        assert_string_equal(str_get(&found), cases[i].wanted);
    }
    assert_true(hostrefs_in_scope("etc/app.conf"));
    assert_false(hostrefs_in_scope("usr/share/doc/x"));
    assert_false(hostrefs_in_scope("app/node_modules/a/b.js"));
    assert_true(hostrefs_in_scope("app/my_node_modules/b.js"));
}

static void programs_are_known_with_versions_and_triplets(void **state)
{
    assert_string_equal(utility_kind("usr/bin/gcc-12"), "compiler");
    assert_string_equal(utility_kind("usr/bin/x86_64-linux-gnu-gcc-12"), "compiler");
    assert_string_equal(utility_kind("bin/sh"), "shell");
    assert_null(utility_kind("usr/bin/my-sh"));
    assert_null(utility_kind("usr/share/bin/sh"));
    assert_null(utility_kind("usr/bin/dir/sh"));
    assert_null(utility_kind("bin/"));
}

/* --- The tree --- */

static void put(struct tree *t, int layer, const char *path, mode_t mode, int64_t size, const char *link)
{
    const struct seen s = {.path = path, .mode = mode, .size = size, .link = link};
    if (tree_is_whiteout(path))
        tree_whiteout(t, &s, layer);
    else
        tree_put(t, &s, layer);
}

static void layers_lie_over_each_other_as_the_specification_says(void **state)
{
    struct tree t;
    tree_init(&t);
    put(&t, 0, "a/b/c", S_IFREG | 0644, 100, NULL);
    put(&t, 0, "a/d", S_IFREG | 0644, 10, NULL);
    put(&t, 0, "e/f", S_IFREG | 0644, 1, NULL);
    put(&t, 0, "g/h", S_IFREG | 0644, 1000, NULL);
    put(&t, 1, "a/.wh.b", S_IFREG, 0, NULL);
    put(&t, 1, "e/.wh..wh..opq", S_IFREG, 0, NULL);
    put(&t, 1, ".wh..wh.aufs", S_IFREG, 0, NULL);
    put(&t, 1, ".wh.nothing", S_IFREG, 0, NULL);
    put(&t, 1, "g", S_IFREG | 0600, 5, NULL); /* a file in a directory's place */
    put(&t, 1, "e/new", S_IFREG | 0644, 7, NULL);
    assert_null(tree_find(&t, "/a/b/c", true));
    assert_null(tree_find(&t, "/a/b", true));
    assert_non_null(tree_find(&t, "/a/d", true));
    assert_null(tree_find(&t, "/e/f", true));
    assert_non_null(tree_find(&t, "/e/new", true));
    assert_null(tree_find(&t, "/g/h", true));
    assert_int_equal(tree_find(&t, "/g", true)->layer, 1);
    assert_int_equal(t.wasted, 1101);
    assert_string_equal(t.worst[0].path, "g/h");
    assert_string_equal(t.worst[1].path, "a/b/c");
    put(&t, 2, "e/new", S_IFREG | 0644, INT64_MAX, NULL);
    put(&t, 3, "e/.wh.new", S_IFREG, 0, NULL);
    assert_int_equal(t.wasted, INT64_MAX);
    tree_done(&t);
}

static void links_are_followed_inside_the_image_and_never_for_ever(void **state)
{
    struct tree t;
    tree_init(&t);
    put(&t, 0, "usr/bin/x", S_IFREG | 0755, 1, NULL);
    put(&t, 0, "bin", S_IFLNK | 0777, 0, "usr/bin");
    put(&t, 0, "abs", S_IFLNK | 0777, 0, "/../../bin/x");
    put(&t, 0, "loop", S_IFLNK | 0777, 0, "./loop");
    put(&t, 0, "grow", S_IFLNK | 0777, 0, "grow/grow/grow/grow");
    assert_string_equal(tree_find(&t, "/bin/x", false)->path, "usr/bin/x");
    assert_string_equal(tree_find(&t, "/bin/../bin/./x", false)->path, "usr/bin/x");
    assert_string_equal(tree_find(&t, "/abs", true)->path, "usr/bin/x");
    assert_string_equal(tree_find(&t, "/abs", false)->path, "abs");
    assert_null(tree_find(&t, "/loop", true));
    assert_null(tree_find(&t, "/loop/x", false));
    assert_null(tree_find(&t, "/grow/x", true));
    tree_done(&t);
}

/* --- checks.yaml --- */

static void ports_may_be_ranges(void **state)
{
    static const char text[] = "ports: [80, 8000-8010, 53/udp]\n";
    _cleanup_checks_ struct image_checks *c = NULL;
    struct err err;
    assert_ok(image_checks_parse("c", text, strlen(text), &c, &err), &err);
    assert_true(image_checks_port(c, "80/tcp"));
    assert_true(image_checks_port(c, "8005/tcp"));
    assert_true(image_checks_port(c, "53/udp"));
    assert_false(image_checks_port(c, "53/tcp"));
    assert_false(image_checks_port(c, "8011/tcp"));
    assert_false(image_checks_port(c, "http"));
}

static void an_empty_file_stands_for_the_defaults(void **state)
{
    _cleanup_checks_ struct image_checks *c = NULL, *d = image_checks_default();
    struct err err;
    assert_ok(image_checks_parse("c", "# none\n", 7, &c, &err), &err);
    assert_int_equal(c->max_layers, d->max_layers);
    assert_false(c->run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_of_tokens_are_known_and_their_likes_are_not),
        cmocka_unit_test(a_secret_is_found_wherever_the_stream_is_cut),
        cmocka_unit_test(names_of_variables_tell_what_they_hold),
        cmocka_unit_test(what_assumes_a_host_is_told_from_what_does_not),
        cmocka_unit_test(programs_are_known_with_versions_and_triplets),
        cmocka_unit_test(layers_lie_over_each_other_as_the_specification_says),
        cmocka_unit_test(links_are_followed_inside_the_image_and_never_for_ever),
        cmocka_unit_test(ports_may_be_ranges),
        cmocka_unit_test(an_empty_file_stands_for_the_defaults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
