/* What a driver does: lines into the form of its protocol. One `struct driver` a container; one file each.
 *
 * A driver adds the pieces of one line to a batch, and nothing else: connections, order, tries again and the
 * count of what went out are the shipper's, for all drivers alike. */
#ifndef LOGDRIVER_DRIVER_H
#define LOGDRIVER_DRIVER_H

#include "logdriver/logdriver.h"
#include "logdriver/wire.h"

enum { BATCH_BYTES = 256 << 10, BATCH_PIECES = PIECES_MAX };

/* Pieces in the making: their bytes lie one behind the other. */
struct batch {
    struct str bytes;
    size_t count;
    struct cursor_piece *piece; /* PIECES_MAX of them */
    struct wire_data *data;     /* as many */
};

/* Ends the piece that began at `from` in batch->bytes. */
void batch_piece(struct batch *b, size_t from, int stream, bool last);

struct driver;

struct driver_ops {
    /* Adds one line (or 16 KiB of one that goes on: entry->partial) to `b`, which has room for it. */
    void (*add)(struct driver *d, const struct log_entry *entry, struct batch *b);
    void (*free)(struct driver *d);
    /* Pieces that the collector says it has, taken from what it sent; negative: nonsense. NULL: it says
     * nothing. */
    ssize_t (*acknowledged)(struct driver *d, struct str *said);
    size_t pieces_max; /* of one line */
};

struct driver {
    const struct driver_ops *ops;
    struct wire_options wire;
    bool acknowledges;
    int64_t tries_max;     /* then what waits is dropped; negative: never */
    int64_t backlog_bytes; /* what may wait at most; 0: what the log's files hold */
    /* A file instead of a connection. */
    char *file;
    int64_t file_max_bytes;
    int file_max_files;
    bool file_compress;
};

int driver_open(enum logdriver_type type, const struct logdriver_info *info, const char *file,
                struct driver **ret, struct err *err);
void driver_free(struct driver *d);

int driver_syslog(const struct logdriver_info *info, struct driver **ret, struct err *err);
int driver_gelf(const struct logdriver_info *info, struct driver **ret, struct err *err);
int driver_fluentd(const struct logdriver_info *info, struct driver **ret, struct err *err);
int driver_journald(const struct logdriver_info *info, struct driver **ret, struct err *err);
int driver_json_file(const struct logdriver_info *info, const char *file, struct driver **ret,
                     struct err *err);

/* The line without its end. */
struct log_entry driver_bare(const struct log_entry *entry);
/* As a JSON string's inside: what is no UTF-8 is replaced. */
void driver_add_json(struct str *to, const char *bytes, size_t n);
/* The times of entries follow each other: the seconds' text is kept. */
struct clock_text {
    int64_t second;
    char text[32]; /* 2026-01-02T03:04:05 */
};
/* RFC 3339 in UTC without zeros at the end of the fraction. */
void driver_add_time(struct clock_text *c, struct str *to, int64_t ns);

#endif
