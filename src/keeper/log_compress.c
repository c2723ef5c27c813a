#include "keeper/log_file.h"

#include "base/file.h"
#include "base/log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { CHUNK = 64 << 10 };

static char *waiting_name(const char *path)
{
    return str_printf("%s.z", path);
}

/* Opens the file `number` and reads its header. Negative: none there, or no log. */
static int open_numbered(const char *path, int number, struct log_header *ret)
{
    _cleanup_free_ char *name = log_file_name(path, number);
    _cleanup_close_ int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return fd >= 0 && log_header_read(fd, ret) ? take_fd(&fd) : -EBADF;
}

/* The newest one that is plain. A rotation going on leaves a gap of one. */
static int open_newest_plain(const char *path, struct log_header *ret)
{
    for (int i = 1, missing = 0; i < LOG_MAX_FILES && missing < 2; i++) {
        int fd = open_numbered(path, i, ret);
        missing = fd < 0 ? missing + 1 : 0;
        if (fd >= 0 && !ret->compressed)
            return fd;
        close_fd(fd);
    }
    return -EBADF;
}

/* What is read from `in` goes into `out` as gzip, from its position on. */
static int deflate_into(int in, int out, bool (*stop)(void), struct err *err)
{
    _cleanup_free_ char *buffer = mem_new(CHUNK);
    int mine = fcntl(out, F_DUPFD_CLOEXEC, 3);
    gzFile z = mine >= 0 ? gzdopen(mine, "wb1") : NULL;
    if (!z) {
        close_fd(mine);
        return err_sys(err, errno, "compress");
    }
    ssize_t n;
    int r = 0;
    for (off_t at = 0; r == 0 && (n = pread(in, buffer, CHUNK, at)) > 0; at += n) {
        if (gzwrite(z, buffer, (unsigned)n) != (int)n)
            r = err_sys(err, errno ? errno : ENOSPC, "write");
        else if (stop && stop())
            r = err_set(err, ERR_CANCELLED, "stopped");
    }
    if (r == 0 && n < 0)
        r = err_sys(err, errno, "read");
    if (gzclose(z) != Z_OK && r == 0)
        r = err_sys(err, errno ? errno : ENOSPC, "write");
    return r;
}

static int write_compressed(int in, const struct log_header *plain, int out, bool (*stop)(void),
                            struct err *err)
{
    struct stat st;
    uint8_t head[LOG_COMPRESSED_HEADER_BYTES];
    struct log_header h = *plain;
    if (fstat(in, &st) < 0)
        return err_sys(err, errno, "stat");
    h.compressed = true;
    h.plain_bytes = st.st_size;
    log_last_record(in, log_valid_end(in, h.salt), h.salt, &h.last_ns, h.open_line);
    int r = file_write_all(out, head, log_header_put(head, &h), err);
    if (r == 0)
        r = deflate_into(in, out, stop, err);
    /* It takes the place of lines that may be on the disk long since. */
    if (r == 0 && fdatasync(out) < 0)
        r = err_sys(err, errno, "sync");
    return r;
}

int log_compress(const char *path, bool (*stop)(void), struct err *err)
{
    struct log_header header;
    _cleanup_free_ char *to = waiting_name(path), *part = str_printf("%s.part", to);
    if (file_exists(to))
        return 0;
    _cleanup_close_ int in = open_newest_plain(path, &header);
    if (in < 0)
        return 0;
    _cleanup_close_ int out = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (out < 0)
        return err_sys(err, errno, "create %s", part);
    int r = write_compressed(in, &header, out, stop, err);
    if (r == 0 && rename(part, to) < 0)
        r = err_sys(err, errno, "rename");
    if (r < 0) {
        unlink(part);
        return err_wrap(err, "compress %s", path);
    }
    return 0;
}

void log_adopt_compressed(const char *path)
{
    struct log_header z, h;
    _cleanup_free_ char *from = waiting_name(path);
    _cleanup_close_ int fd = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return;
    bool whole = log_header_read(fd, &z) && z.compressed;
    for (int i = 1, missing = 0; whole && i < LOG_MAX_FILES && missing < 2; i++) {
        _cleanup_close_ int other = open_numbered(path, i, &h);
        missing = other < 0 ? missing + 1 : 0;
        if (other < 0 || h.sequence != z.sequence)
            continue;
        _cleanup_free_ char *to = log_file_name(path, i);
        if (!h.compressed && rename(from, to) == 0)
            return;
        break;
    }
    unlink(from);
}

/* A file that nobody else sees, and that is gone with its descriptor. */
static int open_nameless(const char *path)
{
    _cleanup_free_ char *dir = mem_strdup(path), *name = str_printf("%s.plain.XXXXXX", path);
    char *slash = strrchr(dir, '/');
    if (slash)
        *slash = '\0';
    int fd = open(slash ? dir : ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || errno != EOPNOTSUPP)
        return fd;
    fd = mkostemp(name, O_CLOEXEC);
    if (fd >= 0)
        unlink(name);
    return fd;
}

/* Not more than the header says: a broken file must not fill the disk. */
static int inflate_into(int in, int out, int64_t bytes, struct err *err)
{
    _cleanup_free_ char *buffer = mem_new(CHUNK);
    /* The position belongs to the open file, which is ours alone. */
    int mine = fcntl(in, F_DUPFD_CLOEXEC, 3);
    if (mine < 0 || lseek(mine, LOG_COMPRESSED_HEADER_BYTES, SEEK_SET) < 0) {
        close_fd(mine);
        return err_sys(err, errno, "read");
    }
    gzFile z = gzdopen(mine, "rb");
    int n = 0, r = z ? 0 : err_sys(err, errno, "read");
    int64_t done = 0;
    while (r == 0 && (n = gzread(z, buffer, CHUNK)) > 0 && (done += n) <= bytes)
        r = file_write_all(out, buffer, (size_t)n, err);
    if (r == 0 && (n < 0 || done != bytes))
        r = err_set(err, ERR_CORRUPT, "the compressed file is damaged");
    if (z)
        gzclose_r(z);
    else
        close_fd(mine);
    return r;
}

int log_uncompress(const char *path, int fd, struct log_header *header, int *ret_fd, struct err *err)
{
    struct log_header plain;
    _cleanup_close_ int out = open_nameless(path);
    if (out < 0)
        return err_sys(err, errno, "make a file to uncompress %s into", path);
    int r = inflate_into(fd, out, header->plain_bytes, err);
    if (r == 0 && (!log_header_read(out, &plain) || plain.compressed || plain.sequence != header->sequence))
        r = err_set(err, ERR_CORRUPT, "what was compressed is no log");
    if (r < 0)
        return err_wrap(err, "read %s", path);
    *header = plain;
    *ret_fd = take_fd(&out);
    return 0;
}
