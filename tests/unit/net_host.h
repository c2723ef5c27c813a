/* A host for network tests: the whole program runs in a network namespace of its own, which stands for the
 * machine; each "container" is one more. */
#ifndef TESTS_NET_HOST_H
#define TESTS_NET_HOST_H

#include "unit.h"

#include "base/mem.h"
#include "base/process.h"
#include "net/net.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define OWNER_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define OWNER_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static bool root;
static char *before; /* links and ruleset of the namespace at the start */

static inline char *kernel_state(void)
{
    static const char *const links[] = {"ip", "-br", "link", NULL}, *const nft[] = {"nft", "list", "ruleset",
                                                                                    NULL};
    struct err err = {0};
    struct str s = STR_INIT;
    _cleanup_str_ struct str rules = STR_INIT;
    assert_ok(process_run(links, NULL, &s, &err), &err);
    assert_ok(process_run(nft, NULL, &rules, &err), &err);
    str_add(&s, str_get(&rules));
    return str_take(&s);
}

struct fixture {
    char *dir;
    struct net *net;
    pid_t servers[8];
    size_t server_count;
};

static inline int set_up(void **state)
{
    if (!root)
        return 0;
    struct err err = {0};
    struct fixture *f = NEW(struct fixture);
    f->dir = scratch_new();
    assert_ok(net_open(f->dir, "drt", &f->net, &err), &err);
    *state = f;
    return 0;
}

/* What a test starts with. */
static inline struct fixture *host_of(void **state)
{
    if (!*state) {
        print_message("skipped: needs root (CAP_SYS_ADMIN and CAP_NET_ADMIN)\n");
        skip();
    }
    return *state;
}

/* The same test with bridges filtered where they were not, and the other way round. */
static inline void filtered_otherwise(void **state, void (*test)(void **state))
{
    static const char *const path = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    host_of(state);
    if (!file_exists(path))
        skip(); /* needs br_netfilter to tell the difference */
    struct err err = {0};
    _cleanup_str_ struct str was = STR_INIT;
    assert_ok(file_read(path, 16, &was, &err), &err);
    assert_ok(file_poke(path, str_get(&was)[0] == '1' ? "0" : "1", &err), &err);
    test(state);
    assert_ok(file_poke(path, str_get(&was), &err), &err);
}

static inline void end_servers(struct fixture *f)
{
    for (size_t i = 0; i < f->server_count; i++) {
        kill(f->servers[i], SIGKILL);
        waitpid(f->servers[i], NULL, 0);
    }
}

static inline int tear_down(void **state)
{
    struct fixture *f = *state;
    if (!f)
        return 0;
    struct err err = {0};
    end_servers(f);
    assert_ok(net_teardown(f->net, &err), &err);
    net_close(f->net);
    scratch_remove(f->dir);
    free(f);
    _cleanup_free_ char *after = kernel_state();
    assert_string_equal(after, before);
    return 0;
}

static inline void bridge(struct fixture *f, const char *name, const char *subnet, const char *gateway,
                          bool internal)
{
    struct err err = {0};
    struct net_bridge b = {
        .name = name, .subnet = subnet, .gateway = gateway, .internal = internal, .icc = true};
    assert_ok(net_bridge_ensure(f->net, &b, &err), &err);
}

static inline int container(struct fixture *f, const char *bridge_name, const char *address,
                            const char *gateway)
{
    struct err err = {0};
    int fd = -1;
    char host_if[16];
    assert_ok(net_namespace_new(&fd, &err), &err);
    struct net_endpoint e = {.bridge = bridge_name, .ifname = "eth0", .address = address, .gateway = gateway};
    assert_ok(net_endpoint_add(f->net, fd, &e, host_if, &err), &err);
    return fd;
}

/* A process in `ns` (<0: the host) that answers each connection to `port` with `text`, and each datagram. */
static inline void serve(struct fixture *f, int ns, uint16_t port, const char *text)
{
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
        int tcp, udp, yes = 1;
        if ((ns >= 0 && setns(ns, CLONE_NEWNET) < 0) || (tcp = socket(AF_INET, SOCK_STREAM, 0)) < 0 ||
            (udp = socket(AF_INET, SOCK_DGRAM, 0)) < 0 ||
            setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) < 0 ||
            bind(tcp, (struct sockaddr *)&a, sizeof(a)) < 0 ||
            bind(udp, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(tcp, 8) < 0 ||
            write(ready[1], "r", 1) != 1)
            _exit(1);
        for (;;) {
            struct pollfd p[2] = {{.fd = tcp, .events = POLLIN}, {.fd = udp, .events = POLLIN}};
            poll(p, 2, -1);
            if (p[0].revents) {
                int c = accept(tcp, NULL, NULL);
                ssize_t ignored _unused_ = write(c, text, strlen(text));
                close(c);
            }
            if (p[1].revents) {
                char buffer[64];
                struct sockaddr_in from;
                socklen_t length = sizeof(from);
                if (recvfrom(udp, buffer, sizeof(buffer), 0, (struct sockaddr *)&from, &length) >= 0)
                    sendto(udp, text, strlen(text), 0, (struct sockaddr *)&from, length);
            }
        }
    }
    close(ready[1]);
    char c;
    assert_int_equal(read(ready[0], &c, 1), 1);
    close(ready[0]);
    f->servers[f->server_count++] = pid;
}

/* What is answered at address:port when asked from `ns`: the text, "refused", or "silence" after `wait_ms`.
 */
static inline char *ask(int ns, int type, const char *address, uint16_t port, int wait_ms)
{
    int out[2];
    assert_int_equal(pipe(out), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
        inet_pton(AF_INET, address, &a.sin_addr);
        char text[64] = "silence";
        int s;
        if ((ns >= 0 && setns(ns, CLONE_NEWNET) < 0) || (s = socket(AF_INET, type | SOCK_NONBLOCK, 0)) < 0)
            _exit(1);
        int r = connect(s, (struct sockaddr *)&a, sizeof(a));
        if (type == SOCK_DGRAM)
            r = (int)send(s, "?", 1, 0);
        struct pollfd p = {.fd = s, .events = POLLIN};
        if (r < 0 && errno != EINPROGRESS) {
            snprintf(text, sizeof(text), "%s", strerror(errno));
        } else if (poll(&p, 1, wait_ms) == 1) {
            ssize_t n = read(s, text, sizeof(text) - 1);
            if (n < 0)
                snprintf(text, sizeof(text), "%s", strerror(errno));
            else
                text[n] = '\0';
        }
        ssize_t ignored _unused_ = write(out[1], text, strlen(text));
        _exit(0);
    }
    close(out[1]);
    struct str s = STR_INIT;
    struct err err = {0};
    assert_ok(file_read_fd(out[0], 64, &s, &err), &err);
    close(out[0]);
    waitpid(pid, NULL, 0);
    return str_take(&s);
}

enum { PATIENT = 10000, IMPATIENT = 300 };

#define assert_answer(ns, type, address, port, expected)                                                     \
    do {                                                                                                     \
        _cleanup_free_ char *got_ = ask(ns, type, address, port, PATIENT);                                   \
        assert_string_equal(got_, expected);                                                                 \
    } while (0)
#define assert_silence(ns, address, port)                                                                    \
    do {                                                                                                     \
        _cleanup_free_ char *got_ = ask(ns, SOCK_STREAM, address, port, IMPATIENT);                          \
        assert_string_equal(got_, "silence");                                                                \
    } while (0)

/* The program may have been started to be one of Drover's processes. */
static inline bool host_is_process(int argc, char **argv, int *ret_status)
{
    if (argc == 3 && str_eq(argv[1], "dns"))
        *ret_status = net_dns_main(argc - 1, argv + 1);
    else if (argc == 2 && str_eq(argv[1], "nft"))
        *ret_status = net_nft_main();
    else
        return false;
    return true;
}

/* Makes this process the "host": a fresh network namespace with `lo` up, and itself the processes to start.
 */
static inline int host_begin(void)
{
    setenv("DROVER_BINARY", "/proc/self/exe", 1);
    root = geteuid() == 0;
    if (!root)
        return 0;
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int s;
    if (unshare(CLONE_NEWNET) < 0 || (s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) < 0 ||
        ioctl(s, SIOCSIFFLAGS, &lo) < 0)
        return -1;
    close(s);
    before = kernel_state();
    return 0;
}

#endif
