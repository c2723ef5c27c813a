/* Where a group goes: the engine's below drover/ whatever is asked for, an OCI command line's just there. */
#include "runtime/cgroup_priv.h"

#include <string.h>

enum { MAX_PARTS = 32 };
static const char host_prefix[] = "host:";

static int check_parts(const char *path, const char *whole, bool hidden_too, struct err *err)
{
    _cleanup_strv_ char **parts = strv_split(path, '/');
    if (!strv_len(parts))
        return err_set(err, ERR_INVALID, "cgroup path \"%s\" is not well-formed", whole);
    STRV_FOREACH (part, parts)
        if (!**part || strlen(*part) > 255 || (**part == '.' && !hidden_too) || str_eq(*part, ".") ||
            str_eq(*part, "..") || strchr(*part, '\n'))
            return err_set(err, ERR_INVALID, "cgroup path \"%s\" is not well-formed", whole);
    if (strv_len(parts) > MAX_PARTS)
        return err_set(err, ERR_LIMIT, "cgroup path \"%s\" is too deep", whole);
    return 0;
}

/* "/drover/x", "drover/x" and "x" are drover/x: whatever the config says, groups of others stay out of reach.
 * Names with a dot in front are this module's own. */
static int below_drover(const char *path, char **ret, struct err *err)
{
    const char *rest = path + strspn(path, "/");
    const char *below = str_after(rest, "drover/");
    if (below)
        rest = below;
    if (strchr(rest, ':'))
        return err_set(err, ERR_UNSUPPORTED,
                       "cgroup path \"%s\": systemd's slice:prefix:name form is for drover-oci "
                       "--systemd-cgroup",
                       path);
    int r = check_parts(rest, path, false, err);
    if (r == 0)
        *ret = str_printf("drover/%s", rest);
    return r;
}

/* A path without its first and last slashes, doubled ones, and "." parts; ".." never leads above the top,
 * as in a cleaned absolute path. */
static char *clean(const char *path)
{
    _cleanup_strv_ char **parts = strv_split(path, '/');
    char **kept = NULL;
    STRV_FOREACH (part, parts) {
        if (!**part || str_eq(*part, "."))
            continue;
        if (!str_eq(*part, "..")) {
            strv_add(&kept, *part);
        } else if (strv_len(kept)) {
            char **last = &kept[strv_len(kept) - 1];
            free(*last);
            *last = NULL;
        }
    }
    char *joined = kept ? strv_join(kept, "/") : mem_strdup("");
    strv_free(kept);
    return joined;
}

int cgroup__place(const struct cgroup_place *place, char **ret_path, char **ret_fs_path, struct err *err)
{
    if (!place->as_given || str_empty(place->path)) {
        char *path;
        int r = below_drover(str_empty(place->path) ? place->id : place->path, &path, err);
        if (r < 0)
            return r;
        *ret_path = path;
        *ret_fs_path = str_printf("%s/%s", cgroup__host()->base, path);
        return 0;
    }
    if (strchr(place->path, ':'))
        return err_set(err, ERR_INVALID,
                       "\"linux.cgroupsPath\": \"%s\" is systemd's slice:prefix:name form, which needs "
                       "--systemd-cgroup",
                       place->path);
    _cleanup_free_ char *path = clean(place->path);
    int r = check_parts(path, place->path, true, err);
    if (r < 0)
        return r;
    *ret_path = str_printf("%s/%s", host_prefix, path);
    *ret_fs_path = str_printf("/%s", path);
    return 0;
}

int cgroup__place_open(const char *path, char **ret_fs_path, bool *ret_as_given, struct err *err)
{
    const char *given = str_after(path, host_prefix);
    *ret_as_given = given != NULL;
    if (given) {
        int r = check_parts(given + strspn(given, "/"), path, true, err);
        if (r == 0)
            *ret_fs_path = str_printf("/%s", given + strspn(given, "/"));
        return r;
    }
    char *below;
    int r = below_drover(path, &below, err);
    if (r < 0)
        return r;
    *ret_fs_path = str_printf("%s/%s", cgroup__host()->base, below);
    free(below);
    return 0;
}
