/* Decompression of a stream, and what all archive readers share. */
#include "base/deferred.h"
#include "base/err.h"
#include "base/file.h"
#include "image/tar_priv.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { CHUNK = 256 * 1024, NAME_BYTES_MAX = 4095, COMPONENT_MAX = 255, DEPTH_MAX = 256 };
static const int64_t RATIO_FROM_BYTES = INT64_C(256) << 20;
static const int64_t DEFAULT_MAX_BYTES = INT64_C(64) << 30;

struct tar_source {
    struct archive *archive;
    int fd;
    tar_read_fn read_fn;
    void *read_context;
    struct err err; /* of read_fn, carried past libarchive */
    int64_t consumed, produced, max_bytes;
    double max_ratio;
    bool empty; /* not a byte: libarchive has no data to ask for */
    char buffer[CHUNK];
};

static la_ssize_t pull(struct archive *a, void *context, const void **ret)
{
    struct tar_source *s = context;
    ssize_t n;
    if (s->read_fn) {
        n = s->read_fn(s->read_context, s->buffer, CHUNK, &s->err);
    } else {
        do
            n = read(s->fd, s->buffer, CHUNK);
        while (n < 0 && errno == EINTR);
        if (n < 0)
            err_sys(&s->err, errno, "read archive");
    }
    if (n < 0) {
        archive_set_error(a, EIO, "read error");
        return ARCHIVE_FATAL;
    }
    s->consumed += n;
    *ret = s->buffer;
    return n;
}

int tar__archive_err(struct archive *a, struct err *err)
{
    if (archive_errno(a) == ENOMEM)
        return err_set(err, ERR_NO_MEMORY, "read archive: out of memory");
    const char *text = archive_error_string(a);
    return err_set(err, ERR_INVALID, "the archive is damaged or of no supported kind: %s",
                   text ? text : "unknown form");
}

static int source_err(struct tar_source *s, struct err *err)
{
    return s->err.code ? err_copy(err, &s->err) : tar__archive_err(s->archive, err);
}

int tar__source_new(int fd, tar_read_fn read_fn, void *read_context, const struct tar_limits *limits,
                    struct tar_source **ret, struct err *err)
{
    struct tar_source *s = NEW(struct tar_source);
    s->fd = fd;
    s->read_fn = read_fn;
    s->read_context = read_context;
    /* Headers and padding come on top of the content that the limit counts: twice is plenty. */
    s->max_bytes =
        (INT64_C(64) << 20) + 2 * (limits && limits->max_bytes ? limits->max_bytes : DEFAULT_MAX_BYTES);
    s->max_ratio = limits && limits->max_ratio > 0 ? limits->max_ratio : 1000;
    deferred_need(DEFERRED_ARCHIVE);
    s->archive = archive_read_new();
    must(s->archive);
    archive_read_support_filter_gzip(s->archive);
    archive_read_support_filter_zstd(s->archive);
    archive_read_support_filter_bzip2(s->archive);
    archive_read_support_filter_xz(s->archive);
    archive_read_support_format_raw(s->archive);
    archive_read_support_format_empty(s->archive);
    struct archive_entry *entry;
    int r = archive_read_open(s->archive, s, NULL, pull, NULL);
    if (r == ARCHIVE_OK)
        r = archive_read_next_header(s->archive, &entry);
    if (r != ARCHIVE_OK && r != ARCHIVE_WARN && r != ARCHIVE_EOF) {
        r = source_err(s, err);
        tar__source_free(s);
        return r;
    }
    s->empty = r == ARCHIVE_EOF;
    *ret = s;
    return 0;
}

ssize_t tar__source_read(void *source, void *buffer, size_t n, struct err *err)
{
    struct tar_source *s = source;
    la_ssize_t got = s->empty ? 0 : archive_read_data(s->archive, buffer, n);
    if (got < 0)
        return source_err(s, err);
    s->produced += got;
    if (s->produced > s->max_bytes)
        return err_set(err, ERR_LIMIT, "the archive unpacks to more than %lld bytes",
                       (long long)s->max_bytes);
    if (s->produced > RATIO_FROM_BYTES && (double)s->produced > s->max_ratio * (double)s->consumed)
        return err_set(err, ERR_LIMIT,
                       "the archive unpacks to more than %.0f times its size: refused as a bomb",
                       s->max_ratio);
    return got;
}

int64_t tar__source_consumed(const struct tar_source *s)
{
    return s->consumed;
}

void tar__source_free(struct tar_source *s)
{
    if (!s)
        return;
    archive_read_free(s->archive);
    free(s);
}

static pthread_once_t locale_once = PTHREAD_ONCE_INIT;
static locale_t utf8;

static void make_locale(void)
{
    utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
}

locale_t tar__use_utf8(void)
{
    pthread_once(&locale_once, make_locale);
    return utf8 ? uselocale(utf8) : (locale_t)0;
}

void tar__restore_locale(locale_t old)
{
    if (old)
        uselocale(old);
}

char *tar__printable(const char *name)
{
    char *text = mem_strndup(name, strnlen(name, 200));
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    return text;
}

static int refuse_name(const char *name, const char *what, const char *why, struct err *err)
{
    _cleanup_free_ char *text = tar__printable(name);
    return err_set(err, ERR_INVALID, "%s \"%s\" %s: refused", what, text, why);
}

int tar__clean_name(const char *name, const char *what, bool strip_leading, struct str *ret, struct err *err)
{
    if (!name || !*name)
        return err_set(err, ERR_INVALID, "%s without a name: refused", what);
    if (*name == '/' && !strip_leading)
        return refuse_name(name, what, "has an absolute path", err);
    if (strlen(name) > NAME_BYTES_MAX)
        return refuse_name(name, what, "has a name of more than 4095 bytes", err);
    str_clear(ret);
    int depth = 0;
    for (const char *at = name, *end; *at; at = *end ? end + 1 : end) {
        end = strchrnul(at, '/');
        size_t n = (size_t)(end - at);
        if (n == 0 || (n == 1 && *at == '.'))
            continue;
        if (n == 2 && at[0] == '.' && at[1] == '.')
            return refuse_name(name, what, "leads out by \"..\"", err);
        if (n > COMPONENT_MAX)
            return refuse_name(name, what, "has a part of more than 255 bytes", err);
        if (++depth > DEPTH_MAX)
            return refuse_name(name, what, "is nested more than 256 levels deep", err);
        if (ret->len)
            str_addc(ret, '/');
        str_addn(ret, at, n);
    }
    return 0;
}

char *tar__inside_root(const char *name)
{
    _cleanup_strv_ char **parts = strv_split(name, '/'), **kept = NULL;
    STRV_FOREACH (part, parts) {
        size_t n = strv_len(kept);
        if (str_eq(*part, "..") && n)
            free(take_ptr(kept[n - 1]));
        else if (!str_eq(*part, "..") && !str_eq(*part, ".") && **part)
            strv_add(&kept, *part);
    }
    return strv_len(kept) ? strv_join(kept, "/") : mem_strdup(".");
}

bool tar__xattr_travels(const char *name)
{
    return str_eq(name, "security.capability") ||
           (str_after(name, "user.") && !str_after(name, "user.overlay."));
}

bool tar__is_whiteout(const struct stat *st)
{
    return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

int tar__openat2(int dir_fd, const char *path, int flags, unsigned long long resolve)
{
    struct open_how how = {.flags = (unsigned)flags | O_CLOEXEC, .resolve = resolve | RESOLVE_NO_MAGICLINKS};
    for (int tries = 0;; tries++) {
        long fd = syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR) || tries > 128)
            return (int)fd;
    }
}
