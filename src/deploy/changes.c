#include "deploy/changes.h"

#include "base/json.h"
#include "base/mem.h"

static bool nothing(const json_t *v)
{
    return !v || json_is_null(v) || (json_is_object(v) && !json_object_size(v)) ||
           (json_is_array(v) && !json_array_size(v));
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The keys of both, sorted, each once. */
static char **keys_of(const json_t *a, const json_t *b)
{
    char **keys = NULL;
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)a, key, value)
        strv_add(&keys, key);
    json_object_foreach ((json_t *)b, key, value)
        if (!json_object_get(a, key))
            strv_add(&keys, key);
    if (keys)
        qsort(keys, strv_len(keys), sizeof(*keys), by_text);
    return keys;
}

static void compare(const json_t *a, const json_t *b, const char *path, int depth, json_t *out)
{
    if ((nothing(a) && nothing(b)) || json_array_size(out) >= DEPLOY_CHANGES_MAX ||
        (a && b && json_equal((json_t *)a, (json_t *)b)))
        return;
    bool both = (nothing(a) || json_is_object(a)) && (nothing(b) || json_is_object(b));
    if (!both || depth >= DEPLOY_CHANGES_DEPTH) {
        json_t *one = json_pack("{s:s}", "Path", path);
        if (!nothing(a))
            json_object_set(one, "Before", (json_t *)a);
        if (!nothing(b))
            json_object_set(one, "After", (json_t *)b);
        json_array_append_new(out, one);
        return;
    }
    _cleanup_strv_ char **keys = keys_of(json_is_object(a) ? a : NULL, json_is_object(b) ? b : NULL);
    STRV_FOREACH (key, keys) {
        _cleanup_free_ char *inner = *path ? str_printf("%s.%s", path, *key) : mem_strdup(*key);
        compare(json_object_get(a, *key), json_object_get(b, *key), inner, depth + 1, out);
    }
}

json_t *deploy_changes(const json_t *before, const json_t *after)
{
    json_t *out = json_array();
    compare(before, after, "", 0, out);
    return out;
}
