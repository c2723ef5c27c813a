#include "engine/engine_priv.h"

#include "base/digest.h"
#include "base/file.h"

#include <dirent.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

static const char *const names[] = {"hosts", "hostname", "resolv.conf"};

/* Some of these places are everybody's: what another user has put there under our name is not used. */
static bool is_ours(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & 077);
}

static char *path_below(const char *place, const char *engine_root)
{
    char digest[DIGEST_BYTES];
    digest_of(engine_root, strlen(engine_root), digest);
    return str_printf("%s/drover-%.16s", place, digest_hex(digest));
}

char *files__root(const char *engine_root)
{
    static const char *const places[] = {"/run", "/dev/shm"};
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        struct statfs fs;
        if (statfs(places[i], &fs) < 0 || fs.f_type != TMPFS_MAGIC)
            continue;
        _cleanup_free_ char *path = path_below(places[i], engine_root);
        if ((mkdir(path, 0700) == 0 || errno == EEXIST) && is_ours(path))
            return take_ptr(path);
    }
    return NULL;
}

char *files__dir(struct container *c)
{
    return c->engine->files ? str_printf("%s/%s", c->engine->files, c->id) : container__dir(c);
}

int files__make(struct container *c, char **ret_dir, struct err *err)
{
    _cleanup_free_ char *dir = files__dir(c);
    if (c->engine->files && mkdir(dir, 0700) < 0 && errno != EEXIST) {
        /* Somebody has cleared the place: once more. */
        if (errno != ENOENT || mkdir(c->engine->files, 0700) < 0 || mkdir(dir, 0700) < 0)
            return err_sys(err, errno, "create %s", dir);
    }
    *ret_dir = take_ptr(dir);
    return 0;
}

void files__remove(struct container *c)
{
    if (!c->engine->files)
        return; /* with the container's directory */
    _cleanup_free_ char *dir = files__dir(c);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        _cleanup_free_ char *path = str_printf("%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
}

void files__sweep(struct engine *e)
{
    DIR *dir = e->files ? opendir(e->files) : NULL;
    struct err err;
    for (struct dirent *d; dir && (d = readdir(dir));)
        if (*d->d_name != '.' && !map_has(&e->containers, d->d_name) &&
            file_remove_tree_at(dirfd(dir), d->d_name, &err) < 0)
            log_warning("%s", err.msg);
    if (dir)
        closedir(dir);
}

void files__clear(const char *engine_root)
{
    static const char *const places[] = {"/run", "/dev/shm"};
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        _cleanup_free_ char *path = path_below(places[i], engine_root);
        struct err err;
        if (is_ours(path) && file_remove_tree(path, &err) < 0)
            log_warning("%s", err.msg);
    }
}
