/* DNS messages (RFC 1035, EDNS of RFC 6891): what a query asks, and the answer that the table gives. Pure:
 * bytes in, bytes out, and no input can do more than be refused. */
#ifndef NET_DNS_MESSAGE_H
#define NET_DNS_MESSAGE_H

#include "net/dns_table.h"

enum {
    DNS_UDP_BYTES = 512,   /* the largest answer for who does not say more */
    DNS_EDNS_BYTES = 1232, /* the largest that we send and claim to take: fits an unfragmented packet */
    DNS_MESSAGE_BYTES = 65535,
    /* Names move when containers are replaced, and answering costs nothing: short, but long enough that a
     * program that resolves for each request does not ask each time. */
    DNS_TTL_S = 5,
};

enum dns_verdict {
    DNS_DROP,    /* not a query at all, or from nobody of ours: no answer */
    DNS_ANSWER,  /* `ret` holds the answer */
    DNS_FORWARD, /* not ours to know */
};

struct dns_question {
    char name[DNS_NAME_BYTES_MAX + 2]; /* lower case, labels joined by '.', no final dot */
    uint16_t type;
    size_t end;     /* of the question in the message */
    size_t udp_max; /* bytes that the asker takes in a datagram */
    bool edns;
};

/* Decides about a query of `client`; `tcp` lifts the limit on the answer's size. `rotation` turns the order
 * of several addresses. `ret` has room for `capacity` bytes (at least DNS_UDP_BYTES). */
enum dns_verdict dns_message_answer(const struct dns_table *t, uint32_t client, const uint8_t *query,
                                    size_t n, bool tcp, unsigned rotation, uint8_t *ret, size_t capacity,
                                    size_t *ret_bytes);
/* The query's head and question with a response code: for what cannot be resolved. `n` >= 12. */
size_t dns_message_refuse(const uint8_t *query, size_t n, int rcode, uint8_t *ret, size_t capacity);
/* Whether `answer` is a response to `query`'s question (the ids are compared by the caller's socket table).
 */
bool dns_message_matches(const uint8_t *query, size_t query_bytes, const uint8_t *answer,
                         size_t answer_bytes);

#endif
