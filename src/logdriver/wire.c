#include "logdriver/wire.h"

#include "base/deferred.h"
#include "base/file.h"
#include "base/timeutil.h"

#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <linux/tcp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/un.h>
#include <unistd.h>

enum { RETRY_MAX_MS = 30000, RESOLVERS_MAX = 8, ADDRESSES_MAX = 8, SEND_BUFFER_BYTES = 4 << 20 };

/* --- names --- */

/* Owned by the thread that looks a name up, and by the wire that waits for it and then tries its addresses:
 * whoever is last frees it. */
struct wire_answer {
    atomic_int owners;
    char host[256], port[8];
    int socktype, wake_fd;
    atomic_bool done;
    int failure; /* EAI_..., or 0 */
    size_t count, tried;
    struct {
        struct sockaddr_storage address;
        socklen_t length;
    } list[ADDRESSES_MAX];
};

static atomic_int resolvers;

static void release(struct wire_answer *a)
{
    if (a && atomic_fetch_sub(&a->owners, 1) == 1) {
        close_fd(a->wake_fd);
        free(a);
    }
}

static struct wire_answer *answer_new(const struct logdriver_address *a, int socktype)
{
    struct wire_answer *new = NEW(struct wire_answer);
    new->owners = 1;
    new->socktype = socktype;
    new->wake_fd = -EBADF;
    memcpy(new->host, a->host, sizeof(new->host));
    memcpy(new->port, a->port, sizeof(new->port));
    return new;
}

static void look_up(struct wire_answer *a, int flags)
{
    struct addrinfo hints = {.ai_socktype = a->socktype, .ai_flags = flags | AI_NUMERICSERV}, *list;
    a->failure = getaddrinfo(*a->host ? a->host : "localhost", a->port, &hints, &list);
    if (a->failure)
        return;
    for (const struct addrinfo *i = list; i && a->count < ADDRESSES_MAX; i = i->ai_next) {
        memcpy(&a->list[a->count].address, i->ai_addr, i->ai_addrlen);
        a->list[a->count++].length = i->ai_addrlen;
    }
    freeaddrinfo(list);
}

static void *resolve(void *argument)
{
    struct wire_answer *a = argument;
    look_up(a, 0);
    atomic_store(&a->done, true);
    uint64_t one = 1;
    if (write(a->wake_fd, &one, sizeof(one)) < 0)
        a->done = true; /* full: it is readable already */
    release(a);
    atomic_fetch_sub(&resolvers, 1);
    return NULL;
}

static int socktype_of(const struct wire *w)
{
    return w->o.address.transport == TRANSPORT_UDP || w->o.address.transport == TRANSPORT_UNIXGRAM
               ? SOCK_DGRAM
               : SOCK_STREAM;
}

bool wire_is_stream(const struct wire *w)
{
    return socktype_of(w) == SOCK_STREAM;
}

static void begin_to_resolve(struct wire *w)
{
    pthread_t thread;
    pthread_attr_t attributes;
    if (atomic_fetch_add(&resolvers, 1) >= RESOLVERS_MAX) {
        atomic_fetch_sub(&resolvers, 1);
        wire_drop(w, "too many names are being looked up");
        return;
    }
    struct wire_answer *a = answer_new(&w->o.address, socktype_of(w));
    a->owners = 2;
    a->wake_fd = fcntl(w->wake_fd, F_DUPFD_CLOEXEC, 3);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, 256 << 10);
    int r = pthread_create(&thread, &attributes, resolve, a);
    pthread_attr_destroy(&attributes);
    if (r != 0) {
        atomic_fetch_sub(&resolvers, 1);
        a->owners = 1;
        release(a);
        wire_drop(w, "no thread to look its name up");
        return;
    }
    w->answer = a;
    w->state = WIRE_RESOLVING;
}

/* --- up and down --- */

void wire_init(struct wire *w, const struct wire_options *o, int wake_fd)
{
    *w = (struct wire){.o = *o, .fd = -EBADF, .wake_fd = wake_fd, .delay_ms = o->retry_ms};
}

static void close_all(struct wire *w)
{
    w->acknowledged = w->state == WIRE_UP ? wire_acknowledged(w) : 0;
    if (w->tls)
        gnutls_deinit(w->tls);
    if (w->credentials)
        gnutls_certificate_free_credentials(w->credentials);
    w->tls = NULL;
    w->credentials = NULL;
    w->fd = close_fd(w->fd);
    release(take_ptr(w->answer));
}

void wire_done(struct wire *w)
{
    close_all(w);
}

void wire_drop(struct wire *w, const char *why)
{
    close_all(w);
    bool was_up = w->state == WIRE_UP;
    w->state = WIRE_DOWN;
    snprintf(w->why, sizeof(w->why), "%s", why);
    if (was_up && w->written) {
        w->delay_ms = w->o.retry_ms; /* it had worked: the first try again comes soon */
        w->failures = 0;
    }
    w->failures++;
    w->retry_at_ns = time_monotonic_ns() + w->delay_ms * NS_PER_MS;
    if (!w->o.steady)
        w->delay_ms = MIN(w->delay_ms + w->delay_ms / 2 + 1, (int64_t)RETRY_MAX_MS);
}

static bool tcp_info_of(const struct wire *w, struct tcp_info *ret)
{
    socklen_t n = sizeof(*ret);
    memset(ret, 0, sizeof(*ret));
    return getsockopt(w->fd, IPPROTO_TCP, TCP_INFO, ret, &n) == 0 &&
           n >= offsetof(struct tcp_info, tcpi_bytes_acked) + sizeof(ret->tcpi_bytes_acked);
}

static void is_up(struct wire *w)
{
    struct tcp_info info;
    w->state = WIRE_UP;
    w->written = 0;
    w->ever_up = true;
    w->acknowledged_at_up = tcp_info_of(w, &info) ? info.tcpi_bytes_acked : 0;
    *w->why = '\0';
}

uint64_t wire_acknowledged(const struct wire *w)
{
    struct tcp_info info;
    if (w->o.address.transport != TRANSPORT_TCP && w->o.address.transport != TRANSPORT_TLS)
        return w->written;
    return w->fd >= 0 && tcp_info_of(w, &info) ? info.tcpi_bytes_acked - w->acknowledged_at_up : w->written;
}

/* --- TLS --- */

static ssize_t call_sendmmsg(struct wire *w, struct cursor *c, size_t i, const void *bytes, size_t n)
{
    struct cursor_page *p = c->page;
    struct iovec v = {(void *)bytes, n};
    /* In this order a kill between them makes less of what was sent, never more. */
    uint32_t done = p->piece[i].before + p->sent[i].msg_len;
    p->sent[i].msg_len = 0;
    p->piece[i].before = done;
    p->sent[i].msg_hdr = (struct msghdr){.msg_iov = &v, .msg_iovlen = 1};
    if (sendmmsg(w->fd, &p->sent[i], 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1)
        return -1;
    w->written += p->sent[i].msg_len;
    return p->sent[i].msg_len;
}

/* A record goes out: its bytes are what the piece's size is counted in. */
static ssize_t push(gnutls_transport_ptr_t context, const void *bytes, size_t n)
{
    struct wire *w = context;
    if (w->state != WIRE_UP || !w->cursor)
        return send(w->fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    struct cursor_piece *p = &w->cursor->page->piece[w->piece];
    uint32_t done = p->before + w->cursor->page->sent[w->piece].msg_len;
    p->size = done + (uint32_t)n + w->more;
    return call_sendmmsg(w, w->cursor, w->piece, bytes, n);
}

static ssize_t pull(gnutls_transport_ptr_t context, void *bytes, size_t n)
{
    struct wire *w = context;
    return recv(w->fd, bytes, n, MSG_DONTWAIT);
}

static int begin_tls(struct wire *w)
{
    deferred_need(DEFERRED_GNUTLS);
    int r = gnutls_certificate_allocate_credentials(&w->credentials);
    if (r == 0 && *w->o.ca)
        r = MIN(gnutls_certificate_set_x509_trust_file(w->credentials, w->o.ca, GNUTLS_X509_FMT_PEM), 0);
    else if (r == 0)
        r = MIN(gnutls_certificate_set_x509_system_trust(w->credentials), 0);
    if (r == 0 && *w->o.certificate)
        r = gnutls_certificate_set_x509_key_file(w->credentials, w->o.certificate, w->o.key,
                                                 GNUTLS_X509_FMT_PEM);
    if (r == 0)
        r = gnutls_init(&w->tls, GNUTLS_CLIENT | GNUTLS_NONBLOCK);
    if (r == 0)
        r = gnutls_set_default_priority(w->tls);
    if (r == 0)
        r = gnutls_credentials_set(w->tls, GNUTLS_CRD_CERTIFICATE, w->credentials);
    if (r < 0)
        return r;
    const char *host = w->o.address.host;
    gnutls_server_name_set(w->tls, GNUTLS_NAME_DNS, host, strlen(host));
    if (!w->o.skip_verify)
        gnutls_session_set_verify_cert(w->tls, host, 0);
    gnutls_transport_set_ptr(w->tls, w);
    gnutls_transport_set_push_function(w->tls, push);
    gnutls_transport_set_pull_function(w->tls, pull);
    return 0;
}

static void step_handshake(struct wire *w)
{
    int r;
    do
        r = gnutls_handshake(w->tls);
    while (r == GNUTLS_E_INTERRUPTED);
    if (r == 0)
        is_up(w);
    else if (gnutls_error_is_fatal(r))
        wire_drop(w, gnutls_strerror(r));
}

/* --- connecting --- */

static void connected(struct wire *w)
{
    release(take_ptr(w->answer));
    if (w->o.address.transport != TRANSPORT_TLS) {
        is_up(w);
        return;
    }
    w->state = WIRE_HANDSHAKE;
    int r = begin_tls(w);
    if (r < 0)
        wire_drop(w, gnutls_strerror(r));
    else
        step_handshake(w);
}

/* Returns why it cannot be reached (an errno), or 0: it may be. */
static int try_address(struct wire *w, const struct sockaddr *address, socklen_t length)
{
    int big = SEND_BUFFER_BYTES, on = 1, user_timeout_ms = 30000;
    w->fd = socket(address->sa_family, socktype_of(w) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    w->generation++;
    w->refused = false;
    if (w->fd < 0)
        return errno;
    if (socktype_of(w) == SOCK_DGRAM)
        setsockopt(w->fd, SOL_SOCKET, SO_SNDBUF, &big, sizeof(big));
    else if (address->sa_family != AF_UNIX) {
        setsockopt(w->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
        setsockopt(w->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        setsockopt(w->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms, sizeof(user_timeout_ms));
    }
    if (connect(w->fd, address, length) == 0)
        connected(w);
    else if (errno == EINPROGRESS)
        w->state = WIRE_CONNECTING;
    else
        return errno;
    return 0;
}

/* The addresses of a name, one after the other. Datagrams are refused only when they have been sent: each try
 * begins with another address then. `failure` is that of the one before. */
static void try_next(struct wire *w, int failure)
{
    struct wire_answer *a = w->answer;
    size_t first = socktype_of(w) == SOCK_DGRAM ? (size_t)w->failures : 0;
    while (a && a->tried < a->count) {
        size_t i = (first + a->tried++) % a->count;
        w->fd = close_fd(w->fd);
        failure = try_address(w, (struct sockaddr *)&a->list[i].address, a->list[i].length);
        if (failure == 0)
            return;
    }
    wire_drop(w, strerror(failure));
}

static void begin(struct wire *w)
{
    const struct logdriver_address *a = &w->o.address;
    if (a->transport == TRANSPORT_UNIX || a->transport == TRANSPORT_UNIXGRAM) {
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        memcpy(un.sun_path, a->path, sizeof(un.sun_path));
        un.sun_path[sizeof(un.sun_path) - 1] = '\0';
        int failure = try_address(w, (struct sockaddr *)&un, sizeof(un));
        if (failure)
            wire_drop(w, strerror(failure));
        return;
    }
    w->answer = answer_new(a, socktype_of(w));
    look_up(w->answer, AI_NUMERICHOST);
    if (w->answer->failure == 0) {
        try_next(w, 0);
        return;
    }
    release(take_ptr(w->answer));
    begin_to_resolve(w);
}

static void step_resolving(struct wire *w)
{
    if (!atomic_load(&w->answer->done))
        return;
    if (w->answer->failure)
        wire_drop(w, gai_strerror(w->answer->failure));
    else
        try_next(w, 0);
}

static void step_connecting(struct wire *w)
{
    struct pollfd p = {.fd = w->fd, .events = POLLOUT};
    int failure = 0;
    socklen_t n = sizeof(failure);
    if (poll(&p, 1, 0) <= 0)
        return;
    if (getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &failure, &n) < 0)
        failure = errno;
    if (failure)
        try_next(w, failure);
    else
        connected(w);
}

void wire_step(struct wire *w)
{
    switch (w->state) {
    case WIRE_DOWN:
        if (time_monotonic_ns() >= w->retry_at_ns)
            begin(w);
        break;
    case WIRE_RESOLVING:
        step_resolving(w);
        break;
    case WIRE_CONNECTING:
        step_connecting(w);
        break;
    case WIRE_HANDSHAKE:
        step_handshake(w);
        break;
    case WIRE_UP:
        break;
    }
}

/* --- sending --- */

bool wire_hung_up(struct wire *w, struct str *ret)
{
    char buffer[4096];
    for (;;) {
        ssize_t n = w->tls ? gnutls_record_recv(w->tls, buffer, sizeof(buffer))
                           : recv(w->fd, buffer, sizeof(buffer), MSG_DONTWAIT);
        if (n > 0 && ret && ret->len < 64 << 10)
            str_addn(ret, buffer, (size_t)n);
        if (n > 0)
            continue;
        if (w->tls)
            return n == 0 || gnutls_error_is_fatal((int)n);
        if (n < 0)
            w->refused = errno == ECONNREFUSED && w->o.address.transport == TRANSPORT_UDP;
        return (n == 0 && wire_is_stream(w)) || (n < 0 && errno != EAGAIN && errno != EINTR);
    }
}

/* True: the piece is out whole. */
static bool send_tls(struct wire *w, struct cursor *c, const struct wire_data *d, size_t i)
{
    enum { RECORD_BYTES = 16000 };
    size_t at = 0;
    w->cursor = c;
    w->piece = i;
    ssize_t n = 0;
    while (at < d->size) {
        size_t part = MIN(d->size - at, (size_t)RECORD_BYTES);
        w->more = at + part < d->size;
        n = gnutls_record_send(w->tls, d->bytes + at, part);
        while (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED) {
            /* Rare: the socket's buffer is full in the middle of a record. */
            struct pollfd p = {.fd = w->fd, .events = POLLOUT};
            if (poll(&p, 1, 1000) <= 0)
                break;
            n = gnutls_record_send(w->tls, NULL, 0);
        }
        if (n <= 0)
            break;
        at += (size_t)n;
    }
    w->cursor = NULL;
    if (at < d->size)
        wire_drop(w, n < 0 ? gnutls_strerror((int)n) : "it does not take data");
    return at == d->size;
}

/* True: it is out whole. */
static bool send_plain(struct wire *w, struct cursor *c, const struct wire_data *d, size_t i)
{
    struct cursor_page *p = c->page;
    size_t done = p->piece[i].before + p->sent[i].msg_len;
    ssize_t n = call_sendmmsg(w, c, i, d->bytes + done, d->size - done);
    if (n < 0 && errno != EAGAIN && errno != ENOBUFS && errno != EINTR)
        wire_drop(w, strerror(errno));
    return n >= 0 && done + (size_t)n == d->size;
}

/* Many datagrams, or messages of a stream, in one call. */
static size_t send_many(struct wire *w, struct cursor *c, struct wire_data *data, size_t from, size_t count)
{
    struct iovec v[PIECES_MAX];
    struct cursor_page *p = c->page;
    for (size_t i = from; i < count; i++) {
        v[i] = (struct iovec){(void *)data[i].bytes, data[i].size};
        p->sent[i].msg_len = 0;
        p->sent[i].msg_hdr = (struct msghdr){.msg_iov = &v[i], .msg_iovlen = 1};
    }
    int n = sendmmsg(w->fd, &p->sent[from], (unsigned)(count - from), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != ENOBUFS && errno != EINTR) {
        w->refused = errno == ECONNREFUSED && w->o.address.transport == TRANSPORT_UDP;
        wire_drop(w, strerror(errno));
    }
    size_t i = from;
    for (; n > 0 && i < from + (size_t)n && p->sent[i].msg_len == p->piece[i].size; i++)
        w->written += p->sent[i].msg_len;
    /* The one that was cut off. */
    if (i < count && p->sent[i].msg_len)
        w->written += p->sent[i].msg_len;
    return i;
}

size_t wire_send(struct wire *w, struct cursor *c, struct wire_data *data, size_t from, size_t count)
{
    uint64_t start = w->written;
    size_t i = from;
    if (i < count && (w->tls || c->page->piece[i].before || c->page->sent[i].msg_len)) {
        if (!(w->tls ? send_tls(w, c, &data[i], i) : send_plain(w, c, &data[i], i)))
            return i;
        data[i++].end = start = w->written;
        if (w->tls)
            return i;
    }
    if (i == count)
        return i;
    size_t sent = send_many(w, c, data, i, count);
    for (; i < sent; i++)
        data[i].end = start += data[i].size;
    return sent;
}

/* --- the first try --- */

int wire_probe(const struct logdriver_address *a, int timeout_ms, struct err *err)
{
    struct wire w;
    struct wire_options o = {.address = *a, .ca = "", .certificate = "", .key = "", .retry_ms = 1000};
    bool local = a->transport == TRANSPORT_UNIX || a->transport == TRANSPORT_UNIXGRAM;
    if (o.address.transport == TRANSPORT_TLS)
        o.address.transport = TRANSPORT_TCP; /* whether somebody listens */
    if (a->transport == TRANSPORT_UDP)
        return 0;
    wire_init(&w, &o, STDERR_FILENO);
    if (local)
        begin(&w);
    else {
        w.answer = answer_new(a, SOCK_STREAM);
        look_up(w.answer, 0);
        int failure = w.answer->failure;
        if (failure) {
            wire_done(&w);
            return err_set(err, ERR_UNAVAILABLE, "dial tcp: lookup %s: %s", a->host, gai_strerror(failure));
        }
        try_next(&w, 0);
    }
    while (w.state == WIRE_CONNECTING) {
        struct pollfd p = {.fd = w.fd, .events = POLLOUT};
        if (poll(&p, 1, timeout_ms) == 0)
            wire_drop(&w, "i/o timeout");
        else
            step_connecting(&w);
    }
    int r = 0;
    if (w.state != WIRE_UP && local)
        r = err_set(err, ERR_UNAVAILABLE, "dial unix %s: connect: %s", a->path, w.why);
    else if (w.state != WIRE_UP)
        r = err_set(err, ERR_UNAVAILABLE, "dial tcp %s:%s: connect: %s", a->host, a->port, w.why);
    for (char *at = err && r < 0 ? strrchr(err->msg, ':') : NULL; at && *at; at++)
        *at = (char)(*at >= 'A' && *at <= 'Z' ? *at + 32 : *at);
    wire_done(&w);
    return r;
}
