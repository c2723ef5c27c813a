/* Volumes of the local driver: directories below <root>/volumes. */
#include "engine/engine_priv.h"

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
    free(v->path);
    free(v->doc);
    free(v);
}

static int check_name(const char *name, struct err *err)
{
    bool ok = isalnum((unsigned char)*name) && name[1] && strlen(name) <= VOLUME_NAME_MAX;
    for (const char *c = name; ok && *c; c++)
        ok = isalnum((unsigned char)*c) || strchr("_.-", *c);
    if (!ok)
        return err_set(err, ERR_INVALID,
                       "create %s: \"%s\" includes invalid characters for a local volume name, only "
                       "\"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, "
                       "use absolute path",
                       name, name);
    return 0;
}

static json_t *parsed_doc(const struct volume *v)
{
    json_t *doc = json_loads(v->doc, 0, NULL);
    must(doc); /* printed by us */
    return doc;
}

static json_t *volume_json(const struct volume *v)
{
    _cleanup_json_ json_t *doc = parsed_doc(v);
    json_t *o = json_object();
    json_set_str(o, "CreatedAt", json_str(doc, "CreatedAt"));
    json_set_str(o, "Driver", "local");
    json_object_set(o, "Labels", json_object_get(doc, "Labels"));
    json_set_str(o, "Mountpoint", v->path);
    json_set_str(o, "Name", v->name);
    json_object_set(o, "Options", json_object_get(doc, "Options"));
    json_set_str(o, "Scope", "local");
    return o;
}

static void volume_event(struct engine *e, const char *action, const char *name)
{
    _cleanup_json_ json_t *attributes = json_pack("{s:s}", "driver", "local");
    engine_event(e, "volume", action, name, attributes);
}

static int load_row(void *context, const struct store_value *v, size_t n, struct err *err)
{
    struct engine *e = context;
    _cleanup_json_ json_t *doc = NULL;
    int r = json_parse(v[2].bytes, v[2].size, "a volume's document", &doc, err);
    if (r < 0)
        return err_wrap(err, "volume %s in engine.db", (const char *)v[0].bytes);
    struct volume *volume = NEW(struct volume);
    volume->name = mem_strdup(v[0].bytes);
    volume->path = mem_strdup(v[1].bytes);
    volume->doc = mem_strdup(v[2].bytes);
    map_put(&e->volumes, volume->name, volume);
    return 0;
}

int volume__load_all(struct engine *e, struct err *err)
{
    return store_query(e->store, "SELECT name, path, doc FROM volumes ORDER BY name", NULL, 0, load_row, e,
                       err);
}

/* The directory, its row, and its place in the table; engine.lock held. */
static int make(struct engine *e, const char *name, bool anonymous, const json_t *labels,
                const json_t *options, struct err *err)
{
    _cleanup_free_ char *path = str_printf("%s/volumes/%s/_data", e->root, name);
    int r = file_mkdirs(path, 0755, err);
    if (r < 0)
        return r;
    _cleanup_json_ json_t *doc = json_object();
    inspect__set_time(doc, "CreatedAt", time_now_ns());
    json_object_set_new(doc, "Labels", labels ? json_deep_copy(labels) : json_object());
    json_object_set_new(doc, "Options", options ? json_deep_copy(options) : json_object());
    json_object_set_new(doc, "Anonymous", json_boolean(anonymous));
    _cleanup_free_ char *text = json_format(doc);
    struct store_value values[] = {STORE_STR(name), STORE_STR(path), STORE_STR(text)};
    struct store_statement insert = {"INSERT INTO volumes (name, path, doc) VALUES (?, ?, ?)", values,
                                     ARRAY_SIZE(values), 1};
    r = store_batch(e->store, &insert, 1, STORE_LAZY, err);
    if (r < 0)
        return r;
    struct volume *v = NEW(struct volume);
    v->name = mem_strdup(name);
    v->path = take_ptr(path);
    v->doc = take_ptr(text);
    map_put(&e->volumes, v->name, v);
    return 0;
}

int volume__ensure(struct engine *e, const char *name, const char *driver, const json_t *labels,
                   const json_t *options, char **ret_name, char **ret_path, struct err *err)
{
    char random[65];
    bool anonymous = str_empty(name), made = false;
    if (!str_empty(driver) && strcmp(driver, "local") != 0)
        return err_set(err, ERR_UNSUPPORTED, "volume driver \"%s\" is not supported; only \"local\" is",
                       driver);
    if (json_object_size(options))
        return err_set(err, ERR_UNSUPPORTED, "option \"%s\" of the local volume driver is not supported",
                       json_object_iter_key(json_object_iter((json_t *)options)));
    if (anonymous) {
        digest_random_id(random);
        name = random;
    }
    int r = check_name(name, err);
    if (r < 0)
        return r;
    pthread_mutex_lock(&e->lock);
    if (!map_has(&e->volumes, name)) {
        r = make(e, name, anonymous, labels, options, err);
        made = r == 0;
    }
    const struct volume *v = r == 0 ? map_get(&e->volumes, name) : NULL;
    if (v) {
        if (ret_path)
            *ret_path = mem_strdup(v->path);
        if (ret_name)
            *ret_name = mem_strdup(v->name);
    }
    pthread_mutex_unlock(&e->lock);
    if (made)
        volume_event(e, "create", name);
    return r < 0 ? err_wrap(err, "volume %s", name) : 0;
}

bool volume__anonymous(struct engine *e, const char *name)
{
    SCOPED_LOCK(lock, &e->lock);
    const struct volume *v = map_get(&e->volumes, name);
    if (!v)
        return false;
    _cleanup_json_ json_t *doc = parsed_doc(v);
    return json_bool(doc, "Anonymous");
}

/* The first container that uses the volume, as a copy of its id, or NULL. engine.lock held. */
static char *user_of(struct engine *e, const char *name)
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

int volume__remove(struct engine *e, const char *name, bool force, struct err *err)
{
    pthread_mutex_lock(&e->lock);
    struct volume *v = map_get(&e->volumes, name);
    _cleanup_free_ char *user = v ? user_of(e, name) : NULL, *dir = NULL;
    int r = 0;
    if (!v)
        r = force ? -ERR_NOT_MODIFIED : err_set(err, ERR_NOT_FOUND, "get %s: no such volume", name);
    else if (user)
        r = err_set(err, ERR_CONFLICT, "remove %s: volume is in use - [%s]", name, user);
    if (r == 0) {
        struct store_value value = STORE_STR(name);
        struct store_statement statement = {"DELETE FROM volumes WHERE name = ?", &value, 1, -1};
        r = store_batch(e->store, &statement, 1, STORE_DURABLE, err);
    }
    if (r == 0) {
        dir = str_printf("%s/volumes/%s", e->root, name);
        map_remove(&e->volumes, name);
    }
    pthread_mutex_unlock(&e->lock);
    if (r == -ERR_NOT_MODIFIED)
        return 0;
    if (r < 0)
        return r;
    r = file_remove_tree(dir, err);
    volume_event(e, "destroy", name);
    return r;
}

/* --- the API's --- */

int engine_volume_create(struct engine *e, const json_t *body, json_t **ret, struct err *err)
{
    const char *name = "", *driver = "";
    json_t *labels = NULL, *options = NULL;
    int r = schema__check_volume(body, err);
    if (r == 0)
        r = json_get_string(body, "", "Name", &name, err);
    if (r == 0)
        r = json_get_string(body, "", "Driver", &driver, err);
    if (r == 0)
        r = json_get_object(body, "", "Labels", &labels, err);
    if (r == 0)
        r = json_get_object(body, "", "DriverOpts", &options, err);
    _cleanup_free_ char *made = NULL;
    if (r == 0)
        r = volume__ensure(e, name, driver, labels, options, &made, NULL, err);
    return r < 0 ? r : engine_volume_inspect(e, made, ret, err);
}

int engine_volume_inspect(struct engine *e, const char *name, json_t **ret, struct err *err)
{
    SCOPED_LOCK(lock, &e->lock);
    const struct volume *v = map_get(&e->volumes, name);
    if (!v)
        return err_set(err, ERR_NOT_FOUND, "get %s: no such volume", name);
    *ret = volume_json(v);
    return 0;
}

static bool name_contains(void *context, const char *value)
{
    return strstr(context, value) != NULL;
}

static bool is_local(void *context, const char *value)
{
    return strcmp(value, "local") == 0;
}

struct dangling {
    bool unused;
};

static bool dangling_as(void *context, const char *value)
{
    const struct dangling *d = context;
    bool wanted = true;
    parse_bool(value, &wanted, NULL);
    return d->unused == wanted;
}

static bool wanted(struct engine *e, const struct volume *v, const json_t *filters)
{
    _cleanup_json_ json_t *doc = parsed_doc(v);
    if (!filter__labels(filters, json_object_get(doc, "Labels")) ||
        !filter__any(filters, "name", name_contains, v->name) ||
        !filter__any(filters, "driver", is_local, NULL))
        return false;
    if (!filter__has(filters, "dangling"))
        return true;
    _cleanup_free_ char *user = user_of(e, v->name);
    return filter__any(filters, "dangling", dangling_as, &(struct dangling){.unused = !user});
}

int engine_volume_list(struct engine *e, const json_t *filters, json_t **ret, struct err *err)
{
    static const char *const known[] = {"dangling", "driver", "label", "name", NULL};
    int r = filter__check_keys(filters, known, err);
    if (r < 0)
        return r;
    json_t *list = json_array();
    SCOPED_LOCK(lock, &e->lock);
    struct map_entry *entry;
    for (size_t i = 0; (entry = map_next(&e->volumes, &i));)
        if (wanted(e, entry->value, filters))
            json_array_append_new(list, volume_json(entry->value));
    *ret = json_object();
    json_object_set_new(*ret, "Volumes", list);
    json_object_set_new(*ret, "Warnings", json_null());
    return 0;
}

int engine_volume_remove(struct engine *e, const char *name, bool force, struct err *err)
{
    return volume__remove(e, name, force, err);
}

/* Unused volumes: the anonymous ones, with the filter all=true the named ones too. */
int engine_volume_prune(struct engine *e, const json_t *filters, json_t **ret, struct err *err)
{
    static const char *const known[] = {"all", "label", "label!", NULL};
    int r = filter__check_keys(filters, known, err);
    if (r < 0)
        return r;
    _cleanup_strv_ char **all = filter__values(filters, "all"), **names = NULL;
    bool named = false;
    if (all && *all)
        parse_bool(*all, &named, NULL);
    pthread_mutex_lock(&e->lock);
    struct map_entry *entry;
    for (size_t i = 0; (entry = map_next(&e->volumes, &i));) {
        _cleanup_json_ json_t *doc = parsed_doc(entry->value);
        _cleanup_free_ char *user = user_of(e, entry->key);
        if (!user && (named || json_bool(doc, "Anonymous")) &&
            filter__labels(filters, json_object_get(doc, "Labels")))
            strv_add(&names, entry->key);
    }
    pthread_mutex_unlock(&e->lock);
    json_t *deleted = json_array();
    int64_t bytes = 0;
    STRV_FOREACH (name, names) {
        _cleanup_free_ char *path = str_printf("%s/volumes/%s", e->root, *name);
        int64_t size = usage__tree_bytes(path);
        if (volume__remove(e, *name, false, NULL) == 0) {
            json_array_append_new(deleted, json_string(*name));
            bytes += size;
        }
    }
    *ret = json_object();
    json_object_set_new(*ret, "VolumesDeleted", deleted);
    json_object_set_new(*ret, "SpaceReclaimed", json_integer(bytes));
    return 0;
}
