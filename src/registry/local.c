/* Images of the node, seen as content of the repository of their name. */
#include "base/file.h"
#include "image/image_ref.h"
#include "registry/manifest.h"
#include "registry/mirror.h"

/* "web" is docker.io/library/web to the node's images; NULL when no image can have the name. */
static char *image_name(const char *repository)
{
    _cleanup_ref_ struct image_ref ref = {0};
    return image_ref_parse(repository, &ref, NULL) < 0 ? NULL : image_ref_repository(&ref);
}

int registry__local_tag(struct registry *r, const char *repository, const char *tag, char **ret_manifest,
                        struct registry_err *err)
{
    _cleanup_free_ char *name = image_name(repository);
    if (!name)
        return 0;
    _cleanup_free_ char *full = str_printf("%s:%s", name, tag);
    const char *const params[] = {full};
    return registry__text(r,
                          "SELECT image.manifest FROM reference JOIN image ON image.id = reference.image"
                          " WHERE reference.name = ?",
                          params, 1, ret_manifest, err);
}

int registry__local_has(struct registry *r, const char *repository, const char *digest, bool *ret,
                        struct registry_err *err)
{
    _cleanup_free_ char *name = image_name(repository), *found = NULL;
    *ret = false;
    if (!name)
        return 0;
    /* A repository's name has no pattern character. */
    _cleanup_free_ char *pattern = str_printf("%s:*", name);
    const char *const params[] = {digest, pattern};
    int code = registry__text(r,
                              "SELECT image_blob.image FROM image_blob JOIN reference"
                              " ON reference.image = image_blob.image"
                              " WHERE image_blob.digest = ? AND reference.name GLOB ? LIMIT 1",
                              params, 2, &found, err);
    *ret = code == 0 && found;
    return code;
}

int registry__local_tags(struct registry *r, const char *repository, char ***ret, struct registry_err *err)
{
    _cleanup_free_ char *name = image_name(repository);
    if (!name)
        return 0;
    _cleanup_free_ char *pattern = str_printf("%s:*", name);
    const struct store_value v[] = {STORE_STR(pattern), STORE_I64((int64_t)strlen(name) + 2)};
    if (registry__texts(r, "SELECT substr(name, ?2) FROM reference WHERE name GLOB ?1", v, 2, ret,
                        &err->cause) < 0)
        return registry__internal(err);
    return 0;
}

/* --- the other way round: what was pushed, for the node --- */

int registry_pushed(struct registry *r, const char *repository, const char *reference,
                    char ret_digest[DIGEST_BYTES], struct registry_err *err)
{
    _cleanup_free_ char *digest = NULL;
    const char *const params[] = {repository, reference};
    int code = registry__check_name(repository, err);
    if (code == 0)
        code =
            registry__text(r,
                           strchr(reference, ':')
                               ? "SELECT digest FROM repository_manifest WHERE repository = ? AND digest = ?"
                               : "SELECT digest FROM repository_tag WHERE repository = ? AND tag = ?",
                           params, 2, &digest, err);
    if (code == 0 && !digest)
        code = registry__fail(err, REGISTRY_MANIFEST_UNKNOWN, "nobody pushed %s%s%s to this node's registry",
                              repository, strchr(reference, ':') ? "@" : ":", reference);
    if (code == 0)
        snprintf(ret_digest, DIGEST_BYTES, "%s", digest);
    return code;
}

int registry_pushed_tags(struct registry *r, const char *repository, char ***ret, struct registry_err *err)
{
    const struct store_value v = STORE_STR(repository);
    char **tags = NULL;
    if (registry__texts(r, "SELECT tag FROM repository_tag WHERE repository = ? ORDER BY tag", &v, 1, &tags,
                        &err->cause) < 0)
        return registry__internal(err);
    if (!tags)
        return registry__fail(err, REGISTRY_NAME_UNKNOWN, "nobody pushed %s to this node's registry",
                              repository);
    *ret = tags;
    return 0;
}

/* What the node's own images have needs no link; a build cache's blobs are no image's. */
static int link_blobs(struct registry *r, const char *repository, const struct str *text,
                      struct registry_err *err)
{
    struct manifest m;
    int code = manifest_parse(str_get(text), text->len, NULL, &m, err);
    if (code < 0)
        return code;
    for (size_t i = 0; code == 0 && i < m.blob_count; i++) {
        bool known = false;
        code = registry__blob_known(r, repository, m.blobs[i].digest, &known, err);
        if (code == 0 && !known)
            code = registry__blob_link(r, repository, m.blobs[i].digest, err);
    }
    manifest_done(&m);
    return code;
}

int registry_push_local(struct registry *r, const char *repository, const char *tag, const char *digest,
                        struct registry_err *err)
{
    _cleanup_close_ int fd = -EBADF;
    _cleanup_str_ struct str text = STR_INIT;
    int64_t size;
    char same[DIGEST_BYTES], subject[DIGEST_BYTES];
    if (content_open(r->images, digest, &fd, &size, &err->cause) < 0 ||
        file_read_fd(fd, REGISTRY_MAX_MANIFEST, &text, &err->cause) < 0)
        return registry__internal(err);
    int code = link_blobs(r, repository, &text, err);
    return code < 0 ? code
                    : registry_manifest_put(r, repository, tag, NULL, NULL, str_get(&text), text.len, same,
                                            subject, err);
}
