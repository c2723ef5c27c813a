/* What is set of services on networks (spread.h), and what the kernel and the DNS process are told of it.
 *
 * A spread's document has what was asked for, with containers by id; addresses are looked up in the networks'
 * tables each time it is applied. engine.lock is held from there to the kernel's taking it, so that an
 * address is free for another container only when no rule leads to it any more. */
#include "engine/spread_priv.h"

#include <ctype.h>

enum {
    SPREADS_MAX = 16384,
    PORTS_MAX = 256,
    TARGETS_MAX = 4096,
    RULES_MAX = 65536, /* ports times targets */
    ALIASES_MAX = 128,
    ID_BYTES_MAX = 54, /* with a network's id, what fits a key of src/net */
    NAME_BYTES_MAX = 247
};

struct spread {
    json_t *doc; /* {"Id","Network","Name","Aliases","Address","Ports","Targets"} */
};

void spread__free(void *spread)
{
    struct spread *s = spread;
    if (s)
        json_decref(s->doc);
    free(s);
}

static char *key_of(const char *network_id, const char *id)
{
    return str_printf("%s/%s", network_id, id);
}

char **spread__keys(struct engine *e)
{
    char **list = NULL;
    struct map_entry *entry;
    SCOPED_LOCK(locked, &e->lock);
    for (size_t i = 0; (entry = map_next(&e->spreads, &i));)
        strv_add(&list, entry->key);
    return list;
}

static bool is_of(const struct spread *s, const struct network *n)
{
    return str_eq(json_str(s->doc, "Network"), n->id);
}

const char *spread__user(struct engine *e, const struct network *n, const char *address)
{
    struct map_entry *entry;
    for (size_t i = 0; (entry = map_next(&e->spreads, &i));) {
        const struct spread *s = entry->value;
        if (is_of(s, n) && (!address || str_eq(json_str(s->doc, "Address"), address)))
            return json_str(s->doc, "Name");
    }
    return NULL;
}

/* --- what is asked for --- */

static int check_id(const char *id, struct err *err)
{
    bool good = !str_empty(id) && strlen(id) <= ID_BYTES_MAX;
    for (const char *c = id; good && *c; c++)
        good = isalnum((unsigned char)*c) || strchr("_.-", *c);
    return good ? 0
                : err_set(err, ERR_INVALID, "\"%.100s\" is not a service's id: 1 to %d of [a-zA-Z0-9_.-]",
                          id ? id : "", ID_BYTES_MAX);
}

static int check_name(const char *name, struct err *err)
{
    bool good = !str_empty(name) && strlen(name) <= NAME_BYTES_MAX;
    for (const char *c = name; good && *c; c++)
        good = (unsigned char)*c > ' ' && *c != 0x7f;
    return good ? 0
                : err_set(err, ERR_INVALID, "\"%.100s\" cannot be a service's name on a network",
                          name ? name : "");
}

static int add_names(const struct engine_spread *s, json_t *doc, struct err *err)
{
    json_t *list = json_array();
    json_object_set_new(doc, "Aliases", list);
    int r = check_name(s->name, err);
    for (char *const *alias = s->aliases; r == 0 && alias && *alias; alias++) {
        r = check_name(*alias, err);
        if (r == 0 && json_array_size(list) >= ALIASES_MAX)
            r = err_set(err, ERR_LIMIT, "service %s has more than %d aliases", s->name, ALIASES_MAX);
        if (r == 0)
            json_array_append_new(list, json_string(*alias));
    }
    return r;
}

static bool same_port(const json_t *a, const json_t *b, const char *key)
{
    return json_int(a, key) && json_int(a, key) == json_int(b, key) &&
           str_eq(json_str(a, "Protocol"), json_str(b, "Protocol"));
}

static int add_port(const struct engine_spread *s, const struct engine_spread_port *p, json_t *list,
                    struct err *err)
{
    const char *protocol = p->protocol ? p->protocol : "";
    size_t i;
    const json_t *other;
    if ((!str_eq(protocol, "tcp") && !str_eq(protocol, "udp") && !str_eq(protocol, "sctp")) || !p->target)
        return err_set(err, ERR_INVALID,
                       "port %u/%.20s of service %s: it must be 1 to 65535, of tcp, udp or sctp", p->target,
                       protocol, s->name);
    json_t *one =
        json_pack("{s:s,s:i,s:i}", "Protocol", protocol, "Published", p->published, "Target", p->target);
    json_array_foreach (list, i, other) {
        if (!same_port(other, one, "Published"))
            continue;
        json_decref(one);
        return err_set(err, ERR_INVALID, "service %s publishes port %u/%s twice", s->name, p->published,
                       protocol);
    }
    json_array_append_new(list, one);
    return 0;
}

static int add_ports(const struct engine_spread *s, json_t *doc, struct err *err)
{
    json_t *list = json_array();
    json_object_set_new(doc, "Ports", list);
    if (s->port_count > PORTS_MAX || s->target_count > TARGETS_MAX ||
        s->port_count * s->target_count > RULES_MAX)
        return err_set(err, ERR_LIMIT, "service %s: more than %d ports, %d targets, or %d of both multiplied",
                       s->name, PORTS_MAX, TARGETS_MAX, RULES_MAX);
    int r = 0;
    for (size_t i = 0; r == 0 && i < s->port_count; i++)
        r = add_port(s, &s->ports[i], list, err);
    return r;
}

static int add_targets(const struct engine_spread *s, json_t *doc, struct err *err)
{
    json_t *list = json_array();
    json_object_set_new(doc, "Targets", list);
    for (size_t i = 0; i < s->target_count; i++) {
        const struct engine_spread_target *t = &s->targets[i];
        const char *text = t->far ? t->far : t->address;
        _cleanup_free_ char *address = text ? net_address_canonical(text) : NULL;
        if (t->container ? strlen(t->container) != 64 || !str_is_hex(t->container) : !address)
            return err_set(err, ERR_INVALID,
                           "target \"%.100s\" of service %s is neither a container's full id nor an address",
                           t->container ? t->container : (text ? text : ""), s->name);
        json_array_append_new(list, t->container ? json_pack("{s:s}", "Container", t->container)
                                                 : json_pack("{s:s}", t->far ? "Far" : "Address", address));
    }
    return 0;
}

static int add_address(const struct network *n, const struct engine_spread *s, json_t *doc, struct err *err)
{
    const struct reservation *r = str_empty(s->address) ? NULL : reserve__find(n, s->address);
    if (!str_empty(s->address) && !r)
        return err_set(err, ERR_INVALID,
                       "virtual address %.50s of service %s is not one that was reserved on network %s",
                       s->address, s->name, n->name);
    json_set_str(doc, "Address", r ? r->address : "");
    return 0;
}

static int document(const struct network *n, const struct engine_spread *s, json_t **ret, struct err *err)
{
    if (!n->is_bridge || !n->subnet_count)
        return err_set(err, ERR_INVALID, "network %s cannot have services: it is of the driver \"%s\"",
                       n->name, n->driver);
    int r = check_id(s->id, err);
    _cleanup_json_ json_t *doc = json_pack("{s:s,s:s,s:s}", "Id", r == 0 ? s->id : "", "Network", n->id,
                                           "Name", s->name ? s->name : "");
    if (r == 0 && !doc)
        r = err_set(err, ERR_INVALID, "a service's name must be UTF-8");
    if (r == 0)
        r = add_names(s, doc, err);
    if (r == 0)
        r = add_ports(s, doc, err);
    if (r == 0)
        r = add_targets(s, doc, err);
    if (r == 0)
        r = add_address(n, s, doc, err);
    if (r == 0)
        *ret = take_ptr(doc);
    return r;
}

/* --- what the kernel is told --- */

/* The endpoint of a target that is on the network now, with its interface. */
static struct endpoint *endpoint_of(const struct network *n, const json_t *target)
{
    struct endpoint *p = map_get(&n->endpoints, json_str(target, "Container"));
    return p && *p->host_if ? p : NULL;
}

static size_t live_targets(struct engine *e, const struct network *n, const json_t *doc,
                           struct net_spread_target **ret)
{
    const json_t *list = json_object_get(doc, "Targets"), *one;
    struct net_spread_target *targets = NEW_N(struct net_spread_target, json_array_size(list) + 1);
    size_t count = 0, i;
    json_array_foreach (list, i, one) {
        const char *remote = json_str(one, "Address"), *far = json_str(one, "Far");
        struct endpoint *p = endpoint_of(n, one);
        if (*far && !net_far_has(e->net, n->bridge, far))
            continue;
        if (*far)
            targets[count++] = (struct net_spread_target){.address = far, .far = true};
        else if (*remote)
            targets[count++] = (struct net_spread_target){.address = remote, .remote = true};
        else if (p) {
            targets[count++] = (struct net_spread_target){.address = p->address, .address6 = p->address6};
            p->spread = true;
        }
    }
    *ret = targets;
    return count;
}

static size_t ports_of(const json_t *doc, struct net_spread_port **ret)
{
    const json_t *list = json_object_get(doc, "Ports"), *one;
    struct net_spread_port *ports = NEW_N(struct net_spread_port, json_array_size(list) + 1);
    size_t i;
    json_array_foreach (list, i, one)
        ports[i] = (struct net_spread_port){.protocol = json_str(one, "Protocol"),
                                            .published = (uint16_t)json_int(one, "Published"),
                                            .target = (uint16_t)json_int(one, "Target")};
    *ret = ports;
    return json_array_size(list);
}

static int apply(struct engine *e, const struct network *n, const char *key, const json_t *doc,
                 struct err *err)
{
    _cleanup_free_ struct net_spread_target *targets = NULL;
    _cleanup_free_ struct net_spread_port *ports = NULL;
    const char *address = json_str(doc, "Address");
    const struct reservation *r = *address ? reserve__find(n, address) : NULL;
    struct net_spread s = {.key = key,
                           .name = json_str(doc, "Name"),
                           .bridge = n->bridge,
                           .address = r ? r->address : NULL,
                           .address6 = r ? r->address6 : NULL,
                           .ipv6 = network__subnet(n, true) != NULL};
    s.target_count = live_targets(e, n, doc, &targets);
    s.port_count = ports_of(doc, &ports);
    s.targets = targets;
    s.ports = ports;
    return net_spread_set(e->net, &s, err);
}

/* Those of a network that have the container, as it is now. */
static void apply_of(struct engine *e, struct network *n, const char *container_id)
{
    struct map_entry *entry;
    for (size_t i = 0; (entry = map_next(&e->spreads, &i));) {
        const struct spread *s = entry->value;
        const json_t *one;
        size_t k;
        bool has = false;
        if (!is_of(s, n))
            continue;
        json_array_foreach (json_object_get(s->doc, "Targets"), k, one)
            has = has || str_eq(json_str(one, "Container"), container_id);
        struct err err = {0};
        if (has && apply(e, n, entry->key, s->doc, &err) < 0)
            log_error("service %s on network %s: %s", json_str(s->doc, "Name"), n->name, err.msg);
    }
}

void spread__apply_all_of(struct engine *e, const struct network *n)
{
    struct map_entry *entry;
    for (size_t i = 0; (entry = map_next(&e->spreads, &i));) {
        const struct spread *s = entry->value;
        struct err err;
        if (is_of(s, n) && apply(e, n, entry->key, s->doc, &err) < 0)
            log_error("service %s on network %s: %s", json_str(s->doc, "Name"), n->name, err.msg);
    }
}

void spread__joined(struct engine *e, struct network *n, const char *container_id)
{
    if (e->spreads.count)
        apply_of(e, n, container_id);
}

bool spread__leave(struct engine *e, struct network *n, const char *container_id)
{
    struct endpoint *p = map_steal(&n->endpoints, container_id);
    if (!p)
        return false;
    if (p->spread) {
        apply_of(e, n, container_id);
        if (p->address)
            net_spread_forget_target(e->net, p->address);
        if (p->address6)
            net_spread_forget_target(e->net, p->address6);
    }
    endpoint__free(p);
    return true;
}

void spread__restore_all(struct engine *e)
{
    struct map_entry *entry;
    SCOPED_LOCK(locked, &e->lock);
    for (size_t i = 0; (entry = map_next(&e->spreads, &i));) {
        const struct spread *s = entry->value;
        const struct network *n = map_get(&e->networks, json_str(s->doc, "Network"));
        struct err err = {0};
        if (n && apply(e, n, entry->key, s->doc, &err) < 0)
            log_error("service %s on network %s: %s", json_str(s->doc, "Name"), n->name, err.msg);
    }
}

/* --- names --- */

static void add_name(const struct network *n, const char *prefix, const char *name, char ***names)
{
    _cleanup_free_ char *own = str_printf("%s%s", prefix, name), *whole = str_printf("%s.%s", own, n->name);
    if (!strv_has(*names, own))
        strv_add(names, own);
    if (network__can_be_asked_for(n->name) && strlen(whole) <= NETWORK_NAME_BYTES_MAX &&
        !strv_has(*names, whole))
        strv_add(names, whole);
}

static char **names_of(const struct network *n, const json_t *doc, bool plain, bool tasks)
{
    char **names = NULL;
    const json_t *aliases = json_object_get(doc, "Aliases"), *alias;
    size_t i;
    for (int t = !plain; t <= tasks; t++) {
        const char *prefix = t ? "tasks." : "";
        add_name(n, prefix, json_str(doc, "Name"), &names);
        json_array_foreach (aliases, i, alias)
            add_name(n, prefix, json_string_value(alias), &names);
    }
    return names;
}

/* An answer needs an address of IPv4. */
static void add_host(const struct network *n, const char *address, const char *address6, char **names,
                     struct network__names *to)
{
    if (!address || net_address_is_ipv6(address)) {
        strv_free(names);
        return;
    }
    GROW(to->list, to->count, to->capacity);
    to->list[to->count++] = (struct net_name){
        .network = n->id, .bridge = n->bridge, .address = address, .address6 = address6, .names = names};
}

void spread__add_names(struct engine *e, struct network__names *to)
{
    struct map_entry *entry;
    for (size_t i = 0; (entry = map_next(&e->spreads, &i));) {
        const json_t *doc = ((struct spread *)entry->value)->doc, *one;
        const struct network *n = map_get(&e->networks, json_str(doc, "Network"));
        const char *address = json_str(doc, "Address");
        size_t k;
        if (!n)
            continue;
        const struct reservation *r = *address ? reserve__find(n, address) : NULL;
        if (r)
            add_host(n, r->address, r->address6, names_of(n, doc, true, false), to);
        json_array_foreach (json_object_get(doc, "Targets"), k, one) {
            const char *far = json_str(one, "Far"), *remote = *far ? far : json_str(one, "Address");
            const struct endpoint *p = endpoint_of(n, one);
            if (*far && !net_far_has(e->net, n->bridge, far))
                continue;
            if (*remote || p)
                add_host(n, *remote ? remote : p->address, *remote ? NULL : p->address6,
                         names_of(n, doc, !r, true), to);
        }
    }
}

/* --- setting --- */

static int load_row(void *context, const struct store_value *v, size_t count, struct err *err)
{
    struct engine *e = context;
    struct spread *s = NEW(struct spread);
    int r = json_parse(v[1].bytes, v[1].size, "a service's document", &s->doc, err);
    if (r < 0) {
        free(s);
        return r;
    }
    map_put(&e->spreads, v[0].bytes, s);
    return 0;
}

int spread__load_all(struct engine *e, struct err *err)
{
    int r = reserve__load_all(e, err);
    return r < 0 ? r
                 : store_query(e->store, "SELECT key, doc FROM spreads ORDER BY rowid", NULL, 0, load_row, e,
                               err);
}

static int save(struct engine *e, const char *key, const json_t *doc, struct err *err)
{
    _cleanup_free_ char *text = json_format(doc);
    struct store_value values[] = {STORE_STR(key), STORE_STR(text)};
    struct store_statement s = {"INSERT INTO spreads (key, doc) VALUES (?, ?) "
                                "ON CONFLICT (key) DO UPDATE SET doc = excluded.doc",
                                values, 2, 1};
    return store_batch(e->store, &s, 1, STORE_DURABLE, err);
}

/* Applied, then written down: a crash between leaves the old document, which is applied again. */
static int set_locked(struct engine *e, const struct engine_spread *wanted, bool *ret_changed,
                      struct err *err)
{
    _cleanup_json_ json_t *doc = NULL;
    const struct network *n = network__find(e, wanted->network, err);
    int r = n ? document(n, wanted, &doc, err) : -err->code;
    if (r < 0)
        return r;
    _cleanup_free_ char *key = key_of(n->id, wanted->id);
    struct spread *old = map_get(&e->spreads, key);
    if (!old && e->spreads.count >= SPREADS_MAX)
        return err_set(err, ERR_LIMIT, "more than %d services on this machine's networks", SPREADS_MAX);
    *ret_changed = !old || !json_equal(old->doc, doc);
    r = apply(e, n, key, doc, err);
    if (r == 0 && *ret_changed && (r = save(e, key, doc, err)) < 0) {
        if (old)
            apply(e, n, key, old->doc, NULL);
        else
            net_spread_remove(e->net, key, NULL);
    }
    if (r < 0)
        return err_wrap(err, "service %s on network %s", wanted->name, n->name);
    struct spread *s = NEW(struct spread);
    s->doc = take_ptr(doc);
    map_put(&e->spreads, key, s);
    return 0;
}

int engine_spread_set(struct engine *e, const struct engine_spread *s, struct err *err)
{
    bool changed = false;
    pthread_mutex_lock(&e->lock);
    int r = set_locked(e, s, &changed, err);
    pthread_mutex_unlock(&e->lock);
    if (r == -ERR_CONFLICT)
        ports__name_the_owner(e, err);
    return r == 0 && changed ? network__push_names(e, err) : r;
}

static int remove_locked(struct engine *e, const char *id, const char *network, struct err *err)
{
    const struct network *n = network__find(e, network, err);
    if (!n)
        return -err->code;
    _cleanup_free_ char *key = key_of(n->id, id);
    if (!map_has(&e->spreads, key))
        return err_set(err, ERR_NOT_FOUND, "service %.100s has no addresses on network %s", id, n->name);
    struct store_value value = STORE_STR(key);
    struct store_statement s = {"DELETE FROM spreads WHERE key = ?", &value, 1, -1};
    int r = net_spread_remove(e->net, key, err);
    if (r == 0)
        r = store_batch(e->store, &s, 1, STORE_DURABLE, err);
    if (r == 0)
        map_remove(&e->spreads, key);
    return r;
}

int engine_spread_remove(struct engine *e, const char *id, const char *network, struct err *err)
{
    pthread_mutex_lock(&e->lock);
    int r = remove_locked(e, id, network, err);
    pthread_mutex_unlock(&e->lock);
    return r == 0 ? network__push_names(e, err) : r;
}

int engine_spread_list(struct engine *e, json_t **ret, struct err *err)
{
    static const char *const shown[] = {"Id", "Network", "Name", "Address"};
    json_t *list = json_array();
    struct map_entry *entry;
    (void)err;
    SCOPED_LOCK(locked, &e->lock);
    for (size_t i = 0; (entry = map_next(&e->spreads, &i));) {
        json_t *one = json_object();
        for (size_t k = 0; k < ARRAY_SIZE(shown); k++)
            json_set_str(one, shown[k], json_str(((struct spread *)entry->value)->doc, shown[k]));
        json_array_append_new(list, one);
    }
    *ret = list;
    return 0;
}
