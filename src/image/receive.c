#include "image/receive.h"

#include "base/failpoint.h"
#include "base/file.h"
#include "base/json.h"
#include "base/timeutil.h"
#include "image/content.h"
#include "image/image_priv.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

enum { BUFFER_BYTES = 256 << 10 };

/* A digest's colon is fine in a file's name. */
static char *path_of(struct images *im, const char *digest)
{
    return str_printf("%s/incoming/%s", im->root, digest);
}

static int open_dir(struct images *im, DIR **ret, struct err *err)
{
    _cleanup_free_ char *path = str_printf("%s/incoming", im->root);
    DIR *dir = opendir(path);
    if (!dir)
        return err_sys(err, errno, "open %s", path);
    *ret = dir;
    return 0;
}

int image_receive_collect(struct images *im, int64_t before_ns, struct err *err)
{
    DIR *dir;
    int r = open_dir(im, &dir, err);
    if (r < 0)
        return r;
    for (struct dirent *e; (e = readdir(dir));) {
        struct stat st;
        if (e->d_name[0] == '.' || fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            st.st_mtim.tv_sec * NS_PER_S + st.st_mtim.tv_nsec >= before_ns)
            continue;
        _cleanup_close_ int fd =
            openat(dirfd(dir), e->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
            unlinkat(dirfd(dir), e->d_name, 0);
    }
    closedir(dir);
    return 0;
}

static int check_room(struct images *im, struct err *err)
{
    DIR *dir;
    int count = 0, r = open_dir(im, &dir, err);
    if (r < 0)
        return r;
    for (struct dirent *e; (e = readdir(dir));)
        count += e->d_name[0] != '.';
    closedir(dir);
    if (count < RECEIVE_MAX_BLOBS)
        return 0;
    return err_set(err, ERR_LIMIT,
                   "%d blobs of unfinished pushes wait here, and no more are taken; those that rest are "
                   "dropped after a day",
                   count);
}

/* --- what an image is made of, and what is missing of it --- */

static void add_blob(json_t *list, const char *digest, int64_t size)
{
    size_t i;
    const json_t *one;
    json_array_foreach (list, i, one)
        if (str_eq(json_str(one, "digest"), digest))
            return;
    json_array_append_new(list, json_pack("{s:s, s:I}", "digest", digest, "size", (json_int_t)size));
}

static int content_of(struct images *im, const struct image_info *info, json_t **ret, struct err *err)
{
    const json_t *layers = json_object_get(info->manifest, "layers"), *layer;
    int64_t size;
    if (!content_size(im, info->manifest_digest, &size))
        return err_set(err, ERR_CORRUPT, "the image's manifest is missing: pull or load it again");
    json_t *blobs = json_array();
    const json_t *config = json_object_get(info->manifest, "config");
    size_t i;
    json_array_foreach (layers, i, layer)
        add_blob(blobs, json_str(layer, "digest"), json_int(layer, "size"));
    add_blob(blobs, json_str(config, "digest"), json_int(config, "size"));
    add_blob(blobs, info->manifest_digest, size);
    *ret = json_pack("{s:s, s:s, s:o, s:o}", "Id", info->id, "Manifest", info->manifest_digest, "References",
                     json_of_strv(info->references), "Blobs", blobs);
    return 0;
}

int image_content(struct images *im, const char *name, json_t **ret, struct err *err)
{
    struct image_info info;
    int r = image_get(im, name, &info, err);
    if (r < 0)
        return r;
    r = content_of(im, &info, ret, err);
    image_info_done(&info);
    return r;
}

static int64_t offset_of(struct images *im, const char *digest, int64_t size)
{
    _cleanup_free_ char *path = path_of(im, digest);
    struct stat st;
    if (stat(path, &st) < 0)
        return 0;
    if (st.st_size <= size)
        return st.st_size;
    unlink(path); /* of another size it is not what it will be called */
    return 0;
}

int image_receive_missing(struct images *im, const json_t *blobs, json_t **ret, struct err *err)
{
    if (json_array_size(blobs) > RECEIVE_MAX_BLOBS)
        return err_set(err, ERR_LIMIT, "an image of more than %d blobs is not taken", RECEIVE_MAX_BLOBS);
    int r = image_receive_collect(im, time_now_ns() - RECEIVE_REST_NS, err);
    if (r < 0)
        return r;
    _cleanup_json_ json_t *missing = json_array();
    size_t i;
    const json_t *one;
    json_array_foreach (blobs, i, one) {
        const char *digest = json_str(one, "digest");
        int64_t size = json_int(one, "size");
        if (!digest_valid(digest) || size < 0)
            return err_set(err, ERR_INVALID, "blob %zu of the list has no valid \"digest\" and \"size\"", i);
        if (!content_size(im, digest, NULL))
            json_array_append_new(missing,
                                  json_pack("{s:s, s:I, s:I}", "digest", digest, "size", (json_int_t)size,
                                            "offset", (json_int_t)offset_of(im, digest, size)));
    }
    *ret = take_ptr(missing);
    return 0;
}

/* --- what comes --- */

static int open_incoming(struct images *im, const char *digest, int64_t size, int64_t offset, int *ret,
                         struct err *err)
{
    _cleanup_free_ char *path = path_of(im, digest);
    if (!digest_valid(digest) || size < 0 || offset < 0)
        return err_set(err, ERR_INVALID, "\"%.200s\" of %lld bytes is no blob", digest, (long long)size);
    int r = file_exists(path) ? 0 : check_room(im, err);
    if (r < 0)
        return r;
    _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    struct stat st;
    if (fd < 0)
        return err_sys(err, errno, "store %s", digest);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return err_set(err, ERR_CONFLICT, "another push is sending %s: try again when it is done", digest);
    if (fstat(fd, &st) < 0)
        return err_sys(err, errno, "store %s", digest);
    if (st.st_nlink == 0 || st.st_size != offset)
        return err_set(err, ERR_CONFLICT, "%s stands at byte %lld, not at %lld: ask again what is missing",
                       digest, st.st_nlink ? (long long)st.st_size : 0LL, (long long)offset);
    *ret = take_fd(&fd);
    return 0;
}

int image_receive_blob(struct images *im, const char *digest, int64_t size, int64_t offset,
                       image_read_fn read, void *context, int64_t *ret_have, struct err *err)
{
    _cleanup_close_ int fd = -EBADF;
    int r = digest_valid(digest) ? open_incoming(im, digest, size, offset, &fd, err)
                                 : err_set(err, ERR_INVALID, "\"%.200s\" is no digest", digest);
    if (r < 0)
        return r;
    _cleanup_free_ char *buffer = mem_new(BUFFER_BYTES);
    int64_t have = offset, begun = offset;
    for (ssize_t n; r == 0 && (n = read(context, buffer, BUFFER_BYTES, err)) != 0;) {
        if (n < 0)
            return (int)n;
        have += n;
        if (have > size)
            return err_set(err, ERR_INVALID, "more than the %lld bytes of %s came", (long long)size, digest);
        r = file_write_all(fd, buffer, (size_t)n, err);
        file_write_behind(fd, have, &begun);
        FAILPOINT("image-receive-written");
    }
    if (r < 0)
        return err_wrap(err, "store %s", digest);
    *ret_have = have;
    return 0;
}

/* --- putting it together --- */

static int compare(const char *path, const char *digest, struct err *err)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return err_sys(err, errno, "read %s", path);
    _cleanup_free_ char *buffer = mem_new(BUFFER_BYTES);
    _cleanup_hasher_ struct digest_hasher *h = digest_hasher_new(digest);
    for (ssize_t n; (n = file_read_full(fd, buffer, BUFFER_BYTES, err)) != 0;) {
        if (n < 0)
            return (int)n;
        digest_hasher_add(h, buffer, (size_t)n);
    }
    char got[DIGEST_BYTES];
    digest_hasher_format(h, got);
    if (str_eq(got, digest))
        return 0;
    unlink(path);
    return err_set(err, ERR_CORRUPT, "what came as %s has the digest %s, and was dropped: push again", digest,
                   got);
}

static int adopt(struct images *im, const char *digest, struct err *err)
{
    if (!digest_valid(digest))
        return err_set(err, ERR_INVALID, "\"%.200s\" is no digest", digest);
    if (content_has(im, digest, NULL))
        return 0;
    _cleanup_free_ char *path = path_of(im, digest);
    if (!file_exists(path))
        return err_set(err, ERR_NOT_FOUND, "%s has not come: ask again what is missing", digest);
    int r = compare(path, digest, err);
    if (r == 0)
        r = content_adopt(im, path, digest, err);
    FAILPOINT("image-receive-adopted");
    return r;
}

static int normalise(char *const *references, char ***ret, struct err *err)
{
    _cleanup_strv_ char **all = NULL;
    for (char *const *name = references; name && *name; name++) {
        _cleanup_ref_ struct image_ref ref = {0};
        int r = image_ref_parse(*name, &ref, err);
        if (r < 0)
            return r;
        if (ref.digest)
            return err_set(err, ERR_INVALID, "%s: a digest is no name to give", *name);
        strv_take(&all, image_ref_format(&ref));
    }
    *ret = take_ptr(all);
    return 0;
}

static int put_together(struct images *im, const char *manifest, char *const *digests, char *const *names,
                        char **ret_id, struct err *err)
{
    int r = 0;
    for (char *const *digest = digests; r == 0 && digest && *digest; digest++)
        r = adopt(im, *digest, err);
    _cleanup_free_ char *id = NULL;
    if (r == 0)
        r = image__ingest(im, manifest, names ? names[0] : NULL, NULL, NULL, &id, err);
    for (char *const *name = names ? names + 1 : NULL; r == 0 && name && *name; name++)
        r = image__set_tag(im, id, *name, err);
    if (r == 0)
        *ret_id = take_ptr(id);
    return r;
}

int image_receive_install(struct images *im, const char *manifest, char *const *digests,
                          char *const *references, char **ret_id, struct err *err)
{
    _cleanup_strv_ char **names = NULL;
    int r = normalise(references, &names, err);
    if (r == 0 && (!digest_valid(manifest) || !strv_has(digests, manifest)))
        r = err_set(err, ERR_INVALID, "the manifest must be one of the blobs");
    if (r < 0)
        return r;
    image__hold(im);
    r = put_together(im, manifest, digests, names, ret_id, err);
    image__let_go(im, digests);
    return r;
}
