/* Reading and writing the files of a group. Everything here runs several times in every launch, so paths are
 * put together on the stack. */
#include "runtime/cgroup_priv.h"

#include "base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

enum { FILE_LIMIT = 1 << 20, MAX_DEPTH = 32 };

static int open_file(const char *dir, const char *file, int flags)
{
    char path[PATH_MAX];
    if ((size_t)snprintf(path, sizeof(path), "%s/%s", dir, file) >= sizeof(path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return open(path, flags | O_CLOEXEC);
}

int cgroup__write(const char *dir, const char *file, const char *text, struct err *err)
{
    _cleanup_close_ int fd = open_file(dir, file, O_WRONLY);
    if (fd < 0)
        return err_sys(err, errno, "open %s/%s", dir, file);
    if (write(fd, text, strlen(text)) < 0)
        return err_sys(err, errno, "write \"%s\" to %s/%s", text, dir, file);
    return 0;
}

int cgroup__write_i64(const char *dir, const char *file, int64_t value, struct err *err)
{
    char text[32];
    snprintf(text, sizeof(text), "%lld", (long long)value);
    return cgroup__write(dir, file, text, err);
}

bool cgroup__has(const char *dir, const char *file)
{
    char path[PATH_MAX];
    return (size_t)snprintf(path, sizeof(path), "%s/%s", dir, file) < sizeof(path) && access(path, F_OK) == 0;
}

bool cgroup__read_text(const char *dir, const char *file, struct str *ret)
{
    _cleanup_close_ int fd = dir ? open_file(dir, file, O_RDONLY) : -EBADF;
    return fd >= 0 && file_read_fd(fd, FILE_LIMIT, ret, NULL) >= 0;
}

static bool number(const char *text, int64_t *ret)
{
    if (str_after(text, "max")) {
        *ret = -1;
        return true;
    }
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (end == text || errno)
        return false;
    *ret = value > INT64_MAX ? INT64_MAX : (int64_t)value;
    return true;
}

void cgroup__read_i64(const char *dir, const char *file, int64_t *ret)
{
    _cleanup_str_ struct str text = STR_INIT;
    if (cgroup__read_text(dir, file, &text))
        number(str_get(&text), ret);
}

void cgroup__read_key(const char *dir, const char *file, const char *key, int64_t *ret)
{
    _cleanup_str_ struct str text = STR_INIT;
    if (!cgroup__read_text(dir, file, &text))
        return;
    size_t n = strlen(key);
    for (const char *line = str_get(&text); line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, n) == 0 && line[n] == ' ') {
            number(line + n + 1, ret);
            return;
        }
    }
}

int64_t cgroup__sum_key(const char *dir, const char *file, const char *key)
{
    _cleanup_str_ struct str text = STR_INIT;
    int64_t sum = 0, value;
    if (!cgroup__read_text(dir, file, &text))
        return 0;
    for (const char *at = str_get(&text); (at = strstr(at, key));) {
        at += strlen(key);
        if ((*at == ' ' || *at == '=') && number(at + 1, &value) && value > 0)
            sum += value;
    }
    return sum;
}

int cgroup__write_rdma(const char *dir, const struct cgroup_rdma *rdma, struct err *err)
{
    char text[320], handles[24] = "", objects[24] = "";
    if (rdma->handles.set)
        snprintf(handles, sizeof(handles), " hca_handle=%u", (unsigned)rdma->handles.n);
    if (rdma->objects.set)
        snprintf(objects, sizeof(objects), " hca_object=%u", (unsigned)rdma->objects.n);
    snprintf(text, sizeof(text), "%.250s%s%s", rdma->device, handles, objects);
    int r = cgroup__write(dir, "rdma.max", text, err);
    return r < 0 ? err_wrap(err, "set linux.resources.rdma of %s", rdma->device) : 0;
}

static void walk(const char *dir, int depth, void (*visit)(const char *dir, void *context), void *context)
{
    DIR *d = depth < MAX_DEPTH ? opendir(dir) : NULL;
    if (d) {
        for (struct dirent *e; (e = readdir(d));) {
            if (e->d_type != DT_DIR || str_eq(e->d_name, ".") || str_eq(e->d_name, ".."))
                continue;
            _cleanup_free_ char *below = str_printf("%s/%s", dir, e->d_name);
            walk(below, depth + 1, visit, context);
        }
        closedir(d);
    }
    visit(dir, context);
}

void cgroup__walk(const char *dir, void (*visit)(const char *dir, void *context), void *context)
{
    walk(dir, 0, visit, context);
}
