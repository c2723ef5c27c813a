/* Uploads: files that grow, and become blobs when their digest is right.
 *
 * The bytes are hashed as they come in; the hash is kept in memory between chunks. When it is not there
 * (after a restart, or for another algorithm than sha256) the file is read once more at the end. Who appends
 * or finishes holds the file's lock.
 *
 * What comes in large pieces goes to the disk past the page cache: a blob must be on the disk before it is
 * acknowledged anyway, copying it into fresh pages first costs more than hashing it does, and the one sync at
 * the end (content_adopt) then finds little left to wait for. The sockets' buffers take in meanwhile. */
#include "base/failpoint.h"
#include "base/file.h"
#include "base/timeutil.h"
#include "registry/mirror.h"
#include "registry/warm.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

enum { CHUNK_BYTES = 256 << 10, HASHES_MAX = 1024, BUFFER_BYTES = 1 << 20, DIRECT_ALIGNMENT = 4096 };

struct upload_hash {
    struct digest_hasher *hasher; /* sha256 */
    int64_t bytes;
};

void registry__upload_hash_free(void *hash)
{
    struct upload_hash *h = hash;
    if (h)
        digest_hasher_free(h->hasher);
    free(h);
}

/* An upload in the hands of one thread. */
struct upload {
    struct registry *registry;
    const char *id;
    char *path;
    int fd;
    int64_t size;
    struct upload_hash *hash; /* NULL when it is not of all bytes */
};

static char *path_of(struct registry *r, const char *id)
{
    return str_printf("%s/%s", content_uploads_dir(r->images), id);
}

static struct upload_hash *hash_new(void)
{
    struct upload_hash *h = NEW(struct upload_hash);
    h->hasher = digest_hasher_new("sha256");
    return h;
}

static void hash_keep(struct upload *u)
{
    if (!u->hash)
        return;
    pthread_mutex_lock(&u->registry->lock);
    if (u->registry->hashes.count < HASHES_MAX)
        map_put(&u->registry->hashes, u->id, take_ptr(u->hash));
    pthread_mutex_unlock(&u->registry->lock);
    registry__upload_hash_free(take_ptr(u->hash));
}

static void hash_take(struct upload *u)
{
    pthread_mutex_lock(&u->registry->lock);
    u->hash = map_steal(&u->registry->hashes, u->id);
    pthread_mutex_unlock(&u->registry->lock);
    if (!u->hash && u->size == 0)
        u->hash = hash_new();
    if (u->hash && u->hash->bytes != u->size)
        registry__upload_hash_free(take_ptr(u->hash));
}

static void upload_done(struct upload *u)
{
    hash_keep(u);
    u->fd = close_fd(u->fd);
    free(u->path);
}

/* The repository's upload of this id, and nobody else's: an id says where a client may write. */
static int check_upload(struct registry *r, const char *repository, const char *id, struct registry_err *err)
{
    if (registry__check_name(repository, err) < 0)
        return -ERR_INVALID;
    _cleanup_free_ char *owner = NULL;
    if (strlen(id) == REGISTRY_ID_BYTES - 1 && str_is_hex(id) &&
        registry__text(r, "SELECT repository FROM repository_upload WHERE id = ?", &id, 1, &owner, err) < 0)
        return -err->cause.code;
    if (str_eq(owner, repository))
        return 0;
    return registry__fail(
        err, REGISTRY_BLOB_UPLOAD_UNKNOWN,
        "%s has no such upload; it may have been finished, cancelled, or dropped after it had rested: "
        "begin another",
        repository);
}

static int upload_open(struct registry *r, const char *repository, const char *id, struct upload *ret,
                       struct registry_err *err)
{
    int code = check_upload(r, repository, id, err);
    if (code < 0)
        return code;
    struct upload u = {.registry = r, .id = id, .path = path_of(r, id)};
    u.fd = open(u.path, O_RDWR | O_APPEND | O_CLOEXEC);
    struct stat st;
    if (u.fd < 0 || flock(u.fd, LOCK_EX | LOCK_NB) < 0 || fstat(u.fd, &st) < 0) {
        int sys = errno;
        upload_done(&u);
        if (sys == ENOENT)
            return registry__fail(err, REGISTRY_BLOB_UPLOAD_UNKNOWN,
                                  "the upload's bytes are gone: begin another");
        if (sys == EWOULDBLOCK)
            return registry__fail(err, REGISTRY_BLOB_UPLOAD_INVALID,
                                  "another request is writing to this upload: one at a time");
        err_sys(&err->cause, sys, "open the upload");
        return registry__internal(err);
    }
    if (st.st_nlink == 0) { /* the collector was quicker */
        upload_done(&u);
        return registry__fail(err, REGISTRY_BLOB_UPLOAD_UNKNOWN,
                              "the upload has been dropped: begin another");
    }
    u.size = st.st_size;
    hash_take(&u);
    *ret = u;
    return 0;
}

static int check_room(struct registry *r, struct registry_err *err)
{
    _cleanup_free_ char *count = NULL;
    int64_t n = 0;
    if (registry__text(r, "SELECT CAST(count(*) AS TEXT) FROM repository_upload", NULL, 0, &count, err) < 0)
        return -err->cause.code;
    parse_i64(count, 0, INT64_MAX, &n, NULL);
    return n < REGISTRY_MAX_UPLOADS
               ? 0
               : registry__fail(
                     err, REGISTRY_TOO_MANY_REQUESTS,
                     "%d uploads are open, and no more are taken; those that rest are dropped in time",
                     REGISTRY_MAX_UPLOADS);
}

int registry_upload_begin(struct registry *r, const char *repository, char ret_id[REGISTRY_ID_BYTES],
                          struct registry_err *err)
{
    int code = registry__mirror_refuse(r, repository, err);
    return code < 0 ? code : registry__upload_begin(r, repository, ret_id, err);
}

int registry__upload_begin(struct registry *r, const char *repository, char ret_id[REGISTRY_ID_BYTES],
                           struct registry_err *err)
{
    if (registry__check_name(repository, err) < 0 || check_room(r, err) < 0)
        return -err->cause.code;
    char id[REGISTRY_ID_BYTES];
    digest_random_id(id);
    _cleanup_free_ char *path = path_of(r, id);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        err_sys(&err->cause, errno, "make an upload");
        return registry__internal(err);
    }
    FAILPOINT("registry-upload-made");
    const struct store_value v[] = {STORE_STR(id), STORE_STR(repository), STORE_I64(time_now_ns())};
    const struct store_statement s = {
        .sql = "INSERT INTO repository_upload (id, repository, started) VALUES (?, ?, ?)",
        .params = v,
        .param_count = 3,
        .expect_changes = 1};
    if (store_batch(r->store, &s, 1, STORE_LAZY, &err->cause) < 0) {
        unlink(path);
        return registry__internal(err);
    }
    memcpy(ret_id, id, sizeof(id));
    return 0;
}

int registry_upload_size(struct registry *r, const char *repository, const char *id, int64_t *ret_size,
                         struct registry_err *err)
{
    int code = check_upload(r, repository, id, err);
    if (code < 0)
        return code;
    _cleanup_free_ char *path = path_of(r, id);
    struct stat st;
    if (stat(path, &st) < 0)
        return registry__fail(err, REGISTRY_BLOB_UPLOAD_UNKNOWN,
                              "the upload's bytes are gone: begin another");
    *ret_size = st.st_size;
    return 0;
}

/* Reads until the buffer is full or the body ends: a socket gives its bytes in small pieces, and each piece
 * would cost a write and a hash of its own. What came before a failure counts; the failure comes again. */
static ssize_t fill(registry_read_fn read, void *context, char *buffer, struct err *err)
{
    size_t have = 0;
    while (have < BUFFER_BYTES) {
        ssize_t n = read(context, buffer + have, BUFFER_BYTES - have, err);
        if (n < 0 && have == 0)
            return n;
        if (n <= 0)
            break;
        have += (size_t)n;
    }
    return (ssize_t)have;
}

/* A full buffer at an aligned place goes past the page cache, where the file system has that (open(2),
 * O_DIRECT); the rest through it. The kernel keeps the two ways coherent. */
static int write_piece(struct upload *u, const char *buffer, size_t n, struct err *err)
{
    bool direct = n == BUFFER_BYTES && u->size % DIRECT_ALIGNMENT == 0;
    int flags = fcntl(u->fd, F_GETFL);
    if (direct != !!(flags & O_DIRECT))
        fcntl(u->fd, F_SETFL, direct ? flags | O_DIRECT : flags & ~O_DIRECT);
    if (direct) {
        ssize_t written = write(u->fd, buffer, n);
        if (written == (ssize_t)n)
            return 0;
        /* A short write is an aligned one; a refusal may be of the way alone. Either is taken up below. */
        written = MAX(written, 0);
        buffer += written;
        n -= (size_t)written;
        fcntl(u->fd, F_SETFL, flags & ~O_DIRECT);
    }
    return file_write_all(u->fd, buffer, n, err);
}

/* What cannot become a blob need not come whole: `room` is how large it may be. */
static int take_in(struct upload *u, int64_t length, int64_t room, registry_read_fn read, void *context,
                   struct registry_err *err)
{
    _cleanup_free_ char *buffer = aligned_alloc(DIRECT_ALIGNMENT, BUFFER_BYTES);
    int64_t got = 0;
    must(buffer);
    for (;;) {
        ssize_t n = fill(read, context, buffer, &err->cause);
        if (n < 0)
            return registry__internal(err);
        if (n == 0)
            break;
        got += n;
        if (length >= 0 && got > length)
            return registry__fail(err, REGISTRY_SIZE_INVALID, "more than the %lld bytes announced came",
                                  (long long)length);
        if (u->size + n > room)
            return registry__fail(
                err, REGISTRY_DENIED,
                "quota: there is room for %lld bytes more, and the upload is larger: delete "
                "tags, or ask for more",
                (long long)MAX(room, 0));
        if (write_piece(u, buffer, (size_t)n, &err->cause) < 0)
            return registry__internal(err);
        FAILPOINT("registry-upload-written");
        u->size += n;
        if (u->hash) {
            digest_hasher_add(u->hash->hasher, buffer, (size_t)n);
            u->hash->bytes += n;
        }
    }
    if (length >= 0 && got != length)
        return registry__fail(err, REGISTRY_SIZE_INVALID, "%lld of the %lld bytes announced came",
                              (long long)got, (long long)length);
    return 0;
}

int registry_upload_append(struct registry *r, const char *repository, const char *id, int64_t start,
                           int64_t length, registry_read_fn read, void *context, int64_t *ret_size,
                           struct registry_err *err)
{
    struct upload u;
    int64_t room;
    int code = upload_open(r, repository, id, &u, err);
    if (code == 0 && (code = registry__quota_room(r, repository, &room, err)) < 0)
        upload_done(&u);
    if (code < 0)
        return code;
    if (start >= 0 && start != u.size)
        code = registry__fail(err, REGISTRY_RANGE_INVALID,
                              "the chunk begins at byte %lld, but the upload stands at %lld",
                              (long long)start, (long long)u.size);
    else
        code = take_in(&u, length, room, read, context, err);
    *ret_size = u.size;
    upload_done(&u);
    return code;
}

static int digest_of_file(struct upload *u, const char *like, char ret[DIGEST_BYTES],
                          struct registry_err *err)
{
    if (u->hash && str_after(like, "sha256:")) {
        digest_hasher_format(u->hash->hasher, ret);
        return 0;
    }
    _cleanup_hasher_ struct digest_hasher *h = digest_hasher_new(like);
    _cleanup_free_ char *buffer = mem_new(CHUNK_BYTES);
    if (lseek(u->fd, 0, SEEK_SET) < 0) {
        err_sys(&err->cause, errno, "read the upload");
        return registry__internal(err);
    }
    for (ssize_t n; (n = file_read_full(u->fd, buffer, CHUNK_BYTES, &err->cause)) != 0;) {
        if (n < 0)
            return registry__internal(err);
        digest_hasher_add(h, buffer, (size_t)n);
    }
    digest_hasher_format(h, ret);
    return 0;
}

static void forget(struct registry *r, const char *id)
{
    const struct store_value v = store_text(id);
    const struct store_statement s = {.sql = "DELETE FROM repository_upload WHERE id = ?",
                                      .params = &v,
                                      .param_count = 1,
                                      .expect_changes = -1};
    store_batch(r->store, &s, 1, STORE_LAZY, NULL);
    pthread_mutex_lock(&r->lock);
    map_remove(&r->hashes, id);
    pthread_mutex_unlock(&r->lock);
}

static void forget_upload(struct upload *u)
{
    registry__upload_hash_free(take_ptr(u->hash));
    forget(u->registry, u->id);
}

static int link_row(struct registry *r, const char *repository, const char *digest, int64_t size,
                    struct registry_err *err)
{
    const struct store_value v[] = {STORE_STR(repository), STORE_STR(digest), STORE_I64(time_now_ns()),
                                    STORE_I64(size)};
    return registry__execute(
        r,
        "INSERT INTO repository_blob (repository, digest, seen, size) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (repository, digest) DO UPDATE SET seen = excluded.seen",
        v, 4, err);
}

int registry__blob_link(struct registry *r, const char *repository, const char *digest,
                        struct registry_err *err)
{
    _cleanup_free_ char *there = NULL;
    const char *const params[] = {repository, digest};
    int64_t size = 0;
    content_has(r->images, digest, &size);
    bool locked = registry__quota_lock(r, repository);
    int code = registry__text(r, "SELECT digest FROM repository_blob WHERE repository = ? AND digest = ?",
                              params, 2, &there, err);
    if (code == 0)
        code = registry__quota_check(r, repository, there ? 0 : size, err);
    if (code == 0)
        code = link_row(r, repository, digest, size, err);
    registry__quota_unlock(r, locked);
    return code;
}

/* What is held by the caller and has just come, or was there, becomes the repository's. */
static int adopt(struct registry *r, const char *repository, const char *path, const char *digest,
                 struct registry_err *err)
{
    if (content_adopt(r->images, path, digest, &err->cause) < 0)
        return registry__internal(err);
    FAILPOINT("registry-blob-unlinked");
    return registry__blob_link(r, repository, digest, err);
}

static void let_go(struct registry *r, const char *digest)
{
    char *list[] = {(char *)digest, NULL};
    content_let_go(r->images, list);
}

static void warm(struct registry *r, const char *digest)
{
    int fd;
    int64_t size;
    if (content_open(r->images, digest, &fd, &size, NULL) == 0)
        registry__warm(r->warmer, fd, size);
}

int registry_upload_finish(struct registry *r, const char *repository, const char *id, const char *digest,
                           struct registry_err *err)
{
    if (registry__check_digest(digest, err) < 0)
        return -err->cause.code;
    struct upload u;
    int code = upload_open(r, repository, id, &u, err);
    if (code < 0)
        return code;
    char got[DIGEST_BYTES];
    code = digest_of_file(&u, digest, got, err);
    if (code == 0 && !str_eq(got, digest)) {
        unlink(u.path);
        forget_upload(&u);
        code = registry__fail(
            err, REGISTRY_DIGEST_INVALID,
            "the %lld bytes that came have the digest %s, not %s: the upload was dropped, send it again",
            (long long)u.size, got, digest);
    } else if (code == 0) {
        content_hold(r->images);
        code = adopt(r, repository, u.path, digest, err);
        FAILPOINT("registry-upload-adopted");
        let_go(r, digest);
        /* Its bytes have become the blob, or, when that was refused after all, have gone with it. */
        if (code == 0 || !file_exists(u.path))
            forget_upload(&u);
        if (code == 0 && u.size >= BUFFER_BYTES)
            warm(r, digest);
    }
    upload_done(&u);
    return code;
}

int registry_upload_cancel(struct registry *r, const char *repository, const char *id,
                           struct registry_err *err)
{
    struct upload u;
    int code = upload_open(r, repository, id, &u, err);
    if (code < 0)
        return code;
    unlink(u.path);
    forget_upload(&u);
    upload_done(&u);
    return 0;
}

static int anywhere(struct registry *r, const char *digest, bool *ret, struct registry_err *err)
{
    _cleanup_free_ char *owner = NULL;
    const char *const params[] = {digest};
    int code = registry__text(r,
                              "SELECT repository FROM repository_blob WHERE digest = ?1"
                              " UNION ALL SELECT image FROM image_blob WHERE digest = ?1 LIMIT 1",
                              params, 1, &owner, err);
    if (code == 0)
        *ret = owner != NULL;
    return code;
}

int registry_mount_sources(struct registry *r, const char *digest, char ***ret, struct err *err)
{
    const struct store_value v[] = {STORE_STR(digest), STORE_I64(REGISTRY_MAX_SOURCES)};
    return registry__texts(
        r, "SELECT repository FROM repository_blob WHERE digest = ? ORDER BY repository LIMIT ?", v, 2, ret,
        err);
}

int registry_upload_mount(struct registry *r, const char *repository, const char *from, const char *digest,
                          struct registry_err *err)
{
    if (registry__check_name(repository, err) < 0 || registry__check_digest(digest, err) < 0 ||
        (from && registry__check_name(from, err) < 0) || registry__mirror_refuse(r, repository, err) < 0)
        return -err->cause.code;
    content_hold(r->images);
    bool known = false;
    int code = from ? registry__blob_known(r, from, digest, &known, err) : anywhere(r, digest, &known, err);
    if (code == 0 && known && content_has(r->images, digest, NULL))
        code = registry__blob_link(r, repository, digest, err);
    else if (code == 0)
        code = registry__fail(err, REGISTRY_BLOB_UNKNOWN, "%s has no blob %s", from ? from : "this registry",
                              digest);
    let_go(r, digest);
    return code;
}

/* --- garbage --- */

static void drop_if_resting(struct registry *r, const char *id, int64_t before_ns)
{
    _cleanup_free_ char *path = path_of(r, id);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_mtim.tv_sec * NS_PER_S + st.st_mtim.tv_nsec >= before_ns ||
        flock(fd, LOCK_EX | LOCK_NB) < 0)
        return;
    unlink(path);
    FAILPOINT("registry-upload-dropped");
    forget(r, id);
}

static int drop_without_bytes(struct registry *r, int64_t before_ns, struct err *err)
{
    const struct store_value v = STORE_I64(before_ns);
    _cleanup_strv_ char **ids = NULL;
    int code = registry__texts(r, "SELECT id FROM repository_upload WHERE started < ?", &v, 1, &ids, err);
    STRV_FOREACH (id, ids) {
        _cleanup_free_ char *path = path_of(r, *id);
        if (!file_exists(path))
            forget(r, *id);
    }
    return code;
}

int registry__uploads_collect(struct registry *r, int64_t before_ns, struct err *err)
{
    DIR *dir = opendir(content_uploads_dir(r->images));
    if (!dir)
        return err_sys(err, errno, "open %s", content_uploads_dir(r->images));
    for (struct dirent *e; (e = readdir(dir));)
        if (e->d_name[0] != '.')
            drop_if_resting(r, e->d_name, before_ns);
    closedir(dir);
    return drop_without_bytes(r, before_ns, err);
}
