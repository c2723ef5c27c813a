#include "unit.h"

#include "net/dns_message.h"
#include "net/dns_server.h"
#include "net/net.h"

static void a_subnet_must_be_canonical_and_free(void **state)
{
    (void)state;
    struct err err = {0};
    char *taken[] = {(char[]){"172.17.0.0/16"}, (char[]){"10.1.0.0/24"}, NULL};
    assert_ok(net_subnet_check("172.18.0.0/16", taken, &err), &err);
    assert_int_equal(net_subnet_check("172.17.4.0/24", taken, &err), -ERR_DENIED);
    assert_string_equal(err.msg, "Pool overlaps with other one on this address space: 172.17.4.0/24 overlaps "
                                 "172.17.0.0/16 of another network");
    assert_int_equal(net_subnet_check("10.0.0.0/8", taken, &err), -ERR_DENIED);
    assert_int_equal(net_subnet_check("172.18.0.1/16", NULL, &err), -ERR_INVALID);
    assert_string_equal(err.msg, "subnet 172.18.0.1/16 has host bits set: did you mean 172.18.0.0/16?");
    char *taken6[] = {(char[]){"fd00::/48"}, (char[]){"10.1.0.0/24"}, NULL};
    assert_ok(net_subnet_check("fd01::/64", taken6, &err), &err);
    assert_int_equal(net_subnet_check("fd00:0:0:7::/64", taken6, &err), -ERR_DENIED);
    assert_int_equal(net_subnet_check("fd01::1/64", NULL, &err), -ERR_INVALID);
    assert_string_equal(err.msg, "subnet fd01::1/64 has host bits set: did you mean fd01::/64?");
    _cleanup_free_ char *canonical = NULL;
    assert_ok(net_subnet_canonical("2001:389::1/64", &canonical, &err), &err);
    assert_string_equal(canonical, "2001:389::/64");
    static const char *const wrong[] = {"",
                                        "172.18.0.0",
                                        "172.18.0.0/33",
                                        "172.18.0.0/",
                                        "1.2.3/24",
                                        "0.0.0.0/16",
                                        "127.0.0.0/16",
                                        "224.0.0.0/16",
                                        "/16",
                                        "x/16",
                                        "1.2.3.4/31",
                                        "172.18.0.0/-1",
                                        "172.18.0.0/+1",
                                        "fe80::/129",
                                        "ff02::/64",
                                        "::/64",
                                        "fd00::/127",
                                        NULL};
    for (size_t i = 0; wrong[i]; i++)
        assert_int_equal(net_subnet_check(wrong[i], NULL, &err), -ERR_INVALID);
}

static char *pick(const char *subnet, const char *range, char *const *taken)
{
    struct err err = {0};
    char *address = NULL;
    assert_ok(net_address_pick(subnet, range, taken, &address, &err), &err);
    return address;
}

static void an_address_is_the_first_free_one(void **state)
{
    (void)state;
    struct err err = {0};
    char *taken[] = {(char[]){"172.20.0.3"}, (char[]){"172.20.0.2/16"}, (char[]){"172.20.0.1"},
                     (char[]){"172.20.0.2"}, NULL};
    _cleanup_free_ char *first = pick("172.20.0.0/16", NULL, NULL);
    assert_string_equal(first, "172.20.0.1");
    char *taken6[] = {(char[]){"fd00::1"}, (char[]){"fd00::3"}, (char[]){"172.20.0.1"}, NULL};
    _cleanup_free_ char *first6 = pick("fd00::/64", NULL, taken6);
    assert_string_equal(first6, "fd00::2");
    _cleanup_free_ char *ranged6 = pick("fd00::/64", "fd00::ffff:0/112", taken6);
    assert_string_equal(ranged6, "fd00::ffff:0");
    _cleanup_free_ char *next = pick("172.20.0.0/16", "", taken);
    assert_string_equal(next, "172.20.0.4");
    _cleanup_free_ char *ranged = pick("172.20.0.0/16", "172.20.5.0/24", taken);
    assert_string_equal(ranged, "172.20.5.0");
    char *all[] = {(char[]){"10.0.0.2"}, (char[]){"10.0.0.1"}, NULL};
    char *none = NULL;
    assert_int_equal(net_address_pick("10.0.0.0/30", NULL, all, &none, &err), -ERR_UNAVAILABLE);
    assert_int_equal(net_address_pick("10.0.0.0/24", "10.1.0.0/24", NULL, &none, &err), -ERR_INVALID);
    assert_null(none);
    assert_true(net_address_in_subnet("10.0.0.77", "10.0.0.0/24"));
    assert_false(net_address_in_subnet("10.0.1.77", "10.0.0.0/24"));
    assert_false(net_address_in_subnet("nonsense", "10.0.0.0/24"));
}

/* --- DNS messages --- */

static const char table_text[] = "drover-dns 1\n"
                                 "port 20053\n"
                                 "bridge br0 172.20.0.1 172.20.0.0/16 open\n"
                                 "bridge br1 10.5.0.1 10.5.0.0/24 internal\n"
                                 "link aaaa store db\n"
                                 "host br0 172.20.0.2 aaaa web service\n"
                                 "host br0 172.20.0.3,fd00::3 bbbb db service\n"
                                 "host br1 10.5.0.3 bbbb db\n"
                                 "host br1 10.5.0.4 - lonely\n";

static void table_load(struct dns_table *t)
{
    struct err err = {0};
    assert_ok(dns_table_parse(table_text, t, &err), &err);
}

static void the_table_of_names_survives_writing_and_refuses_damage(void **state)
{
    (void)state;
    struct err err = {0};
    struct dns_table t;
    table_load(&t);
    _cleanup_str_ struct str again = STR_INIT;
    dns_table_format(&t, &again);
    assert_string_equal(str_get(&again), table_text);
    dns_table_done(&t);
    static const char *const damaged[] = {"",
                                          "drover-dns 2\nport 1\n",
                                          "drover-dns 1\n",
                                          "drover-dns 1\nport 0\n",
                                          "drover-dns 1\nport 1\nbridge br0 x 172.20.0.0/16 open\n",
                                          "drover-dns 1\nport 1\nhost br0\n",
                                          "drover-dns 1\nport 1\nhost\n",
                                          "drover-dns 1\nport 1\nhost br0 172.20.0.2,1.2.3.4 - x\n",
                                          "drover-dns 1\nport 1\nlink a b\n",
                                          "drover-dns 1\nport 1\nnonsense\n"};
    for (size_t i = 0; i < ARRAY_SIZE(damaged); i++)
        assert_int_equal(dns_table_parse(damaged[i], &t, &err), -ERR_CORRUPT);
}

static size_t query(uint8_t *q, const char *name, uint16_t type, bool edns)
{
    const uint8_t head[12] = {0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, edns};
    const uint8_t opt[11] = {0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0}; /* 4096 bytes */
    size_t n = sizeof(head);
    memcpy(q, head, n);
    while (*name) {
        size_t label = strcspn(name, ".");
        q[n++] = (uint8_t)label;
        memcpy(q + n, name, label);
        n += label;
        name += label + (name[label] == '.');
    }
    const uint8_t tail[5] = {0, (uint8_t)(type >> 8), (uint8_t)type, 0, 1};
    memcpy(q + n, tail, sizeof(tail));
    n += sizeof(tail);
    if (edns)
        memcpy(q + n, opt, sizeof(opt));
    return n + (edns ? sizeof(opt) : 0);
}

enum { CLIENT_WEB = 0xac140002, CLIENT_DB = 0xac140003, CLIENT_LONELY = 0x0a050004, STRANGER = 0x01020304 };

static void several_addresses_of_a_name_take_turns(void **state)
{
    (void)state;
    struct dns_table t;
    table_load(&t);
    uint8_t q[512], a[512];
    size_t n = query(q, "Service", 1, false), bytes = 0;
    assert_int_equal(dns_message_answer(&t, CLIENT_WEB, q, n, false, 0, a, sizeof(a), &bytes), DNS_ANSWER);
    assert_int_equal(bytes, n + 32);
    assert_int_equal(a[7], 2);
    assert_int_equal(a[n + 15], 2); /* 172.20.0.2 first */
    assert_int_equal(a[n + 9], DNS_TTL_S);
    assert_int_equal(dns_message_answer(&t, CLIENT_WEB, q, n, false, 1, a, sizeof(a), &bytes), DNS_ANSWER);
    assert_int_equal(a[n + 15], 3);
    dns_table_done(&t);
}

static void a_host_with_ipv6_is_found_by_it_and_from_it(void **state)
{
    (void)state;
    struct dns_table t;
    table_load(&t);
    uint8_t q[512], a[512];
    size_t n = query(q, "db", 28, false), bytes = 0;
    assert_int_equal(dns_message_answer(&t, CLIENT_WEB, q, n, false, 0, a, sizeof(a), &bytes), DNS_ANSWER);
    assert_int_equal(bytes, n + 28);
    assert_int_equal(a[bytes - 1], 3);
    assert_int_equal(a[bytes - 16], 0xfd);
    n = query(q, "web", 28, false); /* it exists, and has none */
    assert_int_equal(dns_message_answer(&t, CLIENT_WEB, q, n, false, 0, a, sizeof(a), &bytes), DNS_ANSWER);
    assert_int_equal(bytes, n);
    assert_int_equal(a[3] & 15, 0);
    n = query(q, "3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa", 12, false);
    assert_int_equal(dns_message_answer(&t, CLIENT_WEB, q, n, false, 0, a, sizeof(a), &bytes), DNS_ANSWER);
    assert_memory_equal(a + bytes - 4, "\2db", 4);
    dns_table_done(&t);
}

static void a_link_is_known_to_its_owner_alone(void **state)
{
    (void)state;
    struct dns_table t;
    table_load(&t);
    uint8_t q[512], a[512];
    size_t n = query(q, "Store", 1, false), bytes = 0;
    assert_int_equal(dns_message_answer(&t, CLIENT_WEB, q, n, false, 0, a, sizeof(a), &bytes), DNS_ANSWER);
    assert_int_equal(a[bytes - 1], 3);
    assert_int_equal(dns_message_answer(&t, CLIENT_DB, q, n, false, 0, a, sizeof(a), &bytes), DNS_FORWARD);
    dns_table_done(&t);
}

static void an_answer_fits_what_the_asker_takes(void **state)
{
    (void)state;
    struct dns_table t;
    table_load(&t);
    for (uint32_t i = 0; i < 60; i++) {
        char **names = NULL;
        strv_add(&names, "many");
        dns_table_add_host(&t, "br0", 0xac140100 + i, mem_strdup(""), names);
    }
    uint8_t q[512], a[4096];
    size_t n = query(q, "many", 1, false), bytes = 0;
    assert_int_equal(dns_message_answer(&t, CLIENT_WEB, q, n, false, 0, a, sizeof(a), &bytes), DNS_ANSWER);
    assert_in_range(bytes, 400, 512);
    assert_true(a[2] & 2); /* truncated: ask by TCP */
    assert_int_equal(dns_message_answer(&t, CLIENT_WEB, q, n, true, 0, a, sizeof(a), &bytes), DNS_ANSWER);
    assert_int_equal(bytes, n + 60 * 16);
    assert_false(a[2] & 2);
    n = query(q, "many", 1, true);
    assert_int_equal(dns_message_answer(&t, CLIENT_WEB, q, n, false, 0, a, sizeof(a), &bytes), DNS_ANSWER);
    assert_int_equal(bytes, n + 60 * 16); /* OPT is answered by OPT */
    assert_int_equal(a[11], 1);
    dns_table_done(&t);
}

static void who_may_know_and_ask_what_follows_from_the_network(void **state)
{
    (void)state;
    struct dns_table t;
    table_load(&t);
    static const struct {
        uint32_t client;
        const char *name;
        enum dns_verdict verdict;
        int rcode;
    } cases[] = {
        {CLIENT_WEB, "db", DNS_ANSWER, 0},
        {CLIENT_WEB, "lonely", DNS_FORWARD, 0},
        {CLIENT_DB, "lonely", DNS_ANSWER, 0},
        {CLIENT_DB, "example.org", DNS_FORWARD, 0},
        {CLIENT_LONELY, "db", DNS_ANSWER, 0},
        {CLIENT_LONELY, "web", DNS_ANSWER, 3},         /* not its network */
        {CLIENT_LONELY, "example.org", DNS_ANSWER, 3}, /* an internal network's only */
        {STRANGER, "web", DNS_DROP, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint8_t q[512], a[512];
        size_t n = query(q, cases[i].name, 1, false), bytes = 0;
        enum dns_verdict v = dns_message_answer(&t, cases[i].client, q, n, false, 0, a, sizeof(a), &bytes);
        if (v != cases[i].verdict || (v == DNS_ANSWER && (a[3] & 15) != cases[i].rcode))
            fail_msg("case %zu, %s: verdict %d, rcode %d", i, cases[i].name, v, a[3] & 15);
    }
    dns_table_done(&t);
}

static void a_hostile_message_is_refused_or_dropped(void **state)
{
    (void)state;
    struct dns_table t;
    table_load(&t);
    uint8_t a[512];
    size_t bytes = 0;
    uint8_t loop[] = {1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1};
    assert_int_equal(dns_message_answer(&t, CLIENT_WEB, loop, sizeof(loop), false, 0, a, sizeof(a), &bytes),
                     DNS_ANSWER);
    assert_int_equal(a[3] & 15, 1);
    assert_int_equal(bytes, 12);
    uint8_t q[512];
    size_t n = query(q, "web", 1, false);
    for (size_t cut = 12; cut < n; cut++) { /* every truncation */
        assert_int_equal(dns_message_answer(&t, CLIENT_WEB, q, cut, false, 0, a, sizeof(a), &bytes),
                         DNS_ANSWER);
        assert_int_equal(a[3] & 15, 1);
    }
    assert_int_equal(dns_message_answer(&t, CLIENT_WEB, q, 11, false, 0, a, sizeof(a), &bytes), DNS_DROP);
    q[2] |= 0x80; /* an answer, sent to make two servers talk for ever */
    assert_int_equal(dns_message_answer(&t, CLIENT_WEB, q, n, false, 0, a, sizeof(a), &bytes), DNS_DROP);
    q[2] = 0x28; /* update */
    assert_int_equal(dns_message_answer(&t, CLIENT_WEB, q, n, false, 0, a, sizeof(a), &bytes), DNS_ANSWER);
    assert_int_equal(a[3] & 15, 4);
    /* A dot inside a label is not the dot between two. */
    static const uint8_t dotted[] = {1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, 'd', '.', 'b', 0, 0, 1, 0, 1};
    assert_int_equal(
        dns_message_answer(&t, CLIENT_WEB, dotted, sizeof(dotted), false, 0, a, sizeof(a), &bytes),
        DNS_FORWARD);
    dns_table_done(&t);
}

static void resolvers_are_read_as_resolv_conf_has_them(void **state)
{
    (void)state;
    struct dns_resolver r[DNS_RESOLVERS_MAX];
    assert_int_equal(dns_resolvers_parse("# nameserver 9.9.9.9\nsearch x\nnameserver 127.0.0.53\n"
                                         "nameserver\t::1 # comment\nnameserver nonsense\noptions edns0\n"
                                         "nameserver fe80::1%lo\nnameserver 1.1.1.1",
                                         r, ARRAY_SIZE(r)),
                     3);
    assert_int_equal(r[0].address.ss_family, AF_INET);
    assert_int_equal(r[1].address.ss_family, AF_INET6);
    assert_int_equal(((struct sockaddr_in6 *)&r[2].address)->sin6_scope_id, 1);
    assert_int_equal(dns_resolvers_parse("", r, ARRAY_SIZE(r)), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_subnet_must_be_canonical_and_free),
        cmocka_unit_test(an_address_is_the_first_free_one),
        cmocka_unit_test(the_table_of_names_survives_writing_and_refuses_damage),
        cmocka_unit_test(several_addresses_of_a_name_take_turns),
        cmocka_unit_test(a_host_with_ipv6_is_found_by_it_and_from_it),
        cmocka_unit_test(a_link_is_known_to_its_owner_alone),
        cmocka_unit_test(an_answer_fits_what_the_asker_takes),
        cmocka_unit_test(who_may_know_and_ask_what_follows_from_the_network),
        cmocka_unit_test(a_hostile_message_is_refused_or_dropped),
        cmocka_unit_test(resolvers_are_read_as_resolv_conf_has_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
