#include "base/json.h"
#include "cli/call.h"
#include "cli/project.h"
#include "cli/stream.h"
#include "cli/verbs.h"

#include <unistd.h>

struct exec_options {
    struct project_options project;
    bool interactive, tty, no_tty, detach, privileged;
    char **env;
    const char *user, *workdir;
    int index;
};

/* The container of a service of the project here, else any container of that name. */
static int find_target(const struct exec_options *o, const char *name, char **ret, struct err *err)
{
    if (project_present(&o->project)) {
        _cleanup_compose_ struct compose_project *p = NULL;
        _cleanup_str_ struct str problems = STR_INIT;
        const struct compose_options options = {.files = o->project.files,
                                                .name = o->project.name,
                                                .dir = o->project.dir,
                                                .env_files = o->project.env_files,
                                                .profiles = o->project.profiles};
        int r = compose_load(&options, &p, &problems, err);
        const struct compose_service *s = r == 0 ? compose_find_service(p, name) : NULL;
        if (s) {
            *ret = compose_plan_container_name(p, s, o->index);
            return 0;
        }
        if (r < 0 && o->project.files)
            return r;
    }
    *ret = mem_strdup(name);
    return 0;
}

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

int cli_exec(int argc, char **argv)
{
    struct exec_options o = {.index = 1};
    const struct cli_option options[] = {
        {'i', "interactive", CLI_FLAG, &o.interactive, NULL, "Send standard input"},
        {'t', "tty", CLI_FLAG, &o.tty, NULL, "Give the process a terminal"},
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
        status = 0;
        int r = 0;
        if (o.tty && o.interactive && !isatty(STDIN_FILENO))
            r = err_set(&err, ERR_INVALID, "the input is not a terminal; leave out -t");
        if (r == 0)
            r = find_target(&o, rest[0], &container, &err);
        if (r == 0)
            r = run_exec(&o, container, rest + 1, &status, &err);
        if (r < 0)
            status = cli_fail(&err);
    }
    strv_free(o.env);
    project_options_done(&o.project);
    return status;
}
