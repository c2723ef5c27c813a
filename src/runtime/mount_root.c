#include "base/err.h"
#include "runtime/rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>

int runtime_mount_root(const struct runtime_launch *launch, struct err *err)
{
    struct plan plan = {.root = launch->root, .overlay = &launch->overlay};
    if (mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) < 0)
        return err_sys(err, errno, "change the propagation of mounts");
    if (launch->root_ready)
        return move_mount(launch->root_fd, "", AT_FDCWD, launch->root, MOVE_MOUNT_F_EMPTY_PATH) < 0
                   ? err_sys(err, errno, "mount the root at %s", launch->root)
                   : 0;
    return launch->overlay.lowers ? rootfs__mount_overlay(&plan, err) : 0;
}
