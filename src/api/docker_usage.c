/* What takes how much room, and the build cache, which is part of it. */
#include "api/build_limit.h"

#include "base/map.h"
#include "base/timeutil.h"

#include <sys/statfs.h>

/* --- the build cache --- */

struct records {
    struct image_cache_record *list;
    size_t count;
};

static void records_done(struct records *r)
{
    image_cache_list_free(r->list, r->count);
}
#define _cleanup_records_ _cleanup_(records_done)

static int read_records(struct api *a, struct records *ret, struct err *err)
{
    return image_cache_list(a->images, &ret->list, &ret->count, err);
}

/* An image that something stands on cannot go: only builds can stop to use it. */
static bool in_use(const struct image_cache_record *record)
{
    return record->named || record->has_children;
}

static json_t *show_record(const struct image_cache_record *record, int version)
{
    char created[TIME_RFC3339_BYTES], used[TIME_RFC3339_BYTES];
    json_t *d = json_object();
    json_set_str(d, "ID", record->id);
    if (version < 1042)
        json_set_str(d, "Parent", record->parent_id ? record->parent_id : "");
    else if (record->parent_id)
        json_object_set_new(d, "Parents", json_pack("[s]", record->parent_id));
    json_set_str(d, "Type", "regular");
    json_set_str(d, "Description", record->description);
    json_object_set_new(d, "InUse", json_boolean(in_use(record)));
    json_object_set_new(d, "Shared", json_boolean(in_use(record)));
    json_object_set_new(d, "Size", json_integer(record->size_bytes));
    json_set_str(d, "CreatedAt", time_format_rfc3339(record->created_ns, created));
    json_set_str(d, "LastUsedAt", record->used_ns ? time_format_rfc3339(record->used_ns, used) : NULL);
    json_object_set_new(d, "UsageCount", json_integer(record->uses));
    return d;
}

/* A directory of RUN --mount=type=cache as a record. */
static void describe_mount(const struct engine_build_cache *c, struct image_cache_record *ret)
{
    *ret = (struct image_cache_record){.id = c->id,
                                       .description = str_printf("cache mount %s", c->mount_id),
                                       .created_ns = c->created_ns,
                                       .used_ns = c->used_ns,
                                       .uses = c->uses,
                                       .size_bytes = c->size_bytes};
}

static json_t *show_mount(const struct engine_build_cache *c, int version)
{
    struct image_cache_record record;
    describe_mount(c, &record);
    json_t *d = show_record(&record, version);
    free(record.description);
    json_set_str(d, "Type", "exec.cachemount");
    json_object_set_new(d, "InUse", json_boolean(c->in_use));
    json_object_set_new(d, "Shared", json_false());
    return d;
}

struct cache_filter {
    char **ids, **parents, **types, **descriptions;
    bool only_used, only_unused, only_private; /* "inuse", "shared" and "private" come to these */
    int64_t until;                             /* last used before; 0: not asked */
    bool idle_only;                            /* nothing goes while a build goes on */
    int64_t in_use_from;                       /* what was used since then a build may be using; 0: none is */
};

static void cache_filter_done(struct cache_filter *f)
{
    strv_free(f->ids);
    strv_free(f->parents);
    strv_free(f->types);
    strv_free(f->descriptions);
}

static int read_cache_filter(const json_t *filters, struct cache_filter *f, struct err *err)
{
    static const char *const known[] = {"until",       "unused-for", "id",     "parent",  "type",
                                        "description", "inuse",      "shared", "private", NULL};
    static const char *const times[] = {"until", "unused-for"};
    int r = api__filters_known(filters, known, err);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(times); i++) {
        _cleanup_strv_ char **values = api__filter_values(filters, times[i]);
        if (strv_len(values) > 1)
            return err_set(err, ERR_INVALID, "filter \"%s\" may be given once", times[i]);
        if (values && (r = api__time(values[0], &f->until, err)) < 0)
            return err_wrap(err, "filter \"%s\"", times[i]);
    }
    f->ids = api__filter_values(filters, "id");
    f->parents = api__filter_values(filters, "parent");
    f->types = api__filter_values(filters, "type");
    f->descriptions = api__filter_values(filters, "description");
    f->only_used = api__filter_has(filters, "inuse", NULL) || api__filter_has(filters, "shared", NULL);
    f->only_private = api__filter_has(filters, "private", NULL);
    return r;
}

/* A record is named by its id, with or without the algorithm, or the beginning of it. */
static bool is_one_of(char **values, const char *id)
{
    if (!values)
        return true;
    const char *hex = id ? strchr(id, ':') : NULL;
    STRV_FOREACH (v, values)
        if (**v && id && (str_after(id, *v) || (hex && str_after(hex + 1, *v))))
            return true;
    return false;
}

static bool takes(const struct cache_filter *f, const struct image_cache_record *record, const char *type)
{
    if ((f->until && record->used_ns >= f->until) || (f->in_use_from && record->used_ns >= f->in_use_from))
        return false;
    if ((f->only_used && !in_use(record)) || (f->only_private && in_use(record)))
        return false;
    return is_one_of(f->ids, record->id) && is_one_of(f->parents, record->parent_id) &&
           (!f->types || strv_has(f->types, type)) &&
           (!f->descriptions || strv_has(f->descriptions, record->description));
}

/* Deletes the image when nothing stands on it; else, with `all`, only takes it from the builds. */
static int prune_record(struct api *a, const struct image_cache_record *record, bool all, bool *ret_done,
                        int64_t *freed, struct err *err)
{
    _cleanup_json_ json_t *log = NULL;
    *ret_done = true;
    if (!in_use(record) && engine_image_remove(a->engine, record->id, false, true, &log, freed, NULL) == 0)
        return 0;
    *ret_done = all;
    return all ? image_cache_forget(a->images, record->id, err) : 0;
}

static int by_last_use(const void *a, const void *b)
{
    const struct image_cache_record *x = a, *y = b;
    return x->used_ns < y->used_ns ? -1 : x->used_ns > y->used_ns;
}

/* The one not used for longest first, again and again: what a deleted image stood on may go then. */
static int prune_round(struct api *a, const struct cache_filter *f, bool all, int64_t keep, json_t *ids,
                       int64_t *freed, bool *ret_more, struct err *err)
{
    _cleanup_records_ struct records records = {0};
    int r = read_records(a, &records, err);
    int64_t total = 0;
    for (size_t i = 0; i < records.count; i++)
        total += records.list[i].size_bytes;
    if (records.count)
        qsort(records.list, records.count, sizeof(*records.list), by_last_use);
    *ret_more = false;
    for (size_t i = 0; r == 0 && i < records.count; i++) {
        const struct image_cache_record *record = &records.list[i];
        bool done = false;
        if (!takes(f, record, "regular") || (keep && total <= keep))
            continue;
        if (f->idle_only && !build_limit_keep_idle(a->limit)) {
            *ret_more = false;
            return 0;
        }
        r = prune_record(a, record, all, &done, freed, err);
        if (f->idle_only)
            build_limit_let_go(a->limit);
        if (!done)
            continue;
        json_array_append_new(ids, json_string(record->id));
        total -= record->size_bytes;
        *ret_more = true;
    }
    return r;
}

static bool takes_mount(const struct cache_filter *f, const struct engine_build_cache *c)
{
    struct image_cache_record record;
    describe_mount(c, &record);
    bool taken = !c->in_use && takes(f, &record, "exec.cachemount");
    free(record.description);
    return taken;
}

/* The one that was not used for longest first, until what all take is no more than is to be kept. */
static int prune_mounts(struct api *a, const struct cache_filter *f, int64_t keep, json_t *ids,
                        int64_t *freed, struct err *err)
{
    struct engine_build_cache *list = NULL;
    size_t count = 0;
    int64_t total = 0;
    int r = engine_build_caches(a->engine, &list, &count, err);
    for (size_t i = 0; i < count; i++)
        total += list[i].size_bytes;
    for (;;) {
        struct engine_build_cache *oldest = NULL;
        for (size_t i = 0; r == 0 && i < count; i++)
            if (list[i].size_bytes >= 0 && takes_mount(f, &list[i]) &&
                (!oldest || list[i].used_ns < oldest->used_ns))
                oldest = &list[i];
        if (!oldest || (keep && total <= keep))
            break;
        if (engine_build_cache_remove(a->engine, oldest->id, NULL) == 0) {
            json_array_append_new(ids, json_string(oldest->id));
            *freed += oldest->size_bytes;
            total -= oldest->size_bytes;
        }
        oldest->size_bytes = -1; /* seen */
    }
    engine_build_caches_free(list, count);
    return r;
}

static int cache_sizes(struct api *a, int64_t *ret_records, int64_t *ret_mounts, struct err *err)
{
    _cleanup_records_ struct records records = {0};
    struct engine_build_cache *mounts = NULL;
    size_t count = 0;
    int r = read_records(a, &records, err);
    if (r == 0)
        r = engine_build_caches(a->engine, &mounts, &count, err);
    *ret_records = *ret_mounts = 0;
    for (size_t i = 0; i < records.count; i++)
        *ret_records += records.list[i].size_bytes;
    for (size_t i = 0; i < count; i++)
        *ret_mounts += mounts[i].size_bytes;
    engine_build_caches_free(mounts, count);
    return r;
}

/* How much of the cache is to stay: what is reserved in any case, else as much as neither takes more than is
 * allowed nor leaves less free than is asked for. 0: no bound is given, nothing stays. */
static int read_bounds(struct http_request *q, struct api *a, int64_t *ret_keep, struct err *err)
{
    int64_t reserved = 0, most = 0, free_wanted = 0, records, mounts;
    bool old = api__version(q) < 1048;
    int r = api__query_i64(q, "keep-storage", 0, INT64_MAX, &reserved, err);
    if (r == 0 && !old)
        r = api__query_i64(q, "reserved-space", 0, INT64_MAX, &reserved, err);
    if (r == 0 && !old)
        r = api__query_i64(q, "max-used-space", 0, INT64_MAX, &most, err);
    if (r == 0 && !old)
        r = api__query_i64(q, "min-free-space", 0, INT64_MAX, &free_wanted, err);
    if (r == 0)
        r = cache_sizes(a, &records, &mounts, err);
    if (r < 0)
        return r;
    struct statfs fs;
    if (free_wanted && statfs(engine_root(a->engine), &fs) < 0)
        return err_sys(err, errno, "ask how much of %s is free", engine_root(a->engine));
    int64_t keep = most ? most : free_wanted ? INT64_MAX : 0;
    if (free_wanted) {
        int64_t missing = free_wanted - (int64_t)fs.f_bavail * (int64_t)fs.f_frsize;
        keep = missing > 0 ? MIN(keep, MAX(records + mounts - missing, (int64_t)1)) : keep;
    }
    *ret_keep = MAX(keep, reserved);
    return 0;
}

/* The steps' results and the caches that they mounted together; `keep` 0: nothing stays. */
static int prune_to(struct api *a, const struct cache_filter *f, bool all, int64_t keep, json_t *ids,
                    int64_t *freed, struct err *err)
{
    int64_t records, mounts;
    int r = cache_sizes(a, &records, &mounts, err);
    if (r < 0 || (keep && records + mounts <= keep))
        return r;
    /* 0 would mean everything. */
    int64_t keep_records = keep ? MAX(keep - mounts, (int64_t)1) : 0;
    for (bool more = true; r == 0 && more;)
        r = prune_round(a, f, all, keep_records, ids, freed, &more, err);
    if (r == 0)
        r = cache_sizes(a, &records, &mounts, err);
    return r < 0 ? r : prune_mounts(a, f, keep ? MAX(keep - records, (int64_t)1) : 0, ids, freed, err);
}

int api_build_prune(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_json_ json_t *filters = NULL, *ids = json_array();
    _cleanup_(cache_filter_done) struct cache_filter f = {0};
    int64_t keep = 0, freed = 0;
    bool all = http_query_bool(q, "all", false);
    int r = api__filters(q, &filters, err);
    if (r == 0)
        r = read_cache_filter(filters, &f, err);
    if (r == 0)
        r = read_bounds(q, a, &keep, err);
    if (r < 0)
        return err_wrap(err, "failed to prune build cache");
    f.in_use_from = build_limit_in_use_from(a->limit);
    r = prune_to(a, &f, all, keep, ids, &freed, err);
    if (r < 0)
        return r;
    api__tell_pruned(a, "builder", freed);
    http_reply_json(q, 200,
                    json_pack("{s:O, s:I}", "CachesDeleted", json_array_size(ids) ? ids : json_null(),
                              "SpaceReclaimed", (json_int_t)freed));
    return 0;
}

int api__limit_build_cache(struct api *a, int64_t max_bytes, int64_t unused_since_ns, struct err *err)
{
    struct cache_filter f = {.until = unused_since_ns, .idle_only = true};
    _cleanup_json_ json_t *ids = json_array();
    int64_t freed = 0;
    int r = unused_since_ns ? prune_to(a, &f, false, 0, ids, &freed, err) : 0;
    f.until = 0;
    return r < 0 || !max_bytes ? r : prune_to(a, &f, false, max_bytes, ids, &freed, err);
}

int api__reclaim_build_mounts(struct api *a, int64_t bytes, int64_t unused_since_ns, int64_t *freed,
                              struct err *err)
{
    const struct cache_filter f = {.until = unused_since_ns, .idle_only = true};
    _cleanup_json_ json_t *ids = json_array();
    int64_t records, mounts;
    int r = cache_sizes(a, &records, &mounts, err);
    if (r < 0 || !build_limit_keep_idle(a->limit))
        return r;
    /* 0 would mean everything. */
    r = prune_mounts(a, &f, MAX(mounts - bytes, (int64_t)1), ids, freed, err);
    build_limit_let_go(a->limit);
    return r;
}

/* --- GET /system/df --- */

int api__count_image_users(struct api *a, struct map *users, struct err *err)
{
    _cleanup_json_ json_t *containers = NULL;
    json_t *c;
    size_t i;
    int r = engine_container_list(a->engine, true, 0, false, NULL, &containers, err);
    if (r < 0)
        return r;
    json_array_foreach (containers, i, c) {
        const char *id = json_str(c, "ImageID");
        intptr_t n = (intptr_t)map_get(users, id);
        map_put(users, id, (void *)(n + 1));
    }
    return 0;
}

static bool is_intermediate(const struct map *parents, const struct image_info *info)
{
    return map_has(parents, info->id) && !(info->references && info->references[0]) &&
           !(info->digests && info->digests[0]);
}

/* What only the steps of a build stand on is the build cache's, not an image of its own. */
static void leave_out_intermediate(struct image_info *list, size_t *count)
{
    _cleanup_(map_done) struct map parents = MAP_INIT(NULL);
    size_t kept = 0;
    for (size_t i = 0; i < *count; i++)
        if (!str_empty(list[i].parent_id))
            map_put(&parents, list[i].parent_id, list);
    for (size_t i = 0; i < *count; i++) {
        if (is_intermediate(&parents, &list[i]))
            image_info_done(&list[i]);
        else
            list[kept++] = list[i];
    }
    *count = kept;
}

static int show_images(struct api *a, int version, json_t **ret, int64_t *ret_bytes, struct err *err)
{
    _cleanup_(map_done) struct map users = MAP_INIT(NULL);
    _cleanup_(image_disk_done) struct image_disk disk = {0};
    struct image_info *list = NULL;
    size_t count = 0;
    int r = api__count_image_users(a, &users, err);
    if (r == 0)
        r = image_list(a->images, &list, &count, err);
    if (r < 0)
        return r;
    leave_out_intermediate(list, &count);
    r = image_disk_sizes(a->images, list, count, &disk, err);
    json_t *images = json_array();
    for (size_t i = 0; r == 0 && i < count; i++) {
        json_t *summary = api__image_summary(&list[i], list[i].references, list[i].digests, version);
        json_object_set_new(summary, "Size", json_integer(disk.sizes[i]));
        if (version < 1044)
            json_object_set_new(summary, "VirtualSize", json_integer(disk.sizes[i]));
        json_object_set_new(summary, "SharedSize", json_integer(disk.shared[i]));
        json_object_set_new(summary, "Containers", json_integer((intptr_t)map_get(&users, list[i].id)));
        json_array_append_new(images, summary);
    }
    image_list_free(list, count);
    *ret = images;
    *ret_bytes = disk.total;
    return r;
}

static int show_cache(struct api *a, int version, json_t **ret, int64_t *ret_size, struct err *err)
{
    _cleanup_records_ struct records records = {0};
    int r = read_records(a, &records, err);
    if (r < 0)
        return r;
    *ret = json_array();
    *ret_size = 0;
    for (size_t i = 0; i < records.count; i++) {
        json_array_append_new(*ret, show_record(&records.list[i], version));
        *ret_size += records.list[i].size_bytes;
    }
    struct engine_build_cache *mounts = NULL;
    size_t mount_count = 0;
    r = engine_build_caches(a->engine, &mounts, &mount_count, err);
    for (size_t i = 0; i < mount_count; i++) {
        json_array_append_new(*ret, show_mount(&mounts[i], version));
        *ret_size += mounts[i].size_bytes;
    }
    engine_build_caches_free(mounts, mount_count);
    return r;
}

/* What is asked for; everything when nothing is named. */
struct asked {
    bool containers, images, volumes, cache;
};

static int read_asked(struct http_request *q, struct asked *ret, struct err *err)
{
    _cleanup_strv_ char **types = http_query_all(q, "type");
    struct asked asked = {0};
    const struct {
        const char *name;
        bool *place;
    } known[] = {{"container", &asked.containers},
                 {"image", &asked.images},
                 {"volume", &asked.volumes},
                 {"build-cache", &asked.cache}};
    STRV_FOREACH (type, types) {
        size_t i = 0;
        while (i < ARRAY_SIZE(known) && !str_eq(known[i].name, *type))
            i++;
        if (i == ARRAY_SIZE(known))
            return err_set(err, ERR_INVALID, "unknown object type: %.100s", *type);
        *known[i].place = true;
    }
    *ret = strv_len(types) ? asked : (struct asked){true, true, true, true};
    return 0;
}

int api_disk_usage(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    int version = api__version(q);
    struct asked asked;
    json_t *images = NULL, *cache = NULL, *rest = NULL;
    int64_t layers = 0, cache_size = 0;
    int r = read_asked(q, &asked, err);
    if (r == 0)
        r = engine_disk_usage(a->engine, asked.containers, asked.volumes, &rest, err);
    if (r == 0 && asked.images)
        r = show_images(a, version, &images, &layers, err);
    if (r == 0 && asked.cache)
        r = show_cache(a, version, &cache, &cache_size, err);
    json_t *out = json_object();
    json_object_set_new(out, "LayersSize", json_integer(layers));
    json_object_set_new(out, "Images", images ? images : json_null());
    json_object_update(out, rest);
    json_object_set_new(out, "BuildCache", cache ? cache : json_null());
    if (version < 1042)
        json_object_set_new(out, "BuilderSize", json_integer(cache_size));
    if (r == 0 && version >= 1052)
        api__add_usages(out, layers, http_query_bool(q, "verbose", false));
    json_decref(rest);
    if (r < 0)
        json_decref(out);
    else
        http_reply_json(q, 200, out);
    return r;
}
