/* What each node needs to know, made of the services and tasks of who leads. */
#include "cluster/traffic.h"

#include "base/log.h"
#include "cluster/cluster_priv.h"
#include "cluster/session.h"
#include "engine/spread.h"
#include "net/net.h"

#include <arpa/inet.h>

enum { AGAIN_S = 5 };

/* --- Nodes as others reach them --- */

static char *link_of(struct cluster *c, const struct node *n)
{
    return str_eq(n->o.id, c->self) ? traffic__link_address(n->address)
                                    : mem_strdup(json_str(n->description, "LinkAddress"));
}

/* A node says what its addresses are: one that cannot be right is of no use to others, and does them no harm.
 */
static json_t *way_to(struct cluster *c, const struct node *n)
{
    struct in_addr in;
    _cleanup_free_ char *link = link_of(c, n);
    if (!n->address || inet_pton(AF_INET, n->address, &in) != 1 || !traffic__is_link_address(link))
        return NULL;
    return json_pack("{s:s, s:s}", "Via", n->address, "Mac", link);
}

/* {node id: {"Via", "Mac"}} of those whose containers are reached by their addresses. */
static json_t *ways_of(struct cluster *c)
{
    json_t *ways = json_object();
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_NODE], &i));) {
        json_t *way = way_to(c, e->value);
        if (way)
            json_object_set_new(ways, e->key, way);
    }
    return ways;
}

/* --- A service on a network --- */

static void add_target(struct cluster *c, const struct task *t, const char *network, const char *node,
                       const json_t *ways, bool ingress, json_t *entry)
{
    const struct node *n = map_get(&c->objects[CLUSTER_NODE], t->node);
    const char *address = json_str(t->addresses, network);
    if (str_eq(t->node, node)) {
        json_array_append_new(json_object_get(entry, "Containers"), json_string(t->container));
        return;
    }
    if (!n || n->lost)
        return;
    _cleanup_free_ char *bare = mem_strndup(address, strcspn(address, "/")),
                        *machine = n->address ? net_address_canonical(n->address) : NULL;
    if (ingress && machine)
        json_array_append_new(json_object_get(entry, "Nodes"), json_string(machine));
    if (!ingress && *bare && json_object_get(ways, t->node))
        json_array_append_new(json_object_get(entry, "Far"), json_string(bare));
}

static json_t *entry_of(struct cluster *c, const struct service *s, const char *network, const char *node,
                        const json_t *ways, const json_t *aliases, const json_t *ports)
{
    json_t *entry =
        json_pack("{s:s, s:s, s:s, s:s, s:O, s:O, s:[], s:[], s:[]}", "Service", s->o.id, "Network", network,
                  "Name", s->o.name, "Address", json_str(s->addresses, network), "Aliases", aliases, "Ports",
                  ports, "Containers", "Far", "Nodes");
    struct map_entry *e;
    must(entry);
    for (size_t i = 0; (e = map_next(&s->tasks, &i));) {
        const struct task *t = e->value;
        if (t->container && t->node && t->state == TASK_RUNNING && t->desired <= TASK_RUNNING)
            add_target(c, t, network, node, ways, json_array_size(ports) > 0, entry);
    }
    return entry;
}

static json_t *ingress_ports(const struct service *s)
{
    json_t *out = json_array(), *one;
    size_t i;
    json_array_foreach (s->ports, i, one)
        if (str_eq(json_str(one, "PublishMode"), "ingress"))
            json_array_append_new(out, json_pack("{s:s, s:I, s:I}", "Protocol", json_str(one, "Protocol"),
                                                 "PublishedPort", json_int(one, "PublishedPort"),
                                                 "TargetPort", json_int(one, "TargetPort")));
    return out;
}

/* Of the networks that the node needs (NULL: all). */
static void add_entries(struct cluster *c, const struct service *s, const char *node, const json_t *ways,
                        const json_t *needed, json_t *to)
{
    _cleanup_json_ json_t *ports = ingress_ports(s), *none = json_array();
    const char *ingress = json_str(networks__find(c, "ingress"), "Id");
    json_t *one;
    size_t i;
    if (s->removed || deploy_is_job(s->parsed.mode))
        return;
    json_array_foreach ((json_t *)service__networks(s->o.spec), i, one) {
        const char *id = json_str(one, "Target");
        json_t *aliases = json_object_get(one, "Aliases");
        if (networks__find(c, id) && (!needed || json_object_get(needed, id)))
            json_array_append_new(
                to, entry_of(c, s, id, node, ways, json_is_array(aliases) ? aliases : none, none));
    }
    if (json_array_size(ports) && *ingress)
        json_array_append_new(to, entry_of(c, s, ingress, node, ways, none, ports));
}

/* --- Networks --- */

static void add_far(const struct task *t, const json_t *ways, json_t *far)
{
    const json_t *way = t->node ? json_object_get(ways, t->node) : NULL;
    const char *network;
    json_t *address;
    json_object_foreach (t->addresses, network, address) {
        json_t *list = json_object_get(far, network);
        const char *text = json_string_value(address);
        _cleanup_free_ char *bare = mem_strndup(text, strcspn(text, "/"));
        if (way && list)
            json_array_append_new(list,
                                  json_pack("{s:s, s:O, s:O}", "Address", bare, "Via",
                                            json_object_get(way, "Via"), "Mac", json_object_get(way, "Mac")));
    }
}

/* {network id: [tasks of other nodes]}, of all networks but the ingress, where only machines are reached. */
static json_t *far_of(struct cluster *c, const char *node, const json_t *ways)
{
    json_t *far = json_object(), *body;
    const char *id;
    struct map_entry *e;
    json_object_foreach (networks__all(c), id, body)
        if (!json_bool(body, "Ingress"))
            json_object_set_new(far, id, json_array());
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_TASK], &i));) {
        const struct task *t = e->value;
        if (!task_ended(t->state) && !str_eq(t->node, node))
            add_far(t, ways, far);
    }
    return far;
}

static bool is_manager(struct cluster *c, const char *node)
{
    const struct node *n = map_get(&c->objects[CLUSTER_NODE], node);
    return n && n->manager;
}

/* Managers have all, since each may come to lead. */
static json_t *needed_by(struct cluster *c, const char *node)
{
    json_t *needed = json_object(), *body;
    const char *id;
    struct map_entry *e;
    bool all = is_manager(c, node);
    json_object_foreach (networks__all(c), id, body)
        if (all || json_bool(body, "Ingress") || json_bool(body, "Attachable"))
            json_object_set_new(needed, id, json_true());
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_TASK], &i));) {
        const struct task *t = e->value;
        json_t *address;
        if (str_eq(t->node, node))
            json_object_foreach (t->addresses, id, address)
                json_object_set_new(needed, id, json_true());
    }
    return needed;
}

json_t *traffic__describe(struct cluster *c, const char *node)
{
    _cleanup_json_ json_t *ways = ways_of(c), *needed = needed_by(c, node), *far = far_of(c, node, ways);
    json_t *networks = json_array(), *traffic = json_array(), *body;
    const char *id;
    struct map_entry *e;
    json_object_foreach (networks__all(c), id, body) {
        json_t *list = json_object_get(far, id);
        if (json_object_get(needed, id))
            json_array_append_new(networks, json_pack("{s:O, s:o}", "Body", body, "Far",
                                                      list ? json_incref(list) : json_array()));
    }
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_SERVICE], &i));)
        add_entries(c, e->value, node, ways, needed, traffic);
    return json_pack("{s:o, s:o}", "networks", networks, "traffic", traffic);
}

/* --- This machine's own part --- */

void traffic__changed(struct cluster *c)
{
    c->far_dirty = true;
    assign__changed(c, NULL);
    pthread_cond_signal(&c->decide);
}

static void drop_networks(struct cluster *c, struct service *s, const json_t *entries)
{
    _cleanup_strv_ char **told = NULL;
    json_t *entry;
    size_t i;
    json_array_foreach ((json_t *)entries, i, entry)
        strv_add(&told, json_str(entry, "Network"));
    STRV_FOREACH (id, s->spread_networks)
        if (!strv_has(told, *id))
            engine_spread_remove(c->engine, s->o.id, *id, &(struct err){0});
    strv_free(s->spread_networks);
    s->spread_networks = take_ptr(told);
}

/* With the containers on all nodes, which are told of their own. */
static char *with_running(const struct service *s, const char *own)
{
    struct str text = STR_INIT;
    struct map_entry *e;
    str_add(&text, own);
    for (size_t i = 0; (e = map_next(&s->tasks, &i));) {
        const struct task *t = e->value;
        if (t->container && t->state == TASK_RUNNING && t->desired <= TASK_RUNNING)
            str_addf(&text, " %s", t->container);
    }
    return str_take(&text);
}

void traffic__tell(struct cluster *c, struct service *s)
{
    _cleanup_json_ json_t *ways = ways_of(c), *entries = json_array();
    json_t *entry;
    size_t i;
    add_entries(c, s, c->self, ways, NULL, entries);
    _cleanup_free_ char *own = json_format(entries), *text = with_running(s, own);
    c->far_dirty = true; /* tasks have changed */
    if (s->removed || str_eq(text, s->spread_text))
        return;
    struct err err, why;
    int r = 0;
    assign__changed(c, NULL);
    json_array_foreach (entries, i, entry)
        if (traffic__apply_one(c, entry, &why) < 0 && r == 0)
            r = err_copy(&err, &why);
    drop_networks(c, s, entries);
    if (r < 0) {
        log_warning("service %s: %s", s->o.name, err.msg);
        if (!s->next_ns || s->next_ns > time_now_ns() + AGAIN_S * NS_PER_S)
            s->next_ns = time_now_ns() + AGAIN_S * NS_PER_S;
        return;
    }
    free(s->spread_text);
    s->spread_text = take_ptr(text);
}

void traffic__drop(struct cluster *c, const struct service *s)
{
    json_t *one;
    size_t i;
    json_array_foreach ((json_t *)service__networks(s->o.spec), i, one)
        engine_spread_remove(c->engine, s->o.id, json_str(one, "Target"), &(struct err){0});
    engine_spread_remove(c->engine, s->o.id, "ingress", &(struct err){0});
    assign__changed(c, NULL);
}

void traffic__tell_far(struct cluster *c)
{
    if (!c->far_dirty)
        return;
    c->far_dirty = false;
    _cleanup_json_ json_t *ways = ways_of(c), *far = far_of(c, c->self, ways), *all = far_of(c, "", ways);
    _cleanup_free_ char *text = json_format(all);
    const char *id;
    json_t *list;
    if (str_eq(text, c->far_text))
        return;
    assign__changed(c, NULL);
    json_object_foreach (far, id, list) {
        struct err err;
        _cleanup_json_ json_t *network = json_pack("{s:{s:s}, s:O}", "Body", "Id", id, "Far", list);
        if (traffic__apply_far(c, network, &err) < 0)
            log_warning("%s", err.msg);
    }
    free(c->far_text);
    c->far_text = take_ptr(text);
}

void traffic__sweep(struct cluster *c)
{
    _cleanup_json_ json_t *all = traffic__describe(c, c->self);
    struct err err;
    if (traffic__apply(c, json_object_get(all, "networks"), json_object_get(all, "traffic"), &err) < 0)
        log_warning("the swarm's traffic on this node: %s", err.msg);
}

void traffic__forget(struct cluster *c)
{
    addresses__forget(c);
    free(c->far_text);
    free(c->traffic_trouble);
    c->far_text = c->traffic_trouble = NULL;
    json_decref(c->traffic);
    c->traffic = NULL;
    c->far_dirty = true; /* to be told anew */
}
