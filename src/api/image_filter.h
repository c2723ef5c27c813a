/* Which images `docker images` and `docker image prune` mean: Docker's filters over the whole list. */
#ifndef API_IMAGE_FILTER_H
#define API_IMAGE_FILTER_H

#include "image/image.h"

struct image_filter;

/* `list` and `filters` (may be NULL) stay the caller's and must outlive it. ERR_INVALID for an unknown
 * filter, ERR_NOT_FOUND for an image in before or since. */
int image_filter_new(struct images *im, const json_t *filters, const struct image_info *list, size_t count,
                     struct image_filter **ret, struct err *err);
void image_filter_free(struct image_filter *f);
static inline void image_filter_free_p(struct image_filter **f)
{
    image_filter_free(*f);
}
/* `all`: also nameless images that others were built upon. */
bool image_filter_takes(const struct image_filter *f, const struct image_info *info, bool all);
/* Those of an image's names that the filter "reference" lets through; the caller frees. */
char **image_filter_names(const struct image_filter *f, char *const *references);
/* No name, and nothing built upon it. */
bool image_filter_dangling(const struct image_filter *f, const struct image_info *info);

#endif
