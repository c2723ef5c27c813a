#include "cluster/join.h"

#include "base/base64.h"
#include "base/log.h"
#include "cluster/authority.h"
#include "cluster/autolock.h"
#include "cluster/identity.h"
#include "cluster/managers.h"
#include "cluster/peer.h"
#include "cluster/pki.h"
#include "cluster/port.h"
#include "cluster/revoke.h"
#include "cluster/session.h"

enum { JOIN_BODY_MAX = 256 << 10, FINGERPRINT_DIGITS = 50, SECRET_DIGITS = 25 };

/* --- The leader --- */

/* Takes the same time whatever the first difference is. */
static bool is_token(const json_t *tokens, const char *kind, const char *given)
{
    const char *token = json_str(tokens, kind);
    size_t n = strlen(token);
    unsigned char different = 0;
    if (!n || strlen(given) != n)
        return false;
    for (size_t i = 0; i < n; i++)
        different |= (unsigned char)(token[i] ^ given[i]);
    return !different;
}

static int check_token(const struct cluster *c, const char *token, bool *ret_manager, struct err *err)
{
    const json_t *tokens = json_object_get(c->swarm, "JoinTokens");
    bool worker = is_token(tokens, "Worker", token), manager = is_token(tokens, "Manager", token);
    if (!worker && !manager)
        return err_set(
            err, ERR_UNAUTHORIZED,
            "rpc error: code = InvalidArgument desc = A valid join token is necessary to join this "
            "cluster: the one given is not the present one; docker swarm join-token worker, on a "
            "manager, shows that");
    *ret_manager = manager;
    return 0;
}

int join__check_protocol(const json_t *body, struct err *err)
{
    int64_t protocol = 0;
    int r = json_get_i64(body, "", "protocol", &protocol, err);
    if (r == 0 && protocol != CLUSTER_PROTOCOL)
        r = err_set(err, ERR_INVALID,
                    "the machine speaks version %lld of the cluster's protocol, and this swarm version %d "
                    "(Drover %s): give both the same Drover",
                    (long long)protocol, CLUSTER_PROTOCOL, DROVER_VERSION);
    return r;
}

bool join__speaks_before(void)
{
    return str_eq(getenv("DROVER_CLUSTER_FORM"), "before");
}

static int check_join(struct cluster *c, const json_t *body, bool *ret_manager, struct err *err)
{
    static const char *const states[] = {"", "active", "pause", "drain", NULL};
    const char *token = "", *availability = "";
    int r = json_get_string(body, "", "token", &token, err);
    if (r == 0)
        r = check_token(c, token, ret_manager, err);
    if (r == 0)
        r = join__check_protocol(body, err);
    if (r == 0)
        r = json_get_string(body, "", "availability", &availability, err);
    if (r == 0 && !strv_has((char *const *)states, availability))
        r = err_set(err, ERR_INVALID, "invalid Availability: \"%.50s\"", availability);
    if (r == 0 && c->objects[CLUSTER_NODE].count >= NODES_MAX)
        r = err_set(
            err, ERR_LIMIT,
            "the swarm has %d nodes, which is the most it may have: docker node rm takes away those that "
            "are gone",
            NODES_MAX);
    return r;
}

/* Where others reach the node: as it says, or else where it calls from. */
static int read_address(struct http_request *q, const json_t *body, char **ret_host, int64_t *ret_port,
                        struct err *err)
{
    char from[HTTP_PEER_BYTES];
    const char *given = "";
    int64_t port = CLUSTER_PORT;
    http_peer_address(q, from);
    int r = json_get_string(body, "", "address", &given, err);
    if (r == 0)
        r = json_get_i64(body, "", "port", &port, err);
    if (r == 0 && *given && !node__is_address(given))
        r = err_set(err, ERR_INVALID, "\"address\" must be an IP address, not \"%.100s\"", given);
    if (r == 0 && (port < 1 || port > 65535))
        r = err_set(err, ERR_INVALID, "\"port\" must be one of 1 to 65535");
    if (r < 0)
        return r;
    const char *mapped = str_after(from, "::ffff:");
    *ret_host = mem_strdup(*given ? given : mapped ? mapped : from);
    *ret_port = port;
    return 0;
}

static int issue(struct cluster *c, const char *csr, struct node *n, char **ret_pem, struct err *err)
{
    struct pki_subject subject = {.manager = n->manager, .address = n->address};
    snprintf(subject.node, sizeof(subject.node), "%s", n->o.id);
    int r = identity__issue(c, csr, &subject, ret_pem, err);
    if (r == 0)
        revoke__note(n, *ret_pem);
    return r;
}

static int admit(struct cluster *c, struct http_request *q, const json_t *body, struct node **ret,
                 char **ret_pem, struct err *err)
{
    bool manager;
    _cleanup_free_ char *host = NULL;
    int64_t port;
    const char *csr = "";
    json_t *given = NULL;
    int r = check_join(c, body, &manager, err);
    if (r == 0)
        r = read_address(q, body, &host, &port, err);
    if (r == 0)
        r = json_get_string(body, "", "csr", &csr, err);
    if (r == 0)
        r = json_get_object(body, "", "description", &given, err);
    json_t *description = r == 0 ? assign__description(given, err) : NULL;
    if (!description)
        return r < 0 ? r : -err->code;
    struct node *n = node__new(c, description, host, manager, json_str(body, "availability"));
    n->door = identity__door(host, (int)port);
    n->seen_ns = time_monotonic_ns();
    if (r == 0)
        r = issue(c, csr, n, ret_pem, err);
    if (r == 0) {
        struct change ch = {0};
        change_put(&ch, &n->o);
        r = change_commit(c, &ch, true, err);
    }
    if (r < 0) {
        node__free(n);
        return r;
    }
    *ret = n;
    return 0;
}

static int add_keys(struct cluster *c, json_t *answer, struct err *err)
{
    _cleanup_free_ char *key = authority__in_files(c) ? identity__authority_key(c, err) : NULL;
    if (!key && authority__in_files(c))
        return -err->code;
    _cleanup_free_ char *secrets = base64_encode(c->key, sizeof(c->key));
    if (key)
        json_set_str(answer, "authority_key", key);
    json_set_str(answer, "secrets_key", secrets);
    autolock__add(c, answer);
    return 0;
}

/* A second manager needs a store that can have two: made with no lock held, since it takes a moment. */
static int make_room_for_manager(struct cluster *c, const json_t *body, struct err *err)
{
    bool manager = false;
    _cleanup_free_ char *address = NULL;
    pthread_mutex_lock(&c->lock);
    int r = check_join(c, body, &manager, err);
    address = mem_strdup(c->address);
    pthread_mutex_unlock(&c->lock);
    return r == 0 && manager ? managers__replicate(c, address, err) : r;
}

static int take(struct cluster *c, struct http_request *q, const json_t *body, char **ret, struct err *err)
{
    SCOPED_LOCK(locked, &c->lock);
    struct node *n = NULL;
    _cleanup_free_ char *certificate = NULL;
    _cleanup_json_ json_t *answer = NULL;
    int r = admit(c, q, body, &n, &certificate, err);
    if (r < 0)
        return r;
    if (n->manager)
        identity__know_manager(c, n->o.id, n->door);
    cluster__add(c, &n->o);
    answer = json_pack("{s:s, s:s, s:s, s:s, s:s, s:O}", "node", n->o.id, "swarm", c->swarm_id, "role",
                       n->manager ? "manager" : "worker", "certificate", certificate, "address", n->address,
                       "managers", c->managers);
    must(answer);
    if (n->manager)
        r = add_keys(c, answer, err);
    cluster__event(c, &n->o, "create", NULL);
    log_info("cluster: node %s (%s, %s) has joined", n->o.id, n->o.name, n->address);
    place__node_changed(c, n);
    c->all_dirty = true;
    pthread_cond_signal(&c->decide);
    if (r == 0)
        *ret = json_format(answer);
    return r;
}

int join__take(struct http_request *q, void *context, struct err *err)
{
    struct cluster *c = context;
    _cleanup_json_ json_t *body = NULL;
    _cleanup_free_ char *answer = NULL;
    if (port__elsewhere(c, q))
        return 0;
    int r = http_body_json(q, JOIN_BODY_MAX, &body, err);
    if (r == 0)
        r = make_room_for_manager(c, body, err);
    if (r == 0)
        r = take(c, q, body, &answer, err);
    if (r == 0)
        http_reply_text(q, 200, "application/json", answer);
    return r;
}

static int renew(struct cluster *c, const struct port_peer *peer, const char *csr, char **ret,
                 struct err *err)
{
    struct node *n;
    struct change ch = {0};
    _cleanup_free_ char *certificate = NULL;
    SCOPED_LOCK(locked, &c->lock);
    int r = port__node(c, peer, &n, err);
    if (r == 0)
        r = issue(c, csr, n, &certificate, err);
    if (r < 0)
        return r;
    change_put(&ch, &n->o);
    r = change_commit(c, &ch, true, err);
    if (r < 0)
        return r;
    _cleanup_json_ json_t *answer = json_pack("{s:s, s:s, s:O}", "certificate", certificate, "role",
                                              n->manager ? "manager" : "worker", "managers", c->managers);
    must(answer);
    r = n->manager ? add_keys(c, answer, err) : 0;
    if (r == 0)
        *ret = json_format(answer);
    return r;
}

int join__renew(struct http_request *q, void *context, struct err *err)
{
    struct cluster *c = context;
    struct port_peer peer;
    _cleanup_json_ json_t *body = NULL;
    _cleanup_free_ char *answer = NULL;
    const char *csr = "";
    if (port__elsewhere(c, q))
        return 0;
    int r = port__peer(c, q, &peer, err); /* before anything of it is read */
    if (r == 0)
        r = http_body_json(q, JOIN_BODY_MAX, &body, err);
    if (r == 0)
        r = json_get_string(body, "", "csr", &csr, err);
    if (r < 0)
        return r;
    r = renew(c, &peer, csr, &answer, err);
    if (r == 0)
        http_reply_text(q, 200, "application/json", answer);
    return r;
}

/* --- The machine that joins --- */

struct asked {
    char **managers;
    const char *token;
    char fingerprint[FINGERPRINT_DIGITS + 1];
};

static int read_token(const char *token, char ret[FINGERPRINT_DIGITS + 1], struct err *err)
{
    const char *digits = str_after(token, "SWMTKN-1-");
    size_t n = digits ? strspn(digits, "0123456789abcdefghijklmnopqrstuvwxyz") : 0;
    if (n != FINGERPRINT_DIGITS || digits[n] != '-' ||
        strspn(digits + n + 1, "0123456789abcdefghijklmnopqrstuvwxyz") != SECRET_DIGITS ||
        digits[n + 1 + SECRET_DIGITS])
        return err_set(
            err, ERR_INVALID,
            "invalid join token: it has the form SWMTKN-1-DIGEST-SECRET; docker swarm join-token worker, on "
            "a manager, shows it");
    snprintf(ret, FINGERPRINT_DIGITS + 1, "%.*s", FINGERPRINT_DIGITS, digits);
    return 0;
}

static int read_asked(const json_t *body, struct asked *ret, struct err *err)
{
    const char *text = "";
    int r = json_get_strv(body, "", "RemoteAddrs", &ret->managers, err);
    if (r == 0 && (!ret->managers || !*ret->managers))
        r = err_set(err, ERR_INVALID, "RemoteAddrs: the address of a manager is needed");
    if (r == 0)
        r = json_get_string(body, "", "JoinToken", &ret->token, err);
    if (r == 0)
        r = json_get_string(body, "", "DataPathAddr", &text, err);
    if (r == 0)
        r = json_get_string(body, "", "Availability", &text, err);
    return r == 0 ? read_token(ret->token, ret->fingerprint, err) : r;
}

/* The authority that the token names, from one of the managers; *ret_at is where that one is. */
static int find_authority(const struct asked *a, char **ret_pem, char **ret_at, struct err *err)
{
    int r = -ERR_UNAVAILABLE;
    STRV_FOREACH (address, a->managers) {
        _cleanup_free_ char *pem = NULL, *host = swarm__host_of(*address);
        _cleanup_free_ char *door = identity__door(host, identity__port_of(*address));
        r = peer_fetch_authority(door, &pem, err);
        if (r < 0)
            continue;
        _cleanup_free_ char *fingerprint = keys__fingerprint(pem);
        if (!str_eq(fingerprint, a->fingerprint)) {
            r = err_set(
                err, ERR_DENIED,
                "remote CA does not match fingerprint. Expected: %s: the machine at %s is not of the swarm "
                "that the token is for",
                a->fingerprint, door);
            continue;
        }
        *ret_pem = take_ptr(pem);
        *ret_at = take_ptr(door);
        return 0;
    }
    return r;
}

static int ask(struct cluster *c, const json_t *body, const struct asked *a, const char *at, const char *csr,
               json_t **ret, struct err *err)
{
    _cleanup_free_ char *file = identity__path(c, "ca.pem"), *host = NULL;
    json_t *description = node__describe(c, err);
    if (!description)
        return -err->code;
    if (*json_str(body, "AdvertiseAddr"))
        host = swarm__host_of(c->address);
    _cleanup_json_ json_t *request =
        json_pack("{s:i, s:s, s:s, s:o, s:s, s:i, s:s}", "protocol", CLUSTER_PROTOCOL, "token", a->token,
                  "csr", csr, "description", description, "address", host ? host : "", "port",
                  identity__port_of(c->address), "availability", json_str(body, "Availability"));
    must(request);
    return peer_call_stranger(c, at, file, "/cluster/join", request, ret, err);
}

/* What the leader says, checked: it is of the authority, and all the same its words are used in paths and
 * files. */
static int check_answer(const json_t *answer, struct err *err)
{
    struct pki_subject subject;
    const char *role = json_str(answer, "role");
    int r = pki_read(json_str(answer, "certificate"), &subject, err);
    if (r == 0 && (strlen(json_str(answer, "node")) != ID_BYTES - 1 ||
                   !str_eq(subject.node, json_str(answer, "node")) ||
                   !str_eq(subject.swarm, json_str(answer, "swarm")) ||
                   (!str_eq(role, "worker") && !str_eq(role, "manager")) ||
                   !node__is_address(json_str(answer, "address")) ||
                   !json_array_size(json_object_get(answer, "managers"))))
        r = err_set(err, ERR_PROTOCOL, "the manager's answer is not one to a machine that joins");
    return r;
}

static int take_answer(struct cluster *c, const json_t *answer, const char *key, struct err *err)
{
    bool manager = str_eq(json_str(answer, "role"), "manager");
    int r = check_answer(answer, err);
    if (r == 0 && manager) /* before there is anything to lock */
        r = autolock__follow(c, answer, err);
    if (r == 0)
        r = identity__write(c, NULL, json_str(answer, "certificate"), key,
                            manager ? json_string_value(json_object_get(answer, "authority_key")) : NULL,
                            err);
    if (r < 0)
        return r;
    SCOPED_LOCK(locked, &c->lock);
    c->self = mem_strdup(json_str(answer, "node"));
    c->swarm_id = mem_strdup(json_str(answer, "swarm"));
    char *door = identity__door(json_str(answer, "address"), identity__port_of(c->address));
    free(c->address);
    c->address = door;
    c->managers = json_copy_tree(json_object_get(answer, "managers"));
    c->role = manager ? ROLE_FOLLOWS : ROLE_WORKS;
    if (manager)
        r = managers__begin(c, answer, err);
    return r == 0 ? identity__save(c, err) : r;
}

static int join(struct cluster *c, const json_t *body, struct asked *a, struct err *err)
{
    _cleanup_free_ char *authority = NULL, *at = NULL, *csr = NULL, *key = NULL;
    _cleanup_json_ json_t *answer = NULL;
    int r = read_asked(body, a, err);
    if (r == 0)
        r = swarm__set_addresses(c, body, true, err);
    if (r == 0)
        r = find_authority(a, &authority, &at, err);
    if (r == 0)
        r = identity__write(c, authority, NULL, NULL, NULL, err);
    if (r == 0)
        r = pki_request(&csr, &key, err);
    if (r == 0)
        r = ask(c, body, a, at, csr, &answer, err);
    if (r == 0)
        r = take_answer(c, answer, key, err);
    return r == 0 ? swarm__make_ingress(c, err) : r;
}

static int join_and_begin(struct cluster *c, const json_t *body, struct err *err)
{
    SCOPED_LOCK(change, &c->change_lock);
    struct asked a = {0};
    if (cluster_active(c))
        return swarm__already(err);
    c->cancel = false;
    int r = join(c, body, &a, err);
    strv_free(a.managers);
    if (r == 0)
        r = port__open(c, err);
    if (r < 0)
        managers__forget(c);
    SCOPED_LOCK(locked, &c->lock);
    if (r == 0)
        r = loop__start(c, err);
    if (r < 0)
        identity__forget(c);
    else
        managers__start(c);
    return r;
}

int cluster_join(struct cluster *c, const json_t *body, struct err *err)
{
    int r = join_and_begin(c, body, err);
    if (r == 0)
        managers__wait(c);
    return r;
}
