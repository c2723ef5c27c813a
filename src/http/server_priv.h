/* What the server's files share: the request as seen by its two sides.
 *
 * libmicrohttpd's thread and the handler's thread meet in struct http_request, under its lock. Each side
 * holds a reference; the last one frees. libmicrohttpd's thread never waits: when it has nothing to do for a
 * request it suspends the connection (`suspended`), and the handler's side resumes it. Suspending happens
 * only in libmicrohttpd's thread and both happen under the lock, so that no wake-up is lost. No other call of
 * libmicrohttpd is made under it.
 *
 *   first call ---> body calls ---> last call: answer queued, or suspended until there is one
 *        |             | ring full: suspended until read        |
 *        v             v                                        v
 *     handler: http_body_read() ... http_reply_*() | http_stream_*() | http_hijack()
 */
#ifndef HTTP_SERVER_PRIV_H
#define HTTP_SERVER_PRIV_H

#include "http/server.h"

#include "base/mem.h"
#include "http/workers.h"

#include <microhttpd.h>
#include <pthread.h>

enum { HTTP_RING_BYTES = 64 << 10, SMALL_RING_BYTES = 8 << 10, HTTP_MAX_PARAMS = 4 };

/* Bytes on their way between the two threads; its memory is taken at the first byte. */
struct http_ring {
    char *data;
    size_t start, len;
    size_t capacity; /* 0: HTTP_RING_BYTES; less when all that will come is known */
};
size_t http__ring_put(struct http_ring *r, const void *bytes, size_t n); /* how many found room */
size_t http__ring_get(struct http_ring *r, void *buffer, size_t n);

struct http_param {
    const char *name; /* in the route's pattern, up to '}' or '.' */
    char *value;
};

struct http_request {
    struct http_server *server;
    struct http_request *next, *prev; /* the server's list of requests in progress */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int refs;

    struct MHD_Connection *connection; /* usable by libmicrohttpd's thread, or while suspended */
    int socket;
    bool is_unix;
    bool suspended;
    bool detached; /* libmicrohttpd has finished with the request: answered, or the peer went away */
    bool cut;      /* the server stops */

    char *method;
    char *target; /* as sent */
    char *path;   /* without version prefix and query, still percent-encoded */
    char *decoded_path;
    int api_version;
    struct http_param params[HTTP_MAX_PARAMS];
    size_t param_count;
    char **query_names, **query_values;
    const struct http_route *route;
    bool started;
    bool has_body;
    bool late; /* the handler starts when the body is in */

    struct http_ring body;
    int64_t body_bytes;
    bool body_end, body_discard, body_too_large;

    char **reply_headers; /* name, value, ... */
    struct MHD_Response *response;
    unsigned status;
    bool answered, queued;
    bool streaming; /* the answer is `out` */
    struct http_ring out;
    bool out_end, out_abort;

    struct MHD_UpgradeResponseHandle *upgrade;
    bool upgraded;
    int hijacked_fd;
    struct str early;
    pthread_t pump;
    bool pumping;
};

struct http_server {
    struct http_server_config config;
    struct MHD_Daemon *daemon;
    struct workers *workers;
    pthread_mutex_t lock;
    pthread_cond_t idle;
    struct http_request *requests;
    bool cut;
};

/* request.c */
struct http_request *http__request_new(struct http_server *s, const char *target);
void http__request_unref(struct http_request *q);
void http__resume(struct http_request *q);       /* with the lock held */
void http__discard_body(struct http_request *q); /* with the lock held */

/* reply.c: ends whatever the handler has left open, and closes a hijacked connection. */
void http__finish(struct http_request *q);
struct MHD_Response *http__response_of_message(struct http_request *q, const char *message);

/* route.c */
bool http__target_parse(struct http_request *q);
const struct http_route *http__route_find(const struct http_route *routes, struct http_request *q);

#endif
