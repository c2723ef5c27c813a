/* Quotas: how many bytes repositories may have.
 *
 * A repository has what its rows say, also when another has the same bytes: what one may have must not depend
 * on what others do. The rows that add something and the sum that they are held against are one step, under a
 * lock of their own, so that two pushes cannot both take the last room. */
#include "registry/registry_priv.h"

struct sum {
    const struct registry_policy *policy;
    const char *repository;
    int64_t own;    /* of the repository */
    int64_t *wider; /* of each of the policy's quotas that it falls under */
};

static int add_sum(void *context, const struct store_value *c, size_t count, struct err *err)
{
    struct sum *s = context;
    if (str_eq(c[0].bytes, s->repository))
        s->own += c[1].integer;
    for (size_t i = 0; i < s->policy->quota_count; i++)
        if (name_patterns_match(s->policy->quotas[i].match, c[0].bytes))
            s->wider[i] += c[1].integer;
    return 0;
}

/* How many bytes more there is room for; `ret_why` names the quota, and is the caller's. */
static int room_of(struct registry *r, const struct registry_policy *p, const char *repository,
                   int64_t *ret_room, char **ret_why, struct registry_err *err)
{
    const struct registry_rule *rule = registry_policy_rule(p, repository);
    _cleanup_free_ int64_t *wider = NEW_N(int64_t, p->quota_count + 1);
    struct sum s = {.policy = p, .repository = repository, .wider = wider};
    const struct store_value v = STORE_STR(repository);
    bool alone = p->quota_count == 0;
    if (store_query(r->store,
                    alone ? "SELECT repository, sum(size) FROM repository_blob WHERE repository = ?1"
                            " GROUP BY repository UNION ALL SELECT repository, sum(size) FROM"
                            " repository_manifest WHERE repository = ?1 GROUP BY repository"
                          : "SELECT repository, sum(size) FROM repository_blob GROUP BY repository"
                            " UNION ALL SELECT repository, sum(size) FROM repository_manifest"
                            " GROUP BY repository",
                    &v, alone ? 1 : 0, add_sum, &s, &err->cause) < 0)
        return registry__internal(err);
    *ret_room = INT64_MAX;
    if (rule && rule->quota > 0) {
        *ret_room = rule->quota - s.own;
        *ret_why = str_printf("%s has %lld of the %lld bytes that it may have", repository, (long long)s.own,
                              (long long)rule->quota);
    }
    for (size_t i = 0; i < p->quota_count; i++) {
        const struct registry_quota *q = &p->quotas[i];
        if (!name_patterns_match(q->match, repository) || q->bytes - wider[i] >= *ret_room)
            continue;
        *ret_room = q->bytes - wider[i];
        free(*ret_why);
        *ret_why = str_printf("the repositories %s have %lld of the %lld bytes that they may have together",
                              q->match[0], (long long)wider[i], (long long)q->bytes);
    }
    return 0;
}

static bool has_quota(const struct registry_policy *p, const char *repository)
{
    const struct registry_rule *rule = p ? registry_policy_rule(p, repository) : NULL;
    return p && ((rule && rule->quota > 0) || p->quota_count > 0);
}

bool registry__quota_lock(struct registry *r, const char *repository)
{
    _cleanup_policy_ struct registry_policy *p = registry_policy_get(r);
    bool locked = has_quota(p, repository);
    if (locked)
        pthread_mutex_lock(&r->quota_lock);
    return locked;
}

void registry__quota_unlock(struct registry *r, bool locked)
{
    if (locked)
        pthread_mutex_unlock(&r->quota_lock);
}

int registry__quota_check(struct registry *r, const char *repository, int64_t more, struct registry_err *err)
{
    _cleanup_policy_ struct registry_policy *p = registry_policy_get(r);
    _cleanup_free_ char *why = NULL;
    int64_t room = INT64_MAX;
    if (more <= 0 || !has_quota(p, repository))
        return 0;
    int code = room_of(r, p, repository, &room, &why, err);
    if (code < 0 || more <= room)
        return code;
    return registry__fail(err, REGISTRY_DENIED,
                          "quota: %s, and %lld more do not fit: delete tags, or ask for more", why,
                          (long long)more);
}

int registry__quota_room(struct registry *r, const char *repository, int64_t *ret, struct registry_err *err)
{
    _cleanup_policy_ struct registry_policy *p = registry_policy_get(r);
    _cleanup_free_ char *why = NULL;
    *ret = INT64_MAX;
    return has_quota(p, repository) ? room_of(r, p, repository, ret, &why, err) : 0;
}

/* Rows of before sizes were kept. */
int registry__sizes_fill(struct registry *r, struct err *err)
{
    _cleanup_strv_ char **digests = NULL;
    int code = registry__texts(r, "SELECT DISTINCT digest FROM repository_blob WHERE size < 0", NULL, 0,
                               &digests, err);
    for (char **d = digests; code == 0 && d && *d; d++) {
        int64_t size = 0;
        content_size(r->images, *d, &size);
        const struct store_value v[] = {STORE_I64(size), STORE_STR(*d)};
        const struct store_statement s = {.sql = "UPDATE repository_blob SET size = ? WHERE digest = ?",
                                          .params = v,
                                          .param_count = 2,
                                          .expect_changes = -1};
        code = store_batch(r->store, &s, 1, STORE_LAZY, err);
    }
    return code;
}
