/* .dockerignore: which files of a build context the build does not see.
 *
 * One pattern a line, the last that matches a path or a directory above it decides; "!" makes an exception;
 * "#" starts a comment line. */
#ifndef BAKERY_IGNORE_H
#define BAKERY_IGNORE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

struct ignore;

enum { IGNORE_MAX_BYTES = 1 << 20 };

int ignore_parse(const char *text, size_t n, struct ignore **ret, struct err *err);
/* One pattern more; *g is made when it is NULL. `what` is what a message calls it. */
int ignore_add(struct ignore **g, const char *pattern, const char *what, struct err *err);
void ignore_free(struct ignore *g); /* NULL ignores nothing, everywhere here */
/* `path` is relative to the context, without "./" and slashes at its ends. */
bool ignore_matches(const struct ignore *g, const char *path);
/* False when no exception can match below directory `path`, so that an ignored one need not be searched. */
bool ignore_may_except(const struct ignore *g, const char *path);

#endif
