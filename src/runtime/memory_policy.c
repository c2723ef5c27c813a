#include "runtime/memory_policy.h"

#include "base/json.h"
#include "base/str.h"
#include "runtime/scheduling.h"

#include <sys/syscall.h>
#include <unistd.h>

struct name {
    const char *name;
    int value;
};

/* linux/mempolicy.h; the newest of them are not in every distribution's headers. */
static const struct name modes[] = {
    {"MPOL_DEFAULT", 0},
    {"MPOL_PREFERRED", 1},
    {"MPOL_BIND", 2},
    {"MPOL_INTERLEAVE", 3},
    {"MPOL_LOCAL", 4},
    {"MPOL_PREFERRED_MANY", 5},
    {"MPOL_WEIGHTED_INTERLEAVE", 6},
};
static const struct name flags[] = {
    {"MPOL_F_NUMA_BALANCING", 1 << 13},
    {"MPOL_F_RELATIVE_NODES", 1 << 14},
    {"MPOL_F_STATIC_NODES", 1 << 15},
};

static const struct name *find(const struct name *table, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (str_eq(table[i].name, name))
            return &table[i];
    return NULL;
}

int memory_policy_parse(const json_t *linux_, struct memory_policy *ret, struct err *err)
{
    static const char where[] = "linux.memoryPolicy";
    json_t *policy = NULL;
    const char *mode = NULL, *nodes = NULL;
    _cleanup_strv_ char **names = NULL;
    int r = json_get_object(linux_, "linux", "memoryPolicy", &policy, err);
    if (r < 0 || !policy)
        return r;
    r = json_get_string(policy, where, "mode", &mode, err);
    if (r == 0)
        r = json_get_string(policy, where, "nodes", &nodes, err);
    if (r == 0)
        r = json_get_strv(policy, where, "flags", &names, err);
    if (r < 0)
        return r;
    if (!str_empty(nodes) &&
        (r = scheduling_parse_set("linux.memoryPolicy.nodes", nodes, &ret->nodes, err)) < 0)
        return err_wrap(err, "invalid memory policy nodes");
    const struct name *found = mode ? find(modes, ARRAY_SIZE(modes), mode) : NULL;
    if (!found)
        return err_set(err, ERR_INVALID, "\"linux.memoryPolicy.mode\": invalid memory policy mode \"%.200s\"",
                       mode ? mode : "");
    ret->mode = found->value;
    STRV_FOREACH (name, names) {
        if (!(found = find(flags, ARRAY_SIZE(flags), *name)))
            return err_set(err, ERR_INVALID,
                           "\"linux.memoryPolicy.flags\": invalid memory policy flag \"%.200s\"", *name);
        ret->mode |= found->value;
    }
    ret->set = true;
    return 0;
}

int memory_policy_apply(const struct memory_policy *p, struct err *err)
{
    if (!p->set)
        return 0;
    /* The kernel takes one bit less than it is told. */
    bool any = CPU_COUNT(&p->nodes) > 0;
    if (syscall(SYS_set_mempolicy, p->mode, any ? &p->nodes : NULL, any ? CPU_SETSIZE + 1UL : 0UL) < 0)
        return err_sys(err, errno, "set the memory policy (\"linux.memoryPolicy\", set_mempolicy)");
    return 0;
}

static json_t *names_of(const struct name *table, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_string(table[i].name));
    return list;
}

json_t *memory_policy_features(void)
{
    return json_pack("{s:o,s:o}", "modes", names_of(modes, ARRAY_SIZE(modes)), "flags",
                     names_of(flags, ARRAY_SIZE(flags)));
}
