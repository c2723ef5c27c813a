/* What the files of this folder share: the open store, blobs, layers, and the step from "all blobs are here"
 * to "the image is here" (ingest).
 *
 * Life of a blob: begun in tmp/, written and hashed, and renamed to blobs/<algorithm>/<hex> once digest and
 * size are right and the bytes are on disk. It stays while an image in the database names it (image_blob) or
 * it is pinned, or a repository has it (image/content.h). Begin, commit and has pin it, so that a removal
 * elsewhere cannot take a blob away between its arrival and its image's; the image's ingest unpins. What is
 * neither is garbage: swept at open.
 *
 * Life of a layer: unpacked below tmp/, put right against the layers under it, renamed to layers/<short>,
 * entered into the database, in this order. A chain id (image-spec, config.md "Layer ChainID") is unpacked by
 * one thread at a time; others wait for it. A directory the database does not know is swept at open. */
#ifndef IMAGE_IMAGE_PRIV_H
#define IMAGE_IMAGE_PRIV_H

#include "base/digest.h"
#include "base/map.h"
#include "image/image.h"
#include "image/image_ref.h"
#include "image/nodes.h"
#include "image/own.h"
#include "image/signature_policy.h"
#include "store/store.h"

#include <pthread.h>

enum {
    DOCUMENT_MAX_BYTES = 8 * 1024 * 1024, /* a manifest or config; registries take 4 MiB */
    LAYERS_MAX = 500, /* overlayfs stacks 500; what mount(2)'s page takes is found out at mount */
    UNPACK_WORKERS = 4,
};

#define MEDIA_OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define MEDIA_OCI_INDEX    "application/vnd.oci.image.index.v1+json"
#define MEDIA_OCI_CONFIG   "application/vnd.oci.image.config.v1+json"
#define MEDIA_OCI_LAYER    "application/vnd.oci.image.layer.v1.tar"
#define MEDIA_DOCKER_INDEX "application/vnd.docker.distribution.manifest.list.v2+json"

struct images {
    char *root, *layers_dir, *tmp_dir, *uploads_dir;
    int lock_fd, layers_fd;
    struct store *store;
    pthread_mutex_t mutex; /* all below */
    pthread_cond_t changed;
    struct map pins;      /* digests and chain ids that the sweep leaves alone -> how many times */
    struct map unpacking; /* chain ids in work */
    struct map uses;      /* image -> when it was last used, see use.c */
    struct map diffs;     /* blob -> diff id of layers made here */
    struct map known;     /* name -> struct known_image, see catalog.c */
    uint64_t known_at;    /* the store's version that `known` is of */
    unsigned temp_counter, holds;
    char **brought; /* by operations that hold */
    char **insecure, *certs_dir;
    const struct image_own *own;               /* or NULL */
    struct image_peers *peers;                 /* or NULL */
    const struct image_nodes *nodes;           /* or NULL */
    const struct image_signatures *signatures; /* or NULL */
    bool some_removed; /* perhaps: images that were removed while a container keeps them */
    int mount_method;  /* enum mount_method: what the kernel turned out to take */
};

/* --- blobs --- */
struct blob_writer;
/* `digest` NULL: find it out (sha256). `size` -1: unknown. */
int image__blob_begin(struct images *im, const char *digest, int64_t size, struct blob_writer **ret,
                      struct err *err);
int image__blob_write(struct blob_writer *w, const void *bytes, size_t n, struct err *err);
/* Verifies digest and size; frees `w` in every case. */
int image__blob_commit(struct blob_writer *w, char ret_digest[DIGEST_BYTES], struct err *err);
void image__blob_abort(struct blob_writer *w);
static inline void image__blob_abort_p(struct blob_writer **w)
{
    image__blob_abort(*w);
}
int image__blob_put(struct images *im, const void *bytes, size_t n, char ret_digest[DIGEST_BYTES],
                    struct err *err);
bool image__blob_has(struct images *im, const char *digest); /* and pins it */
int image__blob_open(struct images *im, const char *digest, int *ret_fd, int64_t *ret_size, struct err *err);
/* A whole blob in memory, verified. A corrupt one is put away, so that it can be fetched again. */
int image__blob_read(struct images *im, const char *digest, struct str *ret, struct err *err);
int image__blob_json(struct images *im, const char *digest, json_t **ret, struct err *err);
/* Compares what is on disk with the digest, and puts a corrupt blob away. */
int image__blob_verify(struct images *im, const char *digest, struct err *err);
int image__blob_corrupt(struct images *im, const char *digest, const char *why, struct err *err);
char *image__blob_path(struct images *im, const char *digest);
void image__pin(struct images *im, const char *name);
void image__unpin(struct images *im, const char *name);     /* whoever has pinned it */
void image__unpin_one(struct images *im, const char *name); /* one that was pinned once here */
/* Deletes those of the blobs that no image names and nothing pins. `freed` (may be NULL) grows by the bytes
 * that they took on the disk. */
void image__blob_sweep(struct images *im, char *const *digests, int64_t *freed);

/* Around an operation that brings many blobs: when the last such one ends, what they brought (`digests`) and
 * no image owns is deleted. */
void image__hold(struct images *im);
void image__let_go(struct images *im, char *const *digests);

void image__known_free(void *known_image);
char *image__temp_path(struct images *im, const char *what); /* a fresh name in tmp/ */

/* --- layers --- */
struct layer {
    char chain[DIGEST_BYTES];
    char diff_id[DIGEST_BYTES];
    char blob[DIGEST_BYTES]; /* "" when not known */
};
void image__chain_id(const char *parent_chain, const char *diff_id, char out[DIGEST_BYTES]);
/* Unpacks those that are missing; `layers` bottom first. */
int image__layers_unpack(struct images *im, const struct layer *layers, size_t count,
                         const struct image_progress *p, struct err *err);
/* The directory name of a chain id; ERR_NOT_FOUND. The caller frees. */
int image__layer_find(struct images *im, const char *chain, char **ret_short, int64_t *ret_size,
                      struct err *err);
int image__layer_chain_of(struct images *im, const char *short_name, char ret_chain[DIGEST_BYTES],
                          struct err *err);
/* Enters a complete directory (at `path`, on the same file system) as the layer; takes the directory. */
int image__layer_adopt(struct images *im, const struct layer *layer, const char *parent_chain,
                       const char *path, int64_t size, struct err *err);
/* Removes the directories of those that no image has and nothing pins; their chain ids are added to
 * *ret_gone, and what they took on the disk to *freed; both may be NULL. */
void image__layer_sweep(struct images *im, char *const *chains, char ***ret_gone, int64_t *freed);
/* One of them, also while images have it when it `comes_again` at its next use. False: it stays. */
bool image__layer_remove(struct images *im, const char *chain, bool comes_again, int64_t *freed);
/* What an unpacked layer takes on the disk; 0 for one that is not. */
int64_t image__layer_disk(struct images *im, const char *chain);
/* One thread a chain id: waits for another's work. Returns whether the layer is there now; if not, the caller
 * has the claim and must release it. */
bool image__layer_claim(struct images *im, const char *chain);
void image__layer_release(struct images *im, const char *chain);

/* Whether a path exists below an upper directory; `lowers` top first. */
bool image__lower_has(struct images *im, char *const *lowers, const char *relative);

/* --- images --- */
/* Of an index (or Docker manifest list), the manifest for `platform` ("linux/arm64/v8"; NULL: this
 * machine's).
 */
int image__choose_platform(const json_t *index, const char *platform, char **ret_manifest_digest,
                           struct err *err);
/* All blobs of the manifest are in the store. Verifies the documents, unpacks the layers, records the image,
 * sets the references (each may be NULL): "docker.io/library/x:tag" and "docker.io/library/x@sha256:...". */
int image__ingest(struct images *im, const char *manifest_digest, const char *tag_reference,
                  const char *digest_reference, const struct image_progress *p, char **ret_id,
                  struct err *err);
/* The last part of it, with the documents at hand. */
int image__install(struct images *im, const char *manifest_digest, const json_t *manifest,
                   const char *config_digest, const json_t *config, const char *parent_id,
                   const struct image_progress *p, char **ret_id, struct err *err);
/* Sets os, architecture and variant of a config document; NULL: this machine's. */
void image__platform_into(json_t *config, const char *platform);
const char *image__this_architecture(void); /* as Go names it: "amd64" */
int image__set_tag(struct images *im, const char *id, const char *reference, struct err *err);
/* Unless it has one. */
int image__set_parent(struct images *im, const char *id, const char *parent_id, struct err *err);
int image__add_digest(struct images *im, const char *image_id, const char *repo_digest, struct err *err);
/* Name to id, Docker's way. */
int image__resolve(struct images *im, const char *name, char **ret_id, struct err *err);
/* Layers as config and manifest say, bottom first. */
int image__layers_of(const json_t *manifest, const json_t *config, struct layer **ret, size_t *ret_count,
                     struct err *err);
/* A manifest for a config and layer blobs (bottom first; media types from their first bytes). */
int image__make_manifest(struct images *im, const char *config_digest, char *const *layer_digests,
                         char ret_manifest_digest[DIGEST_BYTES], struct err *err);
/* Whether the image is known and all of its blobs are there. */
bool image__is_complete(struct images *im, const char *id);

int image__report(const struct image_progress *p, const char *layer, const char *phase, int64_t current,
                  int64_t total, struct err *err);
/* The id Docker shows of a layer while it moves: 12 digits of its digest. */
char *image__short_id(const char *digest);

/* own.c */
/* The repository of our own registry that a name without an address stands for; NULL: none. The caller frees.
 */
char *image__own_name(struct images *im, const struct image_ref *ref);
int image__own_find(struct images *im, const struct image_ref *ref, char ret_digest[DIGEST_BYTES],
                    struct err *err);
/* Asks the two in the chosen order; the error is that of the one whose answer counts. */
typedef int (*image_try_fn)(void *context, struct err *err);
int image__own_or_remote(struct images *im, const struct image_ref *ref, image_try_fn own,
                         image_try_fn remote, void *context, struct err *err);

/* peers.c */
void image__peers_free(struct image_peers *p);
/* Asks one peer after the other until one gives 0, ERR_CANCELLED or ERR_NO_SPACE; what else one answers than
 * that it has no such thing is told by progress. ERR_NOT_FOUND when none does, or the name is none of theirs.
 */
typedef int (*image__peer_fn)(void *context, const char *host, const char *repository, struct err *err);
int image__peers_try(struct images *im, const struct image_ref *ref, const struct image_progress *progress,
                     image__peer_fn one, void *context, struct err *err);

/* nodes.c */
struct registry;
/* Asks one node of the swarm after the other until one gives 0, ERR_CANCELLED or ERR_NO_SPACE. `own`: of tags
 * those that were made in the swarm. ERR_NOT_FOUND when none does. */
typedef int (*image__node_fn)(void *context, struct registry *registry, struct err *err);
int image__nodes_try(struct images *im, const struct image_ref *ref, bool own,
                     const struct image_progress *progress, image__node_fn one, void *context,
                     struct err *err);

/* index.c: the document for images that are here, in their order. */
int image__index_of(struct images *im, char *const *ids, json_t **ret, struct err *err);
json_t *image__index_entry(struct images *im, const struct image_info *info); /* a manifest's descriptor */

/* attestation.c: its descriptor in an index, and itself; both NULL when the image has none. */
int image__attestation(struct images *im, const struct image_info *info, json_t **ret_entry,
                       json_t **ret_manifest, struct err *err);

/* signature_check.c */
/* Whether the policy in force lets an image in, of which `digest` is what its name led to (an index's, when
 * it is one); `registry` NULL: found in this process's own. ERR_DENIED names the rule and what is missing. */
struct registry;
struct http_client;
int image__check_signatures(struct images *im, const struct image_ref *ref, struct registry *registry,
                            struct http_client *client, const char *digest, struct err *err);

/* One column of at most one row: *ret NULL when there is none. */
int image__query_text(struct images *im, const char *sql, const char *param, char **ret, struct err *err);
int image__query_list(struct images *im, const char *sql, const char *param, char ***ret, struct err *err);

#endif
