/* The local driver's options: a volume whose directory is a mount (tmpfs, a directory, NFS, ...) while
 * containers use it. */
#include "engine/volume_priv.h"

#include <ctype.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

static const struct {
    const char *word;
    unsigned long set, clear;
} words[] = {
    {"defaults", 0, 0},
    {"ro", MS_RDONLY, 0},
    {"rw", 0, MS_RDONLY},
    {"nosuid", MS_NOSUID, 0},
    {"suid", 0, MS_NOSUID},
    {"nodev", MS_NODEV, 0},
    {"dev", 0, MS_NODEV},
    {"noexec", MS_NOEXEC, 0},
    {"exec", 0, MS_NOEXEC},
    {"sync", MS_SYNCHRONOUS, 0},
    {"async", 0, MS_SYNCHRONOUS},
    {"dirsync", MS_DIRSYNC, 0},
    {"remount", MS_REMOUNT, 0},
    {"mand", MS_MANDLOCK, 0},
    {"nomand", 0, MS_MANDLOCK},
    {"noatime", MS_NOATIME, 0},
    {"atime", 0, MS_NOATIME},
    {"nodiratime", MS_NODIRATIME, 0},
    {"diratime", 0, MS_NODIRATIME},
    {"relatime", MS_RELATIME, 0},
    {"norelatime", 0, MS_RELATIME},
    {"strictatime", MS_STRICTATIME, 0},
    {"bind", MS_BIND, 0},
    {"rbind", MS_BIND | MS_REC, 0},
};

/* mount(8)'s words are flags, the rest is the file system's. */
static unsigned long parse_options(const char *text, struct str *data)
{
    unsigned long flags = 0;
    _cleanup_strv_ char **parts = strv_split(text, ',');
    STRV_FOREACH (p, parts) {
        bool known = !**p;
        for (size_t i = 0; !known && i < ARRAY_SIZE(words); i++)
            if (str_eq(words[i].word, *p)) {
                flags = (flags & ~words[i].clear) | words[i].set;
                known = true;
            }
        if (!known)
            str_addf(data, "%s%s", data->len ? "," : "", *p);
    }
    return flags;
}

int volume_local__check(const json_t *options, struct err *err)
{
    static const char *const known[] = {"type", "device", "o", "size", NULL};
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)options, key, value)
        if (!strv_has((char *const *)known, key))
            return err_set(err, ERR_INVALID, "invalid option: \"%.100s\"", key);
    if (json_object_get(options, "size"))
        return err_set(err, ERR_INVALID, "quota size requested but no quota support");
    if (!volume_local__mounts(options))
        return 0;
    if (!*json_str(options, "device"))
        return err_set(err, ERR_INVALID, "missing required option: \"device\"");
    if (!*json_str(options, "type"))
        return err_set(err, ERR_INVALID, "missing required option: \"type\"");
    return 0;
}

bool volume_local__mounts(const json_t *options)
{
    return *json_str(options, "type") || *json_str(options, "device") || *json_str(options, "o");
}

static bool is_mount_point(const char *path)
{
    struct statx x;
    return statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &x) == 0 &&
           (x.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

int volume_local__mount(const char *path, const json_t *options, struct err *err)
{
    if (!volume_local__mounts(options) || is_mount_point(path))
        return 0;
    _cleanup_str_ struct str data = STR_INIT;
    const char *device = json_str(options, "device"), *type = json_str(options, "type");
    unsigned long flags = parse_options(json_str(options, "o"), &data);
    if (mount(device, path, type, flags, str_get(&data)) < 0) {
        int sys = errno;
        _cleanup_str_ struct str how = STR_INIT;
        if (flags)
            str_addf(&how, ", flags: 0x%lx", flags);
        if (data.len)
            str_addf(&how, ", data: %.300s", str_get(&data));
        _cleanup_free_ char *why = mem_strdup(strerror(sys));
        *why = (char)tolower(*why);
        return err_set(
            err, ERR_SYSTEM,
            "error while mounting volume '%s': failed to mount local volume: mount %.200s:%s%s: %s", path,
            device, path, str_get(&how), why);
    }
    if (mount(NULL, path, NULL, MS_PRIVATE, NULL) < 0) {
        umount2(path, MNT_DETACH);
        return err_sys(err, errno, "make the mount at %s private", path);
    }
    return 0;
}

void volume_local__unmount(const char *path)
{
    if (is_mount_point(path) && umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
        log_warning("unmount the volume at %s: %s", path, strerror(errno));
}
