#include "engine/build_mounts.h"

#include "base/digest.h"
#include "base/file.h"
#include "base/map.h"
#include "base/tree_bytes.h"
#include "image/tar.h"

#include <dirent.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

/* <root>/build-cache/<name>/   data        what a step sees at its mount
 *                              meta.json   {"id", "created", "used", "uses"}
 *
 * The name is made of the mount's id; a private mount that finds its directory in use gets one with a number
 * behind it. A directory appears only complete. Who uses which is known in memory only: at a start nobody
 * does. */

enum { NAME_DIGITS = 24, PRIVATE_MAX = 64, ALL_MAX = 10000, META_MAX = 64 << 10 };
enum { EXCLUSIVE = -1 };

struct build_caches {
    char *dir;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct map users; /* name -> how many, or EXCLUSIVE */
};

int build_caches__open(struct engine *e, struct err *err)
{
    struct build_caches *c = NEW(struct build_caches);
    c->dir = str_printf("%s/build-cache", e->root);
    c->users = MAP_INIT(NULL);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->changed, NULL);
    e->build_caches = c;
    int r = file_mkdirs(c->dir, 0700, err);
    DIR *dir = r == 0 ? opendir(c->dir) : NULL;
    for (struct dirent *d; dir && (d = readdir(dir));)
        if (str_ends_with(d->d_name, ".new") || str_ends_with(d->d_name, ".gone"))
            file_remove_tree_at(dirfd(dir), d->d_name, NULL);
    if (dir)
        closedir(dir);
    return r;
}

void build_caches__free(struct build_caches *c)
{
    if (!c)
        return;
    map_done(&c->users);
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->changed);
    free(c->dir);
    free(c);
}

/* --- one directory --- */

static void write_meta(struct build_caches *c, const char *name, const json_t *meta)
{
    _cleanup_free_ char *path = str_printf("%s/%s/meta.json", c->dir, name), *text = json_format(meta);
    struct err err;
    if (file_replace(path, text, strlen(text), 0600, false, &err) < 0)
        log_warning("%s", err.msg);
}

static json_t *read_meta(struct build_caches *c, const char *name)
{
    _cleanup_free_ char *path = str_printf("%s/%s/meta.json", c->dir, name);
    _cleanup_str_ struct str text = STR_INIT;
    json_t *meta = NULL;
    if (file_read(path, META_MAX, &text, NULL) < 0 ||
        json_parse(str_get(&text), text.len, path, &meta, NULL) < 0)
        return NULL;
    return meta;
}

static int fill(struct engine *e, const struct bakery_mount *m, const char *data, struct err *err)
{
    _cleanup_close_ int to = open(data, O_RDONLY | O_DIRECTORY | O_CLOEXEC), from = -EBADF;
    if (to < 0)
        return err_sys(err, errno, "open %s", data);
    int r = m->from ? image_snapshot_mount(e->images, m->from, true, &from, err) : 0;
    if (r == 0 && m->from) {
        const struct tree_copy copy = {.from_fd = from,
                                       .from = str_empty(m->source) ? "/" : m->source,
                                       .to_fd = to,
                                       .to = "/",
                                       .contents = true,
                                       .keep_owner = true};
        r = tree_copy(&copy, err);
    }
    /* Owners are as the container sees them: with a user namespace the mount maps them. */
    if (r == 0 && (fchown(to, m->uid, m->gid) < 0 || fchmod(to, (mode_t)m->mode) < 0))
        r = err_sys(err, errno, "give %s its owner", data);
    return r;
}

static int make(struct engine *e, const struct bakery_mount *m, const char *name, struct err *err)
{
    struct build_caches *c = e->build_caches;
    _cleanup_free_ char *at = str_printf("%s/%s", c->dir, name);
    if (file_exists(at))
        return 0;
    _cleanup_free_ char *fresh = str_printf("%s/%s.new", c->dir, name), *data = str_printf("%s/data", fresh);
    _cleanup_free_ char *fresh_name = str_printf("%s.new", name);
    int r = file_remove_tree(fresh, err);
    if (r == 0)
        r = file_mkdirs(data, 0755, err);
    if (r == 0)
        r = fill(e, m, data, err);
    if (r == 0) {
        _cleanup_json_ json_t *meta =
            json_pack("{s:s,s:I,s:I,s:i}", "id", m->id, "created", (json_int_t)time_now_ns(), "used",
                      (json_int_t)time_now_ns(), "uses", 0);
        write_meta(c, fresh_name, meta);
        if (rename(fresh, at) < 0)
            r = err_sys(err, errno, "put %s in place", at);
    }
    if (r < 0)
        file_remove_tree(fresh, NULL);
    return r < 0 ? err_wrap(err, "make the cache %s", m->id) : 0;
}

/* --- whose turn it is --- */

static intptr_t users_of(struct build_caches *c, const char *name)
{
    return (intptr_t)map_get(&c->users, name);
}

static void set_users(struct build_caches *c, const char *name, intptr_t n)
{
    if (n)
        map_put(&c->users, name, (void *)n);
    else
        map_remove(&c->users, name);
    pthread_cond_broadcast(&c->changed);
}

/* With the lock held: waits a moment for somebody to go. */
static int wait_a_moment(struct build_caches *c, const struct bakery_run *run, struct err *err)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 200 * NS_PER_MS;
    until.tv_sec += until.tv_nsec / NS_PER_S;
    until.tv_nsec %= NS_PER_S;
    pthread_cond_timedwait(&c->changed, &c->lock, &until);
    pthread_mutex_unlock(&c->lock);
    bool gone = run->output && run->output(run->output_context, 1, "", 0) != 0;
    pthread_mutex_lock(&c->lock);
    return gone ? err_set(err, ERR_CANCELLED, "build cancelled") : 0;
}

/* With the lock held. The name is free for us, alone until it is made. */
static int claim(struct build_caches *c, const struct bakery_run *run, const struct bakery_mount *m,
                 const char *base, char **ret, struct err *err)
{
    _cleanup_free_ char *name = mem_strdup(base);
    for (unsigned i = 1; m->sharing == BAKERY_PRIVATE && users_of(c, name); i++) {
        if (i > PRIVATE_MAX)
            return err_set(err, ERR_LIMIT, "more than %d steps use the private cache %s", PRIVATE_MAX, m->id);
        free(name);
        name = str_printf("%s.%u", base, i);
    }
    for (;;) {
        intptr_t users = users_of(c, name);
        if (users == 0 || (users > 0 && m->sharing == BAKERY_SHARED))
            break;
        int r = wait_a_moment(c, run, err);
        if (r < 0)
            return r;
    }
    *ret = take_ptr(name);
    return 0;
}

int build_caches__take(struct engine *e, const struct bakery_run *run, const struct bakery_mount *m,
                       char **ret_dir, struct err *err)
{
    struct build_caches *c = e->build_caches;
    char digest[DIGEST_BYTES];
    digest_of(m->id, strlen(m->id), digest);
    _cleanup_free_ char *base = mem_strndup(digest_hex(digest), NAME_DIGITS), *name = NULL;
    pthread_mutex_lock(&c->lock);
    int r = claim(c, run, m, base, &name, err);
    intptr_t others = r == 0 ? users_of(c, name) : 0;
    if (r == 0 && !others) {
        set_users(c, name, EXCLUSIVE);
        pthread_mutex_unlock(&c->lock);
        r = make(e, m, name, err);
        pthread_mutex_lock(&c->lock);
    }
    if (name)
        set_users(c, name, r < 0 ? others : m->sharing == BAKERY_SHARED ? others + 1 : EXCLUSIVE);
    pthread_mutex_unlock(&c->lock);
    if (r == 0)
        *ret_dir = str_printf("%s/%s/data", c->dir, name);
    return r;
}

void build_caches__give(struct engine *e, const char *dir)
{
    struct build_caches *c = e->build_caches;
    const char *name_at = dir + strlen(c->dir) + 1;
    _cleanup_free_ char *name = mem_strndup(name_at, strcspn(name_at, "/"));
    SCOPED_LOCK(locked, &c->lock);
    _cleanup_json_ json_t *meta = read_meta(c, name);
    if (meta) {
        json_object_set_new(meta, "used", json_integer(time_now_ns()));
        json_object_set_new(meta, "uses", json_integer(json_int(meta, "uses") + 1));
        write_meta(c, name, meta);
    }
    intptr_t users = users_of(c, name);
    set_users(c, name, users > 0 ? users - 1 : 0);
}

/* --- what there is --- */

static int64_t size_of(struct build_caches *c, const char *name)
{
    _cleanup_free_ char *path = str_printf("%s/%s/data", c->dir, name);
    return tree_bytes_below(path);
}

int engine_build_caches(struct engine *e, struct engine_build_cache **ret, size_t *ret_count, struct err *err)
{
    struct build_caches *c = e->build_caches;
    struct engine_build_cache *list = NULL;
    size_t count = 0, capacity = 0;
    DIR *dir = opendir(c->dir);
    if (!dir)
        return err_sys(err, errno, "open %s", c->dir);
    for (struct dirent *d; count < ALL_MAX && (d = readdir(dir));) {
        _cleanup_json_ json_t *meta =
            *d->d_name == '.' || str_ends_with(d->d_name, ".new") ? NULL : read_meta(c, d->d_name);
        if (!meta)
            continue;
        GROW(list, count, capacity);
        pthread_mutex_lock(&c->lock);
        bool in_use = users_of(c, d->d_name) != 0;
        pthread_mutex_unlock(&c->lock);
        list[count++] = (struct engine_build_cache){.id = mem_strdup(d->d_name),
                                                    .mount_id = mem_strdup(json_str(meta, "id")),
                                                    .created_ns = json_int(meta, "created"),
                                                    .used_ns = json_int(meta, "used"),
                                                    .uses = json_int(meta, "uses"),
                                                    .size_bytes = size_of(c, d->d_name),
                                                    .in_use = in_use};
    }
    closedir(dir);
    *ret = list;
    *ret_count = count;
    return 0;
}

void engine_build_caches_free(struct engine_build_cache *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(list[i].id);
        free(list[i].mount_id);
    }
    free(list);
}

int engine_build_cache_remove(struct engine *e, const char *id, struct err *err)
{
    struct build_caches *c = e->build_caches;
    _cleanup_free_ char *at = str_printf("%s/%s", c->dir, id), *gone = str_printf("%s/%s.gone", c->dir, id);
    pthread_mutex_lock(&c->lock);
    int r = users_of(c, id) ? err_set(err, ERR_CONFLICT, "a build uses the cache %s", id) : 0;
    if (r == 0 && rename(at, gone) < 0)
        r = err_sys(err, errno, "remove the cache %s", id);
    pthread_mutex_unlock(&c->lock);
    return r < 0 ? r : file_remove_tree(gone, err);
}
