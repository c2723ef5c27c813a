/* Images in and out as archives: import, load, save. */
#include "api/api_priv.h"

#include "bakery/fetch.h"
#include "image/image_ref.h"

#include <fcntl.h>
#include <unistd.h>

/* --- import --- */

struct import {
    struct api *api;
    const char *reference, *message, *platform;
    const json_t *config;
    char *id;
};

static int import_from(void *context, int fd, struct err *err)
{
    struct import *i = context;
    return image_import(i->api->images, fd, i->reference, i->config, i->message, i->platform, &i->id, err);
}

/* A source without a scheme is a web server's name. */
static int import_url(struct import *i, const char *source, struct api_progress *p, struct err *err)
{
    _cleanup_free_ char *url = strstr(source, "://") ? mem_strdup(source) : str_printf("http://%s", source);
    if (!fetch_is_url(url))
        return err_set(err, ERR_INVALID, "import from %.200s: only http and https are possible", url);
    _cleanup_free_ char *path = str_printf("%s/tmp/import-XXXXXX", engine_root(i->api->engine));
    if (!mkdtemp(path))
        return err_sys(err, errno, "make a directory for the download at %s", path);
    _cleanup_free_ char *file = str_printf("%s/archive", path),
                        *line = str_printf("Downloading from %s", url);
    int r = fetch_url(url, file, err);
    if (r < 0 && r != -ERR_NOT_FOUND && err) { /* the source's trouble, not the request's */
        err->code = ERR_SYSTEM;
        r = -ERR_SYSTEM;
    }
    if (r == 0)
        api__progress_status(p, NULL, line);
    _cleanup_close_ int fd = r == 0 ? open(file, O_RDONLY | O_CLOEXEC) : -EBADF;
    if (r == 0 && fd < 0)
        r = err_sys(err, errno, "open %s", file);
    unlink(file);
    rmdir(path);
    return r < 0 ? r : import_from(i, fd, err);
}

int api__image_import(struct http_request *q, struct api *a, const char *source, struct api_progress *p,
                      struct err *err)
{
    const char *repo = http_query(q, "repo"), *platform = http_query(q, "platform"),
               *message = http_query(q, "message");
    _cleanup_free_ char *reference = NULL, *comment = NULL;
    _cleanup_json_ json_t *config = NULL;
    int r = str_empty(repo) ? 0 : api__join_reference(repo, http_query(q, "tag"), &reference, err);
    if (r == 0 && !str_empty(platform))
        r = image_platform_check(platform, err);
    if (r == 0)
        r = api__apply_changes(q, &config, err);
    if (r < 0)
        return r;
    comment = str_empty(message) ? str_printf("Imported from %s", source) : mem_strdup(message);
    struct import i = {a, reference, comment, platform, config, NULL};
    r = str_eq(source, "-") ? api__stream_in(q, import_from, &i, err) : import_url(&i, source, p, err);
    if (r < 0)
        return r;
    engine_image_event(a->engine, "import", i.id, i.id);
    api__progress_status(p, NULL, i.id);
    free(i.id);
    return 0;
}

/* --- load --- */

struct load {
    struct api *api;
    struct api_progress *progress;
    const char *platform; /* NULL: any */
    char **loaded;
};

/* Docker calls all of it loading. */
static int report(void *context, const char *layer, const char *phase, int64_t current, int64_t total)
{
    struct load *l = context;
    struct image_progress to = api__progress_image(l->progress);
    bool shown = *layer && str_eq(phase, "Extracting");
    return to.report(to.context, shown ? layer : "", shown ? "Loading layer" : NULL, current, total);
}

static int load_from(void *context, int fd, struct err *err)
{
    struct load *l = context;
    struct image_progress progress = {.context = l, .report = report};
    return image_load(l->api->images, fd, l->platform, &progress, &l->loaded, err);
}

/* "Loaded image: name" and "Loaded image ID: id" are also events of the image. */
static void tell_loaded(struct load *l, const char *line, char ***told)
{
    json_t *m = json_object();
    _cleanup_free_ char *text = str_printf("%s\n", line);
    json_set_str(m, "stream", text);
    api__progress_send(l->progress, m);
    const char *name = str_after(line, "Loaded image: ");
    name = name ? name : str_after(line, "Loaded image ID: ");
    struct image_info info;
    if (!name || image_get(l->api->images, name, &info, NULL) < 0)
        return;
    if (!strv_has(*told, info.id)) {
        strv_add(told, info.id);
        engine_image_event(l->api->engine, "load", info.id, info.id);
    }
    image_info_done(&info);
}

/* Whatever happens the status is 200, and a failure stands in the stream, where clients look for it. */
int api_image_load(struct http_request *q, void *context, struct err *err)
{
    _cleanup_progress_ struct api_progress *p = api__progress_new(q, http_query_bool(q, "quiet", false));
    _cleanup_strv_ char **told = NULL;
    _cleanup_json_ json_t *platform = NULL;
    int r = api__platform_asked(q, 1048, &platform, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *text = platform ? api__platform_text(platform) : NULL;
    struct load l = {.api = context, .progress = p, .platform = text};
    r = api__stream_in(q, load_from, &l, err);
    STRV_FOREACH (line, l.loaded)
        tell_loaded(&l, *line, &told);
    strv_free(l.loaded);
    api__progress_end(p);
    return r < 0 ? api__progress_fail(p, err) : 0;
}

/* --- save --- */

struct save {
    struct api *api;
    char **names;
    char ***ids;
};

static int save_to(void *context, int fd, struct err *err)
{
    struct save *s = context;
    return image_save(s->api->images, s->names, fd, s->ids, err);
}

/* Names come one a parameter, or with commas between them. */
static char **names_to_save(struct http_request *q)
{
    char **names = NULL;
    if (!str_after(http_path(q), "/images/get")) {
        strv_add(&names, http_param(q, "name"));
        return names;
    }
    _cleanup_strv_ char **given = http_query_all(q, "names");
    STRV_FOREACH (g, given) {
        _cleanup_strv_ char **parts = strv_split(*g, ',');
        STRV_FOREACH (part, parts)
            if (**part)
                strv_add(&names, *part);
    }
    return names;
}

/* Before the answer begins. */
static int check_saved(struct http_request *q, struct api *a, char **names, struct err *err)
{
    _cleanup_json_ json_t *platform = NULL;
    int r = api__platform_asked(q, 1048, &platform, err);
    for (char **name = names; r == 0 && platform && *name; name++) {
        struct image_info info;
        r = image_get(a->images, *name, &info, err);
        if (r < 0)
            break;
        r = api__platform_check(&info, *name, platform, err);
        image_info_done(&info);
    }
    return r;
}

int api_image_save(struct http_request *q, void *context, struct err *err)
{
    _cleanup_strv_ char **names = names_to_save(q), **ids = NULL;
    if (!names)
        return err_set(err, ERR_INVALID, "no images were named: query parameter \"names\"");
    struct save s = {context, names, &ids};
    int r = check_saved(q, context, names, err);
    if (r == 0)
        r = api__stream_out(q, "application/x-tar", save_to, &s, err);
    if (r < 0)
        return r;
    STRV_FOREACH (id, ids)
        engine_image_event(s.api->engine, "save", *id, *id);
    return 0;
}
