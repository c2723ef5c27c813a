/* drover attach: the terminal at what runs in a container already. */
#include "cli/attach.h"
#include "base/json.h"
#include "base/timeutil.h"
#include "cli/call.h"
#include "cli/stream.h"
#include "cli/targets.h"
#include "cli/verbs.h"

void attach_resize(void *context, int rows, int columns)
{
    struct err ignored; /* it may have ended */
    cli_call("POST", NULL, NULL, &ignored, "/containers/%s/resize?h=%d&w=%d", (const char *)context, rows,
             columns);
}

void attach_signal(void *context, int number)
{
    struct err ignored;
    cli_call("POST", NULL, NULL, &ignored, "/containers/%s/kill?signal=%d", (const char *)context, number);
}

struct attach_options {
    struct project_options project;
    const char *detach_keys;
    bool no_stdin, proxy;
    int index;
};

/* The output ends a moment before the process is known to have ended. One that still runs then goes on: the
 * server has ended the connection with the input. */
static int end_of(const char *id, json_t **ret, struct err *err)
{
    enum { TRIES = 50, STEP_MS = 20 };
    for (int i = 0;; i++) {
        json_t *container = NULL;
        int r = cli_get(&container, err, "/containers/%s/json", id);
        if (r < 0)
            return r;
        if (i == TRIES || !json_bool(json_object_get(container, "State"), "Running")) {
            *ret = container;
            return 0;
        }
        json_decref(container);
        time_sleep_ns(STEP_MS * NS_PER_MS);
    }
}

static int run_attach(const struct attach_options *o, const char *id, int *ret_status, struct err *err)
{
    _cleanup_json_ json_t *container = NULL, *ended = NULL;
    int r = cli_get(&container, err, "/containers/%s/json", id);
    if (r < 0)
        return r;
    const json_t *config = json_object_get(container, "Config");
    if (!json_bool(json_object_get(container, "State"), "Running"))
        return err_set(err, ERR_CONFLICT, "%s does not run; start it first", json_str(container, "Name") + 1);
    bool tty = json_bool(config, "Tty"), input = !o->no_stdin && json_bool(config, "OpenStdin");
    _cleanup_close_ int fd = -EBADF;
    _cleanup_str_ struct str early = STR_INIT;
    _cleanup_free_ char *keys = cli_escape(o->detach_keys ? o->detach_keys : "");
    bool detached = false;
    r = cli_hijack(NULL, &fd, &early, err,
                   "/containers/%s/attach?stream=1&stdout=1&stderr=1&stdin=%d&detachKeys=%s", id, input,
                   keys);
    if (r < 0)
        return r;
    const struct stream stream = {.fd = fd,
                                  .early = &early,
                                  .tty = tty,
                                  .input = input,
                                  .keep_signals = o->proxy && !tty,
                                  .context = (void *)(uintptr_t)id,
                                  .resize = attach_resize,
                                  .signal = attach_signal};
    r = stream_run(&stream, &detached, err);
    if (r < 0 || detached)
        return r;
    r = end_of(id, &ended, err);
    if (r == -ERR_NOT_FOUND) /* it removed itself */
        return 0;
    const json_t *state = json_object_get(ended, "State");
    if (r == 0 && !json_bool(state, "Running"))
        *ret_status = (int)json_int(state, "ExitCode");
    return r;
}

int cli_attach(int argc, char **argv)
{
    struct attach_options o = {.proxy = true, .index = 1};
    const struct cli_option options[] = {
        {0, "detach-keys", CLI_TEXT, &o.detach_keys, "KEYS",
         "What leaves it: ctrl-p,ctrl-q unless said here"},
        {0, "no-stdin", CLI_FLAG, &o.no_stdin, NULL, "Do not send standard input"},
        {0, "sig-proxy", CLI_FLAG, &o.proxy, NULL, "Signals go to the process (the default); =false: not"},
        {0, "index", CLI_INT, &o.index, "N", "Which container of a service with several"},
        PROJECT_OPTIONS(o.project),
        {0},
    };
    const struct cli_command command = {
        "attach [OPTIONS] SERVICE|CONTAINER",
        "Shows what a running container writes, and sends it input; ends with its status when it ends.",
        options,
        false,
        1,
        1};
    char **rest;
    struct err err;
    _cleanup_free_ char *id = NULL;
    int status = cli_parse(&command, argc, argv, &rest);
    if (status < 0)
        status = targets_find_one(&o.project, rest[0], o.index, &id);
    if (id && run_attach(&o, id, &status, &err) < 0)
        status = cli_fail(&err);
    project_options_done(&o.project);
    return status;
}
