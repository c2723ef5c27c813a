/* POST /build: the context comes as a tar, the build's output goes back as JSON messages. */
#include "api/api_priv.h"

#include "bakery/bakery.h"
#include "base/file.h"
#include "image/tar.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>

struct build {
    struct http_request *request;
    struct api *api;
    struct api_progress *progress;
    bool quiet;
    json_t *registry_config;
    const char *platform;
    pthread_mutex_t lock;
    char partial[4]; /* the beginning of a UTF-8 character whose rest comes with the next piece */
    size_t partial_len;
};

static void send_stream(struct build *b, const char *text)
{
    json_t *m = json_object();
    json_set_str(m, "stream", text);
    api__progress_send(b->progress, m);
}

/* How many bytes at the end begin a character that is not complete. */
static size_t incomplete_tail(const char *text, size_t n)
{
    for (size_t back = 1; back <= MIN(n, (size_t)3); back++) {
        unsigned char c = (unsigned char)text[n - back];
        if (c >= 0xc0) {
            size_t need = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
            return back < need ? back : 0;
        }
        if (c < 0x80)
            return 0;
    }
    return 0;
}

/* A non-zero return cancels the build. */
static int on_output(void *context, int stream, const void *bytes, size_t n)
{
    struct build *b = context;
    if (b->quiet || n == 0)
        return http_peer_gone(b->request);
    _cleanup_str_ struct str text = STR_INIT;
    pthread_mutex_lock(&b->lock);
    str_addn(&text, b->partial, b->partial_len);
    str_addn(&text, bytes, n);
    b->partial_len = incomplete_tail(text.data, text.len);
    memcpy(b->partial, text.data + text.len - b->partial_len, b->partial_len);
    str_truncate(&text, text.len - b->partial_len);
    if (text.len)
        send_stream(b, str_get(&text));
    pthread_mutex_unlock(&b->lock);
    return http_peer_gone(b->request);
}

static int fetch(void *context, const char *reference, bool always, char **ret_id, struct err *err)
{
    struct build *b = context;
    struct image_info info;
    if (!always && image_get(b->api->images, reference, &info, NULL) == 0) {
        *ret_id = mem_strdup(info.id);
        image_info_done(&info);
        return 0;
    }
    struct image_auth auth = api__auth_of_config(b->registry_config, reference);
    struct image_progress report = api__progress_image(b->progress);
    return image_pull(b->api->images, reference, b->platform, &auth, &report, ret_id, err);
}

/* --- the query --- */

struct query {
    char **tags, **build_args, **labels;
    json_t *host_config;
};

static void query_done(struct query *o)
{
    strv_free(o->tags);
    strv_free(o->build_args);
    strv_free(o->labels);
    json_decref(o->host_config);
}

static int query_json(struct http_request *q, const char *name, json_t **ret, struct err *err)
{
    const char *text = http_query(q, name);
    *ret = NULL;
    if (str_empty(text) || str_eq(text, "null"))
        return 0;
    return json_parse(text, strlen(text), name, ret, err);
}

/* {"NAME": "value", "OTHER": null} as "NAME=value" and "OTHER". */
static int query_pairs(struct http_request *q, const char *name, char ***ret, struct err *err)
{
    _cleanup_json_ json_t *object = NULL;
    const char *key;
    json_t *value;
    int r = query_json(q, name, &object, err);
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
    int r = query_json(q, "ulimits", &ulimits, err);
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
    static const char *const refused[] = {"squash", "securityopt", "outputs", "session"};
    const char *version = http_query(q, "version"), *remote = http_query(q, "remote"),
               *isolation = http_query(q, "isolation");
    if (str_eq(version, "2"))
        return err_set(err, ERR_UNSUPPORTED,
                       "BuildKit is not supported by Drover: build with DOCKER_BUILDKIT=0");
    if (!str_empty(remote))
        return err_set(
            err, ERR_UNSUPPORTED,
            "a remote build context (%s) is not supported by Drover: fetch it and build the directory",
            remote);
    if (!str_empty(isolation) && !str_eq(isolation, "default"))
        return err_set(err, ERR_UNSUPPORTED, "isolation \"%s\" is not supported by Drover", isolation);
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
        int r = api__refuse_query(q, refused[i], err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* "rm" and "forcerm" need nothing: no step leaves a container behind. */
static int read_query(struct http_request *q, struct query *o, struct err *err)
{
    int r = refuse_what_is_not_there(q, err);
    if (r == 0)
        r = query_pairs(q, "buildargs", &o->build_args, err);
    if (r == 0)
        r = query_pairs(q, "labels", &o->labels, err);
    if (r == 0)
        r = read_host_config(q, &o->host_config, err);
    _cleanup_strv_ char **tags = http_query_all(q, "t");
    STRV_FOREACH (t, tags)
        if (**t)
            strv_add(&o->tags, *t);
    return r;
}

/* --- the build --- */

static ssize_t read_body(void *context, void *buffer, size_t n, struct err *err)
{
    return http_body_read(context, buffer, n, err);
}

/* Everything in a context belongs to root, whoever packed it. */
static int unpack_context(struct http_request *q, const char *dir, struct err *err)
{
    _cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "open %s", dir);
    struct tar_extract x = {.root_fd = fd};
    int r = tar_extract_stream(&x, read_body, q, err);
    return r < 0 ? err_wrap(err, "build context") : 0;
}

static const char *text_of(struct http_request *q, const char *name)
{
    const char *v = http_query(q, name);
    return str_empty(v) ? NULL : v;
}

/* Only a hint where to find layers; the result is the same without. */
static void tell_unused(struct build *b)
{
    const char *from = http_query(b->request, "cachefrom");
    if (!b->quiet && !str_empty(from) && !str_eq(from, "null") && !str_eq(from, "[]"))
        send_stream(b, "warning: cache_from is not used; this machine's own build cache is\n");
}

static int run_build(struct build *b, const struct query *o, const char *dir, char **ret_id, struct err *err)
{
    struct http_request *q = b->request;
    _cleanup_free_ char *context_dir = str_printf("%s/context", dir),
                        *scratch = str_printf("%s/scratch", dir);
    int r = file_mkdirs(context_dir, 0755, err);
    if (r == 0)
        r = file_mkdirs(scratch, 0700, err);
    if (r == 0)
        r = unpack_context(q, context_dir, err);
    if (r < 0)
        return r;
    tell_unused(b);
    struct bakery_options options = {
        .context_dir = context_dir,
        .dockerfile = text_of(q, "dockerfile"),
        .tags = o->tags,
        .build_args = o->build_args,
        .labels = o->labels,
        .target = text_of(q, "target"),
        .platform = b->platform,
        .network = text_of(q, "networkmode"),
        .no_cache = http_query_bool(q, "nocache", false),
        .pull = http_query_bool(q, "pull", false),
        .host_config = json_object_size(o->host_config) ? o->host_config : NULL,
        .scratch_dir = scratch,
        .fetch = fetch,
        .fetch_context = b,
        .run = engine_build_run,
        .run_context = b->api->engine,
        .output_context = b,
        .output = on_output,
    };
    return bakery_build(b->api->images, &options, ret_id, err);
}

/* What was built and tagged the bakery has said itself; here is the id for programs. */
static void tell_result(struct build *b, const char *id)
{
    if (!b->quiet) {
        api__progress_send(b->progress, json_pack("{s:{s:s}}", "aux", "ID", id));
        return;
    }
    _cleanup_free_ char *line = str_printf("%s\n", id);
    send_stream(b, line);
}

static int build(struct build *b, struct err *err)
{
    _cleanup_(query_done) struct query o = {0};
    _cleanup_free_ char *id = NULL;
    int r = read_query(b->request, &o, err);
    if (r == 0)
        r = api__registry_config(b->request, &b->registry_config, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *dir = str_printf("%s/tmp/build-XXXXXX", engine_root(b->api->engine));
    if (!mkdtemp(dir))
        return err_sys(err, errno, "make a directory for the build context at %s", dir);
    r = run_build(b, &o, dir, &id, err);
    struct err cleanup = {0};
    if (file_remove_tree(dir, &cleanup) < 0 && r == 0)
        r = err_copy(err, &cleanup);
    if (r == 0)
        tell_result(b, id);
    return r;
}

int api_build(struct http_request *q, void *context, struct err *err)
{
    struct build b = {.request = q,
                      .api = context,
                      .quiet = http_query_bool(q, "q", false),
                      .platform = text_of(q, "platform")};
    b.progress = api__progress_new(q, b.quiet);
    pthread_mutex_init(&b.lock, NULL);
    int r = build(&b, err);
    if (r < 0)
        r = api__progress_fail(b.progress, err);
    api__progress_free(b.progress);
    pthread_mutex_destroy(&b.lock);
    json_decref(b.registry_config);
    return r;
}
