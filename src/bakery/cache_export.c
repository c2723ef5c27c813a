#include "bakery/build_priv.h"

#include "bakery/cache_document.h"
#include "bakery/cache_spec.h"
#include "base/str.h"
#include "image/artifact.h"
#include "image/content.h"

/* Steps to elsewhere: what the stages' keys made, as one manifest with their layers (cache_document.h). A
 * base image's layers are not among them: whoever builds upon it has it. */

void build__remember(struct build *s, const char *key, bool layer_alone)
{
    struct stage *stage = s->stage;
    GROW(stage->made, stage->made_count, stage->made_capacity);
    struct made_step *m = &stage->made[stage->made_count++];
    snprintf(m->key, sizeof(m->key), "%s", key);
    m->image_id = mem_strdup(s->image_id);
    m->layer_alone = layer_alone;
}

void build__forget_made(struct stage *stage)
{
    for (size_t i = 0; i < stage->made_count; i++)
        free(stage->made[i].image_id);
    free(stage->made);
}

struct collected {
    json_t *steps, *layers;
    struct map known; /* digests of the layers */
};

static void collected_done(struct collected *c)
{
    json_decref(c->steps);
    json_decref(c->layers);
    map_done(&c->known);
}

static int add_step(struct builder *b, struct collected *c, const struct made_step *made, struct err *err)
{
    struct image_info info;
    int r = image_get(b->im, made->image_id, &info, err);
    if (r < 0)
        return r;
    const json_t *history = json_object_get(info.config, "history"),
                 *layers = json_object_get(info.manifest, "layers");
    const json_t *last = json_array_get(history, json_array_size(history) - 1);
    json_t *layer = json_array_get(layers, json_array_size(layers) - 1);
    json_t *step = json_pack("{s:s}", "key", made->key);
    if (!made->layer_alone)
        json_object_set(step, "created", json_object_get(last, "created"));
    if (layer && !json_bool(last, "empty_layer")) {
        const char *digest = json_str(layer, "digest");
        json_set_str(step, "layer", digest);
        if (!map_has(&c->known, digest))
            json_array_append(c->layers, layer);
        map_put(&c->known, digest, c);
    }
    json_array_append_new(c->steps, step);
    image_info_done(&info);
    return 0;
}

/* The stages the result stands on, or all that were built. */
static bool is_exported(const struct builder *b, size_t index, bool max)
{
    bool chain = false;
    for (ssize_t at = (ssize_t)b->target; at >= 0; at = b->stages[at].base_stage)
        chain = chain || (size_t)at == index;
    return max || chain;
}

static int collect(struct builder *b, bool max, struct collected *c, struct err *err)
{
    *c = (struct collected){json_array(), json_array(), MAP_INIT(NULL)};
    int r = 0;
    for (size_t i = 0; i <= b->target; i++)
        for (size_t k = 0; r == 0 && is_exported(b, i, max) && k < b->stages[i].made_count; k++)
            r = add_step(b, c, &b->stages[i].made[k], err);
    if (r == 0 &&
        (json_array_size(c->steps) > CACHE_STEPS_MAX || json_array_size(c->layers) > CACHE_LAYERS_MAX))
        r = err_set(err, ERR_LIMIT, "the build has more than %d steps or %d layers", CACHE_STEPS_MAX,
                    CACHE_LAYERS_MAX);
    return r;
}

static char *document_of(const struct collected *c)
{
    _cleanup_json_ json_t *document = json_pack("{s:O}", "steps", c->steps);
    return json_format(document);
}

static int send_manifest(struct builder *b, const struct bakery_cache *to, const json_t *manifest,
                         struct err *err)
{
    const struct bakery_options *o = b->o;
    char digest[DIGEST_BYTES];
    if (to->spec.type == CACHE_LOCAL)
        return artifact_write_layout(b->im, to->dir, to->spec.name, manifest, digest, err);
    struct image_auth auth = o->auth ? o->auth(o->fetch_context, to->spec.place) : (struct image_auth){0};
    return artifact_push(b->im, to->spec.place, &auth, manifest, digest, err);
}

/* A manifest has at least one layer: where no step has any, OCI's empty one stands for it. */
static int manifest_of(struct builder *b, const struct collected *c, json_t **ret, struct err *err)
{
    _cleanup_free_ char *text = document_of(c);
    _cleanup_json_ json_t *config = NULL, *empty = NULL;
    int r = artifact_put(b->im, CACHE_MEDIA_TYPE, text, &config, err);
    if (r == 0 && json_array_size(c->layers) == 0)
        r = artifact_put(b->im, "application/vnd.oci.empty.v1+json", "{}", &empty, err);
    if (r < 0)
        return r;
    if (empty)
        json_array_append(c->layers, empty);
    *ret = json_pack("{s:i, s:s, s:s, s:O, s:O}", "schemaVersion", 2, "mediaType",
                     "application/vnd.oci.image.manifest.v1+json", "artifactType", CACHE_MEDIA_TYPE, "config",
                     config, "layers", c->layers);
    return 0;
}

static int export_one(struct builder *b, const struct bakery_cache *to, struct err *err)
{
    _cleanup_(collected_done) struct collected c;
    _cleanup_json_ json_t *manifest = NULL;
    content_hold(b->im);
    int r = collect(b, to->spec.max, &c, err);
    if (r == 0)
        r = manifest_of(b, &c, &manifest, err);
    if (r == 0)
        r = send_manifest(b, to, manifest, err);
    const char *config = json_str(json_object_get(manifest, "config"), "digest");
    const char *last = json_str(json_array_get(c.layers, json_array_size(c.layers) - 1),
                                "digest"); /* perhaps the empty one */
    content_let_go(b->im, manifest ? (char *[]){(char *)config, (char *)last, NULL} : NULL);
    return r;
}

int build__export(struct builder *b, struct err *err)
{
    for (size_t i = 0; i < b->o->export_count; i++) {
        const struct bakery_cache *to = &b->o->export[i];
        struct err cause = {0};
        if (to->spec.type == CACHE_INLINE)
            continue;
        build__note(b, NULL, "Exporting build cache to %s", to->spec.place);
        if (export_one(b, to, &cause) == 0)
            continue;
        if (!to->spec.ignore_error) {
            err_copy(err, &cause);
            return err_wrap(err, "export the build cache to %s", to->spec.place);
        }
        build__note(b, NULL, "[Warning] the build cache was not exported to %s: %s", to->spec.place,
                    cause.msg);
    }
    return 0;
}

int build__inline_cache(struct builder *b, json_t *annotations, struct err *err)
{
    bool wanted = false;
    for (size_t i = 0; i < b->o->export_count; i++)
        wanted = wanted || b->o->export[i].spec.type == CACHE_INLINE;
    if (!wanted)
        return 0;
    _cleanup_(collected_done) struct collected c;
    int r = collect(b, false, &c, err);
    _cleanup_free_ char *text = r == 0 ? document_of(&c) : NULL;
    if (r == 0 && strlen(text) > CACHE_INLINE_MAX)
        r = err_set(err, ERR_LIMIT, "it is larger than %d bytes: use --cache-to type=registry",
                    CACHE_INLINE_MAX);
    if (r < 0)
        return err_wrap(err, "inline build cache");
    json_set_str(annotations, CACHE_ANNOTATION, text);
    return 0;
}
