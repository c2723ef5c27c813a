/* slirp4netns: the process that carries packets of the network namespace over ordinary sockets of the host,
 * and its API socket (slirp4netns(1), "API SOCKET"): one connection, one JSON request, one JSON answer. */
#include "rootless/rootless_priv.h"

#include "base/file.h"
#include "base/json.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { READY_MS = 20000, ANSWER_MS = 10000, READY_FD = 3, LIFE_FD = 4 };

/* Relative to the working directory, since the path of a socket has 107 bytes. */
#define API_NAME "slirp.sock"

static _Noreturn void slirp_exec(const char *dir, pid_t holder, int ready, int life)
{
    char target[16];
    snprintf(target, sizeof(target), "%d", (int)holder);
    /* Apart from both places before the numbers are taken. */
    int high_ready = fcntl(ready, F_DUPFD_CLOEXEC, 10), high_life = fcntl(life, F_DUPFD_CLOEXEC, 10);
    if (chdir(dir) < 0 || high_ready < 0 || high_life < 0 || dup2(high_ready, READY_FD) < 0 ||
        dup2(high_life, LIFE_FD) < 0)
        _exit(126);
    unlink(API_NAME);
    /* The host's loopback is not the containers' affair. */
    execlp("slirp4netns", "slirp4netns", "--configure", "--mtu=65520", "--disable-host-loopback",
           "--enable-sandbox", "--enable-seccomp", "--ready-fd=3", "--exit-fd=4", "--api-socket=" API_NAME,
           target, "tap0", (char *)NULL);
    _exit(errno == ENOENT ? 127 : 126);
}

static int explain_end(pid_t pid, struct err *err)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return err_set(err, ERR_NOT_FOUND,
                       "slirp4netns is not installed: it is the network of a Drover without root");
    _cleanup_close_ int tun = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (tun < 0)
        return err_sys(
            err, errno,
            "slirp4netns ended: /dev/net/tun cannot be opened by this user (as root: modprobe tun; "
            "chmod 0666 /dev/net/tun)");
    return err_set(err, ERR_SYSTEM, "slirp4netns ended with status %d; what it said is in the log",
                   WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

int slirp_start(struct slirp *s, const char *root, pid_t holder, struct err *err)
{
    int ready[2], life[2];
    _cleanup_free_ char *dir = rootless__path(root, "");
    if (pipe2(ready, O_CLOEXEC) < 0)
        return err_sys(err, errno, "pipe");
    if (pipe2(life, O_CLOEXEC) < 0) {
        close(ready[0]), close(ready[1]);
        return err_sys(err, errno, "pipe");
    }
    pid_t pid = fork();
    if (pid == 0)
        slirp_exec(dir, holder, ready[1], life[0]);
    close(ready[1]);
    close(life[0]);
    _cleanup_close_ int ready_r = ready[0], life_w = life[1];
    if (pid < 0)
        return err_sys(err, errno, "fork");
    struct pollfd p = {.fd = ready_r, .events = POLLIN};
    char c;
    int polled;
    while ((polled = poll(&p, 1, READY_MS)) < 0 && errno == EINTR)
        ;
    if (polled == 0)
        kill(pid, SIGKILL);
    if (polled == 0 || read(ready_r, &c, 1) != 1)
        return explain_end(pid, err);
    free(s->api);
    s->api = rootless__path(root, API_NAME);
    s->pid = pid;
    s->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    s->life = take_fd(&life_w);
    return 0;
}

void slirp_stop(struct slirp *s)
{
    s->life = close_fd(s->life);
    s->pidfd = close_fd(s->pidfd);
    if (s->pid > 0) {
        kill(s->pid, SIGTERM);
        while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    s->pid = 0;
    free(take_ptr(s->api));
}

/* --- its API --- */

static int converse(const struct slirp *s, const json_t *request, json_t **ret, struct err *err)
{
    _cleanup_free_ char *text = json_format(request);
    _cleanup_close_ int fd = -EBADF;
    if (!s->api)
        return err_set(err, ERR_UNAVAILABLE, "slirp4netns is not running");
    int r = file_connect_unix(s->api, SOCK_STREAM, &fd, err);
    if (r < 0)
        return r;
    struct timeval patience = {.tv_sec = ANSWER_MS / 1000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    r = file_write_all(fd, text, strlen(text), err);
    if (r < 0)
        return r;
    shutdown(fd, SHUT_WR);
    _cleanup_str_ struct str answer = STR_INIT;
    r = file_read_fd(fd, 1 << 20, &answer, err);
    if (r < 0)
        return r;
    _cleanup_json_ json_t *whole = NULL;
    r = json_parse(str_get(&answer), answer.len, "slirp4netns' answer", &whole, err);
    if (r < 0)
        return r;
    const json_t *error = json_object_get(whole, "error");
    if (error)
        return err_set(err, ERR_SYSTEM, "slirp4netns: %.200s", json_str(error, "desc"));
    if (ret)
        *ret = json_incref(json_object_get(whole, "return"));
    return 0;
}

int slirp_forward(const struct slirp *s, const char *protocol, const char *host_ip, uint16_t port,
                  int64_t *ret_id, struct err *err)
{
    _cleanup_json_ json_t *request = json_pack(
        "{s:s, s:{s:s, s:s, s:i, s:s, s:i}}", "execute", "add_hostfwd", "arguments", "proto", protocol,
        "host_addr", host_ip, "host_port", (int)port, "guest_addr", ROOTLESS_GUEST, "guest_port", (int)port);
    _cleanup_json_ json_t *answer = NULL;
    int r = converse(s, request, &answer, err);
    if (r == 0)
        *ret_id = json_int(answer, "id");
    return r;
}

int slirp_forget(const struct slirp *s, int64_t id, struct err *err)
{
    _cleanup_json_ json_t *request =
        json_pack("{s:s, s:{s:I}}", "execute", "remove_hostfwd", "arguments", "id", (json_int_t)id);
    return converse(s, request, NULL, err);
}
