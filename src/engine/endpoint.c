/* Containers on networks: the addresses and interfaces of a run. */
#include "engine/endpoint_priv.h"

#include "base/digest.h"

void endpoint__free(void *endpoint)
{
    struct endpoint *p = endpoint;
    if (!p)
        return;
    free(p->address);
    free(p->mac);
    free(p->ifname);
    strv_free(p->names);
    free(p);
}

/* --- addresses --- */

static char **taken_addresses(const struct network *n)
{
    char **list = NULL;
    struct map_entry *entry;
    for (size_t i = 0; (entry = map_next(&n->endpoints, &i));) {
        const struct endpoint *p = entry->value;
        if (p->address)
            strv_add(&list, p->address);
    }
    if (n->gateway)
        strv_add(&list, n->gateway);
    return list;
}

static char **names_of(const json_t *settings)
{
    char **names = NULL;
    size_t i;
    const json_t *alias;
    json_array_foreach (json_object_get(settings, "Aliases"), i, alias)
        if (json_is_string(alias) && *json_string_value(alias))
            strv_add(&names, json_string_value(alias));
    return names;
}

/* Docker's: 02:42 and the address. */
static char *mac_of(const char *address)
{
    unsigned a = 0, b = 0, c = 0, d = 0;
    sscanf(address, "%u.%u.%u.%u", &a, &b, &c, &d);
    return str_printf("02:42:%02x:%02x:%02x:%02x", a & 255, b & 255, c & 255, d & 255);
}

/* Enters the container into the network's table with an address; engine.lock held. */
static int take_place(struct network *n, const char *container_id, const json_t *settings, const char *ifname,
                      struct endpoint **ret, struct err *err)
{
    if (map_has(&n->endpoints, container_id))
        return err_set(err, ERR_DENIED, "endpoint with name %s already exists in network %s", container_id,
                       n->name);
    struct endpoint *p = NEW(struct endpoint);
    p->names = names_of(settings);
    p->ifname = mem_strdup(ifname);
    if (n->subnet) {
        _cleanup_strv_ char **taken = taken_addresses(n);
        const char *wished = json_str(json_object_get(settings, "IPAMConfig"), "IPv4Address");
        int r = 0;
        if (*wished && strv_has(taken, wished))
            r = err_set(err, ERR_CONFLICT, "Address already in use: %s on network %s", wished, n->name);
        else if (*wished)
            p->address = mem_strdup(wished);
        else
            r = net_address_pick(n->subnet, n->range, taken, &p->address, err);
        if (r < 0) {
            endpoint__free(p);
            return err_wrap(err, "network %s", n->name);
        }
        const char *mac = json_str(settings, "MacAddress");
        p->mac = *mac ? mem_strdup(mac) : mac_of(p->address);
    }
    map_put(&n->endpoints, container_id, p);
    *ret = p;
    return 0;
}

/* What is needed to make an interface, copied out from under the lock. */
struct wiring {
    char bridge[16], *subnet, *gateway, *address, *mac;
    bool is_bridge, internal, icc, dns;
    int mtu;
    char id[65];
};

static void wiring_done(struct wiring *w)
{
    free(w->subnet);
    free(w->gateway);
    free(w->address);
    free(w->mac);
}
#define _cleanup_wiring_ _cleanup_(wiring_done)

static int reserve(struct container *c, const char *name, const json_t *settings, const char *ifname,
                   struct wiring *ret, struct err *err)
{
    struct engine *e = c->engine;
    SCOPED_LOCK(lock, &e->lock);
    const char *id = json_str(settings, "NetworkID");
    struct network *n = *id ? map_get(&e->networks, id) : NULL;
    if (!n)
        n = network__find(e, name, err);
    if (!n)
        return -ERR_NOT_FOUND;
    struct endpoint *p = NULL;
    int r = take_place(n, c->id, settings, ifname, &p, err);
    if (r < 0)
        return r;
    *ret = (struct wiring){.subnet = mem_strdup(n->subnet),
                           .gateway = mem_strdup(n->gateway),
                           .address = mem_strdup(p->address),
                           .mac = mem_strdup(p->mac),
                           .is_bridge = strcmp(n->driver, "bridge") == 0,
                           .internal = n->internal,
                           .icc = n->icc,
                           .dns = n->dns,
                           .mtu = n->mtu};
    memcpy(ret->bridge, n->bridge, sizeof(ret->bridge));
    memcpy(ret->id, n->id, sizeof(ret->id));
    return 0;
}

void endpoint__forget(struct container *c, const char *network_id)
{
    SCOPED_LOCK(lock, &c->engine->lock);
    struct network *n = map_get(&c->engine->networks, network_id);
    if (n)
        map_remove(&n->endpoints, c->id);
}

static int ensure_bridge(struct engine *e, const struct wiring *w, struct err *err)
{
    struct net_bridge bridge = {.name = w->bridge,
                                .subnet = w->subnet,
                                .gateway = w->gateway,
                                .internal = w->internal,
                                .icc = w->icc,
                                .mtu = w->mtu};
    return net_bridge_ensure(e->net, &bridge, err);
}

void endpoint__event(struct container *c, const char *action, const char *network_id, const char *name,
                     const char *driver)
{
    _cleanup_json_ json_t *attributes =
        json_pack("{s:s,s:s,s:s}", "container", c->id, "name", name, "type", driver);
    engine_event(c->engine, "network", action, network_id, attributes);
}

/* Connects one network; fills settings and the Host part. `gateway` says whether the default route goes this
 * way. */
int endpoint__connect_one(struct container *c, const char *name, json_t *settings, json_t *host, int netns_fd,
                          int index, bool gateway, struct err *err)
{
    char ifname[16], host_if[16] = "", endpoint_id[65];
    _cleanup_wiring_ struct wiring w = {0};
    snprintf(ifname, sizeof(ifname), "eth%d", index);
    int r = reserve(c, name, settings, ifname, &w, err);
    if (r < 0)
        return r;
    if (w.is_bridge) {
        _cleanup_free_ char *with_bits = str_printf("%s%s", w.address, strchr(w.subnet, '/'));
        struct net_endpoint endpoint = {.bridge = w.bridge,
                                        .ifname = ifname,
                                        .address = with_bits,
                                        .mac = w.mac,
                                        .gateway = gateway && !w.internal ? w.gateway : NULL};
        r = ensure_bridge(c->engine, &w, err);
        if (r == 0)
            r = net_endpoint_add(c->engine->net, netns_fd, &endpoint, host_if, err);
        if (r < 0) {
            endpoint__forget(c, w.id);
            return err_wrap(err, "connect to network %s", name);
        }
        int64_t bits = 0;
        parse_i64(strchr(w.subnet, '/') + 1, 0, 32, &bits, NULL);
        json_set_str(settings, "Gateway", w.internal ? "" : w.gateway);
        json_set_str(settings, "IPAddress", w.address);
        json_object_set_new(settings, "IPPrefixLen", json_integer(bits));
        json_set_str(settings, "MacAddress", w.mac);
    }
    digest_random_id(endpoint_id);
    json_set_str(settings, "NetworkID", w.id);
    json_set_str(settings, "EndpointID", endpoint_id);
    json_object_set_new(host, name, json_pack("{s:s,s:s}", "ifname", ifname, "host_if", host_if));
    pthread_mutex_lock(&c->engine->lock);
    struct network *n = map_get(&c->engine->networks, w.id);
    struct endpoint *p = n ? map_get(&n->endpoints, c->id) : NULL;
    if (p)
        memcpy(p->host_if, host_if, sizeof(p->host_if));
    pthread_mutex_unlock(&c->engine->lock);
    endpoint__event(c, "connect", w.id, name, w.is_bridge ? "bridge" : name);
    return 0;
}

static bool is_internal(struct engine *e, const json_t *settings)
{
    SCOPED_LOCK(lock, &e->lock);
    const struct network *n = map_get(&e->networks, json_str(settings, "NetworkID"));
    return n && n->internal;
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

int endpoint__connect_all(struct container *c, const json_t *doc, json_t *net, int netns_fd, struct err *err)
{
    json_t *networks = json_object_get(net, "Networks"), *host = json_object(), *settings;
    const char *name, *address = "";
    bool routed = false;
    int index = 0, r = 0;
    json_object_set_new(net, "Host", host);
    json_object_foreach (networks, name, settings) {
        bool outward = !routed && !is_internal(c->engine, settings);
        r = endpoint__connect_one(c, name, settings, host, netns_fd, index, outward, err);
        if (r < 0)
            break;
        index++;
        /* The published ports lead to the address that the default route leaves by. */
        if (outward && *json_str(settings, "IPAddress")) {
            routed = true;
            address = json_str(settings, "IPAddress");
        }
    }
    const char *mode = network__mode(json_object_get(doc, "HostConfig"));
    bool bridged = strcmp(mode, "host") != 0 && strcmp(mode, "none") != 0 && !str_after(mode, "container:");
    if (r == 0 && bridged)
        r = ports__publish(c, doc, net, address, err);
    if (r < 0) {
        endpoint__release_all(c);
        return r;
    }
    if (endpoint__wired(net))
        supervisor__names_due(c->engine);
    return 0;
}

/* Takes what belongs to a run out of the document; false when there was nothing. */
static bool clear_run(json_t *net)
{
    static const char *const texts[] = {"EndpointID", "Gateway", "IPAddress"};
    const char *name;
    json_t *settings;
    bool any =
        json_object_size(json_object_get(net, "Host")) || json_object_size(json_object_get(net, "Ports"));
    json_object_foreach (json_object_get(net, "Networks"), name, settings) {
        for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
            json_set_str(settings, texts[i], "");
        json_object_set_new(settings, "IPPrefixLen", json_integer(0));
        if (json_object_get(json_object_get(net, "Host"), name))
            json_set_str(settings, "MacAddress", "");
    }
    json_object_set_new(net, "Ports", json_object());
    json_object_set_new(net, "Host", json_object());
    return any;
}

void endpoint__release_all(struct container *c)
{
    struct engine *e = c->engine;
    struct err err;
    if (net_ports_withdraw(e->net, c->id, &err) < 0)
        log_warning("container %.12s: withdraw its ports: %s", c->id, err.msg);
    pthread_mutex_lock(&e->lock);
    struct map_entry *entry;
    _cleanup_strv_ char **left = NULL;
    bool named = false;
    for (size_t i = 0; (entry = map_next(&e->networks, &i));) {
        struct network *n = entry->value;
        if (map_remove(&n->endpoints, c->id)) {
            named |= *n->bridge != '\0';
            strv_add(&left, n->id);
            strv_add(&left, n->name);
            strv_add(&left, n->driver);
        }
    }
    pthread_mutex_unlock(&e->lock);
    for (size_t i = 0; left && left[i]; i += 3)
        endpoint__event(c, "disconnect", left[i], left[i + 1], left[i + 2]);
    json_t *net = container__net(c);
    if (clear_run(net))
        container__set_net(c, net);
    else
        json_decref(net);
    if (named)
        supervisor__names_due(e);
}

/* Puts one endpoint back into the table as the document says. */
static int restore_one(struct container *c, const char *name, const json_t *settings, const json_t *host,
                       struct err *err)
{
    struct engine *e = c->engine;
    _cleanup_wiring_ struct wiring w = {0};
    pthread_mutex_lock(&e->lock);
    struct network *n = map_get(&e->networks, json_str(settings, "NetworkID"));
    if (n && !map_has(&n->endpoints, c->id)) {
        struct endpoint *p = NEW(struct endpoint);
        const char *address = json_str(settings, "IPAddress");
        p->names = names_of(settings);
        p->address = *address ? mem_strdup(address) : NULL;
        p->mac = mem_strdup(json_str(settings, "MacAddress"));
        p->ifname = mem_strdup(json_str(host, "ifname"));
        snprintf(p->host_if, sizeof(p->host_if), "%s", json_str(host, "host_if"));
        map_put(&n->endpoints, c->id, p);
    }
    if (n) {
        w = (struct wiring){.subnet = mem_strdup(n->subnet),
                            .gateway = mem_strdup(n->gateway),
                            .is_bridge = strcmp(n->driver, "bridge") == 0,
                            .internal = n->internal,
                            .icc = n->icc,
                            .mtu = n->mtu};
        memcpy(w.bridge, n->bridge, sizeof(w.bridge));
    }
    pthread_mutex_unlock(&e->lock);
    if (!n)
        return err_set(err, ERR_NOT_FOUND, "network %s is gone", name);
    return w.is_bridge ? ensure_bridge(e, &w, err) : 0;
}

int endpoint__restore(struct container *c, struct err *err)
{
    _cleanup_json_ json_t *net = container__net(c);
    const json_t *host = json_object_get(net, "Host");
    const char *name, *address = "";
    json_t *settings;
    json_object_foreach (json_object_get(net, "Networks"), name, settings) {
        if (!json_object_get(host, name))
            continue;
        int r = restore_one(c, name, settings, json_object_get(host, name), err);
        if (r < 0)
            return r;
        if (!*address && *json_str(settings, "Gateway"))
            address = json_str(settings, "IPAddress");
    }
    supervisor__names_due(c->engine);
    return ports__restore(c, net, address, err);
}
