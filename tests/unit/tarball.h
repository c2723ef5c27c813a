/* Archives made in memory, entry by entry: also those that no honest program would make. */
#ifndef TESTS_TARBALL_H
#define TESTS_TARBALL_H

#include "base/str.h"

#include <archive.h>
#include <archive_entry.h>
#include <sys/stat.h>
#include <sys/types.h>

struct tarball {
    struct archive *archive;
    struct str bytes;
    bool full; /* takes no more: an entry may stay without its content */
};

static inline la_ssize_t tarball_push(struct archive *a, void *context, const void *bytes, size_t n)
{
    struct tarball *t = context;
    if (t->full)
        return -1;
    str_addn(&t->bytes, bytes, n);
    return (la_ssize_t)n;
}

/* `filter`: 0, ARCHIVE_FILTER_GZIP or ARCHIVE_FILTER_ZSTD. */
static inline struct tarball *tarball_new(int filter)
{
    struct tarball *t = NEW(struct tarball);
    t->archive = archive_write_new();
    if (filter)
        archive_write_add_filter(t->archive, filter);
    archive_write_set_format_pax_restricted(t->archive);
    archive_write_set_bytes_per_block(t->archive, 0);
    must(archive_write_open(t->archive, t, NULL, tarball_push, NULL) == ARCHIVE_OK);
    return t;
}

static inline void tarball_add(struct tarball *t, const char *name, mode_t mode, const char *content,
                               const char *symlink, const char *hardlink)
{
    struct archive_entry *e = archive_entry_new();
    archive_entry_set_pathname(e, name);
    archive_entry_set_mode(e, mode);
    archive_entry_set_mtime(e, 1000000000, 0);
    archive_entry_set_size(e, content ? (la_int64_t)strlen(content) : 0);
    if (symlink)
        archive_entry_set_symlink(e, symlink);
    if (hardlink)
        archive_entry_set_hardlink(e, hardlink);
    must(archive_write_header(t->archive, e) >= ARCHIVE_WARN);
    if (content)
        archive_write_data(t->archive, content, strlen(content));
    archive_entry_free(e);
}

static inline void tarball_file(struct tarball *t, const char *name, const char *content)
{
    tarball_add(t, name, S_IFREG | 0644, content, NULL, NULL);
}
static inline void tarball_dir(struct tarball *t, const char *name, mode_t mode)
{
    tarball_add(t, name, S_IFDIR | mode, NULL, NULL, NULL);
}
static inline void tarball_symlink(struct tarball *t, const char *name, const char *target)
{
    tarball_add(t, name, S_IFLNK | 0777, NULL, target, NULL);
}
static inline void tarball_hardlink(struct tarball *t, const char *name, const char *target)
{
    tarball_add(t, name, S_IFREG | 0644, NULL, NULL, target);
}

/* Ends the archive and gives its bytes; frees `t`. */
static inline struct str tarball_end(struct tarball *t)
{
    must(archive_write_close(t->archive) == ARCHIVE_OK || t->full);
    archive_write_free(t->archive);
    struct str bytes = t->bytes;
    free(t);
    return bytes;
}

/* A tar_read_fn over bytes in memory. */
struct tarball_reader {
    const struct str *bytes;
    size_t at;
};
static inline ssize_t tarball_read(void *context, void *buffer, size_t n, struct err *err)
{
    struct tarball_reader *r = context;
    n = MIN(n, r->bytes->len - r->at);
    memcpy(buffer, str_get(r->bytes) + r->at, n);
    r->at += n;
    return (ssize_t)n;
}

#endif
