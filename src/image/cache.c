/* The build cache: keys of build steps to the images they made. Its records are those images. */
#include "base/json.h"
#include "base/timeutil.h"
#include "image/image_priv.h"

int image_cache_get(struct images *im, const char *key, char **ret_id, struct err *err)
{
    _cleanup_free_ char *id = NULL;
    int r = image__query_text(im, "SELECT image FROM build_cache WHERE key = ?", key, &id, err);
    if (r < 0)
        return r;
    if (!id)
        return err_set(err, ERR_NOT_FOUND, "not in the build cache");
    const struct store_value v[] = {STORE_I64(time_now_ns()), STORE_STR(key)};
    const struct store_statement used = {.sql =
                                             "UPDATE build_cache SET used = ?, uses = uses + 1 WHERE key = ?",
                                         .params = v,
                                         .param_count = 2,
                                         .expect_changes = -1};
    r = store_batch(im->store, &used, 1, STORE_LAZY, err);
    if (r == 0)
        *ret_id = take_ptr(id);
    return r;
}

int image_cache_put(struct images *im, const char *key, const char *id, struct err *err)
{
    const struct store_value v[] = {STORE_STR(key), STORE_STR(id), STORE_I64(time_now_ns())};
    const struct store_statement s = {
        .sql = "INSERT OR REPLACE INTO build_cache (key, image, used) VALUES (?, ?, ?)",
        .params = v,
        .param_count = 3,
        .expect_changes = -1};
    return store_batch(im->store, &s, 1, STORE_LAZY, err);
}

int image_cache_forget(struct images *im, const char *id, struct err *err)
{
    const struct store_value v = store_text(id);
    const struct store_statement s = {.sql = "DELETE FROM build_cache WHERE image = ?",
                                      .params = &v,
                                      .param_count = 1,
                                      .expect_changes = -1};
    return store_batch(im->store, &s, 1, STORE_DURABLE, err);
}

struct records {
    struct image_cache_record *list;
    size_t count, capacity;
};

static int take_record(void *context, const struct store_value *c, size_t column_count, struct err *err)
{
    struct records *all = context;
    GROW(all->list, all->count, all->capacity);
    all->list[all->count++] = (struct image_cache_record){
        .id = mem_strdup(c[0].bytes),
        .parent_id = c[1].type == STORE_TEXT && *(const char *)c[1].bytes ? mem_strdup(c[1].bytes) : NULL,
        .created_ns = c[2].integer,
        .used_ns = c[3].integer,
        .uses = c[4].integer,
        .named = c[5].integer != 0,
        .has_children = c[6].integer != 0,
    };
    return 0;
}

/* What a step added: its layers that its parent has not. */
static int fill_record(struct images *im, struct image_cache_record *record, struct err *err)
{
    struct image_info info = {0};
    int64_t size = 0, parent_size = 0;
    int r = image_get(im, record->id, &info, err);
    if (r < 0)
        return r;
    size = info.size_bytes;
    const json_t *steps = json_object_get(info.config, "history");
    const char *by = json_str(json_array_get(steps, json_array_size(steps) - 1), "created_by");
    record->description = mem_strdup(by);
    image_info_done(&info);
    if (record->parent_id && image_get(im, record->parent_id, &info, NULL) == 0) {
        parent_size = info.size_bytes;
        image_info_done(&info);
    }
    record->size_bytes = MAX(size - parent_size, 0);
    return 0;
}

int image_cache_list(struct images *im, struct image_cache_record **ret, size_t *ret_count, struct err *err)
{
    static const char sql[] =
        "SELECT i.id, i.parent, i.created, max(c.used), sum(c.uses),"
        "  EXISTS (SELECT 1 FROM reference r WHERE r.image = i.id),"
        "  EXISTS (SELECT 1 FROM image k WHERE k.parent = i.id AND k.removed = 0)"
        " FROM build_cache c JOIN image i ON i.id = c.image GROUP BY i.id ORDER BY i.created DESC, i.id";
    struct records all = {0};
    int r = store_query(im->store, sql, NULL, 0, take_record, &all, err);
    size_t kept = 0;
    for (size_t i = 0; i < all.count; i++) {
        struct image_cache_record *record = &all.list[i];
        if (r == 0 && fill_record(im, record, NULL) == 0)
            all.list[kept++] = *record;
        else /* removed meanwhile, or damaged, which its use tells */
            image_cache_record_done(record);
    }
    if (r < 0) {
        free(all.list);
        return r;
    }
    *ret = all.list;
    *ret_count = kept;
    return 0;
}

void image_cache_record_done(struct image_cache_record *record)
{
    free(record->id);
    free(record->parent_id);
    free(record->description);
    *record = (struct image_cache_record){0};
}

void image_cache_list_free(struct image_cache_record *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        image_cache_record_done(&list[i]);
    free(list);
}
