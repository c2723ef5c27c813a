/* Images that nobody uses can do without their unpacked layers: these are made again of the blobs when one of
 * them is used, as image_lowers() makes what is missing. */
#include "base/file.h"
#include "image/image_priv.h"

static bool has_blob(struct images *im, const char *digest)
{
    _cleanup_free_ char *path = digest_valid(digest) ? image__blob_path(im, digest) : NULL;
    return path && file_exists(path);
}

/* Also images that are hidden, for they are removed when their container goes. */
static bool all_idle(struct images *im, const char *chain, const struct map *idle)
{
    _cleanup_strv_ char **ids = NULL;
    if (image__query_list(im, "SELECT image FROM image_layer WHERE chain = ?", chain, &ids, NULL) < 0)
        return false;
    STRV_FOREACH (id, ids)
        if (!map_has(idle, *id))
            return false;
    return true;
}

bool image_fold(struct images *im, const struct image_info *info, const struct map *idle, int64_t *freed)
{
    _cleanup_free_ struct layer *layers = NULL;
    size_t count = 0;
    bool folded = false;
    if (image__layers_of(info->manifest, info->config, &layers, &count, NULL) < 0)
        return false;
    for (size_t i = count; i-- > 0;)
        if (has_blob(im, layers[i].blob) && all_idle(im, layers[i].chain, idle))
            folded = image__layer_remove(im, layers[i].chain, true, freed) || folded;
    return folded;
}
