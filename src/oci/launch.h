/* Making a container out of a bundle: what `create` and `run` have in common; and its end. */
#ifndef OCI_LAUNCH_H
#define OCI_LAUNCH_H

#include "oci/container.h"

/* Descriptors from 3 on that the program inherits: --preserve-fds and those of socket activation
 * (LISTEN_FDS). Each must be open. */
int launch_inherited_fds(const struct oci_args *args, unsigned *ret_count, json_t *process, struct err *err);
/* Atomically: engines read the file as soon as it is there. */
int launch_write_pid(const char *path, pid_t pid, struct err *err);

/* Launches `id` from --bundle, and returns when its set-up is complete: waiting for `start` with `two_phase`,
 * else running its program. *ret is locked. *ret_master is the terminal in the foreground, or negative. On an
 * error nothing is left. */
int launch_container(const struct oci_args *args, const char *id, bool two_phase, bool detached,
                     struct container *ret, int *ret_master, struct err *err);

/* "poststart", "poststop": a hook that fails is a warning (runtime.md, "Lifecycle"). */
void launch_run_hooks(struct container *c, const char *kind, const char *status);

/* Ends what is left of a locked container (its processes, its cgroup, its directory), and runs the poststop
 * hooks. */
int launch_destroy(struct container *c, struct err *err);

#endif
