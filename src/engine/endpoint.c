/* Containers on networks: the addresses and interfaces of a run. */
#include "engine/endpoint_priv.h"
#include "engine/network_priv.h"

#include "base/digest.h"

#define ENDPOINT_IFNAME  "com.docker.network.endpoint.ifname"
#define ENDPOINT_SYSCTLS "com.docker.network.endpoint.sysctls"

void endpoint__free(void *endpoint)
{
    struct endpoint *p = endpoint;
    if (!p)
        return;
    free(p->address);
    free(p->address6);
    free(p->mac);
    free(p->ifname);
    strv_free(p->names);
    strv_free(p->links);
    free(p);
}

/* --- addresses --- */

char **network__taken_addresses(const struct network *n, bool ipv6)
{
    char **list = NULL;
    struct map_entry *entry;
    for (size_t i = 0; (entry = map_next(&n->endpoints, &i));) {
        const struct endpoint *p = entry->value;
        const char *address = ipv6 ? p->address6 : p->address;
        if (address)
            strv_add(&list, address);
    }
    for (size_t i = 0; i < n->subnet_count; i++) {
        if (n->subnets[i].gateway)
            strv_add(&list, n->subnets[i].gateway);
        STRV_FOREACH (aux, n->subnets[i].aux)
            strv_add(&list, *aux);
    }
    reserve__add_taken(n, ipv6, &list);
    return list;
}

static char **texts_of(const json_t *settings, const char *key)
{
    char **list = NULL;
    size_t i;
    const json_t *text;
    json_array_foreach (json_object_get(settings, key), i, text)
        if (json_is_string(text) && *json_string_value(text))
            strv_add(&list, json_string_value(text));
    return list;
}

/* Docker's: 02:42 and the address. */
static char *mac_of(const char *address)
{
    unsigned a = 0, b = 0, c = 0, d = 0;
    sscanf(address, "%u.%u.%u.%u", &a, &b, &c, &d);
    return str_printf("02:42:%02x:%02x:%02x:%02x", a & 255, b & 255, c & 255, d & 255);
}

int network__free_address(const struct network *n, bool ipv6, const char *wished, char **ret, struct err *err)
{
    _cleanup_strv_ char **taken = network__taken_addresses(n, ipv6);
    if (!network__subnet(n, ipv6))
        return 0;
    if (*wished) {
        _cleanup_free_ char *address = net_address_canonical(wished);
        if (!address || strv_has(taken, address))
            return err_set(err, ERR_DENIED, "Address already in use: %s on network %s", wished, n->name);
        *ret = take_ptr(address);
        return 0;
    }
    int r = -ERR_UNAVAILABLE;
    for (size_t i = 0; r == -ERR_UNAVAILABLE && i < n->subnet_count; i++)
        if (n->subnets[i].ipv6 == ipv6)
            r = net_address_pick(n->subnets[i].cidr, n->subnets[i].range, taken, ret, err);
    return r;
}

/* `granted`: by the swarm; or NULL. */
static int take_addresses(const struct network *n, const json_t *settings, const char *granted,
                          struct endpoint *p, struct err *err)
{
    const json_t *ipam = json_object_get(settings, "IPAMConfig");
    const char *mac = json_str(settings, "WishedMac");
    int r =
        network__free_address(n, false, granted ? granted : json_str(ipam, "IPv4Address"), &p->address, err);
    if (r == 0)
        r = network__free_address(n, true, json_str(ipam, "IPv6Address"), &p->address6, err);
    if (r == 0 && p->address)
        p->mac = *mac ? mem_strdup(mac) : mac_of(p->address);
    return r < 0 ? err_wrap(err, "network %s", n->name) : 0;
}

/* Enters the container into the network's table, with an address unless the swarm is to be asked for it;
 * engine.lock held. */
static int take_place(struct network *n, const struct container *c, const json_t *settings, int index,
                      struct endpoint **ret, struct err *err)
{
    if (map_has(&n->endpoints, c->id))
        return err_set(err, ERR_DENIED, "endpoint with name %s already exists in network %s", c->name,
                       n->name);
    if (n->config_only)
        return err_set(err, ERR_DENIED, "cannot create endpoint on configuration-only network");
    struct endpoint *p = NEW(struct endpoint);
    p->names = texts_of(settings, "Aliases");
    p->links = texts_of(settings, "Links");
    const char *ifname = json_str(json_object_get(settings, "DriverOpts"), ENDPOINT_IFNAME);
    p->ifname = *ifname ? mem_strdup(ifname) : str_printf("%s%d", n->ifprefix, index);
    digest_random_id(p->id);
    p->attached = attach__is(n, settings);
    int r = n->subnet_count && !p->attached ? take_addresses(n, settings, NULL, p, err) : 0;
    if (r < 0) {
        endpoint__free(p);
        return r;
    }
    map_put(&n->endpoints, c->id, p);
    *ret = p;
    return 0;
}

/* --- interfaces --- */

/* What is needed to make an interface, copied out from under the lock. */
struct wiring {
    struct network *network; /* the facts of it alone: not its endpoints */
    char *address, *address6, *mac, *ifname, *driver;
    char id[65], endpoint_id[65];
};

static struct network *facts_of(const struct network *n)
{
    _cleanup_json_ json_t *doc = json_loads(n->doc, 0, NULL);
    struct network *copy = network__of(doc);
    memcpy(copy->bridge, n->bridge, sizeof(copy->bridge));
    return copy;
}

static void wiring_done(struct wiring *w)
{
    if (w->network)
        network__free(w->network);
    free(w->address);
    free(w->address6);
    free(w->mac);
    free(w->ifname);
}
#define _cleanup_wiring_ _cleanup_(wiring_done)

static struct network *network_of(struct engine *e, const char *name, const json_t *settings, struct err *err)
{
    const char *id = json_str(settings, "NetworkID");
    struct network *n = *id ? map_get(&e->networks, id) : NULL;
    return n ? n : network__find(e, name, err);
}

static void wire(const struct network *n, const struct endpoint *p, struct wiring *ret)
{
    *ret = (struct wiring){.network = facts_of(n),
                           .address = mem_strdup(p->address),
                           .address6 = mem_strdup(p->address6),
                           .mac = mem_strdup(p->mac),
                           .ifname = mem_strdup(p->ifname)};
    memcpy(ret->id, n->id, sizeof(ret->id));
    memcpy(ret->endpoint_id, p->id, sizeof(ret->endpoint_id));
}

void endpoint__forget(struct container *c, const char *network_id)
{
    SCOPED_LOCK(lock, &c->engine->lock);
    struct network *n = map_get(&c->engine->networks, network_id);
    if (n)
        spread__leave(c->engine, n, c->id);
}

/* The address that was granted to one that has taken its place, which keeps the network from being removed.
 */
static int settle(struct container *c, const char *network_id, const json_t *settings, const char *granted,
                  struct wiring *ret, struct err *err)
{
    SCOPED_LOCK(lock, &c->engine->lock);
    const struct network *n = map_get(&c->engine->networks, network_id);
    struct endpoint *p = map_get(&n->endpoints, c->id);
    int r = take_addresses(n, settings, granted, p, err);
    if (r == 0)
        wire(n, p, ret);
    return r;
}

static int attach(struct container *c, const char *name, const char *network_id, const json_t *settings,
                  struct wiring *ret, struct err *err)
{
    _cleanup_json_ json_t *request = attach__request(c->engine, network_id, c, settings);
    _cleanup_free_ char *granted = NULL;
    int r = attach__ask(c->engine, request, true, &granted, err);
    if (r < 0)
        err_wrap(err, "Could not attach to network %s", name);
    else
        r = settle(c, network_id, settings, granted, ret, err);
    if (r < 0)
        endpoint__forget(c, network_id);
    return r;
}

static int reserve(struct container *c, const char *name, const json_t *settings, int index,
                   struct wiring *ret, struct err *err)
{
    struct engine *e = c->engine;
    char id[65];
    struct endpoint *p = NULL;
    pthread_mutex_lock(&e->lock);
    struct network *n = network_of(e, name, settings, err);
    int r = n ? take_place(n, c, settings, index, &p, err) : -err->code;
    bool attached = r == 0 && p->attached;
    if (attached)
        memcpy(id, n->id, sizeof(id));
    else if (r == 0)
        wire(n, p, ret);
    pthread_mutex_unlock(&e->lock);
    return attached ? attach(c, name, id, settings, ret, err) : r;
}

static int ensure_link(struct engine *e, struct network *n, struct err *err)
{
    struct net_bridge bridge;
    bool made;
    if (!n->is_bridge)
        return net_parent_ensure(e->net, n->id, n->parent, n->bridge, &made, err);
    network__describe_bridge(n, &bridge);
    return net_bridge_ensure(e->net, &bridge, err);
}

void endpoint__event(struct container *c, const char *action, const char *network_id, const char *name,
                     const char *driver)
{
    _cleanup_json_ json_t *attributes =
        json_pack("{s:s,s:s,s:s}", "container", c->id, "name", name, "type", driver);
    engine_event(c->engine, "network", action, network_id, attributes);
}

static char *with_length(const struct network *n, const char *address)
{
    const struct subnet *s = network__subnet_of(n, address);
    return s ? str_printf("%s%s", address, strchr(s->cidr, '/')) : NULL;
}

static char **link_local(const json_t *settings)
{
    char **addresses = texts_of(json_object_get(settings, "IPAMConfig"), "LinkLocalIPs"), **list = NULL;
    STRV_FOREACH (a, addresses)
        strv_take(&list, str_printf("%s/%d", *a, net_address_is_ipv6(*a) ? 64 : 16));
    strv_free(addresses);
    return list;
}

/* "net.ipv4.conf.IFNAME.log_martians=1,..." of the endpoint's driver options, as paths of this interface. */
static int sysctls_of(const json_t *settings, const char *ifname, char ***ret, struct err *err)
{
    const char *text = json_str(json_object_get(settings, "DriverOpts"), ENDPOINT_SYSCTLS);
    _cleanup_strv_ char **parts = strv_split(text, ','), **list = NULL;
    STRV_FOREACH (p, parts) {
        _cleanup_strv_ char **key = strv_split(*p, '.');
        const char *family = strv_len(key) >= 5 ? key[1] : "";
        const char *equals = strchr(*p, '=');
        if (!**p)
            continue;
        if (strv_len(key) < 5 || !str_eq(key[0], "net") || !equals || strchr(*p, '/') || strstr(*p, "..") ||
            !(str_eq(family, "ipv4") || str_eq(family, "ipv6") || str_eq(family, "mpls")) ||
            !(str_eq(key[2], "conf") || str_eq(key[2], "neigh")) || !str_eq(key[3], "IFNAME"))
            return err_set(err, ERR_INVALID,
                           "unrecognised network interface sysctl '%.100s'; represent 'net.X.Y.ethN.Z=V' as "
                           "'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'",
                           *p);
        strv_take(&list, str_printf("%s/%s/%s/%s", family, key[2], ifname, key[4]));
    }
    *ret = take_ptr(list);
    return 0;
}

static const char *gateway_of(const struct network *n, const char *address)
{
    const struct subnet *s = network__subnet_of(n, address);
    return s && s->gateway && !n->internal ? s->gateway : "";
}

/* ipvlan's layer 3 has no neighbours to route through. */
static bool by_link(const struct network *n)
{
    return str_eq(n->driver, "ipvlan") && (str_eq(n->mode, "l3") || str_eq(n->mode, "l3s"));
}

static int make_interface(struct container *c, struct wiring *w, const json_t *settings, int netns_fd,
                          bool routed, char host_if[16], struct err *err)
{
    struct network *n = w->network;
    _cleanup_free_ char *v4 = with_length(n, w->address), *v6 = with_length(n, w->address6);
    _cleanup_strv_ char **more = link_local(settings), **sysctls = NULL;
    int r = sysctls_of(settings, w->ifname, &sysctls, err);
    if (r == 0)
        r = ensure_link(c->engine, n, err);
    if (r < 0)
        return r;
    bool reached = !n->is_bridge && str_empty(n->parent) ? false : routed; /* a dummy leads nowhere */
    struct net_endpoint endpoint = {.kind = n->is_bridge ? NULL : n->driver,
                                    .mode = n->mode,
                                    .flag = n->flag,
                                    .link_route = reached && by_link(n),
                                    .bridge = n->bridge,
                                    .ifname = w->ifname,
                                    .address = v4,
                                    .address6 = v6,
                                    .more = more,
                                    .sysctls = sysctls,
                                    .mac = w->mac,
                                    .gateway = reached && !by_link(n) ? gateway_of(n, w->address) : NULL,
                                    .gateway6 = reached && !by_link(n) ? gateway_of(n, w->address6) : NULL};
    return net_endpoint_add(c->engine->net, netns_fd, &endpoint, host_if, err);
}

static void describe(json_t *settings, const struct wiring *w)
{
    const struct network *n = w->network;
    static const char *const keys[][3] = {{"IPAddress", "IPPrefixLen", "Gateway"},
                                          {"GlobalIPv6Address", "GlobalIPv6PrefixLen", "IPv6Gateway"}};
    const char *addresses[] = {w->address, w->address6};
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        const struct subnet *s = network__subnet_of(n, addresses[i]);
        int64_t bits = 0;
        if (!s)
            continue;
        parse_i64(strchr(s->cidr, '/') + 1, 0, 128, &bits, NULL);
        json_set_str(settings, keys[i][0], addresses[i]);
        json_object_set_new(settings, keys[i][1], json_integer(bits));
        json_set_str(settings, keys[i][2], gateway_of(n, addresses[i]));
    }
    if (w->mac)
        json_set_str(settings, "MacAddress", w->mac);
}

int endpoint__connect_one(struct container *c, const char *name, json_t *settings, json_t *host, int netns_fd,
                          int index, bool gateway, struct err *err)
{
    char host_if[16] = "";
    _cleanup_wiring_ struct wiring w = {0};
    int r = reserve(c, name, settings, index, &w, err);
    if (r < 0)
        return r;
    bool routed = gateway && !w.network->internal;
    if (w.network->subnet_count) {
        r = make_interface(c, &w, settings, netns_fd, routed, host_if, err);
        if (r < 0) {
            endpoint__forget(c, w.id);
            return err_wrap(err, "connect to network %s", name);
        }
        describe(settings, &w);
    }
    json_set_str(settings, "NetworkID", w.id);
    json_set_str(settings, "EndpointID", w.endpoint_id);
    json_object_set_new(host, name,
                        json_pack("{s:s,s:s,s:b}", "ifname", w.ifname, "host_if", host_if, "routed",
                                  routed && w.network->subnet_count));
    pthread_mutex_lock(&c->engine->lock);
    struct network *n = map_get(&c->engine->networks, w.id);
    struct endpoint *p = n ? map_get(&n->endpoints, c->id) : NULL;
    if (p) {
        memcpy(p->host_if, host_if, sizeof(p->host_if));
        spread__joined(c->engine, n, c->id);
    }
    pthread_mutex_unlock(&c->engine->lock);
    endpoint__event(c, "connect", w.id, name, w.network->driver);
    return 0;
}

bool endpoint__internal(struct engine *e, const json_t *settings)
{
    SCOPED_LOCK(lock, &e->lock);
    const struct network *n = map_get(&e->networks, json_str(settings, "NetworkID"));
    return n && n->internal;
}

static bool leads_out(struct engine *e, const char *name, const json_t *settings)
{
    struct err ignored;
    SCOPED_LOCK(lock, &e->lock);
    const struct network *n = network_of(e, name, settings, &ignored);
    return n && !n->internal && n->subnet_count;
}

const char *endpoint__way_out(struct engine *e, const json_t *net, bool wired)
{
    const char *name, *found = NULL;
    json_t *settings;
    int64_t best = 0;
    json_object_foreach (json_object_get(net, "Networks"), name, settings) {
        int64_t priority = json_int(settings, "GwPriority");
        bool can = wired ? *json_str(settings, "Gateway") != '\0' : leads_out(e, name, settings);
        if (can && (!found || priority > best)) {
            found = name;
            best = priority;
        }
    }
    return found;
}

/* --- a run's networks --- */

bool endpoint__wired(const json_t *net)
{
    const char *name;
    json_t *settings;
    json_object_foreach (json_object_get(net, "Networks"), name, settings)
        if (*json_str(settings, "IPAddress"))
            return true;
    return json_object_size(json_object_get(net, "Ports")) > 0;
}

const char *endpoint__routed(const json_t *net)
{
    const char *name;
    json_t *entry;
    json_object_foreach (json_object_get(net, "Host"), name, entry)
        if (json_bool(entry, "routed"))
            return name;
    return NULL;
}

/* The bridge's address of the first network that a user made: where a container's names are answered. */
static char *resolver_of(struct container *c, const json_t *net)
{
    const char *name;
    json_t *settings;
    SCOPED_LOCK(lock, &c->engine->lock);
    json_object_foreach (json_object_get(net, "Networks"), name, settings) {
        const struct network *n = map_get(&c->engine->networks, json_str(settings, "NetworkID"));
        const struct subnet *v4 = n ? network__subnet(n, false) : NULL;
        if (v4 && n->is_bridge && !n->predefined && *json_str(settings, "IPAddress"))
            return mem_strdup(v4->gateway);
    }
    return NULL;
}

int endpoint__resolver(struct container *c, const json_t *net, int netns_fd, bool fresh, struct err *err)
{
    _cleanup_free_ char *gateway = resolver_of(c, net);
    return gateway ? net_resolver_set(netns_fd, gateway, fresh, err) : 0;
}

int endpoint__connect_all(struct container *c, const json_t *doc, json_t *net, int netns_fd, struct err *err)
{
    json_t *networks = json_object_get(net, "Networks"), *host = json_object(), *settings;
    const char *name;
    int index = 0, r = 0;
    const char *way_out = endpoint__way_out(c->engine, net, false);
    json_object_set_new(net, "Host", host);
    json_object_foreach (networks, name, settings) {
        r = endpoint__connect_one(c, name, settings, host, netns_fd, index, str_eq(name, way_out), err);
        if (r < 0)
            break;
        index++;
    }
    const char *mode = network__mode(json_object_get(doc, "HostConfig"));
    bool bridged = strcmp(mode, "host") != 0 && strcmp(mode, "none") != 0 && !str_after(mode, "container:");
    if (r == 0 && bridged)
        r = endpoint__resolver(c, net, netns_fd, true, err);
    if (r == 0 && bridged)
        r = ports__publish(c, doc, net, err);
    if (r < 0) {
        endpoint__tell_left(c, endpoint__release_all(c));
        return r;
    }
    if (endpoint__wired(net))
        supervisor__names_due(c->engine);
    return 0;
}

void endpoint__clear(json_t *settings)
{
    static const char *const texts[] = {"EndpointID",  "Gateway",           "IPAddress",
                                        "IPv6Gateway", "GlobalIPv6Address", "MacAddress"};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        json_set_str(settings, texts[i], "");
    json_object_set_new(settings, "IPPrefixLen", json_integer(0));
    json_object_set_new(settings, "GlobalIPv6PrefixLen", json_integer(0));
}

bool endpoint__has_run(const json_t *net)
{
    return json_object_size(json_object_get(net, "Host")) || json_object_size(json_object_get(net, "Ports"));
}

/* Takes what belongs to a run out of the document; false when there was nothing. */
static bool clear_run(json_t *net)
{
    const char *name;
    json_t *settings;
    bool any = endpoint__has_run(net);
    json_object_foreach (json_object_get(net, "Networks"), name, settings)
        endpoint__clear(settings);
    json_object_set_new(net, "Ports", json_object());
    json_object_set_new(net, "Host", json_object());
    return any;
}

char **endpoint__release_all(struct container *c)
{
    struct engine *e = c->engine;
    struct err err;
    if (net_ports_withdraw(e->net, c->id, &err) < 0)
        log_warning("container %.12s: withdraw its ports: %s", c->id, err.msg);
    pthread_mutex_lock(&e->lock);
    struct map_entry *entry;
    char **left = NULL;
    bool named = false;
    for (size_t i = 0; (entry = map_next(&e->networks, &i));) {
        struct network *n = entry->value;
        if (spread__leave(e, n, c->id)) {
            named |= n->is_bridge;
            strv_add(&left, n->id);
            strv_add(&left, n->name);
            strv_add(&left, n->driver);
        }
    }
    pthread_mutex_unlock(&e->lock);
    pthread_mutex_lock(&c->lock);
    bool has_run = c->net_has_run;
    pthread_mutex_unlock(&c->lock);
    json_t *net = has_run ? container__net(c) : NULL;
    if (net && clear_run(net))
        container__set_net(c, net);
    else
        json_decref(net);
    if (named)
        supervisor__names_due(e);
    return left;
}

void endpoint__tell_left(struct container *c, char **left)
{
    for (size_t i = 0; left && left[i]; i += 3)
        endpoint__event(c, "disconnect", left[i], left[i + 1], left[i + 2]);
    strv_free(left);
}

static char *text_or_null(const json_t *object, const char *key)
{
    return *json_str(object, key) ? mem_strdup(json_str(object, key)) : NULL;
}

/* Puts one endpoint back into the table as the document says. */
static int restore_one(struct container *c, const char *name, const json_t *settings, const json_t *host,
                       struct err *err)
{
    struct engine *e = c->engine;
    struct network *facts = NULL;
    pthread_mutex_lock(&e->lock);
    struct network *n = map_get(&e->networks, json_str(settings, "NetworkID"));
    if (n && !map_has(&n->endpoints, c->id)) {
        struct endpoint *p = NEW(struct endpoint);
        snprintf(p->id, sizeof(p->id), "%s", json_str(settings, "EndpointID"));
        p->names = texts_of(settings, "Aliases");
        p->links = texts_of(settings, "Links");
        p->attached = attach__is(n, settings);
        p->address = text_or_null(settings, "IPAddress");
        p->address6 = text_or_null(settings, "GlobalIPv6Address");
        p->mac = mem_strdup(json_str(settings, "MacAddress"));
        p->ifname = mem_strdup(json_str(host, "ifname"));
        snprintf(p->host_if, sizeof(p->host_if), "%s", json_str(host, "host_if"));
        map_put(&n->endpoints, c->id, p);
    }
    if (n && n->subnet_count)
        facts = facts_of(n);
    pthread_mutex_unlock(&e->lock);
    if (!n)
        return err_set(err, ERR_NOT_FOUND, "network %s is gone", name);
    int r = facts ? ensure_link(e, facts, err) : 0;
    if (facts)
        network__free(facts);
    return r;
}

int endpoint__restore(struct container *c, struct err *err)
{
    _cleanup_json_ json_t *net = container__net(c);
    const json_t *host = json_object_get(net, "Host");
    const char *name;
    json_t *settings;
    json_object_foreach (json_object_get(net, "Networks"), name, settings) {
        if (!json_object_get(host, name))
            continue;
        int r = restore_one(c, name, settings, json_object_get(host, name), err);
        if (r < 0)
            return r;
    }
    supervisor__names_due(c->engine);
    return ports__restore(c, net, err);
}
