/* The rules of spreads: two chains each, "virtual_ID" for its virtual address and "published_ID" for its
 * ports of this machine, both of destination NAT with the target counted out in turn. A connection that goes
 * on is the kernel's own table's: replacing a chain changes nothing for it. */
#include "net/priv.h"

#include <netinet/in.h>

/* Which targets a rule leads to, and at which port. */
enum choice {
    TO_SAME_PORT, /* containers, here and far, at the port that was asked for */
    TO_HERE,      /* containers here */
    TO_MACHINES,  /* those, and other machines */
    TO_ALL,
};

static struct net__ip target_address(const struct net__spread_target *t, int family)
{
    return family == AF_INET6 ? t->address6 : t->address;
}

/* False: the rule does not lead there. "10.0.1.2 . 80", "10.0.1.2" */
static bool target_text(const struct net__spread_target *t, int family, enum choice choice,
                        const struct net__spread_port *p, char *ret, size_t capacity)
{
    struct net__ip ip = target_address(t, family);
    char address[NET__IP_BYTES];
    bool machines = choice == TO_ALL || choice == TO_MACHINES,
         containers = choice == TO_ALL || choice == TO_SAME_PORT;
    if (!ip.family || (t->remote && (!machines || !p->published)) || (t->far && !containers))
        return false;
    net__ip_format(ip, address);
    if (choice == TO_SAME_PORT)
        snprintf(ret, capacity, "%s", address);
    else
        snprintf(ret, capacity, "%s . %u", address, t->remote ? p->published : p->target);
    return true;
}

/* One rule; none when it would lead nowhere. */
static void add_rule(const struct net *n, struct str *to, const struct net__spread *s, const char *chain,
                     const char *match, int family, enum choice choice, const struct net__spread_port *p)
{
    _cleanup_str_ struct str list = STR_INIT;
    size_t count = 0;
    char one[NET__IP_BYTES + 16];
    for (size_t i = 0; i < s->target_count; i++)
        if (target_text(&s->targets[i], family, choice, p, one, sizeof(one)))
            str_addf(&list, "%s%zu : %s", count ? ", " : "", count, one), count++;
    if (count)
        str_addf(to, "add rule inet %s %s_%s %s dnat %s to numgen inc mod %zu map { %s }\n", n->table, chain,
                 s->id, match, family == AF_INET6 ? "ip6" : "ip", count, str_get(&list));
}

static void add_port_rules(const struct net *n, struct str *to, const struct net__spread *s, int family,
                           const struct net__spread_port *p)
{
    char match[96];
    snprintf(match, sizeof(match), "meta l4proto %d th dport %u", p->protocol, p->target);
    add_rule(n, to, s, "virtual", match, family, TO_ALL, p);
    if (!p->published)
        return;
    snprintf(match, sizeof(match), "%s meta l4proto %d th dport %u",
             family == AF_INET6 ? "ip6 saddr @peers6" : "ip saddr @peers", p->protocol, p->published);
    add_rule(n, to, s, "published", match, family, TO_HERE, p);
    snprintf(match, sizeof(match), "meta l4proto %d th dport %u", p->protocol, p->published);
    add_rule(n, to, s, "published", match, family, TO_MACHINES, p);
}

void net__spread_add(const struct net *n, struct str *to, const struct net__spread *s)
{
    static const char *const chains[] = {"virtual", "published"};
    static const int families[] = {AF_INET, AF_INET6};
    char match[64];
    for (size_t i = 0; i < ARRAY_SIZE(chains); i++)
        str_addf(to, "add chain inet %s %s_%s\nflush chain inet %s %s_%s\n", n->table, chains[i], s->id,
                 n->table, chains[i], s->id);
    for (size_t f = 0; f < ARRAY_SIZE(families); f++) {
        for (size_t i = 0; i < s->port_count; i++)
            add_port_rules(n, to, s, families[f], &s->ports[i]);
        snprintf(match, sizeof(match), "meta l4proto { %d, %d, %d }", IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP);
        add_rule(n, to, s, "virtual", match, families[f], TO_SAME_PORT, NULL);
    }
}

void net__spread_delete(const struct net *n, struct str *to, const struct net__spread *s)
{
    str_addf(to,
             "flush chain inet %s virtual_%s\ndelete chain inet %s virtual_%s\n"
             "flush chain inet %s published_%s\ndelete chain inet %s published_%s\n",
             n->table, s->id, n->table, s->id, n->table, s->id, n->table, s->id);
}

static void add_one_virtual(const struct net *n, struct str *to, const char *verb,
                            const struct net__spread *s, struct net__ip ip)
{
    char address[NET__IP_BYTES];
    const char *six = ip.family == AF_INET6 ? "6" : "";
    if (!ip.family)
        return;
    net__ip_format(ip, address);
    str_addf(to, "%s element inet %s virtual%s { \"%s\" . %s", verb, n->table, six, s->bridge, address);
    if (str_eq(verb, "add"))
        str_addf(to, " : goto virtual_%s", s->id);
    str_addf(to, " }\n%s element inet %s virtual%s_at { \"%s\" . %s }\n", verb, n->table, six, s->bridge,
             address);
    str_addf(to, "%s element inet %s virtual%s_all { %s }\n", verb, n->table, six, address);
}

void net__spread_add_virtual(const struct net *n, struct str *to, const char *verb,
                             const struct net__spread *s)
{
    add_one_virtual(n, to, verb, s, s->address);
    add_one_virtual(n, to, verb, s, s->address6);
}

static void add_remote(const struct net *n, struct str *to, const struct net__spread *s, struct net__ip ip)
{
    char address[NET__IP_BYTES];
    const char *six = ip.family == AF_INET6 ? "6" : "";
    if (!ip.family)
        return;
    net__ip_format(ip, address);
    str_addf(to, "add element inet %s peers%s { %s }\n", n->table, six, address);
    for (size_t i = 0; i < s->port_count; i++)
        if (s->ports[i].published)
            str_addf(to, "add element inet %s remotes%s { %s . %d . %u }\n", n->table, six, address,
                     s->ports[i].protocol, s->ports[i].published);
}

void net__spread_add_remotes(const struct net *n, struct str *to)
{
    static const char *const sets[] = {"peers", "peers6", "remotes", "remotes6"};
    struct map_entry *e;
    for (size_t i = 0; i < ARRAY_SIZE(sets); i++)
        str_addf(to, "flush set inet %s %s\n", n->table, sets[i]);
    for (size_t i = 0; (e = map_next(&n->spreads, &i));) {
        const struct net__spread *s = e->value;
        for (size_t k = 0; k < s->target_count; k++)
            if (s->targets[k].remote) {
                add_remote(n, to, s, s->targets[k].address);
                add_remote(n, to, s, s->targets[k].address6);
            }
    }
}
