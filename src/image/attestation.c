/* Attestations of an image, stored as BuildKit's docs/attestations/attestation-storage.md has them: an image
 * manifest of platform unknown/unknown in the index beside the image's own, each layer an in-toto statement.
 * They are about a manifest, and hold for the image while that is its manifest. */
#include "base/json.h"
#include "image/artifact.h"
#include "image/content.h"
#include "image/image_priv.h"

#define MEDIA_IN_TOTO  "application/vnd.in-toto+json"
#define STATEMENT_TYPE "https://in-toto.io/Statement/v0.1"

/* --- making them --- */

/* in-toto names subjects by package URL; what has no name is "_". */
static json_t *subject_of(const struct image_info *info)
{
    _cleanup_str_ struct str name = STR_INIT;
    _cleanup_free_ char *familiar = info->references ? image_ref_familiar_text(info->references[0]) : NULL;
    char *colon = familiar ? strrchr(familiar, ':') : NULL;
    if (colon) {
        *colon = '\0';
        str_addf(&name, "pkg:docker/%s@%s?platform=%s%%2F%s", familiar, colon + 1,
                 json_str(info->config, "os"), json_str(info->config, "architecture"));
    }
    size_t algorithm = strcspn(info->manifest_digest, ":");
    _cleanup_free_ char *kind = mem_strndup(info->manifest_digest, algorithm);
    return json_pack("[{s:s, s:{s:s}}]", "name", name.len ? str_get(&name) : "_", "digest", kind,
                     digest_hex(info->manifest_digest));
}

static int put_statement(struct images *im, const struct image_info *info, const json_t *made, json_t **ret,
                         struct err *err)
{
    const char *type = json_str(made, "PredicateType");
    _cleanup_json_ json_t *statement =
        json_pack("{s:s, s:s, s:o, s:O}", "_type", STATEMENT_TYPE, "predicateType", type, "subject",
                  subject_of(info), "predicate", json_object_get(made, "Predicate"));
    _cleanup_free_ char *text = json_format(statement);
    int r = artifact_put(im, MEDIA_IN_TOTO, text, ret, err);
    if (r == 0)
        json_object_set_new(*ret, "annotations", json_pack("{s:s}", "in-toto.io/predicate-type", type));
    return r;
}

static int put_config(struct images *im, const json_t *layers, json_t **ret, struct err *err)
{
    json_t *ids = json_array(), *layer;
    size_t i;
    json_array_foreach (layers, i, layer)
        json_array_append(ids, json_object_get(layer, "digest"));
    _cleanup_json_ json_t *config =
        json_pack("{s:s, s:s, s:{}, s:{s:s, s:o}}", "architecture", "unknown", "os", "unknown", "config",
                  "rootfs", "type", "layers", "diff_ids", ids);
    _cleanup_free_ char *text = json_format(config);
    return artifact_put(im, MEDIA_OCI_CONFIG, text, ret, err);
}

static int put_all(struct images *im, const struct image_info *info, const json_t *made, json_t *blobs,
                   json_t **ret, struct err *err)
{
    _cleanup_json_ json_t *layers = json_array(), *config = NULL, *manifest = NULL;
    const json_t *one;
    size_t i;
    json_array_foreach (made, i, one) {
        json_t *layer;
        int r = put_statement(im, info, one, &layer, err);
        if (r < 0)
            return r;
        json_array_append_new(layers, layer);
        json_array_append(blobs, layer);
    }
    int r = put_config(im, layers, &config, err);
    if (r < 0)
        return r;
    json_array_append(blobs, config);
    manifest = json_pack("{s:i, s:s, s:O, s:O}", "schemaVersion", 2, "mediaType", MEDIA_OCI_MANIFEST,
                         "config", config, "layers", layers);
    _cleanup_free_ char *text = json_format(manifest);
    r = artifact_put(im, MEDIA_OCI_MANIFEST, text, ret, err);
    if (r == 0)
        json_array_append(blobs, *ret);
    return r;
}

/* The blobs are the image's, and go with it. */
static int record(struct images *im, const struct image_info *info, const char *manifest, const json_t *blobs,
                  struct err *err)
{
    enum { MAX = 8 };
    struct store_value rows[MAX][2];
    const struct store_value row[] = {STORE_STR(info->id), STORE_STR(info->manifest_digest),
                                      STORE_STR(manifest)};
    struct store_statement s[MAX + 1] = {
        {.sql = "INSERT OR REPLACE INTO image_attestation (image, subject, manifest) VALUES (?, ?, ?)",
         .params = row,
         .param_count = ARRAY_SIZE(row),
         .expect_changes = -1}};
    size_t count = json_array_size(blobs);
    must(count <= MAX);
    for (size_t i = 0; i < count; i++) {
        rows[i][0] = STORE_STR(info->id);
        rows[i][1] = STORE_STR(json_str(json_array_get(blobs, i), "digest"));
        s[i + 1] = (struct store_statement){.sql = "INSERT OR IGNORE INTO image_blob (image, digest)"
                                                   " VALUES (?, ?)",
                                            .params = rows[i],
                                            .param_count = 2,
                                            .expect_changes = -1};
    }
    return store_batch(im->store, s, count + 1, STORE_DURABLE, err);
}

int image_attest(struct images *im, const char *id, const json_t *made, struct err *err)
{
    struct image_info info;
    _cleanup_json_ json_t *blobs = json_array(), *entry = NULL;
    _cleanup_strv_ char **digests = NULL;
    int r = image_get(im, id, &info, err);
    if (r < 0)
        return r;
    content_hold(im);
    r = put_all(im, &info, made, blobs, &entry, err);
    if (r == 0)
        r = record(im, &info, json_str(entry, "digest"), blobs, err);
    const json_t *blob;
    size_t i;
    json_array_foreach (blobs, i, blob)
        strv_add(&digests, json_str(blob, "digest"));
    content_let_go(im, digests);
    image_info_done(&info);
    return r < 0 ? err_wrap(err, "attestations") : 0;
}

int image_attest_nothing(struct images *im, const char *id, struct err *err)
{
    _cleanup_free_ char *manifest = NULL;
    int r =
        image__query_text(im, "SELECT manifest FROM image_attestation WHERE image = ?", id, &manifest, err);
    if (r < 0 || !manifest)
        return r;
    const struct store_value v = store_text(id);
    const struct store_statement s = {.sql = "DELETE FROM image_attestation WHERE image = ?",
                                      .params = &v,
                                      .param_count = 1,
                                      .expect_changes = -1};
    return store_batch(im->store, &s, 1, STORE_DURABLE, err);
}

/* --- reading them --- */

int image__attestation(struct images *im, const struct image_info *info, json_t **ret_entry,
                       json_t **ret_manifest, struct err *err)
{
    _cleanup_free_ char *known = NULL;
    _cleanup_str_ struct str text = STR_INIT;
    *ret_entry = *ret_manifest = NULL;
    int r = image__query_text(im, "SELECT subject || manifest FROM image_attestation WHERE image = ?",
                              info->id, &known, err);
    const char *digest = known ? str_after(known, info->manifest_digest) : NULL;
    if (r < 0 || !digest)
        return r;
    r = image__blob_read(im, digest, &text, err);
    if (r == 0)
        r = json_parse(str_get(&text), text.len, digest, ret_manifest, err);
    if (r < 0)
        return err_wrap(err, "attestations");
    *ret_entry = json_pack("{s:s, s:s, s:I, s:{s:s, s:s}, s:{s:s, s:s}}", "mediaType", MEDIA_OCI_MANIFEST,
                           "digest", digest, "size", (json_int_t)text.len, "annotations",
                           "vnd.docker.reference.digest", info->manifest_digest, "vnd.docker.reference.type",
                           "attestation-manifest", "platform", "architecture", "unknown", "os", "unknown");
    return 0;
}
