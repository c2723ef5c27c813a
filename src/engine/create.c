/* POST /containers/create: the body checked and completed with the image's config. */
#include "engine/links.h"

#include "base/digest.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "engine/userns.h"
#include "image/image_ref.h"
#include "runtime/cgroup.h"
#include "runtime/runtime.h"

#include <fcntl.h>
#include <unistd.h>

enum { HOSTNAME_MAX = 63 };

/* Cmd, Entrypoint and Shell may be a text (one word) or a list of texts. */
static int normalise_words(json_t *config, const char *key, struct err *err)
{
    const json_t *v = json_object_get(config, key);
    if (json_is_string(v)) {
        json_object_set_new(config, key, json_pack("[O]", v));
        return 0;
    }
    _cleanup_strv_ char **list = NULL;
    return json_get_strv(config, "", key, &list, err);
}

/* What Docker shows for a field that was not given. */
static const char *const config_defaults =
    "{\"Hostname\":\"\",\"Domainname\":\"\",\"User\":\"\",\"AttachStdin\":false,\"AttachStdout\":false,"
    "\"AttachStderr\":false,\"Tty\":false,\"OpenStdin\":false,\"StdinOnce\":false,\"Env\":[],\"Cmd\":null,"
    "\"Image\":\"\",\"Volumes\":null,\"WorkingDir\":\"\",\"Entrypoint\":null,\"OnBuild\":null,\"Labels\":{}}";
static const char *const host_defaults =
    "{\"Binds\":null,\"ContainerIDFile\":\"\",\"LogConfig\":{\"Type\":\"json-file\",\"Config\":{}},"
    "\"NetworkMode\":"
    "\"default\",\"PortBindings\":{},\"RestartPolicy\":{\"Name\":\"no\",\"MaximumRetryCount\":0},"
    "\"AutoRemove\":"
    "false,\"VolumeDriver\":\"\",\"VolumesFrom\":null,\"ConsoleSize\":[0,0],\"CapAdd\":null,\"CapDrop\":null,"
    "\"CgroupnsMode\":\"private\",\"Dns\":[],\"DnsOptions\":[],\"DnsSearch\":[],\"ExtraHosts\":null,"
    "\"GroupAdd\":"
    "null,\"IpcMode\":\"private\",\"Cgroup\":\"\",\"Links\":null,\"OomScoreAdj\":0,\"PidMode\":\"\","
    "\"Privileged\":"
    "false,\"PublishAllPorts\":false,\"ReadonlyRootfs\":false,\"SecurityOpt\":null,\"UTSMode\":\"\","
    "\"UsernsMode\":"
    "\"\",\"ShmSize\":67108864,\"Runtime\":\"\",\"Isolation\":\"\",\"CpuShares\":0,\"Memory\":0,"
    "\"NanoCpus\":"
    "0,\"CgroupParent\":\"\",\"BlkioWeight\":0,\"BlkioWeightDevice\":[],\"BlkioDeviceReadBps\":[],"
    "\"BlkioDeviceWriteBps\":[],\"BlkioDeviceReadIOps\":[],\"BlkioDeviceWriteIOps\":[],\"CpuPeriod\":0,"
    "\"CpuQuota\":0,\"CpuRealtimePeriod\":0,\"CpuRealtimeRuntime\":0,\"CpusetCpus\":\"\",\"CpusetMems\":\"\","
    "\"Devices\":[],\"DeviceCgroupRules\":null,\"DeviceRequests\":null,\"MemoryReservation\":0,"
    "\"MemorySwap\":0,"
    "\"MemorySwappiness\":null,\"OomKillDisable\":false,\"PidsLimit\":null,\"Ulimits\":null,\"CpuCount\":0,"
    "\"CpuPercent\":0,\"IOMaximumIOps\":0,\"IOMaximumBandwidth\":0}";

static json_t *config_defaults_read, *host_defaults_read;

static void read_defaults(void)
{
    config_defaults_read = json_loads(config_defaults, 0, NULL);
    host_defaults_read = json_loads(host_defaults, 0, NULL);
    must(config_defaults_read && host_defaults_read);
}

static json_t *with_defaults(const json_t *given, json_t *const *defaults)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, read_defaults);
    json_t *object = json_copy_tree(*defaults), *value;
    const char *key;
    json_object_foreach ((json_t *)given, key, value) {
        bool number = json_is_integer(value) && json_integer_value(value) == 0;
        if (!json_is_null(value) && !(number && json_object_get(object, key)) &&
            !(json_is_string(value) && !json_string_length(value)))
            json_object_set(object, key, value);
    }
    return object;
}

static int check_restart_policy(const json_t *host, struct err *err)
{
    const json_t *policy = json_object_get(host, "RestartPolicy");
    static const char *const names[] = {"", "no", "always", "unless-stopped", "on-failure", NULL};
    const char *name = "";
    int64_t count = 0;
    int r = json_get_string(policy, "HostConfig.RestartPolicy", "Name", &name, err);
    if (r == 0)
        r = json_get_i64(policy, "HostConfig.RestartPolicy", "MaximumRetryCount", &count, err);
    if (r < 0)
        return r;
    if (!strv_has((char *const *)names, name))
        return err_set(err, ERR_INVALID, "invalid restart policy '%.100s'", name);
    if (count && !str_eq(name, "on-failure"))
        return err_set(err, ERR_INVALID, "maximum retry count cannot be used with restart policy '%s'", name);
    if (count < 0)
        return err_set(err, ERR_INVALID, "maximum retry count cannot be negative");
    if (json_bool(host, "AutoRemove") && !str_empty(name) && !str_eq(name, "no"))
        return err_set(err, ERR_INVALID, "can't create 'AutoRemove' container with restart policy");
    return 0;
}

static int check_log_config(const json_t *host, struct err *err)
{
    const json_t *log = json_object_get(host, "LogConfig");
    const char *type = "";
    json_t *config = NULL;
    int r = json_get_string(log, "HostConfig.LogConfig", "Type", &type, err);
    if (r == 0)
        r = json_get_object(log, "HostConfig.LogConfig", "Config", &config, err);
    return r < 0 ? r : logdriver_check(type, config, err);
}

/* Durations of a health check, in nanoseconds. */
static int check_health(const json_t *config, struct err *err)
{
    static const char *const times[] = {"Interval", "Timeout", "StartPeriod", "StartInterval"};
    static const char where[] = "Healthcheck";
    const json_t *check = json_object_get(config, where);
    _cleanup_strv_ char **test = NULL;
    int64_t number = 0;
    int r = json_get_strv(check, where, "Test", &test, err);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(times); i++) {
        number = 0;
        r = json_get_i64(check, where, times[i], &number, err);
        if (r == 0 && number && number < NS_PER_MS)
            r = err_set(err, ERR_INVALID, "%s in Healthcheck cannot be less than 1ms", times[i]);
    }
    number = 0;
    if (r == 0)
        r = json_get_i64(check, where, "Retries", &number, err);
    if (r == 0 && number < 0)
        r = err_set(err, ERR_INVALID, "Retries in Healthcheck cannot be negative");
    return r;
}

/* Of v1 alone; and a group has no more than the one above it was given. */
static int check_realtime(const json_t *host, struct err *err)
{
    int64_t period = json_int(host, "CpuRealtimePeriod"), runtime = json_int(host, "CpuRealtimeRuntime");
    if (!period && !runtime)
        return 0;
    if (cgroup_host_version() == 2 || access("/sys/fs/cgroup/cpu/cpu.rt_runtime_us", F_OK) < 0)
        return err_set(err, ERR_INVALID, "Your kernel does not support CPU real-time scheduler");
    if (period && runtime > period)
        return err_set(err, ERR_INVALID, "cpu real-time runtime cannot be higher than cpu real-time period");
    return 0;
}

static int check_texts(const json_t *config, struct err *err)
{
    const char *dir = json_str(config, "WorkingDir"), *stop = json_str(config, "StopSignal");
    int number;
    if (*dir && *dir != '/')
        return err_set(err, ERR_INVALID,
                       "the working directory '%.200s' is invalid, it needs to be an absolute path", dir);
    if (strlen(json_str(config, "Hostname")) > HOSTNAME_MAX)
        return err_set(err, ERR_INVALID, "invalid hostname: longer than %d bytes", HOSTNAME_MAX);
    size_t i;
    const json_t *v;
    json_array_foreach (json_object_get(config, "Env"), i, v)
        if (*json_string_value(v) == '=' || !*json_string_value(v))
            return err_set(err, ERR_INVALID, "invalid environment variable: %.200s", json_string_value(v));
    return *stop ? signal__parse(stop, &number, err) : 0;
}

int create__check(const json_t *config, const json_t *host, struct err *err)
{
    int r = check_restart_policy(host, err);
    if (r == 0)
        r = check_log_config(host, err);
    if (r == 0)
        r = check__limits(config, host, err);
    if (r == 0)
        r = check_health(config, err);
    if (r == 0)
        r = check_realtime(host, err);
    if (r == 0)
        r = check_texts(config, err);
    return r;
}

/* "KEY" without "=" in an image or body means "unset"; Docker's clients resolve it before. */
static int find_image(struct engine *e, const char *name, const char *platform, struct image_info *info,
                      struct err *err)
{
    if (!*name)
        return err_set(err, ERR_INVALID, "no image was named: \"Image\" is empty");
    int r = image_get(e->images, name, info, err);
    if (r == 0)
        image_used(e->images, info->id);
    if (r == -ERR_NOT_FOUND) {
        _cleanup_ref_ struct image_ref ref = {0};
        if (image_ref_parse(name, &ref, NULL) == 0) {
            _cleanup_free_ char *shown = image_ref_familiar(&ref);
            return err_set(err, ERR_NOT_FOUND, "No such image: %s", shown);
        }
        return err_set(err, ERR_NOT_FOUND, "No such image: %s", name);
    }
    if (r < 0 || str_empty(platform))
        return r;
    const char *os = json_str(info->config, "os"), *machine = json_str(info->config, "architecture");
    _cleanup_strv_ char **parts = strv_split(platform, '/');
    bool same = str_eq(parts[0], os) && (!parts[1] || str_eq(parts[1], machine));
    if (same || (!parts[1] && str_eq(parts[0], machine)))
        return 0;
    r = err_set(
        err, ERR_NOT_FOUND,
        "image with reference %s was found but does not match the specified platform: wanted %s, actual: "
        "%s/%s",
        name, platform, os, machine);
    image_info_done(info);
    return r;
}

/* The machine's own with its network, else the beginning of the id. */
static void choose_hostname(json_t *config, const json_t *host, const char *id)
{
    char name[HOSTNAME_MAX + 1] = "";
    if (!str_eq(network__mode(host), "host") || gethostname(name, sizeof(name) - 1) < 0)
        snprintf(name, sizeof(name), "%.12s", id);
    json_set_str(config, "Hostname", name);
}

static int build_config(const json_t *body, const struct image_info *image, const char *id, json_t **ret,
                        struct err *err)
{
    _cleanup_json_ json_t *given = json_copy_tree(body);
    json_object_del(given, "HostConfig");
    json_object_del(given, "NetworkingConfig");
    int r = normalise_words(given, "Cmd", err);
    if (r == 0)
        r = normalise_words(given, "Entrypoint", err);
    if (r == 0)
        r = normalise_words(given, "Shell", err);
    if (r < 0)
        return r;
    /* An Entrypoint of [""] means none, and not the image's either. */
    const json_t *entry = json_object_get(given, "Entrypoint");
    if (json_array_size(entry) == 1 && !*json_string_value(json_array_get(entry, 0)))
        json_object_set_new(given, "Entrypoint", json_array());
    _cleanup_json_ json_t *defaults = json_copy_tree(json_object_get(image->config, "config"));
    image_config__merge(given, defaults);
    _cleanup_json_ json_t *config = with_defaults(given, &config_defaults_read);
    if (!*json_str(config, "Hostname"))
        choose_hostname(config, json_object_get(body, "HostConfig"), id);
    if (!json_array_size(json_object_get(config, "Cmd")) &&
        !json_array_size(json_object_get(config, "Entrypoint")))
        return err_set(err, ERR_INVALID, "No command specified");
    *ret = take_ptr(config);
    return 0;
}

/* All their fields, as Docker shows them. */
static void complete_device_requests(json_t *host)
{
    size_t i;
    json_t *one;
    json_array_foreach (json_object_get(host, "DeviceRequests"), i, one) {
        json_t *whole = json_pack("{s:s,s:i,s:n,s:n,s:n}", "Driver", "", "Count", 0, "DeviceIDs",
                                  "Capabilities", "Options");
        if (json_is_object(one))
            json_object_update(whole, one);
        json_array_set_new(json_object_get(host, "DeviceRequests"), i, whole);
    }
}

static void complete_bindings(json_t *host)
{
    const char *port;
    json_t *list, *binding;
    json_object_foreach (json_object_get(host, "PortBindings"), port, list) {
        size_t i;
        json_array_foreach (list, i, binding)
            if (json_is_object(binding) && !json_is_string(json_object_get(binding, "HostIp")))
                json_set_str(binding, "HostIp", "");
    }
}

/* What the daemon's default says where the body does not: its driver, and the options of that driver. */
static void settle_log_config(struct engine *e, json_t *host)
{
    const json_t *log = json_object_get(host, "LogConfig");
    const char *type = json_str(log, "Type");
    if (log && !json_is_object(log))
        return; /* refused by check_log_config() */
    _cleanup_json_ json_t *options = json_is_object(json_object_get(log, "Config"))
                                         ? json_copy_tree(json_object_get(log, "Config"))
                                         : json_object();
    if (!*type || str_eq(type, e->log_driver))
        json_object_update_missing(options, e->log_options);
    json_object_set_new(host, "LogConfig",
                        json_pack("{s:s,s:O}", "Type", *type ? type : e->log_driver, "Config", options));
}

static json_t *build_host(struct engine *e, const json_t *body)
{
    _cleanup_json_ json_t *given = json_copy_tree(json_object_get(body, "HostConfig"));
    json_t *host = with_defaults(given, &host_defaults_read);
    if (json_object_get(host, "NanoCPUs")) {
        json_object_set(host, "NanoCpus", json_object_get(host, "NanoCPUs"));
        json_object_del(host, "NanoCPUs");
    }
    settle_log_config(e, host);
    json_t *policy = json_object_get(host, "RestartPolicy");
    if (!*json_str(policy, "Name"))
        json_object_set_new(host, "RestartPolicy",
                            json_pack("{s:s,s:i}", "Name", "no", "MaximumRetryCount", 0));
    else if (!json_is_integer(json_object_get(policy, "MaximumRetryCount")))
        json_object_set_new(policy, "MaximumRetryCount", json_integer(0));
    complete_bindings(host);
    complete_device_requests(host);
    static const char *const hidden[][2] = {{"MaskedPaths", "maskedPaths"},
                                            {"ReadonlyPaths", "readonlyPaths"}};
    const json_t *linux_ = json_object_get(runtime_shared_defaults(), "linux");
    for (size_t i = 0; i < ARRAY_SIZE(hidden); i++)
        if (!json_is_array(json_object_get(host, hidden[i][0])))
            json_object_set_new(host, hidden[i][0],
                                json_bool(host, "Privileged")
                                    ? json_array()
                                    : json_copy_tree(json_object_get(linux_, hidden[i][1])));
    return host;
}

/* Docker makes a container's working directory with the container, so that files can be copied there before
 * it starts. An image has its own. */
static int make_workdir(struct container *c, const char *path, struct err *err)
{
    _cleanup_close_ int root = -EBADF;
    int r = rootview__open(c, false, &root, err);
    if (r < 0)
        return r;
    _cleanup_close_ int there = file_open_in_root(root, path, O_PATH | O_DIRECTORY, 0, NULL);
    if (there < 0)
        there = file_mkdirs_in_root(root, path, 0755, err);
    return there < 0 ? err_wrap(err, "make the working directory") : 0;
}

/* Gives the container its directory with a snapshot over the image. */
static int make_snapshot(struct container *c, const json_t *doc, const char *workdir, struct err *err)
{
    _cleanup_free_ char *dir = container__dir(c);
    struct image_snapshot s = {0};
    spare__take(c->engine, dir);
    int r = image_snapshot_create(c->engine->images, *c->image_id ? c->image_id : NULL, dir, &s, err);
    image_snapshot_done(&s);
    if (r == 0 && workdir)
        r = make_workdir(c, workdir, err);
    if (r < 0)
        return r;
    return mounts__fill_volumes(c, json_object_get(doc, "MountPoints"), err);
}

static int register_named(struct container *c, bool chosen, struct err *err)
{
    int r = container__register(c, err);
    for (unsigned i = 1; r == -ERR_CONFLICT && !chosen && i < 20; i++) {
        free(c->name);
        c->name = names__random(i);
        r = container__register(c, err);
    }
    return r;
}

static int create(struct engine *e, const char *name, json_t *doc, json_t *net, const char *workdir,
                  char **ret_id, struct err *err)
{
    char *made = name ? NULL : names__random(0);
    _cleanup_container_ struct container *c =
        container__new(e, json_str(doc, "Id"), name ? name : made, json_incref(doc), net);
    free(made);
    c->created_ns = json_int(doc, "CreatedNs");
    int r = register_named(c, name != NULL, err);
    if (r < 0)
        return r;
    SCOPED_LOCK(op, &c->op);
    FAILPOINT("serve-name-taken");
    r = make_snapshot(c, doc, workdir, err);
    FAILPOINT("serve-snapshot-made");
    if (r == 0)
        r = container__insert(c, err);
    if (r < 0) {
        _cleanup_free_ char *dir = container__dir(c);
        container__unregister(c);
        file_remove_tree(dir, NULL);
        return r;
    }
    FAILPOINT("serve-container-saved");
    container__keep_parsed(c, doc);
    container__event(c, "create", NULL, NULL);
    *ret_id = mem_strdup(c->id);
    return 0;
}

static int create_with_image(struct engine *e, const char *name, const json_t *body,
                             const struct image_info *image, unsigned flags, char **ret_id,
                             json_t **ret_warnings, struct err *err)
{
    char id[65];
    digest_random_id(id);
    _cleanup_json_ json_t *config = NULL, *host = build_host(e, body), *points = NULL, *networks = NULL;
    _cleanup_json_ json_t *userns = NULL, *links = NULL;
    _cleanup_strv_ char **volumes = NULL;
    if (!*json_str(host, "Runtime"))
        json_set_str(host, "Runtime", e->default_runtime);
    _cleanup_json_ json_t *warnings = json_array();
    int r = build_config(body, image, id, &config, err);
    if (r == 0)
        r = check__modes(body, host, err);
    if (r == 0)
        r = create__check(config, host, err);
    check__adjust_limits(host, warnings);
    if (str_eq(json_str(host, "NetworkMode"), "host") &&
        json_object_size(json_object_get(host, "PortBindings")))
        json_array_append_new(warnings,
                              json_string("Published ports are discarded when using host network mode"));
    if (r == 0)
        r = runtimes__check(e, json_str(host, "Runtime"), err);
    if (r == 0)
        r = links__resolve(e, host, &links, err);
    if (r == 0)
        r = endpoint__plan(e, body, flags & ENGINE_CREATE_TASK, &networks, err);
    if (r == 0)
        r = userns__choose(e, id, host, &userns, err);
    /* What a step writes to a volume's place is the image's, as BuildKit has it. */
    if (flags & ENGINE_CREATE_STEP)
        json_object_del(config, "Volumes");
    if (r == 0)
        r = mounts__resolve(e, config, host, flags & ENGINE_CREATE_SHALLOW_READ_ONLY, &points, &volumes, err);
    if (r < 0) {
        userns__release(e, id);
        return r;
    }
    _cleanup_json_ json_t *doc =
        json_pack("{s:s,s:I,s:s,s:O,s:O,s:O}", "Id", id, "CreatedNs", (json_int_t)time_now_ns(), "Image",
                  image->id, "Config", config, "HostConfig", host, "MountPoints", points);
    if (json_object_size(links))
        json_object_set(doc, "Links", links);
    if (userns)
        json_object_set(doc, "UserNamespace", userns);
    if (flags & ENGINE_CREATE_STEP)
        json_object_set_new(doc, "Step", json_true());
    json_t *net = json_pack("{s:O,s:{}}", "Networks", networks, "Ports");
    const char *workdir = json_str(config, "WorkingDir");
    if (str_eq(workdir, "/") ||
        str_eq(workdir, json_str(json_object_get(image->config, "config"), "WorkingDir")))
        workdir = "";
    r = create(e, name, doc, net, *workdir ? workdir : NULL, ret_id, err);
    if (r < 0) {
        userns__release(e, id);
        STRV_FOREACH (v, volumes)
            if (volume__anonymous(e, *v))
                volume__remove(e, *v, true, NULL);
        return r;
    }
    *ret_warnings = take_ptr(warnings);
    return 0;
}

/* Of nothing at all, and of no image. */
static int check_not_empty(const json_t *body, struct err *err)
{
    const char *key;
    json_t *value;
    size_t fields = 0;
    json_object_foreach ((json_t *)body, key, value)
        fields += !str_eq(key, "HostConfig") && !str_eq(key, "NetworkingConfig");
    if (!fields)
        return err_set(err, ERR_INVALID, "Config cannot be empty in order to create a container");
    if (!*json_str(body, "Image") && !json_array_size(json_object_get(body, "Cmd")) &&
        !json_array_size(json_object_get(body, "Entrypoint")))
        return err_set(err, ERR_INVALID, "No command specified");
    return 0;
}

int engine_container_create(struct engine *e, const char *name_or_null, const json_t *body,
                            const char *platform, unsigned flags, char **ret_id, json_t **ret_warnings,
                            struct err *err)
{
    const char *name = name_or_null && *name_or_null == '/' ? name_or_null + 1 : name_or_null;
    if (str_empty(name))
        name = NULL;
    int r = name ? names__check(name, err) : 0;
    if (r == 0)
        r = schema__check_container(body, err);
    if (r == 0)
        r = check_not_empty(body, err);
    if (r < 0)
        return r;
    struct image_info image = {0};
    r = find_image(e, json_str(body, "Image"), platform, &image, err);
    if (r < 0)
        return r;
    r = create_with_image(e, name, body, &image, flags, ret_id, ret_warnings, err);
    image_info_done(&image);
    return r;
}
