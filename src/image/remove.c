/* docker rmi: names first, then the image when it has none left, then what only it used. */
#include "base/json.h"
#include "image/image_priv.h"

struct removal {
    struct images *im;
    const char *name;
    struct image_removal how;
    json_t *log;
};

static void note(struct removal *m, const char *verb, const char *what)
{
    json_array_append_new(m->log, json_pack("{s:s}", verb, what));
}

static int execute(struct images *im, const char *sql, const char *param, struct err *err)
{
    struct store_value v = store_text(param);
    const struct store_statement s = {.sql = sql, .params = &v, .param_count = 1, .expect_changes = -1};
    return store_batch(im->store, &s, 1, STORE_DURABLE, err);
}

static void tell(struct removal *m, const char *action, const char *id)
{
    if (m->how.tell)
        m->how.tell(m->how.context, action, id);
}

static int untag(struct removal *m, const char *id, const char *reference, struct err *err)
{
    int r = execute(m->im,
                    strchr(reference, '@') ? "DELETE FROM repo_digest WHERE name = ?"
                                           : "DELETE FROM reference WHERE name = ?",
                    reference, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *familiar = image_ref_familiar_text(reference);
    note(m, "Untagged", familiar);
    tell(m, "untag", id);
    return 0;
}

static char *repository_of(const char *reference)
{
    _cleanup_ref_ struct image_ref ref = {0};
    return image_ref_parse(reference, &ref, NULL) < 0 ? mem_strdup("") : image_ref_repository(&ref);
}

static bool same_repository(char *const *references)
{
    if (!references || !*references)
        return true;
    _cleanup_free_ char *first = repository_of(references[0]);
    for (char *const *r = references + 1; *r; r++) {
        _cleanup_free_ char *other = repository_of(*r);
        if (!str_eq(first, other))
            return false;
    }
    return true;
}

/* With its last tag of a repository, the digests of that repository go too. */
static int untag_digests_without_tag(struct removal *m, const char *id, const char *repository,
                                     char *const *tags, char *const *digests, struct err *err)
{
    for (char *const *t = tags; t && *t; t++) {
        _cleanup_free_ char *other = repository_of(*t);
        if (str_eq(other, repository))
            return 0;
    }
    for (char *const *d = digests; d && *d; d++) {
        _cleanup_free_ char *other = repository_of(*d);
        int r = str_eq(other, repository) ? untag(m, id, *d, err) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

static int names_of(struct images *im, const char *id, char ***tags, char ***digests, struct err *err)
{
    *tags = strv_free(*tags);
    *digests = strv_free(*digests);
    int r = image__query_list(im, "SELECT name FROM reference WHERE image = ? ORDER BY name", id, tags, err);
    return r < 0 ? r
                 : image__query_list(im, "SELECT name FROM repo_digest WHERE image = ? ORDER BY name", id,
                                     digests, err);
}

static char *user_of(struct removal *m, const char *id)
{
    return m->how.in_use ? m->how.in_use(m->how.context, id) : NULL;
}

static char *short_of(const char *id)
{
    return mem_strndup(digest_hex(id), 12);
}

/* Why the image itself cannot go now; 0 when nothing is against it. */
static int conflict(struct removal *m, const char *id, struct err *err)
{
    _cleanup_free_ char *child = NULL, *user = user_of(m, id), *shown = short_of(id);
    int r = image__query_text(m->im, "SELECT id FROM image WHERE parent = ? AND removed = 0 LIMIT 1", id,
                              &child, err);
    if (r < 0)
        return r;
    if (user && str_after(user, "running"))
        return err_set(err, ERR_CONFLICT,
                       "conflict: unable to delete %s (cannot be forced) - image is being used by %s", shown,
                       user);
    if (child)
        return err_set(err, ERR_CONFLICT,
                       "conflict: unable to delete %s (cannot be forced) - image has dependent child images",
                       shown);
    if (user && !m->how.force)
        return err_set(err, ERR_CONFLICT,
                       "conflict: unable to delete %s (must be forced) - image is being used by %s", shown,
                       user);
    return 0;
}

/* A container keeps it: it is no longer listed or found, and the next builds do not stand on it. */
static int hide(struct images *im, const char *id, struct err *err)
{
    const struct store_value v = store_text(id);
    static const char *const sql[] = {
        "UPDATE image SET removed = 1 WHERE id = ?", "DELETE FROM build_cache WHERE image = ?",
        "DELETE FROM reference WHERE image = ?", "DELETE FROM repo_digest WHERE image = ?"};
    struct store_statement statements[ARRAY_SIZE(sql)];
    for (size_t i = 0; i < ARRAY_SIZE(sql); i++)
        statements[i] =
            (struct store_statement){.sql = sql[i], .params = &v, .param_count = 1, .expect_changes = -1};
    __atomic_store_n(&im->some_removed, true, __ATOMIC_RELEASE);
    return store_batch(im->store, statements, ARRAY_SIZE(statements), STORE_DURABLE, err);
}

/* The image and what only it used. */
static int erase(struct images *im, const char *id, char ***ret_layers, int64_t *freed, struct err *err)
{
    _cleanup_strv_ char **blobs = NULL, **chains = NULL;
    int r = image__query_list(im, "SELECT digest FROM image_blob WHERE image = ?", id, &blobs, err);
    if (r == 0)
        r = image__query_list(im, "SELECT chain FROM image_layer WHERE image = ? ORDER BY position DESC", id,
                              &chains, err);
    if (r == 0)
        r = execute(im, "DELETE FROM image WHERE id = ?", id, err);
    if (r < 0)
        return r;
    image__layer_sweep(im, chains, ret_layers, freed);
    image__blob_sweep(im, blobs, freed);
    return 0;
}

/* The image, and then its parents that nothing names. */
static int delete_image(struct removal *m, const char *id, struct err *err)
{
    _cleanup_strv_ char **layers = NULL;
    _cleanup_free_ char *parent = NULL, *user = user_of(m, id);
    int r = image__query_text(m->im, "SELECT parent FROM image WHERE id = ?", id, &parent, err);
    if (r == 0)
        r = user ? hide(m->im, id, err) : erase(m->im, id, &layers, m->how.freed, err);
    if (r < 0)
        return r;
    note(m, "Deleted", id);
    tell(m, "delete", id);
    STRV_FOREACH (layer, layers)
        note(m, "Deleted", *layer);
    if (str_empty(parent) || m->how.keep_parents)
        return 0;
    _cleanup_strv_ char **tags = NULL, **digests = NULL;
    struct removal quiet = *m;
    quiet.how.force = false;
    if (names_of(m->im, parent, &tags, &digests, err) < 0 || tags || digests ||
        conflict(&quiet, parent, NULL) < 0)
        return 0;
    return delete_image(m, parent, err);
}

void image_sweep_removed(struct images *im, char *(*in_use)(void *context, const char *id), void *context)
{
    if (!__atomic_exchange_n(&im->some_removed, false, __ATOMIC_ACQ_REL))
        return;
    _cleanup_strv_ char **ids = NULL;
    bool left = image__query_list(im, "SELECT id FROM image WHERE removed = 1", NULL, &ids, NULL) < 0;
    STRV_FOREACH (id, ids) {
        _cleanup_free_ char *user = in_use(context, *id);
        left = user || erase(im, *id, NULL, NULL, NULL) < 0 || left;
    }
    if (left)
        __atomic_store_n(&im->some_removed, true, __ATOMIC_RELEASE);
}

static int remove_by_name(struct removal *m, const char *id, char ***tags, char ***digests, bool *ret_gone,
                          struct err *err)
{
    _cleanup_ref_ struct image_ref ref = {0};
    int r = image_ref_parse(m->name, &ref, err);
    if (r < 0)
        return r;
    if (ref.digest)
        free(take_ptr(ref.tag));
    _cleanup_free_ char *full = image_ref_format(&ref), *repository = image_ref_repository(&ref);
    _cleanup_free_ char *user = user_of(m, id), *shown = short_of(id);
    if (strv_len(*tags) + (ref.digest ? strv_len(*digests) : 0) == 1 && user && !m->how.force) {
        const char *who = str_after(user, "running ");
        who = who ? who : str_after(user, "stopped ");
        return err_set(
            err, ERR_CONFLICT,
            "conflict: unable to remove repository reference \"%s\" (must force) - %s is using its "
            "referenced image %s",
            m->name, who ? who : user, shown);
    }
    r = untag(m, id, full, err);
    if (r == 0)
        r = names_of(m->im, id, tags, digests, err);
    if (r == 0 && !ref.digest)
        r = untag_digests_without_tag(m, id, repository, *tags, *digests, err);
    if (r == 0)
        r = names_of(m->im, id, tags, digests, err);
    if (r < 0 || *tags || *digests)
        return r;
    /* Something else still stands on it: the name is gone, and the image stays without one. */
    struct err against = {0};
    r = conflict(m, id, &against);
    if (r == -ERR_CONFLICT)
        return 0;
    *ret_gone = r == 0;
    return r < 0 ? err_copy(err, &against) : 0;
}

static int remove_by_id(struct removal *m, const char *id, char **tags, char **digests, bool *ret_gone,
                        struct err *err)
{
    int r = conflict(m, id, err);
    if (r < 0)
        return r;
    bool single = strv_len(tags) <= 1 && same_repository(tags) && same_repository(digests);
    if (!single && !m->how.force) {
        _cleanup_free_ char *shown = short_of(id);
        return err_set(err, ERR_CONFLICT,
                       "conflict: unable to delete %s (must be forced) - image is referenced in multiple "
                       "repositories",
                       shown);
    }
    STRV_FOREACH (t, tags)
        if ((r = untag(m, id, *t, err)) < 0)
            return r;
    STRV_FOREACH (d, digests)
        if ((r = untag(m, id, *d, err)) < 0)
            return r;
    *ret_gone = true;
    return 0;
}

static bool is_id(const char *name, const char *id)
{
    const char *hex = str_after(name, "sha256:");
    hex = hex ? hex : name;
    return str_is_hex(hex) && str_after(digest_hex(id), hex);
}

int image_remove(struct images *im, const char *name, const struct image_removal *how, json_t **ret_log,
                 struct err *err)
{
    _cleanup_json_ json_t *log = json_array();
    struct removal m = {.im = im, .name = name, .how = *how, .log = log};
    _cleanup_free_ char *id = NULL;
    _cleanup_strv_ char **tags = NULL, **digests = NULL;
    bool gone = false;
    int r = image__resolve(im, name, &id, err);
    if (r == 0)
        r = names_of(im, id, &tags, &digests, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *full = image_ref_normal(name);
    bool by_name = full && (strv_has(tags, full) || strv_has(digests, full));
    r = !by_name && is_id(name, id) ? remove_by_id(&m, id, tags, digests, &gone, err)
                                    : remove_by_name(&m, id, &tags, &digests, &gone, err);
    if (r == 0 && gone)
        r = delete_image(&m, id, err);
    if (r < 0)
        return r;
    *ret_log = take_ptr(log);
    return 0;
}
