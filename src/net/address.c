/* Addresses and ranges of both families, as numbers. */
#include "net/priv.h"

#include <arpa/inet.h>

int net__family_bits(int family)
{
    return family == AF_INET6 ? 128 : 32;
}

/* The host part of a prefix as ones. */
uint128 net__host_mask(int family, int bits)
{
    int host = net__family_bits(family) - bits;
    return host >= 128 ? ~(uint128)0 : ((uint128)1 << host) - 1;
}

struct net__ip net__ip_of_bytes(int family, const uint8_t *bytes)
{
    struct net__ip ip = {.family = family};
    for (int i = 0; i < net__family_bits(family) / 8; i++)
        ip.value = ip.value << 8 | bytes[i];
    return ip;
}

void net__ip_bytes(struct net__ip ip, uint8_t out[16])
{
    int n = net__family_bits(ip.family) / 8;
    for (int i = 0; i < n; i++)
        out[i] = (uint8_t)(ip.value >> (8 * (n - 1 - i)));
}

bool net__ip_parse(const char *text, struct net__ip *ret)
{
    uint8_t bytes[16];
    int family = text && strchr(text, ':') ? AF_INET6 : AF_INET;
    if (!text || inet_pton(family, text, bytes) != 1)
        return false;
    *ret = net__ip_of_bytes(family, bytes);
    return true;
}

void net__ip_format(struct net__ip ip, char out[NET__IP_BYTES])
{
    uint8_t bytes[16];
    net__ip_bytes(ip, bytes);
    if (!inet_ntop(ip.family, bytes, out, NET__IP_BYTES))
        *out = '\0';
}

bool net__range_parse(const char *text, struct net__range *ret)
{
    char copy[NET__IP_BYTES + 4];
    struct net__range r;
    if (!text || strlen(text) >= sizeof(copy))
        return false;
    memcpy(copy, text, strlen(text) + 1);
    char *slash = strchr(copy, '/');
    if (slash)
        *slash = '\0';
    if (!net__ip_parse(copy, &r.address))
        return false;
    int64_t bits = net__family_bits(r.address.family);
    if (slash && parse_i64(slash + 1, 0, bits, &bits, NULL) < 0)
        return false;
    r.bits = (int)bits;
    *ret = r;
    return true;
}

struct net__ip net__range_base(struct net__range r)
{
    r.address.value &= ~net__host_mask(r.address.family, r.bits);
    return r.address;
}

char *net__range_text(struct net__range r)
{
    char base[NET__IP_BYTES];
    net__ip_format(net__range_base(r), base);
    return str_printf("%s/%d", base, r.bits);
}

bool net__range_has(struct net__range r, struct net__ip a)
{
    return r.address.family == a.family &&
           ((r.address.value ^ a.value) & ~net__host_mask(a.family, r.bits)) == 0;
}

bool net__range_overlap(struct net__range a, struct net__range b)
{
    return net__range_has(a.bits < b.bits ? a : b, a.bits < b.bits ? b.address : a.address);
}
