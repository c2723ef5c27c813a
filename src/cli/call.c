#include "cli/call.h"

#include "base/file.h"
#include "base/json.h"
#include "rootless/rootless.h"

#include <ctype.h>
#include <stdarg.h>

static char *chosen_socket;

void cli_set_socket(const char *path)
{
    free(chosen_socket);
    chosen_socket = mem_strdup(path);
}

int cli_set_host(const char *host, struct err *err)
{
    const char *path = str_after(host, "unix://");
    if (!path && *host == '/')
        path = host;
    if (str_empty(path))
        return err_set(err, ERR_UNSUPPORTED, "host \"%s\" is not supported; use unix:///path/of/socket",
                       host);
    cli_set_socket(path);
    return 0;
}

int cli_socket(const char **ret, struct err *err)
{
    const char *own = getenv("DROVER_SOCKET"), *docker = getenv("DOCKER_HOST");
    int r = 0;
    if (!chosen_socket && !str_empty(own))
        cli_set_socket(own);
    else if (!chosen_socket && !str_empty(docker))
        r = cli_set_host(docker, err);
    if (r < 0)
        return err_wrap(err, "DOCKER_HOST");
    /* One's own server comes before the machine's. */
    _cleanup_free_ char *users = rootless_default_socket();
    if (!chosen_socket && file_exists(users))
        cli_set_socket(users);
    *ret = chosen_socket ? chosen_socket : CLI_DEFAULT_SOCKET;
    return 0;
}

/* "connect to ..." of the client says which call; a person needs to know what to do. */
static int explain(const char *socket, struct err *err)
{
    if (err->code == ERR_DENIED && str_after(err->msg, "connect to"))
        return err_set(err, ERR_DENIED, "%s may not be used by this user; try with sudo", socket);
    if (err->code == ERR_UNAVAILABLE && str_after(err->msg, "connect to"))
        return err_set(err, ERR_UNAVAILABLE,
                       "cannot reach drover serve at %s; start it with \"drover serve\" or name another "
                       "socket with --socket",
                       socket);
    return -err->code;
}

bool cli_dry_run;

static int refuse_change(const char *method, const char *path, struct err *err)
{
    if (!cli_dry_run || str_eq(method, "GET") || str_eq(method, "HEAD"))
        return 0;
    return err_set(err, ERR_UNSUPPORTED, "--dry-run: this would send %s %.300s; nothing was changed", method,
                   path);
}

int cli_exchange(struct http_call *call, const char *path, struct http_response *ret, struct err *err)
{
    const char *socket;
    struct http_client *client = NULL;
    int r = refuse_change(call->method, path, err);
    if (r == 0)
        r = cli_socket(&socket, err);
    if (r == 0)
        r = http_client_new(socket, &client, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *url = str_printf("http://drover%s%s", CLI_API_VERSION, path);
    struct http_response response = {0};
    call->url = url;
    r = http_client_call(client, call, &response, err);
    call->url = NULL;
    http_client_free(client);
    if (r < 0)
        return explain(socket, err);
    r = http_response_err(&response, err);
    if (r < 0)
        http_response_done(&response);
    else
        *ret = response;
    return r;
}

static int call_v(const char *method, const json_t *body, json_t **ret, struct err *err, const char *format,
                  va_list ap)
{
    static const char *const headers[] = {"Content-Type: application/json", NULL};
    _cleanup_str_ struct str path = STR_INIT;
    str_vaddf(&path, format, ap);
    _cleanup_free_ char *text = body ? json_format(body) : NULL;
    struct http_call call = {.method = method,
                             .body = text,
                             .body_bytes = text ? strlen(text) : 0,
                             .headers = (char *const *)headers,
                             .max_body_bytes = 64 << 20};
    struct http_response response;
    int r = cli_exchange(&call, str_get(&path), &response, err);
    if (r < 0)
        return r;
    json_t *answer = NULL;
    if (ret && response.body.len) {
        json_error_t error;
        answer = json_loadb(response.body.data, response.body.len, 0, &error);
        if (!answer)
            r = err_set(err, ERR_PROTOCOL, "the server's answer to %s %s is not JSON: %s", method,
                        str_get(&path), error.text);
    }
    http_response_done(&response);
    if (r == 0 && ret)
        *ret = answer;
    return r;
}

int cli_call(const char *method, const json_t *body, json_t **ret, struct err *err, const char *path, ...)
{
    va_list ap;
    va_start(ap, path);
    int r = call_v(method, body, ret, err, path, ap);
    va_end(ap);
    return r;
}

int cli_get(json_t **ret, struct err *err, const char *path, ...)
{
    va_list ap;
    va_start(ap, path);
    int r = call_v("GET", NULL, ret, err, path, ap);
    va_end(ap);
    return r;
}

/* --- Streams of JSON lines --- */

enum { MAX_LINE_BYTES = 8 << 20 };

struct lines {
    struct str rest;
    cli_line_fn line;
    void *context;
};

static int one_line(struct lines *l, const char *text, size_t n, struct err *err)
{
    _cleanup_json_ json_t *value = json_loadb(text, n, 0, NULL);
    if (!value)
        return 0; /* an empty line */
    const char *error = json_str(value, "error");
    if (*error)
        return err_set(err, ERR_SYSTEM, "%s", error);
    return l->line ? l->line(l->context, value, err) : 0;
}

static int take_bytes(void *context, const void *bytes, size_t n, struct err *err)
{
    struct lines *l = context;
    str_addn(&l->rest, bytes, n);
    size_t at = 0;
    int r = 0;
    const char *end;
    while (r == 0 && (end = memchr(l->rest.data + at, '\n', l->rest.len - at))) {
        size_t length = (size_t)(end - (l->rest.data + at));
        r = one_line(l, l->rest.data + at, length, err);
        at += length + 1;
    }
    memmove(l->rest.data, l->rest.data + at, l->rest.len - at);
    str_truncate(&l->rest, l->rest.len - at);
    if (r == 0 && l->rest.len > MAX_LINE_BYTES)
        r = err_set(err, ERR_LIMIT, "the server sent a line of more than %d bytes", MAX_LINE_BYTES);
    return r;
}

int cli_lines(struct http_call *call, const char *path, cli_line_fn line, void *context, struct err *err)
{
    struct lines l = {.line = line, .context = context};
    struct http_response response = {0};
    call->sink = take_bytes;
    call->sink_context = &l;
    int r = cli_exchange(call, path, &response, err);
    if (r == 0 && l.rest.len)
        r = one_line(&l, l.rest.data, l.rest.len, err);
    str_free(&l.rest);
    http_response_done(&response);
    return r;
}

int cli_hijack(const json_t *body, int *ret_fd, struct str *ret_early, struct err *err, const char *format,
               ...)
{
    const char *socket;
    int r = cli_socket(&socket, err);
    if (r < 0)
        return r;
    _cleanup_str_ struct str path = STR_INIT;
    va_list ap;
    va_start(ap, format);
    str_add(&path, CLI_API_VERSION);
    str_vaddf(&path, format, ap);
    va_end(ap);
    r = refuse_change("POST", str_get(&path), err);
    if (r < 0)
        return r;
    r = http_client_hijack(socket, "POST", str_get(&path), body, ret_fd, ret_early, err);
    return r < 0 ? explain(socket, err) : 0;
}

char *cli_escape(const char *text)
{
    struct str s = STR_INIT;
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (isalnum(c) || strchr("-_.~/:@", c))
            str_addc(&s, (char)c);
        else
            str_addf(&s, "%%%02X", c);
    }
    return str_take(&s);
}

char *cli_escape_json(const json_t *value)
{
    _cleanup_free_ char *text = json_format(value);
    return cli_escape(text);
}

int cli_fail(const struct err *err)
{
    fflush(stdout);
    fprintf(stderr, "drover: %s\n", err->msg);
    return err_exit_code(err->code);
}
