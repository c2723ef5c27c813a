/* What a leader has described, made so by this machine's engine. */
#include "cluster/traffic.h"

#include "base/log.h"
#include "cluster/cluster_priv.h"
#include "cluster/traffic_rows.h"
#include "engine/spread.h"
#include "net/net.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <netpacket/packet.h>

char *traffic__link_address(const char *address)
{
    struct ifaddrs *list = NULL, *i;
    struct in_addr wanted;
    char name[IF_NAMESIZE] = "", *found = NULL;
    if (!address || inet_pton(AF_INET, address, &wanted) != 1 || getifaddrs(&list) < 0)
        return NULL;
    for (i = list; i; i = i->ifa_next)
        if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET &&
            ((const struct sockaddr_in *)i->ifa_addr)->sin_addr.s_addr == wanted.s_addr)
            snprintf(name, sizeof(name), "%s", i->ifa_name);
    for (i = list; *name && i && !found; i = i->ifa_next) {
        const struct sockaddr_ll *link = (const struct sockaddr_ll *)i->ifa_addr;
        if (link && link->sll_family == AF_PACKET && str_eq(i->ifa_name, name) &&
            link->sll_hatype == ARPHRD_ETHER)
            found = str_printf("%02x:%02x:%02x:%02x:%02x:%02x", link->sll_addr[0], link->sll_addr[1],
                               link->sll_addr[2], link->sll_addr[3], link->sll_addr[4], link->sll_addr[5]);
    }
    freeifaddrs(list);
    return found;
}

bool traffic__is_link_address(const char *text)
{
    unsigned char mac[6];
    char rest;
    return text && strlen(text) == 17 &&
           sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%c", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4],
                  &mac[5], &rest) == 6 &&
           !(mac[0] & 1);
}

/* --- One service on one network --- */

static size_t read_ports(const json_t *list, struct engine_spread_port **ret)
{
    struct engine_spread_port *ports = NEW_N(struct engine_spread_port, json_array_size(list) + 1);
    size_t i;
    json_t *one;
    json_array_foreach ((json_t *)list, i, one)
        ports[i] =
            (struct engine_spread_port){json_str(one, "Protocol"), (uint16_t)json_int(one, "PublishedPort"),
                                        (uint16_t)json_int(one, "TargetPort")};
    *ret = ports;
    return json_array_size(list);
}

static size_t read_targets(const json_t *entry, struct engine_spread_target **ret)
{
    const json_t *here = json_object_get(entry, "Containers"), *far = json_object_get(entry, "Far"),
                 *nodes = json_object_get(entry, "Nodes");
    size_t room = json_array_size(here) + json_array_size(far) + json_array_size(nodes), count = 0, i;
    struct engine_spread_target *targets = NEW_N(struct engine_spread_target, room + 1);
    json_t *one;
    json_array_foreach ((json_t *)here, i, one)
        targets[count++].container = json_string_value(one);
    json_array_foreach ((json_t *)far, i, one)
        targets[count++].far = json_string_value(one);
    json_array_foreach ((json_t *)nodes, i, one)
        targets[count++].address = json_string_value(one);
    *ret = targets;
    return count;
}

int traffic__apply_one(struct cluster *c, const json_t *entry, struct err *err)
{
    _cleanup_free_ struct engine_spread_port *ports = NULL;
    _cleanup_free_ struct engine_spread_target *targets = NULL;
    _cleanup_strv_ char **aliases = NULL;
    const char *network = json_str(entry, "Network"), *service = json_str(entry, "Service"),
               *address = json_str(entry, "Address");
    _cleanup_free_ char *bare = mem_strndup(address, strcspn(address, "/"));
    int r = json_get_strv(entry, "", "Aliases", &aliases, err);
    if (r == 0 && *bare) {
        r = engine_network_hold(c->engine, network, service, bare, err);
        /* Another service had it, or this one another: the spread that holds on to it is set anew. */
        if (r == -ERR_CONFLICT && engine_spread_remove(c->engine, service, network, &(struct err){0}) == 0)
            r = engine_network_hold(c->engine, network, service, bare, err);
    }
    if (r < 0)
        return r;
    struct engine_spread spread = {.id = service,
                                   .network = network,
                                   .name = json_str(entry, "Name"),
                                   .aliases = aliases,
                                   .address = *bare ? bare : NULL};
    spread.port_count = read_ports(json_object_get(entry, "Ports"), &ports);
    spread.target_count = read_targets(entry, &targets);
    spread.ports = ports;
    spread.targets = targets;
    return engine_spread_set(c->engine, &spread, err);
}

int traffic__apply_far(struct cluster *c, const json_t *network, struct err *err)
{
    const json_t *list = json_object_get(network, "Far");
    _cleanup_free_ struct net_far *far = NEW_N(struct net_far, json_array_size(list) + 1);
    _cleanup_json_ json_t *named = json_array();
    size_t i;
    json_t *one;
    json_array_foreach ((json_t *)list, i, one)
        if (json_object_get(one, "Names"))
            json_array_append(named, one);
    json_array_foreach ((json_t *)list, i, one)
        far[i] = (struct net_far){json_str(one, "Address"), json_str(one, "Via"), json_str(one, "Mac")};
    return engine_network_far(c->engine, json_str(json_object_get(network, "Body"), "Id"), far,
                              json_array_size(list), named, err);
}

/* --- What is not listed --- */

static char *key_of(const char *network, const char *service)
{
    return str_printf("%s %s", network, service);
}

static void remove_spreads(struct cluster *c, const json_t *listed)
{
    _cleanup_json_ json_t *present = NULL;
    json_t *one;
    size_t i;
    if (engine_spread_list(c->engine, &present, &(struct err){0}) < 0)
        return;
    json_array_foreach (present, i, one) {
        const char *network = json_str(one, "Network"), *service = json_str(one, "Id");
        _cleanup_free_ char *key = key_of(network, service);
        if (!json_object_get(listed, key))
            engine_spread_remove(c->engine, service, network, &(struct err){0});
    }
}

static void release_addresses(struct cluster *c, const char *network, const json_t *listed)
{
    _cleanup_strv_ char **keys = NULL;
    if (engine_network_held(c->engine, network, &keys, &(struct err){0}) < 0)
        return;
    STRV_FOREACH (service, keys) {
        _cleanup_free_ char *key = key_of(network, *service);
        if (!json_object_get(listed, key))
            engine_network_release(c->engine, network, *service, &(struct err){0});
    }
}

/* A network that a container is still on is tried again the next time. */
static void remove_networks(struct cluster *c, const json_t *wanted, const json_t *listed)
{
    _cleanup_json_ json_t *present = NULL, *filters = json_pack("{s:[s]}", "scope", "swarm");
    json_t *one;
    size_t i;
    if (engine_network_list(c->engine, filters, &present, &(struct err){0}) < 0)
        return;
    json_array_foreach (present, i, one) {
        const char *id = json_str(one, "Id");
        release_addresses(c, id, listed);
        if (!json_object_get(wanted, id))
            engine_network_remove(c->engine, id, &(struct err){0});
    }
}

static int make_network(struct cluster *c, const json_t *network, struct err *err)
{
    _cleanup_json_ json_t *shown = NULL, *warning = NULL;
    _cleanup_free_ char *made = NULL;
    const json_t *body = json_object_get(network, "Body");
    if (engine_network_inspect(c->engine, json_str(body, "Id"), &shown, &(struct err){0}) == 0)
        return 0;
    int r = engine_network_create_swarm(c->engine, body, &made, &warning, err);
    return r < 0 ? err_wrap(err, "network %s of the swarm", json_str(body, "Name")) : 0;
}

int traffic__apply(struct cluster *c, const json_t *networks, const json_t *traffic, struct err *err)
{
    _cleanup_json_ json_t *wanted = json_object(), *listed = json_object();
    json_t *one;
    size_t i;
    int r = 0;
    struct err why;
    json_array_foreach ((json_t *)networks, i, one)
        json_object_set_new(wanted, json_str(json_object_get(one, "Body"), "Id"), json_true());
    json_array_foreach ((json_t *)traffic, i, one) {
        _cleanup_free_ char *key = key_of(json_str(one, "Network"), json_str(one, "Service"));
        json_object_set_new(listed, key, json_true());
    }
    remove_spreads(c, listed);
    remove_networks(c, wanted, listed);
    json_array_foreach ((json_t *)networks, i, one)
        if ((make_network(c, one, &why) < 0 || traffic__apply_far(c, one, &why) < 0) && r == 0)
            r = err_copy(err, &why);
    json_array_foreach ((json_t *)traffic, i, one)
        if (traffic__apply_one(c, one, &why) < 0 && r == 0)
            r = err_copy(err, &why);
    return r;
}

/* --- A node that follows --- */

static void apply_followed(struct cluster *c)
{
    struct err err;
    int r = traffic__apply(c, json_object_get(c->traffic, "networks"), json_object_get(c->traffic, "traffic"),
                           &err);
    if (r < 0 && !str_eq(c->traffic_trouble, err.msg))
        log_warning("the swarm's traffic on this node: %s", err.msg);
    free(c->traffic_trouble);
    c->traffic_trouble = r < 0 ? mem_strdup(err.msg) : NULL;
}

static void derive(struct cluster *c)
{
    _cleanup_json_ json_t *containers = traffic__containers(c, c->self);
    json_decref(c->traffic);
    c->traffic = traffic_rows__describe(c->learned, containers, c->self);
}

void traffic__follow(struct cluster *c, const json_t *answer)
{
    const json_t *facts = json_object_get(answer, "facts");
    if (facts) {
        if (json_bool(facts, "whole") || !c->learned) {
            json_decref(c->learned);
            c->learned = json_object();
        }
        facts__merge(c->learned, facts);
        derive(c);
    } else if (json_is_array(json_object_get(answer, "networks"))) { /* of a leader one version behind */
        json_decref(c->traffic);
        json_decref(c->learned); /* of the leader before: it would be put in the place of this one's word */
        c->learned = NULL;
        c->traffic = json_pack("{s:O?, s:O?}", "networks", json_object_get(answer, "networks"), "traffic",
                               json_object_get(answer, "traffic"));
    } else
        return;
    must(c->traffic);
    apply_followed(c);
}

void traffic__again(struct cluster *c)
{
    if (c->role == ROLE_LEADS)
        traffic__sweep(c);
    else if (c->traffic) {
        if (c->learned) /* of containers that it has found meanwhile, too */
            derive(c);
        apply_followed(c);
    }
}
