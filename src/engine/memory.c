/* A directory for what must not reach a disk: a tmpfs that outlives serve, as the containers do that have
 * files of it, and ends with engine_shutdown(). */
#include "engine/engine_priv.h"

#include "base/file.h"

#include <sys/mount.h>
#include <sys/stat.h>

static char *memory_path(const char *root)
{
    return str_printf("%s/memory", root);
}

int engine_memory(struct engine *e, char **ret_path, struct err *err)
{
    _cleanup_free_ char *path = memory_path(e->root);
    struct stat here, above;
    int r = file_mkdirs(path, 0711, err);
    if (r < 0)
        return r;
    if (stat(path, &here) < 0 || stat(e->root, &above) < 0)
        return err_sys(err, errno, "stat %s", path);
    if (here.st_dev == above.st_dev &&
        mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0711") < 0)
        return err_sys(err, errno, "mount a tmpfs at %s", path);
    *ret_path = take_ptr(path);
    return 0;
}

void memory__clear(const char *root)
{
    _cleanup_free_ char *path = memory_path(root);
    if (file_exists(path))
        umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
}
