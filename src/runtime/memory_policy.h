/* On which NUMA nodes a container's memory lies ("linux.memoryPolicy" of the runtime specification 1.3,
 * set_mempolicy(2)).
 *
 * It is the process's that executes the program, and so of all it starts. The container's, so that an exec
 * has it, too. A mode or a flag that is not known is an error that names it; what the kernel refuses is one
 * when the process is set up. */
#ifndef RUNTIME_MEMORY_POLICY_H
#define RUNTIME_MEMORY_POLICY_H

#include "base/err.h"

#include <jansson.h>
#include <sched.h>
#include <stdbool.h>

struct memory_policy {
    bool set;
    int mode;        /* with its flags */
    cpu_set_t nodes; /* a set of small numbers, like that of CPUs */
};

int memory_policy_parse(const json_t *linux_, struct memory_policy *ret, struct err *err);
int memory_policy_apply(const struct memory_policy *p, struct err *err);
/* {"modes": [...], "flags": [...]} of features-linux.md. */
json_t *memory_policy_features(void);

#endif
