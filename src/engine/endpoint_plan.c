/* What a container asks of networks: Docker's endpoint settings, checked and kept. */
#include "engine/endpoint_priv.h"

enum { NAMES_MAX = 128 };

static int check_mac(const char *text, struct err *err)
{
    unsigned b[6];
    char rest;
    if (!*text)
        return 0;
    if (strlen(text) != 17 ||
        sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%c", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5], &rest) != 6 ||
        (b[0] & 1))
        return err_set(err, ERR_INVALID, "address %.50s: invalid MAC address", text);
    return 0;
}

static int check_address(const json_t *ipam, const char *where, const char *key, bool ipv6, struct err *err)
{
    const char *text = "";
    int r = json_get_string(ipam, where, key, &text, err);
    if (r < 0 || !*text)
        return r;
    _cleanup_free_ char *address = net_address_canonical(text);
    if (!address || net_address_is_ipv6(address) != ipv6)
        return err_set(err, ERR_INVALID, "invalid IPv%d address: %.100s", ipv6 ? 6 : 4, text);
    return 0;
}

static int check_ipam(const json_t *ipam, const char *where, struct err *err)
{
    _cleanup_strv_ char **local = NULL;
    int r = check_address(ipam, where, "IPv4Address", false, err);
    if (r == 0)
        r = check_address(ipam, where, "IPv6Address", true, err);
    if (r == 0)
        r = json_get_strv(ipam, where, "LinkLocalIPs", &local, err);
    if (r < 0)
        return r;
    if (strv_len(local) > NAMES_MAX)
        return err_set(err, ERR_LIMIT, "more than %d link-local addresses", NAMES_MAX);
    STRV_FOREACH (text, local) {
        _cleanup_free_ char *address = net_address_canonical(*text);
        if (!address || !(net_address_in_subnet(address, "169.254.0.0/16") ||
                          net_address_in_subnet(address, "fe80::/10")))
            return err_set(err, ERR_INVALID, "invalid link-local IP address: %.100s", *text);
    }
    return 0;
}

/* They become names in the DNS table and in /etc/hosts. */
static int check_names(const json_t *settings, const char *where, const char *key, struct err *err)
{
    _cleanup_strv_ char **names = NULL;
    int r = json_get_strv(settings, where, key, &names, err);
    if (r < 0)
        return r;
    if (strv_len(names) > NAMES_MAX)
        return err_set(err, ERR_LIMIT, "\"%s.%s\" has more than %d entries", where, key, NAMES_MAX);
    STRV_FOREACH (name, names) {
        bool good = **name && strlen(*name) <= 253;
        for (const char *c = *name; good && *c; c++)
            good = (unsigned char)*c > ' ' && *c != 0x7f;
        if (!good)
            return err_set(err, ERR_INVALID, "\"%s.%s\": \"%.100s\" is not a name", where, key, *name);
    }
    return 0;
}

int endpoint__check_settings(const json_t *settings, const char *where, struct err *err)
{
    json_t *ipam = NULL, *options = NULL, *value;
    const char *mac = "", *key;
    int64_t priority;
    if (json_is_null(settings))
        return 0;
    if (!json_is_object(settings))
        return err_set(err, ERR_INVALID, "\"%s\" must be an object", where);
    int r = check_names(settings, where, "Aliases", err);
    if (r == 0)
        r = check_names(settings, where, "Links", err);
    if (r == 0)
        r = json_get_object(settings, where, "IPAMConfig", &ipam, err);
    if (r == 0 && ipam)
        r = check_ipam(ipam, where, err);
    if (r == 0)
        r = json_get_string(settings, where, "MacAddress", &mac, err);
    if (r == 0)
        r = check_mac(mac, err);
    if (r == 0)
        r = json_get_i64(settings, where, "GwPriority", &priority, err);
    if (r == 0)
        r = json_get_object(settings, where, "DriverOpts", &options, err);
    if (r < 0)
        return r;
    json_object_foreach (options, key, value)
        if (!json_is_string(value))
            return err_set(err, ERR_INVALID, "\"%s.DriverOpts.%.100s\" must be a string", where, key);
    const char *ifname = json_str(options, "com.docker.network.endpoint.ifname");
    if (strlen(ifname) > 15 || strpbrk(ifname, "/: \t\n%") || str_eq(ifname, ".") || str_eq(ifname, ".."))
        return err_set(err, ERR_INVALID, "invalid interface name: %.50s", ifname);
    return 0;
}

static json_t *copy_or_null(const json_t *wished, const char *key)
{
    const json_t *value = json_object_get(wished, key);
    bool kept = json_is_array(value) || (json_is_object(value) && json_object_size(value));
    return kept || (json_is_object(value) && str_eq(key, "IPAMConfig")) ? json_deep_copy(value) : json_null();
}

static json_t *settings_new(const struct network *n, const json_t *wished, const char *mac, bool task)
{
    static const char *const empty[] = {"EndpointID",  "Gateway",           "IPAddress",
                                        "IPv6Gateway", "GlobalIPv6Address", "MacAddress"};
    json_t *o = json_object();
    json_object_set_new(o, "IPAMConfig", copy_or_null(wished, "IPAMConfig"));
    json_object_set_new(o, "Links", copy_or_null(wished, "Links"));
    json_object_set_new(o, "DriverOpts", copy_or_null(wished, "DriverOpts"));
    json_object_set_new(o, "Aliases", n->predefined ? json_null() : copy_or_null(wished, "Aliases"));
    json_set_str(o, "NetworkID", n->id);
    for (size_t i = 0; i < ARRAY_SIZE(empty); i++)
        json_set_str(o, empty[i], "");
    json_object_set_new(o, "IPPrefixLen", json_integer(0));
    json_object_set_new(o, "GlobalIPv6PrefixLen", json_integer(0));
    json_object_set_new(o, "GwPriority", json_integer(json_int(wished, "GwPriority")));
    const char *own = json_str(wished, "MacAddress");
    json_set_str(o, "WishedMac", *own ? own : mac);
    if (n->swarm && !task)
        json_object_set_new(o, "Attached", json_true());
    return o;
}

/* Whether the network's maker chose a subnet of the family: only then may containers choose addresses. */
static bool chosen_subnet(const struct network *n, bool ipv6)
{
    _cleanup_json_ json_t *doc = json_loads(n->doc, 0, NULL);
    size_t i;
    const json_t *config;
    json_array_foreach (json_object_get(json_object_get(doc, "IPAM"), "Config"), i, config)
        if (*json_str(config, "Subnet") && net_address_is_ipv6(json_str(config, "Subnet")) == ipv6)
            return true;
    return false;
}

static int check_wished(const struct network *n, const char *address, bool ipv6, bool task, struct err *err)
{
    if (!*address)
        return 0;
    if (n->predefined)
        return err_set(err, ERR_INVALID,
                       "user specified IP address is supported on user defined networks only");
    if (!task && !chosen_subnet(n, ipv6)) /* a task's was chosen for the whole swarm */
        return err_set(err, ERR_INVALID,
                       "user specified IP address is supported only when connecting to networks with user "
                       "configured subnets");
    /* With IPv6 switched off its subnets are for show. */
    if (network__subnet(n, ipv6) && !network__subnet_of(n, address))
        return err_set(err, ERR_INVALID,
                       "Invalid address %s: It does not belong to any of this network's subnets", address);
    return 0;
}

int endpoint__plan_one(struct engine *e, const char *ref, const json_t *wished, const char *mac, bool task,
                       json_t *networks, struct err *err)
{
    const struct network *n = network__find(e, strcmp(ref, "default") == 0 ? "bridge" : ref, err);
    const json_t *ipam = json_object_get(wished, "IPAMConfig");
    if (!n)
        return -err->code;
    if (n->config_only)
        return err_set(err, ERR_DENIED, "cannot create endpoint on configuration-only network");
    if (n->swarm && !task && (!n->attachable || n->ingress))
        return err_set(
            err, ERR_DENIED,
            "Could not attach to network %s: rpc error: code = PermissionDenied desc = network %s not "
            "manually attachable",
            ref, n->name);
    if (n->predefined && json_array_size(json_object_get(wished, "Aliases")))
        return err_set(err, ERR_INVALID,
                       "network-scoped alias is supported only for containers in user defined networks");
    int r = check_wished(n, json_str(ipam, "IPv4Address"), false, task, err);
    if (r == 0)
        r = check_wished(n, json_str(ipam, "IPv6Address"), true, task, err);
    if (r == 0)
        json_object_set_new(networks, n->name, settings_new(n, wished, mac, task));
    return r;
}

/* The mode's own network may be wished for by its name, its id, or the mode's word. */
static json_t *own_wish(const json_t *wishes, const char *mode, const struct network *n)
{
    const char *const names[] = {mode, n->name, n->id, str_eq(mode, "bridge") ? "default" : mode};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (json_object_get(wishes, names[i]))
            return json_object_get(wishes, names[i]);
    return NULL;
}

static int plan_networks(struct engine *e, const char *mode, const json_t *body, const json_t *wishes,
                         bool task, json_t *networks, struct err *err)
{
    const char *name, *mac = json_str(body, "MacAddress");
    json_t *wished;
    SCOPED_LOCK(lock, &e->lock);
    const struct network *first = network__find(e, mode, err);
    if (!first)
        return -err->code;
    json_t *own = own_wish(wishes, mode, first);
    int r = 0;
    /* Who asks for other networks and says nothing of the default one does not get it. */
    if (own || !json_object_size(wishes) || !str_eq(mode, "bridge"))
        r = endpoint__plan_one(e, mode, own, mac, task, networks, err);
    json_object_foreach ((json_t *)wishes, name, wished)
        if (r == 0 && wished != own)
            r = endpoint__plan_one(e, name, wished, "", task, networks, err);
    return r;
}

int endpoint__plan(struct engine *e, const json_t *body, bool task, json_t **ret, struct err *err)
{
    const char *mode = network__mode(json_object_get(body, "HostConfig"));
    json_t *wishes = NULL, *wished;
    const char *name;
    int r = json_get_object(json_object_get(body, "NetworkingConfig"), "NetworkingConfig", "EndpointsConfig",
                            &wishes, err);
    if (r == 0)
        r = check_mac(json_str(body, "MacAddress"), err);
    if (r < 0)
        return r;
    json_object_foreach (wishes, name, wished)
        if ((r = endpoint__check_settings(wished, "NetworkingConfig.EndpointsConfig", err)) < 0)
            return r;
    _cleanup_json_ json_t *networks = json_object();
    if (!str_after(mode, "container:"))
        r = plan_networks(e, mode, body, wishes, task, networks, err);
    else if (json_object_size(wishes))
        r = err_set(err, ERR_CONFLICT,
                    "conflicting options: a container that shares another's network cannot join networks");
    if (r == 0)
        *ret = take_ptr(networks);
    return r;
}
