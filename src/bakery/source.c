#include "bakery/source.h"

#include "bakery/path.h"
#include "bakery/pattern.h"
#include "base/deferred.h"
#include "base/file.h"
#include "base/str.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

enum { SYMLINKS_MAX = 40, DEPTH_MAX = 512 };

void sources_done(struct sources *s)
{
    for (size_t i = 0; i < s->count; i++) {
        free(s->list[i].path);
        free(s->list[i].name);
        free(s->list[i].named);
        free(s->list[i].identity);
        free(s->list[i].url);
        free(s->list[i].digest);
        if (s->list[i].owned)
            close_fd(s->list[i].root.fd);
    }
    free(s->list);
    *s = (struct sources){0};
}

struct source *sources_add(struct sources *s, const struct source *source)
{
    GROW(s->list, s->count, s->capacity);
    s->list[s->count] = *source;
    return &s->list[s->count++];
}

/* --- Directories --- */

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names in a directory of the root, sorted. */
static int read_dir(const struct source_root *root, const char *path, char ***ret, struct err *err)
{
    if (root->tree)
        return context_names(root->tree, path, ret, err);
    int fd = file_open_in_root(root->fd, *path ? path : "/", O_RDONLY | O_DIRECTORY, 0, err);
    if (fd < 0)
        return fd;
    DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return err_sys(err, errno, "read directory %s", path);
    }
    char **names = NULL;
    size_t count = 0, capacity = 0;
    struct dirent *e;
    while ((e = readdir(dir)))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            GROW(names, count, capacity);
            names[count++] = mem_strdup(e->d_name);
        }
    closedir(dir);
    GROW(names, count, capacity);
    names[count] = NULL;
    qsort(names, count, sizeof(*names), compare);
    *ret = names;
    return 0;
}

static char *join(const char *dir, const char *name)
{
    return *dir ? str_printf("%s/%s", dir, name) : mem_strdup(name);
}

/* The file at `path` itself, a symlink as such. */
static int stat_in_root(const struct source_root *root, const char *path, struct stat *ret, struct err *err)
{
    if (root->tree)
        return context_stat(root->tree, path, ret, err);
    const char *base = path_base(path);
    _cleanup_free_ char *parent = base == path ? mem_strdup("/") : mem_strndup(path, (size_t)(base - path));
    _cleanup_close_ int dir = file_open_in_root(root->fd, parent, O_PATH | O_DIRECTORY, 0, err);
    if (dir < 0)
        return dir;
    if (fstatat(dir, *base ? base : ".", ret, AT_SYMLINK_NOFOLLOW) < 0)
        return err_sys(err, errno, "stat %s", path);
    return 0;
}

static int read_link(const struct source_root *root, const char *path, char **ret, struct err *err)
{
    const char *known = root->tree ? context_link(root->tree, path) : NULL;
    if (known) {
        *ret = mem_strdup(known);
        return 0;
    }
    char target[4096];
    const char *base = path_base(path);
    _cleanup_free_ char *parent = base == path ? mem_strdup("/") : mem_strndup(path, (size_t)(base - path));
    _cleanup_close_ int dir = file_open_in_root(root->fd, parent, O_PATH | O_DIRECTORY, 0, err);
    if (dir < 0)
        return dir;
    ssize_t n = readlinkat(dir, base, target, sizeof(target) - 1);
    if (n < 0)
        return err_sys(err, errno, "read link %s", path);
    target[n] = '\0';
    *ret = mem_strdup(target);
    return 0;
}

/* Where a symlink at `at` leads, as a path in the root; "" is the root. */
static char *link_target(const char *at, const char *target)
{
    _cleanup_free_ char *dir = mem_strndup(at, (size_t)(path_base(at) - at));
    _cleanup_free_ char *whole = *target == '/' ? mem_strdup(target + 1) : str_printf("%s%s", dir, target);
    size_t end = strlen(whole);
    while (end && whole[end - 1] == '/')
        whole[--end] = '\0';
    const char *base = path_base(whole);
    if (*base && strcmp(base, ".") != 0 && strcmp(base, "..") != 0)
        return take_ptr(whole);
    /* A directory by another name, never above the root. */
    _cleanup_free_ char *absolute = path_resolve("/", whole);
    return mem_strdup(absolute + 1);
}

/* A source that is a symlink stands for what it points to, inside the root. */
static int follow(const struct source_root *root, const char *path, char **ret, struct stat *ret_stat,
                  struct err *err)
{
    _cleanup_free_ char *at = mem_strdup(path);
    for (int i = 0; i < SYMLINKS_MAX; i++) {
        int r = stat_in_root(root, at, ret_stat, err);
        if (r < 0)
            return r;
        if (!S_ISLNK(ret_stat->st_mode)) {
            *ret = take_ptr(at);
            return 0;
        }
        _cleanup_free_ char *target = NULL;
        r = read_link(root, at, &target, err);
        if (r < 0)
            return r;
        char *next = link_target(at, target);
        free(at);
        at = next;
    }
    return err_set(err, ERR_INVALID, "%s: too many levels of symbolic links", path);
}

/* --- .dockerignore and --exclude --- */

static bool has_kept_file(const struct source_root *root, const char *dir, int depth)
{
    const struct ignore *g = root->ignore;
    _cleanup_strv_ char **names = NULL;
    if (depth > DEPTH_MAX || !ignore_may_except(g, dir) || read_dir(root, dir, &names, NULL) < 0)
        return false;
    STRV_FOREACH (name, names) {
        _cleanup_free_ char *path = join(dir, *name);
        struct stat st;
        if (!ignore_matches(g, path))
            return true;
        if (stat_in_root(root, path, &st, NULL) == 0 && S_ISDIR(st.st_mode) &&
            has_kept_file(root, path, depth + 1))
            return true;
    }
    return false;
}

static bool ignored(const struct source_root *root, const char *path, bool is_dir)
{
    if (!*path || !ignore_matches(root->ignore, path))
        return false;
    return !is_dir || !ignore_may_except(root->ignore, path) || !has_kept_file(root, path, 0);
}

static bool excluded(const struct source_root *root, const char *path, bool is_dir)
{
    return *path && ignore_matches(root->exclude, path) &&
           !(is_dir && ignore_may_except(root->exclude, path));
}

static bool left_out(const struct source_root *root, const char *path, bool is_dir)
{
    return ignored(root, path, is_dir) || excluded(root, path, is_dir);
}

bool source_left_out(const struct source *s, const char *path, bool is_dir)
{
    if (left_out(&s->root, path, is_dir))
        return true;
    const char *below = *s->path ? str_after(path, s->path) : NULL;
    return below && *below == '/' && excluded(&s->root, below + 1, is_dir);
}

/* --- Finding --- */

struct finding {
    struct sources *out;
    const struct source_root *root;
    size_t kept_from; /* with --parents: how many directories of the path are not kept */
    struct err *err;
};

static int not_found(const char *text, struct err *err)
{
    return err_set(
        err, ERR_NOT_FOUND,
        "file not found in build context or excluded by .dockerignore: stat %s: file does not exist", text);
}

/* What --parents keeps of a path. */
static const char *kept_path(const struct finding *f, const char *path)
{
    for (size_t i = 0; i < f->kept_from && strchr(path, '/'); i++)
        path = strchr(path, '/') + 1;
    return path;
}

static int add_path(const struct finding *f, const char *path)
{
    const struct source_root *root = f->root;
    struct err *err = f->err;
    if (f->out->count >= SOURCES_MAX)
        return err_set(err, ERR_LIMIT, "more than %d sources", SOURCES_MAX);
    _cleanup_free_ char *real = NULL;
    struct stat st;
    int r = follow(root, path, &real, &st, err);
    if (r < 0)
        return r == -ERR_NOT_FOUND ? not_found(path, err) : r;
    bool is_dir = S_ISDIR(st.st_mode);
    if (ignored(root, path, is_dir) || ignored(root, real, is_dir))
        return not_found(path, err);
    if (excluded(root, path, is_dir) || (!is_dir && excluded(root, path_base(path), false)))
        return 0;
    if (!is_dir && !S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "%s is neither a file nor a directory", path);
    struct source source = {.root = *root,
                            .path = take_ptr(real),
                            .name = mem_strdup(root->parents ? kept_path(f, path) : path_base(path)),
                            .named = mem_strdup(path),
                            .is_dir = is_dir};
    sources_add(f->out, &source);
    return 0;
}

static int glob_dir(const struct finding *f, const char *dir, char **at, int depth);

/* "**": what follows it here, and in every directory below. */
static int glob_deep(const struct finding *f, const char *dir, char **at, int depth)
{
    if (depth > DEPTH_MAX)
        return err_set(f->err, ERR_LIMIT, "%s: more than %d directories deep", dir, DEPTH_MAX);
    while (at[1] && strcmp(at[1], "**") == 0)
        at++;
    static char any[] = "*";
    char *rest_of_last[] = {any, NULL};
    if (!at[1]) /* all there is here, which has the rest in it */
        return glob_dir(f, dir, rest_of_last, depth);
    int r = glob_dir(f, dir, at + 1, depth);
    _cleanup_strv_ char **names = NULL;
    if (r < 0 || read_dir(f->root, dir, &names, NULL) < 0)
        return r;
    for (char **name = names; r == 0 && *name; name++) {
        _cleanup_free_ char *path = join(dir, *name);
        struct stat st;
        if (stat_in_root(f->root, path, &st, NULL) == 0 && S_ISDIR(st.st_mode) &&
            !left_out(f->root, path, true))
            r = glob_deep(f, path, at, depth + 1);
    }
    return r;
}

/* Matches the pattern's parts from `at` on below `dir`. */
static int glob_dir(const struct finding *f, const char *dir, char **at, int depth)
{
    bool last = !at[1];
    if (f->root->parents && strcmp(*at, "**") == 0)
        return glob_deep(f, dir, at, depth);
    if (!pattern_has_wildcard(*at)) {
        _cleanup_free_ char *path = join(dir, *at);
        struct stat st;
        if (stat_in_root(f->root, path, &st, NULL) < 0 || left_out(f->root, path, S_ISDIR(st.st_mode)))
            return 0;
        return last ? add_path(f, path) : glob_dir(f, path, at + 1, depth);
    }
    _cleanup_(pattern_free_p) struct pattern *p = NULL;
    int r = pattern_new(*at, false, &p, f->err);
    _cleanup_strv_ char **names = NULL;
    if (r < 0 || read_dir(f->root, dir, &names, NULL) < 0) /* no directory: nothing matches in it */
        return r;
    for (char **name = names; r == 0 && *name; name++) {
        _cleanup_free_ char *path = join(dir, *name);
        struct stat st;
        if (!pattern_match(p, *name, strlen(*name)) || stat_in_root(f->root, path, &st, NULL) < 0 ||
            left_out(f->root, path, S_ISDIR(st.st_mode)))
            continue;
        if (last)
            r = add_path(f, path);
        else if (!S_ISREG(st.st_mode))
            r = glob_dir(f, path, at + 1, depth);
    }
    return r;
}

/* How many directories stand before "/./" in a path. */
static size_t pivot_of(const char *text)
{
    const char *pivot = strstr(text, "/./");
    _cleanup_free_ char *before = mem_strndup(text, pivot ? (size_t)(pivot - text) : 0);
    _cleanup_free_ char *clean = path_clean(before);
    const char *path = *clean == '/' ? clean + 1 : clean;
    if (!*path || strcmp(path, ".") == 0)
        return 0;
    size_t n = 1;
    for (; *path; path++)
        n += *path == '/';
    return n;
}

int sources_find(struct sources *s, const struct source_root *root, const char *text, struct err *err)
{
    /* What leads above the root is of the root. */
    _cleanup_free_ char *clean = path_resolve("/", text);
    const char *path = clean + 1;
    const struct finding f = {
        .out = s, .root = root, .kept_from = root->parents ? pivot_of(text) : 0, .err = err};
    if (!pattern_has_wildcard(path))
        return add_path(&f, path);
    _cleanup_strv_ char **parts = strv_split(path, '/');
    return glob_dir(&f, "", parts, 0);
}

/* --- A context that is not unpacked --- */

int sources_unpack(struct sources *s, struct bakery_context *context, struct err *err)
{
    for (size_t i = 0; i < s->count; i++) {
        struct source_root *root = &s->list[i].root;
        int r = root->tree ? context_unpack(context, &root->fd, err) : 0;
        if (r < 0)
            return r;
        root->passing = root->passing || root->tree;
        root->tree = NULL;
    }
    return 0;
}

/* --- Archives --- */

/* A compressed file that is no tar is copied as it is, so the first header decides: also one that was
 * compressed twice, as "x.tar.xz.gz", which Docker opens once and finds no tar in. The filters are the
 * compression and the file itself; none are left where what is compressed cannot be read. */
static int find_archive(int fd, bool *ret, struct err *err)
{
    deferred_need(DEFERRED_ARCHIVE);
    struct archive *a = archive_read_new();
    archive_read_support_filter_gzip(a);
    archive_read_support_filter_bzip2(a);
    archive_read_support_filter_xz(a);
    archive_read_support_filter_zstd(a);
    archive_read_support_format_tar(a);
    struct archive_entry *entry;
    int rc = archive_read_open_fd(a, fd, 64 << 10);
    if (rc == ARCHIVE_OK)
        rc = archive_read_next_header(a, &entry);
    int filters = archive_filter_count(a);
    archive_read_free(a);
    if (!filters)
        return err_set(err, ERR_INVALID,
                       "it is compressed, and cut or damaged; ADD --unpack=false takes it as it is");
    *ret = (rc == ARCHIVE_OK || rc == ARCHIVE_WARN) && filters <= 2;
    return 0;
}

int source_find_archive(struct source *source, struct err *err)
{
    if (source->is_dir || source->url)
        return 0;
    _cleanup_close_ int fd = file_open_in_root(source->root.fd, source->path, O_RDONLY, 0, err);
    if (fd < 0)
        return fd;
    int r = find_archive(fd, &source->unpack, err);
    return r < 0 ? err_wrap(err, "unpack %s", source->name) : 0;
}

int sources_find_archives(struct sources *s, size_t first, struct err *err)
{
    int r = 0;
    for (size_t i = first; r == 0 && i < s->count; i++)
        r = source_find_archive(&s->list[i], err);
    return r;
}

/* --- Hashing --- */

static void hash_text(struct digest_hasher *h, const char *text)
{
    digest_hasher_add(h, text, strlen(text) + 1);
}

/* By its digest, which a context that is not unpacked has already. */
static int hash_content(struct digest_hasher *h, const struct source_root *root, const char *path,
                        struct err *err)
{
    char digest[DIGEST_BYTES];
    if (root->tree && context_digest(root->tree, path, digest)) {
        hash_text(h, digest);
        return 0;
    }
    _cleanup_close_ int fd = file_open_in_root(root->fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, err);
    if (fd < 0)
        return fd;
    _cleanup_free_ char *buffer = mem_new(64 << 10);
    _cleanup_hasher_ struct digest_hasher *content = digest_hasher_new("sha256");
    ssize_t n;
    while ((n = file_read_full(fd, buffer, 64 << 10, err)) > 0)
        digest_hasher_add(content, buffer, (size_t)n);
    if (n < 0)
        return err_wrap(err, "%s", path);
    digest_hasher_format(content, digest);
    hash_text(h, digest);
    return 0;
}

static int hash_entry(struct digest_hasher *h, const struct source *source, const char *path,
                      const char *name, int depth, struct err *err);

static int hash_children(struct digest_hasher *h, const struct source *source, const char *path, int depth,
                         struct err *err)
{
    if (depth > DEPTH_MAX)
        return err_set(err, ERR_LIMIT, "%s: more than %d directories deep", path, DEPTH_MAX);
    _cleanup_strv_ char **names = NULL;
    int r = read_dir(&source->root, path, &names, err);
    for (char **name = names; r == 0 && *name; name++) {
        _cleanup_free_ char *child = join(path, *name);
        r = hash_entry(h, source, child, *name, depth + 1, err);
    }
    hash_text(h, "/"); /* the directory's end */
    return r;
}

static int hash_entry(struct digest_hasher *h, const struct source *source, const char *path,
                      const char *name, int depth, struct err *err)
{
    struct stat st;
    int r = stat_in_root(&source->root, path, &st, err);
    if (r < 0)
        return r;
    if (source_left_out(source, path, S_ISDIR(st.st_mode)))
        return 0;
    _cleanup_free_ char *facts =
        str_printf("%o %lld %u %u %llx", st.st_mode, S_ISREG(st.st_mode) ? (long long)st.st_size : 0,
                   source->root.keep_owner ? st.st_uid : 0, source->root.keep_owner ? st.st_gid : 0,
                   S_ISBLK(st.st_mode) || S_ISCHR(st.st_mode) ? (unsigned long long)st.st_rdev : 0);
    hash_text(h, name);
    hash_text(h, facts);
    if (S_ISDIR(st.st_mode))
        return hash_children(h, source, path, depth, err);
    if (S_ISREG(st.st_mode))
        return hash_content(h, &source->root, path, err);
    if (!S_ISLNK(st.st_mode))
        return 0;
    _cleanup_free_ char *target = NULL;
    r = read_link(&source->root, path, &target, err);
    if (r == 0)
        hash_text(h, target);
    return r;
}

/* The directories that --parents makes look like those of the root. */
static int hash_parents(struct digest_hasher *h, const struct source *source, struct err *err)
{
    const char *path = source->named, *slash = path + strlen(path) - strlen(source->name);
    while ((slash = strchr(slash, '/'))) {
        _cleanup_free_ char *dir = mem_strndup(path, (size_t)(slash++ - path)), *real = NULL;
        struct stat st;
        int r = follow(&source->root, dir, &real, &st, err);
        if (r < 0)
            return r;
        _cleanup_free_ char *facts = str_printf("%o %u %u", st.st_mode, st.st_uid, st.st_gid);
        hash_text(h, facts);
    }
    return 0;
}

int sources_hash(const struct sources *s, char **ret, struct err *err)
{
    _cleanup_hasher_ struct digest_hasher *h = digest_hasher_new("sha256");
    for (size_t i = 0; i < s->count; i++) {
        const struct source *source = &s->list[i];
        /* A directory's content is copied, not itself: its name does not count, unless --parents keeps it. */
        const char *name = source->is_dir && !source->root.parents ? "" : source->name;
        int r = source->identity ? 0 : hash_entry(h, source, source->path, name, 0, err);
        if (r == 0 && source->root.parents)
            r = hash_parents(h, source, err);
        if (r < 0)
            return r;
        hash_text(h, source->identity ? source->identity : "");
        hash_text(h, source->unpack && !source->identity ? "unpack" : "");
    }
    char digest[DIGEST_BYTES];
    digest_hasher_format(h, digest);
    const char *kind = s->count != 1 ? "multi" : s->list[0].is_dir ? "dir" : "file";
    *ret = str_printf("%s:%s", kind, digest_hex(digest));
    return 0;
}
