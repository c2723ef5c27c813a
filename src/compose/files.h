/* Which Compose files there are. */
#ifndef COMPOSE_FILES_H
#define COMPOSE_FILES_H

#include "compose/compose.h"

/* The paths to read (absolute, or "-" for standard input), in order, and the project's directory. */
int files_find(const struct compose_options *options, char ***ret, char **ret_dir, struct err *err);

/* `path` below `cwd` unless it is absolute; the directory that `path` lies in. The caller frees. */
char *files_absolute(const char *cwd, const char *path);
char *files_directory(const char *path);

#endif
