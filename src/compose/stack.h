/* A project as a stack: what `docker stack deploy` makes of a Compose file, as bodies of the Docker Engine
 * API. It is called as there ("shop_web" for the service web of the project shop) and carries the label
 * com.docker.stack.namespace.
 *
 * What a swarm's service cannot have is a problem that names the key; none is left out silently but those
 * that say how an image is built or how a developer works. Pure, but for the files of secrets and configs. */
#ifndef COMPOSE_STACK_H
#define COMPOSE_STACK_H

#include "compose/compose.h"

#define STACK_LABEL "com.docker.stack.namespace"

struct stack_item { /* a network, secret or config to make */
    char *name;
    json_t *body; /* of its creation */
};

struct stack_service {
    const struct compose_service *service;
    char *name;
    json_t *spec; /* ServiceSpec. Networks, secrets and configs are by name: their ids are the caller's to
                     fill in */
};

struct stack {
    struct stack_item *networks, *secrets, *configs;
    size_t network_count, secret_count, config_count;
    struct stack_service *services; /* active ones: those that others depend on first */
    size_t service_count;
};

/* `environ` gives the secrets and configs that are variables; with `read_files`, secrets and configs have
 * their Data. On ERR_UNSUPPORTED or ERR_INVALID, `ret_problems` has a line for each problem. */
int compose_stack(const struct compose_project *p, const struct map *environ, bool read_files,
                  struct stack *ret, struct str *ret_problems, struct err *err);
void compose_stack_done(struct stack *s);

/* stack_service.c: one service of the rendered document. Problems are added as lines. */
json_t *compose__stack_spec(const struct compose_project *p, const struct compose_service *s,
                            const json_t *document, struct str *problems);

#endif
