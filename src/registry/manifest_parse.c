#include "base/json.h"
#include "registry/manifest.h"
#include "registry/registry_priv.h"

/* The forms that are stored, and the member that tells each when nothing names it. */
static const struct {
    const char *media_type, *member;
} forms[] = {
    {"application/vnd.oci.image.manifest.v1+json", "layers"},
    {"application/vnd.oci.image.index.v1+json", "manifests"},
    {"application/vnd.docker.distribution.manifest.v2+json", "layers"},
    {"application/vnd.docker.distribution.manifest.list.v2+json", "manifests"},
    {"application/vnd.oci.artifact.manifest.v1+json", "blobs"},
};

static int form_of(const char *media_type)
{
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++)
        if (str_eq(forms[i].media_type, media_type))
            return (int)i;
    return -1;
}

static int wrong(struct registry_err *err, const char *what)
{
    return registry__fail(err, REGISTRY_MANIFEST_INVALID, "the manifest is not valid: %s", what);
}

/* What the request calls it and what it calls itself must agree (section "Pushing Manifests"). */
static int find_form(struct manifest *m, const char *asked, struct registry_err *err)
{
    const char *own = json_string_value(json_object_get(m->document, "mediaType"));
    if (json_object_get(m->document, "mediaType") && !own)
        return wrong(err, "its mediaType is no text");
    _cleanup_free_ char *plain = asked ? mem_strndup(asked, strcspn(asked, "; ")) : NULL;
    if (str_eq(plain, "application/json") || str_empty(plain))
        plain = (free(plain), NULL);
    if (own && plain && !str_eq(own, plain))
        return registry__fail(err, REGISTRY_MANIFEST_INVALID,
                              "the request says it is %.200s, but the manifest says it is %.200s", plain,
                              own);
    const char *name = own ? own : plain;
    int form = name ? form_of(name) : -1;
    for (size_t i = 0; !name && form < 0 && i < ARRAY_SIZE(forms); i++)
        if (json_object_get(m->document, forms[i].member))
            form = (int)i;
    if (form < 0 && name)
        return registry__fail(err, REGISTRY_UNSUPPORTED, "manifests of type %.200s are not stored here",
                              name);
    if (form < 0)
        return wrong(err, "it has neither layers nor manifests, and no mediaType");
    m->media_type = forms[form].media_type;
    return 0;
}

static int check_descriptor(const json_t *d, const char *where, struct registry_err *err)
{
    const char *digest = json_string_value(json_object_get(d, "digest"));
    const json_t *size = json_object_get(d, "size");
    if (!json_is_object(d) || !digest || !json_is_integer(size) || json_integer_value(size) < 0)
        return registry__fail(err, REGISTRY_MANIFEST_INVALID,
                              "the manifest's %s is no descriptor with digest and size", where);
    return registry__check_digest(digest, err);
}

/* Layers that their owner lets nobody distribute are not here, and are fetched elsewhere. */
static bool is_foreign(const json_t *d)
{
    const char *type = json_str(d, "mediaType");
    return strstr(type, ".nondistributable.") || strstr(type, ".foreign.");
}

static int add_list(struct manifest *m, const char *member, bool needed, struct registry_err *err)
{
    const json_t *list = json_object_get(m->document, member), *d;
    if (list && !json_is_array(list))
        return registry__fail(err, REGISTRY_MANIFEST_INVALID, "the manifest's %s are no list", member);
    size_t n = json_array_size(list), i;
    if (n > MANIFEST_MAX_DESCRIPTORS)
        return registry__fail(err, REGISTRY_MANIFEST_INVALID, "the manifest has %zu %s; at most %d are taken",
                              n, member, MANIFEST_MAX_DESCRIPTORS);
    m->blobs = mem_grow(m->blobs, m->blob_count + n + 1, sizeof(*m->blobs));
    json_array_foreach (list, i, d) {
        int code = check_descriptor(d, member, err);
        if (code < 0)
            return code;
        if (needed && !is_foreign(d))
            m->blobs[m->blob_count++] = (struct manifest_blob){json_str(d, "digest"), json_int(d, "size")};
    }
    return 0;
}

static int add_config(struct manifest *m, struct registry_err *err)
{
    const json_t *config = json_object_get(m->document, "config");
    if (!config)
        return strstr(m->media_type, "image.manifest") || strstr(m->media_type, "manifest.v2")
                   ? wrong(err, "it has no config")
                   : 0;
    int code = check_descriptor(config, "config", err);
    if (code == 0)
        m->blobs[m->blob_count++] =
            (struct manifest_blob){json_str(config, "digest"), json_int(config, "size")};
    if (code == 0 && str_empty(m->artifact_type))
        m->artifact_type = json_str(config, "mediaType");
    return code;
}

static int take_apart(struct manifest *m, const char *media_type, struct registry_err *err)
{
    const json_t *version = json_object_get(m->document, "schemaVersion");
    if (version && json_integer_value(version) != 2)
        return registry__fail(err, REGISTRY_UNSUPPORTED,
                              "manifests of schema version 2 are stored, no others");
    int code = find_form(m, media_type, err);
    if (code < 0)
        return code;
    const json_t *type = json_object_get(m->document, "artifactType");
    m->artifact_type = json_string_value(type) ? json_string_value(type) : "";
    m->annotations = json_object_get(m->document, "annotations");
    if (m->annotations && !json_is_object(m->annotations))
        return wrong(err, "its annotations are no object");
    const json_t *subject = json_object_get(m->document, "subject");
    if (subject && !json_is_null(subject)) {
        if ((code = check_descriptor(subject, "subject", err)) < 0)
            return code;
        m->subject = json_str(subject, "digest");
    }
    bool is_index = strstr(m->media_type, "index") || strstr(m->media_type, "list");
    if ((code = add_list(m, "layers", true, err)) < 0 || (code = add_list(m, "blobs", true, err)) < 0 ||
        (code = add_list(m, "manifests", false, err)) < 0)
        return code;
    return is_index ? 0 : add_config(m, err);
}

int manifest_parse(const void *bytes, size_t n, const char *media_type, struct manifest *ret,
                   struct registry_err *err)
{
    struct manifest m = {0};
    if (json_parse(bytes, n, "the manifest", &m.document, &err->cause) < 0) {
        err->code = REGISTRY_MANIFEST_INVALID;
        return -err->cause.code;
    }
    int code = json_is_object(m.document) ? take_apart(&m, media_type, err) : wrong(err, "it is no object");
    if (code < 0) {
        manifest_done(&m);
        return code;
    }
    *ret = m;
    return 0;
}

void manifest_done(struct manifest *m)
{
    json_decref(m->document);
    free(m->blobs);
    *m = (struct manifest){0};
}
