/* How much room a directory takes. */
#include "engine/engine_priv.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

enum { TREE_MAX_DEPTH = 256 };

/* Bytes on disk below an open directory (which is taken). What goes while it is counted is left out. */
static int64_t tree_bytes(int fd, int depth)
{
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        close_fd(fd);
        return 0;
    }
    int64_t total = 0;
    for (struct dirent *d; (d = readdir(dir));) {
        struct stat st;
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0 ||
            fstatat(fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        total += st.st_blocks * 512;
        if (S_ISDIR(st.st_mode) && depth < TREE_MAX_DEPTH)
            total +=
                tree_bytes(openat(fd, d->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), depth + 1);
    }
    closedir(dir);
    return total;
}

int64_t usage__tree_bytes(const char *path)
{
    return tree_bytes(open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), 0);
}
