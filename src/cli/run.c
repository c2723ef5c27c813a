/* `drover run`, like `docker run`: exit status 125 when the container could not be made, 126 and 127 when its
 * command could not be started, else the command's own. */
#include "base/digest.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/attach.h"
#include "cli/call.h"
#include "cli/project.h"
#include "cli/pull.h"
#include "cli/stream.h"
#include "cli/up.h"
#include "cli/verbs.h"
#include "compose/compose.h"
#include "compose/envfile.h"

#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

enum { STATUS_FAILED = 125, STATUS_CANNOT_RUN = 126, STATUS_NOT_FOUND = 127 };

struct run_options {
    bool interactive, tty, no_tty, no_deps, use_aliases, build, quiet_pull, remove_orphans, detach, remove,
        privileged, read_only, init, publish_all;
    char **env, **env_files, **ports, **expose, **volumes, **labels, **hosts, **dns, **cap_add, **cap_drop,
        **security, **tmpfs, **groups, **aliases, **ulimits, **sysctls, **devices;
    const char *name, *network, *memory, *swap, *cpus, *user, *entrypoint, *workdir, *hostname, *restart,
        *pull, *stop_signal, *shm_size, *ip, *pid, *ipc, *platform, *runtime, *userns, *cpuset;
    int stop_timeout_s, pids_limit;
};

/* --- The body --- */

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

static void add_plain(const struct run_options *o, json_t *body, json_t *host)
{
    set_text(body, "User", o->user);
    set_text(body, "WorkingDir", o->workdir);
    set_text(body, "Hostname", o->hostname);
    set_text(body, "StopSignal", o->stop_signal);
    set_text(host, "PidMode", o->pid);
    set_text(host, "IpcMode", o->ipc);
    set_text(host, "Runtime", o->runtime);
    set_text(host, "UsernsMode", o->userns);
    set_list(host, "ExtraHosts", o->hosts);
    set_list(host, "Dns", o->dns);
    set_list(host, "CapAdd", o->cap_add);
    set_list(host, "CapDrop", o->cap_drop);
    set_list(host, "SecurityOpt", o->security);
    set_list(host, "GroupAdd", o->groups);
    json_object_set_new(body, "Labels", dictionary(o->labels));
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

static int make_body(const struct run_options *o, char **words, json_t **ret, struct err *err)
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
    int r = add_environment(o, body, err);
    if (r == 0)
        r = add_ports(o, body, host, err);
    if (r == 0)
        r = add_volumes(o, body, host, err);
    if (r == 0)
        r = add_limits(o, host, err);
    if (r == 0)
        r = add_restart(o, host, err);
    if (r < 0)
        return r;
    *ret = json_incref(body);
    return 0;
}

/* --- Running it --- */

static int would_run(const char *what, const char *name, char **words)
{
    _cleanup_free_ char *command = strv_join(words + 1, " ");
    output_would("%s %s  Would run in a new container%s%s", what, name, *command ? ": " : "", command);
    return 0;
}

static int create(const struct run_options *o, const char *image, const json_t *body, char **ret_id,
                  struct err *err)
{
    _cleanup_json_ json_t *answer = NULL;
    _cleanup_free_ char *name = cli_escape(o->name ? o->name : "");
    _cleanup_free_ char *escaped = cli_escape(image);
    int r = 0;
    if (str_eq(o->pull, "always") ||
        (!str_eq(o->pull, "never") && cli_get(NULL, err, "/images/%s/json", escaped) == -ERR_NOT_FOUND)) {
        _cleanup_progress_ struct progress *progress = progress_new();
        progress_set(progress, image, COLOUR_YELLOW, "Pulling");
        r = pull_image(image, o->platform, progress, err);
        progress_set(progress, image, r < 0 ? COLOUR_RED : COLOUR_GREEN, r < 0 ? "Failed" : "Pulled");
    }
    if (r == 0)
        r = cli_call("POST", body, &answer, err, "/containers/create%s%s", *name ? "?name=" : "", name);
    if (r < 0)
        return r;
    size_t i;
    json_t *warning;
    json_array_foreach (json_object_get(answer, "Warnings"), i, warning)
        fprintf(stderr, "drover: warning: %s\n", json_string_value(warning));
    *ret_id = mem_strdup(json_str(answer, "Id"));
    return 0;
}

/* Waits for the end in a thread of its own: it has to be asked for before the start, or a quick container
 * that is removed at its end would be gone. */
struct waiting {
    const char *id;
    bool remove;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool registered;
    int result, status;
    struct err err;
};

static void registered(struct waiting *w)
{
    pthread_mutex_lock(&w->mutex);
    w->registered = true;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->mutex);
}

static void on_head(void *context, int status, const char *type)
{
    registered(context);
}

static void *wait_for_end(void *context)
{
    struct waiting *w = context;
    _cleanup_free_ char *path =
        str_printf("/containers/%s/wait?condition=%s", w->id, w->remove ? "removed" : "next-exit");
    struct http_call call = {.method = "POST", .head = on_head, .head_context = w};
    struct http_response response = {0};
    w->result = cli_exchange(&call, path, &response, &w->err);
    if (w->result == 0) {
        _cleanup_json_ json_t *answer = json_loadb(str_get(&response.body), response.body.len, 0, NULL);
        w->status = (int)json_int(answer, "StatusCode");
    }
    http_response_done(&response);
    registered(w);
    return NULL;
}

static void begin_waiting(struct waiting *w)
{
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->changed, NULL);
    must(pthread_create(&w->thread, NULL, wait_for_end, w) == 0);
    pthread_mutex_lock(&w->mutex);
    while (!w->registered)
        pthread_cond_wait(&w->changed, &w->mutex);
    pthread_mutex_unlock(&w->mutex);
}

static int status_of_start(const struct err *err)
{
    bool missing =
        strstr(err->msg, "not found") || strstr(err->msg, "no such file") || strstr(err->msg, "No such file");
    bool refused = strstr(err->msg, "ermission denied") || strstr(err->msg, "exec format") ||
                   strstr(err->msg, "Exec format");
    return missing ? STATUS_NOT_FOUND : refused ? STATUS_CANNOT_RUN : STATUS_FAILED;
}

static int run_attached(const struct run_options *o, const char *id)
{
    struct err err;
    bool detached = false;
    _cleanup_close_ int fd = -EBADF;
    _cleanup_str_ struct str early = STR_INIT;
    int r = cli_hijack(NULL, &fd, &early, &err, "/containers/%s/attach?stream=1&stdout=1&stderr=1&stdin=%d",
                       id, o->interactive);
    if (r < 0) {
        cli_fail(&err);
        return STATUS_FAILED;
    }
    static struct waiting w; /* its thread may outlive this call, until the process ends */
    w.id = id;
    w.remove = o->remove;
    begin_waiting(&w);
    r = cli_call("POST", NULL, NULL, &err, "/containers/%s/start", id);
    if (r < 0) {
        struct err ignored;
        cli_fail(&err);
        if (o->remove)
            cli_call("DELETE", NULL, NULL, &ignored, "/containers/%s?force=1&v=1", id);
        return status_of_start(&err); /* the waiting thread ends with the process */
    }
    const struct stream stream = {.fd = fd,
                                  .early = &early,
                                  .tty = o->tty,
                                  .input = o->interactive,
                                  .keep_signals = !o->tty,
                                  .context = (void *)(uintptr_t)id,
                                  .resize = attach_resize,
                                  .signal = attach_signal};
    r = stream_run(&stream, &detached, &err);
    if (r < 0)
        return cli_fail(&err);
    if (detached)
        return 0;
    pthread_join(w.thread, NULL);
    return w.result < 0 ? cli_fail(&w.err) : w.status;
}

static int run(const struct run_options *o, char **words)
{
    struct err err;
    _cleanup_json_ json_t *body = NULL;
    _cleanup_free_ char *id = NULL;
    int r = 0;
    if (o->tty && o->interactive && !o->detach && !isatty(STDIN_FILENO))
        r = err_set(&err, ERR_INVALID, "the input is not a terminal; leave out -t");
    if (r == 0)
        r = make_body(o, words, &body, &err);
    if (r == 0 && cli_dry_run)
        return would_run("Image", words[0], words);
    if (r == 0)
        r = create(o, words[0], body, &id, &err);
    if (r < 0) {
        cli_fail(&err);
        return STATUS_FAILED;
    }
    if (!o->detach)
        return run_attached(o, id);
    if (cli_call("POST", NULL, NULL, &err, "/containers/%s/start", id) < 0) {
        cli_fail(&err);
        return status_of_start(&err);
    }
    printf("%s\n", id);
    return 0;
}

/* --- A service's one-off container --- */

/* A short word that tells containers of the same service apart. */
static void make_slug(char out[13])
{
    char id[65];
    digest_random_id(id);
    snprintf(out, 13, "%.12s", id);
}

static void put_over(json_t *list, const char *item)
{
    size_t n = strcspn(item, "="), i;
    json_t *old;
    json_array_foreach (list, i, old)
        if (strncmp(json_string_value(old), item, n) == 0 && json_string_value(old)[n] == '=') {
            json_array_set_new(list, i, json_string(item));
            return;
        }
    json_array_append_new(list, json_string(item));
}

static int add_to_service(const struct run_options *o, char **words, json_t *body, struct err *err)
{
    json_t *host = json_object_get(body, "HostConfig"), *labels = json_object_get(body, "Labels");
    _cleanup_json_ json_t *own = json_object(), *own_host = json_object();
    size_t i;
    json_t *item;
    const char *key;
    int r = add_environment(o, own, err);
    if (r == 0)
        r = add_ports(o, own, own_host, err);
    if (r == 0)
        r = add_volumes(o, own, own_host, err);
    if (r < 0)
        return r;
    json_array_foreach (json_object_get(own, "Env"), i, item)
        put_over(json_object_get(body, "Env"), json_string_value(item));
    /* The service's own ports may be taken by its own containers. */
    if (!o->publish_all)
        json_object_set(host, "PortBindings", json_object_get(own_host, "PortBindings"));
    if (!json_object_get(host, "Binds"))
        json_object_set_new(host, "Binds", json_array());
    json_array_extend(json_object_get(host, "Binds"), json_object_get(own_host, "Binds"));
    json_object_foreach (json_object_get(own, "ExposedPorts"), key, item) {
        if (!json_object_get(body, "ExposedPorts"))
            json_object_set_new(body, "ExposedPorts", json_object());
        json_object_set(json_object_get(body, "ExposedPorts"), key, item);
    }
    _cleanup_json_ json_t *more_labels = dictionary(o->labels);
    json_object_update(labels, more_labels);
    if (words[1])
        json_object_set_new(body, "Cmd", json_of_strv(words + 1));
    if (o->entrypoint)
        json_object_set_new(body, "Entrypoint",
                            *o->entrypoint ? json_pack("[s]", o->entrypoint) : json_array());
    if (o->entrypoint && !words[1])
        json_object_del(body, "Cmd");
    set_text(body, "User", o->user);
    set_text(body, "WorkingDir", o->workdir);
    set_list(host, "CapAdd", o->cap_add);
    set_list(host, "CapDrop", o->cap_drop);
    return 0;
}

static json_t *service_body(const struct run_options *o, const struct compose_service *s,
                            const char *image_id, const char *slug)
{
    json_t *body = compose_plan_container_body(s, 1, image_id), *labels = json_object_get(body, "Labels");
    json_t *host = json_object_get(body, "HostConfig");
    bool input = o->interactive && !o->detach;
    json_set_str(labels, COMPOSE_LABEL_ONEOFF, "True");
    json_set_str(labels, "com.docker.compose.slug", slug);
    json_object_del(labels, COMPOSE_LABEL_NUMBER);
    json_object_del(body, "Healthcheck");
    json_object_del(host, "RestartPolicy");
    json_object_set_new(host, "AutoRemove", json_boolean(o->remove));
    json_object_set_new(body, "Tty", json_boolean(o->tty));
    json_object_set_new(body, "OpenStdin", json_boolean(input));
    json_object_set_new(body, "StdinOnce", json_boolean(input));
    json_object_set_new(body, "AttachStdin", json_boolean(input));
    json_object_set_new(body, "AttachStdout", json_boolean(!o->detach));
    json_object_set_new(body, "AttachStderr", json_boolean(!o->detach));
    return body;
}

/* Who asks for the service is to find its long-running containers, not this one. */
static void forget_aliases(const struct compose_service *s, json_t *body)
{
    const char *network;
    json_t *endpoint;
    json_object_foreach (s->endpoints, network, endpoint)
        json_object_set_new(endpoint, "Aliases", json_array());
    json_object_foreach (json_object_get(json_object_get(body, "NetworkingConfig"), "EndpointsConfig"),
                         network, endpoint)
        json_object_set_new(endpoint, "Aliases", json_array());
}

static int create_of_service(const struct run_options *o, struct compose_project *p,
                             struct compose_service *s, char **words, char **ret_id, struct err *err)
{
    char slug[13];
    _cleanup_json_ json_t *image = NULL;
    _cleanup_free_ char *escaped = cli_escape(s->image), *name = NULL;
    int r = cli_get(&image, err, "/images/%s/json", escaped);
    if (r < 0)
        return r;
    make_slug(slug);
    _cleanup_json_ json_t *body = service_body(o, s, json_str(image, "Id"), slug);
    name = o->name ? mem_strdup(o->name) : str_printf("%s-%s-run-%s", p->name, s->name, slug);
    r = add_to_service(o, words, body, err);
    if (!o->use_aliases)
        forget_aliases(s, body);
    return r < 0 ? r : project_create_container(s, body, name, ret_id, err);
}

static int run_service(struct run_options *o, struct compose_project *p, struct compose_service *s,
                       char **words)
{
    struct err err;
    _cleanup_free_ char *id = NULL;
    int status = up_around(p, s, o->build, o->remove_orphans);
    if (status)
        return status;
    if (cli_dry_run)
        return would_run("Service", s->name, words);
    if (!o->detach && !o->no_tty && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO))
        o->tty = true;
    o->interactive = !o->detach;
    if (create_of_service(o, p, s, words, &id, &err) < 0) {
        cli_fail(&err);
        return STATUS_FAILED;
    }
    if (!o->detach)
        return run_attached(o, id);
    if (cli_call("POST", NULL, NULL, &err, "/containers/%s/start", id) < 0) {
        cli_fail(&err);
        return status_of_start(&err);
    }
    printf("%s\n", id);
    return 0;
}

/* The first word is a service of the project here, or an image. */
static int run_either(struct run_options *o, char **words)
{
    if (o->quiet_pull)
        pull_set_quiet();
    const struct project_options project = {0};
    const char *const services[] = {words[0], NULL};
    const struct project_load_options how = {
        .services = (char *const *)services, .no_deps = o->no_deps, .to_run = true};
    _cleanup_compose_ struct compose_project *known = NULL, *p = NULL;
    if (strpbrk(words[0], ":/") || !project_present(&project))
        return run(o, words);
    int status = project_load(&project, NULL, false, &known);
    if (status)
        return status;
    if (!compose_find_service(known, words[0]))
        return run(o, words);
    status = project_load_with(&project, &how, &p);
    return status ? status : run_service(o, p, compose_find_service(p, words[0]), words);
}

static void options_done(struct run_options *o)
{
    char ***const lists[] = {&o->env,    &o->env_files, &o->ports,   &o->expose,   &o->volumes,  &o->labels,
                             &o->hosts,  &o->dns,       &o->cap_add, &o->cap_drop, &o->security, &o->tmpfs,
                             &o->groups, &o->aliases,   &o->ulimits, &o->sysctls,  &o->devices};
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
        *lists[i] = strv_free(*lists[i]);
}

int cli_run(int argc, char **argv)
{
    struct run_options o = {.stop_timeout_s = -1};
    const struct cli_option options[] = {
        {'i', "interactive", CLI_FLAG, &o.interactive, NULL, "Send standard input"},
        {'t', "tty", CLI_FLAG, &o.tty, NULL, "Give the container a terminal"},
        {'d', "detach", CLI_FLAG, &o.detach, NULL, "Print the id and do not wait"},
        {0, "rm", CLI_FLAG, &o.remove, NULL, "Remove the container when it ends"},
        {0, "name", CLI_TEXT, &o.name, "NAME", "Name of the container"},
        {'e', "env", CLI_LIST, &o.env, "NAME[=VALUE]", "Environment variable (again for more)"},
        {0, "env-file", CLI_LIST, &o.env_files, "FILE", "File of environment variables"},
        {'p', "publish", CLI_LIST, &o.ports, "[IP:][PORT:]PORT[/udp]", "Publish a port on the host"},
        {'P', "publish-all", CLI_FLAG, &o.publish_all, NULL,
         "Publish all exposed ports; of a service: those of its file"},
        {0, "service-ports", CLI_FLAG, &o.publish_all, NULL, "The same"},
        {'T', "no-tty", CLI_FLAG, &o.no_tty, NULL,
         "Of a service: no terminal, even where one would be given"},
        {0, "no-TTY", CLI_FLAG, &o.no_tty, NULL, "The same"},
        {0, "no-deps", CLI_FLAG, &o.no_deps, NULL, "Of a service: do not start what it depends on"},
        {0, "use-aliases", CLI_FLAG, &o.use_aliases, NULL, "Of a service: with its names on its networks"},
        {0, "build", CLI_FLAG, &o.build, NULL, "Of a service: build its image first"},
        {0, "quiet-pull", CLI_FLAG, &o.quiet_pull, NULL, "Without the progress of layers"},
        {0, "remove-orphans", CLI_FLAG, &o.remove_orphans, NULL,
         "Of a service: remove services the file no longer has"},
        {0, "env-from-file", CLI_LIST, &o.env_files, "FILE", "As --env-file"},
        {0, "expose", CLI_LIST, &o.expose, "PORT[/udp]", "Expose a port"},
        {'v', "volume", CLI_LIST, &o.volumes, "[SOURCE:]PATH[:ro]", "Mount a volume or a directory"},
        {0, "tmpfs", CLI_LIST, &o.tmpfs, "PATH[:OPTIONS]", "Mount a tmpfs"},
        {0, "network", CLI_TEXT, &o.network, "NETWORK", "Network: a name, none, host, container:NAME"},
        {0, "network-alias", CLI_LIST, &o.aliases, "NAME", "Name of the container on its network"},
        {0, "ip", CLI_TEXT, &o.ip, "ADDRESS", "IPv4 address on its network"},
        {'m', "memory", CLI_TEXT, &o.memory, "SIZE", "Memory limit"},
        {0, "memory-swap", CLI_TEXT, &o.swap, "SIZE", "Limit of memory and swap; -1: no limit of swap"},
        {0, "cpus", CLI_TEXT, &o.cpus, "NUMBER", "CPU limit"},
        {0, "cpuset-cpus", CLI_TEXT, &o.cpuset, "LIST", "CPUs to run on"},
        {0, "pids-limit", CLI_INT, &o.pids_limit, "N", "Limit of processes and threads"},
        {0, "ulimit", CLI_LIST, &o.ulimits, "NAME=SOFT[:HARD]", "Resource limit"},
        {0, "shm-size", CLI_TEXT, &o.shm_size, "SIZE", "Size of /dev/shm"},
        {'u', "user", CLI_TEXT, &o.user, "USER[:GROUP]", "Run as this user"},
        {0, "group-add", CLI_LIST, &o.groups, "GROUP", "Additional group"},
        {'w', "workdir", CLI_TEXT, &o.workdir, "DIR", "Working directory"},
        {0, "entrypoint", CLI_TEXT, &o.entrypoint, "COMMAND", "Instead of the image's entrypoint"},
        {'h', "hostname", CLI_TEXT, &o.hostname, "NAME", "Host name of the container"},
        {0, "add-host", CLI_LIST, &o.hosts, "HOST:ADDRESS", "Line of /etc/hosts"},
        {0, "dns", CLI_LIST, &o.dns, "ADDRESS", "DNS server"},
        {'l', "label", CLI_LIST, &o.labels, "NAME=VALUE", "Label"},
        {0, "restart", CLI_TEXT, &o.restart, "POLICY", "no, always, unless-stopped, on-failure[:N]"},
        {0, "init", CLI_FLAG, &o.init, NULL, "Run an init process that reaps"},
        {0, "privileged", CLI_FLAG, &o.privileged, NULL, "All capabilities and devices"},
        {0, "read-only", CLI_FLAG, &o.read_only, NULL, "Read-only root file system"},
        {0, "cap-add", CLI_LIST, &o.cap_add, "CAPABILITY", "Add a capability"},
        {0, "cap-drop", CLI_LIST, &o.cap_drop, "CAPABILITY", "Drop a capability"},
        {0, "security-opt", CLI_LIST, &o.security, "OPTION", "Security option"},
        {0, "sysctl", CLI_LIST, &o.sysctls, "NAME=VALUE", "Kernel parameter of the container"},
        {0, "device", CLI_LIST, &o.devices, "PATH[:PATH[:rwm]]", "Device of the host"},
        {0, "pid", CLI_TEXT, &o.pid, "MODE", "PID namespace: host, container:NAME"},
        {0, "ipc", CLI_TEXT, &o.ipc, "MODE", "IPC namespace: host, private, shareable, container:NAME"},
        {0, "runtime", CLI_TEXT, &o.runtime, "NAME", "OCI runtime"},
        {0, "userns", CLI_TEXT, &o.userns, "MODE", "User namespace: host, private, auto or auto:size=N"},
        {0, "stop-signal", CLI_TEXT, &o.stop_signal, "SIGNAL", "Signal that stops it"},
        {0, "stop-timeout", CLI_INT, &o.stop_timeout_s, "SECONDS",
         "Before it is killed when it does not stop"},
        {0, "pull", CLI_TEXT, &o.pull, "WHEN", "always, missing or never"},
        {0},
    };
    const struct cli_command command = {"run [OPTIONS] SERVICE|IMAGE [COMMAND] [ARG...]",
                                        "Creates a container of a service of the project here (what it "
                                        "depends on is started first), or of an image,\n"
                                        "and runs a command in it; ends with the command's exit status.",
                                        options,
                                        true,
                                        1,
                                        -1};
    char **words;
    int status = cli_parse(&command, argc, argv, &words);
    if (status < 0)
        status = run_either(&o, words);
    else if (status == 2)
        status = STATUS_FAILED;
    options_done(&o);
    return status;
}
