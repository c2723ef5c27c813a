#include "compose/canonical.h"

#include "base/map.h"
#include "compose/problem.h"
#include "compose/yaml.h"

const char *canonical__path(const struct canonical *c, const char *path)
{
    const char *rest = path;
    if (*path == '/')
        return yaml_strdup(c->arena, path);
    if (*path == '~' && (path[1] == '/' || !path[1])) {
        const char *home = map_get(c->environ, "HOME");
        return yaml_printf(c->arena, "%s%s", home ? home : "/root", path + 1);
    }
    /* "./x" and "../x" are resolved by text, so that messages and labels stay readable. */
    _cleanup_free_ char *base = mem_strdup(c->dir);
    for (;;) {
        if (rest[0] == '.' && rest[1] == '.' && (rest[2] == '/' || !rest[2])) {
            char *slash = strrchr(base, '/');
            if (slash)
                *slash = '\0';
            rest += 2;
        } else if (rest[0] == '.' && (rest[1] == '/' || !rest[1])) {
            rest += 1;
        } else {
            break;
        }
        while (*rest == '/')
            rest++;
    }
    size_t n = strlen(rest);
    while (n && rest[n - 1] == '/')
        n--;
    if (!n)
        return yaml_strdup(c->arena, *base ? base : "/");
    return yaml_printf(c->arena, "%s/%.*s", base, (int)n, rest);
}

static bool is_reset(const struct yaml_node *node)
{
    return node->merge == YAML_MERGE_RESET;
}

/* The value to bring into form, or NULL when there is none. */
static struct yaml_pair *value_of(struct yaml_node *map, const char *key)
{
    struct yaml_pair *pair = yaml_find(map, key);
    return pair && pair->value->type != YAML_NULL && !is_reset(pair->value) ? pair : NULL;
}

static void replace(struct yaml_pair *pair, struct yaml_node *with)
{
    with->merge = pair->value->merge;
    pair->value = with;
}

/* ["A=1", "B"] to {A: "1", B: null}. */
static void list_to_dict(const struct canonical *c, struct yaml_node *map, const char *key)
{
    struct yaml_pair *pair = value_of(map, key);
    if (!pair || pair->value->type != YAML_LIST)
        return;
    struct yaml_node *dict = yaml_new(c->arena, YAML_MAP, pair->value);
    for (size_t i = 0; i < pair->value->count; i++) {
        const struct yaml_node *item = pair->value->items[i];
        const char *equals = strchr(item->text, '=');
        size_t n = equals ? (size_t)(equals - item->text) : strlen(item->text);
        if (!n) {
            problem_add(c->problems, item, "must be NAME=value, not \"%s\"", item->text);
            continue;
        }
        struct yaml_node *value =
            equals ? yaml_new_text(c->arena, equals + 1, item) : yaml_new(c->arena, YAML_NULL, item);
        yaml_put(c->arena, dict, NULL, yaml_printf(c->arena, "%.*s", (int)n, item->text), value);
    }
    replace(pair, dict);
}

/* Names without value get the environment's, or go. */
static void fill_from_environment(const struct canonical *c, struct yaml_node *map, const char *key)
{
    struct yaml_pair *pair = value_of(map, key);
    if (!pair)
        return;
    struct yaml_node *dict = yaml_new(c->arena, YAML_MAP, pair->value);
    for (size_t i = 0; i < pair->value->count; i++) {
        struct yaml_pair *p = &pair->value->pairs[i];
        struct yaml_node *value = p->value;
        const char *outer = value->type == YAML_NULL && !is_reset(value) ? map_get(c->environ, p->key) : NULL;
        if (outer)
            value = yaml_new_text(c->arena, outer, value);
        if (value->type != YAML_NULL || is_reset(value))
            yaml_put(c->arena, dict, p, p->key, value);
    }
    replace(pair, dict);
}

static void string_to_list(const struct canonical *c, struct yaml_node *map, const char *key)
{
    struct yaml_pair *pair = value_of(map, key);
    if (!pair || pair->value->type != YAML_SCALAR)
        return;
    struct yaml_node *list = yaml_new(c->arena, YAML_LIST, pair->value);
    yaml_append(c->arena, list, pair->value);
    replace(pair, list);
}

/* ["a", "b"] to {a: VALUE, b: VALUE}; VALUE is null or what `make` gives. */
static void names_to_map(const struct canonical *c, struct yaml_node *map, const char *key)
{
    struct yaml_pair *pair = value_of(map, key);
    if (!pair || pair->value->type != YAML_LIST)
        return;
    struct yaml_node *named = yaml_new(c->arena, YAML_MAP, pair->value);
    for (size_t i = 0; i < pair->value->count; i++) {
        const struct yaml_node *item = pair->value->items[i];
        yaml_put(c->arena, named, NULL, item->text, yaml_new(c->arena, YAML_NULL, item));
    }
    replace(pair, named);
}

/* A list whose strings become mappings with the string under `field`. */
static void strings_to_maps(const struct canonical *c, struct yaml_node *map, const char *key,
                            const char *field)
{
    struct yaml_pair *pair = value_of(map, key);
    for (size_t i = 0; pair && i < pair->value->count; i++) {
        struct yaml_node *item = pair->value->items[i];
        if (item->type != YAML_SCALAR)
            continue;
        struct yaml_node *long_form = yaml_new(c->arena, YAML_MAP, item);
        yaml_put(c->arena, long_form, NULL, field, item);
        pair->value->items[i] = long_form;
    }
}

static void absolute_path(const struct canonical *c, struct yaml_node *map, const char *key)
{
    struct yaml_pair *pair = value_of(map, key);
    if (pair && pair->value->type == YAML_SCALAR)
        replace(pair, yaml_new_text(c->arena, canonical__path(c, pair->value->text), pair->value));
}

static void do_build(const struct canonical *c, struct yaml_node *service)
{
    struct yaml_pair *pair = value_of(service, "build");
    if (!pair)
        return;
    if (pair->value->type == YAML_SCALAR) {
        struct yaml_node *build = yaml_new(c->arena, YAML_MAP, pair->value);
        yaml_put(c->arena, build, NULL, "context", pair->value);
        replace(pair, build);
    }
    struct yaml_node *context = yaml_get(pair->value, "context");
    if (context && (strstr(context->text, "://") || str_after(context->text, "git@")))
        problem_add(c->problems, context, "only a local directory can be built, not \"%s\"", context->text);
    absolute_path(c, pair->value, "context");
    list_to_dict(c, pair->value, "args");
    fill_from_environment(c, pair->value, "args");
    list_to_dict(c, pair->value, "labels");
}

/* {host: address} to ["host:address"]; "host=address" to "host:address". */
static void do_extra_hosts(const struct canonical *c, struct yaml_node *map)
{
    struct yaml_pair *pair = value_of(map, "extra_hosts");
    if (!pair)
        return;
    struct yaml_node *from = pair->value, *list = yaml_new(c->arena, YAML_LIST, from);
    for (size_t i = 0; i < from->count; i++) {
        const struct yaml_node *item = from->type == YAML_MAP ? from->pairs[i].value : from->items[i];
        const char *text = item->text ? item->text : "";
        size_t n = strcspn(text, "=:");
        if (from->type == YAML_MAP) {
            text = yaml_printf(c->arena, "%s:%s", from->pairs[i].key, text);
        } else if (!text[n]) {
            problem_add(c->problems, item, "must be host=address, not \"%s\"", text);
            continue;
        } else {
            text = yaml_printf(c->arena, "%.*s:%s", (int)n, text, text + n + 1);
        }
        yaml_append(c->arena, list, yaml_new_text(c->arena, text, item));
    }
    replace(pair, list);
}

static void do_ports(const struct canonical *c, struct yaml_node *service)
{
    struct yaml_pair *pair = value_of(service, "ports");
    if (!pair)
        return;
    struct yaml_node *list = yaml_new(c->arena, YAML_LIST, pair->value);
    for (size_t i = 0; i < pair->value->count; i++) {
        struct yaml_node *item = pair->value->items[i];
        if (item->type == YAML_SCALAR)
            canonical__port(c, item, list);
        else if (!yaml_get(item, "target"))
            problem_add(c->problems, item, "has no \"target\" port");
        else
            yaml_append(c->arena, list, item);
    }
    replace(pair, list);
}

static void do_volumes(const struct canonical *c, struct yaml_node *service)
{
    struct yaml_pair *pair = value_of(service, "volumes");
    if (!pair)
        return;
    struct yaml_node *list = yaml_new(c->arena, YAML_LIST, pair->value);
    for (size_t i = 0; i < pair->value->count; i++) {
        struct yaml_node *item = pair->value->items[i];
        if (item->type == YAML_SCALAR)
            item = canonical__volume(c, item);
        else if (strcmp(yaml_text(item, "type"), "bind") == 0)
            absolute_path(c, item, "source");
        if (item)
            yaml_append(c->arena, list, item);
    }
    replace(pair, list);
}

static void do_service(const struct canonical *c, struct yaml_node *service)
{
    static const char *const lists[] = {"env_file", "dns", "dns_search", "tmpfs"};
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
        string_to_list(c, service, lists[i]);
    list_to_dict(c, service, "environment");
    fill_from_environment(c, service, "environment");
    list_to_dict(c, service, "labels");
    list_to_dict(c, service, "sysctls");
    names_to_map(c, service, "depends_on");
    names_to_map(c, service, "networks");
    strings_to_maps(c, service, "secrets", "source");
    strings_to_maps(c, service, "configs", "source");
    strings_to_maps(c, service, "env_file", "path");
    struct yaml_node *env_files = yaml_get(service, "env_file");
    for (size_t i = 0; env_files && i < env_files->count; i++)
        absolute_path(c, env_files->items[i], "path");
    do_build(c, service);
    do_extra_hosts(c, service);
    if (yaml_get(service, "build"))
        do_extra_hosts(c, yaml_get(service, "build"));
    do_ports(c, service);
    do_volumes(c, service);
}

static void each(struct yaml_node *map, const struct canonical *c,
                 void (*fn)(const struct canonical *, struct yaml_node *))
{
    for (size_t i = 0; map && !is_reset(map) && i < map->count; i++)
        if (map->pairs[i].value->type == YAML_MAP && !is_reset(map->pairs[i].value) &&
            !str_after(map->pairs[i].key, "x-"))
            fn(c, map->pairs[i].value);
}

static void do_labels(const struct canonical *c, struct yaml_node *node)
{
    list_to_dict(c, node, "labels");
}

static void do_file(const struct canonical *c, struct yaml_node *node)
{
    absolute_path(c, node, "file");
}

void canonical_file(const struct canonical *c, struct yaml_node *root)
{
    each(yaml_get(root, "services"), c, do_service);
    each(yaml_get(root, "networks"), c, do_labels);
    each(yaml_get(root, "volumes"), c, do_labels);
    each(yaml_get(root, "secrets"), c, do_file);
    each(yaml_get(root, "configs"), c, do_file);
}
