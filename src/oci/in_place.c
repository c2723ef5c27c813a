#include "oci/in_place.h"

#include "base/file.h"

#include <limits.h>
#include <sys/mount.h>
#include <unistd.h>

static const char link_name[] = "mounts-in-place";

bool in_place_wanted(const json_t *config)
{
    const json_t *linux_ = json_object_get(config, "linux"), *one;
    size_t i;
    json_array_foreach (json_object_get(linux_, "namespaces"), i, one)
        if (str_eq(json_str(one, "type"), "mount"))
            return false;
    return json_bool(json_object_get(config, "root"), "readonly") ||
           json_array_size(json_object_get(config, "mounts")) ||
           json_array_size(json_object_get(linux_, "devices")) ||
           json_array_size(json_object_get(linux_, "maskedPaths")) ||
           json_array_size(json_object_get(linux_, "readonlyPaths"));
}

int in_place_prepare(const struct container *c, const char *rootfs, struct err *err)
{
    in_place_undo(c); /* of a creation that was cut off */
    if (mount(rootfs, rootfs, NULL, MS_BIND | MS_REC, NULL) < 0)
        return err_sys(err, errno, "bind the root %s", rootfs);
    if (mount(NULL, rootfs, NULL, MS_PRIVATE | MS_REC, NULL) < 0 ||
        symlinkat(rootfs, c->dir_fd, link_name) < 0) {
        int sys = errno;
        umount2(rootfs, MNT_DETACH | UMOUNT_NOFOLLOW);
        return err_sys(err, sys, "prepare the root %s for mounts", rootfs);
    }
    return 0;
}

void in_place_undo(const struct container *c)
{
    char rootfs[PATH_MAX];
    ssize_t n = c->dir_fd < 0 ? -1 : readlinkat(c->dir_fd, link_name, rootfs, sizeof(rootfs) - 1);
    if (n <= 0)
        return;
    rootfs[n] = '\0';
    umount2(rootfs, MNT_DETACH | UMOUNT_NOFOLLOW);
    unlinkat(c->dir_fd, link_name, 0);
}
