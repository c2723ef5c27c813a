/* A tree from one root into another. Both roots may belong to attackers: see tar_extract.c for how names are
 * resolved. */
#include "base/err.h"
#include "base/file.h"
#include "image/tar_priv.h"

#include <fcntl.h>
#include <unistd.h>

enum { DEPTH_MAX = 512, LINKS_MAX = 100000 };

struct copying {
    const struct tree_copy *c;
    struct map links; /* "dev:ino" -> path in the destination */
    struct str from;  /* relative to the start, for messages and `exclude` */
    struct str to;    /* in the destination's root */
    size_t linked;
};

static int sys_failed(const struct copying *w, const char *what, struct err *err)
{
    int sys = errno;
    _cleanup_free_ char *text = tar__printable(str_get(&w->to));
    return err_sys(err, sys, "%s \"%s\"", what, text);
}

static void apply_choice(const struct copying *w, struct stat *st)
{
    if (!w->c->keep_owner) {
        st->st_uid = w->c->uid;
        st->st_gid = w->c->gid;
    }
    if (w->c->mode)
        st->st_mode = (st->st_mode & S_IFMT) | file_mode_apply(w->c->mode, st->st_mode);
}

/* Removes what has the name; directories only by a directory's content are kept, never replaced by a file. */
static int make_way(const struct copying *w, int to_dir, const char *name, struct err *err)
{
    if (unlinkat(to_dir, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno == EISDIR || errno == EPERM)
        return err_set(err, ERR_CONFLICT, "cannot overwrite directory \"%.200s\" with a file",
                       str_get(&w->to));
    return sys_failed(w, "replace", err);
}

/* Returns 1 when the file is now known by the name `to` as well. */
static int share_file(struct copying *w, const struct stat *st, int from_dir, const char *from, int to_dir,
                      const char *to, struct err *err)
{
    struct stat wanted = *st;
    apply_choice(w, &wanted);
    if (!w->c->link || w->linked >= LINKS_MAX || wanted.st_uid != st->st_uid || wanted.st_gid != st->st_gid ||
        wanted.st_mode != st->st_mode)
        return 0;
    bool shared = linkat(from_dir, from, to_dir, to, 0) == 0;
    if (!shared && errno == EEXIST) {
        int r = make_way(w, to_dir, to, err);
        if (r < 0)
            return r;
        shared = linkat(from_dir, from, to_dir, to, 0) == 0;
    }
    w->linked += shared;
    return shared;
}

static int copy_file(struct copying *w, int from_dir, const char *from, int to_dir, const char *to,
                     struct err *err)
{
    _cleanup_close_ int in = openat(from_dir, from, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    if (in < 0 || fstat(in, &st) < 0)
        return sys_failed(w, "read", err);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_CONFLICT, "\"%.200s\" changed while it was read", str_get(&w->from));
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    _cleanup_close_ int out = openat(to_dir, to, flags, 0600);
    if (out < 0 && errno == EEXIST) {
        int r = make_way(w, to_dir, to, err);
        if (r < 0)
            return r;
        out = openat(to_dir, to, flags, 0600);
    }
    if (out < 0)
        return sys_failed(w, "create", err);
    int r = tar__copy_data(in, out, st.st_size, err);
    apply_choice(w, &st);
    if (r == 0)
        r = tar__copy_attributes(in, out, &st, err);
    return r < 0 ? err_wrap(err, "copy to \"%.200s\"", str_get(&w->to)) : 0;
}

static int copy_symlink(struct copying *w, int from_dir, const char *from, int to_dir, const char *to,
                        struct stat *st, struct err *err)
{
    char target[4097];
    ssize_t n = readlinkat(from_dir, from, target, sizeof(target) - 1);
    if (n < 0)
        return sys_failed(w, "read link", err);
    target[n] = '\0';
    int r = make_way(w, to_dir, to, err);
    if (r < 0)
        return r;
    apply_choice(w, st);
    const struct timespec times[2] = {st->st_atim, st->st_mtim};
    if (symlinkat(target, to_dir, to) < 0 ||
        fchownat(to_dir, to, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0 ||
        utimensat(to_dir, to, times, AT_SYMLINK_NOFOLLOW) < 0)
        return sys_failed(w, "create", err);
    return 0;
}

static int copy_fifo(struct copying *w, int to_dir, const char *to, struct stat *st, struct err *err)
{
    int r = make_way(w, to_dir, to, err);
    if (r < 0)
        return r;
    apply_choice(w, st);
    if (mknodat(to_dir, to, S_IFIFO | 0600, 0) < 0 ||
        fchownat(to_dir, to, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0 ||
        fchmodat(to_dir, to, st->st_mode & 07777, 0) < 0)
        return sys_failed(w, "create", err);
    return 0;
}

/* A second name of a file that was copied becomes one here too. Returns 1 when it did. */
static int copy_link(struct copying *w, const struct stat *st, int to_dir, const char *to, struct err *err)
{
    if (st->st_nlink < 2)
        return 0;
    char key[64];
    snprintf(key, sizeof(key), "%llx:%llx", (unsigned long long)st->st_dev, (unsigned long long)st->st_ino);
    const char *first = map_get(&w->links, key);
    if (!first) {
        map_put(&w->links, key, mem_strdup(str_get(&w->to)));
        return 0;
    }
    _cleanup_free_ char *dir = mem_strdup(first);
    char *slash = strrchr(dir, '/');
    *(slash ? slash : dir) = '\0';
    _cleanup_close_ int at = file_open_in_root(w->c->to_fd, *dir ? dir : "/", O_PATH | O_DIRECTORY, 0, NULL);
    if (at < 0)
        return 0;
    int r = make_way(w, to_dir, to, err);
    if (r < 0)
        return r;
    return linkat(at, slash ? slash + 1 : first, to_dir, to, 0) == 0 ? 1 : 0;
}

static int copy_children(struct copying *w, int from, int to, int depth, struct err *err);

/* The destination's directory: made, or the one that is there, also through a symlink inside its root. */
static int enter_dir(struct copying *w, int to_dir, const char *to, bool *ret_new, struct err *err)
{
    *ret_new = mkdirat(to_dir, to, 0700) == 0;
    if (!*ret_new && errno != EEXIST)
        return sys_failed(w, "create directory", err);
    int fd = openat(to_dir, to, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && (errno == ELOOP || errno == ENOTDIR))
        fd = file_open_in_root(w->c->to_fd, str_get(&w->to), O_RDONLY | O_DIRECTORY, 0, NULL);
    if (fd < 0)
        return err_set(err, ERR_CONFLICT, "cannot copy a directory to \"%.200s\", which is a file",
                       str_get(&w->to));
    return fd;
}

static int copy_dir(struct copying *w, int from_dir, const char *from, int to_dir, const char *to, int depth,
                    struct err *err)
{
    _cleanup_close_ int in = openat(from_dir, from, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (in < 0 || fstat(in, &st) < 0)
        return sys_failed(w, "read", err);
    bool made;
    _cleanup_close_ int out = enter_dir(w, to_dir, to, &made, err);
    if (out < 0)
        return out;
    bool later = made && w->c->later && w->c->later(w->c->later_context, str_get(&w->from), str_get(&w->to));
    int r = later ? 0 : copy_children(w, in, out, depth + 1, err);
    apply_choice(w, &st);
    return r < 0 ? r : tar__copy_attributes(in, out, &st, err);
}

static int copy_one(struct copying *w, int from_dir, const char *from, int to_dir, const char *to, int depth,
                    struct err *err)
{
    struct stat st;
    if (fstatat(from_dir, from, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : sys_failed(w, "read", err);
    if (w->c->exclude && w->c->exclude(w->c->exclude_context, str_get(&w->from), S_ISDIR(st.st_mode)))
        return 0;
    if (S_ISDIR(st.st_mode))
        return copy_dir(w, from_dir, from, to_dir, to, depth, err);
    if (S_ISSOCK(st.st_mode))
        return 0; /* means nothing without its process */
    int r = copy_link(w, &st, to_dir, to, err);
    if (r == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1)
        r = share_file(w, &st, from_dir, from, to_dir, to, err);
    if (r != 0)
        return MIN(r, 0);
    if (S_ISREG(st.st_mode))
        return copy_file(w, from_dir, from, to_dir, to, err);
    if (S_ISLNK(st.st_mode))
        return copy_symlink(w, from_dir, from, to_dir, to, &st, err);
    if (S_ISFIFO(st.st_mode))
        return copy_fifo(w, to_dir, to, &st, err);
    return err_set(err, ERR_UNSUPPORTED, "\"%.200s\" is a device node: it is not copied", str_get(&w->from));
}

static int copy_children(struct copying *w, int from, int to, int depth, struct err *err)
{
    if (depth > DEPTH_MAX)
        return err_set(err, ERR_LIMIT, "\"%.200s\" is nested more than %d levels deep", str_get(&w->from),
                       DEPTH_MAX);
    _cleanup_strv_ char **names = NULL;
    int r = tar__list_dir(from, &names, err);
    size_t from_len = w->from.len, to_len = w->to.len;
    STRV_FOREACH (name, names) {
        if (r < 0)
            break;
        str_addf(&w->from, "%s%s", from_len ? "/" : "", *name);
        str_addf(&w->to, "/%s", *name);
        r = copy_one(w, from, *name, to, *name, depth, err);
        str_truncate(&w->from, from_len);
        str_truncate(&w->to, to_len);
    }
    return r;
}

static bool is_empty(int dir)
{
    _cleanup_strv_ char **names = NULL;
    return tar__list_dir(dir, &names, NULL) == 0 && !*names;
}

static int copy_contents(struct copying *w, struct err *err)
{
    const struct tree_copy *c = w->c;
    _cleanup_close_ int from = file_open_in_root(c->from_fd, c->from, O_RDONLY | O_DIRECTORY, 0, err);
    if (from < 0)
        return from;
    _cleanup_close_ int made = file_mkdirs_in_root(c->to_fd, c->to, 0755, err);
    if (made < 0)
        return made;
    _cleanup_close_ int to = openat(made, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (to < 0)
        return err_sys(err, errno, "open %s", c->to);
    /* An empty destination becomes the source's likeness: a fresh volume gets the owner that its program
     * expects. */
    bool whole = c->keep_owner && !c->root_stays && is_empty(to);
    int r = copy_children(w, from, to, 0, err);
    struct stat st;
    if (r < 0 || !whole)
        return r;
    if (fstat(from, &st) < 0)
        return err_sys(err, errno, "read %s", c->from);
    apply_choice(w, &st);
    return tar__copy_attributes(from, to, &st, err);
}

/* `path` without slashes at its end, parted into directory and last name. */
static void part(const char *path, char **ret_dir, char **ret_name)
{
    _cleanup_free_ char *clean = mem_strdup(path);
    while (strlen(clean) > 1 && str_ends_with(clean, "/"))
        clean[strlen(clean) - 1] = '\0';
    char *slash = strrchr(clean, '/');
    *ret_name = mem_strdup(slash ? slash + 1 : clean);
    *ret_dir = slash && slash != clean ? mem_strndup(clean, (size_t)(slash - clean)) : mem_strdup("/");
}

static int copy_single(struct copying *w, struct err *err)
{
    const struct tree_copy *c = w->c;
    _cleanup_free_ char *from_dir = NULL, *from_name = NULL, *to_dir = NULL, *to_name = NULL;
    part(c->from, &from_dir, &from_name);
    part(c->to, &to_dir, &to_name);
    _cleanup_close_ int into = file_open_in_root(c->to_fd, c->to, O_PATH | O_DIRECTORY, 0, NULL);
    _cleanup_close_ int from = file_open_in_root(c->from_fd, from_dir, O_PATH | O_DIRECTORY, 0, err);
    if (from < 0)
        return from;
    struct stat st;
    if (fstatat(from, *from_name ? from_name : ".", &st, AT_SYMLINK_NOFOLLOW) < 0)
        return err_sys(err, errno, "%s", c->from);
    /* A file copied to a directory goes into it by its name. */
    bool below = !S_ISDIR(st.st_mode) && (into >= 0 || str_ends_with(c->to, "/"));
    _cleanup_close_ int to = file_mkdirs_in_root(c->to_fd, below ? c->to : to_dir, 0755, err);
    if (to < 0)
        return to;
    const char *name = below ? from_name : to_name;
    const char *dir = below ? c->to : to_dir;
    str_addf(&w->to, "%s%s%s", dir, str_ends_with(dir, "/") ? "" : "/", name);
    return copy_one(w, from, *from_name ? from_name : ".", to, *name ? name : ".", 0, err);
}

int tree_copy(const struct tree_copy *c, struct err *err)
{
    struct copying w = {.c = c, .links = MAP_INIT(free)};
    str_add(&w.from, c->below ? c->below : "");
    if (c->contents)
        str_add(&w.to, str_eq(c->to, "/") ? "" : c->to);
    int r = c->contents ? copy_contents(&w, err) : copy_single(&w, err);
    map_done(&w.links);
    str_free(&w.from);
    str_free(&w.to);
    return r;
}
