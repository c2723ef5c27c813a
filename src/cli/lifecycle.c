/* start, stop, restart, kill, pause, unpause, rm of the project's services or of containers by name; rmi. */
#include "base/json.h"
#include "cli/call.h"
#include "cli/hook.h"
#include "cli/targets.h"
#include "cli/verbs.h"

#include <pthread.h>

struct lifecycle {
    const char *method, *path; /* behind /containers/ID */
    const char *doing, *done;
};

static const struct lifecycle starting = {"POST", "/start", "Starting", "Started"};
static const struct lifecycle stopping = {"POST", "/stop", "Stopping", "Stopped"};
static const struct lifecycle restarting = {"POST", "/restart", "Restarting", "Restarted"};
static const struct lifecycle killing = {"POST", "/kill", "Killing", "Killed"};
static const struct lifecycle pausing = {"POST", "/pause", "Pausing", "Paused"};
static const struct lifecycle unpausing = {"POST", "/unpause", "Unpausing", "Unpaused"};
static const struct lifecycle removing = {"DELETE", "", "Removing", "Removed"};

/* Names of the containers that are meant, and of all of them those in a state the verb can change. */
static char **names_of(const struct targets *t, bool stopped_only)
{
    char **names = NULL;
    size_t i;
    json_t *c;
    json_array_foreach (t->containers, i, c) {
        const char *state = json_str(c, "State");
        bool runs =
            strcmp(state, "running") == 0 || strcmp(state, "paused") == 0 || strcmp(state, "restarting") == 0;
        bool of_service = *targets_label(c, COMPOSE_LABEL_SERVICE);
        if (!stopped_only || !runs || !of_service)
            strv_add(&names, targets_name(c));
    }
    return names;
}

struct task {
    const struct lifecycle *what;
    struct progress *progress;
    const char *name, *query;
    pthread_t thread;
    int result;
    struct err err;
};

static void *do_task(void *context)
{
    struct task *t = context;
    _cleanup_free_ char *key = str_printf("%-9s %s", "Container", t->name), *escaped = cli_escape(t->name);
    progress_set(t->progress, key, COLOUR_YELLOW, t->what->doing);
    if (!cli_dry_run)
        t->result = cli_call(t->what->method, NULL, NULL, &t->err, "/containers/%s%s%s", escaped,
                             t->what->path, t->query);
    if (t->result == -ERR_NOT_MODIFIED)
        t->result = 0;
    progress_set(t->progress, key, t->result < 0 ? COLOUR_RED : COLOUR_GREEN,
                 t->result < 0 ? "Failed" : t->what->done);
    return NULL;
}

enum { MAX_AT_ONCE = 16 };

static int act(const struct lifecycle *what, char **names, const char *query)
{
    _cleanup_progress_ struct progress *progress = progress_new();
    int status = 0;
    size_t total = strv_len(names), most = project_at_once(MAX_AT_ONCE);
    for (size_t from = 0; from < total; from += most) {
        struct task tasks[MAX_AT_ONCE];
        size_t n = MIN(total - from, most);
        for (size_t i = 0; i < n; i++) {
            tasks[i] =
                (struct task){.what = what, .progress = progress, .name = names[from + i], .query = query};
            must(pthread_create(&tasks[i].thread, NULL, do_task, &tasks[i]) == 0);
        }
        for (size_t i = 0; i < n; i++) {
            pthread_join(tasks[i].thread, NULL);
            if (tasks[i].result < 0)
                status = cli_fail(&tasks[i].err);
        }
    }
    return status;
}

/* The options these verbs share; those a verb does not have are not in its table. */
struct options {
    struct project_options project;
    int timeout_s;
    const char *signal;
    bool force, volumes, stop, one_off, no_deps, orphans;
};

static void add_query(const struct lifecycle *what, const struct options *o, struct str *query)
{
    _cleanup_free_ char *signal = cli_escape(o->signal ? o->signal : "");
    if (what == &removing)
        str_addf(query, "?force=%d&v=%d", o->force, o->volumes);
    if (o->timeout_s >= 0)
        str_addf(query, "?t=%d", o->timeout_s);
    if (*signal)
        str_addf(query, "%csignal=%s", query->len ? '&' : '?', signal);
}

/* pre_stop of services that are about to be stopped; they stop whatever comes of it. */
static void run_hooks(const struct targets *t)
{
    size_t i;
    json_t *c;
    json_array_foreach (t->containers, i, c) {
        const char *service = targets_label(c, COMPOSE_LABEL_SERVICE);
        const struct compose_service *s = t->project ? compose_find_service(t->project, service) : NULL;
        struct err err;
        for (size_t j = 0;
             s && !cli_dry_run && str_eq(json_str(c, "State"), "running") && j < s->pre_stop_count; j++)
            if (hook_run(json_str(c, "Id"), &s->pre_stop[j], &err) < 0)
                fprintf(stderr, "drover: service %s: pre_stop: %s\n", s->name, err.msg);
    }
}

/* post_start of services that have just been started. */
static int run_start_hooks(const struct targets *t)
{
    size_t i;
    json_t *c;
    int status = 0;
    json_array_foreach (t->containers, i, c) {
        const char *service = targets_label(c, COMPOSE_LABEL_SERVICE);
        const struct compose_service *s = t->project ? compose_find_service(t->project, service) : NULL;
        struct err err;
        for (size_t j = 0; s && !str_eq(json_str(c, "State"), "running") && j < s->post_start_count; j++)
            if (hook_run(json_str(c, "Id"), &s->post_start[j], &err) < 0)
                status = cli_fail(&err);
    }
    return status;
}

/* --- restart: with those that depend on what is restarted, and say so --- */

static bool is_meant(const struct targets *t, const char *service)
{
    size_t i;
    json_t *c;
    json_array_foreach (t->containers, i, c)
        if (str_eq(targets_label(c, COMPOSE_LABEL_SERVICE), service))
            return true;
    return false;
}

static bool goes_along(const struct targets *t, const struct compose_service *s)
{
    for (size_t i = 0; i < s->depend_count; i++)
        if ((s->depends[i].restart || s->depends[i].linked) && is_meant(t, s->depends[i].service))
            return true;
    return false;
}

/* By depth, so that those that depend on an added one are found too. */
static int add_dependents(struct targets *t, struct err *err)
{
    const struct compose_project *p = t->project;
    int r = 0;
    for (int depth = 0; r == 0 && depth <= p->max_depth; depth++)
        for (size_t i = 0; r == 0 && i < p->service_count; i++) {
            const struct compose_service *s = &p->services[i];
            if (s->depth != depth || !s->active || is_meant(t, s->name) || !goes_along(t, s))
                continue;
            _cleanup_json_ json_t *list = NULL;
            r = project_containers(p->name, s->name, true, &list, err);
            json_array_extend(t->containers, list);
        }
    return r;
}

static char **names_at_depth(const struct targets *t, int depth)
{
    char **names = NULL;
    size_t i;
    json_t *c;
    json_array_foreach (t->containers, i, c) {
        const struct compose_service *s =
            t->project ? compose_find_service(t->project, targets_label(c, COMPOSE_LABEL_SERVICE)) : NULL;
        if ((s ? s->depth : 0) == depth)
            strv_add(&names, targets_name(c));
    }
    return names;
}

static int restart(const struct options *o, struct targets *t, bool some, const char *query)
{
    struct err err;
    int deepest = t->project ? t->project->max_depth : 0, status = 0;
    if (some && t->project && !o->no_deps && add_dependents(t, &err) < 0)
        return cli_fail(&err);
    run_hooks(t);
    for (int depth = 0; status == 0 && depth <= deepest; depth++) {
        _cleanup_strv_ char **names = names_at_depth(t, depth);
        status = act(&restarting, names, query);
    }
    return status;
}

/* Containers of the project whose services are gone from its files. */
static int remove_orphans(const struct targets *t)
{
    struct err err;
    size_t i;
    json_t *c;
    _cleanup_json_ json_t *list = NULL;
    _cleanup_strv_ char **names = NULL;
    if (!t->project)
        return 0;
    if (project_containers(t->project->name, NULL, true, &list, &err) < 0)
        return cli_fail(&err);
    json_array_foreach (list, i, c)
        if (!compose_find_service(t->project, targets_label(c, COMPOSE_LABEL_SERVICE)))
            strv_add(&names, targets_name(c));
    return names ? act(&removing, names, "?force=1") : 0;
}

static int run_on(const struct lifecycle *what, const struct options *o, char **names)
{
    /* `kill` and `pause` are for what runs, and so is `stop` of a whole project. */
    const struct targets_want want = {.all = what != &killing && what != &pausing,
                                      .one_off = o->one_off || what == &removing};
    _cleanup_targets_ struct targets t = {0};
    _cleanup_str_ struct str query = STR_INIT;
    int status = targets_find(&o->project, names, &want, &t);
    if (status)
        return status;
    _cleanup_strv_ char **containers = names_of(&t, what == &removing && !o->stop && !o->force);
    if (what == &stopping || (what == &removing && o->stop))
        run_hooks(&t);
    if (what == &removing && o->stop)
        status = act(&stopping, containers, "");
    if (what == &removing && !*names && !containers)
        fprintf(stderr, "No stopped containers\n");
    add_query(what, o, &query);
    if (status == 0 && what == &restarting)
        return restart(o, &t, *names != NULL, str_get(&query));
    if (status == 0)
        status = act(what, containers, str_get(&query));
    if (status == 0 && o->orphans)
        status = remove_orphans(&t);
    return status == 0 && what == &starting && !cli_dry_run ? run_start_hooks(&t) : status;
}

static int run_verb(const struct lifecycle *what, const struct cli_command *command, struct options *o,
                    int argc, char **argv)
{
    char **names;
    int status = cli_parse(command, argc, argv, &names);
    if (status < 0)
        status = run_on(what, o, names);
    project_options_done(&o->project);
    return status;
}

#define TIMEOUT_OPTION(o)                                                                                    \
    {                                                                                                        \
        't', "timeout", CLI_INT, &(o).timeout_s, "SECONDS",                                                  \
            "Before a container that does not stop is killed"                                                \
    }
#define WHICH "[SERVICE | CONTAINER...]"

int cli_start(int argc, char **argv)
{
    struct options o = {.timeout_s = -1};
    const struct cli_option options[] = {PROJECT_OPTIONS(o.project), {0}};
    const struct cli_command command = {
        "start [OPTIONS] " WHICH, "Starts containers that exist.", options, false, 0, -1};
    return run_verb(&starting, &command, &o, argc, argv);
}

int cli_stop(int argc, char **argv)
{
    struct options o = {.timeout_s = -1};
    const struct cli_option options[] = {PROJECT_OPTIONS(o.project), TIMEOUT_OPTION(o), {0}};
    const struct cli_command command = {"stop [OPTIONS] " WHICH, "Stops containers.", options, false, 0, -1};
    return run_verb(&stopping, &command, &o, argc, argv);
}

int cli_restart(int argc, char **argv)
{
    struct options o = {.timeout_s = -1};
    const struct cli_option options[] = {
        {0, "no-deps", CLI_FLAG, &o.no_deps, NULL, "Not those that depend on them with restart: true"},
        PROJECT_OPTIONS(o.project),
        TIMEOUT_OPTION(o),
        {0}};
    const struct cli_command command = {
        "restart [OPTIONS] " WHICH,
        "Stops containers and starts them again, and then those of services that "
        "depend on them with restart: true.",
        options,
        false,
        0,
        -1};
    return run_verb(&restarting, &command, &o, argc, argv);
}

int cli_pause(int argc, char **argv)
{
    struct options o = {.timeout_s = -1};
    const struct cli_option options[] = {PROJECT_OPTIONS(o.project), {0}};
    const struct cli_command command = {
        "pause [OPTIONS] " WHICH, "Freezes containers.", options, false, 0, -1};
    return run_verb(&pausing, &command, &o, argc, argv);
}

int cli_unpause(int argc, char **argv)
{
    struct options o = {.timeout_s = -1};
    const struct cli_option options[] = {PROJECT_OPTIONS(o.project), {0}};
    const struct cli_command command = {
        "unpause [OPTIONS] " WHICH, "Lets frozen containers go on.", options, false, 0, -1};
    return run_verb(&unpausing, &command, &o, argc, argv);
}

int cli_kill(int argc, char **argv)
{
    struct options o = {.timeout_s = -1};
    const struct cli_option options[] = {
        PROJECT_OPTIONS(o.project),
        {'s', "signal", CLI_TEXT, &o.signal, "SIGNAL", "Instead of KILL"},
        {0, "remove-orphans", CLI_FLAG, &o.orphans, NULL,
         "Remove containers of services that the files do not have"},
        {0},
    };
    const struct cli_command command = {
        "kill [OPTIONS] " WHICH, "Sends a signal to containers.", options, false, 0, -1};
    return run_verb(&killing, &command, &o, argc, argv);
}

int cli_rm(int argc, char **argv)
{
    struct options o = {.timeout_s = -1};
    const struct cli_option options[] = {
        {'f', "force", CLI_FLAG, &o.force, NULL, "Kill containers that run"},
        {'s', "stop", CLI_FLAG, &o.stop, NULL, "Stop those that run first"},
        {'v', "volumes", CLI_FLAG, &o.volumes, NULL, "Remove their anonymous volumes too"},
        {'p', "project-name", CLI_TEXT, &o.project.name, "NAME", "Project name"},
        {0, "file", CLI_LIST, &o.project.files, "FILE", "Compose file (again for more)"},
        PROJECT_OPTIONS_WITHOUT_SHORT(o.project),
        {0},
    };
    const struct cli_command command = {"rm [OPTIONS] " WHICH,
                                        "Removes stopped containers of services, or containers by name.",
                                        options,
                                        false,
                                        0,
                                        -1};
    return run_verb(&removing, &command, &o, argc, argv);
}

int cli_rmi(int argc, char **argv)
{
    bool force = false;
    const struct cli_option options[] = {
        {'f', "force", CLI_FLAG, &force, NULL, "Also when containers use it"}, {0}};
    const struct cli_command command = {"rmi [OPTIONS] IMAGE...", "Removes images.", options, false, 1, -1};
    char **images;
    int status = cli_parse(&command, argc, argv, &images);
    if (status >= 0)
        return status;
    status = 0;
    STRV_FOREACH (image, images) {
        struct err err;
        _cleanup_json_ json_t *log = NULL;
        _cleanup_free_ char *escaped = cli_escape(*image);
        if (cli_call("DELETE", NULL, &log, &err, "/images/%s?force=%d", escaped, force) < 0)
            status = cli_fail(&err);
        size_t i;
        json_t *entry;
        json_array_foreach (log, i, entry)
            printf("%s: %s\n", *json_str(entry, "Deleted") ? "Deleted" : "Untagged",
                   *json_str(entry, "Deleted") ? json_str(entry, "Deleted") : json_str(entry, "Untagged"));
    }
    return status;
}
