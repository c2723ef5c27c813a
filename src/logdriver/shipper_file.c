/* A shipper whose destination is a file: json-file.
 *
 * How much of a batch is in the file tells the file itself, by its size: a process that was killed while it
 * wrote left whole lines, which count as sent, and perhaps a part of one, which is cut off. */
#include "logdriver/shipper_priv.h"

#include "base/file.h"
#include "base/log.h"
#include "base/timeutil.h"
#include "logdriver/compress.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RETRY_MS = 1000 };

static bool open_file(struct shipper *s)
{
    struct stat st;
    if (s->file_fd >= 0)
        return true;
    s->file_fd = open(s->driver->file, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (s->file_fd < 0 || fstat(s->file_fd, &st) < 0)
        return false;
    s->file_size = st.st_size;
    s->cursor.page->file_inode = st.st_ino;
    return true;
}

/* Counts the batch's lines that are in the file whole, and cuts off what is behind them. */
static void count_lines(struct shipper *s, int64_t from)
{
    char buffer[16384];
    const struct cursor_page *p = s->cursor.page;
    size_t lines = 0, pieces = cursor_pieces(&s->cursor);
    int64_t at = from, whole = from;
    ssize_t n;
    while ((n = pread(s->file_fd, buffer, sizeof(buffer), at)) > 0) {
        for (ssize_t i = 0; i < n && lines < pieces; i++)
            if (buffer[i] == '\n') {
                s->skip[(p->piece[lines].stream == 2)]++;
                lines++;
                whole = at + i + 1;
            }
        at += n;
    }
    if (whole < at && ftruncate(s->file_fd, whole) == 0)
        s->file_size = whole;
}

void shipper__resume_file(struct shipper *s)
{
    const struct cursor_page *p = s->cursor.page;
    uint64_t inode = p->file_inode;
    int64_t from = p->file_size;
    if (!open_file(s)) {
        log_error("container %.12s: open %s: %s", s->id, s->driver->file, strerror(errno));
        return;
    }
    if (cursor_pieces(&s->cursor) && p->file_inode == inode && from <= s->file_size)
        count_lines(s, from);
}

static char *numbered(const char *path, int i, const char *suffix)
{
    return i ? str_printf("%s.%d%s", path, i, suffix) : mem_strdup(path);
}

static void rotate(struct shipper *s)
{
    static const char *const suffixes[] = {"", ".gz"};
    const struct driver *d = s->driver;
    compress_lock();
    s->file_fd = close_fd(s->file_fd);
    for (int i = d->file_max_files - 1; i >= 0; i--)
        for (size_t k = 0; k < ARRAY_SIZE(suffixes); k++) {
            _cleanup_free_ char *from = numbered(d->file, i, suffixes[k]);
            _cleanup_free_ char *to = numbered(d->file, i + 1, suffixes[k]);
            if ((i == 0 && k > 0) || access(from, F_OK) < 0)
                continue;
            if (i + 1 >= d->file_max_files ? unlink(from) < 0 : rename(from, to) < 0)
                log_error("container %.12s: rotate %s: %s", s->id, from, strerror(errno));
        }
    compress_unlock();
    if (d->file_compress)
        compress_rotated(d->file, d->file_max_files);
}

bool shipper__to_file(struct shipper *s)
{
    struct err err;
    if (s->file_size >= s->driver->file_max_bytes)
        rotate(s);
    if (!open_file(s)) {
        s->wake_at_ns = time_monotonic_ns() + RETRY_MS * NS_PER_MS;
        return false;
    }
    s->cursor.page->file_size = s->file_size;
    if (file_write_all(s->file_fd, s->batch.bytes.data, s->batch.bytes.len, &err) < 0) {
        if (!str_eq(s->why, err.msg))
            log_warning("container %.12s: write %s: %s", s->id, s->driver->file, err.msg);
        snprintf(s->why, sizeof(s->why), "%s", err.msg);
        if (ftruncate(s->file_fd, s->file_size) < 0)
            log_warning("container %.12s: cut %s: %s", s->id, s->driver->file, strerror(errno));
        s->wake_at_ns = time_monotonic_ns() + RETRY_MS * NS_PER_MS;
        return false;
    }
    s->file_size += (int64_t)s->batch.bytes.len;
    *s->why = '\0';
    return true;
}
