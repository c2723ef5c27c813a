/* Readiness by sd_notify(3): a service manager that started us with NOTIFY_SOCKET learns when the program in
 * the container is ready.
 *
 * The program gets a socket of its own, in a directory that is bound where the manager's socket is named, and
 * NOTIFY_SOCKET in its environment. Only the word READY=1 is passed on: who is in the container must not
 * speak to the manager of the host (MAINPID=, FDSTORE=1, ...). */
#ifndef OCI_NOTIFY_H
#define OCI_NOTIFY_H

#include "oci/container.h"

/* When NOTIFY_SOCKET is set: makes the directory, and adds the mount and the variable to `config`. */
int notify_prepare(const struct container *c, json_t *config, struct err *err);
/* Before the program runs: the socket to listen on, or negative when the container was prepared without one
 * or nobody of the host waits. */
int notify_listen(const struct container *c, int *ret_fd, struct err *err);
/* Reads what is there; true when the program was ready and the manager has been told. */
bool notify_forward(int fd);
/* Until the program is ready or has ended (`pidfd`). */
void notify_wait(int fd, int pidfd);

#endif
