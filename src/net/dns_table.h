/* What the DNS process knows: the bridges it serves and the names on each. A plain text file, a line a fact,
 * replaced whole by `serve` and read by the DNS process:
 *
 *     drover-dns 1
 *     port 23456
 *     bridge dr1a2b1c2d3e4f 172.20.0.1 172.20.0.0/16 open|internal
 *     link OWNER ALIAS NAME
 *     host dr1a2b1c2d3e4f 172.20.0.2[,fd00::2] OWNER|- web web.project 1c2d3e4f5a6b ...
 */
#ifndef NET_DNS_TABLE_H
#define NET_DNS_TABLE_H

#include "net/priv.h"

enum { DNS_TABLE_BYTES_MAX = 32 << 20, DNS_NAME_BYTES_MAX = 253 };

struct dns_bridge {
    char name[16];
    uint32_t gateway;
    struct net__cidr subnet;
    bool internal; /* only local names are answered */
};

struct dns_host {
    char bridge[16];
    uint32_t address;
    struct net__ip address6; /* family 0: none */
    char *owner;             /* "" when unknown; hosts of one owner are one container on several networks */
    char **names;
};

/* A name that one container alone knows for another's. */
struct dns_link {
    char *owner, *alias, *name;
};

struct dns_table {
    uint16_t port;
    struct dns_link *links;
    size_t link_count, link_capacity;
    struct dns_bridge *bridges;
    size_t bridge_count, bridge_capacity;
    struct dns_host *hosts;
    size_t host_count, host_capacity;
};

void dns_table_done(struct dns_table *t); /* leaves an empty table */
/* Takes `owner` and `names`. */
void dns_table_add_host(struct dns_table *t, const char *bridge, uint32_t address, char *owner, char **names);
/* Takes all three. */
void dns_table_add_link(struct dns_table *t, char *owner, char *alias, char *name);
void dns_table_format(const struct dns_table *t, struct str *to);
int dns_table_parse(const char *text, struct dns_table *ret, struct err *err);
/* Fits in the file and in a DNS name: no white space or control characters, 1 to 253 bytes. */
bool dns_name_valid(const char *name);

const struct dns_bridge *dns_table_bridge_of(const struct dns_table *t, uint32_t client); /* or NULL */

#endif
