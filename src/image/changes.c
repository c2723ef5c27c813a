/* docker diff: what an upper directory says, against the layers below it. */
#include "base/file.h"
#include "base/json.h"
#include "image/image_priv.h"
#include "image/tar_priv.h"

#include <fcntl.h>
#include <sys/stat.h>

enum kind { KIND_MODIFIED, KIND_ADDED, KIND_DELETED };
enum { DEPTH_MAX = 512, CHANGES_MAX = 1000000 };

struct comparison {
    struct images *im;
    char *const *lowers;
    json_t *list;
    struct str path; /* relative */
};

static int compare_dir(struct comparison *c, int fd, int depth, struct err *err);

static int compare_one(struct comparison *c, int dir_fd, const char *name, int depth, struct err *err)
{
    struct stat st;
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_sys(err, errno, "read /%s", str_get(&c->path));
    bool below = image__lower_has(c->im, c->lowers, str_get(&c->path));
    enum kind kind = tar__is_whiteout(&st) ? KIND_DELETED : below ? KIND_MODIFIED : KIND_ADDED;
    if (kind == KIND_DELETED && !below)
        return 0;
    if (json_array_size(c->list) >= CHANGES_MAX)
        return err_set(err, ERR_LIMIT, "more than %d changes", CHANGES_MAX);
    json_t *change = json_object();
    _cleanup_free_ char *shown = str_printf("/%s", str_get(&c->path));
    json_set_str(change, "Path", shown);
    json_object_set_new(change, "Kind", json_integer(kind));
    json_array_append_new(c->list, change);
    if (!S_ISDIR(st.st_mode))
        return 0;
    _cleanup_close_ int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? err_sys(err, errno, "open %s", shown) : compare_dir(c, fd, depth + 1, err);
}

static int compare_dir(struct comparison *c, int fd, int depth, struct err *err)
{
    if (depth > DEPTH_MAX)
        return err_set(err, ERR_LIMIT, "/%.200s is nested more than %d levels deep", str_get(&c->path),
                       DEPTH_MAX);
    _cleanup_strv_ char **names = NULL;
    int r = tar__list_dir(fd, &names, err);
    size_t length = c->path.len;
    STRV_FOREACH (name, names) {
        if (r < 0)
            break;
        str_addf(&c->path, "%s%s", length ? "/" : "", *name);
        r = compare_one(c, fd, *name, depth, err);
        str_truncate(&c->path, length);
    }
    return r;
}

int image_changes(struct images *im, const struct image_snapshot *s, json_t **ret, struct err *err)
{
    _cleanup_close_ int fd = open(s->upper, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "open %s", s->upper);
    _cleanup_json_ json_t *list = json_array();
    struct comparison c = {.im = im, .lowers = s->lowers, .list = list};
    int r = compare_dir(&c, fd, 0, err);
    str_free(&c.path);
    if (r == 0)
        *ret = take_ptr(list);
    return r;
}
