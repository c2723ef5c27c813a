/* Exit codes of processes whose keeper was killed, where the kernel does not keep them.
 *
 * When a keeper is killed its children get another parent, who is told how they end. From Linux 6.15 on the
 * kernel tells that to whoever holds a pidfd, too. On an older one init would wait for them, and nobody would
 * know: there a process that does nothing else, the holder, stands above each keeper and gets its children.
 *
 *     holder --- keeper --- containers        waits for whatever else comes to it, and forgets it
 *     holder --- containers                   the keeper was killed: these, once ended, are left unwaited for
 *     holder2 -- keeper2 --- containers       keeper2 reads in /proc how one ended, records that, and tells
 *                                             the holder to wait for it (a queued signal with its pid)
 *
 * It has no descriptor but the log, and ends with its last child. When it is killed, too, before the
 * containers have ended, their exit codes are unknown (keeper.h). Nothing of it is on the path of a launch.
 */
#ifndef KEEPER_HOLDER_H
#define KEEPER_HOLDER_H

#include "base/err.h"

#include <stdbool.h>
#include <sys/types.h>

struct daemon;
struct process;

/* Early in the keeper's process, which has neither children nor threads: forks where the kernel makes it
 * necessary, and returns in the child, which goes on as the keeper. */
int holder_start(struct err *err);
/* How a process ended that is not our child; false: that cannot be known (any more). */
bool holder_exit_code(const struct process *p, int *ret_wait_status);
/* Its exit has been recorded; and whatever else the same holder keeps of which we know nothing can go. */
void holder_release(const struct process *p);

#endif
