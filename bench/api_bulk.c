/* Sections that move many bytes: logs, docker cp, docker load and save. Each asks the HTTP API itself, so
 * that no command line's own speed hides the engine's. All end their connection with the answer, whose length
 * is then what came until its end. */
#include "api.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 1 << 20, TAR_BLOCK = 512, LAG_LINES = 300, LAG_PAUSE_US = 5000 };

struct bulk bulk;

static int complain(const struct engine *e, const char *what, struct client *c, int status)
{
    fprintf(stderr, "%s: %s: status %d: %.300s\n", e->name, what, status,
            status > 0 && c->buffer ? c->buffer + c->body : "");
    return -1;
}

/* One request on a connection of its own; anything but `expected` is a failure. `ret_id` (65 bytes): of the
 * container that was made. */
static int ask(const struct engine *e, const char *method, const char *path, const char *body, int expected,
               char *ret_id)
{
    struct client c;
    if (client_open(&c, e->socket) < 0)
        return -1;
    int status = client_call(&c, method, path, body);
    const char *id = status == expected && ret_id ? strstr(c.buffer + c.body, "\"Id\":\"") : NULL;
    int r = status == expected && (!ret_id || id) ? 0 : complain(e, path, &c, status);
    if (id)
        snprintf(ret_id, 65, "%.64s", id + strlen("\"Id\":\""));
    client_close(&c);
    return r;
}

static int ask_of(const struct engine *e, const char *method, const char *id, const char *rest, int expected)
{
    char path[256];
    snprintf(path, sizeof(path), "/v1.41/containers/%s%s", id, rest);
    return ask(e, method, path, NULL, expected, NULL);
}

static int removed(const struct engine *e, const char *id)
{
    return ask_of(e, "DELETE", id, "?force=1&v=1", 204);
}

static void in_megabytes(double bytes, double seconds, struct figure *ret)
{
    *ret = (struct figure){.clients = 1,
                           .count = 1,
                           .per_s = bytes / 1e6 / seconds,
                           .p50_ms = seconds * 1000,
                           .p99_ms = seconds * 1000};
}

/* Sends a request's head; the answer is what comes until the end. */
static int send_head(struct client *c, const struct engine *e, const char *method, const char *path,
                     int64_t length)
{
    char head[512];
    if (client_open(c, e->socket) < 0)
        return -1;
    int n = snprintf(head, sizeof(head),
                     "%s %s HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n"
                     "Content-Type: application/x-tar\r\nContent-Length: %lld\r\n\r\n",
                     method, path, (long long)length);
    if (send(c->fd, head, (size_t)n, MSG_NOSIGNAL) == n)
        return 0;
    client_close(c);
    return -1;
}

/* Takes the answer, throws away what it says, and closes: its length, or -1 when it is none. */
static int64_t take_all(struct client *c, const struct engine *e, const char *what)
{
    static char buffer[CHUNK];
    int64_t length = 0;
    char status[16] = "";
    for (ssize_t n; (n = recv(c->fd, buffer, sizeof(buffer) - 1, 0)) > 0; length += n) {
        buffer[n] = '\0';
        if (length == 0)
            snprintf(status, sizeof(status), "%.12s", buffer);
    }
    client_close(c);
    /* A stream of progress tells a failure in its last words. */
    if (strncmp(status, "HTTP/1.1 200", 12) == 0 && !strstr(buffer, "\"errorDetail\""))
        return length;
    fprintf(stderr, "%s: %s: %s: %.300s\n", e->name, what, status, buffer);
    return -1;
}

/* Fetches at least `bytes`. */
static int fetch(const struct engine *e, const char *path, int64_t bytes, struct figure *ret)
{
    struct client c;
    double began = bench_now();
    if (send_head(&c, e, "GET", path, 0) < 0)
        return -1;
    int64_t got = take_all(&c, e, path);
    if (got < bytes) {
        fprintf(stderr, "%s: %s: %lld bytes instead of %lld\n", e->name, path, (long long)got,
                (long long)bytes);
        return -1;
    }
    in_megabytes((double)bytes, bench_now() - began, ret);
    return 0;
}

/* --- logs --- */

static int made_with_logs(const struct engine *e, const char *driver, const char *command, char *ret_id)
{
    /* The bounds are above what is written: all of it is there to be read. */
    const char *more = strcmp(driver, "local") == 0 ? ",\"compress\":\"false\"" : "";
    char body[1024];
    snprintf(
        body, sizeof(body),
        "{\"Image\":\"bench\",\"Cmd\":[\"cat\",\"/data/%s\"],\"HostConfig\":{\"NetworkMode\":\"none\","
        "\"Binds\":[\"%s:/"
        "data\"],\"LogConfig\":{\"Type\":\"%s\",\"Config\":{\"max-size\":\"4g\",\"max-file\":\"2\"%s}}}}",
        command, bulk.folder, driver, more);
    return ask(e, "POST", "/v1.41/containers/create", body, 201, ret_id);
}

/* Runs the container that writes everything to its end. */
static int ingest(struct engine *e, const char *driver, char *ret_id, struct figure *ret)
{
    if (made_with_logs(e, driver, "lines", ret_id) < 0)
        return -1;
    sync();
    double began = bench_now();
    if (ask_of(e, "POST", ret_id, "/start", 204) < 0 || ask_of(e, "POST", ret_id, "/wait", 200) < 0)
        return -1;
    in_megabytes((double)bulk.bytes, bench_now() - began, ret);
    return 0;
}

static int ingest_once(struct engine *e, const char *driver, struct figure *ret)
{
    char id[65];
    return ingest(e, driver, id, ret) < 0 ? -1 : removed(e, id);
}

int measure_ingest_local(struct engine *e, int clients, double seconds, struct figure *ret)
{
    (void)clients, (void)seconds;
    return ingest_once(e, "local", ret);
}

int measure_ingest_json_file(struct engine *e, int clients, double seconds, struct figure *ret)
{
    (void)clients, (void)seconds;
    return ingest_once(e, "json-file", ret);
}

int measure_cat(struct engine *e, int clients, double seconds, struct figure *ret)
{
    (void)e, (void)clients, (void)seconds;
    char command[1024];
    snprintf(command, sizeof(command), "cat '%s/lines' | cat >'%s/copy'", bulk.folder, bulk.folder);
    sync();
    double began = bench_now();
    int status = system(command);
    in_megabytes((double)bulk.bytes, bench_now() - began, ret);
    snprintf(command, sizeof(command), "%s/copy", bulk.folder);
    unlink(command);
    return status ? -1 : 0;
}

static int read_logs(struct engine *e, const char *driver, struct figure *ret)
{
    char id[65], path[128];
    struct figure written;
    if (ingest(e, driver, id, &written) < 0)
        return -1;
    snprintf(path, sizeof(path), "/v1.41/containers/%s/logs?stdout=1&stderr=1", id);
    int r = fetch(e, path, bulk.bytes, ret);
    return removed(e, id) < 0 ? -1 : r;
}

int measure_logs_local(struct engine *e, int clients, double seconds, struct figure *ret)
{
    (void)clients, (void)seconds;
    return read_logs(e, "local", ret);
}

int measure_logs_json_file(struct engine *e, int clients, double seconds, struct figure *ret)
{
    (void)clients, (void)seconds;
    return read_logs(e, "json-file", ret);
}

/* Writes a line that the container passes on, and waits until the follower has it. */
static int lag_of_line(struct client *c, int fifo, int number, double *ret_s)
{
    char line[32], got[8192];
    size_t have = 0;
    int n = snprintf(line, sizeof(line), "<line %06d>\n", number);
    double began = bench_now();
    if (write(fifo, line, (size_t)n) != n)
        return -1;
    for (;;) {
        struct pollfd p = {.fd = c->fd, .events = POLLIN};
        ssize_t more = poll(&p, 1, 10000) > 0 ? recv(c->fd, got + have, sizeof(got) - have, 0) : -1;
        if (more <= 0)
            return -1;
        have += (size_t)more;
        if (memmem(got, have, line, (size_t)n))
            break;
    }
    *ret_s = bench_now() - began;
    return 0;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int lags(const struct engine *e, const char *id, int fifo, struct figure *ret)
{
    struct client c;
    char path[128];
    double all[LAG_LINES], first;
    snprintf(path, sizeof(path), "/v1.41/containers/%s/logs?stdout=1&follow=1", id);
    if (send_head(&c, e, "GET", path, 0) < 0)
        return -1;
    int r = lag_of_line(&c, fifo, LAG_LINES, &first); /* all is under way */
    for (int i = 0; r == 0 && i < LAG_LINES; i++) {
        usleep(LAG_PAUSE_US);
        r = lag_of_line(&c, fifo, i, &all[i]);
    }
    client_close(&c);
    if (r < 0) {
        fprintf(stderr, "%s: a follower of the log misses lines\n", e->name);
        return -1;
    }
    qsort(all, LAG_LINES, sizeof(*all), by_size);
    *ret = (struct figure){.clients = 1, .count = LAG_LINES};
    ret->p50_ms = all[LAG_LINES / 2] * 1000;
    ret->p99_ms = all[LAG_LINES - 1 - LAG_LINES / 100] * 1000;
    ret->per_s = 1000 / ret->p50_ms;
    return 0;
}

static int measure_lag(struct engine *e, const char *driver, struct figure *ret)
{
    char id[65], path[1024];
    snprintf(path, sizeof(path), "%s/fifo", bulk.folder);
    int fifo = open(path, O_RDWR | O_CLOEXEC);
    if (fifo < 0 || made_with_logs(e, driver, "fifo", id) < 0)
        return -1;
    int r = ask_of(e, "POST", id, "/start", 204);
    if (r == 0)
        r = lags(e, id, fifo, ret);
    close(fifo);
    return removed(e, id) < 0 ? -1 : r;
}

int measure_lag_local(struct engine *e, int clients, double seconds, struct figure *ret)
{
    (void)clients, (void)seconds;
    return measure_lag(e, "local", ret);
}

int measure_lag_json_file(struct engine *e, int clients, double seconds, struct figure *ret)
{
    (void)clients, (void)seconds;
    return measure_lag(e, "json-file", ret);
}

/* --- docker cp --- */

static void tar_head(char block[TAR_BLOCK], const char *name, int64_t size)
{
    unsigned sum = 0;
    memset(block, 0, TAR_BLOCK);
    snprintf(block, 100, "%s", name);
    memcpy(block + 100, "0000644\0000000000\0000000000", 24);
    snprintf(block + 124, 12, "%011llo", (unsigned long long)size);
    memcpy(block + 136, "00000000000\0        0", 21);
    memcpy(block + 257, "ustar\00000", 8);
    for (int i = 0; i < TAR_BLOCK; i++)
        sum += (unsigned char)block[i];
    snprintf(block + 148, 8, "%06o", sum);
}

static bool send_all(int fd, const char *bytes, size_t n)
{
    for (size_t sent = 0; sent < n;) {
        ssize_t r = send(fd, bytes + sent, n - sent, MSG_NOSIGNAL);
        if (r <= 0)
            return false;
        sent += (size_t)r;
    }
    return true;
}

/* An archive of one file of so many mebibytes. */
static int put_file(const struct engine *e, const char *id, struct figure *ret)
{
    static char megabyte[CHUNK];
    struct client c;
    char path[128], head[TAR_BLOCK];
    int64_t left = bulk.bytes;
    snprintf(path, sizeof(path), "/v1.41/containers/%s/archive?path=/", id);
    unsigned seed = 1;
    for (size_t i = 0; i < CHUNK; i++)
        megabyte[i] = (char)((seed = seed * 1103515245 + 12345) >> 16);
    tar_head(head, "big", bulk.bytes);
    sync();
    double began = bench_now();
    if (send_head(&c, e, "PUT", path, bulk.bytes + 3 * (int64_t)TAR_BLOCK) < 0)
        return -1;
    bool sent = send_all(c.fd, head, TAR_BLOCK);
    for (; sent && left > 0; left -= CHUNK)
        sent = send_all(c.fd, megabyte, CHUNK);
    memset(head, 0, sizeof(head));
    sent = sent && send_all(c.fd, head, TAR_BLOCK) && send_all(c.fd, head, TAR_BLOCK);
    if (take_all(&c, e, path) < 0 || !sent)
        return -1;
    in_megabytes((double)bulk.bytes, bench_now() - began, ret);
    return 0;
}

static int made_empty(const struct engine *e, char *ret_id)
{
    return ask(e, "POST", "/v1.41/containers/create",
               "{\"Image\":\"bench\",\"Cmd\":[\"true\"],\"HostConfig\":{\"NetworkMode\":\"none\"}}", 201,
               ret_id);
}

int measure_copy_in(struct engine *e, int clients, double seconds, struct figure *ret)
{
    (void)clients, (void)seconds;
    char id[65];
    if (made_empty(e, id) < 0)
        return -1;
    int r = put_file(e, id, ret);
    return removed(e, id) < 0 ? -1 : r;
}

int measure_copy_out(struct engine *e, int clients, double seconds, struct figure *ret)
{
    (void)clients, (void)seconds;
    char id[65], path[128];
    struct figure put;
    if (made_empty(e, id) < 0)
        return -1;
    snprintf(path, sizeof(path), "/v1.41/containers/%s/archive?path=/big", id);
    int r = put_file(e, id, &put);
    if (r == 0)
        r = fetch(e, path, bulk.bytes, ret);
    return removed(e, id) < 0 ? -1 : r;
}

/* --- docker load and save --- */

static int load(const struct engine *e, struct figure *ret)
{
    static char buffer[CHUNK];
    struct client c;
    struct stat st;
    char path[1024];
    snprintf(path, sizeof(path), "%s/image.tar", bulk.folder);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0) {
        perror(path);
        return -1;
    }
    sync();
    double began = bench_now();
    int r = send_head(&c, e, "POST", "/v1.41/images/load?quiet=1", st.st_size);
    for (ssize_t n = 1; r == 0 && (n = read(fd, buffer, sizeof(buffer))) > 0;)
        if (!send_all(c.fd, buffer, (size_t)n))
            break;
    close(fd);
    if (r < 0 || take_all(&c, e, "load") < 0)
        return -1;
    in_megabytes((double)bulk.bytes, bench_now() - began, ret);
    return 0;
}

int measure_load(struct engine *e, int clients, double seconds, struct figure *ret)
{
    (void)clients, (void)seconds;
    return load(e, ret) < 0 ? -1 : ask(e, "DELETE", "/v1.41/images/bench-big", NULL, 200, NULL);
}

int measure_save(struct engine *e, int clients, double seconds, struct figure *ret)
{
    (void)clients, (void)seconds;
    struct figure loaded;
    if (load(e, &loaded) < 0)
        return -1;
    sync();
    int r = fetch(e, "/v1.41/images/bench-big/get", bulk.bytes, ret);
    return ask(e, "DELETE", "/v1.41/images/bench-big", NULL, 200, NULL) < 0 ? -1 : r;
}

/* --- docker-compose up --- */

static bool all_healthy(const struct engine *e)
{
    struct client c;
    int healthy = 0;
    if (client_open(&c, e->socket) < 0)
        return false;
    int status =
        client_call(&c, "GET",
                    "/v1.41/containers/json?filters=%7B%22health%22%3A%5B%22healthy%22%5D%2C%22label%22%3A"
                    "%5B%22com.docker.compose.project%3Dbench%22%5D%7D",
                    NULL);
    for (const char *at = c.buffer + c.body; status == 200 && (at = strstr(at, "\"Id\":")); at++)
        healthy++;
    client_close(&c);
    return healthy == COMPOSE_SERVICES;
}

static int compose(const struct engine *e, const char *verb)
{
    char command[1024];
    snprintf(command, sizeof(command),
             "DOCKER_HOST=unix://%s docker-compose -p bench -f '%s/compose.yml' %s >'%s/compose.log' 2>&1",
             e->socket, bulk.folder, verb, bulk.folder);
    if (system(command) == 0)
        return 0;
    fprintf(stderr, "%s: docker-compose %s failed:\n", e->name, verb);
    snprintf(command, sizeof(command), "cat '%s/compose.log' >&2", bulk.folder);
    return system(command) == 0 ? -1 : -2;
}

int measure_compose(struct engine *e, int clients, double seconds, struct figure *ret)
{
    (void)clients, (void)seconds;
    enum { LONGEST_S = 300 };
    double began = bench_now();
    int r = compose(e, "up -d");
    while (r == 0 && !all_healthy(e)) {
        usleep(20000);
        if (bench_now() - began > LONGEST_S) {
            fprintf(stderr, "%s: the project does not get healthy\n", e->name);
            r = -1;
        }
    }
    double took = bench_now() - began;
    *ret = (struct figure){.clients = 1, .count = 1, .per_s = COMPOSE_SERVICES / took, .p50_ms = took * 1000};
    ret->p99_ms = ret->p50_ms;
    return compose(e, "down -t 0") < 0 ? -1 : r;
}
