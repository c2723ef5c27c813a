/* A service of the merged document: what it is made from, what it depends on, which networks it joins. */
#include "compose/project_priv.h"

#include "base/json.h"

#include <sys/stat.h>

const char *service_container_name(struct building *b, const struct compose_service *s, int number)
{
    if (s->container_name)
        return s->container_name;
    return yaml_printf(b->arena, "%s%s%s%s%d", b->project->name, b->project->separator, s->name,
                       b->project->separator, number);
}

char **node_strv(const struct yaml_node *list)
{
    char **result = NULL;
    for (size_t i = 0; list && i < list->count; i++)
        if (list->items[i]->text)
            strv_add(&result, list->items[i]->text);
    return result;
}

/* "daily", "weekly", "every_12h": fetched again when the image is older than that. */
static bool read_refresh(struct compose_service *s, const char *text)
{
    const char *every = str_after(text, "every_");
    int64_t hours = strcmp(text, "daily") == 0 ? 24 : strcmp(text, "weekly") == 0 ? 7 * 24 : 0, count = 0;
    char unit = every && *every ? every[strlen(every) - 1] : '\0';
    s->refresh_ns = hours * 3600 * INT64_C(1000000000);
    if (hours)
        return true;
    if (unit != 'd' && unit != 'w')
        return every && parse_duration(every, &s->refresh_ns, NULL) == 0 && s->refresh_ns > 0;
    _cleanup_free_ char *digits = mem_strndup(every, strlen(every) - 1);
    if (parse_i64(digits, 1, 10000, &count, NULL) < 0)
        return false;
    s->refresh_ns = count * (unit == 'w' ? 7 : 1) * 86400 * INT64_C(1000000000);
    return true;
}

static void read_pull_policy(struct building *b, struct compose_service *s)
{
    static const char *const known[] = {"", "always", "missing", "never", "build", NULL};
    const struct yaml_node *after = yaml_get(s->node, "pull_refresh_after");
    s->pull_policy = yaml_text(s->node, "pull_policy");
    if (strcmp(s->pull_policy, "if_not_present") == 0)
        s->pull_policy = "missing";
    bool refresh =
        after ? parse_duration(after->text, &s->refresh_ns, NULL) == 0 : read_refresh(s, s->pull_policy);
    if (refresh)
        s->pull_policy = "refresh";
    else if (!strv_has((char *const *)known, s->pull_policy))
        problem_add(b->problems, yaml_get(s->node, "pull_policy"),
                    "must be always, missing, never, build, daily, weekly or every_DURATION, not \"%s\"",
                    s->pull_policy);
}

static void read_image(struct building *b, struct compose_service *s)
{
    s->image = yaml_text(s->node, "image");
    s->image_given = *s->image;
    read_pull_policy(b, s);
    if (!*s->image && s->has_build)
        s->image = yaml_printf(b->arena, "%s%s%s", b->project->name, b->project->separator, s->name);
    if (!*s->image)
        problem_add(b->problems, s->node, "has neither \"image\" nor \"build\"");
    if (strcmp(s->pull_policy, "build") == 0 && !s->has_build)
        problem_add(b->problems, yaml_get(s->node, "pull_policy"), "\"build\" needs a \"build\" key");
}

static void read_replicas(struct building *b, struct compose_service *s)
{
    const struct yaml_node *deploy = yaml_get(s->node, "deploy");
    int64_t deployed = node_int(deploy, "replicas", -1), scale = node_int(s->node, "scale", -1);
    if (deployed >= 0 && scale >= 0 && deployed != scale)
        problem_add(b->problems, yaml_get(s->node, "scale"), "contradicts deploy.replicas: %d",
                    (int)deployed);
    bool global = strcmp(yaml_text(deploy, "mode"), "global") == 0;
    if (global && (deployed > 1 || scale > 1))
        problem_add(b->problems, yaml_get(deploy, "mode"), "\"global\" is one replica on this machine");
    int64_t replicas = scale >= 0 ? scale : deployed >= 0 ? deployed : 1;
    if (replicas > 1000)
        problem_add(b->problems, s->node, "more than 1000 replicas on one machine");
    s->replicas = (int)MIN(replicas, 1000);
    const struct yaml_node *name = yaml_get(s->node, "container_name");
    if (name)
        s->container_name = name->text;
    if (name && s->replicas > 1)
        problem_add(b->problems, name, "only one container can have this name; the service has %d replicas",
                    s->replicas);
}

/* --- Dependencies --- */

static struct compose_dependency *add_dependency(struct building *b, struct compose_service *s,
                                                 const char *name, const struct yaml_node *at)
{
    if (!compose_find_service(b->project, name)) {
        problem_add(b->problems, at, "refers to service \"%s\", which is not defined", name);
        return NULL;
    }
    if (strcmp(name, s->name) == 0) {
        problem_add(b->problems, at, "a service cannot depend on itself");
        return NULL;
    }
    for (size_t i = 0; i < s->depend_count; i++)
        if (strcmp(s->depends[i].service, name) == 0)
            return &s->depends[i];
    struct compose_dependency *d = &s->depends[s->depend_count++];
    *d = (struct compose_dependency){.service = name, .required = true};
    return d;
}

static void read_depends_on(struct building *b, struct compose_service *s)
{
    const struct yaml_node *map = yaml_get(s->node, "depends_on");
    for (size_t i = 0; map && i < map->count; i++) {
        const struct yaml_node *value = map->pairs[i].value;
        bool required = !yaml_get(value, "required") || node_bool(value, "required");
        if (!required && !compose_find_service(b->project, map->pairs[i].key))
            continue;
        struct compose_dependency *d = add_dependency(b, s, map->pairs[i].key, value);
        if (!d)
            continue;
        const char *condition = yaml_text(value, "condition");
        d->condition = strcmp(condition, "service_healthy") == 0                  ? COMPOSE_HEALTHY
                       : strcmp(condition, "service_completed_successfully") == 0 ? COMPOSE_COMPLETED
                                                                                  : COMPOSE_STARTED;
        d->required = required;
        d->restart = node_bool(value, "restart");
    }
}

/* Other keys that need another service's container to be there. */
static void read_implied(struct building *b, struct compose_service *s)
{
    static const char *const modes[] = {"network_mode", "pid", "ipc"};
    for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
        const char *name = str_after(yaml_text(s->node, modes[i]), "service:");
        size_t before = s->depend_count;
        struct compose_dependency *d = name ? add_dependency(b, s, name, yaml_get(s->node, modes[i])) : NULL;
        if (d)
            d->shares = true;
        if (d && s->depend_count > before)
            d->linked = true;
    }
    static const char *const lists[] = {"links", "volumes_from"};
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
        const struct yaml_node *list = yaml_get(s->node, lists[i]);
        for (size_t j = 0; list && j < list->count; j++) {
            const struct yaml_node *item = list->items[j];
            if (i == 1 && str_after(item->text, "container:"))
                continue;
            size_t before = s->depend_count;
            struct compose_dependency *d = add_dependency(
                b, s, yaml_printf(b->arena, "%.*s", (int)strcspn(item->text, ":"), item->text), item);
            if (d && i == 0 && s->depend_count > before)
                d->linked = true;
        }
    }
}

static size_t most_dependencies(const struct compose_service *s)
{
    static const char *const keys[] = {"depends_on", "links", "volumes_from"};
    size_t n = 3;
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        const struct yaml_node *node = yaml_get(s->node, keys[i]);
        n += node ? node->count : 0;
    }
    return n;
}

/* --- Networks --- */

static void add_more_settings(const struct compose_service *s, const struct yaml_node *node, json_t *body)
{
    static const char *const addresses[][2] = {{"ipv4_address", "IPv4Address"},
                                               {"ipv6_address", "IPv6Address"}};
    json_t *ipam = json_object(), *options = node_dict(yaml_get(node, "driver_opts"));
    for (size_t i = 0; i < ARRAY_SIZE(addresses); i++)
        if (*yaml_text(node, addresses[i][0]))
            json_set_str(ipam, addresses[i][1], yaml_text(node, addresses[i][0]));
    if (yaml_get(node, "link_local_ips"))
        json_object_set_new(ipam, "LinkLocalIPs", node_strings(yaml_get(node, "link_local_ips")));
    if (*yaml_text(node, "interface_name"))
        json_set_str(options, "com.docker.network.endpoint.ifname", yaml_text(node, "interface_name"));
    if (json_object_size(ipam))
        json_object_set(body, "IPAMConfig", ipam);
    if (json_object_size(options))
        json_object_set(body, "DriverOpts", options);
    json_decref(ipam);
    json_decref(options);
    /* The service's own address is that of its first network. */
    const char *mac = yaml_text(node, "mac_address");
    if (!*mac && !s->networks)
        mac = yaml_text(s->node, "mac_address");
    if (*mac)
        json_set_str(body, "MacAddress", mac);
    if (yaml_get(node, "gw_priority"))
        json_object_set_new(body, "GwPriority",
                            json_integer((json_int_t)strtod(yaml_text(node, "gw_priority"), NULL)));
    if (yaml_get(s->node, "external_links"))
        json_object_set_new(body, "Links", node_strings(yaml_get(s->node, "external_links")));
}

static json_t *endpoint_body(struct building *b, const struct compose_service *s,
                             const struct yaml_node *node)
{
    json_t *aliases = json_array();
    json_array_append_new(aliases, json_string(s->name));
    const struct yaml_node *more = yaml_get(node, "aliases");
    for (size_t i = 0; more && i < more->count; i++)
        if (strcmp(more->items[i]->text, s->name) != 0)
            json_array_append_new(aliases, json_string(more->items[i]->text));
    json_t *body = json_pack("{s:o}", "Aliases", aliases);
    if (*yaml_text(node, "ipv4_address") && s->replicas > 1)
        problem_add(b->problems, yaml_get(node, "ipv4_address"),
                    "one address cannot serve the %d replicas of the service", s->replicas);
    add_more_settings(s, node, body);
    return body;
}

static void join(struct building *b, struct compose_service *s, const char *key, const struct yaml_node *node,
                 const struct yaml_node *at)
{
    const struct compose_resource *network =
        resource_find(b->project->networks, b->project->network_count, key);
    if (!network) {
        problem_add(b->problems, at, "refers to network \"%s\", which is not defined under \"networks:\"",
                    key);
        return;
    }
    json_object_set_new(s->endpoints, network->name, endpoint_body(b, s, node));
    strv_add(&s->networks, network->name);
}

static void read_networks(struct building *b, struct compose_service *s)
{
    const struct yaml_node *map = yaml_get(s->node, "networks"), *mode = yaml_get(s->node, "network_mode");
    s->endpoints = json_object();
    if (mode && map && map->count)
        problem_add(b->problems, mode, "cannot stand together with \"networks\"");
    if (mode)
        return;
    if (!map || !map->count) {
        join(b, s, "default", NULL, s->node);
        return;
    }
    /* The one of the highest priority first: it gives the container its default route. */
    int64_t first = INT64_MIN;
    size_t chosen = 0;
    for (size_t i = 0; i < map->count; i++) {
        int64_t priority = (int64_t)strtod(yaml_text(map->pairs[i].value, "priority"), NULL);
        if (priority > first) {
            first = priority;
            chosen = i;
        }
    }
    join(b, s, map->pairs[chosen].key, map->pairs[chosen].value, map->pairs[chosen].value);
    for (size_t i = 0; i < map->count; i++)
        if (i != chosen)
            join(b, s, map->pairs[i].key, map->pairs[i].value, map->pairs[i].value);
}

void service_read(struct building *b, struct compose_service *s)
{
    s->platform = yaml_text(s->node, "platform");
    s->attach = !yaml_get(s->node, "attach") || node_bool(s->node, "attach");
    service_read_build(b, s);
    read_image(b, s);
    read_replicas(b, s);
    s->depends = yaml_alloc(b->arena, most_dependencies(s) * sizeof(*s->depends));
    read_depends_on(b, s);
    read_implied(b, s);
    read_networks(b, s);
    service_read_hooks(b, s);
    int64_t ns;
    if (parse_duration(yaml_text(s->node, "stop_grace_period"), &ns, NULL) == 0)
        s->stop_timeout_s = (int)MIN((ns + 999999999) / 1000000000, 86400);
}
