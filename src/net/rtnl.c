#include "net/rtnl.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <string.h>

enum { REQUEST_BYTES = 2048 };

static struct nlmsghdr *link_request(void *buffer, uint16_t type, uint16_t flags, int index)
{
    struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);
    h->nlmsg_type = type;
    h->nlmsg_flags = flags;
    struct ifinfomsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
    m->ifi_family = AF_UNSPEC;
    m->ifi_index = index;
    return h;
}

static void stats_read(const struct nlattr *a, struct net_stats *ret)
{
    struct rtnl_link_stats64 s = {0};
    memcpy(&s, mnl_attr_get_payload(a), MIN(sizeof(s), (size_t)mnl_attr_get_payload_len(a)));
    *ret = (struct net_stats){.rx_bytes = s.rx_bytes,
                              .rx_packets = s.rx_packets,
                              .rx_errors = s.rx_errors,
                              .rx_dropped = s.rx_dropped,
                              .tx_bytes = s.tx_bytes,
                              .tx_packets = s.tx_packets,
                              .tx_errors = s.tx_errors,
                              .tx_dropped = s.tx_dropped};
}

static void link_read(const struct nlmsghdr *h, struct rtnl_link *l)
{
    const struct ifinfomsg *m = mnl_nlmsg_get_payload(h);
    *l = (struct rtnl_link){.index = m->ifi_index, .up = (m->ifi_flags & IFF_UP) != 0};
    struct nlattr *a, *inner;
    mnl_attr_for_each(a, h, sizeof(*m))
    {
        switch (mnl_attr_get_type(a)) {
        case IFLA_IFNAME:
            snprintf(l->name, sizeof(l->name), "%s", mnl_attr_get_str(a));
            break;
        case IFLA_MASTER:
            l->master = (int)mnl_attr_get_u32(a);
            break;
        case IFLA_MTU:
            l->mtu = (int)mnl_attr_get_u32(a);
            break;
        case IFLA_LINK:
            l->peer = (int)mnl_attr_get_u32(a);
            break;
        case IFLA_ADDRESS:
            if (mnl_attr_get_payload_len(a) == sizeof(l->mac))
                memcpy(l->mac, mnl_attr_get_payload(a), sizeof(l->mac));
            break;
        case IFLA_STATS64:
            stats_read(a, &l->stats);
            break;
        case IFLA_LINKINFO:
            mnl_attr_for_each_nested(inner, a) if (mnl_attr_get_type(inner) == IFLA_INFO_KIND)
                snprintf(l->kind, sizeof(l->kind), "%s", mnl_attr_get_str(inner));
            break;
        default:
            break;
        }
    }
}

static int on_link(const struct nlmsghdr *h, void *context)
{
    if (h->nlmsg_type == RTM_NEWLINK)
        link_read(h, context);
    return MNL_CB_OK;
}

int rtnl_link_get(struct mnl_socket *s, const char *name, struct rtnl_link *ret)
{
    if (strlen(name) >= IFNAMSIZ)
        return -ENODEV;
    char buffer[REQUEST_BYTES];
    struct nlmsghdr *h = link_request(buffer, RTM_GETLINK, 0, 0);
    mnl_attr_put_strz(h, IFLA_IFNAME, name);
    return netlink_talk(s, h, on_link, ret);
}

int rtnl_link_get_index(struct mnl_socket *s, int index, struct rtnl_link *ret)
{
    char buffer[REQUEST_BYTES];
    return netlink_talk(s, link_request(buffer, RTM_GETLINK, 0, index), on_link, ret);
}

struct link_walk {
    rtnl_link_fn fn;
    void *context;
};

static int on_link_walk(const struct nlmsghdr *h, void *context)
{
    struct link_walk *w = context;
    if (h->nlmsg_type == RTM_NEWLINK) {
        struct rtnl_link l;
        link_read(h, &l);
        w->fn(w->context, &l);
    }
    return MNL_CB_OK;
}

int rtnl_link_list(struct mnl_socket *s, rtnl_link_fn fn, void *context)
{
    char buffer[REQUEST_BYTES];
    struct link_walk w = {fn, context};
    return netlink_talk(s, link_request(buffer, RTM_GETLINK, NLM_F_DUMP, 0), on_link_walk, &w);
}

int rtnl_link_delete(struct mnl_socket *s, int index)
{
    char buffer[REQUEST_BYTES];
    return netlink_talk(s, link_request(buffer, RTM_DELLINK, 0, index), NULL, NULL);
}

int rtnl_link_set(struct mnl_socket *s, int index, bool up, int mtu)
{
    char buffer[REQUEST_BYTES];
    struct nlmsghdr *h = link_request(buffer, RTM_NEWLINK, 0, index);
    struct ifinfomsg *m = mnl_nlmsg_get_payload(h);
    m->ifi_change = IFF_UP;
    m->ifi_flags = up ? IFF_UP : 0;
    if (mtu)
        mnl_attr_put_u32(h, IFLA_MTU, (uint32_t)mtu);
    return netlink_talk(s, h, NULL, NULL);
}

int rtnl_port_set(struct mnl_socket *s, int index, bool hairpin, bool isolated)
{
    char buffer[REQUEST_BYTES];
    struct nlmsghdr *h = link_request(buffer, RTM_SETLINK, 0, index);
    struct ifinfomsg *m = mnl_nlmsg_get_payload(h);
    m->ifi_family = AF_BRIDGE;
    struct nlattr *info = mnl_attr_nest_start(h, IFLA_PROTINFO);
    mnl_attr_put_u8(h, IFLA_BRPORT_MODE, hairpin);
    mnl_attr_put_u8(h, IFLA_BRPORT_ISOLATED, isolated);
    mnl_attr_nest_end(h, info);
    return netlink_talk(s, h, NULL, NULL);
}

int rtnl_bridge_add(struct mnl_socket *s, const char *name, const uint8_t mac[6], int mtu)
{
    char buffer[REQUEST_BYTES];
    struct nlmsghdr *h = link_request(buffer, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0);
    mnl_attr_put_strz(h, IFLA_IFNAME, name);
    mnl_attr_put(h, IFLA_ADDRESS, 6, mac);
    if (mtu)
        mnl_attr_put_u32(h, IFLA_MTU, (uint32_t)mtu);
    struct nlattr *info = mnl_attr_nest_start(h, IFLA_LINKINFO);
    mnl_attr_put_strz(h, IFLA_INFO_KIND, "bridge");
    mnl_attr_nest_end(h, info);
    return netlink_talk(s, h, NULL, NULL);
}

int rtnl_veth_add(struct mnl_socket *s, const char *host, int master, int mtu, int peer_namespace_fd,
                  const char *peer, const uint8_t peer_mac[6])
{
    char buffer[REQUEST_BYTES];
    struct nlmsghdr *h = link_request(buffer, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0);
    mnl_attr_put_strz(h, IFLA_IFNAME, host);
    mnl_attr_put_u32(h, IFLA_MASTER, (uint32_t)master);
    if (mtu)
        mnl_attr_put_u32(h, IFLA_MTU, (uint32_t)mtu);
    struct nlattr *info = mnl_attr_nest_start(h, IFLA_LINKINFO);
    mnl_attr_put_strz(h, IFLA_INFO_KIND, "veth");
    struct nlattr *data = mnl_attr_nest_start(h, IFLA_INFO_DATA);
    struct nlattr *peer_info = mnl_attr_nest_start(h, VETH_INFO_PEER);
    mnl_nlmsg_put_extra_header(h, sizeof(struct ifinfomsg));
    mnl_attr_put_strz(h, IFLA_IFNAME, peer);
    mnl_attr_put_u32(h, IFLA_NET_NS_FD, (uint32_t)peer_namespace_fd);
    mnl_attr_put(h, IFLA_ADDRESS, 6, peer_mac);
    if (mtu)
        mnl_attr_put_u32(h, IFLA_MTU, (uint32_t)mtu);
    mnl_attr_nest_end(h, peer_info);
    mnl_attr_nest_end(h, data);
    mnl_attr_nest_end(h, info);
    return netlink_talk(s, h, NULL, NULL);
}

static void put_u16(struct nlmsghdr *h, uint16_t type, uint16_t value)
{
    mnl_attr_put(h, type, sizeof(value), &value);
}

static void child_data(struct nlmsghdr *h, const struct rtnl_child *c)
{
    struct nlattr *data = mnl_attr_nest_start(h, IFLA_INFO_DATA);
    if (strcmp(c->kind, "macvlan") == 0)
        mnl_attr_put_u32(h, IFLA_MACVLAN_MODE, c->mode);
    else if (strcmp(c->kind, "ipvlan") == 0) {
        put_u16(h, IFLA_IPVLAN_MODE, (uint16_t)c->mode);
        put_u16(h, IFLA_IPVLAN_FLAGS, c->flags);
    } else if (strcmp(c->kind, "vlan") == 0)
        put_u16(h, IFLA_VLAN_ID, (uint16_t)c->mode);
    mnl_attr_nest_end(h, data);
}

int rtnl_child_add(struct mnl_socket *s, const struct rtnl_child *c)
{
    char buffer[REQUEST_BYTES];
    struct nlmsghdr *h = link_request(buffer, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0);
    mnl_attr_put_strz(h, IFLA_IFNAME, c->name);
    if (c->parent)
        mnl_attr_put_u32(h, IFLA_LINK, (uint32_t)c->parent);
    if (c->namespace_fd >= 0)
        mnl_attr_put_u32(h, IFLA_NET_NS_FD, (uint32_t)c->namespace_fd);
    if (c->mac)
        mnl_attr_put(h, IFLA_ADDRESS, 6, c->mac);
    if (c->mtu)
        mnl_attr_put_u32(h, IFLA_MTU, (uint32_t)c->mtu);
    struct nlattr *info = mnl_attr_nest_start(h, IFLA_LINKINFO);
    mnl_attr_put_strz(h, IFLA_INFO_KIND, c->kind);
    if (strcmp(c->kind, "dummy") != 0)
        child_data(h, c);
    mnl_attr_nest_end(h, info);
    return netlink_talk(s, h, NULL, NULL);
}

static struct nlmsghdr *address_request(void *buffer, uint16_t type, uint16_t flags, int index,
                                        uint32_t address, int bits)
{
    struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);
    h->nlmsg_type = type;
    h->nlmsg_flags = flags;
    struct ifaddrmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
    m->ifa_family = AF_INET;
    m->ifa_prefixlen = (uint8_t)bits;
    m->ifa_index = (uint32_t)index;
    mnl_attr_put_u32(h, IFA_LOCAL, address);
    mnl_attr_put_u32(h, IFA_ADDRESS, address);
    return h;
}

int rtnl_address_add(struct mnl_socket *s, int index, uint32_t address, int bits)
{
    char buffer[REQUEST_BYTES];
    struct nlmsghdr *h =
        address_request(buffer, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, index, address, bits);
    uint32_t host_part = bits >= 31 ? 0 : htonl(UINT32_MAX >> bits);
    if (host_part)
        mnl_attr_put_u32(h, IFA_BROADCAST, address | host_part);
    return netlink_talk(s, h, NULL, NULL);
}

int rtnl_address_delete(struct mnl_socket *s, int index, uint32_t address, int bits)
{
    char buffer[REQUEST_BYTES];
    return netlink_talk(s, address_request(buffer, RTM_DELADDR, 0, index, address, bits), NULL, NULL);
}

int rtnl_route_add_default(struct mnl_socket *s, int index, uint32_t gateway, bool replace)
{
    char buffer[REQUEST_BYTES];
    struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);
    h->nlmsg_type = RTM_NEWROUTE;
    h->nlmsg_flags = NLM_F_CREATE | (replace ? NLM_F_REPLACE : NLM_F_EXCL);
    struct rtmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
    m->rtm_family = AF_INET;
    m->rtm_table = RT_TABLE_MAIN;
    m->rtm_protocol = RTPROT_BOOT;
    m->rtm_scope = gateway ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
    m->rtm_type = RTN_UNICAST;
    if (gateway)
        mnl_attr_put_u32(h, RTA_GATEWAY, gateway);
    mnl_attr_put_u32(h, RTA_OIF, (uint32_t)index);
    return netlink_talk(s, h, NULL, NULL);
}

int rtnl_route_set(struct mnl_socket *s, uint32_t address, uint32_t gateway, bool there)
{
    char buffer[REQUEST_BYTES];
    struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);
    h->nlmsg_type = there ? RTM_NEWROUTE : RTM_DELROUTE;
    h->nlmsg_flags = there ? NLM_F_CREATE | NLM_F_REPLACE : 0;
    struct rtmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
    m->rtm_family = AF_INET;
    m->rtm_dst_len = 32;
    m->rtm_table = RT_TABLE_MAIN;
    m->rtm_protocol = RTPROT_BOOT;
    m->rtm_scope = RT_SCOPE_UNIVERSE;
    m->rtm_type = RTN_UNICAST;
    mnl_attr_put_u32(h, RTA_DST, address);
    mnl_attr_put_u32(h, RTA_GATEWAY, gateway);
    return netlink_talk(s, h, NULL, NULL);
}

int rtnl_proxy_set(struct mnl_socket *s, int index, uint32_t address, bool there)
{
    char buffer[REQUEST_BYTES];
    struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);
    h->nlmsg_type = there ? RTM_NEWNEIGH : RTM_DELNEIGH;
    h->nlmsg_flags = there ? NLM_F_CREATE | NLM_F_REPLACE : 0;
    struct ndmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
    m->ndm_family = AF_INET;
    m->ndm_ifindex = index;
    m->ndm_state = NUD_PERMANENT;
    m->ndm_flags = NTF_PROXY;
    mnl_attr_put_u32(h, NDA_DST, address);
    return netlink_talk(s, h, NULL, NULL);
}

static struct nlmsghdr *address6_request(void *buffer, uint16_t type, uint16_t flags, int index,
                                         const uint8_t address[16], int bits)
{
    struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);
    h->nlmsg_type = type;
    h->nlmsg_flags = flags;
    struct ifaddrmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
    m->ifa_family = AF_INET6;
    m->ifa_prefixlen = (uint8_t)bits;
    m->ifa_flags = IFA_F_NODAD;
    m->ifa_index = (uint32_t)index;
    mnl_attr_put(h, IFA_LOCAL, 16, address);
    mnl_attr_put(h, IFA_ADDRESS, 16, address);
    return h;
}

int rtnl_address6_add(struct mnl_socket *s, int index, const uint8_t address[16], int bits)
{
    char buffer[REQUEST_BYTES];
    uint16_t flags = NLM_F_CREATE | NLM_F_EXCL;
    return netlink_talk(s, address6_request(buffer, RTM_NEWADDR, flags, index, address, bits), NULL, NULL);
}

int rtnl_address6_delete(struct mnl_socket *s, int index, const uint8_t address[16], int bits)
{
    char buffer[REQUEST_BYTES];
    return netlink_talk(s, address6_request(buffer, RTM_DELADDR, 0, index, address, bits), NULL, NULL);
}

int rtnl_route6_add_default(struct mnl_socket *s, int index, const uint8_t gateway[16], bool replace)
{
    char buffer[REQUEST_BYTES];
    struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);
    h->nlmsg_type = RTM_NEWROUTE;
    h->nlmsg_flags = NLM_F_CREATE | (replace ? NLM_F_REPLACE : NLM_F_EXCL);
    struct rtmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
    m->rtm_family = AF_INET6;
    m->rtm_table = RT_TABLE_MAIN;
    m->rtm_protocol = RTPROT_BOOT;
    m->rtm_scope = RT_SCOPE_UNIVERSE;
    m->rtm_type = RTN_UNICAST;
    mnl_attr_put(h, RTA_GATEWAY, 16, gateway);
    mnl_attr_put_u32(h, RTA_OIF, (uint32_t)index);
    return netlink_talk(s, h, NULL, NULL);
}

struct net_walk {
    int index;
    rtnl_net_fn fn;
    void *context;
};

static int on_address(const struct nlmsghdr *h, void *context)
{
    struct net_walk *w = context;
    if (h->nlmsg_type != RTM_NEWADDR)
        return MNL_CB_OK;
    const struct ifaddrmsg *m = mnl_nlmsg_get_payload(h);
    if (m->ifa_family != AF_INET || (w->index && (int)m->ifa_index != w->index))
        return MNL_CB_OK;
    struct nlattr *a;
    mnl_attr_for_each(a, h, sizeof(*m)) if (mnl_attr_get_type(a) == IFA_LOCAL)
        w->fn(w->context, (int)m->ifa_index, mnl_attr_get_u32(a), m->ifa_prefixlen);
    return MNL_CB_OK;
}

int rtnl_address_list(struct mnl_socket *s, int index, rtnl_net_fn fn, void *context)
{
    char buffer[REQUEST_BYTES];
    struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);
    h->nlmsg_type = RTM_GETADDR;
    h->nlmsg_flags = NLM_F_DUMP;
    struct ifaddrmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
    m->ifa_family = AF_INET;
    struct net_walk w = {index, fn, context};
    return netlink_talk(s, h, on_address, &w);
}

static int on_route(const struct nlmsghdr *h, void *context)
{
    struct net_walk *w = context;
    if (h->nlmsg_type != RTM_NEWROUTE)
        return MNL_CB_OK;
    const struct rtmsg *m = mnl_nlmsg_get_payload(h);
    if (m->rtm_family != AF_INET || m->rtm_table != RT_TABLE_MAIN || !m->rtm_dst_len)
        return MNL_CB_OK;
    struct nlattr *a;
    mnl_attr_for_each(a, h, sizeof(*m)) if (mnl_attr_get_type(a) == RTA_DST)
        w->fn(w->context, 0, mnl_attr_get_u32(a), m->rtm_dst_len);
    return MNL_CB_OK;
}

int rtnl_route_list(struct mnl_socket *s, rtnl_net_fn fn, void *context)
{
    char buffer[REQUEST_BYTES];
    struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);
    h->nlmsg_type = RTM_GETROUTE;
    h->nlmsg_flags = NLM_F_DUMP;
    struct rtmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
    m->rtm_family = AF_INET;
    struct net_walk w = {0, fn, context};
    return netlink_talk(s, h, on_route, &w);
}
