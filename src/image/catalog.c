/* Names to images, and what is known of them. */
#include "base/json.h"
#include "image/image_priv.h"

static int not_found(const char *name, struct err *err)
{
    _cleanup_free_ char *familiar = image_ref_familiar_text(name);
    return err_set(err, ERR_NOT_FOUND, "No such image: %.300s", familiar);
}

static int by_prefix(struct images *im, const char *name, char **ret_id, struct err *err)
{
    const char *hex = str_after(name, "sha256:");
    hex = hex ? hex : name;
    if (!str_is_hex(hex) || strlen(hex) > 64)
        return not_found(name, err);
    /* Hex digits are no pattern characters. */
    _cleanup_free_ char *pattern = str_printf("sha256:%s%s", hex, strlen(hex) < 64 ? "*" : "");
    _cleanup_strv_ char **ids = NULL;
    int r = image__query_list(im, "SELECT id FROM image WHERE id GLOB ? LIMIT 2", pattern, &ids, err);
    if (r < 0)
        return r;
    if (!ids)
        return not_found(name, err);
    if (ids[1])
        return err_set(err, ERR_INVALID, "image id prefix %s is ambiguous: give more digits", hex);
    *ret_id = mem_strdup(ids[0]);
    return 0;
}

int image__resolve(struct images *im, const char *name, char **ret_id, struct err *err)
{
    if (str_empty(name))
        return err_set(err, ERR_INVALID, "invalid reference format: the name of an image is missing");
    if (str_after(name, "sha256:") || (strlen(name) == 64 && str_is_hex(name)))
        return by_prefix(im, name, ret_id, err);
    _cleanup_ref_ struct image_ref ref = {0};
    int r = image_ref_parse(name, &ref, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *id = NULL, *repository = image_ref_repository(&ref), *full = NULL;
    if (ref.digest) {
        full = str_printf("%s@%s", repository, ref.digest);
        r = image__query_text(im, "SELECT image FROM repo_digest WHERE name = ?", full, &id, err);
    } else {
        full = image_ref_format(&ref);
        r = image__query_text(im, "SELECT image FROM reference WHERE name = ?", full, &id, err);
    }
    if (r < 0)
        return r;
    if (!id)
        return str_is_hex(name) ? by_prefix(im, name, ret_id, err) : not_found(full, err);
    *ret_id = take_ptr(id);
    return 0;
}

struct row {
    char *manifest, *parent;
    int64_t created, size;
    bool found;
};

static int take_row(void *context, const struct store_value *c, size_t column_count, struct err *err)
{
    struct row *row = context;
    row->found = true;
    row->manifest = mem_strdup(c[0].bytes);
    row->parent = c[1].type == STORE_TEXT ? mem_strdup(c[1].bytes) : NULL;
    row->created = c[2].integer;
    row->size = c[3].integer;
    return 0;
}

static int fill(struct images *im, const char *id, struct image_info *info, struct err *err)
{
    struct row row = {0};
    struct store_value v = store_text(id);
    int r = store_query(im->store, "SELECT manifest, parent, created, size FROM image WHERE id = ?", &v, 1,
                        take_row, &row, err);
    info->id = mem_strdup(id);
    info->manifest_digest = row.manifest;
    info->parent_id = row.parent;
    info->created_ns = row.created;
    info->size_bytes = row.size;
    if (r == 0 && !row.found)
        r = not_found(id, err);
    if (r == 0)
        r = image__query_list(im, "SELECT name FROM reference WHERE image = ? ORDER BY name", id,
                              &info->references, err);
    if (r == 0)
        r = image__query_list(im, "SELECT name FROM repo_digest WHERE image = ? ORDER BY name", id,
                              &info->digests, err);
    if (r == 0)
        r = image__blob_json(im, id, &info->config, err);
    if (r == 0)
        r = image__blob_json(im, info->manifest_digest, &info->manifest, err);
    return r;
}

int image_get(struct images *im, const char *name, struct image_info *ret, struct err *err)
{
    _cleanup_free_ char *id = NULL;
    int r = image__resolve(im, name, &id, err);
    if (r < 0)
        return r;
    struct image_info info = {0};
    r = fill(im, id, &info, err);
    if (r < 0) {
        image_info_done(&info);
        return r;
    }
    *ret = info;
    return 0;
}

void image_info_done(struct image_info *info)
{
    free(info->id);
    free(info->manifest_digest);
    strv_free(info->references);
    strv_free(info->digests);
    json_decref(info->config);
    json_decref(info->manifest);
    free(info->parent_id);
    *info = (struct image_info){0};
}

int image_list(struct images *im, struct image_info **ret, size_t *ret_count, struct err *err)
{
    _cleanup_strv_ char **ids = NULL;
    int r = image__query_list(im, "SELECT id FROM image ORDER BY created DESC, id", NULL, &ids, err);
    if (r < 0)
        return r;
    size_t n = strv_len(ids), have = 0;
    struct image_info *list = NEW_N(struct image_info, n + 1);
    for (size_t i = 0; r == 0 && i < n; i++) {
        struct err cause = {0};
        r = fill(im, ids[i], &list[have], &cause);
        if (r == 0) {
            have++;
            continue;
        }
        image_info_done(&list[have]);
        /* Removed meanwhile, or damaged: one bad image must not hide the others. Its use tells the cause. */
        r = r == -ERR_NOT_FOUND || r == -ERR_CORRUPT ? 0 : err_copy(err, &cause);
    }
    if (r < 0) {
        image_list_free(list, have);
        return r;
    }
    *ret = list;
    *ret_count = have;
    return 0;
}

void image_list_free(struct image_info *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        image_info_done(&list[i]);
    free(list);
}

int image_tag(struct images *im, const char *name, const char *new_reference, struct err *err)
{
    _cleanup_free_ char *id = NULL, *full = NULL;
    _cleanup_ref_ struct image_ref ref = {0};
    int r = image_ref_parse(new_reference, &ref, err);
    if (r < 0)
        return r;
    if (ref.digest)
        return err_set(err, ERR_INVALID, "refusing to create a tag with a digest reference");
    r = image__resolve(im, name, &id, err);
    if (r < 0)
        return r;
    full = image_ref_format(&ref);
    return image__set_tag(im, id, full, err);
}

int image_lowers(struct images *im, const char *id, char ***ret, struct err *err)
{
    struct image_info info = {0};
    int r = image_get(im, id, &info, err);
    if (r < 0)
        return r;
    _cleanup_free_ struct layer *layers = NULL;
    size_t count = 0;
    r = image__layers_of(info.manifest, info.config, &layers, &count, err);
    image_info_done(&info);
    _cleanup_strv_ char **dirs = NULL;
    for (int tries = 0; r == 0; tries++) {
        dirs = strv_free(dirs);
        size_t i = count;
        for (; i > 0; i--) {
            char *dir;
            r = image__layer_find(im, layers[i - 1].chain, &dir, NULL, err);
            if (r < 0)
                break;
            strv_take(&dirs, dir);
        }
        if (i == 0)
            break;
        if (r != -ERR_NOT_FOUND || tries > 0)
            return r;
        r = image__layers_unpack(im, layers, count, NULL, err);
        for (size_t j = 0; j < count; j++)
            image__unpin(im, layers[j].chain);
    }
    if (r < 0)
        return r;
    if (!dirs)
        dirs = NEW_N(char *, 1);
    *ret = take_ptr(dirs);
    return 0;
}
