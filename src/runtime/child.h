/* The child of a launch, from clone3 to execve. Private to the runtime. */
#ifndef RUNTIME_CHILD_H
#define RUNTIME_CHILD_H

#include "runtime/cgroup.h"
#include "runtime/plan.h"

struct child {
    const struct plan *plan;
    const struct cgroup *cgroup;
    bool in_cgroup; /* was born in it (CLONE_INTO_CGROUP) */
    int stdio[3];
    bool tty;
    int status_fd;    /* where the outcome goes */
    int container_fd; /* exec: pidfd of the container's first process; else negative */
};

/* What goes through the status pipe: this byte once all is set up and execve is next, and a struct err when
 * anything failed, before or after. The pipe closes with execve. */
enum { CHILD_READY = 'r' };

/* Never returns. */
_Noreturn void child_run(struct child *c);

/* Finds the program and becomes it; returns only with an error. */
int child__execute(const struct plan_process *process, struct err *err);

#endif
