/* A configuration completed with an image's, or, for a commit, with a container's. */
#include "engine/engine_priv.h"

static const json_t *field(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    return json_is_null(v) ? NULL : v;
}

static bool empty(const json_t *v)
{
    return !v || json_is_null(v) || (json_is_array(v) && !json_array_size(v)) ||
           (json_is_object(v) && !json_object_size(v)) || (json_is_string(v) && !json_string_length(v));
}

static void merge_env(json_t *config, const json_t *image)
{
    json_t *merged = json_array(), *own = json_object_get(config, "Env");
    size_t i, k;
    const json_t *item, *other;
    json_array_foreach (json_object_get(image, "Env"), i, item) {
        const char *text = json_string_value(item);
        size_t n = text ? strcspn(text, "=") : 0;
        bool replaced = !text;
        json_array_foreach (own, k, other) {
            const char *o = json_string_value(other);
            replaced = replaced || (o && strcspn(o, "=") == n && strncmp(o, text, n) == 0);
        }
        if (!replaced)
            json_array_append(merged, (json_t *)item);
    }
    json_array_foreach (own, i, item)
        json_array_append(merged, (json_t *)item);
    json_object_set_new(config, "Env", merged);
}

static void merge_object(json_t *config, const json_t *image, const char *key)
{
    const json_t *theirs = field(image, key);
    if (!theirs)
        return;
    json_t *merged = json_copy((json_t *)theirs);
    if (field(config, key))
        json_object_update(merged, json_object_get(config, key));
    json_object_set_new(config, key, merged);
}

static void merge_health(json_t *config, const json_t *image)
{
    const json_t *theirs = field(image, "Healthcheck");
    json_t *ours = json_object_get(config, "Healthcheck");
    if (!theirs)
        return;
    if (empty(ours)) {
        json_object_set(config, "Healthcheck", (json_t *)theirs);
        return;
    }
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)theirs, key, value) {
        const json_t *own = json_object_get(ours, key);
        if (empty(own) || (json_is_integer(own) && json_integer_value(own) == 0))
            json_object_set(ours, key, value);
    }
}

void image_config__merge(json_t *config, const json_t *image)
{
    static const char *const texts[] = {"User", "WorkingDir", "StopSignal"};
    merge_env(config, image);
    if (empty(json_object_get(config, "Entrypoint")) &&
        !json_is_array(json_object_get(config, "Entrypoint"))) { /* [] and [""] switch the image's off */
        if (empty(json_object_get(config, "Cmd")) && field(image, "Cmd"))
            json_object_set(config, "Cmd", json_object_get(image, "Cmd"));
        if (field(image, "Entrypoint"))
            json_object_set(config, "Entrypoint", json_object_get(image, "Entrypoint"));
    }
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        if (empty(json_object_get(config, texts[i])) && field(image, texts[i]))
            json_object_set(config, texts[i], json_object_get(image, texts[i]));
    if (empty(json_object_get(config, "Shell")) && field(image, "Shell"))
        json_object_set(config, "Shell", json_object_get(image, "Shell"));
    merge_object(config, image, "ExposedPorts");
    merge_object(config, image, "Volumes");
    merge_object(config, image, "Labels");
    merge_health(config, image);
}
