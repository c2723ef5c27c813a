/* Manifests and tags: putting, getting, deleting. */
#include "registry/manifest.h"

#include "base/failpoint.h"
#include "base/file.h"
#include "base/json.h"
#include "base/timeutil.h"
#include "registry/mirror.h"
#include "registry/notify.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

static bool is_digest(const char *reference)
{
    return strchr(reference, ':') != NULL;
}

static int check_reference(const char *repository, const char *reference, struct registry_err *err)
{
    int code = registry__check_name(repository, err);
    if (code < 0)
        return code;
    if (is_digest(reference))
        return registry__check_digest(reference, err);
    if (registry_tag_valid(reference))
        return 0;
    return registry__fail(
        err, REGISTRY_TAG_INVALID,
        "\"%.200s\" is not a tag: a letter, digit or _, then those and . and -, 128 at most", reference);
}

void registry_manifest_done(struct registry_manifest *m)
{
    free(m->media_type);
    str_free(&m->bytes);
    *m = (struct registry_manifest){0};
}

static int unknown(const char *repository, const char *reference, struct registry_err *err)
{
    return registry__fail(err, REGISTRY_MANIFEST_UNKNOWN, "%s has no manifest %s", repository, reference);
}

/* --- get --- */

/* The digest that a tag stands for: a pushed one, else that of an image here. NULL: none. */
static int resolve_tag(struct registry *r, const char *repository, const char *tag, char **ret,
                       struct registry_err *err)
{
    const char *const params[] = {repository, tag};
    int code = registry__text(r, "SELECT digest FROM repository_tag WHERE repository = ? AND tag = ?", params,
                              2, ret, err);
    return code == 0 && !*ret ? registry__local_tag(r, repository, tag, ret, err) : code;
}

static int media_type_of(struct registry *r, const char *repository, struct registry_manifest *m,
                         struct registry_err *err)
{
    const char *const params[] = {repository, m->digest};
    int code =
        registry__text(r, "SELECT media_type FROM repository_manifest WHERE repository = ? AND digest = ?",
                       params, 2, &m->media_type, err);
    if (code < 0 || m->media_type)
        return code;
    /* An image of this node: its documents are those of the content store. */
    struct manifest parsed = {0};
    if (manifest_parse(str_get(&m->bytes), m->bytes.len, NULL, &parsed, err) < 0)
        return unknown(repository, m->digest, err);
    m->media_type = mem_strdup(parsed.media_type);
    manifest_done(&parsed);
    return 0;
}

static int known(struct registry *r, const char *repository, const char *digest, bool *ret,
                 struct registry_err *err)
{
    _cleanup_free_ char *found = NULL;
    const char *const params[] = {repository, digest};
    int code = registry__text(r, "SELECT digest FROM repository_manifest WHERE repository = ? AND digest = ?",
                              params, 2, &found, err);
    if (code < 0)
        return code;
    *ret = found != NULL;
    return found ? 0 : registry__local_has(r, repository, digest, ret, err);
}

static int read_manifest(struct registry *r, const char *repository, struct registry_manifest *m,
                         struct registry_err *err)
{
    _cleanup_close_ int fd = -EBADF;
    int64_t size;
    int code = content_open(r->images, m->digest, &fd, &size, &err->cause);
    if (code == -ERR_NOT_FOUND || (code == 0 && size > REGISTRY_MAX_MANIFEST))
        return unknown(repository, m->digest, err);
    if (code < 0 || file_read_fd(fd, REGISTRY_MAX_MANIFEST, &m->bytes, &err->cause) < 0)
        return registry__internal(err);
    return media_type_of(r, repository, m, err);
}

int registry_manifest_get(struct registry *r, const char *repository, const char *reference,
                          struct registry_manifest *ret, struct registry_err *err)
{
    int code = check_reference(repository, reference, err);
    if (code < 0)
        return code;
    if ((code = registry__mirror_manifest(r, repository, reference, err)) < 0)
        return code;
    _cleanup_free_ char *digest = NULL;
    bool found = true;
    if (is_digest(reference)) {
        digest = mem_strdup(reference);
        code = known(r, repository, digest, &found, err);
    } else {
        code = resolve_tag(r, repository, reference, &digest, err);
    }
    if (code < 0)
        return code;
    if (!digest || !found)
        return unknown(repository, reference, err);
    struct registry_manifest m = {0};
    memcpy(m.digest, digest, strlen(digest) + 1);
    code = read_manifest(r, repository, &m, err);
    if (code < 0)
        registry_manifest_done(&m);
    else
        *ret = m;
    return code;
}

/* --- put --- */

/* Everything it names must be here, whole, before it is: a client that pulls must not find holes. */
static int check_blobs(struct registry *r, const char *repository, const struct manifest *m,
                       struct registry_err *err)
{
    for (size_t i = 0; i < m->blob_count; i++) {
        const struct manifest_blob *b = &m->blobs[i];
        bool there = false;
        int64_t size = 0;
        int code = registry__blob_known(r, repository, b->digest, &there, err);
        if (code < 0)
            return code;
        if (!there || !content_has(r->images, b->digest, &size))
            return registry__fail(err, REGISTRY_MANIFEST_BLOB_UNKNOWN,
                                  "the manifest names blob %s, which %s does not have: push that first",
                                  b->digest, repository);
        if (size != b->size)
            return registry__fail(err, REGISTRY_MANIFEST_INVALID,
                                  "the manifest says that blob %s has %lld bytes, but it has %lld", b->digest,
                                  (long long)b->size, (long long)size);
    }
    return 0;
}

/* A new file among the uploads, locked, so that the collector does not take it for one that rests; it may
 * have done so before the lock was there. */
static int make_held(const char *path)
{
    for (;;) {
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        struct stat st;
        if (fd < 0 || (flock(fd, LOCK_EX) == 0 && fstat(fd, &st) == 0 && st.st_nlink > 0))
            return fd;
        close(fd);
    }
}

static int store_bytes(struct registry *r, const char *digest, const void *bytes, size_t n,
                       struct registry_err *err)
{
    if (content_has(r->images, digest, NULL))
        return 0;
    char id[REGISTRY_ID_BYTES];
    digest_random_id(id);
    _cleanup_free_ char *path = str_printf("%s/%s", content_uploads_dir(r->images), id);
    _cleanup_close_ int fd = make_held(path);
    if (fd < 0) {
        err_sys(&err->cause, errno, "store the manifest");
        return registry__internal(err);
    }
    if (file_write_all(fd, bytes, n, &err->cause) < 0 ||
        content_adopt(r->images, path, digest, &err->cause) < 0) {
        unlink(path);
        return registry__internal(err);
    }
    return 0;
}

enum { MAX_STATEMENTS = 5 + REGISTRY_MAX_TAGS_PARAM + NOTIFY_STATEMENTS_MAX };

struct put {
    struct store_statement statements[MAX_STATEMENTS];
    struct store_value values[MAX_STATEMENTS][8];
    size_t count;
};

static void add(struct put *p, const char *sql, const struct store_value *v, size_t n)
{
    must(p->count < MAX_STATEMENTS);
    memcpy(p->values[p->count], v, n * sizeof(*v));
    p->statements[p->count] = (struct store_statement){
        .sql = sql, .params = p->values[p->count], .param_count = n, .expect_changes = -1};
    p->count++;
}

static void add_tag(struct put *p, const char *repository, const char *tag, const char *digest, int64_t now,
                    bool immutable)
{
    const struct store_value v[] = {STORE_STR(repository), STORE_STR(tag), STORE_STR(digest), STORE_I64(now)};
    add(p,
        immutable
            ? "INSERT INTO repository_tag (repository, tag, digest, updated) VALUES (?, ?, ?, ?)"
              " ON CONFLICT (repository, tag) DO UPDATE SET updated = updated WHERE digest = excluded.digest"
            : "INSERT OR REPLACE INTO repository_tag (repository, tag, digest, updated)"
              " VALUES (?, ?, ?, ?)",
        v, 4);
    /* In the same breath as the question: of two pushes of one tag the second is refused. */
    if (immutable)
        p->statements[p->count - 1].expect_changes = 1;
}

static char *list_of(const struct manifest *m)
{
    _cleanup_json_ json_t *list = json_array();
    for (size_t i = 0; i < m->blob_count; i++)
        json_array_append_new(
            list, json_pack("{s:s, s:I}", "d", m->blobs[i].digest, "s", (json_int_t)m->blobs[i].size));
    return json_format(list);
}

/* All rows of it at once. `whole`: its blobs are here, and become the repository's. */
static int enter(struct registry *r, const char *repository, const char *digest, const struct manifest *m,
                 size_t n, const char *tag, char *const *tags, bool whole, struct registry_err *err)
{
    int64_t now = time_now_ns();
    struct put *p = NEW(struct put);
    _cleanup_free_ char *uses = list_of(m);
    _cleanup_free_ char *annotations = m->annotations ? json_format(m->annotations) : mem_strdup("");
    const struct store_value row[] = {
        STORE_STR(repository), STORE_STR(digest),           STORE_STR(m->media_type), STORE_I64((int64_t)n),
        STORE_STR(m->subject), STORE_STR(m->artifact_type), STORE_STR(annotations),   STORE_I64(now)};
    add(p,
        "INSERT INTO repository_manifest (repository, digest, media_type, size, subject, artifact_type, "
        "annotations,"
        " created) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (repository, digest) DO UPDATE SET"
        " media_type = excluded.media_type, artifact_type = excluded.artifact_type, created = "
        "excluded.created",
        row, 8);
    const struct store_value use[] = {STORE_STR(repository), STORE_STR(digest), STORE_STR(uses)};
    add(p,
        "INSERT OR IGNORE INTO repository_use (repository, manifest, digest) SELECT ?1, ?2,"
        " json_extract(value, '$.d') FROM json_each(?3)",
        use, 3);
    /* Those that came by an image of the node, or that were collected a moment ago, while we hold them. */
    const struct store_value link[] = {STORE_STR(repository), STORE_STR(uses), STORE_I64(now)};
    if (whole)
        add(p,
            "INSERT OR IGNORE INTO repository_blob (repository, digest, seen, size) SELECT ?1,"
            " json_extract(value, '$.d'), ?3, json_extract(value, '$.s') FROM json_each(?2)",
            link, 3);
    _cleanup_policy_ struct registry_policy *policy = registry_policy_get(r);
    const struct registry_rule *rule = policy ? registry_policy_rule(policy, repository) : NULL;
    char *const *immutable = rule ? rule->immutable : NULL;
    if (tag)
        add_tag(p, repository, tag, digest, now, name_patterns_match(immutable, tag));
    for (char *const *t = tags; t && *t; t++)
        add_tag(p, repository, *t, digest, now, name_patterns_match(immutable, *t));
    struct notices notices;
    const struct notice what = {"push", repository, digest, m->media_type, (int64_t)n, tag, tags, !whole};
    registry__notices_make(r, &what, &notices);
    memcpy(p->statements + p->count, notices.statements, notices.count * sizeof(*notices.statements));
    int code = store_batch(r->store, p->statements, p->count + notices.count, STORE_DURABLE, &err->cause);
    FAILPOINT("registry-manifest-entered");
    if (code == 0 && notices.count > 0)
        registry__notify_wake(r);
    registry__notices_done(&notices);
    free(p);
    if (code == -ERR_CONFLICT)
        return registry__fail(
            err, REGISTRY_IMMUTABLE,
            "a tag of %s that was to be pushed is immutable, and stands for another manifest: "
            "push under a new tag",
            repository);
    return code < 0 ? registry__internal(err) : 0;
}

static int add_size(void *context, const struct store_value *c, size_t count, struct err *err)
{
    *(int64_t *)context += c[0].integer;
    return 0;
}

/* Blobs that the repository knows by an image of the node alone become its own by this manifest. */
static int enter_within_quota(struct registry *r, const char *repository, const char *digest,
                              const struct manifest *m, size_t n, const char *tag, char *const *tags,
                              struct registry_err *err)
{
    _cleanup_free_ char *uses = list_of(m);
    const struct store_value v[] = {STORE_STR(repository), STORE_STR(uses), STORE_STR(digest),
                                    STORE_I64((int64_t)n)};
    int64_t more = 0;
    bool locked = registry__quota_lock(r, repository);
    int code = store_query(
        r->store,
        "SELECT DISTINCT json_extract(value, '$.s'), json_extract(value, '$.d') FROM json_each(?2) WHERE NOT "
        "EXISTS"
        " (SELECT 1 FROM repository_blob WHERE repository = ?1 AND digest = json_extract(value, '$.d'))"
        " UNION ALL SELECT ?4, ?3 WHERE NOT EXISTS (SELECT 1 FROM repository_manifest WHERE repository = ?1"
        " AND digest = ?3)",
        v, 4, add_size, &more, &err->cause);
    code = code < 0 ? registry__internal(err) : registry__quota_check(r, repository, more, err);
    if (code == 0)
        code = enter(r, repository, digest, m, n, tag, tags, true, err);
    registry__quota_unlock(r, locked);
    return code;
}

static int put(struct registry *r, const char *repository, const char *digest, const struct manifest *m,
               const void *bytes, size_t n, const char *tag, char *const *tags, struct registry_err *err)
{
    _cleanup_strv_ char **held = NULL;
    strv_add(&held, digest);
    for (size_t i = 0; i < m->blob_count; i++)
        strv_add(&held, m->blobs[i].digest);
    content_hold(r->images);
    int code = check_blobs(r, repository, m, err);
    if (code == 0)
        code = store_bytes(r, digest, bytes, n, err);
    FAILPOINT("registry-manifest-stored");
    if (code == 0)
        code = enter_within_quota(r, repository, digest, m, n, tag, tags, err);
    content_let_go(r->images, held);
    return code;
}

int registry__manifest_keep(struct registry *r, const char *repository, const char *digest,
                            const struct manifest *m, const void *bytes, size_t n, const char *tag,
                            struct registry_err *err)
{
    char *held[] = {(char *)digest, NULL};
    content_hold(r->images);
    int code = store_bytes(r, digest, bytes, n, err);
    if (code == 0)
        code = enter(r, repository, digest, m, n, tag, NULL, false, err);
    content_let_go(r->images, held);
    return code;
}

static int check_tags(const char *repository, char *const *tags, struct registry_err *err)
{
    if (strv_len(tags) > REGISTRY_MAX_TAGS_PARAM)
        return registry__fail(err, REGISTRY_TAG_INVALID, "%zu tags at once; at most %d are taken",
                              strv_len(tags), REGISTRY_MAX_TAGS_PARAM);
    for (char *const *t = tags; t && *t; t++) {
        int code = is_digest(*t) ? registry__fail(err, REGISTRY_TAG_INVALID, "\"%.200s\" is not a tag", *t)
                                 : check_reference(repository, *t, err);
        if (code < 0)
            return code;
    }
    return 0;
}

static void digest_like(const char *reference, const void *bytes, size_t n, char ret[DIGEST_BYTES])
{
    _cleanup_hasher_ struct digest_hasher *h = digest_hasher_new(is_digest(reference) ? reference : "sha256");
    digest_hasher_add(h, bytes, n);
    digest_hasher_format(h, ret);
}

int registry_manifest_put(struct registry *r, const char *repository, const char *reference,
                          char *const *tags, const char *media_type, const void *bytes, size_t n,
                          char ret_digest[DIGEST_BYTES], char ret_subject[DIGEST_BYTES],
                          struct registry_err *err)
{
    int code = check_reference(repository, reference, err);
    if (code == 0)
        code = check_tags(repository, tags, err);
    if (code == 0)
        code = registry__mirror_refuse(r, repository, err);
    if (code < 0)
        return code;
    char digest[DIGEST_BYTES];
    digest_like(reference, bytes, n, digest);
    if (is_digest(reference) && !str_eq(reference, digest))
        return registry__fail(err, REGISTRY_DIGEST_INVALID,
                              "the manifest that came has the digest %s, not %s", digest, reference);
    struct manifest m = {0};
    code = manifest_parse(bytes, n, media_type, &m, err);
    if (code < 0)
        return code;
    code = put(r, repository, digest, &m, bytes, n, is_digest(reference) ? NULL : reference, tags, err);
    if (code == 0) {
        memcpy(ret_digest, digest, sizeof(digest));
        snprintf(ret_subject, DIGEST_BYTES, "%s", m.subject ? m.subject : "");
    }
    manifest_done(&m);
    return code;
}

/* --- delete --- */

/* Nothing of that name was pushed; when the node has an image of it, the registry is not who removes it. */
static int not_pushed(struct registry *r, const char *repository, const char *reference,
                      struct registry_err *err)
{
    struct registry_manifest m = {0};
    int code = registry_manifest_get(r, repository, reference, &m, err);
    if (code < 0)
        return code;
    registry_manifest_done(&m);
    return registry__fail(err, REGISTRY_DENIED,
                          "%s %s is an image of this node that nobody pushed: remove it there (docker rmi)",
                          repository, reference);
}

/* Whether a tag that would go is to stay what it is. */
static int check_immutable(struct registry *r, const char *repository, const char *reference,
                           struct registry_err *err)
{
    _cleanup_policy_ struct registry_policy *policy = registry_policy_get(r);
    const struct registry_rule *rule = policy ? registry_policy_rule(policy, repository) : NULL;
    _cleanup_strv_ char **tags = NULL;
    if (!rule || !rule->immutable)
        return 0;
    const struct store_value v[] = {STORE_STR(repository), STORE_STR(reference)};
    if (registry__texts(r,
                        is_digest(reference)
                            ? "SELECT tag FROM repository_tag WHERE repository = ? AND digest = ?"
                            : "SELECT tag FROM repository_tag WHERE repository = ? AND tag = ?",
                        v, 2, &tags, &err->cause) < 0)
        return registry__internal(err);
    STRV_FOREACH (tag, tags)
        if (name_patterns_match(rule->immutable, *tag))
            return registry__fail(err, REGISTRY_IMMUTABLE,
                                  "tag %s of %s is immutable: who has the right admin may delete it", *tag,
                                  repository);
    return 0;
}

int registry_manifest_delete(struct registry *r, const char *repository, const char *reference,
                             bool even_immutable, struct registry_err *err)
{
    int code = check_reference(repository, reference, err);
    if (code == 0 && !even_immutable)
        code = check_immutable(r, repository, reference, err);
    if (code < 0)
        return code;
    const struct store_value v[] = {STORE_STR(repository), STORE_STR(reference)};
    const struct store_statement s = {
        .sql = is_digest(reference) ? "DELETE FROM repository_manifest WHERE repository = ? AND digest = ?"
                                    : "DELETE FROM repository_tag WHERE repository = ? AND tag = ?",
        .params = v,
        .param_count = 2,
        .expect_changes = 1};
    struct store_statement all[1 + NOTIFY_STATEMENTS_MAX] = {s};
    struct notices notices;
    const struct notice what = {.action = "delete",
                                .repository = repository,
                                .digest = is_digest(reference) ? reference : NULL,
                                .tag = is_digest(reference) ? NULL : reference};
    registry__notices_make(r, &what, &notices);
    memcpy(all + 1, notices.statements, notices.count * sizeof(*all));
    code = store_batch(r->store, all, 1 + notices.count, STORE_DURABLE, &err->cause);
    FAILPOINT("registry-manifest-deleted");
    if (code == 0 && notices.count > 0)
        registry__notify_wake(r);
    registry__notices_done(&notices);
    if (code == -ERR_CONFLICT)
        return not_pushed(r, repository, reference, err);
    if (code < 0)
        return registry__internal(err);
    char *list[] = {(char *)reference, NULL};
    if (is_digest(reference))
        content_release(r->images, list);
    return 0;
}
