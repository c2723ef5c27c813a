/* A tree to a tar stream, in one order whatever the file system's. */
#include "base/deferred.h"
#include "base/err.h"
#include "base/file.h"
#include "image/tar_priv.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { CHUNK = 128 * 1024, OUT_BYTES = 256 * 1024, DEPTH_MAX = 512, XATTR_MAX = 64 * 1024 };

struct creation {
    const struct tar_create *c;
    const struct tar_upper *upper;
    struct archive *archive;
    struct archive_entry *entry;
    struct map links; /* "dev:ino" -> the name it was first written under */
    struct str name;  /* in the archive */
    size_t prefix;    /* bytes of `name` that come before the relative part */
    tar_write_fn write_fn;
    void *write_context;
    struct err err; /* of write_fn, carried past libarchive */
    char *buffer;
    char *out; /* libarchive writes in blocks of 512 bytes */
    size_t out_used;
    bool dead; /* refuses what libarchive still wants to write when it is freed */
};

static int flush(struct creation *w)
{
    size_t n = w->out_used;
    w->out_used = 0;
    return n ? w->write_fn(w->write_context, w->out, n, &w->err) : 0;
}

static la_ssize_t push(struct archive *a, void *context, const void *bytes, size_t n)
{
    struct creation *w = context;
    if (w->dead || (w->out_used + n > OUT_BYTES && flush(w) < 0))
        goto failed;
    if (n > OUT_BYTES) {
        if (w->write_fn(w->write_context, bytes, n, &w->err) < 0)
            goto failed;
        return (la_ssize_t)n;
    }
    memcpy(w->out + w->out_used, bytes, n);
    w->out_used += n;
    return (la_ssize_t)n;
failed:
    archive_set_error(a, EIO, "write error");
    return -1;
}

static const char *relative(const struct creation *w)
{
    return w->name.len > w->prefix ? w->name.data + w->prefix : "";
}

static int failed(struct creation *w, const char *what, struct err *err)
{
    if (w->err.code)
        return err_copy(err, &w->err);
    _cleanup_free_ char *text = tar__printable(str_get(&w->name));
    const char *why = archive_error_string(w->archive);
    return err_set(err, ERR_SYSTEM, "%s \"%s\" in archive: %s", what, text, why ? why : "unknown error");
}

static int sys_failed(const struct creation *w, const char *what, struct err *err)
{
    int sys = errno;
    _cleanup_free_ char *text = tar__printable(str_get(&w->name));
    return err_sys(err, sys, "%s \"%s\"", what, text);
}

static int64_t clamped(const struct creation *w, int64_t seconds)
{
    return w->c->epoch >= 0 ? MIN(seconds, w->c->epoch) : seconds;
}

static void describe(struct creation *w, const struct stat *st)
{
    struct archive_entry *e = archive_entry_clear(w->entry);
    archive_entry_set_pathname(e, str_get(&w->name));
    archive_entry_set_mode(e, st->st_mode);
    const struct tar_ids *ids = &w->c->ids;
    archive_entry_set_uid(e, tar__id_inside(st->st_uid, ids->uid, ids->count));
    archive_entry_set_gid(e, tar__id_inside(st->st_gid, ids->gid, ids->count));
    /* Whole seconds, as Docker's layers: a fraction would cost a header block more for each file. */
    archive_entry_set_mtime(e, clamped(w, st->st_mtim.tv_sec), 0);
    archive_entry_set_size(e, S_ISREG(st->st_mode) ? st->st_size : 0);
    if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) {
        archive_entry_set_rdevmajor(e, major(st->st_rdev));
        archive_entry_set_rdevminor(e, minor(st->st_rdev));
    }
}

static int add_xattrs(struct creation *w, int fd, struct err *err)
{
    if (flistxattr(fd, NULL, 0) <= 0)
        return 0;
    _cleanup_free_ char *names = mem_new(XATTR_MAX), *value = mem_new(XATTR_MAX);
    ssize_t n = flistxattr(fd, names, XATTR_MAX);
    for (const char *name = names; n > 0 && name < names + n; name += strlen(name) + 1) {
        if (!tar__xattr_travels(name))
            continue;
        ssize_t size = fgetxattr(fd, name, value, XATTR_MAX);
        if (size >= 0)
            archive_entry_xattr_add_entry(w->entry, name, value, (size_t)size);
    }
    return 0;
}

static int put_header(struct creation *w, struct err *err)
{
    int r = archive_write_header(w->archive, w->entry);
    return r == ARCHIVE_OK || r == ARCHIVE_WARN ? 0 : failed(w, "write", err);
}

static int put_content(struct creation *w, int fd, int64_t size, struct err *err)
{
    while (size > 0) {
        ssize_t n = read(fd, w->buffer, (size_t)MIN((int64_t)CHUNK, size));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return sys_failed(w, "read", err);
        if (n == 0)
            break; /* shrank under us: libarchive fills up with zeros */
        if (archive_write_data(w->archive, w->buffer, (size_t)n) < 0)
            return failed(w, "write", err);
        size -= n;
    }
    return 0;
}

/* Whether it was written before under another name: then a hard link to that was written now. Whiteouts are
 * one file by many names, as overlayfs makes them, and each is a deletion of its own. */
static int put_hardlink(struct creation *w, const struct stat *st, struct err *err)
{
    if (st->st_nlink < 2 || S_ISDIR(st->st_mode) || (w->upper && tar__is_whiteout(st)))
        return 0;
    char key[64];
    snprintf(key, sizeof(key), "%llx:%llx", (unsigned long long)st->st_dev, (unsigned long long)st->st_ino);
    const char *first = map_get(&w->links, key);
    if (!first) {
        map_put(&w->links, key, mem_strdup(str_get(&w->name)));
        return 0;
    }
    describe(w, st);
    archive_entry_set_hardlink(w->entry, first);
    archive_entry_set_size(w->entry, 0);
    int r = put_header(w, err);
    return r < 0 ? r : 1;
}

static int put_marker(struct creation *w, const char *dir, const char *prefix, const char *name,
                      struct err *err)
{
    struct stat st = {.st_mode = S_IFREG | 0600};
    _cleanup_free_ char *full = str_printf("%s%s%s", dir, prefix, name);
    describe(w, &st);
    archive_entry_set_pathname(w->entry, full);
    return put_header(w, err);
}

static int put_symlink(struct creation *w, int dir_fd, const char *base, const struct stat *st,
                       struct err *err)
{
    char target[4097];
    ssize_t n = readlinkat(dir_fd, base, target, sizeof(target) - 1);
    if (n < 0)
        return sys_failed(w, "read link", err);
    target[n] = '\0';
    describe(w, st);
    archive_entry_set_symlink(w->entry, target);
    return put_header(w, err);
}

static int put_file(struct creation *w, int dir_fd, const char *base, struct err *err)
{
    /* NONBLOCK: should it have become a fifo since it was looked at. */
    _cleanup_close_ int fd = openat(dir_fd, base, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return sys_failed(w, "open", err);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_CONFLICT, "\"%.200s\" changed while it was read", str_get(&w->name));
    describe(w, &st);
    int r = add_xattrs(w, fd, err);
    if (r == 0)
        r = put_header(w, err);
    if (w->upper)
        *w->upper->bytes += st.st_size;
    return r < 0 ? r : put_content(w, fd, st.st_size, err);
}

static int put_one(struct creation *w, int dir_fd, const char *base, int depth, struct err *err);

static int put_children(struct creation *w, int fd, int depth, struct err *err)
{
    _cleanup_strv_ char **names = NULL;
    int r = tar__list_dir(fd, &names, err);
    size_t length = w->name.len;
    STRV_FOREACH (name, names) {
        if (r < 0)
            break;
        str_add(&w->name, *name);
        r = put_one(w, fd, *name, depth, err);
        str_truncate(&w->name, length);
    }
    return r;
}

static bool is_opaque(int fd)
{
    char value[4];
    return fgetxattr(fd, file_overlay_opaque(), value, sizeof(value)) == 1 && value[0] == 'y';
}

static int put_dir(struct creation *w, int dir_fd, const char *base, int depth, struct err *err)
{
    _cleanup_close_ int fd = openat(dir_fd, base, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return sys_failed(w, "open", err);
    if (depth > DEPTH_MAX)
        return err_set(err, ERR_LIMIT, "\"%.200s\" is nested more than %d levels deep", str_get(&w->name),
                       DEPTH_MAX);
    size_t length = w->name.len;
    bool opaque = w->upper && is_opaque(fd) && w->upper->lower_has(w->upper->context, relative(w));
    if (!str_eq(str_get(&w->name), "/")) /* the root, as docker cp asks for it */
        str_addc(&w->name, '/');
    describe(w, &st);
    int r = add_xattrs(w, fd, err);
    if (r == 0)
        r = put_header(w, err);
    if (r == 0 && opaque)
        r = put_marker(w, str_get(&w->name), "", ".wh..wh..opq", err);
    if (r == 0)
        r = put_children(w, fd, depth + 1, err);
    str_truncate(&w->name, length);
    return r;
}

static int put_whiteout(struct creation *w, const char *base, struct err *err)
{
    _cleanup_free_ char *dir = mem_strndup(w->name.data, w->name.len - strlen(base));
    return put_marker(w, dir, ".wh.", base, err);
}

static int put_special(struct creation *w, const char *base, const struct stat *st, struct err *err)
{
    if (w->upper && tar__is_whiteout(st))
        return put_whiteout(w, base, err);
    if (w->upper && (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)))
        return err_set(
            err, ERR_UNSUPPORTED,
            "\"%.200s\" is a device node: an image cannot carry one; give the container the device",
            str_get(&w->name));
    describe(w, st);
    return put_header(w, err);
}

static int put_one(struct creation *w, int dir_fd, const char *base, int depth, struct err *err)
{
    struct stat st;
    if (fstatat(dir_fd, base, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : sys_failed(w, "read", err);
    if (w->c->exclude && w->c->exclude(w->c->exclude_context, relative(w), S_ISDIR(st.st_mode)))
        return 0;
    if (w->upper && str_after(base, ".wh."))
        return err_set(err, ERR_UNSUPPORTED,
                       "\"%.200s\" has a name that means a deletion in a layer: rename it",
                       str_get(&w->name));
    if (S_ISSOCK(st.st_mode))
        return 0; /* tar has no sockets; they mean nothing without their process */
    int r = put_hardlink(w, &st, err);
    if (r != 0)
        return MIN(r, 0);
    if (S_ISDIR(st.st_mode))
        return put_dir(w, dir_fd, base, depth, err);
    if (S_ISLNK(st.st_mode))
        return put_symlink(w, dir_fd, base, &st, err);
    if (S_ISREG(st.st_mode))
        return put_file(w, dir_fd, base, err);
    return put_special(w, base, &st, err);
}

static int put_start(struct creation *w, struct err *err)
{
    const char *path = str_empty(w->c->path) ? "/" : w->c->path;
    _cleanup_close_ int fd = file_open_in_root(w->c->root_fd, path, O_PATH | O_NOFOLLOW, 0, err);
    struct stat st;
    if (fd < 0)
        return fd;
    if (fstat(fd, &st) < 0)
        return err_sys(err, errno, "read %s", path);
    if (S_ISDIR(st.st_mode) && str_empty(w->c->name))
        return put_children(w, fd, 0, err);
    if (S_ISDIR(st.st_mode)) {
        str_add(&w->name, w->c->name);
        w->prefix = w->name.len + 1;
        return put_dir(w, fd, ".", 0, err);
    }
    /* A file: by its directory, so that a symlink is taken as such. */
    _cleanup_free_ char *clean = mem_strdup(path);
    while (strlen(clean) > 1 && str_ends_with(clean, "/"))
        clean[strlen(clean) - 1] = '\0';
    char *slash = strrchr(clean, '/');
    const char *base = slash ? slash + 1 : clean;
    _cleanup_free_ char *dir = mem_strndup(clean, slash ? (size_t)(slash - clean) : 0);
    _cleanup_close_ int dir_fd =
        file_open_in_root(w->c->root_fd, *dir ? dir : "/", O_PATH | O_DIRECTORY, 0, err);
    if (dir_fd < 0)
        return dir_fd;
    str_add(&w->name, str_empty(w->c->name) ? base : w->c->name);
    return put_one(w, dir_fd, base, 0, err);
}

static int run(struct creation *w, struct err *err)
{
    archive_write_set_format_pax_restricted(w->archive);
    archive_write_set_options(w->archive, "xattrheader=SCHILY");
    /* Two zero blocks at the end and no more: some readers refuse a padded layer. */
    archive_write_set_bytes_per_block(w->archive, 0);
    archive_write_set_bytes_in_last_block(w->archive, 1);
    if (archive_write_open(w->archive, w, NULL, push, NULL) != ARCHIVE_OK)
        return failed(w, "begin", err);
    int r = put_start(w, err);
    if (r == 0 && archive_write_close(w->archive) != ARCHIVE_OK)
        r = failed(w, "end", err);
    if (r == 0 && flush(w) < 0)
        r = err_copy(err, &w->err);
    return r;
}

int tar__create(const struct tar_create *c, const struct tar_upper *upper, tar_write_fn write_fn,
                void *write_context, struct err *err)
{
    struct creation w = {.c = c, .upper = upper, .write_fn = write_fn, .write_context = write_context};
    w.links = MAP_INIT(free);
    w.buffer = mem_new(CHUNK);
    w.out = mem_new(OUT_BYTES);
    locale_t old = tar__use_utf8();
    deferred_need(DEFERRED_ARCHIVE);
    w.archive = archive_write_new();
    w.entry = archive_entry_new();
    must(w.archive && w.entry);
    int r = run(&w, err);
    w.dead = r < 0;
    archive_write_free(w.archive);
    archive_entry_free(w.entry);
    tar__restore_locale(old);
    map_done(&w.links);
    str_free(&w.name);
    free(w.buffer);
    free(w.out);
    return r;
}

int tar_create_stream(const struct tar_create *c, tar_write_fn write_fn, void *write_context, struct err *err)
{
    return tar__create(c, NULL, write_fn, write_context, err);
}
