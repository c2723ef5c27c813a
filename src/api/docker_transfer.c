/* Images in and out: pull, import, push, load, save. */
#include "api/api_priv.h"

#include "image/image_ref.h"

#define _cleanup_progress_ _cleanup_(progress_free_p)
#define _cleanup_auth_     _cleanup_(api__auth_done)

static void progress_free_p(struct api_progress **p)
{
    api__progress_free(*p);
}

static void publish(struct api *a, const char *action, const char *name)
{
    _cleanup_json_ json_t *attributes = json_object();
    json_set_str(attributes, "name", name);
    engine_event(a->engine, "image", action, name, attributes);
}

/* "repo" and "tag" (which may be a digest) as clients send them apart. */
static char *join_reference(const char *name, const char *tag)
{
    if (str_empty(tag))
        return mem_strdup(name);
    return str_printf(strchr(tag, ':') ? "%s@%s" : "%s:%s", name, tag);
}

/* --- pull --- */

/* The id of what `reference` names, or NULL; the caller frees. */
static char *local_id(struct api *a, const char *reference)
{
    struct image_info info;
    if (image_get(a->images, reference, &info, NULL) < 0)
        return NULL;
    char *id = mem_strdup(info.id);
    image_info_done(&info);
    return id;
}

/* image_pull itself reports "Digest: ...". */
static int pull(struct http_request *q, struct api *a, const char *reference, struct api_progress *p,
                struct err *err)
{
    _cleanup_auth_ struct api_auth auth = {0};
    _cleanup_ref_ struct image_ref ref = {0};
    _cleanup_free_ char *id = NULL, *old_id = NULL, *shown = NULL;
    const char *platform = http_query(q, "platform");
    int r = api__auth_of_request(q, &auth, err);
    if (r == 0)
        r = image_ref_parse(reference, &ref, err);
    if (r < 0)
        return r;
    old_id = local_id(a, reference);
    _cleanup_free_ char *first = str_printf("Pulling from %s", ref.path);
    api__progress_open_with(p,
                            json_pack("{s:s, s:s}", "status", first, "id", ref.tag ? ref.tag : ref.digest));
    struct image_progress report = api__progress_image(p);
    r = image_pull(a->images, reference, str_empty(platform) ? NULL : platform, &auth.auth, &report, &id,
                   err);
    if (r < 0)
        return r;
    shown = image_ref_familiar(&ref);
    publish(a, "pull", shown);
    _cleanup_free_ char *line = str_eq(old_id, id)
                                    ? str_printf("Status: Image is up to date for %s", shown)
                                    : str_printf("Status: Downloaded newer image for %s", shown);
    api__progress_status(p, NULL, line);
    return 0;
}

/* --- import --- */

struct import {
    struct api *api;
    const char *reference, *message;
    const json_t *config;
    char *id;
};

static int import_from(void *context, int fd, struct err *err)
{
    struct import *i = context;
    return image_import(i->api->images, fd, i->reference, i->config, i->message, &i->id, err);
}

static int import(struct http_request *q, struct api *a, const char *source, struct api_progress *p,
                  struct err *err)
{
    if (!str_eq(source, "-"))
        return err_set(err, ERR_UNSUPPORTED,
                       "importing from a URL (%s) is not supported by Drover: fetch it and use -", source);
    const char *repo = http_query(q, "repo");
    _cleanup_free_ char *reference = str_empty(repo) ? NULL : join_reference(repo, http_query(q, "tag"));
    _cleanup_json_ json_t *config = NULL;
    int r = api__apply_changes(q, &config, err);
    if (r < 0)
        return r;
    struct import i = {a, reference, http_query(q, "message"), config, NULL};
    r = api__stream_in(q, import_from, &i, err);
    if (r < 0)
        return r;
    publish(a, "import", reference ? reference : i.id);
    api__progress_status(p, NULL, i.id);
    free(i.id);
    return 0;
}

int api_image_create(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    const char *from = http_query(q, "fromImage"), *source = http_query(q, "fromSrc");
    _cleanup_progress_ struct api_progress *p = api__progress_new(q, false);
    int r;
    if (!str_empty(from)) {
        /* Without a tag Docker pulls every one there is; here it is "latest", as everywhere else. */
        _cleanup_free_ char *reference = join_reference(from, http_query(q, "tag"));
        r = pull(q, a, reference, p, err);
    } else if (!str_empty(source)) {
        r = import(q, a, source, p, err);
    } else {
        r = err_set(err, ERR_INVALID,
                    "nothing to pull or import: query parameter \"fromImage\" or \"fromSrc\"");
    }
    return r < 0 ? api__progress_fail(p, err) : 0;
}

/* --- push --- */

/* One tag of the repository. */
static int push_one(struct api *a, const char *reference, const struct image_auth *auth,
                    struct api_progress *p, struct err *err)
{
    _cleanup_ref_ struct image_ref ref = {0};
    _cleanup_free_ char *digest = NULL, *repository = NULL;
    int64_t size = 0;
    int r = image_ref_parse(reference, &ref, err);
    if (r < 0)
        return r;
    repository = image_ref_repository(&ref);
    _cleanup_free_ char *first = str_printf("The push refers to repository [%s]", repository);
    struct image_progress report = api__progress_image(p);
    api__progress_status(p, NULL, first);
    r = image_push(a->images, reference, auth, &report, &digest, &size, err);
    if (r < 0)
        return r;
    publish(a, "push", reference);
    const char *tag = ref.tag ? ref.tag : ref.digest;
    _cleanup_free_ char *last = str_printf("%s: digest: %s size: %lld", tag, digest, (long long)size);
    api__progress_status(p, NULL, last);
    api__progress_send(p, json_pack("{s:{}, s:{s:s, s:s, s:I}}", "progressDetail", "aux", "Tag", tag,
                                    "Digest", digest, "Size", (json_int_t)size));
    return 0;
}

/* Every tag this repository has here. */
static int all_tags(struct api *a, const char *name, char ***ret, struct err *err)
{
    _cleanup_ref_ struct image_ref ref = {0};
    struct image_info *list;
    size_t count;
    int r = image_ref_parse(name, &ref, err);
    if (r == 0)
        r = image_list(a->images, &list, &count, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *repository = image_ref_repository(&ref);
    char **found = NULL;
    for (size_t i = 0; i < count; i++)
        STRV_FOREACH (t, list[i].references) {
            const char *rest = str_after(*t, repository);
            if (rest && *rest == ':')
                strv_add(&found, *t);
        }
    image_list_free(list, count);
    if (!found)
        return err_set(err, ERR_NOT_FOUND, "An image does not exist locally with the tag: %s", name);
    *ret = found;
    return 0;
}

int api_image_push(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    const char *name = http_param(q, "name"), *tag = http_query(q, "tag");
    _cleanup_progress_ struct api_progress *p = api__progress_new(q, false);
    _cleanup_auth_ struct api_auth auth = {0};
    _cleanup_strv_ char **references = NULL;
    int r = api__auth_of_request(q, &auth, err);
    if (r < 0)
        return r;
    if (str_empty(tag)) {
        r = all_tags(a, name, &references, err);
    } else {
        strv_take(&references, join_reference(name, tag));
        struct image_info info;
        r = image_get(a->images, references[0], &info, err);
        if (r == 0)
            image_info_done(&info);
        else
            r = err_wrap(err, "An image does not exist locally with the tag: %s", name);
    }
    if (r < 0)
        return r;
    for (char **ref = references; r == 0 && *ref; ref++)
        r = push_one(a, *ref, &auth.auth, p, err);
    return r < 0 ? api__progress_fail(p, err) : 0;
}

/* --- load and save --- */

struct load {
    struct api *api;
    struct image_progress report;
    char **loaded;
};

static int load_from(void *context, int fd, struct err *err)
{
    struct load *l = context;
    return image_load(l->api->images, fd, &l->report, &l->loaded, err);
}

int api_image_load(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_progress_ struct api_progress *p = api__progress_new(q, http_query_bool(q, "quiet", false));
    struct load l = {.api = a, .report = api__progress_image(p)};
    int r = api__stream_in(q, load_from, &l, err);
    if (r < 0)
        return api__progress_fail(p, err);
    STRV_FOREACH (name, l.loaded) {
        json_t *m = json_object();
        _cleanup_free_ char *line = str_printf("%s\n", *name);
        json_set_str(m, "stream", line);
        api__progress_send(p, m);
        publish(a, "load", *name);
    }
    strv_free(l.loaded);
    api__progress_end(p);
    return 0;
}

struct save {
    struct api *api;
    char **names;
};

static int save_to(void *context, int fd, struct err *err)
{
    struct save *s = context;
    return image_save(s->api->images, s->names, fd, err);
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

int api_image_save(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_strv_ char **names = names_to_save(q);
    if (!names)
        return err_set(err, ERR_INVALID, "no images were named: query parameter \"names\"");
    STRV_FOREACH (n, names) {
        struct image_info info;
        int r = image_get(a->images, *n, &info, err);
        if (r < 0)
            return r;
        image_info_done(&info);
    }
    struct save s = {a, names};
    return api__stream_out(q, "application/x-tar", save_to, &s, err);
}
