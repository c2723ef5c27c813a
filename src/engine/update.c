/* docker update: limits and the restart policy of a container, changed while it runs. */
#include "engine/engine_priv.h"

#include "runtime/cgroup.h"

#include <string.h>

enum form { NUMBER, TEXT };

/* Fields of Docker's body; those of one group are given to the kernel together. */
static const struct field {
    const char *name;
    enum form form;
    int group;
} fields[] = {
    {"Memory", NUMBER, 1},    {"MemorySwap", NUMBER, 1},  {"MemoryReservation", NUMBER, 0},
    {"NanoCpus", NUMBER, 2},  {"CpuQuota", NUMBER, 2},    {"CpuPeriod", NUMBER, 2},
    {"CpuShares", NUMBER, 0}, {"CpusetCpus", TEXT, 0},    {"CpusetMems", TEXT, 0},
    {"PidsLimit", NUMBER, 0}, {"BlkioWeight", NUMBER, 0},
};

/* What docker's client sends for a field that was not asked for. */
static bool unset(const json_t *v)
{
    return json_is_null(v) || json_is_false(v) || (json_is_integer(v) && json_integer_value(v) == 0) ||
           (json_is_string(v) && !json_string_length(v)) || (json_is_array(v) && !json_array_size(v)) ||
           (json_is_object(v) && !json_object_size(v));
}

static const struct field *field_of(const char *key)
{
    if (strcmp(key, "NanoCPUs") == 0)
        key = "NanoCpus";
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
        if (strcmp(fields[i].name, key) == 0)
            return &fields[i];
    return NULL;
}

static int check_form(const json_t *body, const char *key, const struct field *f, struct err *err)
{
    int64_t number;
    const char *text;
    return f->form == NUMBER ? json_get_i64(body, "", key, &number, err)
                             : json_get_string(body, "", key, &text, err);
}

static int put_policy(json_t *host, const json_t *policy, struct err *err)
{
    const char *name = "";
    if (!json_is_object(policy))
        return err_set(err, ERR_INVALID, "\"RestartPolicy\" must be an object");
    int r = json_get_string(policy, "RestartPolicy", "Name", &name, err);
    if (r < 0 || !*name)
        return r;
    if (json_bool(host, "AutoRemove"))
        return err_set(err, ERR_CONFLICT,
                       "Restart policy cannot be updated because AutoRemove is enabled for the container");
    json_t *whole = json_copy((json_t *)policy);
    if (!json_is_integer(json_object_get(whole, "MaximumRetryCount")))
        json_object_set_new(whole, "MaximumRetryCount", json_integer(0));
    return json_object_set_new(host, "RestartPolicy", whole);
}

/* Whole CPUs and a share of a period say the same in two ways. */
static int check_nano(const json_t *host, const json_t *body, struct err *err)
{
    static const struct {
        const char *field, *name;
    } parts[] = {{"CpuPeriod", "CPU Period"}, {"CpuQuota", "CPU Quota"}};
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        bool given = json_int(body, parts[i].field), set = json_int(host, parts[i].field);
        if (json_int(body, "NanoCpus") && set && !given)
            return err_set(err, ERR_CONFLICT,
                           "Conflicting options: Nano CPUs cannot be updated as %s has already been set",
                           parts[i].name);
        if (json_int(host, "NanoCpus") && given && !json_int(body, "NanoCpus"))
            return err_set(err, ERR_CONFLICT,
                           "Conflicting options: %s cannot be updated as NanoCPUs has already been set",
                           parts[i].name);
    }
    return 0;
}

/* Puts what the body asks for into `host`, and the limits among it into `limits`. */
static int merge(json_t *host, json_t *limits, const json_t *body, struct err *err)
{
    const char *key;
    json_t *value;
    _cleanup_json_ json_t *unlimited = json_integer(0);
    int r = check_nano(host, body, err);
    if (r < 0)
        return r;
    json_object_foreach ((json_t *)body, key, value) {
        const struct field *f = field_of(key);
        if (strcmp(key, "RestartPolicy") == 0 && !json_is_null(value))
            r = put_policy(host, value, err);
        else if (f && (r = check_form(body, key, f, err)) < 0)
            return r;
        else if (unset(value) && !(f && strcmp(f->name, "PidsLimit") == 0 && json_is_integer(value)))
            continue;
        else if (strcmp(key, "KernelMemory") == 0) /* as at create: taken, told of, and left out */
            continue;
        else if (!f && !schema__is_of_host(key)) /* as at create: passed over */
            continue;
        else if (!f)
            return err_set(err, ERR_UNSUPPORTED, "\"%.200s\" cannot be changed by an update", key);
        else {
            if (strcmp(f->name, "PidsLimit") == 0 && json_integer_value(value) < 0)
                value = unlimited;
            json_object_set(host, f->name, value);
            json_object_set(limits, f->name, value);
        }
        if (r < 0)
            return r;
    }
    return 0;
}

/* A limit of memory and one of memory with swap are only right together, and so are the CPU's. */
static void complete_groups(json_t *limits, const json_t *host)
{
    bool changed[3] = {false};
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
        if (json_object_get(limits, fields[i].name))
            changed[fields[i].group] = true;
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
        if (fields[i].group && changed[fields[i].group] && json_object_get(host, fields[i].name))
            json_object_set(limits, fields[i].name, json_object_get(host, fields[i].name));
}

static int check_swap(const json_t *before, const json_t *host, const json_t *limits, struct err *err)
{
    int64_t swap = json_int(before, "MemorySwap");
    if (!json_object_get(limits, "MemorySwap") && swap > 0 && json_int(host, "Memory") > swap)
        return err_set(err, ERR_CONFLICT,
                       "Memory limit should be smaller than already set memoryswap limit, update the "
                       "memoryswap at the same time");
    return 0;
}

static int apply(struct container *c, const json_t *limits, struct err *err)
{
    _cleanup_json_ json_t *resources = json_object();
    int r = spec__resources_object(limits, resources, err);
    if (r < 0)
        return r;
    json_object_del(resources, "devices"); /* not of an update */
    json_int_t pids = json_int(limits, "PidsLimit");
    if (json_object_get(limits, "PidsLimit"))
        json_object_set_new(resources, "pids", json_pack("{s:I}", "limit", pids > 0 ? pids : -1));
    else
        json_object_del(resources, "pids");
    _cleanup_free_ char *path = container__cgroup(c, NULL);
    struct cgroup *group;
    r = cgroup_open(path, &group, err);
    if (r < 0)
        return r;
    r = cgroup_update(group, resources, err);
    cgroup_free(group);
    return r < 0 ? err_wrap(err, "Cannot update container %s", c->id) : 0;
}

static int update(struct container *c, const json_t *body, struct err *err)
{
    _cleanup_json_ json_t *doc = container__doc(c), *limits = json_object();
    json_t *host = json_object_get(doc, "HostConfig");
    _cleanup_json_ json_t *before = json_deep_copy(host);
    int r = json_is_object(body)
                ? merge(host, limits, body, err)
                : err_set(err, ERR_INVALID, "the body must be an object with the limits to change");
    if (r == 0)
        r = check_swap(before, host, limits, err);
    if (r == 0)
        r = create__check(json_object_get(doc, "Config"), host, err);
    if (r < 0)
        return r;
    complete_groups(limits, host);
    if (json_object_size(limits) && container__running(c))
        r = apply(c, limits, err);
    if (r < 0)
        return r;
    container__set_doc(c, take_ptr(doc));
    container__save(c);
    container__event(c, "update", NULL, NULL);
    return 0;
}

int engine_container_update(struct engine *e, const char *ref, const json_t *body, json_t **ret,
                            struct err *err)
{
    _cleanup_container_ struct container *c = NULL;
    int r = container__find(e, ref, &c, err);
    if (r < 0)
        return r;
    SCOPED_LOCK(op, &c->op);
    if (c->removing)
        return err_set(err, ERR_NOT_FOUND, "No such container: %s", ref);
    r = update(c, body, err);
    if (r < 0)
        return r;
    _cleanup_json_ json_t *warnings = json_array(), *asked = json_deep_copy(body);
    check__adjust_limits(asked, warnings);
    *ret = json_pack("{s:O}", "Warnings", warnings);
    return 0;
}
