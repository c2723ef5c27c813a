/* macvlan and ipvlan: containers' interfaces that are children of one of the machine's. */
#include "net/priv.h"
#include "net/rtnl.h"

#include <linux/if_link.h>

static const struct {
    const char *kind, *mode;
    uint32_t value;
} modes[] = {
    {"macvlan", "bridge", MACVLAN_MODE_BRIDGE}, {"macvlan", "private", MACVLAN_MODE_PRIVATE},
    {"macvlan", "vepa", MACVLAN_MODE_VEPA},     {"macvlan", "passthru", MACVLAN_MODE_PASSTHRU},
    {"ipvlan", "l2", IPVLAN_MODE_L2},           {"ipvlan", "l3", IPVLAN_MODE_L3},
    {"ipvlan", "l3s", IPVLAN_MODE_L3S},
};

/* The first mode of a kind is its default. */
int net__child_mode(const char *kind, const char *mode, uint32_t *ret, struct err *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
        if (str_eq(modes[i].kind, kind) && (str_empty(mode) || str_eq(modes[i].mode, mode))) {
            *ret = modes[i].value;
            return 0;
        }
    return err_set(err, ERR_INVALID, "%s has no mode %s", kind, mode);
}

uint16_t net__child_flags(const char *flag)
{
    return str_eq(flag, "private") ? IPVLAN_F_PRIVATE : str_eq(flag, "vepa") ? IPVLAN_F_VEPA : 0;
}

/* "eth0.10": the interface and the VLAN's number. */
static bool split_vlan(const char *name, char parent[16], int64_t *ret_id)
{
    const char *dot = strrchr(name, '.');
    if (!dot || dot == name || parse_i64(dot + 1, 1, 4094, ret_id, NULL) < 0)
        return false;
    snprintf(parent, 16, "%.*s", (int)(dot - name), name);
    return true;
}

static int missing_kind(int r, const char *kind, struct err *err)
{
    if (r == -EOPNOTSUPP)
        return err_set(err, ERR_UNSUPPORTED,
                       "operation not supported: this kernel has no %s interfaces: load "
                       "the module \"%s\"",
                       kind, kind);
    return err_sys(err, -r, "create a %s interface", kind);
}

static int make_vlan(struct mnl_socket *nl, const char *name, struct err *err)
{
    char parent[16];
    int64_t id = 0;
    struct rtnl_link link;
    if (!split_vlan(name, parent, &id))
        return err_set(err, ERR_INVALID, "invalid subinterface vlan name %s, example formatting is eth0.10",
                       name);
    int r = rtnl_link_get(nl, parent, &link);
    if (r < 0)
        return err_set(err, ERR_INVALID, "failed to find master interface %s on the machine", parent);
    struct rtnl_child child = {
        .kind = "vlan", .name = name, .parent = link.index, .namespace_fd = -1, .mode = (uint32_t)id};
    r = rtnl_child_add(nl, &child);
    return r < 0 ? missing_kind(r, "8021q", err) : 0;
}

static void dummy_name(struct net *n, const char *network_id, char out[16])
{
    snprintf(out, 16, "%sd%.7s", n->prefix, network_id);
}

int net_parent_ensure(struct net *n, const char *network_id, const char *parent, char ret_name[16],
                      bool *ret_made, struct err *err)
{
    _cleanup_netlink_ struct mnl_socket *nl = NULL;
    struct rtnl_link link;
    char name[16];
    *ret_made = false;
    if (str_empty(parent))
        dummy_name(n, network_id, name);
    else
        snprintf(name, sizeof(name), "%s", parent);
    int r = rtnl_open(&nl, err);
    if (r < 0)
        return r;
    if (str_eq(name, "lo"))
        return err_set(err, ERR_INVALID, "loopback interface is not a valid parent link");
    if (rtnl_link_get(nl, name, &link) < 0) {
        if (str_empty(parent)) {
            struct rtnl_child child = {.kind = "dummy", .name = name, .namespace_fd = -1};
            r = rtnl_child_add(nl, &child);
            r = r < 0 ? missing_kind(r, "dummy", err) : 0;
        } else
            r = make_vlan(nl, name, err);
        if (r < 0)
            return r;
        *ret_made = true;
        if ((r = rtnl_link_get(nl, name, &link)) < 0)
            return err_sys(err, -r, "find %s", name);
        if ((r = rtnl_link_set(nl, link.index, true, 0)) < 0)
            return err_sys(err, -r, "bring %s up", name);
    }
    memcpy(ret_name, name, sizeof(name));
    return 0;
}

int net_parent_remove(struct net *n, const char *name, struct err *err)
{
    (void)n;
    _cleanup_netlink_ struct mnl_socket *nl = NULL;
    struct rtnl_link link;
    int r = rtnl_open(&nl, err);
    if (r < 0)
        return r;
    r = rtnl_link_get(nl, name, &link);
    if (r == 0 && (str_eq(link.kind, "vlan") || str_eq(link.kind, "dummy")))
        r = rtnl_link_delete(nl, link.index);
    return r < 0 && r != -ENODEV ? err_sys(err, -r, "remove %s", name) : 0;
}
