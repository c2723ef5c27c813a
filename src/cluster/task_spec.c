/* A task as the body of POST /containers/create, and its secrets and configs as files. */
#include "cluster/cluster_priv.h"
#include "cluster/traffic.h"

#include "base/file.h"

#include <sys/stat.h>
#include <unistd.h>

static void copy(const json_t *from, const char *key, json_t *to, const char *as)
{
    json_t *value = json_object_get(from, key);
    if (value && !json_is_null(value))
        json_object_set(to, as, value);
}

static int expand_into(struct cluster *c, const struct task *t, json_t *to, const char *key, struct err *err)
{
    const char *text = json_string_value(json_object_get(to, key));
    if (!text || !strstr(text, "{{"))
        return 0;
    _cleanup_free_ char *value = template__expand(c, t, text, false, err);
    if (!value)
        return -err->code;
    json_set_str(to, key, value);
    return 0;
}

static int add_environment(struct cluster *c, const struct task *t, const json_t *container, json_t *body,
                           struct err *err)
{
    json_t *list = json_array(), *one;
    size_t i;
    int r = 0;
    json_array_foreach (json_object_get(container, "Env"), i, one) {
        _cleanup_free_ char *value =
            template__expand(c, t, json_string_value(one) ? json_string_value(one) : "", false, err);
        if (!value) {
            r = -err->code;
            break;
        }
        json_array_append_new(list, json_string(value));
    }
    json_object_set_new(body, "Env", list);
    return r;
}

static void add_labels(const struct task *t, const json_t *container, json_t *body)
{
    json_t *labels = json_object(), *given = json_object_get(container, "Labels");
    _cleanup_free_ char *name = task__container_name(t);
    if (json_is_object(given))
        json_object_update(labels, given);
    json_set_str(labels, "com.docker.swarm.node.id", t->node);
    json_set_str(labels, "com.docker.swarm.service.id", t->service->o.id);
    json_set_str(labels, "com.docker.swarm.service.name", t->service->o.name);
    json_set_str(labels, "com.docker.swarm.task", "");
    json_set_str(labels, "com.docker.swarm.task.id", t->o.id);
    json_set_str(labels, "com.docker.swarm.task.name", name);
    json_object_set_new(body, "Labels", labels);
}

static int add_config(struct cluster *c, const struct task *t, const json_t *container, json_t *body,
                      struct err *err)
{
    static const char *const same[][2] = {{"Image", "Image"},
                                          {"Command", "Entrypoint"},
                                          {"Args", "Cmd"},
                                          {"Hostname", "Hostname"},
                                          {"Dir", "WorkingDir"},
                                          {"User", "User"},
                                          {"TTY", "Tty"},
                                          {"OpenStdin", "OpenStdin"},
                                          {"StopSignal", "StopSignal"},
                                          {"Healthcheck", "Healthcheck"}};
    for (size_t i = 0; i < ARRAY_SIZE(same); i++)
        copy(container, same[i][0], body, same[i][1]);
    int64_t grace = json_int(container, "StopGracePeriod");
    if (grace)
        json_object_set_new(body, "StopTimeout", json_integer((grace + NS_PER_S - 1) / NS_PER_S));
    add_labels(t, container, body);
    int r = add_environment(c, t, container, body, err);
    return r == 0 ? expand_into(c, t, body, "Hostname", err) : r;
}

static void add_security(const json_t *container, json_t *host)
{
    const json_t *privileges = json_object_get(container, "Privileges");
    const json_t *selinux = json_object_get(privileges, "SELinuxContext");
    static const char *const parts[][2] = {
        {"User", "user"}, {"Role", "role"}, {"Type", "type"}, {"Level", "level"}};
    json_t *list = json_array();
    if (json_bool(selinux, "Disable"))
        json_array_append_new(list, json_string("label=disable"));
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        if (*json_str(selinux, parts[i][0])) {
            _cleanup_free_ char *text =
                str_printf("label=%s:%s", parts[i][1], json_str(selinux, parts[i][0]));
            json_array_append_new(list, json_string(text));
        }
    if (str_eq(json_str(json_object_get(privileges, "Seccomp"), "Mode"), "unconfined"))
        json_array_append_new(list, json_string("seccomp=unconfined"));
    if (str_eq(json_str(json_object_get(privileges, "AppArmor"), "Mode"), "disabled"))
        json_array_append_new(list, json_string("apparmor=unconfined"));
    if (json_bool(privileges, "NoNewPrivileges"))
        json_array_append_new(list, json_string("no-new-privileges"));
    json_object_set_new(host, "SecurityOpt", list);
}

static void add_resources(const json_t *template, json_t *host)
{
    const json_t *resources = json_object_get(template, "Resources");
    const json_t *limits = json_object_get(resources, "Limits"),
                 *reserved = json_object_get(resources, "Reservations");
    copy(limits, "NanoCPUs", host, "NanoCpus");
    copy(limits, "MemoryBytes", host, "Memory");
    copy(limits, "Pids", host, "PidsLimit");
    copy(reserved, "MemoryBytes", host, "MemoryReservation");
    const json_t *swap = json_object_get(resources, "SwapBytes");
    int64_t bytes = json_int(resources, "SwapBytes"), swappiness = -1;
    if (json_is_integer(swap)) /* a container's field counts the memory in */
        json_object_set_new(host, "MemorySwap",
                            json_integer(bytes < 0 ? -1 : json_int(limits, "MemoryBytes") + bytes));
    json_get_i64(resources, "Resources", "MemorySwappiness", &swappiness, NULL);
    if (swappiness >= 0)
        json_object_set_new(host, "MemorySwappiness", json_integer(swappiness));
}

/* "IP NAME NAME" as of /etc/hosts, to "NAME:IP". */
static void add_hosts(const json_t *container, json_t *host)
{
    json_t *list = json_array(), *one;
    size_t i;
    json_array_foreach (json_object_get(container, "Hosts"), i, one) {
        _cleanup_strv_ char **words = strv_split(json_string_value(one) ? json_string_value(one) : "", ' ');
        for (size_t j = 1; words && words[0] && words[j]; j++) {
            _cleanup_free_ char *text = str_printf("%s:%s", words[j], words[0]);
            if (*words[j])
                json_array_append_new(list, json_string(text));
        }
    }
    json_object_set_new(host, "ExtraHosts", list);
}

static int add_mounts(struct cluster *c, const struct task *t, const json_t *container, json_t *host,
                      struct err *err)
{
    json_t *list = json_array(), *one;
    size_t i;
    int r = 0;
    json_object_set_new(host, "Mounts", list);
    json_array_foreach (json_object_get(container, "Mounts"), i, one) {
        json_t *mount = json_copy(one);
        json_array_append_new(list, mount);
        if (r == 0)
            r = expand_into(c, t, mount, "Source", err);
        if (r == 0)
            r = expand_into(c, t, mount, "Target", err);
    }
    return r == 0 ? task_files__write(c, t, list, err) : r;
}

static int add_host(struct cluster *c, const struct task *t, const json_t *container, json_t *body,
                    struct err *err)
{
    static const char *const same[][2] = {{"ReadOnly", "ReadonlyRootfs"}, {"Init", "Init"},
                                          {"Sysctls", "Sysctls"},         {"CapabilityAdd", "CapAdd"},
                                          {"CapabilityDrop", "CapDrop"},  {"Groups", "GroupAdd"},
                                          {"Ulimits", "Ulimits"},         {"Isolation", "Isolation"},
                                          {"OomScoreAdj", "OomScoreAdj"}};
    json_t *host = json_object();
    json_object_set_new(body, "HostConfig", host);
    for (size_t i = 0; i < ARRAY_SIZE(same); i++)
        copy(container, same[i][0], host, same[i][1]);
    const json_t *dns = json_object_get(container, "DNSConfig"),
                 *log = json_object_get(t->o.spec, "LogDriver");
    copy(dns, "Nameservers", host, "Dns");
    copy(dns, "Search", host, "DnsSearch");
    copy(dns, "Options", host, "DnsOptions");
    if (*json_str(log, "Name")) {
        json_t *config = json_pack("{s:s}", "Type", json_str(log, "Name"));
        copy(log, "Options", config, "Config");
        json_object_set_new(host, "LogConfig", config);
    }
    add_resources(t->o.spec, host);
    add_security(container, host);
    add_hosts(container, host);
    return add_mounts(c, t, container, host, err);
}

/* --- Networks and ports --- */

static void publish_on_host(const struct task *t, json_t *body, json_t *host)
{
    json_t *bindings = json_object(), *exposed = json_object(), *one;
    size_t i;
    json_array_foreach (t->ports, i, one) {
        if (!str_eq(json_str(one, "PublishMode"), "host"))
            continue;
        _cleanup_free_ char *key =
            str_printf("%lld/%s", (long long)json_int(one, "TargetPort"), json_str(one, "Protocol"));
        _cleanup_free_ char *number = json_int(one, "PublishedPort")
                                          ? str_printf("%lld", (long long)json_int(one, "PublishedPort"))
                                          : mem_strdup("");
        json_t *list = json_object_get(bindings, key);
        if (!list) {
            list = json_array();
            json_object_set_new(bindings, key, list);
        }
        json_array_append_new(list, json_pack("{s:s}", "HostPort", number));
        json_object_set_new(exposed, key, json_object());
    }
    json_object_set_new(host, "PortBindings", bindings);
    json_object_set_new(body, "ExposedPorts", exposed);
}

bool service__has_ingress(const json_t *ports)
{
    size_t i;
    json_t *one;
    json_array_foreach ((json_t *)ports, i, one)
        if (str_eq(json_str(one, "PublishMode"), "ingress"))
            return true;
    return false;
}

/* The address that was chosen for the task on a network. */
static json_t *end_of(const struct task *t, const char *network)
{
    const char *address = json_str(t->addresses, network);
    _cleanup_free_ char *bare = mem_strndup(address, strcspn(address, "/"));
    return *bare ? json_pack("{s:{s:s}}", "IPAMConfig", "IPv4Address", bare) : json_object();
}

static void add_networks(struct cluster *c, const struct task *t, json_t *body)
{
    json_t *host = json_object_get(body, "HostConfig"), *ends = json_object(), *one;
    const char *first = NULL;
    size_t i;
    json_array_foreach ((json_t *)task__networks(t), i, one) {
        _cleanup_json_ json_t *network = NULL;
        if (engine_network_inspect(c->engine, json_str(one, "Target"), &network, &(struct err){0}) < 0)
            continue; /* its absence is told when the container is made */
        const char *name = json_str(network, "Name");
        bool mode = str_eq(name, "host") || str_eq(name, "none") || str_eq(name, "bridge");
        if (!first)
            json_set_str(host, "NetworkMode", mode ? name : json_str(one, "Target"));
        first = "";
        if (!mode) {
            json_t *end = end_of(t, json_str(network, "Id"));
            copy(one, "DriverOpts", end, "DriverOpts");
            json_object_set_new(ends, json_str(one, "Target"), end);
        }
    }
    if (service__has_ingress(t->ports)) {
        if (!first)
            json_set_str(host, "NetworkMode", "ingress");
        _cleanup_json_ json_t *ingress = NULL;
        engine_network_inspect(c->engine, "ingress", &ingress, &(struct err){0});
        json_object_set_new(ends, "ingress", end_of(t, json_str(ingress, "Id")));
    }
    publish_on_host(t, body, host);
    json_object_set_new(body, "NetworkingConfig", json_pack("{s:o}", "EndpointsConfig", ends));
}

int task__container_body(struct cluster *c, const struct task *t, json_t **ret, struct err *err)
{
    const json_t *container = json_object_get(t->o.spec, "ContainerSpec");
    _cleanup_json_ json_t *body = json_object();
    int r = add_config(c, t, container, body, err);
    if (r == 0)
        r = add_host(c, t, container, body, err);
    if (r < 0)
        return r;
    add_networks(c, t, body);
    *ret = json_incref(body);
    return 0;
}

/* --- Files --- */

static int write_file(const char *path, const struct str *content, const json_t *file, struct err *err)
{
    int64_t mode = json_object_get(file, "Mode") ? json_int(file, "Mode") : 0444, uid = 0, gid = 0;
    if (*json_str(file, "UID") && parse_i64(json_str(file, "UID"), 0, UINT32_MAX - 1, &uid, err) < 0)
        return -err->code;
    if (*json_str(file, "GID") && parse_i64(json_str(file, "GID"), 0, UINT32_MAX - 1, &gid, err) < 0)
        return -err->code;
    int r = file_replace(path, content->data, content->len, 0400, false, err);
    if (r == 0 && chown(path, (uid_t)uid, (gid_t)gid) < 0)
        r = err_sys(err, errno, "chown %s", path);
    if (r == 0 && chmod(path, (mode_t)mode & 0777) < 0)
        r = err_sys(err, errno, "chmod %s", path);
    return r;
}

static int read_content(struct cluster *c, const struct task *t, const struct secret *s, struct str *ret,
                        struct err *err)
{
    int r = secret__reveal(c, s, ret, err);
    const char *driver = json_str(json_object_get(s->o.spec, "Templating"), "Name");
    if (r < 0 || str_empty(driver))
        return r;
    if (!str_eq(driver, "golang"))
        return err_set(err, ERR_UNSUPPORTED, "%s %s: template driver \"%.50s\" is not known",
                       cluster__kind_name(s->o.kind), s->o.name, driver);
    _cleanup_free_ char *text = template__expand(c, t, str_get(ret), true, err);
    if (!text)
        return -err->code;
    str_clear(ret);
    str_add(ret, text);
    return 0;
}

static int write_kind(struct cluster *c, const struct task *t, enum cluster_kind kind, const char *root,
                      json_t *mounts, struct err *err)
{
    bool secret = kind == CLUSTER_SECRET;
    const json_t *container = json_object_get(t->o.spec, "ContainerSpec");
    json_t *one;
    size_t i;
    _cleanup_free_ char *dir = str_printf("%s/%s", root, t->o.id);
    int r = 0;
    json_array_foreach (json_object_get(container, secret ? "Secrets" : "Configs"), i, one) {
        const json_t *file = json_object_get(one, "File");
        const char *id = json_str(one, secret ? "SecretID" : "ConfigID"), *name = json_str(file, "Name");
        const struct secret *s = map_get(&c->objects[kind], id);
        if (!file)
            continue;
        if (!s)
            return err_set(err, ERR_NOT_FOUND, "%s %s not found", cluster__kind_name(kind), id);
        _cleanup_str_ struct str content = STR_INIT;
        _cleanup_free_ char *path = str_printf("%s/%s%zu", dir, secret ? "s" : "c", i);
        _cleanup_free_ char *target =
            *name == '/' ? mem_strdup(name) : str_printf("%s/%s", secret ? "/run/secrets" : "", name);
        if (r == 0)
            r = file_mkdirs(dir, 0711, err);
        if (r == 0)
            r = read_content(c, t, s, &content, err);
        if (r == 0)
            r = write_file(path, &content, file, err);
        if (r < 0)
            return r;
        json_array_append_new(mounts, json_pack("{s:s, s:s, s:s, s:b}", "Type", "bind", "Source", path,
                                                "Target", target, "ReadOnly", 1));
    }
    return r;
}

int task_files__write(struct cluster *c, const struct task *t, json_t *mounts, struct err *err)
{
    const json_t *container = json_object_get(t->o.spec, "ContainerSpec");
    _cleanup_free_ char *root = NULL;
    if (!json_array_size(json_object_get(container, "Secrets")) &&
        !json_array_size(json_object_get(container, "Configs")))
        return 0;
    int r = engine_memory(c->engine, &root, err);
    if (r == 0)
        r = write_kind(c, t, CLUSTER_SECRET, root, mounts, err);
    return r == 0 ? write_kind(c, t, CLUSTER_CONFIG, root, mounts, err) : r;
}

void task_files__remove(struct cluster *c, const char *task_id)
{
    _cleanup_free_ char *path = str_printf("%s/memory/%s", engine_root(c->engine), task_id);
    if (file_exists(path))
        file_remove_tree(path, NULL);
}
