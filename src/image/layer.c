/* Layers unpacked for overlayfs: several of an image at once, each put right against those below it and
 * entered in order. */
#include "base/failpoint.h"
#include "base/file.h"
#include "base/tree_bytes.h"
#include "image/image_priv.h"
#include "image/tar_priv.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { SHORT_DIGITS = 12 };

void image__chain_id(const char *parent_chain, const char *diff_id, char out[DIGEST_BYTES])
{
    if (str_empty(parent_chain)) {
        memcpy(out, diff_id, strlen(diff_id) + 1);
        return;
    }
    _cleanup_free_ char *text = str_printf("%s %s", parent_chain, diff_id);
    digest_of(text, strlen(text), out);
}

struct found {
    char *dir;
    int64_t size;
};

static int take_found(void *context, const struct store_value *columns, size_t column_count, struct err *err)
{
    struct found *f = context;
    free(f->dir);
    f->dir = mem_strdup(columns[0].bytes);
    f->size = columns[1].integer;
    return 0;
}

int image__layer_find(struct images *im, const char *chain, char **ret_short, int64_t *ret_size,
                      struct err *err)
{
    struct found f = {0};
    struct store_value v = store_text(chain);
    int r = store_query(im->store, "SELECT dir, size FROM layer WHERE chain = ?", &v, 1, take_found, &f, err);
    struct stat st;
    /* A directory that someone removed by hand is unpacked again. */
    if (r == 0 && (!f.dir || fstatat(im->layers_fd, f.dir, &st, AT_SYMLINK_NOFOLLOW) < 0))
        r = err_set(err, ERR_NOT_FOUND, "layer %s is not unpacked", chain);
    if (r < 0) {
        free(f.dir);
        return r;
    }
    *ret_short = f.dir;
    if (ret_size)
        *ret_size = f.size;
    return 0;
}

int image__layer_chain_of(struct images *im, const char *short_name, char ret_chain[DIGEST_BYTES],
                          struct err *err)
{
    _cleanup_free_ char *chain = NULL;
    int r = image__query_text(im, "SELECT chain FROM layer WHERE dir = ?", short_name, &chain, err);
    if (r < 0)
        return r;
    if (!chain || !digest_valid(chain))
        return err_set(err, ERR_NOT_FOUND, "no layer is unpacked as %s", short_name);
    memcpy(ret_chain, chain, strlen(chain) + 1);
    return 0;
}

bool image__layer_claim(struct images *im, const char *chain)
{
    pthread_mutex_lock(&im->mutex);
    map_put(&im->pins, chain, im);
    while (map_has(&im->unpacking, chain))
        pthread_cond_wait(&im->changed, &im->mutex);
    _cleanup_free_ char *dir = NULL;
    bool there = image__layer_find(im, chain, &dir, NULL, NULL) == 0;
    if (!there)
        map_put(&im->unpacking, chain, im);
    pthread_mutex_unlock(&im->mutex);
    return there;
}

void image__layer_release(struct images *im, const char *chain)
{
    pthread_mutex_lock(&im->mutex);
    map_remove(&im->unpacking, chain);
    pthread_cond_broadcast(&im->changed);
    pthread_mutex_unlock(&im->mutex);
}

static void short_name(const char *chain, int attempt, char out[SHORT_DIGITS + 1])
{
    char random[65];
    if (attempt > 0)
        digest_random_id(random);
    snprintf(out, SHORT_DIGITS + 1, "%.*s", SHORT_DIGITS, attempt > 0 ? random : digest_hex(chain));
}

int image__layer_adopt(struct images *im, const struct layer *layer, const char *parent_chain,
                       const char *path, int64_t size, struct err *err)
{
    char dir[SHORT_DIGITS + 1];
    struct stat st;
    for (int attempt = 0;; attempt++) {
        short_name(layer->chain, attempt, dir);
        if (fstatat(im->layers_fd, dir, &st, AT_SYMLINK_NOFOLLOW) < 0)
            break;
    }
    FAILPOINT("image-layer-unpacked");
    if (renameat(AT_FDCWD, path, im->layers_fd, dir) < 0)
        return err_sys(err, errno, "put layer %s in place", layer->diff_id);
    /* The files must be on disk before the database says so. */
    if (syncfs(im->layers_fd) < 0)
        return err_sys(err, errno, "write layer %s to disk", layer->diff_id);
    const struct store_value v[] = {STORE_STR(layer->chain),   STORE_STR(dir),
                                    STORE_STR(layer->diff_id), STORE_STR(layer->blob),
                                    STORE_STR(parent_chain),   STORE_I64(size)};
    const struct store_statement s = {.sql = "INSERT OR REPLACE INTO layer (chain, dir, diff_id, blob, "
                                             "parent, size) VALUES (?, ?, ?, ?, ?, ?)",
                                      .params = v,
                                      .param_count = ARRAY_SIZE(v),
                                      .expect_changes = -1};
    int r = store_batch(im->store, &s, 1, STORE_DURABLE, err);
    if (r < 0)
        file_remove_tree_at(im->layers_fd, dir, NULL);
    return r;
}

static int take_i64(void *context, const struct store_value *c, size_t column_count, struct err *err)
{
    *(int64_t *)context = c[0].integer;
    return 0;
}

/* A layer does not change: it is measured once. */
int64_t image__layer_disk(struct images *im, const char *chain)
{
    _cleanup_free_ char *dir = NULL;
    int64_t disk = -1;
    const struct store_value v = store_text(chain);
    if (image__layer_find(im, chain, &dir, NULL, NULL) < 0)
        return 0;
    if (store_query(im->store, "SELECT disk FROM layer WHERE chain = ?", &v, 1, take_i64, &disk, NULL) == 0 &&
        disk >= 0)
        return disk;
    disk = tree_bytes_at(im->layers_fd, dir);
    const struct store_value params[] = {STORE_I64(disk), STORE_STR(chain), STORE_STR(dir)};
    const struct store_statement s = {.sql = "UPDATE layer SET disk = ? WHERE chain = ? AND dir = ?",
                                      .params = params,
                                      .param_count = ARRAY_SIZE(params),
                                      .expect_changes = -1};
    store_batch(im->store, &s, 1, STORE_LAZY, NULL);
    return disk;
}

/* Nobody is about to use it, and unless it is to be made again no image has it. */
static bool may_go(struct images *im, const char *chain, bool comes_again)
{
    _cleanup_free_ char *user = NULL;
    if (map_has(&im->pins, chain) || map_has(&im->unpacking, chain))
        return false;
    return comes_again || (image__query_text(im, "SELECT image FROM image_layer WHERE chain = ? LIMIT 1",
                                             chain, &user, NULL) == 0 &&
                           !user);
}

bool image__layer_remove(struct images *im, const char *chain, bool comes_again, int64_t *freed)
{
    _cleanup_free_ char *dir = NULL, *trash = image__temp_path(im, "trash");
    bool gone = false;
    pthread_mutex_lock(&im->mutex);
    if (may_go(im, chain, comes_again) && image__layer_find(im, chain, &dir, NULL, NULL) == 0) {
        struct store_value v = store_text(chain);
        const struct store_statement s = {
            .sql = "DELETE FROM layer WHERE chain = ?", .params = &v, .param_count = 1, .expect_changes = -1};
        gone = store_batch(im->store, &s, 1, STORE_DURABLE, NULL) == 0 &&
               renameat(im->layers_fd, dir, AT_FDCWD, trash) == 0;
    }
    pthread_mutex_unlock(&im->mutex);
    if (gone && freed)
        *freed += tree_bytes_at(AT_FDCWD, trash);
    if (gone)
        file_remove_tree(trash, NULL);
    return gone;
}

void image__layer_sweep(struct images *im, char *const *chains, char ***ret_gone, int64_t *freed)
{
    for (char *const *c = chains; c && *c; c++)
        if (image__layer_remove(im, *c, false, freed) && ret_gone)
            strv_add(ret_gone, *c);
}

/* --- one image's layers, by a few threads --- */

struct unpack {
    struct images *im;
    const struct layer *layers;
    size_t count, next, done; /* next to be taken; `done` layers from the bottom are in place */
    char **dirs;              /* of those in place */
    const struct image_progress *progress;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct err err; /* the first failure */
};

struct hashing {
    struct tar_source *source;
    struct digest_hasher *hasher;
    struct unpack *u;
    const struct layer *layer;
    int64_t total, reported;
};

static ssize_t read_hashed(void *context, void *buffer, size_t n, struct err *err)
{
    struct hashing *h = context;
    ssize_t got = tar__source_read(h->source, buffer, n, err);
    if (got <= 0)
        return got;
    digest_hasher_add(h->hasher, buffer, (size_t)got);
    int64_t at = tar__source_consumed(h->source);
    if (at - h->reported < (1 << 20))
        return got;
    h->reported = at;
    _cleanup_free_ char *id = image__short_id(h->layer->blob);
    int r = image__report(h->u->progress, id, "Extracting", at, h->total, err);
    return r < 0 ? r : got;
}

static int unpack_into(struct unpack *u, const struct layer *l, const char *path, struct tar_notes *notes,
                       struct err *err)
{
    _cleanup_close_ int fd = -EBADF;
    struct hashing h = {.u = u, .layer = l};
    int r = image__blob_open(u->im, l->blob, &fd, &h.total, err);
    if (r < 0)
        return r;
    if (mkdir(path, 0755) < 0)
        return err_sys(err, errno, "create %s", path);
    _cleanup_close_ int root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return err_sys(err, errno, "open %s", path);
    _cleanup_(tar__source_free_p) struct tar_source *source = NULL;
    r = tar__source_new(fd, NULL, NULL, NULL, &source, err);
    if (r < 0)
        return r;
    _cleanup_hasher_ struct digest_hasher *hasher = digest_hasher_new(l->diff_id);
    h.source = source;
    h.hasher = hasher;
    const struct tar_extract x = {.root_fd = root, .layer = true};
    r = tar__extract(&x, read_hashed, &h, notes, err);
    if (r < 0)
        return r;
    char got[DIGEST_BYTES];
    digest_hasher_format(hasher, got);
    if (strcmp(got, l->diff_id) != 0)
        return err_set(err, ERR_CORRUPT, "its content has the digest %s, but the image's config says %s", got,
                       l->diff_id);
    return 0;
}

/* The topmost of the layers below that has `path`; -ERR_NOT_FOUND when none shows it. `flags` O_PATH or
 * O_RDONLY. Whiteouts and opaque directories on the way hide what is below. */
static int open_in_lowers(struct unpack *u, size_t below, const char *path, struct stat *st)
{
    for (size_t i = below; i-- > 0;) {
        _cleanup_close_ int root = openat(u->im->layers_fd, u->dirs[i], O_PATH | O_DIRECTORY | O_CLOEXEC);
        int fd = tar__openat2(root, *path ? path : ".", O_PATH | O_NOFOLLOW,
                              RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
        if (fd >= 0) {
            if (fstat(fd, st) == 0 && !tar__is_whiteout(st))
                return fd;
            close(fd);
            return -ERR_NOT_FOUND;
        }
        /* Not here; but does a part of the way end the search? */
        _cleanup_free_ char *way = mem_strdup(path);
        for (char *slash; (slash = strrchr(way, '/'));) {
            *slash = '\0';
            _cleanup_close_ int at =
                tar__openat2(root, way, O_PATH | O_NOFOLLOW, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
            if (at < 0)
                continue;
            char proc[40], value[4];
            snprintf(proc, sizeof(proc), "/proc/self/fd/%d", at);
            if (fstat(at, st) < 0 || !S_ISDIR(st->st_mode) ||
                getxattr(proc, file_overlay_opaque(), value, sizeof(value)) == 1)
                return -ERR_NOT_FOUND;
            break;
        }
    }
    return -ERR_NOT_FOUND;
}

static int fix_directory(struct unpack *u, size_t below, int root, const char *path, struct err *err)
{
    struct stat st;
    _cleanup_close_ int lower = open_in_lowers(u, below, path, &st);
    if (lower < 0 || !S_ISDIR(st.st_mode))
        return 0;
    _cleanup_close_ int fd =
        tar__openat2(root, *path ? path : ".", O_RDONLY | O_DIRECTORY, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
    if (fd < 0)
        return 0; /* replaced by a later entry */
    char value[4];
    if (fgetxattr(fd, file_overlay_opaque(), value, sizeof(value)) > 0)
        return 0; /* a new directory, not the lower one */
    char proc[40];
    snprintf(proc, sizeof(proc), "/proc/self/fd/%d", lower);
    _cleanup_close_ int readable = open(proc, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (readable < 0)
        return err_sys(err, errno, "open %s of a lower layer", path);
    return tar__copy_attributes(readable, fd, &st, err);
}

/* A link to a file of a lower layer: overlayfs cannot link across layers, so the file is copied up. */
static int copy_up(struct unpack *u, size_t below, int dir_fd, const char *name, const char *target,
                   struct err *err)
{
    struct stat st;
    _cleanup_close_ int lower = open_in_lowers(u, below, target, &st);
    if (lower < 0)
        return err_set(err, ERR_INVALID, "it is in no layer");
    if (S_ISLNK(st.st_mode)) {
        char text[4096];
        ssize_t n = readlinkat(lower, "", text, sizeof(text) - 1);
        if (n < 0)
            return err_sys(err, errno, "read link");
        text[n] = '\0';
        if (symlinkat(text, dir_fd, name) < 0 ||
            fchownat(dir_fd, name, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) < 0)
            return err_sys(err, errno, "copy from the lower layer");
        return 0;
    }
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "it is not a file");
    char proc[40];
    snprintf(proc, sizeof(proc), "/proc/self/fd/%d", lower);
    _cleanup_close_ int from = open(proc, O_RDONLY | O_CLOEXEC);
    _cleanup_close_ int to = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (from < 0 || to < 0)
        return err_sys(err, errno, "copy from the lower layer");
    int r = tar__copy_data(from, to, st.st_size, err);
    return r < 0 ? r : tar__copy_attributes(from, to, &st, err);
}

static int fix_link(struct unpack *u, size_t below, int root, const char *path, const char *target,
                    struct err *err)
{
    const char *slash = strrchr(path, '/');
    _cleanup_free_ char *dir = mem_strndup(path, slash ? (size_t)(slash - path) : 0);
    const char *name = slash ? slash + 1 : path;
    _cleanup_close_ int dir_fd = tar__openat2(root, *dir ? dir : ".", O_PATH | O_DIRECTORY, RESOLVE_BENEATH);
    struct stat st;
    if (dir_fd < 0 || fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return 0; /* a later entry removed or replaced it */
    const char *base = strrchr(target, '/');
    _cleanup_free_ char *target_dir = mem_strndup(target, base ? (size_t)(base - target) : 0);
    _cleanup_close_ int here =
        tar__openat2(root, *target_dir ? target_dir : ".", O_PATH | O_DIRECTORY, RESOLVE_BENEATH);
    base = base ? base + 1 : target;
    /* A second link to the same file: its copy is here by now. */
    if (here >= 0 && fstatat(here, base, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
        linkat(here, base, dir_fd, name, 0) == 0)
        return 0;
    int r = copy_up(u, below, dir_fd, name, target, err);
    if (r < 0) {
        _cleanup_free_ char *text = tar__printable(path), *to = tar__printable(target);
        return err_wrap(err, "entry \"%s\" is a hard link to \"%s\": refused", text, to);
    }
    return 0;
}

/* The same file linked several times from below must be one file again. */
static int fix_links(struct unpack *u, size_t below, int root, char **links, struct err *err)
{
    struct map first = MAP_INIT(NULL); /* target -> the first new name of it */
    int r = 0;
    for (char **l = links; r == 0 && l && *l; l += 2) {
        const char *same = map_get(&first, l[1]);
        r = fix_link(u, below, root, l[0], same ? same : l[1], err);
        if (!same)
            map_put(&first, l[1], l[0]);
    }
    map_done(&first);
    return r;
}

/* Now the lower layers are in place: implied directories look like theirs. */
static int settle(struct unpack *u, size_t index, const char *path, const struct tar_notes *notes,
                  struct err *err)
{
    _cleanup_close_ int root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return err_sys(err, errno, "open %s", path);
    int r = fix_links(u, index, root, notes->links, err);
    struct map_entry *e;
    for (size_t i = 0; r == 0 && (e = map_next(&notes->implied, &i));)
        r = fix_directory(u, index, root, e->key, err);
    return r;
}

static int wait_for_lower(struct unpack *u, size_t index, struct err *err)
{
    pthread_mutex_lock(&u->mutex);
    while (u->done < index && !u->err.code)
        pthread_cond_wait(&u->changed, &u->mutex);
    int r = u->err.code ? err_copy(err, &u->err) : 0;
    pthread_mutex_unlock(&u->mutex);
    return r;
}

static int unpack_claimed(struct unpack *u, size_t index, struct err *err)
{
    const struct layer *l = &u->layers[index];
    if (!*l->blob)
        return err_set(err, ERR_NOT_FOUND, "layer %s is missing: pull or load the image again", l->diff_id);
    _cleanup_free_ char *path = image__temp_path(u->im, "layer");
    struct tar_notes notes = {.implied = MAP_INIT(NULL)};
    int r = unpack_into(u, l, path, &notes, err);
    if (r < 0) {
        /* Whose fault: the disk's, or the image's author's? */
        struct err cause = {0};
        if (image__blob_verify(u->im, l->blob, &cause) == -ERR_CORRUPT)
            r = err_copy(err, &cause);
        err_wrap(err, "unpack layer %s", l->blob);
    }
    if (r == 0)
        r = wait_for_lower(u, index, err);
    if (r == 0 && (r = settle(u, index, path, &notes, err)) < 0)
        err_wrap(err, "unpack layer %s", l->blob);
    if (r == 0)
        r = image__layer_adopt(u->im, l, index ? u->layers[index - 1].chain : "", path, notes.bytes, err);
    tar__notes_done(&notes);
    file_remove_tree(path, NULL);
    return r;
}

static int unpack_one(struct unpack *u, size_t index, struct err *err)
{
    const struct layer *l = &u->layers[index];
    int r = 0;
    bool here = image__layer_claim(u->im, l->chain);
    if (!here) {
        r = unpack_claimed(u, index, err);
        image__layer_release(u->im, l->chain);
    }
    if (r == 0)
        r = wait_for_lower(u, index, err);
    char *dir = NULL;
    if (r == 0)
        r = image__layer_find(u->im, l->chain, &dir, NULL, err);
    if (r == 0 && !here) {
        _cleanup_free_ char *id = image__short_id(l->blob);
        r = image__report(u->progress, id, "Pull complete", 0, 0, err);
    }
    pthread_mutex_lock(&u->mutex);
    u->dirs[index] = dir;
    if (r == 0)
        u->done = MAX(u->done, index + 1);
    else if (!u->err.code)
        err_copy(&u->err, err);
    pthread_cond_broadcast(&u->changed);
    pthread_mutex_unlock(&u->mutex);
    return r;
}

static void *unpack_thread(void *context)
{
    struct unpack *u = context;
    for (;;) {
        pthread_mutex_lock(&u->mutex);
        size_t index = u->err.code ? u->count : u->next;
        if (index < u->count)
            u->next++;
        pthread_mutex_unlock(&u->mutex);
        struct err err = {0};
        if (index >= u->count || unpack_one(u, index, &err) < 0)
            return NULL;
    }
}

int image__layers_unpack(struct images *im, const struct layer *layers, size_t count,
                         const struct image_progress *p, struct err *err)
{
    struct unpack u = {.im = im, .layers = layers, .count = count, .progress = p};
    pthread_mutex_init(&u.mutex, NULL);
    pthread_cond_init(&u.changed, NULL);
    u.dirs = NEW_N(char *, count + 1);
    pthread_t threads[UNPACK_WORKERS];
    size_t started = 0;
    /* The caller works too, so that it also goes on when no thread can be had. */
    while (started + 1 < MIN((size_t)UNPACK_WORKERS, count) &&
           pthread_create(&threads[started], NULL, unpack_thread, &u) == 0)
        started++;
    unpack_thread(&u);
    for (size_t i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < count; i++)
        free(u.dirs[i]);
    free(u.dirs);
    pthread_mutex_destroy(&u.mutex);
    pthread_cond_destroy(&u.changed);
    return u.err.code ? err_copy(err, &u.err) : 0;
}
