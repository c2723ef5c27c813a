/* docker search: the search of Docker's first registry API where there is one, else a look through the
 * catalog. */
#include "image/registry.h"

#include "base/err.h"
#include "base/json.h"
#include "image/image_priv.h"

#include <strings.h>

enum { ANSWER_MAX_BYTES = 4 << 20, CATALOG_MAX_PAGES = 100 };

/* "host:5000/words" is a search at that registry; a user's name before a slash is part of the words. */
static void split_term(const char *term, char **ret_host, const char **ret_words)
{
    size_t n = strcspn(term, "/");
    _cleanup_free_ char *first = mem_strndup(term, n);
    bool host = term[n] == '/' && (strpbrk(first, ".:") || str_eq(first, "localhost"));
    *ret_host = mem_strdup(host ? first : "index.docker.io");
    *ret_words = host ? term + n + 1 : term;
}

static json_t *entry(const char *name, const json_t *from)
{
    json_t *e = json_object();
    json_object_set_new(e, "star_count", json_integer(json_int(from, "star_count")));
    json_object_set_new(e, "is_official", json_boolean(json_bool(from, "is_official")));
    json_set_str(e, "name", name);
    json_object_set_new(e, "is_automated", json_boolean(json_bool(from, "is_automated")));
    json_set_str(e, "description", json_str(from, "description"));
    return e;
}

static void take_results(const json_t *body, int limit, json_t *found)
{
    const json_t *one;
    size_t i;
    json_array_foreach (json_object_get(body, "results"), i, one)
        if (json_array_size(found) < (size_t)limit && *json_str(one, "name"))
            json_array_append_new(found, entry(json_str(one, "name"), one));
}

static int ask(struct registry *registry, struct http_client *client, const char *path, int *ret_status,
               char **ret_next, json_t **ret, struct err *err)
{
    struct http_call call = {.method = "GET", .max_body_bytes = ANSWER_MAX_BYTES};
    struct http_response answer = {0};
    int r = registry_call(registry, client, &call, path, &answer, err);
    if (r == 0)
        *ret_status = answer.status;
    if (r == 0 && answer.status == 200)
        r = json_parse(str_get(&answer.body), answer.body.len, "search", ret, err);
    else if (r == 0 && answer.status != 404)
        r = registry_answer_err(&answer, "search", err);
    if (r == 0 && ret_next)
        *ret_next = registry_next_page(&answer);
    http_response_done(&answer);
    return r;
}

static void take_names(const json_t *body, const char *host, const char *words, int limit, json_t *found)
{
    const json_t *name;
    size_t i;
    json_array_foreach (json_object_get(body, "repositories"), i, name) {
        const char *text = json_is_string(name) ? json_string_value(name) : "";
        if (json_array_size(found) >= (size_t)limit || !strcasestr(text, words))
            continue;
        _cleanup_free_ char *full = str_printf("%s/%s", host, text);
        json_array_append_new(found, entry(full, NULL));
    }
}

static int look_through_catalog(struct registry *registry, struct http_client *client, const char *host,
                                const char *words, int limit, json_t *found, struct err *err)
{
    _cleanup_free_ char *path = mem_strdup("/v2/_catalog?n=1000");
    for (int pages = 0; path && pages < CATALOG_MAX_PAGES && json_array_size(found) < (size_t)limit;
         pages++) {
        _cleanup_json_ json_t *body = NULL;
        char *next = NULL;
        int status = 0, r = ask(registry, client, path, &status, &next, &body, err);
        if (r == 0 && status != 200)
            r = err_set(err, ERR_NOT_FOUND, "registry %s has neither a search nor a catalog", host);
        if (r < 0)
            return r;
        take_names(body, host, words, limit, found);
        free(path);
        path = next;
    }
    return 0;
}

static int search(struct registry *registry, struct http_client *client, const char *host, const char *words,
                  int limit, json_t *found, struct err *err)
{
    _cleanup_free_ char *q = registry_encode(words), *path = str_printf("/v1/search?q=%s&n=%d", q, limit);
    _cleanup_json_ json_t *body = NULL;
    int status = 0;
    int r = ask(registry, client, path, &status, NULL, &body, err);
    if (r == 0 && status == 404)
        return look_through_catalog(registry, client, host, words, limit, found, err);
    if (r == 0)
        take_results(body, limit, found);
    return r;
}

int image_search(struct images *im, const char *term, int limit, const struct image_auth *auth, json_t **ret,
                 struct err *err)
{
    _cleanup_free_ char *host = NULL;
    _cleanup_json_ json_t *found = json_array();
    const char *words;
    struct registry *registry = NULL;
    struct http_client *client = NULL;
    split_term(term, &host, &words);
    int r = registry_open_index(host, auth, im, &registry, err);
    if (r == 0)
        r = http_client_new(NULL, &client, err);
    if (r == 0)
        r = search(registry, client, host, words, limit, found, err);
    http_client_free(client);
    registry_free(registry);
    if (r == 0)
        *ret = take_ptr(found);
    return r;
}
