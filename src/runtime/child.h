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
    int status_fd;    /* where the outcome goes; negative while it waits to be started */
    int container_fd; /* exec: pidfd of the container's first process; else negative */
    int start_fd;     /* listening; negative: one phase */
    int console_fd;   /* who gets the terminal's master; negative: stdio are what was given */
    unsigned preserve_fds;
};

/* What goes through the status pipe: this byte once all is set up and execve is next, and a struct err when
 * anything failed, before or after. The pipe closes with execve. */
enum { CHILD_READY = 'r' };

/* Never returns. */
_Noreturn void child_run(struct child *c);

void child__report_ready(const struct child *c);

/* Tells the parent that all is set up, and returns when somebody wants it to go on. From then on the outcome
 * goes to that one. */
int child__await_start(struct child *c, struct err *err);

/* Inside the container: makes a terminal, sends its master away, and takes its slave as stdio. */
int child__open_console(struct child *c, struct err *err);
int child__bind_console(const struct child *c, struct err *err); /* stdin as /dev/console */

/* Finds the program and becomes it; returns only with an error. */
int child__execute(const struct plan_process *process, struct err *err);

#endif
