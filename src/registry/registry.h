/* The registry inside: repositories of manifests, tags and blobs, as the OCI Distribution Specification 1.1
 * has them, over the node's own content store.
 *
 * A repository is a name, under which blobs are known (put there by an upload or mounted from another
 * repository), manifests, which name blobs and other manifests, and tags, which name manifests. All of that
 * is rows; the bytes are blobs of src/image, shared with the node's images: what was pushed is run without a
 * copy. And the other way round: an image that the node has under a name of the repository (`web:1.4`, built
 * or pulled here) is served as if it had been pushed; a tag that was pushed goes before one of the same name.
 *
 * Invariants. A manifest in a repository has its config and layers there (those of foreign layers excepted),
 * and keeps them: a blob that a manifest uses is not deleted from the repository. A tag's manifest exists.
 * Whatever was acknowledged is on disk. An upload is a file and a row; nothing of it is served before its
 * digest has been compared.
 *
 * Garbage. A blob of a repository that no manifest there uses is dropped registry_grace_ns after it was last
 * pushed, mounted or asked for, so that a push that is under way (which asks for blobs before it names them)
 * loses nothing; an upload that rests for as long is dropped too. A thread of the registry's own does that
 * while everything else goes on. Bytes go when no repository and no image has them any more
 * (image/content.h).
 *
 * Any thread may call anything. Names, references and digests from outside are checked here. Everything that
 * a client can grow is bounded: REGISTRY_MAX_*. */
#ifndef REGISTRY_REGISTRY_H
#define REGISTRY_REGISTRY_H

#include "base/digest.h"
#include "base/err.h"
#include "base/str.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct registry;
struct images;

enum {
    REGISTRY_MAX_MANIFEST = 8 << 20, /* the specification wants at least 4 MiB to be taken */
    REGISTRY_MAX_UPLOADS = 10000,    /* at the same time */
    REGISTRY_MAX_PAGE = 10000,       /* names in one answer; more come by its Link */
    REGISTRY_MAX_REFERRERS = 500,    /* the same for referrers */
    REGISTRY_MAX_TAGS_PARAM = 16,
    REGISTRY_MAX_SOURCES = 1000,
    REGISTRY_ID_BYTES = 65,
};

/* The specification's error codes (section "Error Codes"); registry_code_name() and _status() tell how each
 * is shown. */
enum registry_code {
    REGISTRY_INTERNAL, /* no code of the specification: `cause` is the whole story */
    REGISTRY_BLOB_UNKNOWN,
    REGISTRY_BLOB_UPLOAD_INVALID,
    REGISTRY_BLOB_UPLOAD_UNKNOWN,
    REGISTRY_DIGEST_INVALID,
    REGISTRY_MANIFEST_BLOB_UNKNOWN,
    REGISTRY_MANIFEST_INVALID,
    REGISTRY_MANIFEST_UNKNOWN,
    REGISTRY_NAME_INVALID,
    REGISTRY_NAME_UNKNOWN,
    REGISTRY_SIZE_INVALID,
    REGISTRY_UNAUTHORIZED,
    REGISTRY_DENIED,
    REGISTRY_UNSUPPORTED,
    REGISTRY_TOO_MANY_REQUESTS,
    REGISTRY_RANGE_INVALID, /* a chunk out of order: BLOB_UPLOAD_INVALID with status 416 */
    REGISTRY_TAG_INVALID,
    REGISTRY_IN_USE,        /* DENIED with status 409 */
    REGISTRY_IMMUTABLE,     /* the same, for a tag that the policy has stay what it is */
    REGISTRY_QUERY_INVALID, /* UNSUPPORTED with status 400: a parameter that makes no sense */
    REGISTRY_TOO_LARGE,     /* SIZE_INVALID with status 413 */
    REGISTRY_CODE_MAX_,
};
const char *registry_code_name(enum registry_code code);
int registry_code_status(enum registry_code code);

struct registry_err {
    enum registry_code code;
    struct err cause;
};

/* `grace_ns` 0: an hour. */
int registry_start(struct images *im, int64_t grace_ns, struct registry **ret, struct err *err);
/* Begins with what waits for webhooks and other registries. Not before the policy is set: what is of a rule
 * that is not there is dropped. */
int registry_deliver(struct registry *r, struct err *err);
void registry_stop(struct registry *r);
/* Does now what the registry's thread does from time to time, as if it were `now_ns`. */
int registry_collect(struct registry *r, int64_t now_ns, struct err *err);

/* The same for the policy's retention (retention.c); `dry_run` changes nothing. `ret_report` (may be NULL):
 * [{"repository", "tag" (null: a manifest), "digest", "reason"}]. */
int registry_retention(struct registry *r, int64_t now_ns, bool dry_run, json_t **ret_report,
                       struct err *err);
/* {"repositories": [{"repository", "tags", "manifests", "blobs", "bytes", "pushed"}], "bytes_on_disk"}: of
 * what was pushed; bytes that several have are on disk once. */
int registry_usage(struct registry *r, json_t **ret, struct err *err);
/* [{"delivery", "webhook", "at", "attempt", "outcome"}]: what became of notifications lately, and those that
 * wait for their first attempt. */
int registry_deliveries(struct registry *r, json_t **ret, struct err *err);
/* {"rules": [{"rule", "target", "waiting", "failing", "since", "lag_ns"}], "log": [{"rule", "at", "attempt",
 * "outcome"}]}: how far the copies in other registries are (replicate.c), and what became of names lately. */
int registry_replication(struct registry *r, json_t **ret, struct err *err);
/* Has every tag compared with what the targets have, and sent where it is missing. */
int registry_replicate_all(struct registry *r, struct err *err);
/* [{"tag", "digest", "pushed", "media_type"}] of one; ERR_NOT_FOUND. */
int registry_describe(struct registry *r, const char *repository, json_t **ret, struct err *err);

/* Checks of what comes from outside; false for what is not well-formed. */
bool registry_name_valid(
    const char *name); /* section "Pulling manifests": path of [a-z0-9] parts, 255 bytes */
bool registry_tag_valid(const char *tag);

/* --- uploads (section "Pushing blobs") --- */
int registry_upload_begin(struct registry *r, const char *repository, char ret_id[REGISTRY_ID_BYTES],
                          struct registry_err *err);
/* `from` NULL: from wherever the digest is. REGISTRY_BLOB_UNKNOWN when it cannot be mounted. */
int registry_upload_mount(struct registry *r, const char *repository, const char *from, const char *digest,
                          struct registry_err *err);
/* Repositories from which a blob can be mounted, sorted, REGISTRY_MAX_SOURCES at most; the caller frees. */
int registry_mount_sources(struct registry *r, const char *digest, char ***ret, struct err *err);
int registry_upload_size(struct registry *r, const char *repository, const char *id, int64_t *ret_size,
                         struct registry_err *err);
/* Appends what `read` gives until it returns 0. `start` <0: wherever the upload stands; else it must stand
 * there (REGISTRY_RANGE_INVALID). `length` >= 0: how much must come. What came before a failure stays, and
 * the upload can be taken up there. One writer at a time (REGISTRY_BLOB_UPLOAD_INVALID). */
typedef ssize_t (*registry_read_fn)(void *context, void *buffer, size_t n, struct err *err);
int registry_upload_append(struct registry *r, const char *repository, const char *id, int64_t start,
                           int64_t length, registry_read_fn read, void *context, int64_t *ret_size,
                           struct registry_err *err);
/* Compares the digest, and makes the upload a blob of the repository; a wrong one ends the upload. */
int registry_upload_finish(struct registry *r, const char *repository, const char *id, const char *digest,
                           struct registry_err *err);
int registry_upload_cancel(struct registry *r, const char *repository, const char *id,
                           struct registry_err *err);

/* --- blobs --- */
int registry_blob_open(struct registry *r, const char *repository, const char *digest, int *ret_fd,
                       int64_t *ret_size, struct registry_err *err);
/* The same from memory alone, without waiting for the store or another registry. False: it may be there all
 * the same. */
bool registry_blob_open_at_hand(struct registry *r, const char *repository, const char *digest, int *ret_fd,
                                int64_t *ret_size);
int registry_blob_delete(struct registry *r, const char *repository, const char *digest,
                         struct registry_err *err);

/* --- manifests; `reference` is a tag or a digest --- */
struct registry_manifest {
    char digest[DIGEST_BYTES];
    char *media_type;
    struct str bytes;
};
void registry_manifest_done(struct registry_manifest *m);
int registry_manifest_get(struct registry *r, const char *repository, const char *reference,
                          struct registry_manifest *ret, struct registry_err *err);
/* `tags`: more names for it (the query's "tag" of a push by digest), or NULL. `ret_subject` is "" without
 * one. */
int registry_manifest_put(struct registry *r, const char *repository, const char *reference,
                          char *const *tags, const char *media_type, const void *bytes, size_t n,
                          char ret_digest[DIGEST_BYTES], char ret_subject[DIGEST_BYTES],
                          struct registry_err *err);
/* By digest the manifest with all its tags, by tag only that. REGISTRY_IMMUTABLE when the policy protects a
 * tag that would go, unless `even_immutable`. */
int registry_manifest_delete(struct registry *r, const char *repository, const char *reference,
                             bool even_immutable, struct registry_err *err);

/* The digest of what was pushed under a reference: unlike registry_manifest_get() it knows nothing of the
 * node's images. REGISTRY_MANIFEST_UNKNOWN. */
int registry_pushed(struct registry *r, const char *repository, const char *reference,
                    char ret_digest[DIGEST_BYTES], struct registry_err *err);
/* The tags that were pushed, sorted; the caller frees. */
int registry_pushed_tags(struct registry *r, const char *repository, char ***ret, struct registry_err *err);
/* A manifest that is in the content store with all its blobs, as those of an image are, becomes the tag:
 * registry_manifest_put() without a byte coming. */
int registry_push_local(struct registry *r, const char *repository, const char *tag, const char *digest,
                        struct registry_err *err);

/* --- lists; after `last` (NULL: from the start), at most `n`; *ret_more: there are others behind --- */
int registry_tags(struct registry *r, const char *repository, const char *last, int n, char ***ret,
                  bool *ret_more, struct registry_err *err);
int registry_repositories(struct registry *r, const char *last, int n, char ***ret, bool *ret_more,
                          struct registry_err *err);
/* An image index of the manifests whose subject this is; `artifact_type` NULL: of all types. */
int registry_referrers(struct registry *r, const char *repository, const char *digest,
                       const char *artifact_type, const char *last, json_t **ret, char ret_last[DIGEST_BYTES],
                       bool *ret_more, struct registry_err *err);

#endif
