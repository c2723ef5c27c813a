#include "net/dns_server.h"

#include "base/file.h"
#include "base/log.h"
#include "base/timeutil.h"

#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LIVENESS_CHECK_MS = 30000 };

int dns_watch(struct dns_server *s, struct dns_source *source, int fd, uint32_t events,
              void (*ready)(struct dns_server *, struct dns_source *, uint32_t))
{
    if (fd < 0)
        return fd;
    *source = (struct dns_source){.fd = fd, .ready = ready};
    struct epoll_event e = {.events = events, .data.ptr = source};
    return epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &e) < 0 ? -errno : 0;
}

void dns_rewatch(struct dns_server *s, struct dns_source *source, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = source};
    must(epoll_ctl(s->epoll, EPOLL_CTL_MOD, source->fd, &e) == 0);
}

void dns_unwatch(struct dns_source *source)
{
    source->fd = close_fd(source->fd);
}

static int table_load(struct dns_server *s, struct err *err)
{
    _cleanup_free_ char *path = str_printf("%s/dns.table", s->state_dir);
    _cleanup_str_ struct str text = STR_INIT;
    struct dns_table fresh;
    int r = file_read(path, DNS_TABLE_BYTES_MAX, &text, err);
    if (r == 0)
        r = dns_table_parse(str_get(&text), &fresh, err);
    if (r < 0)
        return err_wrap(err, "%s", path);
    if (fresh.port != s->table.port)
        dns_listeners_close(s);
    dns_table_done(&s->table);
    s->table = fresh;
    dns_listeners_update(s);
    return 0;
}

/* --- serve's words --- */

static void control_close(struct dns_server *s, struct dns_source *source)
{
    for (size_t i = 0; i < DNS_CONTROLS_MAX; i++)
        if (s->controls[i] == source)
            s->controls[i] = NULL;
    dns_unwatch(source);
    free(source);
}

static void on_control(struct dns_server *s, struct dns_source *source, uint32_t events)
{
    (void)events;
    char word[64] = "";
    struct err err = {0};
    ssize_t n = recv(source->fd, word, sizeof(word) - 1, 0);
    if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            control_close(s, source);
        return;
    }
    const char *answer = "ok";
    if (str_eq(word, "reload")) {
        if (table_load(s, &err) < 0)
            answer = err.msg;
    } else if (str_eq(word, "stop")) {
        s->stop = true;
    } else {
        answer = "unknown word";
    }
    send(source->fd, answer, strlen(answer), MSG_NOSIGNAL);
}

static void on_connect(struct dns_server *s, struct dns_source *source, uint32_t events)
{
    (void)events;
    int fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    for (size_t i = 0; fd >= 0 && i < DNS_CONTROLS_MAX; i++) {
        if (s->controls[i])
            continue;
        s->controls[i] = NEW(struct dns_source);
        s->controls[i]->fd = -EBADF;
        if (dns_watch(s, s->controls[i], fd, EPOLLIN, on_control) < 0)
            control_close(s, s->controls[i]);
        return;
    }
    close_fd(fd);
}

/* --- the process --- */

/* All it needs is sockets and root's files: what parses strangers' messages holds no other power. */
static int drop_powers(struct err *err)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {
        {.effective = 1u << CAP_NET_RAW, .permitted = 1u << CAP_NET_RAW}}; /* SO_BINDTODEVICE before 5.7 */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_capset, &head, data) < 0)
        return err_sys(err, errno, "drop capabilities");
    return 0;
}

static int wait_ms(struct dns_server *s)
{
    int64_t now = time_monotonic_ns();
    int64_t a = dns_forward_expire(s, now), b = dns_tcp_expire(s, now);
    int64_t next = a && b ? MIN(a, b) : a + b;
    if (!next)
        return LIVENESS_CHECK_MS;
    return (int)MIN(MAX((next - now) / NS_PER_MS + 1, 1), LIVENESS_CHECK_MS);
}

/* Ends with its state directory: a root that was removed by hand leaves no process behind. */
static bool root_gone(const struct dns_server *s)
{
    _cleanup_free_ char *path = str_printf("%s/dns.table", s->state_dir);
    return !file_exists(path);
}

static int loop(struct dns_server *s)
{
    while (!s->stop) {
        struct epoll_event e;
        int n = epoll_wait(s->epoll, &e, 1, wait_ms(s));
        if (n < 0 && errno != EINTR)
            return 1;
        if (n == 0 && root_gone(s))
            return 0;
        if (n == 1) {
            struct dns_source *source = e.data.ptr;
            source->ready(s, source, e.events);
        }
    }
    return 0;
}

static int start(struct dns_server *s, int *ret_lock, struct err *err)
{
    _cleanup_free_ char *lock = str_printf("%s/dns.lock", s->state_dir);
    _cleanup_free_ char *socket_path = str_printf("%s/dns.sock", s->state_dir);
    int control, r = file_lock(lock, ret_lock, err);
    if (r < 0)
        return r;
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (s->epoll < 0)
        return err_sys(err, errno, "create an epoll");
    if ((r = drop_powers(err)) < 0 || (r = table_load(s, err)) < 0)
        return r;
    r = file_listen_unix(socket_path, SOCK_SEQPACKET, 0600, &control, err);
    if (r == 0 && (r = dns_watch(s, &s->control, control, EPOLLIN, on_connect)) < 0)
        r = err_sys(err, -r, "watch %s", socket_path);
    return r;
}

int net_dns_main(int argc, char **argv)
{
    if (argc != 2) {
        log_error("usage: drover dns STATE_DIR");
        return 2;
    }
    log_init("dns", LOG_LEVEL_INFO);
    signal(SIGPIPE, SIG_IGN);
    struct dns_server s = {.state_dir = argv[1], .epoll = -EBADF, .control = {.fd = -EBADF}};
    struct err err = {0};
    _cleanup_close_ int lock = -EBADF;
    int status = 1;
    if (argv[1][0] == '/' && chdir("/") < 0) /* keeps no file system busy */
        log_warning("chdir /: %s", strerror(errno));
    if (start(&s, &lock, &err) < 0)
        log_error("%s", err.msg);
    else
        status = loop(&s);
    for (size_t i = 0; i < DNS_CONTROLS_MAX; i++)
        if (s.controls[i])
            control_close(&s, s.controls[i]);
    dns_unwatch(&s.control);
    dns_forward_close(&s);
    dns_tcp_close(&s);
    dns_listeners_close(&s);
    dns_table_done(&s.table);
    close_fd(s.epoll);
    return status;
}
