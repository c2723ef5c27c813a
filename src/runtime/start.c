/* The second phase of a launch. The child listens on a unix socket; who starts it connects and says so.
 *
 *     starter -> child   START_GO
 *     child -> starter   START_TAKEN, then what goes through the status pipe of a launch (child.h)
 *
 * The listening socket goes as soon as one starter was taken, so that a second one is turned away by the
 * kernel, and an end of file before START_TAKEN means the same. A starter that connects and dies before
 * START_GO has started nothing. */
#include "runtime/child.h"

#include "base/file.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { START_GO = 's', START_TAKEN = 'a' };

/* The connection of who said go, or a negative code. */
static int take_starter(int listener, struct err *err)
{
    for (;;) {
        struct pollfd wait = {.fd = listener, .events = POLLIN};
        if (poll(&wait, 1, -1) < 0 && errno != EINTR)
            return err_sys(err, errno, "wait to be started");
        _cleanup_close_ int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (connection < 0) {
            if (errno == EINTR || errno == EAGAIN || errno == ECONNABORTED)
                continue;
            return err_sys(err, errno, "wait to be started");
        }
        char byte = 0;
        while (recv(connection, &byte, 1, 0) < 0 && errno == EINTR)
            ;
        if (byte == START_GO)
            return take_fd(&connection);
    }
}

int child__await_start(struct child *c, struct err *err)
{
    child__report_ready(c);
    c->status_fd = close_fd(c->status_fd);
    int connection = take_starter(c->start_fd, err);
    if (connection < 0)
        return connection;
    c->start_fd = close_fd(c->start_fd);
    c->status_fd = connection;
    char taken = START_TAKEN;
    send(connection, &taken, 1, MSG_NOSIGNAL);
    return 0;
}

static int not_waiting(struct err *err)
{
    return err_set(err, ERR_CONFLICT,
                   "the container is not waiting to be started: it was started before, or it is gone");
}

int runtime_start(const char *path, struct err *err)
{
    struct err cause = {0};
    _cleanup_close_ int fd = -EBADF;
    if (file_connect_unix(path, SOCK_STREAM, &fd, &cause) < 0)
        return cause.sys == ECONNREFUSED || cause.sys == ENOENT ? not_waiting(err) : err_copy(err, &cause);
    char byte = START_GO;
    if (send(fd, &byte, 1, MSG_NOSIGNAL) < 0)
        return errno == EPIPE || errno == ECONNRESET ? not_waiting(err)
                                                     : err_sys(err, errno, "start the container");
    ssize_t n;
    while ((n = recv(fd, &byte, 1, 0)) < 0 && errno == EINTR)
        ;
    if (n != 1 || byte != START_TAKEN)
        return not_waiting(err);
    return runtime_launch_result(fd, err);
}
