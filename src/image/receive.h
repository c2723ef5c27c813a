/* Images that come from another node blob by blob, without a registry: `drover image push` and `pull` with
 * ssh://...
 *
 * The sender asks what of an image is missing here, sends that, and has the image put together:
 *
 *     image_content() there -> image_receive_missing() -> image_receive_blob() ... -> image_receive_install()
 *
 * What has come of a blob stays in <root>/incoming/ under its digest when the connection breaks off, through
 * a restart and a kill as well, and is taken up there; image_receive_missing() tells how far it is. Nothing
 * of it is a blob before all of the image is here and every digest has been compared. What rests for
 * RECEIVE_REST_NS is dropped, and at most RECEIVE_MAX_BLOBS are kept at a time.
 *
 * Any thread; one writer a blob (ERR_CONFLICT). The sender's words are checked here. */
#ifndef IMAGE_RECEIVE_H
#define IMAGE_RECEIVE_H

#include "base/err.h"

#include <jansson.h>
#include <stdint.h>
#include <sys/types.h>

struct images;

enum { RECEIVE_MAX_BLOBS = 1024 };
#define RECEIVE_REST_NS (INT64_C(24) * 3600 * 1000000000)

/* {"Id", "Manifest", "References": [...], "Blobs": [{"digest", "size"}]}: the manifest, the config and the
 * layers. A layer that several places of the image have stands there once. */
int image_content(struct images *im, const char *name, json_t **ret, struct err *err);

/* Of [{"digest", "size"}] those that are not here, with "offset": where each is to be gone on with. */
int image_receive_missing(struct images *im, const json_t *blobs, json_t **ret, struct err *err);

/* Appends what `read` gives until it returns 0; the blob must stand at `offset`, and does not grow beyond
 * `size` (ERR_CONFLICT, ERR_INVALID). What came before a failure stays. */
typedef ssize_t (*image_read_fn)(void *context, void *buffer, size_t n, struct err *err);
int image_receive_blob(struct images *im, const char *digest, int64_t size, int64_t offset,
                       image_read_fn read, void *context, int64_t *ret_have, struct err *err);

/* `digests`: all blobs of the image. ERR_CORRUPT drops what does not have its digest; ERR_NOT_FOUND when one
 * is not here (any more). `references` (may be NULL) are normalised here. The caller frees *ret_id. */
int image_receive_install(struct images *im, const char *manifest, char *const *digests,
                          char *const *references, char **ret_id, struct err *err);

/* Drops what has rested since before `before_ns`. */
int image_receive_collect(struct images *im, int64_t before_ns, struct err *err);

#endif
