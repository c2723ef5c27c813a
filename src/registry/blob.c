/* Blobs of a repository. */
#include "base/lock.h"
#include "base/timeutil.h"
#include "registry/mirror.h"

struct row {
    int64_t seen;
    bool found;
};

static int take_row(void *context, const struct store_value *c, size_t count, struct err *err)
{
    struct row *row = context;
    row->seen = c[0].integer;
    row->found = true;
    return 0;
}

static bool is_due(const struct registry *r, int64_t seen)
{
    return time_now_ns() - seen >= r->grace_ns / 4;
}

/* Who asks for a blob is perhaps about to name it: it rests for the whole of the grace from now. */
static void touch(struct registry *r, const char *repository, const char *digest, int64_t seen)
{
    if (!is_due(r, seen))
        return;
    int64_t now = time_now_ns();
    const struct store_value v[] = {STORE_I64(now), STORE_STR(repository), STORE_STR(digest)};
    const struct store_statement s = {
        .sql = "UPDATE repository_blob SET seen = ? WHERE repository = ? AND digest = ?",
        .params = v,
        .param_count = 3,
        .expect_changes = -1};
    store_batch(r->store, &s, 1, STORE_LAZY, NULL);
}

/* Rows that were found lately, so that a pull of many small blobs asks the store for none of them twice. They
 * hold for one version of the database: whatever is written there empties them. Who asks for several blobs of
 * a repository between two writes pulls: then all of its rows come at once. */
struct known_blob {
    int64_t seen;
};
enum { KNOWN_MAX = 16384, AT_ONCE_MAX = 8192, AT_ONCE_FROM = 4 };

/* lock held. */
static void forget_older(struct registry *r, uint64_t version)
{
    if (r->known_at == version && r->known.count < KNOWN_MAX)
        return;
    map_done(&r->known);
    r->known = MAP_INIT(free);
    r->known_at = version;
    r->asked = 0;
}

static bool recall(struct registry *r, const char *key, uint64_t version, int64_t *ret_seen)
{
    pthread_mutex_lock(&r->lock);
    const struct known_blob *k = r->known_at == version ? map_get(&r->known, key) : NULL;
    if (k)
        *ret_seen = k->seen;
    pthread_mutex_unlock(&r->lock);
    return k;
}

/* lock held. Nothing, if something was written since. */
static void remember(struct registry *r, char *key, uint64_t version, int64_t seen)
{
    if (version != store_version(r->store))
        return;
    struct known_blob *k = NEW(struct known_blob);
    k->seen = seen;
    forget_older(r, version);
    map_put(&r->known, key, k);
}

struct rows {
    struct registry *registry;
    const char *repository;
    uint64_t version;
};

static int take_rows(void *context, const struct store_value *c, size_t count, struct err *err)
{
    struct rows *rows = context;
    _cleanup_free_ char *key = str_printf("%s@%s", rows->repository, (const char *)c[0].bytes);
    SCOPED_LOCK(locked, &rows->registry->lock);
    remember(rows->registry, key, rows->version, c[1].integer);
    return 0;
}

static bool comes_at_once(struct registry *r, const char *repository, uint64_t version)
{
    SCOPED_LOCK(locked, &r->lock);
    if (r->known_at != version)
        return false;
    if (!str_eq(r->asked_of, repository)) {
        free(r->asked_of);
        r->asked_of = mem_strdup(repository);
        r->asked = 0;
    }
    return ++r->asked == AT_ONCE_FROM;
}

int registry__blob_known(struct registry *r, const char *repository, const char *digest, bool *ret,
                         struct registry_err *err)
{
    uint64_t version = store_version(r->store);
    _cleanup_free_ char *key = str_printf("%s@%s", repository, digest);
    const struct store_value v[] = {STORE_STR(repository), STORE_STR(digest)};
    struct row row = {0};
    if (recall(r, key, version, &row.seen)) {
        touch(r, repository, digest, row.seen);
        *ret = true;
        return 0;
    }
    if (store_query(r->store, "SELECT seen FROM repository_blob WHERE repository = ? AND digest = ?", v, 2,
                    take_row, &row, &err->cause) < 0)
        return registry__internal(err);
    if (!row.found)
        return registry__local_has(r, repository, digest, ret, err);
    pthread_mutex_lock(&r->lock);
    remember(r, key, version, row.seen);
    pthread_mutex_unlock(&r->lock);
    if (comes_at_once(r, repository, version)) {
        struct rows rows = {.registry = r, .repository = repository, .version = version};
        const struct store_value some[] = {STORE_STR(repository), STORE_I64(AT_ONCE_MAX)};
        store_query(r->store, "SELECT digest, seen FROM repository_blob WHERE repository = ? LIMIT ?", some,
                    2, take_rows, &rows, NULL);
    }
    touch(r, repository, digest, row.seen);
    *ret = true;
    return 0;
}

bool registry_blob_open_at_hand(struct registry *r, const char *repository, const char *digest, int *ret_fd,
                                int64_t *ret_size)
{
    _cleanup_free_ char *key = str_printf("%s@%s", repository, digest);
    int64_t seen;
    return recall(r, key, store_version(r->store), &seen) && !is_due(r, seen) &&
           content_open(r->images, digest, ret_fd, ret_size, NULL) == 0;
}

static int unknown(const char *repository, const char *digest, struct registry_err *err)
{
    return registry__fail(err, REGISTRY_BLOB_UNKNOWN, "%s has no blob %s", repository, digest);
}

int registry_blob_open(struct registry *r, const char *repository, const char *digest, int *ret_fd,
                       int64_t *ret_size, struct registry_err *err)
{
    bool known = false;
    if (registry__check_name(repository, err) < 0 || registry__check_digest(digest, err) < 0 ||
        registry__blob_known(r, repository, digest, &known, err) < 0)
        return -err->cause.code;
    int code = known ? 0 : registry__mirror_blob(r, repository, digest, &known, err);
    if (code < 0)
        return code;
    if (!known)
        return unknown(repository, digest, err);
    code = content_open(r->images, digest, ret_fd, ret_size, &err->cause);
    if (code == -ERR_NOT_FOUND)
        return unknown(repository, digest, err);
    return code < 0 ? registry__internal(err) : 0;
}

static int check_unused(struct registry *r, const char *repository, const char *digest,
                        struct registry_err *err)
{
    _cleanup_free_ char *manifest = NULL;
    const char *const params[] = {repository, digest};
    int code =
        registry__text(r, "SELECT manifest FROM repository_use WHERE repository = ? AND digest = ? LIMIT 1",
                       params, 2, &manifest, err);
    if (code == 0 && manifest)
        return registry__fail(err, REGISTRY_IN_USE, "blob %s is used by manifest %s of %s: delete that first",
                              digest, manifest, repository);
    return code;
}

int registry_blob_delete(struct registry *r, const char *repository, const char *digest,
                         struct registry_err *err)
{
    if (registry__check_name(repository, err) < 0 || registry__check_digest(digest, err) < 0 ||
        check_unused(r, repository, digest, err) < 0)
        return -err->cause.code;
    const struct store_value v[] = {STORE_STR(repository), STORE_STR(digest)};
    const struct store_statement s = {
        /* In the same breath as the question: a manifest may have come to use it since. */
        .sql = "DELETE FROM repository_blob WHERE repository = ?1 AND digest = ?2 AND NOT EXISTS"
               " (SELECT 1 FROM repository_use WHERE repository = ?1 AND digest = ?2)",
        .params = v,
        .param_count = 2,
        .expect_changes = 1};
    int code = store_batch(r->store, &s, 1, STORE_DURABLE, &err->cause);
    if (code == -ERR_CONFLICT)
        return unknown(repository, digest, err);
    if (code < 0)
        return registry__internal(err);
    char *list[] = {(char *)digest, NULL};
    content_release(r->images, list);
    return 0;
}
