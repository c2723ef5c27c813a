/* GET /images/search */
#include "api/api_priv.h"

enum { LIMIT_MAX = 100, LIMIT = 25 };

struct search_filter {
    int official, automated; /* -1: not asked */
    int64_t stars;
};

static int read_flag(const json_t *filters, const char *name, int *ret, struct err *err)
{
    bool value = false;
    int r = api__filter_bool(filters, name, &value, err);
    *ret = r == 0 && api__filter_has(filters, name, NULL) ? value : -1;
    return r;
}

static int read_filter(const json_t *filters, struct search_filter *f, struct err *err)
{
    static const char *const known[] = {"is-automated", "is-official", "stars", NULL};
    _cleanup_strv_ char **stars = api__filter_values(filters, "stars");
    int r = api__filters_known(filters, known, err);
    if (r == 0)
        r = read_flag(filters, "is-official", &f->official, err);
    if (r == 0)
        r = read_flag(filters, "is-automated", &f->automated, err);
    STRV_FOREACH (text, stars) {
        int64_t n;
        if (r == 0 && parse_i64(*text, 0, INT64_MAX, &n, NULL) < 0)
            r = err_set(err, ERR_INVALID, "invalid filter 'stars=[%s]'", *text);
        if (r == 0)
            f->stars = MAX(f->stars, n);
    }
    return r;
}

static bool takes(const struct search_filter *f, const json_t *result)
{
    return (f->official < 0 || f->official == (int)json_bool(result, "is_official")) &&
           (f->automated < 0 || f->automated == (int)json_bool(result, "is_automated")) &&
           json_int(result, "star_count") >= f->stars;
}

static int read_limit(struct http_request *q, int *ret, struct err *err)
{
    int64_t limit = LIMIT;
    int r = api__query_i64(q, "limit", INT32_MIN, INT32_MAX, &limit, err);
    if (r == 0 && (limit < 1 || limit > LIMIT_MAX))
        r = err_set(err, ERR_INVALID, "Limit %lld is outside the range of [1, %d]", (long long)limit,
                    LIMIT_MAX);
    *ret = (int)limit;
    return r;
}

int api_image_search(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_(api__auth_done) struct api_auth auth = {0};
    _cleanup_json_ json_t *filters = NULL, *found = NULL;
    struct search_filter f = {0};
    const char *term = http_query(q, "term");
    int limit = 0;
    int r = api__filters(q, &filters, err);
    if (r == 0)
        r = read_filter(filters, &f, err);
    if (r == 0)
        r = read_limit(q, &limit, err);
    if (r == 0 && str_empty(term))
        r = err_set(err, ERR_INVALID, "no term to search for: query parameter \"term\"");
    if (r == 0 && strstr(term, "://"))
        r = err_set(err, ERR_INVALID,
                    "invalid repository name: repository name (%.200s) must not have a scheme", term);
    if (r == 0)
        r = api__auth_of_request(q, &auth, err);
    if (r < 0)
        return r;
    r = image_search(a->images, term, limit, &auth.auth, &found, err);
    if (r < 0) {
        /* The registry's trouble, not the request's. */
        err->code = r == -ERR_NOT_FOUND ? ERR_NOT_FOUND : ERR_SYSTEM;
        return -err->code;
    }
    json_t *out = json_array(), *result;
    size_t i;
    json_array_foreach (found, i, result)
        if (takes(&f, result))
            json_array_append(out, result);
    http_reply_json(q, 200, out);
    return 0;
}
