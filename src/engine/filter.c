/* Docker's filters: {"label":{"a=b":true}} or {"label":["a=b"]}. */
#include "engine/engine_priv.h"

#include "base/err.h"

static const json_t *values_of(const json_t *filters, const char *key)
{
    return filters ? json_object_get(filters, key) : NULL;
}

char **filter__values(const json_t *filters, const char *key)
{
    const json_t *values = values_of(filters, key);
    char **list = NULL;
    if (json_is_array(values)) {
        size_t i;
        const json_t *item;
        json_array_foreach (values, i, item)
            if (json_is_string(item))
                strv_add(&list, json_string_value(item));
    } else if (json_is_object(values)) {
        const char *name;
        json_t *wanted;
        json_object_foreach ((json_t *)values, name, wanted)
            if (!json_is_false(wanted))
                strv_add(&list, name);
    }
    return list;
}

bool filter__has(const json_t *filters, const char *key)
{
    _cleanup_strv_ char **values = filter__values(filters, key);
    return strv_len(values) > 0;
}

bool filter__any(const json_t *filters, const char *key, bool (*match)(void *, const char *value),
                 void *context)
{
    _cleanup_strv_ char **values = filter__values(filters, key);
    if (!strv_len(values))
        return true;
    STRV_FOREACH (value, values)
        if (match(context, *value))
            return true;
    return false;
}

static bool has_label(const json_t *labels, const char *wanted)
{
    _cleanup_free_ char *name = mem_strndup(wanted, strcspn(wanted, "="));
    const json_t *value = json_object_get(labels, name);
    const char *equals = strchr(wanted, '=');
    return value &&
           (!equals || strcmp(json_string_value(value) ? json_string_value(value) : "", equals + 1) == 0);
}

bool filter__labels(const json_t *filters, const json_t *labels)
{
    _cleanup_strv_ char **wanted = filter__values(filters, "label"),
                        **unwanted = filter__values(filters, "label!");
    STRV_FOREACH (label, wanted)
        if (!has_label(labels, *label))
            return false;
    STRV_FOREACH (label, unwanted)
        if (has_label(labels, *label))
            return false;
    return true;
}

int filter__check_keys(const json_t *filters, const char *const *known, struct err *err)
{
    const char *key;
    json_t *values;
    if (filters && !json_is_object(filters))
        return err_set(err, ERR_INVALID, "invalid filters: not an object");
    json_object_foreach ((json_t *)filters, key, values) {
        if (!strv_has((char *const *)known, key))
            return err_set(err, ERR_INVALID, "invalid filter '%s'", key);
        if (!json_is_array(values) && !json_is_object(values))
            return err_set(err, ERR_INVALID, "invalid filter '%s': its values must be a list or an object",
                           key);
    }
    return 0;
}

/* Unix seconds, with a fraction or without. */
static bool unix_time(const char *text, int64_t *ret_ns)
{
    const char *point = strchr(text, '.');
    _cleanup_free_ char *whole = mem_strndup(text, point ? (size_t)(point - text) : strlen(text));
    size_t digits = point ? strlen(point + 1) : 0;
    int64_t seconds, nanos = 0;
    if (parse_i64(whole, 0, INT64_MAX / NS_PER_S - 1, &seconds, NULL) < 0 || digits > 9 ||
        (point && parse_i64(point + 1, 0, NS_PER_S - 1, &nanos, NULL) < 0))
        return false;
    for (; digits && digits < 9; digits++)
        nanos *= 10;
    *ret_ns = seconds * NS_PER_S + nanos;
    return true;
}

/* "until" is a time, Unix seconds, or a duration before now. */
int filter__until(const json_t *filters, int64_t *ret_ns, struct err *err)
{
    _cleanup_strv_ char **values = filter__values(filters, "until");
    *ret_ns = INT64_MAX;
    if (!strv_len(values))
        return 0;
    if (strv_len(values) > 1)
        return err_set(err, ERR_INVALID, "more than one until filter specified");
    const char *text = values[0];
    int64_t ago;
    if (unix_time(text, ret_ns))
        return 0;
    if (parse_duration(text, &ago, NULL) == 0)
        *ret_ns = time_now_ns() - ago;
    else if (time_parse_rfc3339(text, ret_ns, NULL) < 0)
        return err_set(err, ERR_INVALID, "until filter \"%s\" is neither a time nor a duration", text);
    return 0;
}
