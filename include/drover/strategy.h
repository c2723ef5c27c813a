/* The interface of a strategy as a shared object, for Drover's scheduler (docs/scheduling.md).
 *
 * The object exports one function, drover_strategy(), which returns a table that stays valid. The scheduler
 * offers candidates in batches: nodes that every filter lets pass. score() writes one number for each; the
 * highest wins, equals are told apart by load, and a number that is none (NaN) leaves the node out. score()
 * must not block, and keeps nothing of what it is given. Calls to one instance never overlap.
 *
 * ABI. `abi` is DROVER_STRATEGY_ABI of the header that the object was built with; another one is refused.
 * Within an ABI structs only grow at their end: `size` says how much of the table there is, and struct sizes
 * are passed to score(), so that nodes are stepped over by `node_size` (drover_strategy_node_at). */
#ifndef DROVER_STRATEGY_H
#define DROVER_STRATEGY_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DROVER_STRATEGY_ABI 1u

struct drover_strategy_task {
    const char *service, *image, *options; /* "" when there is none; options are the service's own text */
    int64_t cpu_nano, memory_bytes;        /* asked for */
    int32_t priority;
};

struct drover_strategy_node {
    const char *id, *name;
    int64_t cpu_nano, memory_bytes;           /* in all */
    int64_t free_cpu_nano, free_memory_bytes; /* not reserved */
    uint32_t tasks, service_tasks;            /* on the node; of the task's service */
    uint32_t has_image;                       /* 1: the task's image is there */
    uint32_t degraded;                        /* 1: it is not quite well (docs/scheduling.md) */
    /* A label of the node, or of its engine when the node has none of that key; NULL. */
    const char *(*label)(const struct drover_strategy_node *node, const char *key);
    const void *internal;
};

struct drover_strategy {
    uint32_t abi, size; /* DROVER_STRATEGY_ABI, sizeof(struct drover_strategy) */
    const char *name;
    /* May be NULL. Returns the instance; on failure NULL with a text in `error`. */
    void *(*open)(char *error, size_t error_size);
    /* 0, or another number with a text in `error`: then the built-in strategy places the task. */
    int (*score)(void *instance, const struct drover_strategy_task *task,
                 const struct drover_strategy_node *nodes, size_t node_size, size_t count, double *scores,
                 char *error, size_t error_size);
    void (*close)(void *instance); /* may be NULL */
};

static inline const struct drover_strategy_node *
drover_strategy_node_at(const struct drover_strategy_node *nodes, size_t node_size, size_t i)
{
    return (const struct drover_strategy_node *)((const char *)nodes + node_size * i);
}

/* What the object exports. */
const struct drover_strategy *drover_strategy(void);

#ifdef __cplusplus
}
#endif
#endif
