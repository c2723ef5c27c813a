/* A session with one repository of a registry: OCI distribution-spec 1.1 and the Docker Registry HTTP API V2,
 * with their token ("Bearer") and basic authentication.
 *
 * registry_open() finds out how the registry is reached (TLS; plain HTTP only for loopback addresses and for
 * registries that were allowed to be insecure). Requests authenticate as the registry asks, once, and again
 * when a token has expired. The session may be shared by threads; each brings its own http_client. */
#ifndef IMAGE_REGISTRY_H
#define IMAGE_REGISTRY_H

#include "base/str.h"
#include "http/client.h"
#include "image/image.h"
#include "image/nodes.h"

struct registry;

/* `host` as in a normalised reference ("docker.io", "localhost:5000"); `scope_actions` "pull" or "pull,push";
 * `repository` may be NULL for a mere login. `auth` may be NULL and is copied. `im` says which registries
 * are trusted how (images_allow_insecure, images_trust). */
int registry_open(const char *host, const char *repository, const char *scope_actions,
                  const struct image_auth *auth, struct images *im, struct registry **ret, struct err *err);
/* For a search: Docker's hub is asked at index.docker.io, which is not where its images are, and nothing is
 * asked of it before. */
int registry_open_index(const char *host, const struct image_auth *auth, struct images *im,
                        struct registry **ret, struct err *err);
/* Another node of the swarm, below `prefix` of its port. Nothing is asked yet. */
void registry_open_node(const struct image_node *node, const struct image_node_files *files,
                        const char *prefix, const char *repository, struct registry **ret);
void registry_free(struct registry *r);

/* One request below /v2/: `path` is relative to the repository ("manifests/latest"), or absolute as a
 * Location header gave it
 * ("/v2/..." or a whole URL). Answers of any status; 401 after authentication was tried is ERR_UNAUTHORIZED,
 * 403 ERR_DENIED. `call` has method, headers, body, source, sink; its url is filled in. A call with a source
 * is not repeated for authentication: make another first. */
int registry_call(struct registry *r, struct http_client *client, struct http_call *call, const char *path,
                  struct http_response *ret, struct err *err);

/* Turns an unexpected answer into an error with the registry's own words ("manifest unknown"); returns the
 * negative code. */
int registry_answer_err(const struct http_response *answer, const char *doing, struct err *err);

/* GET manifests/<reference> (a tag or digest), parsed, with its exact bytes; `name` is for messages. */
int registry_get_manifest(struct registry *registry, struct http_client *client, const char *name,
                          const char *reference, struct str *ret_text, json_t **ret, struct err *err);

/* A blob of the content store, when the registry lacks it; tried a few times. `cancel` (may be NULL) and
 * `idle_timeout_ms` are http_call's. */
int registry_push_blob(struct registry *registry, struct http_client *client, struct images *im,
                       const char *digest, const _Atomic bool *cancel, int idle_timeout_ms, struct err *err);
/* `reference` is a tag or the digest of `text`. */
int registry_put_manifest(struct registry *registry, struct http_client *client, const char *reference,
                          const char *media_type, const struct str *text, struct err *err);

/* A text as a query's value (RFC 3986, percent-encoded); the caller frees. */
char *registry_encode(const char *text);

/* distribution-spec "Listing Tags": the target of the Link header to the next page, or NULL; the caller
 * frees. */
char *registry_next_page(const struct http_response *answer);

/* Runs `one` for each descriptor of an array, by a few threads with a client each; the first failure ends it
 * and is returned. */
typedef int (*registry_each_fn)(void *context, struct http_client *client, const json_t *descriptor,
                                struct err *err);
int registry_for_each(json_t *descriptors, registry_each_fn one, void *context, struct err *err);

/* Tells progress (NULL: nobody listens); ERR_CANCELLED when the listener says so. */
int registry_report(const struct image_progress *p, const char *layer, const char *phase, int64_t current,
                    int64_t total, struct err *err);
/* The 12 hex digits by which progress names a blob. */
void registry_short_id(const char *digest, char out[13]);

/* One challenge of a WWW-Authenticate header (RFC 9110 11.6.1): scheme in lower case, and parameters. */
struct registry_challenge {
    char *scheme, *realm, *service, *scope;
};
int registry_challenge_parse(const char *header, struct registry_challenge *ret, struct err *err);
void registry_challenge_done(struct registry_challenge *c);

#endif
