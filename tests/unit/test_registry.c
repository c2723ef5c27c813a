#include "base/digest.h"
#include "base/json.h"
#include "base/timeutil.h"
#include "image/image.h"
#include "registry/manifest.h"
#include "registry/policy.h"
#include "registry/registry.h"
#include "tarball.h"
#include "unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>

#define OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define OCI_INDEX    "application/vnd.oci.image.index.v1+json"

struct place {
    char *dir, *root;
    struct images *im;
    struct registry *r;
};

static void place_open(struct place *p)
{
    struct err err = {0};
    assert_ok(images_open(p->root, &p->im, &err), &err);
    assert_ok(registry_start(p->im, 0, &p->r, &err), &err);
}

static void place_close(struct place *p)
{
    registry_stop(p->r);
    images_close(p->im);
}

static struct place place_new(void)
{
    struct place p = {.dir = scratch_new()};
    p.root = str_printf("%s/images", p.dir);
    place_open(&p);
    return p;
}

static void place_done(struct place *p)
{
    place_close(p);
    free(p->root);
    scratch_remove(p->dir);
}

static int count_files(struct place *p, const char *below)
{
    char *path = str_printf("%s/%s", p->root, below);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    int n = 0;
    for (struct dirent *e; (e = readdir(dir));)
        n += e->d_name[0] != '.';
    closedir(dir);
    free(path);
    return n;
}

#define assert_done(call, e)                                                                                 \
    do {                                                                                                     \
        if ((call) < 0)                                                                                      \
            fail_msg("%s: %s: %s", #call, registry_code_name((e)->code), (e)->cause.msg);                    \
    } while (0)
#define assert_refused(call, e, want)                                                                        \
    do {                                                                                                     \
        assert_true((call) < 0);                                                                             \
        if ((e)->code != (want))                                                                             \
            fail_msg("%s: %s (%s), not %s", #call, registry_code_name((e)->code), (e)->cause.msg,            \
                     registry_code_name(want));                                                              \
    } while (0)

struct source {
    const char *at;
    size_t left, piece;
    bool breaks; /* ends with an error instead of an end */
};

static ssize_t give(void *context, void *buffer, size_t n, struct err *err)
{
    struct source *s = context;
    n = MIN(MIN(n, s->left), s->piece ? s->piece : n);
    if (n == 0)
        return s->breaks ? err_set(err, ERR_CANCELLED, "the client went away") : 0;
    memcpy(buffer, s->at, n);
    s->at += n;
    s->left -= n;
    return (ssize_t)n;
}

static int append(struct place *p, const char *repo, const char *id, int64_t start, const char *text,
                  size_t n, struct registry_err *e)
{
    struct source s = {.at = text, .left = n};
    int64_t size;
    return registry_upload_append(p->r, repo, id, start, (int64_t)n, give, &s, &size, e);
}

static void push_blob(struct place *p, const char *repo, const char *text, size_t n,
                      char digest[DIGEST_BYTES])
{
    struct registry_err e = {0};
    char id[REGISTRY_ID_BYTES];
    digest_of(text, n, digest);
    assert_done(registry_upload_begin(p->r, repo, id, &e), &e);
    assert_done(append(p, repo, id, -1, text, n, &e), &e);
    assert_done(registry_upload_finish(p->r, repo, id, digest, &e), &e);
}

static bool has_blob(struct place *p, const char *repo, const char *digest)
{
    struct registry_err e = {0};
    int fd = -1;
    int64_t size;
    int r = registry_blob_open(p->r, repo, digest, &fd, &size, &e);
    if (r == 0)
        close(fd);
    else
        assert_int_equal(e.code, REGISTRY_BLOB_UNKNOWN);
    return r == 0;
}

/* A manifest of a config and a layer that were pushed, with whatever else. */
static char *manifest_text(const char *config, size_t config_size, const char *layer, size_t layer_size,
                           const char *more)
{
    return str_printf(
        "{\"schemaVersion\":2,\"mediaType\":\"" OCI_MANIFEST "\",\"config\":{\"mediaType\":"
        "\"application/vnd.oci.image.config.v1+json\",\"digest\":\"%s\",\"size\":%zu},\"layers\":"
        "[{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"%s\",\"size\":%zu}]%s}",
        config, config_size, layer, layer_size, more);
}

struct pushed {
    char config[DIGEST_BYTES], layer[DIGEST_BYTES], digest[DIGEST_BYTES], subject[DIGEST_BYTES];
};

static struct pushed push_image(struct place *p, const char *repo, const char *reference, const char *salt,
                                const char *more)
{
    struct pushed made;
    struct registry_err e = {0};
    char *config = str_printf("{\"config of\":\"%s\"}", salt), *layer = str_printf("layer of %s", salt);
    push_blob(p, repo, config, strlen(config), made.config);
    push_blob(p, repo, layer, strlen(layer), made.layer);
    char *text = manifest_text(made.config, strlen(config), made.layer, strlen(layer), more);
    assert_done(registry_manifest_put(p->r, repo, reference, NULL, OCI_MANIFEST, text, strlen(text),
                                      made.digest, made.subject, &e),
                &e);
    free(config);
    free(layer);
    free(text);
    return made;
}

static void names_and_tags_follow_the_specification(void **state)
{
    static const char *const good[] = {"a", "web", "a/b/c", "a.b_c__d-e---f/x9", "0"};
    static const char *const bad[] = {"",   "/",    "a/",  "/a", "a//b", "A",        "a..b", "a___b", "-a",
                                      "a-", "a._b", "a b", "..", "a/.",  "\xc3\xa4", "a:b",  "a@b"};
    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        if (!registry_name_valid(good[i]))
            fail_msg("%s is a name", good[i]);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (registry_name_valid(bad[i]))
            fail_msg("%s is no name", bad[i]);
    char *longest = mem_new(300);
    memset(longest, 'a', 255);
    assert_true(registry_name_valid(longest));
    longest[255] = 'a';
    assert_false(registry_name_valid(longest));
    assert_true(registry_tag_valid("1.4-rc_2"));
    assert_true(registry_tag_valid("_x"));
    assert_false(registry_tag_valid(".x"));
    assert_false(registry_tag_valid("-x"));
    assert_false(registry_tag_valid(""));
    assert_false(registry_tag_valid("a/b"));
    longest[129] = '\0';
    assert_false(registry_tag_valid(longest));
    longest[128] = '\0';
    assert_true(registry_tag_valid(longest));
    free(longest);
}

static void an_upload_in_chunks_is_taken_in_order_only(void **state)
{
    struct place p = place_new();
    struct registry_err e = {0};
    char id[REGISTRY_ID_BYTES], digest[DIGEST_BYTES];
    digest_of("onetwothree", 11, digest);
    assert_done(registry_upload_begin(p.r, "a/b", id, &e), &e);
    assert_done(append(&p, "a/b", id, 0, "one", 3, &e), &e);
    assert_refused(append(&p, "a/b", id, 6, "three", 5, &e), &e, REGISTRY_RANGE_INVALID);
    assert_refused(append(&p, "a/b", id, 0, "one", 3, &e), &e, REGISTRY_RANGE_INVALID);
    int64_t size = 0;
    assert_done(registry_upload_size(p.r, "a/b", id, &size, &e), &e);
    assert_int_equal(size, 3);
    assert_done(append(&p, "a/b", id, 3, "two", 3, &e), &e);
    assert_done(append(&p, "a/b", id, 6, "three", 5, &e), &e);
    assert_false(has_blob(&p, "a/b", digest));
    assert_done(registry_upload_finish(p.r, "a/b", id, digest, &e), &e);
    assert_true(has_blob(&p, "a/b", digest));
    assert_false(has_blob(&p, "a/c", digest));
    assert_refused(registry_upload_size(p.r, "a/b", id, &size, &e), &e, REGISTRY_BLOB_UPLOAD_UNKNOWN);
    assert_int_equal(count_files(&p, "uploads"), 0);
    place_done(&p);
}

static void an_upload_broken_off_anywhere_goes_on_there_even_after_a_restart(void **state)
{
    struct place p = place_new();
    struct registry_err e = {0};
    char id[REGISTRY_ID_BYTES], digest[DIGEST_BYTES];
    enum { N = 4096 };
    char *bytes = mem_new(N);
    for (int i = 0; i < N; i++)
        bytes[i] = (char)(i * 7 + i / 251);
    digest_of(bytes, N, digest);
    assert_done(registry_upload_begin(p.r, "a", id, &e), &e);
    int64_t size = 0;
    unsigned seed = 1;
    for (int round = 0; size < N; round++) {
        size_t piece = (size_t)rand_r(&seed) % 700;
        struct source s = {
            .at = bytes + size, .left = MIN(piece, (size_t)(N - size)), .piece = 100, .breaks = true};
        int64_t expected = size + (int64_t)s.left;
        assert_true(registry_upload_append(p.r, "a", id, size, N - size, give, &s, &size, &e) < 0);
        assert_int_equal(size, expected);
        if (round == 3) {
            place_close(&p);
            place_open(&p);
        }
        assert_done(registry_upload_size(p.r, "a", id, &size, &e), &e);
        assert_int_equal(size, expected);
    }
    assert_done(registry_upload_finish(p.r, "a", id, digest, &e), &e);
    assert_true(has_blob(&p, "a", digest));
    free(bytes);
    place_done(&p);
}

static void a_wrong_digest_stores_nothing(void **state)
{
    struct place p = place_new();
    struct registry_err e = {0};
    char id[REGISTRY_ID_BYTES], wrong[DIGEST_BYTES], real[DIGEST_BYTES];
    digest_of("other", 5, wrong);
    digest_of("this", 4, real);
    assert_done(registry_upload_begin(p.r, "a", id, &e), &e);
    assert_done(append(&p, "a", id, -1, "this", 4, &e), &e);
    assert_refused(registry_upload_finish(p.r, "a", id, "sha256:nonsense", &e), &e, REGISTRY_DIGEST_INVALID);
    assert_refused(registry_upload_finish(p.r, "a", id, wrong, &e), &e, REGISTRY_DIGEST_INVALID);
    assert_non_null(strstr(e.cause.msg, real));
    assert_false(has_blob(&p, "a", wrong));
    assert_false(has_blob(&p, "a", real));
    assert_int_equal(count_files(&p, "uploads"), 0);
    assert_int_equal(count_files(&p, "blobs/sha256"), 0);
    place_done(&p);
}

static void sha512_is_as_good_as_sha256(void **state)
{
    struct place p = place_new();
    struct registry_err e = {0};
    char id[REGISTRY_ID_BYTES], digest[DIGEST_BYTES];
    struct digest_hasher *h = digest_hasher_new("sha512");
    digest_hasher_add(h, "bytes", 5);
    digest_hasher_format(h, digest);
    digest_hasher_free(h);
    assert_done(registry_upload_begin(p.r, "a", id, &e), &e);
    assert_done(append(&p, "a", id, -1, "bytes", 5, &e), &e);
    assert_done(registry_upload_finish(p.r, "a", id, digest, &e), &e);
    assert_true(has_blob(&p, "a", digest));
    place_done(&p);
}

static void one_request_at_a_time_writes_to_an_upload(void **state)
{
    struct place p = place_new();
    struct registry_err e = {0};
    char id[REGISTRY_ID_BYTES];
    assert_done(registry_upload_begin(p.r, "a", id, &e), &e);
    char *path = str_printf("%s/uploads/%s", p.root, id);
    int fd = open(path, O_RDWR | O_CLOEXEC); /* as another request holds it */
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_refused(append(&p, "a", id, -1, "x", 1, &e), &e, REGISTRY_BLOB_UPLOAD_INVALID);
    close(fd);
    assert_done(append(&p, "a", id, -1, "x", 1, &e), &e);
    free(path);
    place_done(&p);
}

static void an_id_of_another_repository_opens_nothing(void **state)
{
    struct place p = place_new();
    struct registry_err e = {0};
    char id[REGISTRY_ID_BYTES];
    assert_done(registry_upload_begin(p.r, "mine", id, &e), &e);
    assert_refused(append(&p, "yours", id, -1, "x", 1, &e), &e, REGISTRY_BLOB_UPLOAD_UNKNOWN);
    static const char *const tricks[] = {"../images.db", "..", "", "/etc/passwd",
                                         "0000000000000000000000000000000000000000000000000000000000000000"};
    for (size_t i = 0; i < ARRAY_SIZE(tricks); i++)
        assert_refused(append(&p, "mine", tricks[i], -1, "x", 1, &e), &e, REGISTRY_BLOB_UPLOAD_UNKNOWN);
    assert_done(registry_upload_cancel(p.r, "mine", id, &e), &e);
    assert_int_equal(count_files(&p, "uploads"), 0);
    place_done(&p);
}

static void a_blob_is_mounted_from_where_it_is(void **state)
{
    struct place p = place_new();
    struct registry_err e = {0};
    char digest[DIGEST_BYTES], other[DIGEST_BYTES];
    push_blob(&p, "from", "content", 7, digest);
    digest_of("absent", 6, other);
    assert_refused(registry_upload_mount(p.r, "to", "elsewhere", digest, &e), &e, REGISTRY_BLOB_UNKNOWN);
    assert_refused(registry_upload_mount(p.r, "to", "from", other, &e), &e, REGISTRY_BLOB_UNKNOWN);
    assert_false(has_blob(&p, "to", digest));
    assert_done(registry_upload_mount(p.r, "to", "from", digest, &e), &e);
    assert_done(registry_upload_mount(p.r, "too", NULL, digest, &e), &e);
    assert_done(registry_blob_delete(p.r, "from", digest, &e), &e);
    assert_true(has_blob(&p, "to", digest));
    assert_done(registry_blob_delete(p.r, "to", digest, &e), &e);
    assert_int_equal(count_files(&p, "blobs/sha256"), 1);
    assert_done(registry_blob_delete(p.r, "too", digest, &e), &e);
    assert_int_equal(count_files(&p, "blobs/sha256"), 0);
    place_done(&p);
}

static void a_manifest_comes_after_what_it_names(void **state)
{
    struct place p = place_new();
    struct registry_err e = {0};
    char config[DIGEST_BYTES], layer[DIGEST_BYTES], digest[DIGEST_BYTES], subject[DIGEST_BYTES];
    push_blob(&p, "a", "{}", 2, config);
    digest_of("layer", 5, layer);
    char *text = manifest_text(config, 2, layer, 5, "");
    assert_refused(
        registry_manifest_put(p.r, "a", "1", NULL, OCI_MANIFEST, text, strlen(text), digest, subject, &e), &e,
        REGISTRY_MANIFEST_BLOB_UNKNOWN);
    assert_non_null(strstr(e.cause.msg, layer));
    push_blob(&p, "b", "layer", 5, layer); /* another repository's does not count */
    assert_refused(
        registry_manifest_put(p.r, "a", "1", NULL, OCI_MANIFEST, text, strlen(text), digest, subject, &e), &e,
        REGISTRY_MANIFEST_BLOB_UNKNOWN);
    push_blob(&p, "a", "layer", 5, layer);
    assert_done(
        registry_manifest_put(p.r, "a", "1", NULL, OCI_MANIFEST, text, strlen(text), digest, subject, &e),
        &e);
    struct registry_manifest m = {0};
    assert_done(registry_manifest_get(p.r, "a", "1", &m, &e), &e);
    assert_string_equal(m.digest, digest);
    assert_string_equal(m.media_type, OCI_MANIFEST);
    assert_int_equal(m.bytes.len, strlen(text));
    assert_memory_equal(m.bytes.data, text, strlen(text));
    registry_manifest_done(&m);
    assert_refused(registry_manifest_get(p.r, "b", digest, &m, &e), &e, REGISTRY_MANIFEST_UNKNOWN);
    assert_refused(registry_manifest_get(p.r, "a", "2", &m, &e), &e, REGISTRY_MANIFEST_UNKNOWN);
    free(text);
    /* A size that lies. */
    text = manifest_text(config, 3, layer, 5, "");
    assert_refused(
        registry_manifest_put(p.r, "a", "2", NULL, OCI_MANIFEST, text, strlen(text), digest, subject, &e), &e,
        REGISTRY_MANIFEST_INVALID);
    free(text);
    place_done(&p);
}

static void what_a_manifest_uses_stays_until_it_goes(void **state)
{
    struct place p = place_new();
    struct registry_err e = {0};
    struct err err = {0};
    struct pushed made = push_image(&p, "a", "1", "x", "");
    assert_refused(registry_blob_delete(p.r, "a", made.layer, &e), &e, REGISTRY_IN_USE);
    int64_t later = time_now_ns() + 7200 * NS_PER_S;
    assert_ok(registry_collect(p.r, later, &err), &err);
    assert_true(has_blob(&p, "a", made.layer));
    assert_done(registry_manifest_delete(p.r, "a", made.digest, false, &e), &e);
    char **tags = NULL;
    bool more;
    assert_done(registry_tags(p.r, "a", NULL, -1, &tags, &more, &e), &e);
    assert_null(tags);
    /* A push that is under way may have asked for it. */
    assert_true(has_blob(&p, "a", made.layer));
    assert_ok(registry_collect(p.r, time_now_ns(), &err), &err);
    assert_true(has_blob(&p, "a", made.layer));
    assert_ok(registry_collect(p.r, later, &err), &err);
    assert_false(has_blob(&p, "a", made.layer));
    assert_int_equal(count_files(&p, "blobs/sha256"), 0);
    place_done(&p);
}

static void a_tag_goes_alone_and_a_manifest_with_its_tags(void **state)
{
    struct place p = place_new();
    struct registry_err e = {0};
    struct registry_manifest m = {0};
    struct pushed made = push_image(&p, "a", "1", "x", "");
    char latest[] = "latest", stable[] = "stable";
    char *again[] = {latest, stable, NULL};
    struct registry_manifest had = {0};
    assert_done(registry_manifest_get(p.r, "a", "1", &had, &e), &e);
    char digest[DIGEST_BYTES], subject[DIGEST_BYTES];
    assert_done(registry_manifest_put(p.r, "a", made.digest, again, OCI_MANIFEST, had.bytes.data,
                                      had.bytes.len, digest, subject, &e),
                &e);
    registry_manifest_done(&had);
    assert_done(registry_manifest_delete(p.r, "a", "latest", false, &e), &e);
    assert_refused(registry_manifest_get(p.r, "a", "latest", &m, &e), &e, REGISTRY_MANIFEST_UNKNOWN);
    assert_refused(registry_manifest_delete(p.r, "a", "latest", false, &e), &e, REGISTRY_MANIFEST_UNKNOWN);
    assert_done(registry_manifest_get(p.r, "a", "stable", &m, &e), &e);
    registry_manifest_done(&m);
    assert_done(registry_manifest_delete(p.r, "a", made.digest, false, &e), &e);
    assert_refused(registry_manifest_get(p.r, "a", "stable", &m, &e), &e, REGISTRY_MANIFEST_UNKNOWN);
    assert_refused(registry_manifest_get(p.r, "a", made.digest, &m, &e), &e, REGISTRY_MANIFEST_UNKNOWN);
    place_done(&p);
}

static void referrers_are_listed_by_subject_and_type(void **state)
{
    struct place p = place_new();
    struct registry_err e = {0};
    struct pushed subject = push_image(&p, "a", "1", "x", "");
    char *more = str_printf(",\"artifactType\":\"text/"
                            "one\",\"annotations\":{\"k\":\"v\"},\"subject\":{\"mediaType\":\"" OCI_MANIFEST
                            "\",\"digest\":\"%s\",\"size\":1}",
                            subject.digest);
    struct pushed one = push_image(&p, "a", "one", "one", more);
    assert_string_equal(one.subject, subject.digest);
    free(more);
    more = str_printf(",\"subject\":{\"mediaType\":\"" OCI_MANIFEST "\",\"digest\":\"%s\",\"size\":1}",
                      subject.digest);
    push_image(&p, "a", "two", "two", more); /* its type is that of its config */
    push_image(&p, "b", "two", "two", more);
    free(more);
    json_t *index = NULL;
    char last[DIGEST_BYTES];
    bool rest;
    assert_done(registry_referrers(p.r, "a", subject.digest, NULL, NULL, &index, last, &rest, &e), &e);
    assert_int_equal(json_array_size(json_object_get(index, "manifests")), 2);
    assert_false(rest);
    json_decref(index);
    assert_done(registry_referrers(p.r, "a", subject.digest, "text/one", NULL, &index, last, &rest, &e), &e);
    json_t *d = json_array_get(json_object_get(index, "manifests"), 0);
    assert_int_equal(json_array_size(json_object_get(index, "manifests")), 1);
    assert_string_equal(json_str(d, "digest"), one.digest);
    assert_string_equal(json_str(d, "artifactType"), "text/one");
    assert_string_equal(json_str(json_object_get(d, "annotations"), "k"), "v");
    json_decref(index);
    assert_done(registry_referrers(p.r, "a", subject.digest, "application/vnd.oci.image.config.v1+json", NULL,
                                   &index, last, &rest, &e),
                &e);
    assert_int_equal(json_array_size(json_object_get(index, "manifests")), 1);
    json_decref(index);
    assert_done(registry_referrers(p.r, "none", subject.digest, NULL, NULL, &index, last, &rest, &e), &e);
    assert_int_equal(json_array_size(json_object_get(index, "manifests")), 0);
    json_decref(index);
    place_done(&p);
}

static void lists_come_in_pages_in_order(void **state)
{
    struct place p = place_new();
    struct registry_err e = {0};
    static const char *const tags[] = {"b", "a", "C", "d.1", "c"};
    for (size_t i = 0; i < ARRAY_SIZE(tags); i++)
        push_image(&p, "a/x", tags[i], "x", "");
    push_image(&p, "z", "1", "x", "");
    char **list = NULL, *joined;
    bool more;
    assert_done(registry_tags(p.r, "a/x", NULL, 3, &list, &more, &e), &e);
    joined = strv_join(list, " ");
    assert_string_equal(joined, "C a b");
    assert_true(more);
    free(joined);
    list = strv_free(list);
    assert_done(registry_tags(p.r, "a/x", "b", 3, &list, &more, &e), &e);
    joined = strv_join(list, " ");
    assert_string_equal(joined, "c d.1");
    assert_false(more);
    free(joined);
    list = strv_free(list);
    assert_done(registry_tags(p.r, "a/x", NULL, 0, &list, &more, &e), &e);
    assert_null(list);
    assert_refused(registry_tags(p.r, "unknown", NULL, -1, &list, &more, &e), &e, REGISTRY_NAME_UNKNOWN);
    assert_done(registry_repositories(p.r, NULL, -1, &list, &more, &e), &e);
    joined = strv_join(list, " ");
    assert_string_equal(joined, "a/x z");
    free(joined);
    strv_free(list);
    place_done(&p);
}

static void manifests_of_any_bytes_are_refused_by_name(void **state)
{
    struct place p = place_new();
    struct registry_err e = {0};
    char config[DIGEST_BYTES], digest[DIGEST_BYTES], subject[DIGEST_BYTES];
    push_blob(&p, "a", "{}", 2, config);
    static const struct {
        const char *text, *type;
        enum registry_code want;
    } wrong[] = {
        {"", OCI_MANIFEST, REGISTRY_MANIFEST_INVALID},
        {"[]", OCI_MANIFEST, REGISTRY_MANIFEST_INVALID},
        {"{", OCI_MANIFEST, REGISTRY_MANIFEST_INVALID},
        {"{}", OCI_MANIFEST, REGISTRY_MANIFEST_INVALID},
        {"{\"schemaVersion\":1,\"fsLayers\":[]}", "application/vnd.docker.distribution.manifest.v1+json",
         REGISTRY_UNSUPPORTED},
        {"{\"schemaVersion\":2,\"layers\":{}}", OCI_MANIFEST, REGISTRY_MANIFEST_INVALID},
        {"{\"schemaVersion\":2,\"layers\":[1]}", OCI_MANIFEST, REGISTRY_MANIFEST_INVALID},
        {"{\"schemaVersion\":2,\"layers\":[{\"digest\":\"sha256:../../x\",\"size\":1}]}", OCI_MANIFEST,
         REGISTRY_DIGEST_INVALID},
        {"{\"schemaVersion\":2,\"mediaType\":\"" OCI_INDEX "\",\"manifests\":[]}", OCI_MANIFEST,
         REGISTRY_MANIFEST_INVALID},
        {"{\"schemaVersion\":2,\"mediaType\":7}", OCI_MANIFEST, REGISTRY_MANIFEST_INVALID},
        {"{\"schemaVersion\":2,\"mediaType\":\"text/x\"}", "text/x", REGISTRY_UNSUPPORTED},
        {"{\"schemaVersion\":2,\"manifests\":[],\"subject\":{\"digest\":\"x\",\"size\":1}}", OCI_INDEX,
         REGISTRY_DIGEST_INVALID},
        {"{\"schemaVersion\":2,\"manifests\":[],\"annotations\":[]}", OCI_INDEX, REGISTRY_MANIFEST_INVALID},
    };
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_refused(registry_manifest_put(p.r, "a", "1", NULL, wrong[i].type, wrong[i].text,
                                             strlen(wrong[i].text), digest, subject, &e),
                       &e, wrong[i].want);
    /* An empty index is one. */
    const char *empty = "{\"schemaVersion\":2,\"manifests\":[]}";
    assert_done(
        registry_manifest_put(p.r, "a", "1", NULL, OCI_INDEX, empty, strlen(empty), digest, subject, &e), &e);
    assert_refused(registry_manifest_put(p.r, "a", "sha256:baddigeststring", NULL, OCI_INDEX, empty,
                                         strlen(empty), digest, subject, &e),
                   &e, REGISTRY_DIGEST_INVALID);
    place_done(&p);
}

static void an_image_of_the_node_is_served_under_its_name(void **state)
{
    if (geteuid() != 0)
        skip();
    struct place p = place_new();
    struct err err = {0};
    struct registry_err e = {0};
    char *path = str_printf("%s/root.tar", p.dir), *id = NULL;
    struct tarball *t = tarball_new(0);
    tarball_file(t, "hello", "world");
    struct str tar = tarball_end(t);
    assert_ok(file_replace(path, tar.data, tar.len, 0600, false, &err), &err);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_ok(image_import(p.im, fd, "web:1.4", NULL, "", NULL, &id, &err), &err);
    close(fd);
    struct registry_manifest m = {0};
    assert_done(registry_manifest_get(p.r, "web", "1.4", &m, &e), &e);
    json_t *document = json_loadb(m.bytes.data, m.bytes.len, 0, NULL);
    const char *config = json_str(json_object_get(document, "config"), "digest");
    assert_string_equal(config, id);
    assert_true(has_blob(&p, "web", config));
    assert_false(has_blob(&p, "other", config));
    struct registry_manifest by_digest = {0};
    assert_done(registry_manifest_get(p.r, "web", m.digest, &by_digest, &e), &e);
    registry_manifest_done(&by_digest);
    assert_refused(registry_manifest_delete(p.r, "web", "1.4", false, &e), &e, REGISTRY_DENIED);
    char **tags = NULL;
    bool more;
    assert_done(registry_tags(p.r, "web", NULL, -1, &tags, &more, &e), &e);
    assert_string_equal(tags[0], "1.4");
    strv_free(tags);
    /* Pushed to another repository by mount, it outlives the image. */
    assert_done(registry_upload_mount(p.r, "copy", "web", config, &e), &e);
    json_t *log = NULL;
    assert_ok(image_remove(p.im, "web:1.4", &(struct image_removal){.force = false}, &log, &err), &err);
    json_decref(log);
    assert_true(has_blob(&p, "copy", config));
    assert_refused(registry_manifest_get(p.r, "web", "1.4", &by_digest, &e), &e, REGISTRY_MANIFEST_UNKNOWN);
    json_decref(document);
    registry_manifest_done(&m);
    str_free(&tar);
    free(path);
    free(id);
    place_done(&p);
}

struct pusher {
    struct place *p;
    int number;
};

static void *push_many(void *argument)
{
    struct pusher *pusher = argument;
    for (int i = 0; i < 30; i++) {
        struct registry_err e = {0};
        char tag[32], salt[32];
        snprintf(tag, sizeof(tag), "t%d-%d", pusher->number, i);
        snprintf(salt, sizeof(salt), "shared %d", i % 3);
        struct pushed made = push_image(pusher->p, "shared", tag, salt, "");
        struct registry_manifest m = {0};
        if (i % 2 && registry_manifest_delete(pusher->p->r, "shared", tag, false, &e) < 0)
            return (void *)"a tag that was pushed could not be deleted";
        if (i % 2 == 0 && registry_manifest_get(pusher->p->r, "shared", tag, &m, &e) < 0)
            return (void *)"a tag that was pushed is not there";
        registry_manifest_done(&m);
        if (!has_blob(pusher->p, "shared", made.layer))
            return (void *)"a layer that was pushed is not there";
    }
    return NULL;
}

static void garbage_is_collected_while_pushes_go_on(void **state)
{
    struct place p = place_new();
    struct err err = {0};
    pthread_t threads[4];
    struct pusher pushers[4];
    for (int i = 0; i < 4; i++) {
        pushers[i] = (struct pusher){&p, i};
        assert_int_equal(pthread_create(&threads[i], NULL, push_many, &pushers[i]), 0);
    }
    for (int i = 0; i < 200; i++)
        assert_ok(registry_collect(p.r, time_now_ns(), &err), &err);
    for (int i = 0; i < 4; i++) {
        void *wrong = NULL;
        pthread_join(threads[i], &wrong);
        if (wrong)
            fail_msg("%s", (char *)wrong);
    }
    place_done(&p);
}

static int try_blob(struct place *p, const char *text, char digest[DIGEST_BYTES], struct registry_err *e)
{
    char id[REGISTRY_ID_BYTES];
    digest_of(text, strlen(text), digest);
    int code = registry_upload_begin(p->r, "hurried", id, e);
    if (code == 0)
        code = append(p, "hurried", id, -1, text, strlen(text), e);
    return code < 0 ? code : registry_upload_finish(p->r, "hurried", id, digest, e);
}

/* The same with a grace so short that uploads and blobs go under the pusher's hands, who then pushes again:
 * what was acknowledged is whole all the same. */
static void *push_hurried(void *argument)
{
    struct pusher *pusher = argument;
    struct place *p = pusher->p;
    long pushed = 0;
    for (int i = 0; i < 100; i++) {
        struct registry_err e = {0};
        char text[64], config[DIGEST_BYTES], layer[DIGEST_BYTES], digest[DIGEST_BYTES], subject[DIGEST_BYTES];
        snprintf(text, sizeof(text), "layer %d", i % 4);
        int code = try_blob(p, "{}", config, &e);
        if (code == 0)
            code = try_blob(p, text, layer, &e);
        char *manifest = manifest_text(config, 2, layer, strlen(text), "");
        if (code == 0)
            code = registry_manifest_put(p->r, "hurried", "t", NULL, OCI_MANIFEST, manifest, strlen(manifest),
                                         digest, subject, &e);
        free(manifest);
        /* The collector may have taken the upload, or have its hand on it just now. */
        if (code < 0 && e.code != REGISTRY_MANIFEST_BLOB_UNKNOWN && e.code != REGISTRY_BLOB_UPLOAD_UNKNOWN &&
            e.code != REGISTRY_BLOB_UPLOAD_INVALID)
            return str_printf("push: %s: %s", registry_code_name(e.code), e.cause.msg);
        if (code < 0)
            continue;
        pushed++;
        int fd = -1;
        int64_t size;
        struct registry_manifest m = {0};
        if (registry_blob_open(p->r, "hurried", layer, &fd, &size, &e) == 0)
            close(fd);
        else if (registry_manifest_get(p->r, "hurried", digest, &m, &e) == 0)
            return mem_strdup("a layer of a manifest that is there is not");
        if (i % 3 == 0)
            registry_manifest_delete(p->r, "hurried", digest, false, &e);
    }
    return pushed ? NULL : mem_strdup("nothing could be pushed");
}

static void what_was_acknowledged_is_whole_however_hurried_the_collector(void **state)
{
    struct place p = place_new();
    struct err err = {0};
    pthread_t threads[3];
    struct pusher pushers[3];
    registry_stop(p.r);
    assert_ok(registry_start(p.im, 1, &p.r, &err), &err); /* a nanosecond */
    for (int i = 0; i < 3; i++) {
        pushers[i] = (struct pusher){&p, i};
        assert_int_equal(pthread_create(&threads[i], NULL, push_hurried, &pushers[i]), 0);
    }
    for (int i = 0; i < 300; i++)
        assert_ok(registry_collect(p.r, time_now_ns(), &err), &err);
    for (int i = 0; i < 3; i++) {
        void *wrong = NULL;
        pthread_join(threads[i], &wrong);
        if (wrong)
            fail_msg("%s", (char *)wrong);
        free(wrong);
    }
    place_done(&p);
}

/* --- policies --- */

static struct registry_rule *rule_of(struct place *p, const char *match)
{
    struct registry_policy *policy = registry_policy_new();
    policy->rules = NEW_N(struct registry_rule, 1);
    policy->rule_count = 1;
    strv_add(&policy->rules[0].match, match);
    registry_policy_set(p->r, policy);
    return &policy->rules[0];
}

static bool has_tag(struct place *p, const char *repo, const char *tag)
{
    struct registry_err e = {0};
    struct registry_manifest m = {0};
    bool has = registry_manifest_get(p->r, repo, tag, &m, &e) == 0;
    registry_manifest_done(&m);
    return has;
}

static void an_immutable_tag_stays_what_it_is(void **state)
{
    struct place p = place_new();
    struct registry_err e = {0};
    struct registry_rule *rule = rule_of(&p, "a");
    strv_add(&rule->immutable, "v*");
    struct pushed one = push_image(&p, "a", "v1", "one", "");
    push_image(&p, "a", "v1", "one", ""); /* the same again is nothing new */
    struct pushed two = push_image(&p, "a", "latest", "two", "");
    push_image(&p, "a", "latest", "one", "");
    struct registry_manifest m = {0};
    assert_done(registry_manifest_get(p.r, "a", two.digest, &m, &e), &e);
    char digest[DIGEST_BYTES], subject[DIGEST_BYTES];
    assert_refused(registry_manifest_put(p.r, "a", "v1", NULL, OCI_MANIFEST, m.bytes.data, m.bytes.len,
                                         digest, subject, &e),
                   &e, REGISTRY_IMMUTABLE);
    char *tags[] = {(char *)"other", (char *)"v1", NULL};
    assert_refused(registry_manifest_put(p.r, "a", two.digest, tags, OCI_MANIFEST, m.bytes.data, m.bytes.len,
                                         digest, subject, &e),
                   &e, REGISTRY_IMMUTABLE);
    assert_false(has_tag(&p, "a", "other")); /* all or nothing */
    registry_manifest_done(&m);
    assert_refused(registry_manifest_delete(p.r, "a", "v1", false, &e), &e, REGISTRY_IMMUTABLE);
    assert_refused(registry_manifest_delete(p.r, "a", one.digest, false, &e), &e, REGISTRY_IMMUTABLE);
    assert_done(registry_manifest_delete(p.r, "a", "latest", false, &e), &e);
    assert_done(registry_manifest_delete(p.r, "a", one.digest, true, &e), &e);
    assert_false(has_tag(&p, "a", "v1"));
    place_done(&p);
}

static size_t retain(struct place *p, int64_t now, bool dry_run)
{
    struct err err = {0};
    json_t *report = NULL;
    assert_ok(registry_retention(p->r, now, dry_run, &report, &err), &err);
    size_t n = json_array_size(report);
    json_decref(report);
    return n;
}

static void retention_keeps_the_newest_the_youngest_and_what_is_kept_for_ever(void **state)
{
    struct place p = place_new();
    struct registry_rule *rule = rule_of(&p, "a");
    static const char *const tags[] = {"one", "two", "three", "four", "kept"};
    for (size_t i = 0; i < ARRAY_SIZE(tags); i++)
        push_image(&p, "a", tags[i], tags[i], "");
    push_image(&p, "b", "old", "old", "");
    strv_add(&rule->keep, "kept");
    rule->keep_count = 2;
    int64_t now = time_now_ns(), later = now + 7200 * NS_PER_S;
    assert_int_equal(retain(&p, now, true), 2);
    assert_true(has_tag(&p, "a", "one"));
    /* A tag beyond the count that is young enough stays. */
    rule->keep_ns = 3600 * NS_PER_S;
    assert_int_equal(retain(&p, now, false), 0);
    /* Two tags, and their manifests. */
    assert_int_equal(retain(&p, later, false), 4);
    assert_false(has_tag(&p, "a", "one"));
    assert_false(has_tag(&p, "a", "two"));
    assert_true(has_tag(&p, "a", "three"));
    assert_true(has_tag(&p, "a", "four"));
    assert_true(has_tag(&p, "a", "kept"));
    assert_true(has_tag(&p, "b", "old"));
    rule->keep_count = 0;
    assert_int_equal(retain(&p, later, false), 4);
    assert_true(has_tag(&p, "a", "kept"));
    assert_int_equal(retain(&p, later, false), 0);
    place_done(&p);
}

static void retention_leaves_what_an_index_or_a_subject_leads_to(void **state)
{
    struct place p = place_new();
    struct registry_err e = {0};
    struct registry_rule *rule = rule_of(&p, "a");
    char digest[DIGEST_BYTES], subject[DIGEST_BYTES];
    struct pushed child = push_image(&p, "a", "child", "child", "");
    char *more = str_printf(",\"subject\":{\"mediaType\":\"" OCI_MANIFEST "\",\"digest\":\"%s\",\"size\":1}",
                            child.digest);
    struct pushed referrer = push_image(&p, "a", "referrer", "referrer", more);
    char *companion = str_printf("sha256-%s.sig", child.digest + 7);
    push_image(&p, "a", companion, "signature", "");
    char *index =
        str_printf("{\"schemaVersion\":2,\"mediaType\":\"" OCI_INDEX
                   "\",\"manifests\":[{\"mediaType\":\"" OCI_MANIFEST "\",\"digest\":\"%s\",\"size\":10}]}",
                   child.digest);
    assert_done(
        registry_manifest_put(p.r, "a", "all", NULL, OCI_INDEX, index, strlen(index), digest, subject, &e),
        &e);
    strv_add(&rule->keep, "all");
    rule->keep_ns = 1;
    int64_t later = time_now_ns() + 7200 * NS_PER_S;
    assert_int_equal(retain(&p, later, false), 2); /* the tags child and referrer alone */
    assert_true(has_tag(&p, "a", child.digest));
    assert_true(has_tag(&p, "a", referrer.digest));
    assert_true(has_tag(&p, "a", companion));
    assert_done(registry_manifest_delete(p.r, "a", "all", false, &e), &e);
    assert_int_equal(retain(&p, later, false), 5); /* four manifests and the companion's tag */
    assert_false(has_tag(&p, "a", child.digest));
    assert_false(has_tag(&p, "a", companion));
    free(index);
    free(companion);
    free(more);
    place_done(&p);
}

static void a_quota_bounds_what_a_repository_has(void **state)
{
    struct place p = place_new();
    struct registry_err e = {0};
    struct registry_rule *rule = rule_of(&p, "**");
    char digest[DIGEST_BYTES], id[REGISTRY_ID_BYTES];
    char *bytes = mem_new(3000);
    rule->quota = 4000;
    push_blob(&p, "a", bytes, 3000, digest);
    assert_done(registry_upload_mount(p.r, "a", NULL, digest, &e), &e); /* again is no more */
    bytes[0] = 1;
    assert_done(registry_upload_begin(p.r, "a", id, &e), &e);
    assert_refused(append(&p, "a", id, -1, bytes, 3000, &e), &e, REGISTRY_DENIED);
    assert_non_null(strstr(e.cause.msg, "quota"));
    assert_done(registry_upload_cancel(p.r, "a", id, &e), &e);
    push_blob(&p, "b", bytes, 3000, digest); /* another repository has its own */
    assert_refused(registry_upload_mount(p.r, "a", "b", digest, &e), &e, REGISTRY_DENIED);
    /* Two that come at the same time do not both get the last room. */
    char one[REGISTRY_ID_BYTES], two[REGISTRY_ID_BYTES], first[DIGEST_BYTES], second[DIGEST_BYTES];
    digest_of(bytes, 900, first);
    digest_of(bytes, 901, second);
    assert_done(registry_upload_begin(p.r, "a", one, &e), &e);
    assert_done(registry_upload_begin(p.r, "a", two, &e), &e);
    assert_done(append(&p, "a", one, -1, bytes, 900, &e), &e);
    assert_done(append(&p, "a", two, -1, bytes, 901, &e), &e);
    assert_done(registry_upload_finish(p.r, "a", one, first, &e), &e);
    assert_refused(registry_upload_finish(p.r, "a", two, second, &e), &e, REGISTRY_DENIED);
    assert_false(has_blob(&p, "a", second));
    assert_done(registry_blob_delete(p.r, "a", first, &e), &e);
    assert_int_equal(count_files(&p, "uploads"), 0);
    push_blob(&p, "a", bytes, 901, second);
    /* Together: what fits the pattern has 3000 + 901 + 3000. */
    struct registry_policy *policy = registry_policy_new();
    policy->quotas = NEW_N(struct registry_quota, 1);
    policy->quota_count = 1;
    strv_add(&policy->quotas[0].match, "*");
    policy->quotas[0].bytes = 7000;
    registry_policy_set(p.r, policy);
    push_blob(&p, "c", bytes, 99, digest);
    assert_refused(registry_upload_mount(p.r, "c", "a", second, &e), &e, REGISTRY_DENIED);
    push_blob(&p, "x/y", bytes, 2000, digest); /* does not fit it */
    free(bytes);
    place_done(&p);
}

/* Pushes until it is killed, writing down each tag once it was acknowledged. */
static void push_until_killed(struct place *p, int told)
{
    for (int i = 0;; i++) {
        char tag[32];
        snprintf(tag, sizeof(tag), "t%d", i);
        push_image(p, "killed", tag, tag, "");
        if (write(told, &i, sizeof(i)) != sizeof(i))
            _exit(1);
    }
}

static void whole(struct place *p, const char *tag)
{
    struct registry_err e = {0};
    struct registry_manifest m = {0};
    assert_done(registry_manifest_get(p->r, "killed", tag, &m, &e), &e);
    char digest[DIGEST_BYTES];
    digest_of(m.bytes.data, m.bytes.len, digest);
    assert_string_equal(digest, m.digest);
    json_t *document = json_loadb(m.bytes.data, m.bytes.len, 0, NULL);
    const char *layer = json_str(json_array_get(json_object_get(document, "layers"), 0), "digest");
    int fd;
    int64_t size;
    assert_done(registry_blob_open(p->r, "killed", layer, &fd, &size, &e), &e);
    struct str bytes = STR_INIT;
    struct err err = {0};
    assert_ok(file_read_fd(fd, 1 << 20, &bytes, &err), &err);
    digest_of(bytes.data, bytes.len, digest);
    assert_string_equal(digest, layer);
    str_free(&bytes);
    close(fd);
    json_decref(document);
    registry_manifest_done(&m);
}

static void every_tag_acknowledged_before_a_kill_is_there_and_whole(void **state)
{
    struct place p = place_new();
    place_close(&p);
    unsigned seed = 20261126;
    print_message("seed %u\n", seed);
    for (int round = 0; round < 8; round++) {
        int told[2];
        assert_int_equal(pipe(told), 0);
        pid_t child = fork();
        if (child == 0) {
            close(told[0]);
            place_open(&p);
            push_until_killed(&p, told[1]);
        }
        close(told[1]);
        int last = -1, want = rand_r(&seed) % 12 + 1;
        for (int got = 0; got < want && read(told[0], &last, sizeof(last)) == sizeof(last); got++)
            ;
        usleep((unsigned)rand_r(&seed) % 3000);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        while (read(told[0], &last, sizeof(last)) == sizeof(last))
            ;
        close(told[0]);
        assert_true(last >= 0);
        place_open(&p);
        for (int i = 0; i <= last; i++) {
            char tag[32];
            snprintf(tag, sizeof(tag), "t%d", i);
            whole(&p, tag);
        }
        place_close(&p);
    }
    place_open(&p);
    struct err err = {0};
    assert_ok(registry_collect(p.r, time_now_ns() + 7200 * NS_PER_S, &err), &err);
    assert_int_equal(count_files(&p, "uploads"), 0);
    place_done(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_tags_follow_the_specification),
        cmocka_unit_test(an_upload_in_chunks_is_taken_in_order_only),
        cmocka_unit_test(an_upload_broken_off_anywhere_goes_on_there_even_after_a_restart),
        cmocka_unit_test(a_wrong_digest_stores_nothing),
        cmocka_unit_test(sha512_is_as_good_as_sha256),
        cmocka_unit_test(one_request_at_a_time_writes_to_an_upload),
        cmocka_unit_test(an_id_of_another_repository_opens_nothing),
        cmocka_unit_test(a_blob_is_mounted_from_where_it_is),
        cmocka_unit_test(a_manifest_comes_after_what_it_names),
        cmocka_unit_test(what_a_manifest_uses_stays_until_it_goes),
        cmocka_unit_test(a_tag_goes_alone_and_a_manifest_with_its_tags),
        cmocka_unit_test(referrers_are_listed_by_subject_and_type),
        cmocka_unit_test(lists_come_in_pages_in_order),
        cmocka_unit_test(manifests_of_any_bytes_are_refused_by_name),
        cmocka_unit_test(an_image_of_the_node_is_served_under_its_name),
        cmocka_unit_test(garbage_is_collected_while_pushes_go_on),
        cmocka_unit_test(what_was_acknowledged_is_whole_however_hurried_the_collector),
        cmocka_unit_test(an_immutable_tag_stays_what_it_is),
        cmocka_unit_test(retention_keeps_the_newest_the_youngest_and_what_is_kept_for_ever),
        cmocka_unit_test(retention_leaves_what_an_index_or_a_subject_leads_to),
        cmocka_unit_test(a_quota_bounds_what_a_repository_has),
        cmocka_unit_test(every_tag_acknowledged_before_a_kill_is_there_and_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
