/* A stack's service: its networks and ports, and what deploy: says of it. */
#include "compose/stack_priv.h"

#include "base/json.h"

/* --- Networks and ports --- */

void stack__put_networks(struct making *m)
{
    static const char *const known[] = {"aliases", "priority", NULL};
    const char *mode = json_str(m->in, "network_mode"), *key, *option;
    json_t *out = json_array(), *value, *other;
    if (str_eq(mode, "host") || str_eq(mode, "none"))
        json_array_append_new(out, json_pack("{s:s}", "Target", mode));
    else if (*mode && !str_eq(mode, "bridge"))
        stack__problem(m, "network_mode", "\"%.100s\" is not for services of a swarm: host or none", mode);
    json_object_foreach (*mode ? NULL : json_object_get(m->in, "networks"), key, value) {
        const json_t *network = json_object_get(json_object_get(m->document, "networks"), key);
        json_t *aliases = json_array();
        json_object_foreach (value, option, other)
            if (!strv_has((char *const *)known, option) && !stack__nothing(other))
                stack__problem(m, "networks", "%.100s.%.100s is not for services of a swarm", key, option);
        json_array_extend(aliases, json_object_get(value, "aliases"));
        json_array_append_new(aliases, json_string(m->name));
        json_array_append_new(
            out, json_pack("{s:s, s:o}", "Target", json_str(network, "name"), "Aliases", aliases));
    }
    if (json_array_size(out))
        json_object_set(m->template, "Networks", out);
    json_decref(out);
}

void stack__put_ports(struct making *m, const json_t *deploy)
{
    json_t *ports = json_array(), *one;
    const char *mode = json_str(deploy, "endpoint_mode");
    size_t i;
    json_array_foreach (json_object_get(m->in, "ports"), i, one) {
        int64_t published = 0;
        const char *text = json_str(one, "published"), *publish = json_str(one, "mode"),
                   *protocol = json_str(one, "protocol");
        if (*text && parse_i64(text, 1, 65535, &published, NULL) < 0)
            stack__problem(m, "ports", "published: \"%.50s\" must be one port for a service of a swarm",
                           text);
        if (*json_str(one, "host_ip"))
            stack__problem(
                m, "ports",
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
    if (stack__size_of(given, "memory"))
        json_object_set_new(out, "MemoryBytes", json_integer(stack__size_of(given, "memory")));
    stack__set(out, "Pids", json_object_get(given, "pids"));
    if (!stack__nothing(json_object_get(given, "devices")) ||
        !stack__nothing(json_object_get(given, "generic_resources")))
        stack__problem(m, "deploy.resources",
                       "devices and generic resources are not for services of a swarm here");
    if (json_object_size(out))
        json_object_set(resources, key, out);
    json_decref(out);
}

void stack__put_resources(struct making *m, const json_t *deploy)
{
    const json_t *given = json_object_get(deploy, "resources"),
                 *asked = json_object_get(given, "reservations");
    json_t *out = json_object(), *limits = json_object();
    json_object_update(limits, json_object_get(given, "limits"));
    stack__set(limits, "memory", json_object_get(m->in, "mem_limit"));
    stack__set(limits, "cpus", json_object_get(m->in, "cpus"));
    stack__set(limits, "pids", json_object_get(m->in, "pids_limit"));
    put_amounts(m, out, "Limits", limits);
    json_decref(limits);
    json_t *reserved = json_object();
    json_object_update(reserved, (json_t *)asked);
    stack__set(reserved, "memory", json_object_get(m->in, "mem_reservation"));
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

void stack__put_restart(struct making *m, const json_t *deploy)
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
    if (stack__nothing(given) && !*condition) {
        json_decref(out);
        return; /* then it is any */
    }
    json_set_str(out, "Condition", *condition ? condition : "any");
    stack__set_duration(m, out, "Delay", given, "delay");
    stack__set_duration(m, out, "Window", given, "window");
    json_object_set_new(out, "MaxAttempts", json_integer(most));
    json_object_set_new(m->template, "RestartPolicy", out);
}

void stack__put_rollout(struct making *m, const json_t *deploy, const char *key, const char *name)
{
    const json_t *given = json_object_get(deploy, key), *parallelism = json_object_get(given, "parallelism");
    const char *action = json_str(given, "failure_action"), *order = json_str(given, "order");
    if (stack__nothing(given))
        return;
    json_t *out =
        json_pack("{s:I, s:s, s:s}", "Parallelism",
                  (json_int_t)(json_is_integer(parallelism) ? json_integer_value(parallelism) : 1),
                  "FailureAction", *action ? action : "pause", "Order", *order ? order : "stop-first");
    stack__set_duration(m, out, "Delay", given, "delay");
    stack__set_duration(m, out, "Monitor", given, "monitor");
    const json_t *ratio = json_object_get(given, "max_failure_ratio");
    json_object_set_new(out, "MaxFailureRatio",
                        json_is_number(ratio) ? json_incref((json_t *)ratio) : json_integer(0));
    json_object_set_new(m->spec, name, out);
}

void stack__put_placement(struct making *m, const json_t *deploy)
{
    const json_t *given = json_object_get(deploy, "placement");
    json_t *out = json_object(), *preferences = json_array(), *one;
    size_t i;
    stack__set(out, "Constraints", json_object_get(given, "constraints"));
    json_array_foreach (json_object_get(given, "preferences"), i, one)
        json_array_append_new(preferences,
                              json_pack("{s:{s:s}}", "Spread", "SpreadDescriptor", json_str(one, "spread")));
    if (json_array_size(preferences))
        json_object_set(out, "Preferences", preferences);
    json_decref(preferences);
    stack__set(out, "MaxReplicas", json_object_get(given, "max_replicas_per_node"));
    const char *platform = json_str(m->in, "platform"), *slash = strchr(platform, '/');
    if (slash) {
        _cleanup_free_ char *os = mem_strndup(platform, (size_t)(slash - platform)),
                            *machine = mem_strndup(slash + 1, strcspn(slash + 1, "/"));
        json_object_set_new(out, "Platforms", json_pack("[{s:s, s:s}]", "OS", os, "Architecture", machine));
    }
    json_object_set_new(m->template, "Placement", out);
}

void stack__put_mode(struct making *m, const struct compose_service *s, const json_t *deploy)
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

void stack__put_logging(struct making *m)
{
    const json_t *given = json_object_get(m->in, "logging");
    if (stack__nothing(given))
        return;
    json_t *out = json_object();
    json_set_str(out, "Name", json_str(given, "driver"));
    stack__set(out, "Options", json_object_get(given, "options"));
    json_object_set_new(m->template, "LogDriver", out);
}
