#include "base/file_watch.h"

#include "base/mem.h"
#include "base/str.h"

#include <sys/stat.h>

static struct stat stat_of(const char *path)
{
    struct stat st;
    return stat(path, &st) < 0 ? (struct stat){0} : st;
}

static bool same(const struct stat *x, const struct stat *y)
{
    return x->st_ino == y->st_ino && x->st_size == y->st_size && x->st_mtim.tv_sec == y->st_mtim.tv_sec &&
           x->st_mtim.tv_nsec == y->st_mtim.tv_nsec;
}

void file_watch_add(struct file_watch *w, const char *path)
{
    struct stat *as = NEW_N(struct stat, w->count + 1);
    if (w->count)
        memcpy(as, w->as, w->count * sizeof(*as));
    free(w->as);
    w->as = as;
    w->as[w->count++] = stat_of(path);
    strv_add(&w->files, path);
}

bool file_watch_changed(const struct file_watch *w)
{
    for (size_t i = 0; i < w->count; i++) {
        struct stat now = stat_of(w->files[i]);
        if (!same(&now, &w->as[i]))
            return true;
    }
    return false;
}

void file_watch_done(struct file_watch *w)
{
    strv_free(w->files);
    free(w->as);
    *w = (struct file_watch){0};
}
