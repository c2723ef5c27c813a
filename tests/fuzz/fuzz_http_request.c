/* Whole requests, raw, through the server: what is sent is everything a connection ever says, in one piece or
 * cut in two, and the handlers do what handlers do: read the body as JSON or as bytes, answer early, stream,
 * take the connection over. The answer must be HTTP, and the connection must end. */
#include "http/server_priv.h"

#include "base/file.h"
#include "base/json.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int json_body(struct http_request *q, void *context, struct err *err)
{
    json_t *body = NULL;
    int r = http_body_json(q, 4096, &body, err);
    if (r == 0)
        http_reply_json(q, 200, body ? body : json_null());
    return r;
}

static int raw_body(struct http_request *q, void *context, struct err *err)
{
    char buffer[100];
    ssize_t n;
    http_stream_begin(q, 200, "text/plain");
    while ((n = http_body_read(q, buffer, sizeof(buffer), err)) > 0)
        http_stream_write(q, buffer, (size_t)n, NULL);
    return (int)n;
}

static int no_body(struct http_request *q, void *context, struct err *err)
{
    char **all = http_query_all(q, "a");
    must(!all == !http_query(q, "a"));
    strv_free(all);
    must(http_param(q, "id")[0]);
    http_set_header(q, "X-Path", http_path(q));
    http_set_header(q, "X-Query", http_raw_query(q));
    return err_set(err, ERR_CONFLICT, "%s", http_param(q, "id"));
}

static int take_over(struct http_request *q, void *context, struct err *err)
{
    _cleanup_str_ struct str early = STR_INIT;
    _cleanup_close_ int fd = -EBADF;
    char buffer[4096];
    int r = http_hijack(q, "text/plain", &fd, &early, err);
    if (r < 0)
        return r;
    for (ssize_t n; (n = read(fd, buffer, sizeof(buffer))) > 0;)
        ;
    return 0;
}

static const struct http_route routes[] = {
    {"POST", "/json", .attempt = json_body},
    {"POST", "/raw", .attempt = raw_body, .kind = HTTP_TRANSFER},
    {"GET", "/one/{id}/x", .attempt = no_body},
    {"HEAD", "/one/{id}/x", .attempt = no_body},
    {"DELETE", "/many/{id...}", .attempt = no_body},
    {"POST", "/take", .attempt = take_over, .kind = HTTP_ATTACH},
    {NULL, NULL},
};

/* One server for all inputs, at an address in no file system. */
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static socklen_t address_bytes;

static void start(void)
{
    static const char *const headers[] = {"Server", "fuzz", NULL};
    struct http_server *server;
    struct err err;
    int n = snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "drover-fuzz-%d", (int)getpid());
    address_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0 && bind(fd, (struct sockaddr *)&address, address_bytes) == 0 && listen(fd, 16) == 0);
    struct http_server_config config = {.routes = routes, .headers = headers, .max_body_bytes = 1 << 20};
    must(http_server_start(&config, fd, &server, &err) == 0);
}

/* The first byte says where the request is cut. */
static void converse(const uint8_t *data, size_t size, struct str *answer)
{
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0 && connect(fd, (struct sockaddr *)&address, address_bytes) == 0);
    size_t cut = size ? (size - 1) * data[0] / 255 : 0;
    if (size > 0) { /* a refusal may come before all is sent */
        (void)!send(fd, data + 1, cut, MSG_NOSIGNAL);
        (void)!send(fd, data + 1 + cut, size - 1 - cut, MSG_NOSIGNAL);
    }
    shutdown(fd, SHUT_WR);
    char *room;
    ssize_t n;
    while (room = str_reserve(answer, 4096), (n = recv(fd, room, 4096, 0)) > 0)
        answer->len += (size_t)n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool started;
    _cleanup_str_ struct str answer = STR_INIT;
    if (!started)
        start();
    started = true;
    converse(data, MIN(size, (size_t)1 << 20), &answer);
    must(answer.len == 0 || (answer.len > 12 && memcmp(answer.data, "HTTP/1.", 7) == 0));
    return 0;
}
