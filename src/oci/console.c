#include "oci/console.h"

#include "base/file.h"

#include <sys/socket.h>
#include <unistd.h>

void console_done(struct console *c)
{
    c->runtime_fd = close_fd(c->runtime_fd);
    c->receive_fd = close_fd(c->receive_fd);
}

int console_open(const struct oci_args *args, bool terminal, bool detached, struct console *ret,
                 struct err *err)
{
    *ret = CONSOLE_INIT;
    if (!terminal && args->console_socket)
        return err_set(err, ERR_INVALID,
                       "cannot use console socket if the process has no terminal (\"process.terminal\")");
    if (!terminal)
        return 0;
    if (args->console_socket)
        return file_connect_unix(args->console_socket, SOCK_STREAM, &ret->runtime_fd, err);
    if (detached)
        return err_set(err, ERR_INVALID,
                       "cannot allocate tty if the runtime will detach without setting console socket: "
                       "use --console-socket");
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_sys(err, errno, "socketpair");
    ret->runtime_fd = pair[0];
    ret->receive_fd = pair[1];
    return 0;
}

int console_receive(struct console *c, int *ret_master, struct err *err)
{
    char name[4096];
    int fds[1] = {-EBADF};
    size_t count = 0;
    *ret_master = -EBADF;
    c->runtime_fd = close_fd(c->runtime_fd);
    if (c->receive_fd < 0)
        return 0;
    ssize_t n = file_recv_fds(c->receive_fd, name, sizeof(name), fds, 1, &count, err);
    if (n < 0)
        return (int)n;
    if (count == 0)
        return err_set(err, ERR_UNAVAILABLE, "the container's terminal did not arrive");
    *ret_master = fds[0];
    return 0;
}
