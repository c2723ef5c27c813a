/* Requests about networks: create, inspect, list, remove, prune. */
#include "engine/network_priv.h"

enum { NAME_BYTES_MAX = 255 };

static int check_name(const char *name, struct err *err)
{
    static const char *const predefined[] = {"bridge", "host", "none", "default", "container", NULL};
    bool blank = true;
    for (const char *c = name; *c; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            return err_set(err, ERR_INVALID, "invalid name: it has a control character");
        blank = blank && *c == ' ';
    }
    if (blank)
        return err_set(err, ERR_INVALID, "invalid name: %s: it must not be empty", name);
    if (strlen(name) > NAME_BYTES_MAX)
        return err_set(err, ERR_INVALID, "invalid name: it is longer than %d bytes", NAME_BYTES_MAX);
    if (strv_has((char *const *)predefined, name))
        return err_set(err, ERR_DENIED, "operation is not permitted on predefined %s network ", name);
    return 0;
}

static int check_scope(const json_t *body, bool swarm, struct err *err)
{
    const char *scope = json_str(body, "Scope"), *id = json_str(body, "Id");
    if (swarm && *scope && !str_eq(scope, "swarm"))
        return err_set(err, ERR_INVALID, "an overlay network cannot be of scope \"%.50s\"", scope);
    if (swarm && (strlen(id) > 64 || id[strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789")]))
        return err_set(err, ERR_INVALID, "\"%.100s\" is not a network's id", id);
    if (swarm)
        return 0;
    if (json_bool(body, "Ingress"))
        return err_set(err, ERR_DENIED, "Ingress network can only be global scope network");
    if (*scope && !str_eq(scope, "local"))
        return err_set(err, ERR_DENIED, "cannot create a %.50s scoped network when swarm is not active",
                       scope);
    return 0;
}

static int check_body(const json_t *body, bool swarm, const char **ret_name, struct err *err)
{
    const char *name = "", *driver = "";
    int r = schema__check_network(body, err);
    if (r == 0)
        r = json_get_string(body, "", "Name", &name, err);
    if (r == 0)
        r = json_get_string(body, "", "Driver", &driver, err);
    if (r == 0)
        r = check_name(name, err);
    if (r == 0)
        r = network__check_driver(driver, swarm, err);
    if (r == 0)
        r = check_scope(body, swarm, err);
    if (r < 0)
        return r;
    if (json_is_false(json_object_get(body, "EnableIPv4")))
        return err_set(err, ERR_UNSUPPORTED,
                       "\"EnableIPv4\": false is not supported: every network has IPv4");
    *ret_name = name;
    return 0;
}

/* What two networks of a swarm cannot both be; engine.lock held. */
static int check_swarm(struct engine *e, const json_t *doc, struct err *err)
{
    struct map_entry *entry;
    for (size_t i = 0; (entry = map_next(&e->networks, &i));) {
        const struct network *n = entry->value;
        if (json_bool(doc, "Ingress") && n->ingress)
            return err_set(err, ERR_CONFLICT, "ingress network (%s) is already present", n->id);
        if (str_eq(n->id, json_str(doc, "Id")))
            return err_set(err, ERR_CONFLICT, "network with id %s already exists", n->id);
    }
    return 0;
}

/* A name is a swarm's once, whatever a machine's own networks are called; engine.lock held. */
static bool swarm_has_name(struct engine *e, const char *name)
{
    struct map_entry *entry;
    for (size_t i = 0; (entry = map_next(&e->networks, &i));) {
        const struct network *n = entry->value;
        if ((n->swarm || n->predefined) && str_eq(n->name, name))
            return true;
    }
    return false;
}

/* Takes `doc`. */
static int create(struct engine *e, json_t *doc, bool swarm, char **ret_id, json_t **ret_warning,
                  struct err *err)
{
    _cleanup_json_ json_t *body = doc;
    const char *name = "";
    int r = check_body(body, swarm, &name, err);
    if (r < 0)
        return r;
    if (swarm)
        json_set_str(body, "Driver", "overlay");
    else
        json_object_del(body, "Id");
    _cleanup_free_ char *warning = NULL, *driver = NULL;
    pthread_mutex_lock(&e->lock);
    struct network *n = network__by_name(e, name);
    char id[65];
    if (swarm ? swarm_has_name(e, name) : n && json_bool(body, "CheckDuplicate"))
        r = err_set(err, ERR_CONFLICT, "network with name %s already exists", name);
    else if (!swarm || (r = check_swarm(e, body, err)) == 0) {
        if (n)
            warning = str_printf("Network with name %s (id : %s) already exists", name, n->id);
        r = network__add(e, json_deep_copy(body), &n, err);
    }
    if (r == 0) {
        snprintf(id, sizeof(id), "%s", n->id);
        driver = mem_strdup(n->driver);
    }
    pthread_mutex_unlock(&e->lock);
    if (r < 0)
        return r;
    _cleanup_json_ json_t *attributes = json_pack("{s:s,s:s}", "name", name, "type", driver);
    engine_event(e, "network", "create", id, attributes);
    *ret_id = mem_strdup(id);
    *ret_warning = json_string(warning ? warning : "");
    return 0;
}

int engine_network_create(struct engine *e, const json_t *body, char **ret_id, json_t **ret_warning,
                          struct err *err)
{
    return create(e, json_deep_copy(body), false, ret_id, ret_warning, err);
}

int engine_network_create_swarm(struct engine *e, const json_t *body, char **ret_id, json_t **ret_warning,
                                struct err *err)
{
    return create(e, json_deep_copy(body), true, ret_id, ret_warning, err);
}

/* "10.0.0.2/24", or "" without an address. */
static char *with_length(const char *address, const struct subnet *s)
{
    return str_printf("%s%s", address ? address : "", address && s ? strchr(s->cidr, '/') : "");
}

static json_t *shown_containers(struct engine *e, const struct network *n)
{
    json_t *list = json_object();
    struct map_entry *entry;
    for (size_t i = 0; (entry = map_next(&n->endpoints, &i));) {
        const struct endpoint *ep = entry->value;
        const struct container *c = map_get(&e->containers, entry->key);
        _cleanup_free_ char *v4 = with_length(ep->address, network__subnet_of(n, ep->address)),
                            *v6 = with_length(ep->address6, network__subnet_of(n, ep->address6));
        json_object_set_new(list, entry->key,
                            json_pack("{s:s,s:s,s:s,s:s,s:s}", "Name", c ? c->name : "", "EndpointID", ep->id,
                                      "MacAddress", ep->mac ? ep->mac : "", "IPv4Address", v4, "IPv6Address",
                                      v6));
    }
    return list;
}

/* What the default bridge is like, in the words of Docker's options. */
static json_t *default_bridge_options(const struct network *n)
{
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s}", "com.docker.network.bridge.default_bridge", "true",
                     "com.docker.network.bridge.enable_icc", "true",
                     "com.docker.network.bridge.enable_ip_masquerade", "true",
                     "com.docker.network.bridge.host_binding_ipv4", "0.0.0.0",
                     "com.docker.network.bridge.name", n->bridge, "com.docker.network.driver.mtu", "1500");
}

static json_t *object_or_empty(const json_t *doc, const char *key)
{
    json_t *value = json_object_get(doc, key);
    return json_is_object(value) ? json_incref(value) : json_object();
}

static const char *scope_of(const struct network *n)
{
    return n->swarm ? "swarm" : "local";
}

static json_t *status_shown(const struct network *n)
{
    json_t *subnets = json_object();
    for (size_t i = 0; i < n->subnet_count; i++) {
        const struct subnet *s = &n->subnets[i];
        _cleanup_strv_ char **taken = network__taken_addresses(n, s->ipv6);
        int64_t used, available;
        net_subnet_usage(s->cidr, s->range, taken, &used, &available);
        json_object_set_new(subnets, s->cidr,
                            json_pack("{s:I,s:I}", "IPsInUse", (json_int_t)used, "DynamicIPsAvailable",
                                      (json_int_t)available));
    }
    return json_pack("{s:{s:o}}", "IPAM", "Subnets", subnets);
}

static json_t *shown(struct engine *e, const struct network *n, bool with_containers)
{
    _cleanup_json_ json_t *doc = json_loads(n->doc, 0, NULL);
    json_t *j = json_pack(
        "{s:s,s:s,s:s,s:s,s:s,s:b,s:b,s:o,s:b,s:b,s:b,s:{s:s},s:b}", "Name", n->name, "Id", n->id, "Created",
        json_str(doc, "Created"), "Scope", scope_of(n), "Driver", n->driver, "EnableIPv4", 1, "EnableIPv6",
        json_bool(doc, "EnableIPv6"), "IPAM", ipam__shown(n, doc), "Internal", n->internal, "Attachable",
        json_bool(doc, "Attachable"), "Ingress", n->ingress, "ConfigFrom", "Network",
        json_str(json_object_get(doc, "ConfigFrom"), "Network"), "ConfigOnly", n->config_only);
    json_object_set_new(j, "Containers", with_containers ? shown_containers(e, n) : json_object());
    json_object_set_new(j, "Options",
                        n->predefined && n->is_bridge ? default_bridge_options(n)
                                                      : object_or_empty(doc, "Options"));
    json_object_set_new(j, "Labels", object_or_empty(doc, "Labels"));
    return j;
}

int engine_network_inspect(struct engine *e, const char *ref, json_t **ret, struct err *err)
{
    SCOPED_LOCK(locked, &e->lock);
    const struct network *n = network__find(e, ref, err);
    if (!n)
        return -err->code;
    *ret = shown(e, n, true);
    json_object_set_new(*ret, "Status", status_shown(n));
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

static bool match_dangling(void *context, const char *value)
{
    bool flag = false;
    return parse_bool(value, &flag, NULL) == 0 && flag == *(bool *)context;
}

static bool match_id_or_name(void *context, const char *value)
{
    const struct network *n = context;
    return str_after(n->id, value) || str_eq(n->name, value);
}

static int check_values(const json_t *filters, struct err *err)
{
    _cleanup_strv_ char **dangling = filter__values(filters, "dangling"),
                        **types = filter__values(filters, "type");
    bool flag;
    STRV_FOREACH (v, dangling)
        if (parse_bool(*v, &flag, NULL) < 0)
            return err_set(
                err, ERR_INVALID,
                "invalid value for filter 'dangling', must be \"true\" (or \"1\"), or \"false\" (or "
                "\"0\")");
    STRV_FOREACH (v, types)
        if (!str_eq(*v, "custom") && !str_eq(*v, "builtin"))
            return err_set(err, ERR_INVALID, "invalid filter: 'type'='%.100s'", *v);
    return 0;
}

static bool wanted(struct engine *e, const struct network *n, const json_t *filters)
{
    _cleanup_json_ json_t *doc = json_loads(n->doc, 0, NULL);
    if (!filter__any(filters, "name", match_contains, n->name) ||
        !filter__any(filters, "id", match_prefix, (void *)n->id) ||
        !filter__any(filters, "driver", match_equal, n->driver) ||
        !filter__any(filters, "scope", match_equal, (void *)scope_of(n)) ||
        !filter__any(filters, "idOrName", match_id_or_name, (void *)n) ||
        !filter__any(filters, "type", match_type, (void *)&n->predefined) ||
        !filter__labels(filters, json_object_get(doc, "Labels")))
        return false;
    if (!filter__has(filters, "dangling"))
        return true;
    bool dangling = !n->predefined && !network__used(e, n);
    return filter__any(filters, "dangling", match_dangling, &dangling);
}

int engine_network_list(struct engine *e, const json_t *filters, json_t **ret, struct err *err)
{
    static const char *const known[] = {"name",  "id",     "driver",   "scope",    "type",
                                        "label", "label!", "dangling", "idOrName", NULL};
    int r = filter__check_keys(filters, known, err);
    if (r == 0)
        r = check_values(filters, err);
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

/* The network that takes its configuration from `n`, or NULL. engine.lock is held. */
static const struct network *dependent(struct engine *e, const struct network *n)
{
    struct map_entry *entry;
    for (size_t i = 0; n->config_only && (entry = map_next(&e->networks, &i));) {
        const struct network *other = entry->value;
        _cleanup_json_ json_t *doc = json_loads(other->doc, 0, NULL);
        const char *from = json_str(json_object_get(doc, "ConfigFrom"), "Network");
        if (str_eq(from, n->name) || str_eq(from, n->id))
            return other;
    }
    return NULL;
}

/* engine.lock is held. */
static int remove_network(struct engine *e, struct network *n, struct err *err)
{
    if (n->predefined)
        return err_set(err, ERR_DENIED, "%s is a pre-defined network and cannot be removed", n->name);
    if (dependent(e, n))
        return err_set(err, ERR_DENIED,
                       "error while removing network: configuration network \"%s\" is in use", n->name);
    const char *service = spread__user(e, n, NULL);
    if (service)
        return err_set(err, ERR_DENIED, "error while removing network: network %s is in use by service %s",
                       n->name, service);
    if (n->endpoints.count)
        return err_set(err, ERR_DENIED, "error while removing network: network %s id %s has active endpoints",
                       n->name, n->id);
    return network__delete(e, n, err);
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
        if (n->predefined || n->swarm || n->config_only || network__used(e, n) || created > until ||
            !filter__labels(filters, json_object_get(doc, "Labels")))
            continue;
        if (remove_network(e, n, NULL) == 0)
            json_array_append_new(removed, json_string(name));
    }
    *ret = json_pack("{s:o}", "NetworksDeleted", removed);
    return 0;
}
