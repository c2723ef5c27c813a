#include "bakery/cache_document.h"

#include "base/digest.h"
#include "base/json.h"
#include "base/timeutil.h"

static void step_free(void *step)
{
    struct cache_step *s = step;
    free(s->created);
    free(s);
}

struct map cache_steps_new(void)
{
    return MAP_INIT(step_free);
}

static int add_step(const json_t *entry, const struct map *layers, struct map *steps, struct err *err)
{
    const char *key = NULL, *created = NULL, *layer = NULL;
    int64_t when;
    int r = json_get_string(entry, "steps", "key", &key, err);
    if (r == 0)
        r = json_get_string(entry, "steps", "created", &created, err);
    if (r == 0)
        r = json_get_string(entry, "steps", "layer", &layer, err);
    if (r == 0 && created)
        r = time_parse_rfc3339(created, &when, err);
    if (r < 0)
        return r;
    const json_t *descriptor = layer ? map_get(layers, layer) : NULL;
    if (!key || !digest_valid(key))
        return err_set(err, ERR_INVALID, "a step without a valid key");
    if (created && strlen(created) >= TIME_RFC3339_BYTES)
        return err_set(err, ERR_INVALID, "step %s has a time that is too long", key);
    if (layer ? !descriptor : !created)
        return err_set(err, ERR_INVALID, "step %s has no layer that the manifest has", key);
    struct cache_step *step = NEW(struct cache_step);
    step->created = mem_strdup(created);
    step->layer = descriptor;
    map_put(steps, key, step);
    return 0;
}

int cache_steps_parse(const char *text, size_t n, const json_t *manifest, struct map *steps, struct err *err)
{
    _cleanup_json_ json_t *document = NULL;
    json_t *list = NULL, *item;
    const json_t *layers = json_object_get(manifest, "layers");
    struct map known = MAP_INIT(NULL);
    size_t i;
    int r = json_parse(text, n, "build cache", &document, err);
    if (r == 0)
        r = json_get_array(document, "", "steps", &list, err);
    if (r == 0 && (json_array_size(list) > CACHE_STEPS_MAX || json_array_size(layers) > CACHE_LAYERS_MAX))
        r = err_set(err, ERR_LIMIT, "it has more than %d steps or %d layers", CACHE_STEPS_MAX,
                    CACHE_LAYERS_MAX);
    if (r == 0)
        json_array_foreach (layers, i, item)
            map_put(&known, json_str(item, "digest"), item);
    json_array_foreach (list, i, item)
        if (r == 0)
            r = add_step(item, &known, steps, err);
    map_done(&known);
    return r;
}
