/* Load for a registry: many clients, each with a connection of its own, push or pull a list of blobs.
 *
 *     bench-registry push|pull|get PORT PREFIX CLIENTS TOTAL LIST
 *
 * LIST has a line "DIGEST PATH SIZE" for each blob; TOTAL requests go round it. push: POST
 * PREFIX/blobs/uploads/, then PUT with the file's bytes. pull: GET PREFIX/blobs/DIGEST. get: GET
 * PREFIX/DIGEST, of a plain web server. Bytes that come are dropped in the kernel (MSG_TRUNC), so that the
 * measuring costs little beside what is measured. Prints one line of JSON. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BLOBS_MAX = 20000, HEAD_MAX = 16 << 10, CLIENTS_MAX = 1024 };

struct blob {
    char digest[160], path[512];
    int64_t size;
};

static struct blob *blobs;
static size_t blob_count;
static long total;
static int port;
static const char *mode, *prefix;
static atomic_long next_request;
static double *latency; /* of each request, in ms */

static void die(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    fprintf(stderr, "bench-registry: ");
    vfprintf(stderr, format, ap);
    fprintf(stderr, "\n");
    va_end(ap);
    exit(1);
}

static long strtol_10(const char *text)
{
    return strtol(text, NULL, 10);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int dial(void)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
        die("connect to port %d: %m", port);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

static void send_all(int fd, const char *bytes, size_t n)
{
    for (size_t sent = 0; sent < n;) {
        ssize_t r = send(fd, bytes + sent, n - sent, MSG_NOSIGNAL);
        if (r <= 0)
            die("send: %m");
        sent += (size_t)r;
    }
}

/* Reads a head and drops its body; gives the Location. */
static int answer(int fd, char *location, size_t capacity)
{
    char head[HEAD_MAX + 1];
    size_t have = 0;
    char *end;
    for (;;) {
        ssize_t n = recv(fd, head + have, HEAD_MAX - have, 0);
        if (n <= 0)
            die("the server closed the connection");
        have += (size_t)n;
        head[have] = '\0';
        if ((end = strstr(head, "\r\n\r\n")))
            break;
    }
    int status = (int)strtol_10(head + 9);
    int64_t length = 0;
    for (char *line = strchr(head, '\n'); line && line < end; line = strchr(line + 1, '\n')) {
        if (strncasecmp(line + 1, "content-length:", 15) == 0)
            length = strtol_10(line + 16);
        if (location && strncasecmp(line + 1, "location:", 9) == 0) {
            const char *at = line + 10 + strspn(line + 10, " ");
            snprintf(location, capacity, "%.*s", (int)strcspn(at, "\r"), at);
        }
    }
    length -= (int64_t)(have - (size_t)(end + 4 - head));
    while (length > 0) {
        ssize_t n = recv(fd, NULL, length > 1 << 20 ? 1 << 20 : (size_t)length, MSG_TRUNC);
        if (n <= 0)
            die("the body was cut off");
        length -= n;
    }
    return status;
}

static void pull(int fd, const struct blob *b)
{
    char request[1024];
    int n = snprintf(request, sizeof(request), "GET %s%s%s HTTP/1.1\r\nHost: bench\r\n\r\n", prefix,
                     strcmp(mode, "get") == 0 ? "/" : "/blobs/", b->digest);
    send_all(fd, request, (size_t)n);
    int status = answer(fd, NULL, 0);
    if (status != 200)
        die("GET %s: %d", b->digest, status);
}

static void push(int fd, const struct blob *b)
{
    char request[2048], location[1024] = "";
    int n = snprintf(request, sizeof(request),
                     "POST %s/blobs/uploads/ HTTP/1.1\r\nHost: bench\r\nContent-Length: 0\r\n\r\n", prefix);
    send_all(fd, request, (size_t)n);
    int status = answer(fd, location, sizeof(location));
    if (status != 202)
        die("POST: %d", status);
    const char *path = strstr(location, "://") ? strchr(strstr(location, "://") + 3, '/') : location;
    n = snprintf(request, sizeof(request),
                 "PUT %s%cdigest=%s HTTP/1.1\r\nHost: bench\r\nContent-Type: application/octet-stream\r\n"
                 "Content-Length: %lld\r\n\r\n",
                 path, strchr(path, '?') ? '&' : '?', b->digest, (long long)b->size);
    send_all(fd, request, (size_t)n);
    int file = open(b->path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        die("%s: %m", b->path);
    for (off_t at = 0; at < b->size;)
        if (sendfile(fd, file, &at, (size_t)(b->size - at)) <= 0)
            die("send %s: %m", b->path);
    close(file);
    status = answer(fd, NULL, 0);
    if (status != 201)
        die("PUT %s: %d", b->digest, status);
}

static void *client(void *unused)
{
    int fd = dial();
    for (long i; (i = atomic_fetch_add(&next_request, 1)) < total;) {
        const struct blob *b = &blobs[(size_t)i % blob_count];
        double began = now();
        (strcmp(mode, "push") == 0 ? push : pull)(fd, b);
        latency[i] = now() - began;
    }
    close(fd);
    return unused;
}

static void read_list(const char *path)
{
    FILE *f = fopen(path, "re");
    if (!f)
        die("%s: %m", path);
    blobs = calloc(BLOBS_MAX, sizeof(*blobs));
    long long size;
    while (blob_count < BLOBS_MAX &&
           fscanf(f, "%159s %511s %lld", blobs[blob_count].digest, blobs[blob_count].path, &size) == 3)
        blobs[blob_count++].size = size;
    fclose(f);
    if (blob_count == 0)
        die("%s lists nothing", path);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
    if (argc != 7)
        die("usage: bench-registry push|pull|get PORT PREFIX CLIENTS TOTAL LIST");
    mode = argv[1];
    port = (int)strtol_10(argv[2]);
    prefix = argv[3];
    int clients = (int)strtol_10(argv[4]);
    total = strtol_10(argv[5]);
    read_list(argv[6]);
    if (clients < 1 || clients > CLIENTS_MAX || total < 1)
        die("CLIENTS is 1 to %d, TOTAL at least 1", CLIENTS_MAX);
    latency = calloc((size_t)total, sizeof(*latency));
    pthread_t threads[CLIENTS_MAX];
    double began = now();
    for (int i = 0; i < clients; i++)
        if (pthread_create(&threads[i], NULL, client, NULL) != 0)
            die("start a client: %m");
    for (int i = 0; i < clients; i++)
        pthread_join(threads[i], NULL);
    double seconds = (now() - began) / 1e3, bytes = 0;
    for (long i = 0; i < total; i++)
        bytes += (double)blobs[(size_t)i % blob_count].size;
    qsort(latency, (size_t)total, sizeof(*latency), by_value);
    printf("{\"seconds\": %.3f, \"mb_per_s\": %.1f, \"per_s\": %.1f, \"p50_ms\": %.2f, \"p99_ms\": %.2f}\n",
           seconds, bytes / 1e6 / seconds, (double)total / seconds, latency[total / 2],
           latency[total * 99 / 100]);
    return 0;
}
