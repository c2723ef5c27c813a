#include "base/tree_bytes.h"

#include "base/map.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TREE_MAX_DEPTH = 256, BLOCK = 512, OPEN_DIR = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };

static bool seen_before(struct map *linked, const struct stat *st)
{
    char key[40];
    if (st->st_nlink < 2 || S_ISDIR(st->st_mode))
        return false;
    snprintf(key, sizeof(key), "%llx:%llx", (unsigned long long)st->st_dev, (unsigned long long)st->st_ino);
    if (map_has(linked, key))
        return true;
    map_put(linked, key, linked);
    return false;
}

/* Below an open directory, which is taken. */
static int64_t bytes_below(int fd, struct map *linked, int depth)
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
            fstatat(fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || seen_before(linked, &st))
            continue;
        total += st.st_blocks * BLOCK;
        if (S_ISDIR(st.st_mode) && depth < TREE_MAX_DEPTH)
            total += bytes_below(openat(fd, d->d_name, OPEN_DIR), linked, depth + 1);
    }
    closedir(dir);
    return total;
}

int64_t tree_bytes_at(int dir_fd, const char *name)
{
    int fd = openat(dir_fd, name, OPEN_DIR);
    struct stat st;
    int64_t own = fd >= 0 && fstat(fd, &st) == 0 ? st.st_blocks * BLOCK : 0;
    _cleanup_(map_done) struct map linked = MAP_INIT(NULL);
    return own + bytes_below(fd, &linked, 0);
}

int64_t tree_bytes_below(const char *path)
{
    _cleanup_(map_done) struct map linked = MAP_INIT(NULL);
    return bytes_below(open(path, OPEN_DIR), &linked, 0);
}
