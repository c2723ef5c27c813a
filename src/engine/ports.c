/* A container's published ports: what it asks for, ranges to choose from, and what it got. */
#include "engine/endpoint_priv.h"

enum { PORTS_MAX = 4096 };

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

/* Where published ports lead, and the host address of those that name none. */
struct target {
    char *address, *address6, *binding, *endpoint; /* texts of our own; "" for none */
    bool inward;                                   /* all its networks are internal */
};

static void target_done(struct target *t)
{
    free(t->address);
    free(t->address6);
    free(t->binding);
    free(t->endpoint);
}
#define _cleanup_target_ _cleanup_(target_done)

static bool all_internal(struct container *c, const json_t *net)
{
    const char *name;
    json_t *settings, *networks = json_object_get(net, "Networks");
    json_object_foreach (networks, name, settings)
        if (!endpoint__internal(c->engine, settings))
            return false;
    return json_object_size(networks) > 0;
}

static void find_target(struct container *c, const json_t *net, struct target *ret)
{
    const char *name = endpoint__routed(net);
    bool inward = !name && all_internal(c, net);
    const json_t *settings = name ? json_object_get(json_object_get(net, "Networks"), name) : NULL;
    SCOPED_LOCK(lock, &c->engine->lock);
    const struct network *n = map_get(&c->engine->networks, json_str(settings, "NetworkID"));
    bool bridge = n && n->is_bridge;
    *ret = (struct target){mem_strdup(bridge ? json_str(settings, "IPAddress") : ""),
                           mem_strdup(bridge ? json_str(settings, "GlobalIPv6Address") : ""),
                           mem_strdup(bridge ? n->host_binding : ""),
                           mem_strdup(json_str(settings, "EndpointID")), inward};
}

static int add_one(struct ports *p, struct container *c, const char *spec, const char *host_ip,
                   uint16_t host_port, const char *address, bool twin, struct err *err)
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
                                            .container_port = port,
                                            .twin = twin};
    return 0;
}

/* One that names no host address is published on those of both families. */
static int add_port(struct ports *p, struct container *c, const char *spec, const char *host_ip,
                    uint16_t host_port, const struct target *t, struct err *err)
{
    bool any = !*host_ip && !*t->binding;
    const char *ip = *host_ip ? host_ip : t->binding;
    if (t->inward)
        return 0; /* nothing of the host leads there */
    if (!*t->address)
        return err_set(err, ERR_INVALID, "ports cannot be published: the container is on no bridge network");
    if (net_address_is_ipv6(ip)) {
        if (!*t->address6)
            return err_set(err, ERR_INVALID,
                           "port %.50s cannot be published on %.50s: the container's network has no IPv6",
                           spec, ip);
        return add_one(p, c, spec, ip, host_port, t->address6, false, err);
    }
    int r = add_one(p, c, spec, ip, host_port, t->address, false, err);
    if (r == 0 && any && *t->address6)
        r = add_one(p, c, spec, "::", host_port, t->address6, true, err);
    return r;
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
static int wanted_ports(struct container *c, const json_t *doc, const struct target *t, struct ports *ports,
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
            size_t at = ports->count;
            if (r == 0)
                r = add_port(ports, c, spec, host_ip, first, t, err);
            if (r < 0)
                return r;
            if (last > first) {
                GROW(*ret_ranges, ranges, capacity);
                (*ret_ranges)[ranges++] = (struct range){at, last};
            }
        }
    }
    *ret_range_count = ranges;
    if (json_bool(host, "PublishAllPorts")) {
        json_object_foreach (json_object_get(json_object_get(doc, "Config"), "ExposedPorts"), spec, list) {
            int r = json_object_get(bindings, spec) ? 0 : add_port(ports, c, spec, "", 0, t, err);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

/* Tries the next port of the first range that has one left; false when none has. */
static bool next_in_range(struct ports *ports, struct range *ranges, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t at = ranges[i].index;
        if (ports->list[at].host_port >= ranges[i].last)
            continue;
        ports->list[at].host_port++;
        if (at + 1 < ports->count && ports->list[at + 1].twin)
            ports->list[at + 1].host_port = ports->list[at].host_port;
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

int ports__name_the_owner(struct engine *e, struct err *err)
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

/* Docker's words and its status for a port that cannot be had. */
static int describe_conflict(struct container *c, const struct target *t, struct err *err)
{
    int r = ports__name_the_owner(c->engine, err);
    if (!err)
        return r;
    _cleanup_free_ char *name = container__name(c);
    err->code = ERR_SYSTEM;
    return err_wrap(err, "driver failed programming external connectivity on endpoint %s (%s)", name,
                    t->endpoint);
}

int ports__publish(struct container *c, const json_t *doc, json_t *net, struct err *err)
{
    _cleanup_ports_ struct ports ports = {0};
    _cleanup_target_ struct target t = {0};
    _cleanup_free_ struct range *ranges = NULL;
    size_t range_count = 0;
    find_target(c, net, &t);
    int r = wanted_ports(c, doc, &t, &ports, &ranges, &range_count, err);
    if (r < 0)
        return r;
    do
        r = ports.count ? net_ports_publish(c->engine->net, c->id, ports.list, ports.count, err) : 0;
    while (r == -ERR_CONFLICT && next_in_range(&ports, ranges, range_count));
    if (r < 0)
        return r == -ERR_CONFLICT ? describe_conflict(c, &t, err) : r;
    json_object_set_new(net, "Ports", ports_json(&ports));
    return 0;
}

int ports__restore(struct container *c, const json_t *net, struct err *err)
{
    _cleanup_ports_ struct ports ports = {0};
    _cleanup_target_ struct target t = {0};
    const char *spec;
    json_t *list;
    find_target(c, net, &t);
    json_object_foreach (json_object_get(net, "Ports"), spec, list) {
        size_t i;
        const json_t *binding;
        json_array_foreach (list, i, binding) {
            int64_t port = 0;
            parse_i64(json_str(binding, "HostPort"), 0, 65535, &port, NULL);
            int r = add_port(&ports, c, spec, json_str(binding, "HostIp"), (uint16_t)port, &t, err);
            if (r < 0)
                return r;
        }
    }
    return ports.count ? net_ports_publish(c->engine->net, c->id, ports.list, ports.count, err) : 0;
}
