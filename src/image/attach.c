/* Documents about an image, beside it in a registry: distribution-spec 1.1, "Listing Referrers". */
#include "base/digest.h"
#include "image/artifact.h"
#include "image/content.h"
#include "image/image_priv.h"
#include "image/registry.h"

#define MEDIA_EMPTY "application/vnd.oci.empty.v1+json"

/* The manifest that is referred to, as it is in the store. */
static int subject_of(struct images *im, const char *digest, json_t **ret, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_json_ json_t *manifest = NULL;
    int r = image__blob_read(im, digest, &text, err);
    if (r == 0)
        r = json_parse(str_get(&text), text.len, digest, &manifest, err);
    if (r < 0)
        return r;
    const char *type = json_str(manifest, "mediaType");
    *ret = json_pack("{s:s, s:s, s:I}", "mediaType", *type ? type : MEDIA_OCI_MANIFEST, "digest", digest,
                     "size", (json_int_t)text.len);
    return 0;
}

/* "Referrers Tag Schema": a registry that does not list referrers has an index under a tag made of the
 * digest, which whoever pushes keeps. */
static int add_to_index(struct registry *registry, struct http_client *client, const char *subject,
                        const json_t *entry, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_json_ json_t *index = NULL;
    _cleanup_free_ char *tag = mem_strdup(subject);
    *strchr(tag, ':') = '-';
    int r = registry_get_manifest(registry, client, tag, tag, &text, &index, err);
    if (r == -ERR_NOT_FOUND)
        index = json_pack("{s:i, s:s, s:[]}", "schemaVersion", 2, "mediaType", MEDIA_OCI_INDEX, "manifests");
    else if (r < 0)
        return r;
    json_t *list = json_object_get(index, "manifests");
    if (!json_is_array(list))
        return err_set(err, ERR_CONFLICT,
                       "the tag %s, which is for an index of referrers, is of something else", tag);
    size_t i;
    const json_t *one;
    json_array_foreach (list, i, one)
        if (str_eq(json_str(one, "digest"), json_str(entry, "digest")))
            return 0;
    json_array_append(list, (json_t *)entry);
    _cleanup_free_ char *formatted = json_format(index);
    str_clear(&text);
    str_add(&text, formatted);
    return registry_put_manifest(registry, client, tag, MEDIA_OCI_INDEX, &text, err);
}

static int list_it(struct images *im, const struct image_ref *ref, const struct image_auth *auth,
                   const char *subject, const json_t *entry, struct err *err)
{
    struct registry *registry = NULL;
    struct http_client *client = NULL;
    struct http_response answer = {0};
    struct http_call call = {.method = "GET"};
    _cleanup_free_ char *path = str_printf("referrers/%s", subject);
    int r = registry_open(ref->domain, ref->path, "pull,push", auth, im, &registry, err);
    if (r == 0)
        r = http_client_new(NULL, &client, err);
    if (r == 0)
        r = registry_call(registry, client, &call, path, &answer, err);
    if (r == 0 && answer.status == 404)
        r = add_to_index(registry, client, subject, entry, err);
    http_response_done(&answer);
    http_client_free(client);
    registry_free(registry);
    return r;
}

static json_t *manifest_of(const char *type, json_t *config, json_t *layer, json_t *subject)
{
    return json_pack("{s:i, s:s, s:s, s:O, s:[O], s:O}", "schemaVersion", 2, "mediaType", MEDIA_OCI_MANIFEST,
                     "artifactType", type, "config", config, "layers", layer, "subject", subject);
}

int artifact_attach(struct images *im, const char *reference, const struct image_auth *auth,
                    const char *manifest_digest, const char *type, const char *document, char ret_digest[],
                    struct err *err)
{
    _cleanup_ref_ struct image_ref ref = {0};
    _cleanup_json_ json_t *subject = NULL, *config = NULL, *layer = NULL, *manifest = NULL, *entry = NULL;
    _cleanup_strv_ char **made = NULL;
    int r = image_ref_parse(reference, &ref, err);
    if (r == 0)
        r = subject_of(im, manifest_digest, &subject, err);
    if (r < 0)
        return r;
    content_hold(im);
    r = artifact_put(im, MEDIA_EMPTY, "{}", &config, err);
    if (r == 0)
        r = artifact_put(im, type, document, &layer, err);
    if (r == 0) {
        _cleanup_free_ char *text = NULL;
        manifest = manifest_of(type, config, layer, subject);
        text = json_format(manifest);
        r = artifact_put(im, MEDIA_OCI_MANIFEST, text, &entry, err);
    }
    const json_t *const all[] = {config, layer, entry};
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        if (all[i])
            strv_add(&made, json_str(all[i], "digest"));
    if (r == 0)
        r = artifact_push_by_digest(im, reference, auth, json_str(entry, "digest"), err);
    _cleanup_free_ char *own = image__own_name(im, &ref);
    if (r == 0)
        json_set_str(entry, "artifactType", type);
    if (r == 0 && (!own || im->own->order == IMAGE_OWN_LAST))
        r = list_it(im, &ref, auth, manifest_digest, entry, err);
    if (r == 0)
        snprintf(ret_digest, DIGEST_BYTES, "%s", json_str(entry, "digest"));
    content_let_go(im, made);
    return r;
}
