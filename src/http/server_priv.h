/* What the server's files share: connections and requests.
 *
 * A connection is owned by one thread at a time: the one that was woken for it (its registration in the epoll
 * set is one-shot), until that thread parks or closes it. Whoever else wants it gone (the timer, the bound on
 * connections, the server's end) shuts its socket down, which wakes a thread that then closes it. So nothing
 * is ever freed under anybody.
 *
 *    accept --> read a head --> request --> handler --> answer --+--> close
 *                 ^   |                                          |
 *                 |   v parked: IDLE between requests, HEAD in   +--> LINGER: closed for writing; what the
 *                 +---- the middle of one                        |    peer still sends is thrown away, so
 *                 ^                                              |    that it sees the answer and no reset
 *                 +----------------------------------------------+
 *
 * The handler's thread reads and writes the socket itself. A handler may use a second thread for the body
 * (http_body_read) while it writes the answer: the two sides share no state but `discard` and `wake_fd`. */
#ifndef HTTP_SERVER_PRIV_H
#define HTTP_SERVER_PRIV_H

#include "http/server.h"

#include "base/map.h"
#include "base/mem.h"

#include <pthread.h>
#include <sys/uio.h>

enum {
    HTTP_MAX_PARAMS = 4,
    HTTP_MAX_HEADERS = 512,
    HTTP_HEAD_MAX = 1 << 20,
    /* A body of this size is waited for without a thread. */
    HTTP_SMALL_BODY = 64 << 10,
    HTTP_GATHER_BYTES = 32 << 10,
    HTTP_ANSWER_TIMEOUT_MS = 60 * 1000,
    /* A body may come from a slow program's pipe; a dead client must not keep its thread for ever. */
    HTTP_BODY_TIMEOUT_MS = 3600 * 1000,
};

/* --- head.c: a request's head, taken apart in place --- */
struct http_field {
    const char *name, *value;
};

struct http_head {
    const char *method, *target;
    int minor;                 /* HTTP/1.minor: 0, or 1 also for what is newer */
    struct http_field *fields; /* the caller frees */
    size_t field_count, field_capacity;
    int64_t content_length; /* 0 when none is given */
    bool chunked, keep_alive, expects_continue;
};

/* The length of the head at the start of `bytes` with its empty line, or 0 when that has not come. *scanned
 * is the caller's, 0 at first, and saves looking twice at the same bytes. */
size_t http__head_end(const char *bytes, size_t n, size_t *scanned);
/* `text` of n bytes, as http__head_end found it, is cut up. Returns 0, or the HTTP status of the refusal with
 * a text for the client. */
int http__head_parse(char *text, size_t n, struct http_head *ret, const char **ret_why);

/* --- chunk.c: the chunked encoding, undone --- */
struct http_chunks {
    enum { CHUNK_SIZE, CHUNK_EXTENSION, CHUNK_DATA, CHUNK_DATA_END, CHUNK_TRAILER, CHUNK_DONE } state;
    uint64_t left; /* of the chunk */
    unsigned digits, line;
    bool cr;
};
/* Takes bytes up to the data of a chunk, or the end: how many were taken, or -1 for nonsense. In CHUNK_DATA
 * the next `left` bytes are data; the caller takes them off with http__chunk_took. */
ssize_t http__chunk_framing(struct http_chunks *c, const char *bytes, size_t n);
void http__chunk_took(struct http_chunks *c, size_t n);

/* --- connections --- */
enum http_place { CONN_BUSY, CONN_IDLE, CONN_HEAD, CONN_LINGER, CONN_PLACES };

/* A thread of the pool, at one connection. */
struct http_worker {
    bool handed_over; /* it does not count as waiting any more, and */
    bool relieved;    /* ... another one does */
};

struct http_conn {
    struct http_server *server;
    struct http_worker *worker;    /* that owns it */
    struct http_conn *next, *prev; /* in the list of its place */
    enum http_place place;
    int fd;
    bool is_unix, registered, doomed, lingers;
    struct http_tls_session *tls; /* or NULL */
    int64_t began;                /* the head in `in` did; 0: none has */
    int64_t deadline;             /* parked until then */
    char *in;                     /* came, and not yet used; NULL when empty */
    size_t start, len, capacity, scanned;
    size_t want;    /* the whole of a request whose head has come, or 0 */
    bool continued; /* its client was told to go on */
    struct http_request *request;
};

/* --- tls.c; a session belongs to its connection --- */
struct http_tls_session *http__tls_begin(struct http_tls *t, int fd); /* makes the descriptor non-blocking */
void http__tls_free(struct http_tls_session *s);
void http__tls_peer(struct http_tls_session *s, struct http_certificate *ret);
/* Of the list of certificates taken back, as the file has it now: the serials in hex. */
int http__tls_revoked(const struct http_tls *t, struct map *ret, struct err *err);
void http__tls_end(struct http_tls_session *s); /* tells the peer that nothing more comes */
/* As recv(2) without waiting: -1 with EAGAIN also while the handshake is under way. */
ssize_t http__tls_recv(struct http_tls_session *s, void *buffer, size_t n);
bool http__tls_pending(struct http_tls_session *s); /* bytes that the descriptor will not tell of */
ssize_t http__tls_send_some(struct http_tls_session *s, const void *bytes, size_t n); /* as send(2) */

struct http_param {
    const char *name; /* in the route's pattern, up to '}' or '.' */
    char *value;
};

struct http_request {
    struct http_server *server;
    struct http_conn *conn;
    enum http_kind kind;
    char bound[HTTP_SERIAL_BYTES]; /* to the certificate of this serial, or ""; with the server's lock */

    char *head_text; /* what `head` points into */
    struct http_head *head;
    const char *method;
    const char *target; /* as sent */
    char *path;         /* without version prefix and query, still percent-encoded */
    char *decoded_path;
    char *version_text;
    int api_version;
    struct http_param params[HTTP_MAX_PARAMS];
    size_t param_count;
    char **query_names, **query_values;
    const struct http_route *route;

    struct http_chunks chunks;
    int64_t body_left, body_bytes;
    int64_t body_deadline; /* monotonic ns; 0: each wait has HTTP_BODY_TIMEOUT_MS */
    _Atomic bool body_end;
    bool body_torn, body_malformed, body_too_large, body_late;
    bool continue_due; /* the client waits for "100 Continue" */
    _Atomic bool discard;
    pthread_mutex_t lock; /* of wake_fd */
    int wake_fd;

    char **reply_headers; /* name, value, ... */
    bool answered, broken, close, streaming, chunked, gather, out_end, hijacked;
    struct str out;
};

struct http_server {
    struct http_server_config config;
    struct str fixed; /* the headers on every answer */
    int listen_fd, epoll_fd, timer_fd, stop_fd;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct http_conn *first[CONN_PLACES], *last[CONN_PLACES];
    size_t conns, conns_max, requests;
    /* Threads: all; that wait, or are prompt; that rest, and how many of these were called and wait next. */
    size_t threads, waiting, resting, called, listeners_max;
    pthread_cond_t call;
    size_t of_kind[HTTP_KINDS];
    int64_t timer_at; /* 0: not set */
    bool stopping, ended, cut, accept_paused;
    _Atomic size_t buffered; /* bytes in buffers beyond the small ones */
};

/* conn.c */
struct http_conn *http__conn_new(struct http_server *s, int fd);
void http__conn_free(struct http_conn *c);
/* Receives what is there, up to `max` bytes held at once. 1: something; 0: nothing yet; -1: the end, or an
 * error; -2: no memory to be had for it. */
ssize_t http__conn_recv(struct http_conn *c, void *buffer, size_t n); /* without waiting, past `in` */
int http__conn_receive(struct http_conn *c, size_t max);
void http__conn_consume(struct http_conn *c, size_t n);
size_t http__conn_take(struct http_conn *c, void *buffer, size_t n);
/* As send(2) without waiting; what was not taken is to be given again. */
ssize_t http__conn_send_some(struct http_conn *c, const void *bytes, size_t n);
/* False when the peer is gone or does not read for `timeout_ms` (-1: waits for ever). */
bool http__conn_send(struct http_conn *c, struct iovec *parts, int count, int timeout_ms);
/* A head and n bytes of a file, in as few segments as they need; not with TLS, which has to see the bytes. */
bool http__conn_send_file(struct http_conn *c, struct iovec head, int fd, int64_t offset, int64_t n,
                          int timeout_ms);

/* pool.c: the place of a connection, and who waits. */
void http__conn_enter(struct http_conn *c);                       /* a new one, BUSY */
void http__conn_close(struct http_conn *c);                       /* a BUSY one */
void http__conn_park(struct http_conn *c, enum http_place place); /* no longer the caller's */
void http__conn_unpark(struct http_conn *c);
bool http__evict_one(struct http_server *s);   /* with the lock held */
void http__doom_parked(struct http_server *s); /* with the lock held */
int http__threads_start(struct http_server *s, struct err *err);
void http__threads_end(struct http_server *s); /* with the lock held */
void http__accept(struct http_server *s, struct http_worker *w);
/* Before its owner does anything that lasts. False: no other thread waits, nor can be made to, and it must
 * not. */
bool http__hand_over(struct http_conn *c);

/* server.c: serves what has come on a BUSY connection, and parks or closes it. */
void http__conn_serve(struct http_conn *c, struct http_worker *w);
void http__conn_ready(struct http_conn *c, struct http_worker *w);

/* request.c */
struct http_request *http__request_new(struct http_server *s);
void http__request_free(struct http_request *q);

/* body.c: throws away what is left of the body, as far as it is here. Not while another thread reads it. */
void http__body_drop_held(struct http_request *q);

/* reply.c */
const char *http__reason(int status);
/* Ends whatever the handler has left open. */
void http__finish(struct http_request *q);
/* An answer to what has not become a request; the connection is to be closed. */
void http__refuse(struct http_conn *c, int status, const char *message);

/* route.c: takes q->target apart; finds the route for q->method and q->path. */
int http__target_parse(struct http_request *q, struct err *err);
const struct http_route *http__route_find(const struct http_route *routes, struct http_request *q);
/* Takes what is behind `prefix` for the request's target, when one of `routes` fits that. */
bool http__target_behind(struct http_request *q, const char *prefix, const struct http_route *routes);

#endif
