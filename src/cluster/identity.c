#include "cluster/identity.h"

#include "base/file.h"
#include "base/log.h"
#include "cluster/authority.h"
#include "cluster/cluster_priv.h"
#include "cluster/peer.h"
#include "cluster/pki.h"
#include "cluster/port.h"
#include "cluster/revoke.h"

#include <unistd.h>

enum {
    PEM_MAX = 64 << 10,
    NODE_FILE_MAX = 256 << 10,
    RENEW_TIMEOUT_MS = 15000,
    RENEW_TELL_S = 3600,
    CLIENT_LIFE_DAYS = 365
};

static const char *const role_names[] = {"none", "leads", "follows", "works"};

char *identity__path(struct cluster *c, const char *name)
{
    return str_printf("%s/%s", c->dir, name);
}

void identity__files(struct cluster *c, struct identity_files *ret)
{
    *ret = (struct identity_files){.authority = identity__path(c, "ca.pem"),
                                   .certificate = identity__path(c, "node.pem"),
                                   .revoked = identity__path(c, "ca.crl"),
                                   .key = seal__key_path(c)};
}

void identity__files_done(struct identity_files *f)
{
    free(f->authority);
    free(f->certificate);
    free(f->revoked);
}

static char *read_text(struct cluster *c, const char *name, size_t max, struct err *err)
{
    _cleanup_free_ char *path = identity__path(c, name);
    _cleanup_str_ struct str text = STR_INIT;
    return file_read(path, max, &text, err) < 0 ? NULL : str_take(&text);
}

static char *read_secret(struct cluster *c, const char *name, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    return seal__read(c, name, &text, err) < 0 ? NULL : str_take(&text);
}

char *identity__authority(struct cluster *c)
{
    return read_text(c, "ca.pem", PEM_MAX, &(struct err){0});
}

char *identity__certificate(struct cluster *c)
{
    return read_text(c, "node.pem", PEM_MAX, &(struct err){0});
}

static int write_text(struct cluster *c, const char *name, const char *text, struct err *err)
{
    _cleanup_free_ char *path = identity__path(c, name);
    return text ? file_replace(path, text, strlen(text), 0644, true, err) : 0;
}

static int write_secret(struct cluster *c, const char *name, const char *text, struct err *err)
{
    return text ? seal__write(c, name, text, strlen(text), err) : 0;
}

int identity__write(struct cluster *c, const char *authority, const char *certificate, const char *key,
                    const char *authority_key, struct err *err)
{
    int r = write_text(c, "ca.pem", authority, err);
    if (r == 0)
        r = write_secret(c, "ca.key", authority_key, err);
    if (r == 0)
        r = write_secret(c, "node.key", key, err);
    if (r == 0 && key)
        r = seal__show_key(c, key, err);
    return r == 0 ? write_text(c, "node.pem", certificate, err) : r;
}

/* --- Certificates --- */

int64_t identity__life(const struct cluster *c)
{
    const json_t *authority = json_object_get(json_object_get(c->swarm, "Spec"), "CAConfig");
    int64_t life = json_int(authority, "NodeCertExpiry");
    return life > 0 ? life : INT64_C(90) * 86400 * NS_PER_S;
}

int identity__issue(struct cluster *c, const char *csr, const struct pki_subject *subject,
                    char **ret_certificate, struct err *err)
{
    _cleanup_authority_ struct authority issuer = {0};
    _cleanup_free_ char *own = NULL;
    if (authority__issuer(c, &issuer, err) < 0)
        return err_wrap(err, "read the cluster's authority");
    struct pki_subject whole = *subject;
    snprintf(whole.swarm, sizeof(whole.swarm), "%s", c->swarm_id);
    int r = pki_issue(issuer.certificate, issuer.key, csr, &whole,
                      subject->client ? CLIENT_LIFE_DAYS * INT64_C(86400) * NS_PER_S : identity__life(c),
                      &own, err);
    if (r == 0)
        *ret_certificate = str_printf("%s%s", own, issuer.cross ? issuer.cross : "");
    return r;
}

char *identity__authority_key(struct cluster *c, struct err *err)
{
    return read_secret(c, "ca.key", err);
}

int identity__issue_own(struct cluster *c, struct err *err)
{
    _cleanup_free_ char *csr = NULL, *key = NULL, *certificate = NULL;
    _cleanup_free_ char *host = swarm__host_of(c->address);
    struct pki_subject own = {.manager = true, .address = host};
    snprintf(own.node, sizeof(own.node), "%s", c->self);
    int r = pki_request(&csr, &key, err);
    if (r == 0)
        r = identity__issue(c, csr, &own, &certificate, err);
    return r == 0 ? identity__write(c, NULL, certificate, key, NULL, err) : r;
}

/* The leader's own is noted as others' are. */
static void note_own(struct cluster *c)
{
    _cleanup_free_ char *pem = identity__certificate(c);
    SCOPED_LOCK(locked, &c->lock);
    struct node *own = map_get(&c->objects[CLUSTER_NODE], c->self);
    if (!pem || !own || c->role != ROLE_LEADS)
        return;
    revoke__note(own, pem);
    own->dirty = true;
    c->all_dirty = true; /* for who waits for it: authority.c */
    pthread_cond_signal(&c->decide);
}

static int renew(struct cluster *c, struct err *err)
{
    _cleanup_free_ char *csr = NULL, *key = NULL;
    _cleanup_json_ json_t *body = NULL, *answer = NULL;
    struct pki_subject subject;
    if (c->role == ROLE_LEADS) {
        int done = identity__issue_own(c, err);
        if (done == 0)
            note_own(c);
        return done;
    }
    int r = pki_request(&csr, &key, err);
    if (r < 0)
        return r;
    body = json_pack("{s:s}", "csr", csr);
    r = peer_call_leader(c, "POST", "/cluster/renew", body, RENEW_TIMEOUT_MS, &answer, err);
    if (r == 0)
        r = pki_read(json_str(answer, "certificate"), &subject, err);
    if (r == 0 && !str_eq(subject.node, c->self))
        r = err_set(err, ERR_PROTOCOL, "the certificate is another node's");
    return r == 0 ? identity__write(c, NULL, json_str(answer, "certificate"), key, NULL, err) : r;
}

void identity__renew_when_due(struct cluster *c, int64_t life_ns)
{
    _cleanup_free_ char *pem = identity__certificate(c);
    struct pki_subject s;
    struct err err;
    if (!pem || pki_read(pem, &s, &err) < 0)
        return;
    int64_t left = s.ends_ns - time_now_ns();
    bool shorter = life_ns > 0 && left > life_ns + life_ns / 10;
    if (left > (s.ends_ns - s.begins_ns) / 4 && !shorter && !c->renews)
        return;
    if (renew(c, &err) < 0) {
        if (time_monotonic_ns() > c->renew_told_ns + RENEW_TELL_S * NS_PER_S || !c->renew_told_ns) {
            c->renew_told_ns = time_monotonic_ns();
            log_warning("cluster: renew this node's certificate: %s", err.msg);
        }
        return;
    }
    c->renews = false;
    c->describes = true;
    log_info("cluster: this node's certificate is renewed");
    port__renewed(c);
}

/* --- node.json --- */

/* Who listens or calls without says more. */
static void show_key(struct cluster *c)
{
    struct err err;
    _cleanup_free_ char *key = c->locked && !c->seal.known ? NULL : read_secret(c, "node.key", &err);
    if (key && seal__show_key(c, key, &err) < 0)
        log_error("cluster: %s", err.msg);
}

static void forget_texts(struct cluster *c)
{
    char **texts[] = {&c->self, &c->swarm_id, &c->listen, &c->address, &c->leader, &c->trouble};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        free(*texts[i]);
        *texts[i] = NULL;
    }
    json_decref(c->managers);
    c->managers = NULL;
}

int identity__load(struct cluster *c, struct err *err)
{
    _cleanup_free_ char *path = identity__path(c, "node.json");
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_json_ json_t *doc = NULL;
    int r = file_read(path, NODE_FILE_MAX, &text, err);
    if (r == -ERR_NOT_FOUND)
        return 0;
    if (r == 0)
        r = json_parse(str_get(&text), text.len, path, &doc, err);
    if (r < 0)
        return r;
    c->role = ROLE_NONE;
    for (size_t i = 0; i < ARRAY_SIZE(role_names); i++)
        if (str_eq(json_str(doc, "role"), role_names[i]))
            c->role = (enum cluster_role)i;
    if (c->role == ROLE_NONE || strlen(json_str(doc, "node")) != ID_BYTES - 1)
        return err_set(
            err, ERR_CORRUPT,
            "%s: no node or role in it: put the file back from a backup, or take the directory away "
            "to join anew",
            path);
    forget_texts(c); /* of when it was locked */
    c->self = mem_strdup(json_str(doc, "node"));
    c->swarm_id = mem_strdup(json_str(doc, "swarm"));
    c->listen = mem_strdup(json_str(doc, "listen"));
    c->address = mem_strdup(json_str(doc, "address"));
    json_t *managers = json_object_get(doc, "managers");
    c->managers = json_is_array(managers) ? json_incref(managers) : json_array();
    show_key(c);
    return 0;
}

int identity__save(struct cluster *c, struct err *err)
{
    _cleanup_free_ char *path = identity__path(c, "node.json");
    _cleanup_json_ json_t *doc =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:O}", "node", c->self, "swarm", c->swarm_id, "role",
                  role_names[c->role], "listen", c->listen, "address", c->address, "managers", c->managers);
    must(doc);
    _cleanup_free_ char *text = json_format(doc);
    return file_replace(path, text, strlen(text), 0644, true, err);
}

void identity__forget(struct cluster *c)
{
    struct err err;
    c->heard_epoch = 0;
    *c->heard_lead = '\0';
    static const char *const files[] = {"node.json", "assigned.json", "node.key", "node.pem",
                                        "ca.key",    "ca.crl",        "ca.pem"};
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        _cleanup_free_ char *path = identity__path(c, files[i]);
        unlink(path);
    }
    seal__forget(c);
    if (keys__renew(c, &err) < 0)
        log_error("cluster: %s", err.msg);
    forget_texts(c);
    free(c->revocations);
    c->revocations = NULL;
    c->role = ROLE_NONE;
}

/* --- Addresses --- */

int identity__port_of(const char *address)
{
    const char *colon = strrchr(address, ':'), *bracket = strrchr(address, ']');
    int64_t port;
    bool bare_v6 = !bracket && colon && strchr(address, ':') != colon;
    if (!colon || bare_v6 || (bracket && colon < bracket) || parse_i64(colon + 1, 1, 65535, &port, NULL) < 0)
        return CLUSTER_PORT;
    return (int)port;
}

char *identity__door(const char *address, int port)
{
    bool v6 = strchr(address, ':') && *address != '[';
    return str_printf(v6 ? "[%s]:%d" : "%s:%d", address, port);
}

static bool know_manager(struct cluster *c, const char *node, const char *address)
{
    json_t *one;
    size_t i;
    json_array_foreach (c->managers, i, one)
        if (str_eq(json_str(one, "node"), node)) {
            if (str_eq(address, json_str(one, "address")))
                return false;
            if (address)
                json_set_str(one, "address", address);
            else
                json_array_remove(c->managers, i);
            return true;
        }
    if (!address)
        return false;
    json_array_append_new(c->managers, json_pack("{s:s, s:s}", "node", node, "address", address));
    return true;
}

void identity__know_manager(struct cluster *c, const char *node, const char *address)
{
    struct err err;
    if (know_manager(c, node, address) && identity__save(c, &err) < 0)
        log_error("cluster: %s", err.msg);
}
