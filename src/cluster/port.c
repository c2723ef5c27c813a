#include "cluster/port.h"

#include "base/log.h"
#include "cluster/attach.h"
#include "cluster/identity.h"
#include "cluster/images.h"
#include "cluster/join.h"
#include "cluster/logs.h"
#include "cluster/managers.h"
#include "cluster/pki.h"
#include "cluster/place_alone.h"
#include "cluster/reach.h"
#include "cluster/session.h"
#include "store/tls.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 128, MISDIRECTED = 421 };

/* --- Who calls --- */

int port__peer(struct cluster *c, struct http_request *q, struct port_peer *ret, struct err *err)
{
    struct http_certificate shown;
    char from[HTTP_PEER_BYTES];
    http_peer_certificate(q, &shown);
    http_peer_address(q, from);
    if (shown.revoked)
        return err_set(
            err, ERR_DENIED,
            "the node at %s was removed from the swarm, or is no manager any more: its certificate "
            "was taken back; docker swarm leave and join make it one of the swarm again",
            from);
    if (!shown.valid)
        return err_set(err, ERR_UNAUTHORIZED,
                       "the node at %s %s: it must leave the swarm (docker swarm leave) and join it again",
                       from, shown.why);
    if (!str_eq(shown.organization, c->swarm_id) || strlen(shown.name) >= sizeof(ret->node) ||
        str_eq(shown.unit, PKI_CLIENT_UNIT))
        return err_set(err, ERR_UNAUTHORIZED,
                       "the node at %s has a certificate that is no node's of this swarm", from);
    snprintf(ret->node, sizeof(ret->node), "%s", shown.name);
    ret->manager = str_eq(shown.unit, STORE_TLS_ROLE);
    return 0;
}

int port__node(struct cluster *c, const struct port_peer *peer, struct node **ret, struct err *err)
{
    *ret = map_get(&c->objects[CLUSTER_NODE], peer->node);
    return *ret ? 0
                : err_set(err, ERR_DENIED,
                          "node %s is not part of the swarm any more: it was removed; docker swarm leave "
                          "and join make it one again",
                          peer->node);
}

bool port__elsewhere(struct cluster *c, struct http_request *q)
{
    char leader[STORE_ADDRESS_BYTES];
    bool known = managers__leader(c, leader);
    pthread_mutex_lock(&c->lock);
    bool leads = c->role == ROLE_LEADS, ours = str_eq(leader, c->address);
    pthread_mutex_unlock(&c->lock);
    if (leads)
        return false;
    json_t *body = json_pack("{s:s}", "message", "this node does not lead the swarm");
    if (known && !ours)
        json_set_str(body, "leader", leader);
    http_reply_json(q, MISDIRECTED, body);
    return true;
}

/* --- Calls --- */

/* For who has only a token: it holds the fingerprint. */
static int get_authority(struct http_request *q, void *context, struct err *err)
{
    _cleanup_free_ char *trust = identity__authority(context);
    if (!trust)
        return err_set(err, ERR_UNAVAILABLE, "this node has left its swarm");
    _cleanup_free_ char *pem = pki_first(trust);
    http_reply_text(q, 200, "application/x-pem-file", pem);
    return 0;
}

static const struct http_route routes[] = {
    {.method = "GET", .pattern = "/cluster/authority", .attempt = get_authority, .kind = HTTP_BRIEF},
    {.method = "GET",
     .pattern = "/cluster/logs/{container}",
     .attempt = logs__serve_remote,
     .kind = HTTP_FOLLOW},
    {.method = "GET",
     .pattern = IMAGE_NODES_PREFIX "/v2/{name...}/manifests/{reference}",
     .attempt = images__give_manifest,
     .kind = HTTP_BRIEF},
    {.method = "GET",
     .pattern = IMAGE_NODES_PREFIX "/v2/{name...}/blobs/{digest}",
     .attempt = images__give_blob,
     .kind = HTTP_TRANSFER},
    {.method = "GET",
     .pattern = IMAGE_NODES_OWN_PREFIX "/v2/{name...}/manifests/{reference}",
     .attempt = images__give_own_manifest,
     .kind = HTTP_BRIEF},
    {.method = "GET",
     .pattern = IMAGE_NODES_OWN_PREFIX "/v2/{name...}/blobs/{digest}",
     .attempt = images__give_blob,
     .kind = HTTP_TRANSFER},
    {.method = "POST", .pattern = "/cluster/sources", .attempt = images__sources, .kind = HTTP_BRIEF},
    {.method = "GET", .pattern = "/cluster/nodes", .attempt = reach__list, .kind = HTTP_BRIEF},
    {.method = "POST", .pattern = "/cluster/place", .attempt = place_alone__take, .kind = HTTP_BRIEF},
    {.method = "POST", .pattern = "/cluster/placed", .attempt = place_alone__taken, .kind = HTTP_BRIEF},
    {.method = "POST", .pattern = "/cluster/join", .attempt = join__take, .kind = HTTP_BRIEF},
    {.method = "POST", .pattern = "/cluster/renew", .attempt = join__renew, .kind = HTTP_BRIEF},
    {.method = "POST", .pattern = "/cluster/session", .attempt = assign__session, .kind = HTTP_WAIT},
    {.method = "POST", .pattern = "/cluster/report", .attempt = assign__report, .kind = HTTP_BRIEF},
    {.method = "POST", .pattern = "/cluster/attach", .attempt = attach__take, .kind = HTTP_BRIEF},
    {.method = "POST", .pattern = "/cluster/detach", .attempt = attach__leave, .kind = HTTP_BRIEF},
    {.method = "POST", .pattern = "/cluster/leave", .attempt = assign__leave, .kind = HTTP_BRIEF},
    {0},
};

static bool is_client(struct cluster *c, struct http_request *q)
{
    struct http_certificate shown;
    http_peer_certificate(q, &shown);
    SCOPED_LOCK(locked, &c->lock);
    return shown.valid && str_eq(shown.unit, PKI_CLIENT_UNIT) && str_eq(shown.organization, c->swarm_id);
}

static void take_other(struct http_request *q, void *context)
{
    struct cluster *c = context;
    struct port_peer peer;
    struct err err;
    http_bind_to_certificate(q); /* what passes here may last for days */
    if (is_client(c, q))
        gateway__take(q, c);
    else if (!str_after(http_raw_path(q), REACH_PREFIX "/"))
        forward__take(q, c);
    else if (port__peer(c, q, &peer, &err) < 0 ||
             (!peer.manager && err_set(&err, ERR_DENIED, "only managers reach other nodes' engines")))
        http_reply_err(q, &err);
    else
        reach__take(q, c);
}

/* --- The server --- */

static int bind_address(const char *address, int *ret_fd, struct err *err)
{
    const char *end = strrchr(address, ']');
    bool v6 = *address == '[' && end;
    const char *colon = strrchr(v6 ? end : address, ':');
    _cleanup_free_ char *host =
        v6 ? mem_strndup(address + 1, (size_t)(end - address - 1))
           : mem_strndup(address, colon ? (size_t)(colon - address) : strlen(address));
    _cleanup_free_ char *port = str_printf("%d", identity__port_of(address));
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICHOST};
    struct addrinfo *ai = NULL;
    int on = 1, n = getaddrinfo(*host ? host : NULL, port, &hints, &ai);
    if (n)
        return err_set(err, ERR_INVALID,
                       "listen address \"%.100s\": %s: it must be an IP address with a port", address,
                       gai_strerror(n));
    _cleanup_close_ int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    int sys = fd < 0 || bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0 ? errno : 0;
    freeaddrinfo(ai);
    if (sys)
        return err_sys(err, sys, "listen for other nodes on %s (another address: --listen-addr)", address);
    *ret_fd = take_fd(&fd);
    return 0;
}

int port__open(struct cluster *c, struct err *err)
{
    _cleanup_identity_files_ struct identity_files files;
    int fd = -EBADF;
    identity__files(c, &files);
    if (c->port)
        return 0;
    int r = bind_address(c->listen, &fd, err);
    if (r == 0)
        r = http_tls_new_mutual(files.certificate, files.key, files.authority, files.revoked, &c->port_tls,
                                err);
    if (r < 0) {
        close_fd(fd);
        return r;
    }
    const struct http_server_config config = {.routes = routes,
                                              .context = c,
                                              .fallback = take_other,
                                              .max_body_bytes = PORT_BODY_MAX,
                                              .tls = c->port_tls,
                                              .unversioned = true};
    r = http_server_start(&config, fd, &c->port, err);
    if (r < 0) {
        http_tls_free(c->port_tls);
        c->port_tls = NULL;
    }
    return r;
}

void port__open_late(struct cluster *c)
{
    /* Who makes or leaves a swarm has the lock, and waits for the caller. */
    if (pthread_mutex_trylock(&c->change_lock) != 0)
        return;
    if (c->role != ROLE_NONE && !c->port && port__open(c, &(struct err){0}) == 0)
        log_info("cluster: other nodes can call this one at %s now", c->listen);
    pthread_mutex_unlock(&c->change_lock);
}

bool port__close(struct cluster *c, int grace_ms)
{
    pthread_mutex_lock(&c->port_lock);
    struct http_server *server = c->port;
    struct http_tls *tls = c->port_tls;
    c->port = NULL;
    c->port_tls = NULL;
    pthread_mutex_unlock(&c->port_lock);
    bool ended = http_server_stop(server, grace_ms);
    if (server && ended)
        http_tls_free(tls);
    return ended;
}

void port__renewed(struct cluster *c)
{
    struct err err;
    forward__drop_clients(c);
    SCOPED_LOCK(locked, &c->port_lock);
    if (!c->port)
        return;
    if (http_tls_reload(c->port_tls, &err) < 0)
        log_error("cluster: %s", err.msg);
    if (http_server_end_revoked(c->port, &err) < 0)
        log_error("cluster: end what runs with certificates that were taken back: %s", err.msg);
}
