#include "bakery/build_priv.h"

#include "base/file.h"
#include "base/str.h"

#include <fcntl.h>

enum { ACCOUNTS_MAX_BYTES = 4 << 20 };

/* The image's author wrote these files: opened inside the root, regular files only, bounded. */
static int read_accounts(int root_fd, const char *path, struct str *ret, struct err *err)
{
    _cleanup_close_ int fd = file_open_in_root(root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, err);
    if (fd < 0)
        return fd;
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "%s is not a regular file", path);
    return file_read_fd(fd, ACCOUNTS_MAX_BYTES, ret, err);
}

/* The line of `name` in "name:password:id:gid:...": its id, and what follows as gid when there is one. */
static bool find_account(const char *text, const char *name, int64_t *ret_id, int64_t *ret_gid)
{
    size_t n = strlen(name);
    for (const char *line = text; *line;) {
        size_t length = strcspn(line, "\n");
        if (length > n && strncmp(line, name, n) == 0 && line[n] == ':') {
            _cleanup_free_ char *copy = mem_strndup(line, length);
            _cleanup_strv_ char **fields = strv_split(copy, ':');
            size_t count = strv_len(fields);
            if (count >= 3 && parse_i64(fields[2], 0, UINT32_MAX - 1, ret_id, NULL) == 0) {
                if (ret_gid && (count < 4 || parse_i64(fields[3], 0, UINT32_MAX - 1, ret_gid, NULL) < 0))
                    *ret_gid = *ret_id;
                return true;
            }
        }
        line += length + (line[length] == '\n');
    }
    return false;
}

static int resolve(int root_fd, const char *path, const char *what, const char *name, int64_t *ret_id,
                   int64_t *ret_gid, struct err *err)
{
    if (parse_i64(name, 0, UINT32_MAX - 1, ret_id, NULL) == 0) {
        if (ret_gid)
            *ret_gid = *ret_id;
        return 0;
    }
    _cleanup_str_ struct str text = STR_INIT;
    int r = read_accounts(root_fd, path, &text, err);
    if (r < 0 && r != -ERR_NOT_FOUND)
        return err_wrap(err, "--chown %s", name);
    if (r < 0 || !find_account(str_get(&text), name, ret_id, ret_gid))
        return err_set(err, ERR_NOT_FOUND, "--chown: no %s \"%s\" in the image's %s", what, name, path);
    return 0;
}

int build__owner(int root_fd, const char *text, uid_t *ret_uid, gid_t *ret_gid, struct err *err)
{
    size_t n = strcspn(text, ":");
    _cleanup_free_ char *user = mem_strndup(text, n);
    const char *group = text[n] ? text + n + 1 : NULL;
    if (group ? !*group : !*user)
        return err_set(err, ERR_INVALID, "--chown=%s: it must be user, user:group or :group", text);
    int64_t uid = 0, gid = 0;
    int r = *user ? resolve(root_fd, "/etc/passwd", "user", user, &uid, &gid, err) : 0;
    if (r == 0 && group)
        r = resolve(root_fd, "/etc/group", "group", group, &gid, NULL, err);
    if (r < 0)
        return r;
    *ret_uid = (uid_t)uid;
    *ret_gid = (gid_t)gid;
    return 0;
}
