/* What launch.c and starter.c have of each other. */
#ifndef RUNTIME_STARTER_PRIV_H
#define RUNTIME_STARTER_PRIV_H

#include "runtime/child.h"
#include "runtime/starter.h"

/* starter.c: whether this launch is one for a starter, and to send it: the write end of the status is passed.
 */
bool starter__fits(const struct runtime_launch *launch, const struct plan *plan);
int starter__send(const struct runtime_launch *launch, const struct cgroup *cgroup, int status_fd,
                  struct err *err);

/* launch.c: in the starter. Returns when the child has executed its program or ended; true: the former. */
bool launch__in_starter(const struct runtime_launch *launch, const struct cgroup *cgroup, int status_fd,
                        struct err *err);

#endif
