/* Keeping the runtime's own binary out of containers' hands (CVE-2019-5736).
 *
 * A program whose interpreter is /proc/self/exe, or a process of the container that opens /proc/<pid>/exe of
 * one that is about to enter it, holds the file that the runtime was started from, and container root is its
 * owner. What is in their reach must not be writable:
 *  - a detached clone of the file's mount, made read-only, of which a container has no way to make another.
 * It costs four system calls and an execve (0.3 ms), no memory, and lasts as long as the process. Who may
 *    mount on the machine itself (CAP_SYS_ADMIN outside of a user namespace) could undo it, and needs no
 *    such detour;
 *  - a sealed copy in memory where cloning is not allowed (rootless) or not wanted: 1 ms and the binary's
 * size more, for a process that stays. */
#include "runtime/runtime.h"

#include "base/file.h"
#include "base/str.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/statvfs.h>
#include <unistd.h>

extern char **environ;

enum { ALL_SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

static bool is_sealed(int self, bool copy)
{
    struct statvfs fs;
    if (fcntl(self, F_GET_SEALS) >= 0)
        return (fcntl(self, F_GET_SEALS) & ALL_SEALS) == ALL_SEALS;
    return !copy && fstatvfs(self, &fs) == 0 && fs.f_flag & ST_RDONLY;
}

static int clone_read_only(int self)
{
    _cleanup_close_ int tree = open_tree(self, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV};
    if (tree < 0 || mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
        return -1;
    return take_fd(&tree);
}

static int copy_sealed(int self, struct err *err)
{
    /* Kernels before 6.3 know no MFD_EXEC; all their memfds are executable. */
    _cleanup_close_ int copy = memfd_create("drover", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
    if (copy < 0 && errno == EINVAL)
        copy = memfd_create("drover", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    struct stat st;
    if (copy < 0 || fstat(self, &st) < 0)
        return err_sys(err, errno, "copy the runtime's binary");
    for (off_t done = 0; done < st.st_size;) {
        ssize_t n = sendfile(copy, self, &done, (size_t)(st.st_size - done));
        if (n <= 0)
            return err_sys(err, n < 0 ? errno : EIO, "copy the runtime's binary");
    }
    if (fchmod(copy, 0555) < 0 || fcntl(copy, F_ADD_SEALS, ALL_SEALS) < 0)
        return err_sys(err, errno, "seal the copy of the runtime's binary");
    return take_fd(&copy);
}

int runtime_seal_self(char *const *argv, bool copy, struct err *err)
{
    _cleanup_close_ int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (self < 0)
        return err_sys(err, errno, "open /proc/self/exe");
    if (is_sealed(self, copy))
        return 0;
    _cleanup_close_ int sealed = copy ? -EBADF : clone_read_only(self);
    if (sealed < 0)
        sealed = copy_sealed(self, err);
    if (sealed < 0)
        return sealed;
    execveat(sealed, "", argv, environ, AT_EMPTY_PATH);
    return err_sys(err, errno, "execute the sealed runtime");
}
