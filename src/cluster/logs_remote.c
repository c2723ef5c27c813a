/* What a task's container has written on another node: asked of that node's port by who gathers a service's
 * logs. One JSON object a line: the stream's number, the time in nanoseconds, and the line in base64. */
#include "cluster/logs.h"

#include "base/base64.h"
#include "cluster/identity.h"
#include "cluster/port.h"
#include "http/client.h"

enum { LINE_MAX_BYTES = 4 << 20, CONNECT_MS = 5000 };

/* --- Asked --- */

struct reading {
    const struct engine_logs *logs;
    struct str rest; /* a line that is not whole yet */
};

static int take_line(const struct engine_logs *logs, const char *text, size_t n, struct err *err)
{
    _cleanup_json_ json_t *doc = NULL;
    _cleanup_str_ struct str line = STR_INIT;
    int r = json_parse(text, n, "a node's answer", &doc, err);
    if (r == 0)
        r = base64_decode(json_str(doc, "line"), &line, err);
    return r < 0 ? r
                 : logs->line(logs->context, (int)json_int(doc, "stream"), json_int(doc, "at"),
                              str_get(&line), line.len);
}

static int on_bytes(void *context, const void *bytes, size_t n, struct err *err)
{
    struct reading *r = context;
    const char *at, *end;
    str_addn(&r->rest, bytes, n);
    if (r->rest.len > LINE_MAX_BYTES)
        return err_set(err, ERR_LIMIT, "a line of the log is larger than %d bytes", LINE_MAX_BYTES);
    for (at = str_get(&r->rest); (end = memchr(at, '\n', r->rest.len - (size_t)(at - r->rest.data)));
         at = end + 1)
        if (take_line(r->logs, at, (size_t)(end - at), err) != 0)
            return err->code ? -err->code : err_set(err, ERR_CANCELLED, "no more is wanted");
    size_t used = (size_t)(at - r->rest.data);
    memmove(r->rest.data, at, r->rest.len - used);
    str_truncate(&r->rest, r->rest.len - used);
    return 0;
}

int logs__read_remote(struct cluster *c, const struct logs_place *place, const struct engine_logs *logs,
                      struct err *err)
{
    _cleanup_identity_files_ struct identity_files files = {0};
    _cleanup_free_ char *url =
        str_printf("https://%s/cluster/logs/%s?follow=%d&out=%d&err=%d&since=%lld&until=%lld&tail=%lld",
                   place->node, place->container, logs->follow, logs->out, logs->err_stream,
                   (long long)logs->since_ns, (long long)logs->until_ns, (long long)logs->tail);
    struct reading reading = {.logs = logs};
    struct http_response answer = {0};
    struct http_client *client = NULL;
    int r = http_client_new(NULL, &client, err);
    if (r < 0)
        return r;
    identity__files(c, &files);
    const struct http_call call = {.method = "GET",
                                   .url = url,
                                   .sink = on_bytes,
                                   .sink_context = &reading,
                                   .ca_file = files.authority,
                                   .crl_file = files.revoked,
                                   .certificate_file = files.certificate,
                                   .key_file = files.key,
                                   .connect_to = place->door,
                                   .connect_timeout_ms = CONNECT_MS,
                                   .cancel = &c->cancel,
                                   .gone = logs->gone,
                                   .gone_context = logs->context};
    r = http_client_call(client, &call, &answer, err);
    http_client_free(client);
    if (r == 0)
        r = http_response_err(&answer, err);
    http_response_done(&answer);
    str_free(&reading.rest);
    return r;
}

/* --- Answered --- */

static int send_line(void *context, int stream, int64_t at_ns, const void *bytes, size_t n)
{
    _cleanup_free_ char *text = base64_encode(bytes, n);
    return http_stream_json(
        context, json_pack("{s:i, s:I, s:s}", "stream", stream, "at", (json_int_t)at_ns, "line", text),
        &(struct err){0});
}

static bool reader_gone(void *context)
{
    return http_peer_gone(context);
}

static int number(struct http_request *q, const char *name, int64_t *ret, struct err *err)
{
    const char *text = http_query(q, name);
    return text ? parse_i64(text, INT64_MIN, INT64_MAX, ret, err) : 0;
}

/* Only of containers that are the swarm's. */
static int check_container(struct cluster *c, const char *id, struct err *err)
{
    SCOPED_LOCK(locked, &c->lock);
    return map_has(&c->containers, id) ? 0 : err_set(err, ERR_NOT_FOUND, "no task has container %.80s", id);
}

int logs__serve_remote(struct http_request *q, void *context, struct err *err)
{
    struct cluster *c = context;
    struct port_peer peer;
    const char *container = http_param(q, "container");
    struct engine_logs logs = {.follow = http_query_bool(q, "follow", false),
                               .out = http_query_bool(q, "out", false),
                               .err_stream = http_query_bool(q, "err", false),
                               .tail = -1,
                               .context = q,
                               .line = send_line,
                               .gone = reader_gone};
    bool tty;
    http_bind_to_certificate(q);
    int r = port__peer(c, q, &peer, err);
    if (r == 0 && !peer.manager)
        r = err_set(err, ERR_DENIED, "only managers may read the logs of another node's tasks");
    if (r == 0)
        r = check_container(c, container, err);
    if (r == 0)
        r = number(q, "since", &logs.since_ns, err);
    if (r == 0)
        r = number(q, "until", &logs.until_ns, err);
    if (r == 0)
        r = number(q, "tail", &logs.tail, err);
    if (r < 0)
        return r;
    http_stream_begin(q, 200, "application/x-ndjson");
    r = engine_container_logs(c->engine, container, &logs, &tty, err);
    return r == -ERR_CANCELLED ? 0 : r;
}
