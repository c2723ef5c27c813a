/* A repository of another registry, as the registry inside sees it when it mirrors one or copies to one:
 * manifests and blobs by OCI distribution-spec 1.1, "Pull" and "Push", with the authentication that registry
 * asks for (image/registry.h). One thread at a time uses it. */
#ifndef IMAGE_UPSTREAM_H
#define IMAGE_UPSTREAM_H

#include "base/digest.h"
#include "base/str.h"
#include "http/client.h"

struct images;
struct upstream;

/* `host` as in a reference: "docker.io", "registry.example:5000". `actions` are those of the token
 * specification's scope: "pull", "pull,push,delete". `username` may be NULL. */
int upstream_open(struct images *im, const char *host, const char *repository, const char *actions,
                  const char *username, const char *password, struct upstream **ret, struct err *err);
void upstream_close(struct upstream *u);

/* The digest that a tag has there, by HEAD; "" when the registry does not say. ERR_NOT_FOUND. */
int upstream_head(struct upstream *u, const char *tag, char ret_digest[DIGEST_BYTES], struct err *err);
/* Its bytes, and the Content-Type they came with (the caller frees). Not compared with anything yet. */
int upstream_manifest(struct upstream *u, const char *reference, struct str *ret_bytes, char **ret_media_type,
                      struct err *err);
int upstream_blob(struct upstream *u, const char *digest, http_sink_fn sink, void *context, struct err *err);

/* Sends a blob of this node's content store, unless it is there. `cancel`, set by another thread, ends it
 * (ERR_CANCELLED); so does an upload that stands still (ERR_TIMEOUT). */
int upstream_push_blob(struct upstream *u, const char *digest, const _Atomic bool *cancel, struct err *err);
int upstream_push_manifest(struct upstream *u, const char *reference, const char *media_type,
                           const struct str *bytes, struct err *err);
/* A manifest by digest, or a tag. ERR_NOT_FOUND; ERR_UNSUPPORTED where the registry does not do that. */
int upstream_delete(struct upstream *u, const char *reference, struct err *err);

#endif
