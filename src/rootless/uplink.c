/* `drover rootless`: the process on the host's side. It makes the namespaces or finds those that are there,
 * keeps slirp4netns running, and answers on <root>/rootless/uplink.sock, one request a connection:
 *
 *     join                     the holder's pidfd, whose namespaces serve enters
 *     add PROTOCOL ADDRESS PORT, remove PROTOCOL - PORT
 *     end                      everything of it, at `drover shutdown`
 *
 * One thread; a request is answered before the next is looked at. Forwards are kept in <root>/rootless/ports,
 * one a line, so that another uplink has them too. */
#include "rootless/rootless_priv.h"

#include "base/file.h"
#include "base/log.h"
#include "base/process.h"
#include "base/timeutil.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NAMESPACES = 3, REQUEST_SECONDS = 5, STATE_MAX = 1 << 20, LOG_MAX = 1 << 20, SLIRP_TRIES = 20 };

struct forward {
    char protocol[8], host_ip[16];
    uint16_t port;
    int64_t id; /* slirp4netns' */
};

struct uplink {
    const char *root;
    int lock, listener;
    pid_t holder;
    int holder_fd;
    int namespaces[NAMESPACES]; /* the user namespace first; so that a lost holder can be replaced */
    struct slirp slirp;
    struct spare spare;
    struct forward *forwards;
    size_t count, capacity;
    bool made; /* the namespaces are new */
    bool end;
};

/* --- forwards --- */

static void forwards_save(const struct uplink *u)
{
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_free_ char *path = rootless__path(u->root, "ports");
    for (size_t i = 0; i < u->count; i++)
        str_addf(&text, "%s %s %u\n", u->forwards[i].protocol, u->forwards[i].host_ip, u->forwards[i].port);
    struct err err = {0};
    if (file_replace(path, str_get(&text), text.len, 0600, false, &err) < 0)
        log_warning("%s", err.msg);
}

static bool forward_parse(const char *text, struct forward *ret)
{
    unsigned port;
    struct in_addr address;
    int end = 0;
    if (sscanf(text, "%7s %15s %5u%n", ret->protocol, ret->host_ip, &port, &end) != 3 || text[end] ||
        port < 1 || port > 65535)
        return false;
    ret->port = (uint16_t)port;
    ret->id = 0;
    return (str_eq(ret->protocol, "tcp") || str_eq(ret->protocol, "udp")) &&
           (str_eq(ret->host_ip, "-") || inet_pton(AF_INET, ret->host_ip, &address) == 1);
}

static struct forward *forward_find(struct uplink *u, const struct forward *f)
{
    for (size_t i = 0; i < u->count; i++)
        if (u->forwards[i].port == f->port && str_eq(u->forwards[i].protocol, f->protocol))
            return &u->forwards[i];
    return NULL;
}

/* slirp4netns says only that it failed: a socket of our own on the same address finds out why. */
static int port_check(const struct forward *f, struct err *err)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(f->port)};
    inet_pton(AF_INET, f->host_ip, &a.sin_addr);
    int type = str_eq(f->protocol, "tcp") ? SOCK_STREAM : SOCK_DGRAM;
    _cleanup_close_ int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_sys(err, errno, "socket");
    /* As slirp4netns binds: what closed connections still hold is free to it. */
    if (type == SOCK_STREAM)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 && (type == SOCK_DGRAM || listen(fd, 1) == 0))
        return 0;
    if (errno == EADDRINUSE)
        return err_set(err, ERR_CONFLICT, "port %u/%s on %s is in use on the host", f->port, f->protocol,
                       f->host_ip);
    if (errno == EACCES)
        return err_set(err, ERR_DENIED,
                       "port %u/%s: the kernel keeps low ports for root; publish a higher one, or as root: "
                       "sysctl net.ipv4.ip_unprivileged_port_start=%u",
                       f->port, f->protocol, f->port);
    if (errno == EADDRNOTAVAIL)
        return err_set(err, ERR_INVALID, "cannot publish on %s: it is not an address of this machine",
                       f->host_ip);
    return err_sys(err, errno, "reserve port %u/%s on %s", f->port, f->protocol, f->host_ip);
}

static int forward_add(struct uplink *u, struct forward *f, struct err *err)
{
    const struct forward *old = forward_find(u, f);
    if (old && str_eq(old->host_ip, f->host_ip))
        return 0;
    if (old)
        return err_set(err, ERR_CONFLICT,
                       "port %u/%s is published on %s: without root a port has one address", f->port,
                       f->protocol, old->host_ip);
    if (u->count == ROOTLESS_PORTS_MAX)
        return err_set(err, ERR_LIMIT, "more than %d published ports", ROOTLESS_PORTS_MAX);
    int r = port_check(f, err);
    if (r == 0)
        r = slirp_forward(&u->slirp, f->protocol, f->host_ip, f->port, &f->id, err);
    if (r < 0)
        return r;
    GROW(u->forwards, u->count, u->capacity);
    u->forwards[u->count++] = *f;
    forwards_save(u);
    return 0;
}

static int forward_remove(struct uplink *u, const struct forward *f, struct err *err)
{
    struct forward *old = forward_find(u, f);
    if (!old)
        return 0;
    int r = slirp_forget(&u->slirp, old->id, err);
    *old = u->forwards[--u->count];
    forwards_save(u);
    return r;
}

static void forwards_load(struct uplink *u)
{
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_free_ char *path = rootless__path(u->root, "ports");
    if (file_read(path, STATE_MAX, &text, NULL) < 0)
        return;
    _cleanup_strv_ char **lines = strv_split(str_get(&text), '\n');
    STRV_FOREACH (line, lines) {
        struct forward f;
        if (!forward_parse(*line, &f) || u->count == ROOTLESS_PORTS_MAX)
            continue;
        GROW(u->forwards, u->count, u->capacity);
        u->forwards[u->count++] = f;
    }
}

/* --- what it keeps running --- */

static int uplink_slirp(struct uplink *u, struct err *err)
{
    slirp_stop(&u->slirp);
    int r = slirp_start(&u->slirp, u->root, u->holder, err);
    for (size_t i = 0; r == 0 && i < u->count; i++) {
        struct forward *f = &u->forwards[i];
        struct err why = {0};
        if (slirp_forward(&u->slirp, f->protocol, f->host_ip, f->port, &f->id, &why) < 0)
            log_error("port %u/%s on %s: %s", f->port, f->protocol, f->host_ip, why.msg);
    }
    return r;
}

/* The number and the start time name one process for ever. */
static void holder_save(const struct uplink *u)
{
    _cleanup_free_ char *path = rootless__path(u->root, "holder");
    _cleanup_free_ char *text =
        str_printf("%d %llu\n", (int)u->holder, (unsigned long long)process_start_time(u->holder));
    struct err err = {0};
    if (file_replace(path, text, strlen(text), 0600, false, &err) < 0)
        log_warning("%s", err.msg);
}

static bool holder_load(struct uplink *u)
{
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_free_ char *path = rootless__path(u->root, "holder");
    int pid;
    unsigned long long start;
    if (file_read(path, 128, &text, NULL) < 0 || sscanf(str_get(&text), "%d %llu", &pid, &start) != 2)
        return false;
    _cleanup_close_ int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0 || process_start_time(pid) != start)
        return false;
    u->holder = pid;
    u->holder_fd = take_fd(&fd);
    return true;
}

static int open_namespaces(struct uplink *u, struct err *err)
{
    static const char *const names[NAMESPACES] = {"user", "mnt", "net"};
    for (size_t i = 0; i < NAMESPACES; i++) {
        _cleanup_free_ char *path = str_printf("/proc/%d/ns/%s", (int)u->holder, names[i]);
        u->namespaces[i] = open(path, O_RDONLY | O_CLOEXEC);
        if (u->namespaces[i] < 0)
            return err_sys(err, errno, "open %s", path);
    }
    return 0;
}

static int holder_find_or_make(struct uplink *u, struct err *err)
{
    _cleanup_free_ char *one_id = NULL;
    if (!holder_load(u)) {
        int r = rootless__world_make(u->root, &u->holder, &one_id, err);
        if (r < 0)
            return r;
        u->holder_fd = (int)syscall(SYS_pidfd_open, u->holder, 0);
        u->made = true;
        holder_save(u);
        if (one_id)
            log_warning("only one user id is there, and images with files of several owners cannot be "
                        "unpacked: %s",
                        one_id);
    }
    return open_namespaces(u, err);
}

static void holder_replace(struct uplink *u)
{
    struct err err = {0};
    log_warning("the holder (pid %d) died; another one keeps the namespaces", (int)u->holder);
    waitpid(u->holder, NULL, WNOHANG);
    u->holder_fd = close_fd(u->holder_fd);
    if (rootless__world_hold(u->root, u->namespaces, NAMESPACES, &u->holder, &err) < 0) {
        log_error("%s", err.msg);
        return;
    }
    u->holder_fd = (int)syscall(SYS_pidfd_open, u->holder, 0);
    holder_save(u);
}

/* --- requests --- */

static void end_all(struct uplink *u)
{
    static const char *const files[] = {"uplink.sock", "slirp.sock", "holder", "ports", "lock"};
    u->end = true;
    rootless__spare_stop(&u->spare);
    slirp_stop(&u->slirp);
    if (u->holder_fd >= 0) {
        syscall(SYS_pidfd_send_signal, u->holder_fd, SIGKILL, NULL, 0);
        struct pollfd p = {.fd = u->holder_fd, .events = POLLIN};
        poll(&p, 1, REQUEST_SECONDS * 1000);
        waitpid(u->holder, NULL, WNOHANG);
    }
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        _cleanup_free_ char *path = rootless__path(u->root, files[i]);
        unlink(path);
    }
}

static int handle(struct uplink *u, const char *request, struct err *err)
{
    struct forward f;
    const char *rest;
    if (str_eq(request, "join"))
        return 0;
    if (str_eq(request, "end")) {
        end_all(u);
        return 0;
    }
    if ((rest = str_after(request, "add ")) && forward_parse(rest, &f) && !str_eq(f.host_ip, "-"))
        return forward_add(u, &f, err);
    if ((rest = str_after(request, "remove ")) && forward_parse(rest, &f))
        return forward_remove(u, &f, err);
    if (str_after(request, "add sctp "))
        return err_set(err, ERR_UNSUPPORTED, "sctp ports cannot be published without root");
    return err_set(err, ERR_INVALID, "the uplink does not know \"%.100s\"", request);
}

/* slirp4netns writes a line for each request into the log that it shares with us. */
static void bound_log(void)
{
    struct stat st;
    if (fstat(STDERR_FILENO, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > LOG_MAX)
        (void)!ftruncate(STDERR_FILENO, 0);
}

static void serve_one(struct uplink *u)
{
    bound_log();
    char request[ROOTLESS_MESSAGE_BYTES];
    _cleanup_close_ int fd = accept4(u->listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    struct timeval patience = {.tv_sec = REQUEST_SECONDS};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    ssize_t n = file_recv_fds(fd, request, sizeof(request) - 1, NULL, 0, NULL, NULL);
    if (n <= 0)
        return;
    request[n] = '\0';
    struct err err = {0};
    bool join = str_eq(request, "join");
    int r = handle(u, request, &err);
    _cleanup_free_ char *answer = r < 0 ? str_printf("%d %d %s", -r, err.sys, err.msg) : mem_strdup("ok");
    file_send_fds(fd, answer, strlen(answer), &u->holder_fd, join && r == 0, NULL);
}

static void loop(struct uplink *u)
{
    int64_t retry_ns = 0;
    rootless__spare_start(&u->spare, u->root);
    while (!u->end) {
        struct pollfd p[] = {{.fd = u->listener, .events = POLLIN},
                             {.fd = u->slirp.pid ? u->slirp.pidfd : -1, .events = POLLIN},
                             {.fd = u->holder_fd, .events = POLLIN},
                             {.fd = u->spare.pidfd, .events = POLLIN}};
        int wait_ms = -1;
        if (!u->slirp.pid)
            wait_ms = (int)MAX((retry_ns - time_monotonic_ns()) / NS_PER_MS + 1, 0);
        if (poll(p, ARRAY_SIZE(p), wait_ms) < 0 && errno != EINTR)
            return;
        if (p[2].revents)
            holder_replace(u);
        if (p[3].revents) {
            rootless__spare_stop(&u->spare);
            rootless__spare_start(&u->spare, u->root);
        }
        if (p[1].revents) {
            log_warning("slirp4netns (pid %d) ended; starting it again", (int)u->slirp.pid);
            slirp_stop(&u->slirp);
        }
        if (!u->slirp.pid && time_monotonic_ns() >= retry_ns) {
            struct err err = {0};
            retry_ns = time_monotonic_ns() + NS_PER_S;
            if (uplink_slirp(u, &err) < 0)
                log_error("%s", err.msg);
        }
        if (p[0].revents)
            serve_one(u);
    }
}

static int uplink_open(struct uplink *u, struct err *err)
{
    _cleanup_free_ char *lock = rootless__path(u->root, "lock"),
                        *path = rootless__path(u->root, "uplink.sock");
    int r = file_lock(lock, &u->lock, err);
    if (r < 0)
        return r;
    r = holder_find_or_make(u, err);
    if (r < 0)
        return r;
    forwards_load(u);
    r = uplink_slirp(u, err);
    /* The slirp4netns of an uplink that was killed leaves a moment after it. */
    for (int i = 0; r == -ERR_SYSTEM && !u->made && i < SLIRP_TRIES; i++) {
        time_sleep_ns(100 * NS_PER_MS);
        r = uplink_slirp(u, err);
    }
    if (r == 0)
        r = file_listen_unix(path, SOCK_SEQPACKET, 0600, &u->listener, err);
    if (r < 0 && u->made)
        end_all(u);
    return r;
}

int rootless_main(int argc, char **argv)
{
    log_init("rootless", LOG_LEVEL_INFO);
    bool hold = argc == 4 && str_eq(argv[1], "hold");
    if ((argc != 3 && !hold) || !str_eq(argv[argc - 2], "--root")) {
        fprintf(stderr, "usage: drover rootless --root DIRECTORY (started by drover serve)\n");
        return 2;
    }
    if (hold)
        rootless__hold();
    prctl(PR_SET_NAME, "drover-rootless");
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    struct uplink u = {.root = argv[2],
                       .lock = -EBADF,
                       .listener = -EBADF,
                       .holder_fd = -EBADF,
                       .slirp = {.pidfd = -EBADF, .life = -EBADF},
                       .spare = {.pidfd = -EBADF}};
    for (size_t i = 0; i < NAMESPACES; i++)
        u.namespaces[i] = -EBADF;
    struct err err = {0};
    fcntl(ROOTLESS_REPORT_FD, F_SETFD, FD_CLOEXEC);
    int r = uplink_open(&u, &err);
    if (r < 0 && r != -ERR_CONFLICT)
        log_error("%s", err.msg);
    (void)!write(ROOTLESS_REPORT_FD, &err, sizeof(err));
    close(ROOTLESS_REPORT_FD);
    if (r == 0)
        loop(&u);
    rootless__spare_stop(&u.spare);
    free(u.forwards);
    return r < 0 ? err_exit_code(r) : 0;
}
