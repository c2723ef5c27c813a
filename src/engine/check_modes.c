/* Modes and options of HostConfig that have a form, or exclude one another, as Docker judges them when a
 * container is created. */
#include "engine/engine_priv.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <strings.h>

static bool is_container(const char *mode)
{
    return str_after(mode, "container:") != NULL;
}

/* Where each namespace may come from. "" is the default. */
static const struct {
    const char *field, *what;
    bool of_container;
    const char *words; /* separated by "|" */
} modes[] = {
    {"PidMode", "PID mode", true, "host|private"},
    {"IpcMode", "IPC mode", true, "host|private|shareable|none"},
    {"UTSMode", "UTS mode", false, "host"},
    {"CgroupnsMode", "cgroup namespace mode", false, "host|private"},
};

static int check_words(const json_t *host, struct err *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
        const char *mode = json_str(host, modes[i].field);
        _cleanup_strv_ char **words = strv_split(modes[i].words, '|');
        const char *other = modes[i].of_container ? str_after(mode, "container:") : NULL;
        if (*mode && !strv_has(words, mode) && !(other && *other))
            return err_set(err, ERR_INVALID, "invalid %s: %.100s", modes[i].what, mode);
    }
    const char *isolation = json_str(host, "Isolation");
    if (*isolation && strcasecmp(isolation, "default") != 0)
        return err_set(err, ERR_INVALID, "invalid isolation: \"%.100s\" - linux only supports 'default'",
                       isolation);
    return 0;
}

static bool any(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    return json_array_size(v) || json_object_size(v) || json_string_length(v) || json_is_true(v);
}

/* What a container with another's network, or the machine's, cannot have of its own: `body` as it was given,
 * without what comes from the image. */
static int check_network(const json_t *body, const json_t *host, struct err *err)
{
    static const struct {
        bool of_config, host_too;
        const char *field, *what;
    } conflicts[] = {
        {true, false, "Hostname", "hostname"},
        {false, false, "Dns", "dns"},
        {false, false, "ExtraHosts", "custom host-to-IP mapping"},
        {true, true, "MacAddress", "mac-address"},
    };
    const char *mode = json_str(host, "NetworkMode");
    bool shared = is_container(mode), machine = str_eq(mode, "host");
    if (shared && !*str_after(mode, "container:"))
        return err_set(err, ERR_INVALID, "invalid container format container:<name|id>");
    if ((shared || machine) && any(host, "Links"))
        return err_set(err, ERR_INVALID,
                       "conflicting options: %s type networking can't be used with links. This would result "
                       "in undefined behavior",
                       shared ? "container" : "host");
    for (size_t i = 0; i < ARRAY_SIZE(conflicts); i++)
        if ((shared || (machine && conflicts[i].host_too)) &&
            any(conflicts[i].of_config ? body : host, conflicts[i].field))
            return err_set(err, ERR_INVALID, "conflicting options: %s and the network mode",
                           conflicts[i].what);
    if (shared && (any(host, "PortBindings") || any(host, "PublishAllPorts")))
        return err_set(err, ERR_INVALID,
                       "conflicting options: port publishing and the container type network mode");
    if (shared && any(body, "ExposedPorts"))
        return err_set(err, ERR_INVALID,
                       "conflicting options: port exposing and the container type network mode");
    return 0;
}

/* "name:address" or "name=address". */
static int check_extra_hosts(const json_t *host, struct err *err)
{
    size_t i;
    const json_t *v;
    json_array_foreach (json_object_get(host, "ExtraHosts"), i, v) {
        const char *text = json_string_value(v);
        size_t n = strcspn(text, "=:");
        const char *address = text[n] ? text + n + 1 : "";
        _cleanup_free_ char *bare = mem_strdup(*address == '[' ? address + 1 : address);
        unsigned char binary[16];
        if (*address == '[' && *bare && bare[strlen(bare) - 1] == ']')
            bare[strlen(bare) - 1] = '\0';
        if (!n || !*address)
            return err_set(err, ERR_INVALID, "bad format for add-host: \"%.200s\"", text);
        if (!str_eq(address, "host-gateway") && inet_pton(AF_INET, bare, binary) != 1 &&
            inet_pton(AF_INET6, bare, binary) != 1)
            return err_set(err, ERR_INVALID, "invalid IP address in add-host: \"%.200s\"", address);
    }
    return 0;
}

static int check_mac(const json_t *body, struct err *err)
{
    const char *text = json_str(body, "MacAddress");
    bool good = !*text || strlen(text) == 17;
    for (size_t i = 0; good && text[i]; i++)
        good = i % 3 == 2 ? text[i] == ':' : isxdigit((unsigned char)text[i]);
    return good ? 0 : err_set(err, ERR_INVALID, "address %.100s: invalid MAC address", text);
}

/* "80", "8000-8010", at most 65535. */
static bool is_port(const char *text, size_t n)
{
    _cleanup_free_ char *numbers = mem_strndup(text, n);
    char *dash = strchr(numbers, '-');
    int64_t first, last;
    if (dash)
        *dash = '\0';
    return parse_i64(numbers, 0, UINT16_MAX, &first, NULL) == 0 &&
           parse_i64(dash ? dash + 1 : numbers, first, UINT16_MAX, &last, NULL) == 0;
}

static int check_ports(const json_t *host, struct err *err)
{
    static const char where[] = "HostConfig.PortBindings";
    const char *port;
    json_t *list, *binding;
    json_object_foreach (json_object_get(host, "PortBindings"), port, list) {
        size_t n = strcspn(port, "/"), i;
        if (!is_port(port, n))
            return err_set(err, ERR_INVALID, "invalid port specification: \"%.*s\"", (int)MIN(n, 100), port);
        json_array_foreach (list, i, binding) {
            const char *text = "";
            int r = json_get_string(binding, where, "HostPort", &text, err);
            if (r < 0)
                return r;
            if (*text && !is_port(text, strlen(text)))
                return err_set(err, ERR_INVALID, "invalid port specification: \"%.100s\"", text);
        }
    }
    return 0;
}

static int check_tmpfs(const json_t *host, struct err *err)
{
    const char *path;
    json_t *options;
    json_object_foreach (json_object_get(host, "Tmpfs"), path, options)
        if (*path != '/')
            return err_set(err, ERR_INVALID, "invalid mount path: '%.200s' mount path must be absolute",
                           path);
    return 0;
}

static int check_annotations(const json_t *host, struct err *err)
{
    if (json_object_get(json_object_get(host, "Annotations"), ""))
        return err_set(err, ERR_INVALID,
                       "invalid Annotations: the empty string is not permitted as an annotation key");
    return 0;
}

/* Options of the machine's kind, or of its disks. */
static int check_platform(const json_t *host, struct err *err)
{
    const char *key;
    json_t *value;
    if (json_int(host, "IOMaximumBandwidth"))
        return err_set(err, ERR_INVALID,
                       "invalid QoS settings: linux does not support configuration of maximum bandwidth");
    if (json_int(host, "IOMaximumIOps"))
        return err_set(err, ERR_INVALID,
                       "invalid QoS settings: linux does not support configuration of maximum IOPs");
    json_object_foreach (json_object_get(host, "StorageOpt"), key, value)
        return str_eq(key, "size")
                   ? err_set(err, ERR_SYSTEM,
                             "--storage-opt is supported only for overlay over xfs with 'pquota' mount "
                             "option")
                   : err_set(err, ERR_SYSTEM, "Unknown option %.100s", key);
    return 0;
}

/* --- device requests --- */

static int check_device_requests(const json_t *host, struct err *err)
{
    static const char where[] = "HostConfig.DeviceRequests";
    size_t i;
    const json_t *one;
    json_array_foreach (json_object_get(host, "DeviceRequests"), i, one) {
        const char *driver = "";
        int64_t count = 0;
        json_t *sets = NULL, *options = NULL;
        _cleanup_strv_ char **ids = NULL;
        if (!json_is_object(one))
            return err_set(err, ERR_INVALID, "\"%s\" must be a list of objects", where);
        int r = json_get_string(one, where, "Driver", &driver, err);
        if (r == 0)
            r = json_get_i64(one, where, "Count", &count, err);
        if (r == 0)
            r = json_get_strv(one, where, "DeviceIDs", &ids, err);
        if (r == 0)
            r = json_get_array(one, where, "Capabilities", &sets, err);
        if (r == 0)
            r = json_get_object(one, where, "Options", &options, err);
        size_t k;
        const json_t *set;
        json_array_foreach (sets, k, set)
            if (r == 0 && !json_is_array(set))
                r = err_set(err, ERR_INVALID, "\"%s.Capabilities\" must be a list of lists", where);
        if (r < 0)
            return r;
    }
    return 0;
}

/* [[gpu nvidia] [compute]] */
static char *capabilities_shown(const json_t *sets)
{
    struct str out = STR_INIT;
    size_t i, k;
    const json_t *set, *word;
    str_add(&out, "[");
    json_array_foreach (sets, i, set) {
        str_add(&out, i ? " [" : "[");
        json_array_foreach (set, k, word)
            str_addf(&out, "%s%.100s", k ? " " : "", json_string_value(word) ? json_string_value(word) : "");
        str_add(&out, "]");
    }
    str_add(&out, "]");
    return str_take(&out);
}

int check__device_drivers(const json_t *host, struct err *err)
{
    const json_t *first = json_array_get(json_object_get(host, "DeviceRequests"), 0);
    if (!first)
        return 0;
    _cleanup_free_ char *wanted = capabilities_shown(json_object_get(first, "Capabilities"));
    return err_set(err, ERR_SYSTEM, "could not select device driver \"%.100s\" with capabilities: %s",
                   json_str(first, "Driver"), wanted);
}

int check__modes(const json_t *body, const json_t *host, struct err *err)
{
    if (str_eq(json_str(host, "UTSMode"), "host") && *json_str(body, "Hostname"))
        return err_set(err, ERR_INVALID, "conflicting options: hostname and the UTS mode");
    int r = check_network(body, host, err);
    if (r == 0)
        r = check_words(host, err);
    if (r == 0)
        r = check_extra_hosts(host, err);
    if (r == 0)
        r = check_mac(body, err);
    if (r == 0)
        r = check_ports(host, err);
    if (r == 0)
        r = check_tmpfs(host, err);
    if (r == 0)
        r = spec__check_security(host, err);
    if (r == 0)
        r = check_annotations(host, err);
    if (r == 0)
        r = check_platform(host, err);
    if (r == 0)
        r = check_device_requests(host, err);
    return r;
}
