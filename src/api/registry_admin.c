/* /drover/registry/: managing the registry inside, for whoever may use this node's own socket (and so may do
 * everything anyway); `drover registry` is its client. */
#include "api/api_priv.h"

#include "base/timeutil.h"
#include "registry/policy.h"
#include "registry/registry.h"

static int the_registry(void *context, struct registry **ret, struct err *err)
{
    struct api *a = context;
    if (!a->registry)
        return err_set(err, ERR_UNAVAILABLE,
                       "this node serves no registry: start drover serve with --registry [HOST:]PORT");
    *ret = a->registry;
    return 0;
}

/* --- robots' tokens --- */

int api_robot_list(struct http_request *q, void *context, struct err *err)
{
    struct registry *registry;
    json_t *list = NULL;
    int r = the_registry(context, &registry, err);
    if (r == 0)
        r = registry_robot_list(registry, &list, err);
    if (r == 0)
        http_reply_json(q, 200, list);
    return r;
}

static int rights_of(char *const *names, unsigned *ret, struct err *err)
{
    for (char *const *name = names; name && *name; name++) {
        unsigned right = registry_right_parse(*name);
        if (!right)
            return err_set(err, ERR_INVALID, "\"%.100s\" is no right: pull, push, delete or admin", *name);
        *ret |= right;
    }
    return 0;
}

int api_robot_create(struct http_request *q, void *context, struct err *err)
{
    struct registry *registry;
    _cleanup_json_ json_t *body = NULL;
    _cleanup_strv_ char **patterns = NULL, **names = NULL;
    const char *name = "";
    char secret[ROBOT_SECRET_BYTES];
    int64_t seconds = 0;
    unsigned rights = 0;
    int r = the_registry(context, &registry, err);
    if (r == 0)
        r = api__body(q, false, &body, err);
    if (r == 0)
        r = json_get_string(body, "", "name", &name, err);
    if (r == 0)
        r = json_get_strv(body, "", "repositories", &patterns, err);
    if (r == 0)
        r = json_get_strv(body, "", "rights", &names, err);
    if (r == 0)
        r = json_get_i64(body, "", "expires_in", &seconds, err);
    if (r == 0 && (seconds < 0 || seconds > INT64_C(100) * 366 * 86400))
        r = err_set(err, ERR_INVALID, "\"expires_in\" must be the seconds for which it holds, or 0");
    if (r == 0)
        r = rights_of(names, &rights, err);
    if (r == 0)
        r = registry_robot_new(registry, name, patterns, rights,
                               seconds ? time_now_ns() + seconds * NS_PER_S : 0, secret, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *user = str_printf("%s%s", ROBOT_PREFIX, name);
    http_reply_json(q, 201, json_pack("{s:s, s:s}", "user", user, "password", secret));
    return 0;
}

int api_robot_revoke(struct http_request *q, void *context, struct err *err)
{
    struct registry *registry;
    int r = the_registry(context, &registry, err);
    if (r == 0)
        r = registry_robot_revoke(registry, http_param(q, "name"), err);
    if (r == 0)
        http_reply_empty(q, 204);
    return r;
}

/* --- what is here, and what goes --- */

int api_registry_usage(struct http_request *q, void *context, struct err *err)
{
    struct registry *registry;
    json_t *usage = NULL;
    const char *repository = http_query(q, "repository");
    int r = the_registry(context, &registry, err);
    if (r == 0)
        r = str_empty(repository) ? registry_usage(registry, &usage, err)
                                  : registry_describe(registry, repository, &usage, err);
    if (r == 0)
        http_reply_json(q, 200, usage);
    return r;
}

static int64_t bytes_of(struct registry *registry)
{
    _cleanup_json_ json_t *usage = NULL;
    return registry_usage(registry, &usage, NULL) < 0 ? 0 : json_int(usage, "bytes_on_disk");
}

int api_registry_gc(struct http_request *q, void *context, struct err *err)
{
    struct registry *registry;
    int64_t before = 0;
    int r = the_registry(context, &registry, err);
    if (r == 0) {
        before = bytes_of(registry);
        r = registry_collect(registry, time_now_ns(), err);
    }
    if (r == 0)
        http_reply_json(q, 200, json_pack("{s:I}", "bytes", (json_int_t)MAX(before - bytes_of(registry), 0)));
    return r;
}

int api_registry_retention(struct http_request *q, void *context, struct err *err)
{
    struct registry *registry;
    json_t *report = NULL;
    int r = the_registry(context, &registry, err);
    if (r == 0)
        r = registry_retention(registry, time_now_ns(), http_query_bool(q, "dry_run", false), &report, err);
    if (r == 0)
        http_reply_json(q, 200, report);
    return r;
}

int api_registry_deliveries(struct http_request *q, void *context, struct err *err)
{
    struct registry *registry;
    json_t *list = NULL;
    int r = the_registry(context, &registry, err);
    if (r == 0)
        r = registry_deliveries(registry, &list, err);
    if (r == 0)
        http_reply_json(q, 200, list);
    return r;
}

int api_registry_replication(struct http_request *q, void *context, struct err *err)
{
    struct registry *registry;
    json_t *report = NULL;
    int r = the_registry(context, &registry, err);
    if (r == 0)
        r = registry_replication(registry, &report, err);
    if (r == 0)
        http_reply_json(q, 200, report);
    return r;
}

int api_registry_replicate_all(struct http_request *q, void *context, struct err *err)
{
    struct registry *registry;
    int r = the_registry(context, &registry, err);
    if (r == 0)
        r = registry_replicate_all(registry, err);
    if (r == 0)
        http_reply_empty(q, 204);
    return r;
}
