/* What the registry's files share: the open registry, checks, and small queries. */
#ifndef REGISTRY_REGISTRY_PRIV_H
#define REGISTRY_REGISTRY_PRIV_H

#include "base/map.h"
#include "base/mem.h"
#include "base/timeutil.h"
#include "image/content.h"
#include "registry/policy.h"
#include "registry/registry.h"
#include "store/store.h"

#include <pthread.h>

struct registry {
    struct images *images;
    struct store *store;
    struct registry_queue *notifier, *replicator;
    struct registry_warmer *warmer; /* see warm.h */
    int64_t grace_ns;
    pthread_mutex_t lock;
    pthread_mutex_t quota_lock; /* held from the look at a quota to the rows that use it up */
    pthread_cond_t wake;
    bool closing, collecting;
    pthread_t collector;
    struct map fetching;            /* what a mirror fetches just now; under lock */
    pthread_cond_t fetched;         /* one of them has been */
    struct registry_policy *policy; /* or NULL; under lock */
    struct map known;               /* "REPOSITORY@DIGEST" -> struct known_blob of blob.c; under lock */
    uint64_t known_at;              /* the store's version that `known` is of */
    char *asked_of;                 /* the repository whose rows were looked up singly last, */
    unsigned asked;                 /* ... and how many since */
    struct map hashes;              /* upload id -> struct upload_hash, see upload.c */
};

/* Fills `err`; returns the negative code of its cause. */
int registry__fail(struct registry_err *err, enum registry_code code, const char *format, ...) _printf_(3, 4);
/* For a failure that has no code of the specification: `err->cause` is filled already. */
int registry__internal(struct registry_err *err);

int registry__check_name(const char *name, struct registry_err *err);
int registry__check_digest(const char *digest, struct registry_err *err);

/* One text column: of at most one row (*ret NULL: none), or of all. Parameters are texts. */
int registry__text(struct registry *r, const char *sql, const char *const *params, size_t n, char **ret,
                   struct registry_err *err);
int registry__texts(struct registry *r, const char *sql, const struct store_value *params, size_t n,
                    char ***ret, struct err *err);
int registry__execute(struct registry *r, const char *sql, const struct store_value *params, size_t n,
                      struct registry_err *err);

struct manifest;
/* manifest.c: a mirror's, whose blobs need not be here. */
int registry__manifest_keep(struct registry *r, const char *repository, const char *digest,
                            const struct manifest *m, const void *bytes, size_t n, const char *tag,
                            struct registry_err *err);

/* upload.c */
/* registry_upload_begin() for a mirror too. */
int registry__upload_begin(struct registry *r, const char *repository, char ret_id[REGISTRY_ID_BYTES],
                           struct registry_err *err);
void registry__upload_hash_free(void *hash);
int registry__uploads_collect(struct registry *r, int64_t before_ns, struct err *err);
/* A row that the repository has the blob, which must be held (image/content.h). */
int registry__blob_link(struct registry *r, const char *repository, const char *digest,
                        struct registry_err *err);

/* quota.c. Where a repository has a quota, from the look at it to the rows that use it up is one step:
 *     bool locked = registry__quota_lock(r, repository);
 *     code = registry__quota_check(r, repository, more, err);    REGISTRY_DENIED
 *     ... the rows ...
 *     registry__quota_unlock(r, locked);
 * Where it has none, nothing is locked, and pushes wait for the disk together. */
bool registry__quota_lock(struct registry *r, const char *repository);
void registry__quota_unlock(struct registry *r, bool locked);
int registry__quota_check(struct registry *r, const char *repository, int64_t more, struct registry_err *err);
/* How many more bytes would fit; INT64_MAX without a quota. */
int registry__quota_room(struct registry *r, const char *repository, int64_t *ret, struct registry_err *err);
int registry__sizes_fill(struct registry *r, struct err *err);

/* blob.c */
/* Whether the repository has the blob, by a row of its own or through an image of its name. */
int registry__blob_known(struct registry *r, const char *repository, const char *digest, bool *ret,
                         struct registry_err *err);

/* local.c: what the node's images have under a repository's name. */
int registry__local_tag(struct registry *r, const char *repository, const char *tag, char **ret_manifest,
                        struct registry_err *err);
int registry__local_tags(struct registry *r, const char *repository, char ***ret, struct registry_err *err);
int registry__local_has(struct registry *r, const char *repository, const char *digest, bool *ret,
                        struct registry_err *err);

#endif
