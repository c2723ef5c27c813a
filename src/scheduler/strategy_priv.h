/* What a strategy of the user's is to the scheduler. */
#ifndef SCHEDULER_STRATEGY_PRIV_H
#define SCHEDULER_STRATEGY_PRIV_H

#include "scheduler/strategy.h"

#include <drover/strategy.h>

struct sched_strategy {
    /* One number a node; the message of an error says what the script or object did. */
    int (*score)(struct sched_strategy *self, const struct drover_strategy_task *task,
                 const struct drover_strategy_node *nodes, size_t count, double *scores, struct err *err);
    void (*free)(struct sched_strategy *self);
};

#endif
