/* A service as the body of POST /containers/create (Docker Engine API 1.41 and later). */
#include "compose/envfile.h"
#include "compose/project_priv.h"

#include "base/digest.h"
#include "base/json.h"

#include <math.h>

/* Keys whose value goes over as it is. */
enum kind { K_STR, K_BOOL, K_INT, K_BYTES, K_LIST, K_DICT, K_NANO_CPUS, K_MICROSECONDS };
static const struct simple {
    const char *key, *name;
    bool host; /* in HostConfig */
    enum kind kind;
} simple_keys[] = {
    {"hostname", "Hostname", false, K_STR},
    {"domainname", "Domainname", false, K_STR},
    {"user", "User", false, K_STR},
    {"working_dir", "WorkingDir", false, K_STR},
    {"stop_signal", "StopSignal", false, K_STR},
    {"tty", "Tty", false, K_BOOL},
    {"stdin_open", "OpenStdin", false, K_BOOL},
    {"mem_limit", "Memory", true, K_BYTES},
    {"mem_reservation", "MemoryReservation", true, K_BYTES},
    {"memswap_limit", "MemorySwap", true, K_BYTES},
    {"cpus", "NanoCpus", true, K_NANO_CPUS},
    {"cpu_shares", "CpuShares", true, K_INT},
    {"cpu_period", "CpuPeriod", true, K_MICROSECONDS},
    {"cpu_quota", "CpuQuota", true, K_MICROSECONDS},
    {"cpu_rt_period", "CpuRealtimePeriod", true, K_MICROSECONDS},
    {"cpu_rt_runtime", "CpuRealtimeRuntime", true, K_MICROSECONDS},
    {"cpuset", "CpusetCpus", true, K_STR},
    {"pids_limit", "PidsLimit", true, K_INT},
    {"init", "Init", true, K_BOOL},
    {"privileged", "Privileged", true, K_BOOL},
    {"cap_add", "CapAdd", true, K_LIST},
    {"cap_drop", "CapDrop", true, K_LIST},
    {"read_only", "ReadonlyRootfs", true, K_BOOL},
    {"security_opt", "SecurityOpt", true, K_LIST},
    {"sysctls", "Sysctls", true, K_DICT},
    {"extra_hosts", "ExtraHosts", true, K_LIST},
    {"dns", "Dns", true, K_LIST},
    {"dns_search", "DnsSearch", true, K_LIST},
    {"dns_opt", "DnsOptions", true, K_LIST},
    {"group_add", "GroupAdd", true, K_LIST},
    {"shm_size", "ShmSize", true, K_BYTES},
    {"annotations", "Annotations", true, K_DICT},
    {"cgroup", "CgroupnsMode", true, K_STR},
    {"cgroup_parent", "CgroupParent", true, K_STR},
    {"device_cgroup_rules", "DeviceCgroupRules", true, K_LIST},
    {"mem_swappiness", "MemorySwappiness", true, K_INT},
    {"oom_kill_disable", "OomKillDisable", true, K_BOOL},
    {"oom_score_adj", "OomScoreAdj", true, K_INT},
    {"storage_opt", "StorageOpt", true, K_DICT},
    {"uts", "UTSMode", true, K_STR},
    {"isolation", "Isolation", true, K_STR},
    {"userns_mode", "UsernsMode", true, K_STR},
    {"runtime", "Runtime", true, K_STR},
};
/* Fields that other code makes, for compose_blame(). */
static const char *const other_fields[][2] = {
    {"Mounts", "volumes"},
    {"Binds", "volumes"},
    {"Tmpfs", "tmpfs"},
    {"PortBindings", "ports"},
    {"Devices", "devices"},
    {"DeviceRequests", "gpus"},
    {"DeviceRequests", "deploy"},
    {"Blkio", "blkio_config"},
    {"LogConfig", "logging"},
    {"NetworkMode", "network_mode"},
    {"PidMode", "pid"},
    {"IpcMode", "ipc"},
    {"RestartPolicy", "restart"},
    {"Ulimits", "ulimits"},
    {"VolumesFrom", "volumes_from"},
    {"IPAMConfig", "networks"},
    {"DriverOpts", "networks"},
    {"GwPriority", "networks"},
    {"EndpointsConfig", "networks"},
    {"MacAddress", "mac_address"},
    {"Links", "external_links"},
    {"Healthcheck", "healthcheck"},
    {"ExposedPorts", "expose"},
    {"NanoCpus", "deploy"},
    {"Memory", "deploy"},
    {"PidsLimit", "deploy"},
};

static json_t *simple_value(const struct yaml_node *map, const char *key, enum kind kind)
{
    const struct yaml_node *node = yaml_get(map, key);
    int64_t ns;
    switch (kind) {
    case K_STR:
        return json_string(node->text);
    case K_BOOL:
        return json_boolean(node_bool(map, key));
    case K_INT:
        return json_integer((json_int_t)strtod(node->text, NULL));
    case K_BYTES:
        return json_integer(node_bytes(map, key));
    case K_LIST:
        return node_strings(node);
    case K_DICT:
        return node_dict(node);
    case K_NANO_CPUS:
        return json_integer(llround(strtod(node->text, NULL) * 1e9));
    case K_MICROSECONDS:
        if (parse_duration(node->text, &ns, NULL) == 0)
            return json_integer(ns / 1000);
        return json_integer(node_int(map, key, 0));
    }
    return json_null();
}

static void read_simple(const struct compose_service *s, json_t *body, json_t *host)
{
    for (size_t i = 0; i < ARRAY_SIZE(simple_keys); i++)
        if (yaml_get(s->node, simple_keys[i].key))
            json_object_set_new(simple_keys[i].host ? host : body, simple_keys[i].name,
                                simple_value(s->node, simple_keys[i].key, simple_keys[i].kind));
}

/* --- Commands --- */

static void read_command(const struct compose_service *s, const char *key, const char *name, json_t *body)
{
    const struct yaml_node *node = yaml_get(s->node, key);
    if (node)
        json_object_set_new(body, name, node_strings(node));
}

/* --- Environment: files first, the mapping over them --- */

static void read_environment(struct building *b, const struct compose_service *s, json_t *body)
{
    struct map env = MAP_INIT(free);
    struct map_entry *e;
    const struct yaml_node *files = yaml_get(s->node, "env_file");
    for (size_t i = 0; files && i < files->count; i++) {
        const struct yaml_node *item = files->items[i], *path = yaml_get(item, "path");
        struct err err;
        bool raw = strcmp(yaml_text(item, "format"), "raw") == 0;
        int r = !path ? err_set(&err, ERR_INVALID, "has no \"path\"")
                : raw ? envfile_read_raw(path->text, &env, &err)
                      : envfile_read(path->text, b->environ, &env, &err);
        bool optional = yaml_get(item, "required") && !node_bool(item, "required");
        if (r < 0 && !(optional && r == -ERR_NOT_FOUND))
            problem_add(b->problems, path ? path : item, "%s", err.msg);
    }
    const struct yaml_node *map = yaml_get(s->node, "environment");
    for (size_t i = 0; map && i < map->count; i++)
        if (map->pairs[i].value->type == YAML_SCALAR)
            map_put(&env, map->pairs[i].key, mem_strdup(map->pairs[i].value->text));
        else /* a name that nothing sets, over what a file says */
            map_remove(&env, map->pairs[i].key);
    json_t *list = json_array();
    for (size_t i = 0; (e = map_next(&env, &i));) {
        _cleanup_free_ char *text = str_printf("%s=%s", e->key, (char *)e->value);
        if (json_array_append_new(list, json_string(text)) < 0)
            problem_add(b->problems, map ? map : files, "the value of %s is not valid UTF-8", e->key);
    }
    map_done(&env);
    json_object_set_new(body, "Env", list);
}

/* --- Ports --- */

static void read_ports(struct building *b, const struct compose_service *s, json_t *body, json_t *host)
{
    json_t *exposed = json_object(), *bindings = json_object();
    const struct yaml_node *expose = yaml_get(s->node, "expose"), *ports = yaml_get(s->node, "ports");
    for (size_t i = 0; expose && i < expose->count; i++) {
        const struct yaml_node *item = expose->items[i];
        struct err err;
        if (compose_add_exposed(item->text, exposed, &err) < 0)
            problem_add(b->problems, item, "%s", err.msg);
    }
    for (size_t i = 0; ports && i < ports->count; i++) {
        const struct yaml_node *port = ports->items[i];
        int64_t target = node_int(port, "target", 0);
        if (target < 1 || target > 65535)
            problem_add(b->problems, yaml_get(port, "target"), "is not a port from 1 to 65535");
        const char *protocol = *yaml_text(port, "protocol") ? yaml_text(port, "protocol") : "tcp";
        const char *key = yaml_printf(b->arena, "%d/%s", (int)target, protocol);
        json_object_set_new(exposed, key, json_object());
        if (!json_object_get(bindings, key))
            json_object_set_new(bindings, key, json_array());
        json_array_append_new(json_object_get(bindings, key),
                              json_pack("{s:s, s:s}", "HostIp", yaml_text(port, "host_ip"), "HostPort",
                                        yaml_text(port, "published")));
    }
    if (json_object_size(exposed))
        json_object_set(body, "ExposedPorts", exposed);
    if (json_object_size(bindings))
        json_object_set(host, "PortBindings", bindings);
    json_decref(exposed);
    json_decref(bindings);
}

/* --- Health --- */

static void read_health(struct building *b, const struct compose_service *s, json_t *body)
{
    static const char *const times[][2] = {{"interval", "Interval"},
                                           {"timeout", "Timeout"},
                                           {"start_period", "StartPeriod"},
                                           {"start_interval", "StartInterval"}};
    const struct yaml_node *node = yaml_get(s->node, "healthcheck"), *test = yaml_get(node, "test");
    if (!node)
        return;
    json_t *health = json_object();
    json_object_set_new(body, "Healthcheck", health);
    if (node_bool(node, "disable")) {
        json_object_set_new(health, "Test", json_pack("[s]", "NONE"));
        return;
    }
    const char *first = test && test->count ? test->items[0]->text : "";
    if (test)
        json_object_set_new(health, "Test", node_strings(test));
    if (test && strcmp(first, "NONE") != 0 && strcmp(first, "CMD") != 0 && strcmp(first, "CMD-SHELL") != 0)
        problem_add(b->problems, test, "a list begins with \"CMD\", \"CMD-SHELL\" or \"NONE\"");
    for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
        int64_t ns;
        if (parse_duration(yaml_text(node, times[i][0]), &ns, NULL) == 0)
            json_object_set_new(health, times[i][1], json_integer(ns));
    }
    if (yaml_get(node, "retries"))
        json_object_set_new(health, "Retries", json_integer(node_int(node, "retries", 0)));
}

/* --- HostConfig's own forms --- */

static void read_restart(struct building *b, const struct compose_service *s, json_t *host)
{
    const struct yaml_node *node = yaml_get(s->node, "restart");
    const struct yaml_node *policy = yaml_get(yaml_get(s->node, "deploy"), "restart_policy");
    if (!node && !policy)
        return;
    const char *text = node ? node->text : yaml_text(policy, "condition");
    size_t n = strcspn(text, ":");
    _cleanup_free_ char *name = mem_strndup(text, n);
    int64_t retries = policy && !node ? node_int(policy, "max_attempts", 0) : 0;
    if (!node)
        text = strcmp(name, "none") == 0 || strcmp(name, "no") == 0 ? "no"
               : strcmp(name, "any") == 0 || !*name                 ? "always"
                                                                    : name;
    static const char *const known[] = {"no", "always", "on-failure", "unless-stopped", NULL};
    if (node && (!strv_has((char *const *)known, name) ||
                 (text[n] && (strcmp(name, "on-failure") != 0 ||
                              parse_i64(text + n + 1, 0, INT32_MAX, &retries, NULL) < 0))))
        problem_add(b->problems, node,
                    "must be \"no\", always, on-failure, on-failure:N or unless-stopped, not \"%s\"", text);
    json_object_set_new(
        host, "RestartPolicy",
        json_pack("{s:s, s:I}", "Name", node ? name : text, "MaximumRetryCount", (json_int_t)retries));
}

/* What deploy.resources says; a key of the service itself (`own`) that says otherwise is a mistake. */
static void put_resource(struct building *b, const struct compose_service *s, const struct yaml_node *from,
                         const char *key, enum kind kind, const char *own, const char *name, json_t *host)
{
    if (!yaml_get(from, key))
        return;
    json_t *value = simple_value(from, key, kind);
    const json_t *other = json_object_get(host, name);
    if (other && !json_equal(other, value))
        problem_add(b->problems, yaml_get(s->node, own), "contradicts deploy.resources' %s: %s", key,
                    yaml_text(from, key));
    json_object_set_new(host, name, value);
}

static void read_resources(struct building *b, const struct compose_service *s, json_t *host)
{
    const struct yaml_node *all = yaml_get(yaml_get(s->node, "deploy"), "resources");
    const struct yaml_node *limits = yaml_get(all, "limits"), *reserved = yaml_get(all, "reservations");
    put_resource(b, s, limits, "cpus", K_NANO_CPUS, "cpus", "NanoCpus", host);
    put_resource(b, s, limits, "memory", K_BYTES, "mem_limit", "Memory", host);
    put_resource(b, s, limits, "pids", K_INT, "pids_limit", "PidsLimit", host);
    put_resource(b, s, reserved, "memory", K_BYTES, "mem_reservation", "MemoryReservation", host);
    /* A share of the CPUs when they are busy, in the weights of Docker: 1024 is one CPU. */
    if (yaml_get(reserved, "cpus") && !json_object_get(host, "CpuShares"))
        json_object_set_new(
            host, "CpuShares",
            json_integer(MAX(llround(strtod(yaml_text(reserved, "cpus"), NULL) * 1024), 2LL)));
}

/* "service:x" becomes the name of its first container. */
static void read_mode(struct building *b, const struct compose_service *s, const char *key, const char *name,
                      const char *const *known, json_t *host)
{
    const struct yaml_node *node = yaml_get(s->node, key);
    if (!node)
        return;
    const char *service = str_after(node->text, "service:");
    const struct compose_service *other = service ? compose_find_service(b->project, service) : NULL;
    if (!service && !str_after(node->text, "container:") && !strv_has((char *const *)known, node->text))
        problem_add(b->problems, node, "\"%s\" is not known", node->text);
    json_set_str(host, name,
                 other ? yaml_printf(b->arena, "container:%s", service_container_name(b, other, 1))
                       : node->text);
}

static void read_modes(struct building *b, const struct compose_service *s, json_t *host)
{
    static const char *const networks[] = {"none", "host", "bridge", "default", NULL};
    static const char *const pids[] = {"host", NULL};
    static const char *const ipcs[] = {"host", "none", "private", "shareable", NULL};
    if (s->networks)
        json_set_str(host, "NetworkMode", s->networks[0]);
    read_mode(b, s, "network_mode", "NetworkMode", networks, host);
    read_mode(b, s, "pid", "PidMode", pids, host);
    read_mode(b, s, "ipc", "IpcMode", ipcs, host);
}

static void read_logging(const struct compose_service *s, json_t *host)
{
    const struct yaml_node *node = yaml_get(s->node, "logging");
    if (node)
        json_object_set_new(host, "LogConfig",
                            json_pack("{s:s, s:o}", "Type",
                                      *yaml_text(node, "driver") ? yaml_text(node, "driver") : "json-file",
                                      "Config", node_dict(yaml_get(node, "options"))));
}

static void read_volumes_from(struct building *b, const struct compose_service *s, json_t *host)
{
    const struct yaml_node *list = yaml_get(s->node, "volumes_from");
    json_t *from = json_array();
    for (size_t i = 0; list && i < list->count; i++) {
        const char *text = list->items[i]->text, *container = str_after(text, "container:");
        const char *mode = strchr(container ? container : text, ':');
        _cleanup_free_ char *name = mem_strndup(text, mode ? (size_t)(mode - text) : strlen(text));
        const struct compose_service *other = compose_find_service(b->project, name);
        const char *entry =
            container ? container
            : other   ? yaml_printf(b->arena, "%s%s", service_container_name(b, other, 1), mode ? mode : "")
                      : text;
        json_array_append_new(from, json_string(entry));
    }
    if (json_array_size(from))
        json_object_set(host, "VolumesFrom", from);
    json_decref(from);
}

/* "db:database": the other service gets the alias on the networks both are on. */
static void read_links(struct building *b, const struct compose_service *s)
{
    const struct yaml_node *list = yaml_get(s->node, "links");
    for (size_t i = 0; list && i < list->count; i++) {
        const char *colon = strchr(list->items[i]->text, ':');
        if (!colon)
            continue;
        struct compose_service *other = compose_find_service(
            b->project,
            yaml_printf(b->arena, "%.*s", (int)(colon - list->items[i]->text), list->items[i]->text));
        for (char **network = other ? other->networks : NULL; network && *network; network++)
            if (strv_has(s->networks, *network))
                json_array_append_new(json_object_get(json_object_get(other->endpoints, *network), "Aliases"),
                                      json_string(colon + 1));
    }
}

/* --- Labels --- */

static void add_label(json_t *labels, const char *name, char *text)
{
    json_set_str(labels, name, text);
    free(text);
}

/* Files first, the mapping over them. */
static json_t *labels_of(struct building *b, const struct compose_service *s)
{
    struct map from_files = MAP_INIT(free);
    struct map_entry *e;
    const struct yaml_node *files = yaml_get(s->node, "label_file");
    for (size_t i = 0; files && i < files->count; i++) {
        struct err err;
        if (envfile_read(files->items[i]->text, b->environ, &from_files, &err) < 0)
            problem_add(b->problems, files->items[i], "%s", err.msg);
    }
    json_t *labels = json_object(), *own = node_dict(yaml_get(s->node, "labels"));
    for (size_t i = 0; (e = map_next(&from_files, &i));)
        json_set_str(labels, e->key, e->value);
    json_object_update(labels, own);
    json_decref(own);
    map_done(&from_files);
    return labels;
}

static void read_labels(struct building *b, const struct compose_service *s, json_t *body)
{
    static const char *const conditions[] = {"service_started", "service_healthy",
                                             "service_completed_successfully"};
    json_t *labels = labels_of(b, s);
    _cleanup_str_ struct str depends = STR_INIT;
    for (size_t i = 0; i < s->depend_count; i++)
        str_addf(&depends, "%s%s:%s:%s", i ? "," : "", s->depends[i].service,
                 conditions[s->depends[i].condition], s->depends[i].restart ? "true" : "false");
    json_set_str(labels, COMPOSE_LABEL_PROJECT, b->project->name);
    json_set_str(labels, COMPOSE_LABEL_SERVICE, s->name);
    json_set_str(labels, COMPOSE_LABEL_ONEOFF, "False");
    json_set_str(labels, COMPOSE_LABEL_DEPENDS, str_get(&depends));
    json_set_str(labels, COMPOSE_LABEL_DIR, b->project->dir);
    add_label(labels, COMPOSE_LABEL_FILES, strv_join(b->project->files, ","));
    json_set_str(labels, COMPOSE_LABEL_VERSION, DROVER_VERSION);
    json_object_set_new(body, "Labels", labels);
}

void service_read_body(struct building *b, struct compose_service *s)
{
    json_t *body = json_object(), *host = json_object();
    s->body = body;
    json_set_str(body, "Image", s->image);
    read_simple(s, body, host);
    read_command(s, "command", "Cmd", body);
    read_command(s, "entrypoint", "Entrypoint", body);
    read_environment(b, s, body);
    read_ports(b, s, body, host);
    read_health(b, s, body);
    read_restart(b, s, host);
    read_resources(b, s, host);
    service_read_devices(b, s, host);
    read_modes(b, s, host);
    read_logging(s, host);
    read_volumes_from(b, s, host);
    read_links(b, s);
    read_labels(b, s, body);
    service_read_mounts(b, s, host);
    if (s->stop_timeout_s >= 0)
        json_object_set_new(body, "StopTimeout", json_integer(s->stop_timeout_s));
    json_object_set_new(body, "HostConfig", host);
}

/* --- Where the engine's refusals come from --- */

static const struct yaml_node *node_of_field(const struct compose_service *s, const char *field)
{
    for (size_t i = 0; i < ARRAY_SIZE(simple_keys); i++)
        if (strcmp(simple_keys[i].name, field) == 0 && yaml_get(s->node, simple_keys[i].key))
            return yaml_get(s->node, simple_keys[i].key);
    for (size_t i = 0; i < ARRAY_SIZE(other_fields); i++)
        if (str_after(field, other_fields[i][0]) && yaml_get(s->node, other_fields[i][1]))
            return yaml_get(s->node, other_fields[i][1]);
    return NULL;
}

/* Refusals in Docker's own words, which name no field. */
static const struct yaml_node *node_of_words(const struct compose_service *s, const char *message)
{
    static const char *const words[][2] = {
        {"device driver", "gpus"},      {"device driver", "deploy"},
        {"real-time", "cpu_rt_period"}, {"real-time", "cpu_rt_runtime"},
        {"realtime", "cpu_rt_period"},  {"realtime", "cpu_rt_runtime"},
        {"storage-opt", "storage_opt"}, {"swappiness", "mem_swappiness"},
        {"blkio", "blkio_config"},      {"sysctl", "sysctls"},
        {"runtime name", "runtime"},    {"log driver", "logging"},
        {"logging driver", "logging"},  {"log opt", "logging"},
        {"NanoCPUs", "cpus"},           {"CPUs available", "cpus"},
        {"platform", "platform"},       {"ulimit", "ulimits"},
        {"capability", "cap_add"},      {"cgroup-parent", "cgroup_parent"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (strstr(message, words[i][0]) && yaml_get(s->node, words[i][1]))
            return yaml_get(s->node, words[i][1]);
    return NULL;
}

static void blame_on(const struct yaml_node *node, const struct compose_service *s, struct err *err)
{
    err_wrap(err, "%s:%d:%d: %s", node->file, node->line, node->column, node->path ? node->path : s->name);
}

void compose_blame(const struct compose_service *s, struct err *err)
{
    const struct yaml_node *by_words = err ? node_of_words(s, err->msg) : NULL;
    const char *quote = err ? strchr(err->msg, '"') : NULL;
    _cleanup_free_ char *path = quote ? mem_strndup(quote + 1, strcspn(quote + 1, "\"")) : mem_strdup("");
    _cleanup_strv_ char **steps = strv_split(path, '.');
    for (size_t i = strv_len(steps); i > 0; i--) {
        const struct yaml_node *node = node_of_field(s, steps[i - 1]);
        if (!node)
            continue;
        blame_on(node, s, err);
        return;
    }
    if (by_words)
        blame_on(by_words, s, err);
}
