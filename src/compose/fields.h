/* Strict reading of YAML mappings into structs by a table: for files of our own (checks.yaml, bakery.yaml),
 * whose every key is known. An unknown key, a value of another type, a number out of range is a problem with
 * file, line and column (problem.h), and a near key is named.
 *
 *     static const struct field table[] = {
 *         {"max", FIELD_COUNT, offsetof(struct limits, max)}, {"allow", FIELD_LIST, offsetof(...)}, {0}};
 *     fields_read(arena, table, node, &limits, problems);
 *
 * What a key that is absent (or null) stands for is in the struct before. Texts and lists are the arena's. */
#ifndef COMPOSE_FIELDS_H
#define COMPOSE_FIELDS_H

#include "compose/problem.h"
#include "compose/yaml.h"

enum field_kind {
    FIELD_TEXT,     /* const char *: any scalar but null */
    FIELD_BOOL,     /* bool */
    FIELD_COUNT,    /* int64_t from 0 */
    FIELD_BYTES,    /* int64_t; 20m, 1.5g */
    FIELD_DURATION, /* int64_t of nanoseconds; 10s, 1m30s */
    FIELD_LIST,     /* char **: of texts, NULL-terminated */
    FIELD_TABLE,    /* const struct yaml_node *: a mapping of texts */
    FIELD_MAPS,     /* const struct yaml_node *: a list of mappings, for another table */
    FIELD_NAMED,    /* const struct yaml_node *: a mapping of mappings, for another table */
    FIELD_INSIDE,   /* a mapping whose `nested` table has offsets of the same struct */
    FIELD_PRESENT,  /* as FIELD_INSIDE, and the bool at `offset` says that the key is there */
};

struct field {
    const char *key;
    enum field_kind kind;
    size_t offset;
    const struct field *nested;
};

void fields_read(struct yaml_arena *arena, const struct field *table, struct yaml_node *map, void *target,
                 struct problems *problems);

/* The one document of a file, a mapping (an empty file is an empty mapping); ERR_INVALID names the place. */
int fields_document(struct yaml_arena *arena, const char *file, const char *text, size_t n,
                    struct yaml_node **ret, struct err *err);
/* 0 when there are none; else ERR_INVALID with their lines, as many as a message holds. */
int fields_settle(struct problems *problems, struct err *err);

#endif
