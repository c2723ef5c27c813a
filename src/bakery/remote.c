/* Build contexts from afar. Both the address and what comes from it are a stranger's: git may only speak to
 * the network, and a folder of a repository is found without following links out of it. */
#include "bakery/bakery.h"

#include "bakery/context.h"
#include "bakery/dockerfile.h"
#include "bakery/fetch.h"
#include "bakery/git.h"
#include "base/file.h"
#include "base/str.h"
#include "image/tar.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- archives and texts --- */

static bool is_archive(const unsigned char *head, size_t n)
{
    static const struct {
        const char *magic;
        size_t length, at;
    } kinds[] = {{"\x1f\x8b", 2, 0},
                 {"BZh", 3, 0},
                 {"\xfd"
                  "7zXZ",
                  5, 0},
                 {"\x28\xb5\x2f\xfd", 4, 0},
                 {"ustar", 5, 257}};
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (n >= kinds[i].at + kinds[i].length &&
            memcmp(head + kinds[i].at, kinds[i].magic, kinds[i].length) == 0)
            return true;
    return false;
}

static int unpack(int fd, const char *dir, struct err *err)
{
    _cleanup_close_ int root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return err_sys(err, errno, "open %s", dir);
    struct tar_extract x = {
        .root_fd = root, .names_from_root = true, .limits = {.max_entries = CONTEXT_ENTRIES_MAX}};
    return tar_extract_fd(&x, fd, err);
}

static int read_text(int fd, const char *url, char **ret, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    int r = file_read_fd(fd, DOCKERFILE_MAX_BYTES, &text, err);
    if (r == 0 && (text.len == 0 || memchr(text.data, '\0', text.len)))
        r = err_set(err, ERR_INVALID, "%.300s is neither an archive nor a Dockerfile", url);
    if (r == 0)
        *ret = str_take(&text);
    return r;
}

static int download(const char *url, const char *dir, char **ret_dir, char **ret_dockerfile, struct err *err)
{
    _cleanup_free_ char *path = str_printf("%s.download", dir);
    int r = fetch_url(url, path, err);
    _cleanup_close_ int fd = r == 0 ? open(path, O_RDONLY | O_CLOEXEC) : -EBADF;
    if (r == 0 && fd < 0)
        r = err_sys(err, errno, "open %s", path);
    unlink(path);
    unsigned char head[512] = {0};
    ssize_t n = r == 0 ? pread(fd, head, sizeof(head), 0) : 0;
    if (r == 0 && n < 0)
        r = err_sys(err, errno, "read %s", path);
    if (r == 0)
        r = is_archive(head, (size_t)n) ? unpack(fd, dir, err) : read_text(fd, url, ret_dockerfile, err);
    if (r < 0)
        return err_wrap(err, "error downloading remote context");
    *ret_dir = mem_strdup(dir);
    return 0;
}

int bakery_remote_context(const char *url, const char *dir, char **ret_dir, char **ret_dockerfile,
                          struct err *err)
{
    *ret_dockerfile = NULL;
    if (git_is_url(url) || str_after(url, "github.com/") || str_after(url, "git://")) {
        _cleanup_(git_source_done) struct git_source source = {0};
        int r = git_source_parse(url, &source, err);
        if (r == 0)
            r = git_checkout(&source, dir, NULL, err);
        return r < 0 ? r : git_folder(&source, dir, ret_dir, err);
    }
    if (fetch_is_url(url))
        return download(url, dir, ret_dir, ret_dockerfile, err);
    return err_set(err, ERR_INVALID, "remoteURL (%.200s) could not be recognized as URL", url);
}
