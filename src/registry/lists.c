/* Tags, repositories and referrers, in pages. */
#include "base/json.h"
#include "image/image_ref.h"
#include "registry/registry_priv.h"

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted by bytes, each once, those after `last`, `n` at most. Takes the list. */
static char **page(char **list, const char *last, int n, bool *ret_more)
{
    size_t count = strv_len(list);
    if (count > 1)
        qsort(list, count, sizeof(*list), compare);
    char **out = NULL;
    const char *before = last ? last : "";
    size_t taken = 0;
    *ret_more = false;
    STRV_FOREACH (item, list) {
        if (strcmp(*item, before) <= 0)
            continue;
        if (taken == (size_t)n) {
            *ret_more = true;
            break;
        }
        strv_add(&out, *item);
        before = out[taken++];
    }
    strv_free(list);
    return out;
}

static int limit(int n)
{
    return n < 0 || n > REGISTRY_MAX_PAGE ? REGISTRY_MAX_PAGE : n;
}

static int exists(struct registry *r, const char *repository, struct registry_err *err)
{
    _cleanup_free_ char *found = NULL;
    const char *const params[] = {repository};
    int code = registry__text(r,
                              "SELECT digest FROM repository_manifest WHERE repository = ?1"
                              " UNION ALL SELECT digest FROM repository_blob WHERE repository = ?1 LIMIT 1",
                              params, 1, &found, err);
    if (code == 0 && !found)
        return registry__fail(err, REGISTRY_NAME_UNKNOWN, "there is no repository %s", repository);
    return code;
}

int registry_tags(struct registry *r, const char *repository, const char *last, int n, char ***ret,
                  bool *ret_more, struct registry_err *err)
{
    int code = registry__check_name(repository, err);
    if (code < 0)
        return code;
    _cleanup_strv_ char **tags = NULL, **local = NULL;
    const struct store_value v[] = {STORE_STR(repository), STORE_STR(last ? last : ""),
                                    STORE_I64(limit(n) + 1)};
    if (registry__texts(
            r, "SELECT tag FROM repository_tag WHERE repository = ? AND tag > ? ORDER BY tag LIMIT ?", v, 3,
            &tags, &err->cause) < 0)
        return registry__internal(err);
    code = registry__local_tags(r, repository, &local, err);
    if (code == 0 && !tags && !local && (code = exists(r, repository, err)) < 0)
        return code;
    if (code < 0)
        return code;
    STRV_FOREACH (tag, local)
        strv_add(&tags, *tag);
    *ret = page(take_ptr(tags), last, limit(n), ret_more);
    return 0;
}

/* The name under which a client of the registry asks for an image that the node has. */
static char *repository_name(const char *reference)
{
    _cleanup_ref_ struct image_ref ref = {0};
    if (image_ref_parse(reference, &ref, NULL) < 0)
        return NULL;
    _cleanup_free_ char *full = image_ref_repository(&ref);
    _cleanup_free_ char *familiar = image_ref_familiar_text(full);
    char *colon = strrchr(familiar, ':');
    if (colon && !strchr(colon, '/'))
        *colon = '\0';
    return registry_name_valid(familiar) ? take_ptr(familiar) : NULL;
}

int registry_repositories(struct registry *r, const char *last, int n, char ***ret, bool *ret_more,
                          struct registry_err *err)
{
    _cleanup_strv_ char **names = NULL, **images = NULL;
    const struct store_value v[] = {STORE_STR(last ? last : ""), STORE_I64(limit(n) + 1)};
    if (registry__texts(r,
                        "SELECT DISTINCT repository FROM repository_manifest WHERE repository > ?"
                        " ORDER BY repository LIMIT ?",
                        v, 2, &names, &err->cause) < 0 ||
        registry__texts(r, "SELECT name FROM reference", NULL, 0, &images, &err->cause) < 0)
        return registry__internal(err);
    STRV_FOREACH (image, images) {
        char *name = repository_name(*image);
        if (name)
            strv_take(&names, name);
    }
    *ret = page(take_ptr(names), last, limit(n), ret_more);
    return 0;
}

/* --- referrers --- */

struct collecting {
    json_t *list;
    char *last;
    bool more;
};

static int add_referrer(void *context, const struct store_value *c, size_t count, struct err *err)
{
    struct collecting *to = context;
    if (json_array_size(to->list) == REGISTRY_MAX_REFERRERS) {
        to->more = true;
        return 0;
    }
    const char *digest = c[0].bytes, *artifact_type = c[3].bytes, *annotations = c[4].bytes;
    json_t *d = json_object();
    json_set_str(d, "mediaType", c[1].bytes);
    json_set_str(d, "digest", digest);
    json_object_set_new(d, "size", json_integer(c[2].integer));
    if (*artifact_type)
        json_set_str(d, "artifactType", artifact_type);
    json_t *parsed = NULL;
    if (*annotations && json_parse(annotations, c[4].size, "annotations", &parsed, NULL) == 0)
        json_object_set_new(d, "annotations", parsed);
    json_array_append_new(to->list, d);
    free(to->last);
    to->last = mem_strdup(digest);
    return 0;
}

int registry_referrers(struct registry *r, const char *repository, const char *digest,
                       const char *artifact_type, const char *last, json_t **ret, char ret_last[DIGEST_BYTES],
                       bool *ret_more, struct registry_err *err)
{
    int code = registry__check_name(repository, err);
    if (code == 0)
        code = registry__check_digest(digest, err);
    if (code < 0)
        return code;
    struct collecting to = {.list = json_array()};
    const struct store_value v[] = {STORE_STR(repository), STORE_STR(digest), STORE_STR(last ? last : ""),
                                    STORE_STR(artifact_type), STORE_I64(REGISTRY_MAX_REFERRERS + 1)};
    code = store_query(r->store,
                       "SELECT digest, media_type, size, artifact_type, annotations FROM repository_manifest"
                       " WHERE repository = ?1 AND subject = ?2 AND digest > ?3"
                       " AND (?4 IS NULL OR artifact_type = ?4) ORDER BY digest LIMIT ?5",
                       v, 5, add_referrer, &to, &err->cause);
    if (code < 0) {
        json_decref(to.list);
        free(to.last);
        return registry__internal(err);
    }
    *ret = json_pack("{s:i,s:s,s:o}", "schemaVersion", 2, "mediaType",
                     "application/vnd.oci.image.index.v1+json", "manifests", to.list);
    snprintf(ret_last, DIGEST_BYTES, "%s", to.last ? to.last : "");
    free(to.last);
    *ret_more = to.more;
    return 0;
}
