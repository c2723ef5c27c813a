/* What the files share that make a ServiceSpec of a service (stack_service.c). */
#ifndef COMPOSE_STACK_PRIV_H
#define COMPOSE_STACK_PRIV_H

#include "compose/stack.h"

struct making {
    const struct compose_project *project;
    const char *name; /* of the service, in the file */
    const json_t *in, *document;
    json_t *container, *template, *spec;
    struct str *problems;
};

/* A line that names the service's key. */
void stack__problem(struct making *m, const char *key, const char *format, ...) _printf_(3, 4);
bool stack__nothing(const json_t *v); /* null, false, "", [] and {} say as much as no key */
void stack__set(json_t *to, const char *key, const json_t *value); /* unless it is nothing */
void stack__set_duration(struct making *m, json_t *to, const char *key, const json_t *from, const char *name);
int64_t stack__size_of(const json_t *from, const char *key);     /* bytes; 0: none */
json_t *stack__labels_of(struct making *m, const json_t *given); /* with the stack's own */

/* stack_container.c */
void stack__put_container(struct making *m);
void stack__put_image(struct making *m, const char *image);
void stack__put_mounts(struct making *m);
/* Secrets and configs of the service. */
void stack__put_grants(struct making *m, const char *section, const char *field, const char *id,
                       const char *name);

/* stack_deploy.c */
void stack__put_networks(struct making *m);
void stack__put_ports(struct making *m, const json_t *deploy);
void stack__put_resources(struct making *m, const json_t *deploy);
void stack__put_restart(struct making *m, const json_t *deploy);
void stack__put_rollout(struct making *m, const json_t *deploy, const char *key, const char *name);
void stack__put_placement(struct making *m, const json_t *deploy);
void stack__put_mode(struct making *m, const struct compose_service *s, const json_t *deploy);
void stack__put_logging(struct making *m);

#endif
