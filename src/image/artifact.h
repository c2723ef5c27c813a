/* What is no image and travels as one does: a manifest with its config document and blobs. It is in a
 * registry (this process's own too), or in a directory as an OCI image layout (image-spec, image-layout.md).
 *
 *     artifact_open(im, "registry:5000/cache:main", NULL, &auth, &a, &err);
 *     artifact_document(a, json_object_get(artifact_manifest(a), "config"), &text, &err);
 *     artifact_blob(a, descriptor, &err);    now the store has it
 *     artifact_free(a);
 *
 * Whoever wrote it is not trusted: digests and sizes are those of the descriptors, or it is ERR_CORRUPT. An
 * open one may be asked by several threads. */
#ifndef IMAGE_ARTIFACT_H
#define IMAGE_ARTIFACT_H

#include "base/str.h"
#include "image/image.h"

struct artifact;

/* Of an index the manifest for `platform` (NULL: this machine's). `auth` may be NULL and is copied.
 * ERR_NOT_FOUND. */
int artifact_open(struct images *im, const char *reference, const char *platform,
                  const struct image_auth *auth, struct artifact **ret, struct err *err);
/* `name` is a tag (annotation org.opencontainers.image.ref.name of the layout's index) or a digest. */
int artifact_open_layout(struct images *im, const char *dir, const char *name, struct artifact **ret,
                         struct err *err);
void artifact_free(struct artifact *a);
static inline void artifact_free_p(struct artifact **a)
{
    artifact_free(*a);
}
#define _cleanup_artifact_ _cleanup_(artifact_free_p)

const json_t *artifact_manifest(const struct artifact *a);
/* A blob of at most 8 MiB in memory. */
int artifact_document(struct artifact *a, const json_t *descriptor, struct str *ret, struct err *err);
/* A blob into the store, if it is not there. Whoever calls holds the content (content.h) and lets go of it.
 */
int artifact_blob(struct artifact *a, const json_t *descriptor, struct err *err);

/* Both take a manifest whose config and layers are blobs of the store; of an index the manifests are there.
 */
int artifact_push(struct images *im, const char *reference, const struct image_auth *auth,
                  const json_t *manifest, char ret_digest[], struct err *err);
/* An image's manifest, under no name but its digest, for an index that comes then. */
int artifact_push_by_digest(struct images *im, const char *reference, const struct image_auth *auth,
                            const char *manifest_digest, struct err *err);
/* Pushes `document` to the reference's repository, of media type and artifact type `type`, as what refers to
 * a manifest that is there and in the store; without a tag. Where the registry lists no referrers, it is
 * added to the index that distribution-spec 1.1 has instead. The same document is the same artifact, and
 * there once. */
int artifact_attach(struct images *im, const char *reference, const struct image_auth *auth,
                    const char *manifest_digest, const char *type, const char *document, char ret_digest[],
                    struct err *err);
/* Adds it to the layout in `dir`, which is made when it is not there; takes the tag from whatever had it. */
int artifact_write_layout(struct images *im, const char *dir, const char *tag, const json_t *manifest,
                          char ret_digest[], struct err *err);
/* A document becomes a blob of the store; its descriptor. */
int artifact_put(struct images *im, const char *media_type, const char *text, json_t **ret, struct err *err);

#endif
