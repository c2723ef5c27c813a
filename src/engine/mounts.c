/* Binds, Mounts, the image's and the body's Volumes, VolumesFrom and Tmpfs, as one list of mount points:
 * {"Type","Name","Source","Destination","Driver","Mode","RW","Propagation"}, each destination once, and a
 * "Fill" (not shown) for new volumes that take over the image's content. */
#include "engine/mounts_priv.h"

#include "base/file.h"
#include "image/tar.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOUNTS_MAX = 512, PATH_BYTES_MAX = 4000 };

/* "/a//b/./c/../" is "/a/b", as path.Clean() of Docker's language has it; what is behind it is resolved
 * within the root by the runtime. */
int mounts__clean_path(const char *path, char **ret, struct err *err)
{
    if (*path != '/')
        return err_set(err, ERR_INVALID, "invalid mount path: '%.200s' mount path must be absolute", path);
    _cleanup_strv_ char **parts = strv_split(path, '/');
    _cleanup_str_ struct str out = STR_INIT;
    STRV_FOREACH (p, parts) {
        if (!**p || str_eq(*p, "."))
            continue;
        if (!str_eq(*p, "..")) {
            str_addf(&out, "/%s", *p);
            continue;
        }
        const char *slash = out.len ? strrchr(str_get(&out), '/') : NULL;
        if (slash)
            str_truncate(&out, (size_t)(slash - str_get(&out)));
    }
    if (out.len > PATH_BYTES_MAX)
        return err_set(err, ERR_LIMIT, "a mount path is longer than %d bytes", PATH_BYTES_MAX);
    *ret = out.len ? str_take(&out) : mem_strdup("/");
    return 0;
}

static int clean_destination(const char *path, char **ret, struct err *err)
{
    _cleanup_free_ char *clean = NULL;
    int r = mounts__clean_path(path, &clean, err);
    if (r == 0 && str_eq(clean, "/"))
        r = err_set(err, ERR_INVALID, "invalid specification: destination can't be '/'");
    if (r == 0)
        *ret = take_ptr(clean);
    return r;
}

int mounts__put(struct resolve *x, const char *destination, json_t *point, bool replace, struct err *err)
{
    _cleanup_json_ json_t *owned = point;
    _cleanup_free_ char *clean = NULL;
    int r = clean_destination(destination, &clean, err);
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

int mounts__volume_point(struct resolve *x, const struct volume_wish *w, json_t **ret, struct err *err)
{
    _cleanup_free_ char *real = NULL, *path = NULL, *driver = NULL;
    int r = volume__ensure(x->e, w->name, w->driver, w->labels, w->options, &real, &path, &driver, err);
    if (r < 0)
        return r;
    strv_add(x->volumes, real);
    *ret = json_pack("{s:s,s:s,s:s,s:s,s:s,s:b,s:s,s:b}", "Type", "volume", "Name", real, "Source", path,
                     "Driver", driver, "Mode", w->mode, "RW", w->rw, "Propagation", "", "Fill", w->fill);
    return 0;
}

/* The words of a bind's third part, each kind at most once. */
static const struct mode_word {
    const char *word;
    enum mode_kind {
        MODE_ACCESS,
        MODE_PROPAGATION,
        MODE_LABEL,
        MODE_COPY,
        MODE_CONSISTENCY,
        MODE_KINDS
    } kind;
} mode_words[] = {
    {"ro", MODE_ACCESS},
    {"rw", MODE_ACCESS},
    {"private", MODE_PROPAGATION},
    {"rprivate", MODE_PROPAGATION},
    {"shared", MODE_PROPAGATION},
    {"rshared", MODE_PROPAGATION},
    {"slave", MODE_PROPAGATION},
    {"rslave", MODE_PROPAGATION},
    {"z", MODE_LABEL},
    {"Z", MODE_LABEL},
    {"copy", MODE_COPY},
    {"nocopy", MODE_COPY},
    {"cached", MODE_CONSISTENCY},
    {"delegated", MODE_CONSISTENCY},
    {"consistent", MODE_CONSISTENCY},
    {"default", MODE_CONSISTENCY},
};

struct mode {
    const char *words[MODE_KINDS]; /* NULL: not given */
};

static bool note_word(struct mode *m, const char *word)
{
    for (size_t i = 0; i < ARRAY_SIZE(mode_words); i++)
        if (str_eq(mode_words[i].word, word)) {
            bool first = !m->words[mode_words[i].kind];
            m->words[mode_words[i].kind] = mode_words[i].word;
            return first;
        }
    return false;
}

static int parse_mode(const char *text, struct mode *ret, struct err *err)
{
    _cleanup_strv_ char **parts = strv_split(text, ',');
    *ret = (struct mode){0};
    STRV_FOREACH (p, parts)
        if (**p && !note_word(ret, *p))
            return err_set(err, ERR_INVALID, "invalid mode: %.100s", text);
    return 0;
}

/* What the words say of a kind of mount that has no such thing. */
static int check_mode(const struct mode *m, bool volume, struct err *err)
{
    if (volume && m->words[MODE_PROPAGATION])
        return err_set(err, ERR_INVALID,
                       "invalid mount config for type \"volume\": field BindOptions must not be specified");
    if (!volume && m->words[MODE_COPY])
        return err_set(err, ERR_INVALID,
                       "invalid mount config for type \"bind\": field VolumeOptions must not be specified");
    return 0;
}

static bool is_within(const char *path, const char *directory)
{
    const char *rest = str_after(path, directory);
    return rest && (!*rest || *rest == '/' || str_eq(directory, "/"));
}

int mounts__propagation(struct resolve *x, const char *source, const char *asked, const char **ret,
                        struct err *err)
{
    const char *root = x->e->root;
    bool own = is_within(source, root) || is_within(root, source);
    if (own && *asked && !str_eq(asked, "rslave") && !str_eq(asked, "rshared"))
        return err_set(err, ERR_INVALID,
                       "invalid mount config: must use either propagation mode \"rslave\" or \"rshared\" "
                       "when mount source is within the daemon root, daemon root: \"%.200s\", bind mount "
                       "source: \"%.200s\", propagation: \"%s\"",
                       root, source, asked);
    *ret = *asked ? asked : own ? "rslave" : "rprivate";
    return 0;
}

static int bind_point(struct resolve *x, char *const *parts, const char *mode, const struct mode *m,
                      json_t **ret, struct err *err)
{
    _cleanup_free_ char *clean = NULL;
    const char *asked = m->words[MODE_PROPAGATION], *propagation;
    int r = mounts__clean_path(parts[0], &clean, err);
    if (r == 0)
        r = mounts__propagation(x, clean, asked ? asked : "", &propagation, err);
    if (r == 0 && !file_exists(clean) && (r = file_mkdirs(clean, 0755, err)) < 0)
        err_wrap(err, "create the directory to be mounted at %.200s", parts[1]);
    if (r < 0)
        return r;
    *ret = json_pack("{s:s,s:s,s:s,s:b,s:s}", "Type", "bind", "Source", clean, "Mode", mode, "RW",
                     !str_eq(m->words[MODE_ACCESS], "ro"), "Propagation", propagation);
    return 0;
}

static int parts_point(struct resolve *x, char *const *parts, const char *driver, json_t **ret,
                       struct err *err)
{
    const char *text = parts[1] && parts[2] ? parts[2] : "";
    bool volume = !parts[1] || *parts[0] != '/';
    struct mode m;
    int r = parse_mode(text, &m, err);
    if (r == 0)
        r = check_mode(&m, volume, err);
    if (r < 0)
        return r;
    if (!volume)
        return bind_point(x, parts, text, &m, ret, err);
    struct volume_wish w = {.name = parts[1] ? parts[0] : NULL,
                            .driver = driver,
                            .mode = *text      ? text
                                    : parts[1] ? "z"
                                               : "",
                            .rw = !str_eq(m.words[MODE_ACCESS], "ro"),
                            .fill = !str_eq(m.words[MODE_COPY], "nocopy")};
    return mounts__volume_point(x, &w, ret, err);
}

/* "SOURCE:DESTINATION[:MODE]", or a destination alone for an anonymous volume. */
static int add_bind(struct resolve *x, const char *text, const char *driver, struct err *err)
{
    _cleanup_strv_ char **parts = strv_split(text, ':');
    _cleanup_free_ char *clean = NULL;
    size_t n = strv_len(parts);
    if (n < 1 || n > 3 || !*parts[0] || (n > 1 && !*parts[1]))
        return err_set(err, ERR_INVALID, "invalid volume specification: '%.300s'", text);
    const char *destination = n == 1 ? parts[0] : parts[1];
    json_t *point = NULL;
    int r = clean_destination(destination, &clean, err);
    if (r < 0) {
        err_wrap(err, "invalid mount config for type \"%s\"", *parts[0] == '/' ? "bind" : "volume");
        return err_wrap(err, "invalid volume specification: '%.300s'", text);
    }
    r = parts_point(x, parts, driver, &point, err);
    return r < 0 ? r : mounts__put(x, clean, point, false, err);
}

static int add_volumes_from(struct resolve *x, const char *text, struct err *err)
{
    _cleanup_strv_ char **parts = strv_split(text ? text : "", ':');
    _cleanup_container_ struct container *other = NULL;
    struct mode m = {0};
    if (str_empty(text) || !*parts[0])
        return err_set(err, ERR_INVALID, "volumes-from specification cannot be an empty string");
    int r = container__find(x->e, parts[0], &other, err);
    if (r == -ERR_NOT_FOUND && err)
        r = -(err->code = ERR_INVALID); /* the body is wrong, not the path */
    if (r == 0 && parts[1])
        r = parse_mode(parts[1], &m, err);
    if (r == 0 && (m.words[MODE_PROPAGATION] || m.words[MODE_COPY] || (parts[1] && parts[2])))
        r = err_set(err, ERR_INVALID, "invalid mode: %.100s", parts[1]);
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
        json_object_del(copy, "Part");
        json_set_str(copy, "Mode", "");
        if (str_eq(m.words[MODE_ACCESS], "ro"))
            json_object_set_new(copy, "RW", json_false());
        if (str_eq(json_str(copy, "Type"), "volume"))
            strv_add(x->volumes, json_str(copy, "Name"));
        if ((r = mounts__put(x, json_str(point, "Destination"), copy, true, err)) < 0)
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
        int r = clean_destination(destination, &clean, err);
        if (r < 0)
            return r;
        if (json_object_get(x->points, clean) || json_object_get(tmpfs, clean))
            continue;
        json_t *point = NULL;
        struct volume_wish w = {
            .driver = json_str(host, "VolumeDriver"), .mode = "", .rw = true, .fill = true};
        r = mounts__volume_point(x, &w, &point, err);
        if (r < 0 || (r = mounts__put(x, clean, point, false, err)) < 0)
            return r;
    }
    return 0;
}

static int check_tmpfs(const struct resolve *x, const json_t *host, struct err *err)
{
    const char *destination;
    json_t *options;
    json_object_foreach (json_object_get(host, "Tmpfs"), destination, options) {
        _cleanup_free_ char *clean = NULL;
        int r = clean_destination(destination, &clean, err);
        if (r < 0)
            return r;
        if (json_object_get(x->points, clean))
            return err_set(err, ERR_INVALID, "Duplicate mount point: %s", clean);
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
        if ((r = mounts__add_object(x, item, err)) < 0)
            return r;
    if ((r = check_tmpfs(x, host, err)) < 0)
        return r;
    json_object_update_missing(x->points, inherited); /* an own mount wins over one of another container */
    return add_anonymous(x, config, host, err);
}

/* Read-only mounts whose wish does not say how deep, and those that insist. */
static int settle_read_only(struct resolve *x, const char *runtime, bool shallow, struct err *err)
{
    const char *destination;
    json_t *point;
    json_object_foreach (x->points, destination, point) {
        if (json_bool(point, "RW") || !str_eq(json_str(point, "Type"), "bind"))
            continue;
        bool forced = json_bool(point, "ReadOnlyForceRecursive");
        bool deep = forced || (!shallow && !json_bool(point, "ReadOnlyNonRecursive"));
        bool able = deep && runtimes__mounts_deep(x->e, runtime);
        if (forced && !able)
            return err_set(err, ERR_INVALID, "rro is not supported by runtime \"%.100s\"", runtime);
        json_object_set_new(point, able ? "RecursiveReadOnly" : "ReadOnlyNonRecursive", json_true());
    }
    return 0;
}

int mounts__resolve(struct engine *e, const json_t *config, const json_t *host, bool shallow_read_only,
                    json_t **ret_points, char ***ret_volumes, struct err *err)
{
    struct resolve x = {e, json_object(), ret_volumes};
    int r = resolve(&x, config, host, err);
    if (r == 0)
        r = settle_read_only(&x, json_str(host, "Runtime"), shallow_read_only, err);
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
static int fill_one(int root, const char *destination, int to, struct err *err)
{
    struct stat st;
    _cleanup_close_ int from = file_open_in_root(root, destination, O_RDONLY | O_DIRECTORY, 0, NULL);
    if (from < 0 || fstat(from, &st) < 0)
        return 0; /* the image has no such directory */
    struct tree_copy copy = {
        .from_fd = root, .from = destination, .to_fd = to, .to = "/", .contents = true, .keep_owner = true};
    int r = tree_copy(&copy, err);
    if (r == 0 && (fchown(to, st.st_uid, st.st_gid) < 0 || fchmod(to, st.st_mode & 07777) < 0))
        r = err_sys(err, errno, "take over the owner of %s", destination);
    return r < 0 ? err_wrap(err, "fill the volume for %s", destination) : 0;
}

/* The volume's directory, or the part of it that is to be mounted; negative when it is none, or not empty. */
static int open_empty(const char *path, const char *subpath)
{
    _cleanup_close_ int part = -EBADF;
    char proc[64];
    if (*subpath) {
        if (volume__open_part(path, subpath, &part, NULL) < 0)
            return -1;
        snprintf(proc, sizeof(proc), "/proc/self/fd/%d", part);
        path = proc;
    }
    return directory_empty(path) ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
}

static int fill_point(struct container *c, const json_t *p, int *root, struct err *err)
{
    _cleanup_free_ char *path = NULL;
    const char *name = json_str(p, "Name");
    int r = volume__mount(c->engine, name, c->id, &path, err);
    if (r < 0)
        return r;
    _cleanup_close_ int to = open_empty(path, json_str(p, "Subpath"));
    if (to >= 0 && *root < 0)
        r = rootview__open(c, true, root, err);
    if (to >= 0 && r == 0)
        r = fill_one(*root, json_str(p, "Destination"), to, err);
    to = close_fd(to);
    volume__unmount(c->engine, name, c->id);
    return r;
}

int mounts__fill_volumes(struct container *c, const json_t *points, struct err *err)
{
    _cleanup_close_ int root = -EBADF;
    size_t i;
    const json_t *p;
    json_array_foreach (points, i, p) {
        int r = json_bool(p, "Fill") ? fill_point(c, p, &root, err) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}
