/* Bridges, endpoints and published ports in the real kernel. The whole program runs in a network namespace of
 * its own, which stands for the host; each "container" is one more. */
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

static const char owner_a[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
static const char owner_b[] = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

static bool root;
static char *before; /* links and ruleset of the namespace at the start */

static char *kernel_state(void)
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

static int set_up(void **state)
{
    if (!root)
        skip(); /* needs CAP_SYS_ADMIN and CAP_NET_ADMIN */
    struct err err = {0};
    struct fixture *f = NEW(struct fixture);
    f->dir = scratch_new();
    assert_ok(net_open(f->dir, "drt", &f->net, &err), &err);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    if (!f)
        return 0;
    struct err err = {0};
    for (size_t i = 0; i < f->server_count; i++) {
        kill(f->servers[i], SIGKILL);
        waitpid(f->servers[i], NULL, 0);
    }
    assert_ok(net_teardown(f->net, &err), &err);
    net_close(f->net);
    scratch_remove(f->dir);
    free(f);
    _cleanup_free_ char *after = kernel_state();
    assert_string_equal(after, before);
    return 0;
}

static void bridge(struct fixture *f, const char *name, const char *subnet, const char *gateway,
                   bool internal)
{
    struct err err = {0};
    struct net_bridge b = {
        .name = name, .subnet = subnet, .gateway = gateway, .internal = internal, .icc = true};
    assert_ok(net_bridge_ensure(f->net, &b, &err), &err);
}

static int container(struct fixture *f, const char *bridge_name, const char *address, const char *gateway)
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
static void serve(struct fixture *f, int ns, uint16_t port, const char *text)
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
static char *ask(int ns, int type, const char *address, uint16_t port, int wait_ms)
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

static void containers_of_a_network_reach_each_other(void **state)
{
    struct fixture *f = *state;
    bridge(f, "drtaaaaaaaa", "172.30.0.0/16", "172.30.0.1", false);
    int a = container(f, "drtaaaaaaaa", "172.30.0.2/16", "172.30.0.1");
    int b = container(f, "drtaaaaaaaa", "172.30.0.3/16", "172.30.0.1");
    serve(f, b, 80, "from b");
    assert_answer(a, SOCK_STREAM, "172.30.0.3", 80, "from b");
    assert_answer(-1, SOCK_STREAM, "172.30.0.3", 80, "from b");
    assert_answer(a, SOCK_STREAM, "172.30.0.3", 81, "Connection refused");
    close(a);
    close(b);
}

static void publish(struct fixture *f, const char *owner, const char *protocol, const char *host_ip,
                    uint16_t host_port, const char *ip, uint16_t port)
{
    struct err err = {0};
    struct net_port p = {.protocol = protocol,
                         .host_ip = host_ip,
                         .host_port = host_port,
                         .container_ip = ip,
                         .container_port = port};
    assert_ok(net_ports_publish(f->net, owner, &p, 1, &err), &err);
    assert_int_equal(p.host_port, host_port);
}

static void a_published_port_is_reached_from_everywhere_until_withdrawn(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    bridge(f, "drtaaaaaaaa", "172.30.0.0/16", "172.30.0.1", false);
    bridge(f, "drtbbbbbbbb", "172.31.0.0/16", "172.31.0.1", false);
    int a = container(f, "drtaaaaaaaa", "172.30.0.2/16", "172.30.0.1");
    int b = container(f, "drtaaaaaaaa", "172.30.0.3/16", "172.30.0.1");
    int c = container(f, "drtbbbbbbbb", "172.31.0.2/16", "172.31.0.1");
    serve(f, a, 80, "from a");
    publish(f, owner_a, "tcp", "", 8080, "172.30.0.2", 80);
    publish(f, owner_a, "udp", "0.0.0.0", 8080, "172.30.0.2", 80);
    assert_answer(-1, SOCK_STREAM, "127.0.0.1", 8080, "from a");
    assert_answer(-1, SOCK_DGRAM, "127.0.0.1", 8080, "from a");
    assert_answer(-1, SOCK_STREAM, "172.30.0.1", 8080, "from a");
    assert_answer(b, SOCK_STREAM, "172.30.0.1", 8080, "from a"); /* a neighbour on the same bridge */
    assert_answer(a, SOCK_STREAM, "172.30.0.1", 8080, "from a"); /* itself */
    assert_answer(c, SOCK_STREAM, "172.31.0.1", 8080, "from a"); /* another network */
    assert_ok(net_ports_withdraw(f->net, owner_a, &err), &err);
    assert_answer(-1, SOCK_STREAM, "127.0.0.1", 8080, "Connection refused");
    assert_answer(c, SOCK_STREAM, "172.31.0.1", 8080, "Connection refused");
    close(a);
    close(b);
    close(c);
}

static int try_publish(struct fixture *f, const char *owner, const char *host_ip, uint16_t *port,
                       struct err *err)
{
    struct net_port p = {.protocol = "tcp",
                         .host_ip = host_ip,
                         .host_port = *port,
                         .container_ip = "172.30.0.9",
                         .container_port = 80};
    int r = net_ports_publish(f->net, owner, &p, 1, err);
    *port = p.host_port;
    return r;
}

static void a_conflict_names_who_has_the_port(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    bridge(f, "drtaaaaaaaa", "172.30.0.0/16", "172.30.0.1", false);
    serve(f, -1, 8081, "host");
    uint16_t port = 8081;
    assert_int_equal(try_publish(f, owner_a, "", &port, &err), -ERR_CONFLICT);
    _cleanup_free_ char *expected =
        str_printf("port 8081/tcp on 0.0.0.0 is in use by test-net_kernel (pid %d)", f->servers[0]);
    assert_string_equal(err.msg, expected);
    assert_int_equal(try_publish(f, owner_a, "127.0.0.1", &port, &err), -ERR_CONFLICT);
    port = 8082;
    assert_ok(try_publish(f, owner_a, "127.0.0.1", &port, &err), &err);
    assert_int_equal(try_publish(f, owner_b, "", &port, &err), -ERR_CONFLICT);
    assert_string_equal(err.msg, "port 8082/tcp on 0.0.0.0 is published by container aaaaaaaaaaaa");
    assert_ok(try_publish(f, owner_b, "172.30.0.1", &port, &err), &err); /* the same port, another address */
    assert_int_equal(try_publish(f, owner_b, "10.9.8.7", &port, &err), -ERR_INVALID);
    port = 0;
    assert_ok(try_publish(f, owner_b, "", &port, &err), &err);
    assert_in_range(port, 1024, 65535);
}

static void several_ports_are_published_all_or_none(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    bridge(f, "drtaaaaaaaa", "172.30.0.0/16", "172.30.0.1", false);
    serve(f, -1, 8084, "host");
    struct net_port p[2] = {
        {.protocol = "tcp", .host_port = 8083, .container_ip = "172.30.0.9", .container_port = 80},
        {.protocol = "tcp", .host_port = 8084, .container_ip = "172.30.0.9", .container_port = 81}};
    assert_int_equal(net_ports_publish(f->net, owner_a, p, 2, &err), -ERR_CONFLICT);
    assert_ok(net_ports_publish(f->net, owner_b, p, 1, &err), &err);
    assert_answer(-1, SOCK_STREAM, "127.0.0.1", 8084, "host");
}

static void networks_do_not_see_each_other_and_internal_ones_nothing(void **state)
{
    struct fixture *f = *state;
    bridge(f, "drtaaaaaaaa", "172.30.0.0/16", "172.30.0.1", false);
    bridge(f, "drtbbbbbbbb", "172.31.0.0/16", "172.31.0.1", false);
    bridge(f, "drtcccccccc", "10.77.0.0/24", "10.77.0.1", true);
    int a = container(f, "drtaaaaaaaa", "172.30.0.2/16", "172.30.0.1");
    int b = container(f, "drtbbbbbbbb", "172.31.0.2/16", "172.31.0.1");
    /* With a default route, which an internal network's containers do not get, it still has no way out. */
    int c = container(f, "drtcccccccc", "10.77.0.2/24", "10.77.0.1");
    int d = container(f, "drtcccccccc", "10.77.0.3/24", NULL);
    serve(f, a, 80, "from a");
    serve(f, c, 80, "from c");
    assert_silence(b, "172.30.0.2", 80);
    assert_silence(c, "172.30.0.2", 80);
    assert_silence(a, "10.77.0.2", 80);
    publish(f, owner_a, "tcp", "", 8080, "172.30.0.2", 80);
    assert_silence(c, "10.77.0.1", 8080);
    assert_answer(b, SOCK_STREAM, "172.31.0.1", 8080, "from a");
    assert_answer(d, SOCK_STREAM, "10.77.0.2", 80, "from c");
    close(a), close(b), close(c), close(d);
}

static void without_icc_containers_reach_only_the_host(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct net_bridge br = {.name = "drtaaaaaaaa", .subnet = "172.30.0.0/16", .gateway = "172.30.0.1"};
    assert_ok(net_bridge_ensure(f->net, &br, &err), &err);
    int a = container(f, "drtaaaaaaaa", "172.30.0.2/16", "172.30.0.1");
    int b = container(f, "drtaaaaaaaa", "172.30.0.3/16", "172.30.0.1");
    serve(f, a, 80, "from a");
    serve(f, -1, 90, "host");
    assert_silence(b, "172.30.0.2", 80);
    assert_answer(b, SOCK_STREAM, "172.30.0.1", 90, "host");
    close(a), close(b);
}

/* A machine on the wire of `host`: a namespace with a veth whose other end is the host's. */
static void nothing_comes_in_from_outside_but_to_published_ports(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    int outside = -1;
    bridge(f, "drtaaaaaaaa", "172.30.0.0/16", "172.30.0.1", false);
    int a = container(f, "drtaaaaaaaa", "172.30.0.2/16", "172.30.0.1");
    serve(f, a, 80, "from a");
    serve(f, -1, 91, "host");
    publish(f, owner_a, "tcp", "", 8080, "172.30.0.2", 80);
    publish(f, owner_b, "tcp", "127.0.0.1", 8090, "172.30.0.2", 80);

    assert_ok(net_namespace_new(&outside, &err), &err);
    _cleanup_free_ char *script = str_printf(
        "ip link add wire type veth peer name wire netns /proc/%d/fd/%d && ip addr add 10.66.0.1/24 dev wire "
        "&& "
        "ip link set wire up && nsenter --net=/proc/%d/fd/%d sh -c 'ip addr add 10.66.0.2/24 dev wire && "
        "ip link set wire up && ip route add 172.30.0.0/16 via 10.66.0.1 && ip addr del 127.0.0.1/8 dev lo "
        "&& "
        "ip route add 127.0.0.0/8 via 10.66.0.1 src 10.66.0.2 && "
        "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet'",
        getpid(), outside, getpid(), outside);
    const char *const argv[] = {"sh", "-c", script, NULL};
    assert_ok(process_run(argv, NULL, NULL, &err), &err);

    assert_answer(outside, SOCK_STREAM, "10.66.0.1", 8080, "from a");
    assert_answer(outside, SOCK_STREAM, "10.66.0.1", 91, "host");
    assert_silence(outside, "172.30.0.2", 80);  /* routed here on purpose by a neighbour */
    assert_silence(outside, "127.0.0.1", 8090); /* what was published for this machine only */
    assert_silence(outside, "127.0.0.1", 91);

    serve(f, outside, 92, "world");
    assert_answer(a, SOCK_STREAM, "10.66.0.2", 92, "world"); /* masqueraded: no route leads back to a */
    close(a);
    const char *const drop[] = {"ip", "link", "del", "wire", NULL};
    assert_ok(process_run(drop, NULL, NULL, &err), &err);
    close(outside);
}

static void a_new_process_takes_over_what_is_published(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    bridge(f, "drtaaaaaaaa", "172.30.0.0/16", "172.30.0.1", false);
    int a = container(f, "drtaaaaaaaa", "172.30.0.2/16", "172.30.0.1");
    serve(f, a, 80, "from a");
    publish(f, owner_a, "tcp", "", 8080, "172.30.0.2", 80);
    publish(f, owner_b, "udp", "127.0.0.1", 8080, "172.30.0.2", 80);
    net_close(f->net); /* as good as killed: nothing of it is needed */
    assert_answer(-1, SOCK_STREAM, "127.0.0.1", 8080, "from a");

    assert_ok(net_open(f->dir, "drt", &f->net, &err), &err);
    bridge(f, "drtaaaaaaaa", "172.30.0.0/16", "172.30.0.1", false);
    publish(f, owner_a, "tcp", "", 8080, "172.30.0.2", 80);
    uint16_t port = 8080;
    assert_int_equal(try_publish(f, owner_b, "", &port, &err), -ERR_CONFLICT);
    assert_string_equal(err.msg, "port 8080/tcp on 0.0.0.0 is published by container aaaaaaaaaaaa");
    assert_answer(-1, SOCK_STREAM, "127.0.0.1", 8080, "from a");
    assert_answer(-1, SOCK_DGRAM, "127.0.0.1", 8080, "from a");

    char *bridges[] = {(char[]){"drtaaaaaaaa"}, NULL}, *owners[] = {(char *)owner_a, NULL};
    assert_ok(net_reconcile(f->net, bridges, owners, &err), &err);
    assert_answer(-1, SOCK_DGRAM, "127.0.0.1", 8080, "Connection refused");
    assert_answer(-1, SOCK_STREAM, "127.0.0.1", 8080, "from a");
    assert_ok(net_reconcile(f->net, NULL, NULL, &err), &err);
    assert_answer(-1, SOCK_STREAM, "127.0.0.1", 8080, "Connection refused");
    close(a);
}

static void a_flushed_ruleset_comes_back_with_the_next_change(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    bridge(f, "drtaaaaaaaa", "172.30.0.0/16", "172.30.0.1", false);
    int a = container(f, "drtaaaaaaaa", "172.30.0.2/16", "172.30.0.1");
    serve(f, a, 80, "from a");
    publish(f, owner_a, "tcp", "", 8080, "172.30.0.2", 80);
    const char *const flush[] = {"nft", "flush", "ruleset", NULL};
    assert_ok(process_run(flush, NULL, NULL, &err), &err);
    publish(f, owner_b, "tcp", "", 8081, "172.30.0.2", 80);
    assert_answer(-1, SOCK_STREAM, "127.0.0.1", 8080, "from a");
    assert_answer(-1, SOCK_STREAM, "127.0.0.1", 8081, "from a");
    close(a);
}

static void an_endpoint_is_counted_removed_and_added_again(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    char first[16], second[16];
    int ns = -1;
    bridge(f, "drtaaaaaaaa", "172.30.0.0/16", "172.30.0.1", false);
    assert_ok(net_namespace_new(&ns, &err), &err);
    struct net_endpoint e = {
        .bridge = "drtaaaaaaaa", .ifname = "eth0", .address = "172.30.0.2/16", .gateway = "172.30.0.1"};
    assert_ok(net_endpoint_add(f->net, ns, &e, first, &err), &err);
    assert_ok(net_endpoint_add(f->net, ns, &e, second, &err), &err); /* the same once more */
    assert_string_equal(first, second);
    serve(f, -1, 90, "host");
    assert_answer(ns, SOCK_STREAM, "172.30.0.1", 90, "host");
    struct net_stats stats;
    assert_ok(net_endpoint_stats(f->net, first, &stats, &err), &err);
    assert_true(stats.rx_bytes > 100 && stats.tx_packets > 2);
    assert_ok(net_endpoint_remove(f->net, ns, "eth0", &err), &err);
    assert_ok(net_endpoint_remove(f->net, ns, "eth0", &err), &err);
    assert_int_equal(net_endpoint_stats(f->net, first, &stats, &err), -ERR_NOT_FOUND);
    assert_ok(net_endpoint_add(f->net, ns, &e, second, &err), &err);
    assert_answer(ns, SOCK_STREAM, "172.30.0.1", 90, "host");
    e.ifname = "eth1";
    e.bridge = "drtmissing";
    assert_true(net_endpoint_add(f->net, ns, &e, second, &err) < 0);
    assert_non_null(strstr(err.msg, "drtmissing"));
    close(ns);
}

static void a_picked_subnet_is_none_the_host_uses(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    bridge(f, "drtaaaaaaaa", "172.17.0.0/16", "172.17.0.1", false);
    char *taken[] = {(char[]){"172.18.0.0/16"}, NULL};
    _cleanup_free_ char *subnet = NULL;
    assert_ok(net_subnet_pick(taken, &subnet, &err), &err);
    assert_string_equal(subnet, "172.19.0.0/16");
}

int main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    root = geteuid() == 0;
    if (root) {
        struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
        int s;
        if (unshare(CLONE_NEWNET) < 0 || (s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) < 0 ||
            ioctl(s, SIOCSIFFLAGS, &lo) < 0)
            return 1;
        close(s);
        before = kernel_state();
    }
#define kernel_test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        kernel_test(containers_of_a_network_reach_each_other),
        kernel_test(a_published_port_is_reached_from_everywhere_until_withdrawn),
        kernel_test(a_conflict_names_who_has_the_port),
        kernel_test(several_ports_are_published_all_or_none),
        kernel_test(networks_do_not_see_each_other_and_internal_ones_nothing),
        kernel_test(without_icc_containers_reach_only_the_host),
        kernel_test(nothing_comes_in_from_outside_but_to_published_ports),
        kernel_test(a_new_process_takes_over_what_is_published),
        kernel_test(a_flushed_ruleset_comes_back_with_the_next_change),
        kernel_test(an_endpoint_is_counted_removed_and_added_again),
        kernel_test(a_picked_subnet_is_none_the_host_uses),
    };
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    free(before);
    return r;
}
