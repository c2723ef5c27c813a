#include "store/tls.h"

#include "base/deferred.h"
#include "base/mem.h"
#include "base/relay.h"
#include "base/str.h"
#include "base/timeutil.h"

#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { USER_TIMEOUT_MS = 5000, LISTEN_BACKLOG = 128 };

struct tls_link {
    int fd;
    gnutls_session_t session;
    gnutls_certificate_credentials_t credentials, before; /* the latter: those of the handshake, or NULL */
    char *authority, *revoked;                            /* files; the latter: or NULL */
    struct timespec revoked_at;                           /* of the list that is in `credentials` */
    char peer[128];                                       /* for messages */
    char name[64];                                        /* who it must be; "": any manager */
};

static int wait_for(struct tls_link *l, short events, int64_t deadline_ns, struct err *err)
{
    for (;;) {
        int64_t left = deadline_ns - time_monotonic_ns();
        if (left <= 0)
            return err_set(err, ERR_TIMEOUT, "%s does not answer in time", l->peer);
        struct pollfd p = {.fd = l->fd, .events = events};
        int n = poll(&p, 1, (int)((left + NS_PER_MS - 1) / NS_PER_MS));
        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return err_sys(err, errno, "wait for %s", l->peer);
    }
}

static int failed(const struct tls_link *l, const char *what, ssize_t r, struct err *err)
{
    return err_set(err, ERR_UNAVAILABLE, "%s %s: %s", what, l->peer,
                   r == 0 || r == GNUTLS_E_PREMATURE_TERMINATION
                       ? "it closed the connection (one that does not take our certificate does so too)"
                       : gnutls_strerror((int)r));
}

void tls_close(struct tls_link *l)
{
    if (!l)
        return;
    if (l->session)
        gnutls_deinit(l->session);
    if (l->credentials)
        gnutls_certificate_free_credentials(l->credentials);
    if (l->before)
        gnutls_certificate_free_credentials(l->before);
    free(l->authority);
    free(l->revoked);
    close_fd(l->fd);
    free(l);
}

static int has_role(const struct tls_link *l, struct err *err)
{
    unsigned count = 0;
    const gnutls_datum_t *chain = gnutls_certificate_get_peers(l->session, &count);
    gnutls_x509_crt_t crt;
    if (!count || gnutls_x509_crt_init(&crt) < 0)
        return err_set(err, ERR_DENIED, "%s shows no certificate", l->peer);
    const char *want = *l->name ? l->name : STORE_TLS_ROLE,
               *oid = *l->name ? GNUTLS_OID_X520_COMMON_NAME : GNUTLS_OID_X520_ORGANIZATIONAL_UNIT_NAME;
    bool found = false;
    if (gnutls_x509_crt_import(crt, &chain[0], GNUTLS_X509_FMT_DER) == 0)
        for (unsigned i = 0; !found && i < 16; i++) {
            char text[128];
            size_t n = sizeof(text);
            if (gnutls_x509_crt_get_dn_by_oid(crt, oid, i, 0, text, &n) < 0)
                break;
            found = n == strlen(want) && memcmp(text, want, n) == 0;
        }
    gnutls_x509_crt_deinit(crt);
    if (found)
        return 0;
    return *l->name ? err_set(err, ERR_DENIED, "%s is not node %s", l->peer, l->name)
                    : err_set(err, ERR_DENIED, "%s has a certificate without the unit \"" STORE_TLS_ROLE "\"",
                              l->peer);
}

/* The issuer, and the role; no host name: members are told apart by what they know, not where they are. */
static int check_peer(const struct tls_link *l, struct err *err)
{
    unsigned status = 0;
    int r = gnutls_certificate_verify_peers2(l->session, &status);
    if (r < 0)
        return err_set(err, ERR_DENIED, "%s shows no certificate (%s)", l->peer, gnutls_strerror(r));
    if (status)
        return err_set(err, ERR_DENIED, "%s has a certificate that %s", l->peer,
                       status & GNUTLS_CERT_REVOKED         ? "was taken back"
                       : status & GNUTLS_CERT_EXPIRED       ? "has expired"
                       : status & GNUTLS_CERT_NOT_ACTIVATED ? "is not valid yet: compare the clocks"
                                                            : "is not of this cluster's authority");
    return has_role(l, err);
}

static bool list_time(const char *revoked, struct timespec *ret)
{
    struct stat st;
    if (!revoked || stat(revoked, &st) < 0)
        return false;
    *ret = st.st_mtim;
    return true;
}

/* Whom to believe. */
static int load_trust(struct tls_link *l, struct err *err)
{
    must(gnutls_certificate_allocate_credentials(&l->credentials) == 0);
    int r = gnutls_certificate_set_x509_trust_file(l->credentials, l->authority, GNUTLS_X509_FMT_PEM);
    if (r <= 0)
        return err_set(err, ERR_INVALID, "TLS authority %s: %s", l->authority,
                       r ? gnutls_strerror(r) : "no certificate in it");
    if (!list_time(l->revoked, &l->revoked_at))
        return 0;
    r = gnutls_certificate_set_x509_crl_file(l->credentials, l->revoked, GNUTLS_X509_FMT_PEM);
    return r < 0 ? err_set(err, ERR_INVALID, "TLS revocations %s: %s", l->revoked, gnutls_strerror(r)) : 0;
}

static int load(struct tls_link *l, const struct tls_files *f, struct err *err)
{
    snprintf(l->name, sizeof(l->name), "%s", f->peer ? f->peer : "");
    l->authority = mem_strdup(f->authority);
    l->revoked = mem_strdup(f->revoked);
    int r = load_trust(l, err);
    if (r < 0)
        return r;
    r = gnutls_certificate_set_x509_key_file(l->credentials, f->certificate, f->key, GNUTLS_X509_FMT_PEM);
    if (r < 0)
        return err_set(err, ERR_INVALID, "TLS certificate %s with key %s: %s", f->certificate, f->key,
                       gnutls_strerror(r));
    return 0;
}

static int handshake(struct tls_link *l, unsigned side, int64_t deadline_ns, struct err *err)
{
    must(gnutls_init(&l->session, side | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL) == 0);
    must(gnutls_priority_set_direct(l->session, "NORMAL:-VERS-ALL:+VERS-TLS1.3", NULL) == 0);
    must(gnutls_credentials_set(l->session, GNUTLS_CRD_CERTIFICATE, l->credentials) == 0);
    if (side == GNUTLS_SERVER)
        gnutls_certificate_server_set_request(l->session, GNUTLS_CERT_REQUIRE);
    gnutls_transport_set_int2(l->session, l->fd, l->fd);
    for (;;) {
        int r = gnutls_handshake(l->session);
        if (r == 0)
            return check_peer(l, err);
        if (gnutls_error_is_fatal(r))
            return failed(l, "TLS with", r, err);
        r = wait_for(l, gnutls_record_get_direction(l->session) ? POLLOUT : POLLIN, deadline_ns, err);
        if (r < 0)
            return r;
    }
}

static void prepare_socket(int fd)
{
    int on = 1, ms = USER_TIMEOUT_MS;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

static int resolve(const char *address, struct addrinfo **ret, struct err *err)
{
    const char *colon = strrchr(address, ':'), *host = address;
    size_t n = colon ? (size_t)(colon - address) : 0;
    if (n >= 2 && host[0] == '[' && host[n - 1] == ']') {
        host++;
        n -= 2;
    }
    _cleanup_free_ char *name = mem_strndup(host, n);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    if (!n || getaddrinfo(name, colon + 1, &hints, ret) != 0)
        return err_set(err, ERR_INVALID,
                       "\"%s\" is not an address: write it as 192.0.2.1:9323 or [2001:db8::1]:9323", address);
    return 0;
}

static int connect_tcp(struct tls_link *l, const char *address, int64_t deadline_ns, struct err *err)
{
    struct addrinfo *ai;
    int r = resolve(address, &ai, err);
    if (r < 0)
        return r;
    l->fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (l->fd >= 0)
        prepare_socket(l->fd);
    int sys = l->fd < 0 || connect(l->fd, ai->ai_addr, ai->ai_addrlen) < 0 ? errno : 0;
    freeaddrinfo(ai);
    if (sys == EINPROGRESS) {
        r = wait_for(l, POLLOUT, deadline_ns, err);
        if (r < 0)
            return r;
        socklen_t n = sizeof(sys);
        getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &sys, &n);
    }
    if (!sys)
        return 0;
    err_sys(err, sys, "connect to %s", address);
    if (err)
        err->code = ERR_UNAVAILABLE;
    return -ERR_UNAVAILABLE;
}

int tls_connect(const char *address, const struct tls_files *files, int64_t deadline_ns,
                struct tls_link **ret, struct err *err)
{
    deferred_need(DEFERRED_GNUTLS);
    struct tls_link *l = NEW(struct tls_link);
    l->fd = -EBADF;
    snprintf(l->peer, sizeof(l->peer), "%s", address);
    int r = load(l, files, err);
    if (r == 0)
        r = connect_tcp(l, address, deadline_ns, err);
    if (r == 0)
        r = handshake(l, GNUTLS_CLIENT, deadline_ns, err);
    if (r < 0) {
        tls_close(l);
        return r;
    }
    *ret = l;
    return 0;
}

int tls_accept(int fd, const struct tls_files *files, int64_t deadline_ns, struct tls_link **ret,
               struct err *err)
{
    deferred_need(DEFERRED_GNUTLS);
    struct tls_link *l = NEW(struct tls_link);
    struct sockaddr_storage from;
    socklen_t n = sizeof(from);
    char host[64], port[8];
    l->fd = fd;
    prepare_socket(fd);
    snprintf(l->peer, sizeof(l->peer), "a peer");
    if (getpeername(fd, (struct sockaddr *)&from, &n) == 0 &&
        getnameinfo((struct sockaddr *)&from, n, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) == 0)
        snprintf(l->peer, sizeof(l->peer), "%s:%s", host, port);
    int r = load(l, files, err);
    if (r == 0)
        r = handshake(l, GNUTLS_SERVER, deadline_ns, err);
    if (r < 0) {
        tls_close(l);
        return r;
    }
    *ret = l;
    return 0;
}

int tls_send(struct tls_link *l, const void *bytes, size_t n, int64_t deadline_ns, struct err *err)
{
    const char *at = bytes;
    while (n > 0) {
        ssize_t sent = gnutls_record_send(l->session, at, n);
        if (sent > 0) {
            at += sent;
            n -= (size_t)sent;
        } else if (sent == GNUTLS_E_AGAIN || sent == GNUTLS_E_INTERRUPTED) {
            int r = wait_for(l, POLLOUT, deadline_ns, err);
            if (r < 0)
                return r;
        } else {
            return failed(l, "send to", sent, err);
        }
    }
    return 0;
}

int tls_recv(struct tls_link *l, void *buffer, size_t n, int64_t deadline_ns, struct err *err)
{
    char *at = buffer;
    while (n > 0) {
        ssize_t got = gnutls_record_recv(l->session, at, n);
        if (got > 0) {
            at += got;
            n -= (size_t)got;
        } else if (got == GNUTLS_E_AGAIN || got == GNUTLS_E_INTERRUPTED) {
            int r = wait_for(l, POLLIN, deadline_ns, err);
            if (r < 0)
                return r;
        } else {
            return failed(l, "receive from", got, err);
        }
    }
    return 0;
}

/* False: the other side's certificate was taken back meanwhile. */
static bool still_good(struct tls_link *l)
{
    struct timespec now;
    if (!list_time(l->revoked, &now) ||
        (now.tv_sec == l->revoked_at.tv_sec && now.tv_nsec == l->revoked_at.tv_nsec))
        return true;
    gnutls_certificate_credentials_t last = l->credentials;
    int r = load_trust(l, NULL);
    if (r == 0)
        r = gnutls_credentials_set(l->session, GNUTLS_CRD_CERTIFICATE, l->credentials);
    if (l->before)
        gnutls_certificate_free_credentials(last);
    else
        l->before = last; /* which the session has its own certificate in */
    return r == 0 && check_peer(l, NULL) == 0;
}

/* -1 and errno, as the system's calls have it. */
static ssize_t result(ssize_t r)
{
    if (r >= 0)
        return r;
    errno = r == GNUTLS_E_AGAIN || r == GNUTLS_E_INTERRUPTED ? EAGAIN : EIO;
    return -1;
}

static ssize_t link_recv(void *of, void *bytes, size_t n)
{
    return result(gnutls_record_recv(((struct tls_link *)of)->session, bytes, n));
}

static ssize_t link_send(void *of, const void *bytes, size_t n)
{
    return result(gnutls_record_send(((struct tls_link *)of)->session, bytes, n));
}

static void link_shut(void *of)
{
    gnutls_bye(((struct tls_link *)of)->session, GNUTLS_SHUT_WR);
}

static bool link_is_good(void *of)
{
    return still_good(of);
}

static void carry(struct tls_link *l, int fd, enum relay_until until)
{
    const struct relay_end link = {l, l->fd, link_recv, link_send, link_shut}, inner = {.fd = fd};
    const struct relay_rule rule = {until, -1, link_is_good, l, TLS_LOOK_MS};
    relay(&link, &inner, &rule);
}

void tls_relay(struct tls_link *l, int fd)
{
    carry(l, fd, RELAY_EITHER);
}

void tls_relay_halves(struct tls_link *l, int fd)
{
    carry(l, fd, RELAY_BOTH);
}

int tls_listen(const char *address, int *ret_fd, struct err *err)
{
    struct addrinfo *ai;
    int r = resolve(address, &ai, err), on = 1;
    if (r < 0)
        return r;
    _cleanup_close_ int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    int sys =
        fd < 0 || bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, LISTEN_BACKLOG) < 0 ? errno : 0;
    freeaddrinfo(ai);
    if (sys)
        return err_sys(err, sys, "listen on %s", address);
    *ret_fd = take_fd(&fd);
    return 0;
}
