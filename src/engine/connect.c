/* Connecting containers to networks and disconnecting them, running or not. */
#include "engine/endpoint_priv.h"
#include "engine/network_priv.h"

#include <fcntl.h>
#include <unistd.h>

static int netns_of(struct container *c, struct err *err)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/ns/net", container__state(c).pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? err_sys(err, errno, "open %s", path) : fd;
}

/* The lowest number that no interface of the run ends with. */
static int free_index(const json_t *host)
{
    for (int index = 0;; index++) {
        char number[16];
        const char *name;
        json_t *entry;
        bool used = false;
        snprintf(number, sizeof(number), "%d", index);
        json_object_foreach ((json_t *)host, name, entry) {
            const char *ifname = json_str(entry, "ifname");
            used = used || str_eq(ifname + strcspn(ifname, "0123456789"), number);
        }
        if (!used)
            return index;
    }
}

static int check_mode(struct container *c, const char *network, bool connecting, struct err *err)
{
    _cleanup_json_ json_t *doc = container__doc(c);
    const char *mode = network__mode(json_object_get(doc, "HostConfig"));
    if (connecting && (strcmp(mode, "host") == 0 || strcmp(network, "host") == 0))
        return err_set(err, ERR_INVALID,
                       "container cannot be disconnected from host network or connected to host network");
    if (str_after(mode, "container:"))
        return err_set(err, ERR_INVALID,
                       "container sharing network namespace with another container or host cannot be "
                       "connected to any other network");
    if (connecting && (strcmp(mode, "none") == 0 || strcmp(network, "none") == 0))
        return err_set(err, ERR_INVALID,
                       "container cannot be connected to multiple networks with one of the networks in "
                       "private (none) mode");
    if (!connecting && strcmp(mode, "host") == 0 && strcmp(network, "host") == 0)
        return err_set(err, ERR_INVALID,
                       "container cannot be disconnected from host network or connected to host network");
    return 0;
}

static int network_name(struct engine *e, const char *ref, char **ret, struct err *err)
{
    SCOPED_LOCK(lock, &e->lock);
    const struct network *n = network__find(e, ref, err);
    if (!n)
        return -err->code;
    *ret = mem_strdup(n->name);
    return 0;
}

static void tell_disconnected(struct container *c, const char *id, const char *name)
{
    pthread_mutex_lock(&c->engine->lock);
    const struct network *n = map_get(&c->engine->networks, id);
    _cleanup_free_ char *driver = mem_strdup(n ? n->driver : "");
    pthread_mutex_unlock(&c->engine->lock);
    endpoint__event(c, "disconnect", id, name, driver);
}

static int body_container(struct engine *e, const json_t *body, struct container **ret, struct err *err)
{
    const char *ref = "";
    int r = json_get_string(body, "", "Container", &ref, err);
    if (r == 0 && !*ref)
        r = err_set(err, ERR_INVALID, "\"Container\" names no container");
    return r < 0 ? r : container__find(e, ref, ret, err);
}

/* Another network becomes the way out, or none; the published ports go along. */
static void reroute(struct container *c, json_t *net, int netns)
{
    json_t *host = json_object_get(net, "Host"), *entry;
    _cleanup_json_ json_t *doc = container__doc(c);
    struct err err = {0};
    const char *name, *way_out = endpoint__way_out(c->engine, net, true);
    if (net_ports_withdraw(c->engine->net, c->id, &err) < 0)
        log_warning("container %.12s: withdraw its ports: %s", c->id, err.msg);
    json_object_set_new(net, "Ports", json_object());
    json_object_foreach (host, name, entry)
        json_object_set_new(entry, "routed", json_false());
    const json_t *settings = way_out ? json_object_get(json_object_get(net, "Networks"), way_out) : NULL;
    entry = way_out ? json_object_get(host, way_out) : NULL;
    if (!entry)
        return;
    if (net_endpoint_route(c->engine->net, netns, json_str(entry, "ifname"), json_str(settings, "Gateway"),
                           json_str(settings, "IPv6Gateway"), &err) < 0 ||
        (json_object_set_new(entry, "routed", json_true()), ports__publish(c, doc, net, &err)) < 0)
        log_warning("container %.12s: its way out over network %s: %s", c->id, way_out, err.msg);
}

/* Into the namespace of a container that runs; the first way out takes the published ports too, and a later
 * one of a higher priority takes them over. */
static int connect_running(struct container *c, const char *name, json_t *net, struct err *err)
{
    json_t *settings = json_object_get(json_object_get(net, "Networks"), name);
    json_t *host = json_object_get(net, "Host");
    _cleanup_close_ int netns = netns_of(c, err);
    if (netns < 0)
        return netns;
    bool first = !endpoint__routed(net), outward = first && !endpoint__internal(c->engine, settings);
    int r = endpoint__connect_one(c, name, settings, host, netns, free_index(host), outward, err);
    if (r == 0)
        r = endpoint__resolver(c, net, netns, false, err);
    if (r == 0 && !first && str_eq(endpoint__way_out(c->engine, net, true), name))
        reroute(c, net, netns);
    if (r == 0 && outward && json_bool(json_object_get(host, name), "routed")) {
        _cleanup_json_ json_t *doc = container__doc(c);
        r = ports__publish(c, doc, net, err);
        if (r < 0) {
            net_endpoint_remove(c->engine->net, netns, json_str(json_object_get(host, name), "ifname"), NULL);
            endpoint__forget(c, json_str(settings, "NetworkID"));
        }
    }
    if (r == 0)
        supervisor__names_due(c->engine);
    return r;
}

/* Docker says it in two ways, and clients look for either. */
static int attached_already(struct engine *e, const struct container *c, const char *name, struct err *err)
{
    SCOPED_LOCK(lock, &e->lock);
    const struct network *n = network__by_name(e, name);
    if (n && n->swarm)
        return err_set(err, ERR_CONFLICT, "%s is already attached to network %s", c->name, name);
    return err_set(err, ERR_DENIED, "endpoint with name %s already exists in network %s", c->name, name);
}

int engine_network_connect(struct engine *e, const char *ref, const json_t *body, struct err *err)
{
    _cleanup_container_ struct container *c = NULL;
    _cleanup_free_ char *name = NULL;
    const json_t *wished = json_object_get(body, "EndpointConfig");
    int r = wished ? endpoint__check_settings(wished, "EndpointConfig", err) : 0;
    if (r == 0)
        r = network_name(e, ref, &name, err);
    if (r == 0)
        r = body_container(e, body, &c, err);
    if (r == 0)
        r = check_mode(c, name, true, err);
    if (r < 0)
        return r;
    SCOPED_LOCK(op, &c->op);
    _cleanup_json_ json_t *net = container__net(c);
    json_t *networks = json_object_get(net, "Networks");
    if (json_object_get(networks, name) && container__running(c))
        return attached_already(e, c, name, err);
    pthread_mutex_lock(&e->lock);
    r = endpoint__plan_one(e, ref, wished, "", false, networks, err);
    pthread_mutex_unlock(&e->lock);
    if (r == 0 && container__running(c))
        r = connect_running(c, name, net, err);
    if (r < 0)
        return r;
    container__set_net(c, take_ptr(net));
    container__save(c);
    return 0;
}

static int disconnect_running(struct container *c, const char *name, const char *network_id, json_t *net,
                              struct err *err)
{
    json_t *host = json_object_get(net, "Host"), *entry = json_object_get(host, name);
    bool routed = json_bool(entry, "routed");
    _cleanup_close_ int netns = netns_of(c, err);
    int r = netns < 0 ? netns : net_endpoint_remove(c->engine->net, netns, json_str(entry, "ifname"), err);
    if (r < 0)
        return r;
    endpoint__forget(c, network_id);
    json_object_del(json_object_get(net, "Networks"), name);
    json_object_del(host, name);
    if (routed)
        reroute(c, net, netns);
    struct err problem = {0};
    if (endpoint__resolver(c, net, netns, false, &problem) < 0)
        log_warning("container %.12s: %s", c->id, problem.msg);
    return 0;
}

/* Force is for what is on the network although there is no such container: nothing of that kind stays here.
 */
static int missing_container(const json_t *body, int r, struct err *err)
{
    if (r == -ERR_NOT_FOUND && json_bool(body, "Force"))
        return err_set(err, ERR_NOT_FOUND, "endpoint %.150s not found", json_str(body, "Container"));
    return r;
}

int engine_network_disconnect(struct engine *e, const char *ref, const json_t *body, struct err *err)
{
    _cleanup_container_ struct container *c = NULL;
    _cleanup_free_ char *name = NULL;
    bool force; /* changes nothing: a container can always be taken off a network */
    int r = json_get_bool(body, "", "Force", &force, err);
    if (r == 0)
        r = network_name(e, ref, &name, err);
    if (r == 0 && (r = body_container(e, body, &c, err)) < 0)
        return missing_container(body, r, err);
    if (r == 0)
        r = check_mode(c, name, false, err);
    if (r < 0)
        return r;
    SCOPED_LOCK(op, &c->op);
    _cleanup_json_ json_t *net = container__net(c);
    json_t *networks = json_object_get(net, "Networks"), *host = json_object_get(net, "Host");
    const json_t *settings = json_object_get(networks, name);
    if (!settings)
        return err_set(err, ERR_DENIED, "container %s is not connected to network %s", c->id, name);
    _cleanup_free_ char *id = mem_strdup(json_str(settings, "NetworkID"));
    bool live = container__running(c) && json_object_get(host, name);
    if (live && (r = disconnect_running(c, name, id, net, err)) < 0)
        return r;
    json_object_del(networks, name);
    json_object_del(host, name);
    container__set_net(c, take_ptr(net));
    container__save(c);
    if (live) {
        tell_disconnected(c, id, name);
        supervisor__names_due(e);
    }
    return 0;
}
