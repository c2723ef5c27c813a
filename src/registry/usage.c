/* What is here, counted. */
#include "base/json.h"
#include "registry/registry_priv.h"

static int add_usage(void *context, const struct store_value *c, size_t count, struct err *err)
{
    json_t *one = json_object();
    json_set_str(one, "repository", c[0].bytes);
    json_object_set_new(one, "tags", json_integer(c[1].integer));
    json_object_set_new(one, "manifests", json_integer(c[2].integer));
    json_object_set_new(one, "blobs", json_integer(c[3].integer));
    json_object_set_new(one, "bytes", json_integer(c[4].integer));
    json_object_set_new(one, "pushed", json_integer(c[5].integer / NS_PER_S));
    json_array_append_new(context, one);
    return 0;
}

static int take_total(void *context, const struct store_value *c, size_t count, struct err *err)
{
    *(int64_t *)context = c[0].integer;
    return 0;
}

int registry_usage(struct registry *r, json_t **ret, struct err *err)
{
    json_t *list = json_array();
    int64_t total = 0;
    int code =
        store_query(r->store,
                    "SELECT name, (SELECT count(*) FROM repository_tag WHERE repository = name),"
                    " (SELECT count(*) FROM repository_manifest WHERE repository = name),"
                    " (SELECT count(*) FROM repository_blob WHERE repository = name),"
                    " (SELECT coalesce(sum(size), 0) FROM repository_blob WHERE repository = name)"
                    " + (SELECT coalesce(sum(size), 0) FROM repository_manifest WHERE repository = name),"
                    " coalesce((SELECT max(updated) FROM repository_tag WHERE repository = name), 0)"
                    " FROM (SELECT repository AS name FROM repository_manifest UNION SELECT repository FROM"
                    " repository_blob) ORDER BY name",
                    NULL, 0, add_usage, list, err);
    if (code == 0)
        code = store_query(r->store,
                           "SELECT coalesce(sum(size), 0) FROM (SELECT digest, max(size) AS size FROM"
                           " (SELECT digest, size FROM repository_blob UNION ALL SELECT digest, size FROM"
                           " repository_manifest) GROUP BY digest)",
                           NULL, 0, take_total, &total, err);
    if (code < 0)
        json_decref(list);
    else
        *ret = json_pack("{s:o, s:I}", "repositories", list, "bytes_on_disk", (json_int_t)total);
    return code;
}

static int add_tag(void *context, const struct store_value *c, size_t count, struct err *err)
{
    char at[TIME_RFC3339_BYTES];
    json_t *one = json_object();
    json_set_str(one, "tag", c[0].bytes);
    json_set_str(one, "digest", c[1].bytes);
    json_set_str(one, "pushed", time_format_rfc3339(c[2].integer, at));
    json_set_str(one, "media_type", c[3].bytes);
    json_array_append_new(context, one);
    return 0;
}

int registry_describe(struct registry *r, const char *repository, json_t **ret, struct err *err)
{
    json_t *list = json_array();
    const struct store_value v = STORE_STR(repository);
    int code = store_query(r->store,
                           "SELECT t.tag, t.digest, t.updated, m.media_type FROM repository_tag t JOIN"
                           " repository_manifest m ON m.repository = t.repository AND m.digest = t.digest"
                           " WHERE t.repository = ? ORDER BY t.tag",
                           &v, 1, add_tag, list, err);
    if (code == 0 && json_array_size(list) == 0)
        code = err_set(err, ERR_NOT_FOUND, "nobody pushed a tag of %.200s", repository);
    if (code < 0)
        json_decref(list);
    else
        *ret = list;
    return code;
}
