#include "keeper/log_file.h"

#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

static const char magic[8] = {'D', 'R', 'V', 'L', 'O', 'G', '1', '\n'};

enum {
    MAX_RECORD = LOG_RECORD_HEAD_BYTES + LOG_PIECE_BYTES + LOG_RECORD_TAIL_BYTES,
    BATCH_BYTES = 256 * 1024
};

void log_record_add(struct str *to, const struct log_record *r)
{
    uint8_t *at = (uint8_t *)str_reserve(to, MAX_RECORD);
    uint8_t kind[4] = {(uint8_t)r->stream, (uint8_t)r->flags, 0, 0};
    must(r->size <= LOG_PIECE_BYTES);
    memcpy(at, &r->size, 4);
    memcpy(at + 4, kind, 4);
    memcpy(at + 8, &r->time_ns, 8);
    memcpy(at + LOG_RECORD_HEAD_BYTES, r->bytes, r->size);
    uint32_t crc = (uint32_t)crc32(0, at, LOG_RECORD_HEAD_BYTES + r->size);
    memcpy(at + LOG_RECORD_HEAD_BYTES + r->size, &crc, 4);
    memcpy(at + LOG_RECORD_HEAD_BYTES + r->size + 4, &r->size, 4);
    to->len += LOG_RECORD_HEAD_BYTES + r->size + LOG_RECORD_TAIL_BYTES;
}

ssize_t log_record_parse(const void *bytes, size_t n, struct log_record *ret)
{
    const uint8_t *at = bytes;
    uint32_t size, crc, again;
    if (n < LOG_RECORD_HEAD_BYTES)
        return 0;
    memcpy(&size, at, 4);
    if (size > LOG_PIECE_BYTES || at[6] || at[7])
        return -ERR_CORRUPT;
    if (n < LOG_RECORD_HEAD_BYTES + size + LOG_RECORD_TAIL_BYTES)
        return 0;
    memcpy(&crc, at + LOG_RECORD_HEAD_BYTES + size, 4);
    memcpy(&again, at + LOG_RECORD_HEAD_BYTES + size + 4, 4);
    if (again != size || crc != (uint32_t)crc32(0, at, LOG_RECORD_HEAD_BYTES + size))
        return -ERR_CORRUPT;
    ret->size = size;
    ret->stream = at[4];
    ret->flags = at[5];
    memcpy(&ret->time_ns, at + 8, 8);
    ret->bytes = (const char *)at + LOG_RECORD_HEAD_BYTES;
    return (ssize_t)(LOG_RECORD_HEAD_BYTES + size + LOG_RECORD_TAIL_BYTES);
}

uint64_t log_header_read(int fd)
{
    uint8_t head[LOG_HEADER_BYTES];
    uint64_t sequence;
    if (pread(fd, head, sizeof(head), 0) != sizeof(head) || memcmp(head, magic, sizeof(magic)) != 0)
        return 0;
    memcpy(&sequence, head + 8, 8);
    return sequence;
}

ssize_t log_record_length_before(int fd, int64_t end)
{
    uint8_t record[MAX_RECORD];
    struct log_record r;
    uint32_t size;
    if (end < LOG_HEADER_BYTES + LOG_RECORD_HEAD_BYTES + LOG_RECORD_TAIL_BYTES ||
        pread(fd, &size, 4, end - 4) != 4 || size > LOG_PIECE_BYTES)
        return 0;
    ssize_t length = (ssize_t)(LOG_RECORD_HEAD_BYTES + size + LOG_RECORD_TAIL_BYTES);
    if (end - length < LOG_HEADER_BYTES || pread(fd, record, (size_t)length, end - length) != length ||
        log_record_parse(record, (size_t)length, &r) != length)
        return 0;
    return length;
}

int64_t log_valid_end(int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || st.st_size <= LOG_HEADER_BYTES)
        return LOG_HEADER_BYTES;
    if (log_record_length_before(fd, st.st_size) > 0)
        return st.st_size;
    /* Torn at its end: the start is the only place from which records can be told from text. */
    _cleanup_free_ uint8_t *buffer = mem_new(BATCH_BYTES);
    int64_t at = LOG_HEADER_BYTES;
    for (;;) {
        ssize_t n = pread(fd, buffer, BATCH_BYTES, at), used = 0, length;
        struct log_record r;
        while (used < n && (length = log_record_parse(buffer + used, (size_t)(n - used), &r)) > 0)
            used += length;
        if (used == 0)
            return at;
        at += used;
    }
}

struct log_file {
    char *path;
    int fd;
    int max_files;
    int64_t max_bytes;
    int64_t size;
    uint64_t sequence;
    uint64_t dropped;
};

static char *rotated_name(const char *path, int number)
{
    return number ? str_printf("%s.%d", path, number) : mem_strdup(path);
}

static uint64_t sequence_of(const char *path)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? 0 : log_header_read(fd);
}

static char *fresh_name(const struct log_file *f)
{
    return str_printf("%s.new", f->path);
}

/* The file gets its name when its header is whole, so that a reader never meets one without. */
static int create_fresh(const struct log_file *f, uint64_t sequence, int *ret_fd, struct err *err)
{
    _cleanup_free_ char *fresh = fresh_name(f);
    unlink(fresh);
    _cleanup_close_ int fd = open(fresh, O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0640);
    if (fd < 0)
        return err_sys(err, errno, "create log %s", fresh);
    uint8_t head[LOG_HEADER_BYTES] = {0};
    memcpy(head, magic, sizeof(magic));
    memcpy(head + 8, &sequence, 8);
    int r = file_write_all(fd, head, sizeof(head), err);
    if (r < 0) {
        unlink(fresh);
        return err_wrap(err, "create log %s", fresh);
    }
    *ret_fd = take_fd(&fd);
    return 0;
}

static int use_fresh(struct log_file *f, uint64_t sequence, int *fd, struct err *err)
{
    _cleanup_free_ char *fresh = fresh_name(f);
    if (rename(fresh, f->path) < 0)
        return err_sys(err, errno, "rename %s", fresh);
    close_fd(f->fd);
    f->fd = take_fd(fd);
    f->size = LOG_HEADER_BYTES;
    f->sequence = sequence;
    return 0;
}

static int create(struct log_file *f, uint64_t sequence, struct err *err)
{
    _cleanup_close_ int fd = -EBADF;
    int r = create_fresh(f, sequence, &fd, err);
    return r < 0 ? r : use_fresh(f, sequence, &fd, err);
}

/* The new file is there before the old ones move: on a full disk nothing moves, or old lines would be pushed
 * out for nothing. */
static int rotate(struct log_file *f, struct err *err)
{
    _cleanup_close_ int fd = -EBADF;
    int r = create_fresh(f, f->sequence + 1, &fd, err);
    if (r < 0)
        return r;
    for (int i = f->max_files - 2; i >= 0; i--) {
        _cleanup_free_ char *from = rotated_name(f->path, i), *to = rotated_name(f->path, i + 1);
        if (rename(from, to) < 0 && errno != ENOENT)
            return err_sys(err, errno, "rotate log %s", from);
    }
    return use_fresh(f, f->sequence + 1, &fd, err);
}

static int open_existing(struct log_file *f, struct err *err)
{
    _cleanup_close_ int fd = open(f->path, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return err_sys(err, errno, "open log %s", f->path);
    f->sequence = log_header_read(fd);
    if (!f->sequence)
        return err_set(err, ERR_NOT_FOUND, "%s is no log of this format", f->path);
    f->size = log_valid_end(fd);
    if (ftruncate(fd, f->size) < 0)
        return err_sys(err, errno, "cut torn record of %s", f->path);
    f->fd = take_fd(&fd);
    return 0;
}

int log_file_open(const char *path, int64_t max_bytes, int max_files, struct log_file **ret, struct err *err)
{
    struct log_file *f = NEW(struct log_file);
    f->fd = -EBADF;
    f->path = mem_strdup(path);
    f->max_bytes = max_bytes > 0 ? max_bytes : 10 << 20;
    f->max_files = max_files > 0 ? MIN(max_files, LOG_MAX_FILES) : 3;
    int r = open_existing(f, err);
    if (r == -ERR_NOT_FOUND) {
        /* What stands there in another form is kept aside as the newest rotated file would be. */
        _cleanup_free_ char *previous = rotated_name(path, 1);
        f->sequence = sequence_of(previous);
        r = file_exists(path) ? rotate(f, err) : create(f, f->sequence + 1, err);
    }
    if (r < 0) {
        log_file_close(f);
        return r;
    }
    *ret = f;
    return 0;
}

static int flush(struct log_file *f, struct str *scratch, struct err *err)
{
    int r = 0;
    if (scratch->len) {
        ssize_t n = write(f->fd, scratch->data, scratch->len);
        if (n == (ssize_t)scratch->len) {
            f->size += n;
        } else {
            r = n < 0 ? err_sys(err, errno, "write log %s", f->path)
                      : err_set(err, ERR_NO_SPACE, "write log %s: disk full", f->path);
            f->dropped += scratch->len;
            /* A part of a record would hide all that follow it. */
            if (n > 0 && ftruncate(f->fd, f->size) < 0)
                f->size = log_valid_end(f->fd);
        }
    }
    str_truncate(scratch, 0);
    return r;
}

static int add(struct log_file *f, const struct log_record *r, struct str *scratch, struct err *err)
{
    int64_t length = LOG_RECORD_HEAD_BYTES + LOG_RECORD_TAIL_BYTES + (int64_t)r->size;
    int64_t so_far = f->size + (int64_t)scratch->len;
    int result = 0;
    if (so_far + length > f->max_bytes && so_far > LOG_HEADER_BYTES) {
        result = flush(f, scratch, err);
        if (result == 0)
            result = rotate(f, err);
    } else if (scratch->len > BATCH_BYTES) {
        result = flush(f, scratch, err);
    }
    log_record_add(scratch, r);
    return result;
}

static void carry_add(struct log_carry *carry, const char *bytes, size_t n)
{
    carry->bytes = mem_grow(carry->bytes, carry->size + n, 1);
    memcpy(carry->bytes + carry->size, bytes, n);
    carry->size += (uint32_t)n;
}

int log_file_write(struct log_file *f, struct log_carry *carry, int stream, int64_t time_ns,
                   const char *bytes, size_t n, struct str *scratch, struct err *err)
{
    struct log_record r = {.stream = stream, .time_ns = time_ns};
    int result = 0;
    str_truncate(scratch, 0);
    while (n) {
        size_t room = LOG_PIECE_BYTES - carry->size;
        const char *newline = memchr(bytes, '\n', MIN(n, room));
        size_t take = newline ? (size_t)(newline - bytes) + 1 : MIN(n, room);
        if (!newline && take < room) {
            carry_add(carry, bytes, take);
            break;
        }
        r.flags = newline ? 0 : LOG_PARTIAL;
        r.bytes = bytes;
        r.size = (uint32_t)take;
        if (carry->size) {
            carry_add(carry, bytes, take);
            r.bytes = carry->bytes;
            r.size = carry->size;
        }
        int one = add(f, &r, scratch, err);
        result = result ? result : one;
        free(take_ptr(carry->bytes));
        carry->size = 0;
        bytes += take;
        n -= take;
    }
    int last = flush(f, scratch, result ? NULL : err);
    return result ? result : last;
}

int log_file_finish(struct log_file *f, struct log_carry *carry, int stream, int64_t time_ns,
                    struct str *scratch, struct err *err)
{
    if (!carry->size)
        return 0;
    struct log_record r = {.stream = stream, .time_ns = time_ns, .bytes = carry->bytes, .size = carry->size};
    str_truncate(scratch, 0);
    int result = add(f, &r, scratch, err);
    int last = flush(f, scratch, result ? NULL : err);
    free(take_ptr(carry->bytes));
    carry->size = 0;
    return result ? result : last;
}

uint64_t log_file_dropped(const struct log_file *f)
{
    return f->dropped;
}

void log_file_close(struct log_file *f)
{
    if (!f)
        return;
    close_fd(f->fd);
    free(f->path);
    free(f);
}

void log_file_remove(const char *path)
{
    for (int i = 0; i <= LOG_MAX_FILES; i++) {
        _cleanup_free_ char *name = rotated_name(path, i);
        if (unlink(name) < 0 && i > 0)
            break;
    }
}
