/* Container logs on disk: the "local" record format, and its writer.
 *
 * A log is a set of files: `path` is written, path.1 is the one before it, path.2 older still. A file begins
 * with a header (LOG_HEADER_BYTES): 8 bytes magic, u64 sequence number (one more for each rotation), u64
 * zero. Then come records, each
 *
 *     u32 size | u8 stream | u8 flags | u16 zero | i64 time ns | size bytes | u32 crc32 | u32 size
 *
 * in the machine's byte order; the crc (zlib's) covers all before it. The trailing size lets a reader walk
 * from the end. A record holds one line with its newline; a longer line is cut in pieces of LOG_PIECE_BYTES,
 * all but the last flagged LOG_PARTIAL; the last line of a stream may lack its newline.
 *
 * Invariants: the files' sequence numbers rise towards `path`; a record is never changed; bytes behind the
 * last whole record (a writer died in the middle of a write) are cut off when the log is opened for writing.
 * Nothing is synced: a crash of the machine may cost the last seconds, a crash of the writer costs nothing
 * written.
 *
 * One writer, single-threaded. Readers: log_reader.h. */
#ifndef KEEPER_LOG_FILE_H
#define KEEPER_LOG_FILE_H

#include "base/err.h"
#include "base/str.h"

#include <stdint.h>

enum {
    LOG_HEADER_BYTES = 24,
    LOG_RECORD_HEAD_BYTES = 16,
    LOG_RECORD_TAIL_BYTES = 8,
    LOG_PIECE_BYTES = 16 * 1024,
    LOG_MAX_FILES = 1000,
};
enum { LOG_PARTIAL = 1 };

struct log_record {
    int64_t time_ns;
    int stream; /* 1 or 2 */
    int flags;
    const char *bytes;
    uint32_t size;
};

/* --- the format, shared with the reader --- */

void log_record_add(struct str *to, const struct log_record *r);
/* Parses the record at the start of `bytes`: its whole length, 0 when `n` does not hold all of it, or
 * -ERR_CORRUPT. `ret->bytes` points into `bytes`. */
ssize_t log_record_parse(const void *bytes, size_t n, struct log_record *ret);
/* The sequence number of an open file, or 0 when it is no log file. */
uint64_t log_header_read(int fd);
/* Length of the record that ends at `end`, or 0 when there is none that is whole. */
ssize_t log_record_length_before(int fd, int64_t end);
/* Where the last whole record ends. */
int64_t log_valid_end(int fd);

/* --- the writer --- */

struct log_file;

/* What a stream has left of an unfinished line. All zero at first. */
struct log_carry {
    char *bytes;
    uint32_t size;
};

int log_file_open(const char *path, int64_t max_bytes, int max_files, struct log_file **ret, struct err *err);
/* Splits into lines and writes the finished ones, in one write as long as no rotation falls between.
 * `scratch` is working space that the caller keeps for reuse. After an error the bytes are dropped, and
 * counted. */
int log_file_write(struct log_file *f, struct log_carry *carry, int stream, int64_t time_ns,
                   const char *bytes, size_t n, struct str *scratch, struct err *err);
/* The stream has ended: writes the unfinished line. */
int log_file_finish(struct log_file *f, struct log_carry *carry, int stream, int64_t time_ns,
                    struct str *scratch, struct err *err);
uint64_t log_file_dropped(const struct log_file *f); /* bytes that could not be written */
void log_file_close(struct log_file *f);
/* Removes all files of a log. */
void log_file_remove(const char *path);

#endif
