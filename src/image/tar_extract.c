/* Extraction below a root. The attacker writes the archive; for `docker cp` and volumes he also owns the
 * root and may change it while we write. So a name is never handed to the kernel whole: the directory is
 * opened with openat2, which cannot leave the root, and the last part is made in it with calls that do not
 * follow symlinks. */
#include "base/deferred.h"
#include "base/err.h"
#include "base/file.h"
#include "image/tar_priv.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { BLOCK = 512, CHUNK = 256 * 1024 };
static const int64_t DEFAULT_MAX_BYTES = INT64_C(64) << 30, DEFAULT_MAX_ENTRIES = 4000000;
static const int64_t RATIO_FROM_BYTES = INT64_C(256) << 20;

struct dir_time {
    char *path;
    struct timespec mtime;
};

struct feed;

struct extraction {
    const struct tar_extract *x;
    struct tar_notes *notes;
    int root;
    unsigned long long resolve;
    /* The directory of the last entry: its neighbours mostly come next. */
    char *parent_path;
    int parent;
    struct dir_time *times;
    size_t time_count, time_capacity;
    int64_t entries, bytes, read_bytes;
    /* the entry at hand */
    const char *shown; /* its name for messages */
    struct feed *feed;
    struct archive_entry *entry;
};

/* Carries read_fn's bytes and errors through libarchive. */
struct feed {
    tar_read_fn read_fn;
    void *context;
    int64_t *count;
    bool padded;
    struct err err;
    char buffer[CHUNK];
};

static la_ssize_t feed_read(struct archive *a, void *context, const void **ret)
{
    struct feed *f = context;
    ssize_t n = f->read_fn(f->context, f->buffer, CHUNK, &f->err);
    if (n < 0) {
        archive_set_error(a, EIO, "read error");
        return ARCHIVE_FATAL;
    }
    *ret = f->buffer;
    /* The docker CLI ends a context behind the last file's last byte, without what should fill its block:
     * that is given here, and extract_all() looks whether it was no more than that. */
    if (n == 0 && *f->count % BLOCK && !f->padded) {
        f->padded = true;
        memset(f->buffer, 0, BLOCK);
        return BLOCK - *f->count % BLOCK;
    }
    *f->count += n;
    return n;
}

static int read_failure(struct archive *a, const struct feed *f, struct err *err)
{
    return f->err.code ? err_copy(err, &f->err) : tar__archive_err(a, err);
}

static int refuse(const struct extraction *e, enum err_code code, const char *why, struct err *err)
{
    _cleanup_free_ char *text = tar__printable(e->shown);
    return err_set(err, code, "entry \"%s\" %s: refused", text, why);
}

static int fail(const struct extraction *e, int sys, const char *what, struct err *err)
{
    _cleanup_free_ char *text = tar__printable(e->shown);
    if (sys == EXDEV || sys == ELOOP)
        return refuse(e, ERR_INVALID, "would be written through a symbolic link that leads out", err);
    if (sys == ENOTDIR)
        return refuse(e, ERR_INVALID, "lies below something that is not a directory", err);
    return err_sys(err, sys, "entry \"%s\": %s", text, what);
}

static void forget_parent(struct extraction *e)
{
    e->parent = close_fd(e->parent);
    free(take_ptr(e->parent_path));
}

static int set_opaque(int dir_fd, const char *name)
{
    _cleanup_close_ int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -1 : fsetxattr(fd, file_overlay_opaque(), "y", 1, 0);
}

/* Makes one directory that no entry described (yet). A whiteout of that name, made before, becomes
 * opaqueness: the layer deleted what was there and has something new. */
static int make_implied(struct extraction *e, int dir_fd, const char *name, const char *path, struct err *err)
{
    if (mkdirat(dir_fd, name, 0755) == 0) {
        if (e->notes)
            map_put(&e->notes->implied, path, e);
        const struct tar_ids *ids = &e->x->ids;
        bool roots = e->x->keep_owner || e->x->implied_to_root;
        uid_t uid = tar__id_outside(roots ? 0 : e->x->uid, ids->uid, ids->count);
        gid_t gid = tar__id_outside(roots ? 0 : e->x->gid, ids->gid, ids->count);
        if (!e->x->layer && fchownat(dir_fd, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
            return fail(e, errno, "set owner of its directory", err);
        return 0;
    }
    struct stat st;
    if (errno != EEXIST || fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return fail(e, errno, "create its directory", err);
    if (!e->x->layer || !tar__is_whiteout(&st))
        return S_ISLNK(st.st_mode)
                   ? refuse(e, ERR_INVALID, "lies below a symbolic link that leads nowhere", err)
                   : 0;
    if (unlinkat(dir_fd, name, 0) < 0 || mkdirat(dir_fd, name, 0755) < 0 || set_opaque(dir_fd, name) < 0)
        return fail(e, errno, "create its directory", err);
    return 0;
}

/* A descriptor of directory `path`; makes what is missing when `create`. */
static int open_dir(struct extraction *e, const char *path, bool create, struct err *err)
{
    int fd = tar__openat2(e->root, *path ? path : ".", O_PATH | O_DIRECTORY, e->resolve);
    if (fd >= 0)
        return fd;
    bool layer_whiteout = errno == ENOTDIR && e->x->layer;
    if (!create && errno == ENOENT)
        return -ERR_NOT_FOUND;
    if (!create || (errno != ENOENT && !layer_whiteout))
        return fail(e, errno, "open its directory", err);
    _cleanup_str_ struct str so_far = STR_INIT;
    _cleanup_strv_ char **parts = strv_split(path, '/');
    _cleanup_close_ int at = tar__openat2(e->root, ".", O_PATH | O_DIRECTORY, e->resolve);
    STRV_FOREACH (part, parts) {
        str_addf(&so_far, "%s%s", so_far.len ? "/" : "", *part);
        int next = tar__openat2(e->root, str_get(&so_far), O_PATH | O_DIRECTORY, e->resolve);
        if (next < 0 && (errno == ENOENT || errno == ENOTDIR)) {
            int r = make_implied(e, at, *part, str_get(&so_far), err);
            if (r < 0)
                return r;
            next = tar__openat2(e->root, str_get(&so_far), O_PATH | O_DIRECTORY, e->resolve);
        }
        if (next < 0)
            return fail(e, errno, "open its directory", err);
        close_fd(at);
        at = next;
    }
    return take_fd(&at);
}

/* The directory of `path`, remembered in `e`; *ret_name is its last part. */
static int enter_parent(struct extraction *e, const char *path, const char **ret_name, struct err *err)
{
    const char *slash = strrchr(path, '/');
    *ret_name = slash ? slash + 1 : path;
    size_t n = slash ? (size_t)(slash - path) : 0;
    if (e->parent >= 0 && strlen(e->parent_path) == n && strncmp(e->parent_path, path, n) == 0)
        return 0;
    forget_parent(e);
    char *dir = mem_strndup(path, n);
    int fd = open_dir(e, dir, true, err);
    if (fd < 0) {
        free(dir);
        return fd;
    }
    e->parent = fd;
    e->parent_path = dir;
    return 0;
}

enum way { WAY_FREE, WAY_KEEP_DIR, WAY_WAS_WHITEOUT };

static void drop_links_below(struct extraction *e, const char *path)
{
    if (!e->notes || !e->notes->links)
        return;
    char **kept = NULL;
    for (char **l = e->notes->links; *l; l += 2) {
        const char *rest = str_after(l[0], path);
        if (rest && *rest == '/')
            continue;
        strv_add(&kept, l[0]);
        strv_add(&kept, l[1]);
    }
    strv_free(e->notes->links);
    e->notes->links = kept;
}

/* Something has the entry's name already: a directory stays for a directory, all else makes way. */
static int clear_way(struct extraction *e, const char *path, const char *name, bool is_dir, struct err *err)
{
    struct stat st;
    if (fstatat(e->parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? WAY_FREE : fail(e, errno, "look at what is there", err);
    if (S_ISDIR(st.st_mode) && is_dir)
        return WAY_KEEP_DIR;
    bool whiteout = e->x->layer && tar__is_whiteout(&st);
    if (e->x->no_overwrite_dir_with_file && (S_ISDIR(st.st_mode) || is_dir)) {
        _cleanup_free_ char *text = tar__printable(e->shown);
        return err_set(err, ERR_INVALID, "cannot overwrite %s \"%s\" with %s",
                       is_dir ? "non-directory" : "directory", text,
                       is_dir ? "a directory" : "a non-directory");
    }
    if (S_ISDIR(st.st_mode)) {
        drop_links_below(e, path);
        return file_remove_tree_at(e->parent, name, err);
    }
    if (unlinkat(e->parent, name, 0) < 0 && errno != ENOENT)
        return fail(e, errno, "replace what is there", err);
    return whiteout ? WAY_WAS_WHITEOUT : WAY_FREE;
}

static uid_t owner_of(const struct extraction *e)
{
    uid_t uid = e->x->keep_owner || e->x->layer ? (uid_t)archive_entry_uid(e->entry) : e->x->uid;
    return tar__id_outside(uid, e->x->ids.uid, e->x->ids.count);
}

static gid_t group_of(const struct extraction *e)
{
    gid_t gid = e->x->keep_owner || e->x->layer ? (gid_t)archive_entry_gid(e->entry) : e->x->gid;
    return tar__id_outside(gid, e->x->ids.gid, e->x->ids.count);
}

static void times_of(const struct extraction *e, struct timespec ret[2])
{
    struct timespec t = {.tv_nsec = UTIME_NOW};
    if (archive_entry_mtime_is_set(e->entry))
        t = (struct timespec){.tv_sec = archive_entry_mtime(e->entry),
                              .tv_nsec = archive_entry_mtime_nsec(e->entry)};
    ret[0] = ret[1] = t;
}

static int set_xattrs(struct extraction *e, int fd, struct err *err)
{
    const char *name;
    const void *value;
    size_t size;
    archive_entry_xattr_reset(e->entry);
    while (archive_entry_xattr_next(e->entry, &name, &value, &size) == ARCHIVE_OK) {
        if (!name || !tar__xattr_travels(name) || fsetxattr(fd, name, value, size, 0) == 0)
            continue;
        /* tmpfs and others have no user.* attributes; programs cope. A lost capability would show later. */
        if (errno != EOPNOTSUPP || !str_after(name, "user."))
            return fail(e, errno, "set an extended attribute", err);
    }
    return 0;
}

/* Owner before mode: chown clears the set-uid bit and capabilities. */
static int set_attributes(struct extraction *e, int fd, bool times, struct err *err)
{
    if (fchown(fd, owner_of(e), group_of(e)) < 0)
        return fail(e, errno, "set owner", err);
    if (fchmod(fd, archive_entry_perm(e->entry)) < 0)
        return fail(e, errno, "set mode", err);
    int r = set_xattrs(e, fd, err);
    struct timespec t[2];
    times_of(e, t);
    if (r == 0 && times && futimens(fd, t) < 0)
        return fail(e, errno, "set time", err);
    return r;
}

static int set_attributes_at(struct extraction *e, const char *name, bool mode, struct err *err)
{
    struct timespec t[2];
    times_of(e, t);
    if (fchownat(e->parent, name, owner_of(e), group_of(e), AT_SYMLINK_NOFOLLOW) < 0)
        return fail(e, errno, "set owner", err);
    if (mode && fchmodat(e->parent, name, archive_entry_perm(e->entry), 0) < 0)
        return fail(e, errno, "set mode", err);
    if (utimensat(e->parent, name, t, AT_SYMLINK_NOFOLLOW) < 0)
        return fail(e, errno, "set time", err);
    return 0;
}

static void note_time(struct extraction *e, const char *path)
{
    struct timespec t[2];
    times_of(e, t);
    GROW(e->times, e->time_count, e->time_capacity);
    e->times[e->time_count++] = (struct dir_time){.path = mem_strdup(path), .mtime = t[0]};
}

static int extract_root(struct extraction *e, struct err *err)
{
    if (archive_entry_filetype(e->entry) != AE_IFDIR)
        return refuse(e, ERR_INVALID, "would replace the root directory", err);
    /* "./" in an archive for an existing place tells nothing of that place. */
    if (!e->x->layer)
        return 0;
    map_remove(&e->notes->implied, "");
    note_time(e, "");
    return set_attributes(e, e->root, false, err);
}

static int extract_dir(struct extraction *e, const char *path, const char *name, struct err *err)
{
    bool opaque = false, kept = false;
    if (mkdirat(e->parent, name, 0700) < 0) {
        int way = errno == EEXIST ? clear_way(e, path, name, true, err) : fail(e, errno, "create", err);
        if (way < 0)
            return way;
        kept = way == WAY_KEEP_DIR;
        opaque = way == WAY_WAS_WHITEOUT;
        if (!kept && mkdirat(e->parent, name, 0700) < 0)
            return fail(e, errno, "create", err);
    }
    _cleanup_close_ int fd = openat(e->parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return fail(e, errno, "open", err);
    if (opaque && fsetxattr(fd, file_overlay_opaque(), "y", 1, 0) < 0)
        return fail(e, errno, "mark as opaque", err);
    if (e->notes)
        map_remove(&e->notes->implied, path);
    note_time(e, path);
    return set_attributes(e, fd, false, err);
}

static int too_big(struct extraction *e, struct err *err)
{
    int64_t max = e->x->limits.max_bytes ? e->x->limits.max_bytes : DEFAULT_MAX_BYTES;
    if (e->bytes <= max)
        return 0;
    _cleanup_free_ char *text = tar__printable(e->shown);
    return err_set(err, ERR_LIMIT, "entry \"%s\": the archive unpacks to more than %lld bytes: refused", text,
                   (long long)max);
}

/* Of sparse files, once they are read: before, a large file is no more than its first bytes. What is packed
 * has its bound where it is unpacked. */
static int too_sparse(struct extraction *e, struct err *err)
{
    double ratio = e->x->limits.max_ratio > 0 ? e->x->limits.max_ratio : 1000;
    if (e->bytes <= RATIO_FROM_BYTES || (double)e->bytes <= ratio * (double)e->read_bytes)
        return 0;
    _cleanup_free_ char *text = tar__printable(e->shown);
    return err_set(err, ERR_LIMIT,
                   "entry \"%s\": the archive unpacks to more than %.0f times its size: refused as a bomb",
                   text, ratio);
}

static int write_at(int fd, const char *bytes, size_t n, int64_t offset)
{
    while (n) {
        ssize_t done = pwrite(fd, bytes, n, offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return -1;
        bytes += done;
        n -= (size_t)done;
        offset += done;
    }
    return 0;
}

static int write_content(struct extraction *e, struct archive *a, int fd, struct err *err)
{
    const void *bytes;
    size_t n;
    la_int64_t offset = 0;
    int64_t end = 0, begun = 0;
    int r;
    while ((r = archive_read_data_block(a, &bytes, &n, &offset)) == ARCHIVE_OK) {
        if (offset < 0 || offset + (int64_t)n > archive_entry_size(e->entry))
            return refuse(e, ERR_INVALID, "has more content than its header says", err);
        if (write_at(fd, bytes, n, offset) < 0)
            return fail(e, errno, "write", err);
        end = MAX(end, offset + (int64_t)n);
        if (e->x->layer) /* is synced at its end */
            file_write_behind(fd, end, &begun);
    }
    if (r != ARCHIVE_EOF) {
        _cleanup_free_ char *text = tar__printable(e->shown);
        read_failure(a, e->feed, err);
        return err_wrap(err, "entry \"%s\"", text);
    }
    /* A hole at the end of a sparse file. */
    if (end < archive_entry_size(e->entry) && ftruncate(fd, archive_entry_size(e->entry)) < 0)
        return fail(e, errno, "set size", err);
    return 0;
}

static int extract_file(struct extraction *e, struct archive *a, const char *path, const char *name,
                        struct err *err)
{
    int64_t size = archive_entry_size(e->entry);
    if (size < 0)
        return refuse(e, ERR_INVALID, "has a negative size", err);
    /* Saturating: the size is any number the attacker likes. */
    e->bytes = size > INT64_MAX - e->bytes ? INT64_MAX : e->bytes + size;
    int r = too_big(e, err);
    if (r < 0)
        return r;
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    _cleanup_close_ int fd = openat(e->parent, name, flags, 0600);
    if (fd < 0 && errno == EEXIST) {
        r = clear_way(e, path, name, false, err);
        if (r < 0)
            return r;
        fd = openat(e->parent, name, flags, 0600);
    }
    if (fd < 0)
        return fail(e, errno, "create", err);
    r = write_content(e, a, fd, err);
    if (r == 0)
        r = too_sparse(e, err);
    return r < 0 ? r : set_attributes(e, fd, true, err);
}

static int extract_symlink(struct extraction *e, const char *path, const char *name, struct err *err)
{
    const char *target = archive_entry_symlink(e->entry);
    if (!target || !*target)
        return refuse(e, ERR_INVALID, "is a symbolic link to nothing", err);
    if (strlen(target) > 4095)
        return refuse(e, ERR_INVALID, "is a symbolic link to a name of more than 4095 bytes", err);
    if (symlinkat(target, e->parent, name) < 0) {
        int way = errno == EEXIST ? clear_way(e, path, name, false, err) : fail(e, errno, "create", err);
        if (way < 0)
            return way;
        if (symlinkat(target, e->parent, name) < 0)
            return fail(e, errno, "create", err);
    }
    return set_attributes_at(e, name, false, err);
}

static int extract_fifo(struct extraction *e, const char *path, const char *name, struct err *err)
{
    if (mknodat(e->parent, name, S_IFIFO | 0600, 0) < 0) {
        int way = errno == EEXIST ? clear_way(e, path, name, false, err) : fail(e, errno, "create", err);
        if (way < 0)
            return way;
        if (mknodat(e->parent, name, S_IFIFO | 0600, 0) < 0)
            return fail(e, errno, "create", err);
    }
    return set_attributes_at(e, name, true, err);
}

/* The target is in this layer, or (in a layer) to be looked for in the lower ones. Never a way out: its
 * directory is opened like an entry's own. */
static int extract_hardlink(struct extraction *e, const char *path, const char *name, struct err *err)
{
    _cleanup_str_ struct str target = STR_INIT;
    const char *link = archive_entry_hardlink(e->entry);
    _cleanup_free_ char *inside = e->x->names_from_root && link ? tar__inside_root(link) : NULL;
    int r = tar__clean_name(inside ? inside : link, "hard link target", true, &target, err);
    if (r < 0) {
        _cleanup_free_ char *text = tar__printable(e->shown);
        return err_wrap(err, "entry \"%s\"", text);
    }
    if (!target.len || str_eq(str_get(&target), path))
        return refuse(e, ERR_INVALID, "is a hard link to itself or to the root", err);
    const char *slash = strrchr(str_get(&target), '/');
    _cleanup_free_ char *dir = mem_strndup(target.data, slash ? (size_t)(slash - target.data) : 0);
    const char *base = slash ? slash + 1 : target.data;
    _cleanup_close_ int fd = open_dir(e, dir, false, err);
    struct stat st;
    bool found = fd >= 0 && fstatat(fd, base, &st, AT_SYMLINK_NOFOLLOW) == 0 && !tar__is_whiteout(&st);
    if (fd < 0 && fd != -ERR_NOT_FOUND)
        return fd;
    if (found && S_ISDIR(st.st_mode))
        return refuse(e, ERR_INVALID, "is a hard link to a directory", err);
    if (!found && !e->notes) {
        _cleanup_free_ char *text = tar__printable(e->shown), *to = tar__printable(target.data);
        return err_set(err, ERR_INVALID, "entry \"%s\" is a hard link to \"%s\", which is not there: refused",
                       text, to);
    }
    int way = clear_way(e, path, name, false, err);
    if (way < 0)
        return way;
    if (!found) {
        strv_add(&e->notes->links, path);
        strv_add(&e->notes->links, target.data);
        return 0;
    }
    return linkat(fd, base, e->parent, name, 0) < 0 ? fail(e, errno, "link", err) : 0;
}

/* OCI layer.md "Whiteouts": ".wh.NAME" deletes NAME of the lower layers, ".wh..wh..opq" all of a directory.
 * Returns 1 when the entry was one. */
static int extract_whiteout(struct extraction *e, const char *name, struct err *err)
{
    const char *hidden = str_after(name, ".wh.");
    if (!e->x->layer || !hidden)
        return 0;
    if (str_eq(name, ".wh..wh..opq")) {
        char proc[40];
        snprintf(proc, sizeof(proc), "/proc/self/fd/%d", e->parent);
        if (setxattr(proc, file_overlay_opaque(), "y", 1, 0) < 0)
            return fail(e, errno, "mark directory as opaque", err);
        return 1;
    }
    /* Book-keeping of the aufs storage driver, in old images; means nothing to others. */
    if (str_after(name, ".wh..wh."))
        return 1;
    if (!*hidden || str_eq(hidden, ".") || str_eq(hidden, ".."))
        return refuse(e, ERR_INVALID, "is a whiteout of nothing", err);
    if (mknodat(e->parent, hidden, S_IFCHR, 0) == 0)
        return 1;
    struct stat st;
    if (errno != EEXIST || fstatat(e->parent, hidden, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return fail(e, errno, "create whiteout", err);
    /* Deleted and made anew in the same layer, in either order. */
    if (S_ISDIR(st.st_mode) && set_opaque(e->parent, hidden) < 0)
        return fail(e, errno, "mark directory as opaque", err);
    return 1;
}

static int extract_by_type(struct extraction *e, struct archive *a, const char *path, const char *name,
                           struct err *err)
{
    if (archive_entry_hardlink(e->entry))
        return extract_hardlink(e, path, name, err);
    switch (archive_entry_filetype(e->entry)) {
    case AE_IFREG:
        return extract_file(e, a, path, name, err);
    case AE_IFDIR:
        return extract_dir(e, path, name, err);
    case AE_IFLNK:
        return extract_symlink(e, path, name, err);
    case AE_IFIFO:
        return extract_fifo(e, path, name, err);
    case AE_IFCHR:
    case AE_IFBLK:
        return refuse(e, ERR_DENIED, "is a device node", err);
    default:
        return refuse(e, ERR_UNSUPPORTED, "is of an unknown type", err);
    }
}

static int extract_entry(struct extraction *e, struct archive *a, struct err *err)
{
    e->shown = archive_entry_pathname(e->entry);
    if (!e->shown)
        return err_set(err, ERR_INVALID, "an entry of the archive has a name that is not UTF-8: refused");
    _cleanup_str_ struct str path = STR_INIT;
    _cleanup_free_ char *inside = e->x->names_from_root ? tar__inside_root(e->shown) : NULL;
    /* What is no layer has its names below `into`, whichever way they are written: docker takes "/x" for x.
     */
    int r = tar__clean_name(inside ? inside : e->shown, "entry", !e->x->layer, &path, err);
    if (r < 0)
        return r;
    if (archive_entry_uid(e->entry) < 0 || archive_entry_uid(e->entry) >= UINT32_MAX ||
        archive_entry_gid(e->entry) < 0 || archive_entry_gid(e->entry) >= UINT32_MAX)
        return refuse(e, ERR_INVALID, "has an owner beyond 32 bits", err);
    if (!path.len)
        return extract_root(e, err);
    const char *name;
    r = enter_parent(e, str_get(&path), &name, err);
    if (r == 0)
        r = extract_whiteout(e, name, err);
    return r != 0 ? MIN(r, 0) : extract_by_type(e, a, str_get(&path), name, err);
}

/* Last: making entries in a directory changes its time. */
static void set_dir_times(struct extraction *e)
{
    for (size_t i = e->time_count; i-- > 0;) {
        struct dir_time *t = &e->times[i];
        _cleanup_close_ int fd = tar__openat2(e->root, *t->path ? t->path : ".", O_RDONLY | O_DIRECTORY,
                                              e->resolve | RESOLVE_NO_SYMLINKS);
        const struct timespec both[2] = {t->mtime, t->mtime};
        /* Gone meanwhile, replaced by a later entry: nothing to set. */
        if (fd >= 0)
            futimens(fd, both);
    }
}

static int extract_all(struct extraction *e, struct archive *a, struct err *err)
{
    int64_t max = e->x->limits.max_entries ? e->x->limits.max_entries : DEFAULT_MAX_ENTRIES, data_end = 0;
    for (int got; (got = archive_read_next_header(a, &e->entry)) != ARCHIVE_EOF;) {
        /* A warning is of a name that is not UTF-8, as pax would have it: it comes as its bytes are. */
        if (got != ARCHIVE_OK && got != ARCHIVE_WARN)
            return read_failure(a, e->feed, err);
        if (++e->entries > max)
            return err_set(err, ERR_LIMIT, "the archive has more than %lld entries: refused", (long long)max);
        data_end = archive_filter_bytes(a, 0) + archive_entry_size(e->entry);
        int r = extract_entry(e, a, err);
        if (r < 0)
            return r;
        if (e->x->progress && e->x->progress(e->x->context, e->read_bytes) != 0)
            return err_set(err, ERR_CANCELLED, "cancelled");
    }
    if (e->feed->padded && data_end > e->read_bytes)
        return err_set(err, ERR_INVALID, "the archive ends in the middle of a file");
    set_dir_times(e);
    /* Padding behind the end mark belongs to the stream (and to its digest). */
    for (ssize_t n; (n = e->feed->read_fn(e->feed->context, e->feed->buffer, CHUNK, err)) != 0;)
        if (n < 0)
            return (int)n;
    return 0;
}

int tar__extract(const struct tar_extract *x, tar_read_fn read_fn, void *read_context,
                 struct tar_notes *notes, struct err *err)
{
    struct extraction e = {.x = x, .notes = notes, .parent = -EBADF};
    /* In a layer, symlinks to absolute names are as much a way out as "..": nothing is known of the root they
     * will be seen from. A container's root is complete: there they mean a place inside it. */
    e.resolve = x->layer ? RESOLVE_BENEATH : RESOLVE_IN_ROOT;
    const char *into = str_empty(x->into) ? "/" : x->into;
    _cleanup_close_ int root = file_open_in_root(x->root_fd, into, O_RDONLY | O_DIRECTORY, 0, err);
    if (root < 0)
        return root;
    e.root = root;
    if (notes)
        map_put(&notes->implied, "", notes);
    struct feed *feed = NEW(struct feed);
    feed->read_fn = read_fn;
    feed->context = read_context;
    feed->count = &e.read_bytes;
    e.feed = feed;
    locale_t old = tar__use_utf8();
    deferred_need(DEFERRED_ARCHIVE);
    struct archive *a = archive_read_new();
    must(a);
    archive_read_support_format_tar(a);
    archive_read_support_format_empty(a);
    int r = archive_read_open(a, feed, NULL, feed_read, NULL) == ARCHIVE_OK ? extract_all(&e, a, err)
                                                                            : read_failure(a, feed, err);
    archive_read_free(a);
    tar__restore_locale(old);
    forget_parent(&e);
    for (size_t i = 0; i < e.time_count; i++)
        free(e.times[i].path);
    free(e.times);
    free(feed);
    if (notes)
        notes->bytes = e.bytes;
    return r;
}

void tar__notes_done(struct tar_notes *n)
{
    map_done(&n->implied);
    n->links = strv_free(n->links);
}

int tar_extract_stream(const struct tar_extract *x, tar_read_fn read_fn, void *read_context, struct err *err)
{
    _cleanup_(tar__source_free_p) struct tar_source *s = NULL;
    int r = tar__source_new(-EBADF, read_fn, read_context, &x->limits, &s, err);
    if (r < 0)
        return r;
    struct tar_notes notes = {.implied = MAP_INIT(NULL)};
    r = tar__extract(x, tar__source_read, s, x->layer ? &notes : NULL, err);
    if (r == 0 && notes.links)
        r = err_set(err, ERR_INVALID,
                    "entry \"%.200s\" is a hard link to \"%.200s\", which is not there: refused",
                    notes.links[0], notes.links[1]);
    tar__notes_done(&notes);
    return r;
}

static ssize_t read_fd(void *context, void *buffer, size_t n, struct err *err)
{
    for (;;) {
        ssize_t got = read(*(int *)context, buffer, n);
        if (got >= 0)
            return got;
        if (errno != EINTR)
            return err_sys(err, errno, "read archive");
    }
}

int tar_extract_fd(const struct tar_extract *x, int fd, struct err *err)
{
    return tar_extract_stream(x, read_fd, &fd, err);
}

/* --- the end of an archive --- */

static bool all_zero(const unsigned char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (bytes[i])
            return false;
    return true;
}

int tar_check_end(int fd, struct err *err)
{
    enum { MAGIC_AT = 257 };
    unsigned char end[3 * BLOCK] = {0}, magic[5] = {0};
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_sys(err, errno, "stat an archive");
    size_t partial = (size_t)(st.st_size % BLOCK), kept = 2 * BLOCK + partial;
    if (!partial || st.st_size < 2 * BLOCK)
        return 0;
    if (pread(fd, magic, sizeof(magic), MAGIC_AT) != sizeof(magic) ||
        memcmp(magic, "ustar", sizeof(magic)) != 0)
        return 0; /* compressed, which has checks of its own */
    if (pread(fd, end, kept, st.st_size - (off_t)kept) != (ssize_t)kept)
        return err_sys(err, errno, "read the end of an archive");
    /* In the second of the two, or in the first. */
    bool second = all_zero(end + BLOCK, BLOCK) && !all_zero(end, BLOCK);
    bool cut = all_zero(end + 2 * BLOCK, partial) && (second || !all_zero(end + BLOCK, BLOCK));
    return cut ? err_set(err, ERR_INVALID, "unexpected EOF: the archive was cut within its last block") : 0;
}
