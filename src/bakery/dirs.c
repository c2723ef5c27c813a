#include "bakery/build_priv.h"
#include "bakery/path.h"

#include "base/file.h"
#include "base/str.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Directories that a step makes in the image's root. */

enum { LINKS_MAX = 40 };

/* Appends what the link at `path` leads to, as seen from the directory that `at` names, and then `rest`. */
static char *through_link(int dir_fd, const char *name, const char *at, const char *rest)
{
    char target[4096];
    ssize_t n = readlinkat(dir_fd, name, target, sizeof(target) - 1);
    if (n < 0)
        return NULL;
    target[n] = '\0';
    return str_printf("%s/%s/%s", *target == '/' ? "" : at, target, rest);
}

/* Where `path` is once the links on its way are followed inside the root, also those that lead to what is not
 * there yet, and that making directories would trip over. The caller frees. */
static char *behind_links(int root_fd, const char *path)
{
    _cleanup_free_ char *todo = path_clean(path), *done = mem_strdup("");
    for (int links = 0; *todo && links < LINKS_MAX;) {
        const char *name_at = todo + strspn(todo, "/");
        _cleanup_free_ char *name = mem_strndup(name_at, strcspn(name_at, "/"));
        const char *rest = name_at + strlen(name);
        _cleanup_close_ int dir =
            file_open_in_root(root_fd, *done ? done : "/", O_PATH | O_DIRECTORY, 0, NULL);
        char *next = dir >= 0 && *name ? through_link(dir, name, done, rest) : NULL;
        if (next) {
            /* What a link leads to may climb: from the root on, link by link. */
            links++;
            free(todo);
            todo = next;
            free(done);
            done = mem_strdup("");
            continue;
        }
        char *longer = path_resolve(*done ? done : "/", name);
        free(done);
        done = longer;
        char *left = mem_strdup(rest + strspn(rest, "/"));
        free(todo);
        todo = left;
    }
    return *todo || !*done ? mem_strdup(path) : take_ptr(done);
}

int build__make_dirs(int root_fd, const char *wanted, mode_t mode, uid_t uid, gid_t gid, struct err *err)
{
    _cleanup_close_ int known = file_open_in_root(root_fd, wanted, O_PATH | O_DIRECTORY, 0, NULL);
    if (known >= 0)
        return 0;
    _cleanup_free_ char *path = behind_links(root_fd, wanted);
    for (const char *end = path; *end;) {
        end += 1 + strcspn(end + 1, "/");
        _cleanup_free_ char *dir = mem_strndup(path, (size_t)(end - path));
        _cleanup_close_ int there = file_open_in_root(root_fd, dir, O_PATH | O_DIRECTORY, 0, NULL);
        if (there >= 0)
            continue;
        _cleanup_close_ int made = file_mkdirs_in_root(root_fd, dir, 0755, err);
        if (made < 0)
            return made;
        _cleanup_close_ int fd = file_open_in_root(root_fd, dir, O_RDONLY | O_DIRECTORY, 0, err);
        if (fd < 0)
            return fd;
        if (((uid || gid) && fchown(fd, uid, gid) < 0) || fchmod(fd, mode) < 0)
            return err_sys(err, errno, "set owner and mode of %s", dir);
    }
    return 0;
}
