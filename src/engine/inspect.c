/* GET /containers/{id}/json: the container's kept documents and its present state, as Docker shows them. */
#include "engine/apparmor.h"
#include "engine/links.h"

#include "base/tree_bytes.h"

void inspect__set_time(json_t *object, const char *key, int64_t ns)
{
    char text[TIME_RFC3339_BYTES];
    json_set_str(object, key, time_format_rfc3339(ns, text));
}

static void set_int(json_t *object, const char *key, int64_t value)
{
    json_object_set_new(object, key, json_integer(value));
}

static void set_bool(json_t *object, const char *key, bool value)
{
    json_object_set_new(object, key, json_boolean(value));
}

/* --- ports and networks --- */

/* Only a network with addresses of its own makes exposed ports reachable. */
static bool has_addresses(const json_t *net)
{
    const char *name;
    json_t *settings;
    json_object_foreach (json_object_get(net, "Networks"), name, settings)
        if (!str_eq(name, "host") && !str_eq(name, "none"))
            return true;
    return false;
}

static void add_exposed(json_t *ports, const json_t *exposed)
{
    const char *port;
    json_t *value;
    json_object_foreach ((json_t *)exposed, port, value) {
        _cleanup_free_ char *full = strchr(port, '/') ? mem_strdup(port) : str_printf("%s/tcp", port);
        if (!json_object_get(ports, full))
            json_object_set_new(ports, full, json_null());
    }
}

/* Published ports with their host side, and while the container runs (`config` given) exposed ones as null.
 */
static json_t *port_map(const json_t *net, const json_t *config)
{
    const json_t *published = json_object_get(net, "Ports");
    json_t *ports = json_is_object(published) ? json_deep_copy(published) : json_object();
    if (config && has_addresses(net))
        add_exposed(ports, json_object_get(config, "ExposedPorts"));
    return ports;
}

static json_t *port_entry(int64_t private_port, const char *type)
{
    json_t *entry = json_object();
    set_int(entry, "PrivatePort", private_port);
    json_set_str(entry, "Type", type);
    return entry;
}

static void list_port(json_t *list, const char *port, const json_t *bindings)
{
    const char *slash = strchr(port, '/');
    int64_t private_port;
    _cleanup_free_ char *number = slash ? mem_strndup(port, (size_t)(slash - port)) : mem_strdup(port);
    if (parse_i64(number, 1, UINT16_MAX, &private_port, NULL) < 0)
        return;
    const char *type = slash ? slash + 1 : "tcp";
    size_t i;
    const json_t *binding;
    json_array_foreach (bindings, i, binding) {
        json_t *entry = port_entry(private_port, type);
        int64_t public_port;
        if (parse_i64(json_str(binding, "HostPort"), 1, UINT16_MAX, &public_port, NULL) == 0) {
            json_set_str(entry, "IP", json_str(binding, "HostIp"));
            set_int(entry, "PublicPort", public_port);
        }
        json_array_append_new(list, entry);
    }
    if (!json_array_size(bindings))
        json_array_append_new(list, port_entry(private_port, type));
}

/* The list form of `docker ps`. `config` NULL leaves out the ports that are exposed only. */
json_t *inspect__ports_list(const json_t *net, const json_t *config)
{
    _cleanup_json_ json_t *ports = port_map(net, config);
    json_t *list = json_array(), *bindings;
    const char *port;
    json_object_foreach (ports, port, bindings)
        list_port(list, port, bindings);
    return list;
}

/* What every endpoint shows. */
static json_t *endpoint_form(void)
{
    return json_pack("{s:n,s:n,s:n,s:s,s:s,s:s,s:s,s:s,s:i,s:s,s:s,s:i,s:n,s:i,s:n}", "IPAMConfig", "Links",
                     "Aliases", "MacAddress", "", "NetworkID", "", "EndpointID", "", "Gateway", "",
                     "IPAddress", "", "IPPrefixLen", 0, "IPv6Gateway", "", "GlobalIPv6Address", "",
                     "GlobalIPv6PrefixLen", 0, "DriverOpts", "GwPriority", 0, "DNSNames");
}

/* Whether names of containers are answered there. */
static bool has_names(struct engine *e, const json_t *settings)
{
    SCOPED_LOCK(locked, &e->lock);
    const struct network *n = map_get(&e->networks, json_str(settings, "NetworkID"));
    return n && n->is_bridge && !n->predefined;
}

/* The names that the container has on a network, and, as before API 1.45, some of them as aliases. */
static void show_names(struct container *c, const char *own_name, bool alias_ids, json_t *shown)
{
    _cleanup_strv_ char **aliases = NULL;
    if (!has_names(c->engine, shown) || json_get_strv(shown, "", "Aliases", &aliases, NULL) < 0)
        return;
    _cleanup_strv_ char **names = network__names_of(own_name, aliases, c->id, c->hostname);
    json_object_set_new(shown, "DNSNames", json_of_strv(names));
    if (!alias_ids)
        return;
    _cleanup_strv_ char **with_ids = network__names_of(NULL, aliases, c->id, c->hostname);
    json_object_set_new(shown, "Aliases", json_of_strv(with_ids));
}

static json_t *networks_shown(struct container *c, const char *own_name, bool alias_ids, const json_t *net)
{
    json_t *networks = json_object(), *settings;
    const char *name;
    json_object_foreach (json_object_get(net, "Networks"), name, settings) {
        json_t *shown = endpoint_form();
        json_object_update(shown, settings);
        json_object_del(shown, "WishedMac");
        json_object_del(shown, "Attached");
        show_names(c, own_name, alias_ids, shown);
        json_object_set_new(networks, name, shown);
    }
    return networks;
}

json_t *inspect__networks_listed(const json_t *net)
{
    static const char *const listed[] = {
        "IPAMConfig",  "MacAddress",  "NetworkID",         "EndpointID",          "Gateway",   "IPAddress",
        "IPPrefixLen", "IPv6Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen", "GwPriority"};
    json_t *networks = json_object(), *settings;
    const char *name;
    json_object_foreach (json_object_get(net, "Networks"), name, settings) {
        json_t *shown = endpoint_form();
        for (size_t i = 0; i < ARRAY_SIZE(listed); i++)
            if (json_object_get(settings, listed[i]))
                json_object_set(shown, listed[i], json_object_get(settings, listed[i]));
        json_object_set_new(networks, name, shown);
    }
    return networks;
}

/* The address on the network "bridge", which Docker repeats at the top. */
static void bridge_facts(json_t *settings, const json_t *networks)
{
    static const char *const texts[] = {"EndpointID", "Gateway",     "GlobalIPv6Address",
                                        "IPAddress",  "IPv6Gateway", "MacAddress"};
    static const char *const numbers[] = {"GlobalIPv6PrefixLen", "IPPrefixLen"};
    const json_t *bridge = json_object_get(networks, "bridge");
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        json_set_str(settings, texts[i], json_str(bridge, texts[i]));
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
        set_int(settings, numbers[i], json_int(bridge, numbers[i]));
}

static bool is_running(const struct container_state *s)
{
    return s->status == STATUS_RUNNING || s->status == STATUS_PAUSED;
}

/* --- what changes without the documents --- */

/* All that an answer shows beside the documents, at one moment: an answer is made of nothing else. */
struct moment {
    struct container_state state; /* its error is its own */
    uint64_t revision;            /* of the documents, or of older ones */
    char *name, **lowers;
    json_t *execs, *links, *health, *output_lost; /* each may be NULL */
};

static json_t *exec_ids(struct container *c)
{
    struct engine *e = c->engine;
    SCOPED_LOCK(locked, &e->lock);
    json_t *list = NULL;
    STRV_FOREACH (id, c->execs) {
        const struct exec *x = map_get(&e->execs, *id);
        if (!x || !x->running)
            continue;
        if (!list)
            list = json_array();
        json_array_append_new(list, json_string(*id));
    }
    return list;
}

/* Asked of the keeper at most this often: that takes longer than all the rest of an answer. */
enum { LOST_FRESH_MS = 500 };

/* Of the present run. */
static struct keeper_counters lost_by_keeper(struct container *c, const struct container_state *s)
{
    int64_t now = time_monotonic_ns();
    pthread_mutex_lock(&c->lock);
    struct keeper_counters lost = c->lost;
    bool fresh = c->lost_run_ns == s->started_ns && now < c->lost_until_ns;
    pthread_mutex_unlock(&c->lock);
    if (fresh || keeper_counters(c->engine->keeper, c->id, &lost, NULL) < 0)
        return lost;
    SCOPED_LOCK(locked, &c->lock);
    c->lost = lost;
    c->lost_run_ns = s->started_ns;
    c->lost_until_ns = now + LOST_FRESH_MS * NS_PER_MS;
    return lost;
}

/* Not Docker's: what its output came to that reached neither log nor reader. */
static json_t *output_lost(struct container *c, const struct container_state *s)
{
    _cleanup_json_ json_t *told = json_object();
    if (is_running(s)) {
        struct keeper_counters lost = lost_by_keeper(c, s);
        json_object_update_new(told, json_pack("{s:I, s:I}", "LogBytes", (json_int_t)lost.log_dropped_bytes,
                                               "Readers", (json_int_t)lost.readers_dropped));
    }
    shipping__show(c, told);
    return json_object_size(told) ? take_ptr(told) : NULL;
}

static void moment_take(struct container *c, struct moment *ret)
{
    *ret = (struct moment){.name = container__name(c)};
    pthread_mutex_lock(&c->lock);
    ret->state = c->state;
    ret->state.error = mem_strdup(c->state.error ? c->state.error : "");
    ret->revision = c->revision;
    pthread_mutex_unlock(&c->lock);
    ret->execs = exec_ids(c);
    ret->links = atomic_load(&c->engine->linked) ? links__shown(c) : NULL;
    ret->health = health__json(c);
    ret->output_lost = output_lost(c, &ret->state);
    if (*c->image_id)
        (void)image_lowers(c->engine->images, c->image_id, &ret->lowers, NULL);
}

static void moment_done(struct moment *m)
{
    free(m->state.error);
    free(m->name);
    strv_free(m->lowers);
    json_decref(m->execs);
    json_decref(m->links);
    json_decref(m->health);
    json_decref(m->output_lost);
}

/* Fields from before networks had names. */
static void add_repeated(json_t *settings, const json_t *networks)
{
    json_set_str(settings, "Bridge", "");
    set_bool(settings, "HairpinMode", false);
    json_set_str(settings, "LinkLocalIPv6Address", "");
    set_int(settings, "LinkLocalIPv6PrefixLen", 0);
    json_object_set_new(settings, "SecondaryIPAddresses", json_null());
    json_object_set_new(settings, "SecondaryIPv6Addresses", json_null());
    bridge_facts(settings, networks);
}

static json_t *network_settings(struct container *c, const struct moment *m, unsigned flags,
                                const json_t *net, const json_t *doc)
{
    const struct container_state *s = &m->state;
    bool running = is_running(s);
    char key[64] = "";
    if (running && s->pid > 0)
        snprintf(key, sizeof(key), "/proc/%d/ns/net", (int)s->pid);
    json_t *settings = json_object(),
           *networks = networks_shown(c, m->name, flags & ENGINE_INSPECT_ALIAS_IDS, net);
    json_set_str(settings, "SandboxID", running ? c->id : "");
    json_set_str(settings, "SandboxKey", key);
    json_object_set_new(settings, "Ports", port_map(net, running ? json_object_get(doc, "Config") : NULL));
    if (flags & ENGINE_INSPECT_REPEATED)
        add_repeated(settings, networks);
    json_object_set_new(settings, "Networks", networks);
    return settings;
}

/* --- state --- */

static bool has_healthcheck(const json_t *config)
{
    const json_t *test = json_object_get(json_object_get(config, "Healthcheck"), "Test");
    const char *kind = json_string_value(json_array_get(test, 0));
    return kind && !str_eq(kind, "NONE");
}

static json_t *state_shown(const struct moment *m, const json_t *config)
{
    struct container_state s = m->state;
    bool running = is_running(&s);
    json_t *state = json_object();
    json_set_str(state, "Status", container__status_name(s.status));
    set_bool(state, "Running", running || s.status == STATUS_RESTARTING);
    set_bool(state, "Paused", s.status == STATUS_PAUSED);
    set_bool(state, "Restarting", s.status == STATUS_RESTARTING);
    set_bool(state, "OOMKilled", s.oom_killed);
    set_bool(state, "Dead", s.status == STATUS_DEAD);
    set_int(state, "Pid", running ? s.pid : 0);
    set_int(state, "ExitCode", running ? 0 : s.exit_code);
    json_set_str(state, "Error", s.error);
    inspect__set_time(state, "StartedAt", s.started_ns);
    inspect__set_time(state, "FinishedAt", s.finished_ns);
    json_t *health = json_incref(m->health);
    if (!health && s.started_ns &&
        has_healthcheck(config)) /* it was started once, and nothing probes it now */
        health = json_pack("{s:s,s:i,s:[]}", "Status", "unhealthy", "FailingStreak", 0, "Log");
    if (health)
        json_object_set_new(state, "Health", health);
    return state;
}

/* --- the rest --- */

/* Path and Args: the entrypoint's and the command's words one after the other. */
static void set_command(json_t *out, const json_t *config)
{
    static const char *const parts[] = {"Entrypoint", "Cmd"};
    json_t *args = json_array(), *word;
    const char *path = NULL;
    size_t at;
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        json_array_foreach (json_object_get(config, parts[i]), at, word) {
            if (path)
                json_array_append(args, word);
            else
                path = json_string_value(word);
        }
    json_set_str(out, "Path", path ? path : "");
    json_object_set_new(out, "Args", args);
}

json_t *inspect__mounts(const json_t *points)
{
    static const char *const shown[] = {"Type",   "Name", "Source", "Destination",
                                        "Driver", "Mode", "RW",     "Propagation"};
    json_t *list = json_array();
    size_t i;
    const json_t *point;
    json_array_foreach (points, i, point) {
        json_t *entry = json_object();
        for (size_t k = 0; k < ARRAY_SIZE(shown); k++) {
            json_t *value = json_object_get(point, shown[k]);
            if (value)
                json_object_set(entry, shown[k], value);
        }
        json_array_append_new(list, entry);
    }
    return list;
}

static void set_path(json_t *out, const char *key, const char *dir, const char *name)
{
    _cleanup_free_ char *path = str_printf("%s/%s", dir, name);
    json_set_str(out, key, path);
}

static json_t *graph_driver(struct container *c, const struct moment *m, const char *dir)
{
    json_t *data = json_object();
    _cleanup_str_ struct str lower = STR_INIT;
    STRV_FOREACH (l, m->lowers)
        str_addf(&lower, "%s%s/%s", lower.len ? ":" : "", images_layers_dir(c->engine->images), *l);
    json_set_str(data, "LowerDir", str_get(&lower));
    set_path(data, "MergedDir", dir, "root");
    set_path(data, "UpperDir", dir, "upper");
    set_path(data, "WorkDir", dir, "work");
    json_t *driver = json_object();
    json_set_str(driver, "Name", "overlay2");
    json_object_set_new(driver, "Data", data);
    return driver;
}

void inspect__set_sizes(json_t *out, struct container *c)
{
    _cleanup_free_ char *dir = container__dir(c), *upper = str_printf("%s/upper", dir);
    int64_t own = tree_bytes_below(upper), below = 0;
    struct image_info info = {0};
    if (*c->image_id && image_get(c->engine->images, c->image_id, &info, NULL) == 0) {
        below = info.size_bytes;
        image_info_done(&info);
    }
    set_int(out, "SizeRw", own);
    set_int(out, "SizeRootFs", own + below);
}

static void set_identity(json_t *out, struct container *c, const struct moment *m, const json_t *doc)
{
    const json_t *config = json_object_get(doc, "Config");
    _cleanup_free_ char *dir = files__dir(c), *shown = str_printf("/%s", m->name);
    _cleanup_free_ char *log = c->log_driver == LOGDRIVER_JSON_FILE ? logs__json_path(c) : logs__path(c);
    bool keeps_log = c->log_driver == LOGDRIVER_JSON_FILE || c->log_driver == LOGDRIVER_LOCAL;
    json_set_str(out, "Id", c->id);
    inspect__set_time(out, "Created", c->created_ns);
    set_command(out, config);
    json_object_set_new(out, "State", state_shown(m, config));
    json_set_str(out, "Image", json_str(doc, "Image"));
    if (m->output_lost)
        json_object_set(out, "OutputLost", m->output_lost);
    set_path(out, "ResolvConfPath", dir, "resolv.conf");
    set_path(out, "HostnamePath", dir, "hostname");
    set_path(out, "HostsPath", dir, "hosts");
    json_set_str(out, "LogPath", keeps_log ? log : "");
    json_set_str(out, "Name", shown);
    set_int(out, "RestartCount", m->state.restart_count);
    json_set_str(out, "Driver", "overlay2");
    json_set_str(out, "Platform", "linux");
    json_set_str(out, "MountLabel", "");
    json_set_str(out, "ProcessLabel", "");
    json_set_str(out, "AppArmorProfile", apparmor_shown(json_object_get(doc, "HostConfig")));
    json_object_set_new(out, "ExecIDs", m->execs ? json_incref(m->execs) : json_null());
}

/* A wished address of the main network is the container's too, for clients from before 1.44. */
static json_t *config_shown(const json_t *doc, const json_t *net, unsigned flags)
{
    json_t *config = json_copy(json_object_get(doc, "Config"));
    const char *mode = network__mode(json_object_get(doc, "HostConfig"));
    const char *mac = json_str(json_object_get(json_object_get(net, "Networks"), mode), "WishedMac");
    if (!(flags & ENGINE_INSPECT_REPEATED)) {
        json_object_del(config, "MacAddress");
        if (!json_array_size(json_object_get(config, "OnBuild")))
            json_object_del(config, "OnBuild");
    } else if (*mac && !*json_str(config, "MacAddress"))
        json_set_str(config, "MacAddress", mac);
    return config;
}

static json_t *host_config_shown(const json_t *doc, const struct moment *m, unsigned flags)
{
    json_t *host = json_copy(json_object_get(doc, "HostConfig"));
    if (m->links)
        json_object_set(host, "Links", m->links);
    if (!(flags & ENGINE_INSPECT_REPEATED))
        json_object_del(host, "KernelMemoryTCP");
    return host;
}

static json_t *answer_of(struct container *c, const struct moment *m, unsigned flags)
{
    _cleanup_json_ json_t *doc = container__doc(c), *net = container__net(c);
    _cleanup_free_ char *dir = container__dir(c);
    json_t *out = json_object();
    set_identity(out, c, m, doc);
    json_object_set_new(out, "HostConfig", host_config_shown(doc, m, flags));
    json_object_set_new(out, "GraphDriver", graph_driver(c, m, dir));
    if (flags & ENGINE_INSPECT_SIZES)
        inspect__set_sizes(out, c);
    json_object_set_new(out, "Mounts", inspect__mounts(json_object_get(doc, "MountPoints")));
    json_object_set_new(out, "Config", config_shown(doc, net, flags));
    json_object_set_new(out, "NetworkSettings", network_settings(c, m, flags, net, doc));
    return out;
}

int engine_container_inspect(struct engine *e, const char *ref, unsigned flags, json_t **ret, struct err *err)
{
    _cleanup_container_ struct container *c = NULL;
    int r = container__find(e, ref, &c, err);
    if (r < 0)
        return r;
    struct moment m;
    moment_take(c, &m);
    *ret = answer_of(c, &m, flags);
    moment_done(&m);
    return 0;
}

/* --- the same, quickly --- */

/* What all containers' kept answers may take together; beyond it they are made each time. */
enum { KEPT_ANSWERS_MAX = 16 << 20 };

static void add_text(struct str *key, const char *text)
{
    str_addf(key, "|%zu:", strlen(text));
    str_add(key, text);
}

static void add_value(struct str *key, const json_t *value)
{
    _cleanup_free_ char *text = value ? json_format(value) : NULL;
    add_text(key, text ? text : "");
}

/* What an answer is made of, in short: while it stays the same, so does the answer. */
static char *key_of(const struct moment *m)
{
    struct str key = STR_INIT;
    const struct container_state *s = &m->state;
    str_addf(&key, "%llu|%d|%d|%d|%d|%d|%lld|%lld", (unsigned long long)m->revision, s->status, (int)s->pid,
             s->exit_code, s->restart_count, s->oom_killed, (long long)s->started_ns,
             (long long)s->finished_ns);
    add_text(&key, s->error);
    add_text(&key, m->name);
    add_value(&key, m->execs);
    add_value(&key, m->links);
    add_value(&key, m->health);
    add_value(&key, m->output_lost);
    STRV_FOREACH (l, m->lowers)
        add_text(&key, *l);
    return str_take(&key);
}

/* Clients of several kinds of versions may ask in turn: each kind's answer has a place. */
static size_t place_of(unsigned flags)
{
    return flags & ENGINE_INSPECT_ALIAS_IDS ? 0 : flags & ENGINE_INSPECT_REPEATED ? 1 : 2;
}

static bool reuse_answer(struct container *c, size_t place, const char *key, struct str *out)
{
    SCOPED_LOCK(locked, &c->lock);
    if (!c->answers[place].text || !str_eq(c->answers[place].key, key))
        return false;
    str_add(out, c->answers[place].text);
    return true;
}

static void forget_answer(struct container *c, size_t place)
{
    char *text = take_ptr(c->answers[place].text), *key = take_ptr(c->answers[place].key);
    if (text)
        atomic_fetch_sub(&c->engine->kept_answers, strlen(text) + strlen(key));
    free(text);
    free(key);
}

void inspect__forget_answers(struct container *c)
{
    for (size_t place = 0; place < ARRAY_SIZE(c->answers); place++)
        forget_answer(c, place);
}

/* Takes both. */
static void keep_answer(struct container *c, size_t place, char *answer, char *key)
{
    size_t bytes = strlen(answer) + strlen(key);
    SCOPED_LOCK(locked, &c->lock);
    forget_answer(c, place);
    if (atomic_fetch_add(&c->engine->kept_answers, bytes) + bytes > KEPT_ANSWERS_MAX) {
        atomic_fetch_sub(&c->engine->kept_answers, bytes);
        free(answer);
        free(key);
        return;
    }
    c->answers[place].text = answer;
    c->answers[place].key = key;
}

int engine_container_inspect_text(struct engine *e, const char *ref, unsigned flags, struct str *ret,
                                  struct err *err)
{
    _cleanup_container_ struct container *c = NULL;
    int r = container__find(e, ref, &c, err);
    if (r < 0)
        return r;
    struct moment m;
    moment_take(c, &m);
    _cleanup_free_ char *key = key_of(&m);
    size_t place = place_of(flags);
    if (!reuse_answer(c, place, key, ret)) {
        _cleanup_json_ json_t *answer = answer_of(c, &m, flags & ~(unsigned)ENGINE_INSPECT_SIZES);
        char *text = json_format(answer);
        str_add(ret, text);
        keep_answer(c, place, text, take_ptr(key));
    }
    moment_done(&m);
    str_addc(ret, '\n');
    return 0;
}
