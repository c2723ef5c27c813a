/* A loaded project as `docker compose config` prints it: one document in canonical form, in which every value
 * has the type that its key wants, defaults are filled in, and keys are in a fixed order. The JSON form is
 * also what a service's digest is made from, the one that `docker compose` compares (its label is
 * com.docker.compose.config-hash). Source followed: compose-go 2.4, the structures of its package types. */
#ifndef COMPOSE_RENDER_H
#define COMPOSE_RENDER_H

#include "compose/compose.h"

struct render_options {
    bool no_normalize;      /* without defaults and names that the files do not say */
    bool no_env_resolution; /* env_file stays, instead of what is in it */
    bool no_paths;          /* relative paths as they are written */
    bool json;              /* as JSON has it, see schema.h */
};

/* The tree is the project's arena's. A project loaded with no_interpolate has its types and order only. */
struct yaml_node *compose_render(const struct compose_project *p, const struct render_options *options);

/* Prints a rendered tree as Go does: what is written without quotes is no string. `indent` per level; 0: on
 * one line, without blanks. */
void render_format_json(const struct yaml_node *node, int indent, struct str *ret);

/* The digest of what a container of the service is made from: another one makes a new container. It is
 * that of docker compose 2.26; `later`: of later versions, which leave out dependencies and profiles. Where
 * the service shares something of another's container, `container_of` gives that one's id (NULL: there is
 * none yet). The caller frees. */
typedef const char *(*render_container_fn)(const void *context, const char *service);
char *render_service_hash(const struct compose_project *p, const struct compose_service *s, bool later,
                          render_container_fn container_of, const void *context);

/* The same of a network or volume. The caller frees. */
char *render_resource_hash(struct yaml_arena *arena, const char *section, const struct yaml_node *node,
                           const char *name);

#endif
