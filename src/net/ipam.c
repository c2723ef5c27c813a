/* Subnets and addresses: pure arithmetic, but for the look at the host's own routes. */
#include "net/net.h"
#include "net/priv.h"
#include "net/rtnl.h"

#include <arpa/inet.h>

enum { CANDIDATES_MAX = 65536 };

static uint32_t mask_of(int bits)
{
    return bits <= 0 ? 0 : UINT32_MAX << (32 - bits);
}

bool net__cidr_parse(const char *text, struct net__cidr *ret)
{
    struct net__range r;
    if (!net__range_parse(text, &r) || r.address.family != AF_INET)
        return false;
    *ret = (struct net__cidr){.address = (uint32_t)r.address.value, .bits = r.bits};
    return true;
}

bool net__address_parse(const char *text, uint32_t *ret)
{
    struct net__ip a;
    if (!net__ip_parse(text, &a) || a.family != AF_INET)
        return false;
    *ret = (uint32_t)a.value;
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

/* --- subnets --- */

int net_subnet_canonical(const char *subnet, char **ret, struct err *err)
{
    struct net__range r;
    if (!strchr(subnet, '/') || !net__range_parse(subnet, &r))
        return err_set(err, ERR_INVALID, "Invalid subnet %.100s : invalid CIDR address: %.100s", subnet,
                       subnet);
    *ret = net__range_text(r);
    return 0;
}

static int check_usable(const char *subnet, struct net__range r, struct err *err)
{
    int total = net__family_bits(r.address.family);
    if (r.bits > total - 2)
        return err_set(err, ERR_INVALID, "subnet %s: No available addresses on this pool", subnet);
    if (r.bits < 8)
        return err_set(err, ERR_INVALID, "subnet %s: the prefix length must be at least 8", subnet);
    if (r.address.value & net__host_mask(r.address.family, r.bits)) {
        _cleanup_free_ char *base = net__range_text(r);
        return err_set(err, ERR_INVALID, "subnet %s has host bits set: did you mean %s?", subnet, base);
    }
    unsigned first = (unsigned)(r.address.value >> (total - 8));
    if (r.address.family == AF_INET ? first == 0 || first == 127 || first >= 224 : first == 0 || first == 255)
        return err_set(err, ERR_INVALID, "subnet %s is not of addresses that a host can have", subnet);
    return 0;
}

int net_subnet_check(const char *subnet, char *const *taken, struct err *err)
{
    struct net__range s, t;
    if (!strchr(subnet, '/') || !net__range_parse(subnet, &s))
        return err_set(err, ERR_INVALID, "Invalid subnet %.100s : invalid CIDR address: %.100s", subnet,
                       subnet);
    int r = check_usable(subnet, s, err);
    if (r < 0)
        return r;
    STRV_FOREACH (i, (char **)taken)
        if (net__range_parse(*i, &t) && net__range_overlap(s, t))
            return err_set(err, ERR_DENIED,
                           "Pool overlaps with other one on this address space: %s overlaps %s of another "
                           "network",
                           subnet, *i);
    return 0;
}

struct ranges {
    struct net__range *items;
    size_t count, capacity;
};

static void ranges_add(struct ranges *l, struct net__range r)
{
    GROW(l->items, l->count, l->capacity);
    l->items[l->count++] = r;
}

static void on_host_net(void *context, int index, uint32_t address, int bits)
{
    (void)index;
    ranges_add(context, (struct net__range){{AF_INET, ntohl(address)}, bits});
}

static bool ranges_overlap(const struct ranges *l, struct net__range r)
{
    for (size_t i = 0; i < l->count; i++)
        if (net__range_overlap(l->items[i], r))
            return true;
    return false;
}

static int host_ranges(struct ranges *used, struct err *err)
{
    _cleanup_netlink_ struct mnl_socket *nl = NULL;
    int r = rtnl_open(&nl, err);
    if (r < 0)
        return r;
    r = rtnl_address_list(nl, 0, on_host_net, used);
    if (r == 0)
        r = rtnl_route_list(nl, on_host_net, used);
    return r < 0 ? err_sys(err, -r, "list the host's routes") : 0;
}

int net_pool_check(const struct net_pool *p, struct err *err)
{
    struct net__range r;
    if (!strchr(p->base, '/') || !net__range_parse(p->base, &r))
        return err_set(err, ERR_INVALID, "invalid base pool \"%.100s\": invalid CIDR address", p->base);
    if (p->size < r.bits || p->size > net__family_bits(r.address.family) - 2)
        return err_set(err, ERR_INVALID, "invalid pool size %d of base %.100s: must be from %d to %d",
                       p->size, p->base, r.bits, net__family_bits(r.address.family) - 2);
    return 0;
}

/* The pools' subnets in turn until one is free. */
static bool pick_from(const struct net_pool *p, int family, const struct ranges *used, struct net__range *ret)
{
    struct net__range r;
    if (!net__range_parse(p->base, &r) || r.address.family != family)
        return false;
    int free_bits = p->size - r.bits;
    uint128 step = net__host_mask(family, p->size) + 1;
    size_t count = free_bits >= 16 ? CANDIDATES_MAX : (size_t)1 << free_bits;
    struct net__range c = {net__range_base(r), p->size};
    for (size_t i = 0; i < count; i++, c.address.value += step)
        if (!ranges_overlap(used, c)) {
            *ret = c;
            return true;
        }
    return false;
}

int net_subnet_pick(bool ipv6, const struct net_pool *pools, size_t count, char *const *taken, char **ret,
                    struct err *err)
{
    struct ranges used = {0};
    struct net__range c;
    int family = ipv6 ? AF_INET6 : AF_INET, r = host_ranges(&used, err);
    STRV_FOREACH (i, (char **)taken)
        if (net__range_parse(*i, &c))
            ranges_add(&used, c);
    bool found = false;
    for (size_t i = 0; r == 0 && !found && i < count; i++)
        found = pick_from(&pools[i], family, &used, &c);
    free(used.items);
    if (r < 0)
        return r;
    if (!found)
        return err_set(
            err, ERR_NOT_FOUND,
            "could not find an available, non-overlapping IPv%d address pool among the defaults to "
            "assign to the network: remove a network, or give the new one a --subnet of its own",
            ipv6 ? 6 : 4);
    *ret = net__range_text(c);
    return 0;
}

/* --- addresses --- */

static int compare_values(const void *a, const void *b)
{
    uint128 x = *(const uint128 *)a, y = *(const uint128 *)b;
    return x < y ? -1 : x > y;
}

static uint128 *taken_values(char *const *taken, int family, size_t *ret_count)
{
    struct net__range t;
    uint128 *used = NEW_N(uint128, strv_len(taken) + 1);
    size_t n = 0;
    STRV_FOREACH (i, (char **)taken)
        if (net__range_parse(*i, &t) && t.address.family == family)
            used[n++] = t.address.value;
    qsort(used, n, sizeof(*used), compare_values);
    *ret_count = n;
    return used;
}

int net_address_pick(const char *subnet, const char *range, char *const *taken, char **ret, struct err *err)
{
    struct net__range s, w;
    if (!net__range_parse(subnet, &s))
        return err_set(err, ERR_INVALID, "%s is not a subnet", subnet);
    w = s;
    if (!str_empty(range) && !net__range_parse(range, &w))
        return err_set(err, ERR_INVALID, "address range %s is not of the form 172.20.5.0/24", range);
    if (w.bits < s.bits || !net__range_has(s, w.address))
        return err_set(err, ERR_INVALID, "address range %s is not within subnet %s", range, subnet);
    int family = s.address.family;
    uint128 base = net__range_base(s).value, last = base | net__host_mask(family, s.bits);
    uint128 low = net__range_base(w).value, high = low | net__host_mask(family, w.bits);
    low = MAX(low, base + 1);
    high = family == AF_INET ? MIN(high, last - 1) : high; /* the last one is for broadcasts */

    size_t n;
    _cleanup_free_ uint128 *used = taken_values(taken, family, &n);
    struct net__ip candidate = {family, low};
    for (size_t i = 0; i < n; i++)
        if (used[i] == candidate.value)
            candidate.value++;
    if (low > high || candidate.value > high)
        return err_set(err, ERR_UNAVAILABLE,
                       "no available IPv%d addresses on this network's address pools: none is free in %s: "
                       "remove a container or use a larger subnet",
                       family == AF_INET ? 4 : 6, str_empty(range) ? subnet : range);
    char text[NET__IP_BYTES];
    net__ip_format(candidate, text);
    *ret = mem_strdup(text);
    return 0;
}

static int64_t counted(uint128 n)
{
    return n > INT64_MAX ? INT64_MAX : (int64_t)n;
}

void net_subnet_usage(const char *subnet, const char *range, char *const *taken, int64_t *ret_used,
                      int64_t *ret_free)
{
    struct net__range s, w;
    *ret_used = *ret_free = 0;
    if (!net__range_parse(subnet, &s))
        return;
    if (str_empty(range) || !net__range_parse(range, &w))
        w = s;
    int family = s.address.family;
    uint128 base = net__range_base(s).value, last = base | net__host_mask(family, s.bits);
    size_t n;
    _cleanup_free_ uint128 *used = taken_values(taken, family, &n);
    used = mem_grow(used, n + 2, sizeof(*used));
    used[n++] = base; /* the network itself, or any of its routers */
    if (family == AF_INET)
        used[n++] = last; /* broadcasts */
    qsort(used, n, sizeof(*used), compare_values);
    uint128 in_subnet = 0, in_range = 0;
    for (size_t i = 0; i < n; i++) {
        struct net__ip a = {family, used[i]};
        if ((i && used[i] == used[i - 1]) || !net__range_has(s, a))
            continue;
        in_subnet++;
        in_range += net__range_has(w, a);
    }
    *ret_used = counted(in_subnet);
    *ret_free = counted(net__host_mask(family, w.bits) + 1 - in_range);
}

char *net_address_canonical(const char *address)
{
    struct net__ip a;
    char text[NET__IP_BYTES];
    if (!net__ip_parse(address, &a))
        return NULL;
    net__ip_format(a, text);
    return mem_strdup(text);
}

bool net_address_is_ipv6(const char *address)
{
    return strchr(address, ':') != NULL;
}

bool net_address_in_subnet(const char *address, const char *subnet)
{
    struct net__range s;
    struct net__ip a;
    return net__range_parse(subnet, &s) && net__ip_parse(address, &a) && net__range_has(s, a);
}
