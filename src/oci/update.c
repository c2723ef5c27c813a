/* update: new limits for a running container. */
#include "base/file.h"
#include "oci/commands.h"
#include "oci/container.h"
#include "runtime/cgroup.h"

#include <unistd.h>

enum { RESOURCES_MAX = 1 << 20 };

enum limit_form { LIMIT_NUMBER, LIMIT_BYTES, LIMIT_WORD };

/* One option, and where it goes in "linux.resources". */
static const struct {
    const char *option;
    size_t offset;
    enum limit_form form;
    const char *section, *key;
} places[] = {
#define LIMIT(name) offsetof(struct oci_limits, name)
    {"blkio-weight", LIMIT(blkio_weight), LIMIT_NUMBER, "blockIO", "weight"},
    {"cpu-period", LIMIT(cpu_period), LIMIT_NUMBER, "cpu", "period"},
    {"cpu-quota", LIMIT(cpu_quota), LIMIT_NUMBER, "cpu", "quota"},
    {"cpu-burst", LIMIT(cpu_burst), LIMIT_NUMBER, "cpu", "burst"},
    {"cpu-share", LIMIT(cpu_share), LIMIT_NUMBER, "cpu", "shares"},
    {"cpu-rt-period", LIMIT(cpu_rt_period), LIMIT_NUMBER, "cpu", "realtimePeriod"},
    {"cpu-rt-runtime", LIMIT(cpu_rt_runtime), LIMIT_NUMBER, "cpu", "realtimeRuntime"},
    {"cpu-idle", LIMIT(cpu_idle), LIMIT_NUMBER, "cpu", "idle"},
    {"cpuset-cpus", LIMIT(cpuset_cpus), LIMIT_WORD, "cpu", "cpus"},
    {"cpuset-mems", LIMIT(cpuset_mems), LIMIT_WORD, "cpu", "mems"},
    {"kernel-memory", LIMIT(kernel_memory), LIMIT_BYTES, "memory", "kernel"},
    {"kernel-memory-tcp", LIMIT(kernel_memory_tcp), LIMIT_BYTES, "memory", "kernelTCP"},
    {"memory", LIMIT(memory), LIMIT_BYTES, "memory", "limit"},
    {"memory-reservation", LIMIT(memory_reservation), LIMIT_BYTES, "memory", "reservation"},
    {"memory-swap", LIMIT(memory_swap), LIMIT_BYTES, "memory", "swap"},
    {"pids-limit", LIMIT(pids_limit), LIMIT_NUMBER, "pids", "limit"},
#undef LIMIT
};

static int limit_value(enum limit_form form, const char *text, json_t **ret, struct err *err)
{
    int64_t number = 0;
    int r = 0;
    if (form == LIMIT_WORD) {
        *ret = json_string(text);
        return *ret ? 0 : err_set(err, ERR_INVALID, "not UTF-8");
    }
    if (form == LIMIT_NUMBER || str_eq(text, "-1"))
        r = parse_i64(text, INT64_MIN, INT64_MAX, &number, err);
    else
        r = parse_bytes(text, &number, err);
    if (r == 0)
        *ret = json_integer(number);
    return r;
}

static int of_options(const struct oci_limits *limits, json_t *resources, struct err *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        const char *text = *(const char *const *)((const char *)limits + places[i].offset);
        json_t *value, *section = json_object_get(resources, places[i].section);
        if (str_empty(text))
            continue;
        int r = limit_value(places[i].form, text, &value, err);
        if (r < 0)
            return err_wrap(err, "option --%s", places[i].option);
        if (!section)
            json_object_set_new(resources, places[i].section, section = json_object());
        json_object_set_new(section, places[i].key, value);
    }
    if (limits->l3_cache_schema || limits->mem_bw_schema)
        return err_set(err, ERR_UNSUPPORTED,
                       "Intel RDT (--l3-cache-schema, --mem-bw-schema) is not supported");
    return 0;
}

static int of_file(const char *path, json_t **ret, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    bool from_stdin = str_eq(path, "-");
    int r = from_stdin ? file_read_fd(STDIN_FILENO, RESOURCES_MAX, &text, err)
                       : file_read(path, RESOURCES_MAX, &text, err);
    if (r == 0)
        r = json_parse(str_get(&text), text.len, from_stdin ? "resources" : path, ret, err);
    if (r == 0 && !json_is_object(*ret))
        r = err_set(err, ERR_INVALID, "resources: not an object");
    return r;
}

/* Engines send the whole structure with zeros for what is to stay as it is. Of these two a zero says
 * something. */
static void drop_zeros(json_t *resources)
{
    const char *section_name, *key;
    json_t *section, *value;
    void *next_section, *next;
    json_object_foreach_safe (resources, next_section, section_name, section)
        if (json_is_object(section))
            json_object_foreach_safe (section, next, key, value)
                if ((json_is_integer(value) && json_integer_value(value) == 0 && !str_eq(key, "idle") &&
                     !str_eq(key, "swappiness")) ||
                    (json_is_string(value) && !*json_string_value(value)))
                    json_object_del(section, key);
}

int command_update(const struct oci_args *args, int *ret_status, struct err *err)
{
    _cleanup_container_ struct container c = CONTAINER_INIT;
    _cleanup_json_ json_t *resources = NULL;
    int r = container_open(args, args->words[0], true, &c, err);
    if (r == 0 && args->resources)
        r = of_file(args->resources, &resources, err);
    else
        resources = json_object();
    if (r == 0 && !args->resources)
        r = of_options(&args->limits, resources, err);
    if (r < 0)
        return r;
    drop_zeros(resources);
    struct cgroup *cgroup = container_cgroup(&c);
    if (!cgroup || c.pid <= 0) {
        cgroup_free(cgroup);
        return err_set(err, ERR_CONFLICT, "container not running");
    }
    r = cgroup_update(cgroup, resources, err);
    cgroup_free(cgroup);
    return r;
}
