/* Blobs by their digest, for what keeps more than images in the same store: the registry.
 *
 * A blob may be shared by any number of owners: images (table image_blob) and repositories (repository_blob
 * and repository_manifest, the registry's tables in the same database). It is deleted when the last row that
 * names it has gone: content_release() asks and deletes under one lock, so that an owner who has the blob in
 * hand, between content_hold() and content_let_go(), cannot lose it to another's leaving.
 *
 *     content_hold(im);
 *     if (content_has(im, digest, &size) || content_adopt(im, path, digest, &err) == 0)
 *         ... a row that names it ...
 *     content_let_go(im, digests);    without the row, it goes again
 */
#ifndef IMAGE_CONTENT_H
#define IMAGE_CONTENT_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct images;
struct store;

void content_hold(struct images *im);
void content_let_go(struct images *im, char *const *digests);

/* Whether it is there; keeps it until content_let_go() when the caller holds. `ret_size` may be NULL. */
bool content_has(struct images *im, const char *digest, int64_t *ret_size);
/* The same, and keeps nothing. */
bool content_size(struct images *im, const char *digest, int64_t *ret_size);
int content_open(struct images *im, const char *digest, int *ret_fd, int64_t *ret_size, struct err *err);
/* Makes the file at `path`, which lies on the store's file system and whose content has this digest (the
 * caller has made sure), the blob; the name `path` is gone afterwards. Durable when it returns. */
int content_adopt(struct images *im, const char *path, const char *digest, struct err *err);
/* Deletes those of the blobs that nobody owns any more. */
void content_release(struct images *im, char *const *digests);

/* <root>/uploads: what is on its way to becoming a blob; outlives a restart. */
const char *content_uploads_dir(struct images *im);
const char *content_root(struct images *im); /* the directory of it all */
struct store *content_store(struct images *im);

/* Makes an image of a manifest whose blobs are all here, under a normalised reference. */
int content_install(struct images *im, const char *manifest_digest, const char *reference, char **ret_id,
                    struct err *err);

#endif
