/* A container's files as docker cp sees them, running or not: its own, with its volumes and binds in their
 * places, and nothing of /proc, /sys or /dev.
 *
 * They are put together in a mount namespace that no process is in, and that lasts as long as the view. The
 * container's owner decides what is in there: every path is resolved inside the root. */
#ifndef ENGINE_ARCHIVE_VIEW_H
#define ENGINE_ARCHIVE_VIEW_H

#include "engine/engine_priv.h"
#include "image/tar.h"

struct archive_view {
    int root_fd;      /* O_PATH */
    int namespace_fd; /* what keeps the mounts where they are, or negative */
    char *scratch;    /* where what only the view has is made, or NULL */
    struct tar_ids ids;
};
#define ARCHIVE_VIEW_INIT                                                                                    \
    {                                                                                                        \
        .root_fd = -EBADF, .namespace_fd = -EBADF                                                            \
    }

/* -ERR_BUSY: it has just ended, and its state does not say so yet: see container__await_end().
 * `writable`: container.op is held. Any other view leaves the container's own layer alone, also when the
 * container is started meanwhile. */
int archive_view__open(struct container *c, bool writable, struct archive_view *ret, struct err *err);
void archive_view__close(struct archive_view *view);
#define _cleanup_view_ _cleanup_(archive_view__close)

#endif
