#include "compose/render.h"

#include "base/digest.h"
#include "base/json.h"
#include "compose/schema.h"
#include "compose/yaml.h"

struct render {
    const struct compose_project *p;
    const struct render_options *options;
    struct yaml_arena *arena;
};

/* Copies maps and lists, so that the project's own tree stays as it is. */
static struct yaml_node *copy(struct render *r, const struct yaml_node *from)
{
    struct yaml_arena *arena = r->arena;
    struct yaml_node *node = yaml_new(arena, from->type, from);
    node->plain = from->plain;
    node->text = r->options->no_paths && from->written ? from->written : from->text;
    for (size_t i = 0; i < from->count; i++)
        if (from->type == YAML_LIST)
            yaml_append(arena, node, copy(r, from->items[i]));
        else
            yaml_put(arena, node, &from->pairs[i], from->pairs[i].key, copy(r, from->pairs[i].value));
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
    if (strcmp(yaml_text(service, "pull_policy"), "if_not_present") == 0 && !r->options->no_normalize)
        put_text(r, service, "pull_policy", "missing");
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
        if (d->restart || d->linked)
            put_text(r, entry, "restart", "true");
        put_text(r, entry, "required", d->required ? "true" : "false");
    }
}

/* {default: null, id: socket} as ["default", "id: socket"]. */
static void put_agents(struct render *r, struct yaml_node *build)
{
    const struct yaml_node *map = yaml_get(build, "ssh");
    struct yaml_node *list = map ? yaml_new(r->arena, YAML_LIST, map) : NULL;
    for (size_t i = 0; map && i < map->count; i++) {
        const struct yaml_pair *pair = &map->pairs[i];
        const char *text = pair->value->type == YAML_NULL
                               ? pair->key
                               : yaml_printf(r->arena, "%s: %s", pair->key, pair->value->text);
        yaml_append(r->arena, list, yaml_new_text(r->arena, text, pair->value));
    }
    if (list)
        yaml_put(r->arena, build, NULL, "ssh", list);
}

static void put_secrets(struct render *r, struct yaml_node *service)
{
    const struct yaml_node *list = yaml_get(service, "secrets");
    for (size_t i = 0; list && i < list->count; i++)
        put_default(r, list->items[i], "target",
                    yaml_printf(r->arena, "/run/secrets/%s", yaml_text(list->items[i], "source")));
}

static void put_count(struct render *r, const struct yaml_node *list)
{
    for (size_t i = 0; list && i < list->count; i++) {
        struct yaml_node *item = list->items[i];
        const struct yaml_node *count = yaml_get(item, "count");
        if (count ? strcasecmp(yaml_text(item, "count"), "all") != 0 : yaml_get(item, "device_ids") != NULL)
            continue;
        put_text(r, item, "count", "-1");
        yaml_get(item, "count")->plain = true;
    }
}

/* Devices that neither a number nor ids are said of are all. */
static void put_device_counts(struct render *r, struct yaml_node *service)
{
    const struct yaml_node *resources = yaml_get(yaml_get(service, "deploy"), "resources");
    put_count(r, yaml_get(service, "gpus"));
    put_count(r, yaml_get(yaml_get(resources, "reservations"), "devices"));
}

static int by_text(const void *a, const void *b)
{
    return strcmp((*(struct yaml_node *const *)a)->text, (*(struct yaml_node *const *)b)->text);
}

/* "host:address" as "host=address", sorted. */
static void put_hosts(struct render *r, struct yaml_node *map)
{
    const struct yaml_node *from = yaml_get(map, "extra_hosts");
    struct yaml_node *list = from ? yaml_new(r->arena, YAML_LIST, from) : NULL;
    for (size_t i = 0; from && i < from->count; i++) {
        const char *text = from->items[i]->text, *address = text + strcspn(text, ":");
        size_t n = strlen(address);
        bool brackets = n > 3 && address[1] == '[' && address[n - 1] == ']';
        text = yaml_printf(r->arena, "%.*s=%.*s", (int)(address - text), text, (int)(n - (brackets ? 3 : 1)),
                           address + (brackets ? 2 : 1));
        yaml_append(r->arena, list, yaml_new_text(r->arena, text, from->items[i]));
    }
    if (!list)
        return;
    if (list->count)
        qsort(list->items, list->count, sizeof(*list->items), by_text);
    yaml_put(r->arena, map, NULL, "extra_hosts", list);
}

static void normalize_service(struct render *r, const struct compose_service *s, struct yaml_node *service)
{
    struct yaml_node *build = yaml_get(service, "build");
    if (build && !yaml_get(build, "dockerfile_inline"))
        put_default(r, build, "dockerfile", "Dockerfile");
    const struct yaml_node *networks = yaml_get(service, "networks");
    if (!(networks && networks->count) && !yaml_get(service, "network_mode"))
        yaml_put(r->arena, put_map(r, service, "networks"), NULL, "default",
                 yaml_new(r->arena, YAML_NULL, service));
    put_dependencies(r, s, service);
}

static struct yaml_node *render_service(struct render *r, const struct compose_service *s)
{
    struct yaml_node *service = copy(r, s->node);
    yaml_remove(service, "extends");
    if (!r->options->no_env_resolution)
        put_environment(r, s, service);
    put_labels(r, s, service);
    put_hosts(r, service);
    struct yaml_node *build = yaml_get(service, "build");
    if (build) {
        put_hosts(r, build);
        put_agents(r, build);
        put_default(r, build, "context", r->options->no_paths ? "." : r->p->dir);
    }
    put_device_counts(r, service);
    put_secrets(r, service);
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
        if (!c->used || (r->options->no_normalize && !c->node->line))
            continue;
        struct yaml_node *entry =
            c->node && c->node->type == YAML_MAP ? copy(r, c->node) : yaml_new(r->arena, YAML_MAP, NULL);
        if (!r->options->no_normalize)
            put_text(r, entry, "name", c->name);
        yaml_put(r->arena, map, NULL, c->key, entry);
    }
    if (map->count)
        yaml_put(r->arena, root, NULL, section, map);
}

static bool has_source(const struct yaml_node *list, const char *name)
{
    for (size_t i = 0; list && i < list->count; i++)
        if (strcmp(yaml_text(list->items[i], "source"), name) == 0)
            return true;
    return false;
}

static bool granted(const struct render *r, const char *section, const char *name)
{
    for (size_t i = 0; i < r->p->service_count; i++) {
        const struct compose_service *s = &r->p->services[i];
        if (s->active && (has_source(yaml_get(s->node, section), name) ||
                          has_source(yaml_get(yaml_get(s->node, "build"), section), name)))
            return true;
    }
    return false;
}

/* Of what is under networks, volumes, secrets or configs without a name of its own. */
static const char *own_name(struct render *r, const struct yaml_pair *pair)
{
    bool external = *yaml_text(pair->value, "external") == 't';
    return external ? pair->key : yaml_printf(r->arena, "%s_%s", r->p->name, pair->key);
}

static void render_grants(struct render *r, struct yaml_node *root, const char *section)
{
    const struct yaml_node *from = yaml_get(r->p->root, section);
    struct yaml_node *map = yaml_new(r->arena, YAML_MAP, NULL);
    for (size_t i = 0; from && i < from->count; i++) {
        const struct yaml_pair *pair = &from->pairs[i];
        if (pair->value->type != YAML_MAP || !granted(r, section, pair->key))
            continue;
        struct yaml_node *entry = copy(r, pair->value);
        if (!r->options->no_normalize)
            put_default(r, entry, "name", own_name(r, pair));
        yaml_put(r->arena, map, NULL, pair->key, entry);
    }
    if (map->count)
        yaml_put(r->arena, root, NULL, section, map);
}

/* --- With variables left in --- */

static void name_resources(struct render *r, struct yaml_node *root, const char *section)
{
    const struct yaml_node *map = yaml_get(root, section);
    for (size_t i = 0; map && map->type == YAML_MAP && i < map->count; i++) {
        struct yaml_pair *pair = &map->pairs[i];
        if (str_after(pair->key, "x-"))
            continue;
        if (pair->value->type != YAML_MAP)
            pair->value = yaml_new(r->arena, YAML_MAP, pair->value);
        put_default(r, pair->value, "name", own_name(r, pair));
    }
}

/* What follows from the files' keys alone. Returns whether the service is on the default network. */
static bool normalize_open_service(struct render *r, struct yaml_node *service)
{
    struct yaml_node *build = yaml_get(service, "build");
    const struct yaml_node *networks = yaml_get(service, "networks"), *files = yaml_get(service, "env_file");
    if (build && build->type == YAML_MAP && !yaml_get(build, "dockerfile_inline"))
        put_default(r, build, "dockerfile", "Dockerfile");
    for (size_t i = 0; files && files->type == YAML_LIST && i < files->count; i++)
        if (files->items[i]->type == YAML_MAP && !yaml_get(files->items[i], "required")) {
            put_text(r, files->items[i], "required", "true");
            yaml_get(files->items[i], "required")->plain = true;
        }
    if (yaml_get(service, "network_mode"))
        return false;
    if (networks && networks->count)
        return networks->type == YAML_MAP && yaml_find(networks, "default");
    yaml_remove(service, "networks");
    yaml_put(r->arena, put_map(r, service, "networks"), NULL, "default",
             yaml_new(r->arena, YAML_NULL, service));
    return true;
}

static void normalize_open(struct render *r, struct yaml_node *root)
{
    static const char *const sections[] = {"networks", "volumes", "secrets", "configs"};
    const struct yaml_node *services = yaml_get(root, "services");
    bool on_default = false;
    for (size_t i = 0; services && i < services->count; i++)
        if (services->pairs[i].value->type == YAML_MAP && !str_after(services->pairs[i].key, "x-"))
            on_default |= normalize_open_service(r, services->pairs[i].value);
    if (on_default && !yaml_find(yaml_get(root, "networks"), "default"))
        put_map(r, put_map(r, root, "networks"), "default");
    for (size_t i = 0; i < ARRAY_SIZE(sections); i++)
        name_resources(r, root, sections[i]);
}

struct yaml_node *compose_render(const struct compose_project *p, const struct render_options *options)
{
    struct render r = {p, options, p->arena};
    struct yaml_node *root = yaml_new(p->arena, YAML_MAP, p->root);
    put_text(&r, root, "name", p->name);
    if (!p->services) { /* with its variables: what the files say, merged */
        root = copy(&r, p->root);
        yaml_remove(root, "version");
        put_text(&r, root, "name", p->name);
        if (!options->no_normalize)
            normalize_open(&r, root);
        return schema_arrange(p->arena, root, options->json, true);
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
    return schema_arrange(p->arena, root, options->json, false);
}

/* --- Digests --- */

static char *hash_of(const struct yaml_node *node)
{
    char digest[DIGEST_BYTES];
    _cleanup_str_ struct str text = STR_INIT;
    render_format_json(node, 0, &text);
    digest_of(str_get(&text), text.len, digest);
    return mem_strdup(digest_hex(digest));
}

/* "service:x" as "container:ID". */
static void resolve_modes(struct render *r, struct yaml_node *service, render_container_fn container_of,
                          const void *context)
{
    static const char *const keys[] = {"network_mode", "ipc", "pid"};
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        const char *name = str_after(yaml_text(service, keys[i]), "service:"),
                   *id = name ? container_of(context, name) : NULL;
        if (id)
            put_text(r, service, keys[i], yaml_printf(r->arena, "container:%s", id));
    }
}

/* "x:ro" as the id alone, "container:x:ro" as "x". */
static void resolve_volumes_from(struct render *r, struct yaml_node *service,
                                 render_container_fn container_of, const void *context)
{
    const struct yaml_node *list = yaml_get(service, "volumes_from");
    for (size_t i = 0; list && i < list->count; i++) {
        const char *text = list->items[i]->text, *own = str_after(text, "container:");
        const char *from = own ? own : text;
        const char *name = yaml_printf(r->arena, "%.*s", (int)strcspn(from, ":"), from);
        const char *id = own ? name : container_of(context, name);
        if (id)
            list->items[i] = yaml_new_text(r->arena, yaml_strdup(r->arena, id), list->items[i]);
    }
}

/* The service of an arranged document with this one alone. */
static struct yaml_node *arranged_service(struct render *r, const struct compose_service *s,
                                          struct yaml_node *service)
{
    struct yaml_node *root = yaml_new(r->arena, YAML_MAP, NULL);
    yaml_put(r->arena, put_map(r, root, "services"), NULL, s->name, service);
    root = schema_arrange(r->arena, root, true, false);
    return yaml_get(yaml_get(root, "services"), s->name);
}

char *render_service_hash(const struct compose_project *p, const struct compose_service *s, bool later,
                          render_container_fn container_of, const void *context)
{
    static const char *const never[] = {"build", "pull_policy", "scale"};
    const struct render_options options = {.json = true};
    struct yaml_arena *arena = yaml_arena_new();
    struct render r = {p, &options, arena};
    struct yaml_node *service = render_service(&r, s);
    if (container_of) {
        resolve_modes(&r, service, container_of, context);
        resolve_volumes_from(&r, service, container_of, context);
    }
    for (size_t i = 0; i < ARRAY_SIZE(never); i++)
        yaml_remove(service, never[i]);
    if (later)
        yaml_remove(service, "depends_on");
    if (later)
        yaml_remove(service, "profiles");
    if (yaml_get(service, "deploy"))
        yaml_remove(yaml_get(service, "deploy"), "replicas");
    char *hash = hash_of(arranged_service(&r, s, service));
    yaml_arena_free(arena);
    return hash;
}

char *render_resource_hash(struct yaml_arena *arena, const char *section, const struct yaml_node *node,
                           const char *name)
{
    const struct render_options options = {.json = true};
    struct render r = {NULL, &options, arena};
    struct yaml_node *root = yaml_new(arena, YAML_MAP, NULL), *entry = yaml_new(arena, YAML_MAP, NULL);
    if (node && node->type == YAML_MAP)
        entry = copy(&r, node);
    put_text(&r, entry, "name", name);
    if (strcmp(section, "volumes") == 0)
        put_default(&r, entry, "driver", "local");
    yaml_put(arena, put_map(&r, root, section), NULL, name, entry);
    root = schema_arrange(arena, root, true, false);
    return hash_of(yaml_get(yaml_get(root, section), name));
}
