/* The nftables table of an instance.
 *
 * Rules are few and fixed; what changes are elements of sets and maps, so that publishing a port or adding a
 * bridge costs the same however many there are. The owner of a port and a bridge's properties are kept in the
 * elements' comments, which is how a new process learns what an earlier one published. */
#include "net/priv.h"

#include "base/json.h"

#include <netinet/in.h>

void net__firewall_done(struct net *n)
{
    n->nft = close_fd(n->nft); /* which ends its process */
}

/* The rules. Kept in mind:
 *
 * - raw: route_localnet, which lets 127.0.0.1:PORT reach a container, would also let a neighbour on the wire
 *   send packets to 127.0.0.0/8; they are dropped before anything looks at them.
 * - nat, in and out: only packets to an address of this machine are mapped; a map with the address first, as
 *   the more specific. A container's own resolver comes before both, so that a published port 53 does not
 *   take the names away from containers.
 *   ::1 is refused instead: no packet from or to it leaves lo, whatever is done to it, and a program that
 *   tries it first goes on to 127.0.0.1 at once.
 * - forward: what leaves neither from nor to our bridges is none of our business. A connection into a
 *   container must be of its own bridge, answer one, or be to a published port. Networks do not see each
 *   other; internal ones nothing but themselves, and what the other machines have of their services.
 * - far: containers of a bridge's network on other machines (far.c). From that bridge alone packets go there,
 *   and with their own addresses; from there to that bridge alone, from the machine that has the container.
 * - virtual addresses (spread_rules.c): a bridge's own containers alone reach them. They are addresses of the
 *   bridge, since somebody must answer for them on it: whatever no target takes would reach the machine's own
 *   programs. It is refused, as is what arrives at a published port without targets. ("related" is the
 * refusal itself, when the machine asks its own virtual address.)
 * - masquerade: what leaves a bridge for the world; what comes from 127.0.0.0/8; and what one container sends
 *   to another's (or its own) published port, since the answer would otherwise go directly and not be
 *   recognised. That one is known by its source: bridged packets that br_netfilter shows us have no iifname.
 */
static const char rules[] =
    "  map ports_any { type inet_proto . inet_service : ipv4_addr . inet_service; }\n"
    "  map ports_ip { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }\n"
    "  map ports6_any { type inet_proto . inet_service : ipv6_addr . inet_service; }\n"
    "  map ports6_ip { type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; }\n"
    "  set bridges { type ifname; }\n"
    "  set internal { type ifname; }\n"
    "  set routed { type ifname; }\n"
    "  set within { type ifname . ifname; }\n"
    "  set resolvers { type ifname . ipv4_addr; }\n"
    "  set subnets { type ipv4_addr; flags interval; }\n"
    "  set subnets6 { type ipv6_addr; flags interval; }\n"
    "  map virtual { type ifname . ipv4_addr : verdict; }\n"
    "  map virtual6 { type ifname . ipv6_addr : verdict; }\n"
    "  map spread_ports { type nf_proto . inet_proto . inet_service : verdict; }\n"
    "  set virtual_at { type ifname . ipv4_addr; }\n"
    "  set virtual6_at { type ifname . ipv6_addr; }\n"
    "  set virtual_all { type ipv4_addr; }\n"
    "  set virtual6_all { type ipv6_addr; }\n"
    "  set spread_all { type nf_proto . inet_proto . inet_service; }\n"
    "  set peers { type ipv4_addr; }\n"
    "  set peers6 { type ipv6_addr; }\n"
    "  set far { type ifname . ipv4_addr; }\n"
    "  set far_from { type ifname . ipv4_addr . ether_addr; }\n"
    "  set far_all { type ipv4_addr; }\n"
    "  set remotes { type ipv4_addr . inet_proto . inet_service; }\n"
    "  set remotes6 { type ipv6_addr . inet_proto . inet_service; }\n"
    "  chain raw {\n"
    "    type filter hook prerouting priority raw; policy accept;\n"
    "    iifname != \"lo\" ip daddr 127.0.0.0/8 drop\n"
    "  }\n"
    "  chain published {\n"
    "    fib daddr type local dnat ip to ip daddr . meta l4proto . th dport map @ports_ip\n"
    "    fib daddr type local dnat ip to meta l4proto . th dport map @ports_any\n"
    "    ip6 daddr ::1 return\n"
    "    fib daddr type local dnat ip6 to ip6 daddr . meta l4proto . th dport map @ports6_ip\n"
    "    fib daddr type local dnat ip6 to meta l4proto . th dport map @ports6_any\n"
    "    fib daddr type local meta nfproto . meta l4proto . th dport vmap @spread_ports\n"
    "  }\n"
    "  chain nat_in {\n"
    "    type nat hook prerouting priority dstnat; policy accept;\n"
    "    iifname . ip daddr @resolvers meta l4proto { 6, 17 } th dport 53 redirect to :%u\n"
    "    iifname . ip daddr vmap @virtual\n"
    "    iifname . ip6 daddr vmap @virtual6\n"
    "    jump published\n"
    "  }\n"
    "  chain nat_local {\n"
    "    type nat hook output priority -100; policy accept;\n"
    "    jump published\n"
    "  }\n"
    "  chain nat_out {\n"
    "    type nat hook postrouting priority srcnat; policy accept;\n"
    "    ct status dnat ip daddr . meta l4proto . th dport @remotes masquerade\n"
    "    ct status dnat ip6 daddr . meta l4proto . th dport @remotes6 masquerade\n"
    "    iifname . ip daddr @far return\n"
    "    iifname @internal oifname != @bridges return\n"
    "    iifname @routed oifname != @bridges return\n"
    "    iifname @bridges oifname != @bridges masquerade\n"
    "    ip saddr @subnets ct status dnat oifname @bridges masquerade\n"
    "    ip6 saddr @subnets6 ct status dnat oifname @bridges masquerade\n"
    "    oifname @bridges ip saddr 127.0.0.0/8 masquerade\n"
    "  }\n"
    "  chain filter_in {\n"
    "    type filter hook input priority filter; policy accept;\n"
    "    ip daddr @virtual_all jump refuse\n"
    "    ip6 daddr @virtual6_all jump refuse\n"
    "    fib daddr type local meta nfproto . meta l4proto . th dport @spread_all jump refuse\n"
    "  }\n"
    "  chain refuse {\n"
    "    ct state related accept\n"
    "    meta l4proto 6 reject with tcp reset\n"
    "    meta l4proto { 17, 132 } reject\n"
    "  }\n"
    "  chain filter_forward {\n"
    "    type filter hook forward priority filter; policy accept;\n"
    "    iifname != @bridges oifname != @bridges accept\n"
    "    ct state established,related accept\n"
    "    iifname . oifname @within accept\n"
    "    iifname . ip daddr @far accept\n"
    "    oifname . ip saddr . ether saddr @far_from accept\n"
    "    ip daddr @far_all drop\n"
    "    ct status dnat iifname . ct original ip daddr @virtual_at accept\n"
    "    ct status dnat iifname . ct original ip6 daddr @virtual6_at accept\n"
    "    iifname @internal drop\n"
    "    oifname @internal drop\n"
    "    ct status dnat accept\n"
    "    oifname @bridges drop\n"
    "  }\n";

static void add_element(const struct net *n, struct str *to, const char *verb, const char *set,
                        const char *key)
{
    str_addf(to, "%s element inet %s %s { %s }\n", verb, n->table, set, key);
}

void net__firewall_add_bridge(const struct net *n, struct str *to, const char *verb,
                              const struct net__bridge *b)
{
    char key[200];
    bool add = str_eq(verb, "add");
    /* In one set every bridge stands with what is to be remembered of it: at most 124 bytes, of 127. */
    if (add)
        snprintf(key, sizeof(key), "\"%s\" comment \"%s %s %d %d %d %s %s\"", b->name, b->gateway, b->subnet,
                 b->internal, b->icc, b->routed, *b->gateway6 ? b->gateway6 : "-",
                 *b->subnet6 ? b->subnet6 : "-");
    else
        snprintf(key, sizeof(key), "\"%s\"", b->name);
    add_element(n, to, verb, "bridges", key);
    snprintf(key, sizeof(key), "\"%s\"", b->name);
    if (b->internal)
        add_element(n, to, verb, "internal", key);
    if (b->routed)
        add_element(n, to, verb, "routed", key);
    if (*b->subnet6)
        add_element(n, to, verb, "subnets6", b->subnet6);
    if (b->icc) {
        snprintf(key, sizeof(key), "\"%s\" . \"%s\"", b->name, b->name);
        add_element(n, to, verb, "within", key);
    }
    snprintf(key, sizeof(key), "\"%s\" . %s", b->name, b->gateway);
    add_element(n, to, verb, "resolvers", key);
    add_element(n, to, verb, "subnets", b->subnet);
}

static const char *port_map(const struct net__port *p)
{
    if (p->container_ip.family == AF_INET6)
        return p->host_ip.value ? "ports6_ip" : "ports6_any";
    return p->host_ip.value ? "ports_ip" : "ports_any";
}

static void add_spread_port(const struct net *n, struct str *to, const char *verb, const struct net__port *p)
{
    const struct net__spread *s = map_get(&n->spreads, p->owner);
    char key[64], value[96];
    /* The families' numbers are netfilter's too. */
    snprintf(key, sizeof(key), "%d . %d . %u", p->host_ip.family, p->protocol, p->host_port);
    snprintf(value, sizeof(value), "%s : goto published_%s", key, s ? s->id : "");
    add_element(n, to, verb, "spread_ports", str_eq(verb, "add") ? value : key);
    add_element(n, to, verb, "spread_all", key);
}

void net__firewall_add_port(const struct net *n, struct str *to, const char *verb, const struct net__port *p)
{
    if (p->spread) {
        add_spread_port(n, to, verb, p);
        return;
    }
    char host[NET__IP_BYTES], container[NET__IP_BYTES], key[96], target[256] = "";
    net__ip_format(p->host_ip, host);
    net__ip_format(p->container_ip, container);
    if (p->host_ip.value)
        snprintf(key, sizeof(key), "%s . %d . %u", host, p->protocol, p->host_port);
    else
        snprintf(key, sizeof(key), "%d . %u", p->protocol, p->host_port);
    if (str_eq(verb, "add"))
        snprintf(target, sizeof(target), " comment \"%s\" : %s . %u", p->owner, container, p->container_port);
    str_addf(to, "%s element inet %s %s { %s%s }\n", verb, n->table, port_map(p), key, target);
}

int net__firewall_rebuild(struct net *n, struct err *err)
{
    _cleanup_str_ struct str s = STR_INIT;
    struct map_entry *e;
    str_addf(&s, "add table inet %s\ndelete table inet %s\ntable inet %s {\n", n->table, n->table, n->table);
    str_addf(&s, rules, n->dns_port);
    str_add(&s, "}\n");
    for (size_t i = 0; (e = map_next(&n->bridges, &i));)
        net__firewall_add_bridge(n, &s, "add", e->value);
    for (size_t i = 0; (e = map_next(&n->spreads, &i));) {
        net__spread_add(n, &s, e->value);
        net__spread_add_virtual(n, &s, "add", e->value);
    }
    net__spread_add_remotes(n, &s);
    for (size_t i = 0; (e = map_next(&n->far, &i));)
        net__far_add(n, &s, "add", e->value);
    for (size_t i = 0; i < n->port_count; i++)
        net__firewall_add_port(n, &s, "add", &n->ports[i]);
    int r = net__nft_run(n, str_get(&s), false, NULL, err);
    if (r == 0)
        n->table_exists = true;
    if (r == -ERR_NOT_FOUND) /* the kernel's word for a missing module */
        r = err_set(
            err, ERR_UNAVAILABLE,
            "this kernel lacks a part of nftables that networks need (nat, masquerade, fib, ct in the "
            "inet family: Linux 5.2 or later with the modules nft_chain_nat, nft_masq, nft_redir, "
            "nft_fib_inet, nft_ct, nft_numgen, nft_reject_inet)");
    return r;
}

int net__firewall_run(struct net *n, const char *commands, struct err *err)
{
    int r = 0;
    if (!n->table_exists) { /* the mirror shows what the commands are about: no need to run them too */
        r = net__firewall_rebuild(n, err);
        if (r == 0)
            net__tables_warn(n);
        return r;
    }
    r = net__nft_run(n, commands, false, NULL, err);
    if (r != -ERR_NOT_FOUND)
        return r;
    /* Somebody flushed the ruleset (a restart of the host's firewall does): all of ours comes back, and
     * this change with it, since the mirror is changed first. */
    return net__firewall_rebuild(n, err);
}

int net__firewall_delete(struct net *n, struct err *err)
{
    _cleanup_free_ char *s = str_printf("add table inet %s\ndelete table inet %s\n", n->table, n->table);
    int r = net__nft_run(n, s, false, NULL, err);
    if (r == 0)
        n->table_exists = false;
    return r;
}

/* --- reading what is there --- */

/* An element of a set is {"elem":{"val":V,"comment":C}}, of a map [that, TARGET]. */
static const json_t *element_of(const json_t *item, const char **ret_comment)
{
    const json_t *elem = json_object_get(json_is_array(item) ? json_array_get(item, 0) : item, "elem");
    *ret_comment = json_str(elem, "comment");
    return json_object_get(elem, "val");
}

static void load_bridge(struct net *n, const json_t *item)
{
    const char *comment, *name = json_string_value(element_of(item, &comment));
    _cleanup_strv_ char **words = strv_split(comment, ' ');
    /* An earlier version knew only the first four. */
    if (!name || strlen(name) >= 16 || (strv_len(words) != 4 && strv_len(words) != 7))
        return;
    struct net__bridge *b = NEW(struct net__bridge);
    snprintf(b->name, sizeof(b->name), "%s", name);
    snprintf(b->gateway, sizeof(b->gateway), "%s", words[0]);
    snprintf(b->subnet, sizeof(b->subnet), "%s", words[1]);
    b->internal = str_eq(words[2], "1");
    b->icc = str_eq(words[3], "1");
    if (words[4]) {
        b->routed = str_eq(words[4], "1");
        snprintf(b->gateway6, sizeof(b->gateway6), "%s", str_eq(words[5], "-") ? "" : words[5]);
        snprintf(b->subnet6, sizeof(b->subnet6), "%s", str_eq(words[6], "-") ? "" : words[6]);
    }
    map_put(&n->bridges, name, b);
}

static int64_t number_of(const json_t *j)
{
    if (json_is_integer(j))
        return json_integer_value(j);
    const char *name = json_string_value(j);
    int64_t v;
    if (name && parse_i64(name, 0, 65535, &v, NULL) == 0)
        return v;
    /* Some versions print a protocol's name in spite of being asked for its number. */
    return str_eq(name, "tcp")    ? IPPROTO_TCP
           : str_eq(name, "udp")  ? IPPROTO_UDP
           : str_eq(name, "sctp") ? IPPROTO_SCTP
                                  : -1;
}

static void load_port(struct net *n, const json_t *item, bool with_ip)
{
    const char *comment;
    const json_t *key = json_object_get(element_of(item, &comment), "concat");
    const json_t *target = json_object_get(json_array_get(item, 1), "concat");
    struct net__port p = {.fd = -EBADF};
    size_t at = with_ip ? 1 : 0;
    if (with_ip && !net__ip_parse(json_string_value(json_array_get(key, 0)), &p.host_ip))
        return;
    int64_t protocol = number_of(json_array_get(key, at));
    int64_t host_port = number_of(json_array_get(key, at + 1));
    int64_t container_port = number_of(json_array_get(target, 1));
    if (protocol < 0 || host_port <= 0 || container_port <= 0 || strlen(comment) >= sizeof(p.owner) ||
        !net__ip_parse(json_string_value(json_array_get(target, 0)), &p.container_ip))
        return;
    p.host_ip.family = p.container_ip.family;
    p.protocol = (int)protocol;
    p.host_port = (uint16_t)host_port;
    p.container_port = (uint16_t)container_port;
    snprintf(p.owner, sizeof(p.owner), "%s", comment);
    net__ports_add(n, &p);
}

static void load_far(struct net *n, const json_t *item)
{
    const char *comment, *bridge, *address;
    const json_t *key = json_object_get(element_of(item, &comment), "concat");
    bridge = json_string_value(json_array_get(key, 0));
    address = json_string_value(json_array_get(key, 1));
    if (bridge && address)
        net__far_load(n, bridge, address, comment);
}

static void load_object(struct net *n, const json_t *object)
{
    size_t i;
    json_t *item;
    const char *name = json_str(object, "name");
    json_array_foreach (json_object_get(object, "elem"), i, item) {
        if (str_eq(name, "bridges"))
            load_bridge(n, item);
        else if (str_eq(name, "far"))
            load_far(n, item);
        else if (str_after(name, "ports_") || str_after(name, "ports6_"))
            load_port(n, item, str_ends_with(name, "_ip"));
    }
}

int net__firewall_load(struct net *n, struct err *err)
{
    if (n->loaded)
        return 0;
    _cleanup_free_ char *command = str_printf("list table inet %s\n", n->table);
    _cleanup_str_ struct str output = STR_INIT;
    int r = net__nft_run(n, command, true, &output, err);
    if (r == -ERR_NOT_FOUND) {
        n->loaded = true;
        return 0;
    }
    if (r < 0)
        return r;
    _cleanup_json_ json_t *root = NULL;
    r = json_parse(str_get(&output), output.len, "the ruleset", &root, err);
    if (r < 0)
        return r;
    size_t i;
    json_t *item;
    json_array_foreach (json_object_get(root, "nftables"), i, item) {
        load_object(n, json_object_get(item, "set"));
        load_object(n, json_object_get(item, "map"));
    }
    net__spreads_load(n);
    n->loaded = true;
    return net__firewall_rebuild(n, err);
}
