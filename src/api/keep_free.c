#include "api/keep_free.h"

#include "api/build_limit.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/name_pattern.h"
#include "base/timeutil.h"
#include "image/image_ref.h"

#include <pthread.h>
#include <sys/statvfs.h>

enum { LOOK_EVERY_S = 5, MORE_PART = 10 };

struct keep_free {
    struct api *api;
    const struct keep_free_config *config;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool closing; /* under lock */
    pthread_t thread;
    bool short_of_room; /* told already */
};

bool keep_free_parse(const char *text, struct keep_free_config *to)
{
    size_t n = strlen(text);
    int64_t value;
    if (n > 1 && text[n - 1] == '%') {
        _cleanup_free_ char *digits = mem_strndup(text, n - 1);
        if (parse_i64(digits, 1, 90, &value, NULL) < 0)
            return false;
        to->percent = (int)value;
        to->bytes = 0;
        return true;
    }
    if (parse_bytes(text, &value, NULL) < 0 || value < 0)
        return false;
    to->bytes = value;
    to->percent = 0;
    return true;
}

static bool room(const struct keep_free *k, int64_t *ret_free, int64_t *ret_want)
{
    struct statvfs v;
    if (statvfs(engine_root(k->api->engine), &v) < 0)
        return false;
    *ret_free = (int64_t)(v.f_bavail * v.f_frsize);
    *ret_want =
        k->config->percent ? (int64_t)(v.f_blocks * v.f_frsize) / 100 * k->config->percent : k->config->bytes;
    return true;
}

/* --- what may go --- */

struct candidate {
    const struct image_info *info;
    int64_t used_ns;
};

static int by_last_use(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    return x->used_ns < y->used_ns ? -1 : x->used_ns > y->used_ns;
}

static bool is_kept(const struct keep_free *k, const struct image_info *info)
{
    const json_t *labels = json_object_get(json_object_get(info->config, "config"), "Labels");
    if (str_eq(json_str(labels, "drover.keep"), "true"))
        return true;
    STRV_FOREACH (name, info->references) {
        _cleanup_free_ char *familiar = image_ref_familiar_text(*name), *bare = mem_strdup(familiar);
        char *slash = strrchr(bare, '/'), *colon = strrchr(slash ? slash : bare, ':');
        if (colon)
            *colon = '\0';
        if (k->config->images && (name_patterns_match(k->config->images, familiar) ||
                                  name_patterns_match(k->config->images, bare)))
            return true;
    }
    return false;
}

/* Steps of builds are used when a build finds them, which their cache knows. */
static int add_cache_uses(struct api *a, struct map *uses, struct err *err)
{
    struct image_cache_record *list;
    size_t count;
    int r = image_cache_list(a->images, &list, &count, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < count; i++)
        map_put(uses, list[i].id, (void *)(intptr_t)list[i].used_ns);
    image_cache_list_free(list, count);
    return 0;
}

static int add_containers(struct api *a, struct map *users, struct err *err)
{
    _cleanup_json_ json_t *containers = NULL;
    const json_t *c;
    size_t i;
    int r = engine_container_list(a->engine, true, 0, false, NULL, &containers, err);
    if (r < 0)
        return r;
    json_array_foreach (containers, i, c) {
        map_put(users, json_str(c, "ImageID"), users);
        image_used(a->images, json_str(c, "ImageID"));
    }
    return 0;
}

static bool may_go(const struct keep_free *k, const struct image_info *info, const struct map *users,
                   const struct map *uses, int64_t before_ns, int64_t *ret_used_ns)
{
    int64_t cached = (int64_t)(intptr_t)map_get(uses, info->id);
    *ret_used_ns = MAX(image_last_used(k->api->images, info->id), cached);
    return !map_has(users, info->id) && *ret_used_ns < before_ns && !is_kept(k, info);
}

static int find(const struct keep_free *k, const struct image_info *list, size_t count, struct candidate *ret,
                size_t *ret_count, struct err *err)
{
    _cleanup_(map_done) struct map users = MAP_INIT(NULL), uses = MAP_INIT(NULL);
    int64_t before = time_now_ns() - k->config->unused_for_ns;
    int r = add_containers(k->api, &users, err);
    if (r == 0)
        r = add_cache_uses(k->api, &uses, err);
    *ret_count = 0;
    for (size_t i = 0; r == 0 && i < count; i++) {
        int64_t used;
        if (may_go(k, &list[i], &users, &uses, before, &used))
            ret[(*ret_count)++] = (struct candidate){&list[i], used};
    }
    if (*ret_count)
        qsort(ret, *ret_count, sizeof(*ret), by_last_use);
    return r;
}

/* --- reclaiming --- */

/* Its unpacked layers, which its next use makes again. */
static bool fold_image(struct keep_free *k, const struct candidate *c, const struct map *idle, int64_t *freed)
{
    int64_t bytes = 0;
    if (!image_fold(k->api->images, c->info, idle, &bytes))
        return false;
    _cleanup_free_ char *shown =
        image_ref_familiar_text(strv_len(c->info->references) ? c->info->references[0] : c->info->id);
    char when[TIME_RFC3339_BYTES];
    log_info("keep-free: %s, last used %s, is kept packed until its next use: %lld bytes", shown,
             c->used_ns ? time_format_rfc3339(c->used_ns, when) : "never", (long long)bytes);
    *freed += bytes;
    return true;
}

/* All names, then the image itself; what has come into use meanwhile, or carries another, stays. */
static bool remove_image(struct keep_free *k, const struct candidate *c, const struct map *idle,
                         int64_t *freed)
{
    _cleanup_strv_ char **names = strv_len(c->info->references) ? strv_dup(c->info->references) : NULL;
    bool removed = false;
    int64_t bytes = 0;
    if (!names)
        strv_add(&names, c->info->id);
    STRV_FOREACH (name, names) {
        _cleanup_json_ json_t *log = NULL;
        removed =
            engine_image_remove(k->api->engine, *name, false, false, &log, &bytes, NULL) == 0 || removed;
    }
    if (removed) {
        _cleanup_free_ char *shown = image_ref_familiar_text(names[0]);
        char when[TIME_RFC3339_BYTES];
        log_info("keep-free: removed %s, last used %s: %lld bytes", shown,
                 c->used_ns ? time_format_rfc3339(c->used_ns, when) : "never", (long long)bytes);
    }
    *freed += bytes;
    return removed;
}

typedef bool (*reclaim_fn)(struct keep_free *k, const struct candidate *c, const struct map *idle,
                           int64_t *freed);

/* One look at all images. What a removed one stood on may go at the next. */
static int reclaim_round(struct keep_free *k, reclaim_fn from, int64_t until, int64_t *freed, bool *ret_more,
                         struct err *err)
{
    _cleanup_(map_done) struct map idle = MAP_INIT(NULL);
    struct image_info *list;
    size_t count, n;
    int64_t have, want;
    int r = image_list(k->api->images, &list, &count, err);
    *ret_more = false;
    if (r < 0)
        return r;
    _cleanup_free_ struct candidate *candidates = NEW_N(struct candidate, count + 1);
    r = find(k, list, count, candidates, &n, err);
    for (size_t i = 0; i < n; i++)
        map_put(&idle, candidates[i].info->id, &idle);
    for (size_t i = 0; r == 0 && i < n && room(k, &have, &want) && have < until; i++) {
        /* Whatever there is a build may be about to use. */
        if (!build_limit_keep_idle(k->api->limit)) {
            *ret_more = false;
            break;
        }
        *ret_more = from(k, &candidates[i], &idle, freed) || *ret_more;
        build_limit_let_go(k->api->limit);
    }
    image_list_free(list, count);
    return r;
}

static void reclaim(struct keep_free *k)
{
    struct err err = {0};
    int64_t have, want, freed = 0;
    if (!room(k, &have, &want) || have >= want) {
        k->short_of_room = false;
        return;
    }
    int64_t until = want + want / MORE_PART;
    bool more = true;
    int r = reclaim_round(k, fold_image, until, &freed, &more, &err);
    for (more = true; r == 0 && more && room(k, &have, &want) && have < until;)
        r = reclaim_round(k, remove_image, until, &freed, &more, &err);
    /* Caches that RUN mounted are no images. */
    if (r == 0 && room(k, &have, &want) && have < until)
        r = api__reclaim_build_mounts(k->api, until - have, time_now_ns() - k->config->unused_for_ns, &freed,
                                      &err);
    if (freed)
        api__tell_pruned(k->api, "image", freed);
    if (r < 0)
        log_warning("keep-free: %s", err.msg);
    else if (room(k, &have, &want) && have < want && !k->short_of_room) {
        log_warning("keep-free: %lld bytes are free instead of %lld, and nothing more can go: the rest is in "
                    "use, kept, "
                    "or was used lately; remove containers, volumes or images, or give room",
                    (long long)have, (long long)want);
        k->short_of_room = true;
    }
}

static void *look(void *context)
{
    struct keep_free *k = context;
    pthread_mutex_lock(&k->lock);
    while (!k->closing) {
        struct timespec until;
        pthread_mutex_unlock(&k->lock);
        reclaim(k);
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += LOOK_EVERY_S;
        pthread_mutex_lock(&k->lock);
        if (!k->closing)
            pthread_cond_timedwait(&k->wake, &k->lock, &until);
    }
    pthread_mutex_unlock(&k->lock);
    return NULL;
}

int keep_free_start(struct api *a, const struct keep_free_config *config, struct keep_free **ret,
                    struct err *err)
{
    if (!config->bytes && !config->percent)
        return 0;
    struct keep_free *k = NEW(struct keep_free);
    k->api = a;
    k->config = config;
    pthread_mutex_init(&k->lock, NULL);
    pthread_cond_init(&k->wake, NULL);
    int sys = pthread_create(&k->thread, NULL, look, k);
    if (sys) {
        pthread_mutex_destroy(&k->lock);
        pthread_cond_destroy(&k->wake);
        free(k);
        return err_sys(err, sys, "start the thread of --keep-free");
    }
    *ret = k;
    return 0;
}

void keep_free_stop(struct keep_free *k)
{
    if (!k)
        return;
    pthread_mutex_lock(&k->lock);
    k->closing = true;
    pthread_cond_signal(&k->wake);
    pthread_mutex_unlock(&k->lock);
    pthread_join(k->thread, NULL);
    pthread_mutex_destroy(&k->lock);
    pthread_cond_destroy(&k->wake);
    free(k);
}
