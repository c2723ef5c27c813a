/* The table of volumes: made, found, and removed. */
#include "engine/volume_priv.h"

#include "base/digest.h"
#include "base/file.h"

#include <ctype.h>

enum { VOLUME_NAME_MAX = 255 };

void volume__free(void *volume)
{
    struct volume *v = volume;
    if (!v)
        return;
    free(v->name);
    free(v->driver);
    free(v->path);
    free(v->doc);
    strv_free(v->mounted);
    free(v);
}

bool volume__is_local(const char *driver)
{
    return str_empty(driver) || str_eq(driver, "local");
}

static int check_name(const char *name, struct err *err)
{
    bool ok = isalnum((unsigned char)*name);
    for (const char *c = name; ok && *c; c++)
        ok = isalnum((unsigned char)*c) || strchr("_.-", *c);
    if (strlen(name) == 1)
        return err_set(err, ERR_INVALID,
                       "create %s: volume name is too short, names should be at least two alphanumeric "
                       "characters",
                       name);
    if (!ok)
        return err_set(err, ERR_INVALID,
                       "create %.200s: \"%.200s\" includes invalid characters for a local volume name, only "
                       "\"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, "
                       "use absolute path",
                       name, name);
    if (strlen(name) > VOLUME_NAME_MAX)
        return err_set(err, ERR_INVALID, "create %.50s...: the name is longer than %d bytes", name,
                       VOLUME_NAME_MAX);
    return 0;
}

json_t *volume__doc(const struct volume *v)
{
    json_t *doc = json_loads(v->doc, 0, NULL);
    must(doc); /* printed by us */
    return doc;
}

void volume__event(struct engine *e, const char *action, const char *name, const char *driver)
{
    _cleanup_json_ json_t *attributes = json_pack("{s:s}", "driver", driver);
    engine_event(e, "volume", action, name, attributes);
}

static void enter(struct engine *e, const char *name, const char *path, const char *text, const json_t *doc)
{
    struct volume *v = NEW(struct volume);
    v->name = mem_strdup(name);
    v->driver = mem_strdup(*json_str(doc, "Driver") ? json_str(doc, "Driver") : "local");
    v->path = mem_strdup(path);
    v->doc = mem_strdup(text);
    map_put(&e->volumes, v->name, v);
}

static int load_row(void *context, const struct store_value *v, size_t n, struct err *err)
{
    struct engine *e = context;
    _cleanup_json_ json_t *doc = NULL;
    int r = json_parse(v[2].bytes, v[2].size, "a volume's document", &doc, err);
    if (r < 0)
        return err_wrap(err, "volume %s in engine.db", (const char *)v[0].bytes);
    enter(e, v[0].bytes, v[1].bytes, v[2].bytes, doc);
    return 0;
}

int volume__load_all(struct engine *e, struct err *err)
{
    return store_query(e->store, "SELECT name, path, doc FROM volumes ORDER BY name", NULL, 0, load_row, e,
                       err);
}

/* What is asked for, once the name is decided. */
struct wish {
    const char *name, *driver;
    bool anonymous;
    const json_t *labels, *options;
};

static json_t *copy_or_null(const json_t *object)
{
    return json_object_size(object) ? json_deep_copy(object) : json_null();
}

/* Its row, and its place in the table; engine.lock held. */
static int keep(struct engine *e, const struct wish *w, const char *path, struct err *err)
{
    char now[TIME_RFC3339_BYTES];
    int64_t seconds = time_now_ns() / NS_PER_S * NS_PER_S;
    _cleanup_json_ json_t *doc = json_pack("{s:s,s:s}", "CreatedAt", time_format_rfc3339(seconds, now),
                                           "Driver", volume__is_local(w->driver) ? "local" : w->driver);
    json_object_set_new(doc, "Labels", copy_or_null(w->labels));
    json_object_set_new(doc, "Options", copy_or_null(w->options));
    json_object_set_new(doc, "Anonymous", json_boolean(w->anonymous));
    _cleanup_free_ char *text = json_format(doc);
    struct store_value values[] = {STORE_STR(w->name), STORE_STR(path), STORE_STR(text)};
    struct store_statement insert = {"INSERT INTO volumes (name, path, doc) VALUES (?, ?, ?)", values,
                                     ARRAY_SIZE(values), 1};
    int r = store_batch(e->store, &insert, 1, STORE_LAZY, err);
    if (r == 0)
        enter(e, w->name, path, text, doc);
    return r;
}

/* What there is of that name; 0 when there is none. engine.lock held. */
static int find_existing(struct engine *e, const struct wish *w, struct volume **ret, struct err *err)
{
    struct volume *v = map_get(&e->volumes, w->name);
    if (v && !str_empty(w->driver) && !str_eq(v->driver, w->driver))
        return err_set(err, ERR_CONFLICT,
                       "create %s: driver '%s' already has volume '%s': volume name must be unique", w->name,
                       v->driver, w->name);
    *ret = v;
    return 0;
}

static int make_local(struct engine *e, const struct wish *w, char **ret_path, struct err *err)
{
    _cleanup_free_ char *path = str_printf("%s/volumes/%s/_data", e->root, w->name);
    int r = volume_local__check(w->options, err);
    if (r < 0)
        return err_wrap(err, "create %s", w->name);
    r = file_mkdirs(path, 0755, err);
    if (r == 0)
        *ret_path = take_ptr(path);
    return r;
}

static int make(struct engine *e, const struct wish *w, bool *ret_made, struct err *err)
{
    _cleanup_free_ char *path = NULL;
    struct volume *v = NULL;
    bool local = volume__is_local(w->driver);
    *ret_made = false;
    pthread_mutex_lock(&e->lock);
    int r = find_existing(e, w, &v, NULL);
    pthread_mutex_unlock(&e->lock);
    if (v && r == 0)
        return 0;
    /* A plug-in is asked outside the lock, and before the name is compared: one that is not there is the
     * first thing wrong. */
    if (!local && (r = volume_plugin__create(w->driver, w->name, w->options, err)) < 0)
        return err_wrap(err, "create %s", w->name);
    SCOPED_LOCK(lock, &e->lock);
    r = find_existing(e, w, &v, err);
    if (r < 0 || v)
        return r;
    if (local)
        r = make_local(e, w, &path, err);
    if (r == 0)
        r = keep(e, w, path ? path : "", err);
    *ret_made = r == 0;
    return r;
}

int volume__ensure(struct engine *e, const char *name, const char *driver, const json_t *labels,
                   const json_t *options, char **ret_name, char **ret_path, char **ret_driver,
                   struct err *err)
{
    char random[65];
    bool made;
    struct wish w = {name, driver, str_empty(name), labels, options};
    if (w.anonymous) {
        digest_random_id(random);
        w.name = random;
    }
    int r = volume__is_local(driver) ? check_name(w.name, err) : 0;
    if (r == 0 && strlen(w.name) > VOLUME_NAME_MAX)
        r = err_set(err, ERR_INVALID, "a volume's name is longer than %d bytes", VOLUME_NAME_MAX);
    if (r == 0)
        r = make(e, &w, &made, err);
    if (r < 0)
        return r;
    pthread_mutex_lock(&e->lock);
    const struct volume *v = map_get(&e->volumes, w.name);
    _cleanup_free_ char *own_driver = mem_strdup(v ? v->driver : NULL);
    if (v && ret_path)
        *ret_path = mem_strdup(v->path);
    if (v && ret_name)
        *ret_name = mem_strdup(v->name);
    pthread_mutex_unlock(&e->lock);
    if (!own_driver)
        return err_set(err, ERR_CONFLICT, "volume %s was removed meanwhile", w.name);
    if (made)
        volume__event(e, "create", w.name, own_driver);
    if (ret_driver)
        *ret_driver = take_ptr(own_driver);
    return 0;
}

bool volume__anonymous(struct engine *e, const char *name)
{
    SCOPED_LOCK(lock, &e->lock);
    const struct volume *v = map_get(&e->volumes, name);
    if (!v)
        return false;
    _cleanup_json_ json_t *doc = volume__doc(v);
    return json_bool(doc, "Anonymous");
}

char *volume__user(struct engine *e, const char *name)
{
    struct map_entry *entry;
    for (size_t i = 0; (entry = map_next(&e->containers, &i));) {
        struct container *c = entry->value;
        SCOPED_LOCK(lock, &c->lock);
        if (strv_has(c->volumes, name))
            return mem_strdup(c->id);
    }
    return NULL;
}

static int check_unused(struct engine *e, const char *name, bool force, char **ret_driver, struct err *err)
{
    SCOPED_LOCK(lock, &e->lock);
    struct volume *v = map_get(&e->volumes, name);
    _cleanup_free_ char *user = v ? volume__user(e, name) : NULL;
    if (!v)
        return force ? -ERR_NOT_MODIFIED : err_set(err, ERR_NOT_FOUND, "get %.200s: no such volume", name);
    if (user)
        return err_set(err, ERR_CONFLICT, "remove %s: volume is in use - [%s]", name, user);
    *ret_driver = mem_strdup(v->driver);
    return 0;
}

static int forget(struct engine *e, const char *name, struct err *err)
{
    SCOPED_LOCK(lock, &e->lock);
    if (!map_has(&e->volumes, name))
        return err_set(err, ERR_NOT_FOUND, "get %.200s: no such volume", name);
    _cleanup_free_ char *user = volume__user(e, name);
    if (user)
        return err_set(err, ERR_CONFLICT, "remove %s: volume is in use - [%s]", name, user);
    struct store_value value = STORE_STR(name);
    struct store_statement statement = {"DELETE FROM volumes WHERE name = ?", &value, 1, -1};
    int r = store_batch(e->store, &statement, 1, STORE_DURABLE, err);
    if (r == 0)
        map_remove(&e->volumes, name);
    return r;
}

int volume__remove(struct engine *e, const char *name, bool force, struct err *err)
{
    _cleanup_free_ char *driver = NULL;
    int r = check_unused(e, name, force, &driver, err);
    if (r == -ERR_NOT_MODIFIED)
        return 0;
    if (r < 0)
        return r;
    bool local = volume__is_local(driver);
    if (!local && (r = volume_plugin__remove(driver, name, err)) < 0 && !force)
        return err_wrap(err, "remove %s", name);
    r = forget(e, name, err);
    if (r < 0)
        return r;
    if (local) {
        _cleanup_free_ char *dir = str_printf("%s/volumes/%s", e->root, name),
                            *data = str_printf("%s/_data", dir);
        volume_local__unmount(data); /* or what is mounted there would be removed */
        r = file_remove_tree(dir, err);
    }
    volume__event(e, "destroy", name, driver);
    return r;
}
