/* HostConfig.Mounts: mount points as objects, each field checked in Docker's words. */
#include "engine/mounts_priv.h"

#include "base/file.h"

static const struct {
    const char *type, *options; /* which of the objects of options it may have */
} types[] = {{"bind", "BindOptions"},
             {"volume", "VolumeOptions"},
             {"tmpfs", "TmpfsOptions"},
             {"image", "ImageOptions"}};

static int wrong(const char *type, const char *what, struct err *err)
{
    return err_set(err, ERR_INVALID, "invalid mount config for type \"%.20s\": %s", type, what);
}

static int check_keys(const json_t *object, const char *where, const char *const *known, struct err *err)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)object, key, value)
        if (!strv_has((char *const *)known, key) && !json_is_null(value) && !json_is_false(value))
            return err_set(err, ERR_UNSUPPORTED, "\"HostConfig.Mounts.%s%.100s\" is not supported", where,
                           key);
    return 0;
}

static int check_form(const json_t *m, struct err *err)
{
    static const char *const known[] = {"Type",         "Source",      "Target",        "ReadOnly",
                                        "Consistency",  "BindOptions", "VolumeOptions", "TmpfsOptions",
                                        "ImageOptions", NULL};
    static const char *const texts[] = {"Type", "Source", "Target", "Consistency"};
    static const char *const where = "HostConfig.Mounts";
    const char *text;
    json_t *object;
    bool flag;
    if (!json_is_object(m))
        return err_set(err, ERR_INVALID, "\"HostConfig.Mounts\" must be a list of objects");
    int r = check_keys(m, "", known, err);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(texts); i++)
        r = json_get_string(m, where, texts[i], &text, err);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(types); i++)
        r = json_get_object(m, where, types[i].options, &object, err);
    return r == 0 ? json_get_bool(m, where, "ReadOnly", &flag, err) : r;
}

static int check_common(const json_t *m, const char *type, struct err *err)
{
    const char *allowed = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        if (str_eq(types[i].type, type))
            allowed = types[i].options;
    if (!allowed)
        return wrong(type, "mount type unknown", err);
    if (!*json_str(m, "Target"))
        return wrong(type, "field Target must not be empty", err);
    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        if (json_is_object(json_object_get(m, types[i].options)) && !str_eq(types[i].options, allowed)) {
            _cleanup_free_ char *what = str_printf("field %s must not be specified", types[i].options);
            return wrong(type, what, err);
        }
    return 0;
}

/* --- bind --- */

static int check_bind_options(const json_t *options, bool read_only, struct err *err)
{
    static const char *const known[] = {"Propagation",          "NonRecursive",           "CreateMountpoint",
                                        "ReadOnlyNonRecursive", "ReadOnlyForceRecursive", NULL};
    static const char *const propagations[] = {"",        "private", "rprivate", "shared",
                                               "rshared", "slave",   "rslave",   NULL};
    static const char *const flags[] = {"NonRecursive", "CreateMountpoint", "ReadOnlyNonRecursive",
                                        "ReadOnlyForceRecursive"};
    const char *propagation = "";
    bool flag;
    int r = check_keys(options, "BindOptions.", known, err);
    if (r == 0)
        r = json_get_string(options, "BindOptions", "Propagation", &propagation, err);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(flags); i++)
        r = json_get_bool(options, "BindOptions", flags[i], &flag, err);
    if (r < 0)
        return r;
    if (!strv_has((char *const *)propagations, propagation)) {
        _cleanup_free_ char *what = str_printf("invalid propagation mode: %.50s", propagation);
        return wrong("bind", what, err);
    }
    bool force = json_bool(options, "ReadOnlyForceRecursive");
    if (force && json_bool(options, "ReadOnlyNonRecursive"))
        return wrong("bind", "ReadOnlyForceRecursive and ReadOnlyNonRecursive cannot be used together", err);
    if ((force || json_bool(options, "ReadOnlyNonRecursive")) && !read_only)
        return wrong("bind", "a recursive read-only mode is for mounts that are read-only", err);
    if (force && !str_eq(propagation, "rprivate"))
        return wrong("bind", "mount propagation must be set to \"rprivate\" with ReadOnlyForceRecursive",
                     err);
    return 0;
}

static int bind_source(const json_t *m, const json_t *options, char **ret, struct err *err)
{
    const char *source = json_str(m, "Source");
    if (!*source)
        return wrong("bind", "field Source must not be empty", err);
    int r = mounts__clean_path(source, ret, err);
    if (r < 0)
        return err_wrap(err, "invalid mount config for type \"bind\"");
    if (file_exists(*ret))
        return 0;
    if (json_bool(options, "CreateMountpoint"))
        return file_mkdirs(*ret, 0755, err);
    _cleanup_free_ char *what = str_printf("bind source path does not exist: %.300s", *ret);
    return wrong("bind", what, err);
}

static int bind_object(struct resolve *x, const json_t *m, json_t **ret, struct err *err)
{
    const json_t *options = json_object_get(m, "BindOptions");
    bool rw = !json_bool(m, "ReadOnly");
    _cleanup_free_ char *source = NULL;
    int r = check_bind_options(options, !rw, err);
    if (r == 0)
        r = bind_source(m, options, &source, err);
    const char *propagation;
    if (r == 0)
        r = mounts__propagation(x, source, json_str(options, "Propagation"), &propagation, err);
    if (r < 0)
        return r;
    *ret = json_pack("{s:s,s:s,s:s,s:b,s:s}", "Type", "bind", "Source", source, "Mode", "", "RW", rw,
                     "Propagation", propagation);
    static const char *const kept[] = {"NonRecursive", "ReadOnlyNonRecursive", "ReadOnlyForceRecursive"};
    for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
        if (json_bool(options, kept[i]))
            json_object_set_new(*ret, kept[i], json_true());
    return 0;
}

/* --- volume --- */

static int check_subpath(const char *type, const char *subpath, struct err *err)
{
    _cleanup_strv_ char **parts = strv_split(subpath, '/');
    bool out = *subpath == '/' || strlen(subpath) > 4000;
    int depth = 0;
    STRV_FOREACH (p, parts) {
        depth += str_eq(*p, "..") ? -1 : **p && !str_eq(*p, ".");
        out = out || depth < 0;
    }
    _cleanup_free_ char *what = str_printf("subpath must be a relative path within the %s", type);
    return out ? wrong(type, what, err) : 0;
}

static int volume_object(struct resolve *x, const json_t *m, json_t **ret, struct err *err)
{
    static const char *const known[] = {"NoCopy", "Labels", "DriverConfig", "Subpath", NULL};
    const json_t *options = json_object_get(m, "VolumeOptions");
    json_t *config = NULL, *labels = NULL, *driver_options = NULL;
    const char *subpath = "", *driver = "";
    bool no_copy = false;
    int r = check_keys(options, "VolumeOptions.", known, err);
    if (r < 0 || (r = json_get_bool(options, "VolumeOptions", "NoCopy", &no_copy, err)) < 0 ||
        (r = json_get_object(options, "VolumeOptions", "Labels", &labels, err)) < 0 ||
        (r = json_get_object(options, "VolumeOptions", "DriverConfig", &config, err)) < 0 ||
        (r = json_get_string(options, "VolumeOptions", "Subpath", &subpath, err)) < 0 ||
        (r = json_get_string(config, "VolumeOptions.DriverConfig", "Name", &driver, err)) < 0 ||
        (r = json_get_object(config, "VolumeOptions.DriverConfig", "Options", &driver_options, err)) < 0 ||
        (r = check_subpath("volume", subpath, err)) < 0)
        return r;
    struct volume_wish w = {.name = json_str(m, "Source"),
                            .driver = driver,
                            .mode = "z",
                            .labels = labels,
                            .options = driver_options,
                            .rw = !json_bool(m, "ReadOnly"),
                            .fill = !no_copy};
    if (!w.rw && !*w.name)
        return wrong("volume", "must not set ReadOnly mode when using anonymous volumes", err);
    if (*subpath && !*w.name)
        return wrong("volume", "must not set Subpath when using anonymous volumes", err);
    r = mounts__volume_point(x, &w, ret, err);
    if (r == 0 && *subpath)
        json_set_str(*ret, "Subpath", subpath);
    return r;
}

/* --- image --- */

/* Read-only, whatever is asked for, as with Docker. */
static int image_object(struct resolve *x, const json_t *m, json_t **ret, struct err *err)
{
    static const char *const known[] = {"Subpath", NULL};
    const json_t *options = json_object_get(m, "ImageOptions");
    const char *source = json_str(m, "Source"), *subpath = "";
    struct image_info info;
    if (!*source)
        return wrong("image", "field Source must not be empty", err);
    int r = check_keys(options, "ImageOptions.", known, err);
    if (r == 0)
        r = json_get_string(options, "ImageOptions", "Subpath", &subpath, err);
    if (r == 0)
        r = check_subpath("image", subpath, err);
    if (r == 0)
        r = image_get(x->e->images, source, &info, err);
    if (r < 0)
        return r;
    *ret = json_pack("{s:s,s:s,s:s,s:s,s:s,s:b,s:s}", "Type", "image", "Name", source, "Image", info.id,
                     "Source", "", "Mode", "", "RW", 0, "Propagation", "");
    if (*subpath)
        json_set_str(*ret, "Subpath", subpath);
    image_info_done(&info);
    return 0;
}

/* --- tmpfs --- */

/* Words that change nothing a container may not have: TmpfsOptions.Options is a list of pairs. */
static int tmpfs_words(const json_t *options, struct str *ret, struct err *err)
{
    static const char *const allowed[] = {"exec",  "noexec",  "suid",     "nosuid",     "dev",
                                          "nodev", "noatime", "relatime", "nodiratime", NULL};
    json_t *list = NULL;
    const json_t *pair;
    size_t i;
    int r = json_get_array(options, "TmpfsOptions", "Options", &list, err);
    json_array_foreach (list, i, pair) {
        const char *word = json_string_value(json_array_get(pair, 0));
        if (json_array_size(pair) != 1 || !word || !strv_has((char *const *)allowed, word))
            return wrong("tmpfs",
                         "an option is not supported; it can be one of exec, noexec, suid, nosuid, dev, "
                         "nodev, noatime, relatime and nodiratime",
                         err);
        str_addf(ret, ",%s", word);
    }
    return r;
}

static int tmpfs_object(const json_t *m, json_t **ret, struct err *err)
{
    static const char *const known[] = {"SizeBytes", "Mode", "Options", NULL};
    const json_t *options = json_object_get(m, "TmpfsOptions");
    _cleanup_str_ struct str words = STR_INIT;
    int64_t size = 0, mode = 0;
    if (*json_str(m, "Source"))
        return wrong("tmpfs", "field Source must not be specified", err);
    int r = check_keys(options, "TmpfsOptions.", known, err);
    if (r < 0 || (r = json_get_i64(options, "TmpfsOptions", "SizeBytes", &size, err)) < 0 ||
        (r = json_get_i64(options, "TmpfsOptions", "Mode", &mode, err)) < 0 ||
        (r = tmpfs_words(options, &words, err)) < 0)
        return r;
    if (size < 0 || mode < 0 || mode > 07777)
        return wrong("tmpfs", "SizeBytes and Mode must be in range", err);
    *ret = json_pack("{s:s,s:s,s:s,s:b,s:s,s:I,s:I,s:s}", "Type", "tmpfs", "Source", "", "Mode", "", "RW",
                     !json_bool(m, "ReadOnly"), "Propagation", "", "SizeBytes", (json_int_t)size, "TmpfsMode",
                     (json_int_t)mode, "Words", str_get(&words));
    return 0;
}

int mounts__add_object(struct resolve *x, const json_t *m, struct err *err)
{
    json_t *point = NULL;
    _cleanup_free_ char *target = NULL;
    int r = check_form(m, err);
    const char *type = r == 0 ? json_str(m, "Type") : "";
    if (r == 0)
        r = check_common(m, type, err);
    if (r < 0)
        return r;
    r = mounts__clean_path(json_str(m, "Target"), &target, err);
    if (r < 0)
        return err_wrap(err, "invalid mount config for type \"%s\"", type);
    if (str_eq(target, "/"))
        return wrong(type, "invalid specification: destination can't be '/'", err);
    if (str_eq(type, "bind"))
        r = bind_object(x, m, &point, err);
    else if (str_eq(type, "volume"))
        r = volume_object(x, m, &point, err);
    else if (str_eq(type, "image"))
        r = image_object(x, m, &point, err);
    else
        r = tmpfs_object(m, &point, err);
    return r < 0 ? r : mounts__put(x, target, point, false, err);
}
