#include "base/file.h"

#include "base/err.h"
#include "base/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

int file_write_all(int fd, const void *bytes, size_t n, struct err *err)
{
    const char *at = bytes;
    while (n) {
        ssize_t done = write(fd, at, n);
        if (done < 0) {
            if (errno == EINTR)
                continue;
            return err_sys(err, errno, "write");
        }
        at += done;
        n -= (size_t)done;
    }
    return 0;
}

void file_write_behind(int fd, int64_t size, int64_t *begun)
{
    enum { WINDOW_BYTES = 8 << 20 };
    if (size - *begun < WINDOW_BYTES)
        return;
    sync_file_range(fd, *begun, size - *begun, SYNC_FILE_RANGE_WRITE);
    *begun = size;
}

ssize_t file_read_full(int fd, void *buffer, size_t n, struct err *err)
{
    size_t have = 0;
    while (have < n) {
        ssize_t got = read(fd, (char *)buffer + have, n - have);
        if (got < 0) {
            if (errno == EINTR)
                continue;
            return err_sys(err, errno, "read");
        }
        if (got == 0)
            break;
        have += (size_t)got;
    }
    return (ssize_t)have;
}

int file_read_fd(int fd, size_t max, struct str *ret, struct err *err)
{
    _cleanup_str_ struct str s = STR_INIT;
    for (;;) {
        size_t room = MIN((size_t)(s.len ? 65536 : 4096), max + 1 - s.len);
        ssize_t got = file_read_full(fd, str_reserve(&s, room), room, err);
        if (got < 0)
            return (int)got;
        s.len += (size_t)got;
        if (s.len > max)
            return err_set(err, ERR_LIMIT, "larger than the %zu bytes allowed", max);
        if ((size_t)got < room)
            break;
    }
    str_reserve(&s, 0);
    str_free(ret);
    *ret = s;
    s = (struct str)STR_INIT;
    return 0;
}

int file_read_at(int dir_fd, const char *path, size_t max, struct str *ret, struct err *err)
{
    _cleanup_close_ int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "open %s", path);
    int r = file_read_fd(fd, max, ret, err);
    return r < 0 ? err_wrap(err, "%s", path) : 0;
}

int file_read(const char *path, size_t max, struct str *ret, struct err *err)
{
    return file_read_at(AT_FDCWD, path, max, ret, err);
}

int file_fsync_dir(const char *path, struct err *err)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return err_sys(err, errno, "sync directory %s", path);
    return 0;
}

int file_replace(const char *path, const void *bytes, size_t n, mode_t mode, bool durable, struct err *err)
{
    _cleanup_free_ char *temp = str_printf("%s.tmp-XXXXXX", path);
    _cleanup_close_ int fd = mkostemp(temp, O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "create %s", temp);
    int r = file_write_all(fd, bytes, n, err);
    if (r == 0 && fchmod(fd, mode) < 0)
        r = err_sys(err, errno, "chmod");
    if (r == 0 && durable && fsync(fd) < 0)
        r = err_sys(err, errno, "fsync");
    if (r == 0 && rename(temp, path) < 0)
        r = err_sys(err, errno, "rename");
    if (r < 0) {
        unlink(temp);
        return err_wrap(err, "write %s", path);
    }
    if (!durable)
        return 0;
    const char *slash = strrchr(path, '/');
    _cleanup_free_ char *dir = slash ? mem_strndup(path, (size_t)MAX(slash - path, 1)) : mem_strdup(".");
    return file_fsync_dir(dir, err);
}

int file_poke_at(int dir_fd, const char *path, const char *text, struct err *err)
{
    _cleanup_close_ int fd = openat(dir_fd, path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "open %s", path);
    ssize_t n = write(fd, text, strlen(text));
    if (n < 0)
        return err_sys(err, errno, "write \"%s\" to %s", text, path);
    return 0;
}

int file_poke(const char *path, const char *text, struct err *err)
{
    return file_poke_at(AT_FDCWD, path, text, err);
}

int file_mkdirs(const char *path, mode_t mode, struct err *err)
{
    struct stat st;
    if (mkdir(path, mode) == 0 || (errno == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode)))
        return 0;
    _cleanup_free_ char *partial = mem_strdup(path);
    for (char *c = partial + 1;; c++) {
        if (*c && *c != '/')
            continue;
        char end = *c;
        *c = '\0';
        if (mkdir(partial, mode) < 0 && errno != EEXIST)
            return err_sys(err, errno, "create directory %s", partial);
        *c = end;
        if (!end)
            break;
    }
    if (stat(path, &st) < 0)
        return err_sys(err, errno, "create directory %s", path);
    if (!S_ISDIR(st.st_mode))
        return err_sys(err, ENOTDIR, "create directory %s", path);
    return 0;
}

bool file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

enum { REMOVE_MAX_DEPTH = 4096 };

static int remove_tree(int dir_fd, const char *name, dev_t device, int depth, struct err *err)
{
    if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM && errno != EBUSY)
        return err_sys(err, errno, "remove %s", name);
    if (depth > REMOVE_MAX_DEPTH)
        return err_set(err, ERR_LIMIT, "remove %s: directories nested too deep", name);
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : err_sys(err, errno, "remove %s", name);
    struct stat st;
    if (fstat(fd, &st) < 0 || (depth > 0 && st.st_dev != device)) {
        close(fd);
        return err_set(err, ERR_CONFLICT, "remove %s: another file system is mounted there", name);
    }
    DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return err_sys(err, errno, "remove %s", name);
    }
    int r = 0;
    for (struct dirent *e; r == 0 && (e = readdir(dir));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            r = remove_tree(fd, e->d_name, st.st_dev, depth + 1, err);
    closedir(dir);
    if (r == 0 && unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        r = err_sys(err, errno, "remove %s", name);
    return r;
}

int file_remove_tree_at(int dir_fd, const char *name, struct err *err)
{
    return remove_tree(dir_fd, name, 0, 0, err);
}

int file_remove_tree(const char *path, struct err *err)
{
    return file_remove_tree_at(AT_FDCWD, path, err);
}

int file_open_below(int root_fd, const char *path, int flags)
{
    const struct open_how how = {.flags = (unsigned)flags | O_CLOEXEC,
                                 .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
    path += strspn(path, "/");
    return (int)syscall(SYS_openat2, root_fd, *path ? path : ".", &how, sizeof(how));
}

int file_open_in_root(int root_fd, const char *path, int flags, mode_t mode, struct err *err)
{
    struct open_how how = {
        .flags = (unsigned)flags | O_CLOEXEC,
        .mode = flags & (O_CREAT | O_TMPFILE) ? mode : 0,
        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
    };
    for (int tries = 0;; tries++) {
        long fd = syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
        if (fd >= 0)
            return (int)fd;
        /* EAGAIN: a rename elsewhere raced with the resolution; the kernel asks to try again. */
        if ((errno != EAGAIN && errno != EINTR) || tries > 128)
            return err_sys(err, errno, "open %s", path);
    }
}

int file_mkdirs_in_root(int root_fd, const char *path, mode_t mode, struct err *err)
{
    _cleanup_strv_ char **parts = strv_split(path, '/');
    _cleanup_str_ struct str so_far = STR_INIT;
    int fd = file_open_in_root(root_fd, "/", O_PATH | O_DIRECTORY, 0, err);
    STRV_FOREACH (part, parts) {
        if (fd < 0)
            return fd;
        if (!**part || strcmp(*part, ".") == 0)
            continue;
        str_addf(&so_far, "/%s", *part);
        int next = file_open_in_root(root_fd, str_get(&so_far), O_PATH | O_DIRECTORY, 0, err);
        if (next == -ERR_NOT_FOUND) {
            if (mkdirat(fd, *part, mode) < 0 && errno != EEXIST) {
                int sys = errno;
                close(fd);
                return err_sys(err, sys, "create directory %s", str_get(&so_far));
            }
            next = file_open_in_root(root_fd, str_get(&so_far), O_PATH | O_DIRECTORY, 0, err);
        }
        close(fd);
        fd = next;
    }
    return fd;
}

ssize_t file_send_fds(int sock, const void *bytes, size_t n, const int *fds, size_t fd_count, struct err *err)
{
    must(fd_count <= FILE_MAX_FDS);
    union {
        char bytes[CMSG_SPACE(sizeof(int) * FILE_MAX_FDS)];
        struct cmsghdr align;
    } control = {0};
    struct iovec iov = {.iov_base = (void *)bytes, .iov_len = n};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fd_count) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * fd_count);
    }
    ssize_t sent;
    do
        sent = sendmsg(sock, &msg, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? err_sys(err, errno, "send") : sent;
}

ssize_t file_recv_fds(int sock, void *buffer, size_t n, int *fds, size_t fd_capacity, size_t *ret_fd_count,
                      struct err *err)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int) * FILE_MAX_FDS)];
        struct cmsghdr align;
    } control = {0};
    struct iovec iov = {.iov_base = buffer, .iov_len = n};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes)};
    ssize_t got;
    /* A unix peer that died before it had read all is told once as a reset, ahead of what it had sent. */
    bool reset = false;
    do
        got = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    while (got < 0 && (errno == EINTR || (errno == ECONNRESET && !reset && (reset = true))));
    if (got < 0)
        return err_sys(err, errno, "receive");
    size_t count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t here = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < here; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (count < fd_capacity)
                fds[count++] = fd;
            else
                close(fd);
        }
    }
    if (ret_fd_count)
        *ret_fd_count = count;
    return got;
}

/* A socket path longer than sun_path is addressed through a descriptor of its directory. */
static int unix_address(const char *path, struct sockaddr_un *address, int *ret_dir_fd, struct err *err)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    *ret_dir_fd = -EBADF;
    if (strlen(path) < sizeof(address->sun_path)) {
        memcpy(address->sun_path, path, strlen(path) + 1);
        return 0;
    }
    const char *slash = strrchr(path, '/');
    if (!slash || strlen(slash) > 64)
        return err_set(err, ERR_INVALID, "socket path %s is too long", path);
    _cleanup_free_ char *dir = mem_strndup(path, (size_t)(slash - path));
    int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "open %s", dir);
    snprintf(address->sun_path, sizeof(address->sun_path), "/proc/self/fd/%d%s", fd, slash);
    *ret_dir_fd = fd;
    return 0;
}

int file_connect_unix(const char *path, int type, int *ret_fd, struct err *err)
{
    struct sockaddr_un address;
    _cleanup_close_ int dir_fd = -EBADF;
    int r = unix_address(path, &address, &dir_fd, err);
    if (r < 0)
        return r;
    _cleanup_close_ int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_sys(err, errno, "socket");
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return err_sys(err, errno, "connect to %s", path);
    *ret_fd = take_fd(&fd);
    return 0;
}

int file_listen_unix(const char *path, int type, mode_t mode, int *ret_fd, struct err *err)
{
    int probe;
    if (file_connect_unix(path, type, &probe, NULL) == 0) {
        close(probe);
        return err_set(err, ERR_CONFLICT, "another process is listening at %s", path);
    }
    struct sockaddr_un address;
    _cleanup_close_ int dir_fd = -EBADF;
    int r = unix_address(path, &address, &dir_fd, err);
    if (r < 0)
        return r;
    struct stat st;
    if (lstat(path, &st) == 0) {
        if (!S_ISSOCK(st.st_mode))
            return err_set(err, ERR_CONFLICT, "%s exists and is not a socket", path);
        unlink(path);
    }
    _cleanup_close_ int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_sys(err, errno, "socket");
    /* The mode is set before the socket can be reached: chmod after bind would leave a moment of 0777. */
    if (fchmod(fd, mode) < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        chmod(path, mode) < 0 || listen(fd, 1024) < 0)
        return err_sys(err, errno, "listen at %s", path);
    *ret_fd = take_fd(&fd);
    return 0;
}

int file_lock(const char *path, int *ret_fd, struct err *err)
{
    _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(err, errno, "open %s", path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno == EWOULDBLOCK)
            return err_set(err, ERR_CONFLICT, "%s is locked by another process", path);
        return err_sys(err, errno, "lock %s", path);
    }
    *ret_fd = take_fd(&fd);
    return 0;
}

const char *file_overlay_opaque(void)
{
    return process_in_user_namespace() ? "user.overlay.opaque" : "trusted.overlay.opaque";
}

#define VOLATILE_MARK "%s/work/incompat/volatile/dirty"

bool file_overlay_was_volatile(const char *work)
{
    _cleanup_free_ char *mark = str_printf(VOLATILE_MARK, work);
    return file_exists(mark);
}

void file_overlay_forget_volatile(const char *work)
{
    _cleanup_free_ char *mark = str_printf(VOLATILE_MARK, work);
    for (size_t i = 0; i < 3; i++) {
        if ((i ? rmdir(mark) : unlink(mark)) < 0)
            return;
        *strrchr(mark, '/') = '\0';
    }
}
