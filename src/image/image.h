/* Images of a node: content-addressed blobs in OCI form, references, layers unpacked for overlayfs,
 * containers' writable snapshots; in and out as archives.
 *
 * Below <root>/:  blobs/<algorithm>/<hex>   manifests, configs, layers as they came (OCI image-layout's blobs
 * directory) layers/<short>/           one unpacked layer (diff), named short so that many fit in mount(2)'s
 * page tmp/                      everything half-made; emptied at open images.db                 references,
 * layer table, uses (through src/store) A blob appears at its final name only whole and verified. A layer
 * directory appears only complete.
 *
 * A reference is "name:tag" normalised the Docker way: "busybox" is stored as
 * "docker.io/library/busybox:latest" and shown as "busybox:latest"; image_ref.h parses. An image id is the
 * digest of its config blob. Thread-safe. */
#ifndef IMAGE_IMAGE_H
#define IMAGE_IMAGE_H

#include "base/err.h"
#include "base/str.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct map;
struct images;

/* Progress of pull, push, load, unpack: phase text as Docker's ("Downloading", "Extracting", "Pull
 * complete"), `layer` a short id or "" for the image itself; current and total in bytes (0 total: unknown).
 * May be called from several threads at once. A non-zero return cancels. */
struct image_progress {
    void *context;
    int (*report)(void *context, const char *layer, const char *phase, int64_t current, int64_t total);
};

int images_open(const char *root, struct images **ret, struct err *err);
void images_close(struct images *im);

/* What is known of one image; free with image_info_done(). */
struct image_info {
    char *id; /* "sha256:..." of the config */
    char *manifest_digest;
    char **references; /* normalised "docker.io/library/x:tag" */
    char **digests;    /* "docker.io/library/x@sha256:..." for what was pulled or pushed */
    json_t *config;    /* the OCI image config document (with "config", "rootfs", "history") */
    json_t *manifest;
    char *parent_id; /* local build's parent, or NULL */
    int64_t created_ns;
    int64_t tagged_ns;  /* when it last got a tag; 0: never */
    int64_t size_bytes; /* of the unpacked layers */
};
void image_info_done(struct image_info *info);

/* By reference ("busybox", "busybox:1.37", "x@sha256:..."), full id or unique id prefix. */
int image_get(struct images *im, const char *name, struct image_info *ret, struct err *err);
int image_list(struct images *im, struct image_info **ret, size_t *ret_count,
               struct err *err); /* newest first */
void image_list_free(struct image_info *list, size_t count);
int image_tag(struct images *im, const char *name, const char *new_reference, struct err *err);
/* Docker's rmi: untags; deletes what nothing refers to any more, and with it its nameless parents unless
 * `keep_parents`. `in_use(context, id)` says why an image may not go (returns text to be freed) or NULL;
 * `tell` hears of each "untag" and "delete" of an image as it is done.
 * `ret_log` gets a list of {"Untagged":..} and {"Deleted":..}: names, then images and layers (chain ids). */
struct image_removal {
    bool force, keep_parents;
    char *(*in_use)(void *context, const char *id);
    void (*tell)(void *context, const char *action, const char *id);
    void *context;  /* of both, which may be NULL */
    int64_t *freed; /* may be NULL; grows by the bytes of the disk that came free */
};
int image_remove(struct images *im, const char *name, const struct image_removal *how, json_t **ret_log,
                 struct err *err);
/* An image removed by force under a stopped container is gone for everybody else, and stays for it. To be
 * called when a container has gone: deletes those that `in_use` knows no user of. */
void image_sweep_removed(struct images *im, char *(*in_use)(void *context, const char *id), void *context);

/* Removes the unpacked layers of an image that no other image has but those whose ids are in `idle` (with its
 * own); they are unpacked again at their next use. *freed grows by the bytes of the disk. False: there was
 * nothing to remove. */
bool image_fold(struct images *im, const struct image_info *info, const struct map *idle, int64_t *freed);

/* An image was used just now: a container was made of it, or a build stands on it. Cheap. */
void image_used(struct images *im, const char *id);
/* When that, or a pull, a build or a tag, was last; 0: never. */
int64_t image_last_used(struct images *im, const char *id);

/* Bytes of each unpacked layer, bottom first; the caller frees *ret. */
int image_layer_sizes(struct images *im, const char *id, int64_t **ret, size_t *ret_count, struct err *err);
/* Absolute paths of the unpacked layers, top first; those that are not unpacked are left out. */
int image_layer_dirs(struct images *im, const struct image_info *info, char ***ret, struct err *err);
/* For each image of a list, the bytes of its layers that another of them has too; the caller frees *ret. */
int image_shared_sizes(struct images *im, const struct image_info *list, size_t count, int64_t **ret,
                       struct err *err);
/* What the images of a list take on the disk: layers unpacked and as they came, and documents. A blob that a
 * repository of the registry has is the registry's, and in none of the numbers. The caller frees the arrays.
 */
struct image_disk {
    int64_t *sizes, *shared; /* of each; and of that, what another of the list has too */
    int64_t total;           /* what several have counts once */
};
int image_disk_sizes(struct images *im, const struct image_info *list, size_t count, struct image_disk *ret,
                     struct err *err);
void image_disk_done(struct image_disk *d);

/* Archives: `fd` is read or written as a stream. Load takes docker-archive and OCI layouts, plain or
 * compressed; ret_loaded lists "Loaded image: name:tag" / "Loaded image ID: sha256:.." subjects. */
/* `platform` NULL: of several this machine's, else the first. ERR_NOT_FOUND when one is wanted that an image
 * has not. */
int image_load(struct images *im, int fd, const char *platform, const struct image_progress *p,
               char ***ret_loaded, struct err *err);
/* Readable by docker load and as OCI layout; nothing is written before all is found to be there. ret_ids (may
 * be NULL) gets the ids of the images, as a list the caller frees. */
int image_save(struct images *im, char *const *names, int fd, char ***ret_ids, struct err *err);
/* A root file system tar as a one-layer image; `config` is an OCI "config" object or NULL. reference and
 * platform (this machine's) may be NULL. */
int image_import(struct images *im, int fd, const char *reference, const json_t *config, const char *message,
                 const char *platform, char **ret_id, struct err *err);
const char *image_architecture(void); /* this machine's, as images name it: "amd64" */
/* ERR_INVALID in Docker's words for what is no platform ("linux/arm64/v8", "arm64"). */
int image_platform_check(const char *text, struct err *err);

/* Several images of the node, one for each platform, as one: an image index (image-spec, image-index.md) that
 * lists their manifests. It is made when it is written or pushed, the same for the same images. `ret_digest`
 * is the index's. ERR_INVALID when two are for the same platform. */
struct image_auth;
int image_index_save(struct images *im, char *const *ids, const char *reference, int fd, struct err *err);
int image_index_push(struct images *im, char *const *ids, const char *reference,
                     const struct image_auth *auth, char **ret_digest, int64_t *ret_size, struct err *err);
int image_index_digest(struct images *im, char *const *ids, char **ret_digest, struct err *err);
/* The name, which leads to one of the images, stands for all of them when it is pushed: until it is given to
 * another image or taken away. A name that is made of it (image_tag()) does so, too. At most 64. */
int image_index_keep(struct images *im, char *const *ids, const char *reference, struct err *err);
/* Those ids, in that order; NULL: the name stands for one image. The caller frees. */
int image_index_kept(struct images *im, const char *reference, char ***ret_ids, struct err *err);
/* Whether some name stands for the image so. */
bool image_index_has(struct images *im, const char *id);

/* Registry credentials; empty strings where not given. */
struct image_auth {
    const char *username, *password, *identity_token, *registry_token;
};
/* platform: "linux/arm64/v8" or NULL for this machine. `plain_http_ok` registries: loopback ones always,
 * others as configured by images_allow_insecure(). */
int image_pull(struct images *im, const char *reference, const char *platform, const struct image_auth *auth,
               const struct image_progress *p, char **ret_id, struct err *err);
int image_push(struct images *im, const char *reference, const struct image_auth *auth,
               const struct image_progress *p, char **ret_digest, int64_t *ret_size, struct err *err);
/* The tags a repository has in its registry, as a list the caller frees. */
int image_remote_tags(struct images *im, const char *repository, const struct image_auth *auth, char ***ret,
                      struct err *err);
/* Repositories whose name or description has the words, as GET /images/search lists them; at most `limit`.
 * Asks the registry that `term` begins with, else Docker's hub: its search, or where it has none its catalog.
 */
int image_search(struct images *im, const char *term, int limit, const struct image_auth *auth, json_t **ret,
                 struct err *err);
int image_login(struct images *im, const char *registry, const struct image_auth *auth, char **ret_status,
                struct err *err);
/* What a registry has under a reference, as GET /distribution/{name}/json shows it:
 * {"Descriptor":{"mediaType","digest","size"}, "Platforms":[{"architecture","os","variant"}]}. */
int image_remote_descriptor(struct images *im, const char *reference, const struct image_auth *auth,
                            json_t **ret, struct err *err);
void images_allow_insecure(struct images *im, char *const *registries);
char *const *images_insecure(struct images *im);
/* Docker's directory of certificates: <dir>/HOST[:PORT]/ca.crt vouches for that registry, instead of the
 * system's authorities. NULL: /etc/docker/certs.d. */
void images_trust(struct images *im, const char *certs_dir);
/* The file for a registry, or NULL when there is none; the caller frees. */
char *images_ca_file(struct images *im, const char *host);

/* --- Making images (for the builder and for commit) --- */

/* The unpacked layers of an image as names below <root>/layers, top first, NULL-terminated; unpacks what is
 * missing. */
int image_lowers(struct images *im, const char *id, char ***ret, struct err *err);
const char *images_layers_dir(struct images *im);

/* A writable snapshot over an image (or over nothing, id NULL): <dir>/upper and <dir>/work are made in `dir`.
 * The caller owns the directory. Mounted as a detached tree (nothing appears in the host's mount table):
 * *ret_root_fd is its root directory, alive while the descriptor is open. Use one mount at a time of a
 * snapshot. */
struct image_snapshot {
    char **lowers;
    char *upper, *work;
};
int image_snapshot_create(struct images *im, const char *id, const char *dir, struct image_snapshot *ret,
                          struct err *err);
/* The same over any directory of the machine instead of an image. */
int image_lower_of_path(struct images *im, const char *path, char **ret, struct err *err); /* as a lower */
int image_snapshot_over(struct images *im, const char *path, const char *dir, struct image_snapshot *ret,
                        struct err *err);
int image_snapshot_open(struct images *im, const char *id, const char *dir, struct image_snapshot *ret,
                        struct err *err);
/* Read-only: also while another mount has it, whose work directory is left alone. Not so, only while no other
 * has: overlayfs empties the work directory at each mount, and the one before can change no more files. */
int image_snapshot_mount(struct images *im, const struct image_snapshot *s, bool read_only, int *ret_root_fd,
                         struct err *err);
void image_snapshot_done(struct image_snapshot *s); /* memory only */
/* The same with owners mapped for a user namespace: 0 in the files is `uid`, `gid` in the mount, as the map
 * of `user_ns` says; what is written is mapped back. For a container's root; nothing on disk is changed.
 * `is_volatile`: what is written need not outlive the machine's going down. */
struct image_mapping {
    int user_ns;
    uid_t uid;
    gid_t gid;
};
int image_snapshot_mount_mapped(struct images *im, const struct image_snapshot *s,
                                const struct image_mapping *mapping, bool is_volatile, int *ret_root_fd,
                                struct err *err);

/* Turns what changed in a snapshot (its upper directory) into a layer: tar with OCI whiteouts, compressed,
 * stored as a blob and as an unpacked layer directory (moved, not copied, when `consume`). *ret_diff_id NULL
 * when nothing changed. With `epoch` >= 0 every time is clamped to it. */
int image_layer_commit(struct images *im, const char *parent_id_or_null, char *const *lowers,
                       const char *upper, bool consume, int64_t epoch, char **ret_layer_digest,
                       char **ret_diff_id, struct err *err);

/* The same of a directory that stands on nothing, as a blob alone, for images that are made later; NULL when
 * it is empty. It stays until an image has it or it is dropped. */
int image_layer_write(struct images *im, const char *dir, int64_t epoch, char **ret_layer_digest,
                      struct err *err);
void image_layer_drop(struct images *im, const char *layer_digest);

/* A new image: `base_id`'s layers plus `layer_digests` (already committed on top, bottom first,
 * NULL-terminated), with the config document given (its rootfs.diff_ids are filled in). reference may be
 * NULL. */
int image_create(struct images *im, const char *base_id, char *const *layer_digests, const json_t *config,
                 const char *reference, char **ret_id, struct err *err);

/* Puts annotations (texts) into the image's manifest, which gets another digest by that; the image's id
 * stays. */
int image_annotate(struct images *im, const char *id, const json_t *annotations, struct err *err);

/* What is said of an image by who built it, in-toto statements: [{"PredicateType", "Predicate"}], which take
 * the place of those that it has. They are about its present manifest, and go when it gets another. A push of
 * the image and an index of it bring them along. */
int image_attest(struct images *im, const char *id, const json_t *made, struct err *err);
int image_attest_nothing(struct images *im, const char *id, struct err *err);

/* The build cache: an opaque key to an image id, dropped when the image goes. ERR_NOT_FOUND on a miss. */
int image_cache_get(struct images *im, const char *key, char **ret_id, struct err *err);
int image_cache_put(struct images *im, const char *key, const char *id, struct err *err);
/* The image stays, and no build is given it any more. */
int image_cache_forget(struct images *im, const char *id, struct err *err);
/* What a URL gave when a build last asked it: the content's digest, and the header line that asks whether it
 * is another by now (RFC 9110, 13.1), "" where the server gave nothing to ask by. URLs are kept as hashes,
 * since there may be secrets in them, the latest IMAGE_DOWNLOADS_MAX. ERR_NOT_FOUND. */
enum { IMAGE_DOWNLOADS_MAX = 10000 };
int image_download_get(struct images *im, const char *url, char **ret_condition, char **ret_digest,
                       struct err *err);
int image_download_put(struct images *im, const char *url, const char *condition, const char *digest,
                       struct err *err);
/* One of the images that stand in the cache. */
struct image_cache_record {
    char *id, *parent_id; /* parent_id may be NULL */
    char *description;    /* of the step */
    int64_t created_ns, used_ns, uses;
    int64_t size_bytes;       /* beyond its parent's */
    bool named, has_children; /* a tag names it; another image was built upon it */
};
int image_cache_list(struct images *im, struct image_cache_record **ret, size_t *ret_count, struct err *err);
void image_cache_record_done(struct image_cache_record *record);
void image_cache_list_free(struct image_cache_record *list, size_t count);

/* Changes of an upper directory against its lowers, as Docker's diff: [{"Path":"/x","Kind":0|1|2}] (modified,
 * added, deleted). */
int image_changes(struct images *im, const struct image_snapshot *s, json_t **ret, struct err *err);

/* Writes a tree into / out of an open root as tar, hostile input refused as for layers (docker cp, COPY,
 * volumes' first content): see tar.h. */

#endif
