/* "linux.resources" of a config read into plain numbers, and checked as far as that can be done without a
 * kernel. */
#include "runtime/cgroup_priv.h"

#include "base/json.h"

#include <stddef.h>

enum { MAX_ENTRIES = 1024, MAX_RULES = 512 };

struct field {
    const char *object, *key;
    size_t offset;
    int64_t min, max;
};

#define NUMBER(object, key, member, min, max)                                                                \
    {                                                                                                        \
        object, key, offsetof(struct cgroup_limits, member), min, max                                        \
    }

static const struct field fields[] = {
    NUMBER("memory", "limit", memory, -1, INT64_MAX),
    NUMBER("memory", "swap", swap, -1, INT64_MAX),
    NUMBER("memory", "reservation", reservation, -1, INT64_MAX),
    NUMBER("memory", "kernelTCP", kernel_tcp, -1, INT64_MAX),
    NUMBER("memory", "swappiness", swappiness, -1, 200),
    NUMBER("cpu", "shares", shares, 0, INT64_MAX),
    NUMBER("cpu", "quota", quota, INT64_MIN, INT64_MAX),
    NUMBER("cpu", "burst", burst, 0, INT64_MAX),
    NUMBER("cpu", "period", period, 0, INT64_MAX),
    NUMBER("cpu", "realtimeRuntime", rt_runtime, -1, INT64_MAX),
    NUMBER("cpu", "realtimePeriod", rt_period, 0, INT64_MAX),
    NUMBER("cpu", "idle", idle, 0, 1),
    NUMBER("pids", "limit", pids, INT64_MIN, INT64_MAX),
    NUMBER("blockIO", "weight", io_weight, 0, 1000),
    NUMBER("blockIO", "leafWeight", io_leaf_weight, 0, 1000),
    NUMBER("network", "classID", class_id, 0, UINT32_MAX),
};

static int get_number(const json_t *object, const char *where, const char *key, int64_t min, int64_t max,
                      struct cgroup_number *ret, struct err *err)
{
    const json_t *value = json_object_get(object, key);
    if (!value || json_is_null(value))
        return 0;
    int64_t n = 0;
    int r = json_get_i64(object, where, key, &n, err);
    if (r < 0)
        return r;
    if (n < min || n > max)
        return err_set(err, ERR_INVALID, "\"%s.%s\": %lld is out of range", where, key, (long long)n);
    *ret = (struct cgroup_number){true, n};
    return 0;
}

static int need_number(const json_t *object, const char *where, const char *key, int64_t max, int64_t *ret,
                       struct err *err)
{
    struct cgroup_number number = {0};
    int r = get_number(object, where, key, 0, max, &number, err);
    if (r == 0 && !number.set)
        return err_set(err, ERR_INVALID, "\"%s\" has an entry without \"%s\"", where, key);
    *ret = number.n;
    return r;
}

static int get_part(const json_t *resources, const char *name, json_t **ret, struct err *err)
{
    return json_get_object(resources, "linux.resources", name, ret, err);
}

static int parse_numbers(const json_t *resources, struct cgroup_limits *l, struct err *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        const struct field *f = &fields[i];
        json_t *object = NULL;
        char where[64];
        snprintf(where, sizeof(where), "linux.resources.%s", f->object);
        int r = get_part(resources, f->object, &object, err);
        if (r == 0)
            r = get_number(object, where, f->key, f->min, f->max,
                           (struct cgroup_number *)((char *)l + f->offset), err);
        if (r < 0)
            return r;
    }
    /* For these a zero is how callers that have no null say "as it is". */
    struct cgroup_number *zero_is_unset[] = {&l->memory,    &l->swap,      &l->reservation,   &l->kernel_tcp,
                                             &l->shares,    &l->quota,     &l->period,        &l->rt_runtime,
                                             &l->rt_period, &l->io_weight, &l->io_leaf_weight};
    for (size_t i = 0; i < ARRAY_SIZE(zero_is_unset); i++)
        zero_is_unset[i]->set &= zero_is_unset[i]->n != 0;
    l->swappiness.set &= l->swappiness.n >= 0;
    /* Zero is a limit (config-linux.md, "PIDs"), and of a group with it nobody could be born. */
    if (l->pids.set && !l->pids.n)
        l->pids.n = 1;
    return 0;
}

static int parse_memory(const json_t *resources, struct cgroup_limits *l, struct err *err)
{
    static const char where[] = "linux.resources.memory";
    json_t *memory = NULL;
    /* "kernel" counts no more: the kernel has given that limit up, and the specification lets it be passed
     * over. It is still looked at, so that nonsense is refused. */
    struct cgroup_number kernel;
    int r = get_part(resources, "memory", &memory, err);
    if (r == 0)
        r = get_number(memory, where, "kernel", -1, INT64_MAX, &kernel, err);
    if (r == 0)
        r = json_get_bool(memory, where, "disableOOMKiller", &l->no_oom_killer, err);
    if (r == 0)
        r = json_get_bool(memory, where, "checkBeforeUpdate", &l->check_before_update, err);
    if (r == 0)
        r = json_get_bool(memory, where, "useHierarchy", &l->use_hierarchy, err);
    if (r < 0)
        return r;
    /* All memory and a limit of swap contradict each other; no limit is meant. */
    if (l->memory.set && l->memory.n < 0 && !l->swap.set)
        l->swap = (struct cgroup_number){true, -1};
    if (l->swap.set && l->swap.n > 0 && l->memory.set && l->memory.n > 0 && l->swap.n < l->memory.n)
        return err_set(err, ERR_INVALID, "\"%s.swap\" (memory and swap together) is below the memory limit",
                       where);
    return 0;
}

static int parse_cpu(const json_t *resources, struct cgroup_limits *l, struct err *err)
{
    json_t *cpu = NULL;
    int r = get_part(resources, "cpu", &cpu, err);
    if (r == 0)
        r = json_get_string(cpu, "linux.resources.cpu", "cpus", &l->cpus, err);
    if (r == 0)
        r = json_get_string(cpu, "linux.resources.cpu", "mems", &l->mems, err);
    if (str_empty(l->cpus))
        l->cpus = NULL;
    if (str_empty(l->mems))
        l->mems = NULL;
    return r;
}

static int get_list(const json_t *object, const char *where, const char *key, json_t **ret, struct err *err)
{
    int r = json_get_array(object, where, key, ret, err);
    if (r == 0 && json_array_size(*ret) > MAX_ENTRIES)
        return err_set(err, ERR_LIMIT, "\"%s.%s\" has more than %d entries", where, key, MAX_ENTRIES);
    return r;
}

static const struct {
    const char *key, *value;
    enum cgroup_io_kind kind;
    int64_t max;
} io_lists[] = {
    {"throttleReadBpsDevice", "rate", IO_READ_BPS, INT64_MAX},
    {"throttleWriteBpsDevice", "rate", IO_WRITE_BPS, INT64_MAX},
    {"throttleReadIOPSDevice", "rate", IO_READ_IOPS, INT64_MAX},
    {"throttleWriteIOPSDevice", "rate", IO_WRITE_IOPS, INT64_MAX},
    {"weightDevice", "weight", IO_WEIGHT, 1000},
    {"weightDevice", "leafWeight", IO_LEAF_WEIGHT, 1000},
};

static int parse_io_list(const json_t *object, size_t kind, struct cgroup_limits *l, struct err *err)
{
    char where[96];
    json_t *list = NULL, *entry;
    int r = get_list(object, "linux.resources.blockIO", io_lists[kind].key, &list, err);
    if (r < 0 || !list)
        return r;
    snprintf(where, sizeof(where), "linux.resources.blockIO.%s", io_lists[kind].key);
    size_t i;
    json_array_foreach (list, i, entry) {
        struct cgroup_io_device io = {.kind = io_lists[kind].kind};
        struct cgroup_number weight = {0};
        const char *key = io_lists[kind].value;
        bool weighs = io.kind >= IO_WEIGHT; /* one of the two weights will do, and a zero says nothing */
        r = need_number(entry, where, "major", UINT32_MAX, &io.major, err);
        if (r == 0)
            r = need_number(entry, where, "minor", UINT32_MAX, &io.minor, err);
        if (r == 0)
            r = weighs ? get_number(entry, where, key, 0, io_lists[kind].max, &weight, err)
                       : need_number(entry, where, key, io_lists[kind].max, &io.value, err);
        if (r < 0)
            return r;
        if (weighs && !(io.value = weight.n))
            continue;
        l->io[l->io_count++] = io;
    }
    return 0;
}

static int parse_io(const json_t *resources, struct cgroup_limits *l, struct err *err)
{
    json_t *io = NULL;
    size_t total = 0;
    int r = get_part(resources, "blockIO", &io, err);
    if (r < 0 || !io)
        return r;
    for (size_t i = 0; i < ARRAY_SIZE(io_lists); i++)
        total += json_array_size(json_object_get(io, io_lists[i].key));
    l->io = NEW_N(struct cgroup_io_device, total + 1);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(io_lists); i++)
        r = parse_io_list(io, i, l, err);
    return r;
}

/* "2MB", "1GB", "64KB": part of a file's name. */
static bool is_page_size(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    return digits && digits < 8 && strlen(text) == digits + 2 && strchr("KMGT", text[digits]) &&
           text[digits + 1] == 'B';
}

static int parse_hugepages(const json_t *resources, struct cgroup_limits *l, struct err *err)
{
    static const char where[] = "linux.resources.hugepageLimits";
    json_t *list = NULL, *entry;
    int r = get_list(resources, "linux.resources", "hugepageLimits", &list, err);
    if (r < 0 || !list)
        return r;
    l->hugepages = NEW_N(struct cgroup_hugepages, json_array_size(list) + 1);
    size_t i;
    json_array_foreach (list, i, entry) {
        int64_t limit;
        const char *size = "";
        r = json_get_string(entry, where, "pageSize", &size, err);
        if (r == 0)
            r = need_number(entry, where, "limit", INT64_MAX, &limit, err);
        if (r < 0)
            return r;
        if (!is_page_size(size))
            return err_set(err, ERR_INVALID, "\"%s.pageSize\": \"%s\" is not a size like 2MB", where, size);
        l->hugepages[l->hugepage_count++] = (struct cgroup_hugepages){size, limit};
    }
    return 0;
}

static int parse_priorities(const json_t *resources, struct cgroup_limits *l, struct err *err)
{
    static const char where[] = "linux.resources.network.priorities";
    json_t *network = NULL, *list = NULL, *entry;
    int r = get_part(resources, "network", &network, err);
    if (r == 0)
        r = get_list(network, "linux.resources.network", "priorities", &list, err);
    if (r < 0 || !list)
        return r;
    l->priorities = NEW_N(struct cgroup_priority, json_array_size(list) + 1);
    size_t i;
    json_array_foreach (list, i, entry) {
        int64_t priority;
        const char *name = "";
        r = json_get_string(entry, where, "name", &name, err);
        if (r == 0)
            r = need_number(entry, where, "priority", UINT32_MAX, &priority, err);
        if (r < 0)
            return r;
        if (!*name || strlen(name) > 15 || strpbrk(name, " \n/"))
            return err_set(err, ERR_INVALID, "\"%s.name\": \"%s\" is not an interface", where, name);
        l->priorities[l->priority_count++] = (struct cgroup_priority){name, priority};
    }
    return 0;
}

static int parse_rdma(const json_t *resources, struct cgroup_limits *l, struct err *err)
{
    static const char where[] = "linux.resources.rdma";
    json_t *rdma = NULL, *entry;
    const char *device;
    int r = get_part(resources, "rdma", &rdma, err);
    if (r < 0 || !rdma)
        return r;
    if (json_object_size(rdma) > MAX_ENTRIES)
        return err_set(err, ERR_LIMIT, "\"%s\" has more than %d entries", where, MAX_ENTRIES);
    l->rdma = NEW_N(struct cgroup_rdma, json_object_size(rdma) + 1);
    json_object_foreach (rdma, device, entry) {
        struct cgroup_rdma *one = &l->rdma[l->rdma_count];
        if (!json_is_object(entry) || !*device || strpbrk(device, " \n/"))
            return err_set(err, ERR_INVALID, "\"%s\": \"%s\" is not a device with its limits", where, device);
        one->device = device;
        r = get_number(entry, where, "hcaHandles", 0, UINT32_MAX, &one->handles, err);
        if (r == 0)
            r = get_number(entry, where, "hcaObjects", 0, UINT32_MAX, &one->objects, err);
        if (r < 0)
            return r;
        if (!one->handles.set && !one->objects.set)
            return err_set(err, ERR_INVALID, "\"%s\": \"%s\" needs hcaHandles or hcaObjects", where, device);
        l->rdma_count++;
    }
    return 0;
}

/* Files of the core that would take the group out of our hands. */
static bool is_ours(const char *file)
{
    static const char *const names[] = {"procs", "threads", "type", "subtree_control", "kill", "freeze"};
    const char *name = str_after(file, "cgroup.");
    for (size_t i = 0; name && i < ARRAY_SIZE(names); i++)
        if (str_eq(name, names[i]))
            return true;
    return false;
}

static int parse_unified(const json_t *resources, struct cgroup_limits *l, struct err *err)
{
    json_t *unified = NULL, *value;
    const char *key;
    int r = get_part(resources, "unified", &unified, err);
    if (r < 0 || !json_object_size(unified))
        return r;
    json_object_foreach (unified, key, value) {
        if (!json_is_string(value) || strchr(key, '/') || !strchr(key, '.') || *key == '.' || is_ours(key))
            return err_set(err, ERR_INVALID,
                           "\"linux.resources.unified\": the specified key has not the form CONTROLLER.VALUE "
                           "`%s` with a text",
                           key);
    }
    l->unified = unified;
    return 0;
}

/* --- devices ("Allowed Device list") --- */

static int parse_rule(const json_t *entry, struct cgroup_device_rule *ret, struct err *err)
{
    static const char where[] = "linux.resources.devices";
    const char *type = "a", *access = "rwm";
    *ret = (struct cgroup_device_rule){.major = -1, .minor = -1};
    int r = json_get_bool(entry, where, "allow", &ret->allow, err);
    if (r == 0)
        r = json_get_string(entry, where, "type", &type, err);
    if (r == 0)
        r = json_get_string(entry, where, "access", &access, err);
    if (r == 0)
        r = json_get_i64(entry, where, "major", &ret->major, err);
    if (r == 0)
        r = json_get_i64(entry, where, "minor", &ret->minor, err);
    if (r < 0)
        return r;
    if (!*type)
        type = "a";
    if (!strchr("abc", *type) || type[1])
        return err_set(err, ERR_INVALID, "\"%s.type\": unknown type \"%s\"", where, type);
    if (ret->major > UINT32_MAX || ret->minor > UINT32_MAX)
        return err_set(err, ERR_INVALID, "\"%s\": no such device number", where);
    ret->type = *type;
    for (const char *c = *access ? access : "rwm"; *c; c++) {
        if (!strchr("rwma",
                    *c)) /* "a" is all, which is not in the specification and in configs all the same */
            return err_set(err, ERR_INVALID, "\"%s.access\": unknown access \"%s\"", where, access);
        ret->read |= *c == 'r' || *c == 'a';
        ret->write |= *c == 'w' || *c == 'a';
        ret->mknod |= *c == 'm' || *c == 'a';
    }
    return 0;
}

/* What config-linux.md's "Default Devices" need, /dev/console and pseudo-terminals, and making nodes. */
static const struct cgroup_device_rule usual[] = {
    {true, 'c', -1, -1, false, false, true}, {true, 'b', -1, -1, false, false, true},
    {true, 'c', 1, 3, true, true, true},     {true, 'c', 1, 5, true, true, true},
    {true, 'c', 1, 7, true, true, true},     {true, 'c', 1, 8, true, true, true},
    {true, 'c', 1, 9, true, true, true},     {true, 'c', 5, 0, true, true, true},
    {true, 'c', 5, 1, true, true, true},     {true, 'c', 5, 2, true, true, true},
    {true, 'c', 136, -1, true, true, true},
};

static int parse_devices(const json_t *resources, bool add_usual, struct cgroup_limits *l, struct err *err)
{
    json_t *list = NULL, *entry;
    int r = json_get_array(resources, "linux.resources", "devices", &list, err);
    if (r < 0)
        return r;
    if (json_array_size(list) > MAX_RULES)
        return err_set(err, ERR_LIMIT, "more than %d device rules", MAX_RULES);
    l->devices = NEW_N(struct cgroup_device_rule, json_array_size(list) + ARRAY_SIZE(usual) + 1);
    if (add_usual)
        l->devices[l->device_count++] = (struct cgroup_device_rule){false, 'a', -1, -1, true, true, true};
    size_t i;
    json_array_foreach (list, i, entry) {
        struct cgroup_device_rule *rule = &l->devices[l->device_count];
        if ((r = parse_rule(entry, rule, err)) < 0)
            return r;
        if (rule->type == 'a') /* what was said before it counts no more */
            l->devices[0] = *rule;
        l->device_count = rule->type == 'a' ? 1 : l->device_count + 1;
    }
    /* Nothing needs to be added to everything. */
    if (add_usual && !(l->devices[0].type == 'a' && l->devices[0].allow && l->device_count == 1))
        for (i = 0; i < ARRAY_SIZE(usual); i++)
            l->devices[l->device_count++] = usual[i];
    return 0;
}

int cgroup__limits_parse(const json_t *resources, bool add_usual, struct cgroup_limits *ret, struct err *err)
{
    _cleanup_limits_ struct cgroup_limits l = {0};
    if (resources && !json_is_object(resources))
        return err_set(err, ERR_INVALID, "\"linux.resources\" must be an object");
    int r = parse_numbers(resources, &l, err);
    if (r == 0)
        r = parse_memory(resources, &l, err);
    if (r == 0)
        r = parse_cpu(resources, &l, err);
    if (r == 0)
        r = parse_io(resources, &l, err);
    if (r == 0)
        r = parse_hugepages(resources, &l, err);
    if (r == 0)
        r = parse_priorities(resources, &l, err);
    if (r == 0)
        r = parse_rdma(resources, &l, err);
    if (r == 0)
        r = parse_unified(resources, &l, err);
    if (r == 0)
        r = parse_devices(resources, add_usual, &l, err);
    if (r < 0)
        return r;
    *ret = l;
    l = (struct cgroup_limits){0};
    return 0;
}

void cgroup__limits_done(struct cgroup_limits *l)
{
    free(l->io);
    free(l->hugepages);
    free(l->priorities);
    free(l->rdma);
    free(l->devices);
}

unsigned cgroup__limits_demand(const struct cgroup_limits *l)
{
    return (l->hugepage_count ? CG_HUGETLB : 0) | (l->class_id.set ? CG_NET_CLS : 0) |
           (l->priority_count ? CG_NET_PRIO : 0) | (l->rdma_count ? CG_RDMA : 0);
}
