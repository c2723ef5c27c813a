/* Reading a container's log (log_file.h) forward, across its rotated files, while it may be written and
 * rotated.
 *
 * log_reader_open(), log_reader_next() until it returns 0, log_reader_close(). No record is lost or told
 * twice, as long as the file being read is not rotated out of existence before it was read to its end: the
 * reader holds its file by descriptor, reads it to its end, and goes on with the next sequence number. With
 * `follow` the end is told when `ended` says that the writer has finished, after all it wrote.
 *
 * A reader belongs to one thread; any number may read one log. */
#ifndef KEEPER_LOG_READER_H
#define KEEPER_LOG_READER_H

#include "base/err.h"
#include "keeper/log_file.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log_reader;

/* Where a reader stands, so that another can go on there: the next byte to tell, and what each stream has of
 * a line that is not whole yet. All zero: the log's beginning. Plain bytes, that may be kept. */
struct log_place {
    uint64_t sequence; /* of the file */
    int64_t at;        /* of a record in it */
    uint32_t within;   /* bytes of that record that have been told or are in `lines` */
    struct log_place_line {
        uint32_t size;
        uint8_t goes_on, met, unused[2];
        int64_t time_ns;
        char bytes[LOG_PIECE_BYTES];
    } lines[2];
};

struct log_reader_options {
    const char *path;
    int64_t tail;               /* only the last so many lines; negative: all */
    int64_t since_ns, until_ns; /* 0: no bound; both inclusive */
    bool follow;
    bool (*ended)(void *context); /* asked when there is nothing to read; needed with follow */
    /* True: stop, nobody listens. Asked before every wait, and now and then between. May be NULL. */
    bool (*gone)(void *context);
    void *context;
    /* At the end of what there is, log_reader_next() returns 0 at once and may be called again; the rests of
     * lines are told when `ended` says so. Instead of `follow`. */
    bool patient;
    const struct log_place *place; /* where to begin, instead of `tail`; NULL: as the others say */
    int wake_fd; /* readable: ask `ended` and `gone` now; 0 or negative: none, they are asked ten times a
                    second */
};

struct log_entry {
    int64_t time_ns;
    int stream;        /* 1 or 2 */
    bool partial;      /* the line goes on in a later entry of this stream */
    const char *bytes; /* with the newline, if the line had one; valid until the next call */
    size_t size;
};

/* A log that is not there yet is empty; following waits for it. */
int log_reader_open(const struct log_reader_options *options, struct log_reader **ret, struct err *err);
/* 1 and an entry, 0 at the end, or a negative code. */
int log_reader_next(struct log_reader *r, struct log_entry *ret, struct err *err);
void log_reader_close(struct log_reader *r);
/* After an entry, or the end: where the next one would be read from. */
void log_reader_place(const struct log_reader *r, struct log_place *ret);
/* How many rotated files were gone before they were read to their end. */
uint64_t log_reader_missed(const struct log_reader *r);
/* Bytes of the log's files that have not been read. */
int64_t log_reader_backlog(const struct log_reader *r);

#endif
