/* Names to images, and what is known of them. */
#include "base/json.h"
#include "image/image_priv.h"

#include <fcntl.h>
#include <sys/stat.h>

static int not_found(const char *name, struct err *err)
{
    _cleanup_free_ char *familiar = image_ref_familiar_text(name);
    return err_set(err, ERR_NOT_FOUND, "No such image: %.300s", familiar);
}

static int by_prefix(struct images *im, const char *name, char **ret_id, struct err *err)
{
    const char *hex = str_after(name, "sha256:");
    hex = hex ? hex : name;
    if (!str_is_hex(hex) || strlen(hex) > 64)
        return not_found(name, err);
    /* Hex digits are no pattern characters. */
    _cleanup_free_ char *pattern = str_printf("sha256:%s%s", hex, strlen(hex) < 64 ? "*" : "");
    _cleanup_strv_ char **ids = NULL;
    int r = image__query_list(im, "SELECT id FROM image WHERE id GLOB ? AND removed = 0 LIMIT 2", pattern,
                              &ids, err);
    if (r < 0)
        return r;
    if (!ids)
        return not_found(name, err);
    if (ids[1])
        return err_set(err, ERR_INVALID, "image id prefix %s is ambiguous: give more digits", hex);
    *ret_id = mem_strdup(ids[0]);
    return 0;
}

int image__resolve(struct images *im, const char *name, char **ret_id, struct err *err)
{
    if (str_empty(name))
        return err_set(err, ERR_INVALID, "invalid reference format: the name of an image is missing");
    if (str_after(name, "sha256:") || (strlen(name) == 64 && str_is_hex(name)))
        return by_prefix(im, name, ret_id, err);
    _cleanup_ref_ struct image_ref ref = {0};
    int r = image_ref_parse(name, &ref, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *id = NULL, *repository = image_ref_repository(&ref), *full = NULL;
    if (ref.digest) {
        full = str_printf("%s@%s", repository, ref.digest);
        r = image__query_text(im, "SELECT image FROM repo_digest WHERE name = ?", full, &id, err);
    } else {
        full = image_ref_format(&ref);
        r = image__query_text(im, "SELECT image FROM reference WHERE name = ?", full, &id, err);
    }
    if (r < 0)
        return r;
    if (!id)
        return str_is_hex(name) ? by_prefix(im, name, ret_id, err) : not_found(full, err);
    *ret_id = take_ptr(id);
    return 0;
}

struct row {
    char *manifest, *parent;
    int64_t created, size, tagged;
    bool found;
};

static int take_row(void *context, const struct store_value *c, size_t column_count, struct err *err)
{
    struct row *row = context;
    row->found = true;
    row->manifest = mem_strdup(c[0].bytes);
    row->parent = c[1].type == STORE_TEXT ? mem_strdup(c[1].bytes) : NULL;
    row->created = c[2].integer;
    row->size = c[3].integer;
    row->tagged = c[4].integer;
    return 0;
}

static int fill(struct images *im, const char *id, struct image_info *info, struct err *err)
{
    struct row row = {0};
    struct store_value v = store_text(id);
    int r = store_query(im->store, "SELECT manifest, parent, created, size, tagged FROM image WHERE id = ?",
                        &v, 1, take_row, &row, err);
    info->id = mem_strdup(id);
    info->manifest_digest = row.manifest;
    info->parent_id = row.parent;
    info->created_ns = row.created;
    info->size_bytes = row.size;
    info->tagged_ns = row.tagged;
    if (r == 0 && !row.found)
        r = not_found(id, err);
    if (r == 0)
        r = image__query_list(im, "SELECT name FROM reference WHERE image = ? ORDER BY name", id,
                              &info->references, err);
    if (r == 0)
        r = image__query_list(im, "SELECT name FROM repo_digest WHERE image = ? ORDER BY name", id,
                              &info->digests, err);
    if (r == 0)
        r = image__blob_json(im, id, &info->config, err);
    if (r == 0)
        r = image__blob_json(im, info->manifest_digest, &info->manifest, err);
    return r;
}

/* What was found of names lately, so that launching from an image again and again costs no query and no
 * reading. It holds for one version of the database only: whatever is written there empties it; and while the
 * documents' files are as they were read. */
enum { KNOWN_MAX = 64 };

struct known_image {
    struct image_info info; /* documents are shared with callers, who do not change them */
    char **lowers;          /* or NULL */
    struct stat config, manifest;
};

static bool same_file(struct images *im, const char *digest, const struct stat *as)
{
    _cleanup_free_ char *path = image__blob_path(im, digest);
    struct stat st;
    return stat(path, &st) == 0 && st.st_ino == as->st_ino && st.st_size == as->st_size &&
           st.st_mtim.tv_sec == as->st_mtim.tv_sec && st.st_mtim.tv_nsec == as->st_mtim.tv_nsec;
}

void image__known_free(void *known_image)
{
    struct known_image *k = known_image;
    image_info_done(&k->info);
    strv_free(k->lowers);
    free(k);
}

/* im->mutex held. */
static struct known_image *known_find(struct images *im, const char *name, uint64_t version)
{
    if (im->known_at != version || im->known.count >= KNOWN_MAX) {
        map_done(&im->known);
        im->known = MAP_INIT(image__known_free);
        im->known_at = version;
    }
    struct known_image *k = map_get(&im->known, name);
    return k && same_file(im, k->info.id, &k->config) && same_file(im, k->info.manifest_digest, &k->manifest)
               ? k
               : NULL;
}

static void copy_info(const struct image_info *from, struct image_info *ret)
{
    *ret = *from;
    ret->id = mem_strdup(from->id);
    ret->manifest_digest = mem_strdup(from->manifest_digest);
    ret->parent_id = from->parent_id ? mem_strdup(from->parent_id) : NULL;
    ret->references = from->references ? strv_dup(from->references) : NULL;
    ret->digests = from->digests ? strv_dup(from->digests) : NULL;
    json_incref(ret->config);
    json_incref(ret->manifest);
}

static int look_up(struct images *im, const char *name, struct image_info *ret, struct err *err)
{
    _cleanup_free_ char *id = NULL;
    int r = image__resolve(im, name, &id, err);
    if (r < 0)
        return r;
    struct image_info info = {0};
    r = fill(im, id, &info, err);
    if (r < 0) {
        image_info_done(&info);
        return r;
    }
    *ret = info;
    return 0;
}

int image_get(struct images *im, const char *name, struct image_info *ret, struct err *err)
{
    uint64_t version = store_version(im->store);
    pthread_mutex_lock(&im->mutex);
    const struct known_image *known = known_find(im, name, version);
    if (known)
        copy_info(&known->info, ret);
    pthread_mutex_unlock(&im->mutex);
    if (known)
        return 0;
    int r = look_up(im, name, ret, err);
    if (r < 0)
        return r;
    struct known_image *k = NEW(struct known_image);
    copy_info(ret, &k->info);
    _cleanup_free_ char *config = image__blob_path(im, ret->id);
    _cleanup_free_ char *manifest = image__blob_path(im, ret->manifest_digest);
    bool there = stat(config, &k->config) == 0 && stat(manifest, &k->manifest) == 0;
    pthread_mutex_lock(&im->mutex);
    if (there && !known_find(im, name, version) && im->known_at == store_version(im->store))
        map_put(&im->known, name, k);
    else
        image__known_free(k);
    pthread_mutex_unlock(&im->mutex);
    return 0;
}

void image_info_done(struct image_info *info)
{
    free(info->id);
    free(info->manifest_digest);
    strv_free(info->references);
    strv_free(info->digests);
    json_decref(info->config);
    json_decref(info->manifest);
    free(info->parent_id);
    *info = (struct image_info){0};
}

int image_list(struct images *im, struct image_info **ret, size_t *ret_count, struct err *err)
{
    _cleanup_strv_ char **ids = NULL;
    int r = image__query_list(im, "SELECT id FROM image WHERE removed = 0 ORDER BY created DESC, id", NULL,
                              &ids, err);
    if (r < 0)
        return r;
    size_t n = strv_len(ids), have = 0;
    struct image_info *list = NEW_N(struct image_info, n + 1);
    for (size_t i = 0; r == 0 && i < n; i++) {
        struct err cause = {0};
        r = fill(im, ids[i], &list[have], &cause);
        if (r == 0) {
            have++;
            continue;
        }
        image_info_done(&list[have]);
        /* Removed meanwhile, or damaged: one bad image must not hide the others. Its use tells the cause. */
        r = r == -ERR_NOT_FOUND || r == -ERR_CORRUPT ? 0 : err_copy(err, &cause);
    }
    if (r < 0) {
        image_list_free(list, have);
        return r;
    }
    *ret = list;
    *ret_count = have;
    return 0;
}

void image_list_free(struct image_info *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        image_info_done(&list[i]);
    free(list);
}

int image_tag(struct images *im, const char *name, const char *new_reference, struct err *err)
{
    _cleanup_free_ char *id = NULL, *full = NULL;
    _cleanup_ref_ struct image_ref ref = {0};
    int r = image_ref_parse(new_reference, &ref, err);
    if (r < 0)
        return r;
    if (ref.digest)
        return err_set(err, ERR_INVALID, "refusing to create a tag with a digest reference");
    r = image__resolve(im, name, &id, err);
    _cleanup_strv_ char **kept = NULL;
    if (r == 0 && !digest_valid(name)) /* what the old name stands for, the new one does */
        image_index_kept(im, name, &kept, NULL);
    if (r < 0)
        return r;
    full = image_ref_format(&ref);
    r = image__set_tag(im, id, full, err);
    return r == 0 && kept ? image_index_keep(im, kept, full, err) : r;
}

/* Somebody may have taken a layer's directory away by hand. */
static bool all_there(struct images *im, char **dirs)
{
    struct stat st;
    STRV_FOREACH (dir, dirs)
        if (fstatat(im->layers_fd, *dir, &st, AT_SYMLINK_NOFOLLOW) < 0)
            return false;
    return true;
}

static int find_lowers(struct images *im, const char *id, char ***ret, struct err *err)
{
    struct image_info info = {0};
    int r = image_get(im, id, &info, err);
    /* By its full id also one that was removed under a container that keeps it. */
    if (r == -ERR_NOT_FOUND && digest_valid(id)) {
        image_info_done(&info);
        r = fill(im, id, &info, err);
    }
    if (r < 0) {
        image_info_done(&info);
        return r;
    }
    _cleanup_free_ struct layer *layers = NULL;
    size_t count = 0;
    r = image__layers_of(info.manifest, info.config, &layers, &count, err);
    image_info_done(&info);
    _cleanup_strv_ char **dirs = NULL;
    for (int tries = 0; r == 0; tries++) {
        dirs = strv_free(dirs);
        size_t i = count;
        for (; i > 0; i--) {
            char *dir;
            r = image__layer_find(im, layers[i - 1].chain, &dir, NULL, err);
            if (r < 0)
                break;
            strv_take(&dirs, dir);
        }
        if (i == 0)
            break;
        if (r != -ERR_NOT_FOUND || tries > 0)
            return r;
        r = image__layers_unpack(im, layers, count, NULL, err);
        for (size_t j = 0; j < count; j++)
            image__unpin(im, layers[j].chain);
    }
    if (r < 0)
        return r;
    if (!dirs)
        dirs = NEW_N(char *, 1);
    *ret = take_ptr(dirs);
    return 0;
}

int image_lowers(struct images *im, const char *id, char ***ret, struct err *err)
{
    uint64_t version = store_version(im->store);
    char **lowers = NULL;
    pthread_mutex_lock(&im->mutex);
    struct known_image *known = known_find(im, id, version);
    if (known && known->lowers && all_there(im, known->lowers))
        lowers = strv_dup(known->lowers);
    pthread_mutex_unlock(&im->mutex);
    if (lowers) {
        *ret = lowers;
        return 0;
    }
    int r = find_lowers(im, id, ret, err);
    if (r < 0 || !**ret)
        return r;
    pthread_mutex_lock(&im->mutex);
    known = known_find(im, id, version);
    if (known && !known->lowers && version == store_version(im->store))
        known->lowers = strv_dup(*ret);
    pthread_mutex_unlock(&im->mutex);
    return 0;
}
