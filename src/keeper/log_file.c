#include "keeper/log_file.h"

#include "base/failpoint.h"
#include "base/file.h"
#include "base/timeutil.h"
#include "keeper/park.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

static const char magic[8] = {'D', 'R', 'V', 'L', 'O', 'G', '1', '\n'},
                  compressed_magic[8] = {'D', 'R', 'V', 'L', 'O', 'G', 'Z', '\n'};

enum {
    MAX_RECORD = LOG_RECORD_HEAD_BYTES + LOG_PAYLOAD_BYTES + LOG_RECORD_TAIL_BYTES,
    BATCH_BYTES = 256 * 1024
};

static void put_head(uint8_t at[LOG_RECORD_HEAD_BYTES], const struct log_record *r)
{
    const uint8_t kind[4] = {(uint8_t)r->stream, (uint8_t)r->flags, 0, 0};
    memcpy(at, &r->size, 4);
    memcpy(at + 4, kind, 4);
    memcpy(at + 8, &r->time_ns, 8);
}

/* Of all but its length, which the caller looks at. */
static bool get_head(const uint8_t *at, struct log_record *ret)
{
    memcpy(&ret->size, at, 4);
    ret->stream = at[4];
    ret->flags = at[5];
    memcpy(&ret->time_ns, at + 8, 8);
    return ret->size <= LOG_PAYLOAD_BYTES && !at[6] && !at[7];
}

static void put_tail(uint8_t at[LOG_RECORD_TAIL_BYTES], const uint8_t head[LOG_RECORD_HEAD_BYTES],
                     const void *bytes, uint32_t size, uint32_t salt)
{
    uint32_t crc = (uint32_t)crc32(crc32(salt, head, LOG_RECORD_HEAD_BYTES), bytes, size);
    memcpy(at, &crc, 4);
    memcpy(at + 4, &size, 4);
}

void log_record_add(struct str *to, const struct log_record *r, uint32_t salt)
{
    uint8_t *at = (uint8_t *)str_reserve(to, MAX_RECORD);
    must(r->size <= LOG_PAYLOAD_BYTES);
    put_head(at, r);
    memcpy(at + LOG_RECORD_HEAD_BYTES, r->bytes, r->size);
    put_tail(at + LOG_RECORD_HEAD_BYTES + r->size, at, r->bytes, r->size, salt);
    to->len += LOG_RECORD_HEAD_BYTES + r->size + LOG_RECORD_TAIL_BYTES;
}

ssize_t log_record_parse(const void *bytes, size_t n, uint32_t salt, struct log_record *ret)
{
    const uint8_t *at = bytes;
    struct log_record r;
    uint8_t tail[LOG_RECORD_TAIL_BYTES];
    if (n < LOG_RECORD_HEAD_BYTES)
        return 0;
    if (!get_head(at, &r))
        return -ERR_CORRUPT;
    if (n < LOG_RECORD_HEAD_BYTES + r.size + LOG_RECORD_TAIL_BYTES)
        return 0;
    r.bytes = (const char *)at + LOG_RECORD_HEAD_BYTES;
    put_tail(tail, at, r.bytes, r.size, salt);
    if (memcmp(tail, r.bytes + r.size, sizeof(tail)) != 0)
        return -ERR_CORRUPT;
    *ret = r;
    return (ssize_t)(LOG_RECORD_HEAD_BYTES + r.size + LOG_RECORD_TAIL_BYTES);
}

bool log_header_read(int fd, struct log_header *ret)
{
    uint8_t head[LOG_COMPRESSED_HEADER_BYTES];
    ssize_t n = pread(fd, head, sizeof(head), 0);
    *ret = (struct log_header){0};
    if (n < LOG_HEADER_BYTES)
        return false;
    ret->compressed = memcmp(head, compressed_magic, sizeof(magic)) == 0;
    if (ret->compressed ? n < (ssize_t)sizeof(head) : memcmp(head, magic, sizeof(magic)) != 0)
        return false;
    memcpy(&ret->sequence, head + 8, 8);
    memcpy(&ret->salt, head + 16, 4);
    if (ret->compressed) {
        memcpy(&ret->plain_bytes, head + 24, 8);
        memcpy(&ret->last_ns, head + 32, 8);
        ret->open_line[0] = head[40];
        ret->open_line[1] = head[41];
    }
    return ret->sequence != 0 && ret->plain_bytes >= 0;
}

size_t log_header_put(uint8_t at[LOG_COMPRESSED_HEADER_BYTES], const struct log_header *h)
{
    memset(at, 0, LOG_COMPRESSED_HEADER_BYTES);
    memcpy(at, h->compressed ? compressed_magic : magic, sizeof(magic));
    memcpy(at + 8, &h->sequence, 8);
    memcpy(at + 16, &h->salt, 4);
    if (!h->compressed)
        return LOG_HEADER_BYTES;
    memcpy(at + 24, &h->plain_bytes, 8);
    memcpy(at + 32, &h->last_ns, 8);
    at[40] = h->open_line[0];
    at[41] = h->open_line[1];
    return LOG_COMPRESSED_HEADER_BYTES;
}

static size_t count_lines(const char *bytes, size_t n)
{
    size_t lines = 0;
    for (const char *end = bytes + n; (bytes = memchr(bytes, '\n', (size_t)(end - bytes))); bytes++)
        lines++;
    return lines;
}

ssize_t log_record_length_before(int fd, int64_t end, uint32_t salt, struct log_record *ret,
                                 size_t *ret_lines)
{
    struct log_record r;
    uint32_t size;
    if (end < LOG_HEADER_BYTES + LOG_RECORD_HEAD_BYTES + LOG_RECORD_TAIL_BYTES ||
        pread(fd, &size, 4, end - 4) != 4 || size > LOG_PAYLOAD_BYTES)
        return 0;
    ssize_t length = (ssize_t)(LOG_RECORD_HEAD_BYTES + size + LOG_RECORD_TAIL_BYTES);
    if (end - length < LOG_HEADER_BYTES)
        return 0;
    _cleanup_free_ uint8_t *record = mem_new((size_t)length);
    if (pread(fd, record, (size_t)length, end - length) != length ||
        log_record_parse(record, (size_t)length, salt, &r) != length)
        return 0;
    if (ret_lines)
        *ret_lines = count_lines(r.bytes, r.size);
    if (ret) {
        *ret = r;
        ret->bytes = NULL;
    }
    return length;
}

int64_t log_valid_end(int fd, uint32_t salt)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || st.st_size <= LOG_HEADER_BYTES)
        return LOG_HEADER_BYTES;
    if (log_record_length_before(fd, st.st_size, salt, NULL, NULL) > 0)
        return st.st_size;
    /* Torn at its end: the start is the only place from which records can be told from text. */
    _cleanup_free_ uint8_t *buffer = mem_new(BATCH_BYTES);
    int64_t at = LOG_HEADER_BYTES;
    for (;;) {
        ssize_t n = pread(fd, buffer, BATCH_BYTES, at), used = 0, length;
        struct log_record r;
        while (used < n && (length = log_record_parse(buffer + used, (size_t)(n - used), salt, &r)) > 0)
            used += length;
        if (used == 0)
            return at;
        at += used;
    }
}

bool log_last_record(int fd, int64_t end, uint32_t salt, int64_t *ret_ns, bool ret_open_line[2])
{
    struct log_record r;
    char last;
    if (log_record_length_before(fd, end, salt, &r, NULL) <= 0 || r.stream < 1 || r.stream > 2 || !r.size ||
        pread(fd, &last, 1, end - LOG_RECORD_TAIL_BYTES - 1) != 1)
        return false;
    *ret_ns = r.time_ns;
    ret_open_line[r.stream - 1] = last != '\n';
    ret_open_line[2 - r.stream] = r.flags & LOG_OTHER_OPEN;
    return true;
}

struct log_file {
    char *path;
    int fd;
    int max_files;
    int64_t max_bytes;
    int64_t size;
    struct log_header header;
    uint64_t dropped;
    bool open_line[2]; /* of each stream: its last byte was no line end */
};

char *log_file_name(const char *path, int number)
{
    return number ? str_printf("%s.%d", path, number) : mem_strdup(path);
}

static uint64_t sequence_of(const char *path)
{
    struct log_header header = {0};
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 && log_header_read(fd, &header) ? header.sequence : 0;
}

static char *fresh_name(const struct log_file *f)
{
    return str_printf("%s.new", f->path);
}

/* The file gets its name when its header is whole, so that a reader never meets one without. */
static int create_fresh(const struct log_file *f, const struct log_header *header, int *ret_fd,
                        struct err *err)
{
    _cleanup_free_ char *fresh = fresh_name(f);
    unlink(fresh);
    _cleanup_close_ int fd = open(fresh, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (fd < 0)
        return err_sys(err, errno, "create log %s", fresh);
    uint8_t head[LOG_COMPRESSED_HEADER_BYTES];
    int r = file_write_all(fd, head, log_header_put(head, header), err);
    if (r < 0) {
        unlink(fresh);
        return err_wrap(err, "create log %s", fresh);
    }
    *ret_fd = take_fd(&fd);
    return 0;
}

static int use_fresh(struct log_file *f, const struct log_header *header, int *fd, struct err *err)
{
    _cleanup_free_ char *fresh = fresh_name(f);
    if (rename(fresh, f->path) < 0)
        return err_sys(err, errno, "rename %s", fresh);
    close_fd(f->fd);
    f->fd = park_fd(take_fd(fd));
    f->size = LOG_HEADER_BYTES;
    f->header = *header;
    return 0;
}

static struct log_header new_header(uint64_t sequence)
{
    struct log_header header = {.sequence = sequence};
    if (getrandom(&header.salt, sizeof(header.salt), GRND_NONBLOCK) < 0)
        header.salt = (uint32_t)time_now_ns(); /* at boot, before there is any randomness */
    return header;
}

static int create(struct log_file *f, uint64_t sequence, struct err *err)
{
    _cleanup_close_ int fd = -EBADF;
    struct log_header header = new_header(sequence);
    int r = create_fresh(f, &header, &fd, err);
    return r < 0 ? r : use_fresh(f, &header, &fd, err);
}

static bool is_there(const struct log_file *f, int number)
{
    _cleanup_free_ char *name = log_file_name(f->path, number);
    return access(name, F_OK) == 0;
}

/* The first sequence number that somebody still has to read; 0: nobody reads along. */
static uint64_t needed_sequence(const struct log_file *f)
{
    uint64_t needed = 0;
    _cleanup_free_ char *name = str_printf("%s.cursor", f->path);
    _cleanup_close_ int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || pread(fd, &needed, sizeof(needed), LOG_CURSOR_NEEDED) != sizeof(needed))
        return 0;
    return needed;
}

/* The number that the oldest file to be kept gets; files beyond it are removed. Up to the first gap: a writer
 * killed in the middle of a rotation leaves one, and they must not add up. */
static int last_to_move(const struct log_file *f)
{
    uint64_t needed = needed_sequence(f);
    int64_t most = MIN(MAX(LOG_BACKLOG_BYTES / f->max_bytes, (int64_t)f->max_files), (int64_t)LOG_MAX_FILES);
    int last = 0;
    for (; is_there(f, last) && last < most - 1; last++) {
        _cleanup_free_ char *name = log_file_name(f->path, last);
        if (last >= f->max_files - 1 && (!needed || sequence_of(name) < needed))
            break;
    }
    for (int i = last + 1; needed && i < LOG_MAX_FILES; i++) {
        _cleanup_free_ char *name = log_file_name(f->path, i);
        if (unlink(name) < 0)
            break;
    }
    return last;
}

/* The new file is there before the old ones move: on a full disk nothing moves, or old lines would be pushed
 * out for nothing. */
static int rotate(struct log_file *f, struct err *err)
{
    _cleanup_close_ int fd = -EBADF;
    struct log_header header = new_header(f->header.sequence + 1);
    int r = create_fresh(f, &header, &fd, err);
    if (r < 0)
        return r;
    FAILPOINT("log-rotation-begun");
    log_adopt_compressed(f->path);
    int last = last_to_move(f);
    for (int i = last - 1; i >= 0; i--) {
        _cleanup_free_ char *from = log_file_name(f->path, i), *to = log_file_name(f->path, i + 1);
        if (rename(from, to) < 0 && errno != ENOENT)
            return err_sys(err, errno, "rotate log %s", from);
        FAILPOINT("log-file-shifted");
    }
    return use_fresh(f, &header, &fd, err);
}

/* Gives the record at f->size, of which there are a head and `n` bytes, its tail. */
static int finish_record(struct log_file *f, struct log_record *r, const void *bytes, uint32_t n,
                         struct err *err)
{
    uint8_t head[LOG_RECORD_HEAD_BYTES], tail[LOG_RECORD_TAIL_BYTES];
    int64_t end = f->size + LOG_RECORD_HEAD_BYTES + n;
    bool shorter = n != r->size;
    r->size = n;
    put_head(head, r);
    put_tail(tail, head, bytes, n, f->header.salt);
    if ((shorter && pwrite(f->fd, head, sizeof(head), f->size) != sizeof(head)) ||
        pwrite(f->fd, tail, sizeof(tail), end) != sizeof(tail))
        return err_set(err, ERR_NO_SPACE, "write log %s: %s", f->path, strerror(errno ? errno : ENOSPC));
    f->size = end + LOG_RECORD_TAIL_BYTES;
    return 0;
}

/* What a killed writer left: bytes behind a head without a tail are made a record, anything else is cut off.
 */
static int repair(struct log_file *f, struct err *err)
{
    struct stat st;
    struct log_record r;
    uint8_t head[LOG_RECORD_HEAD_BYTES];
    f->size = log_valid_end(f->fd, f->header.salt);
    if (fstat(f->fd, &st) < 0)
        return err_sys(err, errno, "look at log %s", f->path);
    int64_t have = st.st_size - f->size - LOG_RECORD_HEAD_BYTES;
    if (have > 0 && f->header.salt && pread(f->fd, head, sizeof(head), f->size) == sizeof(head) &&
        get_head(head, &r)) {
        uint32_t n = (uint32_t)MIN(have, (int64_t)r.size);
        _cleanup_free_ char *bytes = mem_new((size_t)n + 1);
        if (pread(f->fd, bytes, n, f->size + LOG_RECORD_HEAD_BYTES) != (ssize_t)n)
            return err_sys(err, errno, "read log %s", f->path);
        int result = finish_record(f, &r, bytes, n, err);
        if (result < 0)
            return result;
    }
    if (st.st_size > f->size && ftruncate(f->fd, f->size) < 0)
        return err_sys(err, errno, "cut torn record of %s", f->path);
    return 0;
}

/* As the last record says, which is in the file before when this one was just begun, or is still to come:
 * then the header's number is already that of the one before. */
static void find_open_lines(struct log_file *f)
{
    struct log_header header;
    int64_t time_ns;
    uint64_t before = f->fd < 0 ? f->header.sequence : f->header.sequence - 1;
    if (log_last_record(f->fd, f->size, f->header.salt, &time_ns, f->open_line))
        return;
    for (int i = 1; i <= 2; i++) {
        _cleanup_free_ char *name = log_file_name(f->path, i);
        _cleanup_close_ int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0 || !log_header_read(fd, &header) || header.sequence != before)
            continue;
        if (header.compressed)
            memcpy(f->open_line, header.open_line, sizeof(f->open_line));
        else
            log_last_record(fd, log_valid_end(fd, header.salt), header.salt, &time_ns, f->open_line);
        return;
    }
}

static int open_existing(struct log_file *f, struct err *err)
{
    _cleanup_close_ int fd = open(f->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return err_sys(err, errno, "open log %s", f->path);
    if (!log_header_read(fd, &f->header) || f->header.compressed)
        return err_set(err, ERR_NOT_FOUND, "%s is no log of this format", f->path);
    f->fd = park_fd(take_fd(&fd));
    return repair(f, err);
}

int log_file_open(const char *path, int64_t max_bytes, int max_files, bool goes_on, struct log_file **ret,
                  struct err *err)
{
    struct log_file *f = NEW(struct log_file);
    f->fd = -EBADF;
    f->path = mem_strdup(path);
    f->max_bytes = max_bytes > 0 ? max_bytes : LOG_DEFAULT_BYTES;
    f->max_files = max_files > 0 ? MIN(max_files, LOG_MAX_FILES) : LOG_DEFAULT_FILES;
    log_adopt_compressed(path);
    int r = open_existing(f, err);
    if (r == -ERR_NOT_FOUND) {
        /* What stands there in another form is kept aside as the newest rotated file would be. */
        _cleanup_free_ char *previous = log_file_name(path, 1);
        f->header.sequence = sequence_of(previous);
        /* Most containers that live short say nothing: the file comes with the first byte. */
        r = file_exists(path) ? rotate(f, err) : 0;
    }
    if (r < 0) {
        log_file_close(f);
        return r;
    }
    if (goes_on)
        find_open_lines(f);
    *ret = f;
    return 0;
}

/* Room for a record of `n` bytes, or of fewer where a whole file holds no more. */
static int make_room(struct log_file *f, size_t *n, struct err *err)
{
    const int64_t around = LOG_RECORD_HEAD_BYTES + LOG_RECORD_TAIL_BYTES;
    int r = f->fd < 0 ? create(f, f->header.sequence + 1, err) : 0;
    if (r < 0)
        return r;
    int64_t most = MAX(f->max_bytes - LOG_HEADER_BYTES - around, 1);
    *n = (size_t)MIN((int64_t)MIN(*n, (size_t)LOG_PAYLOAD_BYTES), most);
    if (f->size + around + (int64_t)*n > f->max_bytes && f->size > LOG_HEADER_BYTES)
        return rotate(f, err);
    return 0;
}

static struct log_record record_of(const struct log_file *f, int stream, int64_t time_ns, size_t n)
{
    return (struct log_record){.time_ns = time_ns,
                               .stream = stream,
                               .flags = (f->open_line[stream - 1] ? LOG_CONTINUES : 0) |
                                        (f->open_line[2 - stream] ? LOG_OTHER_OPEN : 0),
                               .size = (uint32_t)n};
}

/* Bytes behind f->size are no whole record. */
static void cut(struct log_file *f, size_t lost)
{
    f->dropped += lost;
    if (ftruncate(f->fd, f->size) < 0)
        f->size = log_valid_end(f->fd, f->header.salt);
}

static size_t splice_all(struct log_file *f, int pipe_fd, size_t n, struct err *err)
{
    loff_t at = f->size + LOG_RECORD_HEAD_BYTES;
    size_t done = 0;
    while (done < n) {
        ssize_t one = splice(pipe_fd, NULL, f->fd, &at, n - done, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (one < 0 && errno == EINTR)
            continue;
        if (one <= 0) {
            err_sys(err, one < 0 ? errno : ENODATA, "write log %s", f->path);
            break;
        }
        done += (size_t)one;
    }
    return done;
}

/* Returns how many bytes left the pipe; they are in `buffer`. */
static size_t move_record(struct log_file *f, struct log_record *r, int pipe_fd, char *buffer,
                          struct err *err)
{
    uint8_t head[LOG_RECORD_HEAD_BYTES];
    put_head(head, r);
    if (pwrite(f->fd, head, sizeof(head), f->size) != sizeof(head)) {
        err_sys(err, errno ? errno : ENOSPC, "write log %s", f->path);
        cut(f, 0);
        return 0;
    }
    FAILPOINT("log-head-written");
    size_t n = splice_all(f, pipe_fd, r->size, err);
    FAILPOINT("log-bytes-moved");
    if (n == 0 || pread(f->fd, buffer, n, f->size + LOG_RECORD_HEAD_BYTES) != (ssize_t)n ||
        finish_record(f, r, buffer, (uint32_t)n, err) < 0)
        cut(f, n);
    return n;
}

size_t log_file_move(struct log_file *f, int stream, int64_t time_ns, int pipe_fd, char *buffer, size_t n,
                     struct err *err)
{
    int available = 0;
    err->code = 0;
    if (ioctl(pipe_fd, FIONREAD, &available) < 0 || available <= 0)
        return 0;
    n = MIN(n, (size_t)available);
    size_t room = n, done = 0;
    if (make_room(f, &room, err) == 0) {
        struct log_record r = record_of(f, stream, time_ns, room);
        n = room;
        done = move_record(f, &r, pipe_fd, buffer, err);
    }
    /* The container must go on, whatever keeps its log from growing. */
    if (done < n && err->code) {
        ssize_t rest = read(pipe_fd, buffer + done, n - done);
        if (rest > 0) {
            f->dropped += (size_t)rest;
            done += (size_t)rest;
        }
    }
    if (done)
        f->open_line[stream - 1] = buffer[done - 1] != '\n';
    return done;
}

static int write_record(struct log_file *f, int stream, int64_t time_ns, const char *bytes, size_t *n,
                        struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    int result = make_room(f, n, err);
    if (result < 0)
        return result;
    struct log_record r = record_of(f, stream, time_ns, *n);
    r.bytes = bytes;
    log_record_add(&text, &r, f->header.salt);
    ssize_t written = pwrite(f->fd, text.data, text.len, f->size);
    if (written == (ssize_t)text.len) {
        f->size += written;
        return 0;
    }
    result = written < 0 ? err_sys(err, errno, "write log %s", f->path)
                         : err_set(err, ERR_NO_SPACE, "write log %s: disk full", f->path);
    cut(f, 0);
    return result;
}

int log_file_write(struct log_file *f, int stream, int64_t time_ns, const char *bytes, size_t n,
                   struct err *err)
{
    int result = 0;
    while (n) {
        size_t part = n;
        int r = write_record(f, stream, time_ns, bytes, &part, result ? NULL : err);
        if (r < 0)
            f->dropped += part;
        result = result ? result : r;
        f->open_line[stream - 1] = bytes[part - 1] != '\n';
        bytes += part;
        n -= part;
    }
    return result;
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

void log_file_prune(const char *path, int max_files, uint64_t needed)
{
    int last = max_files > 0 ? max_files : LOG_DEFAULT_FILES;
    /* There may be gaps, where the writer was just moving them. */
    enum { GAP_MAX = 32 };
    for (int i = last, missing = 0; i < LOG_MAX_FILES && missing < GAP_MAX; i++) {
        _cleanup_free_ char *name = log_file_name(path, i);
        uint64_t sequence = sequence_of(name);
        missing = sequence ? 0 : missing + 1;
        if (sequence && sequence < needed)
            unlink(name);
    }
}

void log_file_remove(const char *path)
{
    _cleanup_free_ char *compressed = str_printf("%s.z", path);
    unlink(compressed);
    for (int i = 0; i <= LOG_MAX_FILES; i++) {
        _cleanup_free_ char *name = log_file_name(path, i);
        if (unlink(name) < 0 && i > 0)
            break;
    }
}
