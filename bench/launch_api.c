/* Launches through Docker's API on a unix socket: create, start, wait, remove, on a kept connection. */
#include "launch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { BUFFER = 64 << 10 };

static int connection = -1; /* a worker is a process of its own */
static char buffer[BUFFER + 1];
static size_t have;

static int connect_to(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(a.sun_path)) {
        fprintf(stderr, "socket path too long: %s\n", path);
        return -1;
    }
    memcpy(a.sun_path, path, strlen(path) + 1);
    connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection < 0 || connect(connection, (struct sockaddr *)&a, sizeof(a)) < 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return -1;
    }
    have = 0;
    return 0;
}

static void disconnect(void)
{
    if (connection >= 0)
        close(connection);
    connection = -1;
}

static int more(void)
{
    if (have == BUFFER)
        return -1;
    ssize_t n = read(connection, buffer + have, BUFFER - have);
    if (n <= 0)
        return -1;
    have += (size_t)n;
    buffer[have] = '\0';
    return 0;
}

static void drop(size_t n)
{
    memmove(buffer, buffer + n, have - n);
    have -= n;
    buffer[have] = '\0';
}

static const char *header(const char *name)
{
    size_t n = strlen(name);
    for (const char *line = strstr(buffer, "\r\n"); line && line[2] != '\r'; line = strstr(line + 2, "\r\n"))
        if (strncasecmp(line + 2, name, n) == 0 && line[2 + n] == ':')
            return line + 3 + n + strspn(line + 3 + n, " ");
    return NULL;
}

/* Takes `n` bytes off the stream; the first of them into `answer`. */
static int take(size_t n, char **answer, size_t *size)
{
    while (n) {
        if (!have && more() < 0)
            return -1;
        size_t part = have < n ? have : n;
        size_t kept = part < *size ? part : *size;
        if (*answer) {
            memcpy(*answer, buffer, kept);
            *answer += kept;
            *size -= kept;
        }
        drop(part);
        n -= part;
    }
    return 0;
}

static int take_chunks(char **answer, size_t *size)
{
    for (;;) {
        char *end, *nothing = NULL;
        size_t none = 0;
        while (!(end = strstr(buffer, "\r\n")))
            if (more() < 0)
                return -1;
        size_t n = strtoul(buffer, NULL, 16);
        drop((size_t)(end - buffer) + 2);
        if (take(n, answer, size) < 0 || take(2, &nothing, &none) < 0)
            return -1;
        if (!n)
            return 0;
    }
}

static int take_answer(char *answer, size_t size)
{
    char *end;
    while (!have || !(end = strstr(buffer, "\r\n\r\n")))
        if (more() < 0)
            return -1;
    int status = have > 12 ? (int)strtol(buffer + 9, NULL, 10) : -1;
    const char *length = header("Content-Length"), *encoding = header("Transfer-Encoding");
    size_t n = length ? strtoul(length, NULL, 10) : 0;
    bool chunked = encoding && strncasecmp(encoding, "chunked", 7) == 0;
    drop((size_t)(end - buffer) + 4);
    size_t room = answer ? size - 1 : 0;
    char *at = answer;
    int r = 0;
    if (chunked)
        r = take_chunks(&at, &room);
    else if (status != 204 && status != 304)
        r = take(n, &at, &room);
    if (at)
        *at = '\0';
    return r < 0 ? -1 : status;
}

int api_call(const char *socket_path, const char *method, const char *path, const char *body, char *answer,
             size_t size)
{
    char head[1024];
    size_t n = body ? strlen(body) : 0;
    if (connection < 0 && connect_to(socket_path) < 0)
        return -1;
    int h = body ? snprintf(head, sizeof(head),
                            "%s %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "
                            "%zu\r\n\r\n%s",
                            method, path, n, body)
                 : snprintf(head, sizeof(head), "%s %s HTTP/1.1\r\nHost: x\r\n\r\n", method, path);
    if (h < 0 || (size_t)h >= sizeof(head))
        return -1;
    if (write(connection, head, (size_t)h) != h)
        return -1;
    return take_answer(answer, size);
}

int api_begin(const struct contestant *c, int worker)
{
    disconnect(); /* a connection of the parent's is not shared */
    return connect_to(c->socket) < 0;
}

void api_end(const struct contestant *c, int worker)
{
    disconnect();
}

static int step(const struct contestant *c, const char *method, const char *path, const char *body,
                char *answer, size_t size)
{
    int status = api_call(c->socket, method, path, body, answer, size);
    if (status >= 200 && status < 300)
        return 0;
    fprintf(stderr, "%s: %s %s: status %d: %s\n", c->name, method, path, status, answer);
    return 1;
}

int api_launch(const struct contestant *c, int worker, unsigned turn)
{
    char answer[2048], path[256], body[256], id[65];
    snprintf(body, sizeof(body),
             "{\"Image\":\"bench\",\"Cmd\":[\"/bin/true\"],\"HostConfig\":{\"NetworkMode\":\"%s\"}}",
             c->own_network ? "none" : "host");
    if (step(c, "POST", "/v1.41/containers/create", body, answer, sizeof(answer)))
        return 1;
    const char *at = strstr(answer, "\"Id\":\"");
    if (!at || strlen(at) < 70) {
        fprintf(stderr, "%s: no id in %s\n", c->name, answer);
        return 1;
    }
    snprintf(id, sizeof(id), "%.64s", at + 6);
    snprintf(path, sizeof(path), "/v1.41/containers/%s/start", id);
    if (step(c, "POST", path, NULL, answer, sizeof(answer)))
        return 1;
    snprintf(path, sizeof(path), "/v1.41/containers/%s/wait", id);
    if (step(c, "POST", path, NULL, answer, sizeof(answer)))
        return 1;
    if (!strstr(answer, "\"StatusCode\":0") && !strstr(answer, "\"StatusCode\": 0")) {
        fprintf(stderr, "%s: /bin/true ended otherwise: %s\n", c->name, answer);
        return 1;
    }
    snprintf(path, sizeof(path), "/v1.41/containers/%s", id);
    return step(c, "DELETE", path, NULL, answer, sizeof(answer));
}
