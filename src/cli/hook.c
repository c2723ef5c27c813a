#include "cli/hook.h"

#include "base/json.h"
#include "cli/call.h"
#include "cli/output.h"
#include "cli/stream.h"

#include <unistd.h>

enum { MAX_KEPT_OUTPUT = 600 };

/* Keeps the end of the output. */
static int keep(void *context, int stream, const void *bytes, size_t n, struct err *err)
{
    struct str *output = context;
    (void)stream, (void)err;
    str_addn(output, bytes, n);
    if (output->len > MAX_KEPT_OUTPUT) {
        size_t cut = output->len - MAX_KEPT_OUTPUT;
        memmove(output->data, output->data + cut, MAX_KEPT_OUTPUT);
        str_truncate(output, MAX_KEPT_OUTPUT);
    }
    return 0;
}

static int read_output(int fd, const struct str *early, struct str *output, struct err *err)
{
    char buffer[4096];
    struct demux demux = {0};
    int r = demux_feed(&demux, early->data, early->len, keep, output, err);
    while (r == 0) {
        ssize_t n = read(fd, buffer, sizeof(buffer));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, errno, "read the output of a hook");
        if (n == 0)
            return 0;
        r = demux_feed(&demux, buffer, (size_t)n, keep, output, err);
    }
    return r;
}

static int run(const char *container, const struct compose_hook *hook, struct str *output, int *ret_status,
               struct err *err)
{
    _cleanup_json_ json_t *created = NULL, *ended = NULL,
                          *start = json_pack("{s:b, s:b}", "Detach", 0, "Tty", 0);
    _cleanup_free_ char *escaped = cli_escape(container);
    _cleanup_close_ int fd = -EBADF;
    _cleanup_str_ struct str early = STR_INIT;
    int r = cli_call("POST", hook->body, &created, err, "/containers/%s/exec", escaped);
    if (r == 0)
        r = cli_hijack(start, &fd, &early, err, "/exec/%s/start", json_str(created, "Id"));
    if (r == 0)
        r = read_output(fd, &early, output, err);
    if (r == 0)
        r = cli_get(&ended, err, "/exec/%s/json", json_str(created, "Id"));
    if (r == 0)
        *ret_status = (int)json_int(ended, "ExitCode");
    return r;
}

int hook_run(const char *container, const struct compose_hook *hook, struct err *err)
{
    _cleanup_str_ struct str output = STR_INIT;
    int status = 0;
    int r = run(container, hook, &output, &status, err);
    if (r < 0 || status == 0)
        return r;
    _cleanup_free_ char *stripped = str_strip(str_get(&output));
    _cleanup_free_ char *safe = output_safe(stripped);
    const char *command = json_string_value(json_array_get(json_object_get(hook->body, "Cmd"), 0));
    return err_set(err, ERR_CONFLICT, "%s exited with %d%s%s", command ? command : "the command", status,
                   *safe ? ": " : "", safe);
}
