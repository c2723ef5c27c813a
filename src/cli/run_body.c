/* What the options of `drover run` make of a container. */
#include "base/map.h"
#include "cli/run_priv.h"
#include "compose/envfile.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>

static int add_environment(const struct run_options *o, json_t *body, struct err *err)
{
    struct map env = MAP_INIT(free);
    int r = 0;
    for (char **file = o->env_files; r == 0 && file && *file; file++)
        r = envfile_read(*file, NULL, &env, err);
    STRV_FOREACH (item, o->env) {
        size_t n = strcspn(*item, "=");
        _cleanup_free_ char *name = mem_strndup(*item, n);
        const char *value = (*item)[n] ? *item + n + 1 : getenv(name);
        if (value)
            map_put(&env, name, mem_strdup(value));
    }
    json_t *list = json_array();
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&env, &i));) {
        _cleanup_free_ char *text = str_printf("%s=%s", e->key, (char *)e->value);
        json_array_append_new(list, json_string(text));
    }
    json_object_set_new(body, "Env", list);
    map_done(&env);
    return r;
}

static int add_ports(const struct run_options *o, json_t *body, json_t *host, struct err *err)
{
    json_t *exposed = json_object(), *bindings = json_object();
    json_object_set_new(body, "ExposedPorts", exposed);
    json_object_set_new(host, "PortBindings", bindings);
    STRV_FOREACH (port, o->ports) {
        int r = compose_add_port(*port, exposed, bindings, err);
        if (r < 0)
            return err_wrap(err, "--publish");
    }
    STRV_FOREACH (port, o->expose) {
        _cleanup_free_ char *key = strchr(*port, '/') ? mem_strdup(*port) : str_printf("%s/tcp", *port);
        json_object_set_new(exposed, key, json_object());
    }
    return 0;
}

static int add_volumes(const struct run_options *o, json_t *body, json_t *host, struct err *err)
{
    json_t *binds = json_array(), *anonymous = json_object(), *tmpfs = json_object();
    json_object_set_new(host, "Binds", binds);
    json_object_set_new(body, "Volumes", anonymous);
    json_object_set_new(host, "Tmpfs", tmpfs);
    STRV_FOREACH (volume, o->volumes) {
        const char *colon = strchr(*volume, ':');
        if (!colon) {
            json_object_set_new(anonymous, *volume, json_object());
            continue;
        }
        _cleanup_free_ char *source = mem_strndup(*volume, (size_t)(colon - *volume));
        char real[PATH_MAX];
        if (*source == '.' && !realpath(source, real))
            return err_sys(err, errno, "--volume %s", source);
        _cleanup_free_ char *bind = str_printf("%s%s", *source == '.' ? real : source, colon);
        json_array_append_new(binds, json_string(bind));
    }
    STRV_FOREACH (item, o->tmpfs) {
        size_t n = strcspn(*item, ":");
        _cleanup_free_ char *path = mem_strndup(*item, n);
        json_set_str(tmpfs, path, (*item)[n] ? *item + n + 1 : "");
    }
    return 0;
}

static int add_size(json_t *host, const char *key, const char *option, const char *text, struct err *err)
{
    int64_t bytes = -1;
    if (!text)
        return 0;
    if (strcmp(text, "-1") != 0 && parse_bytes(text, &bytes, err) < 0)
        return err_wrap(err, "--%s", option);
    json_object_set_new(host, key, json_integer(bytes));
    return 0;
}

static int add_limits(const struct run_options *o, json_t *host, struct err *err)
{
    int r = add_size(host, "Memory", "memory", o->memory, err);
    if (r == 0)
        r = add_size(host, "MemorySwap", "memory-swap", o->swap, err);
    if (r == 0)
        r = add_size(host, "ShmSize", "shm-size", o->shm_size, err);
    if (r < 0)
        return r;
    if (o->cpus) {
        char *end;
        double cpus = strtod(o->cpus, &end);
        if (*end || end == o->cpus || !(cpus > 0 && cpus < 100000))
            return err_set(err, ERR_INVALID, "--cpus: \"%s\" is not a number of CPUs", o->cpus);
        json_object_set_new(host, "NanoCpus", json_integer(llround(cpus * 1e9)));
    }
    if (o->cpuset)
        json_set_str(host, "CpusetCpus", o->cpuset);
    if (o->pids_limit)
        json_object_set_new(host, "PidsLimit", json_integer(o->pids_limit));
    json_t *ulimits = json_array();
    json_object_set_new(host, "Ulimits", ulimits);
    STRV_FOREACH (item, o->ulimits) {
        char name[32];
        long long soft, hard;
        int n = sscanf(*item, "%31[a-z]=%lld:%lld", name, &soft, &hard);
        if (n < 2)
            return err_set(err, ERR_INVALID, "--ulimit: write NAME=SOFT[:HARD], not \"%s\"", *item);
        json_array_append_new(ulimits, json_pack("{s:s, s:I, s:I}", "Name", name, "Soft", (json_int_t)soft,
                                                 "Hard", (json_int_t)(n == 3 ? hard : soft)));
    }
    return 0;
}

static int add_restart(const struct run_options *o, json_t *host, struct err *err)
{
    if (!o->restart)
        return 0;
    size_t n = strcspn(o->restart, ":");
    _cleanup_free_ char *name = mem_strndup(o->restart, n);
    int64_t most = 0;
    if (o->restart[n] && parse_i64(o->restart + n + 1, 0, INT32_MAX, &most, err) < 0)
        return err_wrap(err, "--restart");
    if (o->remove && strcmp(name, "no") != 0)
        return err_set(err, ERR_INVALID, "--restart and --rm contradict each other");
    json_object_set_new(host, "RestartPolicy",
                        json_pack("{s:s, s:I}", "Name", name, "MaximumRetryCount", (json_int_t)most));
    return 0;
}

static json_t *dictionary(char *const *list)
{
    json_t *object = json_object();
    for (char *const *item = list; item && *item; item++) {
        size_t n = strcspn(*item, "=");
        _cleanup_free_ char *name = mem_strndup(*item, n);
        json_set_str(object, name, (*item)[n] ? *item + n + 1 : "");
    }
    return object;
}

static void set_text(json_t *object, const char *key, const char *text)
{
    if (text)
        json_set_str(object, key, text);
}

static void set_list(json_t *object, const char *key, char *const *list)
{
    if (list)
        json_object_set_new(object, key, json_of_strv(list));
}

static void add_network(const struct run_options *o, json_t *body, json_t *host)
{
    const char *network = o->network ? o->network : "default";
    json_set_str(host, "NetworkMode", network);
    if (!o->aliases && !o->ip)
        return;
    json_t *endpoint = json_object();
    set_list(endpoint, "Aliases", o->aliases);
    if (o->ip)
        json_object_set_new(endpoint, "IPAMConfig", json_pack("{s:s}", "IPv4Address", o->ip));
    json_object_set_new(body, "NetworkingConfig",
                        json_pack("{s:{s:o}}", "EndpointsConfig", network, endpoint));
}

static void add_devices(const struct run_options *o, json_t *host)
{
    json_t *list = json_array();
    STRV_FOREACH (device, o->devices) {
        _cleanup_strv_ char **part = strv_split(*device, ':');
        size_t n = strv_len(part);
        json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "PathOnHost", part[0], "PathInContainer",
                                              n > 1 ? part[1] : part[0], "CgroupPermissions",
                                              n > 2 ? part[2] : "rwm"));
    }
    json_object_set_new(host, "Devices", list);
}

void run__add_identity(const struct run_options *o, json_t *body, json_t *host)
{
    set_text(body, "User", o->user);
    set_text(body, "WorkingDir", o->workdir);
    set_list(host, "CapAdd", o->cap_add);
    set_list(host, "CapDrop", o->cap_drop);
}

json_t *run__labels(const struct run_options *o)
{
    return dictionary(o->labels);
}

static void add_plain(const struct run_options *o, json_t *body, json_t *host)
{
    run__add_identity(o, body, host);
    set_text(body, "Hostname", o->hostname);
    set_text(body, "StopSignal", o->stop_signal);
    set_text(host, "PidMode", o->pid);
    set_text(host, "IpcMode", o->ipc);
    set_text(host, "Runtime", o->runtime);
    set_text(host, "UsernsMode", o->userns);
    set_list(host, "ExtraHosts", o->hosts);
    set_list(host, "Dns", o->dns);
    set_list(host, "SecurityOpt", o->security);
    set_list(host, "GroupAdd", o->groups);
    json_object_set_new(body, "Labels", run__labels(o));
    json_object_set_new(host, "Sysctls", dictionary(o->sysctls));
    json_object_set_new(host, "AutoRemove", json_boolean(o->remove));
    json_object_set_new(host, "Privileged", json_boolean(o->privileged));
    json_object_set_new(host, "ReadonlyRootfs", json_boolean(o->read_only));
    json_object_set_new(host, "PublishAllPorts", json_boolean(o->publish_all));
    if (o->init)
        json_object_set_new(host, "Init", json_true());
    if (o->stop_timeout_s >= 0)
        json_object_set_new(body, "StopTimeout", json_integer(o->stop_timeout_s));
    add_devices(o, host);
}

int run__add_given(const struct run_options *o, json_t *body, json_t *host, struct err *err)
{
    int r = add_environment(o, body, err);
    if (r == 0)
        r = add_ports(o, body, host, err);
    return r < 0 ? r : add_volumes(o, body, host, err);
}

int run__body(const struct run_options *o, char **words, json_t **ret, struct err *err)
{
    json_t *host = json_object();
    _cleanup_json_ json_t *body =
        json_pack("{s:s, s:b, s:b, s:b, s:b, s:b, s:b, s:o}", "Image", words[0], "Tty", o->tty, "OpenStdin",
                  o->interactive, "StdinOnce", o->interactive && !o->detach, "AttachStdin",
                  o->interactive && !o->detach, "AttachStdout", !o->detach, "AttachStderr", !o->detach,
                  "HostConfig", host);
    if (words[1])
        json_object_set_new(body, "Cmd", json_of_strv(words + 1));
    if (o->entrypoint)
        json_object_set_new(body, "Entrypoint", json_pack("[s]", o->entrypoint));
    add_plain(o, body, host);
    add_network(o, body, host);
    int r = run__add_given(o, body, host, err);
    if (r == 0)
        r = add_limits(o, host, err);
    if (r == 0)
        r = add_restart(o, host, err);
    if (r < 0)
        return r;
    *ret = json_incref(body);
    return 0;
}
