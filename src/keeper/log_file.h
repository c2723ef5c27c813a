/* Container logs on disk: the "local" record format, and its writer.
 *
 * A log is a set of files: `path` is written, path.1 is the one before it, path.2 older still. A file begins
 * with a header (LOG_HEADER_BYTES): 8 bytes magic, u64 sequence number (one more for each rotation), u64 salt
 * (random; 0 in files of the first version). Then come records, each
 *
 *     u32 size | u8 stream | u8 flags | u16 zero | i64 time ns | size bytes | u32 crc32 | u32 size
 *
 * in the machine's byte order; the crc (zlib's, begun with the salt) covers all before it. The trailing size
 * lets a reader walk from the end. The salt is what a container does not know: no output of it can look like
 * a record of its log.
 *
 * A record holds what a stream said in one burst: any number of lines, and parts of lines. A record that goes
 * on with a line that an earlier record of its stream began is flagged LOG_CONTINUES; where that flag is
 * missing, a line left open before is complete as it is. Readers put lines together (log_reader.h).
 *
 * Every byte once, whenever the writer is killed. log_file_move() takes bytes from a pipe whose only reader
 * it is, in four steps: (1) the record's head, with the number of bytes that are in the pipe; (2) splice(2)
 * from the pipe into the file; (3) the crc and the trailing size. In step 2 the kernel writes bytes to the
 * file and takes the same bytes from the pipe before it looks at a signal again, so that at any instant each
 * byte is in exactly one of the two, and in order. Whoever opens the log next finds a last record with k
 * bytes behind its head and no tail: it makes it a record of these k bytes (or cuts it off when k is 0). The
 * others are still in the pipe, of which `serve` holds a copy, and go into the next record. No counter is
 * kept that could disagree with the bytes. Rotation falls between records.
 *
 * Whoever brings the log elsewhere (src/logdriver) says in <path>.cursor (u64 at LOG_CURSOR_NEEDED) which
 * sequence number it has not read to its end: from that one on files are kept beyond their number, up to
 * LOG_BACKLOG_BYTES in all. The writer looks when it rotates.
 *
 * A rotated file may be compressed: the same name, another magic, and behind the header u64 size and i64 time
 * of the last record, u8[2] whether each stream ends in an open line, 6 zero bytes, then the plain file as
 * gzip. Somebody beside the writer makes <path>.z of the newest plain one (log_compress()); the writer, who
 * alone moves files, puts it in that one's place when it next rotates or opens the log.
 *
 * Invariants: the files' sequence numbers rise towards `path`; a whole record is never changed. Nothing is
 * synced: a crash of the machine may cost the last seconds. A disk that is full costs the bytes that do not
 * fit (they are taken from the pipe, so that the container goes on, and counted).
 *
 * One writer, single-threaded. Readers: log_reader.h. */
#ifndef KEEPER_LOG_FILE_H
#define KEEPER_LOG_FILE_H

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    LOG_HEADER_BYTES = 24,
    LOG_COMPRESSED_HEADER_BYTES = 48,
    LOG_RECORD_HEAD_BYTES = 16,
    LOG_RECORD_TAIL_BYTES = 8,
    LOG_PAYLOAD_BYTES = 32 * 1024, /* of one record */
    LOG_PIECE_BYTES = 16 * 1024,   /* a longer line is told in pieces of this size */
    LOG_MAX_FILES = 1000,
    LOG_DEFAULT_FILES = 5,
    LOG_DEFAULT_BYTES = 20 << 20,
    LOG_BACKLOG_BYTES = 1 << 30,
    LOG_CURSOR_NEEDED = 16, /* where it stands in the cursor's file */
};
enum {
    LOG_PARTIAL = 1,   /* only in files of the first version: the next record goes on with this line */
    LOG_CONTINUES = 2, /* its first bytes go on with a line of its stream */
    LOG_OTHER_OPEN = 4 /* the other stream had an unfinished line when this was written */
};

struct log_record {
    int64_t time_ns;
    int stream; /* 1 or 2 */
    int flags;
    const char *bytes;
    uint32_t size;
};

/* --- the format, shared with the reader --- */

struct log_header {
    uint64_t sequence; /* never 0 */
    uint32_t salt;
    bool compressed; /* only then what follows is set */
    int64_t plain_bytes;
    int64_t last_ns; /* of its last record */
    bool open_line[2];
};

void log_record_add(struct str *to, const struct log_record *r, uint32_t salt);
/* Parses the record at the start of `bytes`: its whole length, 0 when `n` does not hold all of it, or
 * -ERR_CORRUPT. `ret->bytes` points into `bytes`. */
ssize_t log_record_parse(const void *bytes, size_t n, uint32_t salt, struct log_record *ret);
/* The header of an open file, plain or compressed; false when it is no log file. */
bool log_header_read(int fd, struct log_header *ret);
/* Returns its length. */
size_t log_header_put(uint8_t at[LOG_COMPRESSED_HEADER_BYTES], const struct log_header *h);
/* Length of the record that ends at `end`, or 0 when there is none that is whole. `ret` (may be NULL) gets it
 * without its bytes; `ret_lines` (may be NULL) the number of line ends in it. */
ssize_t log_record_length_before(int fd, int64_t end, uint32_t salt, struct log_record *ret,
                                 size_t *ret_lines);
/* Where the last whole record ends. */
int64_t log_valid_end(int fd, uint32_t salt);
/* What its last record, which ends at `end`, says: the time, and which streams have an open line. False when
 * there is none. */
bool log_last_record(int fd, int64_t end, uint32_t salt, int64_t *ret_ns, bool ret_open_line[2]);
/* The name of the file `number`; 0 is the one that is written. */
char *log_file_name(const char *path, int number);

/* --- compressed files (log_compress.c) --- */

/* Makes <path>.z of the newest rotated file that is plain, when there is one and no <path>.z waits. `stop`
 * (may be NULL) is asked now and then: true ends it with nothing made. */
int log_compress(const char *path, bool (*stop)(void), struct err *err);
/* The plain form of a compressed file, as a file without a name beside the log, which may need as much room
 * on the disk. *header becomes that of a plain file. */
int log_uncompress(const char *path, int fd, struct log_header *header, int *ret_fd, struct err *err);
/* For the writer: puts <path>.z where it belongs, or removes it when that file is gone. */
void log_adopt_compressed(const char *path);

/* --- the writer --- */

struct log_file;

/* `goes_on`: the process whose output comes now is the one whose output is in there already. Otherwise its
 * first line is not joined to an open one. The file itself comes with the first byte. */
int log_file_open(const char *path, int64_t max_bytes, int max_files, bool goes_on, struct log_file **ret,
                  struct err *err);
/* Moves up to `n` (at most LOG_PAYLOAD_BYTES) of the bytes that are in `pipe_fd` into the log. What was taken
 * from the pipe is in `buffer` afterwards: the count is returned, also when some of it did not get into the
 * log, which `err` then tells (its code is 0 otherwise). 0: nothing was there. */
size_t log_file_move(struct log_file *f, int stream, int64_t time_ns, int pipe_fd, char *buffer, size_t n,
                     struct err *err);
/* The same for bytes that are in memory already; a kill may cost them. After an error they are dropped, and
 * counted. */
int log_file_write(struct log_file *f, int stream, int64_t time_ns, const char *bytes, size_t n,
                   struct err *err);
uint64_t log_file_dropped(const struct log_file *f); /* bytes that could not be written */
void log_file_close(struct log_file *f);
/* Removes what rotation left beyond `max_files` for somebody who still had to read it, up to the sequence
 * number `needed`. For that somebody: the writer does it when it rotates, and may not any more. */
void log_file_prune(const char *path, int max_files, uint64_t needed);
/* Removes all files of a log. */
void log_file_remove(const char *path);

#endif
