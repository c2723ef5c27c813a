/* A loaded project as `docker compose config` prints it: one document in canonical form, in which every value
 * has the type that its key wants, defaults are filled in, and keys are in a fixed order. */
#ifndef COMPOSE_RENDER_H
#define COMPOSE_RENDER_H

#include "compose/compose.h"

struct render_options {
    bool no_normalize;      /* without defaults and names that the files do not say */
    bool no_env_resolution; /* env_file stays, instead of what is in it */
    bool all;               /* also what no active service uses */
};

/* The tree is the project's arena's. A project loaded with no_interpolate has its types and order only. */
struct yaml_node *compose_render(const struct compose_project *p, const struct render_options *options);

/* A rendered tree as JSON, a new reference: what is written without quotes is no string. */
json_t *compose_render_json(const struct yaml_node *node);

#endif
