/* docker cp, export and diff: a container's files seen through a descriptor of its root, so that no path of
 * the container's can lead out of it. */
#include "engine/archive_view.h"

#include "base/err.h"
#include "base/file.h"
#include "engine/userns.h"
#include "image/tar.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* Docker's file modes are Go's: the type in bits of its own. */
static int64_t go_mode(mode_t mode)
{
    static const struct {
        mode_t unix_type;
        int64_t go_bits;
    } types[] = {{S_IFDIR, INT64_C(1) << 31}, {S_IFLNK, INT64_C(1) << 27},
                 {S_IFIFO, INT64_C(1) << 25}, {S_IFSOCK, INT64_C(1) << 24},
                 {S_IFBLK, INT64_C(1) << 26}, {S_IFCHR, INT64_C(1) << 26 | INT64_C(1) << 21}};
    int64_t go = mode & 0777;
    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        if ((mode & S_IFMT) == types[i].unix_type)
            go |= types[i].go_bits;
    if (mode & S_ISUID)
        go |= INT64_C(1) << 23;
    if (mode & S_ISGID)
        go |= INT64_C(1) << 22;
    if (mode & S_ISVTX)
        go |= INT64_C(1) << 20;
    return go;
}

/* Where a path ends: its directory, opened inside the root, and its last part. "/" has the part ".". A path
 * that ends in "/" or "/." means what a link there leads to, which must be a directory; any other the link
 * itself, as docker cp has it. What the archive calls it tells docker cp what was asked for: the directory
 * ("d"), or what is in it ("."). */
struct place {
    char *parent, *name;
    const char *shown;
    bool follow, directory;
};

static void place_done(struct place *p)
{
    free(p->parent);
    free(p->name);
}
#define _cleanup_place_ _cleanup_(place_done)

static int place_of(const char *path, struct place *ret, struct err *err)
{
    if (!*path)
        return err_set(err, ERR_INVALID, "a path in the container must be given");
    size_t n = strlen(path);
    bool dot = n > 1 && path[n - 1] == '.' && path[n - 2] == '/';
    for (;;) {
        if (n > 1 && path[n - 1] == '/')
            n--;
        else if (n > 1 && path[n - 1] == '.' && path[n - 2] == '/')
            n--;
        else
            break;
        ret->directory = true;
    }
    size_t start = n;
    while (start && path[start - 1] != '/')
        start--;
    ret->parent = start ? mem_strndup(path, start) : mem_strdup("/");
    ret->name = n > start ? mem_strndup(path + start, n - start) : mem_strdup(".");
    ret->follow = ret->directory || strcmp(ret->name, ".") == 0 || strcmp(ret->name, "..") == 0;
    ret->shown = dot || strcmp(path, ".") == 0 ? "." : strcmp(ret->name, ".") == 0 ? "/" : ret->name;
    return 0;
}

/* What stands at the place: an O_PATH descriptor (of a link itself unless followed). */
static int place_open(int root_fd, const struct place *p, const char *ref, const char *path, bool follow,
                      struct stat *ret_st, struct err *err)
{
    _cleanup_free_ char *whole = str_printf("%s/%s", p->parent, p->name);
    _cleanup_close_ int fd = file_open_in_root(root_fd, whole, O_PATH | (follow ? 0 : O_NOFOLLOW), 0, err);
    if (fd == -ERR_NOT_FOUND)
        return err_set(err, ERR_NOT_FOUND, "Could not find the file %s in container %s", path, ref);
    if (fd < 0)
        return err_wrap(err, "%s", path);
    if (fstat(fd, ret_st) < 0)
        return err_sys(err, errno, "%s", path);
    if (p->directory && !S_ISDIR(ret_st->st_mode))
        return err_set(err, ERR_INVALID, "%s: not a directory", path);
    return take_fd(&fd);
}

static char *path_of(int fd)
{
    char link[64], path[4096];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof(path) - 1);
    return mem_strndup(path, (size_t)MAX(n, 0));
}

/* Where a link leads in the end, as an absolute path in the container; of one that leads nowhere, where it
 * points. */
static char *target_of(int root_fd, const struct place *p, int link_fd)
{
    char text[4096];
    _cleanup_free_ char *whole = str_printf("%s/%s", p->parent, p->name);
    _cleanup_close_ int fd = file_open_in_root(root_fd, whole, O_PATH, 0, NULL);
    if (fd >= 0) {
        _cleanup_free_ char *root = path_of(root_fd), *path = path_of(fd);
        const char *inside = str_after(path, root);
        if (inside && (*inside == '/' || !*inside))
            return mem_strdup(*inside ? inside : "/");
    }
    ssize_t n = readlinkat(link_fd, "", text, sizeof(text) - 1);
    text[MAX(n, 0)] = '\0';
    return *text == '/' ? mem_strdup(text) : str_printf("%s%s", p->parent, text);
}

static json_t *stat_json(int root_fd, const struct place *p, int fd, const struct stat *st)
{
    _cleanup_free_ char *target = S_ISLNK(st->st_mode) ? target_of(root_fd, p, fd) : mem_strdup("");
    json_t *o = json_object();
    json_set_str(o, "name", p->shown);
    json_object_set_new(o, "size", json_integer(st->st_size));
    json_object_set_new(o, "mode", json_integer(go_mode(st->st_mode)));
    inspect__set_time(o, "mtime", st->st_mtim.tv_sec * NS_PER_S + st->st_mtim.tv_nsec);
    json_set_str(o, "linkTarget", target);
    return o;
}

/* Of a container that has just ended, as of a stopped one. */
static int open_to_look(struct container *c, struct archive_view *ret, struct err *err)
{
    int r;
    do {
        uint64_t exits = container__exits(c);
        r = archive_view__open(c, false, ret, err);
        if (r != -ERR_BUSY)
            break;
        r = container__await_end(c, exits, err);
    } while (r == 0);
    return r;
}

int engine_archive_stat(struct engine *e, const char *ref, const char *path, json_t **ret, struct err *err)
{
    _cleanup_container_ struct container *c = NULL;
    _cleanup_view_ struct archive_view view = ARCHIVE_VIEW_INIT;
    _cleanup_close_ int fd = -EBADF;
    _cleanup_place_ struct place p = {0};
    struct stat st;
    int r = container__find(e, ref, &c, err);
    if (r == 0)
        r = place_of(path, &p, err);
    if (r == 0)
        r = open_to_look(c, &view, err);
    if (r < 0)
        return r;
    fd = place_open(view.root_fd, &p, ref, path, p.follow, &st, err);
    if (fd < 0)
        return fd;
    *ret = stat_json(view.root_fd, &p, fd, &st);
    return 0;
}

int engine_archive_get(struct engine *e, const char *ref, const char *path, engine_write_fn write,
                       void *context, struct err *err)
{
    _cleanup_container_ struct container *c = NULL;
    _cleanup_view_ struct archive_view view = ARCHIVE_VIEW_INIT;
    _cleanup_close_ int fd = -EBADF;
    _cleanup_place_ struct place p = {0};
    struct stat st;
    int r = container__find(e, ref, &c, err);
    if (r == 0)
        r = place_of(path, &p, err);
    if (r == 0)
        r = open_to_look(c, &view, err);
    if (r < 0)
        return r;
    fd = place_open(view.root_fd, &p, ref, path, p.follow, &st, err);
    if (fd < 0)
        return fd;
    _cleanup_free_ char *whole = str_printf("%s/%s%s", p.parent, p.name, p.follow ? "/." : "");
    struct tar_create create = {
        .root_fd = view.root_fd, .path = whole, .name = p.shown, .epoch = -1, .ids = view.ids};
    container__event(c, "archive-path", NULL, NULL);
    return tar_create_stream(&create, write, context, err);
}

/* Whether it is on the container's own root, or on something mounted there. */
static bool on_root(int root_fd, int fd)
{
    struct statx root = {0}, it = {0};
    return statx(root_fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &root) == 0 &&
           statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &it) == 0 && root.stx_mnt_id == it.stx_mnt_id;
}

static int check_writable(struct container *c, int root_fd, int fd, struct err *err)
{
    struct statvfs vfs;
    _cleanup_json_ json_t *doc = container__doc(c);
    if (on_root(root_fd, fd))
        return json_bool(json_object_get(doc, "HostConfig"), "ReadonlyRootfs")
                   ? err_set(err, ERR_SYSTEM, "container rootfs is marked read-only")
                   : 0;
    if (fstatvfs(fd, &vfs) == 0 && vfs.f_flag & ST_RDONLY)
        return err_set(err, ERR_SYSTEM, "mounted volume is marked read-only");
    return 0;
}

/* copyUIDGID, as dockerd has it: everything becomes the container's user's, where it has one. */
static int give_to_user(struct container *c, struct tar_extract *extract, struct err *err)
{
    _cleanup_json_ json_t *doc = container__doc(c), *process = json_object();
    const char *user = json_str(json_object_get(doc, "Config"), "User");
    if (!*user)
        return 0;
    _cleanup_free_ char *home = NULL;
    int r = spec__user(c, NULL, user, NULL, process, &home, err);
    if (r < 0)
        return r;
    const json_t *who = json_object_get(process, "user");
    extract->keep_owner = false;
    extract->uid = (uid_t)json_int(who, "uid");
    extract->gid = (gid_t)json_int(who, "gid");
    return 0;
}

/* With container.op held when it succeeds: there is one writer of a stopped container's files, and no start
 * under its hands. */
static int open_to_put(struct container *c, struct tar_extract *extract, bool copy_owner,
                       struct archive_view *ret, struct err *err)
{
    int r;
    do {
        uint64_t exits = container__exits(c);
        pthread_mutex_lock(&c->op);
        /* Before the view: the user is looked up in one of its own. */
        r = copy_owner ? give_to_user(c, extract, err) : 0;
        if (r == 0)
            r = archive_view__open(c, true, ret, err);
        if (r == 0)
            return 0;
        pthread_mutex_unlock(&c->op);
        if (r == -ERR_BUSY)
            r = container__await_end(c, exits, err);
    } while (r == 0);
    return r;
}

static int put(struct container *c, const struct archive_view *view, struct tar_extract *extract,
               const struct place *p, const char *ref, engine_read_fn read, void *context, struct err *err)
{
    struct stat st;
    _cleanup_close_ int fd = place_open(view->root_fd, p, ref, extract->into, true, &st, err);
    if (fd < 0)
        return fd;
    if (!S_ISDIR(st.st_mode))
        return err_set(err, ERR_INVALID, "extraction point is not a directory");
    int r = check_writable(c, view->root_fd, fd, err);
    if (r < 0)
        return r;
    extract->root_fd = view->root_fd;
    extract->ids = view->ids;
    _cleanup_(userns__identity_give_back) struct userns_identity identity = {0};
    r = userns__identity_take(&view->ids, &identity, err);
    return r < 0 ? r : tar_extract_stream(extract, read, context, err);
}

int engine_archive_put(struct engine *e, const char *ref, const char *path, bool no_overwrite,
                       bool copy_owner, engine_read_fn read, void *context, struct err *err)
{
    _cleanup_container_ struct container *c = NULL;
    _cleanup_view_ struct archive_view view = ARCHIVE_VIEW_INIT;
    _cleanup_place_ struct place p = {0};
    int r = container__find(e, ref, &c, err);
    if (r == 0)
        r = place_of(path, &p, err);
    if (r < 0)
        return r;
    p.directory = false; /* said in put(), in the words for this call */
    struct tar_extract extract = {.into = path,
                                  .keep_owner = true, /* docker cp has already set them */
                                  .no_overwrite_dir_with_file = no_overwrite};
    r = open_to_put(c, &extract, copy_owner, &view, err);
    if (r < 0)
        return r;
    r = put(c, &view, &extract, &p, ref, read, context, err);
    archive_view__close(&view);
    pthread_mutex_unlock(&c->op);
    if (r == 0)
        container__event(c, "extract-to-dir", NULL, NULL);
    return r;
}

int engine_container_export(struct engine *e, const char *ref, engine_write_fn write, void *context,
                            struct err *err)
{
    _cleanup_container_ struct container *c = NULL;
    _cleanup_close_ int root = -EBADF;
    int r = container__find(e, ref, &c, err);
    if (r < 0)
        return r;
    /* The snapshot, not the running view: mounts are not part of the container. */
    _cleanup_free_ char *dir = container__dir(c);
    struct image_snapshot snapshot = {0};
    r = image_snapshot_open(e->images, *c->image_id ? c->image_id : NULL, dir, &snapshot, err);
    if (r == 0)
        r = image_snapshot_mount(e->images, &snapshot, true, &root, err);
    image_snapshot_done(&snapshot);
    if (r < 0)
        return r;
    struct tar_create create = {.root_fd = root, .path = "/", .epoch = -1};
    container__event(c, "export", NULL, NULL);
    return tar_create_stream(&create, write, context, err);
}

int engine_container_changes(struct engine *e, const char *ref, json_t **ret, struct err *err)
{
    _cleanup_container_ struct container *c = NULL;
    int r = container__find(e, ref, &c, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *dir = container__dir(c);
    struct image_snapshot snapshot = {0};
    r = image_snapshot_open(e->images, *c->image_id ? c->image_id : NULL, dir, &snapshot, err);
    if (r == 0)
        r = image_changes(e->images, &snapshot, ret, err);
    image_snapshot_done(&snapshot);
    return r;
}
