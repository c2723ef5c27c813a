/* The shape of a Compose file: which keys there are, and of which type each value is. One table
 * (schema_table.c) says so; a key of the specification that is not done here is in it with the reason, so
 * that it is an error that names it. Keys that begin with "x-" are allowed in every mapping of the table. */
#ifndef COMPOSE_SCHEMA_H
#define COMPOSE_SCHEMA_H

#include <stdbool.h>

struct problems;
struct str;
struct yaml_arena;
struct yaml_node;

/* `notes` gets a line for each key that is allowed and has no effect here. `with_variables`: variables were
 * left in values, which then may become of any type. */
void schema_check(const struct yaml_node *root, struct problems *problems, struct problems *notes,
                  bool with_variables);

/* A copy of a checked document with its keys in the table's order (the user's own names sorted), with the
 * types that the table says (sizes in bytes, durations as Go writes them, numbers and booleans without
 * quotes), and without what is zero: what `docker compose config` prints, as YAML or as JSON, which differ in
 * a few keys. `loose`: of a document with variables left in it, everything stays, sorted. */
struct yaml_node *schema_arrange(struct yaml_arena *arena, struct yaml_node *root, bool json, bool loose);

/* The table as a Markdown table of every key, for docs/compose.md. */
void schema_document(struct str *ret);

#endif
