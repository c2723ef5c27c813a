/* Brings a checked Compose file (schema.h) into one form, so that files can be merged and read without a
 * thought for the short ways of writing: "NAME=value" lists become mappings, a single string a list,
 * "8080:80" and "data:/var/lib:ro" mappings of the long syntax, relative paths absolute ones. */
#ifndef COMPOSE_CANONICAL_H
#define COMPOSE_CANONICAL_H

#include <stdbool.h>

struct map;
struct problems;
struct yaml_arena;
struct yaml_node;

struct canonical {
    struct yaml_arena *arena;
    const char *dir;           /* absolute; relative paths start here */
    const struct map *environ; /* values of variables named without one */
    struct problems *problems;
    bool keep_variables; /* values have them still: what has some stays as it is */
};

void canonical_file(const struct canonical *c, struct yaml_node *root);

/* --- for canonical_*.c --- */
/* One short "[IP:][PUBLISHED:]TARGET[/PROTOCOL]"; appends one mapping a port to `list`. */
void canonical__port(const struct canonical *c, const struct yaml_node *item, struct yaml_node *list);
/* One short "[SOURCE:]TARGET[:MODE]" as a mapping, or NULL after a problem. */
struct yaml_node *canonical__volume(const struct canonical *c, const struct yaml_node *item);
/* Words as a POSIX shell would split them, without expansions, as a list. */
struct yaml_node *canonical__words(const struct canonical *c, const struct yaml_node *node);
const char *canonical__path(const struct canonical *c, const char *path);
struct yaml_node *canonical__absolute(const struct canonical *c, const struct yaml_node *node);

#endif
