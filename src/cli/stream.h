/* The terminal's side of attach and exec: bytes of a raw connection to stdout and stderr, stdin to it, raw
 * mode, the window's size, and the keys ctrl-p ctrl-q to leave. */
#ifndef CLI_STREAM_H
#define CLI_STREAM_H

#include "base/err.h"
#include "base/str.h"

struct stream {
    int fd; /* of http_client_hijack */
    const struct str *early;
    bool tty;          /* no frames; stdin goes raw when it is a terminal */
    bool input;        /* send stdin */
    bool keep_signals; /* without tty: INT, TERM, HUP, QUIT go to `signal` instead of ending us */
    void *context;
    void (*resize)(void *context, int rows, int columns); /* may be NULL */
    void (*signal)(void *context, int number);
};

/* Until the other side ends. *ret_detached: the user left by ctrl-p ctrl-q. */
int stream_run(const struct stream *s, bool *ret_detached, struct err *err);

/* Takes the 8-byte frames apart (Docker's multiplexed streams). */
struct demux {
    unsigned char head[8];
    size_t head_bytes, left;
    int stream;
};
/* Calls `out` for each piece; stream is 1 or 2. */
int demux_feed(struct demux *d, const void *bytes, size_t n,
               int (*out)(void *context, int stream, const void *bytes, size_t n, struct err *err),
               void *context, struct err *err);

#endif
