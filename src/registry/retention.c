/* Retention: tags that a rule keeps no longer, and manifests that nothing leads to any more.
 *
 * A rule keeps the newest `count` tags, whatever is younger than `age`, and for ever what fits `keep`; a tag
 * that nothing keeps goes. Tags that the cosign tool makes for a manifest (sha256-<hex>.sig, .att, .sbom)
 * are not counted: they go with it.
 *
 * Where a rule has a retention, manifests go too that no tag leads to, directly, through an index, or as what
 * refers to one that stays (its "subject"), and that are older than the registry's grace: a push brings
 * manifests before the index that names them. Bytes are then the collector's. */
#include "base/failpoint.h"
#include "base/file.h"
#include "base/json.h"
#include "registry/registry_priv.h"

struct tag {
    char *name, *digest;
    int64_t updated;
};

struct manifest_row {
    char *digest, *media_type, *subject; /* subject NULL: none */
    int64_t created;
    bool reached;
};

/* One repository, while it is looked at. */
struct pass {
    struct registry *registry;
    const char *repository;
    const struct registry_rule *rule;
    int64_t now_ns;
    bool dry_run;
    json_t *report;
    struct tag *tags;
    size_t tag_count, tag_capacity;
    struct manifest_row *manifests;
    size_t manifest_count, manifest_capacity;
    struct map by_digest; /* -> struct manifest_row, once all are there */
};

static int add_tag_row(void *context, const struct store_value *c, size_t count, struct err *err)
{
    struct pass *p = context;
    GROW(p->tags, p->tag_count, p->tag_capacity);
    p->tags[p->tag_count++] = (struct tag){mem_strdup(c[0].bytes), mem_strdup(c[1].bytes), c[2].integer};
    return 0;
}

static int add_manifest_row(void *context, const struct store_value *c, size_t count, struct err *err)
{
    struct pass *p = context;
    GROW(p->manifests, p->manifest_count, p->manifest_capacity);
    p->manifests[p->manifest_count++] =
        (struct manifest_row){mem_strdup(c[0].bytes), mem_strdup(c[1].bytes),
                              c[2].type == STORE_TEXT ? mem_strdup(c[2].bytes) : NULL, c[3].integer, false};
    return 0;
}

static void pass_done(struct pass *p)
{
    for (size_t i = 0; i < p->tag_count; i++) {
        free(p->tags[i].name);
        free(p->tags[i].digest);
    }
    for (size_t i = 0; i < p->manifest_count; i++) {
        free(p->manifests[i].digest);
        free(p->manifests[i].media_type);
        free(p->manifests[i].subject);
    }
    free(p->tags);
    free(p->manifests);
    map_done(&p->by_digest);
}

static void tell(struct pass *p, const char *tag, const char *digest, const char *why)
{
    json_t *one = json_object();
    json_set_str(one, "repository", p->repository);
    json_set_str(one, "tag", tag);
    json_set_str(one, "digest", digest);
    json_set_str(one, "reason", why);
    json_array_append_new(p->report, one);
}

/* The digest whose companion a tag of cosign's is, in `ret`. */
static bool companion_of(const char *tag, char ret[DIGEST_BYTES])
{
    const char *hex = str_after(tag, "sha256-");
    if (!hex || strlen(hex) < 66 || hex[64] != '.')
        return false;
    snprintf(ret, DIGEST_BYTES, "sha256:%.64s", hex);
    return digest_valid(ret);
}

/* --- tags --- */

static int newest_first(const void *a, const void *b)
{
    const struct tag *x = a, *y = b;
    return x->updated != y->updated ? (x->updated < y->updated ? 1 : -1) : strcmp(y->name, x->name);
}

static int drop_tag(struct pass *p, const struct tag *t, const char *why, struct err *err)
{
    tell(p, t->name, t->digest, why);
    if (p->dry_run)
        return 0;
    const struct store_value v[] = {STORE_STR(p->repository), STORE_STR(t->name), STORE_STR(t->digest),
                                    STORE_I64(t->updated)};
    const struct store_statement s = {
        /* Not when it was pushed again since it was looked at. */
        .sql = "DELETE FROM repository_tag WHERE repository = ? AND tag = ? AND digest = ? AND updated = ?",
        .params = v,
        .param_count = 4,
        .expect_changes = -1};
    return store_batch(p->registry->store, &s, 1, STORE_DURABLE, err);
}

/* Those that stay come to the front; the others are dropped. */
static int sift_tags(struct pass *p, struct err *err)
{
    const struct registry_rule *rule = p->rule;
    char digest[DIGEST_BYTES];
    int64_t counted = 0;
    int code = 0;
    if (p->tag_count > 1)
        qsort(p->tags, p->tag_count, sizeof(*p->tags), newest_first);
    for (size_t i = 0; code == 0 && i < p->tag_count; i++) {
        struct tag *t = &p->tags[i];
        if (companion_of(t->name, digest) || name_patterns_match(rule->keep, t->name))
            continue;
        bool by_count = rule->keep_count > 0 && counted++ < rule->keep_count;
        bool by_age = rule->keep_ns > 0 && p->now_ns - t->updated < rule->keep_ns;
        if (by_count || by_age)
            continue;
        code = drop_tag(p, t, rule->keep_count > 0 ? "beyond count" : "older than age", err);
        free(take_ptr(t->digest)); /* leads nowhere any more */
    }
    return code;
}

/* --- manifests --- */

static void reach(struct pass *p, const char *digest);

/* What an index names stays with it. */
static void reach_children(struct pass *p, const char *digest)
{
    _cleanup_close_ int fd = -EBADF;
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_json_ json_t *index = NULL;
    int64_t size;
    if (content_open(p->registry->images, digest, &fd, &size, NULL) < 0 ||
        file_read_fd(fd, REGISTRY_MAX_MANIFEST, &text, NULL) < 0 ||
        json_parse(str_get(&text), text.len, "index", &index, NULL) < 0)
        return;
    size_t i;
    const json_t *child;
    json_array_foreach (json_object_get(index, "manifests"), i, child)
        reach(p, json_str(child, "digest"));
}

/* Each is entered once, so that a circle of subjects ends. Its depth is bounded by what one repository can
 * nest: an index holds its children's digests, so that no circle of indexes can be made. */
static void reach(struct pass *p, const char *digest)
{
    struct manifest_row *m = map_get(&p->by_digest, digest);
    if (!m || m->reached)
        return;
    m->reached = true;
    if (strstr(m->media_type, "index") || strstr(m->media_type, "list"))
        reach_children(p, digest);
}

static void reach_all(struct pass *p)
{
    char digest[DIGEST_BYTES];
    for (size_t i = 0; i < p->tag_count; i++)
        if (p->tags[i].digest && !companion_of(p->tags[i].name, digest))
            reach(p, p->tags[i].digest);
    /* What refers to one that stays, and what refers to that. */
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < p->manifest_count; i++) {
            struct manifest_row *m = &p->manifests[i],
                                *of = m->subject ? map_get(&p->by_digest, m->subject) : NULL;
            if (!m->reached && of && of->reached) {
                reach(p, m->digest);
                more = true;
            }
        }
    }
}

/* Cosign's tags: of what stays, they stay. */
static int sift_companions(struct pass *p, struct err *err)
{
    char digest[DIGEST_BYTES];
    int code = 0;
    for (size_t i = 0; code == 0 && i < p->tag_count; i++) {
        struct tag *t = &p->tags[i];
        if (!t->digest || !companion_of(t->name, digest))
            continue;
        const struct manifest_row *of = map_get(&p->by_digest, digest);
        bool young = p->now_ns - t->updated < p->registry->grace_ns;
        if ((of && of->reached) || young || name_patterns_match(p->rule->keep, t->name))
            reach(p, t->digest);
        else
            code = drop_tag(p, t, "of a manifest that goes", err);
    }
    return code;
}

static int drop_manifest(struct pass *p, const struct manifest_row *m, struct err *err)
{
    tell(p, NULL, m->digest, "no tag leads to it");
    if (p->dry_run)
        return 0;
    const struct store_value v[] = {STORE_STR(p->repository), STORE_STR(m->digest), STORE_I64(m->created)};
    const struct store_statement s = {
        /* Not when it was pushed again, or got a tag, since it was looked at. */
        .sql =
            "DELETE FROM repository_manifest WHERE repository = ?1 AND digest = ?2 AND created = ?3 AND NOT"
            " EXISTS (SELECT 1 FROM repository_tag t WHERE t.repository = ?1 AND t.digest = ?2)",
        .params = v,
        .param_count = 3,
        .expect_changes = -1};
    int code = store_batch(p->registry->store, &s, 1, STORE_DURABLE, err);
    FAILPOINT("registry-retention-forgotten");
    char *list[] = {m->digest, NULL};
    if (code == 0)
        content_release(p->registry->images, list);
    return code;
}

static int sift_manifests(struct pass *p, struct err *err)
{
    int code = 0;
    for (size_t i = 0; code == 0 && i < p->manifest_count; i++) {
        const struct manifest_row *m = &p->manifests[i];
        if (!m->reached && p->now_ns - m->created >= p->registry->grace_ns)
            code = drop_manifest(p, m, err);
    }
    return code;
}

static int look_at(struct pass *p, struct err *err)
{
    const struct store_value v = STORE_STR(p->repository);
    int code = store_query(p->registry->store,
                           "SELECT tag, digest, updated FROM repository_tag WHERE repository = ?", &v, 1,
                           add_tag_row, p, err);
    if (code == 0)
        code = store_query(p->registry->store,
                           "SELECT digest, media_type, subject, created FROM repository_manifest"
                           " WHERE repository = ?",
                           &v, 1, add_manifest_row, p, err);
    for (size_t i = 0; i < p->manifest_count; i++)
        map_put(&p->by_digest, p->manifests[i].digest, &p->manifests[i]);
    if (code == 0)
        code = sift_tags(p, err);
    if (code == 0) {
        reach_all(p);
        code = sift_companions(p, err);
    }
    return code < 0 ? code : sift_manifests(p, err);
}

int registry_retention(struct registry *r, int64_t now_ns, bool dry_run, json_t **ret_report, struct err *err)
{
    _cleanup_policy_ struct registry_policy *policy = registry_policy_get(r);
    _cleanup_json_ json_t *report = json_array();
    _cleanup_strv_ char **repositories = NULL;
    int code = policy ? registry__texts(r, "SELECT DISTINCT repository FROM repository_manifest ORDER BY 1",
                                        NULL, 0, &repositories, err)
                      : 0;
    for (char **name = repositories; code == 0 && name && *name; name++) {
        const struct registry_rule *rule = registry_policy_rule(policy, *name);
        if (!rule || (rule->keep_count <= 0 && rule->keep_ns <= 0))
            continue;
        struct pass p = {.registry = r,
                         .repository = *name,
                         .rule = rule,
                         .now_ns = now_ns,
                         .dry_run = dry_run,
                         .report = report,
                         .by_digest = MAP_INIT(NULL)};
        code = look_at(&p, err);
        pass_done(&p);
    }
    if (code == 0 && ret_report)
        *ret_report = take_ptr(report);
    return code;
}
