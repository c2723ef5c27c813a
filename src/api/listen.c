#include "api/listen.h"

#include "base/err.h"
#include "base/file.h"
#include "base/process.h"

#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LISTEN_VARIABLE "DROVER_LISTEN_FD"

enum { FIRST_ACTIVATED = 3, ACTIVATED_MAX = 64 };

static bool listens_at(int fd, const char *path)
{
    struct sockaddr_un at = {0};
    socklen_t n = sizeof(at), m = sizeof(int);
    int listening = 0;
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &m) == 0 && listening &&
           getsockname(fd, (struct sockaddr *)&at, &n) == 0 && at.sun_family == AF_UNIX &&
           str_eq(at.sun_path, path);
}

static int from_predecessor(const char *path)
{
    const char *text = getenv(LISTEN_VARIABLE);
    _cleanup_strv_ char **numbers = text ? strv_split(text, ',') : NULL;
    STRV_FOREACH (number, numbers) {
        int64_t fd;
        if (parse_i64(*number, 3, INT_MAX, &fd, NULL) == 0 && listens_at((int)fd, path))
            return (int)fd;
    }
    return -EBADF;
}

static int activated_count(void)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    int64_t n, whose;
    if (!pid || !count || parse_i64(pid, 1, INT_MAX, &whose, NULL) < 0 || whose != getpid() ||
        parse_i64(count, 1, ACTIVATED_MAX, &n, NULL) < 0)
        return 0;
    return (int)n;
}

static int from_service_manager(const char *path)
{
    for (int i = 0; i < activated_count(); i++)
        if (listens_at(FIRST_ACTIVATED + i, path))
            return FIRST_ACTIVATED + i;
    return -EBADF;
}

/* The default group is none of ours when an ordinary user runs us. */
static int give_to_group(const char *path, const char *name, struct err *err)
{
    const struct group *group =
        !name && process_in_user_namespace() ? NULL : getgrnam(name ? name : "docker");
    if (name && !group)
        return err_set(err, ERR_NOT_FOUND, "--group: there is no group \"%s\" on this machine", name);
    if (group && (chown(path, (uid_t)-1, group->gr_gid) < 0 || chmod(path, 0660) < 0))
        return err_sys(err, errno, "give %s to the group %s", path, group->gr_name);
    return 0;
}

int listener_open(const char *path, const char *group, struct listener *ret, struct err *err)
{
    struct listener l = {.path = path, .fd = from_predecessor(path)};
    if (l.fd < 0) {
        l.fd = from_service_manager(path);
        l.activated = l.fd >= 0;
    }
    int r = 0;
    if (l.fd >= 0) {
        fcntl(l.fd, F_SETFD, FD_CLOEXEC);
    } else {
        r = file_listen_unix(path, SOCK_STREAM, 0600, &l.fd, err);
        if (r == 0)
            r = give_to_group(path, group, err);
    }
    struct stat st;
    if (r == 0 && lstat(path, &st) == 0) {
        l.device = st.st_dev;
        l.inode = st.st_ino;
    }
    if (r < 0)
        listener_close(&l);
    else
        *ret = l;
    return r;
}

void listener_remove(const struct listener *l)
{
    struct stat st;
    if (!l->activated && l->inode && lstat(l->path, &st) == 0 && st.st_dev == l->device &&
        st.st_ino == l->inode)
        unlink(l->path);
}

void listener_close(struct listener *l)
{
    l->fd = close_fd(l->fd);
}

/* The variables of the service manager stay out of what we start. */
void listeners_forget_inherited(void)
{
    unsetenv(LISTEN_VARIABLE);
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
}

void listeners_hand_over(const struct listener *list, int count)
{
    _cleanup_str_ struct str numbers = STR_INIT;
    for (int i = 0; i < count; i++) {
        fcntl(list[i].fd, F_SETFD, 0);
        str_addf(&numbers, "%s%d", i ? "," : "", list[i].fd);
    }
    setenv(LISTEN_VARIABLE, str_get(&numbers), 1);
}
