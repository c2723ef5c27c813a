#include "image/artifact.h"

#include "base/digest.h"
#include "base/file.h"
#include "base/json.h"
#include "image/content.h"
#include "image/image_priv.h"
#include "image/image_ref.h"
#include "image/registry.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define REF_NAME "org.opencontainers.image.ref.name"

/* Where its blobs are: in a registry, in a directory, else in the store already. */
struct artifact {
    struct images *images;
    struct registry *registry;
    int dir_fd;
    json_t *manifest;
};

void artifact_free(struct artifact *a)
{
    if (!a)
        return;
    registry_free(a->registry);
    close_fd(a->dir_fd);
    json_decref(a->manifest);
    free(a);
}

const json_t *artifact_manifest(const struct artifact *a)
{
    return a->manifest;
}

static struct artifact *artifact_new(struct images *im)
{
    struct artifact *a = NEW(struct artifact);
    a->images = im;
    a->dir_fd = -EBADF;
    return a;
}

static int check_descriptor(const json_t *d, const char **ret_digest, int64_t *ret_size, struct err *err)
{
    const char *digest = json_str(d, "digest");
    int64_t size = json_is_integer(json_object_get(d, "size")) ? json_int(d, "size") : -1;
    if (!digest_valid(digest) || size < 0)
        return err_set(err, ERR_INVALID, "a descriptor without a valid digest and size");
    *ret_digest = digest;
    *ret_size = size;
    return 0;
}

/* --- reading --- */

static char *blob_name(const char *digest)
{
    return str_printf("blobs/%.*s/%s", (int)strcspn(digest, ":"), digest, digest_hex(digest));
}

typedef int (*take_fn)(void *context, const void *bytes, size_t n, struct err *err);

static int read_layout_blob(struct artifact *a, const char *digest, take_fn take, void *context,
                            struct err *err)
{
    enum { CHUNK = 256 << 10 };
    _cleanup_free_ char *name = blob_name(digest), *buffer = mem_new(CHUNK);
    _cleanup_close_ int fd = file_open_in_root(a->dir_fd, name, O_RDONLY | O_NONBLOCK, 0, err);
    ssize_t n = fd < 0 ? fd : 1;
    int r = 0;
    while (r == 0 && n > 0 && (n = file_read_full(fd, buffer, CHUNK, err)) > 0)
        r = take(context, buffer, (size_t)n, err);
    return n < 0 ? (int)n : r;
}

static int read_registry_blob(struct artifact *a, const char *digest, take_fn take, void *context,
                              struct err *err)
{
    struct http_client *client;
    int r = http_client_new(NULL, &client, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *path = str_printf("blobs/%s", digest);
    struct http_call call = {.method = "GET", .sink = take, .sink_context = context};
    struct http_response answer = {0};
    r = registry_call(a->registry, client, &call, path, &answer, err);
    if (r == 0 && answer.status != 200)
        r = registry_answer_err(&answer, path, err);
    http_response_done(&answer);
    http_client_free(client);
    return r;
}

static int write_blob(void *context, const void *bytes, size_t n, struct err *err)
{
    return image__blob_write(context, bytes, n, err);
}

int artifact_blob(struct artifact *a, const json_t *descriptor, struct err *err)
{
    const char *digest;
    int64_t size;
    int r = check_descriptor(descriptor, &digest, &size, err);
    if (r < 0 || image__blob_has(a->images, digest))
        return r;
    if (!a->registry && a->dir_fd < 0)
        return err_set(err, ERR_NOT_FOUND, "blob %s is not in this node's registry", digest);
    struct blob_writer *w;
    r = image__blob_begin(a->images, digest, size, &w, err);
    if (r < 0)
        return r;
    r = a->registry ? read_registry_blob(a, digest, write_blob, w, err)
                    : read_layout_blob(a, digest, write_blob, w, err);
    if (r < 0) {
        image__blob_abort(w);
        return r;
    }
    char got[DIGEST_BYTES];
    return image__blob_commit(w, got, err);
}

struct document {
    struct str *text;
    size_t size;
};

static int add_text(void *context, const void *bytes, size_t n, struct err *err)
{
    struct document *d = context;
    if (n > d->size - d->text->len)
        return err_set(err, ERR_CORRUPT, "more than the %zu bytes that were announced", d->size);
    str_addn(d->text, bytes, n);
    return 0;
}

static int check_text(const char *digest, const struct str *text, struct err *err)
{
    char got[DIGEST_BYTES];
    _cleanup_hasher_ struct digest_hasher *h = digest_hasher_new(digest);
    digest_hasher_add(h, str_get(text), text->len);
    digest_hasher_format(h, got);
    return str_eq(got, digest) ? 0 : err_set(err, ERR_CORRUPT, "%s has the digest %s", digest, got);
}

int artifact_document(struct artifact *a, const json_t *descriptor, struct str *ret, struct err *err)
{
    const char *digest;
    int64_t size;
    int r = check_descriptor(descriptor, &digest, &size, err);
    if (r == 0 && size > DOCUMENT_MAX_BYTES)
        r = err_set(err, ERR_LIMIT, "%s is larger than %d bytes", digest, DOCUMENT_MAX_BYTES);
    if (r < 0)
        return r;
    if (!a->registry && a->dir_fd < 0)
        return image__blob_read(a->images, digest, ret, err);
    _cleanup_str_ struct str text = STR_INIT;
    struct document d = {&text, (size_t)size};
    r = a->registry ? read_registry_blob(a, digest, add_text, &d, err)
                    : read_layout_blob(a, digest, add_text, &d, err);
    if (r == 0)
        r = check_text(digest, &text, err);
    if (r < 0)
        return r;
    str_addn(ret, str_get(&text), text.len);
    return 0;
}

/* --- opening --- */

/* A document that is a manifest, or an index that leads to one. */
static int take_manifest(struct artifact *a, json_t *document, const char *platform,
                         int (*get)(struct artifact *a, const char *digest, json_t **ret, struct err *err),
                         struct err *err)
{
    _cleanup_json_ json_t *top = document;
    if (json_is_array(json_object_get(top, "manifests"))) {
        _cleanup_free_ char *chosen = NULL;
        int r = image__choose_platform(top, platform, &chosen, err);
        json_decref(take_ptr(top));
        if (r == 0)
            r = get(a, chosen, &top, err);
        if (r < 0)
            return r;
    }
    if (!json_is_array(json_object_get(top, "layers")) || !json_is_object(json_object_get(top, "config")))
        return err_set(err, ERR_INVALID, "what is there is not a manifest with a config and layers");
    a->manifest = take_ptr(top);
    return 0;
}

static int get_from_registry(struct artifact *a, const char *reference, json_t **ret, struct err *err)
{
    struct http_client *client;
    int r = http_client_new(NULL, &client, err);
    if (r < 0)
        return r;
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_json_ json_t *document = NULL;
    r = registry_get_manifest(a->registry, client, reference, reference, &text, &document, err);
    http_client_free(client);
    if (r == 0 && digest_valid(reference))
        r = check_text(reference, &text, err);
    if (r == 0)
        *ret = take_ptr(document);
    return r;
}

static int get_from_store(struct artifact *a, const char *digest, json_t **ret, struct err *err)
{
    return image__blob_json(a->images, digest, ret, err);
}

struct opening {
    struct artifact *artifact;
    const struct image_ref *ref;
    const char *platform;
    const struct image_auth *auth;
};

static int open_own(void *context, struct err *err)
{
    struct opening *o = context;
    char digest[DIGEST_BYTES];
    json_t *document = NULL;
    int r = image__own_find(o->artifact->images, o->ref, digest, err);
    if (r == 0)
        r = get_from_store(o->artifact, digest, &document, err);
    return r < 0 ? r : take_manifest(o->artifact, document, o->platform, get_from_store, err);
}

static int open_remote(void *context, struct err *err)
{
    struct opening *o = context;
    struct artifact *a = o->artifact;
    json_t *document = NULL;
    int r = registry_open(o->ref->domain, o->ref->path, "pull", o->auth, a->images, &a->registry, err);
    if (r == 0)
        r = get_from_registry(a, o->ref->digest ? o->ref->digest : o->ref->tag, &document, err);
    if (r == 0)
        r = take_manifest(a, document, o->platform, get_from_registry, err);
    if (r < 0) {
        registry_free(a->registry);
        a->registry = NULL;
    }
    return r;
}

int artifact_open(struct images *im, const char *reference, const char *platform,
                  const struct image_auth *auth, struct artifact **ret, struct err *err)
{
    _cleanup_ref_ struct image_ref ref = {0};
    int r = image_ref_parse(reference, &ref, err);
    if (r < 0)
        return r;
    _cleanup_artifact_ struct artifact *a = artifact_new(im);
    struct opening o = {a, &ref, platform, auth};
    r = image__own_or_remote(im, &ref, open_own, open_remote, &o, err);
    if (r == 0)
        *ret = take_ptr(a);
    return r;
}

static int get_from_layout(struct artifact *a, const char *digest, json_t **ret, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    struct document d = {&text, DOCUMENT_MAX_BYTES};
    int r = digest_valid(digest) ? read_layout_blob(a, digest, add_text, &d, err)
                                 : err_set(err, ERR_INVALID, "\"%.100s\" is no digest", digest);
    if (r == 0)
        r = check_text(digest, &text, err);
    return r < 0 ? r : json_parse(str_get(&text), text.len, digest, ret, err);
}

static json_t *find_tag(const json_t *index, const char *tag, size_t *ret_at)
{
    size_t i;
    json_t *entry;
    json_array_foreach (json_object_get(index, "manifests"), i, entry)
        if (str_eq(json_str(json_object_get(entry, "annotations"), REF_NAME), tag)) {
            *ret_at = i;
            return entry;
        }
    return NULL;
}

static int read_index(int dir_fd, json_t **ret, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_close_ int fd = file_open_in_root(dir_fd, "index.json", O_RDONLY | O_NONBLOCK, 0, err);
    int r = fd < 0 ? fd : file_read_fd(fd, DOCUMENT_MAX_BYTES, &text, err);
    return r < 0 ? r : json_parse(str_get(&text), text.len, "index.json", ret, err);
}

int artifact_open_layout(struct images *im, const char *dir, const char *name, struct artifact **ret,
                         struct err *err)
{
    _cleanup_artifact_ struct artifact *a = artifact_new(im);
    _cleanup_json_ json_t *index = NULL;
    json_t *manifest = NULL;
    a->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (a->dir_fd < 0)
        return err_sys(err, errno, "open %s", dir);
    size_t at;
    int r = digest_valid(name) ? 0 : read_index(a->dir_fd, &index, err);
    const json_t *entry = index ? find_tag(index, name, &at) : NULL;
    if (r == 0 && !entry && !digest_valid(name))
        r = err_set(err, ERR_NOT_FOUND, "the OCI layout has nothing with the name \"%.100s\"", name);
    if (r == 0)
        r = get_from_layout(a, entry ? json_str(entry, "digest") : name, &manifest, err);
    if (r == 0)
        r = take_manifest(a, manifest, NULL, get_from_layout, err);
    if (r == 0)
        *ret = take_ptr(a);
    return r;
}

/* --- writing --- */

int artifact_put(struct images *im, const char *media_type, const char *text, json_t **ret, struct err *err)
{
    char digest[DIGEST_BYTES];
    int r = image__blob_put(im, text, strlen(text), digest, err);
    if (r == 0)
        *ret = json_pack("{s:s, s:s, s:I}", "mediaType", media_type, "digest", digest, "size",
                         (json_int_t)strlen(text));
    return r;
}

struct pushing {
    struct images *images;
    struct registry *registry;
};

static int push_one(void *context, struct http_client *client, const json_t *descriptor, struct err *err)
{
    const struct pushing *p = context;
    return registry_push_blob(p->registry, client, p->images, json_str(descriptor, "digest"), NULL, 0, err);
}

/* Blobs, if it has some, and then the document under a tag or its digest. */
static int push_remote(struct images *im, const struct image_ref *ref, const char *name,
                       const struct image_auth *auth, const json_t *manifest, const struct str *text,
                       struct err *err)
{
    struct pushing p = {.images = im};
    struct http_client *client = NULL;
    const json_t *layers = json_object_get(manifest, "layers");
    _cleanup_json_ json_t *blobs = layers ? json_copy((json_t *)layers) : json_array();
    if (layers)
        json_array_append(blobs, json_object_get(manifest, "config"));
    int r = registry_open(ref->domain, ref->path, "pull,push", auth, im, &p.registry, err);
    if (r == 0)
        r = registry_for_each(blobs, push_one, &p, err);
    if (r == 0)
        r = http_client_new(NULL, &client, err);
    const char *type = json_str(manifest, "mediaType");
    if (r == 0)
        r = registry_put_manifest(p.registry, client, name, *type ? type : MEDIA_OCI_MANIFEST, text, err);
    http_client_free(client);
    registry_free(p.registry);
    return r;
}

static int push_own(struct images *im, const char *repository, const char *name, const struct str *text,
                    struct err *err)
{
    char digest[DIGEST_BYTES];
    content_hold(im);
    int r = image__blob_put(im, str_get(text), text->len, digest, err);
    if (r == 0)
        r = im->own->push(im->own->context, repository, name, digest, err);
    content_let_go(im, r == 0 ? (char *[]){digest, NULL} : NULL);
    return r;
}

/* `name` NULL: the reference's tag. */
static int push(struct images *im, const char *reference, const char *name, const struct image_auth *auth,
                const json_t *manifest, const struct str *text, struct err *err)
{
    _cleanup_ref_ struct image_ref ref = {0};
    int r = image_ref_parse(reference, &ref, err);
    if (r == 0 && ref.digest)
        r = err_set(err, ERR_INVALID, "%s: what is pushed needs a tag, not a digest", reference);
    if (r < 0)
        return r;
    _cleanup_free_ char *own = image__own_name(im, &ref);
    name = name ? name : ref.tag;
    return own && im->own->order != IMAGE_OWN_LAST ? push_own(im, own, name, text, err)
                                                   : push_remote(im, &ref, name, auth, manifest, text, err);
}

int artifact_push(struct images *im, const char *reference, const struct image_auth *auth,
                  const json_t *manifest, char ret_digest[], struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_free_ char *formatted = json_format(manifest);
    str_add(&text, formatted);
    int r = push(im, reference, NULL, auth, manifest, &text, err);
    if (r == 0)
        digest_of(str_get(&text), text.len, ret_digest);
    return r;
}

int artifact_push_by_digest(struct images *im, const char *reference, const struct image_auth *auth,
                            const char *manifest_digest, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_json_ json_t *manifest = NULL;
    int r = image__blob_read(im, manifest_digest, &text, err);
    if (r == 0)
        r = json_parse(str_get(&text), text.len, manifest_digest, &manifest, err);
    return r < 0 ? r : push(im, reference, manifest_digest, auth, manifest, &text, err);
}

static int link_blob(struct images *im, const char *dir, const json_t *descriptor, struct err *err)
{
    const char *digest = json_str(descriptor, "digest");
    _cleanup_free_ char *name = blob_name(digest), *to = str_printf("%s/%s", dir, name),
                        *from = image__blob_path(im, digest);
    return link(from, to) < 0 && errno != EEXIST ? err_sys(err, errno, "write %s", to) : 0;
}

static int write_index(const char *dir, const char *tag, json_t *entry, struct err *err)
{
    _cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_json_ json_t *index = NULL, *fresh = entry;
    size_t at;
    if (fd < 0)
        return err_sys(err, errno, "open %s", dir);
    int r = read_index(fd, &index, err);
    if (r == -ERR_NOT_FOUND)
        index = json_pack("{s:i, s:s, s:[]}", "schemaVersion", 2, "mediaType", MEDIA_OCI_INDEX, "manifests");
    else if (r < 0)
        return r;
    json_t *list = json_object_get(index, "manifests");
    if (find_tag(index, tag, &at))
        json_array_remove(list, at);
    json_array_append(list, fresh);
    _cleanup_free_ char *text = json_format(index), *path = str_printf("%s/index.json", dir);
    return file_replace(path, text, strlen(text), 0644, false, err);
}

int artifact_write_layout(struct images *im, const char *dir, const char *tag, const json_t *manifest,
                          char ret_digest[], struct err *err)
{
    static const char layout[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
    _cleanup_free_ char *blobs = str_printf("%s/blobs/sha256", dir), *mark = str_printf("%s/oci-layout", dir),
                        *text = json_format(manifest);
    digest_of(text, strlen(text), ret_digest);
    _cleanup_free_ char *name = blob_name(ret_digest), *path = str_printf("%s/%s", dir, name);
    int r = file_mkdirs(blobs, 0755, err);
    if (r == 0)
        r = link_blob(im, dir, json_object_get(manifest, "config"), err);
    size_t i;
    const json_t *layer;
    json_array_foreach (json_object_get(manifest, "layers"), i, layer)
        if (r == 0)
            r = link_blob(im, dir, layer, err);
    if (r == 0)
        r = file_replace(path, text, strlen(text), 0644, false, err);
    if (r == 0)
        r = file_replace(mark, layout, strlen(layout), 0644, false, err);
    return r < 0 ? r
                 : write_index(dir, tag,
                               json_pack("{s:s, s:s, s:I, s:{s:s}}", "mediaType",
                                         json_str(manifest, "mediaType"), "digest", ret_digest, "size",
                                         (json_int_t)strlen(text), "annotations", REF_NAME, tag),
                               err);
}
