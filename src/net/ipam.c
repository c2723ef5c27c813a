/* Subnets and addresses: pure arithmetic, but for the look at the host's own routes. */
#include "net/net.h"
#include "net/priv.h"
#include "net/rtnl.h"

#include <arpa/inet.h>

static uint32_t mask_of(int bits)
{
    return bits <= 0 ? 0 : UINT32_MAX << (32 - bits);
}

bool net__cidr_parse(const char *text, struct net__cidr *ret)
{
    char copy[40];
    if (!text || strlen(text) >= sizeof(copy))
        return false;
    memcpy(copy, text, strlen(text) + 1);
    char *slash = strchr(copy, '/');
    int64_t bits = 32;
    if (slash) {
        *slash = '\0';
        if (parse_i64(slash + 1, 0, 32, &bits, NULL) < 0)
            return false;
    }
    struct in_addr a;
    if (inet_pton(AF_INET, copy, &a) != 1)
        return false;
    *ret = (struct net__cidr){.address = ntohl(a.s_addr), .bits = (int)bits};
    return true;
}

bool net__address_parse(const char *text, uint32_t *ret)
{
    struct in_addr a;
    if (!text || inet_pton(AF_INET, text, &a) != 1)
        return false;
    *ret = ntohl(a.s_addr);
    return true;
}

void net__address_format(uint32_t address, char out[16])
{
    snprintf(out, 16, "%u.%u.%u.%u", address >> 24, address >> 16 & 255, address >> 8 & 255, address & 255);
}

bool net__cidr_has(struct net__cidr c, uint32_t address)
{
    return ((address ^ c.address) & mask_of(c.bits)) == 0;
}

static bool overlap(struct net__cidr a, struct net__cidr b)
{
    return ((a.address ^ b.address) & mask_of(MIN(a.bits, b.bits))) == 0;
}

int net_subnet_check(const char *subnet, char *const *taken, struct err *err)
{
    struct net__cidr s, t;
    if (strchr(subnet, ':'))
        return err_set(err, ERR_UNSUPPORTED, "subnet %s: IPv6 networks are not supported", subnet);
    if (!strchr(subnet, '/') || !net__cidr_parse(subnet, &s))
        return err_set(err, ERR_INVALID, "subnet %s must be an address and a prefix length, as 172.20.0.0/16",
                       subnet);
    if (s.bits < 8 || s.bits > 30)
        return err_set(err, ERR_INVALID, "subnet %s: the prefix length must be from 8 to 30", subnet);
    if (s.address & ~mask_of(s.bits)) {
        char base[16];
        net__address_format(s.address & mask_of(s.bits), base);
        return err_set(err, ERR_INVALID, "subnet %s has host bits set: did you mean %s/%d?", subnet, base,
                       s.bits);
    }
    uint32_t first = s.address >> 24;
    if (first == 0 || first == 127 || first >= 224)
        return err_set(err, ERR_INVALID, "subnet %s is not of addresses that a host can have", subnet);
    STRV_FOREACH (i, (char **)taken)
        if (net__cidr_parse(*i, &t) && overlap(s, t))
            return err_set(err, ERR_CONFLICT, "subnet %s overlaps %s of another network", subnet, *i);
    return 0;
}

struct cidrs {
    struct net__cidr *items;
    size_t count, capacity;
};

static void cidrs_add(struct cidrs *l, struct net__cidr c)
{
    GROW(l->items, l->count, l->capacity);
    l->items[l->count++] = c;
}

static void on_host_net(void *context, int index, uint32_t address, int bits)
{
    (void)index;
    cidrs_add(context, (struct net__cidr){.address = ntohl(address), .bits = bits});
}

static bool cidrs_overlap(const struct cidrs *l, struct net__cidr c)
{
    for (size_t i = 0; i < l->count; i++)
        if (overlap(l->items[i], c))
            return true;
    return false;
}

const struct net_pool net_default_pools[NET_DEFAULT_POOLS] = {
    {172u << 24 | 17u << 16, 1, 16, "172.17.0.0/16"},    {172u << 24 | 18u << 16, 1, 16, "172.18.0.0/16"},
    {172u << 24 | 19u << 16, 1, 16, "172.19.0.0/16"},    {172u << 24 | 20u << 16, 4, 16, "172.20.0.0/14"},
    {172u << 24 | 24u << 16, 4, 16, "172.24.0.0/14"},    {172u << 24 | 28u << 16, 4, 16, "172.28.0.0/14"},
    {192u << 24 | 168u << 16, 16, 20, "192.168.0.0/16"},
};

int net_subnet_pick(char *const *taken, char **ret, struct err *err)
{
    _cleanup_rtnl_ struct mnl_socket *nl = NULL;
    int r = rtnl_open(&nl, err);
    if (r < 0)
        return r;
    struct cidrs used = {0};
    struct net__cidr c;
    r = rtnl_address_list(nl, 0, on_host_net, &used);
    if (r == 0)
        r = rtnl_route_list(nl, on_host_net, &used);
    if (r < 0) {
        free(used.items);
        return err_sys(err, -r, "list the host's routes");
    }
    STRV_FOREACH (i, (char **)taken)
        if (net__cidr_parse(*i, &c))
            cidrs_add(&used, c);
    bool found = false;
    for (size_t p = 0; p < NET_DEFAULT_POOLS; p++)
        for (uint32_t i = 0; i < net_default_pools[p].count && !found; i++) {
            c = (struct net__cidr){.address =
                                       net_default_pools[p].first + (i << (32 - net_default_pools[p].bits)),
                                   .bits = net_default_pools[p].bits};
            found = !cidrs_overlap(&used, c);
        }
    free(used.items);
    if (!found)
        return err_set(err, ERR_LIMIT,
                       "no subnet is free in 172.17.0.0-172.31.255.255 and 192.168.0.0/16: remove a network, "
                       "or give the new one a --subnet of its own");
    char base[16];
    net__address_format(c.address, base);
    *ret = str_printf("%s/%d", base, c.bits);
    return 0;
}

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

int net_address_pick(const char *subnet, const char *range, char *const *taken, char **ret, struct err *err)
{
    struct net__cidr s, w, t;
    if (!net__cidr_parse(subnet, &s))
        return err_set(err, ERR_INVALID, "%s is not a subnet", subnet);
    w = s;
    if (!str_empty(range) && !net__cidr_parse(range, &w))
        return err_set(err, ERR_INVALID, "address range %s is not of the form 172.20.5.0/24", range);
    if (w.bits < s.bits || !net__cidr_has(s, w.address))
        return err_set(err, ERR_INVALID, "address range %s is not within subnet %s", range, subnet);
    uint32_t base = s.address & mask_of(s.bits), broadcast = base | ~mask_of(s.bits);
    uint32_t low = w.address & mask_of(w.bits), high = low | ~mask_of(w.bits);
    low = MAX(low, base + 2); /* the first is the gateway's unless told otherwise */
    high = MIN(high, broadcast - 1);

    size_t n = 0;
    _cleanup_free_ uint32_t *used = NEW_N(uint32_t, strv_len(taken) + 1);
    STRV_FOREACH (i, (char **)taken)
        if (net__cidr_parse(*i, &t))
            used[n++] = t.address;
    qsort(used, n, sizeof(*used), compare_u32);
    uint32_t candidate = low;
    for (size_t i = 0; i < n; i++)
        if (used[i] == candidate)
            candidate++;
    if (low > high || candidate > high)
        return err_set(err, ERR_LIMIT, "no address is free in %s: remove a container or use a larger subnet",
                       str_empty(range) ? subnet : range);
    char text[16];
    net__address_format(candidate, text);
    *ret = mem_strdup(text);
    return 0;
}

bool net_address_in_subnet(const char *address, const char *subnet)
{
    struct net__cidr s;
    uint32_t a;
    return net__cidr_parse(subnet, &s) && net__address_parse(address, &a) && net__cidr_has(s, a);
}
