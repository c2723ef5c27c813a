#include "api/build_query.h"

#include "api/api_priv.h"

#include <string.h>

void build_query_done(struct build_query *o)
{
    strv_free(o->tags);
    strv_free(o->build_args);
    strv_free(o->labels);
    strv_free(o->cache_from);
    json_decref(o->host_config);
    json_decref(o->registry_config);
}

/* `what` is what Docker's messages call it. */
static int query_json(struct http_request *q, const char *name, const char *what, json_t **ret,
                      struct err *err)
{
    const char *text = http_query(q, name);
    *ret = NULL;
    if (str_empty(text) || str_eq(text, "null"))
        return 0;
    int r = json_parse(text, strlen(text), name, ret, err);
    return r < 0 ? err_wrap(err, "error reading %s", what) : 0;
}

/* {"NAME": "value", "OTHER": null} as "NAME=value" and "OTHER". */
static int query_pairs(struct http_request *q, const char *name, const char *what, char ***ret,
                       struct err *err)
{
    _cleanup_json_ json_t *object = NULL;
    const char *key;
    json_t *value;
    int r = query_json(q, name, what, &object, err);
    if (r < 0)
        return r;
    if (object && !json_is_object(object))
        return err_set(err, ERR_INVALID, "query parameter \"%s\" must be a JSON object", name);
    json_object_foreach (object, key, value) {
        if (json_is_string(value))
            strv_take(ret, str_printf("%s=%s", key, json_string_value(value)));
        else if (json_is_null(value))
            strv_add(ret, key);
        else
            return err_set(err, ERR_INVALID, "query parameter \"%s\": the value of %s must be a string", name,
                           key);
    }
    return 0;
}

static const struct {
    const char *query, *field;
} limits[] = {
    {"memory", "Memory"},       {"memswap", "MemorySwap"}, {"cpushares", "CpuShares"},
    {"cpuperiod", "CpuPeriod"}, {"cpuquota", "CpuQuota"},  {"shmsize", "ShmSize"},
};
static const struct {
    const char *query, *field;
} texts[] = {
    {"cpusetcpus", "CpusetCpus"},
    {"cpusetmems", "CpusetMems"},
    {"cgroupparent", "CgroupParent"},
};

static int read_host_config(struct http_request *q, json_t **ret, struct err *err)
{
    _cleanup_json_ json_t *c = json_object();
    for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
        int64_t n = 0;
        int r = api__query_i64(q, limits[i].query, -1, INT64_MAX, &n, err);
        if (r < 0)
            return r;
        if (n)
            json_object_set_new(c, limits[i].field, json_integer(n));
    }
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        if (!str_empty(http_query(q, texts[i].query)))
            json_set_str(c, texts[i].field, http_query(q, texts[i].query));
    _cleanup_json_ json_t *ulimits = NULL;
    int r = query_json(q, "ulimits", "ulimit settings", &ulimits, err);
    if (r < 0)
        return r;
    if (json_array_size(ulimits) > 0)
        json_object_set(c, "Ulimits", ulimits);
    _cleanup_strv_ char **hosts = http_query_all(q, "extrahosts");
    if (hosts)
        json_object_set_new(c, "ExtraHosts", json_of_strv(hosts));
    *ret = take_ptr(c);
    return 0;
}

static int refuse_what_is_not_there(struct http_request *q, struct err *err)
{
    const char *version = http_query(q, "version"), *remote = http_query(q, "remote"),
               *isolation = http_query(q, "isolation");
    if (str_eq(version, "2") || str_eq(remote, "client-session"))
        return err_set(err, ERR_UNSUPPORTED, API_NO_BUILDKIT);
    if (!str_empty(isolation) && !str_eq(isolation, "default"))
        return err_set(err, ERR_UNSUPPORTED, "isolation \"%s\" is not supported by Drover", isolation);
    if (http_query_bool(q, "squash", false))
        return err_set(err, ERR_INVALID, "squash is only supported with experimental mode");
    return api__refuse_query(q, "outputs", err);
}

static int refuse_security_options(struct http_request *q, struct err *err)
{
    _cleanup_json_ json_t *options = NULL;
    int r = query_json(q, "securityopt", "security options", &options, err);
    if (r == 0 && json_array_size(options) > 0)
        r = err_set(err, ERR_INVALID,
                    "The daemon on this platform does not support setting security options on build");
    return r;
}

static int read_cache_from(struct http_request *q, char ***ret, struct err *err)
{
    _cleanup_json_ json_t *object = json_object();
    json_t *images = NULL;
    int r = query_json(q, "cachefrom", "cache sources", &images, err);
    if (r < 0 || json_array_size(images) == 0) {
        json_decref(images);
        return r;
    }
    json_object_set_new(object, "cachefrom", images);
    return json_get_strv(object, "", "cachefrom", ret, err);
}

static const char *text_of(struct http_request *q, const char *name)
{
    const char *v = http_query(q, name);
    return str_empty(v) ? NULL : v;
}

int build_query_read(struct http_request *q, struct build_query *o, struct err *err)
{
    o->quiet = http_query_bool(q, "q", false);
    o->no_cache = http_query_bool(q, "nocache", false);
    o->pull = http_query_bool(q, "pull", false);
    bool force_remove = http_query_bool(q, "forcerm", false);
    o->keep_steps = !force_remove && !http_query_bool(q, "rm", true);
    o->keep_failed = !force_remove;
    o->platform = text_of(q, "platform");
    o->dockerfile = text_of(q, "dockerfile");
    o->target = text_of(q, "target");
    o->network = text_of(q, "networkmode");
    o->remote = text_of(q, "remote");
    int r = refuse_what_is_not_there(q, err);
    if (r == 0)
        r = refuse_security_options(q, err);
    if (r == 0 && o->platform)
        r = image_platform_check(o->platform, err);
    if (r == 0)
        r = query_pairs(q, "buildargs", "build args", &o->build_args, err);
    if (r == 0)
        r = query_pairs(q, "labels", "labels", &o->labels, err);
    if (r == 0)
        r = read_cache_from(q, &o->cache_from, err);
    if (r == 0)
        r = read_host_config(q, &o->host_config, err);
    if (r == 0)
        r = api__registry_config(q, &o->registry_config, err);
    _cleanup_strv_ char **tags = http_query_all(q, "t");
    STRV_FOREACH (t, tags)
        if (**t)
            strv_add(&o->tags, *t);
    return r;
}
