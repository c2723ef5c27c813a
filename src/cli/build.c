/* Sending a build: the context as a tar stream, the builder's output back. */
#include "cli/build.h"

#include "bakery/ignore.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/call.h"
#include "cli/pack.h"
#include "cli/pull.h"
#include "image/tar.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

enum { MAX_IGNORE_BYTES = 1 << 20, MAX_DOCKERFILE_BYTES = 4 << 20 };

/* --- The context --- */

struct context {
    int root_fd, write_fd; /* the pipe between the thread that packs and the call that sends */
    struct ignore *ignore;
    const char *dockerfile; /* in the context: sent in any case, as is .dockerignore */
    struct str before;      /* entries that are sent before those of the directory */
    pthread_t thread;
    int result;
    struct err err;
};

static void context_done(struct context *c)
{
    ignore_free(c->ignore);
    str_free(&c->before);
}

static bool excluded(void *context, const char *relative, bool is_dir)
{
    const struct context *c = context;
    if (!c->ignore || strcmp(relative, c->dockerfile) == 0 || strcmp(relative, ".dockerignore") == 0)
        return false;
    if (!ignore_matches(c->ignore, relative))
        return false;
    /* A directory stays when something in it may be wanted. */
    size_t n = strlen(relative);
    bool holds_dockerfile = strncmp(c->dockerfile, relative, n) == 0 && c->dockerfile[n] == '/';
    return !(is_dir && (holds_dockerfile || ignore_may_except(c->ignore, relative)));
}

static int write_pipe(void *context, const void *bytes, size_t n, struct err *err)
{
    const struct context *c = context;
    return file_write_all(c->write_fd, bytes, n, err);
}

static void *pack(void *context)
{
    struct context *c = context;
    const struct tar_create create = {
        .root_fd = c->root_fd, .path = "/", .exclude = excluded, .exclude_context = c, .epoch = -1};
    c->result = write_pipe(c, c->before.data, c->before.len, &c->err);
    if (c->result == 0)
        c->result = tar_create_stream(&create, write_pipe, c, &c->err);
    c->write_fd = close_fd(c->write_fd);
    return NULL;
}

/* The patterns that hold for this Dockerfile; "" when there are none. */
static int read_ignore(const struct context *c, struct str *text, struct err *err)
{
    _cleanup_free_ char *own = str_printf("%s.dockerignore", c->dockerfile);
    int r = file_read_at(c->root_fd, own, MAX_IGNORE_BYTES, text, err);
    if (r == -ERR_NOT_FOUND)
        r = file_read_at(c->root_fd, ".dockerignore", MAX_IGNORE_BYTES, text, err);
    return r == -ERR_NOT_FOUND ? 0 : r;
}

static int load_ignore(struct context *c, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    int r = read_ignore(c, &text, err);
    return r < 0 || !text.len ? r : ignore_parse(str_get(&text), text.len, &c->ignore, err);
}

/* A Dockerfile that is not in the directory goes along under a name of its own, with patterns that keep it
 * out of what COPY sees. */
static int send_along(struct context *c, const char *dockerfile, struct err *err)
{
    _cleanup_str_ struct str patterns = STR_INIT;
    _cleanup_free_ char *ignore_name = str_printf("%s.dockerignore", c->dockerfile);
    int r = read_ignore(c, &patterns, err);
    if (r < 0)
        return r;
    str_addf(&patterns, "\n/%s\n/%s\n", c->dockerfile, ignore_name);
    const struct pack_file files[] = {{c->dockerfile, dockerfile, strlen(dockerfile), 0, 0, 0644},
                                      {ignore_name, patterns.data, patterns.len, 0, 0, 0644}};
    r = pack_add(&c->before, &files[0], err);
    return r < 0 ? r : pack_add(&c->before, &files[1], err);
}

static ssize_t read_pipe(void *context, void *buffer, size_t n, struct err *err)
{
    int fd = *(int *)context;
    for (;;) {
        ssize_t got = read(fd, buffer, n);
        if (got >= 0 || errno != EINTR)
            return got >= 0 ? got : err_sys(err, errno, "read the build context");
    }
}

/* --- The query --- */

static void add_query(struct str *s, const char *name, const char *value)
{
    _cleanup_free_ char *escaped = cli_escape(value);
    str_addf(s, "&%s=%s", name, escaped);
}

static void add_json_query(struct str *s, const char *name, const json_t *value)
{
    if (!json_object_size(value) && !json_array_size(value))
        return;
    _cleanup_free_ char *escaped = cli_escape_json(value);
    str_addf(s, "&%s=%s", name, escaped);
}

static char *query_of(const struct build_request *q, const char *dockerfile)
{
    struct str s = STR_INIT;
    str_add(&s, "/build?version=1&rm=1&forcerm=1");
    if (!str_empty(dockerfile))
        add_query(&s, "dockerfile", dockerfile);
    for (char *const *tag = q->tags; tag && *tag; tag++)
        add_query(&s, "t", *tag);
    add_json_query(&s, "buildargs", q->args);
    add_json_query(&s, "labels", q->labels);
    if (!str_empty(q->target))
        add_query(&s, "target", q->target);
    if (!str_empty(q->network))
        add_query(&s, "networkmode", q->network);
    if (!str_empty(q->platform))
        add_query(&s, "platform", q->platform);
    add_json_query(&s, "ulimits", q->ulimits);
    if (compose_context_is_remote(q->context))
        add_query(&s, "remote", q->context);
    if (q->no_cache)
        str_add(&s, "&nocache=1");
    if (q->pull)
        str_add(&s, "&pull=1");
    if (q->shm_size > 0)
        str_addf(&s, "&shmsize=%lld", (long long)q->shm_size);
    if (q->memory > 0)
        str_addf(&s, "&memory=%lld", (long long)q->memory);
    if (q->extra_hosts && *q->extra_hosts) {
        _cleanup_free_ char *hosts = strv_join(q->extra_hosts, ",");
        add_query(&s, "extrahosts", hosts);
    }
    return str_take(&s);
}

/* --- The answer --- */

struct answer {
    const struct build_request *request;
    char *image_id;
};

static int take_line(void *context, const json_t *line, struct err *err)
{
    struct answer *a = context;
    const char *id = json_str(json_object_get(line, "aux"), "ID"), *text = json_str(line, "stream");
    const json_t *event = json_object_get(line, "drover");
    (void)err;
    if (event && a->request->event)
        a->request->event(a->request->context_of_output, event);
    if (*id) {
        free(a->image_id);
        a->image_id = mem_strdup(id);
    }
    if (!*text)
        text = json_str(line, "status");
    if (*text && a->request->output)
        a->request->output(a->request->context_of_output, text);
    return 0;
}

static int send_build(const struct build_request *q, const char *dockerfile, http_source_fn source,
                      void *source_context, char **ret_image_id, struct err *err)
{
    _cleanup_free_ char *path = query_of(q, dockerfile), *auth = pull_config_header(),
                        *session = q->session ? str_printf("X-Drover-Build: %s", q->session) : NULL;
    const char *headers[4] = {"Content-Type: application/x-tar"};
    size_t count = 1;
    if (auth)
        headers[count++] = auth;
    if (session)
        headers[count] = session;
    struct answer answer = {.request = q};
    struct http_call call = {.method = "POST",
                             .headers = (char *const *)headers,
                             .source = source,
                             .source_context = source_context,
                             .source_bytes = source ? -1 : 0};
    int r = cli_lines(&call, path, take_line, &answer, err);
    if (r < 0) {
        free(answer.image_id);
        return r;
    }
    *ret_image_id = answer.image_id ? answer.image_id : mem_strdup("");
    return 0;
}

static int build_from_stdin(const struct build_request *q, char **ret_image_id, struct err *err)
{
    int fd = STDIN_FILENO;
    return send_build(q, str_empty(q->dockerfile) ? "Dockerfile" : q->dockerfile, read_pipe, &fd,
                      ret_image_id, err);
}

/* Where the Dockerfile is in the context: as given, or below the current directory as `docker build -f` takes
 * it. One that is elsewhere is read into `outside`. */
int build_find_dockerfile(const struct build_request *q, char **ret, struct str *outside, struct err *err)
{
    const char *given = str_empty(q->dockerfile) ? "Dockerfile" : q->dockerfile;
    _cleanup_free_ char *below = str_printf("%s/%s", q->context, given);
    if (!str_empty(q->dockerfile_text)) {
        str_add(outside, q->dockerfile_text);
    } else if (*given != '/' && file_exists(below)) {
        while (given[0] == '.' && given[1] == '/')
            given += 2;
    } else {
        _cleanup_free_ char *context = realpath(q->context, NULL), *real = realpath(given, NULL);
        const char *inside = context && real ? str_after(real, context) : NULL;
        if (!real)
            return err_set(err, ERR_NOT_FOUND, "there is no %s in %s", given, q->context);
        if (inside && *inside == '/') {
            *ret = mem_strdup(inside + 1);
            return 0;
        }
        int r = file_read(real, MAX_DOCKERFILE_BYTES, outside, err);
        if (r < 0)
            return r;
    }
    char digest[DIGEST_BYTES];
    digest_of(str_get(outside), outside->len, digest);
    *ret = outside->len ? str_printf(".dockerfile.%.16s", digest_hex(digest)) : mem_strdup(given);
    return 0;
}

/* Packs the directory in a thread while `send` sends what comes out of it. */
static int pack_through(struct context *c, int (*send)(void *context, int fd, struct err *err), void *context,
                        struct err *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_sys(err, errno, "make a pipe");
    _cleanup_close_ int read_end = ends[0];
    c->write_fd = ends[1];
    must(pthread_create(&c->thread, NULL, pack, c) == 0);
    int r = send(context, read_end, err);
    read_end = close_fd(read_end); /* ends a packer that nobody reads any more */
    pthread_join(c->thread, NULL);
    return r == 0 && c->result < 0 ? err_copy(err, &c->err) : r;
}

struct sending {
    const struct build_request *request;
    const char *dockerfile, *path;
    char **ret_image_id;
};

static int send_context(void *context, int fd, struct err *err)
{
    const struct sending *s = context;
    return send_build(s->request, s->dockerfile, read_pipe, &fd, s->ret_image_id, err);
}

static int put_tar(void *context, int fd, struct err *err)
{
    static const char *const headers[] = {"Content-Type: application/x-tar", NULL};
    const struct sending *s = context;
    struct http_call call = {.method = "PUT",
                             .headers = (char *const *)headers,
                             .source = read_pipe,
                             .source_context = &fd,
                             .source_bytes = -1};
    struct http_response answer = {0};
    int r = cli_exchange(&call, s->path, &answer, err);
    http_response_done(&answer);
    return r;
}

int build_send_directory(const char *dir, const char *path, struct err *err)
{
    _cleanup_close_ int root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return err_sys(err, errno, "open build context %s", dir);
    _cleanup_(context_done) struct context c = {.root_fd = root, .write_fd = -EBADF, .dockerfile = ""};
    struct sending s = {.path = path};
    int r = load_ignore(&c, err);
    return r < 0 ? r : pack_through(&c, put_tar, &s, err);
}

int build_image(const struct build_request *q, char **ret_image_id, struct err *err)
{
    if (strcmp(q->context, "-") == 0)
        return build_from_stdin(q, ret_image_id, err);
    if (compose_context_is_remote(q->context))
        return send_build(q, q->dockerfile, NULL, NULL, ret_image_id, err);
    _cleanup_close_ int root = open(q->context, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_free_ char *dockerfile = NULL, *id = NULL;
    _cleanup_str_ struct str outside = STR_INIT;
    if (root < 0)
        return err_sys(err, errno, "open build context %s", q->context);
    int r = build_find_dockerfile(q, &dockerfile, &outside, err);
    if (r < 0)
        return r;
    _cleanup_(context_done) struct context c = {
        .root_fd = root, .write_fd = -EBADF, .dockerfile = dockerfile};
    struct sending s = {.request = q, .dockerfile = dockerfile, .ret_image_id = &id};
    r = load_ignore(&c, err);
    if (r == 0 && outside.len)
        r = send_along(&c, str_get(&outside), err);
    if (r == 0)
        r = pack_through(&c, send_context, &s, err);
    if (r == 0)
        *ret_image_id = take_ptr(id);
    return r;
}

static int hash_piece(void *context, const void *bytes, size_t n, struct err *err)
{
    (void)err;
    digest_hasher_add(context, bytes, n);
    return 0;
}

int build_context_digest(const struct build_request *q, char ret_digest[], struct err *err)
{
    _cleanup_close_ int root = open(q->context, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_free_ char *dockerfile = NULL;
    _cleanup_str_ struct str outside = STR_INIT;
    if (root < 0)
        return err_sys(err, errno, "open build context %s", q->context);
    int r = build_find_dockerfile(q, &dockerfile, &outside, err);
    if (r < 0)
        return r;
    _cleanup_(context_done) struct context c = {
        .root_fd = root, .write_fd = -EBADF, .dockerfile = dockerfile};
    _cleanup_hasher_ struct digest_hasher *hasher = digest_hasher_new("sha256");
    const struct tar_create create = {
        .root_fd = root, .path = "/", .exclude = excluded, .exclude_context = &c, .epoch = 0};
    digest_hasher_add(hasher, str_get(&outside), outside.len);
    r = load_ignore(&c, err);
    if (r == 0)
        r = tar_create_stream(&create, hash_piece, hasher, err);
    digest_hasher_format(hasher, ret_digest);
    return r;
}
