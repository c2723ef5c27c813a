/* Patterns of constraints and affinities, as classic Swarm had them: a glob (`node-*`, `?` is one character)
 * or a regular expression between slashes (`/web-[0-9]+/`, which fits when a part of the text does; `^` and
 * `$` tie it).
 *
 * Whoever writes a pattern may be an attacker: matching keeps a set of states and never goes back, so it
 * takes time in proportion to pattern times text. Taken are literals, `.`, classes with ranges and `\d \w \s`
 * (and capitals), groups, `|`, `* + ? {n,m}`, `^ $` and a leading `(?i)`; anything else is an error that
 * names it. */
#ifndef SCHEDULER_VALUE_PATTERN_H
#define SCHEDULER_VALUE_PATTERN_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct value_pattern;

enum { PATTERN_STATES = 1024 }; /* a longer program is ERR_LIMIT */

/* A text between slashes is a regular expression, anything else a glob. */
int value_pattern_new(const char *text, struct value_pattern **ret, struct err *err);
void value_pattern_free(struct value_pattern *p);
bool value_pattern_match(const struct value_pattern *p, const char *text);
/* Whether the glob has no special character, so that it equals one text only. */
bool value_pattern_is_literal(const char *text);

#endif
