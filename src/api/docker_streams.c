/* A container's streams: wait, attach, logs, stats, export, docker cp. */
#include "api/api_priv.h"

#include "base/base64.h"
#include "base/file.h"

#include "base/timeutil.h"
#include "keeper/keeper.h"

#include <ctype.h>
#include <sys/socket.h>
#include <time.h>

#define RAW_STREAM "application/vnd.docker.raw-stream"

/* --- wait --- */

/* The head goes out as soon as the waiter is registered: clients start the container when they see it. */
static void wait_is_registered(void *request)
{
    http_stream_begin(request, 200, "application/json");
}

/* engine_container_wait calls `ready` with its `gone_context`. */
int api_container_wait(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    const char *condition = http_query(q, "condition");
    if (str_empty(condition))
        condition = "not-running";
    if (!str_eq(condition, "not-running") && !str_eq(condition, "next-exit") && !str_eq(condition, "removed"))
        return err_set(err, ERR_INVALID, "invalid condition: \"%s\"", condition);
    int status = 0;
    struct err why = {0};
    int r = engine_container_wait(a->engine, http_param(q, "id"), condition, api__gone, q, wait_is_registered,
                                  &status, &why);
    if (r < 0 && !http_answered(q))
        return err_copy(err, &why);
    if (r == -ERR_CANCELLED)
        return 0;
    json_t *out = json_pack("{s:i}", "StatusCode", r < 0 ? 125 : status);
    if (r < 0)
        json_object_set_new(out, "Error", json_pack("{s:s}", "Message", why.msg));
    if (!http_answered(q))
        http_reply_json(q, 200, out);
    else {
        http_stream_gather(q); /* to go with the stream's end */
        http_stream_json(q, out, NULL);
    }
    return 0;
}

/* --- logs --- */

struct log_stream {
    struct http_request *request; /* or */
    int fd;                       /* a taken-over connection */
    bool tty, timestamps;
    struct api_ws *ws;     /* of that connection, or NULL */
    char *details;         /* before each line, with a blank behind; or NULL */
    struct str text, line; /* with time and details; with its frame */
};

static void log_stream_done(struct log_stream *l)
{
    str_free(&l->text);
    str_free(&l->line);
    free(l->details);
}

static void add_escaped(struct str *to, const char *text)
{
    for (; *text; text++)
        if (isalnum((unsigned char)*text) || strchr("-_.~", *text))
            str_addc(to, *text);
        else if (*text == ' ')
            str_addc(to, '+');
        else
            str_addf(to, "%%%02X", (unsigned char)*text);
}

/* Docker's fixed-width form, so that lines stay aligned. */
static void add_timestamp(struct str *s, int64_t at_ns)
{
    time_t seconds = at_ns / NS_PER_S;
    struct tm t;
    gmtime_r(&seconds, &t);
    char text[32];
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &t);
    str_addf(s, "%s.%09lldZ ", text, (long long)(at_ns % NS_PER_S));
}

/* "k=v,k2=v2" in the form of a URL's query, sorted; clients take it apart again. */
static void set_details(void *context, const json_t *attributes)
{
    struct log_stream *l = context;
    _cleanup_str_ struct str out = STR_INIT;
    _cleanup_free_ char *sorted_text = json_dumps(attributes, JSON_SORT_KEYS);
    _cleanup_json_ json_t *sorted = json_loads(sorted_text, 0, NULL);
    const char *key;
    json_t *value;
    json_object_foreach (sorted, key, value) {
        if (out.len)
            str_addc(&out, ',');
        add_escaped(&out, key);
        str_addc(&out, '=');
        add_escaped(&out, json_string_value(value));
    }
    str_addc(&out, ' ');
    l->details = str_take(&out);
}

static int send_log_line(void *context, int stream, int64_t at_ns, const void *bytes, size_t n)
{
    struct log_stream *l = context;
    if (l->timestamps || l->details) {
        str_clear(&l->text);
        if (l->timestamps)
            add_timestamp(&l->text, at_ns);
        if (l->details)
            str_add(&l->text, l->details);
        str_addn(&l->text, bytes, n);
        bytes = str_get(&l->text);
        n = l->text.len;
    }
    str_clear(&l->line);
    if (l->ws)
        api__ws_encode(l->ws, bytes, n, &l->line);
    else if (l->tty)
        str_addn(&l->line, bytes, n);
    else
        api__frame(&l->line, stream, bytes, n);
    if (l->request)
        return http_stream_write(l->request, str_get(&l->line), l->line.len, NULL);
    return file_write_all(l->fd, str_get(&l->line), l->line.len, NULL);
}

static const char *stream_type(struct http_request *q, bool tty)
{
    return tty || api__version(q) < 1042 ? RAW_STREAM : "application/vnd.docker.multiplexed-stream";
}

static void begin_logs(void *context, bool tty)
{
    struct log_stream *l = context;
    l->tty = tty;
    http_stream_begin(l->request, 200, stream_type(l->request, tty));
    http_stream_gather(l->request); /* the reader asks log_reader_gone() before it waits */
}

static bool log_reader_gone(void *context)
{
    struct log_stream *l = context;
    return http_peer_gone(l->request);
}

static int log_options(struct http_request *q, struct engine_logs *ret, struct err *err)
{
    *ret = (struct engine_logs){.follow = http_query_bool(q, "follow", false),
                                .out = http_query_bool(q, "stdout", false),
                                .err_stream = http_query_bool(q, "stderr", false),
                                .tail = -1};
    if (!ret->out && !ret->err_stream)
        return err_set(err, ERR_INVALID, "Bad parameters: you must choose at least one stream");
    int r = api__query_time(q, "since", &ret->since_ns, err);
    if (r == 0)
        r = api__query_time(q, "until", &ret->until_ns, err);
    const char *tail = http_query(q, "tail");
    if (r == 0 && !str_empty(tail) && !str_eq(tail, "all")) {
        /* Docker takes what is not a number for "all". */
        if (parse_i64(tail, -1, INT64_MAX, &ret->tail, NULL) < 0)
            ret->tail = -1;
    }
    return r;
}

int api_container_logs(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    const char *ref = http_param(q, "id");
    struct engine_logs logs;
    int r = log_options(q, &logs, err);
    if (r < 0)
        return r;
    struct log_stream l = {.request = q, .timestamps = http_query_bool(q, "timestamps", false)};
    logs.context = &l;
    logs.begin = begin_logs;
    logs.details = http_query_bool(q, "details", false) ? set_details : NULL;
    logs.line = send_log_line;
    logs.gone = log_reader_gone;
    if (!logs.follow)
        engine_container_settle(a->engine, ref);
    r = engine_container_logs(a->engine, ref, &logs, NULL, err);
    log_stream_done(&l);
    return r == -ERR_CANCELLED ? 0 : r;
}

/* --- logs of services and tasks --- */

static void begin_swarm_logs(void *context, bool tty)
{
    struct log_stream *l = context;
    l->tty = tty;
    http_stream_begin(l->request, 200, stream_type(l->request, tty));
}

static int send_swarm_line(void *context, const json_t *attributes, int stream, int64_t at_ns,
                           const void *bytes, size_t n)
{
    struct log_stream *l = context;
    free(l->details);
    l->details = NULL;
    if (http_query_bool(l->request, "details", false))
        set_details(l, attributes);
    return send_log_line(l, stream, at_ns, bytes, n);
}

static int swarm_logs(struct http_request *q, struct api *a, bool is_task, struct err *err)
{
    struct engine_logs asked;
    int r = log_options(q, &asked, err);
    if (r < 0)
        return r;
    struct log_stream l = {.request = q, .timestamps = http_query_bool(q, "timestamps", false)};
    const struct cluster_logs logs = {.is_task = is_task,
                                      .follow = asked.follow,
                                      .out = asked.out,
                                      .err_stream = asked.err_stream,
                                      .since_ns = asked.since_ns,
                                      .until_ns = asked.until_ns,
                                      .tail = asked.tail,
                                      .context = &l,
                                      .begin = begin_swarm_logs,
                                      .line = send_swarm_line,
                                      .gone = log_reader_gone};
    r = cluster_logs(a->cluster, http_param(q, "id"), &logs, err);
    log_stream_done(&l);
    return r;
}

int api_service_logs(struct http_request *q, void *context, struct err *err)
{
    return swarm_logs(q, context, false, err);
}

int api_task_logs(struct http_request *q, void *context, struct err *err)
{
    return swarm_logs(q, context, true, err);
}

/* --- attach --- */

static int send_past_logs(struct api *a, const char *ref, int fd, bool tty, int flags, struct api_ws *ws,
                          struct err *err)
{
    struct log_stream l = {.fd = fd, .tty = tty, .ws = ws};
    struct engine_logs logs = {.out = flags & KEEPER_ATTACH_STDOUT,
                               .err_stream = flags & KEEPER_ATTACH_STDERR,
                               .until_ns = time_now_ns(),
                               .tail = -1,
                               .context = &l,
                               .line = send_log_line};
    int r = engine_container_logs(a->engine, ref, &logs, &tty, err);
    log_stream_done(&l);
    return r;
}

static int attach_flags(struct http_request *q)
{
    return (http_query_bool(q, "stdin", false) ? KEEPER_ATTACH_STDIN : 0) |
           (http_query_bool(q, "stdout", false) ? KEEPER_ATTACH_STDOUT : 0) |
           (http_query_bool(q, "stderr", false) ? KEEPER_ATTACH_STDERR : 0);
}

/* What the container's own settings say of its streams. */
static int stdin_of(struct api *a, const char *ref, bool *ret_open, bool *ret_once, struct err *err)
{
    _cleanup_json_ json_t *doc = NULL;
    int r = engine_container_inspect(a->engine, ref, 0, &doc, err);
    if (r < 0)
        return r;
    const json_t *config = json_object_get(doc, "Config");
    *ret_open = json_bool(config, "OpenStdin");
    *ret_once = json_bool(config, "StdinOnce");
    return 0;
}

/* The process's stream is taken first, then the past is sent, so that nothing falls between them. */
static int attach(struct http_request *q, struct api *a, int flags, struct api_ws *ws, struct err *err)
{
    const char *ref = http_param(q, "id"), *keys = http_query(q, "detachKeys");
    bool stream = http_query_bool(q, "stream", false), logs = http_query_bool(q, "logs", false);
    bool tty, stdin_open, stdin_once;
    _cleanup_close_ int process_fd = -EBADF, client_fd = -EBADF;
    _cleanup_str_ struct str early = STR_INIT;
    int r = api__detach_keys_check(keys, "detach", err);
    if (r == 0)
        r = stdin_of(a, ref, &stdin_open, &stdin_once, err);
    if (r == 0)
        r = engine_container_tty(a->engine, ref, &tty, err);
    if (r == 0 && stream)
        r = engine_container_attach(a->engine, ref, flags, &process_fd, &tty, err);
    if (r == 0)
        r = ws ? api__ws_accept(q, &client_fd, &early, err)
               : http_hijack(q, http_wants_upgrade(q, NULL) ? stream_type(q, tty) : RAW_STREAM, &client_fd,
                             &early, err);
    if (r == 0 && logs && !stream)
        engine_container_settle(a->engine, ref);
    if (r == 0 && logs)
        r = send_past_logs(a, ref, client_fd, tty, flags, ws, err);
    if (r < 0 || !stream)
        return r;
    struct api_relay relay = {.client_fd = client_fd,
                              .process_fd = process_fd,
                              .raw = tty,
                              .tty = tty,
                              .want_stdin = (flags & KEEPER_ATTACH_STDIN) && stdin_open,
                              .ends_with_input = tty || !stdin_once,
                              .ws = ws,
                              .detach_keys = str_empty(keys) ? NULL : keys,
                              .early = &early};
    enum api_relay_end how = RELAY_PROCESS_ENDED;
    r = api__relay(&relay, &how, err);
    if (r == 0 && how == RELAY_DETACHED)
        engine_container_detached(a->engine, ref, NULL);
    return r;
}

int api_container_attach(struct http_request *q, void *context, struct err *err)
{
    return attach(q, context, attach_flags(q), NULL, err);
}

/* The three streams are chosen by parameters since version 1.42; before, all were meant. */
int api_container_attach_ws(struct http_request *q, void *context, struct err *err)
{
    struct api_ws ws = {.binary = api__version(q) >= 1028};
    int all = KEEPER_ATTACH_STDIN | KEEPER_ATTACH_STDOUT | KEEPER_ATTACH_STDERR;
    int r = attach(q, context, api__version(q) >= 1042 ? attach_flags(q) : all, &ws, err);
    api__ws_done(&ws);
    return r;
}

/* --- stats --- */

enum { STATS_INTERVAL_MS = 1000 };

/* Before 1.21 there was one network: the sum of all counters. */
static void sum_networks(json_t *sample)
{
    const json_t *networks = json_object_get(sample, "networks");
    const char *name, *key;
    json_t *one, *value, *sum = json_object();
    json_object_foreach ((json_t *)networks, name, one)
        json_object_foreach (one, key, value)
            if (json_is_integer(value))
                json_object_set_new(sum, key, json_integer(json_int(sum, key) + json_integer_value(value)));
    if (networks)
        json_object_set(sample, "network", sum);
    json_decref(sum);
    json_object_del(sample, "networks");
}

int api_container_stats(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    const char *ref = http_param(q, "id");
    bool stream = http_query_bool(q, "stream", true), one_shot = http_query_bool(q, "one-shot", false);
    if (stream && one_shot)
        return err_set(err, ERR_INVALID, "cannot have stream=true and one-shot=true");
    _cleanup_json_ json_t *previous = NULL;
    for (int n = 0;; n++) {
        json_t *sample;
        int r = engine_container_stats(a->engine, ref, previous, &sample, err);
        if (r < 0)
            return http_answered(q) ? 0 : r; /* a stream ends when its container goes */
        if (api__version(q) < 1021)
            sum_networks(sample);
        if (api__version(q) >= 1052)
            json_set_str(sample, "os_type", "linux");
        bool idle = str_after(json_str(sample, "read"), "0001-") != NULL; /* it does not run */
        if (!stream && (one_shot || idle || n == 1)) {
            http_reply_json(q, 200, sample);
            return 0;
        }
        json_decref(previous);
        previous = sample;
        if (stream) {
            if (n == 0)
                http_stream_begin(q, 200, "application/json");
            if (http_stream_json(q, json_incref(sample), NULL) < 0)
                return 0;
        }
        if (http_sleep(q, STATS_INTERVAL_MS))
            return stream ? 0 : err_set(err, ERR_CANCELLED, "the client went away");
    }
}

/* --- files in and out --- */

struct tar_stream {
    struct http_request *request;
    const char *content_type;
};

/* Begins at the first byte, so that an error before it is still an HTTP status. */
static int write_tar(void *context, const void *bytes, size_t n, struct err *err)
{
    struct tar_stream *t = context;
    if (!http_answered(t->request))
        http_stream_begin(t->request, 200, t->content_type);
    return http_stream_write(t->request, bytes, n, err);
}

static int end_tar(struct tar_stream *t, int r)
{
    if (r == 0 && !http_answered(t->request))
        http_stream_begin(t->request, 200, t->content_type);
    return r;
}

int api_container_export(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    struct tar_stream t = {q, "application/octet-stream"};
    return end_tar(&t, engine_container_export(a->engine, http_param(q, "id"), write_tar, &t, err));
}

static int archive_path(struct http_request *q, const char **ret, struct err *err)
{
    *ret = http_query(q, "path");
    return str_empty(*ret) ? err_set(err, ERR_INVALID, "bad parameter: path cannot be empty") : 0;
}

static int set_stat_header(struct http_request *q, struct api *a, const char *path, struct err *err)
{
    _cleanup_json_ json_t *stat = NULL;
    int r = engine_archive_stat(a->engine, http_param(q, "id"), path, &stat, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *text = json_format(stat);
    _cleanup_free_ char *encoded = base64_encode(text, strlen(text));
    http_set_header(q, "X-Docker-Container-Path-Stat", encoded);
    return 0;
}

int api_archive_stat(struct http_request *q, void *context, struct err *err)
{
    const char *path;
    int r = archive_path(q, &path, err);
    if (r == 0)
        r = set_stat_header(q, context, path, err);
    if (r == 0)
        http_reply_empty(q, 200);
    return r;
}

int api_archive_get(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    const char *path;
    int r = archive_path(q, &path, err);
    if (r == 0)
        r = set_stat_header(q, a, path, err);
    if (r < 0)
        return r;
    struct tar_stream t = {q, "application/x-tar"};
    return end_tar(&t, engine_archive_get(a->engine, http_param(q, "id"), path, write_tar, &t, err));
}

/* How clients before 1.24 copied out of a container. */
int api_container_copy(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_json_ json_t *body = NULL;
    if (api__version(q) >= 1024)
        return err_set(err, ERR_NOT_FOUND, "page not found");
    int r = api__docker_body(q, false, &body, err);
    if (r < 0)
        return r;
    const char *resource = json_str(body, "Resource");
    if (!*resource)
        return err_set(err, ERR_INVALID, "Path cannot be empty");
    _cleanup_free_ char *path = str_printf("%s%s", *resource == '/' ? "" : "/", resource);
    struct tar_stream t = {q, "application/x-tar"};
    return end_tar(&t, engine_archive_get(a->engine, http_param(q, "id"), path, write_tar, &t, err));
}

static ssize_t read_body(void *context, void *buffer, size_t n, struct err *err)
{
    return http_body_read(context, buffer, n, err);
}

int api_archive_put(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    const char *path;
    int r = archive_path(q, &path, err);
    if (r == 0)
        r = engine_archive_put(a->engine, http_param(q, "id"), path,
                               http_query_bool(q, "noOverwriteDirNonDir", false),
                               http_query_bool(q, "copyUIDGID", false), read_body, q, err);
    if (r == 0)
        http_reply_empty(q, 200);
    return r;
}
