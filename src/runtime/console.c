/* A terminal of the container's own devpts, whose master goes to who asked for the container.
 *
 * The image is the attacker: what stands at /dev/pts is only used when it is a devpts, whose files are the
 * kernel's; and the slave is taken from the master, not by its path. */
#include "runtime/child.h"

#include "base/file.h"
#include "base/str.h"
#include "runtime/rootfs.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <termios.h>
#include <unistd.h>

static int open_master(struct err *err)
{
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_NO_MAGICLINKS};
    _cleanup_close_ int dir = (int)syscall(SYS_openat2, AT_FDCWD, "/dev/pts", &how, sizeof(how));
    struct statfs fs;
    if (dir < 0 || fstatfs(dir, &fs) < 0)
        return err_sys(err, errno, "a terminal needs a devpts mounted at /dev/pts of the container");
    if (fs.f_type != DEVPTS_SUPER_MAGIC)
        return err_set(err, ERR_INVALID,
                       "a terminal needs a devpts mounted at /dev/pts of the container; there is another "
                       "file system");
    int fd = openat(dir, "ptmx", O_RDWR | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? err_sys(err, errno, "open /dev/pts/ptmx") : fd;
}

static int open_slave(int master, const struct plan_process *process, struct err *err)
{
    int unlocked = 0;
    if (ioctl(master, TIOCSPTLCK, &unlocked) < 0)
        return err_sys(err, errno, "unlock the terminal");
    _cleanup_close_ int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0)
        return err_sys(err, errno, "open the terminal");
    struct winsize size = {.ws_row = process->console_rows, .ws_col = process->console_columns};
    if (size.ws_row && size.ws_col && ioctl(slave, TIOCSWINSZ, &size) < 0)
        return err_sys(err, errno, "set the size of the terminal");
    return take_fd(&slave);
}

/* Lines end as the program ends them. */
static int leave_newlines(int slave, struct err *err)
{
    struct termios t;
    if (tcgetattr(slave, &t) < 0)
        return err_sys(err, errno, "read the terminal's settings");
    t.c_oflag &= ~(tcflag_t)ONLCR;
    return tcsetattr(slave, TCSANOW, &t) < 0 ? err_sys(err, errno, "change the terminal's settings") : 0;
}

static int take_as_stdio(int slave, struct err *err)
{
    for (int i = 0; i < 3; i++)
        if (dup2(slave, i) < 0)
            return err_sys(err, errno, "set descriptor %d", i);
    if (ioctl(0, TIOCSCTTY, 0) < 0)
        return err_sys(err, errno, "make the terminal the controlling one");
    return 0;
}

int child__open_console(struct child *c, struct err *err)
{
    _cleanup_close_ int master = open_master(err);
    if (master < 0)
        return master;
    _cleanup_close_ int slave = open_slave(master, &c->plan->process, err);
    if (slave < 0)
        return slave;
    int r = c->plain_newlines ? leave_newlines(slave, err) : 0;
    if (r < 0)
        return r;
    static const char name[] = "/dev/ptmx";
    ssize_t n = file_send_fds(c->console_fd, name, sizeof(name) - 1, &master, 1, err);
    if (n < 0)
        return err_wrap(err, "send the terminal to the console socket");
    c->console_fd = close_fd(c->console_fd);
    return take_as_stdio(slave, err);
}

static bool has_own_dev(const struct plan *plan)
{
    for (size_t i = 0; i < plan->mount_count; i++) {
        const char *rest = str_after(plan->mounts[i].destination, "/dev");
        if (plan->mounts[i].bind && rest && (!*rest || str_eq(rest, "/")))
            return false;
    }
    return true;
}

int child__bind_console(const struct child *c, struct err *err)
{
    if (!has_own_dev(c->plan))
        return 0;
    _cleanup_close_ int dev = open("/dev", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dev < 0)
        return err_sys(err, errno, "open /dev");
    _cleanup_close_ int tree = open_tree(0, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    if (tree < 0)
        return err_sys(err, errno, "open the terminal");
    _cleanup_close_ int target = rootfs__console_target(dev, err);
    return target < 0 ? target : rootfs__attach(tree, target, "/dev/console", err);
}
