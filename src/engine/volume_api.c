/* Requests about volumes: create, inspect, list, remove, prune. */
#include "engine/volume_priv.h"

#include "base/tree_bytes.h"

static json_t *shown(const struct volume *v)
{
    _cleanup_json_ json_t *doc = volume__doc(v);
    json_t *o = json_object();
    json_set_str(o, "CreatedAt", json_str(doc, "CreatedAt"));
    json_set_str(o, "Driver", v->driver);
    json_object_set(o, "Labels", json_object_get(doc, "Labels"));
    json_set_str(o, "Mountpoint", v->path);
    json_set_str(o, "Name", v->name);
    json_object_set(o, "Options", json_object_get(doc, "Options"));
    json_set_str(o, "Scope", "local");
    return o;
}

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
        r = volume__ensure(e, name, driver, labels, options, &made, NULL, NULL, err);
    return r < 0 ? r : engine_volume_inspect(e, made, ret, err);
}

/* What only the plug-in knows. One that does not answer leaves the rest as it is, as with dockerd. */
static void ask_plugin(json_t *volume)
{
    const char *driver = json_str(volume, "Driver"), *name = json_str(volume, "Name");
    _cleanup_json_ json_t *facts = NULL;
    if (volume__is_local(driver))
        return;
    if (volume_plugin__get(driver, name, &facts, NULL) == 0)
        json_object_update(volume, facts);
    json_set_str(volume, "Scope", volume_plugin__scope(driver));
}

int engine_volume_inspect(struct engine *e, const char *name, json_t **ret, struct err *err)
{
    pthread_mutex_lock(&e->lock);
    const struct volume *v = map_get(&e->volumes, name);
    json_t *volume = v ? shown(v) : NULL;
    pthread_mutex_unlock(&e->lock);
    if (!volume)
        return err_set(err, ERR_NOT_FOUND, "get %.200s: no such volume", name);
    ask_plugin(volume);
    *ret = volume;
    return 0;
}

static bool name_contains(void *context, const char *value)
{
    return strstr(context, value) != NULL;
}

static bool driver_is(void *context, const char *value)
{
    return str_eq(context, value);
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

static int check_dangling(const json_t *filters, struct err *err)
{
    _cleanup_strv_ char **values = filter__values(filters, "dangling");
    bool flag;
    STRV_FOREACH (v, values)
        if (parse_bool(*v, &flag, NULL) < 0)
            return err_set(err, ERR_INVALID, "invalid filter 'dangling=[%.100s]'", *v);
    return 0;
}

static bool wanted(struct engine *e, const struct volume *v, const json_t *filters)
{
    _cleanup_json_ json_t *doc = volume__doc(v);
    if (!filter__labels(filters, json_object_get(doc, "Labels")) ||
        !filter__any(filters, "name", name_contains, v->name) ||
        !filter__any(filters, "driver", driver_is, v->driver))
        return false;
    if (!filter__has(filters, "dangling"))
        return true;
    _cleanup_free_ char *user = volume__user(e, v->name);
    return filter__any(filters, "dangling", dangling_as, &(struct dangling){.unused = !user});
}

int engine_volume_list(struct engine *e, const json_t *filters, json_t **ret, struct err *err)
{
    static const char *const known[] = {"dangling", "driver", "label", "label!", "name", NULL};
    int r = filter__check_keys(filters, known, err);
    if (r == 0)
        r = check_dangling(filters, err);
    if (r < 0)
        return r;
    json_t *list = json_array();
    SCOPED_LOCK(lock, &e->lock);
    struct map_entry *entry;
    for (size_t i = 0; (entry = map_next(&e->volumes, &i));)
        if (wanted(e, entry->value, filters))
            json_array_append_new(list, shown(entry->value));
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
    if (all && *all && parse_bool(*all, &named, NULL) < 0)
        return err_set(err, ERR_INVALID, "invalid filter 'all=[%.100s]'", *all);
    pthread_mutex_lock(&e->lock);
    struct map_entry *entry;
    for (size_t i = 0; (entry = map_next(&e->volumes, &i));) {
        _cleanup_json_ json_t *doc = volume__doc(entry->value);
        _cleanup_free_ char *user = volume__user(e, entry->key);
        const struct volume *v = entry->value;
        /* What others' drivers or mounts hold may be worth more than the space it takes here. */
        bool ours = volume__is_local(v->driver) && !json_object_size(json_object_get(doc, "Options"));
        if (!user && ours && (named || json_bool(doc, "Anonymous")) &&
            filter__labels(filters, json_object_get(doc, "Labels")))
            strv_add(&names, entry->key);
    }
    pthread_mutex_unlock(&e->lock);
    json_t *deleted = json_array();
    int64_t bytes = 0;
    STRV_FOREACH (name, names) {
        _cleanup_free_ char *path = str_printf("%s/volumes/%s", e->root, *name);
        int64_t size = tree_bytes_below(path);
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
