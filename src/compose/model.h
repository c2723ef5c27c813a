/* The text of Compose files as one document in canonical form: read, variables replaced, checked, brought
 * into form, merged; with what `extends` and `include` bring in.
 *
 * `extends` is done within each document, before it is merged over earlier files; then its `include`s are
 * read (each with the directory and the variables of its own) and put below it, so that a later file may
 * change what an earlier one has included. Circles are errors that show the way; depth and number are
 * bounded. */
#ifndef COMPOSE_MODEL_H
#define COMPOSE_MODEL_H

#include "compose/compose.h"
#include "compose/problem.h"

enum { MODEL_MAX_FILES = 256, MODEL_MAX_CHAIN = 32 };

struct model_options {
    char *const *files; /* absolute, or "-" */
    const char *text;   /* stands for the content of the only file; NULL: read it */
    const char *dir;    /* relative paths start here */
    const struct map *environ;
    bool no_interpolate; /* variables stay, and so do values that have some */
    void (*variable)(void *context, const struct variable_use *use); /* each that occurs; may be NULL */
    void *context;
};

/* NULL root with problems when something is wrong. */
int model_load(struct yaml_arena *arena, const struct model_options *options, struct problems *problems,
               struct problems *notes, struct yaml_node **ret, struct err *err);

#endif
