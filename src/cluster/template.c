/* The placeholders that swarm mode knows in host names, environment and mounts, "{{.Service.Name}}", and
 * those that only secrets and configs with the template driver golang have, {{secret "FILE"}}.
 * Anything else between double braces is refused, as it would be by a template engine that does not know it.
 */
#include "cluster/cluster_priv.h"

static char *label_of(const json_t *labels, const char *expression)
{
    /* index .Service.Labels "key" */
    const char *quote = strchr(expression, '"'), *end = quote ? strchr(quote + 1, '"') : NULL;
    if (!end)
        return NULL;
    _cleanup_free_ char *key = mem_strndup(quote + 1, (size_t)(end - quote - 1));
    return mem_strdup(json_str(labels, key));
}

static char *value_of(struct cluster *c, const struct task *t, const char *name)
{
    const struct node *n = t->node ? map_get(&c->objects[CLUSTER_NODE], t->node) : NULL;
    const json_t *platform = n ? json_object_get(n->description, "Platform") : NULL;
    if (str_eq(name, ".Service.ID"))
        return mem_strdup(t->service->o.id);
    if (str_eq(name, ".Service.Name"))
        return mem_strdup(t->service->o.name);
    if (str_after(name, "index .Service.Labels "))
        return label_of(json_object_get(t->service->o.spec, "Labels"), name);
    if (str_eq(name, ".Node.ID"))
        return mem_strdup(t->node ? t->node : "");
    if (str_eq(name, ".Node.Hostname"))
        return mem_strdup(n ? json_str(n->description, "Hostname") : "");
    if (str_eq(name, ".Node.Platform.OS"))
        return mem_strdup(json_str(platform, "OS"));
    if (str_eq(name, ".Node.Platform.Architecture"))
        return mem_strdup(json_str(platform, "Architecture"));
    if (str_eq(name, ".Task.ID"))
        return mem_strdup(t->o.id);
    if (str_eq(name, ".Task.Name"))
        return task__container_name(t);
    if (str_eq(name, ".Task.Slot"))
        return t->slot ? str_printf("%lld", (long long)t->slot) : mem_strdup(t->node ? t->node : "");
    return NULL;
}

/* Of the task's own secrets or configs, the one that it has as the file `target`, as it was given: what is
 * between braces in there is not expanded again. */
static char *content_of(struct cluster *c, const struct task *t, enum cluster_kind kind, const char *target)
{
    bool secret = kind == CLUSTER_SECRET;
    const json_t *container = json_object_get(t->o.spec, "ContainerSpec");
    json_t *one;
    size_t i;
    json_array_foreach (json_object_get(container, secret ? "Secrets" : "Configs"), i, one) {
        const struct secret *s = map_get(&c->objects[kind], json_str(one, secret ? "SecretID" : "ConfigID"));
        _cleanup_str_ struct str content = STR_INIT;
        if (s && str_eq(json_str(json_object_get(one, "File"), "Name"), target) &&
            secret__reveal(c, s, &content, &(struct err){0}) == 0)
            return mem_strdup(str_get(&content));
    }
    return NULL;
}

static char *variable_of(const struct task *t, const char *name)
{
    json_t *one;
    size_t i;
    json_array_foreach (json_object_get(json_object_get(t->o.spec, "ContainerSpec"), "Env"), i, one) {
        const char *value = str_after(json_string_value(one), name);
        if (value && *value == '=')
            return mem_strdup(value + 1);
    }
    return mem_strdup("");
}

/* secret "TARGET", config "TARGET", env "NAME" */
static char *payload_value(struct cluster *c, const struct task *t, const char *call)
{
    const char *quote = strchr(call, '"'), *end = quote ? strchr(quote + 1, '"') : NULL;
    if (!end || end[1])
        return NULL;
    _cleanup_free_ char *argument = mem_strndup(quote + 1, (size_t)(end - quote - 1));
    if (str_after(call, "secret \""))
        return content_of(c, t, CLUSTER_SECRET, argument);
    if (str_after(call, "config \""))
        return content_of(c, t, CLUSTER_CONFIG, argument);
    return str_after(call, "env \"") ? variable_of(t, argument) : NULL;
}

char *template__expand(struct cluster *c, const struct task *t, const char *text, bool payload,
                       struct err *err)
{
    struct str out = STR_INIT;
    for (const char *open; (open = strstr(text, "{{"));) {
        const char *close = strstr(open, "}}");
        if (!close) {
            err_set(err, ERR_INVALID, "\"%.100s\": {{ without }}", open);
            str_free(&out);
            return NULL;
        }
        _cleanup_free_ char *inside = mem_strndup(open + 2, (size_t)(close - open - 2));
        _cleanup_free_ char *name = str_strip(inside);
        _cleanup_free_ char *found = value_of(c, t, name);
        _cleanup_free_ char *value = found || !payload ? take_ptr(found) : payload_value(c, t, name);
        if (!value) {
            err_set(err, ERR_INVALID,
                    "{{%.100s}} is not a placeholder: there are .Service.ID, .Service.Name, index "
                    ".Service.Labels \"KEY\", .Node.ID, .Node.Hostname, .Node.Platform.OS, "
                    ".Node.Platform.Architecture, .Task.ID, .Task.Name, .Task.Slot%s",
                    name,
                    payload ? ", secret \"FILE\" and config \"FILE\" of the service's own, env \"NAME\""
                            : "");
            str_free(&out);
            return NULL;
        }
        str_addn(&out, text, (size_t)(open - text));
        str_add(&out, value);
        text = close + 2;
    }
    str_add(&out, text);
    return str_take(&out);
}
