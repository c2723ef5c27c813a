#include "registry/replicate.h"

#include "base/failpoint.h"
#include "base/json.h"
#include "base/log.h"
#include "image/upstream.h"
#include "registry/manifest.h"
#include "registry/mirror.h"
#include "registry/notify.h"

static bool is_digest(const char *reference)
{
    return strchr(reference, ':') != NULL;
}

/* --- what waits --- */

static void add_name(json_t *list, const struct registry_replication *rule, const char *repository,
                     const char *reference)
{
    bool tagged = !is_digest(reference);
    if (tagged && rule->tags && !name_patterns_match(rule->tags, reference))
        return;
    _cleanup_free_ char *name = str_printf("%s%c%s", repository, tagged ? ':' : '@', reference);
    json_array_append_new(list, json_string(name));
}

char *registry__replicate_names(const struct registry_replication *rule, const struct notice *what)
{
    bool deletes = str_eq(what->action, "delete"), tagged = what->tag || (what->tags && *what->tags);
    if ((rule->match && !name_patterns_match(rule->match, what->repository)) || (deletes && !rule->delete))
        return NULL;
    _cleanup_json_ json_t *list = json_array();
    if (what->tag)
        add_name(list, rule, what->repository, what->tag);
    for (char *const *t = what->tags; t && *t; t++)
        add_name(list, rule, what->repository, *t);
    /* A rule for some tags does not copy what has none; but what it copied goes, by whichever name. */
    if (!tagged && what->digest && (!rule->tags || deletes))
        add_name(list, rule, what->repository, what->digest);
    return json_array_size(list) > 0 ? json_format(list) : NULL;
}

/* --- sending --- */

struct copy {
    struct registry *registry;
    struct upstream *there;
    const char *repository;
    const _Atomic bool *closing;
};

static int send_manifest(struct copy *c, const char *digest, const char *reference, int depth,
                         struct err *err);

static int send_part(struct copy *c, const char *digest, int depth, struct err *err)
{
    char there[DIGEST_BYTES], here[DIGEST_BYTES];
    struct registry_err e = {0};
    if (!digest_valid(digest) || registry_pushed(c->registry, c->repository, digest, here, &e) < 0)
        return 0; /* an index may name what is elsewhere; whether it may is for the target to say */
    int code = upstream_head(c->there, digest, there, err);
    if (code == -ERR_NOT_FOUND)
        return send_manifest(c, digest, digest, depth, err);
    return code;
}

static int send_parts(struct copy *c, const struct manifest *m, int depth, struct err *err)
{
    size_t i;
    const json_t *one;
    int code = 0;
    if (depth >= REPLICATE_DEPTH_MAX)
        return err_set(err, ERR_LIMIT, "indexes within indexes, more than %d deep, are not replicated",
                       REPLICATE_DEPTH_MAX);
    for (size_t k = 0; k < m->blob_count && code == 0; k++)
        code = upstream_push_blob(c->there, m->blobs[k].digest, c->closing, err);
    FAILPOINT("registry-replica-blobs-sent");
    json_array_foreach (json_object_get(m->document, "manifests"), i, one)
        if (code == 0)
            code = send_part(c, json_str(one, "digest"), depth + 1, err);
    return code;
}

static int send_manifest(struct copy *c, const char *digest, const char *reference, int depth,
                         struct err *err)
{
    struct registry_manifest bytes = {0};
    struct manifest m = {0};
    struct registry_err e = {0};
    int code = registry_manifest_get(c->registry, c->repository, digest, &bytes, &e);
    if (code == 0)
        code = manifest_parse(str_get(&bytes.bytes), bytes.bytes.len, bytes.media_type, &m, &e);
    if (code < 0)
        err_copy(err, &e.cause);
    else
        code = send_parts(c, &m, depth, err);
    if (code == 0)
        code = upstream_push_manifest(c->there, reference, bytes.media_type, &bytes.bytes, err);
    FAILPOINT("registry-replica-sent");
    manifest_done(&m);
    registry_manifest_done(&bytes);
    return code;
}

/* Sends, or deletes, what the name stands for here just now; says in `done` which it was. */
static int bring(struct copy *c, const struct registry_replication *rule, const char *reference,
                 const char **done, struct err *err)
{
    char here[DIGEST_BYTES], there[DIGEST_BYTES];
    struct registry_err e = {0};
    int code = registry_pushed(c->registry, c->repository, reference, here, &e);
    if (code < 0 && e.code != REGISTRY_MANIFEST_UNKNOWN)
        return err_copy(err, &e.cause);
    if (code < 0) {
        *done = rule->delete ? "deleted" : "not here any more";
        code = rule->delete ? upstream_delete(c->there, reference, err) : 0;
        FAILPOINT("registry-replica-deleted");
        return code == -ERR_NOT_FOUND ? 0 : code;
    }
    code = upstream_head(c->there, reference, there, err);
    *done = "there already";
    if (code == 0 && str_eq(here, there))
        return 0;
    if (code < 0 && code != -ERR_NOT_FOUND)
        return code;
    *done = "sent";
    return send_manifest(c, here, reference, 0, err);
}

static const struct registry_replication *rule_of(const struct registry_policy *p, const char *name)
{
    for (size_t i = 0; p && i < p->replication_count; i++)
        if (str_eq(p->replications[i].name, name))
            return &p->replications[i];
    return NULL;
}

/* Gives whether the target could be reached at all. */
static int replicate(struct registry *r, const struct registry_replication *rule, const char *name,
                     const _Atomic bool *closing, const char **done, bool *ret_away, struct err *err)
{
    size_t n = strcspn(name, ":@");
    _cleanup_free_ char *repository = mem_strndup(name, n);
    _cleanup_free_ char *path =
        rule->prefix ? str_printf("%s/%s", rule->prefix, repository) : mem_strdup(repository);
    struct copy c = {.registry = r, .repository = repository, .closing = closing};
    int code = upstream_open(r->images, rule->target, path, rule->delete ? "pull,push,delete" : "pull,push",
                             rule->username, rule->password, &c.there, err);
    *ret_away = code < 0;
    if (code == 0)
        code = bring(&c, rule, name + n + 1, done, err);
    upstream_close(c.there);
    return code;
}

static void deliver(struct registry *r, struct http_client *client, const struct queue_entry *e,
                    const _Atomic bool *closing, struct queue_outcome *ret)
{
    _cleanup_policy_ struct registry_policy *p = registry_policy_get(r);
    const struct registry_replication *rule = rule_of(p, e->receiver);
    struct err err = {0};
    const char *done = "dropped: there is no such rule any more";
    int code = rule ? replicate(r, rule, e->body, closing, &done, &ret->all_wait, &err) : 0;
    ret->off = code == 0 || code == -ERR_UNSUPPORTED;
    snprintf(ret->text, sizeof(ret->text), "%s: %.180s", e->body, code == 0 ? done : err.msg);
    if (code < 0 && !*closing && (ret->off || e->attempts == 0))
        log_warning("registry: replicate %s to %s: %s%s", e->body, rule->target, err.msg,
                    ret->off ? "" : "; it is tried again");
}

const struct queue_kind registry__replication = {
    .name = "replication",
    .next = "SELECT id, webhook, body, attempts, due FROM registry_notice WHERE kind = 'replication'"
            " ORDER BY due, id LIMIT 1",
    .longest_s = REPLICATE_LONGEST_S,
    .deliver = deliver,
};

/* --- all there is --- */

static int queue_repository(struct registry *r, const char *repository, struct err *err)
{
    _cleanup_strv_ char **tags = NULL;
    struct registry_err e = {0};
    struct notices notices;
    int code = registry_pushed_tags(r, repository, &tags, &e);
    if (code < 0)
        return e.code == REGISTRY_NAME_UNKNOWN ? 0 : err_copy(err, &e.cause);
    registry__notices_make(r, &(struct notice){.action = "sync", .repository = repository, .tags = tags},
                           &notices);
    if (notices.count > 0)
        code = store_batch(r->store, notices.statements, notices.count, STORE_DURABLE, err);
    registry__notices_done(&notices);
    return code;
}

int registry_replicate_all(struct registry *r, struct err *err)
{
    _cleanup_strv_ char **repositories = NULL;
    int code =
        registry__texts(r, "SELECT DISTINCT repository FROM repository_tag", NULL, 0, &repositories, err);
    STRV_FOREACH (one, repositories)
        if (code == 0 && !registry__mirrored(r, *one))
            code = queue_repository(r, *one, err);
    registry__queue_wake(r->replicator);
    return code;
}

/* --- telling of it --- */

static int add_waiting(void *context, const struct store_value *c, size_t count, struct err *err)
{
    char at[TIME_RFC3339_BYTES];
    json_t *one = json_pack("{s:I}", "waiting", (json_int_t)c[0].integer);
    json_set_str(one, "since", c[0].integer ? time_format_rfc3339(c[1].integer, at) : "");
    json_object_set_new(one, "lag_ns", json_integer(c[0].integer ? MAX(time_now_ns() - c[1].integer, 0) : 0));
    json_object_set_new(one, "failing", json_integer(c[2].integer));
    json_object_update(context, one);
    json_decref(one);
    return 0;
}

static int add_line(void *context, const struct store_value *c, size_t count, struct err *err)
{
    char at[TIME_RFC3339_BYTES];
    json_t *one = json_object();
    json_set_str(one, "rule", c[0].bytes);
    json_set_str(one, "at", time_format_rfc3339(c[1].integer, at));
    json_object_set_new(one, "attempt", json_integer(c[2].integer));
    json_set_str(one, "outcome", c[3].bytes);
    json_array_append_new(context, one);
    return 0;
}

static int describe_rule(struct registry *r, const struct registry_replication *rule, json_t *rules,
                         struct err *err)
{
    const struct store_value name = STORE_STR(rule->name);
    json_t *one = json_object();
    json_set_str(one, "rule", rule->name);
    json_set_str(one, "target", rule->target);
    json_array_append_new(rules, one);
    return store_query(r->store,
                       "SELECT count(*), coalesce(min(created), 0), coalesce(sum(attempts > 0), 0)"
                       " FROM registry_notice WHERE kind = 'replication' AND webhook = ?",
                       &name, 1, add_waiting, one, err);
}

int registry_replication(struct registry *r, json_t **ret, struct err *err)
{
    _cleanup_policy_ struct registry_policy *p = registry_policy_get(r);
    json_t *rules = json_array(), *log = json_array();
    int code = 0;
    for (size_t i = 0; p && i < p->replication_count && code == 0; i++)
        code = describe_rule(r, &p->replications[i], rules, err);
    if (code == 0)
        code = store_query(r->store,
                           "SELECT webhook, at, attempt, outcome FROM registry_delivery"
                           " WHERE kind = 'replication' ORDER BY id DESC LIMIT 1000",
                           NULL, 0, add_line, log, err);
    json_t *all = json_pack("{s:o, s:o}", "rules", rules, "log", log);
    if (code < 0)
        json_decref(all);
    else
        *ret = all;
    return code;
}
