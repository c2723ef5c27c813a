/* Looking through an archive. Its author is an attacker; nothing is written anywhere. */
#include "base/deferred.h"
#include "base/err.h"
#include "image/tar_priv.h"

#include <archive.h>
#include <archive_entry.h>

enum { CHUNK = 64 * 1024 };
static const int64_t DEFAULT_MAX_ENTRIES = 4000000;

struct walking {
    const struct tar_walk *walk;
    struct tar_source *source;
    struct err err; /* of the source, carried past libarchive */
    struct archive *archive;
    const char *piece; /* of content that libarchive gave and nobody has taken yet */
    size_t piece_bytes;
    int64_t entries;
    char buffer[CHUNK];
};

static la_ssize_t pull(struct archive *a, void *context, const void **ret)
{
    struct walking *w = context;
    ssize_t n = tar__source_read(w->source, w->buffer, CHUNK, &w->err);
    *ret = w->buffer;
    if (n >= 0)
        return n;
    archive_set_error(a, EIO, "read error");
    return ARCHIVE_FATAL;
}

static int failure(struct walking *w, struct err *err)
{
    return w->err.code ? err_copy(err, &w->err) : tar__archive_err(w->archive, err);
}

static ssize_t read_content(void *context, void *buffer, size_t n, struct err *err)
{
    struct walking *w = context;
    while (!w->piece_bytes) {
        la_int64_t offset;
        const void *piece;
        int r = archive_read_data_block(w->archive, &piece, &w->piece_bytes, &offset);
        w->piece = piece;
        if (r == ARCHIVE_EOF)
            w->piece_bytes = 0;
        if (r == ARCHIVE_EOF)
            return 0;
        if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
            return failure(w, err);
    }
    n = MIN(n, w->piece_bytes);
    memcpy(buffer, w->piece, n);
    w->piece += n;
    w->piece_bytes -= n;
    return (ssize_t)n;
}

static bool has_capabilities(struct archive_entry *entry)
{
    const char *name;
    const void *value;
    size_t n;
    archive_entry_xattr_reset(entry);
    while (archive_entry_xattr_next(entry, &name, &value, &n) == ARCHIVE_OK)
        if (str_eq(name, "security.capability"))
            return true;
    return false;
}

static int one(struct walking *w, struct archive_entry *entry, struct err *err)
{
    const char *name = archive_entry_pathname(entry), *hard = archive_entry_hardlink(entry);
    if (!name)
        return err_set(err, ERR_INVALID, "an entry of the archive has a name that is not UTF-8: refused");
    _cleanup_str_ struct str path = STR_INIT, target = STR_INIT;
    int r = tar__clean_name(name, "entry", false, &path, err);
    if (r == 0 && hard)
        r = tar__clean_name(hard, "hard link target", true, &target, err);
    if (r < 0)
        return r;
    const struct tar_entry e = {.path = str_get(&path),
                                .link = hard ? str_get(&target) : archive_entry_symlink(entry),
                                .hard = hard != NULL,
                                .mode = (hard ? S_IFREG : archive_entry_filetype(entry)) |
                                        (archive_entry_perm(entry) & 07777),
                                .uid = (uint32_t)archive_entry_uid(entry),
                                .gid = (uint32_t)archive_entry_gid(entry),
                                .size = hard ? 0 : MAX(archive_entry_size(entry), 0),
                                .capabilities = has_capabilities(entry)};
    w->piece_bytes = 0;
    return w->walk->entry(w->walk->context, &e, read_content, w, err);
}

static int all(struct walking *w, struct err *err)
{
    int64_t max = w->walk->limits.max_entries ? w->walk->limits.max_entries : DEFAULT_MAX_ENTRIES;
    if (archive_read_open(w->archive, w, NULL, pull, NULL) != ARCHIVE_OK)
        return failure(w, err);
    struct archive_entry *entry;
    for (int got; (got = archive_read_next_header(w->archive, &entry)) != ARCHIVE_EOF;) {
        if (got != ARCHIVE_OK && got != ARCHIVE_WARN)
            return failure(w, err);
        if (++w->entries > max)
            return err_set(err, ERR_LIMIT, "the archive has more than %lld entries: refused", (long long)max);
        int r = one(w, entry, err);
        if (r < 0)
            return w->err.code ? err_copy(err, &w->err) : r;
    }
    return 0;
}

int tar_walk_stream(const struct tar_walk *walk, tar_read_fn read_fn, void *read_context, struct err *err)
{
    struct walking *w = NEW(struct walking);
    w->walk = walk;
    int r = tar__source_new(-EBADF, read_fn, read_context, &walk->limits, &w->source, err);
    if (r == 0) {
        locale_t old = tar__use_utf8();
        deferred_need(DEFERRED_ARCHIVE);
        w->archive = archive_read_new();
        must(w->archive);
        archive_read_support_format_tar(w->archive);
        archive_read_support_format_empty(w->archive);
        r = all(w, err);
        archive_read_free(w->archive);
        tar__restore_locale(old);
    }
    tar__source_free(w->source);
    free(w);
    return r;
}
