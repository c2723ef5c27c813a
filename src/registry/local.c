/* Images of the node, seen as content of the repository of their name. */
#include "image/image_ref.h"
#include "registry/registry_priv.h"

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
