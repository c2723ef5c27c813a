#include "cluster/reach.h"

#include "cluster/identity.h"
#include "cluster/peer.h"
#include "cluster/port.h"
#include "store/tls.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { CONNECT_MS = 3000, ASK_TIMEOUT_S = 60, LIST_TIMEOUT_MS = 15000 };

struct reach {
    int fd;                /* ours */
    struct tls_link *link; /* to another node, and the other end of `fd`; NULL: it is this node's socket */
    int inner;
    pthread_t thread;
};

/* --- Nodes --- */

static json_t *show_all(struct cluster *c)
{
    SCOPED_LOCK(locked, &c->lock);
    json_t *list = json_array();
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_NODE], &i));) {
        const struct node *n = e->value;
        json_t *one = node__show(c, n);
        char *door = str_empty(n->door) ? identity__door(n->address, CLUSTER_PORT) : mem_strdup(n->door);
        json_set_str(one, "Door", door);
        free(door);
        json_array_append_new(list, one);
    }
    return list;
}

int reach__list(struct http_request *q, void *context, struct err *err)
{
    struct cluster *c = context;
    struct port_peer peer;
    if (port__elsewhere(c, q))
        return 0;
    int r = port__peer(c, q, &peer, err);
    if (r == 0 && !peer.manager)
        r = err_set(err, ERR_DENIED, "this is for managers");
    if (r == 0)
        http_reply_json(q, 200, show_all(c));
    return r;
}

int reach__nodes(struct cluster *c, json_t **ret, struct err *err)
{
    if (cluster_elsewhere(c))
        return peer_call_leader(c, "GET", "/cluster/nodes", NULL, LIST_TIMEOUT_MS, ret, err);
    *ret = show_all(c);
    return 0;
}

/* --- Connections --- */

static int connect_own(struct cluster *c, struct err *err)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    const char *path = __atomic_load_n(&c->socket, __ATOMIC_ACQUIRE);
    if (!path || strlen(path) >= sizeof(at.sun_path))
        return err_set(err, ERR_UNAVAILABLE, "this node's engine has no socket");
    snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof(at)) < 0)
        return err_sys(err, errno, "connect to %s", path);
    return take_fd(&fd);
}

static void *relay(void *context)
{
    struct reach *r = context;
    tls_relay_halves(r->link, r->inner);
    shutdown(r->inner, SHUT_RDWR);
    return NULL;
}

static int open_other(struct cluster *c, const json_t *node, struct reach *r, struct err *err)
{
    _cleanup_identity_files_ struct identity_files own;
    int ends[2];
    identity__files(c, &own);
    const struct tls_files files = {own.authority, own.certificate, own.key, own.revoked,
                                    json_str(node, "ID")};
    int status = tls_connect(json_str(node, "Door"), &files, time_monotonic_ns() + CONNECT_MS * NS_PER_MS,
                             &r->link, err);
    if (status < 0)
        return status;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return err_sys(err, errno, "make a pair of sockets");
    r->fd = ends[0];
    r->inner = ends[1];
    if (pthread_create(&r->thread, NULL, relay, r) != 0) {
        close_fd(r->inner);
        r->inner = -EBADF;
        return err_set(err, ERR_LIMIT, "too many threads run to pass on one more connection");
    }
    return 0;
}

static bool is_own(struct cluster *c, const json_t *node)
{
    SCOPED_LOCK(locked, &c->lock);
    return str_eq(json_str(node, "ID"), c->self);
}

int reach__open(struct cluster *c, const json_t *node, struct reach **ret, struct err *err)
{
    struct reach *r = NEW(struct reach);
    r->fd = r->inner = -EBADF;
    int status = is_own(c, node) ? r->fd = connect_own(c, err) : open_other(c, node, r, err);
    if (status < 0) {
        reach__close(r);
        return err_wrap(err, "node %s", json_str(json_object_get(node, "Description"), "Hostname"));
    }
    *ret = r;
    return 0;
}

void reach__close(struct reach *r)
{
    if (!r)
        return;
    close_fd(r->fd);
    if (r->inner >= 0) {
        pthread_join(r->thread, NULL);
        close_fd(r->inner);
    }
    tls_close(r->link);
    free(r);
}

static int send_all(int fd, const char *bytes, size_t n, struct err *err)
{
    while (n > 0) {
        ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return err_sys(err, errno, "send a request on");
        bytes += sent;
        n -= (size_t)sent;
    }
    return 0;
}

/* The path of a request on the connection. */
static char *target_on(const struct reach *r, const char *target)
{
    return str_printf("%s%s", r->link ? REACH_PREFIX : "", target);
}

int reach__fd(const struct reach *r)
{
    return r->fd;
}

int reach__begin(struct cluster *c, const json_t *node, const char *method, const char *target,
                 struct reach **ret, struct err *err)
{
    struct reach *r = NULL;
    int status = reach__open(c, node, &r, err);
    if (status < 0)
        return status;
    _cleanup_free_ char *there = target_on(r, target);
    _cleanup_free_ char *request = str_printf("%s %s HTTP/1.0\r\nHost: cluster\r\n\r\n", method, there);
    status = send_all(r->fd, request, strlen(request), err);
    if (status < 0) {
        reach__close(r);
        return status;
    }
    *ret = r;
    return 0;
}

void reach__pass(struct cluster *c, const json_t *node, struct http_request *q, const char *target)
{
    struct reach *r = NULL;
    struct err err;
    _cleanup_str_ struct str head = STR_INIT;
    int status = reach__open(c, node, &r, &err);
    if (status == 0) {
        _cleanup_free_ char *there = target_on(r, target);
        http_request_head(q, there, &head);
        status = send_all(r->fd, head.data, head.len, &err);
    }
    if (status == 0)
        http_relay(q, r->fd);
    else
        http_reply_err(q, &err);
    reach__close(r);
}

void reach__take(struct http_request *q, struct cluster *c)
{
    const char *target = str_after(http_raw_path(q), REACH_PREFIX), *query = http_raw_query(q);
    _cleanup_free_ char *whole = str_printf("%s%s%s", target, *query ? "?" : "", query);
    _cleanup_str_ struct str head = STR_INIT;
    struct err err;
    _cleanup_close_ int fd = connect_own(c, &err);
    int r = fd < 0 ? fd : 0;
    if (r == 0) {
        http_request_head(q, whole, &head);
        r = send_all(fd, head.data, head.len, &err);
    }
    if (r == 0)
        http_relay(q, fd);
    else
        http_reply_err(q, &err);
}

/* --- Our own requests --- */

static int read_all(int fd, struct str *out, struct err *err)
{
    char buffer[16 << 10];
    for (;;) {
        ssize_t n = recv(fd, buffer, sizeof(buffer), 0);
        if (n == 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return errno == EAGAIN ? err_set(err, ERR_TIMEOUT, "no answer in time")
                                   : err_sys(err, errno, "receive an answer");
        if (n < 0)
            continue;
        if (out->len + (size_t)n > REACH_ANSWER_MAX)
            return err_set(err, ERR_LIMIT, "an answer is larger than %d bytes", REACH_ANSWER_MAX);
        str_addn(out, buffer, (size_t)n);
    }
}

/* What was said in HTTP/1.0: a head, and then the body up to the end. */
static int take_apart(const struct str *answer, int *ret_status, struct str *ret, struct err *err)
{
    const char *text = str_get((struct str *)answer), *end = strstr(text, "\r\n\r\n");
    int64_t status = 0;
    _cleanup_free_ char *digits = strlen(text) > 12 ? mem_strndup(text + 9, 3) : NULL;
    if (!end || !str_after(text, "HTTP/1.") || !digits || parse_i64(digits, 100, 599, &status, NULL) < 0)
        return err_set(err, ERR_PROTOCOL, "the answer is none of HTTP");
    size_t head = (size_t)(end - text) + 4;
    str_addn(ret, answer->data + head, answer->len - head);
    *ret_status = (int)status;
    return 0;
}

int reach__ask(struct cluster *c, const json_t *node, const char *method, const char *target,
               const char *head, const json_t *body, int *ret_status, struct str *ret, struct err *err)
{
    struct reach *r = NULL;
    _cleanup_str_ struct str answer = STR_INIT;
    _cleanup_free_ char *text = body ? json_format(body) : NULL;
    const struct timeval patience = {.tv_sec = ASK_TIMEOUT_S};
    int status = reach__open(c, node, &r, err);
    if (status < 0)
        return status;
    setsockopt(r->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    _cleanup_free_ char *there = target_on(r, target);
    _cleanup_free_ char *request =
        str_printf("%s %s HTTP/1.0\r\nHost: cluster\r\n%s%sContent-Length: %zu\r\n\r\n%s", method, there,
                   head ? head : "", text ? "Content-Type: application/json\r\n" : "",
                   text ? strlen(text) : 0, text ? text : "");
    status = send_all(r->fd, request, strlen(request), err);
    if (status == 0)
        status = read_all(r->fd, &answer, err);
    if (status == 0)
        status = take_apart(&answer, ret_status, ret, err);
    reach__close(r);
    return status < 0 ? err_wrap(err, "node %s", json_str(json_object_get(node, "Description"), "Hostname"))
                      : 0;
}
