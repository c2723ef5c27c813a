/* Build contexts from afar. Both the address and what comes from it are a stranger's: git may only speak to
 * the network, and a folder of a repository is found without following links out of it. */
#include "bakery/bakery.h"

#include "bakery/dockerfile.h"
#include "bakery/fetch.h"
#include "base/file.h"
#include "base/process.h"
#include "base/str.h"
#include "image/tar.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- git --- */

struct repository {
    char *url, *ref, *folder; /* ref and folder "" when not given */
};

static void repository_done(struct repository *r)
{
    free(r->url);
    free(r->ref);
    free(r->folder);
}

static bool is_git(const char *url)
{
    return fetch_is_git(url) || str_after(url, "github.com/") || str_after(url, "git://");
}

/* "URL#ref:folder" */
static int parse_repository(const char *text, struct repository *ret, struct err *err)
{
    size_t n = strcspn(text, "#");
    const char *fragment = text[n] ? text + n + 1 : "";
    size_t ref = strcspn(fragment, ":");
    const char *folder = fragment[ref] ? fragment + ref + 1 : "";
    if (*fragment == '-')
        return err_set(err, ERR_INVALID, "invalid refspec: %.200s", fragment);
    ret->url =
        str_after(text, "github.com/") ? str_printf("https://%.*s", (int)n, text) : mem_strndup(text, n);
    ret->ref = mem_strndup(fragment, ref);
    ret->folder = mem_strdup(folder);
    return 0;
}

static int git(const char *dir, const char *const *arguments, struct err *err)
{
    /* No question on a terminal, no transport that runs programs or reads this machine's files, no line that
     * stands still for ever. */
    const char *argv[24] = {"env",
                            "GIT_TERMINAL_PROMPT=0",
                            "GIT_ALLOW_PROTOCOL=git:http:https:ssh",
                            "GIT_CONFIG_NOSYSTEM=1",
                            "GIT_SSH_COMMAND=ssh -oBatchMode=yes",
                            "git",
                            "-c",
                            "http.lowSpeedLimit=1",
                            "-c",
                            "http.lowSpeedTime=60",
                            "-c",
                            "core.hooksPath=/dev/null",
                            "-C",
                            dir};
    size_t n = 14;
    while (*arguments && n + 1 < ARRAY_SIZE(argv))
        argv[n++] = *arguments++;
    must(!*arguments);
    return process_run(argv, NULL, NULL, err);
}
#define GIT(dir, err, ...) git(dir, (const char *const[]){__VA_ARGS__, NULL}, err)

/* A server of plain files knows no shallow history: then all of it comes. */
static int fetch_ref(const char *dir, const struct repository *r, struct err *err)
{
    const char *ref = *r->ref ? r->ref : "HEAD";
    struct err shallow = {0};
    if (GIT(dir, &shallow, "fetch", "--depth", "1", "origin", "--", ref) == 0)
        return GIT(dir, err, "checkout", "-q", "FETCH_HEAD");
    /* A commit's id cannot be asked for everywhere either. */
    int code = GIT(dir, err, "fetch", "--tags", "origin", "+refs/heads/*:refs/remotes/origin/*");
    if (code < 0 || (*r->ref && GIT(dir, NULL, "checkout", "-q", "--detach", ref) == 0))
        return code;
    if (*r->ref) {
        _cleanup_free_ char *branch = str_printf("origin/%s", ref);
        return GIT(dir, err, "checkout", "-q", "--detach", branch);
    }
    code = GIT(dir, err, "remote", "set-head", "origin", "--auto");
    return code < 0 ? code : GIT(dir, err, "checkout", "-q", "--detach", "origin/HEAD");
}

static int find_folder(const char *dir, const char *folder, char **ret, struct err *err)
{
    _cleanup_close_ int root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return err_sys(err, errno, "open %s", dir);
    _cleanup_close_ int fd = file_open_in_root(root, folder, O_RDONLY | O_DIRECTORY, 0, err);
    if (fd < 0)
        return err_set(err, ERR_INVALID, "the repository has no folder \"%.200s\"", folder);
    char proc[40], path[4096];
    snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(proc, path, sizeof(path) - 1);
    if (n < 0)
        return err_sys(err, errno, "find the folder \"%.200s\"", folder);
    *ret = mem_strndup(path, (size_t)n);
    return 0;
}

static int clone(const char *text, const char *dir, char **ret_dir, struct err *err)
{
    _cleanup_(repository_done) struct repository r = {0};
    int code = parse_repository(text, &r, err);
    if (code == 0)
        code = GIT(dir, err, "init", "-q");
    if (code == 0)
        code = GIT(dir, err, "remote", "add", "--", "origin", r.url);
    if (code == 0)
        code = fetch_ref(dir, &r, err);
    if (code == 0)
        code = GIT(dir, err, "submodule", "update", "-q", "--init", "--recursive");
    if (code < 0) {
        if (err)
            err->code = ERR_INVALID;
        return err_wrap(err, "error fetching %.300s", r.url ? r.url : text);
    }
    return find_folder(dir, *r.folder ? r.folder : ".", ret_dir, err);
}

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
    struct tar_extract x = {.root_fd = root, .names_from_root = true};
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
    int r = fetch_url(url, path, NULL, err);
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
    if (is_git(url))
        return clone(url, dir, ret_dir, err);
    if (fetch_is_url(url))
        return download(url, dir, ret_dir, ret_dockerfile, err);
    return err_set(err, ERR_INVALID, "remoteURL (%.200s) could not be recognized as URL", url);
}
