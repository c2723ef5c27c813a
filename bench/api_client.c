#include "api.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { FIRST_CAPACITY = 64 << 10, SAMPLES_MAX = 1 << 20 };

double bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int client_open(struct client *c, const char *socket_path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (strlen(socket_path) >= sizeof(to.sun_path)) {
        fprintf(stderr, "socket path too long: %s\n", socket_path);
        return -1;
    }
    memcpy(to.sun_path, socket_path, strlen(socket_path));
    *c = (struct client){.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), .capacity = FIRST_CAPACITY};
    c->buffer = malloc(c->capacity + 1);
    if (c->fd < 0 || !c->buffer || connect(c->fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
        fprintf(stderr, "connect to %s: %s\n", socket_path, strerror(errno));
        client_close(c);
        return -1;
    }
    return 0;
}

void client_close(struct client *c)
{
    if (c->fd >= 0)
        close(c->fd);
    free(c->buffer);
    c->fd = -1;
    c->buffer = NULL;
}

static bool receive(struct client *c)
{
    if (c->length == c->capacity) {
        char *more = realloc(c->buffer, c->capacity * 2 + 1);
        if (!more)
            return false;
        c->buffer = more;
        c->capacity *= 2;
    }
    ssize_t n = recv(c->fd, c->buffer + c->length, c->capacity - c->length, 0);
    if (n <= 0)
        return false;
    c->length += (size_t)n;
    c->buffer[c->length] = '\0';
    return true;
}

/* The answer's end: by its length, or the last chunk's. Answers without a body have neither. */
static bool complete(const struct client *c, const char *length, bool chunked)
{
    static const char last[] = "0\r\n\r\n";
    size_t have = c->length - c->body;
    if (chunked)
        return have >= 5 && memcmp(c->buffer + c->length - 5, last, 5) == 0;
    return !length || have >= strtoul(length, NULL, 10);
}

int client_ask(struct client *c, const char *request, size_t n)
{
    for (size_t sent = 0; sent < n;) {
        ssize_t r = send(c->fd, request + sent, n - sent, MSG_NOSIGNAL);
        if (r <= 0)
            return -1;
        sent += (size_t)r;
    }
    c->length = 0;
    c->buffer[0] = '\0';
    const char *end;
    while (!(end = strstr(c->buffer, "\r\n\r\n")))
        if (!receive(c))
            return -1;
    c->body = (size_t)(end - c->buffer) + 4;
    char saved = c->buffer[c->body];
    c->buffer[c->body] = '\0';
    const char *length = strcasestr(c->buffer, "\r\nContent-Length: ");
    bool chunked = strcasestr(c->buffer, "\r\nTransfer-Encoding: chunked");
    char number[24] = "";
    if (length)
        snprintf(number, sizeof(number), "%.20s", length + strlen("\r\nContent-Length: "));
    int status = (int)strtol(c->buffer + strlen("HTTP/1.1 "), NULL, 10);
    c->buffer[c->body] = saved;
    while (!complete(c, length ? number : NULL, chunked))
        if (!receive(c))
            return -1;
    return status;
}

int client_call(struct client *c, const char *method, const char *path, const char *body)
{
    char request[4096];
    int n = snprintf(
        request, sizeof(request),
        "%s %s HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
        method, path, body ? strlen(body) : 0, body ? body : "");
    return n > 0 && (size_t)n < sizeof(request) ? client_ask(c, request, (size_t)n) : -1;
}

/* --- many of the same --- */

struct worker {
    const struct engine *engine;
    const char *path; /* of the GET; NULL: launch */
    double until;
    uint32_t *samples_ns;
    unsigned long count;
    int failed;
    pthread_t thread;
};

static int get(struct client *c, const char *path)
{
    char request[512];
    int n = snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: bench\r\n\r\n", path);
    return client_ask(c, request, (size_t)n);
}

/* From nothing to removed. */
static int launch(struct client *c)
{
    static const struct {
        const char *method, *rest;
        int status;
    } steps[] = {{"POST", "/start", 204}, {"POST", "/wait", 200}, {"DELETE", "", 204}};
    char id[65], path[128];
    int status = client_call(c, "POST", "/v1.41/containers/create",
                             "{\"Image\":\"bench\",\"Cmd\":[\"true\"],"
                             "\"HostConfig\":{\"NetworkMode\":\"none\"}}");
    const char *at = status == 201 ? strstr(c->buffer + c->body, "\"Id\":\"") : NULL;
    if (!at)
        return status;
    snprintf(id, sizeof(id), "%.64s", at + strlen("\"Id\":\""));
    for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
        snprintf(path, sizeof(path), "/v1.41/containers/%s%s", id, steps[i].rest);
        status = client_call(c, steps[i].method, path, NULL);
        if (status != steps[i].status)
            return status;
    }
    return 200;
}

static void *work(void *argument)
{
    struct worker *w = argument;
    struct client c;
    if (client_open(&c, w->engine->socket) < 0) {
        w->failed = -1;
        return NULL;
    }
    for (double before = bench_now(), after; before < w->until && w->count < SAMPLES_MAX; before = after) {
        int status = w->path ? get(&c, w->path) : launch(&c);
        after = bench_now();
        if (status != 200) {
            fprintf(stderr, "%s: %s: status %d\n", w->engine->name, w->path ? w->path : "launch", status);
            w->failed = -1;
            break;
        }
        w->samples_ns[w->count++] = (uint32_t)fmin((after - before) * 1e9, UINT32_MAX);
    }
    client_close(&c);
    return NULL;
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void summarize(struct worker *workers, int clients, double seconds, struct figure *ret)
{
    unsigned long count = 0;
    for (int i = 0; i < clients; i++)
        count += workers[i].count;
    uint32_t *all = calloc(count ? count : 1, sizeof(*all));
    size_t at = 0;
    for (int i = 0; all && i < clients; i++) {
        memcpy(all + at, workers[i].samples_ns, workers[i].count * sizeof(*all));
        at += workers[i].count;
    }
    *ret = (struct figure){.clients = clients, .count = count, .per_s = (double)count / seconds};
    if (all && count) {
        qsort(all, count, sizeof(*all), compare);
        ret->p50_ms = all[count / 2] / 1e6;
        ret->p99_ms = all[count - 1 - count / 100] / 1e6;
    }
    free(all);
}

int measure_get(const struct engine *e, const char *path, int clients, double seconds, struct figure *ret)
{
    struct worker workers[CLIENTS_MAX] = {0};
    double began = bench_now();
    int failed = 0;
    for (int i = 0; i < clients; i++) {
        workers[i] = (struct worker){.engine = e, .path = path, .until = began + seconds};
        workers[i].samples_ns = calloc(SAMPLES_MAX, sizeof(uint32_t));
        if (!workers[i].samples_ns || pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) {
            fprintf(stderr, "start a client\n");
            exit(1);
        }
    }
    for (int i = 0; i < clients; i++) {
        pthread_join(workers[i].thread, NULL);
        failed |= workers[i].failed;
    }
    summarize(workers, clients, bench_now() - began, ret);
    for (int i = 0; i < clients; i++)
        free(workers[i].samples_ns);
    return failed;
}

int measure_launch(struct engine *e, int clients, double seconds, struct figure *ret)
{
    return measure_get(e, NULL, clients, seconds, ret);
}
