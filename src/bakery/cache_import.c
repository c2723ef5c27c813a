#include "bakery/build_priv.h"

#include "bakery/cache_document.h"
#include "bakery/cache_spec.h"
#include "base/str.h"
#include "image/artifact.h"
#include "image/content.h"

/* Steps from elsewhere: caches that were exported (cache_document.h), and images, whose history and layers
 * say what their steps made.
 *
 * An image as a source is what Docker's classic builder takes for one: when it begins with all that the stage
 * has so far (the same history and the same layers), its next entry may be the next step's, which is known by
 * its text. That text holds a digest of what COPY copied, but not all that a RUN may depend on: one with
 * mounts or rights of its own is never taken from a history.
 *
 * A source that fails is told of and left out: a build needs none. */

struct cache_source {
    char *name;
    struct artifact *artifact; /* NULL: an image of the store */
    json_t *manifest, *config; /* config: of an image */
    struct map steps;
};

void build__import_done(struct builder *b)
{
    for (size_t i = 0; i < b->source_count; i++) {
        struct cache_source *s = &b->sources[i];
        map_done(&s->steps);
        json_decref(s->manifest);
        json_decref(s->config);
        artifact_free(s->artifact);
        free(s->name);
    }
    free(b->sources);
}

static struct cache_source *add_source(struct builder *b, const char *name)
{
    GROW(b->sources, b->source_count, b->source_capacity);
    struct cache_source *s = &b->sources[b->source_count++];
    *s = (struct cache_source){.name = mem_strdup(name), .steps = cache_steps_new()};
    return s;
}

/* An image may carry a cache inside; else its history counts. */
static int read_image(struct cache_source *s, const struct str *config, struct err *err)
{
    const char *text = json_str(json_object_get(s->manifest, "annotations"), CACHE_ANNOTATION);
    if (*text)
        return cache_steps_parse(text, strlen(text), s->manifest, &s->steps, err);
    return json_parse(str_get(config), config->len, "image config", &s->config, err);
}

static int read_source(struct cache_source *s, struct err *err)
{
    _cleanup_str_ struct str config = STR_INIT;
    const json_t *descriptor = json_object_get(s->manifest, "config");
    int r = artifact_document(s->artifact, descriptor, &config, err);
    if (r < 0)
        return r;
    return str_eq(json_str(descriptor, "mediaType"), CACHE_MEDIA_TYPE)
               ? cache_steps_parse(str_get(&config), config.len, s->manifest, &s->steps, err)
               : read_image(s, &config, err);
}

static int open_source(struct builder *b, const struct bakery_cache *from, struct err *err)
{
    const struct bakery_options *o = b->o;
    const struct cache_spec *spec = &from->spec;
    struct artifact *a = NULL;
    int r;
    if (spec->type == CACHE_LOCAL) {
        r = artifact_open_layout(b->im, from->dir, spec->name, &a, err);
    } else {
        struct image_auth auth = o->auth ? o->auth(o->fetch_context, spec->place) : (struct image_auth){0};
        r = artifact_open(b->im, spec->place, o->platform, &auth, &a, err);
    }
    if (r < 0)
        return r;
    struct cache_source *s = add_source(b, spec->place);
    s->artifact = a;
    s->manifest = json_deep_copy(artifact_manifest(a));
    return read_source(s, err);
}

/* An image of the store, as POST /build's cachefrom names them; one that is not here gives nothing. */
static void add_image(struct builder *b, const char *name)
{
    struct image_info info;
    if (image_get(b->im, name, &info, NULL) < 0)
        return;
    struct cache_source *s = add_source(b, name);
    s->manifest = json_incref(info.manifest);
    s->config = json_incref(info.config);
    image_info_done(&info);
}

void build__import_begin(struct builder *b)
{
    STRV_FOREACH (name, (char **)b->o->cache_from)
        add_image(b, *name);
    for (size_t i = 0; i < b->o->import_count && !b->o->no_cache; i++) {
        const struct bakery_cache *from = &b->o->import[i];
        struct err cause = {0};
        build__note(b, NULL, "Importing build cache from %s", from->spec.place);
        if (open_source(b, from, &cause) < 0)
            build__note(b, NULL, "[Warning] build cache %s is not used: %s", from->spec.place, cause.msg);
    }
}

/* --- what a source has --- */

struct found {
    struct cache_source *source;
    const char *created;
    const json_t *layer; /* descriptor, or NULL */
};

static bool begins_with(const json_t *list, const json_t *start)
{
    size_t i;
    const json_t *item;
    json_array_foreach (start, i, item)
        if (!json_equal((json_t *)item, json_array_get(list, i)))
            return false;
    return json_array_size(list) >= json_array_size(start);
}

static const json_t *diff_ids(const json_t *config)
{
    return json_object_get(json_object_get(config, "rootfs"), "diff_ids");
}

static bool find_in_history(struct build *s, struct cache_source *source, const char *created_by,
                            struct found *ret)
{
    const json_t *theirs = json_object_get(source->config, "history"),
                 *ours = json_object_get(s->config, "history"), *layers = diff_ids(s->config);
    const json_t *next = json_array_get(theirs, json_array_size(ours));
    if (!next || !str_eq(json_str(next, "created_by"), created_by) || !*json_str(next, "created") ||
        !str_eq(json_str(source->config, "os"), json_str(s->config, "os")) ||
        !str_eq(json_str(source->config, "architecture"), json_str(s->config, "architecture")) ||
        !begins_with(theirs, ours) || !begins_with(diff_ids(source->config), layers))
        return false;
    *ret = (struct found){.source = source, .created = json_str(next, "created")};
    if (!json_bool(next, "empty_layer"))
        ret->layer = json_array_get(json_object_get(source->manifest, "layers"), json_array_size(layers));
    return ret->layer || json_bool(next, "empty_layer");
}

static bool find_by_key(struct cache_source *source, const char *key, struct found *ret)
{
    const struct cache_step *step = map_get(&source->steps, key);
    if (!step)
        return false;
    *ret = (struct found){.source = source, .created = step->created, .layer = step->layer};
    return true;
}

/* Its layer, if it has one, into the store. */
static int bring_layer(struct build *s, const struct found *f, struct err *err)
{
    int r = f->layer && f->source->artifact ? artifact_blob(f->source->artifact, f->layer, err) : 0;
    if (r == 0 && build__cancelled(s->b))
        r = err_set(err, ERR_CANCELLED, "build cancelled");
    return r;
}

/* What a damaged cache breaks is only its use. */
static int fail(struct build *s, const struct found *f, int r, struct err *cause, struct err *err)
{
    if (r == -ERR_CANCELLED || r == -ERR_NO_SPACE)
        return err_copy(err, cause);
    build__note(s->b, s->stage, "[Warning] the step is not taken from build cache %s: %s", f->source->name,
                cause->msg);
    return 0;
}

static int take_step(struct build *s, const struct found *f, const char *key, const char *created_by,
                     bool *ret_hit, struct err *err)
{
    const char *digest = f->layer ? json_str(f->layer, "digest") : NULL;
    _cleanup_json_ json_t *before = json_deep_copy(s->config);
    struct err cause = {0};
    content_hold(s->b->im);
    int r = bring_layer(s, f, &cause);
    if (r == 0)
        r = build__commit_at(s, created_by, digest, key, f->created, &cause);
    content_let_go(s->b->im, (char *[]){(char *)digest, NULL});
    if (r == 0) {
        *ret_hit = true;
        return build__say_cached(s, err);
    }
    json_decref(s->config);
    s->config = take_ptr(before);
    return fail(s, f, r, &cause, err);
}

int build__import_try(struct build *s, const char *key, const char *created_by, bool by_history,
                      bool *ret_hit, struct err *err)
{
    struct builder *b = s->b;
    for (size_t i = 0; i < b->source_count && !*ret_hit; i++) {
        struct cache_source *source = &b->sources[i];
        struct found f;
        bool found = find_by_key(source, key, &f) && f.created;
        if (!found && source->config && by_history && b->epoch < 0)
            found = find_in_history(s, source, created_by, &f);
        int r = found ? take_step(s, &f, key, created_by, ret_hit, err) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

int build__import_linked(struct build *s, const char *key, const char *link_key, const char *created_by,
                         bool *ret_hit, struct err *err)
{
    char now[TIME_RFC3339_BYTES];
    for (size_t i = 0; i < s->b->source_count && !*ret_hit; i++) {
        struct found f;
        if (!find_by_key(&s->b->sources[i], link_key, &f) || !f.layer)
            continue;
        f.created = build__now(s, now);
        int r = take_step(s, &f, key, created_by, ret_hit, err);
        if (r == 0 && *ret_hit)
            r = image_cache_put(s->b->im, link_key, s->image_id, err);
        if (r < 0)
            return r;
    }
    return 0;
}
