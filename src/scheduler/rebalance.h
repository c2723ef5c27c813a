/* What could be better, as pure functions of the model: both leave it as it was. */
#ifndef SCHEDULER_REBALANCE_H
#define SCHEDULER_REBALANCE_H

#include "scheduler/scheduler.h"

struct sched_move {
    sched_task task;
    const char *from, *to;
};

/* How many more tasks of a service may be missing at once without breaking its health: those that run well,
 * less the least it must have. 0 or below: none is moved. */
typedef int64_t sched_spare_fn(void *context, const char *service);

/* Moves from the nodes with the most tasks to where they would be placed now, when a new node has joined. At
 * most `budget` of them, less those `leaving`: tasks that are being moved already, which count where their
 * successors go and not where they are. Of each service at most its spare. Each move lets the two nodes'
 * numbers of tasks come closer, so that asking again and again ends. Only tasks of the `spread` strategy
 * move: to the others an empty node is as it should be. Tasks with volumes or ports of the node stay. Returns
 * how many moves. */
size_t sched_rebalance(struct sched *s, const sched_task *leaving, size_t leaving_count, size_t budget,
                       int64_t now_ns, sched_spare_fn *spare, void *context, struct sched_move *moves);

/* What a change would do. */
enum sched_change_kind {
    SCHED_CHANGE_SCALE, /* `shape`'s service to `count` tasks */
    SCHED_CHANGE_NODE,  /* `node` joins, or is as it says from now on (drained, relabelled) */
};
struct sched_change {
    enum sched_change_kind kind;
    struct sched_shape *shape;
    size_t count;
    const struct sched_node *node;
    const struct sched_node *before; /* the node as it is, to go back to; NULL when it joins */
};
enum sched_action_kind {
    SCHED_ACTION_START,
    SCHED_ACTION_STOP,
    SCHED_ACTION_MOVE,   /* the node does not suit the task any more */
    SCHED_ACTION_REFUSE, /* to start or to move, and no node is possible */
};
struct sched_action {
    enum sched_action_kind kind;
    struct sched_shape *shape;
    char from[SCHED_TEXT_MAX + 1], to[SCHED_TEXT_MAX + 1]; /* ids, "" where there is none */
};

/* Tries the change, writes the first `capacity` actions, and undoes it; *ret_count is how many there are.
 * Scaling down stops tasks on the nodes with the most of the service, then of all. */
int sched_plan(struct sched *s, const struct sched_change *change, int64_t now_ns,
               struct sched_action *actions, size_t capacity, size_t *ret_count, struct err *err);

#endif
