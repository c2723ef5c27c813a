/* Further processes in a container. */
#include "api/api_priv.h"

#include "base/file.h"

enum { EXIT_WAIT_MS = 2000, RESIZE_WAIT_MS = 10000, RESIZE_POLL_MS = 20 };

int api_exec_create(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    _cleanup_json_ json_t *body = NULL;
    _cleanup_free_ char *id = NULL;
    int r = api__docker_body(q, false, &body, err);
    if (r == 0)
        r = api__detach_keys_check(json_str(body, "DetachKeys"), "escape", err);
    if (r == 0)
        r = engine_exec_create(a->engine, http_param(q, "id"), body, &id, err);
    if (r == 0)
        http_reply_json(q, 201, json_pack("{s:s}", "Id", id));
    return r;
}

struct exec_options {
    bool detach, tty, has_tty;
    int rows, columns;
};

static int read_options(struct http_request *q, struct exec_options *o, struct err *err)
{
    _cleanup_json_ json_t *body = NULL;
    json_t *size = NULL;
    int r = api__docker_body(q, false, &body, err);
    if (r == 0)
        r = json_get_bool(body, "", "Detach", &o->detach, err);
    if (r == 0)
        r = json_get_bool(body, "", "Tty", &o->tty, err);
    if (r == 0)
        r = json_get_array(body, "", "ConsoleSize", &size, err);
    if (r == 0 && size && json_array_size(size) == 2) {
        o->rows = (int)json_integer_value(json_array_get(size, 0));
        o->columns = (int)json_integer_value(json_array_get(size, 1));
    }
    return r;
}

/* A program that could not be executed: the client, which has asked for a stream, would not show the text of
 * an HTTP error. It learns the exit code (126, 127) from the exec's inspect. */
static int tell_in_stream(struct http_request *q, bool raw, const struct err *why, struct err *err)
{
    _cleanup_close_ int fd = -EBADF;
    _cleanup_str_ struct str early = STR_INIT, text = STR_INIT, frame = STR_INIT;
    int r = http_hijack(q, "application/vnd.docker.raw-stream", &fd, &early, err);
    if (r < 0)
        return r;
    str_addf(&text, "%s\r\n", why->msg);
    if (!raw)
        api__frame(&frame, 1, text.data, text.len);
    return file_write_all(fd, raw ? text.data : frame.data, raw ? text.len : frame.len, err);
}

/* Else the container is in no state for it. */
static bool could_not_execute(const struct err *why)
{
    return why->code != ERR_CONFLICT;
}

/* The stream ends with the process, but its exit becomes known a moment later; clients ask for the exit code
 * as soon as their connection ends. */
static void await_exit_code(struct http_request *q, struct api *a)
{
    for (int waited_ms = 0, ms = 1; waited_ms < EXIT_WAIT_MS; waited_ms += ms, ms = MIN(ms * 2, 50)) {
        _cleanup_json_ json_t *exec = NULL;
        if (engine_exec_inspect(a->engine, http_param(q, "id"), &exec, NULL) < 0 ||
            !json_bool(exec, "Running"))
            return;
        if (http_sleep(q, ms))
            return;
    }
}

/* What clients of before API 1.42 read as the exit code of a program that is not there. */
static int missing_code(struct http_request *q)
{
    return api__version(q) < 1042 ? 126 : 127;
}

/* Whether the process has a terminal was said when the exec was made; whether its bytes come in frames is
 * said by the start's own Tty. */
static int run_attached(struct http_request *q, struct api *a, const struct exec_options *o,
                        const json_t *exec, struct err *err)
{
    const json_t *config = json_object_get(exec, "ProcessConfig");
    const char *keys = json_str(exec, "DetachKeys");
    _cleanup_close_ int process_fd = -EBADF, client_fd = -EBADF;
    _cleanup_str_ struct str early = STR_INIT;
    struct err why = {0};
    bool tty = json_bool(config, "tty");
    int r = engine_exec_start(a->engine, http_param(q, "id"), false, missing_code(q), o->rows, o->columns,
                              &process_fd, &why);
    if (r < 0)
        return could_not_execute(&why) ? tell_in_stream(q, o->tty, &why, err) : err_copy(err, &why);
    bool told_raw = o->tty || api__version(q) < 1042 || !http_wants_upgrade(q, NULL);
    r = http_hijack(
        q, told_raw ? "application/vnd.docker.raw-stream" : "application/vnd.docker.multiplexed-stream",
        &client_fd, &early, err);
    if (r < 0)
        return r;
    struct api_relay relay = {.client_fd = client_fd,
                              .process_fd = process_fd,
                              .raw = o->tty,
                              .tty = tty,
                              .want_stdin = json_bool(exec, "OpenStdin"),
                              .leave_out = (json_bool(exec, "OpenStdout") ? 0 : 1u << 1) |
                                           (json_bool(exec, "OpenStderr") ? 0 : 1u << 2),
                              .ends_with_input = tty,
                              .detach_keys = str_empty(keys) ? NULL : keys,
                              .early = &early};
    enum api_relay_end how = RELAY_CLIENT_ENDED;
    r = api__relay(&relay, &how, err);
    if (r == 0 && how == RELAY_PROCESS_ENDED)
        await_exit_code(q, a);
    else if (r == 0 && how == RELAY_DETACHED)
        engine_container_detached(a->engine, json_str(exec, "ContainerID"), http_param(q, "id"));
    return r;
}

int api_exec_start(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    struct exec_options o = {0};
    _cleanup_json_ json_t *exec = NULL;
    int r = read_options(q, &o, err);
    if (r == 0) /* what is not there is an HTTP error */
        r = engine_exec_inspect(a->engine, http_param(q, "id"), &exec, err);
    if (r < 0)
        return r;
    if (!o.detach)
        return run_attached(q, a, &o, exec, err);
    int fd = -EBADF;
    r = engine_exec_start(a->engine, http_param(q, "id"), true, missing_code(q), o.rows, o.columns, &fd, err);
    if (r == 0)
        http_reply_empty(q, 200);
    return r;
}

int api_exec_resize(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    int h, w, r = api__query_size(q, &h, &w, err);
    if (r < 0)
        return r;
    /* A client that has asked for the start in another request may be ahead of it. */
    for (int waited_ms = 0;; waited_ms += RESIZE_POLL_MS) {
        r = engine_exec_resize(a->engine, http_param(q, "id"), h, w, err);
        if (r != -ERR_UNAVAILABLE)
            break;
        if (waited_ms >= RESIZE_WAIT_MS)
            return err_set(err, ERR_SYSTEM, "timeout waiting for exec session ready");
        if (http_sleep(q, RESIZE_POLL_MS))
            return err_set(err, ERR_CANCELLED, "the client went away");
    }
    if (r == 0)
        http_reply_empty(q, 200);
    return r;
}

int api_exec_inspect(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    json_t *doc;
    int r = engine_exec_inspect(a->engine, http_param(q, "id"), &doc, err);
    if (r == 0)
        http_reply_json(q, 200, doc);
    return r;
}
