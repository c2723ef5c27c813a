/* Traces for the simulator: what came to a cluster and when, as lines of comma-separated values below a line
 * that names the columns. docs/scheduling.md has the columns. Three kinds are told apart by that first line:
 *
 *   Drover's own    time,event,name,count,duration,cpu,memory,gpu,priority,constraints,...  in any order
 *   openb pods      name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,...,creation_time,deletion_time,...
 *   openb nodes     sn,cpu_milli,memory_mib,gpu,model
 *
 * openb is the published trace of a production cluster (alibaba/clusterdata, cluster-trace-gpu-v2023). A part
 * of a GPU is counted in thousandths of all GPUs of a node. Files are added to one trace; nodes may stand in
 * one and tasks in another.
 *
 * A trace may come from anybody: every error names the line, and nothing is larger than the text it came from
 * by more than a constant factor. */
#ifndef SCHEDULER_TRACE_H
#define SCHEDULER_TRACE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TRACE_BYTES_MAX = 1 << 30,
    TRACE_COUNT_MAX = 1 << 24, /* tasks of one line */
};

enum trace_kind {
    TRACE_NODE,   /* a node joins */
    TRACE_RETURN, /* a failed node is back */
    TRACE_FAIL,   /* a node and its tasks are lost */
    TRACE_SICK,   /* a node's health lets it take no new tasks; it keeps those it has */
    TRACE_WELL,   /* it takes tasks again */
    TRACE_TASK,
};

struct trace_event {
    enum trace_kind kind;
    int64_t time_ns, duration_ns; /* of a task: -1 is without end */
    int64_t cpu_nano, memory_bytes, gpu;
    int32_t priority;
    uint32_t count, max_per_node;
    uint16_t port;
    /* "" where there is nothing; lists have ';' between their parts */
    const char *name, *constraints, *affinities, *preferences, *labels, *image, *pool, *tenant, *options;
};

struct trace {
    struct trace_event *events; /* by time; at one time in the order of the kinds above, then of the lines */
    size_t count, cap;
    char **texts; /* what the events point into */
    size_t text_count, text_cap;
};

/* Takes the text. `what` names it in errors. */
int trace_add(struct trace *t, char *text, size_t n, const char *what, struct err *err);
/* Puts the events in order; once, after all files. */
void trace_sort(struct trace *t);
void trace_done(struct trace *t);

#endif
