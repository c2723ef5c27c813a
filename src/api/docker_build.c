/* POST /build: the context comes as a tar, the build's output goes back as JSON messages. */
#include "api/api_priv.h"
#include "api/build_limit.h"
#include "api/build_query.h"
#include "api/build_session.h"

#include "bakery/bakery.h"
#include "base/base64.h"
#include "base/file.h"
#include "image/image_ref.h"

#include <pthread.h>
#include <string.h>

struct build {
    struct http_request *request;
    struct api *api;
    struct api_progress *progress;
    struct build_query query;
    struct bakery_context *context; /* that came with the request; or NULL */
    struct build_session *session;  /* of `drover build`; or NULL */
    bool events;                    /* it wants to know what happens when it does, instead of a text */
    char **no_cache_filter, **allow;
    struct bakery_attest attest;
    struct bakery_cache *import, *export;
    size_t import_count, export_count;
    int exit_status; /* of the RUN that failed */
    pthread_mutex_t lock;
    char partial[4]; /* the beginning of a UTF-8 character whose rest comes with the next piece */
    size_t partial_len;
    struct str held; /* what a quiet build says, in case it fails: the last of it */
};

enum { HELD_MAX = 1 << 20 };

static void send_stream(struct build *b, const char *text)
{
    json_t *m = json_object();
    json_set_str(m, "stream", text);
    api__progress_send(b->progress, m);
}

static void hold(struct build *b, const char *text)
{
    str_add(&b->held, text);
    if (b->held.len <= HELD_MAX)
        return;
    const char *line = strchr(str_get(&b->held) + b->held.len / 2, '\n');
    char *rest = mem_strdup(line ? line + 1 : "");
    str_clear(&b->held);
    str_add(&b->held, rest);
    free(rest);
}

static void tell(struct build *b, const char *text)
{
    if (b->query.quiet)
        hold(b, text);
    else
        send_stream(b, text);
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
    if (n == 0 || b->events)
        return http_peer_gone(b->request);
    _cleanup_str_ struct str text = STR_INIT;
    pthread_mutex_lock(&b->lock);
    str_addn(&text, b->partial, b->partial_len);
    str_addn(&text, bytes, n);
    b->partial_len = incomplete_tail(text.data, text.len);
    memcpy(b->partial, text.data + text.len - b->partial_len, b->partial_len);
    str_truncate(&text, text.len - b->partial_len);
    if (text.len && stream == 2) {
        /* As Docker tells the two streams apart in its one: in red. */
        _cleanup_free_ char *red = str_printf("\033[91m%s\033[0m", str_get(&text));
        tell(b, red);
    } else if (text.len) {
        tell(b, str_get(&text));
    }
    pthread_mutex_unlock(&b->lock);
    return http_peer_gone(b->request);
}

/* {"drover": {...}}: one thing that happened. Output is in base64, as it may be cut within a character. */
static void on_event(void *context, const struct bakery_event *event)
{
    static const char *const kinds[] = {"begun", "cached", "done", "failed", "log", "note"};
    struct build *b = context;
    json_t *e = json_pack("{s:s, s:i, s:i, s:i}", "Kind", kinds[event->kind], "Stage", (int)event->stage,
                          "Step", event->step, "Steps", event->steps);
    if (event->stage_name)
        json_set_str(e, "Name", event->stage_name);
    if (event->text)
        json_set_str(e, "Text", event->text);
    if (event->byte_count) {
        _cleanup_free_ char *log = base64_encode(event->bytes, event->byte_count);
        json_object_set_new(e, "Stream", json_integer(event->stream));
        json_set_str(e, "Log", log);
    }
    api__progress_send(b->progress, json_pack("{s:o}", "drover", e));
}

static void tell_pull(struct build *b, const struct image_ref *ref)
{
    _cleanup_free_ char *line = str_printf("Pulling from %s", ref->path);
    if (!b->query.quiet)
        api__progress_status(b->progress, ref->tag ? ref->tag : ref->digest, line);
}

static int fetch(void *context, const char *reference, const char *platform, bool always, char **ret_id,
                 struct err *err)
{
    struct build *b = context;
    struct image_info info;
    _cleanup_ref_ struct image_ref ref = {0};
    if (!always && image_get(b->api->images, reference, &info, NULL) == 0) {
        *ret_id = mem_strdup(info.id);
        image_info_done(&info);
        return 0;
    }
    int r = image_ref_parse(reference, &ref, err);
    if (r < 0)
        return r;
    tell_pull(b, &ref);
    struct image_auth auth = api__auth_of_config(b->query.registry_config, reference);
    struct image_progress report = api__progress_image(b->progress);
    r = image_pull(b->api->images, reference, platform, &auth, &report, ret_id, err);
    if (r == 0) {
        _cleanup_free_ char *name = image_ref_familiar(&ref);
        engine_image_event(b->api->engine, "pull", name, name);
    }
    return r;
}

static struct image_auth auth_of(void *context, const char *reference)
{
    const struct build *b = context;
    return api__auth_of_config(b->query.registry_config, reference);
}

/* --- caches --- */

enum { CACHES_MAX = 32 };

static void caches_free(struct bakery_cache *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        cache_spec_done(&list[i].spec);
        free(list[i].dir);
    }
    free(list);
}

/* Those of type=local are in the session's directory, by their number in the list. */
static int read_caches(struct build *b, const char *key, bool is_target, struct bakery_cache **ret,
                       size_t *ret_count, struct err *err)
{
    _cleanup_strv_ char **texts = NULL;
    int r = json_get_strv(build_session_options(b->session), "Options", key, &texts, err);
    size_t count = strv_len(texts);
    if (r == 0 && count > CACHES_MAX)
        r = err_set(err, ERR_LIMIT, "%s: more than %d", key, CACHES_MAX);
    if (r < 0)
        return r;
    *ret = NEW_N(struct bakery_cache, count + 1);
    for (size_t i = 0; i < count; i++) {
        struct bakery_cache *c = &(*ret)[i];
        r = cache_spec_parse(texts[i], is_target, &c->spec, err);
        if (r == 0)
            ++*ret_count;
        if (r == 0 && c->spec.type == CACHE_LOCAL)
            r = build_session_cache_dir(b->session, is_target, i, &c->dir, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* --- the context --- */

static ssize_t read_body(void *context, void *buffer, size_t n, struct err *err)
{
    return http_body_read(context, buffer, n, err);
}

/* The context's directory, below `dir`; a Dockerfile that came alone is in *ret_dockerfile. */
static int get_context(struct build *b, const char *dir, char **ret_dir, char **ret_dockerfile,
                       struct err *err)
{
    int r = file_mkdirs(dir, 0755, err);
    *ret_dockerfile = NULL;
    if (r == 0 && b->query.remote)
        return bakery_remote_context(b->query.remote, dir, ret_dir, ret_dockerfile, err);
    if (r == 0)
        r = bakery_context_receive(dir, b->query.dockerfile, 0, read_body, b->request, &b->context, err);
    if (r == 0)
        *ret_dir = mem_strdup(dir);
    return r;
}

/* --- the build --- */

/* For programs; what people read of it the bakery says itself. */
static void on_built(void *context, const char *id)
{
    struct build *b = context;
    if (!b->query.quiet)
        api__progress_send(b->progress, json_pack("{s:{s:s}}", "aux", "ID", id));
}

static int run_build(struct build *b, const char *dir, char **ret_id, struct err *err)
{
    const struct build_query *o = &b->query;
    _cleanup_free_ char *place = str_printf("%s/context", dir), *scratch = str_printf("%s/scratch", dir),
                        *context_dir = NULL, *dockerfile = NULL;
    int r = file_mkdirs(scratch, 0700, err);
    if (r == 0)
        r = get_context(b, place, &context_dir, &dockerfile, err);
    if (r < 0)
        return r;
    const json_t *extra = build_session_options(b->session);
    if (*json_str(extra, "Dockerfile")) { /* for a context that is fetched here */
        free(dockerfile);
        dockerfile = mem_strdup(json_str(extra, "Dockerfile"));
    }
    r = json_get_strv(extra, "Options", "NoCacheFilter", &b->no_cache_filter, err);
    if (r == 0 && *json_str(extra, "Provenance"))
        r = bakery_attest_parse(json_str(extra, "Provenance"), &b->attest, err);
    b->attest.sbom = json_bool(extra, "Sbom");
    if (r == 0)
        r = json_get_strv(extra, "Options", "Allow", &b->allow, err);
    if (r == 0)
        r = read_caches(b, "CacheFrom", false, &b->import, &b->import_count, err);
    if (r == 0)
        r = read_caches(b, "CacheTo", true, &b->export, &b->export_count, err);
    if (r < 0)
        return r;
    struct bakery_options options = {
        .no_cache_filter = b->no_cache_filter,
        .allow = b->allow,
        .timeout_ns = json_int(extra, "TimeoutNs"),
        .contexts = build_session_contexts(b->session),
        .aliases = json_object_get(extra, "Contexts"),
        .annotations = json_object_get(extra, "Annotations"),
        .attest = &b->attest,
        .secret = build_session_secret,
        .ssh_agent = build_session_agent,
        .has_ssh = build_session_has_agent,
        .secret_context = b->session,
        .event = b->events ? on_event : NULL,
        .context_dir = context_dir,
        .context = b->context,
        .dockerfile = o->dockerfile,
        .dockerfile_text = dockerfile,
        .tags = o->tags,
        .build_args = o->build_args,
        .labels = o->labels,
        .target = o->target,
        .platform = o->platform,
        .network = o->network,
        .no_cache = o->no_cache,
        .pull = o->pull,
        .keep_steps = o->keep_steps,
        .keep_failed_step = o->keep_failed,
        .cache_from = o->cache_from,
        .import = b->import,
        .import_count = b->import_count,
        .export = b->export,
        .export_count = b->export_count,
        .auth = auth_of,
        .host_config = json_object_size(o->host_config) ? o->host_config : NULL,
        .scratch_dir = scratch,
        .fetch = fetch,
        .fetch_context = b,
        .run = engine_build_run,
        .run_context = b->api->engine,
        .output_context = b,
        .output = on_output,
        .built = on_built,
        .ret_exit_status = &b->exit_status,
    };
    return bakery_build(b->api->images, &options, ret_id, err);
}

static void tell_image(struct build *b, const char *id)
{
    engine_image_event(b->api->engine, "create", id, id);
    STRV_FOREACH (tag, b->query.tags) {
        _cleanup_free_ char *name = image_ref_familiar_text(*tag);
        engine_image_event(b->api->engine, "tag", id, name);
    }
}

static void tell_result(struct build *b, const char *id)
{
    struct image_info info;
    if (image_get(b->api->images, id, &info, NULL) < 0)
        return;
    api__progress_send(b->progress, json_pack("{s:{s:s, s:s, s:s}}", "drover", "Kind", "result", "Id",
                                              info.id, "Digest", info.manifest_digest));
    image_info_done(&info);
}

static int build(struct build *b, struct err *err)
{
    _cleanup_free_ char *id = NULL;
    int r = build_query_read(b->request, &b->query, err);
    if (r == 0)
        r = build_session_enter(b->api, b->request, &b->session, err);
    if (r < 0)
        return r;
    b->events = json_bool(build_session_options(b->session), "Events");
    _cleanup_free_ char *dir = str_printf("%s/tmp/build-XXXXXX", engine_root(b->api->engine));
    if (!mkdtemp(dir))
        return err_sys(err, errno, "make a directory for the build context at %s", dir);
    r = run_build(b, dir, &id, err);
    bakery_context_free(take_ptr(b->context));
    struct err cleanup = {0};
    if (file_remove_tree(dir, &cleanup) < 0 && r == 0)
        r = err_copy(err, &cleanup);
    if (r < 0)
        return r;
    tell_image(b, id);
    if (b->session)
        tell_result(b, id);
    if (b->query.quiet) {
        _cleanup_free_ char *line = str_printf("%s\n", id);
        send_stream(b, line);
    }
    return 0;
}

int api_build(struct http_request *q, void *context, struct err *err)
{
    struct build b = {.request = q, .api = context};
    b.progress = api__progress_new(q, http_query_bool(q, "q", false));
    pthread_mutex_init(&b.lock, NULL);
    build_limit_begin(b.api->limit);
    int r = build(&b, err);
    build_limit_end(b.api->limit);
    if (r < 0 && b.held.len)
        send_stream(&b, str_get(&b.held));
    if (r < 0)
        r = api__progress_fail_with(b.progress, err, b.exit_status);
    api__progress_free(b.progress);
    pthread_mutex_destroy(&b.lock);
    str_free(&b.held);
    build_query_done(&b.query);
    build_session_leave(b.session);
    bakery_attest_done(&b.attest);
    strv_free(b.no_cache_filter);
    strv_free(b.allow);
    caches_free(b.import, b.import_count);
    caches_free(b.export, b.export_count);
    return r;
}
