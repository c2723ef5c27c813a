/* A trace played to the scheduler in virtual time, as fast as it goes, with the very code that places real
 * tasks.
 *
 * Tasks that find no node wait, and are tried again when a task ends on a node that would do for them, a node
 * joins or comes back; the highest priority first, then who waits longest. A task that finds none may push
 * aside lower ones, which wait again and then run for their whole time. A failed node's tasks do the same. */
#ifndef SCHEDULER_SIMULATE_H
#define SCHEDULER_SIMULATE_H

#include "scheduler/scheduler.h"
#include "scheduler/trace.h"

struct simulate_options {
    uint32_t nodes; /* equal ones that are there from the start, beside those of the trace, in 3 zones of 8
                       racks */
    int64_t node_cpu_nano, node_memory_bytes;
    const char *strategy;
    struct sched_strategy *own; /* taken: put under the name of `strategy` when not NULL */
    bool preempt;
    uint64_t seed;
    int64_t (*clock_ns)(void); /* a real clock, for the cost */
    int64_t (*memory_bytes)(void);
};

struct simulate_result {
    uint64_t tasks, placed; /* asked for; placements, more than tasks when some were placed again */
    uint64_t waited, waiting, preempted, lost,
        peak; /* found no node at first; at the end; ...; most at one time */
    int64_t waited_most_ns, virtual_ns;
    int64_t scheduler_ns;   /* all that the scheduler took: placing, removing, preempting */
    int64_t place_worst_ns; /* the longest single call */
    double placements_per_s;
    int64_t memory_bytes; /* of the whole model, at its largest of 64 samples */
    /* At the moment of 64 at which most processors were reserved: */
    uint32_t nodes, nodes_used, nodes_bound; /* up; with a task; fewest that could hold what is reserved */
    double tasks_mean, tasks_deviation;      /* of nodes that are up */
    double cpu_share, memory_share;          /* reserved */
    uint64_t problems;                       /* of a strategy of the user's */
    char problem[160];
};

/* ERR_INVALID: a line of the trace asks for something that no request may. */
int simulate_run(const struct trace *trace, const struct simulate_options *options,
                 struct simulate_result *ret, struct err *err);

#endif
