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

void policy_expand(json_t *spec)
{
    json_t *linux_ = json_object_get(spec, "linux");
    if (!str_eq(json_string_value(json_object_get(linux_, "seccomp")), KEEPER_SECCOMP_DEFAULT))
        return;
    json_t *bounding =
        json_object_get(json_object_get(json_object_get(spec, "process"), "capabilities"), "bounding");
    _cleanup_json_ json_t *none = json_is_array(bounding) ? NULL : json_array();
    json_object_set(linux_, "seccomp", policy_for(none ? none : bounding));
}
