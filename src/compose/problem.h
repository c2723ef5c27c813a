/* What is wrong with a Compose file: a list of lines "file:line:column: services.web.foo: text". Reading goes
 * on after a problem, so that a person sees all of them at once; the list is bounded. */
#ifndef COMPOSE_PROBLEM_H
#define COMPOSE_PROBLEM_H

#include "base/str.h"

struct yaml_node;
struct yaml_pair;

enum { PROBLEM_MAX = 50 };

struct problems {
    struct str text; /* a line each */
    size_t count;
};

void problem_add(struct problems *p, const struct yaml_node *at, const char *format, ...) _printf_(3, 4);
/* About a key; `path` is that of the mapping. */
void problem_add_key(struct problems *p, const struct yaml_node *map, const struct yaml_pair *pair,
                     const char *format, ...) _printf_(4, 5);

/* The nearest word of a list ending with NULL: one with a slip or two, else one that begins as it does; or
 * NULL when none is near. */
const char *problem_nearest(const char *word, const char *const *words);

#endif
