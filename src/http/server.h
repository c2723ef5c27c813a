/* HTTP/1.1 server for unix sockets and TCP: requests are handled by blocking code, idle connections cost no
 * thread and some hundred bytes.
 *
 * A few threads wait together for whatever connection has something to say. The one that is woken reads a
 * request's head, and then runs its handler itself; before that it sees to it that another one waits, unless
 * the route promises to be prompt: then nobody is woken before http_lasts() says that it is not, or the
 * client does not take the answer. So an answer that is ready at once costs no change of threads, and one
 * that takes for ever costs a thread, of which each kind of request has a bound (enum http_kind): a thousand
 * followers of logs leave room for everything else. A request whose small body is still on its way waits
 * without a thread.
 *
 * A handler answers exactly once: http_reply_*(), or http_stream_begin() ... http_stream_end() (done for it
 * when it returns), or http_hijack(). It may answer before it has read the body, and may read the body in
 * another thread while it writes an answer.
 *
 * Routes are a table: method, pattern with "{name}" segments and at most one "{name...}" that takes one or
 * more segments with their slashes. The first that fits is taken. A leading "/v1.NN" is taken off the path
 * before matching and is available as http_api_version().
 *
 * Strict: a head that RFC 9112 calls invalid, or that two readers could understand differently, is refused
 * with 400 and the connection closed. Bounded: heads (1 MiB, as Go's server has it), the time a head, a body
 * and a plain answer may take, connections (when there is no room, the one idle for longest is closed), what
 * all unfinished requests hold together.
 *
 * Why not a library: Docker's clients want an answer while their request's body is still on its way (build,
 * load), and a connection that becomes raw bytes after "200 OK"; libmicrohttpd does neither, takes 64 KiB for
 * each idle connection, and two changes of threads for each request. */
#ifndef HTTP_SERVER_H
#define HTTP_SERVER_H

#include "base/err.h"
#include "base/str.h"

#include "http/tls.h"

#include <jansson.h>
#include <stdbool.h>

struct http_server;
struct http_request;

typedef void (*http_handler)(struct http_request *q, void *context);

/* What a request may hold on to; each has a bound on how many are in progress. */
enum http_kind {
    HTTP_BRIEF,    /* answers by itself, soon */
    HTTP_WAIT,     /* until something happens: wait, events, stats */
    HTTP_FOLLOW,   /* logs */
    HTTP_ATTACH,   /* a taken-over connection */
    HTTP_TRANSFER, /* bulk: images, archives, builds, and every request whose body is not there at its start
                    */
    HTTP_KINDS,
};

struct http_route {
    const char *method;  /* "GET"; HEAD is listed where it is wanted */
    const char *pattern; /* "/containers/{id}/json" */
    http_handler handler;
    /* Instead of `handler`: returns 0 having answered, or a negative code with `err` filled, which then
     * becomes the answer; a stream that has begun is cut off (http_stream_abort). */
    int (*attempt)(struct http_request *q, void *context, struct err *err);
    enum http_kind kind;
    /* The names of its query parameters with a blank between; what a mark before a name means is the caller's
     * (http_route_query). NULL: none. */
    const char *query;
    /* What it needs, in words of the caller's (http_route_needs), for admit(). NULL: "". */
    const char *needs;
    /* The handler, and admit() before it, wait for nothing (a lock that others hold long, a program, another
     * machine, a write to the disk) without http_lasts() before. */
    bool prompt;
};

struct http_server_config {
    const struct http_route *routes; /* ends with a NULL method */
    void *context;
    /* No route: NULL gives 404 {"message":"page not found"}. */
    http_handler fallback;
    /* Asked before every handler (not the fallback); false when it has answered itself. NULL: no check. */
    bool (*admit)(struct http_request *q, void *context);
    /* May change the words of an error before they become an answer. NULL: they stay. */
    void (*reword)(struct http_request *q, struct err *err);
    /* Headers on every answer: name, value, ..., NULL. */
    const char *const *headers;
    int64_t max_body_bytes;       /* 0: unbounded; a handler's own limit is http_body_json's */
    int max_requests[HTTP_KINDS]; /* in progress at once, of each kind; 0: 1024; beyond it 503 */
    struct http_tls *tls;         /* NULL: none; with it no connection can be taken over (http_hijack) */
    bool unversioned;             /* a leading "/v1.NN" is part of the path */
    int idle_timeout_s;           /* between requests; 0: 120 */
    int head_timeout_s;           /* for a head, and a body that a handler wants whole; 0: 30 */
};

/* `listen_fd` is a listening socket; taken. */
int http_server_start(const struct http_server_config *config, int listen_fd, struct http_server **ret,
                      struct err *err);
/* Stops accepting, waits for requests in progress up to `grace_ms`, then cuts them. False: one hangs all the
 * same, and what its handler uses must stay (as the server does). */
bool http_server_stop(struct http_server *s, int grace_ms);
/* Cuts the requests that are bound to a certificate (http_bind_to_certificate) which the present list of
 * `revoked_file` (tls.h) names. To be called after http_tls_reload(). */
int http_server_end_revoked(struct http_server *s, struct err *err);

/* For what a prompt route runs: the rest may last, and another thread is to wait meanwhile. False: none can
 * be had, and it must not. Of every other route it is true, and costs nothing. */
bool http_lasts(struct http_request *q);

/* For a handler: has the request answered by one of another table's routes, with its admit() and context, as
 * if its target were what comes behind `prefix`. False: none of them fits, and nothing has happened. */
bool http_pass(struct http_request *q, const char *prefix, const struct http_server_config *as);

const char *
http_route_query(const struct http_request *q); /* of the route that was taken; "" when it has none */

const char *http_route_needs(const struct http_request *q);
enum http_kind http_route_kind(const struct http_request *q);

/* --- The request --- */
/* The address of a TCP peer without its port; "" for a unix socket. */
enum { HTTP_PEER_BYTES = 46 };
void http_peer_address(struct http_request *q, char ret[HTTP_PEER_BYTES]);
/* What the client's certificate says (http_tls_new_mutual). */
enum { HTTP_NAME_BYTES = 128, HTTP_SERIAL_BYTES = 64 };
struct http_certificate {
    bool valid;                     /* it leads to the authority, and now is within its time */
    const char *why;                /* it is not: "shows no certificate", "... has expired" */
    bool revoked;                   /* that is why */
    char serial[HTTP_SERIAL_BYTES]; /* in hex */
    char name[HTTP_NAME_BYTES], unit[HTTP_NAME_BYTES], organization[HTTP_NAME_BYTES]; /* "" when invalid */
};
void http_peer_certificate(struct http_request *q, struct http_certificate *ret);
/* From now on the request lasts no longer than its client's certificate is good for:
 * http_server_end_revoked() ends it. To be called before the certificate is looked at, so that no list comes
 * between the two. */
void http_bind_to_certificate(struct http_request *q);
const char *http_method(struct http_request *q);
const char *http_path(struct http_request *q);             /* without version prefix */
const char *http_raw_path(struct http_request *q);         /* the same, as sent */
const char *http_raw_query(struct http_request *q);        /* without '?'; "" when there is none */
int http_api_version(struct http_request *q);              /* 1.43 is 1043; 0 when unversioned */
const char *http_api_version_text(struct http_request *q); /* as sent: "1.43"; "" when unversioned */
const char *http_param(struct http_request *q,
                       const char *name); /* from the pattern, percent-decoded; never NULL */
const char *http_query(struct http_request *q, const char *name); /* NULL when absent */
bool http_query_bool(struct http_request *q, const char *name,
                     bool fallback); /* Docker's: "", 0, no, false, none are false */
char **http_query_all(struct http_request *q, const char *name); /* every value in order; the caller frees */
const char *http_header(struct http_request *q, const char *name); /* NULL when absent */
/* An "Upgrade" header naming `protocol`, or any when NULL. */
bool http_wants_upgrade(struct http_request *q, const char *protocol);
bool http_has_body(struct http_request *q); /* announced by its headers */
/* Reads the body: up to `n` bytes, 0 at its end, or a negative code (peer gone, too large). */
ssize_t http_body_read(struct http_request *q, void *buffer, size_t n, struct err *err);
/* Reads no more of the body; a thread that waits in http_body_read returns. */
void http_body_discard(struct http_request *q);
/* The whole body as JSON of at most `max` bytes; an empty body or a null gives NULL. ERR_INVALID on
 * malformed. */
int http_body_json(struct http_request *q, size_t max, json_t **ret, struct err *err);
/* True when the peer has gone: for handlers that wait. */
bool http_peer_gone(struct http_request *q);
/* Sleeps for `ms`, or less when the peer goes; true when it has gone. */
bool http_sleep(struct http_request *q, int ms);
/* Whether an answer has been begun. */
bool http_answered(struct http_request *q);

/* --- The answer --- */
void http_reply_json(struct http_request *q, int status, json_t *body); /* takes body */
void http_reply_text(struct http_request *q, int status, const char *content_type, const char *text);
void http_reply_bytes(struct http_request *q, int status, const char *content_type, const void *bytes,
                      size_t n);
/* `n` bytes of the file from `offset`, sent by the kernel; the descriptor stays the caller's. */
void http_reply_file(struct http_request *q, int status, const char *content_type, int fd, int64_t offset,
                     int64_t n);
void http_reply_empty(struct http_request *q, int status);
void http_reply_err(struct http_request *q,
                    const struct err *err); /* {"message": ...} with the code's status */
void http_set_header(struct http_request *q, const char *name, const char *value); /* before the reply */
/* Streams with chunked encoding; the status line and each write go out at once. */
void http_stream_begin(struct http_request *q, int status, const char *content_type);
int http_stream_write(struct http_request *q, const void *bytes, size_t n, struct err *err);
int http_stream_json(struct http_request *q, json_t *line, struct err *err); /* one line; takes it */
/* From now on small writes are gathered until there is a good deal, or http_stream_flush(), http_peer_gone(),
 * http_sleep() or the end comes: for a handler that has many pieces in hand, and looks after its peer before
 * it waits for more. */
void http_stream_gather(struct http_request *q);
void http_stream_flush(struct http_request *q);
void http_stream_end(struct http_request *q);
/* Ends it so that the client sees that it is incomplete (no last chunk): for binary streams that fail on the
 * way. */
void http_stream_abort(struct http_request *q);

/* Takes the connection over: 101 when the client asked for an upgrade (to "tcp", or whatever it names), else
 * 200, as Docker does; from then on both directions are raw bytes. Headers set before go with it. Gives the
 * socket (blocking mode, closed by the handler) and bytes that have already come, if any (the caller frees
 * ret_early). The client sees the end of the connection when the handler returns. */
int http_hijack(struct http_request *q, const char *content_type, int *ret_fd, struct str *ret_early,
                struct err *err);

/* --- passing it on: another server of HTTP answers, behind the stream socket `fd` --- */
/* The request's head to say there: all its headers, "Connection: close" unless it wants an upgrade. */
void http_request_head(struct http_request *q, const char *target, struct str *out);
/* Copies what is left of the request, its body as it comes, to `fd`, and all that comes from there to the
 * client, which it is the answer for, until `fd` ends. Either may end its half before. The body must not have
 * been read. Also over TLS. */
void http_relay(struct http_request *q, int fd);
/* Bytes that begin the answer, before http_relay(). */
bool http_send_raw(struct http_request *q, const void *bytes, size_t n);

#endif
