#include "base/file.h"
#include "image/image_priv.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const migrations[] = {
    "CREATE TABLE image (id TEXT PRIMARY KEY, manifest TEXT NOT NULL, parent TEXT, created INTEGER NOT NULL,"
    "  size INTEGER NOT NULL) STRICT;"
    "CREATE TABLE reference (name TEXT PRIMARY KEY, image TEXT NOT NULL"
    "  REFERENCES image(id) ON DELETE CASCADE) STRICT;"
    "CREATE INDEX reference_image ON reference(image);"
    "CREATE TABLE repo_digest (name TEXT PRIMARY KEY, image TEXT NOT NULL"
    "  REFERENCES image(id) ON DELETE CASCADE) STRICT;"
    "CREATE INDEX repo_digest_image ON repo_digest(image);"
    "CREATE TABLE image_blob (image TEXT NOT NULL REFERENCES image(id) ON DELETE CASCADE,"
    "  digest TEXT NOT NULL, PRIMARY KEY (image, digest)) STRICT;"
    "CREATE INDEX image_blob_digest ON image_blob(digest);"
    "CREATE TABLE layer (chain TEXT PRIMARY KEY, dir TEXT NOT NULL UNIQUE, diff_id TEXT NOT NULL,"
    "  blob TEXT NOT NULL, parent TEXT NOT NULL, size INTEGER NOT NULL) STRICT;"
    "CREATE TABLE image_layer (image TEXT NOT NULL REFERENCES image(id) ON DELETE CASCADE,"
    "  position INTEGER NOT NULL, chain TEXT NOT NULL, PRIMARY KEY (image, position)) STRICT;"
    "CREATE INDEX image_layer_chain ON image_layer(chain);"
    "CREATE TABLE build_cache (key TEXT PRIMARY KEY, image TEXT NOT NULL"
    "  REFERENCES image(id) ON DELETE CASCADE) STRICT;"
    "CREATE INDEX build_cache_image ON build_cache(image);",
    "ALTER TABLE image ADD COLUMN tagged INTEGER NOT NULL DEFAULT 0;",
    "ALTER TABLE image ADD COLUMN removed INTEGER NOT NULL DEFAULT 0;"
    "CREATE INDEX image_removed ON image(removed) WHERE removed = 1;",
    "ALTER TABLE build_cache ADD COLUMN used INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE build_cache ADD COLUMN uses INTEGER NOT NULL DEFAULT 0;",
    /* The registry's (src/registry): here, because a blob goes when no row of any kind names it. */
    "CREATE TABLE repository_blob (repository TEXT NOT NULL, digest TEXT NOT NULL, seen INTEGER NOT NULL,"
    "  PRIMARY KEY (repository, digest)) STRICT;"
    "CREATE INDEX repository_blob_digest ON repository_blob(digest);"
    "CREATE TABLE repository_manifest (repository TEXT NOT NULL, digest TEXT NOT NULL,"
    "  media_type TEXT NOT NULL, size INTEGER NOT NULL, subject TEXT, artifact_type TEXT NOT NULL,"
    "  annotations TEXT NOT NULL, created INTEGER NOT NULL, PRIMARY KEY (repository, digest)) STRICT;"
    "CREATE INDEX repository_manifest_digest ON repository_manifest(digest);"
    "CREATE INDEX repository_manifest_subject ON repository_manifest(repository, subject);"
    "CREATE TABLE repository_use (repository TEXT NOT NULL, manifest TEXT NOT NULL, digest TEXT NOT NULL,"
    "  PRIMARY KEY (repository, manifest, digest), FOREIGN KEY (repository, manifest)"
    "  REFERENCES repository_manifest(repository, digest) ON DELETE CASCADE) STRICT;"
    "CREATE INDEX repository_use_digest ON repository_use(repository, digest);"
    "CREATE TABLE repository_tag (repository TEXT NOT NULL, tag TEXT NOT NULL, digest TEXT NOT NULL,"
    "  updated INTEGER NOT NULL, PRIMARY KEY (repository, tag), FOREIGN KEY (repository, digest)"
    "  REFERENCES repository_manifest(repository, digest) ON DELETE CASCADE) STRICT;"
    "CREATE INDEX repository_tag_digest ON repository_tag(repository, digest);"
    "CREATE TABLE repository_upload (id TEXT PRIMARY KEY, repository TEXT NOT NULL,"
    "  started INTEGER NOT NULL) STRICT;",
    "CREATE TABLE registry_robot (name TEXT PRIMARY KEY, hash TEXT NOT NULL, repositories TEXT NOT NULL,"
    "  rights INTEGER NOT NULL, created INTEGER NOT NULL, expires INTEGER NOT NULL) STRICT;",
    "ALTER TABLE repository_blob ADD COLUMN size INTEGER NOT NULL DEFAULT -1;",
    "CREATE TABLE registry_notice (id INTEGER PRIMARY KEY AUTOINCREMENT, webhook TEXT NOT NULL,"
    "  body TEXT NOT NULL, created INTEGER NOT NULL, attempts INTEGER NOT NULL, due INTEGER NOT NULL) STRICT;"
    "CREATE INDEX registry_notice_webhook ON registry_notice(webhook, id);"
    "CREATE TABLE registry_delivery (id INTEGER PRIMARY KEY AUTOINCREMENT, notice INTEGER NOT NULL,"
    "  webhook TEXT NOT NULL, at INTEGER NOT NULL, attempt INTEGER NOT NULL, outcome TEXT NOT NULL) STRICT;",
    /* Replications wait in the same queue: `webhook` is then a rule's name, `body` a repository's reference.
     */
    "ALTER TABLE registry_notice ADD COLUMN kind TEXT NOT NULL DEFAULT 'webhook';"
    "ALTER TABLE registry_delivery ADD COLUMN kind TEXT NOT NULL DEFAULT 'webhook';"
    "CREATE INDEX registry_notice_due ON registry_notice(kind, due);"
    "CREATE UNIQUE INDEX registry_notice_replication ON registry_notice(webhook, body)"
    "  WHERE kind = 'replication';",
    "ALTER TABLE layer ADD COLUMN disk INTEGER NOT NULL DEFAULT -1;", /* measured when first asked for */
    "ALTER TABLE image ADD COLUMN used INTEGER NOT NULL DEFAULT 0;",
    "CREATE TABLE build_download (url TEXT PRIMARY KEY, condition TEXT NOT NULL, digest TEXT NOT NULL,"
    "  used INTEGER NOT NULL) STRICT;"
    "CREATE INDEX build_download_used ON build_download(used);",
    "CREATE TABLE image_attestation (image TEXT PRIMARY KEY REFERENCES image(id) ON DELETE CASCADE,"
    "  subject TEXT NOT NULL, manifest TEXT NOT NULL) STRICT;",
    /* Images for other platforms that a name stands for, too, when it is pushed. */
    "CREATE TABLE reference_index (name TEXT NOT NULL REFERENCES reference(name) ON DELETE CASCADE,"
    "  position INTEGER NOT NULL, image TEXT NOT NULL, PRIMARY KEY (name, position)) STRICT;"
    "CREATE INDEX reference_index_image ON reference_index(image);",
    NULL,
};

struct text_list {
    char **items;
};

static int add_text(void *context, const struct store_value *columns, size_t column_count, struct err *err)
{
    struct text_list *list = context;
    strv_add(&list->items, columns[0].type == STORE_NULL ? "" : columns[0].bytes);
    return 0;
}

int image__query_list(struct images *im, const char *sql, const char *param, char ***ret, struct err *err)
{
    struct text_list list = {0};
    struct store_value v = store_text(param);
    int r = store_query(im->store, sql, &v, param ? 1 : 0, add_text, &list, err);
    if (r < 0) {
        strv_free(list.items);
        return r;
    }
    *ret = list.items;
    return 0;
}

int image__query_text(struct images *im, const char *sql, const char *param, char **ret, struct err *err)
{
    _cleanup_strv_ char **list = NULL;
    int r = image__query_list(im, sql, param, &list, err);
    if (r < 0)
        return r;
    *ret = list ? mem_strdup(list[0]) : NULL;
    return 0;
}

char *image__temp_path(struct images *im, const char *what)
{
    pthread_mutex_lock(&im->mutex);
    unsigned n = ++im->temp_counter;
    pthread_mutex_unlock(&im->mutex);
    return str_printf("%s/%s-%u", im->tmp_dir, what, n);
}

/* Calls `keep` for each name of a directory and removes what it does not want. */
static int sweep_dir(const char *path, const struct map *known, struct err *err)
{
    DIR *dir = opendir(path);
    if (!dir)
        return err_sys(err, errno, "open %s", path);
    int r = 0;
    for (struct dirent *e; r == 0 && (e = readdir(dir));) {
        if (str_eq(e->d_name, ".") || str_eq(e->d_name, "..") || (known && map_has(known, e->d_name)))
            continue;
        r = file_remove_tree_at(dirfd(dir), e->d_name, err);
    }
    closedir(dir);
    return r;
}

static int sweep_known(struct images *im, const char *path, const char *sql, const char *prefix,
                       struct err *err)
{
    _cleanup_strv_ char **names = NULL;
    int r = image__query_list(im, sql, NULL, &names, err);
    struct map known = MAP_INIT(NULL);
    STRV_FOREACH (name, names) {
        const char *rest = str_after(*name, prefix);
        if (rest)
            map_put(&known, rest, im);
    }
    if (r == 0)
        r = sweep_dir(path, &known, err);
    map_done(&known);
    return r;
}

/* What a crash left: half-made things, blobs and layers that no image came to own. */
static int sweep(struct images *im, struct err *err)
{
    int r = sweep_dir(im->tmp_dir, NULL, err);
    const struct store_statement orphans = {
        .sql = "DELETE FROM layer WHERE chain NOT IN (SELECT chain FROM image_layer)", .expect_changes = -1};
    if (r == 0)
        r = store_batch(im->store, &orphans, 1, STORE_DURABLE, err);
    if (r == 0)
        r = sweep_known(im, im->layers_dir, "SELECT dir FROM layer UNION SELECT 'empty'", "", err);
    static const char *const algorithms[] = {"sha256", "sha512"};
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(algorithms); i++) {
        _cleanup_free_ char *path = str_printf("%s/blobs/%s", im->root, algorithms[i]);
        _cleanup_free_ char *prefix = str_printf("%s:", algorithms[i]);
        r = sweep_known(im, path,
                        "SELECT digest FROM image_blob UNION SELECT digest FROM repository_blob"
                        " UNION SELECT digest FROM repository_manifest",
                        prefix, err);
    }
    return r;
}

static int make_dirs(struct images *im, struct err *err)
{
    static const char *const names[] = {"blobs/sha256", "blobs/sha512", "layers/empty",
                                        "tmp",          "uploads",      "incoming"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        _cleanup_free_ char *path = str_printf("%s/%s", im->root, names[i]);
        /* Layers hold set-uid programs of any age: nobody but root may reach them outside a container. */
        int r = file_mkdirs(path, 0700, err);
        if (r < 0)
            return r;
    }
    _cleanup_free_ char *empty = str_printf("%s/layers/empty", im->root);
    if (chmod(empty, 0755) < 0)
        return err_sys(err, errno, "chmod %s", empty);
    im->layers_fd = open(im->layers_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return im->layers_fd < 0 ? err_sys(err, errno, "open %s", im->layers_dir) : 0;
}

static int open_all(struct images *im, struct err *err)
{
    int r = make_dirs(im, err);
    _cleanup_free_ char *lock = str_printf("%s/lock", im->root);
    if (r == 0)
        r = file_lock(lock, &im->lock_fd, err);
    _cleanup_free_ char *db = str_printf("%s/images.db", im->root);
    if (r == 0)
        r = store_open(db, migrations, &im->store, err);
    if (r == 0)
        r = sweep(im, err);
    return r;
}

int images_open(const char *root, struct images **ret, struct err *err)
{
    struct images *im = NEW(struct images);
    im->lock_fd = im->layers_fd = -EBADF;
    im->pins = MAP_INIT(NULL);
    im->unpacking = MAP_INIT(NULL);
    im->diffs = MAP_INIT(free);
    im->uses = MAP_INIT(NULL);
    im->known = MAP_INIT(image__known_free);
    im->some_removed = true;
    pthread_mutex_init(&im->mutex, NULL);
    pthread_cond_init(&im->changed, NULL);
    int r = file_mkdirs(root, 0700, err);
    if (r == 0) {
        im->root = realpath(root, NULL);
        must(im->root);
        im->layers_dir = str_printf("%s/layers", im->root);
        im->tmp_dir = str_printf("%s/tmp", im->root);
        im->uploads_dir = str_printf("%s/uploads", im->root);
        r = open_all(im, err);
    }
    if (r < 0) {
        images_close(im);
        return err_wrap(err, "open images in %s", root);
    }
    *ret = im;
    return 0;
}

void images_close(struct images *im)
{
    if (!im)
        return;
    if (im->store)
        store_close(im->store);
    close_fd(im->lock_fd);
    close_fd(im->layers_fd);
    map_done(&im->pins);
    map_done(&im->unpacking);
    map_done(&im->diffs);
    map_done(&im->uses);
    map_done(&im->known);
    strv_free(im->insecure);
    free(im->certs_dir);
    image__peers_free(im->peers);
    strv_free(im->brought);
    pthread_mutex_destroy(&im->mutex);
    pthread_cond_destroy(&im->changed);
    free(im->root);
    free(im->layers_dir);
    free(im->tmp_dir);
    free(im->uploads_dir);
    free(im);
}

const char *images_layers_dir(struct images *im)
{
    return im->layers_dir;
}

char *const *images_insecure(struct images *im)
{
    return im->insecure;
}

void images_trust(struct images *im, const char *certs_dir)
{
    free(im->certs_dir);
    im->certs_dir = mem_strdup(certs_dir);
}

char *images_ca_file(struct images *im, const char *host)
{
    _cleanup_free_ char *path =
        str_printf("%s/%s/ca.crt", im->certs_dir ? im->certs_dir : "/etc/docker/certs.d", host);
    return !strchr(host, '/') && file_exists(path) ? take_ptr(path) : NULL;
}

void images_allow_insecure(struct images *im, char *const *registries)
{
    strv_free(im->insecure);
    im->insecure = strv_dup(registries);
}

int image__report(const struct image_progress *p, const char *layer, const char *phase, int64_t current,
                  int64_t total, struct err *err)
{
    if (p && p->report && p->report(p->context, layer, phase, current, total) != 0)
        return err_set(err, ERR_CANCELLED, "cancelled");
    return 0;
}

char *image__short_id(const char *digest)
{
    return mem_strndup(digest_hex(digest), 12);
}
