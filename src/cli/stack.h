/* A Compose project as services of a swarm: deployed, compared, removed. */
#ifndef CLI_STACK_H
#define CLI_STACK_H

#include "cli/project.h"
#include "compose/stack.h"

/* Which images the services get. */
struct stack_images {
    const char *resolve; /* "always" (NULL too), "changed", "never": a tag is asked for in its registry */
    const char *from;    /* another stack: the images that run there; NULL: those of the file */
    bool quiet;          /* about what no registry tells */
};
/* clang-format off */
#define STACK_IMAGES_OPTIONS(o)                                                                            \
    {0, "resolve-image", CLI_TEXT, &(o).resolve, "WHEN",                                                     \
     "Ask the registries which image a tag is: always (default), changed or never"},                         \
    {0, "from", CLI_TEXT, &(o).from, "STACK", "Promote: the images that this other stack runs, by their digests"}
/* clang-format on */

struct stack_options {
    const struct project_options *project;
    struct stack_images images;
    bool detach;        /* but for what others depend on */
    bool prune;         /* remove services of the stack that the files do not have */
    int wait_timeout_s; /* <=0: STACK_WAIT_S */
};
enum { STACK_WAIT_S = 600 };

/* Whether the server is of a swarm. */
int stack_wanted(bool *ret, struct err *err);
/* The project as a stack; prints what it cannot have. The exit status, 0 when it is made. */
int stack_make(const struct compose_project *p, const struct project_options *o, bool read_files,
               struct stack *ret);
/* Makes it so; only what has changed is made anew. The exit status. */
int stack_deploy(const struct compose_project *p, const struct stack_options *o);
/* Removes the services, networks, secrets and configs of a stack; *ret_any: there were services. */
int stack_remove(const char *name, struct progress *progress, bool *ret_any, struct err *err);
/* The images of the services of `s`, which is to be stack `name`, become what they are to be. */
int stack_pin(const struct stack *s, const char *name, const struct stack_images *how, struct err *err);
/* Services, networks, secrets or configs that carry the stack's label. */
int stack_list(const char *kind, const char *stack, json_t **ret, struct err *err);
/* The project's services for POST /drover/plan. What the stack would make first (networks, secrets, configs)
 * and is not there yet is left out of them. The exit status, 0 when it is made. */
int stack_plan_request(const struct project_options *o, const struct stack_images *images, json_t **ret);
/* What differs between what is deployed and the project, to stdout. The exit status: 1 when something does.
 */
int stack_diff(const struct compose_project *p, const struct project_options *o,
               const struct stack_images *images);

#endif
