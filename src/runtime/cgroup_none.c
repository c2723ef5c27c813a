/* No cgroup at all: what is left to an ordinary user whom nobody gave a part of the tree. Containers run as
 * they do elsewhere; a limit that was asked for is refused by its name, and devices are kept from a container
 * by what its user namespace may open. */
#include "runtime/cgroup_priv.h"

#include "base/json.h"
#include "base/process.h"
#include "base/str.h"

#include <unistd.h>

static int refuse(struct err *err, const char *what)
{
    return err_set(err, ERR_UNSUPPORTED,
                   "%s needs a cgroup that this user may write: on cgroup v2, one that the service manager "
                   "delegated (systemd: Delegate=yes)",
                   what);
}

static int make(struct cgroup *g, struct err *err)
{
    return 0;
}

static int apply(struct cgroup *g, const json_t *resources, struct err *err)
{
    const char *key, *inner;
    json_t *value, *limit;
    json_object_foreach ((json_t *)resources, key, value) {
        if (str_eq(key, "devices")) /* the default rules of every config */
            continue;
        if (!json_is_object(value)) {
            if (json_array_size(value))
                return refuse(err, key);
            continue;
        }
        json_object_foreach (value, inner, limit) {
            bool nothing = json_is_null(limit) || json_is_false(limit) ||
                           (str_eq(key, "pids") && json_integer_value(limit) <= 0);
            _cleanup_free_ char *name = str_printf("resources.%.50s.%.50s", key, inner);
            if (!nothing)
                return refuse(err, name);
        }
    }
    return 0;
}

static int freeze(struct cgroup *g, bool frozen, struct err *err)
{
    return refuse(err, "pausing a container");
}

static bool is_frozen(const struct cgroup *g)
{
    return false;
}

static int usage(struct cgroup *g, struct cgroup_usage *ret, struct err *err)
{
    return 0;
}

const struct cgroup_ops cgroup__none = {make, apply, freeze, is_frozen, usage};

bool cgroup__may_be_none(const struct cgroup_host *h)
{
    if (!process_in_user_namespace())
        return false;
    for (size_t i = 0; i < h->count; i++) {
        _cleanup_free_ char *ours = str_printf("%s/drover", h->dirs[i].root);
        if (access(h->dirs[i].root, W_OK) < 0 && access(ours, W_OK) < 0)
            return true;
    }
    return !h->count;
}
