/* The cluster's certificate authority, its tokens, and the key that secrets are encrypted with at rest
 * (AES-256-GCM; the name of the secret is part of what is authenticated, so that rows cannot be exchanged).
 */
#include "cluster/cluster_priv.h"

#include "base/base64.h"
#include "base/digest.h"
#include "cluster/seal.h"

#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <time.h>

#define KEY_FILE          "secrets.key"
#define OID_SERIAL_NUMBER "2.5.4.5"

enum {
    AUTHORITY_YEARS = 20,
    NONCE_BYTES = 12,
    TAG_BYTES = 16,
    DIGITS_OF_DIGEST = 50,
    DIGITS_OF_SECRET = 25,
    KEY_BYTES = 32
};

void keys__random(void *bytes, size_t n)
{
    must(gnutls_rnd(GNUTLS_RND_KEY, bytes, n) == 0);
}

static int fail(int code, const char *what, struct err *err)
{
    return err_set(err, ERR_SYSTEM, "%s: %s", what, gnutls_strerror(code));
}

static int sign_itself(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key, bool first)
{
    unsigned char serial[16];
    char name[2 * sizeof(serial) + 1];
    keys__random(serial, sizeof(serial));
    str_hex(serial, sizeof(serial), name);
    serial[0] &= 0x7f;
    int r = gnutls_x509_crt_set_version(crt, 3);
    if (r == 0)
        r = gnutls_x509_crt_set_serial(crt, serial, sizeof(serial));
    if (r == 0)
        r = gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, "swarm-ca", 8);
    if (r == 0 && !first)
        r = gnutls_x509_crt_set_dn_by_oid(crt, OID_SERIAL_NUMBER, 0, name, (unsigned)strlen(name));
    if (r == 0)
        r = gnutls_x509_crt_set_activation_time(crt, time(NULL) - 3600);
    if (r == 0)
        r = gnutls_x509_crt_set_expiration_time(crt, time(NULL) + AUTHORITY_YEARS * 365LL * 86400);
    if (r == 0)
        r = gnutls_x509_crt_set_key(crt, key);
    if (r == 0)
        r = gnutls_x509_crt_set_basic_constraints(crt, 1, -1);
    if (r == 0)
        r = gnutls_x509_crt_set_key_usage(crt, GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN);
    if (r == 0)
        r = gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0);
    return r;
}

static char *take_datum(gnutls_datum_t *d)
{
    char *text = mem_strndup((const char *)d->data, d->size);
    free(d->data);
    d->data = NULL;
    return text;
}

int keys__make_authority(bool first, char **ret_pem, char **ret_key_pem, struct err *err)
{
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t crt;
    gnutls_datum_t pem = {0}, key_pem = {0};
    must(gnutls_x509_privkey_init(&key) == 0 && gnutls_x509_crt_init(&crt) == 0);
    int r = gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA,
                                         GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
    if (r == 0)
        r = sign_itself(crt, key, first);
    if (r == 0)
        r = gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &pem);
    if (r == 0)
        r = gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &key_pem);
    if (r == 0) {
        *ret_pem = take_datum(&pem);
        *ret_key_pem = take_datum(&key_pem);
    }
    free(pem.data);
    gnutls_x509_crt_deinit(crt);
    gnutls_x509_privkey_deinit(key);
    return r < 0 ? fail(r, "make the cluster's certificate authority", err) : 0;
}

/* A big number in base 36, with zeros before it. */
static char *base36(const unsigned char *bytes, size_t n, size_t digits)
{
    unsigned char number[64];
    char *out = mem_new(digits + 1);
    must(n <= sizeof(number));
    memcpy(number, bytes, n);
    for (size_t d = digits; d-- > 0;) {
        unsigned rest = 0;
        for (size_t i = 0; i < n; i++) {
            rest = rest << 8 | number[i];
            number[i] = (unsigned char)(rest / 36);
            rest %= 36;
        }
        out[d] = "0123456789abcdefghijklmnopqrstuvwxyz"[rest];
    }
    return out;
}

static int read_certificate(const char *pem, gnutls_x509_crt_t *ret)
{
    const gnutls_datum_t text = {(unsigned char *)pem, (unsigned)strlen(pem)};
    must(gnutls_x509_crt_init(ret) == 0);
    int r = gnutls_x509_crt_import(*ret, &text, GNUTLS_X509_FMT_PEM);
    if (r < 0)
        gnutls_x509_crt_deinit(*ret);
    return r;
}

char *keys__fingerprint(const char *pem)
{
    unsigned char digest[32];
    must(gnutls_hash_fast(GNUTLS_DIG_SHA256, pem, strlen(pem), digest) == 0);
    return base36(digest, sizeof(digest), DIGITS_OF_DIGEST);
}

static void set_base64(json_t *to, const char *key, gnutls_datum_t *bytes)
{
    _cleanup_free_ char *text = base64_encode(bytes->data, bytes->size);
    json_set_str(to, key, text);
    free(bytes->data);
    *bytes = (gnutls_datum_t){0};
}

json_t *keys__tls_info(const char *root, const char *issuer)
{
    gnutls_x509_crt_t crt;
    gnutls_pubkey_t public;
    gnutls_datum_t part = {0};
    json_t *out = json_pack("{s:s}", "TrustRoot", root);
    if (read_certificate(issuer, &crt) < 0)
        return out;
    if (gnutls_x509_crt_get_raw_dn(crt, &part) == 0)
        set_base64(out, "CertIssuerSubject", &part);
    must(gnutls_pubkey_init(&public) == 0);
    if (gnutls_pubkey_import_x509(public, crt, 0) == 0 &&
        gnutls_pubkey_export2(public, GNUTLS_X509_FMT_DER, &part) == 0)
        set_base64(out, "CertIssuerPublicKey", &part);
    gnutls_pubkey_deinit(public);
    gnutls_x509_crt_deinit(crt);
    return out;
}

char *keys__token(const char *fingerprint)
{
    unsigned char secret[16];
    keys__random(secret, sizeof(secret));
    _cleanup_free_ char *text = base36(secret, sizeof(secret), DIGITS_OF_SECRET);
    return str_printf("SWMTKN-1-%s-%s", fingerprint, text);
}

/* --- Secrets at rest --- */

int keys__load(struct cluster *c, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    int r = seal__read(c, KEY_FILE, &text, err);
    if (r == -ERR_NOT_FOUND)
        return keys__renew(c, err);
    if (r < 0)
        return r;
    if (text.len != sizeof(c->key))
        return err_set(err, ERR_CORRUPT,
                       "%s/" KEY_FILE ": expected %zu bytes, not %zu: put the file back from a backup",
                       c->dir, sizeof(c->key), text.len);
    memcpy(c->key, text.data, sizeof(c->key));
    return 0;
}

int keys__take(struct cluster *c, const void *bytes, size_t n, struct err *err)
{
    int r = n == sizeof(c->key)
                ? seal__write(c, KEY_FILE, bytes, n, err)
                : err_set(err, ERR_PROTOCOL, "the key of the swarm's secrets has %zu bytes, not %zu", n,
                          sizeof(c->key));
    if (r == 0)
        memcpy(c->key, bytes, n);
    return r;
}

int keys__renew(struct cluster *c, struct err *err)
{
    unsigned char key[sizeof(c->key)];
    keys__random(key, sizeof(key));
    return keys__take(c, key, sizeof(key), err);
}

int keys__leave(struct cluster *c, struct err *err)
{
    unsigned char key[sizeof(c->key)];
    keys__random(key, sizeof(key));
    return seal__write(c, KEY_FILE, key, sizeof(key), err);
}

static gnutls_aead_cipher_hd_t cipher(const unsigned char *key)
{
    gnutls_aead_cipher_hd_t handle;
    const gnutls_datum_t datum = {(unsigned char *)key, KEY_BYTES};
    must(gnutls_aead_cipher_init(&handle, GNUTLS_CIPHER_AES_256_GCM, &datum) == 0);
    return handle;
}

int keys__seal(const struct cluster *c, const char *id, const void *bytes, size_t n, struct str *ret,
               struct err *err)
{
    return keys__seal_with(c->key, id, bytes, n, ret, err);
}

int keys__seal_with(const unsigned char *key, const char *id, const void *bytes, size_t n, struct str *ret,
                    struct err *err)
{
    gnutls_aead_cipher_hd_t handle = cipher(key);
    unsigned char *nonce = (unsigned char *)str_reserve(ret, NONCE_BYTES + n + TAG_BYTES);
    size_t size = n + TAG_BYTES;
    keys__random(nonce, NONCE_BYTES);
    int r = gnutls_aead_cipher_encrypt(handle, nonce, NONCE_BYTES, id, strlen(id), TAG_BYTES, bytes, n,
                                       nonce + NONCE_BYTES, &size);
    gnutls_aead_cipher_deinit(handle);
    if (r < 0)
        return fail(r, "encrypt a secret", err);
    ret->len += NONCE_BYTES + size;
    return 0;
}

int keys__open(const struct cluster *c, const char *id, const struct str *sealed, struct str *ret,
               struct err *err)
{
    if (keys__open_with(c->key, id, sealed->data, sealed->len, ret) == 0)
        return 0;
    return err_set(err, ERR_CORRUPT, "secret %s is damaged, or not encrypted with the key of this machine",
                   id);
}

int keys__open_with(const unsigned char *key, const char *id, const char *sealed, size_t n, struct str *ret)
{
    if (n < NONCE_BYTES + TAG_BYTES)
        return -ERR_CORRUPT;
    gnutls_aead_cipher_hd_t handle = cipher(key);
    const unsigned char *nonce = (const unsigned char *)sealed;
    size_t size = n - NONCE_BYTES - TAG_BYTES;
    int r = gnutls_aead_cipher_decrypt(handle, nonce, NONCE_BYTES, id, strlen(id), TAG_BYTES,
                                       nonce + NONCE_BYTES, n - NONCE_BYTES, str_reserve(ret, size), &size);
    gnutls_aead_cipher_deinit(handle);
    if (r < 0)
        return -ERR_CORRUPT;
    ret->len += size;
    ret->data[ret->len] = '\0'; /* templates read it as text; str_reserve left room */
    return 0;
}

char *keys__seal_text(const struct cluster *c, const char *id, const void *bytes, size_t n)
{
    _cleanup_str_ struct str sealed = STR_INIT;
    must(keys__seal(c, id, bytes, n, &sealed, NULL) == 0);
    return base64_encode(sealed.data, sealed.len);
}

int keys__open_text(const struct cluster *c, const char *id, const char *text, struct str *ret,
                    struct err *err)
{
    _cleanup_str_ struct str sealed = STR_INIT;
    int r = base64_decode(text, &sealed, err);
    return r == 0 ? keys__open(c, id, &sealed, ret, err) : r;
}
