/* 127.0.0.11: where Docker's own resolver answers inside a container, and what programs and images therefore
 * have written into their configuration. Here names are answered at the bridge's address: packets to
 * 127.0.0.11 are sent on there by the container's own namespace.
 *
 * Packets of 127.0.0.1 may leave over an interface only with route_localnet, which would also let neighbours
 * in to what listens on the container's 127.0.0.1: their packets are dropped before that is switched on. */
#include "net/priv.h"

#include "base/file.h"

static const char table[] = "table inet drover_resolver {\n"
                            "  chain guard { type filter hook prerouting priority raw; iifname != \"lo\" ip "
                            "daddr 127.0.0.0/8 counter drop; }\n"
                            "  chain out {\n"
                            "    type nat hook output priority -100;\n"
                            "    ip daddr 127.0.0.11 meta l4proto { 6, 17 } th dport 53 dnat ip to %s:53\n"
                            "  }\n"
                            "  chain leave {\n"
                            "    type nat hook postrouting priority srcnat;\n"
                            "    oifname != \"lo\" ip saddr 127.0.0.0/8 masquerade\n"
                            "  }\n"
                            "}\n";

/* Of a namespace that had another one. */
static const char renewal[] = "add table inet drover_resolver\ndelete table inet drover_resolver\n";

struct request {
    const char *gateway;
    bool fresh;
};

static int enable(void *context, struct err *err)
{
    const struct request *q = context;
    _cleanup_str_ struct str commands = STR_INIT;
    if (!q->fresh) /* costs a wait for the kernel to let the old rules go */
        str_add(&commands, renewal);
    str_addf(&commands, table, q->gateway);
    int r =
        q->fresh ? net__nft_run_here(str_get(&commands), err) : net__nft_run_apart(str_get(&commands), err);
    if (r == 0)
        r = file_poke("/proc/sys/net/ipv4/conf/all/route_localnet", "1", err);
    return r;
}

int net_resolver_set(int namespace_fd, const char *gateway, bool fresh, struct err *err)
{
    uint32_t address;
    if (!net__address_parse(gateway, &address))
        return err_set(err, ERR_INVALID, "resolver %s is not an IPv4 address", gateway);
    struct request q = {gateway, fresh};
    int r = net__in_namespace(namespace_fd, enable, &q, err);
    return r < 0 ? err_wrap(err, "answer for names at 127.0.0.11") : 0;
}
