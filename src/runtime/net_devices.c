#include "runtime/net_devices.h"

#include "base/file.h"
#include "base/json.h"
#include "base/netlink.h"
#include "base/str.h"

#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <unistd.h>

enum { REQUEST_BYTES = 1024, ADDRESSES_MAX = 256, NUMBERS_MAX = 4096 };

/* --- the config --- */

/* What the kernel takes (dev_valid_name); a template also "%d" at its end. */
static bool name_valid(const char *name, bool template_too)
{
    size_t length = strlen(name);
    bool template = length > 2 && str_ends_with(name, "%d");
    if (!length || length >= IFNAMSIZ || str_eq(name, ".") || str_eq(name, "..") ||
        (template && !template_too))
        return false;
    for (size_t i = 0; i < length - (template ? 2 : 0); i++)
        if (name[i] == '/' || name[i] == ':' || name[i] == '%' || (unsigned char)name[i] <= ' ')
            return false;
    return true;
}

static int parse_one(const char *from, const json_t *value, struct net_devices *d, struct err *err)
{
    const char *to = NULL;
    if (!name_valid(from, false))
        return err_set(err, ERR_INVALID, "\"linux.netDevices\": \"%.200s\" is no name of a network device",
                       from);
    if (!json_is_object(value))
        return err_set(err, ERR_INVALID, "\"linux.netDevices.%s\" must be an object", from);
    int r = json_get_string(value, "linux.netDevices", "name", &to, err);
    if (r < 0)
        return r;
    to = str_empty(to) ? from : to;
    if (!name_valid(to, true))
        return err_set(err, ERR_INVALID,
                       "\"linux.netDevices.%s.name\": \"%.200s\" is no name of a network device", from, to);
    for (size_t i = 0; i < d->count; i++)
        if (str_eq(d->list[i].to, to) && !str_ends_with(to, "%d"))
            return err_set(err, ERR_INVALID, "\"linux.netDevices\": %s and %s would both be %s",
                           d->list[i].from, from, to);
    d->list[d->count++] = (struct net_device){from, to};
    return 0;
}

int net_devices_parse(const json_t *linux_, struct net_devices *ret, struct err *err)
{
    json_t *devices = NULL, *value;
    const char *from;
    int r = json_get_object(linux_, "linux", "netDevices", &devices, err);
    if (r < 0 || !json_object_size(devices))
        return r;
    if (json_object_size(devices) > NET_DEVICES_MAX)
        return err_set(err, ERR_LIMIT, "\"linux.netDevices\" has more than %d entries", NET_DEVICES_MAX);
    ret->list = NEW_N(struct net_device, json_object_size(devices));
    json_object_foreach (devices, from, value)
        if ((r = parse_one(from, value, ret, err)) < 0)
            return r;
    return 0;
}

void net_devices_done(struct net_devices *d)
{
    free(d->list);
}

/* --- the kernel --- */

/* The socket stays in the namespace it was opened in. To fail to come back would put all that follows into
 * this container's. */
static int open_socket_in(int namespace_fd, struct mnl_socket **ret, struct err *err)
{
    _cleanup_close_ int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (home < 0)
        return err_sys(err, errno, "open /proc/self/ns/net");
    if (setns(namespace_fd, CLONE_NEWNET) < 0)
        return err_sys(err, errno, "enter the container's network namespace");
    int r = netlink_open(NETLINK_ROUTE, ret, err);
    must(setns(home, CLONE_NEWNET) == 0);
    return r;
}

static struct nlmsghdr *link_request(char *buffer, uint16_t type, int index)
{
    struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);
    h->nlmsg_type = type;
    struct ifinfomsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
    m->ifi_index = index;
    return h;
}

static int on_index(const struct nlmsghdr *h, void *context)
{
    if (h->nlmsg_type == RTM_NEWLINK)
        *(int *)context = ((const struct ifinfomsg *)mnl_nlmsg_get_payload(h))->ifi_index;
    return MNL_CB_OK;
}

/* Positive: its index; 0: there is none of that name. */
static int index_of(struct mnl_socket *s, const char *name)
{
    char buffer[REQUEST_BYTES];
    struct nlmsghdr *h = link_request(buffer, RTM_GETLINK, 0);
    int index = 0;
    mnl_attr_put_strz(h, IFLA_IFNAME, name);
    int r = netlink_talk(s, h, on_index, &index);
    return r == -ENODEV ? 0 : r < 0 ? r : index;
}

/* What RTM_NEWADDR takes of what RTM_GETADDR told. */
struct address {
    struct ifaddrmsg head;
    uint32_t flags;
    uint8_t local[16], address[16], broadcast[16];
    size_t local_bytes, address_bytes, broadcast_bytes;
};

struct addresses {
    int index;
    struct address list[ADDRESSES_MAX];
    size_t count;
    bool too_many;
};

static void keep(const struct nlattr *a, uint8_t bytes[16], size_t *ret_count)
{
    *ret_count = MIN((size_t)16, (size_t)mnl_attr_get_payload_len(a));
    memcpy(bytes, mnl_attr_get_payload(a), *ret_count);
}

/* A dump may show an address twice. */
static bool has_address(const struct addresses *all, const struct address *a)
{
    for (size_t i = 0; i < all->count; i++)
        if (all->list[i].head.ifa_family == a->head.ifa_family &&
            all->list[i].head.ifa_prefixlen == a->head.ifa_prefixlen &&
            memcmp(all->list[i].local, a->local, sizeof(a->local)) == 0 &&
            memcmp(all->list[i].address, a->address, sizeof(a->address)) == 0)
            return true;
    return false;
}

static int on_address(const struct nlmsghdr *h, void *context)
{
    struct addresses *all = context;
    const struct ifaddrmsg *m = mnl_nlmsg_get_payload(h);
    if (h->nlmsg_type != RTM_NEWADDR || (int)m->ifa_index != all->index || m->ifa_scope != RT_SCOPE_UNIVERSE)
        return MNL_CB_OK;
    struct address address = {.head = *m, .flags = m->ifa_flags};
    struct nlattr *a;
    mnl_attr_for_each(a, h, sizeof(*m))
    {
        switch (mnl_attr_get_type(a)) {
        case IFA_LOCAL:
            keep(a, address.local, &address.local_bytes);
            break;
        case IFA_ADDRESS:
            keep(a, address.address, &address.address_bytes);
            break;
        case IFA_BROADCAST:
            keep(a, address.broadcast, &address.broadcast_bytes);
            break;
        case IFA_FLAGS:
            address.flags = mnl_attr_get_u32(a);
            break;
        default:
            break;
        }
    }
    if (!(address.flags & IFA_F_PERMANENT))
        return MNL_CB_OK;
    if (has_address(all, &address))
        return MNL_CB_OK;
    all->too_many = all->count == ADDRESSES_MAX;
    if (!all->too_many)
        all->list[all->count++] = address;
    return MNL_CB_OK;
}

static int list_addresses(struct mnl_socket *s, int index, struct addresses *ret)
{
    char buffer[REQUEST_BYTES];
    struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);
    h->nlmsg_type = RTM_GETADDR;
    h->nlmsg_flags = NLM_F_DUMP;
    mnl_nlmsg_put_extra_header(h, sizeof(struct ifaddrmsg));
    *ret = (struct addresses){.index = index};
    int r = netlink_talk(s, h, on_address, ret);
    return r == 0 && ret->too_many ? -E2BIG : r;
}

static int add_address(struct mnl_socket *s, int index, const struct address *a)
{
    const uint32_t asked_for =
        IFA_F_NODAD | IFA_F_NOPREFIXROUTE | IFA_F_HOMEADDRESS | IFA_F_MANAGETEMPADDR | IFA_F_MCAUTOJOIN;
    char buffer[REQUEST_BYTES];
    struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);
    h->nlmsg_type = RTM_NEWADDR;
    h->nlmsg_flags = NLM_F_CREATE | NLM_F_REPLACE;
    struct ifaddrmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
    *m = a->head;
    m->ifa_index = (uint32_t)index;
    m->ifa_flags = (uint8_t)(a->flags & asked_for);
    mnl_attr_put_u32(h, IFA_FLAGS, a->flags & asked_for);
    if (a->local_bytes)
        mnl_attr_put(h, IFA_LOCAL, a->local_bytes, a->local);
    if (a->address_bytes)
        mnl_attr_put(h, IFA_ADDRESS, a->address_bytes, a->address);
    if (a->broadcast_bytes)
        mnl_attr_put(h, IFA_BROADCAST, a->broadcast_bytes, a->broadcast);
    return netlink_talk(s, h, NULL, NULL);
}

static int raise_link(struct mnl_socket *s, int index)
{
    char buffer[REQUEST_BYTES];
    struct nlmsghdr *h = link_request(buffer, RTM_NEWLINK, index);
    struct ifinfomsg *m = mnl_nlmsg_get_payload(h);
    m->ifi_change = m->ifi_flags = IFF_UP;
    return netlink_talk(s, h, NULL, NULL);
}

/* --- moving --- */

struct sockets {
    struct mnl_socket *here, *there;
    int namespace_fd;
};

/* The name it will have: the template's first free number, as the kernel would choose it. */
static int choose_name(struct mnl_socket *there, const struct net_device *d, char ret[IFNAMSIZ],
                       struct err *err)
{
    snprintf(ret, IFNAMSIZ, "%s", d->to);
    int length = (int)strlen(d->to) - 2, index = 1;
    for (int n = 0; str_ends_with(d->to, "%d") && index > 0 && n < NUMBERS_MAX; n++) {
        char name[64];
        snprintf(name, sizeof(name), "%.*s%d", length, d->to, n);
        if (strlen(name) >= IFNAMSIZ)
            break;
        memcpy(ret, name, strlen(name) + 1);
        index = index_of(there, ret);
    }
    index = index_of(there, ret);
    if (index < 0)
        return err_sys(err, -index, "look for %s in the container", ret);
    if (index)
        return err_set(err, ERR_CONFLICT,
                       "\"linux.netDevices.%s\": there is a network device %s in the container already",
                       d->from, ret);
    return 0;
}

static int check(const struct sockets *s, const struct net_device *d, struct err *err)
{
    char name[IFNAMSIZ];
    int index = index_of(s->here, d->from);
    if (index == 0)
        return err_set(err, ERR_NOT_FOUND, "\"linux.netDevices\": there is no network device %s", d->from);
    if (index < 0)
        return err_sys(err, -index, "look for the network device %s", d->from);
    return choose_name(s->there, d, name, err);
}

static int send_over(const struct sockets *s, const struct net_device *d, int index, const char *name)
{
    char buffer[REQUEST_BYTES];
    struct nlmsghdr *h = link_request(buffer, RTM_NEWLINK, index);
    mnl_attr_put_u32(h, IFLA_NET_NS_FD, (uint32_t)s->namespace_fd);
    mnl_attr_put_strz(h, IFLA_IFNAME, name);
    return netlink_talk(s->here, h, NULL, NULL);
}

static int move_one(const struct sockets *s, const struct net_device *d, struct addresses *addresses,
                    struct err *err)
{
    char name[IFNAMSIZ];
    int r = choose_name(s->there, d, name, err);
    if (r < 0)
        return r;
    int index = index_of(s->here, d->from);
    int sys = index < 0 ? index : list_addresses(s->here, index, addresses);
    if (sys == 0)
        sys = send_over(s, d, index, name);
    if (sys < 0)
        return err_sys(err, -sys, "move the network device %s into the container", d->from);
    /* Its number there is another one when this was taken. */
    index = index_of(s->there, name);
    sys = index < 0 ? index : 0;
    for (size_t i = 0; sys == 0 && i < addresses->count; i++)
        sys = add_address(s->there, index, &addresses->list[i]);
    if (sys == 0)
        sys = raise_link(s->there, index);
    return sys < 0 ? err_sys(err, -sys, "set up the network device %s in the container", name) : 0;
}

int net_devices_move(const struct net_devices *d, int namespace_fd, struct err *err)
{
    _cleanup_netlink_ struct mnl_socket *here = NULL, *there = NULL;
    _cleanup_free_ struct addresses *addresses = NEW(struct addresses);
    int r = netlink_open(NETLINK_ROUTE, &here, err);
    if (r == 0)
        r = open_socket_in(namespace_fd, &there, err);
    const struct sockets s = {here, there, namespace_fd};
    for (size_t i = 0; r == 0 && i < d->count; i++)
        r = check(&s, &d->list[i], err);
    for (size_t i = 0; r == 0 && i < d->count; i++)
        r = move_one(&s, &d->list[i], addresses, err);
    return r;
}
