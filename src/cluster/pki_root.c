/* Authorities' own certificates, and who has issued what. */
#include "cluster/pki_priv.h"

#include "base/deferred.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/timeutil.h"

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <time.h>

#define LAST_LINE "-----END CERTIFICATE-----\n"

enum { KEY_ID_BYTES = 32, ROOT_LIFE_MIN_S = 86400, RSA_BITS_MIN = 2048, OID_BYTES = 128, NAME_BYTES = 1024 };

static gnutls_datum_t datum_of(const char *text)
{
    return (gnutls_datum_t){(unsigned char *)text, (unsigned)strlen(text)};
}

static char *take_text(gnutls_datum_t *d)
{
    char *text = mem_strndup((const char *)d->data, d->size);
    free(d->data);
    *d = (gnutls_datum_t){0};
    return text;
}

/* NULL: it is no certificate. */
static gnutls_x509_crt_t read(const char *pem)
{
    const gnutls_datum_t text = datum_of(pem);
    gnutls_x509_crt_t crt;
    deferred_need(DEFERRED_GNUTLS);
    must(gnutls_x509_crt_init(&crt) == 0);
    if (gnutls_x509_crt_import(crt, &text, GNUTLS_X509_FMT_PEM) == 0)
        return crt;
    gnutls_x509_crt_deinit(crt);
    return NULL;
}

char *pki_first(const char *pems)
{
    const char *end = strstr(pems, LAST_LINE);
    return end ? mem_strndup(pems, (size_t)(end - pems) + strlen(LAST_LINE)) : mem_strdup(pems);
}

/* --- Who has issued it --- */

static bool is_issued_by(gnutls_x509_crt_t leaf, gnutls_x509_crt_t issuer)
{
    unsigned status = 0;
    return gnutls_x509_crt_check_issuer(leaf, issuer) == 1 &&
           gnutls_x509_crt_verify(leaf, &issuer, 1, GNUTLS_VERIFY_DISABLE_TIME_CHECKS, &status) == 0 &&
           !status;
}

bool pki_is_issued_by(const char *certificate, const char *issuer)
{
    gnutls_x509_crt_t leaf = read(certificate), root = read(issuer);
    bool is = leaf && root && is_issued_by(leaf, root);
    if (leaf)
        gnutls_x509_crt_deinit(leaf);
    if (root)
        gnutls_x509_crt_deinit(root);
    return is;
}

char *pki_issuer_in(const char *certificate, const char *roots)
{
    for (const char *at = roots; strstr(at, LAST_LINE); at = strstr(at, LAST_LINE) + strlen(LAST_LINE)) {
        char *one = pki_first(at);
        if (pki_is_issued_by(certificate, one))
            return one;
        free(one);
    }
    return NULL;
}

/* --- A new root --- */

static bool same_subject(gnutls_x509_crt_t a, gnutls_x509_crt_t b)
{
    gnutls_datum_t x = {0}, y = {0};
    bool same = gnutls_x509_crt_get_raw_dn(a, &x) == 0 && gnutls_x509_crt_get_raw_dn(b, &y) == 0 &&
                x.size == y.size && memcmp(x.data, y.data, x.size) == 0;
    free(x.data);
    free(y.data);
    return same;
}

/* How many of the first `i` parts of its name are of that kind. */
static unsigned parts_before(gnutls_x509_crt_t crt, unsigned i, const char *oid)
{
    char other[OID_BYTES];
    unsigned count = 0;
    for (unsigned j = 0; j < i; j++) {
        size_t n = sizeof(other);
        count += gnutls_x509_crt_get_dn_oid(crt, j, other, &n) == 0 && str_eq(other, oid);
    }
    return count;
}

/* Part by part, in the bytes that they have: names are compared so. */
static int copy_subject(gnutls_x509_crt_t from, gnutls_x509_crt_t to)
{
    for (unsigned i = 0;; i++) {
        char oid[OID_BYTES];
        unsigned char part[NAME_BYTES];
        size_t n = sizeof(oid), m = sizeof(part);
        int r = gnutls_x509_crt_get_dn_oid(from, i, oid, &n);
        if (r == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
            return same_subject(from, to) ? 0 : GNUTLS_E_ASN1_ELEMENT_NOT_FOUND;
        if (r == 0)
            r = gnutls_x509_crt_get_dn_by_oid(from, oid, parts_before(from, i, oid), 1, part, &m);
        if (r == 0)
            r = gnutls_x509_crt_set_dn_by_oid(to, oid, 1, part, (unsigned)m);
        if (r < 0)
            return r;
    }
}

/* The same name and key, and the same time. A certificate that was read cannot just be signed again: this
 * library makes nonsense of an issuer whose name has fewer parts than the one before. */
static int fill_cross(gnutls_x509_crt_t crt, gnutls_x509_crt_t root)
{
    gnutls_pubkey_t public;
    must(gnutls_pubkey_init(&public) == 0);
    int r = pki__number(crt);
    if (r == 0)
        r = copy_subject(root, crt);
    if (r == 0)
        r = gnutls_x509_crt_set_activation_time(crt, gnutls_x509_crt_get_activation_time(root));
    if (r == 0)
        r = gnutls_x509_crt_set_expiration_time(crt, gnutls_x509_crt_get_expiration_time(root));
    if (r == 0)
        r = gnutls_pubkey_import_x509(public, root, 0);
    if (r == 0)
        r = gnutls_x509_crt_set_pubkey(crt, public);
    if (r == 0)
        r = gnutls_x509_crt_set_basic_constraints(crt, 1, -1);
    if (r == 0)
        r = gnutls_x509_crt_set_key_usage(crt, GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN);
    gnutls_pubkey_deinit(public);
    return r;
}

static int sign_cross(gnutls_x509_crt_t crt, gnutls_x509_crt_t authority, const char *authority_key)
{
    const gnutls_datum_t text = datum_of(authority_key);
    gnutls_x509_privkey_t key;
    must(gnutls_x509_privkey_init(&key) == 0);
    int r = gnutls_x509_privkey_import(key, &text, GNUTLS_X509_FMT_PEM);
    if (r == 0)
        r = gnutls_x509_crt_sign2(crt, authority, key, GNUTLS_DIG_SHA256, 0);
    gnutls_x509_privkey_deinit(key);
    return r;
}

int pki_cross(const char *authority, const char *authority_key, const char *root, char **ret, struct err *err)
{
    gnutls_x509_crt_t old = read(authority), new = read(root), crt;
    gnutls_datum_t pem = {0};
    must(gnutls_x509_crt_init(&crt) == 0);
    int r = old && new ? fill_cross(crt, new) : GNUTLS_E_NO_CERTIFICATE_FOUND;
    if (r == 0)
        r = sign_cross(crt, old, authority_key);
    if (r == 0)
        r = gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &pem);
    gnutls_x509_crt_deinit(crt);
    if (old)
        gnutls_x509_crt_deinit(old);
    if (new)
        gnutls_x509_crt_deinit(new);
    if (r < 0)
        return err_set(err, ERR_SYSTEM, "sign the new authority with the old one: %s", gnutls_strerror(r));
    *ret = take_text(&pem);
    return 0;
}

/* --- One that somebody gives --- */

static int bad(struct err *err, const char *why)
{
    return err_set(err, ERR_INVALID, "rpc error: code = InvalidArgument desc = the signing CA cert: %s", why);
}

static int check_key(gnutls_x509_crt_t crt, const char *key_pem, struct err *err)
{
    const gnutls_datum_t text = datum_of(key_pem);
    unsigned char own[KEY_ID_BYTES], of_key[KEY_ID_BYTES];
    size_t n = sizeof(own), m = sizeof(of_key);
    gnutls_x509_privkey_t key;
    must(gnutls_x509_privkey_init(&key) == 0);
    int r = gnutls_x509_privkey_import(key, &text, GNUTLS_X509_FMT_PEM);
    if (r < 0)
        r = err_set(
            err, ERR_INVALID,
            "rpc error: code = InvalidArgument desc = the signing CA key is not a private key in PEM form "
            "without a password: %s",
            gnutls_strerror(r));
    else if (gnutls_x509_privkey_get_key_id(key, GNUTLS_KEYID_USE_SHA256, of_key, &m) < 0 ||
             gnutls_x509_crt_get_key_id(crt, GNUTLS_KEYID_USE_SHA256, own, &n) < 0 || n != m ||
             memcmp(own, of_key, n) != 0)
        r = bad(err, "the signing CA key is not its key");
    gnutls_x509_privkey_deinit(key);
    return r;
}

static int check_root(gnutls_x509_crt_t crt, struct err *err)
{
    unsigned critical, usage = 0, bits = 0;
    time_t now = time(NULL);
    int kind = gnutls_x509_crt_get_pk_algorithm(crt, &bits);
    if (kind != GNUTLS_PK_ECDSA && (kind != GNUTLS_PK_RSA || bits < RSA_BITS_MIN))
        return bad(err, "its key is neither one of ECDSA nor one of RSA with 2048 bits or more");
    if (gnutls_x509_crt_get_ca_status(crt, &critical) != 1 ||
        (gnutls_x509_crt_get_key_usage(crt, &usage, &critical) == 0 && !(usage & GNUTLS_KEY_KEY_CERT_SIGN)))
        return bad(err, "it is none that may sign others (CA:TRUE, keyCertSign)");
    if (!is_issued_by(crt, crt))
        return bad(err, "it is no root: it must be signed with its own key");
    if (gnutls_x509_crt_get_activation_time(crt) > now)
        return bad(err, "it is not valid yet");
    return gnutls_x509_crt_get_expiration_time(crt) < now + ROOT_LIFE_MIN_S
               ? bad(err, "it has expired, or does within a day")
               : 0;
}

int pki_check_root(const char *certificate, const char *key, const char *present, char **ret, struct err *err)
{
    const char *second = strstr(certificate, "-----END CERTIFICATE-----");
    gnutls_datum_t pem = {0};
    if (!second || strstr(second, "-----BEGIN"))
        return bad(err, "it must be one certificate in PEM form");
    gnutls_x509_crt_t crt = read(certificate), before = read(present);
    int r = crt && before ? check_root(crt, err) : bad(err, "it cannot be read");
    if (r == 0)
        r = check_key(crt, key, err);
    if (r == 0 && gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &pem) < 0)
        r = bad(err, "it cannot be written");
    _cleanup_free_ char *text = r == 0 ? take_text(&pem) : NULL;
    /* Two of one name cannot be told apart by who follows names. */
    if (r == 0 && !str_eq(text, present) && same_subject(crt, before))
        r = bad(err, "its subject is that of the present one: give it another name");
    if (crt)
        gnutls_x509_crt_deinit(crt);
    if (before)
        gnutls_x509_crt_deinit(before);
    if (r == 0)
        *ret = take_ptr(text);
    return r;
}
