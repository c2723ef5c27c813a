#include "http/tls.h"

#include "base/deferred.h"
#include "base/file.h"
#include "base/lock.h"
#include "base/mem.h"
#include "base/timeutil.h"
#include "http/server_priv.h"

#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <poll.h>
#include <stdatomic.h>
#include <unistd.h>

/* A kept connection has a request each second and more: its peer's certificate is verified anew no oftener
 * than this, and at once when another list of revocations is in force. */
static const int64_t KNOWN_NS = 10 * NS_PER_S;

enum { LIST_MAX = 8 << 20 }; /* of revocations, of two authorities */

/* Shared by the connections that began with it. */
struct shown {
    gnutls_certificate_credentials_t credentials;
    _Atomic int users;
};

struct http_tls {
    char *certificate_file, *key_file, *authority_file, *revoked_file; /* the last two: or NULL */
    gnutls_priority_t priority;
    pthread_mutex_t lock;
    struct shown *shown; /* of the connections to come; under the lock */
};

struct http_tls_session {
    gnutls_session_t session;
    struct http_tls *tls;
    struct shown *shown, *held_against; /* the latter: what its peer is; NULL: the same */
    bool mutual;
    bool ready; /* the handshake is done */
    /* What the peer was found to be, valid alone, and until when that is taken for granted. */
    struct http_certificate known;
    int64_t known_until;
};

static void shown_unref(struct shown *s)
{
    if (!s || atomic_fetch_sub(&s->users, 1) > 1)
        return;
    gnutls_certificate_free_credentials(s->credentials);
    free(s);
}

static int read_files(const struct http_tls *t, struct shown **ret, struct err *err)
{
    struct shown *s = NEW(struct shown);
    atomic_store(&s->users, 1);
    must(gnutls_certificate_allocate_credentials(&s->credentials) == 0);
    int r = gnutls_certificate_set_x509_key_file(s->credentials, t->certificate_file, t->key_file,
                                                 GNUTLS_X509_FMT_PEM);
    if (r < 0)
        r = err_set(err, ERR_INVALID, "TLS certificate %s with key %s: %s", t->certificate_file, t->key_file,
                    gnutls_strerror(r));
    else if (t->authority_file) {
        int n =
            gnutls_certificate_set_x509_trust_file(s->credentials, t->authority_file, GNUTLS_X509_FMT_PEM);
        if (n <= 0)
            r = err_set(err, ERR_INVALID, "TLS authority %s: %s", t->authority_file,
                        n ? gnutls_strerror(n) : "no certificate in it");
        if (r >= 0 && t->revoked_file && access(t->revoked_file, F_OK) == 0 &&
            (n = gnutls_certificate_set_x509_crl_file(s->credentials, t->revoked_file, GNUTLS_X509_FMT_PEM)) <
                0)
            r = err_set(err, ERR_INVALID, "TLS revocations %s: %s", t->revoked_file, gnutls_strerror(n));
    }
    if (r < 0) {
        shown_unref(s);
        return r;
    }
    *ret = s;
    return 0;
}

static int tls_new(const char *certificate_file, const char *key_file, const char *authority_file,
                   const char *revoked_file, struct http_tls **ret, struct err *err)
{
    deferred_need(DEFERRED_GNUTLS);
    struct http_tls *t = NEW(struct http_tls);
    t->certificate_file = mem_strdup(certificate_file);
    t->key_file = mem_strdup(key_file);
    t->authority_file = mem_strdup(authority_file);
    t->revoked_file = mem_strdup(revoked_file);
    pthread_mutex_init(&t->lock, NULL);
    must(gnutls_priority_init(&t->priority,
                              authority_file ? "NORMAL:-VERS-ALL:+VERS-TLS1.3"
                                             : "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2",
                              NULL) == 0);
    int r = read_files(t, &t->shown, err);
    if (r < 0) {
        http_tls_free(t);
        return r;
    }
    *ret = t;
    return 0;
}

int http_tls_new(const char *certificate_file, const char *key_file, struct http_tls **ret, struct err *err)
{
    return tls_new(certificate_file, key_file, NULL, NULL, ret, err);
}

int http_tls_new_mutual(const char *certificate_file, const char *key_file, const char *authority_file,
                        const char *revoked_file, struct http_tls **ret, struct err *err)
{
    return tls_new(certificate_file, key_file, authority_file, revoked_file, ret, err);
}

int http_tls_reload(struct http_tls *t, struct err *err)
{
    struct shown *fresh;
    int r = read_files(t, &fresh, err);
    if (r < 0)
        return r;
    pthread_mutex_lock(&t->lock);
    struct shown *before = t->shown;
    t->shown = fresh;
    pthread_mutex_unlock(&t->lock);
    shown_unref(before);
    return 0;
}

void http_tls_free(struct http_tls *t)
{
    if (!t)
        return;
    gnutls_priority_deinit(t->priority);
    shown_unref(t->shown);
    pthread_mutex_destroy(&t->lock);
    free(t->certificate_file);
    free(t->key_file);
    free(t->authority_file);
    free(t->revoked_file);
    free(t);
}

struct http_tls_session *http__tls_begin(struct http_tls *t, int fd)
{
    struct http_tls_session *s = NEW(struct http_tls_session);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    pthread_mutex_lock(&t->lock);
    s->shown = t->shown;
    atomic_fetch_add(&s->shown->users, 1);
    pthread_mutex_unlock(&t->lock);
    s->tls = t;
    s->mutual = t->authority_file;
    must(gnutls_init(&s->session, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL) == 0);
    must(gnutls_priority_set(s->session, t->priority) == 0);
    must(gnutls_credentials_set(s->session, GNUTLS_CRD_CERTIFICATE, s->shown->credentials) == 0);
    if (s->mutual)
        gnutls_certificate_server_set_request(s->session, GNUTLS_CERT_REQUEST);
    static const gnutls_datum_t protocol = {(unsigned char *)"http/1.1", 8};
    gnutls_alpn_set_protocols(s->session, &protocol, 1, 0);
    gnutls_transport_set_int2(s->session, fd, fd);
    return s;
}

void http__tls_free(struct http_tls_session *s)
{
    if (!s)
        return;
    gnutls_deinit(s->session);
    shown_unref(s->shown);
    shown_unref(s->held_against);
    free(s);
}

/* Authorities' serials have 20 bytes at most; "" for a longer one. */
static void format_serial(const unsigned char *serial, size_t n, char ret[HTTP_SERIAL_BYTES])
{
    *ret = '\0';
    for (size_t i = 0; i < n && n < HTTP_SERIAL_BYTES / 2; i++)
        snprintf(ret + 2 * i, 3, "%02x", serial[i]);
}

static void add_serials(gnutls_x509_crl_t list, struct map *to)
{
    gnutls_x509_crl_iter_t at = NULL;
    unsigned char serial[HTTP_SERIAL_BYTES / 2];
    char text[HTTP_SERIAL_BYTES];
    size_t n = sizeof(serial);
    while (gnutls_x509_crl_iter_crt_serial(list, &at, serial, &n, NULL) == 0) {
        format_serial(serial, n, text);
        map_put(to, text, to);
        n = sizeof(serial);
    }
    gnutls_x509_crl_iter_deinit(at);
}

int http__tls_revoked(const struct http_tls *t, struct map *ret, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    gnutls_x509_crl_t *lists = NULL;
    unsigned count = 0;
    int r = t->revoked_file ? file_read(t->revoked_file, LIST_MAX, &text, err) : 0;
    if (r < 0 || !text.len)
        return r == -ERR_NOT_FOUND ? 0 : r;
    const gnutls_datum_t pem = {(unsigned char *)text.data, (unsigned)text.len};
    int n = gnutls_x509_crl_list_import2(&lists, &count, &pem, GNUTLS_X509_FMT_PEM, 0);
    if (n < 0)
        return err_set(err, ERR_INVALID, "TLS revocations %s: %s", t->revoked_file, gnutls_strerror(n));
    for (unsigned i = 0; i < count; i++) {
        add_serials(lists[i], ret);
        gnutls_x509_crl_deinit(lists[i]);
    }
    free(lists);
    return 0;
}

/* Who was let in is not in for ever. */
static void hold_against_last(struct http_tls_session *s)
{
    struct shown *present = s->held_against ? s->held_against : s->shown;
    SCOPED_LOCK(locked, &s->tls->lock);
    struct shown *last = s->tls->shown;
    if (last == present)
        return;
    atomic_fetch_add(&last->users, 1);
    must(gnutls_credentials_set(s->session, GNUTLS_CRD_CERTIFICATE, last->credentials) == 0);
    shown_unref(s->held_against);
    s->held_against = last;
    s->known_until = 0;
}

static void read_serial(gnutls_x509_crt_t crt, char ret[HTTP_SERIAL_BYTES])
{
    unsigned char serial[HTTP_SERIAL_BYTES / 2];
    size_t n = sizeof(serial);
    if (gnutls_x509_crt_get_serial(crt, serial, &n) == 0)
        format_serial(serial, n, ret);
}

static void read_name(gnutls_x509_crt_t crt, const char *oid, char ret[HTTP_NAME_BYTES])
{
    size_t n = HTTP_NAME_BYTES;
    if (gnutls_x509_crt_get_dn_by_oid(crt, oid, 0, 0, ret, &n) < 0)
        *ret = '\0';
}

void http__tls_peer(struct http_tls_session *s, struct http_certificate *ret)
{
    unsigned count = 0, status = 0;
    gnutls_x509_crt_t crt;
    const gnutls_datum_t *chain =
        s->mutual && s->ready ? gnutls_certificate_get_peers(s->session, &count) : NULL;
    if (!chain || !count)
        return;
    ret->why = "has a certificate that is not of this cluster's authority";
    hold_against_last(s);
    int64_t now = time_monotonic_ns();
    if (now < s->known_until) {
        *ret = s->known;
        return;
    }
    if (gnutls_certificate_verify_peers2(s->session, &status) < 0)
        return;
    ret->revoked = status & GNUTLS_CERT_REVOKED;
    if (ret->revoked)
        ret->why = "has a certificate that was taken back";
    else if (status & GNUTLS_CERT_EXPIRED)
        ret->why = "has a certificate that has expired";
    else if (status & GNUTLS_CERT_NOT_ACTIVATED)
        ret->why = "has a certificate that is not valid yet: compare the clocks";
    if (status || gnutls_x509_crt_init(&crt) < 0)
        return;
    if (gnutls_x509_crt_import(crt, &chain[0], GNUTLS_X509_FMT_DER) == 0) {
        read_serial(crt, ret->serial);
        read_name(crt, GNUTLS_OID_X520_COMMON_NAME, ret->name);
        read_name(crt, GNUTLS_OID_X520_ORGANIZATIONAL_UNIT_NAME, ret->unit);
        read_name(crt, GNUTLS_OID_X520_ORGANIZATION_NAME, ret->organization);
        ret->valid = true;
        ret->why = NULL;
        s->known = *ret;
        s->known_until = now + KNOWN_NS;
    }
    gnutls_x509_crt_deinit(crt);
}

void http__tls_end(struct http_tls_session *s)
{
    if (s->ready)
        gnutls_bye(s->session, GNUTLS_SHUT_WR);
}

/* -1 and errno, as the system's calls have it. */
static ssize_t result(ssize_t r)
{
    if (r >= 0)
        return r;
    errno = r == GNUTLS_E_AGAIN || r == GNUTLS_E_INTERRUPTED ? EAGAIN : EIO;
    return -1;
}

ssize_t http__tls_recv(struct http_tls_session *s, void *buffer, size_t n)
{
    if (!s->ready) {
        int r = gnutls_handshake(s->session);
        if (r < 0)
            return result(gnutls_error_is_fatal(r) ? r : GNUTLS_E_AGAIN);
        s->ready = true;
    }
    ssize_t r = gnutls_record_recv(s->session, buffer, n);
    /* An end that was not said to be one is one all the same: HTTP knows its own lengths. */
    return r == GNUTLS_E_PREMATURE_TERMINATION ? 0 : result(r);
}

bool http__tls_pending(struct http_tls_session *s)
{
    return gnutls_record_check_pending(s->session) > 0;
}

ssize_t http__tls_send_some(struct http_tls_session *s, const void *bytes, size_t n)
{
    return result(gnutls_record_send(s->session, bytes, n));
}
