#include "net/dns_table.h"

void dns_table_done(struct dns_table *t)
{
    for (size_t i = 0; i < t->host_count; i++) {
        free(t->hosts[i].owner);
        strv_free(t->hosts[i].names);
    }
    for (size_t i = 0; i < t->link_count; i++) {
        free(t->links[i].owner);
        free(t->links[i].alias);
        free(t->links[i].name);
    }
    free(t->links);
    free(t->hosts);
    free(t->bridges);
    *t = (struct dns_table){0};
}

void dns_table_add_host(struct dns_table *t, const char *bridge, uint32_t address, char *owner, char **names)
{
    GROW(t->hosts, t->host_count, t->host_capacity);
    struct dns_host *h = &t->hosts[t->host_count++];
    *h = (struct dns_host){.address = address, .owner = owner, .names = names};
    snprintf(h->bridge, sizeof(h->bridge), "%s", bridge);
}

void dns_table_add_link(struct dns_table *t, char *owner, char *alias, char *name)
{
    GROW(t->links, t->link_count, t->link_capacity);
    t->links[t->link_count++] = (struct dns_link){owner, alias, name};
}

bool dns_name_valid(const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)name[i] <= ' ' || name[i] == 0x7f)
            return false;
    return n > 0 && n <= DNS_NAME_BYTES_MAX;
}

void dns_table_format(const struct dns_table *t, struct str *to)
{
    char address[16], subnet[16];
    str_addf(to, "drover-dns 1\nport %u\n", t->port);
    for (size_t i = 0; i < t->bridge_count; i++) {
        const struct dns_bridge *b = &t->bridges[i];
        net__address_format(b->gateway, address);
        net__address_format(b->subnet.address, subnet);
        str_addf(to, "bridge %s %s %s/%d %s\n", b->name, address, subnet, b->subnet.bits,
                 b->internal ? "internal" : "open");
    }
    for (size_t i = 0; i < t->link_count; i++)
        str_addf(to, "link %s %s %s\n", t->links[i].owner, t->links[i].alias, t->links[i].name);
    for (size_t i = 0; i < t->host_count; i++) {
        const struct dns_host *h = &t->hosts[i];
        char address6[NET__IP_BYTES] = "";
        net__address_format(h->address, address);
        if (h->address6.family)
            net__ip_format(h->address6, address6);
        str_addf(to, "host %s %s%s%s %s", h->bridge, address, *address6 ? "," : "", address6,
                 str_empty(h->owner) ? "-" : h->owner);
        STRV_FOREACH (name, h->names)
            str_addf(to, " %s", *name);
        str_addc(to, '\n');
    }
}

static bool parse_bridge(char **words, struct dns_table *t)
{
    struct dns_bridge b = {0};
    if (strv_len(words) != 5 || strlen(words[1]) >= sizeof(b.name) ||
        !net__address_parse(words[2], &b.gateway) || !net__cidr_parse(words[3], &b.subnet))
        return false;
    snprintf(b.name, sizeof(b.name), "%s", words[1]);
    b.internal = str_eq(words[4], "internal");
    GROW(t->bridges, t->bridge_count, t->bridge_capacity);
    t->bridges[t->bridge_count++] = b;
    return true;
}

static bool parse_host(char **words, struct dns_table *t)
{
    uint32_t address;
    struct net__ip address6 = {0};
    char *comma = words[1] && words[2] ? strchr(words[2], ',') : NULL;
    if (comma) {
        *comma = '\0';
        if (!net__ip_parse(comma + 1, &address6) || address6.family != AF_INET6)
            return false;
    }
    if (strv_len(words) < 4 || strlen(words[1]) >= 16 || !net__address_parse(words[2], &address))
        return false;
    char **names = NULL;
    STRV_FOREACH (name, words + 4)
        if (dns_name_valid(*name))
            strv_add(&names, *name);
    dns_table_add_host(t, words[1], address, mem_strdup(str_eq(words[3], "-") ? "" : words[3]), names);
    t->hosts[t->host_count - 1].address6 = address6;
    return true;
}

static bool parse_link(char **words, struct dns_table *t)
{
    if (strv_len(words) != 4 || !dns_name_valid(words[1]) || !dns_name_valid(words[2]) ||
        !dns_name_valid(words[3]))
        return false;
    dns_table_add_link(t, mem_strdup(words[1]), mem_strdup(words[2]), mem_strdup(words[3]));
    return true;
}

static bool parse_line(const char *line, size_t number, struct dns_table *t)
{
    int64_t port;
    if (number == 1)
        return str_eq(line, "drover-dns 1");
    if (!*line)
        return true;
    _cleanup_strv_ char **words = strv_split(line, ' ');
    if (str_eq(words[0], "port")) {
        if (strv_len(words) != 2 || parse_i64(words[1], 1, 65535, &port, NULL) < 0)
            return false;
        t->port = (uint16_t)port;
        return true;
    }
    if (str_eq(words[0], "bridge"))
        return parse_bridge(words, t);
    if (str_eq(words[0], "link"))
        return parse_link(words, t);
    return str_eq(words[0], "host") && parse_host(words, t);
}

int dns_table_parse(const char *text, struct dns_table *ret, struct err *err)
{
    struct dns_table t = {0};
    size_t number = 0;
    for (const char *at = text; *at;) {
        size_t n = strcspn(at, "\n");
        _cleanup_free_ char *line = mem_strndup(at, n);
        number++;
        if (!parse_line(line, number, &t)) {
            dns_table_done(&t);
            return err_set(err, ERR_CORRUPT, "the table of names is damaged in line %zu", number);
        }
        at += n + (at[n] == '\n');
    }
    if (!t.port) {
        dns_table_done(&t);
        return err_set(err, ERR_CORRUPT, "the table of names has no port");
    }
    *ret = t;
    return 0;
}

const struct dns_bridge *dns_table_bridge_of(const struct dns_table *t, uint32_t client)
{
    for (size_t i = 0; i < t->bridge_count; i++)
        if (net__cidr_has(t->bridges[i].subnet, client))
            return &t->bridges[i];
    return NULL;
}
