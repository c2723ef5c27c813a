/* Images for several platforms as one. */
#include "base/json.h"
#include "image/artifact.h"
#include "image/content.h"
#include "image/image_priv.h"
#include "image/registry.h"

json_t *image__index_entry(struct images *im, const struct image_info *info)
{
    _cleanup_close_ int fd = -EBADF;
    int64_t size = 0;
    image__blob_open(im, info->manifest_digest, &fd, &size, NULL);
    const char *type = json_str(info->manifest, "mediaType"), *variant = json_str(info->config, "variant");
    json_t *entry =
        json_pack("{s:s, s:s, s:I, s:{s:s, s:s}}", "mediaType", *type ? type : MEDIA_OCI_MANIFEST, "digest",
                  info->manifest_digest, "size", (json_int_t)size, "platform", "architecture",
                  json_str(info->config, "architecture"), "os", json_str(info->config, "os"));
    if (*variant)
        json_set_str(json_object_get(entry, "platform"), "variant", variant);
    return entry;
}

static int check_platform(const json_t *list, const json_t *entry, struct err *err)
{
    const json_t *platform = json_object_get(entry, "platform"), *other;
    size_t i;
    json_array_foreach (list, i, other)
        if (json_equal(json_object_get(other, "platform"), platform))
            return err_set(err, ERR_INVALID, "two images are for linux/%s%s%s",
                           json_str(platform, "architecture"), *json_str(platform, "variant") ? "/" : "",
                           json_str(platform, "variant"));
    return 0;
}

int image__index_of(struct images *im, char *const *ids, json_t **ret, struct err *err)
{
    _cleanup_json_ json_t *list = json_array(), *attestations = json_array();
    STRV_FOREACH (id, (char **)ids) {
        struct image_info info;
        int r = image_get(im, *id, &info, err);
        if (r < 0)
            return r;
        _cleanup_json_ json_t *entry = image__index_entry(im, &info), *attestation = NULL, *manifest = NULL;
        r = image__attestation(im, &info, &attestation, &manifest, err);
        image_info_done(&info);
        if (r == 0)
            r = check_platform(list, entry, err);
        if (r < 0)
            return r;
        json_array_append(list, entry);
        if (attestation)
            json_array_append(attestations, attestation);
    }
    json_array_extend(list, attestations); /* behind the images */
    if (json_array_size(list) == 0)
        return err_set(err, ERR_INVALID, "an index of no image");
    *ret = json_pack("{s:i, s:s, s:O}", "schemaVersion", 2, "mediaType", MEDIA_OCI_INDEX, "manifests", list);
    return 0;
}

int image_index_digest(struct images *im, char *const *ids, char **ret_digest, struct err *err)
{
    _cleanup_json_ json_t *index = NULL;
    char digest[DIGEST_BYTES];
    int r = image__index_of(im, ids, &index, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *text = json_format(index);
    digest_of(text, strlen(text), digest);
    *ret_digest = mem_strdup(digest);
    return 0;
}

int image_index_push(struct images *im, char *const *ids, const char *reference,
                     const struct image_auth *auth, char **ret_digest, int64_t *ret_size, struct err *err)
{
    _cleanup_json_ json_t *index = NULL;
    const json_t *entry;
    size_t i;
    char digest[DIGEST_BYTES];
    int r = image__index_of(im, ids, &index, err);
    json_array_foreach (json_object_get(index, "manifests"), i, entry)
        if (r == 0)
            r = artifact_push_by_digest(im, reference, auth, json_str(entry, "digest"), err);
    if (r == 0)
        r = artifact_push(im, reference, auth, index, digest, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *text = json_format(index);
    *ret_digest = mem_strdup(digest);
    *ret_size = (int64_t)strlen(text);
    return 0;
}
