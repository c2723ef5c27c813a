#include "cluster/pki_priv.h"

#include "base/deferred.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/timeutil.h"
#include "store/tls.h"

#include <arpa/inet.h>
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <time.h>

enum { SERIAL_BYTES = 16, SERIAL_MAX = 20, CLOCK_SKEW_S = 3600, LIST_LIFE_S = 20 * 365 * 86400 };

static int failed(int code, const char *what, struct err *err)
{
    return err_set(err, ERR_SYSTEM, "%s: %s", what, gnutls_strerror(code));
}

static char *take_text(gnutls_datum_t *d)
{
    char *text = d->data ? mem_strndup((const char *)d->data, d->size) : NULL;
    free(d->data);
    *d = (gnutls_datum_t){0};
    return text;
}

static gnutls_datum_t datum_of(const char *text)
{
    return (gnutls_datum_t){(unsigned char *)text, (unsigned)strlen(text)};
}

/* --- A request --- */

static int sign_request(gnutls_x509_crq_t crq, gnutls_x509_privkey_t key)
{
    int r = gnutls_x509_crq_set_version(crq, 1);
    if (r == 0)
        r = gnutls_x509_crq_set_key(crq, key);
    return r == 0 ? gnutls_x509_crq_sign2(crq, key, GNUTLS_DIG_SHA256, 0) : r;
}

int pki_request(char **ret_csr, char **ret_key, struct err *err)
{
    gnutls_x509_privkey_t key;
    gnutls_x509_crq_t crq;
    gnutls_datum_t csr = {0}, pem = {0};
    deferred_need(DEFERRED_GNUTLS);
    must(gnutls_x509_privkey_init(&key) == 0 && gnutls_x509_crq_init(&crq) == 0);
    int r = gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA,
                                         GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
    if (r == 0)
        r = sign_request(crq, key);
    if (r == 0)
        r = gnutls_x509_crq_export2(crq, GNUTLS_X509_FMT_PEM, &csr);
    if (r == 0)
        r = gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &pem);
    gnutls_x509_crq_deinit(crq);
    gnutls_x509_privkey_deinit(key);
    if (r < 0) {
        free(csr.data);
        return failed(r, "make this node's key", err);
    }
    *ret_csr = take_text(&csr);
    *ret_key = take_text(&pem);
    return 0;
}

/* --- An answer to one --- */

/* The public key of a request that its own key has signed. */
static int read_request(const char *csr, gnutls_pubkey_t *ret, struct err *err)
{
    const gnutls_datum_t text = datum_of(csr);
    gnutls_x509_crq_t crq;
    unsigned bits = 0;
    if (text.size > PKI_REQUEST_MAX)
        return err_set(err, ERR_LIMIT, "the certificate request is larger than %d bytes", PKI_REQUEST_MAX);
    must(gnutls_x509_crq_init(&crq) == 0);
    must(gnutls_pubkey_init(ret) == 0);
    int r = gnutls_x509_crq_import(crq, &text, GNUTLS_X509_FMT_PEM);
    if (r == 0)
        r = gnutls_x509_crq_verify(crq, 0);
    if (r == 0)
        r = gnutls_pubkey_import_x509_crq(*ret, crq, 0);
    bool good = r == 0 && gnutls_pubkey_get_pk_algorithm(*ret, &bits) == GNUTLS_PK_ECDSA && bits == 256;
    gnutls_x509_crq_deinit(crq);
    if (good)
        return 0;
    gnutls_pubkey_deinit(*ret);
    return r < 0 ? err_set(err, ERR_INVALID, "the certificate request: %s", gnutls_strerror(r))
                 : err_set(err, ERR_INVALID, "the certificate request: its key is not one of ECDSA on P-256");
}

/* A manager's own, and what it is called by who is on it. */
static int set_addresses(gnutls_x509_crt_t crt, const char *address)
{
    const char *const list[] = {address, "127.0.0.1", "::1"};
    int r = gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_DNSNAME, "localhost", 9, GNUTLS_FSAN_APPEND);
    for (size_t i = 0; i < ARRAY_SIZE(list) && r == 0; i++) {
        unsigned char bytes[16];
        bool v6 = list[i] && strchr(list[i], ':');
        if (list[i] && inet_pton(v6 ? AF_INET6 : AF_INET, list[i], bytes) == 1)
            r = gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_IPADDRESS, bytes, v6 ? 16 : 4,
                                                     GNUTLS_FSAN_APPEND);
    }
    return r;
}

static int set_subject(gnutls_x509_crt_t crt, const struct pki_subject *s)
{
    const char *unit = s->manager ? STORE_TLS_ROLE : s->client ? PKI_CLIENT_UNIT : PKI_WORKER_UNIT;
    int r = gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, s->node,
                                          (unsigned)strlen(s->node));
    if (r == 0)
        r = gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_ORGANIZATIONAL_UNIT_NAME, 0, unit,
                                          (unsigned)strlen(unit));
    if (r == 0)
        r = gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_ORGANIZATION_NAME, 0, s->swarm,
                                          (unsigned)strlen(s->swarm));
    if (r == 0)
        r = gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_DNSNAME, s->node, (unsigned)strlen(s->node),
                                                 GNUTLS_FSAN_APPEND);
    if (r == 0 && s->manager)
        r = gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_DNSNAME, PKI_MANAGER,
                                                 (unsigned)strlen(PKI_MANAGER), GNUTLS_FSAN_APPEND);
    return r == 0 && s->manager ? set_addresses(crt, s->address) : r;
}

int pki__number(gnutls_x509_crt_t crt)
{
    unsigned char serial[SERIAL_BYTES];
    int r = gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof(serial));
    serial[0] &= 0x7f;
    if (r == 0)
        r = gnutls_x509_crt_set_version(crt, 3);
    return r == 0 ? gnutls_x509_crt_set_serial(crt, serial, sizeof(serial)) : r;
}

static int set_uses(gnutls_x509_crt_t crt, int64_t life_ns)
{
    int r = pki__number(crt);
    if (r == 0)
        r = gnutls_x509_crt_set_activation_time(crt, time(NULL) - CLOCK_SKEW_S);
    if (r == 0)
        r = gnutls_x509_crt_set_expiration_time(crt, time(NULL) + life_ns / NS_PER_S);
    if (r == 0)
        r = gnutls_x509_crt_set_basic_constraints(crt, 0, -1);
    if (r == 0)
        r = gnutls_x509_crt_set_key_usage(crt, GNUTLS_KEY_DIGITAL_SIGNATURE);
    if (r == 0)
        r = gnutls_x509_crt_set_key_purpose_oid(crt, GNUTLS_KP_TLS_WWW_CLIENT, 0);
    return r == 0 ? gnutls_x509_crt_set_key_purpose_oid(crt, GNUTLS_KP_TLS_WWW_SERVER, 0) : r;
}

/* One of the two is signed. */
static int sign(gnutls_x509_crt_t crt, gnutls_x509_crl_t list, const char *authority,
                const char *authority_key)
{
    const gnutls_datum_t pem = datum_of(authority), key_pem = datum_of(authority_key);
    gnutls_x509_crt_t ca;
    gnutls_x509_privkey_t key;
    must(gnutls_x509_crt_init(&ca) == 0 && gnutls_x509_privkey_init(&key) == 0);
    int r = gnutls_x509_crt_import(ca, &pem, GNUTLS_X509_FMT_PEM);
    if (r == 0)
        r = gnutls_x509_privkey_import(key, &key_pem, GNUTLS_X509_FMT_PEM);
    if (r == 0)
        r = crt ? gnutls_x509_crt_sign2(crt, ca, key, GNUTLS_DIG_SHA256, 0)
                : gnutls_x509_crl_sign2(list, ca, key, GNUTLS_DIG_SHA256, 0);
    gnutls_x509_privkey_deinit(key);
    gnutls_x509_crt_deinit(ca);
    return r;
}

int pki_issue(const char *authority, const char *authority_key, const char *csr,
              const struct pki_subject *subject, int64_t life_ns, char **ret_certificate, struct err *err)
{
    gnutls_pubkey_t public;
    gnutls_x509_crt_t crt;
    gnutls_datum_t pem = {0};
    deferred_need(DEFERRED_GNUTLS);
    int r = read_request(csr, &public, err);
    if (r < 0)
        return r;
    must(gnutls_x509_crt_init(&crt) == 0);
    r = gnutls_x509_crt_set_pubkey(crt, public);
    if (r == 0)
        r = set_subject(crt, subject);
    if (r == 0)
        r = set_uses(crt, life_ns);
    if (r == 0)
        r = sign(crt, NULL, authority, authority_key);
    if (r == 0)
        r = gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &pem);
    gnutls_pubkey_deinit(public);
    gnutls_x509_crt_deinit(crt);
    if (r < 0)
        return failed(r, "sign a node's certificate", err);
    *ret_certificate = take_text(&pem);
    return 0;
}

/* --- A certificate --- */

static void read_name(gnutls_x509_crt_t crt, const char *oid, char ret[PKI_NAME_BYTES])
{
    size_t n = PKI_NAME_BYTES;
    if (gnutls_x509_crt_get_dn_by_oid(crt, oid, 0, 0, ret, &n) < 0)
        *ret = '\0';
}

static void read_serial(gnutls_x509_crt_t crt, char ret[PKI_SERIAL_BYTES])
{
    unsigned char serial[SERIAL_MAX];
    size_t n = sizeof(serial);
    *ret = '\0';
    if (gnutls_x509_crt_get_serial(crt, serial, &n) == 0)
        str_hex(serial, n, ret);
}

int pki_read(const char *certificate, struct pki_subject *ret, struct err *err)
{
    const gnutls_datum_t pem = datum_of(certificate);
    struct pki_subject s = {0};
    char unit[PKI_NAME_BYTES];
    gnutls_x509_crt_t crt;
    deferred_need(DEFERRED_GNUTLS);
    must(gnutls_x509_crt_init(&crt) == 0);
    int r = gnutls_x509_crt_import(crt, &pem, GNUTLS_X509_FMT_PEM);
    if (r == 0) {
        read_name(crt, GNUTLS_OID_X520_COMMON_NAME, s.node);
        read_name(crt, GNUTLS_OID_X520_ORGANIZATION_NAME, s.swarm);
        read_name(crt, GNUTLS_OID_X520_ORGANIZATIONAL_UNIT_NAME, unit);
        read_serial(crt, s.serial);
        s.manager = str_eq(unit, STORE_TLS_ROLE);
        s.client = str_eq(unit, PKI_CLIENT_UNIT);
        s.begins_ns = gnutls_x509_crt_get_activation_time(crt) * NS_PER_S;
        s.ends_ns = gnutls_x509_crt_get_expiration_time(crt) * NS_PER_S;
    }
    gnutls_x509_crt_deinit(crt);
    if (r < 0)
        return err_set(err, ERR_CORRUPT, "a node's certificate: %s", gnutls_strerror(r));
    *ret = s;
    return 0;
}

/* --- Those that were taken back --- */

static size_t hex_bytes(const char *hex, unsigned char ret[SERIAL_MAX])
{
    size_t n = strlen(hex) / 2;
    for (size_t i = 0; i < n && i < SERIAL_MAX; i++) {
        unsigned byte = 0;
        sscanf(hex + 2 * i, "%2x", &byte);
        ret[i] = (unsigned char)byte;
    }
    return MIN(n, (size_t)SERIAL_MAX);
}

static int fill_list(gnutls_x509_crl_t crl, int64_t number, const struct pki_revoked *list, size_t count)
{
    unsigned char bytes[SERIAL_MAX];
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(number >> (56 - 8 * i));
    int r = gnutls_x509_crl_set_version(crl, 2);
    if (r == 0)
        r = gnutls_x509_crl_set_this_update(crl, time(NULL) - CLOCK_SKEW_S);
    if (r == 0)
        r = gnutls_x509_crl_set_next_update(crl, time(NULL) + LIST_LIFE_S);
    if (r == 0)
        r = gnutls_x509_crl_set_number(crl, bytes, 8);
    for (size_t i = 0; r == 0 && i < count; i++) {
        size_t n = hex_bytes(list[i].serial, bytes);
        r = gnutls_x509_crl_set_crt_serial(crl, bytes, n, list[i].at_ns / NS_PER_S);
    }
    return r;
}

int pki_revocations(const char *authority, const char *authority_key, int64_t number,
                    const struct pki_revoked *list, size_t count, char **ret_pem, struct err *err)
{
    gnutls_x509_crl_t crl;
    gnutls_datum_t pem = {0};
    deferred_need(DEFERRED_GNUTLS);
    must(gnutls_x509_crl_init(&crl) == 0);
    int r = fill_list(crl, number, list, count);
    if (r == 0)
        r = sign(NULL, crl, authority, authority_key);
    if (r == 0)
        r = gnutls_x509_crl_export2(crl, GNUTLS_X509_FMT_PEM, &pem);
    gnutls_x509_crl_deinit(crl);
    if (r < 0)
        return failed(r, "sign the list of certificates that were taken back", err);
    *ret_pem = take_text(&pem);
    return 0;
}
