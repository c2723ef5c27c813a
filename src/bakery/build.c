#include "bakery/attest.h"

#include "bakery/check.h"
#include "bakery/preprocess.h"

#include "base/base64.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/timeutil.h"
#include "image/image_ref.h"

#include <fcntl.h>
#include <unistd.h>

char *build__work_path(struct builder *b)
{
    return str_printf("%s/%u", b->work_dir, atomic_fetch_add(&b->work_count, 1));
}

static int open_context(struct builder *b, struct err *err)
{
    if (b->o->context && context_tree(b->o->context))
        return 0;
    b->context_fd = open(b->o->context_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return b->context_fd < 0 ? err_sys(err, errno, "build context %s", b->o->context_dir) : 0;
}

/* A file of the context; ERR_NOT_FOUND when it is not there. FIFOs and the like do not block us. */
static int read_context_file(struct builder *b, const char *path, size_t max, struct str *ret,
                             struct err *err)
{
    if (b->o->context)
        return context_read(b->o->context, path, max, ret, err);
    _cleanup_close_ int fd = file_open_in_root(b->context_fd, path, O_RDONLY | O_NONBLOCK, 0, err);
    if (fd < 0)
        return fd;
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "%s is not a regular file", path);
    int r = file_read_fd(fd, max, ret, err);
    return r < 0 ? err_wrap(err, "%s", path) : 0;
}

/* More ".." than names before them. */
static bool leads_out(const char *path)
{
    _cleanup_strv_ char **parts = strv_split(path, '/');
    int depth = 0;
    STRV_FOREACH (part, parts) {
        depth += str_eq(*part, "..") ? -1 : **part && !str_eq(*part, ".");
        if (depth < 0)
            return true;
    }
    return false;
}

static int read_included(void *context, const char *path, struct str *ret, struct err *err)
{
    return read_context_file(context, path, DOCKERFILE_MAX_BYTES, ret, err);
}

/* A file in Drover's own language becomes a plain one first. */
static int parse_dockerfile(struct builder *b, const char *text, size_t n, const char *name, struct err *err)
{
    const struct bakery_attest *attest = b->o->attest;
    if (attest && attest->provenance && attest->max)
        b->source_text = base64_encode(text, n);
    if (!preprocess_wanted(text, n))
        return dockerfile_parse(text, n, name, &b->file, err);
    const struct preprocess_options o = {.name = name,
                                         .build_args = b->o->build_args,
                                         .target_platform = &b->target_platform,
                                         .build_platform = &b->build_platform,
                                         .read = read_included,
                                         .context = b};
    struct df_text plain;
    int r = preprocess(text, n, &o, &plain, err);
    if (r < 0)
        return r;
    r = dockerfile_parse_text(&plain, name, &b->file, err);
    df_text_done(&plain);
    return r;
}

static int read_dockerfile(struct builder *b, struct err *err)
{
    const char *name = b->o->dockerfile ? b->o->dockerfile : "Dockerfile";
    if (b->o->dockerfile_text)
        return parse_dockerfile(b, b->o->dockerfile_text, strlen(b->o->dockerfile_text), name, err);
    if (leads_out(name))
        return err_set(err, ERR_INVALID, "forbidden path outside the build context: %s", name);
    _cleanup_str_ struct str text = STR_INIT;
    int r = read_context_file(b, name, DOCKERFILE_MAX_BYTES, &text, err);
    if (r == -ERR_NOT_FOUND && strcmp(name, "Dockerfile") == 0)
        r = read_context_file(b, "dockerfile", DOCKERFILE_MAX_BYTES, &text, err);
    if (r == -ERR_NOT_FOUND)
        return err_set(err, ERR_INVALID, "Cannot locate specified Dockerfile: %s is not in the build context",
                       name);
    if (r == 0 && text.len == 0)
        r = err_set(err, ERR_INVALID, "the Dockerfile (%s) cannot be empty", name);
    return r < 0 ? r : parse_dockerfile(b, str_get(&text), text.len, name, err);
}

/* <Dockerfile's name>.dockerignore goes before .dockerignore. */
static int read_ignore(struct builder *b, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_free_ char *own =
        str_printf("%s.dockerignore", b->o->dockerfile ? b->o->dockerfile : "Dockerfile");
    int r = read_context_file(b, own, IGNORE_MAX_BYTES, &text, err);
    if (r == -ERR_NOT_FOUND)
        r = read_context_file(b, ".dockerignore", IGNORE_MAX_BYTES, &text, err);
    if (r == -ERR_NOT_FOUND)
        return 0;
    return r < 0 ? r : ignore_parse(str_get(&text), text.len, &b->ignore, err);
}

/* "# check=error=true" makes the first warning a failure. */
static int run_checks(struct builder *b, struct err *err)
{
    check_take_argument(&b->file, b->o->build_args);
    if (!b->file.check)
        return 0;
    struct check_result result = {0};
    int r = check_dockerfile(&b->file, b->ignore, &result, err);
    if (r == 0 && result.error && result.count)
        r = err_set(err, ERR_INVALID, "%s:%d: %s: %s", result.list[0].file, result.list[0].line,
                    result.list[0].rule, result.list[0].text);
    check_result_done(&result);
    return r;
}

static int make_work_dir(struct builder *b, struct err *err)
{
    int r = file_mkdirs(b->o->scratch_dir, 0700, err);
    if (r < 0)
        return r;
    char *path = str_printf("%s/build-XXXXXX", b->o->scratch_dir);
    if (!mkdtemp(path)) {
        r = err_sys(err, errno, "make %s", path);
        free(path);
        return r;
    }
    b->work_dir = path;
    return 0;
}

/* Arguments that every build may be given without an ARG for them. */
static bool predefined(const char *name)
{
    static const char *const names[] = {"HTTP_PROXY", "http_proxy", "HTTPS_PROXY",      "https_proxy",
                                        "FTP_PROXY",  "ftp_proxy",  "NO_PROXY",         "no_proxy",
                                        "ALL_PROXY",  "all_proxy",  "SOURCE_DATE_EPOCH"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (str_eq(names[i], name))
            return true;
    return str_after(name, "BUILDKIT_") != NULL;
}

static int warn_unused_args(struct builder *b)
{
    _cleanup_str_ struct str unused = STR_INIT;
    STRV_FOREACH (arg, (char **)b->o->build_args) {
        _cleanup_free_ char *name = mem_strndup(*arg, strcspn(*arg, "="));
        if (!map_has(&b->used_args, name) && !predefined(name))
            str_addf(&unused, "%s%s", unused.len ? " " : "", name);
    }
    if (!unused.len)
        return 0;
    return build__say(b, NULL, "[Warning] One or more build-args [%s] were not consumed\n", str_get(&unused));
}

/* The build checks' warnings, the first of them. */
static void tell_warnings(struct builder *b)
{
    enum { WARNINGS_TOLD = 20 };
    struct check_result result = {0};
    if (check_dockerfile(&b->file, b->ignore, &result, NULL) < 0)
        return;
    for (size_t i = 0; i < MIN(result.count, (size_t)WARNINGS_TOLD); i++)
        build__note(b, NULL, "[Warning] %s:%d: %s: %s", result.list[i].file, result.list[i].line,
                    result.list[i].rule, result.list[i].text);
    if (result.count > WARNINGS_TOLD)
        build__note(b, NULL, "[Warning] and %zu more: drover build --check tells them",
                    result.count - WARNINGS_TOLD);
    check_result_done(&result);
}

static int tag(struct builder *b, const char *id, char *const *names, struct err *err)
{
    STRV_FOREACH (name, (char **)names) {
        int r = image_tag(b->im, id, *name, err);
        FAILPOINT("build-image-tagged");
        if (r < 0)
            return err_wrap(err, "tag %s", *name);
        _cleanup_ref_ struct image_ref ref = {0};
        r = image_ref_parse(*name, &ref, err);
        if (r < 0)
            return r;
        _cleanup_free_ char *familiar = image_ref_familiar(&ref);
        if (build__say(b, NULL, "Successfully tagged %s\n", familiar) < 0)
            return err_set(err, ERR_CANCELLED, "build cancelled");
    }
    return 0;
}

static int check_tags(const struct bakery_options *o, struct err *err)
{
    STRV_FOREACH (name, (char **)o->tags) {
        _cleanup_ref_ struct image_ref ref = {0};
        int r = image_ref_parse(*name, &ref, err);
        if (r < 0)
            return r;
        if (ref.digest)
            return err_set(err, ERR_INVALID, "tag %s: a build's name cannot have a digest", *name);
    }
    return 0;
}

/* What each image named as a source stands on, as far as it was built here. A name that is not here gives
 * none. */
static void read_cache_sources(struct builder *b)
{
    b->cache_limited = b->o->cache_from != NULL;
    STRV_FOREACH (name, (char **)b->o->cache_from) {
        _cleanup_free_ char *id = mem_strdup(*name);
        struct image_info info;
        while (id && image_get(b->im, id, &info, NULL) == 0) {
            map_put(&b->cache_sources, info.id, b);
            free(id);
            id = mem_strdup(info.parent_id);
            image_info_done(&info);
        }
    }
}

/* https://reproducible-builds.org/specs/source-date-epoch/ */
static int read_epoch(struct builder *b, struct err *err)
{
    STRV_FOREACH (arg, (char **)b->o->build_args) {
        const char *text = str_after(*arg, "SOURCE_DATE_EPOCH=");
        if (text && *text && parse_i64(text, 0, INT64_MAX / NS_PER_S, &b->epoch, NULL) < 0)
            return err_set(err, ERR_INVALID,
                           "SOURCE_DATE_EPOCH=%.50s: it must be seconds since the beginning of 1970", text);
    }
    return 0;
}

static int prepare(struct builder *b, struct err *err)
{
    int r = check_tags(b->o, err);
    if (r == 0)
        r = read_epoch(b, err);
    if (r == 0)
        r = open_context(b, err);
    if (r == 0)
        r = build__platforms(b, err);
    if (r == 0)
        r = read_dockerfile(b, err);
    if (r == 0)
        r = read_ignore(b, err);
    if (r == 0)
        r = run_checks(b, err);
    if (r == 0)
        r = make_work_dir(b, err);
    if (r == 0)
        r = build__plan(b, err);
    if (r == 0) {
        read_cache_sources(b);
        build__import_begin(b);
    }
    return r;
}

/* What a TARGET names its images. */
static int tag_wanted(struct builder *b, struct err *err)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < b->wanted_count; i++) {
        const struct wanted *w = &b->wanted[i];
        char *const names[] = {(char *)w->tag, NULL};
        if (!b->stages[w->stage].image_id)
            return err_set(err, ERR_INVALID, "No image was generated for %s", w->name);
        if (w->tag)
            r = tag(b, b->stages[w->stage].image_id, names, err);
    }
    return r;
}

static int annotate(struct builder *b, const char *id, struct err *err)
{
    _cleanup_json_ json_t *all = b->o->annotations ? json_deep_copy(b->o->annotations) : json_object();
    int r = build__inline_cache(b, all, err);
    return r < 0 || !json_object_size(all) ? r : image_annotate(b->im, id, all, err);
}

static int finish(struct builder *b, char **ret_id, struct err *err)
{
    const char *id = b->stages[b->target].image_id;
    if (!id)
        return err_set(err, ERR_INVALID, "No image was generated. Is your Dockerfile empty?");
    int r = annotate(b, id, err);
    if (r < 0)
        return r;
    const char *hex = digest_hex(id);
    tell_warnings(b);
    if (warn_unused_args(b) < 0 || build__say(b, NULL, "Successfully built %.12s\n", hex) < 0)
        return err_set(err, ERR_CANCELLED, "build cancelled");
    r = tag(b, id, b->o->tags, err);
    if (r == 0)
        r = tag_wanted(b, err);
    if (r == 0)
        r = build__attest(b, id, err);
    if (r == 0)
        r = build__export(b, err);
    if (r == 0)
        *ret_id = mem_strdup(id);
    return r;
}

static int builder_done(struct builder *b, struct err *err)
{
    int r = b->work_dir ? file_remove_tree(b->work_dir, err) : 0;
    for (size_t i = 0; i < b->stage_count; i++) {
        free(b->stages[i].base);
        free(b->stages[i].image_id);
        str_free(&b->stages[i].held);
        build__forget_made(&b->stages[i]);
    }
    free(b->stages);
    free(b->wanted);
    map_done(&b->fetched);
    map_done(&b->fetching);
    build__import_done(b);
    pthread_mutex_destroy(&b->lock);
    pthread_cond_destroy(&b->changed);
    pthread_mutex_destroy(&b->args_lock);
    pthread_mutex_destroy(&b->fetch_lock);
    pthread_cond_destroy(&b->fetch_ended);
    pthread_mutex_destroy(&b->out_lock);
    platform_done(&b->target_platform);
    platform_done(&b->build_platform);
    map_done(&b->global_args);
    map_done(&b->used_args);
    map_done(&b->cache_sources);
    ignore_free(b->ignore);
    dockerfile_done(&b->file);
    json_decref(b->materials);
    free(b->source_text);
    close_fd(b->context_fd);
    free(b->work_dir);
    return r;
}

int bakery_build(struct images *im, const struct bakery_options *options, char **ret_image_id,
                 struct err *err)
{
    int exit_status = 0;
    struct builder b = {.im = im,
                        .o = options,
                        .exit_status = options->ret_exit_status ? options->ret_exit_status : &exit_status,
                        .context_fd = -EBADF,
                        .epoch = -1,
                        .began_ns = time_now_ns(),
                        .materials = options->attest && options->attest->provenance ? json_object() : NULL,
                        .failed_stage = -1,
                        .fetched = MAP_INIT(free),
                        .fetching = MAP_INIT(NULL),
                        .global_args = MAP_INIT(free),
                        .used_args = MAP_INIT(NULL),
                        .cache_sources = MAP_INIT(NULL)};
    pthread_mutex_init(&b.lock, NULL);
    pthread_cond_init(&b.changed, NULL);
    pthread_mutex_init(&b.args_lock, NULL);
    pthread_mutex_init(&b.fetch_lock, NULL);
    pthread_cond_init(&b.fetch_ended, NULL);
    pthread_mutex_init(&b.out_lock, NULL);
    int r = prepare(&b, err);
    if (r == 0)
        r = build__stages(&b, err);
    _cleanup_free_ char *id = NULL;
    if (r == 0)
        r = finish(&b, &id, err);
    int removed = builder_done(&b, r < 0 ? NULL : err);
    if (r < 0)
        return r;
    if (removed < 0)
        return err_wrap(err, "remove what the build left");
    *ret_image_id = take_ptr(id);
    return 0;
}
