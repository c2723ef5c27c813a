#include "cluster/peer.h"

#include "cluster/cluster_priv.h"
#include "cluster/identity.h"
#include "cluster/pki.h"
#include "cluster/port.h"
#include "http/client.h"

#include <sys/stat.h>

enum {
    HOPS_MAX = 3,
    MISDIRECTED = 421,
    AUTHORITY_MAX = 64 << 10,
    STRANGER_TIMEOUT_MS = 60000,
    CONNECT_MS = 2000,
    LOST_MS = 3000,
};

struct call {
    const char *method, *path;
    const json_t *body;
    const char *authority, *certificate, *key, *revoked; /* files */
    int timeout_ms;
    const _Atomic bool *cancel;
    struct http_client *kept; /* NULL: a connection of its own */
};

/* One answer, whatever it says. */
static int call_once(const struct call *call, const char *address, struct http_response *ret, struct err *err)
{
    struct http_client *client = call->kept;
    _cleanup_free_ char *text = call->body ? json_format(call->body) : NULL;
    _cleanup_free_ char *url = str_printf("https://" PKI_MANAGER "%s", call->path);
    char json[] = "Content-Type: application/json", *headers[] = {text ? json : NULL, NULL};
    int r = client ? 0 : http_client_new(NULL, &client, err);
    if (r < 0)
        return r;
    const struct http_call http = {.method = call->method,
                                   .url = url,
                                   .headers = headers,
                                   .body = text,
                                   .body_bytes = text ? strlen(text) : 0,
                                   .ca_file = call->authority,
                                   .crl_file = call->revoked,
                                   .certificate_file = call->certificate,
                                   .key_file = call->key,
                                   .connect_to = address,
                                   .anybody = !call->authority,
                                   .max_body_bytes = PORT_ANSWER_MAX,
                                   .connect_timeout_ms = MIN(call->timeout_ms, CONNECT_MS),
                                   .idle_timeout_ms = call->timeout_ms,
                                   .lost_after_ms = LOST_MS,
                                   .cancel = call->cancel};
    r = http_client_call(client, &http, ret, err);
    if (!call->kept)
        http_client_free(client);
    if (r ==
        -ERR_DENIED) /* by us: who answers there is no manager, and a manager's own "denied" is an answer */
        err->code = ERR_UNAVAILABLE;
    return r < 0 ? err_wrap(err, "manager %s", address) : 0;
}

static int call_json(const struct call *call, const char *address, json_t **ret, struct err *err)
{
    _cleanup_free_ char *at = mem_strdup(address);
    for (int hop = 0; hop < HOPS_MAX; hop++) {
        struct http_response answer;
        _cleanup_json_ json_t *doc = NULL;
        int r = call_once(call, at, &answer, err);
        if (r < 0)
            return r;
        r = http_response_err(&answer, err);
        bool elsewhere = answer.status == MISDIRECTED;
        if ((r == 0 || elsewhere) && answer.body.len &&
            json_parse(str_get(&answer.body), answer.body.len, "a manager's answer", &doc,
                       r == 0 ? err : &(struct err){0}) < 0 &&
            r == 0)
            r = -ERR_PROTOCOL;
        http_response_done(&answer);
        const char *leader = json_str(doc, "leader");
        if (elsewhere && *leader) {
            free(at);
            at = mem_strdup(leader);
            continue;
        }
        if (elsewhere)
            return err_set(err, ERR_UNAVAILABLE, "manager %s: the swarm has no leader now", at);
        if (r == 0 && ret)
            *ret = json_incref(doc);
        return r;
    }
    return err_set(err, ERR_UNAVAILABLE, "manager %s: the managers do not agree on who leads", address);
}

static struct timespec written(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? st.st_mtim : (struct timespec){0};
}

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

/* A connection shows the certificate that it began with, and knows of no revocation since. */
static int open_kept(struct peer_kept *kept, const struct call *call, struct err *err)
{
    struct timespec shown = written(call->certificate), revoked = written(call->revoked),
                    trusted = written(call->authority);
    if (kept->client && same_time(shown, kept->shown) && same_time(revoked, kept->revoked) &&
        same_time(trusted, kept->trusted))
        return 0;
    peer_kept_done(kept);
    kept->shown = shown;
    kept->revoked = revoked;
    kept->trusted = trusted;
    return http_client_new(NULL, &kept->client, err);
}

void peer_kept_done(struct peer_kept *kept)
{
    if (kept->client)
        http_client_free(kept->client);
    kept->client = NULL;
}

static int call_over(struct cluster *c, struct peer_kept *kept, const char *address, const char *method,
                     const char *path, const json_t *body, int timeout_ms, json_t **ret, struct err *err)
{
    _cleanup_identity_files_ struct identity_files files;
    identity__files(c, &files);
    struct call call = {method,    path,          body,       files.authority, files.certificate,
                        files.key, files.revoked, timeout_ms, &c->cancel,      NULL};
    int r = kept ? open_kept(kept, &call, err) : 0;
    if (r < 0)
        return r;
    call.kept = kept ? kept->client : NULL;
    return call_json(&call, address, ret, err);
}

int peer_call(struct cluster *c, const char *address, const char *method, const char *path,
              const json_t *body, int timeout_ms, json_t **ret, struct err *err)
{
    return call_over(c, NULL, address, method, path, body, timeout_ms, ret, err);
}

static char **known_managers(struct cluster *c)
{
    SCOPED_LOCK(locked, &c->lock);
    char **list = NULL;
    size_t i, n = json_array_size(c->managers);
    for (i = 0; i < n; i++)
        strv_add(&list, json_str(json_array_get(c->managers, (i + c->manager_at) % n), "address"));
    return list;
}

/* Whether another manager may know better. */
static bool is_absence(int r)
{
    return r == -ERR_UNAVAILABLE || r == -ERR_TIMEOUT || r == -ERR_PROTOCOL || r == -ERR_NOT_LEADER ||
           r == -ERR_NO_MAJORITY || r == -ERR_SYSTEM;
}

int peer_call_leader_over(struct cluster *c, struct peer_kept *kept, const char *method, const char *path,
                          const json_t *body, int timeout_ms, json_t **ret, struct err *err)
{
    _cleanup_strv_ char **list = known_managers(c);
    int r = err_set(err, ERR_UNAVAILABLE, "no manager of the swarm is known");
    STRV_FOREACH (address, list) {
        r = call_over(c, kept, *address, method, path, body, timeout_ms, ret, err);
        if (!is_absence(r))
            return r;
        SCOPED_LOCK(locked, &c->lock);
        c->manager_at++;
    }
    return r;
}

int peer_call_leader(struct cluster *c, const char *method, const char *path, const json_t *body,
                     int timeout_ms, json_t **ret, struct err *err)
{
    return peer_call_leader_over(c, NULL, method, path, body, timeout_ms, ret, err);
}

int peer_fetch_authority(const char *address, char **ret_pem, struct err *err)
{
    struct http_response answer;
    const struct call call = {
        .method = "GET", .path = "/cluster/authority", .timeout_ms = STRANGER_TIMEOUT_MS};
    int r = call_once(&call, address, &answer, err);
    if (r < 0)
        return r;
    r = http_response_err(&answer, err);
    if (r == 0 && answer.body.len > AUTHORITY_MAX)
        r = err_set(err, ERR_PROTOCOL, "%s answers with something else than a swarm's certificate", address);
    if (r == 0)
        *ret_pem = str_take(&answer.body);
    http_response_done(&answer);
    return r;
}

int peer_call_stranger(struct cluster *c, const char *address, const char *authority_file, const char *path,
                       const json_t *body, json_t **ret, struct err *err)
{
    const struct call call = {.method = "POST",
                              .path = path,
                              .body = body,
                              .authority = authority_file,
                              .timeout_ms = STRANGER_TIMEOUT_MS,
                              .cancel = &c->cancel};
    return call_json(&call, address, ret, err);
}
