/* Tables of others that this machine's libnftables cannot read: what they do to networks, and what not. */
#include "net_host.h"

#include "base/netlink.h"
#include "net/priv.h"

#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

static struct nlmsghdr *put(struct nlmsghdr *after, void *buffer, uint16_t type, uint16_t flags,
                            uint16_t resource)
{
    void *at = after ? (char *)after + MNL_ALIGN(after->nlmsg_len) : buffer;
    struct nlmsghdr *h = mnl_nlmsg_put_header(at);
    h->nlmsg_type = type;
    h->nlmsg_flags = NLM_F_REQUEST | flags;
    struct nfgenmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
    m->nfgen_family = resource ? NFPROTO_UNSPEC : NFPROTO_INET;
    m->version = NFNETLINK_V0;
    m->res_id = htons(resource);
    return h;
}

#define NFT_TYPE(type) (NFNL_SUBSYS_NFTABLES << 8 | (type))

static void commit(char *buffer, struct nlmsghdr *last)
{
    struct mnl_socket *s;
    struct err err = {0};
    char answer[4096];
    assert_ok(netlink_open(NETLINK_NETFILTER, &s, &err), &err);
    size_t bytes = (size_t)((char *)last - buffer) + last->nlmsg_len;
    assert_int_equal(mnl_socket_sendto(s, buffer, bytes), (ssize_t)bytes);
    ssize_t n = mnl_socket_recvfrom(s, answer, sizeof(answer));
    assert_true(n > 0);
    const struct nlmsgerr *e = mnl_nlmsg_get_payload((struct nlmsghdr *)answer);
    assert_int_equal(e->error, 0);
    netlink_close(s);
}

/* `add set inet foreign s { type ipv4_addr; }` as nftables 1.1.3 says it to the kernel: in the set's user
 * data the key's type stands as an expression of the kind "value", which 1.0.6 has no function to read. */
static int foreign_table(void *context, struct err *err)
{
    (void)context, (void)err;
    static const uint8_t user_data[] = {0, 4, 2, 0, 0, 0, 3, 8, 0, 4, 4, 0, 0, 0, 1, 0};
    char buffer[4096] = {0};
    struct nlmsghdr *h = put(NULL, buffer, NFNL_MSG_BATCH_BEGIN, 0, NFNL_SUBSYS_NFTABLES);
    h = put(h, NULL, NFT_TYPE(NFT_MSG_NEWTABLE), NLM_F_CREATE, 0);
    mnl_attr_put_strz(h, NFTA_TABLE_NAME, "foreign");
    h = put(h, NULL, NFT_TYPE(NFT_MSG_NEWSET), NLM_F_CREATE | NLM_F_ACK, 0);
    mnl_attr_put_strz(h, NFTA_SET_TABLE, "foreign");
    mnl_attr_put_strz(h, NFTA_SET_NAME, "s");
    mnl_attr_put_u32(h, NFTA_SET_FLAGS, 0);
    mnl_attr_put_u32(h, NFTA_SET_KEY_TYPE, htonl(7));
    mnl_attr_put_u32(h, NFTA_SET_KEY_LEN, htonl(4));
    mnl_attr_put_u32(h, NFTA_SET_ID, htonl(1));
    mnl_attr_put(h, NFTA_SET_USERDATA, sizeof(user_data), user_data);
    h = put(h, NULL, NFNL_MSG_BATCH_END, 0, NFNL_SUBSYS_NFTABLES);
    commit(buffer, h);
    return 0;
}

static void foreign_table_gone(void)
{
    char buffer[4096] = {0};
    struct nlmsghdr *h = put(NULL, buffer, NFNL_MSG_BATCH_BEGIN, 0, NFNL_SUBSYS_NFTABLES);
    h = put(h, NULL, NFT_TYPE(NFT_MSG_DELTABLE), NLM_F_ACK, 0);
    mnl_attr_put_strz(h, NFTA_TABLE_NAME, "foreign");
    h = put(h, NULL, NFNL_MSG_BATCH_END, 0, NFNL_SUBSYS_NFTABLES);
    commit(buffer, h);
}

static bool library_crashes(void)
{
    static const char *const argv[] = {"nft", "list", "tables", NULL};
    struct err err = {0};
    return process_run(argv, NULL, NULL, &err) < 0;
}

static int publish(struct fixture *f, uint16_t host_port, struct err *err)
{
    struct net_port p = {.protocol = "tcp",
                         .host_ip = "",
                         .host_port = host_port,
                         .container_ip = "172.30.0.2",
                         .container_port = 80};
    return net_ports_publish(f->net, OWNER_A, &p, 1, err);
}

static void a_table_that_cannot_be_read_is_named_and_kills_nobody(void **state)
{
    struct fixture *f = host_of(state);
    struct err err = {0};
    bridge(f, "drtaaaaaaaa", "172.30.0.0/16", "172.30.0.1", false);
    int a = container(f, "drtaaaaaaaa", "172.30.0.2/16", "172.30.0.1");
    serve(f, a, 80, "from a");
    foreign_table(NULL, NULL);
    int r = publish(f, 8080, &err);
    if (library_crashes()) {
        assert_int_equal(r, -ERR_UNAVAILABLE);
        assert_non_null(strstr(err.msg, "(there: inet foreign)"));
        /* Of a server that is started now, too. */
        net_close(f->net);
        assert_ok(net_open(f->dir, "drt", &f->net, &err), &err);
        assert_int_equal(publish(f, 8081, &err), -ERR_UNAVAILABLE);
    } else {
        assert_ok(r, &err);
        assert_ok(net_ports_withdraw(f->net, OWNER_A, &err), &err);
    }
    foreign_table_gone();
    assert_ok(publish(f, 8082, &err), &err);
    assert_answer(-1, SOCK_STREAM, "127.0.0.1", 8082, "from a");
    close(a);
}

/* A container may have CAP_NET_ADMIN, and be connected to one more network while it runs. */
static void nor_does_one_that_a_container_made_in_its_own_namespace(void **state)
{
    struct fixture *f = host_of(state);
    struct err err = {0};
    bridge(f, "drtaaaaaaaa", "172.30.0.0/16", "172.30.0.1", false);
    int a = container(f, "drtaaaaaaaa", "172.30.0.2/16", "172.30.0.1");
    assert_ok(net_resolver_set(a, "172.30.0.1", true, &err), &err);
    assert_ok(net_resolver_set(a, "172.30.0.1", false, &err), &err);
    assert_ok(net__in_namespace(a, foreign_table, NULL, &err), &err);
    int r = net_resolver_set(a, "172.30.0.1", false, &err);
    assert_true(r == 0 || (r == -ERR_UNAVAILABLE && strstr(err.msg, "inet foreign")));
    assert_ok(publish(f, 8080, &err), &err);
    close(a);
}

static void its_process_is_started_again_when_it_was_killed(void **state)
{
    struct fixture *f = host_of(state);
    struct err err = {0};
    bridge(f, "drtaaaaaaaa", "172.30.0.0/16", "172.30.0.1", false);
    assert_ok(publish(f, 8080, &err), &err);
    /* Nothing can be said to it any more, as to one that is dead. */
    assert_int_equal(shutdown(f->net->nft, SHUT_WR), 0);
    assert_ok(publish(f, 8081, &err), &err);
}

int main(int argc, char **argv)
{
    int status;
    if (host_is_process(argc, argv, &status))
        return status;
    if (host_begin() < 0)
        return 1;
#define nft_test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        nft_test(a_table_that_cannot_be_read_is_named_and_kills_nobody),
        nft_test(nor_does_one_that_a_container_made_in_its_own_namespace),
        nft_test(its_process_is_started_again_when_it_was_killed),
    };
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    free(before);
    return r;
}
