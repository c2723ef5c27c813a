/* Making a container out of a bundle: what `create` and `run` have in common; and its end. */
#ifndef OCI_LAUNCH_H
#define OCI_LAUNCH_H

#include "oci/container.h"

/* How many descriptors from 3 on the program inherits: --preserve-fds, after those of socket activation
 * (LISTEN_FDS). Those of them that are not open are passed over. */
int64_t launch_inherited_count(const struct oci_args *args);
/* The same, checked, with what sd_listen_fds(3) wants in the environment of `process` (may be NULL). */
int launch_inherited_fds(const struct oci_args *args, unsigned *ret_count, json_t *process, struct err *err);
/* Atomically: engines read the file as soon as it is there. */
int launch_write_pid(const char *path, pid_t pid, struct err *err);
/* To who listens on the stream socket at `path` (NULL: nobody), with SCM_RIGHTS: a number can be another
 * process's by the time it is used. */
int launch_send_pidfd(const char *path, int pidfd, struct err *err);

/* What only a caller in the foreground needs. */
struct launched {
    int master;    /* the terminal, or negative */
    int notify_fd; /* see notify.h, or negative */
};

#define LAUNCHED_INIT ((struct launched){.master = -EBADF, .notify_fd = -EBADF})
static inline void launched_done(struct launched *l)
{
    l->notify_fd = close_fd(l->notify_fd); /* the terminal is the relay's to close */
}

/* Launches `id` from --bundle, and returns when its set-up is complete: waiting for `start` with `two_phase`,
 * else running its program. *ret is locked. On an error nothing is left. */
int launch_container(const struct oci_args *args, const char *id, bool two_phase, bool detached,
                     struct container *ret, struct launched *ret_more, struct err *err);

/* The poststart hooks of a container whose program runs. The first that fails is an error, after which the
 * caller ends the container, where its config is of 1.3 or later; before, each that fails is a warning
 * (runtime.md, "Lifecycle", step 9, of the two). */
int launch_run_poststart(struct container *c, struct err *err);

/* "poststart", "poststop": a hook that fails is a warning (runtime.md, "Lifecycle"). */
void launch_run_hooks(struct container *c, const char *kind, const char *status);

/* Kills all of it, and leaves the rest to a `delete`. */
void launch_end(struct container *c);

/* Ends what is left of a locked container (its processes, its cgroup, its directory), and runs the poststop
 * hooks. With `force` a cgroup that cannot be removed is only warned about. */
int launch_destroy(struct container *c, bool force, struct err *err);

#endif
