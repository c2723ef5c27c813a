/* docker cp, export and diff: a container's files seen through a descriptor of its root, so that no path of
 * the container's can lead out of it. */
#include "engine/engine_priv.h"

#include "base/err.h"
#include "base/file.h"
#include "engine/userns.h"
#include "image/tar.h"

#include <fcntl.h>
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
 * that ends in "/" or
 * "/." means what a link there leads to, any other the link itself, as docker cp has it. */
struct place {
    char *parent, *name;
    bool follow;
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
    bool follow = false;
    for (;;) {
        if (n > 1 && path[n - 1] == '/')
            n--;
        else if (n > 1 && path[n - 1] == '.' && path[n - 2] == '/')
            n--;
        else
            break;
        follow = true;
    }
    size_t start = n;
    while (start && path[start - 1] != '/')
        start--;
    ret->parent = start ? mem_strndup(path, start) : mem_strdup("/");
    ret->name = n > start ? mem_strndup(path + start, n - start) : mem_strdup(".");
    ret->follow = follow || strcmp(ret->name, ".") == 0 || strcmp(ret->name, "..") == 0;
    return 0;
}

/* What stands at the place: an O_PATH descriptor (of a link itself unless followed). */
static int place_open(int root_fd, const struct place *p, const char *ref, const char *path, bool follow,
                      struct err *err)
{
    _cleanup_free_ char *whole = str_printf("%s/%s", p->parent, p->name);
    int fd = file_open_in_root(root_fd, whole, O_PATH | (follow ? 0 : O_NOFOLLOW), 0, err);
    if (fd == -ERR_NOT_FOUND)
        return err_set(err, ERR_NOT_FOUND, "Could not find the file %s in container %s", path, ref);
    return fd < 0 ? err_wrap(err, "%s", path) : fd;
}

static json_t *stat_json(const struct place *p, int fd, const struct stat *st)
{
    char target[4096] = "";
    if (S_ISLNK(st->st_mode)) {
        ssize_t n = readlinkat(fd, "", target, sizeof(target) - 1);
        target[MAX(n, 0)] = '\0';
    }
    json_t *o = json_object();
    json_set_str(o, "name", strcmp(p->name, ".") == 0 ? "/" : p->name);
    json_object_set_new(o, "size", json_integer(st->st_size));
    json_object_set_new(o, "mode", json_integer(go_mode(st->st_mode)));
    inspect__set_time(o, "mtime", st->st_mtim.tv_sec * NS_PER_S + st->st_mtim.tv_nsec);
    json_set_str(o, "linkTarget", target);
    return o;
}

int engine_archive_stat(struct engine *e, const char *ref, const char *path, json_t **ret, struct err *err)
{
    _cleanup_container_ struct container *c = NULL;
    _cleanup_close_ int root = -EBADF, fd = -EBADF;
    _cleanup_place_ struct place p = {0};
    int r = container__find(e, ref, &c, err);
    if (r == 0)
        r = place_of(path, &p, err);
    if (r == 0)
        r = rootview__open(c, true, &root, err);
    if (r < 0)
        return r;
    fd = place_open(root, &p, ref, path, p.follow, err);
    if (fd < 0)
        return fd;
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_sys(err, errno, "%s", path);
    *ret = stat_json(&p, fd, &st);
    return 0;
}

int engine_archive_get(struct engine *e, const char *ref, const char *path, engine_write_fn write,
                       void *context, struct err *err)
{
    _cleanup_container_ struct container *c = NULL;
    _cleanup_close_ int root = -EBADF, fd = -EBADF;
    _cleanup_place_ struct place p = {0};
    int r = container__find(e, ref, &c, err);
    if (r == 0)
        r = place_of(path, &p, err);
    struct tar_ids ids = {0};
    if (r == 0)
        r = rootview__open_ids(c, true, &root, &ids, err);
    if (r < 0)
        return r;
    fd = place_open(root, &p, ref, path, p.follow, err);
    if (fd < 0)
        return fd;
    _cleanup_free_ char *whole = str_printf("%s/%s%s", p.parent, p.name, p.follow ? "/." : "");
    struct tar_create create = {.root_fd = root, .path = whole, .name = p.name, .epoch = -1, .ids = ids};
    container__event(c, "archive-path", NULL, NULL);
    return tar_create_stream(&create, write, context, err);
}

int engine_archive_put(struct engine *e, const char *ref, const char *path, bool no_overwrite,
                       bool copy_owner, engine_read_fn read, void *context, struct err *err)
{
    _cleanup_container_ struct container *c = NULL;
    _cleanup_close_ int root = -EBADF, fd = -EBADF;
    _cleanup_place_ struct place p = {0};
    int r = container__find(e, ref, &c, err);
    if (r == 0)
        r = place_of(path, &p, err);
    if (r < 0)
        return r;
    SCOPED_LOCK(op, &c->op); /* one writer of a stopped container's files, and no start under its hands */
    struct tar_ids ids;
    r = rootview__open_ids(c, false, &root, &ids, err);
    if (r < 0)
        return r;
    fd = place_open(root, &p, ref, path, true, err);
    if (fd < 0)
        return fd;
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_sys(err, errno, "%s", path);
    if (!S_ISDIR(st.st_mode))
        return err_set(err, ERR_INVALID, "extraction point is not a directory");
    /* The archive's owners hold, as dockerd has it; docker cp has already set them to root's or, with -a, to
     * the source's. */
    (void)copy_owner;
    struct tar_extract extract = {.root_fd = root,
                                  .into = path,
                                  .keep_owner = true,
                                  .no_overwrite_dir_with_file = no_overwrite,
                                  .ids = ids};
    _cleanup_(userns__identity_give_back) struct userns_identity identity = {0};
    r = userns__identity_take(&ids, &identity, err);
    if (r == 0)
        r = tar_extract_stream(&extract, read, context, err);
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
