/* Labels and environment variables that go along with a container's lines. */
#include "logdriver/logdriver.h"

#include "base/json.h"

#include <regex.h>

static void add_named(json_t *to, const json_t *from, const char *names)
{
    _cleanup_strv_ char **list = *names ? strv_split(names, ',') : NULL;
    STRV_FOREACH (name, list) {
        const json_t *value = json_object_get(from, *name);
        if (json_is_string(value))
            json_object_set(to, *name, (json_t *)value);
    }
}

static void add_matching(json_t *to, const json_t *from, const char *pattern)
{
    regex_t compiled;
    const char *key;
    json_t *value;
    if (!*pattern || regcomp(&compiled, pattern, REG_EXTENDED | REG_NOSUB) != 0)
        return;
    json_object_foreach ((json_t *)from, key, value)
        if (json_is_string(value) && regexec(&compiled, key, 0, NULL, 0) == 0)
            json_object_set(to, key, value);
    regfree(&compiled);
}

static json_t *environment_of(const json_t *list)
{
    json_t *variables = json_object(), *v;
    size_t i;
    json_array_foreach (list, i, v) {
        const char *text = json_string_value(v), *equals = text ? strchr(text, '=') : NULL;
        if (!equals)
            continue;
        _cleanup_free_ char *name = mem_strndup(text, (size_t)(equals - text));
        json_set_str(variables, name, equals + 1);
    }
    return variables;
}

json_t *logdriver_attributes(const struct logdriver_info *info)
{
    json_t *out = json_object();
    const json_t *o = info->options;
    if (!json_object_size(o))
        return out;
    add_named(out, info->labels, json_str(o, "labels"));
    add_matching(out, info->labels, json_str(o, "labels-regex"));
    if (*json_str(o, "env") || *json_str(o, "env-regex")) {
        _cleanup_json_ json_t *variables = environment_of(info->env);
        add_named(out, variables, json_str(o, "env"));
        add_matching(out, variables, json_str(o, "env-regex"));
    }
    return out;
}
