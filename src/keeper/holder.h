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
 *     holder --- containers                   the keeper was killed: those that have a record, once ended,
 * are left unwaited for; what has none (its launch was under way, or its end is recorded) is waited for at
 * once: it would keep its pid namespace, and so its container, from ending holder2 -- keeper2 --- containers
 * keeper2 reads in /proc how one ended, records that, and tells the holder to wait for it (a queued signal
 * with its pid)
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
 * which goes on as the keeper. `records`: its directory of them. */
int holder_start(const char *records, struct err *err);
/* How a process ended that is not our child; false: that cannot be known (any more). */
bool holder_exit_code(const struct process *p, int *ret_wait_status);
/* It can be waited for: its exit has been recorded, or is told to our pidfd by the kernel. */
void holder_release(const struct process *p);

#endif
