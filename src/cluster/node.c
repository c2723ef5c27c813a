/* Nodes: the machines of the cluster. */
#include "cluster/cluster_priv.h"

#include "cluster/attach.h"
#include "cluster/authority.h"
#include "cluster/identity.h"
#include "cluster/revoke.h"
#include "cluster/roles.h"
#include "cluster/session.h"
#include "cluster/traffic.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static json_t *show_manager(struct cluster *c, const struct node *n, const char *door)
{
    bool leads = str_eq(n->o.id, c->self);
    const char *how = leads || (n->votes && !n->lost) ? "reachable" : "unreachable";
    json_t *out = json_pack("{s:s, s:s}", "Reachability", how, "Addr", door);
    if (leads)
        json_object_set_new(out, "Leader", json_true());
    return out;
}

const char *node__name(struct cluster *c, const char *id)
{
    const struct node *n = id ? map_get(&c->objects[CLUSTER_NODE], id) : NULL;
    const char *name = n ? json_str(n->description, "Hostname") : "";
    return *name ? name : id ? id : "";
}

json_t *node__show(struct cluster *c, const struct node *n)
{
    json_t *out = cluster__head(&n->o);
    json_object_set(out, "Spec", n->o.spec);
    json_t *description = json_copy(n->description);
    json_object_del(description, "LinkAddress"); /* not Docker's */
    json_object_del(description, "Trust");
    json_object_set_new(out, "Description", description);
    json_t *status = json_pack("{s:s, s:s}", "State", n->lost ? "down" : "ready", "Addr", n->address);
    _cleanup_free_ char *ails = n->lost ? NULL : condition__message(c, n);
    if ((n->lost && n->message) || ails)
        json_set_str(status, "Message", ails ? ails : n->message);
    json_object_set_new(out, "Status", status);
    _cleanup_free_ char *door =
        str_empty(n->door) ? identity__door(n->address, CLUSTER_PORT) : mem_strdup(n->door);
    if (n->manager)
        json_object_set_new(out, "ManagerStatus", show_manager(c, n, door));
    return out;
}

/* --- The address that others are to reach this machine at --- */

bool node__is_address(const char *text)
{
    unsigned char bytes[16];
    return inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1;
}

static bool is_bridge(const char *interface)
{
    struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};
    struct ifreq q = {.ifr_data = (char *)&info};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    snprintf(q.ifr_name, sizeof(q.ifr_name), "%s", interface);
    bool is = fd >= 0 && ioctl(fd, SIOCETHTOOL, &q) == 0 && str_eq(info.driver, "bridge");
    if (fd >= 0)
        close(fd);
    return is;
}

/* The text of an address of `family` that others may reach; false: it is none. */
static bool address_text(const struct sockaddr *at, int family, char text[INET6_ADDRSTRLEN])
{
    if (!at || at->sa_family != family)
        return false;
    if (family == AF_INET)
        return inet_ntop(AF_INET, &((const struct sockaddr_in *)at)->sin_addr, text, INET6_ADDRSTRLEN);
    const struct in6_addr *six = &((const struct sockaddr_in6 *)at)->sin6_addr;
    return !IN6_IS_ADDR_LINKLOCAL(six) && inet_ntop(AF_INET6, six, text, INET6_ADDRSTRLEN);
}

/* NULL with 0: there is none of this family. */
static int find_in(const struct ifaddrs *list, int family, const char *interface, char **ret, struct err *err)
{
    _cleanup_free_ char *found = NULL, *on = NULL;
    for (const struct ifaddrs *i = list; i; i = i->ifa_next) {
        char text[INET6_ADDRSTRLEN];
        if (!(i->ifa_flags & IFF_UP) || !address_text(i->ifa_addr, family, text) ||
            (interface ? !str_eq(interface, i->ifa_name)
                       : (i->ifa_flags & IFF_LOOPBACK) || is_bridge(i->ifa_name)))
            continue;
        if (found && !str_eq(found, text))
            return err_set(
                err, ERR_INVALID,
                "could not choose an IP address to advertise since this system has multiple addresses "
                "on different interfaces (%s on %s and %s on %s) - specify one with --advertise-addr",
                found, on, text, i->ifa_name);
        free(found), free(on);
        found = mem_strdup(text), on = mem_strdup(i->ifa_name);
    }
    *ret = take_ptr(found);
    return 0;
}

/* The address of an interface (NULL: of the only one that leads out); an IPv6 one where there is no other. */
static int find_address(const char *interface, char **ret, struct err *err)
{
    struct ifaddrs *list = NULL;
    if (getifaddrs(&list) < 0)
        return err_sys(err, errno, "list the machine's addresses");
    int r = find_in(list, AF_INET, interface, ret, err);
    if (r == 0 && !*ret)
        r = find_in(list, AF_INET6, interface, ret, err);
    freeifaddrs(list);
    if (r == 0 && !*ret)
        r = interface ? err_set(err, ERR_INVALID, "could not find IP address or interface %.100s", interface)
                      : err_set(err, ERR_INVALID,
                                "could not find the system's IP address - specify one with --advertise-addr");
    return r;
}

int node__resolve_address(const char *text, char **ret, struct err *err)
{
    const char *colon = strrchr(text, ':');
    bool v6 = *text == '[';
    _cleanup_free_ char *host = v6 ? mem_strndup(text + 1, strcspn(text + 1, "]"))
                                   : mem_strndup(text, colon ? (size_t)(colon - text) : strlen(text));
    if (node__is_address(text)) {
        *ret = mem_strdup(text);
        return 0;
    }
    if (node__is_address(host)) {
        *ret = take_ptr(host);
        return 0;
    }
    return find_address(*host ? host : NULL, ret, err);
}

static json_t *plugins_of(const json_t *info)
{
    static const char *const types[] = {"Log", "Network", "Volume"};
    json_t *out = json_array(), *name;
    size_t i;
    for (size_t t = 0; t < ARRAY_SIZE(types); t++)
        json_array_foreach (json_object_get(json_object_get(info, "Plugins"), types[t]), i, name)
            json_array_append_new(out, json_pack("{s:s, s:O}", "Type", types[t], "Name", name));
    return out;
}

json_t *node__describe(struct cluster *c, struct err *err)
{
    _cleanup_json_ json_t *info = NULL;
    if (engine_info(c->engine, false, &info, err) < 0)
        return NULL;
    json_t *labels = json_object();
    const json_t *given = json_object_get(info, "Labels");
    size_t i;
    json_t *one;
    json_array_foreach ((json_t *)given, i, one) {
        const char *text = json_string_value(one), *equals = strchr(text, '=');
        _cleanup_free_ char *key = mem_strndup(text, equals ? (size_t)(equals - text) : strlen(text));
        json_set_str(labels, key, equals ? equals + 1 : "");
    }
    json_t *out =
        json_pack("{s:s, s:{s:s, s:s}, s:{s:I, s:I}, s:{s:s, s:o, s:o}}", "Hostname", json_str(info, "Name"),
                  "Platform", "Architecture", json_str(info, "Architecture"), "OS", "linux", "Resources",
                  "NanoCPUs", (json_int_t)json_int(info, "NCPU") * 1000000000, "MemoryBytes",
                  (json_int_t)json_int(info, "MemTotal"), "Engine", "EngineVersion", DROVER_VERSION, "Labels",
                  labels, "Plugins", plugins_of(info));
    must(out);
    authority__describe(c, out);
    _cleanup_free_ char *host = c->address ? swarm__host_of(c->address) : NULL,
                        *link = traffic__link_address(host);
    if (link)
        json_set_str(out, "LinkAddress", link);
    return out;
}

struct node *node__new(struct cluster *c, json_t *description, const char *address, bool manager,
                       const char *availability)
{
    struct node *n = NEW(struct node);
    n->o = (struct object){.kind = CLUSTER_NODE, .created_ns = time_now_ns()};
    n->o.spec = json_pack("{s:{}, s:s, s:s}", "Labels", "Role", manager ? "manager" : "worker",
                          "Availability", str_empty(availability) ? "active" : availability);
    cluster__new_id(n->o.id);
    n->o.name = mem_strdup(json_str(description, "Hostname"));
    n->description = description;
    n->address = mem_strdup(address);
    n->manager = manager;
    cluster__touch(c, &n->o);
    return n;
}

bool node__available(const struct node *n, bool *ret_stays)
{
    const char *availability = json_str(n->o.spec, "Availability");
    *ret_stays = !n->lost && !str_eq(availability, "drain");
    return !n->lost && str_eq(availability, "active");
}

/* --- Changes --- */

int node__change(struct cluster *c, struct node *n, const json_t *spec, struct err *err)
{
    static const char *const states[] = {"active", "pause", "drain", NULL};
    static const char *const roles[] = {"manager", "worker", NULL};
    const char *availability = "", *role = "";
    int r = json_get_string(spec, "", "Availability", &availability, err);
    if (r == 0)
        r = json_get_string(spec, "", "Role", &role, err);
    if (r == 0)
        r = cluster__check_labels(spec, err);
    if (r == 0 && !strv_has((char *const *)states, availability))
        r = err_set(err, ERR_INVALID, "invalid Availability: \"%.50s\"", availability);
    if (r == 0 && !strv_has((char *const *)roles, role))
        r = err_set(err, ERR_INVALID, "invalid Role: \"%.50s\"", role);
    bool managed = str_eq(json_str(n->o.spec, "Role"), "manager");
    if (r == 0 && managed && str_eq(role, "worker") && roles__count(c) < 2)
        r = err_set(
            err, ERR_INVALID,
            "rpc error: code = FailedPrecondition desc = attempting to demote the last manager of the swarm");
    if (r < 0)
        return r;
    json_t *kept =
        json_pack("{s:O, s:s, s:s}", "Labels",
                  json_is_object(json_object_get(spec, "Labels")) ? json_object_get(spec, "Labels")
                                                                  : json_object_get(n->o.spec, "Labels"),
                  "Role", role, "Availability", availability);
    must(kept);
    const char *name = json_str(spec, "Name");
    if (!str_empty(name))
        json_set_str(kept, "Name", name);
    json_t *before = n->o.spec;
    n->o.spec = kept;
    n->role_failed = false;
    cluster__touch(c, &n->o);
    struct change ch = {0};
    change_put(&ch, &n->o);
    r = change_commit(c, &ch, true, err);
    if (r < 0)
        n->o.spec = before;
    json_decref(r < 0 ? kept : before);
    place__node_changed(c, n);
    c->all_dirty = true;
    pthread_cond_signal(&c->decide);
    return r;
}

int node__remove(struct cluster *c, struct node *n, bool force, struct err *err)
{
    if (n->manager)
        return err_set(
            err, ERR_INVALID,
            "rpc error: code = FailedPrecondition desc = node %s is a cluster manager and is a member of "
            "the raft cluster. It must be demoted to worker before removal",
            n->o.id);
    if (!n->lost && !force)
        return err_set(err, ERR_INVALID,
                       "rpc error: code = FailedPrecondition desc = node %s is not down and can't be removed",
                       n->o.id);
    json_t *before = c->swarm;
    struct change ch = {0};
    c->swarm = json_copy_tree(before);
    change_remove(&ch, &n->o);
    bool revokes = revoke__node(c, n, false);
    if (revokes)
        change_put_swarm(&ch, c);
    int r = change_commit(c, &ch, true, err);
    json_decref(r < 0 ? c->swarm : before);
    if (r < 0) {
        c->swarm = before;
        return r;
    }
    attach__drop_all(c, n);
    assign__changed(c, n->o.id); /* its call ends, and the next is refused */
    if (revokes)
        revoke__publish(c);
    place__forget(c);
    c->all_dirty = true;
    pthread_cond_signal(&c->decide);
    return 0;
}

void node__free(struct node *n)
{
    cluster__object_done(&n->o);
    json_decref(n->description);
    json_decref(n->certificates);
    json_decref(n->attachments);
    json_decref(n->needs);
    free(n->address);
    free(n->door);
    free(n->message);
    free(n->ails);
    free(n);
}
