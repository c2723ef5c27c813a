/* What others have in nftables, asked of the kernel itself: names and policies alone, whatever the tables are
 * made of (linux/netfilter/nf_tables.h). */
#include "net/priv.h"

#include "base/log.h"
#include "base/netlink.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

enum { OTHERS_BYTES_MAX = 200 };

static int dump(uint16_t type, netlink_fn fn, void *context)
{
    _cleanup_netlink_ struct mnl_socket *s = NULL;
    char buffer[256];
    int r = netlink_open(NETLINK_NETFILTER, &s, NULL);
    if (r < 0)
        return r;
    struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);
    h->nlmsg_type = (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type);
    h->nlmsg_flags = NLM_F_DUMP;
    struct nfgenmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
    m->nfgen_family = NFPROTO_UNSPEC;
    m->version = NFNETLINK_V0;
    return netlink_talk(s, h, fn, context);
}

static uint8_t family_of(const struct nlmsghdr *h)
{
    const struct nfgenmsg *m = mnl_nlmsg_get_payload(h);
    return m->nfgen_family;
}

static const char *family_name(const struct nlmsghdr *h)
{
    switch (family_of(h)) {
    case NFPROTO_INET:
        return "inet";
    case NFPROTO_IPV4:
        return "ip";
    case NFPROTO_IPV6:
        return "ip6";
    case NFPROTO_ARP:
        return "arp";
    case NFPROTO_BRIDGE:
        return "bridge";
    default:
        return "netdev";
    }
}

struct others {
    const struct net *n;
    struct str *names;
};

static int on_table(const struct nlmsghdr *h, void *context)
{
    struct others *o = context;
    struct nlattr *a;
    mnl_attr_for_each(a, h, sizeof(struct nfgenmsg))
    {
        if (mnl_attr_get_type(a) != NFTA_TABLE_NAME || o->names->len > OTHERS_BYTES_MAX)
            continue;
        const char *name = mnl_attr_get_str(a);
        if (!o->n || !str_eq(name, o->n->table))
            str_addf(o->names, "%s%s %.64s", o->names->len ? ", " : "", family_name(h), name);
    }
    return MNL_CB_OK;
}

void net__tables_name_others(const struct net *n, struct str *to)
{
    struct others o = {n, to};
    dump(NFT_MSG_GETTABLE, on_table, &o);
}

static uint32_t hook_of(const struct nlattr *nest)
{
    struct nlattr *a;
    mnl_attr_for_each_nested(a, nest)
    {
        if (mnl_attr_get_type(a) == NFTA_HOOK_HOOKNUM)
            return ntohl(mnl_attr_get_u32(a));
    }
    return UINT32_MAX;
}

/* Of a chain that drops forwarded packets which no rule of it takes. */
static int on_chain(const struct nlmsghdr *h, void *context)
{
    struct str *dropping = context;
    const char *table = "", *chain = "";
    uint32_t hook = UINT32_MAX, policy = NF_ACCEPT;
    struct nlattr *a;
    mnl_attr_for_each(a, h, sizeof(struct nfgenmsg))
    {
        switch (mnl_attr_get_type(a)) {
        case NFTA_CHAIN_TABLE:
            table = mnl_attr_get_str(a);
            break;
        case NFTA_CHAIN_NAME:
            chain = mnl_attr_get_str(a);
            break;
        case NFTA_CHAIN_HOOK:
            hook = hook_of(a);
            break;
        case NFTA_CHAIN_POLICY:
            policy = ntohl(mnl_attr_get_u32(a));
            break;
        default:
            break;
        }
    }
    uint8_t family = family_of(h);
    if (hook == NF_INET_FORWARD && policy == NF_DROP && !dropping->len &&
        (family == NFPROTO_IPV4 || family == NFPROTO_INET))
        str_addf(dropping, "chain %s of table %s", chain, table);
    return MNL_CB_OK;
}

void net__tables_warn(const struct net *n)
{
    _cleanup_str_ struct str dropping = STR_INIT;
    if (dump(NFT_MSG_GETCHAIN, on_chain, &dropping) < 0 || !dropping.len)
        return;
    log_warning(
        "this machine's firewall (%s) drops forwarded packets, as Docker and ufw set it: containers reach "
        "nothing and nobody reaches them until it lets them: iptables -I FORWARD -i %s+ -j ACCEPT; "
        "iptables -I FORWARD -o %s+ -j ACCEPT",
        str_get(&dropping), n->prefix, n->prefix);
}
