/* Forgetting connections (ctnetlink). The kernel decides about mapping at a flow's first packet and keeps to
 * it: a UDP client that goes on sending from the same port would for ever reach the container that was, or
 * nobody, after its port was published anew. TCP ends by itself. */
#include "base/netlink.h"
#include "net/priv.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>

enum { STALE_MAX = 4096 };

struct tuple {
    struct net__ip source, destination;
    uint16_t destination_port;
    uint8_t protocol;
};

struct stale {
    const struct net__port *port; /* what was sent to it; or NULL: */
    struct net__ip target;        /* what went there */
    char *messages[STALE_MAX];    /* the tuple attributes to delete by, copied as they came */
    size_t bytes[STALE_MAX];
    size_t count;
};

static void tuple_part(const struct nlattr *nest, struct tuple *t)
{
    struct nlattr *a;
    mnl_attr_for_each_nested(a, nest)
    {
        bool ip = mnl_attr_get_type(a) == CTA_TUPLE_IP;
        if (!ip && mnl_attr_get_type(a) != CTA_TUPLE_PROTO)
            continue;
        struct nlattr *b;
        mnl_attr_for_each_nested(b, a)
        {
            int type = mnl_attr_get_type(b);
            if (ip && type == CTA_IP_V4_SRC)
                t->source = net__ip_of_bytes(AF_INET, mnl_attr_get_payload(b));
            else if (ip && type == CTA_IP_V6_SRC && mnl_attr_get_payload_len(b) == 16)
                t->source = net__ip_of_bytes(AF_INET6, mnl_attr_get_payload(b));
            else if (ip && type == CTA_IP_V4_DST)
                t->destination = net__ip_of_bytes(AF_INET, mnl_attr_get_payload(b));
            else if (ip && type == CTA_IP_V6_DST && mnl_attr_get_payload_len(b) == 16)
                t->destination = net__ip_of_bytes(AF_INET6, mnl_attr_get_payload(b));
            else if (!ip && type == CTA_PROTO_NUM)
                t->protocol = mnl_attr_get_u8(b);
            else if (!ip && type == CTA_PROTO_DST_PORT)
                t->destination_port = ntohs(mnl_attr_get_u16(b));
        }
    }
}

/* Flows to the port, mapped or (from before it was published) not. */
static bool to_port(const struct net__port *p, const struct tuple *origin)
{
    return origin->destination_port == p->host_port &&
           (!p->host_ip.value || origin->destination.value == p->host_ip.value);
}

static int on_flow(const struct nlmsghdr *h, void *context)
{
    struct stale *s = context;
    struct tuple origin = {0}, reply = {0};
    const struct nlattr *origin_attribute = NULL;
    struct nlattr *a;
    mnl_attr_for_each(a, h, sizeof(struct nfgenmsg))
    {
        if (mnl_attr_get_type(a) == CTA_TUPLE_ORIG) {
            origin_attribute = a;
            tuple_part(a, &origin);
        } else if (mnl_attr_get_type(a) == CTA_TUPLE_REPLY)
            tuple_part(a, &reply);
    }
    bool stale = s->port ? to_port(s->port, &origin) : reply.source.value == s->target.value;
    if (!origin_attribute || origin.protocol != IPPROTO_UDP || !stale || s->count == STALE_MAX)
        return MNL_CB_OK;
    s->bytes[s->count] = MNL_ALIGN(origin_attribute->nla_len);
    s->messages[s->count++] = mem_dup(origin_attribute, MNL_ALIGN(origin_attribute->nla_len));
    return MNL_CB_OK;
}

static struct nlmsghdr *request(void *buffer, int family, uint16_t type, uint16_t flags)
{
    struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);
    h->nlmsg_type = (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | type);
    h->nlmsg_flags = flags;
    struct nfgenmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
    m->nfgen_family = (uint8_t)family;
    m->version = NFNETLINK_V0;
    return h;
}

static void forget(struct stale *stale, int family)
{
    _cleanup_netlink_ struct mnl_socket *s = NULL;
    char buffer[1024];
    struct err ignored = {0};
    if (netlink_open(NETLINK_NETFILTER, &s, &ignored) < 0)
        return;
    netlink_talk(s, request(buffer, family, IPCTNL_MSG_CT_GET, NLM_F_DUMP), on_flow, stale);
    for (size_t i = 0; i < stale->count; i++) {
        struct nlmsghdr *h = request(buffer, family, IPCTNL_MSG_CT_DELETE, 0);
        if (h->nlmsg_len + stale->bytes[i] <= sizeof(buffer)) {
            memcpy(mnl_nlmsg_get_payload_tail(h), stale->messages[i], stale->bytes[i]);
            h->nlmsg_len += (uint32_t)stale->bytes[i];
            netlink_talk(s, h, NULL, NULL);
        }
        free(stale->messages[i]);
    }
}

void net__conntrack_forget(const struct net__port *port)
{
    if (port->protocol != IPPROTO_UDP)
        return;
    struct stale *stale = NEW(struct stale);
    stale->port = port;
    forget(stale, port->host_ip.family);
    free(stale);
}

void net__conntrack_forget_target(struct net__ip target)
{
    struct stale *stale = NEW(struct stale);
    stale->target = target;
    forget(stale, target.family);
    free(stale);
}
