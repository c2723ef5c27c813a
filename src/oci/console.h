/* The terminal of a container or of an exec: who gets the master side of the pty, which the runtime makes
 * inside the container and sends over a unix stream socket (SCM_RIGHTS).
 *
 * With --console-socket that is the engine's socket. In the foreground it is a socket pair of our own: the
 * master comes back to us, and wait_foreground() relays between it and our stdin and stdout. */
#ifndef OCI_CONSOLE_H
#define OCI_CONSOLE_H

#include "oci/options.h"

struct console {
    int runtime_fd; /* for the runtime to send to; negative: no terminal */
    int receive_fd; /* in the foreground; else negative */
};

#define CONSOLE_INIT ((struct console){.runtime_fd = -EBADF, .receive_fd = -EBADF})
void console_done(struct console *c);
#define _cleanup_console_ _cleanup_(console_done)

int console_open(const struct oci_args *args, bool terminal, bool detached, struct console *ret,
                 struct err *err);
/* The master, in the foreground; negative without a terminal. */
int console_receive(struct console *c, int *ret_master, struct err *err);

#endif
