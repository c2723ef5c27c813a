/* What a manifest says that a registry must know, read from any of the forms that are stored: OCI image
 * manifests, indexes and artifacts, Docker's manifests of schema 2 and lists (image-spec manifest.md,
 * image-index.md; distribution-spec "Pushing Manifests"). Pure. */
#ifndef REGISTRY_MANIFEST_H
#define REGISTRY_MANIFEST_H

#include "registry/registry.h"

enum { MANIFEST_MAX_DESCRIPTORS = 4096 };

struct manifest_blob {
    const char *digest; /* borrowed from the document */
    int64_t size;
};

struct manifest {
    json_t *document;
    const char *media_type, *artifact_type; /* "" when it has none */
    const char *subject;                    /* digest, or NULL */
    const json_t *annotations;              /* an object, or NULL */
    struct manifest_blob *blobs;            /* that must be in the repository: config and layers */
    size_t blob_count;
};

/* `media_type` is the request's Content-Type, or NULL. Fails with REGISTRY_MANIFEST_INVALID,
 * REGISTRY_UNSUPPORTED for a form that is not stored, or REGISTRY_DIGEST_INVALID. */
int manifest_parse(const void *bytes, size_t n, const char *media_type, struct manifest *ret,
                   struct registry_err *err);
void manifest_done(struct manifest *m);

#endif
