/* A datagram from a container, answered from a table; the first byte chooses who asks and how. What comes out
 * must be an answer that fits, or nothing; and an upstream's message is compared with the question. */
#include "net/dns_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char table_text[] = "drover-dns 1\n"
                                 "port 20053\n"
                                 "bridge br0 172.20.0.1 172.20.0.0/16 open\n"
                                 "bridge br1 10.5.0.1 10.5.0.0/24 internal\n"
                                 "host br0 172.20.0.2 aaaa web service\n"
                                 "host br0 172.20.0.3 bbbb db service db.project\n"
                                 "host br1 10.5.0.3 bbbb db\n"
                                 "host br1 10.5.0.4 - lonely\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct dns_table table;
    static const uint32_t clients[] = {0xac140002, 0xac140003, 0x0a050004, 0x01020304};
    if (!table.port)
        must(dns_table_parse(table_text, &table, NULL) == 0);
    if (size < 1)
        return 0;
    uint8_t answer[2048];
    size_t bytes = 0, capacity = data[0] & 8 ? sizeof(answer) : DNS_UDP_BYTES;
    bool tcp = data[0] & 4;
    /* A copy of its own size, so that reading beyond it is seen. */
    size_t n = size - 1;
    _cleanup_free_ uint8_t *query = mem_dup(data + 1, n);
    if (dns_message_answer(&table, clients[data[0] & 3], query, n, tcp, data[0], answer, capacity, &bytes) ==
        DNS_ANSWER) {
        must(bytes >= 12 && bytes <= capacity);
        must(answer[2] & 0x80);
        must(answer[0] == query[0] && answer[1] == query[1]);
    }
    if (n >= 12)
        must(dns_message_refuse(query, n, 2, answer, DNS_UDP_BYTES) <= DNS_UDP_BYTES);
    dns_message_matches(query, n / 2, query + n / 2, n - n / 2);

    /* The same bytes as a table's text. */
    struct dns_table other;
    _cleanup_free_ char *text = mem_strndup((const char *)query, n);
    if (dns_table_parse(text, &other, NULL) == 0)
        dns_table_done(&other);
    return 0;
}
