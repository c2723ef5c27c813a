/* The registry of this process (src/registry), as pulls and pushes of names without an address see it.
 *
 * `web:1.4` and `team/web:1.4` name no registry. Docker takes them for docker.io's; where a registry of our
 * own is set here, they are its as well, in the order that was chosen. A pull from it moves no byte, since
 * its blobs are the images' own: what was pushed there becomes an image by its rows. What has an address
 * (`host:5000/web`) is never asked of it here.
 *
 * Only what was pushed counts: that an image has the name already is no reason to believe it is the newest.
 */
#ifndef IMAGE_OWN_H
#define IMAGE_OWN_H

#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"

#include <stdbool.h>

struct images;

enum image_own_order {
    IMAGE_OWN_FIRST, /* before docker.io; a push goes here */
    IMAGE_OWN_LAST,  /* after docker.io; a push goes there */
    IMAGE_OWN_ONLY,  /* docker.io is not asked */
};
/* "first", "last", "only". */
bool image_own_order_parse(const char *text, enum image_own_order *ret);

/* Repositories are named as the registry names them: "web", "team/web". */
struct image_own {
    void *context;
    enum image_own_order order;
    /* The digest that a pushed tag or digest stands for; ERR_NOT_FOUND when nobody pushed it. */
    int (*find)(void *context, const char *repository, const char *reference, char ret_digest[DIGEST_BYTES],
                struct err *err);
    /* The tags that were pushed; the caller frees. */
    int (*tags)(void *context, const char *repository, char ***ret, struct err *err);
    /* An index of the pushed manifests of an artifact type that refer to the digest; the caller frees. */
    int (*referrers)(void *context, const char *repository, const char *digest, const char *artifact_type,
                     json_t **ret, struct err *err);
    /* A manifest of the store, with all its blobs, becomes the tag. */
    int (*push)(void *context, const char *repository, const char *tag, const char *manifest_digest,
                struct err *err);
};

/* `own` is borrowed until it is set to NULL; not while pulls or pushes go on. */
void images_set_own(struct images *im, const struct image_own *own);

#endif
