/* docker save: one archive that is an OCI image layout (index.json, blobs/) and a docker-archive
 * (manifest.json, repositories) over the same blobs, so that every engine and tool reads it. */
#include "base/deferred.h"
#include "base/file.h"
#include "base/json.h"
#include "image/image_priv.h"
#include "image/tar_priv.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/stat.h>

enum { CHUNK = 256 * 1024 };

struct saved {
    struct image_info info;
    char **references; /* asked for; normalised */
    char **legacy;     /* layer blobs for manifest.json: gzip or plain */
};

struct saving {
    struct images *im;
    struct saved *images;
    size_t count, capacity;
    struct map blobs; /* digest -> itself, in order */
    char **brought;   /* decompressed for this archive only */
    struct archive *archive;
    struct err err;
    int fd;
    json_t *index;         /* of images that are saved as one; NULL: each by itself */
    const char *reference; /* its name, normalised, or NULL */
    bool dead;             /* refuses what libarchive still wants to write when it is freed */
};

/* --- what to save --- */

static struct saved *image_of(struct saving *s, const char *name, struct err *err)
{
    struct image_info info = {0};
    if (image_get(s->im, name, &info, err) < 0)
        return NULL;
    for (size_t i = 0; i < s->count; i++)
        if (str_eq(s->images[i].info.id, info.id)) {
            image_info_done(&info);
            return &s->images[i];
        }
    GROW(s->images, s->count, s->capacity);
    s->images[s->count] = (struct saved){.info = info};
    return &s->images[s->count++];
}

static int add_one(struct saving *s, const char *name, struct err *err)
{
    struct err cause = {0};
    struct saved *image = image_of(s, name, &cause);
    if (!image)
        return err_copy(err, &cause);
    _cleanup_free_ char *full = image_ref_normal(name);
    if (full && strv_has(image->info.references, full) && !strv_has(image->references, full))
        strv_add(&image->references, full);
    return 0;
}

/* A bare repository name stands for all its tags. */
static int add_name(struct saving *s, const char *name, struct err *err)
{
    _cleanup_ref_ struct image_ref ref = {0};
    _cleanup_strv_ char **tags = NULL;
    if (image_ref_is_bare(name) && image_ref_parse(name, &ref, NULL) == 0) {
        _cleanup_free_ char *repository = image_ref_repository(&ref);
        /* A repository has no pattern characters. */
        _cleanup_free_ char *pattern = str_printf("%s:*", repository);
        int r = image__query_list(s->im, "SELECT name FROM reference WHERE name GLOB ? ORDER BY name",
                                  pattern, &tags, err);
        if (r < 0)
            return r;
    }
    if (!tags)
        return add_one(s, name, err);
    STRV_FOREACH (t, tags) {
        int r = add_one(s, *t, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int take_blob(struct saving *s, const char *digest, struct err *err)
{
    if (map_has(&s->blobs, digest))
        return 0;
    /* Before anything is sent: a reader could not tell a damaged layer from a good one. */
    int r = image__blob_verify(s->im, digest, err);
    if (r == 0)
        map_put(&s->blobs, digest, s);
    return r;
}

/* Docker before 23 cannot read zstd: it finds the same layer plain. */
static int plain_copy(struct saving *s, const char *digest, char ret[DIGEST_BYTES], struct err *err)
{
    _cleanup_close_ int fd = -EBADF;
    int64_t size;
    int r = image__blob_open(s->im, digest, &fd, &size, err);
    if (r < 0)
        return r;
    _cleanup_(tar__source_free_p) struct tar_source *source = NULL;
    _cleanup_(image__blob_abort_p) struct blob_writer *w = NULL;
    r = tar__source_new(fd, NULL, NULL, NULL, &source, err);
    if (r == 0)
        r = image__blob_begin(s->im, NULL, -1, &w, err);
    _cleanup_free_ char *buffer = mem_new(CHUNK);
    ssize_t n = 1;
    while (r == 0 && (n = tar__source_read(source, buffer, CHUNK, err)) > 0)
        r = image__blob_write(w, buffer, (size_t)n, err);
    if (r < 0 || n < 0)
        return r < 0 ? r : (int)n;
    r = image__blob_commit(take_ptr(w), ret, err);
    if (r == 0)
        strv_add(&s->brought, ret);
    return r;
}

static int take_layer(struct saving *s, struct saved *image, const json_t *layer, struct err *err)
{
    const char *digest = json_str(layer, "digest");
    int r = take_blob(s, digest, err);
    if (r < 0 || !str_ends_with(json_str(layer, "mediaType"), "zstd")) {
        strv_add(&image->legacy, digest);
        return r;
    }
    char plain[DIGEST_BYTES];
    r = plain_copy(s, digest, plain, err);
    if (r < 0)
        return r;
    strv_add(&image->legacy, plain);
    map_put(&s->blobs, plain, s);
    return 0;
}

static int take_attestations(struct saving *s, const struct image_info *info, struct err *err)
{
    _cleanup_json_ json_t *entry = NULL, *manifest = NULL;
    int r = image__attestation(s->im, info, &entry, &manifest, err);
    if (r < 0 || !entry)
        return r;
    r = take_blob(s, json_str(entry, "digest"), err);
    if (r == 0)
        r = take_blob(s, json_str(json_object_get(manifest, "config"), "digest"), err);
    const json_t *layer;
    size_t i;
    json_array_foreach (json_object_get(manifest, "layers"), i, layer)
        if (r == 0)
            r = take_blob(s, json_str(layer, "digest"), err);
    return r;
}

static int take_image(struct saving *s, struct saved *image, struct err *err)
{
    int r = s->index ? take_attestations(s, &image->info, err) : 0;
    if (r == 0)
        r = take_blob(s, image->info.manifest_digest, err);
    if (r == 0)
        r = take_blob(s, image->info.id, err);
    const json_t *layer;
    size_t i;
    json_array_foreach (json_object_get(image->info.manifest, "layers"), i, layer) {
        if (r == 0)
            r = take_layer(s, image, layer, err);
    }
    return r;
}

/* --- the archive --- */

static la_ssize_t push(struct archive *a, void *context, const void *bytes, size_t n)
{
    struct saving *s = context;
    if (!s->dead && file_write_all(s->fd, bytes, n, &s->err) == 0)
        return (la_ssize_t)n;
    archive_set_error(a, EIO, "write error");
    return -1;
}

static int write_failed(struct saving *s, struct err *err)
{
    if (s->err.code)
        return err_copy(err, &s->err);
    const char *why = archive_error_string(s->archive);
    return err_set(err, ERR_SYSTEM, "write archive: %s", why ? why : "unknown error");
}

static int put_header(struct saving *s, const char *name, mode_t mode, int64_t size, struct err *err)
{
    deferred_need(DEFERRED_ARCHIVE);
    struct archive_entry *e = archive_entry_new();
    archive_entry_set_pathname(e, name);
    archive_entry_set_mode(e, mode);
    archive_entry_set_size(e, size);
    archive_entry_set_mtime(e, 0, 0);
    int r = archive_write_header(s->archive, e);
    archive_entry_free(e);
    return r == ARCHIVE_OK ? 0 : write_failed(s, err);
}

static int put_json(struct saving *s, const char *name, const json_t *value, struct err *err)
{
    _cleanup_free_ char *text = json_format(value);
    int r = put_header(s, name, S_IFREG | 0644, (int64_t)strlen(text), err);
    if (r == 0 && archive_write_data(s->archive, text, strlen(text)) < 0)
        r = write_failed(s, err);
    return r;
}

static char *blob_name(const char *digest)
{
    return str_printf("blobs/%.6s/%s", digest, digest_hex(digest));
}

static int put_blob(struct saving *s, const char *digest, struct err *err)
{
    _cleanup_close_ int fd = -EBADF;
    int64_t size;
    int r = image__blob_open(s->im, digest, &fd, &size, err);
    _cleanup_free_ char *name = blob_name(digest), *buffer = mem_new(CHUNK);
    if (r == 0)
        r = put_header(s, name, S_IFREG | 0444, size, err);
    while (r == 0 && size > 0) {
        ssize_t n = file_read_full(fd, buffer, (size_t)MIN((int64_t)CHUNK, size), err);
        if (n < 0)
            return err_wrap(err, "blob %s", digest);
        if (n == 0)
            return image__blob_corrupt(s->im, digest, "it became shorter", err);
        if (archive_write_data(s->archive, buffer, (size_t)n) < 0)
            return write_failed(s, err);
        size -= n;
    }
    return r;
}

static json_t *index_of(struct saving *s)
{
    json_t *manifests = json_array();
    for (size_t i = 0; i < s->count; i++) {
        struct saved *image = &s->images[i];
        json_t *plain = image__index_entry(s->im, &image->info);
        STRV_FOREACH (full, image->references) {
            json_t *named = json_deep_copy(plain);
            json_object_set_new(named, "annotations",
                                json_pack("{s:s, s:s}", "io.containerd.image.name", *full,
                                          "org.opencontainers.image.ref.name", strrchr(*full, ':') + 1));
            json_array_append_new(manifests, named);
        }
        if (!image->references)
            json_array_append(manifests, plain);
        json_decref(plain);
    }
    return json_pack("{s:i, s:s, s:o}", "schemaVersion", 2, "mediaType", MEDIA_OCI_INDEX, "manifests",
                     manifests);
}

static bool is_saved(const struct saving *s, const char *id)
{
    for (size_t i = 0; i < s->count; i++)
        if (str_eq(s->images[i].info.id, id))
            return true;
    return false;
}

static void describe(struct saving *s, struct saved *image, json_t *list, json_t *repositories)
{
    _cleanup_strv_ char **tags = NULL;
    json_t *layers = json_array();
    const char *top = NULL;
    STRV_FOREACH (l, image->legacy) {
        _cleanup_free_ char *name = blob_name(*l);
        json_array_append_new(layers, json_string(name));
        top = *l;
    }
    STRV_FOREACH (full, image->references) {
        _cleanup_free_ char *familiar = image_ref_familiar_text(*full);
        strv_add(&tags, familiar);
        char *colon = strrchr(familiar, ':');
        *colon = '\0';
        if (!json_object_get(repositories, familiar))
            json_object_set_new(repositories, familiar, json_object());
        if (top)
            json_set_str(json_object_get(repositories, familiar), colon + 1, digest_hex(top));
    }
    _cleanup_free_ char *config = blob_name(image->info.id);
    json_t *item = json_pack("{s:s, s:o, s:o}", "Config", config, "RepoTags",
                             tags ? json_of_strv(tags) : json_null(), "Layers", layers);
    if (is_saved(s, image->info.parent_id))
        json_set_str(item, "Parent", image->info.parent_id);
    json_array_append_new(list, item);
}

/* The index is a blob, and index.json leads to it: no docker-archive has such. */
static int put_index(struct saving *s, struct err *err)
{
    _cleanup_free_ char *text = json_format(s->index);
    char digest[DIGEST_BYTES];
    digest_of(text, strlen(text), digest);
    _cleanup_free_ char *name = blob_name(digest);
    json_t *entry = json_pack("{s:s, s:s, s:I}", "mediaType", MEDIA_OCI_INDEX, "digest", digest, "size",
                              (json_int_t)strlen(text));
    if (s->reference)
        json_object_set_new(entry, "annotations",
                            json_pack("{s:s, s:s}", "io.containerd.image.name", s->reference,
                                      "org.opencontainers.image.ref.name", strrchr(s->reference, ':') + 1));
    _cleanup_json_ json_t *top = json_pack("{s:i, s:s, s:[o]}", "schemaVersion", 2, "mediaType",
                                           MEDIA_OCI_INDEX, "manifests", entry),
                          *layout = json_pack("{s:s}", "imageLayoutVersion", "1.0.0");
    int r = put_json(s, name, s->index, err);
    if (r == 0)
        r = put_json(s, "index.json", top, err);
    return r < 0 ? r : put_json(s, "oci-layout", layout, err);
}

static int put_documents(struct saving *s, struct err *err)
{
    if (s->index)
        return put_index(s, err);
    _cleanup_json_ json_t *layout = json_pack("{s:s}", "imageLayoutVersion", "1.0.0"), *index = index_of(s);
    _cleanup_json_ json_t *list = json_array(), *repositories = json_object();
    for (size_t i = 0; i < s->count; i++)
        describe(s, &s->images[i], list, repositories);
    int r = put_json(s, "index.json", index, err);
    if (r == 0)
        r = put_json(s, "manifest.json", list, err);
    if (r == 0)
        r = put_json(s, "oci-layout", layout, err);
    if (r == 0 && json_object_size(repositories))
        r = put_json(s, "repositories", repositories, err);
    return r;
}

static int write_all(struct saving *s, struct err *err)
{
    archive_write_set_format_ustar(s->archive);
    archive_write_set_bytes_per_block(s->archive, 64 * 1024);
    archive_write_set_bytes_in_last_block(s->archive, 1);
    if (archive_write_open(s->archive, s, NULL, push, NULL) != ARCHIVE_OK)
        return write_failed(s, err);
    static const char *const dirs[] = {"blobs/", "blobs/sha256/"};
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(dirs); i++)
        r = put_header(s, dirs[i], S_IFDIR | 0755, 0, err);
    struct map_entry *e;
    for (size_t i = 0; r == 0 && (e = map_next(&s->blobs, &i));)
        r = put_blob(s, e->key, err);
    if (r == 0)
        r = put_documents(s, err);
    if (r == 0 && archive_write_close(s->archive) != ARCHIVE_OK)
        r = write_failed(s, err);
    return r;
}

static int save_all(struct saving *s, char *const *names, struct err *err)
{
    int r = names && *names ? 0 : err_set(err, ERR_INVALID, "no image to save was named");
    for (char *const *n = names; r == 0 && n && *n; n++)
        r = add_name(s, *n, err);
    for (size_t i = 0; r == 0 && i < s->count; i++)
        r = take_image(s, &s->images[i], err);
    if (r < 0)
        return r;
    deferred_need(DEFERRED_ARCHIVE);
    s->archive = archive_write_new();
    must(s->archive);
    r = write_all(s, err);
    s->dead = r < 0;
    archive_write_free(s->archive);
    return r;
}

static int save(struct saving *s, char *const *names, char ***ret_ids, struct err *err)
{
    s->blobs = MAP_INIT(NULL);
    image__hold(s->im);
    int r = save_all(s, names, err);
    image__let_go(s->im, s->brought);
    for (size_t i = 0; i < s->count; i++) {
        if (r == 0 && ret_ids)
            strv_add(ret_ids, s->images[i].info.id);
        image_info_done(&s->images[i].info);
        strv_free(s->images[i].references);
        strv_free(s->images[i].legacy);
    }
    free(s->images);
    map_done(&s->blobs);
    strv_free(s->brought);
    return r < 0 && r != -ERR_NOT_FOUND ? err_wrap(err, "save") : r;
}

int image_save(struct images *im, char *const *names, int fd, char ***ret_ids, struct err *err)
{
    struct saving s = {.im = im, .fd = fd};
    return save(&s, names, ret_ids, err);
}

int image_index_save(struct images *im, char *const *ids, const char *reference, int fd, struct err *err)
{
    _cleanup_free_ char *full = reference ? image_ref_normal(reference) : NULL;
    struct saving s = {.im = im, .fd = fd, .reference = full};
    int r = image__index_of(im, ids, &s.index, err);
    if (r == 0)
        r = save(&s, ids, NULL, err);
    json_decref(s.index);
    return r;
}
