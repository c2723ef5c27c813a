/* Places in a program at which a test can end it, as a kill or the loss of power would.
 *
 * FAILPOINT("name") does nothing, and is not even compiled, outside of builds for tests (DROVER_FAILPOINTS:
 * those with sanitizers). In these the environment's DROVER_FAILPOINTS names a directory: a process that
 * comes to a point of which there is a file takes the file away and kills itself, so that each file is one
 * kill, of whoever comes first, and one that is still there was not come to.
 *
 * FAILPOINT_STOP("name") stops the process instead (SIGSTOP), until somebody continues it.
 * FAILPOINT_SET("name") asks only whether there is such a file, to have something of the machine's missing.
 */
#ifndef BASE_FAILPOINT_H
#define BASE_FAILPOINT_H

#ifdef DROVER_FAILPOINTS
#include <stdbool.h>

void failpoint_hit(const char *name);
void failpoint_stop(const char *name);
bool failpoint_set(const char *name);
#define FAILPOINT(name)      failpoint_hit(name)
#define FAILPOINT_STOP(name) failpoint_stop(name)
#define FAILPOINT_SET(name)  failpoint_set(name)
#else
#define FAILPOINT(name)      ((void)0)
#define FAILPOINT_STOP(name) ((void)0)
#define FAILPOINT_SET(name)  false
#endif

#endif
