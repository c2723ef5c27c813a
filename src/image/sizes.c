/* Where an image's layers are and how much room they take. */
#include "base/json.h"
#include "image/image_priv.h"

#include <sys/stat.h>

int image_layer_sizes(struct images *im, const char *id, int64_t **ret, size_t *ret_count, struct err *err)
{
    struct image_info info;
    struct layer *layers = NULL;
    size_t count = 0;
    int r = image_get(im, id, &info, err);
    if (r < 0)
        return r;
    r = image__layers_of(info.manifest, info.config, &layers, &count, err);
    image_info_done(&info);
    if (r < 0)
        return r;
    int64_t *sizes = NEW_N(int64_t, count + 1);
    for (size_t i = 0; i < count; i++) {
        /* One that is not unpacked takes no room. */
        _cleanup_free_ char *name = NULL;
        if (image__layer_find(im, layers[i].chain, &name, &sizes[i], NULL) < 0)
            sizes[i] = 0;
    }
    free(layers);
    *ret = sizes;
    *ret_count = count;
    return 0;
}

int image_layer_dirs(struct images *im, const struct image_info *info, char ***ret, struct err *err)
{
    _cleanup_free_ struct layer *layers = NULL;
    size_t count = 0;
    int r = image__layers_of(info->manifest, info->config, &layers, &count, err);
    if (r < 0)
        return r;
    char **dirs = NULL;
    for (size_t i = count; i-- > 0;) {
        _cleanup_free_ char *name = NULL;
        if (image__layer_find(im, layers[i].chain, &name, NULL, NULL) == 0)
            strv_take(&dirs, str_printf("%s/%s", im->layers_dir, name));
    }
    *ret = dirs;
    return 0;
}

/* The chain ids of one image's layers, bottom first; none when it is damaged, which its use will tell. */
static char **chains_of(const struct image_info *info)
{
    _cleanup_free_ struct layer *layers = NULL;
    size_t count = 0;
    char **chains = NULL;
    if (image__layers_of(info->manifest, info->config, &layers, &count, NULL) < 0)
        return NULL;
    for (size_t i = 0; i < count; i++)
        strv_add(&chains, layers[i].chain);
    return chains;
}

/* What a part (a layer by its chain id, a blob by its digest) is to the images of a list. */
struct holder {
    size_t image;  /* the first that has it */
    int64_t bytes; /* of the part */
    bool shared;
};

static void holder_note(struct map *holders, const char *part, size_t image, int64_t bytes)
{
    struct holder *h = map_get(holders, part);
    if (!h) {
        h = NEW(struct holder);
        *h = (struct holder){.image = image, .bytes = bytes};
        map_put(holders, part, h);
    } else if (h->image != image) {
        h->shared = true;
    }
}

static int64_t shared_size(const struct map *holders, char *const *parts)
{
    int64_t total = 0;
    for (char *const *p = parts; p && *p; p++) {
        const struct holder *h = map_get(holders, *p);
        total += h && h->shared ? h->bytes : 0;
    }
    return total;
}

int image_shared_sizes(struct images *im, const struct image_info *list, size_t count, int64_t **ret,
                       struct err *err)
{
    char ***chains = NEW_N(char **, count + 1);
    _cleanup_(map_done) struct map holders = MAP_INIT(free);
    for (size_t i = 0; i < count; i++) {
        chains[i] = chains_of(&list[i]);
        STRV_FOREACH (c, chains[i]) {
            _cleanup_free_ char *name = NULL;
            int64_t size = 0;
            if (image__layer_find(im, *c, &name, &size, NULL) == 0)
                holder_note(&holders, *c, i, size);
        }
    }
    int64_t *sizes = NEW_N(int64_t, count + 1);
    for (size_t i = 0; i < count; i++) {
        sizes[i] = shared_size(&holders, chains[i]);
        strv_free(chains[i]);
    }
    free(chains);
    *ret = sizes;
    return 0;
}

/* --- on the disk --- */

static int64_t blob_disk(struct images *im, const char *digest)
{
    _cleanup_free_ char *path = image__blob_path(im, digest);
    struct stat st;
    return lstat(path, &st) == 0 ? (int64_t)st.st_blocks * 512 : 0;
}

static int blobs_of(struct images *im, const char *id, char ***ret, struct err *err)
{
    return image__query_list(im,
                             "SELECT digest FROM image_blob b WHERE image = ?"
                             " AND NOT EXISTS (SELECT 1 FROM repository_blob WHERE digest = b.digest)"
                             " AND NOT EXISTS (SELECT 1 FROM repository_manifest WHERE digest = b.digest)",
                             id, ret, err);
}

/* Both kinds of an image's parts; a chain id of one layer is its diff id, which an uncompressed blob has as
 * its digest, too: so they are told apart by a letter. */
static int disk_parts(struct images *im, const struct image_info *info, size_t image, struct map *holders,
                      char ***ret, struct err *err)
{
    _cleanup_strv_ char **chains = chains_of(info), **blobs = NULL;
    int r = blobs_of(im, info->id, &blobs, err);
    if (r < 0)
        return r;
    STRV_FOREACH (c, chains) {
        _cleanup_free_ char *part = str_printf("l%s", *c);
        if (!strv_has(*ret, part))
            strv_add(ret, part);
        holder_note(holders, part, image, map_has(holders, part) ? 0 : image__layer_disk(im, *c));
    }
    STRV_FOREACH (b, blobs) {
        _cleanup_free_ char *part = str_printf("b%s", *b);
        strv_add(ret, part);
        holder_note(holders, part, image, map_has(holders, part) ? 0 : blob_disk(im, *b));
    }
    return 0;
}

int image_disk_sizes(struct images *im, const struct image_info *list, size_t count, struct image_disk *ret,
                     struct err *err)
{
    char ***parts = NEW_N(char **, count + 1);
    _cleanup_(map_done) struct map holders = MAP_INIT(free);
    struct image_disk d = {.sizes = NEW_N(int64_t, count + 1), .shared = NEW_N(int64_t, count + 1)};
    int r = 0;
    for (size_t i = 0; r == 0 && i < count; i++)
        r = disk_parts(im, &list[i], i, &holders, &parts[i], err);
    for (size_t i = 0; i < count; i++) {
        STRV_FOREACH (p, parts[i]) {
            const struct holder *h = map_get(&holders, *p);
            d.sizes[i] += h->bytes;
        }
        d.shared[i] = shared_size(&holders, parts[i]);
        strv_free(parts[i]);
    }
    free(parts);
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&holders, &i));)
        d.total += ((const struct holder *)e->value)->bytes;
    if (r < 0)
        image_disk_done(&d);
    else
        *ret = d;
    return r;
}

void image_disk_done(struct image_disk *d)
{
    free(take_ptr(d->sizes));
    free(take_ptr(d->shared));
}
