#include "bakery/context.h"

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

enum { NODES_MAX = 200000, PATH_BYTES_MAX = 64 << 20, SYMLINKS_MAX = 40, BLOCK = 512, MAGIC_AT = 257 };

struct node {
    mode_t mode;
    int64_t size;
    char *text; /* of a file its content's digest, of a link its target */
    char **names;
    size_t count, capacity;
};

struct context_tree {
    struct map nodes; /* path -> struct node; "" is the root */
    size_t path_bytes;
};

struct bakery_context {
    char *dir;
    int archive_fd, dir_fd;
    pthread_mutex_t lock; /* of dir_fd */
    struct context_tree *tree;
    char *dockerfile;
    struct tar_limits limits;
    struct map texts; /* path -> struct str: files that are read by name */
};

/* --- the tree --- */

static void node_free(void *node)
{
    struct node *n = node;
    free(n->text);
    for (size_t i = 0; i < n->count; i++)
        free(n->names[i]);
    free(n->names);
    free(n);
}

static void text_free(void *text)
{
    str_free(text);
    free(text);
}

static struct context_tree *tree_new(void)
{
    struct context_tree *t = NEW(struct context_tree);
    t->nodes = MAP_INIT(node_free);
    struct node *root = NEW(struct node);
    root->mode = S_IFDIR | 0755;
    map_put(&t->nodes, "", root);
    return t;
}

static void tree_free(struct context_tree *t)
{
    if (!t)
        return;
    map_done(&t->nodes);
    free(t);
}

/* The directory that `path` is in, made with those above it as extraction makes them; NULL: something there
 * is no directory, or there is too much. */
static struct node *parent_of(struct context_tree *t, const char *path);

static struct node *add_node(struct context_tree *t, const char *path, mode_t mode)
{
    t->path_bytes += strlen(path);
    struct node *dir =
        t->nodes.count < NODES_MAX && t->path_bytes < PATH_BYTES_MAX ? parent_of(t, path) : NULL;
    if (!dir)
        return NULL;
    struct node *n = NEW(struct node);
    n->mode = mode;
    map_put(&t->nodes, path, n);
    GROW(dir->names, dir->count, dir->capacity);
    dir->names[dir->count++] = mem_strdup(path_base(path));
    return n;
}

static struct node *parent_of(struct context_tree *t, const char *path)
{
    struct node *at = map_get(&t->nodes, "");
    for (const char *slash = path; (slash = strchr(slash, '/')); slash++) {
        _cleanup_free_ char *above = mem_strndup(path, (size_t)(slash - path));
        struct node *next = map_get(&t->nodes, above);
        if (!next && t->nodes.count < NODES_MAX && (t->path_bytes += strlen(above)) < PATH_BYTES_MAX) {
            next = NEW(struct node);
            next->mode = S_IFDIR | 0755;
            map_put(&t->nodes, above, next);
            GROW(at->names, at->count, at->capacity);
            at->names[at->count++] = mem_strdup(path_base(above));
        }
        if (!next || !S_ISDIR(next->mode))
            return NULL;
        at = next;
    }
    return at;
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void tree_sort(struct context_tree *t)
{
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&t->nodes, &i));) {
        struct node *n = e->value;
        if (n->count)
            qsort(n->names, n->count, sizeof(*n->names), compare);
    }
}

/* The first part of *rest, which then is what follows; NULL: there is none. */
static char *take_part(const char **rest)
{
    *rest += strspn(*rest, "/");
    size_t n = strcspn(*rest, "/");
    if (!n)
        return NULL;
    char *part = mem_strndup(*rest, n);
    *rest += n;
    *rest += strspn(*rest, "/");
    return part;
}

/* As openat2(RESOLVE_IN_ROOT) goes through a tree. */
static int find(const struct context_tree *t, const char *path, bool follow, struct node **ret,
                struct err *err)
{
    _cleanup_free_ char *at = mem_strdup(""), *pending = mem_strdup(path);
    const char *rest = pending;
    struct node *node = map_get(&t->nodes, "");
    int links = 0;
    for (char *taken; (taken = take_part(&rest));) {
        _cleanup_free_ char *part = taken;
        if (!S_ISDIR(node->mode))
            return err_sys(err, ENOTDIR, "open %s", path);
        if (str_eq(part, "."))
            continue;
        _cleanup_free_ char *absolute = str_printf("/%s", at), *next = path_resolve(absolute, part);
        struct node *found = map_get(&t->nodes, next + 1);
        if (!found)
            return err_sys(err, ENOENT, "open %s", path);
        if (S_ISLNK(found->mode) && (*rest || follow)) {
            if (++links > SYMLINKS_MAX)
                return err_sys(err, ELOOP, "open %s", path);
            char *more = str_printf("%s/%s", found->text, rest);
            if (*found->text == '/') {
                at[0] = '\0';
                node = map_get(&t->nodes, "");
            }
            free(pending);
            rest = pending = more;
            continue;
        }
        free(at);
        at = mem_strdup(next + 1);
        node = found;
    }
    *ret = node;
    return 0;
}

int context_stat(const struct context_tree *t, const char *path, struct stat *ret, struct err *err)
{
    struct node *n;
    int r = find(t, path, false, &n, err);
    if (r == 0)
        *ret = (struct stat){.st_mode = n->mode, .st_size = n->size, .st_nlink = 1};
    return r;
}

const char *context_digest(const struct context_tree *t, const char *path)
{
    struct node *n;
    return find(t, path, false, &n, NULL) == 0 && S_ISREG(n->mode) ? n->text : NULL;
}

const char *context_link(const struct context_tree *t, const char *path)
{
    struct node *n;
    return find(t, path, false, &n, NULL) == 0 && S_ISLNK(n->mode) ? n->text : NULL;
}

int context_names(const struct context_tree *t, const char *path, char ***ret, struct err *err)
{
    struct node *n;
    int r = find(t, path, true, &n, err);
    if (r == 0 && !S_ISDIR(n->mode))
        r = err_sys(err, ENOTDIR, "open %s", path);
    if (r < 0)
        return r;
    char **names = NEW_N(char *, n->count + 1);
    for (size_t i = 0; i < n->count; i++)
        names[i] = mem_strdup(n->names[i]);
    *ret = names;
    return 0;
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

static int take_file(struct receiving *v, const struct tar_entry *e, struct node *n, tar_read_fn read_fn,
                     void *read_context, struct err *err)
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
    n->text = mem_strdup(digest);
    n->size = e->size;
    v->last_size = e->size;
    return bytes == e->size ? 0 : not_plain(err); /* else it has holes */
}

static int take_hard_link(struct receiving *v, const struct tar_entry *e, struct err *err)
{
    const struct node *to = map_get(&v->c->tree->nodes, e->link);
    struct node *n = to && S_ISREG(to->mode) ? add_node(v->c->tree, e->path, to->mode) : NULL;
    if (!n || read_by_name(v->c, e->path))
        return not_plain(err);
    n->size = to->size;
    n->text = mem_strdup(to->text);
    return 0;
}

static int take_entry(void *context, const struct tar_entry *e, tar_read_fn read_fn, void *read_context,
                      struct err *err)
{
    struct receiving *v = context;
    struct node *there = map_get(&v->c->tree->nodes, e->path);
    bool is_dir = S_ISDIR(e->mode);
    v->last_size = -1;
    if (there && is_dir && S_ISDIR(there->mode)) {
        if (*e->path) /* the root stays as it is */
            there->mode = e->mode;
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
    struct node *n = add_node(v->c->tree, e->path, is_link ? S_IFLNK | 0777 : e->mode);
    if (!n)
        return not_plain(err);
    if (is_link)
        n->text = mem_strdup(e->link);
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
    c->tree = tree_new();
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
        tree_sort(c->tree);
        return 0;
    }
    tree_free(take_ptr(c->tree));
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
    tree_free(c->tree);
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
    struct node *n;
    const struct str *text = c->tree ? map_get(&c->texts, path) : NULL;
    if (text && text->len <= max) {
        str_addn(ret, str_get(text), text->len);
        return 0;
    }
    int r = c->tree ? find(c->tree, path, true, &n, err) : 0;
    return r == -ERR_NOT_FOUND ? r : read_unpacked(c, path, max, ret, err);
}
