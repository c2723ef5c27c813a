/* One service of a stack: the canonical form of a Compose file's service into a ServiceSpec. */
#include "compose/stack_priv.h"

#include "base/json.h"

void stack__problem(struct making *m, const char *key, const char *format, ...)
{
    char text[300];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    str_addf(m->problems, "services.%s.%s: %s\n", m->name, key, text);
}

bool stack__nothing(const json_t *v)
{
    return !v || json_is_null(v) || json_is_false(v) || (json_is_object(v) && !json_object_size(v)) ||
           (json_is_array(v) && !json_array_size(v)) || (json_is_string(v) && !json_string_length(v));
}

void stack__set(json_t *to, const char *key, const json_t *value)
{
    if (!stack__nothing(value))
        json_object_set(to, key, (json_t *)value);
}

void stack__set_duration(struct making *m, json_t *to, const char *key, const json_t *from, const char *name)
{
    const json_t *text = json_object_get(from, name);
    int64_t ns;
    if (!json_is_string(text))
        return;
    if (parse_duration(json_string_value(text), &ns, NULL) < 0)
        stack__problem(m, name, "\"%.50s\" is no duration", json_string_value(text));
    else
        json_object_set_new(to, key, json_integer(ns));
}

/* A size is a text of digits there. */
int64_t stack__size_of(const json_t *from, const char *key)
{
    const json_t *value = json_object_get(from, key);
    int64_t n = json_integer_value(value);
    if (json_is_string(value) && parse_bytes(json_string_value(value), &n, NULL) < 0)
        return 0;
    return n;
}

json_t *stack__labels_of(struct making *m, const json_t *given)
{
    json_t *out = json_is_object(given) ? json_copy((json_t *)given) : json_object();
    json_set_str(out, STACK_LABEL, m->project->name);
    return out;
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
        if (!stack__nothing(value) && !strv_has((char *const *)known, key))
            stack__problem(m, key, "is not for services of a swarm");
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
    json_t *labels = stack__labels_of(&m, json_object_get(deploy, "labels"));
    check_keys(&m);
    stack__put_container(&m);
    stack__put_image(&m, s->image);
    stack__put_mounts(&m);
    stack__put_grants(&m, "secrets", "Secrets", "SecretID", "SecretName");
    stack__put_grants(&m, "configs", "Configs", "ConfigID", "ConfigName");
    json_object_set_new(m.template, "ContainerSpec", m.container);
    stack__put_resources(&m, deploy);
    stack__put_restart(&m, deploy);
    stack__put_placement(&m, deploy);
    stack__put_networks(&m);
    stack__put_logging(&m);
    json_object_set_new(m.template, "ForceUpdate", json_integer(0));
    json_set_str(m.template, "Runtime", "container");
    json_set_str(labels, "com.docker.stack.image", s->image);
    json_set_str(m.spec, "Name", name);
    json_object_set_new(m.spec, "Labels", labels);
    json_object_set_new(m.spec, "TaskTemplate", m.template);
    stack__put_mode(&m, s, deploy);
    stack__put_rollout(&m, deploy, "update_config", "UpdateConfig");
    stack__put_rollout(&m, deploy, "rollback_config", "RollbackConfig");
    stack__put_ports(&m, deploy);
    return m.spec;
}
