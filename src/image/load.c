/* docker load: archives of images, as a stream. Every file of the archive becomes a blob (those of an OCI
 * layout are checked against their names); then index.json or manifest.json says what they mean; at the end
 * the blobs that no image came to own are swept. */
#include "base/deferred.h"
#include "base/file.h"
#include "base/json.h"
#include "image/image_priv.h"
#include "image/tar_priv.h"

#include <archive.h>
#include <archive_entry.h>

enum { CHUNK = 256 * 1024, ENTRIES_MAX = 100000, LINK_HOPS_MAX = 16 };

struct loading {
    struct images *im;
    const char *platform; /* wanted, or NULL */
    const struct image_progress *progress;
    struct map files; /* clean name -> digest */
    struct map links; /* clean name -> clean name */
    char **digests;   /* all blobs that this load brought */
    char **loaded;    /* what is said to the user */
    char **ids;
    int entries;
};

/* --- the outer archive --- */

static int store_file(struct loading *l, struct archive *a, struct archive_entry *entry, const char *name,
                      struct err *err)
{
    /* blobs/<algorithm>/<hex>: image-layout.md "Blobs" */
    _cleanup_free_ char *digest = NULL;
    const char *rest = str_after(name, "blobs/");
    if (rest && strchr(rest, '/')) {
        digest = mem_strdup(rest);
        *strchr(digest, '/') = ':';
        if (!digest_valid(digest))
            return err_set(err, ERR_INVALID, "\"%.200s\" is not the name of a blob that is supported", name);
    }
    _cleanup_(image__blob_abort_p) struct blob_writer *w = NULL;
    int r = image__blob_begin(l->im, digest, archive_entry_size(entry), &w, err);
    if (r < 0)
        return r;
    if (digest)
        strv_add(&l->digests, digest);
    _cleanup_free_ char *buffer = mem_new(CHUNK);
    la_ssize_t n;
    while ((n = archive_read_data(a, buffer, CHUNK)) > 0) {
        r = image__blob_write(w, buffer, (size_t)n, err);
        if (r < 0)
            return r;
    }
    if (n < 0)
        return tar__archive_err(a, err);
    char got[DIGEST_BYTES];
    r = image__blob_commit(take_ptr(w), got, err);
    if (r < 0)
        return r;
    if (!digest)
        strv_add(&l->digests, got);
    map_put(&l->files, name, mem_strdup(got));
    return 0;
}

/* A symlink's target as a name of the archive: "a/layer.tar" -> "../b/layer.tar" is "b/layer.tar". */
static int link_target(const char *name, const char *target, struct str *ret, struct err *err)
{
    _cleanup_free_ char *dir = mem_strdup(name);
    for (bool up = true; up;) {
        char *slash = strrchr(dir, '/');
        *(slash ? slash : dir) = '\0';
        up = str_after(target, "../") && slash;
        target += up ? 3 : 0;
    }
    _cleanup_free_ char *full = str_printf("%s%s%s", dir, *dir ? "/" : "", target);
    return tar__clean_name(full, "link target", false, ret, err);
}

static int take_entry(struct loading *l, struct archive *a, struct archive_entry *entry, struct err *err)
{
    if (++l->entries > ENTRIES_MAX)
        return err_set(err, ERR_LIMIT, "an image archive of more than %d files: refused", ENTRIES_MAX);
    _cleanup_str_ struct str name = STR_INIT, target = STR_INIT;
    int r = tar__clean_name(archive_entry_pathname(entry), "entry", false, &name, err);
    if (r < 0 || !name.len)
        return r;
    const char *hard = archive_entry_hardlink(entry);
    if (hard) {
        r = tar__clean_name(hard, "hard link target", false, &target, err);
        if (r == 0)
            map_put(&l->links, str_get(&name), mem_strdup(str_get(&target)));
        return r;
    }
    switch (archive_entry_filetype(entry)) {
    case AE_IFDIR:
        return 0;
    case AE_IFREG:
        r = store_file(l, a, entry, str_get(&name), err);
        return r < 0 ? err_wrap(err, "entry \"%.200s\"", str_get(&name)) : 0;
    case AE_IFLNK:
        r = link_target(str_get(&name), archive_entry_symlink(entry), &target, err);
        if (r == 0)
            map_put(&l->links, str_get(&name), mem_strdup(str_get(&target)));
        return r;
    default:
        return err_set(err, ERR_INVALID, "entry \"%.200s\" is neither a file nor a directory: refused",
                       str_get(&name));
    }
}

struct outer {
    struct tar_source *source;
    struct err err;
    char buffer[CHUNK];
};

static la_ssize_t outer_read(struct archive *a, void *context, const void **ret)
{
    struct outer *o = context;
    *ret = o->buffer;
    ssize_t n = tar__source_read(o->source, o->buffer, CHUNK, &o->err);
    if (n >= 0)
        return n;
    archive_set_error(a, EIO, "read error");
    return ARCHIVE_FATAL;
}

static int read_entries(struct loading *l, struct archive *a, struct outer *o, struct err *err)
{
    if (archive_read_open(a, o, NULL, outer_read, NULL) != ARCHIVE_OK)
        return o->err.code ? err_copy(err, &o->err) : tar__archive_err(a, err);
    struct archive_entry *entry;
    for (int got; (got = archive_read_next_header(a, &entry)) != ARCHIVE_EOF;) {
        if (got != ARCHIVE_OK && got != ARCHIVE_WARN)
            return o->err.code ? err_copy(err, &o->err) : tar__archive_err(a, err);
        int r = take_entry(l, a, entry, err);
        if (r < 0)
            return o->err.code ? err_copy(err, &o->err) : r;
        r = image__report(l->progress, "", "Loading", tar__source_consumed(o->source), 0, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int read_archive(struct loading *l, int fd, struct err *err)
{
    struct outer *o = NEW(struct outer);
    int r = tar__source_new(fd, NULL, NULL, NULL, &o->source, err);
    if (r == 0) {
        locale_t old = tar__use_utf8();
        deferred_need(DEFERRED_ARCHIVE);
        struct archive *a = archive_read_new();
        must(a);
        archive_read_support_format_tar(a);
        archive_read_support_format_empty(a);
        r = read_entries(l, a, o, err);
        archive_read_free(a);
        tar__restore_locale(old);
    }
    tar__source_free(o->source);
    free(o);
    return r;
}

/* --- what it means --- */

static const char *file_digest(struct loading *l, const char *name)
{
    _cleanup_str_ struct str clean = STR_INIT;
    if (tar__clean_name(name, "file", false, &clean, NULL) < 0)
        return NULL;
    const char *at = str_get(&clean);
    for (int hops = 0; hops < LINK_HOPS_MAX; hops++) {
        const char *digest = map_get(&l->files, at);
        if (digest)
            return digest;
        at = map_get(&l->links, at);
        if (!at)
            return NULL;
    }
    return NULL;
}

static bool has_blob(struct loading *l, const char *digest)
{
    return digest_valid(digest) && image__blob_has(l->im, digest);
}

static void tell(struct loading *l, const char *reference, const char *id)
{
    _cleanup_free_ char *familiar = reference ? image_ref_familiar_text(reference) : NULL;
    char *line = reference ? str_printf("Loaded image: %s", familiar) : str_printf("Loaded image ID: %s", id);
    if (strv_has(l->loaded, line))
        free(line);
    else
        strv_take(&l->loaded, line);
}

/* The normalised reference in an index entry's annotations; NULL when there is none, or only a bare tag. */
static char *annotated_name(const json_t *descriptor)
{
    const json_t *notes = json_object_get(descriptor, "annotations");
    const char *name = json_str(notes, "io.containerd.image.name");
    if (!*name) {
        name = json_str(notes, "org.opencontainers.image.ref.name");
        if (!strpbrk(name, ":/"))
            return NULL;
    }
    _cleanup_ref_ struct image_ref ref = {0};
    if (image_ref_parse(name, &ref, NULL) < 0 || ref.digest)
        return NULL;
    return image_ref_format(&ref);
}

/* Of several manifests of one image, ours: of those that are in the archive, this machine's, or else the
 * first. */
static int choose(struct loading *l, const json_t *manifests, char **ret_digest, struct err *err)
{
    _cleanup_json_ json_t *present = json_array(), *index = json_object();
    const json_t *d;
    size_t i;
    json_array_foreach (manifests, i, d) {
        bool attestation =
            json_object_get(json_object_get(d, "annotations"), "vnd.docker.reference.type") != NULL;
        if (!attestation && has_blob(l, json_str(d, "digest")))
            json_array_append(present, (json_t *)d);
    }
    if (json_array_size(present) == 0)
        return err_set(err, ERR_INVALID, "the archive's index names no manifest that is in the archive");
    json_object_set(index, "manifests", present);
    if (json_array_size(present) > 1) {
        int r = image__choose_platform(index, l->platform, ret_digest, err);
        if (r == 0 || l->platform)
            return r;
    }
    *ret_digest = mem_strdup(json_str(json_array_get(present, 0), "digest"));
    return 0;
}

/* Of an image that stands alone only its config says what it is for. */
static int check_platform(struct loading *l, const char *config, struct err *err)
{
    _cleanup_json_ json_t *doc = NULL;
    if (!l->platform)
        return 0;
    int r = digest_valid(config) ? image__blob_json(l->im, config, &doc, err)
                                 : err_set(err, ERR_INVALID, "a manifest of the archive names no config");
    if (r < 0)
        return r;
    const char *variant = json_str(doc, "variant");
    _cleanup_free_ char *bare = str_printf("%.50s/%.50s", json_str(doc, "os"), json_str(doc, "architecture"));
    _cleanup_free_ char *own = str_printf("%s%s%.50s", bare, *variant ? "/" : "", variant);
    const char *rest = str_after(l->platform, bare);
    if (rest && (!*rest || (*rest == '/' && (!*variant || str_eq(rest + 1, variant)))))
        return 0;
    return err_set(err, ERR_NOT_FOUND, "requested platform (%s) not found: the image is for %s", l->platform,
                   own);
}

static int ingest_named(struct loading *l, const char *digest, const char *reference, int depth,
                        struct err *err)
{
    _cleanup_json_ json_t *doc = NULL;
    int r = image__blob_json(l->im, digest, &doc, err);
    if (r < 0)
        return r;
    const json_t *nested = json_object_get(doc, "manifests");
    if (json_is_array(nested)) {
        if (depth > 4)
            return err_set(err, ERR_LIMIT, "the archive's indexes are nested too deep");
        _cleanup_free_ char *chosen = NULL;
        r = choose(l, nested, &chosen, err);
        return r < 0 ? r : ingest_named(l, chosen, reference, depth + 1, err);
    }
    _cleanup_free_ char *id = NULL;
    r = check_platform(l, json_str(json_object_get(doc, "config"), "digest"), err);
    if (r == 0)
        r = image__ingest(l->im, digest, reference, NULL, l->progress, &id, err);
    if (r < 0)
        return r;
    strv_add(&l->ids, id);
    if (reference)
        tell(l, reference, id);
    return 0;
}

static bool has_platform_of(const json_t *group, const json_t *descriptor)
{
    const json_t *d;
    size_t i;
    json_array_foreach (group, i, d)
        if (json_equal(json_object_get(d, "platform"), json_object_get(descriptor, "platform")))
            return true;
    return false;
}

/* The entries of index.json, those of the same name together: one image for several platforms. */
static int load_index(struct loading *l, const char *index_digest, struct err *err)
{
    _cleanup_json_ json_t *index = NULL, *groups = json_object();
    int r = image__blob_json(l->im, index_digest, &index, err);
    if (r < 0)
        return r;
    const json_t *d;
    size_t i;
    json_array_foreach (json_object_get(index, "manifests"), i, d) {
        _cleanup_free_ char *name = annotated_name(d);
        /* Without a name, manifests for different platforms belong together; others stand alone. */
        bool together =
            json_object_get(d, "platform") && !has_platform_of(json_object_get(groups, "platforms"), d);
        _cleanup_free_ char *key = name       ? str_printf("=%s", name)
                                   : together ? mem_strdup("platforms")
                                              : str_printf("%zu", i);
        if (!json_object_get(groups, key))
            json_object_set_new(groups, key, json_array());
        json_array_append(json_object_get(groups, key), (json_t *)d);
    }
    if (json_object_size(groups) == 0)
        return err_set(err, ERR_INVALID, "the archive's index.json lists no image");
    const char *key;
    json_t *group;
    json_object_foreach (groups, key, group) {
        _cleanup_free_ char *digest = NULL;
        r = choose(l, group, &digest, err);
        if (r == 0)
            r = ingest_named(l, digest, str_after(key, "="), 0, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int archived_layers(struct loading *l, const json_t *item, char ***ret, struct err *err)
{
    const json_t *layer;
    size_t i;
    json_array_foreach (json_object_get(item, "Layers"), i, layer) {
        const char *name = json_is_string(layer) ? json_string_value(layer) : "";
        const char *digest = file_digest(l, name);
        if (!digest)
            return err_set(err, ERR_INVALID,
                           "manifest.json names layer \"%.200s\", which is not in the archive", name);
        strv_add(ret, digest);
    }
    return 0;
}

/* One item of a docker-archive's manifest.json: it has no OCI manifest, so one is made. */
static int load_archived(struct loading *l, const json_t *item, char **ret_id, struct err *err)
{
    const char *config_name = json_str(item, "Config");
    const char *config = file_digest(l, config_name);
    if (!config)
        return err_set(err, ERR_INVALID, "manifest.json names config \"%.200s\", which is not in the archive",
                       config_name);
    const char *base = strrchr(config_name, '/');
    base = base ? base + 1 : config_name;
    _cleanup_free_ char *hex = mem_strndup(base, strcspn(base, "."));
    if (strlen(hex) == 64 && str_is_hex(hex) && !str_eq(hex, digest_hex(config)))
        return err_set(err, ERR_CORRUPT, "config \"%.200s\" has the digest %s: the archive is damaged",
                       config_name, config);
    _cleanup_strv_ char **layers = NULL;
    char manifest[DIGEST_BYTES];
    int r = check_platform(l, config, err);
    if (r == 0)
        r = archived_layers(l, item, &layers, err);
    if (r == 0)
        r = image__make_manifest(l->im, config, layers, manifest, err);
    if (r < 0)
        return r;
    strv_add(&l->digests, manifest);
    return image__ingest(l->im, manifest, NULL, NULL, l->progress, ret_id, err);
}

static int tag_archived(struct loading *l, const json_t *item, const char *id, struct err *err)
{
    const json_t *tag;
    size_t i;
    json_array_foreach (json_object_get(item, "RepoTags"), i, tag) {
        _cleanup_ref_ struct image_ref ref = {0};
        int r = image_ref_parse(json_is_string(tag) ? json_string_value(tag) : "", &ref, err);
        if (r < 0)
            return err_wrap(err, "manifest.json");
        _cleanup_free_ char *full = image_ref_format(&ref);
        r = image__set_tag(l->im, id, full, err);
        if (r < 0)
            return r;
        tell(l, full, id);
    }
    return 0;
}

static const json_t *layers_of(const struct image_info *info)
{
    return json_object_get(json_object_get(info->config, "rootfs"), "diff_ids");
}

/* Whether the one image can have been made from the other: it has all that one's layers, and more steps. */
static bool stands_on(const struct image_info *child, const struct image_info *parent)
{
    const json_t *own = layers_of(child), *below = layers_of(parent), *layer;
    size_t i, steps = json_array_size(json_object_get(child->config, "history")),
              steps_below = json_array_size(json_object_get(parent->config, "history"));
    json_array_foreach (below, i, layer)
        if (!json_equal(layer, json_array_get(own, i)))
            return false;
    return steps > steps_below;
}

/* What an archive says of an image's parent counts when that is in the same archive, and can be its parent.
 */
static int set_parent(struct loading *l, const char *id, const char *parent_id, struct err *err)
{
    struct image_info child = {0}, parent = {0};
    if (!*parent_id || !strv_has(l->ids, id) || !strv_has(l->ids, parent_id))
        return 0;
    int r = image_get(l->im, id, &child, err);
    if (r == 0)
        r = image_get(l->im, parent_id, &parent, err);
    if (r == 0 && stands_on(&child, &parent))
        r = image__set_parent(l->im, id, parent_id, err);
    image_info_done(&child);
    image_info_done(&parent);
    return r;
}

static int set_parents(struct loading *l, const json_t *list, struct err *err)
{
    const json_t *item;
    size_t i;
    int r = 0;
    json_array_foreach (list, i, item) {
        const char *config = file_digest(l, json_str(item, "Config"));
        if (r == 0 && config)
            r = set_parent(l, config, json_str(item, "Parent"), err);
    }
    return r;
}

/* With `only_tags` the images came by the index; here are perhaps more names for them. */
static int load_manifest_json(struct loading *l, const char *digest, bool only_tags, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_json_ json_t *list = NULL;
    int r = image__blob_read(l->im, digest, &text, err);
    if (r == 0)
        r = json_parse(str_get(&text), text.len, "manifest.json", &list, err);
    if (r == 0 && !json_is_array(list))
        r = err_set(err, ERR_INVALID, "manifest.json is not a list of images");
    if (r == 0 && json_array_size(list) == 0)
        r = err_set(err, ERR_INVALID, "manifest.json lists no image");
    const json_t *item;
    size_t i;
    json_array_foreach (list, i, item) {
        _cleanup_free_ char *id = NULL;
        if (r < 0)
            break;
        if (only_tags) {
            const char *config = file_digest(l, json_str(item, "Config"));
            id = config && strv_has(l->ids, config) ? mem_strdup(config) : NULL;
        } else {
            r = load_archived(l, item, &id, err);
            if (r == 0)
                strv_add(&l->ids, id);
        }
        if (r == 0 && id)
            r = tag_archived(l, item, id, err);
    }
    return r < 0 ? r : set_parents(l, list, err);
}

static void tell_unnamed(struct loading *l)
{
    STRV_FOREACH (id, l->ids) {
        struct image_info info = {0};
        if (image_get(l->im, *id, &info, NULL) < 0)
            continue;
        bool told = false;
        STRV_FOREACH (ref, info.references) {
            _cleanup_free_ char *familiar = image_ref_familiar_text(*ref);
            _cleanup_free_ char *line = str_printf("Loaded image: %s", familiar);
            told = told || strv_has(l->loaded, line);
        }
        if (!told)
            tell(l, NULL, *id);
        image_info_done(&info);
    }
}

static int load_all(struct loading *l, int fd, struct err *err)
{
    int r = read_archive(l, fd, err);
    if (r < 0)
        return r;
    const char *index = file_digest(l, "index.json"), *manifest = file_digest(l, "manifest.json");
    if (!index && !manifest)
        return err_set(err, ERR_INVALID, "%s",
                       map_has(&l->files, "repositories")
                           ? "an image archive of Docker before 1.10 (no manifest.json) is not supported"
                           : "not an image archive: it has neither index.json nor manifest.json (a root file "
                             "system is taken by import)");
    if (index)
        r = load_index(l, index, err);
    if (r == 0 && manifest)
        r = load_manifest_json(l, manifest, index != NULL, err);
    if (r == 0)
        tell_unnamed(l);
    return r;
}

int image_load(struct images *im, int fd, const char *platform, const struct image_progress *p,
               char ***ret_loaded, struct err *err)
{
    struct loading l = {
        .im = im, .platform = platform, .progress = p, .files = MAP_INIT(free), .links = MAP_INIT(free)};
    image__hold(im);
    int r = load_all(&l, fd, err);
    image__let_go(im, l.digests);
    map_done(&l.files);
    map_done(&l.links);
    strv_free(l.digests);
    strv_free(l.ids);
    if (r < 0) {
        strv_free(l.loaded);
        return err_wrap(err, "load");
    }
    *ret_loaded = l.loaded;
    return 0;
}
