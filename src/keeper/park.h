/* Where descriptors stand that only the keeper itself has to do with: at PARKED_FROM and above, so that a
 * launch (runtime.h, "parked_from"), whose own descriptors come and go below, can leave them out at one
 * stroke. There are three for each container that runs, and more with a log, a terminal, attached streams. */
#ifndef KEEPER_PARK_H
#define KEEPER_PARK_H

#include <fcntl.h>
#include <unistd.h>

/* Twice what a launch uses: the keeper's few of its own, its pipes, device nodes and mounts. One that has
 * more is done as if nothing were parked. */
enum { PARKED_FROM = 256 };

/* The number under which the descriptor stands from now on: the one it has when there is no other (the limit
 * of the process). CLOEXEC. */
static inline int park_fd(int fd)
{
    if (fd < 0 || fd >= PARKED_FROM)
        return fd;
    int parked = fcntl(fd, F_DUPFD_CLOEXEC, PARKED_FROM);
    if (parked < 0)
        return fd;
    close(fd);
    return parked;
}

#endif
