/* Processes that make containers' first processes in the place of their caller, who has much memory and much
 * to do.
 *
 * A child that is a copy of its parent (fork) costs both a page fault for each page that either writes
 * afterwards, and the kernel a copy of all tables; one that shares its parent's memory until its execve
 * (vfork) costs neither, but its parent must wait for it, and the kernel ends all who share the memory of one
 * that it kills for want of memory. A starter is a small process made for that: it is told of one launch at a
 * time (runtime_launch(), `starter`), reads the config, clones the child as the caller's own (CLONE_PARENT)
 * and stands still until the child has executed its program or has ended. The child itself tells the caller
 * its pid (runtime_launch_born()).
 *
 * What it leaves to the caller is what needs a parent beside it or namespaces that exist already: see
 * starter__fits() in starter.c. There is none where this is not x86-64. */
#ifndef RUNTIME_STARTER_H
#define RUNTIME_STARTER_H

#include "runtime/runtime.h"

struct runtime_starter {
    pid_t pid;
    int fd; /* hangs up when it has ended */
};

/* Reads a launch's config from the descriptor that the launch was given, in the starter. */
typedef int (*runtime_read_spec_fn)(int config_fd, void *context, json_t **ret, struct err *err);

/* It goes with its caller, is a child of it with SIGCHLD, and a copy of it as it is now: `context` with all
 * it points to. ERR_UNSUPPORTED: not on this machine. */
int runtime_starter_begin(runtime_read_spec_fn read_spec, void *context, struct runtime_starter *ret,
                          struct err *err);
/* Ends it and waits for it. A child that it has made goes on. */
void runtime_starter_end(struct runtime_starter *s);

#endif
