/* One service of a stack: the canonical form of a Compose file's service into a ServiceSpec. */
#include "compose/stack.h"

#include "base/json.h"

struct making {
    const struct compose_project *project;
    const char *name; /* of the service, in the file */
    const json_t *in, *document;
    json_t *container, *template, *spec;
    struct str *problems;
};

static void problem(struct making *m, const char *key, const char *format, ...) _printf_(3, 4);
static void problem(struct making *m, const char *key, const char *format, ...)
{
    char text[300];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    str_addf(m->problems, "services.%s.%s: %s\n", m->name, key, text);
}

static bool nothing(const json_t *v)
{
    return !v || json_is_null(v) || json_is_false(v) || (json_is_object(v) && !json_object_size(v)) ||
           (json_is_array(v) && !json_array_size(v)) || (json_is_string(v) && !json_string_length(v));
}

static void set(json_t *to, const char *key, const json_t *value)
{
    if (!nothing(value))
        json_object_set(to, key, (json_t *)value);
}

static void set_duration(struct making *m, json_t *to, const char *key, const json_t *from, const char *name)
{
    const json_t *text = json_object_get(from, name);
    int64_t ns;
    if (!json_is_string(text))
        return;
    if (parse_duration(json_string_value(text), &ns, NULL) < 0)
        problem(m, name, "\"%.50s\" is no duration", json_string_value(text));
    else
        json_object_set_new(to, key, json_integer(ns));
}

/* A size is a text of digits there. */
static int64_t size_of(const json_t *from, const char *key)
{
    const json_t *value = json_object_get(from, key);
    int64_t n = json_integer_value(value);
    if (json_is_string(value) && parse_bytes(json_string_value(value), &n, NULL) < 0)
        return 0;
    return n;
}

/* {"b": 2, "a": null} to ["a", "b=2"] */
static json_t *pairs_of(const json_t *map)
{
    char **keys = NULL;
    json_t *out = json_array(), *value;
    const char *key;
    json_object_foreach ((json_t *)map, key, value)
        strv_take(&keys, json_is_string(value) ? str_printf("%s=%s", key, json_string_value(value))
                                               : mem_strdup(key));
    for (size_t i = 1; keys && keys[i]; i++) /* few, and most often sorted already */
        for (size_t j = i; j > 0 && strcmp(keys[j - 1], keys[j]) > 0; j--) {
            char *swap = keys[j];
            keys[j] = keys[j - 1];
            keys[j - 1] = swap;
        }
    STRV_FOREACH (one, keys)
        json_array_append_new(out, json_string(*one));
    strv_free(keys);
    return out;
}

static json_t *labels_of(struct making *m, const json_t *given)
{
    json_t *out = json_is_object(given) ? json_copy((json_t *)given) : json_object();
    json_set_str(out, STACK_LABEL, m->project->name);
    return out;
}

/* --- The container --- */

static void put_command(struct making *m)
{
    set(m->container, "Command", json_object_get(m->in, "entrypoint"));
    set(m->container, "Args", json_object_get(m->in, "command"));
    if (!nothing(json_object_get(m->in, "environment")))
        json_object_set_new(m->container, "Env", pairs_of(json_object_get(m->in, "environment")));
    json_object_set_new(m->container, "Labels", labels_of(m, json_object_get(m->in, "labels")));
}

static void put_hosts(struct making *m)
{
    json_t *hosts = json_array(), *one, *dns = json_object();
    size_t i;
    json_array_foreach (json_object_get(m->in, "extra_hosts"), i, one) {
        const char *text = json_string_value(one);
        size_t n = text ? strcspn(text, "=:") : 0;
        if (!text || !text[n])
            continue;
        _cleanup_free_ char *line = str_printf("%s %.*s", text + n + 1, (int)n, text);
        json_array_append_new(hosts, json_string(line));
    }
    if (json_array_size(hosts))
        json_object_set(m->container, "Hosts", hosts);
    json_decref(hosts);
    set(dns, "Nameservers", json_object_get(m->in, "dns"));
    set(dns, "Search", json_object_get(m->in, "dns_search"));
    set(dns, "Options", json_object_get(m->in, "dns_opt"));
    if (json_object_size(dns))
        json_object_set(m->container, "DNSConfig", dns);
    json_decref(dns);
}

static void put_health(struct making *m)
{
    const json_t *given = json_object_get(m->in, "healthcheck");
    if (nothing(given))
        return;
    json_t *check = json_object();
    if (json_bool(given, "disable"))
        json_object_set_new(check, "Test", json_pack("[s]", "NONE"));
    else {
        set(check, "Test", json_object_get(given, "test"));
        set_duration(m, check, "Interval", given, "interval");
        set_duration(m, check, "Timeout", given, "timeout");
        set_duration(m, check, "StartPeriod", given, "start_period");
        set_duration(m, check, "StartInterval", given, "start_interval");
        set(check, "Retries", json_object_get(given, "retries"));
    }
    json_object_set_new(m->container, "Healthcheck", check);
}

static void put_limits(struct making *m)
{
    json_t *ulimits = json_array(), *value;
    const char *key;
    json_object_foreach (json_object_get(m->in, "ulimits"), key, value) {
        bool one = json_is_integer(value);
        json_array_append_new(
            ulimits,
            json_pack("{s:s, s:I, s:I}", "Name", key, "Soft",
                      (json_int_t)(one ? json_integer_value(value) : json_int(value, "soft")), "Hard",
                      (json_int_t)(one ? json_integer_value(value) : json_int(value, "hard"))));
    }
    if (json_array_size(ulimits))
        json_object_set(m->container, "Ulimits", ulimits);
    json_decref(ulimits);
}

static const struct {
    const char *from, *to;
} same[] = {
    {"hostname", "Hostname"},    {"working_dir", "Dir"},        {"user", "User"},
    {"group_add", "Groups"},     {"stop_signal", "StopSignal"}, {"tty", "TTY"},
    {"stdin_open", "OpenStdin"}, {"read_only", "ReadOnly"},     {"init", "Init"},
    {"sysctls", "Sysctls"},      {"cap_add", "CapabilityAdd"},  {"cap_drop", "CapabilityDrop"},
};

/* With the tag that a name without one means. */
static void put_image(struct making *m, const char *image)
{
    const char *slash = strrchr(image, '/');
    bool tagged = strchr(image, '@') || strchr(slash ? slash : image, ':');
    _cleanup_free_ char *whole = str_printf("%s%s", image, tagged ? "" : ":latest");
    json_set_str(m->container, "Image", whole);
}

static void put_container(struct making *m)
{
    for (size_t i = 0; i < ARRAY_SIZE(same); i++)
        set(m->container, same[i].to, json_object_get(m->in, same[i].from));
    json_set_str(m->container, "Isolation", "default");
    set_duration(m, m->container, "StopGracePeriod", m->in, "stop_grace_period");
    put_command(m);
    put_hosts(m);
    put_health(m);
    put_limits(m);
}

/* --- Files --- */

static void put_volume(struct making *m, const json_t *given, json_t *mount)
{
    const char *key = json_str(given, "source");
    const json_t *options = json_object_get(given, "volume"),
                 *volume = json_object_get(json_object_get(m->document, "volumes"), key);
    json_t *out = json_object();
    if (*key)
        json_set_str(mount, "Source", *json_str(volume, "name") ? json_str(volume, "name") : key);
    if (!json_bool(volume, "external"))
        json_object_set_new(out, "Labels", labels_of(m, json_object_get(volume, "labels")));
    if (json_bool(options, "nocopy"))
        json_object_set_new(out, "NoCopy", json_true());
    if (!nothing(json_object_get(options, "subpath")))
        problem(m, "volumes", "%.100s: a subpath is not for services of a swarm", key);
    if (!nothing(json_object_get(volume, "driver")) || !nothing(json_object_get(volume, "driver_opts"))) {
        json_t *driver = json_object();
        json_set_str(driver, "Name", *json_str(volume, "driver") ? json_str(volume, "driver") : "local");
        set(driver, "Options", json_object_get(volume, "driver_opts"));
        json_object_set_new(out, "DriverConfig", driver);
    }
    json_object_set_new(mount, "VolumeOptions", out);
}

static void put_mount(struct making *m, const json_t *given, json_t *mounts)
{
    const char *type = json_str(given, "type"), *propagation;
    json_t *mount = json_pack("{s:s, s:s}", "Type", type, "Target", json_str(given, "target"));
    if (json_bool(given, "read_only"))
        json_object_set_new(mount, "ReadOnly", json_true());
    if (str_eq(type, "volume"))
        put_volume(m, given, mount);
    else if (str_eq(type, "bind")) {
        json_set_str(mount, "Source", json_str(given, "source"));
        propagation = json_str(json_object_get(given, "bind"), "propagation");
        if (*propagation)
            json_object_set_new(mount, "BindOptions", json_pack("{s:s}", "Propagation", propagation));
    } else if (str_eq(type, "tmpfs")) {
        const json_t *options = json_object_get(given, "tmpfs");
        json_t *out = json_object();
        if (size_of(options, "size"))
            json_object_set_new(out, "SizeBytes", json_integer(size_of(options, "size")));
        set(out, "Mode", json_object_get(options, "mode"));
        json_object_set_new(mount, "TmpfsOptions", out);
    } else
        problem(m, "volumes", "type \"%.50s\" is not for services of a swarm", type);
    json_array_append_new(mounts, mount);
}

static void put_mounts(struct making *m)
{
    json_t *mounts = json_array(), *one;
    size_t i;
    json_array_foreach (json_object_get(m->in, "volumes"), i, one)
        put_mount(m, one, mounts);
    json_array_foreach (json_object_get(m->in, "tmpfs"), i, one) {
        const char *text = json_string_value(one) ? json_string_value(one) : "";
        if (strchr(text, ':'))
            problem(
                m, "tmpfs",
                "%.100s: options are not for services of a swarm; write it under volumes:, with type: tmpfs",
                text);
        json_array_append_new(mounts, json_pack("{s:s, s:s}", "Type", "tmpfs", "Target", text));
    }
    if (json_array_size(mounts))
        json_object_set(m->container, "Mounts", mounts);
    json_decref(mounts);
}

/* As docker stack deploy has it: a secret's place below /run/secrets. */
static const char *file_name(const char *target, const char *source)
{
    const char *below = str_after(target, "/run/secrets/");
    return below && !strchr(below, '/') ? below : *target ? target : source;
}

/* Secrets and configs of the service. */
static void put_grants(struct making *m, const char *section, const char *field, const char *id,
                       const char *name)
{
    json_t *out = json_array(), *one;
    size_t i;
    json_array_foreach (json_object_get(m->in, section), i, one) {
        const char *source = json_str(one, "source"), *target = json_str(one, "target"),
                   *uid = json_str(one, "uid"), *gid = json_str(one, "gid");
        const json_t *thing = json_object_get(json_object_get(m->document, section), source),
                     *mode = json_object_get(one, "mode");
        json_array_append_new(
            out,
            json_pack("{s:s, s:s, s:{s:s, s:s, s:s, s:I}}", id, "", name, json_str(thing, "name"), "File",
                      "Name", file_name(target, source), "UID", *uid ? uid : "0", "GID", *gid ? gid : "0",
                      "Mode", (json_int_t)(json_is_integer(mode) ? json_integer_value(mode) : 0444)));
    }
    if (json_array_size(out))
        json_object_set(m->container, field, out);
    json_decref(out);
}

/* --- Networks and ports --- */

static void put_networks(struct making *m)
{
    static const char *const known[] = {"aliases", "priority", NULL};
    const char *mode = json_str(m->in, "network_mode"), *key, *option;
    json_t *out = json_array(), *value, *other;
    if (str_eq(mode, "host") || str_eq(mode, "none"))
        json_array_append_new(out, json_pack("{s:s}", "Target", mode));
    else if (*mode && !str_eq(mode, "bridge"))
        problem(m, "network_mode", "\"%.100s\" is not for services of a swarm: host or none", mode);
    json_object_foreach (*mode ? NULL : json_object_get(m->in, "networks"), key, value) {
        const json_t *network = json_object_get(json_object_get(m->document, "networks"), key);
        json_t *aliases = json_array();
        json_object_foreach (value, option, other)
            if (!strv_has((char *const *)known, option) && !nothing(other))
                problem(m, "networks", "%.100s.%.100s is not for services of a swarm", key, option);
        json_array_extend(aliases, json_object_get(value, "aliases"));
        json_array_append_new(aliases, json_string(m->name));
        json_array_append_new(
            out, json_pack("{s:s, s:o}", "Target", json_str(network, "name"), "Aliases", aliases));
    }
    if (json_array_size(out))
        json_object_set(m->template, "Networks", out);
    json_decref(out);
}

static void put_ports(struct making *m, const json_t *deploy)
{
    json_t *ports = json_array(), *one;
    const char *mode = json_str(deploy, "endpoint_mode");
    size_t i;
    json_array_foreach (json_object_get(m->in, "ports"), i, one) {
        int64_t published = 0;
        const char *text = json_str(one, "published"), *publish = json_str(one, "mode"),
                   *protocol = json_str(one, "protocol");
        if (*text && parse_i64(text, 1, 65535, &published, NULL) < 0)
            problem(m, "ports", "published: \"%.50s\" must be one port for a service of a swarm", text);
        if (*json_str(one, "host_ip"))
            problem(m, "ports",
                    "%.50s: a service of a swarm is published on every address of its nodes, not on one; "
                    "leave the address out",
                    json_str(one, "host_ip"));
        json_t *port = json_pack("{s:s, s:I, s:s}", "Protocol", *protocol ? protocol : "tcp", "TargetPort",
                                 (json_int_t)json_int(one, "target"), "PublishMode",
                                 str_eq(publish, "host") ? "host" : "ingress");
        if (published)
            json_object_set_new(port, "PublishedPort", json_integer(published));
        json_array_append_new(ports, port);
    }
    json_t *endpoint = json_pack("{s:s}", "Mode", *mode ? mode : "vip");
    if (json_array_size(ports))
        json_object_set(endpoint, "Ports", ports);
    json_decref(ports);
    json_object_set_new(m->spec, "EndpointSpec", endpoint);
}

/* --- deploy: --- */

static void put_amounts(struct making *m, json_t *resources, const char *key, const json_t *given)
{
    json_t *out = json_object();
    const json_t *cpus = json_object_get(given, "cpus");
    double number = json_is_string(cpus) ? strtod(json_string_value(cpus), NULL) : json_number_value(cpus);
    if (number > 0)
        json_object_set_new(out, "NanoCPUs", json_integer((json_int_t)(number * 1e9 + 0.5)));
    if (size_of(given, "memory"))
        json_object_set_new(out, "MemoryBytes", json_integer(size_of(given, "memory")));
    set(out, "Pids", json_object_get(given, "pids"));
    if (!nothing(json_object_get(given, "devices")) || !nothing(json_object_get(given, "generic_resources")))
        problem(m, "deploy.resources", "devices and generic resources are not for services of a swarm here");
    if (json_object_size(out))
        json_object_set(resources, key, out);
    json_decref(out);
}

static void put_resources(struct making *m, const json_t *deploy)
{
    const json_t *given = json_object_get(deploy, "resources"),
                 *asked = json_object_get(given, "reservations");
    json_t *out = json_object(), *limits = json_object();
    json_object_update(limits, json_object_get(given, "limits"));
    set(limits, "memory", json_object_get(m->in, "mem_limit"));
    set(limits, "cpus", json_object_get(m->in, "cpus"));
    set(limits, "pids", json_object_get(m->in, "pids_limit"));
    put_amounts(m, out, "Limits", limits);
    json_decref(limits);
    json_t *reserved = json_object();
    json_object_update(reserved, (json_t *)asked);
    set(reserved, "memory", json_object_get(m->in, "mem_reservation"));
    put_amounts(m, out, "Reservations", reserved);
    json_decref(reserved);
    json_object_set_new(m->template, "Resources", out);
}

/* A service that others wait for to complete is not to run again when it has. */
static bool completes(const struct making *m)
{
    for (size_t i = 0; i < m->project->service_count; i++)
        for (size_t j = 0; j < m->project->services[i].depend_count; j++) {
            const struct compose_dependency *d = &m->project->services[i].depends[j];
            if (d->condition == COMPOSE_COMPLETED && str_eq(d->service, m->name))
                return true;
        }
    return false;
}

static void put_restart(struct making *m, const json_t *deploy)
{
    const json_t *given = json_object_get(deploy, "restart_policy");
    const char *restart = json_str(m->in, "restart"), *condition = json_str(given, "condition");
    int64_t most = json_int(given, "max_attempts");
    json_t *out = json_object();
    if (!*condition && *restart) {
        condition = str_eq(restart, "no") ? "none" : str_after(restart, "on-failure") ? "on-failure" : "any";
        const char *count = str_after(restart, "on-failure:");
        if (count)
            (void)parse_i64(count, 0, INT32_MAX, &most, NULL);
    }
    if (!*condition && completes(m))
        condition = "on-failure";
    if (nothing(given) && !*condition) {
        json_decref(out);
        return; /* then it is any */
    }
    json_set_str(out, "Condition", *condition ? condition : "any");
    set_duration(m, out, "Delay", given, "delay");
    set_duration(m, out, "Window", given, "window");
    json_object_set_new(out, "MaxAttempts", json_integer(most));
    json_object_set_new(m->template, "RestartPolicy", out);
}

static void put_rollout(struct making *m, const json_t *deploy, const char *key, const char *name)
{
    const json_t *given = json_object_get(deploy, key), *parallelism = json_object_get(given, "parallelism");
    const char *action = json_str(given, "failure_action"), *order = json_str(given, "order");
    if (nothing(given))
        return;
    json_t *out =
        json_pack("{s:I, s:s, s:s}", "Parallelism",
                  (json_int_t)(json_is_integer(parallelism) ? json_integer_value(parallelism) : 1),
                  "FailureAction", *action ? action : "pause", "Order", *order ? order : "stop-first");
    set_duration(m, out, "Delay", given, "delay");
    set_duration(m, out, "Monitor", given, "monitor");
    const json_t *ratio = json_object_get(given, "max_failure_ratio");
    json_object_set_new(out, "MaxFailureRatio",
                        json_is_number(ratio) ? json_incref((json_t *)ratio) : json_integer(0));
    json_object_set_new(m->spec, name, out);
}

static void put_placement(struct making *m, const json_t *deploy)
{
    const json_t *given = json_object_get(deploy, "placement");
    json_t *out = json_object(), *preferences = json_array(), *one;
    size_t i;
    set(out, "Constraints", json_object_get(given, "constraints"));
    json_array_foreach (json_object_get(given, "preferences"), i, one)
        json_array_append_new(preferences,
                              json_pack("{s:{s:s}}", "Spread", "SpreadDescriptor", json_str(one, "spread")));
    if (json_array_size(preferences))
        json_object_set(out, "Preferences", preferences);
    json_decref(preferences);
    set(out, "MaxReplicas", json_object_get(given, "max_replicas_per_node"));
    const char *platform = json_str(m->in, "platform"), *slash = strchr(platform, '/');
    if (slash) {
        _cleanup_free_ char *os = mem_strndup(platform, (size_t)(slash - platform)),
                            *machine = mem_strndup(slash + 1, strcspn(slash + 1, "/"));
        json_object_set_new(out, "Platforms", json_pack("[{s:s, s:s}]", "OS", os, "Architecture", machine));
    }
    json_object_set_new(m->template, "Placement", out);
}

static void put_mode(struct making *m, const struct compose_service *s, const json_t *deploy)
{
    const char *mode = json_str(deploy, "mode");
    json_int_t n = s->replicas;
    json_t *out = str_eq(mode, "global")           ? json_pack("{s:{}}", "Global")
                  : str_eq(mode, "global-job")     ? json_pack("{s:{}}", "GlobalJob")
                  : str_eq(mode, "replicated-job") ? json_pack("{s:{s:I, s:I}}", "ReplicatedJob",
                                                               "MaxConcurrent", n, "TotalCompletions", n)
                                                   : json_pack("{s:{s:I}}", "Replicated", "Replicas", n);
    must(out);
    json_object_set_new(m->spec, "Mode", out);
}

static void put_logging(struct making *m)
{
    const json_t *given = json_object_get(m->in, "logging");
    if (nothing(given))
        return;
    json_t *out = json_object();
    json_set_str(out, "Name", json_str(given, "driver"));
    set(out, "Options", json_object_get(given, "options"));
    json_object_set_new(m->template, "LogDriver", out);
}

/* --- Keys --- */

/* Those that are read here, and those that say nothing about a service that runs. */
static const char *const known[] = {"attach",
                                    "build",
                                    "cap_add",
                                    "cap_drop",
                                    "command",
                                    "configs",
                                    "container_name",
                                    "cpus",
                                    "depends_on",
                                    "deploy",
                                    "develop",
                                    "dns",
                                    "dns_opt",
                                    "dns_search",
                                    "entrypoint",
                                    "env_file",
                                    "environment",
                                    "expose",
                                    "extra_hosts",
                                    "group_add",
                                    "healthcheck",
                                    "hostname",
                                    "image",
                                    "init",
                                    "labels",
                                    "logging",
                                    "mem_limit",
                                    "mem_reservation",
                                    "network_mode",
                                    "networks",
                                    "pids_limit",
                                    "platform",
                                    "ports",
                                    "profiles",
                                    "pull_policy",
                                    "read_only",
                                    "restart",
                                    "scale",
                                    "secrets",
                                    "stdin_open",
                                    "stop_grace_period",
                                    "stop_signal",
                                    "sysctls",
                                    "tmpfs",
                                    "tty",
                                    "ulimits",
                                    "user",
                                    "volumes",
                                    "working_dir",
                                    NULL};

static void check_keys(struct making *m)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)m->in, key, value)
        if (!nothing(value) && !strv_has((char *const *)known, key))
            problem(m, key, "is not for services of a swarm");
}

json_t *compose__stack_spec(const struct compose_project *p, const struct compose_service *s,
                            const json_t *document, struct str *problems)
{
    struct making m = {.project = p,
                       .name = s->name,
                       .in = json_object_get(json_object_get(document, "services"), s->name),
                       .document = document,
                       .container = json_object(),
                       .template = json_object(),
                       .spec = json_object(),
                       .problems = problems};
    const json_t *deploy = json_object_get(m.in, "deploy");
    _cleanup_free_ char *name = str_printf("%s_%s", p->name, s->name);
    json_t *labels = labels_of(&m, json_object_get(deploy, "labels"));
    check_keys(&m);
    put_container(&m);
    put_image(&m, s->image);
    put_mounts(&m);
    put_grants(&m, "secrets", "Secrets", "SecretID", "SecretName");
    put_grants(&m, "configs", "Configs", "ConfigID", "ConfigName");
    json_object_set_new(m.template, "ContainerSpec", m.container);
    put_resources(&m, deploy);
    put_restart(&m, deploy);
    put_placement(&m, deploy);
    put_networks(&m);
    put_logging(&m);
    json_object_set_new(m.template, "ForceUpdate", json_integer(0));
    json_set_str(m.template, "Runtime", "container");
    json_set_str(labels, "com.docker.stack.image", s->image);
    json_set_str(m.spec, "Name", name);
    json_object_set_new(m.spec, "Labels", labels);
    json_object_set_new(m.spec, "TaskTemplate", m.template);
    put_mode(&m, s, deploy);
    put_rollout(&m, deploy, "update_config", "UpdateConfig");
    put_rollout(&m, deploy, "rollback_config", "RollbackConfig");
    put_ports(&m, deploy);
    return m.spec;
}
