/* From "all blobs are here" to "the image is here". */
#include "base/file.h"
#include "base/json.h"
#include "base/timeutil.h"
#include "image/image_priv.h"

static int check_descriptor(struct images *im, const json_t *descriptor, const char *what, struct err *err)
{
    const char *digest = json_str(descriptor, "digest");
    if (!digest_valid(digest))
        return err_set(err, ERR_INVALID, "the manifest's %s has no valid digest: \"%.100s\"", what, digest);
    _cleanup_close_ int fd = -EBADF;
    int64_t size, want = json_int(descriptor, "size");
    int r = image__blob_open(im, digest, &fd, &size, err);
    if (r < 0)
        return r;
    if (size == want)
        return 0;
    if (image__blob_verify(im, digest, err) < 0)
        return -ERR_CORRUPT;
    return err_set(err, ERR_INVALID, "the manifest says that %s %s has %lld bytes, but it has %lld", what,
                   digest, (long long)want, (long long)size);
}

int image__layers_of(const json_t *manifest, const json_t *config, struct layer **ret, size_t *ret_count,
                     struct err *err)
{
    const json_t *blobs = json_object_get(manifest, "layers");
    const json_t *diffs = json_object_get(json_object_get(config, "rootfs"), "diff_ids");
    size_t n = json_array_size(diffs);
    if (json_array_size(blobs) != n)
        return err_set(err, ERR_INVALID, "the manifest has %zu layers, but the config has %zu",
                       json_array_size(blobs), n);
    if (n > LAYERS_MAX)
        return err_set(err, ERR_LIMIT, "the image has %zu layers; at most %d are possible", n, LAYERS_MAX);
    _cleanup_free_ struct layer *layers = NEW_N(struct layer, n + 1);
    for (size_t i = 0; i < n; i++) {
        const char *diff = json_string_value(json_array_get(diffs, i));
        const char *blob = json_str(json_array_get(blobs, i), "digest");
        if (!diff || !digest_valid(diff) || !digest_valid(blob))
            return err_set(err, ERR_INVALID, "layer %zu of the image has no valid digest", i + 1);
        memcpy(layers[i].diff_id, diff, strlen(diff) + 1);
        memcpy(layers[i].blob, blob, strlen(blob) + 1);
        image__chain_id(i ? layers[i - 1].chain : NULL, diff, layers[i].chain);
    }
    *ret = take_ptr(layers);
    *ret_count = n;
    return 0;
}

static int load_documents(struct images *im, const char *manifest_digest, json_t **ret_manifest,
                          json_t **ret_config, struct err *err)
{
    _cleanup_json_ json_t *manifest = NULL, *config = NULL;
    int r = image__blob_json(im, manifest_digest, &manifest, err);
    if (r < 0)
        return r;
    const json_t *descriptor = json_object_get(manifest, "config");
    if (json_int(manifest, "schemaVersion") != 2 || !json_is_object(descriptor))
        return err_set(err, ERR_UNSUPPORTED,
                       "manifest %s is not an image manifest of schema version 2 (media type \"%.100s\")",
                       manifest_digest, json_str(manifest, "mediaType"));
    r = check_descriptor(im, descriptor, "config", err);
    if (r == 0)
        r = image__blob_json(im, json_str(descriptor, "digest"), &config, err);
    if (r < 0)
        return r;
    if (!json_is_object(json_object_get(config, "rootfs")))
        return err_set(err, ERR_UNSUPPORTED,
                       "%s is not the config of a container image (media type \"%.100s\")",
                       json_str(descriptor, "digest"), json_str(descriptor, "mediaType"));
    *ret_manifest = take_ptr(manifest);
    *ret_config = take_ptr(config);
    return 0;
}

static int check_layers(struct images *im, const json_t *manifest, struct err *err)
{
    const json_t *layer;
    size_t i;
    json_array_foreach (json_object_get(manifest, "layers"), i, layer) {
        const char *type = json_str(layer, "mediaType");
        if (strstr(type, "foreign") || strstr(type, "nondistributable"))
            return err_set(err, ERR_UNSUPPORTED, "layer %s is of type %.100s, which is not supported",
                           json_str(layer, "digest"), type);
        int r = check_descriptor(im, layer, "layer", err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* --- the database's part --- */

struct batch {
    struct store_statement *statements;
    size_t count, capacity;
    struct store_value *values; /* all statements'; sized before, so that it does not move */
    size_t value_count;
};

static void batch_add(struct batch *b, const char *sql, const struct store_value *v, size_t n)
{
    GROW(b->statements, b->count, b->capacity);
    struct store_value *at = b->values + b->value_count;
    memcpy(at, v, n * sizeof(*v));
    b->value_count += n;
    b->statements[b->count++] =
        (struct store_statement){.sql = sql, .params = at, .param_count = n, .expect_changes = -1};
}

static int64_t created_of(const json_t *config)
{
    int64_t t = 0;
    const char *text = json_str(config, "created");
    if (*text)
        time_parse_rfc3339(text, &t, NULL);
    return t;
}

static int64_t layers_size(struct images *im, const struct layer *layers, size_t count)
{
    int64_t total = 0;
    for (size_t i = 0; i < count; i++) {
        _cleanup_free_ char *dir = NULL;
        int64_t size = 0;
        if (image__layer_find(im, layers[i].chain, &dir, &size, NULL) == 0)
            total += size;
    }
    return total;
}

static int insert_image(struct images *im, const char *id, const char *manifest_digest, const char *parent_id,
                        const json_t *config, const struct layer *layers, size_t count, struct err *err)
{
    struct batch b = {.values = NEW_N(struct store_value, 16 + count * 5)};
    const struct store_value image[] = {STORE_STR(id), STORE_STR(manifest_digest), STORE_STR(parent_id),
                                        STORE_I64(created_of(config)),
                                        STORE_I64(layers_size(im, layers, count))};
    batch_add(
        &b,
        "INSERT INTO image (id, manifest, parent, created, size) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) "
        "DO UPDATE SET manifest = excluded.manifest, size = excluded.size, removed = 0",
        image, ARRAY_SIZE(image));
    const struct store_value just_id[] = {STORE_STR(id)};
    batch_add(&b, "DELETE FROM image_blob WHERE image = ?", just_id, 1);
    batch_add(&b, "DELETE FROM image_attestation WHERE image = ?", just_id, 1);
    const struct store_value own[] = {STORE_STR(id), STORE_STR(manifest_digest), STORE_STR(id),
                                      STORE_STR(id)};
    batch_add(&b, "INSERT INTO image_blob (image, digest) VALUES (?, ?), (?, ?)", own, ARRAY_SIZE(own));
    for (size_t i = 0; i < count; i++) {
        const struct store_value blob[] = {STORE_STR(id), STORE_STR(layers[i].blob)};
        batch_add(&b, "INSERT OR IGNORE INTO image_blob (image, digest) VALUES (?, ?)", blob, 2);
        const struct store_value layer[] = {STORE_STR(id), STORE_I64((int64_t)i), STORE_STR(layers[i].chain)};
        batch_add(&b, "INSERT OR REPLACE INTO image_layer (image, position, chain) VALUES (?, ?, ?)", layer,
                  3);
    }
    int r = store_batch(im->store, b.statements, b.count, STORE_DURABLE, err);
    free(b.statements);
    free(b.values);
    return r;
}

static bool blobs_are_there(struct images *im, const char *id)
{
    _cleanup_strv_ char **blobs = NULL;
    image__query_list(im, "SELECT digest FROM image_blob WHERE image = ?", id, &blobs, NULL);
    STRV_FOREACH (b, blobs) {
        _cleanup_free_ char *path = image__blob_path(im, *b);
        if (!file_exists(path))
            return false;
    }
    return blobs != NULL;
}

bool image__is_complete(struct images *im, const char *id)
{
    _cleanup_free_ char *manifest = NULL;
    return image__query_text(im, "SELECT manifest FROM image WHERE id = ? AND removed = 0", id, &manifest,
                             NULL) == 0 &&
           manifest && blobs_are_there(im, id);
}

/* Is the image known under another manifest whose blobs are all here? Then that one stays. */
static bool known_elsewise(struct images *im, const char *id, const char *manifest_digest)
{
    _cleanup_free_ char *manifest = NULL;
    if (image__query_text(im, "SELECT manifest FROM image WHERE id = ? AND removed = 0", id, &manifest,
                          NULL) < 0 ||
        !manifest)
        return false;
    return !str_eq(manifest, manifest_digest) && blobs_are_there(im, id);
}

static int set_name(struct images *im, const char *sql, const char *name, const char *id, struct err *err)
{
    const struct store_value v[] = {STORE_STR(name), STORE_STR(id)};
    const struct store_statement s = {.sql = sql, .params = v, .param_count = 2, .expect_changes = -1};
    return store_batch(im->store, &s, 1, STORE_DURABLE, err);
}

int image__set_tag(struct images *im, const char *id, const char *reference, struct err *err)
{
    _cleanup_ref_ struct image_ref ref = {0};
    int r = image_ref_parse(reference, &ref, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *familiar = image_ref_familiar(&ref);
    if (str_after(familiar, "sha256:"))
        return err_set(err, ERR_INVALID,
                       "refusing to create an ambiguous tag using digest algorithm as name");
    const struct store_value name[] = {STORE_STR(reference), STORE_STR(id)};
    const struct store_value when[] = {STORE_I64(time_now_ns()), STORE_STR(id)};
    const struct store_statement both[] = {
        {.sql = "INSERT OR REPLACE INTO reference (name, image) VALUES (?, ?)",
         .params = name,
         .param_count = 2,
         .expect_changes = -1},
        {.sql = "UPDATE image SET tagged = ? WHERE id = ?",
         .params = when,
         .param_count = 2,
         .expect_changes = -1},
    };
    return store_batch(im->store, both, ARRAY_SIZE(both), STORE_DURABLE, err);
}

int image__set_parent(struct images *im, const char *id, const char *parent_id, struct err *err)
{
    const struct store_value v[] = {STORE_STR(parent_id), STORE_STR(id)};
    const struct store_statement one = {
        .sql = "UPDATE image SET parent = ? WHERE id = ? AND coalesce(parent, '') = ''",
        .params = v,
        .param_count = 2,
        .expect_changes = -1};
    return store_batch(im->store, &one, 1, STORE_DURABLE, err);
}

int image__add_digest(struct images *im, const char *image_id, const char *repo_digest, struct err *err)
{
    return set_name(im, "INSERT OR REPLACE INTO repo_digest (name, image) VALUES (?, ?)", repo_digest,
                    image_id, err);
}

int image__install(struct images *im, const char *manifest_digest, const json_t *manifest,
                   const char *config_digest, const json_t *config, const char *parent_id,
                   const struct image_progress *p, char **ret_id, struct err *err)
{
    _cleanup_free_ struct layer *layers = NULL;
    size_t count = 0;
    int r = image__layers_of(manifest, config, &layers, &count, err);
    if (r == 0)
        r = check_layers(im, manifest, err);
    if (r == 0)
        r = image__layers_unpack(im, layers, count, p, err);
    if (r == 0 && !known_elsewise(im, config_digest, manifest_digest))
        r = insert_image(im, config_digest, manifest_digest, parent_id, config, layers, count, err);
    _cleanup_strv_ char **blobs = NULL, **chains = NULL;
    strv_add(&blobs, manifest_digest);
    strv_add(&blobs, config_digest);
    for (size_t i = count; i-- > 0;) {
        strv_add(&blobs, layers[i].blob);
        strv_add(&chains, layers[i].chain);
        image__unpin(im, layers[i].chain);
    }
    /* What a refused image brought goes again; what others use stays. */
    image__hold(im);
    image__let_go(im, blobs);
    if (r < 0) {
        image__layer_sweep(im, chains, NULL, NULL);
        return r;
    }
    *ret_id = mem_strdup(config_digest);
    return 0;
}

int image__ingest(struct images *im, const char *manifest_digest, const char *tag_reference,
                  const char *digest_reference, const struct image_progress *p, char **ret_id,
                  struct err *err)
{
    _cleanup_json_ json_t *manifest = NULL, *config = NULL;
    _cleanup_free_ char *id = NULL;
    int r = load_documents(im, manifest_digest, &manifest, &config, err);
    if (r == 0)
        r = image__install(im, manifest_digest, manifest,
                           json_str(json_object_get(manifest, "config"), "digest"), config, NULL, p, &id,
                           err);
    if (r == 0 && tag_reference)
        r = image__set_tag(im, id, tag_reference, err);
    if (r == 0 && digest_reference)
        r = image__add_digest(im, id, digest_reference, err);
    if (r == 0)
        *ret_id = take_ptr(id);
    return r;
}

int image_annotate(struct images *im, const char *id, const json_t *annotations, struct err *err)
{
    struct image_info info;
    struct layer *layers = NULL;
    size_t count = 0;
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)annotations, key, value)
        if (!json_is_string(value))
            return err_set(err, ERR_INVALID, "annotation %.100s: it must be a text", key);
    int r = image_get(im, id, &info, err);
    if (r < 0)
        return r;
    _cleanup_json_ json_t *manifest = json_deep_copy(info.manifest), *all = json_object();
    json_object_update(all, json_object_get(manifest, "annotations"));
    json_object_update(all, (json_t *)annotations);
    json_object_set(manifest, "annotations", all);
    _cleanup_free_ char *text = json_format(manifest);
    char digest[DIGEST_BYTES];
    r = image__layers_of(manifest, info.config, &layers, &count, err);
    if (r == 0)
        r = image__blob_put(im, text, strlen(text), digest, err);
    if (r == 0)
        r = insert_image(im, info.id, digest, info.parent_id, info.config, layers, count, err);
    if (r == 0)
        image__unpin(im, digest);
    char *before[] = {info.manifest_digest, NULL};
    if (r == 0 && !str_eq(info.manifest_digest, digest))
        image__blob_sweep(im, before, NULL);
    free(layers);
    image_info_done(&info);
    return r;
}

static const char *layer_media_type(struct images *im, const char *digest)
{
    unsigned char head[4] = {0};
    _cleanup_close_ int fd = -EBADF;
    int64_t size;
    if (image__blob_open(im, digest, &fd, &size, NULL) < 0 ||
        file_read_full(fd, head, sizeof(head), NULL) < 0)
        return MEDIA_OCI_LAYER;
    if (head[0] == 0x1f && head[1] == 0x8b)
        return MEDIA_OCI_LAYER "+gzip";
    if (memcmp(head, "\x28\xb5\x2f\xfd", 4) == 0)
        return MEDIA_OCI_LAYER "+zstd";
    return MEDIA_OCI_LAYER;
}

static json_t *descriptor_of(struct images *im, const char *media_type, const char *digest)
{
    _cleanup_close_ int fd = -EBADF;
    int64_t size = 0;
    image__blob_open(im, digest, &fd, &size, NULL);
    return json_pack("{s:s, s:s, s:I}", "mediaType", media_type, "digest", digest, "size", (json_int_t)size);
}

int image__make_manifest(struct images *im, const char *config_digest, char *const *layer_digests,
                         char ret_manifest_digest[DIGEST_BYTES], struct err *err)
{
    _cleanup_json_ json_t *layers = json_array();
    for (char *const *d = layer_digests; d && *d; d++)
        json_array_append_new(layers, descriptor_of(im, layer_media_type(im, *d), *d));
    _cleanup_json_ json_t *manifest =
        json_pack("{s:i, s:s, s:o, s:O}", "schemaVersion", 2, "mediaType", MEDIA_OCI_MANIFEST, "config",
                  descriptor_of(im, MEDIA_OCI_CONFIG, config_digest), "layers", layers);
    _cleanup_free_ char *text = json_format(manifest);
    return image__blob_put(im, text, strlen(text), ret_manifest_digest, err);
}
