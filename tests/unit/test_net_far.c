/* Two machines on one link, each with its own table and bridges of the same networks: containers of one
 * network reach each other across, and nobody else gets in between. */
#include "net_host.h"

#include "base/file.h"

#define BRIDGE "drtaaaaaaaa"
#define OTHER  "drtbbbbbbbb"

enum { LINK_BYTES = 18 };

/* A machine: a network namespace whose interface "wire" is on the link, and what runs there. */
struct machine {
    struct fixture f;
    int ns;
    char address[16], mac[LINK_BYTES];
};

struct link {
    struct machine a, b;
    int home, neighbour; /* where the test began; one on the link that is no machine of ours */
};

static void enter(int ns)
{
    assert_int_equal(setns(ns, CLONE_NEWNET), 0);
}

static void run(const char *line)
{
    struct err err = {0};
    _cleanup_strv_ char **words = strv_split(line, ' ');
    _cleanup_str_ struct str output = STR_INIT;
    if (process_run((const char *const *)words, NULL, &output, &err) < 0)
        fail_msg("%s: %s", line, err.msg);
}

/* A namespace on the link, whose interface is "wire". */
static int joined(const char *name, const char *address, const char *mac)
{
    struct err err = {0};
    int ns = -1;
    assert_ok(net_namespace_new(&ns, &err), &err);
    _cleanup_free_ char *add = str_printf("ip link add %s type veth peer name wire netns /proc/%d/fd/%d",
                                          name, getpid(), ns),
                        *join = str_printf("ip link set %s master wires up", name),
                        *set = str_printf("ip link set wire address %s up", mac),
                        *with = str_printf("ip address add %s/24 dev wire", address);
    run(add);
    run(join);
    _cleanup_close_ int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    enter(ns);
    run(set);
    run(with);
    enter(here);
    return ns;
}

static void machine(struct machine *m, const char *name, int number)
{
    struct err err = {0};
    snprintf(m->address, sizeof(m->address), "192.168.77.%d", number);
    snprintf(m->mac, sizeof(m->mac), "02:00:00:00:00:%02d", number);
    m->f.dir = scratch_new();
    m->ns = joined(name, m->address, m->mac);
    enter(m->ns);
    /* Many distributions have it so. */
    assert_ok(file_poke("/proc/sys/net/ipv4/conf/all/rp_filter", "1", &err), &err);
    assert_ok(net_open(m->f.dir, "drt", &m->f.net, &err), &err);
    bridge(&m->f, BRIDGE, "10.9.0.0/24", "10.9.0.1", false);
    bridge(&m->f, OTHER, "10.9.1.0/24", "10.9.1.1", false);
}

static struct link link_of(void **state)
{
    (void)state;
    if (!root)
        skip();
    struct link l = {.home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)};
    run("ip link add wires type bridge");
    run("ip link set wires up");
    machine(&l.a, "wa", 1);
    enter(l.home);
    machine(&l.b, "wb", 2);
    enter(l.home);
    l.neighbour = joined("wn", "192.168.77.3", "02:00:00:00:00:03");
    return l;
}

static void machine_done(struct machine *m)
{
    struct err err = {0};
    enter(m->ns);
    end_servers(&m->f);
    assert_ok(net_teardown(m->f.net, &err), &err);
    _cleanup_str_ struct str left = STR_INIT;
    assert_ok(process_run((const char *const[]){"ip", "route", NULL}, NULL, &left, &err), &err);
    assert_string_equal(str_get(&left),
                        strstr(m->address, "77.1")
                            ? "192.168.77.0/24 dev wire proto kernel scope link src 192.168.77.1 \n"
                            : "192.168.77.0/24 dev wire proto kernel scope link src 192.168.77.2 \n");
    net_close(m->f.net);
    scratch_remove(m->f.dir);
    close(m->ns);
}

static void link_done(struct link *l)
{
    machine_done(&l->a);
    machine_done(&l->b);
    enter(l->home);
    close(l->neighbour);
    run("ip link delete wires");
    close(l->home);
}

/* `m` learns of containers of `of`. */
static int try_far(struct machine *m, const char *bridge_name, const struct machine *of,
                   const char *addresses, struct err *err)
{
    _cleanup_strv_ char **words = strv_split(addresses, ' ');
    struct net_far list[8] = {0};
    size_t count = 0;
    STRV_FOREACH (w, words)
        if (**w)
            list[count++] = (struct net_far){*w, of->address, of->mac};
    enter(m->ns);
    return net_far_set(m->f.net, bridge_name, list, count, err);
}

static void far(struct machine *m, const struct machine *of, const char *addresses)
{
    struct err err = {0};
    assert_ok(try_far(m, BRIDGE, of, addresses, &err), &err);
}

static int in(struct machine *m, const char *bridge_name, const char *address)
{
    _cleanup_free_ char *gateway = str_printf("10.9.%d.1", str_eq(bridge_name, OTHER)),
                        *whole = str_printf("%s/24", address);
    enter(m->ns);
    return container(&m->f, bridge_name, whole, gateway);
}

static void served(struct machine *m, int ns, uint16_t port, const char *text)
{
    enter(m->ns);
    serve(&m->f, ns, port, text);
}

static void containers_of_a_network_reach_each_other_across_machines(void **state)
{
    struct link l = link_of(state);
    int one = in(&l.a, BRIDGE, "10.9.0.5"), two = in(&l.b, BRIDGE, "10.9.0.9"),
        own = in(&l.a, BRIDGE, "10.9.0.6");
    served(&l.a, one, 80, "one");
    served(&l.b, two, 80, "two");
    far(&l.a, &l.b, "10.9.0.9");
    far(&l.b, &l.a, "10.9.0.5 10.9.0.6");
    for (int round = 0; round < 3; round++) {
        for (int type = SOCK_STREAM; type <= SOCK_DGRAM; type++) {
            assert_answer(one, type, "10.9.0.9", 80, "two");
            assert_answer(two, type, "10.9.0.5", 80, "one");
            assert_answer(own, type, "10.9.0.5", 80, "one");
            assert_answer(own, type, "10.9.0.9", 80, "two");
        }
        if (round == 0) { /* a new process knows what an earlier one did */
            struct err err = {0};
            enter(l.a.ns);
            net_close(l.a.f.net);
            assert_ok(net_open(l.a.f.dir, "drt", &l.a.f.net, &err), &err);
            bridge(&l.a.f, BRIDGE, "10.9.0.0/24", "10.9.0.1", false);
        }
        if (round == 1) { /* and an interface that was down took the routes with it */
            enter(l.a.ns);
            run("ip link set wire down");
            run("ip link set wire up");
            far(&l.a, &l.b, "10.9.0.9");
        }
    }
    far(&l.a, &l.b, "");
    assert_silence(one, "10.9.0.9", 80);
    close(one), close(two), close(own);
    link_done(&l);
}

static void virtual_addresses_spread_over_containers_of_both(void **state)
{
    struct link l = link_of(state);
    struct err err = {0};
    int one = in(&l.a, BRIDGE, "10.9.0.5"), two = in(&l.b, BRIDGE, "10.9.0.9");
    served(&l.a, one, 80, "one");
    served(&l.b, two, 80, "two");
    far(&l.a, &l.b, "10.9.0.9");
    far(&l.b, &l.a, "10.9.0.5");
    struct net_spread_target targets[] = {{.address = "10.9.0.5"}, {.address = "10.9.0.9", .far = true}};
    struct net_spread_port port = {"tcp", 8080, 80};
    struct net_spread s = {.key = "web",
                           .name = "web",
                           .bridge = BRIDGE,
                           .address = "10.9.0.2",
                           .ports = &port,
                           .port_count = 1,
                           .targets = targets,
                           .target_count = 2};
    enter(l.a.ns);
    assert_ok(net_spread_set(l.a.f.net, &s, &err), &err);
    unsigned seen = 0;
    for (int i = 0; i < 8; i++) {
        _cleanup_free_ char *text = ask(one, SOCK_STREAM, "10.9.0.2", 80, PATIENT);
        seen |= str_eq(text, "one") ? 1 : str_eq(text, "two") ? 2 : 4;
    }
    assert_int_equal(seen, 3);
    served(&l.b, two, 5432, "db"); /* any other port */
    targets[0] = targets[1];
    s.target_count = 1;
    assert_ok(net_spread_set(l.a.f.net, &s, &err), &err);
    assert_answer(one, SOCK_STREAM, "10.9.0.2", 5432, "db");
    /* A published port leads to machines, not to their containers. */
    assert_answer(-1, SOCK_STREAM, "127.0.0.1", 8080, "Connection refused");
    close(one), close(two);
    link_done(&l);
}

static void other_networks_and_neighbours_stay_out(void **state)
{
    struct link l = link_of(state);
    struct err err = {0};
    int one = in(&l.a, BRIDGE, "10.9.0.5"), two = in(&l.b, BRIDGE, "10.9.0.9"),
        stranger = in(&l.a, OTHER, "10.9.1.5"), unlisted = in(&l.a, BRIDGE, "10.9.0.77");
    served(&l.b, two, 80, "two");
    served(&l.a, one, 80, "one");
    far(&l.a, &l.b, "10.9.0.9");
    far(&l.b, &l.a, "10.9.0.5");
    assert_answer(one, SOCK_STREAM, "10.9.0.9", 80, "two");
    /* Of another network of the same machine; of this one, but not told; the machine itself. */
    assert_silence(stranger, "10.9.0.9", 80);
    assert_silence(unlisted, "10.9.0.9", 80);
    enter(l.a.ns);
    assert_silence(-1, "10.9.0.9", 80);
    /* One on the link that asks with its own address, */
    enter(l.neighbour);
    run("ip route add 10.9.0.9/32 via 192.168.77.2");
    assert_silence(-1, "10.9.0.9", 80);
    /* and one that asks with a container's: datagrams would need no answer to do harm. */
    run("ip address add 10.9.0.5/32 dev lo");
    run("ip route replace 10.9.0.9/32 via 192.168.77.2 src 10.9.0.5");
    enter(l.b.ns);
    run("nft add table inet seen");
    run("nft add chain inet seen out { type filter hook postrouting priority 300 ; }");
    run("nft add rule inet seen out ip saddr 10.9.0.5 ip daddr 10.9.0.9 udp dport 80 counter");
    enter(l.neighbour);
    _cleanup_free_ char *got = ask(-1, SOCK_DGRAM, "10.9.0.9", 80, IMPATIENT);
    assert_string_equal(got, "silence");
    enter(l.b.ns);
    _cleanup_str_ struct str counted = STR_INIT, again = STR_INIT;
    assert_ok(process_run((const char *const[]){"nft", "list", "table", "inet", "seen", NULL}, NULL, &counted,
                          &err),
              &err);
    assert_non_null(strstr(str_get(&counted), "packets 0 "));
    assert_answer(one, SOCK_DGRAM, "10.9.0.9", 80, "two"); /* the same from where it belongs */
    enter(l.b.ns);
    assert_ok(
        process_run((const char *const[]){"nft", "list", "table", "inet", "seen", NULL}, NULL, &again, &err),
        &err);
    assert_non_null(strstr(str_get(&again), "packets 1 "));
    run("nft delete table inet seen");
    close(one), close(two), close(stranger), close(unlisted);
    link_done(&l);
}

static void what_cannot_be_a_container_elsewhere_is_refused(void **state)
{
    struct link l = link_of(state);
    struct err err = {0};
    struct machine elsewhere = l.b, within = l.b;
    assert_int_equal(try_far(&l.a, BRIDGE, &l.b, "10.9.1.9", &err), -ERR_INVALID);
    assert_int_equal(try_far(&l.a, BRIDGE, &l.b, "10.9.0.1", &err), -ERR_INVALID);
    assert_int_equal(try_far(&l.a, BRIDGE, &l.b, "0.0.0.0", &err), -ERR_INVALID);
    assert_int_equal(try_far(&l.a, "nobridge", &l.b, "10.9.0.9", &err), -ERR_NOT_FOUND);
    snprintf(within.address, sizeof(within.address), "10.9.0.44");
    assert_int_equal(try_far(&l.a, BRIDGE, &within, "10.9.0.9", &err), -ERR_INVALID);
    snprintf(elsewhere.address, sizeof(elsewhere.address), "203.0.113.9");
    assert_int_equal(try_far(&l.a, BRIDGE, &elsewhere, "10.9.0.9", &err), -ERR_UNAVAILABLE);
    assert_non_null(strstr(err.msg, "it is on no link of this machine"));
    /* One that cannot be does not keep others out. */
    int one = in(&l.a, BRIDGE, "10.9.0.5"), two = in(&l.b, BRIDGE, "10.9.0.9");
    served(&l.b, two, 80, "two");
    far(&l.b, &l.a, "10.9.0.5");
    assert_int_equal(try_far(&l.a, BRIDGE, &l.b, "10.9.1.9 10.9.0.9", &err), -ERR_INVALID);
    assert_answer(one, SOCK_STREAM, "10.9.0.9", 80, "two");
    close(one), close(two);
    link_done(&l);
}

int main(int argc, char **argv)
{
    int status;
    if (host_is_process(argc, argv, &status))
        return status;
    if (host_begin() < 0)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(containers_of_a_network_reach_each_other_across_machines),
        cmocka_unit_test(virtual_addresses_spread_over_containers_of_both),
        cmocka_unit_test(other_networks_and_neighbours_stay_out),
        cmocka_unit_test(what_cannot_be_a_container_elsewhere_is_refused),
    };
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    free(before);
    return r;
}
