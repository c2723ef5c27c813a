/* When and where the process runs: "scheduler", "ioPriority" and "execCPUAffinity" of a process (config.md).
 */
#ifndef RUNTIME_SCHEDULING_H
#define RUNTIME_SCHEDULING_H

#include "base/err.h"

#include <jansson.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct scheduling {
    bool has_scheduler, has_io_priority, has_initial, has_final;
    uint32_t policy, priority;
    int32_t nice;
    uint64_t flags, runtime, deadline, period;
    int io_priority;          /* class and level as ioprio_set(2) takes them */
    cpu_set_t initial, final; /* of an exec: before and after it is in the container's cgroup */
};

int scheduling_parse(const json_t *process, struct scheduling *ret, struct err *err);
/* Scheduler and I/O priority of `pid`, 0: the caller. */
int scheduling_apply(const struct scheduling *s, pid_t pid, struct err *err);
/* "0-3,7" of the property `where`; numbers below CPU_SETSIZE, of CPUs or of what else is counted so. */
int scheduling_parse_set(const char *where, const char *text, cpu_set_t *ret, struct err *err);
int scheduling_set_affinity(const cpu_set_t *cpus, struct err *err);
/* All CPUs that the caller's cgroup lets it have, whatever who started it was bound to. */
void scheduling_reset_affinity(void);

#endif
