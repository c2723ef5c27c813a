/* Images from and to registries: pull and push. What comes and goes as archives is in docker_archives.c. */
#include "api/api_priv.h"

#include "image/image_ref.h"

#define _cleanup_auth_ _cleanup_(api__auth_done)

/* The name without tag and digest, as events have it. */
static char *bare_name(const struct image_ref *ref)
{
    struct image_ref bare = {.domain = ref->domain, .path = ref->path};
    return image_ref_familiar(&bare);
}

static void publish(struct api *a, const char *action, const struct image_ref *ref)
{
    _cleanup_free_ char *full = image_ref_familiar(ref), *name = bare_name(ref);
    engine_image_event(a->engine, action, full, name);
}

/* What a registry's refusal is to a client of Docker: the request itself was right. */
static int as_docker(struct err *err)
{
    switch (err->code) {
    case ERR_UNAUTHORIZED:
    case ERR_UNAVAILABLE:
    case ERR_TIMEOUT:
    case ERR_PROTOCOL:
        err->code = ERR_SYSTEM;
        break;
    default:
        break;
    }
    return -err->code;
}

/* --- pull --- */

struct pull {
    struct api *api;
    const struct image_auth *auth;
    const char *platform;
    struct api_progress *progress;
    bool newer;
};

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
static int pull_one(struct pull *p, const char *reference, struct err *err)
{
    _cleanup_ref_ struct image_ref ref = {0};
    _cleanup_free_ char *id = NULL, *old_id = local_id(p->api, reference);
    int r = image_ref_parse(reference, &ref, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *first = str_printf("Pulling from %s", ref.path);
    json_t *opening = json_pack("{s:s, s:s}", "status", first, "id", ref.tag ? ref.tag : ref.digest);
    api__progress_open_with(p->progress, opening);
    struct image_progress report = api__progress_image(p->progress);
    r = image_pull(p->api->images, reference, p->platform, p->auth, &report, &id, err);
    p->newer = p->newer || !str_eq(old_id, id);
    return r;
}

/* A name without a tag stands for all that the repository has. */
static int pull_all(struct pull *p, const char *name, struct err *err)
{
    _cleanup_strv_ char **tags = NULL;
    int r = image_remote_tags(p->api->images, name, p->auth, &tags, err);
    STRV_FOREACH (tag, tags) {
        _cleanup_free_ char *reference = str_printf("%s:%s", name, *tag);
        if (r == 0)
            r = pull_one(p, reference, err);
    }
    return r;
}

static int pull(struct http_request *q, struct api *a, const char *name, struct api_progress *progress,
                struct err *err)
{
    _cleanup_auth_ struct api_auth auth = {0};
    _cleanup_ref_ struct image_ref ref = {0};
    _cleanup_free_ char *reference = NULL;
    const char *platform = http_query(q, "platform"), *tag = http_query(q, "tag");
    int r = api__auth_of_request(q, &auth, err);
    if (r == 0)
        r = api__join_reference(name, tag, &reference, err);
    if (r == 0)
        r = image_ref_parse(reference, &ref, err);
    if (r == 0 && !str_empty(platform))
        r = image_platform_check(platform, err);
    if (r < 0)
        return r;
    struct pull p = {a, &auth.auth, str_empty(platform) ? NULL : platform, progress, false};
    bool all = str_empty(tag) && image_ref_is_bare(name);
    if (all)
        free(take_ptr(ref.tag));
    _cleanup_free_ char *shown = image_ref_familiar(&ref);
    r = all ? pull_all(&p, shown, err) : pull_one(&p, reference, err);
    if (r < 0)
        return as_docker(err);
    publish(a, "pull", &ref);
    _cleanup_free_ char *line = str_printf(
        p.newer ? "Status: Downloaded newer image for %s" : "Status: Image is up to date for %s", shown);
    api__progress_status(progress, NULL, line);
    return 0;
}

int api_image_create(struct http_request *q, void *context, struct err *err)
{
    const char *from = http_query(q, "fromImage"), *source = http_query(q, "fromSrc");
    _cleanup_progress_ struct api_progress *p = api__progress_new(q, false);
    int r;
    if (!str_empty(from))
        r = pull(q, context, from, p, err);
    else if (!str_empty(source))
        r = api__image_import(q, context, source, p, err);
    else
        r = err_set(err, ERR_INVALID,
                    "nothing to pull or import: query parameter \"fromImage\" or \"fromSrc\"");
    return r < 0 ? api__progress_fail(p, err) : 0;
}

/* --- push --- */

/* All that the name stands for: an index where it was built for several platforms, unless one was asked for.
 */
static int push_all_platforms(struct api *a, const char *reference, const struct image_auth *auth,
                              struct api_progress *p, char **ret_digest, int64_t *ret_size, struct err *err)
{
    _cleanup_strv_ char **ids = NULL;
    int r = image_index_kept(a->images, reference, &ids, err);
    if (r < 0 || !ids) {
        struct image_progress report = api__progress_image(p);
        return r < 0 ? r : image_push(a->images, reference, auth, &report, ret_digest, ret_size, err);
    }
    STRV_FOREACH (id, ids) {
        struct image_info info;
        if (image_get(a->images, *id, &info, NULL) < 0)
            return err_set(err, ERR_NOT_FOUND,
                           "%s was built for several platforms, and the image %.19s of one of them is not "
                           "here any more: build it again, or push one platform",
                           reference, *id);
        _cleanup_free_ char *platform =
            str_printf("%s/%s", json_str(info.config, "os"), json_str(info.config, "architecture"));
        api__progress_status(p, platform, "Preparing");
        image_info_done(&info);
    }
    return image_index_push(a->images, ids, reference, auth, ret_digest, ret_size, err);
}

/* One tag of the repository. */
static int push_one(struct api *a, const char *reference, bool one_platform, const struct image_auth *auth,
                    struct api_progress *p, struct err *err)
{
    _cleanup_ref_ struct image_ref ref = {0};
    _cleanup_free_ char *digest = NULL;
    int64_t size = 0;
    int r = image_ref_parse(reference, &ref, err);
    if (r < 0)
        return r;
    struct image_progress report = api__progress_image(p);
    r = one_platform ? image_push(a->images, reference, auth, &report, &digest, &size, err)
                     : push_all_platforms(a, reference, auth, p, &digest, &size, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *last = str_printf("%s: digest: %s size: %lld", ref.tag, digest, (long long)size);
    api__progress_status(p, NULL, last);
    api__progress_send(p, json_pack("{s:{}, s:{s:s, s:s, s:I}}", "progressDetail", "aux", "Tag", ref.tag,
                                    "Digest", digest, "Size", (json_int_t)size));
    return 0;
}

/* Every tag this repository has here. */
static int all_tags(struct api *a, const struct image_ref *ref, char ***ret, struct err *err)
{
    struct image_info *list;
    size_t count;
    int r = image_list(a->images, &list, &count, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *repository = image_ref_repository(ref);
    char **found = NULL;
    for (size_t i = 0; i < count; i++)
        STRV_FOREACH (t, list[i].references) {
            const char *rest = str_after(*t, repository);
            if (rest && *rest == ':')
                strv_add(&found, *t);
        }
    image_list_free(list, count);
    *ret = found;
    return 0;
}

static int tags_to_push(struct api *a, const struct image_ref *ref, bool all, char ***ret, struct err *err)
{
    if (all) {
        int r = all_tags(a, ref, ret, err);
        if (r < 0 || *ret)
            return r;
        _cleanup_free_ char *name = bare_name(ref);
        return err_set(err, ERR_NOT_FOUND, "An image does not exist locally with the tag: %s", name);
    }
    if (ref->digest)
        return err_set(err, ERR_INVALID, "cannot push a digest reference");
    _cleanup_free_ char *reference = image_ref_familiar(ref), *id = local_id(a, reference);
    if (!id)
        return err_set(err, ERR_NOT_FOUND, "tag does not exist: %s", reference);
    strv_add(ret, reference);
    return 0;
}

static int check_platform(struct api *a, const char *reference, const json_t *platform, struct err *err)
{
    struct image_info info;
    int r = platform ? image_get(a->images, reference, &info, err) : 0;
    if (r < 0 || !platform)
        return r;
    r = api__platform_check(&info, reference, platform, err);
    image_info_done(&info);
    return r;
}

static int push(struct api *a, const struct image_ref *ref, bool all, const json_t *platform,
                const struct image_auth *auth, struct api_progress *p, struct err *err)
{
    _cleanup_free_ char *repository = image_ref_repository(ref);
    _cleanup_free_ char *first = str_printf("The push refers to repository [%s]", repository);
    _cleanup_strv_ char **references = NULL;
    api__progress_status(p, NULL, first);
    int r = tags_to_push(a, ref, all, &references, err);
    for (char **t = references; r == 0 && t && *t; t++)
        r = check_platform(a, *t, platform, err);
    for (char **t = references; r == 0 && t && *t; t++)
        r = push_one(a, *t, platform, auth, p, err);
    if (r == 0)
        publish(a, "push", ref);
    return r;
}

int api_image_push(struct http_request *q, void *context, struct err *err)
{
    const char *name = http_param(q, "name"), *tag = http_query(q, "tag");
    _cleanup_progress_ struct api_progress *p = api__progress_new(q, false);
    _cleanup_auth_ struct api_auth auth = {0};
    _cleanup_ref_ struct image_ref ref = {0};
    _cleanup_free_ char *reference = NULL;
    _cleanup_json_ json_t *platform = NULL;
    int r = api__auth_of_push(q, &auth, err);
    if (r == 0)
        r = api__platform_asked(q, 1046, &platform, err);
    if (r == 0)
        r = api__join_reference(name, tag, &reference, err);
    if (r == 0)
        r = image_ref_parse(reference, &ref, err);
    if (r < 0)
        return r;
    bool all = str_empty(tag) && image_ref_is_bare(name);
    if (all)
        free(take_ptr(ref.tag));
    r = push(context, &ref, all, platform, &auth.auth, p, err);
    return r < 0 ? api__progress_fail(p, err) : 0;
}
