/* Spreads in the real kernel: virtual addresses and published ports with several targets behind. */
#include "net_host.h"

#include "base/file.h"

#define BRIDGE  "drtaaaaaaaa"
#define VIRTUAL "172.30.0.99"

static const struct net_spread_port web[] = {{"tcp", 8080, 80}, {"udp", 8080, 80}};

/* Targets "172.30.0.2", ... here; of another machine with a "+" before it. */
static int try_spread(struct fixture *f, const char *key, const char *virtual, size_t ports,
                      const char *targets, struct err *err)
{
    _cleanup_strv_ char **words = strv_split(targets, ' ');
    struct net_spread_target list[8] = {0};
    size_t count = 0;
    STRV_FOREACH (w, words)
        if (**w)
            list[count++] = (struct net_spread_target){.address = *w + (**w == '+'), .remote = **w == '+'};
    struct net_spread s = {.key = key,
                           .name = key,
                           .bridge = BRIDGE,
                           .address = virtual,
                           .ports = web,
                           .port_count = ports,
                           .targets = list,
                           .target_count = count};
    return net_spread_set(f->net, &s, err);
}

static void spread(struct fixture *f, const char *virtual, size_t ports, const char *targets)
{
    struct err err = {0};
    assert_ok(try_spread(f, "web", virtual, ports, targets, &err), &err);
}

struct place {
    int a, b, c, other; /* a and b answer at port 80 with their names; `other` is on another network */
};

static struct place place_of(struct fixture *f)
{
    bridge(f, BRIDGE, "172.30.0.0/16", "172.30.0.1", false);
    bridge(f, "drtbbbbbbbb", "172.31.0.0/16", "172.31.0.1", false);
    struct place p = {container(f, BRIDGE, "172.30.0.2/16", "172.30.0.1"),
                      container(f, BRIDGE, "172.30.0.3/16", "172.30.0.1"),
                      container(f, BRIDGE, "172.30.0.4/16", "172.30.0.1"),
                      container(f, "drtbbbbbbbb", "172.31.0.2/16", "172.31.0.1")};
    serve(f, p.a, 80, "a");
    serve(f, p.b, 80, "b");
    return p;
}

static void leave(struct place *p)
{
    close(p->a), close(p->b), close(p->c), close(p->other);
}

/* Which targets answered, in turn, of as many connections as `expected` is long: as a set. */
static void assert_answers(int ns, int type, const char *address, uint16_t port, const char *expected)
{
    char got[16] = "";
    for (size_t i = 0; i < strlen(expected); i++) {
        _cleanup_free_ char *one = ask(ns, type, address, port, PATIENT);
        if (strlen(one) != 1)
            fail_msg("%s:%u answered \"%s\"", address, port, one);
        got[i] = one[0];
    }
    for (size_t i = 0; i + 1 < strlen(got); i++) /* in order */
        for (size_t k = i + 1; k < strlen(got); k++)
            if (got[k] < got[i]) {
                char c = got[i];
                got[i] = got[k];
                got[k] = c;
            }
    assert_string_equal(got, expected);
}

static void each_connection_gets_the_next_target_from_wherever_it_comes(void **state)
{
    struct fixture *f = host_of(state);
    struct place p = place_of(f);
    spread(f, VIRTUAL, 2, "172.30.0.2 172.30.0.3");
    for (int type = SOCK_STREAM; type <= SOCK_DGRAM; type++) {
        assert_answers(p.c, type, VIRTUAL, 80, "aabb");
        assert_answers(p.a, type, VIRTUAL, 80, "aabb"); /* itself is one of them */
        assert_answers(-1, type, "127.0.0.1", 8080, "aabb");
        assert_answers(-1, type, "172.30.0.1", 8080, "aabb");
        assert_answers(p.c, type, "172.30.0.1", 8080, "aabb");
        assert_answers(p.b, type, "172.30.0.1", 8080, "aabb");
        assert_answers(p.other, type, "172.31.0.1", 8080, "aabb");
    }
    leave(&p);
}

static void bridges_may_be_filtered(void **state)
{
    filtered_otherwise(state, each_connection_gets_the_next_target_from_wherever_it_comes);
}

static void a_virtual_address_takes_any_port_of_its_own_network_and_nothing_else(void **state)
{
    struct fixture *f = host_of(state);
    struct place p = place_of(f);
    spread(f, VIRTUAL, 0, "172.30.0.2 172.30.0.3");
    serve(f, p.b, 5432, "b");
    serve(f, -1, 7000, "host"); /* on all the machine's addresses */
    assert_answers(p.c, SOCK_STREAM, VIRTUAL, 80, "ab");
    assert_answers(p.c, SOCK_DGRAM, VIRTUAL, 80, "ab");
    spread(f, VIRTUAL, 0, "172.30.0.3");
    assert_answers(p.c, SOCK_STREAM, VIRTUAL, 5432, "b");
    assert_answer(p.c, SOCK_STREAM, VIRTUAL, 7000, "Connection refused"); /* by b */
    assert_answer(p.other, SOCK_STREAM, VIRTUAL, 80, "Connection refused");
    assert_answer(p.other, SOCK_STREAM, VIRTUAL, 7000, "Connection refused");
    assert_answer(p.other, SOCK_DGRAM, VIRTUAL, 7000, "Connection refused");
    assert_answer(-1, SOCK_STREAM, VIRTUAL, 7000, "Connection refused");
    assert_answer(p.c, SOCK_STREAM, "172.30.0.1", 7000, "host");
    leave(&p);
}

static void without_targets_everything_is_refused_at_once(void **state)
{
    struct fixture *f = host_of(state);
    struct err err = {0};
    struct place p = place_of(f);
    serve(f, -1, 80, "host");
    /* The kernel tells one asker of refused datagrams once a second, as of any closed port. */
    assert_ok(file_poke("/proc/sys/net/ipv4/icmp_ratelimit", "0", &err), &err);
    for (int round = 0; round < 2; round++) {
        spread(f, VIRTUAL, 2, "");
        for (int type = SOCK_STREAM; type <= SOCK_DGRAM; type++) {
            assert_answer(p.c, type, VIRTUAL, 80, "Connection refused");
            assert_answer(p.c, type, VIRTUAL, 81, "Connection refused");
            assert_answer(-1, type, "127.0.0.1", 8080, "Connection refused");
            assert_answer(p.other, type, "172.31.0.1", 8080, "Connection refused");
        }
        spread(f, VIRTUAL, 2, "172.30.0.2");
        assert_answers(p.c, SOCK_DGRAM, VIRTUAL, 80, "aa");
        assert_answers(-1, SOCK_DGRAM, "127.0.0.1", 8080, "aa");
    }
    leave(&p);
}

/* A process of `ns` that asks over one and the same flow of datagrams each time exchange() wants it. */
static int connected(int ns, const char *address, uint16_t port, pid_t *ret_pid)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(pair[0]);
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
        inet_pton(AF_INET, address, &a.sin_addr);
        int s;
        if (setns(ns, CLONE_NEWNET) < 0 || (s = socket(AF_INET, SOCK_DGRAM, 0)) < 0 ||
            connect(s, (struct sockaddr *)&a, sizeof(a)) < 0)
            _exit(1);
        char c;
        while (read(pair[1], &c, 1) == 1) { /* a byte to send */
            char answer[16] = "?";
            struct pollfd p = {.fd = s, .events = POLLIN};
            if (send(s, "?", 1, 0) < 0 || poll(&p, 1, PATIENT) != 1 || recv(s, answer, sizeof(answer), 0) < 0)
                answer[0] = '!';
            if (write(pair[1], answer, 1) != 1)
                break;
        }
        _exit(0);
    }
    close(pair[1]);
    *ret_pid = pid;
    return pair[0];
}

static char exchange(int s)
{
    char c = 0;
    assert_int_equal(write(s, "x", 1), 1);
    assert_int_equal(read(s, &c, 1), 1);
    return c;
}

static void what_goes_on_keeps_its_target_until_that_is_gone(void **state)
{
    struct fixture *f = host_of(state);
    struct place p = place_of(f);
    spread(f, VIRTUAL, 2, "172.30.0.2");
    pid_t pid;
    int s = connected(p.c, VIRTUAL, 80, &pid);
    assert_int_equal(exchange(s), 'a');
    spread(f, VIRTUAL, 2, "172.30.0.3");
    assert_answers(p.c, SOCK_DGRAM, VIRTUAL, 80, "bb");
    assert_int_equal(exchange(s), 'a');
    net_spread_forget_target(f->net, "172.30.0.2");
    assert_int_equal(exchange(s), 'b');
    close(s);
    waitpid(pid, NULL, 0);
    leave(&p);
}

static void a_new_process_takes_over_what_is_set(void **state)
{
    struct fixture *f = host_of(state);
    struct err err = {0};
    struct place p = place_of(f);
    spread(f, VIRTUAL, 2, "172.30.0.2 172.30.0.3");
    net_close(f->net); /* as good as killed: nothing of it is needed */
    assert_answers(p.c, SOCK_STREAM, VIRTUAL, 80, "ab");
    assert_ok(net_open(f->dir, "drt", &f->net, &err), &err);
    bridge(f, BRIDGE, "172.30.0.0/16", "172.30.0.1", false); /* reads what is there, and makes it anew */
    assert_answers(p.c, SOCK_STREAM, VIRTUAL, 80, "ab");
    assert_answers(-1, SOCK_STREAM, "127.0.0.1", 8080, "ab");
    struct net_port port = {
        .protocol = "tcp", .host_port = 8080, .container_ip = "172.30.0.4", .container_port = 80};
    assert_int_equal(net_ports_publish(f->net, OWNER_A, &port, 1, &err), -ERR_CONFLICT);
    assert_string_equal(err.msg, "Bind for 0.0.0.0:8080 failed: port is already allocated: port 8080/tcp is "
                                 "published by service web");
    spread(f, VIRTUAL, 2, "172.30.0.2 172.30.0.3"); /* and reserves the ports again */
    char *bridges[] = {(char[]){BRIDGE}, NULL}, *keys[] = {(char[]){"web"}, NULL};
    assert_ok(net_reconcile(f->net, bridges, NULL, keys, &err), &err);
    assert_answers(p.c, SOCK_STREAM, VIRTUAL, 80, "ab");
    assert_ok(net_reconcile(f->net, bridges, NULL, NULL, &err), &err);
    assert_answer(-1, SOCK_STREAM, "127.0.0.1", 8080, "Connection refused");
    assert_ok(net_ports_publish(f->net, OWNER_A, &port, 1, &err), &err);
    leave(&p);
}

static void a_flushed_ruleset_comes_back_with_the_next_change(void **state)
{
    struct fixture *f = host_of(state);
    struct err err = {0};
    struct place p = place_of(f);
    spread(f, VIRTUAL, 2, "172.30.0.2");
    const char *const flush[] = {"nft", "flush", "ruleset", NULL};
    assert_ok(process_run(flush, NULL, NULL, &err), &err);
    spread(f, VIRTUAL, 2, "172.30.0.2 172.30.0.3");
    assert_answers(p.c, SOCK_STREAM, VIRTUAL, 80, "ab");
    assert_answers(-1, SOCK_STREAM, "127.0.0.1", 8080, "ab");
    leave(&p);
}

static void a_set_that_fails_leaves_what_was(void **state)
{
    struct fixture *f = host_of(state);
    struct err err = {0};
    struct place p = place_of(f);
    spread(f, VIRTUAL, 0, "172.30.0.2");
    serve(f, -1, 8080, "host");
    assert_int_equal(try_spread(f, "web", VIRTUAL, 2, "172.30.0.3", &err), -ERR_CONFLICT);
    assert_non_null(strstr(err.msg, "port 8080/tcp is in use by test-net_spread (pid "));
    assert_answers(p.c, SOCK_STREAM, VIRTUAL, 80, "aa");
    assert_int_equal(try_spread(f, "second", VIRTUAL, 0, "172.30.0.3", &err), -ERR_CONFLICT);
    assert_string_equal(err.msg, "virtual address 172.30.0.99 is that of service web already");
    assert_answers(p.c, SOCK_STREAM, VIRTUAL, 80, "aa");
    assert_ok(try_spread(f, "second", "172.30.0.98", 0, "172.30.0.3", &err), &err);
    assert_answers(p.c, SOCK_STREAM, "172.30.0.98", 80, "bb");
    assert_ok(try_spread(f, "web", "172.30.0.97", 0, "172.30.0.2", &err), &err); /* another address */
    assert_answers(p.c, SOCK_STREAM, "172.30.0.97", 80, "aa");
    assert_ok(try_spread(f, "second", VIRTUAL, 0, "172.30.0.3", &err), &err);
    assert_answers(p.c, SOCK_STREAM, VIRTUAL, 80, "bb");
    assert_ok(net_spread_remove(f->net, "web", &err), &err);
    assert_ok(net_spread_remove(f->net, "second", &err), &err);
    assert_ok(net_spread_remove(f->net, "second", &err), &err);
    leave(&p);
}

/* A namespace at the other end of a wire: "10.66.N.2", to which the host is "10.66.N.1". */
static int machine(int number)
{
    struct err err = {0};
    int fd = -1;
    assert_ok(net_namespace_new(&fd, &err), &err);
    _cleanup_free_ char *script = str_printf(
        "ip link add wire%d type veth peer name wire netns /proc/%d/fd/%d && "
        "ip addr add 10.66.%d.1/24 dev wire%d && ip link set wire%d up && nsenter --net=/proc/%d/fd/%d "
        "sh -c 'ip addr add 10.66.%d.2/24 dev wire && ip link set wire up'",
        number, getpid(), fd, number, number, number, getpid(), fd, number);
    const char *const argv[] = {"sh", "-c", script, NULL};
    assert_ok(process_run(argv, NULL, NULL, &err), &err);
    return fd;
}

static void cut(int number, int fd)
{
    struct err err = {0};
    _cleanup_free_ char *name = str_printf("wire%d", number);
    const char *const argv[] = {"ip", "link", "del", name, NULL};
    assert_ok(process_run(argv, NULL, NULL, &err), &err);
    close(fd);
}

static void targets_of_other_machines_are_at_their_published_ports(void **state)
{
    struct fixture *f = host_of(state);
    struct place p = place_of(f);
    int peer = machine(1), client = machine(2);
    serve(f, peer, 8080, "o");
    spread(f, VIRTUAL, 2, "172.30.0.2 +10.66.1.2");
    for (int type = SOCK_STREAM; type <= SOCK_DGRAM; type++) {
        assert_answers(p.c, type, VIRTUAL, 80, "aaoo");
        assert_answers(p.other, type, "172.31.0.1", 8080, "aaoo");
        assert_answers(-1, type, "10.66.1.1", 8080, "aaoo");
        assert_answers(client, type, "10.66.2.1", 8080, "aaoo");
        assert_answers(peer, type, "10.66.1.1", 8080, "aaaa"); /* it is not sent on in circles */
    }
    spread(f, VIRTUAL, 2, "+10.66.1.2");
    assert_answers(client, SOCK_STREAM, "10.66.2.1", 8080, "oo");
    cut(1, peer);
    cut(2, client);
    leave(&p);
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
        kernel_test(each_connection_gets_the_next_target_from_wherever_it_comes),
        kernel_test(bridges_may_be_filtered),
        kernel_test(a_virtual_address_takes_any_port_of_its_own_network_and_nothing_else),
        kernel_test(without_targets_everything_is_refused_at_once),
        kernel_test(what_goes_on_keeps_its_target_until_that_is_gone),
        kernel_test(a_new_process_takes_over_what_is_set),
        kernel_test(a_flushed_ruleset_comes_back_with_the_next_change),
        kernel_test(a_set_that_fails_leaves_what_was),
        kernel_test(targets_of_other_machines_are_at_their_published_ports),
    };
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    free(before);
    return r;
}
