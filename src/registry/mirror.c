#include "registry/mirror.h"

#include "base/log.h"
#include "image/upstream.h"
#include "registry/manifest.h"

static const struct registry_mirror *mirror_of(const struct registry_policy *p, const char *repository,
                                               const char **ret_path)
{
    for (size_t i = 0; p && i < p->mirror_count; i++) {
        const char *rest = str_after(repository, p->mirrors[i].prefix);
        if (rest && rest[0] == '/' && rest[1]) {
            *ret_path = rest + 1;
            return &p->mirrors[i];
        }
    }
    return NULL;
}

bool registry__mirrored(struct registry *r, const char *repository)
{
    _cleanup_policy_ struct registry_policy *p = registry_policy_get(r);
    const char *path;
    return mirror_of(p, repository, &path) != NULL;
}

int registry__mirror_refuse(struct registry *r, const char *repository, struct registry_err *err)
{
    return registry__mirrored(r, repository)
               ? registry__fail(err, REGISTRY_DENIED,
                                "%s is a mirror of another registry: push there, or under another name",
                                repository)
               : 0;
}

/* --- one fetch of a thing at a time --- */

static void claim(struct registry *r, const char *key)
{
    pthread_mutex_lock(&r->lock);
    while (map_has(&r->fetching, key))
        pthread_cond_wait(&r->fetched, &r->lock);
    map_put(&r->fetching, key, r);
    pthread_mutex_unlock(&r->lock);
}

static void release(struct registry *r, const char *key)
{
    pthread_mutex_lock(&r->lock);
    map_remove(&r->fetching, key);
    pthread_cond_broadcast(&r->fetched);
    pthread_mutex_unlock(&r->lock);
}

static int open_upstream(struct registry *r, const struct registry_mirror *m, const char *path,
                         struct upstream **ret, struct err *err)
{
    return upstream_open(r->images, m->upstream, path, "pull", m->username, m->password, ret, err);
}

/* --- manifests --- */

struct known {
    char digest[DIGEST_BYTES]; /* "" when it is not here */
    int64_t checked;
};

static int take_known(void *context, const struct store_value *c, size_t count, struct err *err)
{
    struct known *k = context;
    snprintf(k->digest, sizeof(k->digest), "%s", (const char *)c[0].bytes);
    k->checked = c[1].integer;
    return 0;
}

static bool is_digest(const char *reference)
{
    return strchr(reference, ':') != NULL;
}

static int look(struct registry *r, const char *repository, const char *reference, struct known *ret,
                struct registry_err *err)
{
    const struct store_value v[] = {STORE_STR(repository), STORE_STR(reference)};
    *ret = (struct known){0};
    int code = store_query(
        r->store,
        is_digest(reference)
            ? "SELECT digest, created FROM repository_manifest WHERE repository = ? AND digest = ?"
            : "SELECT digest, updated FROM repository_tag WHERE repository = ? AND tag = ?",
        v, 2, take_known, ret, &err->cause);
    return code < 0 ? registry__internal(err) : 0;
}

static void mark_checked(struct registry *r, const char *repository, const char *tag)
{
    const struct store_value v[] = {STORE_I64(time_now_ns()), STORE_STR(repository), STORE_STR(tag)};
    const struct store_statement s = {
        .sql = "UPDATE repository_tag SET updated = ? WHERE repository = ? AND tag = ?",
        .params = v,
        .param_count = 3,
        .expect_changes = -1};
    store_batch(r->store, &s, 1, STORE_LAZY, NULL);
}

static int keep_manifest(struct registry *r, const char *repository, const char *reference,
                         struct upstream *u, struct err *err)
{
    _cleanup_str_ struct str bytes = STR_INIT;
    _cleanup_free_ char *type = NULL;
    struct registry_err e = {0};
    struct manifest m = {0};
    int code = upstream_manifest(u, reference, &bytes, &type, err);
    if (code < 0)
        return code;
    char digest[DIGEST_BYTES];
    _cleanup_hasher_ struct digest_hasher *h = digest_hasher_new(is_digest(reference) ? reference : "sha256");
    digest_hasher_add(h, str_get(&bytes), bytes.len);
    digest_hasher_format(h, digest);
    if (is_digest(reference) && !str_eq(digest, reference))
        return err_set(err, ERR_CORRUPT, "the manifest that came has the digest %s, not %s", digest,
                       reference);
    code = manifest_parse(str_get(&bytes), bytes.len, type, &m, &e);
    if (code == 0)
        code = registry__manifest_keep(r, repository, digest, &m, str_get(&bytes), bytes.len,
                                       is_digest(reference) ? NULL : reference, &e);
    manifest_done(&m);
    return code < 0 ? err_copy(err, &e.cause) : 0;
}

/* A tag that is the same there as here only counts as looked at again. */
static int refresh(struct registry *r, const struct registry_mirror *m, const char *repository,
                   const char *path, const char *reference, const struct known *known, struct err *err)
{
    struct upstream *u = NULL;
    char there[DIGEST_BYTES] = "";
    int code = open_upstream(r, m, path, &u, err);
    if (code == 0 && *known->digest && !is_digest(reference))
        code = upstream_head(u, reference, there, err);
    if (code == 0 && *known->digest && str_eq(there, known->digest))
        mark_checked(r, repository, reference);
    else if (code == 0)
        code = keep_manifest(r, repository, reference, u, err);
    upstream_close(u);
    return code;
}

static bool is_fresh(const struct registry_mirror *m, const char *reference, const struct known *known)
{
    return *known->digest && (is_digest(reference) || time_now_ns() - known->checked < m->ttl_ns);
}

static int not_had(const char *repository, const char *reference, const struct err *cause,
                   struct registry_err *err)
{
    if (cause->code == ERR_NOT_FOUND || cause->code == ERR_DENIED || cause->code == ERR_UNAUTHORIZED)
        return registry__fail(err, REGISTRY_MANIFEST_UNKNOWN, "%s has no %s upstream: %s", repository,
                              reference, cause->msg);
    err_copy(&err->cause, cause);
    err_wrap(&err->cause, "mirror %s", repository);
    return registry__internal(err);
}

int registry__mirror_manifest(struct registry *r, const char *repository, const char *reference,
                              struct registry_err *err)
{
    _cleanup_policy_ struct registry_policy *p = registry_policy_get(r);
    const char *path;
    const struct registry_mirror *m = mirror_of(p, repository, &path);
    struct known known;
    if (!m)
        return 0;
    int code = look(r, repository, reference, &known, err);
    if (code < 0 || is_fresh(m, reference, &known))
        return code;
    struct err cause = {0};
    _cleanup_free_ char *key = str_printf("%s %s", repository, reference);
    claim(r, key);
    code = look(r, repository, reference, &known, err);
    int fetched = code < 0 || is_fresh(m, reference, &known)
                      ? 0
                      : refresh(r, m, repository, path, reference, &known, &cause);
    release(r, key);
    if (code < 0 || fetched == 0)
        return code;
    if (!*known.digest)
        return not_had(repository, reference, &cause, err);
    log_warning("registry: mirror %s:%s: %s; what is here is served", repository, reference, cause.msg);
    return 0;
}

/* --- blobs --- */

/* The least lately asked for go until the mirror's bytes fit. */
static int take_text(void *context, const struct store_value *c, size_t count, struct err *err)
{
    char ***lists = context;
    strv_add(&lists[0], c[0].bytes);
    strv_add(&lists[1], c[1].bytes);
    return 0;
}

static int take_sum(void *context, const struct store_value *c, size_t count, struct err *err)
{
    *(int64_t *)context = c[0].integer;
    return 0;
}

static int64_t bytes_of(struct registry *r, const char *pattern)
{
    int64_t bytes = 0;
    const struct store_value v = STORE_STR(pattern);
    store_query(r->store, "SELECT coalesce(sum(size), 0) FROM repository_blob WHERE repository GLOB ?", &v, 1,
                take_sum, &bytes, NULL);
    return bytes;
}

static bool drop_oldest(struct registry *r, const char *pattern)
{
    char **lists[2] = {NULL, NULL};
    const struct store_value v = STORE_STR(pattern);
    bool dropped = false;
    if (store_query(
            r->store,
            "SELECT repository, digest FROM repository_blob WHERE repository GLOB ? ORDER BY seen LIMIT 1",
            &v, 1, take_text, lists, NULL) == 0 &&
        lists[0]) {
        const struct store_value key[] = {STORE_STR(lists[0][0]), STORE_STR(lists[1][0])};
        const struct store_statement s = {
            .sql = "DELETE FROM repository_blob WHERE repository = ? AND digest = ?",
            .params = key,
            .param_count = 2,
            .expect_changes = 1};
        dropped = store_batch(r->store, &s, 1, STORE_DURABLE, NULL) == 0;
        if (dropped)
            content_release(r->images, lists[1]);
    }
    strv_free(lists[0]);
    strv_free(lists[1]);
    return dropped;
}

static void trim(struct registry *r, const struct registry_mirror *m)
{
    _cleanup_free_ char *pattern = str_printf("%s/*", m->prefix);
    while (m->bytes > 0 && bytes_of(r, pattern) > m->bytes && drop_oldest(r, pattern))
        ;
}

struct fetch {
    struct registry *registry;
    const char *repository, *id;
    int64_t left;
    struct registry_err *err;
};

struct piece {
    const char *at;
    size_t left;
};

static ssize_t give_piece(void *context, void *buffer, size_t n, struct err *err)
{
    struct piece *p = context;
    n = MIN(n, p->left);
    memcpy(buffer, p->at, n);
    p->at += n;
    p->left -= n;
    return (ssize_t)n;
}

static int sink(void *context, const void *bytes, size_t n, struct err *err)
{
    struct fetch *f = context;
    struct piece piece = {bytes, n};
    int64_t size;
    if ((f->left -= (int64_t)n) < 0)
        return err_set(err, ERR_LIMIT, "the blob is larger than the mirror may be");
    int code = registry_upload_append(f->registry, f->repository, f->id, -1, (int64_t)n, give_piece, &piece,
                                      &size, f->err);
    return code < 0 ? err_copy(err, &f->err->cause) : 0;
}

static int fetch_blob(struct registry *r, const struct registry_mirror *m, const char *repository,
                      const char *path, const char *digest, struct registry_err *err)
{
    struct upstream *u = NULL;
    char id[REGISTRY_ID_BYTES];
    struct registry_err within = {0};
    struct fetch f = {r, repository, id, m->bytes > 0 ? m->bytes : INT64_MAX, &within};
    int code = registry__upload_begin(r, repository, id, err);
    if (code < 0)
        return code;
    code = open_upstream(r, m, path, &u, &err->cause);
    if (code == 0)
        code = upstream_blob(u, digest, sink, &f, &err->cause);
    upstream_close(u);
    if (code == 0) {
        code = registry_upload_finish(r, repository, id, digest, err);
        if (code == 0)
            trim(r, m);
        return code;
    }
    struct registry_err ignored = {0};
    registry_upload_cancel(r, repository, id, &ignored);
    if (code == -ERR_NOT_FOUND)
        return registry__fail(err, REGISTRY_BLOB_UNKNOWN, "%s has no blob %s upstream", repository, digest);
    err_wrap(&err->cause, "mirror %s", repository);
    return registry__internal(err);
}

int registry__mirror_blob(struct registry *r, const char *repository, const char *digest, bool *ret_fetched,
                          struct registry_err *err)
{
    _cleanup_policy_ struct registry_policy *p = registry_policy_get(r);
    const char *path;
    const struct registry_mirror *m = mirror_of(p, repository, &path);
    *ret_fetched = m != NULL;
    if (!m)
        return 0;
    _cleanup_free_ char *key = str_printf("%s@%s", repository, digest);
    bool there = false;
    claim(r, key);
    int code = registry__blob_known(r, repository, digest, &there, err);
    if (code == 0 && !there)
        code = fetch_blob(r, m, repository, path, digest, err);
    release(r, key);
    return code;
}
