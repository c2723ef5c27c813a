/* What the builder knows of the URLs it has asked. */
#include "base/timeutil.h"
#include "image/image_priv.h"

struct known {
    char *condition, *digest;
};

static int take(void *context, const struct store_value *c, size_t column_count, struct err *err)
{
    struct known *k = context;
    k->condition = mem_strdup(c[0].bytes);
    k->digest = mem_strdup(c[1].bytes);
    return 0;
}

int image_download_get(struct images *im, const char *url, char **ret_condition, char **ret_digest,
                       struct err *err)
{
    static const char sql[] = "SELECT condition, digest FROM build_download WHERE url = ?";
    char key[DIGEST_BYTES];
    struct known k = {0};
    digest_of(url, strlen(url), key);
    const struct store_value v = store_text(key);
    int r = store_query(im->store, sql, &v, 1, take, &k, err);
    if (r == 0 && !k.digest)
        r = err_set(err, ERR_NOT_FOUND, "no build has asked this URL");
    if (r < 0)
        return r;
    *ret_condition = k.condition;
    *ret_digest = k.digest;
    return 0;
}

int image_download_put(struct images *im, const char *url, const char *condition, const char *digest,
                       struct err *err)
{
    char key[DIGEST_BYTES];
    digest_of(url, strlen(url), key);
    const struct store_value v[] = {STORE_STR(key), STORE_STR(condition), STORE_STR(digest),
                                    STORE_I64(time_now_ns())},
                             max = STORE_I64(IMAGE_DOWNLOADS_MAX);
    const struct store_statement s[] = {
        {.sql = "INSERT OR REPLACE INTO build_download (url, condition, digest, used) VALUES (?, ?, ?, ?)",
         .params = v,
         .param_count = ARRAY_SIZE(v),
         .expect_changes = -1},
        {.sql = "DELETE FROM build_download WHERE used <"
                " (SELECT used FROM build_download ORDER BY used DESC LIMIT 1 OFFSET ? - 1)",
         .params = &max,
         .param_count = 1,
         .expect_changes = -1}};
    return store_batch(im->store, s, ARRAY_SIZE(s), STORE_LAZY, err);
}
