/* Which fields of Docker's bodies are done, and of what form each must be. What is marked as refused may only
 * be given with its empty value (null, false, 0, "", [], {}, or the default named here). A field that
 * Docker's API does not have is passed over, as dockerd does: clients add theirs (dockerode puts "name" into
 * the body).
 */
#include "engine/engine_priv.h"

enum form { BOOL, INT, TEXT, LIST, TEXTS, OBJECTS, OBJECT, MAP_OF_TEXT, MAP_OF_OBJECTS, ANY };

struct field {
    const char *name;
    enum form form;
    bool refused;
    const char *allowed; /* values allowed of a TEXT, separated by "|" ("" is always allowed) */
};

static const struct field config_fields[] = {
    {"Hostname", TEXT},
    {"Domainname", TEXT},
    {"User", TEXT},
    {"AttachStdin", BOOL},
    {"AttachStdout", BOOL},
    {"AttachStderr", BOOL},
    {"ExposedPorts", MAP_OF_OBJECTS},
    {"Tty", BOOL},
    {"OpenStdin", BOOL},
    {"StdinOnce", BOOL},
    {"Env", TEXTS},
    {"Cmd", ANY},
    {"Healthcheck", OBJECT},
    {"ArgsEscaped", BOOL},
    {"Image", TEXT},
    {"Volumes", MAP_OF_OBJECTS},
    {"WorkingDir", TEXT},
    {"Entrypoint", ANY},
    {"NetworkDisabled", BOOL},
    {"MacAddress", TEXT},
    {"OnBuild", TEXTS},
    {"Labels", MAP_OF_TEXT},
    {"StopSignal", TEXT},
    {"StopTimeout", INT},
    {"Shell", ANY},
    {"HostConfig", OBJECT},
    {"NetworkingConfig", OBJECT},
    {NULL},
};

static const struct field host_fields[] = {
    {"Binds", TEXTS},
    {"ContainerIDFile", TEXT},
    {"LogConfig", OBJECT},
    {"NetworkMode", TEXT},
    {"PortBindings", OBJECT},
    {"RestartPolicy", OBJECT},
    {"AutoRemove", BOOL},
    {"VolumeDriver", TEXT},
    {"VolumesFrom", TEXTS},
    {"ConsoleSize", LIST},
    {"Annotations", MAP_OF_TEXT},
    {"CapAdd", TEXTS},
    {"CapDrop", TEXTS},
    {"CgroupnsMode", TEXT},
    {"Cgroup", TEXT, true},
    {"Capabilities", TEXTS, true},
    {"Dns", TEXTS},
    {"DnsOptions", TEXTS},
    {"DnsSearch", TEXTS},
    {"ExtraHosts", TEXTS},
    {"GroupAdd", TEXTS},
    {"IpcMode", TEXT},
    {"Links", TEXTS},
    {"OomScoreAdj", INT},
    {"PidMode", TEXT},
    {"Privileged", BOOL},
    {"PublishAllPorts", BOOL},
    {"ReadonlyRootfs", BOOL},
    {"SecurityOpt", TEXTS},
    {"StorageOpt", MAP_OF_TEXT},
    {"Tmpfs", MAP_OF_TEXT},
    {"UTSMode", TEXT},
    {"UsernsMode", TEXT}, /* userns.c */
    {"ShmSize", INT},
    {"Sysctls", MAP_OF_TEXT},
    {"Runtime", TEXT}, /* runtimes.c */
    {"Isolation", TEXT},
    {"CpuShares", INT},
    {"Memory", INT},
    {"NanoCpus", INT},
    {"NanoCPUs", INT},
    {"CgroupParent", TEXT},
    {"BlkioWeight", INT},
    {"BlkioWeightDevice", OBJECTS},
    {"BlkioDeviceReadBps", OBJECTS},
    {"BlkioDeviceWriteBps", OBJECTS},
    {"BlkioDeviceReadIOps", OBJECTS},
    {"BlkioDeviceWriteIOps", OBJECTS},
    {"CpuPeriod", INT},
    {"CpuQuota", INT},
    {"CpuRealtimePeriod", INT},
    {"CpuRealtimeRuntime", INT},
    {"CpusetCpus", TEXT},
    {"CpusetMems", TEXT},
    {"Devices", OBJECTS},
    {"DeviceCgroupRules", TEXTS},
    {"DeviceRequests", OBJECTS},
    {"KernelMemory", INT},
    {"KernelMemoryTCP", INT},
    {"MemoryReservation", INT},
    {"MemorySwap", INT},
    {"MemorySwappiness", INT},
    {"OomKillDisable", BOOL},
    {"Init", BOOL},
    {"PidsLimit", INT},
    {"Ulimits", OBJECTS},
    {"CpuCount", INT},
    {"CpuPercent", INT},
    {"IOMaximumIOps", INT},
    {"IOMaximumBandwidth", INT},
    {"Mounts", OBJECTS},
    {"MaskedPaths", TEXTS},
    {"ReadonlyPaths", TEXTS},
    {NULL},
};

static const struct field network_fields[] = {
    {"Name", TEXT},           {"CheckDuplicate", BOOL}, {"Driver", TEXT},
    {"Internal", BOOL},       {"Attachable", BOOL},     {"Ingress", BOOL},
    {"ConfigOnly", BOOL},     {"ConfigFrom", OBJECT},   {"Scope", TEXT}, /* network_api.c */
    {"IPAM", OBJECT},         {"EnableIPv6", BOOL},     {"EnableIPv4", BOOL},
    {"Options", MAP_OF_TEXT}, {"Labels", MAP_OF_TEXT},  {NULL},
};

static const struct field volume_fields[] = {
    {"Name", TEXT},
    {"Driver", TEXT},
    {"DriverOpts", MAP_OF_TEXT},
    {"Labels", MAP_OF_TEXT},
    {"ClusterVolumeSpec", OBJECT, true},
    {NULL},
};

static bool is_default(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_NULL:
    case JSON_FALSE:
        return true;
    case JSON_TRUE:
        return false;
    case JSON_STRING:
        return json_string_length(v) == 0;
    case JSON_INTEGER:
        return json_integer_value(v) == 0;
    case JSON_REAL:
        return json_real_value(v) == 0;
    case JSON_ARRAY: { /* ConsoleSize [0,0] */
        size_t i;
        const json_t *item;
        json_array_foreach (v, i, item)
            if (!is_default(item))
                return false;
        return true;
    }
    case JSON_OBJECT: {
        const char *key;
        json_t *item;
        json_object_foreach ((json_t *)v, key, item)
            if (!is_default(item))
                return false;
        return true;
    }
    }
    return false;
}

static int check_map(const json_t *object, const char *where, const char *name, bool of_text, struct err *err)
{
    json_t *map = NULL, *item;
    const char *key;
    int r = json_get_object(object, where, name, &map, err);
    if (r < 0 || !map)
        return r;
    _cleanup_free_ char *inner = str_printf("%s%s%s", where, *where ? "." : "", name);
    json_object_foreach (map, key, item) {
        const char *text = NULL;
        json_t *one = NULL;
        r = of_text ? json_get_string(map, inner, key, &text, err)
                    : json_get_object(map, inner, key, &one, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int check_objects(const json_t *object, const char *where, const char *name, struct err *err)
{
    json_t *list = NULL, *item;
    size_t i;
    int r = json_get_array(object, where, name, &list, err);
    if (r == 0)
        json_array_foreach (list, i, item)
            if (!json_is_object(item))
                return err_set(err, ERR_INVALID, "\"%s%s%s[%zu]\" must be an object", where,
                               *where ? "." : "", name, i);
    return r;
}

static int check_form(const json_t *object, const char *where, const struct field *f, struct err *err)
{
    bool flag;
    int64_t number;
    const char *text = NULL;
    json_t *value = NULL;
    _cleanup_strv_ char **list = NULL;
    switch (f->form) {
    case BOOL:
        return json_get_bool(object, where, f->name, &flag, err);
    case INT:
        return json_get_i64(object, where, f->name, &number, err);
    case TEXT:
        return json_get_string(object, where, f->name, &text, err);
    case LIST:
        return json_get_array(object, where, f->name, &value, err);
    case TEXTS:
        return json_get_strv(object, where, f->name, &list, err);
    case OBJECT:
        return json_get_object(object, where, f->name, &value, err);
    case OBJECTS:
        return check_objects(object, where, f->name, err);
    case MAP_OF_TEXT:
    case MAP_OF_OBJECTS:
        return check_map(object, where, f->name, f->form == MAP_OF_TEXT, err);
    case ANY:
        return 0;
    }
    return 0;
}

static int check_allowed(const struct field *f, const char *where, const json_t *value, struct err *err)
{
    _cleanup_strv_ char **allowed = strv_split(f->allowed, '|');
    const char *text = json_string_value(value);
    if (str_empty(text) || strv_has(allowed, text))
        return 0;
    return err_set(err, ERR_UNSUPPORTED, "\"%s%s%s\": \"%s\" is not supported; it can be %s", where,
                   *where ? "." : "", f->name, text, f->allowed);
}

static int check(const struct field *fields, const json_t *object, const char *where, struct err *err)
{
    const char *key, *dot = *where ? "." : "";
    json_t *value;
    json_object_foreach ((json_t *)object, key, value) {
        const struct field *f = fields;
        while (f->name && !str_eq(f->name, key))
            f++;
        if (!f->name)
            continue;
        if (f->refused && !is_default(value))
            return err_set(err, ERR_UNSUPPORTED, "\"%s%s%.200s\" is not supported", where, dot, key);
        int r = check_form(object, where, f, err);
        if (r == 0 && f->allowed && !json_is_null(value))
            r = check_allowed(f, where, value, err);
        if (r < 0)
            return r;
    }
    return 0;
}

int schema__check_container(const json_t *body, struct err *err)
{
    if (!json_is_object(body))
        return err_set(err, ERR_INVALID, "the body must be an object with the container's config");
    int r = check(config_fields, body, "", err);
    if (r == 0)
        r = check(host_fields, json_object_get(body, "HostConfig"), "HostConfig", err);
    return r;
}

bool schema__is_of_host(const char *name)
{
    for (const struct field *f = host_fields; f->name; f++)
        if (str_eq(f->name, name))
            return true;
    return false;
}

int schema__check_network(const json_t *body, struct err *err)
{
    return check(network_fields, body, "", err);
}

int schema__check_volume(const json_t *body, struct err *err)
{
    return check(volume_fields, body, "", err);
}

void engine_schema_document(struct str *out)
{
    static const struct {
        const char *body;
        const struct field *fields;
    } tables[] = {{"Config of POST /containers/create", config_fields},
                  {"HostConfig", host_fields},
                  {"POST /networks/create", network_fields},
                  {"POST /volumes/create", volume_fields}};
    static const char *const forms[] = {
        [BOOL] = "boolean",  [INT] = "whole number",         [TEXT] = "text",
        [LIST] = "list",     [TEXTS] = "list of text",       [OBJECTS] = "list of objects",
        [OBJECT] = "object", [MAP_OF_TEXT] = "text by name", [MAP_OF_OBJECTS] = "object by name",
        [ANY] = "any"};
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
        str_addf(out, "\n### %s\n\n| field | form | |\n|---|---|---|\n", tables[i].body);
        for (const struct field *f = tables[i].fields; f->name; f++) {
            str_addf(out, "| `%s` | %s | ", f->name, forms[f->form]);
            if (f->allowed) {
                _cleanup_strv_ char **values = strv_split(f->allowed, '|');
                _cleanup_free_ char *shown = strv_join(values, "`, `");
                str_addf(out, "done: `%s` |\n", shown);
            } else {
                str_add(out, f->refused ? "refused |\n" : "done |\n");
            }
        }
    }
}
