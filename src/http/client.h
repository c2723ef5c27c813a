/* HTTP client over libcurl: to registries over TLS, to Drover's own API over its unix socket.
 *
 * One struct http_client is used by one thread at a time; it keeps connections alive between requests. TLS
 * certificates are always verified, but where a call says `anybody`. Redirects are followed by GET and HEAD
 * only, and credentials are not sent to another host. */
#ifndef HTTP_CLIENT_H
#define HTTP_CLIENT_H

#include "base/err.h"
#include "base/str.h"

#include <jansson.h>
#include <stdbool.h>

struct http_client;

struct http_response {
    int status;
    char **headers;  /* "name: value", names in lower case */
    struct str body; /* when no sink was given */
};
void http_response_done(struct http_response *r);
const char *http_response_header(const struct http_response *r,
                                 const char *name); /* lower case; NULL when absent */
/* 0 for a 2xx; else an error with the {"message": ...} of the body, and the code that fits the status. */
int http_response_err(const struct http_response *r, struct err *err);

typedef ssize_t (*http_source_fn)(void *context, void *buffer, size_t n,
                                  struct err *err); /* bytes, 0 end, negative */
typedef int (*http_sink_fn)(void *context, const void *bytes, size_t n, struct err *err);

struct http_call {
    const char *method;
    const char *url;      /* "http://drover/v1.43/info" with a unix socket */
    char *const *headers; /* "Name: value", NULL-terminated */
    const void *body;     /* or a source: */
    size_t body_bytes;
    http_source_fn source;
    void *source_context;
    int64_t source_bytes; /* <0: chunked */
    bool
        source_over_kept; /* a kept connection will do, though it may turn out dead: the call is made again */
    http_sink_fn
        sink; /* gets the body of 2xx answers as it comes; others are collected in `body` (bounded) */
    void *sink_context;
    /* Once the answer's head is there; `type`: its Content-Type, "" when it has none. May be NULL. */
    void (*head)(void *context, int status, const char *type);
    void *head_context;
    size_t max_body_bytes; /* of a collected body; 0: 8 MiB */
    const char *ca_file;   /* PEM file of who vouches for the server; NULL: the system's */
    const char *crl_file;  /* PEM file of certificates that they have taken back; NULL, or not there: none */
    /* What this side shows of itself: PEM files, or NULL. */
    const char *certificate_file, *key_file;
    /* "HOST:PORT" where the connection really goes; the URL's name is what the certificate must be for. NULL:
     * as the URL says. Never through a proxy. */
    const char *connect_to;
    bool anybody;           /* who answers is not asked, since what it says is checked otherwise */
    int connect_timeout_ms; /* 0: 10 s */
    int idle_timeout_ms;    /* no byte for so long; 0: none */
    int lost_after_ms; /* of a connection that this call makes: what was sent and nobody took ends it; 0: the
                          system's quarter of an hour */
    const _Atomic bool
        *cancel; /* set by another thread: ends within a second or so, ERR_CANCELLED; or NULL */
    /* The same by asking, several times a second while data come and about once while none do. Or NULL. */
    bool (*gone)(void *context);
    void *gone_context;
};

int http_client_new(const char *unix_socket_or_null, struct http_client **ret, struct err *err);
void http_client_free(struct http_client *c);
/* 0 whenever an answer came, whatever its status. An error with `sys` (ECONNREFUSED, ...): nobody was
 * reached, and nothing was sent. */
int http_client_call(struct http_client *c, const struct http_call *call, struct http_response *ret,
                     struct err *err);

/* For attach and exec: sends the request with "Connection: Upgrade" over a fresh unix-socket connection and
 * gives the raw socket after the 101 (or 200) head. */
int http_client_hijack(const char *unix_socket, const char *method, const char *path, const json_t *body,
                       int *ret_fd, struct str *ret_early, struct err *err);

#endif
