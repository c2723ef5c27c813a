/* YAML documents as trees whose every node knows its file, line and column.
 *
 * Built on libfyaml's events. Anchors, aliases and merge keys ("<<") are resolved here; an alias shares its
 * anchor's node, so a tree is a directed graph without cycles until it is copied (the interpolation does).
 * Hostile input is bounded: file size, depth, and the number of nodes after expansion of aliases, so that a
 * "billion laughs" is an error and not a full memory.
 *
 * Nodes and strings live in an arena and are freed with it, all at once. */
#ifndef COMPOSE_YAML_H
#define COMPOSE_YAML_H

#include "base/err.h"
#include "base/str.h"

enum yaml_type { YAML_NULL, YAML_SCALAR, YAML_LIST, YAML_MAP };

/* How two files' values are put together, from the tags !reset and !override. */
enum yaml_merge { YAML_MERGE_NORMAL, YAML_MERGE_RESET, YAML_MERGE_OVERRIDE };

struct yaml_node;

struct yaml_pair {
    const char *key;
    const char *file;
    int line, column; /* of the key, from 1 */
    struct yaml_node *value;
};

struct yaml_node {
    enum yaml_type type;
    enum yaml_merge merge;
    bool plain;       /* a scalar without quotes: may stand for a number or a boolean */
    const char *text; /* of a scalar */
    const char *file;
    int line, column;    /* from 1 */
    const char *path;    /* "services.web.ports[0]", once the document was interpolated */
    const char *written; /* of a path that was made absolute: as it stood there; else NULL */
    size_t weight;       /* nodes below and with this one, aliases expanded */
    size_t count, capacity;
    union {
        struct yaml_node **items; /* of a list */
        struct yaml_pair *pairs;  /* of a map, in order */
    };
};

struct yaml_arena;
struct yaml_arena *yaml_arena_new(void);
void yaml_arena_free(struct yaml_arena *arena);
void *yaml_alloc(struct yaml_arena *arena, size_t bytes); /* zeroed */
const char *yaml_strdup(struct yaml_arena *arena, const char *text);
const char *yaml_printf(struct yaml_arena *arena, const char *format, ...) _printf_(2, 3);

enum {
    YAML_MAX_KEYS = 4096,
    YAML_MAX_BYTES = 4 << 20,
    YAML_MAX_NODES = 100000,
    YAML_MAX_DEPTH = 48,
    YAML_MAX_DOCUMENTS = 64
};

/* Parses every document of `text`; `file` names it in messages: "compose.yaml:3:1: ...". An empty document
 * is left out. The list is the arena's. */
int yaml_parse(struct yaml_arena *arena, const char *file, const char *text, size_t n,
               struct yaml_node ***ret, size_t *ret_count, struct err *err);

/* A new empty node at the place of another (or of none). */
struct yaml_node *yaml_new(struct yaml_arena *arena, enum yaml_type type, const struct yaml_node *at);
struct yaml_node *yaml_new_text(struct yaml_arena *arena, const char *text, const struct yaml_node *at);
/* Puts or replaces; `at` gives the key's place. */
void yaml_put(struct yaml_arena *arena, struct yaml_node *map, const struct yaml_pair *at, const char *key,
              struct yaml_node *value);
void yaml_append(struct yaml_arena *arena, struct yaml_node *list, struct yaml_node *item);
void yaml_remove(struct yaml_node *map, const char *key);

struct yaml_pair *yaml_find(const struct yaml_node *map, const char *key); /* NULL: absent, or no map */
struct yaml_node *yaml_get(const struct yaml_node *map, const char *key);  /* the same; NULL for a null too */
const char *yaml_text(const struct yaml_node *map, const char *key);       /* "" when absent or no scalar */

/* What a scalar is when it stands without quotes. */
bool yaml_is_null_text(const char *text);
bool yaml_is_bool_text(const char *text);
bool yaml_is_number_text(const char *text);
/* "a string", "a number", "a list", ... */
const char *yaml_type_name(const struct yaml_node *node);

/* A plain number or boolean as the text that docker compose makes of it where a text is wanted (1.50 is 1.5,
 * 0x10 is 16, True is true); other scalars' own text. */
const char *yaml_value_text(struct yaml_arena *arena, const struct yaml_node *node);

/* Prints a tree as block YAML that reads back as the same values. */
void yaml_format(const struct yaml_node *node, struct str *ret);

#endif
