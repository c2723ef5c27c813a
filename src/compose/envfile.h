/* Files of environment variables: `.env`, --env-file, and a service's `env_file`.
 *
 * A line is NAME=value, `export NAME=value`, or NAME alone (taken from `outer`). '#' begins a comment at the
 * start of a line, or after white space behind an unquoted value. 'single quotes' keep everything; "double
 * quotes" know \n \t \r \" \\ \$ and variables, as unquoted values do; both may span lines. Variables come
 * from `outer` first, then from earlier lines. */
#ifndef COMPOSE_ENVFILE_H
#define COMPOSE_ENVFILE_H

#include "base/err.h"
#include "base/map.h"
#include "base/str.h"

enum { ENVFILE_MAX_BYTES = 1 << 20 };

/* Puts what the text says into `into`, a map of strings that frees its values. Errors name `file` and line.
 */
int envfile_parse(const char *file, const char *text, const struct map *outer, struct map *into,
                  struct err *err);
/* NAME=value lines as `docker run --env-file` takes them: nothing in a value has a meaning; no comments
 * behind values, no quotes, no variables. */
int envfile_read_raw(const char *path, struct map *into, struct err *err);
int envfile_read(const char *path, const struct map *outer, struct map *into, struct err *err);

#endif
