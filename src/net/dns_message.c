#include "net/dns_message.h"

#include <ctype.h>
#include <strings.h>

enum {
    HEAD = 12,
    LABEL_MAX = 63,
    TYPE_A = 1,
    TYPE_PTR = 12,
    TYPE_AAAA = 28,
    TYPE_OPT = 41,
    TYPE_ANY = 255,
    CLASS_IN = 1,
    RCODE_FORMAT = 1,
    RCODE_NO_NAME = 3,
    RCODE_NOT_IMPLEMENTED = 4,
    FLAG_RESPONSE = 0x8000,
    FLAG_OPCODE = 0x7800,
    FLAG_AUTHORITATIVE = 0x0400,
    FLAG_TRUNCATED = 0x0200,
    FLAG_RECURSION_DESIRED = 0x0100,
    FLAG_RECURSION_AVAILABLE = 0x0080,
    RECORD_A_BYTES = 16, /* pointer, type, class, ttl, length, address */
    RECORD_OPT_BYTES = 11,
    ADDRESSES_MAX = 1024,
};

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static void put16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

/* A question's name comes first in a message, so that there is nothing a compression pointer could point to:
 * one is refused, and with it every loop. Returns the offset behind it, or 0. */
static size_t name_read(const uint8_t *m, size_t n, size_t at, char *ret, size_t capacity)
{
    size_t used = 0;
    for (;;) {
        if (at >= n)
            return 0;
        size_t label = m[at++];
        if (label == 0)
            break;
        if (label > LABEL_MAX || label > n - at || used + label + 1 >= capacity)
            return 0;
        if (used)
            ret[used++] = '.';
        for (size_t i = 0; i < label; i++) {
            uint8_t c = m[at + i];
            /* A dot or a NUL within a label would make another name of it. */
            ret[used++] = c == '.' || c == '\0' ? '\x7f' : (char)tolower(c);
        }
        at += label;
    }
    ret[used] = '\0';
    return at;
}

/* Looks for OPT among the additional records of a plain query; what is malformed there is as if absent. */
static void edns_read(const uint8_t *m, size_t n, struct dns_question *q)
{
    q->udp_max = DNS_UDP_BYTES;
    if (get16(m + 6) || get16(m + 8))
        return;
    size_t at = q->end;
    for (unsigned i = get16(m + 10); i > 0 && i <= 4; i--) {
        char name[DNS_NAME_BYTES_MAX + 2];
        at = name_read(m, n, at, name, sizeof(name));
        if (!at || n - at < 10)
            return;
        if (get16(m + at) == TYPE_OPT && !*name) {
            q->edns = true;
            q->udp_max = MIN(MAX(get16(m + at + 2), DNS_UDP_BYTES), DNS_EDNS_BYTES);
            return;
        }
        size_t data = get16(m + at + 8);
        if (data > n - at - 10)
            return;
        at += 10 + data;
    }
}

static bool question_read(const uint8_t *m, size_t n, struct dns_question *q)
{
    *q = (struct dns_question){.udp_max = DNS_UDP_BYTES};
    if (get16(m + 4) != 1)
        return false;
    size_t at = name_read(m, n, HEAD, q->name, sizeof(q->name));
    if (!at || n - at < 4)
        return false;
    q->type = get16(m + at);
    q->end = at + 4;
    edns_read(m, n, q);
    return true;
}

size_t dns_message_refuse(const uint8_t *query, size_t n, int rcode, uint8_t *ret, size_t capacity)
{
    struct dns_question q;
    size_t end = HEAD;
    if (question_read(query, n, &q) && q.end <= capacity)
        end = q.end;
    memcpy(ret, query, end);
    unsigned flags = (get16(query + 2) & (FLAG_OPCODE | FLAG_RECURSION_DESIRED)) | FLAG_RESPONSE |
                     FLAG_RECURSION_AVAILABLE | (unsigned)rcode;
    put16(ret + 2, flags);
    put16(ret + 4, end > HEAD);
    memset(ret + 6, 0, 6);
    return end;
}

bool dns_message_matches(const uint8_t *query, size_t query_bytes, const uint8_t *answer, size_t answer_bytes)
{
    struct dns_question asked, answered;
    if (answer_bytes < HEAD || query_bytes < HEAD || !(get16(answer + 2) & FLAG_RESPONSE) ||
        !question_read(query, query_bytes, &asked))
        return false;
    /* Some servers leave the question out of an error. */
    if (get16(answer + 4) == 0)
        return (answer[3] & 0x0f) != 0;
    return question_read(answer, answer_bytes, &answered) && asked.type == answered.type &&
           str_eq(asked.name, answered.name);
}

/* --- what the asker may know --- */

/* The container that asks, or "". */
static const char *owner_of(const struct dns_table *t, uint32_t client, const struct dns_bridge *own)
{
    for (size_t i = 0; i < t->host_count; i++)
        if (t->hosts[i].address == client && str_eq(t->hosts[i].bridge, own->name))
            return t->hosts[i].owner;
    return "";
}

/* What a name that the asker alone knows stands for; else the name itself. */
static const char *linked_name(const struct dns_table *t, const char *owner, const char *name)
{
    for (size_t i = 0; *owner && i < t->link_count; i++)
        if (str_eq(t->links[i].owner, owner) && strcasecmp(t->links[i].alias, name) == 0)
            return t->links[i].name;
    return name;
}

/* One that sees a bridge: it asks from that bridge's subnet, or is a container that is on it as well. */
static bool sees(const struct dns_table *t, uint32_t client, const struct dns_bridge *own, const char *bridge)
{
    if (str_eq(own->name, bridge))
        return true;
    const char *owner = owner_of(t, client, own);
    for (size_t i = 0; *owner && i < t->host_count; i++)
        if (str_eq(t->hosts[i].owner, owner) && str_eq(t->hosts[i].bridge, bridge))
            return true;
    return false;
}

static bool has_name(const struct dns_host *h, const char *name)
{
    STRV_FOREACH (i, h->names)
        if (strcasecmp(*i, name) == 0)
            return true;
    return false;
}

static size_t find_hosts(const struct dns_table *t, uint32_t client, const struct dns_bridge *own,
                         const char *name, const struct dns_host **ret)
{
    size_t count = 0;
    for (size_t i = 0; i < t->host_count && count < ADDRESSES_MAX; i++) {
        const struct dns_host *h = &t->hosts[i];
        if (has_name(h, name) && sees(t, client, own, h->bridge))
            ret[count++] = h;
    }
    return count;
}

/* "2.0.20.172.in-addr.arpa" */
static bool reverse_parse(const char *name, uint32_t *ret)
{
    unsigned a, b, c, d;
    int end = 0;
    if (sscanf(name, "%3u.%3u.%3u.%3u.in-addr.arpa%n", &d, &c, &b, &a, &end) != 4 || !end || name[end] ||
        a > 255 || b > 255 || c > 255 || d > 255)
        return false;
    *ret = a << 24 | b << 16 | c << 8 | d;
    return true;
}

/* 32 hexadecimal digits, the last one first, and "ip6.arpa". */
static bool reverse6_parse(const char *name, struct net__ip *ret)
{
    struct net__ip ip = {.family = AF_INET6};
    for (int i = 0; i < 32; i++, name += 2) {
        char c = name[0];
        if (!isxdigit((unsigned char)c) || name[1] != '.')
            return false;
        unsigned digit = isdigit((unsigned char)c) ? (unsigned)(c - '0') : (unsigned)(tolower(c) - 'a' + 10);
        ip.value |= (uint128)digit << (4 * i);
    }
    *ret = ip;
    return str_eq(name, "ip6.arpa");
}

/* --- writing --- */

struct answer {
    const struct dns_question *q;
    uint8_t *m;
    size_t used, limit;
    unsigned count;
};

static bool record_begin(struct answer *a, uint16_t type, size_t data)
{
    size_t reserve = a->q->edns ? RECORD_OPT_BYTES : 0;
    if (a->used + 12 + data + reserve > a->limit) {
        put16(a->m + 2, get16(a->m + 2) | FLAG_TRUNCATED);
        return false;
    }
    uint8_t *p = a->m + a->used;
    put16(p, 0xc000 | HEAD); /* the question's name */
    put16(p + 2, type);
    put16(p + 4, CLASS_IN);
    put16(p + 6, 0);
    put16(p + 8, DNS_TTL_S);
    put16(p + 10, (unsigned)data);
    a->used += 12;
    a->count++;
    return true;
}

static void add_addresses(struct answer *a, const struct dns_host *h)
{
    if ((a->q->type == TYPE_A || a->q->type == TYPE_ANY) && record_begin(a, TYPE_A, 4)) {
        put16(a->m + a->used, h->address >> 16);
        put16(a->m + a->used + 2, h->address & 0xffff);
        a->used += 4;
    }
    if ((a->q->type == TYPE_AAAA || a->q->type == TYPE_ANY) && h->address6.family &&
        record_begin(a, TYPE_AAAA, 16)) {
        net__ip_bytes(h->address6, a->m + a->used);
        a->used += 16;
    }
}

/* A name as labels; 0 when it cannot be one. */
static size_t name_write(const char *name, uint8_t *ret, size_t capacity)
{
    size_t used = 0;
    while (*name) {
        size_t label = strcspn(name, ".");
        if (label == 0 || label > LABEL_MAX || used + label + 2 > capacity)
            return 0;
        ret[used++] = (uint8_t)label;
        memcpy(ret + used, name, label);
        used += label;
        name += label + (name[label] == '.');
    }
    ret[used++] = 0;
    return used;
}

static void add_pointer(struct answer *a, const char *name)
{
    uint8_t labels[DNS_NAME_BYTES_MAX + 3];
    size_t n = name_write(name, labels, sizeof(labels));
    if (!n || !record_begin(a, TYPE_PTR, n))
        return;
    memcpy(a->m + a->used, labels, n);
    a->used += n;
}

static void answer_begin(struct answer *a, const uint8_t *query, int rcode)
{
    a->used = dns_message_refuse(query, a->q->end, rcode, a->m, a->limit);
    put16(a->m + 2, get16(a->m + 2) | FLAG_AUTHORITATIVE);
}

static size_t answer_end(struct answer *a)
{
    put16(a->m + 6, a->count);
    if (!a->q->edns || a->used + RECORD_OPT_BYTES > a->limit)
        return a->used;
    uint8_t *p = a->m + a->used;
    memset(p, 0, RECORD_OPT_BYTES);
    put16(p + 1, TYPE_OPT);
    put16(p + 3, DNS_EDNS_BYTES);
    put16(a->m + 10, 1);
    return a->used + RECORD_OPT_BYTES;
}

static enum dns_verdict answer_reverse(const struct dns_table *t, uint32_t client,
                                       const struct dns_bridge *own, uint32_t address, const uint8_t *query,
                                       struct answer *a)
{
    const struct dns_bridge *of = dns_table_bridge_of(t, address);
    if (!of || !sees(t, client, own, of->name))
        return DNS_FORWARD;
    const struct dns_host *found = NULL;
    for (size_t i = 0; i < t->host_count && !found; i++)
        if (t->hosts[i].address == address && str_eq(t->hosts[i].bridge, of->name) && t->hosts[i].names)
            found = &t->hosts[i];
    /* The rest of our own subnets is nobody else's to know either. */
    answer_begin(a, query, found ? 0 : RCODE_NO_NAME);
    if (found && (a->q->type == TYPE_PTR || a->q->type == TYPE_ANY))
        add_pointer(a, found->names[0]);
    return DNS_ANSWER;
}

static enum dns_verdict answer_reverse6(const struct dns_table *t, uint32_t client,
                                        const struct dns_bridge *own, struct net__ip address,
                                        const uint8_t *query, struct answer *a)
{
    for (size_t i = 0; i < t->host_count; i++) {
        const struct dns_host *h = &t->hosts[i];
        if (!h->address6.family || h->address6.value != address.value || !h->names ||
            !sees(t, client, own, h->bridge))
            continue;
        answer_begin(a, query, 0);
        if (a->q->type == TYPE_PTR || a->q->type == TYPE_ANY)
            add_pointer(a, h->names[0]);
        return DNS_ANSWER;
    }
    return DNS_FORWARD;
}

static enum dns_verdict answer_local(const struct dns_table *t, uint32_t client, const struct dns_bridge *own,
                                     const uint8_t *query, unsigned rotation, struct answer *a)
{
    uint32_t address;
    struct net__ip address6;
    if (reverse_parse(a->q->name, &address))
        return answer_reverse(t, client, own, address, query, a);
    if (reverse6_parse(a->q->name, &address6))
        return answer_reverse6(t, client, own, address6, query, a);
    const struct dns_host *hosts[ADDRESSES_MAX];
    const char *name = linked_name(t, owner_of(t, client, own), a->q->name);
    size_t count = *name ? find_hosts(t, client, own, name, hosts) : 0;
    if (!count)
        return DNS_FORWARD;
    answer_begin(a, query, 0);
    /* Of other types the name, which exists, has none: that keeps resolvers from looking further. */
    for (size_t i = 0; i < count; i++)
        add_addresses(a, hosts[(i + rotation) % count]);
    return DNS_ANSWER;
}

/* Whether any network of the asker has a way out. */
static bool may_forward(const struct dns_table *t, uint32_t client, const struct dns_bridge *own)
{
    for (size_t i = 0; i < t->bridge_count; i++)
        if (!t->bridges[i].internal && sees(t, client, own, t->bridges[i].name))
            return true;
    return false;
}

enum dns_verdict dns_message_answer(const struct dns_table *t, uint32_t client, const uint8_t *query,
                                    size_t n, bool tcp, unsigned rotation, uint8_t *ret, size_t capacity,
                                    size_t *ret_bytes)
{
    struct dns_question q;
    const struct dns_bridge *own = dns_table_bridge_of(t, client);
    if (n < HEAD || !own || (get16(query + 2) & FLAG_RESPONSE))
        return DNS_DROP;
    if (get16(query + 2) & FLAG_OPCODE) {
        *ret_bytes = dns_message_refuse(query, n, RCODE_NOT_IMPLEMENTED, ret, MIN(capacity, DNS_UDP_BYTES));
        return DNS_ANSWER;
    }
    if (!question_read(query, n, &q)) {
        *ret_bytes = dns_message_refuse(query, n, RCODE_FORMAT, ret, MIN(capacity, DNS_UDP_BYTES));
        return DNS_ANSWER;
    }
    struct answer a = {.q = &q, .m = ret, .limit = tcp ? capacity : MIN(q.udp_max, capacity)};
    enum dns_verdict verdict = get16(query + q.end - 2) == CLASS_IN
                                   ? answer_local(t, client, own, query, rotation, &a)
                                   : DNS_FORWARD;
    if (verdict == DNS_FORWARD && !may_forward(t, client, own)) {
        /* Names of the world are a way out of an internal network too. */
        answer_begin(&a, query, RCODE_NO_NAME);
        verdict = DNS_ANSWER;
    }
    if (verdict == DNS_ANSWER)
        *ret_bytes = answer_end(&a);
    return verdict;
}
