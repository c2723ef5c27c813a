#include "cluster/authority.h"

#include "base/log.h"
#include "cluster/identity.h"
#include "cluster/pki.h"
#include "cluster/port.h"
#include "cluster/revoke.h"
#include "cluster/session.h"

#include <unistd.h>

enum { TRUST_MAX = 64 << 10 };

static const char key_name[] = "authority"; /* what a key is authenticated as in the document */

void authority__done(struct authority *a)
{
    free(a->certificate);
    free(a->key);
    free(a->cross);
    *a = (struct authority){0};
}

/* --- In the document --- */

static const json_t *rotation(const struct cluster *c)
{
    return json_object_get(c->swarm, "Rotation");
}

static int read_part(struct cluster *c, const json_t *part, struct authority *ret, struct err *err)
{
    _cleanup_str_ struct str key = STR_INIT;
    int r = keys__open_text(c, key_name, json_str(part, "key"), &key, err);
    if (r < 0)
        return err_wrap(err, "read the key of the swarm's authority");
    *ret = (struct authority){.certificate = mem_strdup(json_str(part, "certificate")),
                              .key = str_take(&key),
                              .cross = mem_strdup(json_string_value(json_object_get(part, "cross")))};
    return 0;
}

static json_t *make_part(const struct cluster *c, const struct authority *a)
{
    _cleanup_free_ char *key = keys__seal_text(c, key_name, a->key, strlen(a->key));
    json_t *out = json_pack("{s:s, s:s}", "certificate", a->certificate, "key", key);
    if (a->cross)
        json_set_str(out, "cross", a->cross);
    return out;
}

bool authority__in_files(const struct cluster *c)
{
    return !json_object_get(c->swarm, "Authority");
}

int authority__present(struct cluster *c, struct authority *ret, struct err *err)
{
    if (!authority__in_files(c))
        return read_part(c, json_object_get(c->swarm, "Authority"), ret, err);
    _cleanup_free_ char *trust = identity__authority(c), *key = identity__authority_key(c, err);
    if (!trust || !key)
        return trust ? -err->code
                     : err_set(err, ERR_CORRUPT, "the certificate of the swarm's authority is missing");
    *ret = (struct authority){.certificate = pki_first(trust), .key = take_ptr(key)};
    return 0;
}

int authority__next(struct cluster *c, struct authority *ret, struct err *err)
{
    return rotation(c) ? read_part(c, rotation(c), ret, err)
                       : err_set(err, ERR_NOT_FOUND, "the swarm's authority is not replaced now");
}

int authority__issuer(struct cluster *c, struct authority *ret, struct err *err)
{
    return json_bool(rotation(c), "issues") ? authority__next(c, ret, err) : authority__present(c, ret, err);
}

/* What nodes are to believe. */
static char *trust_text(struct cluster *c)
{
    struct err err;
    _cleanup_authority_ struct authority present = {0};
    if (authority__present(c, &present, &err) < 0) {
        log_error("cluster: %s", err.msg);
        return NULL;
    }
    return str_printf("%s%s", present.certificate, json_str(rotation(c), "certificate"));
}

/* --- A rotation is asked for --- */

int authority__check(const json_t *config, struct err *err)
{
    const char *certificate = "", *key = "";
    json_t *others = NULL;
    int64_t force = 0;
    int r = json_get_array(config, "CAConfig", "ExternalCAs", &others, err);
    if (r == 0 && json_array_size(others))
        r = err_set(err, ERR_UNSUPPORTED,
                    "CAConfig.ExternalCAs: not supported by Drover: an authority of your "
                    "own is given with its key (--ca-cert, --ca-key)");
    if (r == 0)
        r = json_get_string(config, "CAConfig", "SigningCACert", &certificate, err);
    if (r == 0)
        r = json_get_string(config, "CAConfig", "SigningCAKey", &key, err);
    if (r == 0)
        r = json_get_i64(config, "CAConfig", "ForceRotate", &force, err);
    if (r == 0 && !*key != !*certificate)
        r = err_set(
            err, ERR_INVALID,
            "rpc error: code = InvalidArgument desc = if a signing CA %s is provided, the signing CA %s "
            "must also be provided",
            *key ? "key" : "cert", *key ? "cert" : "key");
    return r;
}

/* In the document's spec it would be shown, and come back with the next change. */
static void hide_given(json_t *after)
{
    json_t *config = json_object_get(json_object_get(after, "Spec"), "CAConfig");
    json_object_del(config, "SigningCACert");
    json_object_del(config, "SigningCAKey");
}

static int64_t force_of(const json_t *document)
{
    return json_int(json_object_get(json_object_get(document, "Spec"), "CAConfig"), "ForceRotate");
}

static void set_info(json_t *document, const char *root, const char *issuer)
{
    json_object_set_new(document, "TLSInfo", keys__tls_info(root, issuer));
}

static int begin(struct cluster *c, json_t *after, const struct authority *present, struct authority *next,
                 struct err *err)
{
    int r = pki_cross(present->certificate, present->key, next->certificate, &next->cross, err);
    if (r < 0)
        return r;
    json_object_set_new(after, "Rotation", make_part(c, next));
    json_object_set_new(after, "RootRotationInProgress", json_true());
    set_info(after, present->certificate, present->certificate);
    return 0;
}

/* The present one is asked for: what was to take its place does not. */
static void give_up(json_t *after, const struct authority *present)
{
    json_object_del(after, "Rotation");
    json_object_set_new(after, "RootRotationInProgress", json_false());
    set_info(after, present->certificate, present->certificate);
}

int authority__choose(struct cluster *c, json_t *after, const json_t *config, struct err *err)
{
    const char *certificate = json_str(config, "SigningCACert"), *key = json_str(config, "SigningCAKey");
    _cleanup_authority_ struct authority present = {0}, next = {0};
    hide_given(after);
    if (!*certificate && force_of(after) <= force_of(c->swarm))
        return 0;
    int r = authority__present(c, &present, err);
    if (r == 0)
        r = *certificate ? pki_check_root(certificate, key, present.certificate, &next.certificate, err)
                         : keys__make_authority(false, &next.certificate, &next.key, err);
    if (r < 0)
        return r;
    if (*certificate)
        next.key = mem_strdup(key);
    if (str_eq(next.certificate, present.certificate)) {
        give_up(after, &present);
        return 0;
    }
    return begin(c, after, &present, &next, err);
}

/* --- The leader brings it to its end --- */

static void describe_self(struct cluster *c)
{
    struct node *own = map_get(&c->objects[CLUSTER_NODE], c->self);
    if (!own)
        return;
    _cleanup_json_ json_t *before = json_copy(own->description);
    authority__describe(c, own->description);
    if (json_equal(before, own->description))
        return;
    cluster__touch(c, &own->o);
    own->dirty = true;
}

/* How many nodes have yet to come to where this phase ends. */
static size_t behind(struct cluster *c, const char *trust)
{
    _cleanup_free_ char *fingerprint = keys__fingerprint(trust);
    const json_t *issuer = json_object_get(json_object_get(c->swarm, "TLSInfo"), "CertIssuerPublicKey");
    size_t count = 0;
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_NODE], &i));) {
        const struct node *n = e->value;
        const json_t *info = json_object_get(n->description, "TLSInfo");
        count += !str_eq(json_str(n->description, "Trust"), fingerprint) ||
                 !json_equal(json_object_get(info, "CertIssuerPublicKey"), issuer);
    }
    return count;
}

static void issue_from_now_on(struct cluster *c, json_t *after, const char *present)
{
    json_t *part = json_object_get(after, "Rotation");
    json_object_set_new(part, "issues", json_true());
    set_info(after, present, json_str(part, "certificate"));
}

/* Those that the old one has issued open nothing any more. */
static void forget_clients(json_t *after, const char *fingerprint)
{
    json_t *clients = json_object_get(after, "Clients");
    size_t gone = 0;
    for (size_t i = json_array_size(clients); i-- > 0;)
        if (!str_eq(json_str(json_array_get(clients, i), "authority"), fingerprint)) {
            json_array_remove(clients, i);
            gone++;
        }
    if (gone)
        log_warning(
            "cluster: %zu clients' certificates ended with the authority that had issued them: drover "
            "cluster client makes others",
            gone);
}

static void end(json_t *after)
{
    json_t *part = json_object_get(after, "Rotation");
    const char *root = json_str(part, "certificate");
    _cleanup_free_ char *fingerprint = keys__fingerprint(root);
    json_t *authority = json_pack("{s:s, s:s}", "certificate", root, "key", json_str(part, "key"));
    set_info(after, root, root);
    json_object_set_new(after, "JoinTokens", swarm__make_tokens(fingerprint));
    json_object_set_new(after, "RootRotationInProgress", json_false());
    forget_clients(after, fingerprint);
    json_object_del(after, "Rotation");
    json_object_set_new(after, "Authority", authority);
}

static int step(struct cluster *c, struct err *err)
{
    bool issues = json_bool(rotation(c), "issues");
    json_t *before = c->swarm, *after = json_deep_copy(before);
    struct change ch = {0};
    _cleanup_free_ char *present = mem_strdup(json_str(json_object_get(before, "TLSInfo"), "TrustRoot"));
    if (issues)
        end(after);
    else
        issue_from_now_on(c, after, present);
    swarm__touch(c, after);
    c->swarm = after;
    change_put_swarm(&ch, c);
    int r = change_commit(c, &ch, true, err);
    c->swarm = r < 0 ? before : after;
    json_decref(r < 0 ? after : before);
    if (r == 0)
        log_info("cluster: %s", issues ? "the swarm has its new authority alone"
                                       : "all nodes believe the new authority, which issues from now on");
    return r;
}

void authority__tick(struct cluster *c)
{
    struct err err;
    if (!rotation(c))
        return;
    describe_self(c);
    _cleanup_free_ char *trust = trust_text(c);
    if (!trust || behind(c, trust))
        return;
    if (step(c, &err) < 0) {
        log_warning("cluster: replace the authority: %s", err.msg);
        return;
    }
    authority__begin(c);
    assign__changed(c, NULL);
}

void authority__begin(struct cluster *c)
{
    _cleanup_json_ json_t *own = json_object();
    authority__add(c, own);
    authority__follow(c, own);
    describe_self(c);
    revoke__publish(c);
}

void authority__add(struct cluster *c, json_t *answer)
{
    struct err err;
    _cleanup_authority_ struct authority issuer = {0};
    _cleanup_free_ char *trust = trust_text(c);
    if (!trust || authority__issuer(c, &issuer, &err) < 0)
        return;
    json_set_str(answer, "authority", trust);
    json_set_str(answer, "issuer", issuer.certificate);
    json_object_set_new(answer, "authority_key_kept", json_boolean(!authority__in_files(c)));
}

/* --- A node --- */

static bool take_trust(struct cluster *c, const char *trust)
{
    struct err err;
    _cleanup_free_ char *present = identity__authority(c);
    if (str_eq(present, trust))
        return false;
    if (identity__write(c, trust, NULL, NULL, NULL, &err) < 0) {
        log_error("cluster: keep the authorities to believe: %s", err.msg);
        return false;
    }
    port__renewed(c);
    return true;
}

void authority__follow(struct cluster *c, const json_t *answer)
{
    const char *trust = json_str(answer, "authority"), *issuer = json_str(answer, "issuer");
    if (!*trust || strlen(trust) > TRUST_MAX || !*issuer)
        return;
    if (take_trust(c, trust))
        c->describes = true;
    _cleanup_free_ char *own = identity__certificate(c);
    if (own && !pki_is_issued_by(own, issuer)) {
        c->renews = true;
        c->swept_ns = 0; /* who leads looks soon; others when this answer is done with */
    }
    if (json_bool(answer, "authority_key_kept")) {
        _cleanup_free_ char *key = identity__path(c, "ca.key");
        unlink(key);
    }
}

void authority__describe(struct cluster *c, json_t *description)
{
    _cleanup_free_ char *trust = identity__authority(c), *own = identity__certificate(c);
    if (!trust)
        return;
    _cleanup_free_ char *root = pki_first(trust), *issuer = own ? pki_issuer_in(own, trust) : NULL,
                        *fingerprint = keys__fingerprint(trust);
    json_object_set_new(description, "TLSInfo", keys__tls_info(root, issuer ? issuer : root));
    json_set_str(description, "Trust", fingerprint);
}
