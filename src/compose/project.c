#include "compose/files.h"
#include "compose/interpolate.h"
#include "compose/model.h"
#include "compose/project_priv.h"
#include "compose/render.h"

#include "base/digest.h"
#include "base/file.h"
#include "base/json.h"

#include <ctype.h>

/* --- Reading nodes --- */

bool node_bool(const struct yaml_node *map, const char *key)
{
    return *yaml_text(map, key) == 't' || *yaml_text(map, key) == 'T';
}

int64_t node_int(const struct yaml_node *map, const char *key, int64_t fallback)
{
    int64_t value = fallback;
    parse_i64(yaml_text(map, key), INT64_MIN, INT64_MAX, &value, NULL);
    return value;
}

int64_t node_bytes(const struct yaml_node *map, const char *key)
{
    int64_t value = 0;
    if (strcmp(yaml_text(map, key), "-1") == 0)
        return -1;
    parse_bytes(yaml_text(map, key), &value, NULL);
    return value;
}

json_t *node_strings(const struct yaml_node *list)
{
    json_t *array = json_array();
    for (size_t i = 0; list && list->type == YAML_LIST && i < list->count; i++)
        if (list->items[i]->type == YAML_SCALAR)
            json_array_append_new(array, json_string(list->items[i]->text));
    return array;
}

json_t *node_dict(const struct yaml_node *map)
{
    json_t *object = json_object();
    for (size_t i = 0; map && map->type == YAML_MAP && i < map->count; i++) {
        const struct yaml_node *value = map->pairs[i].value;
        json_set_str(object, map->pairs[i].key, value->type == YAML_SCALAR ? value->text : "");
    }
    return object;
}

/* --- The project's name --- */

char *compose_normalize_name(const char *text)
{
    struct str s = STR_INIT;
    for (; *text; text++) {
        char c = (char)tolower((unsigned char)*text);
        if (isalnum((unsigned char)c) || ((c == '-' || c == '_') && s.len))
            str_addc(&s, c);
    }
    return str_take(&s);
}

static int set_name(struct building *b, const struct compose_options *options, struct err *err)
{
    struct compose_project *p = b->project;
    const char *from_environment = map_get(b->environ, "COMPOSE_PROJECT_NAME");
    const char *given = !str_empty(options->name)      ? options->name
                        : !str_empty(from_environment) ? from_environment
                                                       : yaml_text(p->root, "name");
    const char *slash = strrchr(p->dir, '/');
    p->separator = options->compatibility ? "_" : "-";
    _cleanup_free_ char *normal = compose_normalize_name(*given ? given : slash ? slash + 1 : p->dir);
    if (!*normal && !*given)
        return err_set(err, ERR_INVALID, "the directory's name %s gives no project name; name it with -p",
                       p->dir);
    if (*given && strcmp(given, normal) != 0)
        return err_set(err, ERR_INVALID,
                       "project name \"%s\" is not allowed; use lower-case letters, digits, - and _%s%s",
                       given, *normal ? ", for example " : "", normal);
    p->name = yaml_strdup(b->arena, normal);
    return 0;
}

/* --- Networks and volumes --- */

struct compose_resource *resource_find(struct compose_resource *list, size_t count, const char *key)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i].key, key) == 0)
            return &list[i];
    return NULL;
}

static json_t *resource_labels(struct building *b, const struct yaml_node *node, const char *label,
                               const char *key)
{
    json_t *labels = node_dict(yaml_get(node, "labels"));
    json_set_str(labels, COMPOSE_LABEL_PROJECT, b->project->name);
    json_set_str(labels, label, key);
    json_set_str(labels, COMPOSE_LABEL_VERSION, DROVER_VERSION);
    return labels;
}

static json_t *ipam_body(const struct yaml_node *ipam)
{
    static const char *const names[][2] = {
        {"subnet", "Subnet"}, {"gateway", "Gateway"}, {"ip_range", "IPRange"}};
    json_t *pools = json_array();
    const struct yaml_node *config = yaml_get(ipam, "config");
    for (size_t i = 0; config && i < config->count; i++) {
        json_t *pool = json_object();
        for (size_t j = 0; j < ARRAY_SIZE(names); j++)
            if (*yaml_text(config->items[i], names[j][0]))
                json_set_str(pool, names[j][1], yaml_text(config->items[i], names[j][0]));
        if (yaml_get(config->items[i], "aux_addresses"))
            json_object_set_new(pool, "AuxiliaryAddresses",
                                node_dict(yaml_get(config->items[i], "aux_addresses")));
        json_array_append_new(pools, pool);
    }
    json_t *body =
        json_pack("{s:s, s:o}", "Driver", *yaml_text(ipam, "driver") ? yaml_text(ipam, "driver") : "default",
                  "Config", pools);
    if (yaml_get(ipam, "options"))
        json_object_set_new(body, "Options", node_dict(yaml_get(ipam, "options")));
    return body;
}

static json_t *network_body(struct building *b, const struct yaml_node *node, const char *key,
                            const char *name)
{
    static const char *const switches[][2] = {
        {"attachable", "Attachable"}, {"enable_ipv4", "EnableIPv4"}, {"enable_ipv6", "EnableIPv6"}};
    const char *driver = *yaml_text(node, "driver") ? yaml_text(node, "driver") : "bridge";
    json_t *body = json_pack("{s:s, s:s, s:b, s:b, s:o, s:o}", "Name", name, "Driver", driver,
                             "CheckDuplicate", 1, "Internal", node_bool(node, "internal"), "Labels",
                             resource_labels(b, node, COMPOSE_LABEL_NETWORK, key), "Options",
                             node_dict(yaml_get(node, "driver_opts")));
    for (size_t i = 0; i < ARRAY_SIZE(switches); i++)
        if (yaml_get(node, switches[i][0]))
            json_object_set_new(body, switches[i][1], json_boolean(node_bool(node, switches[i][0])));
    if (yaml_get(node, "ipam"))
        json_object_set_new(body, "IPAM", ipam_body(yaml_get(node, "ipam")));
    return body;
}

static json_t *volume_body(struct building *b, const struct yaml_node *node, const char *key,
                           const char *name)
{
    return json_pack("{s:s, s:s, s:o, s:o}", "Name", name, "Driver",
                     *yaml_text(node, "driver") ? yaml_text(node, "driver") : "local", "DriverOpts",
                     node_dict(yaml_get(node, "driver_opts")), "Labels",
                     resource_labels(b, node, COMPOSE_LABEL_VOLUME, key));
}

typedef json_t *(*body_fn)(struct building *b, const struct yaml_node *node, const char *key,
                           const char *name);

static struct compose_resource read_resource(struct building *b, const char *key,
                                             const struct yaml_node *node, body_fn make)
{
    struct compose_resource r = {.key = key, .node = node, .external = node_bool(node, "external")};
    const char *given = yaml_text(node, "name");
    r.name = *given ? given : r.external ? key : yaml_printf(b->arena, "%s_%s", b->project->name, key);
    for (size_t i = 0; r.external && i < node->count; i++)
        if (strcmp(node->pairs[i].key, "external") != 0 && strcmp(node->pairs[i].key, "name") != 0 &&
            !str_after(node->pairs[i].key, "x-"))
            problem_add_key(b->problems, node, &node->pairs[i],
                            "has no meaning together with external: true");
    if (!r.external) {
        r.body = make(b, node, key, r.name);
        /* Tells later whether the definition has changed. */
        _cleanup_free_ char *hash =
            render_resource_hash(b->arena, make == network_body ? "networks" : "volumes", node, r.name);
        json_set_str(json_object_get(r.body, "Labels"), COMPOSE_LABEL_HASH, hash);
    }
    return r;
}

static void read_resources(struct building *b, const char *section, body_fn make,
                           struct compose_resource **ret, size_t *ret_count)
{
    const struct yaml_node *map = yaml_get(b->project->root, section);
    size_t n = map ? map->count : 0, count = 0;
    bool networks = make == network_body;
    struct compose_resource *list = yaml_alloc(b->arena, (n + 1) * sizeof(*list));
    for (size_t i = 0; i < n; i++)
        if (!str_after(map->pairs[i].key, "x-"))
            list[count++] = read_resource(b, map->pairs[i].key, map->pairs[i].value, make);
    if (networks && !resource_find(list, count, "default")) {
        const struct yaml_node *none = yaml_new(b->arena, YAML_MAP, NULL);
        list[count++] = read_resource(b, "default", none, make);
    }
    *ret = list;
    *ret_count = count;
}

/* --- Services --- */

static bool profile_on(char *const *active, const struct yaml_node *profiles)
{
    if (!profiles || !profiles->count || strv_has(active, "*"))
        return true;
    for (size_t i = 0; i < profiles->count; i++)
        if (strv_has(active, profiles->items[i]->text))
            return true;
    return false;
}

struct compose_service *compose_find_service(const struct compose_project *p, const char *name)
{
    for (size_t i = 0; i < p->service_count; i++)
        if (strcmp(p->services[i].name, name) == 0)
            return &p->services[i];
    return NULL;
}

/* What is copied into the container counts as it is now: a changed secret makes a new container. */
static void add_copy(json_t *all, const struct compose_copy *c)
{
    char digest[DIGEST_BYTES];
    _cleanup_str_ struct str text = STR_INIT;
    if (c->file)
        file_read(c->file, COMPOSE_MAX_COPY_BYTES, &text, NULL);
    else
        str_add(&text, c->content);
    digest_of(str_get(&text), text.len, digest);
    json_array_append_new(all, json_pack("[s, s, I, I, i]", c->target, digest_hex(digest), (json_int_t)c->uid,
                                         (json_int_t)c->gid, c->mode));
}

/* The aliases that others' links have given, see service_body.c: they are part of this one's endpoints. */
static void add_link_aliases(const struct compose_project *p, const struct compose_service *s, json_t *all)
{
    for (size_t i = 0; i < p->service_count; i++) {
        const struct yaml_node *links = yaml_get(p->services[i].node, "links");
        for (size_t j = 0; links && j < links->count; j++) {
            const char *alias = str_after(links->items[j]->text, s->name);
            if (alias && *alias == ':')
                json_array_append_new(all, json_string(alias + 1));
        }
    }
}

/* What makes new containers: see render.h, and compose.h for what docker compose's digest does not see. */
static void hash_service(const struct compose_project *p, struct compose_service *s)
{
    char digest[DIGEST_BYTES];
    _cleanup_json_ json_t *all = json_array();
    for (size_t i = 0; i < s->copy_count; i++)
        add_copy(all, &s->copies[i]);
    add_link_aliases(p, s, all);
    _cleanup_free_ char *text = json_dumps(all, JSON_COMPACT);
    digest_of(text, strlen(text), digest);
    s->extra = mem_strdup(digest_hex(digest));
    s->hash = render_service_hash(p, s, false, NULL, NULL);
}

static void read_services(struct building *b)
{
    struct compose_project *p = b->project;
    const struct yaml_node *map = yaml_get(p->root, "services");
    size_t n = map ? map->count : 0;
    p->services = yaml_alloc(b->arena, (n + 1) * sizeof(*p->services));
    for (size_t i = 0; i < n; i++) {
        const struct yaml_pair *pair = &map->pairs[i];
        if (str_after(pair->key, "x-"))
            continue;
        if (!pair->key[0] ||
            pair->key[strspn(pair->key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                        "0123456789._-")])
            problem_add_key(b->problems, map, pair,
                            "a service's name may have letters, digits, dots, - and _ only");
        p->services[p->service_count++] = (struct compose_service){
            .name = pair->key, .node = pair->value, .stop_timeout_s = -1, .attach = true};
    }
    /* Names first: a service may refer to one that is further down. */
    for (size_t i = 0; i < p->service_count; i++)
        service_read(b, &p->services[i]);
    for (size_t i = 0; i < p->service_count; i++)
        service_read_body(b, &p->services[i]);
    for (size_t i = 0; i < p->service_count; i++)
        service_read_contexts(b, &p->services[i]);
    service_order_builds(b);
    /* Last, since links add to the endpoints of others. */
    for (size_t i = 0; !b->problems->count && i < p->service_count; i++)
        hash_service(p, &p->services[i]);
    if (!p->service_count)
        problem_add(b->problems, p->root,
                    "there are no services; a Compose file has \"services:\" with at least one");
}

/* --- Dependencies --- */

enum visit { UNSEEN, ON_PATH, SEEN };

struct walk {
    struct building *b;
    enum visit *state;
    size_t *path;
    size_t path_length;
};

static void complain_cycle(const struct walk *w, size_t from)
{
    const struct compose_project *p = w->b->project;
    _cleanup_str_ struct str text = STR_INIT;
    size_t start = w->path_length;
    while (start > 0 && w->path[start - 1] != from)
        start--;
    for (size_t i = start ? start - 1 : 0; i < w->path_length; i++)
        str_addf(&text, "%s -> ", p->services[w->path[i]].name);
    const struct yaml_node *at = yaml_get(p->services[from].node, "depends_on");
    problem_add(w->b->problems, at ? at : p->services[from].node,
                "services depend on each other in a cycle: %s%s", str_get(&text), p->services[from].name);
}

/* Depth by depth-first search; the number of services bounds the recursion (YAML_MAX_KEYS). */
static int visit(struct walk *w, size_t i)
{
    struct compose_project *p = w->b->project;
    struct compose_service *s = &p->services[i];
    if (w->state[i] == SEEN)
        return s->depth;
    if (w->state[i] == ON_PATH) {
        complain_cycle(w, i);
        return 0;
    }
    w->state[i] = ON_PATH;
    w->path[w->path_length++] = i;
    for (size_t j = 0; j < s->depend_count; j++) {
        struct compose_service *on = compose_find_service(p, s->depends[j].service);
        if (on)
            s->depth = MAX(s->depth, visit(w, (size_t)(on - p->services)) + 1);
    }
    w->path_length--;
    w->state[i] = SEEN;
    p->max_depth = MAX(p->max_depth, s->depth);
    return s->depth;
}

static void order_services(struct building *b)
{
    size_t n = b->project->service_count + 1;
    struct walk w = {.b = b, .state = yaml_alloc(b->arena, n * sizeof(*w.state))};
    w.path = yaml_alloc(b->arena, n * sizeof(*w.path));
    for (size_t i = 0; i < b->project->service_count; i++)
        visit(&w, i);
}

/* --- Which services take part --- */

static void activate(struct building *b, struct compose_service *s, bool dependencies, size_t budget)
{
    s->active = true;
    for (size_t i = 0; dependencies && budget && i < s->depend_count; i++) {
        struct compose_service *on = compose_find_service(b->project, s->depends[i].service);
        if (on && !on->active && s->depends[i].required)
            activate(b, on, true, budget - 1);
    }
}

/* Those asked for take the place of the environment's. */
static char **active_profiles(struct building *b, const struct compose_options *options)
{
    bool asked = options->profiles && *options->profiles;
    const char *from_environment = asked ? NULL : map_get(b->environ, "COMPOSE_PROFILES");
    char **list = strv_dup(options->profiles);
    _cleanup_strv_ char **more = str_empty(from_environment) ? NULL : strv_split(from_environment, ',');
    STRV_FOREACH (name, more)
        strv_take(&list, str_strip(*name));
    return list;
}

static int choose_services(struct building *b, const struct compose_options *options, struct err *err)
{
    struct compose_project *p = b->project;
    _cleanup_strv_ char **profiles = active_profiles(b, options);
    for (char *const *name = options->services; name && *name; name++) {
        struct compose_service *s = compose_find_service(p, *name);
        if (!s)
            return err_set(err, ERR_NOT_FOUND, "no such service: %s", *name);
        activate(b, s, !options->no_deps, p->service_count);
    }
    if (options->services && *options->services)
        return 0;
    for (size_t i = 0; i < p->service_count; i++)
        p->services[i].active = profile_on(profiles, yaml_get(p->services[i].node, "profiles"));
    for (size_t i = 0; i < p->service_count; i++) {
        struct compose_service *s = &p->services[i];
        for (size_t j = 0; s->active && j < s->depend_count; j++) {
            const struct compose_service *on = compose_find_service(p, s->depends[j].service);
            if (on && !on->active && s->depends[j].required)
                problem_add(b->problems, s->node,
                            "depends on service %s, whose profile is not active; add --profile", on->name);
        }
    }
    return 0;
}

static void mark_used(struct building *b)
{
    struct compose_project *p = b->project;
    for (size_t i = 0; i < p->service_count; i++) {
        const struct compose_service *s = &p->services[i];
        if (!s->active)
            continue;
        for (size_t j = 0; j < p->network_count; j++)
            p->networks[j].used |= strv_has(s->networks, p->networks[j].name);
        const struct yaml_node *volumes = yaml_get(s->node, "volumes");
        for (size_t j = 0; volumes && j < volumes->count; j++) {
            struct compose_resource *v =
                resource_find(p->volumes, p->volume_count, yaml_text(volumes->items[j], "source"));
            if (v && strcmp(yaml_text(volumes->items[j], "type"), "volume") == 0)
                v->used = true;
        }
    }
}

/* --- All together --- */

/* The `name:` of a file, of its last document that has one, with its variables. */
static char *name_in(const char *path, const struct map *env)
{
    _cleanup_str_ struct str text = STR_INIT, name = STR_INIT;
    struct yaml_arena *arena = yaml_arena_new();
    struct yaml_node **documents;
    size_t count = 0;
    const struct interpolate with = {.variables = env};
    if (file_read(path, YAML_MAX_BYTES, &text, NULL) == 0 &&
        yaml_parse(arena, path, str_get(&text), text.len, &documents, &count, NULL) < 0)
        count = 0;
    while (count > 0 && !*yaml_text(documents[count - 1], "name"))
        count--;
    if (count && interpolate_text(&with, yaml_text(documents[count - 1], "name"), &name, NULL) < 0)
        str_clear(&name);
    yaml_arena_free(arena);
    return str_take(&name);
}

/* ${COMPOSE_PROJECT_NAME} in the files is the name that the project has: chosen, of the last file that says
 * one, or the directory's. What is wrong with the files is said when they are read for good. */
static void name_early(const struct compose_options *options, const struct compose_project *p,
                       struct map *env)
{
    if (!str_empty(options->name))
        map_put(env, "COMPOSE_PROJECT_NAME", mem_strdup(options->name));
    if (!str_empty(map_get(env, "COMPOSE_PROJECT_NAME")) || options->text)
        return;
    const char *slash = strrchr(p->dir, '/');
    char *name = compose_normalize_name(slash ? slash + 1 : p->dir);
    STRV_FOREACH (file, p->files) {
        char *given = strcmp(*file, "-") == 0 ? mem_strdup("") : name_in(*file, env);
        if (*given || strcmp(*file, "-") == 0) {
            free(name);
            name = take_ptr(given);
        }
        free(given);
    }
    if (*name)
        map_put(env, "COMPOSE_PROJECT_NAME", name);
    else
        free(name);
}

static int finish(const struct problems *problems, struct err *err)
{
    if (!problems->count)
        return 0;
    const char *text = str_get(&problems->text);
    enum err_code code = strstr(text, "is not supported") ? ERR_UNSUPPORTED : ERR_INVALID;
    _cleanup_free_ char *first = mem_strndup(text, strcspn(text, "\n"));
    if (problems->count == 1)
        return err_set(err, code, "%s", first);
    return err_set(err, code, "%s (and %zu more)", first, problems->count - 1);
}

static int build(struct building *b, const struct compose_options *options, struct problems *notes,
                 struct err *err)
{
    struct compose_project *p = b->project;
    const struct model_options model = {.files = p->files,
                                        .text = options->text,
                                        .dir = p->dir,
                                        .environ = b->environ,
                                        .no_interpolate = options->no_interpolate,
                                        .variable = options->variable,
                                        .context = options->context};
    int r = model_load(b->arena, &model, b->problems, notes, &p->root, err);
    if (r == 0)
        r = finish(b->problems, err);
    if (r == 0)
        r = set_name(b, options, err);
    if (r < 0 || options->no_interpolate)
        return r;
    read_resources(b, "networks", network_body, &p->networks, &p->network_count);
    read_resources(b, "volumes", volume_body, &p->volumes, &p->volume_count);
    read_services(b);
    order_services(b);
    if (!b->problems->count)
        r = choose_services(b, options, err);
    if (r == 0)
        r = finish(b->problems, err);
    if (r == 0)
        mark_used(b);
    return r;
}

int compose_load(const struct compose_options *options, struct compose_project **ret,
                 struct str *ret_problems, struct err *err)
{
    _cleanup_compose_ struct compose_project *p = NEW(struct compose_project);
    struct problems problems = {0}, notes = {0};
    struct map env = MAP_INIT(free);
    char *dir = NULL;
    p->arena = yaml_arena_new();
    int r = files_find(options, &p->files, &dir, err);
    if (r == 0) {
        p->dir = yaml_strdup(p->arena, dir);
        r = compose_environment(options, dir, &env, err);
    }
    if (r == 0)
        name_early(options, p, &env);
    struct building b = {.project = p,
                         .arena = p->arena,
                         .environ = &env,
                         .problems = &problems,
                         .api_socket = options->api_socket ? options->api_socket : "/run/drover.sock",
                         .check_files = options->check_files,
                         .stack = options->stack};
    if (r == 0)
        r = build(&b, options, &notes, err);
    map_done(&env);
    free(dir);
    if (ret_problems)
        str_add(ret_problems, str_get(r < 0 ? &problems.text : &notes.text));
    str_free(&problems.text);
    str_free(&notes.text);
    if (r < 0)
        return r;
    *ret = take_ptr(p);
    return 0;
}

static void build_done(struct compose_build *b)
{
    char **lists[] = {b->tags,     b->extra_hosts, b->cache_from, b->cache_to, b->agents,
                      b->contexts, b->allow,       b->bases,      b->platforms};
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
        strv_free(lists[i]);
    json_decref(b->args);
    json_decref(b->labels);
    json_decref(b->ulimits);
}

void compose_project_free(struct compose_project *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->service_count; i++) {
        struct compose_service *s = &p->services[i];
        json_decref(s->body);
        json_decref(s->endpoints);
        build_done(&s->build);
        strv_free(s->image_mounts);
        for (size_t j = 0; j < s->post_start_count; j++)
            json_decref(s->post_start[j].body);
        for (size_t j = 0; j < s->pre_stop_count; j++)
            json_decref(s->pre_stop[j].body);
        for (size_t j = 0; j < s->watch_count; j++) {
            strv_free(s->watch[j].ignore);
            strv_free(s->watch[j].include);
            if (s->watch[j].exec)
                json_decref(s->watch[j].exec->body);
        }
        strv_free(s->networks);
        free(s->hash);
        free(s->extra);
    }
    for (size_t i = 0; i < p->network_count; i++)
        json_decref(p->networks[i].body);
    for (size_t i = 0; i < p->volume_count; i++)
        json_decref(p->volumes[i].body);
    strv_free(p->files);
    yaml_arena_free(p->arena);
    free(p);
}
