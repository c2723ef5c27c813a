/* What each node needs to know, made of the services and tasks of who leads. */
#include "cluster/traffic.h"

#include "base/log.h"
#include "cluster/attach.h"
#include "cluster/cluster_priv.h"
#include "cluster/session.h"
#include "cluster/traffic_rows.h"
#include "engine/spread.h"
#include "net/net.h"

#include <arpa/inet.h>

enum {
    AGAIN_S = 5,
    TELL_MS_A_NODE = 2, /* telling one takes a tenth of that: what only adds is told together for as long */
};

/* --- What there is, as rows --- */

static char *link_of(struct cluster *c, const struct node *n)
{
    return str_eq(n->o.id, c->self) ? traffic__link_address(n->address)
                                    : mem_strdup(json_str(n->description, "LinkAddress"));
}

/* A node says what its addresses are: one that cannot be right is of no use to others, and does them no harm.
 */
static json_t *node_row(struct cluster *c, const struct node *n)
{
    struct in_addr in;
    json_t *row = json_object();
    _cleanup_free_ char *link = link_of(c, n),
                        *machine = n->address ? net_address_canonical(n->address) : NULL;
    if (machine)
        json_set_str(row, "Machine", machine);
    if (n->address && inet_pton(AF_INET, n->address, &in) == 1 && traffic__is_link_address(link)) {
        json_set_str(row, "Via", n->address);
        json_set_str(row, "Mac", link);
    }
    if (n->lost)
        json_object_set_new(row, "Lost", json_true());
    return row;
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

/* NULL: nobody connects to it. */
static json_t *service_row(const struct service *s)
{
    json_t *networks = json_array(), *ports = ingress_ports(s), *one, *row = NULL;
    size_t i;
    json_array_foreach ((json_t *)service__networks(s->o.spec), i, one) {
        json_t *aliases = json_object_get(one, "Aliases");
        json_array_append_new(networks,
                              json_pack("{s:s, s:o}", "Target", json_str(one, "Target"), "Aliases",
                                        json_is_array(aliases) ? json_incref(aliases) : json_array()));
    }
    if (!s->removed && !deploy_is_job(s->parsed.mode) &&
        (json_array_size(networks) || json_array_size(ports)))
        row = json_pack("{s:s, s:O, s:O, s:O?}", "Name", s->o.name, "Networks", networks, "Ports", ports,
                        "Addresses", s->addresses);
    json_decref(networks);
    json_decref(ports);
    return row;
}

static bool serves(const struct task *t)
{
    return t->container && t->node && t->state == TASK_RUNNING && t->desired <= TASK_RUNNING;
}

/* NULL: nobody needs to know of it. */
static json_t *task_row(const struct task *t, bool published)
{
    if (task_ended(t->state) || !t->node || !(published || json_object_size(t->addresses)))
        return NULL;
    json_t *row = json_pack("{s:s, s:s, s:O?}", "Service", t->service->o.id, "Node", t->node, "Addresses",
                            t->addresses);
    must(row);
    if (published)
        json_object_set_new(row, "Published", json_true());
    if (serves(t))
        json_object_set_new(row, "Serves", json_true());
    return row;
}

static void put_task(struct cluster *c, struct task *t, bool published)
{
    json_t *row = task_row(t, published);
    bool served = json_bool(facts__get(&c->facts, FACT_TASK, t->o.id), "Serves");
    t->told_index = t->o.index;
    t->told_serving = serves(t);
    if (facts__put(&c->facts, FACT_TASK, t->o.id, row) && served && !t->told_serving)
        c->facts_urgent = true;
}

void traffic__gone(struct cluster *c, const struct task *t)
{
    if (c->role == ROLE_LEADS)
        facts__put(&c->facts, FACT_TASK, t->o.id, NULL);
}

/* A service and its tasks: those that have changed. */
static void put_service(struct cluster *c, struct service *s)
{
    bool all = s->told_index != s->o.index;
    struct map_entry *e;
    if (all)
        facts__put(&c->facts, FACT_SERVICE, s->o.id, service_row(s));
    s->told_index = s->o.index;
    const json_t *row = facts__get(&c->facts, FACT_SERVICE, s->o.id);
    bool published = json_array_size(json_object_get(row, "Ports")) > 0;
    for (size_t i = 0; (e = map_next(&s->tasks, &i));) {
        struct task *t = e->value;
        if (all || t->told_index != t->o.index || t->told_serving != serves(t))
            put_task(c, t, published);
    }
}

static void put_missing(struct cluster *c, enum fact_kind kind,
                        bool (*is_there)(struct cluster *c, const char *id))
{
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&c->facts.by_id[kind], &i));)
        if (!((struct fact *)e->value)->gone && !is_there(c, e->key))
            facts__put(&c->facts, kind, e->key, NULL);
}

static bool is_network(struct cluster *c, const char *id)
{
    return json_object_get(networks__all(c), id) != NULL;
}

static bool is_node(struct cluster *c, const char *id)
{
    return map_has(&c->objects[CLUSTER_NODE], id);
}

static void put_machines(struct cluster *c)
{
    struct map_entry *e;
    const char *id;
    json_t *body;
    json_object_foreach (networks__all(c), id, body)
        facts__put(&c->facts, FACT_NETWORK, id, json_incref(body));
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_NODE], &i));)
        facts__put(&c->facts, FACT_NODE, e->key, node_row(c, e->value));
    put_missing(c, FACT_NETWORK, is_network);
    put_missing(c, FACT_NODE, is_node);
}

/* Who has begun to lead knows all before it tells any. */
static void know_facts(struct cluster *c)
{
    struct map *both[] = {&c->objects[CLUSTER_SERVICE], &c->leaving};
    struct map_entry *e;
    if (c->facts_known)
        return;
    c->facts_known = true;
    put_machines(c);
    for (size_t b = 0; b < ARRAY_SIZE(both); b++)
        for (size_t i = 0; (e = map_next(both[b], &i));)
            put_service(c, e->value);
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_NODE], &i));)
        attach__know(c, e->value);
}

/* --- What a node is told of them --- */

/* Managers have all, since each may come to lead. */
static json_t *needed_by(struct cluster *c, const struct node *n)
{
    json_t *needed = json_object(), *body;
    const char *id;
    struct map_entry *e;
    json_object_foreach (networks__all(c), id, body)
        if (n->manager || json_bool(body, "Ingress") || json_bool(body, "Attachable"))
            json_object_set_new(needed, id, json_true());
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_TASK], &i));) {
        const struct task *t = e->value;
        json_t *address;
        if (str_eq(t->node, n->o.id))
            json_object_foreach (t->addresses, id, address)
                json_object_set_new(needed, id, json_true());
    }
    return needed;
}

static bool concerns(void *context, const struct fact *fact)
{
    return traffic_rows__concerns(fact, context);
}

/* What it needs by now; ring_concerned() goes by that. */
static void know_needs(struct cluster *c, struct node *n)
{
    json_t *needs = needed_by(c, n);
    know_facts(c);
    if (n->needs && json_equal(needs, n->needs)) {
        json_decref(needs);
        return;
    }
    json_decref(n->needs);
    n->needs = needs;
    n->needs_stamp = ++c->facts.stamp;
}

json_t *traffic__news(struct cluster *c, struct node *n, int64_t since)
{
    know_needs(c, n);
    bool whole = since < n->needs_stamp || since < c->facts.floor;
    json_t *news = facts__since(&c->facts, whole ? 0 : since, concerns, n->needs);
    json_object_set_new(news, "whole", json_boolean(whole));
    return news;
}

json_t *traffic__containers(struct cluster *c, const char *node)
{
    json_t *out = json_object();
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_TASK], &i));) {
        const struct task *t = e->value;
        if (t->container && str_eq(t->node, node))
            json_set_str(out, e->key, t->container);
    }
    return out;
}

json_t *traffic__describe(struct cluster *c, struct node *n)
{
    know_needs(c, n);
    _cleanup_json_ json_t *all = facts__since(&c->facts, 0, concerns, n->needs);
    _cleanup_json_ json_t *containers = traffic__containers(c, n->o.id);
    return traffic_rows__describe(all, containers, n->o.id);
}

static void ring_concerned(struct cluster *c)
{
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_NODE], &i));) {
        struct node *n = e->value;
        const struct fact *one = c->facts.newest;
        while (n->needs && one && one->stamp > c->facts_told && !traffic_rows__concerns(one, n->needs))
            one = one->older;
        if (n->needs && one && one->stamp > c->facts_told) {
            n->news_stamp = one->stamp;
            assign__ring(c, n->o.id);
        }
    }
}

/* --- This machine's own part --- */

void traffic__changed(struct cluster *c)
{
    know_facts(c);
    put_machines(c);
    c->far_dirty = c->facts_urgent = true;
    assign__changed(c, NULL);
    pthread_cond_signal(&c->decide);
}

static json_t *own_entries(struct cluster *c, const struct service *s)
{
    _cleanup_json_ json_t *tasks = json_object(), *containers = json_object();
    const struct traffic_rows rows = {.facts = &c->facts, .containers = containers};
    json_t *to = json_array();
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&s->tasks, &i));) {
        const struct task *t = e->value;
        json_t *row = facts__get(&c->facts, FACT_TASK, e->key);
        if (row)
            json_object_set(tasks, e->key, row);
        if (t->container && str_eq(t->node, c->self))
            json_set_str(containers, e->key, t->container);
    }
    traffic_rows__add_entries(&rows, s->o.id, tasks, c->self, json_str(networks__find(c, "ingress"), "Id"),
                              to);
    return to;
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

void traffic__tell(struct cluster *c, struct service *s)
{
    json_t *entry;
    size_t i;
    know_facts(c);
    put_service(c, s);
    c->far_dirty = true; /* tasks have changed */
    _cleanup_json_ json_t *entries = own_entries(c, s);
    _cleanup_free_ char *text = json_format(entries);
    if (s->removed || str_eq(text, s->spread_text))
        return;
    struct err err, why;
    int r = 0;
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
    facts__put(&c->facts, FACT_SERVICE, s->o.id, NULL);
    c->far_dirty = c->facts_urgent = true;
}

static void tell_own_far(struct cluster *c)
{
    const struct traffic_rows rows = {.facts = &c->facts};
    _cleanup_json_ json_t *far = json_object();
    const char *id;
    json_t *body, *list;
    struct map_entry *e;
    json_object_foreach (networks__all(c), id, body)
        if (!json_bool(body, "Ingress"))
            json_object_set_new(far, id, json_array());
    for (size_t i = 0; (e = map_next(&c->facts.by_id[FACT_TASK], &i));) {
        const struct fact *one = e->value;
        if (!one->gone)
            traffic_rows__add_far(&rows, one->row, c->self, far);
    }
    json_object_foreach (far, id, list) {
        struct err err;
        _cleanup_json_ json_t *network = json_pack("{s:{s:s}, s:O}", "Body", "Id", id, "Far", list);
        if (traffic__apply_far(c, network, &err) < 0)
            log_warning("%s", err.msg);
    }
}

int64_t traffic__due(const struct cluster *c)
{
    int64_t wait = (int64_t)c->objects[CLUSTER_NODE].count * TELL_MS_A_NODE * NS_PER_MS;
    return !c->far_dirty ? 0 : c->facts_urgent ? 1 : MAX(c->facts_told_ns + wait, 1);
}

void traffic__tell_far(struct cluster *c)
{
    int64_t now = time_monotonic_ns();
    if (!c->far_dirty || traffic__due(c) > now)
        return;
    know_facts(c);
    put_machines(c);
    c->far_dirty = c->facts_urgent = false;
    if (c->facts_told == c->facts.stamp)
        return;
    ring_concerned(c);
    c->facts_told = c->facts.stamp;
    c->facts_told_ns = now;
    tell_own_far(c);
}

void traffic__sweep(struct cluster *c)
{
    struct node *self = map_get(&c->objects[CLUSTER_NODE], c->self);
    _cleanup_json_ json_t *all = self ? traffic__describe(c, self) : NULL;
    struct err err;
    if (!all)
        return;
    if (traffic__apply(c, json_object_get(all, "networks"), json_object_get(all, "traffic"), &err) < 0)
        log_warning("the swarm's traffic on this node: %s", err.msg);
}

void traffic__forget(struct cluster *c)
{
    addresses__forget(c);
    free(c->traffic_trouble);
    c->traffic_trouble = NULL;
    json_decref(c->traffic);
    json_decref(c->learned);
    c->traffic = c->learned = NULL;
    facts__done(&c->facts);
    c->facts_known = false;
    c->facts_told = c->facts_told_ns = 0;
    c->far_dirty = true; /* to be told anew */
}
