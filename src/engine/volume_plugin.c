/* Docker volume plug-ins: HTTP over a socket that a file in one of Docker's directories names.
 *
 *     /run/docker/plugins/NAME.sock
 *     /etc/docker/plugins/NAME.spec, /usr/lib/docker/plugins/NAME.spec   unix:///path, tcp://host:port
 *     the same with .json                                                 {"Name", "Addr", "TLSConfig"}
 *
 * Each request is a POST with a JSON body, answered by one with an "Err" that is empty on success. */
#include "engine/volume_priv.h"

#include "base/file.h"
#include "http/client.h"

#include <ctype.h>

enum {
    ANSWER_BYTES_MAX = 1 << 20,
    SPEC_BYTES_MAX = 64 << 10,
    CONNECT_MS = 5000,
    IDLE_MS = 30000,
    ANSWER_S = 120 /* a mount over a network may take its time */
};

struct address {
    char *socket, *url; /* socket NULL: `url` has host and port */
};

static void address_done(struct address *a)
{
    free(a->socket);
    free(a->url);
}

static int not_found(const char *driver, struct err *err)
{
    return err_set(err, ERR_NOT_FOUND, "error looking up volume plugin %.100s: plugin \"%.100s\" not found",
                   driver, driver);
}

/* It becomes part of a path. */
static bool name_valid(const char *name)
{
    bool ok = isalnum((unsigned char)*name) && strlen(name) < 128;
    for (const char *c = name; ok && *c; c++)
        ok = isalnum((unsigned char)*c) || strchr("_.-", *c);
    return ok;
}

static int parse_address(const char *text, struct address *ret, struct err *err)
{
    const char *path = str_after(text, "unix://"), *host = str_after(text, "tcp://");
    if (!host)
        host = str_after(text, "http://");
    if (path && *path == '/') {
        ret->socket = mem_strdup(path);
        ret->url = mem_strdup("http://plugin");
        return 0;
    }
    if (host && *host && !strpbrk(host, " /@?#")) {
        ret->url = str_printf("http://%s", host);
        return 0;
    }
    return err_set(err, ERR_UNSUPPORTED,
                   "a plug-in's address \"%.100s\" is not supported; it can be "
                   "unix:///PATH or tcp://HOST:PORT",
                   text);
}

static int read_spec(const char *path, bool json, struct address *ret, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    int r = file_read(path, SPEC_BYTES_MAX, &text, err);
    if (r < 0)
        return r;
    if (!json) {
        _cleanup_free_ char *line = mem_strndup(str_get(&text), strcspn(str_get(&text), "\r\n"));
        return parse_address(line, ret, err);
    }
    _cleanup_json_ json_t *doc = NULL;
    r = json_parse(str_get(&text), text.len, path, &doc, err);
    if (r < 0)
        return r;
    if (json_object_size(json_object_get(doc, "TLSConfig")))
        return err_set(err, ERR_UNSUPPORTED, "%s: \"TLSConfig\" is not supported", path);
    return parse_address(json_str(doc, "Addr"), ret, err);
}

static int find(const char *driver, struct address *ret, struct err *err)
{
    static const char *const sockets[] = {"/run/docker/plugins/%s.sock", "/run/docker/plugins/%s/%s.sock"};
    static const char *const directories[] = {"/etc/docker/plugins", "/usr/lib/docker/plugins"};
    if (!name_valid(driver))
        return not_found(driver, err);
    for (size_t i = 0; i < ARRAY_SIZE(sockets); i++) {
        _cleanup_free_ char *path = str_printf(sockets[i], driver, driver);
        if (file_exists(path)) {
            *ret = (struct address){take_ptr(path), mem_strdup("http://plugin")};
            return 0;
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(directories); i++)
        for (int json = 0; json < 2; json++) {
            _cleanup_free_ char *path =
                str_printf("%s/%s.%s", directories[i], driver, json ? "json" : "spec");
            if (file_exists(path))
                return read_spec(path, json, ret, err);
        }
    return not_found(driver, err);
}

/* Collects an answer, but not for ever. */
struct collected {
    struct str text;
    int64_t deadline_ns;
};

static int collect(void *context, const void *bytes, size_t n, struct err *err)
{
    struct collected *c = context;
    if (c->text.len + n > ANSWER_BYTES_MAX)
        return err_set(err, ERR_LIMIT, "its answer is longer than %d bytes", ANSWER_BYTES_MAX);
    if (time_monotonic_ns() > c->deadline_ns)
        return err_set(err, ERR_TIMEOUT, "its answer does not end");
    str_addn(&c->text, bytes, n);
    return 0;
}

static int exchange(const struct address *a, const char *method, const json_t *body, json_t **ret,
                    struct err *err)
{
    struct http_client *client = NULL;
    struct http_response response = {0};
    static const char *const headers[] = {"Accept: application/vnd.docker.plugins.v1.2+json",
                                          "Content-Type: application/json", NULL};
    _cleanup_free_ char *url = str_printf("%s/%s", a->url, method), *text = json_format(body);
    struct collected answer = {.text = STR_INIT, .deadline_ns = time_monotonic_ns() + ANSWER_S * NS_PER_S};
    struct http_call call = {.method = "POST",
                             .url = url,
                             .headers = (char *const *)headers,
                             .body = text,
                             .body_bytes = strlen(text),
                             .sink = collect,
                             .sink_context = &answer,
                             .max_body_bytes = 64 << 10,
                             .connect_timeout_ms = CONNECT_MS,
                             .idle_timeout_ms = IDLE_MS};
    int r = http_client_new(a->socket, &client, err);
    if (r == 0)
        r = http_client_call(client, &call, &response, err);
    /* A refusal is a document with "Err" too, whatever its status. */
    if (r == 0 && response.status >= 300)
        str_addn(&answer.text, str_get(&response.body), response.body.len);
    if (r == 0)
        r = json_parse(str_get(&answer.text), answer.text.len, "its answer", ret, err);
    if (r == 0 && !json_is_object(*ret)) {
        json_decref(*ret);
        r = err_set(err, ERR_PROTOCOL, "its answer is not an object");
    }
    http_response_done(&response);
    http_client_free(client);
    str_free(&answer.text);
    return r;
}

static int activate(const struct address *a, const char *driver, struct err *err)
{
    _cleanup_json_ json_t *nothing = json_object(), *answer = NULL;
    size_t i;
    const json_t *word;
    int r = exchange(a, "Plugin.Activate", nothing, &answer, err);
    if (r < 0)
        return r;
    json_array_foreach (json_object_get(answer, "Implements"), i, word)
        if (str_eq(json_string_value(word), "VolumeDriver"))
            return 0;
    return err_set(err, ERR_NOT_FOUND,
                   "error looking up volume plugin %s: plugin %s does not implement the "
                   "VolumeDriver interface",
                   driver, driver);
}

static int call(const char *driver, const char *method, const json_t *body, json_t **ret, struct err *err)
{
    _cleanup_(address_done) struct address a = {0};
    _cleanup_json_ json_t *answer = NULL;
    int r = find(driver, &a, err);
    if (r < 0)
        return r;
    r = activate(&a, driver, err);
    if (r == 0)
        r = exchange(&a, method, body, &answer, err);
    if (r < 0)
        return r == -ERR_NOT_FOUND ? r : err_wrap(err, "volume plug-in %s: %s", driver, method);
    const char *problem = json_str(answer, "Err");
    if (*problem)
        return err_set(err, ERR_SYSTEM, "%s: %.300s", method, problem);
    if (ret)
        *ret = take_ptr(answer);
    return 0;
}

int volume_plugin__create(const char *driver, const char *name, const json_t *options, struct err *err)
{
    _cleanup_json_ json_t *body = json_pack("{s:s}", "Name", name);
    json_object_set_new(body, "Opts", options ? json_deep_copy(options) : json_object());
    return call(driver, "VolumeDriver.Create", body, NULL, err);
}

int volume_plugin__remove(const char *driver, const char *name, struct err *err)
{
    _cleanup_json_ json_t *body = json_pack("{s:s}", "Name", name);
    return call(driver, "VolumeDriver.Remove", body, NULL, err);
}

int volume_plugin__mount(const char *driver, const char *name, const char *id, char **ret_path,
                         struct err *err)
{
    _cleanup_json_ json_t *body = json_pack("{s:s,s:s}", "Name", name, "ID", id), *answer = NULL;
    int r = call(driver, "VolumeDriver.Mount", body, &answer, err);
    if (r < 0)
        return r;
    const char *path = json_str(answer, "Mountpoint");
    if (*path != '/' || strlen(path) > 4000)
        return err_set(err, ERR_PROTOCOL, "volume plug-in %s: VolumeDriver.Mount: its Mountpoint is no path",
                       driver);
    *ret_path = mem_strdup(path);
    return 0;
}

int volume_plugin__unmount(const char *driver, const char *name, const char *id, struct err *err)
{
    _cleanup_json_ json_t *body = json_pack("{s:s,s:s}", "Name", name, "ID", id);
    return call(driver, "VolumeDriver.Unmount", body, NULL, err);
}

int volume_plugin__get(const char *driver, const char *name, json_t **ret, struct err *err)
{
    _cleanup_json_ json_t *body = json_pack("{s:s}", "Name", name), *answer = NULL;
    int r = call(driver, "VolumeDriver.Get", body, &answer, err);
    if (r < 0)
        return r;
    const json_t *volume = json_object_get(answer, "Volume");
    *ret = json_pack("{s:s}", "Mountpoint", json_str(volume, "Mountpoint"));
    if (json_is_object(json_object_get(volume, "Status")))
        json_object_set(*ret, "Status", json_object_get(volume, "Status"));
    return 0;
}

const char *volume_plugin__scope(const char *driver)
{
    _cleanup_json_ json_t *body = json_object(), *answer = NULL;
    if (call(driver, "VolumeDriver.Capabilities", body, &answer, NULL) < 0)
        return "local";
    const json_t *capabilities = json_object_get(answer, "Capabilities");
    return str_eq(json_str(capabilities, "Scope"), "global") ? "global" : "local";
}
