/* Which Compose files there are, and the text of all of them as one document in canonical form. */
#ifndef COMPOSE_FILES_H
#define COMPOSE_FILES_H

#include "compose/compose.h"
#include "compose/problem.h"

/* The paths to read (absolute, or "-" for standard input), in order, and the project's directory. */
int files_find(const struct compose_options *options, char ***ret, char **ret_dir, struct err *err);

/* Reads, interpolates, checks, brings into form and merges. NULL root with problems when something is wrong.
 * `text` (may be NULL) stands for the content of the only file. */
int files_load(struct yaml_arena *arena, char *const *files, const char *text, const char *dir,
               const struct map *environ, struct problems *problems, struct problems *notes,
               struct yaml_node **ret, struct err *err);

#endif
