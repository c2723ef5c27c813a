/* Containers on networks: what a container asks for, its interfaces while it runs, and its published ports.
 *
 * A container's net document is {"Networks": {name: Docker's EndpointSettings}, "Ports": {"80/tcp":
 * [{"HostIp","HostPort"}]}, "Host": {name: {"ifname","host_if"}}}. Names, wishes (IPAMConfig, Aliases) and
 * network ids stay; addresses, Ports and Host are of the present run. */
#include "engine/engine_priv.h"

#include "base/digest.h"

#include <ctype.h>
#include <fcntl.h>
#include <unistd.h>

enum { PORTS_MAX = 4096 };

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

/* --- planning --- */

int endpoint__check_settings(const json_t *settings, const char *where, struct err *err)
{
    static const char *const unsupported[] = {"GlobalIPv6Address", "DriverOpts"};
    _cleanup_strv_ char **aliases = NULL;
    json_t *ipam = NULL;
    const char *v6 = "", *v4 = "", *mac = "";
    if (json_is_null(settings))
        return 0;
    if (!json_is_object(settings))
        return err_set(err, ERR_INVALID, "\"%s\" must be an object", where);
    int r = json_get_strv(settings, where, "Aliases", &aliases, err);
    if (r == 0)
        r = json_get_object(settings, where, "IPAMConfig", &ipam, err);
    if (r == 0)
        r = json_get_string(settings, where, "MacAddress", &mac, err);
    if (r == 0 && ipam)
        r = json_get_string(ipam, where, "IPv4Address", &v4, err);
    if (r == 0 && ipam)
        r = json_get_string(ipam, where, "IPv6Address", &v6, err);
    if (r < 0)
        return r;
    if (*v6)
        return err_set(err, ERR_UNSUPPORTED, "\"%s.IPAMConfig.IPv6Address\" is not supported", where);
    for (size_t i = 0; i < ARRAY_SIZE(unsupported); i++) {
        const json_t *value = json_object_get(settings, unsupported[i]);
        if ((json_is_string(value) && json_string_length(value)) || json_object_size(value))
            return err_set(err, ERR_UNSUPPORTED, "\"%s.%s\" is not supported", where, unsupported[i]);
    }
    return 0;
}

static json_t *settings_new(const struct network *n, const json_t *wished, const char *container_id)
{
    static const char *const empty[] = {"EndpointID", "Gateway", "IPAddress", "IPv6Gateway",
                                        "GlobalIPv6Address"};
    json_t *o = json_object();
    const json_t *ipam = json_object_get(wished, "IPAMConfig"), *aliases = json_object_get(wished, "Aliases"),
                 *links = json_object_get(wished, "Links");
    json_object_set_new(o, "IPAMConfig", json_is_object(ipam) ? json_deep_copy(ipam) : json_null());
    json_object_set_new(o, "Links", json_is_array(links) ? json_deep_copy(links) : json_null());
    json_t *names = json_is_array(aliases) ? json_deep_copy(aliases) : json_array();
    if (n->dns) {
        char short_id[13];
        snprintf(short_id, sizeof(short_id), "%.12s", container_id);
        json_array_append_new(names, json_string(short_id));
    }
    json_object_set_new(o, "Aliases", n->predefined ? json_null() : json_incref(names));
    json_decref(names);
    json_set_str(o, "NetworkID", n->id);
    for (size_t i = 0; i < ARRAY_SIZE(empty); i++)
        json_set_str(o, empty[i], "");
    json_object_set_new(o, "IPPrefixLen", json_integer(0));
    json_object_set_new(o, "GlobalIPv6PrefixLen", json_integer(0));
    json_set_str(o, "MacAddress", json_str(wished, "MacAddress"));
    json_object_set_new(o, "DriverOpts", json_null());
    return o;
}

/* One network of the plan; engine.lock held. */
static int plan_one(struct engine *e, const char *ref, const json_t *wished, const char *id, json_t *networks,
                    struct err *err)
{
    const struct network *n = network__find(e, strcmp(ref, "default") == 0 ? "bridge" : ref, err);
    if (!n)
        return -ERR_NOT_FOUND;
    const char *address = json_str(json_object_get(wished, "IPAMConfig"), "IPv4Address");
    if (*address && n->predefined)
        return err_set(err, ERR_INVALID,
                       "user specified IP address is supported on user defined networks only");
    if (*address && !net_address_in_subnet(address, n->subnet))
        return err_set(err, ERR_INVALID, "address %s is not in subnet %s of network %s", address, n->subnet,
                       n->name);
    json_object_set_new(networks, n->name, settings_new(n, wished, id));
    return 0;
}

int endpoint__plan(struct engine *e, const json_t *body, const char *container_id, json_t **ret,
                   struct err *err)
{
    const char *mode = network__mode(json_object_get(body, "HostConfig"));
    json_t *wishes = NULL, *wished;
    int r = json_get_object(json_object_get(body, "NetworkingConfig"), "NetworkingConfig", "EndpointsConfig",
                            &wishes, err);
    if (r < 0)
        return r;
    const char *name;
    json_object_foreach (wishes, name, wished)
        if ((r = endpoint__check_settings(wished, "NetworkingConfig.EndpointsConfig", err)) < 0)
            return r;
    _cleanup_json_ json_t *networks = json_object();
    if (!str_after(mode, "container:")) {
        SCOPED_LOCK(lock, &e->lock);
        const struct network *first = network__find(e, mode, err);
        if (!first)
            return -ERR_NOT_FOUND;
        /* The mode's own network may be wished for by its name, its id, or the mode's word. */
        json_t *own = json_object_get(wishes, mode);
        if (!own)
            own = json_object_get(wishes, first->name);
        if (!own)
            own = json_object_get(wishes, first->id);
        if (!own)
            own = strcmp(mode, "bridge") == 0 ? json_object_get(wishes, "default") : NULL;
        r = plan_one(e, mode, own, container_id, networks, err);
        json_object_foreach (wishes, name, wished)
            if (r == 0 && wished != own)
                r = plan_one(e, name, wished, container_id, networks, err);
        if (r < 0)
            return r;
    } else if (json_object_size(wishes))
        return err_set(err, ERR_CONFLICT,
                       "conflicting options: a container that shares another's network cannot join networks");
    *ret = take_ptr(networks);
    return 0;
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

static void forget(struct container *c, const char *network_id)
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

static void network_event(struct container *c, const char *action, const char *network_id, const char *name,
                          const char *driver)
{
    _cleanup_json_ json_t *attributes =
        json_pack("{s:s,s:s,s:s}", "container", c->id, "name", name, "type", driver);
    engine_event(c->engine, "network", action, network_id, attributes);
}

/* Connects one network; fills settings and the Host part. `gateway` says whether the default route goes this
 * way. */
static int connect_one(struct container *c, const char *name, json_t *settings, json_t *host, int netns_fd,
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
            forget(c, w.id);
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
    network_event(c, "connect", w.id, name, w.is_bridge ? "bridge" : name);
    return 0;
}

static bool is_internal(struct engine *e, const json_t *settings)
{
    SCOPED_LOCK(lock, &e->lock);
    const struct network *n = map_get(&e->networks, json_str(settings, "NetworkID"));
    return n && n->internal;
}

/* --- ports --- */

struct ports {
    struct net_port *list;
    char **texts; /* that the list borrows */
    size_t count, capacity;
};

static void ports_done(struct ports *p)
{
    free(p->list);
    strv_free(p->texts);
}
#define _cleanup_ports_ _cleanup_(ports_done)

static const char *keep(struct ports *p, char *text)
{
    strv_take(&p->texts, text);
    return text;
}

/* "80/tcp", "80": number and protocol. */
static int parse_port(const char *text, uint16_t *ret, char ret_protocol[8], struct err *err)
{
    _cleanup_free_ char *number = mem_strndup(text, strcspn(text, "/"));
    const char *protocol = strchr(text, '/') ? strchr(text, '/') + 1 : "tcp";
    int64_t value;
    if (parse_i64(number, 1, 65535, &value, NULL) < 0 ||
        (strcmp(protocol, "tcp") != 0 && strcmp(protocol, "udp") != 0 && strcmp(protocol, "sctp") != 0))
        return err_set(err, ERR_INVALID, "invalid port specification: \"%.100s\"", text);
    *ret = (uint16_t)value;
    snprintf(ret_protocol, 8, "%s", protocol);
    return 0;
}

static int add_port(struct ports *p, struct container *c, const char *spec, const char *host_ip,
                    uint16_t host_port, const char *address, struct err *err)
{
    uint16_t port;
    char protocol[8];
    int r = parse_port(spec, &port, protocol, err);
    if (r < 0)
        return r;
    if (p->count >= PORTS_MAX)
        return err_set(err, ERR_LIMIT, "more than %d published ports", PORTS_MAX);
    GROW(p->list, p->count, p->capacity);
    p->list[p->count++] = (struct net_port){.owner = c->id,
                                            .protocol = keep(p, mem_strdup(protocol)),
                                            .host_ip = keep(p, mem_strdup(host_ip)),
                                            .host_port = host_port,
                                            .container_ip = keep(p, mem_strdup(address)),
                                            .container_port = port};
    return 0;
}

/* A HostPort: "", "8080", or a range "8000-8010" of which any may be chosen. */
static int parse_host_port(const char *text, uint16_t *ret_first, uint16_t *ret_last, struct err *err)
{
    _cleanup_free_ char *from = mem_strndup(text, strcspn(text, "-"));
    const char *to = strchr(text, '-') ? strchr(text, '-') + 1 : from;
    int64_t first = 0, last = 0;
    if (*text && (parse_i64(from, 0, 65535, &first, NULL) < 0 || parse_i64(to, 0, 65535, &last, NULL) < 0 ||
                  last < first))
        return err_set(err, ERR_INVALID, "invalid port specification: \"%.100s\"", text);
    *ret_first = (uint16_t)first;
    *ret_last = (uint16_t)last;
    return 0;
}

struct range {
    size_t index; /* into the list */
    uint16_t last;
};

/* What the container publishes, as the list for net_ports_publish and the ranges in it. */
static int wanted_ports(struct container *c, const json_t *doc, const char *address, struct ports *ports,
                        struct range **ret_ranges, size_t *ret_range_count, struct err *err)
{
    const json_t *host = json_object_get(doc, "HostConfig"),
                 *bindings = json_object_get(host, "PortBindings");
    const char *spec;
    json_t *list, *binding;
    size_t i, ranges = 0, capacity = 0;
    json_object_foreach ((json_t *)bindings, spec, list) {
        if (!json_is_null(list) && !json_is_array(list))
            return err_set(err, ERR_INVALID, "\"HostConfig.PortBindings.%s\" must be a list", spec);
        json_array_foreach (list, i, binding) {
            const char *host_ip = "", *host_port = "";
            uint16_t first, last;
            int r = json_get_string(binding, "HostConfig.PortBindings", "HostIp", &host_ip, err);
            if (r == 0)
                r = json_get_string(binding, "HostConfig.PortBindings", "HostPort", &host_port, err);
            if (r == 0)
                r = parse_host_port(host_port, &first, &last, err);
            if (r == 0)
                r = add_port(ports, c, spec, host_ip, first, address, err);
            if (r < 0)
                return r;
            if (last > first) {
                GROW(*ret_ranges, ranges, capacity);
                (*ret_ranges)[ranges++] = (struct range){ports->count - 1, last};
            }
        }
    }
    *ret_range_count = ranges;
    if (json_bool(host, "PublishAllPorts")) {
        json_object_foreach (json_object_get(json_object_get(doc, "Config"), "ExposedPorts"), spec, list) {
            int r = json_object_get(bindings, spec) ? 0 : add_port(ports, c, spec, "", 0, address, err);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

/* Tries the next port of the first range that has one left; false when none has. */
static bool next_in_range(struct ports *ports, struct range *ranges, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (ports->list[ranges[i].index].host_port < ranges[i].last) {
            ports->list[ranges[i].index].host_port++;
            return true;
        }
    return false;
}

static json_t *ports_json(const struct ports *ports)
{
    json_t *o = json_object();
    for (size_t i = 0; i < ports->count; i++) {
        const struct net_port *p = &ports->list[i];
        char key[16], number[8];
        snprintf(key, sizeof(key), "%u/%s", p->container_port, p->protocol);
        snprintf(number, sizeof(number), "%u", p->host_port);
        json_t *list = json_object_get(o, key);
        if (!list) {
            list = json_array();
            json_object_set_new(o, key, list);
        }
        json_array_append_new(
            list, json_pack("{s:s,s:s}", "HostIp", *p->host_ip ? p->host_ip : "0.0.0.0", "HostPort", number));
    }
    return o;
}

/* Says a container's name where net could only know its id. */
static int name_the_owner(struct engine *e, struct err *err)
{
    if (!err)
        return -ERR_CONFLICT;
    struct map_entry *entry;
    SCOPED_LOCK(lock, &e->lock);
    for (size_t i = 0; (entry = map_next(&e->containers, &i));) {
        char short_id[13];
        snprintf(short_id, sizeof(short_id), "%.12s", entry->key);
        char *at = strstr(err->msg, short_id);
        if (!at)
            continue;
        size_t n = strlen(err->msg);
        snprintf(err->msg + n, sizeof(err->msg) - n, " (%s)", ((struct container *)entry->value)->name);
        break;
    }
    return -err->code;
}

static int publish(struct container *c, const json_t *doc, json_t *net, const char *address, struct err *err)
{
    _cleanup_ports_ struct ports ports = {0};
    _cleanup_free_ struct range *ranges = NULL;
    size_t range_count = 0;
    int r = wanted_ports(c, doc, address, &ports, &ranges, &range_count, err);
    if (r < 0)
        return r;
    if (ports.count && !*address)
        return err_set(err, ERR_INVALID, "ports cannot be published: the container is on no bridge network");
    do
        r = ports.count ? net_ports_publish(c->engine->net, c->id, ports.list, ports.count, err) : 0;
    while (r == -ERR_CONFLICT && next_in_range(&ports, ranges, range_count));
    if (r < 0)
        return r == -ERR_CONFLICT ? name_the_owner(c->engine, err) : r;
    json_object_set_new(net, "Ports", ports_json(&ports));
    return 0;
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
        r = connect_one(c, name, settings, host, netns_fd, index, outward, err);
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
        r = publish(c, doc, net, address, err);
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
        network_event(c, "disconnect", left[i], left[i + 1], left[i + 2]);
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
    const char *name, *spec, *address = "";
    json_t *settings, *list;
    json_object_foreach (json_object_get(net, "Networks"), name, settings) {
        if (!json_object_get(host, name))
            continue;
        int r = restore_one(c, name, settings, json_object_get(host, name), err);
        if (r < 0)
            return r;
        if (!*address && *json_str(settings, "Gateway"))
            address = json_str(settings, "IPAddress");
    }
    _cleanup_ports_ struct ports ports = {0};
    json_object_foreach (json_object_get(net, "Ports"), spec, list) {
        size_t i;
        const json_t *binding;
        json_array_foreach (list, i, binding) {
            int64_t port = 0;
            const char *host_ip = json_str(binding, "HostIp");
            parse_i64(json_str(binding, "HostPort"), 0, 65535, &port, NULL);
            int r = add_port(&ports, c, spec, strcmp(host_ip, "0.0.0.0") == 0 ? "" : host_ip, (uint16_t)port,
                             address, err);
            if (r < 0)
                return r;
        }
    }
    supervisor__names_due(c->engine);
    return ports.count ? net_ports_publish(c->engine->net, c->id, ports.list, ports.count, err) : 0;
}

/* --- live connect and disconnect --- */

static int netns_of(struct container *c, struct err *err)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/ns/net", container__state(c).pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? err_sys(err, errno, "open %s", path) : fd;
}

/* The lowest eth number that no interface of the run has. */
static int free_index(const json_t *host)
{
    for (int index = 0;; index++) {
        char ifname[16];
        const char *name;
        json_t *entry;
        bool used = false;
        snprintf(ifname, sizeof(ifname), "eth%d", index);
        json_object_foreach ((json_t *)host, name, entry)
            used = used || strcmp(json_str(entry, "ifname"), ifname) == 0;
        if (!used)
            return index;
    }
}

static int check_mode(struct container *c, const char *network, struct err *err)
{
    _cleanup_json_ json_t *doc = container__doc(c);
    const char *mode = network__mode(json_object_get(doc, "HostConfig"));
    if (strcmp(mode, "host") == 0 || strcmp(network, "host") == 0)
        return err_set(err, ERR_DENIED,
                       "container cannot be connected to host network or disconnected from it");
    if (str_after(mode, "container:"))
        return err_set(err, ERR_DENIED,
                       "container sharing network namespace with another container or host cannot be "
                       "connected to any other network");
    if (strcmp(mode, "none") == 0 || strcmp(network, "none") == 0)
        return err_set(err, ERR_DENIED,
                       "container cannot be connected to multiple networks with one of the networks in "
                       "private (none) mode");
    return 0;
}

static int network_name(struct engine *e, const char *ref, char **ret, struct err *err)
{
    SCOPED_LOCK(lock, &e->lock);
    const struct network *n = network__find(e, ref, err);
    if (!n)
        return -ERR_NOT_FOUND;
    *ret = mem_strdup(n->name);
    return 0;
}

static int body_container(struct engine *e, const json_t *body, struct container **ret, struct err *err)
{
    const char *ref = "";
    int r = json_get_string(body, "", "Container", &ref, err);
    if (r == 0 && !*ref)
        r = err_set(err, ERR_INVALID, "\"Container\" names no container");
    return r < 0 ? r : container__find(e, ref, ret, err);
}

int engine_network_connect(struct engine *e, const char *ref, const json_t *body, struct err *err)
{
    _cleanup_container_ struct container *c = NULL;
    _cleanup_free_ char *name = NULL;
    const json_t *wished = json_object_get(body, "EndpointConfig");
    int r = network_name(e, ref, &name, err);
    if (r == 0)
        r = body_container(e, body, &c, err);
    if (r == 0 && wished)
        r = endpoint__check_settings(wished, "EndpointConfig", err);
    if (r == 0)
        r = check_mode(c, name, err);
    if (r < 0)
        return r;
    SCOPED_LOCK(op, &c->op);
    _cleanup_json_ json_t *net = container__net(c);
    json_t *networks = json_object_get(net, "Networks");
    if (json_object_get(networks, name))
        return err_set(err, ERR_DENIED, "endpoint with name %s already exists in network %s", c->name, name);
    pthread_mutex_lock(&e->lock);
    r = plan_one(e, name, wished, c->id, networks, err);
    pthread_mutex_unlock(&e->lock);
    if (r < 0)
        return r;
    if (container__running(c)) {
        _cleanup_close_ int netns = netns_of(c, err);
        if (netns < 0)
            return netns;
        json_t *host = json_object_get(net, "Host");
        bool first = json_object_size(networks) == 1;
        r = connect_one(c, name, json_object_get(networks, name), host, netns, free_index(host), first, err);
        if (r < 0)
            return r;
        supervisor__names_due(e);
    }
    container__set_net(c, take_ptr(net));
    container__save(c);
    return 0;
}

int engine_network_disconnect(struct engine *e, const char *ref, const json_t *body, struct err *err)
{
    _cleanup_container_ struct container *c = NULL;
    _cleanup_free_ char *name = NULL;
    int r = network_name(e, ref, &name, err);
    if (r == 0)
        r = body_container(e, body, &c, err);
    if (r == 0)
        r = check_mode(c, name, err);
    if (r < 0)
        return r;
    SCOPED_LOCK(op, &c->op);
    _cleanup_json_ json_t *net = container__net(c);
    json_t *networks = json_object_get(net, "Networks"), *host = json_object_get(net, "Host");
    const json_t *settings = json_object_get(networks, name);
    if (!settings)
        return err_set(err, ERR_DENIED, "container %s is not connected to network %s", c->id, name);
    _cleanup_free_ char *id = mem_strdup(json_str(settings, "NetworkID"));
    const char *ifname = json_str(json_object_get(host, name), "ifname");
    if (container__running(c) && *ifname) {
        _cleanup_close_ int netns = netns_of(c, err);
        r = netns < 0 ? netns : net_endpoint_remove(e->net, netns, ifname, err);
        if (r < 0)
            return r;
        forget(c, id);
        network_event(c, "disconnect", id, name, "bridge");
        supervisor__names_due(e);
    }
    json_object_del(networks, name);
    json_object_del(host, name);
    container__set_net(c, take_ptr(net));
    container__save(c);
    return 0;
}
