#include "engine/archive_view.h"

#include "base/file.h"
#include "engine/userns.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The work of a thread that leaves our mount namespace. */
struct view_work {
    struct container *c;
    const json_t *points;
    int home_fd;  /* our mount namespace */
    int there_fd; /* that of the running container, or negative: root_fd is its root, detached */
    int root_fd;
    int ret_root, ret_namespace;
    struct err err;
    int result;
};

static int sys_open_tree(int dir, const char *path, unsigned flags)
{
    return (int)syscall(SYS_open_tree, dir, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | flags);
}

static int sys_move_mount(int tree, int to_dir, const char *to, unsigned flags)
{
    return (int)syscall(SYS_move_mount, tree, "", to_dir, to, MOVE_MOUNT_F_EMPTY_PATH | flags);
}

/* A running container's root without what is mounted below it. */
static int borrow_root(struct view_work *w)
{
    if (setns(w->there_fd, CLONE_NEWNS) < 0)
        return err_sys(&w->err, errno, "look into container %.12s", w->c->id);
    w->root_fd = sys_open_tree(AT_FDCWD, "/", 0);
    if (w->root_fd < 0)
        return err_sys(&w->err, errno, "open the root of container %.12s", w->c->id);
    return setns(w->home_fd, CLONE_NEWNS) < 0
               ? err_sys(&w->err, errno, "return from container %.12s", w->c->id)
               : 0;
}

/* A namespace of its own with the root in it. */
static int settle(struct view_work *w)
{
    _cleanup_free_ char *place = str_printf("%s/root", w->c->engine->root);
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return err_sys(&w->err, errno, "make a mount namespace");
    if (sys_move_mount(w->root_fd, AT_FDCWD, place, 0) < 0)
        return err_sys(&w->err, errno, "mount the root of container %.12s", w->c->id);
    w->ret_root = open(place, O_PATH | O_DIRECTORY | O_CLOEXEC);
    w->ret_namespace = open("/proc/thread-self/ns/mnt", O_RDONLY | O_CLOEXEC);
    return w->ret_root < 0 || w->ret_namespace < 0 ? err_sys(&w->err, errno, "open %s", place) : 0;
}

/* The place for a mount: made when the container has not run yet. */
static int open_target(struct view_work *w, const char *destination, bool directory)
{
    int fd = file_open_in_root(w->ret_root, destination, O_PATH, 0, &w->err);
    if (fd != -ERR_NOT_FOUND)
        return fd;
    if (directory)
        return file_mkdirs_in_root(w->ret_root, destination, 0755, &w->err);
    _cleanup_free_ char *parent = mem_strndup(destination, (size_t)(strrchr(destination, '/') - destination));
    _cleanup_close_ int dir = *parent ? file_mkdirs_in_root(w->ret_root, parent, 0755, &w->err) : -EBADF;
    fd = file_open_in_root(w->ret_root, destination, O_WRONLY | O_CREAT | O_NOFOLLOW, 0644, &w->err);
    return fd;
}

static int open_source(const char *source, const char *subpath)
{
    _cleanup_close_ int part = -EBADF;
    if (!*subpath)
        return sys_open_tree(AT_FDCWD, source, AT_RECURSIVE);
    return volume__open_part(source, subpath, &part, NULL) < 0
               ? -EBADF
               : sys_open_tree(part, "", AT_RECURSIVE | AT_EMPTY_PATH);
}

/* What is not there any more leaves its place as it is in the container's own files. */
static int put_mount(struct view_work *w, const char *source, const char *subpath, const char *destination,
                     bool writable)
{
    struct stat st;
    _cleanup_close_ int tree = open_source(source, subpath);
    if (tree < 0 || fstat(tree, &st) < 0)
        return 0;
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
    if (!writable &&
        syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0)
        return err_sys(&w->err, errno, "make %s read-only", destination);
    _cleanup_close_ int target = open_target(w, destination, S_ISDIR(st.st_mode));
    if (target < 0)
        return err_wrap(&w->err, "mount %s", destination);
    if (sys_move_mount(tree, target, "", MOVE_MOUNT_T_EMPTY_PATH) < 0 && errno != ENOTDIR)
        return err_sys(&w->err, errno, "mount %s", destination);
    return 0;
}

static bool has_point(const json_t *points, const char *destination)
{
    size_t i;
    const json_t *p;
    json_array_foreach (points, i, p)
        if (str_eq(json_str(p, "Destination"), destination))
            return true;
    return false;
}

static int put_points(struct view_work *w)
{
    static const char *const own[] = {"hosts", "hostname", "resolv.conf"};
    _cleanup_free_ char *files = files__dir(w->c);
    size_t i;
    const json_t *p;
    int r = 0;
    json_array_foreach (w->points, i, p) {
        const char *type = json_str(p, "Type");
        if (r == 0 && !str_eq(type, "tmpfs"))
            r = put_mount(w, json_str(p, "Source"), json_str(p, "Subpath"), json_str(p, "Destination"),
                          json_bool(p, "RW"));
    }
    for (size_t k = 0; r == 0 && k < ARRAY_SIZE(own); k++) {
        _cleanup_free_ char *source = str_printf("%s/%s", files, own[k]),
                            *destination = str_printf("/etc/%s", own[k]);
        if (!has_point(w->points, destination))
            r = put_mount(w, source, "", destination, true);
    }
    return r;
}

static void *work(void *context)
{
    struct view_work *w = context;
    w->result = unshare(CLONE_FS) < 0 ? err_sys(&w->err, errno, "unshare") : 0;
    if (w->result == 0 && w->there_fd >= 0)
        w->result = borrow_root(w);
    if (w->result == 0)
        w->result = settle(w);
    if (w->result == 0)
        w->result = put_points(w);
    return NULL;
}

static int run_apart(struct view_work *w, struct err *err)
{
    pthread_t thread;
    int sys = pthread_create(&thread, NULL, work, w);
    if (sys)
        return err_sys(err, sys, "start a thread");
    pthread_join(thread, NULL);
    return w->result < 0 ? err_copy(err, &w->err) : 0;
}

/* The container's mount namespace; its pid is still its own when the container runs after that. */
static int open_namespace(struct container *c, int *ret, struct err *err)
{
    _cleanup_free_ char *path = str_printf("/proc/%d/ns/mnt", (int)container__state(c).pid);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || !container__running(c))
        return err_set(err, ERR_BUSY, "container %.12s has just ended", c->id);
    *ret = take_fd(&fd);
    return 0;
}

/* By depth, so that a mount below another stands in it. */
static int by_length(const void *a, const void *b)
{
    size_t x = strlen(json_str(*(json_t *const *)a, "Destination")),
           y = strlen(json_str(*(json_t *const *)b, "Destination"));
    return x < y ? -1 : x > y;
}

static json_t *sorted(const json_t *points)
{
    size_t n = json_array_size(points);
    json_t **list = NEW_N(json_t *, n + 1), *out = json_array();
    for (size_t i = 0; i < n; i++)
        list[i] = json_array_get(points, i);
    qsort(list, n, sizeof(*list), by_length);
    for (size_t i = 0; i < n; i++)
        json_array_append(out, list[i]);
    free(list);
    return out;
}

/* The root of a container that does not run, to be moved into the view. */
static int open_stopped(struct container *c, bool writable, struct archive_view *ret, int *ret_root,
                        struct err *err)
{
    if (writable)
        return rootview__open_with_places(c, ret_root, err);
    ret->scratch = str_printf("%s/trash/view-XXXXXX", c->engine->root);
    return rootview__open_over(c, ret->scratch, ret_root, err);
}

int archive_view__open(struct container *c, bool writable, struct archive_view *ret, struct err *err)
{
    _cleanup_json_ json_t *doc = container__doc(c), *points = sorted(json_object_get(doc, "MountPoints"));
    bool running = container__running(c);
    *ret = (struct archive_view)ARCHIVE_VIEW_INIT;
    /* Mounts with mapped ids are seen through the container's own, as it has them. */
    if (userns__of(doc).count)
        return rootview__open_ids(c, !writable, &ret->root_fd, &ret->ids, err);
    _cleanup_close_ int home = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC), there = -EBADF, root = -EBADF;
    if (home < 0)
        return err_sys(err, errno, "open /proc/self/ns/mnt");
    int r = running ? open_namespace(c, &there, err) : open_stopped(c, writable, ret, &root, err);
    if (r < 0) {
        archive_view__close(ret);
        return r;
    }
    struct view_work w = {.c = c,
                          .points = points,
                          .home_fd = home,
                          .there_fd = there,
                          .root_fd = root,
                          .ret_root = -EBADF,
                          .ret_namespace = -EBADF};
    r = run_apart(&w, err);
    if (running)
        close_fd(w.root_fd);
    ret->root_fd = w.ret_root;
    ret->namespace_fd = w.ret_namespace;
    if (r < 0)
        archive_view__close(ret);
    return r;
}

void archive_view__close(struct archive_view *view)
{
    close_fd(view->root_fd);
    close_fd(view->namespace_fd);
    if (view->scratch)
        file_remove_tree(view->scratch, NULL);
    free(view->scratch);
    *view = (struct archive_view)ARCHIVE_VIEW_INIT;
}
