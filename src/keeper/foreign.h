/* Containers that another OCI runtime (runc, crun, ...) makes, held by the keeper as its own are.
 *
 * The runtime is a program that takes tens of milliseconds, so a helper, a fork of the keeper, drives it: in
 * a mount namespace of its own the helper mounts the root, writes a bundle, and runs `create`, waits for the
 * keeper to hold the first process, and runs `start`; `exec` and `delete` likewise. The keeper's loop only
 * reads what the helper says:
 *
 *     helper                                   keeper
 *     create (or exec) ...
 *     PID, the terminal           ->           opens a pidfd
 *                                 <-           GO
 *     start (only after create)
 *     DONE or FAILED, exits       ->           reaps it: the process is its own child from here on
 *
 * The helper is a child subreaper while it works, the keeper for good: a first process, which its runtime
 * leaves behind, passes from the one to the other and is waited for, killed, paused and read as a native one
 * is. When it has ended the runtime's `delete` runs before the exit is told, so that the id is free again.
 *
 * Files, in <root>/keeper/foreign/: <id>/ the bundle, with runtime.json, by which a new keeper knows how to
 * go on; state/ what the runtimes remember (their --root). */
#ifndef KEEPER_FOREIGN_H
#define KEEPER_FOREIGN_H

#include "keeper/daemon.h"
#include "runtime/runtime.h"

/* For a container that is about to be launched. */
int foreign_new(struct container *c, const struct keeper_runtime *runtime, struct err *err);
/* For one that an earlier keeper left; does nothing when it is native. */
void foreign_load(struct container *c);
void foreign_free(struct foreign *f);
void foreign_launch_free(struct foreign_launch *l);

/* Like runtime_launch() and runtime_exec(); *ret is the helper. */
int foreign_create(struct process *p, const struct runtime_launch *launch, struct runtime_child *ret,
                   struct err *err);
int foreign_exec(struct process *p, const json_t *process, const struct runtime_launch *launch,
                 struct runtime_child *ret, struct err *err);

/* The helper said something. */
void foreign_hear(struct process *p);
/* The helper, p->pidfd until now, has been reaped. True: p is the container's process now and runs; false:
 * the launch failed, p->launch_err says why. */
bool foreign_helper_ended(struct process *p);

/* Whether the runtime has forgotten the container; else that begins, and proc_conclude_if_done() is called
 * again. True for a native one. */
bool foreign_gone(struct container *c);
/* The same for what is not known any more. */
void foreign_clean_up(struct container *c);

/* Children that are no process of a container. */
void foreign_reap_strays(struct daemon *d);

#endif
