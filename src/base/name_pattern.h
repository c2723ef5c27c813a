/* Patterns of names with slashes, as policies have them: `*` is any number of characters within a part of a
 * name, `**` of any, `?` is one within a part. Takes time in proportion to pattern times name, whatever the
 * pattern's writer puts side by side. A name of more than 512 bytes fits nothing. */
#ifndef BASE_NAME_PATTERN_H
#define BASE_NAME_PATTERN_H

#include <stdbool.h>

bool name_pattern_match(const char *pattern, const char *name);
/* One of the list, which may be NULL, fits. */
bool name_patterns_match(char *const *patterns, const char *name);

#endif
