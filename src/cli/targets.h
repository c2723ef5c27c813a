/* Which containers a verb means: those of the project's services, or containers by their own names. A project
 * is known from its Compose file, or, where there is none, by the name alone (-p, $COMPOSE_PROJECT_NAME). */
#ifndef CLI_TARGETS_H
#define CLI_TARGETS_H

#include "cli/project.h"

struct targets {
    struct compose_project *project; /* NULL: no file */
    char *name;                      /* of the project; NULL: none is meant */
    json_t *containers;              /* entries of the API's list, sorted by name */
};

struct targets_want {
    bool all;        /* stopped ones too */
    bool only_files; /* names are of services only */
    bool one_off;    /* those of `run` too */
    int index;       /* >0: only this one of each service */
};

/* Fills in; prints what is wrong and returns the exit status, or 0. Without names: the whole project. */
int targets_find(const struct project_options *o, char *const *names, const struct targets_want *want,
                 struct targets *ret);
/* The same for a single running container of a service, or one by its name; *ret_id is freed by the caller.
 */
int targets_find_one(const struct project_options *o, const char *name, int index, char **ret_id);
void targets_done(struct targets *t);
#define _cleanup_targets_ _cleanup_(targets_done)

/* The name of a container in an entry, without the slash. */
const char *targets_name(const json_t *container);
const char *targets_label(const json_t *container, const char *label);

#endif
