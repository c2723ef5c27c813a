#include "bakery/build_priv.h"

#include "base/failpoint.h"
#include "base/file.h"
#include "base/str.h"
#include "base/timeutil.h"

#include <sys/stat.h>

void build__cache_key(const struct build *s, const char *text, const char *extra, char ret[DIGEST_BYTES])
{
    const struct platform *p = &s->b->target_platform;
    _cleanup_free_ char *scratch =
        str_printf("scratch %s/%s/%s", p->os, p->architecture, p->variant ? p->variant : "");
    const char *parts[] = {"drover build 1", s->image_id ? s->image_id : scratch, text, extra ? extra : ""};
    _cleanup_hasher_ struct digest_hasher *h = digest_hasher_new("sha256");
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        digest_hasher_add(h, parts[i], strlen(parts[i]) + 1);
    if (s->b->epoch >= 0)
        digest_hasher_add(h, &s->b->epoch, sizeof(s->b->epoch));
    digest_hasher_format(h, ret);
}

bool build__no_cache(const struct build *s)
{
    return s->b->o->no_cache || build__is_named(s->b->o->no_cache_filter, s->stage);
}

int build__say_cached(struct build *s, struct err *err)
{
    s->cached = true;
    return build__say(s->b, s->stage, " ---> Using cache\n") < 0
               ? err_set(err, ERR_CANCELLED, "build cancelled")
               : 0;
}

static int try_own(struct build *s, const char *key, bool *ret_hit, struct err *err)
{
    _cleanup_free_ char *id = NULL;
    int r = image_cache_get(s->b->im, key, &id, err);
    if (r == -ERR_NOT_FOUND || (r == 0 && s->b->cache_limited && !map_has(&s->b->cache_sources, id)))
        return 0;
    if (r == 0)
        r = build__load_config(s, id, err);
    if (r == -ERR_NOT_FOUND) /* removed between the two */
        return 0;
    if (r < 0)
        return r;
    *ret_hit = true;
    build__remember(s, key, false);
    return build__say_cached(s, err);
}

int build__cache_try(struct build *s, const char *key, const char *created_by, bool by_history, bool *ret_hit,
                     struct err *err)
{
    *ret_hit = false;
    if (build__no_cache(s))
        return 0;
    int r = try_own(s, key, ret_hit, err);
    return r < 0 || *ret_hit ? r : build__import_try(s, key, created_by, by_history, ret_hit, err);
}

const char *build__now(const struct build *s, char out[TIME_RFC3339_BYTES])
{
    int64_t epoch = s->b->epoch;
    time_format_rfc3339(epoch < 0 ? time_now_ns() : epoch * NS_PER_S, out);
    return out;
}

int build__commit_at(struct build *s, const char *created_by, const char *layer_digest, const char *key,
                     const char *created, struct err *err)
{
    json_t *entry = json_object();
    json_set_str(entry, "created", created);
    json_set_str(entry, "created_by", created_by);
    if (!layer_digest)
        json_object_set_new(entry, "empty_layer", json_true());
    json_t *history = json_object_get(s->config, "history");
    if (!json_is_array(history)) {
        history = json_array();
        json_object_set_new(s->config, "history", history);
    }
    json_array_append_new(history, entry);
    json_set_str(s->config, "created", created);
    /* What Docker wrote about the container that the base image came from is not true of this one. */
    static const char *const stale[] = {"container", "container_config", "docker_version", "id", "parent"};
    for (size_t i = 0; i < ARRAY_SIZE(stale); i++)
        json_object_del(s->config, stale[i]);

    char *const layers[] = {(char *)layer_digest, NULL};
    _cleanup_free_ char *id = NULL;
    int r = image_create(s->b->im, s->image_id, layers, s->config, NULL, &id, err);
    FAILPOINT("build-image-made");
    if (r == 0)
        r = image_cache_put(s->b->im, key, id, err);
    FAILPOINT("build-step-kept");
    if (r == 0)
        r = build__load_config(s, id, err);
    if (r == 0)
        build__remember(s, key, false);
    return r;
}

int build__commit(struct build *s, const char *created_by, const char *layer_digest, const char *key,
                  struct err *err)
{
    char now[TIME_RFC3339_BYTES];
    return build__commit_at(s, created_by, layer_digest, key, build__now(s, now), err);
}

int build__commit_config(struct build *s, const char *created_by, struct err *err)
{
    char key[DIGEST_BYTES];
    bool hit;
    build__cache_key(s, created_by, NULL, key);
    int r = build__cache_try(s, key, created_by, true, &hit, err);
    return r < 0 || hit ? r : build__commit(s, created_by, NULL, key, err);
}

int build__layer_begin(struct build *s, struct layer *l, struct err *err)
{
    l->dir = build__work_path(s->b);
    if (mkdir(l->dir, 0700) < 0)
        return err_sys(err, errno, "make %s", l->dir);
    return image_snapshot_create(s->b->im, s->image_id, l->dir, &l->snapshot, err);
}

int build__layer_mount(struct build *s, struct layer *l, bool read_only, struct err *err)
{
    return image_snapshot_mount(s->b->im, &l->snapshot, read_only, &l->root_fd, err);
}

void build__layer_unmount(struct layer *l)
{
    l->root_fd = close_fd(l->root_fd);
}

int build__layer_commit(struct build *s, struct layer *l, const char *created_by, const char *key,
                        struct err *err)
{
    build__layer_unmount(l);
    _cleanup_free_ char *digest = NULL, *diff_id = NULL;
    int r = image_layer_commit(s->b->im, s->image_id, l->snapshot.lowers, l->snapshot.upper, true,
                               s->b->epoch, &digest, &diff_id, err);
    FAILPOINT("build-layer-made");
    return r < 0 ? r : build__commit(s, created_by, diff_id ? digest : NULL, key, err);
}

void build__layer_done(struct layer *l)
{
    build__layer_unmount(l);
    image_snapshot_done(&l->snapshot);
    if (l->dir)
        file_remove_tree(l->dir, NULL); /* else the build's own end reports it */
    free(l->dir);
}
