/* Shared by the tar files and the layer code. */
#ifndef IMAGE_TAR_PRIV_H
#define IMAGE_TAR_PRIV_H

#include "base/map.h"
#include "base/str.h"
#include "image/tar.h"

#include <locale.h>
#include <sys/stat.h>

struct archive;
struct archive_entry;

/* A stream of plain bytes from one that may be compressed (gzip, zstd, bzip2, xz; found by content). */
struct tar_source;
int tar__source_new(int fd, tar_read_fn read_fn, void *read_context, const struct tar_limits *limits,
                    struct tar_source **ret, struct err *err);
ssize_t tar__source_read(void *source, void *buffer, size_t n, struct err *err); /* a tar_read_fn */
int64_t tar__source_consumed(const struct tar_source *s);                        /* of the original bytes */
void tar__source_free(struct tar_source *s);
static inline void tar__source_free_p(struct tar_source **s)
{
    tar__source_free(*s);
}

/* What a layer leaves to be settled when the layers under it are known. Paths are relative and clean. */
struct tar_notes {
    struct map implied; /* directories no entry described: they look like the lower layers' */
    char **links;       /* pairs: new name, target not in this layer */
    int64_t bytes;      /* of file content */
};
void tar__notes_done(struct tar_notes *n);

/* `read_fn` gives the plain tar. `notes` for layers, else NULL. */
int tar__extract(const struct tar_extract *x, tar_read_fn read_fn, void *read_context,
                 struct tar_notes *notes, struct err *err);
/* Entries of an outer archive, with the same names accepted. */
int tar__open(struct archive *a, tar_read_fn read_fn, void *read_context, struct err *err);
/* The clean relative form of an entry's name ("" for the root). ERR_INVALID names the entry. */
int tar__clean_name(const char *name, const char *what, bool strip_leading, struct str *ret, struct err *err);
/* The name as a process reads it whose root the archive is unpacked into: "/a/../../b" is "b". The caller
 * frees. */
char *tar__inside_root(const char *name);
/* libarchive converts names to the thread's character set: ours is UTF-8, whatever the environment's. */
locale_t tar__use_utf8(void);
void tar__restore_locale(locale_t old);
int tar__archive_err(struct archive *a, struct err *err);
/* For a message: no control characters. */
char *tar__printable(const char *name);

/* Extended attributes that travel: file capabilities and users' own. trusted.* would let an archive speak to
 * overlayfs, other security.* to the host's security modules. */
/* struct tar_ids, one id: from the file to the archive, and back. */
enum { TAR_NOBODY = 65534 };
static inline uint32_t tar__id_inside(uint32_t id, uint32_t first, uint32_t count)
{
    return !count ? id : id >= first && id - first < count ? id - first : TAR_NOBODY;
}
static inline uint32_t tar__id_outside(uint32_t id, uint32_t first, uint32_t count)
{
    return !count ? id : first + (id < count ? id : MIN((uint32_t)TAR_NOBODY, count - 1));
}
bool tar__xattr_travels(const char *name);
bool tar__is_whiteout(const struct stat *st); /* overlayfs' character device 0:0 */
int tar__openat2(int dir_fd, const char *path, int flags, unsigned long long resolve);

/* For a tree that is an overlayfs upper directory, written as a layer: whiteouts and opaque directories turn
 * into the names that stand for them in OCI layers. An opaque mark above nothing is left out: overlayfs sets
 * it on every new directory. */
struct tar_upper {
    bool (*lower_has)(void *context, const char *relative);
    void *context;
    int64_t *bytes; /* gets the bytes of files added */
};
/* As tar_create_stream(); `upper` may be NULL. */
int tar__create(const struct tar_create *c, const struct tar_upper *upper, tar_write_fn write_fn,
                void *write_context, struct err *err);
/* Sorted names of a directory, without "." and "..". */
int tar__list_dir(int dir_fd, char ***ret, struct err *err);
/* Copies owner, mode, times and travelling xattrs between two open files or directories. */
int tar__copy_attributes(int from_fd, int to_fd, const struct stat *st, struct err *err);
int tar__copy_data(int from_fd, int to_fd, int64_t size, struct err *err);

#endif
