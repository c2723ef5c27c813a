/* In the foreground: being the parent of a container's process until it ends. */
#ifndef OCI_WAIT_H
#define OCI_WAIT_H

#include "base/err.h"

#include <sys/types.h>

struct foreground {
    int signal_fd; /* negative: not in the foreground */
};

#define FOREGROUND_INIT ((struct foreground){.signal_fd = -EBADF})
void foreground_done(struct foreground *f);
#define _cleanup_foreground_ _cleanup_(foreground_done)

/* Before the launch: from now on signals wait for foreground_wait(), which passes them on. With `subreaper`
 * what the container leaves behind becomes our child. */
int foreground_begin(struct foreground *f, bool subreaper, struct err *err);
/* Relays the terminal (`master`, or negative), forwards signals and readiness (`notify_fd`: see notify.h, or
 * negative), and returns when `pid` has ended, with its
 * exit status as a shell counts it (128 + signal). */
int foreground_wait(struct foreground *f, pid_t pid, int master, int notify_fd, int *ret_status,
                    struct err *err);

#endif
