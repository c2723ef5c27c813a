/* Binds, Mounts, the image's and the body's Volumes, VolumesFrom and Tmpfs, as one list of mount points:
 * {"Type","Name","Source","Destination","Driver","Mode","RW","Propagation"}, each destination once, and a
 * "Fill" (not shown) for new volumes that take over the image's content. */
#include "engine/engine_priv.h"

#include "base/file.h"
#include "image/tar.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct resolve {
    struct engine *e;
    json_t *points; /* destination -> point */
    char ***volumes;
};

enum { MOUNTS_MAX = 512, PATH_BYTES_MAX = 4000 };

/* "/a//b/./c/" is "/a/b/c". ".." is refused: it would be resolved by whoever owns the root. */
static int clean_path(const char *path, char **ret, struct err *err)
{
    if (*path != '/')
        return err_set(err, ERR_INVALID,
                       "invalid mount config: invalid mount path: '%.200s' mount path must be absolute",
                       path);
    _cleanup_strv_ char **parts = strv_split(path, '/');
    _cleanup_str_ struct str out = STR_INIT;
    STRV_FOREACH (p, parts) {
        if (!**p || str_eq(*p, "."))
            continue;
        if (str_eq(*p, ".."))
            return err_set(err, ERR_INVALID, "invalid mount path: '%.200s' contains \"..\"", path);
        str_addf(&out, "/%s", *p);
    }
    if (!out.len)
        return err_set(err, ERR_INVALID, "invalid specification: destination can't be '/'");
    if (out.len > PATH_BYTES_MAX)
        return err_set(err, ERR_LIMIT, "a mount path is longer than %d bytes", PATH_BYTES_MAX);
    *ret = str_take(&out);
    return 0;
}

static int put(struct resolve *x, const char *destination, json_t *point, bool replace, struct err *err)
{
    _cleanup_json_ json_t *owned = point;
    _cleanup_free_ char *clean = NULL;
    int r = clean_path(destination, &clean, err);
    if (r < 0)
        return r;
    if (json_object_get(x->points, clean)) {
        if (!replace)
            return err_set(err, ERR_INVALID, "Duplicate mount point: %s", clean);
    } else if (json_object_size(x->points) >= MOUNTS_MAX)
        return err_set(err, ERR_LIMIT, "more than %d mounts", MOUNTS_MAX);
    json_set_str(point, "Destination", clean);
    json_object_set(x->points, clean, point);
    return 0;
}

static int volume_point(struct resolve *x, const char *name, const char *driver, const json_t *labels,
                        const json_t *options, const char *mode, bool rw, bool fill, json_t **ret,
                        struct err *err)
{
    _cleanup_free_ char *real = NULL, *path = NULL;
    int r = volume__ensure(x->e, name, driver, labels, options, &real, &path, err);
    if (r < 0)
        return r;
    strv_add(x->volumes, real);
    *ret = json_pack("{s:s,s:s,s:s,s:s,s:s,s:b,s:s,s:b}", "Type", "volume", "Name", real, "Source", path,
                     "Driver", "local", "Mode", mode, "RW", rw, "Propagation", "", "Fill", fill);
    return 0;
}

/* Options of a bind's third part. */
static int parse_mode(const char *mode, bool *ret_rw, bool *ret_fill, const char **ret_propagation,
                      struct err *err)
{
    static const char *const propagations[] = {"private", "rprivate", "shared", "rshared", "slave", "rslave"};
    static const char *const nothing[] = {"", "z", "Z", "cached", "delegated", "consistent", NULL};
    _cleanup_strv_ char **parts = strv_split(mode, ',');
    STRV_FOREACH (p, parts) {
        bool known = strv_has((char *const *)nothing, *p);
        for (size_t i = 0; i < ARRAY_SIZE(propagations); i++)
            if (str_eq(*p, propagations[i])) {
                *ret_propagation = propagations[i];
                known = true;
            }
        if (str_eq(*p, "ro"))
            *ret_rw = false;
        else if (str_eq(*p, "nocopy"))
            *ret_fill = false;
        else if (!known && !str_eq(*p, "rw") && !str_eq(*p, "copy"))
            return err_set(err, ERR_INVALID, "invalid mode: %.100s", mode);
    }
    return 0;
}

static int add_bind(struct resolve *x, const char *text, const char *driver, struct err *err)
{
    _cleanup_strv_ char **parts = strv_split(text, ':');
    size_t n = strv_len(parts);
    if (n < 2 || n > 3 || !*parts[0] || !*parts[1])
        return err_set(err, ERR_INVALID, "invalid volume specification: '%.300s'", text);
    const char *mode = n == 3 ? parts[2] : "", *propagation = "rprivate";
    bool rw = true, fill = true;
    json_t *point = NULL;
    int r = parse_mode(mode, &rw, &fill, &propagation, err);
    if (r < 0)
        return r;
    if (*parts[0] != '/') {
        r = volume_point(x, parts[0], driver, NULL, NULL, n == 3 ? mode : "z", rw, fill, &point, err);
        return r < 0 ? r : put(x, parts[1], point, false, err);
    }
    if (!file_exists(parts[0]) && (r = file_mkdirs(parts[0], 0755, err)) < 0)
        return err_wrap(err, "create the directory to be mounted at %s", parts[1]);
    point = json_pack("{s:s,s:s,s:s,s:b,s:s}", "Type", "bind", "Source", parts[0], "Mode", mode, "RW", rw,
                      "Propagation", propagation);
    return put(x, parts[1], point, false, err);
}

static int check_mount_keys(const json_t *mount, struct err *err)
{
    static const char *const known[] = {"Type",          "Source",       "Target",
                                        "ReadOnly",      "Consistency",  "BindOptions",
                                        "VolumeOptions", "TmpfsOptions", NULL};
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)mount, key, value)
        if (!strv_has((char *const *)known, key) && !json_is_null(value) && !json_is_false(value))
            return err_set(err, ERR_UNSUPPORTED, "\"HostConfig.Mounts.%.100s\" is not supported", key);
    const json_t *volume = json_object_get(mount, "VolumeOptions"),
                 *bind = json_object_get(mount, "BindOptions");
    if (!str_empty(json_str(volume, "Subpath")))
        return err_set(err, ERR_UNSUPPORTED, "\"HostConfig.Mounts.VolumeOptions.Subpath\" is not supported");
    if (json_bool(bind, "NonRecursive") || json_bool(bind, "ReadOnlyForceRecursive"))
        return err_set(err, ERR_UNSUPPORTED,
                       "\"HostConfig.Mounts.BindOptions.NonRecursive\" and "
                       "\"ReadOnlyForceRecursive\" are not supported");
    return 0;
}

static int mount_bind(const json_t *m, bool rw, json_t **ret, struct err *err)
{
    const char *source = json_str(m, "Source"), *propagation;
    const json_t *options = json_object_get(m, "BindOptions");
    propagation = json_str(options, "Propagation");
    if (*source != '/')
        return err_set(err, ERR_INVALID,
                       "invalid mount config for type \"bind\": invalid mount path: '%.200s' mount "
                       "path must be absolute",
                       source);
    if (!file_exists(source)) {
        if (!json_bool(options, "CreateMountpoint"))
            return err_set(err, ERR_INVALID,
                           "invalid mount config for type \"bind\": bind source path does not exist: %s",
                           source);
        int r = file_mkdirs(source, 0755, err);
        if (r < 0)
            return r;
    }
    *ret = json_pack("{s:s,s:s,s:s,s:b,s:s}", "Type", "bind", "Source", source, "Mode", "", "RW", rw,
                     "Propagation", *propagation ? propagation : "rprivate");
    return 0;
}

static int add_mount(struct resolve *x, const json_t *m, struct err *err)
{
    const char *type = "", *target = "", *source = "";
    bool read_only = false;
    json_t *point = NULL, *volume = NULL, *tmpfs = NULL, *config = NULL, *bind = NULL;
    if (!json_is_object(m))
        return err_set(err, ERR_INVALID, "\"HostConfig.Mounts\" must be a list of objects");
    static const char *const where = "HostConfig.Mounts";
    int r = json_get_string(m, where, "Type", &type, err);
    if (r == 0 && (r = json_get_string(m, where, "Target", &target, err)) == 0 &&
        (r = json_get_string(m, where, "Source", &source, err)) == 0 &&
        (r = json_get_bool(m, where, "ReadOnly", &read_only, err)) == 0 &&
        (r = json_get_object(m, where, "VolumeOptions", &volume, err)) == 0 &&
        (r = json_get_object(m, where, "BindOptions", &bind, err)) == 0 &&
        (r = json_get_object(m, where, "TmpfsOptions", &tmpfs, err)) == 0)
        r = check_mount_keys(m, err);
    if (r < 0)
        return r;
    if (!*target)
        return err_set(err, ERR_INVALID,
                       "invalid mount config for type \"%.20s\": field Target must not be empty", type);
    if (str_eq(type, "bind"))
        r = mount_bind(m, !read_only, &point, err);
    else if (str_eq(type, "volume")) {
        config = json_object_get(volume, "DriverConfig");
        r = volume_point(x, source, json_str(config, "Name"), json_object_get(volume, "Labels"),
                         json_object_get(config, "Options"), "z", !read_only, !json_bool(volume, "NoCopy"),
                         &point, err);
    } else if (str_eq(type, "tmpfs")) {
        if (*source)
            return err_set(err, ERR_INVALID,
                           "invalid mount config for type \"tmpfs\": field Source must not be specified");
        point = json_pack("{s:s,s:s,s:s,s:b,s:s,s:I,s:I}", "Type", "tmpfs", "Source", "", "Mode", "", "RW",
                          !read_only, "Propagation", "", "SizeBytes", json_int(tmpfs, "SizeBytes"),
                          "TmpfsMode", json_int(tmpfs, "Mode"));
    } else
        return err_set(err, ERR_UNSUPPORTED,
                       "\"HostConfig.Mounts\": the type \"%.50s\" is not supported; it can be "
                       "bind, volume or tmpfs",
                       type);
    return r < 0 ? r : put(x, target, point, false, err);
}

static int add_volumes_from(struct resolve *x, const char *text, struct err *err)
{
    _cleanup_strv_ char **parts = strv_split(text, ':');
    _cleanup_container_ struct container *other = NULL;
    bool rw = true, fill = true;
    const char *propagation = "";
    int r = container__find(x->e, parts[0], &other, err);
    if (r == -ERR_NOT_FOUND && err)
        r = -(err->code = ERR_INVALID); /* the body is wrong, not the path */
    if (r == 0 && parts[1])
        r = parse_mode(parts[1], &rw, &fill, &propagation, err);
    if (r < 0)
        return r;
    _cleanup_json_ json_t *doc = container__doc(other);
    size_t i;
    const json_t *point;
    json_array_foreach (json_object_get(doc, "MountPoints"), i, point) {
        if (str_eq(json_str(point, "Type"), "tmpfs"))
            continue;
        json_t *copy = json_deep_copy(point);
        json_object_set_new(copy, "Fill", json_false());
        if (!rw)
            json_object_set_new(copy, "RW", json_false());
        if (str_eq(json_str(copy, "Type"), "volume"))
            strv_add(x->volumes, json_str(copy, "Name"));
        if ((r = put(x, json_str(point, "Destination"), copy, true, err)) < 0)
            return r;
    }
    return 0;
}

static int add_anonymous(struct resolve *x, const json_t *config, const json_t *host, struct err *err)
{
    const char *destination;
    json_t *value, *tmpfs = json_object_get(host, "Tmpfs");
    json_object_foreach (json_object_get(config, "Volumes"), destination, value) {
        _cleanup_free_ char *clean = NULL;
        int r = clean_path(destination, &clean, err);
        if (r < 0)
            return r;
        if (json_object_get(x->points, clean) || json_object_get(tmpfs, clean))
            continue;
        json_t *point = NULL;
        r = volume_point(x, NULL, "", NULL, NULL, "", true, true, &point, err);
        if (r < 0 || (r = put(x, clean, point, false, err)) < 0)
            return r;
    }
    return 0;
}

static int resolve(struct resolve *x, const json_t *config, const json_t *host, struct err *err)
{
    size_t i;
    const json_t *item;
    int r = 0;
    json_array_foreach (json_object_get(host, "VolumesFrom"), i, item)
        if ((r = add_volumes_from(x, json_string_value(item), err)) < 0)
            return r;
    _cleanup_json_ json_t *inherited = x->points;
    x->points = json_object();
    json_array_foreach (json_object_get(host, "Binds"), i, item)
        if ((r = add_bind(x, json_string_value(item), json_str(host, "VolumeDriver"), err)) < 0)
            return r;
    json_array_foreach (json_object_get(host, "Mounts"), i, item)
        if ((r = add_mount(x, item, err)) < 0)
            return r;
    json_object_update_missing(x->points, inherited); /* an own mount wins over one of another container */
    return add_anonymous(x, config, host, err);
}

int mounts__resolve(struct engine *e, const char *id, const json_t *config, const json_t *host,
                    json_t **ret_points, char ***ret_volumes, struct err *err)
{
    struct resolve x = {e, json_object(), ret_volumes};
    int r = resolve(&x, config, host, err);
    json_t *list = json_array(), *point;
    const char *key;
    json_object_foreach (x.points, key, point)
        json_array_append(list, point);
    json_decref(x.points);
    if (r < 0) {
        json_decref(list);
        return r;
    }
    *ret_points = list;
    return 0;
}

static bool directory_empty(const char *path)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return false;
    DIR *d = fdopendir(dup(fd));
    bool found = false;
    struct dirent *entry;
    while (d && (entry = readdir(d)))
        found = found || (!str_eq(entry->d_name, ".") && !str_eq(entry->d_name, ".."));
    if (d)
        closedir(d);
    return d && !found;
}

/* The image's directory becomes the new volume: its content, and its own owner and mode. */
static int fill_one(int root, const char *destination, const char *source, struct err *err)
{
    struct stat st;
    _cleanup_close_ int from = file_open_in_root(root, destination, O_RDONLY | O_DIRECTORY, 0, NULL);
    if (from < 0 || fstat(from, &st) < 0)
        return 0; /* the image has no such directory */
    _cleanup_close_ int to = open(source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (to < 0)
        return err_sys(err, errno, "open %s", source);
    struct tree_copy copy = {.from_fd = root,
                             .from = destination,
                             .to_fd = to,
                             .to = "/",
                             .contents = true,
                             .keep_owner = true,
                             .mode = -1};
    int r = tree_copy(&copy, err);
    if (r == 0 && (fchown(to, st.st_uid, st.st_gid) < 0 || fchmod(to, st.st_mode & 07777) < 0))
        r = err_sys(err, errno, "take over the owner of %s", destination);
    return r < 0 ? err_wrap(err, "fill the volume for %s", destination) : 0;
}

int mounts__fill_volumes(struct container *c, const json_t *points, struct err *err)
{
    _cleanup_close_ int root = -EBADF;
    size_t i;
    const json_t *p;
    json_array_foreach (points, i, p) {
        if (!json_bool(p, "Fill") || !directory_empty(json_str(p, "Source")))
            continue;
        int r = root < 0 ? rootview__open(c, true, &root, err) : 0;
        if (r == 0)
            r = fill_one(root, json_str(p, "Destination"), json_str(p, "Source"), err);
        if (r < 0)
            return r;
    }
    return 0;
}
