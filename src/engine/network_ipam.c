/* The subnets of networks: what "IPAM" asks for, checked, and what is picked where it says nothing. */
#include "engine/network_priv.h"

enum { CONFIGS_MAX = 64, AUX_MAX = 256 };

static void subnet_done(struct subnet *s)
{
    free(s->cidr);
    free(s->gateway);
    free(s->range);
    strv_free(s->aux);
}

void ipam__done(struct network *n)
{
    for (size_t i = 0; i < n->subnet_count; i++)
        subnet_done(&n->subnets[i]);
    free(n->subnets);
}

const struct subnet *network__subnet(const struct network *n, bool ipv6)
{
    for (size_t i = 0; i < n->subnet_count; i++)
        if (n->subnets[i].ipv6 == ipv6)
            return &n->subnets[i];
    return NULL;
}

const struct subnet *network__subnet_of(const struct network *n, const char *address)
{
    for (size_t i = 0; address && i < n->subnet_count; i++)
        if (net_address_in_subnet(address, n->subnets[i].cidr))
            return &n->subnets[i];
    return NULL;
}

static char *text_or_null(const json_t *doc, const char *key)
{
    const char *text = json_str(doc, key);
    return *text ? mem_strdup(text) : NULL;
}

static void load_one(struct network *n, const json_t *doc)
{
    const char *name;
    json_t *address;
    n->subnets = mem_grow(n->subnets, n->subnet_count + 1, sizeof(*n->subnets));
    struct subnet *s = &n->subnets[n->subnet_count++];
    *s = (struct subnet){.cidr = text_or_null(doc, "Subnet"),
                         .gateway = text_or_null(doc, "Gateway"),
                         .range = text_or_null(doc, "Range"),
                         .ipv6 = net_address_is_ipv6(json_str(doc, "Subnet"))};
    json_object_foreach (json_object_get(doc, "Aux"), name, address)
        strv_add(&s->aux, json_string_value(address));
}

void ipam__load(struct network *n, const json_t *doc)
{
    size_t i;
    const json_t *one;
    json_array_foreach (json_object_get(doc, "Subnets"), i, one)
        load_one(n, one);
    if (!n->subnet_count && *json_str(doc, "Subnet")) /* of an earlier version: at most one, at the top */
        load_one(n, doc);
}

/* --- what is asked for --- */

static char **taken_subnets(struct engine *e)
{
    char **list = NULL;
    struct map_entry *entry;
    for (size_t i = 0; (entry = map_next(&e->networks, &i));) {
        const struct network *n = entry->value;
        for (size_t k = 0; k < n->subnet_count; k++)
            strv_add(&list, n->subnets[k].cidr);
    }
    return list;
}

static int check_aux(const char *network, const char *subnet, const json_t *aux, json_t **ret,
                     struct err *err)
{
    _cleanup_json_ json_t *kept = json_object();
    const char *name;
    json_t *value;
    if (json_object_size(aux) > AUX_MAX)
        return err_set(err, ERR_LIMIT, "more than %d auxiliary addresses", AUX_MAX);
    json_object_foreach ((json_t *)aux, name, value) {
        const char *text = json_string_value(value);
        _cleanup_free_ char *address = text ? net_address_canonical(text) : NULL;
        if (!address)
            return err_set(err, ERR_INVALID,
                           "non parsable secondary ip address (%.50s:%.50s) passed for "
                           "network %s",
                           name, text ? text : "", network);
        if (!net_address_in_subnet(address, subnet))
            return err_set(err, ERR_DENIED,
                           "auxiliary address: (%.50s:%s) must belong to the master pool: %s", name, address,
                           subnet);
        json_set_str(kept, name, address);
    }
    *ret = take_ptr(kept);
    return 0;
}

static int check_gateway(const char *given, const char *subnet, char **ret, struct err *err)
{
    _cleanup_free_ char *gateway = net_address_canonical(given);
    if (!gateway)
        return err_set(err, ERR_INVALID, "invalid gateway address %.100s in Ipam configuration", given);
    if (!net_address_in_subnet(gateway, subnet))
        return err_set(err, ERR_INVALID,
                       "failed to allocate gateway (%s): Requested address is out of range: no matching "
                       "subnet for gateway %s",
                       gateway, gateway);
    *ret = take_ptr(gateway);
    return 0;
}

static int check_range(const char *given, const char *subnet, struct err *err)
{
    _cleanup_free_ char *range = NULL, *base = mem_strndup(given, strcspn(given, "/"));
    const char *bits = strchr(given, '/'), *all = strchr(subnet, '/');
    int64_t range_bits = 0, subnet_bits = 0;
    if (net_subnet_canonical(given, &range, NULL) < 0)
        return err_set(err, ERR_INVALID,
                       "failed to parse pool request for address space \"LocalDefault\" pool \"%s\" subpool "
                       "\"%.100s\": Invalid Address SubPool",
                       subnet, given);
    parse_i64(bits + 1, 0, 128, &range_bits, NULL);
    parse_i64(all + 1, 0, 128, &subnet_bits, NULL);
    if (!net_address_in_subnet(base, subnet) || range_bits < subnet_bits)
        return err_set(err, ERR_INVALID, "invalid ip-range %.100s: it is not within subnet %s", given,
                       subnet);
    return 0;
}

/* The subnet's first address, or the first that is free. */
static int pick_gateway(json_t *one, const char *subnet, struct err *err)
{
    _cleanup_strv_ char **taken = NULL;
    _cleanup_free_ char *gateway = NULL;
    const char *name;
    json_t *address;
    json_object_foreach (json_object_get(one, "Aux"), name, address)
        strv_add(&taken, json_string_value(address));
    int r = net_address_pick(subnet, NULL, taken, &gateway, err);
    if (r < 0)
        return err_set(err, ERR_INVALID,
                       "failed to allocate gateway (): No available addresses on this pool");
    json_set_str(one, "Gateway", gateway);
    return 0;
}

/* One of IPAM's configs with a subnet, as it is kept. */
static int checked_config(const char *network, const json_t *config, char *const *taken, json_t **ret,
                          struct err *err)
{
    const char *given = "", *gateway = "", *range = "";
    json_t *aux = NULL, *kept_aux = NULL;
    _cleanup_free_ char *subnet = NULL, *own_gateway = NULL;
    int r = json_get_string(config, "IPAM.Config", "Subnet", &given, err);
    if (r < 0 || (r = json_get_string(config, "IPAM.Config", "Gateway", &gateway, err)) < 0 ||
        (r = json_get_string(config, "IPAM.Config", "IPRange", &range, err)) < 0 ||
        (r = json_get_object(config, "IPAM.Config", "AuxiliaryAddresses", &aux, err)) < 0 ||
        (r = net_subnet_canonical(given, &subnet, err)) < 0 ||
        (r = net_subnet_check(subnet, taken, err)) < 0 ||
        (*range && (r = check_range(range, subnet, err)) < 0) ||
        (*gateway && (r = check_gateway(gateway, subnet, &own_gateway, err)) < 0) ||
        (r = check_aux(network, subnet, aux, &kept_aux, err)) < 0)
        return r;
    _cleanup_json_ json_t *one = json_pack("{s:s,s:s,s:s,s:o}", "Subnet", subnet, "Gateway",
                                           own_gateway ? own_gateway : "", "Range", range, "Aux", kept_aux);
    if (!own_gateway && (r = pick_gateway(one, subnet, err)) < 0)
        return r;
    *ret = take_ptr(one);
    return 0;
}

static int picked_subnet(struct engine *e, bool overlay, bool ipv6, char *const *taken, json_t **ret,
                         struct err *err)
{
    _cleanup_free_ char *subnet = NULL;
    static const struct net_pool docker = {"10.0.0.0/8", 24}; /* Docker's for its swarms */
    const struct net_pool *pools = e->pools;
    size_t count = e->pool_count;
    if (overlay && !ipv6) {
        pools = e->swarm_pool_count ? e->swarm_pools : &docker;
        count = e->swarm_pool_count ? e->swarm_pool_count : 1;
    }
    int r = net_subnet_pick(ipv6, pools, count, taken, &subnet, err);
    if (r < 0)
        return r;
    _cleanup_json_ json_t *one = json_pack("{s:s,s:b,s:{}}", "Subnet", subnet, "Picked", 1, "Aux");
    if ((r = pick_gateway(one, subnet, err)) == 0)
        *ret = take_ptr(one);
    return r;
}

static int check_ipam(const json_t *ipam, json_t **ret_configs, struct err *err)
{
    const char *driver = "";
    json_t *options = NULL, *value;
    const char *key;
    int r = json_get_string(ipam, "IPAM", "Driver", &driver, err);
    if (r == 0)
        r = json_get_array(ipam, "IPAM", "Config", ret_configs, err);
    if (r == 0)
        r = json_get_object(ipam, "IPAM", "Options", &options, err);
    if (r < 0)
        return r;
    if (*driver && !str_eq(driver, "default"))
        return err_set(err, ERR_NOT_FOUND, "plugin \"%.100s\" not found", driver);
    json_object_foreach (options, key, value)
        if (!json_is_string(value))
            return err_set(err, ERR_INVALID, "\"IPAM.Options.%.100s\" must be a string", key);
    if (json_array_size(*ret_configs) > CONFIGS_MAX)
        return err_set(err, ERR_LIMIT, "\"IPAM.Config\" has more than %d entries", CONFIGS_MAX);
    return 0;
}

/* A subnet without any family's being switched on is kept for show, as Docker does. */
static bool in_force(const json_t *doc, const char *subnet)
{
    return json_bool(doc, "EnableIPv6") || !net_address_is_ipv6(subnet);
}

static int add_configs(const json_t *doc, const json_t *configs, char ***taken, json_t *subnets,
                       size_t count[2], struct err *err)
{
    size_t i;
    const json_t *config;
    json_array_foreach (configs, i, config) {
        if (!json_is_object(config))
            return err_set(err, ERR_INVALID, "\"IPAM.Config\" must be a list of objects");
        const char *given = json_str(config, "Subnet");
        if (!*given && !json_object_size(config))
            continue;
        json_t *one = NULL;
        int r = checked_config(json_str(doc, "Name"), config, *taken, &one, err);
        if (r < 0)
            return r;
        if (in_force(doc, given)) {
            strv_add(taken, json_str(one, "Subnet"));
            json_array_append(subnets, one);
            count[net_address_is_ipv6(given)]++;
        }
        json_decref(one);
    }
    return 0;
}

int ipam__assign(struct engine *e, json_t *doc, struct err *err)
{
    json_t *configs = NULL;
    _cleanup_json_ json_t *subnets = json_array();
    _cleanup_strv_ char **taken = taken_subnets(e);
    size_t count[2] = {0, 0};
    const char *driver = json_str(doc, "Driver");
    int r = check_ipam(json_object_get(doc, "IPAM"), &configs, err);
    if (r == 0)
        r = add_configs(doc, configs, &taken, subnets, count, err);
    if (r == 0 && (str_eq(driver, "bridge") || str_eq(driver, "overlay")) && (count[0] > 1 || count[1] > 1))
        r = err_set(err, ERR_DENIED, "%s driver doesn't support multiple subnets", driver);
    for (int ipv6 = 0; r == 0 && ipv6 < 2; ipv6++) {
        json_t *one = NULL;
        if (count[ipv6] || (ipv6 && !json_bool(doc, "EnableIPv6")))
            continue;
        r = picked_subnet(e, str_eq(driver, "overlay"), ipv6, taken, &one, err);
        if (r == 0)
            ipv6 ? json_array_append_new(subnets, one) : json_array_insert_new(subnets, 0, one);
    }
    if (r == 0)
        json_object_set(doc, "Subnets", subnets);
    return r;
}

/* --- what is shown --- */

static json_t *asked_config(const json_t *config)
{
    static const char *const texts[] = {"Subnet", "IPRange", "Gateway"};
    json_t *o = json_object();
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        if (*json_str(config, texts[i]))
            json_set_str(o, texts[i], json_str(config, texts[i]));
    if (json_object_size(json_object_get(config, "AuxiliaryAddresses")))
        json_object_set(o, "AuxiliaryAddresses", json_object_get(config, "AuxiliaryAddresses"));
    return o;
}

json_t *ipam__shown(const struct network *n, const json_t *doc)
{
    const json_t *ipam = json_object_get(doc, "IPAM"), *one;
    json_t *config = json_array(), *options = json_object_get(ipam, "Options");
    size_t i;
    if (json_array_size(json_object_get(doc, "Subnets"))) {
        json_array_foreach (json_object_get(doc, "Subnets"), i, one)
            if (json_bool(one, "Picked"))
                json_array_append_new(config, json_pack("{s:s,s:s}", "Subnet", json_str(one, "Subnet"),
                                                        "Gateway", json_str(one, "Gateway")));
    } else if (n->subnet_count && !json_array_size(json_object_get(ipam, "Config")))
        json_array_append_new(
            config, json_pack("{s:s,s:s}", "Subnet", n->subnets[0].cidr, "Gateway", n->subnets[0].gateway));
    json_array_foreach (json_object_get(ipam, "Config"), i, one)
        if (*json_str(one, "Subnet"))
            json_array_append_new(config, asked_config(one));
    return json_pack("{s:s,s:O,s:o}", "Driver", "default", "Options",
                     json_object_size(options) ? options : json_null(), "Config", config);
}
