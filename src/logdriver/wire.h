/* A connection to a collector that never blocks: made, lost and made again.
 *
 * wire_step() brings it further; it is called whenever the descriptor is ready or `retry_at_ns` has come.
 * While it is WIRE_UP, wire_send() sends pieces. A collector that went away is noticed before something is
 * sent (by its end of file), and by errors of sending.
 *
 * On a TCP connection that fails, what the other side's kernel has not acknowledged counts as not sent: the
 * caller asks wire_acknowledged(). */
#ifndef LOGDRIVER_WIRE_H
#define LOGDRIVER_WIRE_H

#include "logdriver/cursor.h"
#include "logdriver/options.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

enum wire_state { WIRE_DOWN, WIRE_RESOLVING, WIRE_CONNECTING, WIRE_HANDSHAKE, WIRE_UP };

struct wire_options {
    struct logdriver_address address;
    const char *ca, *certificate, *key; /* TLS; or "" */
    bool skip_verify;
    int64_t retry_ms; /* before the second try; it grows by half each time, up to a bound */
    bool steady;      /* it does not grow */
};

struct wire_answer; /* of the resolver */

struct wire {
    struct wire_options o;
    enum wire_state state;
    int fd;
    int64_t retry_at_ns; /* monotonic; of WIRE_DOWN */
    int64_t delay_ms;
    int64_t failures; /* in a row */
    struct gnutls_session_int *tls;
    struct gnutls_certificate_credentials_st *credentials;
    struct wire_answer *answer;
    int wake_fd;         /* written by the resolver */
    unsigned generation; /* one more with each new descriptor */
    uint64_t acknowledged_at_up, written;
    uint64_t acknowledged; /* of `written`, when it went down */
    bool refused;          /* it went down as a datagram came to nobody */
    char why[200];         /* it is down */
    bool ever_up;
    /* Of the TLS record being pushed. */
    struct cursor *cursor;
    size_t piece;
    bool more;
};

struct wire_data {
    const char *bytes;
    size_t size;
    uint64_t end; /* set by wire_send: `written` behind it */
};

/* `wake_fd` is an eventfd that a helper thread writes to when a name has been looked up. */
void wire_init(struct wire *w, const struct wire_options *o, int wake_fd);
void wire_done(struct wire *w);
void wire_step(struct wire *w);
bool wire_is_stream(const struct wire *w);
/* Sends pieces [from, count) of the cursor's batch. Returns the first one not sent whole; WIRE_DOWN
 * afterwards: it failed. */
size_t wire_send(struct wire *w, struct cursor *c, struct wire_data *data, size_t from, size_t count);
/* Whether a collector has ended the connection; reads what it said (`ret` may be NULL: it is thrown away). */
bool wire_hung_up(struct wire *w, struct str *ret);
/* How many bytes of `written` have been acknowledged; all of them where nobody can tell. */
uint64_t wire_acknowledged(const struct wire *w);
void wire_drop(struct wire *w, const char *why);
/* Tries once, and waits: for the start of a container, which fails as Docker's does when nobody listens. */
int wire_probe(const struct logdriver_address *a, int timeout_ms, struct err *err);

#endif
