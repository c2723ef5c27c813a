#include "base/address_range.h"

#include "base/str.h"

#include <arpa/inet.h>
#include <string.h>

enum { MAPPED_BITS = 96 }; /* before an IPv4 address */

bool address_parse(const char *text, uint8_t ret[ADDRESS_BYTES])
{
    uint8_t v4[ADDRESS_BYTES] = {[10] = 0xff, [11] = 0xff};
    if (inet_pton(AF_INET, text, v4 + MAPPED_BITS / 8) != 1)
        return inet_pton(AF_INET6, text, ret) == 1;
    memcpy(ret, v4, ADDRESS_BYTES);
    return true;
}

bool address_range_parse(const char *text, struct address_range *ret)
{
    const char *slash = strchr(text, '/');
    if (!slash)
        return false;
    _cleanup_free_ char *address = mem_strndup(text, (size_t)(slash - text));
    int skipped = strchr(address, ':') ? 0 : MAPPED_BITS;
    struct address_range range;
    int64_t bits;
    if (!address_parse(address, range.network) ||
        parse_i64(slash + 1, 0, 8 * ADDRESS_BYTES - skipped, &bits, NULL) < 0)
        return false;
    range.bits = (int)bits + skipped;
    *ret = range;
    return true;
}

bool address_range_has(const struct address_range *range, const uint8_t address[ADDRESS_BYTES])
{
    int whole = range->bits / 8, rest = range->bits % 8;
    return memcmp(address, range->network, (size_t)whole) == 0 &&
           (rest == 0 || (address[whole] ^ range->network[whole]) >> (8 - rest) == 0);
}
