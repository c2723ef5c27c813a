/* Making images: an upper directory to a layer, layers and a config to an image, and the build cache. */
#include "base/file.h"
#include "base/json.h"
#include "base/timeutil.h"
#include "image/gzip_writer.h"
#include "image/image_priv.h"
#include "image/tar_priv.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 256 * 1024 };
#define LAYER_MAX_BYTES (64LL << 30) /* unpacked: what extraction takes */

/* --- a layer's tar: its diff id, compressed form and blob digest in one pass --- */

struct layer_writer {
    struct blob_writer *blob;
    struct gzip_writer *gzip;
    struct digest_hasher *diff;
    int64_t bytes;
};

static int write_blob(void *context, const void *bytes, size_t n, struct err *err)
{
    return image__blob_write(context, bytes, n, err);
}

static int write_layer(void *context, const void *bytes, size_t n, struct err *err)
{
    struct layer_writer *w = context;
    digest_hasher_add(w->diff, bytes, n);
    w->bytes += (int64_t)n;
    return gzip_writer_add(w->gzip, bytes, n, err);
}

static int layer_writer_begin(struct images *im, struct layer_writer *w, struct err *err)
{
    int r = image__blob_begin(im, NULL, -1, &w->blob, err);
    if (r < 0)
        return r;
    w->gzip = gzip_writer_new(write_blob, w->blob);
    w->diff = digest_hasher_new("sha256");
    return 0;
}

static int layer_writer_finish(struct layer_writer *w, char blob[DIGEST_BYTES], char diff_id[DIGEST_BYTES],
                               struct err *err)
{
    int r = gzip_writer_finish(w->gzip, err);
    if (r < 0)
        return r;
    digest_hasher_format(w->diff, diff_id);
    return image__blob_commit(take_ptr(w->blob), blob, err);
}

static void layer_writer_done(struct layer_writer *w)
{
    image__blob_abort(w->blob);
    gzip_writer_free(w->gzip);
    digest_hasher_free(w->diff);
}

/* --- commit --- */

bool image__lower_has(struct images *im, char *const *lowers, const char *relative)
{
    for (char *const *name = lowers; name && *name; name++) {
        _cleanup_close_ int root = openat(im->layers_fd, *name, O_PATH | O_DIRECTORY | O_CLOEXEC);
        _cleanup_close_ int fd =
            tar__openat2(root, relative, O_PATH | O_NOFOLLOW, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
        struct stat st;
        if (fd >= 0 && fstat(fd, &st) == 0)
            return !tar__is_whiteout(&st);
    }
    return false;
}

struct lowers {
    struct images *im;
    char *const *names;
};

static bool lower_has(void *context, const char *relative)
{
    const struct lowers *l = context;
    return image__lower_has(l->im, l->names, relative);
}

static int write_upper(struct images *im, char *const *lowers, int upper_fd, int64_t epoch,
                       struct layer *layer, int64_t *ret_bytes, struct err *err)
{
    _cleanup_(layer_writer_done) struct layer_writer w = {0};
    int r = layer_writer_begin(im, &w, err);
    if (r < 0)
        return r;
    struct lowers below = {.im = im, .names = lowers};
    int64_t bytes = 0;
    const struct tar_upper upper = {.lower_has = lower_has, .context = &below, .bytes = &bytes};
    const struct tar_create c = {.root_fd = upper_fd, .path = "/", .epoch = epoch};
    r = tar__create(&c, &upper, write_layer, &w, err);
    if (r == 0)
        r = layer_writer_finish(&w, layer->blob, layer->diff_id, err);
    *ret_bytes = bytes;
    return r;
}

static int parent_chain_of(struct images *im, const char *parent_id, char *const *lowers,
                           char ret[DIGEST_BYTES], struct err *err)
{
    ret[0] = '\0';
    if (lowers && *lowers)
        return image__layer_chain_of(im, *lowers, ret, err);
    if (!parent_id)
        return 0;
    _cleanup_free_ char *chain = NULL;
    int r =
        image__query_text(im, "SELECT chain FROM image_layer WHERE image = ? ORDER BY position DESC LIMIT 1",
                          parent_id, &chain, err);
    if (r == 0 && chain && digest_valid(chain))
        memcpy(ret, chain, strlen(chain) + 1);
    return r;
}

struct stack {
    struct layer layer;
    char parent[DIGEST_BYTES];
    bool found;
};

static void copy_digest(char out[DIGEST_BYTES], const struct store_value *v)
{
    const char *text = v->type == STORE_TEXT ? v->bytes : "";
    snprintf(out, DIGEST_BYTES, "%s", text);
}

static int take_stack(void *context, const struct store_value *c, size_t column_count, struct err *err)
{
    struct stack *s = context;
    s->found = true;
    copy_digest(s->layer.chain, &c[0]);
    copy_digest(s->layer.diff_id, &c[1]);
    copy_digest(s->layer.blob, &c[2]);
    copy_digest(s->parent, &c[3]);
    return 0;
}

/* Unpacks the new layer from its blob, over those below it. */
static int unpack_on_top(struct images *im, const struct layer *top, const char *parent_chain,
                         struct err *err)
{
    struct layer *layers = NEW_N(struct layer, LAYERS_MAX + 1);
    size_t at = LAYERS_MAX;
    layers[at] = *top;
    struct stack s;
    char chain[DIGEST_BYTES];
    snprintf(chain, sizeof(chain), "%s", parent_chain);
    int r = 0;
    while (r == 0 && *chain) {
        s = (struct stack){0};
        struct store_value v = store_text(chain);
        r = store_query(im->store, "SELECT chain, diff_id, blob, parent FROM layer WHERE chain = ?", &v, 1,
                        take_stack, &s, err);
        if (r == 0 && (!s.found || at == 0))
            r = s.found ? err_set(err, ERR_LIMIT, "more than %d layers", LAYERS_MAX)
                        : err_set(err, ERR_NOT_FOUND, "layer %s is not unpacked", chain);
        if (r == 0)
            layers[--at] = s.layer;
        snprintf(chain, sizeof(chain), "%s", s.parent);
    }
    if (r == 0)
        r = image__layers_unpack(im, layers + at, LAYERS_MAX + 1 - at, NULL, err);
    free(layers);
    return r;
}

static int place_layer(struct images *im, const struct layer *layer, const char *parent_chain,
                       const char *upper, bool consume, int64_t bytes, struct err *err)
{
    if (!consume)
        return unpack_on_top(im, layer, parent_chain, err);
    if (image__layer_claim(im, layer->chain))
        return 0;
    struct err cause = {0};
    int r = image__layer_adopt(im, layer, parent_chain, upper, bytes, &cause);
    image__layer_release(im, layer->chain);
    /* Another file system: it cannot be moved. */
    if (r < 0 && cause.sys == EXDEV)
        return unpack_on_top(im, layer, parent_chain, err);
    return r < 0 ? err_copy(err, &cause) : 0;
}

static void remember_diff(struct images *im, const char *blob, const char *diff_id)
{
    pthread_mutex_lock(&im->mutex);
    map_put(&im->diffs, blob, mem_strdup(diff_id));
    pthread_mutex_unlock(&im->mutex);
}

static bool dir_is_empty(int fd, struct err *err)
{
    _cleanup_strv_ char **names = NULL;
    return tar__list_dir(fd, &names, err) == 0 && !*names;
}

int image_layer_commit(struct images *im, const char *parent_id_or_null, char *const *lowers,
                       const char *upper, bool consume, int64_t epoch, char **ret_layer_digest,
                       char **ret_diff_id, struct err *err)
{
    _cleanup_close_ int fd = open(upper, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "open %s", upper);
    if (dir_is_empty(fd, err)) {
        *ret_layer_digest = *ret_diff_id = NULL;
        return 0;
    }
    struct layer layer = {0};
    char parent[DIGEST_BYTES];
    int64_t bytes = 0;
    int r = parent_chain_of(im, parent_id_or_null, lowers, parent, err);
    if (r == 0)
        r = write_upper(im, lowers, fd, epoch, &layer, &bytes, err);
    if (r < 0)
        return err_wrap(err, "commit layer");
    image__chain_id(parent, layer.diff_id, layer.chain);
    /* Clamped times are in the tar only: the directory comes from there then, to be the same everywhere. */
    r = place_layer(im, &layer, parent, upper, consume && epoch < 0, bytes, err);
    if (r < 0)
        return err_wrap(err, "commit layer");
    remember_diff(im, layer.blob, layer.diff_id);
    *ret_layer_digest = mem_strdup(layer.blob);
    *ret_diff_id = mem_strdup(layer.diff_id);
    return 0;
}

int image_layer_write(struct images *im, const char *dir, int64_t epoch, char **ret_layer_digest,
                      struct err *err)
{
    _cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "open %s", dir);
    if (dir_is_empty(fd, err))
        return 0;
    struct layer layer = {0};
    int64_t bytes = 0;
    int r = write_upper(im, NULL, fd, epoch, &layer, &bytes, err);
    if (r < 0)
        return err_wrap(err, "write layer");
    remember_diff(im, layer.blob, layer.diff_id);
    *ret_layer_digest = mem_strdup(layer.blob);
    return 0;
}

void image_layer_drop(struct images *im, const char *layer_digest)
{
    char *const digests[] = {(char *)layer_digest, NULL};
    image__unpin_one(im, layer_digest);
    image__blob_sweep(im, digests, NULL);
}

/* --- image_create --- */

static int hash_content(struct images *im, const char *blob, char ret[DIGEST_BYTES], struct err *err)
{
    _cleanup_close_ int fd = -EBADF;
    int64_t size;
    int r = image__blob_open(im, blob, &fd, &size, err);
    if (r < 0)
        return r;
    _cleanup_(tar__source_free_p) struct tar_source *source = NULL;
    r = tar__source_new(fd, NULL, NULL, NULL, &source, err);
    if (r < 0)
        return r;
    _cleanup_hasher_ struct digest_hasher *h = digest_hasher_new("sha256");
    _cleanup_free_ char *buffer = mem_new(CHUNK);
    ssize_t n;
    int64_t bytes = 0;
    while ((n = tar__source_read(source, buffer, CHUNK, err)) > 0) {
        digest_hasher_add(h, buffer, (size_t)n);
        bytes += n;
        if (bytes > LAYER_MAX_BYTES)
            return err_set(err, ERR_LIMIT, "layer %s has more than %lld bytes", blob, LAYER_MAX_BYTES);
    }
    digest_hasher_format(h, ret);
    return (int)MIN(n, 0);
}

static int diff_id_of(struct images *im, const char *blob, char ret[DIGEST_BYTES], struct err *err)
{
    pthread_mutex_lock(&im->mutex);
    const char *known = map_get(&im->diffs, blob);
    if (known)
        snprintf(ret, DIGEST_BYTES, "%s", known);
    pthread_mutex_unlock(&im->mutex);
    if (known)
        return 0;
    _cleanup_free_ char *diff = NULL;
    int r = image__query_text(im, "SELECT diff_id FROM layer WHERE blob = ? LIMIT 1", blob, &diff, err);
    if (r < 0)
        return r;
    if (!diff)
        return hash_content(im, blob, ret, err);
    snprintf(ret, DIGEST_BYTES, "%s", diff);
    return 0;
}

static int add_base_layers(struct images *im, const char *base_id, char ***blobs, json_t *diffs,
                           struct err *err)
{
    struct image_info base = {0};
    int r = image_get(im, base_id, &base, err);
    if (r < 0)
        return r;
    const json_t *item;
    size_t i;
    json_array_foreach (json_object_get(base.manifest, "layers"), i, item)
        strv_add(blobs, json_str(item, "digest"));
    json_array_extend(diffs, json_object_get(json_object_get(base.config, "rootfs"), "diff_ids"));
    image_info_done(&base);
    return 0;
}

static void fill_platform(json_t *doc)
{
    if (!*json_str(doc, "os"))
        json_set_str(doc, "os", "linux");
    if (!*json_str(doc, "architecture"))
        json_set_str(doc, "architecture", image__this_architecture());
}

int image_create(struct images *im, const char *base_id, char *const *layer_digests, const json_t *config,
                 const char *reference, char **ret_id, struct err *err)
{
    _cleanup_strv_ char **blobs = NULL;
    _cleanup_json_ json_t *diffs = json_array(), *doc = json_deep_copy(config), *manifest = NULL;
    _cleanup_free_ char *full = NULL, *id = NULL;
    _cleanup_ref_ struct image_ref ref = {0};
    int r = reference ? image_ref_parse(reference, &ref, err) : 0;
    if (r == 0 && reference)
        full = image_ref_format(&ref);
    if (r == 0 && base_id)
        r = add_base_layers(im, base_id, &blobs, diffs, err);
    for (char *const *d = layer_digests; r == 0 && d && *d; d++) {
        char diff[DIGEST_BYTES];
        r = diff_id_of(im, *d, diff, err);
        strv_add(&blobs, *d);
        json_array_append_new(diffs, json_string(diff));
    }
    if (r < 0)
        return err_wrap(err, "create image");
    json_object_set_new(doc, "rootfs", json_pack("{s:s, s:O}", "type", "layers", "diff_ids", diffs));
    fill_platform(doc);
    _cleanup_free_ char *text = json_format(doc);
    char config_digest[DIGEST_BYTES], manifest_digest[DIGEST_BYTES];
    r = image__blob_put(im, text, strlen(text), config_digest, err);
    if (r == 0)
        r = image__make_manifest(im, config_digest, blobs, manifest_digest, err);
    if (r == 0)
        r = image__blob_json(im, manifest_digest, &manifest, err);
    if (r == 0)
        r = image__install(im, manifest_digest, manifest, config_digest, doc, base_id, NULL, &id, err);
    if (r == 0 && full)
        r = image__set_tag(im, id, full, err);
    if (r < 0)
        return err_wrap(err, "create image");
    *ret_id = take_ptr(id);
    return 0;
}

/* --- import --- */

static int read_plain(void *context, struct layer_writer *w, struct err *err)
{
    struct tar_source *source = context;
    _cleanup_free_ char *buffer = mem_new(CHUNK);
    for (;;) {
        ssize_t n = tar__source_read(source, buffer, CHUNK, err);
        if (n <= 0)
            return (int)n;
        int r = write_layer(w, buffer, (size_t)n, err);
        if (r < 0)
            return r;
    }
}

static int import_layer(struct images *im, int fd, struct layer *layer, struct err *err)
{
    _cleanup_(tar__source_free_p) struct tar_source *source = NULL;
    _cleanup_(layer_writer_done) struct layer_writer w = {0};
    int r = tar__source_new(fd, NULL, NULL, NULL, &source, err);
    if (r == 0)
        r = layer_writer_begin(im, &w, err);
    if (r == 0)
        r = read_plain(source, &w, err);
    if (r == 0 && w.bytes == 0)
        r = err_set(err, ERR_INVALID, "the archive is empty");
    if (r == 0)
        r = layer_writer_finish(&w, layer->blob, layer->diff_id, err);
    if (r < 0)
        return r;
    memcpy(layer->chain, layer->diff_id, sizeof(layer->chain));
    remember_diff(im, layer->blob, layer->diff_id);
    return image__layers_unpack(im, layer, 1, NULL, err);
}

int image_import(struct images *im, int fd, const char *reference, const json_t *config, const char *message,
                 const char *platform, char **ret_id, struct err *err)
{
    struct layer layer = {0};
    char now[TIME_RFC3339_BYTES];
    image__hold(im);
    int r = import_layer(im, fd, &layer, err);
    if (r == 0) {
        time_format_rfc3339(time_now_ns(), now);
        _cleanup_json_ json_t *doc =
            json_pack("{s:s, s:o, s:[{s:s, s:s}]}", "created", now, "config",
                      config ? json_deep_copy(config) : json_object(), "history", "created", now, "comment",
                      str_empty(message) ? "Imported from -" : message);
        if (doc)
            image__platform_into(doc, platform);
        char *layers[] = {layer.blob, NULL};
        r = doc ? image_create(im, NULL, layers, doc, reference, ret_id, err)
                : err_set(err, ERR_INVALID, "the message is not UTF-8");
    }
    char *brought[] = {*layer.blob ? layer.blob : NULL, NULL};
    image__let_go(im, brought);
    return r < 0 ? err_wrap(err, "import") : 0;
}
