/* Mounts with the container's own ids, for runtimes that cannot make them: the helper makes each in its mount
 * namespace, from which the container's comes, and the runtime is told to bind it from there as it is.
 *
 * The root and these mounts must be where a user of the container's may look them up, which the directories
 * of ours are not: on a tmpfs below /run, which is in that mount namespace alone. */
#include "keeper/foreign_priv.h"

#include "base/file.h"
#include "base/json.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The option is gone afterwards. */
static bool take_option(json_t *mount, const char *option)
{
    json_t *options = json_object_get(mount, "options");
    size_t i;
    const json_t *one;
    json_array_foreach (options, i, one)
        if (str_eq(json_string_value(one), option)) {
            json_array_remove(options, i);
            return true;
        }
    return false;
}

static int make_place(const char *path, bool directory, struct err *err)
{
    int r = directory ? mkdir(path, 0711) : open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (r < 0 && errno != EEXIST)
        return err_sys(err, errno, "make %s", path);
    if (!directory)
        close_fd(r);
    return 0;
}

static int mount_mapped(const char *source, int userns_fd, const char *place, struct err *err)
{
    struct stat st;
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)userns_fd};
    _cleanup_close_ int tree =
        (int)syscall(SYS_open_tree, AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (tree < 0 || fstat(tree, &st) < 0)
        return err_sys(err, errno, "open %s", source);
    if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
        return err_sys(err, errno, "give the files of %s the container's ids", source);
    int r = make_place(place, S_ISDIR(st.st_mode), err);
    if (r == 0 && syscall(SYS_move_mount, tree, "", AT_FDCWD, place, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        r = err_sys(err, errno, "mount %s", place);
    return r;
}

#define PLACES "/run/drover-foreign"

int foreign__open_places(struct runtime_launch *launch, struct err *err)
{
    static const char root[] = PLACES "/root";
    int r = file_mkdirs(root, 0711, err); /* runc's exec enters it, empty, on the machine itself */
    if (r == 0 && mount("tmpfs", PLACES, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0711") < 0)
        r = err_sys(err, errno, "mount a tmpfs at %s", PLACES);
    if (r == 0)
        r = file_mkdirs(root, 0711, err);
    launch->root = root;
    return r;
}

int foreign__map_mounts(json_t *spec, int userns_fd, struct err *err)
{
    size_t i;
    json_t *mount;
    int r = 0;
    json_array_foreach (json_object_get(spec, "mounts"), i, mount) {
        if (r < 0)
            break;
        if (!take_option(mount, "idmap"))
            continue;
        _cleanup_free_ char *place = str_printf(PLACES "/%zu", i);
        r = mount_mapped(json_str(mount, "source"), userns_fd, place, err);
        json_set_str(mount, "source", place);
    }
    return r;
}
