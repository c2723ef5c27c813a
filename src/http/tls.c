#include "http/tls.h"

#include "base/deferred.h"
#include "base/mem.h"
#include "http/server_priv.h"

#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <poll.h>

struct http_tls {
    gnutls_certificate_credentials_t credentials;
    gnutls_priority_t priority;
};

struct http_tls_session {
    gnutls_session_t session;
    bool ready; /* the handshake is done */
};

int http_tls_new(const char *certificate_file, const char *key_file, struct http_tls **ret, struct err *err)
{
    deferred_need(DEFERRED_GNUTLS);
    struct http_tls *t = NEW(struct http_tls);
    must(gnutls_certificate_allocate_credentials(&t->credentials) == 0);
    must(gnutls_priority_init(&t->priority, "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2", NULL) == 0);
    int r =
        gnutls_certificate_set_x509_key_file(t->credentials, certificate_file, key_file, GNUTLS_X509_FMT_PEM);
    if (r < 0) {
        http_tls_free(t);
        return err_set(err, ERR_INVALID, "TLS certificate %s with key %s: %s", certificate_file, key_file,
                       gnutls_strerror(r));
    }
    *ret = t;
    return 0;
}

void http_tls_free(struct http_tls *t)
{
    if (!t)
        return;
    gnutls_priority_deinit(t->priority);
    gnutls_certificate_free_credentials(t->credentials);
    free(t);
}

struct http_tls_session *http__tls_begin(struct http_tls *t, int fd)
{
    struct http_tls_session *s = NEW(struct http_tls_session);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    must(gnutls_init(&s->session, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL) == 0);
    must(gnutls_priority_set(s->session, t->priority) == 0);
    must(gnutls_credentials_set(s->session, GNUTLS_CRD_CERTIFICATE, t->credentials) == 0);
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
    free(s);
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

bool http__tls_send(struct http_tls_session *s, int fd, const void *bytes, size_t n, int timeout_ms)
{
    const char *at = bytes;
    while (n > 0) {
        ssize_t sent = result(gnutls_record_send(s->session, at, n));
        if (sent >= 0) {
            at += sent;
            n -= (size_t)sent;
            continue;
        }
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        if (errno != EAGAIN || poll(&p, 1, timeout_ms) == 0)
            return false;
    }
    return true;
}
