/* A service's labels that say more than a ServiceSpec can. */
#include "cluster/cluster_priv.h"

#define PRIORITY_LABEL "sh.drover.priority"
#define DRAIN_LABEL    "sh.drover.drain"
#define VOLUMES_LABEL  "sh.drover.volumes"

enum { PRIORITY_MOST = 1000, DRAIN_DEFAULT_MS = 300, DRAIN_MAX_S = 300 };

static int read_priority(const json_t *labels, struct service_labels *ret, struct err *err)
{
    const char *text = json_str(labels, PRIORITY_LABEL);
    int64_t n = 0;
    if (*text && parse_i64(text, -PRIORITY_MOST, PRIORITY_MOST, &n, NULL) < 0)
        return err_set(err, ERR_INVALID,
                       "label " PRIORITY_LABEL " must be a number from %d to %d, not \"%.50s\"",
                       -PRIORITY_MOST, PRIORITY_MOST, text);
    ret->priority = (int32_t)n;
    return 0;
}

static int read_drain(const json_t *labels, struct service_labels *ret, struct err *err)
{
    const char *text = json_str(labels, DRAIN_LABEL);
    ret->drain_ns = DRAIN_DEFAULT_MS * NS_PER_MS;
    if (*text && (parse_duration(text, &ret->drain_ns, NULL) < 0 || ret->drain_ns < 0 ||
                  ret->drain_ns > DRAIN_MAX_S * NS_PER_S))
        return err_set(err, ERR_INVALID, "label " DRAIN_LABEL " must be a time from 0s to %ds, not \"%.50s\"",
                       DRAIN_MAX_S, text);
    return 0;
}

static int read_volumes(const json_t *labels, struct service_labels *ret, struct err *err)
{
    const char *text = json_str(labels, VOLUMES_LABEL);
    if (*text && !str_eq(text, "wait") && !str_eq(text, "move"))
        return err_set(err, ERR_INVALID, "label " VOLUMES_LABEL " must be wait or move, not \"%.50s\"", text);
    ret->volumes_move = str_eq(text, "move");
    return 0;
}

static int read_rebalance(const json_t *labels, struct service_labels *ret, struct err *err)
{
    const char *text = json_str(labels, CLUSTER_REBALANCE_LABEL);
    if (*text && !str_eq(text, "on") && !str_eq(text, "off"))
        return err_set(err, ERR_INVALID,
                       "label " CLUSTER_REBALANCE_LABEL " of a service must be on or off, not \"%.50s\"",
                       text);
    ret->stays = str_eq(text, "off");
    return 0;
}

int labels__read(const json_t *labels, struct service_labels *ret, struct err *err)
{
    *ret = (struct service_labels){0};
    int r = read_priority(labels, ret, err);
    if (r == 0)
        r = read_drain(labels, ret, err);
    if (r == 0)
        r = read_rebalance(labels, ret, err);
    return r == 0 ? read_volumes(labels, ret, err) : r;
}

bool labels__has_data(const json_t *template)
{
    const json_t *mounts = json_object_get(json_object_get(template, "ContainerSpec"), "Mounts"), *one;
    size_t i;
    json_array_foreach ((json_t *)mounts, i, one)
        if (!str_eq(json_str(one, "Type"), "tmpfs"))
            return true;
    return false;
}

bool labels__writes_volumes(const json_t *template)
{
    const json_t *mounts = json_object_get(json_object_get(template, "ContainerSpec"), "Mounts"), *one;
    size_t i;
    json_array_foreach ((json_t *)mounts, i, one) {
        const char *type = json_str(one, "Type");
        if ((!*type || str_eq(type, "volume")) && *json_str(one, "Source") && !json_bool(one, "ReadOnly"))
            return true;
    }
    return false;
}
