#include "bakery/context_tree.h"

#include "bakery/dockerfile.h"
#include "bakery/path.h"
#include "base/digest.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/lock.h"
#include "base/map.h"
#include "image/tar.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

enum { BLOCK = 512, MAGIC_AT = 257 };

struct bakery_context {
    char *dir;
    int archive_fd, dir_fd;
    pthread_mutex_t lock; /* of dir_fd */
    struct context_tree *tree;
    char *dockerfile;
    struct tar_limits limits;
    struct map texts; /* path -> struct str: files that are read by name */
};

static void text_free(void *text)
{
    str_free(text);
    free(text);
}

/* --- receiving --- */

struct receiving {
    struct bakery_context *c;
    tar_read_fn read_fn;
    void *read_context;
    int64_t bytes;
    char head[MAGIC_AT + 5];
    size_t padding; /* zeros to give at the end, see end() */
    bool ended;
    int64_t last_size; /* of the last entry's content; <0: it has none */
    int failed;        /* of reading or of keeping what was read, which is an error of the build */
    struct err err;
};

static int keep(struct receiving *v, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n && v->bytes + (int64_t)i < (int64_t)sizeof(v->head); i++)
        v->head[v->bytes + (int64_t)i] = bytes[i];
    v->bytes += (int64_t)n;
    return file_write_all(v->c->archive_fd, bytes, n, &v->err);
}

/* The docker CLI ends a context behind the last file's last byte, without what should fill its block: of a
 * plain archive that is given here. */
static void end(struct receiving *v)
{
    v->ended = true;
    if (v->bytes % BLOCK && v->bytes > BLOCK && memcmp(v->head + MAGIC_AT, "ustar", 5) == 0)
        v->padding = (size_t)(BLOCK - v->bytes % BLOCK);
}

static ssize_t read_kept(void *context, void *buffer, size_t n, struct err *err)
{
    struct receiving *v = context;
    if (!v->ended && !v->failed) {
        ssize_t got = v->read_fn(v->read_context, buffer, n, &v->err);
        if (got > 0 && (v->failed = keep(v, buffer, (size_t)got)) == 0)
            return got;
        if (got < 0)
            v->failed = (int)got;
        if (got == 0)
            end(v);
    }
    if (v->failed)
        return err_copy(err, &v->err);
    n = MIN(n, v->padding);
    memset(buffer, 0, n);
    v->padding -= n;
    return (ssize_t)n;
}

/* Whether the padding could have filled what is missing of a file. */
static bool cut_off(const struct receiving *v)
{
    int64_t last = v->bytes % BLOCK;
    return last && v->last_size > 0 && last < (v->last_size % BLOCK ? v->last_size % BLOCK : BLOCK);
}

static bool read_by_name(const struct bakery_context *c, const char *path)
{
    static const char *const names[] = {"Dockerfile", "dockerfile", "Dockerfile.dockerignore",
                                        ".dockerignore"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (str_eq(path, names[i]))
            return true;
    const char *rest = str_after(path, c->dockerfile);
    return rest && (!*rest || str_eq(rest, ".dockerignore"));
}

static int not_plain(struct err *err)
{
    return err_set(err, ERR_UNSUPPORTED, "an archive that has to be unpacked to be understood");
}

static int take_file(struct receiving *v, const struct tar_entry *e, struct context_node *n,
                     tar_read_fn read_fn, void *read_context, struct err *err)
{
    _cleanup_hasher_ struct digest_hasher *h = digest_hasher_new("sha256");
    char buffer[16 << 10], digest[DIGEST_BYTES];
    struct str *text = NULL;
    if (e->size <= DOCKERFILE_MAX_BYTES && read_by_name(v->c, e->path)) {
        text = NEW(struct str);
        map_put(&v->c->texts, e->path, text);
    }
    ssize_t got;
    int64_t bytes = 0;
    while ((got = read_fn(read_context, buffer, sizeof(buffer), err)) > 0) {
        digest_hasher_add(h, buffer, (size_t)got);
        bytes += got;
        if (text)
            str_addn(text, buffer, (size_t)got);
    }
    if (got < 0)
        return (int)got;
    digest_hasher_format(h, digest);
    context_node_set_file(n, e->size, digest);
    v->last_size = e->size;
    return bytes == e->size ? 0 : not_plain(err); /* else it has holes */
}

static int take_hard_link(struct receiving *v, const struct tar_entry *e, struct err *err)
{
    struct context_tree *t = v->c->tree;
    const struct context_node *to = context_tree_at(t, e->link);
    mode_t mode = to ? context_node_mode(to) : 0;
    struct context_node *n = S_ISREG(mode) ? context_tree_add(t, e->path, mode) : NULL;
    if (!n || read_by_name(v->c, e->path))
        return not_plain(err);
    context_node_set_same(n, to);
    return 0;
}

static int take_entry(void *context, const struct tar_entry *e, tar_read_fn read_fn, void *read_context,
                      struct err *err)
{
    struct receiving *v = context;
    struct context_node *there = context_tree_at(v->c->tree, e->path);
    bool is_dir = S_ISDIR(e->mode);
    v->last_size = -1;
    if (there && is_dir && S_ISDIR(context_node_mode(there))) {
        if (*e->path) /* the root stays as it is */
            context_node_set_mode(there, e->mode);
        return 0;
    }
    if (there)
        return not_plain(err);
    if (e->hard)
        return take_hard_link(v, e, err);
    bool is_link = S_ISLNK(e->mode);
    if ((!is_dir && !is_link && !S_ISREG(e->mode)) ||
        (is_link && (!e->link || !*e->link || strlen(e->link) > 4095)))
        return not_plain(err);
    struct context_node *n = context_tree_add(v->c->tree, e->path, is_link ? S_IFLNK | 0777 : e->mode);
    if (!n || (is_link && !context_node_set_target(v->c->tree, n, e->link)))
        return not_plain(err);
    return is_dir || is_link ? 0 : take_file(v, e, n, read_fn, read_context, err);
}

/* What stands behind the archive's end, or behind where it was given up. */
static int read_rest(struct receiving *v, struct err *err)
{
    _cleanup_free_ char *buffer = mem_new(64 << 10);
    ssize_t n;
    while ((n = read_kept(v, buffer, 64 << 10, err)) > 0)
        ;
    return (int)MIN(n, 0);
}

static struct bakery_context *context_new(const char *dir, const char *dockerfile, int64_t max_entries)
{
    struct bakery_context *c = NEW(struct bakery_context);
    _cleanup_free_ char *resolved = path_resolve("/", dockerfile ? dockerfile : "Dockerfile");
    c->dir = mem_strdup(dir);
    c->dockerfile = mem_strdup(resolved + 1);
    c->archive_fd = c->dir_fd = -EBADF;
    c->limits.max_entries = max_entries ? max_entries : CONTEXT_ENTRIES_MAX;
    c->texts = MAP_INIT(text_free);
    c->tree = context_tree_new();
    pthread_mutex_init(&c->lock, NULL);
    return c;
}

/* Everything in a context belongs to root, whoever packed it. */
static int unpack(struct bakery_context *c, struct err *err)
{
    _cleanup_close_ int fd = open(c->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "open %s", c->dir);
    if (lseek(c->archive_fd, 0, SEEK_SET) < 0)
        return err_sys(err, errno, "read it again");
    const struct tar_extract x = {.root_fd = fd, .names_from_root = true, .limits = c->limits};
    int r = tar_extract_fd(&x, c->archive_fd, err);
    if (r < 0)
        return r;
    c->dir_fd = take_fd(&fd);
    c->archive_fd = close_fd(c->archive_fd);
    return 0;
}

static int receive(struct bakery_context *c, tar_read_fn read_fn, void *read_context, struct err *err)
{
    _cleanup_free_ char *path = str_printf("%s.tar", c->dir);
    c->archive_fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (c->archive_fd < 0 || unlink(path) < 0)
        return err_sys(err, errno, "keep the build context at %s", path);
    struct receiving v = {.c = c, .read_fn = read_fn, .read_context = read_context, .last_size = -1};
    const struct tar_walk walk = {.limits = c->limits, .context = &v, .entry = take_entry};
    struct err why = {0};
    int r = tar_walk_stream(&walk, read_kept, &v, &why);
    bool plain = r == 0;
    if (r == -ERR_LIMIT) /* for extraction too */
        return err_copy(err, &why);
    r = read_rest(&v, err);
    if (r < 0)
        return r;
    if (plain && !cut_off(&v)) {
        context_tree_sort(c->tree);
        return 0;
    }
    context_tree_free(take_ptr(c->tree));
    return unpack(c, err);
}

int bakery_context_receive(const char *dir, const char *dockerfile, int64_t max_entries, tar_read_fn read_fn,
                           void *read_context, struct bakery_context **ret, struct err *err)
{
    struct bakery_context *c = context_new(dir, dockerfile, max_entries);
    int r = receive(c, read_fn, read_context, err);
    FAILPOINT("build-context-received");
    if (r < 0)
        bakery_context_free(c);
    if (r == -ERR_LIMIT)
        return err_wrap(err, "build context: leave out by .dockerignore what the build does not need");
    if (r < 0)
        return err_wrap(err, "build context");
    *ret = c;
    return 0;
}

void bakery_context_free(struct bakery_context *c)
{
    if (!c)
        return;
    context_tree_free(c->tree);
    map_done(&c->texts);
    close_fd(c->archive_fd);
    close_fd(c->dir_fd);
    pthread_mutex_destroy(&c->lock);
    free(c->dir);
    free(c->dockerfile);
    free(c);
}

/* --- using it --- */

const struct context_tree *context_tree(const struct bakery_context *c)
{
    return c->tree;
}

int context_unpack(struct bakery_context *c, int *ret_fd, struct err *err)
{
    SCOPED_LOCK(locked, &c->lock);
    int r = c->dir_fd < 0 ? unpack(c, err) : 0;
    if (r < 0)
        return err_wrap(err, "build context");
    *ret_fd = c->dir_fd;
    return 0;
}

static int read_unpacked(struct bakery_context *c, const char *path, size_t max, struct str *ret,
                         struct err *err)
{
    int root, r = context_unpack(c, &root, err);
    if (r < 0)
        return r;
    /* FIFOs and the like do not block us. */
    _cleanup_close_ int fd = file_open_in_root(root, path, O_RDONLY | O_NONBLOCK, 0, err);
    struct stat st;
    if (fd < 0)
        return fd;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "%s is not a regular file", path);
    r = file_read_fd(fd, max, ret, err);
    return r < 0 ? err_wrap(err, "%s", path) : 0;
}

int context_read(struct bakery_context *c, const char *path, size_t max, struct str *ret, struct err *err)
{
    struct context_node *n;
    const struct str *text = c->tree ? map_get(&c->texts, path) : NULL;
    if (text && text->len <= max) {
        str_addn(ret, str_get(text), text->len);
        return 0;
    }
    int r = c->tree ? context_tree_find(c->tree, path, true, &n, err) : 0;
    return r == -ERR_NOT_FOUND ? r : read_unpacked(c, path, max, ret, err);
}
