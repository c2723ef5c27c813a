/* Registries tell of pushes here: POST of the envelope that Drover's and the distribution project's send
 * ({"events": [{"action": "push", "target": {"repository": ..., "tag": ...}}]}). */
#include "base/digest.h"
#include "base/json.h"
#include "base/timeutil.h"
#include "cli/bake.h"
#include "cli/interrupt.h"
#include "http/server.h"
#include "image/image_ref.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ENVELOPE_MAX = 1 << 20, STEP_MS = 200 };

struct bake_listener {
    struct http_server *server;
    const char *secret;
    const struct bakery *bakery;
    pthread_mutex_t lock;
    bool told;
};

/* Whether an image here stands on something of this repository ("own/base"). */
static bool concerns_us(const struct bakery *b, const char *repository)
{
    for (size_t i = 0; i < b->count; i++)
        for (char **name = b->images[i].on; name && *name; name++) {
            _cleanup_ref_ struct image_ref ref = {0};
            if (!bakery_find(b, *name) && image_ref_parse(*name, &ref, NULL) == 0 &&
                str_eq(ref.path, repository))
                return true;
        }
    return false;
}

/* The same time for every wrong one. */
static bool same_text(const char *given, const char *wanted)
{
    size_t n = strlen(wanted);
    unsigned char differ = strlen(given) != n;
    for (size_t i = 0; i < n && given[i]; i++)
        differ |= (unsigned char)(given[i] ^ wanted[i]);
    return !differ;
}

static int read_body(struct http_request *q, struct str *ret, struct err *err)
{
    char piece[4096];
    ssize_t n;
    while ((n = http_body_read(q, piece, sizeof(piece), err)) > 0) {
        str_addn(ret, piece, (size_t)n);
        if (ret->len > ENVELOPE_MAX)
            return err_set(err, ERR_LIMIT, "more than %d bytes of events", ENVELOPE_MAX);
    }
    return (int)n;
}

/* Signed by the secret, as registries of Drover do, or bearing it, as others can be told to. */
static bool is_trusted(const struct bake_listener *l, struct http_request *q, const struct str *body)
{
    const char *signature = http_header(q, "x-hub-signature-256"), *given = http_header(q, "authorization");
    const char *bearer = given ? str_after(given, "Bearer ") : NULL;
    unsigned char mac[32];
    char hex[65];
    if (!l->secret)
        return true;
    if (!signature)
        return bearer && same_text(bearer, l->secret);
    digest_hmac_sha256(l->secret, strlen(l->secret), str_get(body), body->len, mac);
    str_hex(mac, sizeof(mac), hex);
    signature = str_after(signature, "sha256=");
    return signature && same_text(signature, hex);
}

static int take_events(struct http_request *q, void *context, struct err *err)
{
    struct bake_listener *l = context;
    _cleanup_str_ struct str body = STR_INIT;
    _cleanup_json_ json_t *envelope = NULL;
    int r = read_body(q, &body, err);
    if (r == 0 && !is_trusted(l, q, &body))
        r = err_set(err, ERR_UNAUTHORIZED, "neither signed by the secret nor bearing it");
    if (r == 0)
        r = json_parse(str_get(&body), body.len, "the body", &envelope, err);
    if (r < 0)
        return r;
    const json_t *events = json_object_get(envelope, "events"), *event;
    if (!json_is_array(events))
        return err_set(err, ERR_INVALID, "no list of \"events\"");
    size_t i;
    json_array_foreach (events, i, event) {
        const char *repository = json_str(json_object_get(event, "target"), "repository");
        if (!str_eq(json_str(event, "action"), "push") || !concerns_us(l->bakery, repository))
            continue;
        pthread_mutex_lock(&l->lock);
        l->told = true;
        pthread_mutex_unlock(&l->lock);
    }
    http_reply_json(q, 200, json_object());
    return 0;
}

static int open_socket(const char *address, bool *ret_loopback, struct err *err)
{
    const char *colon = strrchr(address, ':');
    _cleanup_free_ char *host =
        colon ? mem_strndup(address, (size_t)(colon - address)) : mem_strdup("127.0.0.1");
    struct sockaddr_in at = {.sin_family = AF_INET};
    int64_t port;
    int r = parse_i64(colon ? colon + 1 : address, 0, 65535, &port, err);
    if (r < 0)
        return r;
    if (inet_pton(AF_INET, host, &at.sin_addr) != 1)
        return err_set(err, ERR_INVALID, "\"%.100s\" is no IPv4 address to listen at", host);
    at.sin_port = htons((uint16_t)port);
    *ret_loopback = (ntohl(at.sin_addr.s_addr) >> 24) == 127;
    _cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;
    if (fd < 0)
        return err_sys(err, errno, "socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (const struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, 64) < 0)
        return err_sys(err, errno, "listen at %s", address);
    socklen_t n = sizeof(at);
    getsockname(fd, (struct sockaddr *)&at, &n);
    printf("listening for pushes at http://%s:%d/hook\n", host, ntohs(at.sin_port));
    fflush(stdout);
    return take_fd(&fd);
}

int bake_listen(const char *address, const char *secret, const struct bakery *bakery,
                struct bake_listener **ret, struct err *err)
{
    static const struct http_route routes[] = {
        {"POST", "/hook", .attempt = take_events},
        {0},
    };
    bool loopback;
    _cleanup_close_ int fd = open_socket(address, &loopback, err);
    if (fd < 0)
        return fd;
    if (!loopback && !secret)
        return err_set(err, ERR_DENIED, "%s can be reached by others: give a secret by --secret-file",
                       address);
    struct bake_listener *l = NEW(struct bake_listener);
    const struct http_server_config config = {.routes = routes, .context = l, .max_body_bytes = ENVELOPE_MAX};
    l->secret = secret;
    l->bakery = bakery;
    pthread_mutex_init(&l->lock, NULL);
    int r = http_server_start(&config, take_fd(&fd), &l->server, err);
    if (r < 0)
        free(l);
    else
        *ret = l;
    return r;
}

void bake_wait(struct bake_listener *l, int64_t interval_ns)
{
    int64_t until = time_monotonic_ns() + interval_ns;
    bool told = false;
    while (!told && !interrupt_pending() && time_monotonic_ns() < until) {
        time_sleep_ns(STEP_MS * NS_PER_MS);
        if (!l)
            continue;
        pthread_mutex_lock(&l->lock);
        told = l->told;
        l->told = false;
        pthread_mutex_unlock(&l->lock);
    }
}

void bake_listener_free(struct bake_listener *l)
{
    if (l && http_server_stop(l->server, 1000))
        free(l);
}
