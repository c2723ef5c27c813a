/* The unix sockets that `drover serve` listens at: its own, and Docker's when asked. A socket comes from the
 * process's predecessor (an upgrade), from a service manager (LISTEN_FDS, sd_listen_fds(3)), or is made here,
 * in place of one that nobody listens at any more. */
#ifndef API_LISTEN_H
#define API_LISTEN_H

#include <stdbool.h>
#include <sys/types.h>

struct err;

enum { LISTENERS_MAX = 2 };

struct listener {
    const char *path;
    int fd;         /* the caller's copy; -EBADF: none */
    bool activated; /* a service manager's, which keeps it */
    dev_t device;   /* of the socket in the file system */
    ino_t inode;
};

/* ERR_CONFLICT: another process listens there. `group` owns the socket, mode 0660; NULL: "docker" when there
 * is such a group. */
int listener_open(const char *path, const char *group, struct listener *ret, struct err *err);
/* Takes the socket out of the file system, if it is still ours. */
void listener_remove(const struct listener *l);
void listener_close(struct listener *l);
/* Once all are open. */
void listeners_forget_inherited(void);
/* Before another binary takes this process over. */
void listeners_hand_over(const struct listener *list, int count);

#endif
