/* A service's spec, held against what swarmkit accepts, in its words, and put into the form that is kept. */
#include "cluster/cluster_priv.h"
#include "cluster/traffic.h"

#include "image/image_ref.h"

enum { PORTS_FIRST = 30000, PORTS_LAST = 32767, MEMORY_LIMIT_MIN = 6 << 20 };

#define DESC "rpc error: code = InvalidArgument desc = "

static int bad(struct err *err, const char *format, ...) _printf_(2, 3);
static int bad(struct err *err, const char *format, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    return err_set(err, ERR_INVALID, DESC "%s", text);
}

/* --- The container --- */

static int check_mounts(const json_t *container, struct err *err)
{
    json_t *mounts = NULL, *one;
    _cleanup_strv_ char **seen = NULL;
    size_t i;
    int r = json_get_array(container, "ContainerSpec", "Mounts", &mounts, err);
    json_array_foreach (mounts, i, one) {
        const char *target = "";
        if (r == 0)
            r = json_get_string(one, "ContainerSpec.Mounts", "Target", &target, err);
        if (r == 0 && strv_has(seen, target))
            r = bad(err, "ContainerSpec: duplicate mount point: %.200s", target);
        strv_add(&seen, target);
    }
    return r;
}

/* Secrets or configs: each must be there, with a place of its own. */
static int check_references(struct cluster *c, const json_t *container, enum cluster_kind kind,
                            struct err *err)
{
    bool secret = kind == CLUSTER_SECRET;
    const char *field = secret ? "Secrets" : "Configs", *id_key = secret ? "SecretID" : "ConfigID";
    const char *name_key = secret ? "SecretName" : "ConfigName";
    json_t *list = NULL, *one, *file = NULL;
    _cleanup_strv_ char **targets = NULL;
    size_t i;
    int r = json_get_array(container, "ContainerSpec", field, &list, err);
    json_array_foreach (list, i, one) {
        if (r < 0)
            break;
        const char *id = "", *name = "", *target = "";
        file = NULL;
        r = json_get_string(one, field, id_key, &id, err);
        if (r == 0)
            r = json_get_string(one, field, name_key, &name, err);
        if (r == 0)
            r = json_get_object(one, field, "File", &file, err);
        if (r == 0)
            r = json_get_string(file, field, "Name", &target, err);
        if (r < 0)
            break;
        if (str_empty(id) || str_empty(name))
            return bad(err, "malformed %s reference", cluster__kind_name(kind));
        if (!map_get(&c->objects[kind], id))
            return bad(err, "%s not found: %.100s", cluster__kind_name(kind), name);
        if (file && str_empty(target))
            return bad(err, "malformed %s reference, no target file name", cluster__kind_name(kind));
        if (file && strv_has(targets, target))
            return bad(err, "%s references '%.100s' and another have a conflicting target: '%.100s'",
                       cluster__kind_name(kind), name, target);
        if (file)
            strv_add(&targets, target);
    }
    return r;
}

static int check_container(struct cluster *c, json_t *template, struct err *err)
{
    json_t *container = NULL;
    const char *image = "", *runtime = "";
    int r = json_get_string(template, "TaskTemplate", "Runtime", &runtime, err);
    if (r == 0 && !str_empty(runtime) && !str_eq(runtime, "container"))
        return err_set(err, ERR_UNSUPPORTED, "TaskTemplate.Runtime \"%.100s\": not supported by Drover",
                       runtime);
    if (r == 0)
        r = json_get_object(template, "TaskTemplate", "ContainerSpec", &container, err);
    if (r == 0 && !container)
        return err_set(err, ERR_INVALID, "mismatched Runtime and *Spec fields");
    if (r == 0)
        r = json_get_string(container, "ContainerSpec", "Image", &image, err);
    if (r == 0 && str_empty(image))
        return bad(err, "ContainerSpec: image reference must be provided");
    struct image_ref ref;
    if (r == 0 && image_ref_parse(image, &ref, NULL) < 0)
        return bad(err, "ContainerSpec: \"%.200s\" is not a valid repository/tag", image);
    if (r == 0)
        image_ref_done(&ref);
    if (r == 0)
        r = check_mounts(container, err);
    if (r == 0)
        r = check_references(c, container, CLUSTER_SECRET, err);
    return r == 0 ? check_references(c, container, CLUSTER_CONFIG, err) : r;
}

static int check_amounts(const json_t *resources, const char *key, struct err *err)
{
    json_t *amounts = NULL;
    int64_t cpu = 0, memory = 0, pids = 0;
    int r = json_get_object(resources, "Resources", key, &amounts, err);
    if (r == 0)
        r = json_get_i64(amounts, key, "NanoCPUs", &cpu, err);
    if (r == 0)
        r = json_get_i64(amounts, key, "MemoryBytes", &memory, err);
    if (r == 0)
        r = json_get_i64(amounts, key, "Pids", &pids, err);
    if (r == 0 && cpu && cpu < 1000000)
        r = bad(err, "invalid cpu value %g: Must be at least %g", (double)cpu / 1e9, 1e-3);
    if (r == 0 && memory && memory < 4 << 20)
        r = bad(err, "invalid memory value %lld: Must be at least 4MiB", (long long)memory);
    if (r == 0 && memory && memory < MEMORY_LIMIT_MIN && str_eq(key, "Limits"))
        r = bad(err, "Minimum memory limit allowed is 6MB"); /* its containers would be refused one by one */
    return r;
}

static int check_swap(const json_t *resources, struct err *err)
{
    int64_t swap = 0, swappiness = -1;
    bool limited = json_int(json_object_get(resources, "Limits"), "MemoryBytes") > 0;
    int r = json_get_i64(resources, "Resources", "SwapBytes", &swap, err);
    if (r == 0)
        r = json_get_i64(resources, "Resources", "MemorySwappiness", &swappiness, err);
    if (r == 0 && (swap < -1 || (swap > 0 && !limited)))
        r = bad(err, "invalid swap value %lld: it is -1, or an amount beside a memory limit",
                (long long)swap);
    if (r == 0 && (swappiness < -1 || swappiness > 100))
        r = bad(err, "invalid memory swappiness %lld: it is from 0 to 100, or -1", (long long)swappiness);
    return r;
}

/* --- Networks --- */

const json_t *service__networks(const json_t *spec)
{
    const json_t *list = json_object_get(json_object_get(spec, "TaskTemplate"), "Networks");
    return json_array_size(list) ? list : json_object_get(spec, "Networks");
}

static int check_networks(struct cluster *c, json_t *holder, struct err *err)
{
    json_t *list = NULL, *one;
    size_t i;
    int r = json_get_array(holder, "", "Networks", &list, err);
    json_array_foreach (list, i, one) {
        const char *target = "";
        _cleanup_json_ json_t *network = NULL;
        _cleanup_strv_ char **aliases = NULL;
        if (r == 0)
            r = json_get_string(one, "Networks", "Target", &target, err);
        if (r == 0)
            r = json_get_strv(one, "Networks", "Aliases", &aliases, err);
        if (r < 0)
            return r;
        /* The swarm's of that name, when a network of this machine is called so too. */
        const json_t *own = networks__find(c, target);
        if (engine_network_inspect(c->engine, own ? json_str(own, "Id") : target, &network,
                                   &(struct err){0}) < 0)
            return err_set(err, ERR_NOT_FOUND, "network %.100s not found", target);
        const char *name = json_str(network, "Name");
        if (json_bool(network, "Ingress"))
            return bad(err, "Service cannot be explicitly attached to the ingress network \"%s\"", name);
        if (!str_eq(json_str(network, "Scope"), "swarm") && !str_eq(name, "host") && !str_eq(name, "none") &&
            !str_eq(name, "bridge"))
            return bad(
                err,
                "network %s cannot be used with services. Only networks scoped to the swarm can be used, "
                "such as those created with the overlay driver.",
                name);
        json_set_str(one, "Target", json_str(network, "Id"));
    }
    return r;
}

/* --- Ports --- */

static const char *port_mode(const json_t *port)
{
    const char *mode = json_str(port, "PublishMode");
    return *mode ? mode : "ingress";
}

static const char *port_protocol(const json_t *port)
{
    const char *protocol = json_str(port, "Protocol");
    return *protocol ? protocol : "tcp";
}

static bool same_port(const json_t *a, const json_t *b)
{
    return json_int(a, "PublishedPort") && json_int(a, "PublishedPort") == json_int(b, "PublishedPort") &&
           str_eq(port_protocol(a), port_protocol(b));
}

static int check_endpoint(const json_t *spec, struct err *err)
{
    static const char *const protocols[] = {"tcp", "udp", "sctp", NULL}, *const modes[] = {"ingress", "host",
                                                                                           NULL};
    json_t *endpoint = NULL, *ports = NULL, *one, *other;
    const char *mode = "";
    size_t i, j;
    int r = json_get_object(spec, "", "EndpointSpec", &endpoint, err);
    if (r == 0)
        r = json_get_string(endpoint, "EndpointSpec", "Mode", &mode, err);
    if (r == 0 && !str_empty(mode) && !str_eq(mode, "vip") && !str_eq(mode, "dnsrr"))
        r = err_set(err, ERR_INVALID, "invalid resolution mode: \"%.50s\"", mode);
    if (r == 0)
        r = json_get_array(endpoint, "EndpointSpec", "Ports", &ports, err);
    if (r == 0 && json_array_size(ports) > 1000)
        r = err_set(err, ERR_LIMIT, "EndpointSpec.Ports: more than 1000");
    json_array_foreach (ports, i, one) {
        int64_t target = 0, published = 0;
        const char *text = "";
        if (r == 0)
            r = json_get_i64(one, "EndpointSpec.Ports", "TargetPort", &target, err);
        if (r == 0)
            r = json_get_i64(one, "EndpointSpec.Ports", "PublishedPort", &published, err);
        if (r == 0)
            r = json_get_string(one, "EndpointSpec.Ports", "Protocol", &text, err);
        if (r == 0)
            r = json_get_string(one, "EndpointSpec.Ports", "PublishMode", &text, err);
        if (r < 0)
            return r;
        if (!strv_has((char *const *)protocols, port_protocol(one)) ||
            !strv_has((char *const *)modes, port_mode(one)))
            return bad(err, "EndpointSpec: port %lld: unrecognized protocol or mode", (long long)target);
        if (target < 1 || target > 65535 || published < 0 || published > 65535)
            return bad(err, "EndpointSpec: a port must be from 1 to 65535");
        if (str_eq(port_mode(one), "ingress") && str_eq(mode, "dnsrr"))
            return bad(err, "EndpointSpec: port published with ingress mode can't be used with dnsrr mode");
        for (j = 0; j < i; j++) {
            other = json_array_get(ports, j);
            if (same_port(one, other))
                return bad(err, "EndpointSpec: duplicate published ports provided");
        }
    }
    return r;
}

static const struct service *ingress_user(struct cluster *c, const struct service *but, const json_t *port)
{
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_SERVICE], &i));) {
        const struct service *s = e->value;
        size_t j;
        json_t *one;
        json_array_foreach (s->ports, j, one)
            if (s != but && same_port(one, port) &&
                !(str_eq(port_mode(one), "host") && str_eq(port_mode(port), "host")))
                return s;
    }
    return NULL;
}

static int choose_port(struct cluster *c, const struct service *s, json_t *port, const json_t *so_far,
                       struct err *err)
{
    /* What it had, it keeps. */
    size_t i;
    json_t *one;
    json_array_foreach (s ? s->ports : NULL, i, one)
        if (json_int(one, "TargetPort") == json_int(port, "TargetPort") &&
            str_eq(port_protocol(one), port_protocol(port)) && str_eq(port_mode(one), "ingress")) {
            json_object_set(port, "PublishedPort", json_object_get(one, "PublishedPort"));
            return 0;
        }
    for (int64_t number = PORTS_FIRST; number <= PORTS_LAST; number++) {
        bool taken = false;
        json_object_set_new(port, "PublishedPort", json_integer(number));
        json_array_foreach ((json_t *)so_far, i, one)
            taken = taken || same_port(one, port);
        if (!taken && !ingress_user(c, s, port))
            return 0;
    }
    return err_set(err, ERR_LIMIT, "no port from %d to %d is free", PORTS_FIRST, PORTS_LAST);
}

int service__publish(struct cluster *c, const struct service *s, const json_t *spec, json_t **ret,
                     struct err *err)
{
    _cleanup_json_ json_t *out = json_array();
    json_t *ports = json_object_get(json_object_get(spec, "EndpointSpec"), "Ports"), *one;
    size_t i;
    json_array_foreach (ports, i, one) {
        _cleanup_json_ json_t *port = json_copy(one);
        json_set_str(port, "Protocol", port_protocol(one));
        json_set_str(port, "PublishMode", port_mode(one));
        const struct service *other = ingress_user(c, s, port);
        if (other)
            return bad(err, "port '%lld' is already in use by service '%s' (%s) as %s port",
                       (long long)json_int(port, "PublishedPort"), other->o.name, other->o.id,
                       str_eq(port_mode(one), "host") ? "a host-published" : "an ingress");
        if (!json_int(port, "PublishedPort") && str_eq(port_mode(one), "ingress")) {
            int r = choose_port(c, s, port, out, err);
            if (r < 0)
                return r;
        }
        json_array_append(out, port);
    }
    *ret = json_incref(out);
    return 0;
}

/* --- The whole --- */

int service__check(struct cluster *c, const struct service *present, json_t *spec, struct err *err)
{
    const char *name = "";
    json_t *template = NULL, *resources = NULL, *placement = NULL;
    struct deploy_spec parsed;
    int r = json_get_string(spec, "", "Name", &name, err);
    if (r == 0)
        r = cluster__check_labels(spec, err);
    if (r == 0)
        r = strategy__check(c, json_object_get(spec, "Labels"), err);
    if (r == 0)
        r = history__check(json_object_get(spec, "Labels"), err);
    if (r == 0)
        r = labels__read(json_object_get(spec, "Labels"), &(struct service_labels){0}, err);
    if (r == 0)
        r = cluster__check_name(name, err);
    if (r == 0)
        r = json_get_object(spec, "", "TaskTemplate", &template, err);
    if (r == 0 && !template)
        r = err_set(err, ERR_INVALID, "mismatched Runtime and *Spec fields");
    if (r == 0)
        r = check_container(c, template, err);
    if (r == 0)
        r = json_get_object(template, "TaskTemplate", "Resources", &resources, err);
    if (r == 0)
        r = check_amounts(resources, "Limits", err);
    if (r == 0)
        r = check_amounts(resources, "Reservations", err);
    if (r == 0)
        r = check_swap(resources, err);
    if (r == 0)
        r = json_get_object(template, "TaskTemplate", "Placement", &placement, err);
    if (r == 0)
        r = place__check(placement, err);
    if (r == 0)
        r = check_networks(c, template, err);
    if (r == 0)
        r = check_networks(c, spec, err);
    if (r == 0)
        r = links__check(c, spec, err);
    if (r == 0)
        r = check_endpoint(spec, err);
    if (r == 0)
        r = deploy_spec_parse(spec, &parsed, err);
    if (r == 0 && deploy_is_job(parsed.mode) &&
        json_array_size(json_object_get(json_object_get(spec, "EndpointSpec"), "Ports")))
        r = bad(err, "job-mode services cannot publish ports");
    if (r == 0 && present && parsed.mode != present->parsed.mode)
        r = err_set(err, ERR_SYSTEM,
                    "rpc error: code = Unimplemented desc = service mode change is not allowed");
    if (r == 0 && present && !str_eq(name, present->o.name))
        r = err_set(err, ERR_SYSTEM,
                    "rpc error: code = Unimplemented desc = renaming services is not supported");
    return r;
}
