/* Clones the child of a launch into namespaces that exist already.
 *
 * A pid, user or time namespace is chosen by the parent for the moment of the clone, and what is new must
 * belong to the user namespace that was joined. A parent that must not change itself sends an usher: a short
 * process that enters them and clones; the child is made the parent's own (CLONE_PARENT). */
#ifndef RUNTIME_USHER_H
#define RUNTIME_USHER_H

#include "runtime/child.h"

struct usher_join {
    int flags; /* CLONE_NEW..., several only with a pidfd */
    int fd;
};

/* Calls child_run(c) in the child. Returns its pid, or a negative code; ERR_CONFLICT when a process whose
 * namespaces were to be joined is gone. `cgroup_fd`: born in that group (v2), or negative. */
pid_t usher_clone(struct child *c, const struct usher_join *joins, size_t join_count, uint64_t flags,
                  int cgroup_fd, int *ret_pidfd, struct err *err);
/* For an exec: the usher does all that must be done outside, enters the container's other namespaces, and
 * then clones into its pid namespace; so that the container sees no process that still has a hand on the
 * host, not even one that may trace every process it sees (CAP_SYS_PTRACE). */
pid_t usher_clone_inside(struct child *c, int *ret_pidfd, struct err *err);
/* The same without joining: one clone3. */
pid_t usher_clone_plain(struct child *c, uint64_t flags, int cgroup_fd, int *ret_pidfd, struct err *err);

/* The same for a child whose parent has much parked (c->parked_from is not 0). The usher's table of
 * descriptors is the parent's until it makes itself a copy of what is below (close_range(2),
 * CLOSE_RANGE_UNSHARE), which is what the child then gets a copy of. The parent stands still until the usher
 * has gone, so that nothing changes the table meanwhile; the usher is in the parent's cgroups, so that
 * nothing of the container's (a frozen group, a quota) holds it up. Where either is killed half way, the
 * other is left with what it had. */
pid_t usher_clone_lightly(struct child *c, uint64_t flags, int cgroup_fd, int *ret_pidfd, struct err *err);

/* The same for a child that has our memory until its execve, while we stand still; it is our parent's
 * (CLONE_PARENT), with its pid in c->outer_pid. Needs usher_can_share(). Returns 0 when it has executed its
 * program or ended. */
int usher_clone_sharing(struct child *c, uint64_t flags, int cgroup_fd, struct err *err);
bool usher_can_share(void);

const char *usher_name_of(int flag); /* "pid" of CLONE_NEWPID, for messages */

#endif
