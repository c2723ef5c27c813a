/* Spreads: which there are, the ports they take on the machine, and their virtual addresses on the bridges.
 *
 * What is in force stands in <state_dir>/spreads as well, since the rules do not tell it: that is how a new
 * process takes over what an earlier one set. Without the rules (the machine was started anew) the file says
 * nothing. */
#include "net/priv.h"

#include "base/digest.h"
#include "base/file.h"
#include "base/log.h"
#include "net/rtnl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <unistd.h>

enum { SPREADS_BYTES_MAX = 256 << 20 };

void net__spread_free(void *spread)
{
    struct net__spread *s = spread;
    if (!s)
        return;
    json_decref(s->doc);
    free(s->ports);
    free(s->targets);
    free(s);
}

static void set_or_leave(json_t *object, const char *key, const char *text)
{
    if (!str_empty(text))
        json_object_set_new(object, key, json_string(text));
}

static json_t *doc_of(const struct net_spread *s)
{
    json_t *ports = json_array(), *targets = json_array();
    for (size_t i = 0; i < s->port_count; i++)
        json_array_append_new(ports, json_pack("{s:s,s:i,s:i}", "Protocol", s->ports[i].protocol, "Published",
                                               s->ports[i].published, "Target", s->ports[i].target));
    for (size_t i = 0; i < s->target_count; i++) {
        json_t *one = json_pack("{s:b,s:b}", "Remote", s->targets[i].remote, "Far", s->targets[i].far);
        set_or_leave(one, "Address", s->targets[i].address);
        set_or_leave(one, "Address6", s->targets[i].address6);
        json_array_append_new(targets, one);
    }
    json_t *doc = json_pack("{s:s,s:s,s:s,s:b,s:o,s:o}", "Key", s->key, "Name", s->name, "Bridge", s->bridge,
                            "IPv6", s->ipv6, "Ports", ports, "Targets", targets);
    set_or_leave(doc, "Address", s->address);
    set_or_leave(doc, "Address6", s->address6);
    return doc;
}

static int address_of(const json_t *doc, const char *key, int family, struct net__ip *ret, struct err *err)
{
    const char *text = json_str(doc, key);
    struct net__ip ip = {0};
    if (*text && (!net__ip_parse(text, &ip) || (family && ip.family != family)))
        return err_set(err, ERR_INVALID, "\"%.100s\" is not an address that connections can be sent to",
                       text);
    *ret = ip;
    return 0;
}

static int read_ports(struct net__spread *s, const json_t *list, struct err *err)
{
    size_t i;
    const json_t *one;
    s->ports = NEW_N(struct net__spread_port, json_array_size(list) + 1);
    json_array_foreach (list, i, one) {
        struct net__spread_port p = {.protocol = net__protocol_of(json_str(one, "Protocol")),
                                     .published = (uint16_t)json_int(one, "Published"),
                                     .target = (uint16_t)json_int(one, "Target")};
        if (!p.protocol || !p.target)
            return err_set(err, ERR_INVALID,
                           "port %u/%.20s of a service: it must be from 1 to 65535, of tcp, udp or sctp",
                           p.target, json_str(one, "Protocol"));
        s->ports[s->port_count++] = p;
    }
    return 0;
}

static int read_targets(struct net__spread *s, const json_t *list, struct err *err)
{
    size_t i;
    const json_t *one;
    s->targets = NEW_N(struct net__spread_target, json_array_size(list) + 1);
    json_array_foreach (list, i, one) {
        struct net__spread_target t = {.remote = json_bool(one, "Remote"), .far = json_bool(one, "Far")};
        int r = address_of(one, "Address", t.remote ? 0 : AF_INET, &t.address, err);
        if (r == 0)
            r = address_of(one, "Address6", AF_INET6, &t.address6, err);
        if (r < 0)
            return r;
        if (t.address.family == AF_INET6) { /* of another machine */
            t.address6 = t.address;
            t.address = (struct net__ip){0};
        }
        s->targets[s->target_count++] = t;
    }
    return 0;
}

/* Takes `doc`. */
static int spread_of(json_t *doc, struct net__spread **ret, struct err *err)
{
    struct net__spread *s = NEW(struct net__spread);
    const char *key = json_str(doc, "Key"), *bridge = json_str(doc, "Bridge");
    char digest[DIGEST_BYTES];
    s->doc = doc;
    s->ipv6 = json_bool(doc, "IPv6");
    digest_of(key, strlen(key), digest);
    snprintf(s->id, sizeof(s->id), "%.16s", digest_hex(digest));
    int r =
        !*key || strlen(key) >= sizeof(s->key) || strlen(bridge) >= sizeof(s->bridge)
            ? err_set(err, ERR_INVALID, "\"%.200s\" cannot be the key of a spread on \"%.50s\"", key, bridge)
            : 0;
    if (r == 0)
        r = address_of(doc, "Address", AF_INET, &s->address, err);
    if (r == 0)
        r = address_of(doc, "Address6", AF_INET6, &s->address6, err);
    if (r == 0)
        r = read_ports(s, json_object_get(doc, "Ports"), err);
    if (r == 0)
        r = read_targets(s, json_object_get(doc, "Targets"), err);
    if (r < 0) {
        net__spread_free(s);
        return r;
    }
    snprintf(s->key, sizeof(s->key), "%s", key);
    snprintf(s->bridge, sizeof(s->bridge), "%s", bridge);
    *ret = s;
    return 0;
}

/* --- the file --- */

int net__spreads_save(struct net *n, struct err *err)
{
    _cleanup_free_ char *path = str_printf("%s/spreads", n->state_dir);
    _cleanup_json_ json_t *list = json_array();
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&n->spreads, &i));)
        json_array_append(list, ((struct net__spread *)e->value)->doc);
    if (!json_array_size(list))
        return unlink(path) < 0 && errno != ENOENT ? err_sys(err, errno, "remove %s", path) : 0;
    _cleanup_free_ char *text = json_format(list);
    return file_replace(path, text, strlen(text), 0600, false, err);
}

/* The ports that it publishes, of both families. */
static size_t wanted_ports(const struct net__spread *s, struct net__port **ret)
{
    struct net__port *list = NEW_N(struct net__port, 2 * s->port_count + 1);
    size_t count = 0;
    for (size_t i = 0; i < s->port_count; i++)
        for (int ipv6 = 0; s->ports[i].published && ipv6 <= s->ipv6; ipv6++) {
            struct net__ip any = {.family = ipv6 ? AF_INET6 : AF_INET};
            struct net__port p = {.protocol = s->ports[i].protocol,
                                  .host_ip = any,
                                  .host_port = s->ports[i].published,
                                  .container_ip = any,
                                  .fd = -EBADF,
                                  .spread = true};
            snprintf(p.owner, sizeof(p.owner), "%s", s->key);
            list[count++] = p;
        }
    *ret = list;
    return count;
}

static bool same_port(const struct net__port *a, const struct net__port *b)
{
    return a->spread && b->spread && a->protocol == b->protocol && a->host_port == b->host_port &&
           a->host_ip.family == b->host_ip.family && str_eq(a->owner, b->owner);
}

static struct net__port *find_port(struct net__port *list, size_t count, const struct net__port *p)
{
    for (size_t i = 0; i < count; i++)
        if (same_port(&list[i], p))
            return &list[i];
    return NULL;
}

void net__spreads_load(struct net *n)
{
    _cleanup_free_ char *path = str_printf("%s/spreads", n->state_dir);
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_json_ json_t *list = NULL;
    struct err err = {0};
    int r = file_read(path, SPREADS_BYTES_MAX, &text, &err);
    if (r == -ERR_NOT_FOUND)
        return;
    if (r < 0 || json_parse(str_get(&text), text.len, path, &list, &err) < 0) {
        log_warning("the services' addresses of before: %s", err.msg);
        return;
    }
    size_t i;
    json_t *doc;
    json_array_foreach (list, i, doc) {
        struct net__spread *s = NULL;
        struct net__port *ports = NULL;
        if (spread_of(json_incref(doc), &s, &err) < 0) {
            log_warning("%s: %s", path, err.msg);
            continue;
        }
        size_t count = wanted_ports(s, &ports);
        for (size_t k = 0; k < count; k++)
            if (!find_port(n->ports, n->port_count, &ports[k]))
                net__ports_add(n, &ports[k]);
        free(ports);
        map_put(&n->spreads, s->key, s);
    }
}

/* --- virtual addresses --- */

bool net__spread_has_address(struct net *n, const char *bridge, uint32_t address)
{
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&n->spreads, &i));) {
        const struct net__spread *s = e->value;
        if (s->address.family && str_eq(s->bridge, bridge) && (uint32_t)s->address.value == address)
            return true;
    }
    return false;
}

/* As a host's address of its own, so that it neither brings a route nor becomes the source of anything. */
static int put_addresses(struct mnl_socket *nl, int index, const struct net__spread *s, struct err *err)
{
    uint8_t bytes[16];
    int r = 0;
    if (s->address.family)
        r = rtnl_address_add(nl, index, htonl((uint32_t)s->address.value), 32);
    if ((r == 0 || r == -EEXIST) && s->address6.family) {
        net__ip_bytes(s->address6, bytes);
        r = rtnl_address6_add(nl, index, bytes, 128);
    }
    return r < 0 && r != -EEXIST ? err_sys(err, -r, "add the virtual address of service %.64s to bridge %s",
                                           json_str(s->doc, "Name"), s->bridge)
                                 : 0;
}

static void drop_addresses(struct mnl_socket *nl, int index, const struct net__spread *s)
{
    uint8_t bytes[16];
    if (s->address.family)
        rtnl_address_delete(nl, index, htonl((uint32_t)s->address.value), 32);
    if (s->address6.family) {
        net__ip_bytes(s->address6, bytes);
        rtnl_address6_delete(nl, index, bytes, 128);
    }
}

int net__spread_addresses(struct net *n, const char *bridge, struct err *err)
{
    _cleanup_netlink_ struct mnl_socket *nl = NULL;
    struct rtnl_link link;
    struct map_entry *e;
    if (!n->spreads.count)
        return 0;
    int r = rtnl_open(&nl, err);
    if (r == 0 && (r = rtnl_link_get(nl, bridge, &link)) < 0)
        return err_sys(err, -r, "find bridge %s", bridge);
    for (size_t i = 0; r == 0 && (e = map_next(&n->spreads, &i));) {
        const struct net__spread *s = e->value;
        if (str_eq(s->bridge, bridge))
            r = put_addresses(nl, link.index, s, err);
    }
    return r;
}

static bool same_ip(struct net__ip a, struct net__ip b)
{
    return a.family == b.family && a.value == b.value;
}

static bool same_addresses(const struct net__spread *a, const struct net__spread *b)
{
    return a && b && same_ip(a->address, b->address) && same_ip(a->address6, b->address6) &&
           str_eq(a->bridge, b->bridge);
}

static bool has_addresses(const struct net__spread *s)
{
    return s && (s->address.family || s->address6.family);
}

static int change_addresses(const struct net__spread *s, bool there, struct err *err)
{
    _cleanup_netlink_ struct mnl_socket *nl = NULL;
    struct rtnl_link link;
    int r = has_addresses(s) ? rtnl_open(&nl, err) : 0;
    if (r < 0 || !has_addresses(s))
        return r;
    r = rtnl_link_get(nl, s->bridge, &link);
    if (r < 0)
        return there ? err_sys(err, -r, "find bridge %s", s->bridge) : 0; /* gone with it */
    if (there)
        return put_addresses(nl, link.index, s, err);
    drop_addresses(nl, link.index, s);
    return 0;
}

static int check_address(struct net *n, const struct net__spread *s, struct err *err)
{
    struct map_entry *e;
    if ((s->address.family || s->address6.family) && !map_has(&n->bridges, s->bridge))
        return err_set(err, ERR_NOT_FOUND,
                       "the virtual address of service %.64s has no bridge \"%s\" to be on",
                       json_str(s->doc, "Name"), s->bridge);
    for (size_t i = 0; (e = map_next(&n->spreads, &i));) {
        const struct net__spread *other = e->value;
        if (!str_eq(other->key, s->key) && str_eq(other->bridge, s->bridge) && s->address.family &&
            same_ip(other->address, s->address))
            return err_set(err, ERR_CONFLICT, "virtual address %s is that of service %.64s already",
                           json_str(s->doc, "Address"), json_str(other->doc, "Name"));
    }
    return 0;
}

/* --- setting --- */

/* What a change is made of: it is taken back whole when a part fails. */
struct change {
    struct net__spread *old; /* owned by the mirror until the change is done; or NULL */
    struct net__port *gone;
    size_t gone_count, kept; /* kept: ports before those that are new */
    struct str commands;
};

static void drop_new_ports(struct net *n, size_t kept)
{
    for (size_t i = kept; i < n->port_count; i++)
        net__port_release(n, &n->ports[i]);
    n->port_count = kept;
}

static int take_ports(struct net *n, const struct net__port *wanted, size_t count, struct err *err)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < count; i++) {
        struct net__port *there = find_port(n->ports, n->port_count, &wanted[i]), p = wanted[i];
        if (there) {
            r = net__port_adopt(n, there, "", err);
            continue;
        }
        r = net__port_reserve(n, &p, "", err);
        if (r == 0)
            net__ports_add(n, &p);
    }
    return r;
}

/* Takes out of the mirror what `key` published and does not any more. */
static void leave_ports(struct net *n, const char *key, struct net__port *wanted, size_t count,
                        struct change *c)
{
    size_t kept = 0;
    c->gone = NEW_N(struct net__port, n->port_count + 1);
    for (size_t i = 0; i < n->port_count; i++) {
        struct net__port *p = &n->ports[i];
        if (p->spread && str_eq(p->owner, key) && !find_port(wanted, count, p)) {
            net__firewall_add_port(n, &c->commands, "delete", p);
            c->gone[c->gone_count++] = *p;
            c->kept -= i < c->kept;
        } else
            n->ports[kept++] = *p;
    }
    n->port_count = kept;
}

static void take_back_ports(struct net *n, struct change *c)
{
    drop_new_ports(n, c->kept);
    for (size_t i = 0; i < c->gone_count; i++)
        net__ports_add(n, &c->gone[i]);
    c->gone_count = 0;
}

static void put_mirror(struct net *n, struct net__spread *s, const char *key)
{
    if (s)
        map_put(&n->spreads, key, s);
    else
        map_remove(&n->spreads, key);
}

/* The mirror shows the new state: says it to the kernel and the file. */
static int commit(struct net *n, const struct net__spread *s, struct change *c, struct err *err)
{
    struct str *to = &c->commands;
    bool moved = !same_addresses(c->old, s);
    if (c->old && moved)
        net__spread_add_virtual(n, to, "delete", c->old);
    if (s)
        net__spread_add(n, to, s);
    if (s && moved)
        net__spread_add_virtual(n, to, "add", s);
    for (size_t i = c->kept; i < n->port_count; i++)
        net__firewall_add_port(n, to, "add", &n->ports[i]);
    if (!s)
        net__spread_delete(n, to, c->old);
    net__spread_add_remotes(n, to);
    int r = net__spreads_save(n, err);
    if (r == 0)
        r = net__firewall_run(n, str_get(to), err);
    return r;
}

static void finish(struct net *n, const struct net__spread *s, struct change *c)
{
    if (c->old && !same_addresses(c->old, s)) {
        change_addresses(c->old, false, NULL);
        change_addresses(s, true, NULL); /* what both have */
    }
    for (size_t i = c->kept; i < n->port_count; i++)
        net__conntrack_forget(&n->ports[i]);
    for (size_t i = 0; i < c->gone_count; i++) {
        net__conntrack_forget(&c->gone[i]);
        net__port_release(n, &c->gone[i]);
    }
}

/* `s` is taken; NULL removes. */
static int replace(struct net *n, const char *key, struct net__spread *s, struct err *err)
{
    _cleanup_free_ struct net__port *wanted = NULL;
    size_t count = s ? wanted_ports(s, &wanted) : 0;
    struct change c = {.kept = n->port_count, .commands = STR_INIT};
    int r = s ? take_ports(n, wanted, count, err) : 0;
    if (r == 0) /* they answer before rules lead anywhere */
        r = change_addresses(s, true, err);
    if (r < 0) {
        drop_new_ports(n, c.kept);
        net__spread_free(s);
        return r;
    }
    leave_ports(n, key, wanted, count, &c);
    c.old = map_steal(&n->spreads, key);
    put_mirror(n, s, key);
    r = commit(n, s, &c, err);
    if (r == 0)
        finish(n, s, &c);
    else {
        take_back_ports(n, &c);
        if (!same_addresses(c.old, s)) {
            change_addresses(s, false, NULL);
            change_addresses(c.old, true, NULL);
        }
        put_mirror(n, take_ptr(c.old), key);
        net__spreads_save(n, NULL);
    }
    net__spread_free(c.old);
    free(c.gone);
    str_free(&c.commands);
    return r;
}

static bool reserved(const struct net *n, const char *key)
{
    for (size_t i = 0; i < n->port_count; i++)
        if (n->ports[i].spread && n->ports[i].fd < 0 && str_eq(n->ports[i].owner, key))
            return false;
    return true;
}

static int set_locked(struct net *n, struct net__spread *s, struct err *err)
{
    int r = net__firewall_load(n, err);
    if (r == 0)
        r = check_address(n, s, err);
    const struct net__spread *old = map_get(&n->spreads, s->key);
    bool same = r == 0 && old && json_equal(old->doc, s->doc) && reserved(n, s->key);
    if (r == 0 && !same)
        return replace(n, s->key, s, err);
    net__spread_free(s);
    return r;
}

int net_spread_set(struct net *n, const struct net_spread *spread, struct err *err)
{
    struct net__spread *s = NULL;
    int r = spread_of(doc_of(spread), &s, err);
    if (r < 0)
        return r;
    pthread_mutex_lock(&n->lock);
    r = set_locked(n, s, err);
    pthread_mutex_unlock(&n->lock);
    return r;
}

int net_spread_remove(struct net *n, const char *key, struct err *err)
{
    pthread_mutex_lock(&n->lock);
    int r = net__firewall_load(n, err);
    if (r == 0 && map_has(&n->spreads, key)) {
        _cleanup_free_ char *own = mem_strdup(key); /* it may be the mirror's */
        r = replace(n, own, NULL, err);
    }
    pthread_mutex_unlock(&n->lock);
    return r;
}

void net_spread_forget_target(struct net *n, const char *address)
{
    struct net__ip ip;
    (void)n;
    if (net__ip_parse(address, &ip))
        net__conntrack_forget_target(ip);
}
