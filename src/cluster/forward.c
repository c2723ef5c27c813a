/* Requests of the API that are the leader's to answer: passed on by the others, and taken by it.
 *
 * They go to the cluster's port, below PREFIX, as they came. A manager may pass on everything. A worker may
 * pass on what only looks, and that without the tokens: who takes over a worker must not have the cluster by
 * that, which is also why Docker's workers answer no such request. */
#include "cluster/cluster_priv.h"

#include "cluster/identity.h"
#include "cluster/managers.h"
#include "cluster/peer.h"
#include "cluster/pki.h"
#include "cluster/port.h"
#include "http/client.h"

/* ANSWER_MS: for a leader that was cut off; a stream may be silent for longer. */
/* ELECTION_MS: while managers choose another leader, or this one has yet to hear of it. */
enum {
    HOPS_MAX = 3,
    MISDIRECTED = 421,
    CONNECT_MS = 2000,
    ANSWER_MS = 15000,
    WAIT_MS = 120000,
    ELECTION_MS = 2000
};

bool cluster_elsewhere(struct cluster *c)
{
    SCOPED_LOCK(locked, &c->lock);
    return !c->locked && (c->role == ROLE_FOLLOWS || c->role == ROLE_WORKS);
}

/* --- Passed on --- */

/* Connections stay with their clients: a handshake takes longer than most answers. `ret_identity` is which of
 * this node's identities, one after the other, the connection has. */
static struct http_client *client_take(struct cluster *c, unsigned *ret_identity, struct err *err)
{
    struct http_client *client = NULL;
    pthread_mutex_lock(&c->clients_lock);
    *ret_identity = c->clients_identity;
    if (c->client_count)
        client = c->clients[--c->client_count];
    pthread_mutex_unlock(&c->clients_lock);
    return client || http_client_new(NULL, &client, err) == 0 ? client : NULL;
}

/* One that was under way while the identity became another is not kept: it shows the old certificate. */
static void client_give(struct cluster *c, struct http_client *client, unsigned identity, bool good)
{
    pthread_mutex_lock(&c->clients_lock);
    bool keep = good && identity == c->clients_identity && c->client_count < ARRAY_SIZE(c->clients);
    if (keep)
        c->clients[c->client_count++] = client;
    pthread_mutex_unlock(&c->clients_lock);
    if (!keep)
        http_client_free(client);
}

void forward__drop_clients(struct cluster *c)
{
    SCOPED_LOCK(locked, &c->clients_lock);
    c->clients_identity++;
    while (c->client_count)
        http_client_free(c->clients[--c->client_count]);
}

static int call_once(struct cluster *c, const struct cluster_forward *f, const char *address,
                     struct http_response *ret, struct err *err)
{
    _cleanup_identity_files_ struct identity_files files = {0};
    _cleanup_free_ char *url = str_printf("https://" PKI_MANAGER PORT_API_PREFIX "%s", f->target);
    unsigned identity;
    struct http_client *client = client_take(c, &identity, err);
    if (!client)
        return -err->code;
    identity__files(c, &files);
    const struct http_call call = {.method = f->method,
                                   .url = url,
                                   .headers = f->headers,
                                   .body = f->body,
                                   .body_bytes = f->body_bytes,
                                   .sink = f->bytes,
                                   .sink_context = f->context,
                                   .head = f->head,
                                   .head_context = f->context,
                                   .max_body_bytes = PORT_ANSWER_MAX,
                                   .ca_file = files.authority,
                                   .crl_file = files.revoked,
                                   .certificate_file = files.certificate,
                                   .key_file = files.key,
                                   .connect_to = address,
                                   .connect_timeout_ms = CONNECT_MS,
                                   .idle_timeout_ms = f->head    ? 0
                                                      : f->waits ? WAIT_MS
                                                                 : ANSWER_MS,
                                   .gone = f->gone,
                                   .gone_context = f->context};
    int r = http_client_call(client, &call, ret, err);
    client_give(c, client, identity, r == 0 && ret->status != MISDIRECTED);
    return r;
}

/* The leader as far as this node knows, "" when it knows of none. */
static char *find_leader(struct cluster *c)
{
    char found[STORE_ADDRESS_BYTES];
    if (managers__replicated(c)) {
        managers__leader(c, found);
        return mem_strdup(found);
    }
    SCOPED_LOCK(locked, &c->lock);
    return mem_strdup(c->leader ? c->leader : "");
}

/* The same; waits a while for one, or for another one than `gone`, which may be NULL. */
static char *await_leader(struct cluster *c, const struct cluster_forward *f, const char *gone)
{
    int64_t until_ns = time_monotonic_ns() + ELECTION_MS * NS_PER_MS;
    for (;;) {
        char *at = find_leader(c);
        if (str_eq(at, gone))
            *at = '\0';
        if (*at || time_monotonic_ns() > until_ns || (f->gone && f->gone(f->context)))
            return at;
        free(at);
        time_sleep_ns(20 * NS_PER_MS);
    }
}

/* Of an answer of 421; NULL: nobody leads. */
static char *named_leader(const struct http_response *answer)
{
    _cleanup_json_ json_t *doc = NULL;
    if (json_parse(str_get(&answer->body), answer->body.len, "a manager's answer", &doc, &(struct err){0}) <
        0)
        return NULL;
    const char *leader = json_str(doc, "leader");
    return *leader ? mem_strdup(leader) : NULL;
}

int cluster_forward(struct cluster *c, const struct cluster_forward *f, struct http_response *ret,
                    struct err *err)
{
    _cleanup_free_ char *at = await_leader(c, f, NULL);
    for (int hop = 0; hop < HOPS_MAX && !str_empty(at); hop++) {
        int r = call_once(c, f, at, ret, err);
        if (r == -ERR_CANCELLED)
            return r;
        /* It has just died, and has heard nothing of this: the other managers have yet to find out. */
        if (r < 0 && err->sys == ECONNREFUSED && managers__replicated(c)) {
            char *other = await_leader(c, f, at);
            free(at);
            at = other;
            continue;
        }
        if (r < 0) /* which is not said with an address: it is the swarm's, not the client's */
            return err_wrap(err, "pass the request on to the leader of the swarm");
        if (ret->status != MISDIRECTED)
            return 0;
        free(at);
        at = named_leader(ret);
        http_response_done(ret);
    }
    return managers__no_leader(err);
}

/* --- Taken --- */

static int check_right(const struct port_peer *peer, struct http_request *q, struct err *err)
{
    const char *target = str_after(http_raw_path(q), PORT_API_PREFIX);
    if (peer->manager)
        return 0;
    if (target && *target == '/' && target[1] == 'v' && strchr(target + 1, '/'))
        target = strchr(target + 1, '/');
    if (str_eq(http_method(q), "GET") && target && !str_after(target, "/swarm"))
        return 0;
    return err_set(
        err, ERR_UNAVAILABLE,
        "This node is not a swarm manager. Worker nodes can't be used to change the swarm, nor to "
        "show its tokens. Please run this command on a manager node or promote the current node to "
        "a manager.");
}

void forward__take(struct http_request *q, void *context)
{
    struct cluster *c = context;
    struct port_peer peer;
    struct err err = {0};
    const struct http_server_config *api = c->api;
    int r = port__peer(c, q, &peer, &err);
    if (r == 0 && port__elsewhere(c, q))
        return;
    if (r == 0) {
        SCOPED_LOCK(locked, &c->lock);
        struct node *node;
        r = port__node(c, &peer, &node, &err);
        /* A connection may be older than the role that its certificate says. */
        peer.manager = r == 0 && peer.manager && node->manager;
    }
    if (r == 0)
        r = check_right(&peer, q, &err);
    if (r == 0 && str_eq(http_method(q), "GET"))
        r = cluster_confirm(c, &err);
    if (r == 0 && api && http_pass(q, PORT_API_PREFIX, api))
        return;
    if (r == 0)
        err_set(&err, ERR_NOT_FOUND, "page not found");
    http_reply_err(q, &err);
}

void cluster_set_api(struct cluster *c, const struct http_server_config *api)
{
    __atomic_store_n(&c->api, api, __ATOMIC_RELEASE);
}

bool cluster_shut(struct cluster *c, int grace_ms)
{
    return port__close(c, grace_ms);
}
