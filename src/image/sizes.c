/* Where an image's layers are and how much room they take. */
#include "base/json.h"
#include "image/image_priv.h"

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

/* What a chain id is to the images of a list. */
struct holder {
    size_t image; /* the first that has it */
    bool shared;
};

static void note_holders(struct map *holders, char *const *chains, size_t image)
{
    for (char *const *c = chains; c && *c; c++) {
        struct holder *h = map_get(holders, *c);
        if (!h) {
            h = NEW(struct holder);
            h->image = image;
            map_put(holders, *c, h);
        } else if (h->image != image) {
            h->shared = true;
        }
    }
}

static int64_t shared_size(struct images *im, const struct map *holders, char *const *chains)
{
    int64_t total = 0;
    for (char *const *c = chains; c && *c; c++) {
        const struct holder *h = map_get(holders, *c);
        _cleanup_free_ char *name = NULL;
        int64_t size = 0;
        if (h && h->shared && image__layer_find(im, *c, &name, &size, NULL) == 0)
            total += size;
    }
    return total;
}

int image_shared_sizes(struct images *im, const struct image_info *list, size_t count, int64_t **ret,
                       struct err *err)
{
    char ***chains = NEW_N(char **, count + 1);
    struct map holders = MAP_INIT(free);
    for (size_t i = 0; i < count; i++) {
        chains[i] = chains_of(&list[i]);
        note_holders(&holders, chains[i], i);
    }
    int64_t *sizes = NEW_N(int64_t, count + 1);
    for (size_t i = 0; i < count; i++) {
        sizes[i] = shared_size(im, &holders, chains[i]);
        strv_free(chains[i]);
    }
    free(chains);
    map_done(&holders);
    *ret = sizes;
    return 0;
}
