/* Names that stand for images of several platforms. A name leads to one image (table reference), which is
 * what runs here; the others are beside it in reference_index, and go with the name. */
#include "image/image_priv.h"

enum { KEPT_MAX = 64 };

static int full_name(const char *reference, char **ret, struct err *err)
{
    _cleanup_ref_ struct image_ref ref = {0};
    int r = image_ref_parse(reference, &ref, err);
    if (r == 0)
        *ret = image_ref_format(&ref);
    return r;
}

static int write_rows(struct images *im, const char *name, char *const *ids, struct err *err)
{
    struct store_value rows[KEPT_MAX][3];
    const struct store_value old[] = {STORE_STR(name)};
    struct store_statement s[KEPT_MAX + 1] = {{.sql = "DELETE FROM reference_index WHERE name = ?",
                                               .params = old,
                                               .param_count = 1,
                                               .expect_changes = -1}};
    size_t n = 0;
    for (; ids[n]; n++) {
        rows[n][0] = STORE_STR(name);
        rows[n][1] = STORE_I64((int64_t)n);
        rows[n][2] = STORE_STR(ids[n]);
        s[n + 1] = (struct store_statement){
            .sql = "INSERT INTO reference_index (name, position, image) VALUES (?, ?, ?)",
            .params = rows[n],
            .param_count = 3,
            .expect_changes = 1};
    }
    return store_batch(im->store, s, n + 1, STORE_DURABLE, err);
}

int image_index_keep(struct images *im, char *const *ids, const char *reference, struct err *err)
{
    _cleanup_free_ char *name = NULL, *own = NULL;
    _cleanup_strv_ char **full = NULL;
    int r = full_name(reference, &name, err);
    if (r == 0 && strv_len(ids) > KEPT_MAX)
        r = err_set(err, ERR_LIMIT, "an index of more than %d images", KEPT_MAX);
    if (r == 0)
        r = image__resolve(im, name, &own, err);
    for (char *const *id = ids; r == 0 && *id; id++) {
        char *one = NULL;
        r = image__resolve(im, *id, &one, err);
        if (r == 0)
            strv_take(&full, one);
    }
    if (r == 0 && !strv_has(full, own))
        r = err_set(err, ERR_INVALID, "%s is none of the images of the index", reference);
    return r < 0 ? r : write_rows(im, name, full, err);
}

int image_index_kept(struct images *im, const char *reference, char ***ret_ids, struct err *err)
{
    _cleanup_free_ char *name = NULL;
    char **ids = NULL;
    int r = full_name(reference, &name, err);
    if (r == 0)
        r = image__query_list(im, "SELECT image FROM reference_index WHERE name = ? ORDER BY position", name,
                              &ids, err);
    if (r == 0)
        *ret_ids = ids;
    return r;
}

bool image_index_has(struct images *im, const char *id)
{
    _cleanup_free_ char *name = NULL;
    return image__query_text(im, "SELECT name FROM reference_index WHERE image = ? LIMIT 1", id, &name,
                             NULL) == 0 &&
           name;
}
