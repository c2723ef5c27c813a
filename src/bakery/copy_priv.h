/* Between COPY and ADD's sources (copy_sources.c) and the copying (copy.c). */
#ifndef BAKERY_COPY_PRIV_H
#define BAKERY_COPY_PRIV_H

#include "bakery/build_priv.h"
#include "bakery/source.h"
#include "base/file_mode.h"

/* A new directory whose content comes when the overlay has gone. */
struct later {
    char *from, *to; /* below the last source; in the image's root */
};

struct copy {
    struct build *s;
    const struct df_step *step;
    struct sources sources;
    char *destination;     /* absolute, cleaned */
    bool into_dir;         /* written with a slash at its end */
    char *owner;           /* --chown, expanded; or NULL */
    char *mode_text;       /* --chmod, expanded; or NULL */
    struct file_mode mode; /* the same */
    struct ignore *exclude;
    bool link, parents;
    const char *upper; /* of the layer, borrowed */
    struct later *later;
    size_t later_count, later_capacity;
    struct layer from; /* COPY --from: the other image, read-only */
    char *hash;        /* of the sources */
    char *made_layer;  /* --link: the layer's blob, when it was made ahead */
};

/* All that does not depend on the image below: flags, destination, sources and their hash. `c` has s and
 * step. */
int copy__prepare(struct copy *c, struct err *err);
/* Writes the layer of a --link that is prepared, where it is sure to be needed. */
int copy__make_link(struct copy *c, struct err *err);
void copy__done(struct copy *c);

/* Fills c->sources, in the order of the instruction; checks out what is elsewhere, and downloads what cannot
 * be known otherwise. */
int copy__find_sources(struct copy *c, struct err *err);
int copy__check_name(const char *name, struct err *err); /* of a file that is made for the step */
int copy__make_dir(struct copy *c, char **ret, struct err *err);

/* --- download.c --- */
int copy__add_url(struct copy *c, const char *url, struct err *err);
int copy__bring(struct copy *c, struct err *err); /* those downloads that a layer is about to be made of */

#endif
