/* `build` of a service: what its image is made from, and what the build is given besides. */
#include "compose/project_priv.h"

#include "base/json.h"

/* What containers are made from: of several, the service's own, else what the engine's machine is. */
static void read_platforms(struct building *b, struct compose_service *s, const struct yaml_node *node)
{
    const struct yaml_node *list = yaml_get(node, "platforms");
    for (size_t i = 0; list && i < list->count; i++)
        if (*list->items[i]->text && !strv_has(s->build.platforms, list->items[i]->text))
            strv_add(&s->build.platforms, list->items[i]->text);
    size_t count = strv_len(s->build.platforms);
    s->build.platform = count == 1 ? yaml_printf(b->arena, "%s", *s->build.platforms) : s->platform;
    if (count && *s->platform && !strv_has(s->build.platforms, s->platform))
        problem_add(b->problems, list, "does not have the service's platform %s", s->platform);
}

/* The bakery reads them whole; what no value of them can be is told here, with its line. */
static const char *read_attestation(struct building *b, const struct yaml_node *build, const char *key)
{
    const struct yaml_node *value = yaml_get(build, key);
    if (!value || !value->text)
        return "";
    bool on;
    bool fits =
        parse_bool(value->text, &on, NULL) == 0 || (str_eq(key, "provenance") && strchr(value->text, '='));
    if (!fits)
        problem_add(b->problems, value, "must be true or false%s, not \"%s\"",
                    str_eq(key, "provenance") ? ", or mode=min or mode=max" : "", value->text);
    return value->text;
}

/* `privileged` is the right to RUN --security=insecure, as docker compose has it. */
static void read_rights(struct building *b, struct compose_service *s, const struct yaml_node *node)
{
    static const char insecure[] = "security.insecure";
    const struct yaml_node *list = yaml_get(node, "entitlements");
    for (size_t i = 0; list && i < list->count; i++) {
        const char *right = list->items[i]->text;
        if (!str_eq(right, insecure) && !str_eq(right, "network.host"))
            problem_add(b->problems, list->items[i], "must be security.insecure or network.host, not \"%s\"",
                        right);
        else if (!strv_has(s->build.allow, right))
            strv_add(&s->build.allow, right);
    }
    if (node_bool(node, "privileged") && !strv_has(s->build.allow, insecure))
        strv_add(&s->build.allow, insecure);
}

/* {default: null, id: socket} as `drover build --ssh` takes them. */
static void read_agents(struct compose_service *s, const struct yaml_node *map)
{
    for (size_t i = 0; map && i < map->count; i++) {
        const char *socket = map->pairs[i].value->type == YAML_NULL ? "" : map->pairs[i].value->text;
        strv_take(&s->build.agents,
                  *socket ? str_printf("%s=%s", map->pairs[i].key, socket) : mem_strdup(map->pairs[i].key));
    }
}

static void read_secrets(struct building *b, struct compose_service *s, const struct yaml_node *list)
{
    const struct yaml_node *defined = yaml_get(b->project->root, "secrets");
    s->build.secrets = yaml_alloc(b->arena, ((list ? list->count : 0) + 1) * sizeof(*s->build.secrets));
    for (size_t i = 0; list && i < list->count; i++) {
        const struct yaml_node *item = list->items[i];
        const char *source = yaml_text(item, "source"), *target = yaml_text(item, "target");
        const struct yaml_node *definition = yaml_get(defined, source);
        struct grant_source from;
        if (!definition)
            problem_add(b->problems, item, "refers to \"%s\", which is not defined under \"secrets:\"",
                        source);
        else if (grant_source(b, definition, &from))
            s->build.secrets[s->build.secret_count++] = (struct compose_build_secret){
                .id = *target ? target : source, .file = from.file, .content = from.content};
    }
}

void service_read_build(struct building *b, struct compose_service *s)
{
    const struct yaml_node *node = yaml_get(s->node, "build");
    if (!node)
        return;
    struct compose_build *to = &s->build;
    s->has_build = true;
    to->context = *yaml_text(node, "context") ? yaml_text(node, "context") : b->project->dir;
    to->dockerfile = yaml_text(node, "dockerfile");
    to->target = yaml_text(node, "target");
    to->network = yaml_text(node, "network");
    to->args = yaml_get(node, "args") ? node_dict(yaml_get(node, "args")) : NULL;
    to->labels = yaml_get(node, "labels") ? node_dict(yaml_get(node, "labels")) : NULL;
    to->tags = node_strv(yaml_get(node, "tags"));
    to->extra_hosts = node_strv(yaml_get(node, "extra_hosts"));
    to->shm_size = node_bytes(node, "shm_size");
    to->no_cache = node_bool(node, "no_cache");
    to->pull = node_bool(node, "pull");
    to->cache_from = node_strv(yaml_get(node, "cache_from"));
    to->cache_to = node_strv(yaml_get(node, "cache_to"));
    to->ulimits = yaml_get(node, "ulimits") ? node_ulimits(yaml_get(node, "ulimits")) : NULL;
    to->dockerfile_inline = yaml_text(node, "dockerfile_inline");
    if (*to->dockerfile_inline && *to->dockerfile)
        problem_add(b->problems, yaml_get(node, "dockerfile_inline"),
                    "cannot stand together with \"dockerfile\"");
    read_platforms(b, s, node);
    to->provenance = read_attestation(b, node, "provenance");
    to->sbom = read_attestation(b, node, "sbom");
    read_rights(b, s, node);
    read_agents(s, yaml_get(node, "ssh"));
    if (!b->stack) /* which builds nothing */
        read_secrets(b, s, yaml_get(node, "secrets"));
}

/* --- additional_contexts --- */

/* service:NAME is the image of another service, which is built before. */
static const char *context_of_service(struct building *b, struct compose_service *s, const char *name,
                                      const struct yaml_node *at)
{
    const struct compose_service *other = compose_find_service(b->project, name);
    if (!other || other == s) {
        problem_add(b->problems, at,
                    other ? "a build cannot stand on its own image"
                          : "refers to service \"%s\", which is not defined",
                    name);
        return NULL;
    }
    if (!strv_has(s->build.bases, name))
        strv_add(&s->build.bases, name);
    return yaml_printf(b->arena, "docker-image://%s", other->image);
}

void service_read_contexts(struct building *b, struct compose_service *s)
{
    const struct yaml_node *map = yaml_get(yaml_get(s->node, "build"), "additional_contexts");
    for (size_t i = 0; map && i < map->count; i++) {
        const struct yaml_node *value = map->pairs[i].value;
        const char *what = value->text ? value->text : "", *service = str_after(what, "service:");
        bool known = *what == '/' || str_after(what, "docker-image://") || str_after(what, "oci-layout://") ||
                     compose_context_is_remote(what);
        if (service)
            what = context_of_service(b, s, service, value);
        else if (!known)
            problem_add(b->problems, value,
                        "must be a directory, the URL of a git repository or of an archive, "
                        "docker-image://REFERENCE, oci-layout://DIRECTORY or service:NAME, not \"%s\"; other "
                        "contexts are not supported",
                        what);
        if (what)
            strv_take(&s->build.contexts, str_printf("%s=%s", map->pairs[i].key, what));
    }
}

/* One round takes the depths of all one step further. */
static bool deepen(struct building *b)
{
    struct compose_project *p = b->project;
    bool changed = false;
    for (size_t i = 0; i < p->service_count; i++) {
        struct compose_build *build = &p->services[i].build;
        for (char **base = build->bases; base && *base; base++) {
            int depth = compose_find_service(p, *base)->build.depth + 1;
            changed = changed || depth > build->depth;
            build->depth = MAX(build->depth, depth);
        }
    }
    return changed;
}

void service_order_builds(struct building *b)
{
    struct compose_project *p = b->project;
    size_t rounds = 0;
    while (deepen(b) && rounds < p->service_count)
        rounds++;
    if (rounds < p->service_count)
        return;
    for (size_t i = 0; i < p->service_count; i++) /* none is that deep without a circle */
        if (p->services[i].build.depth >= (int)p->service_count)
            problem_add(b->problems, yaml_get(yaml_get(p->services[i].node, "build"), "additional_contexts"),
                        "the builds of these services stand on each other in a circle");
}
