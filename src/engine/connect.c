/* Connecting containers to networks and disconnecting them, running or not. */
#include "engine/endpoint_priv.h"

#include <fcntl.h>
#include <unistd.h>

static int netns_of(struct container *c, struct err *err)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/ns/net", container__state(c).pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? err_sys(err, errno, "open %s", path) : fd;
}

/* The lowest eth number that no interface of the run has. */
static int free_index(const json_t *host)
{
    for (int index = 0;; index++) {
        char ifname[16];
        const char *name;
        json_t *entry;
        bool used = false;
        snprintf(ifname, sizeof(ifname), "eth%d", index);
        json_object_foreach ((json_t *)host, name, entry)
            used = used || strcmp(json_str(entry, "ifname"), ifname) == 0;
        if (!used)
            return index;
    }
}

static int check_mode(struct container *c, const char *network, struct err *err)
{
    _cleanup_json_ json_t *doc = container__doc(c);
    const char *mode = network__mode(json_object_get(doc, "HostConfig"));
    if (strcmp(mode, "host") == 0 || strcmp(network, "host") == 0)
        return err_set(err, ERR_DENIED,
                       "container cannot be connected to host network or disconnected from it");
    if (str_after(mode, "container:"))
        return err_set(err, ERR_DENIED,
                       "container sharing network namespace with another container or host cannot be "
                       "connected to any other network");
    if (strcmp(mode, "none") == 0 || strcmp(network, "none") == 0)
        return err_set(err, ERR_DENIED,
                       "container cannot be connected to multiple networks with one of the networks in "
                       "private (none) mode");
    return 0;
}

static int network_name(struct engine *e, const char *ref, char **ret, struct err *err)
{
    SCOPED_LOCK(lock, &e->lock);
    const struct network *n = network__find(e, ref, err);
    if (!n)
        return -ERR_NOT_FOUND;
    *ret = mem_strdup(n->name);
    return 0;
}

static int body_container(struct engine *e, const json_t *body, struct container **ret, struct err *err)
{
    const char *ref = "";
    int r = json_get_string(body, "", "Container", &ref, err);
    if (r == 0 && !*ref)
        r = err_set(err, ERR_INVALID, "\"Container\" names no container");
    return r < 0 ? r : container__find(e, ref, ret, err);
}

int engine_network_connect(struct engine *e, const char *ref, const json_t *body, struct err *err)
{
    _cleanup_container_ struct container *c = NULL;
    _cleanup_free_ char *name = NULL;
    const json_t *wished = json_object_get(body, "EndpointConfig");
    int r = network_name(e, ref, &name, err);
    if (r == 0)
        r = body_container(e, body, &c, err);
    if (r == 0 && wished)
        r = endpoint__check_settings(wished, "EndpointConfig", err);
    if (r == 0)
        r = check_mode(c, name, err);
    if (r < 0)
        return r;
    SCOPED_LOCK(op, &c->op);
    _cleanup_json_ json_t *net = container__net(c);
    json_t *networks = json_object_get(net, "Networks");
    if (json_object_get(networks, name))
        return err_set(err, ERR_DENIED, "endpoint with name %s already exists in network %s", c->name, name);
    pthread_mutex_lock(&e->lock);
    r = endpoint__plan_one(e, name, wished, c->id, networks, err);
    pthread_mutex_unlock(&e->lock);
    if (r < 0)
        return r;
    if (container__running(c)) {
        _cleanup_close_ int netns = netns_of(c, err);
        if (netns < 0)
            return netns;
        json_t *host = json_object_get(net, "Host");
        bool first = json_object_size(networks) == 1;
        r = endpoint__connect_one(c, name, json_object_get(networks, name), host, netns, free_index(host),
                                  first, err);
        if (r < 0)
            return r;
        supervisor__names_due(e);
    }
    container__set_net(c, take_ptr(net));
    container__save(c);
    return 0;
}

int engine_network_disconnect(struct engine *e, const char *ref, const json_t *body, struct err *err)
{
    _cleanup_container_ struct container *c = NULL;
    _cleanup_free_ char *name = NULL;
    int r = network_name(e, ref, &name, err);
    if (r == 0)
        r = body_container(e, body, &c, err);
    if (r == 0)
        r = check_mode(c, name, err);
    if (r < 0)
        return r;
    SCOPED_LOCK(op, &c->op);
    _cleanup_json_ json_t *net = container__net(c);
    json_t *networks = json_object_get(net, "Networks"), *host = json_object_get(net, "Host");
    const json_t *settings = json_object_get(networks, name);
    if (!settings)
        return err_set(err, ERR_DENIED, "container %s is not connected to network %s", c->id, name);
    _cleanup_free_ char *id = mem_strdup(json_str(settings, "NetworkID"));
    const char *ifname = json_str(json_object_get(host, name), "ifname");
    if (container__running(c) && *ifname) {
        _cleanup_close_ int netns = netns_of(c, err);
        r = netns < 0 ? netns : net_endpoint_remove(e->net, netns, ifname, err);
        if (r < 0)
            return r;
        endpoint__forget(c, id);
        endpoint__event(c, "disconnect", id, name, "bridge");
        supervisor__names_due(e);
    }
    json_object_del(networks, name);
    json_object_del(host, name);
    container__set_net(c, take_ptr(net));
    container__save(c);
    return 0;
}
