#include "compose/render.h"

#include "base/json.h"
#include "compose/schema.h"
#include "compose/yaml.h"

struct render {
    const struct compose_project *p;
    const struct render_options *options;
    struct yaml_arena *arena;
};

/* Copies maps and lists, so that the project's own tree stays as it is. */
static struct yaml_node *copy_tree(struct yaml_arena *arena, const struct yaml_node *from)
{
    struct yaml_node *node = yaml_new(arena, from->type, from);
    node->plain = from->plain;
    node->text = from->text;
    for (size_t i = 0; i < from->count; i++)
        if (from->type == YAML_LIST)
            yaml_append(arena, node, copy_tree(arena, from->items[i]));
        else
            yaml_put(arena, node, &from->pairs[i], from->pairs[i].key,
                     copy_tree(arena, from->pairs[i].value));
    return node;
}

static struct yaml_node *put_map(struct render *r, struct yaml_node *map, const char *key)
{
    struct yaml_node *value = yaml_get(map, key);
    if (!value)
        yaml_put(r->arena, map, NULL, key, value = yaml_new(r->arena, YAML_MAP, map));
    return value;
}

static void put_text(struct render *r, struct yaml_node *map, const char *key, const char *text)
{
    yaml_put(r->arena, map, NULL, key, yaml_new_text(r->arena, text, map));
}

static void put_default(struct render *r, struct yaml_node *map, const char *key, const char *text)
{
    if (!yaml_get(map, key))
        put_text(r, map, key, text);
}

/* --- A service --- */

/* The environment with its files in it, as the container gets it; names without a value stay null. */
static void put_environment(struct render *r, const struct compose_service *s, struct yaml_node *service)
{
    size_t i;
    json_t *item;
    if (!yaml_get(service, "environment") && !yaml_get(service, "env_file"))
        return;
    struct yaml_node *map = put_map(r, service, "environment");
    json_array_foreach (json_object_get(s->body, "Env"), i, item) {
        const char *text = json_string_value(item), *equals = strchr(text, '=');
        put_text(r, map, yaml_printf(r->arena, "%.*s", (int)(equals - text), text), equals + 1);
    }
    yaml_remove(service, "env_file");
}

static void put_labels(struct render *r, const struct compose_service *s, struct yaml_node *service)
{
    const char *name;
    json_t *value;
    if (!yaml_get(service, "label_file"))
        return;
    struct yaml_node *map = put_map(r, service, "labels");
    json_object_foreach (json_object_get(s->body, "Labels"), name, value)
        if (!str_after(name, "com.docker.compose."))
            put_text(r, map, name, json_string_value(value));
    yaml_remove(service, "label_file");
}

static void put_dependencies(struct render *r, const struct compose_service *s, struct yaml_node *service)
{
    static const char *const conditions[] = {"service_started", "service_healthy",
                                             "service_completed_successfully"};
    if (!s->depend_count)
        return;
    struct yaml_node *map = put_map(r, service, "depends_on");
    for (size_t i = 0; i < s->depend_count; i++) {
        const struct compose_dependency *d = &s->depends[i];
        struct yaml_node *entry = put_map(r, map, d->service);
        put_text(r, entry, "condition", conditions[d->condition]);
        if (d->restart || d->shares)
            put_text(r, entry, "restart", "true");
        put_text(r, entry, "required", d->required ? "true" : "false");
    }
}

static void put_grants(struct render *r, struct yaml_node *service, const char *key, const char *directory)
{
    const struct yaml_node *list = yaml_get(service, key);
    for (size_t i = 0; list && i < list->count; i++) {
        struct yaml_node *item = list->items[i];
        const char *target = yaml_text(item, "target");
        if (*target != '/')
            put_text(r, item, "target",
                     yaml_printf(r->arena, "%s/%s", directory, *target ? target : yaml_text(item, "source")));
    }
}

static void put_mounts(struct render *r, struct yaml_node *service)
{
    const struct yaml_node *list = yaml_get(service, "volumes");
    for (size_t i = 0; list && i < list->count; i++) {
        const char *type = yaml_text(list->items[i], "type");
        if (strcmp(type, "bind") == 0)
            put_default(r, put_map(r, list->items[i], "bind"), "create_host_path", "true");
        else if (strcmp(type, "volume") == 0)
            put_map(r, list->items[i], "volume");
    }
}

static void normalize_service(struct render *r, const struct compose_service *s, struct yaml_node *service)
{
    struct yaml_node *build = yaml_get(service, "build");
    if (build)
        put_default(r, build, "context", r->p->dir);
    if (build && !yaml_get(build, "dockerfile_inline"))
        put_default(r, build, "dockerfile", "Dockerfile");
    if (!yaml_get(service, "networks") && !yaml_get(service, "network_mode"))
        yaml_put(r->arena, put_map(r, service, "networks"), NULL, "default",
                 yaml_new(r->arena, YAML_NULL, service));
    /* docker compose prints these in any case. */
    static const char *const always[] = {"command", "entrypoint"};
    for (size_t i = 0; i < ARRAY_SIZE(always); i++)
        if (!yaml_find(service, always[i]))
            yaml_put(r->arena, service, NULL, always[i], yaml_new(r->arena, YAML_NULL, service));
    put_dependencies(r, s, service);
    put_grants(r, service, "secrets", "/run/secrets");
    put_grants(r, service, "configs", "");
    put_mounts(r, service);
}

static struct yaml_node *render_service(struct render *r, const struct compose_service *s)
{
    struct yaml_node *service = copy_tree(r->arena, s->node);
    yaml_remove(service, "extends");
    if (!r->options->no_env_resolution)
        put_environment(r, s, service);
    put_labels(r, s, service);
    if (!r->options->no_normalize)
        normalize_service(r, s, service);
    return service;
}

/* --- The rest --- */

static void render_resources(struct render *r, struct yaml_node *root, const char *section,
                             const struct compose_resource *list, size_t count)
{
    struct yaml_node *map = yaml_new(r->arena, YAML_MAP, NULL);
    for (size_t i = 0; i < count; i++) {
        const struct compose_resource *c = &list[i];
        if (!c->used && !r->options->all)
            continue;
        struct yaml_node *entry = c->node && c->node->type == YAML_MAP ? copy_tree(r->arena, c->node)
                                                                       : yaml_new(r->arena, YAML_MAP, NULL);
        if (!r->options->no_normalize)
            put_text(r, entry, "name", c->name);
        yaml_put(r->arena, map, NULL, c->key, entry);
    }
    if (map->count)
        yaml_put(r->arena, root, NULL, section, map);
}

static bool granted(const struct render *r, const char *section, const char *name)
{
    for (size_t i = 0; i < r->p->service_count; i++) {
        const struct yaml_node *list = yaml_get(r->p->services[i].node, section);
        for (size_t j = 0; r->p->services[i].active && list && j < list->count; j++)
            if (strcmp(yaml_text(list->items[j], "source"), name) == 0)
                return true;
    }
    return r->options->all;
}

static void render_grants(struct render *r, struct yaml_node *root, const char *section)
{
    const struct yaml_node *from = yaml_get(r->p->root, section);
    struct yaml_node *map = yaml_new(r->arena, YAML_MAP, NULL);
    for (size_t i = 0; from && i < from->count; i++) {
        const struct yaml_pair *pair = &from->pairs[i];
        if (pair->value->type != YAML_MAP || !granted(r, section, pair->key))
            continue;
        struct yaml_node *entry = copy_tree(r->arena, pair->value);
        if (!r->options->no_normalize)
            put_default(r, entry, "name", yaml_printf(r->arena, "%s_%s", r->p->name, pair->key));
        yaml_put(r->arena, map, NULL, pair->key, entry);
    }
    if (map->count)
        yaml_put(r->arena, root, NULL, section, map);
}

struct yaml_node *compose_render(const struct compose_project *p, const struct render_options *options)
{
    struct render r = {p, options, p->arena};
    struct yaml_node *root = yaml_new(p->arena, YAML_MAP, p->root);
    put_text(&r, root, "name", p->name);
    if (!p->services) { /* with its variables: what the files say, merged */
        root = copy_tree(p->arena, p->root);
        yaml_remove(root, "version");
        return schema_arrange(p->arena, root);
    }
    struct yaml_node *services = put_map(&r, root, "services");
    for (size_t i = 0; i < p->service_count; i++)
        if (p->services[i].active)
            yaml_put(p->arena, services, NULL, p->services[i].name, render_service(&r, &p->services[i]));
    render_resources(&r, root, "networks", p->networks, p->network_count);
    render_resources(&r, root, "volumes", p->volumes, p->volume_count);
    render_grants(&r, root, "secrets");
    render_grants(&r, root, "configs");
    for (size_t i = 0; i < p->root->count; i++)
        if (str_after(p->root->pairs[i].key, "x-"))
            yaml_put(p->arena, root, &p->root->pairs[i], p->root->pairs[i].key, p->root->pairs[i].value);
    return schema_arrange(p->arena, root);
}

/* --- JSON --- */

static json_t *scalar_json(const struct yaml_node *node)
{
    int64_t number;
    if (node->plain && yaml_is_bool_text(node->text))
        return json_boolean(*node->text == 't' || *node->text == 'T');
    if (node->plain && parse_i64(node->text, INT64_MIN, INT64_MAX, &number, NULL) == 0)
        return json_integer(number);
    if (node->plain && yaml_is_number_text(node->text) && !strpbrk(node->text, "xo"))
        return json_real(strtod(node->text, NULL));
    return json_string(node->text);
}

json_t *compose_render_json(const struct yaml_node *node)
{
    if (node->type == YAML_NULL)
        return json_null();
    if (node->type == YAML_SCALAR)
        return scalar_json(node);
    json_t *value = node->type == YAML_LIST ? json_array() : json_object();
    for (size_t i = 0; i < node->count; i++)
        if (node->type == YAML_LIST)
            json_array_append_new(value, compose_render_json(node->items[i]));
        else
            json_object_set_new(value, node->pairs[i].key, compose_render_json(node->pairs[i].value));
    return value;
}
