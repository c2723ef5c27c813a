#include "image/signature.h"

#include "base/base64.h"
#include "base/deferred.h"
#include "base/digest.h"
#include "base/json.h"
#include "base/name_pattern.h"
#include "image/image_ref.h"

#include <gnutls/abstract.h>

enum { RSA_MIN_BITS = 2048 };

struct signature_key {
    gnutls_pubkey_t public;
    gnutls_sign_algorithm_t algorithm;
    unsigned char id[32]; /* SHA-256 of what is signed with */
};

/* --- keys --- */

static int choose_algorithm(struct signature_key *key, struct err *err)
{
    unsigned bits = 0;
    gnutls_ecc_curve_t curve;
    switch (gnutls_pubkey_get_pk_algorithm(key->public, &bits)) {
    case GNUTLS_PK_ECDSA:
        if (gnutls_pubkey_export_ecc_raw2(key->public, &curve, NULL, NULL, 0) < 0 ||
            curve != GNUTLS_ECC_CURVE_SECP256R1)
            return err_set(err, ERR_UNSUPPORTED, "an ECDSA key must be on the curve P-256");
        key->algorithm = GNUTLS_SIGN_ECDSA_SHA256;
        return 0;
    case GNUTLS_PK_RSA:
        if (bits < RSA_MIN_BITS)
            return err_set(err, ERR_UNSUPPORTED, "an RSA key of %u bits is too short, %d are needed", bits,
                           RSA_MIN_BITS);
        key->algorithm = GNUTLS_SIGN_RSA_SHA256;
        return 0;
    case GNUTLS_PK_EDDSA_ED25519:
        key->algorithm = GNUTLS_SIGN_EDDSA_ED25519;
        return 0;
    default:
        return err_set(err, ERR_UNSUPPORTED, "a key must be of ECDSA (P-256), RSA or Ed25519");
    }
}

int signature_key_parse(const char *pem, size_t n, struct signature_key **ret, struct err *err)
{
    deferred_need(DEFERRED_GNUTLS);
    if (n > SIGNATURE_KEY_MAX_BYTES)
        return err_set(err, ERR_INVALID, "too long for a public key");
    struct signature_key *key = NEW(struct signature_key);
    gnutls_datum_t text = {(unsigned char *)(uintptr_t)pem, (unsigned)n};
    size_t id_bytes = sizeof(key->id);
    must(gnutls_pubkey_init(&key->public) == 0);
    int r = 0;
    if (gnutls_pubkey_import(key->public, &text, GNUTLS_X509_FMT_PEM) < 0)
        r = err_set(
            err, ERR_INVALID,
            "not a PEM public key (-----BEGIN PUBLIC KEY-----), as cosign.pub or openssl pkey -pubout");
    else
        r = choose_algorithm(key, err);
    if (r == 0 && gnutls_pubkey_get_key_id(key->public, GNUTLS_KEYID_USE_SHA256, key->id, &id_bytes) < 0)
        r = err_set(err, ERR_INVALID, "the public key is malformed");
    if (r < 0)
        signature_key_free(key);
    else
        *ret = key;
    return r;
}

void signature_key_free(struct signature_key *key)
{
    if (!key)
        return;
    gnutls_pubkey_deinit(key->public);
    free(key);
}

bool signature_key_same(const struct signature_key *a, const struct signature_key *b)
{
    return memcmp(a->id, b->id, sizeof(a->id)) == 0;
}

bool signature_key_verifies(const struct signature_key *key, const void *payload, size_t n,
                            const char *signature)
{
    _cleanup_str_ struct str bytes = STR_INIT;
    if (n > SIGNATURE_PAYLOAD_MAX_BYTES || strlen(signature) > SIGNATURE_TEXT_MAX_BYTES ||
        base64_decode(signature, &bytes, NULL) < 0 || bytes.len == 0)
        return false;
    const gnutls_datum_t data = {(unsigned char *)(uintptr_t)payload, (unsigned)n},
                         sig = {(unsigned char *)bytes.data, (unsigned)bytes.len};
    return gnutls_pubkey_verify_data2(key->public, key->algorithm, 0, &data, &sig) >= 0;
}

/* --- claims --- */

static int denied_identity(const char *reference, char *const *identities, struct err *err)
{
    _cleanup_ref_ struct image_ref ref = {0};
    if (image_ref_parse(reference, &ref, NULL) < 0)
        return err_set(err, ERR_DENIED, "is for \"%.200s\", which is no image's name", reference);
    _cleanup_free_ char *repository = image_ref_repository(&ref);
    return name_patterns_match(identities, repository)
               ? 0
               : err_set(err, ERR_DENIED, "is for %.200s, which the rule's identity does not have",
                         repository);
}

int signature_claim_check(const char *payload, size_t n, const char *manifest_digest, char *const *identities,
                          struct err *err)
{
    _cleanup_json_ json_t *doc = NULL;
    struct err cause = {0};
    if (n > SIGNATURE_PAYLOAD_MAX_BYTES)
        return err_set(err, ERR_DENIED, "has a payload of more than %d bytes", SIGNATURE_PAYLOAD_MAX_BYTES);
    if (json_parse(payload, n, "payload", &doc, &cause) < 0)
        return err_set(err, ERR_DENIED, "has a payload that cannot be read: %s", cause.msg);
    const json_t *critical = json_object_get(doc, "critical");
    const char *type = json_str(critical, "type"),
               *digest = json_str(json_object_get(critical, "image"), "docker-manifest-digest");
    const json_t *reference = json_object_get(json_object_get(critical, "identity"), "docker-reference");
    if (!str_eq(type, "cosign container image signature"))
        return err_set(err, ERR_DENIED, "is of type \"%.100s\", not \"cosign container image signature\"",
                       type);
    if (!digest_valid(digest) || !str_eq(digest, manifest_digest))
        return err_set(err, ERR_DENIED, "is of another image, %.80s", *digest ? digest : "without a digest");
    if (!json_is_string(reference))
        return err_set(err, ERR_DENIED, "names no docker-reference");
    return identities ? denied_identity(json_string_value(reference), identities, err) : 0;
}
