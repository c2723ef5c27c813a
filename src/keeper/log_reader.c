#include "keeper/log_reader.h"

#include "base/log.h"
#include "base/str.h"
#include "keeper/log_file.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    BUFFER_BYTES = 2 * LOG_PAYLOAD_BYTES,
    ASK_MS = 100,
    GONE_BYTES = 4 * LOG_PAYLOAD_BYTES, /* read between two questions whether somebody listens */
};

/* What a stream has left of a line. */
struct open_line {
    char *bytes;
    size_t size;
    int64_t time_ns;
    bool told;    /* it was given to the caller, who has read it by now */
    bool goes_on; /* the record before said so (first version of the format) */
    bool skip;    /* its beginning was not read: nothing of it is told */
    bool met;     /* a record of this stream was seen */
};

struct log_reader {
    struct log_reader_options o;
    char *path;
    int fd; /* of the file being read, or negative: none found yet */
    struct log_header header;
    int64_t at; /* offset of the first byte not told */
    char *buffer;
    int64_t buffer_at; /* offset of the buffer's first byte */
    size_t buffer_size;
    int notify_fd, notify_watch;
    struct log_record record; /* being told, from `record_at` on */
    size_t record_at;
    bool record_met; /* its open line was looked at */
    size_t unasked;  /* bytes read since `gone` was asked */
    struct open_line lines[2];
    bool amid;         /* reading began in the middle of the log */
    int64_t skip_left; /* lines before those that are wanted */
    bool ended;        /* what is told now are the rests */
    uint32_t within;   /* bytes of the first record that a reader before this one told */
    uint64_t missed;   /* files */
};

/* Of the files there are, the one with the lowest sequence number from `least` on. Looked for upwards, as
 * files move, so that one that is renamed meanwhile is met later rather than missed. */
static int open_from(const char *path, uint64_t least, struct log_header *ret)
{
    int best = -EBADF;
    int missing = 0;
    for (int i = 0; i <= LOG_MAX_FILES && missing < 2; i++) {
        _cleanup_free_ char *name = i ? str_printf("%s.%d", path, i) : mem_strdup(path);
        _cleanup_close_ int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        /* In the middle of a rotation there is a gap of one. */
        missing = fd < 0 ? missing + 1 : 0;
        struct log_header header;
        if (fd < 0 || !log_header_read(fd, &header) || header.sequence < least ||
            (best >= 0 && header.sequence >= ret->sequence))
            continue;
        close_fd(best);
        best = take_fd(&fd);
        *ret = header;
    }
    return best;
}

/* The plain form of a file found by open_from(), which goes. Negative, and logged: it cannot be read. */
static int make_plain(const char *path, int fd, struct log_header *header)
{
    struct err err;
    int plain = -EBADF;
    if (fd < 0 || !header->compressed)
        return fd;
    if (log_uncompress(path, fd, header, &plain, &err) < 0)
        log_warning("%s", err.msg);
    close_fd(fd);
    return plain;
}

static int64_t plain_bytes(int fd, const struct log_header *header)
{
    struct stat st;
    if (header->compressed)
        return header->plain_bytes;
    return fstat(fd, &st) == 0 ? st.st_size : 0;
}

/* A file that cannot be read counts as one that was gone. */
static void use_file(struct log_reader *r, int fd, const struct log_header *header, int64_t at)
{
    close_fd(r->fd);
    r->header = *header;
    r->fd = make_plain(r->path, fd, &r->header);
    if (r->fd < 0) {
        r->missed++;
        r->amid = true;
        r->fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    fd = r->fd;
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

/* Walks back over `fd` from `end` until it has passed *lines line ends, which counts down. Returns true when
 * all were found. */
static bool walk_back(int fd, uint32_t salt, int64_t end, int64_t *lines, int64_t *ret_at)
{
    ssize_t length;
    size_t found;
    while (*lines > 0 && (length = log_record_length_before(fd, end, salt, NULL, &found)) > 0) {
        *lines -= (int64_t)found;
        end -= length;
    }
    *ret_at = *lines > 0 ? LOG_HEADER_BYTES : end;
    return *lines <= 0;
}

/* The file before `sequence`, or negative. */
static int open_before(const char *path, uint64_t sequence, struct log_header *ret)
{
    for (uint64_t back = 1; back <= 3 && back < sequence; back++) { /* no gaps but those of a clash */
        int fd = open_from(path, sequence - back, ret);
        if (fd >= 0 && ret->sequence < sequence)
            return fd;
        close_fd(fd);
    }
    return -EBADF;
}

static int open_newest(const char *path, struct log_header *ret)
{
    int best = -EBADF;
    struct log_header header;
    for (uint64_t least = 1;; least = header.sequence + 1) {
        int fd = open_from(path, least, &header);
        if (fd < 0)
            return best;
        close_fd(best);
        best = fd;
        *ret = header;
    }
}

static void forget_lines(struct log_reader *r)
{
    for (int i = 0; i < 2; i++) {
        free(r->lines[i].bytes);
        r->lines[i] = (struct open_line){0};
    }
    r->record = (struct log_record){0};
    r->record_at = 0;
    r->ended = false;
}

/* Goes back two line ends more than lines are wanted: with each of the two streams, the first line met may
 * have begun before, and is not told. Then all is read once to count what there is before the wanted ones. */
static void seek_tail(struct log_reader *r)
{
    struct log_header header = {0}, older;
    int fd = make_plain(r->path, open_newest(r->path, &header), &header);
    int64_t wanted = r->o.tail + 2, at = fd >= 0 ? log_valid_end(fd, header.salt) : 0, lines = 0;
    if (fd < 0)
        return;
    while (!(r->amid = walk_back(fd, header.salt, at, &wanted, &at))) {
        int previous = make_plain(r->path, open_before(r->path, header.sequence, &older), &older);
        if (previous < 0)
            break;
        close_fd(fd);
        fd = previous;
        header = older;
        at = log_valid_end(fd, header.salt);
    }
    _cleanup_close_ int again = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (again < 0) {
        close_fd(fd);
        return;
    }
    const struct log_reader_options given = r->o;
    struct log_entry entry;
    r->o = (struct log_reader_options){.path = given.path, .gone = given.gone, .context = given.context};
    use_file(r, fd, &header, at);
    while (log_reader_next(r, &entry, NULL) > 0)
        lines += !entry.partial;
    r->o = given;
    forget_lines(r);
    r->skip_left = MAX(lines - r->o.tail, 0);
    use_file(r, take_fd(&again), &header, at);
}

static bool ends_before(int fd, const struct log_header *h, int64_t since_ns)
{
    struct log_record r;
    if (h->compressed)
        return h->last_ns < since_ns;
    return log_record_length_before(fd, log_valid_end(fd, h->salt), h->salt, &r, NULL) > 0 &&
           r.time_ns < since_ns;
}

static void seek_begin(struct log_reader *r)
{
    struct log_header header = {0}, next_header;
    int fd = open_from(r->path, 1, &header);
    while (fd >= 0 && r->o.since_ns && ends_before(fd, &header, r->o.since_ns)) {
        int next = open_from(r->path, header.sequence + 1, &next_header);
        if (next < 0)
            break;
        close_fd(fd);
        fd = next;
        header = next_header;
    }
    /* What goes on with a line that began in a file before is no whole line. */
    r->amid = header.sequence > 1;
    if (fd >= 0)
        use_file(r, fd, &header, LOG_HEADER_BYTES);
}

static void take_line(struct open_line *l, const struct log_place_line *from)
{
    uint32_t size = MIN(from->size, (uint32_t)LOG_PIECE_BYTES - 1);
    l->met = from->met;
    l->goes_on = from->goes_on;
    l->time_ns = from->time_ns;
    if (!size)
        return;
    l->bytes = mem_new(LOG_PIECE_BYTES);
    l->size = size;
    memcpy(l->bytes, from->bytes, size);
}

static void seek_place(struct log_reader *r, const struct log_place *place)
{
    struct log_header header = {0};
    int fd = open_from(r->path, MAX(place->sequence, (uint64_t)1), &header);
    if (fd < 0)
        return;
    if (header.sequence != place->sequence || place->at < LOG_HEADER_BYTES ||
        place->at > plain_bytes(fd, &header)) {
        /* Its file is gone: what goes on with a line that began there is no whole line. */
        r->missed += place->sequence ? header.sequence - place->sequence : 0;
        r->amid = place->sequence;
        use_file(r, fd, &header, LOG_HEADER_BYTES);
        return;
    }
    for (int i = 0; i < 2; i++)
        take_line(&r->lines[i], &place->lines[i]);
    r->within = place->within;
    use_file(r, fd, &header, place->at);
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
    /* Again when it came just between the look and the question: the writer makes it at its first byte. */
    bool has_head = false;
    for (int tries = 0; tries < 2 && r->fd < 0 && (tries == 0 || access(r->path, F_OK) == 0); tries++) {
        struct stat st;
        /* One that is being made has no head yet, and nothing in it. */
        has_head = stat(r->path, &st) == 0 && st.st_size >= LOG_HEADER_BYTES;
        if (options->place && options->place->sequence)
            seek_place(r, options->place);
        else if (options->tail >= 0)
            seek_tail(r);
        else
            seek_begin(r);
    }
    r->o.place = NULL; /* the caller's again */
    if (r->fd < 0 && !options->follow && !options->patient && has_head) {
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
    forget_lines(r);
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
            ssize_t length = log_record_parse(r->buffer + skip, r->buffer_size - skip, r->header.salt, ret);
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
    struct log_header header = {0};
    int next = open_from(r->path, r->fd >= 0 ? r->header.sequence + 1 : 1, &header);
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
    if (r->fd >= 0)
        r->missed += header.sequence - r->header.sequence - 1;
    use_file(r, next, &header, LOG_HEADER_BYTES);
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

enum { END, RECORD, PAUSE };

/* RECORD and the next one of all, END, or PAUSE when a patient reader has to wait. */
static int next_record(struct log_reader *r, struct log_record *record)
{
    bool last_look = false;
    for (;;) {
        bool found;
        if (r->fd >= 0 && take_record(r, record))
            return RECORD;
        if (advance(r, record, &found)) {
            if (found)
                return RECORD;
            continue;
        }
        if ((!r->o.follow && !r->o.patient) || last_look || (r->o.gone && r->o.gone(r->o.context)))
            return END;
        /* All was written before the end could be known: one more look finds it. */
        last_look = r->o.ended && r->o.ended(r->o.context);
        if (!last_look && r->o.patient)
            return PAUSE;
        if (!last_look)
            wait_for_more(r);
    }
}

/* --- lines --- */

static struct log_entry entry_of(struct open_line *l, int stream, bool partial)
{
    l->told = true;
    return (struct log_entry){
        .time_ns = l->time_ns, .stream = stream, .partial = partial, .bytes = l->bytes, .size = l->size};
}

/* What stands open of a line that no record will go on with. */
static bool take_rest(struct log_reader *r, int stream, struct log_entry *ret)
{
    struct open_line *l = &r->lines[stream - 1];
    if (l->told || !l->size)
        return false;
    *ret = entry_of(l, stream, false);
    return true;
}

/* True: an entry. False: the bytes have joined the stream's open line, or were skipped. */
static bool take_bytes(struct log_reader *r, struct open_line *l, struct log_entry *ret)
{
    const char *bytes = r->record.bytes + r->record_at;
    size_t n = r->record.size - r->record_at;
    const char *newline = memchr(bytes, '\n', n);
    size_t room = l->skip ? n : LOG_PIECE_BYTES - l->size;
    size_t part = MIN(newline ? (size_t)(newline - bytes) + 1 : n, room);
    bool whole = newline && newline < bytes + part;
    r->record_at += part;
    if (l->skip) {
        l->skip = !whole;
        return false;
    }
    if (!l->size && (whole || part == LOG_PIECE_BYTES)) {
        *ret = (struct log_entry){.time_ns = r->record.time_ns,
                                  .stream = r->record.stream,
                                  .partial = !whole,
                                  .bytes = bytes,
                                  .size = part};
        return true;
    }
    if (!l->bytes)
        l->bytes = mem_new(LOG_PIECE_BYTES);
    if (!l->size)
        l->time_ns = r->record.time_ns;
    memcpy(l->bytes + l->size, bytes, part);
    l->size += part;
    if (!whole && l->size < LOG_PIECE_BYTES)
        return false;
    *ret = entry_of(l, r->record.stream, !whole);
    return true;
}

/* Does the record go on with its stream's open line? */
static bool meet_record(struct log_reader *r, struct open_line *l, struct log_entry *ret)
{
    bool goes_on = r->record.flags & LOG_CONTINUES || l->goes_on;
    r->record_met = true;
    if (!l->met && r->amid)
        l->skip = goes_on;
    l->met = true;
    l->goes_on = r->record.flags & LOG_PARTIAL;
    return !goes_on && take_rest(r, r->record.stream, ret);
}

/* Asking costs more than a line; before each wait it is asked anyway. */
static bool nobody_listens(struct log_reader *r)
{
    r->unasked += r->record.size;
    if (r->unasked < GONE_BYTES)
        return false;
    r->unasked = 0;
    return r->o.gone && r->o.gone(r->o.context);
}

/* False: it has to wait, or nobody listens. */
static bool read_record(struct log_reader *r)
{
    if (nobody_listens(r))
        return false;
    int got = next_record(r, &r->record);
    r->record_at = 0;
    r->record_met = false;
    if (got != RECORD || r->record.stream < 1 || r->record.stream > 2)
        r->record.size = 0;
    r->ended = got == END;
    if (got == RECORD && r->within) {
        r->record_at = MIN(r->within, r->record.size);
        r->record_met = true;
        r->within = 0;
    }
    return got != PAUSE;
}

static bool take_entry(struct log_reader *r, struct log_entry *ret)
{
    for (int i = 0; i < 2; i++)
        if (r->lines[i].told) {
            r->lines[i].told = false;
            r->lines[i].size = 0;
        }
    while (!r->ended) {
        if (r->record_at == r->record.size) {
            if (!read_record(r))
                return false;
            continue;
        }
        struct open_line *l = &r->lines[r->record.stream - 1];
        if ((!r->record_met && meet_record(r, l, ret)) || take_bytes(r, l, ret))
            return true;
    }
    return take_rest(r, 1, ret) || take_rest(r, 2, ret);
}

int log_reader_next(struct log_reader *r, struct log_entry *ret, struct err *err)
{
    for (;;) {
        if (!take_entry(r, ret) || (r->o.until_ns && ret->time_ns > r->o.until_ns))
            return 0;
        if (r->skip_left) {
            r->skip_left -= !ret->partial;
            continue;
        }
        if (!r->o.since_ns || ret->time_ns >= r->o.since_ns)
            return 1;
    }
}

/* --- the place --- */

static bool in_record(const struct log_reader *r)
{
    return r->record_at < r->record.size;
}

void log_reader_place(const struct log_reader *r, struct log_place *ret)
{
    int64_t record = LOG_RECORD_HEAD_BYTES + (int64_t)r->record.size + LOG_RECORD_TAIL_BYTES;
    ret->sequence = r->fd >= 0 ? r->header.sequence : 0;
    ret->at = in_record(r) ? r->at - record : r->at;
    ret->within = in_record(r) ? (uint32_t)r->record_at : r->within;
    for (int i = 0; i < 2; i++) {
        const struct open_line *l = &r->lines[i];
        struct log_place_line *to = &ret->lines[i];
        to->size = l->told || l->size >= LOG_PIECE_BYTES ? 0 : (uint32_t)l->size;
        to->goes_on = l->goes_on;
        to->met = l->met;
        to->time_ns = l->time_ns;
        if (to->size)
            memcpy(to->bytes, l->bytes, to->size);
    }
}

uint64_t log_reader_missed(const struct log_reader *r)
{
    return r->missed;
}

int64_t log_reader_backlog(const struct log_reader *r)
{
    struct stat st;
    int64_t bytes = r->fd >= 0 && fstat(r->fd, &st) == 0 ? MAX(st.st_size - r->at, 0) : 0;
    bytes += (int64_t)(r->record.size - r->record_at);
    struct log_header header = {0};
    int missing = 0;
    for (int i = 0; i <= LOG_MAX_FILES && missing < 2; i++) {
        _cleanup_free_ char *name = i ? str_printf("%s.%d", r->path, i) : mem_strdup(r->path);
        _cleanup_close_ int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        missing = fd < 0 ? missing + 1 : 0;
        if (fd < 0 || !log_header_read(fd, &header))
            continue;
        if (r->fd >= 0 && header.sequence <= r->header.sequence)
            break;
        bytes += plain_bytes(fd, &header);
    }
    return bytes;
}
