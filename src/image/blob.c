/* Blobs: written to tmp/ and hashed on the way, at their name only when right. */
#include "base/failpoint.h"
#include "base/file.h"
#include "base/json.h"
#include "image/image_priv.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct blob_writer {
    struct images *im;
    struct digest_hasher *hasher;
    char *temp;
    int fd;
    char want[DIGEST_BYTES];        /* "" when to be found out */
    int64_t want_size, size, begun; /* begun: on its way to the disk */
};

char *image__blob_path(struct images *im, const char *digest)
{
    must(digest_valid(digest));
    return str_printf("%s/blobs/%.6s/%s", im->root, digest, digest_hex(digest));
}

void image__pin(struct images *im, const char *name)
{
    pthread_mutex_lock(&im->mutex);
    uintptr_t count = (uintptr_t)map_get(&im->pins, name);
    map_put(&im->pins, name, (void *)(count + 1));
    pthread_mutex_unlock(&im->mutex);
}

void image__unpin_one(struct images *im, const char *name)
{
    pthread_mutex_lock(&im->mutex);
    uintptr_t count = (uintptr_t)map_get(&im->pins, name);
    if (count > 1)
        map_put(&im->pins, name, (void *)(count - 1));
    else
        map_remove(&im->pins, name);
    pthread_mutex_unlock(&im->mutex);
}

void image__unpin(struct images *im, const char *name)
{
    pthread_mutex_lock(&im->mutex);
    map_remove(&im->pins, name);
    pthread_mutex_unlock(&im->mutex);
}

static int invalid_digest(const char *digest, struct err *err)
{
    return err_set(err, ERR_INVALID,
                   "\"%.200s\" is not a digest of a kind that is supported (sha256, sha512)", digest);
}

int image__blob_begin(struct images *im, const char *digest, int64_t size, struct blob_writer **ret,
                      struct err *err)
{
    if (digest && !digest_valid(digest))
        return invalid_digest(digest, err);
    _cleanup_free_ char *temp = image__temp_path(im, "blob");
    int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(err, errno, "create %s", temp);
    struct blob_writer *w = NEW(struct blob_writer);
    w->im = im;
    w->fd = fd;
    w->temp = take_ptr(temp);
    w->want_size = size;
    if (digest) {
        memcpy(w->want, digest, strlen(digest) + 1);
        image__pin(im, digest);
    }
    w->hasher = digest_hasher_new(digest ? digest : "sha256");
    *ret = w;
    return 0;
}

static const char *name_of(const struct blob_writer *w)
{
    return *w->want ? w->want : "new blob";
}

int image__blob_write(struct blob_writer *w, const void *bytes, size_t n, struct err *err)
{
    w->size += (int64_t)n;
    if (w->want_size >= 0 && w->size > w->want_size)
        return err_set(err, ERR_CORRUPT, "%s: more than the %lld bytes announced", name_of(w),
                       (long long)w->want_size);
    digest_hasher_add(w->hasher, bytes, n);
    int r = file_write_all(w->fd, bytes, n, err);
    if (r < 0)
        return err_wrap(err, "store %s", name_of(w));
    file_write_behind(w->fd, w->size, &w->begun);
    return 0;
}

static int check(struct blob_writer *w, const char *got, struct err *err)
{
    if (w->want_size >= 0 && w->size != w->want_size)
        return err_set(err, ERR_CORRUPT, "%s: ended after %lld of %lld bytes", name_of(w), (long long)w->size,
                       (long long)w->want_size);
    if (*w->want && strcmp(w->want, got) != 0)
        return err_set(
            err, ERR_CORRUPT,
            "%s: the content has the digest %s; it was changed or damaged on the way: fetch or make "
            "it again",
            w->want, got);
    return 0;
}

static int publish(struct blob_writer *w, const char *digest, struct err *err)
{
    _cleanup_free_ char *path = image__blob_path(w->im, digest);
    if (fsync(w->fd) < 0)
        return err_sys(err, errno, "store %s", digest);
    FAILPOINT("image-blob-synced");
    if (rename(w->temp, path) < 0)
        return err_sys(err, errno, "store %s", digest);
    FAILPOINT("image-blob-renamed");
    w->temp[0] = '\0';
    *strrchr(path, '/') = '\0';
    return file_fsync_dir(path, err);
}

int image__blob_commit(struct blob_writer *w, char ret_digest[DIGEST_BYTES], struct err *err)
{
    char got[DIGEST_BYTES];
    digest_hasher_format(w->hasher, got);
    int r = check(w, got, err);
    if (r == 0) {
        image__pin(w->im, got);
        r = publish(w, got, err);
    }
    if (r == 0)
        memcpy(ret_digest, got, sizeof(got));
    image__blob_abort(w);
    return r;
}

void image__blob_abort(struct blob_writer *w)
{
    if (!w)
        return;
    close_fd(w->fd);
    if (w->temp[0])
        unlink(w->temp);
    digest_hasher_free(w->hasher);
    free(w->temp);
    free(w);
}

int image__blob_put(struct images *im, const void *bytes, size_t n, char ret_digest[DIGEST_BYTES],
                    struct err *err)
{
    struct blob_writer *w = NULL;
    int r = image__blob_begin(im, NULL, (int64_t)n, &w, err);
    if (r < 0)
        return r;
    r = image__blob_write(w, bytes, n, err);
    if (r < 0) {
        image__blob_abort(w);
        return r;
    }
    return image__blob_commit(w, ret_digest, err);
}

bool image__blob_has(struct images *im, const char *digest)
{
    if (!digest_valid(digest))
        return false;
    image__pin(im, digest);
    _cleanup_free_ char *path = image__blob_path(im, digest);
    return file_exists(path);
}

int image__blob_corrupt(struct images *im, const char *digest, const char *why, struct err *err)
{
    /* Out of the way, so that the next pull or load brings a sound one instead of finding it "present". */
    _cleanup_free_ char *path = image__blob_path(im, digest);
    unlink(path);
    return err_set(err, ERR_CORRUPT,
                   "blob %s on disk is corrupt (%s) and was removed: pull or load the image again", digest,
                   why);
}

int image__blob_open(struct images *im, const char *digest, int *ret_fd, int64_t *ret_size, struct err *err)
{
    if (!digest_valid(digest))
        return invalid_digest(digest, err);
    _cleanup_free_ char *path = image__blob_path(im, digest);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return err_set(err, ERR_NOT_FOUND, "blob %s is missing: pull or load the image again", digest);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, errno, "open blob %s", digest);
    *ret_fd = take_fd(&fd);
    *ret_size = st.st_size;
    return 0;
}

int image__blob_read(struct images *im, const char *digest, struct str *ret, struct err *err)
{
    _cleanup_close_ int fd = -EBADF;
    int64_t size;
    int r = image__blob_open(im, digest, &fd, &size, err);
    if (r < 0)
        return r;
    _cleanup_str_ struct str text = STR_INIT;
    r = file_read_fd(fd, DOCUMENT_MAX_BYTES, &text, err);
    if (r < 0)
        return err_wrap(err, "blob %s", digest);
    _cleanup_hasher_ struct digest_hasher *h = digest_hasher_new(digest);
    char got[DIGEST_BYTES];
    digest_hasher_add(h, str_get(&text), text.len);
    digest_hasher_format(h, got);
    if (strcmp(got, digest) != 0)
        return image__blob_corrupt(im, digest, "its digest does not match", err);
    str_free(ret);
    *ret = text;
    text = (struct str)STR_INIT;
    return 0;
}

int image__blob_json(struct images *im, const char *digest, json_t **ret, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    int r = image__blob_read(im, digest, &text, err);
    if (r < 0)
        return r;
    r = json_parse(str_get(&text), text.len, digest, ret, err);
    if (r == 0 && !json_is_object(*ret)) {
        json_decref(*ret);
        *ret = NULL;
        return err_set(err, ERR_INVALID, "%s is not a JSON object", digest);
    }
    return r;
}

int image__blob_verify(struct images *im, const char *digest, struct err *err)
{
    _cleanup_close_ int fd = -EBADF;
    int64_t size;
    int r = image__blob_open(im, digest, &fd, &size, err);
    if (r < 0)
        return r;
    enum { CHUNK = 256 * 1024 };
    _cleanup_free_ char *buffer = mem_new(CHUNK);
    _cleanup_hasher_ struct digest_hasher *h = digest_hasher_new(digest);
    for (ssize_t n; (n = file_read_full(fd, buffer, CHUNK, err)) != 0;) {
        if (n < 0)
            return err_wrap(err, "blob %s", digest);
        digest_hasher_add(h, buffer, (size_t)n);
    }
    char got[DIGEST_BYTES];
    digest_hasher_format(h, got);
    return strcmp(got, digest) == 0 ? 0 : image__blob_corrupt(im, digest, "its digest does not match", err);
}

void image__blob_sweep(struct images *im, char *const *digests, int64_t *freed)
{
    for (char *const *d = digests; d && *d; d++) {
        if (!digest_valid(*d))
            continue;
        _cleanup_free_ char *path = image__blob_path(im, *d);
        _cleanup_free_ char *user = NULL;
        struct stat st;
        /* The lock keeps a pin from being set between the question and the unlink. */
        pthread_mutex_lock(&im->mutex);
        if (!map_has(&im->pins, *d) &&
            image__query_text(
                im,
                "SELECT image FROM image_blob WHERE digest = ?1"
                " UNION ALL SELECT repository FROM repository_blob WHERE digest = ?1"
                " UNION ALL SELECT repository FROM repository_manifest WHERE digest = ?1 LIMIT 1",
                *d, &user, NULL) == 0 &&
            !user && lstat(path, &st) == 0 && unlink(path) == 0 && freed)
            *freed += st.st_blocks * 512;
        pthread_mutex_unlock(&im->mutex);
        FAILPOINT("image-blob-swept");
    }
}

void image__hold(struct images *im)
{
    pthread_mutex_lock(&im->mutex);
    im->holds++;
    pthread_mutex_unlock(&im->mutex);
}

void image__let_go(struct images *im, char *const *digests)
{
    _cleanup_strv_ char **all = NULL;
    pthread_mutex_lock(&im->mutex);
    for (char *const *d = digests; d && *d; d++)
        strv_add(&im->brought, *d);
    if (--im->holds == 0) {
        all = take_ptr(im->brought);
        for (char **d = all; d && *d; d++)
            map_remove(&im->pins, *d);
    }
    pthread_mutex_unlock(&im->mutex);
    image__blob_sweep(im, all, NULL);
}
