#include "keeper/log_reader.h"

#include "base/str.h"
#include "keeper/log_file.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFER_BYTES = 64 * 1024, ASK_MS = 100 };

struct log_reader {
    struct log_reader_options o;
    char *path;
    int fd; /* of the file being read, or negative: none found yet */
    uint64_t sequence;
    int64_t at; /* offset of the first byte not told */
    char *buffer;
    int64_t buffer_at; /* offset of the buffer's first byte */
    size_t buffer_size;
    int notify_fd, notify_watch;
};

/* Of the files there are, the one with the lowest sequence number from `least` on. Looked for upwards, as
 * files move, so that one that is renamed meanwhile is met later rather than missed. */
static int open_from(const char *path, uint64_t least, uint64_t *ret_sequence)
{
    int best = -EBADF;
    int missing = 0;
    for (int i = 0; i <= LOG_MAX_FILES && missing < 2; i++) {
        _cleanup_free_ char *name = i ? str_printf("%s.%d", path, i) : mem_strdup(path);
        _cleanup_close_ int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        /* In the middle of a rotation there is a gap of one. */
        missing = fd < 0 ? missing + 1 : 0;
        uint64_t sequence = fd < 0 ? 0 : log_header_read(fd);
        if (sequence < least || sequence == 0 || (best >= 0 && sequence >= *ret_sequence))
            continue;
        close_fd(best);
        best = take_fd(&fd);
        *ret_sequence = sequence;
    }
    return best;
}

static void use_file(struct log_reader *r, int fd, uint64_t sequence, int64_t at)
{
    close_fd(r->fd);
    r->fd = fd;
    r->sequence = sequence;
    r->at = at;
    r->buffer_size = 0;
    if (r->notify_fd < 0)
        return;
    if (r->notify_watch >= 0)
        inotify_rm_watch(r->notify_fd, r->notify_watch);
    char name[64];
    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    r->notify_watch = inotify_add_watch(r->notify_fd, name, IN_MODIFY | IN_MOVE_SELF);
}

/* --- where to begin --- */

/* Walks back over `fd` from `end`. Returns true when all lines wanted were found; *lines counts down. */
static bool walk_back(int fd, int64_t end, int64_t *lines, int64_t *ret_at)
{
    for (;;) {
        ssize_t length = log_record_length_before(fd, end);
        if (length <= 0)
            break;
        uint8_t flags;
        /* A piece without its end belongs to the line that is counted already, unless it is the newest. */
        if (pread(fd, &flags, 1, end - length + 5) != 1)
            break;
        if (!(flags & LOG_PARTIAL)) {
            if (*lines == 0) {
                *ret_at = end;
                return true;
            }
            --*lines;
        }
        end -= length;
    }
    *ret_at = LOG_HEADER_BYTES;
    return *lines == 0;
}

/* The file before `sequence`, or negative. */
static int open_before(const char *path, uint64_t sequence, uint64_t *ret_sequence)
{
    uint64_t found = 0;
    for (uint64_t back = 1; back <= LOG_MAX_FILES && back < sequence; back++) {
        int fd = open_from(path, sequence - back, &found);
        if (fd >= 0 && found < sequence) {
            *ret_sequence = found;
            return fd;
        }
        close_fd(fd);
        if (back > 2)
            break; /* numbers have no gaps but those of a clash */
    }
    return -EBADF;
}

static int open_newest(const char *path, uint64_t *ret_sequence)
{
    int best = -EBADF;
    uint64_t least = 1;
    for (;;) {
        uint64_t sequence = 0;
        int fd = open_from(path, least, &sequence);
        if (fd < 0)
            return best;
        close_fd(best);
        best = fd;
        *ret_sequence = sequence;
        least = sequence + 1;
    }
}

static void seek_tail(struct log_reader *r)
{
    uint64_t sequence = 0;
    int fd = open_newest(r->path, &sequence);
    int64_t lines = r->o.tail, at = fd >= 0 ? log_valid_end(fd) : 0;
    if (fd < 0)
        return;
    while (!walk_back(fd, at, &lines, &at)) {
        uint64_t older = 0;
        int previous = open_before(r->path, sequence, &older);
        if (previous < 0)
            break;
        close_fd(fd);
        fd = previous;
        sequence = older;
        at = log_valid_end(fd);
    }
    use_file(r, fd, sequence, at);
}

static bool ends_before(int fd, int64_t since_ns)
{
    int64_t end = log_valid_end(fd), time_ns = 0;
    ssize_t length = log_record_length_before(fd, end);
    return length > 0 && pread(fd, &time_ns, 8, end - length + 8) == 8 && time_ns < since_ns;
}

static void seek_begin(struct log_reader *r)
{
    uint64_t sequence = 0;
    int fd = open_from(r->path, 1, &sequence);
    while (fd >= 0 && r->o.since_ns && ends_before(fd, r->o.since_ns)) {
        uint64_t next_sequence = 0;
        int next = open_from(r->path, sequence + 1, &next_sequence);
        if (next < 0)
            break;
        close_fd(fd);
        fd = next;
        sequence = next_sequence;
    }
    if (fd >= 0)
        use_file(r, fd, sequence, LOG_HEADER_BYTES);
}

int log_reader_open(const struct log_reader_options *options, struct log_reader **ret, struct err *err)
{
    struct log_reader *r = NEW(struct log_reader);
    r->o = *options;
    r->path = mem_strdup(options->path);
    r->fd = r->notify_watch = -EBADF;
    r->buffer = mem_new(BUFFER_BYTES);
    /* There may be no instance left for this user: asking ten times a second serves too. */
    r->notify_fd = options->follow ? inotify_init1(IN_CLOEXEC | IN_NONBLOCK) : -EBADF;
    if (options->tail >= 0)
        seek_tail(r);
    else
        seek_begin(r);
    if (r->fd < 0 && !options->follow && access(r->path, F_OK) == 0) {
        int result = err_set(err, ERR_CORRUPT, "%s is not a log of this program", r->path);
        log_reader_close(r);
        return result;
    }
    *ret = r;
    return 0;
}

void log_reader_close(struct log_reader *r)
{
    if (!r)
        return;
    close_fd(r->fd);
    close_fd(r->notify_fd);
    free(r->buffer);
    free(r->path);
    free(r);
}

/* --- going on --- */

/* 1 and a record, or 0: no whole record here (yet). */
static int take_record(struct log_reader *r, struct log_record *ret)
{
    for (int tries = 0; tries < 2; tries++) {
        size_t skip = (size_t)(r->at - r->buffer_at);
        if (r->buffer_size > skip) {
            ssize_t length = log_record_parse(r->buffer + skip, r->buffer_size - skip, ret);
            if (length > 0) {
                r->at += length;
                return 1;
            }
        }
        ssize_t n = pread(r->fd, r->buffer, BUFFER_BYTES, r->at);
        r->buffer_at = r->at;
        r->buffer_size = n > 0 ? (size_t)n : 0;
    }
    r->buffer_size = 0; /* what was torn may be whole when it is read again */
    return 0;
}

/* True when the file will not grow any more: the writer has begun another. */
static bool advance(struct log_reader *r, struct log_record *record, bool *ret_found)
{
    uint64_t sequence = 0;
    int next = open_from(r->path, r->fd >= 0 ? r->sequence + 1 : 1, &sequence);
    *ret_found = false;
    if (next < 0)
        return false;
    /* The writer was finished with the old file before the new one appeared; it may have written between our
     * last look and now. */
    if (r->fd >= 0 && take_record(r, record)) {
        close_fd(next);
        *ret_found = true;
        return true;
    }
    use_file(r, next, sequence, LOG_HEADER_BYTES);
    return true;
}

static void wait_for_more(struct log_reader *r)
{
    struct pollfd p[2] = {{.fd = r->notify_fd, .events = POLLIN},
                          {.fd = r->o.wake_fd > 0 ? r->o.wake_fd : -1, .events = POLLIN}};
    char events[4096];
    if (poll(p, 2, ASK_MS) > 0 && p[0].revents)
        while (read(r->notify_fd, events, sizeof(events)) > 0)
            ;
}

/* 1 and the next record of all, or 0 at the end. */
static int next_record(struct log_reader *r, struct log_record *record)
{
    bool last_look = false;
    for (;;) {
        bool found;
        if (r->fd >= 0 && take_record(r, record))
            return 1;
        if (advance(r, record, &found)) {
            if (found)
                return 1;
            continue;
        }
        if (!r->o.follow || last_look || (r->o.gone && r->o.gone(r->o.context)))
            return 0;
        /* All was written before the end could be known: one more look finds it. */
        last_look = r->o.ended && r->o.ended(r->o.context);
        if (!last_look)
            wait_for_more(r);
    }
}

int log_reader_next(struct log_reader *r, struct log_entry *ret, struct err *err)
{
    struct log_record record;
    do {
        if (r->o.gone && r->o.gone(r->o.context))
            return 0;
        if (!next_record(r, &record))
            return 0;
        if (r->o.until_ns && record.time_ns > r->o.until_ns)
            return 0;
    } while (r->o.since_ns && record.time_ns < r->o.since_ns);
    *ret = (struct log_entry){.time_ns = record.time_ns,
                              .stream = record.stream,
                              .partial = record.flags & LOG_PARTIAL,
                              .bytes = record.bytes,
                              .size = record.size};
    return 1;
}
