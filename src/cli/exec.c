#include "base/json.h"
#include "cli/call.h"
#include "cli/output.h"
#include "cli/stream.h"
#include "cli/targets.h"
#include "cli/verbs.h"

#include <unistd.h>

struct exec_options {
    struct project_options project;
    bool interactive, tty, no_tty, detach, privileged;
    char **env;
    const char *user, *workdir;
    int index;
};

static void resize(void *context, int rows, int columns)
{
    struct err ignored; /* the process may have ended */
    cli_call("POST", NULL, NULL, &ignored, "/exec/%s/resize?h=%d&w=%d", (const char *)context, rows, columns);
}

static int run_exec(const struct exec_options *o, const char *container, char **command, int *ret_status,
                    struct err *err)
{
    _cleanup_json_ json_t *created = NULL, *ended = NULL;
    _cleanup_json_ json_t *body =
        json_pack("{s:b, s:b, s:b, s:b, s:b, s:o, s:o}", "AttachStdin", o->interactive && !o->detach,
                  "AttachStdout", !o->detach, "AttachStderr", !o->detach, "Tty", o->tty, "Privileged",
                  o->privileged, "Cmd", json_of_strv(command), "Env", json_of_strv(o->env));
    if (o->user)
        json_set_str(body, "User", o->user);
    if (o->workdir)
        json_set_str(body, "WorkingDir", o->workdir);
    _cleanup_free_ char *escaped = cli_escape(container);
    int r = cli_call("POST", body, &created, err, "/containers/%s/exec", escaped);
    if (r < 0)
        return r;
    const char *id = json_str(created, "Id");
    _cleanup_json_ json_t *start = json_pack("{s:b, s:b}", "Detach", o->detach, "Tty", o->tty);
    if (o->detach)
        return cli_call("POST", start, NULL, err, "/exec/%s/start", id);
    _cleanup_close_ int fd = -EBADF;
    _cleanup_str_ struct str early = STR_INIT;
    bool detached = false;
    r = cli_hijack(start, &fd, &early, err, "/exec/%s/start", id);
    if (r < 0)
        return r;
    const struct stream stream = {.fd = fd,
                                  .early = &early,
                                  .tty = o->tty,
                                  .input = o->interactive,
                                  .context = (void *)(uintptr_t)id,
                                  .resize = resize};
    r = stream_run(&stream, &detached, err);
    if (r == 0 && !detached)
        r = cli_get(&ended, err, "/exec/%s/json", id);
    if (r == 0 && !detached)
        *ret_status = (int)json_int(ended, "ExitCode");
    return r;
}

/* In a service's container, as docker compose does: input goes along, with a terminal where there is one. */
static void choose_terminal(struct exec_options *o, const char *name)
{
    bool terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    if (o->no_tty)
        o->tty = false;
    if (o->interactive || o->tty || o->detach || strchr(name, '/') || !project_present(&o->project))
        return;
    o->interactive = true;
    o->tty = terminal && !o->no_tty;
}

int cli_exec(int argc, char **argv)
{
    struct exec_options o = {.index = 1};
    const struct cli_option options[] = {
        {'i', "interactive", CLI_FLAG, &o.interactive, NULL, "Send standard input"},
        {'t', "tty", CLI_FLAG, &o.tty, NULL, "Give the process a terminal"},
        {'T', "no-tty", CLI_FLAG, &o.no_tty, NULL, "No terminal, even where one would be given"},
        {0, "no-TTY", CLI_FLAG, &o.no_tty, NULL, "The same"},
        {'d', "detach", CLI_FLAG, &o.detach, NULL, "Do not wait for it"},
        {'e', "env", CLI_LIST, &o.env, "NAME=VALUE", "Environment variable (again for more)"},
        {'u', "user", CLI_TEXT, &o.user, "USER[:GROUP]", "Run as this user"},
        {'w', "workdir", CLI_TEXT, &o.workdir, "DIR", "Working directory"},
        {0, "privileged", CLI_FLAG, &o.privileged, NULL, "All capabilities"},
        {0, "index", CLI_INT, &o.index, "N", "Which container of a service with several"},
        PROJECT_OPTIONS(o.project),
        {0},
    };
    const struct cli_command command = {
        "exec [OPTIONS] SERVICE|CONTAINER COMMAND [ARG...]",
        "Runs a command in a running container; ends with the command's exit status.",
        options,
        true,
        2,
        -1};
    char **rest;
    struct err err;
    int status = cli_parse(&command, argc, argv, &rest);
    if (status < 0) {
        _cleanup_free_ char *container = NULL;
        status = targets_find_one(&o.project, rest[0], o.index, &container);
        choose_terminal(&o, rest[0]);
        int r = 0;
        if (o.tty && o.interactive && !isatty(STDIN_FILENO))
            r = err_set(&err, ERR_INVALID, "the input is not a terminal; leave out -t");
        if (r == 0 && status == 0 && cli_dry_run) {
            _cleanup_free_ char *words = strv_join(rest + 1, " ");
            output_would("Container %.12s of %s  Would run: %s", container, rest[0], words);
        } else if (r == 0 && status == 0)
            r = run_exec(&o, container, rest + 1, &status, &err);
        if (r < 0)
            status = cli_fail(&err);
    }
    strv_free(o.env);
    project_options_done(&o.project);
    return status;
}
