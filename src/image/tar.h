/* Trees in and out of tar (libarchive), for layers, `docker cp`, build contexts and a volume's first content.
 *
 * Extraction works below an open root directory. The archive's author and the root's owner are attackers:
 * absolute names and "..", symlinks and hard links that lead out, names through symlinks, device nodes, too
 * many entries, too large files and archives are refused by an error that names the entry. Decompression
 * (gzip, zstd, bzip2, xz) is by content. */
#ifndef IMAGE_TAR_H
#define IMAGE_TAR_H

#include "base/err.h"
#include "base/file_mode.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct tar_limits {
    int64_t max_bytes;   /* of all file content, unpacked; 0: 64 GiB */
    int64_t max_entries; /* 0: 4 million */
    double max_ratio;    /* unpacked bytes to read bytes once past 256 MiB; 0: 1000 */
};

/* Ids of a user namespace's container as they are outside: 0 is `uid`, `gid` there. count 0: no such map. An
 * id without a place on the other side becomes 65534, as the kernel shows it. */
struct tar_ids {
    uint32_t uid, gid, count;
};

struct tar_extract {
    int root_fd;      /* directory that is "/" to the archive */
    const char *into; /* path in it to extract into; "/" or NULL: the root itself */
    struct tar_limits limits;
    bool layer; /* OCI layer: whiteouts become overlayfs', device nodes are refused by name, ownership kept */
    bool keep_owner; /* false: everything belongs to uid, gid */
    uid_t uid;
    gid_t gid;
    bool implied_to_root; /* but directories that no entry describes are root's, whoever has the rest */
    bool no_overwrite_dir_with_file; /* docker cp's default */
    bool names_from_root;            /* "/x" and "../x" are x, as a build context may have them */
    struct tar_ids ids;              /* of the root's files; the archive has those of inside */
    void *context;
    int (*progress)(void *context, int64_t bytes_read); /* may be NULL; non-zero cancels */
};
/* Reads from `fd`, or through `read_fn` (bytes, 0 at the end, or negative code) when not NULL. */
typedef ssize_t (*tar_read_fn)(void *context, void *buffer, size_t n, struct err *err);
/* Refuses an uncompressed archive that was cut within the two zero blocks at its end, which readers otherwise
 * take for whole; one without any is. The file offset stays. */
int tar_check_end(int fd, struct err *err);
int tar_extract_fd(const struct tar_extract *x, int fd, struct err *err);
int tar_extract_stream(const struct tar_extract *x, tar_read_fn read_fn, void *read_context, struct err *err);

/* Reads an archive without unpacking it: `entry` is called for each, in order, and may read the file's
 * content through `read` (what it leaves is skipped). Names are clean and relative; "" is the root. Holes of
 * a sparse file are left out of the content, so that a size somebody only claims costs nothing. */
struct tar_entry {
    const char *path;
    const char *link; /* of a hard or symbolic link; of a hard link clean and relative */
    mode_t mode;      /* with the type; 0 type bits of a hard link are S_IFREG */
    bool hard;
    uint32_t uid, gid;
    int64_t size;      /* as the header claims */
    bool capabilities; /* has security.capability */
};
struct tar_walk {
    struct tar_limits limits;
    void *context;
    int (*entry)(void *context, const struct tar_entry *entry, tar_read_fn read, void *read_context,
                 struct err *err);
};
int tar_walk_stream(const struct tar_walk *walk, tar_read_fn read_fn, void *read_context, struct err *err);

typedef int (*tar_write_fn)(void *context, const void *bytes, size_t n, struct err *err);
struct tar_create {
    int root_fd;
    const char *path; /* file or directory in the root, resolved inside it */
    const char *name; /* what it is called in the archive; NULL: "" (the content of a directory) */
    bool (*exclude)(void *context, const char *relative, bool is_dir); /* may be NULL */
    void *exclude_context;
    int64_t epoch; /* <0: times as they are */
    struct tar_ids ids;
};
int tar_create_stream(const struct tar_create *c, tar_write_fn write_fn, void *write_context,
                      struct err *err);

/* Copies a tree's content with owners, modes, times, xattrs and hard links from one open root to another, as
 * a new volume takes over an image's directory, or COPY --from. Paths resolved inside their roots. */
struct tree_copy {
    int from_fd;
    const char *from;
    int to_fd;
    const char *to; /* directory or file name; missing parents are made */
    bool contents;  /* `from` is a directory whose content goes into directory `to` */
    bool keep_owner;
    bool root_stays; /* with contents: an empty directory `to` does not become like `from` */
    uid_t uid;
    gid_t gid;
    const struct file_mode *mode;                                      /* NULL: as they are */
    bool (*exclude)(void *context, const char *relative, bool is_dir); /* may be NULL */
    void *exclude_context;
    /* Files become second names of the source's where that makes no difference and both are on one file
     * system: for a source that nobody writes to and that goes soon. Not more than 100,000, since whoever
     * packs the tree remembers each. */
    bool link;
    const char *below; /* what `exclude` is told before the path; NULL: nothing */
    /* A directory that is new is left empty where this says so, for another tree_copy() to fill: `from` is
     * its path below the source, `to` the one in the destination's root. May be NULL. */
    bool (*later)(void *context, const char *from, const char *to);
    void *later_context;
};
int tree_copy(const struct tree_copy *c, struct err *err);

#endif
