/* The order of nodes by load: for each class a search tree (a treap, whose shape follows from its keys alone)
 * in which every branch knows how many nodes it has and the most that is free in it, so that what is too full
 * is passed by whole branches. Nodes are known by their index in the model; a node is in one tree. */
#ifndef SCHEDULER_INDEX_H
#define SCHEDULER_INDEX_H

#include "base/mem.h"

#include <stdbool.h>

enum { INDEX_NONE = UINT32_MAX };

/* What is free on a node, or the most in a branch; of generic resources the kind with the most. */
struct index_free {
    int64_t cpu, memory, generic;
};
struct index_link {
    uint64_t key;
    struct index_free own, most;
    uint32_t left, right, priority, size;
};
struct index {
    struct index_link *links;
    uint32_t cap;
};

void index_done(struct index *x);
/* `priority` follows from the node's id. */
void index_insert(struct index *x, uint32_t *root, uint32_t node, uint64_t key, uint32_t priority,
                  struct index_free own);
void index_remove(struct index *x, uint32_t *root, uint32_t node);
/* The first node with a key of at least `from` on which all of `asked` is free; INDEX_NONE. */
uint32_t index_find(const struct index *x, uint32_t root, uint64_t from, const struct index_free *asked);
/* The node with `rank` others before it. */
uint32_t index_at(const struct index *x, uint32_t root, uint32_t rank);
static inline uint32_t index_size(const struct index *x, uint32_t root)
{
    return root == INDEX_NONE ? 0 : x->links[root].size;
}

#endif
