/* `drover run`, like `docker run`: exit status 125 when the container could not be made, 126 and 127 when its
 * command could not be started, else the command's own. */
#include "cli/call.h"
#include "cli/project.h"
#include "cli/pull.h"
#include "cli/run_priv.h"
#include "cli/verbs.h"

#include <unistd.h>

int run__would(const char *what, const char *name, char **words)
{
    _cleanup_free_ char *command = strv_join(words + 1, " ");
    output_would("%s %s  Would run in a new container%s%s", what, name, *command ? ": " : "", command);
    return 0;
}

static int create(const struct run_options *o, const char *image, const json_t *body, char **ret_id,
                  struct err *err)
{
    _cleanup_json_ json_t *answer = NULL;
    _cleanup_free_ char *name = cli_escape(o->name ? o->name : "");
    _cleanup_free_ char *escaped = cli_escape(image);
    int r = 0;
    if (str_eq(o->pull, "always") ||
        (!str_eq(o->pull, "never") && cli_get(NULL, err, "/images/%s/json", escaped) == -ERR_NOT_FOUND)) {
        _cleanup_progress_ struct progress *progress = progress_new();
        progress_set(progress, image, COLOUR_YELLOW, "Pulling");
        r = pull_image(image, o->platform, progress, err);
        progress_set(progress, image, r < 0 ? COLOUR_RED : COLOUR_GREEN, r < 0 ? "Failed" : "Pulled");
    }
    if (r == 0)
        r = cli_call("POST", body, &answer, err, "/containers/create%s%s", *name ? "?name=" : "", name);
    if (r < 0)
        return r;
    size_t i;
    json_t *warning;
    json_array_foreach (json_object_get(answer, "Warnings"), i, warning)
        fprintf(stderr, "drover: warning: %s\n", json_string_value(warning));
    *ret_id = mem_strdup(json_str(answer, "Id"));
    return 0;
}

static int run(const struct run_options *o, char **words)
{
    struct err err;
    _cleanup_json_ json_t *body = NULL;
    _cleanup_free_ char *id = NULL;
    int r = 0;
    if (o->tty && o->interactive && !o->detach && !isatty(STDIN_FILENO))
        r = err_set(&err, ERR_INVALID, "the input is not a terminal; leave out -t");
    if (r == 0)
        r = run__body(o, words, &body, &err);
    if (r == 0 && cli_dry_run)
        return run__would("Image", words[0], words);
    if (r == 0)
        r = create(o, words[0], body, &id, &err);
    if (r < 0) {
        cli_fail(&err);
        return STATUS_FAILED;
    }
    return run__start(o, id);
}

/* The first word is a service of the project here, or an image. */
static int run_either(struct run_options *o, char **words)
{
    if (o->quiet_pull)
        pull_set_quiet();
    const struct project_options project = {0};
    const char *const services[] = {words[0], NULL};
    const struct project_load_options how = {
        .services = (char *const *)services, .no_deps = o->no_deps, .to_run = true};
    _cleanup_compose_ struct compose_project *known = NULL, *p = NULL;
    if (strpbrk(words[0], ":/") || !project_present(&project))
        return run(o, words);
    int status = project_load(&project, NULL, false, &known);
    if (status)
        return status;
    if (!compose_find_service(known, words[0]))
        return run(o, words);
    status = project_load_with(&project, &how, &p);
    return status ? status : run__service(o, p, compose_find_service(p, words[0]), words);
}

static void options_done(struct run_options *o)
{
    char ***const lists[] = {&o->env,    &o->env_files, &o->ports,   &o->expose,   &o->volumes,  &o->labels,
                             &o->hosts,  &o->dns,       &o->cap_add, &o->cap_drop, &o->security, &o->tmpfs,
                             &o->groups, &o->aliases,   &o->ulimits, &o->sysctls,  &o->devices};
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
        *lists[i] = strv_free(*lists[i]);
}

int cli_run(int argc, char **argv)
{
    struct run_options o = {.stop_timeout_s = -1};
    const struct cli_option options[] = {
        {'i', "interactive", CLI_FLAG, &o.interactive, NULL, "Send standard input"},
        {'t', "tty", CLI_FLAG, &o.tty, NULL, "Give the container a terminal"},
        {'d', "detach", CLI_FLAG, &o.detach, NULL, "Print the id and do not wait"},
        {0, "rm", CLI_FLAG, &o.remove, NULL, "Remove the container when it ends"},
        {0, "name", CLI_TEXT, &o.name, "NAME", "Name of the container"},
        {'e', "env", CLI_LIST, &o.env, "NAME[=VALUE]", "Environment variable (again for more)"},
        {0, "env-file", CLI_LIST, &o.env_files, "FILE", "File of environment variables"},
        {'p', "publish", CLI_LIST, &o.ports, "[IP:][PORT:]PORT[/udp]", "Publish a port on the host"},
        {'P', "publish-all", CLI_FLAG, &o.publish_all, NULL,
         "Publish all exposed ports; of a service: those of its file"},
        {0, "service-ports", CLI_FLAG, &o.publish_all, NULL, "The same"},
        {'T', "no-tty", CLI_FLAG, &o.no_tty, NULL,
         "Of a service: no terminal, even where one would be given"},
        {0, "no-TTY", CLI_FLAG, &o.no_tty, NULL, "The same"},
        {0, "no-deps", CLI_FLAG, &o.no_deps, NULL, "Of a service: do not start what it depends on"},
        {0, "use-aliases", CLI_FLAG, &o.use_aliases, NULL, "Of a service: with its names on its networks"},
        {0, "build", CLI_FLAG, &o.build, NULL, "Of a service: build its image first"},
        {0, "quiet-pull", CLI_FLAG, &o.quiet_pull, NULL, "Without the progress of layers"},
        {0, "remove-orphans", CLI_FLAG, &o.remove_orphans, NULL,
         "Of a service: remove services the file no longer has"},
        {0, "env-from-file", CLI_LIST, &o.env_files, "FILE", "As --env-file"},
        {0, "expose", CLI_LIST, &o.expose, "PORT[/udp]", "Expose a port"},
        {'v', "volume", CLI_LIST, &o.volumes, "[SOURCE:]PATH[:ro]", "Mount a volume or a directory"},
        {0, "tmpfs", CLI_LIST, &o.tmpfs, "PATH[:OPTIONS]", "Mount a tmpfs"},
        {0, "network", CLI_TEXT, &o.network, "NETWORK", "Network: a name, none, host, container:NAME"},
        {0, "network-alias", CLI_LIST, &o.aliases, "NAME", "Name of the container on its network"},
        {0, "ip", CLI_TEXT, &o.ip, "ADDRESS", "IPv4 address on its network"},
        {'m', "memory", CLI_TEXT, &o.memory, "SIZE", "Memory limit"},
        {0, "memory-swap", CLI_TEXT, &o.swap, "SIZE", "Limit of memory and swap; -1: no limit of swap"},
        {0, "cpus", CLI_TEXT, &o.cpus, "NUMBER", "CPU limit"},
        {0, "cpuset-cpus", CLI_TEXT, &o.cpuset, "LIST", "CPUs to run on"},
        {0, "pids-limit", CLI_INT, &o.pids_limit, "N", "Limit of processes and threads"},
        {0, "ulimit", CLI_LIST, &o.ulimits, "NAME=SOFT[:HARD]", "Resource limit"},
        {0, "shm-size", CLI_TEXT, &o.shm_size, "SIZE", "Size of /dev/shm"},
        {'u', "user", CLI_TEXT, &o.user, "USER[:GROUP]", "Run as this user"},
        {0, "group-add", CLI_LIST, &o.groups, "GROUP", "Additional group"},
        {'w', "workdir", CLI_TEXT, &o.workdir, "DIR", "Working directory"},
        {0, "entrypoint", CLI_TEXT, &o.entrypoint, "COMMAND", "Instead of the image's entrypoint"},
        {'h', "hostname", CLI_TEXT, &o.hostname, "NAME", "Host name of the container"},
        {0, "add-host", CLI_LIST, &o.hosts, "HOST:ADDRESS", "Line of /etc/hosts"},
        {0, "dns", CLI_LIST, &o.dns, "ADDRESS", "DNS server"},
        {'l', "label", CLI_LIST, &o.labels, "NAME=VALUE", "Label"},
        {0, "restart", CLI_TEXT, &o.restart, "POLICY", "no, always, unless-stopped, on-failure[:N]"},
        {0, "init", CLI_FLAG, &o.init, NULL, "Run an init process that reaps"},
        {0, "privileged", CLI_FLAG, &o.privileged, NULL, "All capabilities and devices"},
        {0, "read-only", CLI_FLAG, &o.read_only, NULL, "Read-only root file system"},
        {0, "cap-add", CLI_LIST, &o.cap_add, "CAPABILITY", "Add a capability"},
        {0, "cap-drop", CLI_LIST, &o.cap_drop, "CAPABILITY", "Drop a capability"},
        {0, "security-opt", CLI_LIST, &o.security, "OPTION", "Security option"},
        {0, "sysctl", CLI_LIST, &o.sysctls, "NAME=VALUE", "Kernel parameter of the container"},
        {0, "device", CLI_LIST, &o.devices, "PATH[:PATH[:rwm]]", "Device of the host"},
        {0, "pid", CLI_TEXT, &o.pid, "MODE", "PID namespace: host, container:NAME"},
        {0, "ipc", CLI_TEXT, &o.ipc, "MODE", "IPC namespace: host, private, shareable, container:NAME"},
        {0, "runtime", CLI_TEXT, &o.runtime, "NAME", "OCI runtime"},
        {0, "userns", CLI_TEXT, &o.userns, "MODE", "User namespace: host, private, auto or auto:size=N"},
        {0, "stop-signal", CLI_TEXT, &o.stop_signal, "SIGNAL", "Signal that stops it"},
        {0, "stop-timeout", CLI_INT, &o.stop_timeout_s, "SECONDS",
         "Before it is killed when it does not stop"},
        {0, "pull", CLI_TEXT, &o.pull, "WHEN", "always, missing or never"},
        {0},
    };
    const struct cli_command command = {"run [OPTIONS] SERVICE|IMAGE [COMMAND] [ARG...]",
                                        "Creates a container of a service of the project here (what it "
                                        "depends on is started first), or of an image,\n"
                                        "and runs a command in it; ends with the command's exit status.",
                                        options,
                                        true,
                                        1,
                                        -1};
    char **words;
    int status = cli_parse(&command, argc, argv, &words);
    if (status < 0)
        status = run_either(&o, words);
    else if (status == 2)
        status = STATUS_FAILED;
    options_done(&o);
    return status;
}
