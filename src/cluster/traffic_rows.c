#include "cluster/traffic_rows.h"

#include "base/json.h"
#include "base/str.h"

json_t *traffic_row(const struct traffic_rows *rows, enum fact_kind kind, const char *id)
{
    return rows->facts ? facts__get(rows->facts, kind, id)
                       : json_object_get(json_object_get(rows->document, fact_part(kind)), id);
}

static char *bare(const char *address)
{
    return mem_strndup(address, strcspn(address, "/"));
}

static bool is_way(const json_t *node)
{
    return *json_str(node, "Via") && *json_str(node, "Mac");
}

/* --- A service on a network --- */

static void add_target(const struct traffic_rows *rows, const char *id, const json_t *task,
                       const char *network, const char *self, bool ingress, json_t *entry)
{
    const char *at = json_str(task, "Node");
    const json_t *node = traffic_row(rows, FACT_NODE, at);
    if (!json_bool(task, "Serves"))
        return;
    if (str_eq(at, self)) {
        json_t *container = json_object_get(rows->containers, id);
        if (container)
            json_array_append(json_object_get(entry, "Containers"), container);
        return;
    }
    if (!node || json_bool(node, "Lost"))
        return;
    _cleanup_free_ char *address = bare(json_str(json_object_get(task, "Addresses"), network));
    if (ingress && *json_str(node, "Machine"))
        json_array_append(json_object_get(entry, "Nodes"), json_object_get(node, "Machine"));
    if (!ingress && *address && is_way(node))
        json_array_append_new(json_object_get(entry, "Far"), json_string(address));
}

static json_t *entry_of(const struct traffic_rows *rows, const char *id, const json_t *tasks,
                        const char *network, const char *self, json_t *aliases, json_t *ports)
{
    const json_t *service = traffic_row(rows, FACT_SERVICE, id);
    json_t *entry = json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:[], s:[], s:[]}", "Service", id, "Network",
                              network, "Name", json_str(service, "Name"), "Address",
                              json_str(json_object_get(service, "Addresses"), network), "Aliases",
                              json_is_array(aliases) ? json_incref(aliases) : json_array(), "Ports",
                              ports ? json_incref(ports) : json_array(), "Containers", "Far", "Nodes");
    const char *task;
    json_t *one;
    must(entry);
    json_object_foreach ((json_t *)tasks, task, one)
        add_target(rows, task, one, network, self, ports != NULL, entry);
    return entry;
}

void traffic_rows__add_entries(const struct traffic_rows *rows, const char *service, const json_t *tasks,
                               const char *self, const char *ingress, json_t *to)
{
    const json_t *row = traffic_row(rows, FACT_SERVICE, service);
    json_t *ports = json_object_get(row, "Ports"), *one;
    size_t i;
    json_array_foreach (json_object_get(row, "Networks"), i, one) {
        const char *network = json_str(one, "Target");
        if (traffic_row(rows, FACT_NETWORK, network))
            json_array_append_new(
                to, entry_of(rows, service, tasks, network, self, json_object_get(one, "Aliases"), NULL));
    }
    if (json_array_size(ports) && *ingress)
        json_array_append_new(to, entry_of(rows, service, tasks, ingress, self, NULL, ports));
}

/* --- Addresses of other machines' tasks --- */

void traffic_rows__add_far(const struct traffic_rows *rows, const json_t *task, const char *self, json_t *far)
{
    const char *at = json_str(task, "Node"), *network;
    const json_t *way = traffic_row(rows, FACT_NODE, at);
    json_t *address;
    if (str_eq(at, self) || !is_way(way))
        return;
    json_object_foreach (json_object_get(task, "Addresses"), network, address) {
        json_t *list = json_object_get(far, network);
        if (!list || !json_is_string(address))
            continue;
        _cleanup_free_ char *text = bare(json_string_value(address));
        json_array_append_new(list, json_pack("{s:s, s:O, s:O, s:O*}", "Address", text, "Via",
                                              json_object_get(way, "Via"), "Mac", json_object_get(way, "Mac"),
                                              "Names", json_object_get(task, "Names")));
    }
}

/* --- All of it --- */

static const char *ingress_of(const json_t *networks)
{
    const char *id;
    json_t *body;
    json_object_foreach ((json_t *)networks, id, body)
        if (str_eq(json_str(body, "Name"), "ingress"))
            return id;
    return "";
}

static json_t *by_service(const json_t *tasks)
{
    json_t *out = json_object(), *task;
    const char *id;
    json_object_foreach ((json_t *)tasks, id, task) {
        const char *service = json_str(task, "Service");
        json_t *list = json_object_get(out, service);
        if (!list)
            json_object_set_new(out, service, list = json_object());
        json_object_set(list, id, task);
    }
    return out;
}

json_t *traffic_rows__describe(const json_t *document, const json_t *containers, const char *self)
{
    const struct traffic_rows rows = {.document = document, .containers = containers};
    const json_t *tasks = json_object_get(document, "tasks"), *bodies = json_object_get(document, "networks");
    _cleanup_json_ json_t *far = json_object(), *lists = by_service(tasks), *none = json_object();
    json_t *networks = json_array(), *traffic = json_array(), *row;
    const char *id, *ingress = ingress_of(bodies);
    json_object_foreach ((json_t *)bodies, id, row)
        if (!json_bool(row, "Ingress")) /* there, only machines are reached */
            json_object_set_new(far, id, json_array());
    json_object_foreach ((json_t *)tasks, id, row)
        traffic_rows__add_far(&rows, row, self, far);
    json_object_foreach ((json_t *)bodies, id, row) {
        json_t *list = json_object_get(far, id);
        json_array_append_new(
            networks, json_pack("{s:O, s:o}", "Body", row, "Far", list ? json_incref(list) : json_array()));
    }
    json_object_foreach (json_object_get(document, "services"), id, row) {
        const json_t *list = json_object_get(lists, id);
        traffic_rows__add_entries(&rows, id, list ? list : none, self, ingress, traffic);
    }
    return json_pack("{s:o, s:o}", "networks", networks, "traffic", traffic);
}

/* --- Who is to know --- */

static bool has_key_of(const json_t *object, const json_t *of)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)object, key, value)
        if (json_object_get(of, key))
            return true;
    return false;
}

static bool is_on(const json_t *service, const json_t *networks)
{
    json_t *one;
    size_t i;
    json_array_foreach (json_object_get(service, "Networks"), i, one)
        if (json_object_get(networks, json_str(one, "Target")))
            return true;
    return false;
}

bool traffic_rows__concerns(const struct fact *fact, const json_t *networks)
{
    switch (fact->kind) {
    case FACT_NETWORK:
        return json_object_get(networks, fact->id) != NULL;
    case FACT_SERVICE: /* a published port is open on every machine */
        return json_array_size(json_object_get(fact->row, "Ports")) || is_on(fact->row, networks);
    case FACT_TASK:
        return json_bool(fact->row, "Published") ||
               has_key_of(json_object_get(fact->row, "Addresses"), networks);
    default:
        return true;
    }
}
