#include "bakery/build_priv.h"

#include <sys/stat.h>

/* COPY --link and ADD --link: a layer over nothing. Its key does not hold the image before it, and stands for
 * an image that has the layer on top; from there the layer is taken, whatever is below. */

int build__layer_begin_empty(struct build *s, struct layer *l, struct err *err)
{
    l->dir = build__work_path(s->b);
    if (mkdir(l->dir, 0700) < 0)
        return err_sys(err, errno, "make %s", l->dir);
    return image_snapshot_create(s->b->im, NULL, l->dir, &l->snapshot, err);
}

void build__link_key(const struct build *s, const char *text, char ret[DIGEST_BYTES])
{
    _cleanup_hasher_ struct digest_hasher *h = digest_hasher_new("sha256");
    const char kind[] = "drover link 1";
    digest_hasher_add(h, kind, sizeof(kind));
    digest_hasher_add(h, text, strlen(text) + 1);
    digest_hasher_add(h, &s->b->epoch, sizeof(s->b->epoch));
    digest_hasher_format(h, ret);
}

int build__link_commit(struct build *s, struct layer *l, const char *created_by, const char *key,
                       const char *link_key, struct err *err)
{
    build__layer_unmount(l);
    _cleanup_free_ char *digest = NULL, *diff_id = NULL;
    int r = image_layer_commit(s->b->im, NULL, l->snapshot.lowers, l->snapshot.upper, true, s->b->epoch,
                               &digest, &diff_id, err);
    return r < 0 ? r : build__link_keep(s, digest, created_by, key, link_key, err);
}

int build__link_keep(struct build *s, const char *layer_digest, const char *created_by, const char *key,
                     const char *link_key, struct err *err)
{
    int r = build__commit(s, created_by, layer_digest, key, err);
    if (r == 0 && layer_digest) /* else nothing was copied, and the top layer is another's */
        r = image_cache_put(s->b->im, link_key, s->image_id, err);
    if (r == 0 && layer_digest)
        build__remember(s, link_key, true);
    return r;
}

/* The top layer of the image that the key stands for. */
static int find_layer(struct build *s, const char *link_key, char **ret, struct err *err)
{
    _cleanup_free_ char *id = NULL;
    int r = image_cache_get(s->b->im, link_key, &id, err);
    if (r == 0 && s->b->cache_limited && !map_has(&s->b->cache_sources, id))
        r = -ERR_NOT_FOUND;
    struct image_info info = {0};
    if (r == 0)
        r = image_get(s->b->im, id, &info, err);
    if (r < 0)
        return r;
    json_t *layers = json_object_get(info.manifest, "layers");
    const char *digest = json_str(json_array_get(layers, json_array_size(layers) - 1), "digest");
    if (*digest)
        *ret = mem_strdup(digest);
    image_info_done(&info);
    return *ret ? 0 : -ERR_NOT_FOUND;
}

static int link_own(struct build *s, const char *created_by, const char *key, const char *link_key,
                    bool *ret_hit, struct err *err)
{
    _cleanup_free_ char *digest = NULL;
    int r = find_layer(s, link_key, &digest, err);
    if (r < 0)
        return r == -ERR_NOT_FOUND ? 0 : r;
    r = build__commit(s, created_by, digest, key, err);
    if (r < 0)
        return r;
    *ret_hit = true;
    return build__say_cached(s, err);
}

int build__link_try(struct build *s, const char *created_by, const char *key, const char *link_key,
                    bool *ret_hit, struct err *err)
{
    *ret_hit = false;
    if (build__no_cache(s))
        return 0;
    int r = link_own(s, created_by, key, link_key, ret_hit, err);
    if (r == 0 && !*ret_hit)
        r = build__import_linked(s, key, link_key, created_by, ret_hit, err);
    if (r == 0 && *ret_hit)
        build__remember(s, link_key, true);
    return r;
}
