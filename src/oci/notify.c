#include "oci/notify.h"

#include "base/file.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { MESSAGE_MAX = 4096 };

static const char ready[] = "READY=1";

static char *directory_of(const struct container *c)
{
    return str_printf("%s/notify", c->dir);
}

static const char *manager(void)
{
    const char *socket = getenv("NOTIFY_SOCKET");
    return str_empty(socket) || (*socket != '/' && *socket != '@') ? NULL : socket;
}

static void add_mount(json_t *config, const char *source, const char *destination)
{
    json_t *mounts = json_object_get(config, "mounts");
    if (!mounts)
        json_object_set_new(config, "mounts", mounts = json_array());
    json_array_append_new(mounts, json_pack("{s:s, s:s, s:s, s:[s, s, s, s]}", "destination", destination,
                                            "type", "bind", "source", source, "options", "bind", "nosuid",
                                            "noexec", "nodev"));
}

static void add_variable(json_t *config, const char *directory)
{
    json_t *process = json_object_get(config, "process"), *env = json_object_get(process, "env");
    if (!process)
        return;
    if (!env)
        json_object_set_new(process, "env", env = json_array());
    json_array_append_new(env, json_sprintf("NOTIFY_SOCKET=%s/notify", directory));
}

int notify_prepare(const struct container *c, json_t *config, struct err *err)
{
    const char *socket = manager();
    if (!socket)
        return 0;
    const char *destination = *socket == '/' ? socket : "/run/notify";
    _cleanup_free_ char *directory = directory_of(c);
    if (mkdir(directory, 0755) < 0 && errno != EEXIST)
        return err_sys(err, errno, "make the directory \"%s\"", directory);
    if (chmod(directory, 0755) < 0)
        return err_sys(err, errno, "make \"%s\" readable", directory);
    add_mount(config, directory, destination);
    add_variable(config, destination);
    return 0;
}

int notify_listen(const struct container *c, int *ret_fd, struct err *err)
{
    _cleanup_free_ char *directory = directory_of(c), *path = str_printf("%s/notify", directory);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    *ret_fd = -EBADF;
    if (!manager() || !file_exists(directory))
        return 0;
    /* By way of the directory's descriptor: a path may be longer than an address. */
    _cleanup_close_ int dir = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/notify", dir);
    if (dir < 0 || fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return err_sys(err, errno, "listen at \"%s\"", path);
    if (chmod(path, 0666) < 0)
        return err_sys(err, errno, "open \"%s\" to all of the container", path);
    *ret_fd = take_fd(&fd);
    return 0;
}

static void tell_manager(void)
{
    const char *name = manager();
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t n = name ? strlen(name) : 0;
    if (n == 0 || n >= sizeof(address.sun_path))
        return;
    memcpy(address.sun_path, name, n);
    if (*name == '@')
        address.sun_path[0] = '\0';
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
    if (fd >= 0)
        sendto(fd, ready, strlen(ready), MSG_NOSIGNAL, (struct sockaddr *)&address, length);
}

bool notify_forward(int fd)
{
    char message[MESSAGE_MAX + 1];
    ssize_t n;
    while ((n = recv(fd, message, MESSAGE_MAX, MSG_DONTWAIT)) > 0) {
        message[n] = '\0';
        _cleanup_strv_ char **lines = strv_split(message, '\n');
        if (strv_has(lines, ready)) {
            tell_manager();
            return true;
        }
    }
    return false;
}

void notify_wait(int fd, int pidfd)
{
    for (;;) {
        struct pollfd fds[] = {{.fd = fd, .events = POLLIN}, {.fd = pidfd, .events = POLLIN}};
        if (fd < 0 || (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno != EINTR) || notify_forward(fd) ||
            fds[1].revents)
            return;
    }
}
