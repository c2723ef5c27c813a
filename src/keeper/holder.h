/* Exit codes of processes whose keeper was killed.
 *
 * When a keeper is killed its children get another parent, who is told how they end. Were that init, it would
 * wait for them, and nobody would know. From Linux 6.15 on the kernel tells that to whoever held a pidfd
 * then, too: that is the client, which may be dead at that instant as well. So a process that does nothing
 * else, the holder, stands above each keeper and gets its children.
 *
 * A process is reaped only when its exit has been recorded, by the keeper whose child it is and by a later
 * one: at each instant it is there to be asked, or its record says how it ended.
 *
 *     holder --- keeper --- containers        waits for whatever else comes to it, and forgets it
 *     holder --- containers                   the keeper was killed: these, once ended, are left unwaited for
 *     holder2 -- keeper2 --- containers       keeper2 reads in /proc how one ended, records that, and tells
 *                                             the holder to wait for it (a queued signal with its pid)
 *
 * It has no descriptor but the log, and ends with its last child. When it is killed, too, before the
 * containers have ended, their exit codes are known from the pidfds that keeper2 and the client have (6.15),
 * and unknown (keeper.h) when these were killed at the same time, or on an older kernel. Nothing of it is on
 * the path of a launch. */
#ifndef KEEPER_HOLDER_H
#define KEEPER_HOLDER_H

#include "base/err.h"

#include <stdbool.h>
#include <sys/types.h>

struct daemon;
struct process;

/* Early in the keeper's process, which has neither children nor threads: forks, and returns in the child,
 * which goes on as the keeper. */
int holder_start(struct err *err);
/* How a process ended that is not our child; false: that cannot be known (any more). */
bool holder_exit_code(const struct process *p, int *ret_wait_status);
/* Its exit has been recorded; and whatever else the same holder keeps of which we know nothing can go. */
void holder_release(const struct process *p);
/* Nothing is recorded: where we may not look at its exit code, the kernel tells it to our pidfd then. */
void holder_release_one(const struct process *p);

#endif
