/* File name patterns: Go's filepath.Match for the sources of COPY and ADD, and with "**" the patterns of
 * .dockerignore. Compiled once; matching takes time in proportion to pattern times name, whatever the
 * pattern's author writes. */
#ifndef BAKERY_PATTERN_H
#define BAKERY_PATTERN_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

struct pattern;

enum { PATTERN_MAX_BYTES = 4096 };

/* `double_star`: "**" stands for any number of directories. */
int pattern_new(const char *text, bool double_star, struct pattern **ret, struct err *err);
void pattern_free(struct pattern *p);
static inline void pattern_free_p(struct pattern **p)
{
    pattern_free(*p);
}
/* The first `n` bytes of `name`, all of them. */
bool pattern_match(const struct pattern *p, const char *name, size_t n);
bool pattern_has_wildcard(const char *text);

#endif
