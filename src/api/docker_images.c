/* Images: what is asked and answered at once. Transfers are in docker_transfer.c. */
#include "api/api_priv.h"
#include "api/image_filter.h"

#include "base/map.h"
#include "base/timeutil.h"
#include "image/image_ref.h"

struct image_set {
    struct image_info *list;
    size_t count;
};

static void image_set_done(struct image_set *s)
{
    image_list_free(s->list, s->count);
}
#define _cleanup_image_set_ _cleanup_(image_set_done)
#define _cleanup_filter_    _cleanup_(image_filter_free_p)

/* What of the images is listed, at the beginning of the set. */
static void take_listed(struct image_set *s, const struct image_filter *filter, bool all)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->count; i++) {
        if (image_filter_takes(filter, &s->list[i], all))
            s->list[kept++] = s->list[i];
        else
            image_info_done(&s->list[i]);
    }
    s->count = kept;
}

/* How the oldest clients ask for a name. */
static void add_old_filter(struct http_request *q, json_t **filters)
{
    const char *name = http_query(q, "filter");
    if (api__version(q) >= 1041 || str_empty(name))
        return;
    if (!*filters)
        *filters = json_object();
    json_object_set_new(*filters, "reference", json_pack("[s]", name));
}

int api_image_list(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_json_ json_t *filters = NULL;
    _cleanup_image_set_ struct image_set images = {0};
    _cleanup_filter_ struct image_filter *filter = NULL;
    _cleanup_free_ int64_t *shared = NULL;
    int r = api__filters(q, &filters, err);
    if (r == 0)
        add_old_filter(q, &filters);
    if (r == 0)
        r = image_list(a->images, &images.list, &images.count, err);
    if (r == 0)
        r = image_filter_new(a->images, filters, images.list, images.count, &filter, err);
    if (r < 0)
        return r;
    take_listed(&images, filter, http_query_bool(q, "all", false));
    if (http_query_bool(q, "shared-size", false))
        r = image_shared_sizes(a->images, images.list, images.count, &shared, err);
    _cleanup_(map_done) struct map users = MAP_INIT(NULL);
    bool count_users = api__version(q) >= 1051;
    if (r == 0 && count_users)
        r = api__count_image_users(a, &users, err);
    if (r < 0)
        return r;
    json_t *out = json_array();
    for (size_t i = 0; i < images.count; i++) {
        const struct image_info *info = &images.list[i];
        _cleanup_strv_ char **tags = image_filter_names(filter, info->references);
        _cleanup_strv_ char **digests = image_filter_names(filter, info->digests);
        json_t *summary = api__image_summary(info, tags, digests, api__version(q));
        if (shared)
            json_object_set_new(summary, "SharedSize", json_integer(shared[i]));
        if (count_users)
            json_object_set_new(summary, "Containers", json_integer((intptr_t)map_get(&users, info->id)));
        json_array_append_new(out, summary);
    }
    http_reply_json(q, 200, out);
    return 0;
}

int api_image_inspect(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    struct image_info info;
    if (api__version(q) >= 1049 && !str_empty(http_query(q, "platform")) &&
        http_query_bool(q, "manifests", false))
        return err_set(err, ERR_INVALID,
                       "conflicting options: manifests and platform options cannot both be set");
    int r = api__image_of(q, a, 1049, &info, err);
    if (r < 0)
        return r;
    http_reply_json(q, 200, api__image_inspect(a->images, &info, api__shown_version(q)));
    image_info_done(&info);
    return 0;
}

static json_t *history_entry(const json_t *step, const char *id, int64_t size, json_t *tags)
{
    int64_t created = 0;
    const char *when = json_str(step, "created");
    if (!str_empty(when))
        time_parse_rfc3339(when, &created, NULL);
    json_t *e = json_object();
    json_object_set_new(e, "Comment", json_string(json_str(step, "comment")));
    json_object_set_new(e, "Created", json_integer(created / NS_PER_S));
    json_object_set_new(e, "CreatedBy", json_string(json_str(step, "created_by")));
    json_set_str(e, "Id", id);
    json_object_set_new(e, "Size", json_integer(size));
    json_object_set_new(e, "Tags", tags);
    return e;
}

/* Newest first. An older step's image is only known when this machine built it, and is then the parent of the
 * step after it; Docker writes <missing> for the others. */
static json_t *history(struct images *im, const struct image_info *info, const int64_t *sizes,
                       size_t size_count)
{
    json_t *steps = json_object_get(info->config, "history"), *step;
    json_t *out = json_array();
    size_t i, layer = 0;
    json_array_foreach (steps, i, step) {
        bool empty = json_bool(step, "empty_layer");
        int64_t size = !empty && layer < size_count ? sizes[layer] : 0;
        layer += !empty;
        json_array_insert_new(out, 0, history_entry(step, "<missing>", size, json_null()));
    }
    _cleanup_free_ char *id = mem_strdup(info->id);
    for (i = 0; id && i < json_array_size(out); i++) {
        struct image_info at;
        if (image_get(im, id, &at, NULL) < 0)
            break;
        json_t *entry = json_array_get(out, i);
        json_set_str(entry, "Id", at.id);
        if (at.references && at.references[0])
            json_object_set_new(entry, "Tags", api__familiar_list(at.references));
        free(id);
        id = mem_strdup(at.parent_id);
        image_info_done(&at);
    }
    return out;
}

int api_image_history(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    struct image_info info;
    _cleanup_free_ int64_t *sizes = NULL;
    size_t count = 0;
    int r = api__image_of(q, a, 1048, &info, err);
    if (r < 0)
        return r;
    r = image_layer_sizes(a->images, info.id, &sizes, &count, err);
    if (r == 0)
        http_reply_json(q, 200, history(a->images, &info, sizes, count));
    image_info_done(&info);
    return r;
}

int api_image_tag(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_free_ char *reference = NULL;
    struct image_info info;
    int r = api__join_reference(http_query(q, "repo"), http_query(q, "tag"), &reference, err);
    if (r == 0)
        r = image_tag(a->images, http_param(q, "name"), reference, err);
    if (r == 0)
        r = image_get(a->images, reference, &info, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *familiar = image_ref_familiar_text(reference);
    engine_image_event(a->engine, "tag", info.id, familiar);
    image_info_done(&info);
    http_reply_empty(q, 201);
    return 0;
}

/* Of an image that is of one platform, only that can be removed. */
static int check_removal(struct http_request *q, struct api *a, struct err *err)
{
    _cleanup_json_ json_t *platforms = NULL;
    const json_t *platform;
    struct image_info info;
    size_t i;
    int r = api__platforms_asked(q, 1050, &platforms, err);
    if (r < 0 || !platforms)
        return r;
    r = image_get(a->images, http_param(q, "name"), &info, err);
    if (r < 0)
        return r;
    json_array_foreach (platforms, i, platform)
        if (r == 0)
            r = api__platform_check(&info, http_param(q, "name"), platform, err);
    image_info_done(&info);
    return r;
}

int api_image_remove(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    json_t *log = NULL;
    int r = check_removal(q, a, err);
    if (r == 0)
        r = engine_image_remove(a->engine, http_param(q, "name"), http_query_bool(q, "force", false),
                                http_query_bool(q, "noprune", false), &log, NULL, err);
    if (r == 0)
        http_reply_json(q, 200, log);
    return r;
}

/* --- prune --- */

static int used_ids(struct api *a, struct map *ids, struct err *err)
{
    _cleanup_json_ json_t *containers = NULL;
    json_t *c;
    size_t i;
    int r = engine_container_list(a->engine, true, 0, false, NULL, &containers, err);
    if (r < 0)
        return r;
    json_array_foreach (containers, i, c)
        map_put(ids, json_str(c, "ImageID"), ids);
    engine_images_mounted(a->engine, ids);
    return 0;
}

/* All names, then the image itself; what has come into use meanwhile stays. */
static void prune_one(struct api *a, const struct image_info *info, json_t *deleted, int64_t *freed)
{
    _cleanup_strv_ char **names = strv_len(info->references) ? strv_dup(info->references) : NULL;
    if (!names)
        strv_add(&names, info->id);
    STRV_FOREACH (n, names) {
        _cleanup_json_ json_t *log = NULL;
        if (engine_image_remove(a->engine, *n, false, false, &log, freed, NULL) == 0)
            json_array_extend(deleted, log);
    }
}

static int prune(struct api *a, json_t *filters, json_t **ret, struct err *err)
{
    static const char *const known[] = {"dangling", "label", "label!", "until", NULL};
    _cleanup_image_set_ struct image_set images = {0};
    _cleanup_filter_ struct image_filter *filter = NULL;
    _cleanup_(map_done) struct map used = MAP_INIT(NULL);
    int64_t freed = 0;
    /* "dangling" chooses between nameless images only (the default) and all that no container uses. */
    bool only_dangling = true;
    int r = api__filters_known(filters, known, err);
    if (r == 0)
        r = api__filter_bool(filters, "dangling", &only_dangling, err);
    json_object_del(filters, "dangling");
    if (r == 0)
        r = image_list(a->images, &images.list, &images.count, err);
    if (r == 0)
        r = image_filter_new(a->images, filters, images.list, images.count, &filter, err);
    if (r == 0)
        r = used_ids(a, &used, err);
    if (r < 0)
        return r;
    _cleanup_json_ json_t *deleted = json_array();
    for (size_t i = 0; i < images.count; i++) {
        const struct image_info *info = &images.list[i];
        /* The images for other platforms that a name stands for have no name of their own. */
        if (!map_has(&used, info->id) && !(only_dangling && image_index_has(a->images, info->id)) &&
            image_filter_takes(filter, info, false) &&
            (!only_dangling || image_filter_dangling(filter, info)))
            prune_one(a, info, deleted, &freed);
    }
    *ret = json_pack("{s:O, s:I}", "ImagesDeleted", json_array_size(deleted) ? deleted : json_null(),
                     "SpaceReclaimed", (json_int_t)freed);
    return 0;
}

void api__tell_pruned(struct api *a, const char *type, int64_t reclaimed)
{
    _cleanup_json_ json_t *attributes = json_object();
    _cleanup_free_ char *bytes = str_printf("%lld", (long long)reclaimed);
    json_set_str(attributes, "reclaimed", bytes);
    engine_event(a->engine, type, "prune", "", attributes);
}

int api_image_prune(struct http_request *q, void *context, struct err *err)
{
    _cleanup_json_ json_t *filters = NULL;
    json_t *out = NULL;
    int r = api__filters(q, &filters, err);
    if (r == 0)
        r = prune(context, filters, &out, err);
    if (r < 0)
        return r;
    api__tell_pruned(context, "image", json_int(out, "SpaceReclaimed"));
    http_reply_json(q, 200, out);
    return 0;
}

int api_distribution(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_(api__auth_done) struct api_auth auth = {0};
    json_t *out = NULL;
    int r = api__auth_of_request(q, &auth, err);
    if (r == 0)
        r = image_remote_descriptor(a->images, http_param(q, "name"), &auth.auth, &out, err);
    if (r == 0)
        http_reply_json(q, 200, out);
    return r;
}
