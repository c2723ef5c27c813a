/* Volumes of containers that run: those of drivers that mount them, and parts of volumes.
 *
 * A container's mount points tell where its volumes are; of a plug-in that is known only while it is mounted,
 * so the Source of such a point is of the present run. A part of a volume ("Subpath") is mounted at a place
 * of its own, <container>/subpaths/N, from a descriptor that was opened within the volume: whoever owns the
 * volume's files cannot exchange them for a link to elsewhere meanwhile. */
#include "engine/volume_priv.h"

#include "base/file.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Serialises mounting and unmounting: a volume is not unmounted while it is being mounted for another. */
static pthread_mutex_t mounting = PTHREAD_MUTEX_INITIALIZER;

struct facts {
    char *driver, *path;
    json_t *options;
};

static void facts_done(struct facts *f)
{
    free(f->driver);
    free(f->path);
    json_decref(f->options);
}
#define _cleanup_facts_ _cleanup_(facts_done)

/* Enters `id` among those that have the volume mounted. */
static int begin(struct engine *e, const char *name, const char *id, struct facts *ret, struct err *err)
{
    SCOPED_LOCK(lock, &e->lock);
    struct volume *v = map_get(&e->volumes, name);
    if (!v)
        return err_set(err, ERR_NOT_FOUND, "get %s: no such volume", name);
    _cleanup_json_ json_t *doc = volume__doc(v);
    if (!strv_has(v->mounted, id))
        strv_add(&v->mounted, id);
    *ret = (struct facts){mem_strdup(v->driver), mem_strdup(v->path),
                          json_incref(json_object_get(doc, "Options"))};
    return 0;
}

/* Takes `id` out again; whether it was there, and whether nobody else is left. */
static bool end(struct engine *e, const char *name, const char *id, struct facts *ret, bool *ret_last)
{
    SCOPED_LOCK(lock, &e->lock);
    struct volume *v = map_get(&e->volumes, name);
    if (!v || !strv_has(v->mounted, id))
        return false;
    _cleanup_json_ json_t *doc = volume__doc(v);
    char **left = NULL;
    STRV_FOREACH (m, v->mounted)
        if (!str_eq(*m, id))
            strv_add(&left, *m);
    strv_free(v->mounted);
    v->mounted = left;
    *ret_last = !strv_len(left);
    *ret = (struct facts){mem_strdup(v->driver), mem_strdup(v->path),
                          json_incref(json_object_get(doc, "Options"))};
    return true;
}

int volume__mount(struct engine *e, const char *name, const char *id, char **ret_path, struct err *err)
{
    _cleanup_facts_ struct facts f = {0};
    SCOPED_LOCK(serial, &mounting);
    int r = begin(e, name, id, &f, err);
    if (r < 0)
        return r;
    if (volume__is_local(f.driver)) {
        r = volume_local__mount(f.path, f.options, err);
        if (r == 0)
            *ret_path = take_ptr(f.path);
    } else {
        r = volume_plugin__mount(f.driver, name, id, ret_path, err);
        if (r < 0)
            err_wrap(err, "error while mounting volume '%s'", name);
    }
    if (r < 0) {
        _cleanup_facts_ struct facts ignored = {0};
        bool last;
        end(e, name, id, &ignored, &last);
    }
    return r;
}

void volume__unmount(struct engine *e, const char *name, const char *id)
{
    _cleanup_facts_ struct facts f = {0};
    struct err err = {0};
    bool last = false;
    SCOPED_LOCK(serial, &mounting);
    if (!end(e, name, id, &f, &last))
        return;
    if (!volume__is_local(f.driver)) {
        if (volume_plugin__unmount(f.driver, name, id, &err) < 0)
            log_warning("unmount volume %s: %s", name, err.msg);
    } else if (last && volume_local__mounts(f.options))
        volume_local__unmount(f.path);
}

/* --- a part of a volume --- */

int volume__open_part(const char *path, const char *subpath, int *ret_fd, struct err *err)
{
    _cleanup_close_ int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return err_sys(err, errno, "open the volume at %s", path);
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    int fd = (int)syscall(SYS_openat2, dir, subpath, &how, sizeof(how));
    if (fd < 0 && errno == EXDEV)
        return err_set(err, ERR_INVALID, "path escapes base: subpath %.200s of the volume leads out of it",
                       subpath);
    if (fd < 0)
        return err_set(err, ERR_INVALID, "cannot access path %.200s of the volume: %s", subpath,
                       strerror(errno));
    *ret_fd = fd;
    return 0;
}

static int make_place(const char *place, int fd, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_sys(err, errno, "look at the volume's part");
    if (S_ISDIR(st.st_mode))
        return file_mkdirs(place, 0700, err);
    _cleanup_close_ int file = open(place, O_CREAT | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600);
    return file < 0 ? err_sys(err, errno, "create %s", place) : 0;
}

int volume__mount_part(struct container *c, const char *path, const char *subpath, size_t index, char **ret,
                       struct err *err)
{
    _cleanup_free_ char *dir = container__dir(c), *places = str_printf("%s/subpaths", dir),
                        *place = str_printf("%s/%zu", places, index);
    _cleanup_close_ int fd = -EBADF, tree = -EBADF;
    int r = volume__open_part(path, subpath, &fd, err);
    if (r == 0)
        r = file_mkdirs(places, 0700, err);
    if (r == 0)
        r = make_place(place, fd, err);
    if (r < 0)
        return r;
    umount2(place, MNT_DETACH | UMOUNT_NOFOLLOW); /* of a run that a crash cut off */
    tree = (int)syscall(SYS_open_tree, fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (tree < 0 || syscall(SYS_move_mount, tree, "", AT_FDCWD, place, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return err_sys(err, errno, "mount the volume's part %.200s", subpath);
    *ret = take_ptr(place);
    return 0;
}

static void unmount_parts(struct container *c, const json_t *points)
{
    _cleanup_free_ char *dir = container__dir(c), *places = str_printf("%s/subpaths", dir);
    size_t i;
    const json_t *p;
    bool any = false;
    json_array_foreach (points, i, p) {
        if (!*json_str(p, "Subpath"))
            continue;
        _cleanup_free_ char *place = str_printf("%s/%zu", places, i);
        any = true;
        umount2(place, MNT_DETACH | UMOUNT_NOFOLLOW);
    }
    if (any)
        file_remove_tree(places, NULL);
}

/* --- all of a container --- */

static int mount_one(struct container *c, json_t *point, size_t index, struct err *err)
{
    _cleanup_free_ char *path = NULL, *part = NULL;
    const char *subpath = json_str(point, "Subpath");
    int r = volume__mount(c->engine, json_str(point, "Name"), c->id, &path, err);
    if (r == 0)
        json_set_str(point, "Source", path);
    if (r == 0 && *subpath && (r = volume__mount_part(c, path, subpath, index, &part, err)) == 0)
        json_set_str(point, "Part", part);
    return r;
}

int volumes__mount(struct container *c, json_t *doc, struct err *err)
{
    json_t *points = json_object_get(doc, "MountPoints"), *p;
    bool moved = false;
    size_t i;
    json_array_foreach (points, i, p) {
        if (!str_eq(json_str(p, "Type"), "volume"))
            continue;
        _cleanup_free_ char *before = mem_strdup(json_str(p, "Source"));
        int r = mount_one(c, p, i, err);
        if (r < 0)
            return r; /* what is mounted goes with the run */
        moved = moved || !str_eq(before, json_str(p, "Source")) || *json_str(p, "Part");
    }
    if (moved)
        container__set_doc(c, json_deep_copy(doc));
    return 0;
}

void volumes__tell(struct container *c, const json_t *doc, bool mounted)
{
    size_t i;
    const json_t *p;
    json_array_foreach (json_object_get(doc, "MountPoints"), i, p) {
        if (!str_eq(json_str(p, "Type"), "volume"))
            continue;
        const char *driver = json_str(p, "Driver");
        _cleanup_json_ json_t *attributes =
            json_pack("{s:s,s:s}", "container", c->id, "driver", *driver ? driver : "local");
        if (mounted)
            json_object_update_new(attributes,
                                   json_pack("{s:s,s:s,s:s}", "destination", json_str(p, "Destination"),
                                             "propagation", json_str(p, "Propagation"), "read/write",
                                             json_bool(p, "RW") ? "true" : "false"));
        engine_event(c->engine, "volume", mounted ? "mount" : "unmount", json_str(p, "Name"), attributes);
    }
}

void volumes__unmount(struct container *c)
{
    _cleanup_strv_ char **names = NULL;
    pthread_mutex_lock(&c->lock);
    names = strv_dup(c->volumes);
    bool images = c->images;
    pthread_mutex_unlock(&c->lock);
    if (!strv_len(names) && !images)
        return;
    _cleanup_json_ json_t *doc = container__doc(c);
    const json_t *points = json_object_get(doc, "MountPoints");
    unmount_parts(c, points);
    image_mounts__unmount(c, points);
    STRV_FOREACH (name, names)
        volume__unmount(c->engine, *name, c->id);
}

void volumes__restore(struct container *c)
{
    SCOPED_LOCK(lock, &c->engine->lock);
    SCOPED_LOCK(locked, &c->lock);
    STRV_FOREACH (name, c->volumes) {
        struct volume *v = map_get(&c->engine->volumes, *name);
        if (v && !strv_has(v->mounted, c->id))
            strv_add(&v->mounted, c->id);
    }
}
