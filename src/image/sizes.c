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
