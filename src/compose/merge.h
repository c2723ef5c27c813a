/* Puts a later Compose file over an earlier one by the specification's rules ("Merge and override"), both in
 * canonical form: mappings are merged, lists appended (ports, volumes, secrets, configs and others without
 * doubles, by what identifies an item), `command`, `entrypoint` and `healthcheck.test` replaced; !reset takes
 * a value away, !override replaces it whole. */
#ifndef COMPOSE_MERGE_H
#define COMPOSE_MERGE_H

struct yaml_arena;
struct yaml_node;

/* Returns the result; nodes of both may be part of it. `base` may be NULL. */
struct yaml_node *merge_files(struct yaml_arena *arena, struct yaml_node *base, struct yaml_node *over);

#endif
