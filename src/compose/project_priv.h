/* What the files that build a project share. */
#ifndef COMPOSE_PROJECT_PRIV_H
#define COMPOSE_PROJECT_PRIV_H

#include "compose/compose.h"
#include "compose/problem.h"
#include "compose/yaml.h"

struct building {
    struct compose_project *project;
    struct yaml_arena *arena;
    const struct map *environ;
    struct problems *problems;
    const char *api_socket;
    bool check_files, stack; /* as in struct compose_options */
};

/* service.c: fills everything of a service but its dependencies' depth. */
void service_read(struct building *b, struct compose_service *s);
/* service_build.c: `build` but its contexts; those, which name other services; then the order of builds. */
void service_read_build(struct building *b, struct compose_service *s);
void service_read_contexts(struct building *b, struct compose_service *s);
void service_order_builds(struct building *b);
/* service_body.c */
void service_read_body(struct building *b, struct compose_service *s);
/* service_devices.c */
void service_read_devices(struct building *b, const struct compose_service *s, json_t *host);
/* service_hooks.c: post_start, pre_stop and develop.watch. */
void service_read_hooks(struct building *b, struct compose_service *s);
/* service_mounts.c: volumes, tmpfs, secrets and configs into the body's HostConfig, and what is
 * copied. */
void service_read_mounts(struct building *b, struct compose_service *s, json_t *host_config);

/* Where the content of a secret or config is: one of the two. */
struct grant_source {
    const char *file, *content;
};
/* Of its definition. False when there is none here: a problem, unless it is external. */
bool grant_source(struct building *b, const struct yaml_node *definition, struct grant_source *ret);

/* The full name of a container: container_name, or project-service-number. */
const char *service_container_name(struct building *b, const struct compose_service *s, int number);
struct compose_resource *resource_find(struct compose_resource *list, size_t count, const char *key);

/* Reading checked nodes: the schema has already refused wrong types. */
bool node_bool(const struct yaml_node *map, const char *key);
int64_t node_int(const struct yaml_node *map, const char *key, int64_t fallback);
int64_t node_bytes(const struct yaml_node *map, const char *key);
json_t *node_strings(const struct yaml_node *list);
char **node_strv(const struct yaml_node *list); /* the caller frees */
json_t *node_ulimits(const struct yaml_node *map);
json_t *node_dict(const struct yaml_node *map); /* null values become "" */

#endif
