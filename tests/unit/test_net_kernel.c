/* Bridges, endpoints and published ports in the real kernel. */
#include "net_host.h"

#include "net/priv.h"

#include <dirent.h>
#include <sys/stat.h>

static void containers_of_a_network_reach_each_other(void **state)
{
    struct fixture *f = host_of(state);
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
    struct fixture *f = host_of(state);
    struct err err = {0};
    bridge(f, "drtaaaaaaaa", "172.30.0.0/16", "172.30.0.1", false);
    bridge(f, "drtbbbbbbbb", "172.31.0.0/16", "172.31.0.1", false);
    int a = container(f, "drtaaaaaaaa", "172.30.0.2/16", "172.30.0.1");
    int b = container(f, "drtaaaaaaaa", "172.30.0.3/16", "172.30.0.1");
    int c = container(f, "drtbbbbbbbb", "172.31.0.2/16", "172.31.0.1");
    serve(f, a, 80, "from a");
    publish(f, OWNER_A, "tcp", "", 8080, "172.30.0.2", 80);
    publish(f, OWNER_A, "udp", "0.0.0.0", 8080, "172.30.0.2", 80);
    assert_answer(-1, SOCK_STREAM, "127.0.0.1", 8080, "from a");
    assert_answer(-1, SOCK_DGRAM, "127.0.0.1", 8080, "from a");
    assert_answer(-1, SOCK_STREAM, "172.30.0.1", 8080, "from a");
    assert_answer(b, SOCK_STREAM, "172.30.0.1", 8080, "from a"); /* a neighbour on the same bridge */
    assert_answer(a, SOCK_STREAM, "172.30.0.1", 8080, "from a"); /* itself */
    assert_answer(c, SOCK_STREAM, "172.31.0.1", 8080, "from a"); /* another network */
    assert_ok(net_ports_withdraw(f->net, OWNER_A, &err), &err);
    assert_answer(-1, SOCK_STREAM, "127.0.0.1", 8080, "Connection refused");
    assert_answer(c, SOCK_STREAM, "172.31.0.1", 8080, "Connection refused");
    close(a);
    close(b);
    close(c);
}

static void a_published_port_is_reached_whether_or_not_bridges_are_filtered(void **state)
{
    filtered_otherwise(state, a_published_port_is_reached_from_everywhere_until_withdrawn);
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
    struct fixture *f = host_of(state);
    struct err err = {0};
    bridge(f, "drtaaaaaaaa", "172.30.0.0/16", "172.30.0.1", false);
    serve(f, -1, 8081, "host");
    uint16_t port = 8081;
    assert_int_equal(try_publish(f, OWNER_A, "", &port, &err), -ERR_CONFLICT);
    _cleanup_free_ char *expected =
        str_printf("Bind for 0.0.0.0:8081 failed: address already in use: port 8081/tcp is in use by "
                   "test-net_kernel (pid %d)",
                   f->servers[0]);
    assert_string_equal(err.msg, expected);
    assert_int_equal(try_publish(f, OWNER_A, "127.0.0.1", &port, &err), -ERR_CONFLICT);
    port = 8082;
    assert_ok(try_publish(f, OWNER_A, "127.0.0.1", &port, &err), &err);
    assert_int_equal(try_publish(f, OWNER_B, "", &port, &err), -ERR_CONFLICT);
    assert_string_equal(err.msg, "Bind for 0.0.0.0:8082 failed: port is already allocated: port "
                                 "8082/tcp is published by container aaaaaaaaaaaa");
    assert_ok(try_publish(f, OWNER_B, "172.30.0.1", &port, &err), &err); /* the same port, another address */
    assert_int_equal(try_publish(f, OWNER_B, "10.9.8.7", &port, &err), -ERR_INVALID);
    port = 0;
    assert_ok(try_publish(f, OWNER_B, "", &port, &err), &err);
    assert_in_range(port, 1024, 65535);
}

static void sctp_ports_are_kept_apart_with_or_without_its_sockets(void **state)
{
    struct fixture *f = host_of(state);
    struct err err = {0};
    struct net_port p = {.protocol = "sctp", .container_ip = "172.30.0.9", .container_port = 80};
    assert_ok(net_ports_publish(f->net, OWNER_A, &p, 1, &err), &err);
    assert_in_range(p.host_port, 1024, 65535);
    assert_int_equal(net_ports_publish(f->net, OWNER_B, &p, 1, &err), -ERR_CONFLICT);
    assert_non_null(strstr(err.msg, "is published by container aaaaaaaaaaaa"));
    p.protocol = "dccp";
    assert_int_equal(net_ports_publish(f->net, OWNER_B, &p, 1, &err), -ERR_INVALID);
    assert_string_equal(err.msg, "protocol \"dccp\" of a port must be tcp, udp or sctp");
}

static void several_ports_are_published_all_or_none(void **state)
{
    struct fixture *f = host_of(state);
    struct err err = {0};
    bridge(f, "drtaaaaaaaa", "172.30.0.0/16", "172.30.0.1", false);
    serve(f, -1, 8084, "host");
    struct net_port p[2] = {
        {.protocol = "tcp", .host_port = 8083, .container_ip = "172.30.0.9", .container_port = 80},
        {.protocol = "tcp", .host_port = 8084, .container_ip = "172.30.0.9", .container_port = 81}};
    assert_int_equal(net_ports_publish(f->net, OWNER_A, p, 2, &err), -ERR_CONFLICT);
    assert_ok(net_ports_publish(f->net, OWNER_B, p, 1, &err), &err);
    assert_answer(-1, SOCK_STREAM, "127.0.0.1", 8084, "host");
}

static void networks_do_not_see_each_other_and_internal_ones_nothing(void **state)
{
    struct fixture *f = host_of(state);
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
    publish(f, OWNER_A, "tcp", "", 8080, "172.30.0.2", 80);
    assert_silence(c, "10.77.0.1", 8080);
    assert_answer(b, SOCK_STREAM, "172.31.0.1", 8080, "from a");
    assert_answer(d, SOCK_STREAM, "10.77.0.2", 80, "from c");
    close(a), close(b), close(c), close(d);
}

static void without_icc_containers_reach_only_the_host(void **state)
{
    struct fixture *f = host_of(state);
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
    struct fixture *f = host_of(state);
    struct err err = {0};
    int outside = -1;
    bridge(f, "drtaaaaaaaa", "172.30.0.0/16", "172.30.0.1", false);
    int a = container(f, "drtaaaaaaaa", "172.30.0.2/16", "172.30.0.1");
    serve(f, a, 80, "from a");
    serve(f, -1, 91, "host");
    publish(f, OWNER_A, "tcp", "", 8080, "172.30.0.2", 80);
    publish(f, OWNER_B, "tcp", "127.0.0.1", 8090, "172.30.0.2", 80);

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
    struct fixture *f = host_of(state);
    struct err err = {0};
    bridge(f, "drtaaaaaaaa", "172.30.0.0/16", "172.30.0.1", false);
    int a = container(f, "drtaaaaaaaa", "172.30.0.2/16", "172.30.0.1");
    serve(f, a, 80, "from a");
    publish(f, OWNER_A, "tcp", "", 8080, "172.30.0.2", 80);
    publish(f, OWNER_B, "udp", "127.0.0.1", 8080, "172.30.0.2", 80);
    net_close(f->net); /* as good as killed: nothing of it is needed */
    assert_answer(-1, SOCK_STREAM, "127.0.0.1", 8080, "from a");

    assert_ok(net_open(f->dir, "drt", &f->net, &err), &err);
    bridge(f, "drtaaaaaaaa", "172.30.0.0/16", "172.30.0.1", false);
    publish(f, OWNER_A, "tcp", "", 8080, "172.30.0.2", 80);
    uint16_t port = 8080;
    assert_int_equal(try_publish(f, OWNER_B, "", &port, &err), -ERR_CONFLICT);
    assert_string_equal(err.msg, "Bind for 0.0.0.0:8080 failed: port is already allocated: port "
                                 "8080/tcp is published by container aaaaaaaaaaaa");
    assert_answer(-1, SOCK_STREAM, "127.0.0.1", 8080, "from a");
    assert_answer(-1, SOCK_DGRAM, "127.0.0.1", 8080, "from a");

    char *bridges[] = {(char[]){"drtaaaaaaaa"}, NULL}, *owners[] = {(char[]){OWNER_A}, NULL};
    assert_ok(net_reconcile(f->net, bridges, owners, NULL, &err), &err);
    assert_answer(-1, SOCK_DGRAM, "127.0.0.1", 8080, "Connection refused");
    assert_answer(-1, SOCK_STREAM, "127.0.0.1", 8080, "from a");
    assert_ok(net_reconcile(f->net, NULL, NULL, NULL, &err), &err);
    assert_answer(-1, SOCK_STREAM, "127.0.0.1", 8080, "Connection refused");
    close(a);
}

/* Sends from one and the same port and gives back the first byte of the answer, or 0. */
static char datagram(int s, uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(0x7f000001)}};
    char answer[16] = "";
    struct pollfd p = {.fd = s, .events = POLLIN};
    assert_int_equal(sendto(s, "?", 1, 0, (struct sockaddr *)&to, sizeof(to)), 1);
    if (poll(&p, 1, PATIENT) == 1 && recv(s, answer, sizeof(answer) - 1, 0) < 0)
        return 0;
    return answer[0];
}

static void a_datagram_client_follows_a_port_to_the_next_container(void **state)
{
    struct fixture *f = host_of(state);
    struct err err = {0};
    bridge(f, "drtaaaaaaaa", "172.30.0.0/16", "172.30.0.1", false);
    int a = container(f, "drtaaaaaaaa", "172.30.0.2/16", "172.30.0.1");
    int b = container(f, "drtaaaaaaaa", "172.30.0.3/16", "172.30.0.1");
    serve(f, a, 80, "a");
    serve(f, b, 80, "b");
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    publish(f, OWNER_A, "udp", "", 8086, "172.30.0.2", 80);
    assert_int_equal(datagram(s, 8086), 'a');
    assert_ok(net_ports_withdraw(f->net, OWNER_A, &err), &err);
    publish(f, OWNER_B, "udp", "", 8086, "172.30.0.3", 80);
    assert_int_equal(datagram(s, 8086), 'b');
    close(s), close(a), close(b);
}

static void a_flushed_ruleset_comes_back_with_the_next_change(void **state)
{
    struct fixture *f = host_of(state);
    struct err err = {0};
    bridge(f, "drtaaaaaaaa", "172.30.0.0/16", "172.30.0.1", false);
    int a = container(f, "drtaaaaaaaa", "172.30.0.2/16", "172.30.0.1");
    serve(f, a, 80, "from a");
    publish(f, OWNER_A, "tcp", "", 8080, "172.30.0.2", 80);
    const char *const flush[] = {"nft", "flush", "ruleset", NULL};
    assert_ok(process_run(flush, NULL, NULL, &err), &err);
    publish(f, OWNER_B, "tcp", "", 8081, "172.30.0.2", 80);
    assert_answer(-1, SOCK_STREAM, "127.0.0.1", 8080, "from a");
    assert_answer(-1, SOCK_STREAM, "127.0.0.1", 8081, "from a");
    close(a);
}

static void an_endpoint_is_counted_removed_and_added_again(void **state)
{
    struct fixture *f = host_of(state);
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

static size_t open_descriptors(void)
{
    size_t count = 0;
    DIR *d = opendir("/proc/self/fd");
    assert_non_null(d);
    while (readdir(d))
        count++;
    closedir(d);
    return count;
}

/* Its thread works on its own: what is awaited comes, or the test does not end. */
static void await_pool(struct net *n, size_t count)
{
    bool running;
    while (net__pool_count(n, &running) != count || (count == 0 && running))
        usleep(1000);
}

static char *setting_of(int ns, const char *path)
{
    const char *const argv[] = {"nsenter", str_printf("--net=/proc/%d/fd/%d", getpid(), ns), "cat", path,
                                NULL};
    struct str s = STR_INIT;
    struct err err = {0};
    assert_ok(process_run(argv, NULL, &s, &err), &err);
    free((char *)argv[1]);
    return str_take(&s);
}

static void namespaces_made_in_advance_are_each_new_and_few_and_given_up(void **state)
{
    static const char *const settings[] = {"/proc/sys/net/ipv6/conf/default/disable_ipv6",
                                           "/proc/sys/net/ipv6/conf/lo/disable_ipv6",
                                           "/proc/sys/net/ipv4/ip_forward"};
    struct fixture *f = host_of(state);
    struct err err = {0};
    size_t before_all = open_descriptors();
    int fds[NET__POOL_MAX + 8], plain = -1;
    struct stat seen[NET__POOL_MAX + 8];
    bool running = true;
    assert_int_equal(net__pool_count(f->net, &running), 0); /* nothing, before somebody wants one */
    assert_false(running);
    assert_ok(net_namespace_new(&plain, &err), &err);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        if (i == 1)
            await_pool(f->net, 4);
        assert_ok(net_namespace_take(f->net, &fds[i], &err), &err);
        assert_int_equal(fstat(fds[i], &seen[i]), 0);
        for (size_t j = 0; j < i; j++)
            assert_true(seen[i].st_ino != seen[j].st_ino);
        assert_true(net__pool_count(f->net, &running) <= NET__POOL_MAX);
        assert_int_not_equal(fcntl(fds[i], F_GETFD) & FD_CLOEXEC, 0);
    }
    assert_answer(fds[1], SOCK_STREAM, "127.0.0.1", 9, "Connection refused"); /* lo is up */
    for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
        _cleanup_free_ char *expected = setting_of(plain, settings[i]),
                            *got = setting_of(fds[1], settings[i]);
        assert_string_equal(got, expected);
    }
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        close(fds[i]);
    close(plain);
    net__pool_set_period(f->net, 1);
    await_pool(f->net, 0);
    assert_int_equal(open_descriptors(), before_all);

    net__pool_set_period(f->net, 60000);
    assert_ok(net_namespace_take(f->net, &plain, &err), &err); /* and again, with a new thread */
    await_pool(f->net, 4);
    close(plain);
    net_close(f->net);
    assert_ok(net_open(f->dir, "drt", &f->net, &err), &err);
    assert_int_equal(open_descriptors(), before_all);
}

static void a_picked_subnet_is_none_the_host_uses(void **state)
{
    struct fixture *f = host_of(state);
    struct err err = {0};
    bridge(f, "drtaaaaaaaa", "172.17.0.0/16", "172.17.0.1", false);
    char *taken[] = {(char[]){"172.18.0.0/16"}, NULL};
    _cleanup_free_ char *subnet = NULL;
    struct net_pool pools[] = {{"172.17.0.0/16", 16}, {"172.18.0.0/15", 16}, {"fd00::/48", 64}};
    assert_ok(net_subnet_pick(false, pools, ARRAY_SIZE(pools), taken, &subnet, &err), &err);
    assert_string_equal(subnet, "172.19.0.0/16");
    _cleanup_free_ char *subnet6 = NULL, *none = NULL;
    char *taken6[] = {(char[]){"fd00::/64"}, (char[]){"fd00:0:0:1::/64"}, NULL};
    assert_ok(net_subnet_pick(true, pools, ARRAY_SIZE(pools), taken6, &subnet6, &err), &err);
    assert_string_equal(subnet6, "fd00:0:0:2::/64");
    assert_int_equal(net_subnet_pick(false, pools, 1, taken, &none, &err), -ERR_NOT_FOUND);
    assert_null(none);
}

int main(int argc, char **argv)
{
    int status;
    if (host_is_process(argc, argv, &status))
        return status;
    if (host_begin() < 0)
        return 1;
#define kernel_test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        kernel_test(containers_of_a_network_reach_each_other),
        kernel_test(a_published_port_is_reached_from_everywhere_until_withdrawn),
        kernel_test(a_published_port_is_reached_whether_or_not_bridges_are_filtered),
        kernel_test(a_conflict_names_who_has_the_port),
        kernel_test(sctp_ports_are_kept_apart_with_or_without_its_sockets),
        kernel_test(several_ports_are_published_all_or_none),
        kernel_test(networks_do_not_see_each_other_and_internal_ones_nothing),
        kernel_test(without_icc_containers_reach_only_the_host),
        kernel_test(nothing_comes_in_from_outside_but_to_published_ports),
        kernel_test(a_new_process_takes_over_what_is_published),
        kernel_test(a_datagram_client_follows_a_port_to_the_next_container),
        kernel_test(a_flushed_ruleset_comes_back_with_the_next_change),
        kernel_test(an_endpoint_is_counted_removed_and_added_again),
        kernel_test(namespaces_made_in_advance_are_each_new_and_few_and_given_up),
        kernel_test(a_picked_subnet_is_none_the_host_uses),
    };
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    free(before);
    return r;
}
