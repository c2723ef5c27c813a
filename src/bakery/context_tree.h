/* Names, kinds, link targets and digests of the files of a build context, in little memory: about 90 bytes
 * and the name for each. Filled by one thread, then sorted; from then on any thread may ask (context.h). */
#ifndef BAKERY_CONTEXT_TREE_H
#define BAKERY_CONTEXT_TREE_H

#include "bakery/context.h"

struct context_node; /* lives as long as its tree */

struct context_tree *context_tree_new(void);
void context_tree_free(struct context_tree *t);
/* The node of a path as an archive's entry has it ("a/b", "" is the root), links not followed; or NULL. */
struct context_node *context_tree_at(const struct context_tree *t, const char *path);
/* A new one, with the directories above it made as extraction makes them. NULL: something there is no
 * directory, or there is too much. */
struct context_node *context_tree_add(struct context_tree *t, const char *path, mode_t mode);
void context_tree_sort(struct context_tree *t);
/* As openat2(RESOLVE_IN_ROOT) goes through the tree; `follow`: also a link at the end. */
int context_tree_find(const struct context_tree *t, const char *path, bool follow, struct context_node **ret,
                      struct err *err);

mode_t context_node_mode(const struct context_node *n);
void context_node_set_mode(struct context_node *n, mode_t mode);
void context_node_set_file(struct context_node *n, int64_t size, const char *digest); /* "sha256:<hex>" */
void context_node_set_same(struct context_node *n, const struct context_node *of);    /* the same content */
bool context_node_set_target(struct context_tree *t, struct context_node *n, const char *target);

#endif
