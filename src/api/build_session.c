#include "api/build_session.h"

#include "bakery/bakery.h"
#include "base/base64.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/lock.h"
#include "base/relay.h"
#include "base/timeutil.h"
#include "image/tar.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    SESSIONS_MAX = 64,
    SECRETS_MAX = 64,
    SECRET_BYTES_MAX = 500 << 10,
    CONTEXTS_MAX = 32,
    AGENTS_MAX = 16,
    PARKED_MAX = 8,
    BODY_MAX = 16 << 20,
    UNUSED_S = 15 * 60,
    AGENT_WAIT_S = 10,
};

/* A connection to the client's agent that waits to be used: what carries it is its request's thread. */
struct parked {
    char *id;
    int fd; /* given to the step; the other end is the thread's */
    bool taken;
};

struct build_session {
    struct build_sessions *all;
    struct api *api;
    char id[65];
    int refs; /* of requests; guarded, as is all below, by all->lock */
    bool closed;
    int64_t used_ns;
    json_t *options;
    struct map secrets;                /* id -> struct str */
    char *dir;                         /* of caches; NULL: none was needed */
    char **agents, **contexts, **made; /* made: images of contexts, removed at the end */
    struct parked *parked[PARKED_MAX];
};

struct build_sessions {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct map map;
};

struct build_sessions *build_sessions_new(void)
{
    struct build_sessions *s = NEW(struct build_sessions);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    s->map = MAP_INIT(NULL);
    return s;
}

static void secret_free(void *secret)
{
    struct str *s = secret;
    if (s->data)
        explicit_bzero(s->data, s->len);
    str_free(s);
    free(s);
}

/* With the lock held, by the last who has it. */
static void session_free(struct build_session *s)
{
    map_remove(&s->all->map, s->id);
    STRV_FOREACH (id, s->made) {
        const struct image_removal how = {.keep_parents = true};
        json_t *log = NULL;
        if (image_remove(s->api->images, *id, &how, &log, NULL) == 0) /* one that something stands on stays */
            json_decref(log);
    }
    if (s->dir)
        file_remove_tree(s->dir, NULL);
    free(s->dir);
    map_done(&s->secrets);
    strv_free(s->agents);
    strv_free(s->contexts);
    strv_free(s->made);
    json_decref(s->options);
    free(s);
}

static void sweep(struct build_sessions *all)
{
    struct map_entry *e;
    int64_t now = time_monotonic_ns();
    for (size_t i = 0; (e = map_next(&all->map, &i));) {
        struct build_session *s = e->value;
        if (!s->refs && (s->closed || now - s->used_ns > UNUSED_S * NS_PER_S))
            session_free(s);
    }
}

void build_sessions_free(struct build_sessions *all)
{
    if (!all)
        return;
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&all->map, &i));)
        session_free(e->value);
    map_done(&all->map);
    pthread_mutex_destroy(&all->lock);
    pthread_cond_destroy(&all->changed);
    free(all);
}

static int enter(struct api *a, const char *id, struct build_session **ret, struct err *err)
{
    SCOPED_LOCK(locked, &a->builds->lock);
    struct build_session *s = map_get(&a->builds->map, id);
    if (!s || s->closed)
        return err_set(err, ERR_NOT_FOUND, "No such build");
    s->refs++;
    s->used_ns = time_monotonic_ns();
    *ret = s;
    return 0;
}

int build_session_enter(struct api *a, struct http_request *q, struct build_session **ret, struct err *err)
{
    const char *id = http_header(q, "X-Drover-Build");
    *ret = NULL;
    return str_empty(id) ? 0 : enter(a, id, ret, err);
}

void build_session_leave(struct build_session *s)
{
    if (!s)
        return;
    SCOPED_LOCK(locked, &s->all->lock);
    s->used_ns = time_monotonic_ns();
    s->refs--;
    if (!s->refs && s->closed)
        session_free(s);
}

static void leave_p(struct build_session **s)
{
    build_session_leave(*s);
}
#define _cleanup_session_ _cleanup_(leave_p)

const json_t *build_session_options(const struct build_session *s)
{
    return s ? s->options : NULL;
}

char *const *build_session_contexts(const struct build_session *s)
{
    return s ? s->contexts : NULL;
}

/* --- POST /drover/builds --- */

static int read_secrets(struct build_session *s, const json_t *object, struct err *err)
{
    const char *id;
    json_t *value;
    if (json_object_size(object) > SECRETS_MAX)
        return err_set(err, ERR_LIMIT, "more than %d secrets", SECRETS_MAX);
    json_object_foreach ((json_t *)object, id, value) {
        struct str *plain = NEW(struct str);
        int r = json_is_string(value) ? base64_decode(json_string_value(value), plain, err)
                                      : err_set(err, ERR_INVALID, "it must be a text");
        if (r == 0 && plain->len > SECRET_BYTES_MAX)
            r = err_set(err, ERR_LIMIT, "it is larger than %d bytes", SECRET_BYTES_MAX);
        map_put(&s->secrets, id, plain);
        if (r < 0)
            return err_wrap(err, "secret %.100s", id);
    }
    return 0;
}

int api_builds_open(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_json_ json_t *body = NULL;
    json_t *secrets = NULL, *options = NULL;
    int r = http_body_json(q, BODY_MAX, &body, err);
    if (r == 0)
        r = json_get_object(body, "", "Secrets", &secrets, err);
    if (r == 0)
        r = json_get_object(body, "", "Options", &options, err);
    if (r < 0)
        return r;
    struct build_session *s = NEW(struct build_session);
    s->all = a->builds;
    s->api = a;
    s->secrets = MAP_INIT(secret_free);
    s->options = options ? json_deep_copy(options) : json_object();
    s->used_ns = time_monotonic_ns();
    digest_random_id(s->id);
    r = read_secrets(s, secrets, err);
    if (r == 0)
        r = json_get_strv(body, "", "Agents", &s->agents, err);
    if (r == 0 && strv_len(s->agents) > AGENTS_MAX)
        r = err_set(err, ERR_LIMIT, "more than %d ssh agents", AGENTS_MAX);
    SCOPED_LOCK(locked, &a->builds->lock);
    sweep(a->builds);
    if (r == 0 && a->builds->map.count >= SESSIONS_MAX)
        r = err_set(err, ERR_LIMIT, "more than %d builds at the same time", SESSIONS_MAX);
    if (r < 0) {
        session_free(s);
        return r;
    }
    map_put(&a->builds->map, s->id, s);
    http_reply_json(q, 201, json_pack("{s:s}", "Id", s->id));
    return 0;
}

int api_builds_close(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_session_ struct build_session *s = NULL;
    int r = enter(a, http_param(q, "id"), &s, err);
    if (r < 0)
        return r;
    pthread_mutex_lock(&s->all->lock);
    s->closed = true;
    pthread_cond_broadcast(&s->all->changed);
    pthread_mutex_unlock(&s->all->lock);
    http_reply_empty(q, 204);
    return 0;
}

/* --- PUT /drover/builds/{id}/contexts/{name} --- */

static ssize_t read_body(void *context, void *buffer, size_t n, struct err *err)
{
    return http_body_read(context, buffer, n, err);
}

static int receive_tree(struct http_request *q, const char *tree, struct err *err)
{
    _cleanup_close_ int fd = open(tree, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const struct tar_extract x = {.root_fd = fd, .names_from_root = true};
    return fd < 0 ? err_sys(err, errno, "open %s", tree) : tar_extract_stream(&x, read_body, q, err);
}

/* A repository's history is no part of it. */
static int fetch_tree(const char *url, const char *tree, char **ret_dir, struct err *err)
{
    _cleanup_free_ char *text = NULL;
    int r = bakery_remote_context(url, tree, ret_dir, &text, err);
    if (r == 0 && text)
        return err_set(err, ERR_INVALID, "%.300s is neither an archive nor a git repository", url);
    _cleanup_free_ char *history = r == 0 ? str_printf("%s/.git", *ret_dir) : NULL;
    if (r == 0)
        file_remove_tree(history, NULL);
    return r;
}

/* The tree as an image of one layer: FROM, COPY --from and RUN --mount take it as they take any. Its digest
 * is that of its content, so that the cache finds it again. */
static int image_of_tree(struct api *a, struct http_request *q, char **ret_id, struct err *err)
{
    _cleanup_free_ char *dir = str_printf("%s/tmp/build-XXXXXX", engine_root(a->engine));
    if (!mkdtemp(dir))
        return err_sys(err, errno, "make a directory for the build context at %s", dir);
    _cleanup_free_ char *tree = str_printf("%s/tree", dir), *top = NULL, *layer = NULL, *diff = NULL;
    const char *url = http_query(q, "remote");
    int r = file_mkdirs(tree, 0755, err);
    if (r == 0)
        r = url ? fetch_tree(url, tree, &top, err) : receive_tree(q, tree, err);
    if (r == 0)
        r = image_layer_commit(a->images, NULL, NULL, top ? top : tree, true, -1, &layer, &diff, err);
    if (r == 0) {
        _cleanup_json_ json_t *config =
            json_pack("{s:s, s:{}, s:[{s:s, s:s}]}", "created", "1970-01-01T00:00:00Z", "config", "history",
                      "created", "1970-01-01T00:00:00Z", "created_by", "build context");
        char *layers[] = {diff ? layer : NULL, NULL};
        r = image_create(a->images, NULL, layers, config, NULL, ret_id, err);
    }
    file_remove_tree(dir, NULL);
    return r;
}

struct loading {
    struct api *api;
    char **ids;
};

static int load_from(void *context, int fd, struct err *err)
{
    struct loading *l = context;
    return image_load(l->api->images, fd, NULL, NULL, &l->ids, err);
}

static int image_of_layout(struct api *a, struct http_request *q, char **ret_id, struct err *err)
{
    struct loading l = {.api = a};
    int r = api__stream_in(q, load_from, &l, err);
    if (r == 0 && !l.ids)
        r = err_set(err, ERR_INVALID, "there is no image in it");
    if (r == 0) {
        const char *at = str_after(l.ids[0], "Loaded image ID: ");
        at = at ? at : str_after(l.ids[0], "Loaded image: ");
        *ret_id = mem_strdup(at ? at : l.ids[0]);
    }
    strv_free(l.ids);
    return r;
}

int api_builds_context(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    const char *name = http_param(q, "name");
    _cleanup_session_ struct build_session *s = NULL;
    _cleanup_free_ char *id = NULL;
    bool layout = http_query_bool(q, "layout", false);
    int r = enter(a, http_param(q, "id"), &s, err);
    if (r == 0)
        r = layout ? image_of_layout(a, q, &id, err) : image_of_tree(a, q, &id, err);
    if (r < 0)
        return s ? err_wrap(err, "build context %.100s", name) : r;
    SCOPED_LOCK(locked, &s->all->lock);
    if (strv_len(s->contexts) >= CONTEXTS_MAX)
        return err_set(err, ERR_LIMIT, "more than %d build contexts", CONTEXTS_MAX);
    strv_take(&s->contexts, str_printf("%s=%s", name, id));
    if (!layout)
        strv_add(&s->made, id);
    http_reply_json(q, 200, json_pack("{s:s}", "Image", id));
    return 0;
}

/* --- /drover/builds/{id}/caches/{n} --- */

int build_session_cache_dir(struct build_session *s, bool is_target, size_t number, char **ret,
                            struct err *err)
{
    SCOPED_LOCK(locked, &s->all->lock);
    if (!s->dir) {
        char *dir = str_printf("%s/tmp/build-XXXXXX", engine_root(s->api->engine));
        if (!mkdtemp(dir)) {
            int r = err_sys(err, errno, "make a directory for build caches at %s", dir);
            free(dir);
            return r;
        }
        s->dir = dir;
    }
    *ret = str_printf("%s/%s-%zu", s->dir, is_target ? "to" : "from", number);
    return 0;
}

/* The session, and the directory that belongs to the request's number. */
static int enter_cache(struct http_request *q, struct api *a, bool is_target, struct build_session **ret,
                       char **ret_dir, struct err *err)
{
    int64_t number;
    int r = enter(a, http_param(q, "id"), ret, err);
    if (r == 0)
        r = parse_i64(http_param(q, "n"), 0, INT32_MAX, &number, err);
    return r < 0 ? r : build_session_cache_dir(*ret, is_target, (size_t)number, ret_dir, err);
}

int api_builds_cache_in(struct http_request *q, void *context, struct err *err)
{
    _cleanup_session_ struct build_session *s = NULL;
    _cleanup_free_ char *dir = NULL;
    int r = enter_cache(q, context, false, &s, &dir, err);
    if (r == 0)
        r = file_mkdirs(dir, 0700, err);
    _cleanup_close_ int fd = r == 0 ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -EBADF;
    if (r == 0 && fd < 0)
        r = err_sys(err, errno, "open %s", dir);
    const struct tar_extract x = {.root_fd = fd};
    if (r == 0)
        r = tar_extract_stream(&x, read_body, q, err);
    if (r < 0)
        return s ? err_wrap(err, "build cache") : r;
    http_reply_empty(q, 204);
    return 0;
}

static int send_bytes(void *context, const void *bytes, size_t n, struct err *err)
{
    struct http_request *q = context;
    if (!http_answered(q))
        http_stream_begin(q, 200, "application/x-tar");
    return http_stream_write(q, bytes, n, err);
}

int api_builds_cache_out(struct http_request *q, void *context, struct err *err)
{
    _cleanup_session_ struct build_session *s = NULL;
    _cleanup_free_ char *dir = NULL;
    int r = enter_cache(q, context, true, &s, &dir, err);
    if (r < 0)
        return r;
    _cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, ERR_NOT_FOUND, "the build has exported no such cache");
    const struct tar_create create = {.root_fd = fd, .path = "/", .epoch = -1};
    return tar_create_stream(&create, send_bytes, q, err);
}

/* --- secrets and agents --- */

int build_session_secret(void *session, const char *id, struct str *ret, struct err *err)
{
    struct build_session *s = session;
    const struct str *secret = s ? map_get(&s->secrets, id) : NULL;
    if (!secret)
        return err_set(err, ERR_NOT_FOUND, "no secret %s", id);
    str_addn(ret, secret->len ? secret->data : "", secret->len);
    return 0;
}

bool build_session_has_agent(void *session, const char *id)
{
    struct build_session *s = session;
    return s && strv_has(s->agents, id);
}

int build_session_agent(void *session, const char *id, int *ret_fd, struct err *err)
{
    struct build_session *s = session;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += AGENT_WAIT_S;
    SCOPED_LOCK(locked, &s->all->lock);
    for (;;) {
        for (size_t i = 0; i < PARKED_MAX; i++) {
            struct parked *p = s->parked[i];
            if (!p || p->taken || !str_eq(p->id, id))
                continue;
            *ret_fd = take_fd(&p->fd);
            p->taken = true;
            s->parked[i] = NULL; /* the place is free; its thread has it still */
            pthread_cond_broadcast(&s->all->changed);
            return 0;
        }
        if (s->closed || pthread_cond_timedwait(&s->all->changed, &s->all->lock, &until) != 0)
            return err_set(err, ERR_UNAVAILABLE, "the build's client gives no connection to the ssh agent %s",
                           id);
    }
}

static int park(struct build_session *s, struct parked *p, struct err *err)
{
    SCOPED_LOCK(locked, &s->all->lock);
    for (size_t i = 0; i < PARKED_MAX; i++) {
        if (s->parked[i])
            continue;
        s->parked[i] = p;
        pthread_cond_broadcast(&s->all->changed);
        return 0;
    }
    return err_set(err, ERR_LIMIT, "more than %d connections to ssh agents wait", PARKED_MAX);
}

/* False when it was never taken: the session has ended, or the client has gone. */
static bool wait_until_taken(struct build_session *s, struct parked *p, int client_fd)
{
    pthread_mutex_lock(&s->all->lock);
    bool gone = false;
    while (!p->taken && !s->closed && !gone) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec++;
        pthread_cond_timedwait(&s->all->changed, &s->all->lock, &until);
        char byte;
        gone = recv(client_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
    }
    for (size_t i = 0; i < PARKED_MAX; i++)
        if (s->parked[i] == p)
            s->parked[i] = NULL;
    bool taken = p->taken;
    pthread_mutex_unlock(&s->all->lock);
    return taken;
}

int api_builds_agent(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_session_ struct build_session *s = NULL;
    const char *name = http_param(q, "name");
    int r = enter(a, http_param(q, "id"), &s, err);
    if (r == 0 && !build_session_has_agent(s, name))
        r = err_set(err, ERR_NOT_FOUND, "the build has no ssh agent %.100s", name);
    if (r < 0)
        return r;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_sys(err, errno, "make a socket pair");
    _cleanup_close_ int own = pair[1], client = -EBADF;
    _cleanup_str_ struct str early = STR_INIT;
    struct parked p = {.id = mem_strdup(name), .fd = pair[0]};
    r = http_hijack(q, "application/vnd.docker.raw-stream", &client, &early, err);
    if (r == 0 && park(s, &p, NULL) == 0 && wait_until_taken(s, &p, client))
        relay(&(struct relay_end){.fd = client}, &(struct relay_end){.fd = own},
              &(struct relay_rule){.until = RELAY_BOTH, .stop_fd = -1});
    close_fd(p.fd);
    free(p.id);
    return r;
}
