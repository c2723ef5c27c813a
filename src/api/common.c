#include "api/api_priv.h"

#include "base/base64.h"
#include "base/digest.h"
#include "base/timeutil.h"
#include "image/image_ref.h"

#include <string.h>
#include <strings.h>

int api__version(struct http_request *q)
{
    int version = http_api_version(q);
    return version ? version : API_VERSION_NUMBER;
}

int api__shown_version(struct http_request *q)
{
    int version = http_api_version(q);
    return version ? version : 1051;
}

bool api__gone(void *request)
{
    return http_peer_gone(request);
}

int api__filters(struct http_request *q, json_t **ret, struct err *err)
{
    const char *text = http_query(q, "filters");
    *ret = NULL;
    if (str_empty(text) || str_eq(text, "null"))
        return 0;
    _cleanup_json_ json_t *filters = NULL;
    int r = json_parse(text, strlen(text), "filters", &filters, err);
    if (r < 0)
        return r;
    if (!json_is_object(filters))
        return err_set(err, ERR_INVALID, "filters must be a JSON object");
    const char *name;
    json_t *values;
    json_object_foreach (filters, name, values)
        if (!json_is_object(values) && !json_is_array(values))
            return err_set(err, ERR_INVALID,
                           "filter \"%s\" must be a list, or an object with its values as keys", name);
    *ret = take_ptr(filters);
    return 0;
}

char **api__filter_values(const json_t *filters, const char *name)
{
    char **list = NULL;
    json_t *values = json_object_get(filters, name), *value;
    const char *key;
    size_t i;
    if (json_is_object(values)) {
        json_object_foreach (values, key, value) {
            if (!json_is_false(value))
                strv_add(&list, key);
        }
    } else {
        json_array_foreach (values, i, value) {
            if (json_is_string(value))
                strv_add(&list, json_string_value(value));
        }
    }
    return list;
}

bool api__filter_has(const json_t *filters, const char *name, const char *value)
{
    _cleanup_strv_ char **values = api__filter_values(filters, name);
    return value ? strv_has(values, value) : values != NULL;
}

int api__filter_bool(const json_t *filters, const char *name, bool *ret, struct err *err)
{
    _cleanup_strv_ char **values = api__filter_values(filters, name);
    if (!values)
        return 0;
    bool yes = strv_has(values, "1") || strv_has(values, "true");
    bool no = strv_has(values, "0") || strv_has(values, "false");
    if (yes == no) {
        _cleanup_free_ char *list = strv_join(values, " ");
        return err_set(err, ERR_INVALID, "invalid filter '%s=[%s]'", name, list);
    }
    *ret = yes;
    return 0;
}

int api__filters_known(const json_t *filters, const char *const *names, struct err *err)
{
    const char *name;
    json_t *values;
    json_object_foreach ((json_t *)filters, name, values) {
        const char *const *n = names;
        while (*n && strcmp(*n, name) != 0)
            n++;
        if (!*n)
            return err_set(err, ERR_INVALID, "invalid filter '%s'", name);
    }
    return 0;
}

int api__query_i64(struct http_request *q, const char *name, int64_t min, int64_t max, int64_t *ret,
                   struct err *err)
{
    const char *text = http_query(q, name);
    if (str_empty(text))
        return 0;
    int r = parse_i64(text, min, max, ret, err);
    return r < 0 ? err_wrap(err, "query parameter \"%s\"", name) : 0;
}

int api__query_size(struct http_request *q, int *ret_rows, int *ret_columns, struct err *err)
{
    static const char *const names[] = {"h", "w"};
    int64_t sizes[2];
    for (int i = 0; i < 2; i++) {
        const char *text = http_query(q, names[i]);
        int r = parse_i64(text ? text : "", 0, UINT16_MAX, &sizes[i], err);
        if (r < 0)
            return err_wrap(err, "invalid resize parameter \"%s\"", names[i]);
    }
    *ret_rows = (int)sizes[0];
    *ret_columns = (int)sizes[1];
    return 0;
}

static int parse_unix_time(const char *text, int64_t *ret_ns, struct err *err)
{
    const char *point = strchr(text, '.');
    _cleanup_free_ char *whole = point ? mem_strndup(text, (size_t)(point - text)) : mem_strdup(text);
    int64_t seconds, nanos = 0;
    int r = parse_i64(whole, INT64_MIN / NS_PER_S + 1, INT64_MAX / NS_PER_S - 1, &seconds, err);
    if (r < 0)
        return r;
    if (point) {
        char digits[10] = "000000000";
        size_t n = strlen(point + 1);
        if (n > 9)
            return err_set(err, ERR_INVALID, "\"%s\" has more than nanoseconds", text);
        memcpy(digits, point + 1, n);
        r = parse_i64(digits, 0, NS_PER_S - 1, &nanos, err);
    }
    if (r == 0)
        *ret_ns = seconds < 0 ? 1 : seconds * NS_PER_S + nanos; /* 0 would stand for none */
    return r;
}

int api__time(const char *text, int64_t *ret_ns, struct err *err)
{
    int64_t duration;
    if (parse_unix_time(text, ret_ns, NULL) == 0 || time_parse_rfc3339(text, ret_ns, NULL) == 0)
        return 0;
    if (parse_duration(text, &duration, NULL) == 0) {
        *ret_ns = time_now_ns() - duration;
        return 0;
    }
    return err_set(err, ERR_INVALID,
                   "\"%s\" is not a time: expected seconds since 1970, RFC 3339, or a duration", text);
}

int api__query_time(struct http_request *q, const char *name, int64_t *ret_ns, struct err *err)
{
    const char *text = http_query(q, name);
    if (str_empty(text))
        return 0;
    int r = api__time(text, ret_ns, err);
    return r < 0 ? err_wrap(err, "query parameter \"%s\"", name) : 0;
}

/* Docker's rule: what has a body says that it is JSON. */
static int check_content_type(struct http_request *q, struct err *err)
{
    const char *type = http_header(q, "Content-Type");
    if (!type && !http_has_body(q))
        return 0;
    size_t n = type ? strcspn(type, "; \t") : 0;
    if (n == strlen("application/json") && strncasecmp(type, "application/json", n) == 0)
        return 0;
    return err_set(err, ERR_INVALID, "unsupported Content-Type header (%s): must be 'application/json'",
                   type ? type : "");
}

int api__body(struct http_request *q, bool optional, json_t **ret, struct err *err)
{
    _cleanup_json_ json_t *body = NULL;
    int r = check_content_type(q, err);
    if (r == 0)
        r = http_body_json(q, API_BODY_MAX, &body, err);
    if (r < 0)
        return r;
    if (!body) {
        *ret = NULL;
        return optional ? 0 : err_set(err, ERR_INVALID, "invalid JSON: got EOF while reading request body");
    }
    if (!json_is_object(body))
        return err_set(err, ERR_INVALID, "the request body must be a JSON object");
    *ret = take_ptr(body);
    return 0;
}

int api__docker_body(struct http_request *q, bool optional, json_t **ret, struct err *err)
{
    int r = api__body(q, optional, ret, err);
    if (r == 0)
        engine_fit_names(*ret);
    return r;
}

void api__advise(struct err *err)
{
    if (err->code == ERR_NO_SPACE && !strstr(err->msg, "--keep-free")) {
        _cleanup_free_ char *text = mem_strdup(err->msg);
        err_set(err, ERR_NO_SPACE,
                "%s: remove images (docker image prune -a) or volumes, or have drover serve make room "
                "(--keep-free)",
                text);
    }
}

int api__join_reference(const char *name, const char *tag, char **ret, struct err *err)
{
    _cleanup_ref_ struct image_ref ref = {0};
    int r = image_ref_parse(name, &ref, err);
    if (r < 0)
        return r;
    if (!str_empty(tag)) {
        bool digest = digest_valid(tag);
        if (!digest && !image_ref_tag_valid(tag))
            return err_set(err, ERR_INVALID, "invalid tag format");
        free(take_ptr(ref.tag));
        free(take_ptr(ref.digest));
        *(digest ? &ref.digest : &ref.tag) = mem_strdup(tag);
    }
    *ret = image_ref_familiar(&ref);
    return 0;
}

int api__refuse_query(struct http_request *q, const char *name, struct err *err)
{
    const char *value = http_query(q, name);
    if (!value || !http_query_bool(q, name, false) || strcmp(value, "[]") == 0 || strcmp(value, "{}") == 0 ||
        strcmp(value, "null") == 0)
        return 0;
    return err_set(err, ERR_UNSUPPORTED, "\"%s\" is not supported by Drover", name);
}

int api__base64_decode(const char *text, struct str *ret, struct err *err)
{
    _cleanup_str_ struct str plain = STR_INIT;
    for (const char *c = text; *c; c++)
        if (*c != '=' && *c != '\r' && *c != '\n')
            str_addc(&plain, *c == '-' ? '+' : *c == '_' ? '/' : *c);
    while (plain.len % 4)
        str_addc(&plain, '=');
    return base64_decode(str_get(&plain), ret, err);
}
