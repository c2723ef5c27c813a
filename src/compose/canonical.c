#include "compose/canonical.h"

#include "base/map.h"
#include "compose/compose.h"
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

/* Names without value get the environment's; those that it has not stay without, or go. */
static void fill_from_environment(const struct canonical *c, struct yaml_node *map, const char *key,
                                  bool keep_unset)
{
    struct yaml_pair *pair = value_of(map, key);
    if (!pair || c->keep_variables)
        return;
    struct yaml_node *dict = yaml_new(c->arena, YAML_MAP, pair->value);
    for (size_t i = 0; i < pair->value->count; i++) {
        struct yaml_pair *p = &pair->value->pairs[i];
        struct yaml_node *value = p->value;
        const char *outer = value->type == YAML_NULL && !is_reset(value) ? map_get(c->environ, p->key) : NULL;
        if (outer)
            value = yaml_new_text(c->arena, outer, value);
        if (value->type != YAML_NULL || is_reset(value) || keep_unset)
            yaml_put(c->arena, dict, p, p->key, value);
    }
    replace(pair, dict);
}

/* Numbers and booleans among texts become texts; what has no value an empty one, unless that means something.
 */
static void texts_only(const struct canonical *c, struct yaml_node *map, const char *key, bool keep_null)
{
    struct yaml_pair *pair = map ? value_of(map, key) : NULL;
    for (size_t i = 0; pair && pair->value->type == YAML_MAP && i < pair->value->count; i++) {
        struct yaml_node **value = &pair->value->pairs[i].value;
        if (is_reset(*value))
            continue;
        if ((*value)->type == YAML_NULL && !keep_null)
            *value = yaml_new_text(c->arena, "", *value);
        else if ((*value)->type == YAML_SCALAR && (*value)->plain) {
            struct yaml_node *text = yaml_new_text(c->arena, yaml_value_text(c->arena, *value), *value);
            text->merge = (*value)->merge;
            *value = text;
        }
    }
}

/* ["A=1"] or {A: 1} to {A: "1"}. */
static void do_texts(const struct canonical *c, struct yaml_node *map, const char *key)
{
    list_to_dict(c, map, key);
    texts_only(c, map, key, false);
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

static void put_text(const struct canonical *c, struct yaml_node *map, const char *key, const char *text,
                     bool plain)
{
    struct yaml_node *value = yaml_new_text(c->arena, text, map);
    value->plain = plain;
    yaml_put(c->arena, map, NULL, key, value);
}

/* ["a", "b"] to {a: VALUE, b: VALUE}; VALUE is null, or what the short form of depends_on stands for. */
static void names_to_map(const struct canonical *c, struct yaml_node *map, const char *key)
{
    bool depends = strcmp(key, "depends_on") == 0;
    struct yaml_pair *pair = value_of(map, key);
    if (!pair || pair->value->type != YAML_LIST)
        return;
    struct yaml_node *named = yaml_new(c->arena, YAML_MAP, pair->value);
    for (size_t i = 0; i < pair->value->count; i++) {
        const struct yaml_node *item = pair->value->items[i];
        struct yaml_node *value = yaml_new(c->arena, depends ? YAML_MAP : YAML_NULL, item);
        if (depends) {
            put_text(c, value, "condition", "service_started", true);
            put_text(c, value, "required", "true", true);
        }
        yaml_put(c->arena, named, NULL, item->text, value);
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

struct yaml_node *canonical__absolute(const struct canonical *c, const struct yaml_node *node)
{
    struct yaml_node *absolute = yaml_new_text(c->arena, canonical__path(c, node->text), node);
    absolute->written = node->text;
    return absolute;
}

static void absolute_path(const struct canonical *c, struct yaml_node *map, const char *key)
{
    struct yaml_pair *pair = value_of(map, key);
    if (pair && pair->value->type == YAML_SCALAR && !(c->keep_variables && *pair->value->text == '$'))
        replace(pair, canonical__absolute(c, pair->value));
}

/* Whether a value has variables that were left in it: its parts are not known yet. */
static bool is_open(const struct canonical *c, const struct yaml_node *node)
{
    return c->keep_variables && node->type == YAML_SCALAR && strchr(node->text, '$');
}

static void absolute_paths(const struct canonical *c, struct yaml_node *map, const char *key)
{
    struct yaml_pair *pair = value_of(map, key);
    for (size_t i = 0; pair && pair->value->type == YAML_LIST && i < pair->value->count; i++) {
        struct yaml_node *item = pair->value->items[i];
        pair->value->items[i] = canonical__absolute(c, item);
    }
}

/* "a b" to ["a", "b"]. */
static void split_command(const struct canonical *c, struct yaml_node *map, const char *key)
{
    struct yaml_pair *pair = value_of(map, key);
    if (pair && pair->value->type == YAML_SCALAR && !is_open(c, pair->value))
        replace(pair, canonical__words(c, pair->value));
}

bool compose_context_is_remote(const char *text)
{
    static const char *const starts[] = {"http://", "https://", "git://", "ssh://", "git@", "github.com/"};
    for (size_t i = 0; i < ARRAY_SIZE(starts); i++)
        if (str_after(text, starts[i]))
            return true;
    return false;
}

/* A directory's path; what names an image or a service is none, as is what is refused later. */
static void do_contexts(const struct canonical *c, struct yaml_node *build)
{
    do_texts(c, build, "additional_contexts");
    struct yaml_pair *pair = value_of(build, "additional_contexts");
    for (size_t i = 0; pair && pair->value->type == YAML_MAP && i < pair->value->count; i++) {
        const struct yaml_pair *context = &pair->value->pairs[i];
        const char *text = context->value->type == YAML_SCALAR ? context->value->text : "";
        if (*text && !strstr(text, "://") && !compose_context_is_remote(text) && !str_after(text, "service:"))
            absolute_path(c, pair->value, context->key);
    }
}

/* {ID: the agent's socket}, or {ID: null}. */
static void do_agents(const struct canonical *c, struct yaml_node *build)
{
    list_to_dict(c, build, "ssh");
    struct yaml_pair *pair = value_of(build, "ssh");
    for (size_t i = 0; pair && pair->value->type == YAML_MAP && i < pair->value->count; i++)
        absolute_path(c, pair->value, pair->value->pairs[i].key);
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
    bool remote = context && compose_context_is_remote(context->text);
    if (context && !remote && strstr(context->text, "://"))
        problem_add(c->problems, context,
                    "must be a directory, or the URL of a git repository or of an archive, not \"%s\"",
                    context->text);
    if (!remote)
        absolute_path(c, pair->value, "context");
    list_to_dict(c, pair->value, "args");
    texts_only(c, pair->value, "args", true);
    fill_from_environment(c, pair->value, "args", false);
    do_texts(c, pair->value, "labels");
    do_contexts(c, pair->value);
    do_agents(c, pair->value);
    strings_to_maps(c, pair->value, "secrets", "source");
}

/* A host of the mapping, with its address or its list of addresses. */
static void add_host(const struct canonical *c, const struct yaml_pair *host, struct yaml_node *list)
{
    const struct yaml_node *value = host->value;
    size_t count = value->type == YAML_LIST ? value->count : 1;
    for (size_t i = 0; i < count; i++) {
        const struct yaml_node *one = value->type == YAML_LIST ? value->items[i] : value;
        const char *text = yaml_printf(c->arena, "%s:%s", host->key, one->text ? one->text : "");
        yaml_append(c->arena, list, yaml_new_text(c->arena, text, one));
    }
}

/* {host: address} to ["host:address"]; "host=address" to "host:address". */
static void do_extra_hosts(const struct canonical *c, struct yaml_node *map)
{
    struct yaml_pair *pair = value_of(map, "extra_hosts");
    if (!pair)
        return;
    struct yaml_node *from = pair->value, *list = yaml_new(c->arena, YAML_LIST, from);
    for (size_t i = 0; i < from->count; i++) {
        if (from->type == YAML_MAP) {
            add_host(c, &from->pairs[i], list);
            continue;
        }
        const struct yaml_node *item = from->items[i];
        const char *text = item->text ? item->text : "";
        size_t n = strcspn(text, "=:");
        if (is_open(c, item)) {
            text = item->text;
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
        if (item->type == YAML_SCALAR && !is_open(c, item)) {
            canonical__port(c, item, list);
            continue;
        }
        if (item->type == YAML_MAP && yaml_get(item, "published")) /* a range or a number: text */
            put_text(c, item, "published", yaml_text(item, "published"), false);
        if (item->type == YAML_MAP && !yaml_get(item, "target"))
            problem_add(c->problems, item, "has no \"target\" port");
        if (item->type == YAML_MAP && !yaml_get(item, "protocol"))
            put_text(c, item, "protocol", "tcp", true);
        if (item->type == YAML_MAP && !yaml_get(item, "mode"))
            put_text(c, item, "mode", "ingress", true);
        yaml_append(c->arena, list, item);
    }
    replace(pair, list);
}

/* "/a/" is "/a". */
static void clean_target(const struct canonical *c, struct yaml_node *mount)
{
    struct yaml_pair *pair = mount->type == YAML_MAP ? value_of(mount, "target") : NULL;
    size_t n = pair && pair->value->type == YAML_SCALAR ? strlen(pair->value->text) : 0, length = n;
    while (n > 1 && pair->value->text[n - 1] == '/')
        n--;
    if (n < length)
        replace(pair, yaml_new_text(c->arena, yaml_printf(c->arena, "%.*s", (int)n, pair->value->text),
                                    pair->value));
}

static void do_volumes(const struct canonical *c, struct yaml_node *service)
{
    struct yaml_pair *pair = value_of(service, "volumes");
    if (!pair)
        return;
    struct yaml_node *list = yaml_new(c->arena, YAML_LIST, pair->value);
    for (size_t i = 0; i < pair->value->count; i++) {
        struct yaml_node *item = pair->value->items[i];
        if (item->type == YAML_SCALAR && !is_open(c, item))
            item = canonical__volume(c, item);
        else if (strcmp(yaml_text(item, "type"), "bind") == 0)
            absolute_path(c, item, "source");
        if (item)
            clean_target(c, item);
        if (item)
            yaml_append(c->arena, list, item);
    }
    replace(pair, list);
}

/* "/dev/a:/dev/b:rwm" to {source, target, permissions}. */
static void do_devices(const struct canonical *c, struct yaml_node *service)
{
    struct yaml_pair *pair = value_of(service, "devices");
    for (size_t i = 0; pair && i < pair->value->count; i++) {
        struct yaml_node *item = pair->value->items[i];
        if (item->type != YAML_SCALAR || is_open(c, item))
            continue;
        _cleanup_strv_ char **parts = strv_split(item->text, ':');
        size_t n = strv_len(parts);
        if (n > 3 || parts[0][0] != '/') {
            problem_add(c->problems, item, "\"%s\" is not a device; write /dev/x:/dev/y:rwm", item->text);
            continue;
        }
        struct yaml_node *device = yaml_new(c->arena, YAML_MAP, item);
        put_text(c, device, "source", parts[0], false);
        put_text(c, device, "target", n > 1 ? parts[1] : parts[0], false);
        put_text(c, device, "permissions", n > 2 ? parts[2] : "rwm", false);
        pair->value->items[i] = device;
    }
}

/* "all" to what it stands for. */
static void do_gpus(const struct canonical *c, struct yaml_node *service)
{
    struct yaml_pair *pair = value_of(service, "gpus");
    if (!pair || pair->value->type != YAML_SCALAR || is_open(c, pair->value))
        return;
    if (strcmp(pair->value->text, "all") != 0)
        problem_add(c->problems, pair->value, "must be all or a list, not \"%s\"", pair->value->text);
    struct yaml_node *list = yaml_new(c->arena, YAML_LIST, pair->value);
    struct yaml_node *request = yaml_new(c->arena, YAML_MAP, pair->value);
    put_text(c, request, "count", "-1", true);
    yaml_append(c->arena, list, request);
    replace(pair, list);
}

/* A test of one string is for the shell. */
static void do_health(const struct canonical *c, struct yaml_node *service)
{
    struct yaml_node *health = yaml_get(service, "healthcheck");
    struct yaml_pair *pair = health && health->type == YAML_MAP ? value_of(health, "test") : NULL;
    if (!pair || pair->value->type != YAML_SCALAR)
        return;
    struct yaml_node *list = yaml_new(c->arena, YAML_LIST, pair->value);
    yaml_append(c->arena, list, yaml_new_text(c->arena, "CMD-SHELL", pair->value));
    yaml_append(c->arena, list, pair->value);
    replace(pair, list);
}

static void do_hooks(const struct canonical *c, struct yaml_node *service, const char *key)
{
    struct yaml_pair *pair = value_of(service, key);
    for (size_t i = 0; pair && i < pair->value->count; i++) {
        split_command(c, pair->value->items[i], "command");
        list_to_dict(c, pair->value->items[i], "environment");
        fill_from_environment(c, pair->value->items[i], "environment", true);
    }
}

static void do_watch(const struct canonical *c, struct yaml_node *service)
{
    struct yaml_node *watch = yaml_get(yaml_get(service, "develop"), "watch");
    for (size_t i = 0; watch && watch->type == YAML_LIST && i < watch->count; i++) {
        struct yaml_node *rule = watch->items[i], *exec = yaml_get(rule, "exec");
        absolute_path(c, rule, "path");
        string_to_list(c, rule, "ignore");
        string_to_list(c, rule, "include");
        if (exec) {
            split_command(c, exec, "command");
            list_to_dict(c, exec, "environment");
            fill_from_environment(c, exec, "environment", true);
        }
    }
}

static void do_extends(const struct canonical *c, struct yaml_node *service)
{
    struct yaml_pair *pair = value_of(service, "extends");
    if (!pair || pair->value->type != YAML_SCALAR)
        return;
    struct yaml_node *extends = yaml_new(c->arena, YAML_MAP, pair->value);
    yaml_put(c->arena, extends, NULL, "service", pair->value);
    replace(pair, extends);
}

static void do_service(const struct canonical *c, struct yaml_node *service)
{
    static const char *const lists[] = {"env_file", "dns", "dns_search", "tmpfs", "label_file"};
    static const char *const dicts[] = {"labels", "sysctls", "annotations"};
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
        string_to_list(c, service, lists[i]);
    for (size_t i = 0; i < ARRAY_SIZE(dicts); i++)
        do_texts(c, service, dicts[i]);
    list_to_dict(c, service, "environment");
    texts_only(c, service, "environment", true);
    texts_only(c, service, "storage_opt", false);
    if (yaml_get(service, "logging"))
        texts_only(c, yaml_get(service, "logging"), "options", false);
    if (yaml_get(service, "deploy"))
        do_texts(c, yaml_get(service, "deploy"), "labels");
    fill_from_environment(c, service, "environment", true);
    names_to_map(c, service, "depends_on");
    names_to_map(c, service, "networks");
    strings_to_maps(c, service, "secrets", "source");
    strings_to_maps(c, service, "configs", "source");
    strings_to_maps(c, service, "env_file", "path");
    struct yaml_node *env_files = yaml_get(service, "env_file");
    for (size_t i = 0; env_files && i < env_files->count; i++)
        absolute_path(c, env_files->items[i], "path");
    absolute_paths(c, service, "label_file");
    split_command(c, service, "command");
    split_command(c, service, "entrypoint");
    do_extends(c, service);
    do_build(c, service);
    do_extra_hosts(c, service);
    if (yaml_get(service, "build"))
        do_extra_hosts(c, yaml_get(service, "build"));
    do_ports(c, service);
    do_volumes(c, service);
    do_devices(c, service);
    do_gpus(c, service);
    do_health(c, service);
    do_hooks(c, service, "post_start");
    do_hooks(c, service, "pre_stop");
    do_watch(c, service);
}

static void each(struct yaml_node *map, const struct canonical *c,
                 void (*fn)(const struct canonical *, struct yaml_node *))
{
    for (size_t i = 0; map && !is_reset(map) && i < map->count; i++)
        if (map->pairs[i].value->type == YAML_MAP && !is_reset(map->pairs[i].value) &&
            !str_after(map->pairs[i].key, "x-"))
            fn(c, map->pairs[i].value);
}

/* external: {name: x} is the old way to say external: true, name: x. */
static void do_external(const struct canonical *c, struct yaml_node *node)
{
    struct yaml_pair *pair = value_of(node, "external");
    if (!pair || pair->value->type != YAML_MAP)
        return;
    struct yaml_node *name = yaml_get(pair->value, "name"),
                     *yes = yaml_new_text(c->arena, "true", pair->value);
    yes->plain = true;
    replace(pair, yes);
    if (name)
        yaml_put(c->arena, node, NULL, "name", name);
}

static void do_labels(const struct canonical *c, struct yaml_node *node)
{
    do_texts(c, node, "labels");
    texts_only(c, node, "driver_opts", false);
    do_external(c, node);
}

static void do_file(const struct canonical *c, struct yaml_node *node)
{
    absolute_path(c, node, "file");
    do_external(c, node);
}

void canonical_file(const struct canonical *c, struct yaml_node *root)
{
    each(yaml_get(root, "services"), c, do_service);
    each(yaml_get(root, "networks"), c, do_labels);
    each(yaml_get(root, "volumes"), c, do_labels);
    each(yaml_get(root, "secrets"), c, do_file);
    each(yaml_get(root, "configs"), c, do_file);
}
