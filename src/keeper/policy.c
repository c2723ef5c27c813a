#include "keeper/policy.h"

#include "base/json.h"
#include "base/str.h"
#include "keeper/keeper.h"
#include "runtime/runtime.h"

/* Sets of capabilities are few: Docker's default, and what a handful of services add or drop. */
enum { KEPT = 4 };

static struct {
    json_t *capabilities, *policy;
} kept[KEPT];
static size_t next;

static json_t *policy_for(json_t *capabilities)
{
    for (size_t i = 0; i < KEPT; i++)
        if (kept[i].capabilities && json_equal(kept[i].capabilities, capabilities))
            return kept[i].policy;
    _cleanup_strv_ char **names = NULL;
    size_t i;
    const json_t *name;
    json_array_foreach (capabilities, i, name)
        if (json_is_string(name))
            strv_add(&names, json_string_value(name));
    static char *const none[] = {NULL};
    json_decref(kept[next].capabilities);
    json_decref(kept[next].policy);
    kept[next].capabilities = json_deep_copy(capabilities);
    kept[next].policy = runtime_default_seccomp(names ? names : none);
    json_t *policy = kept[next].policy;
    next = (next + 1) % KEPT;
    return policy;
}

static void expand_seccomp(json_t *spec)
{
    json_t *linux_ = json_object_get(spec, "linux");
    if (!str_eq(json_string_value(json_object_get(linux_, "seccomp")), KEEPER_SECCOMP_DEFAULT))
        return;
    json_t *bounding =
        json_object_get(json_object_get(json_object_get(spec, "process"), "capabilities"), "bounding");
    _cleanup_json_ json_t *none = json_is_array(bounding) ? NULL : json_array();
    json_object_set(linux_, "seccomp", policy_for(none ? none : bounding));
}

/* --- parts --- */

#define DEFAULT "default"

/* Where they are: in an object, or in one of its objects. */
static const struct {
    const char *object, *inner, *key;
} parts[] = {
    {"process", NULL, "capabilities"},
    {"linux", NULL, "maskedPaths"},
    {"linux", NULL, "readonlyPaths"},
    {"linux", "resources", "devices"},
};

static json_t *holder_of(const json_t *spec, size_t part)
{
    json_t *object = json_object_get(spec, parts[part].object);
    return parts[part].inner ? json_object_get(object, parts[part].inner) : object;
}

static json_t *default_mount(const char *destination)
{
    size_t i;
    json_t *m;
    json_array_foreach (json_object_get(runtime_shared_defaults(), "mounts"), i, m)
        if (str_eq(json_str(m, "destination"), destination))
            return m;
    return NULL;
}

/* `key` of `object` becomes a copy of its own, whose members are shared. */
static void unshare_member(json_t *object, const char *key)
{
    json_t *member = json_object_get(object, key);
    if (json_is_object(member))
        json_object_set_new(object, key, json_copy(member));
}

json_t *policy_shorten(const json_t *spec)
{
    json_t *out = json_copy((json_t *)spec), *mounts = json_array(), *m;
    unshare_member(out, "process");
    unshare_member(out, "linux");
    unshare_member(json_object_get(out, "linux"), "resources");
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        json_t *holder = holder_of(out, i), *value = json_object_get(holder, parts[i].key);
        if (value &&
            json_equal(value, json_object_get(holder_of(runtime_shared_defaults(), i), parts[i].key)))
            json_object_set_new(holder, parts[i].key, json_string(DEFAULT));
    }
    size_t i;
    json_array_foreach (json_object_get(spec, "mounts"), i, m) {
        const char *destination = json_str(m, "destination");
        if (json_equal(m, default_mount(destination)))
            json_array_append_new(mounts, json_string(destination));
        else
            json_array_append(mounts, m);
    }
    if (json_object_get(spec, "mounts"))
        json_object_set(out, "mounts", mounts);
    json_decref(mounts);
    return out;
}

void policy_expand(json_t *spec)
{
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        json_t *holder = holder_of(spec, i);
        if (str_eq(json_string_value(json_object_get(holder, parts[i].key)), DEFAULT))
            json_object_set(holder, parts[i].key,
                            json_object_get(holder_of(runtime_shared_defaults(), i), parts[i].key));
    }
    json_t *mounts = json_object_get(spec, "mounts"), *m;
    size_t i;
    json_array_foreach (mounts, i, m) {
        json_t *whole = json_is_string(m) ? default_mount(json_string_value(m)) : NULL;
        if (whole)
            json_array_set(mounts, i, whole);
    }
    expand_seccomp(spec);
}
