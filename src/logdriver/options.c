/* Which options each driver has, and what their values may be. */
#include "logdriver/options.h"

#include "base/json.h"
#include "base/timeutil.h"

#include <limits.h>
#include <regex.h>
#include <sys/stat.h>

enum { LOCAL_FILES_MAX = 1000 };

static const struct driver {
    const char *name;
    const char *unknown; /* Docker's words, which differ between its drivers */
    bool ships;
} drivers[LOGDRIVER_COUNT] = {
    [LOGDRIVER_FLUENTD] = {"fluentd", "unknown log opt '%.100s' for fluentd log driver", true},
    [LOGDRIVER_GELF] = {"gelf", "unknown log opt \"%.100s\" for gelf log driver", true},
    [LOGDRIVER_JOURNALD] = {"journald", "unknown log opt '%.100s' for journald log driver", true},
    [LOGDRIVER_JSON_FILE] = {"json-file", "unknown log opt '%.100s' for json-file log driver", true},
    [LOGDRIVER_LOCAL] = {"local", "unknown log opt '%.100s' for log driver local", false},
    [LOGDRIVER_NONE] = {"none", "", false},
    [LOGDRIVER_SYSLOG] = {"syslog", "unknown log opt '%.100s' for syslog log driver", true},
};

const char *const *logdriver_names(void)
{
    static const char *const names[LOGDRIVER_COUNT + 1] = {
        "fluentd", "gelf", "journald", "json-file", "local", "none", "syslog", NULL,
    };
    return names;
}

int logdriver_find(const char *name, enum logdriver_type *ret, struct err *err)
{
    for (size_t i = 0; i < LOGDRIVER_COUNT; i++)
        if (str_eq(drivers[i].name, name)) {
            *ret = (enum logdriver_type)i;
            return 0;
        }
    return err_set(err, ERR_INVALID, "logger: no log driver named '%.100s' is registered", name);
}

bool logdriver_ships(enum logdriver_type type)
{
    return drivers[type].ships;
}

bool options_bool(const json_t *options, const char *name, bool fallback)
{
    const char *text = json_str(options, name);
    bool value = fallback;
    if (*text)
        parse_bool(text, &value, NULL);
    return value;
}

/* --- addresses --- */

/* "udp://host:514" in its parts. False when there is no scheme that Docker takes for one. */
static bool split_scheme(const char *text, const char **ret_rest, enum logdriver_transport *ret)
{
    static const struct {
        const char *prefix;
        enum logdriver_transport transport;
    } schemes[] = {{"udp://", TRANSPORT_UDP},
                   {"tcp://", TRANSPORT_TCP},
                   {"tcp+tls://", TRANSPORT_TLS},
                   {"unix://", TRANSPORT_UNIX},
                   {"unixgram://", TRANSPORT_UNIXGRAM}};
    for (size_t i = 0; i < ARRAY_SIZE(schemes); i++) {
        *ret_rest = str_after(text, schemes[i].prefix);
        if (*ret_rest) {
            *ret = schemes[i].transport;
            return true;
        }
    }
    return false;
}

/* "host:port", "[::1]:port", "host"; without a port `port` stays as it is. */
static int split_host(const char *text, const char *option, struct logdriver_address *a, bool *ret_port,
                      struct err *err)
{
    const char *end = strchr(text, '/');
    size_t n = end ? (size_t)(end - text) : strlen(text);
    const char *bracket = *text == '[' ? memchr(text, ']', n) : NULL;
    const char *from = bracket ? bracket + 1 : text;
    const char *colon = memchr(from, ':', n - (size_t)(from - text));
    size_t host = (size_t)((colon ? colon : text + n) - text);
    size_t port = colon ? (size_t)(text + n - colon - 1) : 0;
    int64_t number;
    if (colon && memchr(colon + 1, ':', port))
        return err_set(err, ERR_INVALID, "%s: address %.200s: too many colons in address", option, text);
    if (bracket)
        snprintf(a->host, sizeof(a->host), "%.*s", (int)(bracket - text - 1), text + 1);
    else
        snprintf(a->host, sizeof(a->host), "%.*s", (int)host, text);
    *ret_port = colon && port;
    if (host >= sizeof(a->host) || port >= sizeof(a->port))
        return err_set(err, ERR_INVALID, "%s: the address is too long", option);
    if (!*ret_port)
        return 0;
    snprintf(a->port, sizeof(a->port), "%.*s", (int)port, colon + 1);
    if (parse_i64(a->port, 0, 65535, &number, NULL) < 0)
        return err_set(err, ERR_INVALID, "%s: invalid port \"%s\"", option, a->port);
    return 0;
}

static int take_path(const char *path, const char *option, struct logdriver_address *a, struct err *err)
{
    if (*path != '/' || strlen(path) >= sizeof(a->path))
        return err_set(err, ERR_INVALID, "%s: \"%.200s\" is no absolute path of a socket", option, path);
    snprintf(a->path, sizeof(a->path), "%s", path);
    return 0;
}

int options_syslog_address(const json_t *options, struct logdriver_address *ret, struct err *err)
{
    const char *text = json_str(options, "syslog-address"), *rest;
    struct logdriver_address a = {.transport = TRANSPORT_UNIXGRAM, .port = "514", .path = "/dev/log"};
    bool has_port;
    int r = 0;
    if (*text) {
        if (!split_scheme(text, &rest, &a.transport))
            return err_set(err, ERR_INVALID, "syslog-address should be in form proto://address, got %.200s",
                           text);
        if (a.transport == TRANSPORT_UNIX || a.transport == TRANSPORT_UNIXGRAM) {
            struct stat st;
            r = take_path(rest, "syslog-address", &a, err);
            if (r == 0 && stat(rest, &st) < 0)
                return err_set(err, ERR_INVALID, "stat %s: no such file or directory", rest);
        } else
            r = split_host(rest, "syslog-address", &a, &has_port, err);
    }
    if (r == 0)
        *ret = a;
    return r;
}

int options_gelf_address(const json_t *options, struct logdriver_address *ret, struct err *err)
{
    const char *text = json_str(options, "gelf-address"), *rest;
    struct logdriver_address a = {0};
    bool has_port = false;
    if (!*text)
        return err_set(err, ERR_INVALID, "gelf-address is a required parameter");
    if (!split_scheme(text, &rest, &a.transport))
        return err_set(err, ERR_INVALID, "gelf-address should be in form proto://address, got %.200s", text);
    if (a.transport != TRANSPORT_UDP && a.transport != TRANSPORT_TCP)
        return err_set(err, ERR_INVALID, "gelf: endpoint needs to be TCP or UDP");
    if (split_host(rest, "gelf-address", &a, &has_port, NULL) < 0 || !has_port)
        return err_set(err, ERR_INVALID, "gelf: please provide gelf-address as proto://host:port");
    *ret = a;
    return 0;
}

int options_fluentd_address(const json_t *options, struct logdriver_address *ret, struct err *err)
{
    const char *text = json_str(options, "fluentd-address"), *rest = text;
    struct logdriver_address a = {.transport = TRANSPORT_TCP, .host = "127.0.0.1", .port = "24224"};
    bool has_port;
    int r = 0;
    if (*text && !split_scheme(text, &rest, &a.transport)) {
        rest = text;
        if (strstr(text, "://"))
            return err_set(err, ERR_INVALID, "invalid fluentd-address %.200s: unsupported scheme", text);
    }
    if (a.transport == TRANSPORT_UDP || a.transport == TRANSPORT_UNIXGRAM || a.transport == TRANSPORT_TLS)
        return err_set(err, ERR_INVALID,
                       "invalid fluentd-address %.200s: the forward protocol needs tcp or unix", text);
    if (a.transport == TRANSPORT_UNIX)
        r = take_path(rest, "fluentd-address", &a, err);
    else if (*text && (r = split_host(rest, "fluentd-address", &a, &has_port, err)) < 0)
        err_wrap(err, "invalid fluentd-address %.200s", text);
    if (r == 0)
        *ret = a;
    return r;
}

int options_syslog_facility(const json_t *options, int *ret, struct err *err)
{
    static const char *const names[] = {"kern",   "user",   "mail",   "daemon", "auth",     "syslog",
                                        "lpr",    "news",   "uucp",   "cron",   "authpriv", "ftp",
                                        NULL,     NULL,     NULL,     NULL,     "local0",   "local1",
                                        "local2", "local3", "local4", "local5", "local6",   "local7"};
    const char *text = json_str(options, "syslog-facility");
    int64_t number = 3;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (names[i] && str_eq(text, names[i])) {
            *ret = (int)i;
            return 0;
        }
    if (*text && parse_i64(text, 0, 23, &number, NULL) < 0)
        return err_set(err, ERR_INVALID, "invalid syslog facility");
    *ret = (int)number;
    return 0;
}

int options_syslog_format(const json_t *options, enum syslog_format *ret, struct err *err)
{
    static const char *const names[] = {"", "rfc3164", "rfc5424", "rfc5424micro"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (str_eq(json_str(options, "syslog-format"), names[i])) {
            *ret = (enum syslog_format)i;
            return 0;
        }
    return err_set(err, ERR_INVALID, "Invalid syslog format");
}

/* --- values --- */

typedef int (*check_fn)(const json_t *options, const char *name, const char *value, struct err *err);

static int check_any(const json_t *options, const char *name, const char *value, struct err *err)
{
    return 0;
}

static int check_bool(const json_t *options, const char *name, const char *value, struct err *err)
{
    bool ignored;
    if (parse_bool(value, &ignored, NULL) < 0)
        return err_set(err, ERR_INVALID,
                       "invalid value for %s: strconv.ParseBool: parsing \"%.100s\": invalid syntax", name,
                       value);
    return 0;
}

static int check_size(const json_t *options, const char *name, const char *value, struct err *err)
{
    int64_t bytes = 0;
    if (str_eq(value, "-1"))
        return 0; /* Docker's word for no bound; ours is then the local log's */
    if (parse_bytes(value, &bytes, NULL) < 0)
        return err_set(err, ERR_INVALID, "invalid value for %s: %.100s: invalid size: '%.100s'", name, value,
                       value);
    return bytes > 0 ? 0 : err_set(err, ERR_INVALID, "%s must be a positive number", name);
}

static int check_files(const json_t *options, const char *name, const char *value, struct err *err)
{
    int64_t number;
    int r = parse_i64(value, INT64_MIN, INT64_MAX, &number, NULL);
    if (r < 0)
        return err_set(err, ERR_INVALID,
                       "invalid value for %s: strconv.Atoi: parsing \"%.100s\": invalid syntax", name, value);
    if (number < 1)
        return err_set(err, ERR_INVALID, "%s cannot be less than 1", name);
    return number > LOCAL_FILES_MAX
               ? err_set(err, ERR_INVALID, "%s cannot be more than %d", name, LOCAL_FILES_MAX)
               : 0;
}

static int check_regex(const json_t *options, const char *name, const char *value, struct err *err)
{
    regex_t compiled;
    int r = strlen(value) > 4096 ? REG_ESPACE : regcomp(&compiled, value, REG_EXTENDED | REG_NOSUB);
    if (r != 0)
        return err_set(err, ERR_INVALID,
                       "invalid value for %s: \"%.100s\" is no POSIX extended regular expression", name,
                       value);
    regfree(&compiled);
    return 0;
}

static int check_tag(const json_t *options, const char *name, const char *value, struct err *err)
{
    const struct logdriver_info nobody = {
        .id = "", .name = "", .image_id = "", .image_name = "", .command = "", .options = options};
    _cleanup_free_ char *tag = NULL;
    return logdriver_tag(&nobody, "", &tag, err);
}

static int check_whole(const json_t *options, const char *name, const char *value, struct err *err)
{
    int64_t number;
    if (parse_i64(value, 0, UINT32_MAX, &number, NULL) < 0)
        return err_set(err, ERR_INVALID, "strconv.ParseUint: parsing \"%.100s\": invalid syntax", value);
    return 0;
}

static int check_wait(const json_t *options, const char *name, const char *value, struct err *err)
{
    int64_t ns;
    if (parse_duration(value, &ns, NULL) < 0 || ns < 0)
        return err_set(err, ERR_INVALID, "invalid value for %s: time: invalid duration \"%.100s\"", name,
                       value);
    return 0;
}

static bool gelf_is(const json_t *options, const char *scheme)
{
    return str_after(json_str(options, "gelf-address"), scheme);
}

static int check_gelf_level(const json_t *options, const char *name, const char *value, struct err *err)
{
    int64_t level;
    if (!gelf_is(options, "udp://"))
        return err_set(err, ERR_INVALID, "compression is only supported on UDP");
    if (parse_i64(value, -1, 9, &level, NULL) < 0)
        return err_set(err, ERR_INVALID, "unknown value \"%.100s\" for log opt \"%s\" for gelf log driver",
                       value, name);
    return 0;
}

static int check_gelf_compression(const json_t *options, const char *name, const char *value, struct err *err)
{
    if (!gelf_is(options, "udp://"))
        return err_set(err, ERR_INVALID, "compression is only supported on UDP");
    if (!str_eq(value, "gzip") && !str_eq(value, "zlib") && !str_eq(value, "none"))
        return err_set(err, ERR_INVALID, "unknown value \"%.100s\" for log opt \"%s\" for gelf log driver",
                       value, name);
    return 0;
}

static int check_gelf_tcp(const json_t *options, const char *name, const char *value, struct err *err)
{
    int64_t number;
    if (!gelf_is(options, "tcp://"))
        return err_set(err, ERR_INVALID, "\"%s\" is only valid for TCP", name);
    if (parse_i64(value, 0, INT32_MAX, &number, NULL) < 0)
        return err_set(err, ERR_INVALID, "\"%s\" must be a positive integer", name);
    return 0;
}

static int check_ca(const json_t *options, const char *name, const char *value, struct err *err)
{
    struct stat st;
    return stat(value, &st) == 0 ? 0 : err_set(err, ERR_INVALID, "%s: %.200s: no such file", name, value);
}

#define ON(type) (1u << LOGDRIVER_##type)
enum {
    TELLS = ON(FLUENTD) | ON(GELF) | ON(JOURNALD) | ON(JSON_FILE) | ON(SYSLOG) | ON(LOCAL),
    FILES = ON(JSON_FILE) | ON(LOCAL),
    CACHED = ON(FLUENTD) | ON(GELF) | ON(JOURNALD) | ON(SYSLOG),
};

static const struct option {
    const char *name;
    unsigned drivers;
    check_fn check;
} known[] = {
    {"tag", TELLS, check_tag},
    {"labels", TELLS, check_any},
    {"labels-regex", TELLS, check_regex},
    {"env", TELLS, check_any},
    {"env-regex", TELLS, check_regex},
    {"max-size", FILES, check_size},
    {"max-file", FILES, check_files},
    {"compress", FILES, check_bool},
    {"cache-disabled", CACHED, check_bool},
    {"cache-max-size", CACHED, check_size},
    {"cache-max-file", CACHED, check_files},
    {"cache-compress", CACHED, check_bool},
    {"syslog-address", ON(SYSLOG), check_any},
    {"syslog-facility", ON(SYSLOG), check_any},
    {"syslog-format", ON(SYSLOG), check_any},
    {"syslog-tls-ca-cert", ON(SYSLOG), check_ca},
    {"syslog-tls-cert", ON(SYSLOG), check_ca},
    {"syslog-tls-key", ON(SYSLOG), check_ca},
    {"syslog-tls-skip-verify", ON(SYSLOG), check_any},
    {"gelf-address", ON(GELF), check_any},
    {"gelf-compression-level", ON(GELF), check_gelf_level},
    {"gelf-compression-type", ON(GELF), check_gelf_compression},
    {"gelf-tcp-max-reconnect", ON(GELF), check_gelf_tcp},
    {"gelf-tcp-reconnect-delay", ON(GELF), check_gelf_tcp},
    {"fluentd-address", ON(FLUENTD), check_any},
    {"fluentd-async", ON(FLUENTD), check_bool},
    {"fluentd-async-connect", ON(FLUENTD), check_bool},
    {"fluentd-buffer-limit", ON(FLUENTD), check_size},
    {"fluentd-max-retries", ON(FLUENTD), check_whole},
    {"fluentd-request-ack", ON(FLUENTD), check_bool},
    {"fluentd-retry-wait", ON(FLUENTD), check_wait},
    {"fluentd-sub-second-precision", ON(FLUENTD), check_bool},
};

static int check_option(enum logdriver_type type, const json_t *options, const char *name, const char *value,
                        struct err *err)
{
    if (str_eq(name, "mode") || str_eq(name, "max-buffer-size"))
        return 0;
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (known[i].drivers & (1u << type) && str_eq(known[i].name, name))
            return *value || known[i].check == check_size ? known[i].check(options, name, value, err) : 0;
    return err_set(err, ERR_INVALID, drivers[type].unknown, name);
}

/* Those of every driver. */
static int check_mode(const json_t *options, struct err *err)
{
    const char *mode = json_str(options, "mode");
    int64_t bytes;
    if (*mode && !str_eq(mode, "blocking") && !str_eq(mode, "non-blocking"))
        return err_set(err, ERR_INVALID, "logger: logging mode not supported: %.100s", mode);
    if (!json_object_get(options, "max-buffer-size"))
        return 0;
    if (!str_eq(mode, "non-blocking"))
        return err_set(err, ERR_INVALID,
                       "logger: max-buffer-size option is only supported with 'mode=non-blocking'");
    if (parse_bytes(json_str(options, "max-buffer-size"), &bytes, NULL) < 0)
        return err_set(err, ERR_INVALID, "error parsing option max-buffer-size: invalid size: '%.100s'",
                       json_str(options, "max-buffer-size"));
    return 0;
}

/* What several options say together. */
static int check_together(enum logdriver_type type, const json_t *options, struct err *err)
{
    struct logdriver_address a;
    enum syslog_format format;
    int number, r = 0;
    switch (type) {
    case LOGDRIVER_SYSLOG:
        r = options_syslog_address(options, &a, err);
        if (r == 0)
            r = options_syslog_facility(options, &number, err);
        return r == 0 ? options_syslog_format(options, &format, err) : r;
    case LOGDRIVER_GELF:
        return options_gelf_address(options, &a, err);
    case LOGDRIVER_FLUENTD:
        if (*json_str(options, "fluentd-async") && *json_str(options, "fluentd-async-connect"))
            return err_set(err, ERR_INVALID,
                           "conflicting options: cannot specify both 'fluentd-async' and "
                           "'fluentd-async-connect'");
        return options_fluentd_address(options, &a, err);
    case LOGDRIVER_LOCAL:
        if (options_bool(options, "compress", false) && str_eq(json_str(options, "max-file"), "1"))
            return err_set(err, ERR_INVALID, "compress cannot be true when max-file is less than 2");
        return 0;
    case LOGDRIVER_JSON_FILE:
        if (options_bool(options, "compress", false) &&
            (!*json_str(options, "max-size") || str_eq(json_str(options, "max-file"), "1") ||
             !*json_str(options, "max-file")))
            return err_set(err, ERR_INVALID,
                           "compress cannot be true when max-file is less than 2 or max-size is not set");
        return 0;
    default:
        return 0;
    }
}

int logdriver_check(const char *name, const json_t *options, struct err *err)
{
    enum logdriver_type type;
    const char *key;
    json_t *value;
    if (str_eq(name, "none"))
        return 0;
    int r = check_mode(options, err);
    if (r == 0)
        r = logdriver_find(name, &type, err);
    if (r < 0)
        return r;
    json_object_foreach ((json_t *)options, key, value) {
        if (!json_is_string(value))
            return err_set(err, ERR_INVALID, "\"HostConfig.LogConfig.Config.%.100s\" must be a string", key);
        r = check_option(type, options, key, json_string_value(value), err);
        if (r < 0)
            return r;
    }
    return check_together(type, options, err);
}

struct logdriver_local logdriver_local(enum logdriver_type type, const json_t *options)
{
    bool cached = CACHED & (1u << type);
    const char *size = json_str(options, cached ? "cache-max-size" : "max-size");
    const char *files = json_str(options, cached ? "cache-max-file" : "max-file");
    int64_t count = 0;
    struct logdriver_local l = {
        .compress =
            options_bool(options, cached ? "cache-compress" : "compress", type != LOGDRIVER_JSON_FILE),
        .readable = !options_bool(options, "cache-disabled", false),
        .kept = type != LOGDRIVER_NONE,
    };
    if (*size && parse_bytes(size, &l.max_bytes, NULL) < 0)
        l.max_bytes = 0;
    if (*files && parse_i64(files, 1, LOCAL_FILES_MAX, &count, NULL) == 0)
        l.max_files = (int)count;
    if (l.max_files == 1 || !l.kept)
        l.compress = false;
    return l;
}
