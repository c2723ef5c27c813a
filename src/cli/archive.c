#include "cli/archive.h"

#include "base/base64.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/call.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

static char *path_of(const char *container, const char *path)
{
    _cleanup_free_ char *escaped = cli_escape(container), *inside = cli_escape(path);
    return str_printf("/containers/%s/archive?path=%s", escaped, inside);
}

static ssize_t read_fd(void *context, void *buffer, size_t n, struct err *err)
{
    for (;;) {
        ssize_t got = read(*(int *)context, buffer, n);
        if (got >= 0 || errno != EINTR)
            return got >= 0 ? got : err_sys(err, errno, "read the archive");
    }
}

int archive_put_fd(const char *container, const char *path, bool to_user, int fd, struct err *err)
{
    static const char *const headers[] = {"Content-Type: application/x-tar", NULL};
    _cleanup_free_ char *plain = path_of(container, path);
    _cleanup_free_ char *url = str_printf("%s%s", plain, to_user ? "&copyUIDGID=1" : "");
    struct http_call call = {.method = "PUT",
                             .headers = (char *const *)headers,
                             .source = read_fd,
                             .source_context = &fd,
                             .source_bytes = -1};
    struct http_response response = {0};
    int r = cli_exchange(&call, url, &response, err);
    http_response_done(&response);
    return r;
}

/* --- A thread on the other side of a pipe --- */

struct packing {
    const struct tar_create *what;
    int fd, result;
    struct err err;
};

static int write_pipe(void *context, const void *bytes, size_t n, struct err *err)
{
    const struct packing *p = context;
    return file_write_all(p->fd, bytes, n, err);
}

static void *pack(void *context)
{
    struct packing *p = context;
    p->result = tar_create_stream(p->what, write_pipe, p, &p->err);
    p->fd = close_fd(p->fd);
    return NULL;
}

int archive_packed(const struct tar_create *what, int (*take)(void *context, int fd, struct err *err),
                   void *context, struct err *err)
{
    int ends[2];
    pthread_t thread;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_sys(err, errno, "make a pipe");
    struct packing p = {.what = what, .fd = ends[1]};
    must(pthread_create(&thread, NULL, pack, &p) == 0);
    int r = take(context, ends[0], err);
    close_fd(ends[0]); /* ends a packer that nobody reads any more */
    pthread_join(thread, NULL);
    return r == 0 && p.result < 0 ? err_copy(err, &p.err) : r;
}

struct destination {
    const char *container, *path;
    bool to_user;
};

static int put_packed(void *context, int fd, struct err *err)
{
    const struct destination *to = context;
    return archive_put_fd(to->container, to->path, to->to_user, fd, err);
}

int archive_put(const char *container, const char *path, bool to_user, const struct tar_create *what,
                struct err *err)
{
    struct destination to = {container, path, to_user};
    return archive_packed(what, put_packed, &to, err);
}

static int write_out(void *context, const void *bytes, size_t n, struct err *err)
{
    return file_write_all(*(int *)context, bytes, n, err);
}

static int get_fd(const char *url, int fd, struct err *err)
{
    struct http_call call = {.method = "GET", .sink = write_out, .sink_context = &fd};
    struct http_response response = {0};
    int r = cli_exchange(&call, url, &response, err);
    http_response_done(&response);
    return r;
}

int archive_get_fd(const char *container, const char *path, int fd, struct err *err)
{
    _cleanup_free_ char *url = path_of(container, path);
    return get_fd(url, fd, err);
}

int archive_export_fd(const char *container, int fd, struct err *err)
{
    _cleanup_free_ char *escaped = cli_escape(container), *url = str_printf("/containers/%s/export", escaped);
    return get_fd(url, fd, err);
}

struct extracting {
    int fd, into, result;
    struct err err;
};

static void *extract(void *context)
{
    struct extracting *e = context;
    const struct tar_extract x = {.root_fd = e->into, .uid = geteuid(), .gid = getegid()};
    e->result = tar_extract_fd(&x, e->fd, &e->err);
    e->fd = close_fd(e->fd);
    return NULL;
}

int archive_fetch(const char *url, int into, struct err *err)
{
    int ends[2];
    pthread_t thread;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_sys(err, errno, "make a pipe");
    struct extracting e = {.fd = ends[0], .into = into};
    must(pthread_create(&thread, NULL, extract, &e) == 0);
    int r = get_fd(url, ends[1], err);
    close_fd(ends[1]);
    pthread_join(thread, NULL);
    /* An archive that was refused half-way ends the writing too: its reason is the one to know. */
    return e.result < 0 && (r == 0 || err->sys == EPIPE) ? err_copy(err, &e.err) : r;
}

int archive_extract(const char *container, const char *path, int into, struct err *err)
{
    _cleanup_free_ char *url = path_of(container, path);
    return archive_fetch(url, into, err);
}

int archive_kind(const char *container, const char *path, enum archive_kind *ret, struct err *err)
{
    static const int64_t go_mode_dir = INT64_C(1) << 31;
    _cleanup_free_ char *url = path_of(container, path);
    struct http_call call = {.method = "HEAD"};
    struct http_response response = {0};
    int r = cli_exchange(&call, url, &response, err);
    if (r == -ERR_NOT_FOUND) {
        *ret = ARCHIVE_NOTHING;
        return 0;
    }
    if (r < 0)
        return r;
    const char *header = http_response_header(&response, "x-docker-container-path-stat");
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_json_ json_t *stat = NULL;
    r = base64_decode(header ? header : "", &text, err);
    if (r == 0)
        r = json_parse(str_get(&text), text.len, "the server's stat", &stat, err);
    http_response_done(&response);
    if (r == 0)
        *ret = json_int(stat, "mode") & go_mode_dir ? ARCHIVE_DIRECTORY : ARCHIVE_FILE;
    return r;
}
