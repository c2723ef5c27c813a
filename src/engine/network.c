/* Networks: the predefined ones (bridge, host, none) and the user's bridges. */
#include "engine/engine_priv.h"

#include "base/digest.h"

#include <ctype.h>
#include <unistd.h>

void network__free(void *p)
{
    struct network *n = p;
    free(n->name);
    free(n->driver);
    free(n->doc);
    free(n->subnet);
    free(n->gateway);
    free(n->range);
    map_done(&n->endpoints);
    map_done(&n->reserved);
    free(n);
}

const char *network__mode(const json_t *host)
{
    const char *mode = json_str(host, "NetworkMode");
    return !*mode || str_eq(mode, "default") ? "bridge" : mode;
}

static bool option_bool(const json_t *options, const char *key, bool fallback)
{
    const char *text = json_string_value(json_object_get(options, key));
    bool value = fallback;
    if (text)
        parse_bool(text, &value, NULL);
    return value;
}

static char *text_or_null(const json_t *doc, const char *key)
{
    const char *text = json_str(doc, key);
    return *text ? mem_strdup(text) : NULL;
}

/* The struct from the stored document: the body, plus Id, Created, Subnet, Gateway, Range, Bridge. */
static struct network *network_of(const json_t *doc)
{
    const json_t *options = json_object_get(doc, "Options");
    struct network *n = NEW(struct network);
    snprintf(n->id, sizeof(n->id), "%s", json_str(doc, "Id"));
    snprintf(n->bridge, sizeof(n->bridge), "%s", json_str(doc, "Bridge"));
    n->name = mem_strdup(json_str(doc, "Name"));
    n->driver = mem_strdup(json_str(doc, "Driver"));
    n->subnet = text_or_null(doc, "Subnet");
    n->gateway = text_or_null(doc, "Gateway");
    n->range = text_or_null(doc, "Range");
    n->internal = json_bool(doc, "Internal");
    n->icc = option_bool(options, "com.docker.network.bridge.enable_icc", true);
    int64_t mtu = 0;
    if (*json_str(options, "com.docker.network.driver.mtu"))
        parse_i64(json_str(options, "com.docker.network.driver.mtu"), 68, 65535, &mtu, NULL);
    n->mtu = (int)mtu;
    n->predefined = str_eq(n->name, "bridge") || str_eq(n->name, "host") || str_eq(n->name, "none");
    n->dns = str_eq(n->driver, "bridge");
    n->doc = json_format(doc);
    n->endpoints = MAP_INIT(endpoint__free);
    n->reserved = MAP_INIT(free);
    return n;
}

static int load_row(void *context, const struct store_value *v, size_t n, struct err *err)
{
    struct engine *e = context;
    _cleanup_json_ json_t *doc = NULL;
    int r = json_parse(v[0].bytes, v[0].size, "a network's document", &doc, err);
    if (r == 0)
        map_put(&e->networks, json_str(doc, "Id"), network_of(doc));
    return r;
}

int network__load_all(struct engine *e, struct err *err)
{
    return store_query(e->store, "SELECT doc FROM networks ORDER BY rowid", NULL, 0, load_row, e, err);
}

static int ensure_bridge(struct engine *e, const struct network *n, struct err *err)
{
    struct net_bridge b = {n->bridge, n->subnet, n->gateway, n->internal, n->icc, n->mtu};
    int r = net_bridge_ensure(e->net, &b, err);
    return r < 0 ? err_wrap(err, "make the bridge of network %s", n->name) : 0;
}

static struct network *by_name(struct engine *e, const char *name)
{
    struct map_entry *entry;
    for (size_t i = 0; (entry = map_next(&e->networks, &i));)
        if (str_eq(((struct network *)entry->value)->name, name))
            return entry->value;
    return NULL;
}

struct network *network__find(struct engine *e, const char *ref, struct err *err)
{
    struct network *n = map_get(&e->networks, ref);
    if (!n)
        n = by_name(e, ref);
    if (!n && str_is_hex(ref)) {
        struct map_entry *entry;
        for (size_t i = 0; (entry = map_next(&e->networks, &i));)
            if (str_after(entry->key, ref)) {
                if (n) {
                    err_set(err, ERR_INVALID, "network %s is ambiguous (several ids begin so)", ref);
                    return NULL;
                }
                n = entry->value;
            }
    }
    if (!n)
        err_set(err, ERR_NOT_FOUND, "network %s not found", ref);
    return n;
}

static char **taken_subnets(struct engine *e)
{
    char **list = NULL;
    struct map_entry *entry;
    for (size_t i = 0; (entry = map_next(&e->networks, &i));)
        if (((struct network *)entry->value)->subnet)
            strv_add(&list, ((struct network *)entry->value)->subnet);
    return list;
}

/* --- IPAM --- */

static int check_ipam(const json_t *ipam, const json_t **ret_config, struct err *err)
{
    const char *driver = "";
    json_t *configs = NULL;
    int r = json_get_string(ipam, "IPAM", "Driver", &driver, err);
    if (r == 0)
        r = json_get_array(ipam, "IPAM", "Config", &configs, err);
    if (r < 0)
        return r;
    if (*driver && !str_eq(driver, "default"))
        return err_set(err, ERR_UNSUPPORTED, "\"IPAM.Driver\": \"%.100s\" is not supported", driver);
    if (json_object_size(json_object_get(ipam, "Options")))
        return err_set(err, ERR_UNSUPPORTED, "\"IPAM.Options\" is not supported");
    if (json_array_size(configs) > 1)
        return err_set(err, ERR_UNSUPPORTED, "\"IPAM.Config\" with more than one subnet is not supported");
    *ret_config = json_array_get(configs, 0);
    const json_t *aux = json_object_get(*ret_config, "AuxiliaryAddresses");
    if (json_object_size(aux))
        return err_set(err, ERR_UNSUPPORTED, "\"IPAM.Config.AuxiliaryAddresses\" is not supported");
    return 0;
}

/* Fills Subnet, Gateway and Range of a document. engine.lock is held. */
static int assign_subnet(struct engine *e, json_t *doc, struct err *err)
{
    const json_t *config = NULL;
    const char *subnet = "", *gateway = "", *range = "";
    int r = check_ipam(json_object_get(doc, "IPAM"), &config, err);
    if (r < 0 || (r = json_get_string(config, "IPAM.Config", "Subnet", &subnet, err)) < 0 ||
        (r = json_get_string(config, "IPAM.Config", "Gateway", &gateway, err)) < 0 ||
        (r = json_get_string(config, "IPAM.Config", "IPRange", &range, err)) < 0)
        return r;
    _cleanup_strv_ char **taken = taken_subnets(e);
    _cleanup_free_ char *picked = NULL, *first = NULL;
    if (*subnet)
        r = net_subnet_check(subnet, taken, err);
    else if (*gateway || *range)
        r = err_set(err, ERR_INVALID, "\"IPAM.Config\" names a gateway or a range without a subnet");
    else
        r = net_subnet_pick(taken, &picked, err);
    if (r < 0)
        return r;
    const char *chosen = *subnet ? subnet : picked;
    if (*gateway && !net_address_in_subnet(gateway, chosen))
        return err_set(err, ERR_INVALID, "no matching subnet for gateway %s", gateway);
    if (!*gateway) {
        /* The first address is the gateway's: turn the network's own address up by one. */
        _cleanup_free_ char *base = mem_strndup(chosen, strcspn(chosen, "/"));
        char *last = strrchr(base, '.');
        int64_t low = 0;
        if (!last || parse_i64(last + 1, 0, 254, &low, NULL) < 0)
            return err_set(err, ERR_UNSUPPORTED, "the subnet %s is not supported", chosen);
        *last = '\0';
        first = str_printf("%s.%d", base, (int)low + 1);
    }
    json_set_str(doc, "Subnet", chosen);
    json_set_str(doc, "Gateway", *gateway ? gateway : first);
    json_set_str(doc, "Range", range);
    return 0;
}

static int check_options(const json_t *doc, struct err *err)
{
    static const char *const known[] = {"com.docker.network.bridge.name",
                                        "com.docker.network.bridge.enable_icc",
                                        "com.docker.network.driver.mtu",
                                        "com.docker.network.bridge.enable_ip_masquerade",
                                        "com.docker.network.bridge.default_bridge",
                                        "com.docker.network.bridge.host_binding_ipv4",
                                        NULL};
    const char *key;
    json_t *value;
    json_object_foreach (json_object_get(doc, "Options"), key, value) {
        const char *text = json_string_value(value);
        if (!strv_has((char *const *)known, key))
            return err_set(err, ERR_UNSUPPORTED, "\"Options.%.150s\" is not supported", key);
        if (str_ends_with(key, "enable_ip_masquerade") && !str_eq(text, "true"))
            return err_set(err, ERR_UNSUPPORTED, "\"Options.%s\" other than true is not supported", key);
        if (str_ends_with(key, "host_binding_ipv4") && !str_eq(text, "0.0.0.0"))
            return err_set(err, ERR_UNSUPPORTED, "\"Options.%s\" other than 0.0.0.0 is not supported", key);
        if (str_ends_with(key, "bridge.name") && (!*text || strlen(text) > 15 || strpbrk(text, "/ :")))
            return err_set(err, ERR_INVALID, "\"Options.%s\": \"%.50s\" is not an interface name", key, text);
    }
    return 0;
}

static int insert(struct engine *e, struct network *n, struct err *err)
{
    struct store_value values[] = {STORE_STR(n->id), STORE_STR(n->name), STORE_STR(n->doc)};
    struct store_statement s = {"INSERT INTO networks (id, name, doc) VALUES (?, ?, ?)", values, 3, 1};
    return store_batch(e->store, &s, 1, STORE_DURABLE, err);
}

/* engine.lock is held. Takes doc. */
static int add(struct engine *e, json_t *doc, struct network **ret, struct err *err)
{
    _cleanup_json_ json_t *owned = doc;
    char id[65], now[TIME_RFC3339_BYTES], bridge[16];
    digest_random_id(id);
    json_set_str(doc, "Id", id);
    json_set_str(doc, "Created", time_format_rfc3339(time_now_ns(), now));
    if (!*json_str(doc, "Driver"))
        json_set_str(doc, "Driver", "bridge");
    bool is_bridge = str_eq(json_str(doc, "Driver"), "bridge");
    int r = check_options(doc, err);
    if (r == 0 && is_bridge) {
        const char *chosen = json_str(json_object_get(doc, "Options"), "com.docker.network.bridge.name");
        net_bridge_name(e->net, id, bridge);
        json_set_str(doc, "Bridge", *chosen ? chosen : bridge);
        r = assign_subnet(e, doc, err);
    }
    if (r < 0)
        return r;
    struct network *n = network_of(doc);
    if (is_bridge && !n->predefined)
        r = ensure_bridge(e, n, err);
    if (r == 0 && (r = insert(e, n, err)) < 0 && is_bridge && !n->predefined)
        net_bridge_remove(e->net, n->bridge, NULL);
    if (r < 0) {
        network__free(n);
        return r;
    }
    map_put(&e->networks, n->id, n);
    *ret = n;
    return 0;
}

int network__defaults(struct engine *e, struct err *err)
{
    static const char *const defaults[][2] = {{"bridge", "bridge"}, {"host", "host"}, {"none", "null"}};
    SCOPED_LOCK(locked, &e->lock);
    for (size_t i = 0; i < ARRAY_SIZE(defaults); i++) {
        struct network *n;
        if (by_name(e, defaults[i][0]))
            continue;
        int r = add(e,
                    json_pack("{s:s,s:s,s:{},s:{}}", "Name", defaults[i][0], "Driver", defaults[i][1],
                              "Options", "Labels"),
                    &n, err);
        if (r < 0)
            return err_wrap(err, "make the network \"%s\"", defaults[i][0]);
    }
    /* Bridges vanish with a reboot. The default one is made too, so that another instance sees its subnet
     * taken. */
    struct map_entry *entry;
    for (size_t i = 0; (entry = map_next(&e->networks, &i));) {
        const struct network *n = entry->value;
        struct err problem;
        if (*n->bridge && ensure_bridge(e, n, &problem) < 0)
            log_error("%s", problem.msg);
    }
    return 0;
}

/* --- names --- */

/* A container is known by its own name, which a rename changes, and by its aliases. */
static char **names_known(struct engine *e, const struct network *n, const char *container_id,
                          const struct endpoint *ep)
{
    const struct container *c = map_get(&e->containers, container_id);
    char **names = strv_dup(ep->names);
    char short_id[13];
    snprintf(short_id, sizeof(short_id), "%.12s", container_id);
    if (c && n->dns && !strv_has(names, c->name))
        strv_add(&names, c->name);
    if (n->dns && !strv_has(names, short_id))
        strv_add(&names, short_id);
    return names;
}

int network__push_names(struct engine *e, struct err *err)
{
    SCOPED_LOCK(locked, &e->lock);
    struct net_name *list = NULL;
    size_t count = 0, capacity = 0;
    struct map_entry *entry, *one;
    for (size_t i = 0; (entry = map_next(&e->networks, &i));) {
        const struct network *n = entry->value;
        for (size_t k = 0; *n->bridge && (one = map_next(&n->endpoints, &k));) {
            const struct endpoint *ep = one->value;
            GROW(list, count, capacity);
            list[count++] = (struct net_name){.network = n->id,
                                              .bridge = n->bridge,
                                              .address = ep->address,
                                              .names = names_known(e, n, one->key, ep),
                                              .owner = one->key};
        }
    }
    int r = net_names_set(e->net, list, count, err);
    for (size_t i = 0; i < count; i++)
        strv_free((char **)list[i].names);
    free(list);
    return r;
}

/* --- the API --- */

static int check_name(const char *name, struct err *err)
{
    bool good = isalnum((unsigned char)*name);
    for (const char *c = name; good && *c; c++)
        good = isalnum((unsigned char)*c) || strchr("_.-", *c);
    if (!good)
        return err_set(err, ERR_INVALID,
                       "invalid network name \"%.200s\": only [a-zA-Z0-9][a-zA-Z0-9_.-]* are allowed", name);
    return strlen(name) > 128 ? err_set(err, ERR_INVALID, "a network's name is longer than 128 bytes") : 0;
}

int engine_network_create(struct engine *e, const json_t *body, char **ret_id, json_t **ret_warning,
                          struct err *err)
{
    int r = schema__check_network(body, err);
    const char *name = "", *driver = "";
    if (r == 0)
        r = json_get_string(body, "", "Name", &name, err);
    if (r == 0)
        r = json_get_string(body, "", "Driver", &driver, err);
    if (r == 0)
        r = check_name(name, err);
    if (r < 0)
        return r;
    if (str_eq(name, "default") || str_eq(name, "container"))
        return err_set(err, ERR_DENIED, "operation is not permitted on predefined %s network", name);
    if (*driver && !str_eq(driver, "bridge"))
        return err_set(err, str_eq(driver, "host") || str_eq(driver, "null") ? ERR_DENIED : ERR_UNSUPPORTED,
                       "the network driver \"%.50s\" is not supported for a new network; it can be bridge",
                       driver);
    pthread_mutex_lock(&e->lock);
    struct network *n = by_name(e, name);
    char id[65];
    if (n)
        r = err_set(err, ERR_CONFLICT, "network with name %s already exists", name);
    else
        r = add(e, json_deep_copy(body), &n, err);
    if (r == 0)
        snprintf(id, sizeof(id), "%s", n->id);
    pthread_mutex_unlock(&e->lock);
    if (r < 0)
        return r;
    _cleanup_json_ json_t *attributes = json_pack("{s:s,s:s}", "name", name, "type", "bridge");
    engine_event(e, "network", "create", id, attributes);
    *ret_id = mem_strdup(id);
    *ret_warning = json_string("");
    return 0;
}

static json_t *shown_containers(struct engine *e, const struct network *n)
{
    json_t *list = json_object();
    struct map_entry *entry;
    const char *slash = n->subnet ? strchr(n->subnet, '/') : NULL;
    for (size_t i = 0; (entry = map_next(&n->endpoints, &i));) {
        const struct endpoint *ep = entry->value;
        const struct container *c = map_get(&e->containers, entry->key);
        _cleanup_free_ char *address = str_printf("%s%s", ep->address ? ep->address : "", slash ? slash : "");
        json_object_set_new(list, entry->key,
                            json_pack("{s:s,s:s,s:s,s:s,s:s}", "Name", c ? c->name : "", "EndpointID",
                                      entry->key, "MacAddress", ep->mac ? ep->mac : "", "IPv4Address",
                                      address, "IPv6Address", ""));
    }
    return list;
}

static json_t *shown(struct engine *e, const struct network *n, bool with_containers)
{
    _cleanup_json_ json_t *doc = json_loads(n->doc, 0, NULL);
    json_t *config = json_array();
    if (n->subnet) {
        json_t *one = json_pack("{s:s,s:s}", "Subnet", n->subnet, "Gateway", n->gateway);
        if (n->range)
            json_set_str(one, "IPRange", n->range);
        json_array_append_new(config, one);
    }
    json_t *labels = json_object_get(doc, "Labels"), *options = json_object_get(doc, "Options");
    json_t *j = json_pack(
        "{s:s,s:s,s:s,s:s,s:s,s:b,s:{s:s,s:{},s:o},s:b,s:b,s:b,s:{s:s},s:b}", "Name", n->name, "Id", n->id,
        "Created", json_str(doc, "Created"), "Scope", "local", "Driver", n->driver, "EnableIPv6", 0, "IPAM",
        "Driver", "default", "Options", "Config", config, "Internal", n->internal, "Attachable",
        json_bool(doc, "Attachable"), "Ingress", 0, "ConfigFrom", "Network", "", "ConfigOnly", 0);
    json_object_set_new(j, "Containers", with_containers ? shown_containers(e, n) : json_object());
    json_object_set_new(j, "Options", json_is_object(options) ? json_incref(options) : json_object());
    json_object_set_new(j, "Labels", json_is_object(labels) ? json_incref(labels) : json_object());
    return j;
}

int engine_network_inspect(struct engine *e, const char *ref, json_t **ret, struct err *err)
{
    SCOPED_LOCK(locked, &e->lock);
    const struct network *n = network__find(e, ref, err);
    if (!n)
        return -err->code;
    *ret = shown(e, n, true);
    return 0;
}

static bool match_contains(void *context, const char *value)
{
    return strstr(context, value) != NULL;
}

static bool match_equal(void *context, const char *value)
{
    return str_eq(context, value);
}

static bool match_prefix(void *context, const char *value)
{
    return str_after(context, value) != NULL;
}

static bool match_type(void *context, const char *value)
{
    return str_eq(value, *(bool *)context ? "builtin" : "custom");
}

/* Whether a container, running or not, has the network. engine.lock is held. */
static bool used(struct engine *e, const struct network *n)
{
    struct map_entry *entry;
    if (n->endpoints.count)
        return true;
    for (size_t i = 0; (entry = map_next(&e->containers, &i));) {
        struct container *c = entry->value;
        SCOPED_LOCK(locked, &c->lock);
        _cleanup_json_ json_t *net = json_loads(c->net, 0, NULL);
        if (json_object_get(json_object_get(net, "Networks"), n->name))
            return true;
    }
    return false;
}

static bool match_dangling(void *context, const char *value)
{
    bool flag = false;
    return parse_bool(value, &flag, NULL) == 0 && flag == *(bool *)context;
}

static bool wanted(struct engine *e, const struct network *n, const json_t *filters)
{
    _cleanup_json_ json_t *doc = json_loads(n->doc, 0, NULL);
    if (!filter__any(filters, "name", match_contains, n->name) ||
        !filter__any(filters, "id", match_prefix, (void *)n->id) ||
        !filter__any(filters, "driver", match_equal, n->driver) ||
        !filter__any(filters, "scope", match_equal, (void *)"local") ||
        !filter__any(filters, "type", match_type, (void *)&n->predefined) ||
        !filter__labels(filters, json_object_get(doc, "Labels")))
        return false;
    if (!filter__has(filters, "dangling"))
        return true;
    bool dangling = !n->predefined && !used(e, n);
    return filter__any(filters, "dangling", match_dangling, &dangling);
}

int engine_network_list(struct engine *e, const json_t *filters, json_t **ret, struct err *err)
{
    static const char *const known[] = {"name",  "id",     "driver",   "scope", "type",
                                        "label", "label!", "dangling", NULL};
    int r = filter__check_keys(filters, known, err);
    if (r < 0)
        return r;
    json_t *list = json_array();
    SCOPED_LOCK(locked, &e->lock);
    struct map_entry *entry;
    for (size_t i = 0; (entry = map_next(&e->networks, &i));)
        if (wanted(e, entry->value, filters))
            json_array_append_new(list, shown(e, entry->value, false));
    *ret = list;
    return 0;
}

/* engine.lock is held. */
static int remove_network(struct engine *e, struct network *n, struct err *err)
{
    if (n->predefined)
        return err_set(err, ERR_DENIED, "%s is a pre-defined network and cannot be removed", n->name);
    if (n->endpoints.count)
        return err_set(err, ERR_DENIED, "error while removing network: network %s id %s has active endpoints",
                       n->name, n->id);
    int r = net_bridge_remove(e->net, n->bridge, err);
    if (r < 0)
        return r;
    struct store_value value = STORE_STR(n->id);
    struct store_statement s = {"DELETE FROM networks WHERE id = ?", &value, 1, -1};
    r = store_batch(e->store, &s, 1, STORE_DURABLE, err);
    if (r < 0)
        return r;
    _cleanup_json_ json_t *attributes = json_pack("{s:s,s:s}", "name", n->name, "type", n->driver);
    engine_event(e, "network", "destroy", n->id, attributes);
    map_remove(&e->networks, n->id);
    return 0;
}

int engine_network_remove(struct engine *e, const char *ref, struct err *err)
{
    SCOPED_LOCK(locked, &e->lock);
    struct network *n = network__find(e, ref, err);
    return n ? remove_network(e, n, err) : -err->code;
}

int engine_network_prune(struct engine *e, const json_t *filters, json_t **ret, struct err *err)
{
    static const char *const known[] = {"label", "label!", "until", NULL};
    int64_t until = 0;
    int r = filter__check_keys(filters, known, err);
    if (r == 0)
        r = filter__until(filters, &until, err);
    if (r < 0)
        return r;
    json_t *removed = json_array();
    SCOPED_LOCK(locked, &e->lock);
    struct map_entry *entry;
    for (size_t i = 0; (entry = map_next(&e->networks, &i));) {
        struct network *n = entry->value;
        _cleanup_json_ json_t *doc = json_loads(n->doc, 0, NULL);
        _cleanup_free_ char *name = mem_strdup(n->name);
        int64_t created = 0;
        time_parse_rfc3339(json_str(doc, "Created"), &created, NULL);
        if (n->predefined || used(e, n) || created > until ||
            !filter__labels(filters, json_object_get(doc, "Labels")))
            continue;
        if (remove_network(e, n, NULL) == 0)
            json_array_append_new(removed, json_string(name));
    }
    *ret = json_pack("{s:o}", "NetworksDeleted", removed);
    return 0;
}
