#include "bakery/build_priv.h"

#include "base/str.h"

json_t *build__config(struct build *s)
{
    json_t *config = json_object_get(s->config, "config");
    if (!json_is_object(config)) {
        config = json_object();
        json_object_set_new(s->config, "config", config);
    }
    return config;
}

static const char *entry_value(json_t *entry, const char *name, size_t n)
{
    const char *text = json_string_value(entry);
    return text && strncmp(text, name, n) == 0 && text[n] == '=' ? text + n + 1 : NULL;
}

const char *build__env_get(struct build *s, const char *name)
{
    json_t *env = json_object_get(build__config(s), "Env"), *entry;
    size_t i, n = strlen(name);
    json_array_foreach (env, i, entry) {
        const char *value = entry_value(entry, name, n);
        if (value)
            return value;
    }
    return NULL;
}

void build__env_set(struct build *s, const char *name, const char *value)
{
    json_t *env = json_object_get(build__config(s), "Env"), *entry;
    if (!json_is_array(env)) {
        env = json_array();
        json_object_set_new(build__config(s), "Env", env);
    }
    _cleanup_json_ json_t *holder = json_object();
    _cleanup_free_ char *text = str_printf("%s=%s", name, value);
    json_set_str(holder, "e", text); /* puts invalid UTF-8 right */
    json_t *made = json_object_get(holder, "e");
    size_t i, n = strlen(name);
    json_array_foreach (env, i, entry) {
        if (!entry_value(entry, name, n))
            continue;
        json_array_set(env, i, made);
        return;
    }
    json_array_append(env, made);
}

char **build__shell(struct build *s)
{
    char **shell = NULL;
    json_t *list = json_object_get(build__config(s), "Shell"), *entry;
    size_t i;
    json_array_foreach (list, i, entry)
        if (json_is_string(entry))
            strv_add(&shell, json_string_value(entry));
    if (!shell) {
        strv_add(&shell, "/bin/sh");
        strv_add(&shell, "-c");
    }
    return shell;
}
