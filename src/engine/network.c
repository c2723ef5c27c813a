/* Networks: the table of the predefined ones (bridge, host, none) and the user's, and what the kernel and the
 * DNS process are told of them. */
#include "engine/network_priv.h"

#include "base/digest.h"

#include <unistd.h>

void network__free(void *p)
{
    struct network *n = p;
    ipam__done(n);
    free(n->name);
    free(n->driver);
    free(n->doc);
    free(n->host_binding);
    free(n->ifprefix);
    free(n->parent);
    free(n->mode);
    free(n->flag);
    free(n->far);
    json_decref(n->far_names);
    map_done(&n->endpoints);
    map_done(&n->reserved);
    free(n);
}

const char *network__mode(const json_t *host)
{
    const char *mode = json_str(host, "NetworkMode");
    return !*mode || str_eq(mode, "default") ? "bridge" : mode;
}

/* The struct from the stored document: the body, plus Id, Created, Subnets, Bridge, ParentMade. */
struct network *network__of(const json_t *doc)
{
    struct network *n = NEW(struct network);
    snprintf(n->id, sizeof(n->id), "%s", json_str(doc, "Id"));
    snprintf(n->bridge, sizeof(n->bridge), "%s", json_str(doc, "Bridge"));
    n->name = mem_strdup(json_str(doc, "Name"));
    n->driver = mem_strdup(json_str(doc, "Driver"));
    n->internal = json_bool(doc, "Internal");
    n->config_only = json_bool(doc, "ConfigOnly");
    n->predefined = str_eq(n->name, "bridge") || str_eq(n->name, "host") || str_eq(n->name, "none");
    n->swarm = str_eq(n->driver, "overlay");
    n->is_bridge = n->swarm || str_eq(n->driver, "bridge");
    n->attachable = json_bool(doc, "Attachable");
    n->ingress = json_bool(doc, "Ingress");
    n->doc = json_format(doc);
    n->endpoints = MAP_INIT(endpoint__free);
    n->reserved = MAP_INIT(reserve__free);
    ipam__load(n, doc);
    network__load_options(n, doc);
    return n;
}

static int load_row(void *context, const struct store_value *v, size_t n, struct err *err)
{
    struct engine *e = context;
    _cleanup_json_ json_t *doc = NULL;
    int r = json_parse(v[0].bytes, v[0].size, "a network's document", &doc, err);
    if (r == 0)
        map_put(&e->networks, json_str(doc, "Id"), network__of(doc));
    return r;
}

int network__load_all(struct engine *e, struct err *err)
{
    return store_query(e->store, "SELECT doc FROM networks ORDER BY rowid", NULL, 0, load_row, e, err);
}

void network__describe_bridge(const struct network *n, struct net_bridge *ret)
{
    const struct subnet *v4 = network__subnet(n, false), *v6 = network__subnet(n, true);
    *ret = (struct net_bridge){.name = n->bridge,
                               .subnet = v4 ? v4->cidr : NULL,
                               .gateway = v4 ? v4->gateway : NULL,
                               .subnet6 = v6 ? v6->cidr : NULL,
                               .gateway6 = v6 ? v6->gateway : NULL,
                               .internal = n->internal,
                               .routed = n->routed,
                               .icc = n->icc,
                               .mtu = n->mtu};
}

static int ensure_bridge(struct engine *e, const struct network *n, struct err *err)
{
    struct net_bridge b;
    network__describe_bridge(n, &b);
    int r = net_bridge_ensure(e->net, &b, err);
    return r < 0 ? err_wrap(err, "make the bridge of network %s", n->name) : 0;
}

/* In the kernel: the bridge, or what the interfaces hang below. */
static int ensure_link(struct engine *e, struct network *n, bool *ret_made, struct err *err)
{
    *ret_made = false;
    if (n->is_bridge)
        return ensure_bridge(e, n, err);
    return net_parent_ensure(e->net, n->id, n->parent, n->bridge, ret_made, err);
}

struct network *network__by_name(struct engine *e, const char *name)
{
    struct map_entry *entry;
    for (size_t i = 0; (entry = map_next(&e->networks, &i));)
        if (str_eq(((struct network *)entry->value)->name, name))
            return entry->value;
    return NULL;
}

static size_t count_names(struct engine *e, const char *name)
{
    struct map_entry *entry;
    size_t count = 0;
    for (size_t i = 0; (entry = map_next(&e->networks, &i));)
        count += str_eq(((struct network *)entry->value)->name, name);
    return count;
}

struct network *network__find(struct engine *e, const char *ref, struct err *err)
{
    struct network *n = map_get(&e->networks, ref);
    size_t named = n ? 0 : count_names(e, ref);
    if (named > 1) {
        err_set(err, ERR_INVALID, "network %s is ambiguous (%zu matches found based on name)", ref, named);
        return NULL;
    }
    if (named)
        return network__by_name(e, ref);
    if (!n && str_is_hex(ref)) {
        struct map_entry *entry;
        for (size_t i = 0; (entry = map_next(&e->networks, &i));)
            if (str_after(entry->key, ref)) {
                if (n) {
                    err_set(err, ERR_INVALID,
                            "network %s is ambiguous (several matches found based on ID "
                            "prefix)",
                            ref);
                    return NULL;
                }
                n = entry->value;
            }
    }
    if (!n)
        err_set(err, ERR_NOT_FOUND, "network %s not found", ref);
    return n;
}

static int insert(struct engine *e, struct network *n, struct err *err)
{
    struct store_value values[] = {STORE_STR(n->id), STORE_STR(n->name), STORE_STR(n->doc)};
    struct store_statement s = {"INSERT INTO networks (id, name, doc) VALUES (?, ?, ?)", values, 3, 1};
    return store_batch(e->store, &s, 1, STORE_DURABLE, err);
}

static int complete(struct engine *e, json_t *doc, struct err *err)
{
    char id[65], now[TIME_RFC3339_BYTES], bridge[16];
    if (!*json_str(doc, "Id")) {
        digest_random_id(id);
        json_set_str(doc, "Id", id);
    }
    json_set_str(doc, "Created", time_format_rfc3339(time_now_ns(), now));
    if (!*json_str(doc, "Driver"))
        json_set_str(doc, "Driver", json_bool(doc, "ConfigOnly") ? "null" : "bridge");
    int r = network__apply_config(e, doc, err);
    if (r < 0 || json_bool(doc, "ConfigOnly") || str_eq(json_str(doc, "Driver"), "host") ||
        str_eq(json_str(doc, "Driver"), "null"))
        return r;
    const char *chosen = json_str(json_object_get(doc, "Options"), "com.docker.network.bridge.name");
    net_bridge_name(e->net, json_str(doc, "Id"), bridge);
    if (str_eq(json_str(doc, "Driver"), "bridge") || str_eq(json_str(doc, "Driver"), "overlay"))
        json_set_str(doc, "Bridge", *chosen ? chosen : bridge);
    r = network__check_options(doc, err);
    if (r == 0)
        r = network__check_parent(e, doc, err);
    return r == 0 ? ipam__assign(e, doc, err) : r;
}

static void remove_link(struct engine *e, const struct network *n, bool made)
{
    if (n->is_bridge)
        net_bridge_remove(e->net, n->bridge, NULL);
    else if (made)
        net_parent_remove(e->net, n->bridge, NULL);
}

int network__add(struct engine *e, json_t *doc, struct network **ret, struct err *err)
{
    _cleanup_json_ json_t *owned = doc;
    int r = complete(e, doc, err);
    if (r < 0)
        return r;
    struct network *n = network__of(doc);
    bool linked = n->subnet_count && !n->predefined, made = false;
    if (linked)
        r = ensure_link(e, n, &made, err);
    if (r == 0 && made) {
        json_object_set_new(doc, "ParentMade", json_true());
        free(n->doc);
        n->doc = json_format(doc);
    }
    if (r == 0 && (r = insert(e, n, err)) < 0 && linked)
        remove_link(e, n, made);
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
        if (network__by_name(e, defaults[i][0]))
            continue;
        int r = network__add(e,
                             json_pack("{s:s,s:s,s:{},s:{}}", "Name", defaults[i][0], "Driver",
                                       defaults[i][1], "Options", "Labels"),
                             &n, err);
        if (r < 0)
            return err_wrap(err, "make the network \"%s\"", defaults[i][0]);
    }
    /* Bridges vanish with a reboot. The default one is made too, so that another instance sees its subnet
     * taken. */
    struct map_entry *entry;
    for (size_t i = 0; (entry = map_next(&e->networks, &i));) {
        struct network *n = entry->value;
        struct err problem;
        bool made;
        if (n->subnet_count && ensure_link(e, n, &made, &problem) < 0)
            log_error("%s", problem.msg);
    }
    return 0;
}

/* --- names --- */

/* A host name may be any text; one that no query can have is no name for others. */
bool network__can_be_asked_for(const char *hostname)
{
    for (const char *c = hostname; *c; c++)
        if ((unsigned char)*c <= ' ' || *c == 0x7f)
            return false;
    return true;
}

char **network__names_of(const char *name, char *const *aliases, const char *id, const char *hostname)
{
    char short_id[13];
    snprintf(short_id, sizeof(short_id), "%.12s", id);
    char **names = NULL;
    const char *const own[] = {short_id, hostname && network__can_be_asked_for(hostname) ? hostname : ""};
    if (!str_empty(name))
        strv_add(&names, name);
    for (char *const *alias = aliases; alias && *alias; alias++)
        if (!strv_has(names, *alias))
            strv_add(&names, *alias);
    for (size_t i = 0; i < ARRAY_SIZE(own); i++)
        if (!str_empty(own[i]) && !strv_has(names, own[i]))
            strv_add(&names, own[i]);
    return names;
}

char **network__endpoint_names(struct engine *e, const char *container_id, const struct endpoint *ep)
{
    const struct container *c = map_get(&e->containers, container_id);
    return network__names_of(c ? c->name : NULL, ep->names, container_id, c ? c->hostname : NULL);
}

char **network__with_its_name(const struct network *n, char **names)
{
    size_t count = strv_len(names);
    for (size_t i = 0; i < count && network__can_be_asked_for(n->name); i++) {
        _cleanup_free_ char *whole = str_printf("%s.%s", names[i], n->name);
        if (strlen(whole) <= NETWORK_NAME_BYTES_MAX)
            strv_add(&names, whole);
    }
    return names;
}

int network__push_names(struct engine *e, struct err *err)
{
    SCOPED_LOCK(locked, &e->lock);
    struct network__names names = {0};
    struct map_entry *entry, *one;
    for (size_t i = 0; (entry = map_next(&e->networks, &i));) {
        const struct network *n = entry->value;
        for (size_t k = 0; n->is_bridge && (one = map_next(&n->endpoints, &k));) {
            const struct endpoint *ep = one->value;
            if (!ep->address)
                continue;
            GROW(names.list, names.count, names.capacity);
            names.list[names.count++] = (struct net_name){
                .network = n->id,
                .bridge = n->bridge,
                .address = ep->address,
                .address6 = ep->address6,
                .links = ep->links,
                .names = network__with_its_name(n, network__endpoint_names(e, one->key, ep)),
                .owner = one->key};
        }
    }
    spread__add_names(e, &names); /* after the containers, which tell who asks */
    network__add_far_names(e, &names);
    int r = net_names_set(e->net, names.list, names.count, err);
    for (size_t i = 0; i < names.count; i++)
        strv_free((char **)names.list[i].names);
    free(names.list);
    return r;
}

int network__delete(struct engine *e, struct network *n, struct err *err)
{
    _cleanup_json_ json_t *doc = json_loads(n->doc, 0, NULL);
    int r = 0;
    if (n->is_bridge && *n->bridge)
        r = net_bridge_remove(e->net, n->bridge, err);
    else if (json_bool(doc, "ParentMade"))
        r = net_parent_remove(e->net, n->bridge, err);
    if (r < 0)
        return r;
    struct store_value value = STORE_STR(n->id);
    struct store_statement s[] = {{"DELETE FROM networks WHERE id = ?", &value, 1, -1},
                                  {"DELETE FROM reservations WHERE network = ?", &value, 1, -1}};
    r = store_batch(e->store, s, ARRAY_SIZE(s), STORE_DURABLE, err);
    if (r < 0)
        return r;
    _cleanup_json_ json_t *attributes = json_pack("{s:s,s:s}", "name", n->name, "type", n->driver);
    engine_event(e, "network", "destroy", n->id, attributes);
    map_remove(&e->networks, n->id);
    return 0;
}

bool network__used(struct engine *e, const struct network *n)
{
    struct map_entry *entry;
    if (n->endpoints.count || spread__user(e, n, NULL))
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
