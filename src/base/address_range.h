/* Ranges of addresses, as 10.0.0.0/8 and fd00::/8 name them: what is in one. Plain values, no memory, any
 * thread. */
#ifndef BASE_ADDRESS_RANGE_H
#define BASE_ADDRESS_RANGE_H

#include <stdbool.h>
#include <stdint.h>

enum { ADDRESS_BYTES = 16 }; /* of IPv6; IPv4 as ::ffff:a.b.c.d */

struct address_range {
    uint8_t network[ADDRESS_BYTES];
    int bits; /* that are the network's, of 128 */
};

/* False: it is not an address, "/" and a number of bits that fits it. Bits behind those are passed over. */
bool address_range_parse(const char *text, struct address_range *ret);
bool address_range_has(const struct address_range *range, const uint8_t address[ADDRESS_BYTES]);
/* An address without brackets and port. */
bool address_parse(const char *text, uint8_t ret[ADDRESS_BYTES]);

#endif
