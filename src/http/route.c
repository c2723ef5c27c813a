/* The request's target taken apart, and the route that fits it. */
#include "base/str.h"
#include "http/server_priv.h"

#include <ctype.h>

enum { MAX_QUERY = 1024 };

static int bad_escape(const char *text, size_t n, struct err *err)
{
    const char *at = memchr(text, '%', n);
    while (at && at + 2 < text + n && str_hex_value(at[1]) >= 0 && str_hex_value(at[2]) >= 0 &&
           (at[1] != '0' || at[2] != '0'))
        at = memchr(at + 1, '%', (size_t)(text + n - at - 1));
    return err_set(err, ERR_INVALID, "invalid URL escape \"%.*s\"",
                   at ? (int)MIN((size_t)3, (size_t)(text + n - at)) : 0, at ? at : "");
}

static int parse_query(struct http_request *q, const char *text, struct err *err)
{
    size_t count = 0;
    while (*text) {
        size_t n = strcspn(text, "&");
        if (n > 0) {
            if (++count > MAX_QUERY)
                return err_set(err, ERR_LIMIT, "more than %d query parameters", MAX_QUERY);
            const char *equals = memchr(text, '=', n);
            size_t name_len = equals ? (size_t)(equals - text) : n;
            char *name = str_percent_decode(text, name_len, true);
            char *value = equals ? str_percent_decode(equals + 1, n - name_len - 1, true) : mem_strdup("");
            if (!name || !value) {
                free(name);
                free(value);
                return bad_escape(text, n, err);
            }
            strv_take(&q->query_names, name);
            strv_take(&q->query_values, value);
        }
        text += n;
        if (*text)
            text++;
    }
    return 0;
}

/* "/v1.43/x": 1043, and `*path` moves to "/x". Whatever else is made of digits and points counts as a version
 * too, as it does for Docker. */
static void take_version(struct http_request *q, const char **path)
{
    const char *p = *path;
    if (p[0] != '/' || p[1] != 'v' || !isdigit((unsigned char)p[2]))
        return;
    p += 2;
    size_t n = strspn(p, "0123456789.");
    if (p[n] != '/' || n > 32)
        return;
    int parts[2] = {0, 0};
    q->version_text = mem_strndup(p, n);
    *path = p + n;
    for (int i = 0; i < 2; i++) {
        for (; isdigit((unsigned char)*p); p++)
            parts[i] = MIN(parts[i] * 10 + (*p - '0'), 999);
        p += *p == '.';
    }
    q->api_version = parts[0] * 1000 + parts[1];
}

static int parse_target(struct http_request *q, const char *target, bool versioned, struct err *err)
{
    if (versioned)
        take_version(q, &target);
    size_t n = strcspn(target, "?#");
    q->path = mem_strndup(target, n);
    q->decoded_path = str_percent_decode(target, n, false);
    if (!q->decoded_path)
        return bad_escape(target, n, err);
    return target[n] == '?' ? parse_query(q, target + n + 1, err) : 0;
}

int http__target_parse(struct http_request *q, struct err *err)
{
    const char *target = q->target;
    const char *scheme = strstr(target, "://"); /* absolute form, RFC 9112 section 3.2.2 */
    if (target[0] != '/' && scheme) {
        target = strchr(scheme + 3, '/');
        if (!target)
            target = "/";
    }
    return parse_target(q, target, !q->server->config.unversioned, err);
}

static bool take_param(struct http_request *q, const char *name, const char *value, size_t n)
{
    must(q->param_count < HTTP_MAX_PARAMS);
    char *decoded = str_percent_decode(value, n, false);
    if (!decoded || !*decoded) {
        free(decoded);
        return false;
    }
    q->params[q->param_count++] = (struct http_param){name, decoded};
    return true;
}

static void drop_params(struct http_request *q, size_t down_to)
{
    while (q->param_count > down_to)
        free(q->params[--q->param_count].value);
}

static size_t segments(const char *pattern)
{
    size_t n = 0;
    for (; *pattern; pattern++)
        n += *pattern == '/';
    return n;
}

/* The path's may have escapes. */
static bool same_segment(const char *path, size_t n, const char *want, size_t want_n)
{
    if (!memchr(path, '%', n))
        return n == want_n && memcmp(path, want, n) == 0;
    _cleanup_free_ char *decoded = str_percent_decode(path, n, false);
    return decoded && strlen(decoded) == want_n && memcmp(decoded, want, want_n) == 0;
}

static bool fits(struct http_request *q, const char *pattern, const char *path)
{
    for (;;) {
        if (*pattern != '/' || *path != '/')
            return !*pattern && !*path;
        pattern++;
        path++;
        size_t have = strcspn(path, "/"), want = strcspn(pattern, "/");
        if (*pattern != '{') {
            if (!same_segment(path, have, pattern, want))
                return false;
        } else if (want > 4 && memcmp(pattern + want - 4, "...}", 4) == 0) {
            /* The rest of the pattern has as many segments as the path has behind this part. */
            const char *end = path + strlen(path);
            for (size_t left = segments(pattern + want); left > 0 && end; left--)
                end = memrchr(path, '/', (size_t)(end - path));
            if (!end || end == path || !take_param(q, pattern + 1, path, (size_t)(end - path)))
                return false;
            return fits(q, pattern + want, end);
        } else if (!take_param(q, pattern + 1, path, have)) {
            return false;
        }
        pattern += want;
        path += have;
    }
}

static const struct http_route *find(const struct http_route *routes, struct http_request *q,
                                     const char *method)
{
    for (const struct http_route *r = routes; r && r->method; r++) {
        if (strcmp(r->method, method) != 0)
            continue;
        if (fits(q, r->pattern, q->path))
            return r;
        drop_params(q, 0);
    }
    return NULL;
}

const struct http_route *http__route_find(const struct http_route *routes, struct http_request *q)
{
    return find(routes, q, q->method);
}

static void swap_text(char **a, char **b)
{
    char *kept = *a;
    *a = *b;
    *b = kept;
}

bool http__target_behind(struct http_request *q, const char *prefix, const struct http_route *routes)
{
    const char *target = str_after(q->target, prefix);
    struct http_request other = {.method = q->method};
    if (!target || *target != '/')
        return false;
    if (parse_target(&other, target, true, &(struct err){0}) == 0)
        other.route = http__route_find(routes, &other);
    if (other.route) {
        drop_params(q, 0);
        memcpy(q->params, other.params, sizeof(q->params));
        q->param_count = other.param_count;
        other.param_count = 0;
        swap_text(&q->path, &other.path);
        swap_text(&q->decoded_path, &other.decoded_path);
        swap_text(&q->version_text, &other.version_text);
        strv_free(q->query_names);
        strv_free(q->query_values);
        q->query_names = take_ptr(other.query_names);
        q->query_values = take_ptr(other.query_values);
        q->api_version = other.api_version;
        q->route = other.route;
    }
    drop_params(&other, 0);
    free(other.path);
    free(other.decoded_path);
    free(other.version_text);
    strv_free(other.query_names);
    strv_free(other.query_values);
    return other.route != NULL;
}
